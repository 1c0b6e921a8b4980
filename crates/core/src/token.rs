//! API tokens: base64url of version, account id, 32 random bytes and a checksum, so that secret scanners recognise a
//! leaked one and the shard is known without a look-up. The token itself is stored only sealed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use crate::ids::AccountId;

const VERSION: u8 = 1;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const TOKEN_BYTES: usize = 1 + 8 + SECRET_BYTES + CHECKSUM_BYTES;
/// Characters of a written token.
pub const TOKEN_LENGTH: usize = TOKEN_BYTES / 3 * 4;

/// A well-formed API token. Its `Debug` output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken {
    text: String,
    account: AccountId,
}

impl ApiToken {
    /// A new token of an account from 32 random bytes.
    pub fn new(account: AccountId, secret: [u8; SECRET_BYTES]) -> Self {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&account.number().to_be_bytes());
        bytes.extend_from_slice(&secret);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        Self {
            text: URL_SAFE_NO_PAD.encode(&bytes),
            account,
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
        if signed[0] != VERSION || checksum(signed) != sum {
            return None;
        }
        let number = i64::from_be_bytes(signed[1..9].try_into().ok()?);
        Some(Self {
            text: text.to_owned(),
            account: AccountId::new(number)?,
        })
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
}
