//! Arrivals of the open model: from the number of an arrival to its due time.
//!
//! Work is the integral of the rate. Evenly spaced arrival n is due when n arrivals' worth of work is done; with Poisson
//! arrivals the work between two is exponentially distributed, by random numbers that depend on the seed and the arrival's
//! number alone. All of it is integer arithmetic but the roots and logarithms, and those are settled by integers.

use super::timeline::{ONE, Piece, Timeline};
use crate::load::random::mixed;
use crate::record::Nanos;
use crate::scenario::{CurvePoint, Rate, Spacing};
use std::sync::Arc;

/// One arrival in the unit that work is counted in: a billionth of an arrival per 10⁹ seconds, for a nanosecond.
pub(super) const ARRIVAL: u128 = 1_000_000_000_000_000_000;

/// A stretch in which the rate changes linearly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub start: u64,
    pub length: u64,
    pub from: u64,
    pub to: u64,
    /// Work done before it.
    before: u128,
}

impl Segment {
    /// Work done within the first `t` nanoseconds: the integral of the rate, rounded down.
    pub fn work(&self, t: u64) -> u128 {
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

/// All arrivals of one load.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    flows: Vec<Flow>,
}

/// Arrivals of one kind.
#[derive(Clone, Debug)]
enum Flow {
    /// By a rate.
    Rated { segments: Vec<Segment>, spacing: Spacing, seed: u64 },
    /// At given moments after `start`, in order.
    Listed { start: u64, times: Arc<[Nanos]> },
}

impl Flow {
    fn work(&self) -> u128 {
        match self {
            Flow::Rated { segments, .. } => segments.last().map_or(0, |s| s.before + s.work(s.length)),
            Flow::Listed { times, .. } => times.len() as u128 * ARRIVAL,
        }
    }

    /// Work done before a moment of the schedule.
    fn work_at(&self, at: u64) -> u128 {
        match self {
            Flow::Rated { segments, .. } => {
                let next = segments.partition_point(|s| s.start <= at);
                let Some(segment) = next.checked_sub(1).map(|i| &segments[i]) else { return 0 };
                segment.before + segment.work((at - segment.start).min(segment.length))
            }
            Flow::Listed { start, times } => times.partition_point(|t| start + t.0 < at) as u128 * ARRIVAL,
        }
    }

    /// The first nanosecond at which so much work is done; `None` where that never is.
    fn time_of(&self, work: u128) -> Option<u64> {
        if work >= self.work() {
            return None;
        }
        match self {
            Flow::Rated { segments, .. } => {
                // The last segment that begins with no more than this much work done and still does some.
                let index = segments.partition_point(|s| s.before <= work).checked_sub(1)?;
                let segment = segments[..=index].iter().rev().find(|s| s.from > 0 || s.to > 0)?;
                Some(segment.start + segment.time_of(work - segment.before))
            }
            Flow::Listed { start, times } => times.get((work / ARRIVAL) as usize).map(|t| start + t.0),
        }
    }

    /// Work from one arrival to the next, of which `n` is the number within the flow.
    fn gap(&self, n: u64) -> u128 {
        match self {
            Flow::Rated { spacing: Spacing::Poisson, seed, .. } => {
                // A uniform number in (0, 1]: its negative logarithm is exponentially distributed with mean 1.
                let uniform = ((mixed(seed ^ mixed(n)) >> 11) + 1) as f64 / (1u64 << 53) as f64;
                (-uniform.ln() * ARRIVAL as f64) as u128
            }
            _ => ARRIVAL,
        }
    }

    /// Work before the first arrival.
    fn first(&self) -> u128 {
        match self {
            Flow::Rated { spacing: Spacing::Poisson, .. } => self.gap(0),
            _ => 0,
        }
    }
}

impl Arrivals {
    /// Adds a stretch of a rate.
    pub(super) fn push(&mut self, start: Nanos, length: Nanos, from: Rate, to: Rate, how: (Spacing, u64)) {
        if length == Nanos::ZERO {
            return;
        }
        if !matches!(self.flows.last(), Some(Flow::Rated { .. })) {
            let seed = mixed(how.1 ^ mixed(self.flows.len() as u64 + 1));
            self.flows.push(Flow::Rated { segments: Vec::new(), spacing: how.0, seed });
        }
        if let Some(Flow::Rated { segments, .. }) = self.flows.last_mut() {
            let before = segments.last().map_or(0, |s| s.before + s.work(s.length));
            let (from, to) = (from.per_billion_seconds, to.per_billion_seconds);
            segments.push(Segment { start: start.0, length: length.0, from, to, before });
        }
    }

    /// Adds a curve that begins at `start`.
    pub(super) fn push_curve(&mut self, start: Nanos, points: &[CurvePoint], how: (Spacing, u64)) {
        for pair in points.windows(2) {
            let length = Nanos(pair[1].at.0.saturating_sub(pair[0].at.0));
            self.push(start + pair[0].at, length, pair[0].rate, pair[1].rate, how);
        }
    }

    /// Adds arrivals at given moments after `start`.
    pub(super) fn push_times(&mut self, start: Nanos, times: &Arc<[Nanos]>) {
        self.flows.push(Flow::Listed { start: start.0, times: Arc::clone(times) });
    }

    /// The stretches of the one rated flow.
    #[cfg(test)]
    pub(super) fn segments(&self) -> &[Segment] {
        match self.flows.first() {
            Some(Flow::Rated { segments, .. }) => segments,
            _ => &[],
        }
    }

