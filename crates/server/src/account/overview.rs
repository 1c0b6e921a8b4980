//! The account itself: whose token this is, and what it can spend.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use countersign_core::Credits;
use serde::Serialize;

use crate::answer::{Answer, Refusal};
use crate::api::caller::Caller;
use crate::app::App;

/// An account as its owner sees it. The id is a string: it has 63 bits, more than a JSON number keeps in JavaScript.
#[derive(Serialize)]
struct AccountView {
    account_id: String,
    name: String,
    balance: Credits,
    held: Credits,
    /// The balance less what is on hold.
    available: Credits,
}

/// `GET /account/v1`.
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
