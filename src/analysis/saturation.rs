//! How latency and throughput go with load, read off the run's slices: levels, capacity, knee, what limits, warm-up, drift,
//! recovery.
//!
//! Levels are made by the load that was *offered* (arrivals in an open model, users in a closed one), never by how many
//! requests were under way: that number is high where latency is, by Little's law, so levels made by it would show
//! growth where there is only noise. Intervals come from drawing slices anew within each level (bootstrap, fixed seed).

use super::result::{
    Category, Drift, Level, LevelPart, Limiting, LoadDoubt, PartSlice, Range, Recovery, Saturation, Slice,
    Timeline,
};
use crate::record::Nanos;
use crate::stats::{Random, Usl, median, stretches, trend, warm_up};

/// Levels at most.
const LEVELS: f64 = 8.0;
/// Loads that differ by less than this are one level.
const STEP_MIN: f64 = 1.15;
/// A run whose heaviest load is less than this many times its lightest has one level.
const RANGE_MIN: f64 = 1.5;
/// Levels are spread over no more than this many times the lightest load: a straggler at the end makes them no coarser.
const RANGE_MAX: f64 = 64.0;
/// Slices and exchanges that a level needs.
const LEVEL_SLICES: usize = 3;
const LEVEL_EXCHANGES: u64 = 30;
/// Weight of a user against an arrival where the run is cut into stretches of the same load.
const CLOSED_WEIGHT: f64 = 20.0;
/// Draws for an interval.
const DRAWS: usize = 400;
/// Throughput that grows by less than this part of the growth of load has reached its end.
const PLATEAU: f64 = 0.15;
/// In an open model a level that ends less than this part of what is due is beyond capacity.
const KEPT_UP: f64 = 0.95;
/// An interval whose upper end is this many times its lower one says nothing.
const WIDE: f64 = 1.6;
/// A curve is prolonged to at most this many times the highest throughput that was seen.
const BEYOND: f64 = 2.0;
/// Latency has grown if it is this many times that of the lightest load.
const GROWN: f64 = 1.25;
/// A contributor limits if it has this part of the growth.
const LIMITING_SHARE: f64 = 0.3;
/// Contributors that are shown by level.
const PARTS: usize = 12;
/// Slices that drift needs.
const DRIFT_SLICES: usize = 30;
/// Chance below which a trend is believed, and change of the median from which it matters.
const DRIFT_P: f64 = 0.01;
const DRIFT_SHARE: f64 = 0.1;
/// A start-up phase is told where it was this many times slower than the rest.
const WARM: f64 = 1.2;

/// Everything that a run's slices say about load. `open` tells whether arrivals came by a rate.
pub(super) fn saturation(line: &Timeline, open: bool) -> Saturation {
    let mut out = Saturation::default();
    let used: Vec<usize> = (0..line.slices.len()).filter(|i| line.slices[*i].started > 0).collect();
    let exchanges: u64 = line.slices.iter().map(|s| s.started).sum();
    if used.len() < 2 * LEVEL_SLICES || exchanges < 2 * LEVEL_EXCHANGES {
        out.doubts.push(LoadDoubt::TooShort);
        return out;
    }
    // Slices in which nothing began belong to a light load as much as the others: left out, they would raise every rate.
    let spanned: Vec<usize> = (used[0]..=used[used.len() - 1]).collect();
    let loads = loads(line, &spanned, open);
    let members = levels(line, &spanned, &loads);
    out.levels = members.iter().map(|m| level(line, m, open)).collect();
    if members.len() < 2 {
        out.doubts.push(LoadDoubt::OneLevel);
        steady(line, &used, &mut out);
        return out;
    }
    let see = Seen { line, members: &members, open };
    see.capacity(&mut out);
    see.knee(&mut out);
    see.limiting(&mut out);
    let loads: Vec<f64> = used.iter().map(|i| loads[*i - used[0]]).collect();
    out.recovery = recovery(line, &used, &loads);
    out
}

