//! Gathers the evidence of one request at a time, over its calls only, while traces are at hand; by number, and by name at last.

use super::event_loop::{LONG, Requests, Stretches};
use super::evidence::{EMBEDDED, PATTERNS, Pattern, Sameness};
use super::holding::Holdings;
use super::questions::Questions;
use super::races::Answers;
use super::uncached as cache;
use crate::analysis::blame::Blamer;
use crate::analysis::names::{MixedMap, NONE, Names};
use crate::analysis::result::Category;
use crate::analysis::row::{COLD, ERROR, HIT, IN_LOOP, IN_WORKERS, MISS, Row, THROTTLED, TIMED_OUT};
use crate::analysis::sums::{Call, Table};
use crate::analysis::tally::{Occasion, StepTally};
use crate::analysis::tree::{ENTRY, HOP, Node};
use crate::record::{Nanos, SpanKind};
use crate::stats::Histogram;
use std::collections::BTreeMap;

/// Calls to other services in one request from which they are counted together.
const MANY_CALLS: usize = 10;
/// Statements in one request from which they are counted together.
const MANY_QUERIES: usize = 20;
/// Calls at the same moment from which they are counted together.
const MANY_AT_ONCE: usize = 10;
/// Calls one after the other, to more than one peer, from which they are counted together.
const IN_A_ROW: usize = 3;
/// Own time of the caller between two calls of a series that counts as the price of a call: what a mapper and a driver do for
/// one in a slow language. More than that is work of the loop's own.
const BETWEEN_CALLS: u64 = Nanos::from_millis(1).0;

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

