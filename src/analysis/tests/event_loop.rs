//! Servers of one process with four users: which of them are held up by what they do?

use super::results::{MS, Request, healthy, kinds, load, only};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K};
use crate::record::{SpanKind, Timestamp, Value};

/// How a server serves: when the `n`th request is sent, when it is taken in, and when its call begins, in ms.
type Serves = fn(u64) -> (f64, f64, f64);

const TAKES: f64 = 90.0;

/// One at a time: three wait while one is served.
fn held_up(n: u64) -> (f64, f64, f64) {
    let begins = n as f64 * 95.0;
    ((begins - 285.0).max(0.0), begins, begins + 2.0)
}

/// All at once.
fn gives_way(n: u64) -> (f64, f64, f64) {
    let begins = n as f64 * 23.7;
    (begins, begins, begins + 2.0)
}

/// Two at a time: two wait while two are served.
fn two_threads(n: u64) -> (f64, f64, f64) {
    let begins = n as f64 * 47.5;
    ((begins - 95.0).max(0.0), begins, begins + 2.0)
}

/// All are taken in at once, and wait for the one connection.
fn pool_of_one(n: u64) -> (f64, f64, f64) {
    let calls = n as f64 * 95.0 + 2.0;
    ((calls - 285.0).max(0.0), (calls - 285.0).max(0.0), calls)
}

/// One user, who waits for nobody.
fn one_user(n: u64) -> (f64, f64, f64) {
    let begins = n as f64 * 95.0;
    (begins, begins, begins + 2.0)
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Call,
    Query,
    Own,
}

fn serve(serves: Serves, work: Work, scope: &'static str) -> Analysis {
    serve_in(serves, work, scope, |_| "")
}

/// The same, and in which thread the `n`th request begins.
fn serve_in(serves: Serves, work: Work, scope: &'static str, thread: fn(u64) -> &'static str) -> Analysis {
    load(80, move |n| {
        let (sent, begins, calls) = serves(n);
        let mut r = Request::new(0, 0.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        let end = calls + TAKES + 2.0;
        r.exchange.trace_id = crate::analysis::testing::trace(n);
        r.exchange.intended = Timestamp(at(sent));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (Timestamp(at(sent)), Some(Timestamp(at(sent))));
        (p.end, p.first_byte) = (Timestamp(at(end)), Some(Timestamp(at(end))));
        let server = &mut r.spans[0];
        server.trace = r.exchange.trace_id;
        (server.start, server.end) = (at(begins + 0.1), at(end - 0.1));
        server.scope = scope;
        server.attributes.push(("thread.name", Value::Str(thread(n))));
        server.host = "web-1".to_owned();
        let attributes = match work {
            Work::Call => vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("rates.example")),
                ("url.full", Value::Str("http://rates.example/today")),
            ],
            Work::Query => vec![
                ("db.system.name", Value::Str("postgresql")),
                ("db.query.text", Value::Str("SELECT name FROM film WHERE year = $1")),
            ],
            Work::Own => return r,
        };
        r.span(2, SpanKind::Client, "shop", "call", (calls, calls + TAKES), attributes);
        r.spans[1].host = "web-1".to_owned();
        r
    })
}

const ASGI: &str = "opentelemetry.instrumentation.asgi";

#[test]
fn a_call_that_does_not_give_way_holds_up_its_process() {
    let analysis = serve(held_up, Work::Call, ASGI);
    only(&analysis, K::EventLoopBlocked, "GET rates.example/today");
    let f = &analysis.findings[0];
    assert_eq!((f.confidence, f.evidence["processes"]), (Confidence::High, 1.0));
    assert!((f.evidence["mean_ms"] - TAKES).abs() < 1e-3, "{:?}", f.evidence);
    assert!((f.evidence["waiting_ms"] - 278.0).abs() < 6.0, "{:?}", f.evidence);
    // The call takes as long when it gives way: what a fix brings is the waiting.
    assert!((f.impact.mean.as_millis_f64() - 278.0).abs() < 6.0, "{:?}", f.impact);
    only(&serve(held_up, Work::Query, ASGI), K::EventLoopBlocked, "SELECT name FROM film WHERE year = ?");
    only(&serve(held_up, Work::Own, ASGI), K::EventLoopBlocked, "GET /");
    // Nothing tells that it is an event loop.
    let analysis = serve(held_up, Work::Call, "shop.http");
    assert_eq!(analysis.findings[0].kind, K::EventLoopBlocked, "{:?}", kinds(&analysis));
    assert_eq!(analysis.findings[0].confidence, Confidence::Inferred(Doubt::LoopOrWorker));
}

