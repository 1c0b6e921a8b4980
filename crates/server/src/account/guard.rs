//! What the account's sends are held to, for its owner: rules for countries and prefixes, places that are held, and why sends were
//! refused lately.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use countersign_core::AreaChange;
use countersign_store::Actor;

use super::changes::Changes;
use crate::answer::{Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::guard::{AreaBody, GuardView, RulesBody, changed_areas};

/// `GET /account/v1/guard`.
#[utoipa::path(
    get,
    path = "/account/v1/guard",
    operation_id = "guard",
    summary = "Where codes may go, and what is held",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The rules, what is held, and why sends were refused lately", body = GuardView),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Answer, Refusal> {
    view(&app, &caller).await
}

/// `PUT /account/v1/guard`: all rules at once.
#[utoipa::path(
    put,
    path = "/account/v1/guard",
    operation_id = "setGuard",
    summary = "Set all rules for countries and prefixes",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = RulesBody),
    responses(
        (status = 200, description = "As it is now", body = GuardView),
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
    changed(&app, &caller, &changes, RulesBody::read(body)?).await
}

/// `PUT /account/v1/guard/areas/{area}`: one rule.
#[utoipa::path(
    put,
    path = "/account/v1/guard/areas/{area}",
    operation_id = "setGuardArea",
    summary = "Allow, block or trust a country or a prefix",
    tag = "Owner",
    security(("bearer" = [])),
    params(("area" = String, Path, description = "A country's two letters, a prefix, or `all`", example = "DE")),
    request_body(content = AreaBody),
    responses(
        (status = 200, description = "As it is now", body = GuardView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 409, description = "There are 500 rules already", body = RefusalBody),
        (status = 413, description = "The body is too long", body = RefusalBody),
        (status = 429, description = "Too often; the sentence says when again", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn set_area(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(changes): Extension<Arc<Changes>>,
    Path(area): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    changed(&app, &caller, &changes, AreaBody::read(&area, body)?).await
}

/// `DELETE /account/v1/guard/areas/{area}`: nothing is said of it any more.
#[utoipa::path(
    delete,
    path = "/account/v1/guard/areas/{area}",
    operation_id = "clearGuardArea",
    summary = "Remove the rule for a country or a prefix",
    tag = "Owner",
    security(("bearer" = [])),
    params(("area" = String, Path, description = "A country's two letters, a prefix, or `all`", example = "DE")),
    responses(
        (status = 200, description = "As it is now", body = GuardView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 429, description = "Too often; the sentence says when again", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn clear_area(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(changes): Extension<Arc<Changes>>,
    Path(area): Path<String>,
) -> Result<Answer, Refusal> {
    changed(&app, &caller, &changes, AreaBody::remove(&area)?).await
}

async fn changed(app: &App, caller: &Caller, changes: &Changes, change: AreaChange) -> Result<Answer, Refusal> {
    changes.take(caller)?;
    changed_areas(app, caller.access.key, change, Actor::Owner).await?;
    view(app, caller).await
}

async fn view(app: &App, caller: &Caller) -> Result<Answer, Refusal> {
    let account = app.store.account(caller.access.key.id).await?;
    let account = account.ok_or_else(|| Refusal::not_found("there is no such account"))?;
    Answer::ok(&GuardView::of(app, &account).await?)
}
