//! hotspan's metrics as OTLP: request durations with exemplars (bucket → trace id), schedule delay, users, iterations,
//! checks, blame, and when the run began and ended. The SDK leaves exemplars empty, and they are the way from a graph to a slow trace.

use super::histogram::ExponentialHistogram;
use crate::record::{
    Exchange, FailureClass, Outcome, Protocol, Run, SpanId, StepId, StepKind, Timestamp, TraceId,
    grpc_status_name,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram as ExponentialMetric,
    ExponentialHistogramDataPoint, Gauge, Histogram as ExplicitMetric, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether each export tells all since the start, or what is new since the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// All since the start of the run.
    #[default]
    Cumulative,
    /// What is new since the last export.
    Delta,
}

/// How distributions are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramForm {
    /// Base-2 exponential buckets.
    #[default]
    Exponential,
    /// The bounds that the HTTP semantic conventions advise, for backends that know no other form.
    Explicit,
}

/// Which measurements may become exemplars (`OTEL_METRICS_EXEMPLAR_FILTER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExemplarFilter {
    /// Those of sampled requests, whose traces can be looked up.
    #[default]
    TraceBased,
    /// All: hotspan's own trace ids, recorded or not.
    AlwaysOn,
    /// None.
    AlwaysOff,
}

/// Counts of the load engine at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadGauges {
    /// Virtual users at work.
    pub users: u32,
    /// Iterations begun since the start of the run.
    pub iterations: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that started late, since the start of the run.
    pub late: u64,
}

/// Upper bounds in seconds, as the HTTP semantic conventions advise.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Exemplars are kept one for each power of two from 61 µs to 32 s, so that the slow end always has one.
const EXEMPLAR_SLOTS: usize = 20;
const FIRST_EXEMPLAR_EXPONENT: i32 = -14;

/// Collects exchanges and encodes them as `ExportMetricsServiceRequest`s.
#[derive(Debug)]
pub struct MetricsEncoder {
    resource: Vec<(String, String)>,
    version: String,
    steps: Vec<Vec<KeyValue>>,
    /// Which steps are RPCs: their durations are a metric of their own.
    rpcs: Vec<bool>,
    temporality: Temporality,
    form: HistogramForm,
    /// Start of the interval that the next export tells about.
    since: Timestamp,
    /// By step, and within it in the order of the keys: few, and mostly one.
    durations: Vec<Vec<(DurationKey, Distribution)>>,
    /// By step.
    delays: Vec<Option<Box<Distribution>>>,
    /// By step: exchanges whose checks all held.
    passed: Vec<u64>,
    failed: BTreeMap<(StepId, Arc<str>), u64>,
    exemplars: ExemplarFilter,
    load: Option<LoadGauges>,
    told: LoadGauges,
    /// Seconds by step and category, and exchanges by step, of the exchanges whose blame is known.
    blame: BTreeMap<(StepId, &'static str), f64>,
    blamed: BTreeMap<StepId, u64>,
    /// Name and target, for the marks that dashboards draw.
    about_run: Vec<KeyValue>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// Attributes by which durations are kept apart, beside those of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DurationKey {
    step: StepId,
    status: Option<u16>,
    failure: Option<FailureClass>,
    http2: bool,
}

#[derive(Debug, Default)]
struct Distribution {
    exponential: ExponentialHistogram,
    explicit: [u64; BOUNDS.len() + 1],
    exemplars: [Option<Seen>; EXEMPLAR_SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    trace_id: TraceId,
    span_id: SpanId,
    at: Timestamp,
    value: f64,
}

impl MetricsEncoder {
    /// An encoder for `run`, sent as the process that `resource` (attribute, value) describes.
    pub fn new(
        run: &Run,
        resource: &[(String, String)],
        temporality: Temporality,
        form: HistogramForm,
    ) -> MetricsEncoder {
        let steps = run.steps.iter().map(|step| {
            let named = match step.kind() {
                StepKind::Grpc => [("rpc.system.name", "grpc"), ("rpc.method", &step.template)],
                StepKind::WebSocket => [("http.request.method", "GET"), ("url.template", &step.template)],
                StepKind::Http => {
                    [("http.request.method", step.method.as_str()), ("url.template", &step.template)]
                }
            };
            let own = [("hotspan.journey", step.journey.as_str()), ("hotspan.step", &step.name)];
            named.into_iter().chain(own).map(|(key, value)| text(key, value)).collect()
        });
        // Two runs at once must not add to the same series.
        let mut resource = resource.to_vec();
        resource.push(("hotspan.run.id".into(), run.id.clone()));
        MetricsEncoder {
            resource,
            version: run.hotspan_version.clone(),
            steps: steps.collect(),
            rpcs: run.steps.iter().map(|step| step.kind() == StepKind::Grpc).collect(),
            temporality,
            form,
            since: run.started_at,
            durations: Vec::new(),
            delays: Vec::new(),
            passed: Vec::new(),
            failed: BTreeMap::new(),
            exemplars: ExemplarFilter::default(),
            load: None,
            told: LoadGauges::default(),
            blame: BTreeMap::new(),
            blamed: BTreeMap::new(),
            about_run: vec![text("hotspan.run.name", &run.name), text("hotspan.run.target", &run.target)],
            started_at: run.started_at,
            ended_at: None,
        }
    }

