//! From what was measured in each run to differences with their uncertainty. All in logarithms: 0.1 is "10 % slower" for a
//! query of 1 ms and for a request of 1 s, and machine noise multiplies.

use super::machine::Sums;
use super::settings::FACTOR_FROM;
use crate::stats::{Prior, median, t_above, t_quantile};

/// How the runs of the two sides belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// Run i of one side went next to run i of the other, so that what the machine did is nearly the same for both.
    Paired,
    /// The sides are two sets of runs.
    Unpaired,
}

/// One thing measured in every run of both sides; NaN where a run does not have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub base: Vec<f64>,
    pub head: Vec<f64>,
    /// How wide values lie within a run, as a logarithm; NaN where unknown.
    pub width: f64,
    /// The same of each run, no logarithm; empty where unknown.
    pub base_widths: Vec<f64>,
    pub head_widths: Vec<f64>,
}

/// A difference of logarithms, not yet moderated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// Head less base.
    pub by: f64,
    /// Variance of one unit: of a pair's difference, or of one run.
    pub(super) variance: f64,
    /// Variance of `by` over `variance`.
    pub(super) scale: f64,
    /// Degrees of freedom of `variance`.
    pub(super) df: f64,
}

/// A difference with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub by: f64,
    /// Standard error; infinite where there is nothing to tell it from.
    pub error: f64,
    pub df: f64,
}

impl Row {
    /// As logarithms. What is not above zero is missing.
    pub fn logs(base: Vec<f64>, head: Vec<f64>) -> Row {
        let log =
            |values: Vec<f64>| values.into_iter().map(|v| if v > 0.0 { v.ln() } else { f64::NAN }).collect();
        Row { base: log(base), head: log(head), width: f64::NAN, ..Row::default() }
    }

    /// Whether every run has it.
    pub fn is_whole(&self) -> bool {
        let mut all = self.base.iter().chain(&self.head).peekable();
        all.peek().is_some() && all.all(|v| v.is_finite())
    }

    /// The difference; none where a side has no value.
    pub fn difference(&self, design: Design) -> Option<Difference> {
        let still = |side: &[f64]| vec![0.0; side.len()];
        let nothing = Row { base: still(&self.base), head: still(&self.head), ..Row::default() };
        Some(Sums::of(self, &nothing, design)?.difference(0.0))
    }

    /// What tells how large its noise is before it is seen: about how long it is, and how wide its values lie within a run. What takes
    /// long and is the same each time differs little between runs.
    pub fn known(&self) -> [f64; 2] {
        let logs: Vec<f64> = self.base.iter().chain(&self.head).copied().filter(|v| v.is_finite()).collect();
        [logs.iter().sum::<f64>() / logs.len() as f64, self.width]
    }
}

/// Quantiles of t that were asked for before: all operations of a comparison ask for the same few.
#[derive(Default)]
pub(super) struct Tables(Vec<(f64, f64, f64)>);

impl Tables {
    fn quantile(&mut self, p: f64, df: f64) -> f64 {
        if let Some(known) = self.0.iter().rev().take(16).find(|known| (known.0, known.1) == (p, df)) {
            return known.2;
        }
        let value = t_quantile(p, df);
        self.0.push((p, df, value));
        value
    }
}

/// What the machine did to all operations alike: in each pair, or in each run. `None` where too few tell it.
///
/// In each run the median over the operations of how far each is from its own average; only those that every run has, or
/// else a run without the slow ones would look fast.
pub(super) fn common_factor<'a>(rows: impl Iterator<Item = &'a Row>, design: Design) -> Option<Row> {
    let rows: Vec<&Row> = rows.filter(|row| row.is_whole()).collect();
    if rows.len() < FACTOR_FROM {
        return None;
    }
    let (nb, nh) = (rows[0].base.len(), rows[0].head.len());
    match design {
        Design::Paired => {
            let of_pair =
                |k: usize| median(&mut rows.iter().map(|r| r.head[k] - r.base[k]).collect::<Vec<_>>());
            let head: Option<Vec<f64>> = (0..nb.min(nh)).map(of_pair).collect();
            Some(Row { base: vec![0.0; nb], head: head?, width: f64::NAN, ..Row::default() })
        }
        Design::Unpaired => {
            let middles: Vec<f64> = rows
                .iter()
                .map(|r| {
                    let mean = |side: &[f64]| side.iter().sum::<f64>() / side.len() as f64;
                    0.5 * (mean(&r.base) + mean(&r.head))
                })
                .collect();
            let of_run = |value: &dyn Fn(&Row) -> f64| {
                median(&mut rows.iter().zip(&middles).map(|(r, m)| value(r) - m).collect::<Vec<_>>())
            };
            let base: Option<Vec<f64>> = (0..nb).map(|i| of_run(&|r| r.base[i])).collect();
            let head: Option<Vec<f64>> = (0..nh).map(|i| of_run(&|r| r.head[i])).collect();
            Some(Row { base: base?, head: head?, width: f64::NAN, ..Row::default() })
        }
    }
}

