//! Searching a backend for traces where no run tells which there are: by service, operation, length and time.
//!
//! Backends answer a search with so many traces and do not say which they left out, so a stretch of time with more than one
//! answer holds is divided, newest first, until none is full or there are as many traces as were wanted. Jaeger and Zipkin
//! answer with whole traces; Tempo and ClickHouse with ids, which are then asked for as those of a run are.

use super::backend::Names;
use super::client::Refusal;
use super::queries::{self, Found, Services};
use super::source::Kind;
use super::{Fetch, FetchDoing, State, decode};
use crate::record::{Nanos, Timestamp, TraceId};
use std::collections::HashMap;

/// Traces of one answer.
const DEPTH: usize = 1_000;
/// Traces of one answer where a stretch cannot be divided any further.
pub(super) const DEPTH_MAX: usize = 32_000;
/// A full stretch is divided into so many.
const PIECES: u64 = 4;
/// Stretches are not divided below this: Tempo's times are in seconds.
const SHORTEST: Nanos = Nanos::from_millis(1_000);
/// Pieces overlap by this part of their length at least: a trace across a cut is in neither for some of Jaeger's stores,
/// which want it whole within a stretch.
const OVERLAP: u64 = 8;
/// What Jaeger calls itself; where there is anything else, its own requests are not what was meant.
const JAEGER_ITSELF: [&str; 3] = ["jaeger", "jaeger-query", "jaeger-all-in-one"];

/// What to search for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSearch {
    /// Traces with a span of this service.
    pub service: Option<String>,
    /// Traces with a span of this name.
    pub operation: Option<String>,
    /// Traces at least so long (for Jaeger: with a span so long).
    pub min_duration: Option<Nanos>,
    /// Traces at most so long.
    pub max_duration: Option<Nanos>,
    /// Tempo alone: TraceQL in place of all these.
    pub traceql: Option<String>,
    /// Traces wanted at most, those that are known already included.
    pub limit: u64,
    /// Times that are to be searched, the next one last.
    pub stretches: Vec<Stretch>,
}

/// A stretch of time, of one service where the backend wants a service named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// From this moment.
    pub from: Timestamp,
    /// To this moment.
    pub to: Timestamp,
    /// The service that is searched for; all that there are where none is named.
    pub service: Option<String>,
    /// Only traces with a span so long: those that a cut in time may have missed.
    pub at_least: Option<Nanos>,
}

impl Stretch {
    fn length(&self) -> Nanos {
        self.to.since(self.from)
    }

    /// Whether its pieces would be shorter than itself.
    fn is_divisible(&self) -> bool {
        let piece = self.length().0 / PIECES;
        piece >= SHORTEST.0 && 2 * self.at_least.unwrap_or_default().0 <= piece
    }

    /// Its pieces, the oldest first, with what could fall between them in front: traces longer than the overlap. Where these
    /// are divided in turn the overlap is twice as long, so that in the end there are none.
    fn divided(&self, kind: Kind) -> Vec<Stretch> {
        let piece = self.length().0 / PIECES;
        let mut pieces = Vec::new();
        let overlap = match kind {
            Kind::Jaeger | Kind::JaegerGrpc => {
                Nanos((piece / OVERLAP).max(2 * self.at_least.unwrap_or_default().0))
            }
            Kind::Tempo | Kind::Zipkin | Kind::ClickHouse => Nanos::ZERO,
        };
        if overlap > Nanos::ZERO {
            pieces.push(Stretch { at_least: Some(overlap), ..self.clone() });
        }
        for n in 0..PIECES {
            let from = self.from + Nanos(piece * n);
            let to = if n + 1 == PIECES { self.to } else { from + Nanos(piece) + overlap };
            pieces.push(Stretch { from, to: to.min(self.to), ..self.clone() });
        }
        pieces
    }
}

/// How a search ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchEnd {
    /// There are more traces than were wanted.
    pub more: bool,
    /// Times that were not searched to the end: because there were enough traces, because of a failure, or because the user
    /// stopped it. A search for these goes on where this one ended.
    pub left: Vec<Stretch>,
    /// Whether a request failed for good.
    pub failed: bool,
    /// Services that the backend knows, where it was asked.
    pub services: Vec<String>,
}

