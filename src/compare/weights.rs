//! How much each run of an operation counts. On a busy machine some runs are disturbed and others are not, and a mean over all is
//! as good as the worst of them. How far values lie apart within a run tells how far off the run's quantile is: recorded
//! comparisons have a variance that grows in proportion to it. So a run whose values lie wider apart than usual counts
//! as a part of one (precision weights, as voom has them: C. W. Law and others, 2014).
//!
//! A run that is quieter than most counts no more than they: that may be luck. And only how wide values lie is looked at, of both
//! runs of a pair alike: which side was the slower one plays no part.

use crate::stats::median;

/// What each pair counts, from 0 to 1, by the widths of its two runs.
pub(super) fn of_pairs(base: &[f64], head: &[f64]) -> Vec<f64> {
    of_runs(&base.iter().zip(head).map(|(base, head)| 0.5 * (base + head)).collect::<Vec<_>>())
}

/// What each run of a side counts, from 0 to 1; nothing for runs of which no widths are given.
pub(super) fn of_runs(widths: &[f64]) -> Vec<f64> {
    let mut known: Vec<f64> = widths.iter().copied().filter(|width| width.is_finite()).collect();
    let usual = median(&mut known).unwrap_or(f64::NAN);
    widths.iter().map(|width| if width.is_finite() { (usual / width).min(1.0) } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::contrast::{Design, Row};
    use super::*;

    #[test]
    fn what_lies_wider_than_usual_counts_as_a_part_and_what_is_narrow_not_more_than_one() {
        assert_eq!(of_runs(&[0.1, 0.1, 0.4, 0.01, 0.1]), [1.0, 1.0, 0.25, 1.0, 1.0]);
        assert_eq!(of_pairs(&[0.1, 0.1, 0.2], &[0.1, 0.1, 0.6]), [1.0, 1.0, 0.25]);
        // What is not known counts fully.
        assert_eq!(of_runs(&[f64::NAN, 0.25, 0.75]), [1.0, 1.0, 0.5 / 0.75]);
        assert_eq!(of_runs(&[f64::NAN; 2]), [1.0; 2]);
        assert!(of_runs(&[]).is_empty());
    }

    /// Four pairs that agree on 0.1, and a fifth in whose second run values lay wide and long.
    fn disturbed(head_widths: [f64; 5]) -> Row {
        let base = vec![0.0, 0.01, -0.01, 0.005, 0.0];
        let head = vec![0.1, 0.1, 0.1, 0.1, 0.6];
        Row { base, head, base_widths: vec![0.02; 5], head_widths: head_widths.to_vec(), ..Row::default() }
    }

    #[test]
    fn a_disturbed_pair_hides_no_difference() {
        for design in [Design::Paired, Design::Unpaired] {
            let of = |widths| disturbed(widths).difference(design).unwrap().alone();
            let (alike, told) = (of([0.02; 5]), of([0.02, 0.02, 0.02, 0.02, 0.6]));
            assert!(alike.slower_by_chance() > 0.035 && (alike.by - 0.2).abs() < 0.01, "{alike:?}");
            assert!(told.slower_by_chance() < 0.03 && (told.by - 0.1).abs() < 0.04, "{design:?}: {told:?}");
            // What base had wide says no more against head than what head has.
            let Row { base, head, base_widths, head_widths, .. } = disturbed([0.02, 0.02, 0.02, 0.02, 0.6]);
            let turned = Row {
                base: head,
                head: base,
                base_widths: head_widths,
                head_widths: base_widths,
                ..Row::default()
            };
            let turned = turned.difference(design).unwrap().alone();
            assert!((turned.by + told.by).abs() < 1e-12 && (turned.error - told.error).abs() < 1e-12);
        }
    }
}
