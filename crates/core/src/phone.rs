//! Phone numbers in E.164, judged by the national numbering plans (a port of libphonenumber), and the sandbox's own range.

use std::fmt;

use rlibphonenumber::{NumberLengthType, PhoneNumber as Parsed, PhoneNumberFormat, PhoneNumberType};

/// Calling prefix of the sandbox's numbers, which no country uses (+999 66).
const SANDBOX_PREFIX: &str = "99966";
const SANDBOX_DIGITS: usize = 10;
/// E.164 allows at most fifteen digits.
const MAX_DIGITS: usize = 15;

/// A phone number that can exist: known calling code, possible length (docs/errors.md, `PHONE_NUMBER_INVALID`).
///
/// Kept as the digits of its E.164 form, which never start with zero, so a number of 64 bits holds them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(u64);

/// Whether the sandbox's numbers (+99966…) count as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxNumbers {
    /// They are valid recipients.
    Accepted,
    /// They are invalid, like any number of an unknown country.
    Refused,
    /// They are the only ones that do: a test-mode token calls.
    Only,
}

/// What the numbering plans say of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhoneDetails {
    /// ISO 3166 two-letter region, where the plan tells it (calling codes such as +1 are shared).
    pub region: Option<[u8; 2]>,
    /// Kind of line, where known.
    pub line_type: LineType,
}

/// Kind of line that a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineType {
    /// Reaches a mobile phone.
    Mobile,
    /// Reaches a fixed line.
    FixedLine,
    /// The plan doesn't tell the two apart (for instance +1).
    FixedLineOrMobile,
    /// Voice over IP.
    Voip,
    /// Premium rate, toll free, shared cost and other service numbers.
    Service,
    /// Possible, but in no known range.
    Unknown,
}

impl PhoneNumber {
    /// Reads a number as a caller writes it: E.164 digits, with or without the leading `+`, nothing between them. A trunk prefix that
    /// some write behind the calling code (`+44 0…`) is left out, so that one phone is one number, whoever counts or stops it.
    pub fn parse(text: &str, sandbox_numbers: SandboxNumbers) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if !(2..=MAX_DIGITS).contains(&digits.len())
            || digits.starts_with('0')
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        // The sandbox's range comes first: numbering plans know no +999.
        if digits.starts_with(SANDBOX_PREFIX) {
            let possible = sandbox_numbers != SandboxNumbers::Refused && digits.len() == SANDBOX_DIGITS;
            return if possible { digits.parse().ok().map(Self) } else { None };
        }
        if sandbox_numbers == SandboxNumbers::Only {
            return None;
        }
        let number = international(digits)?;
        // Said twice, a trunk prefix would leave another number than what is left reads as.
        let is_settled = number.to_string() == digits || international(&number.to_string()) == Some(number);
        is_settled.then_some(Self(number))
    }

    /// A number out of our own books, where it was put after [`PhoneNumber::parse`].
    pub const fn from_stored(digits: u64) -> Self {
        Self(digits)
    }

    /// The E.164 digits as one number.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// Whether the number is in the sandbox's range (+99966 and five digits).
    pub const fn is_sandbox(self) -> bool {
        self.0 / 100_000 == 99_966
    }

    /// Region and line type by the numbering plans.
    pub fn details(self) -> PhoneDetails {
        let unknown = PhoneDetails {
            region: None,
            line_type: LineType::Unknown,
        };
        if self.is_sandbox() {
            return unknown;
        }
        let Ok(parsed) = Parsed::parse(self.to_string(), None) else {
            return unknown;
        };
        let region = parsed
            .get_region_code()
            .and_then(|region| region.to_string().as_bytes().try_into().ok());
        let line_type = match parsed.get_type() {
            PhoneNumberType::Mobile => LineType::Mobile,
            PhoneNumberType::FixedLine => LineType::FixedLine,
            PhoneNumberType::FixedLineOrMobile => LineType::FixedLineOrMobile,
            PhoneNumberType::VoIP => LineType::Voip,
            PhoneNumberType::Unknown => LineType::Unknown,
            _ => LineType::Service,
        };
        PhoneDetails { region, line_type }
    }

    /// The number grouped as its country groups it, for people: `+39 123 456 7890`.
    pub fn grouped(self) -> String {
        if self.is_sandbox() {
            let digits = self.0.to_string();
            return format!("+{} {} {}", &digits[..3], &digits[3..6], &digits[6..]);
        }
        match Parsed::parse(self.to_string(), None) {
            Ok(parsed) => parsed.format_as(PhoneNumberFormat::International).into_owned(),
            Err(_) => self.to_string(),
        }
    }

    /// The number with its middle hidden, for logs (P7): `+39*******90`.
    pub fn masked(self) -> String {
        let digits = self.0.to_string();
        let shown = 2;
        let hidden = digits.len().saturating_sub(2 * shown);
        format!(
            "+{}{}{}",
            &digits[..shown],
            "*".repeat(hidden),
            &digits[digits.len() - shown..]
        )
    }
}

