//! `--traces-from` as people write it.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::path::PathBuf;
use url::Url;

/// Where traces are fetched from after the fact.
#[derive(Clone)]
pub enum TraceSource {
    /// A backend with an HTTP API.
    Backend(Backend),
    /// Files or a folder of files.
    Files(PathBuf),
}

/// A backend and how to ask it.
#[derive(Clone)]
pub struct Backend {
    /// Which API it has.
    pub(super) kind: Kind,
    /// URL without user info, query and trailing slash.
    pub(super) base: String,
    /// Query pairs of the URL, for backends that have options there.
    pub(super) options: Vec<(String, String)>,
    /// Headers of every request: authorisation, tenant.
    pub(super) headers: HeaderMap,
    /// The URL with secrets masked.
    shown: String,
}

/// Which API a backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Jaeger,
    /// Jaeger's query API over gRPC.
    JaegerGrpc,
    Tempo,
    Zipkin,
    ClickHouse,
}

const KINDS: [(&str, Kind, &str); 4] = [
    ("jaeger", Kind::Jaeger, "http://127.0.0.1:16686"),
    ("tempo", Kind::Tempo, "http://127.0.0.1:3200"),
    ("zipkin", Kind::Zipkin, "http://127.0.0.1:9411"),
    ("clickhouse", Kind::ClickHouse, "http://127.0.0.1:8123"),
];

impl TraceSource {
    /// `jaeger:URL`, `tempo:URL`, `zipkin:URL`, `clickhouse:URL` (also with `+` or `=` for the colon), or `file:PATH`;
    /// `headers` are `name: value` or `name=value` texts for every request. Errors say what is expected and never repeat a
    /// secret.
    pub fn parse(text: &str, headers: &[String]) -> Result<TraceSource, String> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("file: needs a path, e.g. file:traces.json".into()),
                path => Ok(TraceSource::Files(PathBuf::from(path))),
            };
        }
        let found = KINDS.iter().find_map(|(name, kind, example)| {
            let rest = text.strip_prefix(name)?;
            let url = rest.strip_prefix([':', '+', '='])?;
            Some((*name, *kind, *example, url))
        });
        let Some((name, kind, example, url)) = found else {
            return Err(
                "expected receiver, none, jaeger:URL, tempo:URL, zipkin:URL, clickhouse:URL or file:PATH, e.g. \
                 jaeger:http://127.0.0.1:16686"
                    .into(),
            );
        };
        let wrong = |why: &str| format!("{name}: {why}; e.g. {name}:{example}");
        // `jaeger://host:16686` means http.
        let url = url.strip_prefix("//").map_or_else(|| url.to_owned(), |rest| format!("http://{rest}"));
        let parsed = Url::parse(&url).map_err(|error| wrong(&format!("the URL cannot be read ({error})")))?;
        let kind = match (kind, parsed.scheme()) {
            (Kind::Jaeger, "grpc" | "grpcs") => Kind::JaegerGrpc,
            (kind, "http" | "https") => kind,
            (Kind::Jaeger, _) => {
                return Err(wrong("an http, https, grpc or grpcs URL with a host is expected"));
            }
            _ => return Err(wrong("an http or https URL with a host is expected")),
        };
        if !parsed.has_host() {
            return Err(wrong("a URL with a host is expected"));
        }
        Ok(TraceSource::Backend(Backend {
            kind,
            base: base(&parsed),
            options: parsed.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect(),
            headers: header_map(kind, &parsed, headers)?,
            shown: format!("{name}:{}", masked(&parsed)),
        }))
    }
}

impl fmt::Display for TraceSource {
    /// For people and reports: no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceSource::Backend(backend) => f.write_str(&backend.shown),
            TraceSource::Files(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Backend {
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What the kind of backend is called.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Jaeger | Kind::JaegerGrpc => "jaeger",
            Kind::Tempo => "tempo",
            Kind::Zipkin => "zipkin",
            Kind::ClickHouse => "clickhouse",
        }
    }

    /// Whether it is searched with TraceQL.
    pub fn has_traceql(&self) -> bool {
        self.kind == Kind::Tempo
    }

    /// Where the API for queries usually is, for advice.
    pub fn query_api(&self) -> &'static str {
        match self.kind {
            Kind::Jaeger => "HTTP on port 16686, or jaeger:grpc://HOST:16685",
            Kind::JaegerGrpc => "gRPC on port 16685, or jaeger:http://HOST:16686",
            Kind::Tempo => "HTTP on port 3200",
            Kind::Zipkin => "HTTP on port 9411",
            Kind::ClickHouse => {
                "HTTP on port 8123, with ?database= and ?table= where they are not default and otel_traces"
            }
        }
    }

    /// For people and reports: no secrets.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Scheme, host, port and path. Paths that people copy from a browser or a data source's settings lose their end.
