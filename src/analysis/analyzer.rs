//! Takes in a run, exchanges first and then spans, and keeps both in rows of fixed size until everything has come.

use super::blame::Blamer;
use super::change::WhatIf;
use super::codec::codec;
use super::facts::{Facts, Keys, Text, names_a_timeout};
use super::frameworks;
use super::groups::Urls;
use super::names::{MixedMap, Names};
use super::partial::Partial;
use super::plan::Plans;
use super::reason;
use super::result::{ByCategory, Category};
use super::row::{
    Asked, COLD, COMPOSITE, ERROR, HIT, IN_LOOP, LISTENS, MISS, NEGATIVE, NO_PEER, NO_STATEMENT, Opened,
    QUEUED, RESEND, Row, TELLS, THROTTLED, TIMED_OUT, group_by, idle_in,
};
use super::semantics;
use super::sums::{Beside, Sums};
use super::tally::{StepTally, wider};
use super::timeline::Clock;
use super::verdict::reached_on_this_machine;
use crate::record::{
    BareSpan, Exchange, Nanos, Partition, Resource, Run, Scope, Span, SpanKind, SpanSink, Status, Threshold,
    Timestamp, TraceId, Value,
};
use crate::stats::Histogram;
use std::hash::BuildHasher;

/// One trace of the run.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub trace_id: TraceId,
    /// Its exchange, while it has only one.
    only: u64,
    exchanges: u32,
    /// By which its recording was decided; what it keeps is weighed.
    threshold: Threshold,
    /// The first and the last stretch of the run folder with a span of it.
    lies: (u32, u32),
}

/// The stretches of a trace of which no span has come.
const NOWHERE: (u32, u32) = (u32::MAX, 0);

/// Facts about spans that are counted as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub spans: u64,
    pub foreign: u64,
    pub own: u64,
    pub negative: u64,
    pub sdk_dropped: u64,
    pub sampled_known: u64,
    pub sampled_unknown: u64,
}

codec!(Seen { spans, foreign, own, negative, sdk_dropped, sampled_known, sampled_unknown });

/// Fingerprints of spans that are remembered with the row that each became; a power of two. Half a megabyte: what a core
/// keeps close. A new one takes the place of an old one.
const REMEMBERED: usize = 1 << 12;
/// Spans that are known at sight. Fewer, for where each is another (an id among its attributes) they only pass through.
const SEEN: usize = 1 << 10;
/// Traces whose slots are at hand: spans of a trace come in several messages, soon after each other, and the table of all traces
/// is larger than what a core keeps close. A power of two; 128 KiB.
const RECENT: usize = 1 << 12;
/// Attributes of its makers' own that are kept of a span, and bytes of a value.
const MOST_TOLD: usize = 8;
const LONGEST_TOLD: usize = 64;
/// Rows that are reserved beforehand at most; the system gives memory only for those that come.
const RESERVED: u64 = 16 << 20;

/// Hears the number of an exchange and its latency by category.
type Each<'e> = dyn FnMut(usize, &ByCategory) + 'e;

/// An attribute of a row: its name and its value by number.
pub(super) type Told = (u32, u32, u32);

/// Rows by fingerprint; a power of two of them.
struct Memory(Vec<(u128, Option<Row>)>);

impl Memory {
    fn of(places: usize) -> Memory {
        Memory(vec![(0, None); places])
    }

    fn place(&self, print: u128) -> usize {
        print as usize & (self.0.len() - 1)
    }

    fn get(&self, print: u128) -> Option<Row> {
        let (known, row) = &self.0[self.place(print)];
        if *known == print { *row } else { None }
    }

    fn put(&mut self, print: u128, row: Option<Row>) {
        let place = self.place(print);
        self.0[place] = (print, row);
    }
}