/// Differences whose variances have been moderated together, along what is known of each.
pub(super) fn moderated(differences: &[Option<(Difference, [f64; 2])>]) -> Vec<Option<Estimate>> {
    let seen: Vec<(f64, f64)> = differences.iter().flatten().map(|(d, _)| (d.variance, d.df)).collect();
    let known: Vec<[f64; 2]> = differences.iter().flatten().map(|(_, known)| *known).collect();
    let mut priors = Prior::along(&seen, &known).into_iter();
    // No more is known than what was measured.
    let most = seen.iter().map(|(_, df)| df).sum::<f64>();
    let mut estimate = |d: &Difference| {
        let prior = priors.next().unwrap_or(Prior::NONE);
        if d.df <= 0.0 {
            return Estimate { by: d.by, error: f64::INFINITY, df: 0.0 };
        }
        let (variance, df) = prior.moderate(d.variance, d.df);
        Estimate { by: d.by, error: (variance * d.scale).sqrt(), df: df.min(most) }
    };
    differences.iter().map(|d| d.as_ref().map(|(d, _)| estimate(d))).collect()
}

impl Difference {
    /// With its own variance alone.
    pub fn alone(&self) -> Estimate {
        let error = if self.df > 0.0 { (self.variance * self.scale).sqrt() } else { f64::INFINITY };
        Estimate { by: self.by, error, df: self.df }
    }
}

impl Estimate {
    /// Probability of a difference so far above zero by chance.
    pub fn slower_by_chance(&self) -> f64 {
        self.chance(self.by)
    }

    /// Probability of a difference so far below zero by chance.
    pub fn faster_by_chance(&self) -> f64 {
        self.chance(-self.by)
    }

    fn chance(&self, by: f64) -> f64 {
        if !self.error.is_finite() {
            return 1.0;
        }
        if self.error > 0.0 { t_above(by / self.error, self.df) } else { f64::from(u8::from(by <= 0.0)) }
    }

