//! The traces of a run: its exchanges by filters, in bounded memory, and one trace with its spans. Exchanges and spans are read
//! from the folder as a stream; what is kept is the best of a list and the ids of traces with a span that is wanted.

use super::super::spans;
use super::folder::Folder;
use super::text_search;
use crate::analysis::{Analyzer, Partition};
use crate::compare::RunSummary;
use crate::record::{Exchange, Nanos, Outcome, Run, RunState, TraceId};
use crate::report;
use crate::ui::web::{Wanted, WantedStatus};
use crate::wire::folder::RunReader;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Exchanges that are listed, page by page.
const LISTED: usize = 1_000;
/// Of them on a page.
const PER_PAGE: usize = 50;
/// In runs with more spans than this they are not counted for a list.
const COUNTED_SPANS: u64 = 3_000_000;
/// Lists that are kept for turning pages.
const KEPT: usize = 4;
/// Exchanges of one trace that are shown, and spans that are listed.
const REQUESTS_MAX: usize = 50;
const SPANS_MAX: usize = 500;
/// Services of a run to choose from.
const SERVICES_MAX: usize = 200;

/// An exchange of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// By what the list is ordered; more is first.
    rank: u64,
    trace: TraceId,
    due: u64,
    step: u16,
    latency: Nanos,
    failed: bool,
    status: Option<u16>,
    /// Why it failed, or what did not hold.
    why: String,
}

/// A list that was made.
struct List {
    rows: Vec<Row>,
    exchanges: u64,
    found: u64,
    /// More traces than can be kept have a span that is wanted.
    cut: bool,
}

type Key = (String, Wanted, SystemTime);

/// Lists that were made last.
#[derive(Default)]
pub struct Traces {
    kept: Mutex<Vec<(Key, Arc<List>)>>,
}

impl Traces {
    /// The exchanges that are wanted, a page of them.
    ///
    /// # Errors
    /// When the run cannot be read.
    pub fn find(&self, folder: &Folder, id: &str, wanted: &Wanted) -> Result<Value, String> {
        let reader = open(folder, id)?;
        let run = reader.run();
        let list = self.list(&reader, id, wanted)?;
        let page = wanted.page.min(list.rows.len().saturating_sub(1) / PER_PAGE);
        let shown: Vec<&Row> = list.rows.iter().skip(page * PER_PAGE).take(PER_PAGE).collect();
        let seen = (run.receiver.spans_stored <= COUNTED_SPANS).then(|| seen_spans(&reader, &shown));
        let name = |step: u16| run.steps.get(usize::from(step)).map_or("", |step| step.name.as_str());
        let rows: Vec<Value> = shown
            .iter()
            .map(|row| {
                let (spans, services) = match &seen {
                    Some(seen) => {
                        let seen = seen.get(&row.trace);
                        (Some(seen.map_or(0, |s| s.0)), seen.map(|s| &s.1))
                    }
                    None => (None, None),
                };
                json!({
                    "trace": row.trace.to_string(),
                    "at_ms": row.due.saturating_sub(run.started_at.0) / 1_000_000,
                    "step": name(row.step),
                    "status": row.status.map_or(String::new(), |status| status.to_string()),
                    "why": row.why,
                    "ms": millis(row.latency),
                    "failed": row.failed,
                    "spans": spans,
                    "services": services.into_iter().flatten().collect::<Vec<_>>(),
                })
            })
            .collect();
        Ok(json!({
            "exchanges": list.exchanges,
            "found": list.found,
            "shown": list.rows.len(),
            "note": note(&list),
            "page": page,
            "per_page": PER_PAGE,
            "steps": steps(run),
            "services": services(folder, id),
            "rows": rows,
        }))
    }

