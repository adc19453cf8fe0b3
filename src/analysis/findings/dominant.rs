//! One contributor that owns much of a step: of its mean, or of the gap between its slow requests and its typical ones.

use super::peers::Outlier;
use super::{
    CRITICAL_SHARE, Claim, Found, Limit, MIN_REQUESTS, TAIL_REQUESTS, View, WORTH_A_WORD, app_cpu,
    cold_start, crowded, event_loop, held_up, limited_calls, lock_contention, mean_ms, missing_index,
    queueing, share, uncached, uncompressed, unseen_wait,
};
use crate::analysis::moments::Moments;
use crate::analysis::names::{FAILURE_WAIT, RETRY_WAIT, callee};
use crate::analysis::result::{Category, Contributor, Doubt, Finding, FindingKind};
use crate::analysis::tally::Part;
use std::collections::BTreeMap;

/// Each of the step's parts that owns too much.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    view.whole_parts().filter_map(|(who, part)| judge(view, who, part)).collect()
}

/// Waiting to be taken in must take so many times as much where the machine has no free core: some tens of milliseconds are
/// the machine's.
const BUSY_FACTOR: f64 = 4.0;
/// Bytes of an answer below which carrying it cannot be what takes long: a few round trips of any line.
pub(super) const SMALL_ANSWER: f64 = 65_536.0;

fn judge(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Found> {
    if part.exchanges < MIN_REQUESTS {
        return None;
    }
    let owned = Owned::of(view, who, part);
    let kind = match kind(who)? {
        // A small answer takes no time to carry: its end was sent late, or held back on the way.
        FindingKind::LargePayload if owned.bytes < SMALL_ANSWER => FindingKind::SlowNetwork,
        kind => kind,
    };
    let streamed = app_cpu::is_streamed(view, who, part);
    if streamed && owned.bytes < SMALL_ANSWER {
        return None;
    }
    // A plan is sure where times alone would not be.
    let index = missing_index::claim(view, who).filter(|claim| view.known.limits.wants(claim.kind));
    let read = index.as_ref().map(|_| missing_index::reading(view, who, part)).unwrap_or_default();
    let whole = part.total + read.time;
    let scans = index.is_some()
        && share(whole, owned.of) >= view.limit(Limit::Share)
        && mean_ms(whole, owned.n) >= view.limit(Limit::IndexMeanMs)
        && (recurs(view, &part.longish) || read.recurs);
    let why = Why::of(view, (who, part), kind, &owned);
    let lost = match (why.is_plain() || why.start || scans, &why.tail) {
        (true, _) => whole,
        (false, Some(_)) => part.bands[2] + part.bands[3],
        (false, None) => return None,
    };
    let mut evidence = evidence(view, (who, whole), &owned, &why);
    // Late answers of a loop that starts are no work of a start.
    if why.start && cold_start::waits_for_the_loop(view, who) {
        return None;
    }
    // Where the special kind is not wanted the plain one is told.
    let special = if why.start { Some(cold_start::once(part)) } else { claim(view, who, part, index) };
    let special = special.filter(|claim| view.known.limits.wants(claim.kind));
    if why.start && special.is_none() {
        return None;
    }
    let mut claim = special.unwrap_or_else(|| Claim::sure(kind));
    if let Some(code) = why.code.as_ref().filter(|_| is_code(claim.kind)) {
        evidence.extend([("own_p10_ms", code.typical_ms), (OTHER_PAGES, code.others_ms)]);
    }
    let of_one_call = owned.mean / evidence.get("calls_per_exchange").copied().unwrap_or(1.0).max(1.0);
    let uneven = is_uneven(view, (who, claim.kind), part, why.floor_ms(view));
    // So are a lock that only the spread of a statement's times tells of, and waits before statements.
    let by_times = matches!(claim.doubt, Some(Doubt::Spread | Doubt::BeforeStatements));
    if (uneven || by_times) && crowded::explains(view, claim.kind, who, of_one_call) {
        return None;
    }
    if claim.doubt.is_none() {
        let seldom = quick_ms(view, who, part).is_none_or(|quick| quick < OFTEN * owned.mean);
        // What is told by comparison alone must be long at its best: without a free core all calls take longer, long ones most.
        if uneven && claim.kind == kind && why.is_outlier_alone() {
            return None;
        }
        // Among requests that wait for each other, what is seldom slow waits for a core as well.
        if uneven && owned.share < view.limit(Limit::Share) && why.tail.is_none() && seldom {
            return None;
        }
        claim.doubt = doubt(view, (who, part), claim.kind, &why, [uneven, seldom, streamed]);
    }
    let mut found = view.found(claim, who, part, lost, evidence);
    if read.time > 0 && found.finding.kind == FindingKind::MissingIndex {
        found.finding.evidence.insert(missing_index::READING, mean_ms(read.time, owned.n));
        found.finding.impact = [found.finding.impact, read.impact].into_iter().sum();
    }
    if found.finding.kind == FindingKind::EventLoopBlocked {
        held_up::add_waiting(view, part, &mut found);
    }
    Some(found)
}

/// The numbers that show what a part owns, and by what it was found.
fn evidence(
    view: &View<'_>,
    (who, whole): (&Contributor, u64),
    owned: &Owned,
    why: &Why,
) -> BTreeMap<&'static str, f64> {
    let mut evidence =
        BTreeMap::from([("share", share(whole, owned.all)), ("mean_ms", mean_ms(whole, owned.n))]);
    if let Some(tail) = &why.tail {
        evidence.extend([
            ("tail_excess_ms", tail.excess_ms),
            ("tail_gap_ms", tail.gap_ms),
            ("tail_share", tail.share()),
        ]);
    }
    if let Some(outlier) = &why.outlier {
        evidence.extend([("call_p50_ms", outlier.typical_ms), ("other_calls_p50_ms", outlier.others_ms)]);
    }
    add_calls(&mut evidence, view, who, owned.n);
    if who.category == Category::Transfer {
        evidence.insert("answer_bytes", owned.bytes);
        if view.tally.bytes_decoded > 0 {
            let decoded = view.tally.bytes_decoded as f64 / view.tally.exchanges.max(1) as f64;
            evidence.insert("decompressed_bytes", decoded);
        }
    }
    evidence
}

