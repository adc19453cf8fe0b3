//! Forwarding to peers that are dead, slow, busy, broken or half there. The order of sizes: what fits waits, what does not
//! is counted, and the books close.

use super::*;
use crate::traces::receiver::tests::{STORED, config, proto_span, receiver_with, request, spans_in};
use crate::traces::{Ack, ReceiverConfig};
use prost::Message as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

fn message(n: u64) -> Bytes {
    request(vec![proto_span(n)]).encode_to_vec().into()
}

fn offer(forwarder: &Forwarder, spans: std::ops::Range<u64>) {
    for n in spans {
        forwarder.handle().offer(Signal::Traces, Encoding::Protobuf, message(n), 1);
    }
}

/// A queue of one byte in memory, so that everything goes through the folder.
fn on_disk(url: &str, folder: &std::path::Path, max: u64) -> ForwardConfig {
    ForwardConfig { memory_max: 1, ..ForwardConfig::with_queue(url, folder.to_owned(), max) }
}

/// An HTTP server that answers the n-th request as told; `None` closes the connection without an answer.
fn server(
    answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let (seen, answer) = (requests.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen, answer) = (stream.unwrap(), seen.clone(), answer.clone());
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut chunk = [0; 4096];
                loop {
                    // One small request at a time: its head, and a body of the length that the head names.
                    let whole = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| {
                        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
                        let length = head.split("content-length: ").nth(1).unwrap();
                        at + 4 + length.split("\r\n").next().unwrap().parse::<usize>().unwrap()
                    });
                    if let Some(end) = whole.filter(|end| bytes.len() >= *end) {
                        bytes.drain(..end);
                        let n = seen.fetch_add(1, Ordering::Relaxed);
                        match answer(n) {
                            Some(text) => stream.write_all(text.as_bytes()).unwrap(),
                            None => return,
                        }
                        continue;
                    }
                    match stream.read(&mut chunk) {
                        Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
                        _ => return,
                    }
                }
            });
        }
    });
    (address, requests)
}

fn status(code: u16, headers: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n{headers}\r\n"))
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_peer_that_comes_late_gets_everything_that_waited_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let queue = folder.path().join("queue");
    let forwarder = Forwarder::start(&on_disk(&format!("grpc://{address}"), &queue, 1 << 20)).unwrap();
    let began = Instant::now();
    offer(&forwarder, 0..300);
    // Offering is a push: the sender is not slowed by a peer that is not there.
    assert!(began.elapsed() < Duration::from_secs(5));
    while forwarder.handle.books.last_error.lock().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let late = ReceiverConfig { grpc: Some(address), http: None, ..ReceiverConfig::default() };
    let (receiver, seen) = receiver_with(late, |n| if n % 7 == 3 { Ack::Dropped } else { STORED });
    let end = forwarder.finish(LONG).await;
    assert_eq!((end.forwarded, end.dropped, end.waiting), (300, 0, 0), "{end:?}");
    assert_eq!(spans_in(&seen), 300);
    assert!(!queue.exists(), "an empty queue leaves nothing behind");
    assert_eq!(receiver.stop().await.unaccounted(), 0);
}

#[tokio::test]
async fn what_was_not_sent_waits_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let dead = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    // Some wait in memory, some on disk, some are under way.
    for (memory_max, spans) in [(10 * message(1).len() as u64, 0..30), (1 << 20, 30..50)] {
        let url = format!("http://{dead}");
        let config = ForwardConfig { memory_max, ..on_disk(&url, folder.path(), 1 << 20) };
        let forwarder = Forwarder::start(&config).unwrap();
        let end = spans.end;
        offer(&forwarder, spans);
        let left = forwarder.finish(Duration::from_millis(50)).await;
        assert_eq!((left.forwarded, left.dropped, left.waiting), (0, 0, end), "{left:?}");
    }
    let (receiver, seen) = receiver_with(config(), |_| STORED);
    let url = format!("http://{}", receiver.http_address().unwrap());
    let forwarder = Forwarder::start(&on_disk(&url, folder.path(), 1 << 20)).unwrap();
    offer(&forwarder, 50..60);
    let end = forwarder.finish(LONG).await;
    assert_eq!((end.forwarded, end.dropped, end.waiting), (60, 0, 0), "{end:?}");
    assert_eq!(spans_in(&seen), 60);
}

