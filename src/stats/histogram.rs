//! A latency histogram that merges exactly and costs memory only where values fell.
//!
//! Buckets are those of HdrHistogram (Gil Tene, <https://hdrhistogram.github.io/HdrHistogram/>): exact below a power of
//! two, then a fixed number of equal buckets per octave. An analysis keeps thousands of histograms at once (several per
//! contributor), where a dense one of 136 KB would decide how much memory a run needs; so counts sit in small pages that
//! exist only where something was counted. One that has counted much, close together, puts its pages side by side, which is
//! smaller then and quicker. Count, sum and maximum are exact.

use crate::record::Nanos;

/// Bits that a value keeps: 11 give 1,024 buckets per octave, an error of at most 0.1 %.
const FINE_BITS: u32 = 11;
/// 8 bits give 128 buckets per octave, an error of at most 0.8 %.
const COARSE_BITS: u32 = 8;
/// Counts in one page.
const PAGE: usize = 16;
/// What a page costs where it stands alone, in pages.
const ALONE: usize = 2;
/// Values from which a histogram may put its pages side by side; asked again at every power of two.
const SETTLED: u64 = 512;

/// Latencies with three (or, where made by [`Histogram::coarse`], two) significant digits. Merging is commutative and
/// associative to the bit, so results do not depend on how the work was divided.
#[derive(Clone, Debug)]
pub struct Histogram {
    bits: u32,
    counts: Counts,
    n: u64,
    sum: u128,
    max: u64,
}

/// Counts from the page of number `first` on.
#[derive(Clone, Debug)]
enum Counts {
    Pages { first: usize, pages: Vec<Option<Box<[u64; PAGE]>>> },
    SideBySide { first: usize, pages: Vec<[u64; PAGE]> },
}

/// What reports show of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Number of values.
    pub n: u64,
    /// Exact arithmetic mean.
    pub mean: Nanos,
    /// Lower quartile.
    pub p25: Nanos,
    /// Median.
    pub p50: Nanos,
    /// 90th percentile.
    pub p90: Nanos,
    /// 95th percentile.
    pub p95: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// 99.9th percentile.
    pub p999: Nanos,
    /// Exact maximum.
    pub max: Nanos,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl PartialEq for Histogram {
    /// Equal when every count, the sum and the maximum are; how pages are laid out does not matter.
    fn eq(&self, other: &Histogram) -> bool {
        (self.bits, self.n, self.sum, self.max) == (other.bits, other.n, other.sum, other.max)
            && self.buckets().eq(other.buckets())
    }
}

impl Histogram {
    /// An empty histogram of three significant digits.
    pub fn new() -> Histogram {
        Histogram::with_bits(FINE_BITS)
    }

    /// An empty histogram of two significant digits: an eighth of the memory.
    pub fn coarse() -> Histogram {
        Histogram::with_bits(COARSE_BITS)
    }

    fn with_bits(bits: u32) -> Histogram {
        let counts = Counts::Pages { first: 0, pages: Vec::new() };
        Histogram { bits, counts, n: 0, sum: 0, max: 0 }
    }

    /// Counts one value.
    pub fn record(&mut self, value: Nanos) {
        self.record_n(value, 1);
    }

    /// Counts one value `n` times.
    pub fn record_n(&mut self, value: Nanos, n: u64) {
        if n == 0 {
            return;
        }
        *self.counts.slot(bucket_of(value.0, self.bits)) += n;
        self.n += n;
        if self.n >= SETTLED && self.n.is_power_of_two() {
            self.counts.settle();
        }
        self.sum += u128::from(value.0) * u128::from(n);
        self.max = self.max.max(value.0);
    }

