//! The owner's pages: signing in, and everything under `/account`. One file each; what they share is in `site/`.

mod api;
mod api_page;
mod messages;
mod overview;
pub(crate) mod statistics;

use std::sync::Arc;

use axum::Router;

use crate::app::App;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .merge(overview::router())
        .merge(api::router())
        .merge(messages::router())
        .merge(statistics::router())
}
