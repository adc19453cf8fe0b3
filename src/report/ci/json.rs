//! The gate as JSON, schema `hotspan.gate/1` (`docs/gate.schema.json`): for whatever has no format of its own here.

use super::super::gate::{Check, Gate};
use super::super::json::safe_json;
use serde_json::{Value, json};

/// The whole gate.
pub fn json(gate: &Gate) -> String {
    let facts: serde_json::Map<String, Value> =
        gate.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    pretty(&json!({
        "schema": "hotspan.gate/1",
        "id": gate.id,
        "title": gate.title,
        "verdict": gate.verdict.name(),
        "headline": gate.headline,
        "reasons": gate.reasons,
        "design": gate.design,
        "facts": facts,
        "checks": gate.checks.iter().map(check).collect::<Vec<_>>(),
    }))
}

fn check(check: &Check) -> Value {
    let figures = &check.figures;
    let number = |value: Option<f64>| value.filter(|v| v.is_finite());
    json!({
        "kind": check.kind.name(),
        "group": check.group,
        "name": check.name,
        "outcome": check.outcome.name(),
        "unit": figures.unit.map(super::super::Unit::name),
        "base": number(figures.base),
        "now": number(figures.now),
        "limit": figures.limit,
        "change": figures.change.map(|c| json!({"ratio": c.ratio, "low": c.low, "high": c.high})),
        "message": check.told(),
        "location": check.location.as_ref().map(|at| json!({"file": at.file, "line": at.line})),
        "traces": check.traces.iter().map(|t| json!({"role": t.role, "id": t.id, "url": t.url})).collect::<Vec<_>>(),
        "fingerprint": check.fingerprint(),
    })
}

/// Indented, hazards as `\u` escapes, with a line break at its end.
pub(super) fn pretty(value: &Value) -> String {
    safe_json(value)
}
