//! `/account/guard`: the countries and prefixes to which the account's codes may go, what is held since too few codes come back, and why
//! sends were refused lately.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use countersign_core::Limit;
use countersign_store::Actor;

use crate::app::App;
use crate::guard::{DONE, GuardForm, GuardParts};
use crate::pace::Pace;
use crate::site::form::Form;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::Viewer;

const HERE: &str = "/account/guard";
/// Changes of one account's rules: each is a sync of the disk and a line in the audit log.
const CHANGES: Limit = Limit {
    count: 30,
    period_ms: 60_000,
};

#[derive(Template)]
#[template(path = "guard.html")]
struct GuardPage {
    frame: Frame,
    guard: GuardParts,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(HERE, get(show).post(change))
        .layer(Extension(Arc::<Pace>::new(Pace::new(CHANGES))))
}

async fn page_of(app: &App, viewer: &Viewer, query: Option<&str>, form: GuardForm) -> Result<GuardPage, PageError> {
    Ok(GuardPage {
        frame: Frame::portal(app, viewer, "Guard", HERE).with_done(query, &DONE),
        guard: GuardParts::of(app, &viewer.account, &viewer.zone, HERE.to_owned(), form).await?,
    })
}

async fn show(State(app): State<Arc<App>>, viewer: Viewer, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    page::html(&page_of(&app, &viewer, query.as_deref(), GuardForm::default()).await?)
}

async fn change(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    changes
        .take(viewer.account.key.id, viewer.now)
        .map_err(|seconds| PageError::TooMany { seconds })?;
    match GuardForm::take(&app, &viewer.account, &form, Actor::Owner).await {
        Ok(done) => Ok(page::see_other(&format!("{HERE}?done={done}"))),
        Err(refused) => {
            let page = page_of(&app, &viewer, None, refused?).await?;
            page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}
