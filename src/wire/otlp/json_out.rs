//! OTLP protobuf → OTLP JSON, for backends that take nothing else (`OTEL_EXPORTER_OTLP_PROTOCOL=http/json`). Not for the
//! way of many spans: every message is decoded whole.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::Serialize;

/// An `ExportTraceServiceRequest` as JSON.
///
/// # Errors
/// A sentence, where the bytes are no such message.
pub fn traces_to_json(message: &[u8]) -> Result<Vec<u8>, String> {
    written::<ExportTraceServiceRequest>(message)
}

/// An `ExportMetricsServiceRequest` as JSON.
///
/// # Errors
/// A sentence, where the bytes are no such message.
pub fn metrics_to_json(message: &[u8]) -> Result<Vec<u8>, String> {
    written::<ExportMetricsServiceRequest>(message)
}

/// An `ExportLogsServiceRequest` as JSON.
///
/// # Errors
/// A sentence, where the bytes are no such message.
pub fn logs_to_json(message: &[u8]) -> Result<Vec<u8>, String> {
    written::<ExportLogsServiceRequest>(message)
}

fn written<M: Message + Default + Serialize>(message: &[u8]) -> Result<Vec<u8>, String> {
    let decoded = M::decode(message).map_err(|error| format!("not an OTLP message: {error}"))?;
    serde_json::to_vec(&decoded).map_err(|error| format!("cannot be written as JSON: {error}"))
}
