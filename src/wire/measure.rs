//! Throughput, measured on demand: `cargo test --release --lib wire::measure -- --ignored --nocapture --test-threads 1`.
//! Prints CPU time and asserts nothing about it. Disk figures are the cost of handing over, not the disk's.

use crate::record::*;
use crate::wire::folder::{RunReader, RunWriter};
use crate::wire::otlp::{Encoding, SpanEncoder, for_each_span, for_each_span_where, scan};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan};
use prost::Message;
use std::hint::black_box;
use std::time::Duration;

/// CPU time of this thread: on a shared machine wall time measures the neighbours.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `f` for a second and gives the mean CPU time of one call.
fn time(mut f: impl FnMut()) -> Duration {
    let begin = cpu();
    let mut n = 0;
    while cpu() - begin < Duration::from_secs(1) {
        f();
        n += 1;
    }
    (cpu() - begin) / n
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Some(any_value::Value::StringValue(value.into()));
    KeyValue { key: key.into(), value: Some(AnyValue { value }), ..KeyValue::default() }
}

/// Spans of a database call with five attributes, some 300 bytes each.
fn batch(spans: u64) -> Vec<u8> {
    let span = |n: u64| {
        let mut trace_id = (n / 5).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().to_vec();
        trace_id.extend([7; 8]);
        let port = AnyValue { value: Some(any_value::Value::IntValue(5432)) };
        ProtoSpan {
            trace_id,
            span_id: (n + 1).to_le_bytes().to_vec(),
            parent_span_id: (n / 5 * 5 + 1).to_le_bytes().to_vec(),
            name: "SELECT review".into(),
            kind: 3,
            flags: 0x101,
            start_time_unix_nano: 1_764_000_000_000_000_000 + n,
            end_time_unix_nano: 1_764_000_000_001_000_000 + n,
            attributes: vec![
                text("db.system.name", "postgresql"),
                text("db.namespace", "shop"),
                text("db.query.text", format!("SELECT * FROM review WHERE product_id = {n}")),
                text("server.address", "db.internal.example"),
                KeyValue { key: "server.port".into(), value: Some(port), ..KeyValue::default() },
            ],
            ..ProtoSpan::default()
        }
    };
    let scope = InstrumentationScope { name: "sqlx".into(), ..InstrumentationScope::default() };
    let resource =
        ProtoResource { attributes: vec![text("service.name", "shop")], ..ProtoResource::default() };
    let scope_spans =
        ScopeSpans { scope: Some(scope), spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn run() -> Run {
    let step = StepInfo {
        journey: "browse".into(),
        name: "product".into(),
        method: "GET".into(),
        template: "/products/{id}".into(),
        checks: Vec::new(),
    };
    Run {
        id: "20261124T120000Z-shop".into(),
        name: "shop".into(),
        started_at: Timestamp(1_764_000_000_000_000_000),
        ended_at: None,
        state: RunState::Running,
        target: "http://127.0.0.1:8080".into(),
        hotspan_version: "0.1.0".into(),
        git_commit: None,
        host: Host::default(),
        scenario: String::new(),
        steps: vec![step],
        load: LoadFacts::default(),
        receiver: ReceiverFacts::default(),
        export: ExportFacts::default(),
        sources: Default::default(),
        wait: None,
        warnings: vec![],
    }
}

fn exchange(n: u64) -> Exchange {
    let at = |us: u64| Timestamp(1_764_000_000_000_000_000 + n * 200_000 + us * 1_000);
    let mut trace_id = [3; 16];
    trace_id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Exchange {
        trace_id: TraceId(trace_id),
        span_id: SpanId((n + 1).to_le_bytes()),
        sampled: true,
        threshold: crate::record::Threshold::ALWAYS,
        step: StepId(0),
        user: (n % 50) as u32,
        iteration: (n / 50) as u32,
        intended: at(0),
        phases: Phases {
            start: at(20),
            sent: Some(at(25)),
            first_byte: Some(at(1_900)),
            end: at(2_000),
            ..Phases::default()
        },
        outcome: Outcome::Answered(200),
        checks_failed: vec![],
        bytes_sent: 210,
        bytes_received: 5_000,
        bytes_decoded: None,
        followed: false,
        connection_reused: true,
        protocol: Protocol::Http1,
        url: format!("http://127.0.0.1:8080/products/{}", n % 500).into(),
        server_timing: None,
        messages: None,
    }
}

#[test]
#[ignore = "measures"]
fn otlp() {
    let spans = 512;
    let bytes = batch(spans);
    let report = |what: &str, took: Duration| {
        let per_span = took.as_nanos() as f64 / spans as f64;
        println!("{what}: {per_span:.0} ns/span, {:.2} M spans/s", 1e3 / per_span);
    };
    println!("{} bytes/span", bytes.len() as u64 / spans);
    report(
        "walk, all attributes visited",
        time(|| {
            let mut seen = 0;
            for_each_span(&bytes, &mut |span| {
                for attribute in span.attributes {
                    seen += attribute.key.len();
                    if let Value::Str(text) = &attribute.value {
                        seen += text.len();
                    }
                }
            })
            .unwrap();
            black_box(seen);
        }),
    );
    report(
        "walk where one trace of 64 is wanted",
        time(|| {
            let mut seen = 0;
            let keep = &mut |id: TraceId| id.0[5].is_multiple_of(64);
            for_each_span_where(&bytes, keep, &mut |span| seen += span.attributes.len()).unwrap();
            black_box(seen);
        }),
    );
    report(
        "scan",
        time(|| {
            let mut seen = 0;
            scan(&bytes, &mut |key| seen += u64::from(key.span_id.0[0])).unwrap();
            black_box(seen);
        }),
    );
    let json = serde_json::to_vec(&ExportTraceServiceRequest::decode(&bytes[..]).unwrap()).unwrap();
    report(
        "JSON to protobuf and walk",
        time(|| {
            let walked = Encoding::Json.for_each_span(&json, &mut |span| _ = black_box(span.start));
            assert_eq!(walked.unwrap().spans, spans);
        }),
    );
    let exchanges: Vec<Exchange> = (0..spans).map(exchange).collect();
    let mut encoder = SpanEncoder::new(&run(), &[("service.name".into(), "hotspan".into())]);
    let mut size = 0;
    report(
        "client span encoded",
        time(|| {
            exchanges.iter().for_each(|exchange| encoder.push(exchange));
            size = black_box(encoder.take().unwrap()).0.len() as u64;
        }),
    );
    println!("{} bytes/client span", size / spans);
}

#[test]
#[ignore = "measures"]
fn folder() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let mut writer = RunWriter::create(&dir, &run()).unwrap();
    let (n, batch) = (1_000_000, batch(512));
    let exchanges: Vec<Exchange> = (0..n).map(exchange).collect();
    let begin = cpu();
    exchanges.chunks(100).for_each(|part| writer.append_exchanges(part).unwrap());
    writer.flush().unwrap();
    let took = (cpu() - begin).as_nanos() as f64;
    let size = std::fs::metadata(dir.join("exchanges/000000.seg")).unwrap().len();
    println!("exchanges appended: {:.0} ns each, {} bytes each", took / n as f64, size / n);
    let batches = (1 << 30) / batch.len();
    let begin = cpu();
    (0..batches).for_each(|_| writer.append_spans(Encoding::Protobuf, &batch, 512).unwrap());
    writer.flush().unwrap();
    let gigabytes = (batches * batch.len()) as f64 / 1e9;
    println!("spans appended: {:.2} GB/s", gigabytes / (cpu() - begin).as_secs_f64());
    writer.finish(&run()).unwrap();
    let reader = RunReader::open(&dir).unwrap();
    let begin = cpu();
    let read = reader.exchanges().fold(0, |count, exchange| count + u64::from(black_box(exchange).sampled));
    assert_eq!(read, n);
    println!("exchanges read: {:.0} ns each", (cpu() - begin).as_nanos() as f64 / n as f64);
    let begin = cpu();
    let mut stream = reader.span_batches();
    let mut bytes = 0;
    while let Some(batch) = stream.next_batch() {
        bytes += black_box(batch).bytes.len();
    }
    println!("span batches read: {:.2} GB/s", bytes as f64 / 1e9 / (cpu() - begin).as_secs_f64());
    let begin = cpu();
    let totals = reader.for_each_span(&mut |span| _ = black_box(span.start));
    let spans = totals.walked.spans as f64;
    println!("spans read and walked: {:.2} M spans/s", spans / 1e6 / (cpu() - begin).as_secs_f64());
}
