//! One exchange: from a step made ready to the complete record of what came of it.

mod over;
mod redirect;

use self::redirect::redirected;
use super::cache::Found;
use super::check::{Answer, KEPT_BODY, Measured, look};
use super::connection::Connection;
use super::decode::{Bounds, decode};
use super::flight::Ended;
use super::plan::{CallPlan, Made, StepPlan};
use super::pool::Slot;
use super::render::Scope;
use super::seat::Seat;
use super::thread::Thread;
use crate::record::{
    Exchange, Failure, FailureClass, Nanos, Outcome, Phases, Protocol, StepId, Threshold, Timestamp, TraceId,
    retry_after,
};
use crate::scenario::{Caching, Redirects};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, Method};
use rand::rngs::SmallRng;
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const MOST_SERVER_TIMING: usize = 1_024;
/// Starting later than this after its due time makes an exchange count as late.
const LATE: Nanos = Nanos::from_millis(5);

/// Who walks, and what the walk has gathered so far.
pub struct Walk<'a> {
    /// Index of the iteration of its user.
    pub iteration: u32,
    /// Variables by slot.
    pub variables: Vec<Value>,
    /// The data row.
    pub row: Option<super::render::Row<'a>>,
    /// The iteration's random numbers.
    pub random: SmallRng,
    /// The iteration's trace, where one trace covers it.
    pub trace: Option<WalkTrace>,
}

/// A trace that covers a walk.
#[derive(Clone, Copy)]
pub struct WalkTrace {
    id: TraceId,
    sampled: bool,
    threshold: Threshold,
    /// The step that its requests are counted under.
    step: StepId,
}

impl WalkTrace {
    /// A new one, for a walk that begins with `step`.
    pub fn new(thread: &Thread, step: StepId, now: Timestamp) -> WalkTrace {
        let id = thread.ids.borrow_mut().trace(now);
        let (sampled, threshold) = thread.sampler.decide(&id, usize::from(step.0), now);
        WalkTrace { id, sampled, threshold, step }
    }
}

/// How a step ended.
pub struct StepEnd {
    /// When.
    pub at: Timestamp,
    /// Whether the walk can go on.
    pub went: Went,
    /// Whether it was answered but not as expected: a wrong status, or a check that does not hold.
    pub flawed: bool,
    /// How long the server asks to wait before the request is made again.
    pub come_back: Nanos,
}

impl StepEnd {
    /// An end that is no answer.
    pub fn without_answer(at: Timestamp, went: Went) -> StepEnd {
        StepEnd { at, went, flawed: false, come_back: Nanos::ZERO }
    }
}

/// Whether a walk can go on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Answered, and all that later steps need is there.
    On,
    /// Answered, but a value that later steps need is missing.
    Lacking,
    /// Not answered.
    Failed,
    /// Not even sent: the load is over.
    Over,
}

/// An answer: this exchange's own, or one that the user's cache keeps too.
enum Kept {
    Own(Answer),
    Shared(Rc<Answer>),
}

