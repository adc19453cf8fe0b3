//! When load is due: pure functions from an arrival's number to its time and from a user's number to its presence.
//!
//! Nothing here reads a clock or sleeps. All arithmetic is in integers, so that a due time is the same on every machine
//! and a ramp never loses or gains an arrival by rounding.

use crate::record::Nanos;
use crate::scenario::{Rate, Stage};

/// The whole schedule of a scenario: offsets from the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Arrivals of the open stages.
    pub arrivals: Arrivals,
    /// Presence of users in the closed stages.
    pub users: Users,
    /// When each stage ends.
    stage_ends: Vec<Nanos>,
}

impl Schedule {
    /// The schedule that stages in order stand for.
    pub fn new(stages: &[Stage]) -> Schedule {
        let mut arrivals = Arrivals::default();
        let mut users = Users::default();
        let mut stage_ends = Vec::with_capacity(stages.len());
        let mut at = Nanos::ZERO;
        let (mut rate_before, mut users_before) = (Rate::default(), 0);
        for stage in stages {
            match *stage {
                Stage::Rate { rate, ramp, hold } => {
                    users.change(at, users_before, 0, Nanos::ZERO);
                    users_before = 0;
                    arrivals.push(at, ramp, rate_before, rate);
                    arrivals.push(at + ramp, hold, rate, rate);
                    rate_before = rate;
                }
                Stage::Users { users: wanted, ramp, .. } => {
                    rate_before = Rate::default();
                    users.change(at, users_before, wanted, ramp);
                    users_before = wanted;
                }
            }
            at += stage.duration();
            stage_ends.push(at);
        }
        users.change(at, users_before, 0, Nanos::ZERO);
        Schedule { arrivals, users, stage_ends }
    }

    /// When load ends.
    pub fn end(&self) -> Nanos {
        self.stage_ends.last().copied().unwrap_or_default()
    }

    /// Index of the stage at a time; the last one for ever after.
    pub fn stage_at(&self, at: Nanos) -> usize {
        self.stage_ends.partition_point(|end| *end <= at).min(self.stage_ends.len().saturating_sub(1))
    }
}

/// One arrival in the unit that work is counted in: a billionth of an arrival per 10⁹ seconds, for a nanosecond.
const ARRIVAL: u128 = 1_000_000_000_000_000_000;

/// Arrivals of the open model. The n-th (from 0) is due when the integral of the rate reaches n.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    segments: Vec<Segment>,
}

/// A stretch in which the rate changes linearly.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    length: u64,
    from: u64,
    to: u64,
    /// Work done before it.
    before: u128,
}

impl Segment {
    /// Work done within the first `t` nanoseconds: the integral of the rate, rounded down.
    fn work(&self, t: u64) -> u128 {
        let (t, length) = (u128::from(t), u128::from(self.length));
        let base = u128::from(self.from) * t;
        // change · t² / (2 · length), divided first so that nothing overflows even for a year of a million per second.
        let change = u128::from(self.from.abs_diff(self.to));
        let (square, twice) = (t * t, 2 * length);
        let (whole, rest) = ((square / twice) * change, (square % twice) * change);
        if self.to >= self.from { base + whole + rest / twice } else { base - whole - rest.div_ceil(twice) }
    }

    /// The first nanosecond at which `work` is done. Only for work that is done within the segment.
    fn time_of(&self, work: u128) -> u64 {
        if self.from == self.to {
            return u64::try_from(work.div_ceil(u128::from(self.from).max(1))).unwrap_or(u64::MAX);
        }
        // The root of the quadratic in floating point is right to some nanoseconds; integers settle the rest.
        let (from, to, length) = (self.from as f64, self.to as f64, self.length as f64);
        let slope = (to - from) / length;
        let root = (from * from + 2.0 * slope * work as f64).max(0.0).sqrt();
        let guess = 2.0 * work as f64 / (from + root);
        let mut t = if guess.is_finite() { (guess as u64).min(self.length) } else { 0 };
        let mut step = 1u64;
        while self.work(t) < work && t < self.length {
            t = t.saturating_add(step).min(self.length);
            step = step.saturating_mul(2);
        }
        // Now work(t) >= work: the first such moment is between 0 and t, and near t.
        let (mut low, mut back) = (t, 1u64);
        while low > 0 && self.work(low) >= work {
            low = low.saturating_sub(back);
            back = back.saturating_mul(2);
        }
        let mut high = t;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.work(middle) >= work { high = middle } else { low = middle + 1 }
        }
        high
    }
}

