//! How long to wait for late spans after the load: a pure function of what has come and of the time that is passed in.

use super::join::JoinTracker;
use crate::record::{Nanos, Timestamp, WaitEnd, WaitFacts};
use std::fmt;

/// When to stop waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitPolicy {
    /// Stop when nothing has come for this long. SDKs send what they have every 5 s by default.
    pub quiet: Nanos,
    /// Stop after this long in any case.
    pub deadline: Nanos,
    /// When all is there, look this much longer for stragglers.
    pub settle: Nanos,
}

impl Default for WaitPolicy {
    fn default() -> WaitPolicy {
        WaitPolicy {
            quiet: Nanos::from_millis(6_000),
            deadline: Nanos::from_millis(30_000),
            settle: Nanos::from_millis(300),
        }
    }
}

/// The wait that begins when the load ends.
#[derive(Clone, Copy, Debug)]
pub struct LateSpanWait {
    policy: WaitPolicy,
    began: Timestamp,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStep {
    /// Go on; nothing can change before `at_most` has passed unless spans come.
    Wait {
        /// What is still missing, for people.
        waiting: Waiting,
        /// Ask again after this long at the latest.
        at_most: Nanos,
    },
    /// Stop.
    Done(WaitFacts),
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Server spans of exchanges.
    Exchanges {
        /// Exchanges without a server span.
        missing: u64,
        /// Traced exchanges.
        traced: u64,
    },
    /// Every exchange has its server span, but these many processes may still hold others back.
    Senders(usize),
    /// All is there; a last look for stragglers.
    Stragglers,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Exchanges { missing, traced } => {
                write!(f, "waiting for the server spans of {missing} of {traced} requests")
            }
            Waiting::Senders(1) => f.write_str("waiting for the last spans of 1 process"),
            Waiting::Senders(n) => write!(f, "waiting for the last spans of {n} processes"),
            Waiting::Stragglers => f.write_str("waiting for stragglers"),
        }
    }
}

impl LateSpanWait {
    /// A wait that begins now, at the end of the load.
    pub fn new(policy: WaitPolicy, now: Timestamp) -> LateSpanWait {
        LateSpanWait { policy, began: now }
    }

    /// Whether to go on.
    pub fn poll(&self, now: Timestamp, tracker: &JoinTracker) -> WaitStep {
        let waited = now.since(self.began);
        let silent = now.since(tracker.last_arrival().unwrap_or_default().max(self.began));
        let unsettled = tracker.unsettled_since(self.began, now, self.policy.quiet);
        let end = match (tracker.pending(), unsettled) {
            _ if tracker.traced() == 0 => Some(WaitEnd::Complete),
            // Work of the service's own goes on, and its spans: they are none of ours.
            (0, 0) if silent >= self.policy.settle || waited >= self.policy.quiet => Some(WaitEnd::Complete),
            _ if silent >= self.policy.quiet => Some(WaitEnd::Quiet),
            _ if waited >= self.policy.deadline => Some(WaitEnd::Deadline),
            _ => None,
        };
        if let Some(end) = end {
            return WaitStep::Done(self.facts(now, tracker, end));
        }
        let (waiting, patience) = match (tracker.pending(), unsettled) {
            (0, 0) => (Waiting::Stragglers, self.policy.settle),
            (0, n) => (Waiting::Senders(n), self.policy.quiet),
            (missing, _) => (Waiting::Exchanges { missing, traced: tracker.traced() }, self.policy.quiet),
        };
        let left = |all: Nanos, spent: Nanos| Nanos(all.0.saturating_sub(spent.0));
        let at_most = left(patience, silent).min(left(self.policy.deadline, waited));
        WaitStep::Wait { waiting, at_most }
    }

    /// The user does not want to wait.
    pub fn interrupt(&self, now: Timestamp, tracker: &JoinTracker) -> WaitFacts {
        self.facts(now, tracker, WaitEnd::Interrupted)
    }

