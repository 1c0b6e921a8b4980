//! The test ping: an owner sends a signed request to a URL and sees what came of it, before a single report depends on it. It
//! goes the reports' own way, to the addresses that reports may go to, and stands in no book.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_core::{AccountKey, CallbackUrl, Limit, PlainHttp};
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};
use utoipa::ToSchema;

use crate::answer::{self, Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::{App, Mode};
use crate::clock;
use crate::pace::Pace;
use crate::workers::{Postman, ReportSettings};

/// An account's pings: a person tries an endpoint, nobody measures one with them.
const LIMIT: Limit = Limit {
    count: 5,
    period_ms: 60_000,
};
/// Pings under way at once, of all accounts together. Each lasts as long as an attempt may.
const MAX_UNDER_WAY: usize = 16;

/// What the pings of a server share.
pub(crate) struct Pings {
    /// Made at the first ping; it trusts the same authorities and goes to the same addresses as the reports' own.
    postman: OnceCell<Postman>,
    under_way: Semaphore,
    pace: Pace,
}

impl Default for Pings {
    fn default() -> Self {
        Self {
            postman: OnceCell::new(),
            under_way: Semaphore::new(MAX_UNDER_WAY),
            pace: Pace::new(LIMIT),
        }
    }
}

/// Where to send a test ping.
#[derive(Deserialize, ToSchema)]
struct PingBody {
    #[schema(example = "https://example.com/reports", max_length = 256)]
    url: String,
}

/// What is posted to the URL.
#[derive(Serialize)]
struct Ping {
    event: &'static str,
    /// A string: it has 63 bits, more than a JSON number keeps in JavaScript.
    account_id: String,
    /// Whole Unix seconds.
    sent_at: i64,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PingView {
    pub(crate) url: String,
    /// Whether a report would have been acknowledged.
    pub(crate) acknowledged: bool,
    pub(crate) duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) error: Option<String>,
    /// The beginning of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) response: Option<String>,
}

/// `POST /account/v1/reports/ping`: answers once the receiver has, or its time is over.
#[utoipa::path(
    post,
    path = "/account/v1/reports/ping",
    operation_id = "ping",
    summary = "Send a test ping to a URL",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = PingBody),
    responses(
        (status = 200, description = "What came of it", body = PingView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 413, description = "The body is too long", body = RefusalBody),
        (status = 429, description = "Too often; the sentence says when again", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(crate) async fn ping(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(pings): Extension<Arc<Pings>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: PingBody = answer::body(body, r#"{"url":"https://example.com/reports"}"#)?;
    Answer::ok(&send(&app, &pings, caller.access.key, &body.url).await?)
}

/// Sends a ping and waits for what comes of it; the owner's page does that, too.
pub(crate) async fn send(app: &App, pings: &Pings, account: AccountKey, url: &str) -> Result<PingView, Refusal> {
    let url = read_url(app, url)?;
    let now = clock::now();
    let _under_way = pings
        .under_way
        .try_acquire()
        .map_err(|_| Refusal::unavailable("nothing was sent: many pings are under way; try again in a second"))?;
    pings.pace.take(account.id, now).map_err(|seconds| {
        Refusal::too_many(format!(
            "nothing was sent: an account has {} pings a minute; try again in {seconds} s",
            LIMIT.count
        ))
    })?;
    let postman = pings
        .postman
        .get_or_try_init(async || Postman::new(&settings(app)))
        .await;
    let postman = postman.map_err(|error| {
        tracing::error!(%error, "a ping could not be sent");
        Refusal::internal()
    })?;
    let token = app.store.token(account).await?;
    let ping = Ping {
        event: "ping",
        account_id: account.id.to_string(),
        sent_at: now.unix_seconds(),
    };
    // Two strings and a number always serialise.
    let content = serde_json::to_vec(&ping).unwrap_or_default();
    postman.close_old_connections();
    let attempt = postman.send(&url, Bytes::from(content), &token, now).await;
    Ok(PingView {
        url: url.as_str().to_owned(),
        acknowledged: attempt.failure.is_none(),
        duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
        status: attempt.status,
        error: attempt.failure.map(|failure| failure.to_string()),
        response: (!attempt.response.is_empty()).then(|| String::from_utf8_lossy(&attempt.response).into_owned()),
    })
}

fn read_url(app: &App, text: &str) -> Result<CallbackUrl, Refusal> {
    let (plain_http, wanted) = match app.mode {
        Mode::Sandbox => (PlainHttp::Accepted, "https:// or http://"),
        Mode::Production => (PlainHttp::Refused, "https://"),
    };
    CallbackUrl::parse(text.trim(), plain_http).ok_or_else(|| {
        Refusal::bad_request(format!(
            "`url` is no callback URL: it begins with {wanted}, names a host, and has at most 256 bytes"
        ))
    })
}

fn settings(app: &App) -> ReportSettings {
    ReportSettings::of(&app.settings)
}
