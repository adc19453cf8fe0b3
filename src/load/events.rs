//! Server-sent events: a request whose answer is a stream, listened to until enough has come. Over HTTP/1.1 and HTTP/2.

use super::check::{Answer, KEPT_BODY};
use super::connection::{Connection, Http2};
use super::content::{Content, length};
use super::flight::Ended;
use super::http1::Http1;
use super::outgoing::Outgoing;
use super::plan::{Made, head_size};
use super::seat::Seat;
use super::send::{Attempt, Tried, server_timing};
use super::words::of_exchange;
use crate::record::{Exchange, FailureClass, Messages, Timestamp, with_causes};
use crate::scenario::Until;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::future::poll_fn;
use std::pin::Pin;

/// Largest event that is taken in.
const MOST_EVENT: usize = 8 << 20;

/// Listens over a connection of HTTP/1.1, which nothing else uses afterwards.
pub async fn over_http1(
    attempt: &Attempt<'_>,
    until: &Until,
    seat: &mut Seat,
    connection: Http1,
    made: &Made,
    exchange: &mut Exchange,
) -> Tried {
    let request = attempt.request(seat, made, exchange, false);
    let bytes = head_size(&request) + length(request.body(), &made.more);
    attempt.leaves(seat, exchange);
    let io = TokioIo::new(connection.into_stream());
    let opened = http1::Builder::new().handshake::<_, Outgoing>(io).await;
    let (mut sender, driver) = match opened {
        Ok(open) => open,
        Err(error) => return attempt.failed((of_exchange(&error, false), with_causes(&error)), None),
    };
    // Ends with the exchange: whoever does not listen any more hangs up.
    let driving = Driving(tokio::task::spawn_local(async move {
        let _ = driver.await;
    }));
    exchange.bytes_sent = bytes;
    let request = request.map(|first| Outgoing::from(Content::new(first, made.more.clone())));
    let answer = seat.flight.guard(sender.try_send_request(request)).await;
    let tried = match answer {
        Ok(Ok(response)) => listen(attempt, until, seat, response, made, exchange).await,
        Ok(Err(error)) => unanswered(attempt, error, exchange),
        Err(ended) => attempt.failed(attempt.cut_short(ended, false), None),
    };
    seat.flight.finish();
    drop(driving);
    tried
}

