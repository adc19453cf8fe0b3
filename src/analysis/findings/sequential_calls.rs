//! `sequential_calls`: calls to at least three different peers, each made after the end of the one before.
//!
//! Spans tell that they did not overlap, not that they could have: a later call may need an earlier answer. So this is
//! never sure, and asks for a saving that is worth the look.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View};
use crate::analysis::result::{Doubt, FindingKind};

const REQUESTS: f64 = 0.25;

/// Calls in a row whose overlap would save enough.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let found = |part| {
        let claim = Claim::doubted(FindingKind::SequentialCalls, Doubt::TimingOnly);
        view.pattern(claim, part, REQUESTS, Limit::RowShare, Limit::RowMeanMs)
    };
    view.tally.evidence.of(Pattern::InARow).filter_map(found).collect()
}
