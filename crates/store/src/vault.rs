//! Sealing at rest (P7): codes, entered codes, tokens, reports and kept answers under keys derived from the master key, which
//! lives outside the database. Also the keyed look-up of tokens, so that a backup tells nobody a token.
//!
//! While the master key is changed there are two: what is sealed is sealed under the present one, and what is opened is tried with both.
//! Which is which stands in the books (`sql::keys`); the vault is told.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use countersign_core::{AccountId, ApiToken, PhoneNumber};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{error::Unspecified, hmac};

use crate::types::StoreError;

/// The key that everything sealed hangs on: 32 random bytes, kept in a file beside the database or elsewhere.
#[derive(Clone)]
pub struct MasterKey {
    bytes: [u8; 32],
    /// The key that is to follow, where there is one.
    next: Option<[u8; 32]>,
}

impl MasterKey {
    /// A master key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, next: None }
    }

    /// The same with the key that is to follow it: books whose key is being changed open with both only, and books whose key was
    /// changed open with either in the other's place.
    #[must_use]
    pub const fn followed_by(self, next: &Self) -> Self {
        Self {
            bytes: self.bytes,
            next: Some(next.bytes),
        }
    }

    /// The bytes, to be exported.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
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
    /// A wrong code that a person entered.
    EnteredCode,
    /// What tells a code that was used from others.
    UsedCode,
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
    /// What an idempotency key was used for.
    Fingerprint,
    /// Keys that outlive the master key.
    CarriedKeys,
}

/// The keys derived from the master key, or from two while it is changed. Nonces count on from a random start: unique in this process
/// by counting, and across processes by the start's 96 random bits.
pub struct Vault {
    ring: RwLock<Ring>,
    nonce_start: u128,
    nonces: AtomicU64,
}

/// The keys in use.
struct Ring {
    present: Arc<Keys>,
    other: Option<Other>,
    carried: Carried,
}

/// A second set of keys.
enum Other {
    /// Known, and not in use yet: what others sealed under it opens.
    Next(Arc<Keys>),
    /// Not in use any more, while something sealed under it may be left.
    Former(Arc<Keys>),
}

impl Other {
    const fn keys(&self) -> &Arc<Keys> {
        match self {
            Self::Next(keys) | Self::Former(keys) => keys,
        }
    }
}

/// What hangs on one master key.
struct Keys {
    seal: LessSafeKey,
    lookup: hmac::Key,
    check: [u8; 32],
    /// What the first master key of the books gives for the keys that outlive it.
    carried: Carried,
}

/// Keys that stay when the master key changes, since what was made with them can't be made anew: nobody knows the texts and numbers
/// any more. Neither opens anything. Fingerprints stand sealed in the books, and sketches say of no number that it is in them.
#[derive(Clone)]
struct Carried {
    bytes: [[u8; 32]; 2],
    fingerprint: hmac::Key,
    numbers: hmac::Key,
}

impl Carried {
    fn of(bytes: [[u8; 32]; 2]) -> Self {
        Self {
            bytes,
            fingerprint: hmac::Key::new(hmac::HMAC_SHA256, &bytes[0]),
            numbers: hmac::Key::new(hmac::HMAC_SHA256, &bytes[1]),
        }
    }
}

/// Under which key a sealed value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Under {
    /// The one that seals.
    Present,
    /// The one that sealed before.
    Former,
    /// None that is known here: somebody's work, or a damaged disk.
    Neither,
}

/// What became of the vault when it was told how the books stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing changed.
    Same,
    /// It seals under another key from now on.
    Changed,
    /// The former key is forgotten.
    Ended,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(master: &[u8; 32], label: &[u8]) -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, b"countersign")
        .extract(master)
        .expand(&[label], Length(32))?
        .fill(&mut key)?;
    Ok(key)
}

impl Keys {
    fn of(master: &[u8; 32]) -> Result<Self, Unspecified> {
        let lookup = hmac::Key::new(hmac::HMAC_SHA256, &derive(master, b"token lookup")?);
        Ok(Self {
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derive(master, b"seal")?)?),
            check: keyed_hash(&lookup, KEY_CHECK),
            lookup,
            carried: Carried::of([derive(master, b"fingerprint")?, derive(master, b"numbers")?]),
        })
    }

    fn open(&self, purpose: Purpose, place: &[i64], sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, tail) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let mut tail = tail.to_vec();
        let plain = self
            .seal
            .open_in_place(nonce, context(purpose, place), &mut tail)?
            .len();
        tail.truncate(plain);
        Ok(tail)
    }
}

