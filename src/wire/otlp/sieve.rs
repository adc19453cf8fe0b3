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
            let mut lane = [0; 16];
            lane[..rest.len()].copy_from_slice(rest);
            let wide = u128::from_le_bytes(lane);
            self.mix(wide as u64, (wide >> 64) as u64);
        }
    }

    fn value(mut self) -> u128 {
        self.mix(self.1, 0x243F_6A88_85A3_08D3);
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

/// Offers an encoded span of a known trace to a sink by its fingerprint. `seed` tells its process and library.
#[inline]
pub(super) fn offer(mut span: Reader<'_>, trace_id: TraceId, seed: u64, sink: &mut impl SpanSink) -> Sieved {
    let mut print = Print(0x13_198A_2E03_7073 ^ seed, 0xA409_3822_299F_31D0);
    let (mut span_id, mut parent): (&[u8], &[u8]) = (&[], &[]);
    let (mut kind, mut start, mut end, mut dropped, mut attributes) = (0, 0, 0, 0u32, 0);
    let mut status = Status::Unset;
    let mut trace_state: &[u8] = &[];
    loop {
        match span.next_field() {
            Ok(None) => break,
            Ok(Some((9, Field::Bytes(mut pair)))) => {
                attributes += 1;
                let Ok(Some((1, Field::Bytes(key)))) = pair.next_field() else { return Sieved::Whole(None) };
                if sink.matters(key.rest()) {
                    print.add(9, key.rest());
                    print.add(2, pair.rest());
                }
            }
            Ok(Some((1, Field::Bytes(_)) | (16, Field::Fixed32(_)))) => {}
            Ok(Some((2, Field::Bytes(id)))) => span_id = id.rest(),
            Ok(Some((3, Field::Bytes(text)))) => trace_state = text.rest(),
            Ok(Some((4, Field::Bytes(id)))) => parent = id.rest(),
            Ok(Some((5, Field::Bytes(name)))) => print.add(5, name.rest()),
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
    if attributes > ATTRIBUTES_MAX {
        return Sieved::Whole(None);
    }
    print.mix(6, kind << 8 | status as u64);
    let print = print.value();
    let bare = BareSpan {
        trace_id,
        span_id,
        parent_id,
        kind: super::walk::kind_of(kind),
        start: Timestamp(start),
        end: Timestamp(end),
        status,
        trace_state,
        dropped,
        print,
    };
    if sink.bare(&bare) { Sieved::Taken } else { Sieved::Whole(Some(print)) }
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
        said: Vec<(SpanId, Timestamp, Timestamp, String)>,
        bare: usize,
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
        fn bare(&mut self, span: &BareSpan<'_>) -> bool {
            let Some(known) = self.known.get(&span.print) else { return false };
            self.said.push((span.span_id, span.start, span.end, known.clone()));
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
                attributes: vec![attribute("noise", n), attribute("db", n % 5)],
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
        assert!(sink.bare > 200, "{} of {} taken by fingerprint", sink.bare, whole.len());
    }
}
