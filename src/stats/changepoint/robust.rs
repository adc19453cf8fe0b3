//! Values that are far from where the series is are drawn towards it, so that a lone wild run neither makes a level nor
//! hides one.

/// Deviations from the local level that a value keeps.
const REACH: f64 = 2.0;
/// Values that say where the series is at a place, on both sides of it.
const AROUND: usize = 7;
/// The same to one side.
const ASIDE: usize = 5;

/// Each value drawn to within [`REACH`] deviations of where the series is at its place: the range of the medians around, before
/// and after it. A step therefore stays a step; the last three values of a series can be one.
pub fn winsorise(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    if n < AROUND {
        return values.to_vec();
    }
    let around: Vec<f64> = (0..n)
        .map(|i| {
            let from = i.saturating_sub(AROUND / 2).min(n - AROUND);
            middle(&values[from..from + AROUND])
        })
        .collect();
    let mut off: Vec<f64> = values.iter().zip(&around).map(|(value, level)| (value - level).abs()).collect();
    off.sort_unstable_by(f64::total_cmp);
    // Both are the deviation where noise is normal. What more than one value in five does is no outlier but another way
    // in which runs go: the larger one leaves it alone.
    let typical = f64::max(1.4826 * off[n / 2], off[n * 4 / 5] / 1.2816);
    // Where nearly all values are equal (a coarse clock), what the others differ by is the scale.
    let scale = if typical > 0.0 { typical } else { off[n * 9 / 10] };
    (0..n)
        .map(|i| {
            let back = middle(&values[(i + 1).saturating_sub(ASIDE)..(i + 1).max(3)]);
            let from = i.min(n - 3);
            let ahead = middle(&values[from..(from + ASIDE).min(n)]);
            let low = back.min(ahead).min(around[i]) - REACH * scale;
            let high = back.max(ahead).max(around[i]) + REACH * scale;
            values[i].clamp(low, high)
        })
        .collect()
}

/// Median of at most seven values; of an even number the mean of the two in the middle.
fn middle(values: &[f64]) -> f64 {
    let mut sorted = [0.0; AROUND];
    let n = values.len().min(AROUND);
    for (i, &value) in values[..n].iter().enumerate() {
        let mut at = i;
        while at > 0 && sorted[at - 1] > value {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = value;
    }
    if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_wild_value_is_drawn_in_and_a_step_is_not() {
        let mut values: Vec<f64> = (0..40).map(|i| f64::from(i % 3)).collect();
        values[20] = 100.0;
        let drawn = winsorise(&values);
        assert!(drawn[20] < 8.0, "{drawn:?}");
        assert_eq!(drawn[..19], values[..19]);
        let step: Vec<f64> = (0..40).map(|i| f64::from(i % 3) + if i < 37 { 0.0 } else { 50.0 }).collect();
        assert_eq!(winsorise(&step), step, "the last three are a level");
    }

    #[test]
    fn a_second_mode_is_no_outlier() {
        // Runs that go one way or the other, by a pattern without period: nothing is drawn in.
        let values: Vec<f64> = (0..60u32).map(|i| f64::from((i * i * 7 + i / 3) % 5 / 3) * 10.0).collect();
        assert!(values.iter().filter(|v| **v > 5.0).count() > 12);
        assert_eq!(winsorise(&values), values);
    }

    #[test]
    fn equal_values_stay() {
        assert_eq!(winsorise(&[5.0; 30]), [5.0; 30]);
        assert_eq!(winsorise(&[1.0, 2.0]), [1.0, 2.0]);
        assert_eq!(middle(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
