//! Virtual users: who walks which journey when.

use super::random::{of_iteration, pause};
use super::seat::{Connections, Jar, Seat};
use super::send::{Walk, Went, not_sent, step};
use super::thread::Thread;
use crate::record::{Nanos, StepId, Timestamp};
use crate::scenario::{Data, Journey, RowOrder, Scenario, TraceScope};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A user of the closed model pauses at least this long after a failure, so that a dead target is not hammered.
const BACK_OFF: Nanos = Nanos::from_millis(100);

/// A user of the closed model: walks for as long as it is present.
pub async fn user(thread: Rc<Thread>, number: u32, intervals: Vec<(Nanos, Nanos)>) {
    let mut seat =
        new_seat(&thread, number, Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect()));
    let mut iteration = 0;
    for (from, until) in intervals {
        let until = thread.begin + until;
        let mut due = thread.begin + from;
        thread.timer.sleep_until(due).await;
        if thread.is_stopping() {
            return;
        }
        thread.count(|c| c.users += 1);
        while due < until && thread.clock.now() < until && !thread.is_stopping() {
            due = walk(&thread, &mut seat, iteration, due, until).await;
            iteration += 1;
        }
        thread.count(|c| c.users -= 1);
        // Whoever leaves hangs up.
        seat.connections = Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
    }
}

fn new_seat(thread: &Thread, user: u32, connections: Connections) -> Seat {
    Seat { user, flight: thread.flights.slot(), cookies: Jar::default(), connections }
}

/// One iteration. Gives the moment from which the next one of this user is due.
async fn walk(
    thread: &Thread,
    seat: &mut Seat,
    iteration: u32,
    due: Timestamp,
    until: Timestamp,
) -> Timestamp {
    let scenario = &*thread.scenario;
    let mut random = of_iteration(thread.seed, seat.user, iteration);
    let journey = choose(&scenario.journeys, &mut random);
    let mut walk = Walk {
        iteration,
        variables: scenario.variables.clone(),
        row: journey.data.as_ref().map(|data| row(data, scenario, seat.user, iteration, &mut random)),
        random,
        trace: match scenario.trace {
            TraceScope::Exchange => None,
            TraceScope::Iteration => {
                let mut ids = thread.ids.borrow_mut();
                Some((ids.trace(), ids.chance(thread.sample)))
            }
        },
    };
    thread.count(|c| c.iterations += 1);
    let mut intended = due;
    for index in journey.steps.clone() {
        thread.timer.sleep_until(intended.min(until)).await;
        if intended >= until || thread.is_stopping() {
            let arrived = index == journey.steps.start && matches!(seat.connections, Connections::Pooled);
            if arrived {
                // It was due and is accounted for, though the run was stopped first.
                not_sent(thread, seat.user, iteration, StepId(index as u16), intended);
            }
            return until;
        }
        let end = step(thread, seat, &mut walk, StepId(index as u16), intended).await;
        let think = Nanos(pause(scenario.steps[index].think, &mut walk.random));
        match end.went {
            Went::On => intended = end.at + think,
            // The rest of the journey makes no sense without what is missing.
            Went::Lacking => return end.at + think,
            Went::Failed => return end.at + think.max(BACK_OFF),
            Went::Over => return until,
        }
    }
    intended
}

/// A journey, by weight. A scenario has at least one.
fn choose<'a>(journeys: &'a [Journey], random: &mut SmallRng) -> &'a Journey {
    if journeys.len() == 1 {
        return &journeys[0];
    }
    let total: u64 = journeys.iter().map(|j| u64::from(j.weight)).sum();
    let mut left = random.random_range(0..total.max(1));
    for journey in journeys {
        match left.checked_sub(u64::from(journey.weight)) {
            Some(remaining) => left = remaining,
            None => return journey,
        }
    }
    &journeys[0]
}

fn row<'a>(
    data: &'a Data,
    scenario: &Scenario,
    user: u32,
    iteration: u32,
    random: &mut SmallRng,
) -> (&'a crate::scenario::Table, usize) {
    let row = match data.order {
        RowOrder::PerUser => user as usize,
        RowOrder::Random => random.random_range(0..data.table.len()),
        // Users begin side by side and move on together: all rows are used, without any shared counter.
        RowOrder::Sequential => user as usize + iteration as usize * scenario.most_users().max(1) as usize,
    };
    (&data.table, row)
}

/// Arrivals of the open model on one thread.
pub struct Open {
    thread: Rc<Thread>,
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
    pub fn new(thread: Rc<Thread>, most_walkers: usize) -> Rc<Open> {
        Rc::new(Open {
            thread,
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
        let arrivals = &thread.schedule.arrivals;
        let mut number = share.0;
        let mut without_pause = 0u32;
        while let Some(due) = arrivals.due(number) {
            let due = thread.begin + due;
            if due > thread.clock.now() {
                without_pause = 0;
                thread.timer.sleep_until(due).await;
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
            self.arrive(Arrival { number, due });
            number += share.1;
        }
        thread.timer.sleep_until(thread.end).await;
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
    }

    /// The load is over: what has not begun does not begin.
    fn finish(&self) {
        self.over.set(true);
        self.thread.pool.close();
        for arrival in self.queue.take() {
            let user = self.user_of(arrival);
            let journey =
                choose(&self.thread.scenario.journeys, &mut of_iteration(self.thread.seed, user, 0));
            not_sent(&self.thread, user, 0, StepId(journey.steps.start as u16), arrival.due);
        }
        for mailbox in self.idle.take() {
            mailbox.closed.set(true);
            mailbox.wake();
        }
        self.thread.count(|c| c.waiting = 0);
    }

    /// Each arrival is a user of its own, numbered after those of the closed stages.
    fn user_of(&self, arrival: Arrival) -> u32 {
        (u64::from(self.thread.schedule.users.most()) + arrival.number) as u32
    }

    async fn walker(self: Rc<Open>, first: Arrival) {
        let thread = Rc::clone(&self.thread);
        let mut seat = new_seat(&thread, 0, Connections::Pooled);
        let mailbox = Rc::new(Mailbox::default());
        let mut next = Some(first);
        while let Some(arrival) = next {
            seat.user = self.user_of(arrival);
            seat.cookies.clear();
            thread.count(|c| c.users += 1);
            walk(&thread, &mut seat, 0, arrival.due, thread.end).await;
            thread.count(|c| c.users -= 1);
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
