//! Mends what links alone leave broken: circles, missing parents, wrappers that are siblings of what they wrap, work whose
//! parent only began it.

use super::super::contain::{Candidate, Query, shortest_containing};
use super::super::names::{NONE, Names};
use super::super::result::Category;
use super::{ENTRY, Forest};
use crate::record::SpanKind;

/// How far up the one who waits is looked for.
const CLIMB: usize = 64;

impl Forest {
    /// Work that goes on after the span that began it, for more than half of its length, hangs from the nearest span of the same
    /// process that ends after it: who begins work without waiting closes its span at once (a resolver of GraphQL that hands its
    /// fields on, an `async` handler whose span is that of the function's call), and who goes on until it is done may wait for
    /// it. Whether any was found.
    pub(super) fn hang_by_who_waits(&mut self) -> bool {
        let mut moved = false;
        for at in self.roots..self.order.len() {
            let i = self.order[at] as usize;
            let node = self.nodes[i];
            let parent = self.nodes[node.parent as usize];
            let begun = node.flags & ENTRY == 0
                && node.kind != SpanKind::Consumer
                && matches!(parent.kind, SpanKind::Internal | SpanKind::Unspecified)
                && parent.flags & ENTRY == 0;
            let after = node.to.saturating_sub(node.from.max(parent.to));
            if !begun || 2 * after <= node.to - node.from {
                continue;
            }
            let mut above = node.parent;
            for _ in 0..CLIMB {
                let this = &self.nodes[above as usize];
                if this.to >= node.to {
                    self.nodes[i].parent = above;
                    moved = true;
                    break;
                }
                if this.flags & ENTRY != 0 || (above as usize) < self.roots {
                    break;
                }
                above = this.parent;
            }
        }
        moved
    }

    /// Cuts circles and joins what has no parent at the nearest known ancestor.
    pub(super) fn repair(&mut self) {
        let mut attached = vec![false; self.nodes.len()];
        self.order.iter().for_each(|n| attached[*n as usize] = true);
        self.cut_cycles(&attached);
        let orphans: Vec<u32> = (0..self.nodes.len() as u32)
            .filter(|n| *n as usize >= self.roots && self.nodes[*n as usize].parent == NONE)
            .collect();
        self.repairs.orphans += orphans.len() as u64;
        let homes = self.homes(&orphans);
        for (orphan, home) in orphans.iter().zip(homes) {
            self.nodes[*orphan as usize].parent = home;
        }
    }

    /// A circle is cut above its earliest span, which is the likeliest to be the outermost.
    fn cut_cycles(&mut self, attached: &[bool]) {
        // 0: not seen; otherwise the climb that saw it first.
        let mut seen = vec![0u32; self.nodes.len()];
        let mut cut = false;
        for start in self.roots..self.nodes.len() {
            let (mut at, climb) = (start as u32, start as u32 + 1);
            while at != NONE && !attached[at as usize] && seen[at as usize] == 0 {
                seen[at as usize] = climb;
                at = self.nodes[at as usize].parent;
            }
            if at == NONE || attached[at as usize] || seen[at as usize] != climb {
                continue;
            }
            let (mut earliest, mut member) = (at, self.nodes[at as usize].parent);
            while member != at {
                let key = |n: u32| (self.nodes[n as usize].from, self.nodes[n as usize].span_id);
                if key(member) < key(earliest) {
                    earliest = member;
                }
                member = self.nodes[member as usize].parent;
            }
            self.nodes[earliest as usize].parent = NONE;
            cut = true;
        }
        self.repairs.cycles += u64::from(cut);
    }

    /// For each orphan: the shortest span of the known trees that contains it in time, best a client span whose server
    /// is missing, else a SERVER or INTERNAL one, else an exchange.
    fn homes(&self, orphans: &[u32]) -> Vec<u32> {
        let known = &self.order[self.roots..];
        let candidate = |n: &u32| {
            let node = &self.nodes[*n as usize];
            Candidate { start: node.from, end: node.to, class: node.service, tie: node.span_id, node: *n }
        };
        let lonely_client = |n: &&u32| {
            let kids = self.kids(**n);
            self.nodes[**n as usize].kind == SpanKind::Client
                && !kids.iter().any(|k| self.nodes[*k as usize].kind == SpanKind::Server)
        };
        let inner = |n: &&u32| {
            let kind = self.nodes[**n as usize].kind;
            matches!(kind, SpanKind::Server | SpanKind::Internal | SpanKind::Unspecified | SpanKind::Consumer)
        };
        let query = |orphan: &u32, across: bool| {
            let node = &self.nodes[*orphan as usize];
            // What is no server's entry lost a parent in its own process: a client of that process is not its caller.
            let except = if across && node.kind != SpanKind::Server { node.service } else { NONE };
            Query { start: node.from, end: node.to, except }
        };
        let clients: Vec<Candidate> = known.iter().filter(lonely_client).map(candidate).collect();
        let others: Vec<Candidate> = known.iter().filter(inner).map(candidate).collect();
        let by_client =
            shortest_containing(&clients, &orphans.iter().map(|o| query(o, true)).collect::<Vec<_>>());
        let by_other =
            shortest_containing(&others, &orphans.iter().map(|o| query(o, false)).collect::<Vec<_>>());
        let exchanges = self.nearest_exchanges(orphans);
        let choices = by_client.into_iter().zip(by_other).zip(exchanges);
        choices
            .map(|((client, other), exchange)| {
                [client, other].into_iter().find(|n| *n != NONE).unwrap_or(exchange)
            })
            .collect()
    }

