//! One step of `report.json`.

use super::group::{ShapeJson, SlowWithJson};
use super::messages::MessagesJson;
use super::value::{Map, ms, nanos, share};
use crate::analysis::result::{Band, Category, Contributor, ExemplarRole, StepResult};
use crate::report::checks::{self, Check};
use crate::report::link;
use crate::report::number;
use crate::report::view::{self, Owner, Part, StepView, Tail, View};
use crate::stats::Quantiles;
use serde::Serialize;
use std::collections::BTreeMap;

/// Most contributors of a step; a service whose span names are not normalised can have any number.
const CONTRIBUTORS_MAX: usize = 200;

/// One step.
#[derive(Serialize)]
pub struct Step<'a> {
    journey: &'a str,
    name: &'a str,
    exchanges: u64,
    joined: u64,
    errors: u64,
    checks_failed: u64,
    rate_per_s: f64,
    latency_ms: Latency,
    service_time_ms: Latency,
    categories: Map<Shares>,
    contributors: Vec<ContributorJson<'a>>,
    contributors_omitted: Omitted,
    bands: Vec<BandJson>,
    tail: Vec<TailJson<'a>>,
    statuses: BTreeMap<u16, u64>,
    failures: Vec<Failure<'a>>,
    checks: Vec<CheckJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    server_errors: Vec<ServerErrorJson<'a>>,
    body_bytes: Bytes,
    exemplars: Vec<ExemplarJson>,
    shapes: Vec<ShapeJson<'a>>,
    slow_with: Vec<SlowWithJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<MessagesJson>,
}

/// Quantiles, in milliseconds.
#[derive(Serialize)]
pub struct Latency {
    mean: f64,
    p25: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Serialize)]
struct Shares {
    mean_ms: f64,
    share: f64,
    tail_share: Option<f64>,
}

#[derive(Serialize)]
struct ContributorJson<'a> {
    category: &'static str,
    service: &'a str,
    system: &'a str,
    name: &'a str,
    code: &'a str,
    exchanges: u64,
    calls_per_exchange: f64,
    mean_ms: f64,
    share: f64,
    tail_share: Option<f64>,
    call_p50_ms: Option<f64>,
    call_p95_ms: Option<f64>,
}

#[derive(Serialize)]
struct Omitted {
    count: usize,
    mean_ms: f64,
    share: f64,
    tail_share: Option<f64>,
}

#[derive(Serialize)]
struct BandJson {
    band: &'static str,
    exchanges: u64,
    mean_ms: f64,
    categories: Map<f64>,
}

#[derive(Serialize)]
struct TailJson<'a> {
    slowest_percent: u32,
    exchanges: u64,
    typical_exchanges: u64,
    gap_ms: f64,
    excess_ms: Map<f64>,
    main: Option<TailMain<'a>>,
}

#[derive(Serialize)]
struct TailMain<'a> {
    contributor: Owned<'a>,
    excess_ms: f64,
}

/// A contributor's identity.
#[derive(Serialize)]
pub struct Owned<'a> {
    category: &'static str,
    service: &'a str,
    system: &'a str,
    name: &'a str,
    code: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    class: &'static str,
    count: u64,
    message: &'a str,
}

/// Reasons of failures that are listed at most, the commonest.
const SERVER_ERRORS: usize = 50;

#[derive(Serialize)]
struct ServerErrorJson<'a> {
    message: &'a str,
    service: &'a str,
    at: &'a str,
    count: u64,
    trace_id: String,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    name: &'a str,
    passed: u64,
    failed: u64,
    seen: Option<&'a str>,
}

/// Bytes of the answers' bodies.
#[derive(Serialize)]
struct Bytes {
    received: u64,
    decoded: u64,
}

