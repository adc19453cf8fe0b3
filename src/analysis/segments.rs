//! The blame of single exchanges, segment by segment: for waterfalls, for tests, and to see for oneself.

use super::analyzer::Analyzer;
use super::blame::Blamer;
use super::names::NONE;
use super::result::{ByCategory, Contributor};
use crate::record::{Exchange, Nanos, Partition, Run, Span, SpanId, Timestamp};

/// How one exchange's latency is divided.
///
/// Conservation law: the segments are disjoint, in time order, none is empty, and they fill `[intended, end)` of the
/// exchange exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blame {
    /// The segments.
    pub segments: Vec<Segment>,
}

/// A piece of an exchange's latency: a half-open interval with one owner. Times are on the client's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive.
    pub end: Timestamp,
    /// Whose time it is.
    pub owner: Contributor,
    /// The span whose own time it is; absent for the client's own phases and for time that no span covers.
    pub span: Option<SpanId>,
}

impl Segment {
    /// Its length; never zero.
    pub fn length(&self) -> Nanos {
        self.end.since(self.start)
    }
}

impl Blame {
    /// Sum over the segments: the exchange's corrected latency.
    pub fn total(&self) -> Nanos {
        self.segments.iter().map(Segment::length).sum()
    }

    /// Sums by category.
    pub fn categories(&self) -> ByCategory {
        let mut sums = ByCategory::default();
        self.segments.iter().for_each(|s| sums.add(s.owner.category, s.length()));
        sums
    }
}

/// Divides the latency of one exchange among its owners; spans of other traces are left aside.
pub fn blame_exchange(run: &Run, exchange: &Exchange, spans: &[Span<'_>]) -> Blame {
    blame_trace(run, std::slice::from_ref(exchange), spans).pop().unwrap_or_default()
}

/// Divides the latency of the exchanges of one trace (several where a walk is one trace); all must have its id.
pub fn blame_trace(run: &Run, exchanges: &[Exchange], spans: &[Span<'_>]) -> Vec<Blame> {
    let mut analyzer = Analyzer::new(run, Partition::WHOLE);
    exchanges.iter().for_each(|e| analyzer.exchange(e));
    spans.iter().for_each(|s| analyzer.span(s));
    let Analyzer { asked, rows, queued, names, .. } = &mut analyzer;
    let members: Vec<u32> = (0..rows.len() as u32).collect();
    let mut blamer = Blamer::default();
    blamer.take(asked, rows, &members, queued, names);
    let mut out = Vec::with_capacity(exchanges.len());
    for index in 0..analyzer.asked.len() {
        let opened = analyzer.opened_of(index as u32);
        blamer.blame(index, &analyzer.asked[index], opened.as_ref(), &mut analyzer.names);
        let span = |node: u32| {
            let row = (node != NONE).then(|| blamer.forest.nodes[node as usize].row)?;
            Some(SpanId(analyzer.rows[row as usize].span_id.to_be_bytes()))
        };
        let segments = blamer.pieces.iter().map(|piece| Segment {
            start: Timestamp(piece.start),
            end: Timestamp(piece.end),
            owner: analyzer.names.who(piece.owner).clone(),
            span: span(piece.node),
        });
        out.push(Blame { segments: segments.collect() });
    }
    out
}
