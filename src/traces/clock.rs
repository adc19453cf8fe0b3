//! Wall-clock moments that never step back: the wall clock is read once, the rest is monotonic.

use crate::record::{Nanos, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// An anchor and the time since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    anchor: Timestamp,
    at: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { anchor: Timestamp(since_epoch.as_nanos() as u64), at: Instant::now() }
    }

    pub fn now(&self) -> Timestamp {
        self.anchor + Nanos(self.at.elapsed().as_nanos() as u64)
    }
}
