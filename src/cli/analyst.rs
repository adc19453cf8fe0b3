//! Blame while the run goes on, from a sample of the exchanges: for `hotspan.blame`, for the live screen, and for the doctor's
//! brief word on what the report will not be able to see. A thread of its own with a short, bounded way in; where it cannot keep up it
//! starts afresh with a smaller sample. Nothing waits for it, and the report never reads from it.

use crate::analysis::doctor::{self, Exam, Probe};
use crate::analysis::result::Category;
use crate::analysis::{Analyzer, Partial, Partition};
use crate::record::{Exchange, KeptSpan, Nanos, Run, StepId, Timestamp, TraceId};
use crate::ui::StepBlame;
use crate::wire::otlp::{Encoding, ScanResult};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Exchanges of the sample for each second, about: blame of fifty a second is a steady line in a graph.
const PER_SECOND: u64 = 50;
/// Messages that may wait for the thread.
const WAITING: usize = 256;
/// So many exchanges tell their rate: the sample of a fast load must not be all of its first second.
const ENOUGH: u64 = 256;
/// Spans kept at once; some 40 MB.
const SPANS_MAX: usize = 40_000;
/// An exchange is looked at this long after its end at the latest: SDKs export every 5 s.
const RIPE: Nanos = Nanos::from_millis(9_000);
/// One with spans is looked at sooner where spans come sooner: after twice the longest way that a span was seen to take,
/// and this.
const RIPE_MARGIN: Nanos = Nanos::from_millis(1_500);
/// How often ripe exchanges are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Exchanges that the doctor looks at, and how many it waits for where some steps are not among them: what calls a service makes
/// is not to be told from a few of its pages.
const EXAMINED: usize = 40;
const EXAMINED_MAX: usize = 400;
/// Spans of them from which on it waits no longer.
const EXAMINED_SPANS: usize = 20_000;

/// Blame of one exchange: its step, and seconds by category.
pub type LiveBlame = (StepId, Vec<(&'static str, f64)>);

enum Told {
    Exchange(Box<Exchange>),
    Spans(Encoding, Bytes, Timestamp),
    /// Something was lost, or the sample changes: what is half known is worth nothing.
    Afresh(u64),
    /// The spans of this run have all come.
    End,
}

/// What comes back.
pub enum Heard {
    Blame(Vec<LiveBlame>),
    /// The same for the live screen: by step and contributor.
    Divided(Vec<StepBlame>),
    /// The doctor's sentences.
    Word(Vec<String>),
}

/// The recorder's end.
pub struct Analyst {
    tell: SyncSender<Told>,
    hear: Receiver<Heard>,
    /// One trace in so many is in the sample.
    one_in: u64,
    lost: bool,
    exchanges: u64,
    since: Instant,
}

impl Analyst {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(run: &Run, watched: bool) -> std::io::Result<Analyst> {
        let (tell, told) = sync_channel(WAITING);
        let (answer, hear) = sync_channel(WAITING);
        let work = Work {
            run: run.clone(),
            answer,
            watched,
            way: Nanos::ZERO,
            one_in: 1,
            now: Timestamp(0),
            exchanges: Vec::new(),
            spans: HashMap::new(),
            kept: 0,
            examined: Some(Exam { sent: run.load.propagation, ..Exam::default() }),
            examined_steps: BTreeSet::new(),
        };
        std::thread::Builder::new().name("hotspan-analyst".into()).spawn(move || work.run(&told))?;
        Ok(Analyst { tell, hear, one_in: 1, lost: false, exchanges: 0, since: Instant::now() })
    }

    /// An exchange ended.
    pub fn exchange(&mut self, exchange: &Exchange) {
        if !exchange.sampled || !exchange.was_sent() {
            return;
        }
        self.exchanges += 1;
        if self.exchanges == ENOUGH {
            self.fit();
        }
        if in_sample(&exchange.trace_id, self.one_in) {
            self.send(Told::Exchange(Box::new(exchange.clone())));
        }
    }

    /// Spans came.
    pub fn spans(&mut self, encoding: Encoding, bytes: &Bytes, scan: &ScanResult, at: Timestamp) {
        if scan.keys.iter().any(|key| in_sample(&key.trace_id, self.one_in)) {
            self.send(Told::Spans(encoding, bytes.clone(), at));
        }
    }

    /// What there is to hear. Also fits the sample to the rate; called several times a second.
    pub fn listen(&mut self) -> Vec<Heard> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.fit();
            (self.exchanges, self.since) = (0, Instant::now());
        }
        if self.lost && self.tell.try_send(Told::Afresh(self.one_in)).is_ok() {
            self.lost = false;
        }
        self.hear.try_iter().collect()
    }

    /// Fits the sample to the rate since `since`, taken over a tenth of a second at least: load comes in bursts.
    fn fit(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64().max(0.1);
        let per_second = (self.exchanges as f64 / seconds) as u64;
        let fitting = (per_second / PER_SECOND).max(1).next_power_of_two();
        // Only ever a smaller sample: a rate that swings must not start it afresh each time.
        if fitting > self.one_in {
            self.one_in = fitting;
            self.lost = true;
        }
    }

    /// Waits, at most `patience`, for the blame of the exchanges that are not ripe yet.
    pub fn finish(mut self, patience: Duration) -> Vec<Heard> {
        let mut heard = self.listen();
        drop(self.tell.send(Told::End));
        let end = Instant::now() + patience;
        while let Ok(more) = self.hear.recv_timeout(end.saturating_duration_since(Instant::now())) {
            heard.push(more);
        }
        heard
    }

    fn send(&mut self, what: Told) {
        // Between a loss and the fresh start everything is a loss.
        self.lost = self.lost || self.tell.try_send(what).is_err();
    }
}

