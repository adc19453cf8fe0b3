//! What if some of the work took less time or none: each span retimed, what depends on it moved, the path computed again.
//!
//! Taking its time off the path alone would promise too much where work goes on in parallel: then the next longest branch
//! is what the caller waits for. The model of dependence is the one that timing allows (as in CRISP's retiming): a child
//! starts after every sibling that had ended by then, and after the same time of the parent's own in between; a parent ends after
//! all of its children, and after the same time of its own. Everything only moves earlier, so nothing can get slower.
//!
//! A sibling that is about to end counts as well, if nothing ended nearer: who hands over its result closes its span a moment after
//! the next one began (a WSGI application within an ASGI server, a callback within the call that it ends).

use super::row::group_by;
use super::tree::{Forest, Node, OFF};

/// What is left of a node's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    Millionths(u32),
    None,
}

impl Keep {
    /// What is left of so much.
    pub fn of(self, time: u64) -> u64 {
        match self {
            Keep::All => time,
            Keep::Millionths(part) => (u128::from(time) * u128::from(part) / 1_000_000) as u64,
            Keep::None => 0,
        }
    }
}

/// The last part of its length in which a span may hand over to the next one.
const HANDING_OVER: u64 = 20;
/// Siblings that end next, among which the one that hands over is looked for.
const LOOKED_AT: usize = 8;

/// Retimes the trees of one trace, in buffers that are used again.
#[derive(Default)]
pub(super) struct Retimer {
    ready: bool,
    /// Children by start, in the ranges that `Forest::kid_range` gives.
    starts: Vec<u32>,
    /// For each node, how much of its parent's time before its start, and before its end, no sibling covers.
    bare_at_start: Vec<u64>,
    bare_at_end: Vec<u64>,
    /// Offsets by exchange, and nodes below their parents, by exchange.
    first: Vec<u32>,
    order: Vec<u32>,
    /// For each node its new length, and its new end counted from its parent's new start.
    length: Vec<u64>,
    end: Vec<u64>,
}

impl Retimer {
    /// Forgets the last trace.
    pub fn reset(&mut self) {
        self.ready = false;
    }

    /// How much shorter the window of an exchange gets if of the own time of each node only what `keep` says is left.
    /// `root_of` gives each node's exchange.
    pub fn saved(
        &mut self,
        forest: &Forest,
        root_of: &[u32],
        root: u32,
        keep: impl Fn(u32, &Node) -> Keep,
    ) -> u64 {
        if !self.ready {
            self.prepare(forest, root_of);
        }
        let (from, to) = (self.first[root as usize] as usize, self.first[root as usize + 1] as usize);
        for at in (from..to).rev() {
            let node = self.order[at];
            self.length[node as usize] = self.retime(forest, node, keep(node, &forest.nodes[node as usize]));
        }
        let (start, end) = span(forest, root);
        (end - start).saturating_sub(self.length[root as usize])
    }

    /// The new length of a node whose children have theirs.
    fn retime(&mut self, forest: &Forest, node: u32, keep: Keep) -> u64 {
        let (start, end) = span(forest, node);
        let (first, last) = forest.kid_range(node);
        if first == last {
            return keep.of(end - start);
        }
        // What the next child waits for: when it was over, how much bare time there was before that, when it is over now.
        let (mut over, mut bare, mut now) = (start, 0, 0);
        let mut ended = last;
        for at in first..last {
            let kid = self.starts[at as usize];
            let this = &forest.nodes[kid as usize];
            if !counts(this) {
                continue;
            }
            // Latest end first, so from the back.
            while ended > first && forest.nodes[forest.kid(ended - 1) as usize].end <= this.start {
                ended -= 1;
                let done = forest.kid(ended);
                let before = &forest.nodes[done as usize];
                if counts(before) {
                    (over, bare) = (before.end, self.bare_at_end[done as usize]);
                    now = now.max(self.end[done as usize]);
                }
            }
            self.end[kid as usize] = self.length[kid as usize]
                + match self.handing_over(forest, (first, ended), this.start, this.start - over) {
                    Some(handed) => now.max(handed),
                    None => {
                        let own = self.bare_at_start[kid as usize] - bare;
                        now + (this.start - over) - (own - keep.of(own))
                    }
                };
        }
        let kids =
            self.starts[first as usize..last as usize].iter().filter(|k| counts(&forest.nodes[**k as usize]));
        let (mut all_over, mut all_now) = (start, 0);
        for kid in kids {
            all_over = all_over.max(forest.nodes[*kid as usize].end);
            all_now = all_now.max(self.end[*kid as usize]);
        }
        all_now + keep.of(end - all_over)
    }