    /// For each orphan the shortest exchange that contains it, else the one nearest to its start.
    fn nearest_exchanges(&self, orphans: &[u32]) -> Vec<u32> {
        if self.roots == 1 {
            return vec![0; orphans.len()];
        }
        let exchanges: Vec<Candidate> = (0..self.roots)
            .map(|i| {
                let root = &self.nodes[i];
                Candidate { start: root.from, end: root.to, class: NONE, tie: root.span_id, node: i as u32 }
            })
            .collect();
        let query = |o: &u32| {
            let node = &self.nodes[*o as usize];
            Query { start: node.from, end: node.to, except: NONE }
        };
        let inside = shortest_containing(&exchanges, &orphans.iter().map(query).collect::<Vec<_>>());
        let mut by_start: Vec<u32> = (0..self.roots as u32).collect();
        by_start.sort_unstable_by_key(|r| (self.nodes[*r as usize].from, self.nodes[*r as usize].span_id));
        let nearest = |start: u64| {
            let after = by_start.partition_point(|r| self.nodes[*r as usize].from <= start);
            let around = [after.checked_sub(1), Some(after)];
            let distance = |r: &u32| {
                let root = &self.nodes[*r as usize];
                (start.saturating_sub(root.to) + root.from.saturating_sub(start), root.span_id)
            };
            around
                .into_iter()
                .flatten()
                .filter_map(|i| by_start.get(i).copied())
                .min_by_key(distance)
                .unwrap_or(0)
        };
        let found = orphans.iter().zip(inside);
        found
            .map(|(o, inside)| if inside == NONE { nearest(self.nodes[*o as usize].from) } else { inside })
            .collect()
    }

    /// A childless INTERNAL sibling of the same service that covers nine tenths of a sibling with children is that
    /// sibling's wrapper. Whether any was found.
    pub(super) fn wrap(&mut self, names: &Names) -> bool {
        let mut moves = Vec::new();
        for parent in 0..self.nodes.len() as u32 {
            let kids = self.kids(parent);
            if kids.len() < 2 {
                continue;
            }
            let childless = |n: &&u32| self.kids(**n).is_empty();
            let wraps = |n: &&u32| {
                let node = &self.nodes[**n as usize];
                node.kind == SpanKind::Internal && names.category(node.owner) == Category::App
            };
            let wrappers: Vec<u32> = kids.iter().filter(childless).filter(wraps).copied().collect();
            if wrappers.is_empty() {
                continue;
            }
            let wrapped: Vec<u32> = kids.iter().filter(|n| !childless(n)).copied().collect();
            self.wrap_siblings(&wrappers, &wrapped, &mut moves);
        }
        for (child, wrapper) in &moves {
            self.nodes[*child as usize].parent = *wrapper;
        }
        !moves.is_empty()
    }

    fn wrap_siblings(&self, wrappers: &[u32], wrapped: &[u32], moves: &mut Vec<(u32, u32)>) {
        let candidates: Vec<Candidate> = wrappers
            .iter()
            .map(|w| {
                let n = &self.nodes[*w as usize];
                Candidate { start: n.from, end: n.to, class: n.service, tie: n.span_id, node: *w }
            })
            .collect();
        // One that covers nine tenths contains what is left after a tenth is taken off at both ends.
        let core = |n: &u32| {
            let n = &self.nodes[*n as usize];
            let tenth = (n.to - n.from) / 10;
            Query { start: n.from + tenth, end: n.to - tenth, except: NONE }
        };
        let found = shortest_containing(&candidates, &wrapped.iter().map(core).collect::<Vec<_>>());
        for (child, wrapper) in wrapped.iter().zip(found).filter(|(_, w)| *w != NONE) {
            let (c, w) = (&self.nodes[*child as usize], &self.nodes[wrapper as usize]);
            let covered = w.to.min(c.to).saturating_sub(w.from.max(c.from));
            if w.service == c.service && c.to > c.from && covered * 10 >= (c.to - c.from) * 9 {
                moves.push((*child, wrapper));
            }
        }
    }
}
