//! One OTLP server as a client sees it: a message goes out as bytes, and what became of it comes back.

use super::environment::{Compression, Endpoint, Transport};
use super::tls::{install_crypto_provider, system_roots};
use crate::record::{retry_after, with_causes};
use crate::wire::otlp::{
    Encoding, PartialSuccess, Signal, logs_to_json, metrics_to_json, retry_delay, traces_to_json,
};
use bytes::{Buf, BufMut, Bytes};
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, SystemTime};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};

/// Answers are short; more than this is not read.
const ANSWER_MAX: usize = 4 << 20;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Taken, wholly or but for what the peer names.
    Accepted(Option<PartialSuccess>),
    /// Not taken now; the peer may say when.
    Later { after: Option<Duration>, why: String },
    /// Not taken, and sending it again cannot help.
    Refused { why: String },
}

/// A connection (pool) to one endpoint.
#[derive(Debug)]
pub(super) struct Peer {
    wire: Wire,
    compression: Compression,
    timeout: Duration,
}

#[derive(Debug)]
enum Wire {
    Grpc {
        channel: Channel,
        metadata: MetadataMap,
    },
    /// `json`: protobuf is written anew as JSON before it is sent.
    Http {
        client: reqwest::Client,
        headers: HeaderMap,
        url: String,
        json: bool,
    },
}

impl Peer {
    /// Prepares a connection; it is opened with the first message. Must be called within a tokio runtime.
    pub fn new(endpoint: &Endpoint) -> Result<Peer, String> {
        install_crypto_provider();
        let wire = match endpoint.transport {
            Transport::Grpc => Peer::grpc(endpoint)?,
            Transport::HttpProtobuf | Transport::HttpJson => Peer::http(endpoint)?,
        };
        Ok(Peer { wire, compression: endpoint.compression, timeout: endpoint.timeout })
    }

    fn grpc(endpoint: &Endpoint) -> Result<Wire, String> {
        let fault = |error: &dyn std::fmt::Display| format!("cannot export to {}: {error}", endpoint.url);
        let mut channel = Channel::from_shared(endpoint.url.clone())
            .map_err(|error| fault(&error))?
            .connect_timeout(endpoint.timeout);
        if endpoint.url.starts_with("https://") {
            let roots = match &endpoint.certificate {
                Some(path) => {
                    std::fs::read_to_string(path).map_err(|error| fault(&format!("{path}: {error}")))?
                }
                None => system_roots().map_err(|error| fault(&error))?,
            };
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
            if let Some((certificate, key)) = &endpoint.identity {
                let read = |path: &String| {
                    std::fs::read_to_string(path).map_err(|error| fault(&format!("{path}: {error}")))
                };
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            channel = channel.tls_config(tls).map_err(|error| fault(&error))?;
        }
        let mut metadata = MetadataMap::new();
        for (key, value) in &endpoint.headers {
            let key = MetadataKey::from_bytes(key.to_lowercase().as_bytes());
            match (key, value.parse()) {
                (Ok(key), Ok(value)) => drop(metadata.append(key, value)),
                _ => return Err(fault(&"a configured header is not allowed in gRPC")),
            }
        }
        Ok(Wire::Grpc { channel: channel.connect_lazy(), metadata })
    }

    fn http(endpoint: &Endpoint) -> Result<Wire, String> {
        let fault = |error: &dyn std::fmt::Display| format!("cannot export to {}: {error}", endpoint.url);
        let mut builder = reqwest::Client::builder().timeout(endpoint.timeout).user_agent("hotspan");
        if endpoint.url.starts_with("http://") {
            // Reading the system's certificates would delay the start for nothing.
            builder = builder.tls_certs_only([]);
        } else if let Some(path) = &endpoint.certificate {
            let pem = std::fs::read(path).map_err(|error| fault(&format!("{path}: {error}")))?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fault(&with_causes(&error)))?;
            builder = builder.tls_certs_only(roots);
        }
        if let Some((certificate, key)) = &endpoint.identity {
            let read =
                |path: &String| std::fs::read(path).map_err(|error| fault(&format!("{path}: {error}")));
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            let identity = reqwest::Identity::from_pem(&pem).map_err(|error| fault(&with_causes(&error)))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|error| fault(&with_causes(&error)))?;
        let mut headers = HeaderMap::new();
        for (key, value) in &endpoint.headers {
            let name = HeaderName::from_bytes(key.as_bytes());
            match (name, HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => drop(headers.append(name, value)),
                _ => return Err(fault(&"a configured header is not allowed in HTTP")),
            }
        }
        let json = endpoint.transport == Transport::HttpJson;
        Ok(Wire::Http { client, headers, url: endpoint.url.clone(), json })
    }

