//! What an OTLP server answers: full success (an empty message), partial success, or a `google.rpc.Status`, in
//! protobuf and JSON, written and read.

use super::Encoding;
use super::signal::Signal;
use super::walk::next_message;
use crate::wire::protobuf::{Field, Reader, put_bytes, put_uint};
use serde_json::{Value, json};
use std::time::Duration;

/// The gRPC codes that an OTLP receiver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// The data is no OTLP; never sent again.
    InvalidArgument = 3,
    /// It took too long; may be sent again.
    DeadlineExceeded = 4,
    /// Too large; never sent again unless a delay is given.
    ResourceExhausted = 8,
    /// No such method, or an encoding that is not known.
    Unimplemented = 12,
    /// Try again later.
    Unavailable = 14,
}

/// Spans that a receiver refused while it took the others. With nothing refused, the message is a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Spans (data points, log records) refused; they must not be sent again.
    pub rejected: u64,
    /// Why.
    pub message: String,
}

impl PartialSuccess {
    /// The answer to an export request of spans; `None` is full success, where the field stays unset.
    pub fn encode(partial: Option<&PartialSuccess>, encoding: Encoding) -> Vec<u8> {
        PartialSuccess::encode_for(Signal::Traces, partial, encoding)
    }

    /// The answer to an export request of any signal. In protobuf they are alike; JSON names what was rejected.
    pub fn encode_for(signal: Signal, partial: Option<&PartialSuccess>, encoding: Encoding) -> Vec<u8> {
        let Some(partial) = partial else {
            return match encoding {
                Encoding::Protobuf => Vec::new(),
                Encoding::Json => b"{}".to_vec(),
            };
        };
        let rejected = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
        };
        match encoding {
            Encoding::Protobuf => {
                let mut inner = Vec::with_capacity(partial.message.len() + 8);
                put_uint(&mut inner, 1, partial.rejected);
                put_bytes(&mut inner, 2, partial.message.as_bytes());
                let mut out = Vec::with_capacity(inner.len() + 4);
                put_bytes(&mut out, 1, &inner);
                out
            }
            Encoding::Json => json!({"partialSuccess": {
                rejected: partial.rejected.to_string(),
                "errorMessage": partial.message,
            }})
            .to_string()
            .into_bytes(),
        }
    }

    /// Reads an answer to an export request. An answer that says nothing, or nothing that can be understood, is full
    /// success: the transport said so.
    pub fn decode(answer: &[u8], encoding: Encoding) -> Option<PartialSuccess> {
        let partial = match encoding {
            Encoding::Protobuf => {
                let mut inner = next_message(&mut Reader::new(answer), 1).ok()??;
                let mut partial = PartialSuccess::default();
                while let Ok(Some((number, field))) = inner.next_field() {
                    match (number, field) {
                        (1, Field::Varint(n)) => partial.rejected = u64::try_from(n as i64).unwrap_or(0),
                        (2, Field::Bytes(text)) => {
                            partial.message = String::from_utf8_lossy(text.rest()).into_owned()
                        }
                        _ => {}
                    }
                }
                partial
            }
            Encoding::Json => {
                let answer: Value = serde_json::from_slice(answer).ok()?;
                let partial = answer.get("partialSuccess")?;
                let rejected = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"]
                    .iter()
                    .find_map(|key| partial.get(key))
                    .and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
                PartialSuccess {
                    rejected: rejected.unwrap_or(0),
                    message: partial
                        .get("errorMessage")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                }
            }
        };
        (partial != PartialSuccess::default()).then_some(partial)
    }
}

