//! The structs behind `report.json`: field order is key order. Every key is described in `docs/report.schema.json`.

use super::capacity::{Capacity, Change, Cost};
use super::generator::Generator;
use super::saturation::SaturationJson;
use super::step::{Latency, Owned, Step};
use super::value::{Map, ms, nanos, rounded, share};
use super::what_if::WhatIfJson;
use crate::analysis::result::{Category, Contributor, Finding, Holder};
use crate::record::{RunState, WaitEnd};
use crate::report::export::kind_name;
use crate::report::link;
use crate::report::number;
use crate::report::view::{self, View};
use crate::report::wording::{self, Level, advice, finding, verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most operations.
const OPERATIONS_MAX: usize = 500;

/// The whole document.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    run: Run<'a>,
    telemetry: Telemetry<'a>,
    load: Load,
    steps: Vec<Step<'a>>,
    operations: Vec<Operation<'a>>,
    operations_omitted: usize,
    services: Vec<ServiceJson<'a>>,
    findings: Vec<FindingJson<'a>>,
    saturation: SaturationJson<'a>,
    capacity: Option<Capacity>,
    trace_cost: Option<Cost>,
    what_if: Vec<WhatIfJson<'a>>,
    thresholds: Vec<Threshold<'a>>,
    verdict: VerdictJson,
}

#[derive(Serialize)]
struct Run<'a> {
    id: &'a str,
    name: &'a str,
    state: &'static str,
    started_at: String,
    duration_s: f64,
    target: &'a str,
    hotspan_version: &'a str,
    git_commit: Option<&'a str>,
    host: HostJson<'a>,
    scenario_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
}

#[derive(Serialize)]
struct HostJson<'a> {
    name: &'a str,
    os: &'a str,
    cpu: &'a str,
    cores: u32,
}

#[derive(Serialize)]
struct Telemetry<'a> {
    exchanges: u64,
    traced: u64,
    joined: u64,
    coverage: f64,
    span_cover: Option<f64>,
    spans_received: u64,
    spans_rejected: u64,
    spans_dropped: u64,
    spans: u64,
    spans_foreign: u64,
    duplicates: u64,
    orphans: u64,
    clipped: u64,
    shifted: u64,
    coarse_starts: u64,
    async_tail_ms: f64,
    clock_skew_max_ms: f64,
    gaps: Gaps,
    services: BTreeMap<&'a str, u64>,
    wait: Option<Wait>,
    export: Option<Export<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<Fetched<'a>>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Gaps {
    database_calls: u64,
    without_statement: u64,
    external_calls: u64,
    without_peer: u64,
    incomplete: u64,
}

#[derive(Serialize)]
struct Wait {
    waited_ms: f64,
    end: &'static str,
    joined: u64,
    traced: u64,
}

#[derive(Serialize)]
struct Export<'a> {
    endpoint: &'a str,
    spans_offered: u64,
    spans_sent: u64,
    spans_dropped: u64,
    metric_exports: u64,
    last_error: Option<&'a str>,
}

#[derive(Serialize)]
struct Fetched<'a> {
    source: &'a str,
    asked: u64,
    found: u64,
    missing: u64,
    partial: u64,
    spans: u64,
    requests: u64,
    retries: u64,
    took_ms: f64,
    problem: Option<&'a str>,
}

