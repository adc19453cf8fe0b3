//! Statements whose spans last until their rows are read, with what is called meanwhile.
//!
//! Some drivers end a statement's span when its rows are closed (pgx in Go), and others record the reading as a span of its own
//! (`database/sql`). A loop over the rows that calls something for each of them then has all of its calls beside that span and within
//! it, and the path would go through the statement, which only waits for the loop to go on.

use super::super::names::{NONE, Names};
use super::super::result::Category;
use super::{Forest, TRANSPORT, WITHIN};
use crate::record::SpanKind;
use std::cmp::Reverse;

/// Statements within another's span from which a loop over its rows is thought of: calls in turn that happen to be under way at the
/// same time, and of which no other begins before its end, are that many once in so many times at most.
const STATEMENTS_MIN: u32 = 3;
/// The reading of rows begins at most so long after the end of its query, or before it.
const ROWS_AFTER: u64 = 1_000_000;

/// A sibling, and what happens beside it within its time.
#[derive(Clone, Copy)]
struct Within {
    node: u32,
    /// Index of the shortest that it is within.
    container: u32,
    statements: u32,
    first: u64,
    last: u64,
    shortest: u64,
    /// Something else began or ended within its time, or two calls within it were made at once.
    at_once: bool,
}

/// The reading of the rows of a statement.
struct Reader {
    node: u32,
    owner: u32,
    /// When the statement's span ended.
    ended: u64,
}

