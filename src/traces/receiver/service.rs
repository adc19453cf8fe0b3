//! From a request to its answer: read, look over, hand on, wait for what becomes of it.

use super::answer::{Language, Reply, Verdict};
use super::body::{BodyError, Budget, GRPC_PREFIX, Share, read, work};
use super::ledger::{Ledger, SignalLedger};
use super::route::{Export, Origins, route};
use super::unpack::{Packing, unpack};
use super::{Ack, Content, Incoming};
use crate::traces::clock::Clock;
use crate::traces::forward::ForwardHandle;
use crate::wire::otlp::{Encoding, OtlpError, PartialSuccess, Signal};
use bytes::{Buf, Bytes};
use http::{Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub sink: mpsc::Sender<Incoming>,
    pub ledger: Arc<Ledger>,
    pub clock: Clock,
    pub max_message: usize,
    pub patience: Duration,
    pub budget: Budget,
    pub origins: Origins,
    pub forward: Option<ForwardHandle>,
}

/// What became of a message that was sound.
enum Outcome {
    Stored { duplicates: u64 },
    Unwritten,
    Ending,
}

impl Service {
    pub async fn answer(self: Arc<Self>, request: Request<hyper::body::Incoming>) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let mut response = match route(&request, &self.origins) {
            Ok(export) => {
                let language = export.language;
                // In a task of its own: a sender that hangs up half-way must not leave the books half-written.
                let task = tokio::spawn(self.clone().export(export, body));
                let broken = || Verdict::come_back("the receiver is shutting down");
                task.await.unwrap_or_else(|_| broken()).into_response(language)
            }
            Err(response) => {
                // A browser's question is no mistake.
                self.ledger
                    .bad_requests
                    .add(u64::from(!response.status().is_success() || is_grpc_fault(&response)));
                *response
            }
        };
        self.origins.mark(request.headers(), &mut response);
        response
    }

    async fn export(self: Arc<Self>, export: Export, body: hyper::body::Incoming) -> Verdict {
        let Export { signal, language, packing } = export;
        let (bytes, share) = match self.message(language, packing, body).await {
            Ok(message) => message,
            Err(verdict) => return self.bad(verdict),
        };
        let encoding = match language {
            Language::Http(encoding) => encoding,
            Language::Grpc => Encoding::Protobuf,
        };
        self.take(signal, encoding, bytes, share).await
    }

    /// Counts a request that is no OTLP. What the sender may try again is not its fault.
    fn bad(&self, verdict: Verdict) -> Verdict {
        if let Verdict::Refused { status, .. } = &verdict
            && status.retry_after.is_none()
        {
            self.ledger.bad_requests.add(1);
        }
        verdict
    }

    fn fault(&self, error: BodyError) -> Verdict {
        match error {
            BodyError::TooLarge => Verdict::too_large(self.max_message),
            BodyError::Busy => Verdict::come_back("too many messages are under way"),
            BodyError::Stalled => Verdict::too_slow(),
            BodyError::Broken(why) => Verdict::bad_data(format!("the body could not be read: {why}")),
            BodyError::NotPacked(packing, why) => {
                Verdict::bad_data(format!("the body is not {packing}: {why}"))
            }
        }
    }

    /// The message itself, without framing and compression.
    async fn message(
        &self,
        language: Language,
        packing: Packing,
        body: hyper::body::Incoming,
    ) -> Result<(Bytes, Share), Verdict> {
        let prefix = if language == Language::Grpc { GRPC_PREFIX } else { 0 };
        let mut share = Share::default();
        let max = self.max_message + prefix;
        let mut bytes = read(body, language, max, self.patience, &self.budget, &mut share)
            .await
            .map_err(|error| self.fault(error))?;
        let mut packing = packing;
        if language == Language::Grpc {
            (packing, bytes) = deframe(packing, bytes)?;
        }
        unpack(packing, bytes, self.max_message, &self.budget, share).await.map_err(|error| self.fault(error))
    }

    async fn take(&self, signal: Signal, encoding: Encoding, bytes: Bytes, mut share: Share) -> Verdict {
        let received_at = self.clock.now();
        if encoding == Encoding::Json {
            // It is written anew as protobuf for the look over it; that is the shorter form of all but odd messages.
            let held = share.bytes().max(bytes.len()) + bytes.len();
            if let Err(error) = self.budget.grow(&mut share, held).await {
                return self.fault(error);
            }
        }
        let copy = bytes.clone();
        let content = match work(bytes.len(), move || look_over(signal, encoding, &copy)).await {
            Some(Ok(content)) => content,
            Some(Err(error)) => return self.bad(Verdict::bad_data(error.to_string())),
            None => return Verdict::come_back("the receiver is shutting down"),
        };
        match content {
            Content::Spans(scan) => {
                let (valid, invalid) = (scan.valid(), scan.invalid);
                let outcome = match valid {
                    0 => Outcome::Stored { duplicates: 0 },
                    _ => self.store(encoding, bytes.clone(), Content::Spans(scan), received_at).await,
                };
                self.spans(encoding, bytes, valid, invalid, outcome)
            }
            content => {
                let records = content.records();
                let outcome = self.store(encoding, bytes.clone(), content, received_at).await;
                self.other(signal, encoding, bytes, records, outcome)
            }
        }
    }

    /// Books spans. Everything about one message is booked at once, so that the ledger adds up at any moment.
    fn spans(&self, encoding: Encoding, bytes: Bytes, valid: u64, invalid: u64, outcome: Outcome) -> Verdict {
        let ledger = &self.ledger;
        ledger.requests.add(1);
        ledger.spans_received.add(valid + invalid);
        let duplicates = match outcome {
            Outcome::Stored { duplicates } => duplicates.min(valid),
            // The sender comes back with all of them, so none counts as rejected.
            Outcome::Unwritten => {
                ledger.unwritten.add(valid + invalid);
                return Verdict::come_back("the spans could not be stored (is the disk full?)");
            }
            Outcome::Ending => {
                ledger.at_end.add(valid + invalid);
                return Verdict::come_back("the receiver is shutting down");
            }
        };
        ledger.spans_stored.add(valid - duplicates);
        ledger.spans_duplicate.add(duplicates);
        ledger.spans_rejected.add(invalid);
        // What has come before has been handed on before.
        if let Some(forward) = &self.forward
            && valid > duplicates
        {
            forward.offer(Signal::Traces, encoding, bytes, valid);
        }
        let partial = (invalid > 0).then(|| PartialSuccess {
            rejected: invalid,
            message:
                "spans without a valid trace id (16 bytes, not all zero) and span id (8 bytes, not all zero) \
                      were rejected"
                    .into(),
        });
        Verdict::Taken(Signal::Traces, partial)
    }

    /// Books data points or log records.
    fn other(
        &self,
        signal: Signal,
        encoding: Encoding,
        bytes: Bytes,
        records: u64,
        outcome: Outcome,
    ) -> Verdict {
        let ledger: &SignalLedger =
            if signal == Signal::Metrics { &self.ledger.metrics } else { &self.ledger.logs };
        ledger.requests.add(1);
        ledger.received.add(records);
        match outcome {
            Outcome::Stored { .. } => ledger.stored.add(records),
            Outcome::Unwritten => {
                ledger.dropped.add(records);
                return Verdict::come_back("the message could not be stored (is the disk full?)");
            }
            Outcome::Ending => {
                ledger.dropped.add(records);
                return Verdict::come_back("the receiver is shutting down");
            }
        }
        if let Some(forward) = &self.forward {
            forward.offer(signal, encoding, bytes, 0);
        }
        Verdict::Taken(signal, None)
    }

    /// Waits for room in the sink and for its owner's answer.
    async fn store(
        &self,
        encoding: Encoding,
        bytes: Bytes,
        content: Content,
        received_at: crate::record::Timestamp,
    ) -> Outcome {
        if content.records() == 0 {
            return Outcome::Stored { duplicates: 0 };
        }
        let (ack, stored) = oneshot::channel();
        let incoming = Incoming { encoding, bytes, content, received_at, ack };
        if self.sink.send(incoming).await.is_err() {
            return Outcome::Ending;
        }
        match stored.await {
            Ok(Ack::Stored { duplicates }) => Outcome::Stored { duplicates },
            Ok(Ack::Dropped) => Outcome::Unwritten,
            Err(_) => Outcome::Ending,
        }
    }
}

