//! Adds the blame of each exchange to the tallies. Scratch tables are indexed by number and cleared by the list of what
//! was touched, so that an exchange costs what it has pieces, not what the run has names.

use super::analyzer::Told;
use super::blame::Blamer;
use super::findings::collector::{Collector, Series, own_time_between};
use super::groups::{Grouping, Urls};
use super::names::{NONE, Names};
use super::pictures::{Blamed, Gathered};
use super::plan::Plans;
use super::result::{ByCategory, Category, Contributor, Gaps};
use super::row::{Asked, COMPOSITE, ERROR, NO_PEER, NO_STATEMENT, Row, THROTTLED};
use super::tally::{Candidate, Occasion, OpTally, Part, StepTally};
use super::timeline::{Clock, Passage, Ticks};
use super::tree::{ENTRY, HOP, Node, OUTER, Repairs, TRANSPORT, leaf};
use super::whatif::{Keep, Retimer};
use crate::record::{Nanos, SpanKind, Timestamp, TraceId};
use crate::stats::Histogram;
use std::collections::BTreeMap;

/// Calls of one kind, one after the other within one request of a service, from which they count as a series.
const SERIES_MIN: u64 = 5;
/// The same where several kinds of calls take turns in one loop, and how many calls these make at least.
const ROUNDS_MIN: u64 = 3;
const LOOP_MIN: u64 = 6;
/// A contributor is retimed in an exchange if it has at least one part in so many of its latency; at most so many have.
const RETIMED_FROM: u64 = 20;

/// Sums of one share of a run, by number.
pub(super) struct Sums {
    limits: Vec<[Nanos; 3]>,
    slow: Vec<Nanos>,
    parts: Table,
    groups: Table,
    series: Table,
    pub ops: Operations,
    /// Spans, and exchanges with one, by service.
    pub services: BTreeMap<u32, (u64, u64)>,
    touched: Vec<(u32, u32)>,
    pub ticks: Ticks,
    pub plans: Plans,
    pub grouping: Grouping,
    pub pictures: Gathered,
    urls: Urls,
    pub repairs: Repairs,
    pub gaps: Gaps,
    pub covered: u64,
    pub coverable: u64,
    own: Scratch,
    group: Scratch,
    op_own: Scratch,
    op_seen: Vec<u64>,
    /// Slices of time by exchange of the trace at hand.
    slices: Vec<usize>,
    service_spans: Scratch,
    root_of: Vec<u32>,
    calls: Vec<Call>,
    /// Waits that spans name, where the trace has statements.
    waits: Vec<Call>,
    retimer: Retimer,
    collector: Collector,
    /// Series of the exchange at hand that are too short to be one by themselves.
    short: Vec<(Series, Repeated)>,
}

/// Calls of a series, and their time.
#[derive(Clone, Copy, Default)]
struct Repeated {
    calls: u64,
    time: u64,
    removable: u64,
    /// Own time of the caller between them, and how much of it could go.
    between: u64,
    between_removable: u64,
}

impl Repeated {
    fn of(calls: u64, time: u64, between: u64) -> Repeated {
        // One call in place of many is what a fix can reach.
        let removable = |time: u64| time - time / calls;
        Repeated { calls, time, removable: removable(time), between, between_removable: removable(between) }
    }

    fn add(&mut self, other: Repeated) {
        self.calls += other.calls;
        self.time += other.time;
        self.removable += other.removable;
        self.between += other.between;
        self.between_removable += other.between_removable;
    }

    /// Adds it to the parts of its kind of calls.
    fn tell(&self, key: u32, step: u16, on: Occasion, series: &mut Table, collector: &mut Collector) {
        let part = series.part(step, key);
        part.calls += self.calls * on.weight;
        part.add(self.time, self.removable, on);
        collector.between(key, (self.between, self.removable + self.between_removable), (step, on));
    }
}

/// Parts by step and number.
#[derive(Default)]
pub(super) struct Table {
    index: Vec<Vec<u32>>,
    parts: Vec<(u16, u32, Part)>,
}

