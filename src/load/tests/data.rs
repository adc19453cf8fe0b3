//! What requests are filled with: feeders in every order, secrets that stay unseen, files and GraphQL.

use super::server::{friendly, ok};
use super::*;
use http::Response;
use std::collections::BTreeMap;
use std::io::Write as _;

/// A folder with the given files; scenarios read them by name.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::File::create(dir.path().join(name)).unwrap().write_all(bytes).unwrap();
    }
    dir
}

/// Runs a scenario that stands in a folder.
fn run_in(dir: &tempfile::TempDir, server: &Server, yaml: &str, environment: &[(&str, &str)]) -> Ran {
    let text = yaml.replace("TARGET", &server.address.to_string());
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let surroundings = Surroundings { environment: Arc::new(environment), ..Surroundings::default() };
    let file = dir.path().join("test.yaml");
    let scenario = parse_with(&text, file.to_str().unwrap(), &surroundings).unwrap_or_else(|e| panic!("{e}"));
    let scenario = Arc::new(scenario);
    let (sink, mut received) = tokio::sync::mpsc::channel(1024);
    let (_stopper, stop) = stop_channel();
    let options = LoadOptions { seed: 7, threads: 2, ..LoadOptions::new(Arc::clone(&scenario), sink, stop) };
    let live = Arc::clone(&options.live);
    let handle = start(options).unwrap_or_else(|e| panic!("{e}"));
    let started_at = handle.started_at();
    let facts = handle.join();
    let mut exchanges: Vec<Exchange> = Vec::new();
    while let Ok(batch) = received.try_recv() {
        exchanges.extend(batch);
    }
    Ran {
        facts,
        exchanges,
        started_at,
        live,
        schedule: Schedule::of(&scenario, 0),
        scenario_steps: Vec::new(),
    }
}

fn rows(order: &str, load: &str) -> Vec<u32> {
    let lines: String = (0..40).map(|n| format!("{{\"n\": {n}, \"x\": \"é\"}}\n")).collect();
    let dir = folder(&[("rows.jsonl", lines.as_bytes())]);
    let (server, log) = friendly(|_| ok("{}"));
    let yaml = format!(
        "target: http://TARGET\nload: {load}\njourneys:\n  a: {{data: {{file: rows.jsonl, order: {order}}}, think: 2ms, steps: [{{get: '/{{{{ data.n }}}}', name: row}}]}}\n"
    );
    run_in(&dir, &server, &yaml, &[]);
    let log = log.lock().unwrap();
    log.iter().map(|s| s.uri[1..].parse().unwrap()).collect()
}

