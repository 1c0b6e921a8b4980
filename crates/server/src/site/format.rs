//! Money, time and numbers as people say them.

use countersign_core::{Credits, PhoneNumber, Timestamp};

use super::zone::Zone;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An amount with the cents that matter: `$1,234.50`, `$0.01`, `$0.0125`, `−$3.00`.
pub(crate) fn money(amount: Credits) -> String {
    let text = amount.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("−", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    format!("{sign}${}.{fraction:0<2}", grouped_digits(whole))
}

/// A count: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    grouped_digits(&number.to_string())
}

fn grouped_digits(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share of a whole in percent, to one decimal: `97.3 %`; `–` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A length of time: `850 ms`, `2.4 s`, `3 min 20 s`.
pub(crate) fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1000),
        _ => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

/// A moment as a page shows it. Templates draw it with the macro `when` of `parts.html`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// RFC 3339, for the `datetime` attribute.
    pub(crate) machine: String,
    /// `3 min ago`, or the date.
    pub(crate) short: String,
    /// Date and time to the second, with the zone's abbreviation.
    pub(crate) exact: String,
}

impl When {
    /// A moment seen from another.
    pub(crate) fn new(at: Timestamp, now: Timestamp, zone: &Zone) -> Self {
        let there = zone.at(at);
        let distance = now.millis() - at.millis();
        let amount = match distance.saturating_abs() {
            0..MINUTE_MS => None,
            ms @ MINUTE_MS..HOUR_MS => Some(format!("{} min", ms / MINUTE_MS)),
            ms @ HOUR_MS..DAY_MS => Some(format!("{} h", ms / HOUR_MS)),
            _ => Some(there.strftime("%-d %b %Y").to_string()),
        };
        let far = distance.saturating_abs() >= DAY_MS;
        let short = match amount {
            None => "just now".to_owned(),
            Some(text) if far => text,
            Some(text) if distance < 0 => format!("in {text}"),
            Some(text) => format!("{text} ago"),
        };
        Self {
            machine: at.rfc_3339(),
            short,
            exact: there.strftime("%-d %b %Y, %H:%M:%S %Z").to_string(),
        }
    }

    /// A moment whose exact time is what matters: a line of a statement.
    pub(crate) fn exactly(at: Timestamp, zone: &Zone) -> Self {
        let there = zone.at(at);
        Self {
            machine: at.rfc_3339(),
            short: there.strftime("%-d %b %Y, %H:%M").to_string(),
            exact: there.strftime("%-d %b %Y, %H:%M:%S %Z").to_string(),
        }
    }
}

/// A number in groups. Where its country's plan groups nothing, as it has no such number, in groups of three with the rest
/// at the end: numbers in tutorials are of that kind.
pub(crate) fn phone(phone: PhoneNumber) -> String {
    let text = phone.grouped();
    let Some((calling_code, national)) = text.split_once(' ') else {
        return text;
    };
    if national.len() < 7 || !national.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let mut grouped = calling_code.to_owned();
    let mut rest = national;
    while rest.len() > 4 {
        let (group, after) = rest.split_at(3);
        grouped.push(' ');
        grouped.push_str(group);
        rest = after;
    }
    grouped.push(' ');
    grouped.push_str(rest);
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_the_cents_that_matter() {
        for (micros, text) in [
            (10_000, "$0.01"),
            (1_234_500_000, "$1,234.50"),
            (12_500, "$0.0125"),
            (-3_000_000, "−$3.00"),
            (0, "$0.00"),
        ] {
            assert_eq!(money(Credits::from_micros(micros)), text);
        }
    }

    #[test]
    fn shares_and_counts_read_at_a_glance() {
        assert_eq!(share(973, 1000), "97.3 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(0, 0), "–");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
    }

    #[test]
    fn a_moment_is_near_or_a_date_in_the_viewers_zone() {
        let now = Timestamp::from_millis(1_795_419_000_000);
        let rome = Zone::named("Europe/Rome").unwrap();
        assert_eq!(When::new(now.plus_millis(-180_000), now, &rome).short, "3 min ago");
        assert_eq!(When::new(now.plus_millis(7_200_000), now, &rome).short, "in 2 h");
        let old = When::new(now.plus_millis(-5 * DAY_MS), now, &rome);
        assert_eq!(old.short, "18 Nov 2026");
        assert_eq!(old.exact, "18 Nov 2026, 08:30:00 CET");
    }

    #[test]
    fn numbers_are_grouped_even_where_no_plan_has_them() {
        for (digits, text) in [
            (391_234_567_890, "+39 123 456 7890"),
            (447_400_123_456, "+44 7400 123456"),
            (9_996_610_002, "+999 661 0002"),
        ] {
            assert_eq!(phone(PhoneNumber::from_stored(digits)), text);
        }
    }
}
