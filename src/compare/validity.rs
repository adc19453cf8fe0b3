//! Whether two sides can be compared at all. A verdict from runs that differ in anything but the code is worse than none.

use super::contrast::Design;
use super::summary::{RunSummary, TelemetrySummary};
use std::collections::BTreeSet;
use std::fmt;

/// Below this share of the offered load, the load that was asked for did not happen.
const LOAD_NEEDED: f64 = 0.95;
/// Shares (of joined or of sampled exchanges) that differ by more than this are not the same kind of evidence.
const SHARES_APART: f64 = 0.05;
/// Below this share of joined exchanges operations are those of a chosen part.
const COVERAGE_NEEDED: f64 = 0.9;
/// More than this share of lost spans is not by the way.
const LOST_MOST: f64 = 0.01;
/// Rates of an open model, and lengths of runs, that differ by more than this part are another load.
const LOAD_APART: f64 = 0.1;

/// Why runs cannot be compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// A side has no run.
    NoRuns {
        /// Which.
        side: &'static str,
    },
    /// A run is on both sides.
    SameRun {
        /// Its id.
        run: String,
    },
    /// Runs that belong together in pairs, and their numbers differ.
    Unequal {
        /// Runs of base and head.
        runs: (usize, usize),
    },
    /// A run did not end as planned.
    Incomplete {
        /// Which.
        run: String,
    },
    /// The load that was due was not sent.
    LoadNotDelivered {
        /// Which run.
        run: String,
        /// Share that was sent.
        share: f64,
    },
    /// The machine that made the load was the bottleneck.
    GeneratorBound {
        /// Which run.
        run: String,
        /// What of it.
        what: String,
    },
    /// Another scenario, or other steps.
    OtherScenario {
        /// What differs.
        what: String,
    },
    /// Another amount of load.
    OtherLoad {
        /// What differs.
        what: String,
    },
    /// Another machine, kernel or version of hotspan.
    OtherMachine {
        /// Of base.
        base: String,
        /// Of head.
        head: String,
    },
    /// Exchanges with server spans are too few, or not the same share on both sides.
    Coverage {
        /// Share of base.
        base: f64,
        /// Share of head.
        head: f64,
    },
    /// Another share of the exchanges was traced.
    Sampling {
        /// Share of base.
        base: f64,
        /// Share of head.
        head: f64,
    },
    /// Spans came in and were lost.
    SpansLost {
        /// Which run.
        run: String,
        /// Share of those that came.
        share: f64,
    },
}

impl Reason {
    /// Stable name: what `--allow` takes.
    pub const fn name(&self) -> &'static str {
        match self {
            Reason::NoRuns { .. } => "no-runs",
            Reason::SameRun { .. } => "same-run",
            Reason::Unequal { .. } => "unequal",
            Reason::Incomplete { .. } => "incomplete",
            Reason::LoadNotDelivered { .. } => "load-not-delivered",
            Reason::GeneratorBound { .. } => "generator-bound",
            Reason::OtherScenario { .. } => "scenario",
            Reason::OtherLoad { .. } => "load",
            Reason::OtherMachine { .. } => "machine",
            Reason::Coverage { .. } => "coverage",
            Reason::Sampling { .. } => "sampling",
            Reason::SpansLost { .. } => "spans-lost",
        }
    }

    /// Those that can be let pass with `--allow`.
    pub const ALLOWABLE: [&'static str; 9] = [
        "incomplete",
        "load-not-delivered",
        "generator-bound",
        "scenario",
        "load",
        "machine",
        "coverage",
        "sampling",
        "spans-lost",
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_cent = |share: &f64| format!("{:.0} %", 100.0 * share);
        match self {
            Reason::NoRuns { side } => write!(f, "{side} has no run"),
            Reason::SameRun { run } => write!(f, "the run {run} is on both sides"),
            Reason::Unequal { runs: (b, h) } => {
                write!(f, "runs in pairs need as many on each side, and there are {b} and {h}")
            }
            Reason::Incomplete { run } => write!(f, "the run {run} did not end as planned: make it again"),
            Reason::LoadNotDelivered { run, share } => write!(
                f,
                "of the load of {run} only {} was sent: lower the rate until it is delivered",
                per_cent(share)
            ),
            Reason::GeneratorBound { run, what } => {
                write!(
                    f,
                    "in {run} the load generator was the bottleneck ({what}): lower the load, or give it more of the machine"
                )
            }
            Reason::OtherScenario { what } => {
                write!(f, "the sides ran different scenarios ({what}): run both with one file")
            }
            Reason::OtherLoad { what } => write!(f, "the sides had different load: {what}"),
            Reason::OtherMachine { base, head } => write!(
                f,
                "the sides ran on different machines ({base}, and {head}): run both on one machine, in turn"
            ),
            Reason::Coverage { base, head } => write!(
                f,
                "server spans came for {} of the traced requests of base and {} of head, which is no like with like: see the reports' warnings",
                per_cent(base),
                per_cent(head)
            ),
            Reason::Sampling { base, head } => write!(
                f,
                "{} of the requests of base and {} of head were traced: use the same --trace-sample",
                per_cent(base),
                per_cent(head)
            ),
            Reason::SpansLost { run, share } => {
                write!(f, "{} of the spans of {run} were lost", per_cent(share))
            }
        }
    }
}

