//! Made-up results for tests. They are added up from single exchanges, so that they obey the conservation law as real
//! ones do: categories, contributors and bands sum to the latency to the nanosecond.

use super::{Actual, Report, ThresholdResult, Unit};
use crate::analysis::result::*;
use crate::record::*;
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A report's parts.
pub struct Sample {
    pub name: &'static str,
    pub run: Run,
    pub analysis: Analysis,
    pub thresholds: Vec<ThresholdResult>,
}

impl Sample {
    pub fn report(&self) -> Report<'_> {
        Report { run: &self.run, analysis: &self.analysis, thresholds: &self.thresholds }
    }
}

/// Numbers that look random and are the same everywhere (Knuth's MMIX generator).
pub struct Lcg(pub u64);

impl Lcg {
    /// 0..1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub fn contributor(category: Category, service: &str, system: &str, name: &str, code: &str) -> Contributor {
    let text = |t: &str| Arc::<str>::from(t);
    Contributor { category, service: text(service), system: text(system), name: text(name), code: text(code) }
}

/// One part of every exchange of a step: its owner, calls per exchange, and typical, spread and tail milliseconds.
pub struct Owned {
    pub contributor: Contributor,
    pub calls: u64,
    pub base_ms: f64,
    pub spread_ms: f64,
    /// Added in the slowest tenth.
    pub tail_ms: f64,
}

pub fn owned(contributor: Contributor, calls: u64, base_ms: f64, spread_ms: f64, tail_ms: f64) -> Owned {
    Owned { contributor, calls, base_ms, spread_ms, tail_ms }
}

/// Adds a step up from `n` exchanges.
pub fn step(id: u16, n: u64, joined: u64, parts: &[Owned]) -> StepResult {
    let mut random = Lcg(u64::from(id) * 77 + 5);
    let exchanges: Vec<Vec<u64>> = (0..n)
        .map(|i| {
            let luck = random.next();
            let tail = if i % 10 == 9 { 0.5 + random.next() } else { 0.0 };
            parts.iter().map(|p| ((p.base_ms + p.spread_ms * luck + p.tail_ms * tail) * 1e6) as u64).collect()
        })
        .collect();
    let mut latency = Histogram::new();
    exchanges.iter().for_each(|e| latency.record(Nanos(e.iter().sum())));
    let bounds = [0.5, 0.9, 0.99].map(|q| latency.quantile(q));
    let mut result = StepResult {
        step: StepId(id),
        exchanges: n,
        errors: 0,
        checks_failed: 0,
        checked: n,
        bytes_received: 0,
        bytes_decoded: 0,
        joined,
        joined_weight: joined,
        service_time: latency.clone(),
        latency_sum: Nanos(exchanges.iter().flatten().sum()),
        bands: Default::default(),
        categories: ByCategory::default(),
        contributors: Vec::new(),
        statuses: BTreeMap::from([(200, n)]),
        failures: BTreeMap::new(),
        checks: BTreeMap::new(),
        reasons: Vec::new(),
        exemplars: Vec::new(),
        shapes: Vec::new(),
        associations: Vec::new(),
        messages: None,
        latency,
    };
    let band_of = |e: &[u64]| {
        let sum = Nanos(e.iter().sum());
        bounds.iter().position(|b| sum <= *b).unwrap_or(3)
    };
    for (i, part) in parts.iter().enumerate() {
        let mut owner = ContributorResult {
            contributor: part.contributor.clone(),
            calls: part.calls * joined,
            exchanges: n,
            total: Nanos::ZERO,
            bands: [Nanos::ZERO; 4],
            call_duration: Histogram::new(),
            without: Histogram::new(),
        };
        for e in &exchanges {
            let (time, band) = (Nanos(e[i]), band_of(e));
            owner.total += time;
            owner.bands[band] += time;
            owner.without.record(Nanos(e.iter().sum::<u64>() - e[i]));
            (0..part.calls).for_each(|_| owner.call_duration.record(Nanos(e[i] / part.calls.max(1))));
            result.categories.add(part.contributor.category, time);
            result.bands[band].categories.add(part.contributor.category, time);
        }
        result.contributors.push(owner);
    }
    for e in &exchanges {
        let band = &mut result.bands[band_of(e)];
        band.exchanges += 1;
        band.latency_sum += Nanos(e.iter().sum());
    }
    result.contributors.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.contributor.cmp(&b.contributor)));
    if n > 0 {
        let at = |i: u8| {
            TraceId([
                0x40 + u8::try_from(id).unwrap(),
                i,
                0x2f,
                0x35,
                0x77,
                0xb3,
                0x4d,
                0xa6,
                0xa3,
                0xce,
                0x92,
                0x9d,
                0x0e,
                0x0e,
                0x47,
                i,
            ])
        };
        let picks = [(ExemplarRole::Typical, 0.5), (ExemplarRole::Slow, 0.95), (ExemplarRole::Worst, 1.0)];
        result.exemplars = picks
            .into_iter()
            .zip(1..)
            .map(|((role, q), i)| Exemplar {
                role,
                trace_id: at(i),
                latency: result.latency.quantile(q),
                at: STARTED + Nanos::from_millis(u64::from(i) * 4_321),
                joined: joined > 0,
            })
            .collect();
    }
    result
}

