//! Meta's webhooks: the handshake by which it makes sure of our address, and updates signed with the app's secret. Here are the
//! statuses of messages; what people write is in `inbound`. One update can bring a thousand things; what isn't signed brings none.

use std::sync::Arc;

use countersign_core::{Detail, News, PhoneNumber, SandboxNumbers};
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq as _;

use super::codes::{self, Meaning};
use super::sent::{Sent, Subject};
use super::wire::digits_of;
use super::{WhatsApp, lock};
use crate::ports::{Handle, MessageKey};
use crate::{ChannelNews, WebhookAnswer, WebhookCall};

/// What follows the channel's name in the address.
pub(super) const PATH: &str = "webhook";
/// The largest update that Meta sends.
pub(super) const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// The longest challenge that is echoed; Meta's are numbers of ten digits.
const MAX_CHALLENGE: usize = 128;

/// All of it is read part by part: one of a new form must not cost the others.
#[derive(Deserialize)]
struct Update<'a> {
    #[serde(borrow, default)]
    entry: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    changes: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(default)]
    field: Option<String>,
    /// Of many forms; only that of `messages` is read.
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Value<'a> {
    metadata: Metadata,
    #[serde(borrow, default)]
    statuses: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    messages: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Metadata {
    phone_number_id: String,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    #[serde(rename = "status")]
    word: String,
    #[serde(default)]
    biz_opaque_callback_data: Option<String>,
    #[serde(default)]
    recipient_id: Option<String>,
    #[serde(default)]
    errors: Option<Vec<StatusError>>,
}

#[derive(Deserialize)]
struct StatusError {
    code: i64,
}

/// Which message is meant.
pub(super) enum About {
    Ours(Arc<Sent>),
    /// It was sent before this process began, or is forgotten.
    Booked(MessageKey),
    Nobody,
}

