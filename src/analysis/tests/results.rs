//! Aggregates, findings and verdicts of small made-up runs.

use crate::analysis::result::{
    Analysis, Band, Category, Confidence, ExemplarRole, FindingKind, Note, Severity, Verdict,
};
use crate::analysis::testing::{Owned, exchange, run, trace};
use crate::analysis::{Analyzer, Partition};
use crate::record::{
    CheckFailure, Exchange, Failure, FailureClass, Nanos, Outcome, SpanKind, StepId, Timestamp, Value,
};

pub(super) const MS: u64 = 1_000_000;
pub(super) type Attributes = Vec<(&'static str, Value<'static>)>;

/// One request under construction: times in milliseconds from its start, spans as children of the server's.
pub(super) struct Request {
    pub exchange: Exchange,
    pub spans: Vec<Owned>,
    pub base: u64,
}

impl Request {
    /// Number `n`, answered after `ms`; its server span covers all but the first and last tenth of a millisecond.
    pub fn new(n: u64, ms: f64) -> Request {
        let base = 1_000_000_000 + n * 2_000 * MS;
        let end = base + (ms * 1e6) as u64;
        let mut exchange = exchange(1, base, end);
        exchange.trace_id = trace(n);
        let mut server = Owned::new(2, 1, SpanKind::Server, "shop", "GET /", base + MS / 10, end - MS / 10);
        server.trace = trace(n);
        Request { exchange, spans: vec![server], base }
    }

    pub fn span(
        &mut self,
        parent: u64,
        kind: SpanKind,
        service: &str,
        name: &str,
        at: (f64, f64),
        attributes: Attributes,
    ) -> u64 {
        let id = self.spans.len() as u64 + 2;
        let time = |ms: f64| self.base + (ms * 1e6) as u64;
        let mut span = Owned::new(id, parent, kind, service, name, time(at.0), time(at.1));
        span.trace = self.exchange.trace_id;
        span.attributes = attributes;
        self.spans.push(span);
        id
    }

    pub fn query(&mut self, parent: u64, at: (f64, f64), sql: &'static str, line: i64) -> u64 {
        let attributes = vec![
            ("db.system.name", Value::Str("sqlite")),
            ("db.query.text", Value::Str(sql)),
            ("code.file.path", Value::Str("src/dao.rs")),
            ("code.line.number", Value::Int(line)),
        ];
        self.span(parent, SpanKind::Client, "shop", "SELECT", at, attributes)
    }

    pub fn call(&mut self, at: (f64, f64), status: i64, resend: i64) -> u64 {
        let attributes = vec![
            ("http.request.method", Value::Str("POST")),
            ("url.full", Value::Str("http://pay.example/charge")),
            ("server.address", Value::Str("pay.example")),
            ("http.response.status_code", Value::Int(status)),
            ("http.request.resend_count", Value::Int(resend)),
        ];
        self.span(2, SpanKind::Client, "shop", "POST", at, attributes)
    }
}

