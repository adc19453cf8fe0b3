//! The walker and the scan against an independent implementation: the generated types and prost.

use super::*;
use crate::record::{Attribute, Event, SpanId, SpanKind, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as ProtoSpan, Status as ProtoStatus, span,
};
use proptest::prelude::*;
use prost::Message;

type Flat = (Vec<KeyValue>, String, String, ProtoSpan);

fn value_of(value: &Value<'_>) -> AnyValue {
    use any_value::Value as V;
    AnyValue {
        value: match value {
            Value::Str(text) => Some(V::StringValue((*text).into())),
            Value::Bool(b) => Some(V::BoolValue(*b)),
            Value::Int(n) => Some(V::IntValue(*n)),
            Value::Double(n) => Some(V::DoubleValue(*n)),
            Value::Bytes(bytes) => Some(V::BytesValue(bytes.to_vec())),
            Value::Array(values) => {
                Some(V::ArrayValue(ArrayValue { values: values.iter().map(value_of).collect() }))
            }
            Value::Map(pairs) => Some(V::KvlistValue(KeyValueList { values: attributes_of(pairs) })),
            Value::Empty => None,
        },
    }
}

fn attributes_of(attributes: &[Attribute<'_>]) -> Vec<KeyValue> {
    let pairs = attributes.iter();
    pairs
        .map(|a| KeyValue { key: a.key.into(), value: Some(value_of(&a.value)), ..KeyValue::default() })
        .collect()
}

/// What the walker hands on, as the generated types have it.
fn flat(span: &Span<'_>) -> Flat {
    let events = span.events.iter().map(|Event { at, name, attributes }| span::Event {
        time_unix_nano: at.0,
        name: (*name).into(),
        attributes: attributes_of(attributes),
        dropped_attributes_count: 0,
    });
    let links = span.links.iter().map(|link| span::Link {
        trace_id: link.trace_id.0.to_vec(),
        span_id: link.span_id.0.to_vec(),
        ..span::Link::default()
    });
    let proto = ProtoSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.into(),
        parent_span_id: span.parent_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        flags: span.flags,
        name: span.name.into(),
        kind: span.kind as i32,
        start_time_unix_nano: span.start.0,
        end_time_unix_nano: span.end.0,
        attributes: attributes_of(span.attributes),
        dropped_attributes_count: span.dropped,
        events: events.collect(),
        dropped_events_count: 0,
        links: links.collect(),
        dropped_links_count: 0,
        status: Some(ProtoStatus { message: span.status_message.into(), code: span.status as i32 }),
    };
    (attributes_of(&span.resource.attributes), span.scope.name.into(), span.scope.version.into(), proto)
}

fn walk(bytes: &[u8]) -> (Vec<Flat>, Walked) {
    let mut seen = Vec::new();
    let walked = for_each_span(bytes, &mut |span| seen.push(flat(span))).unwrap();
    (seen, walked)
}

/// What the walker should hand on for a message.
fn expected(request: &ExportTraceServiceRequest) -> Vec<Flat> {
    let mut flat = Vec::new();
    for resource_spans in &request.resource_spans {
        let resource = resource_spans.resource.clone().unwrap_or_default();
        for scope_spans in &resource_spans.scope_spans {
            let scope = scope_spans.scope.clone().unwrap_or_default();
            for span in &scope_spans.spans {
                if span.trace_id.len() != 16 || span.span_id.len() != 8 {
                    continue;
                }
                let mut span = span.clone();
                span.status.get_or_insert_with(ProtoStatus::default);
                flat.push((resource.attributes.clone(), scope.name.clone(), scope.version.clone(), span));
            }
        }
    }
    flat
}

fn any_value(depth: u32) -> BoxedStrategy<AnyValue> {
    use any_value::Value as V;
    let leaf = prop_oneof![
        "\\PC{0,12}".prop_map(|text| Some(V::StringValue(text))),
        any::<bool>().prop_map(|b| Some(V::BoolValue(b))),
        any::<i64>().prop_map(|n| Some(V::IntValue(n))),
        (-1e9f64..1e9).prop_map(|n| Some(V::DoubleValue(n))),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Some(V::BytesValue(bytes))),
        Just(None),
    ];
    if depth == 0 {
        return leaf.prop_map(|value| AnyValue { value }).boxed();
    }
    let values = prop::collection::vec(any_value(depth - 1), 0..4);
    prop_oneof![
        4 => leaf,
        1 => values.prop_map(|values| Some(V::ArrayValue(ArrayValue { values }))),
        1 => attributes(depth - 1).prop_map(|values| Some(V::KvlistValue(KeyValueList { values }))),
    ]
    .prop_map(|value| AnyValue { value })
    .boxed()
}

