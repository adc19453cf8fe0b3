//! Two findings about the same time are one, under the deeper cause.

use super::loops;
use super::queueing::{AS_OTHERS_END_SHARE, SERVED_AT_ONCE};
use super::retries::GIVEN_UP;
use super::{DOMINANT_MEAN, Found, LONG_ANYWAY, View, WORTH_A_WORD, same_work, share, slow_way, unseen_wait};
use crate::analysis::names::{FAILURE_WAIT, RETRY_WAIT, callee};
use crate::analysis::result::{Category, Confidence, Contributor, Finding, FindingKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The findings of one step without those whose time another explains.
pub(super) fn under_deeper_causes(found: Vec<Found>, view: &View<'_>) -> Vec<Found> {
    let found = loops::without_time_between(found, view);
    let explained: Vec<bool> = found
        .iter()
        .enumerate()
        .map(|(i, f)| found.iter().enumerate().any(|(j, g)| i != j && explains(g, f)))
        .collect();
    let mut kept: Vec<Found> = Vec::new();
    let mut waits: Vec<(Contributor, f64)> = Vec::new();
    let mut given_up = None;
    let mut found = found;
    name_calls(&mut found);
    for (found, explained) in found.into_iter().zip(explained) {
        if !explained {
            kept.push(found);
        } else if let Some(share) = found.finding.evidence.get(GIVEN_UP) {
            given_up = Some((*share, found.finding.severity, found.finding.contributor));
        } else if found.finding.kind == FindingKind::PoolWait {
            waits.push((
                found.finding.contributor,
                found.finding.evidence.get("mean_ms").copied().unwrap_or_default(),
            ));
        }
    }
    // What is why the client gives up is as bad as that.
    if let Some((share, severity, who)) = given_up {
        let why = |f: &&mut Found| tells_why(f.finding.kind) && is_about(&f.finding, &who);
        if let Some(cause) = kept.iter_mut().find(why) {
            cause.finding.evidence.insert(GIVEN_UP, share);
            cause.finding.severity = cause.finding.severity.max(severity);
        }
    }
    rank_behind_their_index(&mut kept);
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

/// A loop whose statement scans a table each time loses what the index mends to that: it is the quicker remedy, and told first.
fn rank_behind_their_index(kept: &mut [Found]) {
    let scans: Vec<(Contributor, u64)> = kept
        .iter()
        .filter(|f| f.finding.kind == FindingKind::MissingIndex)
        .map(|f| (f.finding.contributor.clone(), f.lost))
        .collect();
    for found in kept.iter_mut().filter(|f| f.finding.kind == FindingKind::NPlusOneQuery) {
        let of_loop = scans.iter().filter(|(who, _)| is_about(&found.finding, who));
        let scanned: u64 = of_loop.map(|(_, lost)| lost).sum();
        found.lost = found.lost.saturating_sub(scanned);
    }
}

/// Milliseconds of one call from which the scan of a table is worth a word beside the loop that makes it.
const LONG_SCAN: f64 = 3.0;

/// Whether each call of a statement scans a table for long: an index mends that, however often it is called.
fn scans_for_long(index: &Finding) -> bool {
    let number = |key: &str| index.evidence.get(key).copied().unwrap_or_default();
    number("mean_ms") >= LONG_SCAN * number("calls_per_exchange").max(1.0)
}

/// Calls whose number or order is told are listed there.
fn name_calls(found: &mut [Found]) {
    for at in 0..found.len() {
        if !matches!(found[at].finding.kind, FindingKind::SequentialCalls | FindingKind::FanOut) {
            continue;
        }
        let calls = found.iter().filter(|f| f.finding.kind == FindingKind::SlowExternal);
        let calls = calls.filter(|f| explains(&found[at], f)).map(|f| f.finding.contributor.clone());
        let mut calls: Vec<Contributor> = calls.collect();
        calls.sort();
        found[at].finding.related = calls;
    }
}

fn is_way_to_a_database(finding: &Finding) -> bool {
    finding.contributor.category == Category::Database
}

/// A statement as such, whatever is wrong with it.
fn is_query(kind: FindingKind) -> bool {
    use FindingKind::{
        DuplicateQuery, LockContention, ManyQueries, MissingIndex, NPlusOneQuery, SlowQuery, Uncached,
    };
    matches!(
        kind,
        NPlusOneQuery | SlowQuery | MissingIndex | Uncached | DuplicateQuery | ManyQueries | LockContention
    )
}

/// Whether a kind says why something takes long, and not only that it does.
fn tells_why(kind: FindingKind) -> bool {
    use FindingKind as K;
    match kind {
        K::SlowQuery | K::SlowExternal | K::SlowNetwork | K::AppCpu | K::Timeout | K::ErrorPath => false,
        K::NPlusOneCall | K::SequentialCalls | K::PoolWait | K::EventLoopBlocked | K::CacheMiss => true,
        kind => is_query(kind),
    }
}

/// Whether a finding is about a contributor's work, as its first or as another.
fn is_about(finding: &Finding, who: &Contributor) -> bool {
    std::iter::once(&finding.contributor).chain(&finding.related).any(|one| same_work(who, one))
}

/// Whether `cause` stands for the time of `effect` too.
fn explains(cause: &Found, effect: &Found) -> bool {
    use FindingKind as K;
    let (c, e) = (&cause.finding, &effect.finding);
    let same = is_about(c, &e.contributor);
    let one_service = c.contributor.service == e.contributor.service;
    match (c.kind, e.kind) {
        // Calls that are made again because they fail are no loop over items; where few fail, the loop is the cause.
        (K::RetryStorm, K::NPlusOneCall) if same => 2 * cause.lost >= effect.lost,
        (K::NPlusOneCall, K::RetryStorm) if same => 2 * effect.lost < cause.lost,
        (K::NPlusOneQuery, K::MissingIndex) if same && scans_for_long(e) => false,
        // Many calls are the cause of their long sum, and of their number.
        (K::NPlusOneQuery | K::NPlusOneCall, other) if same => other != c.kind,
        (K::NPlusOneQuery, K::ManyQueries) | (K::NPlusOneCall, K::ChattyService | K::SequentialCalls) => {
            one_service && most_of(cause, effect)
        }
        // Many calls to a service are the cause of all that it does for them.
        (K::NPlusOneCall, _) if c.contributor.category == Category::Network => {
            *e.contributor.service == *callee(&c.contributor) && e.kind != K::NPlusOneCall
        }
        // An index that several statements want is one cause, and why there is much time in many.
        (K::MissingIndex, K::MissingIndex) if same => !c.related.is_empty() && e.related.is_empty(),
        (K::MissingIndex, K::ManyQueries) => one_service && 2 * cause.lost >= effect.lost,
        // Where each statement takes long whatever it asks, none is slow, and many are so for that.
        (K::SlowNetwork, K::SlowQuery | K::Uncached) if one_service && is_way_to_a_database(c) => {
            let number = |f: &Finding, key: &str| f.evidence.get(key).copied().unwrap_or_default();
            let calls = number(e, "calls_per_exchange").max(1.0);
            c.contributor.system == e.contributor.system
                && number(e, "mean_ms") <= slow_way::ALIKE * calls * number(c, slow_way::AT_LEAST)
        }
        (K::SlowNetwork, K::ManyQueries) if one_service && is_way_to_a_database(c) => {
            2 * cause.lost >= effect.lost
        }
        // The same question twice in one request, or in every request.
        (K::DuplicateQuery, K::SlowQuery | K::ManyQueries | K::Uncached) if same => {
            3 * cause.lost >= effect.lost
        }
        // Failures and time limits are why the calls take long; a failed call that is made again, why it times out.
        (K::RetryStorm, K::SlowExternal | K::SlowQuery | K::Timeout | K::SlowNetwork) if same => {
            3 * cause.lost >= effect.lost
        }
        // That the client gave up says nothing of why; what has a reason of its own does.
        (kind, K::Timeout) if e.evidence.contains_key(GIVEN_UP) && tells_why(kind) && same => true,
        (K::Timeout, K::SlowExternal | K::SlowQuery | K::SlowNetwork) if same => {
            2 * cause.lost >= effect.lost
        }
        (K::Timeout, K::LockContention) if same => {
            !c.evidence.contains_key(GIVEN_UP) && 2 * cause.lost >= effect.lost
        }
        // The miss is why the statement behind it runs at all.
        (K::CacheMiss, _) if same && !matches!(e.kind, K::CacheMiss | K::MissingIndex) => true,
        // A statement that holds its connection long is the cause of the wait for connections.
        (kind, K::PoolWait) if is_query(kind) && c.contributor.category != Category::App => {
            one_service && holds_enough(cause.lost, effect.lost)
        }
        // Where each of several calls in a row takes less than doing them at once would save, their order is the cause; and their
        // number, where of many at once each comes back after the other.
        (K::SequentialCalls, K::SlowExternal) => one_service && cause.lost > effect.lost,
        (K::FanOut, K::SlowExternal) => comes_back_in_turn(c, e),
        (K::SlowExternal, K::FanOut) if comes_back_in_turn(e, c) => false,
        // One slow thing among many is the cause, not their number or order.
        (kind, K::FanOut | K::SequentialCalls | K::ChattyService)
            if !matches!(kind, K::FanOut | K::SequentialCalls | K::ChattyService | K::ErrorPath) =>
        {
            cause.lost >= effect.lost
        }
        // What failed is named, and the wait after it belongs to it.
        (K::RetryStorm, K::RetryStorm) => {
            e.contributor.name.strip_prefix(FAILURE_WAIT) == Some(&*c.contributor.name)
        }
        (K::RetryStorm, K::SlowExternal) => {
            c.contributor.name.strip_prefix(FAILURE_WAIT) == Some(&*e.contributor.name)
                && cause.lost >= effect.lost
        }
        // A start is told once, by its longest part.
        (K::ColdStart, K::ColdStart) => (cause.lost, &e.contributor) > (effect.lost, &c.contributor),
        // A slow instance makes all that it does slow.
        (K::SlowInstance, K::AppCpu | K::EventLoopBlocked) => one_service && 2 * cause.lost >= effect.lost,
        // Requests wait to be taken in because the code holds up the process.
        (K::EventLoopBlocked | K::AppCpu | K::StaticByApp, K::Queueing | K::SlowNetwork) => {
            e.contributor.category == Category::Network && leads_to(&e.contributor, &c.contributor.service)
        }
        // A refused call and the wait to make it again: whichever takes more, but not where a call alone takes too long.
        (K::RateLimited, K::SlowExternal) => {
            retries(c.contributor.name.as_ref(), e) && cause.lost >= effect.lost && !is_slow_alone(e, c)
        }
        (K::SlowExternal, K::RateLimited) => {
            retries(e.contributor.name.as_ref(), c) && cause.lost > effect.lost
        }
        _ => false,
    }
}

/// Whether a request's calls would take too long if there were only one. Refused ones are quick, so the longest tell.
fn is_slow_alone(calls: &Finding, wait: &Finding) -> bool {
    let number = |f: &Finding, key: &str| f.evidence.get(key).copied().unwrap_or_default();
    let one = number(calls, "call_p95_ms");
    one >= DOMINANT_MEAN.as_millis_f64()
        && (one >= WORTH_A_WORD * number(wait, "mean_ms") || one >= LONG_ANYWAY.as_millis_f64())
}

/// How many times as long the slowest twentieth of calls must take as the quickest tenth to come back one after the other.
const IN_TURN: f64 = 4.0;

/// Whether the calls that are made at once are mostly those, and come back one after the other: the peer or the way to it does
/// them in turn, and each alone is quick.
fn comes_back_in_turn(fan_out: &Finding, calls: &Finding) -> bool {
    let number = |f: &Finding, key: &str| f.evidence.get(key).copied().unwrap_or_default();
    let quick = number(calls, "call_p10_ms");
    fan_out.contributor.service == calls.contributor.service
        && 2.0 * number(calls, "calls_per_exchange") >= number(fan_out, "calls_per_exchange")
        && quick > 0.0
        && number(calls, "call_p95_ms") >= IN_TURN * quick
}

pub(super) fn leads_to(way: &Contributor, service: &Arc<str>) -> bool {
    callee(way) == &**service
}

/// Whether at least half of the effect's calls are the cause's.
fn most_of(cause: &Found, effect: &Found) -> bool {
    let calls = |f: &Found, key: &str| f.finding.evidence.get(key).copied();
    let own = calls(cause, "loop_calls").or(calls(cause, "calls_per_exchange")).unwrap_or(0.0);
    2.0 * own >= calls(effect, "calls_per_exchange").unwrap_or(f64::INFINITY)
}

fn retries(wait: &str, call: &Finding) -> bool {
    wait.strip_prefix(RETRY_WAIT) == Some(&*call.contributor.name)
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
            && share(f.lost, period) >= HOG
    };
    let hogs: Vec<(Contributor, u64, f64)> = kept
        .iter()
        .filter(|f| holds_up(f) || computes(f))
        // What a held-up process makes others wait has no bound.
        .map(|f| {
            let mean = f.finding.evidence.get("mean_ms").copied().unwrap_or_default();
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
        // Whoever holds up a process is why requests wait before it.
        let before_it = matches!(kind, K::Queueing | K::SlowNetwork)
            && kept.iter().any(|g| holds_up(g) && leads_to(who, &g.finding.contributor.service));
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
    let mean = finding.evidence.get("mean_ms").copied().unwrap_or_default();
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
            let mean = wait.finding.evidence.get("mean_ms").copied().unwrap_or_default();
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

fn holds_up(found: &Found) -> bool {
    let held = found.finding.evidence.get("held_up_share").copied().unwrap_or(0.0);
    found.finding.kind == FindingKind::EventLoopBlocked && held >= HELD_UP
}

/// Share of the run from which on, on average, a service's statements keep a connection busy: below, they are not why
/// others wait for one.
const BUSY: f64 = 0.5;

/// How many times its own time a statement can be why others wait for its connection: as many requests then want each.
const WANT_IT: u64 = 10;

/// Whether statements that lose so much can be why requests wait so long for connections: where the wait is far more, a statement
/// that happens to be told of in the same page does not explain it away.
fn holds_enough(held: u64, waited: u64) -> bool {
    held.saturating_mul(WANT_IT) >= waited
}

/// Time between two services, whatever it is called.
fn on_the_way(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::Queueing | FindingKind::SlowNetwork)
}

/// One cause that several steps feel is one finding, at the step that loses most to it.
pub(super) fn over_steps(mut all: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    starts_of_other_pages(&mut all, views);
    all.sort_by(Found::worst_first);
    let mut kept: Vec<Found> = Vec::new();
    for found in all {
        let f = &found.finding;
        let same = |k: &&mut Found| {
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
            alike && (one_loop(&k.finding, f).unwrap_or_else(|| same_work(a, b)) || one_pool || one_index)
        };
        match kept.iter_mut().find(same) {
            Some(first) => {
                // A way on which requests of one step queue is no slow line for those of another.
                if f.kind == FindingKind::Queueing && first.finding.kind != f.kind {
                    (first.finding.kind, first.finding.confidence) = (f.kind, f.confidence);
                }
                // The connections of several pages are not counted by those of one.
                if f.kind == FindingKind::PoolWait {
                    first.finding.evidence.remove(SERVED_AT_ONCE);
                }
                first.is_shown_by_more(&found);
                first.lost += found.lost;
                *first.finding.evidence.entry("steps").or_insert(1.0) += 1.0;
            }
            None => kept.push(found),
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
        !(wait
            && holders.iter().any(|(service, lost)| {
                let same = *service == f.finding.contributor.service;
                same && holds_enough(*lost, f.lost) && busy(service, views)
            }))
    });
    kept
}

/// How many pages of a service must compute alike for what they share to be why, what share of its pages those must be, and by how
/// many times they may differ from the median of them.
const PAGES: usize = 4;
const MOST_PAGES: f64 = 0.5;
const ALIKE_PAGES: f64 = 3.0;

/// Where most pages of a service take long in code of their own, and about as long, that is one cause: what all of them run
/// through, or what runs all of them. A page that takes far longer than the rest stays a finding of its own.
fn code_of_most_pages(mut kept: Vec<Found>, views: &[View<'_>]) -> Vec<Found> {
    let mean = |f: &Found| f.finding.evidence.get("mean_ms").copied().unwrap_or_default();
    let computes =
        |f: &Found| f.finding.kind == FindingKind::AppCpu && f.finding.contributor.category == Category::App;
    let services: BTreeSet<Arc<str>> =
        kept.iter().filter(|f| computes(f)).map(|f| f.finding.contributor.service.clone()).collect();
    for service in services {
        let of = |f: &Found| computes(f) && f.finding.contributor.service == service;
        let mut means: Vec<f64> = kept.iter().filter(|f| of(f)).map(mean).collect();
        means.sort_by(f64::total_cmp);
        let usual = means[means.len() / 2];
        let alike = |f: &Found| of(f) && mean(f) <= ALIKE_PAGES * usual && ALIKE_PAGES * mean(f) >= usual;
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
        let of_all = |v: &View<'_>| {
            let part = v.tally.groups.get(&super::anywhere(who)).or_else(|| v.tally.parts.get(who));
            part.map_or(1.0, |part| share(part.exchanges, v.basis(who).0))
        };
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
    use super::holds_enough;

    #[test]
    fn a_statement_explains_waits_of_up_to_ten_times_its_own_time() {
        assert!(holds_enough(10, 100) && holds_enough(u64::MAX / 2, u64::MAX));
        assert!(!holds_enough(10, 101) && !holds_enough(0, 1));
    }
}
