//! What requests do while they hold a connection of their service's pool: gathered by number while traces are at hand, in sums that
//! merge to the same whole in any order.
//!
//! Few drivers record how long a connection is out of its pool. What spans tell: a wait for one (`pool acquire`, `connect`) ends as it is
//! handed out; a transaction keeps one from its beginning to its end; and a driver that tidies up a connection (`RESET ALL`,
//! `DISCARD ALL`) gives it back. Whether it is kept between loose statements, and after the last, no span tells: such time is summed
//! apart, and [`holders`](super::holders) decides by all requests of the service.

use super::evidence::PoolMoments;
use crate::analysis::blame::Blamer;
use crate::analysis::names::{MixedMap, NONE, Names};
use crate::analysis::result::{Category, Contributor, FindingKind};
use crate::analysis::row::Row;
use crate::analysis::sums::Call;
use crate::analysis::tally::Occasion;
use std::collections::BTreeMap;

/// Time, by what was done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing<K: Ord> {
    /// None of those below: the service's own code.
    pub own: u64,
    /// Statements, calls to others, and waits that spans name.
    pub spans: BTreeMap<K, u64>,
}

/// What the requests of one page do with connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding<K: Ord> {
    /// Requests that held one.
    pub requests: u64,
    /// While one is held for sure.
    pub held: Doing<K>,
    /// Between statements that may be on one connection each.
    pub between: Doing<K>,
    /// From the last statement to the end of the request.
    pub after: Doing<K>,
}

impl<K: Ord> Default for Doing<K> {
    fn default() -> Doing<K> {
        Doing { own: 0, spans: BTreeMap::new() }
    }
}

impl<K: Ord> Default for Holding<K> {
    fn default() -> Holding<K> {
        Holding { requests: 0, held: Doing::default(), between: Doing::default(), after: Doing::default() }
    }
}

impl<K: Ord> Doing<K> {
    pub fn merge(&mut self, other: Doing<K>) {
        self.own += other.own;
        for (what, time) in other.spans {
            *self.spans.entry(what).or_default() += time;
        }
    }

    pub fn total(&self) -> u64 {
        self.own + self.spans.values().sum::<u64>()
    }
}

impl<K: Ord> Holding<K> {
    pub fn merge(&mut self, other: Holding<K>) {
        self.requests += other.requests;
        self.held.merge(other.held);
        self.between.merge(other.between);
        self.after.merge(other.after);
    }
}

impl Doing<u32> {
    fn named(self, names: &Names) -> Doing<Contributor> {
        let mut named = Doing { own: self.own, ..Doing::default() };
        for (what, time) in self.spans {
            *named.spans.entry(names.who(what).clone()).or_default() += time;
        }
        named
    }
}

impl Holding<u32> {
    pub fn named(self, names: &Names) -> Holding<Contributor> {
        Holding {
            requests: self.requests,
            held: self.held.named(names),
            between: self.between.named(names),
            after: self.after.named(names),
        }
    }
}

/// What a span has to do with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Begin,
    End,
    Reset,
    Statement,
    Acquire,
    Other,
}

/// A span of one request: interval, what it is, and what it does.
#[derive(Clone, Copy, Debug)]
struct Span {
    caller: u32,
    from: u64,
    to: u64,
    key: u32,
    role: Role,
    span_id: u64,
}

/// How sure it is that a connection is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Held,
    Between,
    After,
}

/// One stay of a connection with a request: since when it waited, since when it has it, until its last statement, and until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stay {
    waits: u64,
    from: u64,
    last: u64,
    end: u64,
}

/// Gathers by number, in buffers that are used again.
#[derive(Default)]
pub struct Holdings {
    /// By step and page.
    pub pages: MixedMap<(u16, u32), Holding<u32>>,
    /// By step, service and process.
    pub moments: MixedMap<(u16, u32, u32), PoolMoments>,
    roles: Vec<Option<Role>>,
    spans: Vec<Span>,
    times: Vec<(u64, u64, How)>,
    stays: Vec<Stay>,
    reach: Vec<u64>,
    /// By how sure it is.
    sums: [Sum; 3],
}

