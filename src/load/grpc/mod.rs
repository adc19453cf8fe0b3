//! Calls of gRPC over HTTP/2: unary and streaming, by descriptors that are known only at run time.
//!
//! A call is an exchange like any other: a step made ready, sent over a connection of the user's or the pool's, and an
//! answer whose status is gRPC's and whose body is the JSON form of what came, so that checks and extraction need to know
//! nothing of protobuf. Messages that nobody looks at are counted and never decoded.

mod frames;
mod message;
mod reflection;
#[cfg(test)]
mod tests;

pub use message::{Outbound, RpcPlan};
pub use reflection::describe;

use super::check::{Answer, KEPT_BODY};
use super::connection::{Connection, Http2};
use super::flight::Ended;
use super::outgoing::{Outgoing, Pieces};
use super::plan::{Made, head_size};
use super::seat::Seat;
use super::send::{Attempt, Tried, server_timing};
use super::words::of_exchange;
use crate::record::{Exchange, FailureClass, Messages, Nanos, Timestamp, with_causes};
use crate::scenario::Sending;
use bytes::Bytes;
use frames::{Came, Frames};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use hyper::body::{Body as _, Incoming};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

/// The header of a call's status.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header of its words.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DEADLINE_EXCEEDED: u16 = 4;
const CANCELLED: u16 = 1;
const UNKNOWN: u16 = 2;

/// One call over an open connection.
pub async fn over(
    attempt: &Attempt<'_>,
    rpc: &RpcPlan,
    seat: &mut Seat,
    mut connection: Http2,
    made: &Made,
    exchange: &mut Exchange,
) -> Tried {
    let (head, body) = attempt.request(seat, made, exchange, true).into_parts();
    let request = http::Request::from_parts(head, ());
    let head_bytes = head_size(&request);
    exchange.bytes_sent = head_bytes + body.len() as u64;
    attempt.leaves(seat, exchange);
    connection.carries(exchange.phases.sent.unwrap_or(attempt.start));
    let sent = exchange.phases.sent.unwrap_or(attempt.start);
    let mut talk = Talk::new(attempt, rpc, body, sent);
    let outgoing = talk.outgoing.take().unwrap_or_else(|| Bytes::new().into());
    let answer = connection.send(request.map(|()| outgoing), &seat.flight).await;
    let tried = match answer {
        Ok(Ok(response)) => talk.listen(seat, response, exchange).await,
        Ok(Err(mut error)) => {
            let unsent = error.take_message().is_some();
            let class = of_exchange(error.error(), false);
            match unsent && exchange.connection_reused && class == FailureClass::Reset {
                true => Tried::Stale,
                false => {
                    if unsent {
                        (exchange.phases.sent, exchange.bytes_sent) = (None, 0);
                    }
                    attempt.failed((class, with_causes(error.error())), None)
                }
            }
        }
        Err(ended) => attempt.failed(attempt.cut_short(ended, false), Some(status_of(ended))),
    };
    seat.flight.finish();
    if exchange.phases.sent.is_some() {
        exchange.bytes_sent = head_bytes + talk.bytes_sent();
    }
    if rpc.requests_stream || rpc.answers_stream {
        talk.messages.sent = talk.sent.get();
        exchange.messages = Some(Box::new(talk.messages));
    }
    // Other exchanges use this connection: it is given back whatever came of this one.
    connection.was_used(attempt.thread.clock.told());
    seat.connections.give(attempt.plan.endpoint, Connection::Http2(connection), &attempt.thread.pool);
    tried
}

/// Of a call that was cut short.
fn status_of(ended: Ended) -> u16 {
    match ended {
        Ended::TimedOut => DEADLINE_EXCEEDED,
        Ended::Cancelled => CANCELLED,
    }
}

/// Both sides of one call.
struct Talk<'a> {
    attempt: &'a Attempt<'a>,
    rpc: &'a RpcPlan,
    outgoing: Option<Outgoing>,
    /// Messages that wait for their turn, and where they go.
    waiting: VecDeque<Bytes>,
    pieces: Option<Rc<Pieces>>,
    feeder: Option<Feeder>,
    /// Messages and bytes handed over so far.
    sent: Rc<Cell<u32>>,
    bytes: Rc<Cell<u64>>,
    /// When the message was sent whose answer is waited for.
    asked: Timestamp,
    messages: Messages,
    last: Option<Timestamp>,
    /// The JSON form of what came.
    kept: Vec<u8>,
}

/// Sends messages at their times; ends with the call.
struct Feeder(tokio::task::JoinHandle<()>);

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a call is over.
enum Over {
    /// The service has said its status.
    Said(HeaderMap),
    /// The client has heard enough.
    Enough,
}

