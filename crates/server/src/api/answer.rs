//! Answers as they go out: `{"ok":true,"result":…}` or `{"ok":false,"error":"NAME"}`, and the few statuses besides 200.

use axum::body::Body;
use axum::response::Response;
use countersign_core::{ApiError, RequestStatus, Timestamp};
use countersign_store::StoreError;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// Says what the error's name doesn't, in a sentence. A header: some clients fail on any field that isn't documented.
const REASON_HEADER: &str = "x-refusal-reason";
const RESULT_START: &[u8] = b"{\"ok\":true,\"result\":";
/// Most answers fit: a status with payload and both sub-states has about 400 bytes.
const USUAL_BYTES: usize = 512;

/// Why a call gets no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The contract's own error; nothing was charged.
    Api(ApiError),
    /// The body is longer than [`super::MAX_BODY_BYTES`].
    BodyTooLarge,
    /// Draining, the queue or the disk full, the database out of reach, or the books closing; nothing is half done.
    Unavailable,
    /// The outcome may be unknown.
    Internal,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy
            | StoreError::Closing
            | StoreError::DiskFull
            | StoreError::Unavailable
            | StoreError::TryAgain => Self::Unavailable,
            error => {
                tracing::error!(%error, "a call was answered with INTERNAL_ERROR");
                Self::Internal
            }
        }
    }
}

impl Refusal {
    /// The answer. Statuses: docs/api.md, "Calling".
    pub(super) fn into_response(self) -> Response {
        let (status, name) = match self {
            Self::Api(error) => (StatusCode::OK, error.wire_name()),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE".into()),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE".into()),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR".into()),
        };
        let mut response = json(format!("{{\"ok\":false,\"error\":\"{name}\"}}").into_bytes());
        *response.status_mut() = status;
        let reason = match self {
            Self::Api(error) => error.reason(),
            _ => None,
        };
        if let Some(reason) = reason.and_then(|reason| HeaderValue::try_from(reason).ok()) {
            response.headers_mut().insert(REASON_HEADER, reason);
        }
        if self == Self::Unavailable {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A request's state.
pub(super) fn status(status: &RequestStatus) -> Result<Response, Refusal> {
    let mut body = Vec::with_capacity(USUAL_BYTES);
    body.extend_from_slice(RESULT_START);
    serde_json::to_writer(&mut body, status).map_err(|error| {
        tracing::error!(%error, "a request's state could not be written as JSON");
        Refusal::Internal
    })?;
    body.push(b'}');
    Ok(json(body))
}

/// A revocation was received.
pub(super) fn revoked() -> Response {
    json(b"{\"ok\":true,\"result\":true}".to_vec())
}

/// A first answer again, whose result is JSON already.
pub(super) fn again(result: &[u8]) -> Response {
    json([RESULT_START, result, b"}"].concat())
}

/// The time on an account's clock.
pub(super) fn clock(account_now: Timestamp) -> Response {
    let seconds = account_now.unix_seconds();
    json(format!("{{\"ok\":true,\"result\":{{\"now\":{seconds}}}}}").into_bytes())
}

/// That the process lives and answers. Nothing that a restart doesn't mend makes it say otherwise: a supervisor that ended a
/// server for a full disk would make things worse.
pub(super) fn alive() -> Response {
    probe(StatusCode::OK, "ok".to_owned())
}

/// Whether the server takes work, for a load balancer: `ok`, or with 503 why not. Before the migrations are done, nothing
/// listens.
pub(super) fn ready(trouble: Option<String>) -> Response {
    match trouble {
        Some(trouble) => probe(StatusCode::SERVICE_UNAVAILABLE, trouble),
        None => probe(StatusCode::OK, "ok".to_owned()),
    }
}

fn probe(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let plain_text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain_text);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Methods can be called by GET, and no cache may answer for the books.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_books_says_whether_the_outcome_is_known() {
        for (failure, status) in [
            (StoreError::Busy, 503),
            (StoreError::Closing, 503),
            (StoreError::DiskFull, 503),
            (StoreError::Unavailable, 503),
            (StoreError::TryAgain, 503),
            (StoreError::Lost, 500),
            (StoreError::Database("malformed".to_owned()), 500),
        ] {
            let response = Refusal::from(failure).into_response();
            assert_eq!(response.status().as_u16(), status);
            let retry_after = response.headers().get(RETRY_AFTER).map(HeaderValue::as_bytes);
            assert_eq!(retry_after, (status == 503).then_some(b"1".as_slice()));
        }
    }

    #[test]
    fn an_error_of_the_contract_has_status_200() {
        let response = Refusal::from(ApiError::FloodWait { seconds: 7 }).into_response();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}
