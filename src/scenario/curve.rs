//! Rates that follow a formula or the points of a file, and arrivals at the moments of a file.
//!
//! A curve is points with straight lines between, so that the schedule's integer arithmetic holds for it as for a ramp.

use super::formula::Formula;
use super::quantity::{self, Rate};
use crate::record::{Nanos, day_of_date};

/// A rate at a moment of its stage. Between two points it changes linearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurvePoint {
    /// Time from the stage's beginning.
    pub at: Nanos,
    /// The rate then.
    pub rate: Rate,
}

/// Most points of a curve, and most lines of a file of arrivals.
const MOST_POINTS: usize = 5_000_000;
/// A formula is first looked at in so many pieces …
const PIECES: u64 = 256;
/// … which are halved until straight lines are this near to it, relative to the rate …
const NEAR: f64 = 1e-5;
/// … or this short: a jump becomes a slope of a millisecond.
const SHORTEST: u64 = 1_000_000;
/// Most points made of a formula.
const MOST_OF_FORMULA: usize = 400_000;

/// The curve of a formula over a stage. What is below zero counts as zero.
pub(super) fn of_formula(formula: &Formula, length: Nanos) -> Result<Vec<CurvePoint>, String> {
    let value = |at: u64| {
        let seconds = at as f64 / 1e9;
        let rate = formula.at(seconds);
        if !rate.is_finite() {
            return Err(format!("the formula has no value {seconds} s after its stage begins"));
        }
        rate_of(rate.max(0.0)).map_err(|why| format!("{seconds} s after its stage begins {why}"))
    };
    let mut points = vec![CurvePoint { at: Nanos::ZERO, rate: value(0)? }];
    let pieces = PIECES.min(length.0.div_ceil(SHORTEST)).max(1);
    // A stack of ends still to be reached: the next one is on top.
    let mut ends: Vec<u64> = (1..=pieces)
        .rev()
        .map(|n| (u128::from(length.0) * u128::from(n) / u128::from(pieces)) as u64)
        .collect();
    while let Some(end) = ends.pop() {
        let last = points[points.len() - 1];
        let (rate, span) = (value(end)?, end - last.at.0);
        let straight = |part: f64| {
            let (from, to) = (last.rate.as_per_second(), rate.as_per_second());
            from + (to - from) * part
        };
        let mut far = false;
        for part in [0.25, 0.5, 0.75] {
            let real = value(last.at.0 + (span as f64 * part) as u64)?.as_per_second();
            far |= (real - straight(part)).abs() > NEAR * real.max(1.0);
        }
        if far && span > SHORTEST && points.len() + ends.len() < MOST_OF_FORMULA {
            ends.push(end);
            ends.push(last.at.0 + span / 2);
        } else {
            points.push(CurvePoint { at: Nanos(end), rate });
        }
    }
    Ok(points)
}

/// Ends a curve at `end`, which is not after its last point.
pub(super) fn cut(points: &mut Vec<CurvePoint>, end: Nanos) {
    let next = points.partition_point(|p| p.at < end);
    if let (Some(after), Some(before)) = (points.get(next).copied(), next.checked_sub(1).map(|i| points[i]))
        && after.at > end
    {
        let (from, to) = (before.rate.per_billion_seconds as f64, after.rate.per_billion_seconds as f64);
        let part = (end.0 - before.at.0) as f64 / (after.at.0 - before.at.0) as f64;
        let rate = Rate { per_billion_seconds: (from + (to - from) * part).round() as u64 };
        points.truncate(next);
        points.push(CurvePoint { at: end, rate });
    } else {
        points.truncate(next + 1);
    }
}

fn rate_of(per_second: f64) -> Result<Rate, String> {
    if per_second > quantity::MAX_RATE_PER_SECOND {
        return Err(format!("the rate would be {per_second}/s, more than {}", quantity::MAX_RATE_PER_SECOND));
    }
    Ok(Rate { per_billion_seconds: (per_second * 1e9).round() as u64 })
}

