//! What the analysis says about load: the run over time, its load levels, what limits, and the services as a whole.

use super::{ByCategory, Contributor};
use crate::record::{Nanos, StepId, Timestamp};
use crate::stats::Quantiles;
use std::sync::Arc;

/// The run in slices of the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// When the first slice begins.
    pub start: Timestamp,
    /// How long each is.
    pub width: Nanos,
    /// The slices, in order.
    pub slices: Vec<Slice>,
    /// The contributors with most time, largest first; for each as many slices as the run has.
    pub contributors: Vec<(Contributor, Vec<PartSlice>)>,
}

/// One slice of the run. All but `done` and `busy` is about the exchanges that were due in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Exchanges that were due.
    pub started: u64,
    /// Exchanges that ended.
    pub done: u64,
    /// Their corrected latency.
    pub latency: Nanos,
    /// Time of all exchanges within the slice: divided by its width the mean number under way.
    pub busy: Nanos,
    /// Virtual users: in a closed model those who are there, else those with an exchange under way.
    pub users: u32,
    /// Exchanges that the categories stand for.
    pub weight: u64,
    /// Where the latency went.
    pub categories: ByCategory,
}

/// One contributor in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartSlice {
    /// Exchanges in which it had time on the critical path.
    pub exchanges: u64,
    /// That time.
    pub time: Nanos,
    /// Calls of it.
    pub calls: u64,
    /// How long the calls took: divided by the slice's width the mean number of them under way.
    pub call_time: Nanos,
}

/// One service over all exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceResult {
    /// Spans that it sent.
    pub spans: u64,
    /// Exchanges that it took part in.
    pub exchanges: u64,
    /// Its own code's time on the critical path.
    pub own: Nanos,
    /// Time on the critical path between its callers (the client too) and it.
    pub network_in: Nanos,
    /// Time on the critical path between it and the traced services that it calls.
    pub network_out: Nanos,
}

/// A number with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How latency and throughput go with load. What the run does not carry is absent, and `doubts` say why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saturation {
    /// Load levels, lightest first; one only where the load did not change.
    pub levels: Vec<Level>,
    /// The highest throughput, per second.
    pub capacity_per_s: Option<Range>,
    /// Whether the capacity was seen (throughput no longer grew), not extrapolated.
    pub capacity_seen: bool,
    /// The throughput at which latency is twice what it is at the lightest load: the knee of a single queue (Kleinrock).
    pub knee_per_s: Option<Range>,
    /// The Universal Scalability Law's contention and coherency, where it could be fitted.
    pub scalability: Option<(Range, Range)>,
    /// Whose time grew most from the lightest load to the heaviest.
    pub limiting: Option<Limiting>,
    /// Requests of a start-up phase that was slower than the rest: how long it was.
    pub warm_up: Option<Nanos>,
    /// Latency that grows (or falls) at the same load.
    pub drift: Option<Drift>,
    /// What became of latency when the load went down again.
    pub recovery: Option<Recovery>,
    /// What cannot be told from this run.
    pub doubts: Vec<Doubt>,
}

/// One load level: all slices of the run with about the same load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    /// Slices in it.
    pub slices: usize,
    /// How long they are together.
    pub duration: Nanos,
    /// Exchanges that were due.
    pub exchanges: u64,
    /// Virtual users (mean over the slices); 0 in an open model.
    pub users: f64,
    /// Exchanges due per second.
    pub offered_per_s: f64,
    /// Exchanges that ended per second.
    pub achieved_per_s: f64,
    /// Exchanges under way at once (mean).
    pub concurrency: f64,
    /// Mean corrected latency in milliseconds.
    pub mean_ms: f64,
    /// Where it went, in milliseconds per exchange.
    pub categories_ms: [f64; 12],
    /// The contributors with most time in the whole run.
    pub parts: Vec<LevelPart>,
}

/// A contributor at one load level.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelPart {
    /// Who.
    pub contributor: Contributor,
    /// Time on the critical path per exchange, in milliseconds.
    pub mean_ms: f64,
    /// Calls per exchange.
    pub calls_per_exchange: f64,
    /// How long one call takes, in milliseconds; 0 where there are none.
    pub call_ms: f64,
    /// Calls under way at once (mean), by Little's law: call rate times length.
    pub busy: f64,
}

/// Whose time grew most with load.
#[derive(Clone, Debug, PartialEq)]
pub struct Limiting {
    /// Who.
    pub contributor: Contributor,
    /// Its time per exchange at the lightest and at the heaviest load, in milliseconds.
    pub mean_ms: (f64, f64),
    /// Its part of the growth of the mean latency.
    pub share_of_growth: f64,
    /// Index of the first level at which it had grown.
    pub from_level: usize,
}

