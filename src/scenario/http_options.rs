//! What `http:` says of connections: which protocol, how long they live, where they go and come from, through what, and what an
//! answer may cost.

use super::proxy::{Proxies, Proxy, ProxyKind};
use super::types::{Endpoint, ProtocolChoice, Trust};
use crate::record::{Nanos, Timestamp};
use bytes::Bytes;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Everything under `http:`, of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// Which protocol is spoken.
    pub version: ProtocolChoice,
    /// How long a connection is used.
    pub keep_alive: KeepAlive,
    /// Whose connections they are.
    pub connections: Sharing,
    /// How names become addresses.
    pub dns: Dns,
    /// Where hosts are, whatever the resolver says.
    pub resolve: Vec<Resolved>,
    /// Local addresses that connections come from, in turn; the system's choice when there are none.
    pub sources: Vec<IpAddr>,
    /// A UNIX socket in place of an address.
    pub unix: Option<PathBuf>,
    /// How TLS is spoken.
    pub tls: TlsOptions,
    /// What stands between.
    pub proxies: Proxies,
    /// Compressions that are asked for, in `accept-encoding`.
    pub accept_encoding: Vec<Coding>,
    /// Which answers are decompressed.
    pub decode: Decode,
    /// How long to wait for the first byte of an answer; no longer than for the whole answer.
    pub first_byte: Option<Nanos>,
    /// An answer with a body of more bytes than this is a failure.
    pub max_body: u64,
    /// So is one that becomes more bytes than this when it is decompressed.
    pub max_decoded: u64,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            version: ProtocolChoice::Http1,
            keep_alive: KeepAlive::Always,
            connections: Sharing::ByModel,
            dns: Dns::default(),
            resolve: Vec::new(),
            sources: Vec::new(),
            unix: None,
            tls: TlsOptions::default(),
            proxies: Proxies::default(),
            accept_encoding: Vec::new(),
            decode: Decode::Needed,
            first_byte: None,
            max_body: u64::MAX,
            max_decoded: 64 << 20,
        }
    }
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// For as long as both sides want.
    Always,
    /// For one request, which says so.
    Never,
    /// While all of these hold.
    Within {
        /// It has carried fewer requests than this.
        requests: u32,
        /// It was opened less than this ago.
        lifetime: Nanos,
        /// It was last used less than this ago.
        idle: Nanos,
    },
}

impl KeepAlive {
    /// No limit at all, as numbers.
    pub const UNLIMITED: KeepAlive =
        KeepAlive::Within { requests: u32::MAX, lifetime: Nanos(u64::MAX), idle: Nanos(u64::MAX) };

    /// Whether a connection may carry another request, which has carried so many, was opened and last used then.
    pub fn allows(self, carried: u32, opened: Timestamp, last: Timestamp, now: Timestamp) -> bool {
        match self {
            KeepAlive::Always => true,
            KeepAlive::Never => carried == 0,
            KeepAlive::Within { requests, lifetime, idle } => {
                carried < requests && now.since(opened) < lifetime && now.since(last) < idle
            }
        }
    }
}

/// Whose connections they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each user's own in the closed model, shared by all arrivals in the open one.
    ByModel,
    /// Each user's own, also in the open model, where each arrival is a user.
    PerUser,
    /// At most so many to a host, shared by all users.
    Shared(u32),
}

/// How names become addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// How long an answer is used.
    pub cache: DnsCache,
    /// Which addresses are used.
    pub family: Family,
    /// Which of them comes first.
    pub order: AddressOrder,
}

/// How long a name's addresses are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsCache {
    /// Each connection asks the system's resolver.
    #[default]
    Never,
    /// The first answer holds for the whole run.
    Once,
    /// For so long.
    For(Nanos),
}

/// Which addresses are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Which of several addresses a connection tries first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressOrder {
    /// The first, as the resolver gives them.
    #[default]
    First,
    /// The next each time.
    InTurn,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Certificates of authorities that are believed in place of the system's, in PEM.
    pub roots: Option<Pem>,
    /// What the client proves itself with: a certificate with its chain, and its key, in PEM.
    pub identity: Option<(Pem, Pem)>,
    /// The name that is asked for and verified, where it is not the host's.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub least: TlsVersion,
    /// The newest.
    pub most: TlsVersion,
    /// Whether a session is resumed by later connections.
    pub resume: bool,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            trust: Trust::System,
            roots: None,
            identity: None,
            server_name: None,
            least: TlsVersion::V1_2,
            most: TlsVersion::V1_3,
            resume: false,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// A file of PEM: whatever is in it, it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(pub Bytes);

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of PEM", self.0.len())
    }
}

/// A compression of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `deflate`
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

impl Coding {
    /// As in `accept-encoding`.
    pub const NAMES: [(&'static str, Coding); 4] = [
        ("gzip", Coding::Gzip),
        ("deflate", Coding::Deflate),
        ("br", Coding::Brotli),
        ("zstd", Coding::Zstd),
    ];

    /// The name in headers.
    pub fn name(self) -> &'static str {
        Coding::NAMES.iter().find(|(_, coding)| *coding == self).map_or("", |(name, _)| name)
    }

    /// The coding of that name.
    pub fn named(name: &str) -> Option<Coding> {
        let name = name.strip_prefix(['x', 'X']).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name);
        Coding::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| *coding)
    }
}

/// Which answers are decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// Those in whose body a step looks for something.
    Needed,
    /// All: what they become is counted, and one that is broken is a failure.
    Always,
    /// None: checks see what came.
    Never,
}

/// One line of `resolve:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The host as it stands in URLs, …
    pub host: String,
    /// … with this port, if only that is meant.
    pub port: Option<u16>,
    /// Where it is …
    pub address: IpAddr,
    /// … and at which port, if not at its own.
    pub at_port: Option<u16>,
}

impl HttpOptions {
    /// Where an endpoint is by `resolve:`; the first line that fits counts.
    pub fn resolved(&self, endpoint: &Endpoint) -> Option<SocketAddr> {
        let fits = |line: &&Resolved| {
            line.host.eq_ignore_ascii_case(&endpoint.host)
                && line.port.is_none_or(|port| port == endpoint.port)
        };
        let line = self.resolve.iter().find(fits)?;
        Some(SocketAddr::new(line.address, line.at_port.unwrap_or(endpoint.port)))
    }

    /// The proxy that is sent whole URLs for an endpoint: one without TLS that is not reached by a tunnel.
    pub fn absolute_through(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let prior = matches!(self.version, ProtocolChoice::Http2 | ProtocolChoice::Http2Only);
        if endpoint.tls || prior || self.unix.is_some() {
            return None;
        }
        self.proxies.to(endpoint).filter(|proxy| proxy.kind == ProxyKind::Http { tunnel: false })
    }

    /// What `accept-encoding` says, where something is asked for.
    pub fn accepts(&self) -> Option<String> {
        let names: Vec<&str> = self.accept_encoding.iter().map(|coding| coding.name()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}
