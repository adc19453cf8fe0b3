//! What work that holds up an event loop costs those who wait for it, and work that is told by that: what goes on after its answer, what
//! many quick calls do that do not give way, and short pieces of code for which many wait.

use super::event_loop::{LONG, Moments, Stretches, sent_within, stands, stands_in, within};
use super::{
    CRITICAL_SHARE, Claim, DOMINANT_MEAN, Found, Limit, MIN_REQUESTS, View, WORTH_A_WORD, mean_ms, same_work,
    share,
};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, Finding, FindingKind, Impact, Severity};
use crate::analysis::tally::Part;
use crate::record::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What requests wait for a piece of work that holds up its process.
pub(super) struct Waiting<'a> {
    way: &'a Part,
    /// The share of the way's time that it answers for.
    share: f64,
    pub mean_ms: f64,
}

impl<'a> Waiting<'a> {
    /// Of all that requests wait to be taken in, its share of the time in which the process is busy with long pieces of work. That is
    /// at most all the time, so it answers for no less than the share of the run that it takes itself.
    pub fn of(view: &View<'a>, who: &Contributor, held: f64, processes: u32) -> Option<Waiting<'a>> {
        let tally = view.tally;
        let way =
            |(c, _): &(&Contributor, &Part)| c.category == Category::Network && callee(c) == &*who.service;
        let (way, wait) = tally.groups.iter().chain(&tally.parts).filter(way).max_by_key(|w| w.1.total)?;
        let of_service = view.stretches.iter().filter(|((service, _), _)| *service == who.service);
        let long: f64 = of_service.flat_map(|(_, kinds)| kinds).map(|(_, pieces)| pieces.time()).sum();
        let busy = long / view.known.period.0.max(1) as f64 / f64::from(processes.max(1));
        let share = held.min(1.0) / busy.min(1.0).max(held).max(f64::MIN_POSITIVE);
        let share = share.min(1.0);
        Some(Waiting { way: wait, share, mean_ms: share * mean_ms(wait.total, view.basis(way).0) })
    }
}

/// The share of the run for which a piece of work holds up each of its processes.
pub(super) fn share_of_run(view: &View<'_>, time: u64, processes: u32) -> f64 {
    share(time, view.known.period.0) / f64::from(processes.max(1))
}

/// Adds what others wait for it: that is what is lost, and for a call, which takes as long when it gives way, all that a fix brings.
pub(super) fn add_waiting(view: &View<'_>, part: &Part, found: &mut Found) {
    let finding = &mut found.finding;
    let processes = finding.evidence.get("processes").copied().unwrap_or(1.0) as u32;
    let held = share_of_run(view, part.total, processes);
    finding.evidence.insert("held_up_share", held);
    let waiting = Waiting::of(view, &finding.contributor, held, processes);
    if finding.contributor.category != Category::App {
        costs_waiting(view, finding, waiting.as_ref());
    }
    let Some(waiting) = waiting else { return };
    found.lost += (waiting.way.total as f64 * waiting.share) as u64;
    finding.evidence.insert("waiting_ms", waiting.mean_ms);
}

/// What a fix brings is what others wait for it. As bad as that, not as long as it takes itself.
fn costs_waiting(view: &View<'_>, finding: &mut Finding, waiting: Option<&Waiting<'_>>) {
    finding.impact = waiting.map_or_else(Impact::default, |waiting| {
        let all = view.impact(waiting.way);
        let of = |time: Nanos| Nanos((time.0 as f64 * waiting.share) as u64);
        Impact { mean: of(all.mean), p95: of(all.p95), p99: of(all.p99) }
    });
    let mean = view.tally.latency.mean();
    let much = share(finding.impact.mean.0, mean.0) >= CRITICAL_SHARE && finding.impact.mean >= DOMINANT_MEAN;
    finding.severity = if much { Severity::Critical } else { Severity::Warning };
}

/// What requests of a page do between their first and their last call, each of which is quick, where the loop lets nobody in until all is
/// done: calls that do not give way, as those of a plain driver in an asynchronous handler.
pub(super) fn of_quick_calls(view: &View<'_>) -> Vec<Found> {
    all_that_hold_up(view, view.tally.evidence.blocks.iter(), BLOCK_MS)
}

/// Pieces of a page's own code that hold up their event loop, though they take too little of its own requests to be told by that.
pub(super) fn of_short_work(view: &View<'_>, found: &[Found]) -> Vec<Found> {
    let told = |who: &Contributor| found.iter().any(|f| same_work(&f.finding.contributor, who));
    let pieces = view.tally.evidence.stretches.iter();
    let own = pieces.filter(|((who, _), _)| who.category == Category::App && !told(who));
    all_that_hold_up(view, own, PIECE_MS)
}

/// Those of some pieces, by what they are and instance, that hold up their event loops.
fn all_that_hold_up<'a>(
    view: &View<'_>,
    pieces: impl Iterator<Item = (&'a (Contributor, Arc<str>), &'a Stretches)>,
    key: &'static str,
) -> Vec<Found> {
    let mut pages: BTreeMap<&Contributor, Vec<(&Arc<str>, &Stretches)>> = BTreeMap::new();
    for ((who, instance), pieces) in pieces {
        pages.entry(who).or_default().push((instance, pieces));
    }
    pages.into_iter().filter_map(|(who, instances)| holds_up(view, who, &instances, key)).collect()
}

