//! Server-sent events over HTTP/1.1 and HTTP/2, against a server that streams what the path says.

use super::server::{Server, raw};
use super::*;
use crate::record::{FailureClass, Messages, Outcome, Protocol};
use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

type Log = Arc<Mutex<Vec<(String, http::HeaderMap, String)>>>;

fn server() -> (Server, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let server = raw(move |stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (server, log)
}

type Body = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn answer(request: http::Request<Incoming>, log: Log) -> Result<http::Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_string();
    let method = format!("{} {path}", head.method);
    log.lock().unwrap().push((method, head.headers, String::from_utf8_lossy(&body).into_owned()));
    let (count, pause) = match path.as_str() {
        "/endless" => (usize::MAX, 1),
        "/slow" => (usize::MAX, 30),
        "/none" => (0, 0),
        _ => (3, 1),
    };
    let events = futures_util::stream::unfold(0, move |n| async move {
        if n == count {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(if n > 0 { pause } else { 0 })).await;
        let event = format!("event: price\nid: {n}\ndata: {{\"value\": {n}}}\n\n");
        Some((Ok(Frame::data(Bytes::from(event))), n + 1))
    });
    let kind = if path == "/json" { "application/json" } else { "text/event-stream; charset=utf-8" };
    let status = if path == "/gone" { 410 } else { 200 };
    let response = http::Response::builder().status(status).header("content-type", kind);
    Ok(response.body(StreamBody::new(Box::pin(events) as _)).unwrap())
}

/// Walks the steps once.
fn walked(server: &Server, http2: bool, steps: &str) -> Ran {
    let text = format!(
        "target: http://TARGET\nhttp2: {http2}\nload: {{rate: 30/m, for: 1900ms}}\non_failure: go_on\nsteps:\n{steps}"
    );
    run(server, &text)
}

fn checks(exchange: &Exchange) -> Vec<String> {
    exchange.checks_failed.iter().map(|c| format!("{}: {}", c.check, c.seen)).collect()
}

#[test]
fn streams_are_listened_to_until_enough_has_come() {
    for http2 in [false, true] {
        let (server, log) = server();
        let ran = walked(
            &server,
            http2,
            "  - GET /plain
  - {name: whole, sse: '/prices?of={{ pick(4, 4) }}', extract: {last: {json: '$[*].data.value', take: last}},
     expect: {json: {'$': length == 3, '$[0].event': price, '$[2].id': '2'}, contains: value, that: {two: last == 2}}}
  - {name: some, sse: /endless, until: {events: 5}}
  - {name: found, sse: /endless, until: {match: ': 7}'}}
  - {name: for a while, sse: /slow, until: {for: 50ms}, timeout: 5s}
  - {name: asked, sse: /ask, json: {question: why}, headers: {x-tenant: blue}}
  - {name: none, sse: /none, expect: {json: {'$': length == 0}}}
",
        );
        let of = |name: &str| {
            let at = ran.scenario_steps.iter().position(|n| n == name).unwrap();
            let exchange = ran.exchanges.iter().find(|e| usize::from(e.step.0) == at).unwrap();
            assert_eq!((&exchange.outcome, checks(exchange)), (&Outcome::Answered(200), vec![]), "{name}");
            let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            assert_eq!(exchange.protocol, protocol);
            (exchange.clone(), exchange.messages.as_deref().copied().unwrap_or_default())
        };
        let (whole, heard) = of("whole");
        assert_eq!((heard.sent, heard.received, heard.round_trips), (0, 3, 0));
        assert!(heard.first.unwrap() >= whole.phases.first_byte.unwrap());
        assert!(whole.connection_reused, "the connection of the request before carries it");
        assert_eq!((of("some").1.received, of("found").1.received), (5, 8));
        let (slow, heard) = of("for a while");
        assert!(slow.service_time().0 >= 50_000_000 && heard.received >= 1);
        assert_eq!(of("none").1, Messages::default());
        let log = log.lock().unwrap();
        let asked = log.iter().find(|(path, ..)| path.ends_with("/ask")).unwrap();
        assert_eq!((asked.0.as_str(), asked.2.as_str()), ("POST /ask", r#"{"question":"why"}"#));
        assert_eq!(asked.1["accept"], "text/event-stream");
        assert_eq!(asked.1["x-tenant"], "blue");
        assert_eq!(asked.1["content-type"], "application/json");
        assert!(asked.1.contains_key("traceparent"));
    }
}

#[test]
fn what_is_no_stream_is_told() {
    for http2 in [false, true] {
        let (server, _) = server();
        let ran = walked(
            &server,
            http2,
            "  - {name: json, sse: /json}
  - {name: gone, sse: /gone}
  - {name: never ends, sse: /slow, timeout: 100ms}
",
        );
        let [json, gone, endless] = &ran.exchanges[..] else { panic!("{:?}", ran.exchanges) };
        let Outcome::Failed { failure, status } = &json.outcome else { panic!("{json:?}") };
        assert_eq!((failure.class, *status), (FailureClass::InvalidResponse, Some(200)));
        assert_eq!(
            &*failure.message,
            "the answer's content-type is application/json: it is no text/event-stream"
        );
        assert_eq!((&gone.outcome, gone.is_error()), (&Outcome::Answered(410), true));
        let Outcome::Failed { failure, status } = &endless.outcome else { panic!("{endless:?}") };
        assert_eq!((failure.class, *status), (FailureClass::Timeout, Some(200)));
        assert!(endless.messages.as_ref().unwrap().received >= 1);
    }
}

#[test]
fn a_stream_beyond_the_cap_is_refused() {
    let (server, _) = server();
    let text = "target: http://TARGET\nhttp: {max_body: 100B}\nload: {rate: 1/s, for: 100ms}\nsteps: [{sse: /endless}]\n";
    let ran = run(&server, text);
    let Outcome::Failed { failure, .. } = &ran.exchanges[0].outcome else { panic!() };
    assert_eq!(failure.class, FailureClass::InvalidResponse);
    assert_eq!(&*failure.message, "a body of more than 100 bytes (http.max_body)");
}
