//! What the analysis gives: plain numbers and enums. Wording lives in `report`.
//!
//! Conservation law: every nanosecond sum below comes from segments that are disjoint and that sum, exchange by exchange,
//! to the corrected latency exactly. So for each step `latency_sum == Σ categories == Σ contributors`, in each band too.

use crate::record::{FailureClass, GeneratorLimit, Nanos, SpanKind, StepId, Timestamp, TraceId};
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

mod finding;
mod load;
mod pictures;

pub use finding::{Confidence, Doubt, Finding, FindingKind, Holder, Impact, Severity};
pub use load::{
    Association, Doubt as LoadDoubt, Drift, Feature, Gaps, Level, LevelPart, Limiting, Opaque, PartSlice,
    Range, Recovery, Saturation, ServiceResult, ShapeResult, Slice, Timeline, WhatIfResult, WhatIfStep,
};
pub use pictures::{
    FlameNode, Pictures, Sampled, SpanMarks, StepPicture, StepSlice, TraceTree, TreeSpan, Way, bucket_start,
    latency_bucket,
};

/// The kind of owner of a segment of latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Schedule delay: the load generator was late.
    Generator,
    /// DNS, TCP connect, TLS handshake.
    Connection,
    /// Between client and server, or between two traced services, covered by no span.
    Network,
    /// Waiting that a span or attribute names.
    Queue,
    /// Self time of a traced service's own spans.
    App,
    /// A database call.
    Database,
    /// A cache call.
    Cache,
    /// A search engine call.
    Search,
    /// A messaging call.
    Messaging,
    /// A call to a peer that sends no spans.
    External,
    /// First byte to last byte of the answer, less what server spans cover.
    Transfer,
    /// Waiting for a server that sent no span for this exchange.
    Untraced,
}

impl Category {
    /// All categories, in the order of reports.
    pub const ALL: [Category; 12] = [
        Category::Generator,
        Category::Connection,
        Category::Network,
        Category::Queue,
        Category::App,
        Category::Database,
        Category::Cache,
        Category::Search,
        Category::Messaging,
        Category::External,
        Category::Transfer,
        Category::Untraced,
    ];

    /// Stable name: the key in `report.json`, thresholds and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Generator => "generator",
            Category::Connection => "connection",
            Category::Network => "network",
            Category::Queue => "queue",
            Category::App => "app",
            Category::Database => "database",
            Category::Cache => "cache",
            Category::Search => "search",
            Category::Messaging => "messaging",
            Category::External => "external",
            Category::Transfer => "transfer",
            Category::Untraced => "untraced",
        }
    }

    /// The category of that name.
    pub fn from_name(name: &str) -> Option<Category> {
        Category::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// Nanoseconds by category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCategory(pub [u64; 12]);

impl ByCategory {
    /// Sum of one category.
    pub fn get(&self, category: Category) -> Nanos {
        Nanos(self.0[category as usize])
    }

    /// Adds to one category.
    pub fn add(&mut self, category: Category, time: Nanos) {
        self.0[category as usize] += time.0;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &ByCategory) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Sum of all categories.
    pub fn total(&self) -> Nanos {
        Nanos(self.0.iter().sum())
    }
}

/// The owner of segments: stable over requests, runs and machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contributor {
    /// Kind of owner.
    pub category: Category,
    /// The service whose span it is (for `network`: the caller); empty for the client's own categories.
    pub service: Arc<str>,
    /// Database, cache or messaging system, or protocol (`postgresql`, `redis`, `http`); empty where there is none.
    pub system: Arc<str>,
    /// Normalised statement, key pattern, destination, host and route, or operation.
    pub name: Arc<str>,
    /// Where in the code, when a span says so: `file:line` or a function name; empty where unknown.
    pub code: Arc<str>,
}

impl Contributor {
    /// Whether it is the same work, wherever in the code.
    pub fn is_same_work(&self, other: &Contributor) -> bool {
        (self.category, &self.service, &self.system, &self.name)
            == (other.category, &other.service, &other.system, &other.name)
    }
}

/// Latency bands of a step: up to the median, up to p90, up to p99, above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// ≤ p50.
    Typical,
    /// p50–p90.
    Above,
    /// p90–p99.
    Slow,
    /// > p99.
    Worst,
}

impl Band {
    /// All bands, fastest first.
    pub const ALL: [Band; 4] = [Band::Typical, Band::Above, Band::Slow, Band::Worst];
}

