//! The account itself: whose token this is, and what it can spend.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use countersign_core::Credits;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;

/// An account as its owner sees it. The id is a string: it has 63 bits, more than a JSON number keeps in JavaScript.
#[derive(Serialize, ToSchema)]
struct AccountView {
    account_id: String,
    name: String,
    #[schema(value_type = f64)]
    balance: Credits,
    /// What waits for an answer about reachability.
    #[schema(value_type = f64)]
    held: Credits,
    /// The balance less what is on hold.
    #[schema(value_type = f64)]
    available: Credits,
}

/// `GET /account/v1`.
#[utoipa::path(
    get,
    path = "/account/v1",
    operation_id = "account",
    summary = "The account and what it can spend",
    tag = "Owner",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account", body = AccountView),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Result<Answer, Refusal> {
    let profile = app.store.account(caller.access.key.id).await?.ok_or_else(|| {
        tracing::error!(account = %caller.access.key.id, "an account whose token was just known is gone");
        Refusal::internal()
    })?;
    Answer::ok(&AccountView {
        account_id: profile.key.id.to_string(),
        name: profile.name,
        balance: profile.balance,
        held: profile.held,
        available: profile.balance - profile.held,
    })
}
