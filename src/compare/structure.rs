//! What needs no statistics: spans that came, went, or became more. Counts of calls do not depend on the machine, so one
//! run of each side shows them.

use super::changes::mean;
use super::outcome::Sides;
use super::summary::{ContributorKey, OperationKey, RunSummary};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many times as many calls, and so many more, are an alarm.
const TIMES: f64 = 2.0;
/// More calls of an exchange.
const MORE: f64 = 2.0;
/// Less change in the number of calls than this is not worth a line.
const WORTH_A_LINE: f64 = 0.5;
/// What occurs less often in a run may be missing or more in the next by chance.
const SPANS_MIN: u64 = 10;
/// So much more of a step's exchanges fail, at least.
const ERRORS_MORE: f64 = 0.01;
/// Standard errors between two shares of failures that are no chance.
const ERRORS_SIGMA: f64 = 4.0;

/// What kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StructureKind {
    /// Calls of an exchange became more.
    MoreCalls,
    /// More exchanges of a step fail.
    MoreErrors,
    /// An operation that was not there.
    New,
    /// An operation that is not there any more.
    Vanished,
    /// Calls of an exchange became fewer.
    FewerCalls,
}

impl StructureKind {
    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            StructureKind::MoreCalls => "more_calls",
            StructureKind::MoreErrors => "more_errors",
            StructureKind::New => "new",
            StructureKind::Vanished => "vanished",
            StructureKind::FewerCalls => "fewer_calls",
        }
    }
}

/// A change of structure.
#[derive(Clone, Debug, PartialEq)]
pub struct StructureChange {
    /// What kind.
    pub kind: StructureKind,
    /// In which step; empty where it is about the run.
    pub step: Arc<str>,
    /// Name of its category; `external` for a new host.
    pub category: Arc<str>,
    /// Whose.
    pub service: Arc<str>,
    /// What.
    pub name: Arc<str>,
    /// Calls of an exchange, or the share of failures.
    pub calls: Sides,
    /// Whether it fails the comparison.
    pub alarm: bool,
}

/// All changes of structure, alarms first.
pub(super) fn structure(base: &[RunSummary], head: &[RunSummary]) -> Vec<StructureChange> {
    if base.is_empty() || head.is_empty() {
        return Vec::new();
    }
    let mut out = calls(base, head);
    out.extend(failures(base, head));
    out.extend(appearances(base, head));
    out.sort_by(|a, b| {
        let by = |s: &StructureChange| (s.calls.head - s.calls.base).abs();
        (b.alarm.cmp(&a.alarm))
            .then(a.kind.cmp(&b.kind))
            .then(by(b).total_cmp(&by(a)))
            .then_with(|| (&a.step, &a.service, &a.name).cmp(&(&b.step, &b.service, &b.name)))
    });
    out
}

/// Calls by step and contributor, a value of each run that has the step.
type Calls = BTreeMap<(Arc<str>, ContributorKey), Vec<f64>>;

fn calls_of(runs: &[RunSummary], keys: &BTreeSet<(Arc<str>, ContributorKey)>) -> Calls {
    let mut out = Calls::new();
    for step in runs.iter().flat_map(|run| &run.steps).filter(|step| step.exchanges > 0) {
        let calls: BTreeMap<&ContributorKey, f64> =
            step.contributors.iter().map(|c| (&c.key, c.calls_per_exchange)).collect();
        // Where not all contributors are listed, one that is missing may only be small: that is not known.
        let missing = if step.others_mean_ms > 0.0 { f64::NAN } else { 0.0 };
        for key in keys.iter().filter(|key| key.0 == step.name) {
            out.entry(key.clone()).or_default().push(calls.get(&key.1).copied().unwrap_or(missing));
        }
    }
    out
}

fn calls(base: &[RunSummary], head: &[RunSummary]) -> Vec<StructureChange> {
    let steps = || base.iter().chain(head).flat_map(|run| &run.steps);
    // Network is time between spans, and is nobody's call.
    let keys: BTreeSet<(Arc<str>, ContributorKey)> = steps()
        .flat_map(|step| step.contributors.iter().map(|c| (step.name.clone(), c.key.clone())))
        .filter(|(_, key)| &*key.category != "network")
        .collect();
    let (before, after) = (calls_of(base, &keys), calls_of(head, &keys));
    // All calls of a kind, so that a statement under another name is not taken for more statements.
    let of_kind = |all: &Calls, key: &(Arc<str>, ContributorKey)| {
        let same = |k: &(Arc<str>, ContributorKey)| {
            (&k.0, &k.1.category, &k.1.service, &k.1.system)
                == (&key.0, &key.1.category, &key.1.service, &key.1.system)
        };
        let known = |v: &[f64]| mean(v.iter().copied().filter(|calls| !calls.is_nan()));
        all.iter().filter(|(k, _)| same(k)).map(|(_, v)| known(v)).sum::<f64>()
    };
    // Of few exchanges, chance says how many calls they make.
    let seldom: BTreeSet<Arc<str>> =
        steps().filter(|step| step.exchanges < SPANS_MIN).map(|step| step.name.clone()).collect();
    let mut out = Vec::new();
    for key in keys {
        let (Some(b), Some(h)) = (before.get(&key), after.get(&key)) else { continue };
        if b.iter().chain(h).any(|calls| calls.is_nan()) {
            continue;
        }
        let sides = Sides { base: mean(b.iter().copied()), head: mean(h.iter().copied()) };
        let most = |v: &[f64]| v.iter().copied().fold(0.0, f64::max);
        let least = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
        // Not one run of the one side is like any of the other.
        let more = least(h) >= most(b) + WORTH_A_LINE;
        let fewer = most(h) + WORTH_A_LINE <= least(b);
        if !more && !fewer {
            continue;
        }
        let much = least(h) >= TIMES * most(b) && least(h) >= most(b) + MORE;
        let alarm =
            much && !seldom.contains(&key.0) && of_kind(&after, &key) >= of_kind(&before, &key) + MORE;
        out.push(StructureChange {
            kind: if more { StructureKind::MoreCalls } else { StructureKind::FewerCalls },
            step: key.0,
            category: key.1.category,
            service: key.1.service,
            name: key.1.name,
            calls: sides,
            alarm,
        });
    }
    out
}

