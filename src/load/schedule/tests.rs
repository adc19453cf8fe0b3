use super::arrivals::ARRIVAL;
use super::*;
use crate::scenario::{CurvePoint, Spacing};
use proptest::prelude::*;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

fn rate(per_second: u64, ramp_s: u64, hold_s: u64) -> Stage {
    Stage::Rate {
        rate: Rate::per_second(per_second),
        ramp: Nanos(ramp_s * SECOND),
        hold: Nanos(hold_s * SECOND),
    }
}

fn users(users: u32, ramp_s: u64, hold_s: u64) -> Stage {
    Stage::Users { users, ramp: Nanos(ramp_s * SECOND), hold: Nanos(hold_s * SECOND) }
}

fn stream(stages: &[Stage]) -> Stream {
    spaced(stages, Spacing::Even)
}

fn spaced(stages: &[Stage], spacing: Spacing) -> Stream {
    Stream::new(&LoadPlan { stages: stages.to_vec(), spacing, search: None }, vec![0], 0, 7)
}

fn due(stages: &[Stage]) -> Vec<u64> {
    let arrivals = stream(stages).arrivals;
    (0..arrivals.count()).map(|n| arrivals.due(n).unwrap().0).collect()
}

/// All arrivals as a load thread meets them.
fn met(arrivals: &Arrivals, timeline: &Timeline, share: (u64, u64)) -> Vec<(u64, u64)> {
    let mut cursor = Cursor::default();
    std::iter::from_fn(|| match cursor.next(arrivals, timeline, share) {
        Next::Due(number, at) => Some((number, at.0)),
        Next::Standing | Next::Over => None,
    })
    .collect()
}

#[test]
fn a_constant_rate_is_evenly_spaced_from_the_first_moment() {
    assert_eq!(due(&[rate(4, 0, 1)]), [0, SECOND / 4, SECOND / 2, 3 * SECOND / 4]);
    let thirds = due(&[rate(3, 0, 2)]);
    assert_eq!(thirds, [0, 333_333_334, 666_666_667, SECOND, 1_333_333_334, 1_666_666_667]);
}

#[test]
fn a_ramp_integrates_exactly() {
    // 0 → 8/s in 2 s: N(t) = 2t², so arrival n is due at √(n/2) s; 8 arrivals.
    let expected: Vec<u64> = (0..8).map(|n| ((n as f64 / 2.0).sqrt() * 1e9).ceil() as u64).collect();
    assert_eq!(due(&[rate(8, 2, 0)]), expected);
}

#[test]
fn a_ramp_down_mirrors_a_ramp_up() {
    // 8/s → 0 in 2 s: N(t) = 8t − 2t²; arrival n at 2 − √(4 − n/2) s.
    let stages = [rate(8, 0, 1), rate(0, 2, 0)];
    let expected: Vec<u64> =
        (0..8).map(|n| SECOND + ((2.0 - (4.0 - n as f64 / 2.0).sqrt()) * 1e9).ceil() as u64).collect();
    assert_eq!(due(&stages)[8..], expected);
}

#[test]
fn stages_follow_each_other_without_losing_an_arrival() {
    // Half an arrival of the first stage is carried into the second.
    let stages = [
        Stage::Rate { rate: Rate::per_second(1), ramp: Nanos::ZERO, hold: Nanos(SECOND / 2 + SECOND) },
        rate(2, 0, 1),
    ];
    assert_eq!(due(&stages), [0, SECOND, 3 * SECOND / 2 + SECOND / 4, 3 * SECOND / 2 + 3 * SECOND / 4]);
}

#[test]
fn a_closed_stage_between_is_a_pause_of_arrivals() {
    let stages = [rate(2, 0, 1), users(3, 0, 5), rate(2, 0, 1)];
    assert_eq!(due(&stages), [0, SECOND / 2, 6 * SECOND, 6 * SECOND + SECOND / 2]);
    let schedule = Schedule { streams: vec![stream(&stages)] };
    assert_eq!(schedule.end(), Nanos(7 * SECOND));
    assert_eq!(schedule.streams[0].users.intervals(2), [(Nanos(SECOND), Nanos(6 * SECOND))]);
    assert_eq!([0, 1, 6, 7, 99].map(|s| schedule.stage_at(Nanos(s * SECOND))), [0, 1, 2, 2, 2]);
}

#[test]
fn a_year_at_a_million_per_second_does_not_overflow() {
    let year = Nanos(365 * 86_400 * SECOND);
    let stage = Stage::Rate { rate: Rate::per_second(1_000_000), ramp: year, hold: Nanos::ZERO };
    let arrivals = stream(&[stage]).arrivals;
    let count = arrivals.count();
    assert_eq!(count, 365 * 86_400 * 1_000_000 / 2);
    assert!(arrivals.due(count - 1).unwrap() < year);
}

