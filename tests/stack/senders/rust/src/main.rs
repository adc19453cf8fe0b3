//! As ../send.py, with the OpenTelemetry SDK for Rust: sender PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(ms)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, compression, endpoint, service, traceparent, tracestate] = args.as_slice() else {
        return Err("six arguments are needed".into());
    };
    // gRPC works within a runtime; the blocking HTTP client must not.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let gzip = (compression == "gzip").then_some(Compression::Gzip);
    let exporter = if protocol == "grpc" {
        let _entered = runtime.enter();
        let mut builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        if let Some(gzip) = gzip {
            builder = builder.with_compression(gzip);
        }
        builder.build()?
    } else {
        let form = if protocol == "http/json" { Protocol::HttpJson } else { Protocol::HttpBinary };
        let url = format!("{endpoint}/v1/traces");
        let mut builder = SpanExporter::builder().with_http().with_endpoint(url).with_protocol(form);
        if let Some(gzip) = gzip {
            builder = builder.with_compression(gzip);
        }
        builder.build()?
    };
    let resource = Resource::builder()
        .with_attributes([KeyValue::new("service.name", service.clone()), KeyValue::new("deployment.number", 7)])
        .build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let tracer = provider.tracer_with_scope(InstrumentationScope::builder("sender").with_version("1.2.3").build());

    let headers = HashMap::from([
        ("traceparent".to_owned(), traceparent.clone()),
        ("tracestate".to_owned(), tracestate.clone()),
    ]);
    let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    let linked = SpanContext::new(
        TraceId::from_hex("0af7651916cd43dd8448eb211c80319c")?,
        SpanId::from_hex("b7ad6b7169203331")?,
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let mut root = tracer
        .span_builder("GET /orders/{id}")
        .with_kind(SpanKind::Server)
        .with_start_time(at(0))
        .with_links(vec![Link::new(linked, vec![KeyValue::new("why", "batch")], 0)])
        .with_attributes([
            KeyValue::new("text", "grün ✓"),
            KeyValue::new("flag", true),
            KeyValue::new("whole", 9_007_199_254_740_991_i64),
            KeyValue::new("negative", -42_i64),
            KeyValue::new("fraction", 0.5),
            KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), "b".into()]))),
            KeyValue::new("wholes", Value::Array(Array::I64(vec![1, 2, 3]))),
            KeyValue::new("fractions", Value::Array(Array::F64(vec![0.5, 1.5]))),
            KeyValue::new("flags", Value::Array(Array::Bool(vec![true, false]))),
        ])
        .start_with_context(&tracer, &caller);
    root.add_event_with_timestamp("happened", at(5), vec![KeyValue::new("n", 1_i64)]);
    root.set_status(Status::error("went wrong"));
    let below = caller.with_remote_span_context(root.span_context().clone());
    for (name, kind, start, end) in [
        ("work", SpanKind::Internal, 10, 20),
        ("SELECT orders", SpanKind::Client, 20, 40),
        ("publish", SpanKind::Producer, 40, 41),
        ("take", SpanKind::Consumer, 50, 60),
    ] {
        let client = kind == SpanKind::Client;
        let mut span =
            tracer.span_builder(name).with_kind(kind).with_start_time(at(start)).start_with_context(&tracer, &below);
        if client {
            span.set_attribute(KeyValue::new("db.system.name", "postgresql"));
            span.set_attribute(KeyValue::new("db.query.text", "SELECT * FROM orders WHERE id = $1"));
            span.set_status(Status::Ok);
        }
        span.end_with_timestamp(at(end));
    }
    root.end_with_timestamp(at(100));
    provider.shutdown()?;
    Ok(())
}
