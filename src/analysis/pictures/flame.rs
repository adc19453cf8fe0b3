//! The critical paths of all exchanges of a step as one tree: who called whom, and how much of the waiting was each one's.

use super::super::blame::Blamer;
use super::super::codec::codec;
use super::super::names::{MixedMap, NONE, Names};
use super::super::result::{Contributor, FlameNode};
use crate::record::Nanos;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Levels that are told apart; deeper ones are part of the last. Traces can be 50,000 spans deep.
const DEPTH: u8 = 48;
/// Nodes of a step that the result lists at most.
const LISTED: usize = 1_500;
/// Nodes with less of the step's time, all below them included, are summed up.
const VISIBLE: u64 = 4_000;

#[derive(Clone, Copy)]
struct PathNode {
    parent: u32,
    frame: u32,
    depth: u8,
    own: u64,
    exchanges: u64,
    /// The exchange that was counted last.
    seen: u64,
    /// The child that was asked for last: most calls are like the one before.
    last: (u32, u32),
}

/// The tree while it is filled: contributors by number.
pub(super) struct Paths {
    nodes: Vec<PathNode>,
    index: MixedMap<u64, u32>,
    serial: u64,
    /// For the forest at hand: the path of each of its nodes.
    known: Vec<u32>,
    climb: Vec<u32>,
}

impl Default for Paths {
    fn default() -> Paths {
        let root =
            PathNode { parent: NONE, frame: NONE, depth: 0, own: 0, exchanges: 0, seen: 0, last: (NONE, 0) };
        Paths {
            nodes: vec![root],
            index: MixedMap::default(),
            serial: 0,
            known: Vec::new(),
            climb: Vec::new(),
        }
    }
}

impl Paths {
    /// Adds the pieces of the exchange that was just blamed.
    pub fn exchange(&mut self, blamer: &Blamer, weight: u64) {
        self.serial += 1;
        self.known.clear();
        self.known.resize(blamer.forest.nodes.len(), NONE);
        for piece in &blamer.pieces {
            let at = if piece.node == NONE {
                self.below(0, piece.owner)
            } else {
                let own = self.path_of(blamer, piece.node);
                // Part of a span's own time may be someone else's: a queue, a wait before a call is made again.
                let other = blamer.forest.nodes[piece.node as usize].owner != piece.owner;
                if other { self.below(own, piece.owner) } else { own }
            };
            self.nodes[at as usize].own += (piece.end - piece.start) * weight;
            self.count(at, weight);
        }
    }

    /// The path that leads to a span.
    fn path_of(&mut self, blamer: &Blamer, node: u32) -> u32 {
        self.climb.clear();
        let mut at = node;
        let mut path = loop {
            if (at as usize) < blamer.forest.roots {
                break 0;
            }
            if self.known[at as usize] != NONE {
                break self.known[at as usize];
            }
            self.climb.push(at);
            at = blamer.forest.nodes[at as usize].parent;
        };
        while let Some(next) = self.climb.pop() {
            path = self.below(path, blamer.forest.nodes[next as usize].owner);
            self.known[next as usize] = path;
        }
        path
    }

    fn below(&mut self, path: u32, frame: u32) -> u32 {
        let above = self.nodes[path as usize];
        // A wrapper of the same work adds nothing to see.
        if above.frame == frame || above.depth >= DEPTH {
            return path;
        }
        if above.last.0 == frame {
            return above.last.1;
        }
        let new = self.nodes.len() as u32;
        let found = *self.index.entry(u64::from(path) << 32 | u64::from(frame)).or_insert(new);
        if found == new {
            let depth = above.depth + 1;
            self.nodes.push(PathNode {
                parent: path,
                frame,
                depth,
                own: 0,
                exchanges: 0,
                seen: 0,
                last: (NONE, 0),
            });
        }
        self.nodes[path as usize].last = (frame, found);
        found
    }

    /// Counts the exchange once for a path and all above it.
    fn count(&mut self, mut at: u32, weight: u64) {
        while at != NONE {
            let node = &mut self.nodes[at as usize];
            if node.seen == self.serial {
                break;
            }
            node.seen = self.serial;
            node.exchanges += weight;
            at = node.parent;
        }
    }

    /// Gives contributors their names.
    pub fn named(self, names: &Names) -> Flame {
        let mut flame = Flame::default();
        // Nodes come after their parents, so the place of a parent is known.
        let mut places = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let place = match node.parent {
                NONE => 0,
                parent => flame.below(places[parent as usize], names.who(node.frame)),
            };
            flame.nodes[place as usize].own += node.own;
            flame.nodes[place as usize].exchanges += node.exchanges;
            places.push(place);
        }
        flame
    }
}

