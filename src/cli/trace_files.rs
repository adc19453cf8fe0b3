//! Trace files → a run folder in which the root spans stand for the exchanges, so that what follows is the same as for a
//! run: blame, aggregates, findings, report.
//!
//! The spans are written as they are; only exchanges are made. Memory holds the places of the spans of one pass (64 bytes
//! each) and one row for each request.

use super::exit::say;
use super::host;
use super::roots::{self, Place, Root};
use crate::analysis::Partition;
use crate::record::{
    CheckFailure, Exchange, LoadFacts, Outcome, Phases, Protocol, Run, RunState, SourceFacts, Span, SpanId,
    Status, StepId, StepInfo, Threshold, Timestamp, TraceId,
};
use crate::wire::files::{self, FileReport, Format, Options};
use crate::wire::folder::{FolderError, RunReader, RunWriter};
use crate::wire::otlp::{Encoding, Signal};
use anyhow::{Context, bail};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Spans whose places are held at once.
const SPANS_PER_PASS: u64 = 5_000_000;
/// Steps that are told apart; requests of rarer ones are put together.
const STEPS: usize = 200;
/// Name of the step for the rest.
const OTHER: &str = "(other)";
/// Exchanges handed to the folder at once.
const BATCH: usize = 1_024;

/// A run folder made from files; a temporary one goes away with this.
pub struct Imported {
    pub dir: PathBuf,
    temporary: bool,
}

impl Drop for Imported {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Imported {
    /// Nothing came of it: the folder goes away.
    pub fn discard(&mut self) {
        self.temporary = true;
    }

