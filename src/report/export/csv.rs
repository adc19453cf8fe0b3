//! Steps and contributors as one table of comma-separated values (RFC 4180, with a head line).
//!
//! Spreadsheets take a cell that begins with `=`, `+`, `-`, `@` or a tab for a formula, wherever it came from: such
//! foreign texts get an apostrophe in front.

use crate::report::Report;
use crate::report::json::value::{ms, nanos, share};
use crate::report::text;
use crate::report::view::{StepView, View};

const HEAD: [&str; 21] = [
    "row",
    "journey",
    "step",
    "category",
    "service",
    "system",
    "name",
    "code",
    "requests",
    "errors",
    "rate_per_s",
    "calls_per_request",
    "mean_ms",
    "share",
    "share_p90_to_p99",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
];

/// A row for each step (`row` is `step`), then one for each of its contributors (`contributor`), whose p50 and p95 are
/// those of one call.
pub fn csv(report: &Report) -> String {
    let view = View::new(report);
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    // Into memory, with as many fields in each row: nothing here can fail.
    let mut put = |row: Vec<String>| drop(writer.write_record(row));
    put(HEAD.map(str::to_owned).to_vec());
    for step in &view.steps {
        put(step_row(step));
        for owner in &step.contributors {
            let c = &owner.result.contributor;
            let call = &owner.result.call_duration;
            let quantile =
                |q| if call.is_empty() { String::new() } else { nanos(call.quantile(q)).to_string() };
            put(vec![
                "contributor".into(),
                cell(step.journey),
                cell(&step.name),
                c.category.name().into(),
                cell(&c.service),
                cell(&c.system),
                cell(&c.name),
                cell(&c.code),
                owner.result.exchanges.to_string(),
                String::new(),
                String::new(),
                ms(owner.calls).to_string(),
                ms(owner.part.mean_ms).to_string(),
                share(owner.part.share).to_string(),
                owner.part.tail_share.map(|s| share(s).to_string()).unwrap_or_default(),
                quantile(0.5),
                String::new(),
                quantile(0.95),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

fn step_row(step: &StepView) -> Vec<String> {
    let empty = String::new;
    let q = &step.latency;
    let mut row = vec!["step".into(), cell(step.journey), cell(&step.name)];
    row.extend([empty(), empty(), empty(), empty(), empty()]);
    row.extend([
        step.result.exchanges.to_string(),
        step.result.errors.to_string(),
        ms(step.rate).to_string(),
        empty(),
        nanos(q.mean).to_string(),
        empty(),
        empty(),
    ]);
    row.extend([q.p50, q.p90, q.p95, q.p99, q.p999, q.max].map(|v| nanos(v).to_string()));
    row
}

/// Foreign text that no spreadsheet takes for a formula and no terminal for a command.
fn cell(foreign: &str) -> String {
    let clean = text::clean(foreign);
    let formula = clean.starts_with(['=', '+', '-', '@']);
    if formula { format!("'{clean}") } else { clean }
}
