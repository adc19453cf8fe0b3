//! What was said within one exchange that carries more than a request and its answer: streams of an RPC, conversations over
//! a WebSocket, server-sent events.

use super::{Nanos, Timestamp};

/// The messages of one exchange, counted and timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Messages sent, control frames apart.
    pub sent: u32,
    /// Messages or events received, control frames and comments apart.
    pub received: u32,
    /// When the first of them had come whole.
    pub first: Option<Timestamp>,
    /// The longest time between two that came one after the other.
    pub longest_gap: Nanos,
    /// How often an answer to a message was waited for and came.
    pub round_trips: u32,
    /// From each such message to its answer, added up.
    pub round_trip_total: Nanos,
    /// The longest of them.
    pub round_trip_longest: Nanos,
}

impl Messages {
    /// Counts a message or event that came whole at `now`, the one before at `before`.
    pub fn came(&mut self, now: Timestamp, before: Option<Timestamp>) {
        self.received = self.received.saturating_add(1);
        self.first.get_or_insert(now);
        if let Some(before) = before {
            self.longest_gap = self.longest_gap.max(now.since(before));
        }
    }

    /// Counts an answer that was waited for.
    pub fn answered(&mut self, took: Nanos) {
        self.round_trips = self.round_trips.saturating_add(1);
        self.round_trip_total = Nanos(self.round_trip_total.0.saturating_add(took.0));
        self.round_trip_longest = self.round_trip_longest.max(took);
    }
}
