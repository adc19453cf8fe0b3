//! The ways on which requests go between services, from the contributors of all steps.
//!
//! With the services' own time and the client's own phases the ways' times sum to the whole latency.

use super::super::result::{Category, Contributor, StepResult, Way};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ways that are told apart; those with least time go.
const MOST: usize = 300;

/// Every way with calls or time. `callee` knows the service that a way's contributor leads to.
pub(in crate::analysis) fn ways(
    steps: &[StepResult],
    callee: impl Fn(&Contributor) -> Option<Arc<str>>,
) -> Vec<Way> {
    type Key = (Option<Arc<str>>, Option<Arc<str>>, Category, Arc<str>);
    let mut found: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for part in steps.iter().flat_map(|step| &step.contributors) {
        let who = &part.contributor;
        let from = Some(who.service.clone()).filter(|service| !service.is_empty());
        let empty: Arc<str> = Arc::from("");
        let key = match who.category {
            Category::Network => match callee(who) {
                Some(to) => (from, Some(to), Category::Network, empty),
                None => continue,
            },
            Category::Database | Category::Cache | Category::Search | Category::Messaging => {
                (from, None, who.category, who.system.clone())
            }
            Category::External => (from, None, who.category, host(&who.name)),
            _ => continue,
        };
        // The summed-up rest of a step belongs to no way.
        if key.0.is_none() && key.1.is_none() {
            continue;
        }
        let sum = found.entry(key).or_default();
        sum.0 += part.calls;
        sum.1 += part.total.0;
    }
    let mut ways: Vec<Way> = found
        .into_iter()
        .map(|((from, to, category, peer), (calls, time))| Way {
            from,
            to,
            category,
            peer,
            calls,
            time: crate::record::Nanos(time),
        })
        .collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.time));
    ways.truncate(MOST);
    ways
}

/// The host in the name of an external call: `GET api.example.com/v1/charges` is of `api.example.com`.
fn host(name: &str) -> Arc<str> {
    let word = name.split(' ').find(|word| word.contains('.') || word.contains(':') || word.contains('/'));
    let host = word.unwrap_or(name).split('/').find(|part| !part.is_empty() && !part.ends_with(':'));
    Arc::from(host.unwrap_or(name))
}
