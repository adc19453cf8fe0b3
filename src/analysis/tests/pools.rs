//! Who holds the connections for which requests wait; and limits before calls to other services.

use super::results::{Request, kinds};
use super::turns::{LOOP, WORKERS, analysed, of_step, request as page, statement};
use crate::analysis::result::{Analysis, Confidence, Doubt, Finding, FindingKind as K, Holder};
use crate::record::{SpanKind, Value};

/// Bits of `n` without a pattern (SplitMix64).
fn mixed(n: u64) -> u64 {
    let z = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 24
}

/// The `n`th request, of a page that has a name of its own, in one of two processes where `host` says so.
fn request(n: u64, step: u16, at: (f64, f64, f64), scope: &'static str, host: &str) -> Request {
    let mut r = page(n, step, at, scope);
    r.spans[0].name = format!("GET /{}", ["a", "b", "c", "d"][usize::from(step)]);
    r.spans[0].host = host.to_owned();
    r
}

fn call(r: &mut Request, at: (f64, f64)) {
    let attributes = vec![
        ("http.request.method", Value::Str("GET")),
        ("server.address", Value::Str("rates.example")),
        ("url.full", Value::Str("http://rates.example/today")),
    ];
    let host = r.spans[0].host.clone();
    r.span(2, SpanKind::Client, "shop", "GET", at, attributes);
    r.spans.last_mut().unwrap().host = host;
}

fn acquire(r: &mut Request, at: (f64, f64)) {
    let attributes = vec![("db.system.name", Value::Str("postgresql"))];
    r.span(2, SpanKind::Internal, "shop", "pool acquire", at, attributes);
}

/// What page a does with its connection.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    CallInTransaction,
    Code,
    SlowStatement,
    /// A call after its only statement, with no span that tells until when.
    CallAfter,
}

/// Three pages with statements for which there are three connections, of which page a keeps one for 90 ms; and one without. Users
/// come sooner than connections are free. `recorded`: a span tells of each wait.
fn pool(holds: Holds, recorded: bool) -> Analysis {
    let mut free = [0.0_f64; 3];
    analysed(
        4,
        (0..900).map(move |n| {
            let at = 8.0 * n as f64;
            if n % 4 == 3 {
                return request(n, 3, (at, at + 0.2, at + 2.0), WORKERS, "web-1");
            }
            let next = (0..3).min_by(|a, b| free[*a].total_cmp(&free[*b])).unwrap();
            let got = free[next] + 0.3;
            let sent = got - 150.0 - (mixed(n) % 200) as f64;
            let long = n % 4 == 0;
            let took = if long { 90.0 } else { 4.0 };
            free[next] = got + took;
            let mut r = request(n, (n % 4) as u16, (sent, sent + 0.2, got + took + 0.2), WORKERS, "web-1");
            if recorded {
                acquire(&mut r, (sent + 0.5, got));
            }
            let got = got + 0.1;
            match (long, holds) {
                (false, _) => statement(&mut r, "SELECT b FROM u WHERE id = $1", (got, got + 3.8)),
                (_, Holds::CallInTransaction) => {
                    statement(&mut r, "BEGIN", (got, got + 1.0));
                    statement(&mut r, "SELECT a FROM t WHERE id = $1", (got + 1.0, got + 4.0));
                    call(&mut r, (got + 5.0, got + 85.0));
                    statement(&mut r, "COMMIT", (got + 86.0, got + 89.8));
                }
                (_, Holds::Code) => {
                    statement(&mut r, "BEGIN", (got, got + 1.0));
                    statement(&mut r, "COMMIT", (got + 86.0, got + 89.8));
                }
                (_, Holds::SlowStatement) => {
                    statement(&mut r, "SELECT sum(c) FROM v WHERE d = $1", (got, got + 89.8));
                }
                (_, Holds::CallAfter) => {
                    statement(&mut r, "SELECT a FROM t WHERE id = $1", (got, got + 3.0));
                    call(&mut r, (got + 4.0, got + 89.5));
                }
            }
            r
        }),
    )
}

fn wait(analysis: &Analysis) -> &Finding {
    let found = analysis.findings.iter().find(|f| f.kind == K::PoolWait);
    found.unwrap_or_else(|| panic!("{:?}", kinds(analysis)))
}

