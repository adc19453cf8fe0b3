//! Calls that one user makes for all: a token that many users share is fetched by one of them while the others wait.
//!
//! Users stand in line, over all load threads. Who has waited looks whether it was done since it last had reason to ask, and
//! then has nothing left to do; a call that failed leaves its place to the next in line. Calls have no cycles, so nobody waits
//! for somebody who waits for him.

use crate::record::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// When a call was last made to its end.
type Done = Option<Timestamp>;

/// The lines before all such calls, by the journey that is called.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<usize, Arc<tokio::sync::Mutex<Done>>>>);

/// The right to make a call while all others wait.
#[derive(Debug)]
pub struct Turn(OwnedMutexGuard<Done>);

impl Turns {
    /// The line before a call.
    pub fn line(&self, journey: usize) -> Line {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Line(Arc::clone(lines.entry(journey).or_default()))
    }
}

/// A line that one can stand in.
pub struct Line(Arc<tokio::sync::Mutex<Done>>);

impl Line {
    /// A turn, if nobody is there.
    pub fn at_once(&self) -> Option<Turn> {
        Arc::clone(&self.0).try_lock_owned().ok().map(Turn)
    }

    /// Waits for a turn.
    pub async fn wait(self) -> Turn {
        Turn(self.0.lock_owned().await)
    }
}

impl Turn {
    /// Whether somebody has made the call since that moment.
    pub fn is_done_since(&self, moment: Timestamp) -> bool {
        self.0.is_some_and(|done| done >= moment)
    }

    /// The call was made; the next in line need not.
    pub fn done(mut self, at: Timestamp) {
        *self.0 = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_does_it_for_all_that_asked_before_and_a_failure_leaves_it_to_the_next() {
        let turns = Turns::default();
        let first = turns.line(3).at_once().unwrap();
        assert!(!first.is_done_since(Timestamp(0)));
        assert!(turns.line(3).at_once().is_none() && turns.line(4).at_once().is_some());
        // It fails.
        drop(first);
        let second = turns.line(3).at_once().unwrap();
        assert!(!second.is_done_since(Timestamp(0)));
        second.done(Timestamp(70));
        let third = turns.line(3).at_once().unwrap();
        assert!(third.is_done_since(Timestamp(70)) && !third.is_done_since(Timestamp(71)));
    }
}