#[derive(Serialize)]
struct ExemplarJson {
    role: &'static str,
    trace_id: String,
    latency_ms: f64,
    at: String,
    joined: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl<'a> Step<'a> {
    /// As the document has it.
    pub fn new(step: &'a StepView<'a>, view: &'a View) -> Step<'a> {
        let result = step.result;
        let omitted: Vec<&Owner> = step.contributors.iter().skip(CONTRIBUTORS_MAX).collect();
        let rest = view::sum(&omitted);
        Step {
            journey: step.journey,
            name: &step.name,
            exchanges: result.exchanges,
            joined: result.joined,
            errors: result.errors,
            checks_failed: result.checks_failed,
            rate_per_s: ms(step.rate),
            latency_ms: Latency::new(&step.latency),
            service_time_ms: Latency::new(&step.service),
            categories: Map(step.categories.iter().map(|p| (p.category.name(), Shares::new(p))).collect()),
            contributors: step.contributors.iter().take(CONTRIBUTORS_MAX).map(ContributorJson::new).collect(),
            contributors_omitted: Omitted {
                count: omitted.len(),
                mean_ms: ms(rest.mean_ms),
                share: share(rest.share),
                tail_share: rest.tail_share.map(share),
            },
            bands: bands(result),
            tail: step.tails.iter().map(|t| TailJson::new(t, step)).collect(),
            statuses: result.statuses.clone(),
            failures: result
                .failures
                .iter()
                .map(|(class, (count, message))| Failure { class: class.name(), count: *count, message })
                .collect(),
            checks: checks::of(step, view)
                .into_iter()
                .map(|Check { name, passed, failed, seen }| CheckJson { name, passed, failed, seen })
                .collect(),
            server_errors: result
                .reasons
                .iter()
                .take(SERVER_ERRORS)
                .map(|reason| ServerErrorJson {
                    message: &reason.words,
                    service: &reason.contributor.service,
                    at: &reason.contributor.name,
                    count: reason.exchanges,
                    trace_id: reason.trace_id.to_string(),
                })
                .collect(),
            body_bytes: Bytes { received: result.bytes_received, decoded: result.bytes_decoded },
            exemplars: step
                .exemplars()
                .iter()
                .map(|e| ExemplarJson {
                    role: match e.role {
                        ExemplarRole::Typical => "typical",
                        ExemplarRole::Slow => "slow",
                        ExemplarRole::Worst => "worst",
                    },
                    trace_id: e.trace_id.to_string(),
                    latency_ms: nanos(e.latency),
                    at: number::rfc3339(e.at),
                    joined: e.joined,
                    url: link::url(view, e.trace_id),
                })
                .collect(),
            shapes: result.shapes.iter().map(ShapeJson::new).collect(),
            slow_with: result.associations.iter().map(SlowWithJson::new).collect(),
            messages: result.messages.as_ref().map(MessagesJson::new),
        }
    }
}

fn bands(result: &StepResult) -> Vec<BandJson> {
    Band::ALL
        .into_iter()
        .map(|band| {
            let b = &result.bands[band as usize];
            let mean = |c| ms(view::mean_ms(b.categories.get(c), b.exchanges));
            BandJson {
                band: match band {
                    Band::Typical => "to_p50",
                    Band::Above => "p50_to_p90",
                    Band::Slow => "p90_to_p99",
                    Band::Worst => "above_p99",
                },
                exchanges: b.exchanges,
                mean_ms: ms(view::mean_ms(b.latency_sum, b.exchanges)),
                categories: Map(Category::ALL.into_iter().map(|c| (c.name(), mean(c))).collect()),
            }
        })
        .collect()
}

impl<'a> TailJson<'a> {
    fn new(tail: &Tail, step: &StepView<'a>) -> TailJson<'a> {
        TailJson {
            slowest_percent: tail.percent,
            exchanges: tail.exchanges,
            typical_exchanges: tail.typical_exchanges,
            gap_ms: ms(tail.gap_ms()),
            excess_ms: Map(tail.categories.iter().map(|p| (p.category.name(), ms(p.excess_ms()))).collect()),
            main: tail.main.and_then(|(index, excess)| {
                let contributor = &step.contributors.get(index)?.result.contributor;
                Some(TailMain { contributor: Owned::new(contributor), excess_ms: ms(excess) })
            }),
        }
    }
}

impl Latency {
    /// As the document has it.
    pub fn new(q: &Quantiles) -> Latency {
        Latency {
            mean: nanos(q.mean),
            p25: nanos(q.p25),
            p50: nanos(q.p50),
            p90: nanos(q.p90),
            p95: nanos(q.p95),
            p99: nanos(q.p99),
            p999: nanos(q.p999),
            max: nanos(q.max),
        }
    }
}

impl Shares {
    fn new(part: &Part) -> Shares {
        Shares { mean_ms: ms(part.mean_ms), share: share(part.share), tail_share: part.tail_share.map(share) }
    }
}

impl<'a> Owned<'a> {
    /// As the document has it.
    pub fn new(c: &'a Contributor) -> Owned<'a> {
        Owned {
            category: c.category.name(),
            service: &c.service,
            system: &c.system,
            name: &c.name,
            code: &c.code,
        }
    }
}

impl<'a> ContributorJson<'a> {
    fn new(owner: &'a Owner<'a>) -> ContributorJson<'a> {
        let c = &owner.result.contributor;
        let duration = &owner.result.call_duration;
        let quantile = |q| (!duration.is_empty()).then(|| nanos(duration.quantile(q)));
        ContributorJson {
            category: c.category.name(),
            service: &c.service,
            system: &c.system,
            name: &c.name,
            code: &c.code,
            exchanges: owner.result.exchanges,
            calls_per_exchange: ms(owner.calls),
            mean_ms: ms(owner.part.mean_ms),
            share: share(owner.part.share),
            tail_share: owner.part.tail_share.map(share),
            call_p50_ms: quantile(0.5),
            call_p95_ms: quantile(0.95),
        }
    }
}
