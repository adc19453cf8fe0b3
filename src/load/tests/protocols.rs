//! What is sent and read over HTTP, whatever carries it: redirects to other hosts, compression, shared connections, bodies in
//! pieces.

use super::server::{Log, Seen, friendly, ok};
use super::*;
use crate::record::{FailureClass, Outcome};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use std::collections::BTreeSet;
use std::io::Write;

const PROTOCOLS: [&str; 2] = ["", "http2: true\n"];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn coded(coding: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    Response::builder().header("content-encoding", coding).body(body).unwrap()
}

fn pointing(status: u16, location: String) -> Response<String> {
    Response::builder().status(status).header("location", location).body(String::new()).unwrap()
}

fn connections(log: &Log) -> usize {
    log.lock().unwrap().iter().map(|seen| seen.connection).collect::<BTreeSet<_>>().len()
}

fn failed(exchange: &Exchange) -> (FailureClass, String) {
    let Outcome::Failed { failure, .. } = &exchange.outcome else { panic!("{exchange:?}") };
    (failure.class, failure.message.to_string())
}

#[test]
fn secrets_stay_behind_when_another_host_is_pointed_to() {
    let (other, elsewhere) = friendly(|seen| match seen.uri.as_str() {
        "/back" => pointing(307, format!("http://{}/end", seen.header("x-home"))),
        _ => ok("there"),
    });
    let there = other.address;
    let (server, log) = friendly(move |seen| match seen.uri.as_str() {
        "/go" => pointing(307, format!("http://{there}/x?y=1#part")),
        "/round" => pointing(308, format!("http://{there}/back")),
        "/stranger" => pointing(302, "http://stranger.invalid/".to_string()),
        _ => ok("end"),
    });
    for protocol in PROTOCOLS {
        let yaml = format!(
            "target: http://TARGET\ntargets: {{other: http://{there}}}\nload: {{rate: 1/s, for: 800ms}}\n{protocol}follow: true\nheaders: {{Authorization: Bearer x, X-Api-Key: k, X-Plain: p, X-Home: TARGET}}\nsteps: [{{post: /go, json: {{a: 1}}, expect: {{contains: there}}}}, POST /round, GET /stranger]\n"
        );
        let ran = run(&server, &yaml);
        let seen = std::mem::take(&mut *elsewhere.lock().unwrap());
        let own = std::mem::take(&mut *log.lock().unwrap());
        let told = |seen: &Seen| {
            let fields = ["authorization", "x-api-key", "x-plain", "content-type"];
            format!("{} {} {:?}", seen.method, seen.uri, fields.map(|name| seen.header(name)))
        };
        assert_eq!(told(&seen[0]), "POST /x?y=1 [\"\", \"\", \"p\", \"application/json\"]");
        assert_eq!(seen[0].body, "{\"a\":1}");
        assert_eq!(told(&seen[1]), "POST /back [\"\", \"\", \"p\", \"\"]");
        if protocol.is_empty() {
            assert_eq!(seen[0].header("host"), there.to_string());
        }
        let round: Vec<String> = own.iter().map(told).collect();
        assert_eq!(
            round[..3],
            [
                "POST /go [\"Bearer x\", \"k\", \"p\", \"application/json\"]",
                "POST /round [\"Bearer x\", \"k\", \"p\", \"\"]",
                "POST /end [\"\", \"\", \"p\", \"\"]",
            ]
        );
        let last = ran.exchanges.last().unwrap();
        assert_eq!((&last.outcome, last.followed), (&Outcome::Answered(302), false), "nobody asked for it");
        let hops = ran.exchanges.iter().filter(|e| e.followed).count();
        assert_eq!((hops, ran.exchanges.iter().filter(|e| e.was_checked()).count()), (3, 3));
        assert!(ran.exchanges.iter().all(|e| e.checks_failed.is_empty()));
    }
}

#[test]
fn redirects_have_a_limit() {
    let (server, log) = friendly(|seen| pointing(302, format!("{}x", seen.uri)));
    let ran = run(
        &server,
        "target: http://TARGET\nload: {rate: 1/s, for: 800ms}\nsteps: [{get: /a, follow: 2}, {get: /b, follow: false}]\non_failure: go_on\n",
    );
    let uris: Vec<String> = log.lock().unwrap().iter().map(|seen| seen.uri.clone()).collect();
    assert_eq!(uris, ["/a", "/ax", "/axx", "/b"]);
    let (class, words) = failed(&ran.exchanges[2]);
    assert_eq!(class, FailureClass::InvalidResponse);
    assert_eq!(words, "more than 2 redirects one after the other (follow)");
    assert_eq!(ran.exchanges[3].outcome, Outcome::Answered(302));
}

