//! Where the difference of two mean latencies sits. Contributors of a step sum to its mean latency exactly, so their
//! differences sum to its difference, and a share of it is a share.

use super::changes::mean;
use super::outcome::Sides;
use super::summary::{ContributorKey, StepSummary};
use std::collections::BTreeMap;

/// Parts that are named.
const NAMED: usize = 10;

/// The difference of a step's mean latency, divided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// Head less base, in milliseconds.
    pub change_ms: f64,
    /// By contributor, largest change first; at most ten.
    pub parts: Vec<AttributionPart>,
    /// The change of all others together.
    pub others_ms: f64,
}

/// One contributor's part in a difference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributionPart {
    /// Who.
    pub key: ContributorKey,
    /// Mean milliseconds of an exchange.
    pub mean_ms: Sides,
    /// Calls in an exchange.
    pub calls_per_exchange: Sides,
    /// Head less base, in milliseconds.
    pub change_ms: f64,
    /// Share of the step's difference; above 1 where others went the other way.
    pub share: f64,
}

/// Divides the difference of a step's means.
pub(super) fn attribution(base: &[Option<StepSummary>], head: &[Option<StepSummary>]) -> Attribution {
    let mut parts: BTreeMap<ContributorKey, AttributionPart> = BTreeMap::new();
    let mut add = |side: &[Option<StepSummary>], of: fn(&mut Sides) -> &mut f64| {
        let n = side.iter().flatten().count().max(1) as f64;
        for c in side.iter().flatten().flat_map(|step| &step.contributors) {
            let part = parts.entry(c.key.clone()).or_default();
            *of(&mut part.mean_ms) += c.mean_ms / n;
            *of(&mut part.calls_per_exchange) += c.calls_per_exchange / n;
        }
        mean(side.iter().flatten().map(|step| step.latency.mean))
    };
    let before = add(base, |sides| &mut sides.base);
    let after = add(head, |sides| &mut sides.head);
    let change_ms = after - before;
    let mut parts: Vec<AttributionPart> = parts
        .into_iter()
        .map(|(key, part)| {
            let by = part.mean_ms.head - part.mean_ms.base;
            let share = if change_ms == 0.0 { 0.0 } else { by / change_ms };
            AttributionPart { key, change_ms: by, share, ..part }
        })
        .collect();
    parts.sort_by(|a, b| b.change_ms.abs().total_cmp(&a.change_ms.abs()).then(a.key.cmp(&b.key)));
    parts.truncate(NAMED);
    let named: f64 = parts.iter().map(|p| p.change_ms).sum();
    Attribution { change_ms, parts, others_ms: change_ms - named }
}

impl Attribution {
    /// The contributor that has most of the difference, where one has at least a third of it.
    pub fn main(&self) -> Option<&AttributionPart> {
        let along = |part: &&AttributionPart| part.change_ms * self.change_ms > 0.0;
        self.parts.iter().find(along).filter(|part| part.share >= 1.0 / 3.0)
    }
}
