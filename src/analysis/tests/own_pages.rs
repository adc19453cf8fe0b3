//! What a page's own time is, where only the service's other pages tell: work, a lock, a pool, or the loop's lateness.

use super::results::{Request, kinds};
use super::turns::{LOOP, WORKERS, analysed, of_step, statement};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K};
use crate::record::{SpanKind, Value};

/// Bits of `n` without a pattern, also from one to the next (SplitMix64).
fn mixed(n: u64) -> u64 {
    let z = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 24
}

/// The `n`th request, of a page that has a name of its own.
fn request(n: u64, step: u16, at: (f64, f64, f64), scope: &'static str) -> Request {
    let mut r = super::turns::request(n, step, at, scope);
    r.spans[0].name = format!("GET /{}", ["a", "b", "c", "d", "e", "f"][usize::from(step)]);
    r
}

/// Five pages with a statement each, and one that computes for `own` ms and makes so many statements of 1 ms. The others have
/// `others` ms of own time.
fn one_computes(own: fn(u64) -> f64, others: f64, statements: u64) -> Analysis {
    let texts: Vec<&'static str> = (0..statements)
        .map(|i| &*Box::leak(format!("SELECT a{i} FROM t{i} WHERE id = $1").into_boxed_str()))
        .collect();
    analysed(
        6,
        (0..600).map(|n| {
            let (step, at) = ((n % 6) as u16, 30.0 * n as f64);
            let own = if step == 0 { own(n) } else { others + (mixed(n) % 2) as f64 };
            let asked = if step == 0 { &texts[..] } else { &["SELECT b FROM u WHERE id = $1"] };
            let mut r = request(n, step, (at, at + 0.2, at + 0.3 + own + asked.len() as f64), WORKERS);
            for (i, text) in asked.iter().enumerate() {
                statement(&mut r, text, (at + 0.3 + i as f64, at + 1.3 + i as f64));
            }
            r
        }),
    )
}

#[test]
fn code_that_takes_far_longer_than_that_of_other_pages_is_told_below_the_floor() {
    let analysis = one_computes(|n| 15.0 + (mixed(n) % 4) as f64, 1.5, 1);
    assert_eq!(kinds(&analysis), [(K::AppCpu, "GET /a".to_owned())]);
    let f = &analysis.findings[0];
    assert_eq!(f.confidence, Confidence::High);
    assert!(f.evidence["own_p10_ms"] > 14.0 && f.evidence["other_pages_p10_ms"] < 3.0, "{:?}", f.evidence);
    // Little; only at times; and all pages of this service take some time.
    for (own, others) in [
        ((|n| 7.0 + (mixed(n) % 4) as f64) as fn(u64) -> f64, 1.0),
        (|n| if mixed(n).is_multiple_of(3) { 40.0 } else { 2.0 }, 1.5),
        (|n| 15.0 + (mixed(n) % 4) as f64, 7.0),
    ] {
        assert_eq!(kinds(&one_computes(own, others, 1)), []);
    }
    // So much for each of its statements is what mappers and drivers take.
    assert_eq!(kinds(&one_computes(|n| 15.0 + (mixed(n) % 4) as f64, 1.5, 7)), []);
}

/// A page under one lock that is held for 40 ms, beside a page that does nothing; when the `n`th is sent and when it ends.
fn page_with_a_lock(scope: &'static str, turn: impl Fn(u64) -> (f64, f64)) -> Analysis {
    analysed(
        2,
        (0..900).map(|n| {
            if n % 3 > 0 {
                let at = 18.0 * n as f64 + (mixed(n) % 9) as f64;
                let mut r = request(n, 1, (at, at + 0.2, at + 3.0), scope);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + 0.5, at + 2.0));
                return r;
            }
            let (sent, ends) = turn(n / 3);
            request(n, 0, (sent, sent + 0.2, ends), scope)
        }),
    )
}

