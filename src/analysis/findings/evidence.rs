//! What a request shows besides who owned its time: the same question asked twice, calls that fail and are made again,
//! calls in a row and calls at once, what caches answered, how instances differ.
//!
//! By name, in sums that merge to the same whole in any order; [`super::collector`] gathers them. Nothing here decides what is a
//! problem.

use super::event_loop::{Requests, Stretches};
use super::holding::Holding;
use super::least::Least;
use super::questions::Questions;
use crate::analysis::result::Contributor;
use crate::analysis::tally::Part;
use crate::stats::Histogram;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Different data of one statement up to which it may be the same question.
const FEW_DATA: usize = 4;

/// Users of an instance that are kept.
pub(super) const USERS: usize = 500;

/// A database within the process that asks it.
pub(super) const EMBEDDED: &str = "sqlite";

/// What a request can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// The same statement with the same data again.
    Duplicate,
    /// Many statements.
    ManyQueries,
    /// Many calls to other services.
    Chatty,
    /// Many calls at once.
    FanOut,
    /// Calls to different peers in a row.
    InARow,
    /// Failed calls that were made again.
    Retried,
    /// Calls that a time limit ended.
    TimedOut,
    /// Functions that had to be started.
    Cold,
    /// What the caller's own code does between the calls of a series.
    Between,
    /// Long own time that ends as a call to a database begins.
    BeforeDatabase,
    /// Long own time that ends as a call to another service begins.
    BeforeCall,
    /// Own time after the first byte of the answer.
    Streamed,
    /// Own time right after a statement of a database within the process, whose rows are looked for as they are read.
    Reading,
    /// Own time in which nothing of its span ran, at least.
    Idle,
}

pub(super) const PATTERNS: usize = Pattern::Idle as usize + 1;

impl Pattern {
    /// All patterns.
    pub const ALL: [Pattern; PATTERNS] = [
        Pattern::Duplicate,
        Pattern::ManyQueries,
        Pattern::Chatty,
        Pattern::FanOut,
        Pattern::InARow,
        Pattern::Retried,
        Pattern::TimedOut,
        Pattern::Cold,
        Pattern::Between,
        Pattern::BeforeDatabase,
        Pattern::BeforeCall,
        Pattern::Streamed,
        Pattern::Reading,
        Pattern::Idle,
    ];
}

/// The same of one step, by name.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub patterns: BTreeMap<(Pattern, Contributor), Part>,
    /// In how many requests two series ran in one loop.
    pub loops: BTreeMap<(Contributor, Contributor), u64>,
    /// How far a statement is the same question each time.
    pub data: BTreeMap<Contributor, Sameness>,
    /// Looks into a cache that found something, and all of which that is known.
    pub hits: BTreeMap<Contributor, (u64, u64)>,
    /// The same, told by what follows a look: something else is asked, and then the same cache is written to.
    pub looks: BTreeMap<Contributor, (u64, u64)>,
    /// How many different things caches are asked for.
    pub questions: BTreeMap<Contributor, Questions>,
    /// Requests of a service by entry and instance.
    pub instances: BTreeMap<(Contributor, Arc<str>), Histogram>,
    /// Users whose requests they are, the same way: the least of mixed numbers.
    pub users: BTreeMap<(Contributor, Arc<str>), Least<u64>>,
    /// What requests do between their first and their last call, where that is many quick calls in an event loop, by page and instance.
    pub blocks: BTreeMap<(Contributor, Arc<str>), Stretches>,
    /// Long pieces of own time and long calls, by what they are and instance.
    pub stretches: BTreeMap<(Contributor, Arc<str>), Stretches>,
    /// Requests by service and instance.
    pub requests: BTreeMap<(Arc<str>, Arc<str>), Requests>,
    /// Requests that ask a database, by the own time right before their first statement and instance: "sent" is when that
    /// begins, "begun" the statement.
    pub askers: BTreeMap<(Contributor, Arc<str>), Requests>,
    /// Calls to other services by what is called and the instance of who calls: "sent" is when the own time right before begins.
    pub callers: BTreeMap<(Contributor, Arc<str>), Requests>,
    /// What the requests of a page do while they hold a connection.
    pub holdings: BTreeMap<Contributor, Holding<Contributor>>,
    /// Connections by service and instance.
    pub pools: BTreeMap<(Arc<str>, Arc<str>), PoolMoments>,
}

