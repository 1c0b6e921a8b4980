//! What a provider's answers mean, as the operator describes them: by HTTP status, and by values in a JSON answer.

use std::ops::RangeInclusive;
use std::time::Duration;

use countersign_core::Detail;
use serde_json::Value;

use super::super::{Outcome, Sending};
use crate::ports::Handle;

/// The pause that is made where a provider names none, and the longest that is believed.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_hours(1);
/// The longest value of an answer that is shown.
const MAX_SHOWN: usize = 32;
/// More digits in a row could be a number.
const MAX_SHOWN_DIGITS: usize = 6;

/// Something that may be so with an answer.
pub(super) enum Test {
    /// `404`, `500-599`.
    Status(RangeInclusive<u16>),
    /// `/error/code=17`: a JSON pointer (RFC 6901) and the value there.
    Value { pointer: String, value: String },
}

/// How answers are judged. What isn't described is judged by HTTP's own rules.
pub(super) struct Judge {
    pub(super) success: Vec<Test>,
    /// Where a value says whether it worked, and which values say yes.
    pub(super) success_value: Option<(String, Vec<String>)>,
    /// Where the provider's name of the message is.
    pub(super) id_pointer: Option<String>,
    /// Whether our own name of the message is its handle.
    pub(super) own_id: bool,
    pub(super) unreachable: Vec<Test>,
    pub(super) later: Vec<Test>,
    pub(super) refused: Vec<Test>,
}

impl Test {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            let (pointer, value) = text.rsplit_once('=')?;
            return Some(Self::Value {
                pointer: pointer.trim_end().to_owned(),
                value: value.trim_start().to_owned(),
            });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
        let (from, to) = (status(from)?, status(to)?);
        (from <= to).then_some(Self::Status(from..=to))
    }

    fn holds(&self, status: u16, answer: Option<&Value>) -> bool {
        match self {
            Self::Status(range) => range.contains(&status),
            Self::Value { pointer, value } => {
                answer.and_then(|answer| text_at(answer, pointer)).as_ref() == Some(value)
            }
        }
    }
}

/// As the operator wrote it: it can be shown.
impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(range) if range.start() == range.end() => write!(f, "the HTTP status {}", range.start()),
            Self::Status(range) => write!(f, "an HTTP status from {} to {}", range.start(), range.end()),
            Self::Value { pointer, value } => write!(f, "{pointer}={value}"),
        }
    }
}

impl Judge {
    /// What became of a message.
    pub(super) fn judge(
        &self,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        sending: &Sending<'_>,
    ) -> Outcome {
        let answer: Option<Value> = serde_json::from_slice(body).ok();
        let matched = |tests: &[Test]| {
            let test = tests.iter().find(|test| test.holds(status, answer.as_ref()))?;
            Some(Detail::new(&format!("the provider says {test}")))
        };
        let pause = retry_after.unwrap_or(PAUSE).clamp(PAUSE, MAX_PAUSE);
        if let Some(detail) = matched(&self.unreachable) {
            return Outcome::CannotReach(detail);
        }
        if let Some(detail) = matched(&self.later) {
            return Outcome::Later(pause, detail);
        }
        if let Some(detail) = matched(&self.refused) {
            return Outcome::Refused(detail);
        }
        if !self.success.iter().any(|test| test.holds(status, answer.as_ref())) {
            let detail = Detail::new(&format!("the provider answers with the HTTP status {status}"));
            return match status {
                429 => Outcome::Later(pause, detail),
                // A redirection isn't followed; what isn't there, isn't allowed or not for us is the operator's to mend.
                300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => Outcome::Mend(detail),
                408 => Outcome::Failed(detail),
                400..=499 => Outcome::Refused(detail),
                _ => Outcome::Failed(detail),
            };
        }
        let senseless = || Outcome::Failed(Detail::new("an answer that makes no sense"));
        if let Some((pointer, values)) = &self.success_value {
            match answer.as_ref().and_then(|answer| text_at(answer, pointer)) {
                None => return senseless(),
                Some(value) if !values.contains(&value) => {
                    let detail = match shown(&value, sending.code) {
                        Some(value) => format!("the provider says {pointer}={value}"),
                        None => format!("the provider says no success at {pointer}"),
                    };
                    return Outcome::Refused(Detail::new(&detail));
                }
                Some(_) => {}
            }
        }
        let name = match &self.id_pointer {
            None => return Outcome::Accepted(Handle::new(&sending.id).filter(|_| self.own_id)),
            Some(pointer) => answer.as_ref().and_then(|answer| text_at(answer, pointer)),
        };
        match name.as_deref().and_then(Handle::new) {
            Some(handle) => Outcome::Accepted(Some(handle)),
            None => senseless(),
        }
    }
}

/// A value of an answer as a text; nothing that has parts.
pub(super) fn text_at(answer: &Value, pointer: &str) -> Option<String> {
    match answer.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        plain => Some(plain.to_string()),
    }
}

/// A value, if it is a word or an error's code, and surely no number or text of somebody's, nor the code that was sent.
fn shown<'a>(value: &'a str, sent_code: &str) -> Option<&'a str> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    if plain.contains(sent_code) {
        return None;
    }
    let mut digits = 0;
    let mut most_digits = 0;
    for byte in value.bytes() {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        most_digits = most_digits.max(digits);
    }
    let is_plain = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    ((1..=MAX_SHOWN).contains(&value.len()) && is_plain && most_digits <= MAX_SHOWN_DIGITS).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_status_a_range_or_a_value() {
        for (text, written) in [
            ("404", "the HTTP status 404"),
            ("500-599", "an HTTP status from 500 to 599"),
            ("/error/code=17", "/error/code=17"),
            ("/a=b=c", "/a=b=c"),
        ] {
            assert_eq!(Test::parse(text).unwrap().to_string(), written);
        }
        for text in ["", "99", "600", "599-500", "ok", "/error/code", "404-"] {
            assert!(Test::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_what_is_surely_no_number_is_shown() {
        for value in ["INVALID_NUMBER", "21211", "4.1-x"] {
            assert_eq!(shown(value, "48291"), Some(value));
        }
        for value in [
            "",
            "+4915123456789",
            "4915123",
            "not a word",
            "ü",
            "a-word-that-is-longer-than-thirty-two",
            "48291",
            "bad_code_482-91",
        ] {
            assert_eq!(shown(value, "48291"), None, "{value}");
        }
    }

    #[test]
    fn numbers_and_flags_of_an_answer_are_compared_as_texts() {
        let answer = serde_json::json!({"a": 7, "b": true, "c": "x", "d": null, "e": {}});
        let texts: Vec<_> = ["/a", "/b", "/c", "/d", "/e", "/f"]
            .iter()
            .map(|pointer| text_at(&answer, pointer))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(texts, [some("7"), some("true"), some("x"), None, None, None]);
    }
}
