//! A comparison as `compare.json`, schema `hotspan.compare/1` (`docs/compare.schema.json`).

use super::value::{ms, rounded, share};
use crate::compare::{
    AttributionPart, Cause, Change, Comparison, ContributorKey, Design, OperationChange, RunLabel,
    ServiceChange, Sides, StepChange, StructureChange, WholeService,
};
use crate::report::wording::comparison as wording;
use serde::Serialize;

/// Name and version of the schema.
pub const COMPARE_SCHEMA: &str = "hotspan.compare/1";

/// Most operations, most services, most changes of structure.
const LISTED: usize = 500;

/// The whole document.
#[derive(Serialize)]
pub struct CompareDoc<'a> {
    schema: &'static str,
    sides: SidesJson<'a>,
    design: DesignJson,
    verdict: VerdictJson,
    whole_service: Option<WholeJson>,
    steps: Vec<StepJson<'a>>,
    operations: Vec<OperationJson<'a>>,
    operations_omitted: usize,
    services: Vec<ServiceJson<'a>>,
    structure: Vec<StructureJson<'a>>,
    structure_omitted: usize,
}

#[derive(Serialize)]
struct SidesJson<'a> {
    base: Vec<RunJson<'a>>,
    head: Vec<RunJson<'a>>,
}

#[derive(Serialize)]
struct RunJson<'a> {
    id: &'a str,
    source: &'a str,
    commit: Option<&'a str>,
}

#[derive(Serialize)]
struct DesignJson {
    runs: Both<usize>,
    pairs: usize,
    interleaved: bool,
    same_machine: bool,
    min_effect: f64,
    min_change_ms: f64,
    false_discovery: f64,
    smallest_detectable_change: Option<f64>,
}

#[derive(Serialize)]
struct Both<T> {
    base: T,
    head: T,
}

#[derive(Serialize)]
struct VerdictJson {
    status: &'static str,
    headline: String,
    regressions: usize,
    reasons: Vec<ReasonJson>,
    allowed: Vec<ReasonJson>,
}

#[derive(Serialize)]
struct ReasonJson {
    reason: &'static str,
    text: String,
}

#[derive(Serialize)]
struct ChangeJson {
    base_ms: f64,
    head_ms: f64,
    ratio: f64,
    low: Option<f64>,
    high: Option<f64>,
    detectable: Option<f64>,
    slower_by_chance: f64,
    verdict: &'static str,
}

#[derive(Serialize)]
struct WholeJson {
    operations: usize,
    p50: ChangeJson,
    p95: ChangeJson,
    verdict: &'static str,
}

#[derive(Serialize)]
struct StepJson<'a> {
    journey: &'a str,
    name: &'a str,
    base: StepSide,
    head: StepSide,
    p25: Option<ChangeJson>,
    p50: Option<ChangeJson>,
    p95: Option<ChangeJson>,
    verdict: &'static str,
    change_ms: f64,
    attribution: Vec<PartJson<'a>>,
    others_change_ms: f64,
}

#[derive(Serialize)]
struct StepSide {
    exchanges: u64,
    error_share: f64,
    mean_ms: f64,
}

#[derive(Serialize)]
struct PartJson<'a> {
    category: &'a str,
    service: &'a str,
    system: &'a str,
    name: &'a str,
    mean_ms: Both<f64>,
    calls_per_exchange: Both<f64>,
    change_ms: f64,
    share: f64,
}

#[derive(Serialize)]
struct OperationJson<'a> {
    service: &'a str,
    name: &'a str,
    kind: &'a str,
    category: &'a str,
    calls_per_exchange: Both<f64>,
    error_share: Both<f64>,
    mean_ms_per_exchange: Both<f64>,
    change_ms_per_exchange: f64,
    own_p25: Option<ChangeJson>,
    own_p50: Option<ChangeJson>,
    own_p95: Option<ChangeJson>,
    p25: Option<ChangeJson>,
    p50: Option<ChangeJson>,
    p95: Option<ChangeJson>,
    verdict: &'static str,
    cause: Option<&'static str>,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    service: &'a str,
    suspicion_ms: Option<f64>,
    own_ms: Both<f64>,
    network_ms: Both<f64>,
    change_ms_per_exchange: f64,
}

#[derive(Serialize)]
struct StructureJson<'a> {
    kind: &'static str,
    step: &'a str,
    category: &'a str,
    service: &'a str,
    name: &'a str,
    base: f64,
    head: f64,
    alarm: bool,
}

