//! Virtual users: who walks which journey when.

use super::cache::Cache;
use super::jar::Jar;
use super::live::StopLevel;
use super::random::{of_iteration, pause};
use super::render::{Row, Scope, holds, value};
use super::schedule::{self, Cursor};
use super::seat::{Connections, Seat};
use super::send::{Walk, WalkTrace, Went, not_sent, step};
use super::thread::Thread;
use crate::record::{Nanos, StepId, Timestamp};
use crate::scenario::{AtEnd, Data, Journey, Op, RowOrder, Scenario, Then, Think, TraceScope, shuffled};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

/// A user of the closed model pauses at least this long after a failure, so that a dead target is not hammered.
const BACK_OFF: Nanos = Nanos::from_millis(100);

/// How often a load that can be changed looks for changes while it waits.
const LOOK_AGAIN: Nanos = Nanos::from_millis(20);
/// How often a user tries to begin before it stays away.
const MOST_STARTS: usize = 1_000;
/// A user's `on_stop` may take this long beyond the load.
const LAST_WALK: Nanos = Nanos::from_millis(30_000);

/// A user of the closed model: walks for as long as it is present.
pub async fn user(thread: Rc<Thread>, load: usize, number: u32) {
    let stream = &thread.schedule.streams[load];
    let own = Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
    let mut seat = new_seat(&thread, load, stream.first_user + number, own);
    let mut iteration = 0;
    for (from, until) in stream.users.intervals(number) {
        let until = thread.begin + until;
        let mut due = thread.begin + from;
        thread.timer.sleep_until(due).await;
        if thread.is_stopping() {
            return;
        }
        thread.count(|c| c.users += 1);
        let mut stays = true;
        (due, stays) = begin_user(&thread, &mut seat, due, until).await.unwrap_or((due, stays));
        while stays && due < until && thread.clock.told() < until && !thread.is_stopping() {
            let walked = iterate(&thread, &mut seat, iteration, due, until).await;
            (due, stays) = (walked.next, !walked.leaves);
            iteration += 1;
        }
        end_user(&thread, &mut seat).await;
        thread.count(|c| c.users -= 1);
        // Whoever leaves hangs up.
        seat.connections = Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
        if !stays {
            return;
        }
    }
}

/// A user of a load that can be changed: walks whenever it is to be there. It leaves between two iterations, not within
/// one, because nobody knows beforehand when it has to.
pub async fn followed_user(thread: Rc<Thread>, load: usize, number: u32) {
    let own = || Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
    let first = thread.schedule.streams[load].first_user;
    let mut seat = new_seat(&thread, load, first + number, own());
    let over = || thread.is_stopping() || thread.clock.now() >= thread.end.get();
    let present = || !over() && number < thread.followed.present[load].get();
    let mut iteration = 0;
    let mut stays = true;
    while stays && !over() {
        if !present() {
            thread.timer.sleep_until(thread.clock.now() + LOOK_AGAIN).await;
            continue;
        }
        thread.count(|c| c.users += 1);
        let mut due = thread.clock.now();
        (due, stays) = begin_user(&thread, &mut seat, due, thread.end.get()).await.unwrap_or((due, stays));
        while stays && present() {
            let walked = iterate(&thread, &mut seat, iteration, due, thread.end.get()).await;
            (due, stays) = (walked.next, !walked.leaves);
            iteration += 1;
        }
        end_user(&thread, &mut seat).await;
        thread.count(|c| c.users -= 1);
        // Whoever leaves hangs up.
        seat.connections = own();
    }
}

/// A user that is on its way: its own cookies and variables, none yet.
pub fn new_seat(thread: &Thread, load: usize, user: u32, connections: Connections) -> Seat {
    Seat {
        load,
        user,
        flight: thread.flights.slot(),
        cookies: Jar::default(),
        connections,
        variables: None,
        cache: Cache::default(),
    }
}

/// Iterations of a user's own beginning and end are numbered from here, so that their random numbers are their own.
const OWN_ITERATIONS: u32 = u32::MAX - 1;

