//! `proxy:` under `http:`.

use super::super::address::Address;
use super::super::error::Fault;
use super::super::mask::Kind;
use super::super::proxy::{Bypass, Proxies, Proxy, ProxyKind};
use super::super::template::Names;
use super::super::yaml::{Node, Reader, Value};
use super::{Context, value};

/// The keys of `proxy:`.
pub(super) const PROXY_KEYS: &[&str] = &["url", "user", "password", "no_proxy", "tunnel"];
/// The port of SOCKS, where none is said.
const SOCKS_PORT: u16 = 1080;
/// Most bytes of a user's name or password (RFC 1929).
const SOCKS_LOGIN: usize = 255;
const WHAT: &str =
    "the URL of a proxy such as http://127.0.0.1:3128 or socks5h://127.0.0.1:1080, env, or none";

/// Reads `proxy:`: a URL, `env`, `none`, or a mapping.
pub(super) fn proxies(node: &Node, names: &Names, context: &Context) -> Result<Proxies, Fault> {
    if !matches!(node.value, Value::Map(_)) {
        return match node.text(context.source, WHAT)?.as_str() {
            "none" => Ok(Proxies::default()),
            "env" => from_environment(node, context),
            _ => {
                let proxy = at(node, names, context)?;
                Ok(Proxies { http: Some(proxy.clone()), https: Some(proxy), bypass: Vec::new() })
            }
        };
    }
    let reader = Reader::new(node, "a proxy", PROXY_KEYS)?;
    let mut proxy = at(reader.need("url", "where it is, e.g. http://127.0.0.1:3128")?, names, context)?;
    if let Some(user) = reader.get("user") {
        let part = |node: &Node| {
            context.secret(node, Kind::Value);
            let typed = node.text(context.source, "a user's name or password")?;
            value::fixed_text(node, &typed, names, context, "who asks a proxy")
        };
        let password = reader.get("password").map(&part).transpose()?.unwrap_or_default();
        proxy.login = Some((part(user)?, password));
    } else if let Some(key) = reader.key("password") {
        return Err(Fault::new(key.place, "a `password` goes with a `user`"));
    }
    if let Some(node) = reader.get("tunnel") {
        match &mut proxy.kind {
            ProxyKind::Http { tunnel } => *tunnel = node.flag()?,
            ProxyKind::Socks5 { .. } => {
                return Err(Fault::new(
                    node.place,
                    "a SOCKS proxy does nothing but tunnel: leave `tunnel` out",
                ));
            }
        }
    }
    let mut bypass = Vec::new();
    if let Some(node) = reader.get("no_proxy") {
        for node in node.items() {
            let text = node.text(context.source, "a host that is reached without the proxy")?;
            for entry in text.split(',') {
                bypass.push(Bypass::parse(entry).map_err(|why| Fault::new(node.place, why))?);
            }
        }
    }
    Ok(Proxies { http: Some(proxy.clone()), https: Some(proxy), bypass })
}

fn at(node: &Node, names: &Names, context: &Context) -> Result<Proxy, Fault> {
    context.secret(node, Kind::Url);
    let typed = node.text(context.source, WHAT)?;
    let fixed = value::fixed_text(node, &typed, names, context, "a proxy")?;
    parse(&fixed).map_err(|why| Fault::new(node.place, why))
}

fn parse(text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let kind = match scheme.to_ascii_lowercase().as_str() {
        "socks5" => ProxyKind::Socks5 { names: false },
        "socks5h" => ProxyKind::Socks5 { names: true },
        "socks" | "socks4" | "socks4a" => {
            return Err(format!(
                "`{scheme}` is a protocol of proxies that hotspan does not speak: it speaks http, https, socks5 and socks5h"
            ));
        }
        _ => ProxyKind::Http { tunnel: false },
    };
    let address = match kind {
        ProxyKind::Http { .. } => Address::parse(text)?,
        ProxyKind::Socks5 { .. } => {
            let port_is_lacking = url::Url::parse(text).is_ok_and(|url| url.port().is_none());
            let mut address = Address::parse(&format!("http://{rest}"))?;
            if port_is_lacking {
                address.endpoint.port = SOCKS_PORT;
            }
            address
        }
    };
    if address.path != "/" {
        return Err("a proxy has a host and a port, and no path".to_string());
    }
    let login = address.login;
    if let (ProxyKind::Socks5 { .. }, Some((user, password))) = (kind, &login)
        && (user.len() > SOCKS_LOGIN || password.len() > SOCKS_LOGIN)
    {
        return Err(format!("SOCKS has room for {SOCKS_LOGIN} bytes of a user's name and of a password"));
    }
    Ok(Proxy { endpoint: address.endpoint, kind, login })
}