    fn facts(&self, now: Timestamp, tracker: &JoinTracker, end: WaitEnd) -> WaitFacts {
        WaitFacts { waited: now.since(self.began), end, joined: tracker.joined(), traced: tracker.traced() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SpanId, SpanKind, TraceId};
    use crate::wire::otlp::{ScanResult, Sender, SpanKey};

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_000_000 * MS + ms * MS)
    }

    fn arrive(tracker: &mut JoinTracker, n: u8, resource: u64, ms: u64) {
        let key = SpanKey {
            trace_id: TraceId([n; 16]),
            span_id: SpanId([99; 8]),
            parent_id: Some(SpanId([n; 8])),
            kind: SpanKind::Server,
            start: Timestamp(0),
        };
        let senders = vec![Sender { resource, spans: 1 }];
        tracker.spans(&ScanResult { spans: 1, invalid: 0, keys: vec![key], senders }, at(ms));
    }

    fn two_sent() -> (LateSpanWait, JoinTracker) {
        let mut tracker = JoinTracker::new();
        for n in [1, 2] {
            tracker.sent(TraceId([n; 16]), SpanId([n; 8]));
        }
        (LateSpanWait::new(WaitPolicy::default(), at(0)), tracker)
    }

    fn waits_for(step: WaitStep) -> (String, u64) {
        match step {
            WaitStep::Wait { waiting, at_most } => (waiting.to_string(), at_most.0 / MS),
            WaitStep::Done(facts) => panic!("{facts:?}"),
        }
    }

    fn done(step: WaitStep) -> WaitFacts {
        match step {
            WaitStep::Done(facts) => facts,
            WaitStep::Wait { waiting, .. } => panic!("{waiting}"),
        }
    }

    #[test]
    fn it_ends_soon_after_the_last_span() {
        let (wait, mut tracker) = two_sent();
        let missing = "waiting for the server spans of 2 of 2 requests";
        assert_eq!(waits_for(wait.poll(at(1), &tracker)), (missing.into(), 5_999));
        arrive(&mut tracker, 1, 1, 500);
        arrive(&mut tracker, 2, 1, 4_000);
        assert_eq!(waits_for(wait.poll(at(4_100), &tracker)), ("waiting for stragglers".into(), 200));
        let facts = done(wait.poll(at(4_300), &tracker));
        let expected = WaitFacts { waited: Nanos(4_300 * MS), end: WaitEnd::Complete, joined: 2, traced: 2 };
        assert_eq!(facts, expected);
    }

    #[test]
    fn a_process_that_was_heard_before_may_still_hold_spans_back() {
        let (wait, mut tracker) = two_sent();
        // The inner service sent its last batch before the load ended, the outer one after.
        tracker.spans(
            &ScanResult {
                spans: 1,
                senders: vec![Sender { resource: 2, spans: 1 }],
                ..ScanResult::default()
            },
            Timestamp(at(0).0 - 1),
        );
        arrive(&mut tracker, 1, 1, 100);
        arrive(&mut tracker, 2, 1, 100);
        let text = "waiting for the last spans of 1 process";
        assert_eq!(waits_for(wait.poll(at(3_000), &tracker)), (text.into(), 3_100));
        arrive(&mut tracker, 50, 2, 4_500);
        assert_eq!(done(wait.poll(at(4_800), &tracker)).end, WaitEnd::Complete);
    }

    #[test]
    fn what_a_process_does_besides_holds_nothing_up() {
        let (wait, mut tracker) = two_sent();
        // One process sent spans at its start and no more; the other answers, and has work of its own all the time.
        let before =
            ScanResult { spans: 1, senders: vec![Sender { resource: 2, spans: 1 }], ..ScanResult::default() };
        tracker.spans(&before, Timestamp(at(0).0 - 1));
        for ms in (100..6_000).step_by(100) {
            arrive(&mut tracker, if ms == 100 { 1 } else { 2 }, 1, ms);
            assert!(matches!(wait.poll(at(ms), &tracker), WaitStep::Wait { .. }), "{ms}");
        }
        let facts = done(wait.poll(at(6_000), &tracker));
        assert_eq!((facts.end, facts.joined), (WaitEnd::Complete, 2));
    }

    #[test]
    fn silence_ends_it() {
        let (wait, mut tracker) = two_sent();
        arrive(&mut tracker, 1, 1, 3_000);
        assert_eq!(waits_for(wait.poll(at(8_999), &tracker)).1, 1);
        let facts = done(wait.poll(at(9_000), &tracker));
        assert_eq!((facts.end, facts.joined, facts.traced), (WaitEnd::Quiet, 1, 2));
        // Nothing at all ever came: six seconds, not thirty.
        let (wait, tracker) = two_sent();
        assert_eq!(done(wait.poll(at(6_000), &tracker)).end, WaitEnd::Quiet);
    }

    #[test]
    fn the_deadline_ends_it_while_spans_still_come() {
        let (wait, mut tracker) = two_sent();
        for ms in (0..=30_000).step_by(1_000) {
            arrive(&mut tracker, 77, 1, ms);
        }
        assert_eq!(waits_for(wait.poll(at(29_999), &tracker)).1, 1);
        assert_eq!(done(wait.poll(at(30_000), &tracker)).end, WaitEnd::Deadline);
    }

    #[test]
    fn nothing_traced_needs_no_wait() {
        let wait = LateSpanWait::new(WaitPolicy::default(), at(0));
        assert_eq!(done(wait.poll(at(0), &JoinTracker::new())).end, WaitEnd::Complete);
        let (wait, tracker) = two_sent();
        assert_eq!(wait.interrupt(at(5), &tracker).end, WaitEnd::Interrupted);
    }
}
