//! How each backend is searched, and what its answers to that look like.

use super::backend::{Names, Period, rfc3339, table_name};
use super::client::Ask;
use super::grpc;
use super::search::{Stretch, TraceSearch};
use super::source::{Backend, Kind};
use crate::record::{Nanos, Timestamp, TraceId};
use serde_json::Value;

/// What an answer to a search holds.
pub(super) enum Found {
    /// Whole traces, in a format of the readers of trace files.
    Traces(Vec<u8>),
    /// Ids, and when the traces ended where that is told.
    Ids(Vec<(TraceId, Option<Timestamp>)>),
}

/// Names of services.
pub(super) struct Services(pub Vec<String>);

fn coded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A length as Jaeger and TraceQL read it.
fn length(nanos: Nanos) -> String {
    format!("{}ns", nanos.0)
}

/// The question for one stretch of time.
pub(super) fn search(
    backend: &Backend,
    search: &TraceSearch,
    stretch: &Stretch,
    depth: usize,
    names: Names,
) -> Ask {
    let at_least = search.min_duration.max(stretch.at_least);
    let wanted = Wanted { search, stretch, at_least, depth };
    match backend.kind {
        Kind::Jaeger if names == Names::V1 => wanted.jaeger_v1(),
        Kind::Jaeger => wanted.jaeger(names),
        Kind::JaegerGrpc => grpc::find_traces(&grpc::Find {
            service: wanted.service(),
            operation: search.operation.as_deref(),
            attributes: &[],
            period: wanted.period(),
            at_least,
            at_most: search.max_duration,
            depth,
        }),
        Kind::Tempo => wanted.tempo(),
        Kind::Zipkin => wanted.zipkin(),
        Kind::ClickHouse => wanted.clickhouse(backend),
    }
}

struct Wanted<'w> {
    search: &'w TraceSearch,
    stretch: &'w Stretch,
    at_least: Option<Nanos>,
    depth: usize,
}

