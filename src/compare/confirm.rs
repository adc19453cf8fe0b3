//! An alarm confirmed: the runs are made again, and only what both comparisons show stays an alarm. A false alarm is thus
//! as rare as two in a row, at the cost of one more round for each alarm.

use super::changes::calls_nothing;
use super::outcome::{Change, Status, Verdict};
use super::verdict::Comparison;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was called slower, by its place: a step's or an operation's quantile, or the whole service's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suspect {
    Step(Arc<str>, Arc<str>, usize),
    Operation(super::OperationKey, usize),
    Whole(usize),
}

impl Comparison {
    /// Every quantile that is tested, by its place.
    fn places(&mut self) -> Vec<(Suspect, &mut Change)> {
        let mut out: Vec<(Suspect, &mut Change)> = Vec::new();
        for step in &mut self.steps {
            let (journey, name) = (&step.journey, &step.name);
            for (i, change) in step.latency.iter_mut().enumerate() {
                out.extend(change.as_mut().map(|c| (Suspect::Step(journey.clone(), name.clone(), i), c)));
            }
        }
        for op in &mut self.operations {
            // Of what calls nothing both are the same time, and either shows it.
            let quantiles = if calls_nothing(op) { op.own.len() } else { op.own.len() + op.duration.len() };
            let key = &op.key;
            for (i, change) in op.own.iter_mut().chain(&mut op.duration).enumerate() {
                out.extend(change.as_mut().map(|c| (Suspect::Operation(key.clone(), i % quantiles), c)));
            }
        }
        if let Some(whole) = &mut self.whole_service {
            out.push((Suspect::Whole(0), &mut whole.p50));
            out.push((Suspect::Whole(1), &mut whole.p95));
        }
        out
    }

    /// Whether something is called slower by its times. Structure needs no confirmation.
    pub fn needs_confirmation(&self) -> bool {
        let slower = |verdict: Verdict| verdict == Verdict::Regressed;
        self.status == Status::Regressed
            && (self.steps.iter().any(|s| slower(s.verdict))
                || self.operations.iter().any(|o| slower(o.verdict))
                || self.whole_service.is_some_and(|w| slower(w.verdict)))
    }

    /// This comparison of all runs, with only those alarms that the `first` runs raised and the `second` runs, made after that,
    /// show again. Few questions are left by then, so each is asked at its own level.
    #[must_use]
    pub fn confirmed(mut self, first: &Comparison, second: &Comparison) -> Comparison {
        let raised: BTreeSet<Suspect> = first
            .clone()
            .places()
            .into_iter()
            .filter(|(_, change)| change.verdict == Verdict::Regressed)
            .map(|(place, _)| place)
            .collect();
        let level = second.settings.false_discovery / raised.len().max(1) as f64;
        let least = 1.0 + second.settings.min_effect;
        let shown: BTreeSet<Suspect> = second
            .clone()
            .places()
            .into_iter()
            .filter(|(_, change)| change.slower_by_chance <= level && change.ratio >= least)
            .map(|(place, _)| place)
            .collect();
        for (place, change) in self.places() {
            let confirmed = raised.contains(&place) && shown.contains(&place);
            // What is confirmed is an alarm, even where all runs together are a little below a limit.
            if confirmed {
                change.verdict = Verdict::Regressed;
            } else if change.verdict == Verdict::Regressed {
                change.verdict = Verdict::CannotTell;
            }
        }
        self.settle();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{QUIET, World, runs};
    use super::super::{Design, Settings, compare};
    use super::*;
    use crate::stats::Random;

    fn of(
        world: &World,
        random: &mut Random,
    ) -> (Comparison, Vec<super::super::RunSummary>, Vec<super::super::RunSummary>) {
        let (base, head) = runs(world, random);
        (compare(&base, &head, Design::Paired, Settings::default(), &[]), base, head)
    }

    #[test]
    fn what_is_slower_stays_and_what_was_chance_goes() {
        let mut random = Random::new(11);
        let slow = World { operations: 60, slower: (2, 1.3), ..QUIET };
        let (first, mut base, mut head) = of(&slow, &mut random);
        let (mut second, b2, h2) = of(&slow, &mut random);
        base.extend(b2);
        head.extend(h2);
        // Ids are not unique between the two rounds here.
        let all = compare(&base, &head, Design::Paired, Settings::default(), &["same-run"]);
        assert!(first.needs_confirmation());
        let confirmed = all.clone().confirmed(&first, &second);
        let names = |c: &Comparison| -> Vec<String> {
            let slower = c.operations.iter().filter(|o| o.verdict == Verdict::Regressed);
            slower.map(|o| o.key.name.to_string()).collect()
        };
        let mut found = names(&confirmed);
        found.sort();
        assert_eq!(found, ["operation 000", "operation 001"]);
        assert_eq!(confirmed.status, Status::Regressed);
        // Own time and duration are one here: what the second round shows of either is enough.
        let mut half = second.clone();
        half.operations
            .iter_mut()
            .flat_map(|op| op.own.iter_mut())
            .flatten()
            .for_each(|c| c.slower_by_chance = 0.4);
        assert_eq!(names(&all.clone().confirmed(&first, &half)).len(), 2);
        // Where others are called, they are not.
        let calls = |c: &Comparison| {
            let mut c = c.clone();
            c.operations.iter_mut().flat_map(|op| op.own.iter_mut()).flatten().for_each(|c| c.base_ms *= 0.5);
            c
        };
        let told = calls(&all).confirmed(&calls(&first), &calls(&half));
        assert!(
            told.operations.iter().flat_map(|op| &op.own).flatten().all(|c| c.verdict != Verdict::Regressed)
        );
        // The second round does not show it.
        for op in &mut second.operations {
            for change in op.own.iter_mut().chain(&mut op.duration).flatten() {
                change.slower_by_chance = 0.4;
            }
        }
        let dismissed = all.confirmed(&first, &second);
        assert_eq!((names(&dismissed).len(), dismissed.status), (0, Status::CannotTell));
        assert!(!dismissed.needs_confirmation());
    }
}
