//! Conversations over a WebSocket against the library's own server, which says what each message makes it do.

use super::server::{Server, raw};
use super::*;
use crate::record::{FailureClass, Messages, Outcome, Protocol};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

type Log = Arc<Mutex<Vec<(http::Uri, http::HeaderMap)>>>;

fn server() -> (Server, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    (raw(move |stream, _| talk(stream, Arc::clone(&seen))), log)
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, log: Log) {
    #[allow(clippy::result_large_err, reason = "the library's own callback")]
    let accept = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        log.lock().unwrap().push((request.uri().clone(), request.headers().clone()));
        if request.uri().path() == "/closed" {
            let mut refused = ErrorResponse::new(Some("no entry".to_string()));
            *refused.status_mut() = http::StatusCode::FORBIDDEN;
            return Err(refused);
        }
        if request.headers().contains_key("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", "chat.v2".parse().unwrap());
        }
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, accept).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let text = match &message {
            Message::Text(text) => text.as_str().to_string(),
            Message::Binary(_) => {
                let _ = socket.send(message).await;
                continue;
            }
            _ => continue,
        };
        let answer = |text: String| Message::text(text);
        match text.as_str() {
            "bye" => {
                let _ = socket.close(Some(CloseFrame { code: 4001.into(), reason: "enough".into() })).await;
            }
            "vanish" => return,
            "noise" => {
                for n in 0..5 {
                    let _ = socket.send(answer(format!("noise {n}"))).await;
                }
                let _ = socket.send(answer(r#"{"type": "signal", "n": 7}"#.to_string())).await;
            }
            "silence" => {}
            other => {
                let _ = socket.send(answer(format!("re {other}"))).await;
            }
        }
    }
}

/// Walks the steps once.
fn walked(server: &Server, steps: &str) -> Ran {
    run(
        server,
        &format!(
            "target: http://TARGET\nload: {{rate: 20/m, for: 2900ms}}\non_failure: go_on\nsteps:\n{steps}"
        ),
    )
}

fn messages(exchange: &Exchange) -> Messages {
    **exchange.messages.as_ref().unwrap_or_else(|| panic!("{exchange:?}"))
}

fn checks(exchange: &Exchange) -> Vec<String> {
    exchange.checks_failed.iter().map(|c| format!("{}: {}", c.check, c.seen)).collect()
}

#[test]
fn a_conversation_is_one_exchange_from_handshake_to_close() {
    let (server, log) = server();
    let ran = walked(
        &server,
        r#"  - ws: /chat?room={{ pick(5, 5) }}
    headers: {x-tenant: blue}
    subprotocol: [chat.v2, chat.v1]
    extract: {all: "$[*]"}
    expect: {status: 101, headers: {sec-websocket-protocol: chat.v2}, that: {all came: all | length == 9}}
    script:
      - send: hello {{ user }}
      - expect: {matches: '^re hello 0$', within: 5s}
        extract: {word: {regex: '^re (\w+)'}}
      - send: {json: {said: "{{ word }}", n: "{{ pick(3, 3) }}"}}
      - expect: {contains: '"said":"{{ word }}","n":3'}
      - send: {binary: "AAEC"}
      - expect
      - send: noise
      - expect: {json: {$.type: signal, $.n: "{{ 3 + 4 }}"}}
        extract: {n: $.n}
      - ping
      - wait: 20ms
      - close: {code: 4000, reason: done}
  - {name: after, ws: "/chat/{{ n }}", script: [{send: "{{ word }}"}, {expect: "re {{ word }}"}]}
"#,
    );
    let [first, after] = &ran.exchanges[..] else { panic!("{:?}", ran.exchanges) };
    for exchange in [first, after] {
        assert_eq!((&exchange.outcome, checks(exchange)), (&Outcome::Answered(101), vec![]));
        assert_eq!((exchange.protocol, exchange.connection_reused), (Protocol::Http1, false));
        assert!(exchange.phases.connected.is_some() && exchange.phases.first_byte.is_some());
    }
    let said = messages(first);
    assert_eq!((said.sent, said.received, said.round_trips), (4, 9, 5));
    assert!(said.first.unwrap() >= first.phases.first_byte.unwrap() && said.round_trip_longest.0 > 0);
    assert!(first.service_time().0 >= 20_000_000, "it waits");
    assert!(first.bytes_received > 60 && first.bytes_sent > 200);
    assert!(first.url.starts_with("ws://127.0.0.1:") && first.url.ends_with("/chat?room=5"), "{}", first.url);
    let log = log.lock().unwrap();
    assert_eq!(log[0].0.path_and_query().unwrap(), "/chat?room=5");
    assert_eq!(log[1].0.path(), "/chat/7");
    let context =
        crate::record::TraceContext { trace_id: first.trace_id, span_id: first.span_id, sampled: true };
    assert_eq!(log[0].1["traceparent"].as_bytes(), context.traceparent());
    assert_eq!(super::requests::carries(&log[0].1, first, "tracecontext"), Ok(()));
    assert_eq!(log[0].1["x-tenant"], "blue");
    assert_eq!(log[0].1["sec-websocket-protocol"], "chat.v2, chat.v1");
}

