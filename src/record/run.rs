//! Facts about one execution: what was asked for, where it ran, what was really offered, what became of the telemetry.

use super::{GeneratorSample, LoadChange, Nanos, Propagation, Search, Timestamp, TraceCost};

/// One execution. Written to the run folder when load starts (state [`RunState::Running`]) and again when it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Folder name: UTC time and scenario name.
    pub id: String,
    /// The scenario's name.
    pub name: String,
    /// When load started: the run's clock anchor.
    pub started_at: Timestamp,
    /// When load ended; absent while it runs or after a crash.
    pub ended_at: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
    /// The target's URL, without secrets.
    pub target: String,
    /// Version of hotspan.
    pub hotspan_version: String,
    /// Git commit of the folder it was started in, where there is one.
    pub git_commit: Option<String>,
    /// The machine that made the load.
    pub host: Host,
    /// The scenario as text (for a URL: the scenario that the URL form stands for), secrets masked.
    pub scenario: String,
    /// All steps, in order; [`super::StepId`] points here.
    pub steps: Vec<StepInfo>,
    /// What load was offered.
    pub load: LoadFacts,
    /// What came in through the receiver.
    pub receiver: ReceiverFacts,
    /// What was sent out over OTLP.
    pub export: ExportFacts,
    /// How the wait for late spans ended.
    pub wait: Option<WaitFacts>,
    /// Where spans came from other than the receiver.
    pub sources: SourceFacts,
    /// Sentences for the report that only the run could know (a taken port, a full disk, …).
    pub warnings: Vec<String>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// Load is running, or the process was killed while it ran.
    #[default]
    Running,
    /// Ended as planned.
    Complete,
    /// Stopped by the user.
    Interrupted,
    /// Stopped because it made no sense to go on (the target died, the disk is full).
    Aborted,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Operating system and kernel.
    pub os: String,
    /// CPU model.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: u32,
}

/// A step's place in the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// The journey that it belongs to.
    pub journey: String,
    /// The step's low-cardinality name.
    pub name: String,
    /// HTTP method; [`StepInfo::GRPC`] or [`StepInfo::WEBSOCKET`] for a step of that kind.
    pub method: String,
    /// URL path template, as in `url.template`; of an RPC its full name, `shop.v1.Catalog/GetProduct`.
    pub template: String,
    /// The names of its checks.
    pub checks: Vec<String>,
}

/// What a step says to the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepKind {
    /// A request over HTTP, server-sent events among them.
    #[default]
    Http,
    /// A call of gRPC; statuses of its exchanges are gRPC's.
    Grpc,
    /// A conversation over a WebSocket.
    WebSocket,
}

impl StepInfo {
    /// What stands in place of the method of a call of gRPC.
    pub const GRPC: &str = "GRPC";
    /// What stands in place of the method of a conversation over a WebSocket.
    pub const WEBSOCKET: &str = "WEBSOCKET";

    /// What the step says to the service.
    pub fn kind(&self) -> StepKind {
        match self.method.as_str() {
            StepInfo::GRPC => StepKind::Grpc,
            StepInfo::WEBSOCKET => StepKind::WebSocket,
            _ => StepKind::Http,
        }
    }
}

/// Load as it was offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadFacts {
    /// Whether arrivals came by a rate (open model) in at least one stage.
    pub open_model: bool,
    /// Seconds of load that the scenario planned.
    pub planned: Nanos,
    /// Requests that were due (open model) or started (closed model).
    pub offered: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Arrivals that were due but never sent.
    pub not_sent: u64,
    /// Exchanges that started more than 5 ms after they were due, and were sent.
    pub late: u64,
    /// Most users; in the open model most requests at once, as an upper bound: each load thread's most, added up.
    pub users_max: u32,
    /// Iterations begun.
    pub iterations: u64,
    /// Requests that users' caches answered: they were never sent and are no exchanges.
    pub cached: u64,
    /// hotspan's own CPU time during the load.
    pub cpu: Nanos,
    /// Cores that load was made on.
    pub threads: u32,
    /// What was changed while it ran, in order.
    pub changes: Vec<LoadChange>,
    /// The search for the capacity, if there was one.
    pub search: Option<Search>,
    /// In which formats each request carried its trace context.
    pub propagation: Propagation,
    /// Where tracing was on and off in turn: how long each.
    pub trace_stretch: Option<Nanos>,
    /// What that showed. Not in `run.json`: it is computed from the exchanges.
    pub trace_cost: Option<TraceCost>,
    /// What the generator saw of itself, second by second. Not in `run.json`: `generator.jsonl` has it.
    pub generator: Vec<GeneratorSample>,
}

