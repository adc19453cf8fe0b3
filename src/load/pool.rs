//! Connections that users share: as many as needed up to a limit, the warmest first.

use super::connection::{Connection, Http2};
use crate::record::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use tokio::sync::Notify;

/// Exchanges that one HTTP/2 connection carries at once: what most servers allow.
const STREAMS: usize = 100;

/// One thread's connections by endpoint, and the permits to use them.
pub struct Pool {
    idle: RefCell<Vec<Vec<Connection>>>,
    shared: RefCell<Vec<Vec<Http2>>>,
    permits: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    closed: Cell<bool>,
    /// Endpoints whose connections are limited.
    limited: Vec<Option<Limit>>,
    /// Endpoints to which every user has connections of its own.
    per_user: Vec<bool>,
}

/// Whose the connections to an endpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Each user's own in the closed model, shared in the open one.
    ByModel,
    /// Each user's own.
    PerUser,
    /// Shared by all users: at most so many.
    Limited(usize),
}

/// How many connections to an endpoint there may be.
struct Limit {
    most: usize,
    /// Those that are open or being opened.
    open: Cell<usize>,
    freed: Notify,
}

/// One of the connections that there may be. Given back when dropped.
pub struct Slot {
    /// Weak, because the pool holds the connections that hold their slots.
    pool: Weak<Pool>,
    endpoint: usize,
}

#[derive(Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    state: Cell<WaiterState>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum WaiterState {
    #[default]
    Waiting,
    Admitted,
    Gone,
}

/// The right to have one exchange under way. Given back when dropped.
pub struct Permit {
    pool: Rc<Pool>,
}