impl Forest {
    /// Hangs calls of a loop over a statement's rows below it, and gives the reading of rows to its statement. Whether anything was
    /// hung elsewhere.
    pub(super) fn hang_in_cursors(&mut self, names: &Names) -> bool {
        let (mut moves, mut readers, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let (mut within, mut times): (Vec<Within>, Vec<(u64, u64)>) = (Vec::new(), Vec::new());
        for parent in 0..self.nodes.len() as u32 {
            let kids = self.kids(parent);
            let database = |kid: &u32| names.category(self.nodes[*kid as usize].owner) == Category::Database;
            if kids.len() < 2 || !kids.iter().any(database) {
                continue;
            }
            let before = readers.len();
            self.readers(kids, names, &mut ends, &mut readers);
            // The query's span is closed when the other has begun already.
            for Reader { node, ended, .. } in &readers[before..] {
                let this = &mut self.nodes[*node as usize];
                this.from = this.from.max(*ended).min(this.to);
                this.start = this.start.max(this.from);
            }
            if self.any_within(self.kids(parent), &mut times) {
                self.contain(self.kids(parent), names, &mut within);
                self.loops(&within, names, &mut moves);
            }
        }
        for Reader { node, owner, .. } in readers {
            self.nodes[node as usize].owner = owner;
            self.nodes[node as usize].flags |= TRANSPORT;
        }
        for (call, statement) in &moves {
            self.nodes[*call as usize].parent = *statement;
            self.nodes[*call as usize].flags |= WITHIN;
        }
        !moves.is_empty()
    }

    /// Whether any sibling is within another: in most requests one comes after the other.
    fn any_within(&self, kids: &[u32], times: &mut Vec<(u64, u64)>) -> bool {
        if kids.len() <= STATEMENTS_MIN as usize {
            return false;
        }
        times.clear();
        times.extend(kids.iter().map(|kid| (self.nodes[*kid as usize].from, self.nodes[*kid as usize].to)));
        times.sort_unstable();
        let mut latest = 0;
        times.iter().any(|(_, to)| {
            let within = *to <= latest;
            latest = latest.max(*to);
            within
        })
    }

    /// Siblings by start, each with the shortest other that it is within.
    fn contain(&self, kids: &[u32], names: &Names, within: &mut Vec<Within>) {
        within.clear();
        within.extend(kids.iter().map(|kid| Within {
            node: *kid,
            container: NONE,
            statements: 0,
            first: u64::MAX,
            last: 0,
            shortest: u64::MAX,
            at_once: false,
        }));
        within.sort_unstable_by_key(|one| {
            let node = &self.nodes[one.node as usize];
            (node.from, Reverse(node.to), node.span_id)
        });
        // Those under way, the shortest last.
        let mut open: Vec<u32> = Vec::new();
        for i in 0..within.len() {
            let node = &self.nodes[within[i].node as usize];
            let ends = |one: &Within| self.nodes[one.node as usize].to;
            while open.last().is_some_and(|o| ends(&within[*o as usize]) <= node.from) {
                open.pop();
            }
            let mut beside = false;
            while let Some(o) = open.pop_if(|o| ends(&within[*o as usize]) < node.to) {
                within[o as usize].at_once = true;
                beside = true;
            }
            if let Some(o) = open.last().copied() {
                within[i].container = o;
                let this = &mut within[o as usize];
                this.at_once |= beside;
                this.first = this.first.min(node.from);
                this.last = this.last.max(node.to);
                if names.category(node.owner) == Category::Database && !names.reads_rows(node.owner) {
                    this.statements += 1;
                    this.shortest = this.shortest.min(node.to - node.from);
                }
            }
            open.push(i as u32);
        }
    }

    /// The reading of rows is its statement's: the one that ends as it begins.
    fn readers(&self, kids: &[u32], names: &Names, ends: &mut Vec<(u64, u32)>, readers: &mut Vec<Reader>) {
        if !kids.iter().any(|kid| names.reads_rows(self.nodes[*kid as usize].owner)) {
            return;
        }
        ends.clear();
        ends.extend(kids.iter().filter_map(|kid| {
            let node = &self.nodes[*kid as usize];
            let statement = names.category(node.owner) == Category::Database && !names.reads_rows(node.owner);
            statement.then_some((node.to, *kid))
        }));
        ends.sort_unstable_by_key(|(end, kid)| (*end, self.nodes[*kid as usize].span_id));
        for kid in kids {
            let node = &self.nodes[*kid as usize];
            if !names.reads_rows(node.owner) {
                continue;
            }
            let at = ends.partition_point(|(end, _)| *end <= node.from);
            let around = [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|at| ends.get(at));
            let Some((ended, statement)) = around.min_by_key(|(end, _)| end.abs_diff(node.from)) else {
                continue;
            };
            let statement = &self.nodes[*statement as usize];
            let begun = statement.from < node.from && ended.abs_diff(node.from) <= ROWS_AFTER;
            if begun && statement.service == node.service {
                readers.push(Reader { node: *kid, owner: statement.owner, ended: *ended });
            }
        }
    }

    /// Which calls are of a loop over the rows of which statement.
    fn loops(&self, within: &[Within], names: &Names, moves: &mut Vec<(u32, u32)>) {
        // By sibling: whether it is read in a loop, and whose loop it is in. What contains comes first.
        let mut known: Vec<(bool, u32)> = Vec::with_capacity(within.len());
        for one in within {
            let home = match known.get(one.container as usize) {
                Some((true, _)) => one.container,
                Some((false, home)) => *home,
                None => NONE,
            };
            known.push((self.is_read_in_a_loop(one, names), home));
            let Some(container) = within.get(home as usize) else { continue };
            if self.nodes[container.node as usize].service == self.nodes[one.node as usize].service {
                moves.push((one.node, container.node));
            }
        }
    }

    fn is_read_in_a_loop(&self, one: &Within, names: &Names) -> bool {
        let node = &self.nodes[one.node as usize];
        let call = matches!(node.kind, SpanKind::Client | SpanKind::Internal | SpanKind::Unspecified)
            && names.category(node.owner) == Category::Database;
        if one.at_once || one.statements < STATEMENTS_MIN || !call {
            return false;
        }
        // Its own way to the database and back comes before the first row; what begins with it, does not wait for that. After the
        // last call there is no room for another.
        let has_rows = names.reads_rows(node.owner) || one.first - node.from >= one.shortest;
        let until_its_end = node.to - one.last <= (one.last - one.first) / u64::from(one.statements);
        has_rows && until_its_end
    }
}
