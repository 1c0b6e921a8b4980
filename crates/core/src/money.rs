//! Money: integer micro-credits in a type of its own. No float ever touches a sum.
//!
//! One credit is one US dollar of messages. On the wire an amount is a JSON number without binary noise
//! (docs/api.md, "Money"), written and read digit by digit here.

use std::fmt;
use std::iter::Sum;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// Micro-credits in one credit.
pub const MICROS_PER_CREDIT: i64 = 1_000_000;

/// An amount of prepaid credit, in micro-credits. Negative amounts occur only as ledger entries (a charge, a lapse).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an amount: write it like 10 or 0.01, with at most six decimals")]
pub struct ParseCreditsError(String);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount from micro-credits.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The amount in micro-credits.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether the amount is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` where it leaves 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Parses a decimal amount with at most six decimals, such as `10`, `0.01` or `-2.5`.
    pub fn parse(text: &str) -> Result<Self, ParseCreditsError> {
        parse_decimal(text).ok_or_else(|| ParseCreditsError(text.chars().take(40).collect()))
    }
}

impl std::ops::Add for Credits {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::Sub for Credits {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl std::ops::Neg for Credits {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl std::ops::AddAssign for Credits {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::ops::SubAssign for Credits {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| sum + amount)
    }
}

impl fmt::Display for Credits {
    /// The shortest exact decimal: `10`, `0.01`, `-2.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let (whole, fraction) = (
            micros / MICROS_PER_CREDIT.unsigned_abs(),
            micros % MICROS_PER_CREDIT.unsigned_abs(),
        );
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credits({self})")
    }
}

impl std::str::FromStr for Credits {
    type Err = ParseCreditsError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A raw JSON number: the digits go out as they stand, through no float.
        let raw = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(D::Error::custom)
    }
}

/// Reads `[-]digits[.digits]` with at most six significant decimals; trailing zeros beyond them are harmless.
fn parse_decimal(text: &str) -> Option<Credits> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 6 {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let micros = whole.checked_mul(MICROS_PER_CREDIT)?.checked_add(fraction)?;
    Some(Credits(if negative { -micros } else { micros }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_without_noise_and_read_back_exactly() {
        for (micros, text) in [
            (10_000, "0.01"),
            (9_990_000, "9.99"),
            (10_000_000, "10"),
            (0, "0"),
            (-2_500_000, "-2.5"),
            (1, "0.000001"),
            (999_999_999_999, "999999.999999"),
        ] {
            let amount = Credits::from_micros(micros);
            assert_eq!(amount.to_string(), text);
            assert_eq!(serde_json::to_string(&amount).unwrap(), text);
            assert_eq!(serde_json::from_str::<Credits>(text).unwrap(), amount);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "-",
            ".5",
            "1.",
            "1e3",
            "0.0000001",
            "1,5",
            "+1",
            "99999999999999",
            "١",
        ] {
            assert!(Credits::parse(text).is_err(), "{text:?} passed");
        }
    }
}
