//! Arrivals of the open model: each is a user of its own, and comes when it is due, whoever is still there.

use super::live::StopLevel;
use super::random::of_iteration;
use super::schedule::{self, Cursor};
use super::seat::Connections;
use super::send::not_sent;
use super::thread::Thread;
use super::user::{begin_user, choose, end_user, iterate, new_seat};
use super::walk::LOOK_AGAIN;
use crate::record::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

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