#[test]
fn compressed_answers_are_looked_into() {
    let plain = format!("{{\"token\": \"{}\"}}", "t".repeat(500));
    let body = gzip(plain.as_bytes());
    let (size, raw) = (plain.len() as u64, body.len() as u64);
    let (server, log) = friendly(move |_| coded("gzip", body.clone()));
    for protocol in PROTOCOLS {
        let yaml = |step: &str, http: &str| {
            format!(
                "target: http://TARGET\nload: {{rate: 20/s, for: 50ms}}\n{protocol}http: {{accept_encoding: [gzip, br, zstd]{http}}}\nsteps: [{step}]\n"
            )
        };
        let looks = "{get: /, extract: {token: $.token}, expect: {json: {$.token: matches ^t+$}}}";
        let ran = run(&server, &yaml(looks, ""));
        assert!(ran.exchanges[0].checks_failed.is_empty(), "{:?}", ran.exchanges[0]);
        assert_eq!((ran.exchanges[0].bytes_received, ran.exchanges[0].bytes_decoded), (raw, Some(size)));
        assert_eq!(run(&server, &yaml("GET /", "")).exchanges[0].bytes_decoded, None, "nobody looks");
        let ran = run(&server, &yaml("GET /", ", decode: always"));
        assert_eq!(ran.exchanges[0].bytes_decoded, Some(size));
        let ran = run(&server, &yaml(looks, ", decode: never"));
        assert_eq!((ran.exchanges[0].bytes_decoded, ran.exchanges[0].checks_failed.len()), (None, 2));
        let ran = run(&server, &yaml("GET /", &format!(", decode: always, max_decoded: {}", size - 1)));
        let (class, words) = failed(&ran.exchanges[0]);
        assert_eq!(class, FailureClass::InvalidResponse);
        assert!(words.contains("(http.max_decoded)"), "{words}");
    }
    assert!(log.lock().unwrap().iter().all(|seen| seen.header("accept-encoding") == "gzip, br, zstd"));
    let (server, _log) = friendly(|_| coded("gzip", b"plain".to_vec()));
    let yaml = "target: http://TARGET\nload: {rate: 20/s, for: 50ms}\nsteps: [{get: /, expect: {contains: plain}}]\n";
    let (class, words) = failed(&run(&server, yaml).exchanges[0]);
    assert_eq!(class, FailureClass::InvalidResponse);
    assert!(words.contains("no whole gzip"), "{words}");
}

#[test]
fn texts_that_nobody_compressed_are_told_where_that_was_offered() {
    for (kind, text) in [
        ("application/json; charset=utf-8", true),
        ("text/html", true),
        ("application/problem+json", true),
        ("image/svg+xml", true),
        ("image/png", false),
        ("application/zip", false),
        ("text/event-stream", false),
    ] {
        let (server, _log) = friendly(move |_| {
            Response::builder().header("content-type", kind).body(b"0123456789".to_vec()).unwrap()
        });
        let ran = |http: &str, step: &str| {
            let yaml =
                format!("target: http://TARGET\nload: {{rate: 20/s, for: 50ms}}\n{http}steps: [{step}]\n");
            run(&server, &yaml).exchanges[0].came_uncompressed()
        };
        let offers = "{get: /, headers: {Accept-Encoding: gzip}}";
        assert_eq!(ran("http: {accept_encoding: [gzip]}\n", "GET /"), text, "{kind}");
        assert_eq!(ran("http2: true\n", offers), text, "{kind}");
        // Nothing was offered.
        assert!(!ran("", "GET /") && !ran("", "{get: /, headers: {Accept-Encoding: identity}}"), "{kind}");
    }
    let (server, _log) = friendly(|_| {
        let packed =
            Response::builder().header("content-encoding", "gzip").header("content-type", "text/html");
        packed.body(gzip(b"plain")).unwrap()
    });
    let yaml = "target: http://TARGET\nload: {rate: 20/s, for: 50ms}\nhttp: {accept_encoding: [gzip]}\nsteps: [GET /]\n";
    assert!(!run(&server, yaml).exchanges[0].came_uncompressed());
}

