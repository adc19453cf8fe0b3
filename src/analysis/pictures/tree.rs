//! One exchange whole: its spans with all repairs made, and its critical path.

use super::super::blame::{Blamer, Piece};
use super::super::codec::{Codec, codec};
use super::super::names::NONE;
use super::super::result::{ExemplarRole, SpanMarks, TraceTree, TreeSpan};
use super::super::row::ERROR;
use super::super::tree::OFF;
use super::Blamed;
use crate::record::Timestamp;
use std::borrow::Cow;
use std::cmp::Reverse;

/// Spans of one tree at most: those on the path and the longest of the others.
const SPANS: usize = 400;
/// Pieces of its path that are kept as they are; of more, those shorter than a thousandth of the whole are put together.
const PIECES: usize = 1_000;

codec!(TraceTree { role, trace_id, due, moments, status, failed, path, spans, omitted });
codec!(TreeSpan { parent, service, instance, name, kind, owner, from, to, marks });

impl Codec for SpanMarks {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<SpanMarks> {
        Some(SpanMarks(u8::take(from)?))
    }
}

/// Of the exchange at hand. Its role is known when all exchanges are.
pub(super) fn of(blamed: &Blamed) -> TraceTree {
    let Blamed { blamer, asked, names, rows, .. } = blamed;
    let (chosen, omitted) = chosen(blamer, blamed.index);
    let mut place = vec![NONE; blamer.forest.nodes.len()];
    chosen.iter().enumerate().for_each(|(at, node)| place[*node as usize] = at as u32);
    let found = |node: u32| (node != NONE && place[node as usize] != NONE).then(|| place[node as usize]);
    let span = |number: &u32| {
        let node = &blamer.forest.nodes[*number as usize];
        let row = &rows[node.row as usize];
        let parent = &blamer.forest.nodes[node.parent as usize];
        let set = |on: bool, mark: u8| if on { mark } else { 0 };
        let off = node.flags & OFF != 0;
        TreeSpan {
            parent: found(node.parent),
            service: names.str(row.service).clone(),
            instance: names.instance(row.host).clone(),
            name: names.str(names.operation(row.op).name).clone(),
            kind: node.kind,
            owner: names.who(node.owner).clone(),
            from: Timestamp(node.from),
            to: Timestamp(node.to),
            marks: SpanMarks(
                set(row.flags & ERROR != 0, SpanMarks::ERROR)
                    | set(node.was_shifted(), SpanMarks::SHIFTED)
                    | set(!off && (node.from, node.to) != (node.start, node.end), SpanMarks::CLIPPED)
                    | set(off, SpanMarks::ASYNC)
                    | set(row.parent_id != parent.span_id && row.span_id != parent.span_id, SpanMarks::MOVED),
            ),
        }
    };
    let piece = |p: &Piece| {
        let span = if p.node == NONE { None } else { found(p.node) };
        (names.who(p.owner).clone(), Timestamp(p.start), Timestamp(p.end), span)
    };
    TraceTree {
        role: ExemplarRole::Typical,
        trace_id: blamed.trace,
        due: Timestamp(asked.intended),
        moments: [asked.start, asked.sent, asked.first_byte, asked.end].map(Timestamp),
        status: asked.status,
        failed: asked.failed,
        path: in_sight(&blamer.pieces).iter().map(piece).collect(),
        spans: chosen.iter().map(span).collect(),
        omitted,
    }
}

/// The pieces that a picture can show: neighbours too short to be seen become one, of whose longest it has the owner. They
/// are disjoint and sum to the same as before.
fn in_sight(pieces: &[Piece]) -> Cow<'_, [Piece]> {
    if pieces.len() <= PIECES {
        return Cow::Borrowed(pieces);
    }
    let length = |p: &Piece| p.end - p.start;
    let grain = pieces.iter().map(length).sum::<u64>() / PIECES as u64;
    let mut out: Vec<Piece> = Vec::with_capacity(2 * PIECES);
    // What is put together so far, and the length of its longest piece.
    let mut open: Option<(Piece, u64)> = None;
    for piece in pieces {
        let this = length(piece);
        match &mut open {
            Some((sum, longest)) if this < grain && sum.end == piece.start && length(sum) < grain => {
                sum.end = piece.end;
                if this > *longest {
                    (sum.owner, sum.node, *longest) = (piece.owner, piece.node, this);
                }
            }
            _ => {
                out.extend(open.take().map(|(sum, _)| sum));
                open = Some((*piece, this));
            }
        }
    }
    out.extend(open.map(|(sum, _)| sum));
    Cow::Owned(out)
}

/// The spans to keep, parents before children, and how many are left out. A span is worth what it, or anything below it,
/// is worth, so that no parent of a kept span is missing.
fn chosen(blamer: &Blamer, exchange: u32) -> (Vec<u32>, u64) {
    let forest = &blamer.forest;
    let mut of_exchange = vec![false; forest.nodes.len()];
    of_exchange[exchange as usize] = true;
    let mut members: Vec<u32> = Vec::new();
    for &node in &forest.order {
        let parent = forest.nodes[node as usize].parent;
        if parent != NONE && of_exchange[parent as usize] {
            of_exchange[node as usize] = true;
            members.push(node);
        }
    }
    let mut worth: Vec<(u64, u64)> = vec![(0, 0); forest.nodes.len()];
    for piece in blamer.pieces.iter().filter(|p| p.node != NONE) {
        worth[piece.node as usize].0 += piece.end - piece.start;
    }
    for &node in members.iter().rev() {
        let this = &forest.nodes[node as usize];
        let at = &mut worth[node as usize];
        at.1 = at.1.max(this.to.saturating_sub(this.from));
        let mine = *at;
        let above = &mut worth[this.parent as usize];
        *above = (above.0.max(mine.0), above.1.max(mine.1));
    }
    let omitted = members.len().saturating_sub(SPANS) as u64;
    let mut ranked: Vec<(Reverse<(u64, u64)>, u32)> =
        members.iter().enumerate().map(|(at, node)| (Reverse(worth[*node as usize]), at as u32)).collect();
    // The place in the order breaks ties: it is later for children than for their parents.
    ranked.sort_unstable();
    ranked.truncate(SPANS);
    let mut kept: Vec<u32> = ranked.into_iter().map(|(_, at)| at).collect();
    kept.sort_unstable();
    (kept.into_iter().map(|at| members[at as usize]).collect(), omitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_very_many_pieces_keeps_its_length_and_its_long_ones() {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 7;
        for n in 0..50_000u32 {
            let length = if n == 20_000 { 1_000_000 } else { 1 + u64::from(n % 5) };
            pieces.push(Piece { owner: n % 3, node: n, start: at, end: at + length });
            at += length;
        }
        let seen = in_sight(&pieces);
        assert!(seen.len() <= 2 * PIECES + 1, "{}", seen.len());
        assert_eq!((seen[0].start, seen[seen.len() - 1].end), (7, at));
        assert!(seen.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(seen.iter().any(|p| p.node == 20_000 && p.end - p.start >= 1_000_000));
        assert_eq!(in_sight(&pieces[..PIECES]).len(), PIECES);
    }
}
