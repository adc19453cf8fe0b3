//! `queueing` before a server: time between caller and server that no span covers, because the server was busy with others.
//!
//! Two things tell it from a slow line. Requests that wait for a worker, a thread or an event loop are taken in as another
//! ends; what a line brings comes whenever it comes. And a line or a proxy takes about the same each time, while an accept queue
//! takes nothing when it is empty: so time that slow requests have and typical ones have not is waiting, too.

use super::event_loop::{REQUESTS, Requests};
use super::{Claim, Limit, MIN_REQUESTS, View, mean_ms};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use crate::record::Nanos;

/// Waiting from which it is seen whether a request was taken in as another ended.
const WAITED: u64 = Nanos::from_millis(5).0;
/// Time within which what was freed takes the next.
const AT_ONCE: u64 = Nanos::from_millis(3).0;
/// Requests that must have waited, the share of them that must be taken in so, and how many times as many that must be as
/// chance would give.
const WAITING: usize = 20;
const AS_OTHERS_END: f64 = 0.5;
const OVER_CHANCE: f64 = 3.0;

/// Time before the server that the server's other requests make, or that varies.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    if let Some(share) = waits_for_workers(view, who) {
        return Some(Claim::sure(FindingKind::Queueing).with(&[(AS_OTHERS_END_SHARE, share)]));
    }
    let bands = &view.tally.joined_bands;
    let typical = mean_ms(part.bands[0], bands[0].0);
    // The slowest requests that there are enough of.
    let from =
        |i: usize| -> (u64, u64) { (bands[i..].iter().map(|b| b.0).sum(), part.bands[i..].iter().sum()) };
    let (slow_n, time) = [from(2), from(1)].into_iter().find(|(n, _)| *n >= MIN_REQUESTS)?;
    let slow = mean_ms(time, slow_n);
    let varies = slow >= view.limit(Limit::VariesRatio) * typical;
    let claim = Claim::doubted(FindingKind::Queueing, Doubt::Varies);
    varies.then(|| claim.with(&[("typical_ms", typical), ("slow_ms", slow)]))
}

/// Which share of the requests that waited on the way to a service were taken in as others ended, if that shows that they
/// waited for a worker.
fn waits_for_workers(view: &View<'_>, way: &Contributor) -> Option<f64> {
    let of = view.requests.iter().filter(|((service, _), _)| **service == *callee(way));
    let (mut waited, mut followed, mut by_chance) = (0, 0.0, 0.0);
    for (_, requests) in of {
        let (n, seen, chance) = taken_in_as_others_end(requests);
        (waited, followed, by_chance) = (waited + n, followed + seen, by_chance + chance);
    }
    let shown = followed >= AS_OTHERS_END * waited as f64 && followed >= OVER_CHANCE * by_chance;
    (waited >= WAITING && shown).then(|| (followed / waited as f64).min(1.0))
}

/// How much of a step's latency was waiting for workers: no share of what the service did is told by it.
pub(super) fn waiting_for_workers(view: &View<'_>) -> u64 {
    let much = |part: &Part, n: u64| mean_ms(part.total, n) >= WAITED_MEAN_MS;
    let ways = view.tally.parts.iter().filter(|(who, _)| who.category == Category::Network);
    let long = ways.filter(|(who, part)| much(part, view.basis(who).0));
    long.filter(|(who, _)| waits_for_workers(view, who).is_some()).map(|(_, part)| part.total).sum()
}

/// Time on the way from which it is asked whether it is waiting for workers.
const WAITED_MEAN_MS: f64 = 5.0;

/// The evidence of requests that are taken in as others end.
pub(super) const AS_OTHERS_END_SHARE: &str = "as_others_end_share";

/// Requests of a process that waited before it took them in; how many it took in just as another ended; and how many
/// of them would be so by chance.
fn taken_in_as_others_end(requests: &Requests) -> (usize, f64, f64) {
    let sample = &requests.sample;
    let mut ends: Vec<u64> = sample.iter().map(|r| r.3).collect();
    ends.sort_unstable();
    let (first, last) = (sample.iter().map(|r| r.2).min().unwrap_or(0), ends.last().copied().unwrap_or(0));
    let rate = ends.len() as f64 / last.saturating_sub(first).max(1) as f64;
    // Of a sample, the one that ended is kept as rarely as all.
    let kept = if sample.len() < REQUESTS { 1.0 } else { REQUESTS as f64 / requests.number.max(1) as f64 };
    let (mut waited, mut followed) = (0, 0.0);
    for (_, sent, begun, _) in sample.iter().filter(|r| r.2.saturating_sub(r.1) >= WAITED) {
        waited += 1;
        let before = ends.partition_point(|end| end <= begun);
        let freed = before.checked_sub(1).is_some_and(|i| ends[i] + AT_ONCE > *begun && ends[i] >= *sent);
        followed += f64::from(u8::from(freed)) / kept;
    }
    (waited, followed, waited as f64 * (rate * AT_ONCE as f64 / kept).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lanes` requests are served at a time, 60 ms each, as one of them ends or when the line has brought them.
    fn served(lanes: u64, by_line: bool) -> (usize, f64, f64) {
        let mut requests = Requests::default();
        for n in 0..300u64 {
            let turn = n * 61_000_000 / lanes + n % lanes * 3_000_000;
            // A line is steady but for a little.
            let begun = if by_line { turn + n * n % 47 * 1_000_000 } else { turn };
            requests.add((begun).saturating_sub(80_000_000), begun, begun + 60_000_000);
        }
        taken_in_as_others_end(&requests)
    }

    #[test]
    fn a_queue_is_told_from_a_line() {
        let (waited, followed, by_chance) = served(1, false);
        assert!(waited > 290 && followed > 280.0 && by_chance < 20.0, "{waited} {followed} {by_chance}");
        let (waited, followed, _) = served(1, true);
        assert!(followed < 0.3 * waited as f64, "{waited} {followed}");
        assert_eq!(taken_in_as_others_end(&Requests::default()), (0, 0.0, 0.0));
    }
}
