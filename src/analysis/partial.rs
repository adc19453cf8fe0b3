//! What one share of a run came to: by name, so that shares can be added, and then turned into the result.

use super::alike_paths;
use super::analyzer::{Analyzer, Seen};
use super::change::WhatIf;
use super::codec::{Codec, codec};
use super::findings::{self, Limits};
use super::groups::{self, Groups};
use super::names::{UNNAMED, way_to as callee};
use super::opaque;
use super::pictures::{self, Kept};
use super::plan::{self, Imagined};
use super::plans::DatabaseEvidence;
use super::result::{
    Analysis, BandResult, ByCategory, Category, Contributor, ContributorResult, Exemplar, ExemplarRole, Gaps,
    LoadResult, Note, Operation, Reason, ServiceResult, StepResult, Telemetry,
};
use super::runtime::RuntimeMetrics;
use super::saturation::saturation;
use super::sums::Sums;
use super::tally::{OpTally, Part, StepTally, wider};
use super::timeline::Course;
use super::tree::Repairs;
use super::verdict;
use crate::record::{GeneratorLimit, Nanos, Run, SpanKind, StepId, Timestamp, TraceId};
use crate::stats::Histogram;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Contributors of a step that get a histogram of the latencies without them.
const WITHOUT: usize = 20;
/// Contributors of a step that are listed; the rest of each category is added up under one name, so that a service that
/// puts ids into its span names cannot make a result of unbounded size.
const LISTED: usize = 300;
/// Contributors whose course over time is kept.
const TRACKS: usize = 60;
/// Operations that are listed.
const OPERATIONS: usize = 1_000;

/// Service, name, kind and category of an operation.
type OpKey = (Arc<str>, Arc<str>, SpanKind, Category);

/// A share of a run, joined, blamed and added up. Shares add in any order to the same whole.
pub struct Partial {
    pub(super) steps: Vec<StepTally>,
    ops: BTreeMap<OpKey, OpTally>,
    /// Spans, and exchanges with one, by service.
    services: BTreeMap<Arc<str>, (u64, u64)>,
    repairs: Repairs,
    gaps: Gaps,
    pub(super) seen: Seen,
    covered: u64,
    coverable: u64,
    period: Option<(Timestamp, Timestamp)>,
    schedule_delay: Histogram,
    course: Course,
    /// By plan and step.
    imagined: Vec<Vec<Imagined>>,
    what_if: Vec<WhatIf>,
    /// By step.
    groups: Vec<Groups<Contributor>>,
    pictures: Kept,
}

codec!(Partial {
    steps,
    ops,
    services,
    repairs,
    gaps,
    seen,
    covered,
    coverable,
    period,
    schedule_delay,
    course,
    imagined,
    what_if,
    groups,
    pictures,
});

impl Partial {
    /// Every contributor of every step, with its calls and its time: what a look while the run goes on needs. Like all
    /// blame they are weighted by what each exchange stands for.
    pub fn owners(&self) -> impl Iterator<Item = (StepId, &Contributor, u64, Nanos)> {
        self.steps.iter().enumerate().flat_map(|(step, tally)| {
            let step = StepId(step as u16);
            tally.parts.iter().map(move |(who, part)| (step, who, part.calls, Nanos(part.total)))
        })
    }

    pub(super) fn new(analyzer: Analyzer, mut sums: Sums) -> Partial {
        let Analyzer { names, mut steps, seen, period, schedule_delay, what_if, .. } = analyzer;
        let imagined = std::mem::take(&mut sums.plans.results);
        let groups = std::mem::take(&mut sums.grouping).named(&names);
        let pictures = std::mem::take(&mut sums.pictures).named(&names);
        let mut ops: BTreeMap<OpKey, OpTally> = BTreeMap::new();
        for (op, way, tally) in std::mem::take(&mut sums.ops).into_tallies() {
            let op = names.operation(op);
            let category = if way { Category::Network } else { op.category };
            let key = (names.str(op.service).clone(), names.str(op.name).clone(), op.kind, category);
            ops.entry(key).or_default().merge(&tally);
        }
        let named = |(service, n): (u32, (u64, u64))| (names.str(service).clone(), n);
        let services = std::mem::take(&mut sums.services).into_iter().map(named).collect();
        let (repairs, covered, coverable) = (sums.repairs, sums.covered, sums.coverable);
        let gaps = sums.gaps;
        let course = std::mem::take(&mut sums.ticks).named(&names);
        sums.name(&names, &mut steps);
        Partial {
            steps,
            ops,
            services,
            repairs,
            gaps,
            seen,
            covered,
            coverable,
            period,
            schedule_delay,
            course,
            imagined,
            what_if,
            groups,
            pictures,
        }
    }