/// A run of `n` requests.
pub(super) fn load(n: u64, request: impl Fn(u64) -> Request) -> Analysis {
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests: Vec<Request> = (0..n).map(request).collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

/// Kinds and names of the findings, worst first.
pub(super) fn kinds(analysis: &Analysis) -> Vec<(FindingKind, String)> {
    analysis.findings.iter().map(|f| (f.kind, f.contributor.name.to_string())).collect()
}

#[track_caller]
pub(super) fn only(analysis: &Analysis, kind: FindingKind, name: &str) {
    assert_eq!(kinds(analysis), [(kind, name.to_owned())]);
    assert_eq!(analysis.verdict, Verdict::Bottleneck(0));
}

#[track_caller]
pub(super) fn healthy(analysis: &Analysis) {
    assert_eq!(kinds(analysis), []);
    assert_eq!(analysis.verdict, Verdict::Healthy { step: StepId(0) });
}

#[test]
fn a_healthy_system_yields_nothing() {
    // Fast and mostly database; fast and all code; slow at times, but by little; four quick queries in turn.
    healthy(&load(200, |n| {
        let mut r = Request::new(n, 9.0);
        r.query(2, (0.5, 8.5), "SELECT 1", 1);
        r
    }));
    healthy(&load(200, |n| Request::new(n, 20.0 + (n % 7) as f64)));
    healthy(&load(300, |n| Request::new(n, if n % 50 == 0 { 90.0 } else { 8.0 })));
    healthy(&load(200, |n| {
        let mut r = Request::new(n, 8.0);
        (0..4).for_each(|i| {
            r.query(2, (1.0 + f64::from(i), 1.9 + f64::from(i)), "SELECT 1", 1);
        });
        r
    }));
    // An N+1 of cache gets that costs next to nothing.
    healthy(&load(200, |n| {
        let mut r = Request::new(n, 8.0);
        for i in 0..20 {
            let at = 1.0 + f64::from(i) * 0.05;
            r.span(
                2,
                SpanKind::Client,
                "shop",
                "GET",
                (at, at + 0.04),
                vec![("db.system", Value::Str("redis"))],
            );
        }
        r
    }));
}

#[test]
fn a_query_that_is_most_of_its_request() {
    let analysis = load(100, |n| {
        let mut r = Request::new(n, 72.0);
        r.query(2, (1.0, 71.0), "SELECT a FROM t WHERE b LIKE '%x%'", 17);
        r
    });
    only(&analysis, FindingKind::SlowQuery, "SELECT a FROM t WHERE b LIKE ?");
    let f = &analysis.findings[0];
    assert_eq!((f.severity, f.confidence), (Severity::Critical, Confidence::High));
    assert_eq!(&*f.contributor.code, "src/dao.rs:17");
    assert!((f.evidence["share"] - 70.0 / 72.0).abs() < 1e-9, "{:?}", f.evidence);
    assert!((f.evidence["mean_ms"] - 70.0).abs() < 1e-9);
    assert!((f.impact.mean.as_millis_f64() - 70.0).abs() < 0.1, "{:?}", f.impact);
    assert!((f.impact.p95.as_millis_f64() - 70.0).abs() < 0.1, "{:?}", f.impact);
    assert!(!f.exemplars.is_empty());
}

#[test]
fn one_statement_from_two_places_is_one_problem() {
    let analysis = load(100, |n| {
        let mut r = Request::new(n, 60.0);
        r.query(2, (1.0, 21.0), "SELECT 1", 10);
        r.query(2, (30.0, 51.0), "SELECT 2", 20);
        r
    });
    only(&analysis, FindingKind::SlowQuery, "SELECT ?");
    assert!((analysis.findings[0].evidence["mean_ms"] - 41.0).abs() < 1e-9);
    assert_eq!(analysis.findings[0].evidence["calls_per_exchange"], 2.0);
    assert_eq!(&*analysis.findings[0].contributor.code, "src/dao.rs:20");
}

#[test]
fn the_same_statement_in_turn_is_a_series_and_at_once_it_is_none() {
    let series = |n| {
        let mut r = Request::new(n, 16.0);
        for i in 0..12 {
            let at = 1.0 + f64::from(i);
            // Each under a span of its own: no two are siblings.
            let item = r.span(2, SpanKind::Internal, "shop", "item", (at, at + 0.9), Vec::new());
            r.query(item, (at + 0.1, at + 0.8), "SELECT * FROM review WHERE product = $1", 3);
        }
        r
    };
    let analysis = load(60, series);
    only(&analysis, FindingKind::NPlusOneQuery, "SELECT * FROM review WHERE product = ?");
    let f = &analysis.findings[0];
    assert_eq!(f.evidence["calls_per_exchange"], 12.0);
    assert!((f.evidence["mean_ms"] - 8.4).abs() < 1e-6, "{:?}", f.evidence);
    // Eleven of twelve can go, and as much of the time between.
    assert!((f.evidence["between_ms"] - 3.3).abs() < 1e-6, "{:?}", f.evidence);
    assert!((f.impact.mean.as_millis_f64() - (8.4 + 3.3) * 11.0 / 12.0).abs() < 0.02, "{:?}", f.impact);
    healthy(&load(60, |n| {
        let mut r = Request::new(n, 16.0);
        (0..12).for_each(|_| {
            r.query(2, (1.0, 13.0), "SELECT * FROM review WHERE product = $1", 3);
        });
        r
    }));
}

#[test]
fn many_calls_to_a_traced_service_are_its_callers_problem() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 40.0);
        for i in 0..9 {
            let at = 1.0 + 4.0 * f64::from(i);
            let get =
                vec![("http.request.method", Value::Str("GET")), ("server.address", Value::Str("stock"))];
            let call = r.span(2, SpanKind::Client, "shop", "GET", (at, at + 3.9), get);
            r.span(call, SpanKind::Server, "stock", "GET /stock/{id}", (at + 0.2, at + 3.7), Vec::new());
        }
        r
    });
    only(&analysis, FindingKind::NPlusOneCall, "shop → stock GET /stock/{id}");
    assert_eq!(analysis.findings[0].evidence["calls_per_exchange"], 9.0);
    assert!(
        (analysis.findings[0].evidence["mean_ms"] - 35.1).abs() < 1e-6,
        "{:?}",
        analysis.findings[0].evidence
    );
}