/// Everything that one analysis found.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// How complete the evidence is.
    pub telemetry: Telemetry,
    /// What load was achieved.
    pub load: LoadResult,
    /// One entry for each step of the run, in the run's order; steps without exchanges too.
    pub steps: Vec<StepResult>,
    /// All steps together.
    pub categories: ByCategory,
    /// Server operations over all exchanges, largest own time first.
    pub operations: Vec<Operation>,
    /// Services that sent spans.
    pub services: BTreeMap<Arc<str>, ServiceResult>,
    /// The run over time.
    pub timeline: Timeline,
    /// The ways between services, most time first.
    pub ways: Vec<Way>,
    /// What else pictures are drawn from.
    pub pictures: Pictures,
    /// How latency and throughput go with load.
    pub saturation: Saturation,
    /// What would be left with the changes that were asked about, in that order.
    pub what_if: Vec<WhatIfResult>,
    /// Named problems, worst first. Empty for a healthy system.
    pub findings: Vec<Finding>,
    /// The answer in one value.
    pub verdict: Verdict,
    /// What had to be repaired or doubted.
    pub notes: Vec<Note>,
}

/// How complete the evidence is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Exchanges analysed.
    pub exchanges: u64,
    /// Exchanges that were sent with the sampled flag.
    pub traced: u64,
    /// Exchanges with at least one server span.
    pub joined: u64,
    /// Server spans read.
    pub spans: u64,
    /// Spans of traces that are not of this run.
    pub spans_foreign: u64,
    /// Spans that came twice.
    pub duplicates: u64,
    /// Spans whose parent never came, joined at the nearest known ancestor.
    pub orphans: u64,
    /// Children clipped to their parent.
    pub clipped: u64,
    /// Time of children after their parent's end, never on the path.
    pub async_tail: Nanos,
    /// Spans of which the start is known to the millisecond only, put where they can have been.
    pub coarse_starts: u64,
    /// Server spans moved because their clock disagrees with their caller's.
    pub shifted: u64,
    /// Largest such move.
    pub clock_skew_max: Nanos,
    /// Time of joined exchanges that server spans cover, over their time from sent to end.
    pub covered: Nanos,
    /// The denominator of that share.
    pub coverable: Nanos,
    /// What spans should say and do not.
    pub gaps: Gaps,
    /// Services that sent spans, with their span counts.
    pub services: BTreeMap<Arc<str>, u64>,
}

impl Telemetry {
    /// Share of traced exchanges that were joined, 0..=1; 0 where none was traced.
    pub fn coverage(&self) -> f64 {
        if self.traced == 0 { 0.0 } else { self.joined as f64 / self.traced as f64 }
    }
}

/// Load as the exchanges show it.
#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    /// First intended start to last end.
    pub duration: Nanos,
    /// Schedule delay of all exchanges that were sent.
    pub schedule_delay: Histogram,
}

/// One step.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Which.
    pub step: StepId,
    /// Exchanges, failures included.
    pub exchanges: u64,
    /// Exchanges that failed or whose status check did not hold.
    pub errors: u64,
    /// Exchanges with any failed check.
    pub checks_failed: u64,
    /// Exchanges whose checks were made: those that were answered, less those that were followed elsewhere.
    pub checked: u64,
    /// Bytes of the answers' bodies as they came.
    pub bytes_received: u64,
    /// Bytes that those became that were decompressed.
    pub bytes_decoded: u64,
    /// Exchanges with at least one server span.
    pub joined: u64,
    /// For how many exchanges those stand: more than `joined` where only a sample was recorded.
    pub joined_weight: u64,
    /// From the intended start.
    pub latency: Histogram,
    /// From the actual start.
    pub service_time: Histogram,
    /// Sum of corrected latency.
    pub latency_sum: Nanos,
    /// By band.
    pub bands: [BandResult; 4],
    /// Over all bands.
    pub categories: ByCategory,
    /// Who spent the time, largest total first; sums to `latency_sum`.
    pub contributors: Vec<ContributorResult>,
    /// HTTP statuses seen.
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by class, with the commonest message.
    pub failures: BTreeMap<FailureClass, (u64, Arc<str>)>,
    /// Failed checks by name, with one example of what was seen.
    pub checks: BTreeMap<Arc<str>, (u64, Arc<str>)>,
    /// Why its exchanges failed, in the words of the server's spans, commonest first.
    pub reasons: Vec<Reason>,
    /// Typical, slow and worst exchange, where there are any.
    pub exemplars: Vec<Exemplar>,
    /// Shapes of its traces, commonest first.
    pub shapes: Vec<ShapeResult>,
    /// What goes with its slow exchanges, strongest first.
    pub associations: Vec<Association>,
    /// What was said within its exchanges, where they carry more than a request and its answer.
    pub messages: Option<MessageResult>,
}

/// Why exchanges failed, in the words of a server's span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What the span is: the innermost that tells of this failure.
    pub contributor: Contributor,
    /// Type and message of its exception, else the message of its status, else its `error.type`; numbers and quoted texts are `?`.
    pub words: Arc<str>,
    /// Failed exchanges that it is told of, weighted as all that comes from spans.
    pub exchanges: u64,
    /// A trace of one of them.
    pub trace_id: TraceId,
}

