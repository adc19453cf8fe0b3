//! Every way to fail, each with its class.

use super::server::{friendly, ok, raw};
use super::*;
use crate::record::{FailureClass, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOAD: &str = "load: {rate: 50/s, for: 60ms}\nsteps: [GET /]\n";
/// For servers that never answer; for all others the default is long enough on the busiest machine.
const IMPATIENT: &str =
    "load: {rate: 50/s, for: 60ms}\ntimeouts: {connect: 200ms, request: 80ms}\nsteps: [GET /]\n";

/// How many exchanges ended how.
fn classes(ran: &Ran) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for exchange in &ran.exchanges {
        let name = match &exchange.outcome {
            Outcome::Answered(_) => "answered",
            Outcome::Failed { failure, .. } => failure.class.name(),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn failed_with(ran: &Ran, class: FailureClass) -> String {
    assert_eq!(classes(ran), BTreeMap::from([(class.name(), 3)]), "{:?}", ran.exchanges);
    let Outcome::Failed { failure, .. } = &ran.exchanges[0].outcome else { panic!("it failed") };
    let shared = ran.exchanges.iter().all(|e| matches!(&e.outcome, Outcome::Failed { failure: f, .. } if Arc::ptr_eq(&f.message, &failure.message)));
    assert!(shared, "failures that are alike share their words");
    failure.message.to_string()
}

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

fn answering(answer: &'static [u8]) -> Server {
    raw(move |mut stream, _| async move {
        head(&mut stream).await;
        let _ = stream.write_all(answer).await;
    })
}

#[test]
fn refused() {
    // A port that was free a moment ago: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = answering(b"");
    let ran = run(&server, &format!("target: http://{address}\n{LOAD}"));
    let message = failed_with(&ran, FailureClass::ConnectRefused);
    assert!(
        message.contains(&address.to_string()) && message.to_lowercase().contains("refused"),
        "{message}"
    );
    assert!(ran.exchanges.iter().all(|e| !e.was_sent() && e.phases.connected.is_none()));
    let scenario = crate::scenario::parse(&format!("target: http://{address}\n{LOAD}"), "t").unwrap();
    let error = check_target(&scenario).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "nothing listens at http://{address} (connection refused): start the service, or check the port"
        )
    );
}

#[test]
fn a_name_that_does_not_resolve() {
    let server = answering(b"");
    let ran = run(&server, &format!("target: http://no-such-host.invalid\n{LOAD}"));
    let message = failed_with(&ran, FailureClass::Dns);
    assert!(message.starts_with("no-such-host.invalid: "), "{message}");
}

#[test]
fn closed_before_an_answer() {
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
    });
    let ran = run(&server, &format!("target: http://TARGET\n{LOAD}"));
    failed_with(&ran, FailureClass::Reset);
    assert!(ran.exchanges.iter().all(|e| e.was_sent() && e.bytes_sent > 0 && e.phases.first_byte.is_none()));
}

#[test]
fn no_answer_in_time() {
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let ran = run(&server, &format!("target: http://TARGET\n{IMPATIENT}"));
    let message = failed_with(&ran, FailureClass::Timeout);
    assert_eq!(message, "no answer within 80.0 ms");
    assert!(ran.exchanges.iter().all(|e| e.service_time() >= Nanos::from_millis(80)));
}

#[test]
fn an_answer_that_does_not_end_in_time() {
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let ran = run(&server, &format!("target: http://TARGET\n{IMPATIENT}"));
    assert_eq!(failed_with(&ran, FailureClass::Timeout), "no end of the answer within 80.0 ms");
    for exchange in &ran.exchanges {
        assert_eq!((exchange.status(), exchange.bytes_received), (Some(200), 3));
        assert!(exchange.phases.first_byte.is_some());
    }
}

#[test]
fn garbage() {
    let server = answering(b"220 mail.example.org ESMTP ready\r\n\r\n");
    let ran = run(&server, &format!("target: http://TARGET\n{LOAD}"));
    failed_with(&ran, FailureClass::InvalidResponse);
}

#[test]
fn a_body_that_is_cut_off() {
    let server = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    let ran = run(&server, &format!("target: http://TARGET\n{LOAD}"));
    failed_with(&ran, FailureClass::BodyTruncated);
    assert!(ran.exchanges.iter().all(|e| e.status() == Some(200) && e.bytes_received == 3));
}

#[test]
fn broken_chunks() {
    let server = answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc");
    let ran = run(&server, &format!("target: http://TARGET\n{LOAD}"));
    failed_with(&ran, FailureClass::InvalidResponse);
}