#[test]
fn loops_repeat_and_closes_are_awaited() {
    let (server, _) = server();
    let ran = walked(
        &server,
        "  - ws: /
    script:
      - {repeat: 3, script: [{repeat: 2, script: [{send: tick}, {expect: re tick}]}, {send: tock}, {expect: re tock}]}
      - send: bye
      - expect: {close: 4001}
",
    );
    let said = messages(&ran.exchanges[0]);
    assert_eq!((&ran.exchanges[0].outcome, checks(&ran.exchanges[0])), (&Outcome::Answered(101), vec![]));
    assert_eq!((said.sent, said.received, said.round_trips), (10, 9, 9));
}

#[test]
fn what_is_awaited_and_does_not_come_is_told() {
    let (server, _) = server();
    let ran = walked(
        &server,
        "  - {name: late, ws: /, script: [{send: noise}, {expect: {contains: never, within: 600ms}}, {send: more}]}
  - {name: silent, ws: /, script: [{send: silence}, {expect: {within: 30ms}}]}
  - {name: timeout, ws: /, timeout: 80ms, script: [{send: silence}, expect]}
  - {name: closed, ws: /, script: [{send: bye}, {expect: something}]}
  - {name: other close, ws: /, script: [{send: bye}, {expect: {close: 1000}}]}
  - {name: vanished, ws: /, script: [{send: vanish}, {expect: something}]}
  - {name: refused, ws: /closed, script: [{send: hello}]}
  - {name: missing, ws: /, script: [{send: a}, {expect: {contains: a}, extract: {x: $.y}}]}
",
    );
    let of = |name: &str| {
        let at = ran.scenario_steps.iter().position(|n| n == name).unwrap();
        ran.exchanges.iter().find(|e| usize::from(e.step.0) == at).unwrap()
    };
    let failed = |name: &str| match &of(name).outcome {
        Outcome::Failed { failure, .. } => (failure.class, failure.message.to_string()),
        Outcome::Answered(_) => panic!("{:?}", of(name)),
    };
    assert_eq!(
        checks(of("late")),
        [r#"message contains "never": none of 6 within 600 ms, the last {"n":7,"type":"signal"}"#]
    );
    assert_eq!(messages(of("late")).sent, 1, "the script ends there");
    assert_eq!(checks(of("silent")), ["message: nothing within 30.0 ms"]);
    assert_eq!(failed("timeout").0, FailureClass::Timeout);
    assert_eq!(
        failed("closed"),
        (
            FailureClass::Reset,
            r#"the service closed the conversation (4001 enough) while message contains "something" was awaited"#
                .to_string()
        )
    );
    assert_eq!(checks(of("other close")), ["close 1000: close 4001"]);
    assert_eq!(failed("vanished").0, FailureClass::Reset);
    assert_eq!((&of("refused").outcome, of("refused").is_error()), (&Outcome::Answered(403), true));
    assert_eq!(checks(of("missing")), ["extract x: no JSON (expected value at line 1 column 1)"]);
    assert!(ran.exchanges.iter().all(|e| e.outcome != Outcome::Answered(101) || !e.is_error()));
}

#[test]
fn an_answer_that_switches_to_nothing_is_no_conversation() {
    let (server, _) = super::server::friendly(|_| super::server::ok("hello"));
    let ran = walked(&server, "  - {ws: /, script: [{send: hello}]}\n");
    let Outcome::Failed { failure, status } = &ran.exchanges[0].outcome else { panic!() };
    assert_eq!((failure.class, *status), (FailureClass::InvalidResponse, Some(200)));
    assert_eq!(&*failure.message, "the service answered 200 and did not switch to a WebSocket");
}

#[test]
fn many_users_talk_at_once_and_stop_in_time() {
    let (server, _) = server();
    let ran = run(
        &server,
        "target: http://TARGET\nload: {users: 20, for: 200ms}\nsteps: [{ws: /, script: [{repeat: 3, script: [{send: a}, {expect: re a}]}]}]\n",
    );
    assert!(ran.exchanges.len() >= 20);
    for exchange in &ran.exchanges {
        assert_eq!(exchange.outcome, Outcome::Answered(101));
        assert_eq!(messages(exchange).round_trips, 3);
    }
}

#[test]
fn a_conversation_over_tls() {
    let (log, acceptor) = (Log::default(), super::tls::acceptor(&[b"http/1.1"]));
    let seen = Arc::clone(&log);
    let server = raw(move |stream, _| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream, seen).await;
            }
        }
    });
    let ran = run(
        &server,
        "target: https://TARGET\ninsecure: true\nload: {rate: 20/m, for: 2900ms}\nsteps:\n  - {ws: /chat, script: [{send: hello}, {expect: {contains: re hello}}, ping]}\n",
    );
    let exchange = &ran.exchanges[0];
    assert_eq!((&exchange.outcome, checks(exchange)), (&Outcome::Answered(101), vec![]));
    assert!(exchange.phases.tls_done.is_some());
    assert!(log.lock().unwrap()[0].1.contains_key("traceparent"));
    // A server that chooses HTTP/2 has no conversation to offer.
    let chooses = super::tls::secure(&[b"h2"]);
    let ran = run(
        &chooses,
        "target: https://TARGET\ninsecure: true\nload: {rate: 20/m, for: 2900ms}\nsteps: [{ws: /chat, script: [ping]}]\n",
    );
    let Outcome::Failed { failure, .. } = &ran.exchanges[0].outcome else { panic!("{:?}", ran.exchanges[0]) };
    assert_eq!(failure.class, FailureClass::Tls);
}
