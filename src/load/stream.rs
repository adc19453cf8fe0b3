//! What carries bytes to a peer: TCP, with TLS or without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// An open stream of bytes.
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP. Boxed: a session is several kilobytes.
    Tls(Box<TlsStream<TcpStream>>),
    /// A peer out of a test's script.
    #[cfg(test)]
    Scripted(super::http1::tests::Script),
}

/// What a peer has done while nothing was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: the stream can be used.
    Quiet,
    /// It has closed the stream, or broken it.
    Closed,
    /// It has sent bytes that belong to nothing.
    Talks,
}

impl Stream {
    /// What the peer has done meanwhile. Costs no call to the system unless the system has told of something.
    pub fn idle(&mut self) -> Idle {
        let mut bytes = [0; 64];
        let seen = match self {
            Stream::Plain(stream) => match stream.try_read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Idle::Quiet,
                seen => seen,
            },
            Stream::Tls(stream) => {
                // What the peer's side of TLS says for itself (session tickets) is taken in and is no answer.
                let mut buffer = ReadBuf::new(&mut bytes);
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(stream).poll_read(&mut cx, &mut buffer) {
                    Poll::Pending => return Idle::Quiet,
                    Poll::Ready(seen) => seen.map(|()| buffer.filled().len()),
                }
            }
            #[cfg(test)]
            Stream::Scripted(script) => return script.idle(),
        };
        match seen {
            Ok(0) | Err(_) => Idle::Closed,
            Ok(_) => Idle::Talks,
        }
    }
}

#[cfg(test)]
impl Stream {
    /// Waits until there is something to read.
    pub async fn readable(&self) {
        if let Stream::Plain(stream) = self {
            stream.readable().await.unwrap();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            #[cfg(test)]
            Stream::Scripted(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_shutdown(cx),
        }
    }
}
