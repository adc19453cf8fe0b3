//! `event_loop_blocked`: while this runs, its process serves nobody else.
//!
//! An event loop that is held up, by a calculation or by a call that is made without giving way, takes in no request and ends
//! none. So of the long stretches of one kind in one process those are looked at during which another request was waiting to be
//! taken in: no request may begin or end in them, where many should by the rate at which requests begin and end in that
//! process. Behind a pool of one connection requests still begin; in threads they begin and end; where all threads are busy they end.
//! Where nobody waits there is nothing to tell, and nobody is held up.

use super::held_up::{Waiting, share_of_run};
use super::least::Least;
use super::{Claim, Limit, Limits, View, anywhere};
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;
use crate::record::Nanos;

/// Time from which one piece of work can hold up others.
pub const LONG: u64 = Nanos::from_millis(10).0;
/// Waiting for the end of a stretch from which a request waits for it.
const WAITED: u64 = Nanos::from_millis(5).0;
/// At the edges of a stretch what follows it may seem to be within: clocks of different threads, and who is told first.
pub(super) const EDGE: u64 = Nanos::from_millis(1).0;
/// Requests that must have come to an event loop within stretches for none of them to have been taken in by chance: at least four
/// of five are taken in at once where nothing holds them up, so that it happens once in three thousand times.
const CAME: usize = 5;
/// Stretches that are kept of each kind and instance, and requests of each instance.
const STRETCHES: usize = 200;
const REQUESTS: usize = 2_000;

/// Long pieces of one kind of work in one process: a sample chosen by content.
#[derive(Clone, Debug, Default)]
pub struct Stretches {
    pub sample: Least<(u64, u64, u64)>,
    /// How many there were.
    pub number: u64,
}

/// Requests of one process: a sample chosen by content (mixed bits; sent to it, begun, ended).
#[derive(Clone, Debug, Default)]
pub struct Requests {
    pub sample: Least<(u64, u64, u64, u64)>,
    /// How many there were.
    pub number: u64,
    /// How many of all were recorded by a framework that runs in an event loop, and by one that gives each a thread or process.
    pub in_loop: u64,
    pub in_workers: u64,
}

fn mixed(start: u64, end: u64) -> u64 {
    (start.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ end).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

impl Stretches {
    /// The share of all of them that the sample has.
    pub fn kept(&self) -> f64 {
        if self.sample.len() < STRETCHES { 1.0 } else { STRETCHES as f64 / self.number.max(1) as f64 }
    }

    pub fn add(&mut self, start: u64, end: u64) {
        self.number += 1;
        self.sample.keep((mixed(start, end), start, end), STRETCHES);
    }

    /// Adds others of the same kind and process.
    pub fn merge(&mut self, other: Stretches) {
        self.number += other.number;
        self.sample.extend(&other.sample, STRETCHES);
    }
}

impl Requests {
    /// The share of all requests that the sample has.
    pub fn kept(&self) -> f64 {
        if self.sample.len() < REQUESTS { 1.0 } else { REQUESTS as f64 / self.number.max(1) as f64 }
    }

    pub fn add(&mut self, sent: u64, begun: u64, ended: u64) {
        self.number += 1;
        self.sample.keep((mixed(begun, ended), sent, begun, ended), REQUESTS);
    }

    /// Adds others of the same process.
    pub fn merge(&mut self, other: &Requests) {
        self.sample.extend(&other.sample, REQUESTS);
        self.number += other.number;
        self.in_loop += other.in_loop;
        self.in_workers += other.in_workers;
    }

    /// Whether its process is known to serve them in event loops alone.
    pub fn is_of_loops(&self) -> bool {
        self.in_loop > 0 && self.in_workers == 0
    }
}

/// In how many processes a contributor lets nobody in, and whether all of them are known to be event loops; nothing where it does so
/// in none.
pub(super) fn stands_in(view: &View<'_>, who: &Contributor) -> Option<(u32, bool)> {
    let whole = anywhere(who);
    let (mut moments, mut processes, mut in_loop) = (Moments::default(), 0u32, true);
    let (mut came, mut taken_in) = (0, 0);
    for ((of, instance), stretches) in &view.tally.evidence.stretches {
        if of != who && *of != whole {
            continue;
        }
        let Some(requests) = view.requests.get(&(who.service.clone(), instance.clone())) else { continue };
        if requests.in_workers > 0 {
            // One request for each thread or process is how it was made: there are too few, or they are too slow.
            return None;
        }
        let of_process = within(stretches, requests);
        let (sent, begun) = sent_within(stretches, requests);
        (came, taken_in) = (came + sent, taken_in + begun);
        processes += u32::from(of_process.expected > 0.0);
        in_loop &= requests.in_loop > 0;
        moments.add(of_process);
    }
    let stands =
        !is_held_up(view, who) && stands(moments, in_loop.then_some((came, taken_in)), view.known.limits);
    stands.then_some((processes, in_loop))
}

/// A contributor in whose time its process does nothing else.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    let (processes, in_loop) = stands_in(view, who)?;
    // A call takes as long when it gives way: only what others wait for it can be gained.
    let held = share_of_run(view, part.total, processes);
    let waits = || Waiting::of(view, who, held, processes).map_or(0.0, |waiting| waiting.mean_ms);
    if who.category != Category::App && waits() < Nanos(LONG).as_millis_f64() {
        return None;
    }
    let kind = FindingKind::EventLoopBlocked;
    // A worker that takes one request at a time looks the same; that it computes is wrong in both.
    let claim = if in_loop || who.category == Category::App {
        Claim::sure(kind)
    } else {
        Claim::doubted(kind, Doubt::LoopOrWorker)
    };
    Some(claim.with(&[("processes", f64::from(processes))]))
}

