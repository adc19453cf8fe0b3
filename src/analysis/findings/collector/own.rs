//! What the services' own code took, and what it stood before: pieces of the path under no finer span.

use super::super::event_loop::LONG;
use super::super::evidence::{EMBEDDED, Pattern, USERS};
use super::{Block, Collector, On, is_outside, whole};
use crate::analysis::blame::Blamer;
use crate::analysis::names::{NONE, Names};
use crate::analysis::result::Category;
use crate::analysis::row::{COLD, IN_LOOP, IN_WORKERS, Row};
use crate::analysis::sums::Call;
use crate::analysis::tree::{ENTRY, HOP, leaf};
use crate::record::{Nanos, SpanKind};
use crate::stats::Histogram;

/// Own time of the caller between two calls of a series that counts as the price of a call: what a mapper and a driver do for
/// one in a slow language. More than that is work of the loop's own.
const BETWEEN_CALLS: u64 = Nanos::from_millis(1).0;

/// Where the request was taken in that a node belongs to, if that is known: its process, or an event loop there.
pub(super) fn taken_in_at(blamer: &Blamer, rows: &[Row], node: u32) -> Option<u32> {
    let nodes = &blamer.forest.nodes;
    let entry = nodes.get(nodes.get(node as usize)?.entry as usize)?;
    rows.get(entry.row as usize).map(Row::place)
}

/// Calls that a block has at least.
const QUICK_CALLS: u64 = 4;

impl Block {
    /// Whether it is long for many calls of which each is too quick to be judged by itself.
    fn is_of_quick_calls(&self) -> bool {
        self.to - self.from >= LONG && self.calls >= QUICK_CALLS && self.time < LONG * self.calls
    }
}

impl Collector {
    /// Entries by instance, cold starts, requests, and long pieces of own time.
    pub(super) fn own_time(&mut self, blamer: &Blamer, rows: &[Row], (step, on): On, names: &Names) {
        let nodes = &blamer.forest.nodes;
        self.streamed(blamer, (step, on), names);
        self.reading(blamer, (step, on), names);
        self.idle(blamer, rows, (step, on), names);
        self.after_answer(blamer, rows, step, names);
        self.before.clear();
        self.asked.clear();
        self.blocked.clear();
        for (at, piece) in blamer.pieces.iter().enumerate() {
            let Some(node) = nodes.get(piece.node as usize) else { continue };
            let host = rows[node.row as usize].host;
            let place = taken_in_at(blamer, rows, piece.node).unwrap_or(host);
            if names.category(piece.owner) == Category::App {
                let owner = whole(piece.owner, names);
                let long = piece.end - piece.start >= LONG;
                if long {
                    self.stretches.entry((step, owner, place)).or_default().add(piece.start, piece.end);
                }
                let next =
                    blamer.pieces.get(at + 1).filter(|p| names.category(p.owner) == Category::Database);
                let asks =
                    next.and_then(|p| nodes.get(p.node as usize)).is_some_and(|n| n.entry == node.entry);
                if asks && long {
                    self.before.push((owner, piece.end - piece.start));
                }
                if asks && node.entry != NONE && !self.asked.contains(&node.entry) {
                    self.asked.push(node.entry);
                    let asker = self.askers.entry((step, owner, host)).or_default();
                    asker.add(piece.start, piece.end, nodes[node.entry as usize].end);
                }
            }
            // Each entry on the path is taken once, with the piece that ends it.
            if node.entry == NONE {
                continue;
            }
            if leaf(names.category(piece.owner)) {
                self.call_of(node.entry, (piece.start, piece.end));
            }
            let at = &nodes[node.entry as usize];
            if piece.end != at.end || at.flags & ENTRY == 0 || at.row == NONE {
                continue;
            }
            let row = &rows[at.row as usize];
            let times = self.instances.entry((step, at.owner, row.host)).or_insert_with(Histogram::coarse);
            times.record_n(Nanos(at.end - at.start), on.weight);
            let users = self.users.entry((step, at.owner, row.host)).or_default();
            users.keep(u64::from(on.user).wrapping_mul(0x9E37_79B9_7F4A_7C15), USERS);
            if at.kind != SpanKind::Consumer {
                let requests = self.requests.entry((step, at.service, row.place())).or_default();
                requests.add(nodes[at.parent as usize].from, at.from, at.to);
                requests.in_loop += u64::from(row.flags & IN_LOOP != 0);
                let of_entry = self.blocked.iter().find(|(entry, _)| *entry == node.entry);
                if let Some((_, block)) =
                    of_entry.filter(|(_, b)| row.flags & IN_LOOP != 0 && b.is_of_quick_calls())
                {
                    let blocks = self.blocks.entry((step, whole(at.owner, names), row.place())).or_default();
                    blocks.add(block.from, block.to);
                }
                requests.in_workers += u64::from(row.flags & IN_WORKERS != 0);
            }
            if row.flags & COLD != 0 {
                let time = blamer.windows[node.entry as usize];
                self.tables[Pattern::Cold as usize].part(step, at.owner).add(time, time, on);
            }
        }
        self.add_by_owner(Pattern::BeforeDatabase, (step, on));
    }

