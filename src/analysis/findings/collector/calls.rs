//! What calls show: those of one kind by themselves, and all that one request of a service makes.

use super::super::event_loop::LONG;
use super::super::evidence::Pattern;
use super::super::uncached as cache;
use super::own::taken_in_at;
use super::{Collector, On, is_outside};
use crate::analysis::blame::Blamer;
use crate::analysis::names::{NONE, Names};
use crate::analysis::result::Category;
use crate::analysis::row::{ERROR, HIT, MISS, Row, THROTTLED, TIMED_OUT};
use crate::analysis::sums::Call;
use crate::analysis::tree::HOP;

/// Calls to other services in one request from which they are counted together.
const MANY_CALLS: usize = 10;
/// Statements in one request from which they are counted together.
const MANY_QUERIES: usize = 20;
/// Calls at the same moment from which they are counted together.
const MANY_AT_ONCE: usize = 10;
/// Calls one after the other, to more than one peer, from which they are counted together.
pub(super) const IN_A_ROW: usize = 3;
impl Collector {
    /// Calls of one kind: duplicates, failures and time limits, and what is the same about them.
    pub(super) fn one_kind(
        &mut self,
        blamer: &Blamer,
        rows: &[Row],
        same: &[Call],
        (step, on): On,
        names: &Names,
    ) {
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
    pub(super) fn by_caller(&mut self, blamer: &Blamer, calls: &[Call], (step, on): On, names: &Names) {
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