/// One after the other, and several wait; the first finds nobody.
fn in_turn(n: u64) -> (f64, f64) {
    let begins = 54.0 * n as f64;
    let waits = if n < 3 { 0.0 } else { (mixed(n) % 200) as f64 };
    (begins - waits, begins + 41.0 + (mixed(n + 50) % 2) as f64)
}

#[test]
fn a_lock_around_work_is_told_from_work() {
    for scope in [LOOP, WORKERS] {
        let analysis = page_with_a_lock(scope, in_turn);
        let found = of_step(&analysis, 0);
        assert_eq!(found[0].kind, K::LockContention, "{:?}", kinds(&analysis));
        assert_eq!(found[0].confidence, Confidence::Inferred(Doubt::OneByOne));
        assert!((found[0].evidence["held_ms"] - 53.0).abs() < 3.0, "{:?}", found[0].evidence);
    }
    // As long, and whenever it ends.
    let works = page_with_a_lock(WORKERS, |n| {
        let sent = 54.0 * n as f64 + (mixed(n + 9) % 50) as f64;
        (sent, sent + 41.0 + (mixed(n) % 200) as f64)
    });
    assert_eq!(of_step(&works, 0)[0].kind, K::AppCpu, "{:?}", kinds(&works));
}

/// An event loop that is crowded with the own time of two pages, and a page that waits `waits` ms before its statement.
fn beside_a_crowd(waits: fn(u64) -> (f64, f64), holds: f64) -> Analysis {
    analysed(
        3,
        (0..900).map(|n| {
            if n % 3 > 0 {
                let at = 20.0 * n as f64;
                let own = 1.0 + (mixed(n) % 300) as f64;
                let mut r = request(n, (n % 3) as u16, (at, at + 0.5, at + own + 2.0), LOOP);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + 0.6, at + 1.6));
                return r;
            }
            let (sent, asks) = waits(n / 3);
            let mut r = request(n, 0, (sent, sent + 0.5, asks + holds), LOOP);
            statement(&mut r, "SELECT title FROM book WHERE id = $1", (asks, asks + 4.0));
            r
        }),
    )
}

#[test]
fn a_pool_of_one_page_is_told_beside_a_crowded_loop() {
    // One connection, of which the last ends a little after it was given on, now and then.
    let one_connection = |n: u64| {
        let asks = 2_000.0 + 60.0 * n as f64 - if n.is_multiple_of(25) { 14.0 } else { 0.0 };
        (asks - 300.0 - (mixed(n) % 900) as f64, asks)
    };
    let analysis = beside_a_crowd(one_connection, 58.0);
    assert_eq!(of_step(&analysis, 0)[0].kind, K::LockContention, "{:?}", kinds(&analysis));
    // Far longer each time than the loop makes anybody wait: something is there, whatever it is.
    let unknown = |n: u64| {
        let sent = 60.0 * n as f64 + (mixed(n + 3) % 60) as f64;
        (sent, sent + 700.0 + (mixed(n) % 900) as f64)
    };
    let unknown = beside_a_crowd(unknown, 58.0);
    assert_eq!(of_step(&unknown, 0).first().map(|f| f.kind), Some(K::AppCpu), "{:?}", kinds(&unknown));
    // As quick at best as all: it waits for the loop.
    let late = |n: u64| {
        let sent = 60.0 * n as f64;
        (sent, sent + 1.0 + (mixed(n) % 300) as f64)
    };
    let late = beside_a_crowd(late, 5.0);
    assert!(of_step(&late, 0).iter().all(|f| f.kind != K::AppCpu), "{:?}", kinds(&late));
}

/// A page of threads that sleeps for 40 ms while others come and go; once all stand for half a second.
#[test]
fn a_moment_in_which_all_stand_is_no_blocked_loop() {
    let analysis = analysed(
        2,
        (0..1_200).map(|n| {
            let at = 10.0 * n as f64;
            let stall = (5_000.0..5_500.0).contains(&at);
            let begins = if stall { 5_500.5 } else { at + 0.2 };
            if n % 4 > 0 {
                return request(n, 1, (at, begins, begins + 3.0), LOOP);
            }
            let length = if (4_970.0..5_000.0).contains(&at) { 5_500.0 - at } else { 40.0 };
            request(n, 0, (at, begins, begins + length), LOOP)
        }),
    );
    assert_eq!(of_step(&analysis, 0)[0].kind, K::AppCpu, "{:?}", kinds(&analysis));
}