/// The analysis of one share of a run. First every exchange of the run, then every span, in any order; then
/// [`Analyzer::finish`].
///
/// Memory: 64 B per span and about 150 B per exchange of the share, plus what names and histograms need.
pub struct Analyzer {
    partition: Partition,
    pub(super) names: Names,
    keys: Keys,
    pub(super) steps: Vec<StepTally>,
    /// Latencies of the whole run by step, whatever the partition: band limits come from here.
    latencies: Vec<Histogram>,
    /// When the first and the last exchange of the whole run were due: slices of time come from here.
    due: Option<(u64, u64)>,
    pub(super) asked: Vec<Asked>,
    pub(super) opened: Vec<Opened>,
    pub(super) slots: Vec<Slot>,
    slot_of: MixedMap<TraceId, u32>,
    pub(super) rows: Vec<Row>,
    pub(super) queued: Vec<(u32, u64)>,
    /// How many calls a row stands for, for those that stand for several.
    pub(super) composite: Vec<(u32, u32)>,
    /// Row, name and value of attributes of the makers' own, in the order of rows.
    pub(super) told: Vec<Told>,
    /// Row and words of spans that say why they failed, in the order of rows.
    said: Vec<(u32, u32)>,
    pub(super) seen: Seen,
    pub(super) period: Option<(Timestamp, Timestamp)>,
    pub(super) schedule_delay: Histogram,
    pub(super) what_if: Vec<WhatIf>,
    urls: Urls,
    /// Rows by fingerprint, all but ids, times and trace of them good for every span of that fingerprint.
    remembered: Memory,
    /// The same by fingerprints of all bytes.
    seen_before: Memory,
    /// The trace looked for last and its slot: spans of a trace often come together.
    last: Option<(TraceId, Option<u32>)>,
    /// Where the spans lie that come now.
    stretch: u32,
    /// Traces looked for a short while ago, by their last bits; made with the first span of a large share.
    recent: Vec<(TraceId, Option<u32>)>,
}

impl Analyzer {
    /// For a share of a run's traces.
    pub fn new(run: &Run, partition: Partition) -> Analyzer {
        let share = run.receiver.spans_stored / u64::from(partition.of.max(1));
        let rows = (share + share / 16).min(RESERVED);
        let mut names = Names::new(&run.host.name);
        names.roots_are_spans = run.sources.from_traces;
        names.on_this_machine = reached_on_this_machine(run) && !run.sources.from_traces;
        Analyzer {
            partition,
            names,
            keys: Keys::default(),
            steps: vec![StepTally::default(); run.steps.len()],
            latencies: vec![Histogram::new(); run.steps.len()],
            due: None,
            asked: Vec::new(),
            opened: Vec::new(),
            slots: Vec::new(),
            slot_of: MixedMap::default(),
            rows: Vec::with_capacity(rows as usize),
            queued: Vec::new(),
            composite: Vec::new(),
            told: Vec::new(),
            said: Vec::new(),
            seen: Seen::default(),
            period: None,
            schedule_delay: Histogram::new(),
            what_if: Vec::new(),
            urls: Urls::default(),
            remembered: Memory::of(REMEMBERED),
            seen_before: Memory::of(SEEN),
            last: None,
            stretch: 0,
            recent: Vec::new(),
        }
    }

    /// Imagines these changes, each by itself. The same for every share of a run.
    pub fn imagine(&mut self, changes: &[WhatIf]) {
        self.what_if = changes.to_vec();
    }

    /// Takes in an exchange of the run, whichever share it belongs to. All exchanges come before the first span.
    pub fn exchange(&mut self, exchange: &Exchange) {
        let step = usize::from(exchange.step.0);
        if step >= self.steps.len() {
            // A run folder that was cut off may know more steps than its `run.json`.
            self.steps.resize_with(step + 1, StepTally::default);
            self.latencies.resize_with(step + 1, Histogram::new);
        }
        self.latencies[step].record(exchange.corrected_latency());
        let due = exchange.intended.0;
        self.due = wider(self.due, Some((due, due)));
        if !self.partition.holds(&exchange.trace_id) {
            return;
        }
        self.steps[step].exchange(exchange);
        let (from, to) = self.period.unwrap_or((exchange.intended, exchange.phases.end));
        self.period = Some((from.min(exchange.intended), to.max(exchange.phases.end)));
        if exchange.was_sent() {
            self.schedule_delay.record(exchange.schedule_delay());
        }
        let slot = self.slot(exchange);
        let url = self.urls.add(exchange.step.0, &exchange.url);
        let (asked, opened) = Asked::of(exchange, url, slot, self.asked.len() as u32);
        self.asked.push(asked);
        self.opened.extend(opened);
    }

