//! One connection and what it takes to get it: name, TCP, TLS, HTTP; each phase timed.

use super::clock::Clock;
use super::flight::{Ended, Flight};
use super::words::{Words, chain, of_connect};
use crate::record::{Failure, FailureClass, Nanos, Phases, Protocol};
use crate::scenario::{Endpoint, ProtocolChoice};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Wire = TokioIo<Metered>;
type Outgoing = Full<Bytes>;

/// How connections are made.
pub struct Dialer {
    endpoints: Vec<Endpoint>,
    /// Addresses that need no resolving, and server names, by endpoint.
    known: Vec<(Option<SocketAddr>, Option<ServerName<'static>>)>,
    tls: TlsConnector,
    protocol: ProtocolChoice,
    timeout: Nanos,
    clock: Clock,
}

impl Dialer {
    /// For these endpoints.
    pub fn new(
        endpoints: Vec<Endpoint>,
        tls: TlsConnector,
        protocol: ProtocolChoice,
        timeout: Nanos,
        clock: Clock,
    ) -> Dialer {
        let known = endpoints
            .iter()
            .map(|e| {
                let address = e.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, e.port));
                (address, ServerName::try_from(e.host.clone()).ok())
            })
            .collect();
        Dialer { endpoints, known, tls, protocol, timeout, clock }
    }

    /// A new connection; fills in the phases that it passes.
    ///
    /// # Errors
    /// The failure, with the class of the phase that it happened in.
    pub async fn dial(
        &self,
        endpoint: usize,
        flight: &Flight,
        phases: &mut Phases,
        words: &RefCell<Words>,
    ) -> Result<Connection, Failure> {
        flight.begin(self.clock.now() + self.timeout);
        let dialed = flight.guard(self.phases_of(endpoint, phases)).await;
        flight.finish();
        let (class, message) = match dialed {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(failed)) => failed,
            Err(Ended::Cancelled) => (FailureClass::Cancelled, "the run was stopped".to_string()),
            Err(Ended::TimedOut) => self.timed_out(endpoint, phases),
        };
        Err(words.borrow_mut().failure(class, &message))
    }

    fn timed_out(&self, endpoint: usize, phases: &Phases) -> (FailureClass, String) {
        let Endpoint { host, tls, .. } = &self.endpoints[endpoint];
        let by_name = self.known[endpoint].0.is_none();
        match phases {
            Phases { resolved: None, .. } if by_name => {
                (FailureClass::Dns, format!("{host}: no answer from the resolver within {}", self.timeout))
            }
            Phases { connected: Some(_), .. } if *tls => {
                (FailureClass::Tls, format!("{host}: no TLS handshake within {}", self.timeout))
            }
            _ => (FailureClass::ConnectTimeout, format!("{host}: no connection within {}", self.timeout)),
        }
    }

    async fn phases_of(
        &self,
        endpoint: usize,
        phases: &mut Phases,
    ) -> Result<Connection, (FailureClass, String)> {
        let Endpoint { host, port, tls } = &self.endpoints[endpoint];
        let (address, name) = &self.known[endpoint];
        let addresses = match address {
            Some(address) => vec![*address],
            None => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let found = found.map_err(|e| (FailureClass::Dns, format!("{host}: {e}")))?;
                phases.resolved = Some(self.clock.now());
                found.collect()
            }
        };
        let stream = connect(&addresses)
            .await
            .map_err(|e| (of_connect(&e), format!("{host}:{port}: {}", advised(&e))))?;
        phases.connected = Some(self.clock.now());
        // Small requests must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let mut speaks_http2 = self.protocol == ProtocolChoice::Http2;
        let stream = if *tls {
            let name =
                name.clone().ok_or_else(|| (FailureClass::Tls, format!("{host} is no name for TLS")))?;
            let tls = self.tls.connect(name, stream).await;
            let tls = tls.map_err(|e| (FailureClass::Tls, format!("{host}: {}", chain(&e))))?;
            phases.tls_done = Some(self.clock.now());
            speaks_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            Stream::Tls(Box::new(tls))
        } else {
            Stream::Plain(stream)
        };
        Connection::over(stream, speaks_http2)
            .await
            .map_err(|e| (FailureClass::Connect, format!("{host}: {}", chain(&e))))
    }
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Some failures are this machine's own, and can be helped.
fn advised(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("{error}: this machine has no local port left; use keep-alive or more addresses")
        }
        _ if error.raw_os_error() == Some(24) => format!("{error}: raise the limit (ulimit -n)"),
        _ => error.to_string(),
    }
}

/// An open connection that carries one exchange at a time; of HTTP/2, a share of one.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are HTTP/1.1, and a box is an allocation per connection"
)]
pub enum Connection {
    /// HTTP/1.1, driven by whoever uses it: no task of its own, so no switch between tasks per request. Boxed, because it
    /// is about a kilobyte and handed on several times per request.
    Http1(Box<Http1>),
    /// HTTP/2, driven by a task.
    Http2(Http2),
}

