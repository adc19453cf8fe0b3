//! Counts spans on their way out. The SDK's batch processor drops spans without a word when its queue is full, and a demo
//! that loses spans would make its analyser look wrong.

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Spans of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    delivered: AtomicU64,
}

impl Delivery {
    /// A processor that counts the sampled spans that end.
    pub(super) fn processor<P: SpanProcessor>(&self, next: P) -> Ending<P> {
        Ending { next, counts: self.0.clone() }
    }

    /// An exporter that counts the spans that were taken by the other side.
    pub(super) fn exporter<E: SpanExporter>(&self, next: E) -> Delivering<E> {
        Delivering { next, counts: self.0.clone() }
    }

    /// Ended, and of those delivered.
    pub(super) fn counts(&self) -> (u64, u64) {
        // In this order: what is delivered has ended.
        let delivered = self.0.delivered.load(Ordering::Acquire);
        (self.0.ended.load(Ordering::Acquire), delivered)
    }
}

#[derive(Debug)]
pub(super) struct Ending<P> {
    next: P,
    counts: Arc<Counts>,
}

impl<P: SpanProcessor> SpanProcessor for Ending<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.counts.ended.fetch_add(1, Ordering::AcqRel);
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[derive(Debug)]
pub(super) struct Delivering<E> {
    next: E,
    counts: Arc<Counts>,
}

impl<E: SpanExporter> SpanExporter for Delivering<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.next.export(batch).await?;
        self.counts.delivered.fetch_add(spans, Ordering::AcqRel);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SimpleSpanProcessor};

    /// Takes every second batch.
    #[derive(Debug, Default)]
    struct Moody(AtomicU64);

    impl SpanExporter for Moody {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => Ok(()),
                _ => Err(OTelSdkError::InternalFailure("not now".to_owned())),
            }
        }
    }

    #[test]
    fn what_is_not_taken_is_not_counted_as_delivered() {
        let delivery = Delivery::default();
        let exporter = delivery.exporter(Moody::default());
        let processor = delivery.processor(SimpleSpanProcessor::new(exporter));
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        for _ in 0..10 {
            drop(tracer.start("span"));
        }
        assert_eq!(delivery.counts(), (10, 5));
    }
}
