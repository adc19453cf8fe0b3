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
        [1.88, 2.99, 4.37, 5.69, 7.27, 9.07, 10.41, 11.75],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.10, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
        [1.93, 3.11, 4.47, 5.89, 7.52, 9.07, 10.63, 12.18],
    ],
    // 16
    [
        [2.05, 3.06, 4.36, 5.66, 7.23, 8.74, 10.28, 11.82],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
        [2.12, 3.30, 4.72, 6.21, 7.95, 9.25, 10.55, 11.85],
    ],
    // 24
    [
        [2.10, 2.90, 3.77, 4.73, 5.97, 7.15, 8.91, 10.66],
        [2.20, 3.13, 4.29, 5.41, 6.84, 8.27, 9.70, 11.13],
        [2.20, 3.13, 4.29, 5.57, 7.06, 8.42, 9.77, 11.13],
        [2.20, 3.15, 4.41, 5.71, 7.11, 8.52, 9.93, 11.33],
        [2.20, 3.20, 4.51, 5.85, 7.11, 8.52, 9.93, 11.33],
        [2.20, 3.20, 4.51, 5.85, 7.11, 8.52, 9.93, 11.33],
        [2.20, 3.20, 4.51, 5.85, 7.11, 8.52, 9.93, 11.33],
        [2.20, 3.20, 4.51, 5.85, 7.11, 8.52, 9.93, 11.33],
    ],
    // 36
    [
        [2.16, 2.83, 3.51, 4.19, 5.00, 5.84, 6.97, 8.09],
        [2.22, 2.97, 3.78, 4.65, 5.65, 6.68, 7.72, 8.75],
        [2.22, 3.00, 3.93, 4.92, 6.14, 8.12, 10.11, 12.09],
        [2.22, 3.08, 4.06, 5.15, 6.56, 8.12, 10.11, 12.09],
        [2.27, 3.25, 4.33, 5.53, 6.88, 8.12, 10.11, 12.09],
        [2.30, 3.25, 4.41, 5.53, 6.88, 8.12, 10.11, 12.09],
        [2.30, 3.25, 4.42, 5.53, 6.88, 8.12, 10.11, 12.09],
        [2.30, 3.25, 4.42, 5.53, 6.88, 8.12, 10.11, 12.09],
    ],
    // 60
    [
        [2.20, 2.81, 3.34, 3.77, 4.25, 4.73, 5.18, 5.63],
        [2.25, 2.86, 3.47, 4.01, 4.67, 5.33, 5.98, 6.63],
        [2.25, 2.89, 3.55, 4.23, 4.86, 5.65, 6.44, 7.22],
        [2.28, 3.01, 3.80, 4.61, 5.60, 6.63, 7.66, 8.70],
        [2.34, 3.10, 3.92, 4.63, 5.64, 6.86, 8.08, 9.30],
        [2.34, 3.10, 4.01, 5.02, 6.20, 7.43, 8.67, 9.90],
        [2.34, 3.17, 4.19, 5.32, 6.34, 7.43, 8.67, 9.90],
        [2.34, 3.17, 4.19, 5.32, 6.34, 7.43, 8.67, 9.90],
    ],
    // 100
    [
        [2.29, 2.83, 3.30, 3.71, 4.16, 4.61, 5.06, 5.51],
        [2.30, 2.87, 3.38, 3.78, 4.19, 4.69, 5.18, 5.68],
        [2.30, 2.88, 3.43, 3.86, 4.43, 4.92, 5.42, 5.91],
        [2.36, 3.00, 3.64, 4.15, 4.64, 5.13, 5.62, 6.11],
        [2.38, 3.05, 3.65, 4.15, 4.67, 5.20, 5.72, 6.24],
        [2.38, 3.05, 3.65, 4.16, 4.79, 5.42, 6.05, 6.69],
        [2.38, 3.05, 3.70, 4.54, 5.51, 6.48, 7.45, 8.42],
        [2.38, 3.11, 3.88, 4.54, 5.51, 6.48, 7.45, 8.42],
    ],
    // 180
    [
        [2.37, 2.89, 3.35, 3.75, 4.08, 4.40, 4.72, 5.04],
        [2.37, 2.89, 3.35, 3.75, 4.17, 4.50, 4.83, 5.16],
        [2.37, 2.93, 3.47, 3.81, 4.24, 4.67, 5.10, 5.53],
        [2.43, 2.98, 3.49, 3.96, 4.51, 5.06, 5.61, 6.16],
        [2.43, 2.98, 3.49, 4.12, 4.62, 5.11, 5.61, 6.16],
        [2.43, 2.99, 3.54, 4.12, 4.62, 5.11, 5.61, 6.16],
        [2.43, 2.99, 3.54, 4.12, 4.62, 5.11, 5.61, 6.16],
        [2.43, 3.03, 3.64, 4.20, 4.74, 5.28, 5.83, 6.37],
    ],
    // 300
    [
        [2.43, 2.93, 3.41, 3.72, 4.09, 4.46, 4.83, 5.20],
        [2.43, 2.93, 3.41, 3.72, 4.09, 4.46, 4.83, 5.20],
        [2.47, 2.95, 3.45, 3.86, 4.28, 4.69, 5.11, 5.53],
        [2.47, 2.97, 3.51, 3.86, 4.28, 4.69, 5.11, 5.53],
        [2.47, 2.97, 3.51, 3.86, 4.28, 4.69, 5.11, 5.53],
        [2.47, 2.98, 3.51, 3.90, 4.29, 4.69, 5.11, 5.53],
        [2.47, 2.98, 3.52, 3.97, 4.42, 4.87, 5.32, 5.77],
        [2.47, 2.98, 3.52, 4.02, 4.60, 5.19, 5.78, 6.36],
    ],
    // 600
    [
        [2.51, 3.01, 3.48, 3.88, 4.01, 4.14, 4.28, 4.41],
        [2.51, 3.01, 3.48, 3.88, 4.01, 4.14, 4.28, 4.41],
        [2.54, 3.01, 3.48, 3.95, 4.42, 4.89, 5.36, 5.84],
        [2.54, 3.01, 3.48, 3.95, 4.42, 4.89, 5.36, 5.84],
        [2.54, 3.03, 3.51, 3.95, 4.42, 4.89, 5.36, 5.84],
        [2.56, 3.06, 3.51, 3.95, 4.42, 4.89, 5.36, 5.84],
        [2.56, 3.06, 3.51, 3.95, 4.42, 4.89, 5.36, 5.84],
        [2.56, 3.06, 3.51, 3.95, 4.42, 4.89, 5.36, 5.84],
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
                    assert!(
                        p <= last + 1e-12 && (SMALLEST..=1.0).contains(&p),
                        "{length} {memory} {step}: {p} {last}"
                    );
                    // Beyond the table the last slope goes on, which differs between classes.
                    let without = p_value(length, 0.0, f64::from(step) * 0.05);
                    assert!(without <= p + 1e-9 || without < LEVELS[7], "{length} {memory} {step}");
                    last = p;
                }
                assert!(last < 1e-5, "{length} {memory}: {last}");
            }
        }
    }
}