impl Vault {
    /// Derives the keys.
    pub fn new(master: &MasterKey) -> Result<Self, StoreError> {
        Self::derive_all(master).map_err(without_randomness)
    }

    fn derive_all(master: &MasterKey) -> Result<Self, Unspecified> {
        let mut start = [0; 16];
        SystemRandom::new().fill(&mut start)?;
        let present = Arc::new(Keys::of(&master.bytes)?);
        let next = master.next.as_ref().map(Keys::of).transpose()?;
        Ok(Self {
            ring: RwLock::new(Ring {
                carried: present.carried.clone(),
                other: next.map(|next| Other::Next(Arc::new(next))),
                present,
            }),
            nonce_start: u128::from_be_bytes(start),
            nonces: AtomicU64::new(0),
        })
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the key that is to follow; it only opens until the books say that it is in use. Answers its check value. While a change
    /// is under way, no third key is taken.
    pub(crate) fn learn(&self, next: &MasterKey) -> Result<[u8; 32], StoreError> {
        let keys = Keys::of(&next.bytes).map_err(without_randomness)?;
        let check = keys.check;
        let mut ring = self.ring_mut();
        match &ring.other {
            _ if ring.present.check == check => {}
            Some(Other::Former(former)) if former.check != check => {
                return Err(StoreError::Conflict("a change of the master key that is under way"));
            }
            Some(Other::Former(_)) => {}
            _ => ring.other = Some(Other::Next(Arc::new(keys))),
        }
        Ok(check)
    }

    /// Takes over how the books stand: sealed under `stored`, and, while the key is being changed, under `rotating_to` from now on.
    pub(crate) fn settle(&self, stored: [u8; 32], rotating_to: Option<[u8; 32]>) -> Result<Settled, StoreError> {
        let mut ring = self.ring_mut();
        let present = Arc::clone(&ring.present);
        let other = ring.other.as_ref().map(|other| Arc::clone(other.keys()));
        let find = |check: [u8; 32]| {
            let mut known = std::iter::once(&present).chain(&other);
            known.find(|keys| keys.check == check).map(Arc::clone)
        };
        let Some(old) = find(stored) else {
            return Err(StoreError::WrongMasterKey);
        };
        let Some(new) = rotating_to else {
            let was_rotating = matches!(ring.other, Some(Other::Former(_)));
            if old.check == present.check {
                if was_rotating {
                    ring.other = None;
                    return Ok(Settled::Ended);
                }
                return Ok(Settled::Same);
            }
            // The change ended while this process wasn't there, or its files weren't put in their new places yet.
            ring.present = old;
            ring.other = None;
            return Ok(Settled::Ended);
        };
        let new = find(new).ok_or(StoreError::MissingNextKey)?;
        if new.check == present.check && matches!(ring.other, Some(Other::Former(_))) {
            return Ok(Settled::Same);
        }
        ring.present = new;
        ring.other = Some(Other::Former(old));
        Ok(Settled::Changed)
    }

    /// Whether the key is being changed, as far as this process knows.
    pub(crate) fn is_rotating(&self) -> bool {
        matches!(self.ring().other, Some(Other::Former(_)))
    }

    /// The check value of the key that is to follow, or that is followed at present.
    pub(crate) fn rotates_to(&self) -> Option<[u8; 32]> {
        let ring = self.ring();
        ring.other.as_ref().map(|other| match other {
            Other::Next(next) => next.check,
            Other::Former(_) => ring.present.check,
        })
    }

    /// The keys that outlive the master key, sealed under the one that is to follow.
    pub(crate) fn carried_keys_for(&self, check: [u8; 32]) -> Result<Vec<u8>, StoreError> {
        let ring = self.ring();
        let other = ring.other.as_ref().map(Other::keys);
        let known = std::iter::once(&ring.present).chain(other);
        let keys = known.into_iter().find(|keys| keys.check == check);
        let keys = keys.ok_or(StoreError::MissingNextKey)?;
        self.seal_under(keys, Purpose::CarriedKeys, &[], ring.carried.bytes.as_flattened())
    }

    /// Takes the carried keys that the books hold in place of the master key's own.
    pub(crate) fn carry(&self, sealed: &[u8]) -> Result<(), StoreError> {
        let plain = self.open(Purpose::CarriedKeys, &[], sealed)?;
        let damaged = || StoreError::Damaged("the keys that outlive the master key");
        let (fingerprint, rest) = plain.split_first_chunk().ok_or_else(damaged)?;
        let numbers = rest.try_into().map_err(|_| damaged())?;
        self.ring_mut().carried = Carried::of([*fingerprint, numbers]);
        Ok(())
    }

    /// Under which key a value stands.
    pub(crate) fn sealed_under(&self, purpose: Purpose, place: &[i64], sealed: &[u8]) -> Under {
        let ring = self.ring();
        if ring.present.open(purpose, place, sealed).is_ok() {
            return Under::Present;
        }
        match &ring.other {
            Some(other) if other.keys().open(purpose, place, sealed).is_ok() => Under::Former,
            _ => Under::Neither,
        }
    }

    /// Under which a token is looked up.
    pub(crate) fn token_lookup(&self, token: &ApiToken) -> [u8; 32] {
        self.keyed_hash(token.as_str().as_bytes())
    }

    /// Under which a token may stand as well while the key is changed.
    pub(crate) fn other_token_lookup(&self, token: &ApiToken) -> Option<[u8; 32]> {
        let ring = self.ring();
        let other = ring.other.as_ref()?.keys();
        Some(keyed_hash(&other.lookup, token.as_str().as_bytes()))
    }

    /// Under which a secret that isn't an API token is looked up: what a session's cookie holds, a one-time link. `kind` keeps
    /// one kind from passing for another; no API token has a space in it.
    pub(crate) fn secret_lookup(&self, kind: &[u8], secret: &[u8]) -> [u8; 32] {
        self.keyed_hash(&[kind, b" ", secret].concat())
    }

    /// A keyed hash of a text of an account.
    pub(crate) fn fingerprint(&self, account: AccountId, text: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.ring().carried.fingerprint);
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
        let hash = hmac::sign(&self.ring().carried.numbers, &text);
        hash.as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// A value that only this master key makes: stored once, it tells a wrong key at start.
    pub(crate) fn key_check(&self) -> [u8; 32] {
        self.ring().present.check
    }

    fn keyed_hash(&self, text: &[u8]) -> [u8; 32] {
        keyed_hash(&self.ring().present.lookup, text)
    }

    /// Seals a value for one purpose and one row (`place`: the row's key).
    pub(crate) fn seal(&self, purpose: Purpose, place: &[i64], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.seal_under(&self.ring().present, purpose, place, plain)
    }

    fn seal_under(&self, keys: &Keys, purpose: Purpose, place: &[i64], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let count = u128::from(self.nonces.fetch_add(1, Ordering::Relaxed));
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.nonce_start.wrapping_add(count).to_be_bytes()[16 - NONCE_LEN..]);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut tail = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        tail.extend_from_slice(plain);
        keys.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), context(purpose, place), &mut tail)
            .map_err(|Unspecified| StoreError::Database("could not seal a value".into()))?;
        sealed.extend_from_slice(&tail);
        Ok(sealed)
    }

    /// Opens what [`Vault::seal`] sealed for the same purpose and row.
    pub(crate) fn open(&self, purpose: Purpose, place: &[i64], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let ring = self.ring();
        let opened = ring.present.open(purpose, place, sealed);
        let opened = opened.or_else(|Unspecified| {
            let other = ring.other.as_ref().ok_or(Unspecified)?;
            other.keys().open(purpose, place, sealed)
        });
        opened.map_err(|Unspecified| StoreError::Damaged("a sealed value"))
    }

    /// A kept answer's fingerprint, as it stands in its row: sealed, since its key stays when the master key changes.
    pub(crate) fn seal_fingerprint(&self, place: &[i64], fingerprint: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
        self.seal(Purpose::Fingerprint, place, fingerprint)
    }

    /// The way back. Rows of earlier versions have the fingerprint itself, for a day.
    pub(crate) fn open_fingerprint(&self, place: &[i64], stored: &[u8]) -> Result<[u8; 32], StoreError> {
        if let Ok(plain) = stored.try_into() {
            return Ok(plain);
        }
        let plain = self.open(Purpose::Fingerprint, place, stored)?;
        plain.try_into().map_err(|_| StoreError::Damaged("a fingerprint"))
    }
}

