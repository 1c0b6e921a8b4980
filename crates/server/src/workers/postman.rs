//! One attempt to send one delivery report: sign it, post it, and say whether it was acknowledged
//! (docs/delivery-reports.md). When it is tried again is not decided here.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_core::{ApiToken, CallbackUrl, SIGNATURE_HEADER, TIMESTAMP_HEADER, Timestamp, sign_report};
use http::{StatusCode, header};
use reqwest::{Certificate, Client, ClientBuilder, Response, redirect};
use thiserror::Error;

use super::ReportSettings;
use super::addresses::{PublicResolver, judge_literal};

/// Most bytes of an answer that are read; only its status counts, and a short rest lets the connection be used again.
const MAX_ANSWER_BYTES: usize = 4_096;
/// How long the rest of an answer may take, once its status has come.
const ANSWER_REST_LIMIT: Duration = Duration::from_secs(1);
/// Kept connections to one receiver, and how long one is kept: a burst of reports shares its TLS handshakes.
const MAX_IDLE_CONNECTIONS: usize = 8;
const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(20);
/// Longest reason that is kept with a report, in characters.
const MAX_REASON_LENGTH: usize = 200;

/// Why reports can't be sent as it was set.
#[derive(Debug, Error)]
pub enum PostmanError {
    /// The file of extra authorities can't be read.
    #[error("the file {path} (callbacks.extra_ca_file) can't be read: {source}")]
    ExtraCaUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of extra authorities holds something else.
    #[error("the file {path} (callbacks.extra_ca_file) holds no certificate in PEM form")]
    ExtraCaInvalid {
        /// The file.
        path: PathBuf,
    },
    /// The HTTP client could not be made.
    #[error("delivery reports can't be sent: {0}")]
    Client(String),
}

/// Why an attempt was no success. Its text is shown to the account's owner; it holds no URL and nothing of a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttemptFailure {
    /// Only 200 acknowledges.
    #[error("answered {0} instead of 200")]
    Status(u16),
    /// Nothing came in time.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// No connection came about: refused, unknown name, untrusted certificate, or an address that is not allowed.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended before an answer came, or the answer wasn't HTTP.
    #[error("no valid answer: {0}")]
    Transport(String),
}

/// What a receiver answered.
#[derive(Debug)]
pub(crate) struct ReceiverAnswer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The beginning of the body, at most [`MAX_ANSWER_BYTES`].
    pub(crate) response: Vec<u8>,
}

impl ReceiverAnswer {
    /// Why this acknowledges nothing; `None` where it does.
    pub(crate) fn failure(&self) -> Option<AttemptFailure> {
        (self.status != StatusCode::OK.as_u16()).then_some(AttemptFailure::Status(self.status))
    }
}

/// Sends reports. Cheap to use from many tasks at once.
#[derive(Debug, Clone)]
pub struct Postman {
    client: Client,
    timeout: Duration,
    allow_private_addresses: bool,
}

impl Postman {
    /// A postman that trusts the platform's authorities and those of the extra file. Fails where that file is no good.
    pub fn new(settings: &ReportSettings) -> Result<Self, PostmanError> {
        // An error says that a provider is installed already: it is ring everywhere in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let extra_ca_file = settings.extra_ca_file.as_deref();
        let extra = extra_ca_file.map(read_certificates).transpose()?.unwrap_or_default();
        let with_platform = builder(settings).tls_certs_merge(extra.clone()).build();
        let client = match with_platform {
            Ok(client) => client,
            Err(error) => {
                // Slim containers have no authorities at all; plain HTTP and the extra ones must work all the same.
                let error = innermost(&error);
                tracing::warn!(
                    error,
                    "the platform's certificate authorities can't be used: install ca-certificates"
                );
                let only_extra = builder(settings).tls_certs_only(extra).build();
                only_extra.map_err(|error| PostmanError::Client(innermost(&error)))?
            }
        };
        Ok(Self {
            client,
            timeout: settings.attempt_timeout,
            allow_private_addresses: settings.allow_private_addresses,
        })
    }

    /// Makes one attempt. `now` is real time; the signature's key is made of `token`.
    pub async fn send(
        &self,
        callback_url: &CallbackUrl,
        body: Bytes,
        token: &ApiToken,
        now: Timestamp,
    ) -> Result<(), AttemptFailure> {
        let answer = self.post(callback_url, body, token, now).await?;
        answer.failure().map_or(Ok(()), Err)
    }

    /// Posts a signed body, and answers what the receiver answered, whatever its status.
    pub(crate) async fn post(
        &self,
        callback_url: &CallbackUrl,
        body: Bytes,
        token: &ApiToken,
        now: Timestamp,
    ) -> Result<ReceiverAnswer, AttemptFailure> {
        if !self.allow_private_addresses {
            judge_literal(callback_url.as_str()).map_err(|error| AttemptFailure::Connect(error.to_string()))?;
        }
        let timestamp = now.unix_seconds().to_string();
        let signature = sign_report(&token.report_key(), &timestamp, &body);
        let answer = self
            .client
            .post(callback_url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, signature)
            .body(body)
            .send()
            .await
            .map_err(|error| self.failure(&error))?;
        let status = answer.status().as_u16();
        // Whatever becomes of the rest, the status has said all.
        let mut response = Vec::new();
        let _ = tokio::time::timeout(ANSWER_REST_LIMIT, read_rest(answer, &mut response)).await;
        Ok(ReceiverAnswer { status, response })
    }

    fn failure(&self, error: &reqwest::Error) -> AttemptFailure {
        if error.is_timeout() {
            AttemptFailure::Timeout(self.timeout.as_secs())
        } else if error.is_connect() {
            AttemptFailure::Connect(innermost(error))
        } else {
            AttemptFailure::Transport(innermost(error))
        }
    }
}

fn builder(settings: &ReportSettings) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("Countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        // A report goes straight to where the call said: its address is judged, a proxy's would not be.
        .no_proxy()
        .http1_only()
        .timeout(settings.attempt_timeout)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_CONNECTION_LIFE);
    if settings.allow_private_addresses {
        builder
    } else {
        builder.dns_resolver(Arc::new(PublicResolver))
    }
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, PostmanError> {
    let pem = std::fs::read(path).map_err(|source| PostmanError::ExtraCaUnreadable {
        path: path.to_owned(),
        source,
    })?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(PostmanError::ExtraCaInvalid { path: path.to_owned() });
    }
    Ok(certificates)
}

/// Reads an answer's body, at most [`MAX_ANSWER_BYTES`] of it.
async fn read_rest(mut answer: Response, read: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = MAX_ANSWER_BYTES - read.len();
        if chunk.len() > room {
            read.extend_from_slice(&chunk[..room]);
            return;
        }
        read.extend_from_slice(&chunk);
    }
}

/// The innermost cause of an HTTP error: it says what happened, and unlike the outer ones names no URL.
fn innermost(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return "the request could not be made".to_owned();
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(MAX_REASON_LENGTH).collect()
}
