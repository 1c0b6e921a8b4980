//! Messages as recipients see them: what the parts of `bubble_parts.html` are filled with. The words come from the channels'
//! own functions.

use countersign_channels::Language;
use countersign_channels::sms::{Alphabet, Composed};

/// In which language a message is, and from where to where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Tongue {
    /// A tag, for `lang`.
    pub(crate) tag: String,
    /// For `dir`.
    pub(crate) direction: &'static str,
}

impl Tongue {
    pub(crate) fn of(language: &Language) -> Self {
        Self {
            tag: language.tag().to_string(),
            direction: if language.is_right_to_left() { "rtl" } else { "ltr" },
        }
    }
}

/// A short message.
#[derive(Debug, Clone)]
pub(crate) struct SmsBubble {
    pub(crate) tongue: Tongue,
    pub(crate) text: String,
    /// `2 segments`.
    pub(crate) segments: String,
    /// Whether it takes more than one: then it costs more than it might.
    pub(crate) is_long: bool,
    /// Its length, in characters of its alphabet.
    pub(crate) units: usize,
    /// How long it could be without another segment.
    pub(crate) room: usize,
    /// What it is sent in: `the GSM alphabet`.
    pub(crate) alphabet: &'static str,
}

impl SmsBubble {
    pub(crate) fn new(language: &Language, composed: Composed) -> Self {
        let (alone, one_of_several, alphabet) = match composed.alphabet {
            Alphabet::Gsm7 => (160, 153, "the GSM alphabet"),
            Alphabet::Ucs2 => (70, 67, "UCS-2"),
        };
        let Composed { segments, units, .. } = composed;
        let room = if segments == 1 {
            alone
        } else {
            segments * one_of_several
        };
        Self {
            tongue: Tongue::of(language),
            segments: if segments == 1 {
                "1 segment".to_owned()
            } else {
                format!("{segments} segments")
            },
            is_long: segments > 1,
            units,
            room,
            alphabet,
            text: composed.text,
        }
    }
}
