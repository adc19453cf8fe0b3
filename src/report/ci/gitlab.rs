//! What GitLab reads: a metrics report (any line of it that differs from the target branch's is shown as changed, so values
//! are rounded until noise is no change), and Code Quality, which every tier shows in the merge request.

use super::super::gate::{CheckKind, Gate, Outcome};
use super::super::text;
use super::openmetrics::{self, Values};
use super::{place, sentence};
use serde_json::json;

/// For `artifacts:reports:metrics`.
pub fn metrics(gate: &Gate) -> String {
    openmetrics::write(gate, Values::Rounded)
}

/// For `artifacts:reports:codequality`: what failed, and what could not be told as `info`. GitLab wants a file for each, so
/// checks without a place in the code stand at the first line of the gate's file.
pub fn code_quality(gate: &Gate) -> String {
    let issues: Vec<serde_json::Value> = gate
        .worst()
        .into_iter()
        .filter_map(|check| {
            let severity = match (check.outcome, check.kind) {
                (Outcome::Failed, CheckKind::Structure) => "major",
                (Outcome::Failed, _) => "critical",
                (Outcome::CannotTell, _) => "info",
                _ => return None,
            };
            let (file, line) = match place(gate, check) {
                Some(at) => (text::clean(&at.file), at.line.unwrap_or(1)),
                None => ("hotspan.yaml".to_owned(), 1),
            };
            Some(json!({
                "description": sentence(check, 1_000),
                "check_name": format!("hotspan/{}", check.kind.name()),
                "fingerprint": check.fingerprint(),
                "severity": severity,
                "location": {"path": file, "lines": {"begin": line}},
            }))
        })
        .collect();
    super::json::pretty(&serde_json::Value::Array(issues))
}
