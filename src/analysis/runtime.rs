//! What runtimes say about themselves in metrics: pauses for garbage, event loops, queues before threads, processors.
//!
//! Only what the conventions name, by service, summed or averaged over the run.

use crate::record::{MetricPoint, MetricValue, SumsSince};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Series of sums that are kept, against a sender that invents attributes.
const SERIES: usize = 10_000;

/// By service.
#[derive(Clone, Debug, Default)]
pub struct RuntimeMetrics {
    services: BTreeMap<Arc<str>, Runtime>,
    /// First and last sum of what counts since its start.
    sums: BTreeMap<(Arc<str>, String), (f64, f64)>,
}

/// One service's runtime over the run; over all of its instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// Pauses for garbage that came as increments, in ms.
    gc_ms: f64,
    /// Instances that reported anything.
    instances: std::collections::BTreeSet<Arc<str>>,
    /// Greatest p99 of an event loop's delay, in ms.
    pub loop_delay_p99_ms: f64,
    loop_use: Mean,
    queued: Mean,
    cpu: Mean,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean(f64, u64);

impl Mean {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            *self = Mean(self.0 + value, self.1 + 1);
        }
    }

    fn get(self) -> f64 {
        self.0 / self.1.max(1) as f64
    }
}

impl Runtime {
    /// Share of time that event loops were busy, 0..=1.
    pub fn loop_use(&self) -> f64 {
        self.loop_use.get()
    }

    /// Work that waits for a thread, on average.
    pub fn queued(&self) -> f64 {
        self.queued.get()
    }

    /// Share of the processors that the process used, 0..=1.
    pub fn cpu(&self) -> f64 {
        self.cpu.get()
    }
}

impl RuntimeMetrics {
    /// Takes in a point; most are of no matter.
    pub fn add(&mut self, point: &MetricPoint<'_>) {
        let known = |service: &mut BTreeMap<Arc<str>, Runtime>| -> Arc<str> {
            let name: Arc<str> = point.resource.service_name().into();
            let runtime = service.entry(name.clone()).or_default();
            let instance = point.resource.text("service.instance.id").unwrap_or_default();
            if runtime.instances.len() < SERIES {
                runtime.instances.insert(instance.into());
            }
            name
        };
        match point.name {
            "jvm.gc.duration"
            | "process.runtime.jvm.gc.duration"
            | "v8js.gc.duration"
            | "dotnet.gc.pause.time"
            | "go.memory.gc.pause.duration"
            | "cpython.gc.duration" => {
                let service = known(&mut self.services);
                self.pause(service, point);
            }
            "nodejs.eventloop.delay.p99" => {
                let (service, value) = (known(&mut self.services), point.value.number().unwrap_or(0.0));
                if let Some(runtime) = self.services.get_mut(&service) {
                    runtime.loop_delay_p99_ms = runtime.loop_delay_p99_ms.max(value * in_ms(point.unit));
                }
            }
            "nodejs.eventloop.utilization"
            | "dotnet.thread_pool.queue.length"
            | "kestrel.queued_requests"
            | "jvm.cpu.recent_utilization"
            | "process.cpu.utilization" => {
                let service = known(&mut self.services);
                let (Some(value), Some(runtime)) = (point.value.number(), self.services.get_mut(&service))
                else {
                    return;
                };
                match point.name {
                    "nodejs.eventloop.utilization" => runtime.loop_use.add(value),
                    "jvm.cpu.recent_utilization" | "process.cpu.utilization" => runtime.cpu.add(value),
                    _ => runtime.queued.add(value),
                }
            }
            _ => {}
        }
    }

    fn pause(&mut self, service: Arc<str>, point: &MetricPoint<'_>) {
        let (sum, since) = match point.value {
            MetricValue::Sum { value, temporality, .. } => (value, temporality),
            MetricValue::Histogram { values, temporality } => (values.sum.unwrap_or(0.0), temporality),
            MetricValue::Gauge(_) | MetricValue::Summary { .. } => return,
        };
        let ms = sum * in_ms(point.unit);
        if since == SumsSince::LastPoint {
            if let Some(runtime) = self.services.get_mut(&service) {
                runtime.gc_ms += ms;
            }
            return;
        }
        let instance = point.resource.text("service.instance.id").unwrap_or_default();
        let series = format!("{instance}|{}|{:?}|{:?}", point.name, point.start, point.attributes);
        let key = (service, series);
        if self.sums.len() < SERIES || self.sums.contains_key(&key) {
            let (first, last) = self.sums.entry(key).or_insert((ms, ms));
            *first = first.min(ms);
            *last = last.max(ms);
        }
    }

    /// Services that reported, with their share of time in pauses for garbage over `period_ms`, per instance.
    pub fn services(&self, period_ms: f64) -> impl Iterator<Item = (&Arc<str>, &Runtime, f64)> {
        self.services.iter().map(move |(service, runtime)| {
            let since: f64 = self
                .sums
                .iter()
                .filter(|((s, _), _)| s == service)
                .map(|(_, (first, last))| last - first)
                .sum();
            let instances = runtime.instances.len().max(1) as f64;
            (service, runtime, (runtime.gc_ms + since) / instances / period_ms.max(1.0))
        })
    }
}

/// Milliseconds of a unit of time; the conventions' own is the second.
fn in_ms(unit: &str) -> f64 {
    match unit {
        "ms" => 1.0,
        "us" => 1e-3,
        "ns" => 1e-6,
        _ => 1e3,
    }
}
