//! Start and end of a run as OTLP events, and the address where its metrics can be scraped.

use super::exit::say;
use crate::load::LiveCounters;
use crate::record::{Run, RunState};
use crate::traces::{ExportConfig, ScrapeEndpoint, ScrapeText};
use crate::wire::otlp::{EventValue, OPENMETRICS, encode_event};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

/// The event of a run's start.
pub fn started(run: &Run, config: &ExportConfig) -> Vec<u8> {
    let sentence = format!("Load on {} began ({}).", run.target, run.name);
    let mut attributes = about(run);
    attributes.push(("hotspan.load.planned", EventValue::Number(run.load.planned.as_secs_f64())));
    encode_event(&config.resource, "hotspan.run.start", run.started_at, &sentence, &attributes)
}

/// The event of its end.
pub fn ended(run: &Run, config: &ExportConfig, counters: &LiveCounters) -> Vec<u8> {
    let (state, words) = match run.state {
        RunState::Running | RunState::Complete => ("complete", "ended"),
        RunState::Interrupted => ("interrupted", "was interrupted"),
        RunState::Aborted => ("aborted", "was given up"),
    };
    let at = run.ended_at.unwrap_or(run.started_at);
    let mut attributes = about(run);
    attributes.push(("hotspan.run.state", EventValue::Text(state.into())));
    attributes.push(("hotspan.exchanges", EventValue::Count(counters.done.load(Relaxed))));
    attributes.push(("hotspan.errors", EventValue::Count(counters.errors.load(Relaxed))));
    attributes.push(("hotspan.duration", EventValue::Number(at.since(run.started_at).as_secs_f64())));
    let sentence = format!("Load on {} {words} ({}).", run.target, run.name);
    encode_event(&config.resource, "hotspan.run.end", at, &sentence, &attributes)
}

fn about(run: &Run) -> Vec<(&'static str, EventValue)> {
    let text = |text: &str| EventValue::Text(text.to_owned());
    let mut attributes = vec![
        ("hotspan.run.id", text(&run.id)),
        ("hotspan.run.name", text(&run.name)),
        ("hotspan.run.target", text(&run.target)),
    ];
    if let Some(commit) = &run.git_commit {
        attributes.push(("vcs.ref.head.revision", text(commit)));
    }
    attributes
}

/// Serves metrics at that address, on the current tokio runtime, and says where.
pub fn serve_metrics(address: Option<SocketAddr>) -> anyhow::Result<Option<(ScrapeEndpoint, ScrapeText)>> {
    let Some(address) = address else { return Ok(None) };
    let text = ScrapeText::default();
    text.put("# EOF\n".into());
    let endpoint = ScrapeEndpoint::start(address, OPENMETRICS, text.clone()).map_err(anyhow::Error::msg)?;
    say(&format!("Serving metrics on http://{}/metrics.", endpoint.address()));
    Ok(Some((endpoint, text)))
}
