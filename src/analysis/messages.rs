//! What was said within a step's exchanges that carry more than a request and its answer.

use super::codec::codec;
use super::result::MessageResult;
use crate::record::{Exchange, Nanos};
use crate::stats::Histogram;

/// Sums over a step's exchanges with messages.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageTally {
    pub exchanges: u64,
    pub sent: u64,
    pub received: u64,
    /// From sending the request to the first message.
    pub first: Histogram,
    pub longest_gap: u64,
    pub round_trips: u64,
    pub round_trip_total: u64,
    pub round_trip_longest: u64,
}

codec!(MessageTally {
    exchanges,
    sent,
    received,
    first,
    longest_gap,
    round_trips,
    round_trip_total,
    round_trip_longest,
});

impl MessageTally {
    /// Counts an exchange.
    pub fn exchange(&mut self, exchange: &Exchange) {
        let Some(messages) = &exchange.messages else { return };
        self.exchanges += 1;
        self.sent += u64::from(messages.sent);
        self.received += u64::from(messages.received);
        if let Some(first) = messages.first {
            self.first.record(first.since(exchange.phases.sent.unwrap_or(exchange.phases.start)));
        }
        self.longest_gap = self.longest_gap.max(messages.longest_gap.0);
        self.round_trips += u64::from(messages.round_trips);
        self.round_trip_total = self.round_trip_total.saturating_add(messages.round_trip_total.0);
        self.round_trip_longest = self.round_trip_longest.max(messages.round_trip_longest.0);
    }

    pub fn merge(&mut self, other: &MessageTally) {
        self.exchanges += other.exchanges;
        self.sent += other.sent;
        self.received += other.received;
        self.first.merge(&other.first);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self.round_trips += other.round_trips;
        self.round_trip_total = self.round_trip_total.saturating_add(other.round_trip_total);
        self.round_trip_longest = self.round_trip_longest.max(other.round_trip_longest);
    }

    /// As the report has it; nothing where no exchange has messages.
    pub fn result(self) -> Option<MessageResult> {
        let mean = self.round_trip_total.checked_div(self.round_trips);
        (self.exchanges > 0).then_some(MessageResult {
            exchanges: self.exchanges,
            sent: self.sent,
            received: self.received,
            first: self.first,
            longest_gap: Nanos(self.longest_gap),
            round_trips: mean.map(|mean| (self.round_trips, Nanos(mean), Nanos(self.round_trip_longest))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::codec::Codec as _;
    use crate::record::{Messages, Timestamp};

    fn exchange(n: u64) -> Exchange {
        let mut exchange = crate::analysis::testing::exchange(1, 0, 1_000);
        exchange.phases.sent = Some(Timestamp(1_000));
        exchange.messages = Some(Box::new(Messages {
            sent: 2,
            received: n as u32,
            first: (n > 0).then_some(Timestamp(1_000 + 1_000_000 * n)),
            longest_gap: Nanos(n),
            round_trips: 2,
            round_trip_total: Nanos(10 * n),
            round_trip_longest: Nanos(7 * n),
        }));
        exchange
    }

    #[test]
    fn sums_are_the_same_in_any_parts_and_after_being_written() {
        let mut whole = MessageTally::default();
        let mut parts = [MessageTally::default(), MessageTally::default()];
        for n in 0..10 {
            whole.exchange(&exchange(n));
            parts[n as usize % 2].exchange(&exchange(n));
        }
        let [mut left, right] = parts;
        left.merge(&right);
        let mut bytes = Vec::new();
        left.put(&mut bytes);
        let read = MessageTally::take(&mut &bytes[..]).unwrap().result().unwrap();
        let whole = whole.result().unwrap();
        assert_eq!(format!("{read:?}"), format!("{whole:?}"));
        assert_eq!((whole.exchanges, whole.sent, whole.received, whole.first.len()), (10, 20, 45, 9));
        assert_eq!(whole.round_trips, Some((20, Nanos(22), Nanos(63))));
        assert!(MessageTally::default().result().is_none());
    }
}