#[derive(Serialize)]
struct Load {
    open_model: bool,
    offered: u64,
    sent: u64,
    not_sent: u64,
    late: u64,
    iterations: u64,
    offered_per_s: Option<f64>,
    achieved_per_s: Option<f64>,
    users_max: u32,
    schedule_delay_p99_ms: f64,
    generator_cpu_share: Option<f64>,
    generator: Generator,
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Operation<'a> {
    service: &'a str,
    name: &'a str,
    kind: &'static str,
    category: &'static str,
    calls: u64,
    errors: u64,
    exchanges: u64,
    own_ms: f64,
    own_exchanges: u64,
    own_per_exchange_ms: Latency,
    duration_ms: Latency,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    service: &'a str,
    spans: u64,
    exchanges: u64,
    own_ms: f64,
    network_in_ms: f64,
    network_out_ms: f64,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    kind: &'static str,
    severity: &'static str,
    title: String,
    step: StepName<'a>,
    service: &'a str,
    contributor: Owned<'a>,
    evidence: BTreeMap<&'static str, f64>,
    impact_ms: ImpactJson,
    confidence: ConfidenceJson,
    exemplars: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exemplar_urls: Vec<String>,
    advice: String,
    related: Vec<Owned<'a>>,
    remedy: &'a str,
    holders: Vec<HolderJson<'a>>,
}

/// Who holds what is waited for.
#[derive(Serialize)]
struct HolderJson<'a> {
    page: Owned<'a>,
    held: f64,
    share: f64,
    requests: u64,
    each_ms: f64,
    statements_share: f64,
    calls_share: f64,
    waits_share: f64,
    own_share: f64,
    statement: Option<DoneJson<'a>>,
    call: Option<DoneJson<'a>>,
}

/// What is done most while it is held.
#[derive(Serialize)]
struct DoneJson<'a> {
    contributor: Owned<'a>,
    share: f64,
}

/// A step by its names.
#[derive(Serialize)]
pub struct StepName<'a> {
    journey: &'a str,
    name: &'a str,
}

impl<'a> StepName<'a> {
    /// Of a step of the run.
    pub fn new(step: crate::record::StepId, view: &'a View<'a>) -> StepName<'a> {
        let step = view.step(step);
        StepName { journey: step.map_or("", |s| s.journey), name: step.map_or("", |s| &s.name) }
    }
}

#[derive(Serialize)]
struct ImpactJson {
    mean: f64,
    p95: f64,
    p99: f64,
}

#[derive(Serialize)]
struct ConfidenceJson {
    level: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct Threshold<'a> {
    expression: &'a str,
    actual: Option<f64>,
    unit: Option<&'static str>,
    passed: bool,
}

#[derive(Serialize)]
struct VerdictJson {
    kind: &'static str,
    headline: String,
    categories: Map<f64>,
}

impl<'a> Document<'a> {
    /// Everything that a report says, rounded.
    pub fn new(view: &'a View<'a>) -> Document<'a> {
        let analysis = view.analysis();
        let total = analysis.categories.total();
        let of_total = |c| share(view::share(analysis.categories.get(c), total).unwrap_or(0.0));
        Document {
            schema: super::SCHEMA,
            run: Run::new(view),
            telemetry: Telemetry::new(view),
            load: Load::new(view),
            steps: view.steps.iter().map(|step| Step::new(step, view)).collect(),
            operations: analysis.operations.iter().take(OPERATIONS_MAX).map(Operation::new).collect(),
            operations_omitted: analysis.operations.len().saturating_sub(OPERATIONS_MAX),
            services: analysis
                .services
                .iter()
                .map(|(name, s)| ServiceJson {
                    service: name,
                    spans: s.spans,
                    exchanges: s.exchanges,
                    own_ms: nanos(s.own),
                    network_in_ms: nanos(s.network_in),
                    network_out_ms: nanos(s.network_out),
                })
                .collect(),
            findings: analysis.findings.iter().map(|f| FindingJson::new(f, view)).collect(),
            saturation: SaturationJson::new(&analysis.saturation),
            capacity: view.run().load.search.as_ref().map(Capacity::new),
            trace_cost: view.run().load.trace_cost.as_ref().map(Cost::new),
            what_if: analysis.what_if.iter().map(|w| WhatIfJson::new(w, view)).collect(),
            thresholds: view
                .report
                .thresholds
                .iter()
                .map(|t| Threshold {
                    expression: &t.expression,
                    actual: t.actual.map(|a| rounded(a.value, 1e4)),
                    unit: t.actual.map(|a| a.unit.name()),
                    passed: t.passed,
                })
                .collect(),
            verdict: VerdictJson {
                kind: verdict::name(&analysis.verdict),
                headline: verdict::headline(view).plain(),
                categories: Map(Category::ALL.into_iter().map(|c| (c.name(), of_total(c))).collect()),
            },
        }
    }
}

