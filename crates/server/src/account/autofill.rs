//! What the account's short messages end with, so that phones fill the code in, for its owner.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use countersign_core::Autofill;
use countersign_store::Actor;

use super::changes::Changes;
use crate::answer::{Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::autofill::{AutofillBody, AutofillView};
use crate::clock;

/// `GET /account/v1/autofill`.
#[utoipa::path(
    get,
    path = "/account/v1/autofill",
    operation_id = "autofill",
    summary = "What short messages end with",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is set; empty where nothing is", body = AutofillView),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Answer, Refusal> {
    let autofill = app.site.autofill(caller.access.key).await?;
    Answer::ok(&AutofillView::from(&autofill))
}

/// `PUT /account/v1/autofill`: both at once.
#[utoipa::path(
    put,
    path = "/account/v1/autofill",
    operation_id = "setAutofill",
    summary = "Have phones fill the code in",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = AutofillBody),
    responses(
        (status = 200, description = "What is set", body = AutofillView),
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
    let autofill = AutofillBody::read(body)?;
    changed(&app, &caller, &changes, autofill).await
}

/// `DELETE /account/v1/autofill`: short messages end with their sentence.
#[utoipa::path(
    delete,
    path = "/account/v1/autofill",
    operation_id = "clearAutofill",
    summary = "End short messages with their sentence",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Empty", body = AutofillView),
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
    changed(&app, &caller, &changes, Autofill::default()).await
}

async fn changed(app: &App, caller: &Caller, changes: &Changes, autofill: Autofill) -> Result<Answer, Refusal> {
    changes.take(caller)?;
    let view = AutofillView::from(&autofill);
    app.site
        .set_autofill(caller.access.key, autofill, Actor::Owner, clock::now())
        .await?;
    Answer::ok(&view)
}
