//! One exchange: from a step made ready to the complete record of what came of it.

use super::cache::Found;
use super::check::{Answer, KEPT_BODY, Measured, look};
use super::connection::{Connection, Http2};
use super::content::{Content, length};
use super::decode::{Bounds, decode};
use super::flight::Ended;
use super::http1::{Asked, Body, Fault, Fields, Http1, NoAnswer, Outgoing, Prepared, Seen, write_request};
use super::plan::{Made, StepPlan, head_size};
use super::pool::Slot;
use super::render::Scope;
use super::seat::Seat;
use super::thread::Thread;
use super::words::{chain, of_exchange};
use crate::record::{
    Exchange, Failure, FailureClass, Nanos, Outcome, Phases, Protocol, StepId, Threshold, Timestamp,
    TraceContext, TraceId,
};
use crate::scenario::{Caching, Endpoint, Redirects, Scenario, masked_url};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, COOKIE, HeaderName, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use hyper::body::{Body as _, Incoming};
use rand::rngs::SmallRng;
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

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
        let id = thread.ids.borrow_mut().trace();
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
            return StepEnd { at, went: Went::Failed, flawed: false };
        };
        if most_hops > 0
            && let Some((next, as_get)) = redirected(&thread.scenario, plan, made, attempt.method, &answer)
        {
            if hop == most_hops {
                // A circle that is left in the middle is no answer.
                let words = format!("more than {most_hops} redirects one after the other (follow)");
                let failure = thread.words.borrow_mut().failure(FailureClass::InvalidResponse, &words);
                exchange.outcome = Outcome::Failed { failure, status: Some(answer.status) };
                record(thread, exchange);
                return StepEnd { at, went: Went::Failed, flawed: false };
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
        let answer: Kept = match &cache_key {
            Some(key) if !attempt.redirected && plan.method == Method::GET => {
                let cookies = seat.cookies.header(&made.url);
                let field = |name: &HeaderName| {
                    if *name == COOKIE { cookies.clone() } else { plan.field(made, name) }
                };
                Kept::Shared(seat.cache.take_in(key.clone(), field, answer, at, plan.keeps_body))
            }
            Some(key) if !plan.method.is_safe() && answer.status < 400 => {
                seat.cache.drop_entry(key);
                Kept::Own(answer)
            }
            _ => Kept::Own(answer),
        };
        let measured = Measured { latency, bytes: exchange.bytes_received, now: at };
        let answer = match &answer {
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
        record(thread, exchange);
        drop(permit);
        return StepEnd { at, went: if verdict.lacks { Went::Lacking } else { Went::On }, flawed };
    }
    StepEnd { at: attempt.start, went: Went::Failed, flawed: false }
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
            Some(StepEnd { at: now, went, flawed: !verdict.failed.is_empty() })
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
        trace_id: ids.trace(),
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
    };
    drop(ids);
    thread.count(|c| c.not_sent += 1);
    record(thread, exchange);
    StepEnd { at: now, went: Went::Over, flawed: false }
}

fn record(thread: &Thread, exchange: Exchange) {
    thread.count(|c| {
        c.done += 1;
        c.sent += u64::from(exchange.was_sent());
        c.errors += u64::from(exchange.is_error());
        c.checks_failed += u64::from(!exchange.checks_failed.is_empty());
        c.late += u64::from(exchange.schedule_delay() > LATE);
        c.bytes_received += exchange.bytes_received;
    });
    thread.outbox.push(exchange);
}

/// One request under way.
struct Attempt<'a> {
    thread: &'a Thread,
    plan: &'a StepPlan,
    id: StepId,
    timeout: Nanos,
    first_byte: Option<Nanos>,
    /// Whether it had to wait for a connection that users share.
    waited: Cell<bool>,
    intended: Timestamp,
    start: Timestamp,
    method: &'a Method,
    /// Whether an answer has pointed here, so that the step's own request is not what is sent.
    redirected: bool,
}

/// What became of a request over one connection.
enum Tried {
    Answered(Answer),
    Failed(Failure, Option<u16>),
    /// A connection that was open for long is dead, and nothing of an answer had come: another may be tried.
    Stale,
}

