//! Who waits for whom: waits that no span records, and pages that are slow because others hold what they need.

use super::results::{MS, Request, kinds, only};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K, Note};
use crate::analysis::testing::{run, trace};
use crate::analysis::{Analyzer, Partition};
use crate::record::{GeneratorSample, Nanos, ServiceSample, SpanKind, StepId, Timestamp, Value};

/// A run of `n` requests of several steps.
fn load(n: u64, steps: usize, request: impl Fn(u64) -> Request) -> Analysis {
    let run = run(steps);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for request in (0..n).map(request) {
        analyzer.exchange(&request.exchange);
        request.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis(&run)
}

#[test]
fn pages_that_wait_for_the_start_of_another_are_told_with_it() {
    // The first eight of each of two pages; the second's lie within the first's, or come after it.
    let starts = |second_at: u64| {
        load(400, 2, move |n| {
            let (step, turn) = ((n % 2) as u16, n / 2);
            let ms = if turn >= 8 { 4.0 } else { [2_000.0, 1_500.0][usize::from(step)] };
            let mut r = page(0, step, ms);
            let at = if turn >= 8 { n * 500 } else { turn * 10 + u64::from(step) * second_at };
            let later = at * MS;
            r.exchange.trace_id = trace(n);
            let p = &mut r.exchange.phases;
            for moment in [&mut r.exchange.intended, &mut p.start, &mut p.end] {
                moment.0 += later;
            }
            for moment in [&mut p.sent, &mut p.first_byte].into_iter().flatten() {
                moment.0 += later;
            }
            let server = &mut r.spans[0];
            (server.trace, server.start, server.end) = (trace(n), server.start + later, server.end + later);
            sql(&mut r, "SELECT a FROM t WHERE id = $1", (at as f64 + 1.0, at as f64 + 2.0));
            r
        })
    };
    let told = |second_at: u64| -> Vec<(String, usize)> {
        let analysis = starts(second_at);
        let found = analysis.findings.iter().filter(|f| f.kind == K::ColdStart);
        found.map(|f| (f.contributor.name.to_string(), f.related.len())).collect()
    };
    assert_eq!(told(200), [("GET /a".to_owned(), 1)]);
    assert_eq!(told(5_000), [("GET /a".to_owned(), 0), ("GET /b".to_owned(), 0)]);
}

/// A page that takes 100 ms in code under no finer span, of a service whose processes use so many cores each second.
fn beside_the_load(cpu_cores: f64, sends_spans: bool, target: &str) -> Analysis {
    let mut run = run(1);
    let seen = ServiceSample { cpu_cores, run_delay: 0.0, sends_spans };
    let span = Nanos::from_millis(1_000);
    let look = |s: u64| {
        let at = Nanos::from_millis(1_000 * s);
        GeneratorSample { at, span, service: Some(seen), ..GeneratorSample::default() }
    };
    run.load.generator = (1..=210).map(look).collect();
    target.clone_into(&mut run.target);
    run.started_at = Timestamp(1_000_000_000);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for r in (0..100).map(|n| {
        let mut r = Request::new(n, 110.0);
        sql(&mut r, "SELECT a FROM t WHERE id = $1", (104.0, 109.0));
        r
    }) {
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis(&run)
}

#[test]
fn own_time_in_which_the_process_does_not_run_is_waiting() {
    const HERE: &str = "http://127.0.0.1:8000";
    let told = |analysis: &Analysis| {
        only(analysis, K::AppCpu, "GET /");
        let f = &analysis.findings[0];
        let idle = f.evidence.get("idle_ms").copied();
        assert_eq!(f.evidence.contains_key("process_cores"), idle.is_some());
        (f.confidence, idle.map(f64::round))
    };
    // A request each two seconds: at a hundredth of a core a tenth of its own time may be computing.
    let waits = Confidence::Inferred(Doubt::IdleProcess);
    assert_eq!(told(&beside_the_load(0.01, true, HERE)), (waits, Some(95.0)));
    assert_eq!(told(&beside_the_load(0.09, true, HERE)), (Confidence::High, None));
    // Processes that send no spans may be a proxy's, and those of another machine are others.
    assert_eq!(told(&beside_the_load(0.01, false, HERE)), (Confidence::High, None));
    assert_eq!(told(&beside_the_load(0.01, true, "http://shop.example")), (Confidence::High, None));
}

/// The `n`th request, of a page of its own for each step.
fn page(n: u64, step: u16, ms: f64) -> Request {
    let mut r = Request::new(n, ms);
    r.exchange.step = StepId(step);
    r.spans[0].name = format!("GET /{}", ["a", "b", "c", "d"][usize::from(step)]);
    r
}

fn sql(r: &mut Request, statement: &'static str, at: (f64, f64)) {
    let attributes =
        vec![("db.system.name", Value::Str("postgresql")), ("db.query.text", Value::Str(statement))];
    r.span(2, SpanKind::Client, "shop", "q", at, attributes);
}

#[test]
fn an_instance_that_is_slow_for_all_pages_is_told_once() {
    // Of three instances the last takes three times as long, for each page; for the third page so does the second.
    let analysis = load(600, 3, |n| {
        let (step, instance) = ((n % 3) as u16, n / 3 % 3);
        let slow = instance == if step == 2 { 1 } else { 2 };
        let mut r = page(n, step, if slow { 33.0 + f64::from(step) } else { 11.0 });
        r.spans[0].host = format!("shop-{instance}");
        r
    });
    let found: Vec<(K, &str, Option<&f64>)> =
        analysis.findings.iter().map(|f| (f.kind, &*f.remedy, f.evidence.get("steps"))).collect();
    let both = Some(&2.0);
    assert_eq!(found, [(K::SlowInstance, "shop: shop-2", both), (K::SlowInstance, "shop: shop-1", None)]);
}

/// Three pages with a statement after `waits` ms, and one without statements that takes `plain`.
fn pages(waits: [f64; 3], plain: f64) -> Analysis {
    load(400, 4, move |n| {
        let step = (n % 4) as u16;
        let Some(wait) = waits.get(usize::from(step)) else { return page(n, step, plain) };
        // The first of all find a free connection.
        let wait = if n < 16 { 1.0 } else { wait + (n % 7) as f64 };
        let mut r = page(n, step, wait + 12.0);
        sql(&mut r, "SELECT a FROM t WHERE id = $1", (wait, wait + 8.0));
        r
    })
}

#[test]
fn a_pool_that_no_span_tells_of_is_told_once() {
    let analysis = pages([180.0, 90.0, 120.0], 6.0);
    assert_eq!(kinds(&analysis), [(K::PoolWait, "GET /a".to_owned())]);
    let f = &analysis.findings[0];
    assert_eq!((f.confidence, f.evidence["steps"]), (Confidence::Inferred(Doubt::BeforeStatements), 3.0));
    assert!((f.evidence["before_statements_ms"] - 176.0).abs() < 8.0, "{:?}", f.evidence);
    // Most pages do not wait: what is before the statement is that page's own work.
    let one = pages([180.0, 1.0, 1.0], 6.0);
    assert_eq!(kinds(&one), [(K::AppCpu, "GET /a".to_owned())]);
    // All pages are slow: there is no free core, or a middleware computes.
    let all = pages([180.0, 90.0, 120.0], 150.0);
    assert!(all.findings.iter().all(|f| f.kind == K::AppCpu), "{:?}", kinds(&all));
}

#[test]
fn who_holds_the_connections_is_why_others_wait_for_one() {
    // Pages b to d wait 300 ms; page a waits as long and then makes twenty statements.
    let analysis = load(400, 4, |n| {
        let step = (n % 4) as u16;
        let wait = if n < 16 { 1.0 } else { 300.0 };
        let statements = if step == 0 { 20 } else { 1 };
        let mut r = page(n, step, wait + 5.0 + 4.0 * f64::from(statements));
        for i in 0..statements {
            let at = wait + 4.0 * f64::from(i);
            sql(&mut r, "SELECT name FROM author WHERE id = $1", (at, at + 3.9));
        }
        r
    });
    let of_a: Vec<_> = analysis.findings.iter().filter(|f| f.step == StepId(0)).collect();
    // A quarter of the page and less, but most of what is not waiting.
    assert_eq!(of_a.iter().map(|f| f.kind).collect::<Vec<_>>(), [K::NPlusOneQuery], "{:?}", kinds(&analysis));
    assert!(of_a[0].evidence["pool_wait_ms"] > 250.0 && of_a[0].evidence["share"] < 0.25);
    assert!(analysis.findings.iter().all(|f| f.kind != K::AppCpu), "{:?}", kinds(&analysis));
}

/// Three of four requests compute for `hog` ms; the others take what `other` says.
fn beside_a_hog(hog: f64, other: fn(u64) -> f64) -> Analysis {
    load(400, 2, move |n| if n % 4 > 0 { page(n, 0, hog) } else { page(n, 1, other(n)) })
}

#[test]
fn a_page_that_waits_for_its_turn_is_no_problem_of_its_own() {
    let uneven = |n: u64| if n.is_multiple_of(8) { 30.0 } else { 500.0 };
    let analysis = beside_a_hog(1_900.0, uneven);
    assert_eq!(kinds(&analysis), [(K::AppCpu, "GET /a".to_owned())]);
    // As long each time, or not so much shorter than the calculation: work of its own.
    let told = |hog, other| kinds(&beside_a_hog(hog, other)).len();
    assert_eq!(told(1_900.0, |_| 265.0), 2);
    assert_eq!(told(1_400.0, |n| if n.is_multiple_of(8) { 400.0 } else { 1_500.0 }), 2);
    // Beside a calculation that leaves the processor free most of the time nobody waits.
    assert_eq!(told(900.0, uneven), 2);
}

#[test]
fn the_beginning_of_a_transaction_waits_for_no_lock() {
    let begin = |system: &'static str| {
        load(200, 1, move |n| {
            let took = if n.is_multiple_of(3) { 200.0 } else { 2.0 };
            let mut r = page(n, 0, took + 5.0);
            let attributes = vec![
                ("db.system.name", Value::Str(system)),
                ("db.query.text", Value::Str("BEGIN IMMEDIATE")),
            ];
            r.span(2, SpanKind::Client, "shop", "q", (1.0, 1.0 + took), attributes);
            r
        })
    };
    assert_eq!(begin("postgresql").findings[0].kind, K::SlowQuery);
    assert_eq!(begin("sqlite").findings[0].kind, K::LockContention);
}

#[test]
fn failed_calls_that_are_made_again_are_told_once() {
    // 60 ms each; of ten requests `failing` need a second call.
    let failing = |failing: u64| {
        load(200, 1, move |n| {
            let again = n % 10 < failing;
            let mut r = page(n, 0, if again { 125.0 } else { 65.0 });
            r.call((1.0, 61.0), if again { 500 } else { 200 }, 0);
            if again {
                r.spans[1].failed = true;
                r.call((62.0, 122.0), 200, 0);
            }
            r
        })
    };
    let found = |n| failing(n).findings.iter().map(|f| f.kind).collect::<Vec<_>>();
    assert_eq!(found(6), [K::RetryStorm]);
    // Where few fail, that each takes long is a cause of its own.
    assert_eq!(found(2), [K::SlowExternal, K::RetryStorm]);
    assert_eq!(found(0), [K::SlowExternal]);
}

#[test]
fn what_cannot_be_told_is_said_once_for_all_steps() {
    // A steady line of 90 ms before three of four pages.
    let analysis = load(400, 4, |n| {
        let step = (n % 4) as u16;
        let mut r = page(n, step, if step < 3 { 95.0 + f64::from(step) } else { 5.0 });
        r.spans[0].start += if step < 3 { 90 * MS } else { 0 };
        r
    });
    let opaque = |note: &&Note| matches!(note, Note::NotIdentifiable { .. });
    let notes: Vec<_> = analysis.notes.iter().filter(opaque).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(matches!(notes[0], Note::NotIdentifiable { step: StepId(_), others: 2, .. }), "{notes:?}");
}

#[test]
fn beside_waiting_only_work_that_takes_long_each_time_is_told() {
    // Three pages wait 300 ms for a connection; the statement of the first takes `usual` ms, and `seldom` in every third request.
    let statement = |usual: f64, seldom: f64| {
        let analysis = load(480, 4, move |n| {
            let step = (n % 4) as u16;
            if step == 3 {
                return page(n, step, 6.0);
            }
            let wait = if n < 16 { 1.0 } else { 300.0 };
            let took = match step {
                0 if n.is_multiple_of(12) => seldom,
                0 => usual,
                _ => 3.0,
            };
            let mut r = page(n, step, wait + took + 4.0);
            let asked =
                if step == 0 { "SELECT a FROM t WHERE id = $1" } else { "SELECT b FROM u WHERE id = $1" };
            sql(&mut r, asked, (wait, wait + took));
            r
        });
        analysis.findings.iter().filter(|f| f.step == StepId(0)).map(|f| f.kind).collect::<Vec<_>>()
    };
    assert!(statement(40.0, 40.0).contains(&K::SlowQuery), "{:?}", statement(40.0, 40.0));
    assert!(!statement(3.0, 90.0).contains(&K::SlowQuery), "{:?}", statement(3.0, 90.0));
}

/// Requests that wait 800 ms for a worker and then make three calls, of which two fail.
#[test]
fn failed_calls_are_told_where_requests_wait_for_each_other() {
    let analysis = load(240, 1, |n| {
        // One worker: a request is taken in as the one before ends, 800 ms after it was sent.
        let mut r = page(0, 0, 0.0);
        let (sent, begins) = (n as f64 * 70.0, n as f64 * 70.0 + 800.0);
        let at = |ms: f64| r.base + (ms * 1e6) as u64;
        r.exchange.trace_id = crate::analysis::testing::trace(n);
        r.exchange.intended = crate::record::Timestamp(at(sent));
        let p = &mut r.exchange.phases;
        (p.start, p.sent) = (r.exchange.intended, Some(r.exchange.intended));
        let end = crate::record::Timestamp(at(begins + 69.5));
        (p.end, p.first_byte) = (end, Some(end));
        (r.spans[0].trace, r.spans[0].scope) = (r.exchange.trace_id, "opentelemetry.instrumentation.wsgi");
        (r.spans[0].start, r.spans[0].end) = (at(begins), at(begins + 69.0));
        for (i, failed) in [true, true, false].into_iter().enumerate() {
            let from = begins + 1.0 + 22.0 * i as f64;
            let attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("mail.example")),
                ("url.full", Value::Str("http://mail.example/send")),
                ("http.response.status_code", Value::Int(if failed { 500 } else { 200 })),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", (from, from + 21.9), attributes);
            r.spans[i + 1].failed = failed;
        }
        r
    });
    let found = kinds(&analysis);
    let named = [(K::RetryStorm, "GET mail.example/send".to_owned())];
    assert_eq!(found, named, "{:?}", analysis.findings);
}

