//! What a comparison counts as a change. The defaults are those that the simulations in docs/compare.md are about.

/// The rules of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of false ones among the operations that are called slower, on average.
    pub false_discovery: f64,
    /// A change smaller than this is nobody's concern, however sure it is; 0.05 is 5 %.
    pub min_effect: f64,
    /// Nor is one of less than so many milliseconds, whatever its ratio: ten times the resolution of reports.
    pub min_change_ms: f64,
    /// Probability of calling the whole service slower by chance.
    pub whole_service: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { false_discovery: 0.05, min_effect: 0.05, min_change_ms: 0.01, whole_service: 0.01 }
    }
}

impl Settings {
    /// The least logarithm of a ratio that counts.
    pub(super) fn least(&self) -> f64 {
        (1.0 + self.min_effect).ln()
    }
}

/// Fewer values of a run than this carry no median, no 95th percentile and no lower quartile.
pub(super) const VALUES_MIN: [u64; 3] = [50, 200, 50];
/// The median of fewer operations is not what the machine did.
pub(super) const FACTOR_FROM: usize = 10;
/// Shorter times than this (in milliseconds) are not tested: reports tell a microsecond, and a timer's cost is of that size.
pub(super) const SHORTEST_MS: f64 = 0.02;
/// Values that lie closer together than this (a quantile over the one below it, less 1) are as good as equal.
pub(super) const NARROWEST: f64 = 1e-3;
/// Confidence of intervals.
pub(super) const CONFIDENCE: f64 = 0.95;
/// The probability with which a change of the stated size would have been seen.
pub(super) const POWER: f64 = 0.8;
