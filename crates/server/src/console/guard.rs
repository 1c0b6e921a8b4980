//! `/operator/accounts/{id}/guard`: an account's guard, as its owner has it on a page of its own.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use countersign_store::{AccountProfile, Actor};

use super::account::not_found;
use crate::app::App;
use crate::guard::{DONE, GuardForm, GuardParts};
use crate::operator::find_account;
use crate::site::form::Form;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::viewer::OperatorViewer;

#[derive(Template)]
#[template(path = "operator_guard.html")]
struct GuardPage {
    frame: Frame,
    id: String,
    name: String,
    guard: GuardParts,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/operator/accounts/{id}/guard", get(show).post(change))
}

async fn page_of(
    app: &App,
    viewer: &OperatorViewer,
    account: AccountProfile,
    query: Option<&str>,
    form: GuardForm,
) -> Result<GuardPage, PageError> {
    let id = account.key.id.to_string();
    let path = format!("/operator/accounts/{id}/guard");
    Ok(GuardPage {
        frame: Frame::console(app, viewer, "Guard", "/operator/accounts").with_done(query, &DONE),
        guard: GuardParts::of(app, &account, &viewer.zone, path, form).await?,
        id,
        name: account.name,
    })
}

async fn show(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let account = find_account(&app, &id).await.map_err(|refusal| not_found(&refusal))?;
    page::html(&page_of(&app, &viewer, account, query.as_deref(), GuardForm::default()).await?)
}

async fn change(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let account = find_account(&app, &id).await.map_err(|refusal| not_found(&refusal))?;
    match GuardForm::take(&app, &account, &form, Actor::Operator).await {
        Ok(done) => {
            tracing::info!(account = %account.key.id, "operator: areas changed");
            let id = account.key.id;
            Ok(page::see_other(&format!("/operator/accounts/{id}/guard?done={done}")))
        }
        Err(refused) => {
            let page = page_of(&app, &viewer, account, None, refused?).await?;
            page::html_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}