/// The page that holds most, and how many connections all hold.
fn first(analysis: &Analysis) -> (&Holder, f64) {
    let f = wait(analysis);
    assert_eq!(&*f.holders[0].page.name, "GET /a", "{:?}", f.holders);
    (&f.holders[0], f.evidence["connections_held"])
}

#[test]
fn who_holds_the_connections_is_told_and_what_he_does_meanwhile() {
    for recorded in [false, true] {
        let analysis = pool(Holds::CallInTransaction, recorded);
        let (a, all) = first(&analysis);
        assert!((2.3..3.1).contains(&all), "{all}");
        assert!(a.share > 0.85 && a.calls > 0.8 && (a.each_ms - 90.0).abs() < 2.0, "{a:?}");
        assert_eq!(&*a.call.as_ref().unwrap().0.name, "GET rates.example/today");
        assert_eq!(wait(&analysis).related, [a.call.as_ref().unwrap().0.clone()]);
        let code = pool(Holds::Code, recorded);
        let (a, _) = first(&code);
        assert!(a.own > 0.9 && a.call.is_none(), "{a:?}");
    }
}

#[test]
fn a_connection_that_is_kept_after_the_last_statement_is_told_by_what_is_always_out() {
    for recorded in [false, true] {
        let analysis = pool(Holds::CallAfter, recorded);
        let (a, all) = first(&analysis);
        assert!((2.3..3.2).contains(&all) && a.calls > 0.85, "{recorded} {all} {a:?}");
    }
}

#[test]
fn a_statement_that_keeps_most_of_the_connections_explains_the_wait_and_no_other_does() {
    let analysis = pool(Holds::SlowStatement, false);
    assert!(analysis.findings.iter().all(|f| f.kind != K::PoolWait), "{:?}", kinds(&analysis));
    assert!(analysis.findings.iter().any(|f| f.kind == K::SlowQuery), "{:?}", kinds(&analysis));
}

/// How requests come to their calls to another service.
#[derive(Clone, Copy)]
enum Before {
    /// So many may be under way at once.
    Limit(usize),
    /// Code that takes as long, whoever is under way.
    Code,
    /// Code of 20 ms, for which there is one core.
    Core,
    /// Nothing: the peer is slow.
    Nothing,
    /// As many as a limit would let through, but for one now and then.
    Leaky(usize),
}

