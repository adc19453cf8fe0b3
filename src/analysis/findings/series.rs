//! `n_plus_one_query`, `n_plus_one_call`: the same statement or call many times in one request, one after the other.
//!
//! Counted over one request of a service, not over one parent span: frameworks and ORMs like to put a span around each
//! item of the loop, and then no two calls are siblings. Calls that overlap are no series; they were sent at once. Nothing
//! depends on seeing parameters, which most instrumentation hides. Statements of one loop (M+N+1) are one finding that
//! lists them: they run within the same time in the same requests.
//!
//! A loop costs a request more than its calls: a mapper and a driver work before and after each, in a slow language for longer than
//! a near database does. So from [`Limit::QuickCalls`] calls on, the caller's own time between them counts for what is too
//! much, and for what a fix brings. Blame keeps them apart: it is own time of the service.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, MIN_REQUESTS, View, mean_ms, share};
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use std::collections::BTreeMap;

/// Share of a step's requests below which those with a series may be of another kind than the rest: a step that mixes pages
/// with one item and pages with ten is no step.
const MINORITY: f64 = 0.20;

/// Rounds of a loop of several statements from which it is one.
const ROUNDS_MIN: f64 = 3.0;

/// Series that take enough of enough requests, by loops.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let often = |(who, part): &(&Contributor, &Part)| {
        let (n, _) = view.basis(who);
        let calls = part.calls as f64 / part.exchanges.max(1) as f64;
        part.exchanges >= MIN_REQUESTS
            && share(part.exchanges, n) >= view.limit(Limit::SeriesRequests)
            && calls >= view.limit(Limit::SeriesCalls).min(ROUNDS_MIN)
    };
    let mut left: Vec<(&Contributor, &Part)> = view.tally.series.iter().filter(often).collect();
    // The longest first: it names the loop.
    left.sort_by(|a, b| b.1.total.cmp(&a.1.total).then(a.0.cmp(b.0)));
    let mut found = Vec::new();
    while !left.is_empty() {
        let mut members = vec![left.remove(0)];
        let mut at = 0;
        while at < members.len() {
            let one = members[at];
            let (with, without) = left.into_iter().partition(|other| in_one_loop(view, one, *other));
            let mut with: Vec<_> = with;
            members.append(&mut with);
            left = without;
            at += 1;
        }
        let of = |part: &Part| part.calls as f64 / part.exchanges.max(1) as f64;
        let (longest, all) =
            members.iter().map(|m| of(m.1)).fold((0.0, 0.0), |(max, sum), n| (n.max(max), sum + n));
        let several = members.len() > 1 && all >= view.limit(Limit::LoopCalls);
        if longest >= view.limit(Limit::SeriesCalls) {
            found.extend(judge(view, &members, view.limit(Limit::SeriesMeanMs)));
        } else if several {
            // A loop over few rows is worth mending only where its calls take much.
            found.extend(judge(view, &members, view.limit(Limit::MeanMs)));
        }
    }
    found
}

/// Whether two series ran within the same time in at least half of the requests that have the rarer.
fn in_one_loop(view: &View<'_>, a: (&Contributor, &Part), b: (&Contributor, &Part)) -> bool {
    let key = if a.0 <= b.0 { (a.0.clone(), b.0.clone()) } else { (b.0.clone(), a.0.clone()) };
    let together = view.tally.evidence.loops.get(&key).copied().unwrap_or(0);
    2 * together >= a.1.exchanges.min(b.1.exchanges)
}

fn judge(view: &View<'_>, members: &[(&Contributor, &Part)], floor_ms: f64) -> Option<Found> {
    let (who, part) = members[0];
    let (n, latency) = view.basis(who);
    let total: u64 = members.iter().map(|m| m.1.total).sum();
    // Where all wait for each other, who makes them wait has little of the latency.
    let latency = latency.saturating_sub(view.waited_beside(who) + view.told).max(total);
    let owned = share(total, latency);
    let mean = mean_ms(total, n);
    let of = |part: &Part| part.calls as f64 / part.exchanges.max(1) as f64;
    // Members of one loop share the time between: the longest has it all.
    let own = members.iter().filter_map(|m| between(view, m.0)).max_by_key(|part| part.total);
    let with_own = total + own.map_or(0, |part| part.total);
    let much = owned >= view.limit(Limit::SeriesShare) && mean >= floor_ms;
    if !much && (of(part) < view.limit(Limit::QuickCalls) || !is_much(view, with_own, (n, latency))) {
        return None;
    }
    let mut evidence = BTreeMap::from([
        ("share", share(total, view.basis(who).1)),
        ("mean_ms", mean),
        ("calls_per_exchange", of(part)),
        ("call_mean_ms", mean_ms(part.total, part.calls)),
        ("exchanges_share", share(part.exchanges, n)),
    ]);
    if let Some(own) = own.filter(|own| own.total > 0) {
        evidence.insert("between_ms", mean_ms(own.total, n));
    }
    let kind = match who.category {
        Category::Database | Category::Cache | Category::Search => FindingKind::NPlusOneQuery,
        _ => FindingKind::NPlusOneCall,
    };
    // One call in place of many is what a fix leaves.
    let left: u64 = members.iter().map(|m| (m.1.total as f64 / of(m.1).max(1.0)) as u64).sum();
    let claim = if share(part.exchanges, n) < MINORITY {
        Claim::doubted(kind, Doubt::Minority)
    } else if members.iter().all(|m| of(m.1) < view.limit(Limit::SeriesCalls)) {
        Claim::doubted(kind, Doubt::FewRounds)
    } else {
        Claim::sure(kind)
    };
    let left = left + own.map_or(0, |own| (own.total as f64 / of(part).max(1.0)) as u64);
    let mut found = view.found(claim, who, part, with_own - left.min(with_own), evidence);
    // The parts' own impacts do not overlap: each is of its own calls, and one of them of the time between too.
    let impact = |(who, part): &(&Contributor, &Part)| {
        let both = own.filter(|own| between(view, who).is_some_and(|part| std::ptr::eq(*own, part)));
        view.impact(both.unwrap_or(part))
    };
    found.finding.impact = members.iter().map(impact).sum();
    found.finding.related = members[1..].iter().map(|m| view.with_code(m.0)).collect();
    if members.len() > 1 {
        let all: u64 = members.iter().map(|m| m.1.calls).sum();
        found.finding.evidence.insert("loop_statements", members.len() as f64);
        found.finding.evidence.insert("loop_calls", all as f64 / part.exchanges.max(1) as f64);
    }
    Some(found)
}

/// What the caller's own code does between the calls of a series.
fn between<'a>(view: &View<'a>, who: &Contributor) -> Option<&'a Part> {
    view.tally.evidence.patterns.get(&(Pattern::Between, who.clone()))
}

/// Whether quick calls and the time between them are worth mending: as much as slow calls must take, or less of a request that
/// they are most of, for the fastest services are slow by them too.
fn is_much(view: &View<'_>, time: u64, (n, latency): (u64, u64)) -> bool {
    let (owned, mean) = (share(time, latency), mean_ms(time, n));
    (owned >= view.limit(Limit::SeriesShare) && mean >= view.limit(Limit::SeriesMeanMs))
        || (owned >= view.limit(Limit::QuickShare) && mean >= view.limit(Limit::QuickMeanMs))
}
