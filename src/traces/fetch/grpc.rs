//! Jaeger's query API over gRPC (`jaeger.api_v3.QueryService`): the same questions as over HTTP, answered by a stream of OTLP
//! messages. Messages are written and read by hand, for there are only three and they hold nothing but text and times.

use super::backend::Period;
use super::client::{Ask, BODY_MAX, Once, Refusal, TIMEOUT};
use super::source::Backend;
use crate::record::{Nanos, Timestamp, TraceId, with_causes};
use crate::traces::peer::BytesCodec;
use crate::traces::tls::system_roots;
use crate::wire::protobuf::{Field, Reader, close_message, open_message, put_bytes, put_uint};
use bytes::Bytes;
use http::uri::PathAndQuery;
use std::error::Error;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

const GET_TRACE: &str = "/jaeger.api_v3.QueryService/GetTrace";
const FIND_TRACES: &str = "/jaeger.api_v3.QueryService/FindTraces";
const GET_SERVICES: &str = "/jaeger.api_v3.QueryService/GetServices";

/// A connection to a Jaeger.
#[derive(Clone, Debug)]
pub(super) struct Channel(tonic::transport::Channel);

impl Channel {
    /// Prepares a connection; it is opened with the first request. Must be called within a tokio runtime.
    pub fn to(backend: &Backend) -> Result<Channel, String> {
        let fault = |error: &dyn std::fmt::Display| format!("cannot ask {}: {error}", backend.shown());
        let url = match backend.base.strip_prefix("grpcs://") {
            Some(rest) => format!("https://{rest}"),
            None => backend.base.replacen("grpc://", "http://", 1),
        };
        let secure = url.starts_with("https://");
        let mut endpoint =
            Endpoint::from_shared(url).map_err(|error| fault(&error))?.connect_timeout(TIMEOUT);
        if secure {
            let roots = system_roots().map_err(|error| fault(&error))?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
            endpoint = endpoint.tls_config(tls).map_err(|error| fault(&error))?;
        }
        Ok(Channel(endpoint.connect_lazy()))
    }

    /// One try: all messages of the answer one after the other, which in protobuf is one message with all their spans.
    pub async fn once(&self, backend: &Backend, ask: &Ask) -> Once {
        match tokio::time::timeout(TIMEOUT, self.answer(backend, ask)).await {
            Ok(Ok(body)) if body.is_empty() && ask.path == GET_TRACE => Once::Done(Err(Refusal::NotFound)),
            Ok(Ok(body)) => Once::Done(Ok(body)),
            Ok(Err(once)) => once,
            Err(_) => Once::Later(format!("no answer within {TIMEOUT:?}"), None),
        }
    }

    async fn answer(&self, backend: &Backend, ask: &Ask) -> Result<Vec<u8>, Once> {
        let refused = |why: String| Once::Done(Err(Refusal::Failed(why)));
        let path = PathAndQuery::try_from(ask.path.as_str()).map_err(|error| refused(error.to_string()))?;
        let mut grpc = tonic::client::Grpc::new(self.0.clone())
            .max_decoding_message_size(BODY_MAX)
            .accept_compressed(CompressionEncoding::Gzip);
        grpc.ready().await.map_err(|error| Once::Later(with_causes(&error), None))?;
        let mut request = Request::new(Bytes::from(ask.body.clone().unwrap_or_default()));
        *request.metadata_mut() = metadata(backend);
        let answer = grpc.server_streaming(request, path, BytesCodec).await;
        let mut messages = answer.map_err(|status| judge(&status))?.into_inner();
        let mut body = Vec::new();
        while let Some(message) = messages.message().await.map_err(|status| judge(&status))? {
            if body.len() + message.len() > BODY_MAX {
                return Err(Once::Done(Err(Refusal::TooLarge)));
            }
            body.extend_from_slice(&message);
        }
        Ok(body)
    }
}

fn metadata(backend: &Backend) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in &backend.headers {
        let name = MetadataKey::from_bytes(name.as_str().as_bytes());
        // What gRPC does not allow is a name that ends in -bin and a value beyond ASCII.
        if let (Ok(name), Ok(value)) = (name, MetadataValue::try_from(value.as_bytes())) {
            map.append(name, value);
        }
    }
    map
}