/// Requests of a page in processes of their own, each before its calls of 60 ms.
fn before_calls(processes: &[(&'static str, Before)], scope: &'static str) -> Analysis {
    let mut places = vec![[0.0_f64; 16]; processes.len()];
    let mut core = vec![0.0_f64; processes.len()];
    let all = processes.to_vec();
    analysed(
        2,
        (0..900).map(move |n| {
            let (i, at) = ((n % all.len() as u64) as usize, 20.0 * n as f64);
            let (host, before) = all[i];
            if n % 5 == 4 {
                return request(n, 1, (at, at + 0.2, at + 2.0), scope, host);
            }
            let takes = 55.0 + (mixed(n) % 11) as f64;
            let waits = 100.0 + (mixed(n + 7) % 120) as f64;
            let mut place = |many: usize| {
                let next = (0..many).min_by(|a, b| places[i][*a].total_cmp(&places[i][*b])).unwrap();
                let begins = places[i][next] + 0.2;
                places[i][next] = begins + takes;
                begins
            };
            let (sent, begins, takes) = match before {
                Before::Limit(many) => {
                    let begins = place(many);
                    (begins - waits, begins, takes)
                }
                Before::Leaky(many) if n % 9 > 0 => {
                    let begins = place(many);
                    (begins - waits, begins, takes)
                }
                Before::Leaky(many) => {
                    let next = places[i][..many].iter().copied().fold(f64::MAX, f64::min);
                    let begins = next + (mixed(n + 3) % 60) as f64;
                    (begins - 0.5, begins, takes)
                }
                Before::Code => (at, at + waits, takes),
                Before::Core => {
                    core[i] += 20.0;
                    (core[i] - waits, core[i], 47.0 + (mixed(n + 5) % 27) as f64)
                }
                Before::Nothing => (at, at + 0.5, takes + waits),
            };
            let mut r = request(n, 0, (sent, sent + 0.2, begins + takes + 0.5), scope, host);
            call(&mut r, (begins, begins + takes));
            r
        }),
    )
}

#[test]
fn a_limit_before_calls_is_told_with_its_number_and_what_is_called() {
    for scope in [LOOP, WORKERS] {
        for many in [2, 3, 8] {
            let analysis = before_calls(&[("web-1", Before::Limit(many))], scope);
            let found = of_step(&analysis, 0);
            assert_eq!(found[0].kind, K::PoolWait, "{many} {:?}", kinds(&analysis));
            assert_eq!(found[0].confidence, Confidence::Inferred(Doubt::CallsInFlight));
            assert_eq!(found[0].evidence["places"], many as f64, "{:?}", found[0].evidence);
            assert_eq!(&*found[0].related[0].name, "GET rates.example/today");
            assert!(found[0].holders.is_empty());
        }
        let analysis = before_calls(&[("web-1", Before::Limit(1))], scope);
        let found = of_step(&analysis, 0);
        assert_eq!(found[0].kind, K::LockContention, "{:?}", kinds(&analysis));
        assert_eq!(found[0].evidence["places"], 1.0);
    }
    // Each of two processes has its own, and one of two has none.
    let both = before_calls(&[("web-1", Before::Limit(3)), ("web-2", Before::Limit(3))], WORKERS);
    assert_eq!(of_step(&both, 0)[0].evidence["places"], 3.0);
    let one = before_calls(&[("web-1", Before::Limit(3)), ("web-2", Before::Nothing)], WORKERS);
    let wait = one.findings.iter().find(|f| f.kind == K::PoolWait);
    assert_eq!(wait.map(|f| f.evidence["places"]), Some(3.0), "{:?}", kinds(&one));
}

#[test]
fn what_only_looks_like_a_limit_is_none() {
    let told = |processes: &[(&'static str, Before)]| {
        let analysis = before_calls(processes, WORKERS);
        assert!(
            analysis.findings.iter().all(|f| !f.evidence.contains_key("places")),
            "{:?}",
            kinds(&analysis)
        );
        of_step(&analysis, 0).first().map(|f| f.kind)
    };
    assert_eq!(told(&[("web-1", Before::Code)]), Some(K::AppCpu));
    assert_eq!(told(&[("web-1", Before::Core)]), Some(K::AppCpu));
    assert_eq!(told(&[("web-1", Before::Nothing)]), Some(K::SlowExternal));
    told(&[("web-1", Before::Leaky(3))]);
    // One process waits for places, the other computes.
    told(&[("web-1", Before::Limit(3)), ("web-2", Before::Code)]);
}

/// Whatever the number of parts in which a run is analysed, the same is told.
#[test]
fn parts_add_up_to_the_whole() {
    use crate::analysis::testing::run;
    use crate::analysis::{Analyzer, Partition};
    let requests: Vec<Request> = (0..60)
        .map(|n| {
            let at = 40.0 * n as f64;
            let mut r = request(n, 0, (at, at + 0.2, at + 30.0), WORKERS, "web-1");
            acquire(&mut r, (at + 1.0, at + 11.0));
            statement(&mut r, "BEGIN", (at + 11.0, at + 12.0));
            call(&mut r, (at + 12.0, at + 22.0));
            statement(&mut r, "COMMIT", (at + 22.0, at + 23.0));
            r
        })
        .collect();
    let bytes = |parts: u32| {
        let run = run(1);
        let partials = (0..parts).map(|part| {
            let mut analyzer = Analyzer::new(&run, Partition { index: part, of: parts });
            requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
            requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
            analyzer.finish()
        });
        let all = partials.reduce(|mut all, part| {
            all.merge(part);
            all
        });
        let mut bytes = Vec::new();
        all.unwrap().encode(&mut bytes);
        bytes
    };
    assert_eq!(bytes(1), bytes(3));
    let read = crate::analysis::Partial::decode(&bytes(3)).unwrap();
    let held = read.steps[0].evidence.holdings.values().next().unwrap();
    assert_eq!((held.requests, held.held.total()), (60, 60 * 12_000_000), "{held:?}");
    assert!(read.steps[0].evidence.pools.len() == 1 && read.steps[0].evidence.callers.len() == 1);
}