impl Table {
    pub fn part(&mut self, step: u16, number: u32) -> &mut Part {
        let (row, column) = (usize::from(step), number as usize);
        if row >= self.index.len() {
            self.index.resize_with(row + 1, Vec::new);
        }
        let index = &mut self.index[row];
        if column >= index.len() {
            index.resize(column + 1, NONE);
        }
        if index[column] == NONE {
            index[column] = self.parts.len() as u32;
            self.parts.push((step, number, Part::default()));
        }
        &mut self.parts[index[column] as usize].2
    }

    /// The parts with their steps and names.
    pub fn into_named(self, names: &Names) -> impl Iterator<Item = (usize, Contributor, Part)> {
        self.parts
            .into_iter()
            .map(|(step, number, part)| (usize::from(step), names.who(number).clone(), part))
    }

    fn named(
        self,
        names: &Names,
        steps: &mut [StepTally],
        field: fn(&mut StepTally) -> &mut BTreeMap<Contributor, Part>,
    ) {
        for (step, number, part) in self.parts {
            field(&mut steps[usize::from(step)]).insert(names.who(number).clone(), part);
        }
    }
}

/// Operations, own and of a way apart ([`op_key`]).
#[derive(Default)]
pub(super) struct Operations {
    index: Vec<u32>,
    tallies: Vec<(u32, OpTally)>,
    /// By tally the exchange in which it was met last, counted over all traces of one exchange.
    met: Vec<u64>,
    exchanges: u64,
}

impl Operations {
    fn place(&mut self, key: u32) -> usize {
        let at = key as usize;
        if at >= self.index.len() {
            self.index.resize(at + 1, NONE);
        }
        if self.index[at] == NONE {
            self.index[at] = self.tallies.len() as u32;
            self.tallies.push((key, OpTally::default()));
            self.met.push(0);
        }
        self.index[at] as usize
    }

    fn at(&mut self, key: u32) -> &mut OpTally {
        let place = self.place(key);
        &mut self.tallies[place].1
    }

    /// The tally of an operation, and whether this is its first span in the only exchange of the trace at hand.
    fn first_in_exchange(&mut self, key: u32) -> (&mut OpTally, bool) {
        let place = self.place(key);
        let first = self.met[place] != self.exchanges;
        self.met[place] = self.exchanges;
        (&mut self.tallies[place].1, first)
    }

    /// The tallies by operation, and whether they are of the way to it.
    pub fn into_tallies(self) -> impl Iterator<Item = (u32, bool, OpTally)> {
        self.tallies.into_iter().map(|(key, tally)| (key >> 1, key & 1 == 1, tally))
    }
}

/// An operation's number and whether it is the way to one.
fn op_key(node: &Node) -> u32 {
    node.op << 1 | u32::from(node.flags & HOP != 0)
}

/// A sum for each number, and which numbers have one.
#[derive(Default)]
struct Scratch {
    sums: Vec<u64>,
    touched: Vec<u32>,
}

impl Scratch {
    fn add(&mut self, number: u32, value: u64) {
        let at = number as usize;
        if at >= self.sums.len() {
            self.sums.resize(at + 1, 0);
        }
        if self.sums[at] == 0 {
            self.touched.push(number);
        }
        self.sums[at] += value;
    }

    fn drain(&mut self, mut f: impl FnMut(u32, u64)) {
        for number in self.touched.drain(..) {
            f(number, std::mem::take(&mut self.sums[number as usize]));
        }
    }
}

/// A call to something that sends no spans, or to a traced service.
#[derive(Clone, Copy)]
pub(super) struct Call {
    root: u32,
    /// The request of a service that made it.
    pub caller: u32,
    /// What was called.
    pub key: u32,
    pub end: u64,
    pub start: u64,
    pub node: u32,
    pub parent: u32,
    /// How many calls it stands for.
    pub times: u32,
    pub span_id: u64,
}

/// What is kept beside rows, in their order.
pub(super) struct Beside<'a> {
    /// How many calls a row stands for.
    pub composite: &'a [(u32, u32)],
    /// Attributes of the makers' own.
    pub told: &'a [Told],
}

