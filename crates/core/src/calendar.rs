//! Dates of the Gregorian calendar, in UTC: RFC 3339 written and read. Nothing here asks a clock.

use crate::time::{DAY_MS, Timestamp};

/// Year, month and day of a count of days since 1970, by Howard Hinnant's `civil_from_days`: years begin in March there, so
/// that the leap day is the last of its year.
pub const fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Days from 1970 to a date; `None` where the calendar has no such date, or outside the years 1970 to 9999.
pub fn days_of_date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * march_month + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    // The 31st of a month of 30 days comes back as the 1st of the next.
    (civil_date(days) == (year, month, day)).then_some(days)
}

impl Timestamp {
    /// `2026-11-23T07:30:00Z` (RFC 3339), to the second.
    pub fn rfc_3339(self) -> String {
        let (year, month, day) = civil_date(self.millis().div_euclid(DAY_MS));
        let seconds = self.millis().rem_euclid(DAY_MS) / 1000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Reads a date, `2026-11-23` (its first moment in UTC), or a time with its offset, `2026-11-23T07:30:00Z` or
    /// `2026-11-23T09:30:00+02:00` (RFC 3339), from 1970 to 9999. A fraction of a second counts to the millisecond.
    pub fn parse_rfc_3339(text: &str) -> Option<Self> {
        let text = text.trim();
        let (date, rest) = text.split_at_checked(10)?;
        let days = date_of(date)?;
        let mut millis = days * DAY_MS;
        if !rest.is_empty() {
            let clock = rest.strip_prefix(['T', 't', ' '])?;
            millis += clock_millis(clock)?;
        }
        (0..=253_402_300_799_999)
            .contains(&millis)
            .then(|| Self::from_millis(millis))
    }
}

/// Days of `YYYY-MM-DD`.
fn date_of(text: &str) -> Option<i64> {
    let (year, rest) = text.split_at_checked(4)?;
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    days_of_date(digits(year, 4)?, digits(month, 2)?, digits(day, 2)?)
}

/// Milliseconds since midnight UTC of `HH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)`.
fn clock_millis(text: &str) -> Option<i64> {
    let (clock, rest) = text.split_at_checked(8)?;
    let mut millis = 1000 * (seconds_of(clock.get(..5)?, clock.get(5..)?.strip_prefix(':')?)?);
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = fraction.split_at_checked(length)?;
            millis += digits(&format!("{:0<3}", fraction.get(..3).unwrap_or(fraction)), 3)?;
            (length > 0).then_some(zone)?
        }
        None => rest,
    };
    if zone.eq_ignore_ascii_case("z") {
        return Some(millis);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    Some(millis - sign * 1000 * seconds_of(zone.get(1..)?, "00")?)
}

/// Seconds of `HH:MM` and seconds.
fn seconds_of(hours_and_minutes: &str, seconds: &str) -> Option<i64> {
    let (hour, minute) = hours_and_minutes.split_once(':')?;
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(seconds, 2)?);
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

/// A number of exactly so many ASCII digits.
fn digits(text: &str, length: usize) -> Option<i64> {
    let well_formed = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_back_as_it_is_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_795_419_000, "2026-11-23T07:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            let at = Timestamp::from_millis(seconds * 1000);
            assert_eq!(at.rfc_3339(), text);
            assert_eq!(Timestamp::parse_rfc_3339(text), Some(at), "{text}");
        }
        for days in (0..2_932_896).step_by(97) {
            let at = Timestamp::from_millis(days * DAY_MS);
            assert_eq!(Timestamp::parse_rfc_3339(&at.rfc_3339()), Some(at));
        }
    }

    #[test]
    fn dates_offsets_and_fractions_are_read() {
        for (text, millis) in [
            ("1970-01-02", DAY_MS),
            (" 1970-01-02 ", DAY_MS),
            ("1970-01-02 00:00:00Z", DAY_MS),
            ("1970-01-02t02:00:00.5+02:00", DAY_MS + 500),
            ("1970-01-01T22:00:00.123456789-02:00", DAY_MS + 123),
        ] {
            assert_eq!(
                Timestamp::parse_rfc_3339(text).map(Timestamp::millis),
                Some(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_calendar_does_not_have_is_refused() {
        for text in [
            "",
            "2026",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "1969-12-31",
            "10000-01-01",
            "26-11-23",
            "2026-11-23T",
            "2026-11-23T07:30",
            "2026-11-23T07:30:00",
            "2026-11-23T24:00:00Z",
            "2026-11-23T07:60:00Z",
            "2026-11-23T07:30:00.Z",
            "2026-11-23T07:30:00+2:00",
            "2026-11-23T07:30:00+02:00Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-23x",
            "2026/11/23",
            "٢٠٢٦-11-23",
            "2026-11-2é",
            "2026-11-23T07:30:0é",
        ] {
            assert_eq!(Timestamp::parse_rfc_3339(text), None, "{text:?}");
        }
    }
}