/// Few requests of each of several pages may be enough in all.
#[test]
fn what_several_steps_show_is_shown_by_all_their_requests() {
    let queue = |n: u64| {
        load(n, 4, |n| {
            let mut r = page(n, (n % 4) as u16, 90.0);
            r.spans[0].start = r.base + 80 * MS;
            r
        })
    };
    let (many, few) = (queue(80), queue(24));
    assert_eq!(kinds(&many), [(K::SlowNetwork, "client → shop".to_owned())]);
    assert_eq!((many.findings[0].confidence, many.findings[0].evidence["steps"]), (Confidence::High, 4.0));
    assert_eq!(few.findings[0].confidence, Confidence::FewRequests(24));
}

/// Two pages as often: one of 32 statements, of which a long one is needed; one with a statement of 24 ms.
#[test]
fn many_statements_rank_by_what_their_number_costs() {
    const TABLES: [&str; 8] = [
        "SELECT a FROM t0",
        "SELECT a FROM t1",
        "SELECT a FROM t2",
        "SELECT a FROM t3",
        "SELECT a FROM t4",
        "SELECT a FROM t5",
        "SELECT a FROM t6",
        "SELECT a FROM t7",
    ];
    let analysis = load(200, 2, |n| {
        if n % 2 == 1 {
            let mut r = page(n, 1, 30.0);
            sql(&mut r, "SELECT b FROM u WHERE c = $1", (1.0, 25.0));
            return r;
        }
        let mut r = page(n, 0, 36.0);
        let mut at = 1.0;
        for i in 0..32 {
            let takes = if i == 16 { 8.0 } else { 0.6 };
            let attributes = vec![
                ("db.system.name", Value::Str("postgresql")),
                ("db.query.text", Value::Str(TABLES[i / 4 % 8])),
                ("db.query.parameter.0", Value::Int(i as i64)),
            ];
            r.span(2, SpanKind::Client, "shop", "q", (at, at + takes), attributes);
            at += takes + 0.1;
        }
        r
    });
    let kinds: Vec<K> = analysis.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [K::SlowQuery, K::ManyQueries]);
    let gain: Vec<u64> = analysis.findings.iter().map(|f| f.impact.mean.0 / MS).collect();
    assert!(gain[0] > gain[1], "{gain:?}");
}