    /// The interval that holds the true difference with that confidence.
    pub fn interval(&self, confidence: f64, tables: &mut Tables) -> (f64, f64) {
        if !self.error.is_finite() {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let half = tables.quantile(0.5 + 0.5 * confidence, self.df) * self.error;
        (self.by - half, self.by + half)
    }

    /// The difference that a test at this level would have shown with this probability.
    pub fn detectable(&self, level: f64, power: f64, tables: &mut Tables) -> f64 {
        if !self.error.is_finite() {
            return f64::INFINITY;
        }
        (tables.quantile(1.0 - level, self.df) + tables.quantile(power, self.df)) * self.error
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::without;
    use super::*;
    use proptest::prelude::*;

    fn row(base: &[f64], head: &[f64]) -> Row {
        Row { base: base.to_vec(), head: head.to_vec(), width: f64::NAN, ..Row::default() }
    }

    /// Student's own data (The probable error of a mean, 1908): ten patients, two drugs; t = 4.0621 with 9 degrees of freedom
    /// where paired, 1.8608 with 18 where not.
    #[test]
    fn students_sleep_data() {
        let row = row(
            &[0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
            &[1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
        );
        let paired = row.difference(Design::Paired).unwrap().alone();
        assert!((paired.by - 1.58).abs() < 1e-12 && (paired.by / paired.error - 4.0621).abs() < 1e-4);
        assert!((paired.slower_by_chance() - 0.002833 / 2.0).abs() < 1e-6);
        let (low, high) = paired.interval(0.95, &mut Tables::default());
        assert!((low - 0.7001142).abs() < 1e-6 && (high - 2.4598858).abs() < 1e-6);
        let unpaired = row.difference(Design::Unpaired).unwrap().alone();
        assert!((unpaired.by / unpaired.error - 1.8608).abs() < 1e-4 && unpaired.df == 18.0);
        assert!((unpaired.slower_by_chance() - 0.07919 / 2.0).abs() < 1e-5);
    }

    #[test]
    fn one_run_tells_a_difference_but_not_whether_it_is_real() {
        for design in [Design::Paired, Design::Unpaired] {
            let one = row(&[1.0], &[1.5]).difference(design);
            let estimate = moderated(&[one.map(|one| (one, [0.0; 2]))])[0].unwrap();
            assert_eq!((estimate.by, estimate.slower_by_chance()), (0.5, 1.0));
            assert_eq!(estimate.interval(0.95, &mut Tables::default()), (f64::NEG_INFINITY, f64::INFINITY));
            assert!(row(&[], &[]).difference(design).is_none());
        }
        let missing = Row::logs(vec![0.0, 1.0, 1.0], vec![1.0, 2.0, 2.0]);
        assert!(!missing.is_whole());
        assert_eq!(missing.difference(Design::Paired).unwrap().df, 1.0, "the pair with a hole is left out");
    }

    /// All operations slower by 0.3 in one pair and by nothing in the other, one of them by 0.2 more in both.
    #[test]
    fn the_common_factor_is_taken_out_and_the_own_one_stays() {
        let mut rows: Vec<Row> =
            (0..15).map(|i| row(&[f64::from(i); 2], &[f64::from(i) + 0.3, f64::from(i)])).collect();
        rows[4].head.iter_mut().for_each(|v| *v += 0.2);
        let factor = common_factor(rows.iter(), Design::Paired).unwrap();
        assert!((factor.head[0] - 0.3).abs() < 1e-12 && factor.head[1].abs() < 1e-12);
        let left = without(&[Some(&rows[4])], &factor, Design::Paired)[0].unwrap().0.alone();
        assert!((left.by - 0.2).abs() < 1e-12 && left.error < 1e-12);
        let factor = common_factor(rows.iter(), Design::Unpaired).unwrap();
        let left = without(&[Some(&rows[4])], &factor, Design::Unpaired)[0].unwrap().0.alone();
        assert!((left.by - 0.2).abs() < 1e-9 && left.error < 1e-9, "{left:?}");
        assert_eq!(common_factor(rows[..9].iter(), Design::Paired), None);
    }

    proptest! {
        #[test]
        fn swapping_the_sides_turns_the_sign(
            rows in prop::collection::vec((prop::collection::vec(-1.0f64..1.0, 4), prop::collection::vec(-1.0f64..1.0, 4)), 10..20),
            paired in any::<bool>(),
        ) {
            let design = if paired { Design::Paired } else { Design::Unpaired };
            let rows: Vec<Row> = rows.into_iter().map(|(base, head)| row(&base, &head)).collect();
            let there = estimates(&rows, design);
            let swapped: Vec<Row> = rows.iter().map(|r| row(&r.head, &r.base)).collect();
            for (a, b) in there.iter().zip(estimates(&swapped, design)) {
                prop_assert!((a.by + b.by).abs() < 1e-9 && (a.error - b.error).abs() < 1e-9);
                prop_assert!((a.slower_by_chance() - b.faster_by_chance()).abs() < 1e-6);
            }
            // The order of pairs (or of runs) is of no consequence either.
            let turned: Vec<Row> = rows.iter().map(|r| {
                let turn = |side: &[f64]| side.iter().rev().copied().collect::<Vec<f64>>();
                row(&turn(&r.base), &turn(&r.head))
            }).collect();
            for (a, b) in there.iter().zip(estimates(&turned, design)) {
                prop_assert!((a.by - b.by).abs() < 1e-9 && (a.error - b.error).abs() < 1e-9);
            }
        }
    }

    fn estimates(rows: &[Row], design: Design) -> Vec<Estimate> {
        let factor = common_factor(rows.iter(), design).unwrap();
        let rows: Vec<_> = rows.iter().map(Some).collect();
        moderated(&without(&rows, &factor, design)).into_iter().flatten().collect()
    }
}
