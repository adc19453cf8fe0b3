//! Traces fetched from where they are stored: Jaeger, Tempo, Zipkin, ClickHouse.
//!
//! The ids of a run are known, for hotspan made them: so nothing is searched for that can be asked for by id, what is missing is
//! known, and a fetch that was stopped goes on where it was. Without a run they are found by a search ([`TraceSearch`]). Requests run side by side up to a bound that a backend of
//! ordinary size carries. Traces come late: they are asked for again until two rounds give the same or a deadline passes.

mod backend;
mod client;
mod grpc;
mod queries;
mod search;
mod source;

#[cfg(test)]
mod search_tests;

#[cfg(test)]
mod tests;

use crate::record::{FetchFacts, Nanos, Timestamp, TraceId};
use crate::wire::files::{self, Options};
use crate::wire::otlp;
use backend::{Dialect, Names, Period};
use client::{Answer, Client, Refusal};
pub use search::{SearchEnd, Stretch, TraceSearch};
use source::Kind;
pub use source::{Backend, TraceSource};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests under way at once.
const AT_ONCE: usize = 12;
/// Traces of one search; a window with more is divided.
const SEARCH_DEPTH: usize = 1_000;
/// A window is divided so often at most.
const DIVISIONS: u32 = 12;
/// Requests of a round that may fail for good, one after the other, before the round is given up.
const FAILURES: u64 = 8;

/// A trace to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub trace: TraceId,
    /// When its exchange ended: what ended long ago has arrived by now.
    pub ended: Timestamp,
}

/// What to fetch and how long to try.
#[derive(Clone, Debug)]
pub struct FetchPlan {
    /// The traces of the run, each once; of a search those that an earlier one has found and could not get.
    pub wanted: Vec<Wanted>,
    /// Traces that an earlier search has got, with the number of their spans.
    pub have: HashMap<TraceId, u64>,
    /// Traces to look for.
    pub search: Option<TraceSearch>,
    /// The run's id, which hotspan's own client spans carry; absent where they were not exported.
    pub run_id: Option<String>,
    /// The run's time.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The moment at which the fetch begins.
    pub now: Timestamp,
    /// Pause between two rounds. Services export every five seconds by default.
    pub pause: Duration,
    /// No new round begins after this long.
    pub deadline: Duration,
    /// What ended so long before a round is complete if it is there at all.
    pub settled_after: Nanos,
}

/// How a fetch goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Traces asked for.
    pub asked: u64,
    /// Traces of which something has come.
    pub found: u64,
    /// Spans that have come.
    pub spans: u64,
    /// What it does now.
    pub doing: FetchDoing,
}

/// What a fetch does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchDoing {
    /// Looks for traces.
    Searching,
    /// Gets those that are known.
    #[default]
    Getting,
    /// Waits for late ones.
    Waiting,
}

/// What a fetch gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The account.
    pub facts: FetchFacts,
    /// Traces of which nothing came, in the order of their time.
    pub missing: Vec<Wanted>,
    /// How the search ended, if there was one.
    pub search: SearchEnd,
}

/// What takes in what comes, and hears how it goes.
pub trait FetchSink {
    /// An OTLP trace message in protobuf with so many spans. An error ends the fetch.
    fn message(&mut self, bytes: &[u8], spans: u64) -> Result<(), String>;
    /// How it goes; true to stop.
    fn progress(&mut self, progress: FetchProgress) -> bool;
}

/// Fetches traces. Never fails as a whole: the facts tell what came and why the rest did not.
pub async fn fetch(backend: &Backend, plan: &FetchPlan, sink: &mut dyn FetchSink) -> Fetched {
    match Client::new(backend) {
        Ok(client) => fetch_with(client, backend, plan, sink).await,
        Err(problem) => Fetched {
            facts: FetchFacts {
                source: backend.shown().to_owned(),
                asked: plan.wanted.len() as u64,
                problem: Some(problem),
                ..FetchFacts::default()
            },
            missing: plan.wanted.clone(),
            search: SearchEnd { failed: true, ..SearchEnd::default() },
        },
    }
}

async fn fetch_with(
    client: Client,
    backend: &Backend,
    plan: &FetchPlan,
    sink: &mut dyn FetchSink,
) -> Fetched {
    let began = Instant::now();
    let mut fetch = Fetch {
        client,
        backend: Arc::new(backend.clone()),
        dialect: Arc::default(),
        plan,
        sink,
        traces: plan
            .wanted
            .iter()
            .map(|w| (w.trace, State { ended: w.ended, spans: 0, settled: false }))
            .chain(
                plan.have
                    .iter()
                    .map(|(id, n)| (*id, State { ended: Timestamp(0), spans: *n, settled: true })),
            )
            .collect(),
        facts: FetchFacts {
            source: backend.shown().to_owned(),
            asked: (plan.wanted.len() + plan.have.len()) as u64,
            found: plan.have.len() as u64,
            ..FetchFacts::default()
        },
        stopped: false,
        cut: BTreeMap::new(),
        end: SearchEnd::default(),
        names: Names::Camel,
        depth_max: search::DEPTH_MAX,
    };
    if let Some(search) = &plan.search {
        fetch.find(search).await;
    }
    fetch.rounds(began).await;
    fetch.facts.partial = fetch.cut.len() as u64;
    fetch.facts.partial_reason = fetch.cut.first_key_value().map(|(_, why)| why.clone());
    fetch.facts.took = Nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let gone = fetch.traces.iter().filter(|(_, state)| state.spans == 0);
    let mut missing: Vec<Wanted> =
        gone.map(|(id, state)| Wanted { trace: *id, ended: state.ended }).collect();
    missing.sort_unstable_by_key(|w| (w.ended, w.trace));
    Fetched { facts: fetch.facts, missing, search: fetch.end }
}

