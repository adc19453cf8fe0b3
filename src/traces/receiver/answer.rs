//! Answers in the request's own language: HTTP with protobuf or JSON bodies, or gRPC with trailers.

use crate::wire::base64;
use crate::wire::otlp::{Encoding, PartialSuccess, Rpc, Signal, Status};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a sender is asked to wait when there is no room.
pub(super) const COME_BACK: Duration = Duration::from_secs(1);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Compressions that are understood.
const PACKINGS: HeaderValue = HeaderValue::from_static("gzip, zstd, deflate");
const GRPC_PACKINGS: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");

/// The language of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Http(Encoding),
    Grpc,
}

/// A short body with trailers, if any.
#[derive(Debug, Default)]
pub(super) struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// What to tell the sender of an export request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken(Signal, Option<PartialSuccess>),
    Refused { http: StatusCode, status: Status },
}

impl Verdict {
    pub fn bad_data(message: String) -> Verdict {
        Verdict::refused(StatusCode::BAD_REQUEST, Rpc::InvalidArgument, message)
    }

    pub fn too_large(max: usize) -> Verdict {
        let message =
            format!("the message is larger than {max} bytes (after decompression); send smaller batches");
        Verdict::refused(StatusCode::PAYLOAD_TOO_LARGE, Rpc::ResourceExhausted, message)
    }

    /// The sender is too slow. It may try again.
    pub fn too_slow() -> Verdict {
        let message = "the body stopped coming, or came too slowly".into();
        Verdict::refused(StatusCode::REQUEST_TIMEOUT, Rpc::DeadlineExceeded, message)
    }

    pub fn come_back(message: &str) -> Verdict {
        let status = Status { code: Rpc::Unavailable, message: message.into(), retry_after: Some(COME_BACK) };
        Verdict::Refused { http: StatusCode::SERVICE_UNAVAILABLE, status }
    }

    pub fn refused(http: StatusCode, code: Rpc, message: String) -> Verdict {
        Verdict::Refused { http, status: Status { code, message, retry_after: None } }
    }

    pub fn into_response(self, language: Language) -> Response<Reply> {
        match language {
            Language::Http(encoding) => self.http(encoding),
            Language::Grpc => self.grpc(),
        }
    }

    fn http(self, encoding: Encoding) -> Response<Reply> {
        let (code, body, retry_after) = match self {
            Verdict::Taken(signal, partial) => {
                (StatusCode::OK, PartialSuccess::encode_for(signal, partial.as_ref(), encoding), None)
            }
            Verdict::Refused { http, status } => (http, status.encode(encoding), status.retry_after),
        };
        let mut response = respond(code, body.into());
        let content_type = match encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let headers = response.headers_mut();
        if let Some(delay) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
        }
        match code {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => drop(headers.insert(ACCEPT_ENCODING, PACKINGS)),
            // The rest of the body will not be read, so nothing else can come on this connection.
            StatusCode::REQUEST_TIMEOUT => {
                drop(headers.insert(CONNECTION, HeaderValue::from_static("close")))
            }
            _ => {}
        }
        response
    }

    fn grpc(self) -> Response<Reply> {
        let mut response = Response::new(Reply::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_ACCEPT, GRPC_PACKINGS);
        match self {
            Verdict::Taken(_, partial) => {
                let message = PartialSuccess::encode(partial.as_ref(), Encoding::Protobuf);
                let mut data = BytesMut::with_capacity(message.len() + 5);
                data.put_u8(0);
                data.put_u32(message.len() as u32);
                data.put_slice(&message);
                let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
                *response.body_mut() = Reply { data: Some(data.freeze()), trailers: Some(trailers) };
            }
            // "Trailers only": the status is in the headers and there is no body.
            Verdict::Refused { status, .. } => {
                headers.insert(GRPC_STATUS, HeaderValue::from(status.code as u16));
                if let Ok(message) = HeaderValue::from_str(&percent_encode(&status.message)) {
                    headers.insert(GRPC_MESSAGE, message);
                }
                let details = base64::encode(&status.encode(Encoding::Protobuf));
                if let Ok(details) = HeaderValue::from_str(details.trim_end_matches('=')) {
                    headers.insert(GRPC_DETAILS, details);
                }
            }
        }
        response
    }
}

/// An answer without a body.
pub(super) fn empty(code: StatusCode) -> Response<Reply> {
    respond(code, Bytes::new())
}

/// An answer to what is no export request at all, in plain words.
pub(super) fn plain(code: StatusCode, message: &str) -> Response<Reply> {
    let mut response = respond(code, Bytes::from(format!("{message}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn respond(code: StatusCode, body: Bytes) -> Response<Reply> {
    let data = (!body.is_empty()).then_some(body);
    let mut response = Response::new(Reply { data, trailers: None });
    *response.status_mut() = code;
    response
}

/// `grpc-message` is percent-encoded: everything but printable ASCII, and `%` itself.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