/// Three pages of one pool of two connections under a light load: most find one at once, the others wait until another ends.
fn light_load() -> Analysis {
    let mut free = [0.0_f64; 2];
    let mut clock = 0.0;
    analysed(
        4,
        (0..800).map(move |n| {
            clock += (mixed(n) % 90) as f64;
            let sent = clock;
            if n % 4 == 3 {
                return request(n, 3, (sent, sent + 0.2, sent + 2.0), WORKERS);
            }
            let one = usize::from(free[1] < free[0]);
            let asks = (sent + 1.0).max(free[one]);
            let holds = if n % 4 == 0 { 130.0 } else { 65.0 };
            free[one] = asks + holds;
            let mut r = request(n, (n % 4) as u16, (sent, sent + 0.2, asks + holds), WORKERS);
            statement(&mut r, "SELECT a FROM t WHERE id = $1", (asks, asks + 1.0));
            let attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("rates.example")),
                ("url.full", Value::Str("http://rates.example/today")),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", (asks + 1.0, asks + holds - 1.0), attributes);
            r
        }),
    )
}

#[test]
fn a_pool_is_told_under_a_light_load_by_who_gives_on() {
    let analysis = light_load();
    assert!(analysis.findings.iter().any(|f| f.kind == K::PoolWait), "{:?}", kinds(&analysis));
    assert!(analysis.findings.iter().all(|f| f.kind != K::AppCpu), "{:?}", kinds(&analysis));
}

/// Two pages that wait before their statements, the second `times` as long as the first.
fn two_pools(times: f64) -> usize {
    let analysis = analysed(
        4,
        (0..800).map(|n| {
            let (step, at) = ((n % 4) as u16, 40.0 * n as f64);
            let wait = match step {
                0 => 60.0,
                1 => 60.0 * times,
                2 => 61.0,
                _ => 0.5,
            };
            let wait = if n < 16 { 1.0 } else { wait + (n % 7) as f64 };
            let mut r = request(n, step, (at, at + 0.2, at + wait + 8.0), WORKERS);
            if step < 3 {
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + wait, at + wait + 6.0));
            }
            r
        }),
    );
    analysis.findings.iter().filter(|f| f.kind == K::PoolWait).count()
}

#[test]
fn a_step_that_feels_one_pool_in_two_places_is_one_step() {
    // The second page waits in a handler's span and in its server's.
    let analysis = analysed(
        4,
        (0..800).map(|n| {
            let (step, at) = ((n % 4) as u16, 40.0 * n as f64);
            let wait = if n < 16 || step == 3 { 1.0 } else { 60.0 + (n % 7) as f64 };
            let ends = if step == 1 { at + 2.0 * wait + 16.0 } else { at + wait + 8.0 };
            let mut r = request(n, step, (at, at + 0.2, ends), WORKERS);
            if step < 3 {
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + wait, at + wait + 6.0));
            }
            if step == 1 {
                let (from, to) = (at + wait + 7.0, at + 2.0 * wait + 15.0);
                r.span(2, SpanKind::Internal, "shop", "handle", (from, to), vec![]);
                statement(&mut r, "SELECT b FROM u WHERE id = $1", (to - 6.0, to));
                r.spans.last_mut().expect("a statement").parent = 4;
            }
            r
        }),
    );
    let pool: Vec<_> = analysis.findings.iter().filter(|f| f.kind == K::PoolWait).collect();
    assert_eq!(pool.len(), 1, "{:?}", kinds(&analysis));
    assert_eq!(pool[0].evidence["steps"], 3.0, "{:?}", pool[0].evidence);
}

#[test]
fn who_waits_many_times_as_long_waits_for_another_pool() {
    assert_eq!((two_pools(1.3), two_pools(6.0)), (1, 2));
}

