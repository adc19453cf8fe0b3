//! Hands what the receiver took on to a Collector, Jaeger or the like, unchanged, so that an application needs one
//! endpoint only.

use super::environment::Endpoint;
use super::environment::QUEUE_BYTES;
use super::exporter::ExportError;
use super::outbox::{Message, Offers, Outbox, Routes};
use super::peer::Peer;
use crate::wire::otlp::Encoding;
use crate::wire::otlp::Signal;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Forwards to one URL. What cannot be handed on is dropped and counted; the sender is never slowed.
#[derive(Debug)]
pub struct Forwarder {
    outbox: Outbox,
}

/// The giving end of a forwarder, for the receiver.
#[derive(Clone, Debug)]
pub struct ForwardHandle {
    offers: Offers,
}

impl Forwarder {
    /// Starts on the current tokio runtime. The URL is understood as [`Endpoint::from_url`] says: port 4317 without a
    /// path and `grpc://` mean gRPC, everything else HTTP.
    pub fn start(url: &str) -> Result<Forwarder, ExportError> {
        let peer = |signal| -> Result<Option<Arc<Peer>>, ExportError> {
            let endpoint = Endpoint::from_url(url, signal).map_err(ExportError)?;
            Ok(Some(Arc::new(Peer::new(&endpoint).map_err(ExportError)?)))
        };
        let routes = Routes {
            traces: peer(Signal::Traces)?,
            metrics: peer(Signal::Metrics)?,
            logs: peer(Signal::Logs)?,
        };
        Ok(Forwarder { outbox: Outbox::start(routes, QUEUE_BYTES) })
    }

    /// An end to offer messages to.
    pub fn handle(&self) -> ForwardHandle {
        ForwardHandle { offers: self.outbox.offers().clone() }
    }

    /// Sends what waits, for as long as `deadline` allows; gives spans handed on, spans dropped, and the last error.
    pub async fn finish(self, deadline: Duration) -> (u64, u64, Option<String>) {
        let handle = self.handle();
        self.outbox.finish(deadline).await;
        let (forwarded, dropped) = handle.counts();
        (forwarded, dropped, handle.offers.ledger().last_error())
    }
}

impl ForwardHandle {
    /// Hands a message on as it was received. Never waits.
    pub fn offer(&self, signal: Signal, encoding: Encoding, bytes: Bytes, spans: u64) {
        self.offers.offer(Message { signal, encoding, bytes, spans });
    }

    /// Spans handed on and spans dropped so far.
    pub fn counts(&self) -> (u64, u64) {
        let ledger = self.offers.ledger();
        (ledger.sent.load(Ordering::Relaxed), ledger.dropped.load(Ordering::Relaxed))
    }
}