#[test]
fn a_tls_handshake_with_a_plain_server() {
    let server = raw(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let ran = run(&server, &format!("target: https://TARGET\ninsecure: true\n{LOAD}"));
    failed_with(&ran, FailureClass::Tls);
    assert!(ran.exchanges.iter().all(|e| e.phases.connected.is_some() && e.phases.tls_done.is_none()));
    let text = format!("target: https://{}\ninsecure: true\n{LOAD}", server.address);
    let error = check_target(&crate::scenario::parse(&text, "t").unwrap()).unwrap_err();
    assert!(error.to_string().contains("the TLS handshake failed"), "{error}");
}

#[test]
fn a_tls_handshake_that_never_ends() {
    let server = raw(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let ran = run(&server, &format!("target: https://TARGET\ninsecure: true\n{IMPATIENT}"));
    assert_eq!(failed_with(&ran, FailureClass::Tls), "127.0.0.1: no TLS handshake within 200 ms");
}

#[test]
fn a_kept_connection_that_died_is_replaced_once_within_the_exchange() {
    // Each connection answers one request and is then dead, though it had promised to stay.
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        head(&mut stream).await;
    });
    let yaml = "target: http://TARGET\nload: {users: 1, for: 400ms}\nthink: 10ms\nsteps: [{get: /}]\n";
    let ran = run(&server, yaml);
    assert!(ran.exchanges.len() > 4);
    assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)
        && !e.connection_reused
        && e.phases.connected.is_some()));
    // A POST must not be sent twice when the server may have seen it.
    let ran = run(&server, &yaml.replace("get: /", "post: /"));
    let classes = classes(&ran);
    assert!(classes.len() == 2 && classes["reset"] >= 1 && classes["answered"] >= 1, "{classes:?}");
}

#[test]
fn a_connection_that_was_closed_in_peace_costs_no_exchange() {
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    });
    let ran =
        run(&server, "target: http://TARGET\nload: {users: 1, for: 400ms}\nthink: 10ms\nsteps: [POST /]\n");
    assert!(ran.exchanges.len() > 4);
    assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)), "{:?}", classes(&ran));
}

#[test]
fn an_open_run_keeps_its_schedule_when_the_target_dies() {
    let (server, _log) = friendly(|_| ok("ok"));
    let address = server.address;
    let dying = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        drop(server);
    });
    let server = answering(b"");
    let ran = run(
        &server,
        &format!("target: http://{address}\nload: {{rate: 100/s, for: 400ms}}\nsteps: [GET /]\n"),
    );
    dying.join().unwrap();
    assert_eq!(ran.exchanges.len(), 40, "every arrival is an exchange");
    let classes = classes(&ran);
    assert!(classes["answered"] >= 1 && classes["connect_refused"] >= 1, "{classes:?}");
}

#[test]
fn closed_users_back_off_from_a_dead_target() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = answering(b"");
    let ran =
        run(&server, &format!("target: http://{address}\nload: {{users: 2, for: 450ms}}\nsteps: [GET /]\n"));
    assert!((2..=10).contains(&ran.exchanges.len()), "{} tries", ran.exchanges.len());
    for user in 0..2 {
        let starts: Vec<f64> =
            ran.exchanges.iter().filter(|e| e.user == user).map(|e| ran.ms(e.phases.start)).collect();
        assert!(starts.windows(2).all(|w| w[1] - w[0] >= 100.0), "{starts:?}");
    }
}

#[test]
fn stopping_now_cancels_what_is_under_way() {
    let server = raw(|mut stream, _| async move {
        head(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
    });
    let yaml = "target: http://TARGET\nload: {users: 3, for: 1h}\nsteps: [GET /]\n";
    let ran = run_with(&server, yaml, |_, stopper| {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            stopper.drain();
            std::thread::sleep(Duration::from_millis(100));
            stopper.now();
        });
    });
    assert_eq!(classes(&ran), BTreeMap::from([("cancelled", 3)]));
}

#[test]
fn draining_lets_what_is_under_way_end() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: [{users: 3, for: 1h}, {rate: 5/s, for: 1h}]\nthink: 10ms\nsteps: [GET /]\n";
    let ran = run_with(&server, yaml, |_, stopper| {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            stopper.drain();
        });
    });
    assert_eq!(classes(&ran).keys().copied().collect::<Vec<_>>(), ["answered"]);
}
