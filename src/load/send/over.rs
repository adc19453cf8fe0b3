//! A request over one connection: what is written, how long each part may take, and what is read of the answer.

use super::super::check::KEPT_BODY;
use super::super::connection::{Connection, Http2};
use super::super::content::{Content, length};
use super::super::flight::Ended;
use super::super::http1::{
    Asked, Body, Fault, Fields, Http1, NoAnswer, Outgoing, Prepared, Seen, write_request,
};
use super::super::plan::{Made, head_size};
use super::super::words::of_exchange;
use super::{Answer, Attempt, Seat, TRACESTATE, Tried, server_timing};
use crate::record::{Exchange, FailureClass, Nanos, Threshold, TraceContext, with_causes};
use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;
use hyper::body::{Body as _, Incoming};

impl Attempt<'_> {
    /// Notes that the request is sent now, and begins its time limit.
    pub fn leaves(&self, seat: &Seat, exchange: &mut Exchange) {
        // With an open connection and nothing to fill in, no time has passed that a look at the clock would show.
        let sent = match exchange.connection_reused && self.plan.is_fixed() && !self.waited.get() {
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
    pub fn request(
        &self,
        seat: &Seat,
        made: &Made,
        exchange: &Exchange,
        http2: bool,
    ) -> http::Request<Bytes> {
        let context = Self::traceparent(exchange);
        let traceparent = HeaderValue::from_bytes(&context).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut request =
            self.plan.request(made, self.method, traceparent, seat.cookies.header(&made.url), http2);
        let carrier = &self.thread.carrier;
        carrier.put_others(request.headers_mut(), &context);
        if exchange.sampled && carrier.sends_w3c() {
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

    pub(super) async fn over_http1(
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
                if !head.headers.is_empty() {
                    seat.cookies.keep(&head.headers, &exchange.url);
                }
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
        if self.plan.is_fixed() && !self.redirected && seat.cookies.is_empty() {
            let mut prepared = thread.prepared.borrow_mut();
            if let Some(slots) = prepared.get_mut(usize::from(self.id.0)) {
                // One for those that are sampled, whose `tracestate` changes when the threshold does, and one for the others.
                let slot = &mut slots[usize::from(exchange.sampled)];
                let threshold = if exchange.sampled { exchange.threshold } else { Threshold::ALWAYS };
                if slot.as_ref().is_none_or(|(of, _)| *of != threshold) {
                    let request = self.request(seat, made, exchange, false);
                    let made = Prepared::new(&request, &thread.carrier);
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

    pub fn cut_short(&self, ended: Ended, head_seen: bool) -> (FailureClass, String) {
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

    pub(super) async fn over_http2(
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
        let request = request.map(|first| Content::new(first, made.more.clone()).into());
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
                    false => self.failed((class, with_causes(error.error())), None),
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

    pub fn failed(&self, (class, words): (FailureClass, String), status: Option<u16>) -> Tried {
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
                    return self.failed((of_exchange(&error, true), with_causes(&error)), Some(status));
                }
                Err(ended) => return self.failed(self.cut_short(ended, true), Some(status)),
            }
        }
        seat.cookies.keep(&head.headers, &exchange.url);
        Tried::Answered(Answer { status, headers: head.headers.into(), body: body.kept })
    }
}
