//! Presence of users in the closed model: who is there when.

use crate::record::Nanos;

/// Presence of users in the closed model.
#[derive(Clone, Debug, Default)]
pub struct Users {
    changes: Vec<Change>,
}

/// From `start`, within `ramp`, the number of users goes linearly from `from` to `to`.
#[derive(Clone, Copy, Debug)]
struct Change {
    start: u64,
    ramp: u64,
    from: u32,
    to: u32,
}

impl Change {
    /// When user `n` comes or goes, if it does in this change.
    fn at(&self, n: u32) -> Option<(u64, Presence)> {
        let (low, high) = (self.from.min(self.to), self.from.max(self.to));
        if !(low..high).contains(&n) {
            return None;
        }
        let count = u128::from(high - low);
        let (position, presence) = if self.to > self.from {
            // The first comes at once, the others at equal distances.
            (u128::from(n - low), Presence::Comes)
        } else {
            // The last to have come goes first; the number is reached when the ramp ends.
            (u128::from(high - n), Presence::Goes)
        };
        Some((self.start + (u128::from(self.ramp) * position / count) as u64, presence))
    }
}

impl Change {
    /// Whether so many have come by then.
    fn has_come(&self, n: u32, at: Nanos) -> bool {
        n == 0 || self.from + n <= self.to && self.at(self.from + n - 1).is_some_and(|(t, _)| t <= at.0)
    }

    /// Whether so many have gone by then.
    fn has_gone(&self, n: u32, at: Nanos) -> bool {
        n == 0 || self.to + n <= self.from && self.at(self.from - n).is_some_and(|(t, _)| t <= at.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Comes,
    Goes,
}

impl Users {
    pub(super) fn change(&mut self, start: Nanos, from: u32, to: u32, ramp: Nanos) {
        if from != to {
            self.changes.push(Change { start: start.0, ramp: ramp.0, from, to });
        }
    }

    /// Most users at once: users are numbered from 0 below this.
    pub fn most(&self) -> u32 {
        self.changes.iter().map(|c| c.to).max().unwrap_or_default()
    }

    /// When user `n` is present: half-open intervals, in order.
    pub fn intervals(&self, n: u32) -> Vec<(Nanos, Nanos)> {
        let mut intervals = Vec::new();
        let mut since = None;
        for (at, presence) in self.changes.iter().filter_map(|c| c.at(n)) {
            match (presence, since) {
                (Presence::Comes, _) => since = Some(at),
                (Presence::Goes, Some(start)) => {
                    if at > start {
                        intervals.push((Nanos(start), Nanos(at)));
                    }
                    since = None;
                }
                (Presence::Goes, None) => {}
            }
        }
        intervals
    }

    /// How many users are present at a time: those with a number below it.
    pub fn present(&self, at: Nanos) -> u32 {
        let Some(change) = self.changes.iter().rev().find(|c| c.start <= at.0) else { return 0 };
        let count = u128::from(change.from.abs_diff(change.to));
        let since = u128::from((at.0 - change.start).min(change.ramp));
        let done = if change.ramp == 0 { count } else { since * count / u128::from(change.ramp) } as u32;
        if change.to > change.from {
            // The first comes at once; by rounding down, the n-th is there from its nanosecond on.
            let come = (0..=1).map(|more| done + more).filter(|n| change.has_come(*n, at)).max().unwrap_or(0);
            change.from + come
        } else {
            let gone = (0..=1).map(|more| done + more).filter(|n| change.has_gone(*n, at)).max().unwrap_or(0);
            change.from - gone
        }
    }
}
