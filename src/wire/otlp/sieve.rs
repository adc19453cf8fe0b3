//! Encoded spans → bare spans: ids, times and a fingerprint, without building attributes or checking texts.
//!
//! Decoding attributes is two thirds of reading a run, and all but a few spans of each kind of work repeat what was read
//! before. What cannot be told from the fingerprint alone (events, links, errors with their words, anything unusual in the
//! encoding) is left to the whole walk.

use crate::record::{BareSpan, SpanId, SpanSink, Status, Timestamp, TraceId};
use crate::wire::protobuf::{Field, Reader};

/// Spans with more attributes than this are decoded whole.
const ATTRIBUTES_MAX: u32 = 128;

/// What became of a bare span.
pub(super) enum Sieved {
    /// It was taken.
    Taken,
    /// It has to be decoded.
    Whole(Option<u128>),
}

/// A 128-bit hash of byte strings: a collision is less likely than a fault of the memory.
struct Print(u64, u64);

impl Print {
    #[inline]
    fn mix(&mut self, a: u64, b: u64) {
        let wide = u128::from(self.0 ^ a) * u128::from(self.1 ^ b ^ 0x9E37_79B9_7F4A_7C15);
        let (low, high) = (wide as u64, (wide >> 64) as u64);
        // What went in goes on as well, so that a factor of zero does not forget it.
        (self.0, self.1) = (low ^ self.1.rotate_left(23) ^ b, high.wrapping_add(self.0.rotate_left(41)) ^ a);
    }

    #[inline]
    fn add(&mut self, mark: u64, text: &[u8]) {
        self.mix(mark, text.len() as u64);
        let (pairs, rest) = text.as_chunks::<16>();
        for pair in pairs {
            let wide = u128::from_le_bytes(*pair);
            self.mix(wide as u64, (wide >> 64) as u64);
        }
        if !rest.is_empty() {
            let wide = padded(rest);
            self.mix(wide as u64, (wide >> 64) as u64);
        }
    }

    /// As [`Print::add`] for long texts, in half the time: the pairs of words do not wait for each other (a sum of products
    /// with a key for each place, as in NH of UMAC, RFC 4418).
    #[inline]
    fn add_long(&mut self, mark: u64, text: &[u8]) {
        let mut sum = 0u128;
        let (mut key, mut other) = (0x2545_F491_4F6C_DD1D_u64, 0x9E6C_63D0_876A_3F6B_u64);
        let mut pair = |wide: u128| {
            let (low, high) = ((wide as u64).wrapping_add(key), ((wide >> 64) as u64).wrapping_add(other));
            sum = sum.wrapping_add(u128::from(low) * u128::from(high));
            key = key.wrapping_add(0xD6E8_FEB8_6659_FD93);
            other = other.wrapping_add(0xA076_1D64_78BD_642F);
        };
        let (pairs, rest) = text.as_chunks::<16>();
        pairs.iter().for_each(|bytes| pair(u128::from_le_bytes(*bytes)));
        if !rest.is_empty() {
            pair(padded(rest));
        }
        self.mix(mark, text.len() as u64);
        self.mix(sum as u64, (sum >> 64) as u64);
    }

