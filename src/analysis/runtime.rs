//! What runtimes say about themselves in metrics: pauses for garbage, event loops, queues before threads, processors.
//!
//! Only what the conventions name, by service, summed or averaged over the run.

use crate::record::{MetricPoint, MetricValue, SumsSince};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Series of sums that are kept, against a sender that invents attributes.
const SERIES: usize = 10_000;
/// Points that cover less of a run than this part are not taken for the whole of it.
const COVERED_MIN: f64 = 0.5;

/// By service.
#[derive(Clone, Debug, Default)]
pub struct RuntimeMetrics {
    services: BTreeMap<Arc<str>, Runtime>,
    /// First and last of what counts since its start, by service and series.
    sums: BTreeMap<(Arc<str>, String), (Pauses, Pauses)>,
    /// When the pauses of a process that counts since its start were first and last told, by service and instance.
    told: BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>,
}

/// Pauses for garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pauses {
    ms: f64,
    /// 0 where the metric does not count them.
    count: f64,
}

impl Pauses {
    fn and(self, other: Pauses) -> Pauses {
        Pauses { ms: self.ms + other.ms, count: self.count + other.count }
    }
}

/// What pauses for garbage took of a service's run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paused {
    /// The share of the time in which an instance stood.
    pub share: f64,
    /// How long one takes, in ms; 0 where the metric does not count them.
    pub mean_ms: f64,
}

/// One service's runtime over the run; over all of its instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// Pauses for garbage that came as increments.
    pauses: Pauses,
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
        if is_concurrent(point) {
            return;
        }
        let (sum, count, since) = match point.value {
            MetricValue::Sum { value, temporality, .. } => (value, 0, temporality),
            MetricValue::Histogram { values, temporality } => {
                (values.sum.unwrap_or(0.0), values.count, temporality)
            }
            MetricValue::Gauge(_) | MetricValue::Summary { .. } => return,
        };
        let now = Pauses { ms: sum * in_ms(point.unit), count: count as f64 };
        if since == SumsSince::LastPoint {
            if let Some(runtime) = self.services.get_mut(&service) {
                runtime.pauses = runtime.pauses.and(now);
            }
            return;
        }
        let instance: Arc<str> = point.resource.text("service.instance.id").unwrap_or_default().into();
        let series = format!("{instance}|{}|{:?}|{:?}", point.name, point.start, point.attributes);
        if self.sums.len() >= SERIES && !self.sums.contains_key(&(service.clone(), series.clone())) {
            return;
        }
        let time = point.time.0;
        let told = self.told.entry((service.clone(), instance)).or_insert((time, time));
        // What was not told before has only begun.
        let first = if told.1 < time && told.0 < time { Pauses::default() } else { now };
        *told = (told.0.min(time), told.1.max(time));
        let (first, last) = self.sums.entry((service, series)).or_insert((first, now));
        if now.ms < first.ms {
            *first = now;
        }
        if now.ms > last.ms {
            *last = now;
        }
    }

    /// Services that reported, with what pauses for garbage took of each of their instances, in a run of `period_ms`.
    pub fn services(&self, period_ms: f64) -> impl Iterator<Item = (&Arc<str>, &Runtime, Paused)> {
        self.services.iter().map(move |(service, runtime)| {
            let sums = self.sums.iter().filter(|((of, _), _)| of == service);
            let since = sums
                .map(|(_, (first, last))| Pauses { ms: last.ms - first.ms, count: last.count - first.count });
            let all = since.fold(runtime.pauses, Pauses::and);
            let told = self.told.iter().filter(|((of, _), _)| of == service);
            let covered: Vec<f64> = told.map(|(_, (from, to))| (to - from) as f64 / 1e6).collect();
            let others = runtime.instances.len().max(1).saturating_sub(covered.len());
            let known: f64 = covered.iter().map(|ms| ms.max(COVERED_MIN * period_ms)).sum();
            let time = known + others as f64 * period_ms;
            let mean_ms = if all.count > 0.0 { all.ms / all.count } else { 0.0 };
            (service, runtime, Paused { share: all.ms / time.max(1.0), mean_ms })
        })
    }
}

/// Whether a collector's work goes on beside the program: the JVM reports the cycles of its concurrent collectors beside their
/// pauses.
fn is_concurrent(point: &MetricPoint<'_>) -> bool {
    let name = point.attributes.iter().find(|a| matches!(a.key, "jvm.gc.name" | "gc"));
    let name = name.and_then(|a| a.value.as_str()).unwrap_or_default();
    name.ends_with("Cycles") || name.contains("Concurrent")
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
