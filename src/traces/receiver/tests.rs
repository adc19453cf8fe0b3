//! The receiver on the loopback against real clients.

use super::*;
use crate::record::SignalFacts;
use crate::traces::install_crypto_provider;
use crate::wire::otlp::{PartialSuccess, retry_delay};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan};
use prost::Message;
use std::io::Write;
use std::sync::Mutex;
use tonic::Code;
use tonic::codec::CompressionEncoding;

pub(in crate::traces) const STORED: Ack = Ack::Stored { duplicates: 0 };

/// Messages that reached the sink's owner.
pub(in crate::traces) type Seen = Arc<Mutex<Vec<(Encoding, Bytes, u64)>>>;

pub(in crate::traces) fn any_port() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

pub(in crate::traces) fn config() -> ReceiverConfig {
    ReceiverConfig { grpc: any_port(), http: any_port(), ..ReceiverConfig::default() }
}

/// A receiver whose spans' owner answers as `judge` says, message by message.
pub(in crate::traces) fn receiver_with(
    config: ReceiverConfig,
    mut judge: impl FnMut(usize) -> Ack + Send + 'static,
) -> (Receiver, Seen) {
    let (sink, mut incoming) = mpsc::channel::<Incoming>(4);
    let seen = Seen::default();
    let owner = seen.clone();
    tokio::spawn(async move {
        let mut n = 0;
        while let Some(message) = incoming.recv().await {
            let ack = judge(n);
            if ack == STORED {
                owner.lock().unwrap().push((message.encoding, message.bytes, message.content.records()));
            }
            let _ = message.ack.send(ack);
            n += 1;
        }
    });
    (Receiver::start(config, sink).unwrap(), seen)
}

pub(in crate::traces) fn receiver() -> (Receiver, Seen) {
    receiver_with(config(), |_| STORED)
}

pub(in crate::traces) fn spans_in(seen: &Seen) -> u64 {
    seen.lock().unwrap().iter().map(|(.., spans)| spans).sum()
}

pub(in crate::traces) fn proto_span(n: u64) -> ProtoSpan {
    let mut trace_id = vec![7; 8];
    trace_id.extend((n + 1).to_be_bytes());
    ProtoSpan {
        trace_id,
        span_id: (n + 1).to_be_bytes().to_vec(),
        name: "GET /".into(),
        kind: 2,
        ..ProtoSpan::default()
    }
}