impl Attempt<'_> {
    /// A record of this request before anything has happened.
    fn blank(&self, seat: &Seat, walk: &Walk, url: Arc<str>) -> Exchange {
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
        }
    }

    /// Records that no request could be made.
    fn unmade(&self, seat: &Seat, walk: &Walk, why: &str) -> StepEnd {
        let failure = self.thread.words.borrow_mut().failure(FailureClass::Template, why);
        let blank = self.blank(seat, walk, self.plan.shown_url());
        record(self.thread, Exchange { outcome: Outcome::Failed { failure, status: None }, ..blank });
        StepEnd { at: self.start, went: Went::Failed, flawed: false }
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
            Some(answer) => Some(answer),
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
        match connection {
            Connection::Http1(connection) => self.over_http1(seat, connection, made, exchange).await,
            Connection::Http2(connection) => self.over_http2(seat, connection, made, exchange).await,
        }
    }

    /// Notes that the request is sent now, and begins its time limit.
    fn leaves(&self, seat: &Seat, exchange: &mut Exchange) {
        // With an open connection and nothing to fill in, no time has passed that a look at the clock would show.
        let sent = match exchange.connection_reused && self.plan.fixed && !self.waited.get() {
            true => self.start,
            false => self.thread.clock.now(),
        };
        exchange.phases.sent = Some(sent);
        seat.flight.begin(sent + self.first_limit());
    }

    /// How long to wait for the first byte.
    fn first_limit(&self) -> Nanos {
        self.first_byte.map_or(self.timeout, |first| first.min(self.timeout))
    }

    fn traceparent(exchange: &Exchange) -> [u8; TraceContext::LEN] {
        let Exchange { trace_id, span_id, sampled, .. } = *exchange;
        TraceContext { trace_id, span_id, sampled }.traceparent()
    }

    /// The request as hyper and [`write_request`] take it.
    fn request(&self, seat: &Seat, made: &Made, exchange: &Exchange, http2: bool) -> http::Request<Bytes> {
        let traceparent = HeaderValue::from_bytes(&Self::traceparent(exchange))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut request =
            self.plan.request(made, self.method, traceparent, seat.cookies.header(&made.url), http2);
        if exchange.sampled {
            // What is not sampled must not tell a threshold: nobody is to count it.
            let state = match exchange.threshold {
                Threshold::ALWAYS => HeaderValue::from_static("ot=th:0"),
                threshold => HeaderValue::try_from(threshold.to_string())
                    .unwrap_or_else(|_| HeaderValue::from_static("")),
            };
            request.headers_mut().insert(TRACESTATE, state);
        }
        request
    }

    async fn over_http1(
        &self,
        seat: &mut Seat,
        mut connection: Box<Http1>,
        made: &Made,
        exchange: &mut Exchange,
    ) -> Tried {
        let thread = self.thread;
        let keep = if self.plan.keeps_body || self.plan.decodes { KEPT_BODY } else { 0 };
        let most = self.plan.most_body;
        let mut seen = Seen { body: Body { keep, most, ..Body::default() }, ..Seen::default() };
        self.leaves(seat, exchange);
        seen.sent = exchange.phases.sent;
        let started = self.start_http1(seat, &mut connection, made, exchange, &mut seen);
        let answered = match started {
            Ok(outgoing) => {
                let outgoing =
                    if made.more.is_empty() { outgoing } else { outgoing.followed_by(made.more.clone()) };
                let asked = if *self.method == Method::HEAD { Asked::Head } else { Asked::Ordinary };
                let fields = if self.plan.keeps_fields { Fields::All } else { Fields::Few };
                let sent = exchange.phases.sent.filter(|_| self.first_byte.is_some());
                let limits = (&seat.flight, sent.map(|sent| sent + self.timeout));
                connection.finish(outgoing, (asked, fields), limits, &thread.clock, &mut seen).await
            }
            Err(unsent) => Err(unsent),
        };
        seat.flight.finish();
        exchange.bytes_sent = seen.written;
        exchange.bytes_received = seen.body.received;
        exchange.phases.first_byte = seen.status.and(seen.first_byte);
        if seen.leftovers {
            thread.count(|c| c.leftovers += 1);
        }
        if seen.in_pieces {
            // The next piece must not wait until the thread wakes for something else.
            thread.timer.stay_awake();
        }
        match answered {
            Ok(head) => {
                exchange.phases.end = seen.last_byte.unwrap_or_else(|| thread.clock.now());
                exchange.server_timing = thread.unseen(head.server_timing);
                seat.cookies.keep(&head.headers, &exchange.url);
                seat.connections.give(made.endpoint(self.plan), Connection::Http1(connection), &thread.pool);
                Tried::Answered(Answer { status: head.status, headers: head.headers, body: seen.body.kept })
            }
            Err(why) => self.unanswered(why, &seen, exchange),
        }
    }

    fn start_http1(
        &self,
        seat: &Seat,
        connection: &mut Http1,
        made: &Made,
        exchange: &Exchange,
        seen: &mut Seen,
    ) -> Result<Outgoing, NoAnswer> {
        let thread = self.thread;
        if self.plan.fixed && !self.redirected && seat.cookies.is_empty() {
            let mut prepared = thread.prepared.borrow_mut();
            if let Some(slots) = prepared.get_mut(usize::from(self.id.0)) {
                // One for those that are sampled, whose `tracestate` changes when the threshold does, and one for the others.
                let slot = &mut slots[usize::from(exchange.sampled)];
                let threshold = if exchange.sampled { exchange.threshold } else { Threshold::ALWAYS };
                if slot.as_ref().is_none_or(|(of, _)| *of != threshold) {
                    let made = Prepared::new(&self.request(seat, made, exchange, false));
                    *slot = made.map(|made| (threshold, made));
                }
                if let Some((_, prepared)) = slot {
                    let (head, body) = prepared.with(&Self::traceparent(exchange));
                    return connection.start(head, body, seen);
                }
            }
        }
        let mut head = thread.scratch.request.borrow_mut();
        head.clear();
        let body = write_request(&self.request(seat, made, exchange, false), &mut head);
        connection.start(&head, body, seen)
    }

    fn unanswered(&self, why: NoAnswer, seen: &Seen, exchange: &mut Exchange) -> Tried {
        let (fault, unsent) = match why {
            NoAnswer::Fault(fault) => (fault, false),
            NoAnswer::Unsent(fault) => (fault, true),
            NoAnswer::Ended(ended) => {
                let (class, words) = self.cut_short(ended, seen.status.is_some());
                (Fault { class, words: words.into() }, false)
            }
        };
        // Twice the same request is only for those that mean the same twice, unless the first never left.
        let silent = seen.first_byte.is_none() && fault.class == FailureClass::Reset;
        if exchange.connection_reused && (unsent || silent && self.plan.idempotent) {
            return Tried::Stale;
        }
        if unsent {
            exchange.phases.sent = None;
        }
        Tried::Failed(self.thread.words.borrow_mut().failure(fault.class, &fault.words), seen.status)
    }

    fn cut_short(&self, ended: Ended, head_seen: bool) -> (FailureClass, String) {
        match (ended, head_seen) {
            (Ended::Cancelled, _) => (FailureClass::Cancelled, "the run was stopped".to_string()),
            (Ended::TimedOut, false) => {
                (FailureClass::Timeout, format!("no answer within {}", self.first_limit()))
            }
            (Ended::TimedOut, true) => {
                (FailureClass::Timeout, format!("no end of the answer within {}", self.timeout))
            }
        }
    }

    async fn over_http2(
        &self,
        seat: &mut Seat,
        mut connection: Http2,
        made: &Made,
        exchange: &mut Exchange,
    ) -> Tried {
        let request = self.request(seat, made, exchange, true);
        exchange.bytes_sent = head_size(&request) + length(request.body(), &made.more);
        self.leaves(seat, exchange);
        connection.carries(exchange.phases.sent.unwrap_or(self.start));
        let request = request.map(|first| Content::new(first, made.more.clone()));
        let answer = connection.send(request, &seat.flight).await;
        let tried = match answer {
            Ok(Ok(response)) => self.receive(seat, response, exchange).await,
            Ok(Err(mut error)) => {
                let unsent = error.take_message().is_some();
                let class = of_exchange(error.error(), false);
                let stale = exchange.connection_reused
                    && class == FailureClass::Reset
                    && (unsent || self.plan.idempotent);
                if unsent && !stale {
                    exchange.phases.sent = None;
                    exchange.bytes_sent = 0;
                }
                match stale {
                    true => Tried::Stale,
                    false => self.failed((class, chain(error.error())), None),
                }
            }
            Err(ended) => self.failed(self.cut_short(ended, false), None),
        };
        seat.flight.finish();
        // Other exchanges use this connection: it is given back whatever came of this one.
        connection.was_used(self.thread.clock.told());
        seat.connections.give(made.endpoint(self.plan), Connection::Http2(connection), &self.thread.pool);
        tried
    }

    fn failed(&self, (class, words): (FailureClass, String), status: Option<u16>) -> Tried {
        Tried::Failed(self.thread.words.borrow_mut().failure(class, &words), status)
    }

    /// Takes an answer of HTTP/2.
    async fn receive(
        &self,
        seat: &mut Seat,
        response: http::Response<Incoming>,
        exchange: &mut Exchange,
    ) -> Tried {
        let thread = self.thread;
        let first_byte = thread.clock.now();
        exchange.phases.first_byte = Some(first_byte);
        exchange.phases.end = first_byte;
        let (head, incoming) = response.into_parts();
        let status = head.status.as_u16();
        exchange.server_timing = thread.unseen(server_timing(&head.headers));
        let keep = if self.plan.keeps_body || self.plan.decodes { KEPT_BODY } else { 0 };
        seat.flight.begin(exchange.phases.sent.unwrap_or(first_byte) + self.timeout);
        let most = self.plan.most_body;
        let mut body = Body { keep, most, ..Body::default() };
        if !incoming.is_end_stream() {
            let read = Http2::read(incoming, &mut body, &seat.flight).await;
            exchange.bytes_received = body.received;
            exchange.phases.end = thread.clock.now();
            match read {
                Ok(Ok(())) if body.received > body.most => {
                    let fault = body.too_large();
                    return self.failed((fault.class, fault.words.into_owned()), Some(status));
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return self.failed((of_exchange(&error, true), chain(&error)), Some(status));
                }
                Err(ended) => return self.failed(self.cut_short(ended, true), Some(status)),
            }
        }
        seat.cookies.keep(&head.headers, &exchange.url);
        Tried::Answered(Answer { status, headers: head.headers, body: body.kept })
    }
}

