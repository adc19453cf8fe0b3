//! What the screen knows: told by updates, asked by the drawing. Holds a bounded amount, however long the run.

use super::series::{KEPT, Series};
use crate::record::{GeneratorLimit, GeneratorSample, Nanos, StepId, generator_limit};
use crate::report::look::{ByCategory, Contributor};
use crate::stats::Histogram;
use std::collections::{BTreeMap, VecDeque};

/// Blame of this long counts as now.
pub const BLAME_NOW: Nanos = Nanos::from_millis(20_000);
/// Looks at the generator from which its health is told.
const HEALTH_LOOKS: usize = 10;
/// Notes that are kept.
const NOTES: usize = 20;

/// A run before it has begun.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Name of the scenario.
    pub name: String,
    /// What is loaded.
    pub target: String,
    /// The steps in order, by [`StepId`]: journey and name.
    pub steps: Vec<(String, String)>,
    /// Stages of the first load, in order; none where a search decides.
    pub stages: Vec<StageInfo>,
    /// Whether iterations arrive by a rate.
    pub open_model: bool,
    /// Whether server spans are expected.
    pub expects_spans: bool,
    /// Whether the load may be changed by hand.
    pub may_change: bool,
}

/// A stretch of the load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageInfo {
    /// In words: `20 users after a ramp of 10 s`.
    pub words: String,
    /// How long it lasts.
    pub length: Nanos,
}

/// How the load stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadLook {
    /// Time since the load began.
    pub at: Nanos,
    /// Where the schedule stands.
    pub position: Nanos,
    /// Time until its end; unknown while it is paused, or searches.
    pub left: Option<Nanos>,
    /// What the schedule's rates and users are multiplied by.
    pub factor: f64,
    /// Whether it stands.
    pub paused: bool,
    /// Whether nothing new begins.
    pub stopping: bool,
    /// Users that are there, or iterations under way.
    pub users: u64,
    /// Users that should be there by the schedule; absent where none are planned.
    pub users_planned: Option<u64>,
    /// Requests under way.
    pub in_flight: u64,
    /// Arrivals that wait for a connection.
    pub waiting: u64,
    /// Arrivals that were due so far.
    pub due: u64,
    /// Iterations begun so far.
    pub iterations: u64,
    /// Exchanges that are over.
    pub done: u64,
    /// Failed ones.
    pub errors: u64,
    /// Those with a check that did not hold.
    pub checks_failed: u64,
    /// Those that started late.
    pub late: u64,
    /// Requests that were due and never sent.
    pub not_sent: u64,
}

/// What became of a step's exchanges since the last time.
#[derive(Clone, Debug)]
pub struct StepSum {
    /// Which step.
    pub step: StepId,
    /// Corrected latencies.
    pub latency: Histogram,
    /// Failed ones.
    pub errors: u64,
    /// Those with a check that did not hold.
    pub checks_failed: u64,
}

/// Blame of some exchanges of a step.
#[derive(Clone, Debug)]
pub struct StepBlame {
    /// Which step.
    pub step: StepId,
    /// Exchanges in it.
    pub exchanges: u64,
    /// Those with a server span.
    pub joined: u64,
    /// Their corrected latency.
    pub categories: ByCategory,
    /// The same by contributor: calls and time.
    pub contributors: Vec<(Contributor, u64, Nanos)>,
}

impl StepBlame {
    /// Nothing yet.
    pub fn of(step: StepId) -> StepBlame {
        StepBlame {
            step,
            exchanges: 0,
            joined: 0,
            categories: ByCategory::default(),
            contributors: Vec::new(),
        }
    }
}

/// Spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans in the run folder.
    pub stored: u64,
    /// Requests that servers were asked to record.
    pub traced: u64,
    /// Those with a server span.
    pub joined: u64,
    /// Spans that were refused or could not be kept.
    pub lost: u64,
    /// Messages that were no OTLP.
    pub bad_requests: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Update {
    /// A look at the load.
    Load(LoadLook),
    /// Exchanges ended.
    Exchanges(Vec<StepSum>),
    /// Latency was divided.
    Blame(Vec<StepBlame>),
    /// Spans came.
    Spans(SpanCounts),
    /// A look at the machine that makes the load.
    Generator(GeneratorSample),
    /// What is done after the load; empty: nothing.
    Status(String),
    /// Something that happened once.
    Note(String),
}

/// One second of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSecond {
    /// Exchanges that ended per second.
    pub done: f64,
    /// Iterations begun per second.
    pub began: f64,
    /// Arrivals due per second.
    pub due: f64,
    /// Users that are there, or iterations under way.
    pub users: u64,
}