pub(in crate::traces) fn request(spans: Vec<ProtoSpan>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn grpc(receiver: &Receiver) -> TraceServiceClient<tonic::transport::Channel> {
    let address = receiver.grpc_address().unwrap();
    TraceServiceClient::connect(format!("http://{address}")).await.unwrap()
}

pub(in crate::traces) struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

pub(in crate::traces) async fn post(
    receiver: &Receiver,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    send(receiver, reqwest::Method::POST, path, headers, body).await
}

async fn send(
    receiver: &Receiver,
    method: reqwest::Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    install_crypto_provider();
    let url = format!("http://{}{path}", receiver.http_address().unwrap());
    let mut request = reqwest::Client::new().request(method, url).body(body);
    for (key, value) in headers {
        request = request.header(*key, *value);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
}

pub(in crate::traces) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(in crate::traces) const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn grpc_messages_reach_the_owner_byte_for_byte() {
    let (receiver, seen) = receiver();
    let mut client = grpc(&receiver).await;
    let message = request((0..3).map(proto_span).collect());
    let answer = client.export(message.clone()).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let mut packed = client.clone().send_compressed(CompressionEncoding::Gzip);
    packed.export(message.clone()).await.unwrap();
    // Empty is success and nothing to store.
    client.export(ExportTraceServiceRequest::default()).await.unwrap();
    let bytes = Bytes::from(message.encode_to_vec());
    let expected = (Encoding::Protobuf, bytes, 3);
    assert_eq!(*seen.lock().unwrap(), [expected.clone(), expected]);
    let facts = receiver.stop().await;
    assert_eq!((facts.requests, facts.spans_received, facts.spans_stored), (3, 6, 6));
    assert_eq!((facts.spans_rejected, facts.spans_dropped, facts.bad_requests), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdks_exporter_is_understood() {
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
    let (receiver, seen) = receiver();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", receiver.grpc_address().unwrap()))
        .with_metadata(tonic::metadata::MetadataMap::new())
        .build()
        .unwrap();
    let provider =
        opentelemetry_sdk::trace::SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("test");
    for n in 0..700 {
        tracer.start(format!("span {n}")).end();
    }
    tokio::task::spawn_blocking(move || provider.shutdown().unwrap()).await.unwrap();
    assert_eq!(spans_in(&seen), 700);
    let mut names = 0;
    for (encoding, bytes, _) in seen.lock().unwrap().iter() {
        let walked = encoding.for_each_span(bytes, &mut |span| {
            assert!(span.name.starts_with("span ") && span.scope.name == "test");
            names += 1;
        });
        assert_eq!(walked.unwrap().invalid, 0);
    }
    assert_eq!(names, 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdks_http_exporter_is_understood() {
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_otlp::{Protocol, WithExportConfig};
    install_crypto_provider();
    let (receiver, seen) = receiver();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("http://{}/v1/traces", receiver.http_address().unwrap()))
        .with_protocol(Protocol::HttpBinary)
        .build()
        .unwrap();
    let provider =
        opentelemetry_sdk::trace::SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    // The simple processor blocks its thread until the receiver has answered.
    let spans = tokio::task::spawn_blocking(move || {
        let tracer = provider.tracer("test");
        (0..20).for_each(|n| tracer.start(format!("span {n}")).end());
        provider.shutdown().unwrap();
    });
    spans.await.unwrap();
    assert_eq!((spans_in(&seen), seen.lock().unwrap().len()), (20, 20));
    let facts = receiver.stop().await;
    assert_eq!((facts.requests, facts.spans_stored, facts.bad_requests), (20, 20, 0));
}

#[tokio::test]
async fn http_takes_protobuf_and_json_plain_and_gzip() {
    let (receiver, seen) = receiver();
    let message = request(vec![proto_span(1), proto_span(2)]);
    let (protobuf, json) = (message.encode_to_vec(), serde_json::to_vec(&message).unwrap());
    for (content_type, encoding, body) in
        [(PROTOBUF, Encoding::Protobuf, protobuf.clone()), (JSON, Encoding::Json, json.clone())]
    {
        for (headers, sent) in [(vec![content_type], body.clone()), (vec![content_type, GZIP], gzip(&body))] {
            let answer = post(&receiver, "/v1/traces", &headers, sent).await;
            assert_eq!(answer.status, 200);
            let mime = content_type.1.split(';').next().unwrap();
            assert_eq!(answer.headers["content-type"], mime);
            let expected: &[u8] = if encoding == Encoding::Json { b"{}" } else { b"" };
            assert_eq!(answer.body, expected);
            assert_eq!(seen.lock().unwrap().pop(), Some((encoding, Bytes::from(body.clone()), 2)));
        }
    }
    for (content_type, body) in [(PROTOBUF, &b""[..]), (JSON, b"{}")] {
        assert_eq!(post(&receiver, "/v1/traces", &[content_type], body.into()).await.status, 200);
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_port_speaks_both_protocols() {
    let (receiver, seen) = receiver();
    let address = receiver.http_address().unwrap();
    let mut client = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
    client.export(request(vec![proto_span(1)])).await.unwrap();
    let url = format!("http://{}/v1/traces", receiver.grpc_address().unwrap());
    install_crypto_provider();
    let body = request(vec![proto_span(2)]).encode_to_vec();
    let posted = reqwest::Client::new().post(url).header(PROTOBUF.0, PROTOBUF.1).body(body);
    assert_eq!(posted.send().await.unwrap().status(), 200);
    assert_eq!(spans_in(&seen), 2);
}

#[tokio::test]
async fn spans_without_ids_are_rejected_and_the_others_taken() {
    let (receiver, seen) = receiver();
    let bad = ProtoSpan { trace_id: vec![0; 16], ..proto_span(1) };
    let message = request(vec![proto_span(1), bad.clone(), bad.clone(), proto_span(2)]);
    let answer = grpc(&receiver).await.export(message.clone()).await.unwrap().into_inner();
    let partial = answer.partial_success.unwrap();
    assert!(partial.rejected_spans == 2 && partial.error_message.contains("valid trace id"), "{partial:?}");
    let answer = post(&receiver, "/v1/traces", &[JSON], serde_json::to_vec(&message).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(PartialSuccess::decode(&answer.body, Encoding::Json).unwrap().rejected, 2);
    // None valid: nothing to store, still no error.
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], request(vec![bad]).encode_to_vec()).await;
    assert_eq!(PartialSuccess::decode(&answer.body, Encoding::Protobuf).unwrap().rejected, 1);
    assert_eq!(spans_in(&seen), 4);
    let facts = receiver.stop().await;
    assert_eq!((facts.spans_received, facts.spans_stored, facts.spans_rejected), (9, 4, 5));
}

#[tokio::test]
async fn bad_requests_get_the_code_that_the_specification_says() {
    let (receiver, _) = receiver();
    let sound = request(vec![proto_span(1)]).encode_to_vec();
    let text = ("content-type", "text/plain");
    for (path, headers, body, status) in [
        ("/v1/traces", vec![PROTOBUF], b"\x0a\xff".to_vec(), 400),
        ("/v1/traces", vec![PROTOBUF], sound[..sound.len() - 1].to_vec(), 400),
        ("/v1/traces", vec![JSON], b"{".to_vec(), 400),
        ("/v1/traces", vec![JSON], b"".to_vec(), 400),
        ("/v1/traces", vec![PROTOBUF, GZIP], sound.clone(), 400),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "zstd")], sound.clone(), 400),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "deflate")], vec![0xff; 40], 400),
        ("/v1/logs", vec![PROTOBUF], b"\x0a\x03\x12\x01\x0a".to_vec(), 400),
        ("/v1/metrics", vec![PROTOBUF], b"\x0a\xff".to_vec(), 400),
        ("/v1/logs", vec![JSON], b"[".to_vec(), 400),
        ("/v1/traces", vec![text], sound.clone(), 415),
        ("/v1/traces", vec![], sound.clone(), 415),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "br")], sound.clone(), 415),
        ("/v1/spans", vec![PROTOBUF], sound.clone(), 404),
        ("/", vec![PROTOBUF], sound.clone(), 404),
        ("/v1/traces", vec![("content-type", "application/grpc")], sound.clone(), 505),
    ] {
        let answer = post(&receiver, path, &headers, body).await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert!(!answer.body.is_empty(), "{path} {headers:?}");
        if status == 400 {
            assert_eq!(answer.headers["content-type"], headers[0].1.split(';').next().unwrap());
        }
    }
    let answer = send(&receiver, reqwest::Method::GET, "/v1/traces", &[PROTOBUF], vec![]).await;
    assert_eq!((answer.status, answer.headers["allow"].as_bytes()), (405, &b"POST"[..]));
    let answer = post(&receiver, "/v1/traces", &[JSON], b"{\"resourceSpans\":[3]}".to_vec()).await;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["code"], 3);
    assert!(status["message"].as_str().unwrap().contains("line 1, column 19"), "{status}");
    // The next request is served.
    assert_eq!(post(&receiver, "/v1/traces", &[PROTOBUF], sound).await.status, 200);
    let facts = receiver.stop().await;
    assert_eq!((facts.bad_requests, facts.requests, facts.spans_stored), (18, 1, 1));
}

