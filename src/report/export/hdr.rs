//! Latencies as an HdrHistogram log (version 2, compressed): one interval for the run, tagged with the step; in nanoseconds.
//! Read by HdrHistogram's log processors and viewers in every language.

use crate::report::Report;
use crate::report::view::View;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::{Duration, UNIX_EPOCH};

/// Corrected latency of each step with requests, and from the actual start under `<step>.service`.
pub fn hdr_log(report: &Report) -> String {
    let view = View::new(report);
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_nanos(report.run.started_at.0);
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[hotspan {}; values in nanoseconds]", report.run.hotspan_version))
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1e6);
    // Into memory: a writer without a way to fail.
    let Ok(mut log) = builder.begin_log_with(&mut out, &mut serializer) else { return String::new() };
    let length = Duration::from_secs_f64(view.seconds.max(0.0));
    for step in view.steps.iter().filter(|step| step.result.exchanges > 0) {
        let name = tag(&view.step_name(step.result.step));
        for (name, latency) in
            [(name.clone(), &step.result.latency), (format!("{name}.service"), &step.result.service_time)]
        {
            let Ok(mut histogram) = Histogram::<u64>::new(3) else { continue };
            for (value, n) in latency.values() {
                // Automatic resizing is on; values are below what an HdrHistogram can hold.
                let _ = histogram.record_n(value.0.max(1), n);
            }
            let _ = log.write_histogram(&histogram, Duration::ZERO, length, Tag::new(&name));
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

/// A tag has no white space and no comma.
fn tag(step: &str) -> String {
    let plain: String =
        step.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '_' }).take(120).collect();
    if plain.is_empty() { "step".to_owned() } else { plain }
}
