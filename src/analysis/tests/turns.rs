//! Requests that wait for their turn where no span says so: for an event loop that has too much to do, for the few connections of
//! one page, before many statements.

use super::results::{MS, Request, kinds};
use crate::analysis::result::{Analysis, Confidence, Doubt, Finding, FindingKind as K};
use crate::analysis::testing::{run, trace};
use crate::analysis::{Analyzer, Partition};
use crate::record::{SpanKind, StepId, Timestamp, Value};

pub(super) const LOOP: &str = "opentelemetry.instrumentation.asgi";
pub(super) const WORKERS: &str = "opentelemetry.instrumentation.wsgi";

/// Bits of `n` without a pattern.
fn mixed(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24
}

/// The `n`th request of all, of a page: when it is sent, taken in and answered, in ms of the run.
pub(super) fn request(
    n: u64,
    step: u16,
    (sent, begins, ends): (f64, f64, f64),
    scope: &'static str,
) -> Request {
    let mut r = Request::new(0, 0.0);
    let at = |ms: f64| Timestamp(r.base + (ms * 1e6) as u64);
    r.exchange.trace_id = trace(n);
    r.exchange.step = StepId(step);
    r.exchange.intended = at(sent);
    let p = &mut r.exchange.phases;
    (p.start, p.sent, p.first_byte, p.end) = (at(sent), Some(at(sent)), Some(at(ends)), at(ends));
    let server = &mut r.spans[0];
    (server.trace, server.scope, server.host) = (trace(n), scope, "web-1".to_owned());
    server.name = format!("GET /{step}");
    (server.start, server.end) = (at(begins).0, at(ends).0 - MS / 10);
    r
}

pub(super) fn statement(r: &mut Request, text: &'static str, at: (f64, f64)) {
    let attributes = vec![("db.system.name", Value::Str("postgresql")), ("db.query.text", Value::Str(text))];
    r.span(2, SpanKind::Client, "shop", "q", at, attributes);
}

