//! `proxy:` under `http:`.

use super::super::address::{Address, base64};
use super::super::error::Fault;
use super::super::mask::Kind;
use super::super::proxy::{Bypass, Proxies, Proxy};
use super::super::template::Names;
use super::super::yaml::{Node, Reader, Value};
use super::{Context, step};

/// The keys of `proxy:`.
pub(super) const PROXY_KEYS: &[&str] = &["url", "user", "password", "no_proxy", "tunnel"];
const WHAT: &str = "the URL of a proxy such as http://127.0.0.1:3128, env, or none";

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
            step::fixed_text(node, &typed, names, context, "who asks a proxy")
        };
        let password = reader.get("password").map(&part).transpose()?.unwrap_or_default();
        let plain = format!("{}:{password}", part(user)?);
        proxy.authorization = Some(format!("Basic {}", base64(plain.as_bytes())));
    } else if let Some(key) = reader.key("password") {
        return Err(Fault::new(key.place, "a `password` goes with a `user`"));
    }
    if let Some(node) = reader.get("tunnel") {
        proxy.tunnel = node.flag()?;
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
    let fixed = step::fixed_text(node, &typed, names, context, "a proxy")?;
    parse(&fixed).map_err(|why| Fault::new(node.place, why))
}

fn parse(text: &str) -> Result<Proxy, String> {
    let address = Address::parse(text)?;
    if address.path != "/" {
        return Err("a proxy has a host and a port, and no path".to_string());
    }
    Ok(Proxy { endpoint: address.endpoint, authorization: address.authorization, tunnel: false })
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
                format!("the environment variable {name} (or all_proxy) is no URL of an HTTP proxy"),
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
        proxies.to(&endpoint).map(|p| p.endpoint.origin()).unwrap_or_default()
    }

    #[test]
    fn a_proxy_is_named_or_taken_from_the_environment() {
        let (proxies, text) =
            read("{url: 'http://p:3128', user: me, password: \"{{ env.PW }}\", no_proxy: [a.example, 10.0.0.0/8], tunnel: true}", &[("PW", "word")]).unwrap();
        assert_eq!(to(&proxies, false, "b.example"), "http://p:3128");
        assert_eq!((to(&proxies, true, "x.a.example"), to(&proxies, true, "10.1.1.1")), Default::default());
        let proxy = proxies.http.unwrap();
        assert_eq!((proxy.authorization.as_deref(), proxy.tunnel), (Some("Basic bWU6d29yZA=="), true));
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
    fn what_is_wrong_is_said() {
        for (proxy, said) in [
            ("p:3128", "with its scheme"),
            ("'socks5://p:1080'", "not HTTP"),
            ("'http://p:3128/x'", "no path"),
            ("{user: me}", "needs `url`"),
            ("{url: 'http://p', password: x}", "goes with a `user`"),
            ("{url: 'http://p', no_proxy: 'a b'}", "is no host"),
            ("{uri: 'http://p'}", "did you mean `url`?"),
        ] {
            let error = read(proxy, &[]).expect_err(proxy);
            assert!(error.contains(said) && error.contains("t.yaml:4"), "{proxy}: {error}");
        }
        let error = read("env", &[("https_proxy", "socks5://me:secret@p")]).unwrap_err();
        assert!(error.contains("https_proxy") && !error.contains("secret"), "{error}");
    }
}