    /// Adds another share of the same run.
    pub fn merge(&mut self, other: Partial) {
        if other.steps.len() > self.steps.len() {
            self.steps.resize_with(other.steps.len(), StepTally::default);
        }
        for (mine, theirs) in self.steps.iter_mut().zip(other.steps) {
            mine.merge(theirs);
        }
        for (key, tally) in other.ops {
            self.ops.entry(key).or_default().merge(&tally);
        }
        for (service, (spans, exchanges)) in other.services {
            let mine = self.services.entry(service).or_default();
            *mine = (mine.0 + spans, mine.1 + exchanges);
        }
        self.repairs.merge(&other.repairs);
        self.gaps.merge(&other.gaps);
        self.seen.spans += other.seen.spans;
        self.seen.foreign += other.seen.foreign;
        self.seen.own += other.seen.own;
        self.seen.negative += other.seen.negative;
        self.seen.sdk_dropped += other.seen.sdk_dropped;
        self.seen.sampled_known += other.seen.sampled_known;
        self.seen.sampled_unknown += other.seen.sampled_unknown;
        self.covered += other.covered;
        self.coverable += other.coverable;
        self.period = wider(self.period, other.period);
        self.schedule_delay.merge(&other.schedule_delay);
        self.course.merge(other.course);
        self.pictures.merge(other.pictures);
        if self.groups.len() < other.groups.len() {
            self.groups.resize_with(other.groups.len(), Groups::default);
        }
        self.groups.iter_mut().zip(other.groups).for_each(|(mine, theirs)| mine.merge(theirs));
        for (mine, theirs) in self.imagined.iter_mut().zip(other.imagined) {
            if mine.len() < theirs.len() {
                mine.resize_with(theirs.len(), Imagined::default);
            }
            mine.iter_mut().zip(&theirs).for_each(|(mine, theirs)| mine.merge(theirs));
        }
    }

    /// Writes it down for [`Partial::decode`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    /// Reads what [`Partial::encode`] of this version wrote; `None` where the bytes are anything else.
    pub fn decode(mut bytes: &[u8]) -> Option<Partial> {
        let partial = Partial::take(&mut bytes)?;
        bytes.is_empty().then_some(partial)
    }

    /// Whether the same was asked of both.
    pub fn is_alike(&self, other: &Partial) -> bool {
        self.what_if == other.what_if
    }

    /// System and normal form of the database statements with the most time, at most so many.
    pub fn top_statements(&self, most: usize) -> Vec<(Arc<str>, Arc<str>)> {
        let mut times: BTreeMap<(Arc<str>, Arc<str>), u64> = BTreeMap::new();
        let parts = self.steps.iter().flat_map(|s| &s.parts);
        for (who, part) in parts.filter(|(who, _)| who.category == Category::Database) {
            *times.entry((who.system.clone(), who.name.clone())).or_default() += part.total;
        }
        let mut all: Vec<_> = times.into_iter().collect();
        all.sort_by_key(|(_, time)| Reverse(*time));
        all.into_iter().take(most).map(|(statement, _)| statement).collect()
    }

    /// The result of the run that all shares were of, by the usual limits and without word from a database.
    pub fn into_analysis(self, run: &Run) -> Analysis {
        self.into_analysis_with(
            run,
            &Limits::default(),
            &DatabaseEvidence::default(),
            &RuntimeMetrics::default(),
        )
    }

    /// The result of the run that all shares were of.
    pub fn into_analysis_with(
        mut self,
        run: &Run,
        limits: &Limits,
        database: &DatabaseEvidence,
        runtime: &RuntimeMetrics,
    ) -> Analysis {
        alike_paths::under_templates(&mut self.steps);
        let telemetry = self.telemetry();
        let duration = self.period.map_or(Nanos::ZERO, |(from, to)| to.since(from));
        let busy = verdict::busy_machine(run);
        let known = findings::Known {
            run,
            telemetry: &telemetry,
            period: duration,
            limits,
            database,
            runtime,
            core_waits: busy,
        };
        let findings = findings::find(&self.steps, &known);
        let findings: Vec<_> = findings.into_iter().map(|found| found.finding).collect();
        let limit = verdict::generator_limit(&self.steps, run);
        let notes = self.notes(&telemetry, limit);
        let verdict = verdict::verdict(&self.steps, &telemetry, &findings, limit.is_some());
        let services = self.service_results();
        let opaque = opaque::opaque(&self.steps, &services, &findings);
        let busy = busy.map(|share| Note::BusyMachine { share });
        let notes: Vec<Note> = notes.into_iter().chain(busy).chain(opaque).collect();
        let callees = self.services.clone();
        let Partial { steps, ops, schedule_delay, course, imagined, what_if, groups, pictures, .. } = self;
        let what_if = plan::results(&what_if, imagined, &steps);
        let timeline = course.into_timeline(TRACKS, !run.load.open_model);
        let saturation = saturation(&timeline, run.load.open_model);
        let mut categories = ByCategory::default();
        steps.iter().for_each(|s| categories.merge(&s.categories()));
        // The run's steps, and those that only the exchanges know of.
        let mut steps: Vec<StepResult> =
            steps.into_iter().enumerate().map(|(i, s)| step_result(StepId(i as u16), s)).collect();
        for (step, groups) in steps.iter_mut().zip(&groups) {
            step.shapes = groups::shapes(groups);
            step.associations = groups::associations(groups);
        }
        for missing in steps.len()..run.steps.len() {
            steps.push(step_result(StepId(missing as u16), StepTally::default()));
        }
        let ways = pictures::ways(&steps, |way| callee_of(way, &callees));
        Analysis {
            telemetry,
            load: LoadResult { duration, schedule_delay },
            steps,
            categories,
            operations: operations(ops),
            services,
            timeline,
            ways,
            pictures: pictures.into_pictures(),
            saturation,
            what_if,
            findings,
            verdict,
            notes,
        }
    }

