//! The wire's types (docs/api.md, "Types"): exactly the documented fields, optional ones left out.

use serde::{Deserialize, Serialize};

use crate::code::EnteredCode;
use crate::money::Credits;
use crate::request::{VerificationRequest, VerificationState};
use crate::time::Timestamp;

/// The state of a request, as every method but the revocation answers it and as a delivery report carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestStatus {
    /// Names the request.
    pub request_id: String,
    /// E.164 with `+`.
    pub phone_number: String,
    /// The total fee of this request.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub request_cost: Credits,
    /// `true` where the fee was given back, else left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refunded: bool,
    /// What is left; only in the answer to a call that charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64, nullable = false, required = false))]
    pub remaining_balance: Option<Credits>,
    /// Only once a message was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub delivery_status: Option<DeliveryStatus>,
    /// Only once a code was entered or its life ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub verification_status: Option<VerificationStatus>,
    /// The customer's own text, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub payload: Option<String>,
}

/// What became of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryStatus {
    /// `sent`, `delivered`, `read`, `expired` or `revoked`.
    pub status: String,
    /// Whole Unix seconds.
    pub updated_at: i64,
}

/// What became of the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerificationStatus {
    /// `code_valid`, `code_invalid`, `code_max_attempts_exceeded` or `expired`.
    pub status: String,
    /// Whole Unix seconds.
    pub updated_at: i64,
    /// What the person typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub code_entered: Option<String>,
}

impl VerificationStatus {
    /// A verification status; `None` where nobody entered a code yet.
    pub fn new(state: VerificationState, updated_at: Timestamp, entered: Option<&EnteredCode>) -> Option<Self> {
        Some(Self {
            status: state.wire_name()?.to_owned(),
            updated_at: updated_at.unix_seconds(),
            code_entered: entered.map(|code| code.as_str().to_owned()),
        })
    }
}

impl From<&VerificationRequest> for RequestStatus {
    /// The state as it is stored, without `remaining_balance`.
    fn from(request: &VerificationRequest) -> Self {
        let message = request.message.as_ref();
        Self {
            request_id: request.id.to_string(),
            phone_number: request.phone.to_string(),
            request_cost: request.fee,
            is_refunded: request.refunded,
            remaining_balance: None,
            delivery_status: request.delivery.wire_name().map(|status| DeliveryStatus {
                status: status.to_owned(),
                updated_at: request.delivery_updated_at.unix_seconds(),
            }),
            verification_status: VerificationStatus::new(
                request.verification,
                request.verification_updated_at,
                request.code_entered.as_ref(),
            ),
            payload: message
                .and_then(|message| message.payload.as_ref())
                .map(|payload| payload.as_str().to_owned()),
        }
    }
}
