//! A journey as a program: requests, and where the walk goes after them.
//!
//! Branches and loops are jumps between operations of one list, so that a walk needs no recursion and its state is a
//! position, some counters and the journeys that called. Every loop is bounded.

use super::template::Expression;
use crate::record::Nanos;

/// One operation of a journey. Positions are indices of [`super::Journey::flow`].
#[derive(Clone, Debug)]
pub enum Op {
    /// Sends the request of a step, counted from the journey's first.
    Step(usize),
    /// Sets a variable's slot.
    Set(usize, Expression),
    /// Waits.
    Pause(Think),
    /// Goes on there unless the condition holds.
    Unless(Expression, usize),
    /// Goes on there.
    Jump(usize),
    /// Fills a counter with a number between the two, both included.
    Count(usize, u32, u32),
    /// Takes one from a counter, or goes on there when it is empty.
    Take(usize, usize),
    /// Goes on at one of these, by weight.
    Choose(Vec<(u32, usize)>),
    /// Walks another journey, then goes on.
    Call(usize),
    /// Lets one user walk another journey while those who come to it meanwhile wait, then goes on.
    CallForAll(usize),
    /// Ends the iteration.
    Stop,
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Think {
    /// Uniformly distributed between two lengths.
    Between {
        /// The shortest.
        least: Nanos,
        /// The longest.
        most: Nanos,
    },
    /// Log-normally distributed, as people's pauses are: many short ones, few long ones.
    LogNormal {
        /// Half of all pauses are shorter.
        median: Nanos,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Default for Think {
    /// None.
    fn default() -> Self {
        Think::Between { least: Nanos::ZERO, most: Nanos::ZERO }
    }
}

/// What is done when a step fails: no answer, a wrong status, a check that does not hold or a value that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnFailure {
    /// How often the step is tried again.
    pub retries: u16,
    /// Pause before each of them.
    pub wait: Nanos,
    /// What happens when it still fails.
    pub then: Then,
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The iteration ends where later steps lack something: an answer or a value. Else it goes on.
    #[default]
    AsNeeded,
    /// The iteration goes on.
    GoOn,
    /// The iteration ends.
    Stop,
}

/// Journeys that are not chosen by weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Walked once, before any load; its variables are everybody's.
    pub setup: Option<usize>,
    /// Walked once, after all load.
    pub teardown: Option<usize>,
    /// Walked by each user before its first iteration; its variables are the user's.
    pub on_start: Option<usize>,
    /// Walked by each user after its last iteration.
    pub on_stop: Option<usize>,
}
