//! The comparison itself: which steps and operations changed, how sure that is, and what can be said of the whole.
//!
//! Three answers for each: regressed, same, cannot tell. "No significant difference" is not "same": what cannot be told says
//! how large a change would have had to be.

use super::attribution::{ServiceChange, attribution, services};
use super::contrast::{Design, Estimate, Row, Tables, common_factor, moderated};
use super::identity;
use super::machine;
use super::outcome::{
    Cause, Change, Changes, OperationChange, RunLabel, Sides, Status, StepChange, Verdict, WholeService,
};
use super::settings::{CONFIDENCE, NARROWEST, POWER, SHORTEST_MS, Settings, VALUES_MIN};
use super::structure::{StructureChange, structure};
use super::summary::{OperationKey, OperationSummary, RunSummary, StepSummary, Times};
use super::validity::{Reason, reasons};
use crate::stats::{down_the_tree, median};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two sides compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Runs of base.
    pub base: Vec<RunLabel>,
    /// Runs of head.
    pub head: Vec<RunLabel>,
    /// How the runs belong together.
    pub design: Design,
    /// Whether all runs were of one machine, as far as is known.
    pub same_machine: bool,
    /// By which rules.
    pub settings: Settings,
    /// The answer.
    pub status: Status,
    /// Why the runs cannot be compared; empty where they can.
    pub reasons: Vec<Reason>,
    /// What was let pass.
    pub allowed: Vec<Reason>,
    /// The change that half of the operations would have shown, as a ratio.
    pub smallest_detectable: Option<f64>,
    /// All operations alike; absent where there are too few of them to tell.
    pub whole_service: Option<WholeService>,
    /// Steps, in the order of the runs.
    pub steps: Vec<StepChange>,
    /// Operations: regressed first, then by how much time they gained.
    pub operations: Vec<OperationChange>,
    /// Services, largest change first.
    pub services: Vec<ServiceChange>,
    /// What needs no statistics, alarms first.
    pub structure: Vec<StructureChange>,
}

/// How runs belong together by the times of their starts: in pairs where the sides took turns, each run of the one next to
/// one of the other. The order within a pair is free.
pub fn design_of(base: &[RunSummary], head: &[RunSummary]) -> Design {
    let start = |is_head: bool| move |run: &RunSummary| (run.started_at, is_head);
    let mut all: Vec<_> = base.iter().map(start(false)).chain(head.iter().map(start(true))).collect();
    all.sort();
    let in_turn = all.chunks(2).all(|pair| matches!(pair, [a, b] if a.1 != b.1));
    let sorted = |runs: &[RunSummary]| runs.is_sorted_by_key(|run| run.started_at);
    if in_turn && sorted(base) && sorted(head) { Design::Paired } else { Design::Unpaired }
}

/// Compares the runs of two sides. `allowed` names reasons that are let pass.
pub fn compare(
    base: &[RunSummary],
    head: &[RunSummary],
    design: Design,
    settings: Settings,
    allowed: &[&str],
) -> Comparison {
    let renamed = identity::aligned(base, head);
    let (base, head) = renamed.as_ref().map_or((base, head), |(base, head)| (base, head));
    let all = reasons(base, head, design);
    let (allowed, reasons): (Vec<Reason>, Vec<Reason>) =
        all.into_iter().partition(|reason| allowed.contains(&reason.name()));
    let steps = steps(base, head, design, &settings);
    let (operations, whole_service) = operations(base, head, design, &settings);
    let structure = structure(base, head);
    let mut comparison = Comparison {
        base: base.iter().map(RunLabel::of).collect(),
        head: head.iter().map(RunLabel::of).collect(),
        design,
        same_machine: !reasons.iter().chain(&allowed).any(|r| r.name() == "machine"),
        settings,
        status: Status::Invalid,
        reasons,
        allowed,
        smallest_detectable: smallest_detectable(&steps, &operations),
        whole_service,
        steps,
        operations,
        services: services(base, head),
        structure,
    };
    comparison.status = comparison.answer();
    comparison
}

impl Comparison {
    /// Sets verdicts anew from those of the quantiles.
    pub(super) fn settle(&mut self) {
        for step in &mut self.steps {
            step.verdict = worst(step.latency.iter());
        }
        for op in &mut self.operations {
            op.verdict = worst(op.own.iter().chain(&op.duration));
            op.cause = cause(op.verdict, worst(op.own.iter()), calls_nothing(op));
        }
        if let Some(whole) = &mut self.whole_service {
            whole.verdict = worst([Some(whole.p50), Some(whole.p95)].iter());
        }
        self.operations.sort_by(order);
        self.status = self.answer();
    }

