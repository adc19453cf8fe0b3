//! The p-value of the best split of a window without a change: read from a table of simulated windows.
//!
//! Each simulated window is a process of first order, half of them without memory, the others with one of 0.2 to 0.8; it is
//! winsorised and scanned as real ones are. The table holds the statistic that so many of them exceed, by the window's
//! length and by the memory that was *estimated* in it, so the error of that estimate is in the p-value. A larger memory
//! never needs a smaller statistic. `cargo bench --bench history -- calibrate` prints it.

/// Lengths of windows; the values between are interpolated.
const LENGTHS: [usize; 9] = [12, 16, 24, 36, 60, 100, 180, 300, 600];
/// Classes of estimated memory: none, up to 0.1, up to 0.2, …, above 0.6.
const MEMORIES: usize = 8;
/// Shares of windows that exceed the statistic.
const LEVELS: [f64; 8] = [0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001];
/// No p-value is smaller: nobody has simulated that.
const SMALLEST: f64 = 1e-12;

/// Probability that a window of so many values without a change has a split that stands out by `t` or more.
pub fn p_value(length: usize, memory: f64, t: f64) -> f64 {
    let class = ((memory * 10.0).ceil().max(0.0) as usize).min(MEMORIES - 1);
    let upper = LENGTHS.iter().position(|l| *l >= length).unwrap_or(LENGTHS.len() - 1);
    let lower = upper.saturating_sub(1);
    // Linear in 1/length, in which the statistic is nearly straight.
    let of = |i: usize| 1.0 / LENGTHS[i] as f64;
    let weight = if upper == lower || length >= LENGTHS[upper] {
        1.0
    } else {
        ((of(lower) - 1.0 / length.max(LENGTHS[0]) as f64) / (of(lower) - of(upper))).clamp(0.0, 1.0)
    };
    let critical = |level: usize| {
        let at = |row: usize| f64::from(TABLE[row][class][level]);
        at(lower) * (1.0 - weight) + at(upper) * weight
    };
    // The logarithm of p is nearly straight between two levels, and beyond the last.
    let last = LEVELS.len() - 1;
    let above = (0..=last).find(|level| critical(*level) >= t).unwrap_or(last);
    if above == 0 {
        return 1.0 - (1.0 - LEVELS[0]) * (t / critical(0)).clamp(0.0, 1.0);
    }
    let (a, b) = (above - 1, above);
    let slope = (LEVELS[b] / LEVELS[a]).ln() / (critical(b) - critical(a)).max(1e-3);
    (LEVELS[a] * (slope * (t - critical(a))).exp()).clamp(SMALLEST, 1.0)
}

