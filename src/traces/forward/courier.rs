//! The one owner of everything that waits to be forwarded.
//!
//! While the peer takes messages, several are under way. When it does not, all wait, and after a pause one message goes
//! ahead to see whether it does again.

use super::{Books, Message};
use crate::traces::backoff::Backoff;
use crate::traces::environment::Endpoint;
use crate::traces::peer::{Peer, Sent};
use crate::wire::folder::MessageQueue;
use crate::wire::otlp::Signal;
use bytes::Bytes;
use rand::RngExt;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// Requests under way at once: enough to fill a link with some latency.
const CONCURRENT: usize = 8;
/// A peer that asks for more patience than this is asked again all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(900);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(30),
    longest_asked: LONGEST_ASKED,
};

/// Where each signal goes.
#[derive(Debug)]
pub(super) struct Peers {
    pub traces: Peer,
    pub metrics: Peer,
    pub logs: Peer,
}

impl Peers {
    /// Connections to one URL; they are opened with the first message. Must be called within a tokio runtime.
    pub fn to(url: &str) -> Result<Peers, String> {
        let peer = |signal| Endpoint::from_url(url, signal).and_then(|endpoint| Peer::new(&endpoint));
        Ok(Peers {
            traces: peer(Signal::Traces)?,
            metrics: peer(Signal::Metrics)?,
            logs: peer(Signal::Logs)?,
        })
    }

    async fn send(&self, message: &Message) -> Sent {
        let peer = match message.signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        };
        peer.send(message.signal, message.encoding, &message.bytes).await
    }
}

/// Sends messages, and keeps those that wait.
pub(super) struct Courier {
    peers: Arc<Peers>,
    books: Arc<Books>,
    disk: Option<MessageQueue>,
    memory: VecDeque<Message>,
    memory_bytes: u64,
    memory_max: u64,
    /// Came back from a peer that did not take them.
    again: VecDeque<Message>,
    under_way: JoinSet<Sent>,
    /// What is under way.
    flying: HashMap<Id, Message>,
    failures: u32,
    /// Nothing is sent before this.
    not_before: Instant,
}

impl Courier {
    pub fn new(peers: Peers, books: Arc<Books>, disk: Option<MessageQueue>, memory_max: u64) -> Courier {
        Courier {
            peers: Arc::new(peers),
            books,
            disk,
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_max,
            again: VecDeque::new(),
            under_way: JoinSet::new(),
            flying: HashMap::new(),
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// Works until told to close, and then until all is sent or the time that it is told has passed.
    pub async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
        mut close: oneshot::Receiver<Duration>,
    ) {
        let mut deadline: Option<Instant> = None;
        loop {
            let paused = Instant::now() < self.not_before;
            if !paused {
                self.dispatch();
            }
            if deadline.is_some() && self.under_way.is_empty() && messages.is_empty() && self.is_idle() {
                break;
            }
            let end = deadline.unwrap_or_else(|| Instant::now() + LONGEST_ASKED);
            tokio::select! {
                // What comes is taken first, so that nothing waits where it is not counted.
                biased;
                Some(message) = messages.recv() => self.take(message),
                Some(done) = self.under_way.join_next_with_id() => self.settle(done),
                // A forwarder that was dropped without being finished has no time left.
                asked = &mut close, if deadline.is_none() => {
                    deadline = Some(Instant::now() + asked.unwrap_or_default());
                    messages.close();
                }
                _ = tokio::time::sleep_until(self.not_before), if paused => {}
                _ = tokio::time::sleep_until(end), if deadline.is_some() => break,
            }
        }
        self.leave(messages).await;
    }

    fn is_idle(&self) -> bool {
        let on_disk = self.disk.as_ref().is_some_and(|disk| !disk.is_empty());
        self.again.is_empty() && self.memory.is_empty() && !on_disk
    }

    /// Starts sending as many messages as the peer's state allows.
    fn dispatch(&mut self) {
        let most = if self.failures > 0 { 1 } else { CONCURRENT };
        while self.under_way.len() < most {
            let Some(message) = self.next() else { break };
            let (peers, copy) = (self.peers.clone(), message.clone());
            let task = self.under_way.spawn(async move { peers.send(&copy).await });
            self.flying.insert(task.id(), message);
        }
    }

    fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.again.pop_front() {
            return Some(message);
        }
        if let Some(message) = self.memory.pop_front() {
            self.memory_bytes -= message.bytes.len() as u64;
            return Some(message);
        }
        let disk = self.disk.as_mut()?;
        let queued = disk.pop()?;
        if disk.is_inherited(queued.ticket) {
            Books::add(&self.books.offered, u64::from(queued.records));
        }
        Some(Message {
            signal: queued.signal,
            encoding: queued.encoding,
            bytes: Bytes::from(queued.bytes),
            spans: u64::from(queued.records),
            ticket: Some(queued.ticket),
        })
    }