/// All reasons against a comparison of these runs; of each kind one is enough.
pub(super) fn reasons(base: &[RunSummary], head: &[RunSummary], design: Design) -> Vec<Reason> {
    if let Some(side) = [("base", base), ("head", head)].into_iter().find(|(_, runs)| runs.is_empty()) {
        return vec![Reason::NoRuns { side: side.0 }];
    }
    let mut out = Vec::new();
    // An id has seconds; two runs that are made at once have the same, and started at different milliseconds or with another count.
    let same = |run: &RunSummary| {
        (run.id.clone(), run.started_at, run.telemetry.exchanges, run.telemetry.spans_received)
    };
    let known: BTreeSet<_> = base.iter().filter(|run| !run.id.is_empty()).map(same).collect();
    if let Some(run) = head.iter().find(|run| known.contains(&same(run))) {
        out.push(Reason::SameRun { run: run.id.clone() });
    }
    if design == Design::Paired && base.len() != head.len() {
        out.push(Reason::Unequal { runs: (base.len(), head.len()) });
    }
    let all = || base.iter().chain(head);
    out.extend(all().find(|run| !run.complete).map(|run| Reason::Incomplete { run: run.id.clone() }));
    out.extend(all().find_map(not_delivered));
    out.extend(all().find_map(|run| {
        Some(Reason::GeneratorBound { run: run.id.clone(), what: run.load.generator_bound.clone()? })
    }));
    out.extend(other_scenario(base, head));
    out.extend(other_load(base, head));
    out.extend(other_machine(base, head));
    out.extend(evidence(base, head));
    out.extend(all().find_map(|run| {
        let t = &run.telemetry;
        let share = t.spans_dropped as f64 / t.spans_received.max(1) as f64;
        (share > LOST_MOST).then(|| Reason::SpansLost { run: run.id.clone(), share })
    }));
    out
}

fn not_delivered(run: &RunSummary) -> Option<Reason> {
    let share = run.load.sent as f64 / run.load.offered.max(1) as f64;
    (run.load.open_model && run.load.offered > 0 && share < LOAD_NEEDED)
        .then(|| Reason::LoadNotDelivered { run: run.id.clone(), share })
}

/// A value that differs between any run and the first, with its two values.
fn differs<T: PartialEq>(
    base: &[RunSummary],
    head: &[RunSummary],
    of: impl Fn(&RunSummary) -> Option<T>,
) -> Option<(T, T)> {
    let first = base.iter().chain(head).find_map(&of)?;
    let other = base.iter().chain(head).filter_map(&of).find(|value| *value != first)?;
    Some((first, other))
}

