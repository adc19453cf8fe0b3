//! Consistent probability sampling: which traces are recorded, and for how many each of those stands.
//!
//! The rule is OpenTelemetry's ("TraceState: Probability Sampling"): a trace is kept when the last 56 bits of its id are
//! not below the rejection threshold, which travels in `tracestate` as `ot=th:<hex>`. Services downstream come to the
//! same decision by the same id.

use super::TraceId;
use std::fmt;

/// Bits of a trace id that a threshold is compared with.
const RANDOM_BITS: u32 = 56;
/// Bits of the threshold that are used: the rest of the 56 are zero.
const USED_BITS: u32 = 32;

/// A rejection threshold, exact to 32 of its 56 bits: probabilities from 2⁻³² to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u32);

impl Threshold {
    /// Nothing is rejected.
    pub const ALWAYS: Threshold = Threshold(0);

    /// The threshold that keeps that share of all traces, to the nearest 2⁻³²; shares beyond the range become its ends.
    pub fn of_probability(probability: f64) -> Threshold {
        let rejected = ((1.0 - probability.clamp(0.0, 1.0)) * (1u64 << USED_BITS) as f64).round();
        // Saturates: what is above the range keeps one trace in 2³².
        Threshold(rejected as u32)
    }

    /// From the upper 32 bits of the 56, as [`Threshold::bits`] gives them.
    pub const fn from_bits(bits: u32) -> Threshold {
        Threshold(bits)
    }

    /// The upper 32 bits of the 56; the others are zero.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether nothing is rejected.
    pub const fn is_always(self) -> bool {
        self.0 == 0
    }

    /// Whether a trace of that id is kept.
    pub fn keeps(self, trace: &TraceId) -> bool {
        let random = u128::from_be_bytes(trace.0) as u64 & ((1 << RANDOM_BITS) - 1);
        random >= u64::from(self.0) << (RANDOM_BITS - USED_BITS)
    }

    /// The share of all traces that is kept.
    pub fn probability(self) -> f64 {
        self.kept() as f64 / (1u64 << USED_BITS) as f64
    }

    /// How many traces a kept one stands for, itself included.
    pub fn adjusted_count(self) -> f64 {
        1.0 / self.probability()
    }

    /// The adjusted count as a whole number, so that sums stay exact integers. A fraction is rounded up for as large a
    /// share of the ids as it is itself, by bits that the decision does not look at: over many traces sums are right. The
    /// first 32 bits come last among those: where X-Ray shall take the ids, they are the time and the same for a whole second.
    pub fn weight(self, trace: &TraceId) -> u64 {
        let kept = self.kept();
        let (whole, rest) = ((1 << USED_BITS) / kept, (1 << USED_BITS) % kept);
        let other = ((u128::from_be_bytes(trace.0) >> 64) as u64).rotate_left(32);
        let place = ((u128::from(other) * u128::from(kept)) >> 64) as u64;
        whole + u64::from(place < rest)
    }

    /// Traces kept out of 2³².
    fn kept(self) -> u64 {
        (1 << USED_BITS) - u64::from(self.0)
    }
}

impl fmt::Display for Threshold {
    /// The `tracestate` member: `ot=th:fd70a4`, without trailing zeros; `ot=th:0` where all are kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:08x}", self.0);
        let short = digits.trim_end_matches('0');
        write!(f, "ot=th:{}", if short.is_empty() { "0" } else { short })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(high: u64, low: u64) -> TraceId {
        TraceId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }

    #[test]
    fn thresholds_are_written_as_the_specification_writes_them() {
        for (probability, text) in [
            (1.0, "ot=th:0"),
            (0.5, "ot=th:8"),
            (0.25, "ot=th:c"),
            (0.125, "ot=th:e"),
            (0.01, "ot=th:fd70a3d7"),
        ] {
            assert_eq!(Threshold::of_probability(probability).to_string(), text, "{probability}");
        }
        assert_eq!(Threshold::of_probability(0.0).probability(), 1.0 / 4_294_967_296.0);
        assert_eq!(Threshold::of_probability(7.0), Threshold::ALWAYS);
    }

    #[test]
    fn only_the_last_56_bits_decide() {
        let half = Threshold::of_probability(0.5);
        assert!(half.keeps(&trace(0, 0x0080_0000_0000_0000)));
        assert!(!half.keeps(&trace(u64::MAX, 0xff7f_ffff_ffff_ffff)));
        assert!(Threshold::ALWAYS.keeps(&trace(1, 0)));
    }

    #[test]
    fn one_in_a_whole_number_weighs_that_number() {
        for n in [1, 2, 4, 64] {
            let threshold = Threshold::of_probability(1.0 / n as f64);
            assert_eq!([0, 1 << 40, u64::MAX].map(|high| threshold.weight(&trace(high, 0))), [n; 3]);
        }
    }

    proptest! {
        #[test]
        fn weights_add_up_to_the_number_of_traces(bits in any::<u32>()) {
            let threshold = Threshold::from_bits(bits);
            // Ids at even distances: the mean weight is the adjusted count but for one part in a thousand ids.
            let n = 4_096u64;
            let other = |i: u64| (i * (u64::MAX / n)).rotate_left(32);
            let sum: u64 = (0..n).map(|i| threshold.weight(&trace(other(i), 0))).sum();
            let mean = sum as f64 / n as f64;
            prop_assert!((mean - threshold.adjusted_count()).abs() <= 2.0 / n as f64, "{mean}");
        }

        /// As with X-Ray: all traces of a second begin alike.
        #[test]
        fn weights_add_up_where_ids_begin_with_the_time(bits in any::<u32>(), second in any::<u32>()) {
            let threshold = Threshold::from_bits(bits);
            let n = 4_096u64;
            let high = |i: u64| (u64::from(second) << 32) | (i * (u64::from(u32::MAX) / n));
            let sum: u64 = (0..n).map(|i| threshold.weight(&trace(high(i), 0))).sum();
            let mean = sum as f64 / n as f64;
            prop_assert!((mean - threshold.adjusted_count()).abs() <= 2.0 / n as f64, "{mean}");
        }
    }
}