/// Sends a step's request, follows where it is redirected if it shall, and records each exchange.
pub async fn step(
    thread: &Thread,
    seat: &mut Seat,
    walk: &mut Walk<'_>,
    id: StepId,
    intended: Timestamp,
) -> StepEnd {
    let index = usize::from(id.0);
    let (plan, step) = (&thread.plans[index], &thread.scenario.steps[index]);
    let permit = match seat.connections {
        super::seat::Connections::Own(_) => None,
        _ => match thread.pool.permit().await {
            Some(permit) => Some(permit),
            None => return not_sent(thread, seat.user, walk.iteration, id, intended),
        },
    };
    while thread.outbox.is_stuffed() && !thread.is_stopping() {
        // Whoever keeps the exchanges is slower than they are made. Waiting shows as schedule delay, which is true.
        thread.count(|c| c.stalls += 1);
        thread.timer.sleep_until(thread.clock.now() + Nanos::from_millis(5)).await;
    }
    let start = thread.clock.now().max(intended);
    let mut attempt = Attempt {
        thread,
        plan,
        id,
        timeout: step.timeout,
        first_byte: step.first_byte,
        waited: Cell::new(false),
        intended,
        start,
        method: &plan.method,
        redirected: false,
    };
    let mut filled = None;
    if plan.ready().is_none() {
        let scope = Scope {
            variables: &walk.variables,
            row: walk.row.as_ref(),
            user: seat.user,
            iteration: walk.iteration,
            now: start,
            locale: thread.scenario.locale,
        };
        match plan.make(&scope, &mut walk.random) {
            Ok(made) => filled = Some(made),
            Err(why) => return attempt.unmade(seat, walk, &why),
        }
    }
    // What can be cached is made anew each time, see `StepPlan::ready`.
    let mut cache_key = None;
    if let Some(made) = filled.as_mut().filter(|_| step.cache == Caching::AsBrowser) {
        let key = (plan.endpoint, made.path.to_string());
        if let Some(end) = ask_cache(thread, seat, walk, id, made, &key, start) {
            return end;
        }
        cache_key = Some(key);
    }
    let Some(first) = filled.as_ref().or(plan.ready()) else {
        return attempt.unmade(seat, walk, "there is no request");
    };
    if let CallPlan::WebSocket(talk) = &plan.call {
        return Box::pin(super::websocket::step(&attempt, talk, seat, walk, first)).await;
    }
    let mut elsewhere: Option<Made> = None;
    let get = Method::GET;
    let most_hops = if let Redirects::Follow(most) = step.redirects { most } else { 0 };
    for hop in 0..=most_hops {
        let made = elsewhere.as_ref().unwrap_or(first);
        let mut exchange = attempt.blank(seat, walk, Arc::clone(&made.url));
        let answer = attempt.exchange(seat, made, &mut exchange).await;
        let at = exchange.phases.end;
        let Some(answer) = answer else {
            record(thread, exchange);
            return StepEnd::without_answer(at, Went::Failed);
        };
        if most_hops > 0
            && let Some((next, as_get)) = redirected(&thread.scenario, plan, made, attempt.method, &answer)
        {
            if hop == most_hops {
                return left_in_a_circle(thread, exchange, answer.status, most_hops);
            }
            exchange.followed = true;
            record(thread, exchange);
            // The next request must not wait until the thread wakes for something else.
            thread.timer.stay_awake();
            elsewhere = Some(next);
            attempt.redirected = true;
            attempt.method = if as_get { &get } else { attempt.method };
            (attempt.intended, attempt.start) = (at, thread.clock.now().max(at));
            continue;
        }
        let latency = exchange.corrected_latency();
        let kept = match &cache_key {
            Some(key) => attempt.keep(seat, made, key, answer, at),
            None => Kept::Own(answer),
        };
        let measured = Measured { latency, bytes: exchange.bytes_received, now: at };
        let answer = match &kept {
            Kept::Own(answer) => answer,
            Kept::Shared(answer) => answer,
        };
        let verdict = look(
            step,
            answer,
            measured,
            walk,
            (seat.user, thread.scenario.locale),
            &mut thread.words.borrow_mut(),
        );
        let flawed = !verdict.failed.is_empty();
        exchange.checks_failed = verdict.failed;
        record_here(thread, exchange);
        drop(permit);
        let come_back = if flawed { come_back(&answer.headers) } else { Nanos::ZERO };
        return StepEnd { at, went: if verdict.lacks { Went::Lacking } else { Went::On }, flawed, come_back };
    }
    StepEnd::without_answer(attempt.start, Went::Failed)
}

/// A circle of redirects that is left in the middle is no answer.
fn left_in_a_circle(thread: &Thread, mut exchange: Exchange, status: u16, most_hops: u8) -> StepEnd {
    let words = format!("more than {most_hops} redirects one after the other (follow)");
    let failure = thread.words.borrow_mut().failure(FailureClass::InvalidResponse, &words);
    exchange.outcome = Outcome::Failed { failure, status: Some(status) };
    let at = exchange.phases.end;
    record(thread, exchange);
    StepEnd::without_answer(at, Went::Failed)
}

/// Looks into the user's cache: ends the step with a fresh answer, or adds the validators of a stale one to the request.
fn ask_cache(
    thread: &Thread,
    seat: &Seat,
    walk: &mut Walk,
    id: StepId,
    made: &mut Made,
    key: &super::cache::Key,
    now: Timestamp,
) -> Option<StepEnd> {
    let index = usize::from(id.0);
    let (plan, step) = (&thread.plans[index], &thread.scenario.steps[index]);
    if plan.method != Method::GET {
        return None;
    }
    let cookies = seat.cookies.header(&made.url);
    let field = |name: &HeaderName| if *name == COOKIE { cookies.clone() } else { plan.field(made, name) };
    match seat.cache.find(key, field, now, plan.keeps_body) {
        Found::Nothing => None,
        Found::Stale(fields) => {
            made.extend(fields);
            None
        }
        Found::Fresh(answer) => {
            thread.count(|c| c.cached += 1);
            let measured = Measured { latency: Nanos::ZERO, bytes: answer.body.len() as u64, now };
            let who = (seat.user, thread.scenario.locale);
            let verdict = look(step, &answer, measured, walk, who, &mut thread.words.borrow_mut());
            let went = if verdict.lacks { Went::Lacking } else { Went::On };
            Some(StepEnd { at: now, went, flawed: !verdict.failed.is_empty(), come_back: Nanos::ZERO })
        }
    }
}

