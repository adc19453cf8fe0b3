//! The search for a service's capacity: one run whose rate is raised until something breaks, then halved in between until
//! the edge is known well enough, and tried again at the edge, because one probe is luck.
//!
//! What breaks a rate: the scenario's own thresholds on latency and errors of the whole run; where it has none, errors of
//! more than 1 %, a median of three times that of the lightest rate or a 95th percentile of ten times, or a backlog that
//! grows. The median, because a queue that builds up moves all of the latencies, and other work on a machine the tail alone. After a rate that broke
//! the load stands until the backlog is gone, so that one probe does not spoil the next.

use crate::load::{Change, Clock, Controller, LiveCounters, ONE, Stopper};
use crate::record::{Exchange, Nanos, Probe, Search, Timestamp};
use crate::scenario::{Limit, Metric, SearchPlan, Statistic, Subject, Threshold};
use anyhow::Context;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Errors above this share break a rate.
const ERRORS_MAX: f64 = 0.01;
/// A median of so many times that of the lightest rate breaks one, and a 95th percentile of so many …
const KNEE: f64 = 3.0;
const TAIL: f64 = 10.0;
/// … if it is longer by this, too: a service of half a millisecond may sway.
const KNEE_LEAST: Nanos = Nanos::from_millis(2);
/// A backlog that grows by more than this part of what was due breaks a rate …
const BEHIND_MAX: f64 = 0.05;
/// … if it is so many iterations.
const BEHIND_LEAST: f64 = 5.0;
/// From one rate to the next, while nothing breaks.
const RAISE: f64 = 2.0;
/// Probes of one search at most: each takes the time of a probe and of settling.
pub const MOST_PROBES: usize = 60;
/// Longest wait for a backlog to go away.
const DRAIN: Duration = Duration::from_secs(15);

/// What the recorder counts of the exchanges of one probe.
#[derive(Debug, Default)]
pub struct Tally {
    active: AtomicBool,
    inner: Mutex<Option<Inner>>,
}

#[derive(Debug)]
struct Inner {
    from: Timestamp,
    to: Timestamp,
    exchanges: u64,
    errors: u64,
    latencies: Histogram<u64>,
}

impl Tally {
    /// Counts those exchanges of a batch that were due in the probe that goes on.
    pub fn take(&self, batch: &[Exchange]) {
        if !self.active.load(Relaxed) {
            return;
        }
        if let Some(inner) = self.inner.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for exchange in batch.iter().filter(|e| (inner.from..inner.to).contains(&e.intended)) {
                inner.exchanges += 1;
                inner.errors += u64::from(exchange.is_error());
                // It resizes itself, so every u64 fits.
                let _ = inner.latencies.record(exchange.corrected_latency().0);
            }
        }
    }

    fn begin(&self, from: Timestamp, to: Timestamp) {
        let latencies = Histogram::new(3).ok();
        let inner = latencies.map(|latencies| Inner { from, to, exchanges: 0, errors: 0, latencies });
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = inner;
        self.active.store(true, Relaxed);
    }

    fn end(&self) -> Option<Inner> {
        self.active.store(false, Relaxed);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a search works with.
pub struct Searcher {
    pub plan: SearchPlan,
    pub thresholds: Vec<Threshold>,
    pub controller: Controller,
    pub stopper: Stopper,
    pub counters: Arc<LiveCounters>,
    pub tally: Arc<Tally>,
    /// When the load began.
    pub begin: Timestamp,
    /// The run's clock.
    pub clock: Clock,
    /// Set when the run is over, whatever the search has found.
    pub over: Arc<AtomicBool>,
}

/// A search while it goes on.
pub struct Searching {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Search>,
}

impl Searching {
    /// Begins.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(searcher: Searcher) -> anyhow::Result<Searching> {
        let over = Arc::clone(&searcher.over);
        let thread = std::thread::Builder::new()
            .name("hotspan-search".into())
            .spawn(move || searcher.run())
            .context("cannot start the thread of the search")?;
        Ok(Searching { over, thread })
    }

    /// The load is over: what was found by then.
    pub fn join(self) -> Option<Search> {
        self.over.store(true, Relaxed);
        self.thread.join().ok()
    }
}

impl Searcher {
    /// The factor with which a search begins.
    pub fn first_factor(plan: &SearchPlan) -> u32 {
        factor(plan, plan.low_per_s)
    }

