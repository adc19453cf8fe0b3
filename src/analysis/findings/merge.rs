//! Two findings of one step about the same time are one, under the deeper cause. Those of several steps: [`over_steps`](super::over_steps).

use super::error_path::FAILED;
use super::retries::GIVEN_UP;
use super::{
    DOMINANT_MEAN, Found, LONG_ANYWAY, View, WORTH_A_WORD, limited_calls, loops, same_work, slow_way,
};
use crate::analysis::names::{FAILURE_WAIT, RETRY_WAIT, callee};
use crate::analysis::result::{Category, Contributor, Doubt, Finding, FindingKind};
use std::sync::Arc;

/// The findings of one step without those whose time another explains.
pub(super) fn under_deeper_causes(found: Vec<Found>, view: &View<'_>) -> Vec<Found> {
    let found = loops::without_time_between(found, view);
    let explained: Vec<bool> = found
        .iter()
        .enumerate()
        .map(|(i, f)| {
            found.iter().enumerate().any(|(j, g)| i != j && explains(g, f) && !held_by_others(g, f, view))
        })
        .collect();
    let mut kept: Vec<Found> = Vec::new();
    let mut waits: Vec<(Contributor, f64)> = Vec::new();
    let mut given_up = None;
    let mut failed = None;
    let mut found = found;
    name_calls(&mut found);
    for (found, explained) in found.into_iter().zip(explained) {
        if !explained {
            kept.push(found);
        } else if found.finding.kind == FindingKind::ErrorPath {
            failed = found.finding.evidence.get(FAILED).copied();
        } else if let Some(share) = found.finding.evidence.get(GIVEN_UP) {
            given_up = Some((*share, found.finding.severity, found.finding.contributor));
        } else if found.finding.kind == FindingKind::PoolWait {
            let mean = found.finding.number("mean_ms");
            waits.push((found.finding.contributor, mean));
        }
    }
    // What is why the client gives up is as bad as that.
    if let Some((share, severity, who)) = given_up {
        let why = |f: &&mut Found| tells_why(f.finding.kind) && is_about(&f.finding, &who);
        if let Some(cause) = kept.iter_mut().find(why) {
            cause.finding.evidence.insert(GIVEN_UP, share);
            cause.finding.severity = cause.finding.severity.max(severity);
        }
    }
    // So is how many of the requests fail of it.
    if let Some(share) = failed
        && let Some(cause) = kept.iter_mut().filter(|f| makes_fail(f.finding.kind)).max_by_key(|f| f.lost)
    {
        cause.finding.evidence.insert(FAILED, share);
    }
    rank_behind_their_index(&mut kept);
    // What a statement makes others wait for its connection belongs to its evidence.
    for (wait, mean) in waits {
        let holder = kept
            .iter_mut()
            .filter(|f| is_query(f.finding.kind) && f.finding.contributor.service == wait.service);
        if let Some(holder) = holder.max_by_key(|f| f.lost) {
            *holder.finding.evidence.entry("pool_wait_ms").or_default() += mean;
        }
    }
    kept
}

/// Whether a statement is no reason to wait for connections, for those are known to be held mostly by something else.
fn held_by_others(cause: &Found, wait: &Found, view: &View<'_>) -> bool {
    wait.finding.kind == FindingKind::PoolWait
        && is_query(cause.finding.kind)
        && view.holders.are_not_statements(&wait.finding.contributor.service)
}

/// A loop whose statement scans a table each time loses what the index mends to that: it is the quicker remedy, and told first.
fn rank_behind_their_index(kept: &mut [Found]) {
    let scans: Vec<(Contributor, u64)> = kept
        .iter()
        .filter(|f| f.finding.kind == FindingKind::MissingIndex)
        .map(|f| (f.finding.contributor.clone(), f.lost))
        .collect();
    for found in kept.iter_mut().filter(|f| f.finding.kind == FindingKind::NPlusOneQuery) {
        let of_loop = scans.iter().filter(|(who, _)| is_about(&found.finding, who));
        let scanned: u64 = of_loop.map(|(_, lost)| lost).sum();
        found.lost = found.lost.saturating_sub(scanned);
    }
}