/// Walks `on_start`, if the scenario has it. Gives when the user's first iteration is due and whether the user stays: one
/// that could not be set up tries again, as a person whose login fails.
async fn begin_user(
    thread: &Thread,
    seat: &mut Seat,
    due: Timestamp,
    until: Timestamp,
) -> Option<(Timestamp, bool)> {
    let journey = &thread.scenario.journeys[thread.scenario.lifecycle.on_start?];
    let mut due = due;
    for _ in 0..MOST_STARTS {
        seat.variables = None;
        let walked = walk(thread, seat, journey, OWN_ITERATIONS, due, until).await;
        if walked.whole {
            seat.variables = Some(walked.variables);
            return Some((walked.next, true));
        }
        due = walked.next.max(due + BACK_OFF);
        if due >= until || thread.is_stopping() || seat.connections.are_of_open_model() {
            break;
        }
    }
    Some((due, false))
}

/// Walks `on_stop`, if the scenario has it and the run was not stopped.
async fn end_user(thread: &Thread, seat: &mut Seat) {
    let Some(index) = thread.scenario.lifecycle.on_stop else { return };
    let set_up = thread.scenario.lifecycle.on_start.is_none() || seat.variables.is_some();
    if thread.is_stopping() || !set_up {
        return;
    }
    let now = thread.clock.now();
    let journey = &thread.scenario.journeys[index];
    walk(thread, seat, journey, OWN_ITERATIONS + 1, now, now + LAST_WALK).await;
}

/// One iteration of a journey that is chosen by weight.
async fn iterate(
    thread: &Thread,
    seat: &mut Seat,
    iteration: u32,
    due: Timestamp,
    until: Timestamp,
) -> Walked {
    let mut random = of_iteration(thread.seed, seat.user, iteration);
    let journey = choose(thread, seat.load, &mut random);
    thread.count(|c| c.iterations += 1);
    let mut walker = Walker::new(thread, seat, iteration, random, until);
    let mut walked = walker.walk(journey, due).await;
    keep_of_user(thread, seat, &mut walked.variables);
    if journey.pace != Think::default() {
        let pace = pause(journey.pace, &mut of_iteration(!thread.seed, seat.user, iteration));
        walked.next = walked.next.max(due + pace);
    }
    walked
}

/// What lasts as long as the user is there for its next iteration.
fn keep_of_user(thread: &Thread, seat: &mut Seat, variables: &mut [Value]) {
    let slots = &thread.scenario.kept.user;
    if slots.is_empty() {
        return;
    }
    let kept = seat.variables.get_or_insert_with(|| thread.scenario.variables.clone());
    for slot in slots {
        if let (Some(place), Some(value)) = (kept.get_mut(*slot), variables.get_mut(*slot)) {
            *place = std::mem::take(value);
        }
    }
}

/// A walk outside of iterations: setting up and clearing away.
pub async fn walk(
    thread: &Thread,
    seat: &mut Seat,
    journey: &Journey,
    iteration: u32,
    due: Timestamp,
    until: Timestamp,
) -> Walked {
    let random = of_iteration(thread.seed, seat.user, iteration);
    let mut walker = Walker::new(thread, seat, iteration, random, until);
    walker.walk(journey, due).await
}

/// What came of a walk.
pub struct Walked {
    /// The moment from which the user's next iteration is due.
    pub next: Timestamp,
    /// Whether it was walked to its end, or to a `stop`.
    pub whole: bool,
    /// Whether the user has nothing more to do: its data is used up.
    pub leaves: bool,
    /// The variables at its end.
    pub variables: Vec<Value>,
}

/// A journey under way, and where it has got to.
struct Frame<'a> {
    journey: &'a Journey,
    at: usize,
    /// Where its counters begin.
    counters: usize,
    /// The data row of the journey that called, to be restored; nothing where it is this one's too.
    caller_row: Option<Option<Row<'a>>>,
}

/// Whether a walk goes on after a request.
enum Next {
    On,
    /// It ends: the next iteration is due then.
    End(Timestamp),
}