impl<'a> CompareDoc<'a> {
    /// Everything that a comparison says, rounded.
    pub fn new(c: &'a Comparison) -> CompareDoc<'a> {
        let reasons = |all: &[crate::compare::Reason]| {
            all.iter().map(|r| ReasonJson { reason: r.name(), text: r.to_string() }).collect()
        };
        let paired = c.design == Design::Paired;
        CompareDoc {
            schema: COMPARE_SCHEMA,
            sides: SidesJson { base: runs(&c.base), head: runs(&c.head) },
            design: DesignJson {
                runs: Both { base: c.base.len(), head: c.head.len() },
                pairs: if paired { c.base.len().min(c.head.len()) } else { 0 },
                interleaved: paired,
                same_machine: c.same_machine,
                min_effect: c.settings.min_effect,
                min_change_ms: c.settings.min_change_ms,
                false_discovery: c.settings.false_discovery,
                smallest_detectable_change: c.smallest_detectable.map(|r| rounded(r - 1.0, 1e4)),
            },
            verdict: VerdictJson {
                status: c.status.name(),
                headline: wording::headline(c).plain(),
                regressions: c.regressions(),
                reasons: reasons(&c.reasons),
                allowed: reasons(&c.allowed),
            },
            whole_service: c.whole_service.as_ref().map(whole),
            steps: c.steps.iter().map(step).collect(),
            operations: c.operations.iter().take(LISTED).map(operation).collect(),
            operations_omitted: c.operations.len().saturating_sub(LISTED),
            services: c.services.iter().take(LISTED).map(service).collect(),
            structure: c.structure.iter().take(LISTED).map(structure).collect(),
            structure_omitted: c.structure.len().saturating_sub(LISTED),
        }
    }
}

fn runs(runs: &[RunLabel]) -> Vec<RunJson<'_>> {
    runs.iter().map(|r| RunJson { id: &r.id, source: &r.source, commit: r.commit.as_deref() }).collect()
}

fn both(sides: Sides, round: fn(f64) -> f64) -> Both<f64> {
    Both { base: round(sides.base), head: round(sides.head) }
}

fn change(c: &Change) -> ChangeJson {
    let known = |value: f64| (value.is_finite() && value > 0.0).then(|| rounded(value, 1e4));
    ChangeJson {
        base_ms: ms(c.base_ms),
        head_ms: ms(c.head_ms),
        ratio: rounded(c.ratio, 1e4),
        low: known(c.low),
        high: known(c.high),
        detectable: known(c.detectable),
        slower_by_chance: rounded(c.slower_by_chance, 1e6),
        verdict: c.verdict.name(),
    }
}

fn whole(w: &WholeService) -> WholeJson {
    WholeJson {
        operations: w.operations,
        p50: change(&w.p50),
        p95: change(&w.p95),
        verdict: w.verdict.name(),
    }
}

fn step(s: &StepChange) -> StepJson<'_> {
    let side = |of: fn(&Sides) -> f64| StepSide {
        exchanges: of(&s.exchanges) as u64,
        error_share: share(of(&s.errors)),
        mean_ms: ms(of(&s.mean_ms)),
    };
    let [p50, p95, p25] = s.latency.map(|c| c.as_ref().map(change));
    StepJson {
        journey: &s.journey,
        name: &s.name,
        base: side(|sides| sides.base),
        head: side(|sides| sides.head),
        p25,
        p50,
        p95,
        verdict: s.verdict.name(),
        change_ms: ms(s.attribution.change_ms),
        attribution: s.attribution.parts.iter().map(part).collect(),
        others_change_ms: ms(s.attribution.others_ms),
    }
}

fn part(p: &AttributionPart) -> PartJson<'_> {
    let ContributorKey { category, service, system, name } = &p.key;
    PartJson {
        category,
        service,
        system,
        name,
        mean_ms: both(p.mean_ms, ms),
        calls_per_exchange: both(p.calls_per_exchange, ms),
        change_ms: ms(p.change_ms),
        share: share(p.share),
    }
}

fn operation(o: &OperationChange) -> OperationJson<'_> {
    let [own_p50, own_p95, own_p25] = o.own.map(|c| c.as_ref().map(change));
    let [p50, p95, p25] = o.duration.map(|c| c.as_ref().map(change));
    OperationJson {
        service: &o.key.service,
        name: &o.key.name,
        kind: &o.key.kind,
        category: &o.category,
        calls_per_exchange: both(o.calls_per_exchange, ms),
        error_share: both(o.errors, share),
        mean_ms_per_exchange: both(o.mean_ms_per_exchange, ms),
        change_ms_per_exchange: ms(o.mean_ms_per_exchange.head - o.mean_ms_per_exchange.base),
        own_p25,
        own_p50,
        own_p95,
        p25,
        p50,
        p95,
        verdict: o.verdict.name(),
        cause: match o.cause {
            Cause::Own => Some("own_time"),
            Cause::Below => Some("below"),
            Cause::None => None,
        },
    }
}

fn service(s: &ServiceChange) -> ServiceJson<'_> {
    ServiceJson {
        service: &s.service,
        suspicion_ms: s.suspicion_ms.map(ms),
        own_ms: both(s.own_ms, ms),
        network_ms: both(s.network_ms, ms),
        change_ms_per_exchange: ms(s.change_ms()),
    }
}

fn structure(s: &StructureChange) -> StructureJson<'_> {
    StructureJson {
        kind: s.kind.name(),
        step: &s.step,
        category: &s.category,
        service: &s.service,
        name: &s.name,
        base: share(s.calls.base),
        head: share(s.calls.head),
        alarm: s.alarm,
    }
}
