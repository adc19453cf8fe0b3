//! Services of two sides: which changed, and which of them is to blame for what got slower.
//!
//! A service is compared over the requests that it took part in: a fault of a service that one request in thirty reaches
//! is in full in those, and drowned in the mean of all. Its own time and the time on the ways to it count whole. The ways
//! from it to others count a third: a slow process or a slow network card delays both its ends, but a single slow way is
//! more likely its callee's, so a caller is suspected over its callees only where at least three of its ways slowed alike.

use super::changes::mean;
use super::outcome::Sides;
use super::summary::{RunSummary, ServiceSummary, StepSummary};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Part of the ways out of a service that speaks against itself.
const CALLER_SHARE: f64 = 1.0 / 3.0;
/// Requests of a run that a service must have taken part in to be ranked; with fewer a mean is one request's.
const REQUESTS_MIN: u64 = 2;

/// A service's part in all exchanges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceChange {
    /// Its name.
    pub service: Arc<str>,
    /// Mean milliseconds of an exchange that it and what it calls without spans took.
    pub own_ms: Sides,
    /// Mean milliseconds on the way from it to others.
    pub network_ms: Sides,
    /// Milliseconds by which the exchanges that it took part in got slower and that speak against it. Nothing where a side has
    /// no run with enough of them, or reports that do not say.
    pub suspicion_ms: Option<f64>,
}

impl ServiceChange {
    /// Head less base, in milliseconds of an exchange.
    pub fn change_ms(&self) -> f64 {
        self.own_ms.head + self.network_ms.head - self.own_ms.base - self.network_ms.base
    }
}

/// The parts of services, what most speaks against first. Steps are weighed alike on both sides, so that another mix of requests is
/// no change.
pub(super) fn services(base: &[RunSummary], head: &[RunSummary]) -> Vec<ServiceChange> {
    let mut weights: BTreeMap<(Arc<str>, Arc<str>), f64> = BTreeMap::new();
    let key = |step: &StepSummary| (step.journey.clone(), step.name.clone());
    for step in base.iter().chain(head).flat_map(|run| &run.steps) {
        *weights.entry(key(step)).or_default() += step.exchanges as f64;
    }
    let all: f64 = weights.values().sum();
    let mut out: BTreeMap<Arc<str>, ServiceChange> = BTreeMap::new();
    for (is_head, runs) in [(false, base), (true, head)] {
        for step in runs.iter().flat_map(|run| &run.steps) {
            let weight = weights.get(&key(step)).map_or(0.0, |w| w / all) / runs.len() as f64;
            for c in step.contributors.iter().filter(|c| !c.key.service.is_empty()) {
                let change = out.entry(c.key.service.clone()).or_default();
                let sides =
                    if &*c.key.category == "network" { &mut change.network_ms } else { &mut change.own_ms };
                *(if is_head { &mut sides.head } else { &mut sides.base }) += weight * c.mean_ms;
            }
        }
        for service in runs.iter().flat_map(|run| &run.services) {
            out.entry(service.service.clone()).or_default();
        }
    }
    let mut out: Vec<ServiceChange> = out
        .into_iter()
        .map(|(service, change)| ServiceChange {
            suspicion_ms: against(&service, head)
                .zip(against(&service, base))
                .map(|(head, base)| head - base),
            service,
            ..change
        })
        .collect();
    let suspicion = |s: &ServiceChange| s.suspicion_ms.unwrap_or(f64::NEG_INFINITY);
    out.sort_by(|a, b| {
        let change = || b.change_ms().abs().total_cmp(&a.change_ms().abs());
        suspicion(b).total_cmp(&suspicion(a)).then_with(change).then(a.service.cmp(&b.service))
    });
    out
}

/// Milliseconds of the exchanges that it took part in which it is answerable for: the mean over a side's runs.
fn against(name: &str, runs: &[RunSummary]) -> Option<f64> {
    let of = |run: &RunSummary| {
        let service = run.services.iter().find(|s| &*s.service == name && s.exchanges >= REQUESTS_MIN)?;
        let ServiceSummary { own_ms, network_in_ms, network_out_ms, exchanges, .. } = service;
        Some((own_ms + network_in_ms + CALLER_SHARE * network_out_ms) / *exchanges as f64)
    };
    let runs: Vec<f64> = runs.iter().filter_map(of).collect();
    (!runs.is_empty()).then(|| mean(runs.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{ContributorKey, ContributorSummary};

    /// A run of requests to `shop`, some of which go on to `stock`: milliseconds of a request in `shop`, on the way to `stock`, in it.
    fn run(requests: u64, reach: u64, [shop, way, stock]: [f64; 3]) -> RunSummary {
        let part = |category: &str, service: &str, mean_ms: f64| ContributorSummary {
            key: ContributorKey {
                category: category.into(),
                service: service.into(),
                ..ContributorKey::default()
            },
            mean_ms,
            ..ContributorSummary::default()
        };
        let (all, some) = (requests as f64, reach as f64);
        let share = some / all;
        let contributors = vec![
            part("app", "shop", shop),
            part("network", "shop", way * share),
            part("app", "stock", stock * share),
        ];
        let service = |name: &str, exchanges: u64, own_ms: f64, (network_in_ms, network_out_ms)| {
            ServiceSummary { service: name.into(), exchanges, own_ms, network_in_ms, network_out_ms }
        };
        RunSummary {
            steps: vec![StepSummary { exchanges: requests, contributors, ..StepSummary::default() }],
            services: vec![
                service("shop", requests, shop * all, (0.0, way * some)),
                service("stock", reach, stock * some, (way * some, 0.0)),
            ],
            ..RunSummary::default()
        }
    }

    fn names(changes: &[ServiceChange]) -> Vec<&str> {
        changes.iter().map(|s| &*s.service).collect()
    }

    #[test]
    fn a_slow_way_is_its_callees_in_the_requests_that_take_it() {
        let base = [run(100, 10, [5.0, 1.0, 4.0])];
        let slow = services(&base, &[run(100, 10, [6.0, 21.0, 4.0])]);
        assert_eq!(names(&slow), ["stock", "shop"]);
        assert!((slow[0].suspicion_ms.unwrap() - 20.0).abs() < 1e-9, "{slow:?}");
        // Of all requests the caller has more: a millisecond of its own, and two on the way.
        assert!((slow[1].change_ms() - 3.0).abs() < 1e-9 && slow[0].change_ms().abs() < 1e-9, "{slow:?}");
        assert!((slow[1].suspicion_ms.unwrap() - (1.0 + 2.0 / 3.0)).abs() < 1e-9, "{slow:?}");
        let own = services(&base, &[run(100, 10, [9.0, 1.0, 4.0])]);
        assert_eq!(names(&own), ["shop", "stock"]);
    }

    #[test]
    fn reports_that_do_not_say_are_ranked_by_the_change_alone() {
        let mut head = run(100, 10, [6.0, 21.0, 4.0]);
        head.services.clear();
        let changes = services(&[run(100, 10, [5.0, 1.0, 4.0])], &[head]);
        assert_eq!(names(&changes), ["shop", "stock"]);
        assert!(changes.iter().all(|s| s.suspicion_ms.is_none()));
        // One request says nothing of a service.
        let few = services(&[run(100, 1, [5.0, 1.0, 4.0])], &[run(100, 1, [5.0, 90.0, 4.0])]);
        assert_eq!(few.iter().find(|s| &*s.service == "stock").unwrap().suspicion_ms, None);
    }
}
