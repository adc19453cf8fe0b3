//! The numbers of a report, computed once for all formats.

use super::Report;
use crate::analysis::result::{
    Analysis, Band, BandResult, ByCategory, Category, Contributor, ContributorResult, Exemplar, StepResult,
    Verdict,
};
use crate::record::{Nanos, Run, StepId};
use crate::stats::Quantiles;

/// A report with everything that is derived from it.
pub struct View<'a> {
    /// What it is made from.
    pub report: &'a Report<'a>,
    /// One for each step, in the run's order.
    pub steps: Vec<StepView<'a>>,
    /// Seconds of load; 0 where nothing was sent.
    pub seconds: f64,
}

/// One step.
pub struct StepView<'a> {
    /// The result it is made from.
    pub result: &'a StepResult,
    /// Its journey, as written in the scenario.
    pub journey: &'a str,
    /// Its name, as written in the scenario.
    pub name: String,
    /// Exchanges per second of load.
    pub rate: f64,
    /// From the intended start.
    pub latency: Quantiles,
    /// From the actual start.
    pub service: Quantiles,
    /// Categories in the order of reports, those without time too.
    pub categories: Vec<Part>,
    /// Largest first, as in the result.
    pub contributors: Vec<Owner<'a>>,
    /// What the slowest 10 % and 1 % spend more than the typical half.
    pub tails: Vec<Tail>,
}

/// Time of one category, over one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Which.
    pub category: Category,
    /// Per exchange, in milliseconds.
    pub mean_ms: f64,
    /// Of the step's latency.
    pub share: f64,
    /// Of the latency of the exchanges between p90 and p99; absent where there are none.
    pub tail_share: Option<f64>,
}

/// Time of one contributor, over one step.
pub struct Owner<'a> {
    /// The result it is made from.
    pub result: &'a ContributorResult,
    /// Spans per exchange that has server spans.
    pub calls: f64,
    /// Its time.
    pub part: Part,
}

/// The slowest exchanges of a step against its typical ones.
pub struct Tail {
    /// The slowest so many per cent: 10 or 1.
    pub percent: u32,
    /// How many exchanges that is.
    pub exchanges: u64,
    /// Their mean latency in milliseconds.
    pub mean_ms: f64,
    /// Exchanges up to the median.
    pub typical_exchanges: u64,
    /// Their mean latency in milliseconds.
    pub typical_mean_ms: f64,
    /// Mean by category in the slow exchanges and in the typical ones; the differences sum to the gap.
    pub categories: Vec<TailPart>,
    /// The contributor with the largest excess: index into the step's contributors, and the excess in milliseconds.
    pub main: Option<(usize, f64)>,
}

/// One category of a tail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TailPart {
    /// Which.
    pub category: Category,
    /// Mean in the typical exchanges, ms.
    pub typical_ms: f64,
    /// Mean in the slow exchanges, ms.
    pub tail_ms: f64,
}

impl TailPart {
    /// What the slow ones spend more, in milliseconds; below zero where they spend less.
    pub fn excess_ms(&self) -> f64 {
        self.tail_ms - self.typical_ms
    }
}

impl Tail {
    /// The latency gap, in milliseconds.
    pub fn gap_ms(&self) -> f64 {
        self.mean_ms - self.typical_mean_ms
    }
}

/// Fewest exchanges in a tail for its means to be shown.
pub const TAIL_MIN: u64 = 5;

/// Most contributors in a table.
const ROWS_MAX: usize = 8;

/// Contributors below this share of both columns are summed up.
const SHARE_MIN: f64 = 0.01;

/// Most steps that are shown in detail.
const DETAILED_MAX: usize = 3;

