//! Numbers with units as people write them: `500ms`, `1m30s`, `200/s`, `0.1%`.

use crate::record::Nanos;
use std::fmt;

/// An arrival rate, exact to a billionth of an arrival per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Arrivals in 10⁹ seconds.
    pub per_billion_seconds: u64,
}

impl Rate {
    /// A whole number of arrivals per second.
    pub const fn per_second(n: u64) -> Rate {
        Rate { per_billion_seconds: n * 1_000_000_000 }
    }

    /// As (fractional) arrivals per second.
    pub fn as_per_second(self) -> f64 {
        self.per_billion_seconds as f64 / 1e9
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.as_per_second())
    }
}

/// The highest rate that is taken for meant: beyond it a slip is likelier than a machine that can send it.
pub(super) const MAX_RATE_PER_SECOND: f64 = 10_000_000.0;

/// `500ms`, `2s`, `1.5m`, `1h30m`. A number without a unit is refused: nobody agrees on what it means.
pub(super) fn duration(text: &str) -> Result<Nanos, String> {
    let wrong =
        || format!("{text:?} is no duration: write a number and a unit, e.g. 500ms, 30s, 2m or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0u128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: u64 = match unit.trim() {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if number.chars().all(|c| c.is_ascii_digit()) && !number.is_empty() => {
                return Err(format!("{text:?} has no unit: write e.g. {number}s or {number}ms"));
            }
            _ => return Err(wrong()),
        };
        total += scaled(number, scale).ok_or_else(wrong)?;
        rest = tail;
    }
    u64::try_from(total)
        .ok()
        .filter(|n| *n <= 366 * 86_400 * 1_000_000_000)
        .map(Nanos)
        .ok_or_else(|| format!("{text:?} is longer than a year"))
}

/// `512`, `10kB`, `1.5MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write a number and, if you like, B, kB, MB, KiB or MiB");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let scale = match text[end..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(wrong()),
    };
    scaled(&text[..end], scale).and_then(|n| u64::try_from(n).ok()).ok_or_else(wrong)
}

/// Decimal digits times a scale, in integers, so that `0.1s` is exactly 100 ms.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole * u128::from(scale);
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().ok()?;
        total += digits * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    }
    Some(total)
}

/// `200/s`, `90/m`, `5/h`; a bare number is per second.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is no rate: write e.g. 200/s, 90/m or 0.5/s");
    let text = text.trim();
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds: u128 = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        _ => return Err(wrong()),
    };
    let billionths = scaled(number.trim(), 1_000_000_000).ok_or_else(wrong)? / seconds;
    match u64::try_from(billionths) {
        Ok(n) if n as f64 / 1e9 <= MAX_RATE_PER_SECOND => Ok(Rate { per_billion_seconds: n }),
        _ => Err(format!("{text:?} is more than {MAX_RATE_PER_SECOND} per second")),
    }
}

/// `0.1%` or `0.001` as a ratio.
pub(super) fn ratio(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value / scale)
}

/// A duration as [`duration`] reads it back, in the largest unit that divides it.
pub(super) fn duration_text(length: Nanos) -> String {
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    match units.into_iter().find(|(scale, _)| length.0 > 0 && length.0.is_multiple_of(*scale)) {
        Some((scale, unit)) => format!("{}{unit}", length.0 / scale),
        None if length.0 == 0 => "0s".to_string(),
        None => format!("{}ns", length.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        let cases = [
            ("500ms", 500_000_000),
            ("0.1s", 100_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("2min", 120_000_000_000),
            ("250us", 250_000),
            ("1.5ms", 1_500_000),
            ("0s", 0),
        ];
        for (text, ns) in cases {
            assert_eq!(duration(text), Ok(Nanos(ns)), "{text}");
        }
        for text in ["", "10", "s", "1.2.3s", "10 parsecs", "-1s", "999999h", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("10").unwrap_err().contains("10s or 10ms"));
    }

    #[test]
    fn a_duration_reads_back_as_itself() {
        for ns in [0, 1, 999, 1_000, 90_000_000_000, 3_600_000_000_000, 1_234_567] {
            assert_eq!(duration(&duration_text(Nanos(ns))), Ok(Nanos(ns)));
        }
    }

    #[test]
    fn rates_are_exact() {
        assert_eq!(rate("200/s"), Ok(Rate::per_second(200)));
        assert_eq!(rate("200"), Ok(Rate::per_second(200)));
        assert_eq!(rate("90/m"), Ok(Rate { per_billion_seconds: 1_500_000_000 }));
        assert_eq!(rate("0.5 / s"), Ok(Rate { per_billion_seconds: 500_000_000 }));
        for text in ["", "fast", "10/d", "-1/s", "1e9/s", "20000000/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(rate(&Rate::per_second(7).to_string()), Ok(Rate::per_second(7)));
    }

    #[test]
    fn percentages_are_ratios() {
        assert_eq!(ratio("0.1%"), Some(0.001));
        assert_eq!(ratio("0.25"), Some(0.25));
        assert_eq!(ratio("five"), None);
        assert_eq!(ratio("-1"), None);
    }
}