impl Sums {
    pub fn new(limits: Vec<[Nanos; 3]>, slow: Vec<Nanos>, clock: Clock, plans: Plans, urls: Urls) -> Sums {
        let pictures = Gathered::new(clock, limits.len());
        Sums {
            limits,
            slow,
            parts: Table::default(),
            groups: Table::default(),
            series: Table::default(),
            ops: Operations::default(),
            services: BTreeMap::new(),
            touched: Vec::new(),
            ticks: Ticks::new(clock),
            plans,
            grouping: Grouping::default(),
            pictures,
            urls,
            repairs: Repairs::default(),
            gaps: Gaps::default(),
            covered: 0,
            coverable: 0,
            own: Scratch::default(),
            group: Scratch::default(),
            op_own: Scratch::default(),
            op_seen: Vec::new(),
            slices: Vec::new(),
            service_spans: Scratch::default(),
            root_of: Vec::new(),
            calls: Vec::new(),
            waits: Vec::new(),
            retimer: Retimer::default(),
            collector: Collector::default(),
            short: Vec::new(),
        }
    }

    /// Takes in a trace's trees before its exchanges are blamed.
    pub fn trace(
        &mut self,
        blamer: &Blamer,
        rows: &[Row],
        exchanges: usize,
        beside: &Beside<'_>,
        names: &Names,
    ) {
        let forest = &blamer.forest;
        self.repairs.merge(&forest.repairs);
        self.gaps.incomplete += if forest.repairs.orphans > 0 { exchanges as u64 } else { 0 };
        self.retimer.reset();
        self.root_of.clear();
        self.root_of.resize(forest.nodes.len(), 0);
        for &i in &forest.order {
            let node = &forest.nodes[i as usize];
            self.root_of[i as usize] =
                if node.parent == NONE { i } else { self.root_of[node.parent as usize] };
        }
        for node in &forest.nodes[exchanges..] {
            let row = &rows[node.row as usize];
            self.service_spans.add(row.service, 1);
            match names.category(node.owner) {
                Category::Database => {
                    self.gaps.database += 1;
                    self.gaps.without_statement += u64::from(row.flags & NO_STATEMENT != 0);
                }
                Category::External => {
                    self.gaps.external += 1;
                    self.gaps.without_peer += u64::from(row.flags & NO_PEER != 0);
                }
                _ => {}
            }
        }
        let Sums { service_spans, services, .. } = self;
        service_spans.drain(|service, n| services.entry(service).or_default().0 += n);
        self.grouping.trace(forest, rows, (&self.root_of, beside.told), names);
        self.collect_calls(blamer, rows, beside.composite, names);
    }

    /// Counts the spans of a trace by contributor and by operation, on the path or not, each call of a contributor once;
    /// its exchanges have been blamed.
    pub fn end_trace(&mut self, blamer: &Blamer, rows: &[Row], asked: &[Asked]) {
        let forest = &blamer.forest;
        let mut seen = std::mem::take(&mut self.op_seen);
        let one = forest.roots == 1;
        self.ops.exchanges += 1;
        self.slices.clear();
        self.slices.extend(asked.iter().map(|a| self.ticks.clock.slice(a.intended)));
        let mut calls = Calls::default();
        for (i, node) in forest.nodes.iter().enumerate().skip(forest.roots) {
            let row = &rows[node.row as usize];
            let root = self.root_of[i];
            let exchange = &asked[root as usize];
            let weight = u64::from(exchange.weight);
            let (op, first) = self.ops.first_in_exchange(op_key(node));
            op.exchanges += if one && first { weight } else { 0 };
            op.calls += weight;
            op.errors += weight * u64::from(row.flags & ERROR != 0);
            op.duration.record_n(Nanos(row.end - row.start), weight);
            if node.flags & (OUTER | TRANSPORT) == 0 {
                let part = self.parts.part(exchange.step, node.owner);
                part.calls += weight;
                part.call_duration.record_n(Nanos(row.end - row.start), weight);
                let slice = self.slices[root as usize];
                calls.add(&mut self.ticks, (node.owner, slice), row.end - row.start, weight);
            }
            if node.flags & ENTRY != 0 {
                self.touched.push((root, row.service));
            }
            if !one {
                seen.push(u64::from(root) << 32 | u64::from(op_key(node)));
            }
        }
        calls.flush(&mut self.ticks);
        seen.sort_unstable();
        seen.dedup();
        for key in seen.drain(..) {
            let weight = u64::from(asked[(key >> 32) as usize].weight);
            self.ops.at(key as u32).exchanges += weight;
        }
        self.op_seen = seen;
        self.touched.sort_unstable();
        self.touched.dedup();
        for (root, service) in self.touched.drain(..) {
            self.services.entry(service).or_default().1 += u64::from(asked[root as usize].weight);
        }
    }

