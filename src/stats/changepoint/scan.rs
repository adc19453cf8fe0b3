//! One window: the split at which the means on both sides differ most, over the deviation of that difference.

/// Running sums of a series, so that anything about a stretch of it takes no time.
pub struct Prefix {
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// Products of each value with the next.
    products: Vec<f64>,
    /// What was taken from each value.
    centre: f64,
    /// Variance below which nothing can be told from rounding.
    floor: f64,
}

/// The best split of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Index of the first value after it.
    pub at: usize,
    /// Mean difference over its deviation.
    pub t: f64,
    /// Memory of the window around the split's two levels.
    pub memory: f64,
}

/// A stretch with a given split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
    /// Deviation of the difference of these.
    pub deviation: f64,
    /// Memory around them.
    pub memory: f64,
}

/// The memory of a process of first order from the lagged correlation of n residuals around two levels at a chosen split, which
/// is too low by about (2 + 6 r)/n.
pub fn memory(raw: f64, n: usize) -> f64 {
    let n = n as f64;
    ((n * raw + 2.0) / (n - 6.0).max(1.0)).clamp(0.0, 0.95)
}

impl Prefix {
    /// Of a series.
    pub fn new(values: &[f64]) -> Prefix {
        let n = values.len();
        let centre = values.iter().sum::<f64>() / n.max(1) as f64;
        let (mut sums, mut squares, mut products) = (vec![0.0; n + 1], vec![0.0; n + 1], vec![0.0; n + 1]);
        for i in 0..n {
            let value = values[i] - centre;
            sums[i + 1] = sums[i] + value;
            squares[i + 1] = squares[i] + value * value;
            products[i + 1] = products[i] + values.get(i + 1).map_or(0.0, |next| value * (next - centre));
        }
        let floor = (1e-9 * (centre.abs() + (squares[n] / n.max(1) as f64).sqrt())).powi(2).max(1e-30);
        Prefix { sums, squares, products, centre, floor }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.sums.len() - 1
    }

    fn sum(&self, from: usize, to: usize) -> f64 {
        self.sums[to] - self.sums[from]
    }

    fn mean(&self, from: usize, to: usize) -> f64 {
        self.sum(from, to) / (to - from) as f64
    }

    /// Sum of squares around the mean of a stretch.
    pub fn squares(&self, from: usize, to: usize) -> f64 {
        let sum = self.sum(from, to);
        (self.squares[to] - self.squares[from] - sum * sum / (to - from) as f64).max(0.0)
    }

    /// Sum of products of neighbours around the mean of a stretch.
    pub fn lagged(&self, from: usize, to: usize) -> f64 {
        if to - from < 2 {
            return 0.0;
        }
        let mean = self.mean(from, to);
        self.products[to - 1] - self.products[from] - mean * (self.sum(from, to - 1) + self.sum(from + 1, to))
            + (to - from - 1) as f64 * mean * mean
    }

    /// Variance around two levels.
    fn variance(&self, from: usize, at: usize, to: usize) -> f64 {
        let squares = self.squares(from, at) + self.squares(at, to);
        (squares / (to - from - 2) as f64).max(self.floor)
    }

    fn memory(&self, from: usize, at: usize, to: usize) -> f64 {
        let squares = self.squares(from, at) + self.squares(at, to);
        let lagged = self.lagged(from, at) + self.lagged(at, to);
        // Nothing around the levels has no memory.
        if squares <= self.floor * (to - from) as f64 { 0.0 } else { memory(lagged / squares, to - from) }
    }

    /// The split with at least so many values before and after that stands out most.
    pub fn scan(&self, from: usize, to: usize, before: usize, after: usize) -> Option<Best> {
        if to - from < before + after + 3 {
            return None;
        }
        let mut best = self.scan_with(from, to, before, after, 0.0)?;
        // The memory depends on the split that is taken out, and the best split on the memory.
        for _ in 0..2 {
            let memory = self.memory(from, best.at, to);
            best = self.scan_with(from, to, before, after, memory)?;
        }
        Some(best)
    }

    fn scan_with(&self, from: usize, to: usize, before: usize, after: usize, memory: f64) -> Option<Best> {
        let spread = Spread::new(memory, to - from);
        let mut best: Option<(f64, usize)> = None;
        for at in from + before..=to - after {
            let difference = self.mean(from, at) - self.mean(at, to);
            let t2 = difference * difference
                / (self.variance(from, at, to) * spread.of_difference(at - from, to - at));
            if best.is_none_or(|(most, _)| t2 > most) {
                best = Some((t2, at));
            }
        }
        best.map(|(t2, at)| Best { at, t: t2.sqrt(), memory })
    }

