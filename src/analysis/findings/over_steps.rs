//! One cause that several steps feel is one finding, at the step that loses most to it; and what is slow only because another step keeps
//! the service busy is none.

use super::dominant::{OTHER_PAGES, quick_ms};
use super::merge::{holds_enough, is_query, leads_to};
use super::queueing::{AS_OTHERS_END_SHARE, SERVED_AT_ONCE};
use super::{Found, View, app_cpu, cold_start, same_work, share, unseen_wait};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Confidence, Contributor, Finding, FindingKind};
use crate::record::StepId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One cause that several steps feel is one finding, at the step that loses most to it.
pub(super) fn merged(mut all: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    starts_of_other_pages(&mut all, views);
    all.sort_by(Found::worst_first);
    let mut kept: Vec<Found> = Vec::new();
    // A step may feel one cause in several places.
    let mut steps: Vec<BTreeSet<StepId>> = Vec::new();
    for found in all {
        let f = &found.finding;
        let same = |k: &Found| {
            let alike = k.finding.kind == f.kind || (on_the_way(k.finding.kind) && on_the_way(f.kind));
            let (a, b) = (&k.finding.contributor, &f.contributor);
            // Own time before statements is each page's, the pool is one.
            let one_pool = f.kind == FindingKind::PoolWait
                && (a.category, b.category) == (Category::App, Category::App)
                && a.service == b.service
                && unseen_wait::are_for_one_pool(f, &k.finding);
            let one_index = f.kind == FindingKind::MissingIndex
                && !f.remedy.is_empty()
                && (&a.service, &a.system, &k.finding.remedy) == (&b.service, &b.system, &f.remedy);
            // The pages are those that it serves.
            let one_instance = f.kind == FindingKind::SlowInstance && k.finding.remedy == f.remedy;
            let one_start = f.kind == FindingKind::ColdStart && are_one_start(&k.finding, f, views);
            let one_place = one_pool || one_index || one_instance || one_start;
            alike && (one_loop(&k.finding, f).unwrap_or_else(|| same_work(a, b)) || one_place)
        };
        match kept.iter().position(same) {
            Some(at) => {
                let first = &mut kept[at];
                // A way on which requests of one step queue is no slow line for those of another.
                if f.kind == FindingKind::Queueing && first.finding.kind != f.kind {
                    (first.finding.kind, first.finding.confidence) = (f.kind, f.confidence);
                }
                // The connections of several pages are not counted by those of one.
                if f.kind == FindingKind::PoolWait {
                    first.finding.evidence.remove(SERVED_AT_ONCE);
                }
                // Pages that start together may have a start each.
                let named = std::iter::once(&first.finding.contributor).chain(&first.finding.related);
                if f.kind == FindingKind::ColdStart
                    && !named.into_iter().any(|who| same_work(who, &f.contributor))
                {
                    first.finding.related.push(f.contributor.clone());
                }
                first.is_shown_by_more(&found);
                first.lost += found.lost;
                steps[at].insert(f.step);
                if steps[at].len() > 1 {
                    first.finding.evidence.insert("steps", steps[at].len() as f64);
                }
            }
            None => {
                steps.push(BTreeSet::from([f.step]));
                kept.push(found);
            }
        }
    }
    kept = without_explained_queues(without_victims(kept, views), views);
    kept = code_of_most_pages(kept, views);
    // Statements of one step are why others wait for its connections, if they keep a connection busy.
    let holders: Vec<(Arc<str>, u64)> = kept
        .iter()
        .filter(|f| is_query(f.finding.kind) && f.finding.contributor.category != Category::App)
        .map(|f| (f.finding.contributor.service.clone(), f.lost))
        .collect();
    kept.retain(|f| {
        let wait = f.finding.kind == FindingKind::PoolWait && !unseen_wait::has_its_own(&f.finding);
        let elsewhere = |v: &View<'_>| v.holders.are_not_statements(&f.finding.contributor.service);
        !(wait
            && !views.first().is_some_and(elsewhere)
            && holders.iter().any(|(service, lost)| {
                let same = *service == f.finding.contributor.service;
                same && holds_enough(*lost, f.lost) && busy(service, views)
            }))
    });
    kept
}

/// The share of one start's long pieces that must lie within another's for both to be one.
const WITHIN_START: f64 = 0.5;

