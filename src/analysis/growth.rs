//! Two analyses of the same system: which services slowed down, and which of them is to blame.
//!
//! A service is compared over the requests that it took part in: a fault of a service that one request in thirty reaches
//! is in full in those, and drowned in the mean of all. Its own time and the time on the ways to it count whole. The ways
//! from it to others count a third: a slow process or a slow network card delays both its ends, but a single slow way is
//! more likely its callee's, so a caller is suspected over its callees only where at least three of its ways slowed alike.

use super::result::Analysis;
use crate::record::Nanos;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Part of the ways out of a service that speaks against itself.
const CALLER_SHARE: f64 = 1.0 / 3.0;
/// Requests on each side that a service must have taken part in to be ranked; with fewer a mean is one request's.
const REQUESTS_MIN: u64 = 2;

/// How one service changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceGrowth {
    /// Which.
    pub service: Arc<str>,
    /// Own time per exchange of the run, in milliseconds: before and after.
    pub own_ms: (f64, f64),
    /// Time on the ways to it per exchange of the run, in milliseconds: before and after.
    pub network_ms: (f64, f64),
    /// Both together, after minus before.
    pub change_ms_per_exchange: f64,
    /// Exchanges that it took part in: before and after.
    pub exchanges: (u64, u64),
    /// Milliseconds by which the exchanges that it took part in got slower and that speak against it; what the list is
    /// sorted by. Nothing where too few exchanges took part.
    pub suspicion_ms: Option<f64>,
}

/// All services of both sides, the likeliest cause of what got slower first; those that cannot be ranked last.
pub fn service_growth(base: &Analysis, head: &Analysis) -> Vec<ServiceGrowth> {
    let names: BTreeSet<&Arc<str>> = base.services.keys().chain(head.services.keys()).collect();
    let mut out: Vec<ServiceGrowth> = names.into_iter().map(|name| growth(name, base, head)).collect();
    let key = |g: &ServiceGrowth| g.suspicion_ms.unwrap_or(f64::NEG_INFINITY);
    // The names' order breaks ties, as the sort is stable.
    out.sort_by(|a, b| key(b).total_cmp(&key(a)));
    out
}

fn growth(name: &Arc<str>, base: &Analysis, head: &Analysis) -> ServiceGrowth {
    let [before, after] = [base, head].map(|side| side.services.get(name).copied().unwrap_or_default());
    let all = (base.telemetry.joined, head.telemetry.joined);
    let per = |time: Nanos, n: u64| if n == 0 { 0.0 } else { time.as_millis_f64() / n as f64 };
    let both =
        |f: fn(&super::result::ServiceResult) -> Nanos| (per(f(&before), all.0), per(f(&after), all.1));
    let (own_ms, network_ms) = (both(|s| s.own), both(|s| s.network_in));
    let against = |s: &super::result::ServiceResult| {
        let whole = per(Nanos(s.own.0 + s.network_in.0), s.exchanges);
        whole + CALLER_SHARE * per(s.network_out, s.exchanges)
    };
    let enough = before.exchanges >= REQUESTS_MIN && after.exchanges >= REQUESTS_MIN;
    ServiceGrowth {
        service: name.clone(),
        own_ms,
        network_ms,
        change_ms_per_exchange: own_ms.1 + network_ms.1 - own_ms.0 - network_ms.0,
        exchanges: (before.exchanges, after.exchanges),
        suspicion_ms: enough.then(|| against(&after) - against(&before)),
    }
}
