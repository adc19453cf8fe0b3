//! Student's t distribution, the normal one as its limit, and the two functions that the theory of variances needs besides.

use statrs::distribution::{ContinuousCDF, FisherSnedecor, Normal, StudentsT};
use statrs::function::gamma::digamma as digamma_of;

/// From so many degrees of freedom on, t is taken for normal: the two differ by less than a part in a million.
const NORMAL_FROM: f64 = 1e6;

/// Probability of a value above `t` by chance, with `df` degrees of freedom (infinite: normal). 1 where it cannot be told.
pub fn t_above(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    let above = if df >= NORMAL_FROM {
        Normal::new(0.0, 1.0).map(|d| d.sf(t)).ok()
    } else {
        StudentsT::new(0.0, 1.0, df).map(|d| d.sf(t)).ok()
    };
    above.unwrap_or(1.0)
}

/// Probability of a ratio of variances above `f` by chance, with these degrees of freedom (Fisher and Snedecor). 1 where it cannot be told.
pub fn f_above(f: f64, above: f64, below: f64) -> f64 {
    FisherSnedecor::new(above, below).map_or(1.0, |d| if f.is_nan() { 1.0 } else { d.sf(f.max(0.0)) })
}

/// The value below which a share `p` lies, with `df` degrees of freedom (infinite: normal). Infinite where it cannot be told.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::INFINITY;
    }
    let normal = || Normal::new(0.0, 1.0).map_or(f64::INFINITY, |d| d.inverse_cdf(p));
    if df >= NORMAL_FROM || p == 0.0 || p == 1.0 {
        return normal();
    }
    // Bisection on the tail: the library's own inverse loses digits far out, and is no faster.
    let (sign, tail) = if p < 0.5 { (-1.0, p) } else { (1.0, 1.0 - p) };
    let (mut low, mut high) = (0.0, 2.0);
    while t_above(high, df) > tail && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if t_above(middle, df) > tail { low = middle } else { high = middle }
    }
    sign * 0.5 * (low + high)
}

/// ψ, the derivative of ln Γ.
pub fn digamma(x: f64) -> f64 {
    digamma_of(x)
}

/// ψ′ for positive arguments (Abramowitz and Stegun 6.4.6 and 6.4.12).
pub fn trigamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = 1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y * (1.0 / 30.0 - y * (5.0 / 66.0))));
    sum + 1.0 / x + 0.5 * y + y / x * series
}

/// Where ψ′ has a value (Smyth 2004, appendix): Newton's method, which cannot overshoot as 1/ψ′ is convex.
pub fn inverse_trigamma(value: f64) -> f64 {
    if value > 1e7 {
        return 1.0 / value.sqrt();
    }
    if value < 1e-6 {
        return 1.0 / value;
    }
    let mut x = 0.5 + 1.0 / value;
    for _ in 0..50 {
        let at = trigamma(x);
        let step = at * (1.0 - at / value) / tetragamma(x);
        x += step;
        if -step / x < 1e-10 {
            break;
        }
    }
    x
}

/// ψ″ for positive arguments (Abramowitz and Stegun 6.4.13).
fn tetragamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 8.0 {
        sum -= 2.0 / (x * x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum - y - y / x - y * y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 6.0 - y * 0.3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, wanted: f64, digits: f64) {
        let error = (got - wanted).abs() / wanted.abs().max(1e-300);
        assert!(error < digits || (got - wanted).abs() < 1e-14, "{got} is not {wanted}");
    }

    /// Values of scipy 1.x (`scipy.stats.t.sf`).
    #[test]
    fn tails_are_those_of_the_tables() {
        for (df, values) in [
            (1.0, [0.352416382349567, 0.147583617650433, 0.0525684567112534]),
            (4.0, [0.321664981590932, 0.0580582617584078, 0.00194126852348026]),
            (8.7, [0.314738098234689, 0.0388227377615489, 0.000115979108359796]),
            (30.0, [0.310361502442564, 0.0273125224814916, 6.97138438360238e-7]),
            (10_000.0, [0.308543039661640, 0.0227636304180692, 1.02080923644e-9]),
        ] {
            for (t, wanted) in [0.5, 2.0, 6.0].into_iter().zip(values) {
                near(t_above(t, df), wanted, 1e-4);
                near(t_above(-t, df), 1.0 - wanted, 1e-6);
            }
            near(t_above(0.0, df), 0.5, 1e-12);
        }
        near(t_above(1.96, f64::INFINITY), 0.0249978951482204, 1e-9);
        assert_eq!((t_above(f64::NAN, 4.0), t_above(1.0, 0.0), t_above(f64::INFINITY, 4.0)), (1.0, 1.0, 0.0));
    }

    /// Values of scipy 1.x (`scipy.stats.t.ppf`); those at 0.975 are in every printed table.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (df, values) in [
            (1.0, [0.324919696232906, 6.31375151467504, 12.7062047361747, 63.6567411628715]),
            (4.0, [0.270722294707597, 2.13184678632665, 2.7764451051978, 4.60409487134999]),
            (8.7, [0.261221466768695, 1.84033583422083, 2.27410398547832, 3.27840436414785]),
            (30.0, [0.255605364952191, 1.69726088659396, 2.0422724563012, 2.74999565356722]),
        ] {
            for (p, wanted) in [0.6, 0.95, 0.975, 0.995].into_iter().zip(values) {
                near(t_quantile(p, df), wanted, 1e-9);
                near(t_quantile(1.0 - p, df), -wanted, 1e-9);
            }
        }
        near(t_quantile(0.975, f64::INFINITY), 1.95996398454005, 1e-9);
        assert_eq!(t_quantile(1.0, 3.0), f64::INFINITY);
        assert_eq!(t_quantile(2.0, 3.0), f64::INFINITY);
    }

    /// Values of scipy 1.x (`scipy.special.polygamma`, `digamma`); ψ′(1) = π²/6, ψ′(1/2) = π²/2.
    #[test]
    fn derivatives_of_the_gamma_function() {
        let pi2 = std::f64::consts::PI.powi(2);
        for (x, wanted) in [
            (0.05, 401.53235734),
            (0.5, pi2 / 2.0),
            (1.0, pi2 / 6.0),
            (2.0, pi2 / 6.0 - 1.0),
            (5.5, 0.19934239),
            (40.0, 0.0253151),
        ] {
            near(trigamma(x), wanted, 1e-6);
            near(inverse_trigamma(wanted), x, 1e-5);
        }
        for x in [0.01, 0.3, 1.0, 3.3, 77.0, 2e6, 1e-5] {
            near(inverse_trigamma(trigamma(x)), x, 1e-6);
        }
        near(digamma(1.0), -0.5772156649015329, 1e-9);
        near(digamma(2.5), 0.7031566406452432, 1e-9);
    }
}
