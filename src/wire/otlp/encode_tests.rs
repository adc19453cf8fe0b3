//! Client spans and metrics, decoded by the generated types and prost.

use super::*;
use crate::record::{
    CheckFailure, Exchange, Failure, FailureClass, Outcome, Phases, Protocol, Run, SpanId, StepId, StepInfo,
    Timestamp,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span as ProtoSpan, Status as ProtoStatus};
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;

fn run() -> Run {
    let step = |method: &str, name: &str, template: &str| StepInfo {
        journey: "browse".into(),
        name: name.into(),
        method: method.into(),
        template: template.into(),
        checks: Vec::new(),
    };
    Run {
        id: "20261124T120000Z-shop".into(),
        name: "shop".into(),
        started_at: Timestamp(1_000),
        ended_at: None,
        state: crate::record::RunState::Running,
        target: "http://127.0.0.1:8080/".into(),
        hotspan_version: "0.1.0".into(),
        git_commit: None,
        host: crate::record::Host::default(),
        scenario: String::new(),
        steps: vec![step("GET", "list", "/products"), step("POST", "checkout", "/orders")],
        load: crate::record::LoadFacts::default(),
        receiver: crate::record::ReceiverFacts::default(),
        export: crate::record::ExportFacts::default(),
        sources: Default::default(),
        wait: None,
        warnings: vec![],
    }
}

fn exchange(url: &str, outcome: Outcome) -> Exchange {
    Exchange {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([9; 8]),
        sampled: true,
        threshold: crate::record::Threshold::ALWAYS,
        step: StepId(0),
        user: 3,
        iteration: 300,
        intended: Timestamp(1_000_000),
        phases: Phases {
            start: Timestamp(3_000_000),
            resolved: None,
            connected: Some(Timestamp(4_000_000)),
            tls_done: None,
            sent: Some(Timestamp(4_500_000)),
            first_byte: Some(Timestamp(9_000_000)),
            end: Timestamp(10_000_000),
        },
        outcome,
        checks_failed: vec![],
        bytes_sent: 100,
        bytes_received: 2_000,
        bytes_decoded: None,
        followed: false,
        connection_reused: false,
        protocol: Protocol::Http1,
        url: url.into(),
        server_timing: None,
        messages: None,
    }
}

fn failed(message: &str) -> Outcome {
    let failure = Failure { class: FailureClass::Reset, message: message.into() };
    Outcome::Failed { failure, status: Some(200) }
}

fn attribute(span: &ProtoSpan, key: &str) -> Option<any_value::Value> {
    let found: Vec<_> = span.attributes.iter().filter(|a| a.key == key).collect();
    assert!(found.len() < 2, "{key} twice");
    found.first().and_then(|a| a.value.clone()?.value)
}