pub const STARTED: Timestamp = Timestamp(1_795_532_592_250_000_000);

pub fn run(name: &str, steps: &[(&str, &str)]) -> Run {
    Run {
        id: format!("2026-11-24T15-03-12Z-{name}"),
        name: name.to_owned(),
        started_at: STARTED,
        ended_at: Some(STARTED + Nanos::from_millis(30_412)),
        state: RunState::Complete,
        target: "http://127.0.0.1:8080".to_owned(),
        hotspan_version: "0.1.0".to_owned(),
        git_commit: Some("7a41f0c9d2".to_owned()),
        host: Host { name: "bench".into(), os: "Linux 6.8".into(), cpu: "x86-64".into(), cores: 2 },
        scenario: String::new(),
        steps: steps
            .iter()
            .map(|(journey, name)| StepInfo {
                journey: (*journey).to_owned(),
                name: (*name).to_owned(),
                method: "GET".to_owned(),
                template: "/".to_owned(),
                checks: Vec::new(),
            })
            .collect(),
        load: LoadFacts {
            open_model: false,
            planned: Nanos::from_millis(30_000),
            offered: 12_040,
            sent: 12_040,
            not_sent: 0,
            users_max: 20,
            cached: 0,
            iterations: 4_013,
            cpu: Nanos::from_millis(3_900),
            threads: 2,
            late: 12,
            changes: Vec::new(),
            search: None,
            propagation: Propagation::default(),
            trace_stretch: None,
            trace_cost: None,
            generator: (1..=3).map(look).collect(),
        },
        receiver: ReceiverFacts {
            requests: 410,
            spans_received: 361_203,
            spans_stored: 361_203,
            ..ReceiverFacts::default()
        },
        export: ExportFacts::default(),
        sources: Default::default(),
        wait: Some(WaitFacts {
            waited: Nanos::from_millis(2_130),
            end: WaitEnd::Complete,
            joined: 12_040,
            traced: 12_040,
        }),
        warnings: Vec::new(),
    }
}

/// A second of a generator with room to spare.
fn look(second: u64) -> GeneratorSample {
    GeneratorSample {
        at: Nanos::from_millis(1_000 * second),
        span: Nanos::from_millis(1_000),
        cpu_cores: 0.13,
        busiest_thread: 0.07,
        run_delay: 0.01,
        lag: Nanos(180_000 + second * 1_000),
        open_files: 41,
        time_wait: 3,
        ports_left: Some(28_000),
        memory: 24_000_000,
        in_flight: 20,
        done: 401,
        late: 0,
        not_sent: 0,
        service: None,
    }
}

