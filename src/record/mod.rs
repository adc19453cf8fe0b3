//! Plain data that every room shares: what the client saw ([`Exchange`]), what a server said ([`Span`], [`MetricPoint`],
//! [`LogLine`]), what was run ([`Run`]), ids and time.
//!
//! No I/O, no foreign derives, nothing that can fail except parsing a text.

mod calendar;
mod causes;
mod exchange;
mod generator;
mod id;
mod kept_span;
mod log;
mod messages;
mod metric;
mod partition;
mod propagation;
mod retry_after;
mod rpc;
mod run;
mod sampling;
mod search;
mod sink;
mod span;
mod time;
mod trace_cost;

pub use calendar::{date_of_day, day_of_date};
pub use causes::with_causes;
pub use exchange::{CheckFailure, Exchange, Failure, FailureClass, Outcome, Phases, Protocol};
pub use generator::{GeneratorLimit, GeneratorSample, ServiceSample, busy_machine, generator_limit};
pub use id::{IdError, SpanId, StepId, TraceContext, TraceId};
pub use kept_span::KeptSpan;
pub use log::LogLine;
pub use messages::Messages;
pub use metric::{Bucket, Distribution, MetricPoint, MetricValue, SumsSince};
pub use partition::Partition;
pub use propagation::{ContextField, Propagation, Propagator, Traceparent};
pub use retry_after::retry_after;
pub use rpc::{GRPC_STATUSES, grpc_status_name};
pub use run::{
    ExportFacts, FetchFacts, Host, LoadFacts, ReceiverFacts, Run, RunState, SignalFacts, SourceFacts,
    StepInfo, StepKind, WaitEnd, WaitFacts,
};
pub use sampling::Threshold;
pub use search::{LoadChange, Probe, Search};
pub use sink::{BareSpan, SpanSink};
pub use span::{Attribute, Event, Link, Resource, Scope, Span, SpanKind, Status, Value};
pub use time::{Nanos, Timestamp};
pub use trace_cost::{Ratio, TraceCost};
