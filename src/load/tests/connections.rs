//! What `http:` says of connections, against servers that look at what they are sent.

use super::server::{friendly, ok, raw};
use super::*;
use crate::record::{FailureClass, Outcome};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many requests each connection carried, in the order of the connections.
fn per_connection(log: &super::server::Log) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    log.lock().unwrap().iter().for_each(|seen| *counts.entry(seen.connection).or_default() += 1);
    counts.into_values().collect()
}

const ONE: &str = "target: http://TARGET\nload: {users: 1, for: 300ms}\nthink: 5ms\nsteps: [GET /]\n";

#[test]
fn a_connection_lives_as_long_as_the_scenario_says() {
    let (server, log) = friendly(|_| ok("ok"));
    let ran = run(&server, &format!("{ONE}http: {{keep_alive: false}}\n"));
    assert!(ran.exchanges.len() > 2 && ran.exchanges.iter().all(|e| !e.connection_reused));
    assert!(log.lock().unwrap().iter().all(|seen| seen.header("connection") == "close"));
    assert!(per_connection(&log).iter().all(|count| *count == 1));

    let (server, log) = friendly(|_| ok("ok"));
    run(&server, &format!("{ONE}http: {{keep_alive: 3}}\n"));
    let counts = per_connection(&log);
    assert!(counts.len() >= 2 && counts[..counts.len() - 1].iter().all(|count| *count == 3), "{counts:?}");
    assert!(log.lock().unwrap().iter().all(|seen| seen.header("connection").is_empty()));

    let (server, log) = friendly(|_| ok("ok"));
    run(&server, &format!("{ONE}http: {{keep_alive: 40ms}}\n"));
    assert!(per_connection(&log).len() >= 2, "{:?}", per_connection(&log));

    let (server, log) = friendly(|_| ok("ok"));
    run(&server, &format!("{ONE}http: {{keep_alive: true}}\n"));
    assert_eq!(per_connection(&log).len(), 1);
}

#[test]
fn a_host_is_where_the_scenario_says() {
    let (server, log) = friendly(|_| ok("ok"));
    let yaml = ONE.replace("TARGET", "shop.example") + "http: {resolve: {shop.example: TARGET}}\n";
    let ran = run(&server, &yaml);
    assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)));
    assert!(ran.exchanges.iter().all(|e| e.phases.resolved.is_none() && &*e.url == "http://shop.example/"));
    assert!(log.lock().unwrap().iter().all(|seen| seen.header("host") == "shop.example"));
    let text = yaml.replace("TARGET", &server.address.to_string());
    assert_eq!(check_target(&crate::scenario::parse(&text, "t").unwrap()), Ok(()));
}

#[test]
#[cfg(target_os = "linux")]
fn connections_come_from_the_addresses_in_turn() {
    let peers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&peers);
    let server = raw(move |mut stream, _| {
        seen.lock().unwrap().push(stream.peer_addr().unwrap().ip().to_string());
        async move {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
    });
    let ran = run(&server, &format!("{ONE}http: {{source: [127.0.0.2, 127.0.0.3]}}\n"));
    let peers = peers.lock().unwrap();
    assert!(ran.exchanges.len() >= 4 && ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(204)));
    let expected = ["127.0.0.2", "127.0.0.3"].iter().cycle();
    assert!(peers.iter().zip(expected).all(|(seen, expected)| seen == expected), "{peers:?}");
}

#[test]
fn a_source_that_is_not_of_this_machine_is_a_failure_that_says_so() {
    let (server, _log) = friendly(|_| ok("ok"));
    let ran = run(&server, &format!("{ONE}http: {{source: 192.0.2.1}}\n"));
    let Outcome::Failed { failure, .. } = &ran.exchanges[0].outcome else { panic!("it failed") };
    assert_eq!(failure.class, FailureClass::Connect);
}

#[test]
fn the_first_byte_has_a_limit_of_its_own() {
    // The first answer comes at once and ends late, the others do not come.
    let server = raw(|mut stream, number| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        if number == 0 {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\no").await;
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            let _ = stream.write_all(b"k").await;
        } else {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let yaml =
        "target: http://TARGET\nload: {users: 1, for: 1300ms}\nsteps: [GET /]\nhttp: {first_byte: 800ms}\n";
    let ran = run(&server, yaml);
    assert_eq!(ran.exchanges[0].outcome, Outcome::Answered(200));
    let Outcome::Failed { failure, .. } = &ran.exchanges[1].outcome else { panic!("{:?}", ran.exchanges) };
    assert_eq!((failure.class, &*failure.message), (FailureClass::Timeout, "no answer within 800 ms"));
}

#[test]
fn a_body_that_is_too_large_is_a_failure() {
    for (protocol, body) in [("", 2_000), ("http2: true\n", 2_000)] {
        let (server, _log) = friendly(move |_| ok(&"x".repeat(body)));
        let ran = run(&server, &format!("{ONE}{protocol}http: {{max_body: 1999}}\n"));
        for exchange in &ran.exchanges {
            let Outcome::Failed { failure, status: Some(200) } = &exchange.outcome else {
                panic!("{exchange:?}")
            };
            assert_eq!(failure.class, FailureClass::InvalidResponse);
            assert_eq!(&*failure.message, "a body of more than 1999 bytes (http.max_body)");
        }
        let ran = run(&server, &format!("{ONE}{protocol}http: {{max_body: 2kB}}\n"));
        assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)));
    }
}
