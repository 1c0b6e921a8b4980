//! The errors that a Gateway API caller can get, with their wire names (docs/errors.md).

use std::borrow::Cow;

use thiserror::Error;

use crate::guard::{AreaRefusal, PumpingRefusal};

/// An answer `{"ok":false,"error":NAME}`. `Display` is the wire name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.wire_name())]
pub enum ApiError {
    /// No such method.
    UnknownMethod,
    /// No token was given.
    AccessTokenRequired,
    /// Unknown or rotated token, or a closed account.
    AccessTokenInvalid,
    /// The account's allow-list doesn't hold the caller's address.
    IpNotAllowed,
    /// The body isn't what it claims to be, or an idempotency key came again for something else.
    BadRequest,
    /// Missing, not E.164, unknown calling code or impossible length.
    PhoneNumberInvalid,
    /// A method that needs a request id got none.
    RequestIdRequired,
    /// Unknown, another account's, another phone's, already used, or too old.
    RequestIdInvalid,
    /// A send's own code isn't 4 to 8 digits, or an entered one is longer than 64 bytes.
    CodeInvalid,
    /// Not an integer from 4 to 8.
    CodeLengthInvalid,
    /// Not an integer from 30 to 3600.
    TtlInvalid,
    /// Not a language tag of BCP 47.
    LocaleInvalid,
    /// Not an e-mail address.
    EmailInvalid,
    /// Longer than 128 bytes, or no text.
    PayloadInvalid,
    /// Not HTTPS, not a URL, or longer than 256 bytes.
    CallbackUrlInvalid,
    /// Malformed or unknown sender.
    SenderUsernameInvalid,
    /// The sender is another account's.
    SenderNotOwned,
    /// The sender isn't verified yet.
    SenderNotVerified,
    /// Too many requests: again in this many seconds.
    FloodWait {
        /// Seconds to wait, at least 1.
        seconds: u32,
    },
    /// The fee exceeds the balance that isn't on hold.
    BalanceNotEnough,
    /// No leg of the route reaches this number.
    PhoneNumberNotFound,
    /// No code goes to this number: the account's rules or the numbering plan say so. On the wire it is [`Self::PhoneNumberNotFound`].
    Refused(AreaRefusal),
    /// Too few codes come back from where this number is. On the wire it is [`Self::FloodWait`].
    Held(PumpingRefusal),
    /// There is no next leg to begin on this request, or none may begin any more.
    ResendNotPossible,
}

impl ApiError {
    /// The name in the answer.
    pub fn wire_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UnknownMethod => "UNKNOWN_METHOD",
            Self::AccessTokenRequired => "ACCESS_TOKEN_REQUIRED",
            Self::AccessTokenInvalid => "ACCESS_TOKEN_INVALID",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::BadRequest => "BAD_REQUEST",
            Self::PhoneNumberInvalid => "PHONE_NUMBER_INVALID",
            Self::RequestIdRequired => "REQUEST_ID_REQUIRED",
            Self::RequestIdInvalid => "REQUEST_ID_INVALID",
            Self::CodeInvalid => "CODE_INVALID",
            Self::CodeLengthInvalid => "CODE_LENGTH_INVALID",
            Self::TtlInvalid => "TTL_INVALID",
            Self::LocaleInvalid => "LOCALE_INVALID",
            Self::EmailInvalid => "EMAIL_INVALID",
            Self::PayloadInvalid => "PAYLOAD_INVALID",
            Self::CallbackUrlInvalid => "CALLBACK_URL_INVALID",
            Self::SenderUsernameInvalid => "SENDER_USERNAME_INVALID",
            Self::SenderNotOwned => "SENDER_NOT_OWNED",
            Self::SenderNotVerified => "SENDER_NOT_VERIFIED",
            Self::FloodWait { seconds } => return Cow::Owned(format!("FLOOD_WAIT_{seconds}")),
            Self::BalanceNotEnough => "BALANCE_NOT_ENOUGH",
            Self::PhoneNumberNotFound | Self::Refused(_) => "PHONE_NUMBER_NOT_FOUND",
            Self::Held(held) => {
                return Self::FloodWait {
                    seconds: held.wait_seconds,
                }
                .wire_name();
            }
            Self::ResendNotPossible => "RESEND_NOT_POSSIBLE",
        })
    }

    /// What the wire name doesn't say: a sentence for whoever set the account's rules. It doesn't hold the number.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.to_string()),
            Self::Held(held) => Some(held.to_string()),
            _ => None,
        }
    }

    /// Reads a wire name; `None` where this version knows no such error.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        if let Some(seconds) = name.strip_prefix("FLOOD_WAIT_") {
            return seconds.parse().ok().map(|seconds| Self::FloodWait { seconds });
        }
        Self::NAMED.into_iter().find(|error| error.wire_name() == name)
    }

    /// Every error with a name of its own, but [`ApiError::FloodWait`], whose name carries a number.
    pub const NAMED: [Self; 21] = [
        Self::UnknownMethod,
        Self::AccessTokenRequired,
        Self::AccessTokenInvalid,
        Self::IpNotAllowed,
        Self::BadRequest,
        Self::PhoneNumberInvalid,
        Self::RequestIdRequired,
        Self::RequestIdInvalid,
        Self::CodeInvalid,
        Self::CodeLengthInvalid,
        Self::TtlInvalid,
        Self::LocaleInvalid,
        Self::EmailInvalid,
        Self::PayloadInvalid,
        Self::CallbackUrlInvalid,
        Self::SenderUsernameInvalid,
        Self::SenderNotOwned,
        Self::SenderNotVerified,
        Self::BalanceNotEnough,
        Self::PhoneNumberNotFound,
        Self::ResendNotPossible,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_reads_back_from_its_wire_name() {
        for error in ApiError::NAMED.into_iter().chain([ApiError::FloodWait { seconds: 42 }]) {
            assert_eq!(ApiError::from_wire_name(&error.wire_name()), Some(error));
        }
        assert_eq!(ApiError::from_wire_name("CODE_LENGTH_REQUIRED"), None);
    }
}