/// Records that a request was due and never sent, because the load ended first.
pub fn not_sent(thread: &Thread, user: u32, iteration: u32, id: StepId, intended: Timestamp) -> StepEnd {
    let now = thread.clock.now().max(intended);
    let failure = thread
        .words
        .borrow_mut()
        .failure(FailureClass::NotSent, "the load ended before a connection was free");
    let mut ids = thread.ids.borrow_mut();
    let exchange = Exchange {
        trace_id: ids.trace(now),
        span_id: ids.span(),
        sampled: false,
        threshold: Threshold::ALWAYS,
        step: id,
        user,
        iteration,
        intended,
        phases: Phases { start: now, end: now, ..Phases::default() },
        outcome: Outcome::Failed { failure, status: None },
        checks_failed: Vec::new(),
        bytes_sent: 0,
        bytes_received: 0,
        bytes_decoded: None,
        followed: false,
        connection_reused: false,
        protocol: Protocol::Http1,
        url: thread.plans[usize::from(id.0)].shown_url(),
        server_timing: None,
        messages: None,
    };
    drop(ids);
    thread.count(|c| c.not_sent += 1);
    record(thread, exchange);
    StepEnd::without_answer(now, Went::Over)
}

/// Counts an exchange and hands it on.
#[inline(never)]
pub fn record(thread: &Thread, exchange: Exchange) {
    record_here(thread, exchange);
}

/// As [`record`], for the one place that nearly all exchanges come by.
#[inline(always)]
fn record_here(thread: &Thread, exchange: Exchange) {
    thread.outbox.push(exchange, |exchange| {
        thread.count(|c| {
            c.done += 1;
            c.sent += u64::from(exchange.was_sent());
            c.errors += u64::from(exchange.is_error());
            c.checks_failed += u64::from(!exchange.checks_failed.is_empty());
            c.late += u64::from(exchange.schedule_delay() > LATE);
            c.bytes_received += exchange.bytes_received;
        });
    });
}

/// One request under way.
pub struct Attempt<'a> {
    pub thread: &'a Thread,
    pub plan: &'a StepPlan,
    id: StepId,
    pub timeout: Nanos,
    first_byte: Option<Nanos>,
    /// Whether it had to wait for a connection that users share.
    waited: Cell<bool>,
    intended: Timestamp,
    pub start: Timestamp,
    method: &'a Method,
    /// Whether an answer has pointed here, so that the step's own request is not what is sent.
    redirected: bool,
}

/// What became of a request over one connection.
pub enum Tried {
    Answered(Answer),
    Failed(Failure, Option<u16>),
    /// A connection that was open for long is dead, and nothing of an answer had come: another may be tried.
    Stale,
}