    fn answer(&self) -> Status {
        if !self.reasons.is_empty() {
            return Status::Invalid;
        }
        if self.regressions() > 0 {
            return Status::Regressed;
        }
        let matters = |op: &&OperationChange| {
            let all: f64 = self.steps.iter().map(|s| s.mean_ms.base * s.exchanges.base).sum();
            let n: f64 = self.steps.iter().map(|s| s.exchanges.base).sum();
            op.mean_ms_per_exchange.base * n >= self.settings.min_effect * all
        };
        let known = |verdict: Verdict| verdict != Verdict::CannotTell;
        let settled = !self.steps.is_empty()
            && self.steps.iter().all(|s| known(s.verdict))
            && self.operations.iter().filter(matters).all(|o| known(o.verdict));
        if settled { Status::Same } else { Status::CannotTell }
    }

    /// Steps, operations, structure and the whole service, as far as they got worse.
    pub fn regressions(&self) -> usize {
        let whole = self.whole_service.is_some_and(|w| w.verdict == Verdict::Regressed);
        self.steps.iter().filter(|s| s.verdict == Verdict::Regressed).count()
            + self.operations.iter().filter(|o| o.verdict == Verdict::Regressed).count()
            + self.structure.iter().filter(|s| s.alarm).count()
            + usize::from(whole)
    }

    /// The operation that got slower in its own time and costs the requests most, if any did.
    pub fn culprit(&self) -> Option<&OperationChange> {
        self.operations.iter().find(|o| o.verdict == Verdict::Regressed && o.cause == Cause::Own)
    }
}

/// Geometric mean of what is above zero.
fn middle(logs: &[f64]) -> f64 {
    let known: Vec<f64> = logs.iter().copied().filter(|v| v.is_finite()).collect();
    if known.is_empty() { 0.0 } else { (known.iter().sum::<f64>() / known.len() as f64).exp() }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), v| (n + 1.0, sum + v));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// A change, once it is known whether the tests rejected it.
fn change(row: &Row, estimate: &Estimate, tests: Tests, settings: &Settings, tables: &mut Tables) -> Change {
    let (low, high) = estimate.interval(tests.confidence, tables);
    let (base_ms, head_ms) = (middle(&row.base), middle(&row.head));
    let by_ms = (base_ms * estimate.by.exp_m1()).abs();
    let least = settings.least();
    let counts = estimate.by.abs() >= least && by_ms >= settings.min_change_ms;
    let verdict = if tests.slower && counts && estimate.by > 0.0 {
        Verdict::Regressed
    } else if tests.faster && counts && estimate.by < 0.0 {
        Verdict::Improved
    } else if low >= -least && high <= least {
        Verdict::Same
    } else {
        Verdict::CannotTell
    };
    Change {
        base_ms,
        head_ms,
        ratio: estimate.by.exp(),
        low: low.exp(),
        high: high.exp(),
        slower_by_chance: estimate.slower_by_chance(),
        detectable: estimate.detectable(tests.level, POWER, tables).max(least).exp(),
        verdict,
    }
}

/// What the tests of a value came to, and how strict they were.
#[derive(Clone, Copy)]
struct Tests {
    slower: bool,
    faster: bool,
    level: f64,
    confidence: f64,
}

/// Families of rows, each with the quantiles of one thing, tested down the tree in both directions. Each column (the same
/// quantile of all families) has its own variances.
fn tested<const N: usize>(
    families: &[[Option<Row>; N]],
    common: &[Option<Row>; N],
    design: Design,
    settings: &Settings,
) -> Vec<[Option<Change>; N]> {
    let mut estimates: Vec<[Option<Estimate>; N]> = vec![[None; N]; families.len()];
    for column in 0..N {
        let rows: Vec<Option<&Row>> = families.iter().map(|rows| rows[column].as_ref()).collect();
        let differences = match &common[column] {
            Some(factor) => machine::without(&rows, factor, design),
            None => rows.iter().map(|row| Some(((*row)?.difference(design)?, (*row)?.known()))).collect(),
        };
        for (family, estimate) in estimates.iter_mut().zip(moderated(&differences)) {
            family[column] = estimate;
        }
    }
    let ps = |of: fn(&Estimate) -> f64| -> Vec<Vec<f64>> {
        estimates.iter().map(|family| family.iter().flatten().map(of).collect()).collect()
    };
    // Families with nothing to test are no hypotheses.
    let there: Vec<usize> =
        (0..families.len()).filter(|i| estimates[*i].iter().any(Option::is_some)).collect();
    let only = |ps: Vec<Vec<f64>>| -> Vec<Vec<f64>> { there.iter().map(|i| ps[*i].clone()).collect() };
    let slower = down_the_tree(&only(ps(Estimate::slower_by_chance)), settings.false_discovery);
    let faster = down_the_tree(&only(ps(Estimate::faster_by_chance)), settings.false_discovery);
    let found = slower.iter().filter(|leaves| leaves.iter().any(|r| *r)).count().max(1);
    let level = settings.false_discovery * found as f64 / there.len().max(1) as f64;
    let mut out = vec![[None; N]; families.len()];
    let mut tables = Tables::default();
    for (place, family) in there.into_iter().enumerate() {
        let mut leaf = 0;
        for column in 0..N {
            let (Some(row), Some(estimate)) = (&families[family][column], &estimates[family][column]) else {
                continue;
            };
            let tests = Tests {
                slower: slower[place][leaf],
                faster: faster[place][leaf],
                level,
                confidence: CONFIDENCE,
            };
            out[family][column] = Some(change(row, estimate, tests, settings, &mut tables));
            leaf += 1;
        }
    }
    out
}

