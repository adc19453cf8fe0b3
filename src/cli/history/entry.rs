//! The line of a run, from its `report.json`, read as a comparison reads it.

use crate::compare::RunSummary;
use crate::history::{Entry, Measure, SeriesKey};
use crate::report;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// Most operations of a run that are kept: those with the most own time.
const OPERATIONS_MAX: usize = 300;
/// Most steps.
const STEPS_MAX: usize = 200;
/// Fewer values than this have no 95th percentile that means anything.
const FOR_P95: u64 = 100;
/// Below this share of joined exchanges the numbers of operations are of another population.
const COVERAGE_NEEDED: f64 = 0.9;
/// Below this share of the offered load, the load that was asked for did not happen.
const LOAD_NEEDED: f64 = 0.95;

/// Reads a run folder, or a report alone.
pub fn read(path: &Path, commit: Option<&str>) -> anyhow::Result<Entry> {
    let file = if path.is_dir() {
        super::super::analyze::find_run(path)?.join("report.json")
    } else {
        path.to_owned()
    };
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}; `hotspan analyze` writes the report of a run folder", file.display())
    })?;
    let run = report::summary_of_any(&text, &file.display().to_string())
        .with_context(|| format!("cannot use {}", file.display()))?;
    if run.id.is_empty() || run.started_at.0 == 0 {
        bail!("cannot use {}: it has no run.id or no run.started_at", file.display());
    }
    Ok(entry(&run, commit))
}

fn entry(run: &RunSummary, commit: Option<&str>) -> Entry {
    let machine = &run.environment;
    let version = &machine.hotspan_version;
    Entry {
        run: run.id.clone(),
        scenario: run.scenario.clone(),
        at: report::rfc3339(run.started_at),
        commit: commit.map(str::to_owned).or_else(|| run.commit.clone()),
        machine: if machine.is_known() {
            format!("{} × {}, {}, hotspan {version}", machine.cores, machine.cpu, machine.os)
        } else {
            format!("unknown, hotspan {version}")
        },
        doubt: doubt(run),
        values: values(run),
    }
}

/// Why the run's numbers are not to be compared.
fn doubt(run: &RunSummary) -> Option<String> {
    if !run.complete {
        return Some("the run did not end as planned".to_owned());
    }
    if let Some(why) = &run.load.generator_bound {
        return Some(format!("the generator was the bottleneck: {why}"));
    }
    let (offered, sent) = (run.load.offered, run.load.sent);
    if (sent as f64) < LOAD_NEEDED * offered as f64 {
        return Some(format!("only {sent} of {offered} requests that were due were sent"));
    }
    let coverage = run.telemetry.coverage();
    (coverage > 0.0 && coverage < COVERAGE_NEEDED).then(|| {
        format!("server spans were joined for only {:.0} % of the traced requests", 100.0 * coverage)
    })
}

fn values(run: &RunSummary) -> BTreeMap<SeriesKey, f64> {
    let mut all = BTreeMap::new();
    let mut put = |group: &str, name: &str, measure: Measure, value: Option<f64>| {
        if let Some(value) = value.filter(|v| v.is_finite() && *v >= 0.0) {
            let key = SeriesKey { group: group.to_owned(), name: name.to_owned(), measure };
            all.insert(key, value);
        }
    };
    for step in run.steps.iter().take(STEPS_MAX) {
        if step.exchanges == 0 || matches!(&*step.journey, "setup" | "teardown") {
            continue;
        }
        let (journey, name, latency) = (&step.journey, &step.name, &step.latency);
        put(journey, name, Measure::StepP50, Some(latency.p50));
        put(journey, name, Measure::StepP95, Some(latency.p95).filter(|_| step.exchanges >= FOR_P95));
        put(journey, name, Measure::StepErrors, Some(step.errors as f64 / step.exchanges as f64));
    }
    for op in run.operations.iter().take(OPERATIONS_MAX) {
        if op.calls == 0 || op.exchanges == 0 {
            continue;
        }
        let (service, name) = (&op.key.service, format!("{} ({})", op.key.name, op.key.kind));
        put(service, &name, Measure::OperationOwn, Some(op.own_total_ms / op.exchanges as f64));
        put(service, &name, Measure::OperationP95, Some(op.duration.p95).filter(|_| op.calls >= FOR_P95));
        put(service, &name, Measure::OperationCalls, Some(op.calls_per_exchange()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{
        Environment, LoadSummary, OperationKey, OperationSummary, StepSummary, TelemetrySummary, Times,
    };

    fn run() -> RunSummary {
        let step = |journey: &str, name: &str, exchanges, errors, p50, p95| StepSummary {
            journey: journey.into(),
            name: name.into(),
            exchanges,
            errors,
            latency: Times { n: exchanges, p50, p95, ..Times::default() },
            ..StepSummary::default()
        };
        RunSummary {
            id: "r1".into(),
            scenario: "shop".into(),
            complete: true,
            commit: Some("abc".into()),
            environment: Environment {
                cpu: "Z80".into(),
                cores: 2,
                os: "CP/M".into(),
                hotspan_version: "1".into(),
                ..Environment::default()
            },
            load: LoadSummary { offered: 200, sent: 200, ..LoadSummary::default() },
            telemetry: TelemetrySummary { traced: 200, joined: 198, ..TelemetrySummary::default() },
            steps: vec![
                step("browse", "GET /", 200, 2, 10.0, 20.0),
                step("setup", "login", 1, 0, 10.0, 20.0),
                step("browse", "rare", 5, 0, 1.0, 2.0),
            ],
            operations: vec![OperationSummary {
                key: OperationKey { service: "shop".into(), name: "SELECT".into(), kind: "client".into() },
                calls: 600,
                exchanges: 200,
                own_total_ms: 1_000.0,
                duration: Times { p95: 3.0, ..Times::default() },
                ..OperationSummary::default()
            }],
            ..RunSummary::default()
        }
    }

    #[test]
    fn a_run_gives_its_numbers() {
        let entry = entry(&run(), None);
        assert_eq!(
            (entry.machine.as_str(), entry.commit.as_deref(), &entry.doubt, entry.at.as_str()),
            ("2 × Z80, CP/M, hotspan 1", Some("abc"), &None, "1970-01-01T00:00:00.000Z")
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
        type Change = fn(&mut RunSummary);
        let changes: [(Change, &str); 4] = [
            (|run| run.complete = false, "did not end as planned"),
            (|run| run.load.sent = 100, "only 100 of 200"),
            (|run| run.telemetry.joined = 100, "only 50 %"),
            (|run| run.load.generator_bound = Some("cpu at 99 %".into()), "cpu at 99 %"),
        ];
        for (change, want) in changes {
            let mut run = run();
            change(&mut run);
            run.environment = Environment { hotspan_version: "1".into(), ..Environment::default() };
            let entry = entry(&run, Some("def"));
            assert!(entry.doubt.as_ref().unwrap().contains(want), "{:?}", entry.doubt);
            assert_eq!(
                (entry.commit.as_deref(), entry.machine.as_str()),
                (Some("def"), "unknown, hotspan 1")
            );
        }
    }
}