    fn value(mut self) -> u128 {
        self.mix(self.1, 0x243F_6A88_85A3_08D3);
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

/// Up to sixteen bytes as a number.
#[inline]
fn padded(bytes: &[u8]) -> u128 {
    let mut lane = [0; 16];
    lane[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(lane)
}

/// Offers an encoded span of a known trace to a sink by its fingerprint. `seed` tells its process and library.
#[inline]
pub(super) fn offer(mut span: Reader<'_>, trace_id: TraceId, seed: u64, sink: &mut impl SpanSink) -> Sieved {
    let (mut span_id, mut parent): (&[u8], &[u8]) = (&[], &[]);
    let (mut kind, mut start, mut end, mut dropped) = (0, 0, 0, 0u32);
    let mut status = Status::Unset;
    let (mut trace_state, mut name): (&[u8], &[u8]) = (&[], &[]);
    // Where the attributes begin, and what follows them; every known encoder writes them in one piece.
    let (mut attributes, mut behind): (Option<&[u8]>, &[u8]) = (None, &[]);
    loop {
        let before = span.rest();
        match span.next_field() {
            Ok(None) => break,
            Ok(Some((9, Field::Bytes(_)))) => {
                match attributes {
                    None => attributes = Some(before),
                    Some(_) if before.len() == behind.len() => {}
                    Some(_) => return Sieved::Whole(None),
                }
                behind = span.rest();
            }
            Ok(Some((1, Field::Bytes(_)) | (16, Field::Fixed32(_)))) => {}
            Ok(Some((2, Field::Bytes(id)))) => span_id = id.rest(),
            Ok(Some((3, Field::Bytes(text)))) => trace_state = text.rest(),
            Ok(Some((4, Field::Bytes(id)))) => parent = id.rest(),
            Ok(Some((5, Field::Bytes(text)))) => name = text.rest(),
            Ok(Some((6, Field::Varint(number)))) => kind = number,
            Ok(Some((7, Field::Fixed64(at)))) => start = at,
            Ok(Some((8, Field::Fixed64(at)))) => end = at,
            Ok(Some((10 | 12 | 14, Field::Varint(n)))) => dropped = dropped.saturating_add(n as u32),
            Ok(Some((15, Field::Bytes(mut message)))) => match message.next_field() {
                Ok(None) => {}
                Ok(Some((3, Field::Varint(1)))) if message.rest().is_empty() => status = Status::Ok,
                _ => return Sieved::Whole(None),
            },
            _ => return Sieved::Whole(None),
        }
    }
    let Ok(span_id) = SpanId::from_bytes(span_id) else { return Sieved::Whole(None) };
    let parent_id = match parent {
        [] | [0, 0, 0, 0, 0, 0, 0, 0] => None,
        bytes => match SpanId::from_bytes(bytes) {
            Ok(id) => Some(id),
            Err(_) => return Sieved::Whole(None),
        },
    };
    let attributes = attributes.map_or(&[][..], |from| &from[..from.len() - behind.len()]);
    let mut print = Print(0x13_198A_2E03_7073 ^ seed, 0xA409_3822_299F_31D0);
    print.add(5, name);
    print.mix(6, kind << 8 | status as u64);
    let mut sight = Print(print.0, print.1);
    sight.add_long(9, attributes);
    let mut bare = BareSpan {
        trace_id,
        span_id,
        parent_id,
        kind: super::walk::kind_of(kind),
        start: Timestamp(start),
        end: Timestamp(end),
        status,
        trace_state,
        dropped,
        sight: sight.value(),
        print: 0,
    };
    if sink.known(&bare) {
        return Sieved::Taken;
    }
    match what_matters(attributes, print, sink) {
        None => Sieved::Whole(None),
        Some(print) => {
            bare.print = print;
            if sink.bare(&bare) { Sieved::Taken } else { Sieved::Whole(Some(print)) }
        }
    }
}

/// The fingerprint with the attributes that matter; `None` where only the whole walk can tell.
fn what_matters(attributes: &[u8], mut print: Print, sink: &mut impl SpanSink) -> Option<u128> {
    let mut fields = Reader::new(attributes);
    let mut number = 0;
    while let Ok(Some((_, Field::Bytes(mut pair)))) = fields.next_field() {
        number += 1;
        let Ok(Some((1, Field::Bytes(key)))) = pair.next_field() else { return None };
        if sink.matters(key.rest()) {
            print.add(9, key.rest());
            print.add(2, pair.rest());
        }
    }
    (number <= ATTRIBUTES_MAX && fields.rest().is_empty()).then(|| print.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Resource, Scope, Span};
    use crate::wire::otlp::{for_each_span_into, for_each_span_where};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::trace::v1::{
        ResourceSpans, ScopeSpans, Span as Message, Status as Outcome,
    };
    use prost::Message as _;
    use std::collections::HashMap;

    /// Remembers by fingerprint what a whole span said, and checks every bare one against it.
    #[derive(Default)]
    struct Remembering {
        seed: u64,
        known: HashMap<u128, String>,
        /// The same by what it looked like.
        seen: HashMap<u128, String>,
        said: Vec<(SpanId, Timestamp, Timestamp, String)>,
        bare: usize,
        at_sight: usize,
    }

    /// What the sink calls the meaning of a span: everything but ids, times and the attribute that does not matter.
    fn meaning(span: &Span<'_>) -> String {
        let matters: Vec<_> = span.attributes.iter().filter(|a| a.key != "noise").collect();
        format!(
            "{} {:?} {:?} {matters:?} {}",
            span.name,
            span.kind,
            span.status,
            span.resource.attributes.len()
        )
    }

    impl SpanSink for Remembering {
        const TAKES_BARE: bool = true;
        fn wants(&mut self, trace: &TraceId) -> bool {
            trace.0[0] != 9
        }
        fn process(&mut self, resource: &Resource<'_>, _: &Scope<'_>) -> u64 {
            self.seed = resource.attributes.len() as u64;
            self.seed
        }
        fn matters(&mut self, key: &[u8]) -> bool {
            key != b"noise"
        }
        fn known(&mut self, span: &BareSpan<'_>) -> bool {
            let Some(known) = self.seen.get(&span.sight) else { return false };
            self.said.push((span.span_id, span.start, span.end, known.clone()));
            self.at_sight += 1;
            true
        }
        fn bare(&mut self, span: &BareSpan<'_>) -> bool {
            let Some(known) = self.known.get(&span.print) else { return false };
            self.said.push((span.span_id, span.start, span.end, known.clone()));
            self.seen.insert(span.sight, known.clone());
            self.bare += 1;
            true
        }
        fn span(&mut self, span: &Span<'_>, print: Option<u128>) {
            let meaning = meaning(span);
            if let Some(print) = print {
                self.known.insert(print, meaning.clone());
            }
            self.said.push((span.span_id, span.start, span.end, meaning));
        }
    }

    fn attribute(key: &str, value: u64) -> KeyValue {
        let value = any_value::Value::StringValue(format!("value {value}"));
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    #[test]
    fn bare_spans_mean_what_whole_ones_mean() {
        let spans: Vec<Message> = (1..400u64)
            .map(|n| Message {
                trace_id: vec![(n % 10) as u8 + 1; 16],
                span_id: n.to_be_bytes().to_vec(),
                parent_span_id: if n % 3 == 0 { Vec::new() } else { 7u64.to_be_bytes().to_vec() },
                name: format!("name {}", n % 4),
                kind: (n % 3) as i32,
                start_time_unix_nano: n * 1_000,
                end_time_unix_nano: n * 1_000 + 500,
                // Half of the spans differ from all others in what does not matter.
                attributes: vec![attribute("noise", if n % 2 == 0 { n } else { 0 }), attribute("db", n % 5)],
                status: (n % 7 == 0).then(|| Outcome { code: (n % 2) as i32 + 1, message: String::new() }),
                ..Message::default()
            })
            .collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();

        let mut whole = Vec::new();
        let mut keep = |trace: TraceId| trace.0[0] != 9;
        for_each_span_where(&bytes, &mut keep, &mut |span| {
            whole.push((span.span_id, span.start, span.end, meaning(span)));
        })
        .unwrap();
        let mut sink = Remembering::default();
        let walked = for_each_span_into(&bytes, &mut sink).unwrap();
        assert_eq!(sink.said, whole);
        assert_eq!(walked.spans, whole.len() as u64);
        // 4 names, 3 kinds and 5 values repeat after 60; Ok instead of unset is another meaning of each.
        let (bare, at_sight) = (sink.bare, sink.at_sight);
        assert!(bare > 130 && at_sight > 60, "{bare} and {at_sight} of {} taken unread", whole.len());
    }
}
