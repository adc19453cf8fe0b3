//! One connection and what it takes to get it; each phase timed.

use super::clock::ThreadClock;
use super::flight::{Ended, Flight};
use super::http1::{Body, Http1, Scratch};
use super::outgoing::Outgoing;
use super::pool::Slot;
use super::route::{Route, Stage};
use super::stream::Stream;
use super::tls::Tls;
use super::words::Words;
use crate::record::{Failure, FailureClass, Nanos, Phases, Protocol, Timestamp, with_causes};
use crate::scenario::{KeepAlive, Scenario};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;

/// How connections are made.
pub struct Dialer {
    routes: Vec<Route>,
    timeout: Nanos,
    clock: Rc<ThreadClock>,
    scratch: Rc<Scratch>,
    /// Whether the kernel is to note when bytes come.
    pub stamps: Cell<bool>,
}

impl Dialer {
    /// To a scenario's endpoints.
    pub fn new(scenario: &Scenario, tls: &[Tls], clock: Rc<ThreadClock>, scratch: Rc<Scratch>) -> Dialer {
        let route = |(index, tls): (usize, &Tls)| Route::new(scenario, index, tls.clone(), &clock, &scratch);
        let routes = tls.iter().enumerate().filter_map(route).collect();
        let timeout = scenario.timeouts.connect;
        Dialer { routes, timeout, clock, scratch, stamps: Cell::new(false) }
    }

    /// A new connection; fills in the phases that it passes.
    ///
    /// # Errors
    /// The failure, with the class of the phase that it happened in.
    pub async fn dial(
        &self,
        endpoint: usize,
        slot: Option<Slot>,
        flight: &Flight,
        phases: &mut Phases,
        words: &RefCell<Words>,
    ) -> Result<Connection, Failure> {
        let route = &self.routes[endpoint];
        let stage = Cell::default();
        let limit = self.clock.now() + self.timeout;
        flight.begin(limit);
        // On the heap: what a handshake needs must not be a part of every user for as long as it walks.
        let dialed = flight.guard(Box::pin(self.over(route, limit, flight, &stage, phases))).await;
        flight.finish();
        let (class, message) = match dialed {
            Ok(Ok(connection)) => return Ok(connection.within(slot)),
            Ok(Err(failed)) => failed,
            Err(Ended::Cancelled) => (FailureClass::Cancelled, "the run was stopped".to_string()),
            Err(Ended::TimedOut) => route.timed_out(stage.get()),
        };
        Err(words.borrow_mut().failure(class, &message))
    }

    async fn over(
        &self,
        route: &Route,
        limit: Timestamp,
        flight: &Flight,
        stage: &Cell<Stage>,
        phases: &mut Phases,
    ) -> Result<Connection, (FailureClass, String)> {
        let (stream, speaks_http2) = route.open(flight, limit, stage, phases).await?;
        let stream = if self.stamps.get() && !speaks_http2 { stream.stamped() } else { stream };
        let keep_alive = route.options().keep_alive;
        if !speaks_http2 {
            return Ok(Connection::Http1(Box::new(
                Http1::new(stream, Rc::clone(&self.scratch)).for_long(keep_alive, &self.clock),
            )));
        }
        let connection = Http2::over(stream, keep_alive, self.clock.now()).await;
        connection
            .map(Connection::Http2)
            .map_err(|e| (FailureClass::Connect, format!("{}: {}", route.host(), with_causes(&e))))
    }
}

/// An open connection that carries one exchange at a time; of HTTP/2, a share of one.
pub enum Connection {
    /// HTTP/1.1, driven by whoever uses it: no task of its own, so no switch between tasks per request. Boxed, because every
    /// user holds one such place per endpoint and hands it on several times per request.
    Http1(Box<Http1>),
    /// HTTP/2, driven by a task.
    Http2(Http2),
}

/// HTTP/2; clones share the connection.
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Outgoing>,
    /// Exchanges that it carries now.
    pub streams: Rc<Cell<usize>>,
    life: Rc<Life>,
    /// Its place among those that all users share, for as long as anybody holds it.
    slot: Option<Rc<Slot>>,
}

/// How long a connection of HTTP/2 is used.
struct Life {
    keep_alive: KeepAlive,
    opened: Timestamp,
    carried: Cell<u32>,
    last: Cell<Timestamp>,
}

/// Runs HTTP/2's tasks on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Connection {
    /// Protocol that it speaks.
    pub fn protocol(&self) -> Protocol {
        match self {
            Connection::Http1(_) => Protocol::Http1,
            Connection::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether the kernel notes when its bytes come.
    pub fn is_stamped(&self) -> bool {
        matches!(self, Connection::Http1(connection) if connection.is_stamped())
    }

    /// Whether another request can go over it now, as far as is known. A peer that closed it meanwhile is noticed when the
    /// request is sent.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        match self {
            Connection::Http1(connection) => connection.is_usable(now),
            Connection::Http2(connection) => connection.is_usable(now),
        }
    }

    /// Whether another request could go over it when it was last used.
    pub fn is_open(&self) -> bool {
        match self {
            Connection::Http1(connection) => connection.is_open(),
            Connection::Http2(connection) => connection.sender.is_ready(),
        }
    }

    /// In its place among those that all users share.
    fn within(mut self, slot: Option<Slot>) -> Connection {
        match &mut self {
            Connection::Http1(connection) => connection.slot = slot,
            Connection::Http2(connection) => connection.slot = slot.map(Rc::new),
        }
        self
    }
}

impl Http2 {
    /// Whether another request can go over it now.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let Life { keep_alive, opened, carried, last } = &*self.life;
        self.sender.is_ready() && keep_alive.allows(carried.get(), *opened, last.get(), now)
    }

    /// Notes that a request goes over it.
    pub fn carries(&self, now: Timestamp) {
        self.life.carried.set(self.life.carried.get().saturating_add(1));
        self.life.last.set(now);
    }

    /// Notes that it was used until then.
    pub fn was_used(&self, now: Timestamp) {
        self.life.last.set(now);
    }

    async fn over(stream: Stream, keep_alive: KeepAlive, now: Timestamp) -> hyper::Result<Http2> {
        let (sender, driver) = http2::Builder::new(Local)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            // Whoever waits for an answer is told of the failure; nobody else cares.
            let _ = driver.await;
        });
        let life = Life { keep_alive, opened: now, carried: Cell::new(0), last: Cell::new(now) };
        Ok(Http2 { sender, streams: Rc::default(), life: Rc::new(life), slot: None })
    }

    /// Sends a request and waits for the head of its answer. The outer error is the deadline's.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
        flight: &Flight,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Outgoing>>>, Ended> {
        flight.guard(self.sender.try_send_request(request)).await
    }

    /// Reads an answer's body to its end. What came of it is in `into`, whatever happens.
    pub async fn read(
        mut body: Incoming,
        into: &mut Body,
        flight: &Flight,
    ) -> Result<Result<(), hyper::Error>, Ended> {
        use hyper::body::Body as _;
        loop {
            let frame = flight.guard(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await?;
            match frame {
                None => return Ok(Ok(())),
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        into.take(data);
                    }
                    if into.received > into.most {
                        // Whoever asked sees what was received and refuses it; dropping the body resets its stream.
                        return Ok(Ok(()));
                    }
                }
            }
        }
    }
}
