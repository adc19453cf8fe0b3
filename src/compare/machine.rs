//! What the machine did, taken out of each operation as far as the operation felt it.
//!
//! A busy machine makes a calculation of half a millisecond much longer and a wait of forty hardly at all. So what is common to
//! all (the median over operations, in each pair or run) is not simply subtracted: that would carry the noise of the first into
//! the second. How far an operation follows it is a slope, 1 unless its runs say otherwise: each operation's own slope is a guess
//! from few runs, and is believed as far as operations differ in theirs more than chance explains (a random coefficient,
//! estimated as by DerSimonian and Laird 1986). Where all follow alike this is the subtraction and costs nothing.

use super::contrast::{Design, Difference, Row};
use super::weights;
use crate::stats::Prior;

/// Fewer operations do not show how differently they follow.
const SLOPES_FROM: usize = 10;
/// Degrees of freedom that a slope is fitted with at least: three pairs tell a slope, and not how far off it is.
const SLOPE_DF: f64 = 3.0;
/// An operation that never saw the machine differs from one that follows it fully by 1; more is noise.
const DIFFERENCE_MAX: f64 = 1.0;

/// So many standard deviations above what chance makes of them slopes must differ to be believed at all: a machine that does the
/// same to all is the rule, and where it holds a slope for each would cost what little is known of variances.
const SURE: f64 = 3.0;
/// Variance of the square of one slope's error over its expected size: 2 for a normal one, more for the t of few runs.
const SQUARES: f64 = 6.0;

/// Sums over an operation's pairs, or over its runs within their sides, of itself (y) and the factor (x).
pub(super) struct Sums {
    /// Differences of the sides' means.
    y: f64,
    x: f64,
    yy: f64,
    xy: f64,
    xx: f64,
    scale: f64,
    df: f64,
    known: [f64; 2],
}

impl Sums {
    pub fn of(row: &Row, factor: &Row, design: Design) -> Option<Sums> {
        let known = |mine: &[f64], common: &[f64], weights: Vec<f64>| -> Vec<(f64, f64, f64)> {
            let weights = weights.into_iter().chain(std::iter::repeat(1.0));
            let all = mine.iter().zip(common).zip(weights).map(|((y, x), w)| (*y, *x, w));
            all.filter(|(y, x, _)| y.is_finite() && x.is_finite()).collect()
        };
        let less = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let groups = match design {
            Design::Paired => {
                let weights = weights::of_pairs(&row.base_widths, &row.head_widths);
                vec![known(&less(&row.head, &row.base), &less(&factor.head, &factor.base), weights)]
            }
            Design::Unpaired => vec![
                known(&row.base, &factor.base, weights::of_runs(&row.base_widths)),
                known(&row.head, &factor.head, weights::of_runs(&row.head_widths)),
            ],
        };
        let mut sums =
            Sums { y: 0.0, x: 0.0, yy: 0.0, xy: 0.0, xx: 0.0, scale: 0.0, df: 0.0, known: row.known() };
        for group in groups {
            if group.is_empty() {
                return None;
            }
            let runs = group.len() as f64;
            let (n, squares) = group.iter().fold((0.0, 0.0), |(n, s), v| (n + v.2, s + v.2 * v.2));
            // The variance of one that counts fully, and of the mean, as if all were equally noisy: a run that counts less is that
            // at least, so neither is guessed too small.
            let all = if runs > 1.0 { (runs - 1.0) / (n - squares / n) } else { 1.0 };
            let (y, x) = group.iter().fold((0.0, 0.0), |(y, x), v| (y + v.2 * v.0 / n, x + v.2 * v.1 / n));
            // Head less base: the last group less the one before it.
            (sums.y, sums.x) = (y - sums.y, x - sums.x);
            for (own, common, w) in group {
                let (dy, dx, w) = (own - y, common - x, all * w);
                (sums.yy, sums.xy, sums.xx) =
                    (sums.yy + w * dy * dy, sums.xy + w * dy * dx, sums.xx + w * dx * dx);
            }
            sums.scale += squares / (n * n);
            sums.df += runs - 1.0;
        }
        Some(sums)
    }

    /// The slope that fits best, and what is left of the variance then; none where the factor stood still or runs are few.
    fn slope(&self) -> Option<(f64, f64)> {
        let slope = self.xy / self.xx;
        (self.df >= SLOPE_DF && self.xx > 0.0)
            .then(|| (slope, (self.yy - slope * self.xy).max(0.0) / (self.df - 1.0)))
    }

    /// The difference at slope 1 and a part of the way from there to the best one. That part costs as much of a degree of freedom.
    pub fn difference(&self, part: f64) -> Difference {
        let best = self.slope().map_or(1.0, |(slope, _)| slope);
        let slope = 1.0 + part * (best - 1.0);
        let squares = (self.yy - 2.0 * slope * self.xy + slope * slope * self.xx).max(0.0);
        let df = self.df - part;
        let variance = if df > 0.0 { squares / df } else { 0.0 };
        let of_slope = if part > 0.0 { part * self.x * self.x / self.xx } else { 0.0 };
        Difference { by: self.y - slope * self.x, variance, scale: self.scale + of_slope, df }
    }
}

/// The differences of rows without what the machine did, each with what is known of it.
pub(super) fn without(
    rows: &[Option<&Row>],
    factor: &Row,
    design: Design,
) -> Vec<Option<(Difference, [f64; 2])>> {
    let sums: Vec<Option<Sums>> = rows.iter().map(|row| Sums::of((*row)?, factor, design)).collect();
    let parts = parts(&sums);
    sums.iter()
        .zip(parts)
        .map(|(sums, part)| sums.as_ref().map(|sums| (sums.difference(part), sums.known)))
        .collect()
}