struct Driving(tokio::task::JoinHandle<()>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens over a share of a connection of HTTP/2.
pub async fn over_http2(
    attempt: &Attempt<'_>,
    until: &Until,
    seat: &mut Seat,
    mut connection: Http2,
    made: &Made,
    exchange: &mut Exchange,
) -> Tried {
    let request = attempt.request(seat, made, exchange, true);
    exchange.bytes_sent = head_size(&request) + length(request.body(), &made.more);
    attempt.leaves(seat, exchange);
    connection.carries(exchange.phases.sent.unwrap_or(attempt.start));
    let request = request.map(|first| Content::new(first, made.more.clone()).into());
    let answer = connection.send(request, &seat.flight).await;
    let tried = match answer {
        Ok(Ok(response)) => listen(attempt, until, seat, response, made, exchange).await,
        Ok(Err(error)) => unanswered(attempt, error, exchange),
        Err(ended) => attempt.failed(attempt.cut_short(ended, false), None),
    };
    seat.flight.finish();
    connection.was_used(attempt.thread.clock.told());
    seat.connections.give(made.endpoint(attempt.plan), Connection::Http2(connection), &attempt.thread.pool);
    tried
}

/// Nothing of an answer came.
fn unanswered<B>(
    attempt: &Attempt<'_>,
    mut error: hyper::client::conn::TrySendError<B>,
    exchange: &mut Exchange,
) -> Tried {
    let unsent = error.take_message().is_some();
    let class = of_exchange(error.error(), false);
    let stale =
        exchange.connection_reused && class == FailureClass::Reset && (unsent || attempt.plan.idempotent);
    if stale {
        return Tried::Stale;
    }
    if unsent {
        (exchange.phases.sent, exchange.bytes_sent) = (None, 0);
    }
    attempt.failed((class, with_causes(error.error())), None)
}

async fn listen(
    attempt: &Attempt<'_>,
    until: &Until,
    seat: &mut Seat,
    response: Response<Incoming>,
    made: &Made,
    exchange: &mut Exchange,
) -> Tried {
    let thread = attempt.thread;
    let begun = thread.clock.now();
    exchange.phases.first_byte = Some(begun);
    exchange.phases.end = begun;
    let (head, mut incoming) = response.into_parts();
    let status = head.status.as_u16();
    exchange.server_timing = thread.unseen(server_timing(&head.headers));
    seat.cookies.keep(&head.headers, &made.url);
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = String::from_utf8_lossy(kind).into_owned();
    let streams = kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
    if status == 200 && !streams {
        let why = match kind.as_str() {
            "" => "the answer says no content-type: it is no text/event-stream".to_string(),
            kind => format!("the answer's content-type is {kind}: it is no text/event-stream"),
        };
        return attempt.failed((FailureClass::InvalidResponse, why), Some(status));
    }
    let keeps = attempt.plan.keeps_body;
    let mut heard = Heard { kept: Vec::new(), keeps, messages: Messages::default(), last: None };
    let deadline = exchange.phases.sent.unwrap_or(begun) + attempt.timeout;
    let enough = until.length.filter(|_| streams).map(|length| begun + length);
    seat.flight.begin(enough.map_or(deadline, |enough| enough.min(deadline)));
    let mut parser = Parser::default();
    let most = attempt.plan.most_body;
    let over = loop {
        let frame = seat.flight.guard(poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx))).await;
        let data = match frame {
            Ok(None) => break Ok(()),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => break Err((of_exchange(&error, true), with_causes(&error))),
            Err(Ended::TimedOut) if enough.is_some_and(|at| at < deadline) => break Ok(()),
            Err(ended) => break Err(attempt.cut_short(ended, true)),
        };
        exchange.bytes_received += data.len() as u64;
        if exchange.bytes_received > most {
            let why = format!("a body of more than {most} bytes (http.max_body)");
            break Err((FailureClass::InvalidResponse, why));
        }
        if !streams {
            // An answer like any other: an error's page.
            let room = if keeps { KEPT_BODY.saturating_sub(heard.kept.len()).min(data.len()) } else { 0 };
            heard.kept.extend_from_slice(&data[..room]);
            continue;
        }
        match parser.feed(&data, |event| heard.take(event, until, thread.clock.now())) {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(why) => break Err((FailureClass::InvalidResponse, why)),
        }
    };
    exchange.phases.end = thread.clock.now();
    if streams {
        exchange.messages = Some(Box::new(heard.messages));
    }
    if let Err(why) = over {
        return attempt.failed(why, Some(status));
    }
    if streams && keeps {
        if heard.kept.is_empty() {
            heard.kept.push(b'[');
        }
        heard.kept.push(b']');
    }
    Tried::Answered(Answer { status, headers: head.headers.into(), body: heard.kept })
}

/// What has come so far.
struct Heard {
    /// Events as a list of JSON, where anybody looks at them.
    kept: Vec<u8>,
    keeps: bool,
    messages: Messages,
    last: Option<Timestamp>,
}

impl Heard {
    /// Takes an event; gives whether it is enough now.
    fn take(&mut self, event: &Event, until: &Until, now: Timestamp) -> bool {
        self.messages.came(now, self.last.replace(now));
        if self.keeps && self.kept.len() + event.data.len() < KEPT_BODY {
            self.kept.push(if self.kept.is_empty() { b'[' } else { b',' });
            self.kept.extend_from_slice(event.as_json().to_string().as_bytes());
        }
        until.count.is_some_and(|most| self.messages.received >= most)
            || until.matches.as_ref().is_some_and(|pattern| pattern.0.is_match(&event.data))
    }
}

/// An event as dispatched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    /// Its type, `message` where nothing is said.
    kind: String,
    data: String,
    id: String,
}

impl Event {
    /// `{"event": …, "data": …, "id": …}`; data that is JSON as such.
    fn as_json(&self) -> Value {
        let data = serde_json::from_str(&self.data).unwrap_or_else(|_| Value::from(self.data.as_str()));
        json!({"event": self.kind, "data": data, "id": self.id})
    }
}

/// Reads events out of pieces of a stream, as the HTML standard says (section 9.2.6): bytes that are no UTF-8 are replaced,
/// a mark of byte order is passed over, an event that the end cuts off is none.
#[derive(Default)]
struct Parser {
    /// A line that is not whole.
    line: Vec<u8>,
    begun: bool,
    /// The last byte ended a line with a carriage return: a line feed now belongs to it.
    returned: bool,
    kind: String,
    data: String,
    /// Lines of data so far, empty ones too.
    lines: usize,
    /// The last id stays for events that say none.
    id: String,
}

