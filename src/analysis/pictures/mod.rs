//! What pictures of a run are drawn from, gathered while exchanges are blamed.
//!
//! Everything is an integer sum, an extreme chosen by content or the smallest of a set of hashes, so shares of a run add to
//! the same whole in any order. What is kept of one exchange costs a few additions; texts are only touched for the few
//! exchanges that are kept whole.

mod flame;
mod sample;
mod tree;
mod ways;

use super::blame::Blamer;
use super::codec::codec;
use super::names::{MixedMap, Names};
use super::result::{
    ByCategory, ExemplarRole, Pictures, Sampled, StepPicture, StepSlice, TraceTree, latency_bucket,
};
use super::row::{Asked, Row};
use super::tally::Candidate;
use super::timeline::Clock;
use crate::record::{Nanos, TraceId};
use flame::{Flame, Paths};
use sample::Sample;
use std::collections::BTreeMap;

pub(super) use ways::ways;

/// Exchanges that are sampled in all steps together, about; and in one step.
const SAMPLED: usize = 8_192;
const SAMPLED_OF_STEP: (usize, usize) = (64, 1_024);

/// One exchange that was just blamed.
pub(super) struct Blamed<'a> {
    pub blamer: &'a Blamer,
    pub index: u32,
    pub asked: &'a Asked,
    pub trace: TraceId,
    pub joined: bool,
    pub band: usize,
    /// By category, times weight.
    pub categories: &'a ByCategory,
    /// How good an exemplar it is.
    pub candidates: [Candidate; 3],
    pub rows: &'a [Row],
    pub names: &'a Names,
}

/// What is gathered in one share of a run: names by number.
#[derive(Default)]
pub(super) struct Gathered {
    clock: Clock,
    steps: Vec<OfStep>,
    /// Contributors of the exchange at hand: number, time, time that could be saved.
    pub held: Vec<(u32, u64, u64)>,
    sampled_of_band: usize,
}

#[derive(Default)]
struct OfStep {
    slices: Vec<StepSlice>,
    heat: MixedMap<u64, u64>,
    paths: Paths,
    sample: Sample,
    trees: [Option<(Candidate, TraceTree)>; 3],
}

impl Gathered {
    pub fn new(clock: Clock, steps: usize) -> Gathered {
        let of_step = (SAMPLED / steps.max(1)).clamp(SAMPLED_OF_STEP.0, SAMPLED_OF_STEP.1);
        let steps = std::iter::repeat_with(OfStep::default).take(steps).collect();
        Gathered { clock, steps, held: Vec::new(), sampled_of_band: of_step / 4 }
    }

    /// Takes in an exchange; `held` is then empty again.
    pub fn exchange(&mut self, blamed: &Blamed) {
        let asked = blamed.asked;
        let number = usize::from(asked.step);
        if number >= self.steps.len() {
            self.steps.resize_with(number + 1, OfStep::default);
        }
        let step = &mut self.steps[number];
        let (latency, weight) = (asked.latency(), u64::from(asked.weight));
        let slice = self.clock.slice(asked.intended);
        if slice >= step.slices.len() {
            step.slices.resize(slice + 1, StepSlice::default());
        }
        let sum = &mut step.slices[slice];
        sum.exchanges += 1;
        sum.errors += u64::from(asked.failed);
        sum.weight += weight;
        sum.latency += Nanos(latency);
        sum.categories.merge(blamed.categories);
        let cell = (slice as u64) << 16 | u64::from(latency_bucket(Nanos(latency)));
        *step.heat.entry(cell).or_default() += 1;
        if weight > 0 {
            step.paths.exchange(blamed.blamer, weight);
            step.sample.offer(self.sampled_of_band, blamed, &self.held);
        }
        for (best, new) in step.trees.iter_mut().zip(blamed.candidates) {
            if best.as_ref().is_none_or(|(old, _)| new < *old) {
                *best = Some((new, tree::of(blamed)));
            }
        }
        self.held.clear();
    }

    /// Gives contributors their names.
    pub fn named(self, names: &Names) -> Kept {
        let named = |step: OfStep| KeptStep {
            slices: step.slices,
            heat: step.heat.into_iter().collect(),
            flame: step.paths.named(names),
            sample: step.sample,
            trees: step.trees,
        };
        Kept { most: self.sampled_of_band, steps: self.steps.into_iter().map(named).collect() }
    }
}

/// The same by name, of one share or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    most: usize,
    steps: Vec<KeptStep>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct KeptStep {
    slices: Vec<StepSlice>,
    /// Counts by slice (above) and bucket (lowest 16 bits).
    heat: BTreeMap<u64, u64>,
    flame: Flame,
    sample: Sample,
    trees: [Option<(Candidate, TraceTree)>; 3],
}

codec!(Kept { most, steps });
codec!(KeptStep { slices, heat, flame, sample, trees });
codec!(StepSlice { exchanges, errors, weight, latency, categories });

impl Kept {
    /// Adds another share of the same run.
    pub fn merge(&mut self, other: Kept) {
        self.most = self.most.max(other.most);
        if self.steps.len() < other.steps.len() {
            self.steps.resize_with(other.steps.len(), KeptStep::default);
        }
        let most = self.most;
        self.steps.iter_mut().zip(other.steps).for_each(|(mine, theirs)| mine.merge(theirs, most));
    }

    /// What the result keeps.
    pub fn into_pictures(self) -> Pictures {
        let steps = self.steps.into_iter().map(KeptStep::into_picture).collect();
        Pictures { steps, of_findings: Vec::new() }
    }
}

impl KeptStep {
    fn merge(&mut self, other: KeptStep, most: usize) {
        if self.slices.len() < other.slices.len() {
            self.slices.resize(other.slices.len(), StepSlice::default());
        }
        for (mine, theirs) in self.slices.iter_mut().zip(other.slices) {
            mine.exchanges += theirs.exchanges;
            mine.errors += theirs.errors;
            mine.weight += theirs.weight;
            mine.latency += theirs.latency;
            mine.categories.merge(&theirs.categories);
        }
        super::tally::add_counts(&mut self.heat, other.heat);
        self.flame.merge(&other.flame);
        self.sample.merge(most, other.sample);
        for (mine, theirs) in self.trees.iter_mut().zip(other.trees) {
            let better = match (&mine, &theirs) {
                (Some((old, _)), Some((new, _))) => new < old,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if better {
                *mine = theirs;
            }
        }
    }

    fn into_picture(self) -> StepPicture {
        let mut heat: Vec<Vec<(u16, u64)>> = vec![Vec::new(); self.slices.len()];
        for (cell, count) in self.heat {
            if let Some(slice) = heat.get_mut((cell >> 16) as usize) {
                slice.push((cell as u16, count));
            }
        }
        let roles = [ExemplarRole::Typical, ExemplarRole::Slow, ExemplarRole::Worst];
        let trees = roles.into_iter().zip(self.trees);
        let sample: Vec<Sampled> = self.sample.into_exchanges();
        StepPicture {
            slices: self.slices,
            heat,
            flame: self.flame.into_nodes(),
            sample,
            trees: trees.filter_map(|(role, kept)| Some(TraceTree { role, ..kept?.1 })).collect(),
        }
    }
}
