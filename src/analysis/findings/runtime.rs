//! `gc_pause` and `runtime_saturation`, from the metrics that runtimes report about themselves.
//!
//! A busy runtime is a problem only where a step loses time to its service; and code that is named already is the deeper
//! cause of a busy loop or processor, so then its numbers go to that finding's evidence.

use super::{Found, Limit, View, mean_ms, share};
use crate::analysis::result::{Category, Contributor, FindingKind, Severity};
use std::sync::Arc;

/// Adds what runtimes show to the findings of all steps.
pub(super) fn add(all: &mut Vec<Found>, views: &[View<'_>]) {
    let Some(first) = views.first() else { return };
    for (service, runtime, gc_share) in first.known.runtime.services(first.known.period.as_millis_f64()) {
        let Some((view, own, mean)) = most_own_time(views, service) else { continue };
        let felt = own >= view.limit(Limit::Share) && mean >= view.limit(Limit::RuntimeMs);
        if !felt {
            continue;
        }
        let lost = |share: f64| (mean * 1e6 * share) as u64 * view.tally.exchanges;
        if gc_share >= view.limit(Limit::GcShare) {
            let mut finding =
                view.about(FindingKind::GcPause, Severity::Warning, app(service, "garbage collection"));
            finding.evidence.extend([("gc_share", gc_share), ("own_time_ms", mean)]);
            all.push(Found { finding, lost: lost(gc_share.min(1.0)), doubt: None });
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

/// The step that loses most to a service's own time and to the way into it: its share of the mean, and its ms. Of each the request
/// that has most of it does not count: however long a start took, it keeps no runtime busy.
fn most_own_time<'a, 'b>(views: &'a [View<'b>], service: &Arc<str>) -> Option<(&'a View<'b>, f64, f64)> {
    let own = |view: &View<'_>| -> u64 {
        let of = view.tally.parts.iter().filter(|(who, _)| {
            (who.category == Category::App && who.service == *service)
                || (who.category == Category::Network && super::merge::leads_to(who, service))
        });
        of.map(|(_, part)| part.total.saturating_sub(part.worst.map_or(0, |worst| worst.0))).sum()
    };
    let view = views.iter().max_by_key(|v| (own(v), std::cmp::Reverse(v.step)))?;
    let (n, latency) = view.tally.joined_bands.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
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