    /// When the sibling now hands over that begins before `start` and ends nearest after it: within a [`HANDING_OVER`] of its own
    /// length, and nearer than `gap`, the time since the last one ended.
    fn handing_over(&self, forest: &Forest, (first, ended): (u32, u32), start: u64, gap: u64) -> Option<u64> {
        let later = (first..ended).rev().map(|at| forest.kid(at));
        let later = later.map(|kid| (kid, &forest.nodes[kid as usize])).filter(|(_, n)| counts(n));
        let (kid, node) = later.take(LOOKED_AT).find(|(_, n)| n.start < start)?;
        let left = node.end - start;
        let hands_over = left < gap && left <= (node.end - node.start) / HANDING_OVER;
        hands_over.then(|| {
            let end = self.end[kid as usize];
            end - left.min(self.length[kid as usize])
        })
    }

    fn prepare(&mut self, forest: &Forest, root_of: &[u32]) {
        self.ready = true;
        let n = forest.nodes.len();
        for table in [&mut self.bare_at_start, &mut self.bare_at_end, &mut self.length, &mut self.end] {
            table.clear();
            table.resize(n, 0);
        }
        let (first, order) =
            group_by(forest.order.len(), forest.roots, |i| root_of[forest.order[i] as usize]);
        self.first = first;
        self.order = order.into_iter().map(|i| forest.order[i as usize]).collect();
        self.starts.clear();
        for node in 0..n as u32 {
            let from = self.starts.len();
            let kids = forest.kids(node);
            if kids.is_empty() {
                continue;
            }
            self.starts.extend_from_slice(kids);
            self.starts[from..].sort_unstable_by_key(|k| {
                let n = &forest.nodes[*k as usize];
                (n.start, n.end, n.span_id)
            });
            self.measure(forest, node, from);
        }
    }

    /// Bare time before each start and end: time passes as bare while no child runs.
    fn measure(&mut self, forest: &Forest, node: u32, from: usize) {
        let (mut at, _) = span(forest, node);
        let (mut running, mut bare) = (0u32, 0);
        let kids: Vec<u32> =
            self.starts[from..].iter().copied().filter(|k| counts(&forest.nodes[*k as usize])).collect();
        let ends: Vec<u32> =
            forest.kids(node).iter().rev().copied().filter(|k| counts(&forest.nodes[*k as usize])).collect();
        let (mut next_start, mut next_end) = (kids.iter().peekable(), ends.iter().peekable());
        while let Some(&&ending) = next_end.peek() {
            let end = forest.nodes[ending as usize].end;
            let starting = next_start.peek().map(|k| (**k, forest.nodes[**k as usize].start));
            let (moment, start) = match starting {
                Some((kid, start)) if start < end => (start, Some(kid)),
                _ => (end, None),
            };
            if running == 0 {
                bare += moment.saturating_sub(at);
            }
            at = moment;
            if let Some(kid) = start {
                self.bare_at_start[kid as usize] = bare;
                running += 1;
                next_start.next();
            } else {
                self.bare_at_end[ending as usize] = bare;
                running -= 1;
                next_end.next();
            }
        }
    }
}

/// On the path's side of the tree, and longer than nothing.
fn counts(node: &Node) -> bool {
    node.flags & OFF == 0 && node.start < node.end
}

