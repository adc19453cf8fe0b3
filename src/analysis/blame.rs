//! The latency of each exchange of one trace, divided among owners.
//!
//! Conservation law: the pieces of an exchange are disjoint, in order, none is negative, and they sum to its corrected
//! latency to the nanosecond. It holds by construction: the client's phases fill `[intended, sent)`, and the critical path
//! gives every moment of `[sent, end)` to exactly one node.

use super::names::{NONE, Names, own};
use super::path::Walk;
use super::row::{self, Asked, ERROR, Opened, QUEUED, RESEND, Row, THROTTLED};
use super::tree::{Forest, OFF, Root, SPLIT};
use crate::record::SpanKind;
use std::collections::BTreeMap;

/// A piece of one exchange's latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Number of the contributor.
    pub owner: u32,
    /// Node of the span, [`NONE`] where the time is no span's.
    pub node: u32,
    pub start: u64,
    pub end: u64,
}

/// Own time of a node that belongs to someone else than the node.
#[derive(Clone, Copy, Debug)]
struct Share {
    node: u32,
    from: u64,
    to: u64,
    owner: u32,
}

/// Works on one trace at a time, in buffers that are used again.
#[derive(Default)]
pub(super) struct Blamer {
    pub forest: Forest,
    /// The pieces of the exchange blamed last.
    pub pieces: Vec<Piece>,
    /// For each node the part of the exchange's time that it and all below it answer for.
    pub windows: Vec<u64>,
    /// When the first byte of its answer came, and the service that answers the client.
    pub first_byte: u64,
    pub answering: u32,
    roots: Vec<Root>,
    shares: Vec<Share>,
    walk: Walk,
}

impl Blamer {
    /// Takes in a trace: its exchanges, its spans (`members` are indices into `rows`), and the time in queues that their
    /// attributes tell (row and nanoseconds, sorted by row).
    pub fn take(
        &mut self,
        asked: &[Asked],
        rows: &[Row],
        members: &[u32],
        queued: &[(u32, u64)],
        names: &mut Names,
    ) {
        self.roots.clear();
        self.roots.extend(asked.iter().map(|a| Root {
            span_id: a.span_id,
            from: a.sent,
            to: a.end,
            first_byte: a.first_byte,
        }));
        self.forest.build(&self.roots, rows, members, names);
        self.windows.clear();
        self.windows.resize(self.forest.nodes.len(), 0);
        self.share_out(rows, queued, names);
    }

    /// Divides the latency of the `index`th exchange; the pieces are then in `self.pieces`, in time order, empty ones
    /// left out.
    pub fn blame(&mut self, index: usize, asked: &Asked, opened: Option<&Opened>, names: &mut Names) {
        self.pieces.clear();
        let root = index as u32;
        let first = self.forest.kids(root).iter().min_by_key(|k| {
            let n = &self.forest.nodes[**k as usize];
            (n.from, n.span_id)
        });
        self.first_byte = asked.first_byte;
        self.answering = first.map_or(NONE, |first| self.forest.nodes[*first as usize].service);
        let outside = match first {
            None => own::UNTRACED,
            Some(first) => names.network_of_client(self.forest.nodes[*first as usize].service),
        };
        let Blamer { forest, pieces, windows, shares, walk, .. } = self;
        let own_time = |node: u32, start: u64, end: u64| {
            let at = &forest.nodes[node as usize];
            if node == root {
                let split = asked.first_byte.clamp(start, end);
                push(pieces, own::TRANSFER, NONE, split, end);
                push(pieces, outside, NONE, start, split);
            } else if at.flags & SPLIT != 0 {
                divide(pieces, shares, node, at.owner, start, end);
            } else {
                push(pieces, at.owner, node, start, end);
            }
        };
        walk.run(forest, root, own_time, |node, start, end| windows[node as usize] = end - start);
        for (owner, start, end) in row::before(asked, opened).into_iter().rev() {
            push(pieces, owner, NONE, start, end);
        }
        self.pieces.reverse();
    }

