//! What stands behind the buttons of our messages. Telegram gives it back when one is pressed, but a modified app can send
//! whatever it likes: so it is authenticated under a key made of the bot's token, together with the chat that the message went
//! to. Nothing has to be remembered for that, and a button works after a restart and after a crash.
//!
//! At most 64 bytes: one byte of kind, what it names, 16 bytes of HMAC-SHA-256, in base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_core::{AccountId, AccountKey, Bucket, PhoneNumber, RequestId, Timestamp};
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::MessageKey;
use crate::config::Secret;

const DISOWN: u8 = 1;
const CONFIRM_LOGIN: u8 = 2;
const REFUSE_LOGIN: u8 = 3;
const TAG_BYTES: usize = 16;

/// A button of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Button {
    /// "It wasn't me", below a code.
    Disown(MessageKey),
    /// An answer to the question who signs in.
    Login {
        /// The question.
        attempt: i64,
        /// Who was asked.
        phone: PhoneNumber,
        /// The answer.
        is_me: bool,
    },
}

/// What is made of the bot's token.
pub(super) struct Keys {
    buttons: hmac::Key,
    webhook_secret: String,
}

impl Keys {
    pub(super) fn of(token: &Secret) -> Self {
        let token = hmac::Key::new(hmac::HMAC_SHA256, token.reveal().as_bytes());
        let buttons = hmac::sign(&token, b"countersign telegram_bot buttons");
        let webhook = hmac::sign(&token, b"countersign telegram_bot webhook");
        Self {
            buttons: hmac::Key::new(hmac::HMAC_SHA256, buttons.as_ref()),
            webhook_secret: URL_SAFE_NO_PAD.encode(webhook.as_ref()),
        }
    }

    /// What Telegram shows in a header of each webhook call. The same after each restart.
    pub(super) fn webhook_secret(&self) -> &str {
        &self.webhook_secret
    }

    /// Whether that is what Telegram shows.
    pub(super) fn is_webhook_secret(&self, presented: &str) -> bool {
        self.webhook_secret.as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// What stands behind a button in a chat.
    pub(super) fn seal(&self, button: Button, chat: i64) -> String {
        let mut data = encode(button);
        let tag = self.tag(&data, chat);
        data.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(data)
    }

    /// The button, if it is one of ours and was shown in that chat.
    pub(super) fn open(&self, data: &str, chat: i64) -> Option<Button> {
        let data = URL_SAFE_NO_PAD.decode(data).ok()?;
        let (button, tag) = data.split_at_checked(data.len().checked_sub(TAG_BYTES)?)?;
        bool::from(self.tag(button, chat).ct_eq(tag)).then(|| decode(button))?
    }

    fn tag(&self, button: &[u8], chat: i64) -> [u8; TAG_BYTES] {
        let mut signed = chat.to_be_bytes().to_vec();
        signed.extend_from_slice(button);
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(hmac::sign(&self.buttons, &signed).as_ref()) {
            *to = *from;
        }
        tag
    }
}

fn encode(button: Button) -> Vec<u8> {
    match button {
        Button::Disown(MessageKey { account, request }) => {
            let mut data = vec![DISOWN, account.bucket.0];
            data.extend_from_slice(&account.id.number().to_be_bytes());
            data.extend_from_slice(&request.created_at().millis().to_be_bytes());
            data.extend_from_slice(&request.random().to_be_bytes());
            data
        }
        Button::Login { attempt, phone, is_me } => {
            let mut data = vec![if is_me { CONFIRM_LOGIN } else { REFUSE_LOGIN }];
            data.extend_from_slice(&attempt.to_be_bytes());
            data.extend_from_slice(&phone.digits().to_be_bytes());
            data
        }
    }
}

fn decode(data: &[u8]) -> Option<Button> {
    match data.split_first()? {
        (&DISOWN, rest) => {
            let (&bucket, rest) = rest.split_first()?;
            let [account, created_at, random] = numbers(rest)?;
            let account = AccountKey {
                bucket: Bucket(bucket),
                id: AccountId::new(i64::from_be_bytes(account))?,
            };
            let created_at = Timestamp::from_millis(i64::from_be_bytes(created_at));
            let request = RequestId::new(created_at, u64::from_be_bytes(random));
            Some(Button::Disown(MessageKey { account, request }))
        }
        (&kind @ (CONFIRM_LOGIN | REFUSE_LOGIN), rest) => {
            let [attempt, phone] = numbers(rest)?;
            Some(Button::Login {
                attempt: i64::from_be_bytes(attempt),
                phone: PhoneNumber::from_stored(u64::from_be_bytes(phone)),
                is_me: kind == CONFIRM_LOGIN,
            })
        }
        _ => None,
    }
}

/// So many numbers of 64 bits, and nothing else.
fn numbers<const N: usize>(data: &[u8]) -> Option<[[u8; 8]; N]> {
    let (numbers, rest) = data.as_chunks();
    if rest.is_empty() { numbers.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(token: &str) -> Keys {
        Keys::of(&Secret::new(token.to_owned()))
    }

    fn buttons() -> [Button; 3] {
        let phone = PhoneNumber::from_stored(393_331_234_567);
        [
            Button::Disown(MessageKey {
                account: AccountKey::of_new(AccountId::new(i64::MAX).unwrap()),
                request: RequestId::new(Timestamp::from_millis((1 << 48) - 1), u64::MAX),
            }),
            Button::Login {
                attempt: i64::MAX,
                phone,
                is_me: true,
            },
            Button::Login {
                attempt: 1,
                phone,
                is_me: false,
            },
        ]
    }

    #[test]
    fn a_button_opens_in_its_own_chat_alone_and_fits_telegrams_64_bytes() {
        let keys = keys("1:a");
        for button in buttons() {
            let data = keys.seal(button, 42);
            assert!(data.len() <= 64, "{} bytes", data.len());
            assert_eq!(keys.open(&data, 42), Some(button));
            assert_eq!(keys.open(&data, 43), None);
        }
    }

    #[test]
    fn what_was_changed_or_made_under_another_token_opens_nothing() {
        let keys = keys("1:a");
        for button in buttons() {
            let data = keys.seal(button, 42);
            assert_eq!(self::keys("1:b").open(&data, 42), None);
            for at in 0..data.len() {
                let mut changed = data.clone().into_bytes();
                if let Some(byte) = changed.get_mut(at) {
                    *byte = if *byte == b'A' { b'B' } else { b'A' };
                }
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(keys.open(&changed, 42), None, "changed at {at}");
            }
        }
        for garbage in ["", "A", "AAAA", "%%%", "d:1:2", &"A".repeat(64)] {
            assert_eq!(keys.open(garbage, 42), None);
        }
    }

    #[test]
    fn the_webhooks_secret_is_the_same_after_a_restart_and_of_letters_that_telegram_allows() {
        let secret = keys("1:a").webhook_secret().to_owned();
        assert_eq!(keys("1:a").webhook_secret(), secret);
        assert!(keys("1:a").is_webhook_secret(&secret));
        assert!(!keys("1:b").is_webhook_secret(&secret));
        assert!(!keys("1:a").is_webhook_secret(""));
        assert!(
            secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        );
    }
}