/// The load of each slice: the mean of the stretch of the run that it lies in, so that neither chance nor the
/// change from one stage to the next makes levels of its own.
fn loads(line: &Timeline, slices: &[usize], open: bool) -> Vec<f64> {
    let of = |i: &usize| {
        let slice = &line.slices[*i];
        // Users sway far less than arrivals; as counts of a Poisson process they would have to be many more.
        if open { slice.started as f64 } else { CLOSED_WEIGHT * f64::from(slice.users) }
    };
    let raw: Vec<f64> = slices.iter().map(of).collect();
    let ends = stretches(&raw, LEVEL_SLICES);
    let mut out = Vec::with_capacity(raw.len());
    for end in ends {
        let part = &raw[out.len()..end];
        let mean = part.iter().sum::<f64>() / part.len().max(1) as f64;
        out.resize(end, mean);
    }
    out
}

/// Slices by level, lightest first; none of stretches without any load.
fn levels(line: &Timeline, slices: &[usize], loads: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..slices.len()).filter(|i| loads[*i] > 0.0).collect();
    order.sort_by(|a, b| loads[*a].total_cmp(&loads[*b]).then(a.cmp(b)));
    let (low, high) = match (order.first(), order.last()) {
        (Some(first), Some(last)) => (loads[*first], loads[*last]),
        _ => return Vec::new(),
    };
    let all = |order: &[usize]| vec![order.iter().map(|at| slices[*at]).collect()];
    if high / low < RANGE_MIN {
        return all(&order);
    }
    let step = (high / low).min(RANGE_MAX).powf(1.0 / LEVELS).max(STEP_MIN);
    let mut by_level: Vec<Vec<usize>> = Vec::new();
    let mut base = 0.0;
    for &at in &order {
        if by_level.is_empty() || loads[at] > base * step {
            base = loads[at];
            by_level.push(Vec::new());
        }
        if let Some(level) = by_level.last_mut() {
            level.push(slices[at]);
        }
    }
    // What is too small for a level of its own is left out rather than mixed into another.
    let enough = |m: &Vec<usize>| {
        m.len() >= LEVEL_SLICES && m.iter().map(|i| line.slices[*i].started).sum::<u64>() >= LEVEL_EXCHANGES
    };
    by_level.retain(enough);
    if by_level.is_empty() { all(&order) } else { by_level }
}

fn level(line: &Timeline, members: &[usize], open: bool) -> Level {
    let sum = total(line, members);
    let duration = Nanos(line.width.0 * members.len() as u64);
    let weight = sum.weight.max(1) as f64;
    let parts = line.contributors.iter().take(PARTS).map(|(who, track)| {
        let part = part_total(track, members);
        LevelPart {
            contributor: who.clone(),
            mean_ms: part.time.as_millis_f64() / weight,
            calls_per_exchange: part.calls as f64 / weight,
            call_ms: part.call_time.as_millis_f64() / part.calls.max(1) as f64,
            // Blame may stand for more exchanges than were recorded, never for more than there were.
            busy: part.call_time.0 as f64 / duration.0.max(1) as f64,
        }
    });
    Level {
        slices: members.len(),
        duration,
        exchanges: sum.started,
        users: if open { 0.0 } else { f64::from(sum.users) / members.len() as f64 },
        offered_per_s: sum.started as f64 / duration.as_secs_f64(),
        achieved_per_s: sum.done as f64 / duration.as_secs_f64(),
        concurrency: sum.busy.0 as f64 / duration.0.max(1) as f64,
        mean_ms: sum.latency.as_millis_f64() / sum.started.max(1) as f64,
        categories_ms: Category::ALL.map(|c| sum.categories.get(c).as_millis_f64() / weight),
        parts: parts.collect(),
    }
}

