//! `hotspan analyze`: a run folder in, the report out. `hotspan run` ends with exactly this, so the same folder always
//! gives the same report.

use super::args::{AnalyzeArgs, FindingArgs, PrintArgs, SearchArgs};
use super::closer::{self, Places};
use super::database;
use super::exit::{self, Exit, say};
use super::fetch::{self, Fetcher};
use super::outputs::OutputFiles;
use super::part;
use super::progress::Progress;
use super::report::render;
use super::thresholds;
use super::trace_files;
use super::trace_search;
use super::truth::Truth;
use crate::analysis::plans::DatabaseEvidence;
use crate::analysis::result::{Analysis, Note, Verdict};
use crate::analysis::runtime::RuntimeMetrics;
use crate::analysis::{Analyzer, Limits, Partial, Partition, TraceCosts, WhatIf, finish_all};
use crate::record::{Exchange, GeneratorLimit, Run, RunState, StepInfo, TraceCost};
use crate::report::gate::Gate;
use crate::report::{self, Report, ThresholdResult};
use crate::scenario::{self, FindingRule, Place, Scenario, ScenarioError, Threshold};
use crate::wire::folder::RunReader;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// What one pass over a folder may keep in memory, about.
const BYTES_PER_PASS: u64 = 850 << 20;
/// What a pass keeps of a span, and of an exchange with its place in the table of traces while that table grows.
const BYTES_PER_SPAN: u64 = 75;
const BYTES_PER_EXCHANGE: u64 = 250;
/// Fewer spans than this are not worth another thread.
const SPANS_PER_SHARE: u64 = 100_000;
/// More threads than this only pass over each other's spans.
const SHARES_MAX: u32 = 64;
/// Exchanges that go to the threads together, and batches of them that may wait.
const BATCH: usize = 1_024;
const BATCHES_AHEAD: usize = 4;
/// Pause between two rounds of asking for late traces.
const POLL: Duration = Duration::from_secs(5);
/// Below this share of joined exchanges, thresholds on blame and spans cannot be decided.
const COVERAGE_NEEDED: f64 = 0.9;
/// Below this share of the offered load, the load that was asked for did not happen.
const LOAD_NEEDED: f64 = 0.95;

/// A run folder, analysed.
pub struct Analyzed {
    dir: PathBuf,
    run: Run,
    analysis: Analysis,
    thresholds: Vec<ThresholdResult>,
    on_spans: bool,
    /// The file that limits came from beside the scenario.
    file: Option<String>,
    outputs: OutputFiles,
    /// Where spans lie, where the folder was read just now.
    places: Option<Places>,
    /// Whether the requests that findings name were read.
    looked: bool,
}

/// Runs the command.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    let fetcher = Fetcher::new(&args.traces_from, &args.traces_header, POLL, args.wait)?;
    if args.paths.is_empty() {
        let Some(fetcher) = fetcher else {
            bail!(
                "name a run folder or trace files, or where to search with --traces-from, e.g. jaeger:http://127.0.0.1:16686"
            );
        };
        return of_traces(args, || trace_search::find(&fetcher, &args.search, args.out.as_deref()));
    }
    let Some(dir) = run_folder(&args.paths)? else {
        if fetcher.is_some() {
            bail!(
                "--traces-from fetches the traces of a run, or searches with no folder and no files: name the run's folder, or \
                 trace files without --traces-from"
            );
        }
        no_search(&args.search)?;
        return of_traces(args, || trace_files::import(&args.paths, args.out.as_deref()));
    };
    if let Some(reader) = RunReader::open(&dir).ok().filter(trace_files::is_collection) {
        if fetcher.is_some() {
            bail!(
                "{} was collected, not loaded: there is no run whose traces could be fetched",
                dir.display()
            );
        }
        return of_traces(args, || trace_files::import_collection(&reader, args.out.as_deref()));
    }
    if args.out.is_some() {
        bail!(
            "--out is for trace files and collections; {} is a run folder and keeps its report",
            dir.display()
        );
    }
    if args.truth {
        exit::print(&truth(&dir)?)?;
        return Ok(Exit::Passed);
    }
    if let Some(fetcher) = fetcher {
        if !trace_search::resume(&fetcher, &args.search, &dir)? {
            no_search(&args.search)?;
            fetch::fetch_again(&fetcher, &dir, &mut Progress::with(false, false))?;
        }
    } else {
        no_search(&args.search)?;
    }
    let means =
        Means { passes: args.partitions, what_if: args.what_if.clone(), ..Means::of(&args.findings)? };
    if let (Some((index, of)), Some(file)) = (args.part, &args.write_part) {
        return part::write(&dir, PartOf { index: index - 1, of }, &means, file);
    }
    let mut analyzed = analyze_folder(&dir, &means)?;
    analyzed.link_to(&args.print);
    analyzed.write_files()?;
    analyzed.print(&args.print)?;
    Ok(analyzed.exit(args.strict))
}

