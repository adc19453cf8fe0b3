//! Variances that know of each other. With five runs the variance of one operation is a guess from four degrees of freedom;
//! hundreds of operations together tell how large variances are and how much they differ, and each one's guess is drawn
//! towards theirs (G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
//! microarray experiments", 2004; the method of the Bioconductor package limma).

use super::median;
use super::student::{digamma, f_above, inverse_trigamma, trigamma};

/// Fewer variances than this say nothing about how variances differ.
const VARIANCES_MIN: usize = 4;
/// A variance far below the others (values that happen to be equal) counts as at least this part of their median.
const FLOOR: f64 = 1e-5;

/// Fewer variances than this show no trend.
const TREND_FROM: usize = 12;
/// A trend is taken where chance alone would explain as much more seldom than this.
const TREND_BY_CHANCE: f64 = 0.01;

/// What all variances together say of one before it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Its size.
    pub variance: f64,
    /// For how many degrees of freedom it stands: 0 where variances have nothing in common, infinite where they are all the same.
    pub df: f64,
}

impl Prior {
    /// Nothing known: each variance stands for itself.
    pub const NONE: Prior = Prior { variance: 0.0, df: 0.0 };

    /// From variances and their degrees of freedom, by the moments of their logarithms.
    pub fn of(variances: &[(f64, f64)]) -> Prior {
        let nothing = vec![[0.0; 2]; variances.len()];
        Prior::along(variances, &nothing).first().copied().unwrap_or(Prior::NONE)
    }

    /// The same along two things that are known of each, whatever came out: where variances go with them (short times with large
    /// ones), each has a prior of its own, from the plane through their logarithms (as limma's `trend`).
    pub fn along(variances: &[(f64, f64)], known: &[[f64; 2]]) -> Vec<Prior> {
        let none = || vec![Prior::NONE; variances.len()];
        let is_usable = |((variance, df), _): &(&(f64, f64), &[f64; 2])| {
            variance.is_finite() && *variance >= 0.0 && *df > 0.0
        };
        let usable: Vec<(&(f64, f64), &[f64; 2])> = variances.iter().zip(known).filter(is_usable).collect();
        let Some(middle) = median(&mut usable.iter().map(|(v, _)| v.0).collect::<Vec<f64>>()) else {
            return none();
        };
        if usable.len() < VARIANCES_MIN || middle <= 0.0 {
            return none();
        }
        // ln s² of a variance with d degrees of freedom has mean ln σ² + ψ(d/2) − ln(d/2) and variance ψ′(d/2).
        let freed = |(variance, df): &(f64, f64)| {
            variance.max(FLOOR * middle).ln() - digamma(df / 2.0) + (df / 2.0).ln()
        };
        let points: Vec<([f64; 2], f64)> = usable.iter().map(|(v, x)| (**x, freed(v))).collect();
        let plane = Plane::through(&points);
        let by_chance =
            usable.iter().map(|((_, df), _)| trigamma(df / 2.0)).sum::<f64>() / points.len() as f64;
        let own = plane.spread - by_chance;
        let (more, df) = if own <= 0.0 {
            (0.0, f64::INFINITY)
        } else {
            let half = inverse_trigamma(own);
            (digamma(half) - half.ln(), 2.0 * half)
        };
        known.iter().map(|x| Prior { variance: (plane.at(*x) + more).exp(), df }).collect()
    }

    /// A variance after it was seen, and its degrees of freedom.
    pub fn moderate(&self, variance: f64, df: f64) -> (f64, f64) {
        if self.df.is_infinite() {
            return (self.variance, f64::INFINITY);
        }
        let all = self.df + df;
        if all <= 0.0 {
            return (variance, 0.0);
        }
        ((self.df * self.variance + df * variance) / all, all)
    }
}

/// A plane through points, level where chance explains its slopes.
struct Plane {
    middle: ([f64; 2], f64),
    slopes: [f64; 2],
    /// From the least to the largest of the points' places: nothing is said of what lies beyond.
    range: [(f64, f64); 2],
    /// Variance of the points about it.
    spread: f64,
}