pub(super) fn analysed(steps: usize, requests: impl Iterator<Item = Request>) -> Analysis {
    let run = run(steps);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for r in requests {
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis(&run)
}

pub(super) fn of_step(analysis: &Analysis, step: u16) -> Vec<&Finding> {
    analysis.findings.iter().filter(|f| f.step == StepId(step)).collect()
}

/// One worker takes in requests that wait 800 ms for it, and each makes 45 statements of which none is like another.
fn many_statements(each_ms: f64) -> Analysis {
    let texts: Vec<&'static str> = (0..45)
        .map(|i| &*Box::leak(format!("SELECT a{i} FROM t{i} WHERE b{i} = $1").into_boxed_str()))
        .collect();
    analysed(
        1,
        (0..200).map(|n| {
            let begins = 800.0 + 70.0 * n as f64;
            let mut r = request(n, 0, (begins - 800.0, begins, begins + 69.0), WORKERS);
            for (i, text) in texts.iter().enumerate() {
                let from = begins + 0.5 + 1.5 * i as f64;
                statement(&mut r, text, (from, from + each_ms));
            }
            r
        }),
    )
}

#[test]
fn many_statements_are_told_where_requests_wait_for_each_other() {
    let analysis = many_statements(1.4);
    let found = of_step(&analysis, 0);
    assert_eq!(found[0].kind, K::ManyQueries, "{:?}", kinds(&analysis));
    // Not a tenth of the latency, but nearly all of what is not waiting.
    assert!(found[0].evidence["share"] < 0.1 && found[0].evidence["mean_ms"] > 60.0);
    let few = many_statements(0.1);
    assert!(few.findings.iter().all(|f| f.kind != K::ManyQueries), "{:?}", kinds(&few));
}

/// One worker takes in a request each 22 ms that has waited 300 ms for it; each makes these statements of 20 ms in all.
fn one_worker(texts: &[&'static str]) -> Analysis {
    analysed(
        1,
        (0..200).map(|n| {
            let begins = 300.0 + 22.0 * n as f64;
            let mut r = request(n, 0, (begins - 300.0, begins, begins + 21.5), WORKERS);
            let each = 20.0 / texts.len() as f64;
            for (i, text) in texts.iter().enumerate() {
                let from = begins + 0.5 + each * i as f64;
                statement(&mut r, text, (from, from + each));
            }
            r
        }),
    )
}

#[test]
fn a_queue_names_what_takes_the_turns() {
    let one = one_worker(&["SELECT sum(a) FROM t WHERE b = $1"]);
    let queue = &of_step(&one, 0)[0];
    assert_eq!((queue.kind, &*queue.contributor.name), (K::Queueing, "client → shop"), "{:?}", kinds(&one));
    assert_eq!(&*queue.related[0].name, "SELECT sum(a) FROM t WHERE b = ?");
    assert!((queue.evidence["turn_share"] - 20.0 / 21.4).abs() < 0.01, "{}", queue.evidence["turn_share"]);
    // Of several alike none is why.
    let four = one_worker(&[
        "SELECT a FROM t WHERE b = $1",
        "SELECT c FROM u WHERE b = $1",
        "SELECT d FROM v WHERE b = $1",
        "SELECT e FROM w WHERE b = $1",
    ]);
    let queue = &of_step(&four, 0)[0];
    assert!(queue.kind == K::Queueing && queue.related.is_empty(), "{:?}", queue.related);
    assert!(!queue.evidence.contains_key("turn_share"));
    // What is sent for long after the span's end may be the worker's time or the client's line: neither is named.
    let sent = analysed(
        1,
        (0..200).map(|n| {
            let begins = 300.0 + 12.0 * n as f64;
            let mut r = request(n, 0, (begins - 300.0, begins, begins + 11.5), WORKERS);
            r.exchange.phases.first_byte = Some(Timestamp(r.spans[0].end));
            r.exchange.phases.end = Timestamp(r.spans[0].end + 60 * MS);
            r
        }),
    );
    let queues = sent.findings.iter().filter(|f| f.kind == K::Queueing);
    assert!(queues.map(|f| f.related.len()).eq([0]), "{:?}", kinds(&sent));
}

/// Four users ask at once, each 400 ms, for a page that makes 20 statements of 3 ms with a moment between them. `apart` is by how
/// much later the loop takes in the next of the four.
fn in_one_loop(apart: f64, scope: &'static str) -> Analysis {
    let requests = (0..200).map(move |n| {
        let sent = 400.0 * (n / 4) as f64;
        let begins = sent + 0.2 + apart * (n % 4) as f64;
        // Where the loop gives way, each statement waits while it sends those of the others.
        let mut r = request(n, 0, (sent, begins, begins + 66.0), scope);
        for i in 0..20 {
            let from = begins + 1.0 + 3.2 * f64::from(i);
            statement(&mut r, "SELECT a FROM t WHERE b = $1", (from, from + 3.0));
        }
        r
    });
    analysed(1, requests)
}

#[test]
fn quick_calls_that_do_not_give_way_hold_up_an_event_loop() {
    let held = |analysis: &Analysis| {
        let found = analysis.findings.iter().find(|f| f.kind == K::EventLoopBlocked)?;
        Some((found.contributor.name.to_string(), found.confidence, found.evidence["block_ms"].round()))
    };
    let blocked = in_one_loop(67.0, LOOP);
    assert_eq!(held(&blocked), Some(("GET /{id}".to_owned(), Confidence::High, 64.0)));
    assert!(kinds(&blocked).iter().any(|f| f.0 == K::NPlusOneQuery), "{:?}", kinds(&blocked));
    assert!(kinds(&blocked).iter().all(|f| f.0 != K::Queueing), "{:?}", kinds(&blocked));
    // Taken in while the others ask; and one at a time in a worker that was made so.
    for other in [in_one_loop(4.0, LOOP), in_one_loop(67.0, WORKERS)] {
        assert_eq!(held(&other), None, "{:?}", kinds(&other));
    }
}

#[test]
fn short_work_holds_up_an_event_loop_where_many_wait_for_it() {
    // Ten at once, each 400 ms: 15 ms of code after a statement of 1 ms, before which the loop does that of others.
    let requests = (0..300).map(|n| {
        let sent = 400.0 * (n / 10) as f64;
        let begins = sent + 0.2 + 17.0 * (n % 10) as f64;
        let mut r = request(n, 0, (sent, begins, begins + 16.8), LOOP);
        statement(&mut r, "SELECT a FROM t WHERE b = $1", (begins + 0.1, begins + 1.1));
        r
    });
    let analysis = analysed(1, requests);
    let f = of_step(&analysis, 0)[0];
    assert_eq!((f.kind, &*f.contributor.name), (K::EventLoopBlocked, "GET /{id}"), "{:?}", kinds(&analysis));
    assert!(f.evidence["waiting_ms"] > 60.0 && f.evidence["mean_ms"] < 25.0, "{:?}", f.evidence);
}

/// Three pages, a request each 10 ms. `own` gives the own time of the `n`th in ms, around a statement of 1 ms; each is taken in
/// `until` ms after it was sent.
fn three_pages(scope: &'static str, own: fn(u64) -> f64, until: fn(u64) -> f64) -> Analysis {
    analysed(
        3,
        (0..900).map(|n| {
            let sent = 10.0 * n as f64;
            let begins = sent + until(n);
            let mut r = request(n, (n % 3) as u16, (sent, begins, begins + own(n) + 1.2), scope);
            statement(&mut r, "SELECT a FROM t WHERE id = $1", (begins + 0.1, begins + 1.1));
            r
        }),
    )
}

fn quickly(_: u64) -> f64 {
    0.5
}

/// Quick at best, 75 ms on average.
fn at_times(n: u64) -> f64 {
    1.0 + (mixed(n) % 150) as f64
}

#[test]
fn own_time_that_waits_for_a_crowded_loop_is_no_slow_code() {
    let told = |analysis: &Analysis| analysis.findings.iter().any(|f| f.kind == K::AppCpu);
    assert!(!told(&three_pages(LOOP, at_times, quickly)));
    // Threads run at the same time.
    assert!(told(&three_pages(WORKERS, at_times, quickly)));
    // It takes as long each time: the code is slow, however crowded the loop.
    assert!(told(&three_pages(LOOP, |n| 70.0 + (n % 7) as f64, quickly)));
    // One page alone may wait for a lock of its own.
    let one = three_pages(LOOP, |n| if n.is_multiple_of(3) { at_times(n) } else { 1.0 }, quickly);
    assert_eq!(of_step(&one, 0)[0].kind, K::AppCpu, "{:?}", kinds(&one));
    assert_eq!(of_step(&one, 0)[0].confidence, Confidence::Inferred(Doubt::GivesWay));
}

#[test]
fn the_way_to_a_crowded_loop_is_no_slow_line() {
    // It goes with nothing that can be counted.
    let waits = |n: u64| (mixed(n + 7_000) % 300) as f64;
    let way = |analysis: &Analysis| {
        let on_the_way = analysis.findings.iter().filter(|f| matches!(f.kind, K::Queueing | K::SlowNetwork));
        on_the_way.map(|f| (f.kind, f.confidence)).collect::<Vec<_>>()
    };
    let crowded = three_pages(LOOP, at_times, waits);
    assert_eq!(way(&crowded), [(K::Queueing, Confidence::Inferred(Doubt::CrowdedLoop))]);
    // A loop that is free: the line is slow at times.
    let free = three_pages(LOOP, |n| 1.0 + (n % 5) as f64, waits);
    assert_eq!(way(&free), [(K::SlowNetwork, Confidence::Inferred(Doubt::NotByNumber))]);
}

/// Three pages, each with a call of its own, a request each 10 ms; how long the way and the call of the `n`th take.
fn three_calls(way: fn(u64) -> f64, call: fn(u64) -> f64) -> Vec<(K, Confidence)> {
    let texts =
        ["SELECT a FROM t WHERE id = $1", "SELECT b FROM u WHERE id = $1", "SELECT c FROM v WHERE id = $1"];
    let analysis = analysed(
        3,
        (0..900).map(|n| {
            let sent = 10.0 * n as f64;
            let begins = sent + way(n);
            let mut r = request(n, (n % 3) as u16, (sent, begins, begins + call(n) + 0.5), LOOP);
            statement(&mut r, texts[(n % 3) as usize], (begins + 0.1, begins + 0.1 + call(n)));
            r
        }),
    );
    let on_the_way = analysis.findings.iter().filter(|f| matches!(f.kind, K::Queueing | K::SlowNetwork));
    on_the_way.map(|f| (f.kind, f.confidence)).collect()
}

#[test]
fn a_busy_loop_is_late_for_answers_as_for_requests() {
    let way = |n: u64| (mixed(n + 7_000) % 300) as f64;
    let late = |n: u64| 1.0 + (mixed(n + 900) % 250) as f64;
    assert_eq!(three_calls(way, late), [(K::Queueing, Confidence::Inferred(Doubt::CrowdedLoop))]);
    // Calls that differ by far less than the way; and calls that take long each time.
    let line = [(K::SlowNetwork, Confidence::Inferred(Doubt::NotByNumber))];
    assert_eq!(three_calls(way, |n| 1.0 + (mixed(n + 900) % 60) as f64), line);
    assert_eq!(three_calls(way, |n| 150.0 + (mixed(n + 900) % 20) as f64), line);
}

/// Ten seconds of a light load: once a second a page keeps the loop busy for 60 ms; in the first `came` of them another request
/// comes, which is taken in when that is over, or at once.
fn light_load(came: u64, taken_in_at_once: bool) -> Analysis {
    let long = (0..12).map(|n| {
        let at = 1_000.0 * n as f64;
        request(n, 0, (at, at + 0.2, at + 60.0), LOOP)
    });
    let other = (0..came).map(move |n| {
        let at = 1_000.0 * n as f64 + 12.0;
        let begins = if taken_in_at_once { at + 1.0 } else { at + 48.5 };
        request(100 + n, 1, (at, begins, begins + 2.0), LOOP)
    });
    analysed(2, long.chain(other))
}

#[test]
fn each_request_that_a_loop_leaves_waiting_tells_under_a_light_load() {
    let first = |analysis: &Analysis| of_step(analysis, 0)[0].kind;
    let blocked = light_load(10, false);
    assert_eq!(first(&blocked), K::EventLoopBlocked, "{:?}", kinds(&blocked));
    assert_eq!(of_step(&blocked, 0)[0].confidence, Confidence::FewRequests(12));
    // Too few came, or all were taken in.
    assert_eq!(first(&light_load(4, false)), K::AppCpu);
    assert_eq!(first(&light_load(10, true)), K::AppCpu);
}

/// A page that takes a connection, holds it for 48 ms and says nothing of how long it waited, and one whose pool is large.
fn page_with_a_pool(turn: fn(u64) -> (f64, f64)) -> Analysis {
    analysed(
        2,
        (0..400).map(|n| {
            if n % 2 == 1 {
                let at = 50.0 * n as f64;
                let mut r = request(n, 1, (at, at + 0.2, at + 6.0), LOOP);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + 0.5, at + 3.0));
                return r;
            }
            let (sent, asks) = turn(n / 2);
            let mut r = request(n, 0, (sent, sent + 0.2, asks + 48.0), LOOP);
            statement(&mut r, "SELECT title FROM book WHERE id = $1", (asks, asks + 4.0));
            r
        }),
    )
}

