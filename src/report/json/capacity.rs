//! The search for the capacity, what was changed while load ran, and what tracing costs, in `report.json`.

use super::value::{nanos, rounded, share};
use crate::record::{LoadChange, Probe, Ratio, Search, TraceCost};
use serde::Serialize;

/// The search for the highest rate that holds.
#[derive(Serialize)]
pub struct Capacity {
    capacity_per_s: Option<f64>,
    holds_per_s: Option<f64>,
    breaks_per_s: Option<f64>,
    broke_by: Option<String>,
    cut_short: Option<String>,
    probes: Vec<ProbeJson>,
}

#[derive(Serialize)]
struct ProbeJson {
    at_s: f64,
    length_s: f64,
    rate_per_s: f64,
    exchanges: u64,
    errors: u64,
    p50_ms: f64,
    p95_ms: f64,
    behind: f64,
    broke: Option<String>,
}

impl Capacity {
    /// From what the search found.
    pub fn new(search: &Search) -> Capacity {
        let rate = |r: f64| rounded(r, 1e3);
        let probe = |p: &Probe| ProbeJson {
            at_s: rounded(p.at.as_secs_f64(), 1e3),
            length_s: rounded(p.length.as_secs_f64(), 1e3),
            rate_per_s: rate(p.rate_per_s),
            exchanges: p.exchanges,
            errors: p.errors,
            p50_ms: nanos(p.p50),
            p95_ms: nanos(p.p95),
            behind: share(p.behind),
            broke: p.broke.clone(),
        };
        Capacity {
            capacity_per_s: search.capacity_per_s().map(rate),
            holds_per_s: search.holds_per_s.map(rate),
            breaks_per_s: search.breaks_per_s.map(rate),
            broke_by: search.broke_by().map(str::to_owned),
            cut_short: search.cut_short.clone(),
            probes: search.probes.iter().map(probe).collect(),
        }
    }
}

/// A change of the load.
#[derive(Serialize)]
pub struct Change {
    at_s: f64,
    what: String,
}

impl Change {
    /// From what was done.
    pub fn new(change: &LoadChange) -> Change {
        Change { at_s: rounded(change.at.as_secs_f64(), 1e3), what: change.what.clone() }
    }
}

/// What full tracing costs the service.
#[derive(Serialize)]
pub struct Cost {
    stretch_s: f64,
    pairs: u32,
    exchanges_on: u64,
    exchanges_off: u64,
    p50_off_ms: f64,
    p95_off_ms: f64,
    p50: RatioJson,
    p95: RatioJson,
    rate: RatioJson,
}

#[derive(Serialize)]
struct RatioJson {
    ratio: f64,
    low: f64,
    high: f64,
}

impl From<Ratio> for RatioJson {
    fn from(r: Ratio) -> RatioJson {
        RatioJson { ratio: share(r.value), low: share(r.low), high: share(r.high) }
    }
}

impl Cost {
    /// From the comparison.
    pub fn new(cost: &TraceCost) -> Cost {
        Cost {
            stretch_s: rounded(cost.stretch.as_secs_f64(), 1e3),
            pairs: cost.pairs,
            exchanges_on: cost.exchanges[0],
            exchanges_off: cost.exchanges[1],
            p50_off_ms: nanos(cost.p50_off),
            p95_off_ms: nanos(cost.p95_off),
            p50: cost.p50.into(),
            p95: cost.p95.into(),
            rate: cost.rate.into(),
        }
    }
}
