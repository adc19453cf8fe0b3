//! `pool_wait` before calls to other services that no span records: a semaphore, a bulkhead or a client's own pool lets only so many
//! calls be under way at once, and requests wait for a place in the service's own time right before theirs.
//!
//! Code that runs before its call looks the same in one request. What tells a limit is who is under way: whenever a request of a
//! process waits, there are always as many calls as there are places, neither more nor fewer, at least as many others wait, and
//! the next call begins as another ends. Requests that compute before they call do not care who is under way; where they wait for a
//! core or an event loop, a call begins as a calculation ends, and not as a call does; a peer that is slow makes no own time at all.
//! A limit may be one page's, or all pages' that make the same call, or all calls' of the service.

use super::event_loop::{EDGE, Requests};
use super::evidence::Pattern;
use super::queueing::{self, Inside};
use super::{Claim, View, mean_ms};
use crate::analysis::result::{Contributor, Doubt, Finding, FindingKind};
use crate::analysis::tally::Part;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The share of a contributor's time that must be such waiting for it to be that.
const MOST: f64 = 0.5;
/// The share of those that wait whose call must begin as another ends, and within which part of the time from one end to the next.
const AS_OTHERS_END: f64 = 0.5;
const AT_ONCE: f64 = 0.25;
/// Places below which it is one.
const MORE_THAN_ONE: f64 = 1.5;
/// The evidence of how many calls may be under way.
pub(super) const PLACES: &str = "places";

/// A limit, and the calls before which requests wait.
struct Limited {
    places: f64,
    calls: Vec<Contributor>,
}

/// Own time most of which is such waiting.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    let before = view.tally.evidence.by_owner(Pattern::BeforeCall, who)?;
    if (before.total as f64) < MOST * part.total as f64 {
        return None;
    }
    let limited = limit(view, &who.service)?;
    let (n, _) = view.basis(who);
    let kind = match limited.places < MORE_THAN_ONE {
        true => FindingKind::LockContention,
        false => FindingKind::PoolWait,
    };
    let mut claim = Claim::doubted(kind, Doubt::CallsInFlight).with(&[
        ("before_calls_ms", mean_ms(before.total, n)),
        ("wait_ms", mean_ms(before.total, before.calls)),
        (PLACES, limited.places),
    ]);
    claim.related = limited.calls;
    Some(claim)
}

/// The limit for which a step's requests wait before the calls of a service: of the step's own calls of one kind, of all of that
/// kind, or of all that the service makes.
fn limit(view: &View<'_>, service: &Arc<str>) -> Option<Limited> {
    let waited = |of: &Requests| of.sample.iter().map(|r| r.2.saturating_sub(r.1)).sum::<u64>();
    let mut waits: BTreeMap<&Contributor, u64> = BTreeMap::new();
    for ((call, _), of) in
        view.tally.evidence.callers.iter().filter(|((call, _), _)| call.service == *service)
    {
        *waits.entry(call).or_default() += waited(of);
    }
    // The call before which they wait longest; of equal ones the first by its name.
    let (call, _) = waits.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)))?;
    let of_step = view.tally.evidence.callers.iter().filter(|((of, _), _)| of == call);
    let found = |places: f64, calls: Vec<Contributor>| Limited { places, calls };
    if let Some(places) = places(by_process(of_step)) {
        return Some(found(places, vec![call.clone()]));
    }
    let of_call = view.callers.iter().filter(|((of, _), _)| of == call);
    if let Some(places) = places(by_process(of_call)) {
        return Some(found(places, vec![call.clone()]));
    }
    let all = view.callers.iter().filter(|((of, _), _)| of.service == *service);
    let calls = || view.callers.keys().filter(|(of, _)| of.service == *service).map(|(of, _)| of.clone());
    let mut calls: Vec<Contributor> = calls().collect();
    calls.dedup();
    (calls.len() > 1).then(|| places(by_process(all))).flatten().map(|places| found(places, calls))
}

fn by_process<'a>(
    all: impl Iterator<Item = (&'a (Contributor, Arc<str>), &'a Requests)>,
) -> BTreeMap<&'a Arc<str>, Requests> {
    let mut processes: BTreeMap<&Arc<str>, Requests> = BTreeMap::new();
    for ((_, instance), of) in all {
        processes.entry(instance).or_default().merge(of);
    }
    processes
}

/// How many calls each process has under way whenever others wait, if there is a limit in each in which some do.
fn places(processes: BTreeMap<&Arc<str>, Requests>) -> Option<f64> {
    let mut most = None;
    let (mut waited, mut taken) = (0.0, 0.0);
    for requests in processes.values().filter(|requests| Inside::is_waited_for(requests)) {
        let served = Inside::served_at_once(requests)?;
        let places = served.round();
        // A sample does not have all that are under way.
        if requests.kept() >= 1.0 && at_once(requests) as f64 > places {
            return None;
        }
        most = Some(most.map_or(places, |most: f64| most.max(places)));
        let (n, as_others_end) = taken_as_others_end(requests);
        (waited, taken) = (waited + n, taken + as_others_end);
    }
    most.filter(|_| taken >= AS_OTHERS_END * waited)
}

/// Calls of a process before which its requests waited, and how many of them began just as another ended: within a part of the time
/// from one end to the next. By chance a fifth of them does.
fn taken_as_others_end(requests: &Requests) -> (f64, f64) {
    let sample = &requests.sample;
    let mut ends: Vec<u64> = sample.iter().map(|r| r.3).collect();
    ends.sort_unstable();
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else { return (0.0, 0.0) };
    // Of a sample, the one that ended is kept as rarely as all.
    let kept = requests.kept();
    let from_end_to_end = (last - first) as f64 * kept / ends.len() as f64;
    let (mut waited, mut taken) = (0.0, 0.0);
    for (_, since, begun, _) in sample.iter().filter(|r| queueing::has_waited(r.1, r.2)) {
        let before = &ends[..ends.partition_point(|end| *end <= begun + EDGE)];
        let freed = before.last().is_some_and(|end| {
            *end >= *since && begun.saturating_sub(*end) as f64 <= AT_ONCE * from_end_to_end
        });
        (waited, taken) = (waited + 1.0, taken + f64::from(u8::from(freed)) / kept);
    }
    (waited, taken)
}

/// Most calls that are under way at one moment, but for what the clocks of spans overlap.
fn at_once(requests: &Requests) -> usize {
    let mut moments: Vec<(u64, bool)> = Vec::new();
    for (_, _, begun, ended) in requests.sample.iter().filter(|r| r.3 > r.2) {
        moments.extend([(*begun, true), (ended - (2 * EDGE).min((ended - begun) / 4), false)]);
    }
    // What ends as another begins is not under way with it.
    moments.sort_unstable();
    let (mut now, mut most) = (0usize, 0);
    for (_, begins) in moments {
        now = if begins { now + 1 } else { now.saturating_sub(1) };
        most = most.max(now);
    }
    most
}

/// Whether a wait is told by the calls that are under way.
pub(super) fn is_told_by(finding: &Finding) -> bool {
    finding.evidence.contains_key(PLACES)
}

/// Whether two waits are for the same places.
pub(super) fn are_one(a: &Finding, b: &Finding) -> bool {
    is_told_by(a) == is_told_by(b)
        && (!is_told_by(a) || (a.number(PLACES) == b.number(PLACES) && a.related == b.related))
}
