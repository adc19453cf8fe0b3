//! Numbers: mergeable histograms and what is read from them. Knows nothing of requests or spans.

mod histogram;

pub use histogram::{Histogram, Quantiles};