/// How far the own slope of each is believed, from 0 to 1.
fn parts(sums: &[Option<Sums>]) -> Vec<f64> {
    let slopes: Vec<Option<(f64, f64)>> = sums.iter().map(|s| s.as_ref()?.slope()).collect();
    let none = vec![0.0; sums.len()];
    let fitted = || sums.iter().zip(&slopes).filter_map(|(s, slope)| Some((s.as_ref()?, (*slope)?)));
    let seen: Vec<(f64, f64)> = fitted().map(|(s, (_, variance))| (variance, s.df - 1.0)).collect();
    if seen.len() < SLOPES_FROM {
        return none;
    }
    let known: Vec<[f64; 2]> = fitted().map(|(s, _)| s.known).collect();
    let priors = Prior::along(&seen, &known);
    // How sure each slope is: the variance of its error.
    let mut errors = fitted().zip(&seen).zip(priors).map(|(((s, _), (variance, df)), prior)| {
        let (variance, df) = prior.moderate(*variance, *df);
        // Squares of Student's t are larger than 1 on average.
        (variance / s.xx, if df.is_infinite() { 1.0 } else { df / (df - 2.0).max(0.5 * df) })
    });
    let errors: Vec<Option<(f64, f64)>> = slopes.iter().map(|s| s.and_then(|_| errors.next())).collect();
    let (mut weighed, mut by_chance, mut weights) = (0.0, 0.0, 0.0);
    for (slope, error) in slopes.iter().zip(&errors) {
        if let (Some((slope, _)), Some((error, chance))) = (slope, error)
            && *error > 0.0
        {
            weighed += (slope - 1.0).powi(2) / error;
            by_chance += chance;
            weights += 1.0 / error;
        }
    }
    let between =
        if weights > 0.0 { ((weighed - by_chance) / weights).clamp(0.0, DIFFERENCE_MAX) } else { 0.0 };
    if between <= 0.0 || weighed - by_chance < SURE * (SQUARES * seen.len() as f64).sqrt() {
        return none;
    }
    errors.iter().map(|error| error.map_or(0.0, |(error, _)| between / (between + error))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::contrast::{common_factor, moderated};
    use super::*;
    use crate::stats::Random;

    /// Nineteen operations that do as the machine does, and one that does not; the last is slower by 0.1 in head.
    fn rows(random: &mut Random, pairs: usize) -> Vec<Row> {
        let machine: Vec<f64> = (0..2 * pairs).map(|_| 0.3 * random.normal()).collect();
        let calculates = |random: &mut Random| {
            let of = |run: usize, random: &mut Random| machine[run] + 0.05 * random.normal();
            let base = (0..pairs).map(|k| of(2 * k, random)).collect();
            let head = (0..pairs).map(|k| of(2 * k + 1, random)).collect();
            Row { base, head, width: 0.0, ..Row::default() }
        };
        let mut rows: Vec<Row> = (0..19).map(|_| calculates(random)).collect();
        let waits = |more: f64, random: &mut Random| {
            (0..pairs).map(|_| 3.7 + more + 0.003 * random.normal()).collect::<Vec<f64>>()
        };
        rows.push(Row { base: waits(0.0, random), head: waits(0.1, random), width: -3.0, ..Row::default() });
        rows
    }

    #[test]
    fn what_does_not_feel_the_machine_keeps_its_own_difference() {
        for (design, pairs) in [(Design::Paired, 5), (Design::Paired, 10), (Design::Unpaired, 6)] {
            let rows = rows(&mut Random::new(4), pairs);
            let factor = common_factor(rows.iter(), design).unwrap();
            let there: Vec<Option<&Row>> = rows.iter().map(Some).collect();
            let found: Vec<_> = moderated(&without(&there, &factor, design)).into_iter().flatten().collect();
            let waits = found[19];
            assert!((waits.by - 0.1).abs() < 0.02 && waits.error < 0.03, "{design:?} {pairs}: {waits:?}");
            assert!(waits.slower_by_chance() < 0.01, "{design:?} {pairs}: {waits:?}");
            let others = found[..19].iter().map(|e| e.by.abs()).sum::<f64>() / 19.0;
            assert!(others < 0.06, "what the machine did is out of the others: {others}");
        }
    }

    #[test]
    fn where_all_follow_alike_nothing_but_the_factor_is_taken_out() {
        let rows = &rows(&mut Random::new(9), 5)[..19];
        let factor = common_factor(rows.iter(), Design::Paired).unwrap();
        let there: Vec<Option<&Row>> = rows.iter().map(Some).collect();
        for (row, out) in rows.iter().zip(without(&there, &factor, Design::Paired)) {
            let less: Vec<f64> = (0..5).map(|k| row.head[k] - row.base[k] - factor.head[k]).collect();
            let mean = less.iter().sum::<f64>() / 5.0;
            let out = out.unwrap().0;
            assert!(
                (out.by - mean).abs() < 1e-12 && out.df == 4.0 && (out.scale - 0.2).abs() < 1e-12,
                "{out:?}"
            );
        }
    }

    #[test]
    fn three_pairs_show_no_slope_and_a_factor_that_stands_still_none_either() {
        let rows = rows(&mut Random::new(2), 3);
        let factor = common_factor(rows.iter(), Design::Paired).unwrap();
        let there: Vec<Option<&Row>> = rows.iter().map(Some).collect();
        assert!(without(&there, &factor, Design::Paired).iter().flatten().all(|(d, _)| d.df == 2.0));
        let still = Row { base: vec![0.0; 3], head: vec![0.2; 3], width: f64::NAN, ..Row::default() };
        let out = without(&[Some(&rows[0]), None], &still, Design::Paired);
        assert!(out[0].unwrap().0.by.is_finite() && out[1].is_none());
    }
}
