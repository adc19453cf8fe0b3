//! What calls to one system usually take: a statement that takes many times as long as the others of its database stands
//! out on any machine, fast or slow, loaded or idle.

use super::OUTLIER_CALLS;
use crate::analysis::result::{Category, Contributor};
use crate::analysis::tally::StepTally;
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Durations of calls by system, and by system and statement, over all steps of the run.
pub(super) struct Peers {
    systems: BTreeMap<(Category, Arc<str>), Histogram>,
    statements: BTreeMap<(Category, Arc<str>, Arc<str>), Histogram>,
}

/// A statement that takes far longer than the others.
pub(super) struct Outlier {
    pub typical_ms: f64,
    pub others_ms: f64,
}

impl Peers {
    pub fn of(steps: &[StepTally]) -> Peers {
        let mut peers = Peers { systems: BTreeMap::new(), statements: BTreeMap::new() };
        for (who, part) in steps.iter().flat_map(|s| &s.parts) {
            if matches!(who.category, Category::Database | Category::Cache | Category::Search)
                && part.calls > 0
            {
                let system = (who.category, who.system.clone());
                let statement = (who.category, who.system.clone(), who.name.clone());
                for all in [
                    peers.systems.entry(system).or_insert_with(Histogram::coarse),
                    peers.statements.entry(statement).or_insert_with(Histogram::coarse),
                ] {
                    all.merge(&part.call_duration);
                }
            }
        }
        peers
    }

    /// The median of all other calls of a statement's system, if there are enough to know.
    pub fn usual(&self, who: &Contributor) -> Option<crate::record::Nanos> {
        let own = self.statements.get(&(who.category, who.system.clone(), who.name.clone()))?;
        let others =
            self.systems.get(&(who.category, who.system.clone()))?.exchanged(own, &Histogram::coarse());
        (others.len() >= OUTLIER_CALLS).then(|| others.quantile(0.5))
    }

    /// Whether calls of this statement typically take many times as long as those of all others of its system.
    pub fn outlier(&self, who: &Contributor, ratio: f64) -> Option<Outlier> {
        let own = self.statements.get(&(who.category, who.system.clone(), who.name.clone()))?;
        let all = self.systems.get(&(who.category, who.system.clone()))?;
        let others = all.exchanged(own, &Histogram::coarse());
        let (typical, usual) = (own.quantile(0.5), others.quantile(0.5));
        let enough = others.len() >= OUTLIER_CALLS;
        let far = typical.0 as f64 >= ratio * usual.0 as f64;
        (enough && far)
            .then(|| Outlier { typical_ms: typical.as_millis_f64(), others_ms: usual.as_millis_f64() })
    }
}
