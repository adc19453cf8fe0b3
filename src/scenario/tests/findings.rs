//! `findings:` in a scenario.

use super::*;

fn rules(text: &str) -> Result<Vec<(String, String, usize)>, ScenarioError> {
    let scenario =
        parse(&format!("target: http://h\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\n{text}"), "s.yaml")?;
    let again = super::super::findings(scenario.text())?;
    assert_eq!(again, scenario.findings, "the stored text says the same");
    Ok(scenario.findings.into_iter().map(|rule| (rule.name, rule.value, rule.place.line)).collect())
}

#[test]
fn limits_and_kinds_are_read_with_their_places() {
    let read =
        rules("findings:\n  n_plus_one.calls: 10\n  slow_query: off\n  fan_out: false\n  tail.share: 0.50\n");
    let rule = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
    assert_eq!(
        read.unwrap(),
        [
            rule("n_plus_one.calls", "10", 5),
            rule("slow_query", "off", 6),
            rule("fan_out", "false", 7),
            rule("tail.share", "0.50", 8),
        ]
    );
    assert_eq!(rules("").unwrap(), []);
}

#[test]
fn what_is_no_rule_is_refused_where_it_stands() {
    let list = rules("findings: [slow_query]\n").unwrap_err();
    assert_eq!((list.place.line, list.place.column), (4, 11));
    assert!(
        list.message.starts_with("expected limits of findings, such as {n_plus_one.calls: 10"),
        "{}",
        list.message
    );
    let nested = rules("findings:\n  slow_query: {ratio: 5}\n").unwrap_err();
    assert_eq!(nested.place.line, 5);
    assert!(nested.message.contains("a number, `on` or `off` for `slow_query`"), "{}", nested.message);
}
