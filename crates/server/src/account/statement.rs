//! The account's statement, for its owner.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};

use crate::answer::{Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::statement::{self, StatementView};

/// `GET /account/v1/statement?from=&to=&after=&limit=`.
#[utoipa::path(
    get,
    path = "/account/v1/statement",
    operation_id = "statement",
    summary = "Ledger entries of a time, and the balances around it",
    tag = "Owner",
    security(("bearer" = [])),
    params(("from" = Option<i64>, Query, description = "Unix seconds; from the beginning where left out", minimum = 0, maximum = 253_402_300_799_i64), ("to" = Option<i64>, Query, description = "Unix seconds; until now where left out", minimum = 0, maximum = 253_402_300_799_i64), ("after" = Option<u64>, Query, description = "`next` of the page before"), ("limit" = Option<u32>, Query, description = "Entries in the page", minimum = 1, maximum = 1000)),
    responses(
        (status = 200, description = "A page of the statement", body = StatementView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Answer, Refusal> {
    statement::page(&app, caller.access.key, query.as_deref()).await
}