impl Plane {
    fn through(points: &[([f64; 2], f64)]) -> Plane {
        let n = points.len() as f64;
        // What is not known of a point lies in the middle.
        let column = |i: usize| {
            let known: Vec<f64> = points.iter().map(|p| p.0[i]).filter(|x| x.is_finite()).collect();
            let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
            let ends = known.iter().fold((mean, mean), |(low, high), x| (x.min(low), x.max(high)));
            (mean, ends)
        };
        let columns = [column(0), column(1)];
        let middle = (columns.map(|c| c.0), points.iter().map(|p| p.1).sum::<f64>() / n);
        let off = |x: f64, middle: f64| if x.is_finite() { x - middle } else { 0.0 };
        let centred: Vec<([f64; 2], f64)> = points
            .iter()
            .map(|(x, y)| ([off(x[0], middle.0[0]), off(x[1], middle.0[1])], y - middle.1))
            .collect();
        let sum = |of: &dyn Fn(&[f64; 2], f64) -> f64| centred.iter().map(|(x, y)| of(x, *y)).sum::<f64>();
        let all = sum(&|_, y| y * y);
        let level = Plane { middle, slopes: [0.0; 2], range: columns.map(|c| c.1), spread: all / (n - 1.0) };
        let (aa, bb, ab) = (sum(&|x, _| x[0] * x[0]), sum(&|x, _| x[1] * x[1]), sum(&|x, _| x[0] * x[1]));
        let (ay, by) = (sum(&|x, y| x[0] * y), sum(&|x, y| x[1] * y));
        // Of two that say the same, or where one is the same everywhere, the other does.
        let alone = |xx: f64, xy: f64| if xx > 1e-9 * n { xy / xx } else { 0.0 };
        let determinant = aa * bb - ab * ab;
        let slopes = if determinant > 1e-6 * aa * bb {
            [(bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant]
        } else if aa >= bb {
            [alone(aa, ay), 0.0]
        } else {
            [0.0, alone(bb, by)]
        };
        let left = (all - slopes[0] * ay - slopes[1] * by).max(0.0);
        let used = slopes.iter().filter(|slope| **slope != 0.0).count() as f64;
        let df = n - 1.0 - used;
        if points.len() < TREND_FROM || used == 0.0 {
            return level;
        }
        let by_chance = if left > 0.0 { f_above((all - left) / used / (left / df), used, df) } else { 0.0 };
        if by_chance < TREND_BY_CHANCE { Plane { slopes, spread: left / df, ..level } } else { level }
    }

    fn at(&self, x: [f64; 2]) -> f64 {
        let along = |i: usize| {
            let (low, high) = self.range[i];
            if x[i].is_finite() { self.slopes[i] * (x[i].clamp(low, high) - self.middle.0[i]) } else { 0.0 }
        };
        self.middle.1 + along(0) + along(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;
    use proptest::prelude::*;

    /// Variances of `n` samples of five, whose true variances come from a prior.
    fn drawn(n: usize, prior_df: f64, size: f64, random: &mut Random) -> Vec<(f64, f64)> {
        let chi2 =
            |df: f64, random: &mut Random| (0..df as usize).map(|_| random.normal().powi(2)).sum::<f64>();
        (0..n)
            .map(|_| {
                let truth = if prior_df > 0.0 { size * prior_df / chi2(prior_df, random) } else { size };
                (truth * chi2(4.0, random) / 4.0, 4.0)
            })
            .collect()
    }

    #[test]
    fn a_prior_is_found_again() {
        let mut random = Random::new(3);
        let prior = Prior::of(&drawn(20_000, 6.0, 0.04, &mut random));
        assert!((prior.df - 6.0).abs() < 0.5, "{prior:?}");
        assert!((prior.variance / 0.04 - 1.0).abs() < 0.05, "{prior:?}");
        // Equal variances: much is known, and each is drawn to the common one.
        let prior = Prior::of(&drawn(20_000, 0.0, 0.04, &mut random));
        assert!(prior.df > 100.0 && (prior.variance / 0.04 - 1.0).abs() < 0.05, "{prior:?}");
    }

    /// Variances that fall with the one thing and rise with the other; and some that go with neither.
    #[test]
    fn a_trend_is_found_and_none_is_made_up() {
        let mut random = Random::new(8);
        let plain = drawn(400, 0.0, 0.04, &mut random);
        let known: Vec<[f64; 2]> = plain.iter().map(|_| [4.0 * random.uniform(), random.normal()]).collect();
        let size = |x: &[f64; 2]| (0.5 * x[1] - x[0]).exp();
        let sloped: Vec<(f64, f64)> =
            plain.iter().zip(&known).map(|((v, df), x)| (v * size(x), *df)).collect();
        for ((prior, x), (_, df)) in Prior::along(&sloped, &known).iter().zip(&known).zip(&sloped) {
            assert!(*df == 4.0 && prior.df > 20.0, "{prior:?}");
            assert!((prior.variance / (0.04 * size(x)) - 1.0).abs() < 0.35, "{prior:?} at {x:?}");
        }
        let level = Prior::along(&plain, &known);
        assert_eq!(level[0], Prior::of(&plain));
        assert!(level.iter().all(|prior| *prior == level[0]));
        // What is not known of one lies in the middle; a dozen points are needed.
        let holes: Vec<[f64; 2]> = known.iter().map(|x| [x[0], f64::NAN]).collect();
        let priors = Prior::along(&sloped, &holes);
        assert!(priors.iter().all(|p| p.variance.is_finite() && p.variance > 0.0));
        assert_eq!(Prior::along(&sloped[..11], &known[..11])[0], Prior::of(&sloped[..11]));
    }

    /// By hand: four variances with two degrees of freedom. ln s² + γ has mean 0.57722 + 0 and variance 20/3;
    /// less ψ′(1) = 1.644934 that leaves 5.021733, where ψ′ has its value at 0.482668… (checked with scipy).
    #[test]
    fn a_small_case_by_hand() {
        let e = std::f64::consts::E;
        let prior = Prior::of(&[(e.powi(-3), 2.0), (e.powi(3), 2.0), (e, 2.0), (1.0 / e, 2.0)]);
        let half = prior.df / 2.0;
        assert!((trigamma(half) - (20.0 / 3.0 - trigamma(1.0))).abs() < 1e-6, "{prior:?}");
        let mean = 0.577_215_664_901_532_9;
        assert!((prior.variance.ln() - (mean + digamma(half) - half.ln())).abs() < 1e-9, "{prior:?}");
    }

    #[test]
    fn little_is_known_from_few_or_from_nothing() {
        assert_eq!(Prior::of(&[]), Prior::NONE);
        assert_eq!(Prior::of(&[(1.0, 4.0); 3]), Prior::NONE);
        assert_eq!(Prior::of(&[(0.0, 4.0); 9]), Prior::NONE);
        assert_eq!(Prior::of(&[(f64::NAN, 4.0); 9]), Prior::NONE);
        assert_eq!(Prior::NONE.moderate(2.0, 4.0), (2.0, 4.0));
    }

    proptest! {
        #[test]
        fn a_moderated_variance_lies_between_the_two(
            sizes in prop::collection::vec(0.001f64..10.0, 4..40),
            df in 1.0f64..20.0,
        ) {
            let prior = Prior::of(&sizes.iter().map(|s| (*s, df)).collect::<Vec<_>>());
            for size in sizes {
                let (moderated, all) = prior.moderate(size, df);
                prop_assert!(moderated >= size.min(prior.variance) * 0.999_999);
                prop_assert!(moderated <= size.max(prior.variance) * 1.000_001);
                prop_assert!(all >= df);
            }
        }

        #[test]
        fn a_unit_changes_the_size_and_nothing_else(sizes in prop::collection::vec(0.01f64..10.0, 4..40), unit in 0.1f64..9.0) {
            let of = |unit: f64| Prior::of(&sizes.iter().map(|s| (s * unit, 4.0)).collect::<Vec<_>>());
            let (one, other) = (of(1.0), of(unit));
            prop_assert!((other.variance / (one.variance * unit) - 1.0).abs() < 1e-6);
            prop_assert!(one.df == other.df || (one.df / other.df - 1.0).abs() < 1e-6 || one.df > 1e6);
        }
    }
}