impl Attempt<'_> {
    /// The answer to a request that a browser's cache knows: kept in the user's, or a reason to forget what is kept there.
    fn keep(
        &self,
        seat: &mut Seat,
        made: &Made,
        key: &(usize, String),
        answer: Answer,
        at: Timestamp,
    ) -> Kept {
        if !self.redirected && self.plan.method == Method::GET {
            let cookies = seat.cookies.header(&made.url);
            let field = |name: &HeaderName| {
                if *name == COOKIE { cookies.clone() } else { self.plan.field(made, name) }
            };
            return Kept::Shared(seat.cache.take_in(key.clone(), field, answer, at, self.plan.keeps_body));
        }
        if !self.plan.method.is_safe() && answer.status < 400 {
            seat.cache.drop_entry(key);
        }
        Kept::Own(answer)
    }

    /// A record of this request before anything has happened.
    pub fn blank(&self, seat: &Seat, walk: &Walk, url: Arc<str>) -> Exchange {
        let trace = walk.trace.unwrap_or_else(|| WalkTrace::new(self.thread, self.id, self.intended));
        self.thread.sampler.count(usize::from(trace.step.0));
        let mut ids = self.thread.ids.borrow_mut();
        Exchange {
            trace_id: trace.id,
            span_id: ids.span(),
            sampled: trace.sampled,
            threshold: trace.threshold,
            step: self.id,
            user: seat.user,
            iteration: walk.iteration,
            intended: self.intended,
            phases: Phases { start: self.start, end: self.start, ..Phases::default() },
            outcome: Outcome::Answered(0),
            checks_failed: Vec::new(),
            bytes_sent: 0,
            bytes_received: 0,
            bytes_decoded: None,
            followed: false,
            connection_reused: false,
            protocol: Protocol::Http1,
            url,
            server_timing: None,
            messages: None,
        }
    }

    /// Index of its step.
    pub fn index(&self) -> usize {
        usize::from(self.id.0)
    }

    /// Records that no request could be made.
    fn unmade(&self, seat: &Seat, walk: &Walk, why: &str) -> StepEnd {
        let failure = self.thread.words.borrow_mut().failure(FailureClass::Template, why);
        let blank = self.blank(seat, walk, self.plan.shown_url());
        record(self.thread, Exchange { outcome: Outcome::Failed { failure, status: None }, ..blank });
        StepEnd::without_answer(self.start, Went::Failed)
    }

    /// Sends, waits, reads. The answer is there exactly when the outcome is an answer.
    async fn exchange(&self, seat: &mut Seat, made: &Made, exchange: &mut Exchange) -> Option<Answer> {
        let thread = self.thread;
        thread.count(|c| {
            c.in_flight += 1;
            c.most_in_flight = c.most_in_flight.max(c.in_flight);
        });
        let answer = self.attempts(seat, made, exchange).await;
        thread.count(|c| c.in_flight -= 1);
        match answer {
            Some(answer) if self.plan.decodes && answer.headers.contains_key(CONTENT_ENCODING) => {
                self.decoded(answer, exchange)
            }
            Some(answer) => {
                if self.plan.offers_compression && is_plain_text(&answer) {
                    exchange.bytes_decoded = Some(exchange.bytes_received);
                }
                Some(answer)
            }
            None => {
                exchange.phases.end = thread.clock.now();
                None
            }
        }
    }

    /// The answer with its body decompressed. The exchange has ended: this takes nobody's time.
    fn decoded(&self, mut answer: Answer, exchange: &mut Exchange) -> Option<Answer> {
        let mut codings = String::new();
        for value in answer.headers.get_all(CONTENT_ENCODING) {
            codings.push_str(&String::from_utf8_lossy(value.as_bytes()));
            codings.push(',');
        }
        let bounds = Bounds {
            keep: if self.plan.keeps_body { KEPT_BODY } else { 0 },
            most: self.plan.most_decoded,
            is_cut: exchange.bytes_received > answer.body.len() as u64,
        };
        match decode(codings.trim_end_matches(','), &answer.body, bounds) {
            Ok(None) => Some(answer),
            Ok(Some(decoded)) => {
                exchange.bytes_decoded = decoded.size;
                answer.body = decoded.kept;
                Some(answer)
            }
            Err(why) => {
                let failure = self.thread.words.borrow_mut().failure(FailureClass::InvalidResponse, &why);
                exchange.outcome = Outcome::Failed { failure, status: Some(answer.status) };
                None
            }
        }
    }

    /// A connection to an endpoint whose connections all users share, or the right to open one.
    async fn of_shared(&self, seat: &mut Seat, endpoint: usize) -> Result<Result<Connection, Slot>, Failure> {
        let (thread, pool) = (self.thread, &self.thread.pool);
        let limit = thread.scenario.timeouts.connect;
        seat.flight.begin(thread.clock.now() + limit);
        let found = loop {
            if let Some(connection) = seat.connections.take(endpoint, pool, thread.clock.told()) {
                break Ok(Ok(connection));
            }
            if let Some(slot) = pool.slot(endpoint) {
                break Ok(Err(slot));
            }
            if pool.is_closed() {
                break Err((
                    FailureClass::NotSent,
                    "the load ended before a connection was free".to_string(),
                ));
            }
            self.waited.set(true);
            match seat.flight.guard(pool.freed(endpoint)).await {
                Ok(()) => {}
                Err(Ended::Cancelled) => {
                    break Err((FailureClass::Cancelled, "the run was stopped".to_string()));
                }
                Err(Ended::TimedOut) => {
                    let words =
                        format!("none of the shared connections was free within {limit} (http.connections)");
                    break Err((FailureClass::ConnectTimeout, words));
                }
            }
        };
        seat.flight.finish();
        found.map_err(|(class, words)| thread.words.borrow_mut().failure(class, &words))
    }

    async fn attempts(&self, seat: &mut Seat, made: &Made, exchange: &mut Exchange) -> Option<Answer> {
        let endpoint = made.endpoint(self.plan);
        let mut slot = None;
        let mut open = seat.connections.take(endpoint, &self.thread.pool, self.start);
        for _ in 0..2 {
            if open.is_none() && slot.is_none() && self.thread.pool.is_limited(endpoint) {
                match Box::pin(self.of_shared(seat, endpoint)).await {
                    Ok(Ok(connection)) => open = Some(connection),
                    Ok(Err(free)) => slot = Some(free),
                    Err(failure) => return ended(Tried::Failed(failure, None), exchange),
                }
            }
            let Some(connection) = open.take() else { break };
            exchange.connection_reused = true;
            match self.over(seat, connection, made, exchange).await {
                Tried::Stale => exchange.connection_reused = false,
                tried => return ended(tried, exchange),
            }
        }
        let phases = &mut exchange.phases;
        let listening = self.thread.timer.listening();
        let dialed = self.thread.dialer.dial(endpoint, slot, &seat.flight, phases, &self.thread.words).await;
        drop(listening);
        let connection = match dialed {
            Ok(connection) => connection,
            Err(failure) => {
                (phases.sent, exchange.bytes_sent) = (None, 0);
                return ended(Tried::Failed(failure, None), exchange);
            }
        };
        self.thread.count(|c| c.connections += 1);
        if !connection.is_stamped() {
            self.thread.timer.stay_awake();
        }
        seat.connections.opened(endpoint, &connection, &self.thread.pool);
        let tried = self.over(seat, connection, made, exchange).await;
        ended(tried, exchange)
    }

    async fn over(
        &self,
        seat: &mut Seat,
        connection: Connection,
        made: &Made,
        exchange: &mut Exchange,
    ) -> Tried {
        exchange.protocol = connection.protocol();
        // What is rarer than a request is boxed, so that users who send requests need no room for it.
        match (connection, &self.plan.call) {
            (Connection::Http1(connection), CallPlan::Events(until)) => {
                Box::pin(super::events::over_http1(self, until, seat, *connection, made, exchange)).await
            }
            (Connection::Http1(connection), _) => self.over_http1(seat, connection, made, exchange).await,
            (Connection::Http2(connection), CallPlan::Events(until)) => {
                Box::pin(super::events::over_http2(self, until, seat, connection, made, exchange)).await
            }
            (Connection::Http2(connection), CallPlan::Grpc(rpc)) => {
                Box::pin(super::grpc::over(self, rpc, seat, connection, made, exchange)).await
            }
            (Connection::Http2(connection), _) => self.over_http2(seat, connection, made, exchange).await,
        }
    }
}

