//! What recipients read, in their language, and the buttons below it. No markup language is used, so nothing that somebody else chose (a sender's
//! name, a browser's name) can become markup; what could look like a link stands in fixed-width letters, where none is made.

use countersign_core::{PhoneNumber, Timestamp};
use frankenstein::methods::{EditMessageTextParams, SendMessageParams};
use frankenstein::types::{
    ButtonStyle, CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, KeyboardButton, LinkPreviewOptions,
    MessageEntity, MessageEntityType, ReplyKeyboardMarkup, ReplyKeyboardRemove, ReplyMarkup,
};

use super::buttons::{Button, Keys};
use crate::{Argument, Language, LoginPrompt, MessageKey, OutgoingMessage};

/// The longest name of a browser that is shown, in characters.
const MAX_DEVICE_CHARS: usize = 120;
/// On the button that shares a contact.
const SHARE: &str = "telegram-button-share";

/// Opting in is complete.
pub(super) fn linked(language: &Language, phone: PhoneNumber) -> String {
    language.text("telegram-linked", &[("phone", Argument::Text(&phone.grouped()))])
}

/// Somebody shared a contact that isn't their own.
pub(super) fn not_yours(language: &Language) -> String {
    let button = language.text(SHARE, &[]);
    language.text("telegram-not-yours", &[("button", Argument::Text(&button))])
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
pub(super) fn asking_for_contact(chat: i64, language: &Language, text: &str) -> SendMessageParams {
    let button = KeyboardButton::builder()
        .text(language.text(SHARE, &[]))
        .request_contact(true)
        .build();
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
pub(super) fn code(chat: i64, language: &Language, message: &OutgoingMessage, keys: &Keys) -> SendMessageParams {
    let code = message.code.as_str();
    let mut lines = Lines::default();
    lines.push(&language.text("code", &[("code", Argument::Text(code))]), code);
    if let Some(sender) = &message.sender {
        lines.push(
            &language.text("telegram-sender", &[("sender", Argument::Text(sender.as_str()))]),
            "",
        );
    }
    lines.push("", "");
    lines.push(&language.text("telegram-warning", &[]), "");
    let copy = InlineKeyboardButton::builder()
        .text(language.text("telegram-button-copy", &[]))
        .copy_text(CopyTextButton { text: code.to_owned() })
        .build();
    let key = MessageKey::of(message);
    let not_me = language.text("telegram-button-not-me", &[]);
    let disown = button(&not_me, keys.seal(Button::Disown(key), chat), None);
    lines.with_buttons(chat, vec![copy, disown])
}

/// The question who signs in.
pub(super) fn login(chat: i64, language: &Language, prompt: &LoginPrompt, keys: &Keys) -> SendMessageParams {
    let device: String = prompt.device.chars().filter(|char| !char.is_control()).collect();
    let device: String = device.chars().take(MAX_DEVICE_CHARS).collect();
    let say = |id, name, value| language.text(id, &[(name, Argument::Text(value))]);
    let mut lines = Lines::default();
    lines.push(&language.text("telegram-login-question", &[]), "");
    lines.push("", "");
    lines.push(&say("telegram-login-device", "device", &device), &device);
    lines.push(
        &say("telegram-login-address", "address", &prompt.address),
        &prompt.address,
    );
    lines.push(&say("telegram-login-time", "time", &minute(prompt.at)), "");
    let sealed = |is_me| {
        let button = Button::Login {
            attempt: prompt.attempt,
            phone: prompt.phone,
            is_me,
        };
        keys.seal(button, chat)
    };
    let (confirm, not_me) = (
        language.text("telegram-button-confirm", &[]),
        language.text("telegram-button-not-me", &[]),
    );
    let buttons = vec![
        button(&confirm, sealed(true), Some(ButtonStyle::Success)),
        button(&not_me, sealed(false), Some(ButtonStyle::Danger)),
    ];
    lines.with_buttons(chat, buttons)
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

/// The lines of a message, and what stands in fixed-width letters in them.
#[derive(Default)]
struct Lines {
    text: String,
    entities: Vec<MessageEntity>,
}

impl Lines {
    /// Adds a line. The last place of `fixed` in it, where it isn't empty, stands in fixed-width letters: what is filled in
    /// follows the words in most languages. Telegram counts in UTF-16 units.
    fn push(&mut self, line: &str, fixed: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let place = line.rfind(fixed).filter(|_| !fixed.is_empty());
        if let Some(before) = place.and_then(|place| line.get(..place))
            && let (Some(offset), Some(length)) = (units(&[&self.text, before]), units(&[fixed]))
        {
            let entity = MessageEntity::builder()
                .type_field(MessageEntityType::Code)
                .offset(offset)
                .length(length);
            self.entities.push(entity.build());
        }
        self.text.push_str(line);
    }

    fn with_buttons(self, chat: i64, buttons: Vec<InlineKeyboardButton>) -> SendMessageParams {
        SendMessageParams {
            entities: Some(self.entities),
            protect_content: Some(true),
            reply_markup: Some(ReplyMarkup::InlineKeyboardMarkup(below(buttons))),
            ..plain(chat, &self.text)
        }
    }
}

fn units(texts: &[&str]) -> Option<u16> {
    let units = texts.iter().map(|text| text.encode_utf16().count()).sum::<usize>();
    u16::try_from(units).ok()
}

/// `2026-11-23 07:30 UTC`.
fn minute(at: Timestamp) -> String {
    let at = at.rfc_3339();
    let minute = at.get(..16).unwrap_or(&at).replace('T', " ");
    format!("{minute} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Texts;
    use crate::config::Secret;
    use crate::testing;

    /// What stands in fixed-width letters.
    fn fixed(message: &SendMessageParams) -> Vec<String> {
        let units: Vec<u16> = message.text.encode_utf16().collect();
        let entities = message.entities.as_deref().unwrap_or_default();
        let part = |entity: &MessageEntity| {
            let from = usize::from(entity.offset);
            String::from_utf16(&units[from..from + usize::from(entity.length)]).unwrap()
        };
        entities.iter().map(part).collect()
    }

    #[test]
    fn in_every_language_the_code_and_what_a_browser_says_stand_in_fixed_width_letters() {
        let texts = Texts::built_in().unwrap();
        let keys = Keys::of(&Secret::new("1:a".to_owned()));
        let at = Timestamp::from_millis(1_790_000_000_000);
        let mut message = testing::message(1, "+393331234567", "48291", at).unwrap();
        message.sender = testing::sender("shop_48291");
        let prompt = LoginPrompt {
            attempt: 1,
            phone: message.phone,
            code: message.code,
            // Each stands in the words before it as well, in some language.
            device: "e".to_owned(),
            address: "2001:db8::1".to_owned(),
            at,
            expires_at: at,
        };
        for language in texts.languages() {
            let sent = code(7, language, &message, &keys);
            assert_eq!(fixed(&sent), ["48291"], "{}", sent.text);
            assert!(sent.text.contains("shop_48291"));
            let asked = login(7, language, &prompt, &keys);
            assert_eq!(fixed(&asked), ["e", "2001:db8::1"], "{}", asked.text);
            let entities = asked.entities.unwrap();
            let before: Vec<u16> = asked.text.encode_utf16().take(entities[0].offset.into()).collect();
            let before = String::from_utf16(&before).unwrap();
            assert!(before.trim_end_matches('\u{2066}').ends_with(": "), "{before}");
        }
    }
}