/// What one question brought.
enum Page {
    /// So many traces.
    Of(usize),
    /// It is too much for one answer.
    TooMuch,
    /// The backend does not look for so many.
    TooDeep,
    Failed,
}

impl Fetch<'_> {
    /// Searches; what is found is among the traces afterwards.
    pub(super) async fn find(&mut self, search: &TraceSearch) {
        let kind = self.backend.kind;
        let mut stack = search.stretches.clone();
        if matches!(kind, Kind::Jaeger | Kind::JaegerGrpc) {
            match self.with_services(search, &stack).await {
                Ok(stretches) => stack = stretches,
                Err(problem) => return self.give_up(stack, problem),
            }
        }
        let mut quota = (None, search.limit);
        while let Some(stretch) = stack.pop() {
            if self.stopped {
                stack.push(stretch);
                break;
            }
            let taken = self.traces.len() as u64;
            if quota.0.as_ref() != Some(&stretch.service) {
                quota = (Some(stretch.service.clone()), share(search.limit, taken, &stretch, &stack));
            }
            let room = usize::try_from(quota.1.saturating_sub(taken)).unwrap_or(usize::MAX);
            if room == 0 {
                self.end.more = true;
                self.end.left.push(stretch);
                continue;
            }
            self.search_stretch(search, stretch, room, &mut stack).await;
        }
        // The next one last, as it is for a search.
        self.end.left.reverse();
        stack.append(&mut self.end.left);
        self.end.left = stack;
        if self.traces.is_empty() && !self.end.failed && self.end.services.is_empty() {
            self.end.services = self.ask_services().await.map(|s| s.0).unwrap_or_default();
        }
    }

    fn give_up(&mut self, left: Vec<Stretch>, problem: String) {
        self.facts.problem = Some(problem);
        self.end.failed = true;
        self.end.left = left;
    }

    /// One stretch: taken, divided, or asked again with a longer answer.
    async fn search_stretch(
        &mut self,
        search: &TraceSearch,
        stretch: Stretch,
        room: usize,
        stack: &mut Vec<Stretch>,
    ) {
        let kind = self.backend.kind;
        // ClickHouse gives ids alone and in order: there is nothing to divide.
        let most = if kind == Kind::ClickHouse { usize::MAX } else { DEPTH.min(self.depth_max) };
        // What an earlier search has found is among the answers and takes no room.
        let known = self.plan.have.len();
        let mut depth = most.min(room.saturating_add(known));
        loop {
            let divisible = stretch.is_divisible();
            let enough = depth >= room;
            // What is divided is asked for again in pieces, so nothing of it is kept.
            let page = self.page(search, &stretch, depth, enough || !divisible).await;
            match page {
                Page::Of(n) if n < depth => return,
                Page::Of(_) if enough => {
                    self.end.more = true;
                    self.end.left.push(stretch);
                    return;
                }
                Page::Of(_) | Page::TooMuch if divisible => {
                    stack.extend(stretch.divided(kind));
                    return;
                }
                Page::Of(_) if depth < self.depth_max => depth = (depth * 8).min(self.depth_max),
                Page::TooMuch if depth > 1 => depth /= 4,
                Page::TooDeep if depth > 1 => {
                    depth /= 2;
                    self.depth_max = depth;
                }
                Page::Of(_) => {
                    self.end.more = true;
                    return;
                }
                Page::TooMuch | Page::TooDeep | Page::Failed => {
                    self.end.failed = true;
                    self.end.left.push(stretch);
                    return;
                }
            }
            if self.stopped {
                self.end.left.push(stretch);
                return;
            }
        }
    }

    /// Asks once. A full answer is taken only where it is to be.
    async fn page(&mut self, search: &TraceSearch, stretch: &Stretch, depth: usize, take_full: bool) -> Page {
        let kind = self.backend.kind;
        let mut again = true;
        let body = loop {
            let ask = queries::search(&self.backend, search, stretch, depth, self.names);
            let answer = self.client.ask(&self.backend, &ask).await;
            self.facts.requests += 1 + answer.retries;
            self.facts.retries += answer.retries;
            match answer.result {
                Ok(body) => break body,
                // Jaeger's way to say that it found none; the others give an empty list.
                Err(Refusal::NotFound) if matches!(kind, Kind::Jaeger | Kind::JaegerGrpc) => {
                    return Page::Of(0);
                }
                Err(Refusal::NotFound) => {
                    self.facts.problem = Some("HTTP status 404: it has no search at that path".into());
                    return Page::Failed;
                }
                Err(Refusal::TooLarge) => return Page::TooMuch,
                Err(Refusal::Forbidden(why)) => {
                    self.stopped = true;
                    self.facts.problem =
                        Some(format!("{why}; give credentials with --traces-header or in the URL"));
                    return Page::Failed;
                }
                // A store in memory refuses to look for more traces than it can hold.
                Err(Refusal::Failed(why)) if why.contains("search depth") && depth > 16 => {
                    return Page::TooDeep;
                }
                // The same question with the parameters' older names.
                Err(Refusal::Failed(_)) if again && self.names == Names::Camel && kind == Kind::Jaeger => {
                    (again, self.names) = (false, Names::Snake);
                }
                Err(Refusal::Failed(why)) => {
                    self.facts.problem = Some(why);
                    return Page::Failed;
                }
            }
        };
        match self.take_page(body, stretch, depth, take_full) {
            Ok(n) => {
                self.progress(FetchDoing::Searching);
                Page::Of(n)
            }
            Err(problem) => {
                self.facts.problem = Some(problem);
                Page::Failed
            }
        }
    }

    /// Notes the traces of an answer, with their spans where it has them; how many there are.
    fn take_page(
        &mut self,
        body: Vec<u8>,
        stretch: &Stretch,
        depth: usize,
        full: bool,
    ) -> Result<usize, String> {
        let now = self.plan.now;
        match queries::read(self.backend.kind, body)? {
            Found::Ids(ids) => {
                let n = ids.len();
                if n < depth || full {
                    for (trace, ended) in ids {
                        let state = State { ended: ended.unwrap_or(stretch.to), spans: 0, settled: false };
                        self.traces.entry(trace).or_insert(state);
                    }
                    self.facts.asked = self.traces.len() as u64;
                }
                Ok(n)
            }
            Found::Traces(body) => {
                let decoded = decode(body)?;
                let n = decoded.spans.len();
                if n < depth || full {
                    for (id, seen) in &decoded.spans {
                        let state = State { ended: seen.last, spans: 0, settled: false };
                        let state = self.traces.entry(*id).or_insert(state);
                        state.ended = state.ended.max(seen.last);
                    }
                    self.facts.asked = self.traces.len() as u64;
                    self.keep(&decoded)?;
                    let ids: Vec<TraceId> = decoded.spans.keys().copied().collect();
                    self.count(&ids, &decoded.spans, now);
                }
                Ok(n)
            }
        }
    }

    /// Stretches for each service, where one must be named and none is.
    async fn with_services(
        &mut self,
        search: &TraceSearch,
        stretches: &[Stretch],
    ) -> Result<Vec<Stretch>, String> {
        let Services(services) = self.ask_services().await?;
        self.end.services = services;
        let known = &self.end.services;
        if let Some(service) = &search.service {
            // An unknown one is not asked for: some stores would answer with an error that says less.
            let named = |s: &Stretch| Stretch { service: Some(service.clone()), ..s.clone() };
            let there = known.contains(service);
            return Ok(if there { stretches.iter().map(named).collect() } else { Vec::new() });
        }
        let others = |s: &&String| !JAEGER_ITSELF.contains(&s.as_str());
        let mut names: Vec<&String> = known.iter().filter(others).collect();
        if names.is_empty() {
            names = known.iter().collect();
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut out = Vec::new();
        for name in names {
            let of_name =
                stretches.iter().filter(|s| s.service.as_ref().is_none_or(|service| service == name));
            out.extend(of_name.map(|s| Stretch { service: Some(name.clone()), ..s.clone() }));
        }
        Ok(out)
    }

    /// The services that the backend knows; with a Jaeger it shows which API it has.
    async fn ask_services(&mut self) -> Result<Services, String> {
        let mut refusal = None;
        for ask in queries::services(&self.backend) {
            let answer = self.client.ask(&self.backend, &ask).await;
            self.facts.requests += 1 + answer.retries;
            self.facts.retries += answer.retries;
            match answer.result {
                Ok(body) => match queries::read_services(self.backend.kind, &body) {
                    Ok(services) => {
                        self.names = queries::names_of(&ask);
                        return Ok(services);
                    }
                    // The page of a Jaeger that has no such path.
                    Err(problem) => refusal = Some(problem),
                },
                Err(Refusal::Forbidden(why)) => {
                    self.stopped = true;
                    return Err(format!("{why}; give credentials with --traces-header or in the URL"));
                }
                Err(Refusal::Failed(why)) => return Err(why),
                Err(Refusal::NotFound | Refusal::TooLarge) => {}
            }
        }
        Err(refusal.unwrap_or_else(|| "it has no list of services; is this the right URL?".to_owned()))
    }
}