    /// Takes in an exchange that was just blamed.
    pub fn exchange(
        &mut self,
        blamer: &Blamer,
        index: usize,
        asked: &Asked,
        trace: TraceId,
        step: &mut StepTally,
        (rows, names): (&[Row], &Names),
    ) {
        let latency = asked.latency();
        let limits = self.limits.get(usize::from(asked.step)).copied().unwrap_or_default();
        let band = limits.iter().filter(|limit| latency > limit.0).count();
        let result = &mut step.bands[band];
        // A sampled exchange stands for those like it that were not recorded; those are left out.
        let weight = u64::from(asked.weight);
        result.exchanges += weight;
        result.latency_sum += Nanos(latency * weight);
        let mut covered = 0;
        // One that others stand for still counts as joined and can be an exemplar.
        let pieces = if weight == 0 { &[][..] } else { &blamer.pieces };
        let mut categories = ByCategory::default();
        for piece in pieces {
            let time = piece.end - piece.start;
            categories.add(names.category(piece.owner), Nanos(time * weight));
            self.own.add(piece.owner, time);
            if piece.node != NONE {
                covered += time;
                let node = &blamer.forest.nodes[piece.node as usize];
                if node.owner != piece.owner {
                    continue;
                }
                self.op_own.add(op_key(node), time);
            }
        }
        let Sums { op_own, ops, .. } = self;
        op_own.drain(|key, time| {
            let op = ops.at(key);
            op.own += time * weight;
            op.own_each.record_n(Nanos(time), if time > 0 { weight } else { 0 });
        });
        result.categories.merge(&categories);
        let passage = Passage { intended: asked.intended, end: asked.end, user: asked.user, weight };
        let slice = self.ticks.exchange(passage, &categories);
        let joined = asked.was_sent && !blamer.forest.kids(index as u32).is_empty();
        if joined {
            // Recorded although nobody asked: traced by the server's own decision.
            step.traced += u64::from(!asked.sampled);
            step.joined += 1;
            step.joined_bands[band].0 += weight;
            step.joined_bands[band].1 += latency * weight;
            self.covered += covered;
            self.coverable += asked.end - asked.sent;
        }
        let (at, url, user) = (asked.intended, asked.url, asked.user);
        let occasion = Occasion { band, latency, at, trace, weight, url, user };
        let Sums { parts, groups, own, group, retimer, root_of, ticks, pictures, .. } = self;
        let forest = &blamer.forest;
        // Only where siblings overlap is the gain less than the time on the path, and only much time is worth the work.
        let retimed = |time: u64| forest.parallel && time >= latency / RETIMED_FROM;
        own.drain(|number, time| {
            let saved = if retimed(time) && names.has_spans(number) {
                retimer.saved(forest, root_of, index as u32, |_, n| gone(n.owner == number)).min(time)
            } else {
                time
            };
            parts.part(asked.step, number).add(time, saved, occasion);
            ticks.time(number, slice, time, weight);
            pictures.held.push((number, time, saved));
            let whole = names.group(number);
            // What is a group by itself has the group's sums already.
            if whole != NONE && names.is_shared(whole) {
                group.add(whole, time);
            }
        });
        group.drain(|number, time| {
            let saved = if retimed(time) && names.has_spans(number) {
                let member = |_, n: &Node| gone(n.row != NONE && names.group(n.owner) == number);
                retimer.saved(forest, root_of, index as u32, member).min(time)
            } else {
                time
            };
            groups.part(asked.step, number).add(time, saved, occasion);
        });
        if weight > 0 {
            self.find_patterns(blamer, index as u32, asked.step, occasion, rows, names);
        }
        let candidates = self.candidates(asked, trace, joined);
        for (best, new) in step.exemplars.iter_mut().zip(candidates) {
            *best = [*best, Some(new)].into_iter().flatten().min();
        }
        self.pictures.exchange(&Blamed {
            blamer,
            index: index as u32,
            asked,
            trace,
            joined,
            band,
            categories: &categories,
            candidates,
            rows,
            names,
        });
        if joined && weight > 0 {
            self.grouping.exchange(index as u32, asked, band >= 2, names, &self.urls);
        }
        if !self.plans.is_empty() && weight > 0 {
            let Sums { plans, retimer, root_of, .. } = self;
            plans.exchange(blamer, index as u32, asked, retimer, root_of, names);
        }
    }

