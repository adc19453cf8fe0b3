//! Steps, operations and the whole service of two sides, with what changed of each.

use super::attribution::attribution;
use super::contrast::{Design, Row, Tables, common_factor};
use super::outcome::{Cause, Change, Changes, OperationChange, Sides, StepChange, Verdict, WholeService};
use super::settings::Settings;
use super::summary::{OperationKey, OperationSummary, RunSummary, StepSummary, Times};
use super::tested::{Tests, change, estimated, row, tested, worst};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), v| (n + 1.0, sum + v));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// A step by its journey and its name.
type StepKey = (Arc<str>, Arc<str>);
/// A step in the runs of both sides; none where a run does not have it.
type StepRuns = (Vec<Option<StepSummary>>, Vec<Option<StepSummary>>);
/// The same of an operation.
type OperationRuns<'a> = (Vec<Option<&'a OperationSummary>>, Vec<Option<&'a OperationSummary>>);

/// What changed between two sides of runs.
pub(super) struct Changed {
    pub steps: Vec<StepChange>,
    pub operations: Vec<OperationChange>,
    pub whole: Option<WholeService>,
}

/// Steps are judged as they were measured, operations without what the machine did to all of them.
pub(super) fn changed(
    base: &[RunSummary],
    head: &[RunSummary],
    design: Design,
    settings: &Settings,
) -> Changed {
    let steps = step_runs(base, head);
    let operations = operation_runs(base, head);
    let step_rows: Vec<[Option<Row>; 3]> = steps.iter().map(|(_, runs)| step_rows(runs)).collect();
    let operation_rows: Vec<[Option<Row>; 6]> = operations.values().map(operation_rows).collect();
    // Own times are disjoint; a slower leaf makes every span above it longer, and their median with them.
    let factors =
        [0, 1, 2].map(|q| common_factor(operation_rows.iter().filter_map(|f| f[q].as_ref()), design));
    let mut step_estimates = vec![[None; 3]; steps.len()];
    let mut operation_estimates = vec![[None; 6]; operations.len()];
    for column in 0..6 {
        let (q, rows) = (column % 3, operation_rows.iter().map(|rows| rows[column].as_ref()));
        let estimates = estimated(&rows.collect::<Vec<_>>(), factors[q].as_ref(), design);
        operation_estimates.iter_mut().zip(estimates).for_each(|(to, estimate)| to[column] = estimate);
    }
    for q in 0..3 {
        let rows: Vec<Option<&Row>> = step_rows.iter().map(|rows| rows[q].as_ref()).collect();
        let estimates = estimated(&rows, None, design);
        step_estimates.iter_mut().zip(estimates).for_each(|(to, estimate)| to[q] = estimate);
    }
    let step_changes = tested(&step_rows, &step_estimates, settings);
    let operation_changes = tested(&operation_rows, &operation_estimates, settings);
    let whole = factors[0].as_ref().and_then(|f50| {
        let felt = operation_rows.iter().filter(|f| f[0].as_ref().is_some_and(Row::is_whole)).count();
        whole_service(f50, factors[1].as_ref().unwrap_or(f50), felt, design, settings)
    });
    let made = operations.into_iter().zip(operation_changes);
    let mut operations: Vec<OperationChange> =
        made.map(|((key, runs), changes)| operation_change(key, &runs, changes, base, head)).collect();
    operations.sort_by(order);
    let steps =
        steps.into_iter().zip(step_changes).map(|((key, runs), latency)| step_change(key, &runs, latency));
    Changed { steps: steps.collect(), operations, whole }
}

