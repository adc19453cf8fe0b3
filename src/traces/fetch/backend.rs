//! What each backend is asked, and how its answers are told apart. All answers go through the readers of trace files: a
//! backend answers in one of their formats.

use super::client::{Answer, Ask, Client, Refusal};
use super::grpc;
use super::source::{Backend, Kind};
use crate::record::{Timestamp, TraceId, date_of_day};
use crate::wire::protobuf::{Field, Reader};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Zipkin's ids in one request: its URL stays below 2,000 characters.
const ZIPKIN_IDS: usize = 40;
/// ClickHouse's ids in one query.
const CLICKHOUSE_IDS: usize = 500;
/// Old Jaegers and Tempos take one id in a request.
const SINGLE: usize = 1;

/// Which of its APIs a backend has; found out by asking.
#[derive(Default)]
pub(super) struct Dialect(AtomicU8);

const UNKNOWN: u8 = 0;
const NEW: u8 = 1;
const OLD: u8 = 2;

/// Ids that are asked for together.
pub(super) fn ids_per_request(kind: Kind) -> usize {
    match kind {
        Kind::Jaeger | Kind::JaegerGrpc | Kind::Tempo => SINGLE,
        Kind::Zipkin => ZIPKIN_IDS,
        Kind::ClickHouse => CLICKHOUSE_IDS,
    }
}

/// The run's time, for backends that look up ids within it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Period {
    /// Whole seconds around it, with an hour of room: clocks differ, and blocks are found by their bounds.
    fn seconds(&self) -> (u64, u64) {
        (
            self.from.0 / 1_000_000_000 - (self.from.0 / 1_000_000_000).min(3_600),
            self.to.0 / 1_000_000_000 + 3_600,
        )
    }
}

/// Asks for traces by id: bodies of all answers, and how often requests were made and repeated.
pub(super) async fn by_id(
    client: &Client,
    backend: &Backend,
    dialect: &Dialect,
    ids: &[TraceId],
    period: Period,
) -> (Answer, u64) {
    match backend.kind {
        Kind::Jaeger => jaeger(client, backend, dialect, ids).await,
        Kind::JaegerGrpc => match ids.first() {
            Some(id) => (client.ask(backend, &grpc::get_trace(*id)).await, 1),
            None => (Answer { result: Err(Refusal::NotFound), retries: 0 }, 0),
        },
        Kind::Tempo => tempo(client, backend, dialect, ids, period).await,
        Kind::Zipkin => zipkin(client, backend, dialect, ids).await,
        Kind::ClickHouse => (client.ask(backend, &clickhouse(backend, ids)).await, 1),
    }
}

fn first(ids: &[TraceId]) -> String {
    ids.first().map(ToString::to_string).unwrap_or_default()
}

/// Asks in the new way and, while it is not known that the backend has it, in the old one where nothing was found.
async fn either(client: &Client, backend: &Backend, dialect: &Dialect, new: Ask, old: Ask) -> (Answer, u64) {
    if dialect.0.load(Relaxed) == OLD {
        return (client.ask(backend, &old).await, 1);
    }
    let answer = client.ask(backend, &new).await;
    if answer.result.is_ok() {
        dialect.0.store(NEW, Relaxed);
    }
    if dialect.0.load(Relaxed) == NEW || answer.result != Err(Refusal::NotFound) {
        return (answer, 1);
    }
    let mut second = client.ask(backend, &old).await;
    if second.result.is_ok() {
        // Unless another request has meanwhile found the new one.
        let _ = dialect.0.compare_exchange(UNKNOWN, OLD, Relaxed, Relaxed);
    }
    second.retries += answer.retries;
    (second, 2)
}

async fn jaeger(client: &Client, backend: &Backend, dialect: &Dialect, ids: &[TraceId]) -> (Answer, u64) {
    let id = first(ids);
    // Both spellings of the parameter: it was renamed, and what a server does not know it ignores. Without it the
    // server moves spans by what it takes for clock skew.
    let new = Ask::get(format!("/api/v3/traces/{id}?rawTraces=true&raw_traces=true"));
    let old = Ask::get(format!("/api/traces/{id}?raw=true"));
    either(client, backend, dialect, new, old).await
}

async fn tempo(
    client: &Client,
    backend: &Backend,
    dialect: &Dialect,
    ids: &[TraceId],
    period: Period,
) -> (Answer, u64) {
    let id = first(ids);
    let (from, to) = period.seconds();
    let protobuf = |path: String| Ask { accept: "application/protobuf", ..Ask::get(path) };
    let new = protobuf(format!("/api/v2/traces/{id}?start={from}&end={to}"));
    let old = protobuf(format!("/api/traces/{id}?start={from}&end={to}"));
    either(client, backend, dialect, new, old).await
}

