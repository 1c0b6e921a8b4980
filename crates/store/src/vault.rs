//! Sealing at rest (P7): codes, entered codes, tokens, reports and kept answers under keys derived from the master key, which
//! lives outside the database. Also the keyed look-up of tokens, so that a backup tells nobody a token.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::{AccountId, ApiToken, PhoneNumber};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{error::Unspecified, hmac};

use crate::types::StoreError;

/// The key that everything sealed hangs on: 32 random bytes, kept in a file beside the database or elsewhere.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A master key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be exported.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl MasterKey {
    /// Which key this is, for people to compare; nobody learns the key from it.
    pub fn fingerprint(&self) -> Result<KeyFingerprint, StoreError> {
        let check = Vault::new(self)?.key_check();
        KeyFingerprint::of_check(&check).ok_or(StoreError::Damaged("the key's fingerprint"))
    }
}

/// Tells master keys apart: the first 64 bits of a keyed hash, which every backup carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFingerprint([u8; 8]);

impl KeyFingerprint {
    /// The fingerprint of the key that made this check value.
    pub(crate) fn of_check(check: &[u8]) -> Option<Self> {
        check.first_chunk().copied().map(Self)
    }
}

/// Four groups of four hexadecimal digits.
impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, pair) in self.0.chunks(2).enumerate() {
            let dash = if place == 0 { "" } else { "-" };
            f.write_str(dash)?;
            for byte in pair {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What a sealed value is, so that none can be put in another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A verification code.
    Code,
    /// A code that a person entered.
    EnteredCode,
    /// An API token.
    Token,
    /// A delivery report's body.
    Report,
    /// A kept first answer.
    Answer,
    /// What the receiver of a delivery report answered.
    ReportResponse,
    /// The code of somebody who signs in to the pages.
    LoginCode,
    /// A recipient's e-mail address.
    Email,
}

/// The keys derived from the master key. Nonces count on from a random start: unique in this process by counting, and
/// across processes by the start's 96 random bits.
pub struct Vault {
    seal: LessSafeKey,
    lookup: hmac::Key,
    fingerprint: hmac::Key,
    numbers: hmac::Key,
    nonce_start: u128,
    nonces: AtomicU64,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(master: &MasterKey, label: &[u8]) -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, b"countersign")
        .extract(&master.0)
        .expand(&[label], Length(32))?
        .fill(&mut key)?;
    Ok(key)
}

impl Vault {
    /// Derives the keys.
    pub fn new(master: &MasterKey) -> Result<Self, StoreError> {
        Self::derive_all(master).map_err(|Unspecified| StoreError::Database("no randomness for the vault".into()))
    }

    fn derive_all(master: &MasterKey) -> Result<Self, Unspecified> {
        let mut start = [0; 16];
        SystemRandom::new().fill(&mut start)?;
        Ok(Self {
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derive(master, b"seal")?)?),
            lookup: hmac::Key::new(hmac::HMAC_SHA256, &derive(master, b"token lookup")?),
            fingerprint: hmac::Key::new(hmac::HMAC_SHA256, &derive(master, b"fingerprint")?),
            numbers: hmac::Key::new(hmac::HMAC_SHA256, &derive(master, b"numbers")?),
            nonce_start: u128::from_be_bytes(start),
            nonces: AtomicU64::new(0),
        })
    }

    /// Under which a token is looked up.
    pub(crate) fn token_lookup(&self, token: &ApiToken) -> [u8; 32] {
        self.keyed_hash(token.as_str().as_bytes())
    }

    /// Under which a secret that isn't an API token is looked up: what a session's cookie holds, a one-time link. `kind` keeps
    /// one kind from passing for another; no API token has a space in it.
    pub(crate) fn secret_lookup(&self, kind: &[u8], secret: &[u8]) -> [u8; 32] {
        self.keyed_hash(&[kind, b" ", secret].concat())
    }

    /// A keyed hash of a text of an account.
    pub(crate) fn fingerprint(&self, account: AccountId, text: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.fingerprint);
        context.update(&account.number().to_be_bytes());
        context.update(text);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    /// A keyed hash of an account's recipient, for sketches of how many there were: no two accounts' hashes can be compared.
    pub(crate) fn number_hash(&self, account: AccountId, phone: PhoneNumber) -> u64 {
        let mut text = [0; 16];
        text[..8].copy_from_slice(&account.number().to_be_bytes());
        text[8..].copy_from_slice(&phone.digits().to_be_bytes());
        let hash = hmac::sign(&self.numbers, &text);
        hash.as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// A value that only this master key makes: stored once, it tells a wrong key at start.
    pub(crate) fn key_check(&self) -> [u8; 32] {
        self.keyed_hash(b"countersign master key")
    }

    fn keyed_hash(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.lookup, text).as_ref());
        hash
    }

    /// Seals a value for one purpose and one row (`place`: the row's key).
    pub(crate) fn seal(&self, purpose: Purpose, place: &[i64], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let count = u128::from(self.nonces.fetch_add(1, Ordering::Relaxed));
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.nonce_start.wrapping_add(count).to_be_bytes()[16 - NONCE_LEN..]);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut tail = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        tail.extend_from_slice(plain);
        self.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), context(purpose, place), &mut tail)
            .map_err(|Unspecified| StoreError::Database("could not seal a value".into()))?;
        sealed.extend_from_slice(&tail);
        Ok(sealed)
    }

    /// Opens what [`Vault::seal`] sealed for the same purpose and row.
    pub(crate) fn open(&self, purpose: Purpose, place: &[i64], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Some((nonce, tail)) = sealed.split_at_checked(NONCE_LEN) else {
            return Err(StoreError::Damaged("a sealed value"));
        };
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|Unspecified| StoreError::Damaged("a sealed value"))?;
        let mut tail = tail.to_vec();
        let plain = self
            .seal
            .open_in_place(nonce, context(purpose, place), &mut tail)
            .map_err(|Unspecified| StoreError::Damaged("a sealed value"))?
            .len();
        tail.truncate(plain);
        Ok(tail)
    }
}

/// The associated data: purpose and row, so that a value moved to another row doesn't open.
fn context(purpose: Purpose, place: &[i64]) -> Aad<Vec<u8>> {
    let mut data = Vec::with_capacity(1 + 8 * place.len());
    data.push(match purpose {
        Purpose::Code => 1,
        Purpose::EnteredCode => 2,
        Purpose::Token => 3,
        Purpose::Report => 4,
        Purpose::Answer => 5,
        Purpose::ReportResponse => 6,
        Purpose::LoginCode => 16,
        Purpose::Email => 17,
    });
    for part in place {
        data.extend_from_slice(&part.to_be_bytes());
    }
    Aad::from(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_in_its_place_only() {
        let vault = Vault::new(&MasterKey::from_bytes([1; 32])).unwrap();
        let sealed = vault.seal(Purpose::Code, &[1, 2], b"4711").unwrap();
        assert_eq!(vault.open(Purpose::Code, &[1, 2], &sealed).unwrap(), b"4711");
        assert!(vault.open(Purpose::Code, &[1, 3], &sealed).is_err());
        assert!(vault.open(Purpose::EnteredCode, &[1, 2], &sealed).is_err());
        let other = Vault::new(&MasterKey::from_bytes([2; 32])).unwrap();
        assert!(other.open(Purpose::Code, &[1, 2], &sealed).is_err());
        assert_ne!(sealed, vault.seal(Purpose::Code, &[1, 2], b"4711").unwrap());
        assert!(vault.open(Purpose::Code, &[1, 2], &sealed[..5]).is_err());
    }
}
