//! What Twilio says, read with care: unknown fields are passed over, and only what this channel needs must be there.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::codes;
use super::watch::Stand;
use crate::costs::micros_of;
use crate::ports::Handle;

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Twilio says no.
    Refused {
        status: u16,
        code: Option<u64>,
        retry_after: Option<Duration>,
    },
    /// There was no answer: no connection, a time-out, a connection that broke off. What was asked may have been done.
    NoAnswer(String),
    /// There was an answer, and it makes no sense. What was asked may have been done.
    Senseless,
}

/// For the operator's eyes and the request's timeline: no code, no number, no address.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code: Some(code), .. } => f.write_str(&codes::words(*code)),
            Self::Refused { status, .. } => write!(f, "the HTTP status {status}"),
            Self::NoAnswer(reason) => write!(f, "no answer: {reason}"),
            Self::Senseless => f.write_str("an answer that makes no sense"),
        }
    }
}

/// A message as Twilio tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Its `sid`: letters and digits, so that it can stand in an address.
    pub(super) handle: Handle,
    pub(super) stand: Stand,
    /// Why it failed.
    pub(super) code: Option<u64>,
    /// What it cost, in millionths of the account's money; negative where something was given back. `None`: not known yet.
    pub(super) cost_micros: Option<i64>,
}

#[derive(Deserialize)]
struct WireMessage {
    sid: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error_code: Option<u64>,
    #[serde(default)]
    price: Option<Value>,
}

#[derive(Deserialize)]
struct WireError {
    code: u64,
}

impl Told {
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let wire: WireMessage = serde_json::from_slice(body).map_err(|_| Failure::Senseless)?;
        Ok(Self {
            handle: handle_of(&wire.sid).ok_or(Failure::Senseless)?,
            stand: stand_of(wire.status.as_deref().unwrap_or_default()),
            code: wire.error_code,
            cost_micros: wire.price.as_ref().and_then(cost_of),
        })
    }
}

/// The name of a message, as Twilio forms them; emulators form others.
pub(super) fn handle_of(sid: &str) -> Option<Handle> {
    let is_plain = (8..=64).contains(&sid.len()) && sid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Handle::new(sid).filter(|_| is_plain)
}

/// A message's status as Twilio writes it.
pub(super) fn stand_of(status: &str) -> Stand {
    match status {
        "delivered" => Stand::Delivered,
        "read" => Stand::Read,
        "failed" | "undelivered" | "canceled" => Stand::Failed,
        _ => Stand::UnderWay,
    }
}

pub(super) fn error_code(body: &[u8]) -> Option<u64> {
    let error: WireError = serde_json::from_slice(body).ok()?;
    Some(error.code)
}

/// Twilio writes what it charged as a negative price, in a text.
fn cost_of(price: &Value) -> Option<i64> {
    let written = match price {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match written.strip_prefix('-') {
        Some(charged) => micros_of(charged),
        None => micros_of(&written).map(|given_back| -given_back),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_price_is_a_cost_with_the_other_sign() {
        for (price, cost) in [
            (json!("-0.00750"), Some(7_500)),
            (json!("-0.0000001"), Some(1)),
            (json!("0"), Some(0)),
            (json!("0.0075"), Some(-7_500)),
            (json!(-0.5), Some(500_000)),
            (json!("--1"), None),
            (json!(""), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            assert_eq!(cost_of(&price), cost, "{price}");
        }
    }

    #[test]
    fn what_is_no_message_makes_no_sense() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"sid":7}"#,
            r#"{"sid":""}"#,
            r#"{"sid":"SM1/../../Calls"}"#,
        ] {
            assert_eq!(Told::read(body.as_bytes()), Err(Failure::Senseless), "{body}");
        }
    }

    #[test]
    fn unknown_fields_and_words_are_passed_over() {
        let body = br#"{"sid":"SM00000001","status":"partially_delivered","new":[1],"price":null,"error_code":null}"#;
        let told = Told::read(body).unwrap();
        assert_eq!(
            (told.handle.as_str(), told.stand, told.code, told.cost_micros),
            ("SM00000001", Stand::UnderWay, None, None)
        );
    }
}
