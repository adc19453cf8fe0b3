//! Every detector: a case that holds, one that does not, and one that almost does.

use super::results::{MS, Request, healthy, kinds, load, only};
use crate::analysis::plans::{DatabaseEvidence, Scan};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K};
use crate::analysis::runtime::RuntimeMetrics;
use crate::analysis::testing::run;
use crate::analysis::{Analyzer, Limits, Partition};
use crate::record::{Attribute, Distribution, MetricPoint, MetricValue, Resource, Scope, SumsSince};
use crate::record::{CheckFailure, Failure, FailureClass, Outcome, SpanKind, Timestamp, Value};

fn text(pairs: &[(&'static str, &'static str)]) -> Vec<(&'static str, Value<'static>)> {
    pairs.iter().map(|(k, v)| (*k, Value::Str(v))).collect()
}

pub(super) fn sql(system: &'static str, text: &'static str) -> Vec<(&'static str, Value<'static>)> {
    vec![("db.system.name", Value::Str(system)), ("db.query.text", Value::Str(text))]
}

/// Calls of `system` in turn: text, start and length.
pub(super) fn queries(r: &mut Request, system: &'static str, calls: &[(&'static str, f64, f64)]) {
    for (statement, at, length) in calls {
        r.span(2, SpanKind::Client, "shop", "q", (*at, at + length), sql(system, statement));
    }
}

pub(super) fn get(peer: &'static str) -> Vec<(&'static str, Value<'static>)> {
    text(&[("http.request.method", "GET"), ("server.address", peer), ("url.full", "http://x/a")])
}

#[track_caller]
pub(super) fn without(analysis: &Analysis, kind: K) {
    assert!(analysis.findings.iter().all(|f| f.kind != kind), "{:?}", kinds(analysis));
}

#[test]
fn a_start_is_told_once_and_a_hiccup_is_not() {
    let slow = |which: fn(u64) -> bool, ms: f64| {
        load(100, move |n| {
            let mut r = Request::new(n, if which(n) { ms } else { 8.0 });
            r.query(2, (0.5, 4.0), "SELECT 1", 1);
            r
        })
    };
    let analysis = slow(|n| n < 6, 1_500.0);
    assert_eq!(kinds(&analysis), [(K::ColdStart, "GET /".to_owned())]);
    assert_eq!(analysis.findings[0].evidence["longest_ms"].round(), 1496.0);
    // A warm-up that costs little, and two bad moments.
    healthy(&slow(|n| n < 6, 300.0));
    healthy(&slow(|n| (30..33).contains(&n) || (70..73).contains(&n), 1_500.0));
}

#[test]
fn one_long_request_is_no_problem_of_its_step() {
    let with = |worst: f64, others: f64| {
        load(30, move |n| {
            let mut r = Request::new(
                n,
                if n == 15 {
                    worst
                } else if n % 5 == 0 {
                    others
                } else {
                    10.0
                },
            );
            r.query(2, (0.5, 4.0), "SELECT 1", 1);
            r
        })
    };
    healthy(&with(2_000.0, 40.0));
    assert_eq!(kinds(&with(400.0, 400.0)), [(K::AppCpu, "GET /".to_owned())]);
}

#[test]
fn what_waits_for_a_busy_core_is_no_problem_of_its_own() {
    // The quickest of the queries take a millisecond; a calculation of the same service takes much more of the time.
    let analysis = |cpu: f64, quickest: f64| {
        load(100, move |n| {
            let length = if n % 4 == 0 { quickest } else { 60.0 };
            let mut r = Request::new(n, 1_000.0 + cpu + length);
            r.query(2, (500.0, 500.0 + length), "SELECT a FROM t WHERE b = 7", 1);
            r.spans[0].end = r.spans[0].start + ((500.0 + length + 1.0) * 1e6) as u64;
            r
        })
    };
    let waits = analysis(1_000.0, 1.0);
    assert!(waits.findings.iter().all(|f| f.kind != K::SlowQuery), "{:?}", kinds(&waits));
}