/// Why plain slowness may be something else's.
fn doubt(
    view: &View<'_>,
    (who, part): (&Contributor, &Part),
    kind: FindingKind,
    why: &Why,
    [uneven, seldom, streamed]: [bool; 3],
) -> Option<Doubt> {
    let computes = kind == FindingKind::AppCpu;
    if uneven || (computes && why.code.is_some() && seldom) {
        // It computes, but waits at least as long.
        return Some(Doubt::Uneven);
    }
    if computes && streamed {
        return Some(Doubt::Streamed);
    }
    // Without a free core all code takes several times as long: at least as many as the load's own threads do.
    let waits = view.known.core_waits?;
    let floor = BUSY_FACTOR.max(1.0 / (1.0 - waits.min(0.99))) * why.floor_ms(view);
    (computes && is_uneven(view, (who, kind), part, floor)).then_some(Doubt::BusyMachine)
}

/// The evidence of a page whose code takes far longer at its best than that of others.
pub(super) const OTHER_PAGES: &str = "other_pages_p10_ms";

/// What a part owns of its step.
struct Owned {
    /// Requests that could show it, and their latency.
    n: u64,
    all: u64,
    /// The latency that it is judged by: without what is told already, and without waiting for each other where it is not that.
    of: u64,
    /// Its share of what is not told already, and of [`of`](Owned::of).
    share: f64,
    share_then: f64,
    /// Milliseconds of a request.
    mean: f64,
    /// Bytes of an answer of the step.
    bytes: f64,
}

impl Owned {
    fn of(view: &View<'_>, who: &Contributor, part: &Part) -> Owned {
        let (n, all) = view.basis(who);
        let latency = all.saturating_sub(view.told);
        // Where all wait for each other, who makes them wait has little of the latency: it is judged by the time of being
        // served. So is a wait within the service, such as to try again; one that a span names is no share of what is left
        // without it.
        let waited = match who.category {
            Category::Queue => view.waited - view.queued,
            _ if own_work(who) => view.waited,
            _ => 0,
        };
        let of = latency.saturating_sub(waited);
        Owned {
            n,
            all,
            of,
            share: share(part.total, latency),
            share_then: share(part.total, of),
            mean: mean_ms(part.total, n),
            bytes: view.tally.bytes_received as f64 / view.tally.exchanges.max(1) as f64,
        }
    }
}

/// What makes a part a problem.
struct Why {
    /// It takes much of a request.
    large: bool,
    /// It does so at the start alone.
    start: bool,
    /// It carries much.
    heavy: bool,
    /// Slow requests have more of it than typical ones.
    tail: Option<Tail>,
    /// One call takes far longer than others.
    outlier: Option<Outlier>,
    /// A page's code takes far longer than that of others.
    code: Option<Outlier>,
}

