//! `cold_start`: work that is done only after a start, of a function, a worker or a process that was recycled.
//!
//! Sure where the platform says so (`faas.coldstart`). Else by two signs together: not all requests do it (one does, and
//! those that come in the meantime wait for it), and it is called what such work is called (load, init, warm up …).

use super::event_loop::{EDGE, Stretches};
use super::evidence::Pattern;
use super::{Claim, Found, Limit, View, anywhere, mean_ms, share};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use crate::analysis::tree::leaf;
use crate::record::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Work of a start by its name and its rarity.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    const WORDS: [&str; 17] = [
        "load",
        "init",
        "initialize",
        "initialise",
        "warm",
        "warmup",
        "bootstrap",
        "startup",
        "start",
        "cold",
        "compile",
        "import",
        "rebuild",
        "refresh",
        "populate",
        "prime",
        "boot",
    ];
    let (n, _) = view.basis(who);
    let rare = share(part.exchanges, n) <= view.limit(Limit::RareRequests);
    let name = who.name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    let named = words.any(|w| WORDS.contains(&w));
    let evidence = [("exchanges_share", share(part.exchanges, n))];
    (rare && named).then(|| Claim::doubted(FindingKind::ColdStart, Doubt::NameOnly).with(&evidence))
}

/// Work that took long at the start of the run and never again.
pub(super) fn once(part: &Part) -> Claim {
    let longest = part.worst.map_or(0, |w| w.0) as f64 / 1e6;
    Claim::doubted(FindingKind::ColdStart, Doubt::Once).with(&[("longest_ms", longest)])
}

/// Work of a start that holds up an event loop: one request does it, and all others wait to be taken in until it is done. What it takes
/// itself is little over all requests; what they wait for it may be much.
pub(super) fn before_a_loop(view: &View<'_>) -> Vec<Found> {
    let own = view.tally.evidence.stretches.keys().map(|(who, _)| who);
    let own: BTreeSet<&Contributor> = own.filter(|who| who.category == Category::App).collect();
    own.into_iter().filter_map(|who| holds_up_at_first(view, who)).collect()
}

fn holds_up_at_first(view: &View<'_>, who: &Contributor) -> Option<Found> {
    let part = view.whole_part(who)?;
    let (from, to) = view.tally.period?;
    let until = from + ((to - from) as f64 * view.limit(Limit::Spread)) as u64;
    let (mut longest, mut waited) = (0, 0.0);
    for ((_, instance), pieces) in view.tally.evidence.stretches.iter().filter(|((of, _), _)| of == who) {
        let requests = view.requests.get(&(who.service.clone(), instance.clone()))?;
        let mine = view.tally.evidence.requests.get(&(who.service.clone(), instance.clone()))?;
        let long = pieces.sample.iter().filter(|(_, start, end)| end - start >= START);
        let long: Vec<(u64, u64)> = long.map(|(_, start, end)| (*start, *end)).collect();
        // What comes later is no start, and where others are taken in meanwhile nobody waits for it.
        let is_late = long.iter().any(|(start, _)| *start >= until);
        if !requests.is_of_loops() || is_late || pieces.kept() < 1.0 {
            return None;
        }
        for (start, end) in long {
            longest = longest.max(end - start);
            let within = requests.sample.iter().filter(|r| r.2 > start + EDGE && r.2 < end - EDGE);
            if within.count() > 0 {
                return None;
            }
            let waits = mine.sample.iter().filter(|r| r.1 < end && r.2 >= end - EDGE);
            waited += waits.map(|r| (end - r.1.max(start)) as f64).sum::<f64>() / mine.kept();
        }
    }
    let (n, latency) = view.basis(who);
    let lost = part.total + waited as u64;
    let much = share(lost, latency) >= view.limit(Limit::Share)
        && mean_ms(lost, n) >= view.limit(Limit::MeanMs)
        && waited > part.total as f64;
    let way = |c: &Contributor| c.category == Category::Network && callee(c) == &*who.service;
    let (_, wait) = view.tally.groups.iter().chain(&view.tally.parts).find(|(c, _)| way(c))?;
    if longest < START || !much {
        return None;
    }
    let evidence = BTreeMap::from([
        ("longest_ms", longest as f64 / 1e6),
        ("waiting_ms", waited / n.max(1) as f64 / 1e6),
    ]);
    let claim = Claim::doubted(FindingKind::ColdStart, Doubt::Once);
    Some(view.found(claim, who, wait, lost, evidence))
}

/// The share of a contributor's long pieces of time that must be at the start, and the share of all its time that these must be.
const AT_FIRST: f64 = 0.8;
const IN_LONG_PIECES: f64 = 0.5;
/// How many times its share of the run the start may have of a step's requests: where there are more, the load was higher then.
const MORE_REQUESTS: f64 = 1.5;
/// Standard deviations by which it may have more of few requests by chance.
const BY_CHANCE: f64 = 2.0;
/// The longest piece from which it is the work of a start.
pub(super) const START: u64 = Nanos::from_millis(500).0;

