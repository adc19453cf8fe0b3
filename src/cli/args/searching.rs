//! Arguments of a search for traces in a backend.

use super::parse_duration;
use crate::record::{Timestamp, day_of_date};
use clap::Args;
use std::time::Duration;

/// Which traces, where no run folder tells: `analyze --traces-from SOURCE` alone.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Search, with --traces-from and no run folder")]
pub struct SearchArgs {
    /// Traces with a span of this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Traces with a span of this name.
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// The last so much time, before --to if that is given [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "from")]
    pub last: Option<Duration>,
    /// From this moment: 2026-11-28T18:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub from: Option<Timestamp>,
    /// To this moment [default: now].
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    pub to: Option<Timestamp>,
    /// Traces at least so long; for Jaeger and ClickHouse: with a span so long.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub min_duration: Option<Duration>,
    /// Traces at most so long.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_duration: Option<Duration>,
    /// For Tempo: which traces, in TraceQL, e.g. '{ resource.service.name = "shop" && status = error }'.
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["service", "operation", "min_duration", "max_duration"])]
    pub traceql: Option<String>,
    /// Most traces, the newest first [default: 1000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_traces: Option<u64>,
}

/// `2026-11-28T18:00:00Z`, `2026-11-28 18:00+01:00`, `2026-11-28`, or seconds since 1970.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    moment(text.trim()).ok_or_else(|| {
        format!("`{text}` is no moment; write for example 2026-11-28T18:00:00Z, or seconds since 1970")
    })
}

fn moment(text: &str) -> Option<Timestamp> {
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        return Some(Timestamp(text.parse::<u64>().ok()?.checked_mul(1_000_000_000)?));
    }
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(at);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (clock.next()?.parse::<i64>().ok()?, clock.next()?.parse::<i64>().ok()?);
    let second: f64 = clock.next().map_or(Some(0.0), |part| part.parse().ok())?;
    let east = match zone {
        "" | "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let valid = (1970..3000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !valid {
        return None;
    }
    let minutes = day_of_date(year, month, day) * 1_440 + hour * 60 + minute - east;
    let nanos = u64::try_from(minutes).ok()?.checked_mul(60_000_000_000)?;
    Some(Timestamp(nanos.checked_add((second * 1e9) as u64)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_people_write_them() {
        let at = |seconds: u64| Ok(Timestamp(seconds * 1_000_000_000));
        assert_eq!(parse_moment("1700000000"), at(1_700_000_000));
        assert_eq!(parse_moment("2023-11-14T22:13:20Z"), at(1_700_000_000));
        assert_eq!(parse_moment("2023-11-14 23:13:20+01:00"), at(1_700_000_000));
        assert_eq!(parse_moment("2023-11-14T22:13"), at(1_699_999_980));
        assert_eq!(parse_moment("2023-11-15"), at(1_700_006_400));
        assert_eq!(parse_moment("2023-11-14T22:13:20.5Z"), Ok(Timestamp(1_700_000_000_500_000_000)));
        for wrong in ["", "now", "2023-13-01", "2023-11-14T25:00Z", "10:00", "-5", "99999999999999999999"] {
            assert!(parse_moment(wrong).unwrap_err().contains("is no moment; write for example"), "{wrong}");
        }
    }
}
