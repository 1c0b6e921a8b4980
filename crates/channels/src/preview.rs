//! What recipients see of the messages that channels send, for the operator's page of texts: one function a kind of message, each
//! of which asks the very function that writes for its channel. Nothing here sends anything.

use countersign_core::{DeliveryState, SenderUsername};

use crate::email::answer_page::{AnswerPage, Wish};
use crate::texts::{Argument, Language};
use crate::{Autofill, InboxMessage, LoginPrompt, OutgoingMessage, email, sms, telegram_bot, webhook};

/// What messages are shown of.
#[derive(Debug, Clone)]
pub struct Sample {
    /// A code on its way; its sender is shown where messages name one.
    pub message: OutgoingMessage,
    /// A sender's name that is as long as names may be.
    pub long_sender: SenderUsername,
    /// What an account wants at the end of its short messages, both parts.
    pub autofill: Autofill,
    /// A question to somebody who signs in.
    pub login: LoginPrompt,
    /// Where they sign in.
    pub site: String,
    /// Where an e-mail's recipient says that it wasn't they.
    pub answer_url: String,
}

/// A message as its recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which one it is. For the operator, in English.
    pub what: &'static str,
    /// The message.
    pub seen: Seen,
}

/// What a recipient sees, by where it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A bubble in a chat.
    Chat(ChatBubble),
    /// A short message.
    Sms(sms::Composed),
    /// An e-mail.
    Email(email::Composed),
}

/// A bubble in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatBubble {
    /// The text, piece by piece.
    pub pieces: Vec<Piece>,
    /// What stands on the buttons below it.
    pub buttons: Vec<String>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it stands in fixed-width letters.
    pub is_fixed_width: bool,
}

impl ChatBubble {
    fn plain(text: String, buttons: Vec<String>) -> Self {
        Self {
            pieces: vec![Piece {
                text,
                is_fixed_width: false,
            }],
            buttons,
        }
    }
}

const fn chat(what: &'static str, bubble: ChatBubble) -> Shown {
    Shown {
        what,
        seen: Seen::Chat(bubble),
    }
}

/// A conversation with the Telegram bot: messages, and what it answers.
pub fn telegram_bot(language: &Language, sample: &Sample) -> Vec<Shown> {
    let without_sender = OutgoingMessage {
        sender: None,
        ..sample.message.clone()
    };
    let mut shown = vec![
        chat("A code", telegram_bot::preview::code(language, &without_sender)),
        chat(
            "A code with its sender",
            telegram_bot::preview::code(language, &sample.message),
        ),
        chat("Signing in", telegram_bot::preview::login(language, &sample.login)),
    ];
    let answers = telegram_bot::preview::answers(language, sample.message.phone);
    shown.extend(answers.into_iter().map(|(what, bubble)| chat(what, bubble)));
    shown
}

/// A code in the built-in messenger.
pub fn inbox(language: &Language, sample: &Sample) -> Vec<Shown> {
    let message = InboxMessage::new(sample.message.clone(), DeliveryState::Sent);
    vec![chat("A code", ChatBubble::plain(message.text(language), Vec::new()))]
}

/// The words that a webhook's receiver is given, to send or not.
pub fn webhook(language: &Language, sample: &Sample) -> Vec<Shown> {
    let message = &sample.message;
    let text = |sender| webhook::text_of(language, message.code.as_str(), sender);
    vec![
        chat("A code", ChatBubble::plain(text(None), Vec::new())),
        chat(
            "A code with its sender",
            ChatBubble::plain(text(message.sender.as_ref()), Vec::new()),
        ),
    ]
}

/// A code in WhatsApp. Meta writes the text of an authentication template, so these are our words in its shape.
pub fn whatsapp(language: &Language, sample: &Sample) -> Vec<Shown> {
    let text = language.text("code", &[("code", Argument::Text(sample.message.code.as_str()))]);
    let button = language.text("telegram-button-copy", &[]);
    vec![chat("A code", ChatBubble::plain(text, vec![button]))]
}

/// Short messages, with and without what they may carry, and what a long name makes of them.
pub fn sms(language: &Language, sample: &Sample) -> Vec<Shown> {
    let nothing = Autofill::default();
    let website = Autofill {
        android_hash: None,
        ..sample.autofill.clone()
    };
    let sender = sample.message.sender.as_ref().map(SenderUsername::as_str);
    let long = Some(sample.long_sender.as_str());
    let code = |what, sender, autofill| {
        let parts = sms::Parts {
            code: sample.message.code.as_str(),
            sender,
            autofill,
        };
        Shown {
            what,
            seen: Seen::Sms(sms::compose(language, &parts)),
        }
    };
    vec![
        code("A code", None, &nothing),
        code("With its sender", sender, &nothing),
        code("With the longest name of a sender", long, &nothing),
        code("For a website", None, &website),
        code("With its sender, for a website", sender, &website),
        code("With its sender, for a website and an app", sender, &sample.autofill),
        code("With the longest name, for both", long, &sample.autofill),
        Shown {
            what: "In the fewest words, where no others fit",
            seen: Seen::Sms(sms::compose_short(language, sample.message.code.as_str())),
        },
        Shown {
            what: "Signing in",
            seen: Seen::Sms(sms::compose_login(language, sample.login.code.as_str(), &sample.site)),
        },
    ]
}

/// The page behind the link in an e-mail: what it says, with its buttons.
pub fn email_answers(language: &Language) -> Vec<Shown> {
    let page = |what, done, stopped| {
        let page = AnswerPage::new(language, done, stopped);
        let text = page.said.unwrap_or(page.heading);
        let buttons = page.choices.into_iter().map(|(_, label)| label).collect();
        chat(what, ChatBubble::plain(text, buttons))
    };
    let dead = AnswerPage::dead(language);
    let dead = ChatBubble::plain(dead.said.unwrap_or(dead.heading), Vec::new());
    vec![
        page("Opens the link", None, false),
        page("Asked for no code", Some(Wish::Disown), false),
        page("Wants no more e-mails", Some(Wish::Stop), true),
        page("Wants e-mails again", Some(Wish::Start), false),
        chat("Opens a link of before dsn_secret was changed", dead),
    ]
}

/// E-mails.
pub fn email(language: &Language, sample: &Sample) -> Vec<Shown> {
    let message = &sample.message;
    let life = message.expires_at.millis() - message.sent_at.millis();
    let minutes = u32::try_from(life / 60_000).unwrap_or_default();
    let code = email::Parts {
        code: message.code.as_str(),
        sender: message.sender.as_ref().map(SenderUsername::as_str),
        minutes,
        answer_url: Some(&sample.answer_url),
    };
    let login = email::LoginParts {
        code: sample.login.code.as_str(),
        site: &sample.site,
        device: &sample.login.device,
        address: &sample.login.address,
        minutes,
        answer_url: Some(&sample.answer_url),
    };
    let shown = |what, composed| Shown {
        what,
        seen: Seen::Email(composed),
    };
    let without_sender = email::Parts { sender: None, ..code };
    vec![
        shown("A code", email::compose(language, &without_sender)),
        shown("A code with its sender", email::compose(language, &code)),
        shown("Signing in", email::compose_login(language, &login)),
    ]
}
