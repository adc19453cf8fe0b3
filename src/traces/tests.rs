//! The exporter and the forwarder against the receiver, on the loopback.

use super::receiver::tests::{
    JSON, PROTOBUF, STORED, config, post, proto_span, receiver, receiver_with, request, spans_in,
};
use super::*;
use crate::record::*;
use crate::wire::otlp::{Encoding, SpanEncoder};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use std::time::Duration;

fn run() -> Run {
    Run {
        id: "r".into(),
        name: "n".into(),
        started_at: Timestamp(1),
        ended_at: None,
        state: RunState::Running,
        target: "http://h".into(),
        hotspan_version: "0".into(),
        git_commit: None,
        host: Host::default(),
        scenario: String::new(),
        steps: vec![],
        load: LoadFacts::default(),
        receiver: ReceiverFacts::default(),
        export: ExportFacts::default(),
        sources: Default::default(),
        wait: None,
        warnings: vec![],
    }
}

fn exchange(n: u64) -> Exchange {
    let mut trace = [9; 16];
    trace[..8].copy_from_slice(&n.to_be_bytes());
    Exchange {
        trace_id: TraceId(trace),
        span_id: SpanId((n + 1).to_be_bytes()),
        sampled: true,
        threshold: crate::record::Threshold::ALWAYS,
        step: StepId(0),
        user: 0,
        iteration: 0,
        intended: Timestamp(n),
        phases: Phases { start: Timestamp(n), end: Timestamp(n + 1), ..Phases::default() },
        outcome: Outcome::Answered(200),
        checks_failed: vec![],
        bytes_sent: 0,
        bytes_received: 0,
        bytes_decoded: None,
        followed: false,
        connection_reused: true,
        protocol: Protocol::Http1,
        url: "http://h/".into(),
        server_timing: None,
        messages: None,
    }
}

fn export_to(url: &str) -> ExportConfig {
    let mut config = ExportConfig::from_env(|_| None);
    config.send_to(url).unwrap();
    config
}

