//! `hotspan collect`: the receiver alone. What comes in goes to a run folder (a new one when it has grown, if wanted) and
//! to where it is forwarded, until Ctrl-C or for a time; then the ledger is printed, which says what became of each span.
//!
//! Unlike a run, a collection does not end when the disk is full: senders are told to come back, and what is freed is
//! used again.

use super::args::{CollectArgs, LedgerFormat};
use super::exit::{self, Exit, say};
use super::host;
use super::live::Interrupts;
use super::progress::Progress;
use super::run::{
    LAST_EXPORTS, SPAN_MESSAGES, create_folder, forward_warning, receiver_config, runtime, start_forwarder,
};
use crate::record::{LoadFacts, ReceiverFacts, Run, RunState, SignalFacts};
use crate::traces::{Ack, Content, ForwardEnd, Incoming, Keeper, Receiver, install_crypto_provider};
use crate::wire::folder::{FolderError, RunWriter};
use anyhow::{Context, bail};
use std::collections::VecDeque;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the folder is flushed and the user's wishes are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &CollectArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let runtime = runtime()?;
    let forwarder = start_forwarder(&args.listen, &args.out)?;
    let (sink, messages) = mpsc::channel(SPAN_MESSAGES);
    let receiver = {
        let _entered = runtime.enter();
        Receiver::start(receiver_config(&args.listen, forwarder.as_ref())?, sink)?
    };
    let shared = Arc::new(Shared::default());
    let store = Store::create(args, shared.clone())?;
    let began = Instant::now();
    let interrupts = Interrupts::listen(&runtime);
    let mut progress = Progress::with(args.quiet, args.no_ui);
    announce(&receiver, args, &store.dir);
    let owner = std::thread::Builder::new()
        .name("hotspan-store".into())
        .spawn(move || store.run(messages))
        .context("cannot start the thread that writes")?;
    while interrupts.count() == 0
        && args.duration.is_none_or(|duration| began.elapsed() < duration)
        && !owner.is_finished()
    {
        std::thread::sleep(TICK);
        progress.tick(&shared.line(&receiver.facts(), began.elapsed()));
    }
    progress.clear();
    // The owner of the folder goes on answering until no request is under way.
    let mut facts = runtime.block_on(receiver.stop());
    let Ok(stored) = owner.join() else {
        bail!("the thread that writes failed; what it wrote is in {}", args.out.display())
    };
    let mut stored = stored?;
    let lost = stored.lost_after_ack.min(facts.spans_stored);
    facts.spans_stored -= lost;
    facts.spans_dropped += lost;
    let end = forwarder.map(|forwarder| {
        progress.tick("handing on the last spans …");
        runtime.block_on(forwarder.finish(LAST_EXPORTS))
    });
    progress.clear();
    if let Some(end) = &end {
        (facts.forwarded, facts.forward_dropped) = (end.forwarded, end.dropped);
        facts.forward_waiting = end.waiting;
        stored.run.warnings.extend(forward_warning(end));
    }
    stored.run.receiver = facts;
    stored.run.ended_at = Some(host::now());
    stored.run.state = RunState::Complete;
    let unwritten = stored.writer.finish(&stored.run).err();
    for problem in unwritten.iter().map(ToString::to_string).chain(stored.run.warnings.iter().cloned()) {
        say(&format!("hotspan: {problem}"));
    }
    let ledger = Ledger { facts, end, folders: stored.folders, elapsed: began.elapsed() };
    exit::print(&match args.format {
        LedgerFormat::Text => ledger.text(),
        LedgerFormat::Json => ledger.json(),
    })?;
    Ok(match (unwritten.is_some() || facts.spans_dropped > 0, args.duration) {
        (true, _) => Exit::CouldNotRun,
        (false, Some(duration)) if began.elapsed() < duration => Exit::Interrupted,
        (false, _) => Exit::Passed,
    })
}

fn announce(receiver: &Receiver, args: &CollectArgs, dir: &Path) {
    if args.quiet {
        return;
    }
    if let (Some(grpc), Some(http)) = (receiver.grpc_address(), receiver.http_address()) {
        let until = if args.duration.is_some() { "" } else { ", until Ctrl-C" };
        say(&format!(
            "Taking in spans, metrics and logs on {grpc} (OTLP/gRPC) and {http} (OTLP/HTTP) into {}{until}.",
            dir.display()
        ));
    }
}