/// Whether most of what a page's start takes lies within the start of another page of the service, in the same process: one of them makes
/// it, or all that it begins with, and the other waits.
fn are_one_start(first: &Finding, other: &Finding, views: &[View<'_>]) -> bool {
    if first.contributor.service != other.contributor.service {
        return false;
    }
    let pieces = |f: &Finding| {
        let view = views.iter().find(|view| view.step == f.step);
        view.map(|view| cold_start::long_times(view, &f.contributor)).unwrap_or_default()
    };
    let (start, within) = (pieces(first), pieces(other));
    let (mut all, mut both) = (0, 0);
    for (instance, from, to) in &within {
        let of_process = start.iter().filter(|(of, ..)| of == instance);
        all += to - from;
        both += of_process.map(|(_, a, b)| to.min(b).saturating_sub(*from.max(a))).max().unwrap_or(0);
    }
    all > 0 && both as f64 >= WITHIN_START * all as f64
}

/// Cores that code must keep busy on average to be why other work of its service waits for one.
const HOG: f64 = 0.5;

/// Without what is slow only because code that computes holds the processors of the same service: work whose quickest calls
/// would be no problem, and the wait to be taken in.
fn without_victims(kept: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    use FindingKind as K;
    let period = views.first().map_or(0, |v| v.known.period.0);
    let computes = |f: &Found| {
        matches!(f.finding.kind, K::AppCpu | K::StaticByApp | K::EventLoopBlocked)
            && f.finding.contributor.category == Category::App
            && !f.finding.evidence.contains_key(app_cpu::IDLE_MS)
            && share(f.lost, period) >= HOG
    };
    let hogs: Vec<(Contributor, u64, f64)> = kept
        .iter()
        .filter(|f| holds_up(f) || computes(f))
        // What a held-up process makes others wait has no bound.
        .map(|f| {
            let mean = f.finding.number("mean_ms");
            (f.finding.contributor.clone(), if holds_up(f) { u64::MAX } else { f.lost }, mean)
        })
        .collect();
    let suffers = |f: &Found| {
        let (kind, who) = (f.finding.kind, &f.finding.contributor);
        let of_hog = |(hog, lost, _): &(Contributor, u64, f64)| {
            let near = hog.service == who.service || leads_to(who, &hog.service);
            near && *lost > f.lost && !same_work(hog, who)
        };
        let plain = matches!(
            kind,
            K::SlowQuery | K::SlowExternal | K::SlowNetwork | K::Queueing | K::AppCpu | K::ConnectionChurn
        );
        let view = views.iter().find(|v| v.step == f.finding.step);
        let held_up = |view: &View<'_>| {
            let others = kept.iter().filter(|g| g.finding.kind == K::EventLoopBlocked);
            kind == K::AppCpu
                && others.map(|g| &g.finding.contributor).any(|hog| hog.service == who.service)
                && super::dominant::waits_for_the_loop(view, &f.finding)
        };
        let slowed = |view: &View<'_>| {
            hogs.iter().any(of_hog)
                && (super::dominant::is_quick_at_best(view, &f.finding)
                    || waits_for_its_turn(view, &f.finding, &hogs))
        };
        // Whoever holds up a process is why requests wait before it: one for long, or several for some time each.
        let before_it = matches!(kind, K::Queueing | K::SlowNetwork) && held_before(&kept, who) >= HELD_UP;
        plain && (before_it || view.is_some_and(|view| held_up(view) || slowed(view)))
    };
    let suffering: Vec<bool> = kept.iter().map(suffers).collect();
    let (mut left, mut waited) = (Vec::new(), Vec::new());
    for (found, suffers) in kept.into_iter().zip(suffering) {
        if suffers { waited.push(found) } else { left.push(found) }
    }
    for victim in waited {
        let who = &victim.finding.contributor;
        let near = |f: &&mut Found| {
            let service = &f.finding.contributor.service;
            holds_up(f) && (*service == who.service || leads_to(who, service))
        };
        // What holds up the process has cost that, too.
        if let Some(cause) = left.iter_mut().filter(near).max_by_key(|f| f.lost) {
            cause.lost += victim.lost;
        }
    }
    left
}

/// How many times as long a calculation must take as what waits for it, and the share of its mean that the quickest tenth of
/// that must take at most.
const FAR_LONGER: f64 = 3.0;
const FAR_QUICKER: f64 = 0.5;

/// Whether own time differs so much between requests, beside a calculation of the same service that takes far longer, that most
/// of it is waiting for a processor or an interpreter: under a full load not even its quickest requests come at once.
fn waits_for_its_turn(view: &View<'_>, finding: &Finding, hogs: &[(Contributor, u64, f64)]) -> bool {
    let who = &finding.contributor;
    let mean = finding.number("mean_ms");
    let far_longer =
        hogs.iter().any(|(hog, _, hog_ms)| hog.service == who.service && *hog_ms >= FAR_LONGER * mean);
    let quick = view.tally.parts.get(who).and_then(|part| super::dominant::quick_ms(view, who, part));
    finding.kind == FindingKind::AppCpu
        && far_longer
        && quick.is_some_and(|quick| quick <= FAR_QUICKER * mean)
}