impl<'a> View<'a> {
    /// Computes everything.
    pub fn new(report: &'a Report<'a>) -> View<'a> {
        let seconds = report.analysis.load.duration.as_secs_f64();
        let steps = report.analysis.steps.iter().map(|s| StepView::new(s, report.run, seconds)).collect();
        View { report, steps, seconds }
    }

    /// The run's facts.
    pub fn run(&self) -> &'a Run {
        self.report.run
    }

    /// The result.
    pub fn analysis(&self) -> &'a Analysis {
        self.report.analysis
    }

    /// The step of that id, if the result has it.
    pub fn step(&self, id: StepId) -> Option<&StepView<'a>> {
        self.steps.iter().find(|s| s.result.step == id)
    }

    /// Its name: with the journey where two journeys have a step of that name.
    pub fn step_name(&self, id: StepId) -> String {
        let steps = &self.run().steps;
        match steps.get(usize::from(id.0)) {
            None => format!("step {}", id.0),
            Some(step) if steps.iter().filter(|s| s.name == step.name).count() > 1 => {
                format!("{} › {}", step.journey, step.name)
            }
            Some(step) => step.name.clone(),
        }
    }

    /// Exchanges and errors of all steps.
    pub fn totals(&self) -> (u64, u64) {
        self.steps.iter().fold((0, 0), |(n, e), s| (n + s.result.exchanges, e + s.result.errors))
    }

    /// Arrivals per second that were due (open model) or started (closed model); absent where no time passed.
    pub fn offered_per_s(&self) -> Option<f64> {
        let load = &self.run().load;
        let planned = load.planned.as_secs_f64();
        let exchanges = self.analysis().telemetry.exchanges;
        // Of a folder that was cut off, counts and time are those of what is there.
        let whole = self.run().state == crate::record::RunState::Complete && exchanges >= load.offered;
        let seconds = if load.open_model && whole && planned > 0.0 { planned } else { self.seconds };
        (seconds > 0.0 && !self.run().sources.from_traces).then(|| exchanges as f64 / seconds)
    }

    /// Exchanges per second that were sent.
    pub fn achieved_per_s(&self) -> Option<f64> {
        // Counted among the exchanges that the time was taken from, and not by run.json: a folder may have been cut off.
        let sent = self.analysis().load.schedule_delay.len();
        (self.seconds > 0.0 && !self.run().sources.from_traces).then(|| sent as f64 / self.seconds)
    }

    /// Share of the load cores' time that hotspan itself used.
    pub fn generator_cpu_share(&self) -> Option<f64> {
        let load = &self.run().load;
        let available = self.seconds * f64::from(load.threads);
        (available > 0.0).then(|| load.cpu.as_secs_f64() / available)
    }

    /// Share of the joined exchanges' server time that some span covers.
    pub fn span_cover(&self) -> Option<f64> {
        let telemetry = &self.analysis().telemetry;
        share(telemetry.covered, telemetry.coverable)
    }

    /// Share of the traced exchanges that were joined.
    pub fn coverage(&self) -> f64 {
        self.analysis().telemetry.coverage()
    }

    /// Spans that arrived: by the receiver's ledger, or by what was read where another source gave them.
    pub fn spans_received(&self) -> u64 {
        let receiver = &self.run().receiver;
        if receiver.requests > 0 { receiver.spans_received } else { self.analysis().telemetry.spans }
    }

    /// The steps to show in detail: the verdict's first, then those with findings, then slow ones.
    pub fn detailed(&self) -> Vec<&StepView<'a>> {
        let analysis = self.analysis();
        let mut ids: Vec<StepId> = Vec::new();
        match &analysis.verdict {
            Verdict::Failing { step, .. } | Verdict::Untraced { step } | Verdict::Healthy { step } => {
                ids.push(*step)
            }
            Verdict::Bottleneck(finding) => ids.extend(analysis.findings.get(*finding).map(|f| f.step)),
            Verdict::NoData | Verdict::GeneratorBound(_) => {}
        }
        ids.extend(analysis.findings.iter().map(|f| f.step));
        // Where most requests failed, errors are the answer, and the time of failures explains nothing.
        let answers = |s: &&StepView| s.result.exchanges > 0 && s.error_share() <= 0.5;
        let mut slow: Vec<&StepView> = self.steps.iter().filter(answers).collect();
        // Stable: equal ones stay in the run's order.
        slow.sort_by_key(|s| std::cmp::Reverse(s.latency.p95));
        let bar = slow.first().map_or(0, |s| s.latency.p95.0 / 2);
        ids.extend(slow.iter().take_while(|s| s.latency.p95.0 >= bar).map(|s| s.result.step));
        let mut out: Vec<&StepView> = Vec::new();
        for id in ids {
            let step = self.step(id).filter(answers);
            if let Some(step) = step.filter(|s| !out.iter().any(|o| o.result.step == s.result.step)) {
                out.push(step);
            }
        }
        out.truncate(DETAILED_MAX);
        out
    }

    /// The steps whose exemplars are listed: a failing one, then those in detail.
    pub fn to_look_at(&self) -> Vec<&StepView<'a>> {
        let failing = match &self.analysis().verdict {
            Verdict::Failing { step, .. } => self.step(*step),
            _ => None,
        };
        failing.into_iter().chain(self.detailed()).filter(|s| !s.exemplars().is_empty()).collect()
    }

    /// Categories that own time anywhere, in the order of reports.
    pub fn categories_seen(&self) -> Vec<Category> {
        Category::ALL
            .into_iter()
            .filter(|c| self.steps.iter().any(|s| s.result.categories.get(*c) > Nanos::ZERO))
            .collect()
    }
}

