//! Random numbers: reproducible ones for what is sent, fresh ones for trace ids.

use crate::record::{Nanos, Propagation, SpanId, Timestamp, TraceId};
use crate::scenario::Think;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// The generator of one iteration. It depends on the seed, the user and the iteration alone, never on timing or on which
/// thread walks: the same seed sends the same requests.
pub fn of_iteration(seed: u64, user: u32, iteration: u32) -> SmallRng {
    let who = u64::from(user) << 32 | u64::from(iteration);
    SmallRng::seed_from_u64(mixed(seed ^ mixed(who)))
}

/// SplitMix64's output function (Steele, Lea, Flood 2014): neighbouring numbers give unrelated ones.
pub fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Makes ids of traces and spans. Seeded by the system, so that two runs with the same seed never share a trace.
pub struct Ids {
    random: SmallRng,
    /// Whether trace ids begin with the time: [`Propagation::dates_traces`].
    dated: bool,
}

impl Ids {
    /// A fresh generator of ids that those formats can carry.
    pub fn new(propagation: Propagation) -> Ids {
        Ids { random: rand::make_rng(), dated: propagation.dates_traces() }
    }

    /// A trace id that is not zero; its last 96 bits are random at the least: sampling looks at the last 56.
    pub fn trace(&mut self, now: Timestamp) -> TraceId {
        let (high, low) = (self.random.next_u64(), self.random.next_u64());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&(low | u64::from(high == 0)).to_be_bytes());
        let id = TraceId(bytes);
        if self.dated { id.dated(now) } else { id }
    }

    /// A span id that is not zero.
    pub fn span(&mut self) -> SpanId {
        SpanId(self.random.next_u64().max(1).to_be_bytes())
    }
}

/// A pause.
pub fn pause(think: Think, random: &mut SmallRng) -> Nanos {
    match think {
        Think::Between { least, most } if most > least => Nanos(random.random_range(least.0..=most.0)),
        Think::Between { least, .. } => least,
        Think::LogNormal { median, sigma } => {
            // Four standard deviations: one pause in 30,000 would be longer, and could be longer than the run.
            let deviation = normal(random).clamp(-4.0, 4.0);
            Nanos((median.0 as f64 * (sigma * deviation).exp()) as u64)
        }
    }
}

/// A standard normal number (Box and Muller 1958).
fn normal(random: &mut SmallRng) -> f64 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iteration_is_reproducible_and_unlike_its_neighbours() {
        let first = |seed, user, iteration| of_iteration(seed, user, iteration).next_u64();
        assert_eq!(first(7, 1, 2), first(7, 1, 2));
        let others = [first(8, 1, 2), first(7, 2, 2), first(7, 1, 3), first(7, 2, 1)];
        assert!(!others.contains(&first(7, 1, 2)));
    }

    #[test]
    fn trace_ids_begin_with_the_time_where_x_ray_asks_for_it() {
        let now = Timestamp(1_796_000_000_999_999_999);
        let beginnings = |propagation: &str| -> Vec<u32> {
            let mut ids = Ids::new(crate::scenario::parse_propagation(propagation).unwrap());
            (0..50).map(|_| (u128::from_be_bytes(ids.trace(now).0) >> 96) as u32).collect()
        };
        assert_eq!(beginnings("tracecontext,xray"), [1_796_000_000; 50]);
        assert!(beginnings("tracecontext,b3,b3multi,jaeger").iter().any(|begin| *begin != 1_796_000_000));
        let mut ids = Ids::new(Propagation::only(crate::record::Propagator::XRay));
        let rest: std::collections::BTreeSet<_> = (0..50).map(|_| ids.trace(now).0[4..].to_vec()).collect();
        assert_eq!(rest.len(), 50);
    }

    #[test]
    fn pauses_stay_in_their_range() {
        let mut random = of_iteration(1, 0, 0);
        let think = Think::Between { least: Nanos(5), most: Nanos(9) };
        let pauses: Vec<u64> = (0..200).map(|_| pause(think, &mut random).0).collect();
        assert!(pauses.iter().all(|p| (5..=9).contains(p)) && pauses.contains(&5) && pauses.contains(&9));
        assert_eq!(pause(Think::default(), &mut random), Nanos::ZERO);
    }

    #[test]
    fn log_normal_pauses_have_the_median_and_percentile_that_were_asked_for() {
        let text =
            "target: http://h\nload: {users: 1, for: 1s}\nthink: lognormal(500ms, 2s p95)\nsteps: [GET /]\n";
        let think = crate::scenario::parse(text, "t").unwrap().steps[0].think;
        let mut random = of_iteration(3, 0, 0);
        let mut pauses: Vec<u64> = (0..20_000).map(|_| pause(think, &mut random).0 / 1_000_000).collect();
        pauses.sort_unstable();
        let (median, p95) = (pauses[10_000], pauses[19_000]);
        assert!((485..=515).contains(&median) && (1_900..=2_100).contains(&p95), "{median} ms, {p95} ms");
    }
}