/// Pages with a loop over twenty rows: of the statements with these numbers.
fn loops(of: [&'static [usize]; 2]) -> Vec<(K, u16)> {
    const TEXTS: [&str; 2] = ["SELECT name FROM author WHERE id = $1", "SELECT n FROM stock WHERE id = $1"];
    let analysis = analysed(
        2,
        (0..200).map(|n| {
            let (step, at) = ((n % 2) as u16, 200.0 * n as f64);
            let asks = of[usize::from(step)];
            let length = 20.0 * 2.0 * asks.len() as f64;
            let mut r = request(n, step, (at, at + 0.2, at + length + 2.0), WORKERS);
            for i in 0..20 * asks.len() {
                let from = at + 0.5 + 2.0 * i as f64;
                statement(&mut r, TEXTS[asks[i % asks.len()]], (from, from + 1.9));
            }
            r
        }),
    );
    let mut found: Vec<(K, u16)> = analysis.findings.iter().map(|f| (f.kind, f.step.0)).collect();
    found.sort_by_key(|f| f.1);
    found
}

#[test]
fn a_statement_in_two_loops_is_two_findings_and_one_loop_in_two_pages_is_one() {
    assert_eq!(loops([&[0, 1], &[0]]), [(K::NPlusOneQuery, 0), (K::NPlusOneQuery, 1)]);
    assert_eq!(loops([&[0, 1], &[0, 1]]).len(), 1);
    assert_eq!(loops([&[0], &[0]]).len(), 1);
}

/// Requests that wait `wait` ms for a connection, by a span, and then 95 ms for a partner.
fn behind_a_pool(wait: f64, call: f64) -> Vec<K> {
    let analysis = analysed(
        1,
        (0..200).map(|n| {
            let at = 500.0 * n as f64;
            let mut r = request(n, 0, (at, at + 0.2, at + wait + call + 3.0), LOOP);
            let pool = vec![("db.system.name", Value::Str("postgresql"))];
            r.span(2, SpanKind::Client, "shop", "pg-pool.connect", (at + 0.5, at + 0.5 + wait), pool);
            let from = at + 1.0 + wait;
            let attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("rates.example")),
                ("url.full", Value::Str("http://rates.example/today")),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", (from, from + call), attributes);
            r
        }),
    );
    analysis.findings.iter().map(|f| f.kind).collect()
}

#[test]
fn a_call_behind_a_wait_that_a_span_names_is_judged_by_the_rest() {
    assert_eq!(behind_a_pool(250.0, 95.0), [K::PoolWait, K::SlowExternal]);
    assert_eq!(behind_a_pool(250.0, 15.0), [K::PoolWait]);
}

/// A statement that writes, late at times, beside three that read.
fn late_writes(reads_too: bool) -> Analysis {
    const READS: [&str; 3] =
        ["SELECT a FROM t WHERE id = $1", "SELECT b FROM u WHERE id = $1", "SELECT c FROM v WHERE id = $1"];
    analysed(
        4,
        (0..800).map(|n| {
            let (step, at) = ((n % 4) as u16, 300.0 * n as f64);
            let late = mixed(n).is_multiple_of(3) && (step == 0 || reads_too);
            let took = if late { 120.0 } else { 2.0 };
            let mut r = request(n, step, (at, at + 0.2, at + took + 3.0), WORKERS);
            let text =
                if step == 0 { "UPDATE t SET n = n + 1 WHERE id = $1" } else { READS[usize::from(step) - 1] };
            statement(&mut r, text, (at + 1.0, at + 1.0 + took));
            r
        }),
    )
}

#[test]
fn writes_that_are_as_late_as_reads_wait_for_no_lock() {
    let locks = |analysis: Analysis| analysis.findings.iter().any(|f| f.kind == K::LockContention);
    assert!(locks(late_writes(false)));
    assert!(!locks(late_writes(true)));
}

