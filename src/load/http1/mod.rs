//! hotspan's own HTTP/1.1 client: what it exists for is that a request costs little more than its two system calls.
//!
//! A request is one buffer and one write. Answers are read into one buffer of the thread, parsed where they lie, and
//! forgotten; a connection holds bytes only while a head comes in pieces. The parser knows no sockets ([`parser`]), so that
//! it is tried with every split of every answer, beside hyper's and with random bytes.
//!
//! Where lenient and strict readings of an answer differ, it is refused: an answer that could be framed in two ways says
//! nothing about latency. What must not be here: retries, redirects, cookies, records of exchanges.

mod chunks;
mod fault;
mod head;
mod known;
mod parser;
mod request;
#[cfg(test)]
pub mod tests;

pub use fault::Fault;
pub use head::{Asked, Fields, Head};
pub use parser::Body;
pub use request::{Prepared, write_request};

use super::clock::ThreadClock;
use super::content::More;
use super::flight::{Ended, Flight};
use super::pool::Slot;
use super::stamp::Room;
use super::stream::{Idle, Stream};
use super::timer::Timer;
use crate::record::{Nanos, Timestamp};
use crate::scenario::KeepAlive;
use bytes::{Buf, Bytes};
use known::Known;
use parser::Parser;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;

/// What is read at once. The whole thread has one such buffer.
const READ: usize = 32 << 10;

/// What all connections of a thread use in turn, never while they wait.
pub struct Scratch {
    read: RefCell<(Box<[u8]>, Room)>,
    /// Heads that have come before.
    known: RefCell<Known>,
    /// Where requests are put together that are not the same each time.
    pub request: RefCell<Vec<u8>>,
    /// The thread's timer where the thread may nap: a connection that is used otherwise ends that.
    pub naps: RefCell<Option<Timer>>,
}

impl Scratch {
    /// Of one thread.
    pub fn new() -> Rc<Scratch> {
        Rc::new(Scratch {
            read: RefCell::new((vec![0; READ].into(), Room::new())),
            known: RefCell::default(),
            request: RefCell::default(),
            naps: RefCell::default(),
        })
    }
}

/// A connection that carries one exchange at a time.
pub struct Http1 {
    stream: Stream,
    scratch: Rc<Scratch>,
    exchanges: u32,
    usable: bool,
    keep_alive: KeepAlive,
    opened: Timestamp,
    last: Timestamp,
    /// Its place among those that all users share.
    pub slot: Option<Slot>,
}

/// What an exchange left behind, whole or not.
#[derive(Debug, Default)]
pub struct Seen {
    /// Bytes of the request that were written.
    pub written: u64,
    /// When the request was sent: nothing of its answer came before.
    pub sent: Option<Timestamp>,
    /// When the first byte of the final answer came.
    pub first_byte: Option<Timestamp>,
    /// When the last byte came.
    pub last_byte: Option<Timestamp>,
    /// The body; as much of it is kept as it says.
    pub body: Body,
    /// Status of a final head that came, though the answer may not be whole.
    pub status: Option<u16>,
    /// Whether bytes came that belong to no answer.
    pub leftovers: bool,
    /// Whether the request left in pieces, or the answer came in pieces.
    pub in_pieces: bool,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It failed.
    Fault(Fault),
    /// Nothing could be sent: the connection was unusable already.
    Unsent(Fault),
    /// It was cut short.
    Ended(Ended),
}

impl Http1 {
    /// Over an open stream.
    pub fn new(stream: Stream, scratch: Rc<Scratch>) -> Http1 {
        Http1 {
            stream,
            scratch,
            exchanges: 0,
            usable: true,
            keep_alive: KeepAlive::Always,
            opened: Timestamp(0),
            last: Timestamp(0),
            slot: None,
        }
    }

    /// Lets it live that long from now on.
    pub fn for_long(mut self, keep_alive: KeepAlive, clock: &ThreadClock) -> Http1 {
        self.opened = if keep_alive == KeepAlive::Always { clock.told() } else { clock.now() };
        self.last = self.opened;
        self.keep_alive = keep_alive;
        self
    }

    /// Whether the kernel notes when its bytes come.
    pub fn is_stamped(&self) -> bool {
        matches!(self.stream, Stream::Stamped(_))
    }

