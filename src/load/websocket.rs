//! Conversations over a WebSocket (RFC 6455): one exchange each, from the handshake that carries the trace context to the
//! close. The library keeps the protocol; what is said, awaited and measured is here.

use super::check::{Answer, KEPT_BODY, Measured, Verdict, found_in, look, take_values};
use super::connection::Connection;
use super::field_map::FieldMap;
use super::flight::Ended;
use super::plan::{Made, head_size};
use super::render::{Scope, render};
use super::seat::Seat;
use super::send::{Attempt, StepEnd, Tried, Walk, Went, ended, record, server_timing};
use super::stream::Stream;
use crate::record::{CheckFailure, Exchange, FailureClass, Messages, Nanos, Timestamp, with_causes};
use crate::scenario::{Awaited, Conversation, Said, Turn, base64_bytes};
use futures_util::{Sink as _, Stream as _};
use http::Request;
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use rand::rngs::SmallRng;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, handshake::client::generate_key};

/// What is read at once; every user has such a buffer.
const READ: usize = 4 << 10;
/// Largest message, unless the scenario says less.
const MOST_MESSAGE: usize = 64 << 20;
/// How long a peer may take to close when the script is over.
const LAST: Nanos = Nanos::from_millis(5_000);

/// A conversation made ready.
pub struct TalkPlan {
    /// What is done.
    pub script: Vec<Turn>,
    subprotocols: Option<HeaderValue>,
    /// Scheme and authority, as the handshake's URL begins.
    origin: String,
}

impl TalkPlan {
    /// Makes a conversation ready; `origin` is the host's as of HTTP.
    ///
    /// # Errors
    /// When a subprotocol cannot stand in a header.
    pub fn new(conversation: &Conversation, origin: &str) -> Result<TalkPlan, String> {
        let offered = conversation.subprotocols.join(", ");
        let subprotocols = match offered.is_empty() {
            true => None,
            false => Some(HeaderValue::from_str(&offered).map_err(|e| format!("{offered:?}: {e}"))?),
        };
        let script = revealed(&conversation.script);
        Ok(TalkPlan { script, subprotocols, origin: origin.replacen("http", "ws", 1) })
    }

    /// A URL of HTTP as one of a WebSocket.
    fn url(&self, url: &str) -> Arc<str> {
        url.replacen("http", "ws", 1).into()
    }
}

fn revealed(script: &[Turn]) -> Vec<Turn> {
    let turn = |turn: &Turn| match turn {
        Turn::Send(Said::Text(text)) => Turn::Send(Said::Text(text.revealed())),
        Turn::Send(Said::Binary(text)) => Turn::Send(Said::Binary(text.revealed())),
        Turn::Repeat(rounds, script) => Turn::Repeat(*rounds, revealed(script)),
        other => other.clone(),
    };
    script.iter().map(turn).collect()
}

/// Walks a step that is a conversation.
pub async fn step(
    attempt: &Attempt<'_>,
    plan: &TalkPlan,
    seat: &mut Seat,
    walk: &mut Walk<'_>,
    made: &Made,
) -> StepEnd {
    let thread = attempt.thread;
    let mut exchange = attempt.blank(seat, walk, plan.url(&made.url));
    thread.count(|c| {
        c.in_flight += 1;
        c.most_in_flight = c.most_in_flight.max(c.in_flight);
    });
    let (tried, mut failed) = talk(attempt, plan, seat, walk, made, &mut exchange).await;
    seat.flight.finish();
    thread.count(|c| c.in_flight -= 1);
    let answer = ended(tried, &mut exchange);
    exchange.phases.end = thread.clock.now();
    let at = exchange.phases.end;
    let Some(answer) = answer else {
        exchange.checks_failed = failed;
        record(thread, exchange);
        return StepEnd::without_answer(at, Went::Failed);
    };
    // Who does not get what the script waits for does not go on with it.
    let lacks = !failed.is_empty();
    let step = &thread.scenario.steps[attempt.index()];
    let measured =
        Measured { latency: exchange.corrected_latency(), bytes: exchange.bytes_received, now: at };
    let who = (seat.user, thread.scenario.locale);
    let verdict = look(step, &answer, measured, walk, who, &mut thread.words.borrow_mut());
    failed.extend(verdict.failed);
    let flawed = !failed.is_empty();
    exchange.checks_failed = failed;
    record(thread, exchange);
    let went = if lacks || verdict.lacks { Went::Lacking } else { Went::On };
    StepEnd { at, went, flawed, come_back: Nanos::ZERO }
}