const KEY_CHECK: &[u8] = b"countersign master key";

fn keyed_hash(key: &hmac::Key, text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(hmac::sign(key, text).as_ref());
    hash
}

fn without_randomness(_: Unspecified) -> StoreError {
    StoreError::Database("no randomness for the vault".into())
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
        Purpose::Fingerprint => 18,
        Purpose::CarriedKeys => 19,
        Purpose::UsedCode => 20,
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

    fn check(key: u8) -> [u8; 32] {
        Vault::new(&MasterKey::from_bytes([key; 32])).unwrap().key_check()
    }

    #[test]
    fn what_was_sealed_opens_under_both_keys_while_the_key_is_changed_and_under_the_new_one_alone_after_it() {
        let vault = Vault::new(&MasterKey::from_bytes([1; 32])).unwrap();
        let old = vault.seal(Purpose::Code, &[1], b"4711").unwrap();
        let number = vault.number_hash(AccountId::from_entropy(1), PhoneNumber::from_stored(391_234_567_890));
        vault.learn(&MasterKey::from_bytes([2; 32])).unwrap();
        assert_eq!(vault.settle(check(1), None).unwrap(), Settled::Same);
        assert_eq!(vault.key_check(), check(1), "known is not in use");
        let carried = vault.carried_keys_for(check(2)).unwrap();
        assert_eq!(vault.settle(check(1), Some(check(2))).unwrap(), Settled::Changed);
        assert_eq!(vault.settle(check(1), Some(check(2))).unwrap(), Settled::Same);
        let new = vault.seal(Purpose::Code, &[1], b"4711").unwrap();
        assert_eq!(vault.sealed_under(Purpose::Code, &[1], &old), Under::Former);
        assert_eq!(vault.sealed_under(Purpose::Code, &[1], &new), Under::Present);
        assert_eq!(vault.sealed_under(Purpose::Code, &[2], &new), Under::Neither);
        assert_eq!(vault.open(Purpose::Code, &[1], &old).unwrap(), b"4711");
        assert!(vault.learn(&MasterKey::from_bytes([3; 32])).is_err(), "a third key");
        assert_eq!(vault.settle(check(2), None).unwrap(), Settled::Ended);
        assert!(vault.open(Purpose::Code, &[1], &old).is_err());
        assert_eq!(vault.open(Purpose::Code, &[1], &new).unwrap(), b"4711");

        // Who has the new key alone, and what the books carry, counts the same numbers the same.
        let fresh = Vault::new(&MasterKey::from_bytes([2; 32])).unwrap();
        assert_eq!(fresh.settle(check(2), None).unwrap(), Settled::Same);
        fresh.carry(&carried).unwrap();
        assert_eq!(
            fresh.number_hash(AccountId::from_entropy(1), PhoneNumber::from_stored(391_234_567_890)),
            number
        );
    }

    #[test]
    fn a_change_that_is_under_way_needs_both_keys_and_one_that_is_over_takes_the_next_one() {
        let both = MasterKey::from_bytes([1; 32]).followed_by(&MasterKey::from_bytes([2; 32]));
        let alone = Vault::new(&MasterKey::from_bytes([1; 32])).unwrap();
        let refused = alone.settle(check(1), Some(check(2)));
        assert!(matches!(refused, Err(StoreError::MissingNextKey)), "{refused:?}");
        let vault = Vault::new(&both).unwrap();
        assert_eq!(vault.settle(check(1), Some(check(2))).unwrap(), Settled::Changed);
        assert!(vault.is_rotating());
        let late = Vault::new(&both).unwrap();
        assert_eq!(late.settle(check(2), None).unwrap(), Settled::Ended);
        assert_eq!(late.key_check(), check(2));
        let wrong = Vault::new(&MasterKey::from_bytes([3; 32])).unwrap();
        assert!(matches!(wrong.settle(check(1), None), Err(StoreError::WrongMasterKey)));
    }
}
