//! Peers that do not mean well, or whose network does not: silence, garbage, resets, floods, TLS that is none.

use super::tests::*;
use super::*;
use crate::traces::tls::{ServerTls, install_crypto_provider};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use std::io::{Read, Write};
use std::net::TcpStream;

fn impatient() -> ReceiverConfig {
    ReceiverConfig { patience: Duration::from_millis(300), ..config() }
}

fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect(receiver.http_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Says something and gives all that is answered until the receiver closes the connection.
async fn say(receiver: &Receiver, words: Vec<u8>) -> String {
    let mut stream = connect(receiver);
    tokio::task::spawn_blocking(move || {
        let _ = stream.write_all(&words);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

async fn served(receiver: &Receiver, seen: &Seen) {
    let before = spans_in(seen);
    let body = request(vec![proto_span(1_000 + before)]).encode_to_vec();
    assert_eq!(post(receiver, "/v1/traces", &[PROTOBUF], body).await.status, 200);
    assert_eq!(spans_in(seen), before + 1);
}

const HEAD: &str = "POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_stop_speaking_are_let_go_and_others_served() {
    let (receiver, seen) = receiver_with(impatient(), |_| STORED);
    for words in ["", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02"] {
        say(&receiver, words.into()).await;
    }
    let slow_body = format!("{HEAD}content-length: 100\r\n\r\nabc");
    let answer = say(&receiver, slow_body.into()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n4\r\nab");
    assert!(say(&receiver, chunked.into()).await.starts_with("HTTP/1.1 408"));
    served(&receiver, &seen).await;
    let facts = receiver.stop().await;
    assert_eq!((facts.bad_requests, facts.unaccounted()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_heads_are_refused_and_others_served() {
    let (receiver, seen) = receiver_with(impatient(), |_| STORED);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (words, status) in [
        (b"\xff\xfe\r\n\r\n".to_vec(), "400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), ""),
        (format!("{HEAD}x: {}\r\n\r\n", "y".repeat(100_000)).into_bytes(), "431"),
        (format!("{HEAD}{many}\r\n").into_bytes(), "431"),
        (format!("{HEAD}content-length: -1\r\n\r\n").into_bytes(), "400"),
        (format!("{HEAD}content-length: 1\r\ncontent-length: 2\r\n\r\n").into_bytes(), "400"),
        (format!("{HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(), "400"),
        (format!("{HEAD}content-length: 99999999999\r\n\r\n").into_bytes(), "413"),
    ] {
        let answer = say(&receiver, words).await;
        assert!(answer.contains(status), "{status}: {answer}");
    }
    served(&receiver, &seen).await;
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A client that has said hello in HTTP/2, and then these frames.
fn http2(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    words.extend(frame(4, 0, 0, &[]));
    words.extend(frames.into_iter().flatten());
    words
}

/// `:method POST`, `:scheme http`, `:path /` and a literal authority, in HPACK.
const HEADERS: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'h'];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_connection_only() {
    let (receiver, seen) = receiver_with(impatient(), |_| STORED);
    let resets = (0..20_000u32).flat_map(|n| {
        let stream = 2 * n + 1;
        [frame(1, 4, stream, HEADERS), frame(3, 0, stream, &8u32.to_be_bytes())]
    });
    let continuations = std::iter::once(frame(1, 0, 1, HEADERS))
        .chain((0..20_000).map(|_| frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'])));
    let empty = std::iter::once(frame(1, 4, 1, HEADERS)).chain((0..50_000).map(|_| frame(0, 0, 1, &[])));
    let settings = (0..50_000).map(|_| frame(4, 0, 0, &[]));
    let pings = (0..50_000).map(|_| frame(6, 0, 0, &[7; 8]));
    let open = (0..1_000u32).map(|n| frame(1, 4, 2 * n + 1, HEADERS));
    let floods = [
        ("resets", http2(resets)),
        ("continuations", http2(continuations)),
        ("empty data", http2(empty)),
        ("settings", http2(settings)),
        ("pings", http2(pings)),
        ("open streams", http2(open)),
        ("a frame that is too long", http2([frame(0, 0, 1, &[0; 1 << 20])])),
        ("an unknown frame", http2([frame(0x77, 0xff, 3, b"?")])),
        ("data without a stream", http2([frame(0, 1, 0, b"?")])),
        ("a window of nothing", http2([frame(8, 0, 0, &[0; 4])])),
        ("bad HPACK", http2([frame(1, 4, 1, &[0xff; 40])])),
    ];
    for (name, words) in floods {
        let mut stream = connect(&receiver);
        let sent = tokio::task::spawn_blocking(move || {
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let _ = stream.write_all(&words);
            stream
        });
        let flooding = sent.await.unwrap();
        // While the connection is still there, and after it has gone.
        served(&receiver, &seen).await;
        drop(flooding);
        served(&receiver, &seen).await;
        assert!(!name.is_empty());
    }
    let facts = receiver.stop().await;
    assert_eq!(facts.unaccounted(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_for_bodies_is_bounded_and_what_fits_is_taken() {
    let tight = ReceiverConfig { max_message: 1 << 20, max_under_way: 2 << 20, ..config() };
    let (receiver, seen) = receiver_with(tight, |_| STORED);
    // Ten bodies that announce a MiB each and stop: three fit, the others wait for room and are told to come back.
    let mut holding = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(&receiver);
        stream.write_all(format!("{HEAD}content-length: 1048576\r\n\r\n").as_bytes()).unwrap();
        holding.push(stream);
    }
    let small = request(vec![proto_span(1)]).encode_to_vec();
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(post(&receiver, "/v1/traces", &[PROTOBUF], small.clone()).await);
    }
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 503)));
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.headers.contains_key("retry-after")));
    drop(holding);
    let taken = async {
        while post(&receiver, "/v1/traces", &[PROTOBUF], small.clone()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
    assert!(spans_in(&seen) >= 1);
}

/// Self-signed, for localhost and 127.0.0.1; made for these tests and worth nothing elsewhere.
const CERTIFICATE: &str = include_str!("../../../tests/tls/localhost.pem");
const KEY: &str = include_str!("../../../tests/tls/localhost.key");

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cert.pem"), CERTIFICATE).unwrap();
        std::fs::write(folder.path().join("key.pem"), KEY).unwrap();
        Files(folder)
    }

    fn load(&self, ca: bool) -> ServerTls {
        let path = |name| self.0.path().join(name);
        let ca = ca.then(|| path("cert.pem"));
        ServerTls::load(&path("cert.pem"), &path("key.pem"), ca.as_deref()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_over_both_protocols_and_broken_hellos_harm_nobody() {
    install_crypto_provider();
    let files = Files::new();
    let config = ReceiverConfig { tls: Some(files.load(false)), ..impatient() };
    let (receiver, seen) = receiver_with(config, |_| STORED);
    let root = reqwest::Certificate::from_pem(CERTIFICATE.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    for (n, words) in
        [&b"\x16\x03\x01\x00\x05hello"[..], &[0x16; 2_000], b"", b"\x16"].into_iter().enumerate()
    {
        say(&receiver, words.to_vec()).await;
        let url = format!("https://localhost:{}/v1/traces", receiver.http_address().unwrap().port());
        let body = request(vec![proto_span(n as u64)]).encode_to_vec();
        let answer = client.post(url).header(PROTOBUF.0, PROTOBUF.1).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let plain = say(&receiver, format!("{HEAD}\r\n").into()).await;
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("https://"), "{plain}");
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(CERTIFICATE));
    let url = format!("https://localhost:{}", receiver.grpc_address().unwrap().port());
    let channel = tonic::transport::Channel::from_shared(url).unwrap().tls_config(tls).unwrap();
    let mut client = TraceServiceClient::new(channel.connect().await.unwrap());
    client.export(request(vec![proto_span(9)])).await.unwrap();
    assert_eq!(spans_in(&seen), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_client_authority_only_known_clients_are_let_in() {
    install_crypto_provider();
    let files = Files::new();
    let config = ReceiverConfig { tls: Some(files.load(true)), ..impatient() };
    let (receiver, seen) = receiver_with(config, |_| STORED);
    let root = || reqwest::Certificate::from_pem(CERTIFICATE.as_bytes()).unwrap();
    let stranger = reqwest::Client::builder().tls_certs_only([root()]).build().unwrap();
    let pem = format!("{CERTIFICATE}{KEY}");
    let identity = reqwest::Identity::from_pem(pem.as_bytes()).unwrap();
    let known = reqwest::Client::builder().tls_certs_only([root()]).identity(identity).build().unwrap();
    let url = format!("https://localhost:{}/v1/traces", receiver.http_address().unwrap().port());
    let body = request(vec![proto_span(1)]).encode_to_vec();
    let post =
        |client: reqwest::Client| client.post(&url).header(PROTOBUF.0, PROTOBUF.1).body(body.clone()).send();
    assert!(post(stranger).await.is_err());
    assert_eq!(post(known).await.unwrap().status(), 200);
    assert_eq!(spans_in(&seen), 1);
}

#[test]
fn wrong_files_are_named() {
    let files = Files::new();
    let path = |name: &str| files.0.path().join(name);
    std::fs::write(path("empty.pem"), "").unwrap();
    for (certificate, key, ca, words) in [
        ("absent.pem", "key.pem", None, "absent.pem: no certificate could be read"),
        ("empty.pem", "key.pem", None, "empty.pem: there is no certificate"),
        ("cert.pem", "cert.pem", None, "cert.pem: no private key could be read"),
        ("cert.pem", "key.pem", Some("empty.pem"), "empty.pem: there is no certificate"),
    ] {
        let ca = ca.map(path);
        let error = ServerTls::load(&path(certificate), &path(key), ca.as_deref()).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