    /// Whether nothing ever arrives.
    pub fn is_empty(&self) -> bool {
        self.flows.iter().all(|flow| flow.work() == 0)
    }

    /// How many arrivals there are; with Poisson arrivals how many are to be expected.
    pub fn count(&self) -> u64 {
        // Arrival n is due when n arrivals' worth is done, before the end: the one at the very end is not.
        let of = |flow: &Flow| u64::try_from(flow.work().div_ceil(ARRIVAL)).unwrap_or(u64::MAX);
        self.flows.iter().map(of).fold(0, u64::saturating_add)
    }

    /// When arrival `n` (from 0) is due by the unchanged schedule; `None` past the last. Poisson arrivals are counted up
    /// to it, so whoever needs many takes a [`Cursor`].
    pub fn due(&self, n: u64) -> Option<Nanos> {
        let mut before = 0;
        for flow in &self.flows {
            match flow {
                Flow::Rated { spacing: Spacing::Poisson, .. } => {
                    let mut work = flow.first();
                    let mut index = 0;
                    while work < flow.work() {
                        if before + index == n {
                            return flow.time_of(work).map(Nanos);
                        }
                        index += 1;
                        work += flow.gap(index);
                    }
                    before += index;
                }
                even => {
                    if let Some(at) = even.time_of(u128::from(n - before) * ARRIVAL) {
                        return Some(Nanos(at));
                    }
                    before += u64::try_from(even.work().div_ceil(ARRIVAL)).unwrap_or(u64::MAX);
                }
            }
            if n < before {
                return None;
            }
        }
        None
    }
}

/// Where one load thread stands among the arrivals. Cheap to copy: a look ahead is made on a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Number of the next arrival, over all flows.
    number: u64,
    flow: usize,
    /// Its number within the flow.
    index: u64,
    /// Work within the flow at which it is due.
    work: u128,
    /// Whether `work` is that of this flow.
    entered: bool,
    /// The stretch of the timeline that it is in.
    piece: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An arrival: its number and its due time from the start of the load.
    Due(u64, Nanos),
    /// Nothing, until the load is changed.
    Standing,
    /// Nothing any more.
    Over,
}

impl Cursor {
    /// The next arrival whose number leaves the remainder `share.0` when divided by `share.1`; the cursor is past it then.
    pub fn next(&mut self, arrivals: &Arrivals, timeline: &Timeline, share: (u64, u64)) -> Next {
        loop {
            let pieces = timeline.pieces();
            let piece = pieces[self.piece];
            let ends = pieces.get(self.piece + 1).copied();
            let Some(flow) = arrivals.flows.get(self.flow) else { return Next::Over };
            if !self.entered {
                (self.work, self.index, self.entered) = (scaled(flow.first(), piece.factor), 0, true);
            }
            if let Some(next) = ends {
                let there = position(&piece, &next);
                let undone = self.work < flow.work();
                // Of a flow that is all done the change falls into the last moments, or into a later flow.
                let here = undone || self.flow + 1 == arrivals.flows.len() || flow_end(flow) >= there;
                if !piece.moving || here && self.work >= flow.work_at(there) {
                    self.change(arrivals, &piece, &next);
                    continue;
                }
            }
            if !piece.moving {
                return Next::Standing;
            }
            if self.work >= flow.work() {
                self.flow += 1;
                self.entered = false;
                continue;
            }
            let (number, work) = (self.number, self.work);
            self.number += 1;
            self.index += 1;
            self.work += scaled(flow.gap(self.index), piece.factor);
            if number % share.1.max(1) == share.0
                && let Some(at) = flow.time_of(work)
            {
                return Next::Due(number, piece.real + Nanos(at.saturating_sub(piece.schedule.0)));
            }
        }
    }

    /// Goes on in the next stretch: what was still to be done for the next arrival is kept, and scaled.
    fn change(&mut self, arrivals: &Arrivals, from: &Piece, to: &Piece) {
        let flow = &arrivals.flows[self.flow];
        let done = flow.work_at(position(from, to));
        let left = self.work.saturating_sub(done) * u128::from(from.factor) / u128::from(to.factor);
        let target = to.schedule.0;
        // The flow that the schedule is in now.
        while self.flow + 1 < arrivals.flows.len() && flow_end(&arrivals.flows[self.flow]) <= target {
            self.flow += 1;
            self.entered = false;
        }
        if self.entered {
            self.work = arrivals.flows[self.flow].work_at(target) + left;
        } else {
            let flow = &arrivals.flows[self.flow];
            self.work = flow.work_at(target) + scaled(flow.first(), to.factor);
            (self.index, self.entered) = (0, true);
        }
        self.piece += 1;
    }
}

/// Where the schedule stands at the end of a stretch.
fn position(piece: &Piece, next: &Piece) -> u64 {
    if piece.moving { piece.schedule.0 + (next.real.0 - piece.real.0) } else { piece.schedule.0 }
}

fn flow_end(flow: &Flow) -> u64 {
    match flow {
        Flow::Rated { segments, .. } => segments.last().map_or(0, |s| s.start + s.length),
        Flow::Listed { start, times } => times.last().map_or(*start, |t| start + t.0 + 1),
    }
}

/// Work per arrival when there are that many millionths of the arrivals.
fn scaled(work: u128, factor: u32) -> u128 {
    if factor == ONE { work } else { work * u128::from(ONE) / u128::from(factor) }
}
