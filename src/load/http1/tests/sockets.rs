//! Whole exchanges over real sockets, where both sides write at once, close half and talk too much.

use super::*;
use crate::load::clock::Clock;
use crate::record::FailureClass;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// Reads a request's head.
fn head(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A client's connection to a server that serves one connection with `serve`, which may wait for the receiver's end.
fn with_server(
    serve: impl FnOnce(TcpStream, mpsc::Receiver<()>) + Send + 'static,
    client: impl AsyncFnOnce(Http1, mpsc::Sender<()>),
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, waits) = mpsc::channel();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0, waits));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        client(Http1::new(Stream::Plain(stream), Scratch::new()), done).await;
    });
    server.join().unwrap();
}

async fn exchange(connection: &mut Http1, body: Bytes) -> (Result<Head, NoAnswer>, Seen) {
    let head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut seen = Seen { body: Body { keep: 64, ..Body::default() }, ..Seen::default() };
    let flights = Rc::new(Flights::default());
    let flight = flights.slot();
    let outgoing = match connection.start(head.as_bytes(), body, &mut seen) {
        Ok(outgoing) => outgoing,
        Err(why) => return (Err(why), seen),
    };
    let expected = (Asked::Ordinary, Fields::Few);
    let answer = connection
        .finish(outgoing, expected, (&flight, None), &ThreadClock::new(Clock::start()), &mut seen)
        .await;
    (answer, seen)
}

/// More than the buffers of both sockets hold.
fn large() -> Bytes {
    Bytes::from(vec![b'x'; 64 << 20])
}

#[test]
fn a_large_body_goes_out_whole_and_comes_back_whole() {
    with_server(
        |mut stream, _| {
            head(&mut stream);
            let mut left = large().len();
            let mut buffer = vec![0; 1 << 20];
            while left > 0 {
                left -= stream.read(&mut buffer).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8388608\r\n\r\n").unwrap();
            stream.write_all(&vec![b'y'; 8 << 20]).unwrap();
            assert_eq!(head(&mut stream), "", "the client closes");
        },
        async |mut connection: Http1, _| {
            let (answer, seen) = exchange(&mut connection, large()).await;
            assert_eq!(answer.unwrap().status, 200);
            assert!(seen.written > 64 << 20);
            assert_eq!((seen.body.received, seen.body.kept.len()), (8 << 20, 64));
            assert!(connection.is_open());
        },
    );
}

#[test]
fn an_early_answer_ends_the_exchange_though_the_request_has_not_left() {
    with_server(
        |mut stream, waits| {
            head(&mut stream);
            stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").unwrap();
            let _ = waits.recv();
        },
        async |mut connection: Http1, _done| {
            let (answer, seen) = exchange(&mut connection, large()).await;
            assert_eq!((answer.unwrap().status, seen.body.kept.as_slice()), (413, b"no".as_slice()));
            assert!(seen.written < 64 << 20);
            assert!(!connection.is_open(), "half a request is under way on it");
        },
    );
}

#[test]
fn an_answer_is_read_though_the_peer_reads_no_more() {
    with_server(
        |mut stream, waits| {
            head(&mut stream);
            stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = waits.recv();
        },
        async |mut connection: Http1, _done| {
            let (answer, _) = exchange(&mut connection, large()).await;
            assert_eq!(answer.unwrap().status, 401);
        },
    );
}

#[test]
fn a_peer_that_closes_within_the_request_is_a_reset() {
    with_server(
        |mut stream, _| drop(head(&mut stream)),
        async |mut connection: Http1, _| {
            let (answer, seen) = exchange(&mut connection, large()).await;
            let Err(NoAnswer::Fault(fault)) = answer else { panic!("{answer:?}") };
            assert_eq!((fault.class, seen.first_byte), (FailureClass::Reset, None));
        },
    );
}

#[test]
fn a_connection_closed_or_talking_between_exchanges_sends_nothing() {
    for says in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (said, hears) = mpsc::channel();
        with_server(
            move |mut stream, waits| {
                head(&mut stream);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                waits.recv().unwrap();
                stream.write_all(says.as_bytes()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                said.send(()).unwrap();
                assert_eq!(head(&mut stream), "", "nothing more is sent");
            },
            async |mut connection: Http1, done| {
                let (answer, seen) = exchange(&mut connection, Bytes::new()).await;
                assert!(answer.is_ok() && connection.is_open() && !seen.leftovers);
                done.send(()).unwrap();
                hears.recv().unwrap();
                // The runtime hears of it when it asks the system for events: as soon as this waits.
                connection.stream.readable().await;
                let (answer, seen) = exchange(&mut connection, Bytes::new()).await;
                assert!(matches!(answer, Err(NoAnswer::Unsent(_))), "{answer:?}");
                assert_eq!((seen.written, seen.leftovers), (0, !says.is_empty()));
                assert!(!connection.is_open());
            },
        );
    }
}

#[test]
fn an_answer_before_any_request_is_an_answer_on_a_new_connection() {
    with_server(
        |mut stream, waits| {
            stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = waits.recv();
        },
        async |mut connection: Http1, _done| {
            connection.stream.readable().await;
            let (answer, _) = exchange(&mut connection, Bytes::new()).await;
            assert_eq!(answer.unwrap().status, 503);
        },
    );
}

#[test]
fn requests_that_the_socket_takes_in_parts_go_out_in_order() {
    let whole = |takes| {
        let mut script = Script::new(Vec::new(), Then::Waits);
        script.takes = takes;
        let mut connection = Http1::new(Stream::Scripted(script), Scratch::new());
        let mut seen = Seen::default();
        let started = connection.start(b"head", Bytes::from_static(b"and body"), &mut seen);
        let mut cx = Context::from_waker(Waker::noop());
        let outgoing = started.map(|mut outgoing| {
            for room in 1..20 {
                if let (Stream::Scripted(script), Takes::Only(_)) = (&mut connection.stream, takes) {
                    script.takes = Takes::Only(room);
                }
                outgoing.write(&mut connection.stream, &mut cx, None, &mut seen);
            }
            outgoing
        });
        let Stream::Scripted(script) = connection.stream else { unreachable!() };
        (String::from_utf8(script.sent).unwrap(), seen.written, outgoing)
    };
    for takes in [Takes::All, Takes::Only(0)] {
        let (sent, written, outgoing) = whole(takes);
        assert_eq!((sent.as_str(), written), ("headand body", 12));
        assert!(outgoing.is_ok_and(|outgoing| outgoing.is_done()));
    }
    let (sent, written, outgoing) = whole(Takes::Until(6));
    assert_eq!((sent.as_str(), written), ("headan", 6));
    assert!(outgoing.is_ok_and(|outgoing| outgoing.failed.is_some()));
    let (_, _, outgoing) = whole(Takes::Until(0));
    assert!(matches!(outgoing, Err(NoAnswer::Unsent(_))));
}
