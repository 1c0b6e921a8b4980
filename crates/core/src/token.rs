//! API tokens: base64url of version, account id, 32 random bytes and a checksum, so that secret scanners recognise a
//! leaked one and the shard is known without a look-up. The token itself is stored only sealed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use crate::ids::AccountId;
use crate::time::{DAY_MS, Timestamp};

/// The first byte, which tells the kind: 1 for a live token, 2 for a test-mode one.
const LIVE_VERSION: u8 = 1;
const TEST_VERSION: u8 = 2;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const TOKEN_BYTES: usize = 1 + 8 + SECRET_BYTES + CHECKSUM_BYTES;
/// Characters of a written token.
pub const TOKEN_LENGTH: usize = TOKEN_BYTES / 3 * 4;

/// Which of an account's two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// Reaches people and costs money.
    Live,
    /// Reaches the sandbox's numbers alone, and costs nothing.
    Test,
}

/// Which token asks for something, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenClaim {
    /// Its kind.
    pub kind: TokenKind,
    /// Its generation: each rotation of an account's token of that kind counts one on.
    pub generation: u32,
}

impl TokenClaim {
    /// What no token did: the pages and the books themselves. The present live token stands for it.
    pub const PRESENT: Self = Self {
        kind: TokenKind::Live,
        generation: 0,
    };
}

/// How long a token still works that was rotated away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grace {
    /// It is refused from the rotation on.
    None,
    /// One hour.
    Hour,
    /// 24 hours.
    Day,
    /// Seven days: the longest that there is.
    Week,
}

impl Grace {
    /// All, the shortest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Hour, Self::Day, Self::Week];

    /// Its length in milliseconds.
    pub const fn millis(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Hour => DAY_MS / 24,
            Self::Day => DAY_MS,
            Self::Week => 7 * DAY_MS,
        }
    }

    /// As it is written: `none`, `1h`, `24h` or `7d`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Reads [`Grace::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grace| grace.name() == name)
    }
}

/// How an account's token of one kind stands: its generation, and until when the one before it still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenStanding {
    /// The present token's generation; 0 where there is none yet.
    pub generation: u32,
    /// Until when the token before it works, real time; `None` where it doesn't.
    pub grace_until: Option<Timestamp>,
}

impl TokenStanding {
    /// The first token of its kind.
    pub const FIRST: Self = Self {
        generation: 1,
        grace_until: None,
    };
    /// No token yet.
    pub const NONE: Self = Self {
        generation: 0,
        grace_until: None,
    };

    /// Whether a token of that generation works at that real time: the present one, and during a grace the one before it.
    pub fn accepts(self, generation: u32, real_now: Timestamp) -> bool {
        let is_present = generation == self.generation;
        let is_in_grace = generation.checked_add(1) == Some(self.generation)
            && self.grace_until.is_some_and(|until| real_now < until);
        generation > 0 && (is_present || is_in_grace)
    }

    /// After a rotation. Of the tokens before, the present one alone gets a grace: one that was in its grace is refused.
    #[must_use]
    pub fn rotated(self, grace: Grace, real_now: Timestamp) -> Self {
        let has_grace = self.generation > 0 && grace != Grace::None;
        Self {
            generation: self.generation.saturating_add(1),
            grace_until: has_grace.then(|| real_now.plus_millis(grace.millis())),
        }
    }
}

/// A well-formed API token. Its `Debug` output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken {
    text: String,
    account: AccountId,
    kind: TokenKind,
}

impl ApiToken {
    /// A new live token of an account from 32 random bytes.
    pub fn new(account: AccountId, secret: [u8; SECRET_BYTES]) -> Self {
        Self::of_kind(TokenKind::Live, account, secret)
    }

