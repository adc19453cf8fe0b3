//! The way to one endpoint: name, address or UNIX socket, proxy, TLS. Everything that happens before HTTP is spoken, each
//! phase noted when it is over.

use super::clock::ThreadClock;
use super::flight::Flight;
use super::http1::{Asked, Fields, Head, Http1, NoAnswer, Scratch, Seen};
use super::stream::{Stream, Transport};
use super::tls::Tls;
use super::words::of_connect;
use crate::record::{FailureClass, Phases, Timestamp, with_causes};
use crate::scenario::{
    AddressOrder, DnsCache, Endpoint, Family, HttpOptions, ProtocolChoice, Proxy, ProxyKind, Scenario,
    Timeouts,
};
use bytes::Bytes;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Why there is no connection: the class of the phase that it failed in, and words.
pub type Unopened = (FailureClass, String);

/// What a name stood for, and since when.
type Resolved = (String, Timestamp, Rc<[SocketAddr]>);

/// What is done for a connection right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The resolver is asked.
    #[default]
    Resolving,
    /// The connection is made.
    Connecting,
    /// The proxy is spoken to.
    AtProxy,
    /// TLS is negotiated.
    Handshaking,
}

/// The way to one endpoint.
pub struct Route {
    endpoint: Endpoint,
    options: HttpOptions,
    timeouts: Timeouts,
    proxy: Option<Proxy>,
    tls: Tls,
    /// The name that is asked for and verified.
    name: Option<ServerName<'static>>,
    /// What names stood for when they were last asked, and since when: the peer's, the proxy's.
    addresses: RefCell<Vec<Resolved>>,
    /// Which of the local addresses, and which of the peer's, is next.
    turns: (Cell<usize>, Cell<usize>),
    scratch: Rc<Scratch>,
    clock: Rc<ThreadClock>,
}

impl Route {
    /// To one of a scenario's endpoints.
    pub fn new(
        scenario: &Scenario,
        index: usize,
        tls: Tls,
        clock: &Rc<ThreadClock>,
        scratch: &Rc<Scratch>,
    ) -> Option<Route> {
        let endpoint = scenario.endpoints.get(index)?.clone();
        let options = scenario.http_of(index).clone();
        let proxy = options.proxies.to(&endpoint).filter(|_| options.unix.is_none()).cloned();
        let name = options.tls.server_name.clone().unwrap_or_else(|| endpoint.host.clone());
        Some(Route {
            name: ServerName::try_from(name).ok(),
            proxy,
            timeouts: scenario.timeouts,
            tls,
            endpoint,
            options,
            addresses: RefCell::default(),
            turns: Default::default(),
            scratch: Rc::clone(scratch),
            clock: Rc::clone(clock),
        })
    }

    /// How connections to it are used.
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The peer's name in messages.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// An open stream, and whether HTTP/2 is spoken over it. Fills in the phases that it passes; `flight` has the limit of the
    /// whole.
    ///
    /// # Errors
    /// The class of the phase that failed, and words.
    pub async fn open(
        &self,
        flight: &Flight,
        limit: Timestamp,
        stage: &Cell<Stage>,
        phases: &mut Phases,
    ) -> Result<(Stream, bool), Unopened> {
        let transport = self.transport(flight, stage, phases).await?;
        phases.connected = Some(self.clock.now());
        if !self.endpoint.tls {
            let at_once = matches!(self.options.version, ProtocolChoice::Http2 | ProtocolChoice::Http2Only);
            return Ok((transport.into(), at_once));
        }
        stage.set(Stage::Handshaking);
        if let Some(tls) = self.timeouts.tls {
            flight.begin(limit.min(self.clock.now() + tls));
        }
        let host = &self.endpoint.host;
        let lacking =
            || (FailureClass::Tls, format!("{host} is no name for TLS: say one under http.tls.server_name"));
        let name = self.name.clone().ok_or_else(lacking)?;
        let Some(connector) = &self.tls.target else { return Err(lacking()) };
        let tls = connector.connect(name, transport).await;
        let tls = tls.map_err(|e| (FailureClass::Tls, format!("{host}: {}", with_causes(&e))))?;
        phases.tls_done = Some(self.clock.now());
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        if !http2 && self.options.version == ProtocolChoice::Http2Only {
            let words = format!(
                "{host}: the server does not choose HTTP/2, and nothing else is allowed (http.version)"
            );
            return Err((FailureClass::Tls, words));
        }
        Ok((Stream::Tls(Box::new(tls)), http2))
    }

