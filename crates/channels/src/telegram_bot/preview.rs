//! The bot's messages as recipients see them, for the operator's page of texts: made by the functions that write them, and read
//! as Telegram's apps show them.

use countersign_core::PhoneNumber;
use frankenstein::methods::SendMessageParams;
use frankenstein::types::{MessageEntity, ReplyMarkup};

use super::buttons::Keys;
use super::texts;
use crate::config::Secret;
use crate::preview::{ChatBubble, Piece};
use crate::{Language, LoginPrompt, OutgoingMessage};

/// No chat: what is shown isn't sent.
const CHAT: i64 = 0;

/// A message with a code.
pub(crate) fn code(language: &Language, message: &OutgoingMessage) -> ChatBubble {
    bubble(texts::code(CHAT, language, message, &keys()))
}

/// The question who signs in.
pub(crate) fn login(language: &Language, prompt: &LoginPrompt) -> ChatBubble {
    bubble(texts::login(CHAT, language, prompt, &keys()))
}

/// What the bot answers, each with the occasion.
pub(crate) fn answers(language: &Language, phone: PhoneNumber) -> Vec<(&'static str, ChatBubble)> {
    let say = |id| bubble(texts::plain(CHAT, &language.text(id, &[])));
    let asking = |text: &str| bubble(texts::asking_for_contact(CHAT, language, text));
    vec![
        ("Begins with the bot", asking(&language.text("telegram-welcome", &[]))),
        ("Shares somebody else’s contact", asking(&texts::not_yours(language))),
        (
            "Shares no phone number",
            asking(&language.text("telegram-no-number", &[])),
        ),
        (
            "Shares their own number",
            bubble(texts::plain(CHAT, &texts::linked(language, phone))),
        ),
        ("Presses “It wasn’t me” below a code", say("telegram-answer-disowned")),
        ("Confirms a sign-in", say("telegram-answer-confirmed")),
        ("Refuses a sign-in", say("telegram-answer-refused")),
        ("A sign-in is over", say("telegram-login-over")),
        ("Presses a button that is too old", say("telegram-answer-too-old")),
        ("Presses a button after leaving", say("telegram-answer-not-linked")),
        ("Leaves", say("telegram-stopped")),
        ("Leaves without having come", say("telegram-nothing-to-stop")),
        ("Writes anything else", say("telegram-help")),
    ]
}

/// What is behind a button isn't shown.
fn keys() -> Keys {
    Keys::of(&Secret::new(String::new()))
}

fn bubble(message: SendMessageParams) -> ChatBubble {
    let buttons = match message.reply_markup {
        Some(ReplyMarkup::InlineKeyboardMarkup(markup)) => {
            let buttons = markup.inline_keyboard.into_iter().flatten();
            buttons.map(|button| button.text).collect()
        }
        Some(ReplyMarkup::ReplyKeyboardMarkup(markup)) => {
            let buttons = markup.keyboard.into_iter().flatten();
            buttons.map(|button| button.text).collect()
        }
        _ => Vec::new(),
    };
    ChatBubble {
        pieces: pieces(&message.text, message.entities.as_deref().unwrap_or_default()),
        buttons,
    }
}

/// The text, taken apart where fixed-width letters begin and end. All entities of ours are of that kind, in order; Telegram counts
/// in UTF-16 units.
fn pieces(text: &str, entities: &[MessageEntity]) -> Vec<Piece> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut pieces = Vec::new();
    let mut add = |from: usize, to: usize, is_fixed_width| {
        let part = units.get(from..to).unwrap_or_default();
        if !part.is_empty() {
            let text = String::from_utf16_lossy(part);
            pieces.push(Piece { text, is_fixed_width });
        }
    };
    let mut done = 0;
    for entity in entities {
        let from = usize::from(entity.offset);
        let to = from + usize::from(entity.length);
        add(done, from, false);
        add(from, to, true);
        done = to;
    }
    add(done, units.len(), false);
    pieces
}
