//! What a database says about its statements: plans, sizes of tables, waits. Pure judgement; who asked, and how, is
//! not this room's business.

mod mysql;
mod postgres;

pub use mysql::{PlanLine, scan_of_lines, worth_an_index};
pub use postgres::{Scan, scan_of_plan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By statement without its data, as contributors are named.
#[derive(Clone, Debug, Default)]
pub struct DatabaseEvidence {
    /// The worst scan of each statement's plan.
    pub scans: BTreeMap<Arc<str>, Scan>,
    /// How often a statement was seen waiting for a lock, and how often it was seen at all.
    pub locks: BTreeMap<Arc<str>, (u64, u64)>,
}

/// Times a statement must have been seen at work before its waits say something.
const SEEN_ENOUGH: u64 = 5;
/// Share of them that waited for a lock.
const MOSTLY_LOCKED: f64 = 0.3;

impl DatabaseEvidence {
    /// The scan of a statement.
    pub fn scan(&self, statement: &str) -> Option<&Scan> {
        self.scans.get(statement)
    }

    /// The share of moments at which a statement waited for a lock, where that is much.
    pub fn waits_for_locks(&self, statement: &str) -> Option<f64> {
        let (locked, seen) = self.locks.get(statement)?;
        let share = *locked as f64 / (*seen).max(1) as f64;
        (*seen >= SEEN_ENOUGH && share >= MOSTLY_LOCKED).then_some(share)
    }
}