impl Arrivals {
    fn push(&mut self, start: Nanos, length: Nanos, from: Rate, to: Rate) {
        let before = self.segments.last().map_or(0, |s| s.before + s.work(s.length));
        if length > Nanos::ZERO {
            let (from, to) = (from.per_billion_seconds, to.per_billion_seconds);
            self.segments.push(Segment { start: start.0, length: length.0, from, to, before });
        }
    }

    /// How many arrivals there are.
    pub fn count(&self) -> u64 {
        let work = self.segments.last().map_or(0, |s| s.before + s.work(s.length));
        // Arrival n is due when n arrivals' worth is done, before the end: the one at the very end is not.
        u64::try_from(work.div_ceil(ARRIVAL)).unwrap_or(u64::MAX)
    }

    /// When arrival `n` (from 0) is due; `None` past the last.
    pub fn due(&self, n: u64) -> Option<Nanos> {
        if n >= self.count() {
            return None;
        }
        let work = u128::from(n) * ARRIVAL;
        // The last segment that begins with no more than this much work done and still does some.
        let index = self.segments.partition_point(|s| s.before <= work).checked_sub(1)?;
        let segment = self.segments[..=index].iter().rev().find(|s| s.from > 0 || s.to > 0)?;
        Some(Nanos(segment.start + segment.time_of(work - segment.before)))
    }
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Comes,
    Goes,
}