    /// Chooses which measurements become exemplars.
    pub fn exemplars(&mut self, filter: ExemplarFilter) {
        self.exemplars = filter;
    }

    /// Counts the blame of one exchange: seconds by category.
    pub fn blame(&mut self, step: StepId, categories: &[(&'static str, f64)]) {
        *self.blamed.entry(step).or_default() += 1;
        for (category, seconds) in categories {
            *self.blame.entry((step, category)).or_default() += seconds;
        }
    }

    /// The load ended then.
    pub fn ended(&mut self, at: Timestamp) {
        self.ended_at = Some(at);
    }

    /// Counts an exchange.
    pub fn record(&mut self, exchange: &Exchange) {
        let failure = match &exchange.outcome {
            Outcome::Failed { failure, .. } => Some(failure.class),
            Outcome::Answered(_) => None,
        };
        let key = DurationKey {
            step: exchange.step,
            status: exchange.status(),
            failure,
            http2: exchange.protocol == Protocol::Http2,
        };
        let wanted = match self.exemplars {
            ExemplarFilter::TraceBased => exchange.sampled,
            ExemplarFilter::AlwaysOn => true,
            ExemplarFilter::AlwaysOff => false,
        };
        let exemplar = wanted.then_some((exchange.trace_id, exchange.span_id, exchange.phases.end));
        let duration = exchange.service_time().as_secs_f64();
        duration_of(of_step(&mut self.durations, key.step), key).record(duration, self.form, exemplar);
        let delay = exchange.schedule_delay().as_secs_f64();
        let delays = of_step(&mut self.delays, exchange.step).get_or_insert_default();
        delays.record(delay, self.form, exemplar);
        if exchange.checks_failed.is_empty() {
            *of_step(&mut self.passed, exchange.step) += 1;
        }
        for check in &exchange.checks_failed {
            *self.failed.entry((exchange.step, check.check.clone())).or_default() += 1;
        }
    }

    /// How the load stands now.
    pub fn load(&mut self, now: LoadGauges) {
        self.load = Some(now);
    }

    /// One export as of `now`, an `ExportMetricsServiceRequest`. With [`Temporality::Delta`] the next one begins here.
    pub fn encode(&mut self, now: Timestamp) -> Vec<u8> {
        self.export(now).encode_to_vec()
    }

    /// As [`MetricsEncoder::encode`], not yet encoded.
    pub fn export(&mut self, now: Timestamp) -> ExportMetricsServiceRequest {
        let mut metrics = Vec::new();
        for (name, about, rpcs) in [
            ("http.client.request.duration", "Duration of HTTP client requests.", false),
            ("rpc.client.call.duration", "Duration of outbound RPCs.", true),
        ] {
            let points = self.durations.iter().flatten().filter(|(key, _)| self.is_rpc(key.step) == rpcs);
            let points = points.map(|(key, d)| (self.duration_attributes(key), d)).collect();
            metrics.extend(self.distribution(name, about, now, points));
        }
        let about = "Due time to actual start: how late the generator was.";
        metrics.extend(self.distribution("hotspan.schedule_delay", about, now, {
            let points = self.delays.iter().enumerate();
            let points = points.filter_map(|(step, d)| Some((StepId(step as u16), d.as_deref()?)));
            points.map(|(step, d)| (self.step_attributes(step), d)).collect()
        }));
        self.load_metrics(now, &mut metrics);
        let checks = self.checks(now);
        if !checks.is_empty() {
            let about = "Exchanges whose checks all held (passed), and checks that did not (failed).";
            metrics.push(self.counter("hotspan.checks", "{check}", about, checks));
        }
        self.blame_metrics(now, &mut metrics);
        self.moments(now, &mut metrics);
        if self.temporality == Temporality::Delta {
            self.since = now;
            self.told = self.load.unwrap_or(self.told);
            self.durations.clear();
            self.delays.clear();
            self.passed.clear();
            self.failed.clear();
            self.blame.clear();
            self.blamed.clear();
        }
        self.request(metrics)
    }

    /// By step, those that passed first.
    fn checks(&self, now: Timestamp) -> Vec<NumberDataPoint> {
        let passed = self.passed.iter().enumerate().filter(|(_, count)| **count > 0);
        let passed = passed.map(|(step, count)| (StepId(step as u16), None, *count));
        let failed = self.failed.iter().map(|((step, name), count)| (*step, Some(&**name), *count));
        let mut all: Vec<_> = passed.chain(failed).collect();
        all.sort_unstable_by_key(|(step, name, _)| (*step, *name));
        let points = all.into_iter().map(|(step, failed, count)| {
            let mut attributes = self.step_attributes(step);
            attributes.push(text("hotspan.check.result", if failed.is_some() { "failed" } else { "passed" }));
            attributes.extend(failed.map(|name| text("hotspan.check", name)));
            number(attributes, count, Some(self.since), now)
        });
        points.collect()
    }

    fn load_metrics(&self, now: Timestamp, metrics: &mut Vec<Metric>) {
        let Some(load) = self.load else { return };
        let since = Some(self.since);
        for (name, unit, about, value) in [
            ("hotspan.users", "{user}", "Virtual users at work.", u64::from(load.users)),
            ("hotspan.generator.in_flight", "{request}", "Requests under way.", load.in_flight),
        ] {
            metrics.push(gauge(name, unit, about, vec![number(vec![], value, None, now)]));
        }
        for (name, unit, about, value, told) in [
            ("hotspan.iterations", "{iteration}", "Iterations begun.", load.iterations, self.told.iterations),
            (
                "hotspan.generator.late",
                "{request}",
                "Requests that started more than 5 ms after they were due.",
                load.late,
                self.told.late,
            ),
        ] {
            let points = vec![number(vec![], value.saturating_sub(told), since, now)];
            metrics.push(self.counter(name, unit, about, points));
        }
    }

    /// Seconds of waiting by category and step, and the exchanges that they are of: the quotient is the mean.
    fn blame_metrics(&self, now: Timestamp, metrics: &mut Vec<Metric>) {
        if self.blamed.is_empty() {
            return;
        }
        let seconds = self.blame.iter().map(|((step, category), seconds)| {
            let mut attributes = self.step_attributes(*step);
            attributes.push(text("hotspan.category", category));
            NumberDataPoint {
                value: Some(number_data_point::Value::AsDouble(*seconds)),
                ..number(attributes, 0, Some(self.since), now)
            }
        });
        let about = "Latency of a sample of exchanges, divided among the categories that it was spent in.";
        metrics.push(self.counter("hotspan.blame", "s", about, seconds.collect()));
        let blamed = self.blamed.iter();
        let points = blamed.map(|(step, n)| number(self.step_attributes(*step), *n, Some(self.since), now));
        let about = "Exchanges that hotspan.blame is the sum of.";
        metrics.push(self.counter("hotspan.blame.exchanges", "{exchange}", about, points.collect()));
    }

    /// When the run began and ended, as Unix seconds: what dashboards draw their marks from.
    fn moments(&self, now: Timestamp, metrics: &mut Vec<Metric>) {
        let moment = |at: Timestamp| NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(at.0 as f64 / 1e9)),
            ..number(self.about_run.clone(), 0, None, now)
        };
        let about = "When the load began, in seconds since 1970.";
        metrics.push(gauge("hotspan.run.started", "s", about, vec![moment(self.started_at)]));
        if let Some(at) = self.ended_at {
            let about = "When the load ended, in seconds since 1970.";
            metrics.push(gauge("hotspan.run.ended", "s", about, vec![moment(at)]));
        }
    }

