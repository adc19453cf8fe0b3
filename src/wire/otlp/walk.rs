//! OTLP trace messages → [`Span`]s, one at a time, borrowed from the message.
//!
//! The walker follows protobuf's rules (fields in any order, unknown fields skipped, repeated singular messages merged)
//! with one exception: of several trace ids in one span the first counts, so that a span can be passed over by its
//! trace id before the rest of it is read. No encoder writes two.

use super::sieve::{Sieved, offer};
use super::value::Values;
use crate::record::{
    Attribute, Event, Link, Resource, Scope, Span, SpanId, SpanKind, SpanSink, Status, Timestamp, TraceId,
};
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader};

/// What a walk met besides sound spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Spans handed on.
    pub spans: u64,
    /// Spans passed over because their trace was not wanted.
    pub skipped: u64,
    /// Spans without a valid trace id or span id; not handed on.
    pub invalid: u64,
    /// Spans handed on without their parent, whose id has the wrong length.
    pub bad_parents: u64,
    /// Links left out because their ids are not valid.
    pub bad_links: u64,
    /// Texts cut where they stop being UTF-8.
    pub text_cut: u64,
    /// Values left out because they nest too deep.
    pub too_deep: u64,
}

impl Walked {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Walked) {
        self.spans += other.spans;
        self.skipped += other.skipped;
        self.invalid += other.invalid;
        self.bad_parents += other.bad_parents;
        self.bad_links += other.bad_links;
        self.text_cut += other.text_cut;
        self.too_deep += other.too_deep;
    }
}

/// Calls `f` with every span of an `ExportTraceServiceRequest` (or `TracesData`) that has valid ids.
///
/// On malformed bytes the spans before them have been handed on already; [`super::scan`] finds out beforehand.
pub fn for_each_span(bytes: &[u8], f: &mut impl FnMut(&Span<'_>)) -> Result<Walked, DecodeError> {
    for_each_span_where(bytes, &mut |_| true, f)
}

/// As [`for_each_span`], but spans of traces that `keep` does not want are passed over unread: a run can be analysed
/// part by part without decoding it whole each time.
pub fn for_each_span_where(
    bytes: &[u8],
    keep: &mut impl FnMut(TraceId) -> bool,
    f: &mut impl FnMut(&Span<'_>),
) -> Result<Walked, DecodeError> {
    for_each_span_into(bytes, &mut Calls { keep, f })
}

/// A pair of functions as a sink.
struct Calls<'c, K, F> {
    keep: &'c mut K,
    f: &'c mut F,
}

impl<K: FnMut(TraceId) -> bool, F: FnMut(&Span<'_>)> SpanSink for Calls<'_, K, F> {
    #[inline(always)]
    fn wants(&mut self, trace: &TraceId) -> bool {
        (self.keep)(*trace)
    }
    #[inline(always)]
    fn span(&mut self, span: &Span<'_>, _: Option<u128>) {
        (self.f)(span);
    }
}

/// Gives a sink every span that it wants and that has valid ids; as a bare one where it takes those.
pub fn for_each_span_into(bytes: &[u8], sink: &mut impl SpanSink) -> Result<Walked, DecodeError> {
    walk(bytes, sink, false)
}

/// As [`for_each_span_into`], of a message that [`super::split`] wrote: what spans have in common stands before them, and nobody has
/// to look for it behind each.
pub fn for_each_span_of_share(bytes: &[u8], sink: &mut impl SpanSink) -> Result<Walked, DecodeError> {
    walk(bytes, sink, true)
}

fn walk(bytes: &[u8], sink: &mut impl SpanSink, common_first: bool) -> Result<Walked, DecodeError> {
    let mut walker = Walker {
        common_first,
        values: Values::new(),
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        spare: Vec::new(),
    };
    let mut message = Reader::new(bytes);
    while let Some(resource_spans) = next_message(&mut message, 1)? {
        walker.resource_spans(resource_spans, sink)?;
    }
    Ok(walker.values.walked)
}

/// The next occurrence of a nested message; other fields are skipped.
#[inline]
pub(super) fn next_message<'a>(
    reader: &mut Reader<'a>,
    number: u32,
) -> Result<Option<Reader<'a>>, DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(None),
            Some((n, Field::Bytes(inner))) if n == number => return Ok(Some(inner)),
            Some((n, _)) if n == number => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

/// The resource of a `ResourceSpans` and its like. It may come after what it has recorded: fields have no order.
pub(super) fn read_resource<'a>(
    mut fields: Reader<'a>,
    values: &mut Values<'a>,
) -> Result<Resource<'a>, DecodeError> {
    let mut resource = Resource::default();
    values.reset();
    while let Some(mut part) = next_message(&mut fields, 1)? {
        while let Some(pair) = next_message(&mut part, 1)? {
            values.push(&mut resource.attributes, pair, 0)?;
        }
    }
    Ok(resource)
}

