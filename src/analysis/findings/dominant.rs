//! One contributor that owns much of a step: of its mean, or of the gap between its slow requests and its typical ones.

use super::{
    Claim, Found, Limit, MIN_REQUESTS, TAIL_REQUESTS, View, app_cpu, cold_start, lock_contention, mean_ms,
    missing_index, queueing, same_work, share, uncached,
};
use crate::analysis::names::RETRY_WAIT;
use crate::analysis::result::{Category, Contributor, FindingKind};
use crate::analysis::tally::Part;
use crate::stats::Histogram;
use std::collections::BTreeMap;

/// The groups of the step (same statement wherever in the code, all of opening connections, …) and what has no group.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let grouped = |who: &Contributor| {
        view.tally.groups.contains_key(&Contributor { code: "".into(), ..who.clone() })
            || (who.category == Category::Connection && who.service.is_empty())
    };
    let alone = view.tally.parts.iter().filter(|(who, _)| !grouped(who));
    view.tally.groups.iter().chain(alone).filter_map(|(who, part)| judge(view, who, part)).collect()
}

/// Bytes of an answer below which carrying it cannot be what takes long: a few round trips of any line.
const SMALL_ANSWER: f64 = 65_536.0;

fn judge(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Found> {
    if part.exchanges < MIN_REQUESTS {
        return None;
    }
    let bytes = view.tally.bytes_received as f64 / view.tally.exchanges.max(1) as f64;
    let kind = match kind(who)? {
        // A small answer takes no time to carry: its end was sent late, or held back on the way.
        FindingKind::LargePayload if bytes < SMALL_ANSWER => FindingKind::SlowNetwork,
        kind => kind,
    };
    let (n, latency) = view.basis(who);
    let owned = share(part.total, latency);
    let mean = mean_ms(part.total, n);
    let (share_min, mean_min) = (view.limit(Limit::Share), view.limit(Limit::MeanMs));
    let large = owned >= share_min && mean >= mean_min && recurs(view, part.long);
    let tail = Tail::of(view, part).filter(|t| t.is_a_problem(view) && recurs(view, part.long));
    let may_be_outlier = owned >= share_min && mean >= view.limit(Limit::OutlierMeanMs);
    let outlier = (may_be_outlier && recurs(view, part.longish))
        .then(|| view.peers.outlier(who, view.limit(Limit::OutlierRatio)))
        .flatten();
    let heavy = kind == FindingKind::LargePayload
        && owned >= share_min
        && mean >= view.limit(Limit::LargeMeanMs)
        && bytes >= view.limit(Limit::LargeBytes)
        && recurs(view, part.longish);
    let lost = match (large || heavy || outlier.is_some(), &tail) {
        (true, _) => part.total,
        (false, Some(_)) => part.bands[2] + part.bands[3],
        (false, None) => return None,
    };
    let mut evidence = BTreeMap::from([("share", owned), ("mean_ms", mean)]);
    if let Some(tail) = tail {
        evidence.extend([
            ("tail_excess_ms", tail.excess_ms),
            ("tail_gap_ms", tail.gap_ms),
            ("tail_share", tail.share()),
        ]);
    }
    if let Some(outlier) = outlier {
        evidence.extend([("call_p50_ms", outlier.typical_ms), ("other_calls_p50_ms", outlier.others_ms)]);
    }
    add_calls(&mut evidence, view, who, n);
    if who.category == Category::Transfer {
        evidence.insert("answer_bytes", bytes);
    }
    // Where the special kind is not wanted the plain one is told.
    let special = claim(view, who, part).filter(|claim| view.known.limits.wants(claim.kind));
    let claim = special.unwrap_or_else(|| Claim::sure(kind));
    Some(view.found(claim, who, part, lost, evidence))
}

/// What the most special detector says about a part that owns too much.
fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    match who.category {
        Category::Database | Category::Cache | Category::Search => missing_index::claim(view, who)
            .or_else(|| lock_contention::of_a_statement(view, who))
            .or_else(|| uncached::claim(view, who)),
        Category::Queue => lock_contention::of_a_wait(who),
        Category::App => app_cpu::of_static_files(view, who)
            .or_else(|| cold_start::claim(view, who, part))
            .or_else(|| app_cpu::of_an_event_loop(view, who))
            .or_else(|| app_cpu::of_own_time(view, who)),
        Category::Network => queueing::claim(view, part),
        _ => None,
    }
}

