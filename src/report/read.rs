//! `report.json` read back, as far as a comparison needs it.

use crate::compare::{
    ContributorKey, ContributorSummary, Environment, LoadSummary, OperationKey, OperationSummary, RunSummary,
    ServiceSummary, StepSummary, TelemetrySummary, Times,
};
use crate::record::{Timestamp, day_of_date};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Why a text is not a report that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("this is not a report.json of hotspan ({0}); name a run folder, or the report.json in one")]
    NotAReport(String),
    /// Another version's report.
    #[error("the report has the format `{0}`, and this version of hotspan reads `{schema}`: analyse the run again", schema = super::json::SCHEMA)]
    OtherFormat(String),
    /// It lacks what comparisons need.
    #[error(
        "an older version of hotspan wrote the report ({0}); `hotspan analyze` of its run folder writes it anew"
    )]
    Old(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Doc {
    run: Run,
    telemetry: Telemetry,
    load: Load,
    steps: Vec<Step>,
    operations: Vec<Operation>,
    operations_omitted: u64,
    services: Vec<Service>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Run {
    id: String,
    name: String,
    state: String,
    started_at: String,
    duration_s: f64,
    hotspan_version: String,
    git_commit: Option<String>,
    host: Host,
    scenario_digest: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Host {
    name: String,
    os: String,
    cpu: String,
    cores: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Telemetry {
    exchanges: u64,
    traced: u64,
    joined: Option<u64>,
    coverage: f64,
    spans_received: u64,
    spans_dropped: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Load {
    open_model: bool,
    offered: u64,
    sent: u64,
    achieved_per_s: Option<f64>,
    users_max: u32,
    generator: Generator,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generator {
    bottleneck: Option<Bottleneck>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bottleneck {
    text: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Quantiles {
    mean: f64,
    p25: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Step {
    journey: String,
    name: String,
    exchanges: u64,
    errors: u64,
    latency_ms: Quantiles,
    categories: BTreeMap<String, Mean>,
    contributors: Vec<Contributor>,
    contributors_omitted: Mean,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mean {
    mean_ms: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Contributor {
    category: String,
    service: String,
    system: String,
    name: String,
    calls_per_exchange: f64,
    mean_ms: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    service: String,
    exchanges: u64,
    own_ms: f64,
    network_in_ms: f64,
    network_out_ms: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Operation {
    service: String,
    name: String,
    kind: String,
    category: String,
    calls: u64,
    errors: u64,
    exchanges: u64,
    own_ms: f64,
    own_exchanges: u64,
    own_per_exchange_ms: Quantiles,
    duration_ms: Quantiles,
}

/// What a comparison cannot do without, and older versions did not write.
const NEEDED: [&str; 4] =
    ["/run/scenario_digest", "/run/host/cpu", "/telemetry/joined", "/operations_omitted"];

/// What a comparison needs of a report.
///
/// # Errors
/// If the text is no report, or one that lacks what is needed.
pub fn summary(text: &str, source: &str) -> Result<RunSummary, ReadError> {
    let value = document(text)?;
    if let Some(missing) = NEEDED.iter().find(|key| value.pointer(key).is_none()) {
        return Err(ReadError::Old(format!("it lacks {}", missing[1..].replace('/', "."))));
    }
    whole(value, source)
}

/// The same of a report that may lack things: what it has is enough for a history.
///
/// # Errors
/// If the text is no report.
pub fn summary_of_any(text: &str, source: &str) -> Result<RunSummary, ReadError> {
    whole(document(text)?, source)
}

fn whole(value: serde_json::Value, source: &str) -> Result<RunSummary, ReadError> {
    let doc: Doc = serde_json::from_value(value).map_err(|error| ReadError::Old(error.to_string()))?;
    Ok(doc.into_summary(source))
}

fn document(text: &str) -> Result<serde_json::Value, ReadError> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| ReadError::NotAReport(error.to_string()))?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(super::json::SCHEMA) => {}
        Some(other) if other.starts_with("hotspan.report/") => {
            return Err(ReadError::OtherFormat(other.into()));
        }
        _ => return Err(ReadError::NotAReport("it does not name the format hotspan.report".into())),
    }
    Ok(value)
}

impl Doc {
    fn into_summary(self, source: &str) -> RunSummary {
        let Doc { run, telemetry, load, steps, operations, operations_omitted, services } = self;
        RunSummary {
            source: source.into(),
            id: run.id,
            scenario: run.name,
            scenario_digest: Some(run.scenario_digest),
            started_at: timestamp(&run.started_at).unwrap_or_default(),
            duration_s: run.duration_s,
            complete: run.state == "complete",
            commit: run.git_commit,
            environment: Environment {
                host: run.host.name,
                os: run.host.os,
                cpu: run.host.cpu,
                cores: run.host.cores,
                hotspan_version: run.hotspan_version,
            },
            load: LoadSummary {
                open_model: load.open_model,
                offered: load.offered,
                sent: load.sent,
                achieved_per_s: load.achieved_per_s,
                users_max: load.users_max,
                generator_bound: load.generator.bottleneck.map(|b| b.text),
            },
            telemetry: TelemetrySummary {
                exchanges: telemetry.exchanges,
                traced: telemetry.traced,
                joined: telemetry
                    .joined
                    .unwrap_or_else(|| (telemetry.coverage * telemetry.traced as f64).round() as u64),
                spans_received: telemetry.spans_received,
                spans_dropped: telemetry.spans_dropped,
            },
            steps: steps.into_iter().filter(|s| s.exchanges > 0).map(step).collect(),
            operations: operations.into_iter().map(operation).collect(),
            operations_omitted,
            services: services.into_iter().map(service).collect(),
        }
    }
}

fn times(q: Quantiles, n: u64) -> Times {
    Times { n, mean: q.mean, p25: q.p25, p50: q.p50, p95: q.p95, p99: q.p99 }
}

fn step(step: Step) -> StepSummary {
    let contributor = |c: Contributor| ContributorSummary {
        key: ContributorKey {
            category: c.category.into(),
            service: c.service.into(),
            system: c.system.into(),
            name: c.name.into(),
        },
        calls_per_exchange: c.calls_per_exchange,
        mean_ms: c.mean_ms,
    };
    // The same name at two places of the code is one contributor here: lines move from commit to commit.
    let mut contributors: BTreeMap<ContributorKey, ContributorSummary> = BTreeMap::new();
    for c in step.contributors.into_iter().map(contributor) {
        let sum = contributors
            .entry(c.key.clone())
            .or_insert_with(|| ContributorSummary { key: c.key.clone(), ..ContributorSummary::default() });
        sum.calls_per_exchange += c.calls_per_exchange;
        sum.mean_ms += c.mean_ms;
    }
    let mut contributors: Vec<ContributorSummary> = contributors.into_values().collect();
    contributors.sort_by(|a, b| b.mean_ms.total_cmp(&a.mean_ms));
    StepSummary {
        journey: step.journey.into(),
        name: step.name.into(),
        exchanges: step.exchanges,
        errors: step.errors,
        latency: times(step.latency_ms, step.exchanges),
        categories: step.categories.into_iter().map(|(name, mean)| (name.into(), mean.mean_ms)).collect(),
        contributors,
        others_mean_ms: step.contributors_omitted.mean_ms,
    }
}

fn operation(op: Operation) -> OperationSummary {
    OperationSummary {
        key: OperationKey { service: op.service.into(), name: op.name.into(), kind: op.kind.into() },
        category: op.category.into(),
        calls: op.calls,
        errors: op.errors,
        exchanges: op.exchanges,
        own: times(op.own_per_exchange_ms, op.own_exchanges),
        own_total_ms: op.own_ms,
        duration: times(op.duration_ms, op.calls),
    }
}

fn service(s: Service) -> ServiceSummary {
    ServiceSummary {
        service: s.service.into(),
        exchanges: s.exchanges,
        own_ms: s.own_ms,
        network_in_ms: s.network_in_ms,
        network_out_ms: s.network_out_ms,
    }
}

/// What `number::rfc3339` writes.
fn timestamp(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    let seconds = day_of_date(year, month, day) * 86_400
        + number(11..13)? * 3_600
        + number(14..16)? * 60
        + number(17..19)?;
    let ms = seconds.checked_mul(1_000)? + number(20..23)?;
    Some(Timestamp(u64::try_from(ms).ok()?.checked_mul(1_000_000)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{json, number, sample};

    #[test]
    fn a_report_is_read_back() {
        for sample in sample::all() {
            let text = json(&sample.report());
            let run = summary(&text, "here").unwrap();
            let report = sample.report();
            assert_eq!((run.source.as_str(), run.id.as_str()), ("here", report.run.id.as_str()));
            assert_eq!(run.started_at.0 / 1_000_000, report.run.started_at.0 / 1_000_000);
            assert_eq!(run.environment.cores, report.run.host.cores);
            assert_eq!(run.telemetry.joined, report.analysis.telemetry.joined);
            assert_eq!(run.operations.len(), report.analysis.operations.len());
            for step in &run.steps {
                let parts: f64 = step.contributors.iter().map(|c| c.mean_ms).sum();
                let whole = step.latency.mean;
                assert!(
                    (parts + step.others_mean_ms - whole).abs() < 0.01 + 0.001 * whole,
                    "{parts} of {whole}"
                );
            }
            for (op, from) in run.operations.iter().zip(&report.analysis.operations) {
                assert!((op.duration.p95 - from.duration.quantile(0.95).as_millis_f64()).abs() < 0.001);
                assert_eq!(op.own.n, from.own_each.len());
            }
        }
    }

    #[test]
    fn what_is_no_report_is_said() {
        let why = |text: &str| summary(text, "x").unwrap_err().to_string();
        assert!(why("{").starts_with("this is not a report.json of hotspan"));
        assert!(why("{\"schema\": \"k6\"}").contains("does not name the format"));
        assert!(why("{\"schema\": \"hotspan.report/9\"}").contains("`hotspan.report/9`"));
        let old = "{\"schema\": \"hotspan.report/1\"}";
        assert!(why(old).contains("hotspan analyze"), "{}", why(old));
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for ms in [0, 951_782_400_123, 1_795_515_300_999] {
            let at = Timestamp(ms * 1_000_000);
            assert_eq!(timestamp(&number::rfc3339(at)), Some(at));
        }
        assert_eq!(timestamp("yesterday"), None);
    }
}