/// Latency that moves at the same load.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Change of the mean latency, in milliseconds per minute.
    pub ms_per_minute: f64,
    /// Change over the whole run as a share of the median.
    pub share: f64,
    /// Probability of so clear a trend by chance.
    pub p: f64,
    /// The contributor that moved most in the same direction.
    pub contributor: Option<Contributor>,
}

/// What became of latency when a peak was over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recovery {
    /// It was back within a fifth of what it was before, after so long.
    After(Nanos),
    /// It was not, for so long as the run went on.
    NotWithin(Nanos),
}

/// What cannot be told about load, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Too few requests or too short a run.
    TooShort,
    /// The load was the same all the time.
    OneLevel,
    /// Throughput still grew in step with load: the capacity lies beyond what was offered.
    NotReached,
    /// Throughput bends, but where it would end the points do not tell.
    WideInterval,
    /// Latency did not double within the load that was offered.
    NoKnee,
    /// Latency did not grow with load.
    NoGrowth,
    /// Latency grew, and no single contributor's time with it.
    Spread,
}

/// What would be left of latency with one imagined change.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIfResult {
    /// The change as it was written.
    pub text: String,
    /// Contributors that it is about, at most twenty; none where it matches nothing in this run.
    pub matched: Vec<Contributor>,
    /// Each step with exchanges.
    pub steps: Vec<WhatIfStep>,
}

/// An imagined change in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIfStep {
    /// Which.
    pub step: StepId,
    /// Exchanges that get shorter by it.
    pub touched: u64,
    /// Latency as it was.
    pub before: Quantiles,
    /// Latency with the change, all else as it was: what waited for a turn waits as long.
    pub after: Quantiles,
    /// Latency where the waits get shorter with the work, as in the queue of a single server; absent where hardly any time was
    /// waiting.
    pub best: Option<Quantiles>,
    /// Share of the latency that was waiting for a turn.
    pub queued_share: f64,
}

/// The traces of a step that hold the same kinds of work about as often.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeResult {
    /// Its stable name; absent for the rest of all shapes together.
    pub hash: Option<u64>,
    /// Exchanges with it.
    pub exchanges: u64,
    /// Those of them beyond the step's p90.
    pub slow: u64,
    /// Their corrected latency.
    pub latency_sum: Nanos,
    /// Where it differs from the commonest shape: calls there and here, to the power of two below.
    pub differs: Vec<(Contributor, u32, u32)>,
}

/// Something that some exchanges of a step have and others have not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The shape of its trace.
    Shape(u64),
    /// HTTP status, 0 where none was seen.
    Status(u16),
    /// Whether a connection was opened for it: `new` or `reused`.
    Connection(Arc<str>),
    /// An instance of a service had part in it: service, instance.
    Instance(Arc<str>, Arc<str>),
    /// A span of this service and operation had an error status.
    Error(Arc<str>, Arc<str>),
    /// A process of a service that says this of itself had part in it: service, attribute, value.
    Process(Arc<str>, Arc<str>, Arc<str>),
    /// The virtual user that made it.
    User(u32),
    /// What was asked for: the URL, with the data in it.
    Url(Arc<str>),
    /// A span of a service has an attribute that no convention defines: service, attribute, value.
    Attribute(Arc<str>, Arc<str>, Arc<str>),
}

/// A feature that goes with slow exchanges.
#[derive(Clone, Debug, PartialEq)]
pub struct Association {
    /// Which.
    pub feature: Feature,
    /// Exchanges with it.
    pub exchanges: u64,
    /// Those of them beyond the step's p90.
    pub slow: u64,
    /// Share of slow ones among the exchanges without it.
    pub slow_share_without: f64,
    /// Share of all slow ones that have it.
    pub covers: f64,
    /// Correlation of having it and being slow (φ), 0..=1.
    pub correlation: f64,
    /// Probability of so much by chance, corrected for the number of candidates.
    pub p: f64,
}

/// What spans should say and do not, in sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Database calls.
    pub database: u64,
    /// Those of them that name neither statement nor operation.
    pub without_statement: u64,
    /// Calls to peers that send no spans.
    pub external: u64,
    /// Those of them that do not say to whom.
    pub without_peer: u64,
    /// Exchanges in whose trace the parent of a span never came.
    pub incomplete: u64,
}

impl Gaps {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Gaps) {
        self.database += other.database;
        self.without_statement += other.without_statement;
        self.external += other.external;
        self.without_peer += other.without_peer;
        self.incomplete += other.incomplete;
    }
}

/// Where time went that spans cannot divide further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opaque {
    /// In a service that records one span a request, whatever it does inside.
    Service,
    /// Before the service's first span began, or after its last: a proxy, an accept queue, a middleware, or the wire.
    Outside,
}
