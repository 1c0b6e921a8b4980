//! Reads a gateway's answers. Lenient where gateways differ: further fields are ignored, optional ones may be `null`, and
//! amounts may carry a float's noise, which is rounded away to micro-credits.

use std::time::Duration;

use countersign_core::{ApiError, Credits, DeliveryStatus, RequestStatus, VerificationStatus};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::error::ClientError;

/// Decimals of a micro-credit.
const DECIMALS: usize = 6;

/// An HTTP answer as it came.
pub(crate) struct HttpAnswer<'a> {
    /// Scheme, host and port, for messages.
    pub(crate) address: &'a str,
    pub(crate) status: u16,
    /// The `Retry-After` header in seconds.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: &'a [u8],
}

#[derive(Deserialize)]
struct Envelope<'a> {
    ok: bool,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
}

/// A result that can be read out of an answer.
pub(crate) trait GatewayResult: Sized {
    fn read(json: &str) -> Result<Self, serde_json::Error>;
}

impl GatewayResult for RequestStatus {
    fn read(json: &str) -> Result<Self, serde_json::Error> {
        read_status(json.as_bytes())
    }
}

impl GatewayResult for bool {
    fn read(json: &str) -> Result<Self, serde_json::Error> {
        read_json(json.as_bytes())
    }
}

/// Tells the result of a call from its answer.
pub(crate) fn read_answer<T: GatewayResult>(answer: &HttpAnswer<'_>) -> Result<T, ClientError> {
    let protocol = |reason: String| match answer.status {
        // A proxy's error page, or a gateway too broken to write JSON.
        503 => ClientError::Unavailable {
            retry_after: answer.retry_after,
        },
        status @ 500.. => ClientError::ServerFailed { status },
        status => ClientError::Protocol {
            address: answer.address.to_owned(),
            status,
            reason,
        },
    };
    let envelope: Envelope<'_> = read_json(answer.body).map_err(|error| protocol(format!("not its JSON ({error})")))?;
    if envelope.ok {
        let result = envelope
            .result
            .ok_or_else(|| protocol("`ok` without a `result`".to_owned()))?;
        return T::read(result.get()).map_err(|error| protocol(format!("its result can't be read ({error})")));
    }
    let name = envelope
        .error
        .ok_or_else(|| protocol("neither `ok` nor an `error`".to_owned()))?;
    Err(match (answer.status, ApiError::from_wire_name(&name)) {
        (_, Some(error)) => ClientError::Api(error),
        (503, None) => ClientError::Unavailable {
            retry_after: answer.retry_after,
        },
        (status @ 500.., None) => ClientError::ServerFailed { status },
        (_, None) => ClientError::UnknownError(name),
    })
}

/// Reads a request's state out of an answer's result or a report's body.
pub(crate) fn read_status(json: &[u8]) -> Result<RequestStatus, serde_json::Error> {
    read_json::<LenientStatus>(json).map(RequestStatus::from)
}

fn read_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

#[derive(Deserialize)]
struct LenientStatus {
    request_id: String,
    phone_number: String,
    request_cost: LenientCredits,
    #[serde(default)]
    is_refunded: Option<bool>,
    #[serde(default)]
    remaining_balance: Option<LenientCredits>,
    #[serde(default)]
    delivery_status: Option<DeliveryStatus>,
    #[serde(default)]
    verification_status: Option<VerificationStatus>,
    #[serde(default)]
    payload: Option<String>,
}

impl From<LenientStatus> for RequestStatus {
    fn from(status: LenientStatus) -> Self {
        Self {
            request_id: status.request_id,
            phone_number: status.phone_number,
            request_cost: status.request_cost.0,
            is_refunded: status.is_refunded.unwrap_or(false),
            remaining_balance: status.remaining_balance.map(|amount| amount.0),
            delivery_status: status.delivery_status,
            verification_status: status.verification_status,
            payload: status.payload,
        }
    }
}

