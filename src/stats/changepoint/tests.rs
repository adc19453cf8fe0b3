//! Simulations with limits that hold by a wide margin: `cargo bench --bench history -- table` has the figures.

use super::*;
use crate::stats::Random;

fn noise(random: &mut Random, n: usize, memory: f64) -> Vec<f64> {
    let mut last = random.normal();
    (0..n)
        .map(|_| {
            last = memory * last + (1.0 - memory * memory).sqrt() * random.normal();
            last
        })
        .collect()
}

const ANY: Sensitivity = Sensitivity { alpha: 0.02, effect: 0.0 };

#[test]
fn series_without_a_change_are_quiet() {
    for (n, memory) in [(30, 0.0), (100, 0.0), (100, 0.3), (100, 0.6)] {
        let mut random = Random::new(1);
        let alarms =
            (0..300).filter(|_| !changes(&noise(&mut random, n, memory), ANY).points.is_empty()).count();
        assert!(alarms <= 12, "{n} runs, memory {memory}: {alarms} of 300");
    }
}

#[test]
fn a_step_of_three_deviations_is_found_after_five_runs() {
    let mut random = Random::new(2);
    let (mut found, mut covered) = (0, 0);
    for _ in 0..200 {
        let mut series = noise(&mut random, 60, 0.0);
        series[55..].iter_mut().for_each(|v| *v += 3.0);
        let points = changes(&series, ANY).points;
        if let Some(point) = points.iter().find(|p| p.at.abs_diff(55) <= 1) {
            found += 1;
            covered += usize::from(point.earliest <= 55 && 55 <= point.latest);
            assert!(point.before < point.after && point.low < point.shift() && point.shift() < point.high);
        }
    }
    assert!(found >= 180 && covered >= found * 9 / 10, "{found} found, {covered} of them in range");
}

#[test]
fn lone_outliers_are_no_change() {
    let mut random = Random::new(3);
    let alarms = (0..200)
        .filter(|_| {
            let mut series = noise(&mut random, 60, 0.0);
            for _ in 0..3 {
                let at = random.below(60);
                series[at] += 30.0;
            }
            !changes(&series, ANY).points.is_empty()
        })
        .count();
    assert!(alarms <= 12, "{alarms} of 200");
}

#[test]
fn two_changes_that_cancel_are_both_found() {
    let mut random = Random::new(4);
    let found = (0..50)
        .filter(|_| {
            let mut series = noise(&mut random, 120, 0.0);
            series[50..75].iter_mut().for_each(|v| *v += 3.0);
            let points = changes(&series, ANY).points;
            points.len() == 2 && points[0].at.abs_diff(50) <= 3 && points[1].at.abs_diff(75) <= 3
        })
        .count();
    assert!(found >= 45, "{found} of 50");
}

#[test]
fn small_changes_do_not_count_and_levels_are_those_that_are_left() {
    let series: Vec<f64> = (0..60)
        .map(|i| {
            if i < 20 {
                1.0
            } else if i < 40 {
                1.004
            } else {
                2.0
            }
        })
        .collect();
    let points = changes(&series, Sensitivity { effect: 0.01, ..ANY }).points;
    assert_eq!(points.len(), 1, "{points:?}");
    assert_eq!(points[0].at, 40);
    assert!((points[0].before - 1.002).abs() < 1e-6 && (points[0].after - 2.0).abs() < 1e-6, "{points:?}");
}

#[test]
fn nothing_is_said_of_little_or_of_nothing() {
    for series in [vec![], vec![1.0; FEWEST - 1], vec![3.0; 200], vec![f64::NAN; 40]] {
        let found = changes(&series, ANY);
        assert!(found.points.is_empty() && (found.p > 0.3), "{found:?}");
    }
}

#[test]
fn windows_cover_the_series() {
    for n in [12, 30, 48, 60, 100, 141, 300, 1_001] {
        for (from, to) in windows(n) {
            assert!(from < to && to <= n && to - from >= WINDOW, "{n}: {from}..{to}");
        }
        assert!(n < 48 || windows(n).iter().any(|(_, to)| *to == n), "{n}");
    }
}
