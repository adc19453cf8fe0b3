//! Days and dates of the proleptic Gregorian calendar, by Howard Hinnant's "chrono-compatible low-level date algorithms"
//! (public domain): years begin in March, so that the leap day is the last.

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

/// Year, month and day of a day number since 1970-01-01.
pub const fn date_of_day(days: u64) -> (u64, u64, u64) {
    let z = days + EPOCH;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + (month <= 2) as u64, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Days since 1970-01-01 of a date; negative before. The month must be 1 to 12; days beyond a month's end go on into the
/// next one.
pub const fn day_of_date(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - EPOCH as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_and_back_over_four_centuries() {
        assert_eq!(date_of_day(0), (1970, 1, 1));
        assert_eq!(date_of_day(11_016), (2000, 2, 29));
        assert_eq!(day_of_date(2000, 2, 29), 11_016);
        assert_eq!((day_of_date(1969, 12, 31), day_of_date(0, 3, 1)), (-1, -719_468));
        for day in 0..146_097 {
            let (year, month, of_month) = date_of_day(day);
            assert_eq!(day_of_date(year as i64, month as i64, of_month as i64), day as i64);
        }
    }
}
