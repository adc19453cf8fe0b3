//! Exchanges on their way to whoever keeps them: in batches, never lost while there is a receiver.

use crate::record::Exchange;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Exchanges per batch. At 240 bytes each, a batch stays below the size from which malloc maps fresh pages.
const BATCH: usize = 256;
/// Batches that wait for room in the channel before load itself has to wait.
const MOST_WAITING: usize = 64;

/// One thread's outgoing exchanges.
pub struct Outbox {
    sink: mpsc::Sender<Vec<Exchange>>,
    batch: RefCell<Vec<Exchange>>,
    waiting: RefCell<VecDeque<Vec<Exchange>>>,
    closed: Cell<bool>,
}

impl Outbox {
    /// An empty one.
    pub fn new(sink: mpsc::Sender<Vec<Exchange>>) -> Outbox {
        let batch = RefCell::new(Vec::with_capacity(BATCH));
        Outbox { sink, batch, waiting: RefCell::default(), closed: Cell::new(false) }
    }

    /// Takes an exchange, and lets it be looked at where it lies then: whoever looked before would have it moved once more,
    /// and it is 240 bytes.
    #[inline(always)]
    pub fn push(&self, exchange: Exchange, look: impl FnOnce(&Exchange)) {
        let mut batch = self.batch.borrow_mut();
        batch.push(exchange);
        if let Some(taken) = batch.last() {
            look(taken);
        }
        if batch.len() >= BATCH {
            drop(batch);
            self.flush();
        }
    }

    /// Sends what there is, as far as there is room.
    pub fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if !batch.is_empty() {
            let partial = mem::replace(&mut *batch, Vec::with_capacity(BATCH));
            self.waiting.borrow_mut().push_back(partial);
        }
        drop(batch);
        self.offer();
    }

    fn offer(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(batch) = waiting.pop_front() {
            match self.sink.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => return waiting.push_front(batch),
                Err(TrySendError::Closed(_)) => {
                    self.closed.set(true);
                    return waiting.clear();
                }
            }
        }
    }

    /// Whether so much waits that no more may be made.
    pub fn is_stuffed(&self) -> bool {
        self.waiting.borrow().len() >= MOST_WAITING
    }

    /// Whether the receiver is gone: there is no use in going on.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Sends everything, waiting for room.
    pub async fn finish(&self) {
        self.flush();
        loop {
            let Some(batch) = self.waiting.borrow_mut().pop_front() else { return };
            if self.sink.send(batch).await.is_err() {
                self.closed.set(true);
                return self.waiting.borrow_mut().clear();
            }
        }
    }
}