/// Beginnings and ends of other requests within stretches: how many chance would give, and how many there are; in those for whose end
/// somebody waits, and in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    expected: f64,
    seen: f64,
    expected_in_all: f64,
    seen_in_all: f64,
}

impl Moments {
    pub fn add(&mut self, more: Moments) {
        self.expected += more.expected;
        self.seen += more.seen;
        self.expected_in_all += more.expected_in_all;
        self.seen_in_all += more.seen_in_all;
    }
}

/// The share of what chance would give that there may be in all stretches. Where others begin and end in most of them, the few that
/// let nobody in are moments in which the whole machine stood.
const SERVED: f64 = 0.5;

/// Whether a process stood while it did something: by how many requests should have begun and ended and how many did, and of an event
/// loop by how many came and how many of them were taken in.
pub(super) fn stands(moments: Moments, each: Option<(usize, usize)>, limits: &Limits) -> bool {
    let at_most = limits.get(Limit::ExclusiveShare);
    let expected = moments.expected;
    let few = moments.seen <= at_most * expected && moments.seen_in_all <= SERVED * moments.expected_in_all;
    // Under a light load few wait: then each that came meanwhile tells.
    let by_each = each.is_some_and(|(came, in_it)| came >= CAME && in_it as f64 <= at_most * came as f64);
    few && (expected >= limits.get(Limit::ExclusiveExpected) || by_each)
}

/// Whether an event loop lets nobody in during pieces of one kind of work.
pub(super) fn lets_nobody_in(pieces: &Stretches, requests: &Requests, limits: &Limits) -> bool {
    stands(within(pieces, requests), Some(sent_within(pieces, requests)), limits)
}

/// Share of a contributor's long own time in which its process must do something else for it to be waiting.
const ELSEWHERE: f64 = 0.5;

/// Whether own time in an event loop is waiting until the loop comes back to it: other work begins and ends within it, and a loop
/// does one thing at a time.
pub(super) fn is_held_up(view: &View<'_>, who: &Contributor) -> bool {
    let whole = anywhere(who);
    let mine = |of: &Contributor| *of == *who || *of == whole;
    if who.category != Category::App {
        return false;
    }
    let (mut all, mut elsewhere) = (0.0, 0.0);
    for ((_, instance), stretches) in view.tally.evidence.stretches.iter().filter(|((of, _), _)| mine(of)) {
        let process = (who.service.clone(), instance.clone());
        if !view.requests.get(&process).is_some_and(Requests::is_of_loops) {
            return false;
        }
        let others = view.stretches.get(&process).into_iter().flatten();
        let others: Vec<&Stretches> = others.filter(|(of, _)| !mine(of)).map(|(_, s)| *s).collect();
        for (_, from, to) in stretches.sample.iter() {
            all += (to - from) as f64;
            elsewhere += others
                .iter()
                .map(|other| other.begun_within(*from, *to))
                .sum::<f64>()
                .min((to - from) as f64);
        }
    }
    all > 0.0 && elsewhere >= ELSEWHERE * all
}

/// Whether event loops serve others, as much as chance gives, while a contributor's long own time goes on: they do not run it then. It
/// waits for something, or a thread runs it.
pub(super) fn serves_others(view: &View<'_>, who: &Contributor) -> bool {
    let whole = anywhere(who);
    let mut moments = Moments::default();
    for ((of, instance), stretches) in &view.tally.evidence.stretches {
        if of != who && *of != whole {
            continue;
        }
        let process = (who.service.clone(), instance.clone());
        match view.requests.get(&process) {
            Some(requests) if requests.is_of_loops() => {
                moments.add(within(stretches, requests));
            }
            _ => return false,
        }
    }
    let expected = moments.expected_in_all;
    expected >= view.limit(Limit::ExclusiveExpected) && moments.seen_in_all >= SERVED * expected
}