    fn request(&self, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
        let attributes = self.resource.iter().map(|(key, value)| text(key, value)).collect();
        let scope = InstrumentationScope {
            name: "hotspan".into(),
            version: self.version.clone(),
            ..InstrumentationScope::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_metrics,
                schema_url: String::new(),
            }],
        }
    }

    fn temporality(&self) -> i32 {
        match self.temporality {
            Temporality::Cumulative => AggregationTemporality::Cumulative as i32,
            Temporality::Delta => AggregationTemporality::Delta as i32,
        }
    }

    fn counter(&self, name: &str, unit: &str, about: &str, data_points: Vec<NumberDataPoint>) -> Metric {
        let aggregation_temporality = self.temporality();
        metric(
            name,
            unit,
            about,
            metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true }),
        )
    }

    fn step_attributes(&self, step: StepId) -> Vec<KeyValue> {
        self.steps.get(usize::from(step.0)).cloned().unwrap_or_default()
    }

    fn is_rpc(&self, step: StepId) -> bool {
        self.rpcs.get(usize::from(step.0)).copied().unwrap_or_default()
    }

    fn duration_attributes(&self, key: &DurationKey) -> Vec<KeyValue> {
        let mut attributes = self.step_attributes(key.step);
        attributes.push(text("network.protocol.version", if key.http2 { "2" } else { "1.1" }));
        if self.is_rpc(key.step) {
            let status = key.status.map(grpc_status_name);
            attributes.extend(status.map(|name| text("rpc.response.status_code", name)));
            let error = key.failure.map(FailureClass::name).or(status.filter(|name| *name != "OK"));
            attributes.extend(error.map(|error| text("error.type", error)));
            return attributes;
        }
        if let Some(status) = key.status {
            attributes.push(int("http.response.status_code", i64::from(status)));
        }
        match (key.failure, key.status) {
            (Some(class), _) => attributes.push(text("error.type", class.name())),
            (None, Some(status)) if status >= 400 => attributes.push(text("error.type", &status.to_string())),
            _ => {}
        }
        attributes
    }

    fn distribution(
        &self,
        name: &str,
        about: &str,
        now: Timestamp,
        points: Vec<(Vec<KeyValue>, &Distribution)>,
    ) -> Option<Metric> {
        if points.is_empty() {
            return None;
        }
        let points = points.into_iter();
        let aggregation_temporality = self.temporality();
        let data = match self.form {
            HistogramForm::Exponential => metric::Data::ExponentialHistogram(ExponentialMetric {
                data_points: points.map(|(a, d)| d.exponential_point(a, self.since, now)).collect(),
                aggregation_temporality,
            }),
            HistogramForm::Explicit => metric::Data::Histogram(ExplicitMetric {
                data_points: points.map(|(a, d)| d.explicit_point(a, self.since, now)).collect(),
                aggregation_temporality,
            }),
        };
        Some(metric(name, "s", about, data))
    }
}