#[test]
fn client_spans_are_what_the_conventions_ask_for() {
    use any_value::Value as V;
    let text = |text: &str| Some(V::StringValue(text.into()));
    let mut encoder = SpanEncoder::new(&run(), &[("service.name".into(), "hotspan".into())]);
    encoder.push(&exchange("http://127.0.0.1:8080/products?page=3", Outcome::Answered(200)));
    encoder.push(&exchange("https://[::1]/other", Outcome::Answered(404)));
    let mut lost = exchange("http://127.0.0.1:8080/x", failed("connection reset"));
    lost.step = StepId(1);
    lost.checks_failed.push(CheckFailure { check: "status".into(), seen: "none".into() });
    encoder.push(&lost);
    assert_eq!(encoder.len(), 3);
    let (bytes, count) = encoder.take().unwrap();
    assert!(encoder.take().is_none() && count == 3);
    let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    let resource_spans = &request.resource_spans[0];
    assert_eq!(resource_spans.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let scope_spans = &resource_spans.scope_spans[0];
    assert_eq!(scope_spans.scope.as_ref().unwrap().name, "hotspan");
    let [ok, missing, lost] = &scope_spans.spans[..] else { panic!("{scope_spans:?}") };

    assert_eq!((ok.trace_id.clone(), ok.span_id.clone()), (vec![7; 16], vec![9; 8]));
    assert!(ok.parent_span_id.is_empty() && ok.status.is_none());
    assert_eq!((ok.name.as_str(), ok.kind, ok.flags), ("GET /products", 3, 0x103));
    assert_eq!((ok.start_time_unix_nano, ok.end_time_unix_nano), (3_000_000, 10_000_000));
    for (key, value) in [
        ("http.request.method", text("GET")),
        ("url.full", text("http://127.0.0.1:8080/products?page=3")),
        ("url.template", text("/products")),
        ("server.address", text("127.0.0.1")),
        ("server.port", Some(V::IntValue(8080))),
        ("http.response.status_code", Some(V::IntValue(200))),
        ("error.type", None),
        ("network.protocol.version", text("1.1")),
        ("hotspan.run.id", text("20261124T120000Z-shop")),
        ("hotspan.journey", text("browse")),
        ("hotspan.step", text("list")),
        ("hotspan.iteration", Some(V::IntValue(300))),
        ("hotspan.user", Some(V::IntValue(3))),
        ("hotspan.schedule_delay", Some(V::DoubleValue(0.002))),
    ] {
        assert_eq!(attribute(ok, key), value, "{key}");
    }
    let events: Vec<_> = ok.events.iter().map(|e| (e.name.as_str(), e.time_unix_nano)).collect();
    assert_eq!(events, [("connected", 4_000_000), ("sent", 4_500_000), ("first_byte", 9_000_000)]);

    assert_eq!(attribute(missing, "server.address"), text("::1"));
    assert_eq!(attribute(missing, "server.port"), Some(V::IntValue(443)));
    assert_eq!(attribute(missing, "error.type"), text("404"));
    assert_eq!(missing.status, Some(ProtoStatus { code: 2, message: String::new() }));

    assert_eq!(lost.name, "POST /orders");
    assert_eq!(attribute(lost, "error.type"), text("reset"));
    assert_eq!(attribute(lost, "http.response.status_code"), Some(V::IntValue(200)));
    assert_eq!(lost.status, Some(ProtoStatus { code: 2, message: "connection reset".into() }));
    assert_eq!(lost.events.last().map(|e| e.name.as_str()), Some("check failed"));
}

#[test]
fn rpcs_and_conversations_have_the_names_of_their_conventions() {
    type V = any_value::Value;
    let mut run = run();
    run.steps[0].method = StepInfo::GRPC.into();
    run.steps[0].template = "shop.v1.Catalog/GetProduct".into();
    run.steps[1].method = StepInfo::WEBSOCKET.into();
    run.steps[1].template = "/chat".into();
    let mut encoder = SpanEncoder::new(&run, &[]);
    let url = "http://127.0.0.1:8080/shop.v1.Catalog/GetProduct";
    for status in [0, 5, 77] {
        encoder.push(&exchange(url, Outcome::Answered(status)));
    }
    let failure = Failure { class: FailureClass::Timeout, message: "no answer within 1 s".into() };
    encoder.push(&exchange(url, Outcome::Failed { failure, status: Some(4) }));
    let messages = crate::record::Messages {
        sent: 2,
        received: 3,
        first: Some(Timestamp(9_500_000)),
        longest_gap: crate::record::Nanos(1_500_000),
        round_trips: 2,
        round_trip_total: crate::record::Nanos(5_000_000),
        round_trip_longest: crate::record::Nanos(4_000_000),
    };
    let chat = exchange("wss://chat.example/chat", Outcome::Answered(101));
    encoder.push(&Exchange { step: StepId(1), messages: Some(Box::new(messages)), ..chat });
    let (bytes, _) = encoder.take().unwrap();
    let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    let [ok, missing, odd, late, chat] = &request.resource_spans[0].scope_spans[0].spans[..] else {
        panic!()
    };

    assert_eq!((ok.name.as_str(), ok.kind, &ok.status), ("shop.v1.Catalog/GetProduct", 3, &None));
    let text = |value: &str| Some(V::StringValue(value.into()));
    for (key, value) in [
        ("rpc.system", text("grpc")),
        ("rpc.system.name", text("grpc")),
        ("rpc.service", text("shop.v1.Catalog")),
        ("rpc.method", text("shop.v1.Catalog/GetProduct")),
        ("rpc.response.status_code", text("OK")),
        ("rpc.grpc.status_code", Some(V::IntValue(0))),
        ("server.address", text("127.0.0.1")),
        ("http.request.method", None),
        ("http.response.status_code", None),
        ("error.type", None),
    ] {
        assert_eq!(attribute(ok, key), value, "{key}");
    }
    assert_eq!(attribute(missing, "error.type"), text("NOT_FOUND"));
    assert_eq!(attribute(missing, "rpc.grpc.status_code"), Some(V::IntValue(5)));
    assert_eq!(missing.status, Some(ProtoStatus { code: 2, message: String::new() }));
    assert_eq!(attribute(odd, "rpc.response.status_code"), text("UNKNOWN"));
    assert_eq!(attribute(late, "error.type"), text("timeout"));
    assert_eq!(attribute(late, "rpc.response.status_code"), text("DEADLINE_EXCEEDED"));

    assert_eq!((chat.name.as_str(), &chat.status), ("GET /chat", &None));
    for (key, value) in [
        ("http.request.method", text("GET")),
        ("network.protocol.name", text("websocket")),
        ("http.response.status_code", Some(V::IntValue(101))),
        ("server.port", Some(V::IntValue(443))),
        ("hotspan.messages.sent", Some(V::IntValue(2))),
        ("hotspan.messages.received", Some(V::IntValue(3))),
        ("hotspan.messages.longest_gap", Some(V::DoubleValue(0.001_5))),
        ("hotspan.messages.round_trip.mean", Some(V::DoubleValue(0.002_5))),
        ("hotspan.messages.round_trip.longest", Some(V::DoubleValue(0.004))),
    ] {
        assert_eq!(attribute(chat, key), value, "{key}");
    }
    let last = chat.events.last().map(|e| (e.name.as_str(), e.time_unix_nano));
    assert_eq!(last, Some(("first_message", 9_500_000)));

    let mut encoder = MetricsEncoder::new(&run, &[], Temporality::Delta, HistogramForm::Exponential);
    encoder.record(&exchange(url, Outcome::Answered(5)));
    let made = metrics(&encoder.encode(Timestamp(20_000_000)));
    assert!(made.iter().all(|(name, _)| name != "http.client.request.duration"));
    let Some((_, metric::Data::ExponentialHistogram(calls))) =
        made.iter().find(|(name, _)| name == "rpc.client.call.duration")
    else {
        panic!("{made:?}")
    };
    let attributes = &calls.data_points[0].attributes;
    let of = |key: &str| attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()?.value);
    assert_eq!(of("rpc.method"), text("shop.v1.Catalog/GetProduct"));
    assert_eq!((of("rpc.response.status_code"), of("error.type")), (text("NOT_FOUND"), text("NOT_FOUND")));
}

