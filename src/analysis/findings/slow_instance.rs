//! `slow_instance`: requests of one kind take longer on one instance of a service than on the others.
//!
//! One that takes in more requests than the others, or those of more users, may be slow for that alone: processes that share a port get connections as they
//! happen to accept them, and a slow one would rather get fewer.

use super::{Found, Limit, View};
use crate::analysis::result::{Confidence, Contributor, Doubt, FindingKind, Impact, Severity};
use crate::record::Nanos;
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Instances that stand out, each entry by itself; the slowest of each.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let mut entries: BTreeMap<&Contributor, Vec<(&Arc<str>, &Histogram)>> = BTreeMap::new();
    for ((who, instance), times) in &view.tally.evidence.instances {
        entries.entry(who).or_default().push((instance, times));
    }
    entries.into_iter().filter_map(|(who, instances)| judge(view, who, &instances)).collect()
}

/// How many times the average of the others' requests one must take in for that to be why.
const MORE: f64 = 1.25;

/// Whether it serves more of the users than the others on average: who waits sends no more requests meanwhile, so that their number
/// does not show it. Where a balancer deals out requests, all instances serve all users.
fn has_more_users(
    view: &View<'_>,
    who: &Contributor,
    slow: &Arc<str>,
    instances: &[(&Arc<str>, &Histogram)],
) -> bool {
    let users = |name: &Arc<str>| {
        view.tally.evidence.users.get(&(who.clone(), name.clone())).map_or(0, |users| users.len())
    };
    let all: usize = instances.iter().map(|(name, _)| users(name)).sum();
    let average = (all - users(slow)) as f64 / (instances.len() - 1).max(1) as f64;
    users(slow) as f64 >= MORE * average && all > 0
}

fn judge(view: &View<'_>, who: &Contributor, instances: &[(&Arc<str>, &Histogram)]) -> Option<Found> {
    let enough = view.limit(Limit::InstanceRequests);
    let many: Vec<_> = instances.iter().filter(|(_, h)| h.len() as f64 >= enough).collect();
    if many.len() < 2 {
        return None;
    }
    let (name, slow) = many.iter().max_by_key(|(name, h)| (h.quantile(0.5), std::cmp::Reverse(*name)))?;
    let mut others = Histogram::coarse();
    many.iter().filter(|(n, _)| n != name).for_each(|(_, h)| others.merge(h));
    let (theirs, usual) = (slow.quantile(0.5), others.quantile(0.5));
    let excess = theirs.0.saturating_sub(usual.0);
    let far = theirs.0 as f64 >= view.limit(Limit::InstanceRatio) * usual.0 as f64
        && excess as f64 / 1e6 >= view.limit(Limit::InstanceMs);
    if !far {
        return None;
    }
    let mut finding = view.about(FindingKind::SlowInstance, Severity::Warning, who.clone());
    finding.evidence.extend([
        ("instance_p50_ms", theirs.as_millis_f64()),
        ("others_p50_ms", usual.as_millis_f64()),
        ("instances", many.len() as f64),
        ("instance_share", slow.len() as f64 / (slow.len() + others.len()) as f64),
    ]);
    let requests: u64 = instances.iter().map(|(_, times)| times.len()).sum();
    let average = (requests - slow.len()) as f64 / (instances.len() - 1) as f64;
    let more = slow.len() as f64 >= MORE * average || has_more_users(view, who, name, instances);
    let doubt = more.then_some(Doubt::MoreRequests);
    if let (Some(doubt), Confidence::High) = (doubt, finding.confidence) {
        finding.confidence = Confidence::Inferred(doubt);
    }
    let lost = excess * slow.len();
    finding.impact = Impact { mean: Nanos(lost / view.tally.exchanges.max(1)), ..Impact::default() };
    finding.remedy = format!("{}: {name}", who.service).into();
    Some(Found { finding, lost, doubt })
}