/// Without the wait for a service's workers where most of what keeps them busy is told by its own name.
fn without_explained_queues(mut kept: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    let queue = |f: &Found| {
        on_the_way(f.finding.kind)
            && [AS_OTHERS_END_SHARE, SERVED_AT_ONCE].iter().any(|key| f.finding.evidence.contains_key(key))
    };
    let mut at = 0;
    while at < kept.len() {
        let service = callee(&kept[at].finding.contributor).to_owned();
        let parts = views.iter().flat_map(|v| &v.tally.parts).filter(|(who, _)| *who.service == *service);
        let busy: u64 = parts.map(|(_, part)| part.total).sum();
        let told = |f: &Found| *f.finding.contributor.service == *service && !on_the_way(f.finding.kind);
        let named: u64 = kept.iter().filter(|f| told(f)).map(|f| f.lost).sum();
        if !queue(&kept[at]) || share(named, busy) < TOLD {
            at += 1;
            continue;
        }
        let wait = kept.remove(at);
        if let Some(cause) = kept.iter_mut().filter(|f| told(f)).max_by_key(|f| f.lost) {
            let mean = wait.finding.number("mean_ms");
            cause.finding.evidence.insert("waiting_ms", mean);
            cause.lost += wait.lost;
        }
    }
    kept
}

/// Share of a service's time that must be told by name for its queue to be that.
const TOLD: f64 = 0.5;

/// Share of the run for which a process must be held up to be why others of it are slow.
const HELD_UP: f64 = 0.2;

/// The share of the run for which the processes that a way leads to are held up, by all that does so.
fn held_before(kept: &[Found], way: &Contributor) -> f64 {
    let before = kept.iter().map(|f| &f.finding).filter(|f| f.kind == FindingKind::EventLoopBlocked);
    before.filter(|f| leads_to(way, &f.contributor.service)).map(|f| f.number("held_up_share")).sum()
}

fn holds_up(found: &Found) -> bool {
    let held = found.finding.number("held_up_share");
    found.finding.kind == FindingKind::EventLoopBlocked && held >= HELD_UP
}

/// Share of the run from which on, on average, a service's statements keep a connection busy: below, they are not why
/// others wait for one.
const BUSY: f64 = 0.5;

/// Time between two services, whatever it is called.
fn on_the_way(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::Queueing | FindingKind::SlowNetwork)
}

/// How many pages of a service must compute alike for what they share to be why, what share of its pages those must be, and by how
/// many times they may differ from the median of them.
const PAGES: usize = 4;
const MOST_PAGES: f64 = 0.5;
const ALIKE_PAGES: f64 = 3.0;

/// Where most pages of a service take long in code of their own, and about as long, that is one cause: what all of them run
/// through, or what runs all of them. A page that takes far longer than the rest stays a finding of its own, be it on average
/// or at its best: without a free core all pages take long on average.
fn code_of_most_pages(mut kept: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    let mean = |f: &Found| f.finding.number("mean_ms");
    let computes =
        |f: &Found| f.finding.kind == FindingKind::AppCpu && f.finding.contributor.category == Category::App;
    let services: BTreeSet<Arc<str>> =
        kept.iter().filter(|f| computes(f)).map(|f| f.finding.contributor.service.clone()).collect();
    for service in services {
        let of = |f: &Found| computes(f) && f.finding.contributor.service == service;
        let mut means: Vec<f64> = kept.iter().filter(|f| of(f)).map(mean).collect();
        means.sort_by(f64::total_cmp);
        let usual = means[means.len() / 2];
        let near = |f: &Found| of(f) && mean(f) <= ALIKE_PAGES * usual && ALIKE_PAGES * mean(f) >= usual;
        let mut best: Vec<f64> = kept.iter().filter(|f| near(f)).filter_map(|f| at_best(f, views)).collect();
        best.sort_by(f64::total_cmp);
        let usual_best = best.get(best.len().saturating_sub(1) / 2).copied().unwrap_or(f64::MAX);
        let stands_out = |f: &Found| {
            f.finding.evidence.contains_key(OTHER_PAGES)
                && at_best(f, views).is_some_and(|ms| ms > ALIKE_PAGES * usual_best)
        };
        let alike = |f: &Found| near(f) && !stands_out(f);
        let own_time = |v: &&View<'_>| {
            v.tally.parts.keys().any(|who| who.category == Category::App && who.service == service)
        };
        let pages = views.iter().filter(own_time).count();
        let told: BTreeSet<_> = kept.iter().filter(|f| alike(f)).map(|f| f.finding.step).collect();
        if told.len() < PAGES || (told.len() as f64) < MOST_PAGES * pages as f64 {
            continue;
        }
        let (others, mut rest): (Vec<Found>, Vec<Found>) = kept.into_iter().partition(alike);
        let mut others = others.into_iter();
        if let Some(mut first) = others.next() {
            for other in others {
                first.is_shown_by_more(&other);
                first.lost += other.lost;
                first.finding.related.push(other.finding.contributor);
            }
            first.finding.evidence.insert("steps", told.len() as f64);
            rest.push(first);
        }
        kept = rest;
    }
    kept.sort_by(Found::worst_first);
    kept
}

