//! Latency by time: whole seconds as points of a curve, the last ten as one histogram, and the run so far.

use super::model::StepSum;
use crate::record::Nanos;
use crate::stats::Histogram;
use std::collections::VecDeque;

/// Seconds of which points are kept.
pub const KEPT: usize = 240;
/// Seconds that count as now.
pub const NOW: usize = 10;

/// p50, p95 and p99 of one second.
pub type Point = [Nanos; 3];

/// One step, or all of them together.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Exchanges.
    pub done: u64,
    /// Failed ones.
    pub errors: u64,
    /// Those with a check that did not hold.
    pub checks_failed: u64,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.done += other.done;
        self.errors += other.errors;
        self.checks_failed += other.checks_failed;
    }
}

/// What happened to one step, or to all of them together.
#[derive(Clone, Debug)]
pub struct Series {
    /// Whole seconds, oldest first; nothing in a second without an exchange.
    pub points: VecDeque<Option<Point>>,
    /// What was counted in each of those seconds.
    pub sums: VecDeque<Sums>,
    /// Latency in the whole run.
    pub run: Histogram,
    /// Counts of the whole run.
    pub total: Sums,
    open: (Sums, Histogram),
    recent: VecDeque<Histogram>,
}

impl Default for Series {
    fn default() -> Series {
        Series {
            points: VecDeque::new(),
            sums: VecDeque::new(),
            run: Histogram::coarse(),
            total: Sums::default(),
            open: (Sums::default(), Histogram::coarse()),
            recent: VecDeque::new(),
        }
    }
}

impl Series {
    /// Adds what ended since the last time.
    pub fn add(&mut self, sum: &StepSum) {
        let counts = Sums { done: sum.latency.len(), errors: sum.errors, checks_failed: sum.checks_failed };
        self.total.add(&counts);
        self.open.0.add(&counts);
        self.open.1.merge(&sum.latency);
        self.run.merge(&sum.latency);
    }

    /// A second is over.
    pub fn close(&mut self) {
        let (sums, latency) = std::mem::replace(&mut self.open, (Sums::default(), Histogram::coarse()));
        let at = |q| latency.quantile(q);
        self.points.push_back((!latency.is_empty()).then(|| [at(0.5), at(0.95), at(0.99)]));
        self.sums.push_back(sums);
        self.recent.push_back(latency);
        while self.points.len() > KEPT {
            self.points.pop_front();
            self.sums.pop_front();
        }
        while self.recent.len() > NOW {
            self.recent.pop_front();
        }
    }

    /// Latency in the last seconds, the one that is not over included.
    pub fn now(&self) -> Histogram {
        let mut all = self.open.1.clone();
        self.recent.iter().for_each(|second| all.merge(second));
        all
    }

    /// Exchanges per second in the last whole seconds, at most so many.
    pub fn rate(&self, seconds: usize) -> f64 {
        let n = seconds.min(self.sums.len());
        let done: u64 = self.sums.iter().rev().take(n).map(|s| s.done).sum();
        if n == 0 { self.open.0.done as f64 } else { done as f64 / n as f64 }
    }
}
