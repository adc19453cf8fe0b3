//! `http:`: connections. At the top for all targets, under a target for that one alone.

use super::super::error::Fault;
use super::super::http_options::{
    AddressOrder, Coding, Decode, Dns, DnsCache, Family, HttpOptions, KeepAlive, Resolved, Sharing,
};
use super::super::template::Names;
use super::super::types::{ProtocolChoice, Trust};
use super::super::yaml::{Node, Reader, Value, entries};
use super::{Context, flag, one_of, positive_duration, proxy, quantity, tls_options};
use crate::record::Nanos;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The keys of `http:`.
pub(super) const HTTP_KEYS: &[&str] = &[
    "version",
    "keep_alive",
    "connections",
    "dns",
    "resolve",
    "source",
    "unix",
    "tls",
    "proxy",
    "accept_encoding",
    "decode",
    "first_byte",
    "max_body",
    "max_decoded",
];
pub(super) const KEEP_ALIVE_KEYS: &[&str] = &["requests", "for", "idle"];
pub(super) const DNS_KEYS: &[&str] = &["cache", "family", "order"];
/// Longest name of a UNIX socket: the kernel's room for it, less its end.
const MOST_SOCKET_NAME: usize = 107;

/// What the scenario says of all targets: `http`, and the shorter `insecure` and `http2`.
pub(super) fn top(top: &Reader, names: &Names, context: &Context) -> Result<HttpOptions, Fault> {
    let mut base = HttpOptions::default();
    if flag(top, "insecure")? {
        base.tls.trust = Trust::Anyone;
    }
    let node = top.get("http");
    if let Some(short) = top.get("http2") {
        if node.is_some_and(|http| {
            entries(http, "").is_ok_and(|all| all.iter().any(|(key, _)| key.text == "version"))
        }) {
            return Err(Fault::new(short.place, "`http2` and `version` under `http` say the same: keep one"));
        }
        base.version = if short.flag()? { ProtocolChoice::Http2 } else { ProtocolChoice::Http1 };
    }
    node.map_or(Ok(base.clone()), |node| options(node, base, names, context))
}

/// Reads `http:`; what it does not say stays as in `base`.
pub(super) fn options(
    node: &Node,
    base: HttpOptions,
    names: &Names,
    context: &Context,
) -> Result<HttpOptions, Fault> {
    let source = context.source;
    let mut options = base;
    let reader = Reader::new(node, "http", HTTP_KEYS)?;
    if let Some(node) = reader.get("version") {
        let known = [
            ("1.1", ProtocolChoice::Http1),
            ("2", ProtocolChoice::Http2Only),
            ("auto", ProtocolChoice::Negotiated),
        ];
        options.version = one_of(node, source, &known)?;
    }
    if let Some(node) = reader.get("keep_alive") {
        options.keep_alive = keep_alive(node, source)?;
    }
    if let Some(node) = reader.get("connections") {
        options.connections = sharing(node, source)?;
    }
    if let Some(node) = reader.get("dns") {
        options.dns = dns(node, source)?;
    }
    if let Some(node) = reader.get("resolve") {
        options.resolve.clear();
        for (key, node) in
            entries(node, "a mapping of hosts to addresses, e.g. {shop.example: 127.0.0.1:8080}")?
        {
            options.resolve.push(resolved(&key.text, node, source)?);
        }
    }
    if let Some(node) = reader.get("source") {
        options.sources.clear();
        for node in node.items() {
            let text = node.text(source, "a local address such as 127.0.0.2")?;
            let address =
                text.parse::<IpAddr>().map_err(|_| node.expected("a local address such as 127.0.0.2"))?;
            options.sources.push(address);
        }
    }
    if let Some(node) = reader.get("unix") {
        options.unix = Some(socket(node, context)?);
        if let Some(key) = reader.key("proxy") {
            return Err(Fault::new(
                key.place,
                "a UNIX socket is on this machine: it has no `proxy` before it",
            ));
        }
    }
    if let Some(node) = reader.get("tls") {
        options.tls = tls_options::options(node, options.tls, names, context)?;
    }
    if let Some(node) = reader.get("proxy") {
        options.proxies = proxy::proxies(node, names, context)?;
    }
    bodies(&reader, &mut options, source)?;
    Ok(options)
}

