//! The embedded OTLP receiver: gRPC and HTTP, protobuf and JSON, plain, gzip, zstd and deflate, with TLS if wanted.
//!
//! Messages are looked over (ids, structure) and handed on as bytes; nothing is decoded. An answer is given only after
//! the owner of the spans has said what became of them. Both ports speak both protocols, so that an application with
//! the wrong one of the two configured works all the same.

mod answer;
mod body;
#[cfg(test)]
mod hostile_tests;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod listen;
mod route;
mod service;
#[cfg(test)]
pub(super) mod tests;
mod unpack;

use super::clock::Clock;
use super::forward::ForwardHandle;
use super::tls::ServerTls;
use crate::record::{ReceiverFacts, Timestamp};
use crate::wire::otlp::{Encoding, ScanResult, Signal};
use body::Budget;
use bytes::Bytes;
use ledger::Ledger;
use listen::{Connections, accept, bind};
use route::Origins;
use service::Service;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 1_024;
/// Connections at once where the system gives very few file descriptors.
const CONNECTIONS_MIN: usize = 4;
/// A peer that sends nothing for this long is not waited for any longer.
const SILENCE: Duration = Duration::from_secs(30);
/// How long connections may take to end their requests when the receiver stops.
const GRACE: Duration = Duration::from_secs(3);

/// Where to listen and how much to take.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Address for OTLP/gRPC; port 0 lets the system choose.
    pub grpc: Option<SocketAddr>,
    /// Address for OTLP/HTTP; port 0 lets the system choose.
    pub http: Option<SocketAddr>,
    /// Largest message in bytes, before and after decompression.
    pub max_message: usize,
    /// Bytes of messages that may be under way at once; beyond, senders wait, and in the end are told to come back.
    pub max_under_way: usize,
    /// A peer that sends nothing for this long is not waited for any longer.
    pub patience: Duration,
    /// Certificate and key; without, connections are plain.
    pub tls: Option<ServerTls>,
    /// Origins of web pages that may send (`https://shop.example`, `*` for all); none by default.
    pub origins: Vec<String>,
    /// Where everything that is taken goes as well.
    pub forward: Option<ForwardHandle>,
}

impl Default for ReceiverConfig {
    fn default() -> ReceiverConfig {
        ReceiverConfig {
            grpc: Some(SocketAddr::from(([127, 0, 0, 1], 4317))),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 4318))),
            max_message: 64 << 20,
            max_under_way: 192 << 20,
            patience: SILENCE,
            tls: None,
            origins: Vec::new(),
            forward: None,
        }
    }
}

/// One sound message with something to keep in it. Whoever takes it must answer through `ack`.
#[derive(Debug)]
pub struct Incoming {
    /// How it is written.
    pub encoding: Encoding,
    /// Its bytes, as received (decompressed).
    pub bytes: Bytes,
    /// What a look over it found.
    pub content: Content,
    /// When it had arrived whole.
    pub received_at: Timestamp,
    /// The sender gets its answer after this; letting it drop counts as [`Ack::Dropped`].
    pub ack: oneshot::Sender<Ack>,
}

/// What is in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Spans, at least one of them valid.
    Spans(ScanResult),
    /// Metrics.
    Metrics {
        /// Data points.
        points: u64,
    },
    /// Logs.
    Logs {
        /// Log records.
        records: u64,
    },
}

impl Content {
    /// What kind of telemetry it is.
    pub fn signal(&self) -> Signal {
        match self {
            Content::Spans(_) => Signal::Traces,
            Content::Metrics { .. } => Signal::Metrics,
            Content::Logs { .. } => Signal::Logs,
        }
    }

