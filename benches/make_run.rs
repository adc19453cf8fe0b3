//! Writes a run folder of a given size, as a run of a shop would leave it, for `benches/analysis`.
//!
//! ```text
//! cargo bench --profile dev --bench make_run -- FOLDER [SPANS [SPANS_PER_TRACE]]
//! ```
//!
//! Each exchange has a trace of 25 spans in two services: a server span, an N+1 of 20 statements, a call to an API without
//! spans, a call to the inventory with its server span and its statement. Longer traces have more statements. Spans come as real exporters send them: in batches
//! of 512 by service, in the order in which they ended, with some hundred requests under way at once. Durations vary by a
//! fixed sequence; nothing is random, so the same arguments give the same bytes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that says what it wrote")]

use hotspan::record::{
    Exchange, LoadFacts, Nanos, Outcome, Phases, Protocol, Run, RunState, SpanId, StepId, StepInfo,
    Timestamp, TraceId,
};
use hotspan::wire::folder::RunWriter;
use hotspan::wire::otlp::Encoding;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

const SPANS_PER_TRACE: u64 = 25;
/// Spans of a trace that are no statements of the N+1.
const OTHERS: u64 = 5;
const BATCH: usize = 512;
/// 2026-01-01 00:00:00 UTC.
const START: u64 = 1_767_225_600_000_000_000;
/// A request begins every millisecond.
const EVERY: u64 = 1_000_000;
const MICRO: u64 = 1_000;

