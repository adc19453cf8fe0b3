//! `--traces-from`: the spans of a run fetched from where they are stored, into its run folder.

use super::args::Source;
use super::exit::say;
use super::live::Interrupts;
use super::progress::Progress;
use crate::record::{FetchFacts, Nanos, Run, SpanKind, Timestamp, TraceId};
use crate::traces::{Backend, FetchDoing, FetchPlan, FetchProgress, FetchSink, TraceSource, Wanted, fetch};
use crate::wire::files::{self, Options};
use crate::wire::folder::{RunReader, RunWriter};
use crate::wire::otlp::{self, Encoding};
use anyhow::{Context, bail};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What ended a minute ago has long been exported.
pub(super) const SETTLED_AFTER: Nanos = Nanos::from_millis(60_000);
/// Length of the progress bar.
const BAR: u64 = 24;

/// A source and how long to wait for it.
pub struct Fetcher {
    source: TraceSource,
    pause: Duration,
    deadline: Duration,
}

impl Fetcher {
    /// From the arguments; `None` where spans come to the receiver or not at all.
    pub fn new(
        source: &Source,
        headers: &[String],
        pause: Duration,
        deadline: Duration,
    ) -> anyhow::Result<Option<Fetcher>> {
        match source {
            Source::Fetch(text) => {
                let source = TraceSource::parse(text, headers)
                    .map_err(|why| anyhow::anyhow!("--traces-from: {why}"))?;
                Ok(Some(Fetcher { source, pause, deadline }))
            }
            Source::Receiver | Source::None if !headers.is_empty() => {
                bail!(
                    "--traces-header goes with a --traces-from that is fetched, e.g. tempo:http://127.0.0.1:3200"
                )
            }
            Source::Receiver | Source::None => Ok(None),
        }
    }

    /// The backend that is asked, where it is one.
    pub fn backend(&self) -> Option<&Backend> {
        match &self.source {
            TraceSource::Backend(backend) => Some(backend),
            TraceSource::Files(_) => None,
        }
    }

    /// The path of files, where they are the source.
    pub fn files(&self) -> Option<&Path> {
        match &self.source {
            TraceSource::Files(path) => Some(path),
            TraceSource::Backend(_) => None,
        }
    }

    /// Between two rounds of asking.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// How long late traces are waited for.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Fetches what is missing of the run in a folder. The writer has everything of the run's, flushed.
    pub fn fetch_into(
        &self,
        runtime: &Runtime,
        writer: &mut RunWriter,
        run: &mut Run,
        progress: &mut Progress,
        interrupted: &dyn Fn() -> bool,
    ) -> anyhow::Result<FetchFacts> {
        writer.flush()?;
        let wanted = missing(writer.dir())?;
        let mut sink = Into { writer, progress, interrupted, source: self.source.to_string() };
        let facts = match &self.source {
            TraceSource::Backend(backend) => {
                let last = wanted.iter().map(|w| w.ended).max().unwrap_or(run.started_at);
                let first = wanted.iter().map(|w| w.ended).min().unwrap_or(run.started_at);
                let plan = FetchPlan {
                    run_id: run.export.endpoint.is_some().then(|| run.id.clone()),
                    // Exchanges begin before they end; a minute is room for the slowest.
                    from: first.min(run.started_at) - Nanos::from_millis(60_000),
                    to: last.max(run.ended_at.unwrap_or(last)),
                    now: super::host::now(),
                    pause: self.pause,
                    deadline: self.deadline,
                    settled_after: SETTLED_AFTER,
                    wanted,
                    have: HashMap::new(),
                    search: None,
                };
                runtime.block_on(fetch(backend, &plan, &mut sink)).facts
            }
            TraceSource::Files(path) => self.read_files(path, &wanted, &mut sink)?,
        };
        sink.progress.clear();
        run.receiver.spans_stored += facts.spans;
        run.receiver.spans_received += facts.spans;
        // Where nothing was missing any more, what the first fetch gave stays the better account.
        if facts.asked > 0 || run.sources.fetched.is_none() {
            run.sources.fetched = Some(facts.clone());
        }
        Ok(facts)
    }

    /// Files that something else writes: read until two readings give the same spans of the run, then once more to keep them.
    fn read_files(&self, path: &Path, wanted: &[Wanted], sink: &mut Into<'_>) -> anyhow::Result<FetchFacts> {
        let ids: HashSet<TraceId> = wanted.iter().map(|w| w.trace).collect();
        let began = Instant::now();
        let (mut before, mut readings) = (None, 0);
        loop {
            readings += 1;
            let seen = read_wanted(path, &ids, &mut |_, _| Ok(()))?;
            let spans: u64 = seen.values().sum();
            let settled = wanted.iter().map(|w| w.ended).max().unwrap_or_default();
            let late = super::host::now().since(settled) > SETTLED_AFTER;
            let (asked, found) = (ids.len() as u64, seen.len() as u64);
            let progress = FetchProgress { asked, found, spans, doing: FetchDoing::Waiting };
            let stop = sink.progress(progress);
            if late || stop || before == Some(spans) || began.elapsed() + self.pause > self.deadline {
                break;
            }
            before = Some(spans);
            std::thread::sleep(self.pause);
        }
        let seen = read_wanted(path, &ids, &mut |bytes, spans| sink.message(bytes, spans))?;
        Ok(FetchFacts {
            source: self.source.to_string(),
            asked: ids.len() as u64,
            found: seen.len() as u64,
            partial: 0,
            partial_reason: None,
            spans: seen.values().sum(),
            requests: readings + 1,
            retries: 0,
            took: Nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            problem: None,
        })
    }
}

