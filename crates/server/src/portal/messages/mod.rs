//! The owner's messages: the list with its search (`list`, `query`), one request with its timeline and its delivery reports
//! (`detail`, `reports`), and the live events of open pages (`events`).

mod detail;
mod events;
mod legs;
mod list;
mod query;
mod reports;
pub(crate) mod view;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router};
use countersign_core::Limit;

use crate::app::App;
use crate::pace::Pace;
use events::Streams;

/// Redeliveries of one account: a person lets a lost report go again, and then looks what came of it.
const REDELIVERIES: Limit = Limit {
    count: 30,
    period_ms: 60_000,
};

/// What the handlers here share besides the app.
struct Room {
    streams: Arc<Streams>,
    redeliveries: Pace,
}

pub(super) fn router() -> Router<Arc<App>> {
    let room = Room {
        streams: Arc::default(),
        redeliveries: Pace::new(REDELIVERIES),
    };
    Router::new()
        .route("/account/messages", get(list::list))
        .route("/account/messages/{id}", get(detail::show))
        .route("/account/messages/{id}/revoke", post(detail::revoke))
        .route("/account/messages/{id}/redeliver", post(detail::redeliver))
        .route("/account/messages/{id}/events", get(events::events))
        .layer(Extension(Arc::new(room)))
}