fn other_scenario(base: &[RunSummary], head: &[RunSummary]) -> Option<Reason> {
    if let Some((a, b)) = differs(base, head, |run| run.scenario_digest.clone()) {
        return Some(Reason::OtherScenario { what: format!("digests {a} and {b} of its text") });
    }
    // The name of one URL is its host, which may differ; so names tell only where nothing better does.
    let has_digest = |run: &RunSummary| run.scenario_digest.is_some();
    let name = |run: &RunSummary| (!has_digest(run)).then(|| run.scenario.clone());
    if let Some((a, b)) = differs(base, head, name) {
        return Some(Reason::OtherScenario { what: format!("`{a}` and `{b}`") });
    }
    let steps = |runs: &[RunSummary]| -> BTreeSet<String> {
        runs.iter().flat_map(|run| &run.steps).map(|s| format!("{}/{}", s.journey, s.name)).collect()
    };
    let (b, h) = (steps(base), steps(head));
    let odd = b.symmetric_difference(&h).next()?;
    Some(Reason::OtherScenario { what: format!("only one side has the step {odd}") })
}

fn other_load(base: &[RunSummary], head: &[RunSummary]) -> Option<Reason> {
    let mean = |runs: &[RunSummary], of: &dyn Fn(&RunSummary) -> f64| {
        runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64
    };
    let apart = |what: &str, of: &dyn Fn(&RunSummary) -> f64| {
        let (b, h) = (mean(base, of), mean(head, of));
        let far = (b - h).abs() > LOAD_APART * b.max(h);
        far.then(|| Reason::OtherLoad { what: format!("{what} {b:.1} and {h:.1}") })
    };
    let open = base.iter().chain(head).all(|run| run.load.open_model);
    if let Some((a, _)) = differs(base, head, |run| Some(run.load.open_model)) {
        let (one, other) = if a { ("a rate", "users") } else { ("users", "a rate") };
        return Some(Reason::OtherLoad { what: format!("{one} and {other}") });
    }
    let rate = |run: &RunSummary| run.load.offered as f64 / run.duration_s.max(1e-9);
    let by_rate = open.then(|| apart("requests due per second", &rate)).flatten();
    let users = |run: &RunSummary| f64::from(run.load.users_max);
    let by_users = (!open).then(|| apart("users", &users)).flatten();
    by_rate.or(by_users).or_else(|| apart("seconds of load", &|run| run.duration_s))
}

fn other_machine(base: &[RunSummary], head: &[RunSummary]) -> Option<Reason> {
    let known = |run: &RunSummary| run.environment.is_known().then(|| run.environment.fingerprint());
    let (base, head) = differs(base, head, known)?;
    Some(Reason::OtherMachine { base, head })
}

fn evidence(base: &[RunSummary], head: &[RunSummary]) -> Vec<Reason> {
    let shares = |runs: &[RunSummary], of: fn(&TelemetrySummary) -> f64| {
        let values = || runs.iter().map(|run| of(&run.telemetry));
        (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
    };
    let apart = |a: (f64, f64), b: (f64, f64)| a.1.max(b.1) - a.0.min(b.0) > SHARES_APART;
    let mut out = Vec::new();
    let (b, h) = (shares(base, TelemetrySummary::coverage), shares(head, TelemetrySummary::coverage));
    // No spans at all on either side: the client's latency alone is compared.
    let none = b.1.max(h.1) == 0.0;
    if !none && (apart(b, h) || b.0.min(h.0) < COVERAGE_NEEDED) {
        out.push(Reason::Coverage { base: b.0, head: h.0 });
    }
    let (b, h) = (shares(base, TelemetrySummary::sampling), shares(head, TelemetrySummary::sampling));
    if apart(b, h) {
        out.push(Reason::Sampling { base: b.0, head: h.0 });
    }
    out
}