fn step_runs(base: &[RunSummary], head: &[RunSummary]) -> Vec<(StepKey, StepRuns)> {
    let mut keys: Vec<StepKey> = Vec::new();
    for step in base.iter().chain(head).flat_map(|run| &run.steps) {
        let key = (step.journey.clone(), step.name.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |runs: &[RunSummary], key: &StepKey| -> Vec<Option<StepSummary>> {
        let same = |s: &&StepSummary| s.journey == key.0 && s.name == key.1;
        runs.iter().map(|run| run.steps.iter().find(same).cloned()).collect()
    };
    keys.into_iter().map(|key| (key.clone(), (of(base, &key), of(head, &key)))).collect()
}

fn step_rows((base, head): &StepRuns) -> [Option<Row>; 3] {
    let times =
        |side: &[Option<StepSummary>]| side.iter().map(|s| s.as_ref().map(|s| s.latency)).collect::<Vec<_>>();
    [0, 1, 2].map(|q| row(&times(base), &times(head), q))
}

fn step_change((journey, name): StepKey, (b, h): &StepRuns, latency: Changes) -> StepChange {
    let side = |runs: &[Option<StepSummary>], f: &dyn Fn(&StepSummary) -> f64| {
        runs.iter().flatten().map(f).sum::<f64>()
    };
    let both = |f: &dyn Fn(&StepSummary) -> f64| Sides { base: side(b, f), head: side(h, f) };
    let exchanges = both(&|s| s.exchanges as f64);
    let errors = both(&|s| s.errors as f64);
    StepChange {
        journey,
        name,
        exchanges,
        errors: Sides {
            base: errors.base / exchanges.base.max(1.0),
            head: errors.head / exchanges.head.max(1.0),
        },
        mean_ms: Sides {
            base: mean(b.iter().flatten().map(|s| s.latency.mean)),
            head: mean(h.iter().flatten().map(|s| s.latency.mean)),
        },
        latency,
        verdict: worst(latency.iter()),
        attribution: attribution(b, h),
    }
}

fn operation_runs<'a>(
    base: &'a [RunSummary],
    head: &'a [RunSummary],
) -> BTreeMap<&'a OperationKey, OperationRuns<'a>> {
    let mut found: BTreeMap<&OperationKey, OperationRuns> = BTreeMap::new();
    for (place, run) in base.iter().chain(head).enumerate() {
        for op in &run.operations {
            let empty = || (vec![None; base.len()], vec![None; head.len()]);
            let (b, h) = found.entry(&op.key).or_insert_with(empty);
            let slot = if place < base.len() { b.get_mut(place) } else { h.get_mut(place - base.len()) };
            slot.into_iter().for_each(|slot| *slot = Some(op));
        }
    }
    found
}

fn operation_rows((base, head): &OperationRuns) -> [Option<Row>; 6] {
    let times = |side: &[Option<&OperationSummary>], of: fn(&OperationSummary) -> Times| {
        side.iter().map(|op| op.map(of)).collect::<Vec<_>>()
    };
    let (own, duration) = (|o: &OperationSummary| o.own, |o: &OperationSummary| o.duration);
    let row = |of, quantile| row(&times(base, of), &times(head, of), quantile);
    [row(own, 0), row(own, 1), row(own, 2), row(duration, 0), row(duration, 1), row(duration, 2)]
}

fn operation_change(
    key: &OperationKey,
    (b, h): &OperationRuns,
    [own50, own95, own25, all50, all95, all25]: [Option<Change>; 6],
    base: &[RunSummary],
    head: &[RunSummary],
) -> OperationChange {
    type Runs<'a> = [Option<&'a OperationSummary>];
    let exchanges = |runs: &[RunSummary], i: usize| runs[i].telemetry.exchanges.max(1) as f64;
    let side = |runs: &Runs, f: fn(&OperationSummary) -> f64| mean(runs.iter().flatten().map(|o| f(o)));
    let both = |f| Sides { base: side(b, f), head: side(h, f) };
    let spent = |ops: &Runs, runs: &[RunSummary]| {
        mean(ops.iter().enumerate().map(|(i, op)| op.map_or(0.0, |op| op.own_total_ms) / exchanges(runs, i)))
    };
    let (own, duration) = ([own50, own95, own25], [all50, all95, all25]);
    let verdict = worst(own.iter().chain(&duration));
    let category = b.iter().chain(h).flatten().next().map(|op| op.category.clone());
    let mut op = OperationChange {
        key: key.clone(),
        category: category.unwrap_or_default(),
        calls_per_exchange: both(OperationSummary::calls_per_exchange),
        mean_ms_per_exchange: Sides { base: spent(b, base), head: spent(h, head) },
        errors: both(OperationSummary::error_share),
        own,
        duration,
        verdict,
        cause: Cause::None,
    };
    op.cause = cause(verdict, worst(op.own.iter()), calls_nothing(&op));
    op
}

/// Its own time is all of its time: what a longer duration says is said of itself.
const ALL_OWN: f64 = 0.9;

/// Whether an operation spends nearly all of its time itself, on both sides.
pub(super) fn calls_nothing(op: &OperationChange) -> bool {
    let [Some(own), ..] = op.own else { return false };
    let [Some(duration), ..] = op.duration else { return false };
    own.base_ms >= ALL_OWN * duration.base_ms * op.calls_per_exchange.base.max(1.0)
        && own.head_ms >= ALL_OWN * duration.head_ms * op.calls_per_exchange.head.max(1.0)
}

pub(super) fn cause(verdict: Verdict, own: Verdict, calls_nothing: bool) -> Cause {
    match verdict {
        Verdict::Regressed | Verdict::Improved if own == verdict || calls_nothing => Cause::Own,
        Verdict::Regressed | Verdict::Improved => Cause::Below,
        Verdict::Same | Verdict::CannotTell => Cause::None,
    }
}

/// Slower ones first, those in their own time before those above them, and then by the time that it makes.
pub(super) fn order(a: &OperationChange, b: &OperationChange) -> Ordering {
    let gained = |o: &OperationChange| (o.mean_ms_per_exchange.head - o.mean_ms_per_exchange.base).abs();
    let rank = |o: &OperationChange| {
        let above = u8::from(o.cause != Cause::Own);
        match o.verdict {
            Verdict::Regressed => above,
            Verdict::Improved => 2 + above,
            Verdict::Same | Verdict::CannotTell => 4,
        }
    };
    rank(a).cmp(&rank(b)).then(gained(b).total_cmp(&gained(a))).then(a.key.cmp(&b.key))
}

fn whole_service(
    f50: &Row,
    f95: &Row,
    operations: usize,
    design: Design,
    settings: &Settings,
) -> Option<WholeService> {
    let of = |row: &Row| {
        let estimate = row.difference(design)?.alone();
        // Two quantiles, so each at half of the level.
        let level = 0.5 * settings.whole_service;
        let tests = Tests {
            slower: estimate.slower_by_chance() <= level,
            faster: estimate.faster_by_chance() <= level,
            level,
            confidence: 1.0 - settings.whole_service,
        };
        // The median's own size is of no meaning; its change always counts.
        let any_size = Settings { min_change_ms: 0.0, ..*settings };
        Some(change(row, &estimate, tests, &any_size, &mut Tables::default()))
    };
    let (p50, p95) = (of(f50)?, of(f95)?);
    Some(WholeService { p50, p95, operations, verdict: worst([Some(p50), Some(p95)].iter()) })
}
