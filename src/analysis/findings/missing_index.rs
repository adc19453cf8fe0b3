//! `missing_index`: the database's own plan reads a whole table, or most of it, to find a few rows by some columns.
//!
//! From plans alone, never from times: a slow statement may be slow for many reasons. See [`crate::analysis::plans`].
//!
//! One index may be what many statements of a page want. Each alone may take little, so they are judged together, and told once.
//!
//! A database within the process looks for rows as they are read, so that a statement's span ends at its first row, and the rest of
//! the scan is own time of the code that reads. Where the first row lies differs from request to request; a scan as a whole takes
//! about as long as the longest of those spans. So much of the time right after them is the scan's.

use super::dominant::recurs;
use super::evidence::{EMBEDDED, Pattern};
use super::{Claim, Found, Limit, MIN_REQUESTS, View, mean_ms, same_work, share};
use crate::analysis::result::{Contributor, FindingKind, Impact};
use crate::analysis::tally::Part;
use std::collections::BTreeMap;

/// A statement whose plan scans.
pub(super) fn claim(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let scan = view.known.database.scan(&who.name)?;
    if scan.rows < view.limit(Limit::IndexRows) {
        return None;
    }
    let mut claim =
        Claim::sure(FindingKind::MissingIndex).with(&[("table_rows", scan.rows), ("rows_found", scan.found)]);
    if let Some((before, after)) = scan.cost {
        claim = claim.with(&[("plan_cost", before), ("plan_cost_with_index", after)]);
    }
    claim.remedy = scan.remedy();
    Some(claim)
}

/// The evidence of how much of a scan is own time of the code that reads its rows.
pub(super) const READING: &str = "reading_ms";

/// The quantile of a statement's times that stands for a whole scan: few look at its very end, and some wait for a processor.
const WHOLE_SCAN: f64 = 0.9;

/// What a scan takes beyond its spans.
#[derive(Default)]
pub(super) struct Reading {
    pub time: u64,
    pub impact: Impact,
    /// In enough requests, at enough times.
    pub recurs: bool,
}

/// What of the own time right after a statement is its scan.
pub(super) fn reading(view: &View<'_>, who: &Contributor, part: &Part) -> Reading {
    let after = view.tally.evidence.by_owner(Pattern::Reading, who);
    let Some(after) = after.filter(|_| *who.system == *EMBEDDED) else { return Reading::default() };
    let (calls, duration) = view.calls_of(who);
    let whole = duration.quantile(WHOLE_SCAN).0 * calls;
    let time = after.total.min(whole.saturating_sub(part.total));
    Reading {
        time,
        impact: view.impact(after).scaled(share(time, after.total)),
        recurs: recurs(view, &after.longish),
    }
}

/// The evidence of how many statements want the same index.
const STATEMENTS: &str = "index_statements";

/// Statements of a step that want the same index, where they take much together.
pub(super) fn of_several(view: &View<'_>) -> Vec<Found> {
    type Statement<'a> = (&'a Contributor, &'a Part);
    let mut wanted: BTreeMap<(&str, &str, String), Vec<Statement<'_>>> = BTreeMap::new();
    for (who, part) in view.whole_parts().filter(|(_, part)| part.exchanges >= MIN_REQUESTS) {
        let claim = claim(view, who).filter(|claim| !claim.remedy.is_empty());
        if let Some(claim) = claim {
            wanted.entry((&who.service, &who.system, claim.remedy)).or_default().push((who, part));
        }
    }
    let several = wanted.into_values().filter(|statements| statements.len() > 1);
    several.filter_map(|statements| judge(view, statements)).collect()
}

fn judge(view: &View<'_>, mut statements: Vec<(&Contributor, &Part)>) -> Option<Found> {
    // The longest first: it names the finding.
    statements.sort_by(|a, b| b.1.total.cmp(&a.1.total).then(a.0.cmp(b.0)));
    let (who, part) = statements[0];
    let (n, latency) = view.basis(who);
    let sum = |of: fn(&Part) -> u64| statements.iter().map(|(_, part)| of(part)).sum::<u64>();
    let readings: Vec<Reading> = statements.iter().map(|(who, part)| reading(view, who, part)).collect();
    let read: u64 = readings.iter().map(|reading| reading.time).sum();
    let total = sum(|part| part.total) + read;
    // One request does not make a problem, however long it took.
    let rest = read + sum(|part| part.total.saturating_sub(part.worst.map_or(0, |worst| worst.0)));
    let owned = view.share_of_rest(total, latency, view.waited_beside(who));
    if owned < view.limit(Limit::Share) || mean_ms(rest, n.saturating_sub(1)) < view.limit(Limit::IndexMeanMs)
    {
        return None;
    }
    // Groups count no calls; their members do.
    let wants_it = |who: &Contributor| statements.iter().any(|(one, _)| same_work(one, who));
    let calls: u64 = view.tally.parts.iter().filter(|(who, _)| wants_it(who)).map(|(_, p)| p.calls).sum();
    let mut evidence = BTreeMap::from([
        ("share", share(total, latency)),
        ("mean_ms", mean_ms(total, n)),
        ("calls_per_exchange", calls as f64 / n.max(1) as f64),
        (STATEMENTS, statements.len() as f64),
    ]);
    if read > 0 {
        evidence.insert(READING, mean_ms(read, n));
    }
    let mut found = view.found(claim(view, who)?, who, part, total, evidence);
    // Each impact is of its own statement's time.
    let of_spans = statements.iter().map(|(_, part)| view.impact(part));
    found.finding.impact = of_spans.chain(readings.into_iter().map(|reading| reading.impact)).sum();
    found.finding.related = statements[1..].iter().map(|(who, _)| view.with_code(who)).collect();
    Some(found)
}
