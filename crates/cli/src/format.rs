//! Money, time, numbers and states as people say them.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::{Credits, PhoneNumber, SandboxNumbers, civil_date};

use crate::output::{Cell, Output, Style};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An amount with the cents that matter: `$10.00`, `$0.01`, `$0.0125`.
pub(crate) fn money(amount: Credits) -> String {
    let text = amount.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    format!("{sign}${whole}.{fraction:0<2}")
}

/// A number grouped as its country groups it; as it stands where it is none that we know.
pub(crate) fn phone(text: &str) -> String {
    PhoneNumber::parse(text, SandboxNumbers::Accepted).map_or_else(|| text.to_owned(), PhoneNumber::grouped)
}

/// Real time now, in Unix seconds.
pub(crate) fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// How long ago a time was, or how far ahead it is; after a day its date.
pub(crate) fn time(at: i64, now: i64) -> String {
    let distance = now.saturating_sub(at);
    let amount = match distance.saturating_abs() {
        0..MINUTE => format!("{} s", distance.abs()),
        MINUTE..HOUR => format!("{} min", distance.abs() / MINUTE),
        HOUR..DAY => format!("{} h", distance.abs() / HOUR),
        _ => return date(at),
    };
    if distance < 0 {
        format!("in {amount}")
    } else {
        format!("{amount} ago")
    }
}

/// A time in UTC: `2026-11-23 07:40:11 UTC`.
pub(crate) fn date(at: i64) -> String {
    let (days, seconds) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A delivery or verification state: its word, its shape and its colour, the same wherever it is shown.
pub(crate) fn state(name: &str) -> Cell {
    let (shape, style) = match name {
        "sent" => ("○", Style::Waiting),
        "delivered" => ("◐", Style::Good),
        "read" => ("●", Style::Good),
        "code_valid" => ("✓", Style::Good),
        "code_invalid" | "code_max_attempts_exceeded" => ("✗", Style::Bad),
        "expired" | "revoked" => ("⊘", Style::Quiet),
        _ => return Cell::new(name),
    };
    Cell::new(format!("{shape} {}", name.replace('_', " "))).style(style)
}

/// [`state`] as text.
pub(crate) fn state_text(output: &Output, name: &str) -> String {
    state(name).shown(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_shows_the_cents_that_matter() {
        for (amount, shown) in [
            ("10", "$10.00"),
            ("0.01", "$0.01"),
            ("0.0125", "$0.0125"),
            ("-2.5", "-$2.50"),
            ("0", "$0.00"),
        ] {
            assert_eq!(money(Credits::parse(amount).unwrap()), shown);
        }
    }

    #[test]
    fn times_are_said_like_people_say_them() {
        let now = 1_790_000_000;
        for (at, said) in [
            (now, "0 s ago"),
            (now - 59, "59 s ago"),
            (now - 200, "3 min ago"),
            (now - 7_300, "2 h ago"),
            (now + 90, "in 1 min"),
            (now - 90_000, "2026-09-20 13:13:20 UTC"),
        ] {
            assert_eq!(time(at, now), said);
        }
    }

    #[test]
    fn dates_are_right_at_the_edges_of_the_calendar() {
        for (at, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(at), shown);
        }
    }

    #[test]
    fn a_state_has_a_word_and_a_shape_besides_its_colour() {
        let plain = Output::new(false);
        assert!(state_text(&plain, "code_max_attempts_exceeded").contains("✗ code max attempts exceeded"));
        assert_eq!(state_text(&plain, "something new"), "something new");
    }
}
