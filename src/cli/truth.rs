//! `analyze --truth`: what the target measured about itself (`Server-Timing`), beside what hotspan blames.
//!
//! A target that times its own parts with the names of hotspan's categories gives an account that owes nothing to spans.
//! Only exchanges that carry the header count on either side, so that both means are over the same requests.

use crate::analysis::result::{ByCategory, Category};
use crate::record::{Exchange, Nanos, Run, StepId};
use serde::Serialize;
use std::collections::BTreeMap;

/// Means of one step, in milliseconds.
#[derive(Debug, Serialize)]
pub struct StepTruth {
    pub journey: String,
    pub name: String,
    /// Exchanges that carried the header.
    pub exchanges: u64,
    /// Mean corrected latency of those.
    pub latency_mean_ms: f64,
    /// What the target says, by category; `total` is its own total.
    pub truth_mean_ms: BTreeMap<String, f64>,
    /// What hotspan blames, by category.
    pub blame_mean_ms: BTreeMap<&'static str, f64>,
    /// Exchanges whose segments do not sum to the corrected latency; always 0 unless hotspan is wrong.
    pub identity_violations: u64,
}

/// Sums while exchanges go by.
#[derive(Debug, Default)]
pub struct Truth {
    steps: BTreeMap<StepId, Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    exchanges: u64,
    latency: u64,
    truth_us: BTreeMap<String, f64>,
    blame: ByCategory,
    violations: u64,
}

impl Truth {
    /// Adds an exchange and the blame of it; exchanges without the header are left out.
    pub fn add(&mut self, exchange: &Exchange, blame: &ByCategory) {
        let Some(header) = &exchange.server_timing else { return };
        let sums = self.steps.entry(exchange.step).or_default();
        sums.exchanges += 1;
        sums.latency += exchange.corrected_latency().0;
        sums.blame.merge(blame);
        sums.violations += u64::from(blame.total() != exchange.corrected_latency());
        for (name, ms) in parse_server_timing(header) {
            *sums.truth_us.entry(name.to_owned()).or_default() += ms * 1e3;
        }
    }

    /// The table, in the run's order of steps.
    pub fn finish(self, run: &Run) -> Vec<StepTruth> {
        let row = |(step, sums): (StepId, Sums)| {
            let info = run.steps.get(usize::from(step.0))?;
            let n = sums.exchanges as f64;
            Some(StepTruth {
                journey: info.journey.clone(),
                name: info.name.clone(),
                exchanges: sums.exchanges,
                latency_mean_ms: Nanos(sums.latency).as_millis_f64() / n,
                truth_mean_ms: sums.truth_us.into_iter().map(|(k, us)| (k, us / 1e3 / n)).collect(),
                blame_mean_ms: Category::ALL
                    .into_iter()
                    .map(|c| (c.name(), sums.blame.get(c).as_millis_f64() / n))
                    .collect(),
                identity_violations: sums.violations,
            })
        };
        self.steps.into_iter().filter_map(row).collect()
    }
}

/// The metrics of a `Server-Timing` header that have a duration (W3C Server Timing, section 2): name and milliseconds.
/// Parts that do not parse are skipped, as the specification asks.
pub fn parse_server_timing(header: &str) -> impl Iterator<Item = (&str, f64)> {
    header.split(',').filter_map(|metric| {
        let mut parts = metric.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let duration = parts.find_map(|p| {
            let (key, value) = p.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("dur")
                .then(|| value.trim().trim_matches('"').parse::<f64>().ok())?
        })?;
        Some((name, duration))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_parses_as_the_specification_says() {
        let header =
            "total;dur=12.5, database;desc=\"two queries\";dur=8, cache, app;DUR=\"4.5\", ;dur=1, bad;dur=x";
        let metrics: Vec<_> = parse_server_timing(header).collect();
        assert_eq!(metrics, [("total", 12.5), ("database", 8.0), ("app", 4.5)]);
    }
}
