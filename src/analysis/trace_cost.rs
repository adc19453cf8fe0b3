//! What full tracing costs: requests of stretches with tracing on against those of the neighbouring stretches without. Pairs,
//! because a service drifts over a run, and what both of a pair have in common cancels out; the spread of the pairs is the
//! uncertainty.

use crate::record::{Exchange, Nanos, Ratio, Run, Timestamp, TraceCost};
use crate::stats::Histogram;

/// The first part of each stretch is left out: connections and queues still hold requests of the one before.
const LEFT_OUT: f64 = 0.1;
/// Requests that a stretch needs to be compared.
const REQUESTS_MIN: u64 = 20;
/// Pairs that an interval needs.
const PAIRS_MIN: usize = 3;
/// Stretches at most.
const STRETCHES_MAX: u64 = 100_000;

/// Gathers the requests of a run by stretch.
pub struct TraceCosts {
    begin: Timestamp,
    stretch: Nanos,
    stretches: Vec<Histogram>,
}

impl TraceCosts {
    /// For a run in which tracing was on and off in turn; `None` for any other.
    pub fn of(run: &Run) -> Option<TraceCosts> {
        let stretch = run.load.trace_stretch.filter(|s| *s > Nanos::ZERO)?;
        Some(TraceCosts { begin: run.started_at, stretch, stretches: Vec::new() })
    }

    /// Takes in an exchange; those without an answer tell nothing about time.
    pub fn exchange(&mut self, exchange: &Exchange) {
        let since = exchange.intended.since(self.begin).0;
        let (number, within) = (since / self.stretch.0, since % self.stretch.0);
        let settled = within as f64 >= LEFT_OUT * self.stretch.0 as f64;
        if exchange.intended < self.begin
            || !settled
            || number >= STRETCHES_MAX
            || exchange.status().is_none()
        {
            return;
        }
        let number = number as usize;
        if number >= self.stretches.len() {
            self.stretches.resize_with(number + 1, Histogram::new);
        }
        self.stretches[number].record(exchange.service_time());
    }

    /// The comparison; `None` where there are too few pairs with enough requests.
    pub fn finish(self) -> Option<TraceCost> {
        // Off, on, on, off: in every second pair the one with tracing comes first, so a steady drift cancels out too.
        let pairs: Vec<(&Histogram, &Histogram)> = self
            .stretches
            .chunks_exact(2)
            .enumerate()
            .map(|(n, pair)| if n % 2 == 0 { (&pair[0], &pair[1]) } else { (&pair[1], &pair[0]) })
            .filter(|(off, on)| off.len() >= REQUESTS_MIN && on.len() >= REQUESTS_MIN)
            .collect();
        if pairs.len() < PAIRS_MIN {
            return None;
        }
        let ratio = |of: &dyn Fn(&Histogram) -> f64| {
            ratio_of(
                &pairs.iter().map(|(off, on)| (of(on).max(1.0) / of(off).max(1.0)).ln()).collect::<Vec<_>>(),
            )
        };
        let (mut off, mut on) = (Histogram::new(), Histogram::new());
        for (without, with) in &pairs {
            off.merge(without);
            on.merge(with);
        }
        Some(TraceCost {
            stretch: self.stretch,
            pairs: pairs.len() as u32,
            exchanges: [on.len(), off.len()],
            p50_off: off.quantile(0.5),
            p95_off: off.quantile(0.95),
            p50: ratio(&|h| h.quantile(0.5).0 as f64),
            p95: ratio(&|h| h.quantile(0.95).0 as f64),
            rate: ratio(&|h| h.len() as f64),
        })
    }
}

/// The geometric mean of ratios given as logarithms, with Student's interval.
fn ratio_of(logs: &[f64]) -> Ratio {
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = student(logs.len() - 1) * (variance / n).sqrt();
    Ratio { value: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() }
}

/// 97.5 % quantile of Student's t distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    TABLE.get(freedom.max(1) - 1).copied().unwrap_or(1.96)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{exchange, run};

    const SECOND: u64 = 1_000_000_000;

    /// A run of `n` stretches of a second with requests of a time that `of` gives by stretch.
    fn cost(n: u64, of: impl Fn(u64) -> u64) -> Option<TraceCost> {
        let mut run = run(1);
        run.load.trace_stretch = Some(Nanos(SECOND));
        let mut costs = TraceCosts::of(&run).unwrap();
        for stretch in 0..n {
            for i in 0..100 {
                let at = stretch * SECOND + i * SECOND / 100;
                costs.exchange(&exchange(1 + at, at, at + of(stretch) + i % 7 * 1_000));
            }
        }
        costs.finish()
    }

    #[test]
    fn a_cost_is_found_through_a_drift() {
        let on = |stretch: u64| matches!(stretch % 4, 1 | 2);
        // 10 ms that grow by a tenth of a millisecond each second; tracing costs a tenth.
        let found = cost(16, |s| (10_000_000 + s * 100_000) * if on(s) { 11 } else { 10 } / 10).unwrap();
        assert_eq!((found.pairs, found.exchanges), (8, [720, 720]));
        assert!((found.p50.value - 1.1).abs() < 0.01, "{:?}", found.p50);
        assert!(found.p50.low < 1.1 && 1.1 < found.p50.high && found.p50.low > 1.05, "{:?}", found.p50);
        assert!((found.rate.value - 1.0).abs() < 1e-9);
    }

    #[test]
    fn no_cost_is_no_cost() {
        let found = cost(12, |s| 10_000_000 + s % 3 * 300_000).unwrap();
        assert!(found.p50.low < 1.0 && 1.0 < found.p50.high, "{:?}", found.p50);
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(cost(5, |_| 1_000_000), None);
        assert!(TraceCosts::of(&run(1)).is_none());
    }
}