#[test]
fn many_calls_are_judged_without_what_their_caller_waits_beside_them() {
    let analysis = |waits: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, waits + 40.0);
            if waits > 0.0 {
                r.span(2, SpanKind::Internal, "shop", "pool acquire", (0.5, 0.5 + waits), Vec::new());
            }
            for i in 0..9 {
                let at = waits + 1.0 + 4.0 * f64::from(i);
                let get =
                    vec![("http.request.method", Value::Str("GET")), ("server.address", Value::Str("stock"))];
                let call = r.span(2, SpanKind::Client, "shop", "GET", (at, at + 2.0), get);
                r.span(call, SpanKind::Server, "stock", "GET /stock/{id}", (at + 0.2, at + 1.8), Vec::new());
            }
            r
        })
    };
    let calls = "shop → stock GET /stock/{id}";
    only(&analysis(0.0), FindingKind::NPlusOneCall, calls);
    let found = kinds(&analysis(120.0));
    let told = |kind, name: &str| found.iter().any(|f| *f == (kind, name.to_owned()));
    assert!(
        told(FindingKind::PoolWait, "pool acquire") && told(FindingKind::NPlusOneCall, calls),
        "{found:?}"
    );
}

#[test]
fn waiting_is_named_by_what_is_waited_for() {
    let waiting = |name: &'static str| {
        load(60, move |n| {
            let mut r = Request::new(n, 50.0);
            r.span(2, SpanKind::Internal, "shop", name, (1.0, 45.0), Vec::new());
            r
        })
    };
    only(&waiting("pool acquire"), FindingKind::PoolWait, "pool acquire");
    only(&waiting("acquire lock"), FindingKind::LockContention, "acquire lock");
    only(&waiting("retry backoff"), FindingKind::RateLimited, "retry backoff");
}

#[test]
fn a_slow_statement_is_the_cause_of_its_pools_wait() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 150.0);
        r.span(2, SpanKind::Internal, "shop", "pool acquire", (1.0, 81.0), Vec::new());
        r.query(2, (81.0, 141.0), "SELECT 1", 1);
        r
    });
    only(&analysis, FindingKind::SlowQuery, "SELECT ?");
    assert!((analysis.findings[0].evidence["pool_wait_ms"] - 80.0).abs() < 1e-6);
}

#[test]
fn a_limited_peer_makes_the_request_wait() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 1_100.0);
        r.call((1.0, 31.0), 429, 0);
        r.call((1_031.0, 1_061.0), 201, 1);
        r
    });
    only(&analysis, FindingKind::RateLimited, "retry wait: POST pay.example/charge");
    let slow = load(60, |n| {
        let mut r = Request::new(n, 420.0);
        r.call((1.0, 401.0), 201, 0);
        r
    });
    only(&slow, FindingKind::SlowExternal, "POST pay.example/charge");
}

