//! hotspan's own spans: what a run, its stages and its analysis took, through `tracing` and the OpenTelemetry SDK. Only
//! where the environment names an endpoint, under the standard `OTEL_*` variables. The spans of the load do not come this
//! way: they are encoded straight to OTLP, because the SDK costs more per span than a request does.

use super::exit::say;
use crate::traces::{DirectSender, Endpoint, ExportConfig, Signal};
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter, Tracer};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// How long the last spans may take to be sent.
const FLUSH: Duration = Duration::from_secs(3);

/// Keeps the exporter; [`OwnTelemetry::shut_down`] sends what is left.
#[derive(Debug)]
pub struct OwnTelemetry(Option<SdkTracerProvider>);

impl OwnTelemetry {
    /// Installs the process-wide subscriber where the environment names an endpoint for traces and the SDK is not disabled.
    /// Needs a runtime. A failure is said and costs these spans only.
    pub fn start() -> OwnTelemetry {
        // What cannot be understood in the environment is said by the export of the load's spans.
        let config = ExportConfig::from_env(|name| std::env::var(name).ok());
        let Some(endpoint) = &config.traces else { return OwnTelemetry(None) };
        let exporter = match OwnExporter::to(endpoint) {
            Ok(exporter) => exporter,
            Err(problem) => {
                say(&format!("hotspan: its own run spans are not exported: {problem}"));
                return OwnTelemetry(None);
            }
        };
        let resource = config.resource.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().with_attributes(resource).build())
            .with_batch_exporter(exporter)
            .build();
        let subscriber = tracing_subscriber::registry().with(layer(provider.tracer("hotspan")));
        match tracing::subscriber::set_global_default(subscriber) {
            Ok(()) => OwnTelemetry(Some(provider)),
            Err(_) => OwnTelemetry(None),
        }
    }

    /// Sends the spans that wait.
    pub fn shut_down(self) {
        if let Some(provider) = self.0 {
            let _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}

/// Only the command line's own spans: libraries' spans are theirs, and the demo has a subscriber of its own.
fn layer<S>(tracer: Tracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|metadata| {
            metadata.is_span() && metadata.target().starts_with("hotspan::cli")
        }))
}

/// Sends the SDK's spans by the way that the load's spans go: over gRPC, or HTTP in protobuf or JSON.
#[derive(Debug)]
struct OwnExporter {
    sender: Arc<DirectSender>,
    /// The SDK exports on a thread of its own, outside of the runtime.
    runtime: Handle,
    resource: ResourceAttributesWithSchema,
}

impl OwnExporter {
    fn to(endpoint: &Endpoint) -> Result<OwnExporter, String> {
        let sender = Arc::new(DirectSender::to(endpoint)?);
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        Ok(OwnExporter { sender, runtime, resource: ResourceAttributesWithSchema::default() })
    }
}

impl SpanExporter for OwnExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let message = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let sender = self.sender.clone();
        let sent = self.runtime.spawn(async move { sender.send(Signal::Traces, message).await }).await;
        match sent {
            Ok(result) => result.map_err(OTelSdkError::InternalFailure),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp;
    use opentelemetry::trace::{Span, Tracer};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Takes one request over HTTP: its head and its body.
    async fn one_request(listener: tokio::net::TcpListener) -> (String, Vec<u8>) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) {
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let length =
                    head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if bytes.len() >= end + length.unwrap_or(0) {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    return (head, bytes.split_off(end));
                }
            }
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "the request ends early");
        }
    }

    #[test]
    fn own_spans_reach_an_endpoint_that_speaks_http() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for (protocol, content_type) in
            [("http/protobuf", "application/x-protobuf"), ("http/json", "application/json")]
        {
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            let config = ExportConfig::from_env(|name| {
                Some(match name {
                    "OTEL_EXPORTER_OTLP_ENDPOINT" => format!("http://127.0.0.1:{port}"),
                    "OTEL_EXPORTER_OTLP_PROTOCOL" => protocol.to_owned(),
                    "OTEL_EXPORTER_OTLP_HEADERS" => "x-tenant=a".to_owned(),
                    _ => return None,
                })
            });
            let got = Arc::new(Mutex::new(None));
            let keep = got.clone();
            let served = runtime.spawn(async move {
                *keep.lock().unwrap() = Some(one_request(listener).await);
            });
            let exporter = {
                let _entered = runtime.enter();
                OwnExporter::to(config.traces.as_ref().unwrap()).unwrap()
            };
            let provider = SdkTracerProvider::builder()
                .with_resource(
                    Resource::builder_empty().with_attribute(KeyValue::new("service.name", "h")).build(),
                )
                .with_batch_exporter(exporter)
                .build();
            provider.tracer("hotspan").start("hotspan run").end();
            provider.shutdown().unwrap();
            runtime.block_on(served).unwrap();
            let (head, body) = got.lock().unwrap().take().unwrap();
            assert!(head.starts_with("post /v1/traces ") && head.contains("x-tenant: a"), "{head}");
            assert!(head.contains(&format!("content-type: {content_type}")), "{head}");
            let encoding =
                if protocol == "http/json" { otlp::Encoding::Json } else { otlp::Encoding::Protobuf };
            let message = encoding.to_protobuf_of(Signal::Traces, &body).unwrap();
            assert_eq!(otlp::scan_all(&message).unwrap().spans, 1);
            let text = String::from_utf8_lossy(&message);
            assert!(text.contains("hotspan run") && text.contains("service.name"), "{text}");
        }
    }
}