proptest! {
    #[test]
    fn client_spans_of_any_size_decode(lengths in prop::collection::vec(0usize..40_000, 1..4)) {
        let mut encoder = SpanEncoder::new(&run(), &[]);
        for length in &lengths {
            encoder.push(&exchange(&format!("http://h/{}", "x".repeat(*length)), Outcome::Answered(200)));
        }
        let (bytes, _) = encoder.take().unwrap();
        prop_assert_eq!(scan_all(&bytes).unwrap().valid(), lengths.len() as u64);
        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        for (span, length) in spans.iter().zip(&lengths) {
            let Some(any_value::Value::StringValue(url)) = attribute(span, "url.full") else { panic!() };
            prop_assert_eq!(url.len(), length + 9);
        }
    }
}

fn metrics(bytes: &[u8]) -> Vec<(String, metric::Data)> {
    let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
    let scope = &request.resource_metrics[0].scope_metrics[0];
    scope.metrics.iter().map(|m| (m.name.clone(), m.data.clone().unwrap())).collect()
}

#[test]
fn metrics_carry_trace_ids_and_follow_the_temporality() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let mut encoder = MetricsEncoder::new(&run(), &[], temporality, HistogramForm::Exponential);
        encoder.record(&exchange("http://h/", Outcome::Answered(200)));
        let load = |iterations| LoadGauges { users: 5, iterations, in_flight: 3, late: 1 };
        encoder.load(load(8));
        encoder.blame(StepId(0), &[("database", 0.25)]);
        encoder.encode(Timestamp(2_000));
        encoder.record(&exchange("http://h/", Outcome::Answered(200)));
        encoder.record(&exchange("http://h/", failed("gone")));
        encoder.load(load(10));
        encoder.blame(StepId(0), &[("database", 0.5), ("app", 0.125)]);
        encoder.ended(Timestamp(2_500_000_000));
        let seen = metrics(&encoder.encode(Timestamp(3_000)));
        let cumulative = temporality == Temporality::Cumulative;
        let (since, answered, iterations) = if cumulative { (1_000, 2, 10) } else { (2_000, 1, 2) };
        let names: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "http.client.request.duration",
                "hotspan.schedule_delay",
                "hotspan.users",
                "hotspan.generator.in_flight",
                "hotspan.iterations",
                "hotspan.generator.late",
                "hotspan.checks",
                "hotspan.blame",
                "hotspan.blame.exchanges",
                "hotspan.run.started",
                "hotspan.run.ended",
            ]
        );
        let metric::Data::ExponentialHistogram(durations) = &seen[0].1 else { panic!() };
        assert_eq!(durations.aggregation_temporality, if cumulative { 2 } else { 1 });
        let [ok, gone] = &durations.data_points[..] else { panic!("{durations:?}") };
        assert_eq!((ok.count, ok.start_time_unix_nano, ok.time_unix_nano), (answered, since, 3_000));
        assert_eq!(ok.sum, Some(0.007 * answered as f64));
        assert_eq!(ok.positive.as_ref().unwrap().bucket_counts.iter().sum::<u64>(), answered);
        assert_eq!((ok.exemplars[0].trace_id.clone(), ok.exemplars.len()), (vec![7; 16], 1));
        assert_eq!(ok.exemplars[0].value, Some(exemplar::Value::AsDouble(0.007)));
        assert!(gone.attributes.iter().any(|a| a.key == "error.type"));
        let metric::Data::Gauge(users) = &seen[2].1 else { panic!() };
        assert_eq!(users.data_points[0].value, Some(number_data_point::Value::AsInt(5)));
        let sum = |at: usize| match &seen[at].1 {
            metric::Data::Sum(sum) => sum.data_points.iter().map(|p| p.value.unwrap()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        use number_data_point::Value::{AsDouble, AsInt};
        assert_eq!(sum(4), [AsInt(iterations)]);
        assert_eq!(sum(5), [AsInt(i64::from(cumulative))]);
        assert_eq!(sum(7), [AsDouble(0.125), AsDouble(if cumulative { 0.75 } else { 0.5 })]);
        assert_eq!(sum(8), [AsInt(if cumulative { 2 } else { 1 })]);
        let metric::Data::Gauge(ended) = &seen[10].1 else { panic!() };
        assert_eq!(ended.data_points[0].value, Some(AsDouble(2.5)));
    }
}

