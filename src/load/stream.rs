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

    /// Reads what has come, where the system has told of it already and nothing but the socket lies between: one call and no
    /// word to the runtime. Nothing where that is not so; then [`Stream::poll_come`] waits for it. Not for reading on, which
    /// the runtime has to ration.
    #[inline]
    pub fn come_at_once(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        if let Stream::Plain(stream) = self {
            let room = into.len();
            let mut come = None;
            let told = stream.try_io(Interest::READABLE, || {
                let (length, _) = rustix::net::recv(&*stream, into, rustix::net::RecvFlags::empty())?;
                come = Some(length);
                // All was read that there was: see `poll_come`.
                if 0 < length && length < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            return match (come, told) {
                (Some(length), _) => Some(Ok(length)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
                (None, _) => None,
            };
        }
        let _ = into;
        None
    }

    /// Writes as much as the socket takes, without a word to the runtime. Nothing where that has to be asked for.
    #[inline]
    pub fn send_at_once(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        if let Stream::Plain(stream) | Stream::Stamped(stream) = self {
            use rustix::io::Errno;
            return match rustix::net::send(&*stream, bytes, rustix::net::SendFlags::NOSIGNAL) {
                Ok(written) => Some(Ok(written)),
                Err(Errno::AGAIN | Errno::INTR) => None,
                Err(error) => Some(Err(error.into())),
            };
        }
        let _ = bytes;
        None
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    async fn pair() -> (Stream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stream::Plain(stream), listener.accept().unwrap().0)
    }

    /// What comes next, at once or when the runtime has told of it.
    async fn come(stream: &mut Stream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(come) = stream.come_at_once(into) {
                return come;
            }
            stream.readable().await;
        }
    }

    #[tokio::test]
    async fn nothing_comes_before_it_was_told_of_and_all_of_it_then() {
        let (mut stream, mut peer) = pair().await;
        let mut bytes = [0; 8];
        assert!(stream.come_at_once(&mut bytes).is_none());
        peer.write_all(b"hello").unwrap();
        assert!(stream.come_at_once(&mut bytes).is_none(), "the runtime has had no turn");
        assert_eq!(come(&mut stream, &mut bytes).await.unwrap(), 5);
        assert_eq!(&bytes[..5], b"hello");
        assert!(stream.come_at_once(&mut bytes).is_none(), "it was read to its end");
        assert_eq!(stream.idle(), Idle::Quiet);
        // As much as there is room for may not be all.
        peer.write_all(b"eight by").unwrap();
        peer.write_all(b"tes").unwrap();
        let mut all = Vec::new();
        while all.len() < 11 {
            let length = come(&mut stream, &mut bytes).await.unwrap();
            all.extend_from_slice(&bytes[..length]);
        }
        assert_eq!(all, b"eight bytes");
    }

    #[tokio::test]
    async fn an_end_and_a_failure_are_told_once_each_as_what_they_are() {
        let (mut stream, mut peer) = pair().await;
        let mut bytes = [0; 8];
        peer.write_all(b"bye").unwrap();
        drop(peer);
        assert_eq!(come(&mut stream, &mut bytes).await.unwrap(), 3);
        assert_eq!(come(&mut stream, &mut bytes).await.unwrap(), 0);

        let (mut stream, peer) = pair().await;
        assert_eq!(stream.send_at_once(b"never read").unwrap().unwrap(), 10);
        // Whoever closes with bytes unread resets.
        drop(peer);
        assert_eq!(come(&mut stream, &mut bytes).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let kind = stream.send_at_once(b"x").unwrap().unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_full_socket_is_left_to_the_runtime() {
        let (mut stream, mut peer) = pair().await;
        let block = vec![b'x'; 1 << 20];
        let mut written = 0;
        while let Some(sent) = stream.send_at_once(&block) {
            written += sent.unwrap();
        }
        assert!(written > 0);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all.len()
        });
        // The runtime finds it full, too, and waits until it is not.
        let more = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"more")).await.unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), written + more);
    }

    #[tokio::test]
    async fn what_is_no_plain_socket_goes_through_the_runtime() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut stream = Stream::Other(Transport::Unix(one));
        assert!(stream.send_at_once(b"x").is_none());
        other.try_write(b"x").unwrap();
        tokio::task::yield_now().await;
        assert!(stream.come_at_once(&mut [0; 8]).is_none());
    }
}
