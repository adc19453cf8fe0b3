//! The numbers of a run as OpenMetrics text: for a push gateway, or to keep beside other metrics of a build.

use crate::report::Report;
use crate::report::json::value::{nanos, rounded, share};
use crate::report::text;
use crate::report::view::View;

/// Gauges, since they say what one finished run measured.
pub fn openmetrics(report: &Report) -> String {
    let view = View::new(report);
    let mut out = String::new();
    let steps: Vec<_> = view
        .steps
        .iter()
        .map(|s| (format!("journey=\"{}\",step=\"{}\"", label(s.journey), label(&s.name)), s))
        .collect();
    family(&mut out, "hotspan_report_requests", "", "Requests of a step.");
    for (of, step) in &steps {
        out.push_str(&format!("hotspan_report_requests{{{of}}} {}\n", step.result.exchanges));
    }
    family(&mut out, "hotspan_report_errors", "", "Requests of a step that failed.");
    for (of, step) in &steps {
        out.push_str(&format!("hotspan_report_errors{{{of}}} {}\n", step.result.errors));
    }
    family(
        &mut out,
        "hotspan_report_latency_seconds",
        "seconds",
        "Latency of a step from the moment a request was due.",
    );
    for (of, step) in steps.iter().filter(|(_, s)| s.result.exchanges > 0) {
        let q = &step.latency;
        let all = [
            ("0.5", q.p50),
            ("0.9", q.p90),
            ("0.95", q.p95),
            ("0.99", q.p99),
            ("0.999", q.p999),
            ("1", q.max),
        ];
        for (name, value) in all {
            let value = seconds(nanos(value));
            out.push_str(&format!("hotspan_report_latency_seconds{{{of},quantile=\"{name}\"}} {value}\n"));
        }
    }
    family(
        &mut out,
        "hotspan_report_blame_seconds",
        "seconds",
        "Mean time of a request of a step by category; the categories add up to the mean latency.",
    );
    for (of, step) in steps.iter().filter(|(_, s)| s.result.exchanges > 0) {
        for part in &step.categories {
            let (name, value) = (part.category.name(), seconds(rounded(part.mean_ms, 1e3)));
            out.push_str(&format!("hotspan_report_blame_seconds{{{of},category=\"{name}\"}} {value}\n"));
        }
    }
    family(&mut out, "hotspan_report_coverage_ratio", "ratio", "Share of traced requests with server spans.");
    out.push_str(&format!("hotspan_report_coverage_ratio {}\n", share(view.coverage())));
    family(&mut out, "hotspan_report_findings", "", "Named problems.");
    out.push_str(&format!("hotspan_report_findings {}\n", report.analysis.findings.len()));
    family(&mut out, "hotspan_report_threshold_passed", "", "Whether a threshold held.");
    for threshold in report.thresholds {
        let expression = label(&threshold.expression);
        let passed = u8::from(threshold.passed);
        out.push_str(&format!("hotspan_report_threshold_passed{{expression=\"{expression}\"}} {passed}\n"));
    }
    out.push_str("# EOF\n");
    out
}

fn family(out: &mut String, name: &str, unit: &str, help: &str) {
    out.push_str(&format!("# TYPE {name} gauge\n"));
    if !unit.is_empty() {
        out.push_str(&format!("# UNIT {name} {unit}\n"));
    }
    out.push_str(&format!("# HELP {name} {help}\n"));
}

/// Milliseconds to the microsecond as seconds.
fn seconds(ms: f64) -> f64 {
    rounded(ms / 1e3, 1e6)
}

fn label(foreign: &str) -> String {
    text::clean(foreign).replace('\\', "\\\\").replace('"', "\\\"")
}