/// 2,500 looks that all find nothing, for so many keys in requests of so many URLs, and a statement of 55 ms after each.
fn asked_for(keys: u64, urls: u64, hidden: bool) -> Analysis {
    let texts: Vec<&'static str> =
        (0..keys).map(|key| &*Box::leak(format!("GET page:{key}").into_boxed_str())).collect();
    load(2_500, move |n| {
        let mut r = Request::new(n, 60.0);
        r.exchange.url = format!("http://127.0.0.1/{}", n % urls).into();
        let text = if hidden { "GET ?" } else { texts[(n % keys) as usize] };
        let mut look = sql("redis", text);
        look.push(("cache.hit", Value::Bool(false)));
        r.span(2, SpanKind::Client, "shop", "GET", (0.5, 1.0), look);
        queries(&mut r, "postgresql", &[("SELECT a FROM t WHERE b = $1", 2.0, 55.0)]);
        r
    })
}

#[test]
fn what_nobody_asked_for_before_no_cache_has() {
    // Each key is asked for once, as the load wants it: what is asked instead is slow.
    only(&asked_for(2_500, 2_500, false), K::SlowQuery, "SELECT a FROM t WHERE b = ?");
    // Keys come again; keys do not, though pages do; and of hidden keys nothing is known.
    for (keys, urls, hidden) in
        [(400, 2_500, false), (2_500, 400, false), (1_250, 1_250, false), (1, 2_500, true)]
    {
        assert_eq!(kinds(&asked_for(keys, urls, hidden))[0].0, K::CacheMiss, "{keys} {urls} {hidden}");
    }
}

#[test]
fn misses_of_a_cache_are_told_by_what_is_written_after_the_look() {
    let looks = |filled: &'static str, every: u64| {
        load(60, move |n| {
            let mut r = Request::new(n, 60.0);
            queries(&mut r, "redis", &[("GET profile:7", 1.0, 0.5)]);
            if n % every == 0 {
                queries(&mut r, "postgresql", &[("SELECT a FROM t WHERE id = $1", 2.0, 50.0)]);
                queries(&mut r, "redis", &[(filled, 54.0, 0.5)]);
            }
            r
        })
    };
    let analysis = looks("SET profile:7 ?", 1);
    assert_eq!(kinds(&analysis), [(K::CacheMiss, "GET profile:?".to_owned())]);
    assert_eq!(analysis.findings[0].confidence, Confidence::Inferred(Doubt::WrittenAfter));
    // Keys that are hidden may be the same; keys of another pattern are not.
    assert_eq!(kinds(&looks("SET ? ?", 1))[0].0, K::CacheMiss);
    without(&looks("SET session:9 ?", 1), K::CacheMiss);
    without(&looks("SET profile:7 ?", 3), K::CacheMiss);
}

#[test]
fn what_a_time_limit_ends() {
    let limit = |error: &'static str, every: u64| {
        load(100, move |n| {
            let late = n % every == 0;
            let mut r = Request::new(n, if late { 1_010.0 } else { 20.0 });
            let mut attributes = get("weather.example");
            if late {
                attributes.push(("error.type", Value::Str(error)));
            }
            r.span(2, SpanKind::Client, "shop", "GET", (1.0, if late { 1_001.0 } else { 9.0 }), attributes);
            r
        })
    };
    let analysis = limit("java.net.SocketTimeoutException", 10);
    assert_eq!(kinds(&analysis), [(K::Timeout, "GET weather.example/a".to_owned())]);
    // The caller gave up waiting: Reactor, JavaScript, Kotlin.
    for error in ["cancelled", "AbortError", "java.util.concurrent.CancellationException"] {
        assert_eq!(kinds(&limit(error, 10)), [(K::Timeout, "GET weather.example/a".to_owned())]);
    }
    // Two that race: the first to come has the other cancelled.
    let race = load(100, |n| {
        let mut r = Request::new(n, 110.0);
        r.span(2, SpanKind::Client, "shop", "GET", (1.0, 100.0), get("near.example"));
        let mut attributes = get("weather.example");
        attributes.push(("error.type", Value::Str("cancelled")));
        r.span(3, SpanKind::Client, "shop", "GET", (1.0, 101.0), attributes);
        r
    });
    without(&race, K::Timeout);
    without(&limit("java.io.IOException", 10), K::Timeout);
    without(&limit("timeout", 1_000), K::Timeout);
    // The client itself gave up.
    let given_up = load(100, |n| {
        let mut r = Request::new(n, if n % 5 == 0 { 900.0 } else { 20.0 });
        if n % 5 == 0 {
            let failure = Failure { class: FailureClass::Timeout, message: "no answer within 900 ms".into() };
            r.exchange.outcome = Outcome::Failed { failure, status: None };
            r.spans.clear();
        }
        r
    });
    assert!(given_up.findings.iter().any(|f| f.kind == K::Timeout), "{:?}", kinds(&given_up));
}

