//! Connections of the open model: as many as needed up to a limit, the warmest first.

use super::connection::{Connection, Http2};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Exchanges that one HTTP/2 connection carries at once: what most servers allow.
const STREAMS: usize = 100;

/// One thread's connections by endpoint, and the permits to use them.
pub struct Pool {
    idle: RefCell<Vec<Vec<Connection>>>,
    shared: RefCell<Vec<Vec<Http2>>>,
    permits: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    closed: Cell<bool>,
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
    /// With that many endpoints and at most `limit` exchanges at once.
    pub fn new(endpoints: usize, limit: usize) -> Pool {
        Pool {
            idle: RefCell::new((0..endpoints).map(|_| Vec::new()).collect()),
            shared: RefCell::new((0..endpoints).map(|_| Vec::new()).collect()),
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
    }

    /// An open connection, if there is one.
    pub fn take(&self, endpoint: usize) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        // The last one given back is the likeliest to be open still; each one looked at is used or dropped.
        while let Some(connection) = idle[endpoint].pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        let mut shared = self.shared.borrow_mut();
        shared[endpoint].retain(|c| Connection::Http2(c.clone()).is_usable());
        let free = shared[endpoint].iter().find(|c| c.streams.get() < STREAMS)?;
        free.streams.set(free.streams.get() + 1);
        Some(Connection::Http2(free.clone()))
    }

    /// Takes back a connection after an exchange; a new HTTP/2 connection becomes known to all.
    pub fn give(&self, endpoint: usize, connection: Connection) {
        match connection {
            Connection::Http1(_) if connection.is_usable() => {
                self.idle.borrow_mut()[endpoint].push(connection)
            }
            Connection::Http1(_) => {}
            Connection::Http2(connection) => {
                connection.streams.set(connection.streams.get().saturating_sub(1))
            }
        }
    }

    /// Lets others use a new HTTP/2 connection at once.
    pub fn announce(&self, endpoint: usize, connection: &Connection) {
        if let Connection::Http2(connection) = connection {
            connection.streams.set(connection.streams.get() + 1);
            self.shared.borrow_mut()[endpoint].push(connection.clone());
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
        let pool = Rc::new(Pool::new(1, 1));
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
}
