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
const WHOLE: f64 = 0.7;

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
        Sensitivity { alpha: 0.02, effect: 0.01 }
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

/// Looks for changes of level. Values that are not finite are the caller's to leave out.
pub fn changes(values: &[f64], sensitivity: Sensitivity) -> Changes {
    let n = values.len();
    if n < FEWEST || values.iter().any(|v| !v.is_finite()) {
        return Changes { p: 1.0, ..Changes::default() };
    }
    let prefix = Prefix::new(&robust::winsorise(values));
    let mut found = Vec::new();
    let mut smallest = 1.0;
    let mut pending = vec![(0, n, sensitivity.alpha)];
    while let Some((start, end, alpha)) = pending.pop() {
        let Some((best, p)) = search(&prefix, start, end) else { continue };
        if (start, end) == (0, n) {
            smallest = p;
        }
        if p <= alpha {
            found.push((best.at, p));
            // Both parts share the error probability of the whole.
            pending.extend([(start, best.at, alpha / 2.0), (best.at, end, alpha / 2.0)]);
        }
    }
    found.sort_unstable_by_key(|(at, _)| *at);
    let points = refine(&prefix, found, sensitivity);
    let (deviation, memory) = noise(&prefix, &points);
    Changes { points, deviation, memory, p: smallest }
}

/// The statistic of a whole series taken as one window, and the memory that was estimated: what the table of critical values is
/// made of. `None` for a series that is too short.
pub fn statistic(values: &[f64]) -> Option<(f64, f64)> {
    let best = Prefix::new(&robust::winsorise(values)).scan(0, values.len(), BEFORE, AFTER)?;
    Some((best.t, best.memory))
}

/// The best split of a stretch over all of its windows, with its p-value.
fn search(prefix: &Prefix, start: usize, end: usize) -> Option<(Best, f64)> {
    let n = end - start;
    let scan = |from: usize, to: usize| {
        // Three values are enough for a new level at the end of the series only.
        let after = if to == prefix.len() { AFTER } else { BEFORE };
        let best = prefix.scan(from, to, BEFORE, after)?;
        Some((best, critical::p_value(to - from, best.memory, best.t)))
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

/// Each change anew between its neighbours; those that are too small go, the smallest first.
fn refine(prefix: &Prefix, mut found: Vec<(usize, f64)>, sensitivity: Sensitivity) -> Vec<ChangePoint> {
    let n = prefix.len();
    for i in 0..found.len() {
        let from = if i == 0 { 0 } else { found[i - 1].0 };
        let to = found.get(i + 1).map_or(n, |next| next.0);
        let after = if to == n { AFTER } else { BEFORE };
        if let Some(best) = prefix.scan(from, to, BEFORE, after) {
            found[i].0 = best.at;
        }
    }
    loop {
        let points: Vec<ChangePoint> = (0..found.len()).map(|i| describe(prefix, &found, i)).collect();
        let smallest = points
            .iter()
            .enumerate()
            .filter(|(_, point)| point.shift().abs() < sensitivity.effect)
            .min_by(|a, b| a.1.shift().abs().total_cmp(&b.1.shift().abs()));
        match smallest {
            Some((i, _)) => drop(found.remove(i)),
            None => return points,
        }
    }
}

fn describe(prefix: &Prefix, found: &[(usize, f64)], i: usize) -> ChangePoint {
    let (at, p) = found[i];
    let from = if i == 0 { 0 } else { found[i - 1].0 };
    let to = found.get(i + 1).map_or(prefix.len(), |next| next.0);
    let split = prefix.split(from, at, to);
    let shift = split.after - split.before;
    let half = student_975(to - from) * split.deviation;
    let (earliest, latest) = prefix.range(from, at, to, split.memory);
    ChangePoint {
        at,
        earliest,
        latest,
        before: split.before,
        after: split.after,
        low: shift - half,
        high: shift + half,
        p,
    }
}

/// The 97.5 % quantile of Student's distribution for the difference of two means of n values in all (Cornish and Fisher's
/// expansion; 0.2 % off at 10 degrees of freedom).
fn student_975(n: usize) -> f64 {
    let df = n.saturating_sub(2).max(3) as f64;
    let z = 1.959_964f64;
    z + (z.powi(3) + z) / (4.0 * df) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * df * df)
}

/// Deviation and memory of the whole series around its levels.
fn noise(prefix: &Prefix, points: &[ChangePoint]) -> (f64, f64) {
    let mut bounds: Vec<usize> = points.iter().map(|point| point.at).collect();
    bounds.insert(0, 0);
    bounds.push(prefix.len());
    let (mut squares, mut lagged) = (0.0, 0.0);
    for pair in bounds.windows(2) {
        squares += prefix.squares(pair[0], pair[1]);
        lagged += prefix.lagged(pair[0], pair[1]);
    }
    let df = (prefix.len() as f64 - bounds.len() as f64 + 1.0).max(1.0);
    let raw = if squares > 0.0 { lagged / squares } else { 0.0 };
    ((squares / df).sqrt(), scan::memory(raw, prefix.len()))
}

#[cfg(test)]
mod tests;