/// A `google.rpc.Status`: the body of every OTLP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// gRPC code.
    pub code: Rpc,
    /// What went wrong, for people.
    pub message: String,
    /// When to try again; only with codes for which trying again can help.
    pub retry_after: Option<Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl Status {
    /// The body in the request's encoding.
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => self.to_protobuf(),
            Encoding::Json => {
                let mut status = json!({"code": self.code as i32, "message": self.message});
                if let (Some(delay), Some(status)) = (self.retry_after, status.as_object_mut()) {
                    let delay = format!("{}s", delay.as_secs_f64());
                    status.insert("details".into(), json!([{"@type": RETRY_INFO, "retryDelay": delay}]));
                }
                status.to_string().into_bytes()
            }
        }
    }

    fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 80);
        put_uint(&mut out, 1, self.code as u64);
        put_bytes(&mut out, 2, self.message.as_bytes());
        if let Some(delay) = self.retry_after {
            let (mut duration, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
            put_uint(&mut duration, 1, delay.as_secs());
            put_uint(&mut duration, 2, u64::from(delay.subsec_nanos()));
            put_bytes(&mut info, 1, &duration);
            put_bytes(&mut any, 1, RETRY_INFO.as_bytes());
            put_bytes(&mut any, 2, &info);
            put_bytes(&mut out, 3, &any);
        }
        out
    }
}

/// The delay of the `RetryInfo` in an encoded `google.rpc.Status` (the body of an HTTP error, or what gRPC carries in
/// `grpc-status-details-bin`), if it has one.
pub fn retry_delay(status: &[u8]) -> Option<Duration> {
    let mut status = Reader::new(status);
    while let Ok(Some(mut any)) = next_message(&mut status, 3) {
        let (mut type_url, mut value): (&[u8], Option<Reader<'_>>) = (&[], None);
        while let Ok(Some((number, Field::Bytes(bytes)))) = any.next_field() {
            match number {
                1 => type_url = bytes.rest(),
                2 => value = Some(bytes),
                _ => {}
            }
        }
        let Some(mut info) = value.filter(|_| type_url.ends_with(b"/google.rpc.RetryInfo")) else { continue };
        // A RetryInfo without a delay says "at once".
        let Ok(Some(mut duration)) = next_message(&mut info, 1) else { return Some(Duration::ZERO) };
        let (mut seconds, mut nanos) = (0u64, 0u32);
        while let Ok(Some((number, Field::Varint(n)))) = duration.next_field() {
            match number {
                1 => seconds = u64::try_from(n as i64).unwrap_or(0),
                2 => nanos = u32::try_from(n).unwrap_or(0).min(999_999_999),
                _ => {}
            }
        }
        return Some(Duration::new(seconds, nanos));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prost::Message;

    #[test]
    fn partial_success_reads_back_in_both_encodings_and_is_what_prost_reads() {
        let partial = PartialSuccess { rejected: 3, message: "3 spans have no valid ids".into() };
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let bytes = PartialSuccess::encode(Some(&partial), encoding);
            assert_eq!(PartialSuccess::decode(&bytes, encoding), Some(partial.clone()));
            let bytes = PartialSuccess::encode(None, encoding);
            assert_eq!(PartialSuccess::decode(&bytes, encoding), None);
        }
        let bytes = PartialSuccess::encode(Some(&partial), Encoding::Protobuf);
        let expected = ExportTracePartialSuccess { rejected_spans: 3, error_message: partial.message };
        assert_eq!(ExportTraceServiceResponse::decode(&bytes[..]).unwrap().partial_success, Some(expected));
        assert_eq!(PartialSuccess::decode(b"<html>", Encoding::Json), None);
        assert_eq!(PartialSuccess::decode(b"<html>", Encoding::Protobuf), None);
    }

    #[test]
    fn a_status_carries_its_delay() {
        let delay = Duration::new(2, 500_000_000);
        let mut status =
            Status { code: Rpc::Unavailable, message: "disk full".into(), retry_after: Some(delay) };
        assert_eq!(retry_delay(&status.encode(Encoding::Protobuf)), Some(delay));
        let json: Value = serde_json::from_slice(&status.encode(Encoding::Json)).unwrap();
        assert_eq!(json["code"], 14);
        assert_eq!(json["details"][0]["retryDelay"], "2.5s");
        status.retry_after = None;
        assert_eq!(retry_delay(&status.encode(Encoding::Protobuf)), None);
        assert_eq!(retry_delay(&[0xff; 9]), None);
    }
}
