//! A named problem: which, how bad, whose time it is, how sure.

use super::Contributor;
use crate::record::{Nanos, StepId, TraceId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named problem.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which detector.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// In which step.
    pub step: StepId,
    /// Whose time it is.
    pub contributor: Contributor,
    /// Numbers that show it, by name; times in milliseconds end in `_ms`.
    pub evidence: BTreeMap<&'static str, f64>,
    /// At most so much latency goes away with the cause.
    pub impact: Impact,
    /// How sure.
    pub confidence: Confidence,
    /// Traces to look at.
    pub exemplars: Vec<TraceId>,
    /// What else has the same cause: the other statements of a loop.
    pub related: Vec<Contributor>,
    /// What to change, where it is known to the letter (an index to create); empty elsewhere.
    pub remedy: Arc<str>,
    /// Who holds what is waited for, most first; of a wait for a pool of connections.
    pub holders: Vec<Holder>,
}

/// A page whose requests hold connections of a pool, and what they do meanwhile. Shares are of the time for which they hold them.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The request of a service.
    pub page: Contributor,
    /// How many it holds on average over the run.
    pub held: f64,
    /// Its share of all that are known to be held.
    pub share: f64,
    /// Requests that held one.
    pub requests: u64,
    /// How long each holds one, in milliseconds.
    pub each_ms: f64,
    /// In statements.
    pub statements: f64,
    /// In calls to others.
    pub calls: f64,
    /// In waits that spans name.
    pub waits: f64,
    /// In the service's own code.
    pub own: f64,
    /// The statement that takes most, with its share.
    pub statement: Option<(Contributor, f64)>,
    /// The call that does.
    pub call: Option<(Contributor, f64)>,
}

impl Finding {
    /// A number that shows it, 0 where it has none of that name.
    pub fn number(&self, name: &str) -> f64 {
        self.evidence.get(name).copied().unwrap_or_default()
    }
}

/// Which problem. A closed list; names are stable. docs/findings.md says when each holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The same statement many times in one request, one after the other.
    NPlusOneQuery,
    /// The same call to another service many times in one request, one after the other.
    NPlusOneCall,
    /// The same statement with the same data more than once in one request.
    DuplicateQuery,
    /// One statement takes most of the request.
    SlowQuery,
    /// A statement reads a whole table to find a few rows.
    MissingIndex,
    /// Many different statements in one request.
    ManyQueries,
    /// Calls to different peers, one after the other.
    SequentialCalls,
    /// A peer that sends no spans takes most of the request.
    SlowExternal,
    /// Waiting to be allowed to try again.
    RateLimited,
    /// Failed calls made again and again.
    RetryStorm,
    /// Waiting until a time limit ends it.
    Timeout,
    /// Waiting for a connection of a pool.
    PoolWait,
    /// Waiting for a lock that others hold.
    LockContention,
    /// Other named waiting, or waiting to be taken in that grows with load.
    Queueing,
    /// The service's own code takes most of the request.
    AppCpu,
    /// The service's own code holds up all other requests of its process while it runs.
    EventLoopBlocked,
    /// Pauses in which a runtime collects garbage.
    GcPause,
    /// A runtime's threads, event loop or processors are busy all the time.
    RuntimeSaturation,
    /// Static files are made by the application for each request.
    StaticByApp,
    /// The same question is asked again and again although its answer could be kept.
    Uncached,
    /// A cache that mostly does not have what it is asked for.
    CacheMiss,
    /// Work that is done only after a start.
    ColdStart,
    /// The time between first and last byte of large answers.
    LargePayload,
    /// The same of texts that nobody compressed though the client offered it.
    Uncompressed,
    /// Time that no span covers takes most of the request.
    SlowNetwork,
    /// Opening connections takes most of the request.
    ConnectionChurn,
    /// Errors whose latency differs so much that it hides or makes the slowness.
    ErrorPath,
    /// Many calls to other services in one request.
    ChattyService,
    /// Many calls at the same time, the slowest of which decides.
    FanOut,
    /// One instance of a service is slower than the others.
    SlowInstance,
    /// Clocks of hosts differ so much that the order of spans had to be guessed.
    ClockSkew,
    /// Spans are missing.
    IncompleteTraces,
    /// The load generator was late.
    GeneratorBound,
}

