//! The one owner of the run folder while load runs: takes exchanges from the load threads and span batches from the
//! receiver, writes both, offers client spans and metrics to the exporter, and then waits for late spans with a visible
//! reason.
//!
//! Runs on a thread of its own because it writes files. When the folder cannot be written (a full disk) it says so, tells
//! the senders of spans, and asks the load to stop: going on without recording would measure nothing.

use super::analyst::{Analyst, Heard};
use super::gates::Gates;
use super::host;
use super::screen::Watched;
use super::search::Tally;
use crate::load::{LiveCounters, Stopper};
use crate::record::{Exchange, Run, Timestamp, WaitFacts};
use crate::traces::{
    Ack, Content, ExportConfig, ExportHandle, Incoming, JoinTracker, Keeper, LateSpanWait, ScrapeText,
    WaitPolicy, WaitStep,
};
use crate::ui::{Feed, Update};
use crate::wire::folder::RunWriter;
use crate::wire::otlp::{HistogramForm, LoadGauges, MetricsEncoder, SpanEncoder, Temporality, expose};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the folder is flushed, client spans are sent and the wait looks at its clock.
const TICK: Duration = Duration::from_millis(100);
/// How often the text for scrapers is made anew.
const SCRAPE_TEXT: Duration = Duration::from_secs(1);
/// How long the blame of the last exchanges may take.
const LAST_BLAME: Duration = Duration::from_secs(5);
/// Client spans of one export request: some 250 kB.
const EXPORT_BATCH: u64 = 1_024;

/// What the progress line reads while the recorder works.
#[derive(Debug, Default)]
pub struct RecorderLive {
    pub spans: AtomicU64,
    pub traced: AtomicU64,
    pub joined: AtomicU64,
    pub p95_ns: AtomicU64,
    /// Set by the user's second thoughts: do not wait for late spans.
    pub hurry: AtomicBool,
    /// What the wait for late spans waits for.
    pub waiting_for: Mutex<String>,
    /// What the doctor saw in the first exchanges: what blame will not be able to see.
    pub word: Mutex<Option<Vec<String>>>,
    /// Why a threshold has stopped the load, if one has.
    pub broken: Mutex<Option<String>>,
    /// The live screen, once it is shown.
    pub screen: OnceLock<Feed>,
}

/// What the recorder works with.
pub struct Recorder {
    pub writer: RunWriter,
    pub exchanges: mpsc::Receiver<Vec<Exchange>>,
    pub spans: mpsc::Receiver<Incoming>,
    pub export: Export,
    pub wait: WaitPolicy,
    /// Whether server spans are expected at all.
    pub expects_spans: bool,
    pub stopper: Stopper,
    pub counters: Arc<LiveCounters>,
    pub live: Arc<RecorderLive>,
    /// Blame while the run goes on; absent where no server spans are expected.
    pub analyst: Option<Analyst>,
    /// Counts for the search, where there is one.
    pub tally: Option<Arc<Tally>>,
    /// Thresholds that stop the load.
    pub gates: Gates,
    /// What is kept for the live screen, where there may be one.
    pub watched: Option<Watched>,
}

/// What the recorder found out.
pub struct Recorded {
    pub writer: RunWriter,
    pub wait: Option<WaitFacts>,
    /// Why the folder could not be written any more, with what was lost.
    pub problem: Option<String>,
    /// Spans that were lost after their sender had been told that they were stored.
    pub lost_after_ack: u64,
}

/// The way of client spans and metrics out of the run.
pub struct Export {
    handle: Option<ExportHandle>,
    spans: SpanEncoder,
    metrics: MetricsEncoder,
    metric_interval: Duration,
    metrics_sent: Instant,
    scrape: Option<Scrape>,
}

/// Metrics for scrapers: always cumulative and in explicit buckets, whatever is pushed.
struct Scrape {
    text: ScrapeText,
    metrics: MetricsEncoder,
    made: Instant,
}

impl Export {
    /// For `run`; without a handle nothing is encoded, without a text nothing is made ready for scrapers.
    pub fn new(
        run: &Run,
        config: &ExportConfig,
        handle: Option<ExportHandle>,
        scrape: Option<ScrapeText>,
    ) -> Export {
        let metrics = |temporality, form| {
            let mut metrics = MetricsEncoder::new(run, &config.resource, temporality, form);
            metrics.exemplars(config.exemplars);
            metrics
        };
        let scrape = scrape.map(|text| Scrape {
            text,
            metrics: metrics(Temporality::Cumulative, HistogramForm::Explicit),
            made: Instant::now(),
        });
        Export {
            handle,
            spans: SpanEncoder::new(run, &config.resource),
            metrics: metrics(config.temporality, config.histograms),
            metric_interval: config.metric_interval,
            metrics_sent: Instant::now(),
            scrape,
        }
    }

