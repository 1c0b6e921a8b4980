//! The ledger's entries, and the chain of hashes that shows tampering: each entry carries the hash of the one before it in
//! its account, so nobody can change, drop or insert one without every later hash, and the head, coming out different.

use std::fmt;

use ring::digest;

use crate::ids::{AccountKey, RequestId};
use crate::money::Credits;
use crate::time::Timestamp;

/// What the hash of an entry begins with; another layout would have another name (docs/money.md, "The chain").
const ENTRY_DOMAIN: &[u8] = b"countersign.entry.1";

/// Why an entry stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Credit bought.
    Purchase,
    /// The fee of a request.
    Charge,
    /// A fee given back.
    Refund,
    /// Credit that got too old.
    Lapse,
    /// A correction by the operator.
    Adjustment,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Purchase,
        Self::Charge,
        Self::Refund,
        Self::Lapse,
        Self::Adjustment,
    ];

    /// The name in tables, exports and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Lapse => "lapse",
            Self::Adjustment => "adjustment",
        }
    }

    /// The number in the books and in the hash of an entry. It never changes.
    pub const fn number(self) -> u8 {
        match self {
            Self::Purchase => 1,
            Self::Charge => 2,
            Self::Refund => 3,
            Self::Lapse => 4,
            Self::Adjustment => 5,
        }
    }

    /// The kind with that number.
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| i64::from(kind.number()) == number)
    }
}

/// Why an operator adjusts a balance: one line of 1 to 200 bytes. Entries hold no personal data; the operator keeps to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentReason(String);

impl AdjustmentReason {
    /// The longest one, in bytes.
    pub const MAX_BYTES: usize = 200;

    /// Takes 1 to 200 bytes on one line; blanks around them don't count.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let one_line = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.chars().any(char::is_control);
        one_line.then(|| Self(text.to_owned()))
    }

    /// A reason out of our own books.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 of a ledger entry. Its text is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryHash([u8; 32]);

impl EntryHash {
    /// What the first entry carries: there is none before it.
    pub const NONE: Self = Self([0; 32]);

    /// A hash out of our own books.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryHash({self})")
    }
}

/// One line of an account's ledger. It holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Whose ledger.
    pub account: AccountKey,
    /// Counts the account's entries from 1.
    pub number: u64,
    /// Why.
    pub kind: EntryKind,
    /// What it adds to the balance; negative for a charge or a lapse.
    pub amount: Credits,
    /// The balance after it.
    pub balance_after: Credits,
    /// The request that was charged or refunded.
    pub request: Option<RequestId>,
    /// Why the operator adjusted the balance; adjustments alone have one.
    pub reason: Option<AdjustmentReason>,
    /// When it was booked, on the account's clock; never before the entry before it.
    pub at: Timestamp,
    /// The hash of the entry before it; [`EntryHash::NONE`] for the first.
    pub previous: EntryHash,
}

impl LedgerEntry {
    /// SHA-256 over all that the entry says, the hash of the one before included. Integers are big-endian, 64 bits, but the
    /// kind, which is one byte; an entry without a request has zeros in its place (docs/money.md, "The chain").
    pub fn hash(&self) -> EntryHash {
        let (request_at, request_random) = self
            .request
            .map_or((0, 0), |request| (request.created_at().millis(), request.random()));
        let mut bytes = [0; 256];
        let mut length = 0;
        let mut push = |part: &[u8]| {
            if let Some(place) = bytes.get_mut(length..length + part.len()) {
                place.copy_from_slice(part);
                length += part.len();
            }
        };
        push(ENTRY_DOMAIN);
        push(&self.account.id.number().to_be_bytes());
        push(&self.number.to_be_bytes());
        push(&[self.kind.number()]);
        push(&self.amount.micros().to_be_bytes());
        push(&self.balance_after.micros().to_be_bytes());
        push(&self.at.millis().to_be_bytes());
        push(&request_at.to_be_bytes());
        push(&request_random.to_be_bytes());
        push(self.previous.as_bytes());
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(bytes.get(..length).unwrap_or_default());
        context.update(self.reason.as_ref().map_or("", AdjustmentReason::as_str).as_bytes());
        let digest = context.finish();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        EntryHash(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, Bucket};

    fn entry() -> LedgerEntry {
        LedgerEntry {
            account: AccountKey {
                bucket: Bucket(3),
                id: AccountId::new(7).unwrap(),
            },
            number: 2,
            kind: EntryKind::Charge,
            amount: Credits::from_micros(-10_000),
            balance_after: Credits::from_micros(990_000),
            request: Some(RequestId::new(Timestamp::from_millis(1_790_000_000_000), 42)),
            reason: None,
            at: Timestamp::from_millis(1_790_000_000_001),
            previous: EntryHash::NONE,
        }
    }

    #[test]
    fn the_hash_of_an_entry_never_changes_its_layout() {
        // Computed apart from this program, with Python's struct and hashlib as docs/money.md shows.
        let expected = "b2819b5bae8c654eec973421049cfec8a9dd92d8acdb252e9842197abbe0f6f3";
        assert_eq!(entry().hash().to_string(), expected);
    }

    #[test]
    fn a_hash_is_read_as_it_is_written_and_nothing_else_is() {
        let text = entry().hash().to_string();
        assert_eq!(EntryHash::parse(&text), Some(entry().hash()));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
            &"ü".repeat(32),
        ] {
            assert_eq!(EntryHash::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_hash_covers_every_field() {
        type Change = fn(&mut LedgerEntry);
        let changes: [Change; 9] = [
            |entry| entry.account.id = AccountId::new(8).unwrap(),
            |entry| entry.number += 1,
            |entry| entry.kind = EntryKind::Refund,
            |entry| entry.amount = -entry.amount,
            |entry| entry.balance_after += Credits::from_micros(1),
            |entry| entry.request = None,
            |entry| entry.reason = AdjustmentReason::new("x"),
            |entry| entry.at = entry.at.plus_millis(1),
            |entry| entry.previous = EntryHash::from_bytes([1; 32]),
        ];
        for change in changes {
            let mut other = entry();
            change(&mut other);
            assert_ne!(other.hash(), entry().hash(), "{other:?}");
        }
    }

    #[test]
    fn a_reason_is_one_line_that_says_something() {
        assert_eq!(AdjustmentReason::new(" goodwill ").unwrap().as_str(), "goodwill");
        for text in ["", "  ", "two\nlines", &"x".repeat(201)] {
            assert_eq!(AdjustmentReason::new(text), None, "{text:?}");
        }
    }
}
