//! The Cloud API's JSON: the one message that this channel sends, and its answers, read with care. Unknown fields are passed over;
//! only what this channel needs must be there.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::codes::{self, Meaning};
use crate::ports::Handle;

/// The longest pause that the other side can ask for.
const MAX_WAIT: Duration = Duration::from_hours(1);
/// Without a better word: how long to wait after `429 Too Many Requests`.
const TOO_MANY: Duration = Duration::from_secs(10);
/// The longest number that WhatsApp calls somebody by.
const MAX_WA_ID_DIGITS: usize = 20;

/// What is said of a message that isn't on its way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It waits until Meta has judged how people take the template.
    Quality,
    /// Sending is paused.
    Paused,
}

/// The other side took a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    /// What it calls the message (`wamid.…`); `None` where that is too long to be kept.
    pub(super) id: Option<Handle>,
    /// By which digits WhatsApp calls the recipient: in some countries other ones than the number's.
    pub(super) wa_id: Option<String>,
    pub(super) hold: Option<Hold>,
}

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The other side says no.
    Refused(Refusal),
    /// There was no answer: no connection, a time-out, a connection that broke off. What was asked may have been done.
    NoAnswer(String),
    /// There was an answer, and it makes no sense. What was asked may have been done.
    Senseless(String),
}

/// An error of the Graph API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `None` where only the HTTP status says it.
    pub(super) code: Option<i64>,
    http_status: u16,
    /// What `Retry-After` said.
    pub(super) retry_after: Option<Duration>,
}

/// For the operator's eyes and the request's timeline: no code, no number, no address.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal { code: Some(code), .. }) => f.write_str(&codes::describe(*code)),
            Self::Refused(Refusal { http_status, .. }) => write!(f, "HTTP status {http_status}"),
            Self::NoAnswer(reason) => write!(f, "no answer: {reason}"),
            Self::Senseless(reason) => write!(f, "an answer that makes no sense: {reason}"),
        }
    }
}

impl Refusal {
    pub(super) fn meaning(&self) -> Meaning {
        let Some(code) = self.code else {
            return Meaning::Busy(TOO_MANY);
        };
        match codes::known(code) {
            Some((meaning, _)) => meaning,
            // What went wrong over there may have gone wrong after the message was sent.
            None if self.http_status >= 500 => Meaning::UnknownOutcome,
            None => Meaning::Refused,
        }
    }
}

/// A message as it is asked for.
pub(super) struct Sending<'a> {
    /// E.164 with its plus sign: without it, Meta may take the sender's country for granted.
    pub(super) to: String,
    pub(super) template: &'a str,
    pub(super) language: &'a str,
    pub(super) code: &'a str,
    /// Comes back in every status of the message.
    pub(super) callback_data: &'a str,
}

impl Sending<'_> {
    /// An authentication template with a button that copies the code. The button is of the type URL once Meta has approved it,
    /// so the code is the parameter of that URL, too.
    pub(super) fn json(&self) -> Value {
        let code = json!([{ "type": "text", "text": self.code }]);
        json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": self.to,
            "type": "template",
            "template": {
                "name": self.template,
                "language": { "code": self.language },
                "components": [
                    { "type": "body", "parameters": code },
                    { "type": "button", "sub_type": "url", "index": "0", "parameters": code },
                ],
            },
            "biz_opaque_callback_data": self.callback_data,
        })
    }
}

#[derive(Deserialize)]
struct WireError {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: i64,
}

#[derive(Deserialize)]
struct WireAccepted {
    messages: Vec<WireMessage>,
    #[serde(default)]
    contacts: Option<Vec<WireContact>>,
}

#[derive(Deserialize)]
struct WireMessage {
    id: String,
    #[serde(default)]
    message_status: Option<String>,
}

#[derive(Deserialize)]
struct WireContact {
    #[serde(default)]
    wa_id: Option<String>,
}

