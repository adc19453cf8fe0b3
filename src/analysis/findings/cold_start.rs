//! `cold_start`: work that is done only after a start, of a function, a worker or a process that was recycled.
//!
//! Sure where the platform says so (`faas.coldstart`). Else by two signs together: not all requests do it (one does, and
//! those that come in the meantime wait for it), and it is called what such work is called (load, init, warm up …).

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View, share};
use crate::analysis::result::{Contributor, Doubt, FindingKind};
use crate::analysis::tally::Part;

/// Work of a start by its name and its rarity.
pub(super) fn claim(view: &View<'_>, who: &Contributor, part: &Part) -> Option<Claim> {
    const WORDS: [&str; 17] = [
        "load",
        "init",
        "initialize",
        "initialise",
        "warm",
        "warmup",
        "bootstrap",
        "startup",
        "start",
        "cold",
        "compile",
        "import",
        "rebuild",
        "refresh",
        "populate",
        "prime",
        "boot",
    ];
    let (n, _) = view.basis(who);
    let rare = share(part.exchanges, n) <= view.limit(Limit::RareRequests);
    let name = who.name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    let named = words.any(|w| WORDS.contains(&w));
    let evidence = [("exchanges_share", share(part.exchanges, n))];
    (rare && named).then(|| Claim::doubted(FindingKind::ColdStart, Doubt::NameOnly).with(&evidence))
}

/// Work that took long at the start of the run and never again.
pub(super) fn once(part: &Part) -> Claim {
    let longest = part.worst.map_or(0, |w| w.0) as f64 / 1e6;
    Claim::doubted(FindingKind::ColdStart, Doubt::Once).with(&[("longest_ms", longest)])
}

/// Functions whose platform says that they had to be started.
pub(super) fn functions(view: &View<'_>) -> Vec<Found> {
    let found = |part| {
        let claim = Claim::sure(FindingKind::ColdStart);
        view.pattern(claim, part, 0.01, Limit::TimeoutShare, Limit::TimeoutMeanMs)
    };
    view.tally.evidence.of(Pattern::Cold).filter_map(found).collect()
}
