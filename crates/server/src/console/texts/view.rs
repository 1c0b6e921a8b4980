//! Texts as the page shows them: bubbles by where they are seen, and how long short messages are.

use std::sync::Arc;

use countersign_channels::Language;
use countersign_channels::preview::{self, ChatBubble, Sample, Seen, Shown};

use crate::site::bubbles::{SmsBubble, Tongue};

/// What languages call themselves; the tag stands for those that an operator added.
const OWN_NAMES: [(&str, &str); 6] = [
    ("ar", "العربية"),
    ("de", "Deutsch"),
    ("en", "English"),
    ("es", "Español"),
    ("pt", "Português"),
    ("ru", "Русский"),
];

pub(super) fn own_name(tag: &str) -> &str {
    let own = OWN_NAMES.iter().find(|(known, _)| *known == tag);
    own.map_or(tag, |(_, name)| name)
}

/// A language in full.
pub(super) struct InFull {
    pub(super) sms: Vec<(&'static str, SmsBubble)>,
    pub(super) telegram: Vec<(&'static str, ChatBubble)>,
    pub(super) inbox: Vec<(&'static str, ChatBubble)>,
    pub(super) webhook: Vec<(&'static str, ChatBubble)>,
    pub(super) whatsapp: Vec<(&'static str, ChatBubble)>,
    pub(super) emails: Vec<Email>,
    /// What the page behind their link says.
    pub(super) email_answers: Vec<(&'static str, ChatBubble)>,
}

/// An e-mail.
pub(super) struct Email {
    pub(super) what: &'static str,
    pub(super) subject: String,
    pub(super) text: String,
    /// Where its HTML is.
    pub(super) path: String,
}

impl InFull {
    /// `email_path`: where the HTML of the e-mail with that place is.
    pub(super) fn new(language: &Language, sample: &Sample, email_path: impl Fn(usize) -> String) -> Self {
        let emails = preview::email(language, sample).into_iter().enumerate();
        Self {
            sms: sms(language, sample),
            telegram: chat(preview::telegram_bot(language, sample)),
            inbox: chat(preview::inbox(language, sample)),
            email_answers: chat(preview::email_answers(language)),
            webhook: chat(preview::webhook(language, sample)),
            whatsapp: chat(preview::whatsapp(language, sample)),
            emails: emails
                .filter_map(|(place, shown)| match shown.seen {
                    Seen::Email(composed) => Some(Email {
                        what: shown.what,
                        subject: composed.subject,
                        text: composed.text,
                        path: email_path(place),
                    }),
                    _ => None,
                })
                .collect(),
        }
    }
}

/// A language at a glance: a code as it comes by the ways that most people have.
pub(super) struct Glance {
    pub(super) name: String,
    pub(super) tongue: Tongue,
    /// Where the language is shown in full.
    pub(super) link: String,
    pub(super) sms: Option<SmsBubble>,
    pub(super) telegram: Option<ChatBubble>,
    pub(super) subject: String,
}

impl Glance {
    pub(super) fn new(language: &Language, sample: &Sample, link: String) -> Self {
        let tongue = Tongue::of(language);
        let full = InFull::new(language, sample, |_| String::new());
        Self {
            name: own_name(&tongue.tag).to_owned(),
            tongue,
            link,
            // The second of each has its sender.
            sms: full.sms.into_iter().nth(1).map(|(_, bubble)| bubble),
            telegram: full.telegram.into_iter().nth(1).map(|(_, bubble)| bubble),
            subject: full
                .emails
                .into_iter()
                .nth(1)
                .map(|email| email.subject)
                .unwrap_or_default(),
        }
    }
}

/// How long one short message is, in each language.
pub(super) struct LengthRow {
    pub(super) what: &'static str,
    pub(super) bubbles: Vec<SmsBubble>,
}

/// A row for each short message, with a cell for each language.
pub(super) fn lengths(languages: &[Arc<Language>], sample: &Sample) -> Vec<LengthRow> {
    let mut rows: Vec<LengthRow> = Vec::new();
    for language in languages {
        for (place, (what, bubble)) in sms(language, sample).into_iter().enumerate() {
            match rows.get_mut(place) {
                Some(row) => row.bubbles.push(bubble),
                None => rows.push(LengthRow {
                    what,
                    bubbles: vec![bubble],
                }),
            }
        }
    }
    rows
}

fn sms(language: &Language, sample: &Sample) -> Vec<(&'static str, SmsBubble)> {
    let shown = preview::sms(language, sample).into_iter();
    shown
        .filter_map(|shown| match shown.seen {
            Seen::Sms(composed) => Some((shown.what, SmsBubble::new(language, composed))),
            _ => None,
        })
        .collect()
}

fn chat(shown: Vec<Shown>) -> Vec<(&'static str, ChatBubble)> {
    shown
        .into_iter()
        .filter_map(|shown| match shown.seen {
            Seen::Chat(bubble) => Some((shown.what, bubble)),
            _ => None,
        })
        .collect()
}