impl FindingKind {
    /// All kinds, in the order of reports.
    pub const ALL: [FindingKind; 33] = [
        FindingKind::NPlusOneQuery,
        FindingKind::NPlusOneCall,
        FindingKind::DuplicateQuery,
        FindingKind::SlowQuery,
        FindingKind::MissingIndex,
        FindingKind::ManyQueries,
        FindingKind::SequentialCalls,
        FindingKind::SlowExternal,
        FindingKind::RateLimited,
        FindingKind::RetryStorm,
        FindingKind::Timeout,
        FindingKind::PoolWait,
        FindingKind::LockContention,
        FindingKind::Queueing,
        FindingKind::AppCpu,
        FindingKind::EventLoopBlocked,
        FindingKind::GcPause,
        FindingKind::RuntimeSaturation,
        FindingKind::StaticByApp,
        FindingKind::Uncached,
        FindingKind::CacheMiss,
        FindingKind::ColdStart,
        FindingKind::LargePayload,
        FindingKind::Uncompressed,
        FindingKind::SlowNetwork,
        FindingKind::ConnectionChurn,
        FindingKind::ErrorPath,
        FindingKind::ChattyService,
        FindingKind::FanOut,
        FindingKind::SlowInstance,
        FindingKind::ClockSkew,
        FindingKind::IncompleteTraces,
        FindingKind::GeneratorBound,
    ];

    /// Stable name, as in `report.json`.
    pub const fn name(self) -> &'static str {
        match self {
            FindingKind::NPlusOneQuery => "n_plus_one_query",
            FindingKind::NPlusOneCall => "n_plus_one_call",
            FindingKind::DuplicateQuery => "duplicate_query",
            FindingKind::SlowQuery => "slow_query",
            FindingKind::MissingIndex => "missing_index",
            FindingKind::ManyQueries => "many_queries",
            FindingKind::SequentialCalls => "sequential_calls",
            FindingKind::SlowExternal => "slow_external",
            FindingKind::RateLimited => "rate_limited",
            FindingKind::RetryStorm => "retry_storm",
            FindingKind::Timeout => "timeout",
            FindingKind::PoolWait => "pool_wait",
            FindingKind::LockContention => "lock_contention",
            FindingKind::Queueing => "queueing",
            FindingKind::AppCpu => "app_cpu",
            FindingKind::EventLoopBlocked => "event_loop_blocked",
            FindingKind::GcPause => "gc_pause",
            FindingKind::RuntimeSaturation => "runtime_saturation",
            FindingKind::StaticByApp => "static_by_app",
            FindingKind::Uncached => "uncached",
            FindingKind::CacheMiss => "cache_miss",
            FindingKind::ColdStart => "cold_start",
            FindingKind::LargePayload => "large_payload",
            FindingKind::Uncompressed => "uncompressed",
            FindingKind::SlowNetwork => "slow_network",
            FindingKind::ConnectionChurn => "connection_churn",
            FindingKind::ErrorPath => "error_path",
            FindingKind::ChattyService => "chatty_service",
            FindingKind::FanOut => "fan_out",
            FindingKind::SlowInstance => "slow_instance",
            FindingKind::ClockSkew => "clock_skew",
            FindingKind::IncompleteTraces => "incomplete_traces",
            FindingKind::GeneratorBound => "generator_bound",
        }
    }

    /// About the evidence, not about the system under test.
    pub const fn is_about_evidence(self) -> bool {
        matches!(self, FindingKind::ClockSkew | FindingKind::IncompleteTraces | FindingKind::GeneratorBound)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth mending.
    Warning,
    /// Most of the latency.
    Critical,
}