impl<'a> StepView<'a> {
    fn new(result: &'a StepResult, run: &'a Run, seconds: f64) -> StepView<'a> {
        let info = run.steps.get(usize::from(result.step.0));
        let contributors: Vec<Owner> = result.contributors.iter().map(|c| Owner::new(c, result)).collect();
        StepView {
            result,
            journey: info.map_or("", |i| &i.journey),
            name: info.map_or_else(|| format!("step {}", result.step.0), |i| i.name.clone()),
            rate: if seconds > 0.0 { result.exchanges as f64 / seconds } else { 0.0 },
            latency: result.latency.quantiles(),
            service: result.service_time.quantiles(),
            categories: parts(result),
            tails: [(10, &[Band::Slow, Band::Worst][..]), (1, &[Band::Worst][..])]
                .into_iter()
                .filter_map(|(percent, bands)| Tail::new(result, percent, bands))
                .collect(),
            contributors,
        }
    }

    /// Share of errors among its exchanges.
    pub fn error_share(&self) -> f64 {
        if self.result.exchanges == 0 {
            0.0
        } else {
            self.result.errors as f64 / self.result.exchanges as f64
        }
    }

    /// A category's time.
    pub fn part(&self, category: Category) -> Part {
        self.categories[category as usize]
    }

    /// Calls per exchange and time of a contributor, if it owns anything here. One without a place in the code stands for
    /// the same work wherever in the code it is done.
    pub fn held(&self, contributor: &Contributor) -> Option<(f64, Part)> {
        let anywhere = contributor.code.is_empty();
        let same = |c: &Contributor| c == contributor || (anywhere && same_work(c, contributor));
        let owners: Vec<&Owner> = self.contributors.iter().filter(|o| same(&o.result.contributor)).collect();
        let calls = owners.iter().map(|o| o.calls).sum();
        (!owners.is_empty()).then(|| (calls, Part { category: contributor.category, ..sum(&owners) }))
    }

    /// The place in the code, where another contributor of the step differs in nothing else.
    pub fn told_apart_by<'o>(&self, owner: &'o Owner) -> Option<&'o str> {
        let c = &owner.result.contributor;
        let twin = |o: &&Owner| o.result.contributor != *c && same_work(&o.result.contributor, c);
        (!c.code.is_empty() && self.contributors.iter().any(|o| twin(&o))).then_some(&*c.code)
    }

    /// Categories with time, largest first.
    pub fn largest(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.categories.iter().copied().filter(|p| p.share > 0.0).collect();
        parts.sort_by(|a, b| b.share.total_cmp(&a.share));
        parts
    }

    /// Those worth a line, and the rest.
    pub fn shown(&self) -> (Vec<&Owner<'a>>, Vec<&Owner<'a>>) {
        let mut shown = Vec::new();
        let mut rest = Vec::new();
        for owner in &self.contributors {
            let worth =
                owner.part.share >= SHARE_MIN || owner.part.tail_share.is_some_and(|s| s >= SHARE_MIN);
            if (worth || shown.is_empty()) && shown.len() < ROWS_MAX {
                shown.push(owner)
            } else {
                rest.push(owner)
            }
        }
        (shown, rest)
    }

    /// Requests to look at.
    pub fn exemplars(&self) -> &'a [Exemplar] {
        &self.result.exemplars
    }
}

