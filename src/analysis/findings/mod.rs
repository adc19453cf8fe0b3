//! Named problems. A healthy system yields none: a false finding is a defect.
//!
//! A fixed limit ("500 ms is slow") is silent on a query of 70 ms that is 97 % of its request, and a share alone shouts
//! about a request of 2 ms. So every rule asks for both: a share of the step and a floor in milliseconds.
//!
//! Two kinds of detectors. Those of [`dominant`] start from whoever owns too much of a step and say what that is: the most
//! special claim wins, the plain one (`slow_query`, `app_cpu`, …) is what remains. The others start from a pattern of
//! calls. What both find about the same time is put under the deeper cause by [`merge`].

mod app_cpu;
mod chatty;
mod cold_start;
pub(super) mod collector;
mod crowded;
mod dominant;
mod duplicate_query;
mod error_path;
pub(super) mod event_loop;
pub(super) mod evidence;
mod evidence_quality;
mod held_up;
mod holders;
pub(super) mod holding;
mod idle_process;
pub(super) mod least;
mod limited_calls;
mod limits;
mod lock_contention;
mod loops;
mod merge;
mod missing_index;
mod occupied;
mod over_steps;
mod peers;
pub(super) mod questions;
mod queueing;
mod races;
mod retries;
mod runtime;
mod sequential_calls;
mod series;
mod slow_instance;
mod slow_way;
mod uncached;
mod uncompressed;
mod unseen_wait;

use super::plans::DatabaseEvidence;
use super::result::{
    Category, Confidence, Contributor, Doubt, Finding, FindingKind, Impact, Severity, Telemetry,
};
use super::runtime::RuntimeMetrics;
use super::tally::{Part, StepTally};
use crate::record::{Nanos, Run, StepId};
use crate::stats::Histogram;
use crowded::Crowds;
use event_loop::{Requests, Stretches};
use holders::Holders;
use limits::Limit;
pub use limits::{LIMITS, LimitError, LimitInfo, Limits};
use peers::Peers;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Much time of a contributor in one request, for the rule of recurrence.
pub(super) const DOMINANT_MEAN: Nanos = Nanos::from_millis(25);
/// Some time of a contributor in one request, for the rule of recurrence.
pub(super) const OUTLIER_MEAN: Nanos = Nanos::from_millis(3);
/// Enough other calls to know what is usual.
const OUTLIER_CALLS: u64 = 50;
/// Fewer slow requests than this are no tail but chance.
const TAIL_REQUESTS: u64 = 10;
/// Fewer requests than this show nothing.
pub const MIN_REQUESTS: u64 = 5;
/// Fewer than this show it with low confidence.
const FEW_REQUESTS: u64 = 30;
/// From this share on, and with the dominant floor, a finding is critical.
const CRITICAL_SHARE: f64 = 0.5;
/// What takes a smaller share of a step than this is not worth a word beside what takes the rest.
const WORTH_A_WORD: f64 = 0.05;
/// But what takes this long is, beside anything: a wait grows with the load, and once it is gone this is what is left.
const LONG_ANYWAY: Nanos = Nanos::from_millis(100);
/// More findings than this nobody reads; many pages at once have many.
const LISTED: usize = 50;

/// A finding, and what it is ranked by.
pub(super) struct Found {
    pub finding: Finding,
    /// Nanoseconds lost over all exchanges.
    pub lost: u64,
    /// What would be doubted if enough requests showed it.
    pub doubt: Option<Doubt>,
}

impl Found {
    /// Takes in the requests of another step that show the same: few in each may be enough in all.
    pub fn is_shown_by_more(&mut self, other: &Found) {
        let (mine, more) = (&mut self.finding.confidence, other.finding.confidence);
        let (Confidence::FewRequests(few), Confidence::FewRequests(others)) = (*mine, more) else {
            if let (Confidence::FewRequests(_), Confidence::High | Confidence::Inferred(_)) = (*mine, more) {
                *mine = more;
            }
            return;
        };
        *mine = match (few + others, self.doubt) {
            (all, _) if all < FEW_REQUESTS => Confidence::FewRequests(all),
            (_, Some(doubt)) => Confidence::Inferred(doubt),
            (_, None) => Confidence::High,
        };
    }