/// An amount as any gateway writes it.
struct LenientCredits(Credits);

impl<'de> Deserialize<'de> for LenientCredits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        round_amount(raw.get())
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{}` is not an amount", raw.get())))
    }
}

/// The amount that a JSON number means, to the nearest micro-credit. Exact decimals stay as they are; only what isn't one
/// (an exponent, or more than six decimals: a float's doing) goes through a float.
fn round_amount(text: &str) -> Option<Credits> {
    if let Ok(exact) = Credits::parse(text) {
        return Some(exact);
    }
    let float: f64 = text.parse().ok()?;
    Credits::parse(&format!("{float:.DECIMALS$}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: GatewayResult>(status: u16, body: &str) -> Result<T, ClientError> {
        read_answer(&HttpAnswer {
            address: "http://gateway",
            status,
            retry_after: Some(Duration::from_secs(2)),
            body: body.as_bytes(),
        })
    }

    #[test]
    fn telegrams_own_answer_is_read_with_its_float_noise_and_any_id() {
        let body = r#"{"ok":true,"result":{"request_id":"1735:ab-c","phone_number":"+391234567890","request_cost":0.01,
            "is_refunded":null,"remaining_balance":9.990000000000001,"new_field":[1],
            "delivery_status":{"status":"sent","updated_at":1790000000}}}"#;
        let status: RequestStatus = read(200, body).unwrap();
        assert_eq!(status.request_id, "1735:ab-c");
        assert_eq!(status.remaining_balance.unwrap().to_string(), "9.99");
        assert_eq!(status.delivery_status.unwrap().status, "sent");
        assert!(!status.is_refunded);
    }

    #[test]
    fn amounts_are_rounded_to_micro_credits() {
        for (text, amount) in [
            ("1e-2", "0.01"),
            ("10.0", "10"),
            ("0.07", "0.07"),
            ("1E+1", "10"),
            ("-0.0", "0"),
        ] {
            assert_eq!(round_amount(text).unwrap().to_string(), amount, "{text}");
        }
        for text in ["null", "\"1\"", "1e999", "true"] {
            assert_eq!(round_amount(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_an_enum_that_can_be_matched_on() {
        let error = read::<RequestStatus>(200, r#"{"ok":false,"error":"FLOOD_WAIT_30"}"#).unwrap_err();
        assert!(matches!(error, ClientError::Api(ApiError::FloodWait { seconds: 30 })));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
        let error = read::<RequestStatus>(200, r#"{"ok":false,"error":"CODE_LENGTH_REQUIRED"}"#).unwrap_err();
        assert!(matches!(&error, ClientError::UnknownError(name) if name == "CODE_LENGTH_REQUIRED"));
        assert!(!error.may_have_happened());
        // Gateways that answer refusals with another status are understood too.
        let error = read::<bool>(401, r#"{"ok":false,"error":"ACCESS_TOKEN_INVALID"}"#).unwrap_err();
        assert!(matches!(error, ClientError::Api(ApiError::AccessTokenInvalid)));
    }

    #[test]
    fn a_busy_gateway_did_nothing_and_a_failed_one_may_have() {
        for body in [r#"{"ok":false,"error":"UNAVAILABLE"}"#, "<html>"] {
            let error = read::<bool>(503, body).unwrap_err();
            assert!(!error.may_have_happened());
            assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        }
        for (status, body) in [(500, r#"{"ok":false,"error":"INTERNAL_ERROR"}"#), (502, "<html>")] {
            assert!(read::<bool>(status, body).unwrap_err().may_have_happened());
        }
    }

    #[test]
    fn what_is_no_gateway_is_told_apart() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"ok":true}"#,
            r#"{"ok":false}"#,
            r#"{"ok":true,"result":1}"#,
        ] {
            let error = read::<RequestStatus>(200, body).unwrap_err();
            assert!(matches!(error, ClientError::Protocol { .. }), "{body} gave {error}");
        }
    }
}