#[test]
fn the_clients_side_has_problems_too() {
    let large = load(60, |n| {
        let mut r = Request::new(n, 100.0);
        r.exchange.phases.first_byte = Some(Timestamp(r.base + 20 * MS));
        r.spans[0].end = r.base + 19 * MS;
        r.exchange.bytes_received = 5_000_000;
        r
    });
    only(&large, FindingKind::LargePayload, "answer body");
    assert_eq!(large.findings[0].evidence["answer_bytes"], 5e6);
    // The same answers: texts that nobody compressed though that was offered, for so many of ten; the rest is compressed.
    let texts = |plain: u64, last_byte: u64| {
        load(60, move |n| {
            let mut r = Request::new(n, (20 * MS + last_byte) as f64 / 1e6);
            r.exchange.phases.first_byte = Some(Timestamp(r.base + 20 * MS));
            r.spans[0].end = r.base + 19 * MS;
            r.exchange.bytes_received = 5_000_000;
            r.exchange.bytes_decoded = Some(if n % 10 < plain { 5_000_000 } else { 40_000_000 });
            r
        })
    };
    let plain = texts(10, 80 * MS);
    only(&plain, FindingKind::Uncompressed, "answer body");
    assert_eq!(plain.findings[0].evidence["uncompressed_share"], 1.0);
    assert_eq!(plain.steps[0].bytes_decoded, 0);
    only(&texts(5, 80 * MS), FindingKind::Uncompressed, "answer body");
    only(&texts(4, 80 * MS), FindingKind::LargePayload, "answer body");
    // Read in no time: compressing them would cost more.
    healthy(&texts(10, 2 * MS));
    // A large answer is one beside whatever else is slow, as far as carrying it is a part of the latency.
    let beside_a_statement = |last_byte: u64| {
        load(60, move |n| {
            let mut r = Request::new(n, (100 * MS + last_byte) as f64 / 1e6);
            r.exchange.phases.first_byte = Some(Timestamp(r.base + 100 * MS));
            r.query(2, (1.0, 95.0), "SELECT 1", 1);
            r.spans[0].end = r.base + 99 * MS;
            r.exchange.bytes_received = 5_000_000;
            r
        })
    };
    let both = [FindingKind::SlowQuery, FindingKind::LargePayload];
    assert_eq!(kinds(&beside_a_statement(10 * MS)).iter().map(|f| f.0).collect::<Vec<_>>(), both);
    only(&beside_a_statement(4 * MS), FindingKind::SlowQuery, "SELECT ?");
    let held_back = load(60, |n| {
        let mut r = Request::new(n, 100.0);
        r.exchange.phases.first_byte = Some(Timestamp(r.base + 20 * MS));
        r.spans[0].end = r.base + 19 * MS;
        r
    });
    only(&held_back, FindingKind::SlowNetwork, "answer body");
    let churn = load(60, |n| {
        let mut r = Request::new(n, 60.0);
        r.exchange.phases.connected = Some(Timestamp(r.base + 20 * MS));
        r.exchange.phases.tls_done = Some(Timestamp(r.base + 45 * MS));
        r.exchange.phases.sent = Some(Timestamp(r.base + 46 * MS));
        r.spans[0].start = r.base + 47 * MS;
        r
    });
    only(&churn, FindingKind::ConnectionChurn, "opening connections");
    let network = load(60, |n| {
        let mut r = Request::new(n, 100.0);
        r.spans[0].start = r.base + 70 * MS;
        r
    });
    only(&network, FindingKind::SlowNetwork, "client → shop");
    only(&load(60, |n| Request::new(n, 100.0)), FindingKind::AppCpu, "GET /");
}

