//! From a request to its answer: route, read, look over, hand on, wait for what becomes of it.

use super::answer::{Language, Reply, Verdict, plain};
use super::body::{BodyError, Budget, Share, gunzip, read, work};
use super::{Ack, Incoming, Ledger};
use crate::traces::clock::Clock;
use crate::traces::forward::ForwardHandle;
use crate::wire::otlp::Signal;
use crate::wire::otlp::{Encoding, PartialSuccess, Rpc, ScanResult};
use crate::wire::protobuf::Reader;
use bytes::{Buf, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, Request, Response, StatusCode, Version};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// A gRPC message begins with a flag (compressed or not) and its length.
const GRPC_PREFIX: usize = 5;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub sink: mpsc::Sender<Incoming>,
    pub ledger: Arc<Ledger>,
    pub clock: Clock,
    pub max_message: usize,
    pub budget: Budget,
    pub forward: Option<ForwardHandle>,
}

/// An export request whose head has been understood.
struct Export {
    signal: Signal,
    language: Language,
    gzip: bool,
}

impl Service {
    pub async fn answer(self: Arc<Self>, request: Request<hyper::body::Incoming>) -> Response<Reply> {
        match route(&request) {
            Ok(export) => {
                let language = export.language;
                // In a task of its own: a sender that hangs up half-way must not leave the books half-written.
                let task = tokio::spawn(self.export(export, request.into_body()));
                let broken = || Verdict::come_back("the receiver is shutting down");
                task.await.unwrap_or_else(|_| broken()).into_response(language)
            }
            Err(response) => {
                Ledger::add(&self.ledger.bad_requests, 1);
                *response
            }
        }
    }

    async fn export(self: Arc<Self>, export: Export, body: hyper::body::Incoming) -> Verdict {
        let Export { signal, language, gzip } = export;
        let message = match self.message(language, gzip, body).await {
            Ok(message) => message,
            Err(verdict) => return self.bad(verdict),
        };
        let (bytes, _share) = message;
        let encoding = match language {
            Language::Http(encoding) => encoding,
            Language::Grpc => Encoding::Protobuf,
        };
        match signal {
            Signal::Traces => self.traces(encoding, bytes).await,
            Signal::Metrics | Signal::Logs => self.other(signal, encoding, bytes).await,
        }
    }

    /// Counts a request that is no OTLP. What the sender may try again is not its fault.
    fn bad(&self, verdict: Verdict) -> Verdict {
        if let Verdict::Refused { status, .. } = &verdict
            && status.retry_after.is_none()
        {
            Ledger::add(&self.ledger.bad_requests, 1);
        }
        verdict
    }

    /// The message itself, without framing and compression.
    async fn message(
        &self,
        language: Language,
        gzip: bool,
        body: hyper::body::Incoming,
    ) -> Result<(Bytes, Share), Verdict> {
        let fault = |error: BodyError| match error {
            BodyError::TooLarge => Verdict::too_large(self.max_message),
            BodyError::Busy => Verdict::come_back("too many messages are under way"),
            BodyError::Stalled => Verdict::bad_data("the body stopped coming".into()),
            BodyError::Broken(why) => Verdict::bad_data(format!("the body could not be read: {why}")),
            BodyError::Gzip(why) => Verdict::bad_data(format!("the body is not gzip: {why}")),
        };
        let prefix = if language == Language::Grpc { GRPC_PREFIX } else { 0 };
        let mut share = Share::default();
        let mut bytes =
            read(body, self.max_message + prefix, &self.budget, &mut share).await.map_err(fault)?;
        let mut gzip = gzip;
        if language == Language::Grpc {
            if bytes.len() < GRPC_PREFIX {
                return Err(Verdict::bad_data("the gRPC message is missing".into()));
            }
            let (flag, len) = (bytes.get_u8(), bytes.get_u32());
            if len as usize != bytes.len() {
                let why = format!("a gRPC message of {len} bytes was announced, {} came", bytes.len());
                return Err(Verdict::bad_data(why));
            }
            match flag {
                0 => gzip = false,
                1 if gzip => {}
                _ => return Err(Verdict::bad_data("the gRPC message is packed, but how is not said".into())),
            }
        }
        if gzip {
            (bytes, share) = gunzip(bytes, self.max_message, &self.budget, share).await.map_err(fault)?;
        }
        Ok((bytes, share))
    }

    async fn traces(&self, encoding: Encoding, bytes: Bytes) -> Verdict {
        let received_at = self.clock.now();
        let copy = bytes.clone();
        let scan = match work(bytes.len(), move || encoding.scan(&copy)).await {
            Some(Ok(scan)) => scan,
            Some(Err(error)) => return self.bad(Verdict::bad_data(error.to_string())),
            None => return Verdict::come_back("the receiver is shutting down"),
        };
        let ledger = &self.ledger;
        let (valid, invalid) = (scan.valid(), scan.invalid);
        Ledger::add(&ledger.requests, 1);
        Ledger::add(&ledger.spans_received, scan.spans);
        if valid > 0 && self.store(encoding, bytes.clone(), scan, received_at).await == Ack::Dropped {
            // The sender comes back with all of them, so none counts as rejected.
            Ledger::add(&ledger.spans_dropped, valid + invalid);
            return Verdict::come_back("the spans could not be stored (is the disk full?)");
        }
        Ledger::add(&ledger.spans_stored, valid);
        Ledger::add(&ledger.spans_rejected, invalid);
        if let Some(forward) = &self.forward
            && valid > 0
        {
            forward.offer(Signal::Traces, encoding, bytes, valid);
        }
        Verdict::Taken((invalid > 0).then(|| PartialSuccess {
            rejected: invalid,
            message: "spans without a valid trace id (16 bytes, not all zero) and span id (8 bytes, not all zero) \
                      were rejected"
                .into(),
        }))
    }

