//! `retry_storm` and `timeout`: failed calls that were made again, and calls (or whole requests) that a time limit ended.
//!
//! A peer that says "not now" (429, 503) is no failure here but a limit: see `rate_limited`.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View, share};
use crate::analysis::result::{Category, Contributor, FindingKind, Severity};
use crate::record::FailureClass;

/// Calls that fail and are made again, calls that end at a limit, and requests that the client gave up.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let evidence = &view.tally.evidence;
    // Judged as the slow call is that they are a part of: by the rest, where requests wait for each other.
    let retried = evidence.of(Pattern::Retried).filter_map(|part| {
        let claim = Claim::sure(FindingKind::RetryStorm);
        let requests = view.limit(Limit::RetryRequests);
        view.pattern_beside(claim, part, requests, (Limit::RetryShare, Limit::RetryMeanMs), view.waited)
    });
    let timed_out = evidence.of(Pattern::TimedOut).filter_map(|part| {
        let claim = Claim::sure(FindingKind::Timeout);
        let requests = view.limit(Limit::TimeoutRequests);
        view.pattern_beside(claim, part, requests, (Limit::TimeoutShare, Limit::TimeoutMeanMs), view.waited)
    });
    retried.chain(timed_out).chain(given_up(view)).collect()
}

/// Share of a step's requests that the client stopped waiting for.
pub(super) const GIVEN_UP: &str = "given_up_share";

/// Requests that the client stopped waiting for.
fn given_up(view: &View<'_>) -> Option<Found> {
    let count = |class| view.tally.failures.get(&class).map_or(0, |m| m.values().sum::<u64>());
    let n = count(FailureClass::Timeout);
    let of_all = share(n, view.tally.exchanges);
    if n < super::MIN_REQUESTS || of_all < view.limit(Limit::TimeoutRequests) {
        return None;
    }
    // Whoever had most of the time in the slowest requests, which these are; in all, where all take as long.
    let bands = &view.tally.joined_bands;
    let alike = bands[2].0 + bands[3].0 == 0;
    let slowest =
        |part: &crate::analysis::tally::Part| if alike { part.total } else { part.bands[2] + part.bands[3] };
    let owners = view.tally.parts.iter().filter(|(who, _)| who.category != Category::Generator);
    let (who, part) = owners.max_by_key(|(who, part)| (slowest(part), std::cmp::Reverse((*who).clone())))?;
    let who: &Contributor = who;
    let mut found =
        view.found(Claim::sure(FindingKind::Timeout), who, part, slowest(part), Default::default());
    found.finding.evidence.insert(GIVEN_UP, of_all);
    found.finding.severity = if of_all >= 0.1 { Severity::Critical } else { Severity::Warning };
    Some(found)
}