async fn talk(
    attempt: &Attempt<'_>,
    plan: &TalkPlan,
    seat: &mut Seat,
    walk: &mut Walk<'_>,
    made: &Made,
    exchange: &mut Exchange,
) -> (Tried, Vec<CheckFailure>) {
    let thread = attempt.thread;
    let endpoint = attempt.plan.endpoint;
    // What comes over it is waited for: nobody may sleep through it.
    thread.timer.stay_awake();
    let dialed = thread.dialer.dial(endpoint, None, &seat.flight, &mut exchange.phases, &thread.words).await;
    let stream = match dialed {
        Ok(Connection::Http1(connection)) => connection.into_stream(),
        Ok(Connection::Http2(_)) => {
            let why = "a WebSocket needs HTTP/1.1, and the service chose HTTP/2".to_string();
            return (attempt.failed((FailureClass::Tls, why), None), Vec::new());
        }
        Err(failure) => return (Tried::Failed(failure, None), Vec::new()),
    };
    thread.count(|c| c.connections += 1);
    let request = handshake(attempt, plan, seat, made, exchange);
    exchange.bytes_sent = head_size(&request);
    attempt.leaves(seat, exchange);
    let most = usize::try_from(attempt.plan.most_body).unwrap_or(MOST_MESSAGE).min(MOST_MESSAGE);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let now = || thread.clock.now();
    let (socket, response) = match seat.flight.guard(shaken).await {
        Ok(Ok(open)) => open,
        Ok(Err(Error::Http(response))) => {
            exchange.phases.first_byte = Some(now());
            return (refused(attempt, *response), Vec::new());
        }
        Ok(Err(error)) => return (attempt.failed(of_socket(&error), None), Vec::new()),
        Err(ended) => return (attempt.failed(attempt.cut_short(ended, false), None), Vec::new()),
    };
    let begun = now();
    exchange.phases.first_byte = Some(begun);
    exchange.server_timing = thread.unseen(server_timing(response.headers()));
    seat.cookies.keep(response.headers(), &made.url);
    let deadline = exchange.phases.sent.unwrap_or(begun) + attempt.timeout;
    seat.flight.begin(deadline);
    let mut talk = Talk {
        attempt,
        seat,
        walk,
        socket,
        messages: Messages::default(),
        inbox: VecDeque::new(),
        held: 0,
        kept: Vec::new(),
        last: None,
        asked: None,
        bytes: (0, 0),
        closed: None,
        failed: Vec::new(),
        deadline,
    };
    let walked = talk.walk(&plan.script).await;
    if walked.is_ok() {
        talk.finish().await;
    }
    let Talk { messages, mut kept, bytes, failed, .. } = talk;
    exchange.messages = Some(Box::new(messages));
    exchange.bytes_sent += bytes.0;
    exchange.bytes_received += bytes.1;
    if attempt.plan.keeps_body {
        kept.push(b']');
    }
    let headers = FieldMap::from(response.into_parts().0.headers);
    match walked {
        Ok(()) => (Tried::Answered(Answer { status: 101, headers, body: kept }), failed),
        Err((class, why)) => (attempt.failed((class, why), Some(101)), failed),
    }
}

/// The request that asks for a WebSocket.
fn handshake(
    attempt: &Attempt<'_>,
    plan: &TalkPlan,
    seat: &Seat,
    made: &Made,
    exchange: &Exchange,
) -> Request<()> {
    let mut request = attempt.request(seat, made, exchange, false).map(|_| ());
    // The library wants the whole URL, and sends the path.
    if let Ok(uri) = format!("{}{}", plan.origin, made.path).parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::from_str(&generate_key()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    if let Some(offered) = &plan.subprotocols {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.clone());
    }
    request
}

/// An answer that is no WebSocket.
fn refused(attempt: &Attempt<'_>, response: http::Response<Option<Vec<u8>>>) -> Tried {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    if status < 400 {
        let why = format!("the service answered {status} and did not switch to a WebSocket");
        return attempt.failed((FailureClass::InvalidResponse, why), Some(status));
    }
    Tried::Answered(Answer { status, headers: head.headers.into(), body: body.unwrap_or_default() })
}