#[test]
fn statements_that_are_served_one_at_a_time_are_told_by_their_ends() {
    let page = |turn: fn(u64) -> (f64, f64)| {
        analysed(
            1,
            (0..300).map(|n| {
                let (sent, ends) = turn(n);
                let mut r = request(n, 0, (sent, sent + 0.2, ends), WORKERS);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (sent + 0.5, ends - 1.0));
                r
            }),
        )
    };
    let analysis = page(in_turn);
    let f = &analysis.findings[0];
    assert_eq!((f.kind, f.confidence), (K::LockContention, Confidence::Inferred(Doubt::InTurn)));
    assert!((f.evidence["held_ms"] - 53.0).abs() < 3.0, "{:?}", f.evidence);
    // As long on average, and they end whenever they end; and as long each time.
    for turn in [
        (|n| {
            let sent = 54.0 * n as f64 + (mixed(n + 9) % 50) as f64;
            (sent, sent + 41.0 + (mixed(n) % 200) as f64)
        }) as fn(u64) -> (f64, f64),
        |n| {
            (
                54.0 * n as f64 + (mixed(n + 9) % 50) as f64,
                54.0 * n as f64 + (mixed(n + 9) % 50) as f64 + 141.0,
            )
        },
    ] {
        assert_eq!(page(turn).findings[0].kind, K::SlowQuery);
    }
}

/// So many pages with a statement each, which take so long in code of their own.
fn all_compute(own: &'static [f64]) -> Analysis {
    let pages = own.len() as u64;
    analysed(
        pages as usize,
        (0..60 * pages).map(|n| {
            let (step, at) = ((n % pages) as u16, 200.0 * n as f64);
            let own = own[usize::from(step)] + (mixed(n) % 2) as f64;
            let mut r = request(n, step, (at, at + 0.2, at + 1.3 + own), WORKERS);
            statement(&mut r, "SELECT b FROM u WHERE id = $1", (at + 0.3, at + 1.3));
            r
        }),
    )
}

#[test]
fn most_pages_of_a_service_that_compute_alike_are_one_finding() {
    let found = all_compute(&[40.0, 60.0, 50.0, 45.0, 4.0]);
    assert_eq!(kinds(&found), [(K::AppCpu, "GET /b".to_owned())]);
    let f = &found.findings[0];
    let others: Vec<&str> = f.related.iter().map(|c| &*c.name).collect();
    assert_eq!((others, f.evidence["steps"]), (vec!["GET /c", "GET /d", "GET /a"], 4.0));
    // Three may be three causes; so are a few of many, and one that takes far longer than the rest.
    assert_eq!(kinds(&all_compute(&[40.0, 60.0, 50.0])).len(), 3);
    let found = all_compute(&[40.0, 300.0, 50.0, 45.0, 55.0]);
    assert_eq!(kinds(&found), [(K::AppCpu, "GET /b".to_owned()), (K::AppCpu, "GET /e".to_owned())]);
    assert_eq!(found.findings[1].related.len(), 3);
}

/// Five pages on a machine without a free core: all take long on average, and four are quick at their best.
fn without_a_core(best: fn(u64) -> f64) -> Analysis {
    analysed(
        5,
        (0..500).map(|n| {
            let (step, at) = ((n % 5) as u16, 200.0 * n as f64);
            let late = (mixed(n) % 100) as f64;
            let own = if step == 0 { best(n) } else { 4.0 + late * late / 80.0 };
            let mut r = request(n, step, (at, at + 0.2, at + 1.3 + own), WORKERS);
            statement(&mut r, "SELECT b FROM u WHERE id = $1", (at + 0.3, at + 1.3));
            r
        }),
    )
}

#[test]
fn a_page_that_computes_at_its_best_too_is_no_page_like_the_others() {
    let found = without_a_core(|n| 105.0 + (mixed(n) % 10) as f64);
    assert_eq!(found.findings.len(), 2, "{:?}", kinds(&found));
    let of = |name: &str| found.findings.iter().find(|f| &*f.contributor.name == name);
    let alone = of("GET /a").unwrap();
    assert!(alone.related.is_empty() && alone.evidence["own_p10_ms"] > 100.0, "{:?}", alone.evidence);
    let others = found.findings.iter().find(|f| &*f.contributor.name != "GET /a").unwrap();
    assert_eq!(others.related.len(), 3);
    // As long on average, and as quick at its best: like the others.
    let alike = without_a_core(|n| {
        let late = (mixed(n) % 100) as f64;
        4.0 + late * late / 40.0
    });
    assert_eq!(alike.findings.len(), 1, "{:?}", kinds(&alike));
    assert_eq!(alike.findings[0].related.len(), 4);
}