/// The curve of a file of times and rates; times are counted from its first line. `speed` makes it that many times as
/// fast: as many arrivals in less time.
pub(super) fn of_points(text: &str, speed: f64) -> Result<Vec<CurvePoint>, String> {
    let mut points: Vec<CurvePoint> = Vec::new();
    let mut first = None;
    for (line, fields) in lines(text)? {
        let [time, rate, ..] = fields[..] else {
            return Err(format!("line {line}: needs a time and a rate, e.g. 60,250"));
        };
        let time = moment(time).ok_or_else(|| format!("line {line}: {time:?} is no time"))?;
        let rate = quantity::rate(rate).map_err(|why| format!("line {line}: {why}"))?;
        let at = offset(time, *first.get_or_insert(time), speed, line)?;
        if points.last().is_some_and(|last| last.at.0 > at) {
            return Err(format!("line {line}: its time is before that of the line above"));
        }
        let rate = rate_of(rate.as_per_second() * speed).map_err(|why| format!("line {line}: {why}"))?;
        points.push(CurvePoint { at: Nanos(at), rate });
    }
    if points.len() < 2 || points[points.len() - 1].at == Nanos::ZERO {
        return Err("has no two times that differ: a curve needs lines such as 0,100 and 60,250".to_string());
    }
    Ok(points)
}

/// Arrivals at the moments of a file (its first column), counted from the earliest; in any order. `speed` makes them come
/// that many times as fast.
pub(super) fn of_arrivals(text: &str, speed: f64) -> Result<Vec<Nanos>, String> {
    let mut moments = Vec::new();
    for (line, fields) in lines(text)? {
        let time = fields[0];
        moments.push(moment(time).ok_or_else(|| format!("line {line}: {time:?} is no time"))?);
    }
    moments.sort_unstable();
    let first = *moments.first().ok_or("has no times")?;
    moments.into_iter().enumerate().map(|(n, time)| Ok(Nanos(offset(time, first, speed, n + 1)?))).collect()
}

fn offset(time: i128, first: i128, speed: f64, line: usize) -> Result<u64, String> {
    let offset = (time - first) as f64 / speed;
    if offset < 0.0 {
        return Err(format!("line {line}: its time is before that of the first line"));
    }
    if offset > 366.0 * 86_400e9 {
        return Err(format!("line {line}: its time is more than a year after the first"));
    }
    // In integers where nothing is scaled: the moments of the file, exactly.
    Ok(if speed == 1.0 { (time - first) as u64 } else { offset.round() as u64 })
}

/// Lines with their numbers and fields: empty lines, comments and a first line of names left out.
fn lines(text: &str) -> Result<Vec<(usize, Vec<&str>)>, String> {
    let mut out = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split([',', ';', '\t']).map(|f| f.trim().trim_matches('"')).collect();
        if out.is_empty() && index == 0 && moment(fields[0]).is_none() {
            continue;
        }
        if out.len() >= MOST_POINTS {
            return Err(format!("has more than {MOST_POINTS} lines"));
        }
        out.push((index + 1, fields));
    }
    Ok(out)
}

/// A moment in nanoseconds of whatever clock: seconds as a decimal number, a duration such as `90s`, or a time as RFC 3339
/// writes it.
fn moment(text: &str) -> Option<i128> {
    if let Some(nanos) = decimal_seconds(text) {
        return Some(nanos);
    }
    if let Ok(length) = quantity::duration(text) {
        return Some(i128::from(length.0));
    }
    rfc3339(text)
}

fn decimal_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 18 && part.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut nanos = format!("{fraction:0<9}");
    nanos.truncate(9);
    Some(whole.parse::<i128>().ok()? * 1_000_000_000 + nanos.parse::<i128>().ok()?)
}

