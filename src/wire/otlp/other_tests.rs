//! Metrics and logs against an independent implementation: the generated types, prost and serde.

use super::{
    Encoding, MAX_BUCKETS, Signal, WalkedLogs, WalkedPoints, for_each_log, for_each_point,
    json_to_protobuf_of,
};
use crate::record::{Bucket, MetricValue, SumsSince, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::*;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use proptest::prelude::*;
use prost::Message;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(any_value::Value::StringValue(value.into()));
    KeyValue { key: key.into(), value: Some(AnyValue { value }), ..KeyValue::default() }
}

fn resource() -> Option<ProtoResource> {
    let attributes = vec![text("service.name", "shop"), text("service.instance.id", "a1")];
    Some(ProtoResource { attributes, ..ProtoResource::default() })
}

fn metrics(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope = Some(InstrumentationScope { name: "pool".into(), ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics, schema_url: String::new() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics,
            schema_url: String::new(),
        }],
    }
}

fn metric(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.into(), unit: "s".into(), data: Some(data), ..Metric::default() }
}

fn number(value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![text("pool", "main")],
        start_time_unix_nano: 5,
        time_unix_nano: 9,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// A point as text: time, service, instance, name, attribute and value.
fn points(request: &ExportMetricsServiceRequest) -> (Vec<String>, WalkedPoints) {
    let mut seen = Vec::new();
    let walked = for_each_point(&request.encode_to_vec(), &mut |p| {
        let (service, instance) = (p.resource.service_name(), p.resource.instance());
        let at = (p.start.0, p.time.0);
        seen.push(format!(
            "{at:?} {service}/{instance}/{} {} {} {:?} {:?}",
            p.scope.name,
            p.name,
            p.unit,
            p.attribute("pool"),
            p.value
        ));
    });
    (seen, walked.unwrap())
}

#[test]
fn gauges_and_sums_are_read() {
    use number_data_point::Value as V;
    let unset = NumberDataPoint { flags: 1, value: None, ..number(V::AsInt(0)) };
    let request = metrics(vec![
        metric(
            "pending",
            metric::Data::Gauge(Gauge {
                data_points: vec![number(V::AsInt(-3)), unset, number(V::AsDouble(0.5))],
            }),
        ),
        metric(
            "cpu",
            metric::Data::Sum(Sum {
                data_points: vec![number(V::AsDouble(1.5))],
                aggregation_temporality: 2,
                is_monotonic: true,
            }),
        ),
        Metric { name: "empty".into(), ..Metric::default() },
    ]);
    let (seen, walked) = points(&request);
    assert_eq!(
        seen,
        [
            "(5, 9) shop/a1/pool pending s Some(\"main\") Gauge(-3.0)",
            "(5, 9) shop/a1/pool pending s Some(\"main\") Gauge(0.5)",
            "(5, 9) shop/a1/pool cpu s Some(\"main\") Sum { value: 1.5, monotonic: true, temporality: Start }",
        ]
    );
    assert_eq!(walked, WalkedPoints { points: 3, without_value: 1, ..WalkedPoints::default() });
}

#[test]
fn both_kinds_of_histograms_become_intervals() {
    let explicit = HistogramDataPoint {
        count: 6,
        sum: Some(3.0),
        bucket_counts: vec![1, 0, 5],
        explicit_bounds: vec![0.1, 0.5],
        max: Some(0.9),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        count: 10,
        scale: 1,
        zero_count: 2,
        positive: Some(Buckets { offset: -2, bucket_counts: vec![3, 0, 1] }),
        negative: Some(Buckets { offset: 0, bucket_counts: vec![4] }),
        min: Some(-1.2),
        ..ExponentialHistogramDataPoint::default()
    };
    let request = metrics(vec![
        metric(
            "wait",
            metric::Data::Histogram(Histogram { data_points: vec![explicit], aggregation_temporality: 1 }),
        ),
        metric(
            "wait",
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 2,
            }),
        ),
        metric(
            "gc",
            metric::Data::Summary(Summary {
                data_points: vec![SummaryDataPoint {
                    count: 4,
                    sum: 2.0,
                    quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 0.25 }],
                    ..SummaryDataPoint::default()
                }],
            }),
        ),
    ]);
    let mut seen = 0;
    let root2 = std::f64::consts::SQRT_2;
    for_each_point(&request.encode_to_vec(), &mut |p| {
        match p.value {
            MetricValue::Histogram { values, temporality: SumsSince::LastPoint } => {
                let expected = [
                    Bucket { lower: f64::NEG_INFINITY, upper: 0.1, count: 1 },
                    Bucket { lower: 0.5, upper: f64::INFINITY, count: 5 },
                ];
                assert_eq!((values.buckets, values.count, values.mean()), (&expected[..], 6, Some(0.5)));
                assert_eq!((values.min, values.max), (None, Some(0.9)));
            }
            MetricValue::Histogram { values, temporality: SumsSince::Start } => {
                let expected = [(-root2, -1.0, 4), (0.0, 0.0, 2), (0.5, 0.5 * root2, 3), (1.0, root2, 1)];
                for (bucket, (lower, upper, count)) in values.buckets.iter().zip(expected) {
                    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
                    assert!(near(bucket.lower, lower) && near(bucket.upper, upper), "{bucket:?}");
                    assert_eq!(bucket.count, count);
                }
                assert_eq!((values.buckets.len(), values.min, values.sum), (4, Some(-1.2), None));
            }
            MetricValue::Summary { count: 4, quantiles, .. } => assert_eq!(quantiles, [(0.5, 0.25)]),
            other => panic!("{other:?}"),
        }
        seen += 1;
    })
    .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn a_histogram_of_a_million_buckets_does_not_cost_a_million() {
    let buckets = Some(Buckets { offset: 0, bucket_counts: vec![1; 1_000_000] });
    let point = ExponentialHistogramDataPoint {
        scale: i32::MIN,
        count: 1_000_000,
        positive: buckets,
        ..ExponentialHistogramDataPoint::default()
    };
    let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 2 };
    let request = metrics(vec![metric("huge", metric::Data::ExponentialHistogram(data))]);
    let walked = for_each_point(&request.encode_to_vec(), &mut |p| {
        let MetricValue::Histogram { values, .. } = p.value else { panic!() };
        assert_eq!((values.buckets.len(), values.count), (MAX_BUCKETS, 1_000_000));
    });
    assert_eq!(walked.unwrap().buckets_cut, 1);
}

