//! Calls that race: the one that is answered first has the others cancelled, and no time limit ends those.

use crate::analysis::row::{Row, TIMED_OUT};
use crate::analysis::tree::Forest;
use crate::record::{Nanos, SpanKind};

/// Time after the answer of one call within which another that is cancelled is so for that answer.
const RACE: u64 = Nanos::from_millis(5).0;

/// When calls of one trace were answered, in the order of the requests that made them. They are gathered when somebody asks: in most
/// traces nothing is cancelled.
#[derive(Default)]
pub(super) struct Answers {
    ends: Vec<(u32, u64)>,
    known: bool,
}

impl Answers {
    /// Begins another trace.
    pub fn clear(&mut self) {
        self.known = false;
    }

    /// Whether another call of the same request was answered while this one was under way, right before it was given up.
    pub fn beat(&mut self, forest: &Forest, rows: &[Row], (node, start, end): (u32, u64, u64)) -> bool {
        if !self.known {
            self.gather(forest, rows);
        }
        let Some(node) = forest.nodes.get(node as usize) else { return false };
        let from = (node.entry, (start + 1).max(end.saturating_sub(RACE)));
        let first = self.ends.partition_point(|answer| *answer < from);
        self.ends.get(first).is_some_and(|answer| *answer <= (node.entry, end))
    }

    /// What comes first is on no path, for the others end after it: all calls are looked at.
    fn gather(&mut self, forest: &Forest, rows: &[Row]) {
        let answered = forest.nodes.iter().filter(|node| {
            node.kind == SpanKind::Client
                && rows.get(node.row as usize).is_some_and(|row| row.flags & TIMED_OUT == 0)
        });
        self.ends.clear();
        self.ends.extend(answered.map(|node| (node.entry, node.to)));
        self.ends.sort_unstable();
        self.known = true;
    }
}
