//! `lock_contention`: waiting for a lock that others hold.
//!
//! Told by a span's name, or by a statement that writes or locks: its work is the same each time, so that times which
//! differ by a factor are not work. The databases' own waits (`pg_stat_activity`) make it sure.
//!
//! A lock in the service's own code has no span. It shows by when requests of its page end: never two within the time that one
//! of them takes alone, though several are under way at once, and the process takes in others all the while. Requests that
//! share processors end whenever they end, and before a process that is held up (an event loop, an interpreter's lock) the
//! others are not taken in. Statements that wait for one connection, or for a lock of all, within their spans show it so, too.

use super::duplicate_query::writes;
use super::event_loop::{self, EDGE, Requests};
use super::{Claim, Limit, View, same_work};
use crate::analysis::names::whole_instance;
use crate::analysis::result::{Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use crate::record::Nanos;
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A write that waits this long at p95 does not do so for its own work.
const LONG: Nanos = Nanos::from_millis(25);

/// How many times as long as statements that take no lock it must take at p95.
const LATER: f64 = 2.0;

/// A statement that writes and whose times differ by a factor, or are far from what its system usually takes.
pub(super) fn of_a_statement(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    if !writes(&who.name) || begins_or_ends(who) {
        return None;
    }
    let mut times = Histogram::coarse();
    let calls = view.tally.parts.iter().filter(|(c, _)| same_work(c, who));
    calls.for_each(|(_, part)| times.merge(&part.call_duration));
    let (median, p95) = (times.quantile(0.5), times.quantile(0.95));
    // Where all wait, the quickest still tell what the work itself takes.
    let usual =
        [Some(median), Some(times.quantile(0.05)), view.peers.usual(who)].into_iter().flatten().min()?;
    let far = p95.0 as f64 >= view.limit(Limit::LockRatio) * usual.0.max(1) as f64;
    // Where statements that take no lock are as late at times, it is for a core, an interpreter or an event loop.
    let far = far && view.peers.late_reads(who).is_none_or(|late| p95.0 as f64 >= LATER * late.0 as f64);
    let waits = view.known.database.waits_for_locks(&who.name);
    let claim = match waits {
        Some(share) => Claim::sure(FindingKind::LockContention).with(&[("lock_wait_share", share)]),
        None => Claim::doubted(FindingKind::LockContention, Doubt::Spread),
    };
    (p95 >= LONG && (far || waits.is_some())).then(|| {
        claim.with(&[("call_p50_ms", median.as_millis_f64()), ("usual_call_ms", usual.as_millis_f64())])
    })
}

/// Whether it begins or ends a transaction, of a database that takes no lock for that. SQLite has one lock for all.
fn begins_or_ends(who: &Contributor) -> bool {
    let first = who.name.split([' ', ';']).next().unwrap_or_default();
    let controls = ["BEGIN", "START", "COMMIT", "ROLLBACK"].iter().any(|w| first.eq_ignore_ascii_case(w));
    controls && !who.system.eq_ignore_ascii_case("sqlite")
}

/// A span that says that it waits for a lock.
pub(super) fn of_a_wait(who: &Contributor) -> Option<Claim> {
    const LOCKS: [&str; 6] = ["lock", "mutex", "latch", "semaphore", "monitor", "synchronized"];
    let name = who.name.to_ascii_lowercase();
    LOCKS.iter().any(|w| name.contains(w)).then(|| Claim::sure(FindingKind::LockContention))
}

/// The share of what requests take that a contributor must be for their ends to tell of it.
const MOST: f64 = 0.5;

/// Own time that requests of a page have one after the other while their process serves others.
pub(super) fn of_own_time(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    let of_page = by_process(&view.tally.evidence.requests, &who.service);
    let of_all = by_process(view.requests, &who.service);
    let (mut taken, mut requests, mut held) = (0.0, 0.0, 0.0);
    for (process, of_page) in of_page.iter().filter(|(_, of)| of.sample.len() >= ENOUGH) {
        let all = of_all.get(process)?;
        let times = of_page.sample.iter().map(|(_, _, begun, ended)| (*begun, *ended));
        let turns = Turns::of(times, of_page.kept())
            .filter(|turns| turns.are_taken() && turns.others_begin(of_page, all))?;
        let n = of_page.number as f64;
        (taken, requests, held) = (taken + n * turns.mean, requests + n, held + n * turns.held());
    }
    let evidence = [("held_ms", held / requests / 1e6)];
    (requests > 0.0 && part.total as f64 >= MOST * taken)
        .then(|| Claim::doubted(FindingKind::LockContention, Doubt::OneByOne).with(&evidence))
}

/// A service's requests by process: all event loops of one share its locks.
fn by_process<'a>(
    requests: &'a BTreeMap<(Arc<str>, Arc<str>), Requests>,
    service: &str,
) -> BTreeMap<&'a str, Requests> {
    let mut processes: BTreeMap<&str, Requests> = BTreeMap::new();
    for ((_, instance), of) in requests.iter().filter(|((of, _), _)| **of == *service) {
        processes.entry(whole_instance(instance)).or_default().merge(of);
    }
    processes
}