fn log(trace_id: Vec<u8>, span_id: Vec<u8>) -> LogRecord {
    LogRecord {
        observed_time_unix_nano: 7,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue("pool exhausted".into())) }),
        attributes: vec![text("exception.type", "Timeout")],
        trace_id,
        span_id,
        event_name: "exception".into(),
        ..LogRecord::default()
    }
}

fn logs(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, schema_url: String::new() }];
    ExportLogsServiceRequest { resource_logs }
}

#[test]
fn log_records_are_read_with_their_trace() {
    let request = logs(vec![
        log(vec![1; 16], vec![2; 8]),
        log(vec![], vec![]),
        log(vec![0; 16], vec![0; 8]),
        log(vec![1; 9], vec![2; 8]),
        LogRecord { time_unix_nano: 3, ..log(vec![1; 16], vec![]) },
    ]);
    let mut seen = Vec::new();
    let walked = for_each_log(&request.encode_to_vec(), &mut |line| {
        assert_eq!(
            (line.text(), line.attribute("exception.type")),
            (Some("pool exhausted"), Some("Timeout"))
        );
        assert!(line.is_error() && line.resource.service_name() == "shop" && line.event_name == "exception");
        seen.push((line.time.0, line.trace_id.is_some(), line.span_id.is_some()));
    });
    let none = (7, false, false);
    assert_eq!(seen, [(7, true, true), none, none, none, (3, true, false)]);
    assert_eq!(walked.unwrap(), WalkedLogs { records: 5, bad_ids: 1, ..WalkedLogs::default() });
}

fn value() -> impl Strategy<Value = number_data_point::Value> {
    use number_data_point::Value as V;
    prop_oneof![any::<i64>().prop_map(V::AsInt), (-1e12f64..1e12).prop_map(V::AsDouble)]
}

