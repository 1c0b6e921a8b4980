//! Times as the page shows them before a browser's own time zone is known: UTC.

use countersign_core::{DAY_MS, Timestamp};

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

#[cfg(test)]
mod tests {
    use super::*;

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
