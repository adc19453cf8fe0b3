//! A series of counts cut into stretches of the same rate.

/// Stretches at most.
const STRETCHES: usize = 32;

/// The places at which the rate of a series of Poisson counts changes, by binary segmentation on the likelihood ratio
/// (Scott and Knott 1974): the ends of the stretches, the last one the series' own. A stretch has at least `shortest`
/// values. A cut must make the counts more likely by a factor that chance reaches in about one series of a thousand,
/// whatever the length.
pub fn stretches(counts: &[f64], shortest: usize) -> Vec<usize> {
    let n = counts.len();
    let mut sums = vec![0.0];
    for count in counts {
        sums.push(sums[sums.len() - 1] + count);
    }
    let needed = 2.0 * (n.max(2) as f64).ln() + 14.0;
    let mut ends = vec![n];
    while ends.len() < STRETCHES {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let best = starts.zip(&ends).filter_map(|(from, to)| best_cut(&sums, from, *to, shortest));
        let Some((_, at)) = best.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|cut| cut.0 > needed) else {
            break;
        };
        let place = ends.partition_point(|end| *end < at);
        ends.insert(place, at);
    }
    ends
}

/// Twice the logarithm of the likelihood ratio of the best cut within a stretch, and where it is.
fn best_cut(sums: &[f64], from: usize, to: usize, shortest: usize) -> Option<(f64, usize)> {
    let fit = |a: usize, b: usize| {
        let sum = sums[b] - sums[a];
        if sum > 0.0 { sum * (sum / (b - a) as f64).ln() } else { 0.0 }
    };
    let cuts = from + shortest.max(1)..(to + 1).saturating_sub(shortest.max(1));
    let gain = |at: usize| (2.0 * (fit(from, at) + fit(at, to) - fit(from, to)), at);
    cuts.map(gain).max_by(|a, b| a.0.total_cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    /// Arrivals in slices, at a rate per slice.
    fn poisson(random: &mut Random, rate: f64) -> f64 {
        let (mut n, mut left) = (0.0, rate);
        loop {
            left -= random.exponential();
            if left < 0.0 {
                return n;
            }
            n += 1.0;
        }
    }

    #[test]
    fn steps_are_found_where_they_are_and_noise_is_not_cut() {
        let mut cut = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let flat: Vec<f64> = (0..240).map(|_| poisson(&mut random, 12.0)).collect();
            cut += usize::from(stretches(&flat, 3).len() > 1);
            let steps: Vec<f64> =
                (0..240).map(|i| poisson(&mut random, [10.0, 20.0, 40.0, 10.0][i / 60])).collect();
            let ends = stretches(&steps, 3);
            for (want, got) in [60, 120, 180, 240].iter().zip(&ends) {
                assert!(got.abs_diff(*want) <= 8, "seed {seed}: {ends:?}");
            }
            assert!(ends.len() <= 5, "seed {seed}: {ends:?}");
        }
        assert!(cut <= 2, "{cut} of 200 flat series were cut");
        assert_eq!(stretches(&[], 3), [0]);
        assert_eq!(stretches(&[0.0; 9], 3), [9]);
    }
}
