//! Trace ids as links: a template with placeholders, given when the run was made or analysed, becomes one URL for each trace.
//!
//! Only http and https URLs become links, whatever a `run.json` says, and what a template holds beyond the characters of a
//! URL is percent-encoded: a report must not carry a script or break out of its own syntax.

use super::view::View;
use crate::record::{Nanos, Timestamp, TraceId};

/// Backends find a trace by id only around its time; clocks and batches need some room on both sides.
const MARGIN: Nanos = Nanos::from_millis(60_000);

/// The URL of a trace; absent where there is no usable template.
pub fn url(view: &View, trace: TraceId) -> Option<String> {
    let run = view.run();
    let template = run.sources.trace_link.as_deref()?;
    let known = view
        .steps
        .iter()
        .flat_map(|step| step.result.exemplars.iter())
        .find(|e| e.trace_id == trace)
        .map(|e| (e.at, e.at + e.latency));
    let (start, end) = known
        .unwrap_or((run.started_at, run.ended_at.unwrap_or(run.started_at + view.analysis().load.duration)));
    expand(template, trace, start, end)
}

fn expand(template: &str, trace: TraceId, start: Timestamp, end: Timestamp) -> Option<String> {
    if !["http://", "https://"].iter().any(|scheme| template.starts_with(scheme)) {
        return None;
    }
    let (from, to) = ((start - MARGIN).0, (end + MARGIN).0);
    let mut out = template.replace("{trace_id}", &trace.to_string());
    for (name, nanos) in [("start", from), ("end", to)] {
        for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)] {
            out = out.replace(&format!("{{{name}_{unit}}}"), &(nanos / size).to_string());
        }
    }
    Some(escaped(&out))
}

/// Everything that may not stand in a URL, or that would end one in Markdown or HTML, as `%XX`.
fn escaped(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for byte in url.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&*+,;=%".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(template: &str) -> Option<String> {
        let id = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
        expand(template, id, Timestamp(1_700_000_000_500_000_000), Timestamp(1_700_000_001_000_000_000))
    }

    #[test]
    fn placeholders_are_filled_with_a_minute_on_both_sides() {
        assert_eq!(
            link("https://j/trace/{trace_id}?a={start_s}&b={end_ms}&c={start_us}&d={end_ns}").unwrap(),
            "https://j/trace/4bf92f3577b34da6a3ce929d0e0e4736?a=1699999940&b=1700000061000&c=1699999940500000&d=1700000061000000000"
        );
    }

    #[test]
    fn only_http_becomes_a_link_and_nothing_breaks_out_of_it() {
        assert_eq!(link("javascript:alert(1)//{trace_id}"), None);
        assert_eq!(link("data:text/html,{trace_id}"), None);
        assert_eq!(
            link("http://j/{trace_id})\"><script> \u{1b}[31m\n|`x`").unwrap(),
            "http://j/4bf92f3577b34da6a3ce929d0e0e4736%29%22%3E%3Cscript%3E%20%1B%5B31m%0A%7C%60x%60"
        );
    }
}
