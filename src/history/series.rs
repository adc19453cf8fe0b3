//! Series of numbers over the runs of one scenario on one machine.

use super::line::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// What a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Median of a step's corrected latency, ms.
    StepP50,
    /// Its 95th percentile, ms.
    StepP95,
    /// Share of a step's exchanges that failed.
    StepErrors,
    /// Own time of an operation on the critical path, for each exchange in which it occurs, ms.
    OperationOwn,
    /// 95th percentile of its duration, ms.
    OperationP95,
    /// Calls in an exchange in which it occurs.
    OperationCalls,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 6] = [
        Measure::StepP50,
        Measure::StepP95,
        Measure::StepErrors,
        Measure::OperationOwn,
        Measure::OperationP95,
        Measure::OperationCalls,
    ];

    /// Stable name, as in files.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::StepP50 => "latency.p50",
            Measure::StepP95 => "latency.p95",
            Measure::StepErrors => "error_rate",
            Measure::OperationOwn => "self.mean",
            Measure::OperationP95 => "duration.p95",
            Measure::OperationCalls => "calls",
        }
    }

    /// The measure of that name.
    pub fn from_name(name: &str) -> Option<Measure> {
        Measure::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it is a time.
    pub fn is_time(self) -> bool {
        !matches!(self, Measure::StepErrors | Measure::OperationCalls)
    }

    /// A value on the scale on which changes are looked for: the logarithm, so that a difference is a ratio; a share as it is.
    pub fn scaled(self, value: f64) -> Option<f64> {
        match self {
            Measure::StepErrors => Some(value),
            _ => (value > 0.0).then(|| value.ln()),
        }
    }

    /// Back from that scale.
    pub fn unscaled(self, value: f64) -> f64 {
        if self == Measure::StepErrors { value.max(0.0) } else { value.exp() }
    }
}

/// Which series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// A journey, or a service.
    pub group: String,
    /// A step, or an operation with its kind.
    pub name: String,
    /// What is measured of it.
    pub measure: Measure,
}

impl SeriesKey {
    /// Name and measure, for people: `SELECT orders (client) self.mean`.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.measure.name())
    }
}

/// One series: a value for each run of its group, where the run has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which.
    pub key: SeriesKey,
    /// Values as measured, by the place of the run in the group.
    pub values: Vec<Option<f64>>,
}

/// Runs whose numbers can be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their scenario.
    pub scenario: String,
    /// Their machine.
    pub machine: String,
    /// Their places in the history, in order.
    pub runs: Vec<usize>,
    /// Their series.
    pub series: Vec<Series>,
}

/// Runs by scenario and machine, those first that were measured last. Doubtful runs are in no group.
pub fn groups(entries: &[Entry]) -> Vec<Group> {
    let mut by: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (i, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.doubt.is_none()) {
        by.entry((&entry.scenario, &entry.machine)).or_default().push(i);
    }
    let mut all: Vec<Group> = by
        .into_iter()
        .map(|((scenario, machine), runs)| {
            let keys: BTreeSet<&SeriesKey> =
                runs.iter().flat_map(|run| entries[*run].values.keys()).collect();
            let series = keys
                .into_iter()
                .map(|key| Series {
                    key: key.clone(),
                    values: runs.iter().map(|run| entries[*run].values.get(key).copied()).collect(),
                })
                .collect();
            Group { scenario: scenario.to_owned(), machine: machine.to_owned(), runs, series }
        })
        .collect();
    all.sort_by_key(|group| std::cmp::Reverse(group.runs.last().copied()));
    all
}