    /// Valid spans, data points or log records.
    pub fn records(&self) -> u64 {
        match self {
            Content::Spans(scan) => scan.valid(),
            Content::Metrics { points } => *points,
            Content::Logs { records } => *records,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is in the run folder.
    Stored {
        /// Spans in it that had been stored before.
        duplicates: u64,
    },
    /// It could not be kept; the sender is told to try again.
    Dropped,
}

/// Why the receiver cannot listen, with the way out.
#[derive(Debug)]
pub struct ListenError {
    /// Address that was wanted.
    pub address: SocketAddr,
    /// `OTLP/gRPC` or `OTLP/HTTP`.
    pub protocol: &'static str,
    /// Option that sets the address.
    pub option: &'static str,
    /// Another address that was free a moment ago.
    pub free: Option<SocketAddr>,
    /// The system's answer.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenError { address, protocol, option, free, source } = self;
        write!(f, "cannot listen for {protocol} on {address}: ")?;
        if source.kind() != io::ErrorKind::AddrInUse {
            return write!(f, "{source}; choose another address with `{option} ADDR`");
        }
        let port = free.map_or_else(|| "PORT".to_owned(), |free| free.port().to_string());
        let ip = address.ip();
        write!(
            f,
            "port {} is taken (by a Collector, Jaeger or another hotspan?). Take another one with `{option} {ip}:{port}` \
             and give the application the same, OTEL_EXPORTER_OTLP_ENDPOINT=http://{ip}:{port}; or read its spans from \
             where they go now with `--traces-from`",
            address.port()
        )
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    ledger: Arc<Ledger>,
    forward: Option<ForwardHandle>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

/// Connections at once where there are so many file descriptors. Half of them stay free: without one the files of the run
/// could not be written, and then no span could be stored.
fn places(descriptors: Option<u64>) -> usize {
    let half = descriptors.map_or(CONNECTIONS, |n| usize::try_from(n / 2).unwrap_or(CONNECTIONS));
    half.clamp(CONNECTIONS_MIN, CONNECTIONS)
}

/// File descriptors that this process may have, after asking for as many as it is allowed to; `None` where there is no
/// limit.
fn file_descriptors() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        }
    }
    #[cfg(not(unix))]
    {
        None
    }
}

impl Receiver {
    /// Binds and starts on the current tokio runtime. Messages go into `sink`; while it is full, senders wait.
    pub fn start(config: ReceiverConfig, sink: mpsc::Sender<Incoming>) -> Result<Receiver, ListenError> {
        let grpc = bind(config.grpc, "OTLP/gRPC", "--otlp-grpc")?;
        let http = bind(config.http, "OTLP/HTTP", "--otlp-http")?;
        let ledger = Arc::new(Ledger::default());
        let forward = config.forward.clone();
        let service = Arc::new(Service {
            sink,
            ledger: ledger.clone(),
            clock: Clock::new(),
            max_message: config.max_message,
            patience: config.patience,
            budget: Budget::new(config.max_under_way.max(config.max_message)),
            origins: Origins::new(&config.origins),
            forward: config.forward,
        });
        let (stop, stopped) = watch::channel(false);
        let mut receiver = Receiver {
            grpc: grpc.as_ref().map(|(_, address)| *address),
            http: http.as_ref().map(|(_, address)| *address),
            ledger,
            forward,
            stop,
            listeners: JoinSet::new(),
        };
        let connections = Connections {
            service,
            tls: config.tls.map(|tls| tls.acceptor()),
            permits: Arc::new(Semaphore::new(places(file_descriptors()))),
            stopped,
        };
        for (listener, _) in [grpc, http].into_iter().flatten() {
            receiver.listeners.spawn(accept(listener, connections.clone()));
        }
        Ok(receiver)
    }

    /// Address that OTLP/gRPC is served on.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc
    }

    /// Address that OTLP/HTTP is served on.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Counts so far.
    pub fn facts(&self) -> ReceiverFacts {
        let mut facts = self.ledger.facts();
        if let Some(forward) = &self.forward {
            (facts.forwarded, facts.forward_dropped) = forward.counts();
        }
        facts
    }

    /// Spans that were acknowledged as stored turned out to be lost (the disk filled up before the buffer was written).
    pub fn lost_after_ack(&self, spans: u64) {
        self.ledger.lost_after_ack(spans);
    }

    /// Takes no more connections, lets requests under way end for a few seconds, and gives the final counts.
    ///
    /// The owner of the sink must go on answering until this returns.
    pub async fn stop(mut self) -> ReceiverFacts {
        let _ = self.stop.send(true);
        let all = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE + Duration::from_secs(1), all).await.is_err() {
            self.listeners.shutdown().await;
        }
        self.facts()
    }
}