/// `2026-03-01T12:00:00.5Z`, `2026-03-01 12:00:00+01:00`.
fn rfc3339(text: &str) -> Option<i128> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(at);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute): (i64, i64) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    let seconds = decimal_seconds(clock.next()?)?;
    let shift = match zone {
        "" | "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let east: i64 = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -east } else { east }
        }
    };
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    let days = day_of_date(year, month, day);
    let minutes = days * 1440 + hour * 60 + minute - shift;
    valid.then(|| i128::from(minutes) * 60_000_000_000 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_curve_is_near_its_formula_everywhere() {
        let formula = Formula::parse("100 + 50*sin(t/60s*2*pi)").unwrap();
        let points = of_formula(&formula, Nanos(600 * SECOND)).unwrap();
        assert!(points.len() < 20_000, "{}", points.len());
        assert_eq!((points[0].at, points[points.len() - 1].at), (Nanos::ZERO, Nanos(600 * SECOND)));
        for pair in points.windows(2) {
            let middle = (pair[0].at.0 + pair[1].at.0) / 2;
            let line = (pair[0].rate.as_per_second() + pair[1].rate.as_per_second()) / 2.0;
            assert!((line - formula.at(middle as f64 / 1e9)).abs() < 0.01, "at {middle}");
        }
    }

    #[test]
    fn a_jump_becomes_a_short_slope_and_less_than_nothing_is_nothing() {
        let formula = Formula::parse("floor(t/10s)*100 - 100").unwrap();
        let points = of_formula(&formula, Nanos(30 * SECOND)).unwrap();
        let at = |s: f64| {
            let ns = (s * 1e9) as u64;
            let next = points.partition_point(|p| p.at.0 <= ns);
            points[next - 1].rate.as_per_second()
        };
        assert_eq!([5.0, 15.0, 25.0].map(at), [0.0, 0.0, 100.0]);
        assert!(points.len() < 2_000, "{}", points.len());
    }

    #[test]
    fn a_formula_without_a_value_or_beyond_all_machines_is_refused() {
        let of = |text: &str| of_formula(&Formula::parse(text).unwrap(), Nanos(SECOND)).unwrap_err();
        assert!(of("1/t").contains("has no value 0 s after"));
        assert!(of("10^9").contains("more than"));
    }

    #[test]
    fn points_of_a_file_count_from_its_first_line() {
        let text = "time,rate\n1700000000,100/s\n1700000030.5, 250\n\n# night\n1700000060,90/m\n";
        let points = of_points(text, 2.0).unwrap();
        let seen: Vec<(u64, f64)> = points.iter().map(|p| (p.at.0, p.rate.as_per_second())).collect();
        assert_eq!(seen, [(0, 200.0), (15_250_000_000, 500.0), (30 * SECOND, 3.0)]);
        for (text, words) in [
            ("0,100", "no two times"),
            ("0,100\n10", "line 2: needs a time and a rate"),
            ("0,100\nsoon,5", "line 2: \"soon\" is no time"),
            ("0,100\n5,quick", "line 2: \"quick\" is no rate"),
            ("0,100\n5,1\n4,1", "line 3: its time is before"),
        ] {
            let message = of_points(text, 1.0).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn arrivals_of_a_file_keep_their_distances_to_the_nanosecond() {
        let text = "at\n2026-03-01T12:00:00.25Z\n2026-03-01 13:00:00.000000001+01:00\n2026-03-01T12:00:01Z\n";
        assert_eq!(of_arrivals(text, 1.0).unwrap(), [Nanos(0), Nanos(249_999_999), Nanos(999_999_999)]);
        assert_eq!(of_arrivals("3\n1\n2\n", 0.5).unwrap(), [0, 2 * SECOND, 4 * SECOND].map(Nanos));
        assert_eq!(of_arrivals("500ms\n2s", 1.0).unwrap(), [Nanos(0), Nanos(1_500_000_000)]);
        assert!(of_arrivals("", 1.0).unwrap_err().contains("no times"));
        assert!(of_arrivals("1\nx", 1.0).unwrap_err().contains("line 2"));
    }

    #[test]
    fn days_of_the_calendar_are_counted_right() {
        let days = |a: &str, b: &str| (rfc3339(b).unwrap() - rfc3339(a).unwrap()) / 86_400_000_000_000;
        assert_eq!(days("2024-02-28T00:00:00Z", "2024-03-01T00:00:00Z"), 2);
        assert_eq!(days("2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z"), 1);
        assert_eq!(days("1970-01-01T00:00:00Z", "2000-01-01T00:00:00Z"), 10_957);
        assert_eq!(rfc3339("2024-13-01T00:00:00Z"), None);
    }
}