/// How many pieces of a contributor's time are as long as a start.
pub(super) fn long_pieces(view: &View<'_>, who: &Contributor) -> f64 {
    let long = |pieces: &Stretches| pieces.sample.iter().filter(|(_, from, to)| to - from >= START).count();
    pieces_of(view, who).map(|(_, pieces)| long(pieces) as f64 / pieces.kept()).sum()
}

/// A contributor's long pieces of time, wherever in the code, by instance.
fn pieces_of<'a>(view: &View<'a>, who: &Contributor) -> impl Iterator<Item = (&'a Arc<str>, &'a Stretches)> {
    let whole = anywhere(who);
    let all = view.tally.evidence.stretches.iter();
    all.filter(move |((of, _), _)| of == who || *of == whole)
        .map(|((_, instance), pieces)| (instance, pieces))
}

/// Those pieces of it that were kept: instance, begin and end.
pub(super) fn long_times<'a>(view: &View<'a>, who: &Contributor) -> Vec<(&'a Arc<str>, u64, u64)> {
    let all = pieces_of(view, who)
        .flat_map(|(instance, pieces)| pieces.sample.iter().map(move |(_, from, to)| (instance, *from, *to)));
    all.filter(|(_, from, to)| to - from >= START).collect()
}

/// Whether nearly all that takes long of it is in the first part of the run, though not more requests than later were then: what comes
/// after may be long enough to be told by itself, but is not what the mean tells of.
pub(super) fn is_mostly_at_first(view: &View<'_>, who: &Contributor, part: &Part) -> bool {
    let (Some((from, to)), longest) = (view.tally.period, part.worst.map_or(0, |worst| worst.0)) else {
        return false;
    };
    let spread = view.limit(Limit::Spread);
    let until = from + ((to - from) as f64 * spread) as u64;
    let whole = anywhere(who);
    let (mut all, mut at_first) = (0.0, 0.0);
    for ((of, _), pieces) in &view.tally.evidence.stretches {
        if of == who || *of == whole {
            let early = pieces.sample.iter().filter(|(_, start, _)| *start < until);
            let early: u64 = early.map(|(_, start, end)| end - start).sum();
            all += pieces.time();
            at_first += early as f64 / pieces.kept();
        }
    }
    let samples = view.tally.evidence.requests.values().flat_map(|requests| requests.sample.iter());
    let (mut requests, mut early) = (0.0, 0.0);
    for (_, sent, ..) in samples {
        requests += 1.0;
        early += f64::from(u8::from(*sent < until));
    }
    longest >= START
        && all >= IN_LONG_PIECES * part.total as f64
        && at_first >= AT_FIRST * all
        && !are_more(early, requests, spread)
}

/// The share of a call's long pieces of time that lies within long work of the process's own for it to wait for that.
const WITHIN_WORK: f64 = 0.5;

/// Whether the long calls of a contributor lie within long pieces of own work of their process, and that is an event loop: it stands
/// until the work is done, and the answers that came meanwhile are late, too.
pub(super) fn waits_for_the_loop(view: &View<'_>, who: &Contributor) -> bool {
    if !leaf(who.category) {
        return false;
    }
    let whole = anywhere(who);
    let (mut all, mut within) = (0, 0);
    for ((of, instance), pieces) in &view.tally.evidence.stretches {
        if of != who && *of != whole {
            continue;
        }
        let process = (who.service.clone(), instance.clone());
        let in_loop = view.requests.get(&process).is_some_and(|r| r.is_of_loops());
        let work = view.stretches.get(&process).filter(|_| in_loop).into_iter().flatten();
        let work: Vec<(u64, u64)> =
            work.flat_map(|(_, pieces)| pieces.sample.iter().map(|(_, start, end)| (*start, *end))).collect();
        for (_, start, end) in pieces.sample.iter() {
            let both = |(from, to): &(u64, u64)| to.min(end).saturating_sub(*from.max(start));
            all += end - start;
            within += work.iter().map(both).max().unwrap_or(0);
        }
    }
    all > 0 && within as f64 >= WITHIN_WORK * all as f64
}

/// Whether the first `part` of a run has more of its requests than chance gives.
fn are_more(early: f64, requests: f64, part: f64) -> bool {
    let (expected, deviation) = (part * requests, (requests * part * (1.0 - part)).sqrt());
    early > MORE_REQUESTS * expected && early > expected + BY_CHANCE * deviation
}

/// Functions whose platform says that they had to be started.
pub(super) fn functions(view: &View<'_>) -> Vec<Found> {
    let found = |part| {
        let claim = Claim::sure(FindingKind::ColdStart);
        view.pattern(claim, part, 0.01, Limit::TimeoutShare, Limit::TimeoutMeanMs)
    };
    view.tally.evidence.of(Pattern::Cold).filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::are_more;

    #[test]
    fn a_few_requests_more_are_no_higher_load() {
        assert!(!are_more(4.0, 10.0, 0.25) && !are_more(350.0, 1_000.0, 0.25));
        assert!(are_more(6.0, 10.0, 0.25) && are_more(400.0, 1_000.0, 0.25));
    }
}