    /// Adds all of `other`. Where `other` has another resolution its values are counted at their bucket's upper end.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in other.buckets() {
            let bucket = if self.bits == other.bits {
                bucket
            } else {
                bucket_of(upper_end(bucket, other.bits), self.bits)
            };
            *self.counts.slot(bucket) += count;
        }
        self.n += other.n;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// This histogram without the values `taken` (which must have been counted here) and with the values `given`
    /// instead. Count and sum stay exact; the maximum becomes the upper end of the highest bucket left.
    pub fn exchanged(&self, taken: &Histogram, given: &Histogram) -> Histogram {
        let mut out = self.clone();
        for (bucket, count) in taken.buckets() {
            let slot = out.counts.slot(bucket);
            *slot = slot.saturating_sub(count);
        }
        out.n = out.n.saturating_sub(taken.n);
        out.sum = out.sum.saturating_sub(taken.sum);
        out.merge(given);
        let highest = out.buckets().map(|(bucket, _)| upper_end(bucket, out.bits)).max().unwrap_or(0);
        out.max = highest.min(self.max.max(given.max));
        out
    }

    /// Number of values.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Exact sum.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Value at a quantile (0..=1): the upper end of the bucket that holds it, never above the exact maximum; zero when
    /// empty.
    pub fn quantile(&self, q: f64) -> Nanos {
        let rank = ((q * self.n as f64).ceil() as u64).clamp(1, self.n.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return Nanos(upper_end(bucket, self.bits).min(self.max));
            }
        }
        Nanos(self.max)
    }

    /// Exact mean; zero when empty.
    pub fn mean(&self) -> Nanos {
        match self.len() {
            0 => Nanos::ZERO,
            n => Nanos(u64::try_from(self.sum / u128::from(n)).unwrap_or(u64::MAX)),
        }
    }

    /// The usual set.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            n: self.len(),
            mean: self.mean(),
            p25: self.quantile(0.25),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: Nanos(self.max),
        }
    }

    /// Values with how often they were counted, lowest first: for each bucket its upper end, never above the exact maximum.
    pub fn values(&self) -> impl Iterator<Item = (Nanos, u64)> + '_ {
        self.buckets().map(|(bucket, n)| (Nanos(upper_end(bucket, self.bits).min(self.max)), n))
    }

    /// All that it consists of, for writing it down: resolution in bits, sum, maximum, and the counts by bucket.
    pub fn parts(&self) -> (u32, u128, u64, Vec<(usize, u64)>) {
        (self.bits, self.sum, self.max, self.buckets().collect())
    }

    /// From what [`Histogram::parts`] gave; `None` where no histogram has such parts.
    pub fn from_parts(bits: u32, sum: u128, max: u64, counts: &[(usize, u64)]) -> Option<Histogram> {
        if !matches!(bits, FINE_BITS | COARSE_BITS) {
            return None;
        }
        let mut out = Histogram { sum, max, ..Histogram::with_bits(bits) };
        let end = bucket_of(u64::MAX, bits);
        for (bucket, count) in counts {
            if *bucket > end {
                return None;
            }
            let slot = out.counts.slot(*bucket);
            *slot = slot.checked_add(*count)?;
            out.n = out.n.checked_add(*count)?;
        }
        Some(out)
    }

    /// Buckets that hold something, lowest first.
    fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let (first, apart, together) = match &self.counts {
            Counts::Pages { first, pages } => (*first, pages.as_slice(), Default::default()),
            Counts::SideBySide { first, pages } => (*first, Default::default(), pages.as_slice()),
        };
        let apart = apart.iter().enumerate().filter_map(|(i, page)| Some((i, &**page.as_ref()?)));
        apart.chain(together.iter().enumerate()).flat_map(move |(i, page)| {
            let base = (first + i) * PAGE;
            page.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(j, n)| (base + j, *n))
        })
    }
}

impl Counts {
    #[inline]
    fn slot(&mut self, bucket: usize) -> &mut u64 {
        let page = bucket / PAGE;
        if let Counts::SideBySide { first, pages } = self
            && page.wrapping_sub(*first) >= pages.len()
            && page.abs_diff(*first) > ALONE * pages.len()
        {
            self.part();
        }
        match self {
            Counts::SideBySide { first, pages } => {
                let at = reach(first, pages, page, || [0; PAGE]);
                &mut pages[at][bucket % PAGE]
            }
            Counts::Pages { first, pages } => {
                let at = reach(first, pages, page, || None);
                &mut pages[at].get_or_insert_with(|| Box::new([0; PAGE]))[bucket % PAGE]
            }
        }
    }

    /// Takes the pages apart again: a value came that lies far from all others.
    #[cold]
    fn part(&mut self) {
        let Counts::SideBySide { first, pages } = self else { return };
        let apart = pages.drain(..).map(|page| page.iter().any(|n| *n > 0).then(|| Box::new(page))).collect();
        *self = Counts::Pages { first: *first, pages: apart };
    }

    /// Puts the pages side by side if that takes no more memory than they do apart.
    #[cold]
    fn settle(&mut self) {
        let Counts::Pages { first, pages } = self else { return };
        let used = pages.iter().flatten().count();
        if pages.len() <= ALONE * used {
            let together = pages.drain(..).map(|page| page.map_or([0; PAGE], |counts| *counts)).collect();
            *self = Counts::SideBySide { first: *first, pages: together };
        }
    }
}

/// The index of a page in a list that begins with page `first`, which grows at either end where it has to.
#[inline]
fn reach<T>(first: &mut usize, pages: &mut Vec<T>, page: usize, empty: impl Fn() -> T) -> usize {
    let at = page.wrapping_sub(*first);
    if at < pages.len() {
        return at;
    }
    grow(first, pages, page, empty)
}

#[cold]
fn grow<T>(first: &mut usize, pages: &mut Vec<T>, page: usize, empty: impl Fn() -> T) -> usize {
    if pages.is_empty() {
        *first = page;
    } else if page < *first {
        let missing = *first - page;
        pages.splice(0..0, std::iter::repeat_with(&empty).take(missing));
        *first = page;
    }
    let at = page - *first;
    if at >= pages.len() {
        pages.resize_with(at + 1, empty);
    }
    at
}