/// How long other work of a service keeps one of its loops at a time, in ms: the longest kind of those that let nobody in.
pub(super) fn away_ms(view: &View<'_>, who: &Contributor) -> f64 {
    let whole = anywhere(who);
    let mut longest = 0.0_f64;
    for (process, kinds) in view.stretches.iter().filter(|((service, _), _)| *service == who.service) {
        let Some(requests) = view.requests.get(process) else { continue };
        for (_, pieces) in kinds.iter().filter(|(of, _)| *of != who && **of != whole) {
            if lets_nobody_in(pieces, requests, view.known.limits) {
                longest = longest.max(pieces.time() / pieces.number.max(1) as f64 / 1e6);
            }
        }
    }
    longest
}

impl Stretches {
    /// Time of those that begin and end within an interval, of all there were.
    fn begun_within(&self, from: u64, to: u64) -> f64 {
        let edge = EDGE.min((to - from) / 10);
        let within = self.sample.iter().filter(|(_, start, end)| *start > from + edge && *end <= to + edge);
        let time: u64 = within.map(|(_, start, end)| end - start).sum();
        time as f64 * self.number as f64 / self.sample.len().max(1) as f64
    }
}

/// Beginnings and ends of other requests within stretches.
pub(super) fn within(stretches: &Stretches, requests: &Requests) -> Moments {
    let sample = &requests.sample;
    let first = sample.iter().map(|r| r.2).min().unwrap_or(0);
    let last = sample.iter().map(|r| r.3).max().unwrap_or(0);
    let rate = 2.0 * sample.len() as f64 / last.saturating_sub(first).max(1) as f64;
    let mut moments = Moments::default();
    for (_, from, to) in stretches.sample.iter() {
        let edge = EDGE.min((to - from) / 10);
        let (after, before) = (from + edge, to - edge);
        let expected = rate * (to - from) as f64;
        let inside = |moment: u64| u64::from(moment > after && moment < before);
        let seen =
            sample.iter().map(|(_, _, begun, ended)| inside(*begun) + inside(*ended)).sum::<u64>() as f64;
        moments.add(Moments { expected_in_all: expected, seen_in_all: seen, ..Moments::default() });
        let waits = |sent: u64, begun: u64| begun >= before && to.saturating_sub(sent.max(*from)) >= WAITED;
        if sample.iter().any(|(_, sent, begun, _)| waits(*sent, *begun)) {
            moments.add(Moments { expected, seen, ..Moments::default() });
        }
    }
    moments
}

/// Requests that came within stretches, so early that they could have been taken in before the end; and how many were.
pub(super) fn sent_within(stretches: &Stretches, requests: &Requests) -> (usize, usize) {
    let (mut came, mut taken_in) = (0, 0);
    for (_, from, to) in stretches.sample.iter() {
        let edge = EDGE.min((to - from) / 10);
        let until = to.saturating_sub(WAITED + edge);
        let within = requests.sample.iter().filter(|(_, sent, ..)| *sent > from + edge && *sent < until);
        within.for_each(|(_, _, begun, _)| {
            came += 1;
            taken_in += usize::from(*begun < to - edge);
        });
    }
    (came, taken_in)
}

impl Stretches {
    /// The time of all of them, by those of the sample.
    pub fn time(&self) -> f64 {
        let time: u64 = self.sample.iter().map(|(_, from, to)| to - from).sum();
        time as f64 * self.number as f64 / self.sample.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that are sent every `gap` ms, begin `wait` later and take `length`; a stretch is all of each.
    fn seen(gap: u64, wait: u64, length: u64) -> (f64, f64) {
        let (mut stretches, mut requests) = (Stretches::default(), Requests::default());
        for n in 1..=200 {
            let sent = n * gap * 1_000_000;
            let begun = sent + wait * 1_000_000;
            stretches.add(begun, begun + length * 1_000_000);
            requests.add(sent, begun, begun + length * 1_000_000);
        }
        let moments = within(&stretches, &requests);
        (moments.expected, moments.seen)
    }

    #[test]
    fn one_at_a_time_is_told_from_many_at_once() {
        let (expected, none) = seen(60, 100, 60);
        assert!(expected > 300.0 && none == 0.0, "{expected} {none}");
        // Nobody waits.
        assert_eq!(seen(60, 0, 60), (0.0, 0.0));
        // Two at a time, and others wait.
        let (expected, many) = seen(31, 100, 60);
        assert!(many > 0.4 * expected, "{expected} {many}");
        // All at once.
        assert_eq!(seen(10, 0, 60).0, 0.0);
    }

    #[test]
    fn samples_do_not_depend_on_the_order() {
        let all: Vec<(u64, u64)> =
            (0..5_000u64).map(|n| (n * 7_919 % 100_000, n * 7_919 % 100_000 + 50)).collect();
        let of = |parts: usize| {
            let mut sum = Requests::default();
            for part in 0..parts {
                let mut one = Requests::default();
                all.iter().skip(part).step_by(parts).for_each(|(from, to)| one.add(*from, *from, *to));
                sum.merge(&one);
            }
            sum.sample
        };
        assert_eq!(of(1).len(), REQUESTS);
        assert_eq!(of(1), of(7));
    }
}