impl Why {
    fn of(view: &View<'_>, (who, part): (&Contributor, &Part), kind: FindingKind, owned: &Owned) -> Why {
        let (share_min, mean_min) = (view.limit(Limit::Share), view.limit(Limit::MeanMs));
        let much = owned.share_then >= share_min && owned.mean >= mean_min;
        // One request does not make a problem, however long it took.
        let rest = part.total.saturating_sub(part.worst.map_or(0, |w| w.0));
        let busy_way = who.category == Category::Network && view.known.core_waits.is_some();
        let least = if busy_way { BUSY_FACTOR * mean_min } else { mean_min };
        let large = much && mean_ms(rest, owned.n.saturating_sub(1)) >= least && recurs(view, &part.long);
        // What all instances do once belongs to their start; what the start makes others wait for does not.
        // Nor does what is a little long later make it no start.
        let at_first = || (starts(view, part) && !large) || cold_start::is_mostly_at_first(view, who, part);
        let tail = Tail::of(view, part).filter(|t| t.is_a_problem(view) && recurs(view, &part.long));
        // Where the machine has no free core, all that computes has a tail, and nothing of it is the service's.
        let computes = matches!(
            who.category,
            Category::App | Category::Network | Category::Transfer | Category::Connection
        );
        let may_be_outlier = owned.share_then >= share_min && owned.mean >= view.limit(Limit::OutlierMeanMs);
        Why {
            large,
            start: (much || is_long_for_many(view, who, owned)) && own_work(who) && at_first(),
            // Here it may be carried within a machine; to those who wait for it, over far slower lines.
            heavy: kind == FindingKind::LargePayload
                && owned.share >= WORTH_A_WORD
                && owned.mean >= view.limit(Limit::LargeMeanMs)
                && owned.bytes >= view.limit(Limit::LargeBytes)
                && recurs(view, &part.longish),
            tail: tail.filter(|_| !(computes && view.known.core_waits.is_some())),
            outlier: (may_be_outlier && recurs(view, &part.longish))
                .then(|| view.peers.outlier(who, view.limit(Limit::OutlierRatio)))
                .flatten(),
            code: more_code(view, (who, part), (owned.share_then, owned.mean)),
        }
    }

    /// Whether the whole of its time is the problem, at any time of the run.
    fn is_plain(&self) -> bool {
        self.large || self.heavy || self.outlier.is_some() || self.code.is_some()
    }

    /// Whether only a comparison with other calls makes it a problem.
    fn is_outlier_alone(&self) -> bool {
        let otherwise = self.large || self.heavy || self.start || self.tail.is_some() || self.code.is_some();
        self.outlier.is_some() && !otherwise
    }

    /// Milliseconds of a request that it must keep in its quickest calls.
    fn floor_ms(&self, view: &View<'_>) -> f64 {
        match (self.code.is_some(), self.outlier.is_some()) {
            (true, _) => view.limit(Limit::CodeMeanMs),
            (_, true) => OUTLIER,
            _ => view.limit(Limit::MeanMs),
        }
    }
}

/// Whether enough requests wait for something as long as for a start: the longer a run, the less of its mean that is.
fn is_long_for_many(view: &View<'_>, who: &Contributor, owned: &Owned) -> bool {
    who.category == Category::App
        && owned.share_then >= view.limit(Limit::Share)
        && owned.mean >= view.limit(Limit::OutlierMeanMs)
        && cold_start::long_pieces(view, who) >= MIN_REQUESTS as f64
}

/// Whether most of a page is its own code, which takes far longer than that of the service's other pages even at its best.
fn more_code(
    view: &View<'_>,
    (who, part): (&Contributor, &Part),
    (owned, mean): (f64, f64),
) -> Option<Outlier> {
    let least = view.limit(Limit::CodeMeanMs);
    if who.category != Category::App || owned < CRITICAL_SHARE || mean < least || !recurs(view, &part.longish)
    {
        return None;
    }
    let quick = quick_ms(view, who, part).filter(|quick| *quick >= least)?;
    view.peers.more_code(view.step, &who.service, quick, view.limit(Limit::CodeRatio))
}

/// Whether a kind is about what code does itself.
fn is_code(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::AppCpu | FindingKind::EventLoopBlocked | FindingKind::StaticByApp)
}

/// Milliseconds that an outlier must keep in its quickest calls.
const OUTLIER: f64 = 3.0;
/// The share of its mean that the quickest tenth must take for it not to be seldom slow.
const OFTEN: f64 = 0.5;

/// Work, not waiting for somebody else's.
fn own_work(who: &Contributor) -> bool {
    !matches!(who.category, Category::Network | Category::Transfer | Category::Queue | Category::Generator)
}