/// What an answer may cost.
fn bodies(reader: &Reader, options: &mut HttpOptions, source: &str) -> Result<(), Fault> {
    if let Some(node) = reader.get("accept_encoding") {
        options.accept_encoding.clear();
        for node in node.items() {
            let coding = one_of(node, source, &Coding::NAMES)?;
            if options.accept_encoding.contains(&coding) {
                return Err(Fault::new(node.place, format!("`{}` stands here a second time", coding.name())));
            }
            options.accept_encoding.push(coding);
        }
    }
    if let Some(node) = reader.get("decode") {
        let known = [("needed", Decode::Needed), ("always", Decode::Always), ("never", Decode::Never)];
        options.decode = one_of(node, source, &known)?;
    }
    if let Some(node) = reader.get("first_byte") {
        options.first_byte = Some(positive_duration(node, source, "a timeout")?);
    }
    if let Some(node) = reader.get("max_body") {
        options.max_body = size(node, source)?;
    }
    if let Some(node) = reader.get("max_decoded") {
        options.max_decoded = size(node, source)?;
    }
    Ok(())
}

/// `true`, `false`, a number of requests, a duration, or a mapping of limits.
fn keep_alive(node: &Node, source: &str) -> Result<KeepAlive, Fault> {
    const WHAT: &str =
        "true, false, a number of requests such as 100, a duration such as 30s, or {requests, for, idle}";
    let KeepAlive::Within { mut requests, mut lifetime, mut idle } = KeepAlive::UNLIMITED else {
        return Ok(KeepAlive::Always);
    };
    match &node.value {
        Value::Bool(true) => return Ok(KeepAlive::Always),
        Value::Bool(false) => return Ok(KeepAlive::Never),
        Value::Int(_) => requests = count(node, "keep_alive")?,
        Value::Map(_) => {
            let reader = Reader::new(node, "keep_alive", KEEP_ALIVE_KEYS)?;
            if let Some(node) = reader.get("requests") {
                requests = count(node, "requests")?;
            }
            if let Some(node) = reader.get("for") {
                lifetime = positive_duration(node, source, "a connection's life")?;
            }
            if let Some(node) = reader.get("idle") {
                idle = positive_duration(node, source, "an idle time")?;
            }
        }
        _ => {
            let text = node.text(source, WHAT)?;
            lifetime = match quantity::duration(&text) {
                Ok(length) if length > Nanos::ZERO => length,
                _ => return Err(node.expected(WHAT)),
            };
        }
    }
    Ok(KeepAlive::Within { requests, lifetime, idle })
}

fn count(node: &Node, what: &str) -> Result<u32, Fault> {
    node.count(what, 1..=i64::from(u32::MAX))
}

/// `per_user` or `{shared: 50}`.
fn sharing(node: &Node, source: &str) -> Result<Sharing, Fault> {
    if let Value::Map(_) = node.value {
        let reader = Reader::new(node, "connections", &["shared"])?;
        let most = reader.need("shared", "how many connections to a host all users share")?;
        return Ok(Sharing::Shared(most.count("shared", 1..=1_000_000)?));
    }
    let text = node.text(source, "per_user or {shared: 50}")?;
    if text == "per_user" { Ok(Sharing::PerUser) } else { Err(node.expected("per_user or {shared: 50}")) }
}

/// `once`, `30s`, or `{cache: 30s, family: ipv4, order: in_turn}`.
fn dns(node: &Node, source: &str) -> Result<Dns, Fault> {
    let cache = |node: &Node| {
        let text = node.text(source, "never, once, or a duration such as 30s")?;
        match text.as_str() {
            "never" => Ok(DnsCache::Never),
            "once" => Ok(DnsCache::Once),
            _ => match quantity::duration(&text) {
                Ok(length) if length > Nanos::ZERO => Ok(DnsCache::For(length)),
                _ => Err(node.expected("never, once, or a duration such as 30s")),
            },
        }
    };
    if !matches!(node.value, Value::Map(_)) {
        return Ok(Dns { cache: cache(node)?, ..Dns::default() });
    }
    let reader = Reader::new(node, "dns", DNS_KEYS)?;
    let mut dns = Dns::default();
    if let Some(node) = reader.get("cache") {
        dns.cache = cache(node)?;
    }
    if let Some(node) = reader.get("family") {
        let known = [("any", Family::Any), ("ipv4", Family::V4), ("ipv6", Family::V6)];
        dns.family = one_of(node, source, &known)?;
    }
    if let Some(node) = reader.get("order") {
        let known = [("first", AddressOrder::First), ("in_turn", AddressOrder::InTurn)];
        dns.order = one_of(node, source, &known)?;
    }
    Ok(dns)
}

