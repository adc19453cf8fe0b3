//! `http:`: connections.

use super::super::error::Fault;
use super::super::http_options::{HttpOptions, KeepAlive, Resolved};
use super::super::yaml::{Node, Reader, Value, entries};
use super::{positive_duration, quantity};
use std::net::{IpAddr, SocketAddr};

/// The keys of `http:`.
pub(super) const HTTP_KEYS: &[&str] = &["keep_alive", "resolve", "source", "first_byte", "max_body"];

/// Reads `http:`.
pub(super) fn options(top: &Reader, source: &str) -> Result<HttpOptions, Fault> {
    let mut options = HttpOptions::default();
    let Some(node) = top.get("http") else { return Ok(options) };
    let reader = Reader::new(node, "http", HTTP_KEYS)?;
    if let Some(node) = reader.get("keep_alive") {
        options.keep_alive = keep_alive(node, source)?;
    }
    if let Some(node) = reader.get("resolve") {
        for (key, node) in
            entries(node, "a mapping of hosts to addresses, e.g. {shop.example: 127.0.0.1:8080}")?
        {
            options.resolve.push(resolved(&key.text, node, source)?);
        }
    }
    if let Some(node) = reader.get("source") {
        let nodes =
            if let Value::List(nodes) = &node.value { nodes.as_slice() } else { std::slice::from_ref(node) };
        for node in nodes {
            let text = node.text(source, "a local address such as 127.0.0.2")?;
            let address =
                text.parse::<IpAddr>().map_err(|_| node.expected("a local address such as 127.0.0.2"))?;
            options.sources.push(address);
        }
    }
    if let Some(node) = reader.get("first_byte") {
        options.first_byte = Some(positive_duration(node, source, "a timeout")?);
    }
    if let Some(node) = reader.get("max_body") {
        options.max_body = size(node, source)?;
    }
    Ok(options)
}

/// `true`, `false`, a number of requests, or a duration.
fn keep_alive(node: &Node, source: &str) -> Result<KeepAlive, Fault> {
    const WHAT: &str = "true, false, a number of requests such as 100, or a duration such as 30s";
    match node.value {
        Value::Bool(true) => return Ok(KeepAlive::Always),
        Value::Bool(false) => return Ok(KeepAlive::Never),
        Value::Int(_) => return Ok(KeepAlive::Requests(node.count("keep_alive", 1..=i64::from(u32::MAX))?)),
        _ => {}
    }
    let text = node.text(source, WHAT)?;
    match quantity::duration(&text) {
        Ok(length) if length.0 > 0 => Ok(KeepAlive::For(length)),
        _ => Err(node.expected(WHAT)),
    }
}

/// `host[:port]: address[:port]`.
fn resolved(host: &str, node: &Node, source: &str) -> Result<Resolved, Fault> {
    const WHAT: &str = "an address with or without a port, such as 127.0.0.1:8080";
    let text = node.text(source, WHAT)?;
    let (address, at_port) = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(at), _) => (at.ip(), Some(at.port())),
        (_, Ok(address)) => (address, None),
        _ => return Err(node.expected(WHAT)),
    };
    let (host, port) = match host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
        Some((name, Ok(port))) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
    Ok(Resolved { host, port, address, at_port })
}

/// Bytes: a number, or one with kB, MB, GB, KiB, MiB or GiB.
fn size(node: &Node, source: &str) -> Result<u64, Fault> {
    const WHAT: &str = "a size such as 64KiB or 10MB";
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let text = node.text(source, WHAT)?;
    let found = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = found.unwrap_or((&text, 1));
    digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(|| node.expected(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Nanos;
    use crate::scenario::{Endpoint, parse};

    fn read(http: &str) -> Result<HttpOptions, String> {
        let text =
            format!("target: http://h:81\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\nhttp: {http}\n");
        parse(&text, "t.yaml").map(|scenario| scenario.http).map_err(|error| error.to_string())
    }

    #[test]
    fn connections_are_told_how_to_live() {
        assert_eq!(read("{}").unwrap(), HttpOptions::default());
        for (text, expected) in [
            ("true", KeepAlive::Always),
            ("false", KeepAlive::Never),
            ("100", KeepAlive::Requests(100)),
            ("30s", KeepAlive::For(Nanos::from_millis(30_000))),
        ] {
            assert_eq!(read(&format!("{{keep_alive: {text}}}")).unwrap().keep_alive, expected);
        }
        let all = read("{source: [127.0.0.2, '::1'], first_byte: 2s, max_body: 64KiB}").unwrap();
        assert_eq!(all.sources.len(), 2);
        assert_eq!((all.first_byte, all.max_body), (Some(Nanos::from_millis(2_000)), 64 << 10));
        assert_eq!(read("{source: 127.0.0.2, max_body: 5}").unwrap().max_body, 5);
    }

    #[test]
    fn hosts_are_where_the_file_says() {
        let options = read("{resolve: {'H:81': '127.0.0.1:8080', h: 127.0.0.2, '[::1]:9': '::2'}}").unwrap();
        let at = |host: &str, port| {
            let found = options.resolved(&Endpoint { tls: false, host: host.to_string(), port });
            found.map(|address| address.to_string()).unwrap_or_default()
        };
        assert_eq!((at("h", 81), at("h", 82)), ("127.0.0.1:8080".into(), "127.0.0.2:82".into()));
        assert_eq!(
            (at("::1", 9), at("::1", 8), at("other", 81)),
            ("[::2]:9".into(), String::new(), String::new())
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (http, said) in [
            ("{keepalive: true}", "did you mean `keep_alive`?"),
            ("{keep_alive: often}", "true, false, a number of requests"),
            ("{keep_alive: 0}", "keep_alive"),
            ("{resolve: {h: somewhere}}", "an address with or without a port"),
            ("{source: here}", "a local address"),
            ("{max_body: much}", "a size such as"),
            ("{first_byte: 0s}", "longer than nothing"),
        ] {
            let error = read(http).expect_err(http);
            assert!(error.contains(said) && error.contains("t.yaml:4"), "{http}: {error}");
        }
    }
}
