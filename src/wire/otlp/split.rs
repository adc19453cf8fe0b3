//! One OTLP trace message → one for each share of its traces, spans copied as they are.
//!
//! Whoever reads a message last has its bytes at hand: dividing it there costs a copy, and each of those who decode the
//! shares looks at its own spans alone.

use super::walk::next_message;
use crate::record::TraceId;
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader, close_message, open_message};

/// The field that is looked for in a span, as [`Reader::next_short`] has it.
const TRACE_ID: u16 = 1 << 1;

/// What of a share is begun: the message of a process, and of a library within it.
#[derive(Clone, Copy, Default)]
struct Begun {
    resource: Option<usize>,
    scope: Option<usize>,
}

/// Divides a message. `share` gives the number of the share that a trace belongs to, `None` for those that nobody wants; spans
/// without a valid trace id go to the first. The shares are messages by themselves, empty where they have no span, in which
/// what spans have in common stands before them ([`super::for_each_span_of_share`]); where the message is malformed they hold
/// what stood before the fault.
pub fn split(
    bytes: &[u8],
    share: &mut impl FnMut(&TraceId) -> Option<usize>,
    out: &mut [Vec<u8>],
) -> Result<(), DecodeError> {
    // Every known encoder writes a process and a library before their spans. What may stand anywhere is looked for only in a
    // message that is not written so, or not written well.
    match divide(bytes, share, out, Where::First) {
        Ok(Order::CommonFirst) => Ok(()),
        Ok(Order::Any) | Err(_) => divide(bytes, share, out, Where::Anywhere).map(drop),
    }
}

/// Where what spans have in common is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    First,
    Anywhere,
}

/// Where it was found.
enum Order {
    CommonFirst,
    Any,
}

fn divide(
    bytes: &[u8],
    share: &mut impl FnMut(&TraceId) -> Option<usize>,
    out: &mut [Vec<u8>],
    common: Where,
) -> Result<Order, DecodeError> {
    out.iter_mut().for_each(Vec::clear);
    let mut begun = vec![Begun::default(); out.len()];
    let divided = divide_open(bytes, share, out, (&mut begun, common));
    // What a fault left open.
    close(out, &mut begun, |b| &mut b.scope);
    close(out, &mut begun, |b| &mut b.resource);
    divided
}

fn divide_open(
    bytes: &[u8],
    share: &mut impl FnMut(&TraceId) -> Option<usize>,
    out: &mut [Vec<u8>],
    (begun, common): (&mut [Begun], Where),
) -> Result<Order, DecodeError> {
    let mut message = Reader::new(bytes);
    let (mut of_resource, mut of_scope) = (Others::default(), Others::default());
    while let Some(resource_spans) = next_message(&mut message, 1)? {
        let mut fields = resource_spans;
        of_resource.begin();
        loop {
            let at = fields.offset();
            let mut spans = match fields.next_field()? {
                None => break,
                Some((2, Field::Bytes(scope_spans))) => scope_spans,
                Some((2, _)) => return fields.error(at, Malformed::UnexpectedWireType),
                Some((1, _)) if common == Where::First && of_resource.has_begun() => return Ok(Order::Any),
                Some(_) => continue,
            };
            let scope_spans = spans;
            of_resource.list_begins();
            of_scope.begin();
            loop {
                let (before, at) = (spans.rest(), spans.offset());
                let span = match spans.next_field()? {
                    None => break,
                    Some((2, Field::Bytes(span))) => span,
                    Some((2, _)) => return spans.error(at, Malformed::UnexpectedWireType),
                    Some((1, _)) if common == Where::First && of_scope.has_begun() => return Ok(Order::Any),
                    Some(_) => continue,
                };
                of_scope.list_begins();
                let to = match trace_id(span) {
                    Some(id) => share(&id),
                    None => Some(0),
                };
                if let Some(to) = to
                    && let (Some(out), Some(begun)) = (out.get_mut(to), begun.get_mut(to))
                {
                    let others = [of_resource.of(resource_spans, common)?, of_scope.of(scope_spans, common)?];
                    begin(out, begun, others);
                    out.extend_from_slice(&before[..before.len() - spans.rest().len()]);
                }
            }
            close(out, begun, |b| &mut b.scope);
        }
        close(out, begun, |b| &mut b.resource);
    }
    Ok(Order::CommonFirst)
}