    fn list(&self, reader: &RunReader, id: &str, wanted: &Wanted) -> Result<Arc<List>, String> {
        let changed = fs::metadata(reader.dir().join("run.json")).and_then(|data| data.modified());
        let wanted = Wanted { page: 0, ..wanted.clone() };
        let key = (id.to_owned(), wanted, changed.unwrap_or(SystemTime::UNIX_EPOCH));
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, list)) = lock().iter().find(|(kept, _)| *kept == key) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(make(reader, &key.1)?);
        if reader.run().state != RunState::Running {
            let mut kept = lock();
            kept.truncate(KEPT - 1);
            kept.insert(0, (key, Arc::clone(&list)));
        }
        Ok(list)
    }

    /// One trace: its exchanges as waterfalls, and its spans as they came.
    ///
    /// # Errors
    /// When the run has no such trace, or cannot be read.
    pub fn one(&self, folder: &Folder, id: &str, trace: &str) -> Result<Value, String> {
        let trace = TraceId::from_hex(&trace.to_ascii_lowercase())
            .map_err(|_| "A trace id is 32 hexadecimal digits.".to_owned())?;
        let reader = open(folder, id)?;
        let run = reader.run();
        let mut analyzer = Analyzer::new(run, Partition::WHOLE);
        let exchanges = reader.exchanges().filter(|exchange| exchange.trace_id == trace);
        let mut known = 0;
        exchanges.take(REQUESTS_MAX).for_each(|exchange| {
            known += 1;
            analyzer.exchange(&exchange);
        });
        let mut listed: Vec<(u64, Value)> = Vec::new();
        let mut omitted = 0u64;
        reader.for_each_span_where(&mut |of| of == trace, &mut |span| {
            analyzer.span(span);
            if listed.len() < SPANS_MAX {
                let mut object = spans::object(span);
                object["service"] = json!(span.resource.service_name());
                listed.push((span.start.0, object));
            } else {
                omitted += 1;
            }
        });
        if known == 0 && listed.is_empty() {
            return Err("This run has no such trace.".into());
        }
        Ok(json!({
            "requests": requests(run, analyzer),
            "spans": in_order(listed),
            "spans_omitted": omitted,
        }))
    }
}

fn open(folder: &Folder, id: &str) -> Result<RunReader, String> {
    let dir = folder.dir(id).ok_or("There is no such run any more.")?;
    RunReader::open(&dir).map_err(|error| format!("The run cannot be read: {error}."))
}

/// The waterfalls of what was given to an analyzer.
fn requests(run: &Run, analyzer: Analyzer) -> Vec<Value> {
    let analysis = analyzer.finish().into_analysis(run);
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for (step, picture) in run.steps.iter().zip(&analysis.pictures.steps) {
        for tree in &picture.trees {
            // One exchange may be the typical, the slow and the worst one.
            if !seen.insert((tree.due, tree.moments[3])) {
                continue;
            }
            let mut json = report::trace_json(tree, run.started_at);
            json["step"] = json!(step.name);
            all.push((tree.due, json));
        }
    }
    all.sort_by_key(|(due, _)| *due);
    all.into_iter().map(|(_, json)| json).collect()
}

/// Spans by their start, whose times count from the first: nanoseconds since 1970 are more than a page can count.
fn in_order(mut listed: Vec<(u64, Value)>) -> Vec<Value> {
    listed.sort_by_key(|(start, _)| *start);
    let first = listed.first().map_or(0, |(start, _)| *start);
    for (start, span) in &mut listed {
        let end = span["end_ns"].as_u64().unwrap_or(*start);
        span["start_ns"] = json!(*start - first);
        span["end_ns"] = json!(end.saturating_sub(first));
        for event in span["events"].as_array_mut().into_iter().flatten() {
            event["at_ns"] = json!(event["at_ns"].as_u64().unwrap_or(first).saturating_sub(first));
        }
    }
    listed.into_iter().map(|(_, span)| span).collect()
}

fn millis(time: Nanos) -> f64 {
    (time.as_millis_f64() * 1e3).round() / 1e3
}

