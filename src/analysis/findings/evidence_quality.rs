//! `clock_skew`, `incomplete_traces`, `generator_bound`: not the system's faults but the evidence's. They come last and
//! never make a verdict; the first two only inform.

use super::{Found, Limit, View, share};
use crate::analysis::result::{Category, Contributor, Finding, FindingKind, Severity};
use crate::analysis::tally::StepTally;
use crate::analysis::verdict::{COVERAGE_MIN, late_generator};

/// What makes the numbers doubtful, at the step with most requests.
pub(super) fn find(views: &[View<'_>], steps: &[StepTally]) -> Vec<Found> {
    let Some(view) = views.iter().max_by_key(|v| (v.tally.exchanges, std::cmp::Reverse(v.step))) else {
        return Vec::new();
    };
    let telemetry = view.known.telemetry;
    let mut found = Vec::new();
    // No request shows these: they are of the run as a whole.
    let mut say = |mut finding: Finding| {
        finding.exemplars.clear();
        found.push(Found { finding, lost: 0, doubt: None });
    };
    let skew = telemetry.clock_skew_max.as_millis_f64();
    if skew >= view.limit(Limit::SkewMs) {
        let mut finding =
            view.about(FindingKind::ClockSkew, Severity::Info, nobody(Category::Network, "clocks of hosts"));
        finding.evidence.extend([("largest_move_ms", skew), ("spans_moved", telemetry.shifted as f64)]);
        say(finding);
    }
    let orphans = share(telemetry.orphans, telemetry.spans);
    let missing = telemetry.joined > 0 && telemetry.coverage() < COVERAGE_MIN;
    if missing || orphans >= view.limit(Limit::MissingShare) {
        let who = nobody(Category::Untraced, "missing spans");
        let mut finding = view.about(FindingKind::IncompleteTraces, Severity::Info, who);
        finding.evidence.extend([("joined_share", telemetry.coverage()), ("orphans_share", orphans)]);
        say(finding);
    }
    if let Some(late) = late_generator(steps) {
        let who = nobody(Category::Generator, "schedule delay");
        let mut finding = view.about(FindingKind::GeneratorBound, Severity::Warning, who);
        finding.evidence.insert("share", late);
        say(finding);
    }
    found
}

fn nobody(category: Category, name: &str) -> Contributor {
    let empty = || std::sync::Arc::<str>::from("");
    Contributor { category, service: empty(), system: empty(), name: name.into(), code: empty() }
}
