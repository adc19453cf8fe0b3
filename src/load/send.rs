//! One exchange: from a step made ready to the complete record of what came of it.

use super::check::{Answer, KEPT_BODY, look};
use super::connection::Connection;
use super::flight::Ended;
use super::plan::{Made, StepPlan, head_size};
use super::render::Scope;
use super::seat::Seat;
use super::thread::Thread;
use super::words::{chain, of_exchange};
use crate::record::{
    Exchange, Failure, FailureClass, Nanos, Outcome, Phases, Protocol, StepId, Timestamp, TraceContext,
    TraceId,
};
use crate::scenario::{Redirects, masked_url};
use http::header::{HeaderName, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use hyper::body::{Body as _, Incoming};
use rand::rngs::SmallRng;
use serde_json::Value;
use std::sync::Arc;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const MOST_SERVER_TIMING: usize = 1_024;
const MOST_HOPS: usize = 10;
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
    pub trace: Option<(TraceId, bool)>,
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
        super::seat::Connections::Pooled => match thread.pool.permit().await {
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
    let scope = Scope {
        variables: &walk.variables,
        row: walk.row.as_ref(),
        user: seat.user,
        iteration: walk.iteration,
        now: start,
    };
    let made = plan.make(&scope, &mut walk.random);
    let mut attempt =
        Attempt { thread, plan, id, timeout: step.timeout, intended, start, method: &plan.method };
    let mut made = match made {
        Ok(made) => made,
        Err(why) => {
            let failure = thread.words.borrow_mut().failure(FailureClass::Template, &why);
            let (at, blank) = (start, attempt.blank(seat, walk, plan.shown_url()));
            record(thread, Exchange { outcome: Outcome::Failed { failure, status: None }, ..blank });
            return StepEnd { at, went: Went::Failed, flawed: false };
        }
    };
    let get = Method::GET;
    for hop in 0..=MOST_HOPS {
        let (mut exchange, answer) = attempt.exchange(seat, walk, &made).await;
        let at = exchange.phases.end;
        let Some(answer) = answer else {
            record(thread, exchange);
            return StepEnd { at, went: Went::Failed, flawed: false };
        };
        let follow = thread.scenario.redirects == Redirects::Follow && hop < MOST_HOPS;
        if follow && let Some((next, as_get)) = redirected(plan, &made, attempt.method, &answer) {
            record(thread, exchange);
            made = next;
            attempt.method = if as_get { &get } else { attempt.method };
            (attempt.intended, attempt.start) = (at, thread.clock.now().max(at));
            continue;
        }
        let latency = exchange.corrected_latency();
        let verdict = look(step, &answer, latency, &mut walk.variables, &mut thread.words.borrow_mut());
        let flawed = !verdict.failed.is_empty();
        exchange.checks_failed = verdict.failed;
        record(thread, exchange);
        drop(permit);
        return StepEnd { at, went: if verdict.lacks { Went::Lacking } else { Went::On }, flawed };
    }
    StepEnd { at: attempt.start, went: Went::Failed, flawed: false }
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
        step: id,
        user,
        iteration,
        intended,
        phases: Phases { start: now, end: now, ..Phases::default() },
        outcome: Outcome::Failed { failure, status: None },
        checks_failed: Vec::new(),
        bytes_sent: 0,
        bytes_received: 0,
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
    intended: Timestamp,
    start: Timestamp,
    method: &'a Method,
}

/// What became of sending a request.
#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for one match; a box is an allocation per request"
)]
enum Sending {
    Answered(Connection, http::Response<Incoming>),
    Failed(Failure),
    /// A connection that was open for long is dead, and nothing of an answer had come: another may be tried.
    Stale(Failure),
}

