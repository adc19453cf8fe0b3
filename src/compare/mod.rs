//! Two sides of runs in, verdicts out: what got slower, whether that is real, and where the difference sits.
//!
//! The run is the sample, not the request: requests of one run share its machine, its warm-up and its neighbours, and a test
//! that takes them for independent cries wolf. Everything here is a pure function of summaries. docs/compare.md has the
//! method with its references, and what simulations of it came to.

mod attribution;
mod changes;
mod confirm;
mod contrast;
mod identity;
mod machine;
mod outcome;
mod settings;
mod structure;
mod summary;
mod suspects;
mod tested;
mod validity;
mod verdict;
mod weights;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use attribution::{Attribution, AttributionPart};
pub use contrast::Design;
pub use identity::steady_name;
pub use outcome::{
    Cause, Change, Changes, OperationChange, QUANTILES, RunLabel, Sides, Status, StepChange, Verdict,
    WholeService,
};
pub use settings::Settings;
pub use structure::{StructureChange, StructureKind};
pub use summary::{
    ContributorKey, ContributorSummary, Environment, LoadSummary, OperationKey, OperationSummary, RunSummary,
    ServiceSummary, StepSummary, TelemetrySummary, Times,
};
pub use suspects::ServiceChange;
pub use validity::Reason;
pub use verdict::{Comparison, compare, design_of};
