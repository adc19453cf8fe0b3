//! Is a service traced well enough to be blamed fairly? From a few requests and the spans that they left: findings with
//! the fix, each from what was seen and nothing else.
//!
//! No I/O and no clock: `hotspan doctor` makes the requests, `hotspan run` hands over the first ones of its load.

mod calls;
mod context;
mod sketch;
#[cfg(test)]
mod tests;
mod transport;

use crate::record::{Exchange, KeptSpan, Propagation, Propagator, SpanId, Threshold, Timestamp, TraceId};
use sketch::Sketch;
use std::fmt;

/// A request, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its trace.
    pub trace_id: TraceId,
    /// The client's span.
    pub span_id: SpanId,
    /// Whether the service was asked to record it.
    pub sampled: bool,
    /// What hotspan itself rejects by, as its `tracestate` said.
    pub threshold: Threshold,
    /// When it was sent.
    pub start: Timestamp,
    /// When it was answered.
    pub end: Timestamp,
}

impl Probe {
    /// An exchange of a run.
    pub fn of(exchange: &Exchange) -> Probe {
        Probe {
            trace_id: exchange.trace_id,
            span_id: exchange.span_id,
            sampled: exchange.sampled,
            threshold: exchange.threshold,
            start: exchange.phases.sent.unwrap_or(exchange.phases.start),
            end: exchange.phases.end,
        }
    }
}

/// What is examined.
#[derive(Clone, Debug, Default)]
pub struct Exam {
    /// The requests.
    pub probes: Vec<Probe>,
    /// In which formats they carried their context.
    pub sent: Propagation,
    /// Requests with their context in another format alone, made where none of the others was joined.
    pub tried: Vec<(Propagator, Probe)>,
    /// Every span that came, whatever its trace, and when it came (on the client's clock).
    pub spans: Vec<(KeptSpan, Timestamp)>,
    /// Spans that a Collector says it refused or lost meanwhile, by the name of its counter; absent where nobody asked.
    pub collector: Option<Vec<(String, u64)>>,
}

/// What is looked at, in the order of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Do spans come at all?
    Arrival,
    /// Does the service continue the caller's trace?
    Context,
    /// Does it record what it is asked to, and only that?
    Sampling,
    /// Does every hop hand the context on?
    Hops,
    /// Are database calls to be seen, with query text and peer?
    Database,
    /// Are other outgoing calls to be seen, with their peer?
    Calls,
    /// Is anything recorded twice?
    Duplicates,
    /// Do limits of the SDK cut spans?
    Limits,
    /// Do the clocks agree?
    Clocks,
    /// How late do spans come?
    Delay,
    /// Does the Collector lose spans?
    Collector,
}

impl Topic {
    /// Stable name, the key in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Arrival => "arrival",
            Topic::Context => "context",
            Topic::Sampling => "sampling",
            Topic::Hops => "hops",
            Topic::Database => "database",
            Topic::Calls => "calls",
            Topic::Duplicates => "duplicates",
            Topic::Limits => "limits",
            Topic::Clocks => "clocks",
            Topic::Delay => "delay",
            Topic::Collector => "collector",
        }
    }
}

/// How a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should be.
    Good,
    /// Blame holds, with less detail or with something to know.
    Hint,
    /// Blame would be wrong or empty.
    Fault,
}

impl Standing {
    /// Stable name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Good => "good",
            Standing::Hint => "hint",
            Standing::Fault => "fault",
        }
    }
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What it is about.
    pub topic: Topic,
    /// How it stands.
    pub standing: Standing,
    /// What was seen, as a sentence.
    pub seen: String,
    /// What blame will not be able to see because of it; empty where all is well.
    pub blind: String,
    /// What to do; empty where all is well.
    pub fix: String,
}

impl Point {
    fn good(topic: Topic, seen: String) -> Point {
        Point { topic, standing: Standing::Good, seen, blind: String::new(), fix: String::new() }
    }

    fn hint(topic: Topic, seen: String, blind: &str, fix: &str) -> Point {
        Point { topic, standing: Standing::Hint, seen, blind: blind.into(), fix: fix.into() }
    }

    fn fault(topic: Topic, seen: String, blind: &str, fix: &str) -> Point {
        Point { standing: Standing::Fault, ..Point::hint(topic, seen, blind, fix) }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.seen)?;
        for more in [&self.blind, &self.fix] {
            if !more.is_empty() {
                write!(f, " {more}")?;
            }
        }
        Ok(())
    }
}

/// What the doctor says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Requests that asked to be recorded, and those among them that a server span answers.
    pub sampled: usize,
    /// See [`Diagnosis::sampled`].
    pub joined: usize,
    /// Requests that asked not to be recorded.
    pub unsampled: usize,
    /// In which formats they carried their context.
    pub sent: Propagation,
    /// Spans of these requests.
    pub spans: usize,
    /// Services that they came from, sorted.
    pub services: Vec<String>,
    /// What was seen, in the order of [`Topic`].
    pub points: Vec<Point>,
}

impl Diagnosis {
    /// The worst standing of all points; good where there are none.
    pub fn standing(&self) -> Standing {
        self.points.iter().map(|point| point.standing).max().unwrap_or(Standing::Good)
    }
}

/// Looks at requests and their spans.
pub fn examine(exam: &Exam) -> Diagnosis {
    let sketch = Sketch::of(exam);
    let mut diagnosis = Diagnosis {
        sampled: exam.probes.iter().filter(|probe| probe.sampled).count(),
        joined: sketch.joined.len(),
        unsampled: exam.probes.iter().filter(|probe| !probe.sampled).count(),
        sent: exam.sent,
        spans: sketch.ours.len(),
        services: sketch.services(),
        points: Vec::new(),
    };
    let points = &mut diagnosis.points;
    context::arrival(&sketch, points);
    if exam.spans.is_empty() {
        return diagnosis;
    }
    context::continued(&sketch, points);
    context::sampling(&sketch, points);
    if !sketch.ours.is_empty() {
        context::hops(&sketch, points);
        calls::database(&sketch, points);
        calls::outgoing(&sketch, points);
        calls::duplicates(&sketch, points);
        transport::limits(&sketch, points);
        transport::clocks(&sketch, points);
        transport::delay(&sketch, points);
    }
    if let Some(counts) = &exam.collector {
        transport::collector(counts, points);
    }
    points.sort_by_key(|point| point.topic);
    diagnosis
}

/// Whether requests asked to be recorded and none of them has a span: other formats of their context are worth a try.
pub fn is_nothing_joined(exam: &Exam) -> bool {
    exam.probes.iter().any(|probe| probe.sampled) && Sketch::of(exam).joined.is_empty()
}

/// The sentences that a run shows at its start: what blame will not be able to see, without what a report says anyway
/// (that no span came, how many exchanges were joined).
pub fn in_brief(diagnosis: &Diagnosis) -> Vec<String> {
    let told = |point: &&Point| {
        let said_elsewhere = matches!(point.topic, Topic::Arrival | Topic::Clocks | Topic::Delay);
        point.standing != Standing::Good && !said_elsewhere
    };
    diagnosis.points.iter().filter(told).map(ToString::to_string).collect()
}

/// `n` of something, for sentences.
fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// A short list for a sentence: the first three, sorted and each once.
fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    let mut text = names.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