#[test]
fn users_come_and_go_linearly() {
    let schedule = stream(&[users(4, 4, 6), users(2, 2, 1)]);
    let of = |n| schedule.users.intervals(n);
    assert_eq!(of(0), [(Nanos(0), Nanos(13 * SECOND))]);
    assert_eq!(of(1), [(Nanos(SECOND), Nanos(13 * SECOND))]);
    assert_eq!(of(2), [(Nanos(2 * SECOND), Nanos(12 * SECOND))]);
    assert_eq!(of(3), [(Nanos(3 * SECOND), Nanos(11 * SECOND))]);
    assert_eq!(of(4), []);
    assert_eq!(schedule.users.most(), 4);
    let present = |s: u64| schedule.users.present(Nanos(s * SECOND));
    assert_eq!([0, 1, 3, 9, 11, 12, 13].map(present), [1, 2, 4, 4, 3, 2, 0]);
}

#[test]
fn all_users_come_at_once_without_a_ramp() {
    let schedule = stream(&[users(3, 0, 1)]);
    assert!((0..3).all(|n| schedule.users.intervals(n) == [(Nanos(0), Nanos(SECOND))]));
}

/// The slow oracle: the first nanosecond at which the work is done, by bisection over the whole schedule.
fn oracle(arrivals: &Arrivals, n: u64, end: u64) -> u64 {
    let segments = arrivals.segments();
    let done = |t: u64| {
        let begun = segments.iter().filter(|s| s.start <= t);
        begun.map(|s| s.work((t - s.start).min(s.length))).sum::<u128>()
    };
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if done(middle) >= u128::from(n) * ARRIVAL { high = middle } else { low = middle + 1 }
    }
    // Work that is done at the very end of a stage is due when there is a rate again.
    let mut active = segments.iter().filter(|s| s.from > 0 || s.to > 0);
    active.find(|s| s.start + s.length > low).map_or(low, |s| low.max(s.start))
}

proptest! {
    #[test]
    fn due_times_are_ordered_and_agree_with_the_oracle(
        stages in proptest::collection::vec((0u64..50, 0u64..4, 0u64..4), 1..5)
    ) {
        let stages: Vec<Stage> = stages.into_iter().map(|(r, ramp, hold)| rate(r, ramp, hold)).collect();
        let schedule = stream(&stages);
        let mut last = 0;
        for n in 0..schedule.arrivals.count() {
            let due = schedule.arrivals.due(n).unwrap().0;
            prop_assert!(due >= last && due < schedule.end().0, "arrival {n} at {due}");
            last = due;
            prop_assert_eq!(due, oracle(&schedule.arrivals, n, schedule.end().0));
        }
        prop_assert_eq!(schedule.arrivals.due(schedule.arrivals.count()), None);
    }
}

#[test]
fn a_curve_is_integrated_exactly() {
    // 0 → 10/s → 0 in 4 s: 20 arrivals, and those of a ramp up and down.
    let point = |s: u64, rate: u64| CurvePoint { at: Nanos(s * SECOND), rate: Rate::per_second(rate) };
    let points: Arc<[CurvePoint]> = Arc::from([point(0, 0), point(2, 10), point(4, 0)]);
    let curve = Stage::Curve { points, hold: Nanos(4 * SECOND) };
    assert_eq!(due(std::slice::from_ref(&curve)), due(&[rate(10, 2, 0), rate(0, 2, 0)]));
    assert_eq!(stream(&[curve, rate(0, 2, 0)]).end(), Nanos(6 * SECOND));
}

#[test]
fn listed_moments_are_replayed_as_they_are() {
    let times: Arc<[Nanos]> = Arc::from([0, 5, 5, 9].map(Nanos));
    let replay = Stage::Replay { times, hold: Nanos(SECOND) };
    let stages = [rate(2, 0, 1), replay, rate(1, 0, 1)];
    let at = SECOND;
    assert_eq!(due(&stages), [0, SECOND / 2, at, at + 5, at + 5, at + 9, 2 * SECOND]);
    let arrivals = stream(&stages).arrivals;
    let numbered: Vec<(u64, u64)> =
        due(&stages).into_iter().enumerate().map(|(n, t)| (n as u64, t)).collect();
    assert_eq!(met(&arrivals, &Timeline::default(), (0, 1)), numbered);
    assert_eq!(arrivals.due(7), None);
}

#[test]
fn poisson_arrivals_are_as_many_as_the_rate_says_and_exponentially_spaced() {
    let stages = [rate(1_000, 0, 100)];
    let arrivals = spaced(&stages, Spacing::Poisson).arrivals;
    let all = met(&arrivals, &Timeline::default(), (0, 1));
    let n = all.len() as f64;
    // Standard deviation of the count is √100,000 = 316.
    assert!((n - 100_000.0).abs() < 5.0 * 316.3, "{n}");
    let gaps: Vec<f64> = all.windows(2).map(|w| (w[1].1 - w[0].1) as f64 / 1e6).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {} of mean {mean}", variance.sqrt());
    let above_mean = gaps.iter().filter(|g| **g > 1.0).count() as f64 / gaps.len() as f64;
    assert!((above_mean - (-1f64).exp()).abs() < 0.01, "{above_mean}");
    assert_eq!(arrivals.due(500), Some(Nanos(all[500].1)));
    let again = met(&spaced(&stages, Spacing::Poisson).arrivals, &Timeline::default(), (0, 1));
    assert_eq!(all, again, "the same seed gives the same arrivals");
}