/// When it is sent and when it has its connection: two have one at a time, and several wait.
fn two_connections(n: u64) -> (f64, f64) {
    let asks = 1_000.0 + 49.0 * (n / 2) as f64 + 20.0 * (n % 2) as f64;
    (asks - 100.0 - (mixed(n) % 200) as f64, asks)
}

/// One after the other.
fn one_at_a_time(n: u64) -> (f64, f64) {
    let asks = 1_000.0 + 49.0 * n as f64;
    (asks - 100.0 - (mixed(n) % 200) as f64, asks)
}

#[test]
fn a_page_that_waits_for_its_own_connections_is_told_from_one_that_computes() {
    let analysis = page_with_a_pool(two_connections);
    let found = of_step(&analysis, 0);
    assert_eq!(found[0].kind, K::PoolWait, "{:?}", kinds(&analysis));
    assert_eq!(found[0].confidence, Confidence::Inferred(Doubt::ConnectionsInUse));
    assert!((found[0].evidence["served_at_once"] - 2.0).abs() < 0.2, "{:?}", found[0].evidence);
    assert!(found[0].evidence["before_statements_ms"] > 180.0, "{:?}", found[0].evidence);
    // As long before its statement, whoever is there: some come together, some alone.
    let computes = page_with_a_pool(|n| {
        let asks = 1_000.0 + 49.0 * n as f64 + (mixed(n + 500) % 300) as f64;
        (asks - 100.0 - (mixed(n) % 200) as f64, asks)
    });
    assert_eq!(of_step(&computes, 0)[0].kind, K::AppCpu, "{:?}", kinds(&computes));
    // Two users: one is before its statement while the other is beyond, of any page that computes first.
    let two = page_with_a_pool(|n| {
        (1_000.0 + 49.0 * n as f64 - 46.0 - (mixed(n) % 25) as f64, 1_000.0 + 49.0 * n as f64)
    });
    assert!(of_step(&two, 0).iter().all(|f| f.kind != K::PoolWait), "{:?}", kinds(&two));
}