#[test]
fn explicit_buckets_are_there_for_backends_that_ask() {
    let mut encoder = MetricsEncoder::new(&run(), &[], Temporality::Cumulative, HistogramForm::Explicit);
    encoder.record(&exchange("http://h/", Outcome::Answered(200)));
    let seen = metrics(&encoder.encode(Timestamp(3_000)));
    let metric::Data::Histogram(durations) = &seen[0].1 else { panic!() };
    let point = &durations.data_points[0];
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    // 7 ms lies in (5 ms, 10 ms].
    assert_eq!((point.bucket_counts[1], point.explicit_bounds[1]), (1, 0.01));
}

#[test]
fn exemplars_follow_the_filter() {
    for (filter, sampled, unsampled) in [
        (ExemplarFilter::TraceBased, 1, 0),
        (ExemplarFilter::AlwaysOn, 1, 1),
        (ExemplarFilter::AlwaysOff, 0, 0),
    ] {
        for (is_sampled, wanted) in [(true, sampled), (false, unsampled)] {
            let mut encoder =
                MetricsEncoder::new(&run(), &[], Temporality::Cumulative, HistogramForm::Exponential);
            encoder.exemplars(filter);
            let seen = exchange("http://h/", Outcome::Answered(200));
            encoder.record(&Exchange { sampled: is_sampled, ..seen });
            let seen = metrics(&encoder.encode(Timestamp(3_000)));
            let metric::Data::ExponentialHistogram(durations) = &seen[0].1 else { panic!() };
            assert_eq!(durations.data_points[0].exemplars.len(), wanted, "{filter:?} {is_sampled}");
        }
    }
}

