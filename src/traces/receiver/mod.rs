//! The embedded OTLP receiver: gRPC and HTTP, protobuf and JSON, plain and gzip.
//!
//! Messages are looked over (ids, structure) and handed on as bytes; nothing is decoded. An answer is given only after
//! the owner of the spans has said what became of them. Both ports speak both protocols, so that an application with
//! the wrong one of the two configured works all the same.

mod answer;
mod body;
mod service;
#[cfg(test)]
pub(super) mod tests;

use super::clock::Clock;
use super::forward::ForwardHandle;
use crate::record::{ReceiverFacts, Timestamp};
use crate::wire::otlp::{Encoding, ScanResult};
use body::Budget;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use service::Service;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 1_024;
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
    /// Bytes of messages that may be under way at once; beyond, senders are told to come back.
    pub max_under_way: usize,
    /// Where everything that is taken goes as well.
    pub forward: Option<ForwardHandle>,
}

impl Default for ReceiverConfig {
    fn default() -> ReceiverConfig {
        ReceiverConfig {
            grpc: Some(SocketAddr::from(([127, 0, 0, 1], 4317))),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 4318))),
            max_message: 64 << 20,
            max_under_way: 512 << 20,
            forward: None,
        }
    }
}

/// One message of spans, sound and with at least one valid span. Whoever takes it must answer through `ack`.
#[derive(Debug)]
pub struct Incoming {
    /// How it is written.
    pub encoding: Encoding,
    /// Its bytes, as received (decompressed).
    pub bytes: Bytes,
    /// What a look over it found.
    pub scan: ScanResult,
    /// When it had arrived whole.
    pub received_at: Timestamp,
    /// The sender gets its answer after this; letting it drop counts as [`Ack::Dropped`].
    pub ack: oneshot::Sender<Ack>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is in the run folder.
    Stored,
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

/// Counters of the receiver. Every span that came in is stored, rejected or dropped.
#[derive(Debug, Default)]
struct Ledger {
    requests: AtomicU64,
    spans_received: AtomicU64,
    spans_stored: AtomicU64,
    spans_rejected: AtomicU64,
    spans_dropped: AtomicU64,
    bad_requests: AtomicU64,
    metrics: AtomicU64,
    logs: AtomicU64,
}

impl Ledger {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Export requests of other signals than traces, which are answered, forwarded and not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherSignals {
    /// Requests with metrics.
    pub metrics: u64,
    /// Requests with logs.
    pub logs: u64,
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
            budget: Budget::new(config.max_under_way.max(config.max_message)),
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
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        for (listener, _) in [grpc, http].into_iter().flatten() {
            let task = accept(listener, service.clone(), connections.clone(), stopped.clone());
            receiver.listeners.spawn(task);
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
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (forwarded, forward_dropped) = self.forward.as_ref().map_or((0, 0), ForwardHandle::counts);
        let ledger = &self.ledger;
        ReceiverFacts {
            requests: read(&ledger.requests),
            spans_received: read(&ledger.spans_received),
            spans_stored: read(&ledger.spans_stored),
            spans_rejected: read(&ledger.spans_rejected),
            spans_dropped: read(&ledger.spans_dropped),
            bad_requests: read(&ledger.bad_requests),
            forwarded,
            forward_dropped,
        }
    }

    /// Requests with other signals so far.
    pub fn other_signals(&self) -> OtherSignals {
        OtherSignals {
            metrics: self.ledger.metrics.load(Ordering::Relaxed),
            logs: self.ledger.logs.load(Ordering::Relaxed),
        }
    }

    /// Spans that were acknowledged as stored turned out to be lost (the disk filled up before the buffer was written).
    pub fn lost_after_ack(&self, spans: u64) {
        let stored = &self.ledger.spans_stored;
        let moved = stored.load(Ordering::Relaxed).min(spans);
        stored.fetch_sub(moved, Ordering::Relaxed);
        Ledger::add(&self.ledger.spans_dropped, moved);
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

fn bind(
    address: Option<SocketAddr>,
    protocol: &'static str,
    option: &'static str,
) -> Result<Option<(tokio::net::TcpListener, SocketAddr)>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let listen = || -> io::Result<_> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((tokio::net::TcpListener::from_std(listener)?, bound))
    };
    listen().map(Some).map_err(|source| ListenError {
        address,
        protocol,
        option,
        free: free_port(address),
        source,
    })
}

/// A port that people recognise (14317 for 4317, …) and that is free now.
fn free_port(taken: SocketAddr) -> Option<SocketAddr> {
    (1..6u16)
        .filter_map(|n| taken.port().checked_add(n * 10_000))
        .map(|port| SocketAddr::new(taken.ip(), port))
        .find(|address| TcpListener::bind(address).is_ok())
}

/// Accepts connections until told to stop, then lets them end.
async fn accept(
    listener: tokio::net::TcpListener,
    service: Arc<Service>,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Without a free place nothing is accepted: peers wait in the system's queue.
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            _ = told(&mut stopped) => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (service, stopped) = (service.clone(), stopped.clone());
                connections.spawn(async move {
                    serve(stream, service, stopped).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, most likely: some will be free again soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Waits until the receiver is told to stop (or is gone).
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Lets go of the channel's lock at once.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn serve(stream: TcpStream, service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    // A connection that never says anything must not hold a place.
    let mut first = [0u8; 1];
    let spoke = tokio::time::timeout(SILENCE, stream.peek(&mut first));
    let spoke = tokio::select! {
        spoke = spoke => matches!(spoke, Ok(Ok(1))),
        _ = told(&mut stopped) => false,
    };
    if !spoke {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        // One exporter may be far ahead of the others on one connection; small windows would starve it.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(32 << 20)
        .max_concurrent_streams(256)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    tokio::select! {
        // A broken connection concerns its peer only.
        _ = connection.as_mut() => {}
        _ = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
