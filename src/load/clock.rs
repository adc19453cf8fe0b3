//! The run's one clock: wall-clock anchor plus monotonic intervals.

use crate::record::Timestamp;
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