/// A page that calls a partner, each call for so long, as users ask for it who walk in step: forty requests at the start of a run of 20 s and forty
/// at its end, beside a page that is asked for all the time.
fn in_waves(call: fn(u64) -> f64) -> Analysis {
    analysed(
        2,
        (0..280).map(|n| {
            if n >= 80 {
                let at = 100.0 * (n - 80) as f64;
                let mut r = request(n, 1, (at, at + 0.2, at + 3.0), WORKERS);
                statement(&mut r, "SELECT a FROM t WHERE id = $1", (at + 0.5, at + 2.0));
                return r;
            }
            let at = if n < 40 { 10.0 * n as f64 } else { 19_000.0 + 10.0 * n as f64 };
            let took = call(n);
            let mut r = request(n, 0, (at, at + 0.2, at + took + 3.0), WORKERS);
            let attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("rates.example")),
                ("url.full", Value::Str("http://rates.example/today")),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", (at + 1.0, at + 1.0 + took), attributes);
            r
        }),
    )
}

#[test]
fn a_page_that_is_asked_for_at_few_moments_is_judged_by_those() {
    assert_eq!(kinds(&in_waves(|_| 300.0)).iter().map(|k| k.0).collect::<Vec<_>>(), [K::SlowExternal]);
    // Slow in one of them.
    let once = in_waves(|n| if n < 40 { 2.0 } else { 300.0 });
    assert!(once.findings.iter().all(|f| f.kind != K::SlowExternal), "{:?}", kinds(&once));
}

/// Three pages of ten statements each, with so long own time before each of them, and a page without statements.
fn own_time_before(waits: fn(usize) -> f64) -> Vec<K> {
    let texts: Vec<&'static str> = (0..10)
        .map(|i| &*Box::leak(format!("SELECT a{i} FROM t{i} WHERE id = $1").into_boxed_str()))
        .collect();
    let all: f64 = (0..10).map(waits).sum();
    let analysis = analysed(
        4,
        (0..400).map(|n| {
            let (step, sent) = ((n % 4) as u16, 400.0 * n as f64);
            if step == 3 {
                return request(n, step, (sent, sent + 0.2, sent + 6.0), WORKERS);
            }
            let mut r = request(n, step, (sent, sent + 0.2, sent + 5.0 + all), WORKERS);
            let mut at = sent + 0.3;
            for (i, text) in texts.iter().enumerate() {
                at += waits(i);
                statement(&mut r, text, (at, at + 0.3));
                at += 0.3;
            }
            r
        }),
    );
    analysis.findings.iter().map(|f| f.kind).collect()
}

#[test]
fn own_time_among_statements_is_no_wait_for_a_pool() {
    // Once for a request, for each of three transactions, and for most statements.
    let pools: [fn(usize) -> f64; 3] = [
        |i| if i == 0 { 150.0 } else { 0.1 },
        |i| if i % 4 == 0 { 50.0 } else { 0.1 },
        |i| if i < 6 { 25.0 } else { 0.1 },
    ];
    for waits in pools {
        assert_eq!(own_time_before(waits), [K::PoolWait]);
    }
    // Before some of them, and hardly before the first: code, or an interpreter's lock.
    let codes: [fn(usize) -> f64; 2] =
        [|i| if i % 3 == 2 { 50.0 } else { 1.0 }, |i| if (1..5).contains(&i) { 37.0 } else { 1.0 }];
    for waits in codes {
        let found = own_time_before(waits);
        assert!(!found.is_empty() && found.iter().all(|kind| *kind == K::AppCpu), "{found:?}");
    }
}
