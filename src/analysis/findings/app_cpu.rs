//! `app_cpu`: a service's own code takes too much; `static_by_app`: it does so for files that never change.
//!
//! Own time is what no other span covers: computing, or waiting that nobody recorded.

use super::dominant::SMALL_ANSWER;
use super::evidence::Pattern;
use super::{Claim, View, event_loop, idle_process, mean_ms, share};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::{Part, StepTally};
use crate::analysis::verdict::reached_on_this_machine;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Endings of files that do not change from request to request.
const STATIC: [&str; 16] = [
    ".js", ".mjs", ".css", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico", ".woff", ".woff2",
    ".ttf", ".map", ".wasm", ".pdf",
];

/// The step fetches a static file.
pub(super) fn of_static_files(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let template = view.known.run.steps.get(usize::from(view.step.0)).map_or("", |s| s.template.as_str());
    let path = template.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    // What has a name for each thing (`/invoices/{n}.pdf`) is made for each.
    let made = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).contains('{');
    let file = !made && STATIC.iter().any(|end| path.ends_with(end));
    let named = || {
        let name = who.name.to_ascii_lowercase();
        name.split(|c: char| !c.is_alphanumeric()).any(|w| matches!(w, "static" | "assets" | "asset"))
    };
    let folder = ["/static/", "/assets/", "/public/"].iter().any(|f| path.contains(f));
    (file || folder || named()).then(|| Claim::sure(FindingKind::StaticByApp))
}

/// Bytes in a millisecond that a machine carries to itself at least, also a busy one: a tenth of a gigabit a second.
const TO_ITSELF: f64 = 12_500.0;

/// Whether an answer comes slower than any machine carries it to itself, from a service that gives each request a thread or a process: what
/// then passes between its first and its last byte is how it is made. Where frameworks end a request's span before a streamed answer is
/// sent, as Django does, no span covers it. In an event loop the sending waits for other requests' work, too.
fn is_made_as_sent(view: &View<'_>, who: &Contributor) -> bool {
    let of_client = who.category == Category::Transfer && who.service.is_empty();
    let workers = || {
        let mut processes = view.requests.values().peekable();
        processes.peek().is_some() && processes.all(|r| r.in_workers > 0 && r.in_loop == 0)
    };
    let (n, _) = view.basis(who);
    let time = view.whole_part(who).map_or(0.0, |part| mean_ms(part.total, n));
    let bytes = view.tally.bytes_received as f64 / view.tally.exchanges.max(1) as f64;
    of_client
        && reached_on_this_machine(view.known.run)
        && bytes >= SMALL_ANSWER
        && bytes < TO_ITSELF * time
        && workers()
}

/// Static files that the service makes (reads, compresses) while it sends them.
pub(super) fn of_files_made_as_sent(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    of_static_files(view, who).filter(|_| is_made_as_sent(view, who))
}

/// What is claimed of a large answer, in doubt where no line is why it takes long.
pub(super) fn made_as_sent(view: &View<'_>, who: &Contributor, claim: Claim) -> Claim {
    match is_made_as_sent(view, who) {
        true => Claim { doubt: Some(Doubt::MadeAsSent), ..claim },
        false => claim,
    }
}

/// The share of own time in which nothing of its spans runs for it to be waiting.
const IDLE: f64 = 0.5;
/// The evidence of it.
pub(super) const IDLE_MS: &str = "idle_ms";

/// Own time in which hardly anything ran, by what the tracer of its spans counts or by what its process used: it waits for what no span records. Or of a service
/// of which nothing shows that its calls are recorded: it may be waiting that nobody recorded.
pub(super) fn of_own_time(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    let idle = view.tally.evidence.by_owner(Pattern::Idle, who).map_or(0, |idle| idle.total);
    if share(idle, part.total) >= IDLE {
        let (n, _) = view.basis(who);
        return Some(Claim::doubted(FindingKind::AppCpu, Doubt::Idle).with(&[(IDLE_MS, mean_ms(idle, n))]));
    }
    if let Some(idle) = idle_process::idle(view, who).filter(|idle| idle.share >= IDLE) {
        let (n, _) = view.basis(who);
        let evidence = [(IDLE_MS, idle.share * mean_ms(part.total, n)), ("process_cores", idle.cores)];
        return Some(Claim::doubted(FindingKind::AppCpu, Doubt::IdleProcess).with(&evidence));
    }
    if !view.records_calls.contains(&who.service) {
        return Some(Claim::doubted(FindingKind::AppCpu, Doubt::OwnTimeOnly));
    }
    // An event loop that serves others meanwhile does not run it.
    event_loop::serves_others(view, who).then(|| Claim::doubted(FindingKind::AppCpu, Doubt::GivesWay))
}

/// The share of own time that must pass while the answer is under way for it to be a stream.
const STREAMED: f64 = 0.5;

/// Own time of which most passes after the answer's first byte. A stream takes as long as it has something to say; only one that
/// is large may take long to make.
pub(super) fn is_streamed(view: &View<'_>, who: &Contributor, part: &Part) -> bool {
    let streamed = || view.tally.evidence.by_owner(Pattern::Streamed, who);
    who.category == Category::App && streamed().is_some_and(|s| share(s.total, part.total) >= STREAMED)
}

/// Services that record what they wait for: calls, messages, waits.
pub(super) fn recorders(steps: &[StepTally]) -> BTreeSet<Arc<str>> {
    let parts = steps.iter().flat_map(|s| s.parts.keys());
    // A gateway that calls another port of its own process says nothing of what that waits for.
    let to_itself = |who: &Contributor| who.category == Category::Network && *callee(who) == *who.service;
    let calls = parts
        .filter(|who| who.category != Category::App && !who.service.is_empty())
        .filter(|who| !to_itself(who));
    calls.map(|who| who.service.clone()).collect()
}
