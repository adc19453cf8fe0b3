//! `uncompressed`: large answers that are texts come as they are, though the client said that they may be compressed.
//!
//! It is what `large_payload` finds, told by its cause: a text becomes a fifth or less, while fewer fields or pages are a change
//! of what is answered. What compressing costs the service is not known before; where answers come fast, none is worth it, so
//! the time to read them must be as much as makes any large answer a finding.

use super::{Claim, View, share};
use crate::analysis::result::{Category, Contributor, FindingKind};

/// The share of a step's answers that must have come so.
const MOST: f64 = 0.5;

/// Answers that take long to read and that nobody compressed.
pub(super) fn claim(view: &View<'_>, who: &Contributor) -> Option<Claim> {
    let plain = share(view.tally.uncompressed, view.tally.exchanges);
    let of_client = who.category == Category::Transfer && who.service.is_empty();
    (of_client && plain >= MOST)
        .then(|| Claim::sure(FindingKind::Uncompressed).with(&[("uncompressed_share", plain)]))
}