/// The scope of a `ScopeSpans` and its like.
pub(super) fn read_scope<'a>(
    mut fields: Reader<'a>,
    values: &mut Values<'a>,
) -> Result<Scope<'a>, DecodeError> {
    let mut scope = Scope::default();
    while let Some(mut part) = next_message(&mut fields, 1)? {
        loop {
            let at = part.offset();
            match part.next_field()? {
                None => break,
                Some((1, Field::Bytes(name))) => scope.name = values.text(name),
                Some((2, Field::Bytes(version))) => scope.version = values.text(version),
                Some((1 | 2, _)) => return part.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }
    Ok(scope)
}

/// Trace id of an encoded span, read without the rest where it is the first field, as in every known encoder.
#[inline]
fn peek_trace_id(mut span: Reader<'_>) -> Option<TraceId> {
    match span.next_field() {
        Ok(Some((1, Field::Bytes(id)))) => TraceId::from_bytes(id.rest()).ok(),
        _ => None,
    }
}

#[inline(always)]
fn sink_takes_bare<S: SpanSink>(_: &S) -> bool {
    S::TAKES_BARE
}

/// Buffers that live as long as one message: nothing is allocated per span once they have grown.
struct Walker<'a> {
    /// Whether a process and a library stand before what they have recorded.
    common_first: bool,
    values: Values<'a>,
    attributes: Vec<Attribute<'a>>,
    events: Vec<Event<'a>>,
    links: Vec<Link>,
    /// Attribute lists of earlier events, to be used again.
    spare: Vec<Vec<Attribute<'a>>>,
}

/// The plain fields of a span while it is read.
struct Plain<'a> {
    trace_id: Option<Reader<'a>>,
    span_id: &'a [u8],
    parent_id: &'a [u8],
    trace_state: &'a str,
    name: &'a str,
    kind: SpanKind,
    start: Timestamp,
    end: Timestamp,
    status: Status,
    status_message: &'a str,
    flags: u32,
    dropped: u32,
}

impl<'a> Walker<'a> {
    fn resource_spans(&mut self, message: Reader<'a>, sink: &mut impl SpanSink) -> Result<(), DecodeError> {
        let resource = read_resource(self.common(message)?, &mut self.values)?;
        let mut fields = message;
        while let Some(scope_spans) = next_message(&mut fields, 2)? {
            self.scope_spans(scope_spans, &resource, sink)?;
        }
        Ok(())
    }