/// A statement of a process that has its turn one at a time, however many are under way.
pub(super) fn of_statements_in_turn(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let stretches = &view.tally.evidence.stretches;
    let mine = stretches.iter().filter(|((c, _), _)| same_work(c, who)).map(|(_, of)| of);
    let (mut calls, mut held) = (0.0, 0.0);
    for of in mine.filter(|of| of.sample.len() >= ENOUGH) {
        let times = of.sample.iter().map(|(_, begun, ended)| (*begun, *ended));
        // Short ones are not among them: a turn must take as long as those that are.
        let turns = Turns::of(times, of.kept())
            .filter(|turns| turns.are_taken() && turns.held() >= event_loop::LONG as f64)?;
        (calls, held) = (calls + of.number as f64, held + of.number as f64 * turns.held());
    }
    let evidence = [("held_ms", held / calls / 1e6)];
    (calls > 0.0).then(|| Claim::doubted(FindingKind::LockContention, Doubt::InTurn).with(&evidence))
}

/// How the requests of one page, or the calls of one statement, follow each other in one process, in ns.
struct Turns {
    /// At least so much is between the ends of two, but for a few.
    gap: f64,
    /// It times the rate of ends: about [`SELDOM`] for requests that end whenever they end.
    evenness: f64,
    quickest: f64,
    mean: f64,
}

/// Requests of a page in a process from which on the gaps between their ends tell.
const ENOUGH: usize = 50;
/// The share of gaps that may be shorter: where a machine stands for a moment, several end at once after it. By chance this gap is
/// about so much of the time between two ends.
const SELDOM: f64 = 0.1;
/// What of the time between two ends it must be.
const EVEN: f64 = 0.25;
/// How many times the gap the quickest request may take, and how many times the quickest and the gap the average one must.
const ALONE: f64 = 2.0;
const WAITS: f64 = 1.5;

/// Beginnings of others that chance must give between two ends, and the share of them that there must be.
const OTHERS: f64 = 5.0;
const SERVED: f64 = 0.5;

impl Turns {
    /// From when they begin and end, of which so large a share is known.
    fn of(times: impl Iterator<Item = (u64, u64)>, kept: f64) -> Option<Turns> {
        let times: Vec<(u64, u64)> = times.collect();
        let mut ends: Vec<u64> = times.iter().map(|t| t.1).collect();
        ends.sort_unstable();
        let mut gaps: Vec<u64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        // Of a sample the gaps are longer, so fewer of them are short.
        let gap = *gaps.get((gaps.len() as f64 * SELDOM * kept) as usize)? as f64;
        let rate = gaps.len() as f64 / kept / (ends.last()? - ends.first()?).max(1) as f64;
        let took = || times.iter().map(|(begun, ended)| ended.saturating_sub(*begun) as f64);
        Some(Turns {
            gap,
            evenness: gap * rate,
            quickest: took().fold(f64::INFINITY, f64::min),
            mean: took().sum::<f64>() / times.len() as f64,
        })
    }

    /// They end one by one, each as long after the one before as one takes alone, and wait for each other.
    fn are_taken(&self) -> bool {
        self.evenness >= EVEN && self.quickest <= ALONE * self.gap && self.mean >= WAITS * self.held()
    }

    /// What each takes that has its turn.
    fn held(&self) -> f64 {
        self.gap.max(self.quickest)
    }