    /// Own time and ways of each service, from the contributors of all steps.
    fn service_results(&self) -> BTreeMap<Arc<str>, ServiceResult> {
        let mut out: BTreeMap<Arc<str>, ServiceResult> = self
            .services
            .iter()
            .map(|(name, &(spans, exchanges))| {
                (name.clone(), ServiceResult { spans, exchanges, ..ServiceResult::default() })
            })
            .collect();
        for (who, part) in self.steps.iter().flat_map(|s| &s.parts) {
            let time = Nanos(part.total);
            if who.category == Category::App
                && let Some(service) = out.get_mut(&who.service)
            {
                service.own += time;
            }
            if who.category != Category::Network {
                continue;
            }
            if let Some(service) = out.get_mut(&who.service).filter(|_| !who.service.is_empty()) {
                service.network_out += time;
            }
            if let Some(service) = callee_of(who, &self.services).and_then(|name| out.get_mut(&name)) {
                service.network_in += time;
            }
        }
        out
    }

    fn telemetry(&self) -> Telemetry {
        let sum = |f: fn(&StepTally) -> u64| self.steps.iter().map(f).sum();
        Telemetry {
            exchanges: sum(|s| s.exchanges),
            traced: sum(|s| s.traced),
            joined: sum(|s| s.joined),
            spans: self.seen.spans - self.seen.own - self.repairs.own,
            spans_foreign: self.seen.foreign,
            duplicates: self.repairs.duplicates,
            orphans: self.repairs.orphans,
            clipped: self.repairs.clipped,
            async_tail: Nanos(self.repairs.async_tail),
            shifted: self.repairs.shifted,
            coarse_starts: self.repairs.coarse_starts,
            clock_skew_max: Nanos(self.repairs.skew_max),
            covered: Nanos(self.covered),
            coverable: Nanos(self.coverable),
            gaps: self.gaps,
            services: self.services.iter().map(|(name, (spans, _))| (name.clone(), *spans)).collect(),
        }
    }

    fn notes(&self, telemetry: &Telemetry, limit: Option<GeneratorLimit>) -> Vec<Note> {
        let count = |n: u64, note: fn(u64) -> Note| (n > 0).then(|| note(n));
        let late = verdict::late_generator(&self.steps);
        let skew = telemetry.clock_skew_max >= verdict::SKEW_WORTH_A_NOTE;
        let known = self.seen.sampled_known;
        let unknown = self.seen.sampled_unknown;
        let notes = [
            (telemetry.traced > 0 && telemetry.coverage() < verdict::COVERAGE_MIN)
                .then_some(Note::LowCoverage { joined: telemetry.joined, traced: telemetry.traced }),
            late.map(|share| Note::GeneratorLate { share }),
            limit.map(Note::GeneratorLimited),
            count(self.repairs.orphans, Note::Orphans),
            count(self.repairs.duplicates, Note::Duplicates),
            count(self.seen.foreign, Note::Foreign),
            skew.then_some(Note::ClockSkew { spans: telemetry.shifted, max: telemetry.clock_skew_max }),
            count(self.seen.negative, Note::NegativeDuration),
            count(self.repairs.cycles, Note::Cycles),
            count(self.seen.sdk_dropped, Note::SdkDropped),
            (known + unknown > 0).then_some(Note::Sampling { known, unknown }),
        ];
        notes.into_iter().flatten().collect()
    }
}