struct Walker<'a, 's> {
    thread: &'a Thread,
    seat: &'s mut Seat,
    walk: Walk<'a>,
    until: Timestamp,
    intended: Timestamp,
    counters: Vec<u32>,
    sent_any: bool,
    /// The run's own variables as they were last seen, and their version.
    of_run: (Vec<Value>, u64),
}

impl<'a, 's> Walker<'a, 's> {
    fn new(
        thread: &'a Thread,
        seat: &'s mut Seat,
        iteration: u32,
        random: SmallRng,
        until: Timestamp,
    ) -> Walker<'a, 's> {
        let scenario = &*thread.scenario;
        let variables = seat.variables.as_ref().unwrap_or(&scenario.variables).clone();
        let walk = Walk { iteration, variables, row: None, random, trace: None };
        let mut walker = Walker {
            thread,
            seat,
            walk,
            until,
            intended: Timestamp(0),
            counters: Vec::new(),
            sent_any: false,
            of_run: (Vec::new(), 0),
        };
        walker.exchange_kept();
        walker
    }

    /// Leaves the variables of the run for others, and takes theirs.
    fn exchange_kept(&mut self) {
        let slots = &self.thread.scenario.kept.run;
        if !slots.is_empty() {
            let (before, seen) = &mut self.of_run;
            self.thread.shared.exchange(slots, &mut self.walk.variables, before, seen);
        }
    }

    /// Walks a journey, and those that it calls, to its end.
    async fn walk(&mut self, journey: &'a Journey, due: Timestamp) -> Walked {
        self.intended = due;
        if self.thread.scenario.trace == TraceScope::Iteration {
            self.walk.trace = Some(WalkTrace::new(self.thread, journey.first, due));
        }
        let mut callers: Vec<Frame> = Vec::new();
        let Some(mut frame) = self.enter(journey, false) else {
            return self.walked(due, false, true);
        };
        let mut without_request = 0u32;
        loop {
            let Some(op) = frame.journey.flow.get(frame.at) else {
                let Some(caller) = callers.pop() else { break };
                self.counters.truncate(frame.counters);
                if let Some(row) = frame.caller_row.take() {
                    self.walk.row = row;
                }
                frame = caller;
                continue;
            };
            frame.at += 1;
            match op {
                Op::Step(local) => {
                    without_request = 0;
                    let id = StepId((frame.journey.steps.start + local) as u16);
                    if let Next::End(next) = self.request(id).await {
                        return self.walked(next, false, false);
                    }
                }
                Op::Call(called) => {
                    let called = &self.thread.scenario.journeys[*called];
                    match self.enter(called, frame.journey.shares_row) {
                        Some(entered) => callers.push(std::mem::replace(&mut frame, entered)),
                        None => {
                            return self.walked(self.intended, false, true);
                        }
                    }
                }
                Op::Stop => break,
                other => self.move_on(other, &mut frame),
            }
            without_request += 1;
            if without_request.is_multiple_of(1_024) {
                // A loop without requests must not hold up everybody else on this thread, nor outlive the load.
                tokio::task::yield_now().await;
                if self.thread.is_stopping() || self.thread.clock.now() >= self.until {
                    break;
                }
            }
        }
        self.walked(self.intended, true, false)
    }

    /// The end of the walk.
    fn walked(&mut self, next: Timestamp, whole: bool, leaves: bool) -> Walked {
        Walked { next, whole, leaves, variables: std::mem::take(&mut self.walk.variables) }
    }