impl Pool {
    /// With at most `limit` exchanges at once; each endpoint with its own limit of connections, or none.
    pub fn new(endpoints: &[Terms], limit: usize) -> Pool {
        let of = |terms: &Terms| match terms {
            Terms::Limited(most) => {
                Some(Limit { most: (*most).max(1), open: Cell::new(0), freed: Notify::new() })
            }
            _ => None,
        };
        Pool {
            idle: RefCell::new(endpoints.iter().map(|_| Vec::new()).collect()),
            shared: RefCell::new(endpoints.iter().map(|_| Vec::new()).collect()),
            limited: endpoints.iter().map(of).collect(),
            per_user: endpoints.iter().map(|terms| *terms == Terms::PerUser).collect(),
            permits: Cell::new(limit.max(1)),
            waiting: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    /// Waits for its turn, first come first served. `None` when it would have to wait and the load is over; whoever need
    /// not wait may go even then, a little late.
    pub async fn permit(self: &Rc<Pool>) -> Option<Permit> {
        if self.permits.get() > 0 {
            self.permits.set(self.permits.get() - 1);
            return Some(Permit { pool: Rc::clone(self) });
        }
        if self.closed.get() {
            return None;
        }
        let waiter = Rc::new(Waiter::default());
        self.waiting.borrow_mut().push_back(Rc::clone(&waiter));
        poll_fn(|cx| match waiter.state.get() {
            WaiterState::Waiting => {
                waiter.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            WaiterState::Admitted => Poll::Ready(Some(Permit { pool: Rc::clone(self) })),
            WaiterState::Gone => Poll::Ready(None),
        })
        .await
    }

    /// How many wait for a permit.
    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Sends everybody away who waits, and whoever would have to.
    pub fn close(&self) {
        self.closed.set(true);
        for waiter in self.waiting.take() {
            waiter.decide(WaiterState::Gone);
        }
        for limit in self.limited.iter().flatten() {
            limit.freed.notify_waiters();
        }
    }

    /// Whether the connections to an endpoint are shared by all users and limited.
    pub fn is_limited(&self, endpoint: usize) -> bool {
        self.limited.get(endpoint).is_some_and(Option::is_some)
    }

    /// Whether every user has connections of its own to an endpoint.
    pub fn is_per_user(&self, endpoint: usize) -> bool {
        self.per_user.get(endpoint).copied().unwrap_or_default()
    }

    /// Whether there is an endpoint to which every user has connections of its own.
    pub fn is_any_per_user(&self) -> bool {
        self.per_user.contains(&true)
    }

    /// Whether the load is over.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The right to open another connection to a limited endpoint, if there may be one more.
    pub fn slot(self: &Rc<Pool>, endpoint: usize) -> Option<Slot> {
        let limit = self.limited.get(endpoint)?.as_ref()?;
        (limit.open.get() < limit.most).then(|| {
            limit.open.set(limit.open.get() + 1);
            Slot { pool: Rc::downgrade(self), endpoint }
        })
    }

    /// Waits until a connection to a limited endpoint may have become free.
    pub async fn freed(&self, endpoint: usize) {
        if let Some(Some(limit)) = self.limited.get(endpoint) {
            limit.freed.notified().await;
        }
    }

    fn tell(&self, endpoint: usize) {
        if let Some(Some(limit)) = self.limited.get(endpoint) {
            limit.freed.notify_one();
        }
    }

    /// Hangs up where a connection has been idle, or open, for too long.
    pub fn expire(&self, now: Timestamp) {
        for idle in self.idle.borrow_mut().iter_mut() {
            idle.retain(|connection| connection.is_usable(now));
        }
        for shared in self.shared.borrow_mut().iter_mut() {
            shared.retain(|connection| connection.streams.get() > 0 || connection.is_usable(now));
        }
    }

    /// An open connection, if there is one.
    pub fn take(&self, endpoint: usize, now: Timestamp) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        // The last one given back is the likeliest to be open still; each one looked at is used or dropped.
        while let Some(connection) = idle[endpoint].pop() {
            if connection.is_usable(now) {
                return Some(connection);
            }
        }
        let mut shared = self.shared.borrow_mut();
        shared[endpoint].retain(|c| c.is_usable(now));
        let free = shared[endpoint].iter().find(|c| c.streams.get() < STREAMS)?;
        free.streams.set(free.streams.get() + 1);
        Some(Connection::Http2(free.clone()))
    }

    /// Takes back a connection after an exchange; a new HTTP/2 connection becomes known to all.
    pub fn give(&self, endpoint: usize, connection: Connection) {
        match connection {
            Connection::Http1(_) if connection.is_open() => self.idle.borrow_mut()[endpoint].push(connection),
            Connection::Http1(_) => {}
            Connection::Http2(connection) => {
                connection.streams.set(connection.streams.get().saturating_sub(1))
            }
        }
        self.tell(endpoint);
    }

    /// Lets others use a new HTTP/2 connection at once.
    pub fn announce(&self, endpoint: usize, connection: &Connection) {
        if let Connection::Http2(connection) = connection {
            connection.streams.set(connection.streams.get() + 1);
            self.shared.borrow_mut()[endpoint].push(connection.clone());
            // It has room for many of those who wait for it.
            if let Some(Some(limit)) = self.limited.get(endpoint) {
                limit.freed.notify_waiters();
            }
        }
    }
}

impl Waiter {
    fn decide(&self, state: WaiterState) {
        self.state.set(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        if let Some(Some(limit)) = pool.limited.get(self.endpoint) {
            limit.open.set(limit.open.get().saturating_sub(1));
        }
        pool.tell(self.endpoint);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The permit goes to the next in line, whose future is polled soon: waiters are never dropped while they wait.
        match self.pool.waiting.borrow_mut().pop_front() {
            Some(waiter) => waiter.decide(WaiterState::Admitted),
            None => self.pool.permits.set(self.pool.permits.get() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    fn polled(future: std::pin::Pin<&mut impl Future<Output = Option<Permit>>>) -> Poll<Option<Permit>> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn permits_go_round_in_order_and_end_with_the_load() {
        let pool = Rc::new(Pool::new(&[Terms::ByModel], 1));
        let Poll::Ready(Some(first)) = polled(pin!(pool.permit())) else { panic!("the first is free") };
        let (mut second, mut third) = (pin!(pool.permit()), pin!(pool.permit()));
        assert!(polled(second.as_mut()).is_pending() && polled(third.as_mut()).is_pending());
        assert_eq!(pool.waiting(), 2);
        drop(first);
        assert!(polled(third.as_mut()).is_pending());
        let Poll::Ready(Some(held)) = polled(second) else { panic!("it is the second's turn") };
        pool.close();
        assert!(matches!(polled(third), Poll::Ready(None)));
        assert!(matches!(polled(pin!(pool.permit())), Poll::Ready(None)));
        drop(held);
        assert!(matches!(polled(pin!(pool.permit())), Poll::Ready(Some(_))), "a free one goes even now");
    }

    #[test]
    fn a_place_that_is_given_back_wakes_one_who_waits() {
        let pool = Rc::new(Pool::new(&[Terms::PerUser, Terms::Limited(1)], 10));
        assert!(pool.is_per_user(0) && !pool.is_limited(0) && pool.is_limited(1) && pool.slot(0).is_none());
        let slot = pool.slot(1).unwrap();
        assert!(pool.slot(1).is_none(), "there may be one");
        let mut cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (pin!(pool.freed(1)), pin!(pool.freed(1)));
        assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
        drop(slot);
        assert!(first.poll(&mut cx).is_ready() && second.as_mut().poll(&mut cx).is_pending());
        assert!(pool.slot(1).is_some());
        pool.close();
        assert!(second.poll(&mut cx).is_ready(), "nobody waits beyond the load");
    }
}
