//! The shortest interval that contains another, for many at once: O((n + m) log n), whatever the traces look like.

use super::names::NONE;
use std::cmp::Reverse;

/// An interval to look in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub start: u64,
    pub end: u64,
    /// Candidates of the query's class are left out.
    pub class: u32,
    /// Breaks ties between intervals of the same length.
    pub tie: u64,
    pub node: u32,
}

/// An interval to be contained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub start: u64,
    pub end: u64,
    /// The class that may not contain it, or [`NONE`].
    pub except: u32,
}

/// Length, tie, class, node: the smaller is the better container.
type Best = (u64, u64, u32, u32);
const WORST: Best = (u64::MAX, u64::MAX, NONE, NONE);

/// For each query the node of the shortest candidate that contains it, [`NONE`] where there is none.
pub(super) fn shortest_containing(candidates: &[Candidate], queries: &[Query]) -> Vec<u32> {
    let mut ends: Vec<u64> = candidates.iter().map(|c| c.end).collect();
    ends.sort_unstable_by_key(|e| Reverse(*e));
    ends.dedup();
    let rank = |end: u64| ends.partition_point(|e| *e >= end);
    let mut by_start: Vec<&Candidate> = candidates.iter().collect();
    by_start.sort_unstable_by_key(|c| c.start);
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_unstable_by_key(|q| queries[*q].start);

    // A Fenwick tree over ends, latest first, of the two best candidates of different classes.
    let mut tree = vec![[WORST; 2]; ends.len() + 1];
    let mut found = vec![NONE; queries.len()];
    let mut next = 0;
    for q in order {
        let query = queries[q];
        while let Some(c) = by_start.get(next).filter(|c| c.start <= query.start) {
            let mut i = rank(c.end);
            while i < tree.len() {
                offer(&mut tree[i], (c.end - c.start, c.tie, c.class, c.node));
                i += i & i.wrapping_neg();
            }
            next += 1;
        }
        let mut best = [WORST; 2];
        let mut i = rank(query.end);
        while i > 0 {
            tree[i].iter().for_each(|b| offer(&mut best, *b));
            i -= i & i.wrapping_neg();
        }
        let fit = best.iter().find(|b| query.except == NONE || b.2 != query.except);
        found[q] = fit.map_or(NONE, |b| b.3);
    }
    found
}

fn offer(best: &mut [Best; 2], new: Best) {
    if new >= best[1] {
        return;
    }
    if new < best[0] {
        if new.2 != best[0].2 {
            best[1] = best[0];
        }
        best[0] = new;
    } else if new.2 != best[0].2 {
        best[1] = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_looking_at_all(
            spans in prop::collection::vec((0u64..30, 0u64..20, 0u32..3), 0..20),
            asked in prop::collection::vec((0u64..30, 0u64..20, 0u32..4), 1..10),
        ) {
            let candidates: Vec<_> = spans.iter().enumerate().map(|(i, (start, length, class))| Candidate {
                start: *start, end: start + length, class: *class, tie: 100 - i as u64, node: i as u32,
            }).collect();
            let queries: Vec<_> = asked.iter().map(|(start, length, except)| Query {
                start: *start, end: start + length, except: if *except == 3 { NONE } else { *except },
            }).collect();
            let slow: Vec<u32> = queries.iter().map(|q| {
                candidates.iter()
                    .filter(|c| c.start <= q.start && c.end >= q.end && c.class != q.except)
                    .min_by_key(|c| (c.end - c.start, c.tie))
                    .map_or(NONE, |c| c.node)
            }).collect();
            prop_assert_eq!(shortest_containing(&candidates, &queries), slow);
        }
    }
}
