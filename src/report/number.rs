//! Numbers as text. Every format uses these, so a figure reads the same everywhere.
//!
//! A no-break space (U+00A0) stands between number and unit while text is wrapped; the formats print it as a plain space.

use crate::record::{Nanos, Timestamp, date_of_day};

/// Between a number and its unit.
pub const NBSP: char = '\u{a0}';

/// Milliseconds with three significant digits, without the unit: `0.042`, `2.13`, `18.4`, `184`, `1,203`.
pub fn ms(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && size < 0.0005 {
        return format!("{}<0.001", if value < 0.0 { "-" } else { "" });
    }
    let value = settled(value, 1e3);
    let digits = match value.abs() {
        0.0 => return "0".into(),
        s if s < 0.0995 => 3,
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    grouped(value, digits)
}

/// The same with the unit: `184 ms`.
pub fn ms_unit(value: f64) -> String {
    format!("{}{NBSP}ms", ms(value))
}

/// A length of time in milliseconds with the unit.
pub fn nanos(value: Nanos) -> String {
    ms_unit(value.as_millis_f64())
}

/// A share (0..=1) in per cent: `7.1 %`, `71 %`. Never `100 %` for less than all, never `0 %` for more than nothing.
pub fn percent(share: f64) -> String {
    let plain = (0.001..0.9945).contains(&share.abs());
    let share = if plain { settled(share, 1e4) } else { share };
    format!("{}{NBSP}%", percent_digits(share * 100.0))
}

/// To the digits that `report.json` keeps: so whoever rounds what is written there gets the same text.
fn settled(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

fn percent_digits(p: f64) -> String {
    let size = p.abs();
    let sign = if p < 0.0 { "-" } else { "" };
    match size {
        0.0 => "0".into(),
        s if s < 0.1 => format!("{sign}<0.1"),
        s if s < 9.95 => format!("{sign}{s:.1}"),
        s if s < 99.45 => format!("{sign}{s:.0}"),
        s if s < 100.0 => format!("{sign}{:.1}", (s * 10.0).floor() / 10.0),
        s => format!("{sign}{}", grouped(s, 0)),
    }
}

/// Events per second without the unit: `0.42`, `12.4`, `4,012`.
pub fn rate(value: f64) -> String {
    let value = settled(value, 1e3);
    match value.abs() {
        0.0 => "0".into(),
        s if s < 9.995 => grouped(value, 2),
        s if s < 99.95 => grouped(value, 1),
        _ => grouped(value, 0),
    }
}

/// A mean count such as calls per request: whole where it is whole, else one decimal (two below one).
pub fn calls(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        v if (v - v.round()).abs() < 0.005 && v >= 0.995 => grouped(v, 0),
        v if v < 0.01 => "<0.01".into(),
        v if v < 0.995 => grouped(v, 2),
        v => grouped(v, 1),
    }
}

/// A whole number with thousands separated: `12,345`.
pub fn count(value: u64) -> String {
    group_digits(&value.to_string())
}

/// `1 request`, `12,345 requests`.
pub fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{}{NBSP}{}", count(value), if value == 1 { one } else { many })
}

/// `40 of 12,040 requests`, `all 900 requests`, `none of 900 requests`.
pub fn part_of(part: u64, whole: u64, one: &str, many: &str) -> String {
    let all = counted(whole, one, many);
    match part {
        0 => format!("none of {all}"),
        p if p == whole && whole > 1 => format!("all {all}"),
        p => format!("{} of {all}", count(p)),
    }
}

/// A number of bytes: `812 B`, `14.2 kB`, `1.21 MB`.
pub fn bytes(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v < 1e3 => return format!("{v:.0}{NBSP}B"),
        v if v < 1e6 => (v / 1e3, "kB"),
        v if v < 1e9 => (v / 1e6, "MB"),
        v => (v / 1e9, "GB"),
    };
    format!("{}{NBSP}{unit}", rate(scaled))
}

