//! What the upstream says, read with care: it may be Telegram's Gateway, another Countersign, or something that only looks like
//! one. Unknown fields are passed over; only what this channel needs must be there.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::costs::micros_of;
use crate::ports::{Handle, MessageKey};

/// The longest name of an error that is shown.
const MAX_ERROR_NAME: usize = 64;
/// The longest pause that an upstream can ask for: beyond it, it makes no difference.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The upstream says no.
    Refused(Refusal),
    /// There was no answer: no connection, a time-out, a connection that broke off. What was asked may have been done.
    NoAnswer(String),
    /// There was an answer, and it makes no sense. What was asked may have been done.
    Senseless(String),
}

/// For the operator's eyes and the request's timeline: no code, no number, no address.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.name),
            Self::NoAnswer(reason) => write!(f, "no answer: {reason}"),
            Self::Senseless(reason) => write!(f, "an answer that makes no sense: {reason}"),
        }
    }
}

/// An error by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    name: String,
    /// What `Retry-After` said.
    retry_after: Option<Duration>,
}

/// What an error by name means to this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The number can't be reached there.
    CannotReach,
    /// It knows no such request, or it can't be sent on any more.
    UnknownRequest,
    /// Come again later; nothing was done.
    Later(Duration),
    /// The token or our address isn't accepted: no call will succeed until the operator acts.
    NoAccess,
    /// There is no money left with the upstream: the operator must act.
    NoMoney,
    /// Something went wrong there: what was asked may have been done.
    UnknownOutcome,
    /// Anything else: it won't take this.
    Other,
}

