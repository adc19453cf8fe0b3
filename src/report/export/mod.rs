//! The report for other programs: stacks for flame graph viewers, tables, test results, metrics, histograms.
//!
//! The same numbers as in `report.json`, rounded as there. Each format has its own hazards in foreign text: separators in
//! stacks, formulas in spreadsheets, markup in XML, quotes in labels; each file here deals with its own.

mod csv;
mod firefox;
mod hdr;
mod openmetrics;
mod perfetto;
mod stacks;
#[cfg(test)]
pub(in crate::report) mod tests;

pub use csv::csv;
pub use firefox::firefox;
pub use hdr::hdr_log;
pub use openmetrics::openmetrics;
pub use perfetto::perfetto;
pub use stacks::{folded, speedscope};
pub(in crate::report) use stacks::{frame, mean_of, stacks_of};

use super::text;
use super::view::View;
use crate::analysis::result::{ExemplarRole, TraceTree};
use crate::record::SpanKind;

/// Steps whose requests are shown whole, those with most time first: as on the page.
const RICH: usize = 12;

/// The requests that are kept whole, with what they are: those of the steps with most time, then those of findings.
pub(in crate::report) fn whole_requests<'a>(view: &View<'a>) -> Vec<(String, &'a TraceTree)> {
    let pictures = &view.analysis().pictures;
    let mut order: Vec<_> = view.steps.iter().map(|step| step.result).collect();
    order.sort_by_key(|step| std::cmp::Reverse(step.latency_sum));
    let mut out: Vec<(String, &TraceTree)> = Vec::new();
    for step in order.iter().take(RICH) {
        let picture = pictures.steps.get(usize::from(step.step.0));
        for tree in picture.into_iter().flat_map(|picture| &picture.trees) {
            let role = match tree.role {
                ExemplarRole::Typical => "typical request",
                ExemplarRole::Slow => "request near p95",
                ExemplarRole::Worst => "worst request",
            };
            out.push((format!("{}: {role}", text::clean(&view.step_name(step.step))), tree));
        }
    }
    for (number, finding) in view.analysis().findings.iter().enumerate() {
        if let Some(tree) = pictures.of_finding(finding)
            && !out.iter().any(|(_, other)| (other.trace_id, other.due) == (tree.trace_id, tree.due))
        {
            let step = text::clean(&view.step_name(finding.step));
            out.push((format!("{step}: request of finding {}", number + 1), tree));
        }
    }
    out
}

/// Name of a kind of span.
pub(in crate::report) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}
