//! Where a series of runs changes its level, and how sure that is.
//!
//! Series of benchmark results are no independent normal values: some runs are far off, machines drift so that a run resembles
//! the one before it, and the place of a change is chosen by looking for it. So values are winsorised towards the local
//! level; the mean difference of a split is divided by its deviation under a process of first order whose memory is
//! estimated with the split taken out; and the p-value of the best split of a window comes from a table of simulated
//! series without any change that went through the same search ([`critical`], made by `benches/history`).
//!
//! Windows are those of seeded binary segmentation (Kovács, Li, Bühlmann and Munk, Biometrika 110, 2023), so that two changes that
//! cancel in the whole are found in a part. Everything is deterministic and takes O(n log n).

mod critical;
mod factor;
mod robust;
mod scan;

pub use factor::{CommonFactor, common_factor};

use super::normal_cdf;
pub use scan::Memory;
use scan::{Best, Prefix};

/// Fewest values before a change.
pub const BEFORE: usize = 6;
/// Fewest values after a change: it is seen at the third run that has it.
pub const AFTER: usize = 3;
/// Fewest values of which anything can be said.
pub const FEWEST: usize = BEFORE + AFTER + 3;
/// Shortest window that is searched beside the whole.
const WINDOW: usize = 24;
/// Part of the error probability that the whole series gets; its windows share the rest.
const WHOLE: f64 = 0.9;

/// Fewest series that tell a memory in common.
const SHARED_MIN: f64 = 5.0;

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensitivity {
    /// Probability of a false change in a series without one, at most.
    pub alpha: f64,
    /// Smallest difference of levels that is a change; of logarithms, 0.01 is about one per cent.
    pub effect: f64,
}

impl Default for Sensitivity {
    fn default() -> Sensitivity {
        Sensitivity { alpha: 0.018, effect: 0.01 }
    }
}

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value at the new level.
    pub at: usize,
    /// The earliest index that this may be instead.
    pub earliest: usize,
    /// The latest index that this may be instead.
    pub latest: usize,
    /// Level before, back to the change before it.
    pub before: f64,
    /// Level after, up to the next change.
    pub after: f64,
    /// Lower end of the 95 % interval of `after - before`.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability of so clear a change in a series that has none, the search for it taken into account.
    pub p: f64,
}

impl ChangePoint {
    /// Difference of the levels.
    pub fn shift(&self) -> f64 {
        self.after - self.before
    }
}

/// What was found in a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Changes, in order.
    pub points: Vec<ChangePoint>,
    /// Deviation of values around their level.
    pub deviation: f64,
    /// How much a value resembles the one before it, 0 to 0.95: estimated, changes taken out.
    pub memory: f64,
    /// The smallest p-value of the search, whether that was a change or not; 1 where the series is too short.
    pub p: f64,
}

/// A split that is a change.
#[derive(Clone, Copy)]
struct Found {
    /// Index of the first value after it.
    at: usize,
    /// Its p-value.
    p: f64,
    /// The statistic that it needed to be seen.
    needed: f64,
}

/// Looks for changes of level. Values that are not finite are the caller's to leave out.
pub fn changes(values: &[f64], sensitivity: Sensitivity) -> Changes {
    changes_with(values, sensitivity, Memory::default())
}

/// As [`changes`], in a series that has at least this memory: see [`shared_memory`].
pub fn changes_with(values: &[f64], sensitivity: Sensitivity, least: Memory) -> Changes {
    let n = values.len();
    if n < FEWEST || values.iter().any(|v| !v.is_finite()) {
        return Changes { p: 1.0, ..Changes::default() };
    }
    let drawn = robust::winsorise(values);
    let prefix = Prefix::new(&drawn, least);
    let mut found = Vec::new();
    let mut smallest = 1.0;
    let mut pending = vec![(0, n, sensitivity.alpha)];
    while let Some((start, end, alpha)) = pending.pop() {
        let Some((best, p)) = search(&prefix, start, end) else { continue };
        if (start, end) == (0, n) {
            smallest = p;
        }
        if p <= alpha {
            found.push(Found {
                at: best.at,
                p,
                needed: critical::statistic(end - start, best.memory.equivalent(), alpha),
            });
            // Both parts share the error probability of the whole.
            pending.extend([(start, best.at, alpha / 2.0), (best.at, end, alpha / 2.0)]);
        }
    }
    found.sort_unstable_by_key(|found| found.at);
    // Values that were drawn in say less than others (Tukey and McLaughlin); of normal noise 4.6 % are.
    let moved = values.iter().zip(&drawn).filter(|(value, drawn)| value != drawn).count();
    let widening = (0.954 * n as f64 / (n - moved).max(n / 2) as f64).max(1.0);
    let points = refine(&prefix, found, widening, sensitivity);
    let (deviation, memory) = noise(&prefix, &points);
    Changes { points, deviation, memory, p: smallest }
}