/// A node by name.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    parent: u32,
    who: Option<Contributor>,
    own: u64,
    exchanges: u64,
}

codec!(Kept { parent, who, own, exchanges });

/// The tree by name, of one share or of several; the first node is the step itself.
#[derive(Clone, Debug)]
pub(super) struct Flame {
    nodes: Vec<Kept>,
    index: BTreeMap<(u32, Contributor), u32>,
}

impl Default for Flame {
    fn default() -> Flame {
        let root = Kept { parent: 0, who: None, own: 0, exchanges: 0 };
        Flame { nodes: vec![root], index: BTreeMap::new() }
    }
}

impl PartialEq for Flame {
    /// Equal when the trees are; the order of arrival does not matter.
    fn eq(&self, other: &Flame) -> bool {
        self.clone().into_nodes() == other.clone().into_nodes()
    }
}

impl super::super::codec::Codec for Flame {
    fn put(&self, out: &mut Vec<u8>) {
        self.nodes.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Flame> {
        let mut flame = Flame::default();
        for (at, node) in Vec::<Kept>::take(from)?.into_iter().enumerate() {
            let place = match (at, node.who) {
                (0, None) => 0,
                (1.., Some(who)) if (node.parent as usize) < at => flame.below(node.parent, &who),
                _ => return None,
            };
            if place as usize != at {
                return None;
            }
            flame.nodes[at].own = node.own;
            flame.nodes[at].exchanges = node.exchanges;
        }
        Some(flame)
    }
}

impl Flame {
    fn below(&mut self, parent: u32, who: &Contributor) -> u32 {
        let new = self.nodes.len() as u32;
        let found = *self.index.entry((parent, who.clone())).or_insert(new);
        if found == new {
            self.nodes.push(Kept { parent, who: Some(who.clone()), own: 0, exchanges: 0 });
        }
        found
    }

    pub fn merge(&mut self, other: &Flame) {
        let mut places = Vec::with_capacity(other.nodes.len());
        for node in &other.nodes {
            let place = match &node.who {
                None => 0,
                Some(who) => self.below(places[node.parent as usize], who),
            };
            self.nodes[place as usize].own += node.own;
            self.nodes[place as usize].exchanges += node.exchanges;
            places.push(place);
        }
    }

    /// Parents first, siblings largest first; what is too small to be seen is summed up under its parent.
    pub fn into_nodes(self) -> Vec<FlameNode> {
        let n = self.nodes.len();
        let mut totals: Vec<u64> = self.nodes.iter().map(|node| node.own).collect();
        let mut kids: Vec<Vec<u32>> = vec![Vec::new(); n];
        for at in (1..n).rev() {
            let parent = self.nodes[at].parent as usize;
            totals[parent] += totals[at];
            kids[parent].push(at as u32);
        }
        // The smallest total that is listed; equal ones are left out together, so that no order decides.
        let mut sorted = totals.clone();
        sorted.sort_unstable_by_key(|total| Reverse(*total));
        let floor = sorted.get(LISTED).map_or(0, |total| total + 1).max(totals[0] / VISIBLE).max(1);
        let mut out = Vec::new();
        let mut todo: Vec<(u32, Option<u32>)> = vec![(0, None)];
        while let Some((at, parent)) = todo.pop() {
            let Kept { who, own, exchanges, .. } = self.nodes[at as usize].clone();
            let place = out.len() as u32;
            out.push(FlameNode { parent, who, folded: 0, own: Nanos(own), exchanges });
            let (mut seen, small): (Vec<u32>, Vec<u32>) = std::mem::take(&mut kids[at as usize])
                .into_iter()
                .partition(|k| totals[*k as usize] >= floor);
            if !small.is_empty() {
                let own = Nanos(small.iter().map(|k| totals[*k as usize]).sum());
                let folded = small.len() as u32;
                let exchanges = small.iter().map(|k| self.nodes[*k as usize].exchanges).max().unwrap_or(0);
                if own > Nanos::ZERO {
                    out.push(FlameNode { parent: Some(place), who: None, folded, own, exchanges });
                }
            }
            seen.sort_by(|a, b| {
                let key = |k: u32| (totals[k as usize], Reverse(&self.nodes[k as usize].who));
                key(*a).cmp(&key(*b))
            });
            todo.extend(seen.into_iter().map(|kid| (kid, Some(place))));
        }
        out
    }
}