/// A word where not all is shown.
fn note(list: &List) -> Option<String> {
    let mut words = Vec::new();
    if list.cut {
        words.push(format!(
            "More than {} traces have such a span: only so many were looked at.",
            report::look::count(text_search::TRACES_MAX as u64)
        ));
    }
    if list.found > list.rows.len() as u64 {
        words.push(format!("The first {} are listed.", report::look::count(list.rows.len() as u64)));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// Numbers and names of steps; where two have one name, with their journeys.
fn steps(run: &Run) -> Vec<(usize, String)> {
    let twins = |name: &str| run.steps.iter().filter(|step| step.name == name).count() > 1;
    let words = |(number, step): (usize, &crate::record::StepInfo)| {
        let name =
            if twins(&step.name) { format!("{} › {}", step.journey, step.name) } else { step.name.clone() };
        (number, name)
    };
    run.steps.iter().enumerate().map(words).collect()
}

/// Services that the run's report names.
fn services(folder: &Folder, id: &str) -> Vec<String> {
    let text = folder.report(id).and_then(|(path, _)| fs::read_to_string(path).ok());
    let summary: Option<RunSummary> = text.and_then(|text| report::summary(&text, id).ok());
    let names: BTreeSet<String> = summary
        .iter()
        .flat_map(|summary| &summary.operations)
        .map(|operation| operation.key.service.to_string())
        .collect();
    names.into_iter().take(SERVICES_MAX).collect()
}

/// Reads a whole run for a list.
fn make(reader: &RunReader, wanted: &Wanted) -> Result<List, String> {
    let mut list = List { rows: Vec::new(), exchanges: 0, found: 0, cut: false };
    let mut of_spans = None;
    if !wanted.service.is_empty() || !wanted.text.is_empty() {
        let (traces, cut) = text_search::traces_with(reader, &wanted.service, &wanted.text)?;
        list.cut = cut;
        of_spans = Some(traces);
    }
    let mut best: BinaryHeap<Reverse<Row>> = BinaryHeap::with_capacity(LISTED + 1);
    for exchange in reader.exchanges() {
        list.exchanges += 1;
        let by_span = of_spans.as_ref().is_none_or(|traces| traces.contains(&exchange.trace_id));
        if !by_span || !is_wanted(&exchange, wanted) {
            continue;
        }
        list.found += 1;
        best.push(Reverse(row(&exchange, wanted.by_time)));
        if best.len() > LISTED {
            best.pop();
        }
    }
    list.rows = best.into_sorted_vec().into_iter().map(|Reverse(row)| row).collect();
    Ok(list)
}

fn is_wanted(exchange: &Exchange, wanted: &Wanted) -> bool {
    let status = exchange.status();
    let by_status = match wanted.status {
        WantedStatus::Any => true,
        WantedStatus::Failed => exchange.is_error(),
        WantedStatus::Fine => !exchange.is_error(),
        WantedStatus::Code(code) => status == Some(code),
        WantedStatus::Class(class) => status.is_some_and(|status| status / 100 == class),
    };
    by_status
        && wanted.step.is_none_or(|step| exchange.step.0 == step)
        && exchange.corrected_latency() >= wanted.at_least
}

fn row(exchange: &Exchange, by_time: bool) -> Row {
    let latency = exchange.corrected_latency();
    let why = match &exchange.outcome {
        Outcome::Failed { failure, .. } => failure.class.name().to_owned(),
        Outcome::Answered(_) => exchange.checks_failed.first().map_or(String::new(), |c| c.check.to_string()),
    };
    Row {
        rank: if by_time { u64::MAX - exchange.intended.0 } else { latency.0 },
        trace: exchange.trace_id,
        due: exchange.intended.0,
        step: exchange.step.0,
        latency,
        failed: exchange.is_error(),
        status: exchange.status().filter(|status| *status > 0),
        why,
    }
}

/// How many spans traces have, and of which services.
fn seen_spans(reader: &RunReader, rows: &[&Row]) -> HashMap<TraceId, (u64, BTreeSet<String>)> {
    let mut seen: HashMap<TraceId, (u64, BTreeSet<String>)> =
        rows.iter().map(|row| (row.trace, Default::default())).collect();
    let traces: HashSet<TraceId> = seen.keys().copied().collect();
    reader.for_each_span_where(&mut |trace| traces.contains(&trace), &mut |span| {
        if let Some((spans, services)) = seen.get_mut(&span.trace_id) {
            *spans += 1;
            if services.len() < 8 {
                services.insert(span.resource.service_name().to_owned());
            }
        }
    });
    seen
}