    /// Whether the folder is kept.
    pub fn is_kept(&self) -> bool {
        !self.temporary
    }
}

/// Reads all files into a new run folder: below `keep`, or one that goes away with the result.
pub fn import(paths: &[PathBuf], keep: Option<&Path>) -> anyhow::Result<Imported> {
    for path in paths {
        if !path.exists() {
            bail!("there is no file or folder {}; name a run folder, or files with traces", path.display());
        }
    }
    let files = files::list(paths).context("cannot list the trace files")?;
    let name = name_of(paths);
    let (mut imported, id) = folder(keep, &name)?;
    let mut run = describe(paths, &name, id);
    let mut options = Options::default();
    // Parts of split traces are known only after all files were read; then they are read once more.
    let (writer, stored) = loop {
        let (writer, outcome) = read_all(&files, paths, &imported.dir, &run, &options)?;
        if outcome.splits.is_empty() || !options.splits.is_empty() {
            run.warnings.extend(outcome.warnings);
            break (writer, outcome.spans);
        }
        drop(writer);
        std::fs::remove_dir_all(&imported.dir).context("cannot begin the folder anew")?;
        options.splits = Arc::new(outcome.splits);
    };
    if stored == 0 {
        imported.discard();
        // One file's reason names the file; of several all are named.
        match run.warnings.first() {
            Some(why) if run.warnings.len() == 1 && paths.len() == 1 => bail!("{why}"),
            Some(why) => bail!("no span was found in {}; {why}", names(paths)),
            None => bail!("no span was found in {}", names(paths)),
        }
    }
    run.receiver.spans_stored = stored;
    run.receiver.spans_received = stored;
    make_exchanges(writer, &mut run)?;
    Ok(imported)
}

/// Whether a run folder holds what `hotspan collect` took in: spans, and no load that they could answer.
pub fn is_collection(reader: &RunReader) -> bool {
    let run = reader.run();
    !run.sources.from_traces
        && run.steps.is_empty()
        && run.scenario.is_empty()
        && reader.exchanges().next().is_none()
        && reader.span_batches().next_batch().is_some()
}

/// The spans and metrics of a collection in a run folder of their own: below `keep`, or one that goes away with the
/// result. The collection stays as it is, for it may still be growing.
pub fn import_collection(reader: &RunReader, keep: Option<&Path>) -> anyhow::Result<Imported> {
    const UNWRITTEN: &str =
        "the spans could not be written to the temporary folder; TMPDIR names another, --out keeps them";
    let from = reader.dir();
    let name = reader.run().name.clone();
    let (imported, id) = folder(keep, &name)?;
    let mut run = describe(&[from.to_owned()], &name, id);
    let mut writer = RunWriter::create(&imported.dir, &run)?;
    let mut spans = reader.span_batches();
    while let Some(batch) = spans.next_batch() {
        run.receiver.spans_stored += u64::from(batch.spans);
        writer.append_spans(batch.encoding, batch.bytes, u64::from(batch.spans)).context(UNWRITTEN)?;
    }
    run.warnings.extend(spans.notes().iter().map(ToString::to_string));
    let mut metrics = reader.messages(Signal::Metrics);
    while let Some(batch) = metrics.next_batch() {
        let records = u64::from(batch.records);
        writer.append_message(Signal::Metrics, batch.encoding, batch.bytes, records).context(UNWRITTEN)?;
    }
    writer.flush()?;
    run.receiver.spans_received = run.receiver.spans_stored;
    make_exchanges(writer, &mut run)?;
    Ok(imported)
}

/// `traces.json`, or `traces.json and 3 more`.
fn names(paths: &[PathBuf]) -> String {
    let first = paths.first().map(|p| p.display().to_string()).unwrap_or_default();
    match paths.len() {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}

fn name_of(paths: &[PathBuf]) -> String {
    let stem = |p: &PathBuf| {
        let name = p.file_name()?.to_str()?;
        Some(name.split('.').next().unwrap_or(name).to_owned())
    };
    paths.first().and_then(stem).filter(|s| !s.is_empty()).unwrap_or_else(|| "traces".to_owned())
}

pub(super) fn folder(keep: Option<&Path>, name: &str) -> anyhow::Result<(Imported, String)> {
    let now = host::now();
    let base = format!("{}-{}", host::compact_utc(now), super::run::slug(name));
    let (parent, temporary) = match keep {
        Some(dir) => (dir.to_owned(), false),
        None => {
            let unique = format!("hotspan-{}-{}", std::process::id(), now.0);
            (std::env::temp_dir().join(unique), true)
        }
    };
    for number in 1..100 {
        let id = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let dir = if temporary { parent.clone() } else { parent.join(&id) };
        if !dir.exists() {
            return Ok((Imported { dir, temporary }, id));
        }
    }
    bail!("{} has a hundred folders of this second; name another with --out", parent.display())
}

pub(super) fn describe(paths: &[PathBuf], name: &str, id: String) -> Run {
    Run {
        id,
        name: name.to_owned(),
        started_at: Timestamp(0),
        ended_at: None,
        state: RunState::Complete,
        target: names(paths),
        hotspan_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: None,
        // Not this machine: who called is not known.
        host: Default::default(),
        scenario: String::new(),
        steps: Vec::new(),
        load: LoadFacts::default(),
        receiver: Default::default(),
        export: Default::default(),
        wait: None,
        sources: SourceFacts { from_traces: true, ..SourceFacts::default() },
        warnings: Vec::new(),
    }
}

/// What reading all files gave.
#[derive(Default)]
struct Reading {
    spans: u64,
    warnings: Vec<String>,
    splits: HashMap<TraceId, (TraceId, SpanId)>,
}

fn read_all(
    files: &[PathBuf],
    named: &[PathBuf],
    dir: &Path,
    run: &Run,
    options: &Options,
) -> anyhow::Result<(RunWriter, Reading)> {
    let mut writer = RunWriter::create(dir, run)?;
    let mut outcome = Reading::default();
    for file in files {
        let mut failure: Option<FolderError> = None;
        let report = files::read_file(file, options, &mut |message, spans| {
            failure = writer.append_spans(Encoding::Protobuf, message, spans).err();
            failure.is_none()
        })
        .with_context(|| format!("cannot read {}", file.display()))?;
        if let Some(error) = failure {
            return Err(anyhow::Error::from(error).context(
                "the spans could not be written to the temporary folder; TMPDIR names another, --out keeps them",
            ));
        }
        match report {
            Some(report) => outcome.take(file, report),
            None if named.contains(file) => bail!(
                "{} is no trace file that hotspan knows; it reads OTLP (JSON, JSON lines, protobuf), files of the \
                 Collector's file exporter, Jaeger and Zipkin JSON, answers of Tempo, and tables of spans as CSV, TSV \
                 or JSON rows, all also as gzip or zstd",
                file.display()
            ),
            None => outcome.warnings.push(format!("{} was passed over: it is no trace file", file.display())),
        }
    }
    writer.flush()?;
    Ok((writer, outcome))
}

impl Reading {
    fn take(&mut self, file: &Path, report: FileReport) {
        let file = file.display();
        self.spans += report.spans;
        self.splits.extend(report.splits);
        if report.formats.keys().all(|f| *f == Format::OtherJson) && report.spans == 0 && report.broken == 0 {
            let what = match (report.other_signals, report.formats.is_empty()) {
                (0, true) => "it is empty",
                (0, false) => {
                    "it is JSON, but holds no spans in a form that is read: OTLP, Collector files, Jaeger, Zipkin, Tempo or ClickHouse rows (docs/traces.md); what `hotspan spans` prints is for people, analyse its run folder"
                }
                _ => "it holds metrics or logs only",
            };
            return self.warnings.push(format!("{file} gave no spans: {what}"));
        }
        if report.broken > 0 {
            let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
            let records = if report.broken == 1 { "1 record" } else { &format!("{} records", report.broken) };
            let also = if report.broken > 1 { "; the first at " } else { ", at " };
            self.warnings.push(format!("{records} of {file} could not be read{also}{first}"));
        }
        if report.invalid > 0 {
            self.warnings.push(format!(
                "{} spans of {file} were left out: their trace or span id is not valid",
                report.invalid
            ));
        }
    }
}

/// One request, until the steps are known.
struct Row {
    root: Root,
    label: u32,
    status: u16,
    error: bool,
}

/// Finds the requests, gives them steps and writes them, in passes over the folder.
pub(super) fn make_exchanges(mut writer: RunWriter, run: &mut Run) -> anyhow::Result<()> {
    let reader = RunReader::open(writer.dir())?;
    let of = u32::try_from(run.receiver.spans_stored.div_ceil(SPANS_PER_PASS).max(1)).unwrap_or(u32::MAX);
    let (mut rows, mut labels) = (Vec::new(), Labels::default());
    for index in 0..of {
        pass(&reader, Partition { index, of }, &mut rows, &mut labels);
    }
    let steps = labels.steps(&mut run.steps);
    run.started_at = Timestamp(rows.iter().map(|r| r.root.start).min().unwrap_or(0));
    run.ended_at = rows.iter().map(|r| r.root.end).max().map(Timestamp);
    let n = rows.len() as u64;
    run.load = LoadFacts { offered: n, sent: n, iterations: n, ..LoadFacts::default() };
    let templates: Vec<Arc<str>> = run.steps.iter().map(|s| Arc::from(s.template.as_str())).collect();
    for batch in rows.chunks(BATCH) {
        let exchanges: Vec<Exchange> = batch
            .iter()
            .map(|row| {
                let step = steps[row.label as usize];
                exchange(row, step, templates[usize::from(step.0)].clone())
            })
            .collect();
        writer.append_exchanges(&exchanges)?;
    }
    writer.finish(run)?;
    Ok(())
}

fn pass(reader: &RunReader, part: Partition, rows: &mut Vec<Row>, labels: &mut Labels) {
    let mut places: Vec<Place> = Vec::new();
    let mut keep = |trace: TraceId| part.holds(&trace);
    reader.for_each_span_where(&mut keep, &mut |span| {
        places.push(Place {
            trace: u128::from_be_bytes(span.trace_id.0),
            span: u64::from_be_bytes(span.span_id.0),
            parent: span.parent_id.map_or(0, |p| u64::from_be_bytes(p.0)),
            start: span.start.0,
            end: span.end.0.max(span.start.0),
            kind: span.kind,
        });
    });
    let mut found = Vec::new();
    roots::find(&mut places, &mut found);
    drop(places);
    let from = rows.len();
    let at: HashMap<(TraceId, SpanId), usize> =
        found.iter().enumerate().map(|(i, root)| ((root.trace, root.head), from + i)).collect();
    rows.extend(found.into_iter().map(|root| Row { root, label: u32::MAX, status: 0, error: false }));
    // Once more, for what the heads are called: names of all spans would not fit in memory.
    reader.for_each_span_where(&mut keep, &mut |span| {
        let Some(row) = at.get(&(span.trace_id, span.span_id)).and_then(|i| rows.get_mut(*i)) else { return };
        if row.label == u32::MAX && span.kind == row.root.kind && span.start.0 == row.root.start {
            row.label = labels.of(span);
            row.status = status(span);
            row.error = span.status == Status::Error || row.status >= 500;
        }
    });
    // A head is always found again; were it not, its request would still be counted.
    for row in rows[from..].iter_mut().filter(|row| row.label == u32::MAX) {
        row.label = labels.number(Label { journey: String::new(), name: OTHER.into(), ..Label::default() });
    }
}

fn exchange(row: &Row, step: StepId, url: Arc<str>) -> Exchange {
    let (start, end) = (Timestamp(row.root.start), Timestamp(row.root.end));
    // Without an HTTP status it is the span's own that says so.
    let seen = if row.status == 0 { "an error in its span".to_owned() } else { row.status.to_string() };
    let failed = row.error.then(|| CheckFailure { check: "status".into(), seen: seen.into() });
    Exchange {
        trace_id: row.root.trace,
        span_id: row.root.exchange,
        sampled: true,
        threshold: Threshold::ALWAYS,
        step,
        user: 0,
        iteration: 0,
        intended: start,
        phases: Phases { start, sent: Some(start), first_byte: Some(end), end, ..Phases::default() },
        outcome: Outcome::Answered(row.status),
        checks_failed: failed.into_iter().collect(),
        bytes_sent: 0,
        bytes_received: 0,
        bytes_decoded: None,
        followed: false,
        connection_reused: true,
        protocol: Protocol::Http1,
        url,
        server_timing: None,
        messages: None,
    }
}

/// What a request is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Label {
    journey: String,
    name: String,
    method: String,
    template: String,
}

/// All names of requests, with how often they occur.
#[derive(Default)]
struct Labels {
    numbers: HashMap<Label, u32>,
    counts: Vec<u64>,
}

impl Labels {
    fn of(&mut self, span: &Span<'_>) -> u32 {
        self.number(label(span))
    }

