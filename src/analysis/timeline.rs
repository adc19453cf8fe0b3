//! The run in slices of time: how much was asked for, how much was under way, and who spent the time of what was due in
//! each slice.
//!
//! The slices depend on the whole run alone, never on the share at hand, and everything in them is an integer sum or a set,
//! so shares add to the same whole.

use super::codec::codec;
use super::names::Names;
use super::presence;
use super::result::{ByCategory, Contributor, PartSlice, Slice, Timeline};
use crate::record::{Nanos, Timestamp};
use std::collections::BTreeMap;

/// Slices of a run.
const SLICES: u64 = 240;
/// Users that are told apart within a slice; more are taken for these, in turn.
const USERS: usize = 4_096;

/// When the slices of a run are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    start: u64,
    width: u64,
    slices: usize,
}

impl Clock {
    /// For a run of which the first and the last exchange were due then.
    pub fn new(due: Option<(u64, u64)>) -> Clock {
        let Some((first, last)) = due else { return Clock::default() };
        let length = last - first + 1;
        let width = length.div_ceil(SLICES).max(1);
        Clock { start: first, width, slices: length.div_ceil(width) as usize }
    }

    /// The slice of a moment; of what comes after the load the number is too high.
    pub fn slice(&self, at: u64) -> usize {
        (at.saturating_sub(self.start) / self.width.max(1)) as usize
    }
}

/// One contributor over time, kept from the first slice in which it had something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Track {
    first: usize,
    slices: Vec<PartSlice>,
}

impl Track {
    pub fn at(&mut self, slice: usize) -> &mut PartSlice {
        if self.slices.is_empty() {
            self.first = slice;
        } else if slice < self.first {
            let missing = self.first - slice;
            self.slices.splice(0..0, std::iter::repeat_n(PartSlice::default(), missing));
            self.first = slice;
        }
        let at = slice - self.first;
        if at >= self.slices.len() {
            self.slices.resize(at + 1, PartSlice::default());
        }
        &mut self.slices[at]
    }

    fn merge(&mut self, other: &Track) {
        for (i, theirs) in other.slices.iter().enumerate() {
            let mine = self.at(other.first + i);
            mine.exchanges += theirs.exchanges;
            mine.time += theirs.time;
            mine.calls += theirs.calls;
            mine.call_time += theirs.call_time;
        }
    }

    fn total(&self) -> u64 {
        self.slices.iter().map(|s| s.time.0).sum()
    }

    fn dense(&self, n: usize) -> Vec<PartSlice> {
        let mut out = vec![PartSlice::default(); n];
        for (to, from) in out.iter_mut().skip(self.first).zip(&self.slices) {
            *to = *from;
        }
        out
    }
}

/// Sums of one slice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    slice: Slice,
    users: Vec<u64>,
}

/// One exchange, as far as time is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub intended: u64,
    pub end: u64,
    pub user: u32,
    /// For how many exchanges its blame stands.
    pub weight: u64,
}

/// The slices while they are filled: contributors by number.
#[derive(Default)]
pub(super) struct Ticks {
    pub clock: Clock,
    sums: Vec<Sum>,
    tracks: Vec<Track>,
}

impl Ticks {
    pub fn new(clock: Clock) -> Ticks {
        Ticks { clock, sums: vec![Sum::default(); clock.slices], tracks: Vec::new() }
    }

    /// Counts an exchange and gives its slice.
    pub fn exchange(&mut self, passage: Passage, categories: &ByCategory) -> usize {
        let Passage { intended, end, user, weight } = passage;
        let (from, to) = (self.clock.slice(intended), self.clock.slice(end));
        let Some(sum) = self.sums.get_mut(from) else { return from };
        sum.slice.started += 1;
        sum.slice.latency += Nanos(end - intended);
        sum.slice.weight += weight;
        sum.slice.categories.merge(categories);
        let bit = user as usize % USERS;
        if let Some(sum) = self.sums.get_mut(to) {
            sum.slice.done += 1;
        }
        let last = to.min(self.sums.len().saturating_sub(1));
        for slice in from..=last {
            let begin = self.clock.start + slice as u64 * self.clock.width;
            let under_way = end.min(begin + self.clock.width) - intended.max(begin);
            let sum = &mut self.sums[slice];
            sum.slice.busy += Nanos(under_way);
            if sum.users.len() <= bit / 64 {
                sum.users.resize(bit / 64 + 1, 0);
            }
            sum.users[bit / 64] |= 1 << (bit % 64);
        }
        from
    }

    /// Time of a contributor on the critical path of one exchange.
    pub fn time(&mut self, owner: u32, slice: usize, time: u64, weight: u64) {
        let at = self.track(owner).at(slice);
        at.exchanges += weight;
        at.time += Nanos(time * weight);
    }

    /// Calls of a contributor, and how long they took together.
    pub fn calls(&mut self, owner: u32, slice: usize, number: u64, time: u64) {
        let at = self.track(owner).at(slice);
        at.calls += number;
        at.call_time += Nanos(time);
    }

