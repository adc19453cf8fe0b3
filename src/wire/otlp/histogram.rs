//! The base-2 exponential histogram of the OpenTelemetry data model: at most 160 buckets, whose width halves or doubles
//! ("scale") so that all values fit. Metrics data model, section "ExponentialHistogram"; the mapping is the one of its
//! appendix: logarithm for positive scales, exponent bits for others, and exact powers of two in the lower bucket.

use std::sync::LazyLock;

/// Buckets at most, as the specification recommends.
const MAX_BUCKETS: usize = 160;
/// The finest scale that the specification defines.
const MAX_SCALE: i32 = 20;

/// A distribution of values that are zero or positive.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialHistogram {
    scale: i32,
    /// Index of the first bucket: it holds values in (base^offset, base^(offset + 1)].
    offset: i32,
    buckets: Vec<u64>,
    zeros: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for ExponentialHistogram {
    fn default() -> ExponentialHistogram {
        ExponentialHistogram {
            scale: MAX_SCALE,
            offset: 0,
            buckets: Vec::new(),
            zeros: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl ExponentialHistogram {
    /// Counts a value; negative and infinite ones and NaN are not latencies and are left out.
    pub fn record(&mut self, value: f64) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value < f64::MIN_POSITIVE {
            self.zeros += 1;
            return;
        }
        let index = index_of(value, self.scale);
        let at = index.wrapping_sub(self.offset) as u32 as usize;
        match self.buckets.get_mut(at) {
            Some(count) => *count += 1,
            None => self.begin_bucket(value, index),
        }
    }

    /// Counts a value whose bucket is not there yet.
    #[cold]
    fn begin_bucket(&mut self, value: f64, mut index: i32) {
        if self.buckets.is_empty() {
            self.offset = index;
            self.buckets.push(1);
            return;
        }
        let (low, high) = (self.offset, self.offset + self.buckets.len() as i32 - 1);
        let mut halvings = 0;
        while (i64::from(high.max(index) >> halvings) - i64::from(low.min(index) >> halvings)) as usize
            >= MAX_BUCKETS
        {
            halvings += 1;
        }
        if halvings > 0 {
            self.downscale(halvings);
            index = index_of(value, self.scale);
        }
        if index < self.offset {
            let missing = (self.offset - index) as usize;
            self.buckets.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
    }

    /// Merges neighbouring buckets `halvings` times.
    fn downscale(&mut self, halvings: i32) {
        let old_offset = self.offset;
        self.offset >>= halvings;
        self.scale -= halvings;
        let mut merged = Vec::with_capacity(MAX_BUCKETS);
        for (i, count) in self.buckets.drain(..).enumerate() {
            let at = (((old_offset + i as i32) >> halvings) - self.offset) as usize;
            if at >= merged.len() {
                merged.resize(at + 1, 0);
            }
            merged[at] += count;
        }
        self.buckets = merged;
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Smallest and largest value; `None` when empty.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// Values that are zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Scale: a bucket's upper bound is 2^(2^-scale) times its lower bound.
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Index of the first bucket, and the counts from there on.
    pub fn buckets(&self) -> (i32, &[u64]) {
        (self.offset, &self.buckets)
    }
}

/// The finest scale whose bucket is looked up: latencies of three orders of magnitude have scale 3 or 4.
const FINEST: i32 = 6;
/// Leading bits of a fraction by which a bucket is guessed.
const GUESS: u32 = 8;

static FINE: LazyLock<Fine> = LazyLock::new(Fine::new);

/// The buckets of [`FINEST`] between a power of two and the next: a logarithm per value costs four times as much.
struct Fine {
    /// The fraction bits of each bucket's upper bound but the last one's.
    upper: [u64; (1 << FINEST) - 1],
    /// The first bucket that a fraction with these leading bits can lie in.
    guess: [u8; 1 << GUESS],
}

impl Fine {
    fn new() -> Fine {
        let upper =
            std::array::from_fn(|i| fraction((((i + 1) as f64) / f64::from(1 << FINEST)).exp2().to_bits()));
        let first = |leading: usize| {
            let least = (leading as u64) << (52 - GUESS);
            upper.partition_point(|bound| *bound < least) as u8
        };
        Fine { upper, guess: std::array::from_fn(first) }
    }

    /// Number of the bucket of a value between two powers of two.
    #[inline]
    fn within(&self, bits: u64) -> i32 {
        let fraction = fraction(bits);
        let mut at = usize::from(self.guess[(fraction >> (52 - GUESS)) as usize]);
        while self.upper.get(at).is_some_and(|bound| *bound < fraction) {
            at += 1;
        }
        at as i32
    }
}

fn fraction(bits: u64) -> u64 {
    bits & ((1 << 52) - 1)
}

/// Bucket of a positive normal value.
fn index_of(value: f64, scale: i32) -> i32 {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1023;
    let power_of_two = fraction(bits) == 0;
    if scale <= 0 {
        (exponent - i32::from(power_of_two)) >> -scale
    } else if power_of_two {
        (exponent << scale) - 1
    } else if scale <= FINEST {
        // Buckets of a coarser scale are whole numbers of finer ones.
        (exponent << FINEST | FINE.within(bits)) >> (FINEST - scale)
    } else {
        (value.log2() * f64::from(1 << scale)).floor() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn powers_of_two_are_upper_bounds() {
        for scale in [-2, -1, 0, 1, 3, 20] {
            let below = index_of(4.0 - 4.0 * f64::EPSILON, scale);
            assert_eq!(index_of(4.0, scale), below, "scale {scale}");
            assert!(index_of(4.0 + 8.0 * f64::EPSILON, scale) >= below);
        }
        // Appendix of the data model: at scale 0, (1, 2] is bucket 0 and (0.5, 1] is bucket -1.
        assert_eq!([1.0, 1.5, 2.0, 2.1].map(|v| index_of(v, 0)), [-1, 0, 0, 1]);
    }

    #[test]
    fn a_bucket_that_is_looked_up_is_the_one_of_the_logarithm() {
        for exponent in [-30, -10, -1, 0, 3] {
            for step in 1..4_000 {
                let value = (1.0 + f64::from(step) / 4_000.0) * 2f64.powi(exponent);
                for scale in 1..=FINEST {
                    let exact = value.log2() * f64::from(1 << scale);
                    // Where rounding decides, either may be right.
                    if (exact - exact.round()).abs() > 1e-9 {
                        assert_eq!(index_of(value, scale), exact.floor() as i32, "{value} at scale {scale}");
                    }
                }
            }
        }
        for scale in 1..=FINEST {
            let bound = 2f64.powf(2f64.powi(-scale));
            assert_eq!([bound * 0.999_999, bound * 1.000_001].map(|v| index_of(v, scale)), [0, 1]);
        }
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket_and_nothing_is_lost(
            values in prop::collection::vec(prop_oneof![Just(0.0), 1e-9f64..1e5, 1e-3f64..1.0], 1..400)
        ) {
            let mut histogram = ExponentialHistogram::default();
            for value in &values {
                histogram.record(*value);
            }
            let (offset, buckets) = histogram.buckets();
            prop_assert!(buckets.len() <= MAX_BUCKETS);
            prop_assert_eq!(histogram.zeros() + buckets.iter().sum::<u64>(), values.len() as u64);
            // Independent of the index formula: bounds by powf.
            let base = 2f64.powf(2f64.powi(-histogram.scale()));
            let mut expected = vec![0u64; buckets.len()];
            for value in values.iter().filter(|v| **v > 0.0) {
                let at = (0..buckets.len()).find(|i| {
                    *value <= base.powf(f64::from(offset + *i as i32 + 1)) * (1.0 + 1e-9)
                });
                expected[at.unwrap()] += 1;
            }
            for (i, (seen, expected)) in buckets.iter().zip(&expected).enumerate() {
                let near = if i + 1 < buckets.len() { buckets[i + 1] } else { 0 };
                prop_assert!(seen.abs_diff(*expected) <= near.max(1), "bucket {i}: {seen} {expected}");
            }
        }
    }

    #[test]
    fn what_is_no_latency_is_left_out() {
        let mut histogram = ExponentialHistogram::default();
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            histogram.record(value);
        }
        assert_eq!((histogram.count(), histogram.range()), (0, None));
        histogram.record(f64::MAX);
        histogram.record(f64::MIN_POSITIVE);
        assert_eq!(histogram.buckets().1.iter().sum::<u64>(), 2);
    }
}
