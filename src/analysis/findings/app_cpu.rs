//! `app_cpu`: a service's own code takes too much; `static_by_app`: it does so for files that never change;
//! `event_loop_blocked`: while it runs, nothing else of its process does.
//!
//! Own time is what no other span covers: computing, or waiting that nobody recorded. For an event loop (or one worker) the
//! own times of different requests exclude each other. So of the long pieces of own time of one process none overlap,
//! where chance would make many overlap.

use super::evidence::Pieces;
use super::{Claim, Limit, View};
use crate::analysis::result::{Category, Contributor, Doubt, FindingKind};
use crate::analysis::tally::StepTally;
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
    let file = STATIC.iter().any(|end| path.ends_with(end));
    let named = || {
        let name = who.name.to_ascii_lowercase();
        name.split(|c: char| !c.is_alphanumeric()).any(|w| matches!(w, "static" | "assets" | "asset"))
    };
    let folder = ["/static/", "/assets/", "/public/"].iter().any(|f| path.contains(f));
    (file || folder || named()).then(|| Claim::sure(FindingKind::StaticByApp))
}

/// Own time of a service of which nothing shows that its calls are recorded: it may be waiting that nobody recorded.
pub(super) fn of_own_time(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    (!view.records_calls.contains(&who.service))
        .then(|| Claim::doubted(FindingKind::AppCpu, Doubt::OwnTimeOnly))
}

/// Services that record what they wait for: calls, messages, waits.
pub(super) fn recorders(steps: &[StepTally]) -> BTreeSet<Arc<str>> {
    let parts = steps.iter().flat_map(|s| s.parts.keys());
    let calls = parts.filter(|who| !matches!(who.category, Category::App) && !who.service.is_empty());
    calls.map(|who| who.service.clone()).collect()
}

/// The service's processes do one thing at a time.
pub(super) fn of_an_event_loop(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let mut processes = 0;
    for (_, pieces) in view.pieces.iter().filter(|((service, _), _)| *service == who.service) {
        let (expected, seen) = overlaps(pieces, view.known.period.0)?;
        if expected < view.limit(Limit::ExclusivePairs) || seen > view.limit(Limit::ExclusiveShare) * expected
        {
            return None;
        }
        processes += 1;
    }
    (processes > 0)
        .then(|| Claim::sure(FindingKind::EventLoopBlocked).with(&[("processes", f64::from(processes))]))
}

/// Pairs of long pieces that overlap: how many chance would give, and how many there are.
fn overlaps(pieces: &Pieces, period: u64) -> Option<(f64, f64)> {
    let n = pieces.sample.len() as f64;
    if n < 2.0 || period == 0 {
        return None;
    }
    let mut sample: Vec<(u64, u64)> = pieces.sample.iter().map(|(_, start, end)| (*start, *end)).collect();
    sample.sort_unstable();
    let sum: u64 = sample.iter().map(|(start, end)| end - start).sum();
    // The period in which they came, so that a load that pauses does not look exclusive.
    let from = sample.first().map_or(0, |s| s.0);
    let to = sample.iter().map(|s| s.1).max().unwrap_or(0);
    let span = (to - from).clamp(1, period) as f64;
    let mean = sum as f64 / n;
    let expected = n * (n - 1.0) / 2.0 * (2.0 * mean / span).min(1.0);
    let (mut seen, mut open) = (0.0, Vec::<u64>::new());
    for (start, end) in sample {
        open.retain(|e| *e > start);
        seen += open.len() as f64;
        open.push(end);
    }
    Some((expected, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(all: &[(u64, u64)]) -> Pieces {
        let mut pieces = Pieces::default();
        all.iter().for_each(|(start, end)| {
            pieces.merge(&Pieces {
                number: 1,
                time: end - start,
                sample: [(start.wrapping_mul(31), *start, *end)].into(),
            })
        });
        pieces
    }

    #[test]
    fn one_at_a_time_is_told_from_chance() {
        let loops: Vec<(u64, u64)> = (0..200).map(|i| (i * 100, i * 100 + 60)).collect();
        let (expected, seen) = overlaps(&pieces(&loops), 20_000).unwrap();
        assert!(expected > 100.0 && seen == 0.0, "{expected} {seen}");
        let threads: Vec<(u64, u64)> = (1..201u64)
            .map(|i| {
                (i ^ i << 7)
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    .rotate_left(23)
                    .wrapping_mul(0xBF58_476D_1CE4_E5B9)
                    >> 40
            })
            .map(|random| (random % 20_000, random % 20_000 + 60))
            .collect();
        let (expected, seen) = overlaps(&pieces(&threads), 20_000).unwrap();
        assert!(seen > 0.5 * expected, "{expected} {seen}");
    }
}