#[test]
fn users_share_as_many_connections_as_it_is_said() {
    for (protocol, most) in [("", 2), ("http2: true\n", 2)] {
        let (server, log) = friendly(|_| ok("ok"));
        let ran = run(
            &server,
            &format!(
                "target: http://TARGET\nload: {{users: 6, for: 150ms}}\n{protocol}http: {{connections: {{shared: {most}}}}}\nsteps: [GET /a]\n"
            ),
        );
        assert!(ran.exchanges.len() > 12, "{}", ran.exchanges.len());
        assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)), "{:?}", ran.exchanges);
        assert!((1..=most).contains(&connections(&log)), "{} connections", connections(&log));
        assert!(ran.exchanges.iter().all(|e| e.phases.sent >= Some(e.phases.start)));
    }
}

#[test]
fn a_connection_that_never_comes_free_is_waited_for_so_long() {
    let server = super::server::raw(|stream, _| async move {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        drop(stream);
    });
    let ran = run(
        &server,
        "target: http://TARGET\nload: {users: 2, for: 100ms}\ntimeouts: {connect: 100ms, request: 600ms}\nhttp: {connections: {shared: 1}}\nsteps: [GET /a]\n",
    );
    let waited = ran.exchanges.iter().find(|e| !e.was_sent()).unwrap();
    let (class, words) = failed(waited);
    assert_eq!(class, FailureClass::ConnectTimeout);
    assert!(words.contains("(http.connections)"), "{words}");
}

#[test]
fn an_arrival_can_have_connections_of_its_own() {
    for protocol in PROTOCOLS {
        let (server, log) = friendly(|_| ok("ok"));
        let yaml = format!(
            "target: http://TARGET\nload: {{rate: 50/s, for: 100ms}}\n{protocol}http: {{connections: per_user}}\nsteps: [GET /a, GET /b]\n"
        );
        let ran = run(&server, &yaml);
        // The load may end before an arrival's second step, or on a busy machine before its first.
        let answered = || ran.exchanges.iter().filter(|e| e.outcome == Outcome::Answered(200));
        let users: BTreeSet<u32> = answered().map(|e| e.user).collect();
        assert!(connections(&log) >= users.len() && users.len() <= 5, "{:?}", ran.exchanges);
        assert!(answered().all(|e| e.connection_reused == e.url.ends_with("/b")));
    }
}

#[test]
fn connections_that_have_done_their_part_are_closed() {
    for protocol in PROTOCOLS {
        for (load, keep_alive) in [
            ("{users: 1, for: 600ms}", "{requests: 2}"),
            ("{users: 1, for: 600ms}", "{idle: 10ms}"),
            ("{rate: 50/s, for: 150ms}", "false"),
            ("{rate: 25/s, for: 200ms}", "{idle: 5ms}"),
        ] {
            let (server, log) = friendly(|_| ok("ok"));
            let yaml = format!(
                "target: http://TARGET\nload: {load}\nthink: 30ms\n{protocol}http: {{keep_alive: {keep_alive}}}\nsteps: [GET /a]\n"
            );
            let ran = run(&server, &yaml);
            assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)));
            // Users of a busy machine send less; arrivals are as many as were planned, and late ones can come together.
            let (requests, connections) = (ran.exchanges.len(), connections(&log));
            // Those that are not late leave their connection idle; a machine that is busy may bring them together.
            let late = ran.exchanges.iter().any(|e| e.phases.start > e.intended + Nanos::from_millis(5));
            let least = match keep_alive {
                "{requests: 2}" => requests.div_ceil(2),
                "{idle: 5ms}" if late => 1,
                _ => requests,
            };
            assert!(
                connections >= least && requests > 2,
                "{connections} for {requests}: {keep_alive} {protocol}"
            );
        }
    }
}

#[test]
fn files_are_sent_in_pieces_and_arrive_whole() {
    let large: String = (0..200_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.txt");
    std::fs::write(&file, &large).unwrap();
    for protocol in PROTOCOLS {
        let (server, log) = friendly(|_| ok("ok"));
        let yaml = format!(
            "target: http://TARGET\nload: {{users: 2, for: 300ms}}\n{protocol}steps: [{{post: /up, multipart: {{title: 'user {{{{ user }}}}', file: {{file: '{}'}}, again: {{file: '{}', name: b.txt}}}}}}]\n",
            file.display(),
            file.display()
        );
        let ran = run(&server, &yaml);
        let log = log.lock().unwrap();
        assert!(log.len() >= 2 && ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)));
        for seen in log.iter() {
            let user = seen.body.contains("user 0") || seen.body.contains("user 1");
            assert!(user && seen.body.matches(&large).count() == 2 && seen.body.ends_with("--\r\n"));
            assert_eq!(seen.header("content-length"), seen.body.len().to_string());
        }
        let least = 2 * large.len() as u64;
        assert!(ran.exchanges.iter().all(|e| (least..least + 2_000).contains(&e.bytes_sent)));
    }
}