fn bucket_of(value: u64, bits: u32) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(bits);
    ((u64::from(shift) << (bits - 1)) + (value >> shift)) as usize
}

/// The largest value that falls into a bucket.
fn upper_end(bucket: usize, bits: u32) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> (bits - 1)).saturating_sub(1);
    let mantissa = bucket - (shift << (bits - 1));
    // Wraps only for the very last bucket, whose upper end is u64::MAX.
    ((mantissa + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Histogram {
        let mut h = Histogram::new();
        values.iter().for_each(|v| h.record(Nanos(*v)));
        h
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_the_error_is_at_most_a_thousandth() {
        for bits in [COARSE_BITS, FINE_BITS] {
            for value in (0..64)
                .flat_map(|s| [1u64 << s, (1 << s) - 1, (1 << s) | 1, u64::MAX >> s, (u64::MAX / 3) >> s])
            {
                let upper = upper_end(bucket_of(value, bits), bits);
                assert!(upper >= value, "{value} above its bucket's end {upper}");
                let error = (upper - value) as f64 / (value.max(1)) as f64;
                assert!(error <= 1.0 / f64::from(1 << (bits - 1)), "{value} in a bucket to {upper}");
                assert_eq!(bucket_of(upper, bits), bucket_of(value, bits));
            }
        }
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let q = of(&(1..=1000).map(|ms| ms * 1_000_000).collect::<Vec<_>>()).quantiles();
        assert_eq!((q.n, q.max, q.mean), (1000, Nanos::from_millis(1000), Nanos(500_500_000)));
        for (got, ms) in [(q.p50, 500.0), (q.p90, 900.0), (q.p95, 950.0), (q.p99, 990.0), (q.p999, 999.0)] {
            let error = (got.as_millis_f64() - ms) / ms;
            assert!((0.0..0.001).contains(&error), "{got} for {ms} ms");
        }
        assert_eq!(Histogram::new().quantiles(), Quantiles::default());
    }

    #[test]
    fn pages_side_by_side_count_the_same() {
        let value = |n: u64| 1_000_000 + n.wrapping_mul(0x9E37_79B9) % 3_000_000;
        let values: Vec<u64> = (0..5_000).map(value).collect();
        let mut h = of(&values);
        assert!(matches!(h.counts, Counts::SideBySide { .. }));
        let (bits, sum, max, counts) = h.parts();
        let apart = Histogram::from_parts(bits, sum, max, &counts).unwrap();
        assert!(matches!(apart.counts, Counts::Pages { .. }));
        assert_eq!(h, apart);
        assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 5_000);
        assert_eq!((h.quantile(0.5), h.quantile(1.0)), (apart.quantile(0.5), apart.quantile(1.0)));
        // A little beyond is still side by side; one far away takes them apart.
        h.record(Nanos(4_500_000));
        assert!(matches!(h.counts, Counts::SideBySide { .. }));
        h.record(Nanos(1 << 50));
        assert!(matches!(h.counts, Counts::Pages { .. }));
        let all: Vec<u64> = values.iter().copied().chain([4_500_000, 1 << 50]).rev().collect();
        assert_eq!(h, of(&all));
        // Far apart they stay pages.
        let far: Vec<u64> = (0..1_024).map(|n| if n % 2 == 0 { 5 } else { 1 << 40 }).collect();
        assert!(matches!(of(&far).counts, Counts::Pages { .. }));
    }

    #[test]
    fn values_can_be_exchanged_for_others() {
        let h = of(&[10, 20, 30, 2_000_000]).exchanged(&of(&[20, 2_000_000]), &of(&[5, 7]));
        assert_eq!(h, of(&[10, 30, 5, 7]));
    }

    proptest! {
        /// HdrHistogram's own implementation is the oracle: same bucket ends, so same quantiles.
        #[test]
        fn agrees_with_hdrhistogram(values in prop::collection::vec(0u64..1 << 45, 1..200), q in 0.0f64..=1.0) {
            let mut hdr = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|v| hdr.record(*v).unwrap());
            let max = *values.iter().max().unwrap();
            prop_assert_eq!(of(&values).quantile(q).0, hdr.value_at_quantile(q).min(max));
        }

        #[test]
        fn merging_in_any_order_is_recording_in_any_order(
            a in prop::collection::vec(any::<u64>(), 0..50),
            b in prop::collection::vec(0u64..1 << 30, 0..50),
        ) {
            let (mut ab, mut ba) = (of(&a), of(&b));
            ab.merge(&of(&b));
            ba.merge(&of(&a));
            let all = of(&a.iter().chain(&b).rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(&ab, &all);
            prop_assert_eq!(&ba, &all);
            prop_assert_eq!(ab.sum(), all.sum());
        }
    }
}