impl<'a> Run<'a> {
    fn new(view: &View<'a>) -> Run<'a> {
        let run = view.run();
        let duration = run.ended_at.map_or(view.analysis().load.duration, |end| end.since(run.started_at));
        Run {
            id: &run.id,
            name: &run.name,
            state: match run.state {
                RunState::Running => "running",
                RunState::Complete => "complete",
                RunState::Interrupted => "interrupted",
                RunState::Aborted => "aborted",
            },
            started_at: number::rfc3339(run.started_at),
            duration_s: rounded(duration.as_secs_f64(), 1e3),
            target: &run.target,
            hotspan_version: &run.hotspan_version,
            git_commit: run.git_commit.as_deref(),
            host: HostJson {
                name: &run.host.name,
                os: &run.host.os,
                cpu: &run.host.cpu,
                cores: run.host.cores,
            },
            scenario_digest: scenario_digest(&run.scenario),
            origin: run.sources.from_traces.then_some("traces"),
        }
    }
}

/// Tells whether two runs were of one scenario (FNV-1a, 64 bits). The target and the name, which for a URL is its host, may
/// differ: two versions of a service run at two addresses.
fn scenario_digest(text: &str) -> String {
    let counts = |line: &&str| !["target:", "name:"].iter().any(|key| line.starts_with(key));
    let bytes = text.lines().filter(counts).flat_map(|line| line.bytes().chain([b'\n']));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl<'a> Telemetry<'a> {
    fn new(view: &View<'a>) -> Telemetry<'a> {
        let run = view.run();
        let t = &view.analysis().telemetry;
        let messages = wording::messages(view);
        let texts = |level| messages.iter().filter(|m| m.level == level).map(|m| m.whole().plain()).collect();
        Telemetry {
            exchanges: t.exchanges,
            traced: t.traced,
            joined: t.joined,
            coverage: share(t.coverage()),
            span_cover: view.span_cover().map(share),
            spans_received: view.spans_received(),
            spans_rejected: run.receiver.spans_rejected,
            spans_dropped: run.receiver.spans_dropped,
            spans: t.spans,
            spans_foreign: t.spans_foreign,
            duplicates: t.duplicates,
            orphans: t.orphans,
            clipped: t.clipped,
            shifted: t.shifted,
            coarse_starts: t.coarse_starts,
            async_tail_ms: nanos(t.async_tail),
            clock_skew_max_ms: nanos(t.clock_skew_max),
            gaps: Gaps {
                database_calls: t.gaps.database,
                without_statement: t.gaps.without_statement,
                external_calls: t.gaps.external,
                without_peer: t.gaps.without_peer,
                incomplete: t.gaps.incomplete,
            },
            services: t.services.iter().map(|(name, spans)| (&**name, *spans)).collect(),
            wait: run.wait.map(|w| Wait {
                waited_ms: nanos(w.waited),
                end: match w.end {
                    WaitEnd::Complete => "complete",
                    WaitEnd::Quiet => "quiet",
                    WaitEnd::Deadline => "deadline",
                    WaitEnd::Interrupted => "interrupted",
                },
                joined: w.joined,
                traced: w.traced,
            }),
            export: run.export.endpoint.as_deref().map(|endpoint| Export {
                endpoint,
                spans_offered: run.export.spans_offered,
                spans_sent: run.export.spans_sent,
                spans_dropped: run.export.spans_dropped,
                metric_exports: run.export.metric_exports,
                last_error: run.export.last_error.as_deref(),
            }),
            fetched: run.sources.fetched.as_ref().map(|f| Fetched {
                source: &f.source,
                asked: f.asked,
                found: f.found,
                missing: f.asked.saturating_sub(f.found),
                partial: f.partial,
                spans: f.spans,
                requests: f.requests,
                retries: f.retries,
                took_ms: nanos(f.took),
                problem: f.problem.as_deref(),
            }),
            warnings: texts(Level::Warning),
            notes: texts(Level::Note),
        }
    }
}

impl Load {
    fn new(view: &View) -> Load {
        let load = &view.run().load;
        Load {
            open_model: load.open_model,
            offered: load.offered,
            sent: load.sent,
            not_sent: load.not_sent,
            late: load.late,
            iterations: load.iterations,
            offered_per_s: view.offered_per_s().map(ms),
            achieved_per_s: view.achieved_per_s().map(ms),
            users_max: load.users_max,
            schedule_delay_p99_ms: nanos(view.analysis().load.schedule_delay.quantile(0.99)),
            generator_cpu_share: view.generator_cpu_share().map(share),
            generator: Generator::new(view),
            changes: load.changes.iter().map(Change::new).collect(),
        }
    }
}

impl<'a> Operation<'a> {
    fn new(o: &'a crate::analysis::result::Operation) -> Operation<'a> {
        Operation {
            service: &o.service,
            name: &o.name,
            kind: kind_name(o.kind),
            category: o.category.name(),
            calls: o.calls,
            errors: o.errors,
            exchanges: o.exchanges,
            own_ms: nanos(o.own),
            own_exchanges: o.own_each.len(),
            own_per_exchange_ms: Latency::new(&o.own_each.quantiles()),
            duration_ms: Latency::new(&o.duration.quantiles()),
        }
    }
}

impl<'a> FindingJson<'a> {
    fn new(f: &'a Finding, view: &'a View<'a>) -> FindingJson<'a> {
        let step = view.step(f.step);
        FindingJson {
            kind: f.kind.name(),
            severity: finding::severity(f.severity),
            title: finding::title(f, view).plain(),
            step: StepName { journey: step.map_or("", |s| s.journey), name: step.map_or("", |s| &s.name) },
            service: &f.contributor.service,
            contributor: Owned::new(&f.contributor),
            evidence: f.evidence.iter().map(|(key, value)| (*key, rounded(*value, 1e4))).collect(),
            impact_ms: ImpactJson {
                mean: nanos(f.impact.mean),
                p95: nanos(f.impact.p95),
                p99: nanos(f.impact.p99),
            },
            confidence: ConfidenceJson {
                level: finding::confidence_name(f.confidence),
                reason: finding::sure(f, step).replace(number::NBSP, " "),
            },
            exemplars: f.exemplars.iter().map(|id| id.to_string()).collect(),
            exemplar_urls: f.exemplars.iter().filter_map(|id| link::url(view, *id)).collect(),
            advice: advice::advice(f).plain(),
            related: f.related.iter().map(Owned::new).collect(),
            remedy: &f.remedy,
            holders: f.holders.iter().map(HolderJson::new).collect(),
        }
    }
}

impl<'a> HolderJson<'a> {
    fn new(holder: &'a Holder) -> HolderJson<'a> {
        let done = |done: &'a Option<(Contributor, f64)>| {
            let done = done.as_ref()?;
            Some(DoneJson { contributor: Owned::new(&done.0), share: rounded(done.1, 1e4) })
        };
        HolderJson {
            page: Owned::new(&holder.page),
            held: rounded(holder.held, 1e3),
            share: rounded(holder.share, 1e4),
            requests: holder.requests,
            each_ms: rounded(holder.each_ms, 1e3),
            statements_share: rounded(holder.statements, 1e4),
            calls_share: rounded(holder.calls, 1e4),
            waits_share: rounded(holder.waits, 1e4),
            own_share: rounded(holder.own, 1e4),
            statement: done(&holder.statement),
            call: done(&holder.call),
        }
    }
}
