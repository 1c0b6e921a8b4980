//! How a state looks: one word, one icon, one colour, the same in lists, timelines, the inbox, the docs and statistics.
//! Templates draw it with the macro `badge` of `parts.html`.

use countersign_core::{DeliveryState, VerificationState};

/// A state as a word and a picture; the style sheet knows its colour by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Badge {
    /// The class in the style sheet.
    pub(crate) name: &'static str,
    pub(crate) word: &'static str,
    pub(crate) icon: &'static str,
}

impl Badge {
    pub(crate) const fn new(name: &'static str, word: &'static str, icon: &'static str) -> Self {
        Self { name, word, icon }
    }

    /// Of a message.
    pub(crate) const fn delivery(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Admitted => Self::new("waiting", "Asking", "clock"),
            DeliveryState::Unreachable => Self::new("expired", "Not reachable", "barred"),
            DeliveryState::Checked => Self::new("waiting", "Checked", "search"),
            DeliveryState::Sent => Self::new("sent", "Sent", "tick"),
            DeliveryState::Delivered => Self::new("delivered", "Delivered", "two-ticks"),
            DeliveryState::Read => Self::new("read", "Read", "two-ticks"),
            DeliveryState::Expired => Self::new("expired", "Expired", "clock"),
            DeliveryState::Revoked => Self::new("revoked", "Revoked", "barred"),
        }
    }

    /// Of a code; `None` where nobody entered one.
    pub(crate) const fn verification(state: VerificationState) -> Option<Self> {
        match state {
            VerificationState::Unchecked => None,
            VerificationState::Valid => Some(Self::new("valid", "Code valid", "shield")),
            VerificationState::Invalid => Some(Self::new("invalid", "Wrong code", "cross")),
            VerificationState::AttemptsExceeded => Some(Self::new("invalid", "Too many attempts", "cross")),
            VerificationState::Expired => Some(Self::new("expired", "Code expired", "clock")),
        }
    }
}