#[test]
fn what_waits_hide_is_told_too() {
    // Nine in ten wait for a start; each asks a statement that is most of what is left.
    let behind_a_start = |statement: f64| {
        load(100, 1, move |n| {
            let waits = if n % 10 == 0 { 0.0 } else { 220.0 };
            let mut r = Request::new(n, waits + statement + 6.0);
            if waits > 0.0 {
                r.span(2, SpanKind::Internal, "shop", "load catalogue", (1.0, 1.0 + waits), Vec::new());
            }
            r.query(2, (waits + 2.0, waits + 2.0 + statement), "SELECT a FROM t WHERE b = 7", 1);
            r
        })
    };
    let found = kinds(&behind_a_start(60.0));
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [K::ColdStart, K::SlowQuery], "{found:?}");
    // Less than is told anywhere.
    only(&behind_a_start(20.0), K::ColdStart, "load catalogue");
    // A peer that limits and is slow as well, and one whose calls are nothing beside the wait.
    let limited = |takes: f64| {
        load(60, 1, move |n| {
            let mut r = Request::new(n, 1_060.0 + takes);
            r.call((1.0, 11.0), 429, 0);
            r.call((1_011.0, 1_011.0 + takes), 201, 1);
            r
        })
    };
    let found = kinds(&limited(400.0));
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [K::RateLimited, K::SlowExternal], "{found:?}");
    only(&limited(40.0), K::RateLimited, "retry wait: POST pay.example/charge");
    // However often it refuses, and each of those at once.
    let refused = |takes: f64| {
        load(60, 1, move |n| {
            let mut r = Request::new(n, 1_256.0 + takes);
            for i in 0..5 {
                let at = 250.0 * i as f64;
                r.call((1.0 + at, 3.0 + at), 429, i);
            }
            r.call((1_251.0, 1_251.0 + takes), 201, 5);
            r
        })
    };
    let found = kinds(&refused(200.0));
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [K::RateLimited, K::SlowExternal], "{found:?}");
    only(&refused(40.0), K::RateLimited, "retry wait: POST pay.example/charge");
    // However long it makes wait: that is the load's.
    let long_wait = |takes: f64| {
        load(60, 1, move |n| {
            let mut r = Request::new(n, 9_060.0 + takes);
            r.call((1.0, 11.0), 429, 0);
            r.call((9_011.0, 9_011.0 + takes), 201, 1);
            r
        })
    };
    let found = kinds(&long_wait(400.0));
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [K::RateLimited, K::SlowExternal], "{found:?}");
    only(&long_wait(90.0), K::RateLimited, "retry wait: POST pay.example/charge");
}

#[test]
fn work_of_a_start_is_that_in_each_page_that_waits_for_it() {
    // Of one page few requests come during starts, of another most.
    let analysis = |share: u64| {
        load(200, 2, move |n| {
            let page = n % 2;
            let during = if page == 0 { n % 10 == 0 } else { n / 2 % 100 < share };
            let takes = if during { 120.0 } else { 4.0 };
            let mut r = Request::new(n, takes);
            r.exchange.step = StepId(page as u16);
            if during {
                r.span(2, SpanKind::Internal, "shop", "load catalogue", (1.0, takes - 1.0), Vec::new());
            }
            r
        })
    };
    only(&analysis(85), K::ColdStart, "load catalogue");
    // What nearly all requests of a page do is its own.
    assert_eq!(kinds(&analysis(97))[0].0, K::AppCpu);
}
