//! What is done while an answer is sent, and after it.

use super::results::{MS, Request, kinds, load, only};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K};
use crate::analysis::{Analyzer, Partition};
use crate::record::{SpanKind, Timestamp, Value};

const ASGI: &str = "opentelemetry.instrumentation.asgi";

/// Requests that are answered at once, each followed by a background task of 80 ms that calls for `waits` of it, one task after the other or
/// all beside each other; a request that comes while one computes is taken in after it.
fn with_tasks(one_by_one: bool, waits: f64, scope: &'static str) -> Analysis {
    let mut load = load(80, move |n| {
        let mut r = Request::new(0, 0.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        let (sent, begins) = if one_by_one {
            ((n as f64 * 85.0 - 170.0).max(0.0), n as f64 * 85.0)
        } else {
            (n as f64 * 20.0, n as f64 * 20.0)
        };
        r.exchange.trace_id = crate::analysis::testing::trace(n);
        r.exchange.intended = Timestamp(at(sent));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (Timestamp(at(sent)), Some(Timestamp(at(sent))));
        (p.end, p.first_byte) = (Timestamp(at(begins + 3.0)), Some(Timestamp(at(begins + 3.0))));
        let server = &mut r.spans[0];
        server.trace = r.exchange.trace_id;
        (server.start, server.end) = (at(begins + 0.1), at(begins + 2.9));
        server.scope = scope;
        server.host = "web-1".to_owned();
        let task = (begins + 3.5, begins + 83.5);
        r.span(2, SpanKind::Internal, "shop", "BackgroundTask index", task, vec![]);
        r.spans[1].host = "web-1".to_owned();
        if waits > 0.0 {
            let call = vec![("server.address", Value::Str("mail.example"))];
            r.span(3, SpanKind::Client, "shop", "call", (task.0 + 1.0, task.0 + 1.0 + waits), call);
            r.spans[2].parent = r.spans[1].id;
            r.spans[2].host = "web-1".to_owned();
        }
        r
    });
    load.findings.retain(|f| !f.kind.is_about_evidence());
    load
}

#[test]
fn a_background_task_that_lets_nobody_in_is_why_requests_wait() {
    let analysis = with_tasks(true, 0.0, ASGI);
    only(&analysis, K::EventLoopBlocked, "BackgroundTask index");
    let f = &analysis.findings[0];
    assert_eq!(f.confidence, Confidence::High);
    assert!((f.evidence["after_answer_ms"] - 80.0).abs() < 1.5, "{:?}", f.evidence);
    assert!(f.evidence["held_up_share"] > 0.8 && f.evidence["waiting_ms"] > 140.0, "{:?}", f.evidence);
    assert!(f.impact.mean.as_millis_f64() > 140.0, "{:?}", f.impact);
    // Tasks beside each other, in threads, hold up nobody; nor do those that wait for an answer; nor is a worker of one request a loop.
    for (one_by_one, waits, scope) in [
        (false, 0.0, ASGI),
        (false, 78.0, ASGI),
        (true, 78.0, ASGI),
        (true, 0.0, "opentelemetry.instrumentation.wsgi"),
    ] {
        let found = kinds(&with_tasks(one_by_one, waits, scope));
        assert!(found.iter().all(|f| f.0 != K::EventLoopBlocked), "{one_by_one} {waits} {scope}: {found:?}");
    }
}

/// Files of so many bytes, of which the last comes `ms` after the first and after the end of the server's span, by a framework.
fn files(template: &str, bytes: u64, ms: u64, scope: &'static str) -> Analysis {
    let mut run = crate::analysis::testing::run(1);
    run.steps[0].template = template.to_owned();
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests = (0..60).map(|n| {
        let mut r = Request::new(n, (10 + ms) as f64);
        r.exchange.phases.first_byte = Some(Timestamp(r.base + 10 * MS));
        r.spans[0].end = r.base + 9 * MS;
        r.spans[0].scope = scope;
        r.exchange.bytes_received = bytes;
        r
    });
    let requests: Vec<Request> = requests.collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

#[test]
fn an_answer_that_no_line_carries_is_made_while_it_is_sent() {
    const DJANGO: &str = "opentelemetry.instrumentation.django";
    let told = |analysis: &Analysis| analysis.findings.first().map(|f| (f.kind, f.confidence));
    let made = Confidence::Inferred(Doubt::MadeAsSent);
    // 300 kB in half a second, within one machine.
    assert_eq!(
        told(&files("/static/app.js", 300_000, 500, DJANGO)),
        Some((K::StaticByApp, Confidence::High))
    );
    assert_eq!(told(&files("/report", 300_000, 500, DJANGO)), Some((K::LargePayload, made)));
    // As fast as a machine carries it; in an event loop, which sends between other requests' work; and so little that it is held back.
    let large = Some((K::LargePayload, Confidence::High));
    assert_eq!(told(&files("/static/app.js", 9_000_000, 500, DJANGO)), large);
    assert_eq!(told(&files("/static/app.js", 300_000, 500, "opentelemetry.instrumentation.fastapi")), large);
    let small = told(&files("/static/app.js", 3_000, 500, DJANGO));
    assert_eq!(small.map(|told| told.0), Some(K::SlowNetwork));
}

/// Pages of 2 ms, of which the `slow`th takes 2 s, while which nobody is taken in, or all are.
fn a_long_request(slow: u64, holds_up: bool, scope: &'static str) -> Analysis {
    load(400, move |n| {
        let mut r = Request::new(0, 0.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        let sent = n as f64 * 25.0;
        let (from, to) = (slow as f64 * 25.0 + 1.0, slow as f64 * 25.0 + 2_001.0);
        let (begins, ends) = match sent + 1.0 {
            begins if n == slow => (begins, to),
            begins if holds_up && begins > from && begins < to => (to + (n - slow) as f64 * 2.0, 0.0),
            begins => (begins, 0.0),
        };
        let ends = ends.max(begins + 2.0);
        r.exchange.trace_id = crate::analysis::testing::trace(n);
        r.exchange.intended = Timestamp(at(sent));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (Timestamp(at(sent)), Some(Timestamp(at(sent))));
        (p.end, p.first_byte) = (Timestamp(at(ends + 0.1)), Some(Timestamp(at(ends + 0.1))));
        let server = &mut r.spans[0];
        server.trace = r.exchange.trace_id;
        (server.start, server.end) = (at(begins), at(ends));
        server.scope = scope;
        server.host = "web-1".to_owned();
        r
    })
}

#[test]
fn a_start_that_holds_up_a_loop_is_what_the_others_wait_for() {
    let starts = |analysis: &Analysis| analysis.findings.iter().any(|f| f.kind == K::ColdStart);
    let analysis = a_long_request(1, true, ASGI);
    let f = analysis.findings.iter().find(|f| f.kind == K::ColdStart).unwrap();
    assert_eq!((&*f.contributor.name, f.confidence), ("GET /", Confidence::Inferred(Doubt::Once)));
    assert!(f.evidence["longest_ms"] > 1_990.0 && f.evidence["waiting_ms"] > 100.0, "{:?}", f.evidence);
    // Later in the run it is no start; nor where others are taken in meanwhile, or each has a thread.
    assert!(!starts(&a_long_request(200, true, ASGI)));
    assert!(!starts(&a_long_request(1, false, ASGI)));
    assert!(!starts(&a_long_request(1, true, "opentelemetry.instrumentation.wsgi")));
}
