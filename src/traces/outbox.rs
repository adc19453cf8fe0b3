//! A bounded queue in front of one or more peers. Offering never waits: what does not fit is dropped whole and counted,
//! so that a slow collector cannot slow the load or the sender of spans.

use super::backoff::Backoff;
use super::peer::{Peer, Sent};
use crate::wire::otlp::Encoding;
use crate::wire::otlp::Signal;
use bytes::Bytes;
use rand::RngExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Requests under way at once: enough to fill a link with some latency.
const CONCURRENT: usize = 8;
/// A message is given up after this many tries (about a minute and a half of waiting).
const TRIES: u32 = 9;
const LONGEST_DELAY: Duration = Duration::from_secs(30);
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), longest: LONGEST_DELAY, longest_asked: LONGEST_DELAY };

/// A message that waits to be sent.
#[derive(Debug)]
pub(super) struct Message {
    pub signal: Signal,
    pub encoding: Encoding,
    pub bytes: Bytes,
    /// Spans in it; 0 for other signals.
    pub spans: u64,
}

/// Where each signal goes; a signal without a peer is not offered.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub traces: Option<Arc<Peer>>,
    pub metrics: Option<Arc<Peer>>,
    pub logs: Option<Arc<Peer>>,
}

impl Routes {
    fn peer(&self, signal: Signal) -> Option<&Arc<Peer>> {
        match signal {
            Signal::Traces => self.traces.as_ref(),
            Signal::Metrics => self.metrics.as_ref(),
            Signal::Logs => self.logs.as_ref(),
        }
    }
}

/// Counts; `offered = sent + dropped` once all is done.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    waiting_bytes: AtomicU64,
    pub offered: AtomicU64,
    pub sent: AtomicU64,
    pub dropped: AtomicU64,
    pub other_sent: AtomicU64,
    pub other_dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Ledger {
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, why: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn drop_message(&self, signal: Signal, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
        self.other_dropped.fetch_add(u64::from(signal != Signal::Traces), Ordering::Relaxed);
    }

    fn accept(&self, signal: Signal, spans: u64, rejected: u64) {
        let rejected = rejected.min(spans);
        self.sent.fetch_add(spans - rejected, Ordering::Relaxed);
        self.dropped.fetch_add(rejected, Ordering::Relaxed);
        self.other_sent.fetch_add(u64::from(signal != Signal::Traces), Ordering::Relaxed);
    }
}

/// The giving end; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub(super) struct Offers {
    queue: mpsc::UnboundedSender<Message>,
    ledger: Arc<Ledger>,
    limit: u64,
}

