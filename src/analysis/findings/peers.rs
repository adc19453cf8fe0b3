//! What calls to one system usually take: a statement that takes many times as long as the others of its database stands
//! out on any machine, fast or slow, loaded or idle.
//!
//! So does a page's own code that takes many times as long as that of the service's other pages, each at its best. Mappers and
//! drivers need time for each call, so it is compared with what the others take for so many calls.

use super::duplicate_query::writes;
use super::{FEW_REQUESTS, MIN_REQUESTS, OUTLIER_CALLS};
use crate::analysis::result::{Category, Contributor};
use crate::analysis::tally::{Part, StepTally};
use crate::record::{Nanos, StepId};
use crate::stats::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The service that calls, and what it calls.
type Call = (Arc<str>, Category, Arc<str>, Arc<str>);

/// Durations of calls by system, and by system and statement, over all steps of the run.
pub(super) struct Peers {
    systems: BTreeMap<(Category, Arc<str>), Histogram>,
    statements: BTreeMap<(Category, Arc<str>, Arc<str>), Histogram>,
    /// Calls of a service to others and to databases, by kind.
    calls: BTreeMap<Call, Histogram>,
    /// What each step's requests are in a service.
    pages: BTreeMap<Arc<str>, Vec<(StepId, Page)>>,
}

/// What a page takes in one service at its best.
#[derive(Clone, Copy)]
struct Page {
    /// Own time for the request and each of its calls, in ms.
    own_ms: f64,
    calls: f64,
    requests: u64,
    /// It asks a database.
    asks: bool,
}

/// Kinds of calls from which on it is known what they usually take, and calls of each.
const KINDS: usize = 3;
const KIND_CALLS: u64 = 10;
/// Kinds of statements from which on it is not by chance that none of them is quick.
const MANY_KINDS: usize = 6;
/// Other pages of a service from which on its usual own time is known.
const OTHER_PAGES: usize = 3;

/// A statement that takes far longer than the others.
pub(super) struct Outlier {
    pub typical_ms: f64,
    pub others_ms: f64,
}

impl Peers {
    pub fn of(steps: &[StepTally]) -> Peers {
        let mut peers = Peers {
            systems: BTreeMap::new(),
            statements: BTreeMap::new(),
            calls: BTreeMap::new(),
            pages: BTreeMap::new(),
        };
        use Category::{Cache, Database, External, Messaging, Search};
        for (who, part) in steps.iter().flat_map(|s| &s.parts).filter(|(_, part)| part.calls > 0) {
            if matches!(who.category, Cache | Database | External | Messaging | Search) {
                let kind = (who.service.clone(), who.category, who.system.clone(), who.name.clone());
                peers.calls.entry(kind).or_insert_with(Histogram::coarse).merge(&part.call_duration);
            }
            if matches!(who.category, Database | Cache | Search) {
                let system = (who.category, who.system.clone());
                let statement = (who.category, who.system.clone(), who.name.clone());
                for all in [
                    peers.systems.entry(system).or_insert_with(Histogram::coarse),
                    peers.statements.entry(statement).or_insert_with(Histogram::coarse),
                ] {
                    all.merge(&part.call_duration);
                }
            }
        }
        for (at, step) in steps.iter().enumerate() {
            for (service, page) in pages(step) {
                peers.pages.entry(service).or_default().push((StepId(at as u16), page));
            }
        }
        peers
    }

    /// Whether other pages of a service ask a database, often enough to be seen waiting if they must.
    pub fn others_ask(&self, step: StepId, service: &Arc<str>) -> bool {
        let pages = self.pages.get(service).into_iter().flatten();
        pages.filter(|(of, _)| *of != step).any(|(_, page)| page.asks && page.requests >= FEW_REQUESTS)
    }

    /// Whether the own code of a step's requests, which takes `own_ms` at its best, takes many times as long as that of the service's
    /// other pages would for as many calls.
    pub fn more_code(&self, step: StepId, service: &Arc<str>, own_ms: f64, ratio: f64) -> Option<Outlier> {
        let pages = self.pages.get(service)?;
        let mine = pages.iter().find(|(of, _)| *of == step)?.1;
        let others = || pages.iter().filter(|(of, page)| *of != step && page.requests >= MIN_REQUESTS);
        let mut usual: Vec<f64> = others().map(|(_, page)| page.own_ms).collect();
        usual.sort_by(f64::total_cmp);
        let enough =
            usual.len() >= OTHER_PAGES && others().map(|(_, p)| p.requests).sum::<u64>() >= OUTLIER_CALLS;
        let others_ms = usual.get(usual.len() / 2)? * (1.0 + mine.calls);
        (enough && own_ms >= ratio * others_ms).then_some(Outlier { typical_ms: own_ms, others_ms })
    }

