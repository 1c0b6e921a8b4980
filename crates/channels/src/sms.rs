//! Short messages: what they say in the recipient's language, what phones and browsers fill in by themselves, and how many
//! segments that takes. Channels that send SMS call [`compose`]; what an operator wrote instead goes through [`finish`].
//!
//! A *segment* is one short message of the network, which is what operators pay for: 160 septets of the GSM alphabet or 70
//! units of UCS-2, and 153 or 67 where a text needs several of them.

pub(crate) mod gsm7;
mod plain;
pub(crate) mod replies;

use countersign_core::{LineType, PhoneNumber};

use crate::{Argument, Autofill, Language};

/// Google's SMS Retriever reads messages up to that length, in bytes.
const MAX_RETRIEVER_BYTES: usize = 140;

/// What a message is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// The GSM 7-bit default alphabet with its extension table.
    Gsm7,
    /// UCS-2, in which there are all letters.
    Ucs2,
}

impl Alphabet {
    /// How many units one segment has where it is alone, and where there are several.
    const fn segment(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }
}

/// How long a text is as a short message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// What it has to be sent in.
    pub alphabet: Alphabet,
    /// In septets, or in units of UCS-2.
    pub units: usize,
    /// How many segments it takes; at least one.
    pub segments: usize,
}

/// What a message carries.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The code.
    pub code: &'a str,
    /// In whose name it is sent.
    pub sender: Option<&'a str>,
    /// What the account wants at its end.
    pub autofill: &'a Autofill,
}

/// A message as it is sent. It holds a code.
#[derive(Clone, PartialEq, Eq)]
pub struct Composed {
    /// What the recipient reads.
    pub text: String,
    /// What it has to be sent in.
    pub alphabet: Alphabet,
    /// Its length in septets, or in units of UCS-2.
    pub units: usize,
    /// How many segments it takes; at least one.
    pub segments: usize,
}

impl Composed {
    fn new(text: String) -> Self {
        let Length {
            alphabet,
            units,
            segments,
        } = measure(&text);
        Self {
            text,
            alphabet,
            units,
            segments,
        }
    }
}

/// Without the text: a code is in it.
impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Composed")
            .field("alphabet", &self.alphabet)
            .field("units", &self.units)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// Whether a number can take short messages, as far as its numbering plan says: a line that is surely fixed can't.
pub(crate) fn may_take_messages(phone: PhoneNumber) -> bool {
    phone.details().line_type != LineType::FixedLine
}

/// How long a text is. No character that is written as two units is torn between two segments.
pub fn measure(text: &str) -> Length {
    let alphabet = if text.chars().all(|char| gsm7::septets(char).is_some()) {
        Alphabet::Gsm7
    } else {
        Alphabet::Ucs2
    };
    let widths = text.chars().map(|char| match alphabet {
        Alphabet::Gsm7 => gsm7::septets(char).unwrap_or(1),
        Alphabet::Ucs2 => char.len_utf16(),
    });
    let (alone, one_of_several) = alphabet.segment();
    let (mut units, mut segments, mut in_last) = (0, 1, 0);
    for width in widths {
        units += width;
        in_last += width;
        if in_last > one_of_several {
            segments += 1;
            in_last = width;
        }
    }
    Length {
        alphabet,
        units,
        segments: if units <= alone { 1 } else { segments },
    }
}

/// A message with a code: the longest wording that fits one segment, else the one with the fewest segments. Letters of which
/// the GSM alphabet has only the plain form lose their accents where that saves a segment.
pub fn compose(language: &Language, parts: &Parts<'_>) -> Composed {
    let code = ("code", Argument::Text(parts.code));
    let mut wordings = Vec::with_capacity(4);
    if let Some(sender) = parts.sender {
        wordings.push(language.text("sms-code-from", &[code, ("sender", Argument::Text(sender))]));
    }
    wordings.push(language.text("sms-code", &[code]));
    wordings.push(language.text("sms-code-short", &[code]));
    // The code alone says enough where its line for autofill leaves no room for a word of the language's letters.
    wordings.push(parts.code.to_owned());
    shortest(&wordings, parts.code, parts.autofill)
}

/// The wording of fewest words alone, for those who look at texts.
pub(crate) fn compose_short(language: &Language, code: &str) -> Composed {
    Composed::new(language.text("sms-code-short", &[("code", Argument::Text(code))]))
}

/// A message with the code of a sign-in to this site's own pages. Nothing is filled in from it: whoever reads it should read
/// its warning.
pub fn compose_login(language: &Language, code: &str, site: &str) -> Composed {
    let arguments = [("code", Argument::Text(code)), ("site", Argument::Text(site))];
    let wording = language.text("sms-login", &arguments);
    shortest(&[wording], code, &Autofill::default())
}

/// A message in words that the operator set, as they are, with what the account wants at its end.
pub fn finish(text: &str, code: &str, autofill: &Autofill) -> Composed {
    Composed::new(with_autofill(text, code, autofill))
}

/// The first that fits, each as it is written and then in plain letters.
fn shortest(wordings: &[String], code: &str, autofill: &Autofill) -> Composed {
    let mut candidates = Vec::with_capacity(2 * wordings.len());
    for wording in wordings {
        candidates.push(finish(wording, code, autofill));
        candidates.extend(plain::in_gsm7(wording).map(|plain| finish(&plain, code, autofill)));
    }
    let for_retriever = autofill.android_hash.is_some();
    let rank = |candidate: &Composed| {
        let too_long = for_retriever && candidate.text.len() > MAX_RETRIEVER_BYTES;
        (candidate.segments, too_long)
    };
    // The first of those that are equally good.
    let best = candidates.into_iter().min_by_key(rank);
    best.unwrap_or_else(|| finish(code, code, autofill))
}

/// What phones look for stands below the words: the Android app's hash in a line of its own (SMS Retriever), and in the very last
/// line the website and the code (WICG, "Origin-bound one-time codes delivered via SMS"), which binds only there.
fn with_autofill(text: &str, code: &str, autofill: &Autofill) -> String {
    let hash = autofill.android_hash.clone();
    let bound = autofill.domain.as_ref().map(|domain| format!("@{domain} #{code}"));
    let lines: Vec<String> = hash.into_iter().chain(bound).collect();
    if lines.is_empty() {
        return text.to_owned();
    }
    format!("{}\n\n{}", text.trim_end(), lines.join("\n"))
}

#[cfg(test)]
mod tests;