    /// Calls that a series can be made of: work of something that sends no spans, and requests to traced services.
    fn collect_calls(&mut self, blamer: &Blamer, rows: &[Row], composite: &[(u32, u32)], names: &Names) {
        let forest = &blamer.forest;
        self.calls.clear();
        self.waits.clear();
        let mut asks = false;
        for i in forest.by_end() {
            let node = &forest.nodes[i as usize];
            let category = names.category(node.owner);
            asks |= category == Category::Database;
            if category == Category::Queue {
                self.waits.push(Call {
                    root: self.root_of[i as usize],
                    caller: node.entry,
                    key: node.owner,
                    end: node.to,
                    start: node.from,
                    node: i,
                    parent: node.parent,
                    times: 1,
                    span_id: node.span_id,
                });
                continue;
            }
            let hop = node.flags & HOP != 0;
            if node.flags & (OUTER | TRANSPORT) != 0 || !(hop || leaf(category)) {
                continue;
            }
            let times = if rows[node.row as usize].flags & COMPOSITE != 0 {
                let at = composite.partition_point(|c| c.0 < node.row);
                composite.get(at).filter(|c| c.0 == node.row).map_or(1, |c| c.1)
            } else {
                1
            };
            // Some record a call under a service named after what is called: the request that waits for it made it.
            let apart =
                node.kind == SpanKind::Client && node.entry == i && node.parent >= forest.roots as u32;
            let caller = if apart { forest.nodes[node.parent as usize].entry } else { node.entry };
            self.calls.push(Call {
                root: self.root_of[i as usize],
                caller,
                key: if hop { node.owner } else { names.group(node.owner) },
                end: node.to,
                start: node.from,
                node: i,
                parent: node.parent,
                times,
                span_id: node.span_id,
            });
        }
        // They come in runs that are in order, which this sort makes use of.
        self.calls.sort_by_key(|c| (c.root, c.key, c.caller, c.end, c.start, c.span_id));
        if asks {
            self.waits.sort_by_key(|c| (c.root, c.key, c.caller, c.end, c.start, c.span_id));
        } else {
            self.waits.clear();
        }
    }

