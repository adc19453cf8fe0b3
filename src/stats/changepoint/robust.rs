//! Values that are far from where the series is are drawn towards it, so that a lone wild run neither makes a level nor
//! hides one.

/// Deviations from the local level that a value keeps.
const REACH: f64 = 2.0;
/// A value further off than this says less the further off it is,
const DOUBTED: f64 = 4.0;
/// and one as far off as this says nothing: it is taken to be where the series is.
const WILD: f64 = 7.0;
/// Values that say where the series is at a place: on both sides of it, before it, and after it. A level of six is most of them.
const AROUND: usize = 11;

/// Each value drawn to within [`REACH`] deviations of where the series is at its place: the range of the middles around, before
/// and after it. A step therefore stays a step; the last three values of a series can be one if they agree.
pub fn winsorise(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    if n < AROUND {
        return values.to_vec();
    }
    let around: Vec<f64> = (0..n)
        .map(|i| {
            let from = i.saturating_sub(AROUND / 2).min(n - AROUND);
            Sorted::new(&values[from..from + AROUND]).middle()
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
            let back = Sorted::new(&values[(i + 1).saturating_sub(AROUND)..(i + 1).max(AROUND)]);
            let ahead = Sorted::new(&values[i.min(n - 3)..(i + AROUND).min(n)]);
            let low = back.low().min(ahead.low()).min(around[i]);
            let high = back.high().max(ahead.high()).max(around[i]);
            let level = values[i].clamp(low, high);
            level + drawn((values[i] - level) / scale) * scale
        })
        .collect()
}

/// How far a value that is so many deviations off is taken to be off (Hampel's three-part function).
fn drawn(off: f64) -> f64 {
    let far = off.abs();
    let kept =
        if far <= DOUBTED { far.min(REACH) } else { REACH * ((WILD - far) / (WILD - DOUBTED)).max(0.0) };
    // Where all are equal the scale is zero, and so is what is off.
    if kept.is_nan() { 0.0 } else { kept.copysign(off) }
}

/// At most [`AROUND`] values in order.
struct Sorted {
    values: [f64; AROUND],
    len: usize,
}

impl Sorted {
    fn new(values: &[f64]) -> Sorted {
        let len = values.len().min(AROUND);
        let mut sorted = [0.0; AROUND];
        for (i, &value) in values[..len].iter().enumerate() {
            let mut at = i;
            while at > 0 && sorted[at - 1] > value {
                sorted[at] = sorted[at - 1];
                at -= 1;
            }
            sorted[at] = value;
        }
        Sorted { values: sorted, len }
    }

    /// The median; of an even number the upper one.
    fn middle(&self) -> f64 {
        self.values[self.len / 2]
    }

    /// How many must agree on a level: most, and of few all but one, or all.
    fn most(&self) -> usize {
        match self.len {
            0..=3 => self.len,
            4..=6 => self.len / 2 + 1,
            len => len.div_ceil(2),
        }
    }

    /// The highest level that most are at or above.
    fn high(&self) -> f64 {
        self.values[self.len - self.most()]
    }

    /// The lowest level that most are at or below.
    fn low(&self) -> f64 {
        self.values[self.most() - 1]
    }
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
        let few = Sorted::new(&[3.0, 1.0, 2.0]);
        assert_eq!((few.low(), few.middle(), few.high()), (3.0, 2.0, 1.0));
        let more = Sorted::new(&[9.0, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0]);
        assert_eq!((more.low(), more.middle(), more.high()), (1.0, 1.0, 1.0));
    }
}