    /// The failure when the time for a connection is over.
    pub fn timed_out(&self, stage: Stage) -> Unopened {
        let (host, connect) = (&self.endpoint.host, self.timeouts.connect);
        match (stage, &self.proxy) {
            (Stage::Resolving, proxy) => {
                let host = proxy.as_ref().map_or(host, |proxy| &proxy.endpoint.host);
                (FailureClass::Dns, format!("{host}: no answer from the resolver within {connect}"))
            }
            (Stage::Connecting, Some(proxy)) => {
                let at = proxy.endpoint.authority();
                (FailureClass::ConnectTimeout, format!("{at}: no connection to the proxy within {connect}"))
            }
            (Stage::Connecting, None) => {
                (FailureClass::ConnectTimeout, format!("{host}: no connection within {connect}"))
            }
            (Stage::AtProxy, proxy) => {
                let at = proxy.as_ref().map(|proxy| proxy.endpoint.authority()).unwrap_or_default();
                (
                    FailureClass::ConnectTimeout,
                    format!("{at}: no way to {host} from the proxy within {connect}"),
                )
            }
            (Stage::Handshaking, _) => {
                let limit = self.timeouts.tls.map_or(connect, |tls| tls.min(connect));
                (FailureClass::Tls, format!("{host}: no TLS handshake within {limit}"))
            }
        }
    }

    async fn transport(
        &self,
        flight: &Flight,
        stage: &Cell<Stage>,
        phases: &mut Phases,
    ) -> Result<Transport, Unopened> {
        stage.set(Stage::Connecting);
        #[cfg(unix)]
        if let Some(path) = &self.options.unix {
            let stream = tokio::net::UnixStream::connect(path).await;
            return stream
                .map(Transport::Unix)
                .map_err(|e| (of_connect(&e), format!("{}: {}", path.display(), advised(&e))));
        }
        let Some(proxy) = &self.proxy else {
            return Ok(Transport::Tcp(self.reach(&self.endpoint, stage, phases).await?));
        };
        let stream = self.reach(&proxy.endpoint, stage, phases).await?;
        stage.set(Stage::AtProxy);
        let transport = match &self.tls.proxy {
            Some(connector) if proxy.endpoint.tls => secured(connector, &proxy.endpoint, stream).await?,
            _ => Transport::Tcp(stream),
        };
        if self.options.absolute_through(&self.endpoint).is_some() {
            return Ok(transport);
        }
        match (proxy.kind, transport) {
            (ProxyKind::Socks5 { names }, Transport::Tcp(stream)) => {
                self.through_socks(proxy, names, stream, phases).await
            }
            (_, transport) => self.tunnel(proxy, transport, flight).await,
        }
    }

