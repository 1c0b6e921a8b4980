//! How quotas are written: `WHAT=COUNT/PERIOD`, like `number=20/1d` or `DE=50000/1h`. What they come to is `crate::quotas`'.

use std::fmt;

use countersign_core::{Country, Limit};

/// Quotas that are no single country's, at most: each send asks all of them.
const MAX_GENERAL: usize = 8;
/// Quotas of single countries, at most.
const MAX_COUNTRIES: usize = 300;
/// The longest period.
const MAX_PERIOD_MS: i64 = 31 * 86_400_000;
/// The most digits that a prefix may leave open.
const MAX_OPEN_DIGITS: u32 = 8;

/// What a quota counts by itself: everything that has this in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaOf {
    /// One number.
    Number,
    /// Numbers that are the same but for so many last digits.
    Prefix(u32),
    /// Callers in a network of IPv4 of that prefix length.
    Ipv4(u8),
    /// Callers in a network of IPv6 of that prefix length.
    Ipv6(u8),
    /// One country.
    Country,
}

/// One quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaSetting {
    /// What is counted together.
    pub of: QuotaOf,
    /// How many sends and ability checks, in how long.
    pub limit: Limit,
}

/// All quotas, of all accounts together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaSettings {
    /// Those that hold for each number, prefix, network or country.
    pub general: Vec<QuotaSetting>,
    /// Countries with a quota of their own instead.
    pub countries: Vec<(Country, Limit)>,
}

impl fmt::Display for QuotaOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => f.write_str("number"),
            Self::Prefix(open_digits) => write!(f, "prefix{open_digits}"),
            Self::Ipv4(bits) => write!(f, "ipv4/{bits}"),
            Self::Ipv6(bits) => write!(f, "ipv6/{bits}"),
            Self::Country => f.write_str("country"),
        }
    }
}

impl QuotaSettings {
    /// Reads a list of quotas, separated by commas, none of them twice; `None` where it isn't one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut quotas = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (of, limit) = part.split_once('=')?;
            let (of, limit) = (of.trim(), limit_of(limit.trim())?);
            if let Some(of) = general(of) {
                if quotas.general.iter().any(|quota| quota.of == of) {
                    return None;
                }
                quotas.general.push(QuotaSetting { of, limit });
            } else {
                let country = country(of)?;
                if quotas.countries.iter().any(|(named, _)| *named == country) {
                    return None;
                }
                quotas.countries.push((country, limit));
            }
        }
        let fits = quotas.general.len() <= MAX_GENERAL && quotas.countries.len() <= MAX_COUNTRIES;
        fits.then_some(quotas)
    }
}

fn general(text: &str) -> Option<QuotaOf> {
    if text == "number" {
        return Some(QuotaOf::Number);
    }
    if text == "country" {
        return Some(QuotaOf::Country);
    }
    let bits = |text: &str, most: u8| text.parse().ok().filter(|bits| (8..=most).contains(bits));
    if let Some(digits) = text.strip_prefix("prefix") {
        let open_digits = digits.parse().ok()?;
        return (1..=MAX_OPEN_DIGITS)
            .contains(&open_digits)
            .then_some(QuotaOf::Prefix(open_digits));
    }
    if let Some(length) = text.strip_prefix("ipv4/") {
        return bits(length, 32).map(QuotaOf::Ipv4);
    }
    text.strip_prefix("ipv6/")
        .and_then(|length| bits(length, 128))
        .map(QuotaOf::Ipv6)
}

/// Two letters in capitals, as statistics have them; what is misspelt must not pass for a country.
fn country(text: &str) -> Option<Country> {
    let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    is_code.then(|| Country::parse(text))?
}

/// Reads `COUNT/PERIOD`, where the period is a whole number of `s`, `m`, `h` or `d`.
fn limit_of(text: &str) -> Option<Limit> {
    let (count, period) = text.split_once('/')?;
    let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let period = period.trim();
    let unit_ms = match period.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let number: u32 = period[..period.len() - 1].parse().ok()?;
    let period_ms = i64::from(number) * unit_ms;
    (1..=MAX_PERIOD_MS)
        .contains(&period_ms)
        .then_some(Limit { count, period_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_as_they_are_written() {
        let read = QuotaSettings::parse(
            "number=20/1d, prefix4=500/1h,ipv4/24=600/30m,ipv6/48=600/90s,country=5000/1h,DE=50000/1h",
        )
        .unwrap();
        let all: Vec<String> = read
            .general
            .iter()
            .map(|quota| format!("{} {} {}", quota.of, quota.limit.count, quota.limit.period_ms))
            .collect();
        let expected = [
            "number 20 86400000",
            "prefix4 500 3600000",
            "ipv4/24 600 1800000",
            "ipv6/48 600 90000",
            "country 5000 3600000",
        ];
        assert_eq!(all, expected);
        let (country, limit) = read.countries[0];
        assert_eq!((country.as_str(), limit.count), ("DE", 50_000));
        assert_eq!(QuotaSettings::parse(""), Some(QuotaSettings::default()));
    }

    #[test]
    fn what_is_no_quota_is_refused() {
        for text in [
            "number",
            "number=20",
            "number=0/1h",
            "number=20/1",
            "number=20/h",
            "number=20/32d",
            "number=20/1é",
            "prefix=20/1h",
            "prefix9=20/1h",
            "ipv4/33=20/1h",
            "ipv6/4=20/1h",
            "Germany=20/1h",
            "de=20/1h",
            "number=20/1h,number=30/1h",
        ] {
            assert_eq!(QuotaSettings::parse(text), None, "{text}");
        }
    }
}
