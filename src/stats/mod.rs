//! Numbers: mergeable histograms and what is read from them. Knows nothing of requests or spans.

pub mod changepoint;
mod histogram;
mod moderated;
mod random;
mod segments;
mod student;
mod testing;
mod trend;
mod usl;

pub use histogram::{Histogram, Quantiles};
pub use moderated::Prior;
pub use random::Random;
pub use segments::stretches;
pub use student::{t_above, t_quantile};
pub use testing::{benjamini_hochberg, down_the_tree, simes};
pub use trend::{Trend, median, normal_cdf, trend, warm_up};
pub use usl::Usl;