    fn slot(&mut self, exchange: &Exchange) -> u32 {
        let new = self.slots.len() as u32;
        let slot = *self.slot_of.entry(exchange.trace_id).or_insert(new);
        if slot == new {
            self.slots.push(Slot {
                trace_id: exchange.trace_id,
                only: 0,
                exchanges: 0,
                threshold: exchange.threshold,
                lies: NOWHERE,
            });
        }
        let at = &mut self.slots[slot as usize];
        at.only = u64::from_be_bytes(exchange.span_id.0);
        at.exchanges += 1;
        slot
    }

    /// Whether a span of this trace would be kept: for readers that can skip the rest cheaply. Spans that are skipped so
    /// are not counted as foreign.
    pub fn wants(&self, trace: &TraceId) -> bool {
        self.partition.holds(trace) && self.slot_of.contains_key(trace)
    }

    /// For each trace of the share that spans have come of, the first and the last stretch of the run folder that they were in
    /// ([`SpanSink::stretch`]).
    pub fn places(&self) -> impl Iterator<Item = (TraceId, (u32, u32))> + '_ {
        self.slots.iter().filter(|slot| slot.lies != NOWHERE).map(|slot| (slot.trace_id, slot.lies))
    }

    /// Takes in a server span.
    pub fn span(&mut self, span: &Span<'_>) {
        if !self.partition.holds(&span.trace_id) {
            return;
        }
        let span_id = u64::from_be_bytes(span.span_id.0);
        if let Some(trace) = self.place(span.trace_id, span_id, span.parent_id.is_none(), span.kind) {
            self.row(trace, span_id, span);
        }
    }

    /// The slot of a trace, if the share has it.
    fn find(&mut self, trace_id: TraceId) -> Option<u32> {
        if self.slot_of.len() <= RECENT {
            return self.slot_of.get(&trace_id).copied();
        }
        if self.recent.is_empty() {
            // No trace has the id of zeros, so an unused place answers nothing wrong.
            self.recent = vec![(TraceId([0; 16]), None); RECENT];
        }
        let place = u128::from_be_bytes(trace_id.0) as usize & (RECENT - 1);
        let (known, slot) = self.recent[place];
        if known == trace_id {
            return slot;
        }
        let slot = self.slot_of.get(&trace_id).copied();
        self.recent[place] = (trace_id, slot);
        slot
    }

    /// The slot of a span's trace; nothing where the span is not to be kept, for a reason that is counted.
    fn place(&mut self, trace_id: TraceId, span_id: u64, orphan: bool, kind: SpanKind) -> Option<u32> {
        self.seen.spans += 1;
        let found = match self.last {
            Some((last, found)) if last == trace_id => found,
            _ => {
                let found = self.find(trace_id);
                if let Some(trace) = found {
                    let (first, last) = &mut self.slots[trace as usize].lies;
                    (*first, *last) = ((*first).min(self.stretch), (*last).max(self.stretch));
                }
                found
            }
        };
        self.last = Some((trace_id, found));
        let Some(trace) = found else {
            self.seen.foreign += 1;
            return None;
        };
        // hotspan's own client span, come back through a Collector. Where a walk is one trace the trees sort them out.
        if orphan && kind == SpanKind::Client {
            let slot = &self.slots[trace as usize];
            if slot.exchanges == 1 && slot.only == span_id {
                self.seen.own += 1;
                return None;
            }
        }
        Some(trace)
    }

    fn row(&mut self, trace: u32, span_id: u64, span: &Span<'_>) {
        let facts = Facts::of(span, &mut self.keys);
        let origin = self.names.origin(span.resource);
        let class = self.names.class(origin, span, &facts);
        let flag = |on: bool, flag: u16| if on { flag } else { 0 };
        self.seen.negative += u64::from(span.end < span.start);
        self.seen.sdk_dropped += u64::from(span.dropped);
        match sampling(span.trace_state, self.slots[trace as usize].threshold) {
            Some(true) => self.seen.sampled_known += 1,
            None if facts.sampler => self.seen.sampled_unknown += 1,
            _ => {}
        }
        if facts.queued > 0 {
            self.queued.push((self.rows.len() as u32, facts.queued));
        }
        if facts.composite > 1 {
            self.composite.push((self.rows.len() as u32, facts.composite));
        }
        if let Some(words) = reason::of_span(span) {
            let words = self.names.text(&words);
            self.said.push((self.rows.len() as u32, words));
        }
        let tells = facts.tells && self.tell(span);
        let failed = span.status == Status::Error;
        let timed_out = facts.timed_out || (failed && names_a_timeout(span.status_message));
        // Parameters that are given apart say what placeholders leave out.
        let data = match (facts.parameters, class.data.whole) {
            (0, true) => class.data.text,
            (0, false) => 0,
            (parameters, _) => class.data.text.rotate_left(7).wrapping_add(parameters).max(1),
        };
        let in_one_of_several = span.kind == SpanKind::Server && frameworks::is_loop(facts.thread);
        let data = match span.kind {
            SpanKind::Server if in_one_of_several => self.names.event_loop(origin.host, facts.thread),
            SpanKind::Server | SpanKind::Internal if class.data.text == 0 => idle_in(facts.idle),
            SpanKind::Server => 0,
            _ => data,
        };
        self.rows.push(Row {
            span_id,
            data,
            parent_id: span.parent_id.map_or(0, |p| u64::from_be_bytes(p.0)),
            start: span.start.0,
            end: span.end.0.max(span.start.0),
            trace,
            owner: class.owner,
            op: class.op,
            peer: class.peer,
            service: origin.service,
            host: origin.host,
            kind: span.kind,
            library: frameworks::library(span),
            flags: flag(failed, ERROR)
                | flag(timed_out, TIMED_OUT)
                | flag(facts.cold, COLD)
                | flag(facts.hit == Some(true), HIT)
                | flag(facts.hit == Some(false), MISS)
                | flag(facts.composite > 1, COMPOSITE)
                | flag(facts.throttled, THROTTLED)
                | self.gap(class.owner, &facts)
                | frameworks::flags(span)
                | flag(in_one_of_several, IN_LOOP)
                | flag(span.kind == SpanKind::Internal && semantics::listens(span.name), LISTENS)
                | flag(facts.resend, RESEND)
                | flag(tells, TELLS)
                | flag(facts.queued > 0, QUEUED)
                | flag(span.end < span.start, NEGATIVE),
        });
    }

    /// Keeps what the service's makers say of a request in short values, beside the row that comes next; whether there is any.
    fn tell(&mut self, span: &Span<'_>) -> bool {
        let row = self.rows.len() as u32;
        if !matches!(span.kind, SpanKind::Server | SpanKind::Consumer | SpanKind::Internal) {
            return false;
        }
        let before = self.told.len();
        for attribute in span.attributes {
            let number;
            let value = match &attribute.value {
                Value::Str(text) if (1..=LONGEST_TOLD).contains(&text.len()) => text,
                Value::Bool(yes) => {
                    if *yes {
                        "true"
                    } else {
                        "false"
                    }
                }
                Value::Int(n) => {
                    number = n.to_string();
                    &number
                }
                _ => continue,
            };
            if self.told.len() - before < MOST_TOLD && self.keys.tells(attribute.key) {
                self.told.push((row, self.names.text(attribute.key), self.names.text(value)));
            }
        }
        self.told.len() > before
    }

    /// Takes in a span that says the same as a row; false where it does not.
    #[inline]
    fn like(&mut self, row: Row, span: &BareSpan<'_>) -> bool {
        if span.start > span.end {
            return false;
        }
        let span_id = u64::from_be_bytes(span.span_id.0);
        let Some(trace) = self.place(span.trace_id, span_id, span.parent_id.is_none(), span.kind) else {
            return true;
        };
        self.seen.sdk_dropped += u64::from(span.dropped);
        if !span.trace_state.is_empty() {
            let own = self.slots[trace as usize].threshold;
            let known = std::str::from_utf8(span.trace_state).ok().and_then(|state| sampling(state, own));
            self.seen.sampled_known += u64::from(known == Some(true));
        }
        self.rows.push(Row {
            span_id,
            parent_id: span.parent_id.map_or(0, |p| u64::from_be_bytes(p.0)),
            start: span.start.0,
            end: span.end.0,
            trace,
            ..row
        });
        true
    }

    /// What a span of that kind should say and does not.
    fn gap(&self, owner: u32, facts: &Facts<'_>) -> u16 {
        let none = |slots: &[Text]| facts.first(slots).is_empty();
        match self.names.category(owner) {
            Category::Database
                if none(&[Text::DbQuery, Text::DbSummary, Text::DbProcedure, Text::DbOperation]) =>
            {
                NO_STATEMENT
            }
            Category::External if none(&[Text::Url, Text::Host, Text::Address, Text::Socket, Text::Peer]) => {
                NO_PEER
            }
            _ => 0,
        }
    }

    /// Joins, blames and adds up the share.
    pub fn finish(self) -> Partial {
        self.finish_with(None)
    }

    /// [`Analyzer::finish`] that also tells the blame of every exchange of the share: its number, counted in the order in
    /// which the share's exchanges came, and its latency by category.
    pub fn finish_each(self, each: &mut dyn FnMut(usize, &ByCategory)) -> Partial {
        self.finish_with(Some(each))
    }

    fn finish_with(mut self, mut each: Option<&mut Each<'_>>) -> Partial {
        // Latest latency of each band but the last.
        let limits: Vec<[Nanos; 3]> =
            self.latencies.iter().map(|h| [h.quantile(0.5), h.quantile(0.9), h.quantile(0.99)]).collect();
        let slowest: Vec<Nanos> = self.latencies.iter().map(|h| h.quantile(0.95)).collect();
        self.latencies = Vec::new();
        self.slot_of = MixedMap::default();
        let (first_row, members) = group_by(self.rows.len(), self.slots.len(), |i| self.rows[i].trace);
        let (first_asked, asked_order) =
            group_by(self.asked.len(), self.slots.len(), |i| self.asked[i].trace);
        let plans = Plans::new(&self.what_if);
        let urls = std::mem::take(&mut self.urls);
        let mut sums = Sums::new(limits, slowest, Clock::new(self.due), plans, urls);
        let mut blamer = Blamer::default();
        let mut asked: Vec<Asked> = Vec::new();
        for slot in 0..self.slots.len() {
            let rows = &members[first_row[slot] as usize..first_row[slot + 1] as usize];
            let numbers = &asked_order[first_asked[slot] as usize..first_asked[slot + 1] as usize];
            asked.clear();
            asked.extend(numbers.iter().map(|n| self.asked[*n as usize]));
            blamer.take(&asked, &self.rows, rows, &self.queued, &mut self.names);
            let beside = Beside { composite: &self.composite, told: &self.told };
            sums.trace(&blamer, &self.rows, asked.len(), &beside, &self.names);
            for (index, number) in numbers.iter().enumerate() {
                let opened = self.opened_of(*number);
                blamer.blame(index, &asked[index], opened.as_ref(), &mut self.names);
                if let Some(each) = &mut each {
                    let mut categories = ByCategory::default();
                    for piece in &blamer.pieces {
                        categories.add(self.names.category(piece.owner), Nanos(piece.end - piece.start));
                    }
                    each(*number as usize, &categories);
                }
                let step = &mut self.steps[usize::from(asked[index].step)];
                let trace = self.slots[slot].trace_id;
                sums.exchange(&blamer, index, &asked[index], trace, step, (&self.rows, &self.names));
                if asked[index].failed && asked[index].weight > 0 && !self.said.is_empty() {
                    let words = |number| &**self.names.str(number);
                    let why = reason::of_exchange(&blamer.forest, index as u32, &self.said, words);
                    if let Some((node, words)) = why {
                        let who = self.names.who(blamer.forest.nodes[node as usize].owner).clone();
                        let words = self.names.str(words).clone();
                        step.failed_for((who, words), u64::from(asked[index].weight), trace);
                    }
                }
            }
            sums.end_trace(&blamer, &self.rows, &asked);
        }
        Partial::new(self, sums)
    }

    pub(super) fn opened_of(&self, exchange: u32) -> Option<Opened> {
        let at = self.opened.partition_point(|o| o.exchange < exchange);
        self.opened.get(at).filter(|o| o.exchange == exchange).copied()
    }
}

