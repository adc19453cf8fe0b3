//! A service's own time without what it does between the calls of its loops.
//!
//! A mapper and a driver work before and after each statement, so a page with an N+1 query has long own time as well. That time is the
//! loop's, and goes with it: it is told there, and own time is judged by what is left. Several loops have their time together,
//! though none alone has much of it.

use super::{CRITICAL_SHARE, DOMINANT_MEAN, Found, Limit, View, dominant, share};
use crate::analysis::result::{Category, FindingKind, Severity};

/// The evidence of how much of own time is between the calls of loops.
const IN_LOOPS: &str = "in_loops_ms";

/// The share of own time from which on what loops have of it is what makes it long.
const MOST: f64 = 0.5;

/// The findings of one step, own time judged by what its loops leave of it.
pub(super) fn without_time_between(mut found: Vec<Found>, view: &View<'_>) -> Vec<Found> {
    let between: Vec<f64> = found.iter().map(|f| in_loops_ms(&found, f)).collect();
    let mut at = 0;
    found.retain_mut(|f| {
        at += 1;
        between[at - 1] <= 0.0 || is_still_much(f, between[at - 1], view)
    });
    found
}

/// Own time of a finding's service between the calls of its loops, in ms of the step's mean.
fn in_loops_ms(all: &[Found], own: &Found) -> f64 {
    use FindingKind::{AppCpu, EventLoopBlocked, NPlusOneCall, NPlusOneQuery};
    let f = &own.finding;
    if !matches!(f.kind, AppCpu | EventLoopBlocked) || f.contributor.category != Category::App {
        return 0.0;
    }
    let series = all.iter().map(|g| &g.finding).filter(|g| {
        matches!(g.kind, NPlusOneQuery | NPlusOneCall) && g.contributor.service == f.contributor.service
    });
    series.filter_map(|g| g.evidence.get("between_ms")).sum()
}

/// Takes what loops have of it out of a finding of own time; false if the rest is no problem.
fn is_still_much(found: &mut Found, between: f64, view: &View<'_>) -> bool {
    let f = &mut found.finding;
    let mean = f.evidence.get("mean_ms").copied().unwrap_or_default();
    let rest = mean - between;
    let (n, latency) = view.basis(&f.contributor);
    let owned = rest * 1e6 * n as f64 / latency.saturating_sub(view.waited).max(1) as f64;
    if between >= MOST * mean || rest < dominant::floor_ms(view, f) || owned < view.limit(Limit::Share) {
        return false;
    }
    let left = rest / mean;
    found.lost = (found.lost as f64 * left) as u64;
    f.impact = f.impact.scaled(left);
    let of_all = share((rest * 1e6 * n as f64) as u64, latency);
    if of_all < CRITICAL_SHARE || rest < DOMINANT_MEAN.as_millis_f64() {
        f.severity = Severity::Warning;
    }
    f.evidence.insert(IN_LOOPS, between);
    true
}
