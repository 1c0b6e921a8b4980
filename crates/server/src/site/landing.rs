//! `/`: what Countersign is, and why.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::frame::Frame;
use super::page::{self, PageError};
use super::viewer::Visitor;
use crate::app::App;

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    frame: Frame,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/", get(landing))
}

async fn landing(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Response, PageError> {
    page::html(&Landing {
        frame: Frame::public(&app, &visitor, "Verification codes through a messenger", "/"),
    })
}