impl SpanSink for Analyzer {
    const TAKES_BARE: bool = true;

    fn partition(&self) -> Partition {
        self.partition
    }

    fn stretch(&mut self, number: u32) {
        if number != self.stretch {
            // So that the next span of the same trace is seen to lie here too.
            self.last = None;
            self.stretch = number;
        }
    }

    fn wants(&mut self, trace: &TraceId) -> bool {
        self.partition.holds(trace)
    }

    fn process(&mut self, resource: &Resource<'_>, scope: &Scope<'_>) -> u64 {
        let origin = self.names.origin(resource);
        MixedMap::<u64, ()>::default().hasher().hash_one((
            origin.service,
            origin.host,
            scope.name,
            scope.version,
        ))
    }

    fn matters(&mut self, key: &[u8]) -> bool {
        self.keys.matters(key)
    }

    #[inline]
    fn known(&mut self, span: &BareSpan<'_>) -> bool {
        let row = self.seen_before.get(span.sight);
        row.is_some_and(|row| self.like(row, span))
    }

    fn bare(&mut self, span: &BareSpan<'_>) -> bool {
        let Some(row) = self.remembered.get(span.print) else { return false };
        self.seen_before.put(span.sight, Some(row));
        self.like(row, span)
    }

    fn span(&mut self, span: &Span<'_>, print: Option<u128>) {
        let kept = |a: &Analyzer| {
            let beside = a.queued.len() + a.told.len() + a.said.len();
            (a.rows.len(), beside, a.composite.len(), a.seen.sampled_unknown)
        };
        let before = kept(self);
        Analyzer::span(self, span);
        let after = kept(self);
        // What is kept or counted beside the row, and what an error says, is told by the whole span alone.
        let plain = after == (before.0 + 1, before.1, before.2, before.3)
            && span.status != Status::Error
            && span.start <= span.end;
        if let (Some(print), true) = (print, plain) {
            self.remembered.put(print, self.rows.last().copied());
        }
    }
}