fn judge(status: &Status) -> Once {
    let mut why = format!("gRPC status {:?}: {}", status.code(), status.message());
    let broken = status.source();
    if let Some(cause) = broken {
        why = with_causes(cause);
    }
    match status.code() {
        Code::NotFound => Once::Done(Err(Refusal::NotFound)),
        Code::Unknown if status.message().contains("trace not found") => Once::Done(Err(Refusal::NotFound)),
        Code::Unauthenticated | Code::PermissionDenied => Once::Done(Err(Refusal::Forbidden(why))),
        Code::OutOfRange if status.message().contains("message length too large") => {
            Once::Done(Err(Refusal::TooLarge))
        }
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::DeadlineExceeded
        | Code::Cancelled => Once::Later(why, None),
        // No answer of the server's but a broken connection.
        Code::Unknown | Code::Internal if broken.is_some() => Once::Later(why, None),
        Code::Unimplemented => Once::Done(Err(Refusal::Failed(format!(
            "{why}; this server has no jaeger.api_v3.QueryService: Jaeger serves it on port 16685"
        )))),
        _ => Once::Done(Err(Refusal::Failed(why))),
    }
}

fn ask(method: &str, message: Vec<u8>) -> Ask {
    Ask { path: method.to_owned(), body: Some(message), accept: "" }
}

/// One trace by its id, as it is stored.
pub(super) fn get_trace(id: TraceId) -> Ask {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, id.to_string().as_bytes());
    put_uint(&mut message, 4, 1);
    ask(GET_TRACE, message)
}

/// The names of all services.
pub(super) fn get_services() -> Ask {
    ask(GET_SERVICES, Vec::new())
}

/// Which traces a search is for.
pub(super) struct Find<'f> {
    pub service: &'f str,
    pub operation: Option<&'f str>,
    pub attributes: &'f [(&'f str, &'f str)],
    pub period: Period,
    pub at_least: Option<Nanos>,
    pub at_most: Option<Nanos>,
    pub depth: usize,
}

/// Traces by service and time.
pub(super) fn find_traces(find: &Find<'_>) -> Ask {
    let mut message = Vec::new();
    let query = open_message(&mut message, 1);
    put_bytes(&mut message, 1, find.service.as_bytes());
    if let Some(operation) = find.operation {
        put_bytes(&mut message, 2, operation.as_bytes());
    }
    for (key, value) in find.attributes {
        let entry = open_message(&mut message, 3);
        put_bytes(&mut message, 1, key.as_bytes());
        put_bytes(&mut message, 2, value.as_bytes());
        close_message(&mut message, entry);
    }
    let Period { from: Timestamp(from), to: Timestamp(to) } = find.period;
    let times =
        [(4, Some(from)), (5, Some(to)), (6, find.at_least.map(|d| d.0)), (7, find.at_most.map(|d| d.0))];
    for (field, nanos) in times {
        let Some(nanos) = nanos else { continue };
        let time = open_message(&mut message, field);
        put_uint(&mut message, 1, nanos / 1_000_000_000);
        put_uint(&mut message, 2, nanos % 1_000_000_000);
        close_message(&mut message, time);
    }
    put_uint(&mut message, 8, find.depth as u64);
    put_uint(&mut message, 9, 1);
    close_message(&mut message, query);
    ask(FIND_TRACES, message)
}

/// The names in an answer to [`get_services`].
pub(super) fn services(body: &[u8]) -> Result<Vec<String>, String> {
    let mut reader = Reader::new(body);
    let mut names = Vec::new();
    loop {
        match reader.next_field() {
            Ok(None) => return Ok(names),
            Ok(Some((1, Field::Bytes(name)))) => {
                names.push(String::from_utf8_lossy(name.rest()).into_owned())
            }
            Ok(Some(_)) => {}
            Err(error) => return Err(format!("the list of services could not be read: {error}")),
        }
    }
}