    /// Begins a journey; nothing when its data is used up.
    fn enter(&mut self, journey: &'a Journey, has_shared_row: bool) -> Option<Frame<'a>> {
        let goes_on = journey.shares_row && has_shared_row;
        let caller_row = if goes_on { None } else { Some(self.walk.row.take()) };
        if let Some(data) = journey.data.as_ref().filter(|_| !goes_on) {
            let scenario = &*self.thread.scenario;
            self.walk.row = Some(row(
                data,
                scenario,
                self.thread.seed,
                self.seat.user,
                self.walk.iteration,
                &mut self.walk.random,
            )?);
        }
        let counters = self.counters.len();
        self.counters.resize(counters + journey.counters, 0);
        Some(Frame { journey, at: 0, counters, caller_row })
    }

    /// Everything that is neither a request nor a call.
    fn move_on(&mut self, op: &'a Op, frame: &mut Frame) {
        let walk = &mut self.walk;
        let scope = Scope {
            variables: &walk.variables,
            row: walk.row.as_ref(),
            user: self.seat.user,
            iteration: walk.iteration,
            now: self.intended,
            locale: self.thread.scenario.locale,
        };
        match op {
            Op::Set(slot, expression) => {
                // What cannot be worked out has no value; the request that needs it says so.
                let value = value(expression, &scope, &mut walk.random).unwrap_or_default();
                if let Some(place) = walk.variables.get_mut(*slot) {
                    *place = value;
                }
            }
            Op::Pause(think) => self.intended = self.intended + pause(*think, &mut walk.random),
            Op::Unless(condition, to) => {
                if !holds(condition, &scope, &mut walk.random) {
                    frame.at = *to;
                }
            }
            Op::Jump(to) => frame.at = *to,
            Op::Count(counter, least, most) => {
                let rounds = if most > least { walk.random.random_range(*least..=*most) } else { *least };
                self.counters[frame.counters + counter] = rounds;
            }
            Op::Take(counter, to) => match &mut self.counters[frame.counters + counter] {
                0 => frame.at = *to,
                left => *left -= 1,
            },
            Op::Choose(branches) => {
                let total: u64 = branches.iter().map(|(weight, _)| u64::from(*weight)).sum();
                let mut left = walk.random.random_range(0..total.max(1));
                for (weight, to) in branches {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(remaining) => left = remaining,
                        None => {
                            frame.at = *to;
                            break;
                        }
                    }
                }
            }
            // These are the walk's own.
            Op::Step(_) | Op::Call(_) | Op::Stop => {}
        }
    }

    /// One request, again where it failed and shall be retried.
    async fn request(&mut self, id: StepId) -> Next {
        let thread = self.thread;
        let wanted = &thread.scenario.steps[usize::from(id.0)];
        let mut retries = wanted.on_failure.retries;
        loop {
            thread.timer.sleep_until(self.intended.min(self.until)).await;
            if self.intended >= self.until || thread.is_stopping() {
                if !self.sent_any && self.seat.connections.are_of_open_model() {
                    // It was due and is accounted for, though the run was stopped first.
                    not_sent(thread, self.seat.user, self.walk.iteration, id, self.intended);
                }
                return Next::End(self.until);
            }
            self.sent_any = true;
            let end = step(thread, self.seat, &mut self.walk, id, self.intended).await;
            if end.went == Went::Over {
                return Next::End(self.until);
            }
            self.exchange_kept();
            let failed = end.flawed || end.went != Went::On;
            if failed && retries > 0 {
                retries -= 1;
                self.intended = end.at + wanted.on_failure.wait;
                continue;
            }
            let mut think = pause(wanted.think, &mut self.walk.random);
            if end.went == Went::Failed {
                think = think.max(BACK_OFF);
            }
            let ends = failed
                && match wanted.on_failure.then {
                    Then::GoOn => false,
                    Then::Stop => true,
                    // The rest of the journey makes no sense without what is missing.
                    Then::AsNeeded => end.went != Went::On,
                };
            self.intended = end.at + think;
            return if ends { Next::End(self.intended) } else { Next::On };
        }
    }
}

/// A journey of a load, by weight. A load has at least one.
fn choose<'a>(thread: &'a Thread, load: usize, random: &mut SmallRng) -> &'a Journey {
    let journeys = &thread.scenario.journeys;
    let of_load = &thread.schedule.streams[load].journeys;
    if let [only] = of_load[..] {
        return &journeys[only];
    }
    let total: u64 = of_load.iter().map(|j| u64::from(journeys[*j].weight)).sum();
    let mut left = random.random_range(0..total.max(1));
    for journey in of_load.iter().map(|j| &journeys[*j]) {
        match left.checked_sub(u64::from(journey.weight)) {
            Some(remaining) => left = remaining,
            None => return journey,
        }
    }
    &journeys[of_load.first().copied().unwrap_or_default()]
}