/// Loads the numbering plans (15 ms), so that the first request doesn't pay for it.
pub fn load_numbering_plans() {
    let _ = international("16502530000");
}

/// The E.164 digits of a number that can exist.
fn international(digits: &str) -> Option<u64> {
    let mut buffer = String::with_capacity(MAX_DIGITS + 1);
    buffer.push('+');
    buffer.push_str(digits);
    let parsed = Parsed::parse(&buffer, None).ok()?;
    let possible = matches!(parsed.is_possible_with_reason(), Ok(NumberLengthType::IsPossible));
    if !possible {
        return None;
    }
    let written = parsed.format_as(PhoneNumberFormat::E164);
    let written = written.strip_prefix('+').unwrap_or(&written);
    let fits = (2..=MAX_DIGITS).contains(&written.len());
    fits.then(|| written.parse().ok()).flatten()
}

impl fmt::Display for PhoneNumber {
    /// E.164 with its `+`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for PhoneNumber {
    /// Masked: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<PhoneNumber> {
        PhoneNumber::parse(text, SandboxNumbers::Accepted)
    }

    #[test]
    fn possible_numbers_pass_with_and_without_plus() {
        for text in [
            "+391234567890",
            "+19999999999",
            "+16502530000",
            "+447911123456",
            "+9996600000",
            "+4915123456789",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
            assert_eq!(parse(&text[1..]), parse(text));
        }
    }

    /// Found by a fuzzer: two spellings of one phone had limits and a STOP of their own.
    #[test]
    fn a_trunk_prefix_behind_the_calling_code_makes_no_other_number() {
        assert_eq!(parse("+440909087900"), parse("+44909087900"));
        assert_eq!(parse("+4407911123456"), parse("+447911123456"));
        assert_eq!(parse("+49015123456789"), parse("+4915123456789"));
        // In Italy the zero belongs to the number.
        assert_ne!(parse("+390612345678"), parse("+39612345678"));
        for text in ["+4400909087900", "+440909087900", "+49015123456789", "+5215512345678"] {
            if let Some(phone) = parse(text) {
                assert_eq!(parse(&phone.to_string()), Some(phone), "{text}");
            }
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let refused = [
            "",
            "+",
            "12",
            "+1",
            "+123",
            "++391234567890",
            "+39 1234567890",
            "+39-123",
            "+0391234567890",
            "abc",
            "+99912345678",
            "+9991",
            "+1650253000",
            "+165025300000",
            "+3912345678901234567",
            "+٣٩١٢٣٤٥٦٧٨٩٠",
            "+999660000",
            "+99966000000",
            "+391234567890;ext=1",
            "tel:+391234567890",
        ];
        for text in refused {
            assert_eq!(parse(text), None, "{text:?} passed");
        }
    }

    #[test]
    fn sandbox_numbers_exist_in_the_sandbox_only() {
        assert!(parse("+9996610001").unwrap().is_sandbox());
        assert_eq!(PhoneNumber::parse("+9996610001", SandboxNumbers::Refused), None);
        assert!(PhoneNumber::parse("+9996610001", SandboxNumbers::Only).is_some());
        assert_eq!(PhoneNumber::parse("+391234567890", SandboxNumbers::Only), None);
    }

    #[test]
    fn region_and_line_type_come_from_the_numbering_plan() {
        let details = parse("+447400123456").unwrap().details();
        assert_eq!(
            details,
            PhoneDetails {
                region: Some(*b"GB"),
                line_type: LineType::Mobile
            }
        );
        assert_eq!(
            parse("+16502530000").unwrap().details().line_type,
            LineType::FixedLineOrMobile
        );
        assert_eq!(
            parse("+19999999999").unwrap().details(),
            PhoneDetails {
                region: None,
                line_type: LineType::Unknown
            }
        );
    }

    #[test]
    fn debug_output_masks_the_number() {
        assert_eq!(format!("{:?}", parse("+391234567890").unwrap()), "+39********90");
    }
}