/// A step's own.
#[inline]
fn of_step<T: Default>(all: &mut Vec<T>, step: StepId) -> &mut T {
    let at = usize::from(step.0);
    if at >= all.len() {
        all.resize_with(at + 1, T::default);
    }
    &mut all[at]
}

/// The distribution of a key among those of its step.
#[inline]
fn duration_of(all: &mut Vec<(DurationKey, Distribution)>, key: DurationKey) -> &mut Distribution {
    let at = match all.first() {
        Some((first, _)) if *first == key => 0,
        _ => all.binary_search_by_key(&key, |(of, _)| *of).unwrap_or_else(|at| {
            all.insert(at, (key, Distribution::default()));
            at
        }),
    };
    &mut all[at].1
}

impl Distribution {
    fn record(&mut self, seconds: f64, form: HistogramForm, exemplar: Option<(TraceId, SpanId, Timestamp)>) {
        self.exponential.record(seconds);
        if form == HistogramForm::Explicit {
            self.explicit[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        }
        if let Some((trace_id, span_id, at)) = exemplar {
            let exponent = (seconds.to_bits() >> 52 & 0x7ff) as i32 - 1023;
            let slot = (exponent - FIRST_EXEMPLAR_EXPONENT).clamp(0, EXEMPLAR_SLOTS as i32 - 1) as usize;
            self.exemplars[slot] = Some(Seen { trace_id, span_id, at, value: seconds });
        }
    }

    fn exemplars(&self) -> Vec<Exemplar> {
        let seen = self.exemplars.iter().flatten();
        seen.map(|seen| Exemplar {
            filtered_attributes: vec![],
            time_unix_nano: seen.at.0,
            span_id: seen.span_id.0.to_vec(),
            trace_id: seen.trace_id.0.to_vec(),
            value: Some(exemplar::Value::AsDouble(seen.value)),
        })
        .collect()
    }

    fn exponential_point(
        &self,
        attributes: Vec<KeyValue>,
        since: Timestamp,
        now: Timestamp,
    ) -> ExponentialHistogramDataPoint {
        let histogram = &self.exponential;
        let (offset, buckets) = histogram.buckets();
        ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: since.0,
            time_unix_nano: now.0,
            count: histogram.count(),
            sum: Some(histogram.sum()),
            scale: histogram.scale(),
            zero_count: histogram.zeros(),
            positive: Some(Buckets { offset, bucket_counts: buckets.to_vec() }),
            negative: None,
            flags: 0,
            exemplars: self.exemplars(),
            min: histogram.range().map(|(min, _)| min),
            max: histogram.range().map(|(_, max)| max),
            zero_threshold: 0.0,
        }
    }