/// Whether an answer is a text that came as it is. Pictures, archives and fonts are compressed in themselves.
fn is_plain_text(answer: &Answer) -> bool {
    let coding = answer.headers.get(CONTENT_ENCODING).map_or(&b"identity"[..], |value| value.as_bytes());
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    coding.eq_ignore_ascii_case(b"identity") && is_text(kind)
}

/// Whether a media type is one of texts.
fn is_text(media_type: &str) -> bool {
    const TEXTS: [&str; 7] = [
        "application/json",
        "application/javascript",
        "application/x-javascript",
        "application/xml",
        "application/graphql",
        "application/x-ndjson",
        "image/svg",
    ];
    let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let stream = name == "text/event-stream";
    let text = name.starts_with("text/") || name.ends_with("+json") || name.ends_with("+xml");
    (text || TEXTS.iter().any(|text| name.starts_with(text))) && !stream
}

/// The exchange's outcome, and the answer if there is one.
pub fn ended(tried: Tried, exchange: &mut Exchange) -> Option<Answer> {
    match tried {
        Tried::Answered(answer) => {
            exchange.outcome = Outcome::Answered(answer.status);
            Some(answer)
        }
        Tried::Failed(failure, status) => {
            exchange.outcome = Outcome::Failed { failure, status };
            None
        }
        // A connection that was just opened is never called stale.
        Tried::Stale => None,
    }
}

/// How long an answer asks to wait before the next request.
fn come_back(headers: &HeaderMap) -> Nanos {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|value| retry_after(value, SystemTime::now())).unwrap_or_default();
    Nanos(u64::try_from(asked.as_nanos()).unwrap_or(u64::MAX))
}

/// The server's own account of its time; several headers are one list.
pub fn server_timing(headers: &HeaderMap) -> Option<Arc<str>> {
    let first = headers.get(SERVER_TIMING)?;
    let mut text = String::from_utf8_lossy(first.as_bytes()).into_owned();
    for more in headers.get_all(SERVER_TIMING).iter().skip(1) {
        text.push_str(", ");
        text.push_str(&String::from_utf8_lossy(more.as_bytes()));
    }
    if text.len() > MOST_SERVER_TIMING {
        let end = (0..=MOST_SERVER_TIMING).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    Some(text.into())
}