    /// Finds own time that is not the span's: queues that an attribute tells of, waits before a request is sent again.
    fn share_out(&mut self, rows: &[Row], queued: &[(u32, u64)], names: &mut Names) {
        self.shares.clear();
        // Parents of calls that were refused or failed, or that say that they were sent again.
        let mut resent_under = Vec::new();
        for i in self.forest.roots..self.forest.nodes.len() {
            let node = self.forest.nodes[i];
            let row = &rows[node.row as usize];
            if row.flags & QUEUED != 0 {
                let at = queued.partition_point(|q| q.0 < node.row);
                let time = queued.get(at).filter(|q| q.0 == node.row).map_or(0, |q| q.1);
                let owner = names.time_in_queue(node.op);
                let to = node.start.saturating_add(time).min(node.end);
                self.shares.push(Share { node: i as u32, from: node.start, to, owner });
            }
            let again = row.flags & (RESEND | THROTTLED) != 0
                || (row.flags & ERROR != 0 && names.is_a_request(node.owner));
            if again && node.kind != SpanKind::Server && node.parent >= self.forest.roots as u32 {
                resent_under.push(node.parent);
            }
        }
        resent_under.sort_unstable();
        resent_under.dedup();
        for parent in resent_under {
            self.retry_waits(parent, rows, names);
        }
        self.shares.sort_unstable_by_key(|s| (s.node, s.from, s.to, s.owner));
        // Disjoint, so that a moment has one owner and a piece finds its shares by halving.
        for i in 1..self.shares.len() {
            let before = self.shares[i - 1];
            if before.node == self.shares[i].node {
                self.shares[i].from = self.shares[i].from.max(before.to);
                self.shares[i].to = self.shares[i].to.max(self.shares[i].from);
            }
        }
        for share in &self.shares {
            self.forest.nodes[share.node as usize].flags |= SPLIT;
        }
    }

    /// The gaps between a call that was answered "not now" or failed and the next one of the same peer: one that says that it
    /// was sent again, or the same call of the same parent.
    fn retry_waits(&mut self, parent: u32, rows: &[Row], names: &mut Names) {
        let mut calls: Vec<u32> = self.forest.kids(parent).to_vec();
        calls.retain(|k| {
            let kid = &self.forest.nodes[*k as usize];
            kid.kind != SpanKind::Server && kid.flags & OFF == 0
        });
        if calls.len() < 2 {
            return;
        }
        calls.sort_unstable_by_key(|k| {
            let kid = &self.forest.nodes[*k as usize];
            (kid.start, kid.span_id)
        });
        // By peer: until when it refused, what was refused, and whether with "not now".
        let mut refused: BTreeMap<u32, (u64, u32, bool)> = BTreeMap::new();
        for call in calls {
            let kid = &self.forest.nodes[call as usize];
            let row = &rows[kid.row as usize];
            if let Some(&(from, what, not_now)) = refused.get(&row.peer)
                && (row.flags & RESEND != 0 || what == kid.owner)
                && from < kid.start
            {
                refused.remove(&row.peer);
                let owner = names.retry_wait(kid.service, row.peer, kid.owner, not_now);
                self.shares.push(Share { node: parent, from, to: kid.start, owner });
            }
            let failed = row.flags & ERROR != 0 && names.is_a_request(kid.owner);
            if failed || row.flags & THROTTLED != 0 {
                refused.insert(row.peer, (kid.end, kid.owner, row.flags & THROTTLED != 0));
            }
        }
    }
}

/// Pushes a piece unless it is empty. Pieces come latest first.
fn push(pieces: &mut Vec<Piece>, owner: u32, node: u32, start: u64, end: u64) {
    if start < end {
        pieces.push(Piece { owner, node, start, end });
    }
}

/// Pushes `[start, end)` of a node, latest first, the shares of others cut out.
fn divide(pieces: &mut Vec<Piece>, shares: &[Share], node: u32, owner: u32, start: u64, mut end: u64) {
    let reaches = shares.partition_point(|s| (s.node, s.from) < (node, end));
    for share in shares[..reaches].iter().rev() {
        if share.node != node || share.to <= start || end <= start {
            break;
        }
        let (from, to) = (share.from.max(start), share.to.min(end));
        if from < to {
            push(pieces, owner, node, to, end);
            push(pieces, share.owner, node, from, to);
            end = from;
        }
    }
    push(pieces, owner, node, start, end);
}
