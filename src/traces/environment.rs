//! Where hotspan's own telemetry goes, from the `OTEL_*` environment variables as the OpenTelemetry specification
//! defines them ("OTLP exporter configuration", "SDK environment variables"): an empty value is as good as none, a value
//! that cannot be understood is a warning and is ignored, and what is set for one signal wins over what is set for all.
//!
//! One thing differs on purpose: where no endpoint is set nothing is sent. A load tester that talks to localhost:4317
//! unasked would send its spans to its own receiver.

use crate::wire::otlp::Signal;
use crate::wire::otlp::{ExemplarFilter, HistogramForm, Temporality};
use std::time::Duration;
use url::Url;

/// How OTLP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    HttpProtobuf,
    /// HTTP with JSON bodies.
    HttpJson,
}

/// Whether requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// With gzip.
    Gzip,
}

/// A place to send one signal to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Full URL for HTTP; scheme and authority for gRPC.
    pub url: String,
    /// How it is reached.
    pub transport: Transport,
    /// Headers (metadata) of every request.
    pub headers: Vec<(String, String)>,
    /// Compression of every request.
    pub compression: Compression,
    /// Longest time for one request.
    pub timeout: Duration,
    /// File with certificates to trust instead of the system's.
    pub certificate: Option<String>,
    /// Files with a certificate (chain) and its key, for servers that ask who calls.
    pub identity: Option<(String, String)>,
}

/// Everything that the environment says about export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// Where client spans go; absent: nowhere.
    pub traces: Option<Endpoint>,
    /// Where metrics go; absent: nowhere.
    pub metrics: Option<Endpoint>,
    /// Where events (start and end of the run) go; absent: nowhere.
    pub logs: Option<Endpoint>,
    /// Resource attributes, `service.name` always among them.
    pub resource: Vec<(String, String)>,
    /// Temporality of metrics.
    pub temporality: Temporality,
    /// Form of histograms.
    pub histograms: HistogramForm,
    /// Which measurements become exemplars.
    pub exemplars: ExemplarFilter,
    /// Time between exports of metrics.
    pub metric_interval: Duration,
    /// Bytes that may wait to be sent.
    pub queue_bytes: usize,
    /// Values that were ignored, as sentences.
    pub warnings: Vec<String>,
}

/// Bytes that may wait to be sent, unless told otherwise: over two minutes of 5,000 spans/s while nobody answers would
/// need 200 MB; this is half a minute.
pub(super) const QUEUE_BYTES: usize = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

impl ExportConfig {
    /// From a way to look up variables; pure.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> ExportConfig {
        let mut env = Environment { get, warnings: Vec::new() };
        let disabled = env.flag("OTEL_SDK_DISABLED");
        let mut config = ExportConfig {
            traces: None,
            metrics: None,
            logs: None,
            exemplars: env.exemplars(),
            resource: env.resource(),
            temporality: env.temporality(),
            histograms: env.histograms(),
            metric_interval: env.millis("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(Duration::from_secs(60)),
            queue_bytes: QUEUE_BYTES,
            warnings: Vec::new(),
        };
        if !disabled {
            config.traces = env.endpoint(Signal::Traces);
            config.metrics = env.endpoint(Signal::Metrics);
            config.logs = env.endpoint(Signal::Logs);
        }
        config.warnings = env.warnings;
        config
    }

    /// The endpoints of all signals.
    pub fn endpoints(&mut self) -> [(Signal, &mut Option<Endpoint>); 3] {
        let ExportConfig { traces, metrics, logs, .. } = self;
        [(Signal::Traces, traces), (Signal::Metrics, metrics), (Signal::Logs, logs)]
    }

    /// Whether anything is sent anywhere.
    pub fn sends(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }

    /// Sends all signals to a URL that was given otherwise (a scenario, a command line), as [`Endpoint::from_url`]
    /// understands it. Headers, compression and timeouts from the environment stay.
    pub fn send_to(&mut self, url: &str) -> Result<(), String> {
        for (signal, endpoint) in self.endpoints() {
            let given = Endpoint::from_url(url, signal)?;
            match endpoint {
                Some(endpoint) => (endpoint.url, endpoint.transport) = (given.url, given.transport),
                None => *endpoint = Some(given),
            }
        }
        Ok(())
    }
}

