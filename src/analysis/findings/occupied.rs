//! What those do that have their turn while others queue before a service: a worker is busy with whatever its request waits for, an
//! event loop only with code.

use super::event_loop::Requests;
use super::{Found, Process, anywhere};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, FindingKind};
use crate::analysis::tally::StepTally;
use std::collections::BTreeMap;

/// The evidence: which share of its turn a request is in what takes most of it.
const TURN: &str = "turn_share";
/// The share from which it is told.
const MOST: f64 = 0.3;

/// Adds to each queue before a service what takes most of the turns, over all steps that go there.
pub(super) fn add_to(all: &mut [Found], steps: &[StepTally], requests: &BTreeMap<Process, Requests>) {
    for finding in all.iter_mut().map(|f| &mut f.finding) {
        let way = &finding.contributor;
        if finding.kind != FindingKind::Queueing || way.category != Category::Network {
            continue;
        }
        let mut of = requests.iter().filter(|((service, _), _)| **service == *callee(way)).peekable();
        let is_loop = of.peek().is_some() && of.all(|(_, r)| r.is_of_loops());
        if let Some((who, share)) = most(way, steps, is_loop) {
            finding.evidence.insert(TURN, share);
            finding.related = vec![who];
        }
    }
}

/// What takes most of the time that requests spend where a way leads to, and its share of that time, if that is much.
fn most(way: &Contributor, steps: &[StepTally], is_loop: bool) -> Option<(Contributor, f64)> {
    let mut owners: BTreeMap<Contributor, u64> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.parts.contains_key(way)) {
        for (who, part) in step.parts.iter().filter(|(who, _)| is_in_turn(way, who, is_loop)) {
            *owners.entry(anywhere(who)).or_default() += part.total;
        }
    }
    let all: u64 = owners.values().sum();
    let (who, time) = owners.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))?;
    let share = time as f64 / all.max(1) as f64;
    // An answer that takes so long may hold a worker, or wait on its way to the client.
    (share >= MOST && who.category != Category::Transfer).then_some((who, share))
}

/// Whether a contributor's time is spent by requests that have their turn.
fn is_in_turn(way: &Contributor, who: &Contributor, is_loop: bool) -> bool {
    let service = callee(way);
    let inside = match is_loop {
        true => who.category == Category::App && *who.service == *service,
        // From the client's side all that services do is done behind the first of them, and so is the sending of the answer.
        false if way.service.is_empty() => !who.service.is_empty() || who.category == Category::Transfer,
        false => *who.service == *service,
    };
    let before = who.category == Category::Network && *callee(who) == *service;
    inside && !before && !matches!(who.category, Category::Generator | Category::Untraced)
}