#[test]
fn a_lock_around_statements_of_one_page_is_no_pool_of_all() {
    let analysis = page_with_a_pool(one_at_a_time);
    let found = of_step(&analysis, 0);
    assert_eq!(found[0].kind, K::LockContention, "{:?}", kinds(&analysis));
    assert_eq!(found[0].confidence, Confidence::Inferred(Doubt::OneByOne));
    assert!((found[0].evidence["held_ms"] - 48.0).abs() < 1.0, "{:?}", found[0].evidence);
    // Nobody else asks: there may be one connection for all.
    let alone = analysed(
        1,
        (0..200).map(|n| {
            let (sent, asks) = one_at_a_time(n);
            let mut r = request(n, 0, (sent, sent + 0.2, asks + 48.0), LOOP);
            statement(&mut r, "SELECT title FROM book WHERE id = $1", (asks, asks + 4.0));
            r
        }),
    );
    assert_eq!(of_step(&alone, 0)[0].kind, K::PoolWait, "{:?}", kinds(&alone));
}

#[test]
fn own_time_in_which_a_loop_serves_others_may_be_waiting_that_nobody_recorded() {
    // Sixty milliseconds each time, around the statement of the page; a request of another page each ten.
    let of = |scope: &'static str, serves: bool| {
        let analysis = analysed(
            2,
            (0..900u64).map(|n| {
                let at = 10.0 * n as f64;
                if !n.is_multiple_of(9) {
                    let held_up = if serves { 0.0 } else { (60.5 - 10.0 * (n % 9) as f64).max(0.0) };
                    let mut r = request(n, 1, (at, at + held_up + 0.2, at + held_up + 2.0), scope);
                    statement(
                        &mut r,
                        "SELECT b FROM t WHERE id = $1",
                        (at + held_up + 0.5, at + held_up + 1.0),
                    );
                    return r;
                }
                let mut r = request(n, 0, (at, at + 0.2, at + 60.0), scope);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + 58.0, at + 59.0));
                r
            }),
        );
        let found = of_step(&analysis, 0)[0];
        (found.kind, found.confidence)
    };
    assert_eq!(of(LOOP, true), (K::AppCpu, Confidence::Inferred(Doubt::GivesWay)));
    // Each request has a thread: that others are served says nothing.
    assert_eq!(of(WORKERS, true), (K::AppCpu, Confidence::High));
    assert_eq!(of(LOOP, false), (K::EventLoopBlocked, Confidence::High));
}
