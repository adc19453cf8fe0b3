//! The receiver's books. Every span that came in is stored, rejected, dropped or a duplicate.

use crate::record::{ReceiverFacts, SignalFacts};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only this module changes.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes up to `n` away and gives what was taken.
    fn take(&self, n: u64) -> u64 {
        let taken = self.get().min(n);
        self.0.fetch_sub(taken, Ordering::Relaxed);
        taken
    }
}

/// Counters of metrics or of logs.
#[derive(Debug, Default)]
pub(super) struct SignalLedger {
    pub requests: Counter,
    pub received: Counter,
    pub stored: Counter,
    pub dropped: Counter,
}

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub requests: Counter,
    pub spans_received: Counter,
    pub spans_stored: Counter,
    pub spans_rejected: Counter,
    pub spans_duplicate: Counter,
    /// Not stored because they could not be written.
    pub unwritten: Counter,
    /// Not stored because their owner had ended.
    pub at_end: Counter,
    pub bad_requests: Counter,
    pub metrics: SignalLedger,
    pub logs: SignalLedger,
}

impl Ledger {
    /// Spans that had been counted as stored were lost after all.
    pub fn lost_after_ack(&self, spans: u64) {
        self.unwritten.add(self.spans_stored.take(spans));
    }

    pub fn facts(&self) -> ReceiverFacts {
        let signal = |ledger: &SignalLedger| SignalFacts {
            requests: ledger.requests.get(),
            received: ledger.received.get(),
            stored: ledger.stored.get(),
            dropped: ledger.dropped.get(),
        };
        ReceiverFacts {
            requests: self.requests.get(),
            spans_received: self.spans_received.get(),
            spans_stored: self.spans_stored.get(),
            spans_rejected: self.spans_rejected.get(),
            spans_duplicate: self.spans_duplicate.get(),
            spans_dropped: self.unwritten.get() + self.at_end.get(),
            dropped_at_end: self.at_end.get(),
            bad_requests: self.bad_requests.get(),
            metrics: signal(&self.metrics),
            logs: signal(&self.logs),
            ..ReceiverFacts::default()
        }
    }
}