#[test]
fn writes_that_wait_for_locks() {
    let update = |statement: &'static str, slow: f64| {
        load(200, move |n| {
            let took = if n % 3 == 0 { slow } else { 2.0 };
            let mut r = Request::new(n, took + 5.0);
            queries(&mut r, "postgresql", &[(statement, 1.0, took)]);
            r
        })
    };
    let analysis = update("UPDATE stock SET n = n - 1 WHERE id = $1", 200.0);
    only(&analysis, K::LockContention, "UPDATE stock SET n = n - ? WHERE id = ?");
    assert_eq!(analysis.findings[0].confidence, Confidence::Inferred(Doubt::Spread));
    only(
        &update("SELECT a FROM t WHERE id = $1 FOR UPDATE", 200.0),
        K::LockContention,
        "SELECT a FROM t WHERE id = ? FOR UPDATE",
    );
    only(&update("SELECT a FROM t WHERE id = $1", 200.0), K::SlowQuery, "SELECT a FROM t WHERE id = ?");
    // Slow alike each time: its own work.
    let steady = load(100, |n| {
        let mut r = Request::new(n, 85.0);
        queries(&mut r, "postgresql", &[("UPDATE stock SET n = 0", 1.0, 80.0)]);
        r
    });
    only(&steady, K::SlowQuery, "UPDATE stock SET n = ?");
}

#[test]
fn a_queue_before_the_server_is_no_line() {
    let before = |typical: f64, slow: f64| {
        load(200, move |n| {
            let wait = if n % 3 == 0 { slow } else { typical };
            let mut r = Request::new(n, wait + 10.0);
            r.spans[0].start = r.base + (wait * 1e6) as u64;
            r
        })
    };
    let queue = before(1.0, 150.0);
    assert_eq!(queue.findings[0].kind, K::Queueing, "{:?}", kinds(&queue));
    assert_eq!(queue.findings[0].confidence, Confidence::Inferred(Doubt::Varies));
    only(&before(60.0, 60.0), K::SlowNetwork, "client → shop");
    healthy(&before(1.0, 2.0));
}

#[test]
fn the_same_answer_each_time_and_a_cache_that_misses() {
    let report = |statement: &'static str| {
        load(100, move |n| {
            let mut r = Request::new(n, 60.0);
            queries(&mut r, "postgresql", &[(statement, 1.0, 55.0)]);
            r
        })
    };
    only(
        &report("SELECT a, sum(b) FROM t GROUP BY a LIMIT 10"),
        K::Uncached,
        "SELECT a, sum(b) FROM t GROUP BY a LIMIT ?",
    );
    only(&report("SELECT a FROM t WHERE b = 7"), K::SlowQuery, "SELECT a FROM t WHERE b = ?");
    let cache = |hit_every: u64| {
        load(100, move |n| {
            let hit = n % hit_every == 0;
            let mut r = Request::new(n, if hit { 4.0 } else { 60.0 });
            let mut look = sql("redis", "GET page:1");
            look.push(("cache.hit", Value::Bool(hit)));
            r.span(2, SpanKind::Client, "shop", "GET", (0.5, 1.0), look);
            if !hit {
                queries(&mut r, "postgresql", &[("SELECT a FROM t WHERE b = $1", 2.0, 55.0)]);
            }
            r
        })
    };
    let analysis = cache(10);
    only(&analysis, K::CacheMiss, "GET page:?");
    assert!((analysis.findings[0].evidence["miss_share"] - 0.9).abs() < 1e-9);
    without(&cache(1), K::CacheMiss);
}

