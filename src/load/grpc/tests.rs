//! Whole runs against a gRPC server of tonic's, whose codec hands bytes through: what is sent and answered is known to the
//! byte.

use super::super::tests::tls::acceptor;
use super::super::tests::{Ran, run_text};
use super::super::{LoadError, LoadOptions, start, stop_channel};
use super::message::RpcPlan;
use crate::record::{Exchange, FailureClass, Outcome, Protocol};
use crate::scenario::{Call, Scenario, Surroundings, parse_with};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ServiceDescriptor};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
message GetRequest { string id = 1; int64 stock_above = 2; repeated Tag tags = 3; map<string, Tag> by_name = 4; }
message Tag { string name = 1; }
message Product { string id = 1; double price = 2; int64 stock = 3; bytes image = 4; }
service Catalog {
  rpc GetProduct(GetRequest) returns (Product);
  rpc Watch(GetRequest) returns (stream Product);
  rpc Add(stream GetRequest) returns (Product);
  rpc Chat(stream GetRequest) returns (stream Product);
}
"#;

fn surroundings(run: impl FnOnce(&Surroundings)) {
    let read = |path: &std::path::Path| match path.to_str() {
        Some("shop.proto") => Ok(PROTO.to_string()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    run(&Surroundings { read: &read, ..Surroundings::default() });
}

fn parsed(text: &str) -> Scenario {
    let mut out = None;
    surroundings(|s| out = Some(parse_with(text, "test.yaml", s).unwrap_or_else(|e| panic!("{e}"))));
    out.unwrap()
}

fn service() -> ServiceDescriptor {
    let scenario = parsed(
        "target: http://h\nload: {users: 1, for: 1s}\ngrpc: {proto: shop.proto}\nsteps: [{grpc: shop.v1.Catalog/GetProduct}]\n",
    );
    let Call::Grpc(rpc) = &scenario.steps[0].call else { panic!() };
    rpc.types.as_ref().unwrap().parent_service().clone()
}

type Sender = mpsc::UnboundedSender<Frame<Bytes>>;
type Log = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server of gRPC by hand: what each method does is in `answer`.
struct Server {
    address: SocketAddr,
    log: Log,
    /// What questions of reflection carried.
    asked: Log,
    _stop: oneshot::Sender<()>,
}

fn product(id: &str) -> Bytes {
    let output = service().methods().next().unwrap().output();
    let json = serde_json::json!({"id": id, "price": 9.5, "stock": "9007199254740993"});
    let message = DynamicMessage::deserialize(output, json).unwrap();
    let mut out = Vec::new();
    super::frames::put(&message.encode_to_vec(), &mut out);
    out.into()
}

fn status(code: u16, words: &str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    if !words.is_empty() {
        trailers.insert("grpc-message", words.parse().unwrap());
    }
    Frame::trailers(trailers)
}

/// What the requested ids make the service do.
async fn serve(path: String, mut body: Incoming, out: Sender) {
    let input = service().methods().next().unwrap().input();
    let mut frames = super::frames::Frames::new(true);
    let mut ids: Vec<String> = Vec::new();
    let chat = path.ends_with("/Chat");
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { break };
        frames.take(&data);
        while let super::frames::Came::Message(Some(message)) = frames.next().unwrap() {
            let message = DynamicMessage::decode(input.clone(), &message[..]).unwrap();
            let id = message.get_field_by_name("id").unwrap().as_str().unwrap().to_string();
            if chat {
                let _ = out.send(Frame::data(product(&format!("re {id}"))));
            }
            ids.push(id);
        }
    }
    let first = ids.first().cloned().unwrap_or_default();
    match path.rsplit('/').next().unwrap() {
        _ if first == "missing" => drop(out.send(status(5, "no%20such%20product"))),
        _ if first == "slow" => {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        _ if first == "torn" => {
            let _ = out.send(Frame::data(product("x").slice(..7)));
            let _ = out.send(status(0, ""));
        }
        _ if first == "silent" => {}
        "GetProduct" => {
            let _ = out.send(Frame::data(product(&first)));
            let _ = out.send(status(0, ""));
        }
        "Watch" => {
            for n in 0.. {
                if first != "endless" && n == 3
                    || out.send(Frame::data(product(&format!("{first}{n}")))).is_err()
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let _ = out.send(status(0, ""));
        }
        "Add" => {
            let _ = out.send(Frame::data(product(&ids.join("+"))));
            let _ = out.send(status(0, ""));
        }
        "Chat" => drop(out.send(status(0, ""))),
        _ => drop(out.send(status(12, ""))),
    }
}

/// Answers of server reflection by the version that the path names.
fn reflected(path: &str, body: &[u8], versions: &[&str]) -> Option<Vec<u8>> {
    versions.iter().find(|v| path.contains(&format!("reflection.{v}.")))?;
    let asked = String::from_utf8_lossy(body).into_owned();
    let file = service().parent_file().encode_to_vec();
    let mut reply = Vec::new();
    let nested = |tag: u32, bytes: &[u8]| {
        let mut out = Vec::new();
        prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut out);
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    };
    if asked.ends_with("shop.v1.Catalog") {
        reply = nested(4, &nested(1, &file));
    } else if body.get(5) == Some(&0x3a) {
        reply = nested(6, &nested(1, &nested(1, b"shop.v1.Catalog")));
    } else {
        let mut error = vec![8, 5];
        error.extend(nested(2, b"not found"));
        reply.extend(nested(7, &error));
    }
    Some(reply)
}

fn server(versions: &'static [&'static str]) -> Server {
    server_over(versions, None)
}

fn server_over(versions: &'static [&'static str], tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let log = Log::default();
    let asked = Log::default();
    let (seen, questions) = (Arc::clone(&log), Arc::clone(&asked));
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let accept = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, questions) = (Arc::clone(&seen), Arc::clone(&questions));
                let tls = tls.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (seen, questions) = (Arc::clone(&seen), Arc::clone(&questions));
                    async move {
                        let (head, body) = request.into_parts();
                        let path = head.uri.path().to_string();
                        let (out, mut frames) = mpsc::unbounded_channel();
                        if path.contains("reflection") {
                            questions.lock().unwrap().push((path.clone(), head.headers.clone()));
                            let bytes = body.collect().await.unwrap().to_bytes();
                            match reflected(&path, &bytes, versions) {
                                Some(reply) => {
                                    let mut framed = Vec::new();
                                    super::frames::put(&reply, &mut framed);
                                    let _ = out.send(Frame::data(framed.into()));
                                    let _ = out.send(status(0, ""));
                                }
                                None => drop(out.send(status(12, ""))),
                            }
                        } else {
                            seen.lock().unwrap().push((path.clone(), head.headers.clone()));
                            tokio::spawn(serve(path, body, out));
                        }
                        let stream = futures_util::stream::poll_fn(move |cx| {
                            frames.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>))
                        });
                        let response = http::Response::builder().header("content-type", "application/grpc");
                        Ok::<_, Infallible>(response.body(StreamBody::new(stream)).unwrap())
                    }
                });
                tokio::spawn(async move {
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        None => http2.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            http2.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        };
        runtime.block_on(async {
            tokio::select! { () = accept => {}, _ = stopped => {} }
        });
    });
    Server { address, log, asked, _stop: stop }
}

