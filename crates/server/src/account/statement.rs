//! The account's statement, for its owner.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};

use crate::answer::{Answer, Refusal};
use crate::api::caller::Caller;
use crate::app::App;
use crate::statement;

/// `GET /account/v1/statement?from=&to=&after=&limit=`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Answer, Refusal> {
    statement::page(&app, caller.access.key, query.as_deref()).await
}
