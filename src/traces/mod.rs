//! Sockets for telemetry: the embedded OTLP receiver, the exporter of hotspan's own spans and metrics, forwarding, and
//! who has been heard of ([`JoinTracker`], [`LateSpanWait`]).
//!
//! Nothing here looks into a span beyond its ids: bytes go from socket to run folder as they came.

mod backoff;
mod clock;
mod direct;
mod duplicates;
mod environment;
mod exporter;
mod fetch;
mod forward;
mod join;
mod keep;
mod outbox;
mod peer;
mod receiver;
mod scrape;
mod tls;
mod wait;

#[cfg(test)]
mod tests;

pub use crate::wire::otlp::Signal;
pub use direct::DirectSender;
pub use environment::{Compression, Endpoint, ExportConfig, Transport, pairs as header_pairs};
pub use exporter::{ExportError, ExportHandle, Exporter};
pub use fetch::{
    Backend, FetchDoing, FetchPlan, FetchProgress, FetchSink, Fetched, SearchEnd, Stretch, TraceSearch,
    TraceSource, Wanted, fetch,
};
pub use forward::{ForwardConfig, ForwardEnd, ForwardError, ForwardHandle, Forwarder};
pub use join::JoinTracker;
pub use keep::Keeper;
pub use receiver::{Ack, Content, Incoming, ListenError, Receiver, ReceiverConfig};
pub use scrape::{ScrapeEndpoint, ScrapeText};
pub use tls::{ServerTls, install_crypto_provider};
pub use wait::{LateSpanWait, WaitPolicy, WaitStep, Waiting};
