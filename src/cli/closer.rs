//! A closer look at the requests that findings name: their spans are read from the folder once more, after the analysis has
//! told which they are. Where it has also told where they lie nothing else is read; otherwise one pass decodes only what is
//! wanted.

use crate::analysis::result::{Analysis, Finding, TraceTree};
use crate::analysis::{Analyzer, Partition};
use crate::record::{Run, Span, StepId, TraceId};
use crate::wire::folder::{RunReader, Stretch};
use std::collections::{BTreeMap, BTreeSet};

/// Requests of one trace that are looked at: a walk of a virtual user may be one trace.
const REQUESTS_MAX: u32 = 100;

/// Where the spans of each trace lie in a run folder.
#[derive(Default)]
pub struct Places {
    /// The first and the last stretch of a trace.
    pub traces: Vec<(TraceId, (u32, u32))>,
    /// The stretches of the folder.
    pub stretches: Vec<Stretch>,
}

impl Places {
    /// All stretches in which a span of these traces can lie, in order; the ids are sorted.
    fn of(&self, ids: &[TraceId]) -> Vec<Stretch> {
        let wanted = self.traces.iter().filter(|(id, _)| ids.binary_search(id).is_ok());
        let lie: BTreeSet<u32> = wanted.flat_map(|(_, (first, last))| *first..=*last).collect();
        lie.into_iter().filter_map(|at| self.stretches.get(at as usize).copied()).collect()
    }
}

/// Whole requests for the findings whose first exemplar is no exemplar of its step.
pub fn look(
    reader: &RunReader,
    run: &Run,
    analysis: &Analysis,
    places: Option<&Places>,
) -> Vec<(StepId, TraceTree)> {
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
    // In order, as the map has them.
    let ids: Vec<TraceId> = wanted.keys().copied().collect();
    let mut keep = |trace| ids.binary_search(&trace).is_ok();
    let mut take = |span: &Span<'_>| {
        if let Some((analyzer, _)) = wanted.get_mut(&span.trace_id) {
            analyzer.span(span);
        }
    };
    match places {
        Some(places) => reader.for_each_span_within(places.of(&ids), &mut keep, &mut take),
        None => drop(reader.for_each_span_where(&mut keep, &mut take)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::trace_files;
    use crate::record::Nanos;
    use serde_json::{Value, json};

    const MS: u64 = 1_000_000;

    /// Requests with eight statements each. The 30th spends most time in them; the last, in its own code, is the slowest.
    fn traces() -> Value {
        let spans = (0..60u64).flat_map(|number| {
            let start = 1_790_000_000_000 * MS + number * 1_000 * MS;
            let statement = if number == 30 { 14 * MS } else { 8 * MS + number * MS / 20 };
            let own = if number == 59 { 400 * MS } else { 5 * MS };
            let span = |id: u64, parent: u64, name: &str, kind: u32, from: u64, to: u64, attributes: Value| {
                json!({"traceId": format!("{:032x}", number + 1), "spanId": format!("{:016x}", number * 100 + id + 1),
                    "parentSpanId": if parent == 0 { String::new() } else { format!("{:016x}", number * 100 + parent) },
                    "name": name, "kind": kind, "startTimeUnixNano": from.to_string(), "endTimeUnixNano": to.to_string(),
                    "attributes": attributes})
            };
            let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
            let end = start + 8 * statement + own;
            let root = span(0, 0, "GET /list", 2, start, end, json!([text("http.route", "/list"), text("http.request.method", "GET")]));
            let statements = (0..8u64).map(move |n| {
                let sql = json!([text("db.system.name", "postgresql"), text("db.query.text", "SELECT name FROM item WHERE id = ?")]);
                span(n + 1, 1, "SELECT item", 3, start + n * statement, start + (n + 1) * statement, sql)
            });
            std::iter::once(root).chain(statements.collect::<Vec<_>>())
        });
        let service = json!([{"key": "service.name", "value": {"stringValue": "shop"}}]);
        json!({"resourceSpans": [{"resource": {"attributes": service},
            "scopeSpans": [{"scope": {}, "spans": spans.collect::<Vec<_>>()}]}]})
    }

    #[test]
    fn a_finding_has_the_request_in_which_it_took_most() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("traces.json");
        std::fs::write(&file, traces().to_string()).unwrap();
        let imported = trace_files::import(&[file], Some(&dir.path().join("out"))).unwrap();
        let reader = RunReader::open(&imported.dir).unwrap();
        let run = reader.run().clone();
        let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
        reader.exchanges().for_each(|exchange| analyzer.exchange(&exchange));
        let stretches = reader.spans_into(std::slice::from_mut(&mut analyzer)).stretches;
        let places = Places { traces: analyzer.places().collect(), stretches };
        assert_eq!(places.traces.len(), 60);
        let mut analysis = analyzer.finish().into_analysis(&run);
        let number = |id: TraceId| u128::from_be_bytes(id.0) - 1;
        let finding =
            analysis.findings.iter().find(|f| &*f.contributor.system == "postgresql").unwrap().clone();
        assert_eq!(number(finding.exemplars[0]), 30);
        assert_ne!(analysis.pictures.of_finding(&finding).map(|tree| number(tree.trace_id)), Some(30));
        let found = look(&reader, &run, &analysis, None);
        assert_eq!(look(&reader, &run, &analysis, Some(&places)), found);
        let nowhere = Places { traces: Vec::new(), stretches: places.stretches.clone() };
        assert_ne!(look(&reader, &run, &analysis, Some(&nowhere)), found, "places were not looked at");
        analysis.pictures.of_findings = found;
        let tree = analysis.pictures.of_finding(&finding).unwrap();
        assert_eq!(number(tree.trace_id), 30);
        assert!(tree.spans.len() >= 8, "{}", tree.spans.len());
        assert_eq!(tree.waited_for(&finding.contributor), Nanos(8 * 14 * MS));
        assert_eq!(tree.path.iter().map(|p| p.2.since(p.1)).sum::<Nanos>(), Nanos(8 * 14 * MS + 5 * MS));
        for finding in analysis.findings.iter().filter(|finding| !finding.exemplars.is_empty()) {
            let shown = analysis.pictures.of_finding(finding).map(|tree| tree.trace_id);
            assert_eq!(shown, finding.exemplars.first().copied(), "{:?}", finding.kind);
        }
        assert_eq!(look(&reader, &run, &analysis, None), [], "what is known is not looked for again");
    }
}
