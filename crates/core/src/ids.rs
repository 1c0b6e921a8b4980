//! Identifiers whose formats can't change later (ARCHITECTURE.md): account ids, buckets and request ids.

use std::fmt;

use crate::time::Timestamp;

/// Names an account: a positive random 63-bit number, shown in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(i64);

impl AccountId {
    /// An id from its number; `None` unless positive.
    pub fn new(number: i64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// An id from 64 random bits.
    pub fn from_entropy(entropy: u64) -> Self {
        // 63 bits are left after the shift, so the conversion holds; zero becomes one.
        Self(i64::try_from(entropy >> 1).unwrap_or(1).max(1))
    }

    /// The number.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The shard of an account, 0 to 255: drawn when the account is made, stored, and the first column of every key of
/// account data in both backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u8);

/// Where an account's rows are: its bucket and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// The shard.
    pub bucket: Bucket,
    /// The account.
    pub id: AccountId,
}

impl AccountKey {
    /// Where a new account goes: the low byte of its random id spreads accounts evenly. The bucket is stored with the account
    /// and from then on read, never computed again.
    pub fn of_new(id: AccountId) -> Self {
        let [.., low] = id.number().to_be_bytes();
        Self {
            bucket: Bucket(low),
            id,
        }
    }
}

/// Names a verification request: 48 bits of creation time in milliseconds and 64 random bits, written as 19 base62
/// digits (ASCII order, so ids sort by time). With the account it finds the row without any further index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    created_at: Timestamp,
    random: u64,
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of a written request id: 62¹⁹ exceeds 2¹¹².
const REQUEST_ID_DIGITS: usize = 19;
/// The lower digits that one 64-bit number holds: 62¹⁰ is below 2⁶⁰.
const LOW_DIGITS: usize = 10;
const LOW_VALUES: u128 = 62_u128.pow(10);
const TIME_BITS: u32 = 48;

impl RequestId {
    /// An id from its parts. The time is the account's; only its low 48 bits count (they last until the year 10889).
    pub const fn new(created_at: Timestamp, random: u64) -> Self {
        Self {
            created_at: Timestamp::from_millis(created_at.millis() & ((1 << TIME_BITS) - 1)),
            random,
        }
    }

    /// When the request was made, on the account's clock.
    pub const fn created_at(self) -> Timestamp {
        self.created_at
    }

    /// The random half.
    pub const fn random(self) -> u64 {
        self.random
    }

    /// Reads a written id; `None` unless it is exactly what [`fmt::Display`] would write.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != REQUEST_ID_DIGITS {
            return None;
        }
        let mut number: u128 = 0;
        for byte in text.bytes() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                b'a'..=b'z' => byte - b'a' + 36,
                _ => return None,
            };
            number = number * 62 + u128::from(digit);
        }
        let millis = i64::try_from(number >> 64)
            .ok()
            .filter(|millis| millis >> TIME_BITS == 0)?;
        let random = u64::try_from(number & u128::from(u64::MAX)).ok()?;
        Some(Self {
            created_at: Timestamp::from_millis(millis),
            random,
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u128::from(self.created_at.millis().unsigned_abs());
        let number = (millis << 64) | u128::from(self.random);
        let mut digits = [b'0'; REQUEST_ID_DIGITS];
        let (high, low) = digits.split_at_mut(REQUEST_ID_DIGITS - LOW_DIGITS);
        // Both halves fit 64 bits, whose division costs a tenth of that of 128 bits; every answer writes an id.
        for (half, digits) in [(number / LOW_VALUES, high), (number % LOW_VALUES, low)] {
            let mut rest = u64::try_from(half).unwrap_or(0);
            for digit in digits.iter_mut().rev() {
                *digit = BASE62[usize::try_from(rest % 62).unwrap_or(0)];
                rest /= 62;
            }
        }
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_reads_back_and_sorts_by_time() {
        let mut last = String::new();
        for (millis, random) in [(0, 0), (1, u64::MAX), (1_790_000_000_000, 7), ((1 << 48) - 1, u64::MAX)] {
            let id = RequestId::new(Timestamp::from_millis(millis), random);
            let text = id.to_string();
            assert_eq!(text.len(), 19);
            assert_eq!(RequestId::parse(&text), Some(id));
            assert!(text > last);
            last = text;
        }
    }

    #[test]
    fn what_is_no_request_id_is_refused() {
        for text in [
            "",
            "0",
            "zzzzzzzzzzzzzzzzzzz",
            "000000000000000000-",
            "00000000000000000000",
            "ééééééééé0",
        ] {
            assert_eq!(RequestId::parse(text), None, "{text:?} passed");
        }
    }
}
