//! What Telegram tells a bot, as far as this one listens. Each update is read on its own and leniently: one that makes no sense
//! is passed over, and never holds up those after it.

use std::collections::VecDeque;

use countersign_core::Locale;
use frankenstein::types::AllowedUpdate;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What we ask Telegram to tell us.
pub(super) fn allowed() -> Vec<AllowedUpdate> {
    vec![
        AllowedUpdate::Message,
        AllowedUpdate::CallbackQuery,
        AllowedUpdate::MyChatMember,
    ]
}

/// Names an update. `None` where it isn't one.
pub(super) fn id_of(update: &Value) -> Option<i64> {
    update.get("update_id")?.as_i64()
}

/// Something happened.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub(super) message: Option<Message>,
    pub(super) callback_query: Option<CallbackQuery>,
    pub(super) my_chat_member: Option<MyChatMember>,
}

/// Somebody wrote, or shared a contact.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "message_id", default)]
    pub(super) id: i32,
    /// In seconds.
    #[serde(default)]
    pub(super) date: i64,
    pub(super) chat: Chat,
    pub(super) from: Option<User>,
    pub(super) text: Option<String>,
    pub(super) contact: Option<Contact>,
    pub(super) forward_origin: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

impl Chat {
    /// Whether only that person and the bot are in it: there a chat's id is the person's.
    pub(super) fn is_private_with(&self, user: &User) -> bool {
        self.kind == "private" && self.id == user.id
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    /// The language of their app, as a tag.
    language_code: Option<String>,
}

impl User {
    /// The language of their app, where Telegram tells it.
    pub(super) fn locale(&self) -> Option<Locale> {
        Locale::parse(self.language_code.as_deref()?)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    /// E.164, with or without its plus.
    pub(super) phone_number: String,
    /// Whose number it is, as Telegram itself found out.
    pub(super) user_id: Option<i64>,
}

/// Somebody pressed a button.
#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    pub(super) id: String,
    pub(super) from: User,
    /// The message with the button.
    pub(super) message: Option<Message>,
    pub(super) data: Option<String>,
}

/// Somebody blocked the bot, or lifted that.
#[derive(Debug, Deserialize)]
pub(super) struct MyChatMember {
    pub(super) chat: Chat,
    pub(super) from: User,
    /// In seconds.
    #[serde(default)]
    pub(super) date: i64,
    pub(super) new_chat_member: Membership,
}

#[derive(Debug, Deserialize)]
pub(super) struct Membership {
    pub(super) status: String,
}

/// Which updates were handled lately. Telegram tells an update again where it didn't hear that it was taken.
#[derive(Debug, Default)]
pub(super) struct Handled(VecDeque<i64>);

impl Handled {
    /// How many are remembered; more than one answer of `getUpdates` has.
    const CAPACITY: usize = 256;

    pub(super) fn contains(&self, id: i64) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn insert(&mut self, id: i64) {
        if !self.contains(id) {
            if self.0.len() == Self::CAPACITY {
                self.0.pop_front();
            }
            self.0.push_back(id);
        }
    }

    /// The last ones as a note: below its 1,024 bytes with ids of ten digits.
    pub(super) fn encode(&self, count: usize) -> String {
        let last = self.0.iter().skip(self.0.len().saturating_sub(count));
        let last: Vec<_> = last.map(ToString::to_string).collect();
        last.join(",")
    }

    pub(super) fn decode(&mut self, note: &str) {
        for id in note.split(',').filter_map(|id| id.parse().ok()) {
            self.insert(id);
        }
    }
}
