//! hotspan's own spans: what a run, its stages and its analysis took, through `tracing` and the OpenTelemetry SDK. Only
//! where the environment names an endpoint, under the standard `OTEL_*` variables. The spans of the load do not come this
//! way: they are encoded straight to OTLP, because the SDK costs more per span than a request does.

use super::exit::say;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use std::time::Duration;
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
    /// Installs the process-wide subscriber where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `_TRACES_` form) is set and the SDK
    /// is not disabled. The exporter speaks gRPC; where the environment asks for HTTP only the load's spans are exported.
    /// Needs a runtime. A failure is said and costs these spans only.
    pub fn start() -> OwnTelemetry {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let endpoint =
            set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let protocol =
            set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        // Where nothing is said, the specification's default is HTTP, as for the spans of the load.
        let grpc = protocol.is_some_and(|p| p == "grpc");
        if endpoint.is_none() || disabled || !grpc {
            return OwnTelemetry(None);
        }
        let exporter = match SpanExporter::builder().with_tonic().build() {
            Ok(exporter) => exporter,
            Err(error) => {
                say(&format!("hotspan: its own run spans are not exported: {error}"));
                return OwnTelemetry(None);
            }
        };
        let resource = Resource::builder()
            .with_service_name(set("OTEL_SERVICE_NAME").unwrap_or_else(|| "hotspan".into()));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
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
