//! `pool_wait` that no span records: most libraries say nothing while a request waits for a connection of their pool, so that the
//! wait is own time of the service, right before a call to the database.
//!
//! One page alone does not tell it from code that runs before its first statement. But those who wait for one pool wait alike,
//! whatever they do: so it is told of a service of which nearly all pages with statements have long own time right before
//! them, and little elsewhere, while its pages without statements have little at all. A service without a free core is slow in
//! all of these places. Who takes a connection waits for it each time: once for a request, a few times for its transactions, or
//! for every statement. Long own time before some of many statements, and hardly before the first, is no pool's: it is code
//! between them, or waiting for a core or an interpreter's lock, which comes anywhere.
//!
//! Under a light load most find a connection at once. So it is told, too, where the long ones of these times are as far from what
//! the service does elsewhere, and most of them end just as another request that asked the database ends.
//!
//! Of one page alone it is told where there are always as many of its requests beyond their first statement while others wait
//! before it, and no fewer wait than are beyond: so many connections it has. Code that runs before takes as long whoever is there. Where
//! that is one, and other pages find their connections at once, it is a lock of that page (`lock_contention`).

use super::event_loop::Requests;
use super::evidence::Pattern;
use super::queueing::{self, Inside, SERVED_AT_ONCE};
use super::{Claim, MIN_REQUESTS, View, anywhere, limited_calls, mean_ms, share};
use crate::analysis::result::{Category, Contributor, Doubt, Finding, FindingKind};
use crate::analysis::tally::{Part, StepTally};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Own time right before statements that makes a page one that waits, in ms of its mean.
const WAITS: f64 = 10.0;
/// Pages that must wait, and the share of the service's pages with statements that they must be.
const PAGES: usize = 2;
const NEARLY_ALL: f64 = 0.75;
/// The share of it that must be before the first statement of a request, which takes its connections a few times at most; or the
/// share of the statements that must wait, each of which takes one.
const BEFORE_FIRST: f64 = 0.25;
const BEFORE_EACH: f64 = 0.5;
/// How many times the own time of other places and pages it must be.
const FAR_MORE: f64 = 4.0;
/// The share of a contributor's time that must be such waiting for it to be that.
const MOST: f64 = 0.5;

/// What the pages of a service take, in ms.
#[derive(Default)]
struct Pages {
    /// Of pages with statements: right before them, and elsewhere.
    before: Vec<f64>,
    elsewhere: Vec<f64>,
    /// Of pages without.
    plain: Vec<f64>,
    /// One long wait of each page that has some.
    each: Vec<f64>,
    /// Who asks a database, in each process.
    askers: BTreeMap<Arc<str>, Requests>,
}

/// Services whose requests wait before their statements.
pub(super) fn services(steps: &[StepTally]) -> BTreeSet<Arc<str>> {
    let mut services: BTreeMap<Arc<str>, Pages> = BTreeMap::new();
    for step in steps {
        let (n, _) = step.joined_sum();
        let mut own: BTreeMap<&Arc<str>, (u64, bool)> = BTreeMap::new();
        for (who, part) in &step.parts {
            let (time, asks) = own.entry(&who.service).or_default();
            match who.category {
                Category::App => *time += part.total,
                Category::Database => *asks |= part.exchanges > 0,
                _ => {}
            }
        }
        for (service, (time, asks)) in own.into_iter().filter(|(service, _)| !service.is_empty()) {
            let pages = services.entry(service.clone()).or_default();
            if !asks {
                pages.plain.push(mean_ms(time, n));
                continue;
            }
            let of = step.evidence.of(Pattern::BeforeDatabase).filter(|(who, _)| who.service == *service);
            let (before, long) = of.fold((0, 0), |sum, (_, part)| (sum.0 + part.total, sum.1 + part.calls));
            let taken =
                is_before_the_first(step, service, mean_ms(before, n)) || is_before_each(step, service);
            pages.before.push(if taken { mean_ms(before, n) } else { 0.0 });
            if long >= MIN_REQUESTS {
                pages.each.push(mean_ms(before, long));
            }
            for ((_, instance), of) in
                step.evidence.askers.iter().filter(|((who, _), _)| who.service == *service)
            {
                pages.askers.entry(instance.clone()).or_default().merge(of);
            }
            pages.elsewhere.push(mean_ms(time.saturating_sub(before), n));
        }
    }
    services.into_iter().filter(|(_, pages)| pages.wait()).map(|(service, _)| service).collect()
}