/// Milliseconds of one call from which the scan of a table is worth a word beside the loop that makes it.
const LONG_SCAN: f64 = 3.0;

/// Whether each call of a statement scans a table for long: an index mends that, however often it is called.
fn scans_for_long(index: &Finding) -> bool {
    index.number("mean_ms") >= LONG_SCAN * index.number("calls_per_exchange").max(1.0)
}

/// Calls whose number or order is told are listed there.
fn name_calls(found: &mut [Found]) {
    for at in 0..found.len() {
        if !matches!(found[at].finding.kind, FindingKind::SequentialCalls | FindingKind::FanOut) {
            continue;
        }
        let calls = found.iter().filter(|f| f.finding.kind == FindingKind::SlowExternal);
        let calls = calls.filter(|f| explains(&found[at], f)).map(|f| f.finding.contributor.clone());
        let mut calls: Vec<Contributor> = calls.collect();
        calls.sort();
        found[at].finding.related = calls;
    }
}

fn is_way_to_a_database(finding: &Finding) -> bool {
    finding.contributor.category == Category::Database
}

/// A statement as such, whatever is wrong with it.
pub(super) fn is_query(kind: FindingKind) -> bool {
    use FindingKind::{
        DuplicateQuery, LockContention, ManyQueries, MissingIndex, NPlusOneQuery, SlowQuery, Uncached,
    };
    matches!(
        kind,
        NPlusOneQuery | SlowQuery | MissingIndex | Uncached | DuplicateQuery | ManyQueries | LockContention
    )
}

/// Whether a kind says why something takes long, and not only that it does.
fn tells_why(kind: FindingKind) -> bool {
    use FindingKind as K;
    match kind {
        K::SlowQuery | K::SlowExternal | K::SlowNetwork | K::AppCpu | K::Timeout | K::ErrorPath => false,
        K::NPlusOneCall | K::SequentialCalls | K::PoolWait | K::EventLoopBlocked | K::CacheMiss => true,
        kind => is_query(kind),
    }
}

/// Whether a kind is calls that fail, so that the requests that make them may fail for it.
fn makes_fail(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::Timeout | FindingKind::RateLimited | FindingKind::RetryStorm)
}

/// Whether a finding is about a contributor's work, as its first or as another.
fn is_about(finding: &Finding, who: &Contributor) -> bool {
    std::iter::once(&finding.contributor).chain(&finding.related).any(|one| same_work(who, one))
}