    fn number(&mut self, label: Label) -> u32 {
        let new = self.counts.len() as u32;
        let number = *self.numbers.entry(label).or_insert(new);
        if number == new {
            self.counts.push(0);
        }
        self.counts[number as usize] += 1;
        number
    }

    /// The commonest as steps, by service and then by number; the step of each label.
    fn steps(&self, out: &mut Vec<StepInfo>) -> Vec<StepId> {
        let mut all: Vec<(&Label, u32)> = self.numbers.iter().map(|(l, n)| (l, *n)).collect();
        all.sort_by_key(|(label, n)| (std::cmp::Reverse(self.counts[*n as usize]), *label));
        let mut by_service: BTreeMap<&str, u64> = BTreeMap::new();
        for (label, n) in &all {
            *by_service.entry(&label.journey).or_default() += self.counts[*n as usize];
        }
        let kept = if all.len() > STEPS { STEPS - 1 } else { all.len() };
        let rest = all.split_off(kept);
        all.sort_by_key(|(label, n)| {
            let service = by_service.get(label.journey.as_str()).copied().unwrap_or(0);
            (std::cmp::Reverse(service), &label.journey, std::cmp::Reverse(self.counts[*n as usize]), *label)
        });
        let mut steps = vec![StepId(0); self.counts.len()];
        for (label, n) in all {
            steps[n as usize] = StepId(out.len() as u16);
            out.push(StepInfo {
                journey: label.journey.clone(),
                name: label.name.clone(),
                method: label.method.clone(),
                template: label.template.clone(),
                checks: Vec::new(),
            });
        }
        if !rest.is_empty() {
            let other = StepId(out.len() as u16);
            rest.iter().for_each(|(_, n)| steps[*n as usize] = other);
            out.push(StepInfo {
                journey: OTHER.into(),
                name: OTHER.into(),
                method: String::new(),
                template: String::new(),
                checks: Vec::new(),
            });
        }
        steps
    }
}

fn text<'s>(span: &Span<'s>, keys: &[&str]) -> &'s str {
    keys.iter()
        .find_map(|key| span.attributes.iter().find(|a| a.key == *key).and_then(|a| a.value.as_str()))
        .unwrap_or_default()
}