fn of_socket(error: &Error) -> (FailureClass, String) {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    let class = match error {
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => FailureClass::Reset,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            FailureClass::Reset
        }
        _ => FailureClass::InvalidResponse,
    };
    (class, with_causes(error))
}

type Failed = (FailureClass, String);

/// A conversation under way.
struct Talk<'a, 'b, 'w> {
    attempt: &'a Attempt<'b>,
    seat: &'a mut Seat,
    walk: &'a mut Walk<'w>,
    socket: WebSocketStream<Stream>,
    messages: Messages,
    /// Messages that came and that nobody has waited for yet.
    inbox: VecDeque<(Timestamp, Message)>,
    /// Bytes of them.
    held: usize,
    /// All messages as a list of JSON, where anybody looks at it.
    kept: Vec<u8>,
    last: Option<Timestamp>,
    /// When that was sent which is to be answered.
    asked: Option<Timestamp>,
    /// Payload bytes sent and received.
    bytes: (u64, u64),
    /// How the peer closed; no frame where it just went.
    closed: Option<Option<CloseFrame>>,
    failed: Vec<CheckFailure>,
    deadline: Timestamp,
}

/// What came of listening.
enum Heard {
    Message,
    Pong(Vec<u8>),
    /// The peer has closed.
    Closed,
    /// The time is over.
    Late,
}

