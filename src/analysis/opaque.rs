//! "Not identifiable from these spans": slow steps most of whose time no span divides further. Naming a cause there would be
//! a guess; what can be said is where to instrument.

use super::result::{Category, Note, Opaque, ServiceResult};
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

/// The steps of which most cannot be told, and where it is.
pub(super) fn opaque(steps: &[StepTally], services: &BTreeMap<Arc<str>, ServiceResult>) -> Vec<Note> {
    let mut out = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let latency: u64 = step.joined_bands.iter().map(|band| band.1).sum();
        let exchanges: u64 = step.joined_bands.iter().map(|band| band.0).sum();
        if exchanges < REQUESTS || latency / exchanges < SLOW.0 {
            continue;
        }
        // By service and place; contributors of one service (its operations) together.
        let mut times: BTreeMap<(Arc<str>, Opaque), u64> = BTreeMap::new();
        for (who, part) in &step.parts {
            let key = match who.category {
                Category::App if records_requests_alone(services.get(&who.service)) => {
                    (who.service.clone(), Opaque::Service)
                }
                Category::Network if who.service.is_empty() => {
                    (Arc::from(super::names::way_to(who)), Opaque::Outside)
                }
                _ => continue,
            };
            *times.entry(key).or_default() += part.total;
        }
        for ((service, place), time) in times {
            let share = time as f64 / latency as f64;
            if share >= MOST {
                out.push(Note::NotIdentifiable {
                    step: StepId(number as u16),
                    service,
                    place,
                    share: share.min(1.0),
                });
            }
        }
    }
    out
}

fn records_requests_alone(service: Option<&ServiceResult>) -> bool {
    service.is_some_and(|s| s.exchanges > 0 && s.spans as f64 <= ONE_SPAN * s.exchanges as f64)
}
