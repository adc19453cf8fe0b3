//! Changing a load while it runs: whoever holds the controller changes the timeline, and every load thread follows the same
//! one. A change takes effect a little after it is made, at a moment that all threads have yet to reach; so each computes
//! the same due times, and the schedule stays exact.

use super::schedule::{Change, Timeline};
use crate::record::{Nanos, Timestamp};
use tokio::sync::watch;

/// How far ahead of now a change is made. A thread that is late by more than this still agrees with the others as long as
/// it has sent nothing that was due later.
pub const LEAD: Nanos = Nanos::from_millis(100);

/// Changes a load.
#[derive(Clone, Debug)]
pub struct Controller {
    timeline: watch::Sender<Timeline>,
}

/// What a load follows.
#[derive(Clone, Debug)]
pub struct ControlSignal {
    pub(super) timeline: watch::Receiver<Timeline>,
}

/// A controller and what it acts upon. Load begins with that factor, in millionths.
pub fn control_channel(factor: u32) -> (Controller, ControlSignal) {
    let (sender, receiver) = watch::channel(Timeline::with_factor(factor));
    (Controller { timeline: sender }, ControlSignal { timeline: receiver })
}

impl Controller {
    /// Changes the load that began at `begin`, as soon as all threads can follow. Gives the moment, from the beginning.
    pub fn change(&self, begin: Timestamp, now: Timestamp, change: Change) -> Nanos {
        let at = now.since(begin) + LEAD;
        self.timeline.send_modify(|timeline| timeline.change(at, change));
        at
    }

    /// All changes so far.
    pub fn timeline(&self) -> Timeline {
        self.timeline.borrow().clone()
    }
}
