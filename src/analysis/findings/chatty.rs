//! `many_queries`, `chatty_service`, `fan_out`: too many calls in one request of a service, of whatever kind.
//!
//! Where one kind makes most of them it is a series (N+1), and `merge` keeps that. Calls at once cost what the slowest of
//! them takes: the more there are, the likelier one is slow.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View};
use crate::analysis::result::{Doubt, FindingKind};

/// Share of a step's requests that must show it: a rare request with many calls is no habit.
const REQUESTS: f64 = 0.10;

/// Too many calls that take enough.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (pattern, claim, calls, share, mean) in [
        (
            Pattern::ManyQueries,
            Claim::sure as fn(FindingKind) -> Claim,
            (FindingKind::ManyQueries, Limit::ManyQueries),
            Limit::ManyShare,
            Limit::ManyMeanMs,
        ),
        (
            Pattern::Chatty,
            Claim::sure,
            (FindingKind::ChattyService, Limit::ChattyCalls),
            Limit::ChattyShare,
            Limit::ChattyMeanMs,
        ),
        (
            Pattern::FanOut,
            |kind| Claim::doubted(kind, Doubt::TimingOnly),
            (FindingKind::FanOut, Limit::FanOutCalls),
            Limit::FanOutShare,
            Limit::FanOutMeanMs,
        ),
    ] {
        let (kind, most) = calls;
        for (who, part) in view.tally.evidence.of(pattern) {
            if part.calls as f64 / part.exchanges.max(1) as f64 >= view.limit(most) {
                // Statements are judged by what is left when waiting is taken out; calls to other services hold such waits.
                let waited = if pattern == Pattern::ManyQueries { view.waited } else { 0 };
                let many = view.pattern_beside(claim(kind), (who, part), REQUESTS, (share, mean), waited);
                // Some calls are needed: what the others take is what there is to gain.
                let gain = |f: &Found| f.finding.impact.mean.0.saturating_mul(view.tally.exchanges);
                found.extend(many.map(|f| Found { lost: f.lost.min(gain(&f)), ..f }));
            }
        }
    }
    found
}
