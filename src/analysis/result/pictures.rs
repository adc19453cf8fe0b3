//! What pictures of a run are drawn from: requests over time and latency, the critical path of all requests as one tree,
//! a sample of requests with who held them up, and some requests whole.

use super::{ByCategory, Category, Contributor, ExemplarRole, Finding};
use crate::record::{Nanos, SpanKind, StepId, Timestamp, TraceId};
use std::sync::Arc;

/// Pictures of every step, in the run's order. Slices are those of the [`super::Timeline`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// One for each step; fewer where the last ones had no exchange.
    pub steps: Vec<StepPicture>,
    /// Exemplars of findings that are no exemplar of a step, with their spans and their steps. A pass over the sums does not
    /// know them beforehand: whoever has the spans looks for them afterwards.
    pub of_findings: Vec<(StepId, TraceTree)>,
}

/// What one step's pictures are drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepPicture {
    /// The exchanges that were due in each slice.
    pub slices: Vec<StepSlice>,
    /// Those exchanges by latency: for each slice pairs of bucket and count, lowest first. [`latency_bucket`] says which
    /// latencies a bucket holds.
    pub heat: Vec<Vec<(u16, u64)>>,
    /// The critical path of all exchanges as one tree; parents before children, siblings largest first. The times of all
    /// nodes sum to the latency that blame was given for.
    pub flame: Vec<FlameNode>,
    /// Exchanges drawn by the hash of their ids, from each latency band on its own.
    pub sample: Vec<Sampled>,
    /// The exemplars with their spans.
    pub trees: Vec<TraceTree>,
}

/// One step in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSlice {
    /// Exchanges that were due.
    pub exchanges: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Exchanges that the categories stand for.
    pub weight: u64,
    /// Corrected latency of the exchanges that were due.
    pub latency: Nanos,
    /// Where the latency of those that the categories stand for went.
    pub categories: ByCategory,
}

/// A node of the tree of critical paths.
#[derive(Clone, Debug, PartialEq)]
pub struct FlameNode {
    /// Index of the node above; absent for the first node, which is the step itself.
    pub parent: Option<u32>,
    /// Whose time it is; absent for the step and for what is summed up.
    pub who: Option<Contributor>,
    /// How many nodes were summed up here because each of them is too small to be seen; 0 for a node of its own.
    pub folded: u32,
    /// Time of its own, all exchanges together.
    pub own: Nanos,
    /// Exchanges with it on their path.
    pub exchanges: u64,
}

/// A sampled exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Its latency band, 0 for up to the median to 3 for above p99.
    pub band: u8,
    /// Its trace.
    pub trace_id: TraceId,
    /// When it was due.
    pub at: Timestamp,
    /// Its corrected latency.
    pub latency: Nanos,
    /// Whether it failed.
    pub failed: bool,
    /// Whether server spans were joined.
    pub joined: bool,
    /// Who held it up, most time first: time on the critical path, and how much shorter it could be at best without.
    pub parts: Vec<(Contributor, Nanos, Nanos)>,
    /// Time of owners beyond those.
    pub rest: Nanos,
}

/// One exchange with its spans, on the client's clock and with all repairs made.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceTree {
    /// Why it was chosen.
    pub role: ExemplarRole,
    /// Its trace.
    pub trace_id: TraceId,
    /// When it was due.
    pub due: Timestamp,
    /// When it was begun, when its request was sent, when the answer began and when it ended.
    pub moments: [Timestamp; 4],
    /// HTTP status; 0 where none was seen.
    pub status: u16,
    /// Whether it failed.
    pub failed: bool,
    /// How its latency is divided, in time order: owner, from, to, and the span whose own time it is.
    pub path: Vec<(Contributor, Timestamp, Timestamp, Option<u32>)>,
    /// Its spans, parents before children.
    pub spans: Vec<TreeSpan>,
    /// Spans that are left out because there are too many.
    pub omitted: u64,
}