/// Sends one gRPC request with any bytes as its body, and gives the status.
async fn raw_grpc(receiver: &Receiver, path: &str, encoding: Option<&str>, body: Vec<u8>) -> (u16, String) {
    install_crypto_provider();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}{path}", receiver.grpc_address().unwrap());
    let mut request = client.post(url).header("content-type", "application/grpc").body(body);
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    (text("grpc-status").map_or(0, |code| code.parse().unwrap()), text("grpc-message").unwrap_or_default())
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut body = vec![flag];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    body
}

#[tokio::test]
async fn bad_grpc_gets_the_code_that_the_specification_says() {
    let (receiver, _) = receiver_with(ReceiverConfig { max_message: 4_096, ..config() }, |_| STORED);
    const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let sound = request(vec![proto_span(1)]).encode_to_vec();
    let bomb = gzip(&vec![0; 1 << 20]);
    assert!(bomb.len() < 4_096);
    for (path, encoding, body, code, words) in [
        (TRACES, None, framed(0, &sound), 0, ""),
        (TRACES, Some("gzip"), framed(1, &gzip(&sound)), 0, ""),
        (TRACES, Some("gzip"), framed(0, &sound), 0, ""),
        (TRACES, None, framed(0, b"\x0a\xff"), 3, "not valid protobuf at byte 1"),
        (TRACES, None, vec![], 3, "message is missing"),
        (TRACES, None, framed(0, &sound)[..20].to_vec(), 3, "was announced"),
        (TRACES, None, [framed(0, &sound), framed(0, &sound)].concat(), 3, "was announced"),
        (TRACES, None, framed(1, &gzip(&sound)), 3, "how is not said"),
        (TRACES, Some("gzip"), framed(1, &sound), 3, "not gzip"),
        (TRACES, Some("snappy"), framed(1, &sound), 12, "snappy is not known"),
        (TRACES, None, framed(0, &vec![0; 4_097]), 8, "larger than 4096 bytes"),
        (TRACES, Some("gzip"), framed(1, &bomb), 8, "larger than 4096 bytes"),
        ("/some.Other/Method", None, framed(0, b""), 12, "there is no method"),
    ] {
        let (seen, message) = raw_grpc(&receiver, path, encoding, body).await;
        assert!(seen == code && message.contains(words), "{code} {words}: got {seen} {message}");
    }
    let facts = receiver.stop().await;
    assert_eq!((facts.requests, facts.bad_requests), (3, 10));
}