/// What one request does: spans of one kind mostly follow each other, so that few are looked up.
#[derive(Default)]
struct Sum {
    own: u64,
    spans: Vec<(u32, u64)>,
}

impl Sum {
    fn add(&mut self, key: u32, time: u64) {
        match self.spans.last_mut() {
            Some((last, sum)) if *last == key => *sum += time,
            _ => self.spans.push((key, time)),
        }
    }

    fn drain(&mut self, weight: u64, doing: &mut Doing<u32>) {
        doing.own += std::mem::take(&mut self.own) * weight;
        for (key, time) in self.spans.drain(..) {
            *doing.spans.entry(key).or_default() += time * weight;
        }
    }
}

impl Holdings {
    /// Takes in the calls and waits of one exchange that has database statements.
    pub fn exchange(
        &mut self,
        blamer: &Blamer,
        rows: &[Row],
        (calls, waits): (&[Call], &[Call]),
        (step, on): (u16, Occasion),
        names: &Names,
    ) {
        let nodes = &blamer.forest.nodes;
        let mut spans = std::mem::take(&mut self.spans);
        spans.clear();
        for call in calls.iter().chain(waits).filter(|c| c.caller != NONE) {
            let role = self.role(call.key, names);
            spans.push(Span {
                caller: call.caller,
                from: call.start,
                to: call.end,
                key: call.key,
                role,
                span_id: call.span_id,
            });
        }
        spans.sort_by_key(|s| (s.caller, s.from, s.to, s.span_id));
        for own in spans.chunk_by(|a, b| a.caller == b.caller) {
            if own.iter().all(|s| matches!(s.role, Role::Other | Role::Acquire)) {
                continue;
            }
            let entry = &nodes[own[0].caller as usize];
            let (from, to) = (entry.from, entry.to);
            self.times.clear();
            self.stays.clear();
            stays(own, (from, to), &mut self.times, &mut self.stays);
            reach(own, &mut self.reach);
            for (from, to, how) in &self.times {
                divide(own, &self.reach, (*from, *to), &mut self.sums[*how as usize]);
            }
            let page = self.pages.entry((step, entry.owner)).or_default();
            page.requests += on.weight;
            let doings = [&mut page.held, &mut page.between, &mut page.after];
            self.sums.iter_mut().zip(doings).for_each(|(sum, doing)| sum.drain(on.weight, doing));
            let Some(row) = rows.get(entry.row as usize) else { continue };
            let moments = self.moments.entry((step, entry.service, row.host)).or_default();
            for stay in &self.stays {
                moments.to_last.add(stay.waits, stay.from, stay.last);
                moments.to_end.add(stay.waits, stay.from, stay.end);
            }
        }
        self.spans = spans;
    }

    fn role(&mut self, key: u32, names: &Names) -> Role {
        let at = key as usize;
        if at >= self.roles.len() {
            self.roles.resize(at + 1, None);
        }
        *self.roles[at].get_or_insert_with(|| role(names.who(key)))
    }
}

fn role(who: &Contributor) -> Role {
    let name = who.name.to_ascii_uppercase();
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    match who.category {
        Category::Database if name.contains("RESET ALL") || starts(&["DISCARD ALL"]) => Role::Reset,
        Category::Database if starts(&["BEGIN", "START TRANSACTION"]) => Role::Begin,
        Category::Database if starts(&["ROLLBACK TO"]) => Role::Statement,
        Category::Database if starts(&["COMMIT", "ROLLBACK", "END TRANSACTION"]) || name == "END" => {
            Role::End
        }
        Category::Database => Role::Statement,
        // Pools of an HTTP client are for other connections.
        Category::Queue
            if !name.contains("HTTP")
                && super::dominant::queue_kind(&who.name, &who.system) == FindingKind::PoolWait =>
        {
            Role::Acquire
        }
        _ => Role::Other,
    }
}