impl Pictures {
    /// The whole request that shows a finding best: the first of its exemplars that is kept, as one of its step or its own.
    pub fn of_finding(&self, finding: &Finding) -> Option<&TraceTree> {
        let own = self.of_findings.iter().filter(|(step, _)| *step == finding.step).map(|(_, tree)| tree);
        let of_step = self.steps.get(usize::from(finding.step.0)).into_iter().flat_map(|step| &step.trees);
        let kept: Vec<&TraceTree> = own.chain(of_step).collect();
        finding.exemplars.iter().find_map(|id| kept.iter().find(|tree| tree.trace_id == *id).copied())
    }
}

impl TraceTree {
    /// How long the request waited for the work of a contributor, wherever in the code that is.
    pub fn waited_for(&self, who: &Contributor) -> Nanos {
        let its = self.path.iter().filter(|piece| piece.0.is_same_work(who));
        its.map(|(_, from, to, _)| to.since(*from)).sum()
    }
}

/// A span of a [`TraceTree`].
#[derive(Clone, Debug, PartialEq)]
pub struct TreeSpan {
    /// Index of its parent; absent for what the client called.
    pub parent: Option<u32>,
    /// Service that sent it.
    pub service: Arc<str>,
    /// Instance of the service; empty where unknown.
    pub instance: Arc<str>,
    /// Operation.
    pub name: Arc<str>,
    /// Kind of span.
    pub kind: SpanKind,
    /// Whose time its own time is.
    pub owner: Contributor,
    /// When it began and ended, with its clock set right.
    pub from: Timestamp,
    /// See `from`.
    pub to: Timestamp,
    /// What was repaired or is odd about it.
    pub marks: SpanMarks,
}

/// What is odd about a span, or was repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanMarks(pub u8);

impl SpanMarks {
    /// It has an error status.
    pub const ERROR: u8 = 1;
    /// It was moved because its clock disagrees with its caller's.
    pub const SHIFTED: u8 = 2;
    /// It reaches beyond its parent and was clipped.
    pub const CLIPPED: u8 = 4;
    /// Nobody waited for it: it is not on any path.
    pub const ASYNC: u8 = 8;
    /// Its parent is not the one that it names: that one never came, or another span wraps it.
    pub const MOVED: u8 = 16;

    /// Names of the marks that are set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::ERROR, "error"),
            (Self::SHIFTED, "shifted"),
            (Self::CLIPPED, "clipped"),
            (Self::ASYNC, "async"),
            (Self::MOVED, "moved"),
        ]
        .into_iter()
        .filter(move |(bit, _)| self.0 & bit != 0)
        .map(|(_, name)| name)
    }
}

/// Bits that a bucketed latency keeps: sixteen buckets per octave.
const BITS: u32 = 5;

/// The bucket of a latency in [`StepPicture::heat`].
pub fn latency_bucket(latency: Nanos) -> u16 {
    let shift = (u64::BITS - latency.0.leading_zeros()).saturating_sub(BITS);
    ((u64::from(shift) << (BITS - 1)) + (latency.0 >> shift)) as u16
}

/// The smallest latency in a bucket.
pub fn bucket_start(bucket: u16) -> Nanos {
    let shift = (u64::from(bucket) >> (BITS - 1)).saturating_sub(1);
    Nanos((u64::from(bucket) - (shift << (BITS - 1))) << shift)
}

/// A way on which requests go: from the client or a service to a service, or to something that sends no spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The caller; absent for the client.
    pub from: Option<Arc<str>>,
    /// The service that is called; absent where the callee sends no spans.
    pub to: Option<Arc<str>>,
    /// What the callee is: [`Category::Network`] for a traced service, else the kind of work.
    pub category: Category,
    /// What tells callees without spans apart: system or host.
    pub peer: Arc<str>,
    /// Calls.
    pub calls: u64,
    /// Time on the critical path: on the wire to a service, in the call of what sends no spans.
    pub time: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for value in (0..63).flat_map(|s| [1u64 << s, (1 << s) - 1, (3u64 << s) >> 1]) {
            let bucket = latency_bucket(Nanos(value));
            assert!(bucket_start(bucket).0 <= value, "{value} in {bucket}");
            assert!(value < bucket_start(bucket + 1).0, "{value} in {bucket}");
        }
    }
}
