//! The operator's API under `/operator/v1`: accounts, credit, adjustments, tokens, senders and prices, for whoever holds the operator
//! key. It speaks JSON with real HTTP statuses, and every error is a sentence that says what to do. The command line is its
//! first caller. What changes money goes through the books' one door like everything else.

pub(crate) mod accounts;
pub(crate) mod adjustments;
mod backups;
mod guard;
mod key;
mod key_rotation;
pub(crate) mod login_links;
mod orders;
pub(crate) mod prices;
mod privacy;
mod recipients;
mod routes;
pub(crate) mod senders;
pub(crate) mod tokens;

pub(crate) use accounts::find as find_account;
pub use key::{OperatorKey, OperatorKeyError};

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use countersign_store::{Actor, NewAction, StoreError};

use crate::answer::Refusal;
use crate::app::App;
use crate::clock;
use crate::reports;

/// Where the operator's API begins.
pub const OPERATOR_PATH: &str = "/operator/v1";

/// Bodies of this API are a few names and numbers; the largest is an allow-list of [`accounts::MAX_ALLOWED_RANGES`] ranges.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The routes of the operator's API, each behind the operator key.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{account}", get(accounts::show))
        .route("/accounts/{account}/credit", post(accounts::credit))
        .route("/accounts/{account}/adjust", post(adjustments::adjust))
        .route("/accounts/{account}/statement", get(accounts::statement))
        .route("/accounts/{account}/close", post(accounts::close))
        .route("/accounts/{account}/allow-list", put(accounts::set_allow_list))
        .route(
            "/accounts/{account}/budget",
            put(accounts::set_budget).delete(accounts::clear_budget),
        )
        .route(
            "/accounts/{account}/autofill",
            put(accounts::set_autofill).delete(accounts::clear_autofill),
        )
        .route("/accounts/{account}/guard", get(guard::show).put(guard::set))
        .route(
            "/accounts/{account}/guard/areas/{area}",
            put(guard::set_area).delete(guard::clear_area),
        )
        .route("/accounts/{account}/login-link", post(login_links::make))
        .route("/accounts/{account}/token", get(tokens::show))
        .route("/accounts/{account}/token/rotate", post(tokens::rotate))
        .route("/accounts/{account}/test-token", get(tokens::show_test))
        .route("/accounts/{account}/test-token/rotate", post(tokens::rotate_test))
        .route("/accounts/{account}/reports", get(reports::operator_list))
        .route("/accounts/{account}/reports/{id}", get(reports::operator_show))
        .route(
            "/accounts/{account}/reports/{id}/redeliver",
            post(reports::operator_redeliver),
        )
        .route("/senders", get(senders::list).post(senders::add))
        .route("/senders/{username}/verify", post(senders::verify))
        .route("/senders/{username}/refuse", post(senders::refuse))
        .route(
            "/recipients/{channel}/import",
            post(recipients::import).layer(DefaultBodyLimit::max(recipients::MAX_IMPORT_BYTES)),
        )
        .route(
            "/recipients/{channel}/{phone}",
            get(recipients::show).put(recipients::set).delete(recipients::remove),
        )
        .route("/routes", get(routes::list))
        .route("/routes/explain", get(routes::explain))
        .route("/routes/costs", get(routes::costs))
        .route("/orders", get(orders::list))
        .route("/orders/{reference}", get(orders::show))
        .route("/orders/{reference}/confirm", post(orders::confirm))
        .route("/orders/{reference}/cancel", post(orders::cancel))
        .route("/prices", get(prices::list).put(prices::set).delete(prices::unset))
        .route("/prices/history", get(prices::history))
        .route(
            "/prices/import",
            post(prices::import).layer(DefaultBodyLimit::max(prices::MAX_IMPORT_BYTES)),
        )
        .route(
            "/backups",
            get(backups::show).post(backups::begin).delete(backups::cancel),
        )
        .route("/privacy/export", post(privacy::export))
        .route("/privacy/erase", post(privacy::erase))
        .route("/key-rotation", get(key_rotation::show).post(key_rotation::begin))
        .layer(Extension(Arc::<backups::Backups>::default()))
        .fallback(async || Refusal::not_found("this path isn't part of the operator's API: see docs/management-api.md"))
        .method_not_allowed_fallback(async || {
            Refusal::method_not_allowed(
                "this path of the operator's API takes another HTTP method: see docs/management-api.md",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), require_key))
        .with_state(app);
    Router::new().nest(OPERATOR_PATH, routes)
}

/// Notes in the audit log what the operator did and what leaves no trace in the books otherwise.
pub(crate) async fn note(app: &App, action: &str, subject: &str, detail: &str) -> Result<(), StoreError> {
    let action = NewAction {
        by: Actor::Operator,
        at: clock::now(),
        action,
        subject,
        detail,
    };
    app.site.note(action).await
}

/// Lets a call through that carries the operator key; every other is told which header is missing or wrong.
async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match presented_key(&request) {
        Some(key) if app.operator_key.matches(key) => next.run(request).await,
        Some(_) => {
            tracing::warn!("a wrong operator key was refused");
            Refusal::unauthorized(
                "the operator key is wrong: use the one in the file operator.key of the server's data directory",
            )
            .into_response()
        }
        None => Refusal::unauthorized(
            "the operator key is missing: send it as the header `Authorization: Bearer KEY`, with the key in the file \
             operator.key of the server's data directory",
        )
        .into_response(),
    }
}

fn presented_key(request: &Request) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}