/// What is known of one trace.
#[derive(Clone, Copy, Debug)]
struct State {
    ended: Timestamp,
    /// Spans that the last answer had.
    spans: u64,
    /// Not asked for again.
    settled: bool,
}

struct Fetch<'f> {
    client: Client,
    backend: Arc<Backend>,
    dialect: Arc<Dialect>,
    plan: &'f FetchPlan,
    sink: &'f mut dyn FetchSink,
    traces: HashMap<TraceId, State>,
    facts: FetchFacts,
    stopped: bool,
    /// Traces of which the backend gave a part and said so, with its words.
    cut: BTreeMap<TraceId, String>,
    /// How the search went.
    end: SearchEnd,
    /// How the backend writes the names of its parameters, as far as is known.
    names: Names,
    /// Traces that it looks for at once at most, as far as is known.
    depth_max: usize,
}

/// What one answer has of a trace.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    spans: u64,
    /// When its last span began.
    last: Timestamp,
}

/// The spans of one answer: OTLP messages, and what there is of each trace.
struct Decoded {
    messages: Vec<(Vec<u8>, u64)>,
    spans: HashMap<TraceId, Seen>,
}

impl Fetch<'_> {
    async fn rounds(&mut self, began: Instant) {
        let period = Period { from: self.plan.from, to: self.plan.to };
        if let Some(run_id) = self.plan.run_id.clone() {
            self.search(&run_id, period).await;
        }
        let mut first = true;
        loop {
            let asked_at = self.plan.now.0 + u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let changed = self.round(period, Timestamp(asked_at)).await | std::mem::take(&mut first);
            let open = self.traces.values().any(|t| !t.settled);
            // The first round has nothing to agree with, unless all that it asked for is old.
            let last = self.traces.values().filter(|t| !t.settled).map(|t| t.ended).max();
            let last = if self.plan.search.is_some() { last.unwrap_or_default() } else { self.plan.to };
            let late = asked_at.saturating_sub(last.0) > self.plan.settled_after.0;
            let agreed = !changed || late;
            if self.stopped || !open || agreed || began.elapsed() + self.plan.pause > self.plan.deadline {
                return;
            }
            self.pause().await;
        }
    }

    fn progress(&mut self, doing: FetchDoing) {
        let FetchFacts { asked, found, spans, .. } = self.facts;
        self.stopped |= self.sink.progress(FetchProgress { asked, found, spans, doing });
    }

    async fn pause(&mut self) {
        let until = Instant::now() + self.plan.pause;
        while !self.stopped && Instant::now() < until {
            let step = (until - Instant::now()).min(Duration::from_millis(100));
            tokio::time::sleep(step).await;
            self.progress(FetchDoing::Waiting);
        }
    }

    /// Asks once for everything that is not settled; whether anything was there that was not before.
    async fn round(&mut self, period: Period, asked_at: Timestamp) -> bool {
        let mut open: Vec<(Timestamp, TraceId)> =
            self.traces.iter().filter(|(_, t)| !t.settled).map(|(id, t)| (t.ended, *id)).collect();
        open.sort_unstable();
        let mut changed = false;
        let mut chunks = open.chunks(backend::ids_per_request(self.backend.kind));
        let (mut running, mut failures) = (JoinSet::new(), 0);
        loop {
            while running.len() < AT_ONCE && failures < FAILURES && !self.stopped {
                let Some(chunk) = chunks.next() else { break };
                let ids: Vec<TraceId> = chunk.iter().map(|(_, id)| *id).collect();
                let (client, backend, dialect) =
                    (self.client.clone(), self.backend.clone(), self.dialect.clone());
                running.spawn(async move {
                    let (answer, requests) = backend::by_id(&client, &backend, &dialect, &ids, period).await;
                    (ids, answer, requests)
                });
            }
            let Some(done) = running.join_next().await else { break };
            // A task that panicked is a fault of hotspan's: its ids stay missing.
            let Ok((ids, answer, requests)) = done else { continue };
            self.facts.requests += requests + answer.retries;
            self.facts.retries += answer.retries;
            match self.take(answer) {
                Ok(Some(spans)) => {
                    failures = 0;
                    changed |= self.count(&ids, &spans, asked_at);
                }
                Ok(None) => failures = 0,
                Err(problem) => {
                    failures += 1;
                    self.facts.problem = Some(problem);
                }
            }
            self.progress(FetchDoing::Getting);
        }
        changed
    }

    /// Hands on what an answer holds; what there is of each trace, `None` where nothing was found.
    fn take(&mut self, answer: Answer) -> Result<Option<HashMap<TraceId, Seen>>, String> {
        let body = match answer.result {
            Ok(body) => body,
            Err(Refusal::NotFound) => return Ok(None),
            Err(Refusal::Forbidden(why)) => {
                self.stopped = true;
                return Err(format!("{why}; give credentials with --traces-header or in the URL"));
            }
            Err(Refusal::TooLarge) => {
                return Err(format!("an answer is larger than {} MiB", client::BODY_MAX >> 20));
            }
            Err(Refusal::Failed(why)) => return Err(why),
        };
        let cut = if self.backend.kind == Kind::Tempo { backend::cut_short(&body) } else { None };
        let decoded = decode(body)?;
        for id in decoded.spans.keys() {
            match &cut {
                Some(why) => drop(self.cut.insert(*id, why.clone())),
                None => drop(self.cut.remove(id)),
            }
        }
        self.keep(&decoded)?;
        Ok(Some(decoded.spans))
    }

    /// Hands on the messages of an answer in which something is new. What was there before came before: only answers that
    /// have grown are kept again, and the analysis counts each span once.
    fn keep(&mut self, decoded: &Decoded) -> Result<(), String> {
        let grown =
            decoded.spans.iter().any(|(id, seen)| self.traces.get(id).is_some_and(|t| seen.spans > t.spans));
        if grown {
            for (bytes, spans) in &decoded.messages {
                if let Err(problem) = self.sink.message(bytes, *spans) {
                    self.stopped = true;
                    return Err(problem);
                }
                self.facts.spans += spans;
            }
        }
        Ok(())
    }

    /// Keeps count of what came for these ids; whether that is more than before.
    fn count(&mut self, ids: &[TraceId], seen: &HashMap<TraceId, Seen>, asked_at: Timestamp) -> bool {
        let mut changed = false;
        for id in ids {
            let (Some(state), Some(Seen { spans, .. })) = (self.traces.get_mut(id), seen.get(id)) else {
                continue;
            };
            self.facts.found += u64::from(state.spans == 0);
            // The same twice, or long since over: complete.
            let old = asked_at.since(state.ended) > self.plan.settled_after;
            state.settled = old || (*spans == state.spans);
            changed |= *spans > state.spans;
            state.spans = state.spans.max(*spans);
        }
        changed
    }

    /// All traces that carry the run's id, in as many windows as it takes; then only the rest is asked for by id.
    async fn search(&mut self, run_id: &str, whole: Period) {
        let mut windows = vec![(whole, DIVISIONS)];
        let mut names = backend::Names::Camel;
        while let Some((window, divisions)) = windows.pop() {
            let Some(ask) = backend::search(&self.backend, "hotspan", run_id, window, SEARCH_DEPTH, names)
            else {
                return;
            };
            let answer = self.client.ask(&self.backend, &ask).await;
            self.facts.requests += 1 + answer.retries;
            self.facts.retries += answer.retries;
            // A backend that cannot search is asked by id; why it cannot is no problem of the run's.
            let Ok(Some(spans)) = self.take(answer) else {
                if self.stopped || names == backend::Names::Snake {
                    return;
                }
                names = backend::Names::Snake;
                windows.push((window, divisions));
                continue;
            };
            let middle = Timestamp(window.from.0 / 2 + window.to.0 / 2);
            if spans.len() >= SEARCH_DEPTH && divisions > 0 && window.from < middle && middle < window.to {
                windows.push((Period { from: window.from, to: middle }, divisions - 1));
                windows.push((Period { from: middle, to: window.to }, divisions - 1));
            }
            let ids: Vec<TraceId> = spans.keys().copied().collect();
            self.count(&ids, &spans, self.plan.now);
            self.progress(FetchDoing::Getting);
            if self.stopped {
                return;
            }
        }
    }
}

/// Reads an answer in whatever format it is.
fn decode(body: Vec<u8>) -> Result<Decoded, String> {
    let mut decoded = Decoded { messages: Vec::new(), spans: HashMap::new() };
    let report = files::read_bytes(body, &Options::default(), &mut |message, spans| {
        let keys = otlp::scan(message, &mut |key| {
            let seen: &mut Seen = decoded.spans.entry(key.trace_id).or_default();
            seen.spans += 1;
            seen.last = seen.last.max(key.start);
        });
        if keys.is_ok() {
            decoded.messages.push((message.to_vec(), spans));
        }
        true
    });
    match report {
        None => Err("the backend's answer is in no format that hotspan knows; is this the right URL?".into()),
        Some(report) if report.spans == 0 && report.broken > 0 => {
            let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("the backend's answer could not be read: {first}"))
        }
        Some(_) => Ok(decoded),
    }
}
