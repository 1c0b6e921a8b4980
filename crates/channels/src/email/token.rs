//! Names that come back from outside: of a message, in delivery reports, and of a recipient, in the link of their message. Both are made
//! under keys of the channel's secret, so nothing has to be remembered, and nobody else can make one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_core::{AccountId, AccountKey, Bucket, PhoneNumber, RequestId, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::{MessageKey, Secret};

/// Of a tag, in bytes: nobody guesses 96 bits.
const TAG_BYTES: usize = 12;
/// The longest token that is looked at: an address has 254 bytes at most.
const MAX_TOKEN_BYTES: usize = 600;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Message(MessageKey),
    /// A sign-in, by its attempt.
    Login(i64),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(key) => key.fmt(f),
            Self::Login(attempt) => write!(f, "cs1.login.{attempt}"),
        }
    }
}

/// What stands in the link of a message.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Answerer {
    pub(super) subject: Subject,
    pub(super) phone: PhoneNumber,
    /// Where the message went.
    pub(super) address: String,
    /// The language that it was written in.
    pub(super) language: String,
}

/// The keys of one channel.
pub(super) struct Keys {
    names: hmac::Key,
    links: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Keys that come of a secret, for one channel. `None` can't be: a key of AES-256 has 32 bytes.
    pub(super) fn of(secret: &Secret, channel: &str) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let derived = |purpose: &str| hmac::sign(&root, format!("countersign email {purpose} 1 {channel}").as_bytes());
        let links = UnboundKey::new(&AES_256_GCM, derived("links").as_ref()).ok()?;
        Some(Self {
            names: hmac::Key::new(hmac::HMAC_SHA256, derived("names").as_ref()),
            links: LessSafeKey::new(links),
        })
    }

    /// The name of a message, for `ENVID` and `Message-ID`: letters, digits, `.`, `-` and `_`, 77 bytes at most.
    pub(super) fn name(&self, subject: Subject) -> String {
        let subject = subject.to_string();
        let tag = self.tag(&subject);
        format!("{subject}.{tag}")
    }

    /// The message of such a name, if it is one of ours.
    pub(super) fn read_name(&self, name: &str) -> Option<MessageKey> {
        let (subject, tag) = name.rsplit_once('.').filter(|_| name.len() <= 100)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let own = hmac::sign(&self.names, subject.as_bytes());
        let is_ours: bool = subtle::ConstantTimeEq::ct_eq(&own.as_ref()[..TAG_BYTES], &tag[..]).into();
        is_ours.then(|| MessageKey::parse(subject)).flatten()
    }

    fn tag(&self, subject: &str) -> String {
        URL_SAFE_NO_PAD.encode(&hmac::sign(&self.names, subject.as_bytes()).as_ref()[..TAG_BYTES])
    }

    /// Seals what stands in a link; `None` where there is no randomness.
    pub(super) fn seal(&self, answerer: &Answerer) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = answerer.to_string().into_bytes();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.links
            .seal_in_place_append_tag(unique, Aad::empty(), &mut sealed)
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what stands in a link.
    pub(super) fn open(&self, token: &str) -> Option<Answerer> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.links.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        Answerer::parse(std::str::from_utf8(opened).ok()?)
    }
}

/// As it is sealed: fields behind each other, the address last, since it may hold anything.
impl fmt::Display for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phone, address, language) = (self.phone.digits(), &self.address, &self.language);
        match self.subject {
            Subject::Message(MessageKey { account, request }) => {
                let (created_at, random) = (request.created_at().millis(), request.random());
                let (bucket, id) = (account.bucket.0, account.id.number());
                write!(f, "m {bucket} {id} {created_at} {random} {phone} {language} {address}")
            }
            Subject::Login(attempt) => write!(f, "l {attempt} {phone} {language} {address}"),
        }
    }
}

impl Answerer {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        let (subject, rest) = if kind == "m" {
            let mut fields = rest.splitn(5, ' ');
            let account = AccountKey {
                bucket: Bucket(fields.next()?.parse().ok()?),
                id: AccountId::new(fields.next()?.parse().ok()?)?,
            };
            let created_at = Timestamp::from_millis(fields.next()?.parse().ok()?);
            let request = RequestId::new(created_at, fields.next()?.parse().ok()?);
            (Subject::Message(MessageKey { account, request }), fields.next()?)
        } else {
            let (attempt, rest) = rest.split_once(' ')?;
            (Subject::Login(attempt.parse().ok()?), rest)
        };
        let mut fields = rest.splitn(3, ' ');
        Some(Self {
            subject,
            phone: PhoneNumber::from_stored(fields.next()?.parse().ok()?),
            language: fields.next()?.to_owned(),
            address: fields.next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::SandboxNumbers;

    use super::*;

    fn keys(secret: &str, channel: &str) -> Keys {
        Keys::of(&Secret::new(secret.to_owned()), channel).unwrap()
    }

    fn subject() -> Subject {
        Subject::Message(MessageKey {
            account: AccountKey {
                bucket: Bucket(255),
                id: AccountId::new(7_000_000_000).unwrap(),
            },
            request: RequestId::new(Timestamp::from_millis(1_790_000_000_000), u64::MAX),
        })
    }

    #[test]
    fn a_name_is_read_again_by_its_own_channel_alone() {
        let name = keys("secret", "mail").name(subject());
        assert!(name.len() <= 80, "{name}");
        let Subject::Message(key) = subject() else {
            unreachable!()
        };
        assert_eq!(keys("secret", "mail").read_name(&name), Some(key));
        assert_eq!(keys("secret", "other").read_name(&name), None);
        assert_eq!(keys("another", "mail").read_name(&name), None);
        let forged = name.replacen("cs1.255", "cs1.254", 1);
        for bad in ["", ".", "cs1.1.2.3", &name[..name.len() - 1], &forged, &key.to_string()] {
            assert_eq!(keys("secret", "mail").read_name(bad), None, "{bad}");
        }
        let login = keys("secret", "mail").name(Subject::Login(9));
        assert_eq!(keys("secret", "mail").read_name(&login), None);
    }

    #[test]
    fn a_link_shows_nothing_and_opens_again() {
        let keys = keys("secret", "mail");
        for subject in [subject(), Subject::Login(-5)] {
            let answerer = Answerer {
                subject,
                phone: PhoneNumber::parse("+4915123456789", SandboxNumbers::Refused).unwrap(),
                address: "ida b@example.com".to_owned(),
                language: "pt".to_owned(),
            };
            let token = keys.seal(&answerer).unwrap();
            assert!(keys.open(&token).unwrap() == answerer);
            assert_ne!(token, keys.seal(&answerer).unwrap());
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            bytes[20] ^= 1;
            assert!(keys.open(&URL_SAFE_NO_PAD.encode(bytes)).is_none());
        }
        let long = "A".repeat(10_000);
        for bad in ["", "A", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &long] {
            assert!(keys.open(bad).is_none());
        }
    }
}