impl Wanted<'_> {
    fn service(&self) -> &str {
        self.stretch.service.as_ref().or(self.search.service.as_ref()).map_or("", String::as_str)
    }

    fn period(&self) -> Period {
        Period { from: self.stretch.from, to: self.stretch.to }
    }

    fn jaeger(&self, names: Names) -> Ask {
        let [service, operation, from, to, depth, least, most, raw] = match names {
            Names::Camel => [
                "serviceName",
                "operationName",
                "startTimeMin",
                "startTimeMax",
                "searchDepth",
                "durationMin",
                "durationMax",
                "rawTraces",
            ],
            Names::Snake | Names::V1 => [
                "service_name",
                "operation_name",
                "start_time_min",
                "start_time_max",
                "num_traces",
                "duration_min",
                "duration_max",
                "raw_traces",
            ],
        };
        let mut path = format!(
            "/api/v3/traces?query.{service}={}&query.{from}={}&query.{to}={}&query.{depth}={}&query.{raw}=true",
            coded(self.service()),
            coded(&rfc3339(self.stretch.from)),
            coded(&rfc3339(self.stretch.to)),
            self.depth
        );
        let lengths = [(least, self.at_least), (most, self.search.max_duration)];
        let lengths = lengths.into_iter().filter_map(|(name, value)| Some((name, length(value?))));
        let name = self.search.operation.iter().map(|name| (operation, name.clone()));
        for (name, value) in name.chain(lengths) {
            path += &format!("&query.{name}={}", coded(&value));
        }
        Ask::get(path)
    }

    fn jaeger_v1(&self) -> Ask {
        let mut path = format!(
            "/api/traces?service={}&start={}&end={}&limit={}&raw=true",
            coded(self.service()),
            self.stretch.from.0 / 1_000,
            self.stretch.to.0.div_ceil(1_000),
            self.depth
        );
        if let Some(operation) = &self.search.operation {
            path += &format!("&operation={}", coded(operation));
        }
        for (name, value) in [("minDuration", self.at_least), ("maxDuration", self.search.max_duration)] {
            if let Some(value) = value {
                path += &format!("&{name}={}", length(value));
            }
        }
        Ask::get(path)
    }

    fn tempo(&self) -> Ask {
        // Whole seconds around the stretch; more than wanted is no harm.
        Ask::get(format!(
            "/api/search?q={}&start={}&end={}&limit={}&spss=1",
            coded(&self.traceql()),
            self.stretch.from.0 / 1_000_000_000,
            self.stretch.to.0.div_ceil(1_000_000_000),
            self.depth
        ))
    }

    fn traceql(&self) -> String {
        if let Some(query) = &self.search.traceql {
            return query.clone();
        }
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut terms = Vec::new();
        if !self.service().is_empty() {
            terms.push(format!("resource.service.name = {}", quoted(self.service())));
        }
        if let Some(operation) = &self.search.operation {
            terms.push(format!("name = {}", quoted(operation)));
        }
        if let Some(least) = self.at_least {
            terms.push(format!("trace:duration >= {}", length(least)));
        }
        if let Some(most) = self.search.max_duration {
            terms.push(format!("trace:duration <= {}", length(most)));
        }
        if terms.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", terms.join(" && ")) }
    }

    fn zipkin(&self) -> Ask {
        let end = self.stretch.to.0.div_ceil(1_000_000);
        let lookback = end - self.stretch.from.0 / 1_000_000;
        let mut path = format!("/api/v2/traces?endTs={end}&lookback={lookback}&limit={}", self.depth);
        if !self.service().is_empty() {
            path += &format!("&serviceName={}", coded(&self.service().to_lowercase()));
        }
        if let Some(operation) = &self.search.operation {
            path += &format!("&spanName={}", coded(&operation.to_lowercase()));
        }
        for (name, value) in [("minDuration", self.at_least), ("maxDuration", self.search.max_duration)] {
            if let Some(value) = value {
                path += &format!("&{name}={}", value.0 / 1_000);
            }
        }
        Ask::get(path)
    }

    fn clickhouse(&self, backend: &Backend) -> Ask {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let mut terms = vec![format!(
            "Timestamp >= fromUnixTimestamp64Nano({}) AND Timestamp < fromUnixTimestamp64Nano({})",
            self.stretch.from.0, self.stretch.to.0
        )];
        if !self.service().is_empty() {
            terms.push(format!("ServiceName = {}", quoted(self.service())));
        }
        if let Some(operation) = &self.search.operation {
            terms.push(format!("SpanName = {}", quoted(operation)));
        }
        let mut having = Vec::new();
        // Of the spans that were looked at: with a service, its own.
        if let Some(least) = self.at_least {
            having.push(format!("max(Duration) >= {}", least.0));
        }
        if let Some(most) = self.search.max_duration {
            having.push(format!("max(Duration) <= {}", most.0));
        }
        let having =
            if having.is_empty() { String::new() } else { format!(" HAVING {}", having.join(" AND ")) };
        let query = format!(
            "SELECT TraceId, toString(toUnixTimestamp64Nano(max(Timestamp))) AS Last FROM {} WHERE {} \
             GROUP BY TraceId{having} ORDER BY max(Timestamp) DESC, TraceId LIMIT {} FORMAT JSONEachRow",
            table_name(backend, ""),
            terms.join(" AND "),
            self.depth
        );
        Ask { path: "/".into(), body: Some(query.into_bytes()), accept: "*/*" }
    }
}

/// What an answer to a search holds.
pub(super) fn read(kind: Kind, body: Vec<u8>) -> Result<Found, String> {
    match kind {
        Kind::Jaeger | Kind::JaegerGrpc | Kind::Zipkin => Ok(Found::Traces(body)),
        Kind::Tempo => tempo_ids(&body).map(Found::Ids),
        Kind::ClickHouse => clickhouse_ids(&body).map(Found::Ids),
    }
}

fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|_| {
        "the backend's answer to a search is no JSON of the kind that it documents; is this the right URL?".to_owned()
    })
}

