//! Imagined changes, exchange by exchange: the trees retimed, the latencies that would be left.
//!
//! Retiming moves what depends on the changed work and nothing else. Where requests also waited for their turn it promises
//! too little, because shorter work shortens the queue for all: waits for a turn of a single server go with the square
//! of its work or faster (M/M/1: W = S·ρ / (1 − ρ) with ρ in proportion to S). That is the other end of the range.

use super::blame::{Blamer, Piece};
use super::change::{Amount, Target, WhatIf};
use super::codec::codec;
use super::findings::collector::own_pieces;
use super::names::{NONE, Names};
use super::result::{Category, Contributor, WhatIfResult, WhatIfStep};
use super::row::Asked;
use super::tally::StepTally;
use super::tree::{HOP, Node, OFF, OUTER, TRANSPORT};
use super::whatif::{Keep, Retimer};
use crate::record::{Nanos, StepId};
use crate::stats::Histogram;
use std::collections::{BTreeMap, BTreeSet};

/// One imagined run of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Imagined {
    /// Exchanges that the change touches.
    pub touched: u64,
    /// Latencies of all exchanges with the change, and with the queues that would be shorter too.
    pub after: Histogram,
    pub best: Histogram,
    /// Time that exchanges waited for their turn, and all of their time.
    pub queued: u64,
    pub latency: u64,
}

codec!(Imagined { touched, after, best, queued, latency });

impl Imagined {
    pub fn merge(&mut self, other: &Imagined) {
        self.touched += other.touched;
        self.after.merge(&other.after);
        self.best.merge(&other.best);
        self.queued += other.queued;
        self.latency += other.latency;
    }
}

/// What is imagined, and what came of it so far.
#[derive(Default)]
pub(super) struct Plans {
    plans: Vec<WhatIf>,
    /// By plan and change: for each contributor's number whether it is meant, as far as anyone asked.
    meant: Vec<Vec<Vec<Option<bool>>>>,
    /// By plan and step.
    pub results: Vec<Vec<Imagined>>,
    keep: Vec<Keep>,
    gone: Vec<bool>,
}