/// When requests of a process had connections: until their last statement, and until their end. Which of the two it is shows by
/// which are always as many while others wait.
#[derive(Clone, Debug, Default)]
pub struct PoolMoments {
    pub to_last: Requests,
    pub to_end: Requests,
}

impl PoolMoments {
    pub fn merge(&mut self, other: &PoolMoments) {
        self.to_last.merge(&other.to_last);
        self.to_end.merge(&other.to_end);
    }
}

/// Whether calls of one kind ask the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sameness {
    /// Calls whose data are known.
    pub known: u64,
    /// Calls whose data are not.
    pub unknown: u64,
    /// Different data; one more than [`FEW_DATA`] stands for many.
    pub different: BTreeSet<u32>,
}

impl Sameness {
    pub(super) fn add(&mut self, data: u32) {
        if data == 0 {
            self.unknown += 1;
            return;
        }
        self.known += 1;
        if self.different.len() <= FEW_DATA {
            self.different.insert(data);
        }
    }

    pub(super) fn merge(&mut self, other: Sameness) {
        self.known += other.known;
        self.unknown += other.unknown;
        self.different.extend(other.different);
        // Which of many are kept depends on the order; that there are many does not.
        if self.different.len() > FEW_DATA {
            self.different = (0..=FEW_DATA as u32).collect();
        }
    }

    /// All calls are known and ask one of a few questions.
    pub fn is_the_same(&self) -> bool {
        self.unknown == 0 && self.known > 0 && self.different.len() <= FEW_DATA
    }
}

impl Evidence {
    /// Adds another share of the same step.
    pub fn merge(&mut self, other: Evidence) {
        for (key, part) in other.patterns {
            self.patterns.entry(key).or_default().merge(&part);
        }
        for (key, n) in other.loops {
            *self.loops.entry(key).or_default() += n;
        }
        for (key, data) in other.data {
            self.data.entry(key).or_default().merge(data);
        }
        for (key, questions) in other.questions {
            self.questions.entry(key).or_default().merge(questions);
        }
        for (mine, theirs) in [(&mut self.hits, other.hits), (&mut self.looks, other.looks)] {
            for (key, (hits, all)) in theirs {
                let mine = mine.entry(key).or_default();
                *mine = (mine.0 + hits, mine.1 + all);
            }
        }
        for (key, times) in other.instances {
            self.instances.entry(key).or_insert_with(Histogram::coarse).merge(&times);
        }
        for (key, users) in other.users {
            self.users.entry(key).or_default().extend(&users, USERS);
        }
        for (mine, theirs) in [(&mut self.stretches, other.stretches), (&mut self.blocks, other.blocks)] {
            for (key, stretches) in theirs {
                mine.entry(key).or_default().merge(stretches);
            }
        }
        for (key, requests) in other.requests {
            self.requests.entry(key).or_default().merge(&requests);
        }
        for (mine, theirs) in [(&mut self.askers, other.askers), (&mut self.callers, other.callers)] {
            for (key, requests) in theirs {
                mine.entry(key).or_default().merge(&requests);
            }
        }
        for (page, holding) in other.holdings {
            self.holdings.entry(page).or_default().merge(holding);
        }
        for (key, moments) in other.pools {
            self.pools.entry(key).or_default().merge(&moments);
        }
    }

    /// What one pattern has of a contributor: of its group, or of itself where it has none.
    pub fn by_owner(&self, pattern: Pattern, who: &Contributor) -> Option<&Part> {
        let part = |who: Contributor| self.patterns.get(&(pattern, who));
        part(super::anywhere(who)).or_else(|| part(who.clone()))
    }

    /// The parts of one pattern.
    pub fn of(&self, pattern: Pattern) -> impl Iterator<Item = (&Contributor, &Part)> {
        self.patterns.iter().filter(move |(key, _)| key.0 == pattern).map(|(key, part)| (&key.1, part))
    }
}
