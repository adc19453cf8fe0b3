//! `lock_contention`: waiting for a lock that others hold.
//!
//! Told by a span's name, or by a statement that writes or locks: its work is the same each time, so that times which
//! differ by a factor are not work. The databases' own waits (`pg_stat_activity`) make it sure.

use super::duplicate_query::writes;
use super::{Claim, Limit, View, same_work};
use crate::analysis::result::{Contributor, Doubt, FindingKind};
use crate::record::Nanos;
use crate::stats::Histogram;

/// A write that waits this long at p95 does not do so for its own work.
const LONG: Nanos = Nanos::from_millis(25);

/// A statement that writes and whose times differ by a factor, or are far from what its system usually takes.
pub(super) fn of_a_statement(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    if !writes(&who.name) || begins_or_ends(who) {
        return None;
    }
    let mut times = Histogram::coarse();
    let calls = view.tally.parts.iter().filter(|(c, _)| same_work(c, who));
    calls.for_each(|(_, part)| times.merge(&part.call_duration));
    let (median, p95) = (times.quantile(0.5), times.quantile(0.95));
    // Where all wait, the quickest still tell what the work itself takes.
    let usual =
        [Some(median), Some(times.quantile(0.05)), view.peers.usual(who)].into_iter().flatten().min()?;
    let far = p95.0 as f64 >= view.limit(Limit::LockRatio) * usual.0.max(1) as f64;
    let waits = view.known.database.waits_for_locks(&who.name);
    let claim = match waits {
        Some(share) => Claim::sure(FindingKind::LockContention).with(&[("lock_wait_share", share)]),
        None => Claim::doubted(FindingKind::LockContention, Doubt::Spread),
    };
    (p95 >= LONG && (far || waits.is_some())).then(|| {
        claim.with(&[("call_p50_ms", median.as_millis_f64()), ("usual_call_ms", usual.as_millis_f64())])
    })
}

/// Whether it begins or ends a transaction, of a database that takes no lock for that. SQLite has one lock for all.
fn begins_or_ends(who: &Contributor) -> bool {
    let first = who.name.split([' ', ';']).next().unwrap_or_default();
    let controls = ["BEGIN", "START", "COMMIT", "ROLLBACK"].iter().any(|w| first.eq_ignore_ascii_case(w));
    controls && !who.system.eq_ignore_ascii_case("sqlite")
}

/// A span that says that it waits for a lock.
pub(super) fn of_a_wait(who: &Contributor) -> Option<Claim> {
    const LOCKS: [&str; 6] = ["lock", "mutex", "latch", "semaphore", "monitor", "synchronized"];
    let name = who.name.to_ascii_lowercase();
    LOCKS.iter().any(|w| name.contains(w)).then(|| Claim::sure(FindingKind::LockContention))
}