/// HTTP/1.1.
pub struct Http1 {
    sender: http1::SendRequest<Outgoing>,
    /// Dropped as soon as it is done: only then does it hand back a request that it never sent.
    driver: Option<http1::Connection<Wire, Outgoing>>,
    doorman: Arc<Doorman>,
    /// The doorman as a waker.
    waker: Waker,
    written: Rc<Cell<u64>>,
}

/// Stands between a connection and the task that drives it. Handing a request to the connection would wake that very task,
/// which is about to drive the connection anyway: a turn through the scheduler for nothing, for each request.
struct Doorman {
    lets_in: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Doorman {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.lets_in.load(Ordering::Relaxed) {
            self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

/// HTTP/2; clones share the connection.
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Outgoing>,
    /// Exchanges that it carries now.
    pub streams: Rc<Cell<usize>>,
}

/// Runs HTTP/2's tasks on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Connection {
    async fn over(stream: Stream, speaks_http2: bool) -> hyper::Result<Connection> {
        let written = Rc::new(Cell::new(0));
        let wire = TokioIo::new(Metered { stream, written: Rc::clone(&written) });
        if speaks_http2 {
            let (sender, driver) = http2::Builder::new(Local)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .handshake(wire)
                .await?;
            tokio::task::spawn_local(async move {
                // Whoever waits for an answer is told of the failure; nobody else cares.
                let _ = driver.await;
            });
            return Ok(Connection::Http2(Http2 { sender, streams: Rc::default() }));
        }
        let (sender, driver) = http1::handshake(wire).await?;
        let doorman =
            Arc::new(Doorman { lets_in: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) });
        let waker = Waker::from(Arc::clone(&doorman));
        Ok(Connection::Http1(Box::new(Http1 { sender, driver: Some(driver), doorman, waker, written })))
    }

    /// Protocol that it speaks.
    pub fn protocol(&self) -> Protocol {
        match self {
            Connection::Http1(_) => Protocol::Http1,
            Connection::Http2(_) => Protocol::Http2,
        }
    }

    /// Bytes written since it was opened; zero for HTTP/2, whose bytes belong to many.
    pub fn written(&self) -> u64 {
        match self {
            Connection::Http1(connection) => connection.written.get(),
            Connection::Http2(_) => 0,
        }
    }

    /// Whether another request can go over it, as far as is known. A peer that closed it meanwhile is noticed when the
    /// request is sent: hyper hands an unsent request back.
    pub fn is_usable(&self) -> bool {
        match self {
            Connection::Http1(connection) => connection.driver.is_some() && connection.sender.is_ready(),
            Connection::Http2(connection) => connection.sender.is_ready(),
        }
    }

    /// Sends a request and waits for the head of its answer. The outer error is the deadline's.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
        flight: &Flight,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Outgoing>>>, Ended> {
        match self {
            Connection::Http1(connection) => {
                connection.doorman.lets_in.store(false, Ordering::Relaxed);
                let mut answer = pin!(connection.sender.try_send_request(request));
                connection.doorman.lets_in.store(true, Ordering::Relaxed);
                poll_fn(|cx| {
                    connection.turn(cx);
                    // Whatever this waits for is done by the turn above, so nobody has to wake it.
                    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                        Poll::Pending => flight.poll(cx).map(Err),
                    }
                })
                .await
            }
            Connection::Http2(connection) => flight.guard(connection.sender.try_send_request(request)).await,
        }
    }

    /// Reads an answer's body to its end: how many bytes, and the first `keep` of them.
    pub async fn read(
        &mut self,
        mut body: Incoming,
        keep: usize,
        flight: &Flight,
    ) -> Result<(u64, Vec<u8>, Result<(), hyper::Error>), Ended> {
        use hyper::body::Body;
        let mut received = 0u64;
        let mut kept = Vec::new();
        loop {
            let frame = poll_fn(|cx| {
                let frame = match self {
                    Connection::Http1(connection) => {
                        connection.turn(cx);
                        Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()))
                    }
                    Connection::Http2(_) => Pin::new(&mut body).poll_frame(cx),
                };
                match frame {
                    Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                    Poll::Pending => flight.poll(cx).map(Err),
                }
            })
            .await?;
            match frame {
                None => return Ok((received, kept, Ok(()))),
                Some(Err(error)) => return Ok((received, kept, Err(error))),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        received += data.len() as u64;
                        let room = keep.saturating_sub(kept.len()).min(data.len());
                        kept.extend_from_slice(&data[..room]);
                    }
                }
            }
        }
    }
}

impl Http1 {
    /// Lets the connection do what it can. Its error, if any, is told to whoever waits for an answer.
    fn turn(&mut self, cx: &mut Context<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let mut task = self.doorman.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.clone_from(cx.waker());
        drop(task);
        if Pin::new(driver).poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.driver = None;
        }
    }
}

/// TCP, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Counts what is written.
struct Metered {
    stream: Stream,
    written: Rc<Cell<u64>>,
}

impl Metered {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &result {
            self.written.set(self.written.get() + *n as u64);
        }
        result
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
