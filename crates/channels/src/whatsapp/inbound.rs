//! What people write to the business number, or say with a button: STOP, START, and that they asked for no code. Everything else is
//! acknowledged and forgotten; nobody gets a reply. Calls come through `webhook`, which has checked who signed them.

use countersign_core::{News, PhoneNumber, Timestamp};
use serde::Deserialize;

use super::sent::{Sent, Subject};
use super::webhook::{About, phone_of};
use super::wire::digits_of;
use super::{WhatsApp, lock};
use crate::sms::replies::{Wish, wish_of};
use crate::{LoginReply, Recipient, clock};

/// What Meta's own button under a code, "I didn't request a code", says.
const DID_NOT_REQUEST: &str = "DID_NOT_REQUEST_CODE";
/// Meta's clock and ours may differ by so much, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 10_000;

#[derive(Deserialize)]
struct Message {
    /// Empty where people hide their number behind a user name.
    #[serde(default)]
    from: Option<String>,
    /// Unix time in seconds, as text.
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    text: Option<Text>,
    #[serde(default)]
    button: Option<Button>,
    /// Which message it answers.
    #[serde(default)]
    context: Option<Context>,
}

#[derive(Deserialize)]
struct Text {
    body: String,
}

#[derive(Deserialize)]
struct Button {
    #[serde(default)]
    payload: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    id: Option<String>,
}

impl Message {
    fn wish(&self) -> Option<Wish> {
        if let Some(button) = &self.button {
            if button.payload.as_deref() == Some(DID_NOT_REQUEST) {
                return Some(Wish::NotMe);
            }
            return button.text.as_deref().and_then(wish_of);
        }
        self.text.as_ref().and_then(|text| wish_of(&text.body))
    }

    /// When it was written.
    fn at(&self) -> Timestamp {
        let seconds = self.timestamp.as_deref().and_then(|text| text.parse::<i64>().ok());
        let millis = seconds.and_then(|seconds| seconds.checked_mul(1_000));
        millis.map_or_else(clock::now, Timestamp::from_millis)
    }
}

impl WhatsApp {
    /// Takes what somebody wrote; false where it must come again.
    pub(super) async fn take_message(&self, json: &str) -> bool {
        let Ok(message) = serde_json::from_str::<Message>(json) else {
            return true;
        };
        let from = message.from.as_deref().and_then(digits_of);
        if let Some(phone) = from.as_deref().and_then(phone_of) {
            // Who writes on WhatsApp is there.
            lock(&self.unreachable).remove(phone);
        }
        let Some(wish) = message.wish() else { return true };
        let answered = message.context.as_ref().and_then(|context| context.id.as_deref());
        let about = match answered {
            Some(id) => match self.about(id, None).await {
                Ok(about) => about,
                Err(()) => return false,
            },
            None => About::Nobody,
        };
        let Some(phones) = self.phones(from.as_deref(), &about).await else {
            return false;
        };
        match wish {
            Wish::Stop => self.note_stopped(&phones, true, message.at()).await,
            Wish::Start => self.note_stopped(&phones, false, message.at()).await,
            Wish::NotMe => self.disown(&about, &phones, message.at()).await,
        }
    }

    /// Whose words these are: the number that WhatsApp names, those that are known under its digits, and that of the message which is
    /// answered. `None`: the books can't say it now.
    async fn phones(&self, from: Option<&str>, about: &About) -> Option<Vec<PhoneNumber>> {
        let mut phones = Vec::new();
        if let About::Ours(sent) = about {
            phones.push(sent.phone);
        }
        if let Some(from) = from {
            phones.extend(phone_of(from));
            match self.ports.recipients.at_address(&self.name, from).await {
                Ok(known) => phones.extend(known.into_iter().map(|recipient| recipient.phone)),
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "what somebody wrote waits");
                    return None;
                }
            }
        }
        phones.sort_unstable();
        phones.dedup();
        if phones.is_empty() {
            tracing::debug!(channel = %self.name, "somebody without a number wrote a word that is known");
        }
        Some(phones)
    }

    async fn note_stopped(&self, phones: &[PhoneNumber], stopped: bool, at: Timestamp) -> bool {
        for phone in phones {
            let noted = async {
                let _held = self.recipients.lock().await;
                let known = self.ports.recipients.find(&self.name, *phone).await?;
                // Updates come again for days, and in any order: the newest word counts.
                if known.as_ref().is_some_and(|known| known.since > at) {
                    return Ok(());
                }
                let recipient = Recipient {
                    phone: *phone,
                    address: known.map(|known| known.address).unwrap_or_default(),
                    stopped,
                    since: at,
                };
                self.ports.recipients.put(&self.name, recipient).await
            };
            if let Err(error) = noted.await {
                tracing::warn!(channel = %self.name, %error, "what somebody wrote waits");
                return false;
            }
        }
        true
    }

    /// They asked for no code: the one that they answer, else the last one, if it was there already.
    async fn disown(&self, about: &About, phones: &[PhoneNumber], at: Timestamp) -> bool {
        match about {
            About::Ours(sent) => self.tell_disowned(sent).await,
            About::Booked(key) => self.tell(*key, None, News::Disowned, None).await,
            About::Nobody => {
                let written_after = |sent: &Sent| at.plus_millis(CLOCKS_DIFFER_MS) >= sent.at;
                let lasts = phones
                    .iter()
                    .filter_map(|phone| self.messages.last_to(*phone, clock::now()));
                for sent in lasts.filter(|sent| written_after(sent)) {
                    if !self.tell_disowned(&sent).await {
                        return false;
                    }
                }
                true
            }
        }
    }

    async fn tell_disowned(&self, sent: &Sent) -> bool {
        match sent.subject {
            Subject::Message(key) => self.tell(key, Some(sent), News::Disowned, None).await,
            Subject::Login(attempt) => {
                let reply = LoginReply {
                    attempt,
                    phone: sent.phone,
                    is_me: false,
                };
                self.ports.logins.send(reply).await.is_ok()
            }
        }
    }
}
