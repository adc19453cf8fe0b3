//! A service's own time without what it does between the calls of its loops, and without the scans that it reads.
//!
//! A mapper and a driver work before and after each statement, so a page with an N+1 query has long own time as well. That time is the
//! loop's, and goes with it: it is told there, and own time is judged by what is left. Several loops have their time together,
//! though none alone has much of it. What of a scan is own time of the code that reads its rows (see
//! [`missing_index`](super::missing_index)) is the scan's.

use super::missing_index::READING;
use super::{CRITICAL_SHARE, DOMINANT_MEAN, Found, Limit, View, dominant, held_up, share};
use crate::analysis::result::{Category, FindingKind, Severity};

/// The evidence of how much of own time is between the calls of loops, and in scans.
const IN_LOOPS: &str = "in_loops_ms";
const IN_SCANS: &str = "in_scans_ms";

/// The share of own time from which on what loops have of it is what makes it long.
const MOST: f64 = 0.5;

/// The findings of one step, own time judged by what its loops leave of it.
pub(super) fn without_time_between(mut found: Vec<Found>, view: &View<'_>) -> Vec<Found> {
    let others: Vec<[(&str, f64); 2]> = found.iter().map(|f| of_others_ms(&found, f)).collect();
    let mut others = others.into_iter();
    found.retain_mut(|f| others.next().is_none_or(|of| is_still_much(f, of, view)));
    found
}

/// Own time of a finding's service that is part of loops and of scans, in ms of the step's mean.
fn of_others_ms(all: &[Found], own: &Found) -> [(&'static str, f64); 2] {
    use FindingKind::{AppCpu, EventLoopBlocked, MissingIndex, NPlusOneCall, NPlusOneQuery};
    let f = &own.finding;
    let own_code = matches!(f.kind, AppCpu | EventLoopBlocked) && f.contributor.category == Category::App;
    // What holds up a loop with the calls is judged with what is between them.
    if !own_code || held_up::is_told_by_waits(f) {
        return [(IN_LOOPS, 0.0), (IN_SCANS, 0.0)];
    }
    let sum = |kinds: &[FindingKind], key: &str| {
        let of = all.iter().map(|g| &g.finding);
        let of = of.filter(|g| kinds.contains(&g.kind) && g.contributor.service == f.contributor.service);
        of.filter_map(|g| g.evidence.get(key)).sum()
    };
    [(IN_LOOPS, sum(&[NPlusOneQuery, NPlusOneCall], "between_ms")), (IN_SCANS, sum(&[MissingIndex], READING))]
}

/// Takes what others have of it out of a finding of own time; false if the rest is no problem.
fn is_still_much(found: &mut Found, others: [(&'static str, f64); 2], view: &View<'_>) -> bool {
    let between: f64 = others.iter().map(|of| of.1).sum();
    if between <= 0.0 {
        return true;
    }
    let f = &mut found.finding;
    let mean = f.number("mean_ms");
    let rest = mean - between;
    let (n, latency) = view.basis(&f.contributor);
    let owned = view.share_of_rest((rest * 1e6 * n as f64) as u64, latency, view.waited);
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
    f.evidence.extend(others.into_iter().filter(|of| of.1 > 0.0));
    true
}
