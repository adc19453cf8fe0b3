//! `slow_network` to a database: each of its statements takes long, whatever it asks.
//!
//! A database that is near answers the simplest statements in well under a millisecond. Where the quickest calls of all kinds take many,
//! and most calls hardly longer, it is not what they ask: it is the way there (another zone, a proxy, a pooler, a connection for each
//! statement), or a database that is slow at everything. No single statement owns much of such a page, and yet the page is slow.
//!
//! On a machine without a free core calls are late, too, but each by another time, and requests are late to be taken in.

use super::evidence::EMBEDDED;
use super::{Claim, Found, Limit, MIN_REQUESTS, View, mean_ms, share};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor, FindingKind};
use crate::analysis::tally::Part;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the quickest calls of every kind must take, in ms: more than any line within a data centre.
const FAR: f64 = 5.0;
/// How many times that most calls may take for it to be added to all of them.
pub(super) const ALIKE: f64 = 2.0;
/// How many times what requests wait to be taken in it must be.
const OVER_WAITS: f64 = 2.0;
/// The evidence of what the quickest calls take, whatever they ask.
pub(super) const AT_LEAST: &str = "at_least_ms";

type Statement<'a> = (&'a Contributor, &'a Part);

/// The ways to databases that take much of the step.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let mut ways: BTreeMap<(&Arc<str>, &Arc<str>), Vec<Statement<'_>>> = BTreeMap::new();
    // A database within the process has no way.
    let far = |who: &Contributor| who.category == Category::Database && *who.system != *EMBEDDED;
    for (who, part) in view.tally.parts.iter().filter(|(who, part)| far(who) && part.calls > 0) {
        ways.entry((&who.service, &who.system)).or_default().push((who, part));
    }
    ways.into_values().filter_map(|statements| judge(view, statements)).collect()
}

fn judge(view: &View<'_>, mut statements: Vec<Statement<'_>>) -> Option<Found> {
    statements.sort_by(|a, b| b.1.total.cmp(&a.1.total).then(a.0.cmp(b.0)));
    let (longest, part) = statements[0];
    let (least, usual) = view.peers.at_least(longest)?;
    let at_least = least.as_millis_f64();
    let alike = usual.as_millis_f64() <= ALIKE * at_least;
    if at_least < FAR
        || !alike
        || part.exchanges < MIN_REQUESTS
        || at_least < OVER_WAITS * taken_in_ms(view, longest)
    {
        return None;
    }
    let sum = |of: fn(&Part) -> u64| statements.iter().map(|(_, part)| of(part)).sum::<u64>();
    let (total, calls) = (sum(|part| part.total), sum(|part| part.calls));
    let lost = (least.0 * calls).min(total);
    let (n, latency) = view.basis(longest);
    let owned = view.share_of_rest(lost, latency, view.waited);
    if owned < view.limit(Limit::Share) || mean_ms(lost, n) < view.limit(Limit::MeanMs) {
        return None;
    }
    let evidence = BTreeMap::from([
        ("share", share(lost, latency)),
        ("mean_ms", mean_ms(lost, n)),
        ("calls_per_exchange", calls as f64 / n.max(1) as f64),
        (AT_LEAST, at_least),
        ("call_p50_ms", usual.as_millis_f64()),
    ]);
    let way = Contributor { name: longest.system.clone(), code: "".into(), ..longest.clone() };
    let mut found = view.found(Claim::sure(FindingKind::SlowNetwork), longest, part, lost, evidence);
    found.finding.contributor = way;
    // Of each statement's time the part that the way has.
    let of_way = share(lost, total);
    found.finding.impact = statements.iter().map(|(_, part)| view.impact(part).scaled(of_way)).sum();
    Some(found)
}

/// What the step's requests wait to be taken in by a service, in ms.
fn taken_in_ms(view: &View<'_>, who: &Contributor) -> f64 {
    let way = |c: &Contributor| c.category == Category::Network && callee(c) == &*who.service;
    let ways = view.tally.parts.iter().filter(|(c, _)| way(c));
    mean_ms(ways.map(|(_, part)| part.total).sum(), view.basis(who).0)
}
