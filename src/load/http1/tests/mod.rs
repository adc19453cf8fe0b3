//! The client against answers that come as a script says: beside hyper's, split everywhere, and out of random bytes.

mod beside_hyper;
mod random;
mod sockets;
mod table;

use super::*;
use crate::load::clock::Clock;
use crate::load::flight::Flights;
use std::collections::VecDeque;
use std::pin::pin;
use tokio::io::{AsyncRead, ReadBuf};

/// A peer that sends pieces one after the other, whatever it is sent.
pub struct Script {
    pieces: VecDeque<Vec<u8>>,
    then: Then,
    /// What it was sent.
    pub sent: Vec<u8>,
    /// How much it takes of a request: all, or so many bytes and then no more.
    takes: Takes,
}

/// What a peer does when it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It says nothing more.
    Waits,
    /// It closes its side.
    Closes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    All,
    Only(usize),
    /// So many bytes, then it resets the connection.
    Until(usize),
}

impl Script {
    fn new(pieces: impl IntoIterator<Item = Vec<u8>>, then: Then) -> Script {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Script { pieces, then, sent: Vec::new(), takes: Takes::All }
    }

    /// See [`Stream::idle`].
    pub fn idle(&mut self) -> Idle {
        match (self.pieces.pop_front(), self.then) {
            (Some(_), _) => Idle::Talks,
            (None, Then::Closes) => Idle::Closed,
            (None, Then::Waits) => Idle::Quiet,
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever looks before it has asked sees nothing: hyper would take an answer to nothing for a fault.
        if !self.sent.ends_with(b"\r\n\r\n") {
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.then == Then::Closes { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let length = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..length]);
        if length < piece.len() {
            self.pieces.push_front(piece.split_off(length));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = match self.takes {
            Takes::All => bytes.len(),
            Takes::Only(most) | Takes::Until(most) => most.saturating_sub(self.sent.len()).min(bytes.len()),
        };
        match (room, self.takes) {
            (0, Takes::Only(_)) => Poll::Pending,
            (0, Takes::Until(_)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => {
                self.sent.extend_from_slice(&bytes[..room]);
                Poll::Ready(Ok(room))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// A whole answer: status, fields, body, and whether the connection can be used again.
    Answer(u16, Vec<(String, String)>, Vec<u8>, bool),
    /// A failure of that class.
    Failed(crate::record::FailureClass),
    /// Nothing yet: the client waits for more.
    Waits,
}

impl Came {
    fn answer(status: u16, headers: &HeaderMap, body: Vec<u8>, usable: bool) -> Came {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut fields: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        fields.sort();
        Came::Answer(status, fields, body, usable)
    }
}

use http::HeaderMap;

/// Polls a future that nothing wakes: whatever it waits for is there at once or never.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// One exchange of our client with a peer of a script.
fn ours(script: Script, method: &str) -> (Came, Seen, Result<Head, String>) {
    let mut connection = Http1::new(Stream::Scripted(script), Scratch::new());
    let mut seen = Seen { body: Body { keep: usize::MAX, ..Body::default() }, ..Seen::default() };
    let head = format!("{method} / HTTP/1.1\r\nhost: h\r\n\r\n");
    let flights = Rc::new(Flights::default());
    let (flight, clock) = (flights.slot(), ThreadClock::new(Clock::start()));
    let asked = if method == "HEAD" { Asked::Head } else { Asked::Ordinary };
    let outgoing = match connection.start(head.as_bytes(), Bytes::new(), &mut seen) {
        Ok(outgoing) => outgoing,
        Err(why) => panic!("a script takes everything: {why:?}"),
    };
    let finished =
        now_or_never(connection.finish(outgoing, (asked, Fields::All), (&flight, None), &clock, &mut seen));
    match finished {
        None => (Came::Waits, seen, Err("waits".to_string())),
        Some(Err(NoAnswer::Fault(fault))) => (Came::Failed(fault.class), seen, Err(fault.words.into_owned())),
        Some(Err(why)) => panic!("{why:?}"),
        Some(Ok(head)) => {
            let usable = connection.is_open() && connection.stream.idle() == Idle::Quiet;
            let body = std::mem::take(&mut seen.body.kept);
            (Came::answer(head.status, &head.headers, body, usable), seen, Ok(head))
        }
    }
}
