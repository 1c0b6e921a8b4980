//! Calls to the Graph API: JSON, bounded in time and in what is read of an answer. The access token goes in a header that prints as
//! nothing.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;
use url::Url;

use super::wire::{Accepted, Failure, accepted_of, result_of};
use crate::http;

/// Longest answer that is read. A send's is below 1 KiB; a hundred templates stay below 200 KiB.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Meta's side and our token there.
pub(super) struct Api {
    pub(super) http: reqwest::Client,
    /// With the version; without a slash at its end.
    pub(super) base_url: String,
    /// Marked as sensitive: it prints as nothing.
    pub(super) authorization: HeaderValue,
    pub(super) timeout: Duration,
}

impl Api {
    /// Sends a message from a business number.
    pub(super) async fn send(&self, phone_number_id: &str, message: &Value) -> Result<Accepted, Failure> {
        let url = format!("{}/{phone_number_id}/messages", self.base_url);
        let body = self.call(self.http.post(url).json(message)).await?;
        accepted_of(&body).ok_or_else(|| Failure::Senseless("it names no message".to_owned()))
    }

    /// Reads something.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let url = Url::parse_with_params(&format!("{}/{path}", self.base_url), query)
            .map_err(|_| Failure::Senseless("base_url is no address".to_owned()))?;
        let body = self.call(self.http.get(url)).await?;
        serde_json::from_slice(&body).map_err(|_| Failure::Senseless("it isn’t JSON".to_owned()))
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failure> {
        let request = request
            .timeout(self.timeout)
            .header(AUTHORIZATION, self.authorization.clone());
        let answer = request
            .send()
            .await
            .map_err(|error| Failure::NoAnswer(http::cause(error)))?;
        let status = answer.status().as_u16();
        let retry_after = http::retry_after(&answer);
        let body = http::body(answer, MAX_ANSWER_BYTES).await.map_err(Failure::NoAnswer)?;
        result_of(status, retry_after, body)
    }
}