/// How sure a finding is, and why not surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Many joined requests show it alike.
    High,
    /// Few requests (their number).
    FewRequests(u64),
    /// Much of the evidence is missing (share joined in per mille).
    PartlyTraced(u32),
    /// The numbers fit, but something that would settle it is not in the spans.
    Inferred(Doubt),
}

/// What would settle a finding, and is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Calls follow each other in time; whether one needs the answer of another, spans do not tell.
    TimingOnly,
    /// Known by the spread of a statement's times; the database's own waits would settle it.
    Spread,
    /// Known by the name of the work.
    NameOnly,
    /// The service records nothing but its own spans, so that its own time may be waiting that nobody recorded.
    OwnTimeOnly,
    /// The tracer of its spans counts that nothing of them ran for most of the time: it waits for what no span records.
    Idle,
    /// The processes of the service hardly ran in this time: it waits for what no span records.
    IdleProcess,
    /// Known by how the time differs between requests.
    Varies,
    /// Few of the step's requests have it: they may be requests of another kind.
    Minority,
    /// Several statements take turns only three or four times: each may be written out by itself, and in no loop.
    FewRounds,
    /// Its quickest calls take little: it may wait for a processor, a lock or another's work.
    Uneven,
    /// It came at the start of the run and never again; whether every start has it, one run does not tell.
    Once,
    /// A cache's misses are known by what is written to it after the look.
    WrittenAfter,
    /// A process does one thing at a time; whether it is an event loop or a worker of one request, its spans do not tell.
    LoopOrWorker,
    /// The client is on the machine of the service, and what waits differs: that is no line.
    NoLine,
    /// A wait for a pool is known by where the service's own time is, in several of its pages.
    BeforeStatements,
    /// A wait for a pool is known by how many requests of a page are beyond their first statement while others wait before it.
    ConnectionsInUse,
    /// Requests of a page end one after the other while their process serves others: there is something of which it has one, and
    /// whether that is a lock, spans do not tell.
    OneByOne,
    /// A wait for a place among few calls is known by how many of them are under way while others wait.
    CallsInFlight,
    /// Calls of a statement end one after the other: there is one lock, connection or worker for all of them, and which, spans do not
    /// tell.
    InTurn,
    /// The machine of the load and the service has no free core: its quickest calls take no more than such waits could make of little.
    BusyMachine,
    /// The time before a service differs between requests, but not with how many are there.
    NotByNumber,
    /// Most of it passes while the answer is under way: a stream takes as long as it has something to say.
    Streamed,
    /// The slow one of several instances takes in more requests than the others, or serves more of the users.
    MoreRequests,
    /// The answer comes slower than a machine carries it to itself: it is made while it is sent.
    MadeAsSent,
    /// It is own time in an event loop that serves others meanwhile: it waits for what no span records, or a thread runs it.
    GivesWay,
    /// The service runs in an event loop, and more of its requests are in its code at once than one loop can serve.
    CrowdedLoop,
}

/// Best-case gain, from the retimed latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impact {
    /// Of the mean.
    pub mean: Nanos,
    /// Of p95.
    pub p95: Nanos,
    /// Of p99.
    pub p99: Nanos,
}

impl Impact {
    /// A part of it.
    pub fn scaled(self, by: f64) -> Impact {
        let scaled = |time: Nanos| Nanos((time.0 as f64 * by) as u64);
        Impact { mean: scaled(self.mean), p95: scaled(self.p95), p99: scaled(self.p99) }
    }
}

impl std::iter::Sum for Impact {
    fn sum<I: Iterator<Item = Impact>>(all: I) -> Impact {
        all.fold(Impact::default(), |mut sum, one| {
            sum.mean += one.mean;
            sum.p95 += one.p95;
            sum.p99 += one.p99;
            sum
        })
    }
}
