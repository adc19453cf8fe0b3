//! One window: the split at which the means on both sides differ most, over the deviation of that difference.

/// Lags whose correlations tell the memory.
const LAGS: usize = 3;
/// The largest memory that is taken to be one; what remembers more is a change of level.
const LONGEST: f64 = 0.95;
/// How many values with a correlation of 1 the assumption counts for that the memory is all of the noise.
const TRUST: f64 = 4.0;

/// How much runs resemble those before them: a part of the noise, the machine's, that is a process of first order, and the rest
/// that is each run's own. Without the rest, a machine that drifts below noisy runs would look as if it forgot quickly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Correlation of the machine's part with itself one run later.
    pub decay: f64,
    /// The machine's part of the variance.
    pub part: f64,
}

impl Memory {
    /// From correlations at lags 1, 2 and 3 of n residuals around two levels at a chosen split.
    fn of(raw: [f64; LAGS], n: usize) -> Memory {
        Memory::from_correlations(raw.map(|r| unbiased(r, n)), n as f64)
    }

    /// From correlations that are known as well as n values tell them.
    pub fn from_correlations([one, two, three]: [f64; LAGS], n: f64) -> Memory {
        if one <= 0.0 {
            return Memory::default();
        }
        let one = one.min(LONGEST);
        // The correlations fall by the decay from lag to lag; of small ones only chance can be read.
        let seen = if one + two > 0.0 { ((two + three) / (one + two)).clamp(one, LONGEST) } else { one };
        let weight = one * one * n / (one * one * n + TRUST);
        let decay = weight * seen + (1.0 - weight) * one;
        Memory { decay, part: (one / decay).min(1.0) }
    }

    /// The memory of a process of first order alone whose means differ as much over many runs.
    pub fn equivalent(&self) -> f64 {
        let more = self.part * self.decay / (1.0 - self.decay);
        more / (1.0 + more)
    }
}

/// A correlation of n residuals around two levels at a chosen split is too low by about (2 + 6 r)/n.
pub fn unbiased(r: f64, n: usize) -> f64 {
    let n = n as f64;
    (n * r + 2.0) / (n - 6.0).max(1.0)
}

/// Running sums of a series, so that anything about a stretch of it takes no time.
pub struct Prefix {
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// Products of each value with the next, the one after that, and the third.
    products: [Vec<f64>; LAGS],
    /// What was taken from each value.
    centre: f64,
    /// Variance below which nothing can be told from rounding.
    floor: f64,
    /// The memory that it has at least.
    least: Memory,
}

/// The best split of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Index of the first value after it.
    pub at: usize,
    /// Mean difference over its deviation.
    pub t: f64,
    /// Memory of the window around the split's two levels.
    pub memory: Memory,
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
}