/// The service that a way leads to: of those whose names it could be, the one with the longest.
fn callee_of(way: &Contributor, services: &BTreeMap<Arc<str>, (u64, u64)>) -> Option<Arc<str>> {
    let to = callee(way);
    let leads_to = |name: &&Arc<str>| {
        let rest = to.strip_prefix(if name.is_empty() { UNNAMED } else { name });
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    services.keys().filter(leads_to).max_by_key(|name| name.len()).cloned()
}

/// Commonest first; of equally common ones the first by its words.
fn reasons(all: BTreeMap<(Contributor, Arc<str>), (u64, TraceId)>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = all
        .into_iter()
        .map(|((contributor, words), (exchanges, trace_id))| Reason {
            contributor,
            words,
            exchanges,
            trace_id,
        })
        .collect();
    reasons.sort_by(|a, b| b.exchanges.cmp(&a.exchanges).then_with(|| a.words.cmp(&b.words)));
    reasons
}

fn step_result(step: StepId, mut tally: StepTally) -> StepResult {
    let exemplars = [ExemplarRole::Typical, ExemplarRole::Slow, ExemplarRole::Worst]
        .into_iter()
        .zip(tally.exemplars)
        .filter_map(|(role, found)| {
            let (_, _, at, trace_id, latency, joined) = found?;
            Some(Exemplar { role, trace_id, latency: Nanos(latency), at, joined })
        })
        .collect();
    let categories = tally.categories();
    let contributors = contributors(std::mem::take(&mut tally.parts), &tally.latency);
    // The commonest message of a class; of equally common ones the first in the alphabet.
    let commonest = |messages: BTreeMap<Arc<str>, u64>| {
        let n = messages.values().sum();
        let message = messages.into_iter().max_by_key(|(text, n)| (*n, Reverse(text.clone())));
        (n, message.map_or_else(|| Arc::from(""), |(text, _)| text))
    };
    StepResult {
        step,
        exchanges: tally.exchanges,
        errors: tally.errors,
        checks_failed: tally.checks_failed,
        checked: tally.checked,
        bytes_received: tally.bytes_received,
        bytes_decoded: tally.bytes_decoded,
        joined: tally.joined,
        joined_weight: tally.joined_sum().0,
        latency_sum: Nanos(tally.bands.iter().map(|b: &BandResult| b.latency_sum.0).sum()),
        latency: tally.latency,
        service_time: tally.service_time,
        bands: tally.bands,
        categories,
        contributors,
        statuses: tally.statuses,
        failures: tally.failures.into_iter().map(|(class, messages)| (class, commonest(messages))).collect(),
        checks: tally.checks,
        reasons: reasons(tally.reasons),
        exemplars,
        shapes: Vec::new(),
        associations: Vec::new(),
        messages: tally.messages.result(),
    }
}

fn contributors(parts: BTreeMap<Contributor, Part>, latency: &Histogram) -> Vec<ContributorResult> {
    let mut parts: Vec<(Contributor, Part)> = parts.into_iter().collect();
    // Largest first; the map's order breaks ties, as the sort is stable.
    parts.sort_by_key(|(_, part)| Reverse(part.total));
    if parts.len() > LISTED {
        let mut rest: BTreeMap<Category, (u64, Part)> = BTreeMap::new();
        for (who, part) in parts.drain(LISTED..) {
            let (n, sum) = rest.entry(who.category).or_default();
            *n += 1;
            // Of these together no latency without them is known: one exchange may hold several.
            sum.merge(&Part { touched: Histogram::new(), without: Histogram::new(), ..part });
        }
        let empty: Arc<str> = Arc::from("");
        parts.extend(rest.into_iter().map(|(category, (n, part))| {
            let name = Arc::from(format!("{n} others"));
            let (service, system, code) = (empty.clone(), empty.clone(), empty.clone());
            (Contributor { category, service, system, name, code }, part)
        }));
        parts.sort_by_key(|(_, part)| Reverse(part.total));
    }
    let result = |(at, (contributor, part)): (usize, (Contributor, Part))| ContributorResult {
        contributor,
        calls: part.calls,
        exchanges: part.exchanges,
        total: Nanos(part.total),
        bands: part.bands.map(Nanos),
        without: if at < WITHOUT {
            latency.exchanged(&part.touched, &part.without)
        } else {
            Histogram::new()
        },
        call_duration: part.call_duration,
    };
    parts.into_iter().enumerate().map(result).collect()
}

fn operations(ops: BTreeMap<OpKey, OpTally>) -> Vec<Operation> {
    let mut ops: Vec<Operation> = ops
        .into_iter()
        .map(|((service, name, kind, category), tally)| Operation {
            service,
            name,
            kind,
            category,
            calls: tally.calls,
            errors: tally.errors,
            exchanges: tally.exchanges,
            duration: tally.duration,
            own: Nanos(tally.own),
            own_each: tally.own_each,
        })
        .collect();
    ops.sort_by_key(|op| Reverse(op.own));
    ops.truncate(OPERATIONS);
    ops
}