    /// Everybody who takes metrics.
    fn each_metrics(&mut self, f: impl Fn(&mut MetricsEncoder)) {
        if self.handle.as_ref().is_some_and(ExportHandle::takes_metrics) {
            f(&mut self.metrics);
        }
        if let Some(scrape) = &mut self.scrape {
            f(&mut scrape.metrics);
        }
    }

    fn take(&mut self, exchange: &Exchange) {
        self.each_metrics(|metrics| metrics.record(exchange));
        let Some(handle) = &self.handle else { return };
        if handle.takes_spans() && exchange.sampled && exchange.was_sent() {
            self.spans.push(exchange);
            if self.spans.len() >= EXPORT_BATCH {
                self.send_spans();
            }
        }
    }

    fn send_spans(&mut self) {
        if let (Some(handle), Some((bytes, count))) = (&self.handle, self.spans.take()) {
            handle.offer(bytes, count);
        }
    }

    fn tick(&mut self, counters: &LiveCounters, now: Timestamp, last: bool) {
        self.send_spans();
        let load = LoadGauges {
            users: u32::try_from(counters.users.load(Relaxed)).unwrap_or(u32::MAX),
            iterations: counters.iterations.load(Relaxed),
            in_flight: counters.in_flight.load(Relaxed),
            late: counters.late.load(Relaxed),
        };
        self.each_metrics(|metrics| metrics.load(load));
        let due = last || self.metrics_sent.elapsed() >= self.metric_interval;
        if let Some(handle) = self.handle.as_ref().filter(|handle| due && handle.takes_metrics()) {
            handle.offer_metrics(self.metrics.encode(now));
            self.metrics_sent = Instant::now();
        }
        if let Some(scrape) =
            self.scrape.as_mut().filter(|scrape| last || scrape.made.elapsed() >= SCRAPE_TEXT)
        {
            scrape.text.put(expose(&scrape.metrics.export(now)));
            scrape.made = Instant::now();
        }
    }
}

/// What a recorder keeps while it works.
struct Work {
    recorder: Recorder,
    clock: Clock,
    tracker: JoinTracker,
    keeper: Keeper,
    /// For the progress line alone: grows with the largest value, never with the number of requests.
    latencies: Histogram<u64>,
    problem: Option<String>,
    /// Whether a threshold has stopped the load.
    stopped: bool,
    /// Spans that could not be written …
    lost: u64,
    /// … and those among them whose senders were told.
    told_lost: u64,
}

/// Wall clock read once, then monotonic: a clock step must not end or prolong a wait.
struct Clock {
    anchor: Timestamp,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.anchor + crate::record::Nanos(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Recorder {
    /// Starts the thread. It ends when the channel of exchanges is closed and the wait for late spans is over.
    pub fn spawn(self) -> std::io::Result<std::thread::JoinHandle<anyhow::Result<Recorded>>> {
        std::thread::Builder::new().name("hotspan-recorder".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            let mut work = Work {
                recorder: self,
                clock: Clock { anchor: host::now(), since: Instant::now() },
                tracker: JoinTracker::new(),
                keeper: Keeper::default(),
                latencies: Histogram::new(2)?,
                problem: None,
                stopped: false,
                lost: 0,
                told_lost: 0,
            };
            let wait = runtime.block_on(work.run());
            Ok(work.finish(wait))
        })
    }
}

impl Work {
    async fn run(&mut self) -> Option<WaitFacts> {
        self.while_load_runs().await;
        let ended = self.clock.now();
        self.recorder.export.each_metrics(|metrics| metrics.ended(ended));
        self.recorder.export.tick(&self.recorder.counters, ended, true);
        if !self.recorder.expects_spans {
            return None;
        }
        let wait = self.wait_for_late_spans().await;
        if let Some(analyst) = self.recorder.analyst.take() {
            let patience = if self.recorder.live.hurry.load(Relaxed) { Duration::ZERO } else { LAST_BLAME };
            self.hear(analyst.finish(patience));
            self.recorder.export.tick(&self.recorder.counters, self.clock.now(), true);
        }
        Some(wait)
    }

    fn hear(&mut self, heard: Vec<Heard>) {
        for heard in heard {
            match heard {
                Heard::Blame(blame) => self.recorder.export.each_metrics(|metrics| {
                    blame.iter().for_each(|(step, categories)| metrics.blame(*step, categories));
                }),
                Heard::Divided(blame) => {
                    if let Some(feed) = self.recorder.live.screen.get() {
                        // Where it finds no place the next one will: the screen shows the last seconds alone.
                        let _ = feed.tell(Update::Blame(blame));
                    }
                }
                Heard::Word(word) => {
                    *self.recorder.live.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
                }
            }
        }
    }