fn base(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let path = ["/search", "/api/v2", "/api"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Without user info, and with the values of queries that could be secrets as stars.
fn masked(url: &Url) -> String {
    let mut shown = base(url);
    if !url.username().is_empty() || url.password().is_some() {
        shown = shown.replacen("://", "://***@", 1);
    }
    let options: Vec<String> = url
        .query_pairs()
        .map(|(key, value)| match &*key {
            "database" | "table" => format!("{key}={value}"),
            key => format!("{key}=***"),
        })
        .collect();
    if options.is_empty() { shown } else { format!("{shown}?{}", options.join("&")) }
}

fn header_map(kind: Kind, url: &Url, headers: &[String]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    let decoded = |text: &str| {
        url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let mut secret = |name: HeaderName, value: &str| -> Result<(), String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of header {name} is not allowed in HTTP"))?;
        value.set_sensitive(true);
        map.append(name, value);
        Ok(())
    };
    if !url.username().is_empty() || url.password().is_some() {
        let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        if kind == Kind::ClickHouse {
            secret(HeaderName::from_static("x-clickhouse-user"), &user)?;
            secret(HeaderName::from_static("x-clickhouse-key"), &password)?;
        } else {
            let coded = crate::wire::base64::encode(format!("{user}:{password}").as_bytes());
            secret(reqwest::header::AUTHORIZATION, &format!("Basic {coded}"))?;
        }
    }
    for header in headers {
        let at = header.find([':', '=']).filter(|at| *at > 0);
        let Some((name, value)) = at.and_then(|at| Some((header.get(..at)?, header.get(at + 1..)?))) else {
            return Err(
                "--traces-header needs a name and a value, e.g. --traces-header 'X-Scope-OrgID: team-a'"
                    .into(),
            );
        };
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| format!("`{}` is no name of an HTTP header", name.trim()))?;
        secret(name, value.trim())?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(text: &str, headers: &[&str]) -> Backend {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        match TraceSource::parse(text, &headers) {
            Ok(TraceSource::Backend(backend)) => backend,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sources_as_people_write_them() {
        for (text, kind, base) in [
            ("jaeger:http://h:16686", Kind::Jaeger, "http://h:16686"),
            ("jaeger+http://h:16686/jaeger/ui/", Kind::Jaeger, "http://h:16686/jaeger/ui"),
            ("jaeger://h:16686/search", Kind::Jaeger, "http://h:16686"),
            ("tempo:https://t/tempo/api", Kind::Tempo, "https://t/tempo"),
            ("zipkin:http://[::1]:9411/api/v2", Kind::Zipkin, "http://[::1]:9411"),
            ("clickhouse:http://c:8123/?database=otel", Kind::ClickHouse, "http://c:8123"),
            ("jaeger=grpc://h:16685", Kind::JaegerGrpc, "grpc://h:16685"),
            ("jaeger:grpcs://h:443/", Kind::JaegerGrpc, "grpcs://h:443"),
        ] {
            let got = backend(text, &[]);
            assert_eq!((got.kind, got.base.as_str()), (kind, base), "{text}");
        }
        assert!(
            matches!(TraceSource::parse("file:a/b.json", &[]), Ok(TraceSource::Files(p)) if p.ends_with("b.json"))
        );
    }

    #[test]
    fn secrets_are_sent_and_never_shown() {
        let got = backend(
            "tempo:https://me:p%40ss@t:3200/?token=abc&x=1",
            &["X-Scope-OrgID: team", "Authorization=Bearer s3cret"],
        );
        let shown = format!("{:?}", TraceSource::Backend(got.clone()));
        assert_eq!(shown, "tempo:https://***@t:3200?token=***&x=***");
        assert!(!format!("{:?}", got.headers).contains("s3cret"), "{:?}", got.headers);
        assert_eq!(got.headers.get("x-scope-orgid").unwrap(), "team");
        let both: Vec<_> = got.headers.get_all("authorization").iter().collect();
        assert_eq!(both, ["Basic bWU6cEBzcw==", "Bearer s3cret"]);
        let click = backend("clickhouse:http://u:k@c:8123/?database=otel&table=otel_traces", &[]);
        assert_eq!(click.headers.get("x-clickhouse-key").unwrap(), "k");
        assert_eq!(click.shown(), "clickhouse:http://***@c:8123?database=otel&table=otel_traces");
    }

    #[test]
    fn errors_say_what_is_expected_and_keep_secrets() {
        for (text, words) in [
            ("elastic:http://x", "expected receiver, none, jaeger:URL"),
            ("jaeger", "expected receiver"),
            (
                "jaeger:h:16686",
                "an http, https, grpc or grpcs URL with a host is expected; e.g. jaeger:http://127.0.0.1:16686",
            ),
            ("tempo:grpc://h:3200", "an http or https URL with a host is expected"),
            ("tempo:ftp://user:secret@x", "http or https"),
            ("file:", "needs a path"),
        ] {
            let error = TraceSource::parse(text, &[]).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{text}: {error}");
        }
        let error = TraceSource::parse("tempo:http://x", &["secret".to_owned()]).unwrap_err();
        assert!(error.contains("--traces-header needs a name") && !error.contains("secret"));
    }
}
