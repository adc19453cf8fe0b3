//! Values of arguments that are not numbers or words: times, sizes, parts and imagined changes.

use crate::analysis::WhatIf;
use std::net::SocketAddr;
use std::time::Duration;

/// An imagined change.
pub fn parse_what_if(text: &str) -> Result<WhatIf, String> {
    WhatIf::parse(text).map_err(|error| error.to_string())
}

/// `2/8`: the second of eight parts.
pub fn parse_part(text: &str) -> Result<(u32, u32), String> {
    let pair = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
    match pair {
        Some((index, of)) if (1..=of).contains(&index) && of <= 4_096 => Ok((index, of)),
        Some((_, of)) => Err(format!("`{text}` is no part; write 1/{of} to {of}/{of}, of at most 4096")),
        None => Err(format!("`{text}` is no part; write for example 2/8")),
    }
}

/// `30s`, `500ms`, `1m30s`, `2h`; a bare number is refused because its unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err("is empty; write for example 30s".into());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let number: f64 =
            number.parse().map_err(|_| format!("`{text}` is not a time; write for example 30s or 1m30s"))?;
        let seconds = match unit.trim() {
            "ms" => number / 1e3,
            "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            "" => return Err(format!("`{text}` has no unit; write {text}s for seconds")),
            other => return Err(format!("`{other}` is not a unit of time; use ms, s, m or h")),
        };
        total += Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"))?;
        rest = next;
    }
    if total.is_zero() { Err("must be longer than nothing".into()) } else { Ok(total) }
}

/// `500MB`, `1.5GiB`, `64k`; a bare number is bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is not a size; write for example 500MB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    Ok((number * factor) as u64)
}

/// An address to listen at: a number and a port. `localhost` is 127.0.0.1, as everybody means it.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let numbered = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = numbered.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| format!("`{text}` is no address with a port; write one such as 127.0.0.1:4317"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_usual_units() {
        assert_eq!(parse_size("500MB"), Ok(500_000_000));
        assert_eq!(parse_size("1.5 GiB"), Ok(1_610_612_736));
        assert_eq!(parse_size("64k"), Ok(64_000));
        assert!(parse_size("lots").unwrap_err().contains("500MB"));
        assert!(parse_size("5 apples").is_err());
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(parse_duration("30").unwrap_err().contains("write 30s"));
        assert!(parse_duration("30x").unwrap_err().contains("`x` is not a unit"));
        assert!(parse_duration("0s").is_err());
        assert!(parse_duration("").is_err());
    }
}
