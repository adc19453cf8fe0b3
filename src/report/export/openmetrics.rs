//! The numbers of a run as OpenMetrics text: for a push gateway, or to keep beside other metrics of a build.

use crate::report::ci::{family, label, openmetrics_families};
use crate::report::json::value::{nanos, rounded, share};
use crate::report::view::View;
use crate::report::{Report, run_gate};

/// Gauges, since they say what one finished run measured.
pub fn openmetrics(report: &Report) -> String {
    let view = View::new(report);
    let mut out = String::new();
    let steps: Vec<_> = view
        .steps
        .iter()
        .map(|s| (format!("journey=\"{}\",step=\"{}\"", label(s.journey), label(&s.name)), s))
        .collect();
    family(&mut out, "hotspan_report_requests", "Requests of a step.", "");
    for (of, step) in &steps {
        out.push_str(&format!("hotspan_report_requests{{{of}}} {}\n", step.result.exchanges));
    }
    family(&mut out, "hotspan_report_errors", "Requests of a step that failed.", "");
    for (of, step) in &steps {
        out.push_str(&format!("hotspan_report_errors{{{of}}} {}\n", step.result.errors));
    }
    family(
        &mut out,
        "hotspan_report_latency_seconds",
        "Latency of a step from the moment a request was due.",
        "seconds",
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
        "Mean time of a request of a step by category; the categories add up to the mean latency.",
        "seconds",
    );
    for (of, step) in steps.iter().filter(|(_, s)| s.result.exchanges > 0) {
        for part in &step.categories {
            let (name, value) = (part.category.name(), seconds(rounded(part.mean_ms, 1e3)));
            out.push_str(&format!("hotspan_report_blame_seconds{{{of},category=\"{name}\"}} {value}\n"));
        }
    }
    family(&mut out, "hotspan_report_coverage_ratio", "Share of traced requests with server spans.", "ratio");
    out.push_str(&format!("hotspan_report_coverage_ratio {}\n", share(view.coverage())));
    family(&mut out, "hotspan_report_findings", "Named problems.", "");
    out.push_str(&format!("hotspan_report_findings {}\n", report.analysis.findings.len()));
    if !report.thresholds.is_empty() {
        out.push_str(&openmetrics_families(&run_gate(report, None, None)));
    }
    out.push_str("# EOF\n");
    out
}

/// Milliseconds to the microsecond as seconds.
fn seconds(ms: f64) -> f64 {
    rounded(ms / 1e3, 1e6)
}
