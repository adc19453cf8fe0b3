//! What carries bytes to a peer: TCP or a UNIX socket, through a proxy or not, with TLS or without.

use super::stamp::{self, Room};
use crate::record::Nanos;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::client::TlsStream;

/// An open stream of bytes.
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TCP alone, whose bytes the kernel stamps when they come.
    Stamped(TcpStream),
    /// Whatever else carries bytes as they are.
    Other(Transport),
    /// TLS. Boxed: a session is several kilobytes.
    Tls(Box<TlsStream<Transport>>),
    /// A peer out of a test's script.
    #[cfg(test)]
    Scripted(super::http1::tests::Script),
}

/// What carries bytes as they are.
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// A socket of this machine.
    #[cfg(unix)]
    Unix(UnixStream),
    /// What goes through a proxy that is spoken to with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<Transport> for Stream {
    fn from(transport: Transport) -> Stream {
        match transport {
            Transport::Tcp(stream) => Stream::Plain(stream),
            other => Stream::Other(other),
        }
    }
}

impl Stream {
    /// What carries the bytes as they are; a stream that TLS is spoken over is no such thing.
    ///
    /// # Errors
    /// The stream, where it is another.
    pub fn into_transport(self) -> Result<Transport, Stream> {
        match self {
            Stream::Plain(stream) | Stream::Stamped(stream) => Ok(Transport::Tcp(stream)),
            Stream::Other(transport) => Ok(transport),
            other => Err(other),
        }
    }
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
    /// With the kernel's note of when bytes come, where there can be one.
    pub fn stamped(self) -> Stream {
        match self {
            Stream::Plain(stream) if stamp::ask_for(&stream) => Stream::Stamped(stream),
            other => other,
        }
    }

    /// Reads what has come, with the time since then where that is known.
    pub fn poll_come(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
        room: &mut Room,
    ) -> Poll<io::Result<(usize, Option<Nanos>)>> {
        let Stream::Stamped(stream) = self else {
            let mut buffer = ReadBuf::new(into);
            let read = ready!(Pin::new(self).poll_read(cx, &mut buffer));
            return Poll::Ready(read.map(|()| (buffer.filled().len(), None)));
        };
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_io(Interest::READABLE, || stamp::read(stream, into, room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok((length, age)) => {
                    if 0 < length && length < into.len() {
                        // All was read that there was; what comes later is told of anew. Without this word the next look
                        // would be a call to the system that finds nothing.
                        let _ = stream.try_io(Interest::READABLE, || {
                            Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
                        });
                    }
                    return Poll::Ready(Ok((length, age)));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// What the peer has done meanwhile. Costs no call to the system unless the system has told of something.
    pub fn idle(&mut self) -> Idle {
        let mut bytes = [0; 64];
        let seen = match self {
            Stream::Plain(stream) | Stream::Stamped(stream) => match stream.try_read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Idle::Quiet,
                seen => seen,
            },
            // What the peer's side of TLS says for itself (session tickets) is taken in and is no answer.
            Stream::Tls(stream) => match look(stream, &mut bytes) {
                Poll::Pending => return Idle::Quiet,
                Poll::Ready(seen) => seen,
            },
            Stream::Other(stream) => match look(stream, &mut bytes) {
                Poll::Pending => return Idle::Quiet,
                Poll::Ready(seen) => seen,
            },
            #[cfg(test)]
            Stream::Scripted(script) => return script.idle(),
        };
        match seen {
            Ok(0) | Err(_) => Idle::Closed,
            Ok(_) => Idle::Talks,
        }
    }
}

fn look(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut buffer).map(|seen| seen.map(|()| buffer.filled().len()))
}

/// Hands a call on to whichever stream there is.
macro_rules! transport {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Tcp($stream) => $call,
            #[cfg(unix)]
            Transport::Unix($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        transport!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        transport!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        transport!(self, stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Transport::Unix(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, stream => Pin::new(stream).poll_shutdown(cx))
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
            Stream::Plain(stream) | Stream::Stamped(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Other(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Stamped(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
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
            Stream::Plain(stream) | Stream::Stamped(stream) => {
                Pin::new(stream).poll_write_vectored(cx, parts)
            }
            Stream::Other(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) | Stream::Stamped(stream) => stream.is_write_vectored(),
            Stream::Other(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            #[cfg(test)]
            Stream::Scripted(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Stamped(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Other(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Stamped(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Other(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Stream::Scripted(script) => Pin::new(script).poll_shutdown(cx),
        }
    }
}
