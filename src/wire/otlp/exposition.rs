//! Metrics as OpenMetrics text, with exemplars: for stacks that scrape and take no OTLP. Names and labels are those that
//! Prometheus gives the same metrics when they come over OTLP, so that one dashboard serves both ways.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, HistogramDataPoint, Metric, NumberDataPoint, exemplar, metric, number_data_point,
};
use std::fmt::Write;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Resource attributes that become labels; the others describe the process, not the series.
const PROMOTED: [&str; 4] = ["service.name", "service.namespace", "service.instance.id", "hotspan.run.id"];

/// The text of an export with cumulative temporality and explicit buckets; exponential histograms have no form in this
/// text and are left out.
pub fn expose(export: &ExportMetricsServiceRequest) -> String {
    let mut out = String::new();
    for resource_metrics in &export.resource_metrics {
        let mut common = Labels::default();
        for attribute in resource_metrics.resource.iter().flat_map(|r| &r.attributes) {
            if PROMOTED.contains(&attribute.key.as_str()) {
                common.push(attribute);
            }
        }
        for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            family(&mut out, metric, &common);
        }
    }
    out.push_str("# EOF\n");
    out
}

/// Label pairs, written.
#[derive(Clone, Debug, Default)]
struct Labels(String);

impl Labels {
    fn push(&mut self, attribute: &KeyValue) {
        let value = match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
            Some(any_value::Value::DoubleValue(number)) => number.to_string(),
            // hotspan's metrics have no lists.
            _ => return,
        };
        self.add(&named(&attribute.key), &value);
    }

    fn add(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(key);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn with(&self, attributes: &[KeyValue]) -> Labels {
        let mut labels = self.clone();
        attributes.iter().for_each(|attribute| labels.push(attribute));
        labels
    }
}

