//! Messages as they are shown: what the inbox holds, with what the books say became of them. Shared by the page, the lists
//! and the events.

use std::collections::HashMap;

use countersign_channels::{InboxMessage, NumberSummary};
use countersign_core::{AccountKey, DeliveryState, LegName, Timestamp, VerificationState};
use countersign_store::StoreError;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::Room;
use crate::clock;
use crate::senders::SenderFace;

/// How many requests are read out of the books at the same time.
const READS_AT_ONCE: usize = 8;

/// A message with its present state.
pub(super) struct Shown {
    pub(super) message: InboxMessage,
    /// What became of the message.
    pub(super) delivery: DeliveryState,
    /// What became of its code.
    pub(super) verification: VerificationState,
    /// The present time on its account's clock.
    pub(super) account_now: Timestamp,
    /// Whom the recipient sees as its sender.
    pub(super) sender: Option<SenderFace>,
    /// What the recipient reads.
    pub(super) text: String,
    /// The tag of its language.
    pub(super) language: String,
    /// Whether it is written from right to left.
    pub(super) right_to_left: bool,
}

impl Shown {
    /// How long the code still counts, in milliseconds; zero once it is over.
    pub(super) fn left_ms(&self) -> i64 {
        (self.message.expires_at.millis() - self.account_now.millis()).max(0)
    }
}

/// Looks up what became of messages. Those that ended before anybody took them are left out, as they never arrived.
pub(super) async fn shown(room: &Room, messages: Vec<InboxMessage>) -> Result<Vec<Shown>, StoreError> {
    let clocks = account_clocks(room, &messages).await?;
    let looked_up = messages.into_iter().map(|message| {
        let account_now = clocks.get(&message.account).copied().unwrap_or_else(clock::now);
        look_up(room, message, account_now)
    });
    stream::iter(looked_up)
        .buffered(READS_AT_ONCE)
        .try_filter_map(async |shown| Ok(shown))
        .try_collect()
        .await
}

async fn look_up(room: &Room, message: InboxMessage, account_now: Timestamp) -> Result<Option<Shown>, StoreError> {
    let texts = room.app.texts.of_channel(&LegName::INBOX);
    let language = texts.language(message.locale.as_ref(), message.phone);
    let mut shown = Shown {
        text: message.text(language),
        language: language.tag().to_string(),
        right_to_left: language.is_right_to_left(),
        delivery: message.delivery,
        verification: VerificationState::Unchecked,
        account_now,
        sender: match &message.sender {
            Some(username) => {
                let sender = room.app.site.sender_detail(username).await?;
                Some(SenderFace::for_recipients(username, sender.as_deref()))
            }
            None => None,
        },
        message,
    };
    let stored = room
        .app
        .store
        .request(shown.message.account, shown.message.request)
        .await?;
    if let Some(mut request) = stored {
        request.end_overdue_code(account_now);
        shown.verification = request.verification;
        // News may still be on its way into the books, and the books hear of things that the inbox doesn't: states only
        // move forward, so the further one is the present one.
        shown.delivery = shown.delivery.max(request.delivery);
    }
    // Time decides, not the sweep.
    if shown.delivery == DeliveryState::Sent && shown.left_ms() == 0 {
        shown.delivery = DeliveryState::Expired;
    }
    let ended = shown.delivery > DeliveryState::Read;
    let never_arrived = shown.message.delivery == DeliveryState::Sent && ended;
    Ok((!never_arrived).then_some(shown))
}

/// The present time on the clocks of all accounts that have one of these messages.
async fn account_clocks(room: &Room, messages: &[InboxMessage]) -> Result<HashMap<AccountKey, Timestamp>, StoreError> {
    let mut clocks = HashMap::new();
    for message in messages {
        if clocks.contains_key(&message.account) {
            continue;
        }
        let profile = room.app.store.account(message.account.id).await?;
        let offset_ms = profile.map_or(message.clock_offset_ms, |profile| profile.clock_offset_ms);
        clocks.insert(message.account, clock::now().plus_millis(offset_ms));
    }
    Ok(clocks)
}

/// The array of `GET /inbox/messages`.
pub(super) fn as_json(messages: &[Shown]) -> Value {
    messages
        .iter()
        .map(|shown| {
            let message = &shown.message;
            json!({
                "request_id": message.request.to_string(),
                "phone_number": message.phone.to_string(),
                "code": message.code.as_str(),
                "text": shown.text,
                "sender": message.sender.as_ref().map(ToString::to_string),
                "sent_at": message.sent_at.unix_seconds(),
                "expires_at": message.expires_at.unix_seconds(),
                "status": shown.delivery.wire_name(),
            })
        })
        .collect()
}

/// The array of `GET /inbox/numbers`.
pub(super) fn numbers_as_json(numbers: &[NumberSummary]) -> Value {
    numbers
        .iter()
        .map(|number| {
            json!({
                "phone_number": number.phone.to_string(),
                "messages": number.messages,
                "unread": number.unread,
                "last_at": number.last.sent_at.unix_seconds(),
            })
        })
        .collect()
}
