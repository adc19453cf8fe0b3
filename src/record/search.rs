//! The search for a service's capacity, as it went.

use super::Nanos;

/// A change that somebody made to the load while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadChange {
    /// When it took effect, from the start of the load.
    pub at: Nanos,
    /// What was changed, as a clause: `rate and users times 1.5`.
    pub what: String,
}

/// One rate that was tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// When what was measured of it began, from the start of the load.
    pub at: Nanos,
    /// How long that took.
    pub length: Nanos,
    /// Iterations begun per second.
    pub rate_per_s: f64,
    /// Exchanges that were due in that time and have ended.
    pub exchanges: u64,
    /// Those that failed.
    pub errors: u64,
    /// Median of their corrected latency.
    pub p50: Nanos,
    /// 95th percentile of it.
    pub p95: Nanos,
    /// Iterations by which the backlog grew, per iteration that was due: 0 where the service keeps up.
    pub behind: f64,
    /// Why the rate did not hold, as a sentence without its full stop; absent where it held.
    pub broke: Option<String>,
}

/// A search for the highest rate that holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// All rates that were tried, in order.
    pub probes: Vec<Probe>,
    /// The highest rate that held, less what its backlog grew by where a higher one broke; absent where none held.
    pub holds_per_s: Option<f64>,
    /// The lowest rate above it that broke; absent where none did within the range.
    pub breaks_per_s: Option<f64>,
    /// Why the search ended before it was as near as it should be, if it did.
    pub cut_short: Option<String>,
}

impl Search {
    /// The capacity: in the middle, on a scale of ratios, between what held and what broke; the highest rate that was
    /// tried where nothing broke (a lower bound then).
    pub fn capacity_per_s(&self) -> Option<f64> {
        match (self.holds_per_s, self.breaks_per_s) {
            (Some(holds), Some(breaks)) => Some((holds * breaks).sqrt()),
            (holds, _) => holds,
        }
    }

    /// Why the lowest rate that broke did.
    pub fn broke_by(&self) -> Option<&str> {
        let at = self.breaks_per_s?;
        let broken = self.probes.iter().filter(|p| (p.rate_per_s - at).abs() < 1e-9);
        broken.filter_map(|p| p.broke.as_deref()).next_back()
    }
}