#[test]
fn starts_of_functions_and_processes() {
    let function = |cold: bool| {
        load(100, move |n| {
            let starts = n % 10 == 0;
            let mut r = Request::new(n, if starts { 400.0 } else { 10.0 });
            if starts && cold {
                r.spans[0].attributes.push(("faas.coldstart", Value::Bool(true)));
            }
            r
        })
    };
    let analysis = function(true);
    assert!(analysis.findings.iter().any(|f| f.kind == K::ColdStart), "{:?}", kinds(&analysis));
    without(&function(false), K::ColdStart);
    let named = |name: &'static str, every: u64| {
        load(600, move |n| {
            let starts = n % every == 0;
            let mut r = Request::new(n, if starts { 415.0 } else { 15.0 });
            if starts {
                r.span(2, SpanKind::Internal, "shop", name, (5.0, 405.0), Vec::new());
            }
            r
        })
    };
    let analysis = named("warm up models", 20);
    only(&analysis, K::ColdStart, "warm up models");
    assert_eq!(analysis.findings[0].confidence, Confidence::Inferred(Doubt::NameOnly));
    only(&named("render report", 20), K::AppCpu, "render report");
    // What every request does is no start.
    without(&named("warm up models", 1), K::ColdStart);
}

/// A run whose step has this template.
fn at_path(
    template: &str,
    request: impl Fn(u64) -> Request,
    limits: &Limits,
    database: &DatabaseEvidence,
) -> Analysis {
    let mut run = run(1);
    run.steps[0].template = template.to_owned();
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests: Vec<Request> = (0..100).map(request).collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis_with(&run, limits, database, &RuntimeMetrics::default())
}

#[test]
fn static_files_of_the_application() {
    let (limits, database) = (Limits::default(), DatabaseEvidence::default());
    let at = |path: &str, ms: f64| at_path(path, |n| Request::new(n, ms), &limits, &database);
    only(&at("/js/app.js?v=3", 80.0), K::StaticByApp, "GET /");
    only(&at("/static/{file}", 80.0), K::StaticByApp, "GET /");
    only(&at("/static/{file}.css", 80.0), K::StaticByApp, "GET /");
    // What has a name for each thing is made for it.
    only(&at("/invoices/{n}.pdf", 80.0), K::AppCpu, "GET /");
    only(&at("/report", 80.0), K::AppCpu, "GET /");
    healthy(&at("/js/app.js", 8.0));
}

#[test]
fn errors_that_hide_or_make_slowness() {
    let errors = |every: u64, bad_ms: f64| {
        load(200, move |n| {
            let bad = n % every == 0;
            let mut r = Request::new(n, if bad { bad_ms } else { 20.0 });
            if bad {
                r.exchange.outcome = Outcome::Answered(500);
                let seen = CheckFailure { check: "status".into(), seen: "500".into() };
                r.exchange.checks_failed.push(seen);
            }
            r
        })
    };
    let quick = errors(4, 1.0);
    assert_eq!(kinds(&quick), [(K::ErrorPath, "HTTP 500".to_owned())]);
    assert!(
        matches!(quick.verdict, crate::analysis::result::Verdict::Failing { status: Some(500), .. }),
        "{:?}",
        quick.verdict
    );
    assert!((quick.findings[0].evidence["errors_share"] - 0.25).abs() < 1e-9);
    without(&errors(4, 18.0), K::ErrorPath);
    without(&errors(40, 1.0), K::ErrorPath);
}

#[test]
fn errors_whose_time_a_limit_takes_are_told_with_it() {
    // A call that ends at a time limit in every fifth request; the request fails for it, or others do for something else.
    let answers = |fails: fn(u64) -> bool, own_ms: f64| {
        load(200, move |n| {
            let (late, bad) = (n % 5 == 0, fails(n));
            let took = if late { 300.0 } else { 8.0 };
            let mut r = Request::new(n, 10.0 + took + if bad { own_ms } else { 0.0 });
            let mut attributes = get("customs.example");
            if late {
                attributes.push(("error.type", Value::Str("context.DeadlineExceeded")));
            }
            r.span(2, SpanKind::Client, "shop", "GET", (1.0, 1.0 + took), attributes);
            if bad {
                r.exchange.outcome = Outcome::Answered(504);
                r.exchange.checks_failed.push(CheckFailure { check: "status".into(), seen: "504".into() });
            }
            r
        })
    };
    let one = answers(|n| n % 5 == 0, 0.0);
    assert_eq!(kinds(&one), [(K::Timeout, "GET customs.example/a".to_owned())]);
    assert!((one.findings[0].evidence["errors_share"] - 0.2).abs() < 1e-9);
    // Those that fail are not those that wait, and take far longer.
    let two = answers(|n| n % 5 == 2, 900.0);
    let found: Vec<K> = two.findings.iter().map(|f| f.kind).collect();
    assert!(found.contains(&K::ErrorPath) && found.contains(&K::Timeout), "{found:?}");
    assert!(two.findings.iter().all(|f| f.kind == K::ErrorPath || !f.evidence.contains_key("errors_share")));
}