impl WhatsApp {
    pub(super) async fn receive_call(&self, call: WebhookCall) -> WebhookAnswer {
        if call.path != PATH {
            return WebhookAnswer::status(404);
        }
        if call.is_get {
            return self.handshake(&call.query);
        }
        if call.body.len() > MAX_BODY_BYTES {
            return WebhookAnswer::status(413);
        }
        if !self.is_genuine(&call) {
            return WebhookAnswer::status(401);
        }
        let Ok(update) = serde_json::from_slice::<Update<'_>>(&call.body) else {
            tracing::warn!(channel = %self.name, "a signed update can’t be read");
            return WebhookAnswer::status(400);
        };
        if self.take(&update).await {
            WebhookAnswer::status(200)
        } else {
            // Meta sends all of it again, for days; what was taken already is no news then.
            WebhookAnswer::status(503)
        }
    }

    /// Meta asks whether this is the address of somebody who knows the word, and wants its challenge back.
    fn handshake(&self, query: &str) -> WebhookAnswer {
        let parameter = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value)
        };
        let token = parameter("hub.verify_token").unwrap_or_default();
        let hash = digest(&SHA256, token.as_bytes());
        let knows_the_word = bool::from(hash.as_ref().ct_eq(&self.settings.verify_token));
        if !knows_the_word || parameter("hub.mode").as_deref() != Some("subscribe") {
            return WebhookAnswer::status(403);
        }
        match parameter("hub.challenge") {
            Some(challenge)
                if (1..=MAX_CHALLENGE).contains(&challenge.len())
                    && challenge
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) =>
            {
                WebhookAnswer {
                    status: 200,
                    text: challenge.into_owned(),
                }
            }
            _ => WebhookAnswer::status(400),
        }
    }

    /// Whether the app's secret signed the body, byte for byte as it came.
    fn is_genuine(&self, call: &WebhookCall) -> bool {
        let hex = call
            .header(SIGNATURE_HEADER)
            .and_then(|value| value.strip_prefix("sha256="));
        let Some(signature) = hex.and_then(bytes_of) else {
            return false;
        };
        hmac::verify(&self.settings.signing_key, &call.body, &signature).is_ok()
    }

    /// Takes everything that concerns our number; false where something must come again.
    async fn take(&self, update: &Update<'_>) -> bool {
        let mut all_taken = true;
        let (entries, mut unread) = parts::<Entry<'_>>(update.entry.as_deref());
        let mut changes = Vec::new();
        for entry in entries {
            let (found, more) = parts::<Change<'_>>(entry.changes.as_deref());
            unread += more;
            changes.extend(found);
        }
        for change in changes {
            let Some(value) = change.value.filter(|_| change.field.as_deref() == Some("messages")) else {
                continue;
            };
            let Ok(value) = serde_json::from_str::<Value<'_>>(value.get()) else {
                unread += 1;
                continue;
            };
            if value.metadata.phone_number_id != self.settings.phone_number_id {
                continue;
            }
            let (statuses, more) = parts::<Status>(value.statuses.as_deref());
            unread += more;
            for status in statuses {
                all_taken &= self.take_status(&status).await;
            }
            for message in value.messages.unwrap_or_default() {
                all_taken &= self.take_message(message.get()).await;
            }
        }
        if unread > 0 {
            // Coming again would make it no better.
            tracing::warn!(channel = %self.name, unread, "a signed update has parts that can’t be read: WhatsApp may have changed their form");
        }
        all_taken
    }

    /// Takes a status; false where it must come again.
    async fn take_status(&self, status: &Status) -> bool {
        let news = match status.word.as_str() {
            "delivered" => News::Delivered,
            "read" => News::Read,
            "failed" => News::Failed,
            // `sent` is what our acceptance was; others may come to be.
            _ => return true,
        };
        let Ok(about) = self.about(&status.id, status.biz_opaque_callback_data.as_deref()).await else {
            return false;
        };
        let code = status.errors.iter().flatten().next().map(|error| error.code);
        let phone = match &about {
            About::Ours(sent) => Some(sent.phone),
            About::Booked(_) | About::Nobody => status.recipient_id.as_deref().and_then(phone_of),
        };
        self.learn(news, code, phone);
        let detail = code.map(|code| Detail::new(&codes::describe(code)));
        match about {
            About::Ours(sent) => match sent.subject {
                Subject::Message(key) => self.tell(key, Some(&sent), news, detail).await,
                Subject::Login(_) => true,
            },
            About::Booked(key) => self.tell(key, None, news, detail).await,
            About::Nobody => true,
        }
    }

    /// What a status says beyond its message: of the number, and to the operator.
    fn learn(&self, news: News, code: Option<i64>, phone: Option<PhoneNumber>) {
        if news != News::Failed {
            if let Some(phone) = phone {
                lock(&self.unreachable).remove(phone);
            }
            return;
        }
        match code.and_then(codes::known) {
            Some((Meaning::NotThere, _)) => {
                if let Some(phone) = phone {
                    lock(&self.unreachable).put(phone);
                }
            }
            Some((Meaning::Operator, words)) => {
                self.alarm(&format!(
                    "WhatsApp doesn’t deliver messages: {words}; see `countersign doctor`"
                ));
            }
            _ => {}
        }
    }

    /// Which message an id and its callback data name. An error: the books can't say it now.
    pub(super) async fn about(&self, id: &str, callback_data: Option<&str>) -> Result<About, ()> {
        let handle = Handle::new(id);
        if let Some(sent) = handle.as_ref().and_then(|handle| self.messages.by_id(handle)) {
            return Ok(About::Ours(sent));
        }
        // We wrote it, and Meta's signature says that it comes from there.
        let subject = callback_data.and_then(Subject::read);
        if let Some(sent) = subject.and_then(|subject| self.messages.of(subject)) {
            return Ok(About::Ours(sent));
        }
        match (subject, handle) {
            (Some(Subject::Message(key)), _) => Ok(About::Booked(key)),
            (Some(Subject::Login(_)), _) | (None, None) => Ok(About::Nobody),
            (None, Some(handle)) => match self.ports.handles.message(&self.name, &handle).await {
                Ok(Some(key)) => Ok(About::Booked(key)),
                Ok(None) => Ok(About::Nobody),
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "an update can’t be taken now; Meta sends it again");
                    Err(())
                }
            },
        }
    }

    /// Hands news over, unless it was told already; false where nobody takes it any more.
    pub(super) async fn tell(&self, key: MessageKey, sent: Option<&Sent>, news: News, detail: Option<Detail>) -> bool {
        // A place in the queue first: what is marked as told must not be lost because Meta went away in between.
        let Ok(place) = self.ports.news.reserve().await else {
            return false;
        };
        if sent.is_none_or(|sent| sent.tell(news)) {
            place.send(ChannelNews {
                account: key.account,
                request: key.request,
                leg: self.name.clone(),
                news,
                detail,
            });
        }
        true
    }
}

/// Those that can be read, and how many can't.
fn parts<'a, T: Deserialize<'a>>(raw: Option<&[&'a RawValue]>) -> (Vec<T>, usize) {
    let raw = raw.unwrap_or_default();
    let read: Vec<T> = raw
        .iter()
        .filter_map(|part| serde_json::from_str(part.get()).ok())
        .collect();
    let unread = raw.len() - read.len();
    (read, unread)
}

/// The number that WhatsApp calls so, where the two are alike.
pub(super) fn phone_of(wa_id: &str) -> Option<PhoneNumber> {
    PhoneNumber::parse(&digits_of(wa_id)?, SandboxNumbers::Refused)
}

/// The 32 bytes that 64 hexadecimal digits stand for.
fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digits: [u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = (value(*pair.first()?)?, value(*pair.get(1)?)?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}