/// The exchange's outcome, and the answer if there is one.
fn ended(tried: Tried, exchange: &mut Exchange) -> Option<Answer> {
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

/// The server's own account of its time; several headers are one list.
fn server_timing(headers: &HeaderMap) -> Option<Arc<str>> {
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

/// Where an answer points to, if that is a host of the scenario; and whether it is to be got rather than sent again (RFC 9110,
/// section 15.4: 303 always, 301 and 302 after a POST as browsers do).
fn redirected(
    scenario: &Scenario,
    plan: &StepPlan,
    made: &Made,
    method: &Method,
    answer: &Answer,
) -> Option<(Made, bool)> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    // The shown URL may be masked: what counts for resolving is the path that was really sent.
    let shown = url::Url::parse(&made.url).ok()?;
    let base = shown.join(made.path.as_str()).ok()?;
    let mut next = base.join(location).ok()?;
    let endpoint = endpoint_of(scenario, &next)?;
    next.set_fragment(None);
    let path = &next[url::Position::BeforePath..];
    let path = PathAndQuery::try_from(path).ok()?;
    let as_get = answer.status == 303 && method != Method::HEAD
        || matches!(answer.status, 301 | 302) && method == Method::POST;
    let url = masked_url(next.as_str()).into();
    Some((plan.redirected(made, (scenario, endpoint), (path, url), !as_get)?, as_get))
}

/// The endpoint of a URL, if the scenario names it: nobody else is loaded, whoever points there.
fn endpoint_of(scenario: &Scenario, url: &url::Url) -> Option<usize> {
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_string();
    let wanted = Endpoint { tls, host, port: url.port_or_known_default()? };
    scenario.endpoints.iter().position(|endpoint| *endpoint == wanted)
}