#[tokio::test]
async fn beyond_the_cap_messages_are_dropped_whole_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dead = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let size = message(1).len() as u64 + 20;
    let config = on_disk(&format!("http://{dead}"), folder.path(), 16 + 10 * size + size / 2);
    let forwarder = Forwarder::start(&config).unwrap();
    offer(&forwarder, 0..100);
    let end = forwarder.finish(Duration::from_millis(100)).await;
    assert_eq!(end.forwarded + end.dropped + end.waiting, 100);
    assert!((8..=10).contains(&end.waiting), "{end:?}");
    let memory =
        ForwardConfig { memory_max: 10 * message(1).len() as u64, ..ForwardConfig::new(&config.url) };
    let forwarder = Forwarder::start(&memory).unwrap();
    offer(&forwarder, 0..100);
    let end = forwarder.finish(Duration::from_millis(100)).await;
    assert_eq!((end.forwarded, end.dropped, end.waiting), (0, 100, 0), "{end:?}");
}

#[tokio::test]
async fn busy_peers_are_asked_again_and_what_they_refuse_is_not() {
    // 429 and 503 with and without a delay, a reset, then success; every fifth is refused for good.
    let (address, requests) = server(|n| match n {
        0 => status(429, ""),
        1 => status(503, "retry-after: 1\r\n"),
        2 => None,
        3 => status(502, ""),
        n if n % 5 == 0 => status(400, ""),
        _ => status(200, ""),
    });
    // With a path: a port that happens to end in 4317 would otherwise mean gRPC.
    let forwarder = Forwarder::start(&ForwardConfig::new(&format!("http://{address}/collector"))).unwrap();
    let began = Instant::now();
    offer(&forwarder, 0..40);
    let end = forwarder.finish(LONG).await;
    assert_eq!((end.forwarded + end.dropped, end.waiting), (40, 0), "{end:?}");
    assert!((5..=12).contains(&end.dropped), "{end:?}");
    assert!(end.last_error.unwrap().contains("400"));
    // Four that were put off, or the eight that were under way with them; never one that was refused.
    let requests = requests.load(Ordering::Relaxed);
    assert!((44..=60).contains(&requests), "{requests}");
    assert!(began.elapsed() >= Duration::from_secs(1), "the peer asked for a second");
}

#[tokio::test]
async fn a_peer_that_takes_connections_and_never_answers_costs_the_sender_nothing() {
    let half_open = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/collector", half_open.local_addr().unwrap());
    let forwarder = Forwarder::start(&on_disk(&url, folder.path(), 1 << 20)).unwrap();
    let near = ReceiverConfig { forward: Some(forwarder.handle()), ..config() };
    let (near, seen) = receiver_with(near, |_| STORED);
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        let began = Instant::now();
        let body = message(n).to_vec();
        let answer = crate::traces::receiver::tests::post(
            &near,
            "/v1/traces",
            &[crate::traces::receiver::tests::PROTOBUF],
            body,
        );
        assert_eq!(answer.await.status, 200);
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "the peer's timeout is 10 s: {slowest:?}");
    let end = forwarder.finish(Duration::from_millis(100)).await;
    assert_eq!((end.forwarded, end.dropped, end.waiting, spans_in(&seen)), (0, 0, 50, 50), "{end:?}");
}

#[tokio::test]
async fn one_folder_serves_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = on_disk("http://127.0.0.1:9", folder.path(), 1 << 20);
    let first = Forwarder::start(&config).unwrap();
    assert!(Forwarder::start(&config).unwrap_err().to_string().contains("cannot use"));
    first.finish(Duration::ZERO).await;
}
