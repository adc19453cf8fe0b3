//! Event loops that have more to do than one loop can: many pieces of work of which none holds up the others for long, or several
//! that hold them up for some time each, so that all wait for their turn again and again.
//!
//! A loop does one thing at a time. So where at each moment more than one request on average is in the service's own code,
//! and at their best they would not be there, they wait for the loop: own time that is quick at best is no slow code then,
//! and time before the service is no slow line. A lock of one page or a call that nobody records looks the same in that page
//! alone, so the page that is asked about does not count, nor for the way the one that waits longest.

use super::event_loop::{Requests, lets_nobody_in};
use super::evidence::Pattern;
use super::{Limits, OwnTimes, Process, View};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, FindingKind};
use crate::analysis::tally::{Part, StepTally};
use crate::record::StepId;
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Requests on average that must wait in the own code of each process.
const IN_TURN: f64 = 1.0;

/// The share of the run for which pieces of work that let nobody in must keep a process, all together.
const HELD: f64 = 0.2;

/// Kinds of calls, and calls of each, that tell how late answers are seen; and the share of the wait to be taken in that this must be.
const KINDS: usize = 3;
const CALLS: u64 = 10;
const ALIKE: f64 = 0.5;

/// Services that only run in event loops.
pub(super) struct Crowds(BTreeMap<Arc<str>, Crowd>);

#[derive(Default)]
struct Crowd {
    processes: u32,
    /// How many requests of each step wait in the own code of each process on average.
    waiting: Vec<f64>,
    /// The share of the run for which the process that is kept longest lets nobody in.
    held: f64,
    /// What a call takes longer than the quickest of its kind, in ns: the median of kinds.
    late: f64,
}

impl Crowds {
    pub fn of(
        steps: &[StepTally],
        requests: &BTreeMap<Process, Requests>,
        stretches: &BTreeMap<Process, OwnTimes<'_>>,
        (period, limits): (u64, &Limits),
    ) -> Crowds {
        let mut loops: BTreeMap<&Arc<str>, Option<Crowd>> = BTreeMap::new();
        let period = period.max(1) as f64;
        for ((service, instance), of) in requests {
            let crowd = loops.entry(service).or_insert(Some(Crowd::default()));
            *crowd = crowd.take().filter(|_| of.is_of_loops());
            if let Some(crowd) = crowd {
                let own = stretches.get(&(service.clone(), instance.clone()));
                let held = own.into_iter().flatten().filter(|(_, pieces)| lets_nobody_in(pieces, of, limits));
                let held: f64 = held.map(|(_, pieces)| pieces.time()).sum();
                crowd.held = crowd.held.max(held / period);
                crowd.processes += 1;
            }
        }
        let mut crowds = BTreeMap::new();
        for (service, mut crowd) in loops.into_iter().filter_map(|(service, crowd)| Some((service, crowd?))) {
            let all = f64::from(crowd.processes.max(1)) * period;
            crowd.late = late(steps, service);
            crowd.waiting = steps.iter().map(|step| waited(step, service) / all).collect();
            crowds.insert(service.clone(), crowd);
        }
        Crowds(crowds)
    }

    /// Whether a service's loops are busy, whatever the requests of one step do.
    fn beside(&self, step: StepId, service: &str) -> bool {
        self.0.get(service).is_some_and(|crowd| {
            let others =
                crowd.waiting.iter().sum::<f64>() - crowd.waiting.get(usize::from(step.0)).unwrap_or(&0.0);
            others >= IN_TURN || crowd.held >= HELD
        })
    }

    /// Whether they are, whatever the requests do that wait longest; or so that what waits for the loop waits as long where a call ends
    /// as where a request begins, which is `wait` ns on average.
    pub fn in_all(&self, service: &str, wait: f64) -> bool {
        self.0.get(service).is_some_and(|crowd| {
            let most = crowd.waiting.iter().copied().fold(0.0, f64::max);
            crowd.waiting.iter().sum::<f64>() - most >= IN_TURN
                || crowd.held >= HELD
                || crowd.late >= ALIKE * wait.max(1.0)
        })
    }
}

/// The median, over all kinds of calls of a service, of what a call takes on average beyond the quickest tenth of its kind; nothing where
/// kinds are few.
fn late(steps: &[StepTally], service: &Arc<str>) -> f64 {
    use Category::{Cache, Database, External, Messaging, Search};
    let mut kinds: BTreeMap<(Category, &str, &str), Histogram> = BTreeMap::new();
    for (who, part) in steps.iter().flat_map(|step| &step.parts).filter(|(who, _)| who.service == *service) {
        if matches!(who.category, Cache | Database | External | Messaging | Search) {
            let kind = (who.category, &*who.system, &*who.name);
            kinds.entry(kind).or_insert_with(Histogram::coarse).merge(&part.call_duration);
        }
    }
    let known = kinds.values().filter(|calls| calls.len() >= CALLS);
    let mut longer: Vec<f64> =
        known.map(|calls| calls.mean().0 as f64 - calls.quantile(0.1).0 as f64).collect();
    longer.sort_by(f64::total_cmp);
    if longer.len() < KINDS { 0.0 } else { longer[(longer.len() - 1) / 2] }
}

/// What the requests of a step are longer in a service's own code than its quickest are, in ns; but not before statements, where
/// they may wait for a connection.
fn waited(step: &StepTally, service: &Arc<str>) -> f64 {
    let own = step.parts.iter().filter(|(who, _)| who.category == Category::App && who.service == *service);
    let longer: f64 = own.map(|(_, part)| longer_than_quick(part)).sum();
    let before = step.evidence.of(Pattern::BeforeDatabase).filter(|(who, _)| who.service == *service);
    let before: f64 = before.map(|(_, part)| part.total as f64).sum();
    (longer - before).max(0.0)
}

/// Own time beyond what it were, had each span the length of the quickest tenth.
fn longer_than_quick(part: &Part) -> f64 {
    let spans = (part.call_duration.sum() as f64).max(1.0);
    let quick = part.call_duration.quantile(0.1).0 as f64 * part.calls as f64;
    part.total as f64 * (1.0 - (quick / spans).min(1.0))
}

/// Whether what is quick at best is slow for the loop's sake: own time of a crowded service; and its calls and waits for connections,
/// where one takes no longer than requests wait to be taken in, which is what the loop takes to come to the next.
pub(super) fn explains(view: &View<'_>, kind: FindingKind, who: &Contributor, mean_ms: f64) -> bool {
    use FindingKind::{AppCpu, LockContention, PoolWait, SlowExternal, SlowQuery};
    if !view.crowds.beside(view.step, &who.service) {
        return false;
    }
    let way = |c: &Contributor| c.category == Category::Network && callee(c) == &*who.service;
    let ways = view.tally.parts.iter().filter(|(c, _)| way(c));
    let until_taken_in: u64 = ways.map(|(_, part)| part.total).sum();
    let (joined, _) = view.tally.joined_sum();
    match kind {
        AppCpu => true,
        SlowExternal | SlowQuery | LockContention | PoolWait => {
            mean_ms <= super::mean_ms(until_taken_in, joined)
        }
        _ => false,
    }
}
