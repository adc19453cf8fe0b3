//! Exchanges and spans in, blame out: what kind of work a span is, join, tree, critical path, blame, aggregates, findings.
//!
//! No I/O and nothing that can fail: real traces are broken, and a broken one is a note.

mod alike_paths;
mod analyzer;
mod blame;
mod change;
mod codec;
mod contain;
pub mod doctor;
mod facts;
mod findings;
mod frameworks;
mod groups;
mod messages;
mod moments;
mod names;
mod opaque;
mod partial;
mod path;
mod pictures;
mod plan;
pub mod plans;
mod presence;
mod reason;
pub mod result;
mod row;
pub mod runtime;
mod saturation;
mod segments;
mod semantics;
pub mod statement;
mod sums;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeline;
mod trace_cost;
mod tree;
mod verdict;
mod whatif;

pub use crate::record::Partition;
pub use analyzer::{Analyzer, finish_all};
pub use change::{ChangeError, WhatIf};
pub use findings::{LIMITS, LimitError, LimitInfo, Limits, MIN_REQUESTS};
pub use partial::Partial;
pub use path::{PathSegment, PathSpan, critical_path};
pub use segments::{Blame, Segment, blame_exchange, blame_trace};
pub use trace_cost::TraceCosts;