/// When a request holds a connection, of its spans in the order of their start.
fn stays(
    spans: &[Span],
    (begins, ends): (u64, u64),
    times: &mut Vec<(u64, u64, How)>,
    stays: &mut Vec<Stay>,
) {
    let statement = |s: &&Span| !matches!(s.role, Role::Other | Role::Acquire);
    let begun_by = |moment: u64| spans.partition_point(|s| s.from < moment);
    let first_acquire = spans.iter().position(|s| s.role == Role::Acquire).unwrap_or(spans.len());
    let acquires = first_acquire < spans.len();
    let (mut at, mut free) = (0, begins);
    // Without a recorded wait: from statement to statement, and to the one that tidies up.
    while let Some(next) = spans[at..first_acquire].iter().position(|s| statement(&s)) {
        let first = &spans[at + next];
        let before = spans[at..at + next].iter().map(|s| s.to).fold(free, u64::max);
        let reset = spans[at..first_acquire].iter().find(|s| s.role == Role::Reset);
        let end = reset.map_or(first_acquire, |reset| begun_by(reset.from + 1).min(first_acquire));
        let own = || spans[at..end].iter().filter(statement);
        let last = own().map(|s| s.to).max().unwrap_or(first.to);
        if reset.is_some() {
            times.push((first.from, last, How::Held));
        } else {
            loose(own(), times);
        }
        let until = if reset.is_some() || acquires { last } else { ends.max(last) };
        if until > last {
            times.push((last, until, How::After));
        }
        stays.push(Stay { waits: before.min(first.from), from: first.from, last, end: until });
        free = spans[at..end].iter().map(|s| s.to).fold(free, u64::max);
        at = end;
    }
    // Waits of a pool and of what it opens are one.
    let mut at = first_acquire;
    while let Some(acquire) = spans.get(at) {
        let mut got = acquire.to;
        let next = |from: usize| {
            spans[from..].iter().position(|s| s.role == Role::Acquire).map_or(spans.len(), |n| from + n)
        };
        let mut end = next(at + 1);
        while let Some(within) = spans.get(end).filter(|s| s.from < got) {
            got = got.max(within.to);
            end = next(end + 1);
        }
        let own = || spans[at..end].iter().filter(statement);
        if let Some(last) = own().map(|s| s.to.max(got)).max() {
            let tidied = own().any(|s| s.role == Role::Reset);
            let until = if tidied || end < spans.len() { last } else { ends.max(last) };
            times.push((got, last, How::Held));
            if until > last {
                times.push((last, until, How::After));
            }
            stays.push(Stay { waits: acquire.from, from: got, last, end: until });
        }
        at = end;
    }
}

/// Transactions hold their connection; of other statements each does, for as long as it takes.
fn loose<'a>(statements: impl Iterator<Item = &'a Span>, times: &mut Vec<(u64, u64, How)>) {
    let mut within = false;
    let mut until: Option<u64> = None;
    for s in statements {
        if let Some(until) = until.filter(|until| s.from > *until) {
            times.push((until, s.from, if within { How::Held } else { How::Between }));
        }
        let from = until.map_or(s.from, |until| s.from.max(until));
        if s.to > from {
            times.push((from, s.to, How::Held));
        }
        until = Some(until.map_or(s.to, |until| until.max(s.to)));
        match s.role {
            Role::Begin => within = true,
            Role::End => within = false,
            _ => {}
        }
    }
}

/// Divides time among what the request does in it: what began first, until it ends, then the next; its own code where nothing is.
/// `reach` says up to when all spans to each are over.
fn divide(spans: &[Span], reach: &[u64], (from, to): (u64, u64), sum: &mut Sum) {
    let mut at = from;
    let first = reach.partition_point(|over| *over <= from);
    for span in spans[first..].iter().take_while(|s| s.from < to) {
        let begins = span.from.max(at);
        let ends = span.to.min(to);
        if ends > begins {
            sum.own += begins - at;
            sum.add(span.key, ends - begins);
            at = ends;
        }
    }
    sum.own += to.saturating_sub(at);
}

