//! How the operator's and the owner's API answer: JSON with an HTTP status, refusals as sentences with their remedy. Their
//! handlers return `Result<Answer, Refusal>`. The Gateway methods answer otherwise (`api/answer.rs`).

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_core::Credits;
use countersign_store::StoreError;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A JSON answer.
pub(crate) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// What was asked for.
    pub(crate) fn ok(value: &impl Serialize) -> Result<Self, Refusal> {
        Self::with_status(StatusCode::OK, value)
    }

    /// What was made.
    pub(crate) fn created(value: &impl Serialize) -> Result<Self, Refusal> {
        Self::with_status(StatusCode::CREATED, value)
    }

    /// What was begun and goes on.
    pub(crate) fn accepted(value: &impl Serialize) -> Result<Self, Refusal> {
        Self::with_status(StatusCode::ACCEPTED, value)
    }

    fn with_status(status: StatusCode, value: &impl Serialize) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Refusal::internal()
        })?;
        Ok(Self { status, body })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        json_response(self.status, self.body)
    }
}

/// Why nothing was done. `sentence` says what to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    sentence: String,
}

/// The body of every error of the owner's and the operator's API.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusalBody {
    /// A sentence that says what to do.
    error: String,
}

impl Refusal {
    /// What went wrong, and what to do now.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
        }
    }

    /// Its status, for such a page.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The same, said of a part of what was sent.
    pub(crate) fn about(self, part: &str) -> Self {
        Self::new(self.status, format!("{part}: {}", self.sentence))
    }

    /// What was sent makes no sense.
    pub(crate) fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The key or the token is missing or wrong.
    pub(crate) fn unauthorized(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, sentence)
    }

    /// The caller is known, and not allowed in.
    pub(crate) fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    /// Not now; nothing was done.
    pub(crate) fn unavailable(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    /// Too often; nothing was done.
    pub(crate) fn too_many(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, sentence)
    }

    /// What was named isn't there.
    pub(crate) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    /// The path takes other methods.
    pub(crate) fn method_not_allowed(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
    }

    /// What is asked contradicts what stands in the books.
    pub(crate) fn conflict(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, sentence)
    }

    /// Our fault, and only a part was done: the sentence says which.
    pub(crate) fn half_done(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    }

    /// Our fault; the log says more.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed and can't tell whether this was done: its log says why; look before you try again",
        )
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Closing => {
                Self::unavailable(format!("nothing was done: {error}; try again in a second"))
            }
            StoreError::DiskFull => Self::unavailable(
                "nothing was done: the disk of the data directory is full; make room on it, and try again",
            ),
            StoreError::Unavailable => Self::unavailable(
                "nothing was done: the server can’t reach its database at present; try again in a moment",
            ),
            StoreError::TryAgain => {
                Self::unavailable("nothing was done: the database was too busy; try again in a second")
            }
            StoreError::NotFound(what) => Self::not_found(format!("there is no such {what}")),
            StoreError::Conflict(what) => Self::conflict(format!("{what} exists already")),
            error => {
                tracing::error!(%error, "the books failed under a call of the operator's or an owner's API");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody { error: self.sentence };
        // A sentence always serialises.
        let mut response = json_response(self.status, serde_json::to_vec(&body).unwrap_or_default());
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = HttpResponse::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Answers hold tokens and phone numbers: no cache may keep them.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a JSON body; `example` shows a right one where it is wrong.
pub(crate) fn body<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>, example: &str) -> Result<T, Refusal> {
    let bytes = bytes.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::bad_request(format!("the body is wrong ({error}): send JSON like {example}")))
}

/// An amount of credit, as a JSON number or a decimal string; read digit by digit, through no float.
pub(crate) struct Amount(pub(crate) Credits);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        let text = match raw.get().strip_prefix('"') {
            Some(_) => serde_json::from_str::<String>(raw.get()).map_err(D::Error::custom)?,
            None => raw.get().to_owned(),
        };
        Credits::parse(text.trim()).map(Self).map_err(D::Error::custom)
    }
}

/// The parameters of a query string, decoded.
pub(crate) fn query(raw: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(raw.unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}