/// The memory that series of one machine have in common: of the mean of their correlations. A single series of fifty runs hardly
/// shows whether its runs resemble those before; hundreds of series of the same runs do.
pub fn shared_memory<'a>(series: impl IntoIterator<Item = &'a [f64]>) -> Memory {
    let mut sums = [0.0; 3];
    let (mut count, mut values) = (0.0, 0.0);
    for one in series.into_iter().filter(|one| one.len() >= FEWEST && one.iter().all(|v| v.is_finite())) {
        let n = one.len();
        let prefix = Prefix::new(&robust::winsorise(one), Memory::default());
        let bounds = prefix.scan(0, n, BEFORE, AFTER).map_or_else(|| vec![0, n], |best| vec![0, best.at, n]);
        let Some(raw) = prefix.correlations(&bounds) else { continue };
        sums.iter_mut().zip(raw).for_each(|(sum, r)| *sum += scan::unbiased(r, n));
        (count, values) = (count + 1.0, values + n as f64);
    }
    if count < SHARED_MIN {
        Memory::default()
    } else {
        Memory::from_correlations(sums.map(|sum| sum / count), values)
    }
}

/// The statistic of a whole series taken as one window, and the memory that was estimated: what the table of critical values is
/// made of. `None` for a series that is too short.
pub fn statistic(values: &[f64]) -> Option<(f64, f64)> {
    let best =
        Prefix::new(&robust::winsorise(values), Memory::default()).scan(0, values.len(), BEFORE, AFTER)?;
    Some((best.t, best.memory.equivalent()))
}

/// The best split of a stretch over all of its windows, with its p-value.
fn search(prefix: &Prefix, start: usize, end: usize) -> Option<(Best, f64)> {
    let n = end - start;
    let scan = |from: usize, to: usize| {
        // Three values are enough for a new level at the end of the series only.
        let after = if to == prefix.len() { AFTER } else { BEFORE };
        let best = prefix.scan(from, to, BEFORE, after)?;
        Some((best, critical::p_value(to - from, best.memory.equivalent(), best.t)))
    };
    let windows = windows(n);
    let share = if windows.is_empty() { 1.0 } else { WHOLE };
    let mut best = scan(start, end).map(|(found, p)| (found, (p / share).min(1.0)));
    // A level of windows shares its part of the rest: as many windows as do not overlap, and those between.
    let rest = (1.0 - WHOLE) / windows.len().max(1) as f64;
    for (from, to) in windows {
        if let Some((found, p)) = scan(start + from, start + to) {
            let p = (p / rest).min(1.0);
            if best.is_none_or(|(_, least)| p < least) {
                best = Some((found, p));
            }
        }
    }
    best
}

/// Halves, quarters and so on, each overlapping the next by half; and the latest hundred, in which a change matters most.
fn windows(n: usize) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut length = n / 2;
    while length >= WINDOW {
        let count = (n.div_ceil(length)) * 2 - 1;
        all.extend((0..count).map(|i| {
            let from = i * (n - length) / (count - 1).max(1);
            (from, from + length)
        }));
        length /= 2;
    }
    if n > 140 {
        all.push((n - 100, n));
    }
    all
}

/// Each change anew between its neighbours. Those go, one after the other, that are too small, or no longer clear with the memory
/// that all values have around all levels: a short window does not show how long a machine drifts.
fn refine(
    prefix: &Prefix,
    mut found: Vec<Found>,
    widening: f64,
    sensitivity: Sensitivity,
) -> Vec<ChangePoint> {
    let n = prefix.len();
    for i in 0..found.len() {
        let (from, to) = neighbours(&found, i, n);
        let after = if to == n { AFTER } else { BEFORE };
        if let Some(best) = prefix.scan(from, to, BEFORE, after) {
            found[i].at = best.at;
        }
    }
    loop {
        let memory = prefix.memory(&bounds(&found, n));
        let weakest = (0..found.len())
            .map(|i| (i, doubt(prefix, &found, i, memory, sensitivity)))
            .filter(|(_, doubt)| *doubt > 1.0)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match weakest {
            Some((i, _)) => drop(found.remove(i)),
            None => return (0..found.len()).map(|i| describe(prefix, &found, i, memory, widening)).collect(),
        }
    }
}

