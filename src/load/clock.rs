//! The run's one clock: wall-clock anchor plus monotonic intervals.

use crate::record::Timestamp;
use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the time. All copies agree: the wall clock was read once.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    anchor: u64,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Clock {
        let anchor = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { base: Instant::now(), anchor: u64::try_from(anchor.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Now. Costs one look at the monotonic clock (about 20 ns).
    pub fn now(&self) -> Timestamp {
        Timestamp(self.anchor + self.base.elapsed().as_nanos() as u64)
    }
}

/// One thread's clock. It remembers what it told last: who only asks whether a moment has passed mostly need not look again,
/// which is a tenth of what a request costs beside its system calls.
#[derive(Clone, Debug)]
pub struct ThreadClock {
    clock: Clock,
    told: Cell<Timestamp>,
}

impl ThreadClock {
    /// The run's clock, on this thread.
    pub fn new(clock: Clock) -> ThreadClock {
        ThreadClock { clock, told: Cell::new(Timestamp(0)) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let now = self.clock.now();
        self.told.set(now);
        now
    }

    /// What it told last: a moment that has passed for sure.
    pub fn told(&self) -> Timestamp {
        self.told.get()
    }

    /// Now, unless `at` is known to have passed: then nothing.
    pub fn now_before(&self, at: Timestamp) -> Option<Timestamp> {
        if at <= self.told.get() {
            return None;
        }
        Some(self.now()).filter(|now| *now < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Nanos;

    #[test]
    fn what_has_passed_is_known_without_a_look() {
        let clock = ThreadClock::new(Clock::start());
        let now = clock.now();
        assert_eq!((clock.told(), clock.now_before(now)), (now, None));
        let later = now + Nanos::from_millis(3_600_000);
        assert!(clock.now_before(later).is_some_and(|at| now <= at && at == clock.told()));
    }
}
