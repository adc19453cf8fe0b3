//! Files of limits, and thresholds on what is new.

use super::super::{Kind, Subject, budget, parse};

#[test]
fn a_budget_holds_thresholds_alone() {
    let text = "thresholds:\n  - coverage > 90%\n  - span(\"SELECT *\"): calls < 10, self.mean < 2ms\n  - service(\"shop\"): self.share < 60%\n  - no new external host: [pay.example, \"*.amazonaws.com\"]\n";
    let limits = budget(text, "budget.yaml", &[]).unwrap();
    assert_eq!(limits.iter().map(|l| l.conditions.len()).collect::<Vec<_>>(), [1, 2, 1, 1]);
    let known = vec!["pay.example".to_owned(), "*.amazonaws.com".to_owned()];
    assert_eq!(limits[3].subject, Subject::New(Kind::ExternalHost, known));
    for (text, want) in [
        ("name: x\nthresholds: []\n", "name"),
        ("other: 1\n", "other"),
        ("thresholds: [no new service]\n", "say what is known"),
        ("thresholds:\n  - no new extrnal host: [a]\n", "no new external host"),
        ("thresholds: ['browse: latency.p95 < 1s']\n", "no step is named `browse`"),
        ("thresholds: [latency.p95 < 5]\n", "budget.yaml:1"),
    ] {
        let said = budget(text, "budget.yaml", &[]).unwrap_err().to_string();
        assert!(said.contains(want), "{text}: {said}");
    }
}

#[test]
fn the_example_budget_and_scenarios_take_the_same_lines() {
    let example = include_str!("../../../ci/budget.yaml");
    let limits = budget(example, "ci/budget.yaml", &[]).unwrap();
    assert!(limits.len() >= 6);
    let scenario = format!(
        "name: x\ntarget: http://127.0.0.1:1\nload: {{rate: 1/s, for: 1s}}\nsteps: [GET /]\n{example}"
    );
    assert_eq!(parse(&scenario, "x.yaml").unwrap().thresholds, limits);
}
