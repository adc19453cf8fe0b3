//! What being traced costs a service, as measured.

use super::Nanos;

/// A ratio with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratio {
    /// Traced over untraced: 1.05 is 5 % more.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The same load with tracing on and off in turn, compared pair by pair.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceCost {
    /// How long each stretch was.
    pub stretch: Nanos,
    /// Pairs of neighbouring stretches that were compared.
    pub pairs: u32,
    /// Requests with tracing on, and off.
    pub exchanges: [u64; 2],
    /// Median of the service time without tracing.
    pub p50_off: Nanos,
    /// Its 95th percentile without tracing.
    pub p95_off: Nanos,
    /// Median of the service time, on over off.
    pub p50: Ratio,
    /// 95th percentile of the service time, on over off.
    pub p95: Ratio,
    /// Requests per second, on over off: in the closed model what tracing takes of the capacity.
    pub rate: Ratio,
}
