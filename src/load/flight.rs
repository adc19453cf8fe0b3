//! Deadlines of requests under way. One slot per virtual user, written twice per request; a sweep every few milliseconds
//! finds those that are over. No timer per request is needed, and stopping a run reaches every request at once.

use crate::record::Timestamp;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// All requests of a thread that are under way.
#[derive(Default)]
pub struct Flights {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Default)]
struct Slot {
    deadline: Option<Timestamp>,
    waker: Option<Waker>,
    ended: Option<Ended>,
}

/// Why a request was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its deadline has passed.
    TimedOut,
    /// The run is stopped at once.
    Cancelled,
}

impl Flights {
    /// Takes a slot.
    pub fn slot(self: &Rc<Self>) -> Flight {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        slots[index] = Slot::default();
        Flight { flights: Rc::clone(self), index }
    }

    /// Ends what is over.
    pub fn sweep(&self, now: Timestamp) {
        self.end(Ended::TimedOut, |deadline| deadline <= now);
    }

    /// Ends everything.
    pub fn cancel(&self) {
        self.end(Ended::Cancelled, |_| true);
    }

    fn end(&self, why: Ended, which: impl Fn(Timestamp) -> bool) {
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.ended.is_none() && slot.deadline.is_some_and(&which) {
                slot.ended = Some(why);
                if let Some(waker) = &slot.waker {
                    waker.wake_by_ref();
                }
            }
        }
    }
}

/// One user's slot.
pub struct Flight {
    flights: Rc<Flights>,
    index: usize,
}

impl Flight {
    /// From now on until `deadline`.
    pub fn begin(&self, deadline: Timestamp) {
        let slot = &mut self.flights.slots.borrow_mut()[self.index];
        slot.deadline = Some(deadline);
        slot.ended = None;
    }

    /// Nothing is under way any more.
    pub fn finish(&self) {
        self.flights.slots.borrow_mut()[self.index].deadline = None;
    }

    /// Ready when the request was cut short.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        let slot = &mut self.flights.slots.borrow_mut()[self.index];
        if let Some(ended) = slot.ended {
            return Poll::Ready(ended);
        }
        // A task's waker hardly ever changes, so it is stored once and not once per request.
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The future's outcome, unless the deadline comes first.
    pub async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Ended> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.slots.borrow_mut()[self.index] = Slot::default();
        self.flights.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polled(flight: &Flight) -> Poll<Ended> {
        flight.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_what_is_over_ends() {
        let flights = Rc::new(Flights::default());
        let (early, late, idle) = (flights.slot(), flights.slot(), flights.slot());
        early.begin(Timestamp(10));
        late.begin(Timestamp(20));
        flights.sweep(Timestamp(10));
        assert_eq!(polled(&early), Poll::Ready(Ended::TimedOut));
        assert!(polled(&late).is_pending() && polled(&idle).is_pending());
        late.finish();
        flights.cancel();
        assert!(polled(&late).is_pending(), "a finished request is not cancelled");
        late.begin(Timestamp(30));
        assert!(polled(&late).is_pending());
        flights.cancel();
        assert_eq!(polled(&late), Poll::Ready(Ended::Cancelled));
    }

    #[test]
    fn slots_are_used_again() {
        let flights = Rc::new(Flights::default());
        let first = flights.slot();
        first.begin(Timestamp(1));
        flights.sweep(Timestamp(1));
        drop(first);
        let second = flights.slot();
        assert!(polled(&second).is_pending());
        assert_eq!(flights.slots.borrow().len(), 1);
    }
}