/// All that is known of the run.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What was told before the load.
    pub setup: Setup,
    /// The last look at the load.
    pub load: LoadLook,
    /// Whole seconds of it, oldest first.
    pub seconds: VecDeque<LoadSecond>,
    /// All steps together, then each.
    pub series: Vec<Series>,
    /// The last spans.
    pub spans: SpanCounts,
    /// The last look at the generator.
    pub generator: GeneratorSample,
    /// What is done after the load.
    pub status: String,
    /// What happened once, oldest first.
    pub notes: VecDeque<String>,
    looks: VecDeque<GeneratorSample>,
    blame: VecDeque<(Nanos, Vec<StepBlame>)>,
    /// The look that ended the last second.
    last: LoadLook,
}

/// Where the latency of a step went, just now.
#[derive(Clone, Debug, Default)]
pub struct Divided {
    /// Exchanges that it was seen in.
    pub exchanges: u64,
    /// Those with a server span.
    pub joined: u64,
    /// Their corrected latency.
    pub categories: ByCategory,
}

impl Model {
    /// Nothing has happened yet.
    pub fn new(setup: Setup) -> Model {
        let series = vec![Series::default(); setup.steps.len() + 1];
        Model { setup, series, load: LoadLook { factor: 1.0, ..LoadLook::default() }, ..Model::default() }
    }

    /// Something happened.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Load(look) => self.look(look),
            Update::Exchanges(sums) => {
                for sum in sums {
                    self.series[0].add(&sum);
                    if let Some(series) = self.series.get_mut(usize::from(sum.step.0) + 1) {
                        series.add(&sum);
                    }
                }
            }
            Update::Blame(blame) => {
                self.blame.push_back((self.load.at, blame));
                while self.blame.front().is_some_and(|(at, _)| at.0 + BLAME_NOW.0 < self.load.at.0) {
                    self.blame.pop_front();
                }
            }
            Update::Spans(spans) => self.spans = spans,
            Update::Generator(look) => {
                self.generator = look.clone();
                self.looks.push_back(look);
                while self.looks.len() > HEALTH_LOOKS {
                    self.looks.pop_front();
                }
            }
            Update::Status(status) => self.status = status,
            Update::Note(note) => {
                self.notes.push_back(note);
                while self.notes.len() > NOTES {
                    self.notes.pop_front();
                }
            }
        }
    }

    fn look(&mut self, look: LoadLook) {
        self.load = look;
        let since = look.at.0.saturating_sub(self.last.at.0);
        if since < 1_000_000_000 {
            return;
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1e9 / since as f64;
        let second = LoadSecond {
            done: per_second(look.done, self.last.done),
            began: per_second(look.iterations, self.last.iterations),
            due: per_second(look.due, self.last.due),
            users: look.users,
        };
        self.seconds.push_back(second);
        while self.seconds.len() > KEPT {
            self.seconds.pop_front();
        }
        self.series.iter_mut().for_each(Series::close);
        // Whole seconds of the run's own clock: a late look does not shift those that follow.
        self.last = LoadLook { at: Nanos(look.at.0 - since % 1_000_000_000), ..look };
    }

    /// Which stage the schedule is in, and how far: index and share of the stage.
    pub fn stage(&self) -> Option<(usize, f64)> {
        let mut begin = 0;
        let stages = &self.setup.stages;
        for (index, stage) in stages.iter().enumerate() {
            let end = begin + stage.length.0;
            if self.load.position.0 < end || index + 1 == stages.len() {
                let done = self.load.position.0.saturating_sub(begin) as f64;
                return Some((index, (done / stage.length.0.max(1) as f64).min(1.0)));
            }
            begin = end;
        }
        None
    }

    /// Length of all stages.
    pub fn planned(&self) -> Nanos {
        self.setup.stages.iter().map(|stage| stage.length).sum()
    }

    /// What limits the generator, by its last looks.
    pub fn limit(&self) -> Option<GeneratorLimit> {
        generator_limit(&Vec::from(self.looks.clone()))
    }

    /// Recent blame of all steps (0), or of one (its number from 1).
    pub fn divided(&self, row: usize) -> Divided {
        let mut sum = Divided::default();
        for blame in self.recent(row) {
            sum.exchanges += blame.exchanges;
            sum.joined += blame.joined;
            sum.categories.merge(&blame.categories);
        }
        sum
    }

    /// Recent contributors of all steps (0), or of one, most time first: calls and time.
    pub fn contributors(&self, row: usize) -> Vec<(&Contributor, u64, Nanos)> {
        let mut sums: BTreeMap<&Contributor, (u64, Nanos)> = BTreeMap::new();
        for (who, calls, time) in self.recent(row).flat_map(|blame| &blame.contributors) {
            let sum = sums.entry(who).or_default();
            *sum = (sum.0 + calls, sum.1 + *time);
        }
        let mut all: Vec<_> = sums.into_iter().map(|(who, (calls, time))| (who, calls, time)).collect();
        all.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));
        all
    }

    fn recent(&self, row: usize) -> impl Iterator<Item = &StepBlame> {
        let of_row = move |blame: &&StepBlame| row == 0 || usize::from(blame.step.0) + 1 == row;
        self.blame.iter().flat_map(|(_, blame)| blame).filter(of_row)
    }
}