    /// Whether others of the process are taken in while one of these takes its turn: between the ends of two that were under
    /// way together.
    fn others_begin(&self, requests: &Requests, all: &Requests) -> bool {
        let mut ends: Vec<(u64, u64)> = requests.sample.iter().map(|r| (r.3, r.2)).collect();
        ends.sort_unstable();
        let mut begun: Vec<u64> = all.sample.iter().map(|r| r.2).collect();
        begun.sort_unstable();
        let (Some(first), Some(last)) = (begun.first(), begun.last()) else { return false };
        let rate = begun.len() as f64 / (last - first).max(1) as f64;
        let (mut expected, mut seen) = (0.0, 0);
        for pair in ends.windows(2) {
            let (from, to) = (pair[0].0 + EDGE, pair[1].0.saturating_sub(EDGE));
            let in_turn = pair[1].1 < pair[0].0 && (pair[1].0 - pair[0].0) as f64 <= ALONE * self.gap;
            if in_turn && from < to {
                expected += rate * (to - from) as f64;
                seen += begun.partition_point(|at| *at < to) - begun.partition_point(|at| *at < from);
            }
        }
        expected >= OTHERS && seen as f64 >= SERVED * expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of `n` without a pattern, also from one to the next (SplitMix64).
    fn mixed(n: u64) -> u64 {
        let z = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 24
    }

    const MS: u64 = 1_000_000;

    /// A page that is asked for each `gap` ms by chance, and ends when `end` says: from its beginning, the end of the one before and
    /// its number. Beside it another page, each 10 ms.
    fn page(number: u64, gap: u64, end: impl Fn(u64, u64, u64) -> u64) -> (Requests, Requests) {
        let (mut mine, mut all) = (Requests::default(), Requests::default());
        let (mut begun, mut before) = (0, 0);
        for n in 0..number {
            let chance = (mixed(n) % 1_000 + 1) as f64 / 1_001.0;
            begun += (-chance.ln() * (gap * MS) as f64) as u64;
            before = end(begun, before, n);
            mine.add(begun, begun, before);
        }
        all.merge(&mine);
        for n in 0..begun / (10 * MS) {
            let at = n * 10 * MS + mixed(n + 7) % (9 * MS);
            all.add(at, at, at + 2 * MS);
        }
        (mine, all)
    }

    /// One at a time has the lock, for 40 ms and a little.
    fn locked(begun: u64, before: u64, n: u64) -> u64 {
        begun.max(before) + 40 * MS + mixed(n + 99) % (2 * MS)
    }

    fn turns(of: &Requests) -> Option<Turns> {
        Turns::of(of.sample.iter().map(|(_, _, begun, ended)| (*begun, *ended)), of.kept())
    }

    fn takes_turns((mine, all): &(Requests, Requests)) -> bool {
        turns(mine).is_some_and(|turns| turns.are_taken() && turns.others_begin(mine, all))
    }

    #[test]
    fn a_lock_is_told_by_requests_that_end_one_after_the_other() {
        for (number, gap) in [(120, 60), (400, 50), (400, 42), (9_000, 55)] {
            let (mine, all) = page(number, gap, locked);
            assert!(takes_turns(&(mine.clone(), all)), "{number} {gap}");
            let turns = turns(&mine).unwrap();
            assert!((turns.gap / MS as f64 - 41.0).abs() < 4.0, "{number} {gap}: {}", turns.gap);
        }
    }

    #[test]
    fn the_event_loops_of_a_process_share_its_locks() {
        let (mine, _) = page(400, 50, locked);
        let loops = mine.sample.iter().enumerate().fold(BTreeMap::new(), |mut loops, (n, request)| {
            let name = format!("web-1 event loop reactor-http-epoll-{}", n % 4);
            let of: &mut Requests = loops.entry((Arc::from("shop"), Arc::from(name))).or_default();
            of.add(request.1, request.2, request.3);
            loops
        });
        let processes = by_process(&loops, "shop");
        assert_eq!(processes.keys().collect::<Vec<_>>(), [&"web-1"]);
        assert!(turns(&processes["web-1"]).is_some_and(|turns| turns.are_taken()));
        assert!(by_process(&loops, "other").is_empty());
    }

    #[test]
    fn requests_that_share_no_lock_end_whenever_they_end() {
        // All at once; as long each time or not; and as many as one lock could serve.
        for (number, gap) in [(400, 60), (400, 30), (9_000, 55)] {
            assert!(!takes_turns(&page(number, gap, |begun, _, _| begun + 40 * MS)), "{number} {gap}");
            assert!(!takes_turns(&page(number, gap, |begun, _, n| begun + (20 + mixed(n) % 200) * MS)));
        }
        // A lock that is hardly wanted makes nobody wait.
        assert!(!takes_turns(&page(400, 400, locked)));
        // Evenly sent, and as long each time: they end evenly, but not as long after each other as one takes.
        let mut even = (Requests::default(), Requests::default());
        for n in 0..400 {
            even.0.add(n * 100 * MS, n * 100 * MS, n * 100 * MS + 230 * MS + mixed(n) % MS);
        }
        even.1.merge(&even.0);
        assert!(!takes_turns(&even));
        // Nothing else is taken in: the process stands.
        let (mine, _) = page(400, 50, locked);
        let mut held = (mine.clone(), Requests::default());
        let mut ends: Vec<u64> = mine.sample.iter().map(|r| r.3).collect();
        ends.sort_unstable();
        ends.iter().for_each(|end| held.1.add(end - 30 * MS, *end, end + MS / 2));
        assert!(!takes_turns(&held));
        assert!(!takes_turns(&(Requests::default(), Requests::default())));
    }
}
