//! What recipients read, and the buttons below it. No markup language is used, so nothing that somebody else chose (a sender's
//! name, a browser's name) can become markup; what could look like a link stands in fixed-width letters, where none is made.

use countersign_core::{PhoneNumber, Timestamp};
use frankenstein::methods::{EditMessageTextParams, SendMessageParams};
use frankenstein::types::{
    ButtonStyle, CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, KeyboardButton, LinkPreviewOptions,
    MessageEntity, MessageEntityType, ReplyKeyboardMarkup, ReplyKeyboardRemove, ReplyMarkup,
};

use super::buttons::{Button, Keys};
use crate::{LoginPrompt, MessageKey, OutgoingMessage};

/// The longest name of a browser that is shown, in characters.
const MAX_DEVICE_CHARS: usize = 120;
/// On the button that shares a contact.
pub(super) const SHARE: &str = "Share my phone number";

pub(super) const WELCOME: &str = "Hello! I bring verification codes to your phone number. To begin, share your number with the button below: \
     only your own works. You can leave at any time with /stop.";
pub(super) const NOT_YOURS: &str = "That isn’t your own contact. Please use the button “Share my phone number” below: codes for a number go to \
     its owner only.";
pub(super) const NO_NUMBER: &str = "I can’t read that phone number, sorry. Please try the button below once more.";
pub(super) const STOPPED: &str = "Done: no more codes come here. If you change your mind, /start begins again.";
pub(super) const NOTHING_TO_STOP: &str = "No codes come here. If you want them, /start begins.";
pub(super) const HELP: &str =
    "I only bring verification codes. /start shares your phone number with me, /stop ends that.";
pub(super) const DISOWNED: &str = "You said that this wasn’t you: the code doesn’t work any more.";
pub(super) const CONFIRMED: &str = "You confirmed the sign-in.";
pub(super) const REFUSED: &str = "You said that it wasn’t you: the sign-in is refused.";
pub(super) const LOGIN_OVER: &str = "This question is over.";
pub(super) const BUTTON_TOO_OLD: &str = "This button is too old.";
pub(super) const NOT_LINKED: &str = "Your number isn’t linked here any more: /start begins again.";

/// Opting in is complete.
pub(super) fn linked(phone: PhoneNumber) -> String {
    format!(
        "Done: codes for {} come here from now on. You can leave at any time with /stop.",
        phone.grouped()
    )
}

/// A text.
pub(super) fn plain(chat: i64, text: &str) -> SendMessageParams {
    SendMessageParams::builder()
        .chat_id(chat)
        .text(text)
        .link_preview_options(LinkPreviewOptions::DISABLED)
        .build()
}

/// A text with the button that shares one's own contact.
pub(super) fn asking_for_contact(chat: i64, text: &str) -> SendMessageParams {
    let button = KeyboardButton::builder().text(SHARE).request_contact(true).build();
    let keyboard = ReplyKeyboardMarkup::builder()
        .keyboard(vec![vec![button]])
        .resize_keyboard(true)
        .one_time_keyboard(true)
        .build();
    SendMessageParams {
        reply_markup: Some(ReplyMarkup::ReplyKeyboardMarkup(keyboard)),
        ..plain(chat, text)
    }
}

/// A text that takes that button away.
pub(super) fn without_keyboard(chat: i64, text: &str) -> SendMessageParams {
    let remove = ReplyKeyboardRemove::builder().remove_keyboard(true).build();
    SendMessageParams {
        reply_markup: Some(ReplyMarkup::ReplyKeyboardRemove(remove)),
        ..plain(chat, text)
    }
}

/// The message with a code. The sender's name has no `@`: that would make a link to whoever has this name on Telegram.
pub(super) fn code(chat: i64, message: &OutgoingMessage, keys: &Keys) -> SendMessageParams {
    let code = message.code.as_str();
    let mut text = message.text();
    if let Some(sender) = &message.sender {
        text = format!("{text}\nSender: {}", sender.as_str());
    }
    let text = format!("{text}\n\nDon’t give it to anybody else.");
    let copy = InlineKeyboardButton::builder()
        .text("Copy code")
        .copy_text(CopyTextButton { text: code.to_owned() })
        .build();
    let key = MessageKey {
        account: message.account,
        request: message.request,
    };
    let disown = button("It wasn’t me", keys.seal(Button::Disown(key), chat), None);
    SendMessageParams {
        entities: Some(fixed_width(&text, &[code])),
        protect_content: Some(true),
        reply_markup: Some(ReplyMarkup::InlineKeyboardMarkup(below(vec![copy, disown]))),
        ..plain(chat, &text)
    }
}

/// The question who signs in.
pub(super) fn login(chat: i64, prompt: &LoginPrompt, keys: &Keys) -> SendMessageParams {
    let device: String = prompt.device.chars().filter(|char| !char.is_control()).collect();
    let device: String = device.chars().take(MAX_DEVICE_CHARS).collect();
    let text = format!(
        "Somebody signs in with your phone number. Is that you?\n\nDevice: {device}\nAddress: {}\nTime: {}",
        prompt.address,
        minute(prompt.at),
    );
    let sealed = |is_me| {
        let button = Button::Login {
            attempt: prompt.attempt,
            phone: prompt.phone,
            is_me,
        };
        keys.seal(button, chat)
    };
    let buttons = vec![
        button("Confirm", sealed(true), Some(ButtonStyle::Success)),
        button("It wasn’t me", sealed(false), Some(ButtonStyle::Danger)),
    ];
    SendMessageParams {
        entities: Some(fixed_width(&text, &[&device, &prompt.address])),
        protect_content: Some(true),
        reply_markup: Some(ReplyMarkup::InlineKeyboardMarkup(below(buttons))),
        ..plain(chat, &text)
    }
}

/// Puts that text in place of a message, without buttons.
pub(super) fn edited(chat: i64, message: i32, text: &str) -> EditMessageTextParams {
    EditMessageTextParams::builder()
        .chat_id(chat)
        .message_id(message)
        .text(text)
        .reply_markup(InlineKeyboardMarkup::builder().inline_keyboard(Vec::new()).build())
        .build()
}

fn button(text: &str, data: String, style: Option<ButtonStyle>) -> InlineKeyboardButton {
    InlineKeyboardButton::builder()
        .text(text)
        .callback_data(data)
        .maybe_style(style)
        .build()
}

fn below(buttons: Vec<InlineKeyboardButton>) -> InlineKeyboardMarkup {
    InlineKeyboardMarkup::builder().inline_keyboard(vec![buttons]).build()
}

/// The first place of each part in fixed-width letters. Telegram counts in UTF-16 units.
fn fixed_width(text: &str, parts: &[&str]) -> Vec<MessageEntity> {
    let units = |text: &str| u16::try_from(text.encode_utf16().count()).ok();
    let entity = |part: &&str| {
        let (before, _) = text.split_once(*part).filter(|_| !part.is_empty())?;
        let entity = MessageEntity::builder()
            .type_field(MessageEntityType::Code)
            .offset(units(before)?)
            .length(units(part)?);
        Some(entity.build())
    };
    parts.iter().filter_map(entity).collect()
}

/// `2026-11-23 07:30 UTC`.
fn minute(at: Timestamp) -> String {
    let at = at.rfc_3339();
    let minute = at.get(..16).unwrap_or(&at).replace('T', " ");
    format!("{minute} UTC")
}