/// What the progress line reads.
#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Shared {
    fn line(&self, facts: &ReceiverFacts, elapsed: Duration) -> String {
        let per_second = facts.spans_stored as f64 / elapsed.as_secs_f64().max(0.001);
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        format!(
            "{} spans ({per_second:.0}/s), {} data points, {} log records, {:.1} MB{}{}",
            facts.spans_stored,
            facts.metrics.stored,
            facts.logs.stored,
            self.bytes.load(Relaxed) as f64 / 1e6,
            if facts.spans_dropped > 0 {
                format!(", {} DROPPED", facts.spans_dropped)
            } else {
                String::new()
            },
            problem.map(|problem| format!("; {problem}")).unwrap_or_default()
        )
    }
}

/// The one owner of the run folder.
struct Store {
    out: PathBuf,
    rotate: Option<u64>,
    keep: Option<u32>,
    dir: PathBuf,
    run: Run,
    writer: RunWriter,
    /// Bytes of messages in the folder that is open.
    bytes: u64,
    keeper: Keeper,
    folders: VecDeque<PathBuf>,
    shared: Arc<Shared>,
    lost: u64,
    told_lost: u64,
}

/// What is left when no more can come.
struct Stored {
    run: Run,
    writer: RunWriter,
    folders: VecDeque<PathBuf>,
    lost_after_ack: u64,
}

impl Store {
    fn create(args: &CollectArgs, shared: Arc<Shared>) -> anyhow::Result<Store> {
        let (dir, writer, run) = create_folder(&args.out, describe())?;
        Ok(Store {
            out: args.out.clone(),
            rotate: args.rotate,
            keep: args.keep,
            folders: VecDeque::from([dir.clone()]),
            dir,
            run,
            writer,
            bytes: 0,
            keeper: Keeper::default(),
            shared,
            lost: 0,
            told_lost: 0,
        })
    }

    fn run(mut self, mut messages: mpsc::Receiver<Incoming>) -> anyhow::Result<Stored> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let mut ticker = tokio::time::interval(TICK);
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    message = messages.recv() => match message {
                        Some(message) => self.take(message),
                        None => break,
                    },
                    _ = ticker.tick() => {
                        let flushed = self.writer.flush_if_due();
                        self.check(flushed);
                    }
                }
            }
        });
        let flushed = self.writer.flush();
        self.check(flushed);
        Ok(Stored {
            run: self.run,
            writer: self.writer,
            folders: self.folders,
            lost_after_ack: self.lost.saturating_sub(self.told_lost),
        })
    }

    fn take(&mut self, message: Incoming) {
        let size = message.bytes.len() as u64;
        if self.rotate.is_some_and(|max| self.bytes > 0 && self.bytes + size > max) {
            self.rotate();
        }
        let answer = match self.keeper.keep(&mut self.writer, &message) {
            Ok(ack) => {
                self.bytes += size;
                self.shared.bytes.fetch_add(size, Relaxed);
                ack
            }
            Err(error) => {
                // Among what the error counts as lost is this message, whose sender is about to be told.
                if let Content::Spans(scan) = &message.content {
                    self.told_lost += scan.valid();
                }
                self.check(Err(error));
                Ack::Dropped
            }
        };
        // A sender that gave up waiting is not told; the ledger counts by this answer, not by its arrival.
        let _ = message.ack.send(answer);
    }

    fn check(&mut self, result: Result<(), FolderError>) {
        let problem = match result {
            Ok(()) => None,
            Err(error) => {
                self.lost += error.lost().spans;
                Some(error.to_string())
            }
        };
        *self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Ends this folder and begins the next. Where that cannot be done, this one goes on.
    fn rotate(&mut self) {
        let (dir, writer, run) = match create_folder(&self.out, describe()) {
            Ok(created) => created,
            Err(error) => {
                *self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(format!("{error:#}"));
                return;
            }
        };
        let old = std::mem::replace(&mut self.writer, writer);
        let ended = Run {
            ended_at: Some(host::now()),
            state: RunState::Complete,
            ..std::mem::replace(&mut self.run, run)
        };
        self.check(old.finish(&ended));
        self.folders.push_back(dir.clone());
        (self.dir, self.bytes) = (dir, 0);
        while self.keep.is_some_and(|keep| self.folders.len() > keep as usize) {
            if let Some(oldest) = self.folders.pop_front() {
                // What cannot be removed is the user's to remove; nothing depends on it.
                let _ = std::fs::remove_dir_all(oldest);
            }
        }
    }
}

