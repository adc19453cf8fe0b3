//! Spans and exchanges as they are kept until their trace is complete: fixed size, names by number.

use super::names::{NONE, own};
use crate::record::{Exchange, FailureClass, Outcome, SpanKind};

/// A span: 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub span_id: u64,
    /// 0 where there is none.
    pub parent_id: u64,
    pub start: u64,
    pub end: u64,
    /// Slot of its trace.
    pub trace: u32,
    pub owner: u32,
    pub op: u32,
    /// Who is called; of a service's own span the operation of GraphQL that it is part of.
    pub peer: u32,
    pub service: u32,
    pub host: u32,
    /// Of a call a hash of all data of its statement, 0 where it is not all known: equal ones are the same question. Of a request that
    /// is taken in the number of its event loop, where its process has several. Of a service's own span else how long nothing of it
    /// ran, as [`idle_in`] has it, or 0.
    pub data: u32,
    pub kind: SpanKind,
    /// The library that recorded it, as far as that can be told by so little.
    pub library: u8,
    pub flags: u16,
}

/// The span has an error status.
pub(super) const ERROR: u16 = 1;
/// The peer answered "not now".
pub(super) const THROTTLED: u16 = 2;
/// The request was sent again.
pub(super) const RESEND: u16 = 4;
/// An attribute tells of time in a queue; how much is kept apart.
pub(super) const QUEUED: u16 = 8;
/// Its end was before its start.
pub(super) const NEGATIVE: u16 = 16;
/// A time limit ended it.
pub(super) const TIMED_OUT: u16 = 32;
/// A function that had to be started first.
pub(super) const COLD: u16 = 64;
/// A look into a cache that found something, or nothing.
pub(super) const HIT: u16 = 128;
pub(super) const MISS: u16 = 256;
/// It stands for several calls; how many is kept apart.
pub(super) const COMPOSITE: u16 = 512;
/// A database call without its statement, or even the kind of it.
pub(super) const NO_STATEMENT: u16 = 1024;
/// A call to another process that does not say which.
pub(super) const NO_PEER: u16 = 2048;
/// It was recorded by a framework that runs in an event loop, or by one that gives each request a thread or process.
pub(super) const IN_LOOP: u16 = 4096;
pub(super) const IN_WORKERS: u16 = 8192;
/// It waits for what the client sends next, or for its going away.
pub(super) const LISTENS: u16 = 16_384;

/// It has attributes of its makers' own; which, is kept apart.
pub(super) const TELLS: u16 = 32_768;

/// An exchange. Moments are in order, whatever came in; those that did not happen are the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub span_id: u64,
    pub intended: u64,
    pub start: u64,
    pub sent: u64,
    pub first_byte: u64,
    pub end: u64,
    pub trace: u32,
    /// For how many exchanges it stands: [`Exchange::weight`], cut to what fits.
    pub weight: u32,
    /// The virtual user.
    pub user: u32,
    /// A hash of its URL.
    pub url: u64,
    /// HTTP status, 0 where none was seen.
    pub status: u16,
    /// It opened a connection.
    pub opened: bool,
    /// It failed, or its status did.
    pub failed: bool,
    pub step: u16,
    /// A request left the client.
    pub was_sent: bool,
    /// The server was asked to record.
    pub sampled: bool,
    /// Owner of the time up to `sent`, as far as `Opened` does not tell more.
    pub before_sent: u8,
}

/// When the parts of opening a connection ended, for the exchanges that opened one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    /// Index of the exchange.
    pub exchange: u32,
    pub resolved: u64,
    pub connected: u64,
    pub tls_done: u64,
}

/// Marks [`Row::data`] as a time.
const IDLE: u32 = 1 << 31;

/// The time in which nothing of a span ran as [`Row::data`] keeps it, in microseconds.
pub(super) fn idle_in(idle: u64) -> u32 {
    if idle == 0 { 0 } else { IDLE | u32::try_from(idle / 1_000).unwrap_or(u32::MAX) }
}

impl Row {
    /// Where a request is taken in: its process, or the one of several event loops there.
    pub fn place(&self) -> u32 {
        let in_a_loop = self.kind == SpanKind::Server && self.data != 0 && self.data & IDLE == 0;
        if in_a_loop { self.data } else { self.host }
    }

