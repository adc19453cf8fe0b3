//! What a comparison needs to know of one run, and nothing else: numbers by step and by operation, and the facts that say
//! whether two runs can be compared at all. The run is the sample; a run of a million requests is one summary.
//!
//! A summary is read from `report.json` (by `report`), so that runs of other machines and other days can be compared
//! without their spans.

use crate::record::Timestamp;
use std::sync::Arc;

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// Where it was read from, for messages.
    pub source: String,
    /// The run's id.
    pub id: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Digest of the scenario's text without its target; absent in reports of versions that did not write it.
    pub scenario_digest: Option<String>,
    /// When its load started.
    pub started_at: Timestamp,
    /// How long its load lasted.
    pub duration_s: f64,
    /// Whether it ended as planned.
    pub complete: bool,
    /// Commit of the folder it was started in.
    pub commit: Option<String>,
    /// Where it ran.
    pub environment: Environment,
    /// What load was delivered.
    pub load: LoadSummary,
    /// How complete the evidence is.
    pub telemetry: TelemetrySummary,
    /// Steps with at least one exchange.
    pub steps: Vec<StepSummary>,
    /// Server operations over all steps.
    pub operations: Vec<OperationSummary>,
    /// How many are not listed, for their time is little.
    pub operations_omitted: u64,
    /// Services; none in reports of versions that did not write them.
    pub services: Vec<ServiceSummary>,
}

/// The machine and the program. Results of different environments are not compared silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Host name; differs from job to job on rented machines, and is no reason against a comparison by itself.
    pub host: String,
    /// Operating system and kernel.
    pub os: String,
    /// CPU model.
    pub cpu: String,
    /// Cores that the process could use; 0 where unknown.
    pub cores: u32,
    /// Version of hotspan.
    pub hotspan_version: String,
}

impl Environment {
    /// What must be equal for two results to be of the same series: CPU, cores, kernel and hotspan's version.
    pub fn fingerprint(&self) -> String {
        format!("{} × {} · {} · hotspan {}", self.cores, self.cpu, self.os, self.hotspan_version)
    }

    /// Whether it is known at all.
    pub fn is_known(&self) -> bool {
        !self.cpu.is_empty()
    }
}

/// Load as it was delivered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadSummary {
    /// Whether arrivals came by a rate.
    pub open_model: bool,
    /// Requests that were due.
    pub offered: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Requests per second that were answered.
    pub achieved_per_s: Option<f64>,
    /// Most users.
    pub users_max: u32,
    /// Why the generator was the bottleneck, if it was.
    pub generator_bound: Option<String>,
}

/// How complete the evidence is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySummary {
    /// Exchanges.
    pub exchanges: u64,
    /// Exchanges whose trace was asked for.
    pub traced: u64,
    /// Exchanges with at least one server span.
    pub joined: u64,
    /// Spans that came in.
    pub spans_received: u64,
    /// Spans that were lost.
    pub spans_dropped: u64,
}

impl TelemetrySummary {
    /// Share of traced exchanges that were joined; 0 where none was traced.
    pub fn coverage(&self) -> f64 {
        share(self.joined, self.traced)
    }

    /// Share of exchanges whose trace was asked for.
    pub fn sampling(&self) -> f64 {
        share(self.traced, self.exchanges)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Lengths of time of one kind in one run, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// How many values.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Lower quartile; 0 in reports of versions that did not write it.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepSummary {
    /// Its journey.
    pub journey: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Exchanges.
    pub exchanges: u64,
    /// Exchanges that failed.
    pub errors: u64,
    /// Corrected latency.
    pub latency: Times,
    /// Mean milliseconds of an exchange by category name; sums to the mean latency.
    pub categories: Vec<(Arc<str>, f64)>,
    /// Who spent the time, largest first; sums to the mean latency with `others_mean_ms`.
    pub contributors: Vec<ContributorSummary>,
    /// Mean milliseconds of those that are not listed.
    pub others_mean_ms: f64,
}

/// One service, over all steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSummary {
    /// Its name.
    pub service: Arc<str>,
    /// Exchanges that it took part in.
    pub exchanges: u64,
    /// Its own code's time on the critical path, in all of them.
    pub own_ms: f64,
    /// Time on the critical path between its callers (the client too) and it.
    pub network_in_ms: f64,
    /// Time on the critical path between it and the traced services that it calls.
    pub network_out_ms: f64,
}

/// The owner of a part of a step's latency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContributorSummary {
    /// Who.
    pub key: ContributorKey,
    /// Calls in an exchange of the step, on average.
    pub calls_per_exchange: f64,
    /// Milliseconds on the critical path of an exchange of the step, on average.
    pub mean_ms: f64,
}

/// Identity of a contributor over runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContributorKey {
    /// Name of its category.
    pub category: Arc<str>,
    /// Its service.
    pub service: Arc<str>,
    /// Database, cache or messaging system, or protocol.
    pub system: Arc<str>,
    /// Normalised statement, destination, host and route, or operation.
    pub name: Arc<str>,
}

/// Identity of an operation over runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationKey {
    /// Its service.
    pub service: Arc<str>,
    /// Its span name.
    pub name: Arc<str>,
    /// Its span kind, in lower case.
    pub kind: Arc<str>,
}

/// One server operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationSummary {
    /// Which.
    pub key: OperationKey,
    /// Name of the category that its own time counts as.
    pub category: Arc<str>,
    /// Spans.
    pub calls: u64,
    /// Spans with an error.
    pub errors: u64,
    /// Exchanges in which it occurs.
    pub exchanges: u64,
    /// Its own time on the critical path, by exchange in which it had any.
    pub own: Times,
    /// Sum of that, in milliseconds.
    pub own_total_ms: f64,
    /// Durations of its spans.
    pub duration: Times,
}

impl OperationSummary {
    /// Calls in an exchange in which it occurs.
    pub fn calls_per_exchange(&self) -> f64 {
        if self.exchanges == 0 { 0.0 } else { self.calls as f64 / self.exchanges as f64 }
    }

    /// Share of its spans with an error.
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_nothing_are_zero() {
        let run = RunSummary::default();
        assert_eq!((run.telemetry.coverage(), run.telemetry.sampling()), (0.0, 0.0));
        assert_eq!(OperationSummary::default().calls_per_exchange(), 0.0);
        let op = OperationSummary { calls: 40, errors: 10, exchanges: 20, ..OperationSummary::default() };
        assert_eq!((op.calls_per_exchange(), op.error_share()), (2.0, 0.25));
    }

    #[test]
    fn the_host_name_is_no_part_of_the_fingerprint() {
        let one = Environment { host: "a".into(), cpu: "x".into(), cores: 2, ..Environment::default() };
        let two = Environment { host: "b".into(), ..one.clone() };
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_ne!(one.fingerprint(), Environment { cores: 4, ..one.clone() }.fingerprint());
        assert!(one.is_known() && !Environment::default().is_known());
    }
}