fn data() -> impl Strategy<Value = metric::Data> {
    let numbers = prop::collection::vec(value().prop_map(number), 0..4).boxed();
    let explicit = (any::<u32>(), prop::collection::vec(any::<u64>(), 0..5), prop::option::of(-1e9..1e9));
    let explicit = explicit.prop_map(|(count, bucket_counts, sum)| HistogramDataPoint {
        count: count.into(),
        explicit_bounds: (1..bucket_counts.len()).map(|n| n as f64 / 3.0).collect(),
        bucket_counts,
        sum,
        ..HistogramDataPoint::default()
    });
    let exponential = (any::<i32>(), any::<i32>(), prop::collection::vec(any::<u64>(), 0..5), any::<u32>());
    let exponential =
        exponential.prop_map(|(scale, offset, bucket_counts, zeros)| ExponentialHistogramDataPoint {
            scale,
            zero_count: zeros.into(),
            positive: Some(Buckets { offset, bucket_counts }),
            ..ExponentialHistogramDataPoint::default()
        });
    prop_oneof![
        numbers.clone().prop_map(|data_points| metric::Data::Gauge(Gauge { data_points })),
        (numbers, 0..3, any::<bool>()).prop_map(|(data_points, aggregation_temporality, is_monotonic)| {
            metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        }),
        prop::collection::vec(explicit, 0..3).prop_map(|data_points| {
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality: 1 })
        }),
        prop::collection::vec(exponential, 0..3).prop_map(|data_points| {
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points,
                aggregation_temporality: 2,
            })
        }),
    ]
}

/// Numbers of points of a request, by the generated types.
fn count(request: &ExportMetricsServiceRequest) -> u64 {
    let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let count = |metric: &Metric| match &metric.data {
        Some(metric::Data::Gauge(data)) => data.data_points.len(),
        Some(metric::Data::Sum(data)) => data.data_points.len(),
        Some(metric::Data::Histogram(data)) => data.data_points.len(),
        Some(metric::Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(metric::Data::Summary(data)) => data.data_points.len(),
        None => 0,
    };
    metrics.map(|metric| count(metric) as u64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_point_is_handed_on_and_json_is_the_same_message(
        all in prop::collection::vec(data(), 0..5)
    ) {
        let request = metrics(all.into_iter().map(|data| metric("m", data)).collect());
        let (seen, walked) = points(&request);
        prop_assert_eq!(walked.points, count(&request));
        let json = serde_json::to_vec(&request).unwrap();
        let bytes = json_to_protobuf_of(Signal::Metrics, &json).unwrap();
        let back = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        prop_assert_eq!(&back, &request);
        prop_assert_eq!(points(&back).0, seen);
    }

    #[test]
    fn no_bytes_make_the_walkers_panic_and_prost_agrees_on_what_is_sound(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let gauge = Gauge { data_points: vec![number(number_data_point::Value::AsInt(1))] };
        let mut bytes = metrics(vec![metric("a", metric::Data::Gauge(gauge))]).encode_to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let walked = for_each_point(&bytes, &mut |_| {});
        if let (Ok(walked), Ok(request)) = (walked, ExportMetricsServiceRequest::decode(&bytes[..])) {
            prop_assert_eq!(walked.points + walked.without_value, count(&request));
        }
        let mut bytes = logs(vec![log(vec![1; 16], vec![2; 8])]).encode_to_vec();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let _ = for_each_log(&bytes, &mut |_| {});
    }
}

#[test]
fn logs_in_json_are_the_same_message() {
    let body = Some(AnyValue { value: Some(any_value::Value::IntValue(-4)) });
    let request = logs(vec![
        log(vec![1; 16], vec![2; 8]),
        LogRecord { body, flags: 1, time_unix_nano: u64::MAX, ..LogRecord::default() },
    ]);
    let json = serde_json::to_vec(&request).unwrap();
    let bytes = Encoding::Json.to_protobuf_of(Signal::Logs, &json).unwrap();
    assert_eq!(ExportLogsServiceRequest::decode(&bytes[..]).unwrap(), request);
    let mut bodies = Vec::new();
    let walked = Encoding::Json.for_each_log(&json, &mut |line| bodies.push(format!("{:?}", line.body)));
    assert_eq!((walked.unwrap().records, bodies[1].as_str()), (2, "Int(-4)"));
    assert_eq!(format!("{:?}", Value::Str("pool exhausted")), bodies[0]);
}