impl Endpoint {
    /// Understands a URL as people write it: `grpc://` and `grpcs://` and port 4317 (or one that ends so, as in
    /// 14317) without a path mean gRPC; everything else means HTTP, with `/v1/traces` and so on after the path.
    pub fn from_url(text: &str, signal: Signal) -> Result<Endpoint, String> {
        let wrong =
            |why: &str| format!("`{text}` is not an OTLP endpoint: {why}; e.g. http://127.0.0.1:4317");
        let (url, grpc) = match text.split_once("://") {
            Some(("grpc", rest)) => (format!("http://{rest}"), true),
            Some(("grpcs", rest)) => (format!("https://{rest}"), true),
            Some(_) => (text.to_owned(), false),
            None => return Err(wrong("it has no scheme")),
        };
        let parsed = Url::parse(&url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none_or(str::is_empty) {
            return Err(wrong("only http, https, grpc and grpcs URLs with a host are"));
        }
        let no_path = matches!(parsed.path(), "" | "/");
        let grpc_port = parsed.port().is_some_and(|port| port % 10_000 == 4317);
        let transport =
            if grpc || (no_path && grpc_port) { Transport::Grpc } else { Transport::HttpProtobuf };
        let url = match transport {
            Transport::Grpc => origin(&parsed),
            Transport::HttpProtobuf | Transport::HttpJson => {
                // A URL that names one signal's path stands for all three.
                let base = Signal::ALL.iter().find_map(|signal| url.strip_suffix(signal.path()));
                format!("{}{}", base.unwrap_or(&url).trim_end_matches('/'), signal.path())
            }
        };
        Ok(Endpoint {
            url,
            transport,
            headers: Vec::new(),
            compression: Compression::None,
            timeout: TIMEOUT,
            certificate: None,
            identity: None,
        })
    }
}

/// Scheme and authority.
fn origin(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

struct Environment<G> {
    get: G,
    warnings: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Environment<G> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn warn<T>(&mut self, name: &str, value: &str, expected: &str) -> Option<T> {
        self.warnings.push(format!("{name}={value} is ignored: expected {expected}"));
        None
    }

    /// The value for one signal, else the one for all, with the name it was found under.
    fn for_signal(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.variable());
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, all].into_iter().find_map(|name| Some((self.text(&name)?, name)))
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.text(name) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(value) => self.warn::<bool>(name, &value, "true or false").unwrap_or(false),
            None => false,
        }
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        let value = self.text(name)?;
        match value.parse::<u64>() {
            Ok(millis) if millis > 0 => Some(Duration::from_millis(millis)),
            _ => self.warn(name, &value, "a number of milliseconds"),
        }
    }

    fn endpoint(&mut self, signal: Signal) -> Option<Endpoint> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.variable());
        match self.text(&exporter) {
            Some(value) if value == "none" => return None,
            Some(value) if !value.split(',').any(|one| one.trim() == "otlp") => {
                return self.warn(&exporter, &value, "otlp or none");
            }
            _ => {}
        }
        let (value, name) = self.for_signal(signal, "ENDPOINT")?;
        let transport = self.transport(signal);
        let url = self.url(signal, &name, &value, transport)?;
        Some(Endpoint {
            url,
            transport,
            headers: self.headers(signal),
            compression: self.compression(signal),
            timeout: self.timeout(signal),
            certificate: self.for_signal(signal, "CERTIFICATE").map(|(path, _)| path),
            identity: self.identity(signal),
        })
    }

    fn transport(&mut self, signal: Signal) -> Transport {
        match self.for_signal(signal, "PROTOCOL") {
            Some((value, name)) => match value.as_str() {
                "grpc" => Transport::Grpc,
                "http/protobuf" => Transport::HttpProtobuf,
                "http/json" => Transport::HttpJson,
                _ => {
                    let expected = "grpc, http/protobuf or http/json; http/protobuf is used";
                    self.warn::<Transport>(&name, &value, expected);
                    Transport::HttpProtobuf
                }
            },
            None => Transport::HttpProtobuf,
        }
    }

    /// An endpoint for all signals gets the signal's path, one for a single signal is taken as it is.
    fn url(&mut self, signal: Signal, name: &str, value: &str, transport: Transport) -> Option<String> {
        let mut url = value.to_owned();
        if transport == Transport::Grpc && !value.contains("://") {
            let insecure =
                self.for_signal(signal, "INSECURE").is_some_and(|(v, _)| v.eq_ignore_ascii_case("true"));
            url = format!("{}://{value}", if insecure { "http" } else { "https" });
        }
        let parsed = match Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => parsed,
            _ => return self.warn(name, value, "a URL that begins with http:// or https://"),
        };
        Some(match transport {
            Transport::Grpc => origin(&parsed),
            _ if name == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                format!("{}{}", url.trim_end_matches('/'), signal.path())
            }
            _ => parsed.to_string(),
        })
    }

    fn headers(&mut self, signal: Signal) -> Vec<(String, String)> {
        let Some((value, name)) = self.for_signal(signal, "HEADERS") else { return Vec::new() };
        match pairs(&value) {
            Some(pairs) => pairs,
            // Headers carry secrets, so the value is not repeated.
            None => self.warn(&name, "…", "key=value pairs separated by commas").unwrap_or_default(),
        }
    }

    /// A client certificate needs its key, and a key its certificate.
    fn identity(&mut self, signal: Signal) -> Option<(String, String)> {
        let certificate = self.for_signal(signal, "CLIENT_CERTIFICATE");
        match (certificate, self.for_signal(signal, "CLIENT_KEY")) {
            (Some((certificate, _)), Some((key, _))) => Some((certificate, key)),
            (Some((path, name)), None) => self.warn(&name, &path, "its key beside it, in …_CLIENT_KEY"),
            (None, Some((path, name))) => {
                self.warn(&name, &path, "its certificate beside it, in …_CLIENT_CERTIFICATE")
            }
            (None, None) => None,
        }
    }

    fn exemplars(&mut self) -> ExemplarFilter {
        let name = "OTEL_METRICS_EXEMPLAR_FILTER";
        match self.text(name).map(|value| value.to_lowercase()).as_deref() {
            None | Some("trace_based") => ExemplarFilter::TraceBased,
            Some("always_on") => ExemplarFilter::AlwaysOn,
            Some("always_off") => ExemplarFilter::AlwaysOff,
            Some(value) => {
                let value = value.to_owned();
                self.warn(name, &value, "always_on, always_off or trace_based").unwrap_or_default()
            }
        }
    }

    fn compression(&mut self, signal: Signal) -> Compression {
        match self.for_signal(signal, "COMPRESSION") {
            Some((value, _)) if value == "gzip" => Compression::Gzip,
            Some((value, name)) if value != "none" => {
                self.warn(&name, &value, "gzip or none").unwrap_or_default()
            }
            _ => Compression::None,
        }
    }

    fn timeout(&mut self, signal: Signal) -> Duration {
        let name = self.for_signal(signal, "TIMEOUT").map(|(_, name)| name);
        name.and_then(|name| self.millis(&name)).unwrap_or(TIMEOUT)
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let mut resource = Vec::new();
        if let Some(value) = self.text("OTEL_RESOURCE_ATTRIBUTES") {
            match pairs(&value) {
                Some(pairs) => resource = pairs,
                // The specification discards the value whole.
                None => drop(self.warn::<()>(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    &value,
                    "key=value pairs separated by commas, percent-encoded",
                )),
            }
        }
        let named = resource.iter().any(|(key, _)| key == "service.name");
        match self.text("OTEL_SERVICE_NAME") {
            Some(name) => {
                resource.retain(|(key, _)| key != "service.name");
                resource.push(("service.name".into(), name));
            }
            None if !named => resource.push(("service.name".into(), "hotspan".into())),
            None => {}
        }
        resource
    }

    fn temporality(&mut self) -> Temporality {
        let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        match self.text(name).map(|value| value.to_lowercase()).as_deref() {
            None | Some("cumulative") => Temporality::Cumulative,
            // hotspan's counters and histograms are synchronous, which "lowmemory" sends as deltas.
            Some("delta" | "lowmemory") => Temporality::Delta,
            Some(value) => {
                let value = value.to_owned();
                self.warn(name, &value, "cumulative, delta or lowmemory").unwrap_or_default()
            }
        }
    }

    fn histograms(&mut self) -> HistogramForm {
        let name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        match self.text(name).map(|value| value.to_lowercase()).as_deref() {
            None | Some("base2_exponential_bucket_histogram") => HistogramForm::Exponential,
            Some("explicit_bucket_histogram") => HistogramForm::Explicit,
            Some(value) => {
                let value = value.to_owned();
                let expected = "explicit_bucket_histogram or base2_exponential_bucket_histogram";
                self.warn(name, &value, expected).unwrap_or_default()
            }
        }
    }
}