/// The body of an answer that is no error.
pub(super) fn result_of(http_status: u16, retry_after: Option<Duration>, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let retry_after = retry_after.map(|wait| wait.min(MAX_WAIT));
    let refused = |code| {
        Failure::Refused(Refusal {
            code,
            http_status,
            retry_after,
        })
    };
    if let Ok(WireError { error }) = serde_json::from_slice(&body) {
        return Err(refused(Some(error.code)));
    }
    match http_status {
        200..=299 => Ok(body),
        429 => Err(refused(None)),
        _ => Err(Failure::Senseless(format!(
            "HTTP status {http_status}, and not the Graph API’s JSON"
        ))),
    }
}

/// Reads the answer to a send.
pub(super) fn accepted_of(body: &[u8]) -> Option<Accepted> {
    let wire: WireAccepted = serde_json::from_slice(body).ok()?;
    let message = wire
        .messages
        .into_iter()
        .next()
        .filter(|message| !message.id.is_empty())?;
    let contact = wire.contacts.and_then(|contacts| contacts.into_iter().next());
    Some(Accepted {
        id: Handle::new(&message.id),
        wa_id: contact.and_then(|contact| digits_of(&contact.wa_id?)),
        hold: match message.message_status.as_deref() {
            Some("held_for_quality_assessment") => Some(Hold::Quality),
            Some("paused") => Some(Hold::Paused),
            _ => None,
        },
    })
}

/// The digits by which WhatsApp calls somebody; `None` where it isn't that.
pub(super) fn digits_of(wa_id: &str) -> Option<String> {
    let digits = wa_id.strip_prefix('+').unwrap_or(wa_id);
    let well_formed =
        (2..=MAX_WA_ID_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        match result_of(status, None, body.as_bytes().to_vec()) {
            Err(Failure::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_is_one_whatever_the_http_status_says() {
        let body = r#"{"error":{"message":"(#131026) +391234567890","type":"OAuthException","code":131026}}"#;
        assert_eq!(refusal(400, body).meaning(), Meaning::NotThere);
        assert_eq!(refusal(200, body).meaning(), Meaning::NotThere);
        let shown = Failure::Refused(refusal(400, body)).to_string();
        assert!(
            shown.starts_with("131026: ") && !shown.contains("1234567890"),
            "{shown}"
        );
    }

    #[test]
    fn an_unknown_error_may_have_sent_something_only_where_the_server_failed() {
        let body = r#"{"error":{"code":999999}}"#;
        assert_eq!(refusal(400, body).meaning(), Meaning::Refused);
        assert_eq!(refusal(503, body).meaning(), Meaning::UnknownOutcome);
        assert_eq!(refusal(429, "slow down").meaning(), Meaning::Busy(TOO_MANY));
    }

    #[test]
    fn what_is_no_answer_of_the_graph_api_makes_no_sense() {
        for (status, body) in [
            (500, ""),
            (404, "<html>"),
            (503, "{}"),
            (301, "{}"),
            (401, r#"{"error":"no"}"#),
        ] {
            let result = result_of(status, None, body.as_bytes().to_vec());
            assert!(matches!(result, Err(Failure::Senseless(_))), "{status} {body}");
        }
        for body in [
            "",
            "true",
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":[{"id":""}]}"#,
            r#"{"messages":[{}]}"#,
        ] {
            assert_eq!(accepted_of(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_acceptance_is_read_with_what_we_need_of_it() {
        let body = br#"{"messaging_product":"whatsapp","contacts":[{"input":"+5511912345678","wa_id":"551112345678"}],
                        "messages":[{"id":"wamid.A","message_status":"held_for_quality_assessment"}],"new":1}"#;
        let accepted = accepted_of(body).unwrap();
        assert_eq!(accepted.id.unwrap().as_str(), "wamid.A");
        assert_eq!(accepted.wa_id.as_deref(), Some("551112345678"));
        assert_eq!(accepted.hold, Some(Hold::Quality));
        let long = format!(
            r#"{{"messages":[{{"id":"{}","message_status":"accepted"}}],"contacts":null}}"#,
            "w".repeat(200)
        );
        let accepted = accepted_of(long.as_bytes()).unwrap();
        assert_eq!((accepted.id, accepted.wa_id, accepted.hold), (None, None, None));
    }
}