impl Offers {
    /// Queues a message, or drops and counts it where the queue is full or closed. Never waits.
    pub fn offer(&self, message: Message) {
        let (signal, spans, size) = (message.signal, message.spans, message.bytes.len() as u64);
        let ledger = &self.ledger;
        ledger.offered.fetch_add(spans, Ordering::Relaxed);
        let before = ledger.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > self.limit {
            ledger.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            ledger.drop_message(signal, spans);
            if ledger.last_error().is_none() {
                ledger
                    .set_error("the queue was full: the peer takes spans more slowly than they come".into());
            }
        } else if self.queue.send(message).is_err() {
            ledger.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            ledger.drop_message(signal, spans);
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

/// The queue and the task that empties it.
#[derive(Debug)]
pub(super) struct Outbox {
    offers: Offers,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outbox {
    /// Starts the sending task on the current tokio runtime.
    pub fn start(routes: Routes, limit: usize) -> Outbox {
        let (queue, waiting) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let ledger = Arc::new(Ledger::default());
        let offers = Offers { queue, ledger: ledger.clone(), limit: limit as u64 };
        let task = tokio::spawn(empty(Arc::new(routes), ledger, waiting, closed));
        Outbox { offers, closing, task }
    }

    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Takes no more, sends what waits until `deadline` has passed, and counts the rest as dropped.
    pub async fn finish(mut self, deadline: Duration) -> Arc<Ledger> {
        let _ = self.closing.send(true);
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = (&mut self.task).await;
        }
        let ledger = self.offers.ledger.clone();
        // Whatever was neither sent nor refused is lost now.
        let (offered, sent) = (ledger.offered.load(Ordering::Relaxed), ledger.sent.load(Ordering::Relaxed));
        ledger.dropped.store(offered - sent.min(offered), Ordering::Relaxed);
        ledger
    }
}

/// Sends what comes, a few messages at a time.
async fn empty(
    routes: Arc<Routes>,
    ledger: Arc<Ledger>,
    mut waiting: mpsc::UnboundedReceiver<Message>,
    mut closed: watch::Receiver<bool>,
) {
    let mut under_way = JoinSet::new();
    let mut open = true;
    loop {
        if under_way.len() >= CONCURRENT {
            under_way.join_next().await;
            continue;
        }
        let message = tokio::select! {
            _ = closed.wait_for(|closed| *closed), if open => {
                waiting.close();
                open = false;
                continue;
            }
            Some(_) = under_way.join_next() => continue,
            message = waiting.recv() => message,
        };
        let Some(message) = message else { break };
        under_way.spawn(deliver(routes.clone(), ledger.clone(), message));
    }
    while under_way.join_next().await.is_some() {}
}

/// Sends one message, again where that can help, and keeps the books.
async fn deliver(routes: Arc<Routes>, ledger: Arc<Ledger>, message: Message) {
    let Message { signal, encoding, bytes, spans } = message;
    let size = bytes.len() as u64;
    match routes.peer(signal) {
        Some(peer) => {
            let send = || peer.send(signal, encoding, &bytes);
            // Backends without logs refuse them, and that costs nobody anything.
            let quiet = Ledger::default();
            let told = if signal == Signal::Logs { &quiet } else { &*ledger };
            let outcome = try_often(told, send, tokio::time::sleep).await;
            match outcome {
                Some(rejected) => ledger.accept(signal, spans, rejected),
                None => ledger.drop_message(signal, spans),
            }
        }
        None => ledger.drop_message(signal, spans),
    }
    ledger.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
}

/// Spans that the peer rejected of a message that it took; `None` where it never took it.
async fn try_often<S: Future<Output = Sent>, P: Future<Output = ()>>(
    ledger: &Ledger,
    send: impl Fn() -> S,
    sleep: impl Fn(Duration) -> P,
) -> Option<u64> {
    for failures in 0..TRIES {
        match send().await {
            Sent::Accepted(None) => return Some(0),
            Sent::Accepted(Some(partial)) => {
                if partial.rejected > 0 {
                    ledger.set_error(format!(
                        "the peer rejected {} spans: {}",
                        partial.rejected, partial.message
                    ));
                }
                return Some(partial.rejected);
            }
            Sent::Refused { why } => {
                ledger.set_error(why);
                return None;
            }
            Sent::Later { after, why } => {
                ledger.set_error(why);
                if failures + 1 < TRIES {
                    let jitter = rand::rng().random_range(0.5..1.0);
                    sleep(BACKOFF.pause(failures, after, jitter)).await;
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::PartialSuccess;
    use std::cell::RefCell;

    #[test]
    fn delays_double_up_to_a_limit_and_never_undercut_what_was_asked() {
        let ms = |n| Duration::from_millis(n);
        assert_eq!(
            [0, 1, 2, 8, 60].map(|n| BACKOFF.pause(n, None, 1.0)),
            [500, 1_000, 2_000, 30_000, 30_000].map(ms)
        );
        assert_eq!(BACKOFF.pause(3, None, 0.5), ms(2_000));
        assert_eq!(BACKOFF.pause(0, Some(ms(3_000)), 1.0), ms(3_000));
        assert_eq!(BACKOFF.pause(0, Some(ms(3_000)), 0.5), ms(4_500));
        assert_eq!(BACKOFF.pause(0, Some(Duration::from_secs(86_400)), 1.0), LONGEST_DELAY);
    }

    #[tokio::test]
    async fn only_what_can_help_is_tried_again() {
        let later = || Sent::Later { after: None, why: "busy".into() };
        let refused = || Sent::Refused { why: "no".into() };
        let partial = PartialSuccess { rejected: 2, message: "two".into() };
        for (answers, outcome, error) in [
            (vec![Sent::Accepted(None)], Some(0), None),
            (vec![later(), later(), Sent::Accepted(None)], Some(0), Some("busy")),
            (vec![later(), refused()], None, Some("no")),
            (vec![Sent::Accepted(Some(partial))], Some(2), Some("the peer rejected 2 spans: two")),
            ((0..TRIES).map(|_| later()).collect(), None, Some("busy")),
        ] {
            let ledger = Ledger::default();
            let answers = RefCell::new(answers);
            let tries = answers.borrow().len();
            let pauses = RefCell::new(0);
            let send = || std::future::ready(answers.borrow_mut().remove(0));
            let sleep = |_| {
                *pauses.borrow_mut() += 1;
                std::future::ready(())
            };
            let seen = try_often(&ledger, send, sleep).await;
            assert_eq!((seen, ledger.last_error().as_deref()), (outcome, error));
            assert!(answers.borrow().is_empty(), "not all answers were asked for");
            assert_eq!(*pauses.borrow(), tries - 1);
        }
    }
}