    /// A call on the path of a request of a service.
    fn call_of(&mut self, entry: u32, (start, end): (u64, u64)) {
        let at = self.blocked.iter().position(|(of, _)| *of == entry).unwrap_or_else(|| {
            self.blocked.push((entry, Block { from: start, ..Block::default() }));
            self.blocked.len() - 1
        });
        let block = &mut self.blocked[at].1;
        block.from = block.from.min(start);
        block.to = block.to.max(end);
        block.calls += 1;
        block.time += end - start;
    }

    /// Long own time right before calls to other services, and since when each call's caller did nothing else.
    pub(super) fn before_calls(&mut self, blamer: &Blamer, on: On, names: &Names) {
        let nodes = &blamer.forest.nodes;
        self.before.clear();
        self.called.clear();
        for pair in blamer.pieces.windows(2) {
            let (piece, next) = (&pair[0], &pair[1]);
            if names.category(piece.owner) != Category::App {
                continue;
            }
            let (Some(node), Some(call)) = (nodes.get(piece.node as usize), nodes.get(next.node as usize))
            else {
                continue;
            };
            // A way that takes no time has no piece: then the service that is called is next.
            let (at, call) = match nodes.get(call.parent as usize) {
                Some(way) if call.flags & ENTRY != 0 && way.flags & HOP != 0 => (call.parent, way),
                _ => (next.node, call),
            };
            if call.entry != node.entry || call.from != piece.end || !is_outside(call, names) {
                continue;
            }
            self.called.push((at, piece.start));
            if piece.end - piece.start >= LONG {
                self.before.push((whole(piece.owner, names), piece.end - piece.start));
            }
        }
        self.called.sort_unstable();
        self.add_by_owner(Pattern::BeforeCall, on);
    }

    /// Own time of the service that answers the client after the first byte of its answer.
    fn streamed(&mut self, blamer: &Blamer, (step, on): On, names: &Names) {
        self.before.clear();
        for piece in blamer.pieces.iter().rev() {
            let Some(node) = blamer.forest.nodes.get(piece.node as usize) else { continue };
            let first_byte = blamer.first_byte;
            if piece.end <= first_byte {
                break;
            }
            if node.service == blamer.answering && names.category(piece.owner) == Category::App {
                self.before.push((whole(piece.owner, names), piece.end - piece.start.max(first_byte)));
            }
        }
        self.add_by_owner(Pattern::Streamed, (step, on));
    }

    /// Own time right after statements of a database within the process.
    fn reading(&mut self, blamer: &Blamer, (step, on): On, names: &Names) {
        self.before.clear();
        let entry = |node: u32| blamer.forest.nodes.get(node as usize).map(|n| n.entry);
        for pair in blamer.pieces.windows(2) {
            let (asked, after) = (&pair[0], &pair[1]);
            if names.category(after.owner) == Category::App
                && names.category(asked.owner) == Category::Database
                && asked.end == after.start
                && names.who(asked.owner).system.as_ref() == EMBEDDED
                && entry(asked.node) == entry(after.node)
            {
                self.before.push((whole(asked.owner, names), after.end - after.start));
            }
        }
        self.add_by_owner(Pattern::Reading, (step, on));
    }

