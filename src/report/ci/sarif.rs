//! SARIF 2.1.0, for code scanning. Only what failed and has a place in the code: a result without a place is refused by most
//! readers, and a slow service is no finding in a file that merely stands for it.

use super::super::gate::{CheckKind, Gate, Outcome};
use super::super::text;
use super::sentence;
use serde_json::{Value, json};

/// Results that GitHub keeps of one run.
const RESULTS_MAX: usize = 5_000;

/// The gate as a log with one run.
pub fn sarif(gate: &Gate) -> String {
    let rules: Vec<Value> = CheckKind::ALL
        .iter()
        .map(|kind| {
            json!({
                "id": format!("hotspan/{}", kind.name()),
                "shortDescription": {"text": kind.describes()},
                "defaultConfiguration": {"level": "error"},
            })
        })
        .collect();
    let results: Vec<Value> = gate
        .worst()
        .into_iter()
        .filter(|check| check.outcome == Outcome::Failed)
        .filter_map(|check| {
            let at = check.location.as_ref()?;
            let rule = CheckKind::ALL.iter().position(|kind| *kind == check.kind)?;
            let mut physical = json!({"artifactLocation": {"uri": uri(&at.file), "uriBaseId": "%SRCROOT%"}});
            if let Some(line) = at.line {
                physical["region"] = json!({"startLine": line});
            }
            Some(json!({
                "ruleId": format!("hotspan/{}", check.kind.name()),
                "ruleIndex": rule,
                "level": "error",
                "message": {"text": sentence(check, 1_000)},
                "locations": [{"physicalLocation": physical}],
                "partialFingerprints": {"hotspan/v1": check.fingerprint()},
            }))
        })
        .take(RESULTS_MAX)
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "hotspan",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
            "columnKind": "unicodeCodePoints",
        }],
    });
    super::json::pretty(&log)
}

/// A path as a relative reference: everything but unreserved characters and `/` in per cent.
fn uri(path: &str) -> String {
    let clean = text::clean(&path.replace('\\', "/"));
    let mut out = String::with_capacity(clean.len());
    for byte in clean.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