fn total(line: &Timeline, members: &[usize]) -> Slice {
    members.iter().fold(Slice::default(), |mut sum, i| {
        let slice = &line.slices[*i];
        sum.started += slice.started;
        sum.done += slice.done;
        sum.users += slice.users;
        sum.weight += slice.weight;
        sum.latency += slice.latency;
        sum.busy += slice.busy;
        sum.categories.merge(&slice.categories);
        sum
    })
}

fn part_total(track: &[PartSlice], members: &[usize]) -> PartSlice {
    members.iter().fold(PartSlice::default(), |mut sum, i| {
        sum.exchanges += track[*i].exchanges;
        sum.time += track[*i].time;
        sum.calls += track[*i].calls;
        sum.call_time += track[*i].call_time;
        sum
    })
}

/// What one set of slices says about the curve: offered, achieved, under way, latency in milliseconds.
#[derive(Clone, Copy)]
struct Point {
    offered: f64,
    achieved: f64,
    under_way: f64,
    latency: f64,
}

/// The levels with the slices that they are of, so that they can be drawn anew.
struct Seen<'a> {
    line: &'a Timeline,
    members: &'a [Vec<usize>],
    open: bool,
}

impl Seen<'_> {
    fn point(&self, members: &[usize]) -> Point {
        let sum = total(self.line, members);
        let seconds = self.line.width.as_secs_f64() * members.len() as f64;
        Point {
            offered: sum.started as f64 / seconds,
            achieved: sum.done as f64 / seconds,
            under_way: sum.busy.as_secs_f64() / seconds,
            latency: sum.latency.as_millis_f64() / sum.started.max(1) as f64,
        }
    }

    fn points(&self) -> Vec<Point> {
        self.members.iter().map(|m| self.point(m)).collect()
    }

    /// The interval of what `f` makes of the points, by drawing the slices of each level anew. `None` where `f` finds
    /// nothing in the points as they are, or in too many of the draws.
    fn range(&self, f: &dyn Fn(&[Point]) -> Option<f64>) -> Option<Range> {
        let value = f(&self.points())?;
        let mut random = Random::new(0x0068_6F74_7370_616E);
        let mut drawn: Vec<f64> = Vec::with_capacity(DRAWS);
        for _ in 0..DRAWS {
            let points: Vec<Point> = self
                .members
                .iter()
                .map(|m| {
                    let again: Vec<usize> = (0..m.len()).map(|_| m[random.below(m.len())]).collect();
                    self.point(&again)
                })
                .collect();
            drawn.extend(f(&points).filter(|v| v.is_finite()));
        }
        if drawn.len() < DRAWS * 4 / 5 {
            return None;
        }
        drawn.sort_by(f64::total_cmp);
        let at = |q: f64| drawn[((drawn.len() - 1) as f64 * q).round() as usize];
        Some(Range { value, low: at(0.025).min(value), high: at(0.975).max(value) })
    }

    /// First level at which throughput no longer grows with load.
    fn plateau(&self) -> Option<usize> {
        let points = self.points();
        let full = |i: usize| {
            let (at, before) = (points[i], points[i - 1]);
            let load = |p: Point| if self.open { p.offered } else { p.under_way };
            let grown = load(at) / load(before) - 1.0;
            let kept_up = !self.open || at.achieved >= KEPT_UP * at.offered;
            !kept_up || (grown > 0.05 && at.achieved / before.achieved - 1.0 < PLATEAU * grown)
        };
        // From the heaviest down: a plateau lasts to the end.
        let mut first = None;
        for i in (1..points.len()).rev() {
            if !full(i) {
                break;
            }
            first = Some(i);
        }
        first
    }

    fn capacity(&self, out: &mut Saturation) {
        let law = |points: &[Point]| {
            Usl::fit(&points.iter().map(|p| (p.under_way, p.achieved)).collect::<Vec<_>>())
        };
        let alpha = self.range(&|points| law(points).map(|l| l.alpha));
        let beta = self.range(&|points| law(points).map(|l| l.beta));
        out.scalability = alpha.zip(beta);
        if let Some(from) = self.plateau() {
            // Beyond its capacity a service may get less done: what came through before that counts.
            let most = |points: &[Point]| {
                let flat = &points[from..];
                let mean = flat.iter().map(|p| p.achieved).sum::<f64>() / flat.len() as f64;
                Some(mean.max(points[from - 1].achieved))
            };
            out.capacity_per_s = self.range(&most);
            out.capacity_seen = true;
            return;
        }
        let highest = self.points().iter().map(|p| p.achieved).fold(0.0, f64::max);
        let beyond = self.range(&|points| law(points).map(|l| l.capacity()));
        match beyond {
            Some(range) if range.value.is_finite() && range.value < BEYOND * highest => {
                if range.high <= WIDE * range.low {
                    out.capacity_per_s = Some(Range { low: range.low.max(highest), ..range });
                } else {
                    out.doubts.push(LoadDoubt::WideInterval);
                }
            }
            _ => out.doubts.push(LoadDoubt::NotReached),
        }
    }

    fn knee(&self, out: &mut Saturation) {
        let doubled = |points: &[Point]| {
            let floor = points.iter().map(|p| p.latency).fold(f64::INFINITY, f64::min);
            let pair =
                points.windows(2).find(|w| w[0].latency < 2.0 * floor && w[1].latency >= 2.0 * floor)?;
            let part = (2.0 * floor - pair[0].latency) / (pair[1].latency - pair[0].latency);
            Some(pair[0].achieved + part * (pair[1].achieved - pair[0].achieved))
        };
        out.knee_per_s = self.range(&doubled);
        if out.knee_per_s.is_none() {
            out.doubts.push(LoadDoubt::NoKnee);
        }
    }

    fn limiting(&self, out: &mut Saturation) {
        let points = self.points();
        let lightest = (0..points.len()).min_by(|a, b| points[*a].latency.total_cmp(&points[*b].latency));
        let heaviest = (0..points.len()).max_by(|a, b| points[*a].latency.total_cmp(&points[*b].latency));
        let (Some(light), Some(heavy)) = (lightest, heaviest) else { return };
        let growth = points[heavy].latency - points[light].latency;
        if light >= heavy || points[heavy].latency < GROWN * points[light].latency {
            return out.doubts.push(LoadDoubt::NoGrowth);
        }
        let mean = |track: &[PartSlice], level: usize| {
            let weight = total(self.line, &self.members[level]).weight.max(1) as f64;
            part_total(track, &self.members[level]).time.as_millis_f64() / weight
        };
        let mut candidates = Vec::new();
        for one in &self.line.contributors {
            let grown = mean(&one.1, heavy) - mean(&one.1, light);
            if grown < LIMITING_SHARE * growth || !self.grew(&one.1, light, heavy) {
                continue;
            }
            // Grown: a tenth of the way from its lightest to its heaviest.
            let floor = mean(&one.1, light) + grown / 10.0;
            let from = (light..=heavy).find(|level| mean(&one.1, *level) > floor).unwrap_or(heavy);
            candidates.push((grown, from, one));
        }
        // The one that grew most; of two that grew by about as much the one that grew first.
        let most = candidates.iter().map(|c| c.0).fold(0.0, f64::max);
        candidates.retain(|c| c.0 >= 0.8 * most);
        candidates.sort_by(|a, b| a.1.cmp(&b.1).then(b.0.total_cmp(&a.0)));
        let Some((grown, from_level, (who, track))) = candidates.into_iter().next() else {
            return out.doubts.push(LoadDoubt::Spread);
        };
        out.limiting = Some(Limiting {
            contributor: who.clone(),
            mean_ms: (mean(track, light), mean(track, heavy)),
            share_of_growth: (grown / growth).min(1.0),
            from_level,
        });
    }

    /// Whether the slices of two levels differ by more than they sway (Welch's test, three standard errors).
    fn grew(&self, track: &[PartSlice], light: usize, heavy: usize) -> bool {
        let moments = |level: usize| {
            let values: Vec<f64> = self.members[level]
                .iter()
                .filter(|i| self.line.slices[**i].weight > 0)
                .map(|i| track[*i].time.as_millis_f64() / self.line.slices[*i].weight.max(1) as f64)
                .collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let spread = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
            (mean, spread / n)
        };
        let ((a, va), (b, vb)) = (moments(light), moments(heavy));
        b - a > 3.0 * (va + vb).sqrt()
    }
}