/// Refuses what only a search can keep.
fn no_search(args: &SearchArgs) -> anyhow::Result<()> {
    if *args != SearchArgs::default() {
        bail!(
            "--service, --operation, --last and the like are for a search: --traces-from with no run folder and no files"
        );
    }
    Ok(())
}

/// The run folder that the arguments mean; `None` where they mean trace files.
fn run_folder(paths: &[PathBuf]) -> anyhow::Result<Option<PathBuf>> {
    let [path] = paths else {
        return match paths.iter().find(|p| p.join("run.json").is_file()) {
            Some(run) => bail!(
                "{} is a run folder among other paths; analyse one run at a time, or trace files only",
                run.display()
            ),
            None => Ok(None),
        };
    };
    if !path.is_dir() {
        // A path that is not there is more likely a mistyped run folder where it looks like one.
        return Ok((!path.exists() && path.extension().is_none()).then(|| path.clone()));
    }
    let dir = find_run(path)?;
    let empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    Ok((dir.join("run.json").is_file() || empty || path.join("spans").is_dir()).then_some(dir))
}

/// Traces that were recorded without a load.
fn of_traces(
    args: &AnalyzeArgs,
    import: impl FnOnce() -> anyhow::Result<trace_files::Imported>,
) -> anyhow::Result<Exit> {
    if args.truth {
        bail!("--truth needs a run folder: only requests that hotspan made have answers with Server-Timing");
    }
    if args.part.is_some() {
        bail!("--part needs the folder of a run; --out keeps traces as one");
    }
    let imported = import()?;
    let means =
        Means { passes: args.partitions, what_if: args.what_if.clone(), ..Means::of(&args.findings)? };
    let mut analyzed = analyze_folder(&imported.dir, &means)?;
    analyzed.link_to(&args.print);
    if imported.is_kept() {
        analyzed.write_files()?;
        trace_files::announce(&imported);
    }
    analyzed.print(&args.print)?;
    Ok(analyzed.exit(args.strict))
}

/// The run folder that a path means: itself, or the newest run in it.
pub fn find_run(path: &Path) -> anyhow::Result<PathBuf> {
    let is_run = |dir: &Path| dir.join("run.json").is_file();
    if is_run(path) || !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut runs: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| format!("cannot read the folder {}", path.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| is_run(dir))
        .collect();
    // Names begin with the time in UTC, so the last by name is the newest.
    runs.sort();
    Ok(runs.pop().unwrap_or_else(|| path.to_owned()))
}

/// How problems are found: by which limits, and with whose word.
#[derive(Default)]
pub struct Means {
    /// Changes of limits on the command line; they win over those of the scenario.
    pub settings: Vec<String>,
    /// A database to ask.
    pub database: Option<database::Source>,
    /// How often statements were seen waiting for a lock while the load went on.
    pub locks: BTreeMap<Arc<str>, (u64, u64)>,
    /// Passes over the folder; as many as memory needs where nothing is said.
    pub passes: Option<u32>,
    /// Changes to imagine.
    pub what_if: Vec<WhatIf>,
    /// Limits beside those of the scenario: the file's name and text.
    pub budget: Option<(String, String)>,
    /// What is written for CI.
    pub outputs: OutputFiles,
}

