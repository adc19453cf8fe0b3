//! The critical path of one tree.
//!
//! From the root's end backwards: the latest-finishing blocking child owns the time back to its start, then the latest
//! child that ends at or before that moment, and so on; a child that overlaps the one after it is clipped, not skipped;
//! what no child covers is the parent's own. This is the last-finishing-child walk of Jaeger's UI and Google's CPT, with
//! touching siblings chained and overlapping ones clipped. It gives every moment of the root to exactly one span.

use super::names::{NONE, Names};
use super::row::Row;
use super::tree::{Forest, OFF, Root};
use crate::record::{Nanos, SpanId, SpanKind, Timestamp};
use std::collections::BTreeSet;

/// Where the walk stands within one node.
#[derive(Clone, Copy, Debug)]
struct Frame {
    node: u32,
    /// Start of the window that the node answers for.
    from: u64,
    /// Everything from here to the window's end is given away.
    to: u64,
    next: u32,
    last: u32,
}

/// The walk, with a stack of its own: a trace may be deeper than the thread's.
#[derive(Default)]
pub(super) struct Walk {
    stack: Vec<Frame>,
}

impl Walk {
    /// Walks the tree of `root` backwards from the end of its window. `own` gets each piece that is a node's own, latest
    /// first: node and half-open interval, never empty. `enter` gets each node on the path with the window it answers
    /// for, itself and all below it.
    pub fn run(
        &mut self,
        forest: &Forest,
        root: u32,
        mut own: impl FnMut(u32, u64, u64),
        mut enter: impl FnMut(u32, u64, u64),
    ) {
        let frame = |node: u32, from: u64, to: u64| {
            let (next, last) = forest.kid_range(node);
            Frame { node, from, to, next, last }
        };
        let window = &forest.nodes[root as usize];
        self.stack.clear();
        self.stack.push(frame(root, window.from, window.to));
        while let Some(top) = self.stack.last_mut() {
            let mut child = None;
            while top.next < top.last {
                let node = forest.kid(top.next);
                let kid = &forest.nodes[node as usize];
                top.next += 1;
                let (start, end) = (kid.start.max(top.from), kid.end.min(top.to));
                if end <= top.from {
                    // Latest end first: none of the rest reaches into the window.
                    top.next = top.last;
                } else if start < end && kid.flags & OFF == 0 {
                    child = Some((node, start, end));
                    break;
                }
            }
            let Frame { node, from, to, .. } = *top;
            match child {
                Some((child, start, end)) => {
                    if end < to {
                        own(node, end, to);
                    }
                    top.to = start;
                    enter(child, start, end);
                    self.stack.push(frame(child, start, end));
                }
                None => {
                    if from < to {
                        own(node, from, to);
                    }
                    self.stack.pop();
                }
            }
        }
    }
}

/// A span as the critical path alone needs it.
#[derive(Clone, Debug)]
pub struct PathSpan {
    /// Its id.
    pub id: SpanId,
    /// Its parent's id, absent for the root.
    pub parent: Option<SpanId>,
    /// Its role; only PRODUCER and CONSUMER matter here.
    pub kind: SpanKind,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// A piece of a critical path: a half-open interval that is one span's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathSegment {
    /// Whose.
    pub span: SpanId,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive.
    pub end: Timestamp,
}

impl PathSegment {
    /// Its length.
    pub fn length(&self) -> Nanos {
        self.end.since(self.start)
    }
}