/// The row of an iteration; nothing when all are used up.
fn row<'a>(
    data: &'a Data,
    scenario: &Scenario,
    seed: u64,
    user: u32,
    iteration: u32,
    random: &mut SmallRng,
) -> Option<Row<'a>> {
    let length = data.table.len();
    // A user's own beginning and end have no number of their own among the iterations.
    let iteration = if iteration >= OWN_ITERATIONS { 0 } else { iteration as usize };
    // Users begin side by side and move on together: all rows are used, without any shared counter.
    let nth = user as usize + iteration * scenario.most_users().max(1) as usize;
    let index = match data.order {
        RowOrder::PerUser => user as usize,
        RowOrder::Random => random.random_range(0..length),
        RowOrder::Sequential | RowOrder::Shuffled => nth,
        RowOrder::Once => data.next.fetch_add(1, Ordering::Relaxed) as usize,
    };
    if index >= length && data.at_end == AtEnd::Stop {
        return None;
    }
    let index = match data.order {
        RowOrder::Shuffled => {
            let round = (index / length) as u64;
            shuffled(index % length, length, seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }
        _ => index % length,
    };
    // A row that cannot be read any more has no values: the request that needs one says so.
    Some(
        data.table
            .kept(index)
            .map_or_else(|| Row::Read(data.table.read(index).unwrap_or_default()), Row::Kept),
    )
}

/// Arrivals of the open model on one thread.
pub struct Open {
    thread: Rc<Thread>,
    /// Which load they are of.
    load: usize,
    /// Walkers that wait for an arrival; the one that waited last goes first, its memory is warm.
    idle: RefCell<Vec<Rc<Mailbox>>>,
    /// Arrivals for which there is no walker.
    queue: RefCell<VecDeque<Arrival>>,
    walkers: Cell<usize>,
    most_walkers: usize,
    over: Cell<bool>,
}

/// One arrival.
#[derive(Clone, Copy)]
struct Arrival {
    number: u64,
    due: Timestamp,
}