/// The first trace id of a span that can be read so far.
#[inline]
fn trace_id(mut span: Reader<'_>) -> Option<TraceId> {
    if let Some((_, id)) = span.next_short(TRACE_ID) {
        return TraceId::from_bytes(id.rest()).ok();
    }
    loop {
        match span.next_field() {
            Ok(Some((1, Field::Bytes(id)))) => return TraceId::from_bytes(id.rest()).ok(),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

#[inline]
fn begin(out: &mut Vec<u8>, begun: &mut Begun, [of_resource, of_scope]: [&[u8]; 2]) {
    if begun.resource.is_none() {
        begun.resource = Some(open_message(out, 1));
        out.extend_from_slice(of_resource);
    }
    if begun.scope.is_none() {
        begun.scope = Some(open_message(out, 2));
        out.extend_from_slice(of_scope);
    }
}

/// The fields of a `ResourceSpans` or `ScopeSpans` but its list, which is field 2 of both: those before it, or all. They are
/// looked for once, however many shares there are; for all of them every span is passed.
#[derive(Default)]
struct Others {
    fields: Vec<u8>,
    seen: Seen,
}

/// How far a message has been read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Nothing,
    /// Its list has begun.
    List,
    /// It has, and the fields beside it were looked for.
    Fields,
}

impl Others {
    fn begin(&mut self) {
        self.seen = Seen::Nothing;
    }

    #[inline]
    fn list_begins(&mut self) {
        if self.seen == Seen::Nothing {
            self.seen = Seen::List;
        }
    }

    fn has_begun(&self) -> bool {
        self.seen != Seen::Nothing
    }

    #[inline]
    fn of(&mut self, message: Reader<'_>, common: Where) -> Result<&[u8], DecodeError> {
        if self.seen != Seen::Fields {
            self.look(message, common)?;
        }
        Ok(&self.fields)
    }

    fn look(&mut self, mut message: Reader<'_>, common: Where) -> Result<(), DecodeError> {
        self.fields.clear();
        loop {
            let before = message.rest();
            match message.next_field()? {
                None => break,
                Some((2, _)) if common == Where::First => break,
                Some((2, _)) => {}
                Some(_) => {
                    self.fields.extend_from_slice(&before[..before.len() - message.rest().len()]);
                }
            }
        }
        self.seen = Seen::Fields;
        Ok(())
    }
}

fn close(out: &mut [Vec<u8>], begun: &mut [Begun], which: fn(&mut Begun) -> &mut Option<usize>) {
    for (out, begun) in out.iter_mut().zip(begun) {
        if let Some(start) = which(begun).take() {
            close_message(out, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SpanSink;
    use crate::wire::otlp::{for_each_span, for_each_span_of_share};
    use crate::wire::protobuf::put_bytes;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    fn message() -> Vec<u8> {
        let name = |n: u64| any_value::Value::StringValue(format!("service {n}"));
        let resource_spans = (0..3u64)
            .map(|r| ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![KeyValue {
                        key: "service.name".into(),
                        value: Some(AnyValue { value: Some(name(r)) }),
                        ..KeyValue::default()
                    }],
                    ..Resource::default()
                }),
                scope_spans: (0..2u64)
                    .map(|s| ScopeSpans {
                        scope: Some(InstrumentationScope {
                            name: format!("scope {s}"),
                            ..Default::default()
                        }),
                        spans: (0..7u64)
                            .map(|n| Span {
                                trace_id: vec![(r * 5 + n) as u8 + 1; 16],
                                span_id: (r * 100 + s * 10 + n + 1).to_be_bytes().to_vec(),
                                name: format!("span {n}"),
                                ..Span::default()
                            })
                            .collect(),
                        ..ScopeSpans::default()
                    })
                    .collect(),
                schema_url: "schema".into(),
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    /// What spans say, in order.
    fn said(bytes: &[u8]) -> Vec<(u8, String)> {
        let mut out = Vec::new();
        for_each_span(bytes, &mut |span| out.push(words(span))).unwrap();
        out
    }

    fn words(span: &crate::record::Span<'_>) -> (u8, String) {
        let process = span.resource.service_name();
        (span.trace_id.0[0], format!("{process}/{}/{} {:?}", span.scope.name, span.name, span.span_id))
    }

    struct Kept(Vec<(u8, String)>);

    impl SpanSink for Kept {
        fn wants(&mut self, _: &TraceId) -> bool {
            true
        }
        fn span(&mut self, span: &crate::record::Span<'_>, _: Option<u128>) {
            self.0.push(words(span));
        }
    }

    /// The same message with the process and the library behind what they have recorded.
    fn turned(bytes: &[u8]) -> Vec<u8> {
        let message = ExportTraceServiceRequest::decode(bytes).unwrap();
        let mut out = Vec::new();
        for resource_spans in message.resource_spans {
            let resource = open_message(&mut out, 1);
            for scope_spans in resource_spans.scope_spans {
                let scope = open_message(&mut out, 2);
                for span in &scope_spans.spans {
                    put_bytes(&mut out, 2, &span.encode_to_vec());
                }
                put_bytes(&mut out, 1, &scope_spans.scope.unwrap().encode_to_vec());
                close_message(&mut out, scope);
            }
            put_bytes(&mut out, 1, &resource_spans.resource.unwrap().encode_to_vec());
            close_message(&mut out, resource);
        }
        out
    }

    #[test]
    fn every_span_is_in_its_share_with_its_process_and_library() {
        divided_well(&message());
    }

    #[test]
    fn a_process_may_stand_behind_its_spans() {
        let (as_usual, turned) = (message(), turned(&message()));
        assert_eq!(said(&turned), said(&as_usual));
        divided_well(&turned);
    }

    fn divided_well(bytes: &[u8]) {
        let whole = said(bytes);
        assert_eq!(whole.len(), 42);
        let mut out = vec![b"left over".to_vec(); 3];
        // Every fourth trace is wanted by nobody.
        let mut share = |id: &TraceId| (!id.0[0].is_multiple_of(4)).then_some(usize::from(id.0[0] % 3));
        split(bytes, &mut share, &mut out).unwrap();
        for (index, part) in out.iter().enumerate() {
            let wanted = |s: &&(u8, String)| share(&TraceId([s.0; 16])) == Some(index);
            let want: Vec<_> = whole.iter().filter(wanted).cloned().collect();
            assert!(want.len() > 5);
            assert_eq!(said(part), want);
            let mut of_share = Kept(Vec::new());
            for_each_span_of_share(part, &mut of_share).unwrap();
            assert_eq!(of_share.0, want);
        }
        split(bytes, &mut |_| None, &mut out).unwrap();
        assert!(out.iter().all(Vec::is_empty));
    }

    #[test]
    fn of_a_malformed_message_the_shares_hold_what_stood_before_the_fault() {
        let bytes = message();
        let mut out = vec![Vec::new(); 2];
        let mut share = |id: &TraceId| Some(usize::from(id.0[0] % 2));
        let whole = said(&bytes);
        for end in 0..bytes.len() {
            let cut = split(&bytes[..end], &mut share, &mut out);
            let read: Vec<_> = out.iter().flat_map(|part| said(part)).collect();
            assert!(read.iter().all(|span| whole.contains(span)), "{end}");
            assert!(
                cut.is_err() || read.len().is_multiple_of(14),
                "{end}: a process is whole or the cut is told"
            );
        }
        // A span whose trace id is not valid is the first share's to count.
        let spans = vec![Span { span_id: vec![1; 8], ..Span::default() }];
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        split(&bytes, &mut share, &mut out).unwrap();
        assert_eq!(for_each_span(&out[0], &mut |_| ()).unwrap().invalid, 1);
        assert!(out[1].is_empty());
    }
}
