//! JUnit XML, as Jenkins, GitLab, GitLab's and Buildkite's viewers and most others read it: the elements and attributes of the
//! Jenkins xUnit schema and no others.
//!
//! What failed is a `failure`; what cannot be told is an `error` where it keeps the gate from a decision, and `skipped`
//! elsewhere, so that no viewer counts it as passed.

use super::super::gate::{Check, Gate, GateVerdict, Outcome};
use super::super::text;
use super::{line, sentence};
use std::fmt::Write;

/// The gate as a document.
pub fn junit(gate: &Gate) -> String {
    let failures = gate.count(Outcome::Failed);
    let undecided = gate.verdict == GateVerdict::CannotTell;
    let skipped = gate.count(Outcome::CannotTell);
    let tests = gate.checks.len() + usize::from(undecided);
    let name = attribute(&line(&gate.title, 200));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let errors = usize::from(undecided);
    let seconds = gate.seconds;
    let _ = writeln!(
        out,
        "<testsuites name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">"
    );
    let _ = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">"
    );
    if !gate.facts.is_empty() {
        out.push_str("    <properties>\n");
        for (name, value) in &gate.facts {
            let (name, value) = (attribute(&line(name, 200)), attribute(&line(value, 500)));
            let _ = writeln!(out, "      <property name=\"{name}\" value=\"{value}\"/>");
        }
        out.push_str("    </properties>\n");
    }
    if undecided {
        let message = attribute(&line(&gate.headline, 1_000));
        let body = body(&gate.reasons.iter().map(|r| text::clean(r)).collect::<Vec<_>>().join("\n"));
        let _ = writeln!(
            out,
            "    <testcase classname=\"hotspan\" name=\"the result can carry a verdict\" time=\"0\">\n      <error type=\"cannot_tell\" message=\"{message}\">{body}</error>\n    </testcase>"
        );
    }
    gate.checks.iter().for_each(|check| testcase(check, &mut out));
    let said: Vec<String> =
        gate.details.iter().flat_map(|(_, lines)| lines).map(|text| line(text, 2_000)).collect();
    if !said.is_empty() {
        let _ = writeln!(out, "    <system-out>{}</system-out>", body(&said.join("\n")));
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn testcase(check: &Check, out: &mut String) {
    let group = if text::clean(&check.group).is_empty() { "run" } else { &check.group };
    let class = attribute(&line(group, 200));
    let name = attribute(&line(&check.name, 400));
    let _ = write!(out, "    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\"");
    let message = attribute(&line(&check.told(), 1_000));
    let kind = check.kind.name();
    match check.outcome {
        Outcome::Failed => {
            let mut lines = vec![sentence(check, 2_000)];
            lines.extend(check.location.iter().map(|at| match at.line {
                Some(number) => format!("at {}:{number}", line(&at.file, 500)),
                None => format!("at {}", line(&at.file, 500)),
            }));
            lines.extend(check.traces.iter().map(|trace| {
                format!(
                    "trace ({}): {}",
                    line(&trace.role, 40),
                    line(trace.url.as_ref().unwrap_or(&trace.id), 500)
                )
            }));
            let body = body(&lines.join("\n"));
            let _ = writeln!(
                out,
                ">\n      <failure type=\"{kind}\" message=\"{message}\">{body}</failure>\n    </testcase>"
            );
        }
        Outcome::CannotTell | Outcome::Accepted => {
            let _ = writeln!(out, ">\n      <skipped message=\"{message}\"/>\n    </testcase>");
        }
        Outcome::Improved | Outcome::Passed => {
            let _ = writeln!(out, ">\n      <system-out>{message}</system-out>\n    </testcase>");
        }
    }
}

/// Within quotes. `clean` has made control characters visible and line breaks spaces before.
fn attribute(clean: &str) -> String {
    escape(clean)
}

/// Between tags; line breaks stay.
fn body(lines: &str) -> String {
    escape(lines)
}

/// Also leaves out what XML 1.0 cannot hold in any form.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            c if u32::from(c) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}