/// Whether its quickest calls would be no problem: what plain slowness is told of may be waiting for a processor or for
/// others' work.
fn is_uneven(view: &View<'_>, (who, kind): (&Contributor, FindingKind), part: &Part, floor_ms: f64) -> bool {
    use FindingKind::{AppCpu, SlowExternal, SlowNetwork, SlowQuery};
    let quick = || quick_ms(view, who, part);
    if kind == FindingKind::EventLoopBlocked {
        // That it waits for the loop is ruled out; for a processor it may.
        return who.category == Category::App && quick().is_some_and(|quick| quick < floor_ms);
    }
    let below = |least: f64| quick().is_some_and(|quick| quick < least);
    // What is compared with others that wait alike needs no more.
    let held_up = || floor_ms >= view.limit(Limit::MeanMs) && event_loop::is_held_up(view, who);
    matches!(kind, AppCpu | SlowExternal | SlowNetwork | SlowQuery)
        && (below(floor_ms + busy_loop_ms(view, who, floor_ms))
            || (below(floor_ms + all_turns_ms(view, who, floor_ms)) && held_up()))
}

/// What a request may wait for a busy loop: a request comes to it once, and back to it after each of its calls.
fn all_turns_ms(view: &View<'_>, who: &Contributor, floor_ms: f64) -> f64 {
    let turns = 1.0 + view.peers.calls(view.step, &who.service);
    turns * (busy_loop_ms(view, who, floor_ms) + event_loop::away_ms(view, who))
}

/// What everything in an event loop waits for until the loop comes to it: as long as requests wait to be taken in, in the quicker
/// half of them. An outlier is compared with calls that wait alike.
fn busy_loop_ms(view: &View<'_>, who: &Contributor, floor_ms: f64) -> f64 {
    if !own_work(who) || floor_ms < view.limit(Limit::MeanMs) || is_long_at_best(view, who) {
        return 0.0;
    }
    let mut processes = view.requests.iter().filter(|((service, _), _)| *service == who.service).peekable();
    let all_loops = processes.peek().is_some() && processes.all(|(_, r)| r.is_of_loops());
    let way = |c: &Contributor| c.category == Category::Network && callee(c) == &*who.service;
    let ways = view.tally.parts.iter().filter(|(c, _)| way(c));
    let waited: u64 = ways.map(|(_, part)| part.bands[0]).sum();
    if all_loops { mean_ms(waited, view.tally.joined_bands[0].0) } else { 0.0 }
}

/// How many times as long as the service's other calls one must take, each at its best, for a busy loop not to be why.
const LONGER_AT_BEST: f64 = 4.0;

/// Whether a call takes far longer at its best than the others of its service, which wait for the loop alike.
fn is_long_at_best(view: &View<'_>, who: &Contributor) -> bool {
    let best = view.calls_of(who).1.quantile(0.1).0 as f64;
    who.category != Category::App
        && view.peers.at_best(who).is_some_and(|others| best >= LONGER_AT_BEST * others.0 as f64)
}

/// Whether a finding of this module would be none, had each call taken what the quickest take.
pub(super) fn is_quick_at_best(view: &View<'_>, finding: &Finding) -> bool {
    let floor = floor_ms(view, finding);
    is_below(view, finding, floor + busy_loop_ms(view, &finding.contributor, floor))
}

/// Whether a finding of own time would be none for the loop: other work is done within it, and its quickest take no longer than the
/// loop takes to come to a request and back to it after each of its calls.
pub(super) fn waits_for_the_loop(view: &View<'_>, finding: &Finding) -> bool {
    let who = &finding.contributor;
    let floor = floor_ms(view, finding);
    floor >= view.limit(Limit::MeanMs)
        && event_loop::is_held_up(view, who)
        && is_below(view, finding, floor + all_turns_ms(view, who, floor))
}

fn is_below(view: &View<'_>, finding: &Finding, least: f64) -> bool {
    let who = &finding.contributor;
    view.whole_part(who).and_then(|part| quick_ms(view, who, part)).is_some_and(|quick| quick < least)
}

/// What a finding's contributor must take of the mean for it to be one.
pub(super) fn floor_ms(view: &View<'_>, finding: &Finding) -> f64 {
    let tells = |key: &str| finding.evidence.contains_key(key);
    match (tells("other_calls_p50_ms"), tells(OTHER_PAGES)) {
        (true, _) => OUTLIER,
        (_, true) => view.limit(Limit::CodeMeanMs),
        _ => view.limit(Limit::MeanMs),
    }
}

