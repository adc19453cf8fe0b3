//! Who holds the connections of a pool for which requests wait, and what they do meanwhile.
//!
//! By Little's law the time for which a page's requests hold connections, divided by the time of the run, is how many of them it has on
//! average. Whether a connection is kept between statements, and after the last until the request ends, no span tells; but a pool
//! whose connections are all in use has always as many of them out while others wait. So the moment up to which there are
//! always as many is when they are given back.

use super::evidence::PoolMoments;
use super::holding::{Doing, Holding};
use super::queueing::Inside;
use super::{Found, limited_calls};
use crate::analysis::result::{Category, Contributor, FindingKind, Holder};
use crate::analysis::tally::StepTally;
use crate::record::Nanos;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Connections that must be known to be held, on average, to say by whom: what waits for a pool waits for at least one.
const SEEN: f64 = 0.5;
/// The share of the time for which connections are held that something must take to be why others wait for one.
const MOST: f64 = 0.5;
/// Pages that are named.
const NAMED: usize = 5;
/// The evidence of how many connections are known to be held on average.
const HELD: &str = "connections_held";

/// Until when a request keeps its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    LastStatement,
    End,
    /// All connections are not seen to be in use up to either: only what is held for sure is counted.
    Unknown,
}

/// Who holds the connections of each service, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Holders {
    services: BTreeMap<Arc<str>, Vec<Holder>>,
}

impl Holders {
    pub fn of(steps: &[StepTally], period: Nanos) -> Holders {
        let mut services: BTreeMap<&Arc<str>, Pool<'_>> = BTreeMap::new();
        for evidence in steps.iter().map(|step| &step.evidence) {
            for (page, holding) in &evidence.holdings {
                let pool = services.entry(&page.service).or_default();
                pool.pages.entry(page).or_default().merge(holding.clone());
            }
            for ((service, instance), more) in &evidence.pools {
                services.entry(service).or_default().moments.entry(instance).or_default().merge(more);
            }
        }
        let period = period.0.max(1) as f64;
        let named = services.into_iter().map(|(service, pool)| (service.clone(), pool.holders(period)));
        let seen = |holders: &[Holder]| holders.iter().map(|h| h.held).sum::<f64>() >= SEEN;
        Holders { services: named.filter(|(_, holders)| seen(holders)).collect() }
    }

    /// Adds to each wait for a pool who holds its connections.
    pub fn add_to(&self, all: &mut [Found]) {
        for finding in all.iter_mut().map(|f| &mut f.finding) {
            if finding.kind != FindingKind::PoolWait || limited_calls::is_told_by(finding) {
                continue;
            }
            let Some(holders) = self.services.get(&finding.contributor.service) else { continue };
            finding.evidence.insert(HELD, holders.iter().map(|h| h.held).sum());
            // Where one page holds most of them, and calls others meanwhile, that call is why.
            let first = holders.first().filter(|first| first.share * first.calls >= MOST);
            if let Some((call, _)) = first.and_then(|first| first.call.as_ref()) {
                finding.related.push(call.clone());
            }
            finding.holders = holders.iter().take(NAMED).cloned().collect();
        }
    }

    /// Whether a service's connections are known to be held mostly by something else than statements.
    pub fn are_not_statements(&self, service: &str) -> bool {
        let Some(holders) = self.services.get(service) else { return false };
        let all: f64 = holders.iter().map(|h| h.held).sum();
        let statements: f64 = holders.iter().map(|h| h.held * h.statements).sum();
        statements < MOST * all
    }
}

/// What is known of one service's pool.
#[derive(Default)]
struct Pool<'a> {
    pages: BTreeMap<&'a Contributor, Holding<Contributor>>,
    moments: BTreeMap<&'a Arc<str>, PoolMoments>,
}

impl Pool<'_> {
    /// The pages that hold connections, the one that holds most first.
    fn holders(self, period: f64) -> Vec<Holder> {
        let until = until(self.moments.values());
        let pages = self.pages.into_iter();
        let mut holders: Vec<Holder> =
            pages.map(|(page, holding)| holder(page, holding, until, period)).collect();
        holders.retain(|h| h.held > 0.0);
        holders.sort_by(|a, b| b.held.total_cmp(&a.held).then_with(|| a.page.cmp(&b.page)));
        let all: f64 = holders.iter().map(|h| h.held).sum();
        holders.iter_mut().for_each(|h| h.share = h.held / all);
        holders
    }
}

/// Up to which moment the processes of a service always have as many connections while others wait.
fn until<'a>(processes: impl Iterator<Item = &'a PoolMoments> + Clone) -> Until {
    let to_last = Inside::least_even(processes.clone().map(|p| &p.to_last));
    let to_end = Inside::least_even(processes.map(|p| &p.to_end));
    match (to_last, to_end) {
        // Where both show it, those that differ less.
        (Some(last), Some(end)) if end < last => Until::End,
        (Some(_), _) => Until::LastStatement,
        (None, Some(_)) => Until::End,
        (None, None) => Until::Unknown,
    }
}

fn holder(page: &Contributor, holding: Holding<Contributor>, until: Until, period: f64) -> Holder {
    let Holding { requests, mut held, between, after } = holding;
    if until != Until::Unknown {
        held.merge(between);
    }
    if until == Until::End {
        held.merge(after);
    }
    let all = held.total().max(1) as f64;
    let part = |time: u64| time as f64 / all;
    let of = |statements: bool| held.spans.iter().filter(move |(who, _)| kind(who) == Some(statements));
    let sum = |statements: bool| of(statements).map(|(_, time)| time).sum::<u64>();
    // Of equally long ones the first by its name.
    let longest = |statements: bool| {
        let mut all: Vec<_> = of(statements).collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        all.first().map(|(who, time)| ((*who).clone(), part(**time)))
    };
    Holder {
        page: page.clone(),
        held: held.total() as f64 / period,
        share: 0.0,
        requests,
        each_ms: held.total() as f64 / requests.max(1) as f64 / 1e6,
        statements: part(sum(true)),
        calls: part(sum(false)),
        waits: part(waited(&held)),
        own: part(held.own),
        statement: longest(true),
        call: longest(false),
    }
}

/// Whether a span is a statement (true) or a call to somebody else (false); waits are neither.
fn kind(who: &Contributor) -> Option<bool> {
    match who.category {
        Category::Database => Some(true),
        Category::Queue => None,
        _ => Some(false),
    }
}

fn waited(doing: &Doing<Contributor>) -> u64 {
    doing.spans.iter().filter(|(who, _)| kind(who).is_none()).map(|(_, time)| time).sum()
}
