//! Tests on a series in time: is there a trend, and when does a start-up phase end.

/// A trend that is more than the series' own swaying.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Change per step of the series (Theil and Sen: the median of all slopes).
    pub slope: f64,
    /// Probability of so clear a trend by chance, the series' autocorrelation taken into account.
    pub p: f64,
}

/// The Mann–Kendall test with the correction of Yue and Wang (Water Resources Management 18, 2004) for autocorrelated
/// series, and the Theil–Sen slope. `None` for fewer than ten values, of which no trend can be told.
///
/// Only ranks count, so a few wild values do not make a trend. Memory is linear in the number of slopes, n²/2.
pub fn trend(series: &[f64]) -> Option<Trend> {
    let n = series.len();
    if n < 10 {
        return None;
    }
    let mut s = 0i64;
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for i in 0..n {
        for j in i + 1..n {
            let rise = series[j] - series[i];
            s += i64::from(rise > 0.0) - i64::from(rise < 0.0);
            slopes.push(rise / (j - i) as f64);
        }
    }
    let slope = median(&mut slopes)?;
    let count = n as f64;
    let plain = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
    // A value that resembles the one before it says less: as many independent ones as a process of first order with the
    // same autocorrelation is worth, once the trend itself is taken out.
    let detrended: Vec<f64> = series.iter().enumerate().map(|(i, v)| v - slope * i as f64).collect();
    let r = autocorrelation(&ranks(&detrended), 1);
    // The estimate from a short series is too low (Marriott and Pope 1954).
    let r = ((count * r + 1.0) / (count - 4.0)).clamp(0.0, 0.95);
    let correction = 1.0 + 2.0 * (1..n).map(|k| (1.0 - k as f64 / count) * r.powi(k as i32)).sum::<f64>();
    // Never more certain than for independent values.
    let deviation = (plain * correction.max(1.0)).sqrt();
    let z = (s.abs() as f64 - 1.0).max(0.0) / deviation;
    Some(Trend { slope, p: 2.0 * (1.0 - normal_cdf(z)) })
}

/// How many values at the start belong to a start-up phase that is higher than what follows. The latter half of the series
/// is what it is compared with, by means of five values (so that autocorrelation matters less): the phase begins with
/// the first of them, more than three deviations above, and lasts while they are more than two above.
pub fn warm_up(series: &[f64]) -> usize {
    let batches: Vec<f64> =
        series.chunks_exact(BATCH).map(|b| b.iter().sum::<f64>() / BATCH as f64).collect();
    let n = batches.len();
    if n < 8 {
        return 0;
    }
    let later = &batches[n / 2..];
    let mean = later.iter().sum::<f64>() / later.len() as f64;
    let spread = later.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (later.len() - 1) as f64;
    let above = |v: f64, deviations: f64| v > mean + deviations * spread.sqrt() && v > mean;
    if !above(batches[0], 3.0) {
        return 0;
    }
    batches[..n / 2].iter().take_while(|v| above(**v, 2.0)).count() * BATCH
}

/// Values that [`warm_up`] looks at together.
const BATCH: usize = 5;

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, at, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let at = *at;
    let below = below.iter().copied().max_by(f64::total_cmp);
    Some(if odd { at } else { (below.unwrap_or(at) + at) / 2.0 })
}

/// The share of a standard normal distribution below `z` (Abramowitz and Stegun 26.2.17; error below 7.5e-8).
pub fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly;
    if z < 0.0 { tail } else { 1.0 - tail }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank as f64;
    }
    ranks
}

fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let all: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let shifted: f64 = values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum();
    if all > 0.0 { shifted / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    fn noise(random: &mut Random, n: usize, memory: f64) -> Vec<f64> {
        let mut last = 0.0;
        (0..n)
            .map(|_| {
                last = memory * last + random.normal();
                last
            })
            .collect()
    }

    #[test]
    fn a_steady_series_has_no_trend_even_if_it_sways() {
        for (memory, at_most) in [(0.0, 0.03), (0.6, 0.05)] {
            let mut random = Random::new(7);
            let found = (0..400)
                .filter(|_| trend(&noise(&mut random, 120, memory)).is_some_and(|t| t.p < 0.01))
                .count();
            assert!(found as f64 / 400.0 <= at_most, "memory {memory}: {found} of 400");
        }
    }

    #[test]
    fn a_leak_is_seen() {
        let mut random = Random::new(9);
        for _ in 0..20 {
            let series: Vec<f64> =
                noise(&mut random, 120, 0.3).iter().enumerate().map(|(i, v)| v + 0.05 * i as f64).collect();
            let found = trend(&series).unwrap();
            assert!(found.p < 0.001 && (found.slope - 0.05).abs() < 0.02, "{found:?}");
        }
        assert_eq!(trend(&[1.0; 9]), None);
        assert_eq!(trend(&[1.0; 30]).map(|t| t.p > 0.9), Some(true));
    }

    #[test]
    fn the_start_up_phase_ends_where_the_steady_state_begins() {
        let mut random = Random::new(3);
        let series: Vec<f64> = noise(&mut random, 200, 0.2)
            .iter()
            .enumerate()
            .map(|(i, v)| v + if i < 30 { 20.0 - i as f64 / 2.0 } else { 0.0 })
            .collect();
        let cut = warm_up(&series);
        assert_eq!(cut, 30);
        let told = (0..200).filter(|_| warm_up(&noise(&mut random, 200, 0.4)) > 0).count();
        assert!(told <= 6, "{told} of 200 steady series start up");
        assert_eq!(warm_up(&[]), 0);
    }

    #[test]
    fn medians_and_the_normal_distribution() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
        assert!((normal_cdf(1.959_964) - 0.975).abs() < 1e-6 && (normal_cdf(-1.0) - 0.158_655).abs() < 1e-6);
    }
}
