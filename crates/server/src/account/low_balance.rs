//! The low-balance report: when its owner is told that an account's credit runs out, and where.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_core::{Action, CallbackUrl, Command, Credits, LowBalance, MAX_PURCHASE, PlainHttp};
use countersign_store::Actor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::Changes;
use crate::answer::{self, Amount, Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::{App, Mode};
use crate::clock;

/// What is set. Both are left out where nothing is.
#[derive(Serialize, ToSchema)]
struct LowBalanceView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, required = false)]
    below: Option<Credits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
}

/// When to tell, and where.
#[derive(Deserialize, ToSchema)]
struct LowBalanceBody {
    /// Told when less than this is available.
    #[schema(value_type = f64, exclusive_minimum = 0, maximum = 1_000_000_000, example = 5)]
    below: Amount,
    /// Where the report goes; like a `callback_url`.
    #[schema(example = "https://example.com/low-balance", max_length = 256)]
    url: String,
}

/// `GET /account/v1/low-balance`.
#[utoipa::path(
    get,
    path = "/account/v1/low-balance",
    operation_id = "lowBalance",
    summary = "When a low balance is told, and where",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is set; empty where nothing is", body = LowBalanceView),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Answer, Refusal> {
    let profile = app.store.account(caller.access.key.id).await?;
    view(profile.and_then(|profile| profile.low_balance))
}

/// `PUT /account/v1/low-balance`: a balance that is low already is told at once.
#[utoipa::path(
    put,
    path = "/account/v1/low-balance",
    operation_id = "setLowBalance",
    summary = "Be told of a low balance",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = LowBalanceBody),
    responses(
        (status = 200, description = "What is set", body = LowBalanceView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 413, description = "The body is too long", body = RefusalBody),
        (status = 429, description = "Too often; the sentence says when again", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(changes): Extension<Arc<Changes>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: LowBalanceBody = answer::body(body, r#"{"below":5,"url":"https://example.com/low-balance"}"#)?;
    let below = body.below.0;
    if below <= Credits::ZERO || below > MAX_PURCHASE {
        return Err(Refusal::bad_request(format!(
            "`below` must be more than 0 and at most {MAX_PURCHASE}"
        )));
    }
    let plain_http = match app.mode {
        Mode::Sandbox => PlainHttp::Accepted,
        Mode::Production => PlainHttp::Refused,
    };
    let url = CallbackUrl::parse(&body.url, plain_http).ok_or_else(|| {
        Refusal::bad_request(
            "`url` must be an absolute https:// URL of at most 256 bytes, without user name and password (the sandbox takes \
             http:// too)",
        )
    })?;
    let low_balance = LowBalance { below, url };
    let account = caller.access.key;
    let present = app
        .store
        .account(account.id)
        .await?
        .and_then(|profile| profile.low_balance);
    if present.as_ref() == Some(&low_balance) {
        // What was told already isn't told again for being set again.
        return view(present);
    }
    changes.take(&caller)?;
    app.store
        .set_low_balance(account, Some(low_balance.clone()), Actor::Owner)
        .await?;
    // Whatever is true of the balance now is seen by this command, which moves nothing else.
    let look = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action: Action::Lapse,
    };
    let _ = app.store.submit(account, look).await?;
    view(Some(low_balance))
}

/// `DELETE /account/v1/low-balance`: nothing is told any more.
#[utoipa::path(
    delete,
    path = "/account/v1/low-balance",
    operation_id = "clearLowBalance",
    summary = "Be told no more",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Empty", body = LowBalanceView),
        (status = 429, description = "Too often; the sentence says when again", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn clear(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(changes): Extension<Arc<Changes>>,
) -> Result<Answer, Refusal> {
    changes.take(&caller)?;
    app.store.set_low_balance(caller.access.key, None, Actor::Owner).await?;
    view(None)
}

fn view(low_balance: Option<LowBalance>) -> Result<Answer, Refusal> {
    Answer::ok(&LowBalanceView {
        below: low_balance.as_ref().map(|low| low.below),
        url: low_balance.map(|low| low.url.as_str().to_owned()),
    })
}
