//! What stands between hotspan and a target: proxies, and the hosts that are reached without one.

use super::address::base64;
use super::types::Endpoint;
use std::fmt;
use std::net::IpAddr;

/// Which proxy requests to which hosts go through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For targets without TLS.
    pub http: Option<Proxy>,
    /// For targets with TLS.
    pub https: Option<Proxy>,
    /// Hosts that are reached without.
    pub bypass: Vec<Bypass>,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is, and whether TLS is spoken to it.
    pub endpoint: Endpoint,
    /// What it speaks.
    pub kind: ProxyKind,
    /// User and password, if it wants to know who asks.
    pub login: Option<(String, String)>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP: whole URLs, or a tunnel (CONNECT).
    Http {
        /// Whether targets without TLS are reached through a tunnel, too.
        tunnel: bool,
    },
    /// SOCKS, version 5 (RFC 1928).
    Socks5 {
        /// Whether the proxy finds the addresses of names (`socks5h`).
        names: bool,
    },
}

impl Proxy {
    /// `proxy-authorization` of a proxy of HTTP, if it wants one.
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = self.login.as_ref()?;
        Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
    }

    /// Where it is, as it is named in messages: without who asks.
    pub fn origin(&self) -> String {
        match self.kind {
            ProxyKind::Http { .. } => self.endpoint.origin(),
            ProxyKind::Socks5 { names: false } => format!("socks5://{}", self.authority()),
            ProxyKind::Socks5 { names: true } => format!("socks5h://{}", self.authority()),
        }
    }

    /// Host and port, the latter always.
    pub fn authority(&self) -> String {
        let Endpoint { host, port, .. } = &self.endpoint;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Debug for Proxy {
    /// What it is told in confidence is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// Hosts that are reached without a proxy, as in `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// `*`: all of them.
    All,
    /// A network in CIDR notation, or one address.
    Network(IpAddr, u8),
    /// A domain with all below it; with a port, only that one.
    Domain(String, Option<u16>),
}

impl Bypass {
    /// One entry of a list.
    ///
    /// # Errors
    /// A sentence, when it is no host.
    pub fn parse(text: &str) -> Result<Bypass, String> {
        let text = text.trim();
        let wrong = || format!("{text:?} is no host: write e.g. example.org, .example.org, 10.0.0.0/8 or *");
        if text == "*" {
            return Ok(Bypass::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
            return Ok(Bypass::Network(address, bits));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Bypass::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let name = name.strip_prefix('*').unwrap_or(name).trim_start_matches('.').trim_end_matches('.');
        let good =
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if !good {
            return Err(wrong());
        }
        Ok(Bypass::Domain(name.to_ascii_lowercase(), port))
    }

    fn holds(&self, endpoint: &Endpoint) -> bool {
        match self {
            Bypass::All => true,
            Bypass::Network(network, bits) => {
                endpoint.host.parse::<IpAddr>().is_ok_and(|address| same_network(address, *network, *bits))
            }
            Bypass::Domain(domain, port) => {
                let host = endpoint.host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (host == *domain || below) && port.is_none_or(|port| port == endpoint.port)
            }
        }
    }
}

fn same_network(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

impl Proxies {
    /// The proxy through which an endpoint is reached.
    pub fn to(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = if endpoint.tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.bypass.iter().any(|bypass| bypass.holds(endpoint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { tls: false, host: host.to_string(), port }
    }

    #[test]
    fn some_hosts_are_reached_without() {
        for (entry, host, port, expected) in [
            ("*", "a.example", 80, true),
            ("example.org", "example.org", 80, true),
            ("example.org", "shop.EXAMPLE.org.", 80, true),
            ("example.org", "badexample.org", 80, false),
            (".example.org", "example.org", 80, true),
            ("*.example.org", "a.example.org", 80, true),
            ("example.org:81", "example.org", 80, false),
            ("example.org:81", "example.org", 81, true),
            ("127.0.0.1", "127.0.0.1", 80, true),
            ("127.0.0.1", "127.0.0.11", 80, false),
            ("10.0.0.0/8", "10.9.8.7", 80, true),
            ("10.0.0.0/8", "11.9.8.7", 80, false),
            ("0.0.0.0/0", "11.9.8.7", 80, true),
            ("fd00::/8", "fd12::1", 80, true),
            ("[::1]", "::1", 80, true),
            ("10.0.0.0/8", "host-10", 80, false),
        ] {
            assert_eq!(
                Bypass::parse(entry).unwrap().holds(&endpoint(host, port)),
                expected,
                "{entry} {host}"
            );
        }
        for entry in ["", "a b", "10.0.0.0/33", "x/8", "h:port", "."] {
            assert!(Bypass::parse(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_proxy_does_not_show_its_password() {
        let proxy = Proxy {
            endpoint: endpoint("proxy", 3128),
            kind: ProxyKind::Http { tunnel: false },
            login: Some(("me".into(), "secret".into())),
        };
        assert_eq!(proxy.authorization().as_deref(), Some("Basic bWU6c2VjcmV0"));
        let proxies = Proxies { http: Some(proxy), ..Proxies::default() };
        let shown = format!("{proxies:?}");
        assert!(shown.contains("http://proxy:3128") && !shown.contains("secret"), "{shown}");
        assert!(proxies.to(&endpoint("h", 80)).is_some());
        assert!(proxies.to(&Endpoint { tls: true, ..endpoint("h", 443) }).is_none());
    }
}
