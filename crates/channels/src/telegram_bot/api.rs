//! Calls to the Bot API, and what each outcome means: surely not sent, refused, throttled, or unknown. The parameters are
//! frankenstein's; answers are read here, and only as far as they are needed, so that a field which a later Bot API adds or
//! changes never turns a message that went out into a failure.
//!
//! The token is part of every URL, so no text that leaves this file holds a URL, nor the token itself.

use std::fmt;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Secret;
use crate::http;

/// The longest answer that is read: 64 updates with the longest texts stay below.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Nobody is kept waiting longer than that by one answer.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Why a call was no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// No connection came about: surely nothing was sent.
    NotSent(String),
    /// No answer, or none that makes sense: it may have been carried out.
    Unknown(String),
    /// Too many calls; surely nothing was sent. When to come again.
    Throttled(Duration),
    /// Telegram said no.
    Refused {
        /// Like an HTTP status.
        code: u16,
        /// Its words.
        description: String,
    },
}

impl CallError {
    /// Whether the bot's token is wrong: 401 where it was revoked, 404 where it never existed.
    pub(super) const fn is_of_token(&self) -> bool {
        matches!(self, Self::Refused { code: 401 | 404, .. })
    }

    /// Whether it says that the chat can't be written to: the bot was blocked, the user is gone, or there never was a chat.
    pub(super) fn is_of_chat(&self) -> bool {
        match self {
            Self::Refused { code: 403, .. } => true,
            Self::Refused { code: 400, description } => {
                let description = description.to_ascii_lowercase();
                ["chat not found", "user not found", "peer_id_invalid", "deactivated"]
                    .iter()
                    .any(|sign| description.contains(sign))
            }
            _ => false,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(cause) => write!(f, "no connection to Telegram: {cause}"),
            Self::Unknown(cause) => write!(f, "no valid answer from Telegram: {cause}"),
            Self::Throttled(after) => write!(f, "Telegram asks to wait for {} s", after.as_secs()),
            Self::Refused { code, description } => write!(f, "Telegram answered {code}: {description}"),
        }
    }
}

/// The Bot API as one bot calls it.
pub(super) struct Api {
    http: reqwest::Client,
    /// Where its methods are; holds the token.
    methods: Secret,
    token: Secret,
    timeout: Duration,
}

impl Api {
    pub(super) fn new(http: reqwest::Client, base_url: &str, token: Secret, timeout: Duration) -> Self {
        let methods = Secret::new(format!("{base_url}/bot{}", token.reveal()));
        Self {
            http,
            methods,
            token,
            timeout,
        }
    }

    /// Calls a method, and answers its result (null where there is none).
    pub(super) async fn call(&self, method: &str, parameters: &impl Serialize) -> Result<Value, CallError> {
        self.call_for(method, parameters, Duration::ZERO).await
    }

    /// The same for a method that Telegram answers only after up to so much time.
    pub(super) async fn call_for(
        &self,
        method: &str,
        parameters: &impl Serialize,
        takes: Duration,
    ) -> Result<Value, CallError> {
        let not_sent = |cause: String| CallError::NotSent(self.without_token(&cause));
        let body = serde_json::to_vec(parameters).map_err(|error| not_sent(error.to_string()))?;
        let request = self
            .http
            .post(format!("{}/{method}", self.methods.reveal()))
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.timeout + takes)
            .body(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => return Err(not_sent(http::cause(error))),
            Err(error) => return Err(self.unknown(&http::cause(error))),
        };
        let status = answer.status().as_u16();
        let body = http::body(answer, MAX_ANSWER_BYTES).await;
        self.read(status, &body.map_err(|cause| self.unknown(&cause))?)
    }

    /// Leaves the token out of a text of the other side.
    pub(super) fn without_token(&self, text: &str) -> String {
        text.replace(self.token.reveal(), "…")
    }

    fn unknown(&self, cause: &str) -> CallError {
        CallError::Unknown(self.without_token(cause))
    }

    fn read(&self, status: u16, body: &[u8]) -> Result<Value, CallError> {
        let answer = serde_json::from_slice::<Answer>(body).ok();
        let retry_after = answer
            .as_ref()
            .and_then(|answer| answer.parameters.as_ref()?.retry_after);
        match answer {
            Some(answer) if answer.ok => Ok(answer.result),
            // A proxy on the way throttles without a body of Telegram's.
            None if status == 429 => Err(CallError::Throttled(Duration::from_secs(1))),
            None => Err(self.unknown(&format!("status {status}, and a body that isn’t the Bot API’s"))),
            Some(answer) => match answer.error_code.unwrap_or(status) {
                429 => {
                    let after = Duration::from_secs(retry_after.unwrap_or(1).max(1));
                    Err(CallError::Throttled(after.min(MAX_RETRY_AFTER)))
                }
                code => Err(CallError::Refused {
                    code,
                    description: self.without_token(&answer.description),
                }),
            },
        }
    }
}

/// What every method answers.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: Value,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    parameters: Option<AnswerParameters>,
}

#[derive(Deserialize)]
struct AnswerParameters {
    retry_after: Option<u64>,
}

/// Parameters of a method that has none.
#[derive(Serialize)]
pub(super) struct NoParameters {}