    /// Sends one message once.
    pub async fn send(&self, signal: Signal, encoding: Encoding, message: &Bytes) -> Sent {
        match &self.wire {
            Wire::Grpc { channel, metadata } => {
                let message = match encoding {
                    Encoding::Protobuf => message.clone(),
                    Encoding::Json => match encoding.to_protobuf_of(signal, message) {
                        Ok(protobuf) => Bytes::from(protobuf.into_owned()),
                        Err(error) => return Sent::Refused { why: error.to_string() },
                    },
                };
                let answer = self.send_grpc(channel.clone(), metadata, signal, message);
                match tokio::time::timeout(self.timeout, answer).await {
                    Ok(sent) => sent,
                    Err(_) => {
                        Sent::Later { after: None, why: format!("no answer within {:?}", self.timeout) }
                    }
                }
            }
            Wire::Http { client, headers, url, json } => {
                if !*json || encoding == Encoding::Json {
                    return self.send_http(client, headers, url, encoding, message).await;
                }
                match to_json(signal, message) {
                    Ok(text) => {
                        self.send_http(client, headers, url, Encoding::Json, &Bytes::from(text)).await
                    }
                    Err(why) => Sent::Refused { why },
                }
            }
        }
    }

    async fn send_grpc(
        &self,
        channel: Channel,
        metadata: &MetadataMap,
        signal: Signal,
        message: Bytes,
    ) -> Sent {
        let mut grpc = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(ANSWER_MAX)
            .accept_compressed(CompressionEncoding::Gzip);
        if self.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        if let Err(error) = grpc.ready().await {
            return Sent::Later { after: None, why: with_causes(&error) };
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = metadata.clone();
        match grpc.unary(request, PathAndQuery::from_static(signal.grpc_path()), BytesCodec).await {
            Ok(answer) => Sent::Accepted(PartialSuccess::decode(answer.get_ref(), Encoding::Protobuf)),
            Err(status) => judge_status(&status),
        }
    }

    async fn send_http(
        &self,
        client: &reqwest::Client,
        headers: &HeaderMap,
        url: &str,
        encoding: Encoding,
        message: &Bytes,
    ) -> Sent {
        let content_type = match encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        let mut request = client.post(url).headers(headers.clone()).header(CONTENT_TYPE, content_type);
        let body = match self.compression {
            Compression::None => message.clone(),
            Compression::Gzip => {
                request = request.header(CONTENT_ENCODING, "gzip");
                gzip(message)
            }
        };
        let mut answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => return Sent::Refused { why: with_causes(&error) },
            Err(error) => return Sent::Later { after: None, why: hint(url, with_causes(&error)) },
        };
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > ANSWER_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Sent::Accepted(PartialSuccess::decode(&body, encoding));
        }
        let why = hint(url, format!("{url} answered {status}"));
        if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Sent::Refused { why };
        }
        let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|value| retry_after(value, SystemTime::now()));
        Sent::Later { after: after.or_else(|| retry_delay(&body)), why }
    }
}

/// A message as JSON, for servers that take no other form.
fn to_json(signal: Signal, message: &[u8]) -> Result<Vec<u8>, String> {
    match signal {
        Signal::Traces => traces_to_json(message),
        Signal::Metrics => metrics_to_json(message),
        Signal::Logs => logs_to_json(message),
    }
}

/// A gRPC port spoken to in HTTP/1.1 is the commonest mistake, and nothing in the answer tells it.
fn hint(url: &str, why: String) -> String {
    if url.contains(":4317/") {
        format!("{why} (port 4317 usually speaks gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc)")
    } else {
        why
    }
}

/// Which codes may be tried again, by the OTLP specification.
fn judge_status(status: &Status) -> Sent {
    let after = retry_delay(status.details());
    let mut why = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = status.source() {
        why = with_causes(source);
    }
    let retry = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // No answer of the peer but a broken connection.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    };
    if retry { Sent::Later { after, why } } else { Sent::Refused { why } }
}

fn gzip(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(message);
    Bytes::from(encoder.finish().unwrap_or_default())
}

/// Passes messages through as bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;
    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }
    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.len());
        out.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}