impl Means {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// If a limit or the database's URL cannot be understood.
    pub fn of(args: &FindingArgs) -> anyhow::Result<Means> {
        let mut limits = Limits::default();
        for text in &args.finding {
            limits.set(text).context("--finding")?;
        }
        let database = args.database.as_deref().map(database::Source::parse).transpose()?;
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the budget {}", path.display()))?;
            anyhow::Ok((path.display().to_string(), text))
        };
        let budget = args.budget.as_ref().map(read).transpose()?;
        Ok(Means {
            settings: args.finding.clone(),
            database,
            budget,
            outputs: args.outputs.clone(),
            ..Means::default()
        })
    }

    /// The limits of the budget.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn budget(&self, steps: &[StepInfo]) -> anyhow::Result<Vec<Threshold>> {
        match &self.budget {
            Some((file, text)) => Ok(scenario::budget(text, file, steps)?),
            None => Ok(Vec::new()),
        }
    }

    /// The limits in force for a run, and what could not be understood of its scenario.
    fn limits(&self, run: &Run) -> (Limits, Option<String>) {
        let mut limits = Limits::default();
        let mut problem = None;
        if !run.sources.from_traces {
            let read = scenario::findings(&run.scenario).map_err(|error| error.to_string());
            let set = read.and_then(|rules| set_limits(&mut limits, &rules).map_err(|(_, why)| why));
            problem = set
                .err()
                .map(|why| format!("the limits of findings in the stored scenario are not used: {why}"));
        }
        for text in &self.settings {
            // What cannot be understood was refused at the start.
            let _ = limits.set(text);
        }
        (limits, problem)
    }

    /// What the database says, now or when it was asked last; and what it could not say.
    fn evidence(&self, dir: &Path, partial: &Partial) -> anyhow::Result<(DatabaseEvidence, Vec<String>)> {
        let mut known = database::load(dir)?;
        let Some(source) = &self.database else { return Ok((known, Vec::new())) };
        let statements = partial.top_statements(database::STATEMENTS);
        let (now, mut notes) = match source.plans(&statements) {
            Ok(found) => found,
            Err(error) => (DatabaseEvidence::default(), vec![format!("{error:#}")]),
        };
        known.scans = now.scans;
        if !self.locks.is_empty() {
            known.locks = self.locks.clone();
        }
        // A folder that cannot be written to has the report all the same.
        notes.extend(database::save(dir, &known).err().map(|error| format!("{error:#}")));
        Ok((known, notes))
    }
}

/// Changes limits as a scenario says; else which rule cannot be kept, and why.
fn set_limits(limits: &mut Limits, rules: &[FindingRule]) -> Result<(), (Place, String)> {
    for rule in rules {
        limits.set_to(&rule.name, &rule.value).map_err(|error| (rule.place, error.to_string()))?;
    }
    Ok(())
}

/// Refuses a scenario that changes limits which are none, before any load is made.
///
/// # Errors
/// The first such rule, with its place.
pub fn check_findings(scenario: &Scenario, file: &str) -> anyhow::Result<()> {
    let set = set_limits(&mut Limits::default(), &scenario.findings);
    set.map_err(|(place, message)| {
        let excerpt =
            scenario.text().lines().nth(place.line.saturating_sub(1)).unwrap_or_default().to_owned();
        ScenarioError { file: file.to_owned(), place, message, excerpt }.into()
    })
}

/// Reads and analyses a run folder.
pub fn analyze_folder(dir: &Path, means: &Means) -> anyhow::Result<Analyzed> {
    let reader = RunReader::open(dir)?;
    let run = reader.run().clone();
    analyze_as(&reader, run, means)
}

/// Analyses what a reader gives, as the run that it is known to be.
fn analyze_as(reader: &RunReader, run: Run, means: &Means) -> anyhow::Result<Analyzed> {
    let whole = PartOf { index: 0, of: 1 };
    let Part { partial, torn, places } = analyze_part(reader, &run, whole, means)?;
    let analyzed = Analyzed::of_partial(reader, run, partial, torn, means)?;
    Ok(Analyzed { places: Some(places), ..analyzed })
}

impl Analyzed {
    /// From the sum of all parts of a run.
    pub fn of_partial(
        reader: &RunReader,
        mut run: Run,
        partial: Partial,
        torn: Vec<String>,
        means: &Means,
    ) -> anyhow::Result<Analyzed> {
        let dir = reader.dir();
        run.warnings.extend(torn);
        run.load.trace_cost = trace_cost(reader, &run);
        let mut runtime = RuntimeMetrics::default();
        let metrics = reader.for_each_metric(&mut |point| runtime.add(point));
        run.warnings.extend(metrics.notes.iter().map(ToString::to_string));
        let (database, notes) = means.evidence(dir, &partial)?;
        run.warnings.extend(notes);
        let (limits, problem) = means.limits(&run);
        run.warnings.extend(problem);
        let analysis = partial.into_analysis_with(&run, &limits, &database, &runtime);
        let (mut limits, problem) = thresholds_of(&run);
        run.warnings.extend(problem);
        limits.extend(means.budget(&run.steps)?);
        let results = thresholds::evaluate(&limits, &run.steps, &analysis);
        let on_spans = thresholds::need_spans(&limits);
        let file = means.budget.as_ref().map(|(file, _)| file.clone());
        let outputs = means.outputs.clone();
        let dir = dir.to_owned();
        let (thresholds, places, looked) = (results, None, false);
        Ok(Analyzed { dir, run, analysis, thresholds, on_spans, file, outputs, places, looked })
    }
}

