//! The gate of a single run: its thresholds and budgets.

use super::gate::{Check, CheckKind, Figures, Gate, GateVerdict, Location, Outcome};
use super::{Report, ThresholdResult, headline, text};

/// A report's thresholds as test results.
pub fn junit(report: &Report) -> String {
    super::ci::junit(&run_gate(report, None, None))
}

/// The gate that a report's thresholds are. `doubt` is why the result cannot carry a verdict, if it cannot; `file` stands for
/// thresholds without a place in the code.
pub fn run_gate(report: &Report, doubt: Option<&str>, file: Option<&str>) -> Gate {
    let run = report.run;
    let mut gate = Gate {
        id: "run".to_owned(),
        title: format!("Thresholds of {}", run.name),
        checks: report.thresholds.iter().map(|threshold| check(threshold, doubt.is_some())).collect(),
        file: file.map(str::to_owned),
        facts: vec![
            ("run".to_owned(), run.id.clone()),
            ("target".to_owned(), run.target.clone()),
            ("hotspan".to_owned(), run.hotspan_version.clone()),
        ],
        seconds: super::view::View::new(report).seconds,
        details: vec![("Why".to_owned(), vec![headline(report)])],
        ..Gate::default()
    };
    gate.facts.extend(run.git_commit.iter().map(|commit| ("commit".to_owned(), commit.clone())));
    let failed = gate.count(Outcome::Failed);
    (gate.verdict, gate.headline) = match doubt {
        Some(doubt) => (GateVerdict::CannotTell, format!("this result cannot carry a verdict: {doubt}")),
        None if failed > 0 => {
            (GateVerdict::Failed, format!("{failed} of {} conditions did not hold", gate.checks.len()))
        }
        None => (GateVerdict::Passed, "every condition held".to_owned()),
    };
    gate.reasons = run.warnings.iter().map(|warning| text::clean(warning)).collect();
    gate
}

fn check(threshold: &ThresholdResult, doubtful: bool) -> Check {
    // `product: latency.p95 < 300ms` → product, latency.p95, < 300ms. A name in quotes may hold anything.
    let (subject, condition) = match threshold.expression.rsplit_once(": ") {
        Some((subject, condition)) => (subject, condition),
        None => ("", threshold.expression.as_str()),
    };
    let at = condition.find(['<', '>', '=', '!']).unwrap_or(condition.len());
    let (metric, limit) = condition.split_at(at);
    let outcome = match threshold.passed {
        _ if doubtful => Outcome::CannotTell,
        true => Outcome::Passed,
        false => Outcome::Failed,
    };
    let message = match (&threshold.detail, threshold.actual) {
        (Some(detail), _) => detail.clone(),
        (None, None) => {
            "nothing was there to measure, and a threshold without a value does not hold".to_owned()
        }
        (None, Some(_)) => String::new(),
    };
    Check {
        kind: CheckKind::Threshold,
        group: subject.to_owned(),
        name: metric.trim().to_owned(),
        outcome,
        figures: Figures {
            unit: threshold.actual.map(|actual| actual.unit),
            base: None,
            now: threshold.actual.map(|actual| actual.value),
            limit: (!limit.is_empty()).then(|| limit.trim().to_owned()),
            change: None,
        },
        message,
        location: threshold.code.as_deref().and_then(Location::parse),
        traces: Vec::new(),
        weight: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn thresholds_become_checks() {
        let sample = sample::everything();
        let mut report = sample.report();
        let thresholds = [
            ThresholdResult {
                code: Some("src/db.py:12".into()),
                ..sample::threshold(
                    "span(\"a: b\"): calls < 5",
                    Some((7.0, crate::report::Unit::Count)),
                    false,
                )
            },
            sample::threshold("error_rate < 1%", None, false),
        ];
        report.thresholds = &thresholds;
        let gate = run_gate(&report, None, Some("shop.yaml"));
        assert_eq!(
            (gate.verdict, gate.headline.as_str()),
            (GateVerdict::Failed, "2 of 2 conditions did not hold")
        );
        let first = &gate.checks[0];
        assert_eq!(
            (first.group.as_str(), first.name.as_str(), first.figures.limit.as_deref()),
            ("span(\"a: b\")", "calls", Some("< 5"))
        );
        assert_eq!(first.location.as_ref().and_then(|at| at.line), Some(12));
        assert!(gate.checks[1].message.contains("does not hold"));
        let doubtful = run_gate(&report, Some("the generator was late"), None);
        assert_eq!((doubtful.verdict, doubtful.count(Outcome::CannotTell)), (GateVerdict::CannotTell, 2));
    }
}