    /// Waits for room in the sink and for its owner's answer.
    async fn store(
        &self,
        encoding: Encoding,
        bytes: Bytes,
        scan: ScanResult,
        received_at: crate::record::Timestamp,
    ) -> Ack {
        let (ack, stored) = oneshot::channel();
        let incoming = Incoming { encoding, bytes, scan, received_at, ack };
        if self.sink.send(incoming).await.is_err() {
            return Ack::Dropped;
        }
        stored.await.unwrap_or(Ack::Dropped)
    }

    /// Metrics and logs are checked, counted and forwarded, not kept.
    async fn other(&self, signal: Signal, encoding: Encoding, bytes: Bytes) -> Verdict {
        let copy = bytes.clone();
        let sound = match work(bytes.len(), move || is_sound(encoding, &copy)).await {
            Some(sound) => sound,
            None => return Verdict::come_back("the receiver is shutting down"),
        };
        if let Err(error) = sound {
            return self.bad(Verdict::bad_data(error));
        }
        let counter = if signal == Signal::Metrics { &self.ledger.metrics } else { &self.ledger.logs };
        Ledger::add(counter, 1);
        if let Some(forward) = &self.forward {
            forward.offer(signal, encoding, bytes, 0);
        }
        Verdict::Taken(None)
    }
}

/// Whether a message is protobuf or JSON at all.
fn is_sound(encoding: Encoding, bytes: &[u8]) -> Result<(), String> {
    match encoding {
        Encoding::Protobuf => {
            let mut reader = Reader::new(bytes);
            while reader.next_field().map_err(|error| error.to_string())?.is_some() {}
            Ok(())
        }
        Encoding::Json => serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .map(drop)
            .map_err(|error| format!("not valid JSON: {error}")),
    }
}

/// Understands the head of a request, or gives the answer to what is none.
fn route<B>(request: &Request<B>) -> Result<Export, Box<Response<Reply>>> {
    let path = request.uri().path();
    let content_type = mime(request.headers());
    let refuse = |code, message: &str| Err(Box::new(plain(code, message)));
    if content_type.starts_with("application/grpc") {
        if request.version() != Version::HTTP_2 {
            return refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2");
        }
        return route_grpc(path, &content_type, request.headers());
    }
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.path() == path) else {
        return refuse(
            StatusCode::NOT_FOUND,
            "this is hotspan's OTLP receiver: POST /v1/traces, /v1/metrics or /v1/logs, or use gRPC",
        );
    };
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "OTLP messages are sent with POST");
    }
    let encoding = match content_type.as_str() {
        "application/x-protobuf" | "application/protobuf" => Encoding::Protobuf,
        "application/json" => Encoding::Json,
        _ => {
            return refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type must be application/x-protobuf or application/json",
            );
        }
    };
    let gzip = match text(request.headers(), &CONTENT_ENCODING).as_str() {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        other => {
            let message = format!("Content-Encoding {other} is not known; use gzip or none");
            let verdict = Verdict::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Rpc::InvalidArgument, message);
            return Err(Box::new(verdict.into_response(Language::Http(encoding))));
        }
    };
    Ok(Export { signal, language: Language::Http(encoding), gzip })
}

fn route_grpc(path: &str, content_type: &str, headers: &HeaderMap) -> Result<Export, Box<Response<Reply>>> {
    let refuse = |message: String| {
        let verdict = Verdict::refused(StatusCode::OK, Rpc::Unimplemented, message);
        Err(Box::new(verdict.into_response(Language::Grpc)))
    };
    if !matches!(content_type, "application/grpc" | "application/grpc+proto") {
        return refuse(format!("{content_type} is not known; use application/grpc+proto"));
    }
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path) else {
        return refuse(format!("there is no method {path}; traces, metrics and logs have Export"));
    };
    match text(headers, &GRPC_ENCODING).as_str() {
        "" | "identity" => Ok(Export { signal, language: Language::Grpc, gzip: false }),
        "gzip" => Ok(Export { signal, language: Language::Grpc, gzip: true }),
        other => refuse(format!("grpc-encoding {other} is not known; use gzip or identity")),
    }
}

/// A header's value in lower case.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

/// The content type without parameters.
fn mime(headers: &HeaderMap) -> String {
    let value = text(headers, &CONTENT_TYPE);
    value.split(';').next().unwrap_or_default().trim().to_owned()
}
