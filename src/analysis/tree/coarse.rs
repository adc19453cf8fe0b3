//! Starts that are known to the millisecond only.
//!
//! OpenTelemetry's SDK for JavaScript takes the start of a span from `Date.now()`, which has no more, and its length from a finer
//! clock. Statements that follow upon each other then begin at the same moment, as if they had been sent together, and the path
//! goes through one of each millisecond: a request of twenty quick statements spends its time in code of its own. What is known is
//! that each began within the millisecond after the start that was recorded, within its parent, and, where all that began within one
//! millisecond can have come one after the other, most likely so.

use super::super::names::MixedMap;
use super::{Forest, Node};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What such starts are whole numbers of, in ns.
const STEP: u64 = 1_000_000;
/// Spans of a process, in one trace, that must begin so, and end otherwise: by chance few do.
const SPANS_MIN: u32 = 2;

/// A process in a trace: spans, and those that begin on a whole millisecond, with an end that does not.
#[derive(Clone, Copy, Default)]
struct Process {
    spans: u32,
    whole: u32,
    ragged: u32,
}

impl Process {
    fn is_coarse(self) -> bool {
        self.ragged >= SPANS_MIN && 2 * self.whole > self.spans
    }
}

fn is_whole(node: &Node) -> bool {
    node.from.is_multiple_of(STEP)
}

/// Moves a span to a later start.
fn begin(node: &mut Node, from: u64) {
    let length = node.to - node.from;
    (node.from, node.to) = (from, from.saturating_add(length));
}

impl Forest {
    /// Puts the spans of processes that tell starts in whole milliseconds where they can have been.
    pub(super) fn settle_coarse_starts(&mut self) {
        if self.nodes[self.roots..].iter().filter(|node| is_whole(node)).nth(1).is_none() {
            return;
        }
        let coarse = self.coarse();
        if !coarse.contains(&true) {
            return;
        }
        self.repairs.coarse_starts += coarse.iter().filter(|c| **c).count() as u64;
        self.end_within_parents(&coarse);
        let mut kids = Vec::new();
        for at in 0..self.order.len() {
            let parent = self.order[at];
            kids.clear();
            kids.extend(self.kids(parent).iter().filter(|kid| coarse[**kid as usize]));
            if !kids.is_empty() {
                self.begin_in_turn(parent, &mut kids);
            }
        }
    }

    /// By node: whether its start is one of these.
    fn coarse(&self) -> Vec<bool> {
        let mut processes: MixedMap<(u32, u32), Process> = MixedMap::default();
        for node in &self.nodes[self.roots..] {
            let process = processes.entry((node.service, node.host)).or_default();
            process.spans += 1;
            process.whole += u32::from(is_whole(node));
            process.ragged += u32::from(is_whole(node) && !node.to.is_multiple_of(STEP));
        }
        let coarse = |node: &Node| is_whole(node) && processes[&(node.service, node.host)].is_coarse();
        let mut of_nodes = vec![false; self.roots];
        of_nodes.extend(self.nodes[self.roots..].iter().map(coarse));
        of_nodes
    }

    fn of_one_process(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.nodes[a as usize], &self.nodes[b as usize]);
        (a.service, a.host) == (b.service, b.host)
    }

    /// Who waits for its calls ends no earlier than they do: from the bottom up.
    fn end_within_parents(&mut self, coarse: &[bool]) {
        for at in (self.roots..self.order.len()).rev() {
            let i = self.order[at];
            let (node, above) = (self.nodes[i as usize], self.nodes[i as usize].parent);
            if !coarse[i as usize] || !coarse[above as usize] || !self.of_one_process(i, above) {
                continue;
            }
            let parent = &mut self.nodes[above as usize];
            let later = node.to.saturating_sub(parent.to);
            // What ends much later was not waited for.
            if later > 0 && parent.from % STEP + later < STEP {
                begin(parent, parent.from + later);
            }
        }
    }

    /// From the top down: children begin after their parent, and after those before them that can have ended by then.
    fn begin_in_turn(&mut self, parent: u32, kids: &mut [u32]) {
        kids.sort_unstable_by_key(|kid| {
            let node = &self.nodes[*kid as usize];
            (node.from / STEP, node.to - node.from, node.span_id)
        });
        let mut under_way: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
        let mut ended = self.nodes[parent as usize].from;
        let step = |forest: &Forest, kid: u32| forest.nodes[kid as usize].from / STEP;
        let mut at = 0;
        while at < kids.len() {
            let first = step(self, kids[at]);
            let many = kids[at..].iter().take_while(|kid| step(self, **kid) == first).count();
            let group = &kids[at..at + many];
            at += many;
            let limit = (first + 1).saturating_mul(STEP);
            while let Some(Reverse(end)) = under_way.peek().copied().filter(|end| end.0 < limit) {
                ended = ended.max(end);
                under_way.pop();
            }
            // A caller on another clock may seem to have begun later.
            let after = if ended < limit { ended } else { 0 };
            let in_turn = self.can_be_in_turn(parent, group, after);
            let mut next = after;
            for kid in group {
                let node = &mut self.nodes[*kid as usize];
                begin(node, node.from.max(next));
                if in_turn {
                    next = node.to;
                }
                under_way.push(Reverse(node.to));
            }
        }
    }

    /// Whether calls of one process that begin within one millisecond can have come one after the other, all within their parent.
    fn can_be_in_turn(&self, parent: u32, group: &[u32], after: u64) -> bool {
        let ends = self.nodes[parent as usize].to;
        let mut next = after;
        group.iter().all(|kid| {
            let node = &self.nodes[*kid as usize];
            let (from, limit) = (node.from.max(next), (node.from / STEP + 1).saturating_mul(STEP));
            next = from.saturating_add(node.to - node.from);
            self.of_one_process(*kid, parent) && from < limit && (next <= ends || node.to > ends)
        })
    }
}