    /// A stretch with a given split.
    pub fn split(&self, from: usize, at: usize, to: usize) -> Split {
        let memory = self.memory(from, at, to);
        let spread = Spread::new(memory, to - from).of_difference(at - from, to - at);
        Split {
            before: self.centre + self.mean(from, at),
            after: self.centre + self.mean(at, to),
            deviation: (self.variance(from, at, to) * spread).sqrt(),
            memory,
        }
    }

    /// Where the split may lie instead: places at which the likelihood is not much worse (by a factor of e³; independent
    /// values count as many as the memory leaves of them).
    pub fn range(&self, from: usize, at: usize, to: usize, memory: f64) -> (usize, usize) {
        let n = (to - from) as f64 * (1.0 - memory) / (1.0 + memory);
        let limit = self.variance(from, at, to) * (6.0 / n.max(4.0)).exp();
        let near = |i: usize| self.variance(from, i, to) <= limit;
        let mut earliest = at;
        while earliest > from + 1 && near(earliest - 1) {
            earliest -= 1;
        }
        let mut latest = at;
        while latest + 1 < to && near(latest + 1) {
            latest += 1;
        }
        (earliest, latest)
    }
}

/// Variance of differences of means under a process of first order, over that of its values.
struct Spread {
    memory: f64,
    /// Powers of the memory.
    powers: Vec<f64>,
}

impl Spread {
    fn new(memory: f64, n: usize) -> Spread {
        let mut powers = Vec::new();
        if memory > 0.0 {
            powers = std::iter::successors(Some(1.0), |last| Some(last * memory)).take(n + 1).collect();
        }
        Spread { memory, powers }
    }

    /// Of the difference of the means of a values and of the b values that follow them.
    fn of_difference(&self, a: usize, b: usize) -> f64 {
        let (na, nb) = (a as f64, b as f64);
        if self.memory <= 0.0 {
            return 1.0 / na + 1.0 / nb;
        }
        let rest = 1.0 - self.memory;
        let mean = |m: usize, n: f64| {
            ((1.0 + self.memory) / rest - 2.0 * self.memory * (1.0 - self.powers[m]) / (n * rest * rest)) / n
        };
        let shared = self.memory * (1.0 - self.powers[a]) * (1.0 - self.powers[b]) / (rest * rest * na * nb);
        mean(a, na) + mean(b, nb) - 2.0 * shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    #[test]
    fn sums_of_a_stretch_are_those_of_its_values() {
        let mut random = Random::new(4);
        let values: Vec<f64> = (0..50).map(|_| 100.0 + random.normal()).collect();
        let prefix = Prefix::new(&values);
        for (from, to) in [(0, 50), (3, 17), (40, 42)] {
            let part = &values[from..to];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let squares: f64 = part.iter().map(|v| (v - mean).powi(2)).sum();
            let lagged: f64 = part.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
            assert!((prefix.squares(from, to) - squares).abs() < 1e-9);
            assert!((prefix.lagged(from, to) - lagged).abs() < 1e-9);
        }
    }

    #[test]
    fn the_spread_of_a_difference_is_that_of_its_sum() {
        // The slow way: covariances of all pairs.
        let slow = |memory: f64, a: usize, b: usize| {
            let weight = |i: usize| if i < a { 1.0 / a as f64 } else { -1.0 / b as f64 };
            let pairs = (0..a + b).flat_map(|i| (0..a + b).map(move |j| (i, j)));
            pairs.map(|(i, j)| weight(i) * weight(j) * memory.powi(i.abs_diff(j) as i32)).sum::<f64>()
        };
        for (memory, a, b) in [(0.0, 6, 3), (0.3, 6, 3), (0.6, 20, 5), (0.9, 40, 40)] {
            let fast = Spread::new(memory, a + b).of_difference(a, b);
            assert!((fast - slow(memory, a, b)).abs() < 1e-9, "{memory} {a} {b}: {fast}");
        }
    }

    #[test]
    fn a_step_without_noise_is_found_where_it_is() {
        let values: Vec<f64> = (0..30).map(|i| if i < 20 { 344.0 } else { 359.0 }).collect();
        let best = Prefix::new(&values).scan(0, 30, 6, 3).unwrap();
        assert_eq!((best.at, best.memory), (20, 0.0));
        assert!(best.t > 1e6, "{best:?}");
        let flat = Prefix::new(&[7.0; 30]).scan(0, 30, 6, 3).unwrap();
        assert!(flat.t < 1e-3, "{flat:?}");
    }
}
