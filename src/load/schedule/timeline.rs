//! How a schedule was changed while it ran: paused, gone on with, moved to another stage, made larger or smaller.
//!
//! A timeline is pure data like the schedule itself. Who has the same changes knows the same due times, however late it
//! is: load threads need not agree on anything but the list.

use crate::record::Nanos;

/// A factor of one, in millionths.
pub const ONE: u32 = 1_000_000;

/// A stretch of the run in which the schedule goes on, or stands, in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When it begins, from the start of the load.
    pub real: Nanos,
    /// Where the schedule stands then.
    pub schedule: Nanos,
    /// What rates and numbers of users are multiplied by, in millionths; never 0.
    pub factor: u32,
    /// Whether the schedule goes on; while it stands nothing arrives, and no user walks.
    pub moving: bool,
}

/// A change of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Rates and numbers of users times this many millionths, of the schedule's own.
    Factor(u32),
    /// The schedule stands.
    Pause,
    /// It goes on.
    Resume,
    /// It goes on from there at once.
    Jump(Nanos),
}

/// All changes so far, as the stretches between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    pieces: Vec<Piece>,
}

impl Default for Timeline {
    /// The schedule as it is.
    fn default() -> Timeline {
        Timeline::with_factor(ONE)
    }
}

impl Piece {
    /// Where the schedule stands at a moment of this stretch.
    fn at(&self, real: Nanos) -> Nanos {
        if self.moving { self.schedule + Nanos(real.0.saturating_sub(self.real.0)) } else { self.schedule }
    }
}

impl Timeline {
    /// The schedule from its beginning, with all rates and users times that many millionths.
    pub fn with_factor(factor: u32) -> Timeline {
        let start = Piece { real: Nanos::ZERO, schedule: Nanos::ZERO, factor: factor.max(1), moving: true };
        Timeline { pieces: vec![start] }
    }

    /// The stretches in order; the first begins with the load.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The stretch that a moment belongs to.
    pub fn piece_at(&self, real: Nanos) -> Piece {
        let next = self.pieces.partition_point(|p| p.real <= real);
        self.pieces[next.saturating_sub(1)]
    }

    /// Where the schedule stands at a moment of the run.
    pub fn schedule_at(&self, real: Nanos) -> Nanos {
        self.piece_at(real).at(real)
    }

    /// When the schedule reaches its end as things stand; `None` while it is paused.
    pub fn end(&self, schedule_end: Nanos) -> Option<Nanos> {
        let last = self.pieces[self.pieces.len() - 1];
        last.moving.then(|| last.real + Nanos(schedule_end.0.saturating_sub(last.schedule.0)))
    }

    /// The timeline as it is known when the changes up to and with `real` are.
    #[cfg(test)]
    pub fn until(&self, real: Nanos) -> Timeline {
        Timeline { pieces: self.pieces.iter().filter(|p| p.real <= real).copied().collect() }
    }

    /// Changes the load from `real` on, which is not before the last change.
    pub fn change(&mut self, real: Nanos, change: Change) {
        let last = self.pieces[self.pieces.len() - 1];
        let real = real.max(last.real);
        let mut next = Piece { real, schedule: last.at(real), ..last };
        match change {
            Change::Factor(millionths) => next.factor = millionths.max(1),
            Change::Pause => next.moving = false,
            Change::Resume => next.moving = true,
            Change::Jump(to) => next.schedule = to.max(next.schedule),
        }
        if next.real == last.real && self.pieces.len() > 1 {
            self.pieces.pop();
        }
        self.pieces.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_moves_all_that_comes_after_it() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.end(Nanos(100)), Some(Nanos(100)));
        timeline.change(Nanos(10), Change::Pause);
        assert_eq!((timeline.schedule_at(Nanos(50)), timeline.end(Nanos(100))), (Nanos(10), None));
        timeline.change(Nanos(50), Change::Resume);
        assert_eq!(
            (timeline.schedule_at(Nanos(60)), timeline.end(Nanos(100))),
            (Nanos(20), Some(Nanos(140)))
        );
        timeline.change(Nanos(70), Change::Jump(Nanos(90)));
        assert_eq!((timeline.schedule_at(Nanos(75)), timeline.end(Nanos(100))), (Nanos(95), Some(Nanos(80))));
        timeline.change(Nanos(75), Change::Jump(Nanos(5)));
        assert_eq!(timeline.schedule_at(Nanos(75)), Nanos(95), "the schedule never goes back");
        assert_eq!([0, 10, 49, 50, 71].map(|t| timeline.schedule_at(Nanos(t)).0), [0, 10, 10, 10, 91]);
    }
}