/// The latest end of the spans up to each.
fn reach(spans: &[Span], out: &mut Vec<u64>) {
    out.clear();
    let mut latest = 0;
    out.extend(spans.iter().map(|s| {
        latest = latest.max(s.to);
        latest
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: u32 = 99;

    /// Spans by role and interval.
    fn spans(all: &[(Role, u64, u64)]) -> Vec<Span> {
        let span = |(i, (role, from, to)): (usize, &(Role, u64, u64))| {
            let key = if *role == Role::Other { CALL } else { i as u32 };
            Span { caller: 0, from: *from, to: *to, key, role: *role, span_id: i as u64 }
        };
        all.iter().enumerate().map(span).collect()
    }

    /// Held, between and after: own time and calls, of a request from 0 to 1000; and its stays.
    fn of(all: &[(Role, u64, u64)]) -> ([(u64, u64); 3], Vec<Stay>) {
        let spans = spans(all);
        let (mut times, mut found) = (Vec::new(), Vec::new());
        stays(&spans, (0, 1000), &mut times, &mut found);
        let sum = |how: How| {
            let mut sum = Sum::default();
            let mut over = Vec::new();
            reach(&spans, &mut over);
            let times = times.iter().filter(|t| t.2 == how);
            times.for_each(|t| divide(&spans, &over, (t.0, t.1), &mut sum));
            let mut doing = Doing::default();
            sum.drain(1, &mut doing);
            (doing.own, doing.spans.get(&CALL).copied().unwrap_or(0))
        };
        ([sum(How::Held), sum(How::Between), sum(How::After)], found)
    }

    use Role::{Acquire, Begin, End, Other, Reset, Statement};

    #[test]
    fn a_transaction_holds_its_connection_from_its_beginning_to_its_end() {
        let (sums, stays) = of(&[
            (Begin, 100, 110),
            (Statement, 120, 130),
            (Other, 140, 640),
            (Statement, 650, 660),
            (End, 660, 670),
        ]);
        assert_eq!(sums, [(30, 500), (0, 0), (330, 0)]);
        assert_eq!(stays, [Stay { waits: 0, from: 100, last: 670, end: 1000 }]);
        // Two of them, between which it calls.
        let (sums, _) =
            of(&[(Begin, 100, 110), (End, 120, 130), (Other, 140, 640), (Begin, 650, 660), (End, 670, 680)]);
        assert_eq!(sums, [(20, 0), (20, 500), (320, 0)]);
    }

    #[test]
    fn what_is_tidied_up_is_given_back() {
        let (sums, stays) = of(&[
            (Statement, 100, 110),
            (Other, 120, 320),
            (Reset, 330, 340),
            (Other, 350, 550),
            (Statement, 600, 610),
            (Reset, 610, 620),
        ]);
        assert_eq!(sums, [(20, 200), (0, 0), (0, 0)]);
        let first = Stay { waits: 0, from: 100, last: 340, end: 340 };
        assert_eq!(stays, [first, Stay { waits: 550, from: 600, last: 620, end: 620 }]);
    }

    #[test]
    fn a_recorded_wait_ends_as_a_connection_is_handed_out() {
        // A pool's wait with the one of the connection that it opens within, and a second stay.
        let (sums, stays) = of(&[
            (Acquire, 100, 300),
            (Acquire, 110, 290),
            (Statement, 310, 320),
            (Other, 330, 430),
            (Statement, 440, 450),
            (Other, 460, 500),
            (Acquire, 510, 610),
            (Statement, 610, 700),
            (Other, 700, 900),
        ]);
        assert_eq!(sums, [(30, 100), (0, 0), (100, 200)]);
        let second = Stay { waits: 510, from: 610, last: 700, end: 1000 };
        assert_eq!(stays, [Stay { waits: 100, from: 300, last: 450, end: 450 }, second]);
        // One that got nothing.
        assert_eq!(of(&[(Acquire, 100, 300), (Other, 400, 500)]).0, [(0, 0); 3]);
    }

    #[test]
    fn between_loose_statements_nobody_knows() {
        let (sums, stays) = of(&[(Statement, 100, 110), (Other, 120, 320), (Statement, 330, 340)]);
        assert_eq!(sums, [(0, 0), (20, 200), (660, 0)]);
        assert_eq!(stays, [Stay { waits: 0, from: 100, last: 340, end: 1000 }]);
    }

    #[test]
    fn overlapping_spans_are_counted_once() {
        let (sums, _) = of(&[
            (Begin, 100, 110),
            (Other, 110, 300),
            (Other, 110, 200),
            (Statement, 250, 400),
            (End, 400, 410),
        ]);
        assert_eq!(sums, [(0, 190), (0, 0), (590, 0)]);
    }
}