const CLIENT: i32 = 3;
const SERVER: i32 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` itself passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(folder) = arguments.first() else {
        eprintln!("usage: cargo bench --profile dev --bench make_run -- FOLDER [SPANS [SPANS_PER_TRACE]]");
        return Ok(());
    };
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let spans = number(1, 1_000_000)?;
    let per_trace = number(2, SPANS_PER_TRACE)?.max(OTHERS + 1);
    let traces = spans.div_ceil(per_trace);
    let mut run = run(traces);
    let mut writer = RunWriter::create(Path::new(folder), &run)?;
    let mut shop = Batches::new("shop");
    let mut inventory = Batches::new("inventory");
    for number in 0..traces {
        let trace = Trace::new(number, per_trace - OTHERS);
        writer.append_exchanges(&[trace.exchange()])?;
        trace.spans(&mut shop.spans, &mut inventory.spans);
        shop.send(&mut writer, BATCH)?;
        inventory.send(&mut writer, BATCH)?;
    }
    shop.send(&mut writer, 1)?;
    inventory.send(&mut writer, 1)?;
    run.receiver.requests = shop.requests + inventory.requests;
    run.receiver.spans_received = traces * per_trace;
    run.receiver.spans_stored = traces * per_trace;
    run.state = RunState::Complete;
    writer.finish(&run)?;
    println!("{} exchanges and {} spans in {folder}", traces, traces * per_trace);
    Ok(())
}

fn run(traces: u64) -> Run {
    Run {
        id: "2026-01-01T00-00-00Z-generated".into(),
        name: "generated".into(),
        started_at: Timestamp(START),
        ended_at: Some(Timestamp(START + traces * EVERY)),
        state: RunState::Running,
        target: "http://127.0.0.1:8080".into(),
        hotspan_version: env!("CARGO_PKG_VERSION").into(),
        git_commit: None,
        host: hotspan::record::Host::default(),
        scenario: String::new(),
        steps: (0..4u16)
            .map(|step| StepInfo {
                journey: "browse".into(),
                name: format!("step {step}"),
                method: "GET".into(),
                template: format!("/products/{step}"),
                checks: Vec::new(),
            })
            .collect(),
        load: LoadFacts {
            open_model: true,
            planned: Nanos(traces * EVERY),
            offered: traces,
            sent: traces,
            users_max: 100,
            iterations: traces,
            threads: 1,
            ..LoadFacts::default()
        },
        receiver: hotspan::record::ReceiverFacts::default(),
        export: hotspan::record::ExportFacts::default(),
        sources: Default::default(),
        wait: None,
        warnings: Vec::new(),
    }
}

/// One exchange and its spans, all from its number.
struct Trace {
    number: u64,
    id: TraceId,
    start: u64,
    statements: u64,
    /// Length of a statement.
    statement: u64,
    external: u64,
    inventory: u64,
}

impl Trace {
    fn new(number: u64, statements: u64) -> Trace {
        let mut id = [0u8; 16];
        id[..8].copy_from_slice(&mix(number).to_be_bytes());
        id[8..].copy_from_slice(&(number + 1).to_be_bytes());
        // One request in fifty is slow in its statements.
        let slow = if number % 50 == 7 { 8 } else { 1 };
        Trace {
            number,
            id: TraceId(id),
            start: START + number * EVERY,
            statements,
            statement: slow * (300 + mix(number + 1) % 400) * MICRO,
            external: (5_000 + mix(number + 2) % 20_000) * MICRO,
            inventory: (2_000 + mix(number + 3) % 3_000) * MICRO,
        }
    }

    fn span_id(&self, index: u64) -> [u8; 8] {
        mix(self.number * (self.statements + OTHERS).max(64) + index + 1).max(1).to_be_bytes()
    }

    fn length(&self) -> u64 {
        self.statements * (self.statement + 20 * MICRO) + self.external + self.inventory + 800 * MICRO
    }

    fn exchange(&self) -> Exchange {
        let end = self.start + self.length() + 300 * MICRO;
        Exchange {
            trace_id: self.id,
            span_id: SpanId(self.span_id(0)),
            sampled: true,
            threshold: hotspan::record::Threshold::ALWAYS,
            step: StepId((self.number % 4) as u16),
            user: (self.number % 100) as u32,
            iteration: (self.number / 100) as u32,
            intended: Timestamp(self.start - 20 * MICRO),
            phases: Phases {
                start: Timestamp(self.start),
                sent: Some(Timestamp(self.start + 10 * MICRO)),
                first_byte: Some(Timestamp(end - 50 * MICRO)),
                end: Timestamp(end),
                ..Phases::default()
            },
            outcome: Outcome::Answered(200),
            checks_failed: Vec::new(),
            bytes_sent: 210,
            bytes_received: 4_096,
            bytes_decoded: None,
            followed: false,
            connection_reused: true,
            protocol: Protocol::Http1,
            url: Arc::from(format!("http://127.0.0.1:8080/products/{}", self.number % 4)),
            server_timing: None,
            messages: None,
        }
    }

    /// In the order in which they end: children before their parents.
    fn spans(&self, shop: &mut Vec<Span>, inventory: &mut Vec<Span>) {
        let root = 1;
        let begin = self.start + 150 * MICRO;
        let mut at = begin + 200 * MICRO;
        let last = self.statements + 1;
        for index in 0..self.statements {
            let what = vec![
                text("db.system.name", "postgresql"),
                text(
                    "db.query.text",
                    "SELECT id, author, stars, body FROM review WHERE product_id = $1 ORDER BY id",
                ),
                text("db.namespace", "shop"),
                text("server.address", "127.0.0.1"),
                number("server.port", 5432),
            ];
            shop.push(self.span(
                2 + index,
                root,
                "SELECT shop.review",
                CLIENT,
                at,
                at + self.statement,
                what,
            ));
            at += self.statement + 20 * MICRO;
        }
        shop.push(self.call(
            last + 1,
            root,
            at,
            at + self.external,
            "http://127.0.0.1:9090/v1/charges",
            9090,
        ));
        at += self.external + 50 * MICRO;
        let (hop, hop_end) = (at + 100 * MICRO, at + self.inventory - 100 * MICRO);
        let statement = vec![
            text("db.system.name", "postgresql"),
            text("db.query.text", "SELECT amount FROM stock WHERE product_id = $1"),
        ];
        let (from, to) = (hop + 200 * MICRO, hop_end - 300 * MICRO);
        let (call, served_by) = (last + 2, last + 3);
        inventory.push(self.span(last + 4, served_by, "SELECT shop.stock", CLIENT, from, to, statement));
        inventory.push(self.span(
            served_by,
            call,
            "GET /stock/{id}",
            SERVER,
            hop,
            hop_end,
            served("/stock/{id}"),
        ));
        shop.push(self.call(call, root, at, at + self.inventory, "http://127.0.0.1:8081/stock/4", 8081));
        let end = begin + self.length();
        shop.push(self.span(root, 0, "GET /products/{id}", SERVER, begin, end, served("/products/{id}")));
    }

    fn call(&self, index: u64, parent: u64, from: u64, to: u64, url: &str, port: i64) -> Span {
        let what = vec![
            text("http.request.method", "GET"),
            text("url.full", url),
            text("server.address", "127.0.0.1"),
            number("server.port", port),
            number("http.response.status_code", 200),
        ];
        self.span(index, parent, "GET", CLIENT, from, to, what)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a span, one after the other")]
    fn span(
        &self,
        index: u64,
        parent: u64,
        name: &str,
        kind: i32,
        from: u64,
        to: u64,
        attributes: Vec<KeyValue>,
    ) -> Span {
        Span {
            trace_id: self.id.0.to_vec(),
            span_id: self.span_id(index).to_vec(),
            parent_span_id: self.span_id(parent).to_vec(),
            name: name.into(),
            kind,
            start_time_unix_nano: from,
            end_time_unix_nano: to,
            attributes,
            flags: if kind == SERVER { 0x301 } else { 0x101 },
            ..Span::default()
        }
    }
}

fn served(route: &str) -> Vec<KeyValue> {
    vec![
        text("http.request.method", "GET"),
        text("http.route", route),
        text("url.path", route),
        text("url.scheme", "http"),
        number("http.response.status_code", 200),
        text("user_agent.original", "hotspan"),
        text("network.protocol.version", "1.1"),
    ]
}

/// The spans of one service until they are sent.
struct Batches {
    resource: Resource,
    spans: Vec<Span>,
    requests: u64,
}

impl Batches {
    fn new(service: &str) -> Batches {
        let attributes = vec![
            text("service.name", service),
            text("host.name", "generated"),
            text("telemetry.sdk.language", "rust"),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        Batches { resource, spans: Vec::new(), requests: 0 }
    }

    /// Sends whole batches as long as there are `least` spans.
    fn send(&mut self, writer: &mut RunWriter, least: usize) -> Result<(), Box<dyn Error>> {
        while self.spans.len() >= least {
            let spans: Vec<Span> = self.spans.drain(..self.spans.len().min(BATCH)).collect();
            let count = spans.len() as u64;
            let scope = InstrumentationScope { name: "generated".into(), ..InstrumentationScope::default() };
            let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
            let resource_spans = vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans,
                schema_url: String::new(),
            }];
            let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
            writer.append_spans(Encoding::Protobuf, &bytes, count)?;
            self.requests += 1;
        }
        Ok(())
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Spreads a counter over all 64 bits (the finaliser of SplitMix64): neighbours become unlike each other.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