pub fn analysis(steps: Vec<StepResult>, findings: Vec<Finding>, verdict: Verdict) -> Analysis {
    let mut categories = ByCategory::default();
    steps.iter().for_each(|s| categories.merge(&s.categories));
    let exchanges: u64 = steps.iter().map(|s| s.exchanges).sum();
    let joined: u64 = steps.iter().map(|s| s.joined).sum();
    let server: u64 = categories.total().0 - categories.get(Category::Untraced).0;
    let mut schedule_delay = Histogram::new();
    // One for each exchange: the rate that was sent is counted by them.
    (1..=100).for_each(|i| schedule_delay.record_n(Nanos(i * 3_000), exchanges / 100));
    schedule_delay.record_n(Nanos(3_000), exchanges % 100);
    Analysis {
        telemetry: Telemetry {
            exchanges,
            traced: exchanges,
            joined,
            spans: 361_203,
            covered: Nanos(server / 100 * 97),
            coverable: Nanos(server),
            services: BTreeMap::from([(Arc::from("shop"), 337_120), (Arc::from("inventory"), 24_083)]),
            ..Telemetry::default()
        },
        load: LoadResult { duration: Nanos::from_millis(30_021), schedule_delay },
        steps,
        categories,
        services: BTreeMap::new(),
        timeline: Default::default(),
        ways: Vec::new(),
        pictures: Default::default(),
        saturation: Default::default(),
        what_if: Vec::new(),
        operations: vec![
            operation("shop", "GET /products", SpanKind::Server),
            operation("inventory", "GET /stock/{id}", SpanKind::Server),
        ],
        findings,
        verdict,
        notes: Vec::new(),
    }
}

fn operation(service: &str, name: &str, kind: SpanKind) -> Operation {
    let mut duration = Histogram::new();
    (1..=500).for_each(|i| duration.record(Nanos(i * 210_000)));
    Operation {
        service: Arc::from(service),
        name: Arc::from(name),
        kind,
        category: Category::App,
        calls: 500,
        errors: 2,
        exchanges: 480,
        own: Nanos(duration.sum() as u64),
        own_each: duration.clone(),
        duration,
    }
}

pub fn finding(kind: FindingKind, step: &StepResult, contributor: &Contributor) -> Finding {
    let owner = step.contributors.iter().find(|c| c.contributor == *contributor).unwrap();
    let saved = |q| Nanos(step.latency.quantile(q).0.saturating_sub(owner.without.quantile(q).0));
    Finding {
        kind,
        severity: Severity::Critical,
        step: step.step,
        contributor: contributor.clone(),
        evidence: BTreeMap::from([
            ("calls_per_exchange", owner.calls as f64 / step.joined.max(1) as f64),
            ("share", owner.total.0 as f64 / step.latency_sum.0 as f64),
            ("mean_ms", owner.total.as_millis_f64() / step.exchanges as f64),
        ]),
        impact: Impact {
            mean: Nanos(step.latency.mean().0 - owner.without.mean().0),
            p95: saved(0.95),
            p99: saved(0.99),
        },
        confidence: Confidence::High,
        exemplars: step.exemplars.iter().map(|e| e.trace_id).collect(),
        related: Vec::new(),
        remedy: "".into(),
        holders: Vec::new(),
    }
}

pub fn network(service: &str, name: &str) -> Contributor {
    contributor(Category::Network, service, "", name, "")
}

pub fn review_query() -> Contributor {
    let sql = "SELECT id, author, stars, body FROM review WHERE product_id = ?";
    contributor(Category::Database, "shop", "sqlite", sql, "src/reviews.rs:41")
}

/// Three steps of a shop, one of them with a query for each product.
fn shop_steps() -> Vec<StepResult> {
    let list = contributor(
        Category::Database,
        "shop",
        "sqlite",
        "SELECT id, name, price FROM product ORDER BY name LIMIT ? OFFSET ?",
        "",
    );
    let app = |name: &str| contributor(Category::App, "shop", "http", name, "");
    let products = [
        owned(review_query(), 26, 52.0, 24.0, 62.0),
        owned(list, 1, 6.1, 2.0, 3.0),
        owned(app("GET /products"), 1, 9.0, 3.0, 14.0),
        owned(contributor(Category::App, "shop", "", "render", ""), 1, 4.4, 1.0, 0.2),
        owned(contributor(Category::Queue, "shop", "sqlite", "pool acquire", ""), 1, 0.4, 0.4, 6.0),
        owned(network("", "client → shop"), 0, 1.1, 0.6, 1.5),
        owned(contributor(Category::Transfer, "", "", "", ""), 0, 0.3, 0.2, 0.1),
        owned(contributor(Category::Cache, "shop", "redis", "GET session:*", ""), 1, 0.2, 0.1, 0.0),
    ];
    let search = [
        owned(app("GET /search"), 1, 5.0, 3.0, 2.0),
        owned(
            contributor(Category::Database, "shop", "sqlite", "SELECT … FROM product WHERE name LIKE ?", ""),
            1,
            3.0,
            1.0,
            2.0,
        ),
        owned(network("", "client → shop"), 0, 0.4, 0.3, 0.5),
    ];
    let checkout = [
        owned(
            contributor(Category::External, "shop", "http", "POST payments.local/charge", ""),
            1,
            24.0,
            10.0,
            20.0,
        ),
        owned(app("POST /checkout"), 1, 4.0, 2.0, 1.0),
        owned(network("shop", "shop → inventory"), 1, 0.8, 0.2, 0.5),
        owned(contributor(Category::App, "inventory", "http", "POST /reserve", ""), 1, 1.6, 0.5, 0.2),
    ];
    vec![step(0, 4_012, 4_012, &products), step(1, 6_015, 6_015, &search), step(2, 2_013, 2_013, &checkout)]
}

