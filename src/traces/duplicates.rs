//! Which spans have come before. OTLP delivers at least once: an answer that gets lost makes the sender send again.
//!
//! Memory is bounded: the last one to two million spans are remembered, each by 64 bits over its ids, kind and start,
//! with a key of this process so that nobody can choose colliding ids. What comes again later than that is stored again,
//! and the analysis drops it there.

use crate::wire::otlp::SpanKey;

/// Spans of a generation; two are kept.
const GENERATION: usize = 1 << 20;
const FIRST_SLOTS: usize = 1 << 12;
/// Spans that are looked up together.
const CHUNK: usize = 32;

/// Remembers spans.
#[derive(Debug)]
pub struct Duplicates {
    seed: u64,
    young: Table,
    old: Table,
    generation: usize,
}

impl Default for Duplicates {
    fn default() -> Duplicates {
        Duplicates::with_generation(GENERATION)
    }
}

impl Duplicates {
    fn with_generation(generation: usize) -> Duplicates {
        Duplicates { seed: rand::random(), young: Table::default(), old: Table::default(), generation }
    }

    /// Whether a span has come before.
    pub fn contains(&self, span: &SpanKey) -> bool {
        let print = self.print(span);
        self.young.contains(print) || self.old.contains(print)
    }

    /// Remembers spans and gives how many had come before (in this list too).
    pub fn remember(&mut self, spans: &[SpanKey]) -> u64 {
        let mut before = 0;
        for chunk in spans.chunks(CHUNK) {
            // The tables are larger than the caches. Looked up one after another, each span would wait for memory on its
            // own; looked at together, their slots are fetched at once.
            let mut found = [(0, true); CHUNK];
            for (found, span) in found.iter_mut().zip(chunk) {
                let print = self.print(span);
                *found = (print, self.old.may_contain(print) | self.young.may_contain(print));
            }
            for (print, known) in found.into_iter().take(chunk.len()) {
                before += u64::from(known && self.old.contains(print) || !self.young.insert(print));
            }
            if self.young.len >= self.generation {
                std::mem::swap(&mut self.young, &mut self.old);
                self.young.clear();
            }
        }
        before
    }

    #[inline]
    fn print(&self, span: &SpanKey) -> u64 {
        let id = u128::from_le_bytes(span.trace_id.0);
        let mut hash = self.seed;
        let parts = [
            id as u64,
            (id >> 64) as u64,
            u64::from_le_bytes(span.span_id.0),
            span.start.0 ^ (span.kind as u64) << 61,
        ];
        for part in parts {
            // Multiplication with both halves of the product folded together: each input bit reaches all of them.
            let product = u128::from(hash ^ part) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
            hash = product as u64 ^ (product >> 64) as u64;
        }
        // 0 marks a free slot.
        hash.max(1)
    }
}

/// A set of numbers other than 0 with open addressing.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<u64>,
    len: usize,
}

impl Table {
    /// The slot that holds the number, or the free one where it belongs.
    fn slot(&self, print: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = print as usize & mask;
        // At most half of the slots are taken, so this ends.
        while self.slots[at] != 0 && self.slots[at] != print {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    /// False where the number is certainly not there: its first slot is free.
    fn may_contain(&self, print: u64) -> bool {
        let at = print as usize & self.slots.len().wrapping_sub(1);
        self.slots.get(at).is_some_and(|slot| *slot != 0)
    }

    fn contains(&self, print: u64) -> bool {
        self.slot(print).is_some_and(|at| self.slots[at] == print)
    }

    /// False where it was there already.
    fn insert(&mut self, print: u64) -> bool {
        if self.len * 2 >= self.slots.len() {
            let more = (self.slots.len() * 2).max(FIRST_SLOTS);
            let slots = std::mem::replace(&mut self.slots, vec![0; more]);
            for print in slots.into_iter().filter(|print| *print != 0) {
                if let Some(at) = self.slot(print) {
                    self.slots[at] = print;
                }
            }
        }
        match self.slot(print) {
            Some(at) if self.slots[at] == 0 => {
                self.slots[at] = print;
                self.len += 1;
                true
            }
            _ => false,
        }
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SpanId, SpanKind, Timestamp, TraceId};

    fn span(n: u64) -> SpanKey {
        SpanKey {
            trace_id: TraceId([7; 16]),
            span_id: SpanId((n + 1).to_be_bytes()),
            parent_id: None,
            kind: SpanKind::Server,
            start: Timestamp(0),
        }
    }

    #[test]
    fn spans_are_known_again_within_two_generations() {
        let mut duplicates = Duplicates::with_generation(1_000);
        let all: Vec<SpanKey> = (0..1_500).map(span).collect();
        assert_eq!(duplicates.remember(&all), 0);
        assert_eq!(duplicates.remember(&all), 1_500);
        assert!(duplicates.contains(&span(0)) && !duplicates.contains(&span(1_500)));
        // Ever more spans take no more memory, and the oldest are forgotten.
        for n in 2..100 {
            let next: Vec<SpanKey> = (n * 1_000..n * 1_000 + 1_000).map(span).collect();
            assert_eq!(duplicates.remember(&next), 0);
        }
        assert!(!duplicates.contains(&span(0)) && duplicates.contains(&span(99_999)));
        assert!(duplicates.young.slots.len() <= 4_096 && duplicates.old.slots.len() <= 4_096);
    }

    #[test]
    fn both_sides_of_a_call_may_share_an_id_and_a_span_counts_twice_in_one_list() {
        let mut duplicates = Duplicates::default();
        let client = SpanKey { kind: SpanKind::Client, ..span(1) };
        let later = SpanKey { start: Timestamp(1), ..span(1) };
        assert_eq!(duplicates.remember(&[span(1), client, later, span(1)]), 1);
    }
}
