//! The span that most exchanges of a step have, encoded: only ids and numbers of fixed size are written over.
//!
//! Learnt from the spans themselves: whoever encodes one the long way marks where what changes stands, and the form gives
//! the same bytes for the next exchange that is alike.

use crate::record::{Exchange, Outcome, Phases, Protocol};
use std::sync::Arc;

/// What changes from one span to the next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Trace,
    Span,
    Start,
    End,
    Delay,
    Sent,
    FirstByte,
}

const MARKS: usize = 7;

/// Where it ends within the span.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    origin: usize,
    ends: [usize; MARKS],
}

impl Marks {
    /// For a span that begins at the end of `out`.
    pub fn new(out: &[u8]) -> Marks {
        Marks { origin: out.len(), ends: [0; MARKS] }
    }

    /// It was just written.
    #[inline]
    pub fn set(&mut self, mark: Mark, out: &[u8]) {
        self.ends[mark as usize] = out.len() - self.origin;
    }

    #[inline]
    fn write<const N: usize>(&self, mark: Mark, span: &mut [u8], value: [u8; N]) {
        let end = self.ends[mark as usize];
        if let Some(place) = span.get_mut(end.wrapping_sub(N)..end) {
            place.copy_from_slice(&value);
        }
    }
}

/// See above; empty until something was learnt.
#[derive(Debug, Default)]
pub(super) struct SpanForm {
    bytes: Vec<u8>,
    marks: Marks,
    /// What it is the form of.
    alike: Option<Alike>,
    /// The URL of the exchange before: a form is worth its while from the second of the same on.
    before: Option<Arc<str>>,
}

/// What two exchanges have in common whose spans differ in nothing else than what is marked.
#[derive(Debug)]
struct Alike {
    url: Arc<str>,
    status: u16,
    sampled: bool,
    protocol: Protocol,
}

impl Alike {
    fn of(exchange: &Exchange) -> Option<Alike> {
        let Outcome::Answered(status) = exchange.outcome else { return None };
        let plain = exchange.threshold.is_always()
            && exchange.checks_failed.is_empty()
            && exchange.messages.is_none();
        let usual = matches!(
            exchange.phases,
            Phases {
                resolved: None,
                connected: None,
                tls_done: None,
                sent: Some(_),
                first_byte: Some(_),
                ..
            }
        );
        (plain && usual).then(|| Alike {
            url: Arc::clone(&exchange.url),
            status,
            sampled: exchange.sampled,
            protocol: exchange.protocol,
        })
    }

    #[inline]
    fn fits(&self, exchange: &Exchange) -> bool {
        let phases = &exchange.phases;
        Arc::ptr_eq(&self.url, &exchange.url)
            && exchange.outcome == Outcome::Answered(self.status)
            && exchange.sampled == self.sampled
            && exchange.protocol == self.protocol
            && exchange.threshold.is_always()
            && exchange.checks_failed.is_empty()
            && exchange.messages.is_none()
            && phases.resolved.is_none()
            && phases.connected.is_none()
            && phases.tls_done.is_none()
    }
}

impl SpanForm {
    /// Appends the span of an exchange; false, and nothing appended, where it is another kind of span.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, exchange: &Exchange) -> bool {
        let Phases { start, sent: Some(sent), first_byte: Some(first_byte), end, .. } = exchange.phases
        else {
            return false;
        };
        if !self.alike.as_ref().is_some_and(|alike| alike.fits(exchange)) {
            return false;
        }
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(span) = out.get_mut(begin..) else { return false };
        self.marks.write(Mark::Trace, span, exchange.trace_id.0);
        self.marks.write(Mark::Span, span, exchange.span_id.0);
        self.marks.write(Mark::Start, span, start.0.to_le_bytes());
        self.marks.write(Mark::End, span, end.0.to_le_bytes());
        let delay = exchange.schedule_delay().as_secs_f64();
        self.marks.write(Mark::Delay, span, delay.to_bits().to_le_bytes());
        self.marks.write(Mark::Sent, span, sent.0.to_le_bytes());
        self.marks.write(Mark::FirstByte, span, first_byte.0.to_le_bytes());
        true
    }

    /// Learns from a span that was encoded the long way.
    pub fn learn(&mut self, span: &[u8], exchange: &Exchange, marks: Marks) {
        let again = self.before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &exchange.url));
        if !again {
            self.before = Some(Arc::clone(&exchange.url));
            return;
        }
        if let Some(alike) = Alike::of(exchange) {
            self.bytes.clear();
            self.bytes.extend_from_slice(span);
            (self.marks, self.alike) = (marks, Some(alike));
        }
    }
}
