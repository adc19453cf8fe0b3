//! Each format is read back by a reader of its own, and hostile texts do not leave their places.

use super::*;
use crate::analysis::result::{
    Category, Contributor, ExemplarRole, FlameNode, Pictures, SpanMarks, StepPicture, StepSlice, TraceTree,
    TreeSpan,
};
use crate::record::{Nanos, SpanKind, Timestamp, TraceId};
use crate::report::ci::hostile_tests::hostile as every_hostile;
use crate::report::junit;
use crate::report::sample::{self, Sample};
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HOSTILE: [&str; 12] = [
    "a;b;c 12",
    "one\ntwo\r\nthree",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\"quoted\", and, commas",
    "]]></failure><testcase name=\"x\"/>",
    "a\\\"} 1\n# EOF",
    "\u{1b}[31m\u{0}\u{202e}",
    "",
];

/// A sample with a tree of paths and a whole request, names replaced where a text is given.
pub fn with_paths(text: Option<&str>) -> Sample {
    let mut sample = sample::bottleneck();
    let name = |plain: &str| Arc::<str>::from(text.unwrap_or(plain));
    let who = |category, plain: &str| {
        Some(Contributor {
            category,
            service: name("shop"),
            system: name(""),
            name: name(plain),
            code: name(""),
        })
    };
    let node = |parent, who, own, exchanges| FlameNode { parent, who, folded: 0, own: Nanos(own), exchanges };
    let flame = vec![
        node(None, None, 0, 10),
        node(Some(0), who(Category::App, "GET /products"), 3_000_000, 10),
        node(Some(1), who(Category::Database, "SELECT a; b"), 7_000_400, 9),
    ];
    let heat = vec![vec![(200, 4), (201, 1)], vec![(199, 5)]];
    let trees = vec![request(&name)];
    let slices = vec![StepSlice { exchanges: 5, ..StepSlice::default() }; 2];
    let picture = StepPicture { flame, heat, trees, slices, ..StepPicture::default() };
    sample.analysis.pictures = Pictures { steps: vec![picture], ..Pictures::default() };
    if let Some(text) = text {
        sample.run.name = text.to_owned();
        sample.run.target = text.to_owned();
        for step in &mut sample.run.steps {
            (step.name, step.journey) = (text.to_owned(), text.to_owned());
        }
        for step in &mut sample.analysis.steps {
            for owner in &mut step.contributors {
                owner.contributor.name = Arc::from(text);
                owner.contributor.service = Arc::from(text);
            }
        }
        for threshold in &mut sample.thresholds {
            threshold.expression = text.to_owned();
        }
    }
    sample
}

/// A request of 10 ms: the service and, within it, two calls of the database that overlap.
fn request(name: &impl Fn(&str) -> Arc<str>) -> TraceTree {
    let at = |ms: u64| Timestamp(1_800_000_000_000_000_000 + ms * 1_000_000);
    let who = |category, plain: &str| Contributor {
        category,
        service: name("shop"),
        system: name(""),
        name: name(plain),
        code: name(""),
    };
    let span = |parent, plain: &str, category, from, to| TreeSpan {
        parent,
        service: name("shop"),
        instance: name("shop-1"),
        name: name(plain),
        kind: SpanKind::Internal,
        owner: who(category, plain),
        from: at(from),
        to: at(to),
        marks: SpanMarks(SpanMarks::ERROR),
    };
    TraceTree {
        role: ExemplarRole::Worst,
        trace_id: TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        due: at(0),
        moments: [at(0), at(0), at(9), at(10)],
        status: 200,
        failed: false,
        path: vec![
            (who(Category::Network, "client → shop"), at(0), at(1), None),
            (who(Category::App, "GET /products"), at(1), at(3), Some(0)),
            (who(Category::Database, "SELECT a; b"), at(3), at(8), Some(1)),
            (who(Category::App, "GET /products"), at(8), at(10), Some(0)),
        ],
        spans: vec![
            span(None, "GET /products", Category::App, 1, 10),
            span(Some(0), "SELECT a; b", Category::Database, 3, 8),
            span(Some(0), "SELECT c", Category::Database, 5, 9),
        ],
        omitted: 0,
    }
}

