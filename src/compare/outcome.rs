//! What a comparison says of each thing: plain values, no judgement made here.

use super::attribution::Attribution;
use super::summary::{OperationKey, RunSummary};
use std::sync::Arc;

/// What became of something between base and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Slower, for certain and by enough to matter.
    Regressed,
    /// Faster, for certain and by enough to matter.
    Improved,
    /// Whatever change there is, it is smaller than what matters.
    Same,
    /// Too few or too noisy runs to say.
    CannotTell,
}

impl Verdict {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Regressed => "regressed",
            Verdict::Improved => "improved",
            Verdict::Same => "same",
            Verdict::CannotTell => "cannot_tell",
        }
    }
}

/// The answer of a whole comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Something got worse.
    Regressed,
    /// Nothing that matters changed.
    Same,
    /// No regression was shown, and none of some size excluded.
    CannotTell,
    /// The runs cannot be compared.
    Invalid,
}

impl Status {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Regressed => "regressed",
            Status::Same => "same",
            Status::CannotTell => "cannot_tell",
            Status::Invalid => "invalid",
        }
    }
}

/// A quantile in base and head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Geometric mean over the runs of base, in milliseconds.
    pub base_ms: f64,
    /// The same of head.
    pub head_ms: f64,
    /// Head over base; of operations without what the machine did to all of them.
    pub ratio: f64,
    /// Lower end of its interval; 0 where there is none.
    pub low: f64,
    /// Upper end; infinite where there is none.
    pub high: f64,
    /// Probability of a value so much slower by chance.
    pub slower_by_chance: f64,
    /// The ratio that would have been called slower four times out of five.
    pub detectable: f64,
    /// What that means.
    pub verdict: Verdict,
}

/// The quantiles that are compared, in the order in which they are told. The lower quartile is what other programs of the machine
/// touch least: that of a wait differs from run to run by a third of what its median does.
pub const QUANTILES: [&str; 3] = ["p50", "p95", "p25"];

/// The changes of those quantiles; none where it was not tested.
pub type Changes = [Option<Change>; QUANTILES.len()];

/// A value of each side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sides {
    /// Of base.
    pub base: f64,
    /// Of head.
    pub head: f64,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepChange {
    /// Its journey.
    pub journey: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Exchanges, of all runs.
    pub exchanges: Sides,
    /// Share of them that failed.
    pub errors: Sides,
    /// Mean latency in milliseconds.
    pub mean_ms: Sides,
    /// Corrected latency.
    pub latency: Changes,
    /// The worst of these.
    pub verdict: Verdict,
    /// Where the difference of the means sits.
    pub attribution: Attribution,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationChange {
    /// Which.
    pub key: OperationKey,
    /// Name of its category.
    pub category: Arc<str>,
    /// Calls in an exchange in which it occurs.
    pub calls_per_exchange: Sides,
    /// Its own time on the critical path, over all exchanges of a run.
    pub mean_ms_per_exchange: Sides,
    /// Share of its spans with an error.
    pub errors: Sides,
    /// Own time of an exchange.
    pub own: Changes,
    /// Duration of its spans.
    pub duration: Changes,
    /// The worst of these.
    pub verdict: Verdict,
    /// Where it got slower: in its own time, or only in what it calls.
    pub cause: Cause,
}

/// Where an operation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// In its own time on the critical path.
    Own,
    /// In what it calls or off the critical path: its duration alone changed.
    Below,
    /// It did not, as far as can be told.
    None,
}

/// What happened to all operations alike: another machine state, or a change to the whole service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WholeService {
    /// Of medians, with an interval of 99 %.
    pub p50: Change,
    /// Of 95th percentiles.
    pub p95: Change,
    /// Operations that it is the median of.
    pub operations: usize,
    /// The worst of the two.
    pub verdict: Verdict,
}

/// A run of a side, as readers know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunLabel {
    /// Its id.
    pub id: String,
    /// Where it was read from.
    pub source: String,
    /// The commit that it was of.
    pub commit: Option<String>,
}

impl RunLabel {
    pub(super) fn of(run: &RunSummary) -> RunLabel {
        RunLabel { id: run.id.clone(), source: run.source.clone(), commit: run.commit.clone() }
    }
}
