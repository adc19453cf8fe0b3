//! Sends hotspan's client spans and metrics. The batches come encoded (see [`crate::wire::otlp::SpanEncoder`]).

use super::environment::{Endpoint, ExportConfig};
use super::outbox::{Message, Offers, Outbox, Routes};
use super::peer::Peer;
use crate::record::ExportFacts;
use crate::wire::otlp::Encoding;
use crate::wire::otlp::Signal;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why an exporter could not be made: a sentence with the endpoint and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError(pub String);

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExportError {}

/// The exporter of a run.
#[derive(Debug)]
pub struct Exporter {
    outbox: Outbox,
    endpoint: Option<String>,
    traces: bool,
    metrics: bool,
    logs: bool,
}

/// The giving end of an exporter, for the threads that make load. Never waits.
#[derive(Clone, Debug)]
pub struct ExportHandle {
    offers: Offers,
    traces: bool,
    metrics: bool,
    logs: bool,
}

impl Exporter {
    /// Starts on the current tokio runtime. Connections are opened with the first batch; a peer that is not there yet
    /// costs retries, not the run.
    pub fn start(config: &ExportConfig) -> Result<Exporter, ExportError> {
        let peer = |endpoint: &Option<Endpoint>| -> Result<Option<Arc<Peer>>, ExportError> {
            match endpoint {
                Some(endpoint) => Ok(Some(Arc::new(Peer::new(endpoint).map_err(ExportError)?))),
                None => Ok(None),
            }
        };
        let routes = Routes {
            traces: peer(&config.traces)?,
            metrics: peer(&config.metrics)?,
            logs: peer(&config.logs)?,
        };
        let (traces, metrics, logs) =
            (routes.traces.is_some(), routes.metrics.is_some(), routes.logs.is_some());
        let endpoint =
            config.traces.as_ref().or(config.metrics.as_ref()).map(|endpoint| endpoint.url.clone());
        Ok(Exporter { outbox: Outbox::start(routes, config.queue_bytes), endpoint, traces, metrics, logs })
    }

    /// An end to offer batches to.
    pub fn handle(&self) -> ExportHandle {
        ExportHandle {
            offers: self.outbox.offers().clone(),
            traces: self.traces,
            metrics: self.metrics,
            logs: self.logs,
        }
    }

    /// Offers a batch of spans (a whole `ExportTraceServiceRequest`).
    pub fn offer(&self, batch: impl Into<Bytes>, spans: u64) {
        self.handle().offer(batch, spans);
    }

    /// Counts so far.
    pub fn facts(&self) -> ExportFacts {
        facts(self.outbox.offers(), self.endpoint.clone())
    }

    /// Sends what waits, for as long as `deadline` allows, and gives the final counts: offered = sent + dropped.
    pub async fn finish(self, deadline: Duration) -> ExportFacts {
        let offers = self.outbox.offers().clone();
        self.outbox.finish(deadline).await;
        facts(&offers, self.endpoint)
    }
}

impl ExportHandle {
    /// Whether spans go anywhere; where not, there is no need to encode them.
    pub fn takes_spans(&self) -> bool {
        self.traces
    }

    /// Whether metrics go anywhere.
    pub fn takes_metrics(&self) -> bool {
        self.metrics
    }

    /// Offers a batch of spans (a whole `ExportTraceServiceRequest`).
    pub fn offer(&self, batch: impl Into<Bytes>, spans: u64) {
        if self.traces {
            self.push(Signal::Traces, batch, spans);
        }
    }

    /// Offers metrics (a whole `ExportMetricsServiceRequest`).
    pub fn offer_metrics(&self, batch: Vec<u8>) {
        if self.metrics {
            self.push(Signal::Metrics, batch, 0);
        }
    }

    /// Offers events (a whole `ExportLogsServiceRequest`). A backend that takes none costs nothing and is not told of.
    pub fn offer_events(&self, batch: Vec<u8>) {
        if self.logs {
            self.push(Signal::Logs, batch, 0);
        }
    }

    fn push(&self, signal: Signal, batch: impl Into<Bytes>, spans: u64) {
        self.offers.offer(Message { signal, encoding: Encoding::Protobuf, bytes: batch.into(), spans });
    }
}

fn facts(offers: &Offers, endpoint: Option<String>) -> ExportFacts {
    let ledger = offers.ledger();
    ExportFacts {
        endpoint,
        spans_offered: ledger.offered.load(Ordering::Relaxed),
        spans_sent: ledger.sent.load(Ordering::Relaxed),
        spans_dropped: ledger.dropped.load(Ordering::Relaxed),
        metric_exports: ledger.other_sent.load(Ordering::Relaxed),
        last_error: ledger.last_error(),
    }
}