    /// Searches, and ends the load. Takes as long as its probes do.
    pub fn run(self) -> Search {
        let mut search = Search::default();
        let mut edge = Edge::new(&self.plan);
        while let Some(rate) = edge.next() {
            if search.probes.len() >= MOST_PROBES {
                search.cut_short = Some(format!("{MOST_PROBES} rates were tried"));
                break;
            }
            let Some((mut probe, served)) = self.probe(rate) else {
                search.cut_short = Some("the run ended first".to_owned());
                break;
            };
            probe.broke = self.broke(&probe, search.probes.first());
            edge.tell(rate, probe.broke.is_none().then_some(served));
            let broke = probe.broke.is_some();
            search.probes.push(probe);
            if broke {
                self.drain();
            }
        }
        (search.holds_per_s, search.breaks_per_s) = (edge.served().or(edge.holds), edge.breaks);
        self.stopper.drain();
        search
    }

    /// Waits; false when the run is over.
    fn wait_until(&self, moment: Timestamp) -> bool {
        while self.clock.now() < moment {
            if self.over.load(Relaxed) {
                return false;
            }
            let left = moment.since(self.clock.now());
            std::thread::sleep(Duration::from_nanos(left.0).min(Duration::from_millis(20)));
        }
        !self.over.load(Relaxed)
    }

    /// Iterations that are under way or wait to begin.
    fn backlog(&self) -> f64 {
        (self.counters.users.load(Relaxed) + self.counters.waiting.load(Relaxed)) as f64
    }

    /// One rate tried, and what the service served of it.
    fn probe(&self, rate: f64) -> Option<(Probe, f64)> {
        let changed =
            self.controller.change(self.begin, self.clock.now(), Change::Factor(factor(&self.plan, rate)));
        let from = self.begin + changed + self.plan.settle;
        let to = from + self.plan.probe;
        self.tally.begin(from, to);
        let there = self.wait_until(from);
        let before = self.backlog();
        let there = there && self.wait_until(to);
        let after = self.backlog();
        // What was due last is given the time to end.
        let grace = Nanos(self.plan.probe.0 / 5).min(Nanos::from_millis(2_000)).max(Nanos::from_millis(200));
        let there = there && self.wait_until(to + grace);
        let inner = self.tally.end()?;
        if !there {
            return None;
        }
        let due = (rate * self.plan.probe.as_secs_f64()).max(1.0);
        let grown = after - before;
        let probe = Probe {
            at: from.since(self.begin),
            length: self.plan.probe,
            rate_per_s: rate,
            exchanges: inner.exchanges,
            errors: inner.errors,
            p50: Nanos(inner.latencies.value_at_quantile(0.5)),
            p95: Nanos(inner.latencies.value_at_quantile(0.95)),
            behind: if grown >= BEHIND_LEAST { grown / due } else { 0.0 },
            broke: self.own_thresholds(&inner),
        };
        Some((probe, served(rate, due, grown)))
    }

    /// The load stands until nobody walks any more.
    fn drain(&self) {
        self.controller.change(self.begin, self.clock.now(), Change::Pause);
        let since = Instant::now();
        while self.backlog() > 0.0 && since.elapsed() < DRAIN && !self.over.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.controller.change(self.begin, self.clock.now(), Change::Resume);
    }

    /// The scenario's thresholds on the whole run that can be told while it runs.
    fn limits(&self) -> impl Iterator<Item = (&crate::scenario::Condition, Metric)> {
        let run = self.thresholds.iter().filter(|t| matches!(t.subject, Subject::Run));
        run.flat_map(|t| &t.conditions)
            .filter(|c| matches!(c.metric, Metric::Latency(_) | Metric::ErrorRate))
            .map(|c| (c, c.metric))
    }

    fn own_thresholds(&self, inner: &Inner) -> Option<String> {
        for (condition, metric) in self.limits() {
            let actual = match metric {
                _ if inner.exchanges == 0 => continue,
                Metric::Latency(statistic) => {
                    let nanos = match statistic {
                        Statistic::Mean => inner.latencies.mean(),
                        Statistic::Max => inner.latencies.max() as f64,
                        Statistic::Quantile(q) => inner.latencies.value_at_quantile(q) as f64,
                    };
                    nanos / 1e6
                }
                _ => inner.errors as f64 / inner.exchanges as f64,
            };
            let limit = match condition.limit {
                Limit::Time(time) => time.as_millis_f64(),
                Limit::Ratio(number) | Limit::Number(number) => number,
            };
            if !condition.comparison.holds(actual, limit) {
                return Some(match metric {
                    Metric::ErrorRate => format!("{} does not hold: {:.1} %", condition.text, 100.0 * actual),
                    _ => format!("{} does not hold: {}", condition.text, Nanos((actual * 1e6) as u64)),
                });
            }
        }
        None
    }