/// What tracing costs, where a run had it on and off in turn: a pass over its exchanges alone.
fn trace_cost(reader: &RunReader, run: &Run) -> Option<TraceCost> {
    let mut costs = TraceCosts::of(run)?;
    reader.exchanges().for_each(|exchange| costs.exchange(&exchange));
    costs.finish()
}

/// One pass for each [`BYTES_PER_PASS`] of a part: a run without server spans has its exchanges to keep all the same.
fn passes(spans: u64, exchanges: u64, parts: u32) -> u32 {
    let spans = spans.saturating_mul(BYTES_PER_SPAN);
    let exchanges = exchanges.saturating_mul(BYTES_PER_EXCHANGE);
    let bytes = spans.saturating_add(exchanges) / u64::from(parts.max(1));
    u32::try_from(bytes.div_ceil(BYTES_PER_PASS).max(1)).unwrap_or(u32::MAX)
}

/// Shares that are worked on at once: one for each core, one where there is little to share.
fn at_once(run: &Run) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let worth = run.receiver.spans_stored.div_ceil(SPANS_PER_SHARE).max(1);
    u32::try_from(worth).unwrap_or(u32::MAX).min(u32::try_from(cores).unwrap_or(1)).min(SHARES_MAX)
}

/// A part of a run: all of it where `of` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// Which part, from 0.
    pub index: u32,
    /// How many parts.
    pub of: u32,
}

/// What came of a part of a run.
pub struct Part {
    /// Its result.
    pub partial: Partial,
    /// What could not be read of the folder.
    pub torn: Vec<String>,
    /// Where the spans of the part lie.
    pub places: Places,
}

/// One part of a folder, in so many passes. The result depends on neither number.
pub fn analyze_part(reader: &RunReader, run: &Run, part: PartOf, means: &Means) -> anyhow::Result<Part> {
    let (mut whole, mut torn): (Option<Partial>, Vec<String>) = (None, Vec::new());
    let mut places = Places::default();
    let exchanges = run.load.offered.max(run.load.sent);
    let needed = || passes(run.receiver.spans_stored, exchanges, part.of);
    let passes = means.passes.unwrap_or_else(needed).max(1);
    let at_once = at_once(run);
    let shares = passes.checked_mul(at_once).and_then(|n| n.checked_mul(part.of));
    let of = shares.context("a run cannot be divided into so many parts")?;
    for pass in 0..passes {
        // The shares of one part follow each other.
        let share = |i: u32| Partition { index: part.index * passes * at_once + pass * at_once + i, of };
        let mut analyzers: Vec<Analyzer> = (0..at_once).map(|i| Analyzer::new(run, share(i))).collect();
        analyzers.iter_mut().for_each(|analyzer| analyzer.imagine(&means.what_if));
        torn = read_into(reader, &mut analyzers, &mut places);
        let sum = finish_all(analyzers).context("no share was analysed")?;
        match &mut whole {
            None => whole = Some(sum),
            Some(whole) => whole.merge(sum),
        }
    }
    Ok(Part { partial: whole.context("no pass was made")?, torn, places })
}

