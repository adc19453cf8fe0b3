//! Gates to test with.

use super::super::Unit;
use super::super::gate::{Change, Check, CheckKind, Figures, Gate, GateVerdict, Location, Outcome, TraceRef};

/// A gate in which every foreign text is the given one.
pub fn of(text: &str) -> Gate {
    let check = |kind, outcome, weight| Check {
        kind,
        group: text.to_owned(),
        name: text.to_owned(),
        outcome,
        figures: Figures {
            unit: Some(Unit::Milliseconds),
            base: Some(12.0),
            now: Some(14.2),
            limit: Some(text.to_owned()),
            change: Some(Change { ratio: 1.18, low: 1.11, high: 1.25 }),
        },
        message: text.to_owned(),
        location: Some(Location { file: text.to_owned(), line: Some(42) }),
        traces: vec![
            TraceRef { role: text.to_owned(), id: text.to_owned(), url: Some(text.to_owned()) },
            TraceRef {
                role: "head".into(),
                id: "ab".into(),
                url: Some("https://jaeger.test/trace/ab".into()),
            },
        ],
        weight,
    };
    let mut checks: Vec<Check> =
        CheckKind::ALL.iter().map(|kind| check(*kind, Outcome::Failed, 1.0)).collect();
    checks.extend(
        [Outcome::CannotTell, Outcome::Improved, Outcome::Accepted, Outcome::Passed]
            .map(|o| check(CheckKind::Operation, o, 0.0)),
    );
    Gate {
        seconds: 12.5,
        id: text.to_owned(),
        title: text.to_owned(),
        verdict: GateVerdict::Failed,
        headline: text.to_owned(),
        checks,
        reasons: vec![text.to_owned()],
        design: vec![text.to_owned()],
        facts: vec![(text.to_owned(), text.to_owned())],
        details: vec![(text.to_owned(), vec![text.to_owned(); 3])],
        file: Some(text.to_owned()),
    }
}

/// A gate as a comparison of two versions gives it.
pub fn comparison() -> Gate {
    let mut gate = of("x");
    gate.id = "shop".into();
    gate.title = "shop".into();
    gate.headline = "checkout is 18 % slower: 92 % of it in SELECT orders".into();
    gate.reasons.clear();
    gate.design = vec!["5 pairs in random order on one machine; a change of 7 % would have been seen".into()];
    gate.facts = vec![("base".into(), "1a2b3c4".into()), ("head".into(), "5d6e7f8".into())];
    gate.details = vec![("Why".into(), vec!["SELECT orders is called 41 times and not 3 times".into()])];
    gate.file = Some("shop.yaml".into());
    for (i, check) in gate.checks.iter_mut().enumerate() {
        check.group = "shop".into();
        check.name = format!("SELECT orders {i} · p95");
        check.message.clear();
        check.figures.limit = None;
        check.location = (i == 1).then(|| Location { file: "src/orders.py".into(), line: Some(42) });
        check.traces.remove(0);
    }
    gate
}