/// How many traces there may be when this service is done: with several services each has its share of what is left.
fn share(limit: u64, taken: u64, stretch: &Stretch, rest: &[Stretch]) -> u64 {
    let mut others: HashMap<&Option<String>, ()> = rest.iter().map(|s| (&s.service, ())).collect();
    others.insert(&stretch.service, ());
    taken + limit.saturating_sub(taken).div_ceil(others.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: u64, to: u64) -> Stretch {
        Stretch { from: Timestamp(from), to: Timestamp(to), service: None, at_least: None }
    }

    #[test]
    fn pieces_cover_the_whole_and_what_falls_between_them_is_asked_for() {
        let pieces = stretch(1_000, 4_200).divided(Kind::Tempo);
        let ends: Vec<(u64, u64)> = pieces.iter().map(|p| (p.from.0, p.to.0)).collect();
        assert_eq!(ends, [(1_000, 1_800), (1_800, 2_600), (2_600, 3_400), (3_400, 4_200)]);
        let pieces = stretch(1_000, 4_203).divided(Kind::JaegerGrpc);
        let seen: Vec<_> = pieces.iter().map(|p| (p.from.0, p.to.0, p.at_least.map(|d| d.0))).collect();
        assert_eq!(
            seen,
            [
                (1_000, 4_203, Some(100)),
                (1_000, 1_900, None),
                (1_800, 2_700, None),
                (2_600, 3_500, None),
                (3_400, 4_203, None)
            ]
        );
        // Long traces are divided with twice the overlap, and those that are longer still come in front.
        let long = Stretch { at_least: Some(Nanos(100)), ..stretch(1_000, 4_200) };
        let seen: Vec<_> =
            long.divided(Kind::Jaeger).iter().map(|p| (p.from.0, p.to.0, p.at_least.map(|d| d.0))).collect();
        assert_eq!(seen[..2], [(1_000, 4_200, Some(200)), (1_000, 2_000, Some(100))]);
        let second = 1_000_000_000;
        assert!(stretch(0, 4 * second).is_divisible() && !stretch(0, 3 * second).is_divisible());
        let long = |at_least| Stretch { at_least: Some(Nanos(at_least)), ..stretch(0, 4 * second) };
        assert!(long(second / 2).is_divisible() && !long(second).is_divisible());
    }

    #[test]
    fn services_share_what_is_left() {
        let of = |name: &str| Stretch { service: Some(name.into()), ..stretch(0, 1) };
        assert_eq!(share(100, 0, &of("a"), &[]), 100);
        assert_eq!(share(100, 0, &of("c"), &[of("a"), of("b"), of("b")]), 34);
        assert_eq!(share(100, 10, &of("b"), &[of("a")]), 55);
    }
}