impl Parser {
    /// Feeds a piece; `take` gets each event and says whether it is enough. Gives what it said last.
    fn feed(&mut self, mut piece: &[u8], mut take: impl FnMut(&Event) -> bool) -> Result<bool, String> {
        while let Some(byte) = piece.first() {
            if std::mem::take(&mut self.returned) && *byte == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = piece.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(piece);
                break;
            };
            self.line.extend_from_slice(&piece[..end]);
            self.returned = piece[end] == b'\r';
            piece = &piece[end + 1..];
            let line = std::mem::take(&mut self.line);
            if let Some(event) = self.line_of(&line)
                && take(&event)
            {
                return Ok(true);
            }
            self.line = line;
            self.line.clear();
            self.check()?;
        }
        self.check().map(|()| false)
    }

    fn check(&self) -> Result<(), String> {
        match self.line.len() + self.data.len() > MOST_EVENT {
            true => Err(format!("an event of more than {MOST_EVENT} bytes")),
            false => Ok(()),
        }
    }

    /// Takes a line; gives the event that it ends.
    fn line_of(&mut self, line: &[u8]) -> Option<Event> {
        let line = match std::mem::replace(&mut self.begun, true) {
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.to_string(),
            "data" => {
                if self.lines > 0 {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.lines += 1;
            }
            "id" if !value.contains('\0') => self.id = value.to_string(),
            // A comment, `retry`, or a field that nobody knows.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.lines) == 0 {
            return None;
        }
        let kind = if kind.is_empty() { "message".to_string() } else { kind };
        Some(Event { kind, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, String, String)> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for piece in pieces {
            let fed = parser.feed(piece, |event| {
                out.push((event.kind.clone(), event.data.clone(), event.id.clone()));
                false
            });
            assert_eq!(fed, Ok(false));
        }
        out
    }

    fn of(kind: &str, data: &str, id: &str) -> (String, String, String) {
        (kind.to_string(), data.to_string(), id.to_string())
    }

    /// The standard's own examples, and the corners of its rules.
    const STREAM: &[u8] = "\u{feff}: test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\ndata\n\ndata\ndata\n\nevent: add\rdata: 73857293\r\rdata: YHOO\r\ndata: +2\r\ndata: 10\r\n\r\nretry: 5\nother: x\n\nid: a\0b\ndata: \u{e4}\n\ndata: cut off\n".as_bytes();

    fn expected() -> Vec<(String, String, String)> {
        vec![
            of("message", "first event", "1"),
            of("message", "second event", ""),
            of("message", " third event", ""),
            of("message", "", ""),
            of("message", "\n", ""),
            of("add", "73857293", ""),
            of("message", "YHOO\n+2\n10", ""),
            of("message", "\u{e4}", ""),
        ]
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        assert_eq!(events(&[STREAM]), expected());
        for at in 0..STREAM.len() {
            let (left, right) = STREAM.split_at(at);
            assert_eq!(events(&[left, right]), expected(), "split at {at}");
        }
    }

    #[test]
    fn enough_is_enough_and_too_much_is_refused() {
        let mut parser = Parser::default();
        let mut seen = 0;
        let fed = parser.feed(b"data: 1\n\ndata: 2\n\ndata: 3\n\n", |_| {
            seen += 1;
            seen == 2
        });
        assert_eq!((fed, seen), (Ok(true), 2));
        let mut parser = Parser::default();
        let long = vec![b'x'; MOST_EVENT];
        let fed = parser.feed(b"data: ", |_| true).and_then(|_| parser.feed(&long, |_| true));
        assert!(fed.is_err_and(|why| why.contains("an event of more than")));
    }

    #[test]
    fn data_that_is_json_is_json() {
        let event = Event { kind: "price".into(), data: r#"{"value": 5}"#.into(), id: "7".into() };
        assert_eq!(event.as_json(), json!({"event": "price", "data": {"value": 5}, "id": "7"}));
        let event = Event { kind: "message".into(), data: "[DONE]".into(), id: String::new() };
        assert_eq!(event.as_json(), json!({"event": "message", "data": "[DONE]", "id": ""}));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let all: Vec<u8> = pieces.concat();
            let whole = events(&[&all]);
            let parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(events(&parts), whole);
        }
    }
}