/// Walks the steps once.
fn walked(server: &Server, steps: &str) -> Ran {
    let text = format!(
        "target: http://{}\nload: {{rate: 30/m, for: 1900ms}}\ngrpc: {{proto: shop.proto}}\non_failure: go_on\nsteps:\n{steps}",
        server.address
    );
    run_text(parsed(&text))
}

fn failed(exchange: &Exchange) -> (FailureClass, Option<u16>, String) {
    match &exchange.outcome {
        Outcome::Failed { failure, status } => (failure.class, *status, failure.message.to_string()),
        Outcome::Answered(_) => panic!("{exchange:?}"),
    }
}

fn checks(exchange: &Exchange) -> Vec<String> {
    exchange.checks_failed.iter().map(|c| format!("{}: {}", c.check, c.seen)).collect()
}

#[test]
fn a_call_is_an_exchange_whose_answer_is_looked_at_as_json() {
    let server = server(&[]);
    let ran = walked(
        &server,
        "  - grpc: shop.v1.Catalog/GetProduct
    message: {id: 'p-{{ pick(7, 7) }}', stockAbove: '{{ pick(3, 3) }}', tags: [{name: a}], by_name: {x: {name: b}}}
    metadata: {x-tenant: blue}
    timeout: 2s
    extract: {id: $.id, stock: $.stock}
    expect: {status: OK, json: {$.price: '> 9', $.stock: 9007199254740993, $.image: ''}}
  - {name: again, grpc: shop.v1.Catalog/GetProduct, message: {id: '{{ id }} {{ stock }}'}, extract: {second: $.id}, expect: {that: {same: second == 'p-7 9007199254740993'}}}
",
    );
    assert_eq!(ran.exchanges.len(), 2);
    for exchange in &ran.exchanges {
        assert_eq!((&exchange.outcome, checks(exchange)), (&Outcome::Answered(0), vec![]));
        assert_eq!((exchange.protocol, exchange.messages.clone()), (Protocol::Http2, None));
        assert!(exchange.url.ends_with("/shop.v1.Catalog/GetProduct"), "{}", exchange.url);
        assert!(!exchange.is_error() && exchange.bytes_sent > 100 && exchange.bytes_received > 20);
    }
    let log = server.log.lock().unwrap();
    let header = |name: &str| log[0].1.get(name).map(|v| v.to_str().unwrap().to_string());
    assert_eq!(log[0].0, "/shop.v1.Catalog/GetProduct");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "2000000u"),
        ("x-tenant", "blue"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header("accept"), None);
    let first = ran.exchanges.iter().min_by_key(|e| e.intended).unwrap();
    let context =
        crate::record::TraceContext { trace_id: first.trace_id, span_id: first.span_id, sampled: true };
    assert_eq!(header("traceparent").unwrap().as_bytes(), context.traceparent());
}