    /// The part of a `ResourceSpans` or `ScopeSpans` in which its process or library is looked for. The list is field 2 of both.
    fn common(&self, message: Reader<'a>) -> Result<Reader<'a>, DecodeError> {
        if !self.common_first {
            return Ok(message);
        }
        let mut fields = message;
        loop {
            let before = fields.rest().len();
            if matches!(fields.next_field()?, None | Some((2, _))) {
                let all = message.rest();
                return Ok(Reader::new(&all[..all.len() - before]));
            }
        }
    }

    fn scope_spans(
        &mut self,
        message: Reader<'a>,
        resource: &Resource<'a>,
        sink: &mut impl SpanSink,
    ) -> Result<(), DecodeError> {
        let scope = read_scope(self.common(message)?, &mut self.values)?;
        let seed = sink.process(resource, &scope);
        let mut fields = message;
        while let Some(span) = next_message(&mut fields, 2)? {
            let peeked = peek_trace_id(span);
            let mut print = None;
            if let Some(id) = peeked {
                if !sink.wants(&id) {
                    self.values.walked.skipped += 1;
                    continue;
                }
                if sink_takes_bare(sink) {
                    match offer(span, id, seed, sink) {
                        Sieved::Taken => {
                            self.values.walked.spans += 1;
                            continue;
                        }
                        Sieved::Whole(of) => print = of,
                    }
                }
            }
            let plain = self.span(span)?;
            let trace_id = plain.trace_id.and_then(|id| TraceId::from_bytes(id.rest()).ok());
            let (Some(trace_id), Ok(span_id)) = (trace_id, SpanId::from_bytes(plain.span_id)) else {
                self.values.walked.invalid += 1;
                continue;
            };
            if peeked.is_none() && !sink.wants(&trace_id) {
                self.values.walked.skipped += 1;
                continue;
            }
            self.values.walked.spans += 1;
            let whole = Span {
                trace_id,
                span_id,
                parent_id: self.parent(plain.parent_id),
                kind: plain.kind,
                name: plain.name,
                start: plain.start,
                end: plain.end,
                status: plain.status,
                status_message: plain.status_message,
                trace_state: plain.trace_state,
                flags: plain.flags,
                resource,
                scope: &scope,
                attributes: &self.attributes,
                events: &self.events,
                links: &self.links,
                dropped: plain.dropped.saturating_add(self.values.over),
            };
            sink.span(&whole, print);
        }
        Ok(())
    }

    /// An absent parent is empty; all zero means the same. Anything else of the wrong length is counted.
    fn parent(&mut self, bytes: &[u8]) -> Option<SpanId> {
        if bytes.is_empty() || bytes == [0; 8] {
            return None;
        }
        let id = SpanId::from_bytes(bytes).ok();
        self.values.walked.bad_parents += u64::from(id.is_none());
        id
    }

    fn span(&mut self, mut reader: Reader<'a>) -> Result<Plain<'a>, DecodeError> {
        self.attributes.clear();
        self.links.clear();
        self.spare.extend(self.events.drain(..).map(|event| event.attributes));
        self.values.reset();
        let mut span = Plain {
            trace_id: None,
            span_id: &[],
            parent_id: &[],
            trace_state: "",
            name: "",
            kind: SpanKind::Unspecified,
            start: Timestamp(0),
            end: Timestamp(0),
            status: Status::Unset,
            status_message: "",
            flags: 0,
            dropped: 0,
        };
        loop {
            let at = reader.offset();
            let Some((number, field)) = reader.next_field()? else { return Ok(span) };
            match (number, field) {
                (9, Field::Bytes(pair)) => self.values.push(&mut self.attributes, pair, 0)?,
                (1, Field::Bytes(id)) => span.trace_id = span.trace_id.or(Some(id)),
                (2, Field::Bytes(id)) => span.span_id = id.rest(),
                (3, Field::Bytes(text)) => span.trace_state = self.values.text(text),
                (4, Field::Bytes(id)) => span.parent_id = id.rest(),
                (5, Field::Bytes(text)) => span.name = self.values.text(text),
                (6, Field::Varint(kind)) => span.kind = kind_of(kind),
                (7, Field::Fixed64(at)) => span.start = Timestamp(at),
                (8, Field::Fixed64(at)) => span.end = Timestamp(at),
                (11, Field::Bytes(event)) => self.event(event)?,
                (13, Field::Bytes(link)) => self.link(link)?,
                (15, Field::Bytes(status)) => self.status(status, &mut span)?,
                (10 | 12 | 14, Field::Varint(n)) => span.dropped = span.dropped.saturating_add(n as u32),
                (16, Field::Fixed32(flags)) => span.flags = flags,
                (1..=16, _) => return reader.error(at, Malformed::UnexpectedWireType),
                _ => {}
            }
        }
    }

    fn status(&mut self, mut reader: Reader<'a>, span: &mut Plain<'a>) -> Result<(), DecodeError> {
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(()),
                Some((2, Field::Bytes(message))) => span.status_message = self.values.text(message),
                Some((3, Field::Varint(code))) => {
                    span.status = match code as u32 {
                        1 => Status::Ok,
                        2 => Status::Error,
                        _ => Status::Unset,
                    }
                }
                Some((2 | 3, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    fn event(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        let mut attributes = self.spare.pop().unwrap_or_default();
        attributes.clear();
        let mut event = Event { at: Timestamp(0), name: "", attributes };
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => break,
                Some((1, Field::Fixed64(time))) => event.at = Timestamp(time),
                Some((2, Field::Bytes(name))) => event.name = self.values.text(name),
                Some((3, Field::Bytes(pair))) => self.values.push(&mut event.attributes, pair, 0)?,
                Some((4, Field::Varint(_))) => {}
                Some((1..=4, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        if self.values.take() {
            self.events.push(event);
        }
        Ok(())
    }

    fn link(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => break,
                Some((1, Field::Bytes(id))) => trace_id = id.rest(),
                Some((2, Field::Bytes(id))) => span_id = id.rest(),
                Some((3 | 4, Field::Bytes(_)) | (5, Field::Varint(_)) | (6, Field::Fixed32(_))) => {}
                Some((1..=6, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        match (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id)) {
            (Ok(trace_id), Ok(span_id)) if self.values.take() => self.links.push(Link { trace_id, span_id }),
            (Ok(_), Ok(_)) => {}
            _ => self.values.walked.bad_links += 1,
        }
        Ok(())
    }
}

/// Numbers that no kind has (newer protocol, broken sender) are read as not given. An enum has 32 bits; what a varint
/// has beyond them does not count.
pub(super) fn kind_of(number: u64) -> SpanKind {
    match number as u32 {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}