const SHOP: [(&str, &str); 3] =
    [("browse", "GET /products"), ("browse", "GET /search"), ("buy", "POST /checkout")];

/// The demo: one query for each product.
pub fn bottleneck() -> Sample {
    let steps = shop_steps();
    let findings = vec![finding(FindingKind::NPlusOneQuery, &steps[0], &review_query())];
    let analysis = analysis(steps, findings, Verdict::Bottleneck(0));
    Sample { name: "bottleneck", run: run("demo-shop", &SHOP), analysis, thresholds: Vec::new() }
}

/// Nothing stands out.
pub fn healthy() -> Sample {
    let app = |name: &str| contributor(Category::App, "shop", "http", name, "");
    let parts = |name: &str, ms: f64| {
        vec![
            owned(app(name), 1, ms, ms / 3.0, ms / 4.0),
            owned(
                contributor(Category::Database, "shop", "sqlite", "SELECT product WHERE id = ?", ""),
                1,
                ms,
                ms / 2.0,
                0.1,
            ),
            owned(network("", "client → shop"), 0, 0.3, 0.2, 0.4),
        ]
    };
    let steps = vec![
        step(0, 4_012, 4_012, &parts("GET /products", 2.0)),
        step(1, 6_015, 6_015, &parts("GET /search", 4.5)),
        step(2, 2_013, 2_013, &parts("POST /checkout", 3.0)),
    ];
    let thresholds = vec![
        threshold("latency.p95 < 300ms", Some((14.2, Unit::Milliseconds)), true),
        threshold("error_rate < 0.1%", Some((0.0, Unit::Share)), true),
    ];
    let analysis = analysis(steps, Vec::new(), Verdict::Healthy { step: StepId(1) });
    Sample { name: "healthy", run: run("shop", &SHOP), analysis, thresholds }
}

pub fn threshold(expression: &str, actual: Option<(f64, Unit)>, passed: bool) -> ThresholdResult {
    let actual = actual.map(|(value, unit)| Actual { value, unit });
    ThresholdResult { expression: expression.to_owned(), actual, passed, detail: None, code: None }
}

/// No span came.
pub fn untraced() -> Sample {
    let waiting = contributor(Category::Untraced, "", "", "", "");
    let steps = vec![step(
        0,
        900,
        0,
        &[
            owned(waiting, 0, 80.0, 40.0, 100.0),
            owned(contributor(Category::Connection, "", "", "connect", ""), 0, 0.2, 0.1, 0.1),
            owned(contributor(Category::Transfer, "", "", "", ""), 0, 1.0, 0.5, 0.5),
        ],
    )];
    let mut analysis = analysis(steps, Vec::new(), Verdict::Untraced { step: StepId(0) });
    analysis.telemetry = Telemetry { exchanges: 900, traced: 900, ..Telemetry::default() };
    analysis.notes = vec![Note::LowCoverage { joined: 0, traced: 900 }];
    let mut run = run("url", &[("url", "GET /")]);
    run.receiver = ReceiverFacts::default();
    run.wait =
        Some(WaitFacts { waited: Nanos::from_millis(5_000), end: WaitEnd::Quiet, joined: 0, traced: 900 });
    Sample { name: "untraced", run, analysis, thresholds: Vec::new() }
}

