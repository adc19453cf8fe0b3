//! What `http:` says of connections: how long they live, where they go and come from, and what an answer may cost.

use super::types::Endpoint;
use crate::record::Nanos;
use std::net::{IpAddr, SocketAddr};

/// Everything under `http:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// How long a connection is used.
    pub keep_alive: KeepAlive,
    /// Where hosts are, whatever the resolver says.
    pub resolve: Vec<Resolved>,
    /// Local addresses that connections come from, in turn; the system's choice when there are none.
    pub sources: Vec<IpAddr>,
    /// How long to wait for the first byte of an answer; no longer than for the whole answer.
    pub first_byte: Option<Nanos>,
    /// An answer with a body of more bytes than this is a failure.
    pub max_body: u64,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            keep_alive: KeepAlive::Always,
            resolve: Vec::new(),
            sources: Vec::new(),
            first_byte: None,
            max_body: u64::MAX,
        }
    }
}

/// How long a connection of HTTP/1.1 is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// For as long as both sides want.
    Always,
    /// For one request, which says so.
    Never,
    /// For so many requests.
    Requests(u32),
    /// For so long since it was opened.
    For(Nanos),
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
}
