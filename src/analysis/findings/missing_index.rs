//! `missing_index`: the database's own plan reads a whole table, or most of it, to find a few rows by some columns.
//!
//! From plans alone, never from times: a slow statement may be slow for many reasons. See [`crate::analysis::plans`].

use super::{Claim, Limit, View};
use crate::analysis::result::{Contributor, FindingKind};

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
