//! `run.json`: [`Run`] as a JSON document. The record carries no foreign derives, so the document has types of its own.

use super::search_doc::{ChangesDoc, SearchDoc};
use crate::record::{
    ExportFacts, FetchFacts, GeneratorSample, Host, LoadFacts, Nanos, Propagation, Propagator, ReceiverFacts,
    Run, RunState, SignalFacts, SourceFacts, StepInfo, Timestamp, TraceCost, WaitEnd, WaitFacts,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;

/// Name and version of the format; a change that older readers cannot read raises the number.
const FORMAT: &str = "hotspan.run/1";
const VERSION: u64 = 1;

/// Why a text is not the `run.json` of a run.
pub(super) enum Wrong {
    /// A later version wrote it; its format.
    Newer(String),
    /// It is something else, or damaged.
    Broken(String),
}

pub(super) fn to_json(run: &Run) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&RunDoc::from(run))?;
    text.push(b'\n');
    Ok(text)
}

pub(super) fn from_json(text: &[u8]) -> Result<Run, Wrong> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| Wrong::Broken(format!("run.json is not JSON ({error})")))?;
    let format = value.get("format").and_then(Value::as_str).unwrap_or_default().to_owned();
    match format.strip_prefix("hotspan.run/").and_then(|version| version.parse::<u64>().ok()) {
        None => return Err(Wrong::Broken("run.json does not name the format hotspan.run".into())),
        Some(version) if version > VERSION => return Err(Wrong::Newer(format)),
        Some(_) => {}
    }
    let document: RunDoc = serde_json::from_value(value)
        .map_err(|error| Wrong::Broken(format!("run.json is damaged ({error})")))?;
    Ok(document.into())
}

