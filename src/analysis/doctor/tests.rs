//! A small service, healthy and broken in each way: front (SERVER) → database (CLIENT) and back (CLIENT, then SERVER).

use super::*;
use crate::record::{Attribute, Resource, Scope, Span, SpanKind, Status, Value};

const MS: u64 = 1_000_000;

struct Made {
    trace: u8,
    id: u8,
    parent: Option<u8>,
    kind: SpanKind,
    service: &'static str,
    name: &'static str,
    from: u64,
    to: u64,
    attributes: Vec<(&'static str, &'static str)>,
    library: &'static str,
    dropped: u32,
    port: i64,
}

fn made(trace: u8, id: u8, parent: u8, kind: SpanKind, service: &'static str, from: u64, to: u64) -> Made {
    let name = "work";
    let parent = (parent > 0).then_some(parent);
    let attributes = vec![];
    Made {
        trace,
        id,
        parent,
        kind,
        service,
        name,
        from,
        to,
        attributes,
        library: "http",
        dropped: 0,
        port: 80,
    }
}

/// Request `n` is sent at n seconds and answered 100 ms later; its client span has id 1.
fn probe(n: u8, sampled: bool) -> Probe {
    let start = Timestamp(u64::from(n) * 1_000 * MS);
    let end = Timestamp(start.0 + 100 * MS);
    Probe {
        trace_id: TraceId([n; 16]),
        span_id: SpanId([1; 8]),
        sampled,
        threshold: Threshold::ALWAYS,
        start,
        end,
    }
}

fn healthy(n: u8) -> Vec<Made> {
    let database =
        vec![("db.system.name", "postgresql"), ("db.query.text", "SELECT 1"), ("server.address", "db")];
    vec![
        made(n, 2, 1, SpanKind::Server, "front", 5, 95),
        Made { attributes: database, library: "sql", ..made(n, 3, 2, SpanKind::Client, "front", 10, 20) },
        Made {
            attributes: vec![("http.request.method", "GET"), ("server.address", "back")],
            ..made(n, 4, 2, SpanKind::Client, "front", 30, 90)
        },
        made(n, 5, 4, SpanKind::Server, "back", 40, 80),
    ]
}

fn exam(probes: &[Probe], spans: Vec<Made>) -> Exam {
    let kept = |made: &Made| {
        let text = |(key, value): &(&'static str, &'static str)| Attribute { key, value: Value::Str(value) };
        let resource = Resource { attributes: vec![text(&("service.name", made.service))] };
        let mut attributes: Vec<_> = made.attributes.iter().map(text).collect();
        attributes.push(Attribute { key: "server.port", value: Value::Int(made.port) });
        let at = |ms: u64| Timestamp(u64::from(made.trace % 100) * 1_000 * MS + ms * MS);
        let span = Span {
            trace_id: TraceId([made.trace; 16]),
            span_id: SpanId([made.id; 8]),
            parent_id: made.parent.map(|id| SpanId([id; 8])),
            kind: made.kind,
            name: made.name,
            start: at(made.from),
            end: at(made.to),
            status: Status::Unset,
            status_message: "",
            trace_state: "",
            flags: 0,
            resource: &resource,
            scope: &Scope { name: made.library, version: "" },
            attributes: &attributes,
            events: &[],
            links: &[],
            dropped: made.dropped,
        };
        (KeptSpan::of(&span), Timestamp(at(0).0 + 2_000 * MS))
    };
    Exam { probes: probes.to_vec(), spans: spans.iter().map(kept).collect(), ..Exam::default() }
}

fn sampled() -> Vec<Probe> {
    (1..=4).map(|n| probe(n, true)).collect()
}

/// What is not good, as `topic: sentence`.
fn complaints(exam: &Exam) -> Vec<String> {
    let bad = |p: &Point| p.standing != Standing::Good;
    let told = |p: &Point| format!("{} {}: {}", p.standing.name(), p.topic.name(), p.seen);
    examine(exam).points.iter().filter(|p| bad(p)).map(told).collect()
}

/// All four requests, each span changed (or left out) by `f`.
fn broken(f: impl Fn(Made) -> Option<Made>) -> Vec<String> {
    complaints(&exam(&sampled(), (1..=4).flat_map(healthy).filter_map(f).collect()))
}