/// Whether `cause` stands for the time of `effect` too.
fn explains(cause: &Found, effect: &Found) -> bool {
    use FindingKind as K;
    let (c, e) = (&cause.finding, &effect.finding);
    let same = is_about(c, &e.contributor);
    let one_service = c.contributor.service == e.contributor.service;
    match (c.kind, e.kind) {
        // Calls that are made again because they fail are no loop over items; where few fail, the loop is the cause.
        (K::RetryStorm, K::NPlusOneCall) if same => 2 * cause.lost >= effect.lost,
        (K::NPlusOneCall, K::RetryStorm) if same => 2 * effect.lost < cause.lost,
        (K::NPlusOneQuery, K::MissingIndex) if same && scans_for_long(e) => false,
        // Many calls are the cause of their long sum, and of their number.
        (K::NPlusOneQuery | K::NPlusOneCall, other) if same => other != c.kind,
        (K::NPlusOneQuery, K::ManyQueries) | (K::NPlusOneCall, K::ChattyService | K::SequentialCalls) => {
            one_service && most_of(cause, effect)
        }
        // Many calls to a service are the cause of all that it does for them.
        (K::NPlusOneCall, _) if c.contributor.category == Category::Network => {
            *e.contributor.service == *callee(&c.contributor) && e.kind != K::NPlusOneCall
        }
        // So many at once that each waits for the others: none of them is slow.
        (K::ManyQueries, K::SlowQuery) if same => come_back_in_turn(e),
        // An index that several statements want is one cause, and why there is much time in many.
        (K::MissingIndex, K::MissingIndex) if same => !c.related.is_empty() && e.related.is_empty(),
        (K::MissingIndex, K::ManyQueries) => one_service && 2 * cause.lost >= effect.lost,
        // Where each statement takes long whatever it asks, none is slow, and many are so for that.
        (K::SlowNetwork, K::SlowQuery | K::Uncached) if one_service && is_way_to_a_database(c) => {
            let calls = e.number("calls_per_exchange").max(1.0);
            c.contributor.system == e.contributor.system
                && e.number("mean_ms") <= slow_way::ALIKE * calls * c.number(slow_way::AT_LEAST)
        }
        (K::SlowNetwork, K::ManyQueries) if one_service && is_way_to_a_database(c) => {
            2 * cause.lost >= effect.lost
        }
        // The same question twice in one request, or in every request.
        (K::DuplicateQuery, K::SlowQuery | K::ManyQueries | K::Uncached) if same => {
            3 * cause.lost >= effect.lost
        }
        // Failures and time limits are why the calls take long; a failed call that is made again, why it times out.
        (K::RetryStorm, K::SlowExternal | K::SlowQuery | K::Timeout | K::SlowNetwork) if same => {
            3 * cause.lost >= effect.lost
        }
        // That the client gave up says nothing of why; what has a reason of its own does.
        (kind, K::Timeout) if e.evidence.contains_key(GIVEN_UP) && tells_why(kind) && same => true,
        (K::Timeout, K::SlowExternal | K::SlowQuery | K::SlowNetwork) if same => {
            2 * cause.lost >= effect.lost
        }
        (K::Timeout, K::LockContention) if same => {
            !c.evidence.contains_key(GIVEN_UP) && 2 * cause.lost >= effect.lost
        }
        // The miss is why the statement behind it runs at all.
        (K::CacheMiss, _) if same && !matches!(e.kind, K::CacheMiss | K::MissingIndex) => true,
        // A statement that holds its connection long is the cause of the wait for connections.
        (kind, K::PoolWait) if is_query(kind) && c.contributor.category != Category::App => {
            !limited_calls::is_told_by(e) && one_service && holds_enough(cause.lost, effect.lost)
        }
        // Where each of several calls in a row takes less than doing them at once would save, their order is the cause; and their
        // number, where of many at once each comes back after the other.
        // Calls that are too many are too many in a row, too.
        (K::ChattyService, K::SequentialCalls) => one_service && cause.lost >= effect.lost,
        (K::SequentialCalls, K::SlowExternal) => one_service && cause.lost > effect.lost,
        (K::FanOut, K::SlowExternal) => comes_back_in_turn(c, e),
        (K::SlowExternal, K::FanOut) if comes_back_in_turn(e, c) => false,
        // One slow thing among many is the cause, not their number or order.
        (kind, K::FanOut | K::SequentialCalls | K::ChattyService)
            if !matches!(kind, K::FanOut | K::SequentialCalls | K::ChattyService | K::ErrorPath) =>
        {
            cause.lost >= effect.lost
        }
        // What failed is named, and the wait after it belongs to it.
        (K::RetryStorm, K::RetryStorm) => {
            e.contributor.name.strip_prefix(FAILURE_WAIT) == Some(&*c.contributor.name)
        }
        (K::RetryStorm, K::SlowExternal) => {
            c.contributor.name.strip_prefix(FAILURE_WAIT) == Some(&*e.contributor.name)
                && cause.lost >= effect.lost
        }
        // Requests that fail late because of it: their time is that cause's.
        (kind, K::ErrorPath) if makes_fail(kind) => effect.lost > 0 && 2 * cause.lost >= effect.lost,
        // A start is told once, by its longest part.
        (K::ColdStart, K::ColdStart) => (cause.lost, &e.contributor) > (effect.lost, &c.contributor),
        // A slow instance makes all that it does slow.
        (K::SlowInstance, K::AppCpu | K::EventLoopBlocked) => {
            cause.doubt.is_none() && one_service && 2 * cause.lost >= effect.lost
        }
        // One that serves more users waits longer for what all wait for.
        (K::AppCpu | K::EventLoopBlocked | K::LockContention | K::PoolWait, K::SlowInstance) => {
            effect.doubt == Some(Doubt::MoreRequests) && one_service && 2 * cause.lost >= effect.lost
        }
        // In a loop that lets nobody in, all that waits for it ends one after the other.
        (K::EventLoopBlocked, K::LockContention) if one_service => {
            matches!(effect.doubt, Some(Doubt::InTurn | Doubt::OneByOne)) && 2 * cause.lost >= effect.lost
        }
        // Requests wait to be taken in because the code holds up the process.
        (K::EventLoopBlocked | K::AppCpu | K::StaticByApp, K::Queueing | K::SlowNetwork) => {
            e.contributor.category == Category::Network && leads_to(&e.contributor, &c.contributor.service)
        }
        // A refused call and the wait to make it again: whichever takes more, but not where a call alone takes too long.
        (K::RateLimited, K::SlowExternal) => {
            retries(c.contributor.name.as_ref(), e) && cause.lost >= effect.lost && !is_slow_alone(e, c)
        }
        (K::SlowExternal, K::RateLimited) => {
            retries(e.contributor.name.as_ref(), c) && cause.lost > effect.lost
        }
        _ => false,
    }
}