    /// Most time lost first; then by what it says, so that the order never depends on arrival.
    pub fn worst_first(a: &Found, b: &Found) -> Ordering {
        let key = |f: &Found| (f.finding.step, f.finding.kind, f.finding.contributor.clone());
        let evidence = |f: &Found| f.finding.kind.is_about_evidence();
        evidence(a).cmp(&evidence(b)).then(b.lost.cmp(&a.lost)).then_with(|| key(a).cmp(&key(b)))
    }
}

/// A service and its instance.
type Process = (Arc<str>, Arc<str>);
/// Long pieces of own time by what they are.
type OwnTimes<'a> = Vec<(&'a Contributor, &'a Stretches)>;

/// What is known besides the sums.
pub(super) struct Known<'a> {
    pub run: &'a Run,
    pub telemetry: &'a Telemetry,
    /// First intended start to last end.
    pub period: Nanos,
    pub limits: &'a Limits,
    pub database: &'a DatabaseEvidence,
    pub runtime: &'a RuntimeMetrics,
    /// Where the machine of the load, and maybe of the service, had no free core: the share of the time in which the load's threads
    /// wanted one that they waited for it.
    pub core_waits: Option<f64>,
}

/// All findings of a run, worst first.
pub(super) fn find(steps: &[StepTally], known: &Known<'_>) -> Vec<Found> {
    let mut all = Vec::new();
    let peers = Peers::of(steps);
    let records_calls = app_cpu::recorders(steps);
    let waiting_services = unseen_wait::services(steps);
    let mut requests: BTreeMap<(Arc<str>, Arc<str>), Requests> = BTreeMap::new();
    for (process, more) in steps.iter().flat_map(|s| &s.evidence.requests) {
        requests.entry(process.clone()).or_default().merge(more);
    }
    let mut callers: BTreeMap<(Contributor, Arc<str>), Requests> = BTreeMap::new();
    for (process, more) in steps.iter().flat_map(|s| &s.evidence.callers) {
        callers.entry(process.clone()).or_default().merge(more);
    }
    let mut stretches: BTreeMap<Process, OwnTimes<'_>> = BTreeMap::new();
    for ((who, instance), of) in steps.iter().flat_map(|s| &s.evidence.stretches) {
        if who.category == Category::App {
            stretches.entry((who.service.clone(), instance.clone())).or_default().push((who, of));
        }
    }
    let holders = Holders::of(steps, known.period);
    let crowds = Crowds::of(steps, &requests, &stretches, (known.period.0, known.limits));
    let views: Vec<View<'_>> = steps
        .iter()
        .enumerate()
        .map(|(i, tally)| View {
            step: StepId(i as u16),
            tally,
            peers: &peers,
            requests: &requests,
            callers: &callers,
            stretches: &stretches,
            records_calls: &records_calls,
            waiting_services: &waiting_services,
            holders: &holders,
            crowds: &crowds,
            waited: 0,
            queued: 0,
            told: 0,
            known,
        })
        .map(|view| View { queued: queueing::named_waits(&view), ..view })
        .map(|view| {
            let unnamed = queueing::waiting_for_workers(&view) + unseen_wait::total(&view);
            View { waited: unnamed + view.queued, ..view }
        })
        .collect();
    for view in &views {
        let mut found = of_step_and_behind_waits(view);
        // Before they are put under each other: what is not wanted explains nothing away.
        found.retain(|f| known.limits.wants(f.finding.kind));
        all.extend(merge::under_deeper_causes(found, view));
    }
    let mut all = over_steps::merged(all, &views);
    holders.add_to(&mut all);
    occupied::add_to(&mut all, steps, &requests);
    runtime::add(&mut all, &views);
    all.extend(evidence_quality::find(&views, steps));
    all.retain(|f| known.limits.wants(f.finding.kind));
    all.sort_by(Found::worst_first);
    all.truncate(LISTED);
    all
}