#[test]
fn stacks_have_the_weight_of_the_paths() {
    let sample = with_paths(None);
    assert_eq!(
        folded(&sample.report()),
        "GET /products;GET /products [app] 3000\nGET /products;GET /products [app];SELECT a, b [database] 7000\n"
    );
    let file: serde_json::Value = serde_json::from_str(&speedscope(&sample.report())).unwrap();
    let profile = &file["profiles"][0];
    assert_eq!((&profile["unit"], &profile["endValue"]), (&"microseconds".into(), &10_000.into()));
    assert_eq!(profile["samples"], serde_json::json!([[0, 1], [0, 1, 2]]));
    assert_eq!(profile["weights"], serde_json::json!([3_000, 7_000]));
    assert_eq!(file["shared"]["frames"][2]["name"], "SELECT a; b [database]");
}

#[test]
fn the_table_has_the_numbers_of_report_json() {
    let sample = with_paths(None);
    let json: serde_json::Value = serde_json::from_str(&crate::report::json(&sample.report())).unwrap();
    let text = csv(&sample.report());
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let at = |name: &str| head.iter().position(|h| h == name).unwrap();
    let rows: Vec<::csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    let steps: Vec<_> = rows.iter().filter(|r| &r[at("row")] == "step").collect();
    assert_eq!(steps.len(), json["steps"].as_array().unwrap().len());
    for (row, step) in steps.iter().zip(json["steps"].as_array().unwrap()) {
        assert_eq!(&row[at("step")], step["name"].as_str().unwrap());
        let same = |column: &str, value: &serde_json::Value| {
            assert_eq!(row[at(column)].parse::<f64>().unwrap(), value.as_f64().unwrap(), "{column}");
        };
        same("requests", &step["exchanges"]);
        same("mean_ms", &step["latency_ms"]["mean"]);
        same("p95_ms", &step["latency_ms"]["p95"]);
        same("max_ms", &step["latency_ms"]["max"]);
    }
    let owned: Vec<_> = rows.iter().filter(|r| &r[at("row")] == "contributor").collect();
    let first = &json["steps"][0]["contributors"][0];
    assert_eq!(&owned[0][at("name")], first["name"].as_str().unwrap());
    assert_eq!(owned[0][at("share")].parse::<f64>().unwrap(), first["share"].as_f64().unwrap());
}

#[test]
fn foreign_text_stays_in_its_place() {
    for text in HOSTILE.into_iter().map(str::to_owned).chain(every_hostile()) {
        let sample = with_paths(Some(&text));
        let report = sample.report();
        for line in folded(&report).lines() {
            let (stack, weight) = line.rsplit_once(' ').unwrap();
            assert!(weight.parse::<u64>().is_ok() && (2..=3).contains(&stack.split(';').count()), "{line}");
        }
        serde_json::from_str::<serde_json::Value>(&speedscope(&report)).unwrap();
        let table = csv(&report);
        for row in ::csv::Reader::from_reader(table.as_bytes()).records() {
            let row = row.unwrap();
            for cell in row.iter().skip(1).take(7) {
                assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
            }
        }
        let xml = junit(&report);
        assert_eq!(xml.matches("<testcase").count(), sample.thresholds.len(), "{text:?}");
        assert_eq!(xml.matches("</failure>").count(), sample.thresholds.iter().filter(|t| !t.passed).count());
        assert!(xml.chars().all(|c| c == '\n' || c >= ' '), "{text:?}");
        let (slices, threads) =
            (well_formed_slices(&perfetto(&report)), well_formed_threads(&firefox(&report)));
        assert_eq!((slices, threads), (11, vec![10.0]), "{text:?}");
        let metrics = openmetrics(&report);
        assert_eq!(metrics.lines().filter(|line| *line == "# EOF").count(), 1, "{text:?}");
        for line in metrics.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("hotspan_"), "{line}");
        }
        assert!(metrics.ends_with("\n# EOF\n"));
    }
}

