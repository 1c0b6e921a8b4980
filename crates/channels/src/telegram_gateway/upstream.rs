//! Calls to the upstream: its methods by name, JSON both ways, bounded in time and in what is read of an answer.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;

use super::wire::{Failure, Status, result_of, status_of};
use crate::http;

/// Longest answer that is read: a Gateway's are below 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Countersign understands it; Telegram's own Gateway passes it over.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The upstream and our token there.
pub(super) struct Upstream {
    pub(super) http: reqwest::Client,
    /// Without a slash at its end.
    pub(super) base_url: String,
    /// Marked as sensitive: it prints as nothing.
    pub(super) authorization: HeaderValue,
    pub(super) timeout: Duration,
}

/// `sendVerificationMessage`.
#[derive(Serialize)]
pub(super) struct Sending<'a> {
    pub(super) phone_number: String,
    pub(super) code: &'a str,
    pub(super) ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callback_url: Option<&'a str>,
}

#[derive(Serialize)]
struct Number {
    phone_number: String,
}

#[derive(Serialize)]
struct Request<'a> {
    request_id: &'a str,
}

impl Upstream {
    pub(super) async fn check_ability(&self, phone_number: String) -> Result<Status, Failure> {
        self.status("checkSendAbility", &Number { phone_number }, None).await
    }

    pub(super) async fn send(&self, sending: &Sending<'_>, idempotency_key: &str) -> Result<Status, Failure> {
        self.status("sendVerificationMessage", sending, Some(idempotency_key))
            .await
    }

    pub(super) async fn status_of(&self, request_id: &str) -> Result<Status, Failure> {
        self.status("checkVerificationStatus", &Request { request_id }, None)
            .await
    }

    pub(super) async fn revoke(&self, request_id: &str) -> Result<(), Failure> {
        self.call("revokeVerificationMessage", &Request { request_id }, None, |_| Some(()))
            .await
    }

    async fn status(
        &self,
        method: &str,
        parameters: &impl Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<Status, Failure> {
        self.call(method, parameters, idempotency_key, |result| {
            status_of(result.as_bytes())
        })
        .await
    }

    async fn call<T>(
        &self,
        method: &str,
        parameters: &impl Serialize,
        idempotency_key: Option<&str>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut request = self
            .http
            .post(format!("{}/{method}", self.base_url))
            .timeout(self.timeout)
            .header(AUTHORIZATION, self.authorization.clone())
            .json(parameters);
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| Failure::NoAnswer(http::cause(error)))?;
        let status = answer.status().as_u16();
        let retry_after = http::retry_after(&answer);
        let body = http::body(answer, MAX_ANSWER_BYTES).await.map_err(Failure::NoAnswer)?;
        let result = result_of(status, retry_after, &body)?;
        read(result.get()).ok_or_else(|| Failure::Senseless(format!("{method} was answered with something else")))
    }
}