#[test]
fn a_healthy_service_yields_no_complaint_and_every_topic_is_looked_at() {
    let mut probes = sampled();
    probes.push(probe(5, false));
    let mut exam = exam(&probes, (1..=4).flat_map(healthy).collect());
    exam.collector = Some(vec![("otelcol_receiver_refused_spans".into(), 0)]);
    assert_eq!(complaints(&exam), Vec::<String>::new());
    let diagnosis = examine(&exam);
    assert_eq!((diagnosis.sampled, diagnosis.joined, diagnosis.unsampled), (4, 4, 1));
    assert_eq!(diagnosis.services, ["back", "front"]);
    let topics: Vec<_> = diagnosis.points.iter().map(|p| p.topic.name()).collect();
    assert_eq!(
        topics,
        [
            "arrival",
            "context",
            "sampling",
            "hops",
            "database",
            "calls",
            "duplicates",
            "clocks",
            "delay",
            "collector"
        ]
    );
    assert!(in_brief(&diagnosis).is_empty());
}

#[test]
fn nothing_came() {
    let exam = exam(&sampled(), vec![]);
    assert_eq!(complaints(&exam), ["fault arrival: No span came."]);
    assert!(in_brief(&examine(&exam)).is_empty(), "the report says so anyway");
}

#[test]
fn a_service_that_begins_its_own_traces() {
    let seen = broken(|m| Some(Made { trace: m.trace + 100, parent: m.parent.filter(|p| *p > 1), ..m }));
    assert_eq!(
        seen,
        [
            "fault context: front does not continue the caller's trace: it begins a trace of its own for each request."
        ]
    );
}

#[test]
fn context_lost_between_two_services() {
    let seen = broken(|m| match m.id {
        5 => Some(Made { trace: m.trace + 100, parent: None, ..m }),
        _ => Some(m),
    });
    assert_eq!(
        seen,
        ["fault hops: The context is lost between front and back: back began 4 traces of its own meanwhile."]
    );
}

#[test]
fn a_ratio_at_the_entry_and_one_further_down() {
    let seen = broken(|m| (m.trace % 2 == 0).then_some(m));
    assert_eq!(seen, ["fault sampling: Only 2 of 4 requests that asked to be recorded were."]);
    let seen = broken(|m| (m.id != 5 || m.trace == 1).then_some(m));
    assert_eq!(seen, ["fault hops: Of 4 calls of front to back:80 only 1 have a span of back."]);
}

#[test]
fn a_flag_that_is_not_kept() {
    let exam = exam(&[probe(1, true), probe(2, false)], (1..=2).flat_map(healthy).collect());
    assert_eq!(
        complaints(&exam),
        ["hint sampling: 1 of 1 requests that asked not to be recorded were recorded all the same."]
    );
}

#[test]
fn a_parent_that_never_came() {
    let seen = broken(|m| (m.id != 4).then_some(m));
    assert_eq!(seen, ["hint hops: 4 spans of back name a parent that never came."]);
    let seen = broken(|m| (m.id != 2).then_some(m));
    assert_eq!(
        seen[0],
        "hint context: The service continues the trace, but the span that answers the client never came."
    );
}

#[test]
fn databases_that_cannot_be_named() {
    let without = |key: &'static str| {
        move |mut m: Made| {
            m.attributes.retain(|(k, _)| *k != key);
            Some(m)
        }
    };
    assert_eq!(
        broken(without("db.query.text")),
        ["hint database: 4 of 4 database spans (postgresql) have no query text."]
    );
    assert_eq!(
        broken(without("server.address")),
        [
            "hint database: 4 of 4 database spans (postgresql) do not say which server they went to.",
            "hint calls: 4 of 4 outgoing calls do not say whom they call (front: work)."
        ]
    );
    assert_eq!(broken(|m| (m.id != 3).then_some(m)), ["hint database: No database call is to be seen."]);
    assert_eq!(
        broken(|m| (m.id == 2).then_some(m)),
        [
            "hint database: No database call is to be seen.",
            "hint calls: No outgoing call of any kind is to be seen."
        ]
    );
}

