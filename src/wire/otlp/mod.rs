//! OTLP, both ways: trace messages → spans, exchanges → client spans and metrics, answers and their errors.

mod answer;
mod client_span;
mod event;
mod exposition;
mod histogram;
mod json;
mod json_out;
mod json_tables;
mod log_walk;
mod metric_walk;
mod metrics;
mod scan;
mod sieve;
mod signal;
mod span_form;
mod split;
mod value;
mod walk;

#[cfg(test)]
mod encode_tests;
#[cfg(test)]
mod other_tests;
#[cfg(test)]
mod tests;

pub use answer::{PartialSuccess, Rpc, Status, retry_delay};
pub use client_span::SpanEncoder;
pub use event::{EventValue, encode_event};
pub use exposition::{CONTENT_TYPE as OPENMETRICS, expose};
pub use histogram::ExponentialHistogram;
pub use json::{JsonError, json_to_protobuf, json_to_protobuf_of, resource_spans_json};
pub use json_out::{logs_to_json, metrics_to_json, traces_to_json};
pub use log_walk::{WalkedLogs, for_each_log};
pub use metric_walk::{MAX_BUCKETS, WalkedPoints, for_each_point};
pub use metrics::{ExemplarFilter, HistogramForm, LoadGauges, MetricsEncoder, Temporality};
pub use scan::{ScanResult, Scanned, Sender, SpanKey, scan, scan_all};
pub use signal::Signal;
pub use split::split;
pub use value::{MAX_VALUE_DEPTH, MAX_VALUES};
pub use walk::{Walked, for_each_span, for_each_span_into, for_each_span_of_share, for_each_span_where};

use crate::record::{LogLine, MetricPoint, Span, TraceId};
use crate::wire::protobuf::DecodeError;
use std::borrow::Cow;
use std::fmt;

/// How an OTLP message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/x-protobuf`, and everything that comes over gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Why bytes are not an OTLP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtlpError {
    /// Broken protobuf.
    Protobuf(DecodeError),
    /// Broken JSON, or JSON of another shape.
    Json(JsonError),
}

impl fmt::Display for OtlpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OtlpError::Protobuf(error) => error.fmt(f),
            OtlpError::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OtlpError {}

impl From<DecodeError> for OtlpError {
    fn from(error: DecodeError) -> OtlpError {
        OtlpError::Protobuf(error)
    }
}

impl From<JsonError> for OtlpError {
    fn from(error: JsonError) -> OtlpError {
        OtlpError::Json(error)
    }
}

impl Encoding {
    /// The message as protobuf: as it is, or written anew from JSON.
    pub fn to_protobuf(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, OtlpError> {
        match self {
            Encoding::Protobuf => Ok(Cow::Borrowed(bytes)),
            Encoding::Json => Ok(Cow::Owned(json_to_protobuf(bytes)?)),
        }
    }

    /// As [`Encoding::to_protobuf`], for a message of any signal.
    pub fn to_protobuf_of(self, signal: Signal, bytes: &[u8]) -> Result<Cow<'_, [u8]>, OtlpError> {
        match self {
            Encoding::Protobuf => Ok(Cow::Borrowed(bytes)),
            Encoding::Json => Ok(Cow::Owned(json_to_protobuf_of(signal, bytes)?)),
        }
    }

    /// [`for_each_point`] for a message in this encoding.
    pub fn for_each_point(
        self,
        bytes: &[u8],
        f: &mut impl FnMut(&MetricPoint<'_>),
    ) -> Result<WalkedPoints, OtlpError> {
        Ok(for_each_point(&self.to_protobuf_of(Signal::Metrics, bytes)?, f)?)
    }

    /// [`for_each_log`] for a message in this encoding.
    pub fn for_each_log(
        self,
        bytes: &[u8],
        f: &mut impl FnMut(&LogLine<'_>),
    ) -> Result<WalkedLogs, OtlpError> {
        Ok(for_each_log(&self.to_protobuf_of(Signal::Logs, bytes)?, f)?)
    }

    /// [`scan_all`] for a message in this encoding.
    pub fn scan(self, bytes: &[u8]) -> Result<ScanResult, OtlpError> {
        Ok(scan_all(&self.to_protobuf(bytes)?)?)
    }

    /// [`for_each_span`] for a message in this encoding.
    pub fn for_each_span(self, bytes: &[u8], f: &mut impl FnMut(&Span<'_>)) -> Result<Walked, OtlpError> {
        Ok(for_each_span(&self.to_protobuf(bytes)?, f)?)
    }

    /// [`for_each_span_where`] for a message in this encoding.
    pub fn for_each_span_where(
        self,
        bytes: &[u8],
        keep: &mut impl FnMut(TraceId) -> bool,
        f: &mut impl FnMut(&Span<'_>),
    ) -> Result<Walked, OtlpError> {
        Ok(for_each_span_where(&self.to_protobuf(bytes)?, keep, f)?)
    }
}
