//! The answer in one value.

use super::result::{Category, Finding, FindingKind, Telemetry, Verdict};
use super::tally::StepTally;
use crate::record::{
    FailureClass, GeneratorLimit, Nanos, Run, StepId, busy_machine as busy, generator_limit as seen_limit,
};

/// Share of latency from which a late generator makes the numbers worthless …
const GENERATOR_SHARE_MAX: f64 = 0.05;
/// … if it is late by this much on average. A service that answers in half a millisecond makes the wake-up of any thread
/// a large share, and hides nothing behind it.
const GENERATOR_DELAY_MIN: Nanos = Nanos::from_millis(1);
/// Share of joined exchanges below which the report doubts itself.
pub(super) const COVERAGE_MIN: f64 = 0.9;
/// Clocks that differ by less are no news: a server's span ends a little after its last byte arrived.
pub(super) const SKEW_WORTH_A_NOTE: Nanos = Nanos::from_millis(1);
/// Share of errors from which latency is not the question.
const FAILING: f64 = 0.5;
/// Share of errors that is the answer where nothing else is.
const FAILING_WITH_NOTHING_ELSE: f64 = 0.1;

/// Share of all latency that the load generator was late, where that makes the numbers worthless.
pub(super) fn late_generator(steps: &[StepTally]) -> Option<f64> {
    let (mut late, mut all, mut exchanges) = (0, 0, 0);
    for step in steps {
        let categories = step.categories();
        late += categories.get(Category::Generator).0;
        all += categories.total().0;
        exchanges += step.exchanges;
    }
    let share = if all == 0 { 0.0 } else { late as f64 / all as f64 };
    let mean = Nanos(late / exchanges.max(1));
    (share > GENERATOR_SHARE_MAX && mean >= GENERATOR_DELAY_MIN).then_some(share)
}

/// Share of exchanges without a local port from which that is the answer.
const PORTS_MISSING: f64 = 0.01;

/// Why the machine that made the load was at its limit: it had no port left to connect from, or what it saw of itself.
pub(super) fn generator_limit(steps: &[StepTally], run: &Run) -> Option<GeneratorLimit> {
    let exchanges: u64 = steps.iter().map(|s| s.exchanges).sum();
    let failures = steps.iter().filter_map(|s| s.failures.get(&FailureClass::Connect)).flatten();
    // The system's words for EADDRNOTAVAIL when a connection is opened.
    let portless =
        failures.filter(|(why, _)| why.contains("assign requested address")).map(|(_, n)| n).sum::<u64>();
    if portless > 0 && portless as f64 >= PORTS_MISSING * exchanges as f64 {
        return Some(GeneratorLimit::Ports(portless));
    }
    seen_limit(&run.load.generator)
}

/// How long the generator waited for a core of its machine, as a share of the time in which it wanted one, where the service
/// may be on the same machine.
pub(super) fn busy_machine(run: &Run) -> Option<f64> {
    busy(&run.load.generator).filter(|_| reached_on_this_machine(run))
}

/// Whether the way to the service is no line between machines.
pub(super) fn reached_on_this_machine(run: &Run) -> bool {
    let host = run.target.split("://").nth(1).unwrap_or(&run.target);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

/// From what was found; `findings` are in the order of the result, worst first.
pub(super) fn verdict(
    steps: &[StepTally],
    telemetry: &Telemetry,
    findings: &[Finding],
    limited: bool,
) -> Verdict {
    let exchanges: u64 = steps.iter().map(|s| s.exchanges).sum();
    let errors: u64 = steps.iter().map(|s| s.errors).sum();
    let slowest = StepId(slowest(steps) as u16);
    let late = late_generator(steps).or(limited.then_some(0.0));
    let failing = errors as f64 / exchanges.max(1) as f64;
    match late {
        _ if exchanges == 0 => Verdict::NoData,
        _ if failing > FAILING => failed(steps),
        Some(share) => Verdict::GeneratorBound(share),
        _ if telemetry.joined == 0 && failing > FAILING_WITH_NOTHING_ELSE => failed(steps),
        _ if telemetry.joined == 0 => Verdict::Untraced { step: slowest },
        // Errors with another latency explain nothing by themselves: that so many requests fail is the answer.
        _ if failing > FAILING_WITH_NOTHING_ELSE && findings.first().is_some_and(is_of_errors) => {
            failed(steps)
        }
        _ if findings.first().is_some_and(|f| !f.kind.is_about_evidence()) => Verdict::Bottleneck(0),
        _ if failing > FAILING_WITH_NOTHING_ELSE => failed(steps),
        _ => Verdict::Healthy { step: slowest },
    }
}

fn is_of_errors(finding: &Finding) -> bool {
    finding.kind == FindingKind::ErrorPath
}

/// The step with the highest p95; the first of equals.
fn slowest(steps: &[StepTally]) -> usize {
    let p95 = |i: &usize| (steps[*i].latency.quantile(0.95), std::cmp::Reverse(*i));
    (0..steps.len()).filter(|i| steps[*i].exchanges > 0).max_by_key(p95).unwrap_or(0)
}

fn failed(steps: &[StepTally]) -> Verdict {
    let worst = (0..steps.len()).max_by_key(|i| (steps[*i].errors, std::cmp::Reverse(*i))).unwrap_or(0);
    let tally = &steps[worst];
    let class = tally.failures.iter().map(|(class, messages)| (messages.values().sum::<u64>(), *class));
    let class: Option<(u64, FailureClass)> = class.max_by_key(|(n, class)| (*n, std::cmp::Reverse(*class)));
    let status = tally
        .error_statuses
        .iter()
        .map(|(status, n)| (*n, *status))
        .max_by_key(|(n, s)| (*n, std::cmp::Reverse(*s)));
    let by_class = class.map_or(0, |c| c.0) >= status.map_or(0, |s| s.0);
    Verdict::Failing {
        step: StepId(worst as u16),
        class: class.filter(|_| by_class).map(|c| c.1),
        status: status.filter(|_| !by_class).map(|s| s.1),
    }
}
