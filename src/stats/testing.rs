//! Many questions at once. With hundreds of operations, one in twenty "is significant" by chance; these keep the share of
//! false ones among what is reported small.

/// One probability for several questions about the same thing, of which at least one is to be answered: `min(n·p(i)/i)`
/// (R. J. Simes 1986); valid for questions that go along with each other, as quantiles of one distribution do. 1 for none.
pub fn simes(ps: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = ps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let each = sorted.iter().enumerate().map(|(i, p)| n * p / (i + 1) as f64);
    each.fold(1.0, f64::min)
}

/// Which hypotheses are rejected so that at most a share `q` of the rejected are true, on average (Y. Benjamini and
/// Y. Hochberg 1995).
pub fn benjamini_hochberg(ps: &[f64], q: f64) -> Vec<bool> {
    let limit = rejection_limit(ps, q);
    ps.iter().map(|p| *p <= limit).collect()
}

/// The largest probability that Benjamini and Hochberg's procedure rejects; negative where it rejects none.
fn rejection_limit(ps: &[f64], q: f64) -> f64 {
    let mut sorted: Vec<f64> = ps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let holds = |(i, p): &(usize, &f64)| **p <= q * (*i + 1) as f64 / n;
    sorted.iter().enumerate().filter(holds).map(|(_, p)| *p).next_back().unwrap_or(-1.0)
}

/// Rejections down a tree of two levels (Y. Benjamini and M. Bogomolov 2014): families are tested by Simes; within the
/// rejected ones, leaves at the level that is left after the choice among families.
pub fn down_the_tree(families: &[Vec<f64>], q: f64) -> Vec<Vec<bool>> {
    let tops: Vec<f64> = families.iter().map(|leaves| simes(leaves)).collect();
    let rejected = benjamini_hochberg(&tops, q);
    let share = rejected.iter().filter(|r| **r).count() as f64 / tops.len().max(1) as f64;
    let leaves = |(leaves, rejected): (&Vec<f64>, bool)| {
        if rejected { benjamini_hochberg(leaves, q * share) } else { vec![false; leaves.len()] }
    };
    families.iter().zip(rejected).map(leaves).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;
    use proptest::prelude::*;

    /// The fifteen probabilities of Benjamini and Hochberg's own example (1995, section 3.3): at q = 0.05 four are
    /// rejected, where Bonferroni rejects three.
    const THEIRS: [f64; 15] = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
        0.6528, 0.7590, 1.0,
    ];

    #[test]
    fn the_authors_own_example() {
        let rejected = benjamini_hochberg(&THEIRS, 0.05);
        assert_eq!(rejected.iter().filter(|r| **r).count(), 4);
        assert!(rejected[..4].iter().all(|r| *r));
        assert_eq!(THEIRS.iter().filter(|p| **p <= 0.05 / 15.0).count(), 3);
        assert!(benjamini_hochberg(&[], 0.05).is_empty());
    }

    #[test]
    fn simes_by_hand() {
        assert_eq!(simes(&[0.03]), 0.03);
        assert_eq!(simes(&[0.04, 0.01]), 0.02);
        assert_eq!(simes(&[0.04, 0.03]), 0.04);
        assert_eq!(simes(&[]), 1.0);
    }

    /// Nothing to find: a family is rejected in a share q of the trials, and hardly more leaves.
    #[test]
    fn the_level_is_kept_where_nothing_is_to_find() {
        let mut random = Random::new(5);
        let mut any = 0;
        for _ in 0..4_000 {
            let families: Vec<Vec<f64>> =
                (0..20).map(|_| (0..3).map(|_| random.uniform()).collect()).collect();
            any += u32::from(down_the_tree(&families, 0.05).iter().flatten().any(|r| *r));
        }
        assert!((120..=240).contains(&any), "{any} of 4000, expected about 200");
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_smaller_ones_go_first(mut ps in prop::collection::vec(0.0f64..=1.0, 1..40), q in 0.01f64..0.3) {
            let rejected = benjamini_hochberg(&ps, q);
            let worst_rejected = ps.iter().zip(&rejected).filter(|(_, r)| **r).map(|(p, _)| *p).fold(-1.0, f64::max);
            for (p, r) in ps.iter().zip(&rejected) {
                prop_assert_eq!(*r, *p <= worst_rejected);
            }
            let n = rejected.iter().filter(|r| **r).count();
            let joined = simes(&ps);
            ps.reverse();
            prop_assert_eq!(benjamini_hochberg(&ps, q).iter().filter(|r| **r).count(), n);
            prop_assert_eq!(simes(&ps), joined);
            // Simes and Benjamini-Hochberg agree on whether there is anything.
            prop_assert!((joined <= q) == (n > 0) || (joined - q).abs() < 1e-12);
        }

        #[test]
        fn leaves_are_rejected_only_in_rejected_families(families in prop::collection::vec(prop::collection::vec(0.0f64..=0.2, 0..4), 0..12)) {
            let leaves = down_the_tree(&families, 0.05);
            prop_assert_eq!(leaves.len(), families.len());
            let tops = benjamini_hochberg(&families.iter().map(|f| simes(f)).collect::<Vec<_>>(), 0.05);
            for ((family, leaves), top) in families.iter().zip(&leaves).zip(tops) {
                prop_assert_eq!(family.len(), leaves.len());
                prop_assert!(top || leaves.iter().all(|l| !l));
            }
        }
    }
}