/// The message in a gRPC body, and whether it is packed as the head said.
pub(super) fn deframe(packing: Packing, mut bytes: Bytes) -> Result<(Packing, Bytes), Verdict> {
    if bytes.len() < GRPC_PREFIX {
        return Err(Verdict::bad_data("the gRPC message is missing".into()));
    }
    let (flag, len) = (bytes.get_u8(), bytes.get_u32());
    if len as usize != bytes.len() {
        let why = format!("a gRPC message of {len} bytes was announced, {} came", bytes.len());
        return Err(Verdict::bad_data(why));
    }
    match flag {
        0 => Ok((Packing::None, bytes)),
        1 if packing != Packing::None => Ok((packing, bytes)),
        _ => Err(Verdict::bad_data("the gRPC message is packed, but how is not said".into())),
    }
}

/// gRPC says in a header what HTTP says with its status.
fn is_grpc_fault(response: &Response<Reply>) -> bool {
    response.headers().contains_key("grpc-status")
}

/// Whether a message is what it should be, and what is in it.
fn look_over(signal: Signal, encoding: Encoding, bytes: &[u8]) -> Result<Content, OtlpError> {
    Ok(match signal {
        Signal::Traces => Content::Spans(encoding.scan(bytes)?),
        Signal::Metrics => {
            let walked = encoding.for_each_point(bytes, &mut |_| {})?;
            Content::Metrics { points: walked.points + walked.without_value }
        }
        Signal::Logs => Content::Logs { records: encoding.for_each_log(bytes, &mut |_| {})?.records },
    })
}