/// Where the request was taken in that a node belongs to, if that is known: its process, or an event loop there.
fn taken_in_at(blamer: &Blamer, rows: &[Row], node: u32) -> Option<u32> {
    let nodes = &blamer.forest.nodes;
    let entry = nodes.get(nodes.get(node as usize)?.entry as usize)?;
    rows.get(entry.row as usize).map(Row::place)
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

    /// Entries by instance, cold starts, requests, and long pieces of own time.
    fn own_time(&mut self, blamer: &Blamer, rows: &[Row], (step, on): On, names: &Names) {
        let nodes = &blamer.forest.nodes;
        self.streamed(blamer, (step, on), names);
        self.reading(blamer, (step, on), names);
        self.idle(blamer, rows, (step, on), names);
        self.after_answer(blamer, rows, step, names);
        self.before.clear();
        self.asked.clear();
        for (at, piece) in blamer.pieces.iter().enumerate() {
            let Some(node) = nodes.get(piece.node as usize) else { continue };
            let host = rows[node.row as usize].host;
            let place = taken_in_at(blamer, rows, piece.node).unwrap_or(host);
            if names.category(piece.owner) == Category::App {
                let owner = whole(piece.owner, names);
                let long = piece.end - piece.start >= LONG;
                if long {
                    self.stretches.entry((step, owner, place)).or_default().add(piece.start, piece.end);
                }
                let next =
                    blamer.pieces.get(at + 1).filter(|p| names.category(p.owner) == Category::Database);
                let asks =
                    next.and_then(|p| nodes.get(p.node as usize)).is_some_and(|n| n.entry == node.entry);
                if asks && long {
                    self.before.push((owner, piece.end - piece.start));
                }
                if asks && node.entry != NONE && !self.asked.contains(&node.entry) {
                    self.asked.push(node.entry);
                    let asker = self.askers.entry((step, owner, host)).or_default();
                    asker.add(piece.start, piece.end, nodes[node.entry as usize].end);
                }
            }
            // Each entry on the path is taken once, with the piece that ends it.
            if node.entry == NONE {
                continue;
            }
            let at = &nodes[node.entry as usize];
            if piece.end != at.end || at.flags & ENTRY == 0 || at.row == NONE {
                continue;
            }
            let row = &rows[at.row as usize];
            let times = self.instances.entry((step, at.owner, row.host)).or_insert_with(Histogram::coarse);
            times.record_n(Nanos(at.end - at.start), on.weight);
            if at.kind != SpanKind::Consumer {
                let requests = self.requests.entry((step, at.service, row.place())).or_default();
                requests.add(nodes[at.parent as usize].from, at.from, at.to);
                requests.in_loop += u64::from(row.flags & IN_LOOP != 0);
                requests.in_workers += u64::from(row.flags & IN_WORKERS != 0);
            }
            if row.flags & COLD != 0 {
                let time = blamer.windows[node.entry as usize];
                self.tables[Pattern::Cold as usize].part(step, at.owner).add(time, time, on);
            }
        }
        self.add_by_owner(Pattern::BeforeDatabase, (step, on));
    }

    /// Long own time right before calls to other services, and since when each call's caller did nothing else.
    fn before_calls(&mut self, blamer: &Blamer, on: On, names: &Names) {
        let nodes = &blamer.forest.nodes;
        self.before.clear();
        self.called.clear();
        for pair in blamer.pieces.windows(2) {
            let (piece, next) = (&pair[0], &pair[1]);
            if names.category(piece.owner) != Category::App {
                continue;
            }
            let (Some(node), Some(call)) = (nodes.get(piece.node as usize), nodes.get(next.node as usize))
            else {
                continue;
            };
            // A way that takes no time has no piece: then the service that is called is next.
            let (at, call) = match nodes.get(call.parent as usize) {
                Some(way) if call.flags & ENTRY != 0 && way.flags & HOP != 0 => (call.parent, way),
                _ => (next.node, call),
            };
            if call.entry != node.entry || call.from != piece.end || !is_outside(call, names) {
                continue;
            }
            self.called.push((at, piece.start));
            if piece.end - piece.start >= LONG {
                self.before.push((whole(piece.owner, names), piece.end - piece.start));
            }
        }
        self.called.sort_unstable();
        self.add_by_owner(Pattern::BeforeCall, on);
    }

    /// Own time of the service that answers the client after the first byte of its answer.
    fn streamed(&mut self, blamer: &Blamer, (step, on): On, names: &Names) {
        self.before.clear();
        for piece in blamer.pieces.iter().rev() {
            let Some(node) = blamer.forest.nodes.get(piece.node as usize) else { continue };
            let first_byte = blamer.first_byte;
            if piece.end <= first_byte {
                break;
            }
            if node.service == blamer.answering && names.category(piece.owner) == Category::App {
                self.before.push((whole(piece.owner, names), piece.end - piece.start.max(first_byte)));
            }
        }
        self.add_by_owner(Pattern::Streamed, (step, on));
    }

    /// Own time right after statements of a database within the process.
    fn reading(&mut self, blamer: &Blamer, (step, on): On, names: &Names) {
        self.before.clear();
        let entry = |node: u32| blamer.forest.nodes.get(node as usize).map(|n| n.entry);
        for pair in blamer.pieces.windows(2) {
            let (asked, after) = (&pair[0], &pair[1]);
            if names.category(after.owner) == Category::App
                && names.category(asked.owner) == Category::Database
                && asked.end == after.start
                && names.who(asked.owner).system.as_ref() == EMBEDDED
                && entry(asked.node) == entry(after.node)
            {
                self.before.push((whole(asked.owner, names), after.end - after.start));
            }
        }
        self.add_by_owner(Pattern::Reading, (step, on));
    }

    /// Own time in which nothing of its span ran: of what the tracer counted so much as does not fit into what the span waited for.
    fn idle(&mut self, blamer: &Blamer, rows: &[Row], (step, on): On, names: &Names) {
        let row = |node: u32| rows.get(blamer.forest.nodes.get(node as usize)?.row as usize);
        self.data.clear();
        let own = blamer.pieces.iter().filter(|piece| names.category(piece.owner) == Category::App);
        let own = own.filter(|piece| row(piece.node).is_some_and(|row| row.idle() > 0));
        self.data.extend(own.map(|piece| (piece.node, piece.end - piece.start, piece.owner)));
        self.data.sort_unstable();
        self.before.clear();
        for of_node in self.data.chunk_by(|a, b| a.0 == b.0) {
            let Some(row) = row(of_node[0].0) else { continue };
            let own: u64 = of_node.iter().map(|(_, time, _)| time).sum();
            let elsewhere = (row.end - row.start).saturating_sub(own);
            let idle = row.idle().saturating_sub(elsewhere).min(own);
            if idle > 0 {
                self.before.push((whole(of_node[0].2, names), idle));
            }
        }
        self.add_by_owner(Pattern::Idle, (step, on));
    }

    /// Long own time of the process that answers the client, after the client has its answer: background tasks, and what a handler does
    /// once it has sent. Nobody waits for it but those who come meanwhile.
    fn after_answer(&mut self, blamer: &Blamer, rows: &[Row], step: u16, names: &Names) {
        let forest = &blamer.forest;
        let nodes = &forest.nodes;
        let mut entries =
            blamer.pieces.iter().filter_map(|piece| nodes.get(piece.node as usize)).map(|n| n.entry);
        let is_answering =
            |at: &u32| nodes.get(*at as usize).is_some_and(|n| (n.parent as usize) < forest.roots);
        let Some(entry) = entries.find(is_answering) else { return };
        let answered = nodes[nodes[entry as usize].parent as usize].to;
        for (at, node) in nodes.iter().enumerate().skip(forest.roots) {
            let late = node.entry == entry && node.to >= answered + LONG;
            if !late || node.row == NONE || names.category(node.owner) != Category::App {
                continue;
            }
            let place = taken_in_at(blamer, rows, at as u32).unwrap_or(rows[node.row as usize].host);
            let kids = forest.kids(at as u32).iter().map(|kid| &nodes[*kid as usize]);
            let mut calls: Vec<(u64, u64)> = kids.map(|kid| (kid.from, kid.to)).collect();
            calls.push((node.to, node.to));
            calls.sort_unstable();
            let mut over = node.from.max(answered);
            for (from, to) in calls {
                let until = from.min(node.to);
                if until >= over + LONG {
                    let stretches =
                        self.stretches.entry((step, whole(node.owner, names), place)).or_default();
                    stretches.add(over, until);
                }
                over = over.max(to);
            }
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

    /// Calls of one kind: duplicates, failures and time limits, and what is the same about them.
    fn one_kind(&mut self, blamer: &Blamer, rows: &[Row], same: &[Call], (step, on): On, names: &Names) {
        let nodes = &blamer.forest.nodes;
        let row = |c: &Call| &rows[nodes[c.node as usize].row as usize];
        let window = |c: &Call| blamer.windows[c.node as usize];
        let key = same[0].key;
        let category = names.category(key);
        let place = u64::from(step) << 32 | u64::from(key);
        let flags = same.iter().fold(0, |f, c| f | row(c).flags);
        for call in same.iter().filter(|c| c.end - c.start >= LONG) {
            let at = taken_in_at(blamer, rows, call.node).unwrap_or(row(call).host);
            let stretches = self.stretches.entry((step, key, at)).or_default();
            stretches.add(call.start, call.end);
        }
        // Calls of one kind are to one service.
        let outside = if is_outside(&nodes[same[0].node as usize], names) { same } else { &[] };
        for call in outside {
            let known = self.called.binary_search_by_key(&call.node, |c| c.0);
            let since = known.map_or(call.start, |at| self.called[at].1);
            let entry = nodes.get(call.caller as usize).and_then(|entry| rows.get(entry.row as usize));
            let host = entry.unwrap_or(row(call)).host;
            self.callers.entry((step, key, host)).or_default().add(since, call.start, call.end);
        }
        if matches!(category, Category::Database | Category::Search | Category::Cache) {
            let sameness = self.same.entry(place).or_default();
            same.iter().for_each(|c| sameness.add(row(c).data));
            if category == Category::Cache {
                let questions = self.questions.entry(place).or_default();
                same.iter().for_each(|c| questions.add(row(c).data, on.url));
            }
            if same.len() > 1 {
                self.duplicates(blamer, rows, same, (step, on));
            }
        }
        if flags & (HIT | MISS) != 0 {
            let (hits, all) = self.hits.entry(place).or_default();
            for call in same.iter().filter(|c| row(c).flags & (HIT | MISS) != 0) {
                *hits += u64::from(row(call).flags & HIT != 0);
                *all += 1;
            }
        }
        if flags & TIMED_OUT != 0 {
            let ended = same.iter().filter(|c| {
                row(c).flags & TIMED_OUT != 0
                    && !self.answers.beat(&blamer.forest, rows, (c.node, c.start, c.end))
            });
            let ended: Vec<&Call> = ended.collect();
            let time = ended.iter().map(|c| window(c)).sum();
            if !ended.is_empty() {
                let part = self.tables[Pattern::TimedOut as usize].part(step, key);
                part.calls += ended.len() as u64 * on.weight;
                part.add(time, time, on);
            }
        }
        if flags & ERROR != 0 && same.len() > 1 {
            let failed = |c: &Call| row(c).flags & (ERROR | THROTTLED) == ERROR;
            let (mut again, mut time) = (0, 0);
            for pair in same.windows(2) {
                // One after the other, by the same request: the first failed, so it was made again.
                if pair[0].caller == pair[1].caller && failed(&pair[0]) && pair[0].end <= pair[1].start {
                    again += 1;
                    time += window(&pair[0]);
                }
            }
            if again > 0 {
                let part = self.tables[Pattern::Retried as usize].part(step, key);
                part.calls += again * on.weight;
                part.add(time, time, on);
            }
        }
    }

    fn duplicates(&mut self, blamer: &Blamer, rows: &[Row], same: &[Call], (step, on): On) {
        let nodes = &blamer.forest.nodes;
        self.data.clear();
        self.data.extend(same.iter().filter_map(|c| {
            let data = rows[nodes[c.node as usize].row as usize].data;
            (data != 0).then_some((data, c.end, c.node))
        }));
        self.data.sort_unstable();
        let (mut calls, mut time, mut removable) = (0, 0, 0);
        for again in self.data.chunk_by(|a, b| a.0 == b.0).filter(|again| again.len() > 1) {
            let window = |at: &(u32, u64, u32)| blamer.windows[at.2 as usize];
            calls += again.len() as u64;
            time += again.iter().map(window).sum::<u64>();
            removable += again[1..].iter().map(window).sum::<u64>();
        }
        if calls > 0 {
            let part = self.tables[Pattern::Duplicate as usize].part(step, same[0].key);
            part.calls += calls * on.weight;
            // What a fix leaves is no loss: the first of each stays.
            part.add(removable.min(time), removable, on);
        }
    }

    /// Whether calls in turn all ask the same: then they are duplicates, and no series over different rows.
    pub fn same_question(&mut self, calls: &[Call], blamer: &Blamer, rows: &[Row]) -> bool {
        let data = |c: &Call| rows[blamer.forest.nodes[c.node as usize].row as usize].data;
        let first = data(&calls[0]);
        first != 0 && calls.len() > 1 && calls.iter().all(|c| data(c) == first)
    }

    /// What only all calls of one request of a service show together.
    fn by_caller(&mut self, blamer: &Blamer, calls: &[Call], (step, on): On, names: &Names) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..calls.len() as u32);
        order.sort_by_key(|i| {
            let c = &calls[*i as usize];
            (c.caller, c.start, c.end, *i)
        });
        for own in order.chunk_by(|a, b| calls[*a as usize].caller == calls[*b as usize].caller) {
            let caller = calls[own[0] as usize].caller;
            if own.len() < IN_A_ROW || caller == NONE {
                continue;
            }
            let who = blamer.forest.nodes[caller as usize].owner;
            self.looks(calls, own, (step, on), names);
            let outside = |c: &&Call| {
                let node = &blamer.forest.nodes[c.node as usize];
                node.flags & HOP != 0 || names.category(c.key) == Category::External
            };
            let all = || own.iter().map(|i| &calls[*i as usize]);
            let window = |c: &Call| blamer.windows[c.node as usize];
            let sum = |calls: &[&Call]| -> (u64, u64) {
                let spent = calls.iter().map(|c| window(c)).sum();
                (spent, calls.iter().map(|c| window(c)).max().unwrap_or(0))
            };
            let calls_out: Vec<&Call> = all().filter(outside).collect();
            let queries: Vec<&Call> = all().filter(|c| names.category(c.key) == Category::Database).collect();
            if queries.len() >= MANY_QUERIES {
                let (spent, longest) = sum(&queries);
                let part = self.tables[Pattern::ManyQueries as usize].part(step, who);
                part.calls += queries.len() as u64 * on.weight;
                part.add(spent, spent - longest, on);
            }
            if calls_out.len() >= MANY_CALLS {
                let (spent, longest) = sum(&calls_out);
                let part = self.tables[Pattern::Chatty as usize].part(step, who);
                part.calls += calls_out.len() as u64 * on.weight;
                part.add(spent, spent - longest, on);
                let at_once = at_once(&calls_out, &mut self.ends);
                if at_once >= MANY_AT_ONCE {
                    let mean =
                        calls_out.iter().map(|c| c.end - c.start).sum::<u64>() / calls_out.len() as u64;
                    let part = self.tables[Pattern::FanOut as usize].part(step, who);
                    part.calls += at_once as u64 * on.weight;
                    part.add(spent, spent.saturating_sub(mean), on);
                }
            }
            if calls_out.len() >= IN_A_ROW {
                self.in_a_row(blamer, &calls_out, who, (step, on));
            }
        }
        self.order = order;
    }

    /// Looks into a cache, where spans do not say what they found: one after which something else is asked and the same cache
    /// is written to found nothing. `own` are indices into `calls`, in order of their start.
    fn looks(&mut self, calls: &[Call], own: &[u32], (step, on): On, names: &Names) {
        let cached = |c: &Call| names.category(c.key) == Category::Cache;
        let text = |c: &Call| names.who(c.key).name.as_ref();
        let call = |i: &u32| &calls[*i as usize];
        for (at, look) in own.iter().enumerate().map(|(at, i)| (at, call(i))) {
            if !cached(look) || !cache::reads(text(look)) {
                continue;
            }
            let mut asked = false;
            let mut after = own[at + 1..].iter().map(call).filter(|c| c.start >= look.end);
            let missed = after.any(|c| {
                asked |= matches!(
                    names.category(c.key),
                    Category::Database | Category::Search | Category::External
                );
                asked && cached(c) && cache::fills(text(c), text(look))
            });
            let (hits, all) = self.looks.entry(u64::from(step) << 32 | u64::from(look.key)).or_default();
            *hits += on.weight * u64::from(!missed);
            *all += on.weight;
        }
    }

    /// Calls of one parent, to more than one peer, each after the end of the one before.
    fn in_a_row(&mut self, blamer: &Blamer, calls: &[&Call], who: u32, (step, on): On) {
        let mut row: Vec<&Call> = Vec::new();
        for call in calls {
            let goes_on = row.last().is_some_and(|l| l.parent == call.parent && l.end <= call.start);
            if !goes_on && row.len() < IN_A_ROW {
                row.clear();
            }
            if goes_on || row.is_empty() {
                row.push(call);
            }
        }
        let mut kinds: Vec<u32> = row.iter().map(|c| c.key).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if row.len() < IN_A_ROW || kinds.len() < IN_A_ROW {
            return;
        }
        let window = |c: &&Call| blamer.windows[c.node as usize];
        let spent: u64 = row.iter().map(window).sum();
        let longest = row.iter().map(window).max().unwrap_or(0);
        let part = self.tables[Pattern::InARow as usize].part(step, who);
        part.calls += row.len() as u64 * on.weight;
        // At once, they would take as long as the longest.
        part.add(spent - longest, spent - longest, on);
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

/// How long the caller's own code ran between the calls of a series, sorted by their end, at most [`BETWEEN_CALLS`] before each.
pub fn own_time_between(calls: &[Call], blamer: &Blamer, names: &Names) -> u64 {
    let Some((first, rest)) = calls.split_first() else { return 0 };
    let mut over = first.end;
    let before = |call: &Call| {
        let gap = own_pieces(blamer, names, first.caller, (over, call.start));
        over = over.max(call.end);
        gap.map(|(_, time)| time).sum::<u64>()
    };
    rest.iter().map(before).sum()
}

/// Pieces of a request's own code within a gap between two of its calls: node and time, of all at most [`BETWEEN_CALLS`].
pub fn own_pieces<'a>(
    blamer: &'a Blamer,
    names: &'a Names,
    request: u32,
    (from, to): (u64, u64),
) -> impl Iterator<Item = (u32, u64)> + 'a {
    let (nodes, pieces) = (&blamer.forest.nodes, &blamer.pieces);
    let own = move |node: u32| nodes.get(node as usize).is_some_and(|n| n.entry == request);
    let gap = pieces[pieces.partition_point(|p| p.end <= from)..].iter().take_while(move |p| p.start < to);
    let mut room = BETWEEN_CALLS;
    gap.filter(move |p| own(p.node) && names.category(p.owner) == Category::App).map(move |p| {
        // Calls that overlap have no gap.
        let time = p.end.min(to).saturating_sub(p.start.max(from)).min(room);
        room -= time;
        (p.node, time)
    })
}

/// Most calls under way at one moment; they are sorted by start.
fn at_once(calls: &[&Call], ends: &mut Vec<u64>) -> usize {
    ends.clear();
    ends.extend(calls.iter().map(|c| c.end));
    ends.sort_unstable();
    let (mut ended, mut most) = (0, 0);
    for (begun, call) in calls.iter().enumerate() {
        while ends.get(ended).is_some_and(|end| *end <= call.start) {
            ended += 1;
        }
        most = most.max(begun + 1 - ended.min(begun + 1));
    }
    most
}
