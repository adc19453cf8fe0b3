//! When load is due: pure functions from an arrival's number to its time and from a user's number to its presence.
//!
//! Nothing here reads a clock or sleeps. All arithmetic is in integers, so that a due time is the same on every machine
//! and a ramp never loses or gains an arrival by rounding. What a person changes while the load runs is a list of changes
//! ([`Timeline`]) that due times are a function of, too.

mod arrivals;
mod timeline;
mod users;

#[cfg(test)]
mod tests;

pub use arrivals::{Arrivals, Cursor, Next};
pub use timeline::{Change, ONE, Piece, Timeline};
pub use users::Users;

use crate::record::Nanos;
use crate::scenario::{LoadPlan, Rate, Scenario, Stage};

/// The whole schedule of a scenario: loads that run side by side, as offsets from the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Each load with journeys of its own; the scenario-wide one first.
    pub streams: Vec<Stream>,
}

/// One load: when somebody walks, and by which journeys.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Indices of the journeys that are walked, each as likely as its weight.
    pub journeys: Vec<usize>,
    /// Arrivals of the open stages.
    pub arrivals: Arrivals,
    /// Presence of users in the closed stages.
    pub users: Users,
    /// Number of its first user of the closed model.
    pub first_user: u32,
    /// When each stage ends.
    stage_ends: Vec<Nanos>,
}

impl Schedule {
    /// The schedule of a scenario. `seed` is of what is random in it (Poisson arrivals).
    pub fn of(scenario: &Scenario, seed: u64) -> Schedule {
        let mut first_user = 0;
        let stream = |(journeys, load): (Vec<usize>, &LoadPlan)| {
            let stream = Stream::new(load, journeys, first_user, seed);
            first_user += stream.users.most();
            stream
        };
        Schedule { streams: scenario.loads().into_iter().map(stream).collect() }
    }

    /// When load ends.
    pub fn end(&self) -> Nanos {
        self.streams.iter().map(Stream::end).max().unwrap_or_default()
    }

    /// Most users of the closed model, all loads together: they are numbered from 0 below this.
    pub fn most_users(&self) -> u32 {
        self.streams.iter().map(|stream| stream.users.most()).sum()
    }

    /// Index of the first load's stage at a time; the last one for ever after.
    pub fn stage_at(&self, at: Nanos) -> usize {
        let ends = self.streams.first().map_or(&[][..], |stream| &stream.stage_ends);
        ends.partition_point(|end| *end <= at).min(ends.len().saturating_sub(1))
    }

    /// When the next stage of any load begins after `at`; the end of all load after the last.
    pub fn next_stage(&self, at: Nanos) -> Nanos {
        let ends = self.streams.iter().flat_map(|stream| &stream.stage_ends);
        ends.copied().filter(|end| *end > at).min().unwrap_or_else(|| self.end())
    }

    /// The number of the user that an arrival is: each is one of its own, numbered after those of the closed model.
    pub fn user_of(&self, stream: usize, arrival: u64) -> u32 {
        let number = arrival * self.streams.len() as u64 + stream as u64;
        (u64::from(self.most_users()) + number) as u32
    }
}

impl Stream {
    /// The schedule that the stages of one load stand for, in order.
    pub fn new(load: &LoadPlan, journeys: Vec<usize>, first_user: u32, seed: u64) -> Stream {
        let mut arrivals = Arrivals::default();
        let mut users = Users::default();
        let mut stage_ends = Vec::with_capacity(load.stages.len());
        let mut at = Nanos::ZERO;
        let (mut rate_before, mut users_before) = (Rate::default(), 0);
        let how =
            (load.spacing, seed ^ u64::from(first_user) << 32 ^ journeys.first().map_or(0, |j| *j as u64));
        for stage in &load.stages {
            if let Stage::Users { users: wanted, ramp, .. } = stage {
                rate_before = Rate::default();
                users.change(at, users_before, *wanted, *ramp);
                users_before = *wanted;
            } else {
                users.change(at, users_before, 0, Nanos::ZERO);
                users_before = 0;
            }
            match stage {
                Stage::Users { .. } => {}
                Stage::Rate { rate, ramp, hold } => {
                    arrivals.push(at, *ramp, rate_before, *rate, how);
                    arrivals.push(at + *ramp, *hold, *rate, *rate, how);
                    rate_before = *rate;
                }
                Stage::Curve { points, .. } => {
                    arrivals.push_curve(at, points, how);
                    rate_before = points.last().map_or(Rate::default(), |p| p.rate);
                }
                Stage::Replay { times, .. } => {
                    arrivals.push_times(at, times);
                    rate_before = Rate::default();
                }
            }
            at += stage.duration();
            stage_ends.push(at);
        }
        users.change(at, users_before, 0, Nanos::ZERO);
        Stream { journeys, arrivals, users, first_user, stage_ends }
    }

    /// When it ends.
    pub fn end(&self) -> Nanos {
        self.stage_ends.last().copied().unwrap_or_default()
    }
}