impl Prefix {
    /// Of a series that has at least this memory.
    pub fn new(values: &[f64], least: Memory) -> Prefix {
        let n = values.len();
        let centre = values.iter().sum::<f64>() / n.max(1) as f64;
        let (mut sums, mut squares) = (vec![0.0; n + 1], vec![0.0; n + 1]);
        let mut products = [(); LAGS].map(|()| vec![0.0; n + 1]);
        for i in 0..n {
            let value = values[i] - centre;
            sums[i + 1] = sums[i] + value;
            squares[i + 1] = squares[i] + value * value;
            for (lag, products) in products.iter_mut().enumerate() {
                let next = values.get(i + 1 + lag);
                products[i + 1] = products[i] + next.map_or(0.0, |next| value * (next - centre));
            }
        }
        let floor = (1e-9 * (centre.abs() + (squares[n] / n.max(1) as f64).sqrt())).powi(2).max(1e-30);
        Prefix { sums, squares, products, centre, floor, least }
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

    /// Sum of products of values so many places apart, around the mean of a stretch.
    pub fn lagged(&self, from: usize, to: usize, lag: usize) -> f64 {
        if to - from <= lag {
            return 0.0;
        }
        let mean = self.mean(from, to);
        let products = &self.products[lag - 1];
        products[to - lag] - products[from] - mean * (self.sum(from, to - lag) + self.sum(from + lag, to))
            + (to - from - lag) as f64 * mean * mean
    }

    /// Variance around two levels.
    fn variance(&self, from: usize, at: usize, to: usize) -> f64 {
        let squares = self.squares(from, at) + self.squares(at, to);
        (squares / (to - from - 2) as f64).max(self.floor)
    }

    /// Memory around the levels between neighbouring bounds.
    pub fn memory(&self, bounds: &[usize]) -> Memory {
        let n = bounds.last().copied().unwrap_or(0) - bounds.first().copied().unwrap_or(0);
        let own = self.correlations(bounds).map_or_else(Memory::default, |raw| Memory::of(raw, n));
        if own.equivalent() < self.least.equivalent() { self.least } else { own }
    }

    /// Correlations at lags 1, 2 and 3 around the levels between neighbouring bounds; nothing where nothing is around them.
    pub fn correlations(&self, bounds: &[usize]) -> Option<[f64; LAGS]> {
        let over =
            |f: &dyn Fn(usize, usize) -> f64| -> f64 { bounds.windows(2).map(|b| f(b[0], b[1])).sum() };
        let n = bounds.last()? - bounds.first()?;
        let squares = over(&|a, b| self.squares(a, b));
        (squares > self.floor * n as f64)
            .then(|| [1, 2, 3].map(|lag| over(&|a, b| self.lagged(a, b, lag)) / squares))
    }

    /// The split with at least so many values before and after that stands out most.
    pub fn scan(&self, from: usize, to: usize, before: usize, after: usize) -> Option<Best> {
        if to - from < before + after + 3 {
            return None;
        }
        let mut best = self.scan_with(from, to, before, after, Memory::default())?;
        // The memory depends on the split that is taken out, and the best split on the memory.
        for _ in 0..2 {
            let memory = self.memory(&[from, best.at, to]);
            best = self.scan_with(from, to, before, after, memory)?;
        }
        Some(best)
    }

    fn scan_with(&self, from: usize, to: usize, before: usize, after: usize, memory: Memory) -> Option<Best> {
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

    /// A stretch with a given split, in noise of a given memory.
    pub fn split(&self, from: usize, at: usize, to: usize, memory: Memory) -> Split {
        let spread = Spread::new(memory, to - from).of_difference(at - from, to - at);
        Split {
            before: self.centre + self.mean(from, at),
            after: self.centre + self.mean(at, to),
            deviation: (self.variance(from, at, to) * spread).sqrt(),
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
    memory: Memory,
    /// Powers of the decay.
    powers: Vec<f64>,
}

impl Spread {
    fn new(memory: Memory, n: usize) -> Spread {
        let mut powers = Vec::new();
        if memory.part > 0.0 {
            powers = std::iter::successors(Some(1.0), |last| Some(last * memory.decay)).take(n + 1).collect();
        }
        Spread { memory, powers }
    }

    /// Of the difference of the means of a values and of the b values that follow them.
    fn of_difference(&self, a: usize, b: usize) -> f64 {
        let (na, nb) = (a as f64, b as f64);
        let alone = 1.0 / na + 1.0 / nb;
        let Memory { decay, part } = self.memory;
        if part <= 0.0 {
            return alone;
        }
        let rest = 1.0 - decay;
        let mean = |m: usize, n: f64| {
            ((1.0 + decay) / rest - 2.0 * decay * (1.0 - self.powers[m]) / (n * rest * rest)) / n
        };
        let shared = decay * (1.0 - self.powers[a]) * (1.0 - self.powers[b]) / (rest * rest * na * nb);
        part * (mean(a, na) + mean(b, nb) - 2.0 * shared) + (1.0 - part) * alone
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
        let prefix = Prefix::new(&values, Memory::default());
        for (from, to) in [(0, 50), (3, 17), (40, 42)] {
            let part = &values[from..to];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let squares: f64 = part.iter().map(|v| (v - mean).powi(2)).sum();
            assert!((prefix.squares(from, to) - squares).abs() < 1e-9);
            for lag in 1..=3 {
                let pairs = part.iter().zip(part.iter().skip(lag));
                let lagged: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
                assert!((prefix.lagged(from, to, lag) - lagged).abs() < 1e-9, "{from} {to} {lag}");
            }
        }
    }

    #[test]
    fn the_spread_of_a_difference_is_that_of_its_sum() {
        // The slow way: covariances of all pairs.
        let slow = |memory: Memory, a: usize, b: usize| {
            let covariance = |d: usize| {
                memory.part * memory.decay.powi(d as i32) + if d == 0 { 1.0 - memory.part } else { 0.0 }
            };
            let weight = |i: usize| if i < a { 1.0 / a as f64 } else { -1.0 / b as f64 };
            let pairs = (0..a + b).flat_map(|i| (0..a + b).map(move |j| (i, j)));
            pairs.map(|(i, j)| weight(i) * weight(j) * covariance(i.abs_diff(j))).sum::<f64>()
        };
        for (decay, part, a, b) in
            [(0.0, 0.0, 6, 3), (0.3, 1.0, 6, 3), (0.6, 0.5, 20, 5), (0.9, 1.0, 40, 40), (0.9, 0.2, 50, 3)]
        {
            let memory = Memory { decay, part };
            let fast = Spread::new(memory, a + b).of_difference(a, b);
            assert!((fast - slow(memory, a, b)).abs() < 1e-9, "{memory:?} {a} {b}: {fast}");
        }
    }

    #[test]
    fn a_step_without_noise_is_found_where_it_is() {
        let values: Vec<f64> = (0..30).map(|i| if i < 20 { 344.0 } else { 359.0 }).collect();
        let best = Prefix::new(&values, Memory::default()).scan(0, 30, 6, 3).unwrap();
        assert_eq!((best.at, best.memory), (20, Memory::default()));
        assert!(best.t > 1e6, "{best:?}");
        let flat = Prefix::new(&[7.0; 30], Memory::default()).scan(0, 30, 6, 3).unwrap();
        assert!(flat.t < 1e-3, "{flat:?}");
    }
}