    /// Nanoseconds in which nothing of a service's own span ran, where that is known.
    pub fn idle(&self) -> u64 {
        let own = matches!(self.kind, SpanKind::Server | SpanKind::Internal) && self.data & IDLE != 0;
        if own { u64::from(self.data & !IDLE) * 1_000 } else { 0 }
    }
}

impl Asked {
    /// The row of an exchange in a trace's slot, and its connection phases where it opened a connection.
    pub fn of(exchange: &Exchange, url: u64, trace: u32, index: u32) -> (Asked, Option<Opened>) {
        let p = &exchange.phases;
        let intended = exchange.intended.0;
        let end = p.end.0.max(intended);
        let mut last = intended;
        let mut next = |moment: Option<u64>| {
            last = moment.map_or(last, |m| m.clamp(last, end));
            last
        };
        let start = next(Some(p.start.0));
        let resolved = next(p.resolved.map(|t| t.0));
        let connected = next(p.connected.map(|t| t.0));
        let tls_done = next(p.tls_done.map(|t| t.0));
        let sent = next(Some(p.sent.map_or(end, |t| t.0)));
        let first_byte = next(Some(p.first_byte.map_or(end, |t| t.0)));
        let opened = (p.resolved.or(p.connected).or(p.tls_done).is_some()).then_some(Opened {
            exchange: index,
            resolved,
            connected,
            tls_done,
        });
        let asked = Asked {
            span_id: u64::from_be_bytes(exchange.span_id.0),
            intended,
            start,
            sent,
            first_byte,
            end,
            trace,
            weight: u32::try_from(exchange.weight()).unwrap_or(u32::MAX),
            user: exchange.user,
            url,
            status: exchange.status().unwrap_or(0),
            opened: !exchange.connection_reused,
            failed: exchange.is_error(),
            step: exchange.step.0,
            was_sent: exchange.was_sent(),
            sampled: exchange.sampled,
            before_sent: before_sent(exchange, opened.is_some()) as u8,
        };
        (asked, opened)
    }

    /// From the intended start.
    pub fn latency(&self) -> u64 {
        self.end - self.intended
    }
}

/// Whose time it was from the last known phase until the request was sent (or the exchange failed before that).
fn before_sent(exchange: &Exchange, opened: bool) -> u32 {
    use FailureClass::{Connect, ConnectRefused, ConnectTimeout, Dns, NotSent, Template, Tls};
    let failure = match &exchange.outcome {
        Outcome::Failed { failure, .. } if !exchange.was_sent() => Some(failure.class),
        _ => None,
    };
    match failure {
        Some(Template | NotSent) => own::GENERATOR,
        Some(Dns) => own::DNS,
        Some(ConnectRefused | ConnectTimeout | Connect) => own::TCP,
        Some(Tls) => own::TLS,
        _ if opened => own::READY,
        _ => own::WAIT,
    }
}

/// The pieces of an exchange before its request was sent: owner and half-open interval, in order, empty ones too.
pub(super) fn before(asked: &Asked, opened: Option<&Opened>) -> [(u32, u64, u64); 5] {
    let Asked { intended, start, sent, .. } = *asked;
    let (resolved, connected, tls_done) =
        opened.map_or((start, start, start), |o| (o.resolved, o.connected, o.tls_done));
    [
        (own::GENERATOR, intended, start),
        (own::DNS, start, resolved),
        (own::TCP, resolved, connected),
        (own::TLS, connected, tls_done),
        (u32::from(asked.before_sent), tls_done, sent),
    ]
}

/// Indices `0..n` grouped by `key` (below `keys`), keeping their order within a group: the offsets of the groups, and the
/// indices.
pub(super) fn group_by(n: usize, keys: usize, key: impl Fn(usize) -> u32) -> (Vec<u32>, Vec<u32>) {
    let mut first = vec![0u32; keys + 1];
    (0..n).map(&key).filter(|k| *k != NONE).for_each(|k| first[k as usize + 1] += 1);
    for k in 0..keys {
        first[k + 1] += first[k];
    }
    let mut next = first.clone();
    let mut order = vec![0; first[keys] as usize];
    for i in 0..n {
        let k = key(i);
        if k != NONE {
            order[next[k as usize] as usize] = i as u32;
            next[k as usize] += 1;
        }
    }
    (first, order)
}