/// What was said within a step's exchanges: streams of gRPC, conversations, events.
#[derive(Clone, Debug)]
pub struct MessageResult {
    /// Exchanges with messages.
    pub exchanges: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages or events received.
    pub received: u64,
    /// From sending the request to the first of them, by exchange.
    pub first: Histogram,
    /// The longest time between two of one exchange.
    pub longest_gap: Nanos,
    /// Messages whose answer was waited for and came: how many, the mean time and the longest.
    pub round_trips: Option<(u64, Nanos, Nanos)>,
}

/// One latency band of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandResult {
    /// Exchanges in it.
    pub exchanges: u64,
    /// Their corrected latency.
    pub latency_sum: Nanos,
    /// Where it went.
    pub categories: ByCategory,
}

/// One contributor of one step.
#[derive(Clone, Debug)]
pub struct ContributorResult {
    /// Who.
    pub contributor: Contributor,
    /// Spans of it in the step's traces, on the critical path or not (0 where segments come from no span).
    pub calls: u64,
    /// Exchanges of the step in which it owned time.
    pub exchanges: u64,
    /// Time on the critical path.
    pub total: Nanos,
    /// The same by band.
    pub bands: [Nanos; 4],
    /// Duration of its spans, each call once.
    pub call_duration: Histogram,
    /// Latency of every exchange of the step without this contributor's time: the best that removing it could reach.
    pub without: Histogram,
}

/// A server operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its service.
    pub service: Arc<str>,
    /// Its span name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: SpanKind,
    /// What its own time counts as.
    pub category: Category,
    /// Spans.
    pub calls: u64,
    /// Spans with an error status.
    pub errors: u64,
    /// Exchanges in which it occurs.
    pub exchanges: u64,
    /// Duration of its spans.
    pub duration: Histogram,
    /// Its own time on the critical path.
    pub own: Nanos,
    /// The same by exchange in which it had any.
    pub own_each: Histogram,
}

/// A request to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Why it was chosen.
    pub role: ExemplarRole,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its corrected latency.
    pub latency: Nanos,
    /// When it was due.
    pub at: Timestamp,
    /// Whether server spans were joined.
    pub joined: bool,
}

/// Why an exemplar was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExemplarRole {
    /// Nearest to the median.
    Typical,
    /// Nearest to p95.
    Slow,
    /// The slowest.
    Worst,
}

/// The answer in one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// No exchange at all.
    NoData,
    /// The load generator itself was late: numbers are not to be trusted (share of latency).
    GeneratorBound(f64),
    /// Most exchanges failed.
    Failing {
        /// The worst step.
        step: StepId,
        /// Its commonest failure, if it was one.
        class: Option<FailureClass>,
        /// Its commonest HTTP error status, if it was one.
        status: Option<u16>,
    },
    /// No server span was joined: only the client's side is known.
    Untraced {
        /// The slowest step.
        step: StepId,
    },
    /// A step is slow because of this finding (index into `findings`).
    Bottleneck(usize),
    /// Nothing stands out.
    Healthy {
        /// The slowest step.
        step: StepId,
    },
}

/// Something that had to be repaired, or that makes numbers doubtful.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// Few of the traced exchanges have server spans.
    LowCoverage {
        /// Joined.
        joined: u64,
        /// Traced.
        traced: u64,
    },
    /// Spans without a known parent.
    Orphans(u64),
    /// Spans that came twice.
    Duplicates(u64),
    /// Spans of other traces.
    Foreign(u64),
    /// Spans moved to fit their caller.
    ClockSkew {
        /// How many.
        spans: u64,
        /// The largest move.
        max: Nanos,
    },
    /// Spans whose end is before their start.
    NegativeDuration(u64),
    /// Traces whose parents form a circle; the circle was cut.
    Cycles(u64),
    /// The generator was late.
    GeneratorLate {
        /// Share of the latency.
        share: f64,
    },
    /// The machine that made the load was at its limit.
    GeneratorLimited(GeneratorLimit),
    /// The machine that made the load, and maybe runs the service, had no free core.
    BusyMachine {
        /// Share of the time in which the generator wanted a core that it waited for one.
        share: f64,
    },
    /// SDK limits dropped attributes, events or links.
    SdkDropped(u64),
    /// Most of a slow step's time is where spans cannot tell what it is.
    NotIdentifiable {
        /// The step that loses most to it.
        step: StepId,
        /// Other steps of which it is so.
        others: u64,
        /// The service; the one reached first where the time is outside of it.
        service: Arc<str>,
        /// Where.
        place: Opaque,
        /// Its share of the step's latency.
        share: f64,
    },
    /// Sampled spans whose probability is unknown or below one: averages may be biased.
    Sampling {
        /// Spans with a known probability below one.
        known: u64,
        /// Spans of traces that hotspan asked to be recorded, yet sampled by someone else's unknown rule.
        unknown: u64,
    },
}
