//! `/account`: balance, today, and the card that sends a code to oneself.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;

use crate::app::App;
use crate::site::format;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    available: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/account", get(overview))
}

async fn overview(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let account = &viewer.account;
    page::html(&Overview {
        frame: Frame::portal(&app, &viewer, "Overview", "/account").with_done(query.as_deref(), &[]),
        available: format::money(account.balance - account.held),
    })
}
