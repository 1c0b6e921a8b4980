//! One attempt to send one delivery report: sign it, post it, and say what became of it (docs/delivery-reports.md). When it is
//! tried again is not decided here.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_channels::tls_client_config;
use countersign_core::{
    AccountId, ApiToken, CallbackUrl, PlainHttp, SIGNATURE_HEADER, TIMESTAMP_HEADER, Timestamp, sign_report,
};
use countersign_store::MAX_KEPT_RESPONSE_BYTES;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;

use super::ReportSettings;
use super::connections::{Connection, Connections, Network, Origin, SystemNetwork};

/// How long the rest of an answer may take, once its status has come.
const ANSWER_REST_LIMIT: Duration = Duration::from_secs(1);
/// Longest reason that is kept with a report, in characters.
const MAX_REASON_LENGTH: usize = 200;

/// Why reports can't be sent as it was set.
#[derive(Debug, Error)]
pub enum PostmanError {
    /// The file of extra authorities is no good.
    #[error("callbacks.extra_ca_file: {0}")]
    ExtraCa(String),
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
    /// Reports go by HTTPS, but in the sandbox.
    #[error("no connection: its URL is not https://")]
    NotHttps,
    /// No connection came about: refused, unknown name, untrusted certificate, or an address that is not allowed.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection ended before an answer came, or the answer wasn't HTTP.
    #[error("no valid answer: {0}")]
    Transport(String),
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The status, where an answer came.
    pub status: Option<u16>,
    /// Why it was no success; `None` where the receiver acknowledged.
    pub failure: Option<AttemptFailure>,
    /// The beginning of the answer's body, at most 4 KiB.
    pub response: Vec<u8>,
    /// How long it took, with the rest of the answer.
    pub duration: Duration,
}

/// Sends reports. Cheap to use from many tasks at once.
#[derive(Debug, Clone)]
pub struct Postman {
    connections: Arc<Connections>,
    timeout: Duration,
    plain_http: PlainHttp,
}

impl Postman {
    /// A postman that trusts the platform's authorities and those of the extra file. Fails where that file is no good.
    pub fn new(settings: &ReportSettings) -> Result<Self, PostmanError> {
        Self::on(settings, Arc::new(SystemNetwork))
    }

    /// The same on another network than the operating system's: tests say what names lead to.
    pub fn on(settings: &ReportSettings, network: Arc<dyn Network>) -> Result<Self, PostmanError> {
        let trust = tls_client_config(settings.extra_ca_file.as_deref()).map_err(PostmanError::ExtraCa)?;
        let tls = TlsConnector::from(Arc::new(trust));
        let connections = Connections::new(network, tls, settings);
        Ok(Self {
            connections: Arc::new(connections),
            timeout: settings.attempt_timeout,
            plain_http: settings.plain_http,
        })
    }

    /// Makes one attempt. `now` is real time; the signature's key is made of `token`.
    pub async fn send(&self, callback_url: &CallbackUrl, body: Bytes, token: &ApiToken, now: Timestamp) -> Attempt {
        let began = Instant::now();
        let deadline = began + self.timeout;
        let exchanged = match Letter::new(callback_url, body, token, now, self.plain_http) {
            Ok(letter) => match tokio::time::timeout_at(deadline, self.exchange(&letter)).await {
                Ok(exchanged) => exchanged.map(|answer| (letter.origin, answer)),
                Err(_) => Err(AttemptFailure::Timeout(self.timeout.as_secs())),
            },
            Err(failure) => Err(failure),
        };
        let (status, failure, response) = match exchanged {
            Ok((origin, (answer, connection))) => {
                let status = answer.status();
                let deadline = deadline.min(Instant::now() + ANSWER_REST_LIMIT);
                let (response, is_whole) = beginning(answer, deadline).await;
                if is_whole {
                    self.connections.keep(origin, connection);
                }
                let failure = (status != StatusCode::OK).then(|| AttemptFailure::Status(status.as_u16()));
                (Some(status.as_u16()), failure, response)
            }
            Err(failure) => (None, Some(failure), Vec::new()),
        };
        Attempt {
            status,
            failure,
            response,
            duration: began.elapsed(),
        }
    }