#[test]
fn what_only_the_slow_requests_have_is_found_in_the_tail() {
    // One in 20 loads for 400 ms; its share of the mean is small beside the 100 ms of database that all have.
    let analysis = load(600, |n| {
        let cold = n % 20 == 0;
        let mut r = Request::new(n, if cold { 415.0 } else { 15.0 });
        if cold {
            r.span(2, SpanKind::Internal, "shop", "load catalogue", (5.0, 405.0), Vec::new());
        }
        r
    });
    let found = kinds(&analysis);
    assert_eq!(found[0], (FindingKind::ColdStart, "load catalogue".to_owned()), "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    let f = &analysis.findings[0];
    assert!((f.evidence["tail_excess_ms"] - f.evidence["tail_gap_ms"]).abs() < 1.0, "{:?}", f.evidence);
    assert!(f.impact.p99 > Nanos::from_millis(390), "{:?}", f.impact);
}

/// Every third request runs a statement of so many milliseconds, the others one of half a millisecond.
fn mixed(slow: impl Fn(u64) -> f64) -> Analysis {
    let run = run(2);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests: Vec<Request> = (0..300)
        .map(|n| {
            let search = n % 3 == 0;
            let took = if search { slow(n / 3) } else { 0.5 };
            let mut r = Request::new(n, took + 2.0);
            r.exchange.step = StepId(u16::from(search));
            r.query(
                2,
                (1.0, 1.0 + took),
                if search { "SELECT a FROM t WHERE c = $1" } else { "SELECT b FROM u WHERE c = $1" },
                1,
            );
            r
        })
        .collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

#[test]
fn a_statement_that_is_slow_for_its_database() {
    let analysis = mixed(|_| 6.0);
    only(&analysis, FindingKind::SlowQuery, "SELECT a FROM t WHERE c = ?");
    let f = &analysis.findings[0];
    assert_eq!((f.step, f.severity), (StepId(1), Severity::Warning));
    assert!(
        (f.evidence["call_p50_ms"] / f.evidence["other_calls_p50_ms"] - 12.0).abs() < 0.1,
        "{:?}",
        f.evidence
    );
    // Eight times as long as the others is a matter of what is asked.
    assert_eq!(kinds(&mixed(|_| 4.0)), []);
}

#[test]
fn a_statement_that_is_quick_at_best_is_no_outlier() {
    // As slow as the one above for most, but one of five is no problem: the others wait for a core, which all calls do.
    let one_of_five = |quick: f64| move |n: u64| if n.is_multiple_of(5) { quick } else { 7.0 };
    assert_eq!(kinds(&mixed(one_of_five(2.0))), []);
    only(&mixed(one_of_five(4.0)), FindingKind::SlowQuery, "SELECT a FROM t WHERE c = ?");
}

#[test]
fn warming_up_is_no_problem() {
    healthy(&load(300, |n| {
        let mut r = Request::new(n, if n < 30 { 415.0 } else { 15.0 });
        if n < 30 {
            r.span(2, SpanKind::Internal, "shop", "load catalogue", (5.0, 405.0), Vec::new());
        }
        r
    }));
}

#[test]
fn verdicts_in_order_of_what_matters_first() {
    assert_eq!(load(0, |n| Request::new(n, 1.0)).verdict, Verdict::NoData);
    let late = load(60, |n| {
        let mut r = Request::new(n, 50.0);
        r.exchange.phases.start = Timestamp(r.base + 10 * MS);
        r.exchange.phases.sent = Some(r.exchange.phases.start);
        r.spans[0].start = r.base + 11 * MS;
        r
    });
    assert_eq!(late.verdict, Verdict::GeneratorBound(0.2));
    assert!(late.notes.contains(&Note::GeneratorLate { share: 0.2 }), "{:?}", late.notes);

    let refused = load(60, |n| {
        let mut r = Request::new(n, 5.0);
        if n % 3 > 0 {
            let failure = Failure { class: FailureClass::ConnectRefused, message: "refused".into() };
            r.exchange.outcome = Outcome::Failed { failure, status: None };
            r.spans.clear();
        }
        r
    });
    let want = Verdict::Failing { step: StepId(0), class: Some(FailureClass::ConnectRefused), status: None };
    assert_eq!(refused.verdict, want);
    let broken = |every: u64| {
        load(60, move |n| {
            let mut r = Request::new(n, 5.0);
            if n % every == 0 {
                r.exchange.outcome = Outcome::Answered(500);
                r.exchange.checks_failed.push(CheckFailure { check: "status".into(), seen: "500".into() });
            }
            r
        })
    };
    assert_eq!(broken(1).verdict, Verdict::Failing { step: StepId(0), class: None, status: Some(500) });
    assert_eq!(broken(5).verdict, Verdict::Failing { step: StepId(0), class: None, status: Some(500) });
    assert_eq!(broken(20).verdict, Verdict::Healthy { step: StepId(0) });

    let untraced = load(60, |n| {
        let mut r = Request::new(n, 50.0);
        r.spans.clear();
        r
    });
    assert_eq!(untraced.verdict, Verdict::Untraced { step: StepId(0) });
    assert_eq!(untraced.notes, [Note::LowCoverage { joined: 0, traced: 60 }]);
    assert_eq!(untraced.steps[0].categories.get(Category::Untraced), Nanos(60 * 50 * MS));
}

#[test]
fn bands_calls_exemplars_and_operations() {
    let analysis = load(1000, |n| {
        // 1..=1000 ms, in no order.
        let ms = ((n * 7) % 1000 + 1) as f64;
        let mut r = Request::new(n, ms + 1.0);
        let outer = r.query(2, (0.2, 0.8), "SELECT 1", 1);
        r.query(outer, (0.3, 0.7), "SELECT 1", 1);
        r
    });
    let step = &analysis.steps[0];
    let n = |b: Band| step.bands[b as usize].exchanges;
    assert_eq!([n(Band::Typical), n(Band::Above), n(Band::Slow), n(Band::Worst)], [500, 400, 90, 10]);
    assert_eq!((step.exchanges, step.joined, step.errors), (1000, 1000, 0));
    // Two layers of instrumentation, one call.
    let query = step.contributors.iter().find(|c| c.contributor.category == Category::Database).unwrap();
    assert_eq!((query.calls, query.exchanges, query.total), (1000, 1000, Nanos(1000 * 600_000)));
    assert_eq!(query.call_duration.len(), 1000);
    assert_eq!(query.without.mean().0, step.latency.mean().0 - 600_000);
    let roles: Vec<(ExemplarRole, u64)> = step.exemplars.iter().map(|e| (e.role, e.latency.0 / MS)).collect();
    assert_eq!(roles, [(ExemplarRole::Typical, 501), (ExemplarRole::Slow, 951), (ExemplarRole::Worst, 1001)]);
    let ops: Vec<(&str, u64, u64)> =
        analysis.operations.iter().map(|o| (&*o.name, o.calls, o.exchanges)).collect();
    assert_eq!(ops, [("GET /", 1000, 1000), ("SELECT", 2000, 1000)]);
    assert_eq!(analysis.telemetry.services.get("shop"), Some(&3000));
}

#[test]
fn what_came_in_is_counted() {
    let run = run(1);
    let mut r = Request::new(1, 10.0);
    r.query(77, (1.0, 2.0), "SELECT 1", 1);
    let mut foreign = r.spans[0].clone();
    foreign.trace = trace(99);
    let mut own = r.spans[0].clone();
    (own.id, own.parent, own.kind) = (1, 0, SpanKind::Client);
    let mut backwards = r.spans[0].clone();
    (backwards.id, backwards.parent) = (50, 2);
    std::mem::swap(&mut backwards.start, &mut backwards.end);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    analyzer.exchange(&r.exchange);
    assert!(analyzer.wants(&trace(1)) && !analyzer.wants(&trace(99)));
    for span in r.spans.iter().chain([&foreign, &own, &backwards, &r.spans[0]]) {
        span.lend(|s| analyzer.span(s));
    }
    let analysis = analyzer.finish().into_analysis(&run);
    let t = &analysis.telemetry;
    assert_eq!((t.spans, t.spans_foreign, t.duplicates, t.orphans), (5, 1, 1, 1));
    let want = [Note::Orphans(1), Note::Duplicates(1), Note::Foreign(1), Note::NegativeDuration(1)];
    assert_eq!(analysis.notes, want);
}

#[test]
fn sampling_and_skew_are_noted() {
    let run = run(1);
    let mut r = Request::new(1, 10.0);
    (r.spans[0].start, r.spans[0].end) = (r.spans[0].start + 5_000 * MS, r.spans[0].end + 5_000 * MS);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    analyzer.exchange(&r.exchange);
    r.spans[0].lend(|s| analyzer.span(&crate::record::Span { trace_state: "ot=th:c", ..*s }));
    let analysis = analyzer.finish().into_analysis(&run);
    let skew = analysis.telemetry.clock_skew_max;
    assert_eq!(skew, Nanos(5_000 * MS));
    assert_eq!(
        analysis.notes,
        [Note::ClockSkew { spans: 1, max: skew }, Note::Sampling { known: 1, unknown: 0 }]
    );
}

/// A request that is answered after 100 ms, taken in after `from` ms, and ended by the service after `to`.
fn ends_late(target: &str, host: &str, (from, to): (f64, f64)) -> Analysis {
    let run = crate::record::Run { target: target.to_owned(), ..run(1) };
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for n in 0..100 {
        let mut r = Request::new(n, 100.0);
        r.query(2, (0.0, 0.0), "SELECT name FROM film WHERE id = ?", 1);
        let base = r.base;
        for (span, at) in r.spans.iter_mut().zip([(from, to), (from + 1.0, from + 3.0)]) {
            let moment = |ms: f64| base.saturating_add_signed((ms * 1e6) as i64);
            (span.start, span.end, span.host) = (moment(at.0), moment(at.1), host.to_owned());
        }
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis(&run)
}

#[test]
fn work_after_the_answer_is_no_other_clock() {
    for (target, host, at, moved) in [
        // Most of it is after the answer; or it waits long to be taken in, and ends late.
        ("http://127.0.0.1:8000", "", (60.0, 158.0), 0),
        ("http://localhost", "container-1", (80.0, 175.0), 0),
        // Longer than the request: never a clock's.
        ("http://127.0.0.1:8000", "", (1.0, 400.0), 0),
        // Another machine may have another clock.
        ("http://shop.example", "web-1", (60.0, 158.0), 100),
        // It cannot have begun before it was asked for, nor after the answer.
        ("http://127.0.0.1:8000", "", (-300.0, -210.0), 100),
        ("http://127.0.0.1:8000", "", (-40.0, 50.0), 100),
        ("http://127.0.0.1:8000", "", (400.0, 490.0), 100),
    ] {
        let analysis = ends_late(target, host, at);
        let telemetry = &analysis.telemetry;
        assert_eq!(telemetry.shifted, moved, "{target} {host} {at:?} {:?}", telemetry.clock_skew_max);
        let skewed = analysis.findings.iter().any(|f| f.kind == FindingKind::ClockSkew);
        assert_eq!(skewed, telemetry.clock_skew_max >= Nanos(100 * MS), "{at:?}");
    }
    // What it did before the answer keeps its place: 60 ms until it was taken in, and 40 of its own work and statement.
    let analysis = ends_late("http://127.0.0.1:8000", "", (60.0, 158.0));
    let categories = &analysis.steps[0].categories;
    let total = |category| categories.get(category).0 / (100 * MS);
    assert_eq!((total(Category::Network), total(Category::App), total(Category::Database)), (60, 38, 2));
}

#[test]
fn what_a_service_does_for_a_client_that_gave_up_is_no_other_clock() {
    let gave_up = |target: &str| {
        let run = crate::record::Run { target: target.to_owned(), ..run(1) };
        let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
        for n in 0..100 {
            let mut r = Request::new(n, 100.0);
            for at in [10.0, 60.0, 120.0, 900.0] {
                r.query(2, (at, at + 20.0), "SELECT name FROM film WHERE id = ?", 1);
            }
            // The span of the request itself ends too late to be there.
            r.spans.remove(0);
            analyzer.exchange(&r.exchange);
            r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
        }
        analyzer.finish().into_analysis(&run)
    };
    let analysis = gave_up("http://127.0.0.1:8000");
    assert_eq!(analysis.telemetry.shifted, 0);
    assert_eq!(analysis.steps[0].categories.get(Category::Database).0 / (100 * MS), 40);
    // Those of another machine may have another clock.
    assert_eq!(gave_up("http://shop.example").telemetry.shifted, 200);
}

#[test]
fn why_requests_failed_is_told_by_the_innermost_span() {
    const LOCKED: &str = "OperationalError: database is locked";
    let fails = |r: &mut Request| {
        r.exchange.outcome = Outcome::Answered(500);
        r.exchange.checks_failed.push(CheckFailure { check: "status".into(), seen: "500".into() });
    };
    let says = |r: &mut Request, span: u64, message: &'static str| {
        let span = r.spans.iter_mut().find(|s| s.id == span).unwrap();
        (span.failed, span.message) = (true, message);
    };
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 20.0);
        let view = r.span(2, SpanKind::Internal, "shop", "view", (1.0, 19.0), vec![]);
        let first = r.query(view, (2.0, 4.0), "SELECT a FROM t WHERE b = ?", 1);
        let write = r.query(view, (5.0, 9.0), "UPDATE t SET a = ?", 2);
        match n % 4 {
            // Said by all that it passes; nothing in between does.
            0 => {
                fails(&mut r);
                says(&mut r, 2, LOCKED);
                says(&mut r, write, LOCKED);
            }
            // The statement's failure was dealt with.
            1 => {
                fails(&mut r);
                says(&mut r, 2, "KeyError: 'stock'");
                says(&mut r, first, LOCKED);
            }
            // So was this, and the request went well.
            2 => says(&mut r, write, LOCKED),
            _ => {}
        }
        r
    });
    let told: Vec<(&str, &str, u64)> =
        analysis.steps[0].reasons.iter().map(|r| (&*r.contributor.name, &*r.words, r.exchanges)).collect();
    assert_eq!(told, [("GET /", "KeyError: ?", 15), ("UPDATE t SET a = ?", LOCKED, 15)]);
}