/// Gives every exchange of a folder to the analyzers, each on a thread of its own where there are several; what could not be read.
fn exchanges_into(reader: &RunReader, analyzers: &mut [Analyzer]) -> Vec<String> {
    let mut exchanges = reader.exchanges();
    if let [analyzer] = analyzers {
        exchanges.by_ref().for_each(|exchange| analyzer.exchange(&exchange));
    } else {
        thread::scope(|scope| {
            let takers: Vec<_> = analyzers
                .iter_mut()
                .map(|analyzer| {
                    let (send, receive) = sync_channel::<Arc<Vec<Exchange>>>(BATCHES_AHEAD);
                    scope.spawn(move || {
                        receive.iter().for_each(|batch| batch.iter().for_each(|one| analyzer.exchange(one)));
                    });
                    send
                })
                .collect();
            loop {
                let batch: Vec<Exchange> = exchanges.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                let batch = Arc::new(batch);
                // One that is gone has panicked, and the end of the scope tells.
                takers.iter().for_each(|taker| drop(taker.send(Arc::clone(&batch))));
            }
        });
    }
    exchanges.notes().iter().map(ToString::to_string).collect()
}

/// Gives every exchange and span of a folder to the analyzers; what could not be read.
fn read_into(reader: &RunReader, analyzers: &mut [Analyzer], places: &mut Places) -> Vec<String> {
    let mut notes = exchanges_into(reader, analyzers);
    let totals = reader.spans_into(analyzers);
    analyzers.iter().for_each(|analyzer| places.traces.extend(analyzer.places()));
    places.stretches = totals.stretches;
    notes.extend(totals.notes.iter().map(ToString::to_string));
    if totals.bad_batches > 0 {
        notes.push(format!(
            "{} of {} stored span messages could not be decoded",
            totals.bad_batches, totals.batches
        ));
    }
    notes
}

/// The thresholds of the scenario that was run, and a warning where it cannot be read any more.
fn thresholds_of(run: &Run) -> (Vec<Threshold>, Option<String>) {
    if run.sources.from_traces {
        return (Vec::new(), None);
    }
    match scenario::thresholds(&run.scenario, &run.steps) {
        Ok(thresholds) => (thresholds, None),
        Err(error) => (
            Vec::new(),
            Some(format!("the thresholds were not evaluated: the stored scenario cannot be read: {error}")),
        ),
    }
}

impl Analyzed {
    /// The run that has just ended. Its facts are given, because a full disk may have kept them out of `run.json`.
    pub fn of_run(dir: &Path, run: Run, means: &Means) -> anyhow::Result<Analyzed> {
        analyze_as(&RunReader::open(dir)?, run, means)
    }

    /// Links that were asked for now win over those of the run.
    pub fn link_to(&mut self, print: &PrintArgs) {
        if print.trace_link.is_some() {
            self.run.sources.trace_link = print.trace_link.clone();
        }
    }

    /// Reads the requests that findings name, for pictures; once.
    fn look_closer(&mut self) {
        if self.looked {
            return;
        }
        self.looked = true;
        // A folder that was readable a moment ago; without it there are the pictures of the steps.
        if let Ok(reader) = RunReader::open(&self.dir) {
            self.analysis.pictures.of_findings =
                closer::look(&reader, &self.run, &self.analysis, self.places.as_ref());
        }
    }

