//! Each format is read back by a reader of its own, and hostile texts do not leave their places.

use super::*;
use crate::analysis::result::{Category, Contributor, FlameNode, Pictures, StepPicture};
use crate::record::Nanos;
use crate::report::junit;
use crate::report::sample::{self, Sample};
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
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

/// A sample with a tree of paths, names replaced where a text is given.
fn with_paths(text: Option<&str>) -> Sample {
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
    let picture = StepPicture { flame, ..StepPicture::default() };
    sample.analysis.pictures = Pictures { steps: vec![picture] };
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
    for text in HOSTILE {
        let sample = with_paths(Some(text));
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
        let metrics = openmetrics(&report);
        assert_eq!(metrics.lines().filter(|line| *line == "# EOF").count(), 1, "{text:?}");
        for line in metrics.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("hotspan_"), "{line}");
        }
        assert!(metrics.ends_with("\n# EOF\n"));
    }
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
