//! When something happened, coarsely: up to 64 slots of time, as wide as they must be to hold it all. What is kept depends
//! on what was added alone, not on the order or on how it was divided.

use super::codec::Codec;

/// Slots that are kept; where there would be more, two become one.
const SLOTS: usize = 64;
/// The narrowest slot is 2^25 ns, a thirtieth of a second.
const NARROWEST: u64 = 25;
/// A slot of 2^63 ns holds all of time.
const WIDEST: u64 = 63;

/// The slots of time in which something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    /// By how many bits a slot is wider than the narrowest.
    wider: u64,
    /// Numbers of slots, in order.
    slots: Vec<u64>,
}

impl Moments {
    /// Adds a moment, in nanoseconds.
    pub fn add(&mut self, at: u64) {
        let slot = at >> (NARROWEST + self.wider);
        if self.slots.last() == Some(&slot) {
            return;
        }
        if let Err(place) = self.slots.binary_search(&slot) {
            self.slots.insert(place, slot);
            self.fit();
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Moments) {
        if other.slots.is_empty() {
            return;
        }
        self.widen_to(other.wider);
        let by = self.wider - other.wider;
        self.slots.extend(other.slots.iter().map(|slot| slot >> by));
        self.slots.sort_unstable();
        self.slots.dedup();
        self.fit();
    }

    fn fit(&mut self) {
        while self.slots.len() > SLOTS && self.wider < WIDEST - NARROWEST {
            self.widen_to(self.wider + 1);
        }
    }

    fn widen_to(&mut self, wider: u64) {
        if wider > self.wider {
            let by = wider - self.wider;
            self.slots.iter_mut().for_each(|slot| *slot >>= by);
            self.slots.dedup();
            self.wider = wider;
        }
    }

    /// In how many of `n` equal parts of the period `(first, last)` it happened.
    pub fn parts(&self, n: u64, (first, last): (u64, u64)) -> usize {
        let width = NARROWEST + self.wider;
        let length = (last.saturating_sub(first) / n.max(1)).max(1);
        let part = |slot: &u64| {
            // The middle of a slot, within the period.
            let at = (slot << width).saturating_add(1 << (width - 1)).clamp(first, last);
            ((at - first) / length).min(n.saturating_sub(1))
        };
        let mut parts: Vec<u64> = self.slots.iter().map(part).collect();
        parts.dedup();
        parts.len()
    }

    /// About the first moment and the last: middles of slots.
    pub fn span(&self) -> Option<(u64, u64)> {
        let width = NARROWEST + self.wider;
        let middle = |slot: u64| (slot << width).saturating_add(1 << (width - 1));
        Some((middle(*self.slots.first()?), middle(*self.slots.last()?)))
    }
}

impl Codec for Moments {
    fn put(&self, out: &mut Vec<u8>) {
        self.wider.put(out);
        self.slots.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Moments> {
        let moments = Moments { wider: u64::take(from)?, slots: Vec::take(from)? };
        let in_order = moments.slots.windows(2).all(|w| w[0] < w[1]);
        let fits = moments.wider <= WIDEST - NARROWEST
            && moments.slots.last().is_none_or(|slot| *slot <= u64::MAX >> (NARROWEST + moments.wider));
        (in_order && fits && moments.slots.len() <= SLOTS).then_some(moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(moments: &[u64]) -> Moments {
        let mut all = Moments::default();
        moments.iter().for_each(|at| all.add(*at));
        all
    }

    proptest! {
        #[test]
        fn the_same_in_any_order_and_any_parts(mut at in prop::collection::vec(0u64..400_000_000_000, 0..300), cut in 0usize..300) {
            let whole = of(&at);
            let (a, b) = at.split_at(cut.min(at.len()));
            let mut parts = of(b);
            parts.merge(&of(a));
            prop_assert_eq!(&parts, &whole);
            let mut bytes = Vec::new();
            whole.put(&mut bytes);
            prop_assert_eq!(Moments::take(&mut &bytes[..]), Some(whole.clone()));
            at.reverse();
            prop_assert_eq!(of(&at), whole);
        }
    }

    #[test]
    fn parts_of_a_period_are_counted_once() {
        const S: u64 = 1_000_000_000;
        let start = 1_700_000_000 * S;
        let at = |s: &[u64]| of(&s.iter().map(|s| start + s * S).collect::<Vec<_>>());
        let period = (start, start + 100 * S);
        assert_eq!(at(&[0, 1, 2, 3]).parts(10, period), 1);
        assert_eq!(at(&[0, 1, 2, 55]).parts(10, period), 2);
        let always: Vec<u64> = (0..100).collect();
        assert_eq!(at(&always).parts(10, period), 10);
        assert_eq!(Moments::default().parts(10, period), 0);
        assert_eq!(at(&[3]).parts(10, (start, start)), 1);
    }
}
