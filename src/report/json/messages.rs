//! What was said within a step's exchanges.

use super::step::Latency;
use super::value::nanos;
use crate::analysis::result::MessageResult;
use serde::Serialize;

/// Messages of a step.
#[derive(Serialize)]
pub struct MessagesJson {
    exchanges: u64,
    sent: u64,
    received: u64,
    first_ms: Option<Latency>,
    longest_gap_ms: f64,
    round_trips: Option<RoundTrips>,
}

#[derive(Serialize)]
struct RoundTrips {
    count: u64,
    mean_ms: f64,
    max_ms: f64,
}

impl MessagesJson {
    /// As the document has them.
    pub fn new(result: &MessageResult) -> MessagesJson {
        MessagesJson {
            exchanges: result.exchanges,
            sent: result.sent,
            received: result.received,
            first_ms: (!result.first.is_empty()).then(|| Latency::new(&result.first.quantiles())),
            longest_gap_ms: nanos(result.longest_gap),
            round_trips: result.round_trips.map(|(count, mean, longest)| RoundTrips {
                count,
                mean_ms: nanos(mean),
                max_ms: nanos(longest),
            }),
        }
    }
}
