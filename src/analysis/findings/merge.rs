//! Two findings about the same time are one, under the deeper cause.

use super::{Found, same_work};
use crate::analysis::names::{RETRY_WAIT, callee};
use crate::analysis::result::{Category, Contributor, FindingKind};

/// The findings of one step without those whose time another explains.
pub(super) fn under_deeper_causes(found: Vec<Found>) -> Vec<Found> {
    let explained: Vec<bool> = found
        .iter()
        .enumerate()
        .map(|(i, f)| found.iter().enumerate().any(|(j, g)| i != j && explains(g, f)))
        .collect();
    let mut kept: Vec<Found> = Vec::new();
    let mut waits: Vec<(Contributor, f64)> = Vec::new();
    for (found, explained) in found.into_iter().zip(explained) {
        if !explained {
            kept.push(found);
        } else if found.finding.kind == FindingKind::PoolWait {
            waits.push((
                found.finding.contributor,
                found.finding.evidence.get("mean_ms").copied().unwrap_or_default(),
            ));
        }
    }
    // What a statement makes others wait for its connection belongs to its evidence.
    for (wait, mean) in waits {
        let holder = kept
            .iter_mut()
            .filter(|f| is_query(f.finding.kind) && f.finding.contributor.service == wait.service);
        if let Some(holder) = holder.max_by_key(|f| f.lost) {
            *holder.finding.evidence.entry("pool_wait_ms").or_default() += mean;
        }
    }
    kept
}

fn is_query(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::NPlusOneQuery | FindingKind::SlowQuery)
}

/// Whether `cause` stands for the time of `effect` too.
fn explains(cause: &Found, effect: &Found) -> bool {
    let (c, e) = (&cause.finding, &effect.finding);
    let same = same_work(&e.contributor, &c.contributor);
    match (c.kind, e.kind) {
        // Many calls are the cause of their long sum.
        (FindingKind::NPlusOneQuery | FindingKind::NPlusOneCall, other) if same => other != c.kind,
        // Many calls to a service are the cause of all that it does for them.
        (FindingKind::NPlusOneCall, _) if c.contributor.category == Category::Network => {
            *e.contributor.service == *callee(&c.contributor) && e.kind != FindingKind::NPlusOneCall
        }
        // A statement that holds its connection long is the cause of the wait for connections.
        (kind, FindingKind::PoolWait) if is_query(kind) => c.contributor.service == e.contributor.service,
        // A refused call and the wait to make it again: whichever takes more.
        (FindingKind::RateLimited, FindingKind::SlowExternal) => {
            retries(c.contributor.name.as_ref(), e) && cause.lost >= effect.lost
        }
        (FindingKind::SlowExternal, FindingKind::RateLimited) => {
            retries(e.contributor.name.as_ref(), c) && cause.lost > effect.lost
        }
        _ => false,
    }
}

fn retries(wait: &str, call: &crate::analysis::result::Finding) -> bool {
    wait.strip_prefix(RETRY_WAIT) == Some(&*call.contributor.name)
}
