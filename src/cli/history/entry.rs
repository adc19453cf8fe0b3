//! The line of a run, from its `report.json` and, where there is one, the `run.json` beside it.

use crate::history::{Entry, Measure, SeriesKey};
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Most operations of a run that are kept: those with the most own time.
const OPERATIONS_MAX: usize = 300;
/// Most steps.
const STEPS_MAX: usize = 200;
/// Fewer values than this have no 95th percentile that means anything.
const FOR_P95: f64 = 100.0;
/// Below this share of joined exchanges the numbers of operations are of another population.
const COVERAGE_NEEDED: f64 = 0.9;
/// Below this share of the offered load, the load that was asked for did not happen.
const LOAD_NEEDED: f64 = 0.95;

/// Reads a run folder, or a report alone.
pub fn read(path: &Path, commit: Option<&str>) -> anyhow::Result<Entry> {
    let (file, folder) = if path.is_dir() {
        let run = super::super::analyze::find_run(path)?;
        (run.join("report.json"), Some(run))
    } else {
        (path.to_owned(), path.parent().map(Path::to_owned))
    };
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}; `hotspan analyze` writes the report of a run folder", file.display())
    })?;
    let report: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    if report["schema"] != "hotspan.report/1" {
        bail!("{} is no report of hotspan: its schema is {}", file.display(), report["schema"]);
    }
    let run = folder
        .and_then(|folder| std::fs::read_to_string(folder.join("run.json")).ok())
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        // A report that was copied beside another run must not take its machine.
        .filter(|run| run["id"] == report["run"]["id"])
        .unwrap_or_default();
    entry(&report, &run, commit).with_context(|| format!("cannot use {}", file.display()))
}

fn entry(report: &Value, run: &Value, commit: Option<&str>) -> anyhow::Result<Entry> {
    let text = |pointer: &str| report.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    let host = |key: &str| {
        report["run"]["host"].get(key).or_else(|| run["host"].get(key)).cloned().unwrap_or_default()
    };
    let version = text("/run/hotspan_version").unwrap_or_default();
    let machine = match host("cpu").as_str().filter(|cpu| !cpu.is_empty()) {
        Some(cpu) => {
            format!("{} × {cpu}, {}, hotspan {version}", host("cores"), host("os").as_str().unwrap_or("?"))
        }
        None => format!("unknown, hotspan {version}"),
    };
    Ok(Entry {
        run: text("/run/id").context("it has no run.id")?,
        scenario: text("/run/name").unwrap_or_default(),
        at: text("/run/started_at").context("it has no run.started_at")?,
        commit: commit.map(str::to_owned).or_else(|| text("/run/git_commit")),
        machine,
        doubt: doubt(report, &number),
        values: values(report),
    })
}

/// Why the run's numbers are not to be compared.
fn doubt(report: &Value, number: &dyn Fn(&str) -> Option<f64>) -> Option<String> {
    let state = report["run"]["state"].as_str().unwrap_or("complete");
    if state != "complete" {
        return Some(format!("the run is {state}"));
    }
    if let Some(why) = report.pointer("/load/generator/bottleneck/text").and_then(Value::as_str) {
        return Some(format!("the generator was the bottleneck: {why}"));
    }
    let (offered, sent) = (number("/load/offered").unwrap_or(0.0), number("/load/sent").unwrap_or(0.0));
    if sent < LOAD_NEEDED * offered {
        return Some(format!("only {sent} of {offered} requests that were due were sent"));
    }
    let traced = number("/telemetry/traced").unwrap_or(0.0);
    let coverage = number("/telemetry/coverage").unwrap_or(0.0);
    (traced > 0.0 && coverage > 0.0 && coverage < COVERAGE_NEEDED).then(|| {
        format!("server spans were joined for only {:.0} % of the traced requests", 100.0 * coverage)
    })
}