#[test]
fn statuses_other_than_ok_are_errors_with_their_words() {
    let server = server(&[]);
    let ran = walked(
        &server,
        "  - {name: missing, grpc: shop.v1.Catalog/GetProduct, message: {id: missing}}
  - {name: wanted, grpc: shop.v1.Catalog/GetProduct, message: {id: missing}, expect: {status: [not_found, 14], headers: {grpc-message: no such product}}}
  - {name: slow, grpc: shop.v1.Catalog/GetProduct, message: {id: slow}, timeout: 60ms}
  - {name: torn, grpc: shop.v1.Catalog/GetProduct, message: {id: torn}}
  - {name: silent, grpc: shop.v1.Catalog/GetProduct, message: {id: silent}}
  - {name: unfit, grpc: shop.v1.Catalog/GetProduct, message: {stock_above: '{{ random_text(3) }}'}}
",
    );
    let [missing, wanted, slow, torn, silent, unfit] = &ran.exchanges[..] else {
        panic!("{:?}", ran.exchanges)
    };
    assert_eq!((&missing.outcome, missing.is_error()), (&Outcome::Answered(5), true));
    assert_eq!(checks(missing), ["status: NOT_FOUND: no such product"]);
    assert_eq!((&wanted.outcome, checks(wanted)), (&Outcome::Answered(5), vec![]));
    assert_eq!(failed(slow).0, FailureClass::Timeout);
    assert_eq!(failed(slow).1, Some(4), "a deadline is a status of gRPC too");
    assert_eq!(
        failed(torn),
        (FailureClass::InvalidResponse, None, "the answer ended within a message".into())
    );
    assert_eq!(
        failed(silent),
        (FailureClass::InvalidResponse, None, "the answer ended without `grpc-status`".into())
    );
    let (class, _, why) = failed(unfit);
    assert!(class == FailureClass::Template && why.starts_with("no shop.v1.GetRequest: "), "{why}");
}

#[test]
fn streams_are_counted_timed_and_looked_at_as_a_list() {
    let server = server(&[]);
    let ran = walked(
        &server,
        "  - {name: watch, grpc: shop.v1.Catalog/Watch, message: {id: w}, expect: {json: {'$[*].id': 'matches ^w[0-9]$', '$': length == 3}}}
  - {name: some, grpc: shop.v1.Catalog/Watch, message: {id: endless}, until: {messages: 5}}
  - {name: found, grpc: shop.v1.Catalog/Watch, message: {id: endless}, until: {match: endless7}}
  - {name: for a while, grpc: shop.v1.Catalog/Watch, message: {id: endless}, until: {for: 30ms}}
  - {name: add, grpc: shop.v1.Catalog/Add, messages: [{id: a}, {id: '{{ one_of(\"b\") }}'}, {id: c}], expect: {json: {$.id: a+b+c}}}
  - {name: paced, grpc: shop.v1.Catalog/Add, messages: [{id: a}, {id: b}, {id: c}], send: every 10ms, expect: {json: {$.id: a+b+c}}}
  - {name: chat, grpc: shop.v1.Catalog/Chat, messages: [{id: a}, {id: b}, {id: c}], send: in_turn, expect: {json: {'$[2].id': re c}}}
  - {name: none, grpc: shop.v1.Catalog/Add, messages: [], expect: {json: {$.id: ''}}}
",
    );
    let of = |name: &str| {
        let at = ran.scenario_steps.iter().position(|n| n == name).unwrap();
        let exchange = ran.exchanges.iter().find(|e| usize::from(e.step.0) == at).unwrap();
        assert_eq!((&exchange.outcome, checks(exchange)), (&Outcome::Answered(0), vec![]), "{name}");
        (exchange.clone(), **exchange.messages.as_ref().unwrap())
    };
    let (watch, messages) = of("watch");
    assert_eq!((messages.sent, messages.received, messages.round_trips), (1, 3, 0));
    assert!(messages.first.unwrap() >= watch.phases.first_byte.unwrap());
    assert_eq!(of("some").1.received, 5);
    assert_eq!(of("found").1.received, 8);
    assert!(of("for a while").0.service_time().0 >= 30_000_000);
    assert_eq!((of("add").1.sent, of("add").1.received), (3, 1));
    let (paced, messages) = of("paced");
    assert!(messages.sent == 3 && paced.service_time().0 >= 20_000_000);
    let (_, chat) = of("chat");
    assert_eq!((chat.sent, chat.received, chat.round_trips), (3, 3, 3));
    assert!(chat.round_trip_longest.0 > 0 && chat.round_trip_total >= chat.round_trip_longest);
    assert_eq!(of("none").1.sent, 0);
}