/// What a finding's contributor would take of a request's mean, had each call taken what the quickest take.
fn at_best(found: &Found, views: &[View<'_>]) -> Option<f64> {
    let view = views.iter().find(|v| v.step == found.finding.step)?;
    let who = &found.finding.contributor;
    quick_ms(view, who, view.whole_part(who)?)
}

/// The share of a page's requests from which on what they do is no work of a start, whatever other pages show.
const NEARLY_ALL: f64 = 0.9;

/// What is the work of a start in one page is that in another, of which too many requests came during starts to tell.
fn starts_of_other_pages(all: &mut [Found], views: &[View<'_>]) {
    let is_start = |f: &&Found| f.finding.kind == FindingKind::ColdStart;
    let starts: Vec<(Contributor, Confidence)> =
        all.iter().filter(is_start).map(|f| (f.finding.contributor.clone(), f.finding.confidence)).collect();
    for f in all.iter_mut().filter(|f| f.finding.kind == FindingKind::AppCpu) {
        let who = &f.finding.contributor;
        let Some((_, confidence)) = starts.iter().find(|(start, _)| same_work(start, who)) else { continue };
        let view = views.iter().find(|v| v.step == f.finding.step);
        let of_all =
            |v: &View<'_>| v.whole_part(who).map_or(1.0, |part| share(part.exchanges, v.basis(who).0));
        if view.map_or(1.0, of_all) < NEARLY_ALL {
            (f.finding.kind, f.finding.confidence) = (FindingKind::ColdStart, *confidence);
        }
    }
}

/// Whether two findings of series are about the same loop: the same statements or calls. A statement may be in loops that have
/// nothing to do with each other. Nothing for other findings.
fn one_loop(a: &Finding, b: &Finding) -> Option<bool> {
    let series = |f: &Finding| matches!(f.kind, FindingKind::NPlusOneQuery | FindingKind::NPlusOneCall);
    let calls = |f: &Finding| -> BTreeSet<Contributor> {
        std::iter::once(&f.contributor).chain(&f.related).map(super::anywhere).collect()
    };
    (series(a) && series(b)).then(|| calls(a) == calls(b))
}

/// Whether a service's statements keep at least a good part of a connection busy all the time.
fn busy(service: &Arc<str>, views: &[View<'_>]) -> bool {
    let parts = views.iter().flat_map(|v| &v.tally.parts);
    let of = parts.filter(|(who, _)| who.category == Category::Database && who.service == *service);
    let time: u64 = of.map(|(_, part)| part.total).sum();
    let period = views.first().map_or(0, |v| v.known.period.0);
    share(time, period) >= BUSY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::result::{Impact, Severity};
    use std::collections::BTreeMap;

    fn found(kind: FindingKind, step: u16, who: (Category, &str, &str), held_up: f64) -> Found {
        let (category, service, name) = who;
        let contributor = Contributor {
            category,
            service: service.into(),
            system: "".into(),
            name: name.into(),
            code: "".into(),
        };
        let finding = Finding {
            kind,
            severity: Severity::Warning,
            step: StepId(step),
            contributor,
            evidence: BTreeMap::from([("held_up_share", held_up)]),
            impact: Impact::default(),
            confidence: Confidence::High,
            exemplars: Vec::new(),
            related: Vec::new(),
            remedy: "".into(),
            holders: Vec::new(),
        };
        Found { finding, lost: 1, doubt: None }
    }

    #[test]
    fn what_several_pages_hold_up_together_is_why_others_wait() {
        let holder = |page: u16, name: &str, share: f64| {
            found(FindingKind::EventLoopBlocked, page, (Category::App, "shop", name), share)
        };
        let waits = |way: &str, holders: Vec<Found>| {
            let queue = found(FindingKind::Queueing, 9, (Category::Network, "", way), 0.0);
            let kept = without_victims(holders.into_iter().chain([queue]).collect(), &[]);
            kept.iter().any(|f| f.finding.kind == FindingKind::Queueing)
        };
        assert!(!waits("client → shop", vec![holder(0, "GET /a", 0.12), holder(1, "GET /b", 0.12)]));
        assert!(waits("client → shop", vec![holder(0, "GET /a", 0.12)]));
        assert!(waits("shop → stock", vec![holder(0, "GET /a", 0.12), holder(1, "GET /b", 0.12)]));
    }
}
