//! Which requests servers are asked to record, decided by the generator: it is the root of every trace, so its word holds
//! for all services behind (parent-based sampling, the default of every OpenTelemetry SDK).
//!
//! The decision is a threshold that the trace id is held against ([`Threshold`]), so services that sample consistently come
//! to the same one, and the share that was kept is known for each request. `auto` chooses the threshold from the rate of
//! the past, never from the request itself: whether a request is recorded does not depend on how it goes, and weighted
//! means are right on average.

use crate::record::{Nanos, Threshold, Timestamp, TraceId};
use crate::scenario::Sampling;
use std::cell::RefCell;

/// How often `auto` looks at the rates.
const WINDOW: Nanos = Nanos::from_millis(100);
/// Weight of the newest window in the rates: a memory of about a second.
const NEWEST: f64 = 0.1;

/// One thread's decisions.
pub struct Sampler {
    how: How,
    /// Where `auto` stands.
    auto: RefCell<Auto>,
}

enum How {
    Never,
    Fixed(Threshold),
    Auto,
    /// On and off in turn, a stretch each.
    InTurn {
        stretch: Nanos,
        begin: Timestamp,
    },
}

#[derive(Default)]
struct Auto {
    /// Traced requests that this thread may have per window.
    cap: f64,
    ends: Timestamp,
    /// What was counted in this window, and what is usual, by step.
    counts: Vec<f64>,
    usual: Vec<f64>,
    seen_windows: u32,
    thresholds: Vec<Threshold>,
}

impl Sampler {
    /// For one of `threads` threads, over so many steps; load begins at `begin`.
    pub fn new(sampling: Sampling, threads: usize, steps: usize, begin: Timestamp) -> Sampler {
        let mut auto = Auto::default();
        let how = match sampling {
            Sampling::Share(share) if share <= 0.0 => How::Never,
            Sampling::Share(share) => How::Fixed(Threshold::of_probability(share)),
            Sampling::Auto { cap_per_second } => {
                auto = Auto {
                    cap: cap_per_second * WINDOW.as_secs_f64() / threads.max(1) as f64,
                    ends: begin + WINDOW,
                    counts: vec![0.0; steps],
                    usual: vec![0.0; steps],
                    seen_windows: 0,
                    thresholds: vec![Threshold::ALWAYS; steps],
                };
                How::Auto
            }
            Sampling::InTurn { stretch } => How::InTurn { stretch, begin },
        };
        Sampler { how, auto: RefCell::new(auto) }
    }

    /// Whether the trace of a request of a step is to be recorded, and by which threshold that was decided.
    pub fn decide(&self, trace: &TraceId, step: usize, now: Timestamp) -> (bool, Threshold) {
        let threshold = match &self.how {
            How::Never => return (false, Threshold::ALWAYS),
            How::Fixed(threshold) => *threshold,
            How::Auto => self.auto.borrow_mut().threshold(step, now),
            How::InTurn { stretch, begin } => {
                let on = is_on(now.since(*begin), *stretch);
                // Those without tracing weigh nothing in blame: the traced ones stand for them.
                return if on { (true, Threshold::ALWAYS) } else { (false, Threshold::of_probability(0.5)) };
            }
        };
        (threshold.keeps(trace), threshold)
    }

    /// Counts a request that belongs to a trace decided on under that step, so that `auto` knows the rates.
    pub fn count(&self, step: usize) {
        if let How::Auto = self.how {
            self.auto.borrow_mut().count(step);
        }
    }
}

/// Whether tracing is on at a moment where it is on and off in turn: off, on, on, off, and so on, so that a drift of the
/// service over time falls on both alike.
pub fn is_on(since_begin: Nanos, stretch: Nanos) -> bool {
    matches!(since_begin.0 / stretch.0.max(1) % 4, 1 | 2)
}

impl Auto {
    fn threshold(&mut self, step: usize, now: Timestamp) -> Threshold {
        if now >= self.ends {
            self.next_window(now);
        }
        self.thresholds.get(step).copied().unwrap_or(Threshold::ALWAYS)
    }

    fn count(&mut self, step: usize) {
        if let Some(count) = self.counts.get_mut(step) {
            *count += 1.0;
        }
    }

    fn next_window(&mut self, now: Timestamp) {
        let windows = (now.since(self.ends).0 / WINDOW.0 + 1).min(1_000);
        self.ends = self.ends + Nanos(windows * WINDOW.0);
        self.seen_windows = self.seen_windows.saturating_add(windows as u32);
        // At first the memory is short: the mean of what there was.
        let newest = NEWEST.max(1.0 / f64::from(self.seen_windows));
        let stays = (1.0 - newest).powi(windows as i32);
        for (usual, count) in self.usual.iter_mut().zip(&mut self.counts) {
            *usual = *usual * stays + *count / windows as f64 * (1.0 - stays);
            *count = 0.0;
        }
        let level = level(&self.usual, self.cap);
        for (threshold, usual) in self.thresholds.iter_mut().zip(&self.usual) {
            *threshold = match level {
                Some(level) if *usual > level => Threshold::of_probability(level / usual),
                _ => Threshold::ALWAYS,
            };
        }
    }
}

