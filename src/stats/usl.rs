//! The Universal Scalability Law (Gunther): throughput X over concurrency N,
//! X(N) = γN / (1 + α(N − 1) + βN(N − 1)), with γ the rate of one alone, α the share that waits in turn, β the share that
//! costs agreement with all others.
//!
//! Fitted by nonlinear least squares (Gauss–Newton with damping, Marquardt 1963) under γ > 0, 0 ≤ α ≤ 1 (a share is never
//! more than all) and β ≥ 0, starting from the same law as a line: N/X = (1 + α(N − 1) + βN(N − 1)) / γ is linear in its
//! three coefficients.

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usl {
    /// Throughput at a concurrency of one.
    pub gamma: f64,
    /// Contention: a share, from 0 to 1.
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
            let peak = ((1.0 - self.alpha) / self.beta).sqrt().max(1.0);
            self.throughput(peak)
        } else if self.alpha > 0.0 {
            // Approached from below; where all wait in turn, one alone has it.
            self.gamma / self.alpha
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
        let alphas = [None, Some(0.0), Some(1.0)];
        let starts = alphas.into_iter().flat_map(|alpha| [(alpha, true), (alpha, false)]);
        let fits = starts.filter_map(|(alpha, beta)| Some(refine(&scaled, line(&scaled, alpha, beta)?)));
        let best = fits.min_by(|a, b| error(&scaled, a).total_cmp(&error(&scaled, b)))?;
        Some(Usl { gamma: best.gamma * scale, ..best })
    }
}

fn error(points: &[(f64, f64)], law: &Usl) -> f64 {
    points.iter().map(|(n, x)| (x - law.throughput(*n)).powi(2)).sum()
}

/// Least squares of N/X over 1, N − 1 and N(N − 1): α as it is given or free, β free or 0.
fn line(points: &[(f64, f64)], alpha: Option<f64>, beta: bool) -> Option<Usl> {
    let mut matrix = [[0.0; 4]; 3];
    for (n, x) in points {
        let (first, second) = match alpha {
            Some(given) => (1.0 + given * (n - 1.0), 0.0),
            None => (1.0, n - 1.0),
        };
        let row = [first, second, if beta { n * (n - 1.0) } else { 0.0 }];
        // Weighted so that it is throughput that is met, not its inverse.
        let weight = (x * x / n).powi(2);
        for (line, a) in matrix.iter_mut().zip(row) {
            line.iter_mut().zip(row).for_each(|(cell, b)| *cell += weight * a * b);
            line[3] += weight * a * n / x;
        }
    }
    for (i, free) in [(1, alpha.is_none()), (2, beta)] {
        if !free {
            hold(&mut matrix, i);
        }
    }
    let [one, a, b] = solve(matrix)?;
    let alpha = alpha.unwrap_or(a / one).clamp(0.0, 1.0);
    (one > 0.0).then(|| Usl { gamma: 1.0 / one, alpha, beta: (b / one).max(0.0) })
}

/// Takes a coefficient out of the equations: its solution is 0.
fn hold(matrix: &mut [[f64; 4]; 3], i: usize) {
    matrix.iter_mut().for_each(|row| row[i] = 0.0);
    matrix[i] = [0.0; 4];
    matrix[i][i] = 1.0;
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
        // What is at a bound and would go beyond it stays there, and the others are solved for without it.
        let at_bound = [
            (1, law.alpha <= 0.0 && matrix[1][3] < 0.0 || law.alpha >= 1.0 && matrix[1][3] > 0.0),
            (2, law.beta <= 0.0 && matrix[2][3] < 0.0),
        ];
        at_bound.iter().filter(|(_, stays)| *stays).for_each(|(i, _)| hold(&mut matrix, *i));
        let Some([g, a, b]) = solve(matrix) else { break };
        let next = Usl {
            gamma: (law.gamma + g).max(1e-12),
            alpha: (law.alpha + a).clamp(0.0, 1.0),
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
    fn contention_is_a_share_whatever_the_points() {
        // Throughput falls from the start: the best contention would be more than all.
        let falling = Usl::fit(&[(1.0, 100.0), (2.0, 60.0), (4.0, 33.0), (8.0, 17.0), (16.0, 9.0)]).unwrap();
        assert!(falling.alpha <= 1.0 && falling.beta > 0.0, "{falling:?}");
        let mut random = Random::new(5);
        for _ in 0..200 {
            let law = Usl { gamma: 50.0, alpha: 0.6 + 0.4 * random.uniform(), beta: 0.05 * random.uniform() };
            let noisy = |n: f64| (n, law.throughput(n) * (0.7 + 0.6 * random.uniform()));
            let points: Vec<_> = [1.0, 2.0, 4.0, 8.0, 16.0].map(noisy).to_vec();
            let law = Usl::fit(&points).unwrap();
            assert!((0.0..=1.0).contains(&law.alpha) && law.beta >= 0.0 && law.gamma > 0.0, "{law:?}");
            // No worse than the best of a grid within the bounds, up to the grid's own coarseness.
            let best = error(&points, &law);
            for alpha in (0..=20).map(|i| f64::from(i) / 20.0) {
                for beta in [0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5] {
                    let shape = Usl { gamma: 1.0, alpha, beta };
                    let (mut up, mut down) = (0.0, 0.0);
                    for (n, x) in &points {
                        up += x * shape.throughput(*n);
                        down += shape.throughput(*n).powi(2);
                    }
                    let other = Usl { gamma: up / down, ..shape };
                    assert!(
                        best <= error(&points, &other) * (1.0 + 1e-3),
                        "{law:?} for {other:?} at {points:?}"
                    );
                }
            }
        }
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