/// Mean latency of a slice in milliseconds.
fn mean_ms(slice: &Slice) -> f64 {
    slice.latency.as_millis_f64() / slice.started.max(1) as f64
}

/// Start-up and drift of a run at one load.
fn steady(line: &Timeline, used: &[usize], out: &mut Saturation) {
    let series: Vec<f64> = used.iter().map(|i| mean_ms(&line.slices[*i])).collect();
    let cut = warm_up(&series);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    if cut > 0 && mean(&series[..cut]) > WARM * mean(&series[cut..]) {
        out.warm_up = Some(Nanos(line.width.0 * (used[cut] - used[0]) as u64));
    }
    let rest = if out.warm_up.is_some() { cut } else { 0 };
    let series = &series[rest..];
    let Some(found) = (series.len() >= DRIFT_SLICES).then(|| trend(series)).flatten() else { return };
    let Some(middle) = median(&mut series.to_vec()).filter(|m| *m > 0.0) else { return };
    let share = found.slope * series.len() as f64 / middle;
    if found.p > DRIFT_P || share.abs() < DRIFT_SHARE {
        return;
    }
    let moved = |track: &[PartSlice]| {
        let values: Vec<f64> = used[rest..]
            .iter()
            .map(|i| track[*i].time.as_millis_f64() / line.slices[*i].weight.max(1) as f64)
            .collect();
        trend(&values).filter(|t| t.p <= DRIFT_P).map_or(0.0, |t| t.slope * share.signum())
    };
    let most = line.contributors.iter().map(|(who, track)| (moved(track), who));
    let most = most.filter(|(by, _)| *by > 0.0).max_by(|a, b| a.0.total_cmp(&b.0));
    out.drift = Some(Drift {
        ms_per_minute: found.slope * 60.0 / line.width.as_secs_f64(),
        share,
        p: found.p,
        contributor: most.map(|(_, who)| who.clone()),
    });
}