    /// Whether another exchange can go over it now, as far as is known.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.usable && self.may_live(now)
    }

    /// Whether another exchange could go over it when the last one had ended.
    pub fn is_open(&self) -> bool {
        self.usable
    }

    /// What carries its bytes, to be used otherwise.
    pub fn into_stream(self) -> Stream {
        if let Some(timer) = &*self.scratch.naps.borrow() {
            // Nobody says when its bytes come, and they may be waited for.
            timer.stay_awake();
        }
        self.stream
    }

    /// Whether the scenario lets it live beyond `now`.
    fn may_live(&self, now: Timestamp) -> bool {
        self.keep_alive == KeepAlive::Always
            || self.keep_alive.allows(self.exchanges, self.opened, self.last, now)
    }

    /// The first half of an exchange: sends the request, as far as the socket takes it at once. `body` follows `head`.
    ///
    /// # Errors
    /// [`NoAnswer::Unsent`] when nothing was sent; the connection is not usable then.
    pub fn start(&mut self, head: &[u8], body: Bytes, seen: &mut Seen) -> Result<Outgoing, NoAnswer> {
        self.usable = false;
        // A server that speaks first on a new connection answers early (it is overloaded, say); on a used one, what has come
        // belongs to the exchange before.
        if self.exchanges > 0 {
            match self.stream.idle() {
                Idle::Quiet => {}
                Idle::Closed => {
                    return Err(NoAnswer::Unsent(Fault::closed(
                        "the connection was closed between two exchanges",
                    )));
                }
                Idle::Talks => {
                    seen.leftovers = true;
                    return Err(NoAnswer::Unsent(Fault::invalid("bytes that no request had asked for")));
                }
            }
        }
        self.exchanges = self.exchanges.saturating_add(1);
        let mut head = head;
        // Nearly every request is small, and its socket takes all of it.
        if body.is_empty() {
            match self.stream.send_at_once(head) {
                Some(Ok(written)) => {
                    seen.written += written as u64;
                    head = head.get(written..).unwrap_or_default();
                    if head.is_empty() {
                        return Ok(Outgoing {
                            rest: Vec::new(),
                            body,
                            more: None,
                            flushed: true,
                            failed: None,
                        });
                    }
                }
                Some(Err(error)) => return Err(NoAnswer::Unsent(Fault::of_socket(&error, false))),
                None => {}
            }
        }
        let mut outgoing = Outgoing { rest: Vec::new(), body, more: None, flushed: false, failed: None };
        outgoing.write(&mut self.stream, &mut Context::from_waker(Waker::noop()), Some(head), seen);
        match outgoing.failed.take_if(|_| seen.written == 0) {
            Some(fault) => Err(NoAnswer::Unsent(fault)),
            None => Ok(outgoing),
        }
    }

    /// The second half: sends the rest and reads the answer. With `whole`, the flight's limit is that of the first byte, and
    /// `whole` takes its place when that has come. What was seen is in `seen` whatever comes of it.
    ///
    /// # Errors
    /// Why there is no whole answer; the connection is not usable then.
    pub async fn finish(
        &mut self,
        mut outgoing: Outgoing,
        expected: (Asked, Fields),
        (flight, whole): (&Flight, Option<Timestamp>),
        clock: &ThreadClock,
        seen: &mut Seen,
    ) -> Result<Head, NoAnswer> {
        let mut parser = Parser::new(expected.0, expected.1);
        // Of what was sent a moment ago there is no answer yet.
        let mut told = false;
        let ended = poll_fn(|cx| {
            outgoing.write(&mut self.stream, cx, None, seen);
            seen.in_pieces |= !outgoing.is_done();
            let silent = seen.first_byte.is_none();
            let read = self.read(&mut parser, clock, cx, (seen, std::mem::replace(&mut told, true)));
            if let (true, Some(_), Some(whole)) = (silent, seen.first_byte, whole) {
                // The answer has begun: from here on the limit is that of the whole.
                flight.begin(whole);
            }
            match read {
                Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
                Poll::Pending => flight.poll(cx).map(Err),
            }
        })
        .await;
        seen.status = parser.seen().map(|head| head.status);
        let silent = parser.is_silent();
        match (ended, parser.into_head()) {
            (Err(ended), _) => Err(NoAnswer::Ended(ended)),
            (Ok(Ok(end)), Some(head)) => {
                self.last = clock.told();
                self.usable =
                    end == End::Clean && head.keeps_alive && outgoing.is_done() && self.may_live(self.last);
                Ok(head)
            }
            // What stopped the request tells more than the silence that followed.
            (Ok(Err(fault)), _) => Err(NoAnswer::Fault(outgoing.failed.filter(|_| silent).unwrap_or(fault))),
            (Ok(Ok(_)), None) => Err(NoAnswer::Fault(Fault::closed(parser::CLOSED))),
        }
    }

    /// Reads for as long as there is something, with `told` first what the system may have told of. The runtime's own budget
    /// of reads gives others a turn.
    fn read(
        &mut self,
        parser: &mut Parser,
        clock: &ThreadClock,
        cx: &mut Context<'_>,
        (seen, mut told): (&mut Seen, bool),
    ) -> Poll<Result<End, Fault>> {
        loop {
            let mut scratch = self.scratch.read.borrow_mut();
            let (buffer, room) = &mut *scratch;
            let at_once = if told { self.stream.come_at_once(buffer) } else { None };
            told = false;
            let come = match at_once {
                Some(come) => Poll::Ready(come.map(|length| (length, None))),
                None => self.stream.poll_come(cx, buffer, room),
            };
            let (length, age) = match come {
                Poll::Pending => {
                    seen.in_pieces |= seen.last_byte.is_some();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(come)) => come,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Fault::of_socket(&error, parser.seen().is_some())));
                }
            };
            let bytes = &buffer[..length];
            if bytes.is_empty() {
                return Poll::Ready(parser.end().map(|()| End::Closed));
            }
            let now = came(clock.now(), age, seen.sent);
            seen.last_byte = Some(now);
            let interim = parser.interim();
            let begun = if parser.is_silent() { Some(now) } else { seen.first_byte };
            let fed = parser.feed(bytes, &mut seen.body, &mut self.scratch.known.borrow_mut());
            seen.first_byte = match parser.is_silent() {
                true => None,
                // An interim answer ended within these bytes, so the final one began within them.
                false if parser.interim() > interim => Some(now),
                false => begun,
            };
            let used = match fed {
                Ok(used) => used,
                Err(fault) => return Poll::Ready(Err(fault)),
            };
            if parser.is_done() {
                seen.leftovers = used < bytes.len();
                return Poll::Ready(Ok(if seen.leftovers { End::Talks } else { End::Clean }));
            }
        }
    }
}

