//! Variances that know of each other. With five runs the variance of one operation is a guess from four degrees of freedom;
//! hundreds of operations together tell how large variances are and how much they differ, and each one's guess is drawn
//! towards theirs (G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
//! microarray experiments", 2004; the method of the Bioconductor package limma).

use super::median;
use super::student::{digamma, inverse_trigamma, trigamma};

/// Fewer variances than this say nothing about how variances differ.
const VARIANCES_MIN: usize = 4;
/// A variance far below the others (values that happen to be equal) counts as at least this part of their median.
const FLOOR: f64 = 1e-5;

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
        let usable = |(variance, df): &&(f64, f64)| variance.is_finite() && *variance >= 0.0 && *df > 0.0;
        let usable: Vec<(f64, f64)> = variances.iter().filter(usable).copied().collect();
        let Some(middle) = median(&mut usable.iter().map(|v| v.0).collect::<Vec<f64>>()) else {
            return Prior::NONE;
        };
        if usable.len() < VARIANCES_MIN || middle <= 0.0 {
            return Prior::NONE;
        }
        // ln s² of a variance with d degrees of freedom has mean ln σ² + ψ(d/2) − ln(d/2) and variance ψ′(d/2).
        let freed = |(variance, df): &(f64, f64)| {
            variance.max(FLOOR * middle).ln() - digamma(df / 2.0) + (df / 2.0).ln()
        };
        let logs: Vec<f64> = usable.iter().map(freed).collect();
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let spread = logs.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let by_chance = usable.iter().map(|(_, df)| trigamma(df / 2.0)).sum::<f64>() / n;
        let own = spread - by_chance;
        if own <= 0.0 {
            return Prior { variance: mean.exp(), df: f64::INFINITY };
        }
        let half = inverse_trigamma(own);
        Prior { variance: (mean + digamma(half) - half.ln()).exp(), df: 2.0 * half }
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
