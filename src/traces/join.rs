//! Which traced exchanges have a server span, kept while both sides arrive in any order.
//!
//! An exchange counts as joined when a span whose parent is exactly its client span has come. That is stricter than the
//! analysis (which can also join by trace alone) and cheap: eight bytes per exchange that still waits, and nothing but a
//! list of them for as long as no spans come.

use crate::record::{Nanos, SpanId, SpanKind, Timestamp, TraceId};
use crate::wire::otlp::ScanResult;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Parents remembered in each of two generations, for spans that come before their exchange is recorded. Most spans'
/// parents are no exchanges at all, so old ones are forgotten.
const EARLY_MAX: usize = 1 << 19;
/// Exchanges that wait, in each of two generations and once more among the fresh. Where spans come, they come within seconds;
/// where none come, a run of any length must not fill the memory with what waits for them. What is forgotten counts as not
/// joined.
const PENDING_MAX: usize = 1 << 19;
/// Processes told apart; more are taken for one.
const SENDERS_MAX: usize = 4_096;
/// Batch size of every SDK by default: a batch of exactly this size was cut off, so more is waiting behind it.
const FULL_BATCH: u64 = 512;

/// Counts traced exchanges and those whose server span has come.
#[derive(Debug, Default)]
pub struct JoinTracker {
    /// Exchanges since spans came last, not yet in `pending`: only spans make it worth the look-ups.
    fresh: Vec<u64>,
    pending: Generations,
    early: Generations,
    traced: u64,
    joined: u64,
    last_arrival: Option<Timestamp>,
    senders: HashMap<u64, LastBatch>,
}

#[derive(Clone, Copy, Debug)]
struct LastBatch {
    at: Timestamp,
    full: bool,
}

/// A set of keys that forgets the oldest ones when it is full.
#[derive(Debug, Default)]
struct Generations {
    sets: [HashSet<u64, Mixing>; 2],
}

impl Generations {
    fn insert(&mut self, key: u64, most: usize) {
        if self.sets[0].len() >= most {
            self.sets.swap(0, 1);
            self.sets[0].clear();
        }
        self.sets[0].insert(key);
    }

    fn remove(&mut self, key: u64) -> bool {
        self.sets.iter_mut().any(|set| set.remove(&key))
    }

    fn len(&self) -> usize {
        self.sets.iter().map(HashSet::len).sum()
    }
}

/// Hashes keys that are random already: one multiplication, with a seed so that no sender of spans can choose what collides.
#[derive(Clone, Copy, Debug)]
struct Mixing {
    seed: u64,
}

impl Default for Mixing {
    fn default() -> Mixing {
        Mixing { seed: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for Mixing {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed(self.seed)
    }
}

struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
}

/// Both ids in one number. Span ids are random, so are trace ids; what collides by chance miscounts one exchange.
fn key(trace_id: TraceId, span_id: SpanId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = trace_id.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from_le_bytes(span_id.0).rotate_left(1)
}

impl JoinTracker {
    /// Nothing sent, nothing come.
    pub fn new() -> JoinTracker {
        JoinTracker::default()
    }

    /// A traced exchange was sent with this client span.
    pub fn sent(&mut self, trace_id: TraceId, span_id: SpanId) {
        self.traced += 1;
        let key = key(trace_id, span_id);
        if self.early.remove(key) {
            self.joined += 1;
        } else {
            if self.fresh.len() >= PENDING_MAX {
                self.sort_in();
            }
            self.fresh.push(key);
        }
    }

    /// Makes the exchanges since the last spans ready for look-ups.
    fn sort_in(&mut self) {
        for key in self.fresh.drain(..) {
            self.pending.insert(key, PENDING_MAX);
        }
    }

    /// Spans came.
    pub fn spans(&mut self, scan: &ScanResult, at: Timestamp) {
        if scan.spans == 0 {
            return;
        }
        self.last_arrival = self.last_arrival.max(Some(at));
        self.sort_in();
        for sender in &scan.senders {
            if sender.spans > 0
                && (self.senders.len() < SENDERS_MAX || self.senders.contains_key(&sender.resource))
            {
                let last = LastBatch { at, full: sender.spans == FULL_BATCH };
                self.senders.insert(sender.resource, last);
            }
        }
        for span in &scan.keys {
            // hotspan's own client spans have no parent, and what has none cannot be the server's side of one.
            let Some(parent) = span.parent_id else { continue };
            let key = key(span.trace_id, parent);
            if self.pending.remove(key) {
                self.joined += 1;
            } else if !matches!(span.kind, SpanKind::Client | SpanKind::Producer) {
                self.early.insert(key, EARLY_MAX);
            }
        }
    }

    /// Traced exchanges so far.
    pub fn traced(&self) -> u64 {
        self.traced
    }

    /// Traced exchanges whose server span has come.
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// Traced exchanges whose server span has not come, as far as they are remembered.
    pub fn pending(&self) -> u64 {
        (self.pending.len() + self.fresh.len()) as u64
    }

    /// When spans came last.
    pub fn last_arrival(&self) -> Option<Timestamp> {
        self.last_arrival
    }

