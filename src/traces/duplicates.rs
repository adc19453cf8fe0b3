//! Which spans have come before. OTLP delivers at least once: an answer that gets lost makes the sender send again.
//!
//! Memory is bounded: the last one to two million spans are remembered, each by 64 bits over its ids, kind and start,
//! with a key of this process so that nobody can choose colliding ids. What comes again later than that is stored again,
//! and the analysis drops it there.

use crate::wire::otlp::SpanKey;

/// Spans that are looked up together.
const CHUNK: usize = 32;
/// Spans of a generation; two are kept. A little less than what fills half of the slots, so that they never double for the
/// last few.
const GENERATION: usize = (1 << 20) - CHUNK;
const FIRST_SLOTS: usize = 1 << 12;

/// Remembers spans.
#[derive(Debug)]
pub struct Duplicates {
    seed: u64,
    table: Table,
    generation: usize,
}

impl Default for Duplicates {
    fn default() -> Duplicates {
        Duplicates::with_generation(GENERATION)
    }
}

impl Duplicates {
    fn with_generation(generation: usize) -> Duplicates {
        Duplicates { seed: rand::random(), table: Table::default(), generation }
    }

    /// Whether a span has come before.
    pub fn contains(&self, span: &SpanKey) -> bool {
        let print = self.print(span);
        self.table.contains(Lane::Young, print) || self.table.contains(Lane::Old, print)
    }

    /// Remembers spans and gives how many had come before (in this list too).
    pub fn remember(&mut self, spans: &[SpanKey]) -> u64 {
        let mut before = 0;
        for chunk in spans.chunks(CHUNK) {
            // The table is larger than the caches. Looked up one after another, each span would wait for memory on its
            // own; looked at together, their slots are fetched at once.
            let mut found = [(0, true); CHUNK];
            for (found, span) in found.iter_mut().zip(chunk) {
                let print = self.print(span);
                *found = (print, self.table.may_contain(print));
            }
            for (print, known) in found.into_iter().take(chunk.len()) {
                before +=
                    u64::from(known && self.table.contains(Lane::Old, print) || !self.table.insert(print));
            }
            if self.table.young_len >= self.generation {
                self.table.turn();
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

/// Which of the two generations.
#[derive(Clone, Copy, Debug)]
enum Lane {
    Young,
    Old,
}

/// Two sets of numbers other than 0 with open addressing, side by side: where a number belongs is the same place in both, so
/// that one look at memory finds it in either.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<[u64; 2]>,
    /// Which side of a slot is the young generation's: 0 or 1.
    young: usize,
    young_len: usize,
}

impl Table {
    fn side(&self, lane: Lane) -> usize {
        match lane {
            Lane::Young => self.young,
            Lane::Old => 1 - self.young,
        }
    }

    /// The slot that holds the number on that side, or the free one where it belongs.
    fn slot(&self, side: usize, print: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = print as usize & mask;
        // At most half of the slots are taken, so this ends.
        while self.slots[at][side] != 0 && self.slots[at][side] != print {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    /// False where the number is certainly not there: its first slot is free on both sides.
    fn may_contain(&self, print: u64) -> bool {
        let at = print as usize & self.slots.len().wrapping_sub(1);
        self.slots.get(at).is_some_and(|slot| slot[0] | slot[1] != 0)
    }

    fn contains(&self, lane: Lane, print: u64) -> bool {
        let side = self.side(lane);
        self.slot(side, print).is_some_and(|at| self.slots[at][side] == print)
    }

    /// Adds to the young ones; false where it was there already.
    fn insert(&mut self, print: u64) -> bool {
        if self.young_len * 2 >= self.slots.len() {
            self.grow();
        }
        let side = self.young;
        match self.slot(side, print) {
            Some(at) if self.slots[at][side] == 0 => {
                self.slots[at][side] = print;
                self.young_len += 1;
                true
            }
            _ => false,
        }
    }

    fn grow(&mut self) {
        let more = (self.slots.len() * 2).max(FIRST_SLOTS);
        let slots = std::mem::replace(&mut self.slots, vec![[0; 2]; more]);
        for slot in slots {
            for (side, print) in slot.into_iter().enumerate().filter(|(_, print)| *print != 0) {
                if let Some(at) = self.slot(side, print) {
                    self.slots[at][side] = print;
                }
            }
        }
    }

    /// The young ones are the old ones now; those that were old are forgotten.
    fn turn(&mut self) {
        self.young = 1 - self.young;
        self.young_len = 0;
        let side = self.young;
        self.slots.iter_mut().for_each(|slot| slot[side] = 0);
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
        assert!(duplicates.table.slots.len() <= 4_096);
    }

    #[test]
    fn both_sides_of_a_call_may_share_an_id_and_a_span_counts_twice_in_one_list() {
        let mut duplicates = Duplicates::default();
        let client = SpanKey { kind: SpanKind::Client, ..span(1) };
        let later = SpanKey { start: Timestamp(1), ..span(1) };
        assert_eq!(duplicates.remember(&[span(1), client, later, span(1)]), 1);
    }
}