/// `key=value` pairs separated by commas, values percent-encoded (W3C Baggage without properties); `None` where it is
/// no such list.
pub fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (percent_decode(key.trim())?, percent_decode(value.trim())?);
        if key.is_empty() {
            return None;
        }
        pairs.push((key, value));
    }
    Some(pairs)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let ([high, low], tail) = rest.split_first_chunk::<2>()?;
        let digit = |c: u8| char::from(c).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> ExportConfig {
        ExportConfig::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn traces(variables: &[(&str, &str)]) -> Endpoint {
        let config = config(variables);
        assert_eq!(config.warnings, Vec::<String>::new());
        config.traces.unwrap()
    }

    #[test]
    fn nothing_set_sends_nothing() {
        let config = config(&[]);
        assert_eq!((config.traces, config.metrics), (None, None));
        assert_eq!(config.resource, [("service.name".to_owned(), "hotspan".to_owned())]);
        assert_eq!(config.metric_interval, Duration::from_secs(60));
    }

    #[test]
    fn the_general_endpoint_is_a_base_and_a_signals_own_is_taken_as_it_is() {
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        for (name, value, url) in [
            (ALL, "http://c:4318", "http://c:4318/v1/traces"),
            (ALL, "http://c:4318/", "http://c:4318/v1/traces"),
            (ALL, "https://c/otlp", "https://c/otlp/v1/traces"),
            (ALL, "https://c/otlp/", "https://c/otlp/v1/traces"),
            (OWN, "http://c:4318", "http://c:4318/"),
            (OWN, "http://c:4318/my/place", "http://c:4318/my/place"),
        ] {
            assert_eq!(traces(&[(name, value)]).url, url, "{name}={value}");
        }
        let both = config(&[(ALL, "http://all:4318"), (OWN, "http://own:4318/x")]);
        assert_eq!(both.traces.unwrap().url, "http://own:4318/x");
        assert_eq!(both.metrics.unwrap().url, "http://all:4318/v1/metrics");
    }

    #[test]
    fn grpc_endpoints_lose_their_path_and_may_lack_a_scheme() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        for (value, insecure, url) in [
            ("http://c:4317", "", "http://c:4317"),
            ("http://c:4317/ignored", "", "http://c:4317"),
            ("c:4317", "", "https://c:4317"),
            ("c:4317", "true", "http://c:4317"),
            ("https://c:4317", "true", "https://c:4317"),
        ] {
            let variables =
                [grpc, ("OTEL_EXPORTER_OTLP_ENDPOINT", value), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
            let endpoint = traces(&variables);
            assert_eq!((endpoint.url.as_str(), endpoint.transport), (url, Transport::Grpc), "{value}");
        }
    }

    #[test]
    fn a_signals_own_settings_win() {
        let config = config(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b , x=1=2"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=m"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/ca.pem"),
        ]);
        let (traces, metrics) = (config.traces.unwrap(), config.metrics.unwrap());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(traces.headers, [pair("api-key", "a b"), pair("x", "1=2")]);
        assert_eq!(metrics.headers, [pair("api-key", "m")]);
        assert_eq!((traces.compression, metrics.compression), (Compression::Gzip, Compression::None));
        assert_eq!((traces.transport, metrics.transport), (Transport::Grpc, Transport::HttpProtobuf));
        assert_eq!(traces.timeout, Duration::from_millis(250));
        assert_eq!((traces.certificate.as_deref(), metrics.certificate), (Some("/ca.pem"), None));
    }

    #[test]
    fn json_client_certificates_and_the_logs_endpoint_are_understood() {
        let config = config(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/me.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/me.key"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs/in"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
        ]);
        assert_eq!(config.warnings, Vec::<String>::new());
        let traces = config.traces.as_ref().unwrap();
        assert_eq!(
            (traces.url.as_str(), traces.transport),
            ("https://c:4318/v1/traces", Transport::HttpJson)
        );
        assert_eq!(traces.identity, Some(("/me.pem".into(), "/me.key".into())));
        assert_eq!(config.logs.as_ref().unwrap().url, "https://logs/in");
        assert!(config.metrics.is_none() && config.sends());
        assert_eq!(config.exemplars, ExemplarFilter::AlwaysOff);
    }

    #[test]
    fn disabled_and_none_send_nothing() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert_eq!(config(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).traces, None);
        let none = config(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]);
        assert!(none.traces.is_none() && none.metrics.is_some() && none.warnings.is_empty());
    }

    #[test]
    fn service_name_and_resource_attributes() {
        let resource = |variables: &[(&str, &str)]| {
            let mut resource = config(variables).resource;
            resource.sort();
            resource.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(";")
        };
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=x%2Cy,env=");
        assert_eq!(resource(&[attributes]), "env=;service.name=a;team=x,y");
        assert_eq!(resource(&[attributes, ("OTEL_SERVICE_NAME", "b")]), "env=;service.name=b;team=x,y");
    }

    #[test]
    fn what_cannot_be_understood_is_named_and_ignored() {
        let config = config(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/xml"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/key.pem"),
            ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "lz4"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Sometimes"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "hdr"),
        ]);
        let endpoint = config.traces.unwrap();
        assert_eq!(endpoint, Endpoint::from_url("http://c:4318", Signal::Traces).unwrap());
        assert_eq!(config.metrics, None);
        // Headers, time-out and compression are warned of for traces and for logs.
        assert_eq!(config.warnings.len(), 14, "{:#?}", config.warnings);
        assert!(config.warnings.iter().all(|w| w.contains("is ignored: expected") && !w.contains("secret")));
    }

    #[test]
    fn temporality_and_histogram_form() {
        let with =
            |value| config(&[("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", value)]).temporality;
        assert_eq!([with("cumulative"), with("Delta"), with("lowmemory")], {
            use Temporality::{Cumulative, Delta};
            [Cumulative, Delta, Delta]
        });
        let name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        assert_eq!(config(&[(name, "explicit_bucket_histogram")]).histograms, HistogramForm::Explicit);
    }

    #[test]
    fn urls_as_people_write_them() {
        use Transport::{Grpc, HttpProtobuf};
        for (text, url, transport) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317", Grpc),
            ("http://[::1]:14317/", "http://[::1]:14317", Grpc),
            ("grpc://c:9999", "http://c:9999", Grpc),
            ("grpcs://c", "https://c", Grpc),
            ("http://c:4318", "http://c:4318/v1/logs", HttpProtobuf),
            ("http://c:4317/otlp", "http://c:4317/otlp/v1/logs", HttpProtobuf),
            ("https://c/v1/traces", "https://c/v1/logs", HttpProtobuf),
        ] {
            let endpoint = Endpoint::from_url(text, Signal::Logs).unwrap();
            assert_eq!((endpoint.url.as_str(), endpoint.transport), (url, transport), "{text}");
        }
        for bad in ["", "localhost:4317", "ftp://c", "http://"] {
            let error = Endpoint::from_url(bad, Signal::Traces).unwrap_err();
            assert!(error.starts_with(&format!("`{bad}` is not an OTLP endpoint")), "{error}");
        }
    }
}