/// Checks a file of trace events as viewers read it: slices of one track nest or follow each other. Gives their number.
fn well_formed_slices(text: &str) -> usize {
    let file: Value = serde_json::from_str(text).unwrap();
    let mut open: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    let mut slices = 0;
    for event in file["traceEvents"].as_array().unwrap() {
        let (pid, tid) = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        assert!(event["name"].is_string(), "{event}");
        if event["ph"] == "M" {
            if event["name"] == "thread_name" {
                named.insert((pid, tid));
            }
            continue;
        }
        assert_eq!(event["ph"], "X", "{event}");
        let (from, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        assert!(from >= 0.0 && length >= 0.0 && named.contains(&(pid, tid)), "{event}");
        let track = open.entry((pid, tid)).or_default();
        while track.last().is_some_and(|(_, end)| *end <= from) {
            track.pop();
        }
        assert!(track.last().is_none_or(|(_, end)| from + length <= *end), "{event} crosses another slice");
        track.push((from, from + length));
        slices += 1;
    }
    slices
}

/// Checks a processed profile as `fxprof-processed-profile` 0.8 writes that version: the tables have these columns, all as
/// long as they say, and numbers lead to rows that are there. Gives the weight of each thread.
fn well_formed_threads(text: &str) -> Vec<f64> {
    let file: Value = serde_json::from_str(text).unwrap();
    assert_eq!(file["meta"]["preprocessedProfileVersion"], 55);
    let categories = file["meta"]["categories"].as_array().unwrap().len();
    let mut weights = Vec::new();
    for thread in file["threads"].as_array().unwrap() {
        let texts = thread["stringArray"].as_array().unwrap().len();
        let table = |name: &str, columns: &[&str]| {
            let table = thread[name].as_object().unwrap();
            let length = table["length"].as_u64().unwrap() as usize;
            for column in columns {
                assert_eq!(table[*column].as_array().unwrap().len(), length, "{name}.{column}");
            }
            assert!(
                table.keys().all(|k| k == "length" || k == "weightType" || columns.contains(&k.as_str())),
                "{name}"
            );
            length
        };
        let samples = table("samples", &["stack", "time", "weight", "threadCPUDelta"]);
        let stacks = table("stackTable", &["prefix", "frame"]);
        let of_frames = [
            "address",
            "inlineDepth",
            "category",
            "subcategory",
            "func",
            "nativeSymbol",
            "innerWindowID",
            "line",
            "column",
        ];
        let frames = table("frameTable", &of_frames);
        let of_funcs =
            ["name", "isJS", "relevantForJS", "resource", "fileName", "lineNumber", "columnNumber"];
        let funcs = table("funcTable", &of_funcs);
        table("resourceTable", &["lib", "name", "host", "type"]);
        table("nativeSymbols", &["address", "functionSize", "libIndex", "name"]);
        table("markers", &["category", "data", "endTime", "name", "phase", "startTime"]);
        let below = |path: [&str; 2], most: usize| {
            for (at, number) in thread[path[0]][path[1]].as_array().unwrap().iter().enumerate() {
                assert!(number.is_null() || number.as_u64().unwrap() < most as u64, "{path:?} {at}");
            }
        };
        below(["samples", "stack"], stacks);
        below(["stackTable", "frame"], frames);
        below(["frameTable", "func"], funcs);
        below(["frameTable", "category"], categories);
        below(["funcTable", "name"], texts);
        below(["funcTable", "fileName"], texts);
        for (at, prefix) in thread["stackTable"]["prefix"].as_array().unwrap().iter().enumerate() {
            assert!(
                prefix.as_u64().is_none_or(|above| above < at as u64),
                "a stack's prefix comes before it"
            );
        }
        assert!(samples > 0 && thread["pid"].is_string() && thread["tid"].is_string());
        weights
            .push(thread["samples"]["weight"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).sum());
    }
    weights
}

#[test]
fn time_lines_have_the_mean_request_and_real_ones() {
    let sample = with_paths(None);
    let text = perfetto(&sample.report());
    assert_eq!(well_formed_slices(&text), 11);
    let file: Value = serde_json::from_str(&text).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let of = |pid: u64| events.iter().filter(move |e| e["ph"] == "X" && e["pid"] == pid);
    // 10.0004 ms of ten requests.
    let mean: Vec<(f64, f64)> =
        of(1).map(|e| (e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap())).collect();
    assert_eq!(mean, [(0.0, 1_000.04), (0.0, 1_000.04), (0.0, 700.04)]);
    let path = of(2).filter(|e| e["tid"] == 2).map(|e| e["dur"].as_f64().unwrap()).sum::<f64>();
    assert_eq!(path, 10_000.0);
    // Two calls that overlap are on two tracks of their service.
    let tracks: BTreeSet<u64> = of(2).filter_map(|e| e["tid"].as_u64()).collect();
    assert_eq!(tracks.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(of(2).next().unwrap()["args"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn a_profile_has_the_weight_of_the_paths() {
    let sample = with_paths(None);
    let text = firefox(&sample.report());
    assert_eq!(well_formed_threads(&text), [10.0]);
    let file: Value = serde_json::from_str(&text).unwrap();
    let thread = &file["threads"][0];
    assert_eq!(thread["samples"]["weight"], serde_json::json!([3.0, 7.0]));
    assert_eq!(thread["stackTable"]["prefix"], serde_json::json!([null, 0, 1]));
    let name = thread["funcTable"]["name"][2].as_u64().unwrap() as usize;
    assert_eq!(thread["stringArray"][name], "SELECT a; b [database]");
}

#[test]
fn test_results_say_what_failed() {
    let sample = sample::everything();
    let xml = junit(&sample.report());
    let failed = sample.thresholds.iter().filter(|t| !t.passed).count();
    assert!(xml.contains(&format!("tests=\"{}\" failures=\"{failed}\"", sample.thresholds.len())), "{xml}");
    assert_eq!(xml.matches("<failure ").count(), failed);
}

#[test]
fn histograms_are_read_back_with_the_same_quantiles() {
    let sample = sample::bottleneck();
    let log = hdr_log(&sample.report());
    let mut deserializer = Deserializer::new();
    let mut read = Vec::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            use base64_reader::decode;
            let bytes = decode(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> = deserializer.deserialize(&mut &bytes[..]).unwrap();
            read.push((interval.tag().unwrap().as_str().to_owned(), histogram));
        }
    }
    let steps = &sample.analysis.steps;
    assert_eq!(read.len(), 2 * steps.len());
    for (step, pair) in steps.iter().zip(read.chunks(2)) {
        assert_eq!(pair[0].1.len(), step.exchanges);
        for q in [0.5, 0.95, 0.99] {
            let got = pair[0].1.value_at_quantile(q);
            assert_eq!(got.min(step.latency.quantile(1.0).0), step.latency.quantile(q).0, "{}", pair[0].0);
        }
        assert!(pair[1].0.ends_with(".service"));
    }
}

/// Base64 as the log has it.
mod base64_reader {
    pub fn decode(text: &str) -> Vec<u8> {
        let digit = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut out = Vec::new();
        for group in text.trim_end_matches('=').as_bytes().chunks(4) {
            let bits =
                group.iter().fold(0u32, |sum, c| sum << 6 | u32::from(digit(*c))) << (6 * (4 - group.len()));
            out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        out
    }
}
