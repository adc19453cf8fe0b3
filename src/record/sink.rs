//! Who takes spans, and how little of a span can be enough.
//!
//! Most spans of a run say again what an earlier one said: same name, same statement, other ids and times. A reader that
//! knows which attributes matter can hand on ids, times and a fingerprint of the rest, and needs to decode the rest only
//! where its taker has never seen that fingerprint.

use super::{Partition, Resource, Scope, Span, SpanId, SpanKind, Status, Timestamp, TraceId};

/// A span of which the attributes have not been read.
#[derive(Clone, Copy, Debug)]
pub struct BareSpan<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent's id, if it has one.
    pub parent_id: Option<SpanId>,
    /// Role in a call.
    pub kind: SpanKind,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Outcome as recorded.
    pub status: Status,
    /// W3C `tracestate` as the bytes that came.
    pub trace_state: &'a [u8],
    /// Attributes, events and links that the SDK dropped by its own limits.
    pub dropped: u32,
    /// A 128-bit fingerprint of process, library, kind, name and all attributes as their bytes came.
    pub sight: u128,
    /// The same of the attributes that matter alone; 0 where it was not asked for yet.
    pub print: u128,
}

/// Takes the spans of messages one after the other.
pub trait SpanSink {
    /// Whether [`SpanSink::bare`] is worth a try; where it is not, every span is decoded.
    const TAKES_BARE: bool = false;

    /// The share of the run that it takes: whoever hands spans to several sinks need not offer others.
    fn partition(&self) -> Partition {
        Partition::WHOLE
    }

    /// The following spans lie in that stretch of the run folder, until the next call.
    fn stretch(&mut self, _number: u32) {}

    /// Whether the spans of this trace are wanted at all; others are passed over unread.
    fn wants(&mut self, trace: &TraceId) -> bool;

    /// The following spans come from this process and library, until the next call. Gives what tells these from others in
    /// a fingerprint.
    fn process(&mut self, _resource: &Resource<'_>, _scope: &Scope<'_>) -> u64 {
        0
    }

    /// Whether an attribute of this name can change what is made of a span.
    fn matters(&mut self, _key: &[u8]) -> bool {
        true
    }

    /// Takes a span that looks exactly like one that [`SpanSink::bare`] took, by [`BareSpan::sight`] alone; false where its
    /// attributes have to be looked at.
    fn known(&mut self, _span: &BareSpan<'_>) -> bool {
        false
    }

    /// Takes a span by [`BareSpan::print`]; false where the rest of it is needed.
    fn bare(&mut self, _span: &BareSpan<'_>) -> bool {
        false
    }

    /// Takes a whole span; with its fingerprint if it was refused as a bare one.
    fn span(&mut self, span: &Span<'_>, print: Option<u128>);
}