/// Whether a request's calls would take too long if there were only one. Refused ones are quick, so the longest tell.
fn is_slow_alone(calls: &Finding, wait: &Finding) -> bool {
    let one = calls.number("call_p95_ms");
    one >= DOMINANT_MEAN.as_millis_f64()
        && (one >= WORTH_A_WORD * wait.number("mean_ms") || one >= LONG_ANYWAY.as_millis_f64())
}

/// How many times as long the slowest twentieth of calls must take as the quickest tenth to come back one after the other.
const IN_TURN: f64 = 4.0;

/// Whether the calls that are made at once are mostly those, and come back one after the other: the peer or the way to it does
/// them in turn, and each alone is quick.
fn comes_back_in_turn(fan_out: &Finding, calls: &Finding) -> bool {
    fan_out.contributor.service == calls.contributor.service
        && 2.0 * calls.number("calls_per_exchange") >= fan_out.number("calls_per_exchange")
        && come_back_in_turn(calls)
}

/// Whether the slowest of a kind of calls take so much longer than the quickest that they seem to be answered in turn.
fn come_back_in_turn(calls: &Finding) -> bool {
    let quick = calls.number("call_p10_ms");
    quick > 0.0 && calls.number("call_p95_ms") >= IN_TURN * quick
}

pub(super) fn leads_to(way: &Contributor, service: &Arc<str>) -> bool {
    callee(way) == &**service
}

/// Whether at least half of the effect's calls are the cause's.
fn most_of(cause: &Found, effect: &Found) -> bool {
    let calls = |f: &Found, key: &str| f.finding.evidence.get(key).copied();
    let own = calls(cause, "loop_calls").or(calls(cause, "calls_per_exchange")).unwrap_or(0.0);
    2.0 * own >= calls(effect, "calls_per_exchange").unwrap_or(f64::INFINITY)
}

fn retries(wait: &str, call: &Finding) -> bool {
    wait.strip_prefix(RETRY_WAIT) == Some(&*call.contributor.name)
}

/// How many times its own time a statement can be why others wait for its connection: as many requests then want each.
const WANT_IT: u64 = 10;

/// Whether statements that lose so much can be why requests wait so long for connections: where the wait is far more, a statement
/// that happens to be told of in the same page does not explain it away.
pub(super) fn holds_enough(held: u64, waited: u64) -> bool {
    held.saturating_mul(WANT_IT) >= waited
}

#[cfg(test)]
mod tests {
    use super::holds_enough;

    #[test]
    fn a_statement_explains_waits_of_up_to_ten_times_its_own_time() {
        assert!(holds_enough(10, 100) && holds_enough(u64::MAX / 2, u64::MAX));
        assert!(!holds_enough(10, 101) && !holds_enough(0, 1));
    }
}