#[test]
fn rows_come_in_the_order_that_was_asked_for() {
    let arrivals = "{rate: 400/s, for: 150ms}";
    let mut sequential = rows("sequential", arrivals);
    sequential.sort_unstable();
    let twice: Vec<u32> = (0..40).flat_map(|n| if n < 20 { vec![n, n] } else { vec![n] }).collect();
    assert_eq!(sequential, twice, "60 arrivals take 40 rows and begin again");
    let mut shuffled = rows("shuffled", "{rate: 400/s, for: 100ms}");
    assert_ne!(shuffled[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    shuffled.sort_unstable();
    assert_eq!(shuffled, (0..40).collect::<Vec<_>>(), "each row comes once");
    let own = rows("per_user", "{users: 3, for: 100ms}");
    assert!(own.len() > 3 && own.iter().all(|n| *n < 3), "{own:?}");
}

#[test]
fn rows_that_are_used_once_end_the_load() {
    for load in ["{users: 3, for: 60s}", "{rate: 300/s, for: 2s}"] {
        let mut once = rows("once", load);
        once.sort_unstable();
        assert_eq!(once, (0..40).collect::<Vec<_>>(), "{load}");
    }
    let recycled = rows("once, at_end: recycle", "{rate: 400/s, for: 200ms}");
    assert_eq!(recycled.len(), 80);
    assert!((0..40).all(|n| recycled.iter().filter(|r| **r == n).count() == 2));
}

#[test]
fn secrets_reach_the_service_and_nothing_else() {
    let planted = [("TOKEN", "s3cr3t/t0ken \"x\""), ("API_KEY", "k3y-of-env")];
    let (server, log) = friendly(|seen| {
        // A service that repeats all that it was sent, in fields, texts and JSON.
        let sent = format!("{} {:?} {}", seen.uri, seen.headers, seen.body);
        Response::builder()
            .status(500)
            .header("server-timing", "db;desc=\"k3y-of-env\"")
            .header("x-echo", "file-s3cret")
            .body(serde_json::json!({"echo": sent, "raw": "s3cr3t/t0ken \"x\""}).to_string())
            .unwrap()
    });
    let yaml = r#"target: http://TARGET
load: {users: 1, for: 200ms}
secrets: {token: {env: TOKEN}, filed: {file: key.txt}}
steps:
  - get: "/path/{{ secret.token }}?q={{ secret.filed }}&k={{ env.API_KEY }}"
    name: url
    headers: {X-Own: "{{ secret.filed }}", Authorization: "Basic {{ secret.filed | base64 }}"}
    expect: {status: 200, json: {$.raw: "== nothing", $.echo: "== nothing"}, headers: {x-echo: "== nothing"}}
    on_failure: go_on
  - post: /body
    json: {a: "{{ secret.token }}", b: "x {{ secret.token }} y"}
    extract: {raw: $.raw}
    on_failure: go_on
  - {get: "/{{ raw | raw }}/{{ secret.token | raw }}", name: broken, on_failure: go_on}
  - {get: "/n", headers: {X: "{{ raw + secret.token | int }}"}, on_failure: go_on}
  - {pause: 10s}
  - GET /never
"#;
    let dir = folder(&[("key.txt", b"file-s3cret\n")]);
    let ran = run_in(&dir, &server, yaml, &planted);
    let sent = format!("{:?}", log.lock().unwrap());
    for there in ["s3cr3t%2Ft0ken%20%22x%22", "file-s3cret", "k3y-of-env", "ZmlsZS1zM2NyZXQ="] {
        assert!(sent.contains(there), "{there} was not sent: {sent}");
    }
    assert!(sent.contains(r#"{\"a\":\"s3cr3t/t0ken \\\"x\\\"\"#) || sent.contains("s3cr3t/t0ken"), "{sent}");
    assert_eq!(ran.exchanges.len(), 4);
    let kept = format!("{:?}", ran.exchanges);
    for hidden in ["s3cr3t", "t0ken", "file-s3cret", "k3y-of-env", "ZmlsZS1z"] {
        assert!(!kept.contains(hidden), "{hidden} is in the record: {kept}");
    }
    assert!(kept.contains("/path/***?q=***&k=***"), "{kept}");
    assert!(kept.contains("is no path"), "{kept}");
}

#[test]
fn files_forms_and_queries_are_sent_as_they_are_meant() {
    let image: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let dir = folder(&[("a.png", &image), ("note.txt", b"hello")]);
    let (server, log) = friendly(|seen| ok(&seen.body.len().to_string()));
    let yaml = r#"target: http://TARGET
load: {users: 1, for: 300ms}
steps:
  - {post: /raw, body: {file: note.txt, type: text/plain}}
  - {post: /upload, multipart: {title: "a b", image: {file: a.png, type: image/png}}}
  - {post: /made, multipart: {"n\"ame": "{{ pick(5, 5) }}", f: {file: note.txt, name: "x.txt"}, last: z}}
  - {post: /graphql, graphql: {query: "query P($id: ID!) { product(id: $id) { name } }", variables: {id: "{{ pick(3, 3) }}"}, operation: P}}
  - {pause: 10s}
  - GET /never
"#;
    let ran = run_in(&dir, &server, yaml, &[]);
    let log = log.lock().unwrap();
    assert_eq!((log[0].body.as_str(), log[0].header("content-type")), ("hello", "text/plain".to_string()));
    let boundary = |n: usize| log[n].header("content-type").split("boundary=").nth(1).unwrap().to_string();
    let b = boundary(2);
    assert_eq!(
        log[2].body,
        format!(
            "--{b}\r\ncontent-disposition: form-data; name=\"n%22ame\"\r\n\r\n5\r\n--{b}\r\ncontent-disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\ncontent-type: application/octet-stream\r\n\r\nhello\r\n--{b}\r\ncontent-disposition: form-data; name=\"last\"\r\n\r\nz\r\n--{b}--\r\n"
        )
    );
    assert!(log[1].body.starts_with(&format!("--{}\r\n", boundary(1))));
    assert!(ran.exchanges[1].bytes_sent > 100_000);
    assert_eq!(
        log[3].body,
        r#"{"query":"query P($id: ID!) { product(id: $id) { name } }","variables":{"id":3},"operationName":"P"}"#
    );
    assert_eq!(log[3].header("content-type"), "application/json");
}
