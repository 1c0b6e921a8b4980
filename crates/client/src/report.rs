//! Tells genuine delivery reports from forged and replayed ones (docs/delivery-reports.md).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_core::{RequestStatus, signature_matches};
use ring::digest::{SHA256, digest};
use thiserror::Error;

use crate::answer::read_status;

/// How old a report may be: 300 s. Each retry carries a new timestamp, so an honest report is never older.
pub const REPORT_MAX_AGE: Duration = Duration::from_mins(5);
/// How far ahead of our clock a report's timestamp may be: clocks differ by that much without anybody noticing.
pub const REPORT_MAX_FUTURE_SKEW: Duration = Duration::from_secs(30);

/// Why a report must not be believed. Answer its sender with a status other than 200.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The timestamp header isn't plain decimal seconds.
    #[error("the report's timestamp is malformed")]
    TimestampMalformed,
    /// It wasn't signed with this token, or was changed under way.
    #[error("the report's signature is wrong")]
    SignatureWrong,
    /// Signed too long ago: perhaps a replay.
    #[error("the report is {} s old", age.as_secs())]
    TooOld {
        /// Its age.
        age: Duration,
    },
    /// Signed in the future: one of the two clocks is wrong.
    #[error("the report is {} s ahead of this machine's clock", ahead.as_secs())]
    FromTheFuture {
        /// How far ahead.
        ahead: Duration,
    },
    /// Genuine, but not a request's state.
    #[error("the report's body can't be read: {0}")]
    BodyMalformed(serde_json::Error),
}

/// Checks a report's signature, in constant time, and its age; then reads its body.
///
/// `timestamp_header` and `signature_header` are the values of `X-Request-Timestamp` and `X-Request-Signature`, `body` the
/// raw bytes as they came, `token` the API token that made the request, `now` real time, `max_age` normally
/// [`REPORT_MAX_AGE`].
pub fn verify_report(
    token: &str,
    timestamp_header: &str,
    signature_header: &str,
    body: &[u8],
    now: SystemTime,
    max_age: Duration,
) -> Result<RequestStatus, ReportError> {
    let signed_at = parse_timestamp(timestamp_header).ok_or(ReportError::TimestampMalformed)?;
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    if !signature_matches(&key, timestamp_header, body, signature_header) {
        return Err(ReportError::SignatureWrong);
    }
    match now.duration_since(signed_at) {
        Ok(age) if age > max_age => return Err(ReportError::TooOld { age }),
        Err(error) if error.duration() > REPORT_MAX_FUTURE_SKEW => {
            return Err(ReportError::FromTheFuture {
                ahead: error.duration(),
            });
        }
        Ok(_) | Err(_) => {}
    }
    read_status(body).map_err(ReportError::BodyMalformed)
}

fn parse_timestamp(text: &str) -> Option<SystemTime> {
    // No sign, no white space: what is signed and what is judged must be the same text.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    UNIX_EPOCH.checked_add(Duration::from_secs(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::sign_report;

    const TOKEN: &str = "AAEuAAAABPmgKDzuMl1g1A9kSnVBmzpB1rdFYmYdkZk2FQ";
    const BODY: &[u8] = br#"{"request_id":"1","phone_number":"+391234567890","request_cost":0.01,"delivery_status":{"status":"delivered","updated_at":1790000000}}"#;
    const SIGNED_AT: &str = "1790000000";

    fn signature(timestamp: &str, body: &[u8]) -> String {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, TOKEN.as_bytes()).as_ref());
        sign_report(&key, timestamp, body)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_signature_is_the_one_that_other_languages_make() {
        // hmac.new(hashlib.sha256(token).digest(), timestamp + b"\n" + body, hashlib.sha256).hexdigest() in Python.
        let made_by_python = "12e08313e7ac0fa0e354effbfd9df675f0180d18cd20fbccdd98834aec750b00";
        verify_report(
            TOKEN,
            SIGNED_AT,
            made_by_python,
            BODY,
            at(1_790_000_000),
            REPORT_MAX_AGE,
        )
        .unwrap();
    }

    #[test]
    fn a_genuine_fresh_report_is_read() {
        let signature = signature(SIGNED_AT, BODY);
        for now in [1_790_000_000, 1_790_000_300, 1_789_999_970] {
            let status = verify_report(TOKEN, SIGNED_AT, &signature, BODY, at(now), REPORT_MAX_AGE).unwrap();
            assert_eq!(status.delivery_status.unwrap().status, "delivered");
        }
    }

    #[test]
    fn a_changed_body_token_time_or_signature_is_refused() {
        let signature = signature(SIGNED_AT, BODY);
        let verify = |token: &str, timestamp: &str, signature: &str, body: &[u8]| {
            verify_report(token, timestamp, signature, body, at(1_790_000_000), REPORT_MAX_AGE)
        };
        let upper = signature.to_uppercase();
        for result in [
            verify("another", SIGNED_AT, &signature, BODY),
            verify(TOKEN, "1790000001", &signature, BODY),
            verify(TOKEN, SIGNED_AT, &upper, BODY),
            verify(TOKEN, SIGNED_AT, &signature[..63], BODY),
            verify(TOKEN, SIGNED_AT, "", BODY),
            verify(TOKEN, SIGNED_AT, &signature, &BODY[1..]),
        ] {
            assert!(matches!(result, Err(ReportError::SignatureWrong)), "{result:?}");
        }
    }

    #[test]
    fn a_replayed_or_future_report_is_refused() {
        let signature = signature(SIGNED_AT, BODY);
        let verify = |now| verify_report(TOKEN, SIGNED_AT, &signature, BODY, at(now), REPORT_MAX_AGE);
        assert!(matches!(verify(1_790_000_301), Err(ReportError::TooOld { .. })));
        assert!(matches!(verify(1_789_999_969), Err(ReportError::FromTheFuture { .. })));
    }

    #[test]
    fn a_timestamp_is_plain_decimal_seconds() {
        for timestamp in ["", "+1790000000", " 1790000000", "1790000000.0", "99999999999999999999"] {
            let signature = signature(timestamp, BODY);
            let result = verify_report(TOKEN, timestamp, &signature, BODY, at(1_790_000_000), REPORT_MAX_AGE);
            assert!(matches!(result, Err(ReportError::TimestampMalformed)), "{timestamp:?}");
        }
    }

    #[test]
    fn a_genuine_report_that_is_no_status_is_told_apart() {
        let signature = signature(SIGNED_AT, b"[]");
        let result = verify_report(TOKEN, SIGNED_AT, &signature, b"[]", at(1_790_000_000), REPORT_MAX_AGE);
        assert!(matches!(result, Err(ReportError::BodyMalformed(_))));
    }
}