impl Users {
    fn change(&mut self, start: Nanos, from: u32, to: u32, ramp: Nanos) {
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

    /// How many users are present at a time.
    pub fn present(&self, at: Nanos) -> u32 {
        let mut present = 0;
        for change in self.changes.iter().take_while(|c| c.start <= at.0) {
            let (low, high) = (change.from.min(change.to), change.from.max(change.to));
            let done = (low..high).filter(|n| change.at(*n).is_some_and(|(t, _)| t <= at.0)).count() as u32;
            present = if change.to > change.from { change.from + done } else { change.from - done };
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_second: u64, ramp_s: u64, hold_s: u64) -> Stage {
        Stage::Rate {
            rate: Rate::per_second(per_second),
            ramp: Nanos(ramp_s * SECOND),
            hold: Nanos(hold_s * SECOND),
        }
    }

    fn users(users: u32, ramp_s: u64, hold_s: u64) -> Stage {
        Stage::Users { users, ramp: Nanos(ramp_s * SECOND), hold: Nanos(hold_s * SECOND) }
    }

    fn due(stages: &[Stage]) -> Vec<u64> {
        let arrivals = Schedule::new(stages).arrivals;
        (0..arrivals.count()).map(|n| arrivals.due(n).unwrap().0).collect()
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_from_the_first_moment() {
        assert_eq!(due(&[rate(4, 0, 1)]), [0, SECOND / 4, SECOND / 2, 3 * SECOND / 4]);
        let thirds = due(&[rate(3, 0, 2)]);
        assert_eq!(thirds, [0, 333_333_334, 666_666_667, SECOND, 1_333_333_334, 1_666_666_667]);
    }

    #[test]
    fn a_ramp_integrates_exactly() {
        // 0 → 8/s in 2 s: N(t) = 2t², so arrival n is due at √(n/2) s; 8 arrivals.
        let expected: Vec<u64> = (0..8).map(|n| ((n as f64 / 2.0).sqrt() * 1e9).ceil() as u64).collect();
        assert_eq!(due(&[rate(8, 2, 0)]), expected);
    }

    #[test]
    fn a_ramp_down_mirrors_a_ramp_up() {
        // 8/s → 0 in 2 s: N(t) = 8t − 2t²; arrival n at 2 − √(4 − n/2) s.
        let stages = [rate(8, 0, 1), rate(0, 2, 0)];
        let expected: Vec<u64> =
            (0..8).map(|n| SECOND + ((2.0 - (4.0 - n as f64 / 2.0).sqrt()) * 1e9).ceil() as u64).collect();
        assert_eq!(due(&stages)[8..], expected);
    }

    #[test]
    fn stages_follow_each_other_without_losing_an_arrival() {
        // Half an arrival of the first stage is carried into the second.
        let stages = [
            Stage::Rate { rate: Rate::per_second(1), ramp: Nanos::ZERO, hold: Nanos(SECOND / 2 + SECOND) },
            rate(2, 0, 1),
        ];
        assert_eq!(due(&stages), [0, SECOND, 3 * SECOND / 2 + SECOND / 4, 3 * SECOND / 2 + 3 * SECOND / 4]);
    }

    #[test]
    fn a_closed_stage_between_is_a_pause_of_arrivals() {
        let stages = [rate(2, 0, 1), users(3, 0, 5), rate(2, 0, 1)];
        assert_eq!(due(&stages), [0, SECOND / 2, 6 * SECOND, 6 * SECOND + SECOND / 2]);
        let schedule = Schedule::new(&stages);
        assert_eq!(schedule.end(), Nanos(7 * SECOND));
        assert_eq!(schedule.users.intervals(2), [(Nanos(SECOND), Nanos(6 * SECOND))]);
        assert_eq!([0, 1, 6, 7, 99].map(|s| schedule.stage_at(Nanos(s * SECOND))), [0, 1, 2, 2, 2]);
    }

    #[test]
    fn a_year_at_a_million_per_second_does_not_overflow() {
        let year = Nanos(365 * 86_400 * SECOND);
        let stage = Stage::Rate { rate: Rate::per_second(1_000_000), ramp: year, hold: Nanos::ZERO };
        let arrivals = Schedule::new(&[stage]).arrivals;
        let count = arrivals.count();
        assert_eq!(count, 365 * 86_400 * 1_000_000 / 2);
        assert!(arrivals.due(count - 1).unwrap() < year);
    }

    #[test]
    fn users_come_and_go_linearly() {
        let schedule = Schedule::new(&[users(4, 4, 6), users(2, 2, 1)]);
        let of = |n| schedule.users.intervals(n);
        assert_eq!(of(0), [(Nanos(0), Nanos(13 * SECOND))]);
        assert_eq!(of(1), [(Nanos(SECOND), Nanos(13 * SECOND))]);
        assert_eq!(of(2), [(Nanos(2 * SECOND), Nanos(12 * SECOND))]);
        assert_eq!(of(3), [(Nanos(3 * SECOND), Nanos(11 * SECOND))]);
        assert_eq!(of(4), []);
        assert_eq!(schedule.users.most(), 4);
        let present = |s: u64| schedule.users.present(Nanos(s * SECOND));
        assert_eq!([0, 1, 3, 9, 11, 12, 13].map(present), [1, 2, 4, 4, 3, 2, 0]);
    }

    #[test]
    fn all_users_come_at_once_without_a_ramp() {
        let schedule = Schedule::new(&[users(3, 0, 1)]);
        assert!((0..3).all(|n| schedule.users.intervals(n) == [(Nanos(0), Nanos(SECOND))]));
    }

    /// The slow oracle: the first nanosecond at which the work is done, by bisection over the whole schedule.
    fn oracle(arrivals: &Arrivals, n: u64, end: u64) -> u64 {
        let done = |t: u64| {
            let begun = arrivals.segments.iter().filter(|s| s.start <= t);
            begun.map(|s| s.work((t - s.start).min(s.length))).sum::<u128>()
        };
        let (mut low, mut high) = (0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if done(middle) >= u128::from(n) * ARRIVAL { high = middle } else { low = middle + 1 }
        }
        // Work that is done at the very end of a stage is due when there is a rate again.
        let mut active = arrivals.segments.iter().filter(|s| s.from > 0 || s.to > 0);
        active.find(|s| s.start + s.length > low).map_or(low, |s| low.max(s.start))
    }

    proptest! {
        #[test]
        fn due_times_are_ordered_and_agree_with_the_oracle(
            stages in proptest::collection::vec((0u64..50, 0u64..4, 0u64..4), 1..5)
        ) {
            let stages: Vec<Stage> = stages.into_iter().map(|(r, ramp, hold)| rate(r, ramp, hold)).collect();
            let schedule = Schedule::new(&stages);
            let mut last = 0;
            for n in 0..schedule.arrivals.count() {
                let due = schedule.arrivals.due(n).unwrap().0;
                prop_assert!(due >= last && due < schedule.end().0, "arrival {n} at {due}");
                last = due;
                prop_assert_eq!(due, oracle(&schedule.arrivals, n, schedule.end().0));
            }
            prop_assert_eq!(schedule.arrivals.due(schedule.arrivals.count()), None);
        }
    }
}