    fn explicit_point(
        &self,
        attributes: Vec<KeyValue>,
        since: Timestamp,
        now: Timestamp,
    ) -> HistogramDataPoint {
        let histogram = &self.exponential;
        HistogramDataPoint {
            attributes,
            start_time_unix_nano: since.0,
            time_unix_nano: now.0,
            count: histogram.count(),
            sum: Some(histogram.sum()),
            bucket_counts: self.explicit.to_vec(),
            explicit_bounds: BOUNDS.to_vec(),
            exemplars: self.exemplars(),
            flags: 0,
            min: histogram.range().map(|(min, _)| min),
            max: histogram.range().map(|(_, max)| max),
        }
    }
}

fn gauge(name: &str, unit: &str, about: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, unit, about, metric::Data::Gauge(Gauge { data_points }))
}

fn metric(name: &str, unit: &str, about: &str, data: metric::Data) -> Metric {
    Metric {
        name: name.into(),
        description: about.into(),
        unit: unit.into(),
        metadata: vec![],
        data: Some(data),
    }
}

fn number(
    attributes: Vec<KeyValue>,
    value: u64,
    since: Option<Timestamp>,
    now: Timestamp,
) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: since.map_or(0, |t| t.0),
        time_unix_nano: now.0,
        exemplars: vec![],
        flags: 0,
        value: Some(number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
