//! The short code that the person types, and what they typed instead.

use std::fmt;

use subtle::ConstantTimeEq;

/// Fewest digits of a code (docs/api.md, `code_length`).
pub const MIN_CODE_LENGTH: u8 = 4;
/// Most digits of a code.
pub const MAX_CODE_LENGTH: u8 = 8;
/// Longest text that a check compares, in bytes (docs/api.md, `checkVerificationStatus`).
pub const MAX_ENTERED_CODE_BYTES: usize = 64;

/// How many digits a generated code has: 4 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLength(u8);

impl CodeLength {
    /// A length from 4 to 8, or `None`.
    pub fn new(digits: i64) -> Option<Self> {
        u8::try_from(digits)
            .ok()
            .filter(|n| (MIN_CODE_LENGTH..=MAX_CODE_LENGTH).contains(n))
            .map(Self)
    }

    /// The number of digits.
    pub const fn digits(self) -> u8 {
        self.0
    }
}

impl Default for CodeLength {
    /// Six digits, where a call names neither code nor length.
    fn default() -> Self {
        Self(6)
    }
}

/// A verification code: 4 to 8 ASCII digits. Its `Debug` output hides them: no code is ever logged (P7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    digits: [u8; 8],
    length: u8,
}

impl Code {
    /// Reads a code that a customer supplied; `None` unless it is 4 to 8 ASCII digits.
    pub fn parse(text: &str) -> Option<Self> {
        let length = u8::try_from(text.len())
            .ok()
            .filter(|n| (MIN_CODE_LENGTH..=MAX_CODE_LENGTH).contains(n))?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits = [0; 8];
        digits[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { digits, length })
    }

    /// A code drawn from 128 random bits, uniform over all digit strings of that length (leading zeros included): the
    /// remainder's bias is below 2⁻¹⁰⁰.
    pub fn from_entropy(length: CodeLength, entropy: u128) -> Self {
        // One division of 128 bits, which is slow; the digits are those of the remainder, which fits 64.
        let codes = 10_u128.pow(u32::from(length.0));
        let mut rest = u64::try_from(entropy % codes).unwrap_or(0);
        let mut digits = [0; 8];
        for digit in &mut digits[..usize::from(length.0)] {
            // The remainder is below ten, so it fits a byte.
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        Self {
            digits,
            length: length.0,
        }
    }

    /// One digit repeated: the generated codes of the sandbox's scripted numbers.
    pub fn repeated(digit: u8, length: CodeLength) -> Self {
        let mut digits = [0; 8];
        digits[..usize::from(length.0)].fill(b'0' + digit % 10);
        Self {
            digits,
            length: length.0,
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The number of digits.
    pub const fn length(&self) -> CodeLength {
        CodeLength(self.length)
    }

    /// Whether a person entered exactly this code, compared in constant time.
    pub fn matches(&self, entered: &EnteredCode) -> bool {
        self.as_str().as_bytes().ct_eq(entered.as_str().as_bytes()).into()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({} digits)", self.length)
    }
}

/// What a person typed: any text of 1 to 64 bytes. Hidden in `Debug` output, as a code is.
#[derive(Clone, PartialEq, Eq)]
pub struct EnteredCode(String);

impl EnteredCode {
    /// Takes a text of 1 to 64 bytes.
    pub fn new(text: String) -> Option<Self> {
        (1..=MAX_ENTERED_CODE_BYTES).contains(&text.len()).then_some(Self(text))
    }

    /// The text as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EnteredCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnteredCode({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_four_to_eight_ascii_digits() {
        for good in ["0000", "12345678", "007007"] {
            assert_eq!(Code::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "123", "123456789", "12a4", "12 34", "١٢٣٤", "-1234"] {
            assert!(Code::parse(bad).is_none(), "{bad:?} passed");
        }
    }

    #[test]
    fn generated_codes_use_every_digit_in_every_place_evenly() {
        let mut counts = [[0u32; 10]; 6];
        let mut state = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835_u128;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                .wrapping_add(1);
            let code = Code::from_entropy(CodeLength::default(), state ^ (state >> 64));
            for (place, digit) in code.as_str().bytes().enumerate() {
                counts[place][usize::from(digit - b'0')] += 1;
            }
        }
        for place in counts {
            assert!(place.iter().all(|&count| (1700..2300).contains(&count)), "{place:?}");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!(
            "{:?} {:?}",
            Code::parse("4711").unwrap(),
            EnteredCode::new("0815".into()).unwrap()
        );
        assert!(!shown.contains("4711") && !shown.contains("0815"), "{shown}");
    }
}