/// The changes before and after the i-th one, or the ends of the series.
fn neighbours(found: &[Found], i: usize, n: usize) -> (usize, usize) {
    (if i == 0 { 0 } else { found[i - 1].at }, found.get(i + 1).map_or(n, |next| next.at))
}

/// Where levels begin and end.
fn bounds(found: &[Found], n: usize) -> Vec<usize> {
    std::iter::once(0).chain(found.iter().map(|found| found.at)).chain([n]).collect()
}

/// How far a change is from counting; above 1 it does not.
fn doubt(prefix: &Prefix, found: &[Found], i: usize, memory: Memory, sensitivity: Sensitivity) -> f64 {
    let (from, to) = neighbours(found, i, prefix.len());
    let split = prefix.split(from, found[i].at, to, memory);
    let shift = (split.after - split.before).abs();
    if shift < sensitivity.effect {
        return 2.0 + sensitivity.effect - shift;
    }
    let p = critical::p_value(to - from, memory.equivalent(), shift / split.deviation);
    p / sensitivity.alpha
}

fn describe(prefix: &Prefix, found: &[Found], i: usize, memory: Memory, widening: f64) -> ChangePoint {
    let Found { at, p, needed } = found[i];
    let (from, to) = neighbours(found, i, prefix.len());
    let split = prefix.split(from, at, to, memory);
    let shift = split.after - split.before;
    // As many values count as the memory leaves of them.
    let memory = memory.equivalent();
    let student = student_975((to - from) as f64 * (1.0 - memory) / (1.0 + memory));
    let deviation = widening * split.deviation;
    let half = student * deviation;
    // Only what is large enough is seen, so what is just seen is more often too large than too small.
    let scale = deviation * student / NORMAL_975;
    let least = if scale > 0.0 {
        least_seen(shift.abs() / scale, needed * split.deviation / scale) * scale
    } else {
        shift.abs()
    };
    let (low, high) = if shift < 0.0 { (shift - half, -least) } else { (least, shift + half) };
    let (earliest, latest) = prefix.range(from, at, to, memory);
    ChangePoint { at, earliest, latest, before: split.before, after: split.after, low, high, p }
}

/// The lower end of the 95 % interval of a mean of which `seen` was observed (in deviations), where it was looked at because that
/// is `needed` at least: the mean under which what was seen, or more, has a probability of 2.5 % among what is looked at.
fn least_seen(seen: f64, needed: f64) -> f64 {
    let needed = needed.min(seen);
    let above = |mean: f64| normal_cdf(mean - seen) / normal_cdf(mean - needed).max(1e-300);
    // Its direction is not in doubt.
    let (mut low, mut high) = (0.0, seen);
    if above(low) > 0.025 {
        return 0.0;
    }
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if above(middle) > 0.025 { high = middle } else { low = middle }
    }
    low
}

/// The 97.5 % quantile of the normal distribution.
const NORMAL_975: f64 = 1.959_964;

/// The 97.5 % quantile of Student's distribution for the difference of two means of so many values in all (Cornish and Fisher's
/// expansion; 0.2 % off at 10 degrees of freedom).
fn student_975(values: f64) -> f64 {
    let df = (values - 2.0).max(3.0);
    let z = NORMAL_975;
    z + (z.powi(3) + z) / (4.0 * df) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * df * df)
}

/// Deviation and memory of the whole series around its levels.
fn noise(prefix: &Prefix, points: &[ChangePoint]) -> (f64, f64) {
    let mut bounds: Vec<usize> = points.iter().map(|point| point.at).collect();
    bounds.insert(0, 0);
    bounds.push(prefix.len());
    let squares: f64 = bounds.windows(2).map(|pair| prefix.squares(pair[0], pair[1])).sum();
    let df = (prefix.len() as f64 - bounds.len() as f64 + 1.0).max(1.0);
    ((squares / df).sqrt(), prefix.memory(&bounds).equivalent())
}

#[cfg(test)]
mod tests;
