//! What can be seen of a run while it runs, and how it is stopped.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::sync::watch;

/// Counters of the whole run, brought up to date about every 50 ms. Gauges go up and down, the others only up.
#[derive(Debug, Default)]
pub struct LiveCounters {
    /// Gauge: virtual users that are present (closed model) or iterations under way (open model).
    pub users: AtomicU64,
    /// Gauge: requests under way.
    pub in_flight: AtomicU64,
    /// Gauge: arrivals that wait because as many connections as allowed are busy.
    pub waiting: AtomicU64,
    /// Arrivals that were due (open model).
    pub due: AtomicU64,
    /// Iterations begun.
    pub iterations: AtomicU64,
    /// Requests that were handed to a connection.
    pub sent: AtomicU64,
    /// Exchanges that are over.
    pub done: AtomicU64,
    /// Exchanges that failed or had a wrong status.
    pub errors: AtomicU64,
    /// Exchanges with a check that did not hold.
    pub checks_failed: AtomicU64,
    /// Exchanges that started more than 5 ms after they were due.
    pub late: AtomicU64,
    /// Arrivals and requests that were due and never sent.
    pub not_sent: AtomicU64,
    /// Bytes of bodies received.
    pub bytes_received: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Connections given up because bytes came that belonged to no answer.
    pub leftovers: AtomicU64,
    /// Requests that were answered from a user's cache and never sent.
    pub cached: AtomicU64,
    /// Times that load had to wait because exchanges were not taken from the channel.
    pub stalls: AtomicU64,
    /// Longest that an event loop was late since this was last taken (and set to 0), in nanoseconds.
    pub lag: AtomicU64,
    /// Index of the stage that load is in.
    pub stage: AtomicU32,
}

/// How far a run is to be stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// Not at all.
    #[default]
    Run,
    /// Nothing new starts; what is under way may end.
    Drain,
    /// What is under way is cancelled.
    Now,
}

/// The handle by which a run is stopped.
#[derive(Clone, Debug)]
pub struct Stopper {
    level: watch::Sender<StopLevel>,
}

/// What a run listens to.
#[derive(Clone, Debug)]
pub struct StopSignal {
    pub(super) level: watch::Receiver<StopLevel>,
}

/// A handle and what it acts upon. Dropping all handles does not stop the run.
pub fn stop_channel() -> (Stopper, StopSignal) {
    let (sender, receiver) = watch::channel(StopLevel::Run);
    (Stopper { level: sender }, StopSignal { level: receiver })
}

impl Stopper {
    /// Starts nothing new and lets what is under way end.
    pub fn drain(&self) {
        self.raise(StopLevel::Drain);
    }

    /// Cancels what is under way.
    pub fn now(&self) {
        self.raise(StopLevel::Now);
    }

    /// Whether nothing new starts any more.
    pub fn is_stopping(&self) -> bool {
        *self.level.borrow() > StopLevel::Run
    }

    fn raise(&self, level: StopLevel) {
        self.level.send_if_modified(|current| {
            let higher = level > *current;
            *current = level.max(*current);
            higher
        });
    }
}

/// One thread's share of the counters; added to the run's own now and then, because shared counters at 100,000 requests
/// per second would cost more than the requests' histograms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub users: u64,
    pub in_flight: u64,
    pub waiting: u64,
    pub due: u64,
    pub iterations: u64,
    pub sent: u64,
    pub done: u64,
    pub errors: u64,
    pub checks_failed: u64,
    pub late: u64,
    pub not_sent: u64,
    pub bytes_received: u64,
    pub connections: u64,
    pub leftovers: u64,
    pub cached: u64,
    pub stalls: u64,
    /// Most requests under way at once; not among the live counters.
    pub most_in_flight: u64,
}

impl Counts {
    /// Adds what another thread counted, as far as it is kept beyond the load.
    pub fn add(&mut self, other: &Counts) {
        self.done += other.done;
        self.sent += other.sent;
        self.not_sent += other.not_sent;
        self.late += other.late;
        self.iterations += other.iterations;
        self.most_in_flight += other.most_in_flight;
        self.cached += other.cached;
    }

    /// Adds what changed since `published` to the run's counters.
    pub fn publish(&self, published: &mut Counts, live: &LiveCounters) {
        let pairs = [
            (&live.users, self.users, published.users),
            (&live.in_flight, self.in_flight, published.in_flight),
            (&live.waiting, self.waiting, published.waiting),
            (&live.due, self.due, published.due),
            (&live.iterations, self.iterations, published.iterations),
            (&live.sent, self.sent, published.sent),
            (&live.done, self.done, published.done),
            (&live.errors, self.errors, published.errors),
            (&live.checks_failed, self.checks_failed, published.checks_failed),
            (&live.late, self.late, published.late),
            (&live.not_sent, self.not_sent, published.not_sent),
            (&live.bytes_received, self.bytes_received, published.bytes_received),
            (&live.connections, self.connections, published.connections),
            (&live.leftovers, self.leftovers, published.leftovers),
            (&live.cached, self.cached, published.cached),
            (&live.stalls, self.stalls, published.stalls),
        ];
        for (counter, now, before) in pairs {
            // Wrapping addition of a wrapped difference lets gauges fall.
            counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
        *published = *self;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_of_several_threads_add_up_and_fall() {
        let live = LiveCounters::default();
        let (mut a, mut b) =
            (Counts { users: 5, sent: 3, ..Counts::default() }, Counts { users: 2, ..Counts::default() });
        let (mut seen_a, mut seen_b) = (Counts::default(), Counts::default());
        a.publish(&mut seen_a, &live);
        b.publish(&mut seen_b, &live);
        assert_eq!(live.users.load(Ordering::Relaxed), 7);
        (a.users, a.sent, b.users) = (1, 9, 0);
        a.publish(&mut seen_a, &live);
        b.publish(&mut seen_b, &live);
        assert_eq!((live.users.load(Ordering::Relaxed), live.sent.load(Ordering::Relaxed)), (1, 9));
    }

    #[test]
    fn a_stop_is_never_taken_back() {
        let (stopper, signal) = stop_channel();
        stopper.now();
        stopper.drain();
        assert_eq!(*signal.level.borrow(), StopLevel::Now);
    }
}