fn label(span: &Span<'_>) -> Label {
    let method = text(span, &["http.request.method", "http.method"]);
    let route = text(span, &["http.route", "url.template"]);
    let path = text(span, &["url.path", "http.target", "url.full", "http.url"]);
    let only_method = span.name.is_empty()
        || span.name.eq_ignore_ascii_case(method)
        || span.name.strip_prefix("HTTP ").is_some_and(|rest| rest.eq_ignore_ascii_case(method));
    let template = if !route.is_empty() { route.to_owned() } else { roots::low_cardinality(path_of(path)) };
    let name = match (method.is_empty(), route.is_empty()) {
        (false, false) => format!("{method} {route}"),
        (false, true) if only_method && !template.is_empty() => format!("{method} {template}"),
        _ => roots::low_cardinality(span.name),
    };
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    Label {
        journey: or(span.resource.service_name(), "(no service)"),
        name: or(&name, "(unnamed)"),
        method: method.to_owned(),
        template,
    }
}

/// The path of a URL; a path as it is.
fn path_of(url: &str) -> &str {
    match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => url,
    }
}

/// HTTP status of the request; 0 where it tells none.
fn status(span: &Span<'_>) -> u16 {
    let value = ["http.response.status_code", "http.status_code"]
        .iter()
        .find_map(|key| span.attributes.iter().find(|a| a.key == *key)?.value.as_int());
    value.and_then(|n| u16::try_from(n).ok()).filter(|n| (100..600).contains(n)).unwrap_or(0)
}