    /// A TCP connection to a peer of that name.
    async fn reach(
        &self,
        peer: &Endpoint,
        stage: &Cell<Stage>,
        phases: &mut Phases,
    ) -> Result<TcpStream, Unopened> {
        let (host, port) = (&peer.host, peer.port);
        let addresses = self.addresses_of(peer, stage, phases).await?;
        stage.set(Stage::Connecting);
        let first = match self.options.dns.order {
            AddressOrder::First => 0,
            AddressOrder::InTurn => next(&self.turns.1),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for n in 0..addresses.len() {
            let address = addresses[(first % addresses.len() + n) % addresses.len()];
            let source = self.source_for(&address);
            let connected = match source {
                Ok(source) => connect_from(source, address).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => {
                    // Small requests must not wait for the acknowledgement of the one before.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err((of_connect(&last), format!("{host}:{port}: {}", advised(&last))))
    }

    async fn addresses_of(
        &self,
        peer: &Endpoint,
        stage: &Cell<Stage>,
        phases: &mut Phases,
    ) -> Result<Rc<[SocketAddr]>, Unopened> {
        let literal = || peer.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, peer.port));
        if let Some(known) = self.options.resolved(peer).or_else(literal) {
            return Ok(Rc::new([known]));
        }
        let is_fresh = |since: Timestamp| match self.options.dns.cache {
            DnsCache::Never => false,
            DnsCache::Once => true,
            DnsCache::For(length) => self.clock.now() < since + length,
        };
        let host = &peer.host;
        let is_kept = |(name, since, _): &&Resolved| name == host && is_fresh(*since);
        if let Some((.., kept)) = self.addresses.borrow().iter().find(is_kept) {
            return Ok(Rc::clone(kept));
        }
        stage.set(Stage::Resolving);
        let found = tokio::net::lookup_host((host.as_str(), peer.port)).await;
        let found = found.map_err(|e| (FailureClass::Dns, format!("{host}: {e}")))?;
        let (family, which) = match self.options.dns.family {
            Family::Any => (None, ""),
            Family::V4 => (Some(true), " of IPv4"),
            Family::V6 => (Some(false), " of IPv6"),
        };
        let found: Rc<[SocketAddr]> =
            found.filter(|address| family.is_none_or(|v4| v4 == address.is_ipv4())).collect();
        let now = self.clock.now();
        phases.resolved = Some(now);
        if found.is_empty() {
            return Err((FailureClass::Dns, format!("{host}: the name has no address{which}")));
        }
        if self.options.dns.cache != DnsCache::Never {
            let mut addresses = self.addresses.borrow_mut();
            addresses.retain(|(name, ..)| name != host);
            addresses.push((host.clone(), now, Rc::clone(&found)));
        }
        Ok(found)
    }

    /// The next local address of the same family, where the scenario names any.
    fn source_for(&self, to: &SocketAddr) -> io::Result<Option<IpAddr>> {
        let sources = &self.options.sources;
        if sources.is_empty() {
            return Ok(None);
        }
        let turn = next(&self.turns.0);
        let mut all = (0..sources.len()).map(|n| sources[(turn % sources.len() + n) % sources.len()]);
        let fits = |source: &IpAddr| source.is_ipv4() == to.is_ipv4();
        all.find(fits).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "none of the source addresses is of the same family",
            )
        })
    }

    /// Lets a SOCKS proxy connect to the endpoint (RFC 1928), by its name or by an address that is found here.
    async fn through_socks(
        &self,
        proxy: &Proxy,
        names: bool,
        stream: TcpStream,
        phases: &mut Phases,
    ) -> Result<Transport, Unopened> {
        use tokio_socks::tcp::Socks5Stream;
        let (at, peer) = (proxy.authority(), &self.endpoint);
        let literal = peer.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, peer.port));
        let known = self.options.resolved(peer).or(literal);
        let address = match known {
            None if !names => self.addresses_of(peer, &Cell::default(), phases).await?.first().copied(),
            known => known,
        };
        let to = match address {
            Some(address) => tokio_socks::TargetAddr::Ip(address),
            None => tokio_socks::TargetAddr::Domain(peer.host.as_str().into(), peer.port),
        };
        let shown = peer.authority();
        let opened = match &proxy.login {
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(stream, to, user, password).await
            }
            None => Socks5Stream::connect_with_socket(stream, to).await,
        };
        opened.map(|stream| Transport::Tcp(stream.into_inner())).map_err(|error| {
            use tokio_socks::Error;
            let words = match error {
                Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => {
                    "the proxy wants to know who asks: set `user` and `password` under `proxy`".to_string()
                }
                Error::PasswordAuthFailure(_) => "the proxy knows no such user and password".to_string(),
                Error::ConnectionRefused => format!("{shown} refuses the proxy's connection"),
                Error::HostUnreachable => format!("the proxy cannot reach {shown}"),
                error => format!("the proxy opens no way to {shown}: {error}"),
            };
            (FailureClass::Connect, format!("{at}: {words}"))
        })
    }

    /// Lets the proxy connect to the endpoint and hand on bytes (RFC 9110, section 9.3.6).
    async fn tunnel(
        &self,
        proxy: &Proxy,
        transport: Transport,
        flight: &Flight,
    ) -> Result<Transport, Unopened> {
        let at = proxy.endpoint.authority();
        let host = if self.endpoint.host.contains(':') {
            format!("[{}]", self.endpoint.host)
        } else {
            self.endpoint.host.clone()
        };
        let to = format!("{host}:{}", self.endpoint.port);
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n");
        if let Some(authorization) = proxy.authorization() {
            head.push_str(&format!("proxy-authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        let mut http = Http1::new(transport.into(), Rc::clone(&self.scratch));
        let mut seen = Seen::default();
        let asked = match http.start(head.as_bytes(), Bytes::new(), &mut seen) {
            Ok(outgoing) => {
                let expected = (Asked::Connect, Fields::Few);
                http.finish(outgoing, expected, (flight, None), &self.clock, &mut seen).await
            }
            Err(unsent) => Err(unsent),
        };
        match asked {
            Ok(Head { status: 200..300, .. }) if !seen.leftovers => {
                http.into_stream().into_transport().map_err(|_| {
                    (FailureClass::Connect, format!("{at}: the proxy's tunnel is no stream of bytes"))
                })
            }
            Ok(Head { status: 200..300, .. }) => {
                Err((FailureClass::Connect, format!("{at}: the proxy sent bytes before its tunnel was used")))
            }
            Ok(Head { status: 407, .. }) => Err((
                FailureClass::Connect,
                format!(
                    "{at}: the proxy wants to know who asks (407): set `user` and `password` under `proxy`"
                ),
            )),
            Ok(Head { status, .. }) => {
                Err((FailureClass::Connect, format!("{at}: the proxy opens no tunnel to {to} ({status})")))
            }
            Err(NoAnswer::Fault(fault) | NoAnswer::Unsent(fault)) => Err((
                FailureClass::Connect,
                format!("{at}: no tunnel to {to} through the proxy: {}", fault.words),
            )),
            // Whoever guards this is told by the same flight, and knows why.
            Err(NoAnswer::Ended(_)) => std::future::pending().await,
        }
    }
}

fn next(turn: &Cell<usize>) -> usize {
    let now = turn.get();
    turn.set(now.wrapping_add(1));
    now
}

async fn connect_from(source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(to).await };
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(to).await
}

/// TLS to the proxy itself.
async fn secured(
    connector: &TlsConnector,
    proxy: &Endpoint,
    stream: TcpStream,
) -> Result<Transport, Unopened> {
    let at = proxy.authority();
    let name = ServerName::try_from(proxy.host.clone());
    let name = name.map_err(|_| (FailureClass::Tls, format!("{at} is no name for TLS")))?;
    let tls = connector.connect(name, stream).await;
    let tls = tls.map_err(|e| (FailureClass::Tls, format!("{at}: TLS to the proxy: {}", with_causes(&e))))?;
    Ok(Transport::Tls(Box::new(tls)))
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