/// What a contributor would take of a request's mean, had each call taken what its quickest tenth takes.
pub(super) fn quick_ms(view: &View<'_>, who: &Contributor, part: &Part) -> Option<f64> {
    let (n, _) = view.basis(who);
    let (calls, duration) = view.calls_of(who);
    if calls > 0 {
        // Own time is a part of its span.
        let own = (part.total as f64 / (duration.sum() as f64).max(1.0)).min(1.0);
        return Some(duration.quantile(0.1).as_millis_f64() * own * calls as f64 / n.max(1) as f64);
    }
    // What has no spans of its own: the mean of the quicker half of the requests.
    let typical = view.tally.joined_bands[0].0;
    (typical > 0).then(|| mean_ms(part.bands[0], typical))
}

/// What the most special detector says about a part that owns too much.
fn claim(view: &View<'_>, who: &Contributor, part: &Part, index: Option<Claim>) -> Option<Claim> {
    match who.category {
        Category::Database | Category::Cache | Category::Search => index
            .or_else(|| lock_contention::of_a_statement(view, who))
            .or_else(|| event_loop::claim(view, who, part))
            .or_else(|| lock_contention::of_statements_in_turn(view, who))
            .or_else(|| uncached::claim(view, who)),
        Category::Queue => lock_contention::of_a_wait(who),
        Category::App => app_cpu::of_static_files(view, who)
            .or_else(|| cold_start::claim(view, who, part))
            .or_else(|| unseen_wait::claim(view, who, part))
            .or_else(|| event_loop::claim(view, who, part))
            .or_else(|| limited_calls::claim(view, who, part))
            .or_else(|| lock_contention::of_own_time(view, who, part))
            .or_else(|| app_cpu::of_own_time(view, who, part)),
        Category::External | Category::Messaging => event_loop::claim(view, who, part),
        Category::Network => queueing::claim(view, who, part),
        Category::Transfer => app_cpu::of_files_made_as_sent(view, who)
            .or_else(|| uncompressed::claim(view, who).map(|claim| app_cpu::made_as_sent(view, who, claim)))
            .or_else(|| large(view, who)),
        _ => None,
    }
}

/// A large answer that takes long for how it is made, and not for a line.
fn large(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let claim = app_cpu::made_as_sent(view, who, Claim::sure(FindingKind::LargePayload));
    claim.doubt.is_some().then_some(claim)
}

fn add_calls(evidence: &mut BTreeMap<&'static str, f64>, view: &View<'_>, who: &Contributor, n: u64) {
    let (calls, duration) = view.calls_of(who);
    if calls > 0 {
        evidence.insert("calls_per_exchange", calls as f64 / n.max(1) as f64);
        evidence.insert("call_p95_ms", duration.quantile(0.95).as_millis_f64());
        if calls as f64 >= view.limit(Limit::FanOutCalls) * n as f64 {
            evidence.insert("call_p10_ms", duration.quantile(0.1).as_millis_f64());
        }
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

/// Parts of a run by which recurrence is told, and in how many of them it must come.
const PARTS: u64 = 10;
const RECURS: usize = 3;

/// Whether it takes long over much of the time in which the step was asked for: not only while all warms up, and not in one
/// or two bad moments. Users who walk in step ask for a page in few parts of the run: then it must be in all of those.
pub(super) fn recurs(view: &View<'_>, long: &Moments) -> bool {
    let (Some((first, last)), Some(period)) = (long.span(), view.tally.period) else { return false };
    let all = period.1 - period.0;
    let parts = RECURS.min(view.tally.asked.parts(PARTS, period));
    all == 0 || (share(last - first, all) >= view.limit(Limit::Spread) && long.parts(PARTS, period) >= parts)
}

/// Whether it takes long at the start of the run and never again.
fn starts(view: &View<'_>, part: &Part) -> bool {
    let (Some((_, last)), Some((from, to))) = (part.long.span(), view.tally.period) else { return false };
    let worst = part.worst.map_or(0, |w| w.0);
    worst >= cold_start::START && share(last.saturating_sub(from), to - from) < view.limit(Limit::Spread)
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

/// What a wait that a span names is for.
pub(super) fn queue_kind(name: &str, system: &str) -> FindingKind {
    let name = name.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| name.contains(w));
    if name.starts_with(FAILURE_WAIT) {
        FindingKind::RetryStorm
    } else if name.starts_with(RETRY_WAIT) || says(&["backoff", "rate limit", "retry", "throttle"]) {
        FindingKind::RateLimited
    } else if !system.is_empty() || says(&["pool", "connection", "connect"]) {
        FindingKind::PoolWait
    } else {
        FindingKind::Queueing
    }
}