/// The generator could not keep up.
pub fn generator_bound() -> Sample {
    let app = contributor(Category::App, "shop", "http", "GET /", "");
    let late = contributor(Category::Generator, "", "", "", "");
    let steps =
        vec![step(0, 50_000, 50_000, &[owned(late, 0, 3.0, 8.0, 20.0), owned(app, 1, 1.0, 0.5, 0.5)])];
    let mut analysis = analysis(steps, Vec::new(), Verdict::GeneratorBound(0.81));
    analysis.notes = vec![Note::GeneratorLate { share: 0.81 }];
    let mut run = run("burst", &[("url", "GET /")]);
    run.load = LoadFacts {
        open_model: true,
        offered: 60_000,
        sent: 50_000,
        not_sent: 10_000,
        users_max: 4_000,
        cpu: Nanos::from_millis(58_000),
        ..run.load
    };
    Sample {
        name: "generator_bound",
        run,
        analysis,
        thresholds: vec![threshold("latency.p95 < 5ms", Some((31.0, Unit::Milliseconds)), false)],
    }
}

/// Most requests fail.
pub fn failing() -> Sample {
    let refused = contributor(Category::Connection, "", "", "connect", "");
    let mut failing = step(0, 1_200, 0, &[owned(refused, 0, 0.2, 0.1, 0.3)]);
    failing.errors = 1_188;
    failing.checks_failed = 12;
    failing.checked = 20;
    failing.statuses = BTreeMap::from([(200, 8), (503, 4)]);
    let message = Arc::from("Connection refused (os error 111)");
    failing.failures = BTreeMap::from([(FailureClass::ConnectRefused, (1_180, message))]);
    failing.checks = BTreeMap::from([
        (Arc::from("status"), (4, Arc::from("503"))),
        (Arc::from("json $.price > 0"), (8, Arc::from("-1"))),
    ]);
    failing.reasons = vec![Reason {
        contributor: contributor(
            Category::Database,
            "shop",
            "sqlite",
            "UPDATE stock SET left = ? WHERE id = ?",
            "",
        ),
        words: "sqlite3.OperationalError: database is locked".into(),
        exchanges: 4,
        trace_id: TraceId([0x4b; 16]),
    }];
    let verdict =
        Verdict::Failing { step: StepId(0), class: Some(FailureClass::ConnectRefused), status: None };
    let mut analysis = analysis(vec![failing], Vec::new(), verdict);
    analysis.telemetry = Telemetry { exchanges: 1_200, traced: 12, ..Telemetry::default() };
    let mut run = run("url", &[("url", "GET /")]);
    run.state = RunState::Aborted;
    run.warnings = vec!["The target stopped answering 2.1 s after the start; hotspan gave up.".to_owned()];
    Sample { name: "failing", run, analysis, thresholds: Vec::new() }
}

/// Nothing was sent.
pub fn no_data() -> Sample {
    let steps = vec![step(0, 0, 0, &[])];
    let mut analysis = analysis(steps, Vec::new(), Verdict::NoData);
    analysis.load = LoadResult::default();
    analysis.telemetry = Telemetry::default();
    analysis.operations.clear();
    let mut run = run("empty", &[("url", "GET /")]);
    run.load = LoadFacts::default();
    run.receiver = ReceiverFacts::default();
    run.wait = None;
    run.ended_at = None;
    run.state = RunState::Interrupted;
    let thresholds = vec![threshold("latency.p95 < 300ms", None, false)];
    Sample { name: "no_data", run, analysis, thresholds }
}