    /// What the documents are made from.
    pub fn report(&self) -> Report<'_> {
        Report { run: &self.run, analysis: &self.analysis, thresholds: &self.thresholds }
    }

    /// Writes `report.json`, `report.md` and `report.html` into the run folder; each appears whole or not at all.
    pub fn write_files(&mut self) -> anyhow::Result<()> {
        self.look_closer();
        for (name, text) in [
            ("report.json", report::json(&self.report())),
            ("report.md", report::markdown(&self.report())),
            ("report.html", report::html(&self.report())),
        ] {
            let path = self.dir.join(name);
            let part = self.dir.join(format!("{name}.part"));
            std::fs::write(&part, text)
                .and_then(|()| std::fs::rename(&part, &path))
                .inspect_err(|_| drop(std::fs::remove_file(&part)))
                .with_context(|| {
                    format!("cannot write {} (`hotspan report` prints it and writes nothing)", path.display())
                })?;
        }
        Ok(())
    }

    /// Prints the report in the format that was asked for.
    pub fn print(&mut self, print: &PrintArgs) -> anyhow::Result<()> {
        if print.format.has_pictures() {
            self.look_closer();
        }
        exit::print(&render(&self.report(), print))?;
        if self.outputs.is_empty() { Ok(()) } else { self.outputs.write(&self.gate()) }
    }

    /// Its pictures, each as a file.
    pub fn pictures(&mut self) -> Vec<report::Picture> {
        self.look_closer();
        report::pictures(&self.report())
    }

    /// The thresholds as a gate, with the verdict that the exit status has.
    fn gate(&self) -> Gate {
        let state = match self.run.state {
            RunState::Interrupted => Some("the run was interrupted".to_owned()),
            RunState::Aborted => Some("the run was aborted".to_owned()),
            RunState::Running | RunState::Complete => None,
        };
        let doubt = state.or_else(|| self.doubt(false));
        report::run_gate(&self.report(), doubt.as_deref(), self.file.as_deref())
    }

    /// The exit status, with the reason on standard error where the result cannot carry a verdict.
    pub fn exit(&self, strict: bool) -> Exit {
        if self.run.state == RunState::Interrupted {
            return Exit::Interrupted;
        }
        if self.run.state == RunState::Aborted {
            return Exit::CouldNotRun;
        }
        if let Some(search) = &self.run.load.search {
            // Its thresholds were what it searched with: that some rates broke them is the result, not a failure.
            return match (search.holds_per_s, self.limited()) {
                (Some(_), None) => Exit::Passed,
                (None, _) => {
                    say("hotspan: the search found no rate that holds; begin with a lower one");
                    Exit::CannotTell
                }
                (_, Some(limit)) => {
                    say(&format!(
                        "hotspan: the generator was the bottleneck ({}), not the service",
                        limit.name()
                    ));
                    Exit::CannotTell
                }
            };
        }
        let asked = strict || !self.thresholds.is_empty();
        if let Some(doubt) = asked.then(|| self.doubt(strict)).flatten() {
            say(&format!("hotspan: this result cannot carry a verdict: {doubt}"));
            return Exit::CannotTell;
        }
        if self.thresholds.iter().all(|t| t.passed) { Exit::Passed } else { Exit::Failed }
    }

    /// Why the machine that made the load was at its limit, if it was.
    fn limited(&self) -> Option<GeneratorLimit> {
        self.analysis.notes.iter().find_map(|note| match note {
            Note::GeneratorLimited(limit) => Some(*limit),
            _ => None,
        })
    }

    /// Why the numbers cannot carry a verdict, if they cannot.
    fn doubt(&self, strict: bool) -> Option<String> {
        let (run, analysis) = (&self.run, &self.analysis);
        let late = analysis.notes.iter().find_map(|note| match note {
            Note::GeneratorLate { share } => Some(*share),
            _ => None,
        });
        let limited = self.limited();
        let coverage = analysis.telemetry.coverage();
        if matches!(analysis.verdict, Verdict::NoData) {
            Some("not one request was made".into())
        } else if let Some(share) = late {
            Some(format!(
                "the load generator itself was late for {:.1} % of the latency; offer less load, or give it more cores",
                100.0 * share
            ))
        } else if let Some(limit) = limited {
            Some(format!(
                "the generator was the bottleneck ({}); offer less load, or give it more cores",
                limit.name()
            ))
        } else if (run.load.sent as f64) < LOAD_NEEDED * run.load.offered as f64 {
            Some(format!("only {} of {} requests that were due were sent", run.load.sent, run.load.offered))
        } else if (strict || self.on_spans) && coverage < COVERAGE_NEEDED {
            Some(format!(
                "server spans were joined for only {:.0} % of the traced requests, and blame needs {:.0} %",
                100.0 * coverage,
                100.0 * COVERAGE_NEEDED
            ))
        } else {
            None
        }
    }
}

/// Blame beside the target's own `Server-Timing`, as JSON.
fn truth(dir: &Path) -> anyhow::Result<String> {
    let reader = RunReader::open(dir)?;
    let run = reader.run().clone();
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let exchanges: Vec<Exchange> = reader.exchanges().collect();
    exchanges.iter().for_each(|exchange| analyzer.exchange(exchange));
    reader.for_each_span(&mut |span| analyzer.span(span));
    let mut truth = Truth::default();
    analyzer.finish_each(&mut |number, blame| truth.add(&exchanges[number], blame));
    Ok(serde_json::to_string_pretty(&truth.finish(&run))? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_for_exchanges_as_well_as_for_spans() {
        assert_eq!(passes(0, 0, 1), 1);
        assert_eq!(passes(10_000_000, 400_000, 1), 1);
        assert_eq!(passes(20_000_000, 800_000, 1), 2);
        // Ten million requests to a service that sends no spans.
        assert_eq!(passes(0, 10_000_000, 1), 3);
        assert_eq!(passes(0, 10_000_000, 3), 1);
    }
}
