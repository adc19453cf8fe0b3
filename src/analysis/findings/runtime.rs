//! `gc_pause` and `runtime_saturation`, from the metrics that runtimes report about themselves.
//!
//! A busy runtime is a problem only where a step loses time to its service; and code that is named already is the deeper
//! cause of a busy loop or processor, so then its numbers go to that finding's evidence.
//!
//! Nobody records when a runtime pauses, only how much of the time. Of a share `g` of the time in pauses of the length `P` a request loses
//! that part of its own time `t` at the service, and who comes meanwhile waits for the rest of a pause: `g t + (1 - g) g P / 2`, were
//! all equally long. A call that returns meanwhile waits `g P / 2`. Such waits are no more than what the slower half of the requests
//! has more than the quicker half, which met few pauses that are long. Waiting for others goes on in pauses.

use super::{CRITICAL_SHARE, DOMINANT_MEAN, Found, Limit, View, mean_ms, share};
use crate::analysis::result::{Category, Contributor, FindingKind, Impact, Severity};
use crate::analysis::runtime::Paused;
use crate::analysis::tally::Part;
use crate::analysis::tree::leaf;
use crate::record::Nanos;
use std::sync::Arc;

/// Adds what runtimes show to the findings of all steps.
pub(super) fn add(all: &mut Vec<Found>, views: &[View<'_>]) {
    let Some(first) = views.first() else { return };
    for (service, runtime, paused) in first.known.runtime.services(first.known.period.as_millis_f64()) {
        let Some((view, own, mean)) = most_own_time(views, service) else { continue };
        let felt = own >= view.limit(Limit::Share) && mean >= view.limit(Limit::RuntimeMs);
        if !felt {
            continue;
        }
        let lost = |share: f64| (mean * 1e6 * share) as u64 * view.tally.exchanges;
        if paused.share >= view.limit(Limit::GcShare) {
            all.extend(pauses(views, service, paused));
        }
        let busy = [
            ("event_loop_share", runtime.loop_use(), view.limit(Limit::BusyShare)),
            ("event_loop_delay_p99_ms", runtime.loop_delay_p99_ms, view.limit(Limit::LoopDelayMs)),
            ("queued", runtime.queued(), view.limit(Limit::Queued)),
            ("cpu_share", runtime.cpu(), view.limit(Limit::BusyShare)),
        ];
        let over: Vec<(&'static str, f64)> =
            busy.into_iter().filter(|(_, value, limit)| value >= limit).map(|(k, v, _)| (k, v)).collect();
        if over.is_empty() {
            continue;
        }
        let code = |f: &&mut Found| {
            use FindingKind::{AppCpu, ColdStart, EventLoopBlocked, StaticByApp};
            f.finding.contributor.service == *service
                && matches!(f.finding.kind, AppCpu | EventLoopBlocked | StaticByApp | ColdStart)
        };
        if let Some(cause) = all.iter_mut().find(code) {
            cause.finding.evidence.extend(over);
            continue;
        }
        let who = app(service, "runtime");
        let mut finding = view.about(FindingKind::RuntimeSaturation, Severity::Warning, who);
        finding.evidence.extend(over);
        finding.evidence.insert("own_time_ms", mean);
        all.push(Found { finding, lost: lost(own), doubt: None });
    }
}

/// The finding of what all steps lose to pauses for garbage, in the one that loses most.
fn pauses(views: &[View<'_>], service: &Arc<str>, paused: Paused) -> Option<Found> {
    let stood = paused.share.min(1.0);
    let rest = paused.mean_ms / 2.0 * 1e6 * stood;
    // Of a step's requests, in ns.
    let lost = |view: &View<'_>| -> u64 {
        let own = own_time(view, service) as f64;
        let of_own = stood * own + (1.0 - stood) * rest * view.tally.joined_sum().0 as f64;
        let beyond: u64 = own_parts(view, service).map(|part| slower(view, part)).sum();
        let calls = view.tally.parts.iter().filter(|(who, _)| leaf(who.category) && who.service == *service);
        let of_calls: f64 =
            calls.map(|(_, part)| (rest * part.calls as f64).min(slower(view, part) as f64)).sum();
        ((stood * own).max(of_own.min(beyond as f64)) + of_calls) as u64
    };
    let view = views.iter().max_by_key(|v| (lost(v), std::cmp::Reverse(v.step)))?;
    let steps = views.iter().filter(|v| lost(v) > 0).count();
    let of_step = lost(view);
    let (n, latency) = view.tally.joined_sum();
    let much =
        share(of_step, latency) >= CRITICAL_SHARE && mean_ms(of_step, n) >= DOMINANT_MEAN.as_millis_f64();
    let severity = if much { Severity::Critical } else { Severity::Warning };
    let mut finding = view.about(FindingKind::GcPause, severity, app(service, "garbage collection"));
    finding.evidence.extend([("gc_share", stood), ("own_time_ms", mean_ms(own_time(view, service), n))]);
    if paused.mean_ms > 0.0 {
        finding.evidence.insert("gc_pause_ms", paused.mean_ms);
    }
    if steps > 1 {
        finding.evidence.insert("steps", steps as f64);
    }
    finding.impact = Impact { mean: Nanos(of_step / n.max(1)), ..Impact::default() };
    Some(Found { finding, lost: views.iter().map(lost).sum(), doubt: None })
}

/// What all requests have of a part beyond what the quicker half has of it on average.
fn slower(view: &View<'_>, part: &Part) -> u64 {
    let typical = view.tally.joined_bands[0].0.max(1);
    let usual = u128::from(part.bands[0]) * u128::from(view.tally.joined_sum().0) / u128::from(typical);
    part.total.saturating_sub(u64::try_from(usual).unwrap_or(u64::MAX))
}

/// A service's own time in a step and the way into it.
fn own_parts<'a>(view: &'a View<'_>, service: &'a Arc<str>) -> impl Iterator<Item = &'a Part> {
    let of = view.tally.parts.iter().filter(|(who, _)| {
        (who.category == Category::App && who.service == *service)
            || (who.category == Category::Network && super::merge::leads_to(who, service))
    });
    of.map(|(_, part)| part)
}

/// The same, of each without the request that has most of it: however long a start took, it keeps no runtime busy.
fn own_time(view: &View<'_>, service: &Arc<str>) -> u64 {
    own_parts(view, service)
        .map(|part| part.total.saturating_sub(part.worst.map_or(0, |worst| worst.0)))
        .sum()
}

/// The step that loses most to a service's own time and to the way into it: its share of the mean, and its ms.
fn most_own_time<'a, 'b>(views: &'a [View<'b>], service: &Arc<str>) -> Option<(&'a View<'b>, f64, f64)> {
    let own = |view: &View<'_>| own_time(view, service);
    let view = views.iter().max_by_key(|v| (own(v), std::cmp::Reverse(v.step)))?;
    let (n, latency) = view.tally.joined_sum();
    Some((view, share(own(view), latency), mean_ms(own(view), n)))
}

fn app(service: &Arc<str>, name: &str) -> Contributor {
    let empty = || Arc::<str>::from("");
    Contributor {
        category: Category::App,
        service: service.clone(),
        system: empty(),
        name: name.into(),
        code: empty(),
    }
}