/// The level at which all steps are cut off so that they add up to `cap`: a step below it keeps all, those above share what
/// is left evenly. Nothing is cut where everything fits.
fn level(usual: &[f64], cap: f64) -> Option<f64> {
    if usual.iter().sum::<f64>() <= cap {
        return None;
    }
    let mut sorted = usual.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut left = cap;
    for (done, rate) in sorted.iter().enumerate() {
        let even = left / (sorted.len() - done) as f64;
        if *rate > even {
            return Some(even);
        }
        left -= rate;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::random::Ids;
    use crate::record::Propagation;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn rare_steps_keep_all_and_the_others_share_the_rest() {
        assert_eq!(level(&[5.0, 5.0], 10.0), None);
        assert_eq!(level(&[1.0, 100.0, 50.0], 21.0), Some(10.0));
        assert_eq!(level(&[0.0, 100.0], 20.0), Some(20.0));
        assert_eq!(level(&[30.0, 40.0], 20.0), Some(10.0));
    }

    /// Requests of two steps at given rates for some seconds: how many of each were sampled in the last half, with the sum
    /// of what those stand for.
    fn run(cap: f64, rates: [u64; 2], seconds: u64) -> [(u64, u64, u64); 2] {
        let sampler = Sampler::new(Sampling::Auto { cap_per_second: cap }, 1, 2, Timestamp(0));
        let mut ids = Ids::new(Propagation::default());
        let mut out = [(0, 0, 0); 2];
        let mut due: Vec<(u64, usize)> = (0..2)
            .flat_map(|step| (0..rates[step] * seconds).map(move |n| (n * SECOND / rates[step], step)))
            .collect();
        due.sort_unstable();
        for (at, step) in due {
            let trace = ids.trace(Timestamp(at));
            let (sampled, threshold) = sampler.decide(&trace, step, Timestamp(at));
            sampler.count(step);
            assert_eq!(sampled, threshold.keeps(&trace));
            if at >= seconds * SECOND / 2 {
                out[step].0 += 1;
                out[step].1 += u64::from(sampled);
                out[step].2 += if sampled { threshold.weight(&trace) } else { 0 };
            }
        }
        out
    }

    #[test]
    fn all_are_sampled_below_the_cap() {
        assert!(run(200.0, [150, 40], 4).iter().all(|(n, sampled, _)| n == sampled));
    }

    #[test]
    fn above_the_cap_rare_steps_are_whole_and_weights_add_up() {
        let [often, rare] = run(200.0, [5_000, 20], 20);
        assert_eq!(rare.0, rare.1, "the rare step is traced whole");
        let per_second = often.1 as f64 / 10.0;
        // 180/s are left for it: the deviation of a count of 1,800 is 42, so 15 % is beyond chance.
        assert!((per_second - 180.0).abs() < 27.0, "{per_second}");
        assert!((often.2 as f64 / often.0 as f64 - 1.0).abs() < 0.15, "{} for {}", often.2, often.0);
    }

    #[test]
    fn in_turn_means_off_on_on_off() {
        let on: Vec<bool> = (0..8).map(|n| is_on(Nanos(n * 10 + 5), Nanos(10))).collect();
        assert_eq!(on, [false, true, true, false, false, true, true, false]);
    }

    #[test]
    fn nothing_and_everything() {
        let trace = Ids::new(Propagation::default()).trace(Timestamp(1));
        let of =
            |share| Sampler::new(Sampling::Share(share), 1, 1, Timestamp(0)).decide(&trace, 0, Timestamp(1));
        assert_eq!(of(0.0), (false, Threshold::ALWAYS));
        assert_eq!(of(1.0), (true, Threshold::ALWAYS));
    }

    proptest! {
        #[test]
        fn the_cap_is_used_and_no_more(rates in proptest::collection::vec(0.0f64..100.0, 1..20), cap in 0.1f64..500.0) {
            match level(&rates, cap) {
                None => prop_assert!(rates.iter().sum::<f64>() <= cap),
                Some(level) => {
                    let used: f64 = rates.iter().map(|r| r.min(level)).sum();
                    prop_assert!((used - cap).abs() < 1e-6, "{used} of {cap}");
                }
            }
        }
    }
}
