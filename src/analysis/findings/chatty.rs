//! `many_queries`, `chatty_service`, `fan_out`: too many calls in one request of a service, of whatever kind.
//!
//! Where one kind makes most of them it is a series (N+1), and `merge` keeps that; a statement that is sent many times at once is
//! no series, but it is named. Calls at once cost what the slowest of
//! them takes: the more there are, the likelier one is slow.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View, share};
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};

/// Share of a step's requests that must show it: a rare request with many calls is no habit.
const REQUESTS: f64 = 0.10;

/// The share of a step's statements from which one of them is nearly all.
const NEARLY_ALL: f64 = 0.8;

/// The statement that nearly all of a step's are that one service makes.
fn nearly_all(view: &View<'_>, service: &str) -> Option<Contributor> {
    let of_service = |who: &Contributor| who.category == Category::Database && *who.service == *service;
    let parts = view.whole_parts().filter(|(who, _)| of_service(who));
    let calls: Vec<(u64, &Contributor)> = parts.map(|(who, _)| (view.calls_of(who).0, who)).collect();
    let all: u64 = calls.iter().map(|(n, _)| n).sum();
    let (most, who) = calls.into_iter().max_by_key(|(n, who)| (*n, std::cmp::Reverse(*who)))?;
    (share(most, all) >= NEARLY_ALL).then(|| view.with_code(who))
}

/// Too many calls that take enough.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (pattern, claim, calls, least, mean) in [
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
                let mut claim = claim(kind);
                if pattern == Pattern::ManyQueries {
                    claim.related.extend(nearly_all(view, &who.service));
                }
                let many = view.pattern_beside(claim, (who, part), REQUESTS, (least, mean), waited);
                // Some calls are needed: what the others take is what there is to gain.
                let gain = |f: &Found| f.finding.impact.mean.0.saturating_mul(view.tally.exchanges);
                found.extend(many.map(|f| Found { lost: f.lost.min(gain(&f)), ..f }));
            }
        }
    }
    found
}