    /// Calls that a request of a step makes in a service.
    pub fn calls(&self, step: StepId, service: &Arc<str>) -> f64 {
        let pages = self.pages.get(service).into_iter().flatten();
        pages.filter(|(of, _)| *of == step).map(|(_, page)| page.calls).sum()
    }

    /// The median of all other calls of a statement's system, if there are enough to know.
    pub fn usual(&self, who: &Contributor) -> Option<Nanos> {
        let own = self.statements.get(&(who.category, who.system.clone(), who.name.clone()))?;
        let others =
            self.systems.get(&(who.category, who.system.clone()))?.exchanged(own, &Histogram::coarse());
        (others.len() >= OUTLIER_CALLS).then(|| others.quantile(0.5))
    }

    /// What statements of a system that take no lock take at p95: the median of their kinds.
    pub fn late_reads(&self, who: &Contributor) -> Option<Nanos> {
        let reads = self.statements.iter().filter(|((category, system, name), calls)| {
            *category == who.category && *system == who.system && !writes(name) && calls.len() >= KIND_CALLS
        });
        let mut late: Vec<Nanos> = reads.map(|(_, calls)| calls.quantile(0.95)).collect();
        late.sort_unstable();
        (late.len() >= KINDS).then(|| late[(late.len() - 1) / 2])
    }

    /// What calls of a service to others and to databases take at their best: the median of all kinds but this one. Those of an event
    /// loop wait alike.
    pub fn at_best(&self, who: &Contributor) -> Option<Nanos> {
        let kinds = self.calls.iter().filter(|(kind, calls)| {
            kind.0 == who.service
                && (kind.1, &kind.2, &kind.3) != (who.category, &who.system, &who.name)
                && calls.len() >= KIND_CALLS
        });
        let mut best: Vec<Nanos> = kinds.map(|(_, calls)| calls.quantile(0.1)).collect();
        best.sort_unstable();
        (best.len() >= KINDS).then(|| best[best.len() / 2])
    }

    /// What a service's calls of a system take at the least, whatever they ask (the least that the quickest tenth of any kind takes), and
    /// what most of them take, if there are enough kinds to know.
    pub fn at_least(&self, who: &Contributor) -> Option<(Nanos, Nanos)> {
        let kinds = self.calls.iter().filter(|(kind, calls)| {
            (&kind.0, kind.1, &kind.2) == (&who.service, who.category, &who.system)
                && calls.len() >= KIND_CALLS
        });
        let (mut all, mut best) = (Histogram::coarse(), Vec::new());
        for (_, calls) in kinds {
            best.push(calls.quantile(0.1));
            all.merge(calls);
        }
        let least = best.iter().min().copied()?;
        (best.len() >= MANY_KINDS).then(|| (least, all.quantile(0.5)))
    }

    /// Whether calls of this statement typically take many times as long as those of all others of its system.
    pub fn outlier(&self, who: &Contributor, ratio: f64) -> Option<Outlier> {
        let own = self.statements.get(&(who.category, who.system.clone(), who.name.clone()))?;
        let all = self.systems.get(&(who.category, who.system.clone()))?;
        let others = all.exchanged(own, &Histogram::coarse());
        let (typical, usual) = (own.quantile(0.5), others.quantile(0.5));
        let enough = others.len() >= OUTLIER_CALLS;
        let far = typical.0 as f64 >= ratio * usual.0 as f64;
        (enough && far)
            .then(|| Outlier { typical_ms: typical.as_millis_f64(), others_ms: usual.as_millis_f64() })
    }
}

/// The services that a step's requests go through, and what they take there.
fn pages(step: &StepTally) -> BTreeMap<Arc<str>, Page> {
    let (requests, _) = step.joined_sum();
    let n = requests.max(1) as f64;
    let mut services: BTreeMap<Arc<str>, Page> = BTreeMap::new();
    let none = Page { own_ms: 0.0, calls: 0.0, requests, asks: false };
    for (who, part) in step.parts.iter().filter(|(who, part)| part.calls > 0 && !who.service.is_empty()) {
        let page = services.entry(who.service.clone()).or_insert(none);
        page.asks |= who.category == Category::Database;
        match who.category {
            Category::App => page.own_ms += quick_own(part) / n / 1e6,
            _ => page.calls += part.calls as f64 / n,
        }
    }
    services.values_mut().for_each(|page| page.own_ms /= 1.0 + page.calls);
    services
}

/// Own time of all requests, had each span the length of the quickest tenth, in ns. Own time is a part of its span.
fn quick_own(part: &Part) -> f64 {
    let own = (part.total as f64 / (part.call_duration.sum() as f64).max(1.0)).min(1.0);
    part.call_duration.quantile(0.1).0 as f64 * own * part.calls as f64
}