/// Tells where a kept folder is.
pub fn announce(imported: &Imported) {
    if imported.is_kept() {
        say(&format!("Kept as {}.", imported.dir.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::analyze::{Means, analyze_folder};

    fn message(service: &str, span: u64, parent: u64, kind: u8, name: &str) -> String {
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},
            "scopeSpans":[{{"spans":[{{"traceId":"0123456789abcdef0123456789abcdef","spanId":"{span:016x}",
            "parentSpanId":"{parent:016x}","name":"{name}","kind":{kind},"startTimeUnixNano":"{}",
            "endTimeUnixNano":"{}"}}]}}]}}]}}"#,
            1_000_000_000 + span * 1_000_000,
            1_050_000_000 - span * 1_000_000
        )
    }

    #[test]
    fn a_collection_is_analysed_by_its_root_spans_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("collect");
        let mut run = describe(std::slice::from_ref(&home), "collect", "c".to_owned());
        run.sources.from_traces = false;
        run.state = RunState::Running;
        let mut writer = RunWriter::create(&home, &run).unwrap();
        assert!(!is_collection(&RunReader::open(&home).unwrap()), "nothing was collected yet");
        for text in [message("shop", 1, 0, 2, "GET /cart"), message("shop", 2, 1, 1, "price")] {
            writer.append_spans(Encoding::Json, text.as_bytes(), 1).unwrap();
        }
        writer.flush().unwrap();
        let reader = RunReader::open(&home).unwrap();
        assert!(is_collection(&reader));
        let imported = import_collection(&reader, None).unwrap();
        let analyzed = analyze_folder(&imported.dir, &Means::default()).unwrap();
        let report = analyzed.report();
        assert_eq!((report.run.steps.len(), &*report.run.steps[0].name), (1, "GET /cart"));
        let telemetry = &report.analysis.telemetry;
        assert_eq!((telemetry.exchanges, telemetry.joined, telemetry.spans), (1, 1, 2));
        let made = imported.dir.clone();
        drop(imported);
        assert!(!made.exists() && is_collection(&RunReader::open(&home).unwrap()));
        let kept = import_collection(&reader, Some(dir.path())).unwrap();
        assert!(kept.is_kept() && kept.dir.starts_with(dir.path()));
        assert!(!is_collection(&RunReader::open(&kept.dir).unwrap()), "it has exchanges now");
    }
}