/// Mirrors a record: the document type, and conversions in both directions, field by field.
macro_rules! mirror {
    ($(#[$meta:meta])* $doc:ident = $record:ident { $($(#[$attr:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Serialize, Deserialize, Default)]
        #[serde(default)]
        struct $doc { $($(#[$attr])* $field: $type),* }
        impl From<&$record> for $doc {
            fn from(record: &$record) -> $doc {
                $doc { $($field: record.$field.clone().into()),* }
            }
        }
        impl From<$doc> for $record {
            fn from(doc: $doc) -> $record {
                $record { $($field: doc.$field.into()),* }
            }
        }
    };
}

mirror!(HostDoc = Host { name: String, os: String, cpu: String, cores: u32 });
mirror!(
    StepDoc = StepInfo { journey: String, name: String, method: String, template: String, checks: Vec<String> }
);
mirror!(
    LoadDoc = LoadFacts {
        open_model: bool,
        planned: Ns,
        offered: u64,
        sent: u64,
        not_sent: u64,
        late: u64,
        users_max: u32,
        iterations: u64,
        cached: u64,
        cpu: Ns,
        threads: u32,
        changes: ChangesDoc,
        search: SearchDoc,
        propagation: PropagationDoc,
        trace_stretch: StretchDoc,
        #[serde(skip)]
        trace_cost: Option<TraceCost>,
        #[serde(skip)]
        generator: Vec<GeneratorSample>,
    }
);
mirror!(
    #[derive(Clone, Copy)]
    SignalDoc = SignalFacts { requests: u64, received: u64, stored: u64, dropped: u64 }
);

impl From<SignalFacts> for SignalDoc {
    fn from(facts: SignalFacts) -> SignalDoc {
        SignalDoc::from(&facts)
    }
}

mirror!(
    ReceiverDoc = ReceiverFacts {
        requests: u64,
        spans_received: u64,
        spans_stored: u64,
        spans_rejected: u64,
        spans_dropped: u64,
        dropped_at_end: u64,
        spans_duplicate: u64,
        bad_requests: u64,
        forwarded: u64,
        forward_dropped: u64,
        forward_waiting: u64,
        metrics: SignalDoc,
        logs: SignalDoc,
    }
);
mirror!(ExportDoc = ExportFacts {
    endpoint: Option<String>,
    spans_offered: u64,
    spans_sent: u64,
    spans_dropped: u64,
    metric_exports: u64,
    last_error: Option<String>,
});

/// Nanoseconds, of an epoch or of a length.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Ns(u64);

impl From<Nanos> for Ns {
    fn from(length: Nanos) -> Ns {
        Ns(length.0)
    }
}

impl From<Ns> for Nanos {
    fn from(ns: Ns) -> Nanos {
        Nanos(ns.0)
    }
}

/// Formats of trace context by their names; W3C's alone where a run of before does not say.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct PropagationDoc(Vec<String>);

impl From<Propagation> for PropagationDoc {
    fn from(propagation: Propagation) -> PropagationDoc {
        PropagationDoc(propagation.propagators().map(|propagator| propagator.name().to_owned()).collect())
    }
}

impl From<PropagationDoc> for Propagation {
    fn from(doc: PropagationDoc) -> Propagation {
        let known = |(name, _): &(&str, Propagator)| doc.0.iter().any(|said| said == name);
        let known = Propagator::NAMES.into_iter().filter(known);
        Propagation::of(known.map(|(_, propagator)| propagator)).unwrap_or_default()
    }
}

/// A length of time, or none.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct StretchDoc(Option<u64>);

impl From<Option<Nanos>> for StretchDoc {
    fn from(stretch: Option<Nanos>) -> StretchDoc {
        StretchDoc(stretch.map(|s| s.0))
    }
}

impl From<StretchDoc> for Option<Nanos> {
    fn from(doc: StretchDoc) -> Option<Nanos> {
        doc.0.map(Nanos)
    }
}

mirror!(FetchDoc = FetchFacts {
    source: String,
    asked: u64,
    found: u64,
    partial: u64,
    partial_reason: Option<String>,
    spans: u64,
    requests: u64,
    retries: u64,
    took: Ns,
    problem: Option<String>,
});

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct SourcesDoc {
    from_traces: bool,
    fetched: Option<FetchDoc>,
    trace_link: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RunDoc {
    format: String,
    id: String,
    name: String,
    started_at_unix_ns: u64,
    #[serde(default)]
    ended_at_unix_ns: Option<u64>,
    #[serde(default)]
    state: StateDoc,
    #[serde(default)]
    target: String,
    #[serde(default)]
    hotspan_version: String,
    #[serde(default)]
    git_commit: Option<String>,
    #[serde(default)]
    host: HostDoc,
    #[serde(default)]
    scenario: String,
    #[serde(default)]
    steps: Vec<StepDoc>,
    #[serde(default)]
    load: LoadDoc,
    #[serde(default)]
    receiver: ReceiverDoc,
    #[serde(default)]
    export: ExportDoc,
    #[serde(default)]
    wait: Option<WaitDoc>,
    #[serde(default)]
    sources: SourcesDoc,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateDoc {
    #[default]
    Running,
    Complete,
    Interrupted,
    Aborted,
}

#[derive(Serialize, Deserialize)]
struct WaitDoc {
    waited: u64,
    end: WaitEndDoc,
    joined: u64,
    traced: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WaitEndDoc {
    Complete,
    Quiet,
    Deadline,
    Interrupted,
}

impl From<&Run> for RunDoc {
    fn from(run: &Run) -> RunDoc {
        RunDoc {
            format: FORMAT.into(),
            id: run.id.clone(),
            name: run.name.clone(),
            started_at_unix_ns: run.started_at.0,
            ended_at_unix_ns: run.ended_at.map(|at| at.0),
            state: match run.state {
                RunState::Running => StateDoc::Running,
                RunState::Complete => StateDoc::Complete,
                RunState::Interrupted => StateDoc::Interrupted,
                RunState::Aborted => StateDoc::Aborted,
            },
            target: run.target.clone(),
            hotspan_version: run.hotspan_version.clone(),
            git_commit: run.git_commit.clone(),
            host: (&run.host).into(),
            scenario: run.scenario.clone(),
            steps: run.steps.iter().map(StepDoc::from).collect(),
            load: (&run.load).into(),
            receiver: (&run.receiver).into(),
            export: (&run.export).into(),
            wait: run.wait.map(|wait| WaitDoc {
                waited: wait.waited.0,
                end: match wait.end {
                    WaitEnd::Complete => WaitEndDoc::Complete,
                    WaitEnd::Quiet => WaitEndDoc::Quiet,
                    WaitEnd::Deadline => WaitEndDoc::Deadline,
                    WaitEnd::Interrupted => WaitEndDoc::Interrupted,
                },
                joined: wait.joined,
                traced: wait.traced,
            }),
            sources: SourcesDoc {
                from_traces: run.sources.from_traces,
                fetched: run.sources.fetched.as_ref().map(FetchDoc::from),
                trace_link: run.sources.trace_link.clone(),
            },
            warnings: run.warnings.clone(),
        }
    }
}

impl From<RunDoc> for Run {
    fn from(doc: RunDoc) -> Run {
        Run {
            id: doc.id,
            name: doc.name,
            started_at: Timestamp(doc.started_at_unix_ns),
            ended_at: doc.ended_at_unix_ns.map(Timestamp),
            state: match doc.state {
                StateDoc::Running => RunState::Running,
                StateDoc::Complete => RunState::Complete,
                StateDoc::Interrupted => RunState::Interrupted,
                StateDoc::Aborted => RunState::Aborted,
            },
            target: doc.target,
            hotspan_version: doc.hotspan_version,
            git_commit: doc.git_commit,
            host: doc.host.into(),
            scenario: doc.scenario,
            steps: doc.steps.into_iter().map(StepInfo::from).collect(),
            load: doc.load.into(),
            receiver: doc.receiver.into(),
            export: doc.export.into(),
            wait: doc.wait.map(|wait| WaitFacts {
                waited: Nanos(wait.waited),
                end: match wait.end {
                    WaitEndDoc::Complete => WaitEnd::Complete,
                    WaitEndDoc::Quiet => WaitEnd::Quiet,
                    WaitEndDoc::Deadline => WaitEnd::Deadline,
                    WaitEndDoc::Interrupted => WaitEnd::Interrupted,
                },
                joined: wait.joined,
                traced: wait.traced,
            }),
            sources: SourceFacts {
                from_traces: doc.sources.from_traces,
                fetched: doc.sources.fetched.map(FetchFacts::from),
                trace_link: doc.sources.trace_link,
            },
            warnings: doc.warnings,
        }
    }
}