#[test]
fn one_instance_of_several() {
    let instances = |slow_ms: f64| {
        load(200, move |n| {
            let slow = n % 2 == 0;
            let mut r = Request::new(n, if slow { slow_ms } else { 10.0 });
            r.spans[0].host = if slow { "shop-2" } else { "shop-1" }.to_owned();
            r
        })
    };
    let analysis = instances(22.0);
    assert_eq!(kinds(&analysis), [(K::SlowInstance, "GET /".to_owned())]);
    assert_eq!(&*analysis.findings[0].remedy, "shop: shop-2");
    assert_eq!(analysis.findings[0].confidence, Confidence::High);
    healthy(&instances(14.0));
}

#[test]
fn an_instance_that_takes_in_more_may_be_slow_for_that() {
    // Of ten requests so many go to the slow one, the others to two more.
    let instances = |of_ten: u64| {
        let analysis = load(400, move |n| {
            let slow = n % 10 < of_ten;
            let mut r = Request::new(n, if slow { 22.0 } else { 10.0 });
            r.spans[0].host =
                if slow { "shop-1" } else { ["shop-2", "shop-3"][(n / 10) as usize % 2] }.to_owned();
            r
        });
        analysis.findings.iter().find(|f| f.kind == K::SlowInstance).unwrap().confidence
    };
    assert_eq!(instances(6), Confidence::Inferred(Doubt::MoreRequests));
    // As many requests, of two of three users: those wait and send no more meanwhile.
    let users = |stay: bool| {
        let analysis = load(400, move |n| {
            let slow = n % 2 == 0;
            let mut r = Request::new(n, if slow { 22.0 } else { 10.0 });
            r.spans[0].host = if slow { "shop-1" } else { "shop-2" }.to_owned();
            r.exchange.user = if !stay || n % 2 == 0 { n as u32 / 2 % 20 } else { 20 + n as u32 / 2 % 10 };
            r
        });
        analysis.findings.iter().find(|f| f.kind == K::SlowInstance).unwrap().confidence
    };
    assert_eq!(users(true), Confidence::Inferred(Doubt::MoreRequests));
    assert_eq!(users(false), Confidence::High);
    assert_eq!(instances(3), Confidence::High);
    // A slow one of which a balancer knows.
    assert_eq!(instances(2), Confidence::High);
}

#[test]
fn a_plan_that_scans() {
    let statement = "SELECT * FROM term WHERE word = ?";
    let database = |rows: f64| {
        let scan = Scan {
            table: "term".into(),
            columns: vec!["word".to_owned()],
            rows,
            found: 2.0,
            cost: Some((1_900.0, 8.4)),
        };
        DatabaseEvidence { scans: [(statement.into(), scan)].into(), ..Default::default() }
    };
    let slow = |n| {
        let mut r = Request::new(n, 60.0);
        queries(&mut r, "postgresql", &[("SELECT * FROM term WHERE word = $1", 1.0, 55.0)]);
        r
    };
    let limits = Limits::default();
    let analysis = at_path("/", slow, &limits, &database(100_000.0));
    only(&analysis, K::MissingIndex, statement);
    assert_eq!(&*analysis.findings[0].remedy, "CREATE INDEX term_word ON term (word)");
    only(&at_path("/", slow, &limits, &database(500.0)), K::SlowQuery, statement);
    only(&at_path("/", slow, &limits, &DatabaseEvidence::default()), K::SlowQuery, statement);
    // A plan is sure, so that less will do; the statement alone would be quick enough.
    let brisk = |n| {
        let mut r = Request::new(n, 16.0);
        queries(&mut r, "postgresql", &[("SELECT * FROM term WHERE word = $1", 1.0, 12.0)]);
        r
    };
    only(&at_path("/", brisk, &limits, &database(100_000.0)), K::MissingIndex, statement);
    healthy(&at_path("/", brisk, &limits, &DatabaseEvidence::default()));
    // A scan that costs the step nothing is no finding.
    let quick = |n| {
        let mut r = Request::new(n, 8.0);
        queries(&mut r, "postgresql", &[("SELECT * FROM term WHERE word = $1", 1.0, 2.0)]);
        r
    };
    healthy(&at_path("/", quick, &limits, &database(100_000.0)));
    // Limits are the user's to set.
    let mut strict = Limits::default();
    strict.set("missing_index.rows=1000000").unwrap();
    only(&at_path("/", slow, &strict, &database(100_000.0)), K::SlowQuery, statement);
}