/// By length, class of memory and level.
#[rustfmt::skip]
const TABLE: [[[f32; 8]; MEMORIES]; 9] = [
    // 12
    [
        [1.91, 3.05, 4.46, 5.86, 7.57, 9.15, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
        [1.94, 3.17, 4.62, 6.05, 7.66, 9.24, 11.10, 13.01],
    ],
    // 16
    [
        [2.07, 3.10, 4.39, 5.74, 7.38, 8.93, 10.47, 11.72],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
        [2.14, 3.32, 4.78, 6.23, 7.98, 9.56, 10.96, 12.35],
    ],
    // 24
    [
        [2.12, 2.94, 3.85, 4.84, 6.16, 7.61, 9.38, 11.18],
        [2.22, 3.19, 4.35, 5.58, 7.16, 8.75, 10.66, 12.58],
        [2.22, 3.19, 4.40, 5.68, 7.19, 8.75, 10.66, 12.58],
        [2.22, 3.19, 4.46, 5.76, 7.26, 8.75, 10.66, 12.58],
        [2.22, 3.22, 4.52, 5.84, 7.26, 8.75, 10.66, 12.58],
        [2.22, 3.22, 4.52, 5.84, 7.26, 8.75, 10.66, 12.58],
        [2.22, 3.22, 4.52, 5.84, 7.26, 8.75, 10.66, 12.58],
        [2.22, 3.22, 4.52, 5.84, 7.26, 8.75, 10.66, 12.58],
    ],
    // 36
    [
        [2.16, 2.84, 3.53, 4.18, 5.00, 5.85, 7.07, 8.66],
        [2.23, 3.00, 3.83, 4.67, 5.76, 6.93, 8.02, 9.11],
        [2.23, 3.00, 3.93, 4.89, 5.98, 7.66, 9.16, 10.65],
        [2.23, 3.11, 4.10, 5.18, 6.63, 8.05, 9.62, 11.20],
        [2.28, 3.23, 4.30, 5.54, 7.03, 8.30, 9.73, 11.20],
        [2.30, 3.29, 4.47, 5.61, 7.03, 8.30, 9.73, 11.20],
        [2.30, 3.29, 4.47, 5.61, 7.03, 8.30, 9.73, 11.20],
        [2.30, 3.29, 4.47, 5.61, 7.03, 8.30, 9.73, 11.20],
    ],
    // 60
    [
        [2.22, 2.81, 3.37, 3.82, 4.35, 4.81, 5.32, 5.93],
        [2.26, 2.87, 3.47, 4.01, 4.68, 5.31, 5.91, 6.50],
        [2.26, 2.89, 3.58, 4.24, 4.90, 5.65, 6.65, 7.65],
        [2.29, 3.02, 3.77, 4.49, 5.36, 6.12, 7.83, 9.54],
        [2.34, 3.11, 3.91, 4.66, 5.63, 6.76, 7.83, 9.54],
        [2.34, 3.11, 3.95, 4.93, 6.00, 7.21, 8.59, 9.97],
        [2.34, 3.17, 4.21, 5.27, 6.31, 7.30, 8.59, 9.97],
        [2.34, 3.17, 4.21, 5.27, 6.31, 7.30, 8.59, 9.97],
    ],
    // 100
    [
        [2.29, 2.83, 3.33, 3.74, 4.15, 4.53, 4.86, 5.18],
        [2.29, 2.84, 3.36, 3.78, 4.22, 4.72, 5.28, 5.84],
        [2.29, 2.87, 3.44, 3.90, 4.45, 4.91, 5.28, 5.84],
        [2.36, 2.99, 3.61, 4.14, 4.68, 5.33, 5.98, 6.63],
        [2.39, 3.04, 3.68, 4.19, 4.86, 5.46, 6.06, 6.66],
        [2.39, 3.04, 3.68, 4.22, 4.86, 5.46, 6.06, 6.66],
        [2.39, 3.04, 3.69, 4.45, 5.32, 6.44, 7.55, 8.67],
        [2.39, 3.10, 3.90, 4.59, 5.32, 6.44, 7.55, 8.67],
    ],
    // 180
    [
        [2.36, 2.89, 3.36, 3.73, 4.12, 4.44, 4.70, 4.95],
        [2.36, 2.89, 3.36, 3.73, 4.12, 4.44, 4.71, 4.98],
        [2.36, 2.91, 3.42, 3.80, 4.26, 4.59, 4.92, 5.24],
        [2.42, 2.99, 3.50, 3.94, 4.38, 4.86, 5.34, 5.82],
        [2.42, 2.99, 3.53, 4.01, 4.45, 4.86, 5.34, 5.82],
        [2.42, 2.99, 3.55, 4.01, 4.45, 4.86, 5.34, 5.82],
        [2.42, 2.99, 3.55, 4.01, 4.45, 4.86, 5.34, 5.82],
        [2.42, 3.01, 3.68, 4.21, 4.82, 5.25, 5.69, 6.12],
    ],
    // 300
    [
        [2.42, 2.91, 3.37, 3.70, 4.08, 4.27, 4.47, 4.67],
        [2.42, 2.91, 3.37, 3.70, 4.08, 4.33, 4.58, 4.84],
        [2.45, 2.94, 3.42, 3.87, 4.26, 4.65, 5.05, 5.44],
        [2.45, 2.96, 3.50, 3.87, 4.26, 4.65, 5.05, 5.44],
        [2.45, 2.96, 3.50, 3.87, 4.28, 4.70, 5.11, 5.52],
        [2.45, 2.99, 3.52, 3.89, 4.35, 4.81, 5.26, 5.72],
        [2.45, 2.99, 3.52, 3.95, 4.35, 4.81, 5.26, 5.72],
        [2.45, 2.99, 3.52, 4.05, 4.56, 4.92, 5.28, 5.72],
    ],
    // 600
    [
        [2.49, 2.98, 3.44, 3.79, 4.04, 4.33, 4.62, 4.91],
        [2.49, 2.98, 3.44, 3.79, 4.05, 4.33, 4.62, 4.91],
        [2.52, 3.04, 3.47, 3.79, 4.11, 4.42, 4.74, 5.05],
        [2.52, 3.04, 3.47, 3.79, 4.18, 4.58, 4.97, 5.37],
        [2.52, 3.04, 3.48, 3.81, 4.21, 4.61, 5.02, 5.42],
        [2.52, 3.04, 3.48, 3.81, 4.21, 4.61, 5.02, 5.42],
        [2.52, 3.04, 3.48, 3.81, 4.21, 4.61, 5.02, 5.42],
        [2.52, 3.04, 3.48, 3.84, 4.26, 4.69, 5.12, 5.55],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistic_of_the_table_has_its_p_value() {
        for (i, length) in LENGTHS.into_iter().enumerate() {
            for (j, level) in LEVELS.into_iter().enumerate() {
                let p = p_value(length, 0.0, f64::from(TABLE[i][0][j]));
                assert!((p / level - 1.0).abs() < 1e-3, "{length} {level}: {p}");
            }
        }
    }

    #[test]
    fn p_values_fall_with_the_statistic_and_rise_with_the_memory() {
        for length in [12, 13, 20, 50, 99, 240, 599, 600, 5_000] {
            for memory in [0.0, 0.05, 0.31, 0.6, 0.95] {
                let mut last = 1.0;
                for step in 0..400 {
                    let p = p_value(length, memory, f64::from(step) * 0.05);
                    assert!(p <= last + 1e-12 && (SMALLEST..=1.0).contains(&p), "{length} {memory} {step}: {p} {last}");
                    assert!(p_value(length, 0.0, f64::from(step) * 0.05) <= p + 1e-9);
                    last = p;
                }
                assert!(last < 1e-5, "{length} {memory}: {last}");
            }
        }
    }
}