#[test]
fn loads_of_several_journeys_have_users_of_their_own() {
    let plan = |stages: &[Stage]| LoadPlan { stages: stages.to_vec(), ..LoadPlan::default() };
    let streams = vec![
        Stream::new(&plan(&[users(3, 0, 2)]), vec![0], 0, 1),
        Stream::new(&plan(&[users(2, 0, 9), rate(5, 0, 1)]), vec![1, 2], 3, 1),
    ];
    let schedule = Schedule { streams };
    assert_eq!((schedule.most_users(), schedule.end()), (5, Nanos(10 * SECOND)));
    assert_eq!([(0, 0), (1, 0), (0, 1), (1, 1)].map(|(s, n)| schedule.user_of(s, n)), [5, 6, 7, 8]);
    assert_eq!([0, 2, 9, 99].map(|s| schedule.next_stage(Nanos(s * SECOND)).0 / SECOND), [2, 9, 10, 10]);
}

#[test]
fn a_pause_shifts_what_is_due_after_it() {
    let arrivals = stream(&[rate(2, 0, 3)]).arrivals;
    let mut timeline = Timeline::default();
    timeline.change(Nanos(SECOND * 6 / 5), Change::Pause);
    assert_eq!(met(&arrivals, &timeline, (0, 1)).len(), 3, "nothing is due while it stands");
    timeline.change(Nanos(SECOND * 6 / 5 + 10 * SECOND), Change::Resume);
    let due: Vec<u64> = met(&arrivals, &timeline, (0, 1)).iter().map(|a| a.1).collect();
    let half = SECOND / 2;
    assert_eq!(
        due,
        [0, half, 2 * half, 3 * half + 10 * SECOND, 4 * half + 10 * SECOND, 5 * half + 10 * SECOND]
    );
}

#[test]
fn a_factor_scales_the_rate_from_its_moment_on() {
    let arrivals = stream(&[rate(4, 0, 4)]).arrivals;
    let mut timeline = Timeline::default();
    // At 1.125 s half of the time to the next arrival is over: at twice the rate, half as long is left.
    timeline.change(Nanos(1_125_000_000), Change::Factor(2_000_000));
    timeline.change(Nanos(2 * SECOND), Change::Factor(1_000_000));
    timeline.change(Nanos(2 * SECOND), Change::Jump(Nanos(3 * SECOND + SECOND / 2)));
    let due: Vec<u64> = met(&arrivals, &timeline, (0, 1)).iter().map(|a| a.1 / 1_000_000).collect();
    // 1187.5, 1312.5, … by the doubled rate; from 2 s on the last half second of the schedule.
    assert_eq!(due[..5], [0, 250, 500, 750, 1000]);
    assert_eq!(due[5..12], [1187, 1312, 1437, 1562, 1687, 1812, 1937]);
    assert_eq!(due[12..], [2125, 2375]);
}

proptest! {
    #[test]
    fn threads_share_all_arrivals_whatever_was_changed(
        stages in proptest::collection::vec((0u64..60, 0u64..3, 0u64..3), 1..4),
        changes in proptest::collection::vec((0u64..12_000, 0u8..4, 1u32..4_000), 0..6),
        poisson in any::<bool>(),
    ) {
        let stages: Vec<Stage> = stages.into_iter().map(|(r, ramp, hold)| rate(r, ramp, hold)).collect();
        let spacing = if poisson { Spacing::Poisson } else { Spacing::Even };
        let arrivals = spaced(&stages, spacing).arrivals;
        let mut timeline = Timeline::default();
        let mut at = 0;
        for (after, what, number) in changes {
            at += after * 1_000_000;
            timeline.change(Nanos(at), match what {
                0 => Change::Factor(number * 1_000),
                1 => Change::Pause,
                2 => Change::Resume,
                _ => Change::Jump(Nanos(u64::from(number) * 2_000_000)),
            });
        }
        let whole = met(&arrivals, &timeline, (0, 1));
        let mut parts: Vec<(u64, u64)> = (0..3).flat_map(|i| met(&arrivals, &timeline, (i, 3))).collect();
        parts.sort_unstable();
        prop_assert_eq!(&parts, &whole);
        prop_assert!(whole.windows(2).all(|w| w[0].1 <= w[1].1 && w[0].0 + 1 == w[1].0), "{whole:?}");
        // A thread that learns of a change just before it takes effect does the same as one that knew all along.
        let mut known = Timeline::default();
        let mut cursor = Cursor::default();
        let mut seen = Vec::new();
        for next in timeline.pieces().iter().skip(1).map(|p| p.real).chain([Nanos(u64::MAX)]) {
            loop {
                let mut ahead = cursor;
                match ahead.next(&arrivals, &known, (0, 1)) {
                    Next::Due(number, at) if at < next => {
                        cursor = ahead;
                        seen.push((number, at.0));
                    }
                    _ => break,
                }
            }
            known = timeline.until(next);
        }
        prop_assert_eq!(seen, whole);
    }
}