/// Every kind of finding, every note, every ledger with something in it.
pub fn everything() -> Sample {
    use FindingKind as K;
    let db = |system: &str, sql: &str| contributor(Category::Database, "shop", system, sql, "");
    let app = |name: &str, code: &str| contributor(Category::App, "shop", "", name, code);
    let out = |name: &str| contributor(Category::External, "shop", "http", name, "");
    let queue =
        |service: &str, system: &str, name: &str| contributor(Category::Queue, service, system, name, "");
    let client = |category, name: &str| contributor(category, "", "", name, "");
    let kinds = [
        (K::NPlusOneQuery, review_query()),
        (K::NPlusOneCall, out("GET stock.local/items/{id}")),
        (K::DuplicateQuery, db("postgresql", "SELECT * FROM setting")),
        (K::SlowQuery, db("postgresql", "SELECT product JOIN review GROUP BY product.id ORDER BY count")),
        (K::MissingIndex, db("postgresql", "SELECT * FROM search_term WHERE term = ?")),
        (K::ManyQueries, app("GET /report", "")),
        (K::SequentialCalls, app("GET /trip", "")),
        (K::SlowExternal, out("POST payments.local/charge")),
        (K::RateLimited, queue("shop", "http", "payments.local 429")),
        (K::RetryStorm, out("POST mail.local/send")),
        (K::Timeout, out("GET weather.local/now")),
        (K::PoolWait, queue("shop", "postgresql", "pool acquire")),
        (K::LockContention, db("postgresql", "UPDATE warehouse SET n = n - ? WHERE id = ?")),
        (K::Queueing, queue("worker", "", "time in queue")),
        (K::AppCpu, app("render", "src/page.rs:12")),
        (K::EventLoopBlocked, app("hash", "")),
        (K::GcPause, app("garbage collection", "")),
        (K::RuntimeSaturation, app("runtime", "")),
        (K::StaticByApp, app("compress static file", "")),
        (K::Uncached, db("postgresql", "SELECT count(*) FROM order_item")),
        (K::CacheMiss, contributor(Category::Cache, "shop", "redis", "GET page:?", "")),
        (K::ColdStart, app("load catalogue", "")),
        (K::LargePayload, client(Category::Transfer, "")),
        (K::Uncompressed, client(Category::Transfer, "answer body")),
        (K::SlowNetwork, network("shop", "shop → inventory")),
        (K::ConnectionChurn, client(Category::Connection, "connect")),
        (K::ErrorPath, client(Category::App, "HTTP 500")),
        (K::ChattyService, app("GET /dashboard", "")),
        (K::FanOut, app("GET /search", "")),
        (K::SlowInstance, app("GET /slow", "")),
        (K::ClockSkew, client(Category::Network, "clocks of hosts")),
        (K::IncompleteTraces, client(Category::Untraced, "missing spans")),
        (K::GeneratorBound, client(Category::Generator, "schedule delay")),
    ];
    let parts: Vec<Owned> = kinds
        .iter()
        .enumerate()
        .map(|(i, (_, c))| owned(c.clone(), i as u64 % 4, 3.0 + i as f64 * 2.5, 2.0, 9.0))
        .collect();
    let mut steps = vec![step(0, 300, 220, &parts), step(1, 40, 0, &parts[..3]), step(2, 0, 0, &[])];
    steps[0].errors = 3;
    steps[0].statuses = BTreeMap::from([(200, 297), (500, 3)]);
    let mut findings: Vec<Finding> = kinds.iter().map(|(kind, c)| finding(*kind, &steps[0], c)).collect();
    findings[0].related = vec![db("sqlite", "SELECT name FROM author WHERE id = ?")];
    findings[4].evidence.extend([("table_rows", 100_000.0), ("rows_found", 3.0)]);
    findings[4].remedy = "CREATE INDEX ON search_term (term)".into();
    findings[6].confidence = Confidence::Inferred(Doubt::TimingOnly);
    findings[12].confidence = Confidence::Inferred(Doubt::Spread);
    findings[13].confidence = Confidence::Inferred(Doubt::Varies);
    findings[21].confidence = Confidence::Inferred(Doubt::NameOnly);
    findings[14].confidence = Confidence::Inferred(Doubt::OwnTimeOnly);
    findings[22].confidence = Confidence::Inferred(Doubt::Minority);
    let pool = kinds.iter().position(|(kind, _)| *kind == K::PoolWait).unwrap_or_default();
    findings[pool].evidence.insert("connections_held", 4.8);
    findings[pool].holders = vec![
        Holder {
            page: app("GET /report", ""),
            held: 3.9,
            share: 0.8125,
            requests: 210,
            each_ms: 402.1,
            statements: 0.1,
            calls: 0.81,
            waits: 0.0,
            own: 0.09,
            statement: Some((db("postgresql", "SELECT title FROM book WHERE id = $1"), 0.08)),
            call: Some((out("GET api.partner.example/rates"), 0.81)),
        },
        Holder {
            page: app("GET /sums", ""),
            held: 0.9,
            share: 0.1875,
            requests: 90,
            each_ms: 120.4,
            statements: 0.98,
            calls: 0.0,
            waits: 0.0,
            own: 0.02,
            statement: Some((db("postgresql", "SELECT sum(cents) FROM orders"), 0.98)),
            call: None,
        },
    ];
    findings[29].remedy = "shop: shop-2".into();
    findings[1].severity = Severity::Warning;
    findings[1].confidence = Confidence::FewRequests(9);
    findings[2].severity = Severity::Info;
    findings[2].confidence = Confidence::PartlyTraced(430);
    findings[3].impact = Impact::default();
    findings[4].evidence.extend([("tail_excess_ms", 21.3), ("tail_gap_ms", 93.1), ("tail_share", 0.229)]);
    findings[0].evidence.extend([("call_mean_ms", 2.7), ("exchanges_share", 0.43), ("pool_wait_ms", 12.1)]);
    findings[2].evidence.extend([("call_p95_ms", 8.81), ("exchanges_share", 1.0)]);
    findings[8].evidence =
        BTreeMap::from([("answer_bytes", 1_812_004.0), ("transfer_share", 0.62), ("rate_per_s", 13.2)]);
    let mut analysis = analysis(steps, findings, Verdict::Bottleneck(0));
    analysis.telemetry.shifted = 12;
    analysis.telemetry.clock_skew_max = Nanos(4_210_000);
    analysis.notes = vec![
        Note::LowCoverage { joined: 220, traced: 340 },
        Note::Orphans(31_000),
        Note::Orphans(3),
        Note::Duplicates(1),
        Note::Foreign(52),
        Note::ClockSkew { spans: 12, max: Nanos(4_210_000) },
        Note::NegativeDuration(2),
        Note::Cycles(1),
        Note::GeneratorLate { share: 0.061 },
        Note::SdkDropped(17),
        Note::NotIdentifiable {
            step: StepId(0),
            others: 0,
            service: "shop".into(),
            place: Opaque::Service,
            share: 0.83,
        },
        Note::NotIdentifiable {
            step: StepId(0),
            others: 0,
            service: "shop".into(),
            place: Opaque::Outside,
            share: 0.61,
        },
        Note::Sampling { known: 100, unknown: 0 },
        Note::Sampling { known: 0, unknown: 7 },
    ];
    let mut run = run(
        "everything",
        &[("browse", "GET /products"), ("buy", "GET /products"), ("buy", "POST /checkout")],
    );
    run.load.open_model = true;
    run.load.not_sent = 40;
    run.receiver = ReceiverFacts {
        spans_dropped: 4,
        spans_rejected: 1,
        bad_requests: 2,
        forwarded: 900,
        forward_dropped: 100,
        ..run.receiver
    };
    run.export = ExportFacts {
        endpoint: Some("http://127.0.0.1:14317".to_owned()),
        spans_offered: 340,
        spans_sent: 300,
        spans_dropped: 40,
        metric_exports: 3,
        last_error: Some("deadline exceeded".to_owned()),
    };
    run.wait = Some(WaitFacts {
        waited: Nanos::from_millis(30_000),
        end: WaitEnd::Deadline,
        joined: 220,
        traced: 340,
    });
    run.warnings = vec!["Port 4317 was taken; spans are received on 127.0.0.1:14317 instead.".to_owned()];
    let thresholds = vec![
        threshold("latency.p95 < 300ms", Some((141.2, Unit::Milliseconds)), true),
        threshold("GET /products: calls < 5", Some((26.0, Unit::Count)), false),
        threshold("error_rate < 0.1%", Some((0.0088, Unit::Share)), false),
        threshold("rate > 100/s", Some((401.2, Unit::PerSecond)), true),
        threshold("span(\"SELECT product\"): duration.p95 < 20ms", None, false),
    ];
    Sample { name: "everything", run, analysis, thresholds }
}

/// One for each verdict, and one with everything.
pub fn all() -> Vec<Sample> {
    vec![bottleneck(), healthy(), untraced(), generator_bound(), failing(), no_data(), everything()]
}
