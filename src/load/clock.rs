//! The run's one clock: wall-clock anchor plus monotonic intervals.

use crate::record::Timestamp;
use std::cell::Cell;
#[cfg(not(unix))]
use std::time::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads the time. All copies agree: the wall clock was read once.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What is added to the monotonic clock.
    #[cfg(unix)]
    anchor: u64,
    #[cfg(not(unix))]
    anchor: (Instant, u64),
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        #[cfg(unix)]
        let anchor = wall.wrapping_sub(monotonic());
        #[cfg(not(unix))]
        let anchor = (Instant::now(), wall);
        Clock { anchor }
    }

    /// Now. Costs one look at the monotonic clock (about 20 ns).
    #[inline]
    pub fn now(&self) -> Timestamp {
        #[cfg(unix)]
        {
            Timestamp(self.anchor.wrapping_add(monotonic()))
        }
        #[cfg(not(unix))]
        {
            Timestamp(self.anchor.1 + self.anchor.0.elapsed().as_nanos() as u64)
        }
    }
}

/// The clock that [`std::time::Instant`] goes by, in nanoseconds. To find out what lies between two of those takes some
/// sixty instructions with every look.
#[cfg(unix)]
#[inline]
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
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
    fn all_copies_agree_with_the_wall_clock_and_with_intervals() {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let before = wall();
        let clock = Clock::start();
        let other = clock;
        let (first, since) = (clock.now(), std::time::Instant::now());
        // A machine whose wall clock is set meanwhile is another matter; a second is more than any of these lines takes.
        assert!(before <= first.0 && first.0 <= wall() + 1_000_000_000);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let (passed, told) = (since.elapsed().as_nanos() as u64, other.now().since(first).0);
        assert!(told >= passed && other.now().0 - first.0 >= 5_000_000, "{passed} and {told} ns");
    }

    #[test]
    fn what_has_passed_is_known_without_a_look() {
        let clock = ThreadClock::new(Clock::start());
        let now = clock.now();
        assert_eq!((clock.told(), clock.now_before(now)), (now, None));
        let later = now + Nanos::from_millis(3_600_000);
        assert!(clock.now_before(later).is_some_and(|at| now <= at && at == clock.told()));
    }
}
