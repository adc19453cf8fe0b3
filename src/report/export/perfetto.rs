//! Time lines in the JSON trace event format, which Perfetto (<https://ui.perfetto.dev>), `chrome://tracing` and speedscope
//! open: for each step the average request as one stack of slices, and its real requests with client and services.
//!
//! Every process begins at 0, so that an average request, a typical one and the worst lie under each other. Slices of one
//! track nest or follow each other; what would cross gets a track of its own.

use super::stacks::{each_step, frame, mean_of};
use crate::analysis::result::{FlameNode, TraceTree, TreeSpan};
use crate::record::Timestamp;
use crate::report::Report;
use crate::report::json::value::rounded;
use crate::report::text;
use crate::report::view::View;
use serde_json::{Value, json};

/// Tracks of one service at most; spans that would need more are left out and counted.
const LANES: usize = 64;

/// Everything as one file.
pub fn perfetto(report: &Report) -> String {
    let view = View::new(report);
    let mut out = Events::default();
    each_step(&view, &mut |step, nodes| {
        let requests = nodes.first().map_or(0, |root| root.exchanges);
        let title = format!("{}: average of {requests} requests", text::clean(step));
        let pid = out.process(&title);
        out.track(pid, 1, "critical path");
        average(&mut out, pid, step, nodes);
    });
    for (title, tree) in super::whole_requests(&view) {
        let pid = out.process(&title);
        request(&mut out, pid, tree);
    }
    let file = json!({
        "traceEvents": out.list,
        "displayTimeUnit": "ms",
        "otherData": {
            "run": text::clean(&report.run.id),
            "exporter": format!("hotspan {}", report.run.hotspan_version),
        },
    });
    crate::report::json::embedded(&file) + "\n"
}

#[derive(Default)]
struct Events {
    list: Vec<Value>,
    processes: u32,
}

impl Events {
    fn process(&mut self, name: &str) -> u32 {
        self.processes += 1;
        let pid = self.processes;
        self.list
            .push(json!({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}));
        let order = json!({"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}});
        self.list.push(order);
        pid
    }

    fn track(&mut self, pid: u32, tid: usize, name: &str) {
        self.list
            .push(json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}));
        let order = json!({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}});
        self.list.push(order);
    }

    /// A slice; times in nanoseconds.
    fn slice(
        &mut self,
        (pid, tid): (u32, usize),
        name: &str,
        kind: &str,
        (from, to): (f64, f64),
        args: Value,
    ) {
        let micros = |ns: f64| rounded(ns / 1e3, 1e3);
        let (from, to) = (micros(from), micros(to));
        self.list.push(json!({
            "ph": "X", "name": name, "cat": kind, "pid": pid, "tid": tid,
            "ts": from, "dur": length(from, to.max(from)), "args": args,
        }));
    }
}

/// The length that leads from one moment to another, also when a reader adds it in floating point: a slice that ends a
/// hair after its neighbour began would lie across it.
fn length(from: f64, to: f64) -> f64 {
    let short = rounded(to - from, 1e3);
    let exact = to - from;
    // The short form where it leads there; else the difference as it is, or the one just below that.
    [short, exact].into_iter().find(|length| from + length == to).unwrap_or(exact.next_down().max(0.0))
}

/// The critical path of all requests of a step, divided by their number: a node is as long as itself and all below it.
fn average(out: &mut Events, pid: u32, step: &str, nodes: &[FlameNode]) {
    let mut whole: Vec<u64> = nodes.iter().map(|node| node.own.0).collect();
    for at in (1..nodes.len()).rev() {
        if let Some(parent) = nodes[at].parent {
            whole[parent as usize] += whole[at];
        }
    }
    let all = whole.first().copied().unwrap_or(0).max(1);
    // Where the next child of a node begins, in nanoseconds of all requests together.
    let mut next: Vec<u64> = vec![0; nodes.len()];
    let root = nodes.first();
    for (at, node) in nodes.iter().enumerate() {
        let from = match node.parent {
            None => 0,
            Some(parent) => {
                let from = next[parent as usize];
                next[parent as usize] += whole[at];
                from
            }
        };
        next[at] = from;
        if whole[at] == 0 {
            continue;
        }
        let mean = |time: u64| mean_of(time, root);
        let category = node.who.as_ref().map_or("step", |who| who.category.name());
        let args = json!({
            "own_ms": rounded(mean(node.own.0) / 1e6, 1e3),
            "share": rounded(whole[at] as f64 / all as f64, 1e4),
            "requests": node.exchanges,
            "service": node.who.as_ref().map_or_else(String::new, |who| text::clean(&who.service)),
        });
        out.slice((pid, 1), &frame(node, step), category, (mean(from), mean(from + whole[at])), args);
    }
}

/// One request: the client's line, the critical path, and the spans of each service.
fn request(out: &mut Events, pid: u32, tree: &TraceTree) {
    let since = |at: Timestamp| at.0.saturating_sub(tree.due.0) as f64;
    out.track(pid, 1, "client: hotspan");
    let trace = tree.trace_id.to_string();
    let args = json!({"trace_id": trace, "status": tree.status, "failed": tree.failed});
    out.slice((pid, 1), "request", "client", (0.0, since(tree.moments[3])), args);
    out.track(pid, 2, "critical path");
    for (who, from, to, _) in &tree.path {
        let name = format!("{} [{}]", text::clean(&who.name), who.category.name());
        let args = json!({"service": text::clean(&who.service)});
        out.slice((pid, 2), &name, who.category.name(), (since(*from), since(*to)), args);
    }
    let mut services: Vec<&str> = tree.spans.iter().map(|span| &*span.service).collect();
    services.sort_unstable();
    services.dedup();
    let mut tid = 2;
    for service in services {
        let mut spans: Vec<&TreeSpan> = tree.spans.iter().filter(|span| &*span.service == service).collect();
        // What begins first, and of those the longest, is around the others.
        spans.sort_by_key(|span| (span.from, std::cmp::Reverse(span.to)));
        let lanes = lanes(&spans);
        let tracks = lanes.iter().flatten().max().map_or(0, |last| last + 1);
        let named = if service.is_empty() { "unknown service".to_owned() } else { text::clean(service) };
        (0..tracks).for_each(|lane| out.track(pid, tid + 1 + lane, &named));
        for (span, lane) in spans.iter().zip(&lanes) {
            let Some(lane) = lane else { continue };
            let args = json!({
                "kind": super::kind_name(span.kind),
                "instance": text::clean(&span.instance),
                "marks": span.marks.names().collect::<Vec<_>>(),
                "owner": text::clean(&span.owner.name),
            });
            let at = (since(span.from), since(span.to));
            out.slice((pid, tid + 1 + lane), &text::clean(&span.name), span.owner.category.name(), at, args);
        }
        tid += tracks;
    }
}

/// A track for each span, in which it lies within another or apart from it.
fn lanes(spans: &[&TreeSpan]) -> Vec<Option<usize>> {
    let mut open: Vec<Vec<Timestamp>> = Vec::new();
    let mut out = Vec::with_capacity(spans.len());
    for span in spans {
        let fits = |stack: &mut Vec<Timestamp>| {
            while stack.last().is_some_and(|end| *end <= span.from) {
                stack.pop();
            }
            stack.last().is_none_or(|end| span.to <= *end)
        };
        let lane = match open.iter_mut().position(fits) {
            Some(lane) => lane,
            None if open.len() < LANES => {
                open.push(Vec::new());
                open.len() - 1
            }
            None => {
                out.push(None);
                continue;
            }
        };
        open[lane].push(span.to);
        out.push(Some(lane));
    }
    out
}