#[test]
fn what_gives_way_or_runs_beside_others_holds_up_nobody() {
    let first = |serves: Serves, work: Work, scope| kinds(&serve(serves, work, scope)).first().map(|f| f.0);
    for serves in [gives_way as Serves, two_threads, one_user] {
        assert_eq!(first(serves, Work::Call, ASGI), Some(K::SlowExternal));
        assert_eq!(first(serves, Work::Query, ASGI), Some(K::SlowQuery));
        assert_eq!(first(serves, Work::Own, ASGI), Some(K::AppCpu));
    }
    // A pool is a pool: requests are taken in while the connection is busy.
    let found = kinds(&serve(pool_of_one, Work::Query, ASGI));
    assert!(found.iter().all(|f| f.0 != K::EventLoopBlocked), "{found:?}");
    // Workers of one request each are too few, not blocked.
    for scope in ["opentelemetry.instrumentation.wsgi", "io.opentelemetry.tomcat-10.0"] {
        let found = kinds(&serve(held_up, Work::Call, scope));
        assert!(found.iter().all(|f| f.0 != K::EventLoopBlocked), "{found:?}");
        assert!(found.iter().any(|f| f.0 == K::SlowExternal), "{found:?}");
    }
}

/// One at a time in each of two loops, before each of which three wait.
fn two_loops(n: u64) -> (f64, f64, f64) {
    let begins = (n / 2) as f64 * 95.0 + (n % 2) as f64 * 47.0;
    ((begins - 285.0).max(0.0), begins, begins + 2.0)
}