/// Whether a trace is in the sample of one in so many (a power of two): the smaller sample lies within the larger.
fn in_sample(trace: &TraceId, one_in: u64) -> bool {
    Partition { index: 0, of: u32::try_from(one_in).unwrap_or(u32::MAX) }.holds(trace)
}

struct Work {
    run: Run,
    answer: SyncSender<Heard>,
    /// Whether there may be a live screen.
    watched: bool,
    /// Longest time that was seen between an exchange's end and the coming of a span of it.
    way: Nanos,
    one_in: u64,
    /// The latest moment that was heard of: the run's clock, not this thread's.
    now: Timestamp,
    exchanges: Vec<Exchange>,
    spans: HashMap<TraceId, Vec<(KeptSpan, Timestamp)>>,
    kept: usize,
    /// What the doctor will look at; `None` when it has.
    examined: Option<Exam>,
    /// The steps of it.
    examined_steps: BTreeSet<StepId>,
}

impl Work {
    fn run(mut self, told: &Receiver<Told>) {
        let mut looked = Instant::now();
        loop {
            match told.recv_timeout(LOOK) {
                Ok(Told::Exchange(exchange)) => {
                    self.now = self.now.max(exchange.phases.end);
                    self.exchanges.push(*exchange);
                }
                Ok(Told::Spans(encoding, bytes, at)) => self.spans(encoding, &bytes, at),
                Ok(Told::Afresh(one_in)) => self.afresh(one_in),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.look(true);
                    self.word();
                    return;
                }
            }
            if self.kept > SPANS_MAX {
                self.afresh(self.one_in);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look(false);
            }
        }
    }

    fn afresh(&mut self, one_in: u64) {
        self.one_in = one_in;
        self.exchanges.clear();
        self.spans.clear();
        self.kept = 0;
    }

    fn spans(&mut self, encoding: Encoding, bytes: &Bytes, at: Timestamp) {
        self.now = self.now.max(at);
        let (one_in, spans, kept) = (self.one_in, &mut self.spans, &mut self.kept);
        // Messages that cannot be read were never stored; the receiver has told their senders.
        let _ = encoding.for_each_span_where(bytes, &mut |trace| in_sample(&trace, one_in), &mut |span| {
            spans.entry(span.trace_id).or_default().push((KeptSpan::of(span), at));
            *kept += 1;
        });
    }

    /// Until when an exchange must have ended to be ripe: without spans, and with some.
    fn ripe_by(&mut self) -> (Timestamp, Timestamp) {
        for exchange in &self.exchanges {
            let last = self.spans.get(&exchange.trace_id).and_then(|spans| spans.last());
            let way = last.map_or(Nanos::ZERO, |(_, at)| at.since(exchange.phases.end));
            self.way = self.way.max(way);
        }
        let soon = (Nanos(2 * self.way.0) + RIPE_MARGIN).min(RIPE);
        (self.now - RIPE, self.now - soon)
    }

    /// Divides the latency of the exchanges that are ripe (at the end: of all), and forgets them.
    fn look(&mut self, all: bool) {
        let (bare, joined) = if all { (Timestamp(u64::MAX), Timestamp(u64::MAX)) } else { self.ripe_by() };
        let spans = &self.spans;
        let is_ripe =
            |e: &Exchange| e.phases.end <= bare || e.phases.end <= joined && spans.contains_key(&e.trace_id);
        let (ripe, rest) = std::mem::take(&mut self.exchanges).into_iter().partition(is_ripe);
        self.exchanges = rest;
        let ripe: Vec<Exchange> = ripe;
        if ripe.is_empty() {
            return;
        }
        let mut analyzer = Analyzer::new(&self.run, Partition::WHOLE);
        ripe.iter().for_each(|exchange| analyzer.exchange(exchange));
        let mut by_step: BTreeMap<StepId, StepBlame> = BTreeMap::new();
        for exchange in &ripe {
            let spans = self.spans.remove(&exchange.trace_id).unwrap_or_default();
            self.kept = self.kept.saturating_sub(spans.len());
            spans.iter().for_each(|(span, _)| span.lend(|span| analyzer.span(span)));
            let step = by_step.entry(exchange.step).or_insert_with(|| StepBlame::of(exchange.step));
            step.exchanges += exchange.weight();
            step.joined += if spans.is_empty() { 0 } else { exchange.weight() };
            self.examine(exchange, spans);
        }
        // Spans of traces that no exchange of the sample asked for (or that came too late).
        let too_old = self.now.0.saturating_sub(2 * RIPE.0);
        let mut kept = 0;
        self.spans.retain(|_, spans| {
            let keep = !all && spans.last().is_some_and(|(_, at)| at.0 > too_old);
            kept += if keep { spans.len() } else { 0 };
            keep
        });
        self.kept = kept;
        let mut blame = Vec::with_capacity(ripe.len());
        let share = analyzer.finish_each(&mut |number, categories| {
            let seconds = Category::ALL
                .into_iter()
                .map(|category| (category.name(), categories.get(category).as_secs_f64()))
                .filter(|(_, seconds)| *seconds > 0.0);
            if let Some(exchange) = ripe.get(number) {
                blame.push((exchange.step, seconds.collect()));
            }
        });
        let _ = self.answer.try_send(Heard::Blame(blame));
        if self.watched {
            let _ = self.answer.try_send(Heard::Divided(divided(by_step, &share)));
        }
    }

    fn examine(&mut self, exchange: &Exchange, spans: Vec<(KeptSpan, Timestamp)>) {
        // What was not answered may not have come to the service, or is not over there.
        let Some(exam) = self.examined.as_mut().filter(|_| exchange.status().is_some()) else { return };
        exam.probes.push(Probe::of(exchange));
        exam.spans.extend(spans);
        self.examined_steps.insert(exchange.step);
        let many = exam.spans.len() >= EXAMINED_SPANS;
        if is_enough(exam.probes.len(), self.examined_steps.len(), self.run.steps.len(), many) {
            self.word();
        }
    }

    /// The doctor's brief word, once.
    fn word(&mut self) {
        let Some(exam) = self.examined.take().filter(|exam| !exam.probes.is_empty()) else { return };
        let sentences = doctor::in_brief(&doctor::examine(&exam));
        let _ = self.answer.try_send(Heard::Word(sentences));
    }
}

