//! A closer look at the requests that findings name: their spans are read from the folder once more, after the analysis has
//! told which they are. One pass that decodes only what is wanted.

use crate::analysis::result::{Analysis, Finding, TraceTree};
use crate::analysis::{Analyzer, Partition};
use crate::record::{Run, StepId, TraceId};
use crate::wire::folder::RunReader;
use std::collections::BTreeMap;

/// Requests of one trace that are looked at: a walk of a virtual user may be one trace.
const REQUESTS_MAX: u32 = 100;

/// Whole requests for the findings whose first exemplar is no exemplar of its step.
pub fn look(reader: &RunReader, run: &Run, analysis: &Analysis) -> Vec<(StepId, TraceTree)> {
    // What a run stored is room to reserve; of one trace there is little.
    let mut run = run.clone();
    run.receiver.spans_stored = 0;
    let first = |finding: &Finding| {
        let kept = analysis.pictures.of_finding(finding).map(|tree| tree.trace_id);
        finding.exemplars.first().copied().filter(|id| kept != Some(*id))
    };
    let mut wanted: BTreeMap<TraceId, (Analyzer, u32)> = BTreeMap::new();
    for id in analysis.findings.iter().filter_map(first) {
        wanted.entry(id).or_insert_with(|| (Analyzer::new(&run, Partition::WHOLE), 0));
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    for exchange in reader.exchanges() {
        if let Some((analyzer, requests)) = wanted.get_mut(&exchange.trace_id)
            && *requests < REQUESTS_MAX
        {
            *requests += 1;
            analyzer.exchange(&exchange);
        }
    }
    let ids: Vec<TraceId> = wanted.keys().copied().collect();
    reader.for_each_span_where(&mut |trace| ids.contains(&trace), &mut |span| {
        if let Some((analyzer, _)) = wanted.get_mut(&span.trace_id) {
            analyzer.span(span);
        }
    });
    let looked: BTreeMap<TraceId, Analysis> =
        wanted.into_iter().map(|(id, (analyzer, _))| (id, analyzer.finish().into_analysis(&run))).collect();
    let mut out: Vec<(StepId, TraceTree)> = Vec::new();
    for finding in &analysis.findings {
        let of_trace = first(finding).and_then(|id| looked.get(&id));
        let trees = of_trace.and_then(|of| of.pictures.steps.get(usize::from(finding.step.0)));
        let best = trees.into_iter().flat_map(|step| &step.trees).max_by_key(|tree| {
            (tree.waited_for(&finding.contributor), tree.moments[3].since(tree.due), tree.due)
        });
        if let Some(tree) = best.filter(|tree| !out.iter().any(|(at, o)| (*at, o) == (finding.step, *tree))) {
            out.push((finding.step, tree.clone()));
        }
    }
    out
}