fn attributes(depth: u32) -> BoxedStrategy<Vec<KeyValue>> {
    let pair = ("[a-z.]{0,12}", any_value(depth));
    let pair = pair.prop_map(|(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() });
    prop::collection::vec(pair, 0..5).boxed()
}

/// Ids that are valid three times out of four.
fn id(len: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![3 => prop::collection::vec(1u8.., len), 1 => prop::collection::vec(1u8.., 0..len)].boxed()
}

fn span() -> impl Strategy<Value = ProtoSpan> {
    let ids = (id(16), id(8), prop_oneof![Just(vec![]), prop::collection::vec(1u8.., 8)]);
    let texts = ("[a-z=:]{0,9}", "\\PC{0,15}", "[a-z ]{0,9}");
    let numbers = (0i32..6, any::<u64>(), any::<u64>(), any::<u32>(), 0i32..3, 0u32..9);
    let event = (any::<u64>(), "[a-z]{0,5}", attributes(1)).prop_map(|(time_unix_nano, name, attributes)| {
        span::Event { time_unix_nano, name, attributes, dropped_attributes_count: 0 }
    });
    let ids_of_link = (prop::collection::vec(1u8.., 16), prop::collection::vec(1u8.., 8));
    let link =
        ids_of_link.prop_map(|(trace_id, span_id)| span::Link { trace_id, span_id, ..span::Link::default() });
    let lists =
        (attributes(3), prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..3), any::<bool>());
    (ids, texts, numbers, lists).prop_map(|(ids, texts, numbers, lists)| ProtoSpan {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: texts.0,
        name: texts.1,
        kind: numbers.0,
        start_time_unix_nano: numbers.1,
        end_time_unix_nano: numbers.2,
        flags: numbers.3,
        dropped_attributes_count: numbers.5,
        attributes: lists.0,
        events: lists.1,
        links: lists.2,
        status: lists.3.then_some(ProtoStatus { message: texts.2, code: numbers.4 }),
        ..ProtoSpan::default()
    })
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = prop::option::of(("[a-z]{0,5}", "[0-9.]{0,5}", attributes(1))).prop_map(|scope| {
        scope.map(|(name, version, attributes)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count: 0,
        })
    });
    let scope_spans = (scope, prop::collection::vec(span(), 0..4)).prop_map(|(scope, spans)| ScopeSpans {
        scope,
        spans,
        schema_url: "https://schema".into(),
    });
    let resource = prop::option::of(attributes(2))
        .prop_map(|attributes| Some(ProtoResource { attributes: attributes?, ..ProtoResource::default() }));
    let resource_spans =
        (resource, prop::collection::vec(scope_spans, 0..3)).prop_map(|(resource, scope_spans)| {
            ResourceSpans { resource, scope_spans, schema_url: String::new() }
        });
    prop::collection::vec(resource_spans, 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn keys(bytes: &[u8]) -> Result<ScanResult, DecodeError> {
    scan_all(bytes)
}

/// What must hold for any bytes whatever: nothing panics, scan and walk agree, and what prost accepts we accept.
fn check_agreement(bytes: &[u8]) {
    let scanned = keys(bytes);
    let walked = for_each_span(bytes, &mut |_| {});
    match (&scanned, &walked) {
        (Ok(scanned), Ok(walked)) => {
            assert_eq!((scanned.valid(), scanned.invalid), (walked.spans, walked.invalid), "{bytes:?}");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("scan says {scanned:?}, walk says {walked:?} for {bytes:?}"),
    }
    if ExportTraceServiceRequest::decode(bytes).is_ok() {
        assert!(scanned.is_ok(), "prost reads {bytes:?}, scan says {scanned:?}");
    }
}

proptest! {
    #[test]
    fn spans_are_what_prost_wrote_field_for_field(request in request()) {
        let bytes = request.encode_to_vec();
        let (seen, walked) = walk(&bytes);
        let expected = expected(&request);
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(walked.spans, expected.len() as u64);
        let scanned = keys(&bytes).unwrap();
        prop_assert_eq!(scanned.spans, walked.spans + walked.invalid);
        prop_assert_eq!(scanned.senders.len(), request.resource_spans.len());
        for (key, (.., span)) in scanned.keys.iter().zip(&expected) {
            prop_assert_eq!(&key.trace_id.0[..], &span.trace_id[..]);
            prop_assert_eq!(&key.span_id.0[..], &span.span_id[..]);
            prop_assert_eq!(key.parent_id.map(|id| id.0.to_vec()).unwrap_or_default(), span.parent_span_id.clone());
            prop_assert_eq!(key.kind as i32, span.kind);
        }
    }

    #[test]
    fn json_that_the_generated_types_wrote_reads_alike(request in request()) {
        let text = serde_json::to_vec(&request).unwrap();
        let bytes = json_to_protobuf(&text).unwrap();
        prop_assert_eq!(walk(&bytes).0, expected(&request));
    }

    #[test]
    fn a_filter_leaves_out_whole_traces_and_nothing_else(request in request()) {
        let bytes = request.encode_to_vec();
        let mut seen = Vec::new();
        let keep = |id: TraceId| id.0[0].is_multiple_of(2);
        let walked = for_each_span_where(&bytes, &mut |id| keep(id), &mut |span| seen.push(flat(span))).unwrap();
        let all = expected(&request);
        let wanted: Vec<Flat> = all.iter().filter(|(.., span)| span.trace_id[0].is_multiple_of(2)).cloned().collect();
        prop_assert_eq!(walked.spans, wanted.len() as u64);
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let ids = scopes.flat_map(|s| &s.spans).map(|s| &s.trace_id).filter(|id| id.len() == 16);
        prop_assert_eq!(walked.skipped, ids.filter(|id| id[0] % 2 == 1).count() as u64);
        prop_assert_eq!(seen, wanted);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_messages_are_refused_or_read_but_never_panic(
        request in request(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4)
    ) {
        let bytes = request.encode_to_vec();
        for cut in 0..bytes.len() {
            check_agreement(&bytes[..cut]);
        }
        let mut damaged = bytes;
        for (at, bit) in flips {
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] ^= 1 << bit;
                check_agreement(&damaged);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_agreement(&bytes);
        let _ = json_to_protobuf(&bytes);
    }
}

fn one_span(span: ProtoSpan) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn with_ids() -> ProtoSpan {
    ProtoSpan { trace_id: vec![1; 16], span_id: vec![2; 8], ..ProtoSpan::default() }
}

#[test]
fn values_nested_too_deep_cost_no_stack() {
    // Built by hand from the inside out: prost itself refuses to decode this.
    let mut value = Vec::new();
    for _ in 0..20_000 {
        let mut list = Vec::with_capacity(value.len() + 12);
        crate::wire::protobuf::put_bytes(&mut list, 1, &value);
        let mut outer = Vec::with_capacity(list.len() + 12);
        crate::wire::protobuf::put_bytes(&mut outer, 5, &list);
        value = outer;
    }
    let mut pair = Vec::new();
    crate::wire::protobuf::put_bytes(&mut pair, 2, &value);
    let mut span = with_ids().encode_to_vec();
    crate::wire::protobuf::put_bytes(&mut span, 9, &pair);
    let (mut scope, mut resource, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    crate::wire::protobuf::put_bytes(&mut scope, 2, &span);
    crate::wire::protobuf::put_bytes(&mut resource, 2, &scope);
    crate::wire::protobuf::put_bytes(&mut bytes, 1, &resource);
    let walked = for_each_span(&bytes, &mut |span| assert_eq!(span.attributes.len(), 1)).unwrap();
    assert_eq!((walked.spans, walked.too_deep), (1, 1));
    assert_eq!(keys(&bytes).unwrap().spans, 1);
}

#[test]
fn more_values_than_a_span_may_have_are_counted_as_dropped() {
    let pair = KeyValue::default();
    let span = ProtoSpan { attributes: vec![pair; MAX_VALUES as usize + 5], ..with_ids() };
    for_each_span(&one_span(span), &mut |span| {
        assert_eq!((span.attributes.len(), span.dropped), (MAX_VALUES as usize, 5));
    })
    .unwrap();
}

#[test]
fn text_that_is_not_utf8_is_cut_and_counted() {
    let mut bytes = one_span(ProtoSpan { name: "abcdef".into(), ..with_ids() });
    let at = bytes.windows(6).position(|window| window == b"abcdef").unwrap();
    bytes[at + 3] = 0xff;
    let walked = for_each_span(&bytes, &mut |span| assert_eq!(span.name, "abc")).unwrap();
    assert_eq!((walked.spans, walked.text_cut), (1, 1));
}

#[test]
fn zero_and_misshapen_ids_are_not_ids() {
    let invalid = [
        ProtoSpan { trace_id: vec![0; 16], ..with_ids() },
        ProtoSpan { span_id: vec![0; 8], ..with_ids() },
        ProtoSpan { trace_id: vec![1; 8], ..with_ids() },
        ProtoSpan { span_id: vec![], ..with_ids() },
    ];
    for span in invalid {
        let bytes = one_span(span);
        assert_eq!(walk(&bytes).1, Walked { invalid: 1, ..Walked::default() });
        assert_eq!(keys(&bytes).unwrap().invalid, 1);
    }
    let (seen, walked) = walk(&one_span(ProtoSpan { parent_span_id: vec![7; 3], ..with_ids() }));
    assert_eq!((seen.len(), walked.bad_parents), (1, 1));
    let (seen, walked) = walk(&one_span(ProtoSpan { parent_span_id: vec![0; 8], ..with_ids() }));
    assert_eq!((seen[0].3.parent_span_id.len(), walked.bad_parents), (0, 0));
}

#[test]
fn fields_have_no_order() {
    // The resource and the scope after their spans, the trace id last in the span.
    let resource = ProtoResource {
        attributes: vec![KeyValue { key: "service.name".into(), ..KeyValue::default() }],
        ..ProtoResource::default()
    };
    let mut span = ProtoSpan { trace_id: vec![], ..with_ids() }.encode_to_vec();
    crate::wire::protobuf::put_bytes(&mut span, 1, &[1; 16]);
    let (mut scope_spans, mut resource_spans, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    crate::wire::protobuf::put_bytes(&mut scope_spans, 2, &span);
    let scope = InstrumentationScope { name: "late".into(), ..InstrumentationScope::default() };
    crate::wire::protobuf::put_bytes(&mut scope_spans, 1, &scope.encode_to_vec());
    crate::wire::protobuf::put_bytes(&mut resource_spans, 2, &scope_spans);
    crate::wire::protobuf::put_bytes(&mut resource_spans, 1, &resource.encode_to_vec());
    crate::wire::protobuf::put_bytes(&mut bytes, 1, &resource_spans);
    let (seen, _) = walk(&bytes);
    assert_eq!((seen[0].0[0].key.as_str(), seen[0].1.as_str()), ("service.name", "late"));
    let mut asked = 0;
    let walked = for_each_span_where(&bytes, &mut |_| false, &mut |_| asked += 1).unwrap();
    assert_eq!((walked.skipped, asked), (1, 0));
}

/// The folder of traces from other projects, if it is there.
fn corpus() -> Option<std::path::PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus");
    let path = std::env::var_os("HOTSPAN_CORPUS").map_or_else(|| default.into(), std::path::PathBuf::from);
    path.is_dir().then_some(path)
}

#[test]
fn official_json_examples_are_read() {
    let Some(corpus) = corpus() else {
        eprintln!("skipped: no corpus folder (set HOTSPAN_CORPUS)");
        return;
    };
    let text = std::fs::read(corpus.join("otlp/trace.json")).unwrap();
    let mut names = Vec::new();
    Encoding::Json
        .for_each_span(&text, &mut |span| {
            assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
            assert_eq!(span.parent_id, SpanId::from_hex("eee19b7ec3c1b173").ok());
            assert_eq!((span.kind, span.resource.service_name()), (SpanKind::Server, "my.service"));
            assert_eq!((span.start.0, span.end.0), (1544712660000000000, 1544712661000000000));
            assert_eq!((span.scope.name, span.scope.version), ("my.library", "1.0.0"));
            assert_eq!(span.attributes[0].value, Value::Str("some value"));
            names.push(span.name.to_owned());
        })
        .unwrap();
    assert_eq!(names, ["I'm a server span"]);
    // Files of other signals are objects with fields that a trace reader does not know: nothing, and no error.
    for other in ["otlp/metrics.json", "otlp/logs.json", "otlp/events.json"] {
        let text = std::fs::read(corpus.join(other)).unwrap();
        assert_eq!(Encoding::Json.scan(&text).unwrap().spans, 0, "{other}");
    }
    for fixture in ["jaeger-ui/otlp2jaeger-in.json", "jaeger/otlp2jaeger-in.json"] {
        let text = std::fs::read(corpus.join(fixture)).unwrap();
        let scanned = Encoding::Json.scan(&text).unwrap();
        assert!(scanned.spans > 0 && scanned.invalid == 0, "{fixture}: {scanned:?}");
    }
}
