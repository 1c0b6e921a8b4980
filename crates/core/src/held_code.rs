//! What is held of a message's code: the code while it may still be handed over or entered, and afterwards no more than what answers
//! whoever asks again. When that is, says [`crate::VerificationRequest::needs_code`].

use std::fmt;

use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::code::{Code, EnteredCode};
use crate::ids::RequestId;

/// What is held of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldCode {
    /// The code itself.
    Whole(Code),
    /// It was entered in time, and is gone: it is told from others when it is entered again (docs/api.md, `checkVerificationStatus`).
    Used(UsedCode),
    /// It ended unused, and is gone.
    Wiped,
}

impl HeldCode {
    /// The code, while it is there.
    pub const fn whole(&self) -> Option<&Code> {
        match self {
            Self::Whole(code) => Some(code),
            Self::Used(_) | Self::Wiped => None,
        }
    }

    /// Whether a person entered exactly this code, compared in constant time. Nothing is right any more once it was wiped.
    pub fn matches(&self, request: RequestId, entered: &EnteredCode) -> bool {
        match self {
            Self::Whole(code) => code.matches(entered),
            Self::Used(used) => used.matches(request, entered),
            Self::Wiped => false,
        }
    }

    /// The same once the code is of no more use.
    #[must_use]
    pub(crate) fn ended(self, request: RequestId, was_used: bool) -> Self {
        match self {
            Self::Whole(code) if was_used => Self::Used(UsedCode::of(request, code.as_str())),
            Self::Whole(_) => Self::Wiped,
            gone @ (Self::Used(_) | Self::Wiped) => gone,
        }
    }
}

/// The first 128 bits of SHA-256 over a request's id and the code that was right for it. There are so few codes that whoever reads this
/// finds the one by trying them all: it is a secret, and sealed at rest as one. But it opens nothing, since its code was used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UsedCode([u8; 16]);

impl UsedCode {
    /// What tells that code of that request.
    pub fn of(request: RequestId, code: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"countersign used code");
        context.update(&request.created_at().millis().to_be_bytes());
        context.update(&request.random().to_be_bytes());
        context.update(code.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(hash)
    }

    /// As it was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As it is stored, sealed.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn matches(&self, request: RequestId, entered: &EnteredCode) -> bool {
        let of_entered = Self::of(request, entered.as_str());
        self.0.ct_eq(&of_entered.0).into()
    }
}

impl fmt::Debug for UsedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsedCode(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn entered(text: &str) -> EnteredCode {
        EnteredCode::new(text.into()).unwrap()
    }

    #[test]
    fn a_used_code_is_told_from_others_of_its_request_and_from_the_same_of_another() {
        let code = Code::parse("4711").unwrap();
        let [request, other] = [1, 2].map(|random| RequestId::new(Timestamp::from_millis(7), random));
        let used = HeldCode::Whole(code).ended(request, true);
        assert_eq!(used.whole(), None);
        assert!(used.matches(request, &entered("4711")));
        for wrong in ["4712", "04711", "4711 ", "0"] {
            assert!(!used.matches(request, &entered(wrong)), "{wrong} passed");
        }
        assert!(!used.matches(other, &entered("4711")));
        assert_ne!(used, HeldCode::Whole(code).ended(other, true));
        assert_eq!(used.ended(request, false), used);
    }

    #[test]
    fn of_a_code_that_ended_unused_nothing_is_left() {
        let code = HeldCode::Whole(Code::parse("4711").unwrap());
        let request = RequestId::new(Timestamp::from_millis(7), 1);
        let wiped = code.ended(request, false);
        assert_eq!(wiped, HeldCode::Wiped);
        assert!(!wiped.matches(request, &entered("4711")));
    }

    #[test]
    fn debug_output_of_a_used_code_does_not_tell_it() {
        let request = RequestId::new(Timestamp::from_millis(7), 1);
        assert_eq!(format!("{:?}", UsedCode::of(request, "4711")), "UsedCode(hidden)");
    }
}
