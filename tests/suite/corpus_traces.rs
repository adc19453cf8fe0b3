//! `hotspan analyze` on traces that nobody here wrote: every file is read, every request is blamed to the last bit, and what
//! cannot be read is counted. The corpus is not part of the project; see [`super::corpus_critical_path::corpus`].

use super::corpus_critical_path::{corpus, read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// `report.json` of trace files.
fn analyze(path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_hotspan"))
        .args(["analyze", "--format", "json"])
        .arg(path)
        .output()
        .expect("hotspan starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", path.display());
    serde_json::from_slice(&output.stdout).expect("report.json")
}

/// Requests, their mean latency and the mean of all categories together, over all steps.
fn totals(report: &Value) -> (u64, f64, f64) {
    let (mut requests, mut latency, mut blamed) = (0, 0.0, 0.0);
    for step in report["steps"].as_array().unwrap() {
        let n = step["exchanges"].as_u64().unwrap();
        requests += n;
        latency += n as f64 * step["latency_ms"]["mean"].as_f64().unwrap();
        let parts = step["categories"].as_object().unwrap().values();
        blamed += n as f64 * parts.map(|c| c["mean_ms"].as_f64().unwrap()).sum::<f64>();
    }
    (requests, latency / requests as f64, blamed / requests as f64)
}

/// Blame sums to the mean duration of the roots, but for the rounding of the report (a thousandth of a millisecond for each
/// of the categories).
#[track_caller]
fn sums_to(report: &Value, roots: u64, mean_ms: f64, what: &Path) {
    let (requests, latency, blamed) = totals(report);
    let what = what.display();
    assert_eq!(requests, roots, "{what}");
    assert!(
        (latency - mean_ms).abs() <= 0.001 + mean_ms * 1e-4,
        "{what}: latency {latency}, roots {mean_ms}"
    );
    assert!((blamed - mean_ms).abs() <= 0.012 + mean_ms * 1e-3, "{what}: blamed {blamed}, roots {mean_ms}");
    let generator: f64 = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["categories"]["generator"]["mean_ms"].as_f64().unwrap())
        .sum();
    assert_eq!(generator, 0.0, "{what}: there was no load generator");
    assert_eq!(report["run"]["origin"], "traces");
    assert_eq!(report["load"]["achieved_per_s"], Value::Null);
}

#[test]
fn nezha_minutes_are_blamed_to_the_last_root() {
    let Some(folder) = corpus("nezha") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.to_string_lossy().ends_with(".csv.gz"));
    files.sort();
    // Every fifth, both systems among them: all of them take a minute in a debug build.
    for file in files.iter().step_by(5) {
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
        // Root durations by hand; a root that came twice counts once.
        let mut roots: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut traces = BTreeSet::new();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            traces.insert(cells[0]);
            if cells[2] == "root" {
                let time = |text: &str| text.parse::<u64>().unwrap();
                roots.entry((cells[0], cells[1])).or_insert(time(cells[6]) - time(cells[5]));
            }
        }
        let report = analyze(file);
        let (requests, _, blamed) = totals(&report);
        // Where every trace has one root, requests are roots.
        if roots.len() == traces.len() {
            let mean = roots.values().sum::<u64>() as f64 / 1e6 / roots.len() as f64;
            sums_to(&report, roots.len() as u64, mean, file);
        } else {
            assert!(requests >= traces.len() as u64 && blamed > 0.0, "{}", file.display());
        }
    }
}

#[test]
fn a_jaeger_download_is_blamed_over_all_its_services() {
    let Some(folder) = corpus("deathstarbench") else { return };
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|f| f.extension().is_some_and(|e| e == "json"));
    let content = read(&file.unwrap());
    let list = content["data"].as_array().unwrap();
    let root = |trace: &Value| {
        let spans = trace["spans"].as_array().unwrap();
        spans
            .iter()
            .find(|s| s["references"].as_array().is_none_or(Vec::is_empty))
            .map(|s| s["duration"].as_u64().unwrap())
            .unwrap()
    };
    let mean = list.iter().map(root).sum::<u64>() as f64 / 1e3 / list.len() as f64;
    let report = analyze(&folder);
    sums_to(&report, list.len() as u64, mean, &folder);
    // The time is not all the root's: parts of it are other services'.
    let services: BTreeSet<&str> = report["steps"][0]["contributors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["mean_ms"].as_f64().unwrap() > 0.01)
        .map(|c| c["service"].as_str().unwrap())
        .collect();
    assert!(services.len() >= 5, "{services:?}");
    assert_eq!(report["telemetry"]["orphans"], 0);
}

#[test]
fn crisps_cases_are_blamed_as_their_critical_path_says() {
    let Some(folder) = corpus("crisp/test_cases") else { return };
    for n in [1, 2, 5, 9, 15, 17, 23] {
        let file = folder.join(format!("{n}.json"));
        let content = read(&file);
        let roots: Vec<&Value> = content["data"][0]["spans"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["references"].as_array().is_none_or(Vec::is_empty))
            .collect();
        let report = analyze(&file);
        if let [root] = roots[..] {
            sums_to(&report, 1, root["duration"].as_f64().unwrap() / 1e3, &file);
        }
    }
}

#[test]
fn every_other_file_is_read_or_said_to_hold_no_spans() {
    let Some(folder) = corpus("zipkin") else { return };
    let report = analyze(&folder);
    let unfinished: Vec<&str> =
        report["telemetry"]["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert!(
        unfinished.iter().any(|w| w.contains("84 records") && w.contains("no timestamp")),
        "{unfinished:?}"
    );
    let (_, latency, blamed) = totals(&report);
    assert!((latency - blamed).abs() <= 0.02 + latency * 1e-3, "{latency} {blamed}");
    for part in ["jaeger", "jaeger-ui", "otlp"] {
        let Some(folder) = corpus(part) else { return };
        let report = analyze(&folder);
        let (requests, latency, blamed) = totals(&report);
        assert!(
            requests > 0 && (latency - blamed).abs() <= 0.02 + latency * 1e-3,
            "{part}: {latency} {blamed}"
        );
    }
}
