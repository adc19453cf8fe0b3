//! Gathers the evidence of one request at a time, over its calls only, while traces are at hand; by number, and by name at last.

mod calls;
mod own;

pub use own::{own_pieces, own_time_between};

use super::event_loop::{Requests, Stretches};
use super::evidence::{PATTERNS, Pattern, Sameness, USERS};
use super::holding::Holdings;
use super::least::Least;
use super::questions::Questions;
use super::races::Answers;
use crate::analysis::blame::Blamer;
use crate::analysis::names::{MixedMap, NONE, Names};
use crate::analysis::result::Category;
use crate::analysis::row::Row;
use crate::analysis::sums::{Call, Table};
use crate::analysis::tally::{Occasion, StepTally};
use crate::analysis::tree::{HOP, Node};
use crate::stats::Histogram;
use calls::IN_A_ROW;
use std::collections::BTreeMap;

/// Calls of one kind in turn, within one request of a service.
#[derive(Clone, Copy)]
pub struct Series {
    caller: u32,
    key: u32,
    from: u64,
    to: u64,
}

impl Series {
    /// Of calls sorted by their end.
    pub fn of(calls: &[Call]) -> Series {
        Series {
            caller: calls[0].caller,
            key: calls[0].key,
            from: calls.iter().map(|c| c.start).min().unwrap_or(0),
            to: calls.iter().map(|c| c.end).max().unwrap_or(0),
        }
    }

    /// What was called.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Whether two kinds of calls of one caller took turns: their times overlap by at least half of the shorter.
    pub fn is_in_one_loop(&self, other: &Series) -> bool {
        let both = self.to.min(other.to).saturating_sub(self.from.max(other.from));
        let shorter = (self.to - self.from).min(other.to - other.from);
        self.caller == other.caller && self.key != other.key && 2 * both >= shorter
    }
}

/// Calls of one request of a service that follow upon each other.
#[derive(Clone, Copy, Default)]
struct Block {
    from: u64,
    to: u64,
    calls: u64,
    /// Time of the calls alone.
    time: u64,
}

/// Collects by number, in buffers that are used again.
#[derive(Default)]
pub struct Collector {
    tables: [Table; PATTERNS],
    loops: BTreeMap<(u16, u32, u32), u64>,
    same: MixedMap<u64, Sameness>,
    hits: MixedMap<u64, (u64, u64)>,
    looks: MixedMap<u64, (u64, u64)>,
    questions: MixedMap<u64, Questions>,
    instances: MixedMap<(u16, u32, u32), Histogram>,
    users: MixedMap<(u16, u32, u32), Least<u64>>,
    blocks: MixedMap<(u16, u32, u32), Stretches>,
    /// First start and last end of the calls of each entry of the exchange at hand, and how many there are.
    blocked: Vec<(u32, Block)>,
    stretches: MixedMap<(u16, u32, u32), Stretches>,
    requests: MixedMap<(u16, u32, u32), Requests>,
    askers: MixedMap<(u16, u32, u32), Requests>,
    callers: MixedMap<(u16, u32, u32), Requests>,
    holdings: Holdings,
    asked: Vec<u32>,
    /// Calls on the path, and since when their caller did nothing else before.
    called: Vec<(u32, u64)>,
    series: Vec<Series>,
    order: Vec<u32>,
    before: Vec<(u32, u64)>,
    ends: Vec<u64>,
    data: Vec<(u32, u64, u32)>,
    answers: Answers,
}

/// One request of one step.
type On = (u16, Occasion);

impl Collector {
    /// Takes in one exchange that was just blamed, with its calls, sorted by what was called, caller and end.
    pub fn exchange(
        &mut self,
        blamer: &Blamer,
        rows: &[Row],
        (calls, waits): (&[Call], &[Call]),
        on: On,
        names: &Names,
    ) {
        self.series.clear();
        self.answers.clear();
        self.own_time(blamer, rows, on, names);
        self.before_calls(blamer, on, names);
        if calls.iter().any(|c| names.category(c.key) == Category::Database) {
            self.holdings.exchange(blamer, rows, (calls, waits), on, names);
        }
        for same in calls.chunk_by(|a, b| a.key == b.key) {
            self.one_kind(blamer, rows, same, on, names);
        }
        if calls.len() >= IN_A_ROW {
            self.by_caller(blamer, calls, on, names);
        }
    }