    /// Processes that have sent spans and may still hold some that ended by `moment`: they have sent nothing since, or
    /// their last batch was full. Who has been silent for `quiet` since then holds nothing, whatever others go on sending.
    pub fn unsettled_since(&self, moment: Timestamp, now: Timestamp, quiet: Nanos) -> usize {
        let may_hold =
            |last: &&LastBatch| (last.at <= moment || last.full) && now.since(last.at.max(moment)) < quiet;
        self.senders.values().filter(may_hold).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::{Sender, SpanKey};
    use proptest::prelude::*;

    fn server(n: u8, kind: SpanKind) -> ScanResult {
        let key = SpanKey {
            trace_id: TraceId([n; 16]),
            span_id: SpanId([n.wrapping_add(100); 8]),
            parent_id: Some(SpanId([n; 8])),
            kind,
            start: Timestamp(0),
        };
        let senders = vec![Sender { resource: 1, spans: 1 }];
        ScanResult { spans: 1, invalid: 0, keys: vec![key], senders }
    }

    #[test]
    fn what_never_joins_is_forgotten_in_the_end() {
        let mut tracker = JoinTracker::new();
        let id = |n: u64| SpanId((n + 1).to_be_bytes());
        let all = 4 * PENDING_MAX as u64 + 7;
        for n in 0..all {
            tracker.sent(TraceId([1; 16]), id(n));
        }
        assert_eq!(tracker.traced(), all);
        assert!(tracker.pending() <= 3 * PENDING_MAX as u64, "{}", tracker.pending());
        let mut span = server(1, SpanKind::Server);
        span.keys[0].parent_id = Some(id(all - 1));
        tracker.spans(&span, Timestamp(1));
        assert_eq!(tracker.joined(), 1, "the newest are remembered");
    }

    proptest! {
        #[test]
        fn the_order_of_both_sides_does_not_matter(
            order in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle(), duplicated in 0u8..20
        ) {
            // Events 0..20 send exchange n; events 20..40 bring the span of exchange n, one of them twice.
            let mut tracker = JoinTracker::new();
            for event in order {
                let n = (event % 20) as u8 + 1;
                if event < 20 {
                    tracker.sent(TraceId([n; 16]), SpanId([n; 8]));
                } else {
                    tracker.spans(&server(n, SpanKind::Server), Timestamp(event as u64));
                    if n == duplicated {
                        tracker.spans(&server(n, SpanKind::Server), Timestamp(event as u64));
                    }
                }
                prop_assert_eq!(tracker.joined() + tracker.pending(), tracker.traced());
            }
            prop_assert_eq!((tracker.joined(), tracker.pending()), (20, 0));
        }
    }

    #[test]
    fn spans_of_others_join_nothing() {
        let mut tracker = JoinTracker::new();
        tracker.sent(TraceId([1; 16]), SpanId([1; 8]));
        let mut own = server(1, SpanKind::Client);
        own.keys[0].parent_id = None;
        tracker.spans(&own, Timestamp(5));
        let mut child = server(1, SpanKind::Internal);
        child.keys[0].parent_id = Some(SpanId([77; 8]));
        tracker.spans(&child, Timestamp(6));
        let mut other = server(1, SpanKind::Server);
        other.keys[0].trace_id = TraceId([2; 16]);
        tracker.spans(&other, Timestamp(7));
        assert_eq!((tracker.joined(), tracker.last_arrival()), (0, Some(Timestamp(7))));
    }

    #[test]
    fn early_spans_are_forgotten_in_generations_only() {
        let mut tracker = JoinTracker::new();
        tracker.spans(&server(9, SpanKind::Server), Timestamp(0));
        for n in 0..EARLY_MAX as u64 {
            tracker.early.insert(n | 1 << 63, EARLY_MAX);
        }
        tracker.sent(TraceId([9; 16]), SpanId([9; 8]));
        assert_eq!(tracker.joined(), 1);
        assert!(tracker.early.sets.iter().all(|early| early.len() <= EARLY_MAX));
    }

    #[test]
    fn a_sender_is_settled_after_a_batch_that_was_not_full() {
        let mut tracker = JoinTracker::new();
        let load_end = Timestamp(100);
        tracker.spans(&server(1, SpanKind::Server), Timestamp(90));
        let quiet = Nanos(1_000);
        let unsettled =
            |tracker: &JoinTracker, now: u64| tracker.unsettled_since(load_end, Timestamp(now), quiet);
        assert_eq!(unsettled(&tracker, 105), 1);
        // It was silent for long enough, counted from the end of the load.
        assert_eq!((unsettled(&tracker, 1_099), unsettled(&tracker, 1_100)), (1, 0));
        let mut full = server(2, SpanKind::Server);
        full.senders[0].spans = FULL_BATCH;
        tracker.spans(&full, Timestamp(110));
        assert_eq!((unsettled(&tracker, 115), unsettled(&tracker, 1_110)), (1, 0));
        tracker.spans(&server(3, SpanKind::Server), Timestamp(120));
        assert_eq!(unsettled(&tracker, 125), 0);
    }
}
