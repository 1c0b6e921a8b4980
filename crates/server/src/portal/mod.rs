//! The owner's pages: signing in, and everything under `/account`. One file each; what they share is in `site/`.

mod api;
mod api_page;
mod autofill_form;
mod balance;
mod export;
mod guard;
mod login;
mod messages;
mod overview;
mod profile_form;
mod senders;
mod settings;
pub(crate) mod statistics;
mod welcome;

use std::sync::Arc;

use axum::Router;
use countersign_core::{AccountId, Timestamp};
use countersign_store::{Actor, NewAction, StoreError};

use crate::app::App;

/// Notes in the audit log what an owner did and what leaves no trace in the books otherwise. Not from where: a line stays for ever, and
/// the list of browsers that are signed in says it for as long as they are.
pub(crate) async fn note(app: &App, account: AccountId, action: &str, now: Timestamp) -> Result<(), StoreError> {
    let subject = format!("account {account}");
    app.site
        .note(NewAction {
            by: Actor::Owner,
            at: now,
            action,
            subject: &subject,
            detail: "",
        })
        .await
}

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(login::router())
        .merge(welcome::router())
        .merge(overview::router())
        .merge(api::router())
        .merge(messages::router())
        .merge(senders::router())
        .merge(guard::router())
        .merge(balance::router())
        .merge(statistics::router())
        .merge(settings::router())
}