/// What is found in a step, and what its waits hide: behind long waits for others, what each request does itself has a small
/// share of the latency.
fn of_step_and_behind_waits(view: &View<'_>) -> Vec<Found> {
    let mut found = of_step(view);
    let waits = queueing::told_waits(view, &found);
    if waits == 0 {
        return found;
    }
    // Whoever holds a lock, or a place, makes all others wait for what he does meanwhile.
    let holds = |f: &Finding| f.kind == FindingKind::LockContention || limited_calls::is_told_by(f);
    let locks = found.iter().any(|f| holds(&f.finding));
    let least = if locks { 0.0 } else { WORTH_A_WORD };
    let mut more = of_step(&View { told: waits, ..*view });
    more.retain(|f| {
        let who = &f.finding.contributor;
        !found.iter().any(|g| same_work(&g.finding.contributor, who))
            && (f.finding.evidence.get("share").is_some_and(|share| *share >= least)
                || f.finding.evidence.get("mean_ms").is_some_and(|mean| *mean >= LONG_ANYWAY.as_millis_f64()))
    });
    found.extend(more);
    found
}

/// What all detectors find in a step.
fn of_step(view: &View<'_>) -> Vec<Found> {
    let mut found = series::find(view);
    found.extend(dominant::find(view));
    for detector in [
        duplicate_query::find,
        missing_index::of_several,
        chatty::find,
        sequential_calls::find,
        retries::find,
        uncached::misses,
        cold_start::functions,
        cold_start::before_a_loop,
        error_path::find,
        slow_instance::find,
        slow_way::find,
        held_up::after_answers,
        held_up::of_quick_calls,
    ] {
        found.extend(detector(view));
    }
    let more = held_up::of_short_work(view, &found);
    found.extend(more);
    found
}

/// One step, as the detectors see it.
#[derive(Clone, Copy)]
struct View<'a> {
    pub step: StepId,
    pub tally: &'a StepTally,
    /// What calls usually take in this run.
    pub peers: &'a Peers,
    /// Requests by process, of all steps.
    pub requests: &'a BTreeMap<(Arc<str>, Arc<str>), Requests>,
    /// Calls to other services by what is called and process, of all steps.
    pub callers: &'a BTreeMap<(Contributor, Arc<str>), Requests>,
    /// Long pieces of own time by process, of all steps.
    pub stretches: &'a BTreeMap<Process, OwnTimes<'a>>,
    /// Services that record what they wait for.
    pub records_calls: &'a BTreeSet<Arc<str>>,
    /// Services whose requests wait before their statements.
    pub waiting_services: &'a BTreeSet<Arc<str>>,
    /// Who holds the connections of services.
    pub holders: &'a Holders,
    /// Event loops that have more to do than they can.
    pub crowds: &'a Crowds,
    /// How much of the latency is waiting for each other: for workers, for connections. Who makes others wait has a small
    /// share of what waiting makes long, so work is judged by the rest.
    pub waited: u64,
    /// What of it spans name.
    pub queued: u64,
    /// How much of the latency is waiting that findings tell of already: what it hides is judged by the rest.
    pub told: u64,
    pub known: &'a Known<'a>,
}

/// What a detector says about a part of a step.
struct Claim {
    pub kind: FindingKind,
    pub doubt: Option<Doubt>,
    pub evidence: Vec<(&'static str, f64)>,
    pub remedy: String,
    pub related: Vec<Contributor>,
}

impl Claim {
    fn sure(kind: FindingKind) -> Claim {
        Claim { kind, doubt: None, evidence: Vec::new(), remedy: String::new(), related: Vec::new() }
    }

    fn doubted(kind: FindingKind, doubt: Doubt) -> Claim {
        Claim { doubt: Some(doubt), ..Claim::sure(kind) }
    }

