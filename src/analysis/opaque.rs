//! "Not identifiable from these spans": slow steps most of whose time no span divides further. Naming a cause there would be
//! a guess; what can be said is where to instrument.

use super::names::way_to;
use super::result::{Category, Confidence, Finding, FindingKind, Note, Opaque, ServiceResult};
use super::tally::StepTally;
use crate::record::{Nanos, StepId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A step's mean latency from which it matters.
const SLOW: Nanos = Nanos::from_millis(50);
/// Part of a step's latency from which it is most of it.
const MOST: f64 = 0.5;
/// Spans for each request up to which a service counts as one that records requests alone.
const ONE_SPAN: f64 = 1.05;
/// Requests that it takes.
const REQUESTS: u64 = 20;

/// The step that loses most, how much and which share of its latency, and how many steps there are.
#[derive(Default)]
struct Place {
    most: u64,
    step: u16,
    share: f64,
    steps: u64,
}

/// The services and places of which most cannot be told: each once, at the step that loses most to it.
pub(super) fn opaque(
    steps: &[StepTally],
    services: &BTreeMap<Arc<str>, ServiceResult>,
    findings: &[Finding],
) -> Vec<Note> {
    let mut places: BTreeMap<(Opaque, Arc<str>), Place> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        let latency: u64 = step.joined_bands.iter().map(|band| band.1).sum();
        let exchanges: u64 = step.joined_sum().0;
        if exchanges < REQUESTS || latency / exchanges < SLOW.0 {
            continue;
        }
        // Contributors of one service (its operations) together.
        let mut times: BTreeMap<(Opaque, Arc<str>), u64> = BTreeMap::new();
        for (who, part) in &step.parts {
            let key = match who.category {
                Category::App if records_requests_alone(services.get(&who.service)) => {
                    (Opaque::Service, who.service.clone())
                }
                Category::Network if who.service.is_empty() => (Opaque::Outside, Arc::from(way_to(who))),
                _ => continue,
            };
            *times.entry(key).or_default() += part.total;
        }
        for (key, time) in times {
            let share = time as f64 / latency as f64;
            if share < MOST || is_told(&key, findings) {
                continue;
            }
            let place = places.entry(key).or_default();
            place.steps += 1;
            if time > place.most {
                (place.most, place.step, place.share) = (time, number as u16, share);
            }
        }
    }
    let note = |((place, service), Place { step, share, steps, .. })| Note::NotIdentifiable {
        step: StepId(step),
        others: steps - 1,
        service,
        place,
        share: f64::min(share, 1.0),
    };
    places.into_iter().map(note).collect()
}

/// Whether a finding is sure of what is waited for before the service, or of who makes others wait there.
fn is_told((place, service): &(Opaque, Arc<str>), findings: &[Finding]) -> bool {
    let told = |f: &Finding| match f.kind {
        FindingKind::Queueing => f.confidence == Confidence::High && way_to(&f.contributor) == &**service,
        _ => f.evidence.contains_key("waiting_ms") && f.contributor.service == *service,
    };
    *place == Opaque::Outside && findings.iter().any(told)
}

fn records_requests_alone(service: Option<&ServiceResult>) -> bool {
    service.is_some_and(|s| s.exchanges > 0 && s.spans as f64 <= ONE_SPAN * s.exchanges as f64)
}