/// The worst of some changes.
fn worst<'a>(changes: impl Iterator<Item = &'a Option<Change>>) -> Verdict {
    let verdicts: Vec<Verdict> = changes.flatten().map(|c| c.verdict).collect();
    let has = |v| verdicts.contains(&v);
    match () {
        () if has(Verdict::Regressed) => Verdict::Regressed,
        () if has(Verdict::Improved) => Verdict::Improved,
        () if verdicts.is_empty() || has(Verdict::CannotTell) => Verdict::CannotTell,
        () => Verdict::Same,
    }
}

/// The row of a quantile of something that each run may have; none where it is too short or too seldom to test.
fn row(base: &[Option<Times>], head: &[Option<Times>], quantile: usize) -> Option<Row> {
    let value = |times: &Option<Times>| match times {
        Some(t) if t.n >= VALUES_MIN[quantile] => [t.p50, t.p95, t.p25][quantile],
        _ => f64::NAN,
    };
    // How densely values lie about a quantile is what its noise goes with: median over lower quartile for these two, 95th percentile
    // over median for that one, and for all of reports without lower quartiles.
    let widths: Vec<f64> = base
        .iter()
        .chain(head)
        .flatten()
        .map(|t| if quantile == 1 || t.p25 <= 0.0 { (t.p50, t.p95) } else { (t.p25, t.p50) })
        .filter(|(low, _)| *low > 0.0)
        .map(|(low, high)| (high / low - 1.0).max(NARROWEST).ln())
        .collect();
    let width = widths.iter().sum::<f64>() / widths.len() as f64;
    let base: Vec<f64> = base.iter().map(value).collect();
    let head: Vec<f64> = head.iter().map(value).collect();
    let mut known: Vec<f64> = base.iter().chain(&head).copied().filter(|v| v.is_finite()).collect();
    (median(&mut known)? >= SHORTEST_MS).then(|| Row { width, ..Row::logs(base, head) })
}

