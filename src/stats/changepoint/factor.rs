//! What all series of a history have in common: the machine of each run. A run on a slow machine is slow in everything.

use super::super::median;

/// Fewest series from which a common part is estimated.
const SERIES: usize = 5;
/// Fewest values of a run from which its part is estimated.
const VALUES: usize = 3;

/// The common part of each run, and how many series it is known from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommonFactor {
    /// By run; 0 where it is not known.
    pub by_run: Vec<f64>,
    /// Series that it was estimated from; none where there are too few.
    pub series: usize,
}

impl CommonFactor {
    /// Whether there is one.
    pub fn is_known(&self) -> bool {
        self.series > 0
    }
}

/// The common part of each run: the median over series of how far each is from its own median. `rows` are series of
/// logarithms over the same runs, absent where a run has no value.
///
/// Half of the series could change at once without touching it; where more do, the common part changes, and whoever looks
/// at it must say so: a whole service that became slower must not be taken for a machine.
pub fn common_factor(rows: &[Vec<Option<f64>>]) -> CommonFactor {
    let runs = rows.iter().map(Vec::len).max().unwrap_or(0);
    if rows.len() < SERIES {
        return CommonFactor { by_run: vec![0.0; runs], series: 0 };
    }
    let mut by_run = vec![0.0; runs];
    // A second pass, with the common part taken out, mends the medians of series that lack runs.
    for _ in 0..2 {
        let centres: Vec<f64> = rows
            .iter()
            .map(|row| {
                let mut known: Vec<f64> =
                    row.iter().zip(&by_run).filter_map(|(v, f)| Some((*v)? - f)).collect();
                median(&mut known).unwrap_or(0.0)
            })
            .collect();
        let next: Vec<f64> = (0..runs)
            .map(|run| {
                let mut off: Vec<f64> = rows
                    .iter()
                    .zip(&centres)
                    .filter_map(|(row, centre)| Some((*row.get(run)?)? - centre))
                    .collect();
                if off.len() < VALUES { 0.0 } else { median(&mut off).unwrap_or(0.0) }
            })
            .collect();
        by_run = next;
    }
    CommonFactor { by_run, series: rows.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    #[test]
    fn what_all_have_in_common_is_found_and_a_change_of_some_is_not() {
        let mut random = Random::new(11);
        let machine: Vec<f64> = (0..40).map(|_| 0.1 * random.normal()).collect();
        let rows: Vec<Vec<Option<f64>>> = (0..50)
            .map(|series| {
                let step = |run: usize| if series < 10 && run >= 30 { 0.5 } else { 0.0 };
                (0..40)
                    .map(|run| {
                        let missing = (series + run) % 17 == 0;
                        let value = series as f64 + machine[run] + step(run) + 0.01 * random.normal();
                        (!missing).then_some(value)
                    })
                    .collect()
            })
            .collect();
        let found = common_factor(&rows);
        assert_eq!(found.series, 50);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let offset = mean(&found.by_run) - mean(&machine);
        for (run, known) in machine.iter().enumerate() {
            assert!(
                (found.by_run[run] - offset - known).abs() < 0.03,
                "run {run}: {} {known}",
                found.by_run[run]
            );
        }
        assert!(!common_factor(&rows[..4]).is_known());
        assert_eq!(common_factor(&[]), CommonFactor::default());
    }
}
