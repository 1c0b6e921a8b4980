//! The country of a phone number, as statistics are broken down by it: its ISO region, else its calling code. `Country::of` is
//! called on the writer's thread for each change of a request, so what needs no regular expressions uses none.

use std::fmt;
use std::sync::LazyLock;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber as Parsed};

use crate::phone::PhoneNumber;

/// Calling codes have at most three digits.
const CALLING_CODES: usize = 1_000;

/// A country in statistics: two letters of ISO 3166 where the numbering plans tell it, `XT` for the sandbox's numbers, else
/// `+` and the calling code (numbers that a shared plan gives to none of its countries, and satellite or international ones).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 4]);

/// Whom a calling code belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Nobody,
    One(Country),
    Shared,
}

static OWNERS: LazyLock<Vec<Owner>> = LazyLock::new(|| (0..CALLING_CODES).map(owner_of).collect());

fn owner_of(code: usize) -> Owner {
    let regions = i32::try_from(code)
        .ok()
        .and_then(|code| PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(code));
    let Some(mut regions) = regions else {
        return Owner::Nobody;
    };
    let shared = regions.len() > 1;
    match (shared, regions.next()) {
        (true, _) => Owner::Shared,
        // A code of no country (satellites, international services) has a region of digits.
        (false, region) => Owner::One(
            region
                .and_then(|region| Country::parse(&region.to_string()))
                .unwrap_or_else(|| Country::calling_code(code)),
        ),
    }
}

impl Country {
    /// The sandbox's numbers: `XT` is for users to assign, and no country.
    pub const SANDBOX: Self = Self(*b"XT\0\0");

    /// The country of a number.
    pub fn of(phone: PhoneNumber) -> Self {
        if phone.is_sandbox() {
            return Self::SANDBOX;
        }
        let digits = phone.to_string();
        let known = (1..=3).find_map(|length| {
            let code: usize = digits.get(1..=length)?.parse().ok()?;
            match OWNERS.get(code)? {
                Owner::Nobody => None,
                Owner::One(country) => Some((code, Some(*country))),
                Owner::Shared => Some((code, None)),
            }
        });
        match known {
            Some((_, Some(country))) => country,
            Some((code, None)) => Parsed::parse(&digits, None)
                .ok()
                .and_then(|parsed| parsed.get_region_code())
                .and_then(|region| Self::parse(&region.to_string()))
                .unwrap_or_else(|| Self::calling_code(code)),
            // No number without a known calling code passes `PhoneNumber::parse`.
            None => Self::calling_code(0),
        }
    }

    /// Reads what [`Country::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = match text.as_bytes() {
            [first, second] if first.is_ascii_uppercase() => second.is_ascii_uppercase(),
            [b'+', code @ ..] => (1..=3).contains(&code.len()) && code.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if !well_formed {
            return None;
        }
        let mut bytes = [0; 4];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    fn calling_code(code: usize) -> Self {
        Self::parse(&format!("+{code}")).unwrap_or(Self(*b"+0\0\0"))
    }

    /// `IT`, `XT`, `+1`.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_country_of_its_plan_and_else_its_calling_code() {
        for (digits, country) in [
            (391_234_567_890, "+39"),
            (393_471_234_567, "IT"),
            (16_502_530_000, "US"),
            (12_425_550_123, "BS"),
            (19_999_999_999, "+1"),
            (447_400_123_456, "GB"),
            (4_915_123_456_789, "DE"),
            (351_912_345_678, "PT"),
            (77_010_001_234, "KZ"),
            (79_161_234_567, "RU"),
            (80_012_345_678, "+800"),
            (9_996_610_001, "XT"),
        ] {
            let country_of = Country::of(PhoneNumber::from_stored(digits));
            assert_eq!(country_of.as_str(), country, "+{digits}");
            assert_eq!(Country::parse(country), Some(country_of));
        }
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for text in ["", "I", "it", "ITA", "+", "+1234", "+x", "XTé"] {
            assert_eq!(Country::parse(text), None, "{text:?} passed");
        }
    }
}