fn values(report: &Value) -> BTreeMap<SeriesKey, f64> {
    let mut all = BTreeMap::new();
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut put = |group: &str, name: &str, measure: Measure, value: Option<f64>| {
        if let Some(value) = value.filter(|v| v.is_finite() && *v >= 0.0) {
            let key = SeriesKey { group: group.to_owned(), name: name.to_owned(), measure };
            all.insert(key, value);
        }
    };
    for step in list("steps").iter().take(STEPS_MAX) {
        let (journey, name) = (word(step, "journey"), word(step, "name"));
        let exchanges = step["exchanges"].as_f64().unwrap_or(0.0);
        if exchanges == 0.0 || matches!(journey.as_str(), "setup" | "teardown") {
            continue;
        }
        put(&journey, &name, Measure::StepP50, step["latency_ms"]["p50"].as_f64());
        put(
            &journey,
            &name,
            Measure::StepP95,
            step["latency_ms"]["p95"].as_f64().filter(|_| exchanges >= FOR_P95),
        );
        put(&journey, &name, Measure::StepErrors, step["errors"].as_f64().map(|errors| errors / exchanges));
    }
    for operation in list("operations").iter().take(OPERATIONS_MAX) {
        let service = word(operation, "service");
        let name = format!("{} ({})", word(operation, "name"), word(operation, "kind"));
        let (calls, exchanges) =
            (operation["calls"].as_f64().unwrap_or(0.0), operation["exchanges"].as_f64().unwrap_or(0.0));
        if calls == 0.0 || exchanges == 0.0 {
            continue;
        }
        put(&service, &name, Measure::OperationOwn, operation["own_ms"].as_f64().map(|own| own / exchanges));
        put(
            &service,
            &name,
            Measure::OperationP95,
            operation["duration_ms"]["p95"].as_f64().filter(|_| calls >= FOR_P95),
        );
        put(&service, &name, Measure::OperationCalls, Some(calls / exchanges));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "schema": "hotspan.report/1",
            "run": {"id": "r1", "name": "shop", "state": "complete", "started_at": "2026-01-01T00:00:00.000Z", "git_commit": "abc", "hotspan_version": "1"},
            "telemetry": {"traced": 200, "coverage": 0.99},
            "load": {"offered": 200, "sent": 200, "generator": {"bottleneck": null}},
            "steps": [
                {"journey": "browse", "name": "GET /", "exchanges": 200, "errors": 2, "latency_ms": {"p50": 10.0, "p95": 20.0}},
                {"journey": "setup", "name": "login", "exchanges": 1, "errors": 0, "latency_ms": {"p50": 10.0, "p95": 20.0}},
                {"journey": "browse", "name": "rare", "exchanges": 5, "errors": 0, "latency_ms": {"p50": 1.0, "p95": 2.0}}
            ],
            "operations": [{"service": "shop", "name": "SELECT", "kind": "client", "calls": 600, "errors": 0, "exchanges": 200, "own_ms": 1000.0, "duration_ms": {"p95": 3.0}}]
        })
    }

    #[test]
    fn a_report_gives_its_numbers() {
        let run = json!({"id": "r1", "host": {"cpu": "Z80", "cores": 2, "os": "CP/M"}});
        let entry = entry(&report(), &run, None).unwrap();
        assert_eq!(
            (entry.machine.as_str(), entry.commit.as_deref(), &entry.doubt),
            ("2 × Z80, CP/M, hotspan 1", Some("abc"), &None)
        );
        let values: Vec<(String, f64)> =
            entry.values.iter().map(|(k, v)| (format!("{} {}", k.group, k.title()), *v)).collect();
        let want = [
            ("browse GET / latency.p50", 10.0),
            ("browse GET / latency.p95", 20.0),
            ("browse GET / error_rate", 0.01),
            ("browse rare latency.p50", 1.0),
            ("browse rare error_rate", 0.0),
            ("shop SELECT (client) self.mean", 5.0),
            ("shop SELECT (client) duration.p95", 3.0),
            ("shop SELECT (client) calls", 3.0),
        ];
        assert_eq!(values, want.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn doubtful_runs_say_why() {
        for (pointer, value, want) in [
            ("/run/state", json!("interrupted"), "interrupted"),
            ("/load/sent", json!(100), "only 100 of 200"),
            ("/telemetry/coverage", json!(0.5), "only 50 %"),
            ("/load/generator/bottleneck", json!({"text": "cpu at 99 %"}), "cpu at 99 %"),
        ] {
            let mut report = report();
            *report.pointer_mut(pointer).unwrap() = value;
            let entry = entry(&report, &Value::Null, Some("def")).unwrap();
            assert!(entry.doubt.as_ref().unwrap().contains(want), "{:?}", entry.doubt);
            assert_eq!(
                (entry.commit.as_deref(), entry.machine.as_str()),
                (Some("def"), "unknown, hotspan 1")
            );
        }
    }
}