/// Offers `spans` client spans in batches and gives the exporter's final counts.
async fn export(config: &ExportConfig, spans: u64, batch: u64) -> ExportFacts {
    let exporter = Exporter::start(config).unwrap();
    let mut encoder = SpanEncoder::new(&run(), &config.resource);
    for n in 0..spans {
        encoder.push(&exchange(n));
        if encoder.len() == batch || n + 1 == spans {
            let (bytes, count) = encoder.take().unwrap();
            exporter.offer(bytes, count);
        }
    }
    exporter.finish(Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_span_of_a_run_arrives_over_both_protocols() {
    for compression in [Compression::None, Compression::Gzip] {
        let (receiver, seen) = receiver();
        for (n, url) in [
            format!("grpc://{}", receiver.grpc_address().unwrap()),
            format!("http://{}", receiver.http_address().unwrap()),
        ]
        .iter()
        .enumerate()
        {
            let mut config = export_to(url);
            config.traces.as_mut().unwrap().compression = compression;
            // As many as a run of 30 s at 5,000 requests/s gives.
            let facts = export(&config, 150_000, 512).await;
            assert_eq!((facts.spans_offered, facts.spans_sent, facts.spans_dropped), (150_000, 150_000, 0));
            assert_eq!(facts.last_error, None);
            assert_eq!(spans_in(&seen), 150_000 * (n as u64 + 1));
        }
        let facts = receiver.stop().await;
        assert_eq!((facts.spans_stored, facts.spans_rejected), (300_000, 0));
    }
}

#[tokio::test]
async fn a_peer_that_comes_late_or_is_busy_gets_everything() {
    let address = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let exporter = Exporter::start(&export_to(&format!("grpc://{address}"))).unwrap();
    let mut encoder = SpanEncoder::new(&run(), &[]);
    for n in 0..10 {
        encoder.push(&exchange(n));
        let (bytes, count) = encoder.take().unwrap();
        exporter.offer(bytes, count);
    }
    // Nobody listens yet; the exporter tries and fails.
    while exporter.facts().last_error.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(exporter.facts().spans_sent, 0);
    let late = ReceiverConfig { grpc: Some(address), http: None, ..ReceiverConfig::default() };
    let (receiver, seen) = receiver_with(late, |n| if n == 0 { Ack::Dropped } else { STORED });
    let facts = exporter.finish(Duration::from_secs(60)).await;
    assert_eq!((facts.spans_sent, facts.spans_dropped), (10, 0), "{facts:?}");
    assert_eq!(spans_in(&seen), 10);
    assert_eq!(receiver.stop().await.spans_dropped, 1);
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_whole_and_counted() {
    // Bound but never accepting: connections hang, nothing is ever taken.
    let deaf = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let mut config = export_to(&url);
    config.queue_bytes = 1_000;
    let exporter = Exporter::start(&config).unwrap();
    let handle = exporter.handle();
    for _ in 0..5 {
        handle.offer(vec![0; 400], 7);
    }
    assert_eq!((exporter.facts().spans_offered, exporter.facts().spans_dropped), (35, 21));
    assert!(exporter.facts().last_error.unwrap().contains("queue was full"));
    let facts = exporter.finish(Duration::from_millis(50)).await;
    assert_eq!((facts.spans_offered, facts.spans_sent, facts.spans_dropped), (35, 0, 35));
    // After the end, offers are counted and lost.
    handle.offer(vec![0; 4], 1);
}

#[tokio::test]
async fn refusals_are_not_repeated_and_rejections_are_counted() {
    let (receiver, _) = receiver();
    let url = format!("http://{}", receiver.http_address().unwrap());
    let exporter = Exporter::start(&export_to(&url)).unwrap();
    exporter.offer(b"\x0a\xff".to_vec(), 5);
    let bad = opentelemetry_proto::tonic::trace::v1::Span { span_id: vec![], ..proto_span(1) };
    exporter.offer(request(vec![proto_span(1), bad]).encode_to_vec(), 2);
    exporter.handle().offer_metrics(ExportMetricsServiceRequest::default().encode_to_vec());
    let facts = exporter.finish(Duration::from_secs(60)).await;
    assert_eq!((facts.spans_offered, facts.spans_sent, facts.spans_dropped), (7, 1, 6));
    assert_eq!(facts.metric_exports, 1);
    let error = facts.last_error.unwrap();
    assert!(error.contains("400") || error.contains("rejected 1 spans"), "{error}");
    let facts = receiver.stop().await;
    assert_eq!((facts.bad_requests, facts.requests), (1, 1));
}

#[tokio::test]
async fn what_is_received_is_forwarded_unchanged() {
    for scheme in ["grpc", "http"] {
        let (far, far_seen) = receiver();
        let address = if scheme == "grpc" { far.grpc_address() } else { far.http_address() }.unwrap();
        let forwarder = Forwarder::start(&ForwardConfig::new(&format!("{scheme}://{address}"))).unwrap();
        let near = ReceiverConfig { forward: Some(forwarder.handle()), ..config() };
        let (near, near_seen) = receiver_with(near, |n| if n == 0 { Ack::Dropped } else { STORED });
        let message = request(vec![proto_span(1), proto_span(2)]);
        let json = serde_json::to_vec(&message).unwrap();
        // The first is not stored, so it will come again and is not forwarded yet.
        for (content_type, body) in
            [(PROTOBUF, message.encode_to_vec()), (PROTOBUF, message.encode_to_vec()), (JSON, json)]
        {
            post(&near, "/v1/traces", &[content_type], body).await;
        }
        post(&near, "/v1/metrics", &[PROTOBUF], vec![]).await;
        let end = forwarder.finish(Duration::from_secs(60)).await;
        assert_eq!(end, ForwardEnd { forwarded: 4, ..ForwardEnd::default() });
        assert_eq!(near.facts().forwarded, 4);
        assert_eq!(far.facts().metrics.requests, 1);
        let (mut sent, mut came) = (near_seen.lock().unwrap().clone(), far_seen.lock().unwrap().clone());
        if scheme == "grpc" {
            // gRPC has no JSON: the same spans in protobuf.
            sent.iter_mut().for_each(|(encoding, bytes, _)| {
                *bytes = Bytes::from(encoding.to_protobuf(bytes).unwrap().into_owned());
                *encoding = Encoding::Protobuf;
            });
        }
        let order = |message: &(Encoding, Bytes, u64)| message.1.clone();
        sent.sort_by_key(order);
        came.sort_by_key(order);
        assert_eq!(came, sent, "{scheme}");
    }
    assert!(
        Forwarder::start(&ForwardConfig::new("localhost:4317"))
            .unwrap_err()
            .to_string()
            .contains("no scheme")
    );
}