impl Plans {
    pub fn new(plans: &[WhatIf]) -> Plans {
        Plans {
            plans: plans.to_vec(),
            meant: plans.iter().map(|plan| vec![Vec::new(); plan.changes.len()]).collect(),
            results: vec![Vec::new(); plans.len()],
            ..Plans::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Takes in an exchange that was just blamed.
    pub fn exchange(
        &mut self,
        blamer: &Blamer,
        index: u32,
        asked: &Asked,
        retimer: &mut Retimer,
        root_of: &[u32],
        names: &Names,
    ) {
        let latency = asked.latency();
        let step = usize::from(asked.step);
        let weight = u64::from(asked.weight);
        for number in 0..self.plans.len() {
            let outside = self.outside(number, blamer, names);
            let inside = if self.mark(number, blamer, index, root_of, names) {
                retimer.saved(&blamer.forest, root_of, index, |i, _| self.keep[i as usize])
            } else {
                0
            };
            let saved = (inside + outside).min(latency);
            let queued: u64 = blamer
                .pieces
                .iter()
                .filter(|p| names.category(p.owner) == Category::Queue)
                .map(|p| p.end - p.start)
                .sum();
            let after = latency - saved;
            let results = &mut self.results[number];
            if results.len() <= step {
                results.resize_with(step + 1, Imagined::default);
            }
            let result = &mut results[step];
            result.touched += if saved > 0 { weight } else { 0 };
            result.after.record_n(Nanos(after), weight);
            result.best.record_n(Nanos(after - shorter_queue(latency, saved, queued).min(after)), weight);
            result.queued += queued * weight;
            result.latency += latency * weight;
        }
    }

    /// Time saved in pieces that are no span's own.
    fn outside(&mut self, number: usize, blamer: &Blamer, names: &Names) -> u64 {
        let mut saved = 0;
        for piece in blamer.pieces.iter().filter(|p| p.node == NONE) {
            let time = piece.end - piece.start;
            for change in 0..self.plans[number].changes.len() {
                if self.means(number, change, piece.owner, names) {
                    saved += match self.plans[number].changes[change].amount {
                        Amount::Calls(_) => 0,
                        amount => time - keep(amount, time).of(time),
                    };
                    break;
                }
            }
        }
        saved
    }

    /// Notes for every node of an exchange what is left of its own time; whether anything changes.
    fn mark(&mut self, number: usize, blamer: &Blamer, index: u32, root_of: &[u32], names: &Names) -> bool {
        let forest = &blamer.forest;
        self.keep.clear();
        self.keep.resize(forest.nodes.len(), Keep::All);
        let mut any = false;
        for change in 0..self.plans[number].changes.len() {
            let (amount, calls) = {
                let change = &self.plans[number].changes[change];
                (change.amount, matches!(change.target, Target::Calls(_)))
            };
            if calls {
                any |= self.drop_calls(number, change, blamer, index, root_of, names);
                continue;
            }
            for (i, node) in forest.nodes.iter().enumerate().skip(forest.roots) {
                if root_of[i] == index
                    && self.keep[i] == Keep::All
                    && self.means(number, change, node.owner, names)
                {
                    self.keep[i] = keep(amount, node.to - node.from);
                    any = true;
                }
            }
        }
        any
    }

    /// Takes away the calls beyond the number that may stay, the latest ones, with all below them.
    fn drop_calls(
        &mut self,
        number: usize,
        change: usize,
        blamer: &Blamer,
        index: u32,
        root_of: &[u32],
        names: &Names,
    ) -> bool {
        let Amount::Calls(stay) = self.plans[number].changes[change].amount else { return false };
        let forest = &blamer.forest;
        let is_call = |node: &Node| node.flags & (OUTER | TRANSPORT | OFF) == 0;
        let mut calls: Vec<u32> = Vec::new();
        for (i, node) in forest.nodes.iter().enumerate().skip(forest.roots) {
            if root_of[i] == index && is_call(node) && self.means(number, change, node.owner, names) {
                calls.push(i as u32);
            }
        }
        // A call to a service and the service's own span are one call: what hangs below a counted one is part of it.
        self.gone.clear();
        self.gone.resize(forest.nodes.len(), false);
        let mut counted = calls.clone();
        counted.retain(|call| {
            let parent = forest.nodes[*call as usize].parent;
            !(forest.nodes[parent as usize].flags & HOP != 0 && calls.contains(&parent))
        });
        counted.sort_unstable_by_key(|c| {
            let node = &forest.nodes[*c as usize];
            (node.from, node.span_id)
        });
        for call in counted.iter().skip(stay as usize) {
            self.gone[*call as usize] = true;
        }
        let mut any = false;
        for &i in &forest.order {
            let parent = forest.nodes[i as usize].parent;
            if parent != NONE && self.gone[parent as usize] {
                self.gone[i as usize] = true;
            }
            if self.gone[i as usize] {
                self.keep[i as usize] = Keep::None;
                any = true;
            }
        }
        self.drop_between(blamer, &counted, stay as usize, names);
        any
    }

    /// Takes away what the caller does for calls that are gone: its own time since the call before.
    fn drop_between(&mut self, blamer: &Blamer, calls: &[u32], stay: usize, names: &Names) {
        let mut less: BTreeMap<u32, u64> = BTreeMap::new();
        let mut over = 0;
        for (nth, call) in calls.iter().enumerate() {
            let call = &blamer.forest.nodes[*call as usize];
            if nth >= stay.max(1) {
                for (node, time) in own_pieces(blamer, names, call.entry, (over, call.start)) {
                    *less.entry(node).or_default() += time;
                }
            }
            over = over.max(call.end);
        }
        if less.is_empty() {
            return;
        }
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        let own =
            |piece: &&Piece| less.contains_key(&piece.node) && names.category(piece.owner) == Category::App;
        for piece in blamer.pieces.iter().filter(own) {
            *all.entry(piece.node).or_default() += piece.end - piece.start;
        }
        for (node, less) in less {
            let all = all.get(&node).copied().unwrap_or_default().max(1);
            if self.keep[node as usize] == Keep::All {
                let left = u128::from(all.saturating_sub(less)) * 1_000_000 / u128::from(all);
                self.keep[node as usize] = Keep::Millionths(left as u32);
            }
        }
    }

    fn means(&mut self, number: usize, change: usize, owner: u32, names: &Names) -> bool {
        if owner == NONE {
            return false;
        }
        let known = &mut self.meant[number][change];
        if known.len() <= owner as usize {
            known.resize(owner as usize + 1, None);
        }
        *known[owner as usize]
            .get_or_insert_with(|| self.plans[number].changes[change].target.means(names.who(owner)))
    }
}

/// Waiting below this part of the latency is not worth a range.
const QUEUED_MIN: f64 = 0.05;

/// What the result says about each plan.
pub(super) fn results(
    plans: &[WhatIf],
    imagined: Vec<Vec<Imagined>>,
    steps: &[StepTally],
) -> Vec<WhatIfResult> {
    let mut out = Vec::new();
    for (plan, by_step) in plans.iter().zip(imagined) {
        let matched = steps.iter().flat_map(|s| s.parts.keys()).filter(|who| plan.means(who));
        let matched: BTreeSet<&Contributor> = matched.collect();
        let of_step = |(step, imagined): (usize, Imagined)| {
            let queued = imagined.queued as f64 / imagined.latency.max(1) as f64;
            let before = steps.get(step).map(|s| s.latency.quantiles()).unwrap_or_default();
            let best = (queued >= QUEUED_MIN).then(|| imagined.best.quantiles());
            WhatIfStep {
                step: StepId(step as u16),
                touched: imagined.touched,
                before,
                after: imagined.after.quantiles(),
                best: best.filter(|_| imagined.touched > 0),
                queued_share: queued,
            }
        };
        let steps =
            by_step.into_iter().enumerate().filter(|(_, i)| !i.after.is_empty()).map(of_step).collect();
        let matched = matched.into_iter().take(MATCHED).cloned().collect();
        out.push(WhatIfResult { text: plan.text.clone(), matched, steps });
    }
    out
}

/// Contributors that a plan lists as meant.
const MATCHED: usize = 20;

/// What is left of a time by an amount.
fn keep(amount: Amount, time: u64) -> Keep {
    match amount {
        Amount::Millionths(0) => Keep::None,
        Amount::Millionths(part) => Keep::Millionths(part),
        Amount::AtMost(most) if most >= time => Keep::All,
        Amount::AtMost(most) => {
            Keep::Millionths((u128::from(most) * 1_000_000 / u128::from(time.max(1))) as u32)
        }
        Amount::Calls(_) => Keep::All,
    }
}

/// How much shorter the waits of an exchange get when its work does: with the square of the work that is left.
fn shorter_queue(latency: u64, saved: u64, queued: u64) -> u64 {
    let work = latency.saturating_sub(queued);
    if queued == 0 || work == 0 || saved == 0 {
        return 0;
    }
    let left = 1.0 - (saved.min(work) as f64 / work as f64);
    (queued as f64 * (1.0 - left * left)) as u64
}