/// Whether a good part of a page's own time right before statements (ms of a request) is before the first of them.
fn is_before_the_first(step: &StepTally, service: &Arc<str>, before: f64) -> bool {
    let askers = step.evidence.askers.iter().filter(|((who, _), _)| who.service == *service);
    let waits = askers.flat_map(|(_, requests)| requests.sample.iter());
    let (n, all) =
        waits.fold((0, 0), |(n, all), (_, from, asks, _)| (n + 1, all + asks.saturating_sub(*from)));
    mean_ms(all, n) >= BEFORE_FIRST * before
}

/// Whether, in requests that wait, most statements do.
fn is_before_each(step: &StepTally, service: &Arc<str>) -> bool {
    let waits = step.evidence.of(Pattern::BeforeDatabase).filter(|(who, _)| who.service == *service);
    let (long, requests) = waits.fold((0, 0), |(long, n), (_, part)| (long + part.calls, n + part.exchanges));
    let statements =
        step.parts.iter().filter(|(who, _)| who.category == Category::Database && who.service == *service);
    let statements: u64 = statements.map(|(_, part)| part.calls).sum();
    let (all, _) = step.joined_sum();
    share(long, requests) >= BEFORE_EACH * share(statements, all)
}

impl Pages {
    fn wait(&self) -> bool {
        let waiting = self.before.iter().filter(|ms| **ms >= WAITS).count();
        let nearly_all = waiting as f64 >= NEARLY_ALL * self.before.len() as f64;
        let usual = least_of(&self.before, 2);
        // Some pages compute, with statements or without; where there is no free core, all are slow.
        let elsewhere = least_of(&self.elsewhere, 2).max(least_of(&self.plain, 4));
        (waiting >= PAGES && nearly_all && usual >= FAR_MORE * elsewhere) || self.wait_at_times(elsewhere)
    }

    /// Under a light load few find all connections in use, and those get one as another request ends.
    fn wait_at_times(&self, elsewhere: f64) -> bool {
        self.each.len() >= PAGES
            && least_of(&self.each, 2) >= FAR_MORE * elsewhere
            && queueing::is_given_on(self.askers.values())
    }
}

/// The largest of the least half, quarter … of some numbers; nothing has none.
fn least_of(numbers: &[f64], part: usize) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / part).copied().unwrap_or(0.0)
}

/// The own time of a contributor right before statements.
fn before<'a>(view: &View<'a>, who: &Contributor) -> Option<&'a Part> {
    view.tally.evidence.by_owner(Pattern::BeforeDatabase, who)
}

/// How many of a page's requests are beyond their first statement in each process whenever others wait before it, if that is the
/// same each time; a process in which too few wait tells nothing.
fn connections(view: &View<'_>, who: &Contributor) -> Option<f64> {
    let whole = anywhere(who);
    let askers = view.tally.evidence.askers.iter().filter(|((of, _), _)| of == who || *of == whole);
    let mut most: Option<f64> = None;
    for (_, requests) in askers {
        match Inside::served_at_once(requests) {
            Some(served) => most = Some(most.map_or(served, |most| most.max(served))),
            None if Inside::is_not_full(requests) => return None,
            None => {}
        }
    }
    most
}

/// How long a request keeps what those wait for that have not asked yet, in ms: from its first statement to its end.
fn held_ms(view: &View<'_>, who: &Contributor) -> f64 {
    let whole = anywhere(who);
    let askers = view.tally.evidence.askers.iter().filter(|((of, _), _)| of == who || *of == whole);
    let (n, all) = askers
        .flat_map(|(_, requests)| requests.sample.iter())
        .fold((0, 0), |(n, all), (_, _, asks, ends)| (n + 1, all + ends.saturating_sub(*asks)));
    mean_ms(all, n)
}

/// Own time most of which is such waiting.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    let before = before(view, who).filter(|before| before.total as f64 >= MOST * part.total as f64)?;
    let (n, _) = view.basis(who);
    let evidence = [
        ("before_statements_ms", mean_ms(before.total, n)),
        (EACH_WAIT, mean_ms(before.total, before.calls)),
    ];
    if let Some(served) = connections(view, who) {
        // Other pages that ask would wait for the only connection, too.
        let others_find_one =
            !view.waiting_services.contains(&who.service) && view.peers.others_ask(view.step, &who.service);
        if served < MORE_THAN_ONE && others_find_one {
            let claim = Claim::doubted(FindingKind::LockContention, Doubt::OneByOne);
            return Some(claim.with(&evidence).with(&[("held_ms", held_ms(view, who))]));
        }
        let claim = Claim::doubted(FindingKind::PoolWait, Doubt::ConnectionsInUse);
        return Some(claim.with(&evidence).with(&[(SERVED_AT_ONCE, served)]));
    }
    let claim = Claim::doubted(FindingKind::PoolWait, Doubt::BeforeStatements);
    view.waiting_services.contains(&who.service).then(|| claim.with(&evidence))
}