/// What Tempo says of a trace that it gives in part, because it is larger than its `max_bytes_per_trace`; nothing of a whole one.
/// The newer of its two APIs says it: `status` and `message` of `TraceByIDResponse`, in protobuf or in JSON.
pub(super) fn cut_short(body: &[u8]) -> Option<String> {
    let (partial, message) = if body.first() == Some(&b'{') {
        let said: TempoStatus = serde_json::from_slice(body).ok()?;
        (said.status == "PARTIAL" || said.status == 1, said.message)
    } else {
        let (mut partial, mut message) = (false, String::new());
        let mut fields = Reader::new(body);
        while let Ok(Some((number, field))) = fields.next_field() {
            match (number, field) {
                (3, Field::Varint(status)) => partial = status == 1,
                (4, Field::Bytes(text)) => message = String::from_utf8_lossy(text.rest()).into_owned(),
                _ => {}
            }
        }
        (partial, message)
    };
    partial.then_some(message)
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct TempoStatus {
    status: serde_json::Value,
    message: String,
}

/// Many ids at once; servers that do not have that are asked one by one.
async fn zipkin(client: &Client, backend: &Backend, dialect: &Dialect, ids: &[TraceId]) -> (Answer, u64) {
    if dialect.0.load(Relaxed) != OLD {
        let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let answer =
            client.ask(backend, &Ask::get(format!("/api/v2/traceMany?traceIds={}", list.join(",")))).await;
        match &answer.result {
            Err(Refusal::NotFound) => dialect.0.store(OLD, Relaxed),
            _ => return (answer, 1),
        }
    }
    let mut whole = Answer { result: Ok(Vec::new()), retries: 0 };
    let mut lists: Vec<u8> = Vec::new();
    for id in ids {
        let answer = client.ask(backend, &Ask::get(format!("/api/v2/trace/{id}"))).await;
        whole.retries += answer.retries;
        match answer.result {
            // Lists one after the other are read as such.
            Ok(list) => lists.extend_from_slice(&list),
            Err(Refusal::NotFound) => {}
            Err(refusal) => {
                whole.result = Err(refusal);
                return (whole, ids.len() as u64);
            }
        }
    }
    whole.result = if lists.is_empty() { Err(Refusal::NotFound) } else { Ok(lists) };
    (whole, ids.len() as u64)
}

/// A query for spans by trace id. The table is sorted by service, so ids are looked up in its index of ids and times first.
fn clickhouse(backend: &Backend, ids: &[TraceId]) -> Ask {
    let (spans, index) = (table_name(backend, ""), table_name(backend, "_trace_id_ts"));
    let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let list = list.join(",");
    let query = format!(
        "SELECT toUnixTimestamp64Nano(Timestamp) AS StartTimeUnixNano, TraceId, SpanId, ParentSpanId, TraceState, SpanName, \
         toString(SpanKind) AS SpanKind, ServiceName, ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, \
         toString(StatusCode) AS StatusCode, StatusMessage, \
         arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp) AS EventsTimestamp, Events.Name AS EventsName, \
         Events.Attributes AS EventsAttributes, Links.TraceId AS LinksTraceId, Links.SpanId AS LinksSpanId \
         FROM {spans} WHERE TraceId IN ({list}) \
         AND Timestamp >= (SELECT min(Start) FROM {index} WHERE TraceId IN ({list})) \
         AND Timestamp <= (SELECT max(End) + INTERVAL 1 SECOND FROM {index} WHERE TraceId IN ({list})) \
         FORMAT JSONEachRow"
    );
    Ask { path: "/".into(), body: Some(query.into_bytes()), accept: "*/*" }
}

/// A table of ClickHouse by the name that the source's URL gives to that of spans, and an ending.
pub(super) fn table_name(backend: &Backend, end: &str) -> String {
    let name = |text: &str| {
        let plain = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if plain && !text.is_empty() {
            text.to_owned()
        } else {
            format!("`{}`", text.replace(['`', '\\'], ""))
        }
    };
    let database = backend.option("database").map(|d| name(d) + ".").unwrap_or_default();
    let table = backend.option("table").unwrap_or("otel_traces");
    database + &name(&format!("{table}{end}"))
}

/// How a backend writes the names of its parameters: Jaeger until 2.x knew the second form alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Camel,
    Snake,
    /// Those of the API before it.
    V1,
}

/// Whether one request can give all traces that carry the run's id, and how many it gives at most.
pub(super) fn search(
    backend: &Backend,
    service: &str,
    run_id: &str,
    window: Period,
    depth: usize,
    names: Names,
) -> Option<Ask> {
    if backend.kind == Kind::JaegerGrpc {
        return Some(grpc::find_traces(&grpc::Find {
            service,
            operation: None,
            attributes: &[("hotspan.run.id", run_id)],
            period: window,
            at_least: None,
            at_most: None,
            depth,
        }));
    }
    if backend.kind != Kind::Jaeger {
        return None;
    }
    let coded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let attributes = coded(&serde_json::json!({ "hotspan.run.id": run_id }).to_string());
    let (from, to) = (coded(&rfc3339(window.from)), coded(&rfc3339(window.to)));
    let [service_name, from_name, to_name, depth_name, raw] = match names {
        Names::Camel => ["serviceName", "startTimeMin", "startTimeMax", "searchDepth", "rawTraces"],
        Names::Snake | Names::V1 => {
            ["service_name", "start_time_min", "start_time_max", "num_traces", "raw_traces"]
        }
    };
    Some(Ask::get(format!(
        "/api/v3/traces?query.{service_name}={}&query.{from_name}={from}&query.{to_name}={to}\
         &query.{depth_name}={depth}&query.attributes={attributes}&query.{raw}=true",
        coded(service)
    )))
}

/// `2026-11-24T15:03:12.250000000Z`.
pub(super) fn rfc3339(at: Timestamp) -> String {
    let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of_day(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_backends_read_them() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(Timestamp(1_709_210_096_123_456_789)), "2024-02-29T12:34:56.123456789Z");
        assert_eq!(rfc3339(Timestamp(1_735_689_599_000_000_001)), "2024-12-31T23:59:59.000000001Z");
    }
}
