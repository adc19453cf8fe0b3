//! OpenTelemetry as an ordinary service sets it up: `tracing` spans through `tracing-opentelemetry` to an OTLP exporter over
//! gRPC, configured by the standard `OTEL_*` variables.
//!
//! Queue and batch are larger than the SDK's own: 1,500 requests/s of 40 spans each are 60,000 spans/s, which the default
//! queue of 2,048 would drop silently.

use super::delivery::Delivery;
use super::error::DemoError;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use std::time::Duration;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// Spans that wait for export at most.
const QUEUE: usize = 262_144;
/// Spans in one export: about 1.5 MB, within the 4 MiB that receivers take by default.
const BATCH: usize = 2_048;
const DELAY: Duration = Duration::from_secs(1);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a service sends its spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telemetry {
    /// To an OTLP/gRPC endpoint: the given one, else `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else `http://127.0.0.1:4317`.
    Otlp {
        /// An endpoint that goes before the environment's.
        endpoint: Option<String>,
    },
    /// Nowhere, and no subscriber is installed.
    Off,
}

/// Keeps the exporter going; [`shut_down`](Exporting::shut_down) sends what is left.
#[derive(Debug)]
pub(super) struct Exporting(Option<(SdkTracerProvider, Delivery)>);

impl Exporting {
    /// Installs the process-wide subscriber of a service. Only the first call in a process can succeed.
    pub(super) fn install(service: &'static str, telemetry: &Telemetry) -> Result<Exporting, DemoError> {
        let Telemetry::Otlp { endpoint } = telemetry else { return Ok(Exporting(None)) };
        if std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Exporting(None));
        }
        let failed = |problem: String| DemoError::Exporter {
            endpoint: endpoint.clone().unwrap_or_else(|| "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()),
            problem,
        };
        let mut exporter = SpanExporter::builder().with_tonic();
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(endpoint.clone());
        }
        let exporter = exporter.build().map_err(|error| failed(error.to_string()))?;
        let delivery = Delivery::default();
        let exporter = delivery.exporter(exporter);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batch_config().build()).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service))
            .with_span_processor(delivery.processor(batches))
            .build();
        let spans = layer(provider.tracer("hotspan-demo"));
        let complaints = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_filter(filter_fn(|metadata| metadata.is_event() && *metadata.level() <= Level::WARN));
        let subscriber = tracing_subscriber::registry().with(spans).with(complaints);
        tracing::subscriber::set_global_default(subscriber).map_err(|error| failed(error.to_string()))?;
        Ok(Exporting(Some((provider, delivery))))
    }

    /// Sends the spans that wait, for a few seconds at most, and says so if any did not arrive.
    pub(super) async fn shut_down(self) {
        let Some((provider, delivery)) = self.0 else { return };
        // It blocks on a channel while the exporter works on this runtime.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        let (ended, delivered) = delivery.counts();
        if delivered < ended {
            let lost = ended - delivered;
            tracing::warn!(
                "{lost} of {ended} spans were not taken by the OTLP endpoint; is it there, and quick enough?"
            );
        }
    }
}

/// Turns the spans of the demo into OpenTelemetry's. Locations are given by hand where they say something: those of the
/// macros all lie in the instrumentation.
pub(super) fn layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let ours = |metadata: &tracing::Metadata<'_>| {
        metadata.is_span() && metadata.target().starts_with("hotspan::demo")
    };
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(ours))
}

/// The shop's sizes, except where the environment names another. The SDK reads the environment itself, so only absent
/// variables are set here.
fn batch_config() -> BatchConfigBuilder {
    let unset = |name: &str| std::env::var_os(name).is_none();
    let mut config = BatchConfigBuilder::default();
    if unset("OTEL_BSP_MAX_QUEUE_SIZE") {
        config = config.with_max_queue_size(QUEUE);
    }
    if unset("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
        config = config.with_max_export_batch_size(BATCH);
    }
    if unset("OTEL_BSP_SCHEDULE_DELAY") {
        config = config.with_scheduled_delay(DELAY);
    }
    config
}

fn resource(service: &'static str) -> Resource {
    use opentelemetry::KeyValue;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pid = std::process::id();
    Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{service}-{host}-{pid}")),
            KeyValue::new("host.name", host),
            KeyValue::new("process.pid", i64::from(pid)),
        ])
        .build()
}

/// Makes a span a child of the caller's, if the request carries a valid `traceparent`.
pub(super) fn continue_trace(span: &Span, headers: &http::HeaderMap) {
    let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    // Fails where nothing is traced: then there is nothing to continue.
    let _ = span.set_parent(caller);
}

/// Puts the span's `traceparent` into a request's headers.
pub(super) fn propagate(span: &Span, headers: &mut http::HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeadersMut(headers));
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut http::HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(key), http::HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

    #[test]
    fn a_traceparent_survives_the_way_through_headers() {
        let span = SpanContext::new(
            TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            SpanId::from(0xb7ad_6b71_6920_3331),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let mut headers = http::HeaderMap::new();
        let context = Context::new().with_remote_span_context(span.clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(&mut headers));
        assert_eq!(headers["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let back = TraceContextPropagator::new().extract(&Headers(&headers));
        assert_eq!(back.span().span_context(), &span);
    }
}