/// Where spans came from other than the receiver, and where people can look at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// No load was made: the exchanges stand for the root spans of traces that were recorded otherwise.
    pub from_traces: bool,
    /// What a backend was asked for and gave.
    pub fetched: Option<FetchFacts>,
    /// Template of links to traces: an http or https URL with `{trace_id}` in it.
    pub trace_link: Option<String>,
}

/// What a backend gave when it was asked for the run's traces: `asked = found + missing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchFacts {
    /// Which, without secrets.
    pub source: String,
    /// Traces asked for: those of the sampled exchanges that were sent.
    pub asked: u64,
    /// Traces of which at least one span came.
    pub found: u64,
    /// Traces that the backend gave in part and said so, such as Tempo of those above its limit.
    pub partial: u64,
    /// What it said of the first of them.
    pub partial_reason: Option<String>,
    /// Spans that came.
    pub spans: u64,
    /// Requests made, repeated ones included.
    pub requests: u64,
    /// Requests that were made again because the backend was busy or did not answer.
    pub retries: u64,
    /// From the first request to the last answer, waits for late traces included.
    pub took: Nanos,
    /// Why the last request that failed for good failed.
    pub problem: Option<String>,
}

/// The receiver's ledger: `received = stored + rejected + dropped + duplicate`, for spans; `received = stored + dropped` for
/// metrics and logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverFacts {
    /// Export requests.
    pub requests: u64,
    /// Spans in them.
    pub spans_received: u64,
    /// Spans written to the run folder.
    pub spans_stored: u64,
    /// Spans refused (no valid ids) and reported to the sender as such.
    pub spans_rejected: u64,
    /// Spans that hotspan could not store: not written (disk full), or `dropped_at_end`.
    pub spans_dropped: u64,
    /// Those of them that came when hotspan was ending already.
    pub dropped_at_end: u64,
    /// Spans that had been stored before (their sender had missed the answer); the analysis would drop them.
    pub spans_duplicate: u64,
    /// Requests that were no OTLP at all.
    pub bad_requests: u64,
    /// Spans handed on with `--forward`.
    pub forwarded: u64,
    /// Spans that could not be handed on.
    pub forward_dropped: u64,
    /// Spans that still wait on disk to be handed on.
    pub forward_waiting: u64,
    /// Metrics, in data points.
    pub metrics: SignalFacts,
    /// Logs, in records.
    pub logs: SignalFacts,
}

/// What came in of a signal other than traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalFacts {
    /// Export requests.
    pub requests: u64,
    /// Data points or log records in them.
    pub received: u64,
    /// Those written to the run folder.
    pub stored: u64,
    /// Those that hotspan could not store.
    pub dropped: u64,
}

impl ReceiverFacts {
    /// Spans that came in and of which the ledger does not say what became of them. Always zero when nothing is under
    /// way; anything else is a defect.
    pub fn unaccounted(&self) -> i64 {
        let known = self.spans_stored + self.spans_rejected + self.spans_dropped + self.spans_duplicate;
        self.spans_received as i64 - known as i64
    }
}

/// The exporter's ledger: `offered = sent + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportFacts {
    /// Where client spans went; absent when nothing was exported.
    pub endpoint: Option<String>,
    /// Client spans offered to the exporter.
    pub spans_offered: u64,
    /// Client spans that the peer accepted.
    pub spans_sent: u64,
    /// Client spans lost, refusals included.
    pub spans_dropped: u64,
    /// Metric exports that the peer accepted.
    pub metric_exports: u64,
    /// Why the last failed export failed.
    pub last_error: Option<String>,
}

/// How the wait for late spans ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitFacts {
    /// How long it took.
    pub waited: Nanos,
    /// Why it ended.
    pub end: WaitEnd,
    /// Traced exchanges whose server span had come.
    pub joined: u64,
    /// Traced exchanges that were sent.
    pub traced: u64,
}

/// Why the wait for late spans ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Every traced exchange was joined.
    Complete,
    /// Nothing came for the quiet period.
    Quiet,
    /// The deadline passed while spans still came.
    Deadline,
    /// The user did not want to wait.
    Interrupted,
}