    /// Why a rate did not hold.
    fn broke(&self, probe: &Probe, lightest: Option<&Probe>) -> Option<String> {
        if probe.broke.is_some() {
            return probe.broke.clone();
        }
        if probe.exchanges == 0 {
            return Some("no request that was due was answered".to_owned());
        }
        if probe.behind > BEHIND_MAX {
            return Some(format!("the backlog grew by {:.0} % of what was due", 100.0 * probe.behind));
        }
        let own = |wanted: fn(&Metric) -> bool| self.limits().any(|(_, metric)| wanted(&metric));
        let errors = probe.errors as f64 / probe.exchanges as f64;
        if errors > ERRORS_MAX && !own(|m| matches!(m, Metric::ErrorRate)) {
            return Some(format!("{:.1} % of the requests failed", 100.0 * errors));
        }
        if own(|m| matches!(m, Metric::Latency(_))) {
            return None;
        }
        let lightest = lightest?;
        [("p50", KNEE, probe.p50, lightest.p50), ("p95", TAIL, probe.p95, lightest.p95)]
            .into_iter()
            .find(|(_, times, now, usual)| {
                *now > Nanos((usual.0 as f64 * times) as u64).max(*usual + KNEE_LEAST)
            })
            .map(|(name, times, now, usual)| {
                format!("{name} {now} is more than {times} times the {usual} of the lightest rate")
            })
    }
}

/// What a service served of a rate, at least: a backlog that grows by less than what breaks a rate is still more than it
/// serves. The backlog was counted twice, at two moments that fall anywhere between two arrivals, so one is nothing.
fn served(rate: f64, due: f64, grown: f64) -> f64 {
    rate * (1.0 - (grown.max(0.0) + 1.0) / due.max(2.0))
}

/// The factor that makes a rate of the plan's highest.
fn factor(plan: &SearchPlan, rate: f64) -> u32 {
    (rate / plan.high_per_s * f64::from(ONE)).round().clamp(1.0, f64::from(u32::MAX)) as u32
}

/// Which rate is tried next. Pure: told what came of each, it finds the edge.
struct Edge {
    next: Option<f64>,
    high: f64,
    precision: f64,
    repeats: u32,
    holds: Option<f64>,
    breaks: Option<f64>,
    /// At the edge: votes for the rate that held and against the one that broke.
    again: Vec<Vote>,
}

/// A rate that is tried again.
struct Vote {
    rate: f64,
    held: u32,
    broke: u32,
    /// The least that was served of it where it held.
    served: f64,
}

impl Edge {
    fn new(plan: &SearchPlan) -> Edge {
        Edge {
            next: Some(plan.low_per_s),
            high: plan.high_per_s,
            precision: plan.precision,
            repeats: plan.repeats,
            holds: None,
            breaks: None,
            again: Vec::new(),
        }
    }

    fn next(&self) -> Option<f64> {
        self.next
    }

    /// What came of a rate: what was served of it, nothing where it broke.
    fn tell(&mut self, rate: f64, served: Option<f64>) {
        let known = self.again.iter().position(|v| v.rate == rate);
        let at = known.unwrap_or_else(|| {
            self.again.push(Vote { rate, held: 0, broke: 0, served: rate });
            self.again.len() - 1
        });
        let vote = &mut self.again[at];
        match served {
            Some(served) => {
                vote.held += 1;
                vote.served = vote.served.min(served);
            }
            None => vote.broke += 1,
        }
        self.count();
        self.next = self.choose();
    }

    /// The lower side of the edge, where there is an upper one: what was served for sure of the rate that holds.
    fn served(&self) -> Option<f64> {
        let holds = self.holds.filter(|_| self.breaks.is_some())?;
        self.again.iter().find(|v| v.rate == holds).map(|v| v.served)
    }

    /// What most probes of each rate say; a rate with as many of either kind broke.
    fn count(&mut self) {
        let broken = self.again.iter().filter(|v| v.broke >= v.held).map(|v| v.rate);
        self.breaks = broken.min_by(f64::total_cmp);
        let below = |rate: &f64| self.breaks.is_none_or(|breaks| *rate < breaks);
        let held = self.again.iter().filter(|v| v.held > v.broke).map(|v| v.rate);
        self.holds = held.filter(below).max_by(f64::total_cmp);
    }