/// Requests beyond their first statement, on average, below which there is one at a time.
const MORE_THAN_ONE: f64 = 1.5;

/// The evidence of how long one such wait is.
const EACH_WAIT: &str = "wait_ms";

/// How many times as long one page may wait each time as another of the same pool, where its own requests hold all of its connections.
const ALIKE: f64 = 1.5;

/// Whether waits of two pages are for one pool: who waits for the same waits about as long each time.
pub(super) fn are_for_one_pool(a: &Finding, b: &Finding) -> bool {
    if limited_calls::is_told_by(a) || limited_calls::is_told_by(b) {
        return limited_calls::are_one(a, b);
    }
    let each = |f: &Finding| f.number(EACH_WAIT);
    let (less, more) = (each(a).min(each(b)), each(a).max(each(b)));
    let far = if has_its_own(a) || has_its_own(b) { ALIKE } else { FAR_MORE };
    more < far * less
}

/// Whether a page seems to wait for a pool that it has to itself: its own requests are who uses all connections.
pub(super) fn has_its_own(wait: &Finding) -> bool {
    let its_own = wait.evidence.contains_key(SERVED_AT_ONCE) || limited_calls::is_told_by(wait);
    wait.kind == FindingKind::PoolWait && its_own
}

/// How much of a step's latency is such waiting: no share of what is done is told by it.
pub(super) fn total(view: &View<'_>) -> u64 {
    let waits =
        |who: &Contributor| view.waiting_services.contains(&who.service) || connections(view, who).is_some();
    let all = view.tally.evidence.of(Pattern::BeforeDatabase);
    all.filter(|(who, _)| waits(who)).map(|(_, part)| part.total).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(before: &[f64], elsewhere: &[f64], plain: &[f64]) -> bool {
        let [before, elsewhere, plain] = [before, elsewhere, plain].map(<[f64]>::to_vec);
        Pages { before, elsewhere, plain, ..Pages::default() }.wait()
    }

    #[test]
    fn pages_that_wait_alike_are_told_from_pages_that_compute() {
        assert!(wait(&[300.0, 250.0, 900.0], &[9.0, 40.0, 200.0], &[2.0, 120.0, 5.0]));
        assert!(wait(&[300.0, 250.0, 900.0], &[9.0, 40.0, 200.0], &[134.0, 2.0, 65.0, 138.0, 10.0]));
        assert!(wait(&[300.0, 250.0], &[9.0, 40.0], &[]));
        // One page alone, and one among others that do not wait.
        assert!(!wait(&[300.0], &[9.0], &[2.0]));
        assert!(!wait(&[300.0, 250.0, 0.0, 1.0], &[9.0, 9.0, 2.0, 2.0], &[]));
        // All own time is long, and that of pages without statements.
        assert!(!wait(&[60.0, 70.0], &[30.0, 50.0], &[2.0]));
        assert!(!wait(&[60.0, 70.0], &[3.0, 5.0], &[55.0]));
        assert!(!wait(&[9.0, 8.0], &[0.1, 0.1], &[0.1]));
    }

    /// Two pages of which few requests wait, each 40 ms; a request that waits gets its connection so long before or after another ends.
    fn at_times(each: f64, elsewhere: f64, apart_ms: i64) -> bool {
        const MS: u64 = 1_000_000;
        let mut requests = Requests::default();
        for n in 0..100u64 {
            let at = (n + 1) * 500 * MS;
            requests.add(at, at, at + 40 * MS);
            let asks = (at + 40 * MS).saturating_add_signed(apart_ms * MS as i64);
            requests.add(at + MS, asks, asks + 90 * MS);
        }
        let askers = BTreeMap::from([("web-1".into(), requests)]);
        let [before, elsewhere] = [vec![4.0, 5.0], vec![elsewhere, elsewhere]];
        Pages { before, elsewhere, each: vec![each, each], askers, ..Pages::default() }.wait()
    }

    #[test]
    fn few_waits_are_told_by_who_gives_on() {
        assert!(at_times(40.0, 9.0, 1) && at_times(40.0, 9.0, -2));
        // Whenever they end; no longer than what the pages do elsewhere.
        assert!(!at_times(40.0, 9.0, 12) && !at_times(40.0, 9.0, -12));
        assert!(!at_times(40.0, 12.0, 1));
    }
}