impl Attempt<'_> {
    /// A record of this request before anything has happened.
    fn blank(&self, seat: &Seat, walk: &Walk, url: Arc<str>) -> Exchange {
        let mut ids = self.thread.ids.borrow_mut();
        let (trace_id, sampled) = walk.trace.unwrap_or_else(|| (ids.trace(), ids.chance(self.thread.sample)));
        Exchange {
            trace_id,
            span_id: ids.span(),
            sampled,
            step: self.id,
            user: seat.user,
            iteration: walk.iteration,
            intended: self.intended,
            phases: Phases { start: self.start, end: self.start, ..Phases::default() },
            outcome: Outcome::Answered(0),
            checks_failed: Vec::new(),
            bytes_sent: 0,
            bytes_received: 0,
            connection_reused: false,
            protocol: Protocol::Http1,
            url,
            server_timing: None,
        }
    }

    /// Sends, waits, reads. The answer is there exactly when the outcome is an answer.
    async fn exchange(&self, seat: &mut Seat, walk: &Walk<'_>, made: &Made) -> (Exchange, Option<Answer>) {
        let thread = self.thread;
        let mut exchange = self.blank(seat, walk, Arc::clone(&made.url));
        thread.count(|c| {
            c.in_flight += 1;
            c.most_in_flight = c.most_in_flight.max(c.in_flight);
        });
        let answer = self.attempts(seat, made, &mut exchange).await;
        thread.count(|c| c.in_flight -= 1);
        if answer.is_none() {
            exchange.phases.end = thread.clock.now();
        }
        (exchange, answer)
    }

    async fn attempts(&self, seat: &mut Seat, made: &Made, exchange: &mut Exchange) -> Option<Answer> {
        let endpoint = self.plan.endpoint;
        if let Some(connection) = seat.connections.take(endpoint, &self.thread.pool) {
            exchange.connection_reused = true;
            match self.send(seat, connection, made, exchange).await {
                Sending::Answered(connection, response) => {
                    return self.receive(seat, connection, response, exchange).await;
                }
                Sending::Failed(failure) => {
                    exchange.outcome = Outcome::Failed { failure, status: None };
                    return None;
                }
                Sending::Stale(_) => exchange.connection_reused = false,
            }
        }
        let phases = &mut exchange.phases;
        let connection =
            match self.thread.dialer.dial(endpoint, &seat.flight, phases, &self.thread.words).await {
                Ok(connection) => connection,
                Err(failure) => {
                    (phases.sent, exchange.bytes_sent) = (None, 0);
                    exchange.outcome = Outcome::Failed { failure, status: None };
                    return None;
                }
            };
        self.thread.count(|c| c.connections += 1);
        seat.connections.opened(endpoint, &connection, &self.thread.pool);
        match self.send(seat, connection, made, exchange).await {
            Sending::Answered(connection, response) => {
                self.receive(seat, connection, response, exchange).await
            }
            Sending::Failed(failure) | Sending::Stale(failure) => {
                exchange.outcome = Outcome::Failed { failure, status: None };
                None
            }
        }
    }

    async fn send(
        &self,
        seat: &mut Seat,
        mut connection: Connection,
        made: &Made,
        exchange: &mut Exchange,
    ) -> Sending {
        let thread = self.thread;
        let context = TraceContext {
            trace_id: exchange.trace_id,
            span_id: exchange.span_id,
            sampled: exchange.sampled,
        };
        let traceparent =
            HeaderValue::from_bytes(&context.traceparent()).unwrap_or_else(|_| HeaderValue::from_static(""));
        exchange.protocol = connection.protocol();
        let http2 = exchange.protocol == Protocol::Http2;
        let request =
            self.plan.request(made, self.method, traceparent, seat.cookies.header(&made.url), http2);
        let written = connection.written();
        let size = if http2 { head_size(&request) + request.body().size_hint().lower() } else { 0 };
        // With an open connection and nothing to fill in, no time has passed that a look at the clock would show.
        let sent =
            if exchange.connection_reused && self.plan.fixed { self.start } else { thread.clock.now() };
        exchange.phases.sent = Some(sent);
        seat.flight.begin(sent + self.timeout);
        let answer = connection.send(request, &seat.flight).await;
        exchange.bytes_sent = if http2 { size } else { connection.written() - written };
        let (class, message, unsent) = match answer {
            Ok(Ok(response)) => return Sending::Answered(connection, response),
            Ok(Err(mut error)) => {
                let unsent = error.take_message().is_some();
                (of_exchange(error.error(), false), chain(error.error()), unsent)
            }
            Err(Ended::TimedOut) => {
                (FailureClass::Timeout, format!("no answer within {}", self.timeout), false)
            }
            Err(Ended::Cancelled) => (FailureClass::Cancelled, "the run was stopped".to_string(), false),
        };
        seat.flight.finish();
        if http2 {
            // Other exchanges use this connection: it is given back, not closed.
            seat.connections.give(self.plan.endpoint, connection, &thread.pool);
        }
        let failure = thread.words.borrow_mut().failure(class, &message);
        let stale =
            exchange.connection_reused && class == FailureClass::Reset && (unsent || self.plan.idempotent);
        if unsent && !stale {
            exchange.phases.sent = None;
        }
        if stale { Sending::Stale(failure) } else { Sending::Failed(failure) }
    }

    async fn receive(
        &self,
        seat: &mut Seat,
        mut connection: Connection,
        response: http::Response<Incoming>,
        exchange: &mut Exchange,
    ) -> Option<Answer> {
        let thread = self.thread;
        let first_byte = thread.clock.now();
        exchange.phases.first_byte = Some(first_byte);
        exchange.phases.end = first_byte;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        exchange.server_timing = server_timing(&head.headers);
        let mut kept = Vec::new();
        if !body.is_end_stream() {
            let keep = if self.plan.keeps_body { KEPT_BODY } else { 0 };
            let (class, message) = match connection.read(body, keep, &seat.flight).await {
                Ok((received, bytes, result)) => {
                    (exchange.bytes_received, kept) = (received, bytes);
                    match result {
                        Ok(()) => (None, String::new()),
                        Err(error) => (Some(of_exchange(&error, true)), chain(&error)),
                    }
                }
                Err(Ended::TimedOut) => {
                    (Some(FailureClass::Timeout), format!("no end of the answer within {}", self.timeout))
                }
                Err(Ended::Cancelled) => (Some(FailureClass::Cancelled), "the run was stopped".to_string()),
            };
            exchange.phases.end = thread.clock.now();
            if let Some(class) = class {
                seat.flight.finish();
                if exchange.protocol == Protocol::Http2 {
                    seat.connections.give(self.plan.endpoint, connection, &thread.pool);
                }
                let failure = thread.words.borrow_mut().failure(class, &message);
                exchange.outcome = Outcome::Failed { failure, status: Some(status) };
                return None;
            }
        }
        seat.flight.finish();
        seat.cookies.keep(&head.headers, &exchange.url);
        seat.connections.give(self.plan.endpoint, connection, &thread.pool);
        exchange.outcome = Outcome::Answered(status);
        Some(Answer { status, headers: head.headers, body: kept })
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

/// Where an answer points to, if it is on the same host; and whether it is to be got rather than sent again (RFC 9110,
/// section 15.4: 303 always, 301 and 302 after a POST as browsers do).
fn redirected(plan: &StepPlan, made: &Made, method: &Method, answer: &Answer) -> Option<(Made, bool)> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    // The shown URL may be masked: what counts for resolving is the path that was really sent.
    let shown = url::Url::parse(&made.url).ok()?;
    let base = shown.join(made.path.as_str()).ok()?;
    let mut next = base.join(location).ok()?;
    if next.origin() != base.origin() {
        return None;
    }
    next.set_fragment(None);
    let path = &next[url::Position::BeforePath..];
    let path = PathAndQuery::try_from(path).ok()?;
    let as_get = answer.status == 303 && method != Method::HEAD
        || matches!(answer.status, 301 | 302) && method == Method::POST;
    let url = masked_url(next.as_str()).into();
    Some((plan.redirected(made, path, url, !as_get), as_get))
}