/// When bytes came that are read now.
fn came(now: Timestamp, age: Option<Nanos>, sent: Option<Timestamp>) -> Timestamp {
    match age {
        Some(age) => Timestamp(now.0.saturating_sub(age.0)).max(sent.unwrap_or(now)),
        None => now,
    }
}

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing followed it.
    Clean,
    /// Bytes followed that belong to no answer.
    Talks,
    /// The peer closed its side.
    Closed,
}

/// A request on its way out. The first write is made from the caller's buffer; only what the socket does not take is kept.
pub struct Outgoing {
    rest: Vec<u8>,
    body: Bytes,
    /// What follows the body's first piece, if anything does.
    more: Option<More>,
    flushed: bool,
    failed: Option<Fault>,
}

impl Outgoing {
    /// These pieces of the body follow.
    pub fn followed_by(mut self, more: More) -> Outgoing {
        self.flushed &= more.is_empty();
        self.more = Some(more);
        self
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty() && self.body.is_empty() && self.flushed
    }

    /// Writes as much as the socket takes. A failure is remembered, not told: a peer that does not want the rest may have
    /// answered all the same.
    fn write(&mut self, stream: &mut Stream, cx: &mut Context<'_>, first: Option<&[u8]>, seen: &mut Seen) {
        if self.failed.is_some() || first.is_none() && self.is_done() {
            return;
        }
        let kept = std::mem::take(&mut self.rest);
        let all = first.unwrap_or(&kept);
        let mut head = all;
        loop {
            if head.is_empty() && self.body.is_empty() {
                match self.more.as_mut().and_then(More::pop_front) {
                    Some(piece) => self.body = piece,
                    None => break,
                }
                continue;
            }
            let written = if self.body.is_empty() {
                Pin::new(&mut *stream).poll_write(cx, head)
            } else {
                let parts = [IoSlice::new(head), IoSlice::new(&self.body)];
                Pin::new(&mut *stream).poll_write_vectored(cx, &parts)
            };
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {
                    seen.written += count as u64;
                    let of_head = count.min(head.len());
                    head = &head[of_head..];
                    self.body.advance(count - of_head);
                }
                Poll::Ready(failed) => {
                    let error = failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.failed = Some(Fault::of_socket(&error, false));
                    return;
                }
            }
        }
        if head.is_empty() && self.body.is_empty() {
            // TLS may still hold records that the socket did not take.
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => self.failed = Some(Fault::of_socket(&error, false)),
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Pending => {}
            }
        }
        self.rest = if first.is_none() && head.len() == kept.len() { kept } else { head.to_vec() };
    }
}
