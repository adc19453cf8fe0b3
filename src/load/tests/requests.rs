//! What is sent: the documented example, cookies, data, templates, trace context, redirects.

use super::server::{Seen, friendly, ok};
use super::*;
use crate::record::{FailureClass, Outcome, Propagator, SpanId, StepId, TraceContext, TraceId};
use crate::scenario::parse_propagation;
use http::Response;
use std::collections::BTreeSet;

fn shop(seen: &Seen) -> Response<String> {
    match (seen.method.as_str(), seen.uri.split('?').next().unwrap_or_default()) {
        ("GET", "/products") => ok(r#"{"items": [{"id": 7}, {"id": 8}, {"id": 9}]}"#),
        ("GET", path) if path.starts_with("/products/") => ok(r#"{"id": 7, "price": "9.90"}"#),
        ("POST", "/login") => {
            let mut answer = ok(r#"{"token": "t-1"}"#);
            answer.headers_mut().insert("set-cookie", "sid=abc; Path=/".parse().unwrap());
            answer
        }
        ("POST", "/orders") => ok("{}"),
        ("POST", "/logout") => Response::builder().status(204).body(String::new()).unwrap(),
        _ => Response::builder().status(404).body(String::new()).unwrap(),
    }
}

#[test]
fn the_documented_example_runs_whole() {
    let (server, log) = friendly(shop);
    let example = include_str!("../../scenario/tests/example.yaml")
        .replace("127.0.0.1:8080", "TARGET")
        .replace("users: 20, ramp: 10s, for: 1m", "users: 5, ramp: 50ms, for: 250ms")
        .replace("rate: 200/s, for: 2m", "rate: 100/s, for: 300ms")
        .replace("500ms..2s", "2ms..5ms");
    let ran = run(&server, &example);
    let log = log.lock().unwrap();
    assert_eq!(log.len(), ran.exchanges.len());
    let failed: Vec<_> =
        ran.exchanges.iter().filter(|e| e.is_error() || !e.checks_failed.is_empty()).collect();
    assert_eq!(failed, [] as [&Exchange; 0]);
    let paths: BTreeSet<&str> = log.iter().map(|s| s.uri.as_str()).collect();
    assert!(paths.iter().any(|p| p.starts_with("/products?page=")));
    let products = ["/products/7", "/products/8", "/products/9"];
    assert!(paths.iter().filter(|p| p.starts_with("/products/")).all(|p| products.contains(p)), "{paths:?}");
    let steps: BTreeSet<StepId> = ran.exchanges.iter().map(|e| e.step).collect();
    assert_eq!(steps.len(), 5, "every step was reached");
    let logins = log.iter().filter(|s| s.uri == "/login");
    assert!(
        logins.clone().count() > 0 && logins.clone().all(|s| s.header("content-type") == "application/json")
    );
    let known = [
        r#"{"user":"ann","password":"one"}"#,
        r#"{"user":"bob","password":"two"}"#,
        r#"{"user":"cid","password":"three"}"#,
    ];
    assert!(logins.clone().all(|s| known.contains(&s.body.as_str())));
    let orders: Vec<&Seen> = log.iter().filter(|s| s.uri == "/orders").collect();
    for order in orders {
        assert_eq!(
            (order.header("authorization"), order.header("cookie")),
            ("Bearer t-1".into(), "sid=abc".into())
        );
        let body: serde_json::Value = serde_json::from_str(&order.body).unwrap();
        assert!((1..=500).contains(&body["product"].as_i64().unwrap()), "{body}");
        assert!(body["address"].as_str().is_some_and(|a| a.len() > 5), "{body}");
    }
    assert!(log.iter().all(|s| s.header("user-agent") == concat!("hotspan/", env!("CARGO_PKG_VERSION"))));
    assert!(ran.facts.open_model && ran.facts.users_max >= 5);
}

#[test]
fn traceparent_carries_the_exchange_s_own_ids() {
    let (server, log) = friendly(|_| ok("ok"));
    let ran = run_with(
        &server,
        "target: http://TARGET\nload: {rate: 200/s, for: 300ms}\nsteps: [GET /]\n",
        |o, _| {
            o.sampling = Sampling::Share(0.5);
            o.threads = 2;
        },
    );
    let ids = |e: &Exchange| (e.trace_id, e.span_id, e.sampled);
    let sent: BTreeSet<_> = ran.exchanges.iter().map(ids).collect();
    let came: BTreeSet<_> = log
        .lock()
        .unwrap()
        .iter()
        .map(|seen| {
            let header = seen.header("traceparent");
            assert!(header.starts_with("00-") && header.len() == 55, "{header}");
            let (trace, span) = (TraceId::from_hex(&header[3..35]), SpanId::from_hex(&header[36..52]));
            let sampled = header.ends_with("-01");
            assert!(sampled || header.ends_with("-00"), "{header}");
            assert_eq!(seen.headers.get("tracestate").is_some_and(|s| s == "ot=th:8"), sampled, "{header}");
            (trace.unwrap(), span.unwrap(), sampled)
        })
        .collect();
    assert_eq!(sent.len(), 60);
    assert_eq!(sent, came);
    let traces: BTreeSet<TraceId> = ran.exchanges.iter().map(|e| e.trace_id).collect();
    assert_eq!(traces.len(), 60, "each exchange has a trace of its own");
    assert!(ran.exchanges.iter().all(|e| e.threshold.keeps(&e.trace_id) == e.sampled));
    let sampled = ran.exchanges.iter().filter(|e| e.sampled).count();
    assert!((5..55).contains(&sampled), "{sampled} of 60 sampled at one half");
}

/// Whether a request carries exactly an exchange's context in those formats, and no other.
pub fn carries(headers: &http::HeaderMap, exchange: &Exchange, formats: &str) -> Result<(), String> {
    let Exchange { trace_id, span_id, sampled, .. } = *exchange;
    let context = TraceContext { trace_id, span_id, sampled }.traceparent();
    let wanted = parse_propagation(formats).unwrap();
    for (_, propagator) in Propagator::NAMES {
        for field in propagator.fields() {
            let all: Vec<_> = headers.get_all(field.name).iter().map(|v| v.as_bytes().to_vec()).collect();
            let expected = wanted.has(propagator).then(|| field.value(&context));
            if all != expected.into_iter().collect::<Vec<_>>() {
                return Err(format!("{}: {:?}", field.name, headers.get(field.name)));
            }
        }
    }
    Ok(())
}

#[test]
fn context_is_carried_in_every_format_that_is_asked_for() {
    for formats in
        ["tracecontext", "b3", "tracecontext,b3multi", "jaeger,xray", "tracecontext,b3,b3multi,jaeger,xray"]
    {
        for http2 in ["", "http2: true\n"] {
            let (server, log) = friendly(|seen| match seen.uri.as_str() {
                "/go" => {
                    Response::builder().status(307).header("location", "/end").body(String::new()).unwrap()
                }
                "/flaky" => Response::builder().status(503).body(String::new()).unwrap(),
                _ => ok(r#"{"token": "t"}"#),
            });
            let steps = "setup: [{get: /setup, extract: {token: $.token}}]\nteardown: [GET /teardown]\nsteps: [GET /fixed, {get: '/made/{{ token }}'}, POST /go, {post: /long, json: {a: 1}}, {get: /flaky, on_failure: 'retry(1, 1ms)'}]\n";
            let yaml = format!(
                "target: http://TARGET\n{http2}follow: true\ntrace: {{propagate: '{formats}'}}\nload: {{rate: 20/s, for: 200ms}}\n{steps}"
            );
            let ran = run_with(&server, &yaml, |o, _| o.sampling = Sampling::Share(0.5));
            assert_eq!(ran.facts.propagation.to_string(), formats);
            let log = log.lock().unwrap();
            let second = ran.started_at.0 / 1_000_000_000;
            for exchange in ran.exchanges.iter().filter(|e| e.was_sent()) {
                let found = log.iter().find(|seen| carries(&seen.headers, exchange, formats).is_ok());
                let seen = found.unwrap_or_else(|| panic!("{formats}: nothing carries {exchange:?}"));
                let state = exchange.sampled && formats.starts_with("tracecontext");
                assert_eq!(seen.headers.contains_key("tracestate"), state, "{seen:?}");
                let begins = u64::from_str_radix(&exchange.trace_id.to_string()[..8], 16).unwrap();
                // By chance once in 700 million.
                assert_eq!(begins.abs_diff(second) < 3, formats.contains("xray"), "{begins} and {second}");
            }
            let paths: BTreeSet<&str> = log.iter().map(|seen| seen.uri.as_str()).collect();
            assert_eq!(
                paths.into_iter().collect::<Vec<_>>(),
                ["/end", "/fixed", "/flaky", "/go", "/long", "/made/t", "/setup", "/teardown"]
            );
            for seen in log.iter() {
                assert!(ran.exchanges.iter().any(|e| carries(&seen.headers, e, formats).is_ok()), "{seen:?}");
            }
        }
    }
}

#[test]
fn one_trace_can_cover_an_iteration() {
    let (server, _log) = friendly(|_| ok("ok"));
    let ran = run(
        &server,
        "target: http://TARGET\ntrace: iteration\nload: {rate: 50/s, for: 200ms}\nsteps: [GET /a, GET /b, GET /c]\n",
    );
    let traces: BTreeSet<TraceId> = ran.exchanges.iter().map(|e| e.trace_id).collect();
    let spans: BTreeSet<SpanId> = ran.exchanges.iter().map(|e| e.span_id).collect();
    assert_eq!((ran.exchanges.len(), traces.len(), spans.len()), (30, 10, 30));
}

#[test]
fn the_same_seed_sends_the_same_requests() {
    let yaml = "target: http://TARGET\nload: [{users: 3, for: 150ms}, {rate: 100/s, for: 100ms}]\nthink: 8ms..12ms\njourneys:\n  a: {weight: 2, data: {file: users.csv, order: random}, steps: [{post: /a, json: {n: '{{ pick(1, 1000000) }}', u: '{{ data.user }}'}}]}\n  b: [{get: '/b/{{ uuid() }}'}]\n";
    let requests = |seed: u64, threads: usize| {
        let (server, log) = friendly(|_| ok("ok"));
        let ran = run_with(&server, yaml, |o, _| (o.seed, o.threads) = (seed, threads));
        let log = log.lock().unwrap();
        let sent = |e: &Exchange| {
            let seen = log.iter().find(|s| s.header("traceparent")[36..52] == e.span_id.to_string()).unwrap();
            ((e.user, e.iteration), format!("{} {} {}", seen.method, seen.uri, seen.body))
        };
        ran.exchanges.iter().map(sent).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (one, again, other) = (requests(1, 1), requests(1, 2), requests(2, 1));
    // A busy machine may fit more or fewer iterations in: those that both runs made must be equal.
    let common = one.keys().filter(|k| again.contains_key(k)).count();
    assert!(common >= 12, "{common}");
    assert!(one.iter().all(|(k, v)| again.get(k).is_none_or(|a| a == v)));
    let equal = one.iter().filter(|(k, v)| other.get(k) == Some(v)).count();
    assert!(equal * 2 < common, "another seed sends other requests: {equal} of {common} are equal");
}

#[test]
fn cookies_belong_to_users_and_stay_over_iterations() {
    let (server, log) = friendly(|seen| {
        let mut answer = ok("ok");
        if seen.header("cookie").is_empty() {
            let user = seen.header("x-user");
            answer.headers_mut().insert("set-cookie", format!("user={user}").parse().unwrap());
        }
        answer
    });
    let ran = run(
        &server,
        "target: http://TARGET\nload: {users: 2, for: 400ms}\nthink: 5ms\nheaders: {x-user: '{{ user }}'}\nsteps: [GET /a, GET /b]\n",
    );
    let log = log.lock().unwrap();
    for user in ["0", "1"] {
        let cookies: Vec<String> =
            log.iter().filter(|s| s.header("x-user") == user).map(|s| s.header("cookie")).collect();
        assert!(cookies.len() > 4, "{cookies:?}");
        assert_eq!(cookies[0], "");
        assert!(cookies[1..].iter().all(|c| *c == format!("user={user}")), "{cookies:?}");
    }
    let connections: BTreeSet<usize> = log.iter().map(|s| s.connection).collect();
    assert_eq!(connections.len(), 2, "a user keeps its connection");
    assert_eq!(ran.exchanges.iter().filter(|e| !e.connection_reused).count(), 2);
}

#[test]
fn an_arrival_is_a_new_user_without_cookies() {
    let (server, log) = friendly(|_| {
        let mut answer = ok("ok");
        answer.headers_mut().insert("set-cookie", "sid=1".parse().unwrap());
        answer
    });
    run(&server, "target: http://TARGET\nload: {rate: 50/s, for: 100ms}\nsteps: [GET /a, GET /b]\n");
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 10);
    assert!(log.iter().all(|s| s.header("cookie") == if s.uri == "/a" { "" } else { "sid=1" }));
}

#[test]
fn redirects_are_answers_unless_they_are_to_be_followed() {
    let answer = |seen: &Seen| match seen.uri.as_str() {
        "/old" => Response::builder().status(303).header("location", "new?x=1").body(String::new()).unwrap(),
        "/away" => Response::builder()
            .status(302)
            .header("location", "http://example.org/")
            .body(String::new())
            .unwrap(),
        "/loop" => Response::builder().status(307).header("location", "/loop").body(String::new()).unwrap(),
        _ => ok("here"),
    };
    let steps = "steps: [{post: /old, body: b, expect: {contains: here}}, POST /away, GET /loop]\nload: {users: 1, for: 20ms}\nthink: 1s\n";
    let (server, log) = friendly(answer);
    let ran = run(&server, &format!("target: http://TARGET\n{steps}"));
    assert_eq!(ran.exchanges[0].outcome, Outcome::Answered(303));
    assert_eq!(log.lock().unwrap().len(), 1);
    let steps = steps.replace("think: 1s", "think: 0s");
    let (server, log) = friendly(answer);
    let ran = run(&server, &format!("target: http://TARGET\nfollow: true\n{steps}"));
    let log = log.lock().unwrap();
    let first: Vec<String> =
        log.iter().take(4).map(|s| format!("{} {} {}", s.method, s.uri, s.body)).collect();
    assert_eq!(first, ["POST /old b", "GET /new?x=1 ", "POST /away ", "GET /loop "]);
    assert_eq!(
        log.iter().skip(3).take(11).filter(|s| s.uri == "/loop").count(),
        11,
        "ten redirects, then it is a failure"
    );
    assert_eq!(ran.exchanges[1].intended, ran.exchanges[0].phases.end);
    assert!(ran.exchanges[1].checks_failed.is_empty() && ran.exchanges[1].url.ends_with("/new?x=1"));
}

#[test]
fn what_is_missing_ends_the_walk() {
    let (server, log) = friendly(|_| ok("{}"));
    let ran = run(
        &server,
        "target: http://TARGET\nload: {rate: 50/s, for: 100ms}\nsteps:\n  - {get: /a, extract: {id: $.id}}\n  - get: /b/{{ id }}\n",
    );
    assert!(log.lock().unwrap().iter().all(|s| s.uri == "/a"));
    assert_eq!(ran.exchanges.len(), 5);
    assert!(ran.exchanges.iter().all(|e| &*e.checks_failed[0].check == "extract id" && !e.is_error()));
}

#[test]
fn a_template_that_cannot_be_filled_is_an_exchange() {
    let (server, _log) = friendly(|_| ok("[]"));
    let ran = run(
        &server,
        "target: http://TARGET\nload: {rate: 50/s, for: 100ms}\nsteps:\n  - {get: /a, extract: {all: '$'}}\n  - get: /b/{{ all | random }}\n",
    );
    let failed: Vec<&Exchange> = ran.exchanges.iter().filter(|e| e.step == StepId(1)).collect();
    assert_eq!(failed.len(), 5);
    for exchange in failed {
        let Outcome::Failed { failure, status: None } = &exchange.outcome else { panic!("{exchange:?}") };
        assert_eq!((failure.class, &*failure.message), (FailureClass::Template, "`all` is an empty list"));
    }
}

#[test]
fn bytes_and_the_server_s_own_timing_are_recorded() {
    let (server, _log) = friendly(|_| {
        let mut answer = ok("12345");
        answer.headers_mut().append("server-timing", "db;dur=3".parse().unwrap());
        answer
            .headers_mut()
            .append("server-timing", format!("x;desc=\"{}\"", "y".repeat(2_000)).parse().unwrap());
        answer
    });
    let ran = run(
        &server,
        "target: http://TARGET\nload: {rate: 50/s, for: 40ms}\nsteps: [{post: /x, body: abc, headers: {accept: a}}]\n",
    );
    let host = server.address.to_string();
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: {host}\r\nuser-agent: hotspan/{}\r\naccept: a\r\ntraceparent: {}\r\ntracestate: ot=th:0\r\ncontent-length: 3\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        "-".repeat(55)
    );
    for exchange in &ran.exchanges {
        assert_eq!((exchange.bytes_sent, exchange.bytes_received), (head.len() as u64 + 3, 5));
        let timing = exchange.server_timing.as_deref().unwrap();
        assert!(timing.starts_with("db;dur=3, x;desc=") && timing.len() == 1_024);
        assert_eq!(&*exchange.url, format!("http://{host}/x"));
    }
    assert!(Arc::ptr_eq(&ran.exchanges[0].url, &ran.exchanges[1].url), "a fixed URL is one text");
}

#[test]
fn http2_is_spoken_without_tls_and_shared_between_arrivals() {
    let (server, log) = friendly(|_| ok("ok"));
    let ran = run(
        &server,
        "target: http://TARGET\nhttp2: true\nload: [{rate: 200/s, for: 100ms}, {users: 2, for: 50ms}]\nthink: 5ms\nsteps: [GET /a]\n",
    );
    assert!(ran.exchanges.len() >= 22 && ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200)));
    assert!(ran.exchanges.iter().all(|e| e.protocol == crate::record::Protocol::Http2 && e.bytes_sent > 100));
    let connections: BTreeSet<usize> = log.lock().unwrap().iter().map(|s| s.connection).collect();
    assert!(connections.len() <= 5, "{} connections", connections.len());
}