/// What became of latency after the load's peak, where there was load of the same height before it.
fn recovery(line: &Timeline, used: &[usize], loads: &[f64]) -> Option<Recovery> {
    let high = loads.iter().copied().fold(0.0, f64::max);
    let peak: Vec<usize> = (0..loads.len()).filter(|i| loads[*i] >= 0.8 * high).collect();
    let (first, last) = (*peak.first()?, *peak.last()?);
    let (before, after) = (&loads[..first], &loads[last + 1..]);
    if before.len() < LEVEL_SLICES || after.len() < LEVEL_SLICES {
        return None;
    }
    let base = median(&mut before.to_vec())?;
    let calm = |load: &f64| *load <= base * RANGE_MIN;
    if !before.iter().all(calm) || base * 2.0 > high {
        return None;
    }
    let latency = |i: usize| mean_ms(&line.slices[used[i]]);
    let usual = median(&mut (0..first).map(latency).collect::<Vec<_>>())?;
    let from = last + 1 + after.iter().position(calm)?;
    let back = |i: &usize| (*i..(*i + 3).min(loads.len())).all(|j| latency(j) <= 1.2 * usual);
    let span = |to: usize| Nanos(line.width.0 * (used[to] - used[from]) as u64);
    Some(match (from..loads.len().saturating_sub(2)).find(back) {
        Some(at) => Recovery::After(span(at)),
        None => Recovery::NotWithin(span(loads.len() - 1)),
    })
}