    /// Closes connections that nobody has used for a while.
    pub fn close_old_connections(&self) {
        self.connections.close_old();
    }

    async fn exchange(&self, letter: &Letter) -> Result<(Response<Incoming>, Connection), AttemptFailure> {
        while let Some(mut kept) = self.connections.take(&letter.origin) {
            if kept.ready().await.is_err() {
                continue;
            }
            match kept.send_request(letter.request()?).await {
                Ok(answer) => return Ok((answer, kept)),
                // The receiver may close a free connection in the very moment in which it is used. A report may arrive twice,
                // so it is posted once more, on a connection of its own.
                Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => break,
                Err(error) => return Err(AttemptFailure::Transport(innermost(&error))),
            }
        }
        let opened = self.connections.open(letter.account, &letter.origin).await;
        let mut connection = opened.map_err(|error| AttemptFailure::Connect(innermost(&error)))?;
        match connection.send_request(letter.request()?).await {
            Ok(answer) => Ok((answer, connection)),
            Err(error) => Err(AttemptFailure::Transport(innermost(&error))),
        }
    }
}

/// A report as it is posted.
struct Letter {
    account: AccountId,
    origin: Origin,
    target: Uri,
    host: HeaderValue,
    timestamp: HeaderValue,
    signature: HeaderValue,
    body: Bytes,
}

impl Letter {
    fn new(
        callback_url: &CallbackUrl,
        body: Bytes,
        token: &ApiToken,
        now: Timestamp,
        plain_http: PlainHttp,
    ) -> Result<Self, AttemptFailure> {
        let not_callable = || AttemptFailure::Connect("its URL can't be called".to_owned());
        let url = Url::parse(callback_url.as_str()).map_err(|_| not_callable())?;
        let origin = Origin::of(&url).ok_or_else(not_callable)?;
        if !origin.is_tls() && plain_http == PlainHttp::Refused {
            return Err(AttemptFailure::NotHttps);
        }
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let timestamp = now.unix_seconds().to_string();
        let signature = sign_report(&token.report_key(), &timestamp, &body);
        let value = |text: String| HeaderValue::try_from(text).map_err(|_| not_callable());
        Ok(Self {
            account: token.account(),
            origin,
            target: Uri::try_from(target).map_err(|_| not_callable())?,
            host: value(host)?,
            timestamp: value(timestamp)?,
            signature: value(signature)?,
            body,
        })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, AttemptFailure> {
        Request::builder()
            .method(Method::POST)
            .uri(self.target.clone())
            .header(header::HOST, self.host.clone())
            .header(header::USER_AGENT, concat!("Countersign/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(TIMESTAMP_HEADER, self.timestamp.clone())
            .header(SIGNATURE_HEADER, self.signature.clone())
            .body(Full::new(self.body.clone()))
            .map_err(|error| AttemptFailure::Connect(error.to_string()))
    }
}

/// The beginning of an answer's body, and whether that is all of it: then its connection can be used again.
async fn beginning(answer: Response<Incoming>, deadline: Instant) -> (Vec<u8>, bool) {
    let mut body = answer.into_body();
    let mut read = Vec::new();
    loop {
        let Ok(frame) = tokio::time::timeout_at(deadline, body.frame()).await else {
            return (read, false);
        };
        match frame {
            None => return (read, true),
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                let room = MAX_KEPT_RESPONSE_BYTES - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    return (read, false);
                }
            }
            Some(Err(_)) => return (read, false),
        }
    }
}

/// The innermost cause of an error: it says what happened, in words without a URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(MAX_REASON_LENGTH).collect()
}
