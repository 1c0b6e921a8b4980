//! What an account's sends are held to, for the operator: the same as its owner sees and sets.

use std::sync::Arc;

use axum::extract::{Path, State};
use countersign_core::AreaChange;
use countersign_store::Actor;

use super::accounts::{Body, find, require_open};
use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::guard::{AreaBody, GuardView, RulesBody, changed_areas};

/// `GET /accounts/{account}/guard`.
pub(super) async fn show(State(app): State<Arc<App>>, Path(account): Path<String>) -> Result<Answer, Refusal> {
    let account = find(&app, &account).await?;
    Answer::ok(&GuardView::of(&app, &account).await?)
}

/// `PUT /accounts/{account}/guard`: all rules for countries and prefixes at once.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Path(account): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    changed(&app, &account, RulesBody::read(body)?).await
}

/// `PUT /accounts/{account}/guard/areas/{area}`: one rule.
pub(super) async fn set_area(
    State(app): State<Arc<App>>,
    Path((account, area)): Path<(String, String)>,
    body: Body,
) -> Result<Answer, Refusal> {
    changed(&app, &account, AreaBody::read(&area, body)?).await
}

/// `DELETE /accounts/{account}/guard/areas/{area}`: nothing is said of it any more.
pub(super) async fn clear_area(
    State(app): State<Arc<App>>,
    Path((account, area)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    changed(&app, &account, AreaBody::remove(&area)?).await
}

async fn changed(app: &App, account: &str, change: AreaChange) -> Result<Answer, Refusal> {
    let account = find(app, account).await?;
    require_open(&account)?;
    changed_areas(app, account.key, change, Actor::Operator).await?;
    tracing::info!(account = %account.key.id, "operator: areas changed");
    Answer::ok(&GuardView::of(app, &account).await?)
}