#[tokio::test]
async fn too_large_is_413_before_and_after_decompression() {
    let (receiver, seen) = receiver_with(ReceiverConfig { max_message: 100_000, ..config() }, |_| STORED);
    let bomb = gzip(&vec![0; 50 << 20]);
    assert!(bomb.len() < 100_000);
    for (headers, body) in
        [(vec![PROTOBUF], vec![0; 100_001]), (vec![PROTOBUF, GZIP], bomb.clone()), (vec![JSON, GZIP], bomb)]
    {
        let answer = post(&receiver, "/v1/traces", &headers, body).await;
        assert_eq!(answer.status, 413);
    }
    let message = request((0..1_000).map(proto_span).collect()).encode_to_vec();
    assert!(message.len() < 100_000);
    assert_eq!(post(&receiver, "/v1/traces", &[PROTOBUF, GZIP], gzip(&message)).await.status, 200);
    assert_eq!(spans_in(&seen), 1_000);
}

#[tokio::test]
async fn what_the_owner_could_not_keep_is_for_the_sender_to_send_again() {
    let (receiver, seen) = receiver_with(config(), |n| if n < 2 { Ack::Dropped } else { STORED });
    let message = request(vec![proto_span(1)]);
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF], message.encode_to_vec()).await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert_eq!(retry_delay(&answer.body), Some(Duration::from_secs(1)));
    let mut client = grpc(&receiver).await;
    let status = client.export(message.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), retry_delay(status.details())),
        (Code::Unavailable, Some(Duration::from_secs(1)))
    );
    client.export(message).await.unwrap();
    assert_eq!(spans_in(&seen), 1);
    let facts = receiver.stop().await;
    assert_eq!(
        (facts.spans_received, facts.spans_stored, facts.spans_dropped, facts.bad_requests),
        (3, 1, 2, 0)
    );
}