/// The interval that a node answers for; an exchange's is its whole window.
fn span(forest: &Forest, node: u32) -> (u64, u64) {
    let n = &forest.nodes[node as usize];
    if (node as usize) < forest.roots { (n.from, n.to) } else { (n.start, n.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::names::Names;
    use crate::analysis::row::Row;
    use crate::analysis::tree::Root;
    use crate::record::SpanKind;
    use proptest::prelude::*;

    /// The model, moment by moment and recursively.
    fn oracle(forest: &Forest, node: u32, keep: &dyn Fn(u32, &Node) -> Keep) -> u64 {
        let (start, end) = span(forest, node);
        let at = |k: &u32| forest.nodes[*k as usize];
        let mut kids: Vec<u32> = forest.kids(node).iter().copied().filter(|k| counts(&at(k))).collect();
        kids.sort_by_key(|k| (at(k).start, at(k).end));
        let bare = |t: &u64| !kids.iter().any(|k| at(k).start <= *t && *t < at(k).end);
        // Old and new ends of the children that were retimed already.
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut lengths: Vec<(u32, u64)> = Vec::new();
        let begins = |moment: u64, ends: &[(u64, u64)]| {
            let waited = ends.iter().filter(|(was, _)| *was <= moment);
            let (was, is) = waited.fold((start, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
            let own = (was..moment).filter(bare).count() as u64;
            is + (moment - was) - (own - keep(node, &at(&node)).of(own))
        };
        for kid in &kids {
            let moment = at(kid).start;
            let next = forest.kids(node).iter().rev().filter(|k| counts(&at(k)) && at(k).end > moment);
            let next = next.take(LOOKED_AT).find(|k| at(k).start < moment);
            let over = ends.iter().map(|e| e.0).filter(|was| *was <= moment).max().unwrap_or(start);
            let handed = next.filter(|k| {
                let left = at(k).end - moment;
                left < moment - over && HANDING_OVER * left <= at(k).end - at(k).start
            });
            let begins = match handed {
                None => begins(moment, &ends),
                Some(k) => {
                    let (_, length) = lengths.iter().find(|l| l.0 == *k).unwrap();
                    let new_end = ends[lengths.iter().position(|l| l.0 == *k).unwrap()].1;
                    let waited = ends.iter().filter(|(was, _)| *was <= moment).map(|e| e.1).max();
                    (new_end - (at(k).end - moment).min(*length)).max(waited.unwrap_or(0))
                }
            };
            let length = oracle(forest, *kid, keep);
            lengths.push((*kid, length));
            ends.push((at(kid).end, begins + length));
        }
        begins(end, &ends)
    }

    fn row(i: usize, parent: usize, start: u64, end: u64) -> Row {
        Row {
            data: 0,
            span_id: i as u64 + 2,
            parent_id: parent as u64 + 1,
            start,
            end,
            trace: 0,
            owner: 0,
            op: 0,
            peer: 0,
            service: 0,
            host: 0,
            kind: SpanKind::Internal,
            library: 0,
            flags: 0,
        }
    }

    fn tree() -> impl Strategy<Value = Vec<Row>> {
        let one = (any::<prop::sample::Index>(), 0u64..40, 0u64..30);
        prop::collection::vec(one, 0..12).prop_map(|raw| {
            let row = |(i, (parent, start, length)): (usize, &(prop::sample::Index, u64, u64))| {
                row(i, parent.index(i + 1), *start, start + length)
            };
            raw.iter().enumerate().map(row).collect()
        })
    }

    /// What is saved of a request of 100 when the first of two spans in it goes away.
    fn saved_without_the_first(first: (u64, u64), second: (u64, u64)) -> u64 {
        let rows = [row(0, 0, first.0, first.1), row(1, 0, second.0, second.1)];
        let root = Root { span_id: 1, from: 0, to: 100, first_byte: 100 };
        let mut forest = Forest::default();
        forest.build_plain(root, SpanKind::Server, &rows, &[0, 1], &mut Names::new(""));
        let keep = |_: u32, n: &Node| if n.span_id == 2 { Keep::None } else { Keep::All };
        let root_of = vec![0; forest.nodes.len()];
        Retimer::default().saved(&forest, &root_of, 0, keep)
    }

    #[test]
    fn what_begins_as_another_ends_waited_for_it() {
        assert_eq!(saved_without_the_first((10, 90), (90, 95)), 80);
        // The first closes its span a moment late.
        assert_eq!(saved_without_the_first((10, 90), (88, 95)), 78);
        // They go on together, or the second soon follows what was before.
        assert_eq!(saved_without_the_first((10, 90), (60, 95)), 0);
        assert_eq!(saved_without_the_first((2, 90), (4, 95)), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(rows in tree(), picked in any::<u16>()) {
            let members: Vec<u32> = (0..rows.len() as u32).collect();
            let root = Root { span_id: 1, from: 5, to: 50, first_byte: 50 };
            let mut forest = Forest::default();
            forest.build_plain(root, SpanKind::Server, &rows, &members, &mut Names::new(""));
            let kept = [Keep::None, Keep::All, Keep::Millionths(300_000)];
            let keep = |_: u32, n: &Node| kept[usize::from(picked >> (n.span_id % 8 * 2) & 3).min(2)];
            let root_of = vec![0; forest.nodes.len()];
            let mut retimer = Retimer::default();
            let saved = retimer.saved(&forest, &root_of, 0, keep);
            prop_assert_eq!(saved, 45 - oracle(&forest, 0, &keep));
            prop_assert_eq!(retimer.saved(&forest, &root_of, 0, |_, _| Keep::All), 0);
            // More gone is never slower.
            let more = |i: u32, n: &Node| if n.span_id.is_multiple_of(2) { Keep::None } else { keep(i, n) };
            prop_assert!(retimer.saved(&forest, &root_of, 0, more) >= saved);
        }
    }
}
