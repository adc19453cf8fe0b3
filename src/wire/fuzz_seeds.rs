//! The corpus of the fuzzer, from the generated types: every field of every message at least once.

use super::folder::RunWriter;
use super::otlp::{Encoding, Rpc, Signal, Status};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as V,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::*;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status as SpanStatus, span};
use prost::Message;
use std::io::Write;
use std::time::Duration;

fn pair(key: &str, value: V) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn attributes() -> Vec<KeyValue> {
    let values = vec![AnyValue { value: Some(V::IntValue(-1)) }, AnyValue { value: None }];
    vec![
        pair("text", V::StringValue("größer".into())),
        pair("yes", V::BoolValue(true)),
        pair("number", V::IntValue(i64::MIN)),
        pair("real", V::DoubleValue(0.5)),
        pair("bytes", V::BytesValue(vec![0, 255])),
        pair("list", V::ArrayValue(ArrayValue { values })),
        pair("map", V::KvlistValue(KeyValueList { values: vec![pair("in", V::StringValue("ner".into()))] })),
    ]
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: vec![pair("service.name", V::StringValue("shop".into()))],
        dropped_attributes_count: 1,
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".into(),
        version: "1".into(),
        attributes: attributes(),
        dropped_attributes_count: 2,
    })
}

fn spans(n: u8) -> ExportTraceServiceRequest {
    let span = |n: u8| Span {
        trace_id: vec![n + 1; 16],
        span_id: vec![n + 2; 8],
        trace_state: "ot=th:8".into(),
        parent_span_id: if n.is_multiple_of(2) { vec![] } else { vec![n; 8] },
        flags: 0x301,
        name: "GET /x".into(),
        kind: i32::from(n % 6),
        start_time_unix_nano: 1_764_000_000_000_000_000,
        end_time_unix_nano: 1_764_000_000_001_000_000,
        attributes: attributes(),
        dropped_attributes_count: 3,
        events: vec![span::Event {
            time_unix_nano: 5,
            name: "exception".into(),
            attributes: attributes(),
            dropped_attributes_count: 1,
        }],
        dropped_events_count: 4,
        links: vec![span::Link {
            trace_id: vec![9; 16],
            span_id: vec![8; 8],
            trace_state: "a=b".into(),
            attributes: attributes(),
            dropped_attributes_count: 2,
            flags: 1,
        }],
        dropped_links_count: 5,
        status: Some(SpanStatus { message: "no".into(), code: i32::from(n % 3) }),
    };
    let scope_spans =
        vec![ScopeSpans { scope: scope(), spans: (0..n).map(span).collect(), schema_url: "u".into() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(), scope_spans, schema_url: "s".into() }],
    }
}

fn metrics() -> ExportMetricsServiceRequest {
    use number_data_point::Value as N;
    let exemplars = vec![Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: 1,
        span_id: vec![1; 8],
        trace_id: vec![2; 16],
        value: Some(exemplar::Value::AsInt(-3)),
    }];
    let number = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: exemplars.clone(),
        flags: 0,
        value: Some(value),
    };
    let unset = NumberDataPoint { flags: 1, value: None, ..number(N::AsInt(0)) };
    let explicit = HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(4.5),
        bucket_counts: vec![1, 0, 2],
        explicit_bounds: vec![0.1, 1.0],
        exemplars: exemplars.clone(),
        flags: 0,
        min: Some(0.05),
        max: Some(9.0),
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 7,
        sum: Some(1.0),
        scale: -2,
        zero_count: 1,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 300, 2] }),
        negative: Some(Buckets { offset: 4, bucket_counts: vec![0, 2] }),
        flags: 0,
        exemplars: exemplars.clone(),
        min: Some(-1.0),
        max: Some(1.0),
        zero_threshold: 1e-9,
    };
    let summary = SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: 4.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 5.0 }],
        flags: 0,
    };
    let metric = |data| Metric {
        name: "m".into(),
        description: "d".into(),
        unit: "s".into(),
        metadata: attributes(),
        data: Some(data),
    };
    let numbers = vec![number(N::AsInt(-1)), number(N::AsDouble(f64::MAX)), unset];
    let all = vec![
        metric(metric::Data::Gauge(Gauge { data_points: numbers.clone() })),
        metric(metric::Data::Sum(Sum {
            data_points: numbers,
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        metric(metric::Data::Histogram(Histogram {
            data_points: vec![explicit],
            aggregation_temporality: 1,
        })),
        metric(metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: 2,
        })),
        metric(metric::Data::Summary(Summary { data_points: vec![summary] })),
    ];
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics: all, schema_url: "u".into() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics,
            schema_url: "s".into(),
        }],
    }
}

fn logs() -> ExportLogsServiceRequest {
    let record = |body| LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue { value: Some(body) }),
        attributes: attributes(),
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        event_name: "e".into(),
    };
    let map = V::KvlistValue(KeyValueList { values: attributes() });
    let log_records = vec![record(V::StringValue("x".into())), record(map)];
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: "u".into() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(), scope_logs, schema_url: "s".into() }],
    }
}

fn segment() -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("r");
    let run = super::folder::tests::run();
    let mut writer = RunWriter::create(&dir, &run).unwrap();
    writer.append_spans(Encoding::Protobuf, &spans(2).encode_to_vec(), 2).unwrap();
    writer.append_spans(Encoding::Json, &serde_json::to_vec(&spans(1)).unwrap(), 1).unwrap();
    writer.finish(&run).unwrap();
    std::fs::read(dir.join("spans/000000.seg")).unwrap()
}

fn exchanges() -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("r");
    let run = super::folder::tests::run();
    let mut writer = RunWriter::create(&dir, &run).unwrap();
    writer.append_exchanges(&super::folder::tests::exchanges(12)).unwrap();
    writer.finish(&run).unwrap();
    std::fs::read(dir.join("exchanges/000000.seg")).unwrap()
}

/// Names and bytes of all seeds.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let status = Status {
        code: Rpc::Unavailable,
        message: "m".into(),
        retry_after: Some(Duration::from_millis(1_500)),
    };
    let plain = spans(2).encode_to_vec();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let mut frame = vec![0];
    frame.extend((plain.len() as u32).to_be_bytes());
    frame.extend(&plain);
    vec![
        ("spans.pb.1", spans(1).encode_to_vec()),
        ("spans.pb.3", spans(3).encode_to_vec()),
        ("spans.json.1", serde_json::to_vec(&spans(1)).unwrap()),
        ("metrics.pb.1", metrics().encode_to_vec()),
        ("metrics.json.1", serde_json::to_vec(&metrics()).unwrap()),
        ("logs.pb.1", logs().encode_to_vec()),
        ("logs.json.1", serde_json::to_vec(&logs()).unwrap()),
        ("status.pb", status.encode(Encoding::Protobuf)),
        ("status.json", status.encode(Encoding::Json)),
        ("segment.spans", segment()),
        ("segment.exchanges", exchanges()),
        ("packed.gzip", gzip),
        ("packed.zlib", zlib),
        ("packed.zstd", zstd::encode_all(&plain[..], 3).unwrap()),
        ("packed.zstd-sized", zstd::bulk::compress(&plain, 3).unwrap()),
        ("frame.plain", frame),
        ("frame.path", Signal::Traces.grpc_path().as_bytes().to_vec()),
    ]
}
