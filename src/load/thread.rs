//! What everything on one load thread shares.

use super::carrier::Carrier;
use super::clock::ThreadClock;
use super::connection::Dialer;
use super::control::ControlSignal;
use super::flight::Flights;
use super::http1::{Prepared, Scratch};
use super::live::{Counts, StopLevel};
use super::outbox::Outbox;
use super::plan::StepPlan;
use super::pool::Pool;
use super::random::Ids;
use super::sampling::Sampler;
use super::schedule::{Schedule, Timeline};
use super::shared::Shared;
use super::timer::Timer;
use super::turns::Turns;
use super::words::Words;
use crate::record::{Threshold, Timestamp};
use crate::scenario::Scenario;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A request made ready, and the sampling threshold that it tells; nothing before the first.
pub type PreparedFor = Option<(Threshold, Prepared)>;

/// One load thread: its plans, clocks, sockets and counters. Everything in it is of this thread alone.
pub struct Thread {
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// The scenario's steps made ready, by [`crate::record::StepId`].
    pub plans: Vec<StepPlan>,
    /// When load is due, as offsets from `begin`.
    pub schedule: Arc<Schedule>,
    /// When load begins.
    pub begin: Timestamp,
    /// When load ends by its schedule.
    pub end: Cell<Timestamp>,
    /// How the load was changed meanwhile.
    pub followed: Followed,
    /// The run's clock.
    pub clock: Rc<ThreadClock>,
    /// Exact waits.
    pub timer: Timer,
    /// Requests under way.
    pub flights: Rc<Flights>,
    /// Makes connections.
    pub dialer: Dialer,
    /// What HTTP/1.1 connections use in turn.
    pub scratch: Rc<Scratch>,
    /// Requests that are the same each time, by step; made when they are first sent.
    pub prepared: RefCell<Vec<[PreparedFor; 2]>>,
    /// Connections of the open model.
    pub pool: Rc<Pool>,
    /// Makes trace and span ids.
    pub ids: RefCell<Ids>,
    /// Writes trace context into requests.
    pub carrier: Carrier,
    /// Shared messages.
    pub words: RefCell<Words>,
    /// Where exchanges go.
    pub outbox: Outbox,
    /// This thread's counters.
    pub counts: RefCell<Counts>,
    /// How far the run is stopped.
    pub stop: Cell<StopLevel>,
    /// Seed of what is sent.
    pub seed: u64,
    /// Which traces servers are asked to record.
    pub sampler: Sampler,
    /// Variables of the whole run.
    pub shared: Arc<Shared>,
    /// Calls that one user makes for all.
    pub turns: Arc<Turns>,
    /// Whether a walk has to know when it took what users share: some call is made for all.
    pub looks_back: bool,
}

/// What a load follows that can be changed while it runs; nothing where it cannot.
pub struct Followed {
    control: Option<ControlSignal>,
    /// Users that are to be there, by load: those with a number below it.
    pub present: Vec<Cell<u32>>,
    /// Those that came.
    pub users: RefCell<Vec<tokio::task::JoinHandle<()>>>,
}

impl Followed {
    /// For all loads of a schedule.
    pub fn new(control: Option<ControlSignal>, schedule: &Schedule) -> Followed {
        let present = schedule.streams.iter().map(|_| Cell::new(0)).collect();
        Followed { control, present, users: RefCell::default() }
    }

    /// Whether the load can be changed.
    pub fn is_followed(&self) -> bool {
        self.control.is_some()
    }

    /// All changes so far.
    pub fn timeline(&self) -> Timeline {
        self.control.as_ref().map_or_else(Timeline::default, |control| control.timeline.borrow().clone())
    }

    /// Whether there are other changes than those.
    pub fn differs(&self, from: &Timeline) -> bool {
        self.control.as_ref().is_some_and(|control| *control.timeline.borrow() != *from)
    }
}

impl Thread {
    /// Whether nothing new may start.
    pub fn is_stopping(&self) -> bool {
        self.stop.get() > StopLevel::Run
    }

    /// A text of the service's as it may be kept: without secrets that it repeats.
    pub fn unseen(&self, text: Option<Arc<str>>) -> Option<Arc<str>> {
        let secrets = &self.scenario.secrets;
        match text {
            Some(text) if !secrets.is_empty() => Some(secrets.mask(&text).into_owned().into()),
            text => text,
        }
    }

    /// Changes counters.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.borrow_mut());
    }

    /// Raises the stop level: wakes whoever sleeps, and cancels what is under way where that is asked for.
    pub fn stop(&self, level: StopLevel) {
        if level > self.stop.get() {
            self.stop.set(level);
            self.timer.hurry();
            self.pool.close();
        }
        if level == StopLevel::Now {
            self.flights.cancel();
        }
    }
}
