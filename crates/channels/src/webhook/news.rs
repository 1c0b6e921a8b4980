//! What the transport posts back, signed with the shared secret: what became of messages, what recipients want, who signs in.
//! An answer of 4xx says in a few words what is wrong with a call: whoever reads it has the secret, too.

use countersign_core::{Detail, News, PhoneNumber, Timestamp};

use super::Webhook;
use super::wire::{Incoming, LoginNews, MessageNews, RecipientNews};
use crate::ports::{Handle, LoginReply, MessageKey, PortError, Recipient};
use crate::{ChannelNews, WebhookAnswer, WebhookCall, clock};

/// What follows the channel's name in the address of news.
pub(super) const PATH: &str = "news";
/// The longest call that is read.
const MAX_CALL_BYTES: usize = 16 * 1024;

/// Why news wasn't taken.
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
                return self
                    .note_stopped(phone, call.kind == "recipient.stopped", signed_at)
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
        let message = self
            .message_of(&said)
            .await?
            .ok_or(Trouble::Wrong(404, "no message goes by that message_id or id"))?;
        let news = ChannelNews {
            account: message.account,
            request: message.request,
            leg: self.name.clone(),
            news,
            detail: said.detail.as_deref().map(Detail::new),
        };
        self.ports.news.send(news).await.map_err(|_| Trouble::Busy)
    }

    async fn message_of(&self, said: &MessageNews) -> Result<Option<MessageKey>, PortError> {
        if let Some(named) = said.message_id.as_deref().and_then(MessageKey::parse) {
            return Ok(Some(named));
        }
        match said.id.as_deref().and_then(Handle::new) {
            Some(handle) => self.ports.handles.message(&self.name, &handle).await,
            None => Ok(None),
        }
    }

    /// What a recipient said last counts, in whatever order it comes.
    async fn note_stopped(&self, phone: PhoneNumber, stopped: bool, signed_at: i64) -> Result<(), Trouble> {
        let since = Timestamp::from_millis(signed_at.saturating_mul(1_000));
        let known = self.ports.recipients.find(&self.name, phone).await?;
        if known.as_ref().is_some_and(|known| known.since > since) {
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
