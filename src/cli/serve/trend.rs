//! One step or one operation over the runs of a folder: numbers from their reports, and the changes of level that `hotspan
//! history` finds in them. Reports are read once and kept while they are the same.

use super::super::history::entry;
use super::folder::{Folder, Stamp};
use crate::compare::{OperationSummary, RunSummary, StepSummary};
use crate::history::{Entry, find, groups};
use crate::report;
use crate::stats::changepoint::FEWEST;
use crate::ui::web::{RunRow, RunStore, TrendOf};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

/// Most runs that are looked at: the newest.
const RUNS_MAX: usize = 300;
/// Most operations to choose from.
const OPERATIONS_MAX: usize = 400;
/// The smallest change of level that counts, as for `hotspan history`.
const EFFECT: f64 = 0.05;

/// A run's numbers.
struct Known {
    summary: RunSummary,
    entry: Option<Entry>,
}

/// Numbers by run; none where its report cannot be read.
type All = HashMap<String, (Stamp, Option<Arc<Known>>)>;

/// What was read of runs.
#[derive(Default)]
pub struct Trend {
    known: Mutex<All>,
}

impl Trend {
    /// What can be followed, and one of that followed.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn follow(&self, folder: &Folder, of: &TrendOf) -> Result<Value, String> {
        let mut rows = folder.list();
        rows.truncate(RUNS_MAX);
        rows.reverse();
        let all: Vec<(RunRow, Arc<Known>)> = rows
            .into_iter()
            .filter_map(|row| self.known(folder, &row.id).map(|known| (row, known)))
            .collect();
        // The newest first.
        let mut scenarios: Vec<&str> = Vec::new();
        for (_, known) in all.iter().rev() {
            if !scenarios.contains(&known.summary.scenario.as_str()) {
                scenarios.push(&known.summary.scenario);
            }
        }
        let Some(newest) = scenarios.first() else { return Ok(json!({ "scenarios": [] })) };
        let scenario = match of {
            TrendOf::First(name) if name.is_empty() => newest,
            TrendOf::First(name) | TrendOf::Step(name, ..) | TrendOf::Operation(name, ..) => {
                scenarios.iter().find(|known| *known == name).ok_or("No run is of that scenario.")?
            }
        };
        let runs: Vec<&(RunRow, Arc<Known>)> =
            all.iter().filter(|(_, known)| known.summary.scenario == **scenario).collect();
        let choice = Choice::of(&runs);
        let followed = Followed::of(of, scenario, &choice)?;
        let points: Vec<Value> = runs
            .iter()
            .enumerate()
            .filter_map(|(at, (_, known))| followed.point(at, &known.summary))
            .collect();
        let (events, few) = followed.changes(&runs);
        Ok(json!({
            "scenarios": scenarios,
            "scenario": scenario,
            "steps": choice.steps,
            "operations": choice.operations,
            "of": followed.json(),
            "title": followed.title(),
            "runs": runs.iter().map(|(row, known)| run(row, known)).collect::<Vec<_>>(),
            "points": points,
            "events": events,
            "few": few,
        }))
    }

    fn known(&self, folder: &Folder, id: &str) -> Option<Arc<Known>> {
        let (path, stamp) = folder.report(id)?;
        let kept = |all: &All| all.get(id).filter(|(read, _)| *read == stamp).map(|(_, known)| known.clone());
        if let Some(known) = kept(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return known;
        }
        let text = fs::read_to_string(&path).ok()?;
        let known = report::summary(&text, id).ok().map(|summary| {
            // Reports of versions before histories have no line in one.
            let entry = path.parent().and_then(|dir| entry::read(dir, None).ok());
            Arc::new(Known { summary, entry })
        });
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > 2 * RUNS_MAX {
            all.clear();
        }
        all.insert(id.to_owned(), (stamp, known.clone()));
        known
    }
}

/// A run as the chart names it.
fn run(row: &RunRow, known: &Known) -> Value {
    let seconds = row.started_at.0 / 1_000_000_000;
    let (year, month, day) = crate::record::date_of_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let report = if row.has_page { "/report" } else { "" };
    json!({
        "id": row.id,
        "name": row.name,
        "at": format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
        "link": format!("/runs/{}{report}", row.id),
        "commit": known.summary.commit,
        "tags": row.notes.tags,
        "doubt": known.entry.as_ref().and_then(|entry| entry.doubt.clone()),
    })
}

/// What can be followed in the runs of a scenario.
struct Choice {
    /// Journey and name.
    steps: Vec<(String, String)>,
    /// Service, name and kind.
    operations: Vec<(String, String, String)>,
}

