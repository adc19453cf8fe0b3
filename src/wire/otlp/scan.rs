//! A cheap look over an OTLP trace message: is it sound, how many spans, which ids? It checks the structure down to
//! every attribute, so that whatever a receiver stored after a scan can be walked later.

use super::value::MAX_VALUE_DEPTH;
use super::walk::{kind_of, next_message};
use crate::record::{SpanId, SpanKind, Timestamp, TraceId};
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What tells a span's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanKey {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent's id, if it has one.
    pub parent_id: Option<SpanId>,
    /// Role in a call.
    pub kind: SpanKind,
    /// When it started, as sent.
    pub start: Timestamp,
}

/// What a scan counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Spans, invalid ones included.
    pub spans: u64,
    /// Spans without a valid trace id or span id.
    pub invalid: u64,
}

/// One process that had spans in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Hash of its resource: the same process gives the same hash each time.
    pub resource: u64,
    /// Its spans in this message.
    pub spans: u64,
}

/// A scan kept: counts, the ids of all valid spans, and who sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanResult {
    /// Spans, invalid ones included.
    pub spans: u64,
    /// Spans without a valid trace id or span id.
    pub invalid: u64,
    /// Every valid span.
    pub keys: Vec<SpanKey>,
    /// Who sent them, one for each resource in the message.
    pub senders: Vec<Sender>,
}

impl ScanResult {
    /// Spans with valid ids.
    pub fn valid(&self) -> u64 {
        self.spans - self.invalid
    }
}

/// Calls `f` with the ids of every span that has valid ones; counts all.
pub fn scan(bytes: &[u8], f: &mut impl FnMut(SpanKey)) -> Result<Scanned, DecodeError> {
    scan_with(bytes, f, &mut |_| {})
}

/// Spans are seldom shorter: room for the ids of this many is taken at once.
const SPAN_BYTES: usize = 192;

/// As [`scan`], into a [`ScanResult`].
pub fn scan_all(bytes: &[u8]) -> Result<ScanResult, DecodeError> {
    let mut result =
        ScanResult { keys: Vec::with_capacity(bytes.len() / SPAN_BYTES), ..ScanResult::default() };
    let ScanResult { keys, senders, .. } = &mut result;
    let counted = scan_with(bytes, &mut |key| keys.push(key), &mut |sender| senders.push(sender))?;
    (result.spans, result.invalid) = (counted.spans, counted.invalid);
    Ok(result)
}

