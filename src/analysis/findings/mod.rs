//! Named problems. A healthy system yields none: a false finding is a defect.
//!
//! A fixed limit ("500 ms is slow") is silent on a query of 70 ms that is 97 % of its request, and a share alone shouts
//! about a request of 2 ms. So every rule asks for both: a share of the step and a floor in milliseconds.

mod dominant;
mod merge;
mod peers;
mod series;

use super::result::{Category, Confidence, Contributor, Finding, FindingKind, Impact, Severity};
use super::tally::{Part, StepTally};
use crate::record::{Nanos, StepId};
use peers::Peers;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// One contributor owns this share of a step's mean …
pub(super) const DOMINANT_SHARE: f64 = 0.30;
/// … and this much of it.
pub(super) const DOMINANT_MEAN: Nanos = Nanos::from_millis(25);
/// Requests in which it takes as much as that come over this share of the time in which the step was asked for: what
/// happens once, at the start, is warming up.
pub(super) const SPREAD: f64 = 0.25;
/// A statement is slow for its system, if its calls typically take so many times as long as all other calls of that
/// system, of which there are enough in the run …
pub(super) const OUTLIER_RATIO: f64 = 10.0;
/// … and it has the dominant share and this much of its step's mean.
pub(super) const OUTLIER_MEAN: Nanos = Nanos::from_millis(3);
/// Enough other calls to know what is usual.
pub(super) const OUTLIER_CALLS: u64 = 50;
/// Answers of this size are large on any network: what is a few milliseconds on a loopback is seconds on a phone …
pub(super) const LARGE_ANSWER: f64 = 1024.0 * 1024.0;
/// … if reading them already takes this much of a request.
pub(super) const LARGE_ANSWER_MEAN: Nanos = Nanos::from_millis(3);
/// Calls in a series (see `sums::SERIES_MIN`) take this share of a step's mean …
pub(super) const SERIES_SHARE: f64 = 0.25;
/// … and this much of it …
pub(super) const SERIES_MEAN: Nanos = Nanos::from_millis(3);
/// … in this share of the step's requests.
pub(super) const SERIES_REQUESTS: f64 = 0.10;
/// One contributor owns this share of the gap between the slow requests and the typical ones …
pub(super) const TAIL_SHARE: f64 = 0.50;
/// … and is this much longer in the slow ones.
pub(super) const TAIL_EXCESS: Nanos = Nanos::from_millis(50);
/// Fewer slow requests than this are no tail but chance.
pub(super) const TAIL_REQUESTS: u64 = 10;
/// Fewer requests than this show nothing.
pub(super) const MIN_REQUESTS: u64 = 5;
/// Fewer than this show it with low confidence.
const FEW_REQUESTS: u64 = 30;
/// From this share on, and with the dominant floor, a finding is critical.
const CRITICAL_SHARE: f64 = 0.5;

/// A finding, and what it is ranked by.
pub(super) struct Found {
    pub finding: Finding,
    /// Nanoseconds lost over all exchanges.
    pub lost: u64,
}

impl Found {
    /// Most time lost first; then by what it says, so that the order never depends on arrival.
    pub fn worst_first(a: &Found, b: &Found) -> Ordering {
        let key = |f: &Found| (f.finding.step, f.finding.kind, f.finding.contributor.clone());
        b.lost.cmp(&a.lost).then_with(|| key(a).cmp(&key(b)))
    }
}

/// All findings of a run, in no order.
pub(super) fn find(steps: &[StepTally]) -> Vec<Found> {
    let mut all = Vec::new();
    let peers = Peers::of(steps);
    for (i, tally) in steps.iter().enumerate() {
        let view = View { step: StepId(i as u16), tally, peers: &peers };
        let mut found = series::find(&view);
        found.extend(dominant::find(&view));
        all.extend(merge::under_deeper_causes(found));
    }
    all
}

/// One step, as the detectors see it.
struct View<'a> {
    pub step: StepId,
    pub tally: &'a StepTally,
    /// What calls usually take in this run.
    pub peers: &'a Peers,
}

impl View<'_> {
    /// The exchanges that could show a contributor's time, and their latency: what only server spans show, joined
    /// exchanges alone can.
    pub fn basis(&self, who: &Contributor) -> (u64, u64) {
        let of_client =
            who.service.is_empty() && matches!(who.category, Category::Connection | Category::Transfer);
        let bands = self.tally.bands.iter().map(|b| (b.exchanges, b.latency_sum.0));
        let joined = self.tally.joined_bands.iter().copied();
        let add = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        if of_client { bands.fold((0, 0), add) } else { joined.fold((0, 0), add) }
    }

    /// A finding about a part of this step.
    pub fn found(
        &self,
        kind: FindingKind,
        who: &Contributor,
        part: &Part,
        lost: u64,
        evidence: BTreeMap<&'static str, f64>,
    ) -> Found {
        let number = |key: &str| evidence.get(key).copied().unwrap_or_default();
        let critical =
            number("share") >= CRITICAL_SHARE && number("mean_ms") >= DOMINANT_MEAN.as_millis_f64();
        let joined = self.tally.joined as f64 / self.tally.traced.max(1) as f64;
        let confidence = if part.exchanges < FEW_REQUESTS {
            Confidence::FewRequests(part.exchanges)
        } else if self.tally.traced > 0 && joined < super::verdict::COVERAGE_MIN {
            Confidence::PartlyTraced((joined * 1000.0) as u32)
        } else {
            Confidence::High
        };
        let finding = Finding {
            kind,
            severity: if critical { Severity::Critical } else { Severity::Warning },
            step: self.step,
            contributor: self.with_code(who),
            evidence,
            impact: self.impact(part),
            confidence,
            exemplars: self.exemplars(part),
        };
        Found { finding, lost }
    }

    /// At most so much goes away with the part.
    fn impact(&self, part: &Part) -> Impact {
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
}

/// The same work, wherever in the code.
pub(super) fn same_work(a: &Contributor, b: &Contributor) -> bool {
    (a.category, &a.service, &a.system, &a.name) == (b.category, &b.service, &b.system, &b.name)
}

/// Milliseconds of nanoseconds divided by a count.
pub(super) fn mean_ms(total: u64, n: u64) -> f64 {
    total as f64 / n.max(1) as f64 / 1e6
}

/// A part of a whole.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