#[test]
fn duplicates_of_every_sort() {
    let twice = |more: fn(Made) -> Option<Made>| {
        let spans = (1..=4).flat_map(healthy).chain((1..=4).flat_map(healthy).filter_map(more)).collect();
        complaints(&exam(&sampled(), spans))
    };
    assert_eq!(twice(Some), ["fault duplicates: 16 spans came more than once."]);
    let below = twice(|m| (m.id == 3).then_some(Made { id: 9, parent: Some(3), library: "orm", ..m }));
    assert_eq!(below, ["hint duplicates: Calls of front are recorded by two layers, orm, sql."]);
    let beside = twice(|m| (m.id == 3).then_some(Made { id: 9, library: "orm", ..m }));
    assert_eq!(beside, ["hint duplicates: Calls of front are recorded by two layers, orm, sql."]);
    let late =
        twice(|m| (m.id == 3).then_some(Made { id: 9, from: m.from + 2, to: m.to + 2, library: "orm", ..m }));
    assert_eq!(late, ["fault duplicates: Calls of front are recorded twice, by orm, sql."]);
    // A pool that opens a connection, both told by one library, is nothing twice.
    let wait = |n: u8, id, parent, name, to| Made {
        name,
        attributes: vec![("db.system.name", "postgresql"), ("server.address", "db")],
        library: "pg",
        ..made(n, id, parent, SpanKind::Client, "front", 6, to)
    };
    let pool = |n: u8| [wait(n, 8, 2, "pg-pool.connect", 9), wait(n, 9, 8, "pg.connect", 9)];
    let spans: Vec<Made> = (1..=4).flat_map(|n| healthy(n).into_iter().chain(pool(n))).collect();
    assert_eq!(complaints(&exam(&sampled(), spans)), Vec::<String>::new());
    // So is a statement that had to be prepared; and the reading of its rows has no text of its own.
    let statement = |n: u8, id, parent, name, from, to| Made {
        name,
        attributes: vec![
            ("db.system.name", "postgresql"),
            ("server.address", "db"),
            ("db.query.text", "SELECT 2"),
        ],
        library: "pgx",
        ..made(n, id, parent, SpanKind::Client, "front", from, to)
    };
    let rows = |n: u8| Made {
        attributes: vec![("db.system.name", "postgresql"), ("server.address", "db")],
        ..statement(n, 7, 2, "sql.rows", 25, 28)
    };
    let prepared =
        |n: u8| [statement(n, 8, 2, "SELECT", 21, 25), statement(n, 9, 8, "SELECT", 21, 25), rows(n)];
    let spans: Vec<Made> = (1..=4).flat_map(|n| healthy(n).into_iter().chain(prepared(n))).collect();
    assert_eq!(complaints(&exam(&sampled(), spans)), Vec::<String>::new());
    let server = broken(|m| match m.id {
        2 => Some(Made { library: "auto", ..m }),
        3 => Some(Made { kind: SpanKind::Server, from: 6, to: 94, attributes: vec![], ..m }),
        _ => None,
    });
    assert!(
        server.contains(&"fault duplicates: Requests of front are recorded twice, by auto, sql.".to_owned()),
        "{server:?}"
    );
}

#[test]
fn limits_clocks_delay_and_the_collector() {
    assert_eq!(
        broken(|m| Some(Made { dropped: 3, ..m }))[0],
        "hint limits: 16 spans of back, front lost attributes or events to a limit of the SDK."
    );
    let fast =
        |m: Made| if m.service == "back" { Made { from: m.from + 500, to: m.to + 500, ..m } } else { m };
    assert_eq!(
        broken(|m| Some(fast(m))),
        ["hint clocks: The clock of back is 500.0 ms ahead of that of front."]
    );
    let mut late = exam(&sampled(), (1..=4).flat_map(healthy).collect());
    late.spans.iter_mut().for_each(|(_, arrived)| arrived.0 += 8_000 * MS);
    assert_eq!(
        complaints(&late),
        ["hint delay: Spans come up to 9.9 s after the answer (the latest from back)."]
    );
    let mut lossy = exam(&sampled(), (1..=4).flat_map(healthy).collect());
    lossy.collector = Some(vec![("otelcol_exporter_send_failed_spans".into(), 12)]);
    assert_eq!(
        complaints(&lossy),
        [
            "fault collector: The Collector refused or lost spans meanwhile: otelcol_exporter_send_failed_spans 12."
        ]
    );
}

#[test]
fn the_brief_word_says_what_blame_cannot_see() {
    let word =
        in_brief(&examine(&exam(&sampled(), (1..=4).flat_map(healthy).filter(|m| m.id != 3).collect())));
    assert_eq!(
        word,
        [
            "No database call is to be seen. If the service has a database, its time would be blamed on its own code. Instrument its \
          database driver (most languages have an OpenTelemetry instrumentation for it)."
        ]
    );
}

