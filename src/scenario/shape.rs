//! Loads: stages one after the other, and how arrivals are spaced.

pub use super::curve::CurvePoint;
use super::quantity::Rate;
use super::types::Scenario;
use crate::record::Nanos;
use std::sync::Arc;

/// One load: stages in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadPlan {
    /// Its stages.
    pub stages: Vec<Stage>,
    /// How arrivals follow each other.
    pub spacing: Spacing,
    /// The search for the highest rate that holds, of which the one stage is then the frame.
    pub search: Option<SearchPlan>,
}

/// A search for the highest rate that holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchPlan {
    /// Iterations per second to begin with.
    pub low_per_s: f64,
    /// The highest rate that is tried.
    pub high_per_s: f64,
    /// How long each rate is measured.
    pub probe: Nanos,
    /// How long each rate runs before that.
    pub settle: Nanos,
    /// How near the rate that breaks must be to the one that holds, as a share.
    pub precision: f64,
    /// How often each of the two is tried.
    pub repeats: u32,
}

impl Default for SearchPlan {
    /// From 10/s to 10,000/s, 5 s each after 1 s, to 5 %, three times at the edge.
    fn default() -> SearchPlan {
        SearchPlan {
            low_per_s: 10.0,
            high_per_s: 10_000.0,
            probe: Nanos::from_millis(5_000),
            settle: Nanos::from_millis(1_000),
            precision: 0.05,
            repeats: 3,
        }
    }
}

impl SearchPlan {
    /// Longest that a search may take: a frame, not a plan.
    const FRAME: Nanos = Nanos::from_millis(6 * 3_600_000);

    /// The load in which a search goes on.
    pub fn load(self, spacing: Spacing) -> LoadPlan {
        let rate = Rate { per_billion_seconds: (self.high_per_s * 1e9).round() as u64 };
        let stages = vec![Stage::Rate { rate, ramp: Nanos::ZERO, hold: SearchPlan::FRAME }];
        LoadPlan { stages, spacing, search: Some(self) }
    }
}

impl Scenario {
    /// The same journeys under a load that searches for the capacity, instead of the load that they have.
    pub fn searching(&mut self, plan: SearchPlan) {
        self.load = plan.load(self.load.spacing);
        self.own_loads.clear();
    }
}

/// How arrivals of a rate follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// At even distances of the integral of the rate.
    #[default]
    Even,
    /// As those of people who know nothing of each other: exponentially distributed distances, seeded.
    Poisson,
}

/// A stretch of load.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Closed model: that many users, each waiting for its answers.
    Users {
        /// Users at the end of the ramp.
        users: u32,
        /// Time to get there, linearly, from the stage before.
        ramp: Nanos,
        /// Time to stay there.
        hold: Nanos,
    },
    /// Open model: iterations arrive at that rate, whatever the answers do.
    Rate {
        /// Iterations begun per second at the end of the ramp.
        rate: Rate,
        /// Time to get there, linearly, from the stage before.
        ramp: Nanos,
        /// Time to stay there.
        hold: Nanos,
    },
    /// Open model: the rate follows a curve.
    Curve {
        /// Points in order, the first at the stage's beginning.
        points: Arc<[CurvePoint]>,
        /// How long the stage lasts.
        hold: Nanos,
    },
    /// Open model: arrivals at given moments.
    Replay {
        /// Offsets from the stage's beginning, in order.
        times: Arc<[Nanos]>,
        /// How long the stage lasts.
        hold: Nanos,
    },
}

impl Stage {
    /// Ramp and hold together.
    pub fn duration(&self) -> Nanos {
        match self {
            Stage::Users { ramp, hold, .. } | Stage::Rate { ramp, hold, .. } => *ramp + *hold,
            Stage::Curve { hold, .. } | Stage::Replay { hold, .. } => *hold,
        }
    }

    /// Whether anybody walks in it.
    pub(super) fn offers_load(&self) -> bool {
        match self {
            Stage::Users { users, .. } => *users > 0,
            Stage::Rate { rate, .. } => *rate > Rate::default(),
            Stage::Curve { points, .. } => points.iter().any(|p| p.rate > Rate::default()),
            Stage::Replay { times, .. } => !times.is_empty(),
        }
    }

    /// The highest rate of arrivals that it asks for; none in the closed model and in a replay.
    fn peak(&self) -> Rate {
        match self {
            Stage::Rate { rate, .. } => *rate,
            Stage::Curve { points, .. } => points.iter().map(|p| p.rate).max().unwrap_or_default(),
            Stage::Users { .. } | Stage::Replay { .. } => Rate::default(),
        }
    }
}

impl LoadPlan {
    /// Sum of all stages.
    pub fn duration(&self) -> Nanos {
        self.stages.iter().map(Stage::duration).sum()
    }

    fn most_users(&self) -> u32 {
        let users = |stage: &Stage| if let Stage::Users { users, .. } = stage { *users } else { 0 };
        self.stages.iter().map(users).max().unwrap_or_default()
    }
}

impl Scenario {
    /// All loads with the journeys that are walked in each: the scenario-wide one, if there is one, by the journeys that
    /// have none of their own; then those.
    pub fn loads(&self) -> Vec<(Vec<usize>, &LoadPlan)> {
        let own = |journey: &usize| self.own_loads.iter().any(|(index, _)| index == journey);
        let shared: Vec<usize> =
            (0..self.journeys.len()).filter(|j| !own(j) && self.journeys[*j].weight > 0).collect();
        let wide = (!self.load.stages.is_empty()).then_some((shared, &self.load));
        wide.into_iter().chain(self.own_loads.iter().map(|(journey, load)| (vec![*journey], load))).collect()
    }

    /// How long the longest load lasts.
    pub fn duration(&self) -> Nanos {
        self.loads().iter().map(|(_, load)| load.duration()).max().unwrap_or_default()
    }

    /// Whether iterations arrive by a rate in at least one stage.
    pub fn is_open(&self) -> bool {
        self.loads().iter().any(|(_, load)| load.stages.iter().any(|s| !matches!(s, Stage::Users { .. })))
    }

    /// Most users at once in the closed stages.
    pub fn most_users(&self) -> u32 {
        self.loads().iter().map(|(_, load)| load.most_users()).sum()
    }

    /// The highest rate at which iterations arrive, as if all loads had theirs at the same time.
    pub fn peak_rate(&self) -> f64 {
        let peak = |load: &LoadPlan| load.stages.iter().map(Stage::peak).max().unwrap_or_default();
        self.loads().iter().map(|(_, load)| peak(load).as_per_second()).sum()
    }
}
