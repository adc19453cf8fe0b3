//! Hands what the receiver took on to a Collector, Jaeger or the like, unchanged, so that an application needs one
//! endpoint only.
//!
//! The sender of spans is never slowed: offering is a push onto a channel. A thread of its own (the [`courier`]) sends,
//! tries again for as long as it takes, and keeps what waits in memory first and then on disk, up to a cap. What is beyond
//! the cap, and what the peer refuses for good, is dropped whole and counted.

mod courier;
#[cfg(test)]
mod tests;

use crate::wire::folder::MessageQueue;
use crate::wire::otlp::{Encoding, Signal};
use bytes::Bytes;
use courier::{Courier, Peers};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Bytes that may be on their way to the courier: it empties the channel at once unless the disk holds it up.
const ON_THE_WAY: u64 = 32 << 20;

/// Where to forward, and how much may wait.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// The peer, understood as [`Endpoint::from_url`](super::Endpoint::from_url) says: port 4317 without a path and `grpc://` mean gRPC, everything
    /// else HTTP.
    pub url: String,
    /// Folder for what does not fit into memory; without one, memory is all.
    pub queue: Option<PathBuf>,
    /// Bytes that may wait in the folder.
    pub queue_max: u64,
    /// Bytes that may wait in memory.
    pub memory_max: u64,
}

impl ForwardConfig {
    /// Everything in memory, up to 64 MiB.
    pub fn new(url: &str) -> ForwardConfig {
        ForwardConfig { url: url.to_owned(), queue: None, queue_max: 0, memory_max: 64 << 20 }
    }

    /// Up to 16 MiB in memory, the rest in a folder.
    pub fn with_queue(url: &str, folder: PathBuf, max: u64) -> ForwardConfig {
        ForwardConfig { url: url.to_owned(), queue: Some(folder), queue_max: max, memory_max: 16 << 20 }
    }
}

/// Why a forwarder could not be started: a sentence with the URL and what is wrong.
#[derive(Debug)]
pub struct ForwardError {
    why: String,
    queue_in_use: bool,
}

impl ForwardError {
    /// Whether another process has the folder of the queue; another folder will do.
    pub fn queue_in_use(&self) -> bool {
        self.queue_in_use
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for ForwardError {}

/// What became of forwarding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardEnd {
    /// Spans that the peer took.
    pub forwarded: u64,
    /// Spans dropped: beyond the cap, refused by the peer, or left over where there is no folder.
    pub dropped: u64,
    /// Spans that wait in the folder; the next forwarder with this folder sends them.
    pub waiting: u64,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
}

/// Forwards to one URL.
#[derive(Debug)]
pub struct Forwarder {
    handle: ForwardHandle,
    closing: oneshot::Sender<Duration>,
    ended: oneshot::Receiver<()>,
}

/// The giving end of a forwarder, for the receiver.
#[derive(Clone, Debug)]
pub struct ForwardHandle {
    channel: mpsc::UnboundedSender<Message>,
    books: Arc<Books>,
}

/// A message that is to be handed on.
#[derive(Clone, Debug)]
struct Message {
    signal: Signal,
    encoding: Encoding,
    bytes: Bytes,
    spans: u64,
    /// Where it lies on disk, if it does.
    ticket: Option<u64>,
}

/// Counts of spans; in the end `offered = forwarded + dropped + waiting`.
#[derive(Debug, Default)]
struct Books {
    on_the_way: AtomicU64,
    offered: AtomicU64,
    forwarded: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Books {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    fn error(&self, why: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn first_error(&self, why: &str) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() {
            *last = Some(why.to_owned());
        }
    }
}

impl Forwarder {
    /// Starts a forwarder on a thread of its own. A peer that is not there yet costs retries only; a URL that is none, or
    /// a folder that cannot be used, is an error.
    pub fn start(config: &ForwardConfig) -> Result<Forwarder, ForwardError> {
        let fault = |why: String| ForwardError {
            why: format!("--forward {}: {why}", config.url),
            queue_in_use: false,
        };
        let queue = match &config.queue {
            Some(folder) => {
                let opened = MessageQueue::open(folder, config.queue_max);
                Some(opened.map_err(|error| ForwardError {
                    queue_in_use: error.kind() == io::ErrorKind::WouldBlock,
                    ..fault(format!("cannot use {}: {error}", folder.display()))
                })?)
            }
            None => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        let peers = {
            // Connections belong to the courier's runtime.
            let _entered = runtime.enter();
            Peers::to(&config.url)
        };
        let peers = match peers {
            Ok(peers) => peers,
            Err(why) => {
                // Dropping a runtime blocks, and the caller may be asynchronous.
                runtime.shutdown_background();
                return Err(fault(why));
            }
        };
        let (channel, messages) = mpsc::unbounded_channel();
        let (closing, close) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let books = Arc::new(Books::default());
        let courier = Courier::new(peers, books.clone(), queue, config.memory_max);
        std::thread::Builder::new()
            .name("hotspan-forward".into())
            .spawn(move || {
                runtime.block_on(courier.run(messages, close));
                let _ = end.send(());
            })
            .map_err(|error| fault(error.to_string()))?;
        Ok(Forwarder { handle: ForwardHandle { channel, books }, closing, ended })
    }

    /// An end to offer messages to.
    pub fn handle(&self) -> ForwardHandle {
        self.handle.clone()
    }

    /// Sends what waits, for as long as `deadline` allows; what is left goes to the folder, or is dropped without one.
    pub async fn finish(self, deadline: Duration) -> ForwardEnd {
        let _ = self.closing.send(deadline);
        // An error means that the thread has ended already.
        let _ = self.ended.await;
        let books = &self.handle.books;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (offered, forwarded, waiting) =
            (read(&books.offered), read(&books.forwarded), read(&books.waiting));
        // Whatever is neither with the peer nor on disk is lost now.
        let dropped = offered.saturating_sub(forwarded + waiting);
        books.dropped.store(dropped, Ordering::Relaxed);
        let last_error = books.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ForwardEnd { forwarded, dropped, waiting, last_error }
    }
}

impl ForwardHandle {
    /// Hands a message on as it was received. Never waits.
    pub fn offer(&self, signal: Signal, encoding: Encoding, bytes: Bytes, spans: u64) {
        let size = bytes.len() as u64;
        Books::add(&self.books.offered, spans);
        let before = self.books.on_the_way.fetch_add(size, Ordering::Relaxed);
        if before + size > ON_THE_WAY.max(size) {
            self.books.on_the_way.fetch_sub(size, Ordering::Relaxed);
            Books::add(&self.books.dropped, spans);
            self.books.first_error("messages came faster than they could be queued");
            return;
        }
        if self.channel.send(Message { signal, encoding, bytes, spans, ticket: None }).is_err() {
            self.books.on_the_way.fetch_sub(size, Ordering::Relaxed);
            Books::add(&self.books.dropped, spans);
        }
    }

    /// Spans handed on and spans dropped so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.books.forwarded.load(Ordering::Relaxed), self.books.dropped.load(Ordering::Relaxed))
    }
}
