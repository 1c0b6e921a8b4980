//! What the transport posts back, signed with the shared secret: what became of messages, what recipients want, who signs in.
//! An answer of 4xx says in a few words what is wrong with a call: whoever reads it has the secret, too.

use countersign_core::{Detail, News, PhoneNumber, Timestamp};

use super::Webhook;
use super::wire::{Incoming, LoginNews, MessageNews, RecipientNews};
use crate::memory::Subject;
use crate::ports::{Handle, LoginReply, MessageKey, PortError, Recipient};
use crate::{ChannelNews, WebhookAnswer, WebhookCall, clock};

/// What follows the channel's name in the address of news.
pub(super) const PATH: &str = "news";
/// The longest call that is read.
const MAX_CALL_BYTES: usize = 16 * 1024;

/// Why news wasn't taken.
#[derive(Clone, Copy)]
enum Trouble {
    /// It will never be.
    Wrong(u16, &'static str),
    /// It may come again.
    Busy,
}

impl From<PortError> for Trouble {
    fn from(_: PortError) -> Self {
        Self::Busy
    }
}

impl Webhook {
    pub(super) async fn take_news(&self, call: WebhookCall) -> WebhookAnswer {
        if call.path != PATH {
            return WebhookAnswer::status(404);
        }
        if call.is_get {
            return WebhookAnswer::status(405);
        }
        if call.body.len() > MAX_CALL_BYTES {
            return WebhookAnswer::status(413);
        }
        let Some(signed_at) = self.keys.signed_at(&call, clock::now().unix_seconds()) else {
            return WebhookAnswer::status(401);
        };
        match self.take(&call.body, signed_at).await {
            Ok(()) => WebhookAnswer::status(200),
            Err(Trouble::Busy) => {
                tracing::warn!(channel = %self.name, "news can’t be taken now; the transport should send it again");
                WebhookAnswer::status(503)
            }
            Err(Trouble::Wrong(status, why)) => {
                tracing::warn!(channel = %self.name, why, "signed news can’t be used");
                WebhookAnswer {
                    status,
                    text: format!("{why}\n"),
                }
            }
        }
    }

    async fn take(&self, body: &[u8], signed_at: i64) -> Result<(), Trouble> {
        let call = Incoming::read(body).ok_or(Trouble::Wrong(400, "expected JSON with type and data"))?;
        let news = match call.kind.as_str() {
            "message.delivered" => News::Delivered,
            "message.read" => News::Read,
            "message.failed" => News::Failed,
            "message.unreachable" => News::CannotReach,
            "message.disowned" => News::Disowned,
            "recipient.stopped" | "recipient.started" => {
                let phone = call.data::<RecipientNews>().and_then(|news| news.phone());
                let phone = phone.ok_or(Trouble::Wrong(400, "expected phone_number like +391234567890"))?;
                let said_at = call.timestamp.as_deref().and_then(Timestamp::parse_rfc_3339);
                let said_at = said_at.ok_or(Trouble::Wrong(400, "expected timestamp like 2026-11-27T10:00:03.250Z"))?;
                // Nobody said it after it was posted. The header is in whole seconds.
                let posted_at = Timestamp::from_millis(signed_at.saturating_mul(1_000).saturating_add(999));
                return self
                    .note_stopped(phone, call.kind == "recipient.stopped", said_at.min(posted_at))
                    .await;
            }
            "login.answered" => {
                let news = call.data::<LoginNews>();
                let answer = news.and_then(|news| Some((news.phone()?, news)));
                let (phone, news) = answer.ok_or(Trouble::Wrong(400, "expected attempt, phone_number and is_me"))?;
                let reply = LoginReply {
                    attempt: news.attempt,
                    phone,
                    is_me: news.is_me,
                };
                return self.ports.logins.send(reply).await.map_err(|_| Trouble::Busy);
            }
            _ => return Err(Trouble::Wrong(400, "no such type of news")),
        };
        let said: MessageNews = call.data().ok_or(Trouble::Wrong(400, "expected message_id or id"))?;
        let Subject::Message(message) = self.subject_of(&said).await? else {
            // Of a sign-in: nothing depends on it.
            return Ok(());
        };
        let news = ChannelNews {
            account: message.account,
            request: message.request,
            leg: self.name.clone(),
            news,
            detail: said.detail.as_deref().map(Detail::new),
        };
        self.ports.news.send(news).await.map_err(|_| Trouble::Busy)
    }

    async fn subject_of(&self, said: &MessageNews) -> Result<Subject, Trouble> {
        let unknown = Trouble::Wrong(404, "no message goes by that message_id or id");
        if let Some(named) = said.message_id.as_deref().and_then(MessageKey::parse) {
            return Ok(Subject::Message(named));
        }
        let handle = said.id.as_deref().and_then(Handle::new).ok_or(unknown)?;
        // It waits a moment where the transport is about to say whose the name is.
        if let Some(subject) = self.memory.find(&handle).await {
            return Ok(subject);
        }
        match self.ports.handles.message(&self.name, &handle).await? {
            Some(key) => Ok(Subject::Message(key)),
            // It may still be told.
            None if self.memory.is_awaiting() => Err(Trouble::Busy),
            None => Err(unknown),
        }
    }

    /// What a recipient said last counts, in whatever order and however often it comes; *stop*, where both were said at once.
    async fn note_stopped(&self, phone: PhoneNumber, stopped: bool, since: Timestamp) -> Result<(), Trouble> {
        let known = self.ports.recipients.find(&self.name, phone).await?;
        let is_over = |known: &Recipient| known.since > since || (known.since == since && known.stopped);
        if known.as_ref().is_some_and(is_over) {
            return Ok(());
        }
        let recipient = Recipient {
            phone,
            address: known.map(|known| known.address).unwrap_or_default(),
            stopped,
            since,
        };
        Ok(self.ports.recipients.put(&self.name, recipient).await?)
    }
}
