//! The critical path of all requests for the Firefox Profiler (<https://profiler.firefox.com>), in its processed format: a
//! thread for each step, weighted by the milliseconds that clients waited. Call tree, flame graph and inverted tree are there.

use super::stacks::{each_step, frame};
use crate::analysis::result::{Category, FlameNode};
use crate::report::Report;
use crate::report::json::value::rounded;
use crate::report::text;
use crate::report::view::View;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Version of the processed format; the profiler upgrades older ones as it opens them.
const PROCESSED: u32 = 55;
/// Version of the format of Gecko that it goes with.
const GECKO: u32 = 24;

/// Everything as one file.
pub fn firefox(report: &Report) -> String {
    let view = View::new(report);
    let mut threads: Vec<Value> = Vec::new();
    each_step(&view, &mut |step, nodes| {
        let number = threads.len() + 1;
        threads.push(thread(number, step, nodes, report));
    });
    let mut categories = vec![json!({"name": "Other", "color": "grey", "subcategories": ["Other"]})];
    categories.extend(
        Category::ALL
            .into_iter()
            .map(|c| json!({"name": c.name(), "color": color(c), "subcategories": ["Other"]})),
    );
    let file = json!({
        "meta": {
            "categories": categories,
            "debug": false,
            "extensions": {"baseURL": [], "id": [], "length": 0, "name": []},
            "importedFrom": "hotspan",
            "interval": 1,
            "markerSchema": [],
            "pausedRanges": [],
            "preprocessedProfileVersion": PROCESSED,
            "processType": 0,
            "product": text::clean(&report.run.name),
            "sampleUnits": {"eventDelay": "ms", "threadCPUDelta": "µs", "time": "ms"},
            "sourceCodeIsNotOnSearchfox": true,
            "startTime": report.run.started_at.0 / 1_000_000,
            "symbolicated": true,
            "usesOnlyOneStackType": true,
            "version": GECKO,
        },
        "libs": [],
        "pages": [],
        "profilerOverhead": [],
        "counters": [],
        "threads": threads,
    });
    crate::report::json::embedded(&file) + "\n"
}

/// One of the colours that the profiler knows.
fn color(category: Category) -> &'static str {
    match category {
        Category::Generator | Category::Untraced => "grey",
        Category::Connection | Category::Network => "lightblue",
        Category::Queue => "purple",
        Category::App => "blue",
        Category::Database => "orange",
        Category::Cache => "yellow",
        Category::Search => "magenta",
        Category::Messaging => "brown",
        Category::External => "red",
        Category::Transfer => "green",
    }
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: String) -> usize {
        let new = self.list.len();
        let number = *self.numbers.entry(text.clone()).or_insert(new);
        if number == new {
            self.list.push(text);
        }
        number
    }
}

/// The tree of a step: each node of it is a frame of its own, so that frames and stacks have the same numbers.
fn thread(number: usize, step: &str, nodes: &[FlameNode], report: &Report) -> Value {
    let mut texts = Texts::default();
    let mut funcs: BTreeMap<(usize, Option<usize>), usize> = BTreeMap::new();
    let mut func_list: Vec<(usize, Option<usize>)> = Vec::new();
    let mut func_of = Vec::with_capacity(nodes.len());
    let mut category_of = Vec::with_capacity(nodes.len());
    for node in nodes {
        let name = texts.number(frame(node, step));
        let code = node.who.as_ref().map(|who| &*who.code).filter(|code| !code.is_empty());
        let file = code.map(|code| texts.number(text::clean(code)));
        let new = func_list.len();
        let func = *funcs.entry((name, file)).or_insert(new);
        if func == new {
            func_list.push((name, file));
        }
        func_of.push(func);
        let category =
            node.who.as_ref().and_then(|who| Category::ALL.into_iter().position(|c| c == who.category));
        category_of.push(category.map_or(0, |at| at + 1));
    }
    let timed: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].own.0 > 0).collect();
    let millis = |at: &usize| rounded(nodes[*at].own.as_millis_f64(), 1e3);
    // One after the other, deepest stacks where their parents are: what the time line shows is no order of events.
    let mut at_ms = 0.0;
    let mut begin = |at: &usize| {
        let now = rounded(at_ms, 1e3);
        at_ms += millis(at);
        now
    };
    let times: Vec<f64> = timed.iter().map(&mut begin).collect();
    let n = nodes.len();
    let all = |value: Value, n: usize| vec![value; n];
    json!({
        "name": text::clean(step),
        "processName": text::clean(&report.run.name),
        "processType": "default",
        "isMainThread": true,
        "pid": number.to_string(),
        "tid": number.to_string(),
        "processStartupTime": 0,
        "processShutdownTime": null,
        "registerTime": 0,
        "unregisterTime": null,
        "pausedRanges": [],
        "showMarkersInTimeline": false,
        "samples": {
            "length": timed.len(),
            "stack": timed,
            "time": times,
            "weight": timed.iter().map(millis).collect::<Vec<f64>>(),
            "weightType": "tracing-ms",
            "threadCPUDelta": all(Value::Null, timed.len()),
        },
        "stackTable": {
            "length": n,
            "frame": (0..n).collect::<Vec<_>>(),
            "prefix": nodes.iter().map(|node| node.parent).collect::<Vec<_>>(),
        },
        "frameTable": {
            "length": n,
            "address": all(json!(-1), n),
            "inlineDepth": all(json!(0), n),
            "category": category_of,
            "subcategory": all(json!(0), n),
            "func": func_of,
            "nativeSymbol": all(Value::Null, n),
            "innerWindowID": all(Value::Null, n),
            "line": all(Value::Null, n),
            "column": all(Value::Null, n),
        },
        "funcTable": {
            "length": func_list.len(),
            "name": func_list.iter().map(|f| f.0).collect::<Vec<_>>(),
            "isJS": all(json!(false), func_list.len()),
            "relevantForJS": all(json!(false), func_list.len()),
            "resource": all(json!(-1), func_list.len()),
            "fileName": func_list.iter().map(|f| f.1).collect::<Vec<_>>(),
            "lineNumber": all(Value::Null, func_list.len()),
            "columnNumber": all(Value::Null, func_list.len()),
        },
        "resourceTable": {"length": 0, "lib": [], "name": [], "host": [], "type": []},
        "nativeSymbols": {"length": 0, "address": [], "functionSize": [], "libIndex": [], "name": []},
        "markers": {"length": 0, "category": [], "data": [], "endTime": [], "name": [], "phase": [], "startTime": []},
        "stringArray": texts.list,
    })
}
