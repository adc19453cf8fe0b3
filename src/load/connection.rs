//! One connection and what it takes to get it: name, TCP, TLS, HTTP; each phase timed.

use super::clock::ThreadClock;
use super::flight::{Ended, Flight};
use super::http1::{Body, Http1, Scratch};
use super::stream::Stream;
use super::words::{Words, chain, of_connect};
use crate::record::{Failure, FailureClass, Nanos, Phases, Protocol};
use crate::scenario::{Endpoint, HttpOptions, ProtocolChoice};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

type Outgoing = Full<Bytes>;

/// How connections are made.
pub struct Dialer {
    endpoints: Vec<Endpoint>,
    /// Addresses that need no resolving, and server names, by endpoint.
    known: Vec<(Option<SocketAddr>, Option<ServerName<'static>>)>,
    tls: TlsConnector,
    protocol: ProtocolChoice,
    timeout: Nanos,
    clock: Rc<ThreadClock>,
    scratch: Rc<Scratch>,
    options: HttpOptions,
    /// Which of the local addresses is next.
    turn: Cell<usize>,
}

impl Dialer {
    /// For these endpoints.
    pub fn new(
        endpoints: Vec<Endpoint>,
        tls: TlsConnector,
        protocol: ProtocolChoice,
        timeout: Nanos,
        clock: Rc<ThreadClock>,
        scratch: Rc<Scratch>,
        options: HttpOptions,
    ) -> Dialer {
        let known = endpoints
            .iter()
            .map(|e| {
                let literal = || e.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, e.port));
                let address = options.resolved(e).or_else(literal);
                (address, ServerName::try_from(e.host.clone()).ok())
            })
            .collect();
        Dialer { endpoints, known, tls, protocol, timeout, clock, scratch, options, turn: Cell::new(0) }
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
        let stream = self
            .connect(&addresses)
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
        if !speaks_http2 {
            return Ok(Connection::Http1(Box::new(
                Http1::new(stream, Rc::clone(&self.scratch)).for_long(self.options.keep_alive, &self.clock),
            )));
        }
        let connection = Http2::over(stream).await;
        connection
            .map(Connection::Http2)
            .map_err(|e| (FailureClass::Connect, format!("{host}: {}", chain(&e))))
    }
}

impl Dialer {
    async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match self.connect_from(self.source_for(address)?, *address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_from(&self, source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
        let Some(source) = source else { return TcpStream::connect(to).await };
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(to).await
    }

    /// The next local address of the same family, where the scenario names any.
    fn source_for(&self, to: &SocketAddr) -> io::Result<Option<IpAddr>> {
        let sources = &self.options.sources;
        if sources.is_empty() {
            return Ok(None);
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let next = (0..sources.len()).map(|n| sources[(turn % sources.len() + n) % sources.len()]);
        let fits = |source: &IpAddr| source.is_ipv4() == to.is_ipv4();
        match next.clone().find(fits) {
            Some(source) => Ok(Some(source)),
            None => Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "none of the source addresses is of the same family",
            )),
        }
    }
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
pub enum Connection {
    /// HTTP/1.1, driven by whoever uses it: no task of its own, so no switch between tasks per request. Boxed, because every
    /// user holds one such place per endpoint and hands it on several times per request.
    Http1(Box<Http1>),
    /// HTTP/2, driven by a task.
    Http2(Http2),
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
    /// Protocol that it speaks.
    pub fn protocol(&self) -> Protocol {
        match self {
            Connection::Http1(_) => Protocol::Http1,
            Connection::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether another request can go over it, as far as is known. A peer that closed it meanwhile is noticed when the
    /// request is sent.
    pub fn is_usable(&self) -> bool {
        match self {
            Connection::Http1(connection) => connection.is_usable(),
            Connection::Http2(connection) => connection.sender.is_ready(),
        }
    }
}

impl Http2 {
    async fn over(stream: Stream) -> hyper::Result<Http2> {
        let (sender, driver) = http2::Builder::new(Local)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            // Whoever waits for an answer is told of the failure; nobody else cares.
            let _ = driver.await;
        });
        Ok(Http2 { sender, streams: Rc::default() })
    }

    /// Sends a request and waits for the head of its answer. The outer error is the deadline's.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
        flight: &Flight,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Outgoing>>>, Ended> {
        flight.guard(self.sender.try_send_request(request)).await
    }

    /// Reads an answer's body to its end. What came of it is in `into`, whatever happens.
    pub async fn read(
        mut body: Incoming,
        into: &mut Body,
        flight: &Flight,
    ) -> Result<Result<(), hyper::Error>, Ended> {
        use hyper::body::Body as _;
        loop {
            let frame = flight.guard(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await?;
            match frame {
                None => return Ok(Ok(())),
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        into.take(data);
                    }
                    if into.received > into.most {
                        // Whoever asked sees what was received and refuses it; dropping the body resets its stream.
                        return Ok(Ok(()));
                    }
                }
            }
        }
    }
}