    fn with(mut self, evidence: &[(&'static str, f64)]) -> Claim {
        self.evidence.extend(evidence);
        self
    }
}

impl View<'_> {
    /// What requests wait for each other beside the work of a contributor. Calls to other services hold the waits there
    /// themselves, but not those of their caller.
    fn waited_beside(&self, who: &Contributor) -> u64 {
        use super::result::Category::{Cache, Database, External, Network, Search};
        match who.category {
            Cache | Database | Search => self.waited,
            External | Network if !who.service.is_empty() => queueing::named_waits_of(self, &who.service),
            _ => 0,
        }
    }

    /// The groups of the step (same statement wherever in the code, all of opening connections, …) and what has no group.
    fn whole_parts(&self) -> impl Iterator<Item = (&Contributor, &Part)> {
        let grouped = |who: &Contributor| {
            self.tally.groups.contains_key(&anywhere(who))
                || (who.category == Category::Connection && who.service.is_empty())
        };
        let alone = self.tally.parts.iter().filter(move |(who, _)| !grouped(who));
        self.tally.groups.iter().chain(alone)
    }

    /// Of those the one that a contributor belongs to.
    fn whole_part(&self, who: &Contributor) -> Option<&Part> {
        self.tally.groups.get(&anywhere(who)).or_else(|| self.tally.parts.get(who))
    }

    /// The calls of a kind, wherever in the code, and what they take.
    fn calls_of(&self, who: &Contributor) -> (u64, Histogram) {
        let (mut calls, mut duration) = (0, Histogram::coarse());
        for (_, part) in self.tally.parts.iter().filter(|(c, _)| same_work(c, who)) {
            calls += part.calls;
            duration.merge(&part.call_duration);
        }
        (calls, duration)
    }

    fn limit(&self, limit: Limit) -> f64 {
        self.known.limits.get(limit)
    }

    /// The exchanges that could show a contributor's time, and their latency: what only server spans show, joined
    /// exchanges alone can.
    pub fn basis(&self, who: &Contributor) -> (u64, u64) {
        let of_client =
            who.service.is_empty() && matches!(who.category, Category::Connection | Category::Transfer);
        let bands = self.tally.bands.iter().map(|b| (b.exchanges, b.latency_sum.0));
        match of_client {
            true => bands.fold((0, 0), |sum, band| (sum.0 + band.0, sum.1 + band.1)),
            false => self.tally.joined_sum(),
        }
    }

    /// The share that time has of what is left of a latency without so much waiting for others, and without what is told already.
    pub fn share_of_rest(&self, total: u64, latency: u64, waited: u64) -> f64 {
        share(total, latency.saturating_sub(waited + self.told).max(total))
    }

    /// A finding of a pattern, if it takes a share of the step's mean and a floor of it in enough requests.
    fn pattern(
        &self,
        claim: Claim,
        (who, part): (&Contributor, &Part),
        requests: f64,
        share_of: Limit,
        mean_of: Limit,
    ) -> Option<Found> {
        self.pattern_beside(claim, (who, part), requests, (share_of, mean_of), self.waited_beside(who))
    }

    /// The same of what is left of the step's latency when so much is taken out.
    pub fn pattern_beside(
        &self,
        claim: Claim,
        (who, part): (&Contributor, &Part),
        requests: f64,
        (share_of, mean_of): (Limit, Limit),
        waited: u64,
    ) -> Option<Found> {
        let (n, latency) = self.basis(who);
        let mean = mean_ms(part.total, n);
        let owned = self.share_of_rest(part.total, latency, waited);
        let often = part.exchanges >= MIN_REQUESTS && share(part.exchanges, n) >= requests;
        if !often || owned < self.limit(share_of) || mean < self.limit(mean_of) {
            return None;
        }
        let mut evidence = BTreeMap::from([
            ("share", share(part.total, latency)),
            ("mean_ms", mean),
            ("exchanges_share", share(part.exchanges, n)),
        ]);
        if part.calls > 0 {
            evidence.insert("calls_per_exchange", part.calls as f64 / part.exchanges.max(1) as f64);
        }
        Some(self.found(claim, who, part, part.total, evidence))
    }

    /// A finding about a part of this step.
    pub fn found(
        &self,
        claim: Claim,
        who: &Contributor,
        part: &Part,
        lost: u64,
        mut evidence: BTreeMap<&'static str, f64>,
    ) -> Found {
        let Claim { kind, doubt, evidence: more, remedy, related } = claim;
        evidence.extend(more);
        let number = |key: &str| evidence.get(key).copied().unwrap_or_default();
        let critical =
            number("share") >= CRITICAL_SHARE && number("mean_ms") >= DOMINANT_MEAN.as_millis_f64();
        let finding = Finding {
            kind,
            severity: if critical { Severity::Critical } else { Severity::Warning },
            step: self.step,
            contributor: self.with_code(who),
            impact: self.impact(part),
            confidence: self.confidence(part.exchanges, doubt),
            exemplars: self.exemplars(part),
            evidence,
            related,
            remedy: remedy.into(),
            holders: Vec::new(),
        };
        Found { finding, lost, doubt }
    }

    /// The weakest reason to doubt decides.
    fn confidence(&self, exchanges: u64, doubt: Option<Doubt>) -> Confidence {
        let joined = self.tally.joined as f64 / self.tally.traced.max(1) as f64;
        match doubt {
            _ if exchanges < FEW_REQUESTS => Confidence::FewRequests(exchanges),
            _ if self.tally.traced > 0 && joined < super::verdict::COVERAGE_MIN => {
                Confidence::PartlyTraced((joined * 1000.0) as u32)
            }
            Some(doubt) => Confidence::Inferred(doubt),
            None => Confidence::High,
        }
    }

    /// At most so much goes away with the part.
    pub fn impact(&self, part: &Part) -> Impact {
        let now = &self.tally.latency;
        let then = now.exchanged(&part.touched, &part.without);
        let saved = |q: f64| Nanos(now.quantile(q).0.saturating_sub(then.quantile(q).0));
        let mean = now.mean().0.saturating_sub(then.mean().0);
        Impact { mean: Nanos(mean), p95: saved(0.95), p99: saved(0.99) }
    }

    /// The request in which it took most, then the step's own exemplars from slow to typical.
    fn exemplars(&self, part: &Part) -> Vec<crate::record::TraceId> {
        let worst = part.worst.map(|(_, trace)| trace.0);
        let others = self.tally.exemplars.iter().rev().flatten().filter(|e| e.5).map(|e| e.3);
        let mut out = Vec::new();
        for trace in worst.into_iter().chain(others) {
            if !out.contains(&trace) && out.len() < 3 {
                out.push(trace);
            }
        }
        out
    }

    /// A group's place in the code, where all of its members agree on one or one of them has most of the time.
    fn with_code(&self, who: &Contributor) -> Contributor {
        let members = self.tally.parts.iter().filter(|(c, _)| same_work(c, who));
        let largest = members.max_by(|a, b| a.1.total.cmp(&b.1.total).then(b.0.cmp(a.0)));
        largest.map_or_else(|| who.clone(), |(c, _)| c.clone())
    }

    /// A finding about the step as a whole, which no part of it stands for.
    fn about(&self, kind: FindingKind, severity: Severity, who: Contributor) -> Finding {
        Finding {
            kind,
            severity,
            step: self.step,
            contributor: who,
            evidence: BTreeMap::new(),
            impact: Impact::default(),
            confidence: self.confidence(self.tally.joined.max(self.tally.exchanges), None),
            exemplars: self.exemplars(&Part::default()),
            related: Vec::new(),
            remedy: "".into(),
            holders: Vec::new(),
        }
    }
}

/// The same work, wherever in the code.
pub(super) fn same_work(a: &Contributor, b: &Contributor) -> bool {
    a.is_same_work(b)
}

/// A group's contributor: without its place in the code.
fn anywhere(who: &Contributor) -> Contributor {
    Contributor { code: "".into(), ..who.clone() }
}

/// Milliseconds of nanoseconds divided by a count.
pub(super) fn mean_ms(total: u64, n: u64) -> f64 {
    total as f64 / n.max(1) as f64 / 1e6
}

/// A part of a whole.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
