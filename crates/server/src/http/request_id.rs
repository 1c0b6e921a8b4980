//! The id by which a request is found again in the log. Its caller's own `X-Request-Id` is kept where it is a sane one, else one
//! is made; every answer carries it, and whatever is logged while the request is served can ask for it with [`RequestLabel::with`].
//!
//! Not to be mistaken for a verification request's `request_id`, which the books know. This one is forgotten with the answer.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::ApiToken;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::random;

/// Where it comes and goes.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A UUID has 36 bytes, what proxies of large clouds make has up to 55.
const MAX_BYTES: usize = 128;
/// E.164 allows 15 digits; with what people write between them, an id without any letter might be somebody's phone number.
const MAX_PHONE_BYTES: usize = 20;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// The id of the request that this task is serving.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabel;

impl RequestLabel {
    /// Shows the id to `reader`; `None` outside of a request. A task that a request starts is outside of it.
    pub fn with<T>(reader: impl FnOnce(&str) -> T) -> Option<T> {
        CURRENT.try_with(|id| id.to_str().ok().map(reader)).ok().flatten()
    }
}

/// The caller's id, where it is one that may stand in a log, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(given) if is_sane(given.as_bytes()) => given.clone(),
        _ => made(),
    }
}

/// Serves a request under its id.
pub(super) fn scope<F: Future>(id: HeaderValue, serving: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id, serving)
}

/// Short, of letters, digits and `.`, `_`, `-`, `:`, `=` only, so that it can't break a line or a quoted text; and neither a token
/// nor what could be a phone number, since those must not come into the log by this door.
fn is_sane(id: &[u8]) -> bool {
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-:=".contains(byte);
    if id.is_empty() || id.len() > MAX_BYTES || !id.iter().all(in_alphabet) {
        return false;
    }
    let could_be_phone = !id.iter().any(u8::is_ascii_alphabetic) && id.len() <= MAX_PHONE_BYTES;
    let is_token = std::str::from_utf8(id).is_ok_and(|id| ApiToken::parse(id).is_some());
    !could_be_phone && !is_token
}

/// 24 hexadecimal digits: eight that tell processes apart, sixteen that no other request of this process has. They don't
/// count visibly: a caller must not learn from two ids how many others called.
pub(super) fn made() -> HeaderValue {
    static SEED: OnceLock<[u8; 12]> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let seed = SEED.get_or_init(random::bytes);
    let [a, b, c, d, secret @ ..] = *seed;
    let number = COUNT
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(u64::from_be_bytes(secret));
    let mut digits = [0_u8; 24];
    let bytes = [a, b, c, d].into_iter().chain(scattered(number).to_be_bytes());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = b"0123456789abcdef"[usize::from(half)];
        }
    }
    // Hexadecimal digits are always a header's value; an empty one would only mean that the log names none.
    HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `SplitMix64`'s last step: one to one, so different numbers stay different.
const fn scattered(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use countersign_core::AccountId;

    use super::*;

    fn given(id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
        headers
    }

    #[test]
    fn a_sane_id_of_the_callers_is_kept() {
        for id in [
            "7f3c1f0e-6d0b-4b5e-9c43-1f7f0a1f3f52",
            "Root=1-67891233-abcdef012345678912345678",
            "checkout:42.a_b",
            "1234567890123456789012345",
        ] {
            assert_eq!(of(&given(id)), id);
        }
    }

    #[test]
    fn what_must_not_stand_in_a_log_is_replaced() {
        let long = "a".repeat(MAX_BYTES + 1);
        let token = ApiToken::new(AccountId::new(7).unwrap(), [3; 32]);
        for id in [
            "",
            "two words",
            "\"quoted\"",
            "391234567890",
            "39-123-456.7890",
            long.as_str(),
            token.as_str(),
        ] {
            let made = of(&given(id));
            assert_ne!(made, id);
            assert_eq!(made.len(), 24);
        }
    }

    #[test]
    fn ids_that_are_made_differ_and_do_not_count() {
        let ids: Vec<HeaderValue> = (0..1_000).map(|_| made()).collect();
        let different: std::collections::HashSet<&[u8]> = ids.iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(different.len(), ids.len());
        assert_ne!(ids[0].as_bytes()[8..16], ids[1].as_bytes()[8..16]);
    }

    #[tokio::test]
    async fn a_task_knows_the_id_of_the_request_that_it_serves() {
        assert_eq!(RequestLabel::with(str::to_owned), None);
        let seen = scope(HeaderValue::from_static("abc"), async {
            RequestLabel::with(str::to_owned)
        })
        .await;
        assert_eq!(seen.as_deref(), Some("abc"));
    }
}
