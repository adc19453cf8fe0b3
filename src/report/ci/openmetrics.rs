//! OpenMetrics text: gauges that any scraper, push gateway or GitLab reads. Ends with `# EOF`, as the format wants.

use super::super::Unit;
use super::super::gate::{Check, Gate, digits};
use super::super::text;
use std::collections::BTreeSet;
use std::fmt::Write;

/// How exact values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// As measured.
    Whole,
    /// Two significant digits.
    Rounded,
}

/// Every number of every check.
pub fn openmetrics(gate: &Gate) -> String {
    write(gate, Values::Whole)
}

/// The same, to stand before or behind families of another source, which end the text.
pub fn openmetrics_families(gate: &Gate) -> String {
    families(gate, Values::Whole)
}

pub(super) fn write(gate: &Gate, values: Values) -> String {
    families(gate, values) + "# EOF\n"
}

fn families(gate: &Gate, values: Values) -> String {
    let mut out = String::new();
    family(&mut out, "hotspan_gate_passed", "1 where the gate passed, 0 where it failed or cannot tell.", "");
    let _ = writeln!(
        out,
        "hotspan_gate_passed{{gate=\"{}\",verdict=\"{}\"}} {}",
        label(&gate.id),
        gate.verdict.name(),
        u8::from(gate.verdict == super::super::gate::GateVerdict::Passed)
    );
    let mut seen = BTreeSet::new();
    family(&mut out, "hotspan_check_passed", "1 where the check did not fail.", "");
    for check in &gate.checks {
        let labels = format!("{},outcome=\"{}\"", labels(check), check.outcome.name());
        if seen.insert(labels.clone()) {
            let passed = u8::from(check.outcome != super::super::gate::Outcome::Failed);
            let _ = writeln!(out, "hotspan_check_passed{{{labels}}} {passed}");
        }
    }
    for (unit, name, suffix) in [
        (Some(Unit::Milliseconds), "hotspan_check_seconds", "seconds"),
        (Some(Unit::Share), "hotspan_check_ratio", "ratio"),
        (Some(Unit::PerSecond), "hotspan_check_per_second", ""),
        (Some(Unit::Count), "hotspan_check_value", ""),
    ] {
        numbers(gate, unit, name, suffix, values, &mut out);
    }
    out
}

/// The numbers of one unit: what was measured, and what it was compared with.
fn numbers(gate: &Gate, unit: Option<Unit>, name: &str, suffix: &str, values: Values, out: &mut String) {
    let mut lines = String::new();
    let mut seen = BTreeSet::new();
    for check in gate.checks.iter().filter(|c| c.figures.unit == unit) {
        for (of, value) in [("now", check.figures.now), ("base", check.figures.base)] {
            let Some(value) = value.filter(|v| v.is_finite()) else { continue };
            let labels = format!("{},of=\"{of}\"", labels(check));
            if seen.insert(labels.clone()) {
                let scaled = if unit == Some(Unit::Milliseconds) { value / 1e3 } else { value };
                let shown = match values {
                    Values::Whole => format!("{scaled}"),
                    Values::Rounded => rounded(scaled),
                };
                let _ = writeln!(lines, "{name}{{{labels}}} {shown}");
            }
        }
    }
    if !lines.is_empty() {
        family(out, name, "What a check measured, and what it was compared with.", suffix);
        out.push_str(&lines);
    }
}

/// The lines before a family of gauges.
pub fn family(out: &mut String, name: &str, help: &str, unit: &str) {
    let _ = writeln!(out, "# TYPE {name} gauge");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {help}");
}

fn labels(check: &Check) -> String {
    format!(
        "kind=\"{}\",group=\"{}\",check=\"{}\"",
        check.kind.name(),
        label(&check.group),
        label(&check.name)
    )
}

/// A label's value: hazards as visible escapes, then what the format itself escapes.
pub fn label(foreign: &str) -> String {
    text::clean(foreign).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Two significant digits: a change that is shown is at least one of several per cent.
fn rounded(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let unit = 10f64.powf(value.abs().log10().floor() - 1.0);
    digits((value / unit).round() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_change() {
        assert_eq!(rounded(0.123_4), rounded(0.121));
        assert_eq!([0.123_4, 12_345.0, 0.0, 0.5, 99.9].map(rounded), ["0.12", "12000", "0", "0.5", "100"]);
    }
}