    /// Keeps a message that came: in memory while nothing waits on disk (what is there is older), else on disk.
    fn take(&mut self, message: Message) {
        let size = message.bytes.len() as u64;
        self.books.on_the_way.fetch_sub(size, Ordering::Relaxed);
        let in_order = self.disk.as_ref().is_none_or(MessageQueue::is_empty);
        if in_order && self.memory_bytes + size <= self.memory_max {
            self.memory_bytes += size;
            self.memory.push_back(message);
        } else {
            self.keep_on_disk(message);
        }
    }

    /// False where the message was dropped.
    fn keep_on_disk(&mut self, message: Message) -> bool {
        let Message { signal, encoding, bytes, spans, .. } = message;
        let why = match &mut self.disk {
            Some(disk) => match disk.push(signal, encoding, &bytes, spans) {
                Ok(true) => return true,
                Ok(false) => "the queue was full: the peer takes spans more slowly than they come".to_owned(),
                Err(error) => format!("the queue could not be written: {error}"),
            },
            None => "the queue was full: the peer takes spans more slowly than they come".to_owned(),
        };
        self.books.first_error(&why);
        Books::add(&self.books.dropped, spans);
        false
    }

    /// Books what became of a message.
    fn settle(&mut self, done: Result<(Id, Sent), JoinError>) {
        let (id, sent) = match done {
            Ok(done) => done,
            // The task failed, not the peer. Sent again, it may be a duplicate but no loss.
            Err(error) => (error.id(), Sent::Later { after: None, why: error.to_string() }),
        };
        let Some(message) = self.flying.remove(&id) else { return };
        match sent {
            Sent::Accepted(partial) => {
                self.failures = 0;
                let rejected = partial.as_ref().map_or(0, |partial| partial.rejected).min(message.spans);
                if let Some(partial) = partial.filter(|_| rejected > 0) {
                    self.books.error(format!("the peer rejected {rejected} spans: {}", partial.message));
                }
                Books::add(&self.books.forwarded, message.spans - rejected);
                Books::add(&self.books.dropped, rejected);
            }
            Sent::Refused { why } => {
                self.failures = 0;
                self.books.error(why);
                Books::add(&self.books.dropped, message.spans);
            }
            Sent::Later { after, why } => {
                self.books.error(why);
                let now = Instant::now();
                // Several that were under way together fail together, and count as one failure.
                let first = now >= self.not_before;
                if first || after.is_some() {
                    let jitter = rand::rng().random_range(0.5..1.0);
                    self.not_before = self.not_before.max(now + BACKOFF.pause(self.failures, after, jitter));
                }
                self.failures = self.failures.saturating_add(u32::from(first)).max(1);
                self.again.push_back(message);
                return;
            }
        }
        if let (Some(ticket), Some(disk)) = (message.ticket, &mut self.disk) {
            disk.done(ticket);
        }
    }

    /// Puts everything that was not sent on disk, where it waits for the next forwarder, or drops it.
    async fn leave(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        self.under_way.shutdown().await;
        let mut left: Vec<Message> = self.again.drain(..).chain(self.memory.drain(..)).collect();
        // A request under way may have reached the peer; sent again, it is a duplicate and not a loss.
        left.extend(self.flying.drain().map(|(_, message)| message));
        let mut waiting = 0;
        // What is on disk already stays there; it is read for its number only, before more is added.
        while let Some(queued) = self.next() {
            waiting += queued.spans;
        }
        for message in left {
            let spans = message.spans;
            if message.ticket.is_some() || self.keep_on_disk(message) {
                waiting += spans;
            }
        }
        Books::add(&self.books.waiting, waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_undercut_what_was_asked() {
        let ms = Duration::from_millis;
        assert_eq!(
            [0, 1, 2, 7, 60].map(|n| BACKOFF.pause(n, None, 1.0)),
            [250, 500, 1_000, 30_000, 30_000].map(ms)
        );
        assert_eq!(BACKOFF.pause(2, None, 0.5), ms(500));
        assert_eq!(
            [1.0, 0.5].map(|jitter| BACKOFF.pause(0, Some(ms(60_000)), jitter)),
            [60_000, 90_000].map(ms)
        );
        assert_eq!(BACKOFF.pause(0, Some(Duration::MAX), 1.0), LONGEST_ASKED);
    }
}