    /// Own time in which nothing of its span ran: of what the tracer counted so much as does not fit into what the span waited for.
    fn idle(&mut self, blamer: &Blamer, rows: &[Row], (step, on): On, names: &Names) {
        let row = |node: u32| rows.get(blamer.forest.nodes.get(node as usize)?.row as usize);
        self.data.clear();
        let own = blamer.pieces.iter().filter(|piece| names.category(piece.owner) == Category::App);
        let own = own.filter(|piece| row(piece.node).is_some_and(|row| row.idle() > 0));
        self.data.extend(own.map(|piece| (piece.node, piece.end - piece.start, piece.owner)));
        self.data.sort_unstable();
        self.before.clear();
        for of_node in self.data.chunk_by(|a, b| a.0 == b.0) {
            let Some(row) = row(of_node[0].0) else { continue };
            let own: u64 = of_node.iter().map(|(_, time, _)| time).sum();
            let elsewhere = (row.end - row.start).saturating_sub(own);
            let idle = row.idle().saturating_sub(elsewhere).min(own);
            if idle > 0 {
                self.before.push((whole(of_node[0].2, names), idle));
            }
        }
        self.add_by_owner(Pattern::Idle, (step, on));
    }

    /// Long own time of the process that answers the client, after the client has its answer: background tasks, and what a handler does
    /// once it has sent. Nobody waits for it but those who come meanwhile.
    fn after_answer(&mut self, blamer: &Blamer, rows: &[Row], step: u16, names: &Names) {
        let forest = &blamer.forest;
        let nodes = &forest.nodes;
        let mut entries =
            blamer.pieces.iter().filter_map(|piece| nodes.get(piece.node as usize)).map(|n| n.entry);
        let is_answering =
            |at: &u32| nodes.get(*at as usize).is_some_and(|n| (n.parent as usize) < forest.roots);
        let Some(entry) = entries.find(is_answering) else { return };
        let answered = nodes[nodes[entry as usize].parent as usize].to;
        for (at, node) in nodes.iter().enumerate().skip(forest.roots) {
            let late = node.entry == entry && node.to >= answered + LONG;
            if !late || node.row == NONE || names.category(node.owner) != Category::App {
                continue;
            }
            let place = taken_in_at(blamer, rows, at as u32).unwrap_or(rows[node.row as usize].host);
            let kids = forest.kids(at as u32).iter().map(|kid| &nodes[*kid as usize]);
            let mut calls: Vec<(u64, u64)> = kids.map(|kid| (kid.from, kid.to)).collect();
            calls.push((node.to, node.to));
            calls.sort_unstable();
            let mut over = node.from.max(answered);
            for (from, to) in calls {
                let until = from.min(node.to);
                if until >= over + LONG {
                    let stretches =
                        self.stretches.entry((step, whole(node.owner, names), place)).or_default();
                    stretches.add(over, until);
                }
                over = over.max(to);
            }
        }
    }
}

/// How long the caller's own code ran between the calls of a series, sorted by their end, at most [`BETWEEN_CALLS`] before each.
pub fn own_time_between(calls: &[Call], blamer: &Blamer, names: &Names) -> u64 {
    let Some((first, rest)) = calls.split_first() else { return 0 };
    let mut over = first.end;
    let before = |call: &Call| {
        let gap = own_pieces(blamer, names, first.caller, (over, call.start));
        over = over.max(call.end);
        gap.map(|(_, time)| time).sum::<u64>()
    };
    rest.iter().map(before).sum()
}

/// Pieces of a request's own code within a gap between two of its calls: node and time, of all at most [`BETWEEN_CALLS`].
pub fn own_pieces<'a>(
    blamer: &'a Blamer,
    names: &'a Names,
    request: u32,
    (from, to): (u64, u64),
) -> impl Iterator<Item = (u32, u64)> + 'a {
    let (nodes, pieces) = (&blamer.forest.nodes, &blamer.pieces);
    let own = move |node: u32| nodes.get(node as usize).is_some_and(|n| n.entry == request);
    let gap = pieces[pieces.partition_point(|p| p.end <= from)..].iter().take_while(move |p| p.start < to);
    let mut room = BETWEEN_CALLS;
    gap.filter(move |p| own(p.node) && names.category(p.owner) == Category::App).map(move |p| {
        // Calls that overlap have no gap.
        let time = p.end.min(to).saturating_sub(p.start.max(from)).min(room);
        room -= time;
        (p.node, time)
    })
}