fn steps(base: &[RunSummary], head: &[RunSummary], design: Design, settings: &Settings) -> Vec<StepChange> {
    let mut keys: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for step in base.iter().chain(head).flat_map(|run| &run.steps) {
        let key = (step.journey.clone(), step.name.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |runs: &[RunSummary], key: &(Arc<str>, Arc<str>)| -> Vec<Option<StepSummary>> {
        let same = |s: &&StepSummary| s.journey == key.0 && s.name == key.1;
        runs.iter().map(|run| run.steps.iter().find(same).cloned()).collect()
    };
    let sides: Vec<_> = keys.iter().map(|key| (of(base, key), of(head, key))).collect();
    let times =
        |side: &[Option<StepSummary>]| side.iter().map(|s| s.as_ref().map(|s| s.latency)).collect::<Vec<_>>();
    let families: Vec<[Option<Row>; 3]> =
        sides.iter().map(|(b, h)| [0, 1, 2].map(|q| row(&times(b), &times(h), q))).collect();
    let changes = tested(&families, &[None, None, None], design, settings);
    let made = |((key, (b, h)), latency): ((_, &(Vec<_>, Vec<_>)), Changes)| {
        let (journey, name): (Arc<str>, Arc<str>) = key;
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
    };
    keys.into_iter().zip(&sides).zip(changes).map(made).collect()
}

fn operations(
    base: &[RunSummary],
    head: &[RunSummary],
    design: Design,
    settings: &Settings,
) -> (Vec<OperationChange>, Option<WholeService>) {
    type Runs<'a> = Vec<Option<&'a OperationSummary>>;
    let mut found: BTreeMap<&OperationKey, (Runs, Runs)> = BTreeMap::new();
    for (place, run) in base.iter().chain(head).enumerate() {
        for op in &run.operations {
            let empty = || (vec![None; base.len()], vec![None; head.len()]);
            let (b, h) = found.entry(&op.key).or_insert_with(empty);
            let slot = if place < base.len() { b.get_mut(place) } else { h.get_mut(place - base.len()) };
            slot.into_iter().for_each(|slot| *slot = Some(op));
        }
    }
    let times = |side: &Runs, of: fn(&OperationSummary) -> Times| {
        side.iter().map(|op| op.map(of)).collect::<Vec<_>>()
    };
    let families: Vec<[Option<Row>; 6]> = found
        .values()
        .map(|(b, h)| {
            let (own, duration) = (|o: &OperationSummary| o.own, |o: &OperationSummary| o.duration);
            let row = |of, quantile| row(&times(b, of), &times(h, of), quantile);
            [row(own, 0), row(own, 1), row(own, 2), row(duration, 0), row(duration, 1), row(duration, 2)]
        })
        .collect();
    // Own times are disjoint; a slower leaf makes every span above it longer, and their median with them.
    let factor = |column: usize| common_factor(families.iter().filter_map(|f| f[column].as_ref()), design);
    let factors = [factor(0), factor(1), factor(2)];
    let [f50, f95, f25] = factors.clone();
    let both_times = [f50.clone(), f95.clone(), f25.clone(), f50, f95, f25];
    let changes = tested(&families, &both_times, design, settings);
    let whole = factors[0].as_ref().and_then(|f50| {
        let operations = families.iter().filter(|f| f[0].as_ref().is_some_and(Row::is_whole)).count();
        whole_service(f50, factors[1].as_ref().unwrap_or(f50), operations, design, settings)
    });
    let exchanges = |runs: &[RunSummary], i: usize| runs[i].telemetry.exchanges.max(1) as f64;
    let mut out: Vec<OperationChange> = found
        .into_iter()
        .zip(changes)
        .map(|((key, (b, h)), [own50, own95, own25, all50, all95, all25])| {
            let side =
                |runs: &Runs, f: fn(&OperationSummary) -> f64| mean(runs.iter().flatten().map(|o| f(o)));
            let both = |f| Sides { base: side(&b, f), head: side(&h, f) };
            let spent = |ops: &Runs, runs: &[RunSummary]| {
                mean(
                    ops.iter()
                        .enumerate()
                        .map(|(i, op)| op.map_or(0.0, |op| op.own_total_ms) / exchanges(runs, i)),
                )
            };
            let (own, duration) = ([own50, own95, own25], [all50, all95, all25]);
            let verdict = worst(own.iter().chain(&duration));
            let category = b.iter().chain(&h).flatten().next().map(|op| op.category.clone());
            let mut op = OperationChange {
                key: key.clone(),
                category: category.unwrap_or_default(),
                calls_per_exchange: both(OperationSummary::calls_per_exchange),
                mean_ms_per_exchange: Sides { base: spent(&b, base), head: spent(&h, head) },
                errors: both(OperationSummary::error_share),
                own,
                duration,
                verdict,
                cause: Cause::None,
            };
            op.cause = cause(verdict, worst(op.own.iter()), calls_nothing(&op));
            op
        })
        .collect();
    out.sort_by(order);
    (out, whole)
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

fn cause(verdict: Verdict, own: Verdict, calls_nothing: bool) -> Cause {
    match verdict {
        Verdict::Regressed | Verdict::Improved if own == verdict || calls_nothing => Cause::Own,
        Verdict::Regressed | Verdict::Improved => Cause::Below,
        Verdict::Same | Verdict::CannotTell => Cause::None,
    }
}

/// Slower ones first, those in their own time before those above them, and then by the time that it makes.
fn order(a: &OperationChange, b: &OperationChange) -> Ordering {
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

/// What half of the operations (of the steps, where there are none) would have shown, in the quantile that shows most.
fn smallest_detectable(steps: &[StepChange], operations: &[OperationChange]) -> Option<f64> {
    let half = |changes: &mut dyn Iterator<Item = Change>| {
        median(&mut changes.map(|c| c.detectable).collect::<Vec<f64>>())
    };
    let of_ops = |q: usize| half(&mut operations.iter().filter_map(|o| o.own[q].or(o.duration[q])));
    let of_steps = |q: usize| half(&mut steps.iter().filter_map(|s| s.latency[q]));
    // Not the 95th percentile: too few have as many values as it takes.
    let ratios: Vec<f64> = [0, 2].into_iter().filter_map(of_ops).collect();
    let ratios = if ratios.is_empty() { [0, 2].into_iter().filter_map(of_steps).collect() } else { ratios };
    ratios.into_iter().filter(|ratio| ratio.is_finite()).min_by(f64::total_cmp)
}
