//! The owner's pages: signing in, and everything under `/account`. One file each; what they share is in `site/`.

mod export;
mod login;
mod overview;
mod profile_form;
mod settings;
mod welcome;

use std::sync::Arc;

use axum::Router;

use crate::app::App;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(login::router())
        .merge(welcome::router())
        .merge(settings::router())
        .merge(overview::router())
}
