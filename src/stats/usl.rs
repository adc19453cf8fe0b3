//! The Universal Scalability Law (Gunther): throughput X over concurrency N,
//! X(N) = γN / (1 + α(N − 1) + βN(N − 1)), with γ the rate of one alone, α the share that waits in turn, β the share that
//! costs agreement with all others.
//!
//! Fitted by nonlinear least squares (Gauss–Newton with damping, Marquardt 1963) under γ > 0 and α, β ≥ 0, starting from
//! the same law as a line: N/X = (1 + α(N − 1) + βN(N − 1)) / γ is linear in its three coefficients.

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usl {
    /// Throughput at a concurrency of one.
    pub gamma: f64,
    /// Contention.
    pub alpha: f64,
    /// Coherency.
    pub beta: f64,
}

/// Steps of the fit at most.
const STEPS: usize = 200;

impl Usl {
    /// Throughput at a concurrency.
    pub fn throughput(&self, n: f64) -> f64 {
        self.gamma * n / (1.0 + self.alpha * (n - 1.0) + self.beta * n * (n - 1.0))
    }

    /// The highest throughput at any concurrency; infinite where nothing contends.
    pub fn capacity(&self) -> f64 {
        if self.beta > 0.0 {
            let peak = ((1.0 - self.alpha).max(0.0) / self.beta).sqrt().max(1.0);
            self.throughput(peak)
        } else if self.alpha > 0.0 {
            // Approached from below where α < 1; of more than one at a time nothing is gained where it is not.
            (self.gamma / self.alpha).max(self.gamma)
        } else {
            f64::INFINITY
        }
    }

    /// The law nearest to the points (concurrency, throughput). `None` for fewer than three different concurrencies.
    pub fn fit(points: &[(f64, f64)]) -> Option<Usl> {
        let sound: Vec<(f64, f64)> = points.iter().copied().filter(|(n, x)| *n > 0.0 && *x > 0.0).collect();
        let mut sizes: Vec<f64> = sound.iter().map(|p| p.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup_by(|a, b| (*a - *b).abs() < 1e-9 * b.abs());
        if sizes.len() < 3 {
            return None;
        }
        let scale = sound.iter().map(|p| p.1).fold(0.0, f64::max);
        let scaled: Vec<(f64, f64)> = sound.iter().map(|(n, x)| (*n, x / scale)).collect();
        // From the line and from each of its faces, for a bound that was hit may have to be left again.
        let starts = [[true, true], [true, false], [false, true], [false, false]];
        let fits = starts.into_iter().filter_map(|free| Some(refine(&scaled, line(&scaled, free)?)));
        let best = fits.min_by(|a, b| error(&scaled, a).total_cmp(&error(&scaled, b)))?;
        Some(Usl { gamma: best.gamma * scale, ..best })
    }
}

fn error(points: &[(f64, f64)], law: &Usl) -> f64 {
    points.iter().map(|(n, x)| (x - law.throughput(*n)).powi(2)).sum()
}

/// Least squares of N/X over 1, N − 1 and N(N − 1), of the latter two only those that are free.
fn line(points: &[(f64, f64)], free: [bool; 2]) -> Option<Usl> {
    let mut matrix = [[0.0; 4]; 3];
    for (n, x) in points {
        let row = [1.0, if free[0] { n - 1.0 } else { 0.0 }, if free[1] { n * (n - 1.0) } else { 0.0 }];
        // Weighted so that it is throughput that is met, not its inverse.
        let weight = (x * x / n).powi(2);
        for (line, a) in matrix.iter_mut().zip(row) {
            line.iter_mut().zip(row).for_each(|(cell, b)| *cell += weight * a * b);
            line[3] += weight * a * n / x;
        }
    }
    for (i, free) in [(1, free[0]), (2, free[1])] {
        if !free {
            matrix[i] = [0.0; 4];
            matrix[i][i] = 1.0;
        }
    }
    let [one, a, b] = solve(matrix)?;
    (one > 0.0).then(|| Usl { gamma: 1.0 / one, alpha: (a / one).max(0.0), beta: (b / one).max(0.0) })
}

fn refine(points: &[(f64, f64)], start: Usl) -> Usl {
    let (mut law, mut damping) = (start, 1e-3);
    let mut now = error(points, &law);
    for _ in 0..STEPS {
        let mut matrix = [[0.0; 4]; 3];
        for (n, x) in points {
            let below = 1.0 + law.alpha * (n - 1.0) + law.beta * n * (n - 1.0);
            let slope = [
                n / below,
                -law.gamma * n * (n - 1.0) / (below * below),
                -law.gamma * n * n * (n - 1.0) / (below * below),
            ];
            for (line, a) in matrix.iter_mut().zip(slope) {
                line.iter_mut().zip(slope).for_each(|(cell, b)| *cell += a * b);
                line[3] += a * (x - law.throughput(*n));
            }
        }
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let Some([g, a, b]) = solve(matrix) else { break };
        let next = Usl {
            gamma: (law.gamma + g).max(1e-12),
            alpha: (law.alpha + a).max(0.0),
            beta: (law.beta + b).max(0.0),
        };
        let then = error(points, &next);
        if then < now {
            let gained = now - then;
            (law, now) = (next, then);
            damping = (damping / 3.0).max(1e-12);
            if gained < 1e-14 {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e9 {
                break;
            }
        }
    }
    law
}

/// Three equations by elimination with pivots; `None` where they do not determine the three.
fn solve(mut m: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|a, b| m[*a][column].abs().total_cmp(&m[*b][column].abs()))?;
        m.swap(column, pivot);
        if m[column][column].abs() < 1e-300 {
            return None;
        }
        for row in 0..3 {
            if row != column {
                let (factor, above) = (m[row][column] / m[column][column], m[column]);
                m[row].iter_mut().zip(above).for_each(|(value, above)| *value -= factor * above);
            }
        }
    }
    let out = [m[0][3] / m[0][0], m[1][3] / m[1][1], m[2][3] / m[2][2]];
    out.iter().all(|v| v.is_finite()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    #[test]
    fn the_law_behind_exact_points_is_found() {
        for (gamma, alpha, beta) in
            [(100.0, 0.05, 0.001), (10.0, 0.0, 0.002), (40.0, 0.2, 0.0), (7.0, 0.9, 0.0), (3.0, 0.0, 0.0)]
        {
            let law = Usl { gamma, alpha, beta };
            let points: Vec<_> =
                [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0].map(|n| (n, law.throughput(n))).to_vec();
            let fit = Usl::fit(&points).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-3 * (1.0 + b.abs());
            assert!(
                near(fit.gamma, gamma) && near(fit.alpha, alpha) && near(fit.beta, beta),
                "{fit:?} for {law:?}"
            );
        }
        assert_eq!(Usl::fit(&[(1.0, 5.0), (2.0, 9.0), (2.0, 9.5)]), None);
        assert_eq!(Usl::fit(&[]), None);
    }

    #[test]
    fn noise_of_three_percent_leaves_the_capacity_within_a_tenth() {
        let law = Usl { gamma: 50.0, alpha: 0.04, beta: 0.0008 };
        let mut random = Random::new(11);
        for _ in 0..50 {
            let points: Vec<_> = (0..40)
                .map(|i| {
                    let n = 1.0 + f64::from(i) * 1.5;
                    (n, law.throughput(n) * (1.0 + 0.03 * random.normal()))
                })
                .collect();
            let ratio = Usl::fit(&points).unwrap().capacity() / law.capacity();
            assert!((0.9..1.1).contains(&ratio), "{ratio}");
        }
    }
}