    /// A new token of a kind, from 32 random bytes.
    pub fn of_kind(kind: TokenKind, account: AccountId, secret: [u8; SECRET_BYTES]) -> Self {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(match kind {
            TokenKind::Live => LIVE_VERSION,
            TokenKind::Test => TEST_VERSION,
        });
        bytes.extend_from_slice(&account.number().to_be_bytes());
        bytes.extend_from_slice(&secret);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        Self {
            text: URL_SAFE_NO_PAD.encode(&bytes),
            account,
            kind,
        }
    }

    /// Reads a token; `None` where its version, length or checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TOKEN_LENGTH {
            return None;
        }
        let mut bytes = [0; TOKEN_BYTES];
        URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (signed, sum) = bytes.split_at(TOKEN_BYTES - CHECKSUM_BYTES);
        if checksum(signed) != sum {
            return None;
        }
        let kind = match signed[0] {
            LIVE_VERSION => TokenKind::Live,
            TEST_VERSION => TokenKind::Test,
            _ => return None,
        };
        let number = i64::from_be_bytes(signed[1..9].try_into().ok()?);
        Some(Self {
            text: text.to_owned(),
            account: AccountId::new(number)?,
            kind,
        })
    }

    /// Which of the account's tokens it is.
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The account that the token names. It proves nothing until the token was looked up.
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The token as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key that signs this account's delivery reports: SHA-256 of the token. It exists in memory only (P7).
    pub fn report_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, self.text.as_bytes()).as_ref());
        key
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..CHECKSUM_BYTES]);
    sum
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiToken(account {})", self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_changed_one_does_not() {
        let account = AccountId::new(4711).unwrap();
        let token = ApiToken::new(account, [7; 32]);
        assert_eq!(token.as_str().len(), 60);
        assert_eq!(ApiToken::parse(token.as_str()).unwrap().account(), account);
        for place in 0..token.as_str().len() {
            let mut changed = token.as_str().to_owned().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert!(
                ApiToken::parse(std::str::from_utf8(&changed).unwrap()).is_none(),
                "change at {place} passed"
            );
        }
        assert!(!format!("{token:?}").contains(token.as_str()));
    }

    #[test]
    fn both_kinds_are_told_by_their_first_letters_whoever_looks_for_leaked_ones() {
        for account in [1, 4711, i64::MAX] {
            let account = AccountId::new(account).unwrap();
            for (kind, second_letters) in [(TokenKind::Live, 'Q'..='X'), (TokenKind::Test, 'g'..='n')] {
                let token = ApiToken::of_kind(kind, account, [7; 32]);
                assert_eq!(ApiToken::parse(token.as_str()).unwrap().kind(), kind);
                let mut letters = token.as_str().chars();
                assert_eq!(letters.next(), Some('A'));
                assert!(second_letters.contains(&letters.next().unwrap()), "{}", token.as_str());
            }
        }
    }

    #[test]
    fn a_rotated_token_works_until_its_grace_is_over_and_no_older_one_does() {
        let now = Timestamp::from_millis(1_000);
        let second = TokenStanding::FIRST.rotated(Grace::Hour, now);
        let last = now.plus_millis(3_599_999);
        assert!(second.accepts(1, last) && second.accepts(2, last));
        assert!(!second.accepts(1, now.plus_millis(3_600_000)) && second.accepts(2, now.plus_millis(3_600_000)));
        let third = second.rotated(Grace::Week, now);
        assert!(!third.accepts(1, now) && third.accepts(2, now) && third.accepts(3, now));
        assert!(!third.accepts(4, now) && !third.accepts(0, now));
        let fourth = third.rotated(Grace::None, now);
        assert!(!fourth.accepts(3, now) && fourth.accepts(4, now));
        // Where there was no token, there is none to be let go on, and none of generation 0 opens anything.
        assert_eq!(TokenStanding::NONE.rotated(Grace::Day, now), TokenStanding::FIRST);
        assert!(!TokenStanding::NONE.accepts(0, now));
        assert_eq!(Grace::ALL.map(|grace| Grace::parse(grace.name())), Grace::ALL.map(Some));
    }
}
