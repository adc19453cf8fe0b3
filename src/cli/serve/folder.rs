//! The folder of runs: what is in it, what reports say, and notes. Nothing outside it is read, and no link is followed.

use super::super::compare::of_folder;
use super::traces::Traces;
use super::trend::Trend;
use crate::compare::{Reason, RunSummary, Settings, compare, design_of};
use crate::record::{Nanos, Run, RunState};
use crate::report;
use crate::ui::web::{self, Notes, RunResult, RunRow, RunStore, TrendOf, Wanted};
use crate::wire::folder::RunReader;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What people keep with a run, in its folder.
const NOTES: &str = "notes.json";
/// Longest file of notes that is read.
const NOTES_MAX: u64 = 256 << 10;

/// When a file was changed, and its length: whether it is the one that was read.
pub type Stamp = (SystemTime, u64);

/// What reports say, by run.
type Results = HashMap<String, (Stamp, Option<RunResult>)>;

/// A folder of run folders.
pub struct Folder {
    root: PathBuf,
    /// What reports say, by run: they are long, and read once.
    results: Mutex<Results>,
    trend: Trend,
    traces: Traces,
}

impl Folder {
    /// Opens a folder, which is made where `make` says so: a first run will be in it.
    pub fn open(path: &Path, make: bool) -> anyhow::Result<Folder> {
        if make {
            fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        let root = fs::canonicalize(path).with_context(|| {
            format!("there is no folder {}; `hotspan run` and `hotspan demo` make one", path.display())
        })?;
        if !root.is_dir() {
            bail!("{} is no folder", path.display());
        }
        Ok(Folder { root, results: Mutex::default(), trend: Trend::default(), traces: Traces::default() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a run: directly below the root, and not a link to elsewhere.
    pub fn dir(&self, id: &str) -> Option<PathBuf> {
        if !web::is_name(id) {
            return None;
        }
        let dir = fs::canonicalize(self.root.join(id)).ok()?;
        (dir.parent() == Some(&self.root) && is_file(&dir.join("run.json"))).then_some(dir)
    }

    /// A file of a run, not one that a link leads to.
    pub fn file(&self, id: &str, name: &str) -> Option<PathBuf> {
        let path = self.dir(id)?.join(name);
        is_file(&path).then_some(path)
    }

    /// The report of a run, and whether it is the one that was read.
    pub fn report(&self, id: &str) -> Option<(PathBuf, Stamp)> {
        let path = self.file(id, "report.json")?;
        let data = fs::metadata(&path).ok()?;
        Some((path, (data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len())))
    }

    fn result(&self, id: &str) -> Option<RunResult> {
        let (path, stamp) = self.report(id)?;
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, result)) = results.get(id)
            && *read == stamp
        {
            return result.clone();
        }
        let result = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let result = result.map(|report: Value| result_of(&report));
        results.insert(id.to_owned(), (stamp, result.clone()));
        result
    }

    fn notes(&self, id: &str) -> Notes {
        let read = || {
            let path = self.file(id, NOTES)?;
            if fs::metadata(&path).ok()?.len() > NOTES_MAX {
                return None;
            }
            serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok()
        };
        let Some(value) = read() else { return Notes::default() };
        let tags = value.get("tags").and_then(Value::as_array).into_iter().flatten();
        Notes {
            tags: tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
            text: value.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

/// Whether there is a file, and not a link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.is_file())
}

/// What the list shows of a `report.json`.
fn result_of(report: &Value) -> RunResult {
    let list = |key: &str| report.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let steps = list("steps");
    let thresholds = list("thresholds");
    let failed = thresholds.iter().filter(|t| t.get("passed").and_then(Value::as_bool) != Some(true)).count();
    RunResult {
        headline: report.pointer("/verdict/headline").and_then(Value::as_str).unwrap_or_default().to_owned(),
        exchanges: steps.iter().map(|step| number(step, "/exchanges") as u64).sum(),
        errors: steps.iter().map(|step| number(step, "/errors") as u64).sum(),
        categories: categories(report.pointer("/verdict/categories")),
        p95_ms: steps.iter().map(|step| number(step, "/latency_ms/p95")).fold(0.0, f64::max),
        thresholds: (thresholds.len(), failed),
    }
}

/// Where the latency went, the largest part first.
fn categories(value: Option<&Value>) -> Vec<(String, f64)> {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    let mut all: Vec<(String, f64)> = pairs
        .filter_map(|(name, share)| Some((name.clone(), share.as_f64()?)))
        .filter(|(name, share)| *share > 0.0 && name.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(20);
    all
}

fn lasted(run: &Run) -> Option<Nanos> {
    run.ended_at.filter(|_| run.state != RunState::Running).map(|end| end.since(run.started_at))
}

impl RunStore for Folder {
    fn list(&self) -> Vec<RunRow> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut runs: Vec<RunRow> = names.filter_map(|name| self.run(&name)).collect();
        runs.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
        runs
    }

    fn run(&self, id: &str) -> Option<RunRow> {
        let reader = RunReader::open(&self.dir(id)?).ok()?;
        let run = reader.run();
        Some(RunRow {
            id: id.to_owned(),
            name: run.name.clone(),
            target: run.target.clone(),
            started_at: run.started_at,
            lasted: lasted(run),
            state: run.state,
            result: self.result(id),
            has_page: self.file(id, "report.html").is_some(),
            notes: self.notes(id),
        })
    }

    fn page(&self, id: &str) -> Option<Vec<u8>> {
        fs::read(self.file(id, "report.html")?).ok()
    }

    fn text(&self, id: &str) -> Result<String, String> {
        let path = self.file(id, "report.md");
        let path = path.ok_or("This run has no report; `hotspan analyze` makes it anew.")?;
        fs::read_to_string(path).map_err(|error| format!("The report cannot be read: {error}."))
    }

    fn keep(&self, id: &str, notes: &Notes) -> Result<(), String> {
        let dir = self.dir(id).ok_or("There is no such run any more.")?;
        let text = format!("{:#}\n", json!({"tags": notes.tags, "text": notes.text}));
        // Written beside and moved: half a file is never read.
        let beside = dir.join(format!("{NOTES}.new"));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, dir.join(NOTES)))
            .map_err(|error| format!("The notes cannot be kept in {id}: {error}."))
    }

    fn compare(&self, base: &[String], head: &[String], allow: &[String]) -> Result<Value, String> {
        let side = |ids: &[String]| {
            let mut runs = Vec::new();
            for id in ids {
                let dir = self.dir(id).ok_or_else(|| format!("There is no run {id} any more."))?;
                if dir.join("report.json").is_symlink() {
                    return Err(format!("The report of {id} is a link; links are not followed."));
                }
                let run = of_folder(&dir)
                    .map_err(|error| format!("The run {id} cannot be compared: {error:#}."))?;
                runs.push(RunSummary { source: id.clone(), ..run });
            }
            runs.sort_by(|a, b| a.started_at.cmp(&b.started_at).then_with(|| a.id.cmp(&b.id)));
            Ok::<_, String>(runs)
        };
        let (base, head) = (side(base)?, side(head)?);
        let allow: Vec<&str> =
            Reason::ALLOWABLE.iter().copied().filter(|name| allow.iter().any(|a| a == name)).collect();
        let design = design_of(&base, &head);
        let comparison = compare(&base, &head, design, Settings::default(), &allow);
        let json = report::comparison_json(&comparison);
        let document: Value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        Ok(json!({ "comparison": document, "allowable": Reason::ALLOWABLE }))
    }

    fn trend(&self, of: &TrendOf) -> Result<Value, String> {
        self.trend.follow(self, of)
    }

    fn traces(&self, id: &str, wanted: &Wanted) -> Result<Value, String> {
        self.traces.find(self, id, wanted)
    }

    fn trace(&self, id: &str, trace: &str) -> Result<Value, String> {
        self.traces.one(self, id, trace)
    }

    fn scenario(&self, id: &str) -> Option<String> {
        let reader = RunReader::open(&self.dir(id)?).ok()?;
        let run = reader.run();
        (!run.sources.from_traces && !run.scenario.is_empty()).then(|| run.scenario.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("runs");
        fs::create_dir_all(root.join("20261128T1-shop")).unwrap();
        let run = json!({
            "format": "hotspan.run/1", "id": "20261128T1-shop", "name": "shop", "state": "complete",
            "started_at_unix_ns": 1_795_532_592_250_000_000_u64, "ended_at_unix_ns": 1_795_532_622_250_000_000_u64,
        })
        .to_string();
        fs::write(root.join("20261128T1-shop/run.json"), &run).unwrap();
        fs::create_dir_all(dir.path().join("secret")).unwrap();
        fs::write(dir.path().join("secret/run.json"), run).unwrap();
        fs::write(dir.path().join("secret/report.html"), "secret").unwrap();
        let folder = Folder::open(&root, false).unwrap();
        (dir, folder)
    }

    #[test]
    fn notes_are_kept_beside_the_run() {
        let (_dir, folder) = folder();
        let notes = Notes { tags: vec!["release".into()], text: "two\nlines".into() };
        folder.keep("20261128T1-shop", &notes).unwrap();
        assert_eq!(folder.run("20261128T1-shop").unwrap().notes, notes);
        assert_eq!(folder.list().len(), 1);
        assert!(folder.keep("other", &notes).is_err());
    }

    #[test]
    fn what_reports_say_is_read_anew_when_they_change() {
        let (dir, folder) = folder();
        assert_eq!(folder.result("20261128T1-shop"), None);
        let path = dir.path().join("runs/20261128T1-shop/report.json");
        let report = |headline: &str| {
            json!({
                "verdict": {"headline": headline},
                "steps": [{"exchanges": 10, "errors": 1, "latency_ms": {"p95": 3.5}}, {"exchanges": 5, "latency_ms": {"p95": 7.0}}],
                "thresholds": [{"passed": true}, {"passed": false}],
            })
            .to_string()
        };
        fs::write(&path, report("slow")).unwrap();
        let result = folder.result("20261128T1-shop").unwrap();
        assert_eq!((result.exchanges, result.errors, result.p95_ms, result.thresholds), (15, 1, 7.0, (2, 1)));
        fs::write(&path, report("much slower")).unwrap();
        assert_eq!(folder.result("20261128T1-shop").unwrap().headline, "much slower");
    }

    #[cfg(unix)]
    #[test]
    fn no_name_and_no_link_leads_out() {
        let (dir, folder) = folder();
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("runs/link")).unwrap();
        let secret = dir.path().join("secret/report.html");
        std::os::unix::fs::symlink(secret, dir.path().join("runs/20261128T1-shop/report.html")).unwrap();
        for id in ["..", "../secret", "link", ".", "", "/etc"] {
            assert_eq!(folder.run(id), None, "{id}");
        }
        assert_eq!(folder.page("20261128T1-shop"), None, "a link in a run folder is not followed");
        fs::write(dir.path().join("secret/report.json"), "{}").unwrap();
        let linked = dir.path().join("runs/20261128T1-shop/report.json");
        std::os::unix::fs::symlink(dir.path().join("secret/report.json"), linked).unwrap();
        let both = ["20261128T1-shop".to_owned()];
        assert!(folder.compare(&both, &both, &[]).unwrap_err().contains("is a link"));
        assert_eq!(folder.result("20261128T1-shop"), None);
        assert_eq!(folder.trend(&TrendOf::First(String::new())).unwrap()["scenarios"], json!([]));
    }
}