impl Refusal {
    fn new(name: &str, retry_after: Option<Duration>) -> Self {
        let well_formed = (1..=MAX_ERROR_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        Self {
            // A text that isn't a name could hold anything, and goes nowhere.
            name: if well_formed {
                name
            } else {
                "an error without a proper name"
            }
            .to_owned(),
            retry_after,
        }
    }

    /// How long the upstream wants to be left alone, where it says that we call too often.
    pub(super) fn flood_wait(&self) -> Option<Duration> {
        let seconds = self.name.strip_prefix("FLOOD_WAIT_")?;
        // More digits than fit are a very long wait.
        let seconds = seconds.parse().unwrap_or(u64::MAX);
        Some(Duration::from_secs(seconds.max(1)).min(MAX_WAIT))
    }

    pub(super) fn meaning(&self) -> Meaning {
        if let Some(pause) = self.flood_wait() {
            return Meaning::Later(pause);
        }
        match self.name.as_str() {
            "PHONE_NUMBER_NOT_FOUND" | "PHONE_NUMBER_INVALID" | "PHONE_NUMBER_NOT_AVAILABLE" => Meaning::CannotReach,
            "REQUEST_ID_INVALID" => Meaning::UnknownRequest,
            "UNAVAILABLE" => Meaning::Later(self.retry_after.unwrap_or(Duration::from_secs(1)).min(MAX_WAIT)),
            "ACCESS_TOKEN_INVALID" | "ACCESS_TOKEN_REQUIRED" | "IP_NOT_ALLOWED" => Meaning::NoAccess,
            "BALANCE_NOT_ENOUGH" => Meaning::NoMoney,
            // Another Countersign says the last of them where our key was used before, for a message that was sent.
            "INTERNAL_ERROR" | "REQUEST_TIMEOUT" | "BAD_REQUEST" => Meaning::UnknownOutcome,
            _ => Meaning::Other,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Where a message stands, as the upstream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// On its way, or a word that we don't know.
    UnderWay,
    /// On the recipient's device.
    Delivered,
    /// Seen by the recipient.
    Read,
    /// Not delivered in its life.
    Expired,
    /// Withdrawn, by us.
    Revoked,
}

/// A request's state at the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// The upstream's name of it.
    pub(super) handle: Handle,
    /// The fee in millionths of the upstream's unit of money, where it is given and can be read.
    pub(super) cost_micros: Option<i64>,
    /// Whether the fee was given back.
    pub(super) is_refunded: bool,
    /// Where its message stands; `None` where none was sent.
    pub(super) delivery: Option<Delivery>,
    /// Whose message it is, as we said when we sent it.
    pub(super) message: Option<MessageKey>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    ok: bool,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct WireStatus<'a> {
    request_id: String,
    #[serde(borrow, default)]
    request_cost: Option<&'a RawValue>,
    #[serde(default)]
    is_refunded: Option<bool>,
    #[serde(default)]
    delivery_status: Option<WireDelivery>,
    #[serde(default)]
    payload: Option<String>,
}

#[derive(Deserialize)]
struct WireDelivery {
    status: String,
}

/// The result in an answer's body, still as text.
pub(super) fn result_of(http_status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<&RawValue, Failure> {
    let senseless = || Failure::Senseless(format!("HTTP status {http_status}, and not the Gateway’s JSON"));
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| senseless())?;
    match (envelope.ok, envelope.result, envelope.error) {
        (true, Some(result), _) => Ok(result),
        (false, _, Some(name)) => Err(Failure::Refused(Refusal::new(&name, retry_after))),
        _ => Err(senseless()),
    }
}

/// Reads a request's state: a result, or the body of a report.
pub(super) fn status_of(json: &[u8]) -> Option<Status> {
    let wire: WireStatus<'_> = serde_json::from_slice(json).ok()?;
    Some(Status {
        handle: Handle::new(&wire.request_id)?,
        cost_micros: wire.request_cost.and_then(|cost| micros_of(cost.get())),
        is_refunded: wire.is_refunded.unwrap_or(false),
        delivery: wire.delivery_status.map(|delivery| match delivery.status.as_str() {
            "delivered" => Delivery::Delivered,
            "read" => Delivery::Read,
            "expired" => Delivery::Expired,
            "revoked" => Delivery::Revoked,
            _ => Delivery::UnderWay,
        }),
        message: wire.payload.as_deref().and_then(MessageKey::parse),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_means_is_read_from_its_name() {
        for (name, meaning) in [
            ("FLOOD_WAIT_30", Meaning::Later(Duration::from_secs(30))),
            ("FLOOD_WAIT_99999999999999999999", Meaning::Later(MAX_WAIT)),
            ("PHONE_NUMBER_NOT_FOUND", Meaning::CannotReach),
            ("REQUEST_ID_INVALID", Meaning::UnknownRequest),
            ("ACCESS_TOKEN_INVALID", Meaning::NoAccess),
            ("BALANCE_NOT_ENOUGH", Meaning::NoMoney),
            ("INTERNAL_ERROR", Meaning::UnknownOutcome),
            ("SENDER_NOT_VERIFIED", Meaning::Other),
        ] {
            assert_eq!(Refusal::new(name, None).meaning(), meaning, "{name}");
        }
        let strange = Refusal::new("your code is 123456", None);
        assert_eq!(strange.name(), "an error without a proper name");
    }

    #[test]
    fn what_is_no_answer_of_a_gateway_makes_no_sense() {
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"ok":true}"#,
            r#"{"ok":false}"#,
            r#"{"ok":"yes"}"#,
        ] {
            assert!(
                matches!(result_of(200, None, body.as_bytes()), Err(Failure::Senseless(_))),
                "{body}"
            );
        }
        for body in ["", "true", "{}", r#"{"request_id":""}"#, r#"{"request_id":7}"#] {
            assert_eq!(status_of(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn unknown_fields_and_words_are_passed_over() {
        let json = br#"{"request_id":"a1","phone_number":"+1","request_cost":null,"is_refunded":null,"new":[1],
                        "delivery_status":{"status":"queued","updated_at":1},"payload":"order 4711"}"#;
        let status = status_of(json).unwrap();
        assert_eq!(
            (
                status.handle.as_str(),
                status.cost_micros,
                status.is_refunded,
                status.delivery,
                status.message
            ),
            ("a1", None, false, Some(Delivery::UnderWay), None)
        );
    }
}
