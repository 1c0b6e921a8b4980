//! What accounts' short messages end with, as the owner's and the operator's API take and show it.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use countersign_core::{AndroidAppHash, Autofill, WebsiteHost};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{self, Refusal};

/// What is set. Each is left out where it isn't.
#[derive(Serialize, ToSchema)]
pub(crate) struct AutofillView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    android_hash: Option<String>,
}

impl From<&Autofill> for AutofillView {
    fn from(autofill: &Autofill) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            domain: autofill.domain.as_ref().map(WebsiteHost::as_str).map(text),
            android_hash: autofill.android_hash.as_ref().map(AndroidAppHash::as_str).map(text),
        }
    }
}

/// What to end short messages with: one of them or both.
#[derive(Deserialize, ToSchema)]
pub(crate) struct AutofillBody {
    /// The host name of the website on which the code is entered. Letters beyond ASCII become punycode.
    #[serde(default)]
    #[schema(example = "example.com", max_length = 100, nullable = false)]
    domain: Option<String>,
    /// The hash of the Android app that reads the message by itself, as Google's SMS Retriever computes it.
    #[serde(default)]
    #[schema(example = "FA+9qCX9VSu", min_length = 11, max_length = 11, nullable = false)]
    android_hash: Option<String>,
}

impl AutofillBody {
    /// Reads a body. What it doesn't name is taken away, so a body without either is taken for a slip.
    pub(crate) fn read(body: Result<Bytes, BytesRejection>) -> Result<Autofill, Refusal> {
        let body: Self = answer::body(body, r#"{"domain":"example.com","android_hash":"FA+9qCX9VSu"}"#)?;
        let [domain, hash] = [body.domain, body.android_hash].map(Option::unwrap_or_default);
        let autofill = Autofill::parse(&domain, &hash).map_err(|error| Refusal::bad_request(error.to_string()))?;
        if autofill.is_empty() {
            return Err(Refusal::bad_request(
                "nothing was changed: give `domain`, `android_hash` or both; `DELETE` takes both away",
            ));
        }
        Ok(autofill)
    }
}