/// Joins, blames and adds up several shares of a run at once, each on a thread of its own.
pub fn finish_all(shares: Vec<Analyzer>) -> Option<Partial> {
    let add = |mut sum: Partial, part: Partial| {
        sum.merge(part);
        sum
    };
    if shares.len() < 2 {
        return shares.into_iter().map(Analyzer::finish).reduce(add);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| share.finish())).collect();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.reduce(add)
    })
}

/// Whether a `tracestate` tells that more was dropped than hotspan's own threshold drops, which is weighed: `Some(true)`;
/// not more: `Some(false)`; nothing: `None`. (`ot=th:<hex>`, OpenTelemetry's consistent probability sampling: what is
/// below the threshold, as the beginning of 56 bits, is dropped.)
pub(super) fn sampling(trace_state: &str, own: Threshold) -> Option<bool> {
    let ot = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let threshold = ot.split(';').find_map(|part| part.strip_prefix("th:"))?;
    let digits = threshold.get(..threshold.len().min(14))?;
    let value = u64::from_str_radix(digits, 16).ok()? << (4 * (14 - digits.len()));
    Some(value > u64::from(own.bits()) << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracestate_tells_the_sampling_probability() {
        for (state, want) in [
            ("", None),
            ("dd=s:1", None),
            ("ot=rv:01234567890123", None),
            ("ot=th:0", Some(false)),
            ("vendor=x, ot=rv:1;th:c", Some(true)),
            ("ot=th:fd70a4", Some(true)),
            ("ot=th:", None),
        ] {
            assert_eq!(sampling(state, Threshold::ALWAYS), want, "{state}");
        }
    }
}
