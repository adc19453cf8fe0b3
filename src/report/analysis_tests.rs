//! Reports of results that the analysis really made, from exchanges and spans.

use super::golden_tests::check;
use super::sample::{self, STARTED};
use super::{Report, Style, headline, json, markdown, terminal};
use crate::analysis::result::Analysis;
use crate::analysis::{Analyzer, Partition};
use crate::record::*;

const MS: u64 = 1_000_000;

/// A span in a few words: id, parent, kind, service, name, start and end in microseconds, statement or address.
struct Sketch(
    u64,
    u64,
    SpanKind,
    &'static str,
    &'static str,
    u64,
    u64,
    &'static [(&'static str, &'static str)],
);

fn give(analyzer: &mut Analyzer, trace_id: TraceId, parent: SpanId, at: Timestamp, sketch: &Sketch) {
    let Sketch(id, of, kind, service, name, start, end, attributes) = *sketch;
    let service = [("service.name", service)];
    let list = |pairs: &[(&'static str, &'static str)]| -> Vec<Attribute<'static>> {
        pairs.iter().map(|(key, value)| Attribute { key, value: Value::Str(value) }).collect()
    };
    let (resource, scope) = (Resource { attributes: list(&service) }, Scope::default());
    let span_id = |n: u64| SpanId((n + 1_000).to_be_bytes());
    analyzer.span(&Span {
        trace_id,
        span_id: span_id(id),
        parent_id: Some(if of == 0 { parent } else { span_id(of) }),
        kind,
        name,
        start: at + Nanos(start * 1_000),
        end: at + Nanos(end * 1_000),
        status: Status::Unset,
        status_message: "",
        trace_state: "",
        flags: 0,
        resource: &resource,
        scope: &scope,
        attributes: &list(attributes),
        events: &[],
        links: &[],
        dropped: 0,
    });
}

fn exchange(n: u64, step: u16, took_us: u64) -> Exchange {
    let start = STARTED + Nanos(n * 20 * MS);
    let mut trace = [7; 16];
    trace[8..].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let at = |us: u64| start + Nanos(us * 1_000);
    Exchange {
        trace_id: TraceId(trace),
        span_id: SpanId((n + 1).to_be_bytes()),
        sampled: true,
        threshold: crate::record::Threshold::ALWAYS,
        step: StepId(step),
        user: (n % 20) as u32,
        iteration: (n / 20) as u32,
        intended: start,
        phases: Phases {
            start,
            sent: Some(at(20)),
            first_byte: Some(at(took_us - 200)),
            end: at(took_us),
            ..Phases::default()
        },
        outcome: Outcome::Answered(200),
        checks_failed: Vec::new(),
        bytes_sent: 200,
        bytes_received: 4_000,
        bytes_decoded: None,
        followed: false,
        connection_reused: true,
        protocol: Protocol::Http1,
        url: "http://127.0.0.1:8080/".into(),
        server_timing: None,
        messages: None,
    }
}

/// A product page with one query for each product, and a quick search.
fn shop(queries: u64, joined: bool) -> (Run, Analysis) {
    let mut run = sample::run("shop", &[("browse", "GET /products"), ("browse", "GET /search")]);
    run.load.offered = 800;
    run.load.sent = 800;
    let mut random = sample::Lcg(11);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let mut all = Vec::new();
    for n in 0..800 {
        let step = (n % 2) as u16;
        let luck = (random.next() * 800.0) as u64 + if n % 16 == 0 { 1_500 } else { 0 };
        let each = 1_900 + luck;
        let took = if step == 0 { 6_000 + queries * (each + 100) } else { 4_000 + luck };
        all.push((exchange(n, step, took), each, took));
        analyzer.exchange(&all[n as usize].0);
    }
    const SQL: &[(&str, &str)] = &[
        ("db.system.name", "sqlite"),
        ("db.query.text", "SELECT id, author, stars, body FROM review WHERE product_id = 17"),
    ];
    for (e, each, took) in all.iter().filter(|_| joined) {
        let (start, end) = (300, took - 500);
        let route: &[(&str, &str)] = match e.step.0 {
            0 => &[("http.request.method", "GET"), ("http.route", "/products")],
            _ => &[("http.request.method", "GET"), ("http.route", "/search")],
        };
        let name = if e.step.0 == 0 { "GET /products" } else { "GET /search" };
        let mut give = |sketch: &Sketch| give(&mut analyzer, e.trace_id, e.span_id, e.intended, sketch);
        give(&Sketch(1, 0, SpanKind::Server, "shop", name, start, end, route));
        let calls = if e.step.0 == 0 { queries } else { 1 };
        let each = if e.step.0 == 0 { *each } else { 900 };
        for i in 0..calls {
            let at = 1_000 + i * (each + 100);
            give(&Sketch(2 + i, 1, SpanKind::Client, "shop", "SELECT review", at, at + each, SQL));
        }
    }
    let analysis = analyzer.finish().into_analysis(&run);
    (run, analysis)
}

#[test]
fn the_analysis_of_a_query_for_each_product_reads_as_the_answer() {
    let (run, analysis) = shop(26, true);
    let report = Report { run: &run, analysis: &analysis, thresholds: &[] };
    let text = headline(&report);
    assert!(text.starts_with("GET /products is slow because of the database: "), "{text}");
    assert!(
        text.contains("SELECT … FROM review WHERE product_id = ?") && text.ends_with("26 calls per request"),
        "{text}"
    );
    check("analysis.100.txt", &terminal(&report, Style::default()));
    check("analysis.md", &markdown(&report));
    check("analysis.json", &json(&report));
}

#[test]
fn the_analysis_of_a_quick_service_reads_as_healthy() {
    let (run, analysis) = shop(1, true);
    let text = headline(&Report { run: &run, analysis: &analysis, thresholds: &[] });
    assert!(text.starts_with("No bottleneck: slowest step GET /"), "{text}");
}

#[test]
fn the_analysis_without_spans_says_what_to_do() {
    let (mut run, analysis) = shop(1, false);
    run.receiver = ReceiverFacts::default();
    let text = headline(&Report { run: &run, analysis: &analysis, thresholds: &[] });
    assert!(text.contains("no server span says why: none arrived"), "{text}");
}

#[test]
fn what_the_analysis_makes_is_valid() {
    let validator = super::schema_tests::validator();
    for (run, analysis) in [shop(26, true), shop(1, true), shop(1, false)] {
        let text = json(&Report { run: &run, analysis: &analysis, thresholds: &[] });
        let value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}