impl Choice {
    fn of(runs: &[&(RunRow, Arc<Known>)]) -> Choice {
        let mut steps: Vec<(String, String)> = Vec::new();
        let mut operations = BTreeSet::new();
        // The newest first: its order of steps is the one that people know.
        for (_, known) in runs.iter().rev() {
            for step in &known.summary.steps {
                let key = (step.journey.to_string(), step.name.to_string());
                if !steps.contains(&key) {
                    steps.push(key);
                }
            }
            for operation in &known.summary.operations {
                if operations.len() < OPERATIONS_MAX {
                    let key = &operation.key;
                    operations.insert((key.service.to_string(), key.name.to_string(), key.kind.to_string()));
                }
            }
        }
        Choice { steps, operations: operations.into_iter().collect() }
    }
}

/// What is followed.
enum Followed {
    Step { journey: String, name: String },
    Operation { service: String, name: String, kind: String },
}

impl Followed {
    fn of(of: &TrendOf, scenario: &str, choice: &Choice) -> Result<Followed, String> {
        match of {
            TrendOf::First(_) => {
                let (journey, name) = choice
                    .steps
                    .first()
                    .cloned()
                    .ok_or_else(|| format!("No run of {scenario} has a step with a request."))?;
                Ok(Followed::Step { journey, name })
            }
            TrendOf::Step(_, journey, name) => {
                let known = choice.steps.iter().any(|(j, n)| j == journey && n == name);
                known
                    .then(|| Followed::Step { journey: journey.clone(), name: name.clone() })
                    .ok_or_else(|| format!("No run of {scenario} has that step."))
            }
            TrendOf::Operation(_, service, name, kind) => {
                let known = choice.operations.iter().any(|(s, n, k)| s == service && n == name && k == kind);
                let followed = || Followed::Operation {
                    service: service.clone(),
                    name: name.clone(),
                    kind: kind.clone(),
                };
                known.then(followed).ok_or_else(|| format!("No run of {scenario} has that operation."))
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Followed::Step { journey, name } => json!({"journey": journey, "step": name}),
            Followed::Operation { service, name, kind } => {
                json!({"service": service, "operation": name, "span": kind})
            }
        }
    }

    fn title(&self) -> &str {
        match self {
            Followed::Step { name, .. } | Followed::Operation { name, .. } => name,
        }
    }

    /// The run's numbers of it, if it has any.
    fn point(&self, at: usize, run: &RunSummary) -> Option<Value> {
        match self {
            Followed::Step { journey, name } => {
                let is = |step: &&StepSummary| *step.journey == **journey && *step.name == **name;
                run.steps.iter().find(is).map(|step| {
                    let categories: Map<String, Value> =
                        step.categories.iter().map(|(name, ms)| (name.to_string(), json!(ms))).collect();
                    json!({
                        "run": at, "n": step.exchanges, "errors": step.errors, "p50": step.latency.p50,
                        "p95": step.latency.p95, "mean": step.latency.mean, "categories": categories,
                    })
                })
            }
            Followed::Operation { service, name, kind } => {
                let is = |o: &&OperationSummary| {
                    *o.key.service == **service && *o.key.name == **name && *o.key.kind == **kind
                };
                run.operations.iter().find(is).map(|o| {
                    let own = o.own_total_ms / (o.exchanges.max(1)) as f64;
                    json!({
                        "run": at, "n": o.calls, "errors": o.errors, "p50": o.duration.p50,
                        "p95": o.duration.p95, "mean": o.duration.mean,
                        "categories": {o.category.to_string(): (own * 1e3).round() / 1e3},
                    })
                })
            }
        }
    }

    /// Changes of its level, and a word where there are too few runs to tell.
    fn changes(&self, runs: &[&(RunRow, Arc<Known>)]) -> (Vec<Value>, Option<String>) {
        // Places of entries among the runs.
        let (places, entries): (Vec<usize>, Vec<Entry>) =
            runs.iter().enumerate().filter_map(|(at, (_, known))| Some((at, known.entry.clone()?))).unzip();
        let (group_name, name) = match self {
            Followed::Step { journey, name } => (journey.clone(), name.clone()),
            Followed::Operation { service, name, kind } => (service.clone(), format!("{name} ({kind})")),
        };
        let all = groups(&entries);
        let enough: Vec<_> = all.iter().filter(|group| group.runs.len() >= FEWEST).collect();
        let mut changes = Vec::new();
        for group in &enough {
            for event in find(group, EFFECT).events {
                let Some(run) = group.runs.get(event.at).and_then(|at| places.get(*at)) else { continue };
                let mine = event.members.iter().filter(|m| m.key.group == group_name && m.key.name == name);
                changes.extend(mine.map(|member| {
                    json!({
                        "run": run, "measure": member.key.measure.name(), "time": member.key.measure.is_time(),
                        "before": member.before, "after": member.after, "ratio": member.ratio, "p": member.p,
                    })
                }));
            }
        }
        let few = enough.is_empty().then(|| {
            format!("Changes of level are looked for where {FEWEST} runs of one machine can be compared.")
        });
        (changes, few)
    }
}
