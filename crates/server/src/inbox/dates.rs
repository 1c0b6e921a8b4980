//! Times as the page shows them before a browser's own time zone is known: UTC.

use countersign_core::{DAY_MS, Timestamp};

/// `2026-11-23T07:30:00Z`, for machines (RFC 3339).
pub(super) fn rfc_3339(at: Timestamp) -> String {
    let (year, month, day) = civil_date(at.millis().div_euclid(DAY_MS));
    let seconds = at.millis().rem_euclid(DAY_MS) / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `07:30 UTC`, for people.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let minutes = at.millis().rem_euclid(DAY_MS) / 60_000;
    format!("{:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// `now`, `5 min`, `3 h`, `2 d`: how long ago something was.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let minutes = (now.millis() - at.millis()).max(0) / 60_000;
    match minutes {
        0 => "now".to_owned(),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

/// `4:32`, or `1:00:00` from an hour on: what is left.
pub(super) fn countdown(left_ms: i64) -> String {
    // Rounded up, so that a life of a minute begins at 1:00, and 0:00 means over.
    let seconds = left_ms.saturating_add(999) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Year, month and day of a count of days since 1970, by Howard Hinnant's `civil_from_days`: years begin in March there, so
/// that the leap day is the last of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
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
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_fall_where_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (1_795_419_000, "2026-11-23T07:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc_3339(Timestamp::from_millis(seconds * 1000)), text);
        }
    }

    #[test]
    fn times_read_as_people_say_them() {
        let now = Timestamp::from_millis(1_795_419_000_000);
        assert_eq!(time_of_day(now), "07:30 UTC");
        for (minutes, text) in [(0, "now"), (1, "1 min"), (59, "59 min"), (60, "1 h"), (1_440, "1 d")] {
            assert_eq!(ago(now.plus_millis(-minutes * 60_000), now), text);
        }
        for (left_ms, text) in [
            (0, "0:00"),
            (1, "0:01"),
            (60_000, "1:00"),
            (3_600_000, "1:00:00"),
            (272_000, "4:32"),
        ] {
            assert_eq!(countdown(left_ms), text);
        }
    }
}
