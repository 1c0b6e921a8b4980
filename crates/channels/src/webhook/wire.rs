//! What goes to the operator's transport and what comes from it, as JSON. Unknown fields are passed over.

use std::time::Duration;

use countersign_core::{Detail, PhoneNumber, SandboxNumbers};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::costs::micros_of;
use crate::ports::Handle;

/// The longest pause that a transport can ask for: beyond it, it makes no difference.
const MAX_PAUSE: Duration = Duration::from_hours(24);
/// How long a message waits where the transport says *later* and not when.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);

/// A call to the transport.
#[derive(Serialize)]
pub(super) struct Outgoing<'a, T> {
    /// What is asked: `message.send`, …
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    /// When, as RFC 3339.
    pub(super) timestamp: String,
    pub(super) data: T,
}

/// `message.send`.
#[derive(Serialize)]
pub(super) struct MessageData<'a> {
    pub(super) message_id: &'a str,
    pub(super) phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_username: Option<&'a str>,
    pub(super) code: &'a str,
    /// A text for the recipient in their language, which holds the code.
    pub(super) text: String,
    pub(super) locale: String,
    /// `ltr` or `rtl`.
    pub(super) direction: &'a str,
    /// Whole seconds of life that are left.
    pub(super) ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) news_url: Option<&'a str>,
}

/// `message.withdraw`.
#[derive(Serialize)]
pub(super) struct WithdrawData<'a> {
    pub(super) message_id: &'a str,
}

/// `number.ask`.
#[derive(Serialize)]
pub(super) struct AskData<'a> {
    pub(super) phone_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
}

/// `login.ask`.
#[derive(Serialize)]
pub(super) struct LoginData<'a> {
    pub(super) attempt: i64,
    pub(super) phone_number: String,
    pub(super) code: &'a str,
    pub(super) text: String,
    pub(super) locale: String,
    pub(super) direction: &'a str,
    pub(super) device: &'a str,
    pub(super) address: &'a str,
    pub(super) ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) news_url: Option<&'a str>,
}

/// `login.withdraw`.
#[derive(Serialize)]
pub(super) struct LoginWithdrawData {
    pub(super) attempt: i64,
}

/// `ping`, by `countersign doctor`.
#[derive(Serialize)]
pub(super) struct PingData {}

/// What the transport answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It took the message.
    Accepted {
        /// Its own name of it.
        handle: Option<Handle>,
        /// What it charges, in millionths.
        cost_micros: Option<i64>,
    },
    /// It won't carry this message.
    Refused(Detail),
    /// It doesn't reach the number.
    Unreachable(Detail),
    /// Nothing was sent; again after that time.
    Later(Duration),
    /// It doesn't take our calls at all: the operator must act.
    NoAccess(u16),
    /// Something else: what was asked may have been done.
    Senseless(String),
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    status: &'a str,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

/// Reads an answer.
pub(super) fn answer_of(http_status: u16, retry_after: Option<Duration>, body: &[u8]) -> Answer {
    match http_status {
        200..=299 => spoken(body),
        429 | 503 => Answer::Later(retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE)),
        401 | 403 | 404 | 405 | 410 => Answer::NoAccess(http_status),
        300..=499 => Answer::Refused(Detail::new(&format!("HTTP status {http_status}"))),
        _ => Answer::Senseless(format!("HTTP status {http_status}")),
    }
}

fn spoken(body: &[u8]) -> Answer {
    let Ok(wire) = serde_json::from_slice::<WireAnswer<'_>>(body) else {
        return Answer::Senseless("an answer without a status that can be read".to_owned());
    };
    let detail = || Detail::new(wire.detail.as_deref().unwrap_or("without a reason"));
    match wire.status {
        "accepted" => Answer::Accepted {
            handle: wire.id.as_deref().and_then(Handle::new),
            cost_micros: wire.cost.and_then(|cost| micros_of(cost.get().trim_matches('"'))),
        },
        "refused" => Answer::Refused(detail()),
        "unreachable" => Answer::Unreachable(detail()),
        "later" => Answer::Later(
            wire.retry_after
                .map_or(DEFAULT_PAUSE, Duration::from_secs)
                .min(MAX_PAUSE),
        ),
        _ => Answer::Senseless("an answer whose status is no word of ours".to_owned()),
    }
}

/// What the transport answered to the question about a number.
pub(super) fn reaches(body: &[u8]) -> Option<Result<(), Detail>> {
    let wire: WireAnswer<'_> = serde_json::from_slice(body).ok()?;
    match wire.status {
        "reachable" => Some(Ok(())),
        "unreachable" => Some(Err(Detail::new(
            wire.detail.as_deref().unwrap_or("the transport says so"),
        ))),
        _ => None,
    }
}

/// A call of the transport.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// When it happened, as RFC 3339.
    #[serde(default)]
    pub(super) timestamp: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `message.…`: what became of a message.
#[derive(Deserialize)]
pub(super) struct MessageNews {
    /// Our name of it; else `id` is looked up.
    #[serde(default)]
    pub(super) message_id: Option<String>,
    /// The transport's own name of it.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) detail: Option<String>,
}

/// `recipient.…`: what a recipient wants.
#[derive(Deserialize)]
pub(super) struct RecipientNews {
    phone_number: String,
}

/// `login.answered`.
#[derive(Deserialize)]
pub(super) struct LoginNews {
    pub(super) attempt: i64,
    phone_number: String,
    pub(super) is_me: bool,
}

impl RecipientNews {
    pub(super) fn phone(&self) -> Option<PhoneNumber> {
        PhoneNumber::parse(&self.phone_number, SandboxNumbers::Refused)
    }
}

impl LoginNews {
    pub(super) fn phone(&self) -> Option<PhoneNumber> {
        PhoneNumber::parse(&self.phone_number, SandboxNumbers::Refused)
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(super) fn data<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.data.get()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_one_of_four_words() {
        let read = |body: &str| answer_of(200, None, body.as_bytes());
        assert_eq!(
            read(r#"{"status":"accepted","id":"t-1","cost":"0.0125","more":[1]}"#),
            Answer::Accepted {
                handle: Handle::new("t-1"),
                cost_micros: Some(12_500)
            }
        );
        assert_eq!(
            read(r#"{"status":"accepted","cost":0.01}"#),
            Answer::Accepted {
                handle: None,
                cost_micros: Some(10_000)
            }
        );
        assert_eq!(
            read(r#"{"status":"refused","detail":"blocked"}"#),
            Answer::Refused(Detail::new("blocked"))
        );
        assert_eq!(
            read(r#"{"status":"unreachable"}"#),
            Answer::Unreachable(Detail::new("without a reason"))
        );
        assert_eq!(
            read(r#"{"status":"later","retry_after":7}"#),
            Answer::Later(Duration::from_secs(7))
        );
        for garbage in ["", "ok", "{}", "[]", r#"{"status":"sent"}"#, r#"{"status":1}"#] {
            assert!(matches!(read(garbage), Answer::Senseless(_)), "{garbage}");
        }
    }

    #[test]
    fn an_http_status_speaks_where_there_is_no_word() {
        let read = |status| answer_of(status, Some(Duration::from_secs(9)), b"");
        assert_eq!(read(429), Answer::Later(Duration::from_secs(9)));
        assert_eq!(read(503), Answer::Later(Duration::from_secs(9)));
        assert_eq!(read(401), Answer::NoAccess(401));
        assert!(matches!(read(422), Answer::Refused(_)));
        assert!(matches!(read(302), Answer::Refused(_)));
        assert!(matches!(read(500), Answer::Senseless(_)));
    }
}
