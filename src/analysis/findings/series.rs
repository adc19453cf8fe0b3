//! The same statement or call many times in one request, one after the other (N+1).
//!
//! Counted over one request of a service, not over one parent span: frameworks and ORMs like to put a span around each
//! item of the loop, and then no two calls are siblings. Calls that overlap are no series; they were sent at once.

use super::{Found, MIN_REQUESTS, SERIES_MEAN, SERIES_REQUESTS, SERIES_SHARE, View, mean_ms, share};
use crate::analysis::result::{Category, FindingKind};
use std::collections::BTreeMap;

/// Series that take enough of enough requests.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (who, part) in &view.tally.series {
        let (n, latency) = view.basis(who);
        let owned = share(part.total, latency);
        let mean = mean_ms(part.total, n);
        let often = part.exchanges >= MIN_REQUESTS && share(part.exchanges, n) >= SERIES_REQUESTS;
        if !often || owned < SERIES_SHARE || mean < SERIES_MEAN.as_millis_f64() {
            continue;
        }
        let calls = part.calls as f64 / part.exchanges.max(1) as f64;
        let evidence = BTreeMap::from([
            ("share", owned),
            ("mean_ms", mean),
            ("calls_per_exchange", calls),
            ("call_mean_ms", mean_ms(part.total, part.calls)),
            ("exchanges_share", share(part.exchanges, n)),
        ]);
        let kind = match who.category {
            Category::Database | Category::Cache | Category::Search => FindingKind::NPlusOneQuery,
            _ => FindingKind::NPlusOneCall,
        };
        // One call in place of many is what a fix leaves.
        let lost = part.total - (part.total as f64 / calls) as u64;
        found.push(view.found(kind, who, part, lost, evidence));
    }
    found
}
