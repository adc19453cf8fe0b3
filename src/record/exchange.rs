//! One request and its answer as the client saw it.

use super::{Messages, Nanos, SpanId, StepId, Threshold, Timestamp, TraceId};
use std::sync::Arc;

/// One request and its answer, failures included: complete, so that every aggregate can be computed again.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The trace that the request was sent in.
    pub trace_id: TraceId,
    /// hotspan's own client span; the `traceparent` carried exactly this id.
    pub span_id: SpanId,
    /// Whether the server was asked to record.
    pub sampled: bool,
    /// The rejection threshold by which that was decided; it also went out in `tracestate`. [`Threshold::ALWAYS`] with
    /// `sampled` unset: nothing was decided, nobody was to record.
    pub threshold: Threshold,
    /// Which step of which journey.
    pub step: StepId,
    /// The virtual user, counted from 0 over the whole run.
    pub user: u32,
    /// That user's walk, counted from 0.
    pub iteration: u32,
    /// When the request was due by the schedule alone.
    pub intended: Timestamp,
    /// When its parts happened.
    pub phases: Phases,
    /// What came of it.
    pub outcome: Outcome,
    /// Checks that did not hold; empty when all held.
    pub checks_failed: Vec<CheckFailure>,
    /// Bytes of the request as written to the socket, head and body (0 when nothing was written).
    pub bytes_sent: u64,
    /// Bytes of the answer's body as received, before decompression.
    pub bytes_received: u64,
    /// Bytes that the body became when it was decompressed, where it was; as many as were received where a text came as it is
    /// although compression was offered (see [`Exchange::came_uncompressed`]).
    pub bytes_decoded: Option<u64>,
    /// Whether its answer pointed elsewhere and was followed: no checks were made, the next exchange goes on.
    pub followed: bool,
    /// Whether an open connection was used again.
    pub connection_reused: bool,
    /// Protocol that carried it.
    pub protocol: Protocol,
    /// Full URL with user info and secret query values removed.
    pub url: Arc<str>,
    /// The `Server-Timing` header of the answer, if it had one (cut at 1,024 bytes): the server's own account.
    pub server_timing: Option<Arc<str>>,
    /// What was said within it, where it is more than a request and its answer.
    pub messages: Option<Box<Messages>>,
}

/// Moments of one exchange. Each is at or after the one before it; an absent one did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Actual start: the first thing done for this request. Never before [`Exchange::intended`].
    pub start: Timestamp,
    /// Name resolved (only when this exchange opened a connection by name).
    pub resolved: Option<Timestamp>,
    /// TCP connected (only when this exchange opened a connection).
    pub connected: Option<Timestamp>,
    /// TLS handshake done (only when this exchange opened a TLS connection).
    pub tls_done: Option<Timestamp>,
    /// The connection was ready and the request was handed to it.
    pub sent: Option<Timestamp>,
    /// Head of the answer seen.
    pub first_byte: Option<Timestamp>,
    /// Last byte of the answer, or the moment of the failure.
    pub end: Timestamp,
}

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An answer arrived whole, with this status: of HTTP; of gRPC for a step of that kind (0 is its `OK`); 0 where the
    /// protocol has none.
    Answered(u16),
    /// No whole answer; `status` is known where the head had arrived.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// Status of a head that had arrived before the failure.
        status: Option<u16>,
    },
}

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The class: few, stable, countable.
    pub class: FailureClass,
    /// The system's or library's words, shared between exchanges that failed alike.
    pub message: Arc<str>,
}

/// Classes of failure, in the order in which they can happen to a request. The names are `error.type` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// The request could not be made from its template.
    Template,
    /// The name did not resolve.
    Dns,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection within the limit.
    ConnectTimeout,
    /// Any other failure to connect (no route, no local port left, …).
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The peer closed or reset the connection while the request was written or awaited.
    Reset,
    /// No answer within the limit.
    Timeout,
    /// What came back is not HTTP, or breaks its rules.
    InvalidResponse,
    /// The body ended before its announced length.
    BodyTruncated,
    /// The run ended before the request was sent.
    NotSent,
    /// The run was stopped while the request was under way.
    Cancelled,
}

impl FailureClass {
    /// All classes, for tables and tests.
    pub const ALL: [FailureClass; 12] = [
        FailureClass::Template,
        FailureClass::Dns,
        FailureClass::ConnectRefused,
        FailureClass::ConnectTimeout,
        FailureClass::Connect,
        FailureClass::Tls,
        FailureClass::Reset,
        FailureClass::Timeout,
        FailureClass::InvalidResponse,
        FailureClass::BodyTruncated,
        FailureClass::NotSent,
        FailureClass::Cancelled,
    ];

    /// Stable name, used as `error.type` and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            FailureClass::Template => "template",
            FailureClass::Dns => "dns",
            FailureClass::ConnectRefused => "connect_refused",
            FailureClass::ConnectTimeout => "connect_timeout",
            FailureClass::Connect => "connect",
            FailureClass::Tls => "tls",
            FailureClass::Reset => "reset",
            FailureClass::Timeout => "timeout",
            FailureClass::InvalidResponse => "invalid_response",
            FailureClass::BodyTruncated => "body_truncated",
            FailureClass::NotSent => "not_sent",
            FailureClass::Cancelled => "cancelled",
        }
    }
}

/// A check that did not hold for this exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckFailure {
    /// The check as the scenario names it, e.g. `status` or `json $.price > 0`.
    pub check: Arc<str>,
    /// What was seen instead.
    pub seen: Arc<str>,
}

/// Application protocol of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

impl Exchange {
    /// Whether its answer is a text that was not compressed, though the request offered that.
    pub fn came_uncompressed(&self) -> bool {
        self.bytes_received > 0 && self.bytes_decoded == Some(self.bytes_received)
    }

    /// Intended start to actual start: how late the generator was.
    pub fn schedule_delay(&self) -> Nanos {
        self.phases.start.since(self.intended)
    }

    /// Intended start to end: the latency of headlines and thresholds.
    pub fn corrected_latency(&self) -> Nanos {
        self.phases.end.since(self.intended)
    }

    /// Actual start to end.
    pub fn service_time(&self) -> Nanos {
        self.phases.end.since(self.phases.start)
    }

    /// For how many exchanges this one stands where blame is added up: 0 where it was left out so that others stand for it.
    pub fn weight(&self) -> u64 {
        match (self.sampled, self.threshold) {
            (_, Threshold::ALWAYS) => 1,
            (true, threshold) => threshold.weight(&self.trace_id),
            (false, _) => 0,
        }
    }

    /// HTTP status, where a head arrived.
    pub fn status(&self) -> Option<u16> {
        match &self.outcome {
            Outcome::Answered(status) => Some(*status),
            Outcome::Failed { status, .. } => *status,
        }
    }

    /// Whether the exchange counts as an error: it failed, or its status check did not hold.
    pub fn is_error(&self) -> bool {
        match self.outcome {
            Outcome::Answered(_) => self.checks_failed.iter().any(|c| &*c.check == "status"),
            Outcome::Failed { .. } => true,
        }
    }

    /// Whether the checks of its step were made: it was answered, and that was the end of the step.
    pub fn was_checked(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_)) && !self.followed
    }

    /// Whether a request left this machine: only such exchanges can have server spans.
    pub fn was_sent(&self) -> bool {
        self.phases.sent.is_some()
    }
}
