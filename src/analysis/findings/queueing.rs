//! `queueing` before a server: time between caller and server that no span covers, and that differs between requests.
//!
//! A line or a proxy takes about the same each time; an accept queue takes nothing when it is empty and much when all
//! workers are busy. So time that slow requests have and typical ones have not is waiting to be taken in.

use super::{Claim, Limit, MIN_REQUESTS, View, mean_ms};
use crate::analysis::result::{Doubt, FindingKind};
use crate::analysis::tally::Part;

/// Time before the server that varies.
pub(super) fn claim(view: &View<'_>, part: &Part) -> Option<Claim> {
    let bands = &view.tally.joined_bands;
    let typical = mean_ms(part.bands[0], bands[0].0);
    // The slowest requests that there are enough of.
    let from =
        |i: usize| -> (u64, u64) { (bands[i..].iter().map(|b| b.0).sum(), part.bands[i..].iter().sum()) };
    let (slow_n, time) = [from(2), from(1)].into_iter().find(|(n, _)| *n >= MIN_REQUESTS)?;
    let slow = mean_ms(time, slow_n);
    let varies = slow >= view.limit(Limit::VariesRatio) * typical;
    let claim = Claim::doubted(FindingKind::Queueing, Doubt::Varies);
    varies.then(|| claim.with(&[("typical_ms", typical), ("slow_ms", slow)]))
}
