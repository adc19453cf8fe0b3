//! One measurement of a metric as some process reported it, borrowed from the bytes it arrived in.
//!
//! Explicit and exponential histograms become the same list of intervals, so that no reader needs to know both.

use super::{Attribute, Resource, Scope, Timestamp};

/// One data point of a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricPoint<'a> {
    /// When it was taken.
    pub time: Timestamp,
    /// Since when a sum or a distribution counts; 0 where the sender does not say.
    pub start: Timestamp,
    /// Name of the metric, e.g. `db.client.connection.pending_requests`.
    pub name: &'a str,
    /// Unit as in UCUM, e.g. `s` or `{connection}`; empty where none is given.
    pub unit: &'a str,
    /// Who reported it: [`Resource::service_name`], [`Resource::instance`].
    pub resource: &'a Resource<'a>,
    /// Which instrumentation library.
    pub scope: &'a Scope<'a>,
    /// What tells it from other points of the metric, e.g. the name of the pool.
    pub attributes: &'a [Attribute<'a>],
    /// What was measured.
    pub value: MetricValue<'a>,
}

/// What a point says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue<'a> {
    /// The value at the moment of the point.
    Gauge(f64),
    /// A sum of increments.
    Sum {
        /// The sum, of all since `start` or of what is new, by `temporality`.
        value: f64,
        /// Whether it can only grow; else it goes up and down as a gauge does.
        monotonic: bool,
        /// Since when it counts.
        temporality: SumsSince,
    },
    /// A distribution of measurements.
    Histogram {
        /// The distribution.
        values: Distribution<'a>,
        /// Since when it counts.
        temporality: SumsSince,
    },
    /// Quantiles that the sender worked out (Prometheus summaries); they cannot be added up.
    Summary {
        /// Measurements.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Quantile (0 to 1) and its value.
        quantiles: &'a [(f64, f64)],
    },
}

/// What a sum or a distribution covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SumsSince {
    /// The sender does not say.
    #[default]
    Unknown,
    /// What is new since the last point of the same series.
    LastPoint,
    /// All since the start of the series: the difference of two points is what came between.
    Start,
}

/// A summarised set of measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution<'a> {
    /// How many.
    pub count: u64,
    /// Their sum, if the sender gives it.
    pub sum: Option<f64>,
    /// The least, if given.
    pub min: Option<f64>,
    /// The greatest, if given.
    pub max: Option<f64>,
    /// Intervals in ascending order that have measurements; together they may hold less than `count` where the sender
    /// kept no buckets or more of them than are read.
    pub buckets: &'a [Bucket],
}

/// Measurements within an interval: above `lower`, up to and with `upper` (below zero the other way round, as the
/// exponential histogram has it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound; minus infinity for the first of explicit bounds.
    pub lower: f64,
    /// Upper bound; plus infinity for the last of explicit bounds.
    pub upper: f64,
    /// How many.
    pub count: u64,
}

impl MetricPoint<'_> {
    /// The text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_str())
    }
}

impl MetricValue<'_> {
    /// The number of a gauge or a sum.
    pub fn number(&self) -> Option<f64> {
        match self {
            MetricValue::Gauge(value) | MetricValue::Sum { value, .. } => Some(*value),
            MetricValue::Histogram { .. } | MetricValue::Summary { .. } => None,
        }
    }
}

impl Distribution<'_> {
    /// Mean of the measurements, where there are any and their sum is known.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.map(|sum| sum / self.count as f64)).flatten()
    }

    /// An upper bound of the quantile `q` (0 to 1), from the buckets; the greatest measurement where it lies in the last
    /// bucket and is given. `None` without buckets.
    pub fn quantile_bound(&self, q: f64) -> Option<f64> {
        let in_buckets: u64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        let rank = ((q.clamp(0.0, 1.0) * in_buckets as f64).ceil() as u64).max(1);
        let mut below = 0;
        for bucket in self.buckets {
            below += bucket.count;
            if below >= rank {
                return Some(self.max.map_or(bucket.upper, |max| max.min(bucket.upper)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_mean_and_quantiles() {
        let buckets = [
            Bucket { lower: 0.0, upper: 1.0, count: 90 },
            Bucket { lower: 1.0, upper: 5.0, count: 9 },
            Bucket { lower: 5.0, upper: f64::INFINITY, count: 1 },
        ];
        let all = Distribution { count: 100, sum: Some(50.0), min: None, max: Some(7.0), buckets: &buckets };
        assert_eq!(all.mean(), Some(0.5));
        let bounds = [0.0, 0.5, 0.9, 0.91, 0.99, 1.0].map(|q| all.quantile_bound(q));
        assert_eq!(bounds, [1.0, 1.0, 1.0, 5.0, 5.0, 7.0].map(Some));
        let none = Distribution { count: 0, sum: Some(0.0), min: None, max: None, buckets: &[] };
        assert_eq!((none.mean(), none.quantile_bound(0.5)), (None, None));
    }
}
