//! The country of a phone number, as statistics are broken down by it: its ISO region, else its calling code. `Country::of` is
//! called on the writer's thread for each new number, so it goes without the plans' regular expressions: a calling code of one
//! country is looked up, a shared one has an automaton (`shared_plan`).

mod shared_plan;

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber as Parsed};

use crate::phone::PhoneNumber;
use shared_plan::{Belongs, SharedPlan};

/// Calling codes have at most so many digits.
const MAX_CODE_DIGITS: usize = 3;
const CALLING_CODES: usize = 1_000;
/// Digits of the largest `u64`.
const MAX_DIGITS: usize = 20;

/// A country in statistics: two letters of ISO 3166 where the numbering plans tell it, `XT` for the sandbox's numbers, else
/// `+` and the calling code (numbers that a shared plan gives to none of its countries, and satellite or international ones).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 4]);

/// Whom a calling code belongs to.
enum Owner {
    Nobody,
    One(Country),
    /// To several, with their plan once it was asked for.
    Shared(OnceLock<Option<Box<SharedPlan>>>),
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
        (true, _) => Owner::Shared(OnceLock::new()),
        // A code of no country (satellites, international services) has a region of digits.
        (false, region) => Owner::One(
            region
                .and_then(|region| Country::parse(&region.to_string()))
                .unwrap_or_else(|| Country::calling_code(code)),
        ),
    }
}

/// A number's decimal digits, at the end of the buffer.
fn write_digits(mut number: u64, buffer: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut first = MAX_DIGITS;
    while number > 0 && first > 0 {
        first -= 1;
        buffer[first] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    &buffer[first..]
}

impl Country {
    /// The sandbox's numbers: `XT` is for users to assign, and no country.
    pub const SANDBOX: Self = Self(*b"XT\0\0");

    /// The country of a number.
    pub fn of(phone: PhoneNumber) -> Self {
        if phone.is_sandbox() {
            return Self::SANDBOX;
        }
        let mut buffer = [0; MAX_DIGITS];
        let digits = write_digits(phone.digits(), &mut buffer);
        let mut code = 0;
        for (place, digit) in digits.iter().enumerate().take(MAX_CODE_DIGITS) {
            code = 10 * code + usize::from(digit - b'0');
            match OWNERS.get(code) {
                None | Some(Owner::Nobody) => {}
                Some(Owner::One(country)) => return *country,
                Some(Owner::Shared(plan)) => {
                    let plan = plan.get_or_init(|| SharedPlan::read(code).map(Box::new));
                    let belongs = plan.as_ref().map(|plan| plan.country(&digits[place + 1..]));
                    return match belongs.unwrap_or(Belongs::Unsure) {
                        Belongs::To(country) => country,
                        Belongs::ToNobody => Self::calling_code(code),
                        Belongs::Unsure => Self::by_the_plans(phone).unwrap_or_else(|| Self::calling_code(code)),
                    };
                }
            }
        }
        // No number without a known calling code passes `PhoneNumber::parse`.
        Self::calling_code(0)
    }

    /// By the numbering plans' own expressions.
    fn by_the_plans(phone: PhoneNumber) -> Option<Self> {
        let parsed = Parsed::parse(phone.to_string(), None).ok()?;
        Self::parse(&parsed.get_region_code()?.to_string())
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
    use rlibphonenumber::interfaces::AsOriginal as _;

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

    /// What `Country::of` did before it had automata, and must still do: books were summed up by it.
    fn by_the_plans(code: usize, digits: u64) -> Country {
        Country::by_the_plans(PhoneNumber::from_stored(digits)).unwrap_or_else(|| Country::calling_code(code))
    }

    /// Codes that several countries share.
    fn shared_codes() -> impl Iterator<Item = (usize, i32)> {
        (1..1_000_usize).filter_map(|code| {
            let number = i32::try_from(code).unwrap();
            let regions = PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(number)?;
            (regions.len() > 1).then_some((code, number))
        })
    }

    #[test]
    fn numbers_of_a_shared_calling_code_belong_where_the_numbering_plans_say() {
        let mut random = 7_u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        let mut found = std::collections::BTreeSet::new();
        for (code, calling_code) in shared_codes() {
            let start = code.to_string();
            let mut numbers: Vec<String> = Vec::new();
            for _ in 0..2_000 {
                let length = 1 + next(14 - start.len());
                numbers.push((0..length).map(|_| char::from(b"0123456789"[next(10)])).collect());
            }
            // Real ones, and such as differ from a real one in a digit or two.
            let regions = PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(calling_code);
            for region in regions.unwrap() {
                let plan = PHONE_NUMBER_UTIL.as_original().get_metadata_for_region(region).unwrap();
                for kind in [
                    &plan.mobile,
                    &plan.fixed_line,
                    &plan.toll_free,
                    &plan.voip,
                    &plan.premium_rate,
                ] {
                    let example = kind.original.example_number();
                    for _ in 0..if example.is_empty() { 0 } else { 150 } {
                        let mut changed = example.as_bytes().to_vec();
                        for _ in 0..next(3) {
                            let place = next(changed.len());
                            changed[place] = b"0123456789"[next(10)];
                        }
                        numbers.push(String::from_utf8(changed).unwrap());
                    }
                }
            }
            for national in numbers {
                let digits: u64 = format!("{start}{national}").parse().unwrap();
                let country = Country::of(PhoneNumber::from_stored(digits));
                assert_eq!(country, by_the_plans(code, digits), "+{start} {national}");
                found.insert(country);
            }
        }
        assert!(found.len() > 60, "only {found:?}");
    }

    #[test]
    fn every_shared_calling_code_has_an_automaton_and_all_of_them_are_small() {
        let mut bytes = 0;
        for (code, _) in shared_codes() {
            let plan = SharedPlan::read(code);
            bytes += plan.unwrap_or_else(|| panic!("+{code} has none")).bytes();
        }
        assert!(bytes < 1 << 20, "{bytes} bytes");
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for text in ["", "I", "it", "ITA", "+", "+1234", "+x", "XTé"] {
            assert_eq!(Country::parse(text), None, "{text:?} passed");
        }
    }
}
