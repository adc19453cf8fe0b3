//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or a moment in any form that HTTP knows.

use std::time::{Duration, SystemTime};

/// How long the header's value asks to wait, counted from `now`; `None` where it is neither form.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = httpdate::parse_http_date(value).ok()?;
    Some(moment.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn seconds_and_dates_are_read() {
        // RFC 9110's example, in its three forms.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(retry_after(date, now), Some(Duration::from_secs(7)), "{date}");
        }
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        for bad in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"]
        {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
