//! Numbers: mergeable histograms and what is read from them. Knows nothing of requests or spans.

mod histogram;
mod random;
mod segments;
mod trend;
mod usl;

pub use histogram::{Histogram, Quantiles};
pub use random::Random;
pub use segments::stretches;
pub use trend::{Trend, median, normal_cdf, trend, warm_up};
pub use usl::Usl;