/// The name of a UNIX socket, beside the scenario where it does not begin with `/`.
fn socket(node: &Node, context: &Context) -> Result<PathBuf, Fault> {
    let name = node.text(context.source, "the name of a UNIX socket such as /run/app.sock")?;
    let path = Path::new(context.file).parent().unwrap_or(Path::new("")).join(&name);
    let long = path.as_os_str().len();
    if name.is_empty() || name.contains('\0') {
        return Err(node.expected("the name of a UNIX socket such as /run/app.sock"));
    }
    if long > MOST_SOCKET_NAME {
        let why =
            format!("the name has {long} bytes, and the system takes {MOST_SOCKET_NAME}: use a shorter path");
        return Err(Fault::new(node.place, why));
    }
    Ok(path)
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
        parse(&text, "t.yaml").map(|scenario| scenario.http_of(0).clone()).map_err(|error| error.to_string())
    }

    fn within(requests: u32, lifetime: u64, idle: u64) -> KeepAlive {
        let length = |ms| if ms == u64::MAX { Nanos(ms) } else { Nanos::from_millis(ms) };
        KeepAlive::Within { requests, lifetime: length(lifetime), idle: length(idle) }
    }

    #[test]
    fn connections_are_told_how_to_live() {
        assert_eq!(read("{}").unwrap(), HttpOptions::default());
        for (text, expected) in [
            ("true", KeepAlive::Always),
            ("false", KeepAlive::Never),
            ("100", within(100, u64::MAX, u64::MAX)),
            ("30s", within(u32::MAX, 30_000, u64::MAX)),
            ("{requests: 5, idle: 2s}", within(5, u64::MAX, 2_000)),
            ("{for: 1m, idle: 2s}", within(u32::MAX, 60_000, 2_000)),
        ] {
            assert_eq!(read(&format!("{{keep_alive: {text}}}")).unwrap().keep_alive, expected);
        }
        let all = read("{source: [127.0.0.2, '::1'], first_byte: 2s, max_body: 64KiB}").unwrap();
        assert_eq!(all.sources.len(), 2);
        assert_eq!((all.first_byte, all.max_body), (Some(Nanos::from_millis(2_000)), 64 << 10));
        assert_eq!(read("{source: 127.0.0.2, max_body: 5}").unwrap().max_body, 5);
    }

    #[test]
    fn everything_else_is_read() {
        let all = read("{version: auto, connections: {shared: 50}, dns: {cache: 30s, family: ipv4, order: in_turn}, accept_encoding: [br, zstd], decode: always, max_decoded: 1MiB, unix: app.sock}").unwrap();
        assert_eq!((all.version, all.connections), (ProtocolChoice::Negotiated, Sharing::Shared(50)));
        assert_eq!(
            all.dns,
            Dns {
                cache: DnsCache::For(Nanos::from_millis(30_000)),
                family: Family::V4,
                order: AddressOrder::InTurn
            }
        );
        assert_eq!((all.accepts().as_deref(), all.decode), (Some("br, zstd"), Decode::Always));
        assert_eq!((all.max_decoded, all.unix.as_deref()), (1 << 20, Some(Path::new("app.sock"))));
        for (text, expected) in [("2", ProtocolChoice::Http2Only), ("1.1", ProtocolChoice::Http1)] {
            assert_eq!(read(&format!("{{version: {text}}}")).unwrap().version, expected);
        }
        assert_eq!(read("{dns: once}").unwrap().dns.cache, DnsCache::Once);
        assert_eq!(read("{connections: per_user}").unwrap().connections, Sharing::PerUser);
    }

    #[test]
    fn a_target_can_have_options_of_its_own() {
        let text = "targets: {a: http://h:1, b: {url: 'http://h:2', http: {keep_alive: false}}}\nload: {users: 1, for: 1s}\nsteps: [GET /]\nhttp: {version: auto}\n";
        let scenario = parse(text, "t.yaml").unwrap();
        let of = |n: usize| (scenario.http_of(n).version, scenario.http_of(n).keep_alive);
        assert_eq!(of(0), (ProtocolChoice::Negotiated, KeepAlive::Always));
        assert_eq!(of(1), (ProtocolChoice::Negotiated, KeepAlive::Never));
        let twice = text.replace("h:1", "h:2");
        assert!(parse(&twice, "t.yaml").unwrap_err().to_string().contains("another target of the same host"));
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
            ("{version: 3}", "did you mean `2`?"),
            ("{version: newest}", "one of `1.1`, `2` and `auto`"),
            ("{keep_alive: {request: 5}}", "did you mean `requests`?"),
            ("{keep_alive: {idle: 0s}}", "longer than nothing"),
            ("{connections: shared}", "per_user or {shared: 50}"),
            ("{connections: {shared: 0}}", "from 1 to"),
            ("{dns: often}", "never, once, or a duration"),
            ("{dns: {family: ipv5}}", "did you mean"),
            ("{unix: a, proxy: env}", "has no `proxy` before it"),
            ("{accept_encoding: [gzip, gzip]}", "a second time"),
            ("{accept_encoding: bzip2}", "one of"),
            ("{decode: sometimes}", "one of"),
            ("{max_decoded: lots}", "a size such as"),
        ] {
            let error = read(http).expect_err(http);
            assert!(error.contains(said) && error.contains("t.yaml:4"), "{http}: {error}");
        }
    }
}