    fn find_patterns(
        &mut self,
        blamer: &Blamer,
        root: u32,
        step: u16,
        occasion: Occasion,
        rows: &[Row],
        names: &Names,
    ) {
        let from = self.calls.partition_point(|c| c.root < root);
        let to = self.calls.partition_point(|c| c.root <= root);
        let calls = &self.calls[from..to];
        let waits = &self.waits;
        let waits =
            &waits[waits.partition_point(|c| c.root < root)..waits.partition_point(|c| c.root <= root)];
        let collector = &mut self.collector;
        collector.exchange(blamer, rows, (calls, waits), (step, occasion), names);
        self.short.clear();
        for same in calls.chunk_by(|a, b| a.key == b.key) {
            let mut sum = Repeated::default();
            for made in same.chunk_by(|a, b| a.caller == b.caller) {
                // A span that stands for several calls stands for calls in turn: agents put only such together.
                let folded: u64 = made.iter().map(|c| u64::from(c.times - 1)).sum();
                // What was refused and asked for again is one item of a loop, however often.
                let refused = |c: &&Call| {
                    rows[blamer.forest.nodes[c.node as usize].row as usize].flags & THROTTLED != 0
                };
                let refused = made.iter().filter(refused).count() as u64;
                let in_turn = (longest_series(made) as u64 + folded).saturating_sub(refused);
                if in_turn < ROUNDS_MIN || collector.same_question(made, blamer, rows) {
                    continue;
                }
                let n = made.len() as u64 + folded;
                let spent: u64 = made.iter().map(|c| blamer.windows[c.node as usize]).sum();
                let one = Repeated::of(n, spent, own_time_between(made, blamer, names));
                if in_turn >= SERIES_MIN {
                    sum.add(one);
                    collector.series(Series::of(made));
                } else {
                    self.short.push((Series::of(made), one));
                }
            }
            if sum.calls > 0 {
                sum.tell(same[0].key, step, occasion, &mut self.series, collector);
            }
        }
        for (i, (series, own)) in self.short.iter().enumerate() {
            let others = self.short.iter().enumerate().filter(|(j, _)| *j != i);
            let turns = others.filter(|(_, (other, _))| series.is_in_one_loop(other));
            if own.calls + turns.map(|(_, (_, other))| other.calls).sum::<u64>() >= LOOP_MIN {
                own.tell(series.key(), step, occasion, &mut self.series, collector);
                collector.series(*series);
            }
        }
        collector.loops(step, occasion.weight);
    }

    /// How good an exemplar it is: typical, slow, worst.
    fn candidates(&self, asked: &Asked, trace: TraceId, joined: bool) -> [Candidate; 3] {
        let latency = asked.latency();
        let at = Timestamp(asked.intended);
        let number = usize::from(asked.step);
        let typical = self.limits.get(number).map_or(0, |l| l[0].0);
        let slow = self.slow.get(number).map_or(0, |l| l.0);
        [
            (!joined, latency.abs_diff(typical), at, trace, latency, joined),
            (!joined, latency.abs_diff(slow), at, trace, latency, joined),
            (false, u64::MAX - latency, at, trace, latency, joined),
        ]
    }

    /// Gives the sums their names.
    pub fn name(self, names: &Names, steps: &mut [StepTally]) {
        let alone = |number: u32| names.group(number) == number && !names.is_shared(number);
        for (step, number, part) in self.parts.parts.iter().filter(|p| p.2.exchanges > 0 && alone(p.1)) {
            let own = Part { calls: 0, call_duration: Histogram::coarse(), ..part.clone() };
            steps[usize::from(*step)].groups.insert(names.who(*number).clone(), own);
        }
        self.parts.named(names, steps, |s| &mut s.parts);
        self.groups.named(names, steps, |s| &mut s.groups);
        self.series.named(names, steps, |s| &mut s.series);
        self.collector.name(names, steps);
    }
}

/// Calls of one contributor in one slice, one span after the other, until others come.
#[derive(Default)]
struct Calls {
    of: (u32, usize),
    number: u64,
    time: u64,
}

impl Calls {
    fn add(&mut self, ticks: &mut Ticks, of: (u32, usize), time: u64, weight: u64) {
        if of != self.of {
            self.flush(ticks);
            self.of = of;
        }
        self.number += weight;
        self.time += time * weight;
    }

    fn flush(&mut self, ticks: &mut Ticks) {
        if self.number > 0 {
            ticks.calls(self.of.0, self.of.1, self.number, self.time);
        }
        (self.number, self.time) = (0, 0);
    }
}

/// Nothing is left of what is gone.
fn gone(is: bool) -> Keep {
    if is { Keep::None } else { Keep::All }
}

/// Most calls that do not overlap; they are sorted by end.
pub(super) fn longest_series(calls: &[Call]) -> usize {
    let mut free = 0;
    calls
        .iter()
        .filter(|c| {
            let next = c.start >= free;
            if next {
                free = c.end;
            }
            next
        })
        .count()
}
