//! What the pages ask of whoever keeps runs and makes them.

use crate::record::{Nanos, RunState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Debug;

/// What people keep with a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Short words to find it by.
    pub tags: Vec<String>,
    /// Free text.
    pub text: String,
}

/// A run as the list shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRow {
    /// Name of its folder.
    pub id: String,
    /// Name of its scenario.
    pub name: String,
    /// What was loaded.
    pub target: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long the load lasted; absent while it runs, or after a crash.
    pub lasted: Option<Nanos>,
    /// How it stands.
    pub state: RunState,
    /// What its report says, where it has one.
    pub result: Option<RunResult>,
    /// Whether there is a report to show as a page.
    pub has_page: bool,
    /// What people kept with it.
    pub notes: Notes,
}

/// The numbers of a run's report that the list shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult {
    /// The answer in a sentence.
    pub headline: String,
    /// Requests.
    pub exchanges: u64,
    /// Failed ones.
    pub errors: u64,
    /// The highest p95 of a step, in milliseconds.
    pub p95_ms: f64,
    /// Where the latency went: categories and their shares, as the report has them.
    pub categories: Vec<(String, f64)>,
    /// Thresholds, and how many of them failed.
    pub thresholds: (usize, usize),
}

/// What the trend is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrendOf {
    /// The first step of a scenario; where it has no name, of the newest.
    First(String),
    /// A step: the scenario, the journey and the name.
    Step(String, String, String),
    /// An operation: the scenario, the service, the name and the kind of its spans.
    Operation(String, String, String, String),
}

/// Which exchanges of a run are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Of this step alone, by its number.
    pub step: Option<u16>,
    /// How it ended.
    pub status: WantedStatus,
    /// With a latency of at least so much.
    pub at_least: Nanos,
    /// With a span of this service; empty: of any.
    pub service: String,
    /// With a span whose name or attribute holds this text; empty: any.
    pub text: String,
    /// In the order of time, not the slowest first.
    pub by_time: bool,
    /// Which page of them, from 0.
    pub page: usize,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WantedStatus {
    /// In any way.
    #[default]
    Any,
    /// With an error.
    Failed,
    /// Without one.
    Fine,
    /// With this status.
    Code(u16),
    /// With a status of this hundred.
    Class(u16),
}

/// Where runs are kept. What is a [`Value`] is for the scripts of the pages.
pub trait RunStore {
    /// All runs, the newest first.
    fn list(&self) -> Vec<RunRow>;
    /// One run, if there is one of that name.
    fn run(&self, id: &str) -> Option<RunRow>;
    /// Its report as a page.
    fn page(&self, id: &str) -> Option<Vec<u8>>;
    /// Its report in a text format, made anew.
    ///
    /// # Errors
    /// When the folder cannot be read any more.
    fn text(&self, id: &str) -> Result<String, String>;
    /// Keeps notes.
    ///
    /// # Errors
    /// When they cannot be written, and why.
    fn keep(&self, id: &str, notes: &Notes) -> Result<(), String>;
    /// The comparison of two sides: `comparison` as `compare.json` has it, and `allowable`, the reasons against it that may be
    /// allowed.
    ///
    /// # Errors
    /// Which run cannot be compared, and why.
    fn compare(&self, base: &[String], head: &[String], allow: &[String]) -> Result<Value, String>;
    /// What can be followed over runs, and one of that followed.
    ///
    /// # Errors
    /// When there is no such thing.
    fn trend(&self, of: &TrendOf) -> Result<Value, String>;
    /// The exchanges of a run that are wanted.
    ///
    /// # Errors
    /// When the run cannot be read.
    fn traces(&self, id: &str, wanted: &Wanted) -> Result<Value, String>;
    /// One trace of a run, with its spans.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn trace(&self, id: &str, trace: &str) -> Result<Value, String>;
    /// The scenario that a run was made with, where it may be run again.
    fn scenario(&self, id: &str) -> Option<String>;
}

/// What a run under way is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Rates and users of the plan, times this.
    Factor(f64),
    /// Nothing new arrives.
    Pause,
    /// It goes on.
    Resume,
    /// The next stage begins.
    NextStage,
    /// Nothing new begins, and then the report is made.
    Stop,
    /// The same at once: what is under way is cancelled.
    StopNow,
}

/// A scenario of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScenarioFile {
    /// Its text.
    pub text: String,
    /// What tells this text from another one of the file.
    pub version: String,
}

/// Who makes runs, one at a time.
pub trait Runner {
    /// Names of the scenarios that can be picked.
    fn scenarios(&self) -> Vec<String>;
    /// One of them.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be read.
    fn scenario(&self, name: &str) -> Result<ScenarioFile, String>;
    /// Keeps a text as the file of that name, which has the version that the page has seen; where that is empty, as a new
    /// one. Gives the version that it has then.
    ///
    /// # Errors
    /// What is wrong, as [`Runner::check`] says it.
    fn save(&self, name: &str, text: &str, version: &str) -> Result<String, Value>;
    /// What is wrong with a text as a scenario of that name; `{"ok": …}` where nothing is.
    fn check(&self, name: &str, text: &str) -> Value;
    /// Starts a run of that text.
    ///
    /// # Errors
    /// What is wrong, as [`Runner::check`] says it.
    fn start(&self, name: &str, text: &str) -> Result<(), Value>;
    /// How the last run that was started stands; null where none was.
    fn state(&self) -> Value;
    /// Changes the run that is under way.
    ///
    /// # Errors
    /// Why it cannot be changed.
    fn change(&self, change: Change) -> Result<Value, String>;
}