impl<'a> Talk<'a> {
    fn new(attempt: &'a Attempt<'a>, rpc: &'a RpcPlan, body: Bytes, sent: Timestamp) -> Talk<'a> {
        let mut talk = Talk {
            attempt,
            rpc,
            outgoing: None,
            waiting: VecDeque::new(),
            pieces: None,
            feeder: None,
            sent: Rc::default(),
            bytes: Rc::default(),
            asked: sent,
            messages: Messages::default(),
            last: None,
            kept: Vec::new(),
        };
        if rpc.sending == Sending::Together {
            talk.sent.set(frames::count(&body));
            talk.bytes.set(body.len() as u64);
            talk.outgoing = Some(body.into());
            return talk;
        }
        let pieces = Rc::new(Pieces::default());
        talk.outgoing = Some(Outgoing::Pieces(Rc::clone(&pieces)));
        talk.waiting = frames::split(body).into();
        match rpc.sending {
            Sending::Every(length) => {
                let messages = std::mem::take(&mut talk.waiting);
                talk.feeder = Some(talk.feed(messages, Rc::clone(&pieces), length));
            }
            _ => {
                talk.pieces = Some(pieces);
                talk.say_next(sent);
            }
        }
        talk
    }

    /// Bytes of the messages that were handed over.
    fn bytes_sent(&self) -> u64 {
        self.bytes.get()
    }

    fn feed(&self, messages: VecDeque<Bytes>, pieces: Rc<Pieces>, length: Nanos) -> Feeder {
        let (sent, bytes) = (Rc::clone(&self.sent), Rc::clone(&self.bytes));
        let timer = self.attempt.thread.timer.clone();
        let mut due = self.asked;
        Feeder(tokio::task::spawn_local(async move {
            for message in messages {
                timer.sleep_until(due).await;
                if timer.clock().now() < due {
                    // The run is stopped: what is left is not sent.
                    break;
                }
                sent.set(sent.get() + 1);
                bytes.set(bytes.get() + message.len() as u64);
                pieces.push(message);
                due = due + length;
            }
            pieces.end();
        }))
    }

    /// Sends the next message of those that go in turn.
    fn say_next(&mut self, now: Timestamp) {
        let Some(pieces) = &self.pieces else { return };
        match self.waiting.pop_front() {
            Some(message) => {
                self.asked = now;
                self.sent.set(self.sent.get() + 1);
                self.bytes.set(self.bytes.get() + message.len() as u64);
                pieces.push(message);
                if self.waiting.is_empty() {
                    pieces.end();
                }
            }
            None => self.pieces = None,
        }
    }

    /// Reads the answer to its end, or until enough of it has come.
    async fn listen(
        &mut self,
        seat: &Seat,
        response: http::Response<Incoming>,
        exchange: &mut Exchange,
    ) -> Tried {
        let thread = self.attempt.thread;
        let begun = thread.clock.now();
        exchange.phases.first_byte = Some(begun);
        exchange.phases.end = begun;
        let (head, incoming) = response.into_parts();
        exchange.server_timing = thread.unseen(server_timing(&head.headers));
        if let Some(refused) = refused(&head) {
            return answered(refused, head.headers, Vec::new());
        }
        let heard = match incoming.is_end_stream() {
            true => Ok(Over::Said(HeaderMap::new())),
            false => self.hear(seat, incoming, begun, exchange).await,
        };
        exchange.phases.end = thread.clock.now();
        let mut headers = head.headers;
        match heard {
            Err(failed) => failed,
            Ok(over) => {
                let (status, words) = match over {
                    Over::Enough => (Some(0), None),
                    Over::Said(trailers) => {
                        // A call without messages has its status in the head.
                        let of = if trailers.contains_key(&GRPC_STATUS) { &trailers } else { &headers };
                        let said = (status_in(of), words_in(of));
                        headers.extend(trailers);
                        said
                    }
                };
                let Some(status) = status else {
                    let why = "the answer ended without `grpc-status`".to_string();
                    return self.attempt.failed((FailureClass::InvalidResponse, why), None);
                };
                if self.rpc.answers_stream && self.attempt.plan.keeps_body {
                    self.kept.push(b']');
                }
                answered((status, words), headers, std::mem::take(&mut self.kept))
            }
        }
    }

    async fn hear(
        &mut self,
        seat: &Seat,
        mut incoming: Incoming,
        begun: Timestamp,
        exchange: &mut Exchange,
    ) -> Result<Over, Tried> {
        let attempt = self.attempt;
        let (thread, keeps) = (attempt.thread, attempt.plan.keeps_body);
        let until = &self.rpc.until;
        let mut frames = Frames::new(keeps || until.matches.is_some());
        if self.rpc.answers_stream && keeps {
            self.kept.push(b'[');
        }
        let deadline = exchange.phases.sent.unwrap_or(begun) + attempt.timeout;
        let enough = until.length.map(|length| begun + length);
        seat.flight.begin(enough.map_or(deadline, |enough| enough.min(deadline)));
        let invalid = |why: String| attempt.failed((FailureClass::InvalidResponse, why), None);
        loop {
            let frame = seat.flight.guard(poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx))).await;
            let frame = match frame {
                Ok(None) => return Ok(Over::Said(HeaderMap::new())),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Err(attempt.failed((of_exchange(&error, true), with_causes(&error)), None));
                }
                Err(Ended::TimedOut) if enough.is_some_and(|at| at < deadline) => return Ok(Over::Enough),
                Err(ended) => {
                    return Err(attempt.failed(attempt.cut_short(ended, true), Some(status_of(ended))));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => match frame.into_trailers() {
                    Ok(_) if frames.is_within() => {
                        return Err(invalid("the answer ended within a message".to_string()));
                    }
                    Ok(trailers) => return Ok(Over::Said(trailers)),
                    Err(_) => continue,
                },
            };
            exchange.bytes_received += data.len() as u64;
            if exchange.bytes_received > attempt.plan.most_body {
                let most = attempt.plan.most_body;
                return Err(invalid(format!("a body of more than {most} bytes (http.max_body)")));
            }
            frames.take(&data);
            while let Came::Message(message) = frames.next().map_err(&invalid)? {
                let now = thread.clock.now();
                self.messages.came(now, self.last.replace(now));
                if self.pieces.is_some() {
                    self.messages.answered(now.since(self.asked));
                    self.say_next(now);
                }
                let matched = self.keep(message.as_deref()).map_err(&invalid)?;
                if matched || until.count.is_some_and(|most| self.messages.received >= most) {
                    // Dropping what is left tells the service that nobody listens any more.
                    return Ok(Over::Enough);
                }
            }
        }
    }

    /// Keeps the JSON form of a message, where anybody looks at it. Gives whether it is the one that was waited for.
    fn keep(&mut self, message: Option<&[u8]>) -> Result<bool, String> {
        let Some(message) = message else { return Ok(false) };
        let keeps = self.attempt.plan.keeps_body && self.kept.len() + message.len() <= KEPT_BODY;
        if !keeps && self.rpc.until.matches.is_none() {
            return Ok(false);
        }
        if self.rpc.answers_stream && self.kept.len() > 1 {
            self.kept.push(b',');
        }
        let from = self.kept.len();
        self.rpc.decode(message, &mut self.kept)?;
        let matched = self
            .rpc
            .until
            .matches
            .as_ref()
            .is_some_and(|pattern| pattern.0.is_match(&String::from_utf8_lossy(&self.kept[from..])));
        if !keeps {
            self.kept.truncate(from);
        }
        Ok(matched)
    }
}

