//! `hotspan history` as a user runs it, and its change points on real histories with known truth, where those are at hand.

use hotspan::stats::changepoint::{Sensitivity, changes, common_factor};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn hotspan(dir: &Path, args: &[&str]) -> Ran {
    let out = Command::new(env!("CARGO_BIN_EXE_hotspan"))
        .args(["history"])
        .args(args)
        .current_dir(dir)
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()
        .expect("hotspan starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
}

/// A report of run number `i`; operations swing by a fixed pattern, and one is `slower` times as slow.
fn report(dir: &Path, i: usize, slower: f64) -> String {
    let wave = |op: usize| 1.0 + 0.01 * (((i * 7 + op * 13) % 11) as f64 - 5.0) / 5.0;
    let operation = |op: usize| {
        let factor = wave(op) * if op == 2 { slower } else { 1.0 };
        json!({"service": "shop", "name": format!("SELECT t{op}"), "kind": "client", "category": "database", "calls": 400, "errors": 0,
            "exchanges": 200, "own_ms": 200.0 * factor * (op + 1) as f64, "duration_ms": {"p95": 2.0 * factor}})
    };
    let report = json!({
        "schema": "hotspan.report/1",
        "run": {"id": format!("run-{i:03}"), "name": "shop", "state": "complete", "started_at": format!("2026-03-01T00:{i:02}:00.000Z"),
            "hotspan_version": "1", "git_commit": format!("{i:012x}"), "host": {"cpu": "Z80", "cores": 2, "os": "CP/M", "name": "h"}},
        "telemetry": {"traced": 200, "coverage": 1.0},
        "load": {"offered": 200, "sent": 200, "generator": {"bottleneck": null}},
        "steps": [{"journey": "main", "name": "GET /", "exchanges": 200, "errors": 0, "latency_ms": {"p50": 10.0 * wave(0), "p95": 20.0 * wave(1)}}],
        "operations": (0..6).map(operation).collect::<Vec<Value>>(),
    });
    let path = dir.join(format!("{i:03}.json"));
    std::fs::write(&path, report.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn add(dir: &Path, to: &[&str], runs: std::ops::Range<usize>, slower: f64) {
    let reports: Vec<String> = runs.map(|i| report(dir, i, slower)).collect();
    let mut args = vec!["add"];
    args.extend(reports.iter().map(String::as_str));
    args.extend(to);
    let ran = hotspan(dir, &args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn a_regression_is_found_named_accepted_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = ["--to", "h.jsonl"];
    add(dir, &file, 0..8, 1.0);
    let early = hotspan(dir, &["check", "h.jsonl"]);
    assert_eq!((early.code, early.out.starts_with("Cannot tell: ")), (Some(3), true), "{}", early.out);
    add(dir, &file, 8..30, 1.0);
    let clean = hotspan(dir, &["check", "h.jsonl"]);
    assert_eq!(clean.code, Some(0), "{}{}", clean.out, clean.err);
    add(dir, &file, 30..36, 1.5);
    let failed = hotspan(dir, &["check", "h.jsonl", "--write", "junit=j.xml", "--write", "json=g.json"]);
    assert_eq!(failed.code, Some(99), "{}{}", failed.out, failed.err);
    assert!(failed.out.contains("SELECT t2") && !failed.out.contains("SELECT t3"), "{}", failed.out);
    let range = format!("{:012x}..{:012x}", 29, 30);
    assert!(failed.out.contains(&range) && failed.out.contains("git bisect start"), "{}", failed.out);
    let gate: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("g.json")).unwrap()).unwrap();
    assert_eq!((&gate["verdict"], &gate["checks"][0]["kind"]), (&json!("failed"), &json!("history")));
    assert!(std::fs::read_to_string(dir.join("j.xml")).unwrap().contains("<failure type=\"history\""));

    let shown = hotspan(dir, &["show", "h.jsonl"]);
    assert!(
        shown.out.contains(&range) && shown.out.contains('|') && shown.out.contains("bisect.yaml"),
        "{}",
        shown.out
    );

    let commit = format!("{:012x}", 30);
    let accept = |until: &str| {
        hotspan(dir, &["accept", "h.jsonl", "--commit", &commit, "--reason", "encryption", "--until", until])
    };
    assert!(accept("2020-01-01").err.contains("over already"));
    assert_eq!(accept("2999-12-31").code, Some(0));
    let accepted = hotspan(dir, &["check", "h.jsonl"]);
    assert_eq!((accepted.code, accepted.out.contains("encryption")), (Some(0), true), "{}", accepted.out);
    let list = std::fs::read_to_string(dir.join("h.accepted.json")).unwrap();
    std::fs::write(dir.join("h.accepted.json"), list.replace("2999-12-31", "2020-01-01")).unwrap();
    let over = hotspan(dir, &["check", "h.jsonl"]);
    assert_eq!(
        (over.code, over.out.contains("was accepted until 2020-01-01")),
        (Some(99), true),
        "{}",
        over.out
    );
}

#[test]
fn a_torn_file_goes_on_with_a_new_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    add(dir, &["--to", "h.jsonl"], 0..3, 1.0);
    let text = std::fs::read_to_string(dir.join("h.jsonl")).unwrap();
    std::fs::write(dir.join("h.jsonl"), &text[..text.len() - 40]).unwrap();
    add(dir, &["--to", "h.jsonl"], 2..4, 1.0);
    let shown = hotspan(dir, &["show", "h.jsonl"]);
    assert!(shown.out.contains("4 runs") && shown.out.contains("line 3 was left out"), "{}", shown.out);
    let again = hotspan(dir, &["add", "003.json", "--to", "h.jsonl"]);
    assert!(
        again.err.contains("already") && again.out.contains("Added 0 of 1"),
        "{}{}",
        again.out,
        again.err
    );
}

#[test]
fn a_branch_of_its_own_leaves_the_work_tree_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let git = |args: &[&str]| {
        let out = Command::new("git").current_dir(dir).args(args).output().expect("git starts");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    let outside = tempfile::tempdir().unwrap();
    let reports: Vec<String> = (0..2).map(|i| report(outside.path(), i, 1.0)).collect();
    for report in &reports {
        let ran = hotspan(dir, &["add", report, "--git-branch", "perf"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["ls-tree", "--name-only", "perf"]).trim(), "history.jsonl");
    assert_eq!(git(&["rev-list", "--count", "perf"]).trim(), "2");
    let shown = hotspan(dir, &["show", "--git-branch", "perf"]);
    assert!(shown.out.contains("2 runs"), "{}{}", shown.out, shown.err);
    let none = hotspan(dir, &["show", "--git-branch", "other"]);
    assert!(none.code == Some(1) && none.err.contains("history add RUN --git-branch other"), "{}", none.err);
}

/// Where histories of public projects are: they are not part of the project.
fn known(name: &str) -> Option<PathBuf> {
    let corpus = std::env::var("HOTSPAN_CORPUS").unwrap_or_else(|_| "../shared/corpus".to_owned());
    let path = Path::new(&corpus).join("../changepoints").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent; set HOTSPAN_CORPUS to the corpus folder", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn labelled_histories_of_firefox() {
    for (name, expected) in
        [("runs1", vec![1_365_019_665]), ("runs3", vec![1_335_293_827, 1_338_839_958]), ("runs5", vec![])]
    {
        let Some(path) = known(&format!("perfherder/{name}.json")) else { return };
        let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut runs: Vec<(i64, f64)> = value["test_runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| (run[2].as_i64().unwrap(), run[3].as_f64().unwrap()))
            .collect();
        runs.sort_by_key(|run| run.0);
        let series: Vec<f64> = runs.iter().map(|(_, value)| value.ln()).collect();
        let found: Vec<usize> =
            changes(&series, Sensitivity::default()).points.iter().map(|p| p.at).collect();
        for time in &expected {
            let at = runs.iter().position(|(t, _)| t == time).unwrap();
            assert!(found.iter().any(|f| f.abs_diff(at) <= 5), "{name}: {at} is not in {found:?}");
        }
        assert!(!expected.is_empty() || found.is_empty(), "{name}: {found:?}");
    }
}

#[test]
fn runs_of_one_commit_of_rocksdb_do_not_change() {
    let Some(path) = known("nyrkio_rocksdb_2023/rocksdb_runs.csv") else { return };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows: Vec<std::collections::HashMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    for commit in ["e67ee466", "4b79e8c0", "8fc78a3a"] {
        let mut flagged = 0;
        for metric in ["usec_op", "p99_us"] {
            let mut by_test: std::collections::BTreeMap<&str, Vec<(i64, f64)>> = Default::default();
            for row in rows.iter().filter(|row| row["git_commit"].starts_with(commit)) {
                let run = (row["timestamp"].parse().unwrap(), row[metric].parse::<f64>().unwrap().ln());
                by_test.entry(&row["test"]).or_default().push(run);
            }
            let series: Vec<Vec<Option<f64>>> = by_test
                .into_values()
                .map(|mut runs| {
                    runs.sort_by_key(|run| run.0);
                    runs.into_iter().map(|(_, value)| Some(value)).collect()
                })
                .collect();
            let common = common_factor(&series);
            for one in &series {
                let own: Vec<f64> = one.iter().zip(&common.by_run).map(|(v, f)| v.unwrap() - f).collect();
                flagged += usize::from(!changes(&own, Sensitivity::default()).points.is_empty());
            }
        }
        assert!(flagged <= 2, "{commit}: {flagged} of 16");
    }
}