/// As curl reads them: `http_proxy` (in small letters alone, because CGI sets the other from a request's header),
/// `https_proxy`, `all_proxy` and `no_proxy`.
fn from_environment(node: &Node, context: &Context) -> Result<Proxies, Fault> {
    let variable = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let all = &context.surroundings.environment;
        let either = all.get(name).or_else(|| all.get(&upper).filter(|_| name != "http_proxy"));
        either.map(|value| value.trim()).filter(|value| !value.is_empty())
    };
    let proxy = |name: &str| {
        let Some(value) = variable(name).or_else(|| variable("all_proxy")) else { return Ok(None) };
        // `host:port` is usual here.
        let whole = if value.contains("://") { value.to_string() } else { format!("http://{value}") };
        parse(&whole).map(Some).map_err(|_| {
            // The value may hold a password: it is not repeated.
            Fault::new(
                node.place,
                format!(
                    "the environment variable {name} (or all_proxy) is no URL of a proxy of HTTP or SOCKS 5"
                ),
            )
        })
    };
    let mut bypass = Vec::new();
    for entry in variable("no_proxy").unwrap_or_default().split([',', ' ']).filter(|e| !e.is_empty()) {
        bypass.push(Bypass::parse(entry).map_err(|why| Fault::new(node.place, format!("no_proxy: {why}")))?);
    }
    Ok(Proxies { http: proxy("http_proxy")?, https: proxy("https_proxy")?, bypass })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Endpoint, Surroundings, parse_with};
    use std::sync::Arc;

    fn read(proxy: &str, environment: &[(&str, &str)]) -> Result<(Proxies, String), String> {
        let text = format!(
            "target: http://h:81\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\nhttp: {{proxy: {proxy}}}\n"
        );
        let environment = environment.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let surroundings = Surroundings { environment: Arc::new(environment), ..Surroundings::default() };
        parse_with(&text, "t.yaml", &surroundings)
            .map(|scenario| (scenario.http_of(0).proxies.clone(), scenario.text().to_string()))
            .map_err(|error| error.to_string())
    }

    fn to(proxies: &Proxies, tls: bool, host: &str) -> String {
        let endpoint = Endpoint { tls, host: host.to_string(), port: if tls { 443 } else { 80 } };
        proxies.to(&endpoint).map(Proxy::origin).unwrap_or_default()
    }

    #[test]
    fn a_proxy_is_named_or_taken_from_the_environment() {
        let (proxies, text) =
            read("{url: 'http://p:3128', user: me, password: \"{{ env.PW }}\", no_proxy: [a.example, 10.0.0.0/8], tunnel: true}", &[("PW", "word")]).unwrap();
        assert_eq!(to(&proxies, false, "b.example"), "http://p:3128");
        assert_eq!((to(&proxies, true, "x.a.example"), to(&proxies, true, "10.1.1.1")), Default::default());
        let proxy = proxies.http.unwrap();
        assert_eq!(proxy.authorization().as_deref(), Some("Basic bWU6d29yZA=="));
        assert_eq!(proxy.kind, ProxyKind::Http { tunnel: true });
        assert!(!text.contains("word\"") && text.contains("***"), "{text}");
        let (proxies, text) = read("'https://me:pw@p:3129'", &[]).unwrap();
        assert_eq!(to(&proxies, true, "h"), "https://p:3129");
        assert!(!text.contains("me:pw"), "{text}");

        let environment =
            [("HTTP_PROXY", "http://cgi:1"), ("https_proxy", "p:3128"), ("NO_PROXY", "local, .x")];
        let (proxies, _) = read("env", &environment).unwrap();
        assert_eq!(
            (to(&proxies, false, "h"), to(&proxies, true, "h")),
            (String::new(), "http://p:3128".into())
        );
        assert_eq!(to(&proxies, true, "a.x"), "");
        let (proxies, _) = read("env", &[("ALL_PROXY", "http://all:1")]).unwrap();
        assert_eq!(
            (to(&proxies, false, "h"), to(&proxies, true, "h")),
            ("http://all:1".into(), "http://all:1".into())
        );
        assert_eq!(read("none", &environment).unwrap().0, Proxies::default());
        assert_eq!(read("env", &[]).unwrap().0, Proxies::default());
    }

    #[test]
    fn socks_has_a_port_and_a_login_of_its_own() {
        let (proxies, text) = read("'socks5h://me:p%40w@p'", &[]).unwrap();
        let proxy = proxies.https.unwrap();
        assert_eq!(
            (proxy.origin().as_str(), proxy.kind),
            ("socks5h://p:1080", ProxyKind::Socks5 { names: true })
        );
        assert_eq!(proxy.login, Some(("me".to_string(), "p@w".to_string())));
        assert!(!text.contains("p%40w"), "{text}");
        let (proxies, _) = read("env", &[("all_proxy", "socks5://[::1]:80")]).unwrap();
        assert_eq!(to(&proxies, false, "h"), "socks5://[::1]:80");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (proxy, said) in [
            ("p:3128", "with its scheme"),
            ("'socks4://p:1080'", "does not speak"),
            ("'ftp://p:1080'", "not HTTP"),
            ("{url: 'socks5://p', tunnel: true}", "leave `tunnel` out"),
            ("'socks5://p/x'", "no path"),
            ("'http://p:3128/x'", "no path"),
            ("{user: me}", "needs `url`"),
            ("{url: 'http://p', password: x}", "goes with a `user`"),
            ("{url: 'http://p', no_proxy: 'a b'}", "is no host"),
            ("{uri: 'http://p'}", "did you mean `url`?"),
        ] {
            let error = read(proxy, &[]).expect_err(proxy);
            assert!(error.contains(said) && error.contains("t.yaml:4"), "{proxy}: {error}");
        }
        let error = read("env", &[("https_proxy", "socks4://me:secret@p")]).unwrap_err();
        assert!(error.contains("https_proxy") && !error.contains("secret"), "{error}");
    }
}
