//! Workflow commands of GitHub Actions: one line for each thing that failed, shown at its place in the code where that is
//! known. GitHub shows ten errors and ten warnings of a step and drops the rest, so the last one says what was left out.

use super::super::gate::{Check, CheckKind, Gate, GateVerdict, Outcome};
use super::{line, place};
use std::fmt::Write;

/// Annotations of one level that GitHub shows for a step.
const MOST: usize = 10;

/// The lines to print on standard output of a step.
pub fn annotations(gate: &Gate) -> String {
    let mut out = String::new();
    let worst = gate.worst();
    let of = |outcome| worst.iter().copied().filter(|c| c.outcome == outcome).collect::<Vec<&Check>>();
    // A comparison tells what it cannot tell by its smallest detectable change; hundreds of operations are no warnings.
    let compared = |check: &&Check| matches!(check.kind, CheckKind::Step | CheckKind::Operation);
    let failed = of(Outcome::Failed);
    let doubtful: Vec<&Check> =
        of(Outcome::CannotTell).into_iter().filter(|check| !compared(check)).collect();
    let spare = usize::from(gate.verdict == GateVerdict::CannotTell);
    if spare > 0 {
        let message =
            std::iter::once(&gate.headline).chain(&gate.reasons).map(|r| line(r, 600)).collect::<Vec<_>>();
        command(&mut out, "error", &[("title", line(&gate.title, 120))], &message.join("\n"));
    }
    level(gate, &failed, "error", MOST - spare, &mut out);
    level(gate, &doubtful, "warning", MOST, &mut out);
    out
}

fn level(gate: &Gate, checks: &[&Check], level: &str, most: usize, out: &mut String) {
    let shown = if checks.len() > most { most - 1 } else { checks.len() };
    for check in &checks[..shown] {
        let mut properties = vec![("title", line(&check.full_name(), 120))];
        if let Some(at) = place(gate, check) {
            properties.push(("file", line(&at.file, 1_000)));
            properties.extend(at.line.map(|number| ("line", number.to_string())));
        }
        command(out, level, &properties, &line(&check.told(), 1_000));
    }
    if shown < checks.len() {
        let left = checks.len() - shown;
        let message = format!("and {left} more; the summary of this step has them all");
        command(out, level, &[("title", line(&gate.title, 120))], &message);
    }
}

/// One command; a value that would end it or begin another is escaped as the runner unescapes it.
fn command(out: &mut String, name: &str, properties: &[(&str, String)], message: &str) {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let listed: Vec<String> =
        properties.iter().map(|(name, value)| format!("{name}={}", property(value))).collect();
    let _ = writeln!(out, "::{name} {}::{}", listed.join(","), data(message));
}