/// A name of OpenTelemetry as Prometheus writes it.
fn named(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn family(out: &mut String, metric: &Metric, common: &Labels) {
    let mut name = named(&metric.name);
    let unit = if metric.unit == "s" { "seconds" } else { "" };
    if !unit.is_empty() && !name.ends_with(unit) {
        let _ = write!(name, "_{unit}");
    }
    let kind = match &metric.data {
        Some(metric::Data::Gauge(_)) => "gauge",
        Some(metric::Data::Sum(_)) => "counter",
        Some(metric::Data::Histogram(_)) => "histogram",
        _ => return,
    };
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {}", metric.description.replace('\\', "\\\\").replace('\n', "\\n"));
    match &metric.data {
        Some(metric::Data::Gauge(gauge)) => numbers(out, &name, &gauge.data_points, common),
        Some(metric::Data::Sum(sum)) => numbers(out, &format!("{name}_total"), &sum.data_points, common),
        Some(metric::Data::Histogram(histogram)) => {
            histogram.data_points.iter().for_each(|point| buckets(out, &name, point, common));
        }
        _ => {}
    }
}

fn numbers(out: &mut String, name: &str, points: &[NumberDataPoint], common: &Labels) {
    for point in points {
        let labels = common.with(&point.attributes);
        let value = match point.value {
            Some(number_data_point::Value::AsInt(value)) => value.to_string(),
            Some(number_data_point::Value::AsDouble(value)) => value.to_string(),
            None => continue,
        };
        let _ = writeln!(out, "{name}{{{}}} {value}", labels.0);
    }
}

fn buckets(out: &mut String, name: &str, point: &HistogramDataPoint, common: &Labels) {
    let labels = common.with(&point.attributes);
    let mut below = 0;
    let mut lower = f64::NEG_INFINITY;
    for (index, count) in point.bucket_counts.iter().enumerate() {
        below += count;
        let upper = point.explicit_bounds.get(index).copied().unwrap_or(f64::INFINITY);
        let mut labels = labels.clone();
        labels.add("le", &bound(upper));
        let _ = write!(out, "{name}_bucket{{{}}} {below}", labels.0);
        if let Some(exemplar) = latest_within(&point.exemplars, lower, upper) {
            put_exemplar(out, exemplar);
        }
        out.push('\n');
        lower = upper;
    }
    let _ = writeln!(out, "{name}_count{{{}}} {}", labels.0, point.count);
    let _ = writeln!(out, "{name}_sum{{{}}} {}", labels.0, point.sum.unwrap_or_default());
}

/// OpenMetrics' canonical form: a whole number has a `.0`.
fn bound(upper: f64) -> String {
    if upper.is_infinite() { "+Inf".into() } else { format!("{upper:?}") }
}

fn latest_within(exemplars: &[Exemplar], lower: f64, upper: f64) -> Option<&Exemplar> {
    let inside = |e: &&Exemplar| value(e) > lower && value(e) <= upper;
    exemplars.iter().filter(inside).max_by_key(|e| e.time_unix_nano)
}

fn value(exemplar: &Exemplar) -> f64 {
    match exemplar.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

fn put_exemplar(out: &mut String, exemplar: &Exemplar) {
    let hex = |id: &[u8]| {
        id.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let _ = write!(
        out,
        " # {{trace_id=\"{}\",span_id=\"{}\"}} {} {}.{:09}",
        hex(&exemplar.trace_id),
        hex(&exemplar.span_id),
        value(exemplar),
        exemplar.time_unix_nano / 1_000_000_000,
        exemplar.time_unix_nano % 1_000_000_000
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::metrics::v1::{Histogram, ResourceMetrics, ScopeMetrics, Sum};
    use opentelemetry_proto::tonic::resource::v1::Resource;

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) });
        KeyValue { key: key.into(), value, ..KeyValue::default() }
    }

    #[test]
    fn a_scrape_is_openmetrics_with_exemplars() {
        let point = HistogramDataPoint {
            attributes: vec![pair("hotspan.step", "say \"hi\"\\\n")],
            count: 3,
            sum: Some(1.5),
            bucket_counts: vec![1, 0, 2],
            explicit_bounds: vec![0.005, 1.0],
            exemplars: vec![Exemplar {
                time_unix_nano: 2_500_000_000,
                span_id: vec![1; 8],
                trace_id: vec![0xab; 16],
                value: Some(exemplar::Value::AsDouble(1.25)),
                ..Exemplar::default()
            }],
            ..HistogramDataPoint::default()
        };
        let durations = Metric {
            name: "http.client.request.duration".into(),
            unit: "s".into(),
            description: "How long.".into(),
            data: Some(metric::Data::Histogram(Histogram {
                data_points: vec![point],
                ..Histogram::default()
            })),
            ..Metric::default()
        };
        let counted = NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(0.75)),
            ..NumberDataPoint::default()
        };
        let blame = Metric {
            name: "hotspan.blame".into(),
            unit: "s".into(),
            description: "Blame.".into(),
            data: Some(metric::Data::Sum(Sum { data_points: vec![counted], ..Sum::default() })),
            ..Metric::default()
        };
        let resource = Resource {
            attributes: vec![pair("hotspan.run.id", "r1"), pair("team", "x")],
            ..Resource::default()
        };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![durations, blame], ..ScopeMetrics::default() }];
        let export = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics,
                ..ResourceMetrics::default()
            }],
        };
        let labels = r#"hotspan_run_id="r1",hotspan_step="say \"hi\"\\\n""#;
        let exemplar =
            format!(r#"# {{trace_id="{}",span_id="{}"}} 1.25 2.500000000"#, "ab".repeat(16), "01".repeat(8));
        let expected = format!(
            "# TYPE http_client_request_duration_seconds histogram\n\
             # UNIT http_client_request_duration_seconds seconds\n\
             # HELP http_client_request_duration_seconds How long.\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"1.0\"}} 1\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3 {exemplar}\n\
             http_client_request_duration_seconds_count{{{labels}}} 3\n\
             http_client_request_duration_seconds_sum{{{labels}}} 1.5\n\
             # TYPE hotspan_blame_seconds counter\n\
             # UNIT hotspan_blame_seconds seconds\n\
             # HELP hotspan_blame_seconds Blame.\n\
             hotspan_blame_seconds_total{{hotspan_run_id=\"r1\"}} 0.75\n\
             # EOF\n"
        );
        assert_eq!(expose(&export), expected);
    }
}