    fn choose(&self) -> Option<f64> {
        let Some(breaks) = self.breaks else {
            let holds = self.holds?;
            return (holds < self.high).then(|| (holds * RAISE).min(self.high));
        };
        let Some(holds) = self.holds else {
            // Even the lightest broke: lower, until there is nothing below that would be worth a name.
            let lowest = self.again.iter().map(|v| v.rate).fold(f64::INFINITY, f64::min);
            return (lowest > self.high / 1e5 && lowest > 0.1).then_some(lowest / RAISE);
        };
        if breaks / holds > 1.0 + self.precision {
            return Some((holds * breaks).sqrt());
        }
        // Near enough: both sides of the edge are tried until most of their probes agree.
        let undecided = self.again.iter().filter(|v| v.rate == holds || v.rate == breaks);
        let least = undecided.min_by_key(|v| v.held + v.broke)?;
        (least.held + least.broke < self.repeats).then_some(least.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> SearchPlan {
        SearchPlan { low_per_s: 10.0, high_per_s: 2_000.0, ..SearchPlan::default() }
    }

    /// Searches a service that breaks at rates above `capacity`, and now and then by chance.
    fn search(plan: &SearchPlan, mut breaks: impl FnMut(f64) -> bool) -> (Option<f64>, Option<f64>, usize) {
        let mut edge = Edge::new(plan);
        let mut probes = 0;
        while let Some(rate) = edge.next() {
            edge.tell(rate, (!breaks(rate)).then_some(rate));
            probes += 1;
            assert!(probes <= 200, "it never ends");
        }
        (edge.holds, edge.breaks, probes)
    }

    #[test]
    fn the_edge_is_found_and_tried_again() {
        let (holds, breaks, probes) = search(&plan(), |rate| rate > 437.0);
        let (holds, breaks) = (holds.unwrap(), breaks.unwrap());
        assert!(holds <= 437.0 && breaks > 437.0 && breaks / holds <= 1.05, "{holds} {breaks}");
        assert!(probes <= 20, "{probes}");
    }

    #[test]
    fn a_rate_that_holds_counts_as_far_as_it_was_served() {
        // A service of 39.6/s at 40/s for 5 s: two of two hundred are left over, which breaks nothing.
        let least = served(40.0, 200.0, 2.0);
        assert!(39.0 < least && least <= 39.6, "{least}");
        assert!(served(1_000.0, 5_000.0, -3.0) > 999.0);
        // It is an edge that the capacity lies within, whatever part of a twentieth the search stops at.
        for capacity in [24.6, 39.6, 396.1, 1_234.5] {
            let mut edge = Edge::new(&plan());
            while let Some(rate) = edge.next() {
                let due = rate * 5.0;
                let grown = (due - capacity * 5.0).max(0.0).floor();
                edge.tell(
                    rate,
                    (grown < BEHIND_LEAST || grown <= BEHIND_MAX * due).then(|| served(rate, due, grown)),
                );
            }
            let (low, high) = (edge.served().unwrap(), edge.breaks.unwrap());
            assert!(low <= capacity && capacity < high && high / low < 1.15, "{low} {capacity} {high}");
        }
    }

    #[test]
    fn a_service_that_never_breaks_gives_a_lower_bound() {
        assert_eq!(search(&plan(), |_| false), (Some(2_000.0), None, 9));
    }

    #[test]
    fn a_service_that_always_breaks_gives_none() {
        let (holds, breaks, probes) = search(&plan(), |_| true);
        assert!(holds.is_none() && breaks.unwrap() < 1.0 && probes < 30, "{probes}");
    }

    #[test]
    fn one_bad_probe_does_not_move_the_edge() {
        // The first probe of the rate that holds at the edge breaks by chance.
        let mut unlucky = 1;
        let (holds, breaks, _) = search(&plan(), |rate| {
            let chance = (400.0..437.0).contains(&rate) && unlucky > 0;
            unlucky -= i32::from(chance);
            rate > 437.0 || chance
        });
        let middle = (holds.unwrap() * breaks.unwrap()).sqrt();
        assert!((middle / 437.0 - 1.0).abs() < 0.12, "{middle}");
    }

    proptest! {
        #[test]
        fn every_capacity_is_found_within_the_precision(capacity in 0.5f64..1_900.0) {
            let (holds, breaks, probes) = search(&plan(), |rate| rate > capacity);
            let (holds, breaks) = (holds.unwrap(), breaks.unwrap());
            prop_assert!(holds <= capacity && capacity < breaks && breaks / holds <= 1.05 + 1e-9);
            prop_assert!(probes < MOST_PROBES);
        }
    }
}