#[tokio::test]
async fn a_full_sink_makes_senders_wait_and_loses_nothing() {
    let (sink, mut incoming) = mpsc::channel::<Incoming>(1);
    let receiver = Receiver::start(config(), sink).unwrap();
    let client = grpc(&receiver).await;
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..20 {
        let mut client = client.clone();
        senders.spawn(async move { client.export(request(vec![proto_span(n)])).await });
    }
    // Nobody is answered before the owner has taken the message.
    let early = tokio::time::timeout(Duration::from_millis(100), senders.join_next()).await;
    assert!(early.is_err(), "{early:?}");
    for _ in 0..20 {
        let _ = incoming.recv().await.unwrap().ack.send(STORED);
    }
    while let Some(answer) = senders.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(receiver.stop().await.spans_stored, 20);
}

#[tokio::test]
async fn a_sender_that_hangs_up_does_not_spoil_the_books() {
    let (sink, mut incoming) = mpsc::channel::<Incoming>(1);
    let receiver = Receiver::start(config(), sink).unwrap();
    let mut client = grpc(&receiver).await;
    let hung_up =
        tokio::time::timeout(Duration::from_millis(200), client.export(request(vec![proto_span(1)])));
    assert!(hung_up.await.is_err());
    drop(client);
    let message = incoming.recv().await.unwrap();
    message.ack.send(STORED).unwrap();
    let facts = loop {
        let facts = receiver.facts();
        if facts.spans_stored > 0 {
            break facts;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((facts.spans_received, facts.spans_stored, facts.spans_dropped), (1, 1, 0));
    // An owner that is gone is an owner that keeps nothing.
    drop(incoming);
    let status = grpc(&receiver).await.export(request(vec![proto_span(2)])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_sender_that_has_said_all_it_has_to_say_is_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (sink, mut incoming) = mpsc::channel::<Incoming>(1);
    let receiver = Receiver::start(config(), sink).unwrap();
    let mut stream = tokio::net::TcpStream::connect(receiver.http_address().unwrap()).await.unwrap();
    let body = request(vec![proto_span(1)]).encode_to_vec();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let message = incoming.recv().await.unwrap();
    // The end of what it sends is seen before there is an answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    message.ack.send(STORED).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn metrics_and_logs_are_answered_and_counted() {
    let (receiver, seen) = receiver();
    let address = format!("http://{}", receiver.grpc_address().unwrap());
    let mut metrics = MetricsServiceClient::connect(address.clone()).await.unwrap();
    metrics.export(ExportMetricsServiceRequest::default()).await.unwrap();
    let mut logs = LogsServiceClient::connect(address).await.unwrap();
    logs.export(ExportLogsServiceRequest::default()).await.unwrap();
    assert_eq!(post(&receiver, "/v1/logs", &[JSON], b"{\"resourceLogs\":[]}".to_vec()).await.status, 200);
    // Empty is success and nothing to store.
    assert!(seen.lock().unwrap().is_empty());
    let metric = b"{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"gauge\":{\"dataPoints\":[{\"asInt\":1},{}]}}]}]}]}";
    let log = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{},{},{}]}]}]}";
    assert_eq!(post(&receiver, "/v1/metrics", &[JSON], metric.to_vec()).await.status, 200);
    assert_eq!(post(&receiver, "/v1/logs", &[JSON], log.to_vec()).await.status, 200);
    let records: Vec<u64> = seen.lock().unwrap().iter().map(|(_, _, records)| *records).collect();
    assert_eq!(records, [2, 3]);
    let facts = receiver.stop().await;
    assert_eq!(facts.metrics, SignalFacts { requests: 2, received: 2, stored: 2, dropped: 0 });
    assert_eq!(facts.logs, SignalFacts { requests: 3, received: 3, stored: 3, dropped: 0 });
    assert_eq!((facts.requests, facts.spans_received), (0, 0));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let listener = std::net::TcpListener::bind(taken).unwrap();
    let (sink, _incoming) = mpsc::channel(1);
    let config = ReceiverConfig { grpc: any_port(), http: Some(taken), ..ReceiverConfig::default() };
    let error = Receiver::start(config, sink).unwrap_err();
    let text = error.to_string();
    let free = error.free.map(|free| free.port().to_string()).unwrap_or("PORT".into());
    for words in [
        format!("OTLP/HTTP on {taken}"),
        format!("port {} is taken", taken.port()),
        format!("`--otlp-http 127.0.0.1:{free}`"),
        format!("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{free}"),
        "`--traces-from`".into(),
    ] {
        assert!(text.contains(&words), "{words} not in: {text}");
    }
    drop(listener);
}