#[test]
fn services_that_describe_themselves_need_no_files() {
    for versions in [&["v1"][..], &["v1alpha"]] {
        let server = server(if versions == ["v1"] { &["v1"] } else { &["v1alpha"] });
        let text = format!(
            "target: http://{}\nload: {{users: 2, for: 100ms}}\nsteps:\n  - {{grpc: shop.v1.Catalog/GetProduct, message: {{id: a}}, expect: {{json: {{$.price: 9.5}}}}}}\n",
            server.address
        );
        let ran = run_text(parsed(&text));
        assert!(!ran.exchanges.is_empty());
        assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(0) && checks(e).is_empty()));
    }
}

#[test]
fn calls_and_questions_go_over_tls_and_say_who_asks() {
    let server = server_over(&["v1"], Some(acceptor(&[b"h2"])));
    let text = format!(
        "target: https://me:pw@{}\ninsecure: true\nload: {{users: 1, for: 100ms}}\nheaders: {{x-all: a}}\nsteps:\n  - {{grpc: shop.v1.Catalog/Watch, message: {{id: a}}, metadata: {{x-tenant: blue, x-changes: '{{{{ pick(1, 9) }}}}'}}}}\n",
        server.address
    );
    let ran = run_text(parsed(&text));
    assert!(!ran.exchanges.is_empty());
    for exchange in &ran.exchanges {
        assert_eq!((&exchange.outcome, exchange.protocol), (&Outcome::Answered(0), Protocol::Http2));
    }
    assert!(ran.exchanges[0].phases.tls_done.is_some());
    let asked = server.asked.lock().unwrap();
    let (_, metadata) = &asked[0];
    let value = |name: &str| metadata.get(name).map(|v| v.to_str().unwrap().to_string());
    assert_eq!((value("x-all").as_deref(), value("x-tenant").as_deref()), (Some("a"), Some("blue")));
    assert_eq!(value("authorization").as_deref(), Some("Basic bWU6cHc="));
    assert_eq!(value("x-changes"), None);
    let (_, metadata) = &server.log.lock().unwrap()[0];
    assert_eq!(metadata["x-all"], "a");
}

fn refusal(server: &Server, step: &str) -> String {
    let text =
        format!("target: http://{}\nload: {{users: 1, for: 50ms}}\nsteps:\n  - {step}\n", server.address);
    let (sink, _received) = mpsc::channel(1);
    match start(LoadOptions::new(Arc::new(parsed(&text)), sink, stop_channel().1)) {
        Err(LoadError::Undescribed(why)) => why.replace(&server.address.to_string(), "HOST"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was started"),
    }
}

#[test]
fn what_a_service_does_not_describe_is_said_before_any_load() {
    let described = server(&["v1"]);
    assert_eq!(
        refusal(&described, "{grpc: shop.v1.Catalogue/GetProduct}"),
        "http://HOST has no service shop.v1.Catalogue; it has shop.v1.Catalog"
    );
    assert_eq!(
        refusal(&described, "{grpc: shop.v1.Catalog/GetProducts}"),
        "shop.v1.Catalog at http://HOST has no method `GetProducts`; it has GetProduct, Watch, Add, Chat"
    );
    let mute = server(&[]);
    assert_eq!(
        refusal(&mute, "{grpc: shop.v1.Catalog/GetProduct}"),
        "http://HOST cannot be asked for its methods (it does not offer server reflection): name descriptors with `grpc: {protoset: FILE}` or `grpc: {proto: FILE}`"
    );
}

#[test]
fn a_plan_refuses_what_the_description_does_not_allow() {
    let text = "target: http://h\nload: {users: 1, for: 1s}\ngrpc: {proto: shop.proto}\nsteps: [{grpc: shop.v1.Catalog/GetProduct, message: {id: a}}]\n";
    let mut scenario = parsed(text);
    let Call::Grpc(rpc) = &mut scenario.steps[0].call else { panic!() };
    rpc.messages[0] = crate::scenario::Template::text(r#"{"id": 5}"#);
    let why = RpcPlan::new(rpc).err().unwrap();
    assert!(why.starts_with("shop.v1.Catalog/GetProduct: no shop.v1.GetRequest: "), "{why}");
}
