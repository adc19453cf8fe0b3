//! `hotspan analyze --traces-from SOURCE` with no run at all: traces are searched for in a backend and kept as a folder in
//! which their root spans stand for the exchanges. What is still to be searched and which traces were missing is kept beside
//! them in `search.json`, so that naming the folder goes on where a search ended.

use super::args::SearchArgs;
use super::exit::say;
use super::fetch::{Fetcher, Into};
use super::host;
use super::live::Interrupts;
use super::progress::Progress;
use super::trace_files::{self, Imported};
use crate::record::{Nanos, Run, RunState, SpanId, Timestamp, TraceId};
use crate::traces::{
    Backend, FetchPlan, FetchSink, Fetched, Stretch, TraceSearch, Wanted, fetch, install_crypto_provider,
};
use crate::wire::folder::{RunReader, RunWriter};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

const FILE: &str = "search.json";
const LAST: Duration = Duration::from_secs(3_600);
const MAX_TRACES: u64 = 1_000;
/// Ids of missing traces that a message names.
const NAMED: usize = 3;

/// What was searched for, and what is left of it: `search.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SearchDoc {
    /// Without secrets.
    source: String,
    service: Option<String>,
    operation: Option<String>,
    min_duration_ns: Option<u64>,
    max_duration_ns: Option<u64>,
    traceql: Option<String>,
    max_traces: u64,
    /// Times that are still to be searched, the next one last.
    left: Vec<StretchDoc>,
    /// Traces that were found and could not be had.
    missing: Vec<MissingDoc>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StretchDoc {
    from_unix_ns: u64,
    to_unix_ns: u64,
    service: Option<String>,
    at_least_ns: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct MissingDoc {
    trace_id: String,
    ended_unix_ns: u64,
}

impl SearchDoc {
    fn new(source: &str, search: &TraceSearch, fetched: &Fetched) -> SearchDoc {
        let left = fetched.search.left.iter().map(|s| StretchDoc {
            from_unix_ns: s.from.0,
            to_unix_ns: s.to.0,
            service: s.service.clone(),
            at_least_ns: s.at_least.map(|d| d.0),
        });
        let missing = fetched
            .missing
            .iter()
            .map(|w| MissingDoc { trace_id: w.trace.to_string(), ended_unix_ns: w.ended.0 });
        SearchDoc {
            source: source.to_owned(),
            service: search.service.clone(),
            operation: search.operation.clone(),
            min_duration_ns: search.min_duration.map(|d| d.0),
            max_duration_ns: search.max_duration.map(|d| d.0),
            traceql: search.traceql.clone(),
            max_traces: search.limit,
            left: left.collect(),
            missing: missing.collect(),
        }
    }

    fn search(&self) -> TraceSearch {
        let stretch = |s: &StretchDoc| Stretch {
            from: Timestamp(s.from_unix_ns),
            to: Timestamp(s.to_unix_ns),
            service: s.service.clone(),
            at_least: s.at_least_ns.map(Nanos),
        };
        TraceSearch {
            service: self.service.clone(),
            operation: self.operation.clone(),
            min_duration: self.min_duration_ns.map(Nanos),
            max_duration: self.max_duration_ns.map(Nanos),
            traceql: self.traceql.clone(),
            limit: self.max_traces,
            stretches: self.left.iter().map(stretch).collect(),
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let wanted = |m: &MissingDoc| {
            Some(Wanted { trace: TraceId::from_hex(&m.trace_id).ok()?, ended: Timestamp(m.ended_unix_ns) })
        };
        self.missing.iter().filter_map(wanted).collect()
    }

    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (path, part) = (dir.join(FILE), dir.join(format!("{FILE}.part")));
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// `None` where a folder was not made by a search.
    fn read(dir: &Path) -> anyhow::Result<Option<SearchDoc>> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => {
                let doc = serde_json::from_slice(&text);
                doc.map(Some).with_context(|| format!("{} cannot be understood", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// What the arguments ask for.
fn search_of(args: &SearchArgs, now: Timestamp) -> anyhow::Result<TraceSearch> {
    let nanos = |d: Duration| Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    let to = args.to.unwrap_or(now);
    let from = args.from.unwrap_or_else(|| to - nanos(args.last.unwrap_or(LAST)));
    if from >= to {
        bail!("--from is not before --to: there is no time between them to search in");
    }
    Ok(TraceSearch {
        service: args.service.clone(),
        operation: args.operation.clone(),
        min_duration: args.min_duration.map(nanos),
        max_duration: args.max_duration.map(nanos),
        traceql: args.traceql.clone(),
        limit: args.max_traces.unwrap_or(MAX_TRACES),
        stretches: vec![Stretch { from, to, service: None, at_least: None }],
    })
}

/// Searches for traces and makes a run folder of them: below `keep`, or one that goes away with the result.
pub fn find(fetcher: &Fetcher, args: &SearchArgs, keep: Option<&Path>) -> anyhow::Result<Imported> {
    let Some(backend) = fetcher.backend() else {
        let Some(path) = fetcher.files() else { bail!("there is no source to search") };
        if *args != SearchArgs::default() {
            bail!(
                "files are read whole: --service, --last and the like go with a backend, e.g. jaeger:http://127.0.0.1:16686"
            );
        }
        return trace_files::import(&[path.to_owned()], keep);
    };
    if args.traceql.is_some() && !backend.has_traceql() {
        bail!("--traceql is for Tempo; say --service and --operation to {}", backend.shown());
    }
    let search = search_of(args, host::now())?;
    let name = search.service.clone().unwrap_or_else(|| backend.name().to_owned());
    let (mut imported, id) = trace_files::folder(keep, &name)?;
    let mut run = trace_files::describe(&[], &name, id);
    run.target = backend.shown().to_owned();
    let mut writer = RunWriter::create(&imported.dir, &run)?;
    // Should this process be killed, what it has stored by then is there to go on with.
    let nothing = Fetched { search: left_whole(&search), ..Fetched::default() };
    SearchDoc::new(backend.shown(), &search, &nothing).write(&imported.dir)?;
    let (fetched, interrupted) = ask(fetcher, backend, &search, Start::default(), &mut writer)?;
    if fetched.facts.found == 0 {
        drop(writer);
        imported.discard();
        bail!("{}", nothing_found(backend, &search, &fetched, interrupted));
    }
    finish(writer, &mut run, backend, &search, &fetched, interrupted)?;
    Ok(imported)
}

fn left_whole(search: &TraceSearch) -> crate::traces::SearchEnd {
    crate::traces::SearchEnd { left: search.stretches.clone(), ..Default::default() }
}

/// Goes on with the search that a folder is from; false where it is from none.
pub fn resume(fetcher: &Fetcher, args: &SearchArgs, dir: &Path) -> anyhow::Result<bool> {
    let Some(doc) = SearchDoc::read(dir)? else { return Ok(false) };
    if (SearchArgs { max_traces: args.max_traces, ..SearchArgs::default() }) != *args {
        bail!("{} goes on with its own search; only --max-traces can be changed", dir.display());
    }
    let Some(backend) = fetcher.backend() else {
        bail!("{} was searched for in {}: name that with --traces-from", dir.display(), doc.source);
    };
    let mut search = doc.search();
    search.limit = args.max_traces.unwrap_or(search.limit);
    let mut start = Start { wanted: doc.wanted(), have: HashMap::new() };
    let reader = RunReader::open(dir)?;
    let mut run = reader.run().clone();
    let mut seen: HashSet<(TraceId, SpanId)> = HashSet::new();
    reader.for_each_span(&mut |span| {
        if seen.insert((span.trace_id, span.span_id)) {
            *start.have.entry(span.trace_id).or_default() += 1;
        }
    });
    drop(seen);
    start.wanted.retain(|w| !start.have.contains_key(&w.trace));
    if start.wanted.is_empty() && (search.stretches.is_empty() || start.have.len() as u64 >= search.limit) {
        say(&format!(
            "Nothing is missing: {} was not asked{}.",
            backend.shown(),
            if search.stretches.is_empty() { "" } else { " (a larger --max-traces would go on)" }
        ));
        return Ok(true);
    }
    let mut writer = RunWriter::reopen(dir)?;
    let (fetched, interrupted) = ask(fetcher, backend, &search, start, &mut writer)?;
    writer.flush()?;
    drop(writer);
    // The exchanges stand for what was there before; they are made anew.
    let exchanges = dir.join("exchanges");
    std::fs::remove_dir_all(&exchanges).with_context(|| format!("cannot empty {}", exchanges.display()))?;
    run.steps.clear();
    run.warnings.clear();
    finish(RunWriter::reopen(dir)?, &mut run, backend, &search, &fetched, interrupted)?;
    Ok(true)
}

/// What is known before a search.
#[derive(Default)]
struct Start {
    wanted: Vec<Wanted>,
    /// Spans of each trace that is stored.
    have: HashMap<TraceId, u64>,
}

fn ask(
    fetcher: &Fetcher,
    backend: &Backend,
    search: &TraceSearch,
    start: Start,
    writer: &mut RunWriter,
) -> anyhow::Result<(Fetched, bool)> {
    install_crypto_provider();
    let runtime = runtime()?;
    let interrupts = Interrupts::listen(&runtime);
    let from = search.stretches.iter().map(|s| s.from).chain(start.wanted.iter().map(|w| w.ended)).min();
    let to = search.stretches.iter().map(|s| s.to).chain(start.wanted.iter().map(|w| w.ended)).max();
    let now = host::now();
    let plan = FetchPlan {
        wanted: start.wanted,
        have: start.have,
        search: Some(search.clone()),
        run_id: None,
        from: from.unwrap_or(now),
        to: to.unwrap_or(now),
        now,
        pause: fetcher.pause(),
        deadline: fetcher.deadline(),
        settled_after: super::fetch::SETTLED_AFTER,
    };
    let mut progress = Progress::with(false, false);
    let stop = || interrupts.count() > 0;
    let mut sink =
        Into { writer, progress: &mut progress, interrupted: &stop, source: backend.shown().to_owned() };
    let fetched = runtime.block_on(fetch(backend, &plan, &mut sink as &mut dyn FetchSink));
    progress.clear();
    Ok((fetched, interrupts.count() > 0))
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime for fetching")
}

/// Makes exchanges of what is there, notes what is not, and tells of both.
fn finish(
    mut writer: RunWriter,
    run: &mut Run,
    backend: &Backend,
    search: &TraceSearch,
    fetched: &Fetched,
    interrupted: bool,
) -> anyhow::Result<()> {
    writer.flush()?;
    let dir = writer.dir().to_owned();
    run.sources.fetched = Some(fetched.facts.clone());
    run.receiver.spans_stored += fetched.facts.spans;
    run.receiver.spans_received = run.receiver.spans_stored;
    run.state = RunState::Complete;
    if fetched.search.more {
        run.warnings.push(format!(
            "there are more traces than the {} that were taken: the newest, as far as the backend orders them; --max-traces \
             takes more, --service, --operation and --min-duration choose",
            search.limit
        ));
    }
    if fetched.search.failed || interrupted {
        let why = if interrupted { "was stopped" } else { "failed" };
        run.warnings
            .push(format!("the search {why} before its end: traces of part of the time are not there"));
    }
    SearchDoc::new(backend.shown(), search, fetched).write(&dir)?;
    trace_files::make_exchanges(writer, run)?;
    let facts = &fetched.facts;
    let mut line = format!("Found {} traces ({} spans) in {}", facts.found, facts.spans, backend.shown());
    if !fetched.missing.is_empty() {
        let ids: Vec<String> = fetched.missing.iter().take(NAMED).map(|w| w.trace.to_string()).collect();
        let more = if fetched.missing.len() > NAMED { ", …" } else { "" };
        line +=
            &format!("; {} that it knows of are not there ({}{more})", fetched.missing.len(), ids.join(", "));
    }
    say(&(line + "."));
    Ok(())
}

/// Why there is nothing, and what to do.
fn nothing_found(backend: &Backend, search: &TraceSearch, fetched: &Fetched, interrupted: bool) -> String {
    let shown = backend.shown();
    if interrupted {
        return format!("stopped before a trace had come from {shown}");
    }
    if let Some(problem) = &fetched.facts.problem {
        return format!(
            "{shown} could not be searched: {problem}; see that it is up, and that this is its query API: {}",
            backend.query_api()
        );
    }
    let services = &fetched.search.services;
    let known = match services.as_slice() {
        [] => "it knows of no service at all: does anything export to it?".to_owned(),
        names => {
            let mut shown: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
            if names.len() > shown.len() {
                shown.push("…");
            }
            format!("it has spans of: {}", shown.join(", "))
        }
    };
    match &search.service {
        Some(service) if !services.contains(service) => {
            format!("{shown} has no traces of a service {service}; {known}")
        }
        _ if fetched.facts.asked > 0 => format!(
            "{shown} found {} traces and gave none of them by their ids; they may be older than what it keeps",
            fetched.facts.asked
        ),
        _ => format!(
            "{shown} has no such traces in that time; {known}; --last or --from and --to search in another time"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_written_and_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SearchDoc::read(dir.path()).unwrap(), None);
        let args = SearchArgs {
            service: Some("shop".into()),
            from: Some(Timestamp(5)),
            to: Some(Timestamp(9)),
            min_duration: Some(Duration::from_millis(3)),
            ..SearchArgs::default()
        };
        let search = search_of(&args, Timestamp(100)).unwrap();
        let mut fetched = Fetched { search: left_whole(&search), ..Fetched::default() };
        fetched.missing = vec![Wanted { trace: TraceId([7; 16]), ended: Timestamp(8) }];
        let doc = SearchDoc::new("tempo:http://t", &search, &fetched);
        doc.write(dir.path()).unwrap();
        let back = SearchDoc::read(dir.path()).unwrap().unwrap();
        assert_eq!((back.search(), back.wanted()), (search, fetched.missing));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(
            SearchDoc::read(dir.path()).unwrap_err().to_string().contains("search.json cannot be understood")
        );
    }

    #[test]
    fn times_of_a_search() {
        let second = 1_000_000_000;
        let now = Timestamp(10_000 * second);
        let of = |args: SearchArgs| {
            let search = search_of(&args, now)?;
            anyhow::Ok((search.stretches[0].from.0 / second, search.stretches[0].to.0 / second))
        };
        assert_eq!(of(SearchArgs::default()).unwrap(), (6_400, 10_000));
        let last = SearchArgs { last: Some(Duration::from_secs(60)), ..SearchArgs::default() };
        assert_eq!(of(last).unwrap(), (9_940, 10_000));
        let to = SearchArgs { to: Some(Timestamp(5_000 * second)), ..SearchArgs::default() };
        assert_eq!(of(to).unwrap(), (1_400, 5_000));
        let late = SearchArgs { from: Some(Timestamp(20_000 * second)), ..SearchArgs::default() };
        assert!(of(late).unwrap_err().to_string().contains("--from is not before --to"));
    }
}