#[test]
fn one_of_several_event_loops_is_held_up_by_itself() {
    const NETTY: &str = "io.opentelemetry.netty-4.1";
    let loops = |n: u64| if n.is_multiple_of(2) { "reactor-http-epoll-1" } else { "reactor-http-epoll-2" };
    only(&serve_in(two_loops, Work::Own, NETTY, loops), K::EventLoopBlocked, "GET /");
    let analysis = serve_in(two_loops, Work::Call, NETTY, loops);
    only(&analysis, K::EventLoopBlocked, "GET rates.example/today");
    assert_eq!(
        (analysis.findings[0].confidence, analysis.findings[0].evidence["processes"]),
        (Confidence::High, 2.0)
    );
    // What gives way, and threads that are no loops, hold up nobody.
    let threads = |n: u64| if n.is_multiple_of(2) { "exec-1" } else { "exec-2" };
    for (serves, thread) in [(gives_way as Serves, loops as fn(u64) -> &'static str), (two_loops, threads)] {
        let found = kinds(&serve_in(serves, Work::Own, NETTY, thread));
        assert!(found.iter().all(|f| f.0 != K::EventLoopBlocked), "{found:?}");
    }
}

/// Requests whose function takes 80 ms, in so many of which its tracer counted that nothing of it ran, and which makes a call for so many.
fn idle(idle_ms: i64, call_ms: f64) -> Analysis {
    load(80, move |n| {
        let mut r = Request::new(n, 100.0);
        let attributes = vec![("busy_ns", Value::Int(1_000)), ("idle_ns", Value::Int(idle_ms * MS as i64))];
        r.span(2, SpanKind::Internal, "shop", "find_product", (5.0, 85.0), attributes);
        if call_ms > 0.0 {
            let call =
                vec![("db.system.name", Value::Str("postgresql")), ("db.query.text", Value::Str("SELECT 1"))];
            r.span(3, SpanKind::Client, "shop", "SELECT", (6.0, 6.0 + call_ms), call);
            r.spans[2].parent = r.spans[1].id;
        }
        r
    })
}

#[test]
fn own_time_in_which_nothing_runs_is_waiting() {
    let own = |analysis: Analysis| {
        let found = analysis.findings.into_iter().find(|f| f.kind == K::AppCpu);
        found.map(|f| (f.confidence == Confidence::Inferred(Doubt::Idle), f.evidence.get("idle_ms").copied()))
    };
    assert_eq!(own(idle(79, 0.0)), Some((true, Some(79.0))));
    assert_eq!(own(idle(30, 0.0)), Some((false, None)));
    // The call may have all of it: it computes for the rest.
    assert_eq!(own(idle(35, 35.0)), Some((false, None)));
    assert_eq!(own(idle(79, 35.0)), Some((true, Some(44.0))));
}

#[test]
fn requests_that_a_held_up_process_leaves_waiting_are_no_problem_of_their_own() {
    assert_eq!(serve(held_up, Work::Call, ASGI).findings.len(), 1);
    // Few requests show nothing: an event loop must be seen to stand.
    let few = load(8, |n| {
        let mut r = Request::new(n, 100.0);
        r.spans[0].start = r.base + 40 * MS;
        r
    });
    assert!(few.findings.iter().all(|f| f.kind != K::EventLoopBlocked), "{:?}", kinds(&few));
}

/// A page of which the first request computes for `computes` ms, in a run of 20 s, while three statements of another page, which
/// else take 2 ms, get their answers after 1.6 s.
fn answers_late_at_a_start(computes: f64, scope: &'static str) -> Analysis {
    use super::turns::{analysed, request, statement};
    analysed(
        2,
        (0..200).map(|n| {
            let (at, page) = (100.0 * n as f64, (n % 2) as u16);
            let mut r = match n {
                0 => request(n, 0, (0.0, 0.2, computes + 1.0), scope),
                _ if page == 0 => request(n, 0, (at, at + 0.2, at + 3.0), scope),
                1 | 3 | 5 => request(n, 1, (10.0, 10.2, 1_620.0), scope),
                _ => request(n, 1, (at, at + 0.2, at + 4.0), scope),
            };
            if page == 1 {
                let late = matches!(n, 1 | 3 | 5);
                let asked = if late { (11.0, 1_611.0) } else { (at + 1.0, at + 3.0) };
                statement(&mut r, "SELECT name FROM film WHERE id = $1", asked);
            }
            r.spans.iter_mut().for_each(|span| span.host = "web-1".to_owned());
            r
        }),
    )
}

#[test]
fn statements_whose_answers_a_loop_takes_late_are_no_work_of_a_start() {
    let told = |analysis: &Analysis| {
        let mut starts = analysis.findings.iter().filter(|f| f.kind == K::ColdStart);
        starts.any(|f| f.contributor.name.contains("film"))
    };
    assert!(!told(&answers_late_at_a_start(1_615.0, ASGI)));
    // The loop stands for a part of that time only; and threads go on.
    assert!(told(&answers_late_at_a_start(500.0, ASGI)));
    assert!(told(&answers_late_at_a_start(1_615.0, super::turns::WORKERS)));
}

/// Every 100 ms a request of one page computes for 70 ms; one of the other came 10 ms before, asked a database for 4 ms, and
/// goes on when the loop is free: 80 ms of own time, of which it computes next to nothing.
#[test]
fn a_page_whose_own_time_is_another_pages_work_is_its_victim() {
    let page = |number: u64, name: &str, from: f64, to: f64, step: u16| {
        let mut r = Request::new(0, 0.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        r.exchange.trace_id = crate::analysis::testing::trace(number);
        r.exchange.step = crate::record::StepId(step);
        r.exchange.intended = Timestamp(at(from));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (Timestamp(at(from)), Some(Timestamp(at(from))));
        (p.end, p.first_byte) = (Timestamp(at(to)), Some(Timestamp(at(to))));
        let server = &mut r.spans[0];
        (server.trace, server.name) = (r.exchange.trace_id, format!("GET /{name}"));
        (server.start, server.end) = (at(from + 0.1), at(to - 0.1));
        (server.scope, server.host) = (ASGI, "web-1".to_owned());
        r
    };
    let run = crate::analysis::testing::run(3);
    let mut analyzer = crate::analysis::Analyzer::new(&run, crate::analysis::Partition::WHOLE);
    for n in 0..120u64 {
        let at = n as f64 * 100.0;
        let mut victim = page(3 * n, "quick", at, at + 86.0, 0);
        let sql =
            [("db.system.name", "postgresql"), ("db.query.text", "SELECT name FROM film WHERE id = $1")];
        let sql = sql.map(|(key, text)| (key, Value::Str(text))).to_vec();
        victim.span(2, SpanKind::Client, "shop", "q", (at + 1.0, at + 5.0), sql);
        let hog = page(3 * n + 1, "hog", at + 12.0, at + 84.0, 1);
        // It waits for the hog to be taken in.
        let mut third = page(3 * n + 2, "third", at + 40.0, at + 90.0, 2);
        third.spans[0].start = third.base + ((at + 84.5) * 1e6) as u64;
        for r in [victim, hog, third] {
            analyzer.exchange(&r.exchange);
            r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
        }
    }
    let analysis = analyzer.finish().into_analysis(&run);
    assert_eq!(kinds(&analysis), [(K::EventLoopBlocked, "GET /hog".to_owned())]);
}

/// Two kinds of work hold up one process all the time, one for 75 ms of each 95 and one for 20: what requests wait is theirs in
/// proportion, and a call that is hardly why anyone waits is told by what it takes itself.
#[test]
fn a_wait_is_shared_out_by_who_keeps_the_process_busy() {
    let run = crate::analysis::testing::run(2);
    let mut analyzer = crate::analysis::Analyzer::new(&run, crate::analysis::Partition::WHOLE);
    for n in 0..240u64 {
        let (begins, takes, step) = match n % 2 {
            0 => (n as f64 * 47.5, 74.0, 0),
            _ => ((n - 1) as f64 * 47.5 + 75.0, 19.0, 1),
        };
        let mut r = Request::new(0, 0.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        r.exchange.trace_id = crate::analysis::testing::trace(n);
        r.exchange.step = crate::record::StepId(step);
        r.exchange.intended = Timestamp(at((begins - 190.0).max(0.0)));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (r.exchange.intended, Some(r.exchange.intended));
        (p.end, p.first_byte) = (Timestamp(at(begins + takes)), Some(Timestamp(at(begins + takes))));
        let server = &mut r.spans[0];
        (server.trace, server.name) =
            (r.exchange.trace_id, if step == 0 { "GET /long" } else { "GET /short" }.to_owned());
        (server.start, server.end) = (at(begins), at(begins + takes));
        (server.scope, server.host) = (ASGI, "web-1".to_owned());
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    let analysis = analyzer.finish().into_analysis(&run);
    let long = &analysis.findings[0];
    assert_eq!(
        (long.kind, &*long.contributor.name),
        (K::EventLoopBlocked, "GET /long"),
        "{:?}",
        kinds(&analysis)
    );
    // All wait 190 ms, four fifths of it for the longer work.
    assert!((long.evidence["waiting_ms"] - 190.0 * 74.0 / 93.0).abs() < 6.0, "{:?}", long.evidence);
    assert!((long.evidence["held_up_share"] - 0.78).abs() < 0.02, "{:?}", long.evidence);
}

/// An answer of twenty pieces, one each 10 ms, while the framework listens for the client's going away; `bytes` in all.
fn stream(bytes: u64) -> Analysis {
    load(80, move |n| {
        let mut r = Request::new(n, 210.0);
        r.exchange.bytes_received = bytes;
        r.exchange.phases.first_byte = Some(Timestamp(r.base + 3 * MS));
        r.spans[0].scope = ASGI;
        r.query(2, (0.5, 0.8), "SELECT 1", 1);
        r.span(2, SpanKind::Internal, "shop", "GET /stream http receive", (1.0, 208.0), Vec::new());
        for i in 0..20 {
            let at = 2.0 + 10.0 * f64::from(i);
            r.span(2, SpanKind::Internal, "shop", "GET /stream http send", (at, at + 0.1), Vec::new());
        }
        r
    })
}

#[test]
fn a_stream_takes_as_long_as_it_has_something_to_say() {
    healthy(&stream(2_000));
    // A large one may take long to make; whether it does, its spans do not tell.
    let large = stream(2_000_000);
    assert_eq!(kinds(&large), [(K::AppCpu, "GET /".to_owned())]);
    assert_eq!(large.findings[0].confidence, Confidence::Inferred(Doubt::Streamed));
}

#[test]
fn only_who_does_something_else_meanwhile_does_not_wait_for_the_client() {
    let upload = |query: (f64, f64)| {
        load(80, move |n| {
            let mut r = Request::new(n, 100.0);
            r.span(2, SpanKind::Internal, "shop", "POST /x http receive", (1.0, 80.0), Vec::new());
            r.query(2, query, "SELECT 1", 1);
            r
        })
    };
    only(&upload((80.0, 85.0)), K::AppCpu, "ASGI http receive");
    // A statement begins within: the receiver listens beside it.
    only(&upload((20.0, 99.0)), K::SlowQuery, "SELECT ?");
}
