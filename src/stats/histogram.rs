//! A latency histogram that merges exactly: three significant digits by HdrHistogram, exact count, sum and maximum.

use crate::record::Nanos;
use hdrhistogram::Histogram as Hdr;

/// Latencies from 1 µs to beyond an hour with three significant digits. Merging is commutative and associative to the
/// bit, so results do not depend on how the work was divided.
#[derive(Clone, Debug)]
pub struct Histogram {
    hdr: Hdr<u64>,
    sum: u128,
    max: u64,
}

/// What reports show of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Number of values.
    pub n: u64,
    /// Exact arithmetic mean.
    pub mean: Nanos,
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

impl Histogram {
    /// An empty histogram.
    #[allow(clippy::expect_used, reason = "three digits is a constant that HdrHistogram accepts")]
    pub fn new() -> Histogram {
        let hdr = Hdr::new(3).expect("3 significant digits is a valid precision");
        Histogram { hdr, sum: 0, max: 0 }
    }

    /// Counts one value.
    pub fn record(&mut self, value: Nanos) {
        // Auto-resize is on and a u64 is always representable, so this cannot fail.
        let _ = self.hdr.record(value.0);
        self.sum += u128::from(value.0);
        self.max = self.max.max(value.0);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        let _ = self.hdr.add(&other.hdr);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn len(&self) -> u64 {
        self.hdr.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.hdr.is_empty()
    }

    /// Exact sum.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Value at a quantile (0..=1), never above the exact maximum; zero when empty.
    pub fn quantile(&self, q: f64) -> Nanos {
        if self.is_empty() { Nanos::ZERO } else { Nanos(self.hdr.value_at_quantile(q).min(self.max)) }
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
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: Nanos(self.max),
        }
    }
}
