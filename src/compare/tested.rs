//! From measured quantiles to tested changes: rows of runs, the tests over all of them, and a verdict for each.

use super::contrast::{Design, Estimate, Row, Tables, moderated};
use super::machine;
use super::outcome::{Change, Verdict};
use super::settings::{CONFIDENCE, NARROWEST, POWER, SHORTEST_MS, Settings, VALUES_MIN};
use super::summary::Times;
use crate::stats::{down_the_tree, median};

/// The row of a quantile of something that each run may have; none where it is too short or too seldom to test.
pub(super) fn row(base: &[Option<Times>], head: &[Option<Times>], quantile: usize) -> Option<Row> {
    let value = |times: &Option<Times>| match times {
        Some(t) if t.n >= VALUES_MIN[quantile] => [t.p50, t.p95, t.p25][quantile],
        _ => f64::NAN,
    };
    let (base_widths, head_widths) = (widths(base, quantile), widths(head, quantile));
    let known: Vec<f64> = base_widths.iter().chain(&head_widths).copied().filter(|w| w.is_finite()).collect();
    let width = known.iter().map(|width| width.ln()).sum::<f64>() / known.len() as f64;
    let base: Vec<f64> = base.iter().map(value).collect();
    let head: Vec<f64> = head.iter().map(value).collect();
    let mut known: Vec<f64> = base.iter().chain(&head).copied().filter(|v| v.is_finite()).collect();
    (median(&mut known)? >= SHORTEST_MS).then(|| Row {
        width,
        base_widths,
        head_widths,
        ..Row::logs(base, head)
    })
}

/// How densely values lie about a quantile, in each run: its noise goes with that. Median over lower quartile for these two, 95th
/// percentile over median for that one, and for all of reports without lower quartiles. NaN where a run does not tell.
fn widths(runs: &[Option<Times>], quantile: usize) -> Vec<f64> {
    let width = |times: &Option<Times>| {
        let t = times.as_ref()?;
        let (low, high) = if quantile == 1 || t.p25 <= 0.0 { (t.p50, t.p95) } else { (t.p25, t.p50) };
        (low > 0.0).then(|| (high / low - 1.0).max(NARROWEST))
    };
    runs.iter().map(|times| width(times).unwrap_or(f64::NAN)).collect()
}

/// Geometric mean of what is above zero.
fn middle(logs: &[f64]) -> f64 {
    let known: Vec<f64> = logs.iter().copied().filter(|v| v.is_finite()).collect();
    if known.is_empty() { 0.0 } else { (known.iter().sum::<f64>() / known.len() as f64).exp() }
}

/// A change, once it is known whether the tests rejected it.
pub(super) fn change(
    row: &Row,
    estimate: &Estimate,
    tests: Tests,
    settings: &Settings,
    tables: &mut Tables,
) -> Change {
    let (low, high) = estimate.interval(tests.confidence, tables);
    let (base_ms, head_ms) = (middle(&row.base), middle(&row.head));
    let by_ms = (base_ms * estimate.by.exp_m1()).abs();
    let least = settings.least();
    let counts = estimate.by.abs() >= least && by_ms >= settings.min_change_ms;
    let verdict = if tests.slower && counts && estimate.by > 0.0 {
        Verdict::Regressed
    } else if tests.faster && counts && estimate.by < 0.0 {
        Verdict::Improved
    } else if low >= -least && high <= least {
        Verdict::Same
    } else {
        Verdict::CannotTell
    };
    Change {
        base_ms,
        head_ms,
        ratio: estimate.by.exp(),
        low: low.exp(),
        high: high.exp(),
        slower_by_chance: estimate.slower_by_chance(),
        detectable: estimate.detectable(tests.level, POWER, tables).max(least).exp(),
        verdict,
    }
}

/// What the tests of a value came to, and how strict they were.
#[derive(Clone, Copy)]
pub(super) struct Tests {
    pub slower: bool,
    pub faster: bool,
    pub level: f64,
    pub confidence: f64,
}

/// The differences of the same quantile of many things, without what the machine did, and with variances that know of each other.
pub(super) fn estimated(
    rows: &[Option<&Row>],
    common: Option<&Row>,
    design: Design,
) -> Vec<Option<Estimate>> {
    let alone = |row: &Row| Some((row.difference(design)?, row.known()));
    moderated(&match common {
        Some(factor) => machine::without(rows, factor, design),
        None => rows.iter().map(|row| row.and_then(alone)).collect(),
    })
}

/// Families of rows, each with the quantiles of one thing, tested down the tree in both directions.
pub(super) fn tested<const N: usize>(
    families: &[[Option<Row>; N]],
    estimates: &[[Option<Estimate>; N]],
    settings: &Settings,
) -> Vec<[Option<Change>; N]> {
    let ps = |of: fn(&Estimate) -> f64| -> Vec<Vec<f64>> {
        estimates.iter().map(|family| family.iter().flatten().map(of).collect()).collect()
    };
    // Families with nothing to test are no hypotheses.
    let there: Vec<usize> =
        (0..families.len()).filter(|i| estimates[*i].iter().any(Option::is_some)).collect();
    let only = |ps: Vec<Vec<f64>>| -> Vec<Vec<f64>> { there.iter().map(|i| ps[*i].clone()).collect() };
    let slower = down_the_tree(&only(ps(Estimate::slower_by_chance)), settings.false_discovery);
    let faster = down_the_tree(&only(ps(Estimate::faster_by_chance)), settings.false_discovery);
    let found = slower.iter().filter(|leaves| leaves.iter().any(|r| *r)).count().max(1);
    let level = settings.false_discovery * found as f64 / there.len().max(1) as f64;
    let mut out = vec![[None; N]; families.len()];
    let mut tables = Tables::default();
    for (place, family) in there.into_iter().enumerate() {
        let mut leaf = 0;
        for column in 0..N {
            let (Some(row), Some(estimate)) = (&families[family][column], &estimates[family][column]) else {
                continue;
            };
            let tests = Tests {
                slower: slower[place][leaf],
                faster: faster[place][leaf],
                level,
                confidence: CONFIDENCE,
            };
            out[family][column] = Some(change(row, estimate, tests, settings, &mut tables));
            leaf += 1;
        }
    }
    out
}

/// The worst of some changes.
pub(super) fn worst<'a>(changes: impl Iterator<Item = &'a Option<Change>>) -> Verdict {
    let verdicts: Vec<Verdict> = changes.flatten().map(|c| c.verdict).collect();
    let has = |v| verdicts.contains(&v);
    match () {
        () if has(Verdict::Regressed) => Verdict::Regressed,
        () if has(Verdict::Improved) => Verdict::Improved,
        () if verdicts.is_empty() || has(Verdict::CannotTell) => Verdict::CannotTell,
        () => Verdict::Same,
    }
}
