//! The owner's pages: signing in, and everything under `/account`. One file each; what they share is in `site/`.

mod api;
mod api_page;
mod autofill_form;
mod balance;
mod export;
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

use crate::app::App;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(login::router())
        .merge(welcome::router())
        .merge(overview::router())
        .merge(api::router())
        .merge(messages::router())
        .merge(senders::router())
        .merge(balance::router())
        .merge(statistics::router())
        .merge(settings::router())
}