/// A number, or a number as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn tempo_ids(body: &[u8]) -> Result<Vec<(TraceId, Option<Timestamp>)>, String> {
    let answer = json(body)?;
    if !answer.is_object() {
        return Err("the answer to the search is no object with `traces`".to_owned());
    }
    // Without traces the key may be missing.
    let traces = answer.get("traces").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let mut ids = Vec::with_capacity(traces.len());
    for trace in traces {
        let text =
            trace.get("traceID").or_else(|| trace.get("traceId")).and_then(Value::as_str).unwrap_or_default();
        // Zeros in front are left out.
        let id = TraceId::from_hex(&format!("{text:0>32}"))
            .map_err(|error| format!("`{text}` in the answer to the search is no trace id: {error}"))?;
        let started = trace.get("startTimeUnixNano").and_then(number);
        let lasted = trace.get("durationMs").and_then(number).unwrap_or(0);
        ids.push((id, started.map(|at| Timestamp(at) + Nanos::from_millis(lasted + 1))));
    }
    Ok(ids)
}

fn clickhouse_ids(body: &[u8]) -> Result<Vec<(TraceId, Option<Timestamp>)>, String> {
    let text = String::from_utf8_lossy(body);
    let mut ids = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = json(line.as_bytes())?;
        let text = row.get("TraceId").and_then(Value::as_str).unwrap_or_default();
        // Rows with an id that is none are no traces that could be asked for.
        let Ok(id) = TraceId::from_hex(text) else { continue };
        ids.push((id, row.get("Last").and_then(number).map(Timestamp)));
    }
    Ok(ids)
}

/// The ways to ask for the services that there are, the first that is answered counts.
pub(super) fn services(backend: &Backend) -> Vec<Ask> {
    match backend.kind {
        Kind::Jaeger => vec![Ask::get("/api/v3/services".into()), Ask::get("/api/services".into())],
        Kind::JaegerGrpc => vec![grpc::get_services()],
        Kind::Tempo => vec![
            Ask::get("/api/v2/search/tag/resource.service.name/values".into()),
            Ask::get("/api/search/tag/service.name/values".into()),
        ],
        Kind::Zipkin => vec![Ask::get("/api/v2/services".into())],
        Kind::ClickHouse => {
            let table = table_name(backend, "");
            let query = format!(
                "SELECT DISTINCT ServiceName AS value FROM {table} ORDER BY value LIMIT 1000 FORMAT JSONEachRow"
            );
            vec![Ask { path: "/".into(), body: Some(query.into_bytes()), accept: "*/*" }]
        }
    }
}

/// The names of parameters that go with the way in which services were found.
pub(super) fn names_of(ask: &Ask) -> Names {
    if ask.path == "/api/services" { Names::V1 } else { Names::Camel }
}

/// The names in an answer to [`services`].
pub(super) fn read_services(kind: Kind, body: &[u8]) -> Result<Services, String> {
    if kind == Kind::JaegerGrpc {
        return grpc::services(body).map(Services);
    }
    if kind == Kind::ClickHouse {
        let text = String::from_utf8_lossy(body);
        let rows = text.lines().map(|line| json(line.as_bytes()));
        return Ok(Services(rows.filter_map(|row| name_in(&row.ok()?)).collect()));
    }
    let answer = json(body)?;
    let lists = ["services", "data", "tagValues"].iter().find_map(|key| answer.get(*key));
    let list = match (lists, &answer) {
        (Some(Value::Array(list)), _) | (None, Value::Array(list)) => list.as_slice(),
        // No services yet: `{}`, or `{"data":null}`.
        (Some(Value::Null), _) | (None, Value::Object(_)) => &[],
        _ => return Err("the list of services is no list; is this the right URL?".to_owned()),
    };
    Ok(Services(list.iter().filter_map(name_in).collect()))
}

/// `"shop"`, or `{"type":"string","value":"shop"}`.
fn name_in(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("value")?.as_str()).map(str::to_owned)
}