/// Whether so many exchanges of so many of a run's steps show what its services record.
fn is_enough(exchanges: usize, of_steps: usize, steps: usize, many_spans: bool) -> bool {
    exchanges >= if of_steps < steps && !many_spans { EXAMINED_MAX } else { EXAMINED }
}

/// By step and contributor.
fn divided(mut by_step: BTreeMap<StepId, StepBlame>, share: &Partial) -> Vec<StepBlame> {
    for (step, who, calls, time) in share.owners() {
        if let Some(step) = by_step.get_mut(&step) {
            step.categories.add(who.category, time);
            step.contributors.push((who.clone(), calls, time));
        }
    }
    by_step.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_has_seen_each_step_before_it_says_what_is_not_recorded() {
        assert!(is_enough(40, 3, 3, false) && !is_enough(39, 3, 3, true));
        assert!(!is_enough(40, 2, 3, false) && !is_enough(399, 17, 18, false));
        // Neither a step that is hardly ever asked for nor large traces keep it from its word.
        assert!(is_enough(400, 17, 18, false) && is_enough(40, 2, 3, true));
    }

    #[test]
    fn the_smaller_sample_lies_within_the_larger() {
        for n in 0..2_000u128 {
            let trace = TraceId((n * 0x9E37_79B9_7F4A_7C15_1234_5678).to_be_bytes());
            for one_in in [2, 4, 64, 1_024] {
                assert!(!in_sample(&trace, one_in) || in_sample(&trace, one_in / 2));
            }
        }
    }
}