impl Talk<'_, '_, '_> {
    fn now(&self) -> Timestamp {
        self.attempt.thread.clock.now()
    }

    /// Walks a script; loops without recursion.
    async fn walk(&mut self, script: &[Turn]) -> Result<(), Failed> {
        let mut open: Vec<(&[Turn], usize, u32)> = vec![(script, 0, 1)];
        while let Some((turns, at, rounds)) = open.last_mut() {
            let Some(turn) = turns.get(*at) else {
                *rounds -= 1;
                *at = 0;
                if *rounds == 0 {
                    open.pop();
                }
                continue;
            };
            *at += 1;
            match turn {
                Turn::Repeat(rounds, script) if !script.is_empty() => open.push((script, 0, *rounds)),
                Turn::Repeat(..) => {}
                turn => {
                    self.turn(turn).await?;
                    if !self.failed.is_empty() || matches!(turn, Turn::Close { .. }) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn turn(&mut self, turn: &Turn) -> Result<(), Failed> {
        match turn {
            Turn::Send(said) => {
                let message = self.filled(said)?;
                self.bytes.0 += message.len() as u64;
                self.messages.sent = self.messages.sent.saturating_add(1);
                // What came before cannot be the answer.
                self.asked = Some(self.now());
                self.put(message).await
            }
            Turn::Ping => self.ping().await,
            Turn::Expect(awaited) => self.expect(awaited).await,
            Turn::Wait(length) => {
                let until = self.now() + *length;
                while self.now() < until && self.closed.is_none() {
                    if let Heard::Late = self.hear(Some(until), false).await? {
                        break;
                    }
                }
                Ok(())
            }
            Turn::Close { code, reason } => self.close(*code, reason).await,
            Turn::Repeat(..) => Ok(()),
        }
    }

    fn filled(&mut self, said: &Said) -> Result<Message, Failed> {
        let (scope, random) = self.scope();
        let mut text = String::new();
        let (Said::Text(template) | Said::Binary(template)) = said;
        render(template, &scope, random, &mut text)
            .map_err(|why| (FailureClass::Template, format!("message: {why}")))?;
        match said {
            Said::Text(_) => Ok(Message::text(text)),
            Said::Binary(_) => match base64_bytes(&text) {
                Some(bytes) => Ok(Message::binary(bytes)),
                None => Err((FailureClass::Template, "message: no base64".to_string())),
            },
        }
    }

    /// Hands a message to the socket, whole.
    async fn put(&mut self, message: Message) -> Result<(), Failed> {
        let (socket, mut message) = (&mut self.socket, Some(message));
        let sent = self.seat.flight.guard(poll_fn(|cx| {
            if message.is_some() {
                match Pin::new(&mut *socket).poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        if let Some(message) = message.take()
                            && let Err(error) = Pin::new(&mut *socket).start_send(message)
                        {
                            return Poll::Ready(Err(error));
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut *socket).poll_flush(cx)
        }));
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(ended) => Err(self.cut_short(ended, "a message was being sent")),
        }
    }

    /// Listens until something has come, or `until`. `steady` even where the run is being stopped.
    async fn hear(&mut self, until: Option<Timestamp>, steady: bool) -> Result<Heard, Failed> {
        let timer = &self.attempt.thread.timer;
        let far = Timestamp(u64::MAX);
        let sleep = match steady {
            true => timer.steady_sleep_until(until.unwrap_or(far)),
            false => timer.sleep_until(until.unwrap_or(far)),
        };
        let mut sleep = pin!(sleep);
        let (socket, flight) = (&mut self.socket, &self.seat.flight);
        let came = poll_fn(|cx| {
            if let Poll::Ready(came) = Pin::new(&mut *socket).poll_next(cx) {
                return Poll::Ready(Ok(Some(came)));
            }
            if until.is_some() && sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            flight.poll(cx).map(Err)
        });
        match came.await {
            Ok(None) => Ok(Heard::Late),
            Ok(Some(None)) => {
                self.closed.get_or_insert(None);
                Ok(Heard::Closed)
            }
            Ok(Some(Some(Ok(Message::Close(frame))))) => {
                self.closed = Some(frame);
                Ok(Heard::Closed)
            }
            Ok(Some(Some(Ok(Message::Pong(payload))))) => Ok(Heard::Pong(payload.to_vec())),
            // The library answers pings.
            Ok(Some(Some(Ok(Message::Ping(_) | Message::Frame(_))))) => Ok(Heard::Pong(Vec::new())),
            Ok(Some(Some(Ok(message)))) => {
                self.take(message);
                Ok(Heard::Message)
            }
            Ok(Some(Some(Err(error)))) if self.closed.is_some() => {
                let _ = error;
                Ok(Heard::Closed)
            }
            Ok(Some(Some(Err(error)))) => Err(self.lost(&error)),
            Err(ended) => Err(self.cut_short(ended, "a message was awaited")),
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        self.messages.came(now, self.last.replace(now));
        self.bytes.1 += message.len() as u64;
        if self.attempt.plan.keeps_body && self.kept.len() + message.len() < KEPT_BODY {
            self.kept.push(if self.kept.is_empty() { b'[' } else { b',' });
            let value = as_json(&message);
            self.kept.extend_from_slice(value.to_string().as_bytes());
        }
        self.held += message.len();
        self.inbox.push_back((now, message));
        while self.held > KEPT_BODY {
            // Nobody has waited for it in all that time.
            self.next_held();
        }
    }

    /// The oldest message that nobody has waited for.
    fn next_held(&mut self) -> Option<(Timestamp, Message)> {
        let (at, message) = self.inbox.pop_front()?;
        self.held -= message.len().min(self.held);
        Some((at, message))
    }

    /// Whether a message is the one that is waited for.
    fn is_awaited(&mut self, awaited: &Awaited, body: &[u8]) -> Result<bool, Failed> {
        let (scope, random) = self.scope();
        found_in(awaited, body, &scope, random)
            .map_err(|why| (FailureClass::Template, format!("{}: {why}", awaited.name)))
    }

    /// What templates may look at now.
    fn scope(&mut self) -> (Scope<'_>, &mut SmallRng) {
        let Walk { variables, row, random, iteration, .. } = &mut *self.walk;
        let thread = self.attempt.thread;
        let scope = Scope {
            variables,
            row: row.as_ref(),
            user: self.seat.user,
            iteration: *iteration,
            now: thread.clock.now(),
            locale: thread.scenario.locale,
        };
        (scope, random)
    }

    async fn expect(&mut self, awaited: &Awaited) -> Result<(), Failed> {
        let begun = self.asked.unwrap_or_else(|| self.now());
        let limit = awaited.within.map(|within| begun + within);
        let mut others = 0u32;
        let mut last_other = None;
        loop {
            while let Some((at, message)) = self.next_held() {
                if awaited.close.is_some() {
                    continue;
                }
                if limit.is_some_and(|limit| at > limit) {
                    break;
                }
                let body = message.clone().into_data();
                if self.is_awaited(awaited, &body)? {
                    if let Some(asked) = self.asked.filter(|asked| at >= *asked) {
                        self.messages.answered(at.since(asked));
                        self.asked = None;
                    }
                    return self.extract(awaited, body.to_vec());
                }
                others += 1;
                last_other = Some(message);
            }
            if let Some(closed) = &self.closed {
                return self.expect_closed(awaited, closed.clone());
            }
            if let Heard::Late = self.hear(limit, true).await? {
                let seen = match last_other {
                    None => format!("nothing within {}", awaited.within.unwrap_or_default()),
                    Some(other) => {
                        let shown: String = as_json(&other).to_string().chars().take(80).collect();
                        format!(
                            "none of {others} within {}, the last {shown}",
                            awaited.within.unwrap_or_default()
                        )
                    }
                };
                self.note(awaited, &seen);
                return Ok(());
            }
        }
    }

    /// The peer has closed: as it should, or while something else was awaited.
    fn expect_closed(&mut self, awaited: &Awaited, closed: Option<CloseFrame>) -> Result<(), Failed> {
        let code = closed.as_ref().map(|frame| u16::from(frame.code));
        match awaited.close {
            Some(wanted) if code == Some(wanted) => Ok(()),
            Some(_) => {
                let seen = code.map_or("a close without a code".to_string(), |code| format!("close {code}"));
                self.note(awaited, &seen);
                Ok(())
            }
            None => {
                let how = match closed {
                    None => "went away".to_string(),
                    Some(frame) => {
                        let said = format!("{} {}", u16::from(frame.code), frame.reason);
                        format!("closed the conversation ({})", said.trim_end())
                    }
                };
                let why = format!("the service {how} while {} was awaited", awaited.name);
                Err((FailureClass::Reset, why))
            }
        }
    }

    fn note(&mut self, awaited: &Awaited, seen: &str) {
        let seen = self.attempt.thread.words.borrow_mut().share(seen);
        self.failed.push(CheckFailure { check: Arc::clone(&awaited.name), seen });
    }

    fn extract(&mut self, awaited: &Awaited, body: Vec<u8>) -> Result<(), Failed> {
        if awaited.extract.is_empty() {
            return Ok(());
        }
        let answer = Answer { status: 101, headers: FieldMap::default(), body };
        let mut verdict = Verdict::default();
        let words = &mut self.attempt.thread.words.borrow_mut();
        take_values(&awaited.extract, &answer, self.walk, &mut verdict, words);
        self.failed.extend(verdict.failed);
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Failed> {
        let asked = self.now();
        let payload = asked.0.to_be_bytes().to_vec();
        self.put(Message::Ping(payload.clone().into())).await?;
        loop {
            match self.hear(None, true).await? {
                Heard::Pong(seen) if seen == payload => {
                    let took = self.now().since(asked);
                    self.messages.answered(took);
                    return Ok(());
                }
                Heard::Closed => {
                    return Err((
                        FailureClass::Reset,
                        "the service went away while a pong was awaited".to_string(),
                    ));
                }
                _ => {}
            }
        }
    }

    async fn close(&mut self, code: u16, reason: &str) -> Result<(), Failed> {
        if self.closed.is_some() {
            return Ok(());
        }
        self.put(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await?;
        let until = (self.now() + LAST).min(self.deadline);
        // A peer that does not close in time is left alone: the conversation was over.
        while self.closed.is_none() {
            match self.hear(Some(until), true).await? {
                Heard::Late => break,
                _ => while self.next_held().is_some() {},
            }
        }
        self.closed.get_or_insert(None);
        Ok(())
    }

    /// Closes what the script has left open, and answers the peer's close. All that was asked for has happened: how the
    /// peer takes it does not count.
    async fn finish(&mut self) {
        let now = self.now();
        let _ = match self.closed {
            Some(_) => self.hear(Some(now), true).await.map(|_| ()),
            None => self.close(1000, "").await,
        };
    }

    fn lost(&self, error: &Error) -> Failed {
        of_socket(error)
    }

    fn cut_short(&self, ended: Ended, what: &str) -> Failed {
        match ended {
            Ended::Cancelled => (FailureClass::Cancelled, "the run was stopped".to_string()),
            Ended::TimedOut => {
                let limit = self.attempt.timeout;
                (FailureClass::Timeout, format!("the conversation was not over within {limit}: {what}"))
            }
        }
    }
}

/// A message as JSON: what it is, else its text; bytes are base64.
fn as_json(message: &Message) -> serde_json::Value {
    match message {
        Message::Text(text) => serde_json::from_str(text.as_str()).unwrap_or_else(|_| text.as_str().into()),
        other => crate::scenario::base64(&other.clone().into_data()).into(),
    }
}