/// The critical path below one root span (the first one without a known parent; what hangs from no such span is left
/// out), in time order, as all spans of one service on one clock. The pieces are disjoint and fill the root exactly.
///
/// This is the walk that blame uses, without what it adds (wrappers, orphans, clocks, categories).
pub fn critical_path(spans: &[PathSpan]) -> Vec<PathSegment> {
    let number = |id: &SpanId| u64::from_be_bytes(id.0);
    let known: BTreeSet<SpanId> = spans.iter().map(|s| s.id).collect();
    let top =
        spans.iter().filter(|s| s.parent.is_none_or(|p| !known.contains(&p))).min_by_key(|s| (s.start, s.id));
    let Some(top) = top else { return Vec::new() };
    let mut names = Names::new("");
    let row = |s: &PathSpan| Row {
        data: 0,
        span_id: number(&s.id),
        parent_id: if s.id == top.id { 0 } else { s.parent.as_ref().map_or(0, number) },
        start: s.start.0,
        end: s.end.0.max(s.start.0),
        trace: 0,
        owner: 0,
        op: 0,
        peer: 0,
        service: 0,
        host: 0,
        kind: s.kind,
        library: 0,
        flags: 0,
    };
    // The root span stands where an exchange would.
    let rows: Vec<Row> = spans.iter().filter(|s| s.id != top.id).map(row).collect();
    let members: Vec<u32> = (0..rows.len() as u32).collect();
    let root = Root {
        span_id: number(&top.id),
        from: top.start.0,
        to: top.end.0.max(top.start.0),
        first_byte: top.end.0,
    };
    let mut forest = Forest::default();
    forest.build_plain(root, top.kind, &rows, &members, &mut names);
    let mut out = Vec::new();
    let id = |node: u32| match forest.nodes[node as usize].row {
        NONE => top.id,
        row => SpanId(rows[row as usize].span_id.to_be_bytes()),
    };
    let own = |node, start, end| {
        out.push(PathSegment { span: id(node), start: Timestamp(start), end: Timestamp(end) })
    };
    Walk::default().run(&forest, 0, own, |_, _, _| {});
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Spans as a picture: one line each, indented under its parent, the bar where it ran.
    ///
    /// ```text
    /// A    |==========|
    ///   B  |   ====   |
    /// ```
    fn parse(picture: &str) -> Vec<PathSpan> {
        let mut spans: Vec<(usize, PathSpan)> = Vec::new();
        for line in picture.lines().filter(|l| l.contains('|')) {
            let (label, bar) = line.split_once('|').unwrap();
            let name = label.trim();
            let indent = label.len() - label.trim_start().len();
            let parent = spans.iter().rev().find(|(i, _)| *i < indent).map(|(_, s)| s.id);
            let bar = bar.trim_end_matches(['|', ' ']);
            let start = bar.find(['=', 'p', 'c']).unwrap();
            let kind = match &bar[start..=start] {
                "p" => SpanKind::Producer,
                "c" => SpanKind::Consumer,
                _ => SpanKind::Internal,
            };
            let id = SpanId([0, 0, 0, 0, 0, 0, 0, name.bytes().next().unwrap()]);
            let span = PathSpan {
                id,
                parent,
                kind,
                start: Timestamp(start as u64),
                end: Timestamp(bar.len() as u64),
            };
            spans.push((indent, span));
        }
        spans.into_iter().map(|(_, s)| s).collect()
    }

    /// One letter for each unit of the root's time: whose it is.
    fn letters(path: &[PathSegment]) -> String {
        path.iter()
            .flat_map(|s| std::iter::repeat_n(char::from(s.span.0[7]), s.length().0 as usize))
            .collect()
    }

    #[track_caller]
    fn check(picture: &str, want: &str) {
        let mut spans = parse(picture);
        for _ in 0..spans.len() {
            spans.rotate_left(1);
            assert_eq!(letters(&critical_path(&spans)), want, "{picture}");
        }
    }

    #[test]
    fn gaps_belong_to_the_parent() {
        check(
            "A   |==========|
               B|  ==      |
               C|     ===  |",
            "AABBACCCAA",
        );
    }

    #[test]
    fn touching_siblings_are_chained() {
        check(
            "A   |==========|
               B|=====     |
               C|     =====|",
            "BBBBBCCCCC",
        );
    }

    #[test]
    fn an_overlapping_sibling_is_clipped_and_a_covered_one_skipped() {
        check(
            "A   |==========|
               B| =====    |
               D|  ==      |
               C|    ===== |",
            "ABBBCCCCCA",
        );
    }

    #[test]
    fn children_are_clipped_to_their_parents() {
        check(
            "A     |  ======    |
               B  |    ======  |
                 C|=======     |
               D  |          ==|
                 E|          ==|",
            "AACCCB",
        );
        check(
            "A   | ====     |
               B|==========|",
            "BBBB",
        );
    }

    #[test]
    fn messages_do_not_block() {
        check(
            "A     |==========|
               B  |  pp      |
                 C|   cccc   |
               D  |      ccc |
               E  |        ccc",
            "AABBAADDDA",
        );
    }

    #[test]
    fn equal_ends_are_decided_by_start_then_id() {
        check(
            "A   |======|
               C|   ===|
               B|  ====|
               D|  ====|",
            "AABBBB",
        );
    }

    /// The definition, moment by moment and recursively: slow and obvious.
    fn oracle(
        spans: &[PathSpan],
        at: usize,
        window: (u64, u64),
        clipped: (u64, u64),
        out: &mut Vec<(u64, SpanId)>,
    ) {
        let this = &spans[at];
        let mut kids: Vec<(usize, u64, u64)> = (0..spans.len())
            .filter(|i| spans[*i].parent == Some(this.id) && *i != at)
            .filter(|i| match (spans[*i].kind, this.kind) {
                (SpanKind::Consumer, SpanKind::Producer) => false,
                (SpanKind::Consumer, _) => spans[*i].end <= this.end,
                _ => true,
            })
            .map(|i| (i, spans[i].start.0.max(clipped.0), spans[i].end.0.min(clipped.1)))
            .filter(|(_, start, end)| start < end)
            .collect();
        let mut moment = window.1;
        while moment > window.0 {
            kids.retain(|(_, start, _)| *start < moment);
            let latest = kids
                .iter()
                .max_by(|a, b| (a.2.cmp(&b.2)).then(b.1.cmp(&a.1)).then(spans[b.0].id.cmp(&spans[a.0].id)));
            match latest.copied().filter(|(_, _, end)| *end > window.0) {
                Some((kid, start, end)) if end >= moment => {
                    let from = start.max(window.0);
                    oracle(spans, kid, (from, moment), (start, end), out);
                    moment = from;
                }
                _ => {
                    moment -= 1;
                    out.push((moment, this.id));
                }
            }
        }
    }

    fn tree() -> impl Strategy<Value = Vec<PathSpan>> {
        let span = (any::<prop::sample::Index>(), 0u64..24, 0u64..16, 0u8..8);
        prop::collection::vec(span, 0..14).prop_map(|raw| {
            let id = |n: usize| SpanId((n as u64 + 1).to_be_bytes());
            let root = PathSpan {
                id: id(0),
                parent: None,
                kind: SpanKind::Server,
                start: Timestamp(4),
                end: Timestamp(20),
            };
            let rest = raw.iter().enumerate().map(|(i, (parent, start, length, kind))| PathSpan {
                id: id(i + 1),
                parent: Some(id(parent.index(i + 1))),
                kind: [SpanKind::Internal, SpanKind::Producer, SpanKind::Consumer][usize::from(*kind / 3)],
                start: Timestamp(*start),
                end: Timestamp(start + length),
            });
            std::iter::once(root).chain(rest).collect()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle_in_any_order(spans in tree(), turn in any::<prop::sample::Index>(), flip in any::<bool>()) {
            let mut want = Vec::new();
            oracle(&spans, 0, (4, 20), (4, 20), &mut want);
            want.reverse();
            want.sort_by_key(|w| w.0);
            let mut shuffled = spans.clone();
            shuffled.rotate_left(turn.index(spans.len()));
            if flip {
                shuffled.reverse();
            }
            let path = critical_path(&shuffled);
            let got: Vec<(u64, SpanId)> =
                path.iter().flat_map(|s| (s.start.0..s.end.0).map(move |t| (t, s.span))).collect();
            prop_assert_eq!(got, want);
        }
    }
}