fn add_calls(evidence: &mut BTreeMap<&'static str, f64>, view: &View<'_>, who: &Contributor, n: u64) {
    let mut calls = 0;
    let mut duration = Histogram::coarse();
    for (_, part) in view.tally.parts.iter().filter(|(c, _)| same_work(c, who)) {
        calls += part.calls;
        duration.merge(&part.call_duration);
    }
    if calls > 0 {
        evidence.insert("calls_per_exchange", calls as f64 / n.max(1) as f64);
        evidence.insert("call_p95_ms", duration.quantile(0.95).as_millis_f64());
    }
}

/// A contributor's part in the tail: how much longer it is in the slow requests than in the typical ones, and how much
/// longer those are.
struct Tail {
    excess_ms: f64,
    gap_ms: f64,
}

impl Tail {
    /// From the requests above p99 where they are enough, else from those above p90.
    fn of(view: &View<'_>, part: &Part) -> Option<Tail> {
        let bands = &view.tally.joined_bands;
        let sum = |from: usize| {
            let n: u64 = bands[from..].iter().map(|b| b.0).sum();
            let latency: u64 = bands[from..].iter().map(|b| b.1).sum();
            (n, latency, part.bands[from..].iter().sum::<u64>())
        };
        let (n, latency, owned) = [3, 2].into_iter().map(sum).find(|s| s.0 >= TAIL_REQUESTS)?;
        let (typical_n, typical_latency) = bands[0];
        Some(Tail {
            excess_ms: mean_ms(owned, n) - mean_ms(part.bands[0], typical_n),
            gap_ms: mean_ms(latency, n) - mean_ms(typical_latency, typical_n),
        })
    }

    fn share(&self) -> f64 {
        if self.gap_ms > 0.0 { (self.excess_ms / self.gap_ms).min(1.0) } else { 0.0 }
    }

    fn is_a_problem(&self, view: &View<'_>) -> bool {
        self.excess_ms >= view.limit(Limit::TailMs) && self.share() >= view.limit(Limit::TailShare)
    }
}

/// Whether it takes long over much of the time in which the step was asked for, and not only while all warms up.
fn recurs(view: &View<'_>, long: Option<(u64, u64)>) -> bool {
    let length = |period: Option<(u64, u64)>| period.map(|(first, last)| last - first);
    match (length(long), length(view.tally.period)) {
        (Some(_), Some(0)) => true,
        (Some(long), Some(all)) => share(long, all) >= view.limit(Limit::Spread),
        _ => false,
    }
}

/// What a contributor's time would be a problem of; nothing for what is not the system's.
fn kind(who: &Contributor) -> Option<FindingKind> {
    Some(match who.category {
        Category::Database | Category::Cache | Category::Search => FindingKind::SlowQuery,
        Category::External | Category::Messaging => FindingKind::SlowExternal,
        Category::Queue => queue_kind(&who.name, &who.system),
        Category::App => FindingKind::AppCpu,
        Category::Network => FindingKind::SlowNetwork,
        Category::Connection => FindingKind::ConnectionChurn,
        Category::Transfer => FindingKind::LargePayload,
        Category::Generator | Category::Untraced => return None,
    })
}

fn queue_kind(name: &str, system: &str) -> FindingKind {
    let name = name.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| name.contains(w));
    if name.starts_with(RETRY_WAIT) || says(&["backoff", "rate limit", "retry", "throttle"]) {
        FindingKind::RateLimited
    } else if !system.is_empty() || says(&["pool", "connection", "connect"]) {
        FindingKind::PoolWait
    } else {
        FindingKind::Queueing
    }
}