#[derive(Default)]
struct Mailbox {
    arrival: Cell<Option<Arrival>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Mailbox {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Open {
    /// With at most `most_walkers` iterations at once.
    pub fn new(thread: Rc<Thread>, load: usize, most_walkers: usize) -> Rc<Open> {
        Rc::new(Open {
            thread,
            load,
            idle: RefCell::default(),
            queue: RefCell::default(),
            walkers: Cell::new(0),
            most_walkers: most_walkers.max(1),
            over: Cell::new(false),
        })
    }

    /// Lets arrivals happen when they are due: those whose number leaves the remainder `share.0` when divided by `share.1`.
    pub async fn pace(self: Rc<Open>, share: (u64, u64)) {
        let thread = &self.thread;
        let arrivals = &thread.schedule.streams[self.load].arrivals;
        let mut timeline = thread.followed.timeline();
        let mut cursor = Cursor::default();
        let mut without_pause = 0u32;
        loop {
            let followed = thread.followed.is_followed();
            if followed && thread.followed.differs(&timeline) {
                timeline = thread.followed.timeline();
            }
            // On a copy: if the load is changed before the arrival is due, another may be the next.
            let mut ahead = cursor;
            let now = thread.clock.now();
            match ahead.next(arrivals, &timeline, share) {
                schedule::Next::Over => break,
                schedule::Next::Standing => thread.timer.sleep_until(now + LOOK_AGAIN).await,
                schedule::Next::Due(number, due) => {
                    let due = thread.begin + due;
                    if due > now {
                        without_pause = 0;
                        let until = if followed { due.min(now + LOOK_AGAIN) } else { due };
                        thread.timer.sleep_until(until).await;
                        if until < due || followed && thread.followed.differs(&timeline) {
                            if thread.is_stopping() {
                                break;
                            }
                            continue;
                        }
                    } else {
                        without_pause += 1;
                        if without_pause.is_multiple_of(64) {
                            // A late thread must still read answers.
                            tokio::task::yield_now().await;
                        }
                    }
                    if thread.is_stopping() {
                        break;
                    }
                    cursor = ahead;
                    self.arrive(Arrival { number, due });
                }
            }
            if thread.is_stopping() {
                break;
            }
        }
        while thread.clock.now() < thread.end.get() && !thread.is_stopping() {
            let look = thread.clock.now() + LOOK_AGAIN;
            let until = thread.end.get();
            thread
                .timer
                .sleep_until(if thread.followed.is_followed() { until.min(look) } else { until })
                .await;
        }
        self.finish();
    }

    fn arrive(self: &Rc<Open>, arrival: Arrival) {
        self.thread.count(|c| c.due += 1);
        if let Some(mailbox) = self.idle.borrow_mut().pop() {
            mailbox.arrival.set(Some(arrival));
            mailbox.wake();
        } else if self.walkers.get() < self.most_walkers {
            self.walkers.set(self.walkers.get() + 1);
            tokio::task::spawn_local(Rc::clone(self).walker(arrival));
        } else {
            self.queue.borrow_mut().push_back(arrival);
        }
        self.note_waiting();
    }

    fn note_waiting(&self) {
        let waiting = (self.queue.borrow().len() + self.thread.pool.waiting()) as u64;
        self.thread.count(|c| c.waiting = waiting);
        if waiting > 0 {
            // Who waits for a connection must have it as soon as its answer has come.
            self.thread.timer.stay_awake();
        }
    }

    /// The load is over: what has not begun does not begin.
    fn finish(&self) {
        self.over.set(true);
        self.thread.pool.close();
        for arrival in self.queue.take() {
            let user = self.user_of(arrival);
            let journey = choose(&self.thread, self.load, &mut of_iteration(self.thread.seed, user, 0));
            not_sent(&self.thread, user, 0, journey.first, arrival.due);
        }
        for mailbox in self.idle.take() {
            mailbox.closed.set(true);
            mailbox.wake();
        }
        self.thread.count(|c| c.waiting = 0);
    }

    /// Each arrival is a user of its own.
    fn user_of(&self, arrival: Arrival) -> u32 {
        self.thread.schedule.user_of(self.load, arrival.number)
    }

    async fn walker(self: Rc<Open>, first: Arrival) {
        let thread = Rc::clone(&self.thread);
        let own = || match thread.pool.is_any_per_user() {
            true => Connections::Arrival(thread.scenario.endpoints.iter().map(|_| None).collect()),
            false => Connections::Pooled,
        };
        let mut seat = new_seat(&thread, self.load, 0, own());
        let mailbox = Rc::new(Mailbox::default());
        let mut next = Some(first);
        while let Some(arrival) = next {
            seat.user = self.user_of(arrival);
            seat.cookies.clear();
            seat.cache.clear();
            thread.count(|c| c.users += 1);
            seat.variables = None;
            let begun = begin_user(&thread, &mut seat, arrival.due, thread.end.get()).await;
            let (due, stays) = begun.unwrap_or((arrival.due, true));
            if stays {
                let walked = iterate(&thread, &mut seat, 0, due, thread.end.get()).await;
                end_user(&thread, &mut seat).await;
                if walked.leaves {
                    // The data is used up: nobody who arrives later has anything to do.
                    thread.stop(StopLevel::Drain);
                }
            }
            thread.count(|c| c.users -= 1);
            if let Connections::Arrival(_) = seat.connections {
                // Whoever leaves hangs up.
                seat.connections = own();
            }
            next = self.next(&mailbox).await;
        }
        self.walkers.set(self.walkers.get() - 1);
    }

    async fn next(&self, mailbox: &Rc<Mailbox>) -> Option<Arrival> {
        if let Some(arrival) = self.queue.borrow_mut().pop_front() {
            return Some(arrival);
        }
        if self.over.get() {
            return None;
        }
        self.idle.borrow_mut().push(Rc::clone(mailbox));
        poll_fn(|cx| {
            if let Some(arrival) = mailbox.arrival.take() {
                return Poll::Ready(Some(arrival));
            }
            if mailbox.closed.get() {
                return Poll::Ready(None);
            }
            mailbox.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Whether nobody walks any more.
    pub fn is_done(&self) -> bool {
        self.over.get() && self.walkers.get() == 0
    }
}