/// The evidence of how long one such piece is: of quick calls and what is between them, or of own code.
pub(super) const BLOCK_MS: &str = "block_ms";
const PIECE_MS: &str = "piece_ms";

/// Whether a finding is of pieces of time that are judged with what others wait for them.
pub(super) fn is_told_by_waits(finding: &Finding) -> bool {
    [BLOCK_MS, PIECE_MS].iter().any(|key| finding.evidence.contains_key(key))
}

/// Pieces of a page's time that let nobody into their event loops, if they and what others wait for them are much of the page.
fn holds_up(
    view: &View<'_>,
    who: &Contributor,
    instances: &[(&Arc<str>, &Stretches)],
    key: &'static str,
) -> Option<Found> {
    let (mut moments, mut came, mut taken_in) = (Moments::default(), 0, 0);
    let (mut number, mut time) = (0, 0.0);
    for (instance, pieces) in instances {
        let requests = view.requests.get(&(who.service.clone(), (*instance).clone()))?;
        if !requests.is_of_loops() {
            return None;
        }
        let (sent, begun) = sent_within(pieces, requests);
        (came, taken_in) = (came + sent, taken_in + begun);
        moments.add(within(pieces, requests));
        (number, time) = (number + pieces.number, time + pieces.time());
    }
    let (n, latency) = view.tally.joined_sum();
    if number < MIN_REQUESTS || !stands(moments, Some((came, taken_in)), view.known.limits) {
        return None;
    }
    let processes = instances.len() as u32;
    let held = share_of_run(view, time as u64, processes);
    let waiting = Waiting::of(view, who, held, processes)?;
    let waits = (waiting.way.total as f64 * waiting.share) as u64;
    let lost = waits + time as u64;
    let much = share(lost, latency) >= view.limit(Limit::Share)
        && mean_ms(lost, n) >= view.limit(Limit::MeanMs)
        && waiting.mean_ms >= Nanos(LONG).as_millis_f64();
    if !much {
        return None;
    }
    let evidence = BTreeMap::from([
        ("share", share(lost.min(latency), latency)),
        ("mean_ms", mean_ms(time as u64, n)),
        (key, time / number as f64 / 1e6),
        ("held_up_share", held),
        ("waiting_ms", waiting.mean_ms),
        ("processes", f64::from(processes)),
    ]);
    let mut found = view.found(Claim::sure(FindingKind::EventLoopBlocked), who, waiting.way, lost, evidence);
    costs_waiting(view, &mut found.finding, Some(&waiting));
    Some(found)
}

/// The evidence of work that goes on after the answer.
pub(super) const AFTER_MS: &str = "after_answer_ms";

/// Work that goes on after the answers of a step's requests, as background tasks do, and lets nobody in meanwhile: no request waits for
/// it on its own path, but all that come then do.
pub(super) fn after_answers(view: &View<'_>) -> Vec<Found> {
    let own = view.tally.evidence.stretches.keys().map(|(who, _)| who);
    let own: BTreeSet<&Contributor> = own.filter(|who| who.category == Category::App).collect();
    own.into_iter().filter_map(|who| goes_on(view, who)).collect()
}

fn goes_on(view: &View<'_>, who: &Contributor) -> Option<Found> {
    let pieces = view.tally.evidence.stretches.iter().filter(|((of, _), _)| of == who);
    let (number, time) = pieces.fold((0, 0.0), |(n, time), (_, of)| (n + of.number, time + of.time()));
    // What requests wait for on their own path is told there.
    let on_path = view.whole_part(who).map_or(0, |part| part.total) as f64;
    if number < MIN_REQUESTS || 2.0 * on_path > time {
        return None;
    }
    let (processes, in_loop) = stands_in(view, who)?;
    let held = share_of_run(view, time as u64, processes);
    let waiting = Waiting::of(view, who, held, processes).filter(|_| in_loop)?;
    let mean = view.tally.latency.mean().as_millis_f64();
    if waiting.mean_ms < Nanos(LONG).as_millis_f64() || waiting.mean_ms < WORTH_A_WORD * mean {
        return None;
    }
    let evidence = BTreeMap::from([
        (AFTER_MS, time / number as f64 / 1e6),
        ("held_up_share", held),
        ("waiting_ms", waiting.mean_ms),
        ("processes", f64::from(processes)),
    ]);
    let lost = (waiting.way.total as f64 * waiting.share) as u64;
    let claim = Claim::sure(FindingKind::EventLoopBlocked);
    let mut found = view.found(claim, who, waiting.way, lost, evidence);
    costs_waiting(view, &mut found.finding, Some(&waiting));
    Some(found)
}