    fn track(&mut self, owner: u32) -> &mut Track {
        let at = owner as usize;
        if at >= self.tracks.len() {
            self.tracks.resize_with(at + 1, Track::default);
        }
        &mut self.tracks[at]
    }

    /// Gives the contributors their names.
    pub fn named(self, names: &Names) -> Course {
        let named = |(number, track): (usize, Track)| (names.who(number as u32).clone(), track);
        let had_time = |(_, track): &(usize, Track)| !track.slices.is_empty();
        let tracks = self.tracks.into_iter().enumerate().filter(had_time).map(named).collect();
        Course { clock: self.clock, sums: self.sums, tracks }
    }
}

/// The slices by name, of one share or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Course {
    clock: Clock,
    sums: Vec<Sum>,
    tracks: BTreeMap<Contributor, Track>,
}

codec!(Clock { start, width, slices });
codec!(Track { first, slices });
codec!(Sum { slice, users });
codec!(Course { clock, sums, tracks });

impl Course {
    /// Adds another share of the same run.
    pub fn merge(&mut self, other: Course) {
        self.clock = self.clock.max(other.clock);
        if self.sums.len() < other.sums.len() {
            self.sums.resize(other.sums.len(), Sum::default());
        }
        for (mine, theirs) in self.sums.iter_mut().zip(other.sums) {
            mine.slice.started += theirs.slice.started;
            mine.slice.done += theirs.slice.done;
            mine.slice.weight += theirs.slice.weight;
            mine.slice.latency += theirs.slice.latency;
            mine.slice.busy += theirs.slice.busy;
            mine.slice.categories.merge(&theirs.slice.categories);
            if mine.users.len() < theirs.users.len() {
                mine.users.resize(theirs.users.len(), 0);
            }
            mine.users.iter_mut().zip(theirs.users).for_each(|(a, b)| *a |= b);
        }
        for (who, track) in other.tracks {
            self.tracks.entry(who).or_default().merge(&track);
        }
    }

    /// What the result keeps: so many contributors, those with most time. Where users come and go by a plan (`closed`), those
    /// who think count as there.
    pub fn into_timeline(mut self, most: usize, closed: bool) -> Timeline {
        if closed {
            let mut users: Vec<Vec<u64>> =
                self.sums.iter_mut().map(|sum| std::mem::take(&mut sum.users)).collect();
            presence::fill(&mut users);
            self.sums.iter_mut().zip(users).for_each(|(sum, users)| sum.users = users);
        }
        let n = self.sums.len();
        let mut tracks: Vec<(Contributor, Track)> = self.tracks.into_iter().collect();
        tracks.sort_by_key(|(_, track)| std::cmp::Reverse(track.total()));
        tracks.truncate(most);
        let slice = |sum: Sum| {
            let users = sum.users.iter().map(|word| word.count_ones()).sum();
            Slice { users, ..sum.slice }
        };
        Timeline {
            start: Timestamp(self.clock.start),
            width: Nanos(self.clock.width),
            slices: self.sums.into_iter().map(slice).collect(),
            contributors: tracks.into_iter().map(|(who, track)| (who, track.dense(n))).collect(),
        }
    }
}

impl Clock {
    /// Of two shares of one run both are the same, unless one is of no exchange at all.
    fn max(self, other: Clock) -> Clock {
        if self.slices >= other.slices { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_latency_times_rate() {
        // Little's law holds slice by slice where requests neither begin before the first nor end after the last.
        let mut ticks = Ticks::new(Clock::new(Some((1_000, 25_000))));
        for n in 0..2_400u64 {
            let at = 1_000 + n * 10;
            let passage = Passage { intended: at, end: at + 250, user: (n % 70) as u32, weight: 1 };
            ticks.exchange(passage, &ByCategory::default());
        }
        let line = ticks.named(&Names::new("")).into_timeline(3, false);
        assert_eq!((line.slices.len(), line.width), (238, Nanos(101)));
        assert_eq!(line.slices.iter().map(|s| s.started).sum::<u64>(), 2_400);
        let middle = &line.slices[100];
        assert_eq!(middle.busy.0, 25 * 101, "25 at once");
        assert!((34..=37).contains(&middle.users), "25 under way and 10 that begin: {}", middle.users);
        let (busy, latency): (u64, u64) =
            line.slices.iter().fold((0, 0), |sum, s| (sum.0 + s.busy.0, sum.1 + s.latency.0));
        // All but the tail after the last slice.
        assert!(latency - busy < 250 * 30, "{latency} {busy}");
    }

    #[test]
    fn tracks_grow_at_both_ends_and_add() {
        let (mut a, mut b) = (Track::default(), Track::default());
        a.at(5).calls += 1;
        a.at(3).calls += 2;
        b.at(9).calls += 4;
        a.merge(&b);
        let calls: Vec<u64> = a.dense(10).iter().map(|s| s.calls).collect();
        assert_eq!(calls, [0, 0, 0, 2, 0, 1, 0, 0, 0, 4]);
    }

    #[test]
    fn a_run_of_nothing_has_no_slices() {
        assert_eq!(Clock::new(None), Clock::default());
        assert_eq!(Clock::new(Some((7, 7))).slices, 1);
    }
}