    async fn while_load_runs(&mut self) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = self.recorder.exchanges.recv() => match batch {
                    Some(batch) => self.exchanges(&batch),
                    None => return,
                },
                Some(incoming) = self.recorder.spans.recv() => self.spans(incoming),
                _ = ticker.tick() => self.tick(),
            }
        }
    }

    async fn wait_for_late_spans(&mut self) -> WaitFacts {
        let wait = LateSpanWait::new(self.recorder.wait, self.clock.now());
        loop {
            let now = self.clock.now();
            if self.recorder.live.hurry.load(Relaxed) || self.problem.is_some() {
                return wait.interrupt(now, &self.tracker);
            }
            match wait.poll(now, &self.tracker) {
                WaitStep::Done(facts) => return facts,
                WaitStep::Wait { waiting, at_most } => {
                    *self.recorder.live.waiting_for.lock().unwrap_or_else(PoisonError::into_inner) =
                        waiting.to_string();
                    let patience = Duration::from_nanos(at_most.0).clamp(Duration::from_millis(1), TICK);
                    match tokio::time::timeout(patience, self.recorder.spans.recv()).await {
                        Ok(Some(incoming)) => self.spans(incoming),
                        Ok(None) => return wait.interrupt(self.clock.now(), &self.tracker),
                        Err(_) => self.tick(),
                    }
                }
            }
        }
    }

    fn exchanges(&mut self, batch: &[Exchange]) {
        if let Some(tally) = &self.recorder.tally {
            tally.take(batch);
        }
        if self.problem.is_none() {
            let result = self.recorder.writer.append_exchanges(batch);
            self.check(result);
        }
        for exchange in batch {
            if exchange.sampled && exchange.was_sent() && self.recorder.expects_spans {
                self.tracker.sent(exchange.trace_id, exchange.span_id);
            }
            // It resizes itself, so every u64 fits.
            let _ = self.latencies.record(exchange.corrected_latency().0);
            self.recorder.export.take(exchange);
            if let Some(analyst) = &mut self.recorder.analyst {
                analyst.exchange(exchange);
            }
            self.recorder.gates.take(exchange);
            if let Some(watched) = &mut self.recorder.watched {
                watched.take(exchange);
            }
        }
    }

    fn spans(&mut self, incoming: Incoming) {
        let mut answer = Ack::Dropped;
        if self.problem.is_none() {
            match self.keeper.keep(&mut self.recorder.writer, &incoming) {
                Ok(ack) => answer = ack,
                Err(error) => {
                    // Among what the error counts as lost is this message, whose sender is about to be told.
                    if let Content::Spans(scan) = &incoming.content {
                        self.told_lost += scan.valid();
                    }
                    self.check(Err(error));
                }
            }
        }
        if let (Ack::Stored { duplicates }, Content::Spans(scan)) = (answer, &incoming.content) {
            let now = self.clock.now();
            self.tracker.spans(scan, now);
            if let Some(analyst) = &mut self.recorder.analyst {
                analyst.spans(incoming.encoding, &incoming.bytes, scan, now);
            }
            self.recorder.live.spans.fetch_add(scan.valid() - duplicates.min(scan.valid()), Relaxed);
        }
        // A sender that gave up waiting is not told; the ledger counts by this answer, not by its arrival.
        let _ = incoming.ack.send(answer);
    }

    fn tick(&mut self) {
        if self.problem.is_none() {
            let result = self.recorder.writer.flush_if_due();
            self.check(result);
        }
        let heard = self.recorder.analyst.as_mut().map(Analyst::listen).unwrap_or_default();
        self.hear(heard);
        let now = self.clock.now();
        self.recorder.export.tick(&self.recorder.counters, now, false);
        self.watch_gates(now);
        let live = &self.recorder.live;
        live.traced.store(self.tracker.traced(), Relaxed);
        live.joined.store(self.tracker.joined(), Relaxed);
        live.p95_ns.store(self.latencies.value_at_quantile(0.95), Relaxed);
        if let (Some(watched), Some(feed)) = (&mut self.recorder.watched, live.screen.get()) {
            watched.tell(feed);
        }
    }

    fn watch_gates(&mut self, now: Timestamp) {
        if self.recorder.gates.is_empty() || self.stopped {
            return;
        }
        if let Some(why) = self.recorder.gates.broken(self.clock.anchor, now) {
            self.stopped = true;
            *self.recorder.live.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            self.recorder.stopper.drain();
        }
    }

    fn check(&mut self, result: Result<(), crate::wire::folder::FolderError>) {
        let Err(error) = result else { return };
        self.lost += error.lost().spans;
        if self.problem.is_none() {
            self.problem = Some(error.to_string());
            self.recorder.stopper.drain();
        }
    }

    fn finish(mut self, wait: Option<WaitFacts>) -> Recorded {
        let result = if self.problem.is_none() { self.recorder.writer.flush() } else { Ok(()) };
        self.check(result);
        let live = &self.recorder.live;
        live.traced.store(self.tracker.traced(), Relaxed);
        live.joined.store(self.tracker.joined(), Relaxed);
        Recorded {
            writer: self.recorder.writer,
            wait,
            problem: self.problem,
            lost_after_ack: self.lost.saturating_sub(self.told_lost),
        }
    }
}