    /// Adds what was gathered in `before`, by owner.
    fn add_by_owner(&mut self, pattern: Pattern, (step, on): On) {
        self.before.sort_unstable();
        for of_owner in self.before.chunk_by(|a, b| a.0 == b.0) {
            let time = of_owner.iter().map(|(_, time)| time).sum();
            let part = self.tables[pattern as usize].part(step, of_owner[0].0);
            part.calls += of_owner.len() as u64 * on.weight;
            part.add(time, time, on);
        }
    }

    /// Adds what the caller's code did between the calls of a series, and how much shorter the
    /// exchange would be without that and all but one of the calls.
    pub fn between(&mut self, key: u32, (between, removable): (u64, u64), (step, on): On) {
        self.tables[Pattern::Between as usize].part(step, key).add(between, removable, on);
    }

    /// Remembers a series of the exchange at hand.
    pub fn series(&mut self, series: Series) {
        if self.series.len() < 16 {
            self.series.push(series);
        }
    }

    /// Which series of the exchange at hand ran in one loop.
    pub fn loops(&mut self, step: u16, weight: u64) {
        for (i, a) in self.series.iter().enumerate() {
            for b in self.series[i + 1..].iter().filter(|b| a.is_in_one_loop(b)) {
                *self.loops.entry((step, a.key.min(b.key), a.key.max(b.key))).or_default() += weight;
            }
        }
    }

    /// Gives everything its name.
    pub fn name(self, names: &Names, steps: &mut [StepTally]) {
        for (pattern, table) in Pattern::ALL.into_iter().zip(self.tables) {
            for (step, who, part) in table.into_named(names) {
                steps[step].evidence.patterns.insert((pattern, who), part);
            }
        }
        for ((step, a, b), n) in self.loops {
            let (a, b) = (names.who(a).clone(), names.who(b).clone());
            let key = if a <= b { (a, b) } else { (b, a) };
            *steps[usize::from(step)].evidence.loops.entry(key).or_default() += n;
        }
        let place = |key: u64| ((key >> 32) as usize, names.who(key as u32).clone());
        for (key, sameness) in self.same {
            let (step, who) = place(key);
            steps[step].evidence.data.entry(who).or_default().merge(sameness);
        }
        for (key, questions) in self.questions {
            let (step, who) = place(key);
            steps[step].evidence.questions.entry(who).or_default().merge(questions);
        }
        for (key, n) in self.hits {
            let (step, who) = place(key);
            steps[step].evidence.hits.insert(who, n);
        }
        for (key, n) in self.looks {
            let (step, who) = place(key);
            steps[step].evidence.looks.insert(who, n);
        }
        for ((step, owner, host), times) in self.instances {
            let key = (names.who(owner).clone(), names.instance(host).clone());
            let of = steps[usize::from(step)].evidence.instances.entry(key);
            of.or_insert_with(Histogram::coarse).merge(&times);
        }
        for ((step, owner, host), users) in self.users {
            let key = (names.who(owner).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.users.entry(key).or_default().extend(&users, USERS);
        }
        for ((step, owner, host), blocks) in self.blocks {
            let key = (names.who(owner).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.blocks.entry(key).or_default().merge(blocks);
        }
        for ((step, who, host), stretches) in self.stretches {
            let key = (names.who(who).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.stretches.entry(key).or_default().merge(stretches);
        }
        for ((step, service, host), requests) in self.requests {
            let key = (names.str(service).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.requests.entry(key).or_default().merge(&requests);
        }
        for ((step, who, host), requests) in self.askers {
            let key = (names.who(who).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.askers.entry(key).or_default().merge(&requests);
        }
        for ((step, who, host), requests) in self.callers {
            let key = (names.who(who).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.callers.entry(key).or_default().merge(&requests);
        }
        for ((step, page), holding) in self.holdings.pages {
            let holdings = &mut steps[usize::from(step)].evidence.holdings;
            holdings.entry(names.who(page).clone()).or_default().merge(holding.named(names));
        }
        for ((step, service, host), moments) in self.holdings.moments {
            let key = (names.str(service).clone(), names.instance(host).clone());
            steps[usize::from(step)].evidence.pools.entry(key).or_default().merge(&moments);
        }
    }
}

/// A call to another service, whether that sends spans or not.
fn is_outside(node: &Node, names: &Names) -> bool {
    node.flags & HOP != 0 || names.category(node.owner) == Category::External
}

/// The number by which a contributor is judged: its group's, wherever in the code, or its own.
fn whole(owner: u32, names: &Names) -> u32 {
    match names.group(owner) {
        NONE => owner,
        group => group,
    }
}