#[test]
fn evidence_that_is_not_whole_is_said_last_and_is_no_verdict() {
    let analysis = load(100, |n| {
        let mut r = Request::new(n, 10.0);
        if n % 3 == 0 {
            r.spans.clear();
        }
        r
    });
    assert_eq!(kinds(&analysis), [(K::IncompleteTraces, "missing spans".to_owned())]);
    assert!(matches!(analysis.verdict, crate::analysis::result::Verdict::Healthy { .. }));
    without(&load(100, |n| Request::new(n, 10.0)), K::IncompleteTraces);
    let skewed = |ms: u64| {
        load(100, move |n| {
            let mut r = Request::new(n, 10.0);
            r.spans[0].host = "b".to_owned();
            r.spans[0].start += ms * MS;
            r.spans[0].end += ms * MS;
            r
        })
    };
    assert_eq!(kinds(&skewed(500)), [(K::ClockSkew, "clocks of hosts".to_owned())]);
    without(&skewed(20), K::ClockSkew);
}

/// A service whose own time is `ms` of each request, beside 12 ms of database, with a metric of its runtime.
fn with_metric(ms: impl Fn(u64) -> f64, name: &str, unit: &str, values: &[MetricValue<'_>]) -> Analysis {
    with_metric_of(ms, name, unit, &[], values)
}

fn with_metric_of(
    ms: impl Fn(u64) -> f64,
    name: &str,
    unit: &str,
    attributes: &[(&'static str, &'static str)],
    values: &[MetricValue<'_>],
) -> Analysis {
    let attributes: Vec<Attribute> =
        attributes.iter().map(|(key, value)| Attribute { key, value: Value::Str(value) }).collect();
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests: Vec<Request> = (0..100)
        .map(|n| {
            let mut r = Request::new(n, ms(n) + 12.0);
            queries(&mut r, "postgresql", &[("SELECT a FROM t WHERE b = $1", 1.0, 12.0)]);
            r
        })
        .collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    let mut runtime = RuntimeMetrics::default();
    let service = Attribute { key: "service.name", value: Value::Str("shop") };
    let resource = Resource { attributes: vec![service] };
    for (i, value) in values.iter().enumerate() {
        let time = Timestamp(i as u64 * 66_000 * MS);
        let scope = Scope::default();
        let start = Timestamp(0);
        runtime.add(&MetricPoint {
            time,
            start,
            name,
            unit,
            resource: &resource,
            scope: &scope,
            attributes: &attributes,
            value: *value,
        });
    }
    analyzer.finish().into_analysis_with(&run, &Limits::default(), &DatabaseEvidence::default(), &runtime)
}

#[test]
fn a_gateway_that_calls_its_own_process_records_no_calls() {
    let page = |asks: bool| {
        load(60, move |n| {
            let mut r = Request::new(n, 80.0);
            let call = r.span(2, SpanKind::Client, "shop", "rpc", (1.0, 79.0), vec![]);
            let answer = r.span(call, SpanKind::Server, "shop", "Check", (1.5, 78.5), vec![]);
            if asks {
                r.query(answer, (2.0, 3.0), "SELECT a FROM t WHERE id = $1", 1);
            }
            r
        })
    };
    let unrecorded = page(false);
    only(&unrecorded, K::AppCpu, "Check");
    assert_eq!(unrecorded.findings[0].confidence, Confidence::Inferred(Doubt::OwnTimeOnly));
    // Who records a statement would record others.
    let recorded = page(true);
    only(&recorded, K::AppCpu, "Check");
    assert_eq!(recorded.findings[0].confidence, Confidence::High);
}

#[test]
fn what_runtimes_say_about_themselves() {
    // The run takes 198 s; the sums count since the start.
    let gc = |s: f64, own: f64| {
        let sum = |value| MetricValue::Sum { value, monotonic: true, temporality: SumsSince::Start };
        with_metric(|_| own, "jvm.gc.duration", "s", &[sum(5.0), sum(7.0), sum(5.0 + s)])
    };
    let analysis = gc(40.0, 14.0);
    assert_eq!(kinds(&analysis), [(K::GcPause, "garbage collection".to_owned())]);
    assert!(
        (analysis.findings[0].evidence["gc_share"] - 40.0 / 132.0).abs() < 0.01,
        "{:?}",
        analysis.findings[0].evidence
    );
    // Without their number, what is lost is the share of the own time: a little less than 14 ms, and of the way in.
    let lost = analysis.findings[0].impact.mean.as_millis_f64();
    assert!((lost - 14.0 * 40.0 / 132.0).abs() < 0.3, "{lost}");
    healthy(&gc(4.0, 14.0));
    healthy(&gc(40.0, 4.0));
    let pauses = |name: &'static str, first: u64| {
        let pauses = [first, first + 100].map(|count| {
            let sum = Some(count as f64 * 0.4);
            let values = Distribution { count, sum, min: None, max: None, buckets: &[] };
            MetricValue::Histogram { values, temporality: SumsSince::Start }
        });
        let own = |n: u64| if n.is_multiple_of(5) { 60.0 } else { 2.5 };
        with_metric_of(own, "jvm.gc.duration", "s", &[("jvm.gc.name", name)], &pauses)
    };
    // A hundred of 400 ms in the 66 s between two reports (half of the run is taken, at least): who comes in one would wait for
    // 200 ms of it, which is more than the 11.5 ms that the slower requests have more.
    let analysis = pauses("Copy", 7);
    assert!((analysis.findings[0].evidence["gc_pause_ms"] - 400.0).abs() < 1e-6);
    assert!((analysis.findings[0].evidence["gc_share"] - 40.0 / 99.0).abs() < 0.01);
    let lost = analysis.findings[0].impact.mean.as_millis_f64();
    assert!((lost - 11.5).abs() < 0.6, "{lost}");
    // Work that goes on beside the program.
    healthy(&pauses("ZGC Cycles", 7));
    let busy = |used: f64, own: f64| {
        let values = [MetricValue::Gauge(used), MetricValue::Gauge(used)];
        with_metric(|_| own, "nodejs.eventloop.utilization", "1", &values)
    };
    assert_eq!(kinds(&busy(0.97, 14.0)), [(K::RuntimeSaturation, "runtime".to_owned())]);
    healthy(&busy(0.6, 14.0));
    // What one request had long is no busy runtime, though the loop's longest delays tell of it.
    let delayed = |others: f64| {
        let own = move |n: u64| if n == 1 { 1_200.0 } else { others };
        with_metric(
            own,
            "nodejs.eventloop.delay.p99",
            "s",
            &[MetricValue::Gauge(0.09), MetricValue::Gauge(0.09)],
        )
    };
    healthy(&delayed(1.0));
    assert_eq!(kinds(&delayed(12.0)), [(K::RuntimeSaturation, "runtime".to_owned())]);
    // Code that is named already is the cause.
    let named = busy(0.97, 60.0);
    only(&named, K::AppCpu, "GET /");
    assert_eq!(named.findings[0].evidence["event_loop_share"], 0.97);
}

#[test]
fn a_way_on_which_one_step_queues_is_no_slow_line_for_another() {
    let run = run(2);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    // The way takes 60 ms each time in one step, and from 2 to 120 ms in the other.
    let requests: Vec<Request> = (0..120)
        .map(|n| {
            let step = (n % 2) as u16;
            let wait = if step == 1 || n % 4 == 0 { 60.0 } else { 2.0 };
            let wait = if step == 0 && n % 20 == 0 { 120.0 } else { wait };
            let mut r = Request::new(n, wait + 5.0);
            r.exchange.step = crate::record::StepId(step);
            r.spans[0].start = r.base + (wait * 1e6) as u64;
            r
        })
        .collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    let analysis = analyzer.finish().into_analysis(&run);
    assert_eq!(kinds(&analysis), [(K::Queueing, "client → shop".to_owned())]);
    assert_eq!(analysis.findings[0].evidence["steps"], 2.0);
    assert_eq!(analysis.findings[0].confidence, Confidence::Inferred(Doubt::Varies));
}
