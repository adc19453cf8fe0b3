//! The comparison itself: which steps and operations changed, how sure that is, and what can be said of the whole.
//!
//! Three answers for each: regressed, same, cannot tell. "No significant difference" is not "same": what cannot be told says
//! how large a change would have had to be.

use super::changes::{Changed, calls_nothing, cause, changed, order};
use super::contrast::Design;
use super::identity;
use super::outcome::{Cause, Change, OperationChange, RunLabel, Status, StepChange, Verdict, WholeService};
use super::settings::Settings;
use super::structure::{StructureChange, structure};
use super::summary::RunSummary;
use super::suspects::{ServiceChange, services};
use super::tested::worst;
use super::validity::{Reason, reasons};
use crate::stats::median;

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
    let Changed { steps, operations, whole } = changed(base, head, design, &settings);
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
        whole_service: whole,
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