fn failures(base: &[RunSummary], head: &[RunSummary]) -> Vec<StructureChange> {
    type Runs = [Vec<(u64, u64)>; 2];
    let mut counts: BTreeMap<Arc<str>, Runs> = BTreeMap::new();
    for (side, runs) in [(0, base), (1, head)] {
        for step in runs.iter().flat_map(|run| &run.steps) {
            counts.entry(step.name.clone()).or_default()[side].push((step.errors, step.exchanges));
        }
    }
    let share = |(failed, all): (u64, u64)| failed as f64 / all.max(1) as f64;
    let change = |(step, runs): (Arc<str>, Runs)| {
        let sum =
            |side: &Vec<(u64, u64)>| side.iter().fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
        let [b, h] = [sum(&runs[0]), sum(&runs[1])];
        // The run is the sample: one bad run is no change, most runs worse than every run of base are.
        let most = runs[0].iter().map(|run| share(*run)).fold(0.0, f64::max);
        let worse = runs[1].iter().filter(|run| share(**run) > most).count();
        let calls = Sides { base: share(b), head: share(h) };
        let both = (b.0 + h.0) as f64 / (b.1 + h.1).max(1) as f64;
        let error = (both * (1.0 - both) * (1.0 / b.1.max(1) as f64 + 1.0 / h.1.max(1) as f64)).sqrt();
        let more = calls.head - calls.base;
        let alarm =
            b.1 > 0 && more >= ERRORS_MORE && more >= ERRORS_SIGMA * error && 2 * worse > runs[1].len();
        let empty: Arc<str> = Arc::from("");
        alarm.then(|| StructureChange {
            kind: StructureKind::MoreErrors,
            step: step.clone(),
            category: empty.clone(),
            service: empty,
            name: step,
            calls,
            alarm,
        })
    };
    counts.into_iter().filter_map(change).collect()
}

/// Operations that only one side has: every run of the one, none of the other.
fn appearances(base: &[RunSummary], head: &[RunSummary]) -> Vec<StructureChange> {
    type Seen<'a> = BTreeMap<&'a OperationKey, (usize, u64, f64, Arc<str>)>;
    fn seen(runs: &[RunSummary]) -> Seen<'_> {
        let mut out = Seen::new();
        for op in runs.iter().flat_map(|run| &run.operations) {
            let entry = out.entry(&op.key).or_insert_with(|| (0, u64::MAX, 0.0, op.category.clone()));
            entry.0 += 1;
            entry.1 = entry.1.min(op.calls);
            entry.2 += op.calls_per_exchange();
        }
        out
    }
    // Where not all operations are listed, one that is missing may only be short.
    let whole = |runs: &[RunSummary]| runs.iter().all(|run| run.operations_omitted == 0);
    let only = |here: &Seen, runs: usize, there: &Seen, kind: StructureKind| {
        here.iter()
            .filter(|(key, seen)| seen.0 == runs && seen.1 >= SPANS_MIN && !there.contains_key(*key))
            .map(|(key, seen)| {
                let calls = seen.2 / runs as f64;
                StructureChange {
                    kind,
                    step: Arc::from(""),
                    category: seen.3.clone(),
                    service: key.service.clone(),
                    name: key.name.clone(),
                    calls: match kind {
                        StructureKind::Vanished => Sides { base: calls, head: 0.0 },
                        _ => Sides { base: 0.0, head: calls },
                    },
                    alarm: false,
                }
            })
            .collect::<Vec<_>>()
    };
    let (before, after) = (seen(base), seen(head));
    let mut out = Vec::new();
    if whole(base) {
        out.extend(only(&after, head.len(), &before, StructureKind::New));
    }
    if whole(head) {
        out.extend(only(&before, base.len(), &after, StructureKind::Vanished));
    }
    out
}