#[test]
fn json_says_what_protobuf_says() {
    let mut spans = SpanEncoder::new(&run(), &[("service.name".into(), "hotspan".into())]);
    spans.push(&exchange("http://127.0.0.1:8080/products?page=3", failed("gone \"away\"")));
    let (protobuf, _) = spans.take().unwrap();
    let again = json_to_protobuf(&traces_to_json(&protobuf).unwrap()).unwrap();
    let decode = |bytes: &[u8]| ExportTraceServiceRequest::decode(bytes).unwrap();
    assert_eq!(decode(&again), decode(&protobuf));

    let mut encoder = MetricsEncoder::new(&run(), &[], Temporality::Cumulative, HistogramForm::Exponential);
    encoder.record(&exchange("http://h/", Outcome::Answered(200)));
    let protobuf = encoder.encode(Timestamp(3_000));
    let json: serde_json::Value = serde_json::from_slice(&metrics_to_json(&protobuf).unwrap()).unwrap();
    let durations = &json["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
    assert_eq!(durations["name"], "http.client.request.duration");
    let point = &durations["exponentialHistogram"]["dataPoints"][0];
    assert_eq!(point["timeUnixNano"], "3000");
    // Ids are hexadecimal in OTLP JSON, not Base64 as in Protobuf's own JSON.
    assert_eq!(point["exemplars"][0]["traceId"], "07".repeat(16));
    assert!(traces_to_json(b"\xff").unwrap_err().contains("not an OTLP message"));
}

#[test]
fn a_span_by_its_form_has_the_bytes_of_the_long_way() {
    let urls: [Arc<str>; 2] = ["http://127.0.0.1:8080/products".into(), "http://other:1/x".into()];
    let usual = |n: u64| Exchange {
        trace_id: TraceId([n as u8 + 1; 16]),
        span_id: SpanId([n as u8 + 2; 8]),
        user: n as u32 * 1_000,
        iteration: n as u32,
        phases: Phases {
            start: Timestamp(3_000_000 + n),
            connected: None,
            sent: Some(Timestamp(4_500_000 + n)),
            first_byte: Some(Timestamp(9_000_000 + n)),
            end: Timestamp(10_000_000 + n),
            ..Phases::default()
        },
        url: Arc::clone(&urls[0]),
        ..exchange("", Outcome::Answered(200))
    };
    type Change = fn(&mut Exchange, &[Arc<str>; 2]);
    let change: [Change; 9] = [
        |e, _| e.outcome = Outcome::Answered(500),
        |e, _| e.outcome = failed("reset"),
        |e, _| e.sampled = false,
        |e, _| e.protocol = Protocol::Http2,
        |e, urls| e.url = Arc::clone(&urls[1]),
        |e, _| e.threshold = crate::record::Threshold::of_probability(0.5),
        |e, _| e.phases.connected = Some(Timestamp(3_500_000)),
        |e, _| e.phases.first_byte = None,
        |e, _| e.checks_failed = vec![CheckFailure { check: "status".into(), seen: "500".into() }],
    ];
    let mut exchanges: Vec<Exchange> = (0..4).map(usual).collect();
    for (n, change) in change.into_iter().enumerate() {
        // Each kind three times, so that its form is learnt too, between two of the usual kind.
        for again in 0..3 {
            let mut other = usual(10 + 3 * n as u64 + again);
            change(&mut other, &urls);
            exchanges.push(other);
        }
        exchanges.push(usual(100 + n as u64));
    }
    let mut learning = SpanEncoder::new(&run(), &[]);
    for exchange in &exchanges {
        learning.push(exchange);
        let mut fresh = SpanEncoder::new(&run(), &[]);
        fresh.push(exchange);
        assert_eq!(learning.take(), fresh.take(), "{exchange:?}");
    }
}