#[test]
fn two_peers_on_one_host_are_two_and_an_embedded_database_needs_no_server() {
    // What listens on port 80 of the host is traced, what listens on port 81 is not.
    let spans = (1..=4).flat_map(healthy).chain((1..=4).map(|n| Made {
        attributes: vec![("http.request.method", "GET"), ("server.address", "back")],
        port: 81,
        ..made(n, 8, 2, SpanKind::Client, "front", 91, 93)
    }));
    assert_eq!(complaints(&exam(&sampled(), spans.collect())), Vec::<String>::new());
    let embedded = broken(|mut m| {
        if m.id == 3 {
            m.attributes = vec![("db.system.name", "sqlite"), ("db.query.text", "SELECT 1")];
        }
        Some(m)
    });
    assert_eq!(embedded, Vec::<String>::new());
}

/// Four requests by W3C's header, and one by each other format, of which the service reads some.
fn tried(read: &[Propagator], spans: Vec<Made>) -> Exam {
    let mut exam = exam(&sampled(), spans);
    for (n, propagator) in Propagation::default().others().enumerate() {
        let n = 20 + n as u8;
        exam.tried.push((propagator, probe(n, true)));
        let answer = if read.contains(&propagator) { healthy(n) } else { vec![] };
        exam.spans.extend(self::exam(&[], answer).spans);
    }
    exam
}

fn fix_of(exam: &Exam) -> String {
    let context = |p: &&Point| p.topic == Topic::Context;
    examine(exam).points.iter().find(context).map(|p| p.fix.clone()).unwrap_or_default()
}

#[test]
fn a_service_that_reads_other_headers() {
    let own =
        || (1..=4).flat_map(healthy).map(|m| Made { trace: m.trace + 100, parent: None, ..m }).collect();
    for spans in [own(), vec![]] {
        let exam = tried(&[Propagator::B3, Propagator::B3Multi], spans);
        assert_eq!(
            complaints(&exam),
            [
                "fault context: front does not continue the caller's trace by the traceparent header. It reads the header `b3`, and also the headers `X-B3-TraceId`, `X-B3-SpanId` and `X-B3-Sampled`."
            ]
        );
        let fix = fix_of(&exam);
        assert!(
            fix.contains("propagate: [tracecontext, b3]") && fix.contains("--propagate tracecontext,b3 "),
            "{fix}"
        );
        assert!(is_nothing_joined(&exam));
    }
    let exam = tried(&[Propagator::XRay], own());
    assert!(fix_of(&exam).contains("--propagate tracecontext,xray "));
}

#[test]
fn a_service_that_reads_no_headers_at_all() {
    let own =
        || (1..=4).flat_map(healthy).map(|m| Made { trace: m.trace + 100, parent: None, ..m }).collect();
    let seen = complaints(&tried(&[], own()));
    assert!(seen.len() == 1 && seen[0].contains("it begins a trace of its own"), "{seen:?}");
    let fix = fix_of(&tried(&[], own()));
    assert!(fix.contains("the traceparent header (OTEL_PROPAGATORS=tracecontext,baggage)"), "{fix}");
    assert!(fix.contains("were tried, too") && !fix.contains("hotspan doctor"), "{fix}");
    // In a run nothing is tried: who does is told.
    let fix = fix_of(&exam(&sampled(), own()));
    assert!(
        fix.contains("If it reads other headers (b3, x-b3-traceid,") && fix.contains("hotspan doctor"),
        "{fix}"
    );
    // Whoever sends others already is not told to read W3C's.
    let sent = parse(&[Propagator::B3]);
    let fix = fix_of(&Exam { sent, ..exam(&sampled(), own()) });
    assert!(
        fix.contains("the b3 header (OTEL_PROPAGATORS=b3,baggage)") && fix.contains("(traceparent, "),
        "{fix}"
    );
    let all = parse(&Propagator::NAMES.map(|(_, propagator)| propagator));
    assert!(!fix_of(&Exam { sent: all, ..exam(&sampled(), own()) }).contains("doctor"));
    // A healthy one is asked no further.
    assert!(!is_nothing_joined(&exam(&sampled(), (1..=4).flat_map(healthy).collect())));
    assert!(!is_nothing_joined(&exam(&[probe(1, false)], vec![])));
}

fn parse(propagators: &[Propagator]) -> Propagation {
    Propagation::of(propagators.iter().copied()).unwrap()
}