#[tokio::test]
async fn stopping_lets_requests_end() {
    let (sink, mut incoming) = mpsc::channel::<Incoming>(1);
    let receiver = Receiver::start(config(), sink).unwrap();
    let mut client = grpc(&receiver).await;
    let sending = tokio::spawn(async move { client.export(request(vec![proto_span(1)])).await });
    let message = incoming.recv().await.unwrap();
    let stopping = tokio::spawn(receiver.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    message.ack.send(STORED).unwrap();
    sending.await.unwrap().unwrap();
    assert_eq!(stopping.await.unwrap().spans_stored, 1);
}

#[tokio::test]
async fn every_packing_is_taken_over_both_protocols() {
    let (receiver, seen) = receiver();
    let message = request(vec![proto_span(1), proto_span(2)]);
    let bytes = message.encode_to_vec();
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let packed = [
        ("gzip", gzip(&bytes)),
        ("zstd", zstd::encode_all(&bytes[..], 3).unwrap()),
        ("deflate", zlib.clone()),
        ("zlib", zlib),
    ];
    for (name, body) in packed {
        let headers = [PROTOBUF, ("content-encoding", name)];
        assert_eq!(post(&receiver, "/v1/traces", &headers, body.clone()).await.status, 200, "{name}");
        let (code, why) = raw_grpc(&receiver, Signal::Traces.grpc_path(), Some(name), framed(1, &body)).await;
        assert_eq!(code, 0, "{name}: {why}");
        let expected = (Encoding::Protobuf, Bytes::from(bytes.clone()), 2);
        assert_eq!(
            seen.lock().unwrap().drain(..).collect::<Vec<_>>(),
            [expected.clone(), expected],
            "{name}"
        );
    }
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF, ("content-encoding", "br")], bytes).await;
    assert_eq!(
        (answer.status, answer.headers["accept-encoding"].as_bytes()),
        (415, &b"gzip, zstd, deflate"[..])
    );
}

#[tokio::test]
async fn web_pages_may_send_only_from_named_origins() {
    let named = ReceiverConfig { origins: vec!["https://shop.example".into()], ..config() };
    let (receiver, _) = receiver_with(named, |_| STORED);
    let body = request(vec![proto_span(1)]).encode_to_vec();
    let origin = |name| ("origin", name);
    let asking = [origin("https://shop.example"), ("access-control-request-headers", "content-type")];
    let answer = send(&receiver, reqwest::Method::OPTIONS, "/v1/traces", &asking, vec![]).await;
    assert_eq!(
        (answer.status, answer.headers["access-control-allow-origin"].as_bytes()),
        (204, asking[0].1.as_bytes())
    );
    assert_eq!(answer.headers["access-control-allow-headers"].as_bytes(), b"content-type");
    let answer = post(&receiver, "/v1/traces", &[PROTOBUF, asking[0]], body.clone()).await;
    assert_eq!(
        (answer.status, answer.headers["access-control-allow-origin"].as_bytes()),
        (200, asking[0].1.as_bytes())
    );
    let answer =
        post(&receiver, "/v1/traces", &[PROTOBUF, origin("https://evil.example")], body.clone()).await;
    assert_eq!((answer.status, answer.headers.get("access-control-allow-origin")), (403, None));
    let (receiver, seen) = self::receiver();
    let answer = send(&receiver, reqwest::Method::OPTIONS, "/v1/traces", &asking, vec![]).await;
    assert_eq!((answer.status, answer.headers.get("access-control-allow-origin")), (403, None));
    assert_eq!(post(&receiver, "/v1/traces", &[PROTOBUF, asking[0]], body).await.status, 403);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn half_of_the_file_descriptors_stay_free() {
    let limits = [None, Some(1 << 20), Some(1_024), Some(64), Some(3), Some(u64::MAX)];
    assert_eq!(limits.map(super::places), [1_024, 1_024, 512, 32, 4, 1_024]);
}