impl<'a> Owner<'a> {
    fn new(result: &'a ContributorResult, step: &StepResult) -> Owner<'a> {
        let slow = &step.bands[Band::Slow as usize];
        Owner {
            result,
            calls: if step.joined_weight == 0 {
                0.0
            } else {
                result.calls as f64 / step.joined_weight as f64
            },
            part: Part {
                category: result.contributor.category,
                mean_ms: mean_ms(result.total, weighed(step)),
                share: share(result.total, step.latency_sum).unwrap_or(0.0),
                tail_share: share(result.bands[Band::Slow as usize], slow.latency_sum),
            },
        }
    }
}

fn parts(step: &StepResult) -> Vec<Part> {
    let slow = &step.bands[Band::Slow as usize];
    Category::ALL
        .into_iter()
        .map(|category| Part {
            category,
            mean_ms: mean_ms(step.categories.get(category), weighed(step)),
            share: share(step.categories.get(category), step.latency_sum).unwrap_or(0.0),
            tail_share: share(slow.categories.get(category), slow.latency_sum),
        })
        .collect()
}

impl Tail {
    /// Absent where either side has no exchange.
    fn new(step: &StepResult, percent: u32, bands: &[Band]) -> Option<Tail> {
        let typical = &step.bands[Band::Typical as usize];
        let mut slow = BandResult::default();
        for band in bands {
            let band = &step.bands[*band as usize];
            slow.exchanges += band.exchanges;
            slow.latency_sum += band.latency_sum;
            slow.categories.merge(&band.categories);
        }
        if typical.exchanges == 0 || slow.exchanges == 0 {
            return None;
        }
        let excess = |c: &ContributorResult| {
            let slow_time: Nanos = bands.iter().map(|b| c.bands[*b as usize]).sum();
            mean_ms(slow_time, slow.exchanges) - mean_ms(c.bands[Band::Typical as usize], typical.exchanges)
        };
        let main = step
            .contributors
            .iter()
            .map(excess)
            .enumerate()
            // The first of equals, so that the order of the result decides.
            .fold(None, |best: Option<(usize, f64)>, next| match best {
                Some(b) if b.1 >= next.1 => best,
                _ => Some(next),
            })
            .filter(|(_, ms)| *ms > 0.0);
        Some(Tail {
            percent,
            exchanges: slow.exchanges,
            mean_ms: mean_ms(slow.latency_sum, slow.exchanges),
            typical_exchanges: typical.exchanges,
            typical_mean_ms: mean_ms(typical.latency_sum, typical.exchanges),
            categories: tail_parts(typical, &slow),
            main,
        })
    }
}

fn tail_parts(typical: &BandResult, slow: &BandResult) -> Vec<TailPart> {
    let of = |band: &BandResult, categories: &ByCategory, c| mean_ms(categories.get(c), band.exchanges);
    Category::ALL
        .into_iter()
        .map(|category| TailPart {
            category,
            typical_ms: of(typical, &typical.categories, category),
            tail_ms: of(slow, &slow.categories, category),
        })
        .collect()
}

/// How many exchanges the blamed ones of a step stand for: about all of them where only a sample was recorded.
fn weighed(step: &StepResult) -> u64 {
    step.bands.iter().map(|band| band.exchanges).sum()
}

/// Milliseconds per exchange; 0 where there is none.
pub fn mean_ms(sum: Nanos, exchanges: u64) -> f64 {
    if exchanges == 0 { 0.0 } else { sum.as_millis_f64() / exchanges as f64 }
}

/// Part of a whole, 0..=1; absent where there is no whole.
pub fn share(part: Nanos, whole: Nanos) -> Option<f64> {
    (whole > Nanos::ZERO).then(|| part.0 as f64 / whole.0 as f64)
}

/// Several contributors as one.
pub fn sum(owners: &[&Owner]) -> Part {
    let zero = Part { category: Category::App, mean_ms: 0.0, share: 0.0, tail_share: None };
    owners.iter().fold(zero, |all, owner| Part {
        category: all.category,
        mean_ms: all.mean_ms + owner.part.mean_ms,
        share: all.share + owner.part.share,
        tail_share: owner.part.tail_share.map(|s| s + all.tail_share.unwrap_or(0.0)).or(all.tail_share),
    })
}

/// Indices of categories, those first that the slow ones spend more on.
pub fn by_excess(mut categories: Vec<usize>, tail: &Tail) -> Vec<usize> {
    // Stable: equal ones stay in the order of reports.
    categories.sort_by(|a, b| tail.categories[*b].excess_ms().total_cmp(&tail.categories[*a].excess_ms()));
    categories
}

/// Whether two contributors differ in their place in the code at most.
fn same_work(a: &Contributor, b: &Contributor) -> bool {
    a.is_same_work(b)
}

/// The service of all contributors that have one, where it is the same.
pub fn only_service<'s>(step: &'s StepView) -> Option<&'s str> {
    let mut services =
        step.contributors.iter().map(|o| &*o.result.contributor.service).filter(|s| !s.is_empty());
    let first = services.next()?;
    services.all(|s| s == first).then_some(first)
}
