//! The gate of a comparison: each step, operation and change of structure as a check.

use super::Unit;
use super::gate::{Change as Interval, Check, CheckKind, Figures, Gate, GateVerdict, Outcome};
use super::wording::comparison as wording;
use crate::compare::{Cause, Change, Comparison, RunLabel, Status, StructureKind, Verdict};

/// The gate that a comparison is. Where it is `strict`, what cannot be told is no pass.
pub fn compare_gate(c: &Comparison, strict: bool) -> Gate {
    let mut gate = Gate {
        id: "compare".to_owned(),
        title: "Comparison with base".to_owned(),
        verdict: match c.status {
            Status::Regressed => GateVerdict::Failed,
            Status::Invalid => GateVerdict::CannotTell,
            Status::CannotTell if strict => GateVerdict::CannotTell,
            Status::Same | Status::CannotTell => GateVerdict::Passed,
        },
        headline: plain(&wording::headline(c).plain()),
        reasons: c.reasons.iter().map(ToString::to_string).collect(),
        design: vec![plain(&wording::design_line(c).plain())],
        ..Gate::default()
    };
    gate.reasons.extend(c.allowed.iter().map(|reason| format!("let pass: {reason}")));
    gate.design.extend(wording::whole_line(c).map(|line| plain(&line.plain())));
    for (side, runs) in [("base", &c.base), ("head", &c.head)] {
        gate.facts.push((format!("{side} runs"), runs.len().to_string()));
        gate.facts.extend(commit(runs).map(|commit| (format!("{side} commit"), commit)));
    }
    gate.checks = structure(c).chain(whole(c)).chain(steps(c)).chain(operations(c)).collect();
    if c.status == Status::Invalid {
        gate.checks.iter_mut().for_each(|check| check.outcome = Outcome::CannotTell);
    }
    gate
}

/// The commit of a side, where all of its runs have the same.
fn commit(runs: &[RunLabel]) -> Option<String> {
    let first = runs.first()?.commit.clone()?;
    runs.iter().all(|run| run.commit.as_ref() == Some(&first)).then_some(first)
}

/// Sentences of reports hold numbers and units together, which plain formats need not.
fn plain(text: &str) -> String {
    text.replace(super::number::NBSP, " ")
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Regressed => Outcome::Failed,
        Verdict::Improved => Outcome::Improved,
        Verdict::Same => Outcome::Passed,
        Verdict::CannotTell => Outcome::CannotTell,
    }
}

fn figures(change: Option<&Change>) -> Figures {
    let Some(change) = change else { return Figures::default() };
    let known = change.high.is_finite() && change.low > 0.0;
    Figures {
        unit: Some(Unit::Milliseconds),
        base: Some(change.base_ms),
        now: Some(change.head_ms),
        limit: None,
        change: known.then_some(Interval { ratio: change.ratio, low: change.low, high: change.high }),
    }
}

fn structure(c: &Comparison) -> impl Iterator<Item = Check> {
    c.structure.iter().map(|change| {
        let what = match change.kind {
            StructureKind::MoreCalls | StructureKind::FewerCalls => "calls",
            StructureKind::MoreErrors => "failures",
            StructureKind::New => "new",
            StructureKind::Vanished => "gone",
        };
        let better = change.kind == StructureKind::FewerCalls;
        let name =
            if *change.name == *change.step { what.to_owned() } else { format!("{what} of {}", change.name) };
        Check {
            kind: CheckKind::Structure,
            group: if change.step.is_empty() { change.service.to_string() } else { change.step.to_string() },
            name,
            outcome: match (change.alarm, better) {
                (true, _) => Outcome::Failed,
                (false, true) => Outcome::Improved,
                (false, false) => Outcome::Passed,
            },
            figures: Figures {
                unit: Some(if change.kind == StructureKind::MoreErrors { Unit::Share } else { Unit::Count }),
                base: Some(change.calls.base),
                now: Some(change.calls.head),
                ..Figures::default()
            },
            message: plain(&wording::structure_line(change).plain()),
            // What needs no statistics stands first.
            weight: 1e6 + change.calls.head - change.calls.base,
            ..Check::default()
        }
    })
}

fn whole(c: &Comparison) -> impl Iterator<Item = Check> {
    c.whole_service.iter().map(|whole| {
        let change = if whole.p50.verdict == whole.verdict { &whole.p50 } else { &whole.p95 };
        let interval = figures(Some(change)).change;
        Check {
            kind: CheckKind::Operation,
            name: "all operations together".to_owned(),
            outcome: outcome(whole.verdict),
            figures: Figures { change: interval, ..Figures::default() },
            message: interval.map_or_else(String::new, |interval| interval.to_string()),
            weight: 1e5,
            ..Check::default()
        }
    })
}

fn steps(c: &Comparison) -> impl Iterator<Item = Check> {
    c.steps.iter().map(|step| {
        let shown = wording::shown_by(&step.latency, step.verdict);
        let (what, change) = match shown.or_else(|| wording::tested(&step.latency).next()) {
            Some((quantile, change)) => (format!("latency {quantile}"), Some(change)),
            None => ("latency".to_owned(), None),
        };
        let mut check = Check {
            kind: CheckKind::Step,
            group: step.journey.to_string(),
            name: format!("{} {what}", step.name),
            outcome: outcome(step.verdict),
            figures: figures(change),
            weight: step.attribution.change_ms.abs(),
            ..Check::default()
        };
        if let Some(part) = wording::main_part(step).filter(|_| step.verdict == Verdict::Regressed) {
            check.message = format!("{}; {}", check.told(), plain(&part.plain()));
        }
        check
    })
}

fn operations(c: &Comparison) -> impl Iterator<Item = Check> {
    c.operations.iter().filter_map(|op| {
        let (what, change) = wording::worst(op)?;
        let mut check = Check {
            kind: CheckKind::Operation,
            group: op.key.service.to_string(),
            name: format!("{} ({}) {what}", op.key.name, op.key.kind),
            outcome: outcome(op.verdict),
            figures: figures(Some(change)),
            weight: (op.mean_ms_per_exchange.head - op.mean_ms_per_exchange.base).abs(),
            ..Check::default()
        };
        if op.cause == Cause::Below {
            check.message = format!("{}, in what it calls", check.told());
        }
        Some(check)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ci, comparison_tests::slower};

    #[test]
    fn a_comparison_is_a_gate() {
        let c = slower();
        let gate = compare_gate(&c, false);
        assert_eq!(gate.verdict, GateVerdict::Failed);
        assert_eq!(gate.count(Outcome::Failed), c.regressions());
        assert_eq!(gate.worst()[0].kind, CheckKind::Structure);
        assert!(!gate.headline.contains(super::super::number::NBSP));
        let xml = ci::junit(&gate);
        assert_eq!(xml.matches("<failure ").count(), c.regressions());
    }

    #[test]
    fn what_cannot_be_compared_is_no_pass() {
        let mut c = slower();
        c.status = Status::Invalid;
        let gate = compare_gate(&c, false);
        assert_eq!((gate.verdict, gate.count(Outcome::Failed)), (GateVerdict::CannotTell, 0));
        (c.status, c.structure) = (Status::CannotTell, Vec::new());
        assert_eq!(compare_gate(&c, false).verdict, GateVerdict::Passed);
        assert_eq!(compare_gate(&c, true).verdict, GateVerdict::CannotTell);
    }
}
