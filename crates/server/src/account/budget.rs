//! The daily budget: what the account may spend in a day, for its owner.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_core::DailyBudget;
use countersign_store::{AccountProfile, Actor};

use super::changes::Changes;
use crate::answer::{Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::budget::{self, BudgetBody, BudgetView};

/// `GET /account/v1/budget`.
#[utoipa::path(
    get,
    path = "/account/v1/budget",
    operation_id = "budget",
    summary = "What may be spent in a day, and what was spent today",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is set, and today's spending", body = BudgetView),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Answer, Refusal> {
    Answer::ok(&BudgetView::from(&profile(&app, &caller).await?))
}

/// `PUT /account/v1/budget`.
#[utoipa::path(
    put,
    path = "/account/v1/budget",
    operation_id = "setBudget",
    summary = "Bound what may be spent in a day",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = BudgetBody),
    responses(
        (status = 200, description = "What is set, and today's spending", body = BudgetView),
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
    let budget = BudgetBody::read(&app, body)?;
    put(&app, &caller, &changes, Some(budget)).await
}

/// `DELETE /account/v1/budget`: nothing bounds a day's spending but the balance.
#[utoipa::path(
    delete,
    path = "/account/v1/budget",
    operation_id = "clearBudget",
    summary = "Take the budget away",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Today's spending", body = BudgetView),
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
    put(&app, &caller, &changes, None).await
}

async fn put(app: &App, caller: &Caller, changes: &Changes, budget: Option<DailyBudget>) -> Result<Answer, Refusal> {
    changes.take(caller)?;
    let present = profile(app, caller).await?;
    let set = budget::set(app, &present, budget, Actor::Owner).await?;
    Answer::ok(&BudgetView::from(&set.unwrap_or(present)))
}

async fn profile(app: &App, caller: &Caller) -> Result<AccountProfile, Refusal> {
    app.store.account(caller.access.key.id).await?.ok_or_else(|| {
        tracing::error!(account = %caller.access.key.id, "an account whose token was just known is gone");
        Refusal::internal()
    })
}
