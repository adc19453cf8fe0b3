//! Sockets: listening, accepting, TLS, and which version of HTTP a connection speaks.
//!
//! Nothing that one peer does (silence, garbage, a broken handshake, resets, more connections than the system has file
//! descriptors for) ends the accepting of others.

use super::service::Service;
use super::{GRACE, ListenError};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest head of a request.
const HEAD: usize = 64 << 10;
/// Largest HTTP/2 frame. Each connection may have one half-read, which no budget counts.
const FRAME: u32 = 256 << 10;
/// Connections that may wait to be accepted.
#[cfg(unix)]
const WAITING: i32 = 1_024;
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

pub(super) fn bind(
    address: Option<SocketAddr>,
    protocol: &'static str,
    option: &'static str,
) -> Result<Option<(tokio::net::TcpListener, SocketAddr)>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let listen = || -> io::Result<_> {
        let listener = TcpListener::bind(address)?;
        // The standard library lets 128 wait, and a peer that finds no place is not told.
        #[cfg(unix)]
        rustix::net::listen(&listener, WAITING)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((tokio::net::TcpListener::from_std(listener)?, bound))
    };
    listen().map(Some).map_err(|source| ListenError {
        address,
        protocol,
        option,
        free: free_port(address),
        source,
    })
}

/// A port that people recognise (14317 for 4317, …) and that is free now.
fn free_port(taken: SocketAddr) -> Option<SocketAddr> {
    (1..6u16)
        .filter_map(|n| taken.port().checked_add(n * 10_000))
        .map(|port| SocketAddr::new(taken.ip(), port))
        .find(|address| TcpListener::bind(address).is_ok())
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Connections {
    pub service: Arc<Service>,
    pub tls: Option<TlsAcceptor>,
    pub permits: Arc<Semaphore>,
    pub stopped: watch::Receiver<bool>,
}

/// Accepts connections until told to stop, then lets them end.
pub(super) async fn accept(listener: tokio::net::TcpListener, mut shared: Connections) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Without a free place nothing is accepted: peers wait in the system's queue.
            let permit = shared.permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            _ = told(&mut shared.stopped) => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let shared = shared.clone();
                connections.spawn(async move {
                    shared.serve(stream).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, most likely: some will be free again soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Waits until the receiver is told to stop (or is gone).
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Lets go of the channel's lock at once.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Versions of HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Http {
    One,
    Two,
}

impl Connections {
    async fn serve(mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let patience = self.service.patience;
        match self.tls.clone() {
            None => {
                // A connection that says nothing, or begins a sentence and stops, must not hold a place.
                let version = tokio::select! {
                    version = timeout(patience, version(&stream)) => version,
                    _ = told(&mut self.stopped) => return,
                };
                if let Ok(Ok(version)) = version {
                    self.speak(stream, version).await;
                }
            }
            Some(acceptor) => {
                let handshake = async {
                    let mut first = [0];
                    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
                        refuse_plain(&stream).await?;
                    }
                    acceptor.accept(stream).await
                };
                let secure = tokio::select! {
                    secure = timeout(patience, handshake) => secure,
                    _ = told(&mut self.stopped) => return,
                };
                if let Ok(Ok(secure)) = secure {
                    let http2 = secure.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.speak(secure, if http2 { Http::Two } else { Http::One }).await;
                }
            }
        }
    }

    async fn speak<S>(mut self, stream: S, version: Http)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service.clone();
        let patience = service.patience;
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
        });
        let io = TokioIo::new(stream);
        match version {
            Http::One => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    // A peer may close its side after its request, and waits for the answer all the same.
                    .half_close(true)
                    // Also the longest silence between two requests, and metrics come every 60 s.
                    .header_read_timeout(2 * patience + Duration::from_secs(5))
                    .max_header_size(HEAD)
                    .max_headers(128)
                    .serve_connection(io, answer);
                let mut connection = std::pin::pin!(connection);
                if let Stop::Told = self.until_told(connection.as_mut()).await {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            Http::Two => {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    // Small windows would starve a sender that is far ahead of the others on one connection.
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20)
                    // So that a usual batch comes in one piece, which need not be put together.
                    .max_frame_size(FRAME)
                    .max_concurrent_streams(256)
                    .max_header_list_size(HEAD as u32)
                    // Streams opened and reset at once cost work without an answer (CVE-2023-44487).
                    .max_pending_accept_reset_streams(64)
                    .max_local_error_reset_streams(256)
                    .keep_alive_interval(patience)
                    .keep_alive_timeout(patience)
                    .serve_connection(io, answer);
                let mut connection = std::pin::pin!(connection);
                if let Stop::Told = self.until_told(connection.as_mut()).await {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    }

    /// Drives a connection until it ends (a broken one concerns its peer only) or the receiver is to stop.
    async fn until_told<F: Future>(&mut self, connection: F) -> Stop {
        tokio::select! {
            _ = connection => Stop::Ended,
            _ = told(&mut self.stopped) => Stop::Told,
        }
    }
}

enum Stop {
    Ended,
    Told,
}

/// Which version the peer speaks, from the first bytes, which stay where they are.
async fn version(stream: &TcpStream) -> io::Result<Http> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut bytes).await?;
        match bytes.get(..n).unwrap_or_default() {
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            seen if !PREFACE.starts_with(seen) => return Ok(Http::One),
            seen if seen.len() == PREFACE.len() => return Ok(Http::Two),
            // Part of the preface. The socket is readable already, so nothing would wake us for the rest.
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Tells a peer that speaks without TLS why it gets no further.
async fn refuse_plain(stream: &TcpStream) -> io::Result<()> {
    let text = "this port speaks TLS only: use https:// (grpcs://)\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.writable().await?;
    let _ = stream.try_write(answer.as_bytes())?;
    Err(io::ErrorKind::InvalidData.into())
}