/// A stretch of time that people wait for: `0.8 s`, `30 s`, `2 min 5 s`.
pub fn seconds(value: Nanos) -> String {
    let tenths = (value.0 + 50_000_000) / 100_000_000;
    let whole = tenths / 10;
    match (whole, tenths % 10) {
        (w, 0) if w < 120 => format!("{w}{NBSP}s"),
        (w, t) if w < 10 => format!("{w}.{t}{NBSP}s"),
        (w, _) if w < 120 => format!("{w}{NBSP}s"),
        (w, _) if w % 60 == 0 => format!("{}{NBSP}min", count(w / 60)),
        (w, _) => format!("{}{NBSP}min {}{NBSP}s", count(w / 60), w % 60),
    }
}

/// With a sign, and so many decimals that columns which must add up do so visibly.
pub fn signed(value: f64, digits: usize) -> String {
    let text = grouped(value.abs(), digits);
    let zero = text.chars().all(|c| !c.is_ascii_digit() || c == '0');
    match value {
        _ if zero => text,
        v if v < 0.0 => format!("-{text}"),
        _ => format!("+{text}"),
    }
}

/// Decimals that show three digits of the largest number, the same for a whole table so that it visibly adds up.
pub fn digits_for(largest: f64) -> usize {
    match largest {
        l if l >= 100.0 => 1,
        l if l >= 1.0 => 2,
        _ => 3,
    }
}

/// A number with fixed decimals and thousands separated.
pub fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |w| ("-", w));
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}", group_digits(whole))
}

fn group_digits(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && c.is_ascii_digit() {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T15:03:12.250Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let total_ms = at.0 / 1_000_000;
    let (days, ms) = (total_ms / 86_400_000, total_ms % 86_400_000);
    let (year, month, day) = date_of_day(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.0001, "<0.001"),
            (0.042, "0.042"),
            (0.42, "0.42"),
            (2.134, "2.13"),
            (9.996, "10.0"),
            (18.44, "18.4"),
            (99.96, "100"),
            (184.3, "184"),
            (1203.4, "1,203"),
            (-2.5, "-2.50"),
        ];
        for (value, text) in cases {
            assert_eq!(ms(value), text, "{value}");
        }
    }

    #[test]
    fn per_cent_never_rounds_to_all_or_nothing() {
        let cases = [
            (0.0, "0"),
            (0.0001, "<0.1"),
            (0.0712, "7.1"),
            (0.711, "71"),
            (0.9943, "99"),
            (0.99996, "99.9"),
            (1.0, "100"),
        ];
        for (share, text) in cases {
            assert_eq!(percent(share), format!("{text}\u{a0}%"), "{share}");
        }
    }

    #[test]
    fn counts_and_rates_and_sizes() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "request", "requests"), "1\u{a0}request");
        assert_eq!(rate(411.5), "412");
        assert_eq!(rate(12.44), "12.4");
        assert_eq!(calls(26.0), "26");
        assert_eq!(calls(26.44), "26.4");
        assert_eq!(calls(0.25), "0.25");
        assert_eq!(calls(1.0), "1");
        assert_eq!(bytes(14_200.0), "14.2\u{a0}kB");
        assert_eq!(signed(-0.04, 1), "0.0");
        assert_eq!(signed(-1_234.5, 1), "-1,234.5");
        assert_eq!(signed(0.06, 1), "+0.1");
    }

    #[test]
    fn stretches_of_time() {
        let cases = [
            (800, "0.8 s"),
            (30_000, "30 s"),
            (30_400, "30 s"),
            (2_100, "2.1 s"),
            (125_000, "2 min 5 s"),
            (3_600_000, "60 min"),
        ];
        for (ms, text) in cases {
            assert_eq!(seconds(Nanos::from_millis(ms)).replace(NBSP, " "), text);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(951_782_400_000_000_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(1_795_532_592_250_000_000)), "2026-11-24T15:03:12.250Z");
    }
}