fn scan_with(
    bytes: &[u8],
    f: &mut impl FnMut(SpanKey),
    sender: &mut impl FnMut(Sender),
) -> Result<Scanned, DecodeError> {
    let mut counted = Scanned::default();
    let mut message = Reader::new(bytes);
    while let Some(mut resource_spans) = next_message(&mut message, 1)? {
        let mut hasher = DefaultHasher::new();
        let before = counted.spans;
        loop {
            let at = resource_spans.offset();
            match resource_spans.next_field()? {
                None => break,
                Some((1, Field::Bytes(mut resource))) => {
                    resource.rest().hash(&mut hasher);
                    while let Some(pair) = next_message(&mut resource, 1)? {
                        check_attribute(pair, 0)?;
                    }
                }
                Some((2, Field::Bytes(scope_spans))) => scan_scope(scope_spans, &mut counted, f)?,
                Some((1 | 2, _)) => return resource_spans.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        sender(Sender { resource: hasher.finish(), spans: counted.spans - before });
    }
    Ok(counted)
}

fn scan_scope(
    mut scope_spans: Reader<'_>,
    counted: &mut Scanned,
    f: &mut impl FnMut(SpanKey),
) -> Result<(), DecodeError> {
    loop {
        let at = scope_spans.offset();
        match scope_spans.next_field()? {
            None => return Ok(()),
            Some((1, Field::Bytes(mut scope))) => check_strings(&mut scope, 2)?,
            Some((2, Field::Bytes(span))) => {
                counted.spans += 1;
                match scan_span(span)? {
                    Some(key) => f(key),
                    None => counted.invalid += 1,
                }
            }
            Some((1 | 2, _)) => return scope_spans.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

/// The fields of a span that are of bytes.
const SHORT: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15;

fn scan_span(mut reader: Reader<'_>) -> Result<Option<SpanKey>, DecodeError> {
    let mut trace_id: Option<&[u8]> = None;
    let (mut span_id, mut parent_id): (&[u8], &[u8]) = (&[], &[]);
    let mut kind = SpanKind::Unspecified;
    let mut start = Timestamp(0);
    loop {
        if let Some((number, bytes)) = reader.next_short(SHORT) {
            match number {
                1 => trace_id = trace_id.or(Some(bytes.rest())),
                2 => span_id = bytes.rest(),
                4 => parent_id = bytes.rest(),
                9 => check_attribute(bytes, 0)?,
                11 => check_event(bytes)?,
                13 => check_link(bytes)?,
                15 => check_status(bytes)?,
                // Name and trace state.
                _ => {}
            }
            continue;
        }
        if let Some(at) = reader.next_fixed64(7) {
            start = Timestamp(at);
            continue;
        }
        if reader.next_fixed64(8).is_some() {
            continue;
        }
        let at = reader.offset();
        let Some((number, field)) = reader.next_field()? else { break };
        match (number, field) {
            (9, Field::Bytes(pair)) => check_attribute(pair, 0)?,
            (1, Field::Bytes(id)) => trace_id = trace_id.or(Some(id.rest())),
            (2, Field::Bytes(id)) => span_id = id.rest(),
            (4, Field::Bytes(id)) => parent_id = id.rest(),
            (6, Field::Varint(number)) => kind = kind_of(number),
            (11, Field::Bytes(event)) => check_event(event)?,
            (13, Field::Bytes(link)) => check_link(link)?,
            (15, Field::Bytes(status)) => check_status(status)?,
            (7, Field::Fixed64(at)) => start = Timestamp(at),
            (3 | 5, Field::Bytes(_)) | (8, Field::Fixed64(_)) => {}
            (10 | 12 | 14, Field::Varint(_)) | (16, Field::Fixed32(_)) => {}
            (1..=16, _) => return reader.error(at, Malformed::UnexpectedWireType),
            _ => {}
        }
    }
    Ok(match (TraceId::from_bytes(trace_id.unwrap_or_default()), SpanId::from_bytes(span_id)) {
        (Ok(trace_id), Ok(span_id)) => {
            Some(SpanKey { trace_id, span_id, parent_id: SpanId::from_bytes(parent_id).ok(), kind, start })
        }
        _ => None,
    })
}

/// A message whose fields up to `last` are texts.
fn check_strings(reader: &mut Reader<'_>, last: u32) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((n, Field::Bytes(_))) if n <= last => {}
            Some((n, _)) if n <= last => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

fn check_event(mut reader: Reader<'_>) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((3, Field::Bytes(pair))) => check_attribute(pair, 0)?,
            Some((1, Field::Fixed64(_)) | (2, Field::Bytes(_)) | (4, Field::Varint(_))) => {}
            Some((1..=4, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

fn check_link(mut reader: Reader<'_>) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((1..=4, Field::Bytes(_)) | (5, Field::Varint(_)) | (6, Field::Fixed32(_))) => {}
            Some((1..=6, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

fn check_status(mut reader: Reader<'_>) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((2, Field::Bytes(_)) | (3, Field::Varint(_))) => {}
            Some((2 | 3, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

/// Whether a `KeyValue` is as nearly all are: a short key, then a short text or a small number, nothing else. Everything
/// else takes the long way, which knows what is wrong with it.
#[inline(always)]
fn is_usual(pair: &[u8]) -> bool {
    let [0x0a, key_len @ ..0x80, rest @ ..] = pair else { return false };
    let Some([0x12, value_len @ ..0x80, value @ ..]) = rest.get(usize::from(*key_len)..) else {
        return false;
    };
    value.len() == usize::from(*value_len)
        && match value {
            [0x0a, len @ ..0x80, text @ ..] => text.len() == usize::from(*len),
            [0x10 | 0x18, ..0x80] | [0x18, 0x80..=0xff, ..0x80] | [] => true,
            _ => false,
        }
}

#[inline]
fn check_attribute(reader: Reader<'_>, depth: u32) -> Result<(), DecodeError> {
    if is_usual(reader.rest()) { Ok(()) } else { check_any_attribute(reader, depth) }
}

#[inline(never)]
fn check_any_attribute(mut reader: Reader<'_>, depth: u32) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((1, Field::Bytes(_))) => {}
            Some((2, Field::Bytes(value))) => check_value(value, depth)?,
            Some((1 | 2, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}

fn check_value(mut reader: Reader<'_>, depth: u32) -> Result<(), DecodeError> {
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(()),
            Some((1 | 7, Field::Bytes(_)) | (2 | 3, Field::Varint(_)) | (4, Field::Fixed64(_))) => {}
            // The walker does not look deeper either.
            Some((5 | 6, Field::Bytes(_))) if depth >= MAX_VALUE_DEPTH => {}
            Some((5, Field::Bytes(mut list))) => {
                while let Some(value) = next_message(&mut list, 1)? {
                    check_value(value, depth + 1)?;
                }
            }
            Some((6, Field::Bytes(mut list))) => {
                while let Some(pair) = next_message(&mut list, 1)? {
                    check_attribute(pair, depth + 1)?;
                }
            }
            Some((1..=7, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}