/// A run without load.
fn describe() -> Run {
    let started_at = host::now();
    Run {
        id: format!("{}-collect", host::compact_utc(started_at)),
        name: "collect".to_owned(),
        started_at,
        ended_at: None,
        state: RunState::Running,
        target: String::new(),
        hotspan_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: host::git_commit(Path::new(".")),
        host: host::host(),
        scenario: String::new(),
        steps: Vec::new(),
        load: LoadFacts::default(),
        receiver: ReceiverFacts::default(),
        export: Default::default(),
        sources: Default::default(),
        wait: None,
        warnings: Vec::new(),
    }
}

/// What became of everything.
struct Ledger {
    facts: ReceiverFacts,
    end: Option<ForwardEnd>,
    folders: VecDeque<PathBuf>,
    elapsed: Duration,
}

impl Ledger {
    fn text(&self) -> String {
        let Ledger { facts, .. } = self;
        let mut out = format!(
            "spans        {} received = {} stored + {} rejected + {} dropped + {} duplicates{}\n",
            facts.spans_received,
            facts.spans_stored,
            facts.spans_rejected,
            facts.spans_dropped,
            facts.spans_duplicate,
            match facts.unaccounted() {
                0 => String::new(),
                unknown => format!(" + {unknown} UNKNOWN"),
            }
        );
        for (name, signal) in [("data points", &facts.metrics), ("log records", &facts.logs)] {
            if signal.requests > 0 {
                let SignalFacts { received, stored, dropped, .. } = signal;
                let _ = writeln!(out, "{name:12} {received} received = {stored} stored + {dropped} dropped");
            }
        }
        let requests = facts.requests + facts.metrics.requests + facts.logs.requests;
        let _ = writeln!(out, "requests     {requests}, and {} that were no OTLP", facts.bad_requests);
        if let Some(end) = &self.end {
            let ForwardEnd { forwarded, dropped, waiting, .. } = end;
            let _ =
                writeln!(out, "forwarded    {forwarded} spans, {dropped} dropped, {waiting} wait on disk");
        }
        for folder in &self.folders {
            let _ = writeln!(out, "folder       {}", folder.display());
        }
        out
    }

    fn json(&self) -> String {
        let Ledger { facts, end, folders, elapsed } = self;
        let signal = |facts: &SignalFacts| {
            serde_json::json!({
                "requests": facts.requests, "received": facts.received, "stored": facts.stored, "dropped": facts.dropped,
            })
        };
        let document = serde_json::json!({
            "schema": "hotspan.collect/1",
            "elapsed_s": elapsed.as_secs_f64(),
            "requests": facts.requests,
            "bad_requests": facts.bad_requests,
            "spans": {
                "received": facts.spans_received,
                "stored": facts.spans_stored,
                "rejected": facts.spans_rejected,
                "dropped": facts.spans_dropped,
                "dropped_at_end": facts.dropped_at_end,
                "duplicates": facts.spans_duplicate,
                "unknown": facts.unaccounted(),
            },
            "metrics": signal(&facts.metrics),
            "logs": signal(&facts.logs),
            "forward": end.as_ref().map(|end| serde_json::json!({
                "forwarded": end.forwarded, "dropped": end.dropped, "waiting": end.waiting, "last_error": end.last_error,
            })),
            "folders": folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>(),
        });
        format!("{document:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_shows_what_does_not_add_up() {
        let facts = ReceiverFacts {
            requests: 2,
            spans_received: 10,
            spans_stored: 5,
            spans_rejected: 1,
            spans_dropped: 1,
            spans_duplicate: 2,
            metrics: SignalFacts { requests: 1, received: 3, stored: 3, dropped: 0 },
            ..ReceiverFacts::default()
        };
        let mut ledger =
            Ledger { facts, end: None, folders: VecDeque::from(["runs/a".into()]), elapsed: Duration::ZERO };
        let text = ledger.text();
        assert!(
            text.contains("10 received = 5 stored + 1 rejected + 1 dropped + 2 duplicates + 1 UNKNOWN"),
            "{text}"
        );
        assert!(text.contains("data points  3 received = 3 stored + 0 dropped\n"), "{text}");
        assert!(text.contains("requests     3, and 0") && text.contains("folder       runs/a\n"), "{text}");
        ledger.facts.spans_stored = 6;
        assert!(!ledger.text().contains("UNKNOWN"));
        let json: serde_json::Value = serde_json::from_str(&ledger.json()).unwrap();
        assert_eq!((&json["spans"]["unknown"], &json["folders"][0]), (&0.into(), &"runs/a".into()));
    }
}
