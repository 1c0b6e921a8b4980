//! How a call ended, as one word of a closed list: what the log and the counters know of an answer.

use axum::response::Response;
use countersign_core::ApiError;

use super::answer::Refusal;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(u8);

/// Every word, in the order of [`Outcome::of`]. `FLOOD_WAIT` stands for every number of seconds: a list must have an end.
const WORDS: [&str; 26] = [
    "OK",
    "UNKNOWN_METHOD",
    "ACCESS_TOKEN_REQUIRED",
    "ACCESS_TOKEN_INVALID",
    "IP_NOT_ALLOWED",
    "BAD_REQUEST",
    "PHONE_NUMBER_INVALID",
    "REQUEST_ID_REQUIRED",
    "REQUEST_ID_INVALID",
    "CODE_INVALID",
    "CODE_LENGTH_INVALID",
    "TTL_INVALID",
    "LOCALE_INVALID",
    "EMAIL_INVALID",
    "PAYLOAD_INVALID",
    "CALLBACK_URL_INVALID",
    "SENDER_USERNAME_INVALID",
    "SENDER_NOT_OWNED",
    "SENDER_NOT_VERIFIED",
    "FLOOD_WAIT",
    "BALANCE_NOT_ENOUGH",
    "PHONE_NUMBER_NOT_FOUND",
    "RESEND_NOT_POSSIBLE",
    "BODY_TOO_LARGE",
    "UNAVAILABLE",
    "INTERNAL_ERROR",
];

impl Outcome {
    /// Whether the server failed, not its caller.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(WORDS[self.0 as usize].as_bytes(), b"UNAVAILABLE" | b"INTERNAL_ERROR")
    }

    /// How that call ended.
    pub(crate) const fn of(answered: &Result<Response, Refusal>) -> Self {
        Self(match answered {
            Ok(_) => 0,
            Err(Refusal::Api(error)) => match error {
                ApiError::UnknownMethod => 1,
                ApiError::AccessTokenRequired => 2,
                ApiError::AccessTokenInvalid => 3,
                ApiError::IpNotAllowed => 4,
                ApiError::BadRequest => 5,
                ApiError::PhoneNumberInvalid => 6,
                ApiError::RequestIdRequired => 7,
                ApiError::RequestIdInvalid => 8,
                ApiError::CodeInvalid => 9,
                ApiError::CodeLengthInvalid => 10,
                ApiError::TtlInvalid => 11,
                ApiError::LocaleInvalid => 12,
                ApiError::EmailInvalid => 13,
                ApiError::PayloadInvalid => 14,
                ApiError::CallbackUrlInvalid => 15,
                ApiError::SenderUsernameInvalid => 16,
                ApiError::SenderNotOwned => 17,
                ApiError::SenderNotVerified => 18,
                ApiError::FloodWait { .. } | ApiError::Held(_) => 19,
                ApiError::BalanceNotEnough => 20,
                ApiError::PhoneNumberNotFound | ApiError::Refused(_) => 21,
                ApiError::ResendNotPossible => 22,
            },
            Err(Refusal::BodyTooLarge) => 23,
            Err(Refusal::Unavailable) => 24,
            Err(Refusal::Internal) => 25,
        })
    }

    /// How many there are.
    pub(crate) const COUNT: usize = WORDS.len();

    /// All words, by their places.
    pub(crate) const fn all() -> [&'static str; Self::COUNT] {
        WORDS
    }

    /// Its place among [`Self::all`].
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        WORDS.get(self.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_word_that_its_caller_is_told() {
        for error in [
            ApiError::UnknownMethod,
            ApiError::AccessTokenRequired,
            ApiError::AccessTokenInvalid,
            ApiError::IpNotAllowed,
            ApiError::BadRequest,
            ApiError::PhoneNumberInvalid,
            ApiError::RequestIdRequired,
            ApiError::RequestIdInvalid,
            ApiError::CodeInvalid,
            ApiError::CodeLengthInvalid,
            ApiError::TtlInvalid,
            ApiError::LocaleInvalid,
            ApiError::EmailInvalid,
            ApiError::PayloadInvalid,
            ApiError::CallbackUrlInvalid,
            ApiError::SenderUsernameInvalid,
            ApiError::SenderNotOwned,
            ApiError::SenderNotVerified,
            ApiError::BalanceNotEnough,
            ApiError::PhoneNumberNotFound,
            ApiError::ResendNotPossible,
        ] {
            assert_eq!(Outcome::of(&Err(error.into())).word(), error.wire_name());
        }
        let flood = Outcome::of(&Err(ApiError::FloodWait { seconds: 9 }.into()));
        assert_eq!(flood.word(), "FLOOD_WAIT");
        assert_eq!(Outcome::of(&Err(Refusal::Internal)).word(), "INTERNAL_ERROR");
        assert_eq!(Outcome::of(&Ok(Response::default())).word(), "OK");
    }
}
