//! A service that continues its callers' traces and sends its spans over OTLP, as docs/get-started.md shows it.

use axum::{Router, extract::Request, middleware, response::Response, routing::get};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(spans))?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());

    let app = Router::new()
        .route("/hello/{name}", get(|| async { "hello" }))
        .route_layer(middleware::from_fn(traced));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await?;
    provider.shutdown()?;
    Ok(())
}

struct Headers<'a>(&'a axum::http::HeaderMap);

impl opentelemetry::propagation::Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}

/// A SERVER span for each request, in the trace of its caller.
async fn traced(request: Request, next: middleware::Next) -> Response {
    let route =
        request.extensions().get::<axum::extract::MatchedPath>().map_or("", |path| path.as_str()).to_owned();
    let span = tracing::info_span!("request", otel.name = format!("{} {route}", request.method()), otel.kind = "server",
        http.request.method = %request.method(), http.route = route, http.response.status_code = tracing::field::Empty);
    let caller = opentelemetry::global::get_text_map_propagator(|p| p.extract(&Headers(request.headers())));
    let _ = span.set_parent(caller);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}