fn answered((status, words): (u16, Option<String>), mut headers: HeaderMap, body: Vec<u8>) -> Tried {
    if let Ok(status) = HeaderValue::from_str(&status.to_string()) {
        headers.insert(GRPC_STATUS, status);
    }
    // As people read it, for checks and extraction.
    if let Some(words) = words.and_then(|words| HeaderValue::from_bytes(words.as_bytes()).ok()) {
        headers.insert(GRPC_MESSAGE, words);
    }
    Tried::Answered(Answer { status, headers: headers.into(), body })
}

/// The status of an answer that is no gRPC: what the protocol's mapping of HTTP statuses says.
fn refused(head: &http::response::Parts) -> Option<(u16, Option<String>)> {
    let status = head.status.as_u16();
    if head.headers.contains_key(&GRPC_STATUS) {
        return None;
    }
    if status != 200 {
        let code = match status {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => UNKNOWN,
        };
        return Some((code, Some(format!("HTTP status {status}"))));
    }
    let kind = head.headers.get(http::header::CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()));
    match kind.as_deref() {
        Some(kind) if kind.starts_with("application/grpc") => None,
        kind => Some((UNKNOWN, Some(format!("the answer's content-type is {}", kind.unwrap_or("not said"))))),
    }
}

fn status_in(headers: &HeaderMap) -> Option<u16> {
    headers.get(&GRPC_STATUS)?.to_str().ok()?.trim().parse().ok()
}

/// `grpc-message` is percent-encoded UTF-8.
fn words_in(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(&GRPC_MESSAGE)?.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