/// Takes in a message and the number of its spans.
type Keep<'k> = dyn FnMut(&[u8], u64) -> Result<(), String> + 'k;

/// Reads all files below a path; messages that hold wanted traces go to `keep`. Spans of wanted traces, by trace.
fn read_wanted(
    path: &Path,
    wanted: &HashSet<TraceId>,
    keep: &mut Keep<'_>,
) -> anyhow::Result<HashMap<TraceId, u64>> {
    let mut seen: HashMap<TraceId, u64> = HashMap::new();
    let mut failure = None;
    let paths: Vec<PathBuf> = vec![path.to_owned()];
    for file in files::list(&paths).with_context(|| format!("cannot list {}", path.display()))? {
        files::read_file(&file, &Options::default(), &mut |message, spans| {
            let mut some = false;
            let scanned = otlp::scan(message, &mut |key| {
                if wanted.contains(&key.trace_id) {
                    some = true;
                    *seen.entry(key.trace_id).or_default() += 1;
                }
            });
            if some && scanned.is_ok() {
                failure = keep(message, spans).err();
            }
            failure.is_none()
        })
        .with_context(|| format!("cannot read {}", file.display()))?;
        if let Some(failure) = failure {
            bail!("{failure}");
        }
    }
    Ok(seen)
}

/// The traces of a folder's sampled exchanges of which no server span is there yet.
fn missing(dir: &Path) -> anyhow::Result<Vec<Wanted>> {
    let reader = RunReader::open(dir)?;
    let mut wanted: HashMap<TraceId, Timestamp> = HashMap::new();
    for exchange in reader.exchanges().filter(|e| e.sampled && e.was_sent()) {
        let ended = wanted.entry(exchange.trace_id).or_default();
        *ended = (*ended).max(exchange.phases.end);
    }
    reader.for_each_span(&mut |span| {
        // hotspan's own client span, come back through a Collector, is no answer.
        if span.parent_id.is_some() || span.kind != SpanKind::Client {
            wanted.remove(&span.trace_id);
        }
    });
    let mut wanted: Vec<Wanted> = wanted.into_iter().map(|(trace, ended)| Wanted { trace, ended }).collect();
    wanted.sort_unstable_by_key(|w| (w.ended, w.trace));
    Ok(wanted)
}

/// Where fetched spans go.
pub(super) struct Into<'a> {
    pub writer: &'a mut RunWriter,
    pub progress: &'a mut Progress,
    pub interrupted: &'a dyn Fn() -> bool,
    pub source: String,
}

impl FetchSink for Into<'_> {
    fn message(&mut self, bytes: &[u8], spans: u64) -> Result<(), String> {
        self.writer.append_spans(Encoding::Protobuf, bytes, spans).map_err(|error| error.to_string())
    }

    fn progress(&mut self, progress: FetchProgress) -> bool {
        let FetchProgress { asked, found, spans, doing } = progress;
        let (source, bar) = (&self.source, bar(found, asked));
        let doing = match doing {
            FetchDoing::Searching => format!("searching {source}: {asked} traces"),
            FetchDoing::Getting => format!("fetching from {source} [{bar}] {found} of {asked} traces"),
            FetchDoing::Waiting => {
                format!("waiting for late traces in {source} [{bar}] {found} of {asked} traces")
            }
        };
        self.progress.tick(&format!("{doing}, {spans} spans … (Ctrl-C to go on with these)"));
        (self.interrupted)()
    }
}

fn bar(part: u64, whole: u64) -> String {
    let filled = (part.min(whole) * BAR).checked_div(whole).unwrap_or(BAR);
    (0..BAR).map(|i| if i < filled { '#' } else { '.' }).collect()
}

/// Fetches into a run folder that is there already, for `analyze`.
pub fn fetch_again(fetcher: &Fetcher, dir: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let mut run = RunReader::open(dir)?.run().clone();
    if run.sources.from_traces {
        bail!("{} was made from trace files: there is nothing to fetch", dir.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime for fetching")?;
    crate::traces::install_crypto_provider();
    let interrupts = Interrupts::listen(&runtime);
    let mut writer = RunWriter::reopen(dir)?;
    let stop = || interrupts.count() > 0;
    let facts = fetcher.fetch_into(&runtime, &mut writer, &mut run, progress, &stop)?;
    say(&match facts.asked {
        0 => format!("No trace is missing: {} was not asked.", facts.source),
        _ => format!(
            "Fetched {} of {} missing traces ({} spans) from {}.",
            facts.found, facts.asked, facts.spans, facts.source
        ),
    });
    writer.finish(&run)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_what_has_come() {
        assert_eq!(bar(0, 10), ".".repeat(24));
        assert_eq!(bar(5, 10), "############............");
        assert_eq!(bar(20, 10), "#".repeat(24));
        assert_eq!(bar(0, 0), "#".repeat(24));
    }

    #[test]
    fn headers_without_a_source_are_a_mistake() {
        let none = Fetcher::new(&Source::Receiver, &["X: y".into()], Duration::ZERO, Duration::ZERO);
        assert!(none.err().unwrap().to_string().contains("--traces-header goes with"));
    }
}
