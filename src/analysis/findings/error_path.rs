//! `error_path`: failed requests that are much quicker than the others, so that they flatter every percentile, or much
//! slower, so that they make the tail.

use super::{Found, Limit, MIN_REQUESTS, View, share};
use crate::analysis::result::{Category, Contributor, FindingKind, Severity};
use crate::stats::Histogram;

/// The share of the step's requests that fail.
pub(super) const FAILED: &str = "errors_share";

/// Errors whose latency is another.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let tally = view.tally;
    let failed = share(tally.errors, tally.exchanges);
    if tally.errors < 2 * MIN_REQUESTS || failed < view.limit(Limit::ErrorShare) {
        return Vec::new();
    }
    let good = tally.latency.exchanged(&tally.error_latency, &Histogram::new());
    if good.len() < 2 * MIN_REQUESTS {
        return Vec::new();
    }
    let (bad_ms, good_ms) =
        (tally.error_latency.quantile(0.5).as_millis_f64(), good.quantile(0.5).as_millis_f64());
    let ratio = view.limit(Limit::ErrorRatio);
    let (slow, quick) = (bad_ms >= ratio * good_ms, good_ms >= ratio * bad_ms);
    // A difference below a millisecond is no news, however large the ratio.
    if !(slow || quick) || (bad_ms - good_ms).abs() < 1.0 {
        return Vec::new();
    }
    let what = tally.error_statuses.iter().max_by_key(|(s, n)| (**n, std::cmp::Reverse(**s)));
    let name = what.map_or_else(|| "failed requests".to_owned(), |(status, _)| format!("HTTP {status}"));
    let empty = || std::sync::Arc::<str>::from("");
    let who = Contributor {
        category: Category::App,
        service: empty(),
        system: empty(),
        name: name.into(),
        code: empty(),
    };
    let mut finding = view.about(FindingKind::ErrorPath, Severity::Warning, who);
    finding.evidence.extend([(FAILED, failed), ("errors_p50_ms", bad_ms), ("others_p50_ms", good_ms)]);
    let lost = if slow { ((bad_ms - good_ms) * 1e6) as u64 * tally.errors } else { 0 };
    vec![Found { finding, lost, doubt: None }]
}
