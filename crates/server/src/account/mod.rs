//! The owner's API under `/account/v1`: what an account's owner may see and do beside the Gateway methods, for whoever holds the
//! account's API token. It speaks JSON with real HTTP statuses, and every error is a sentence that says what to do.
//!
//! A handler takes `Extension<Caller>`: the token, the account's closing and its address allow-list were judged before, by the
//! rules of the Gateway methods. Whatever it asks of the books, it asks for `caller.access.key` and for no other account.

mod autofill;
mod budget;
mod changes;
mod guard;
mod low_balance;
mod orders;
mod overview;
mod statement;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use countersign_core::{ApiError, TokenKind};

use crate::answer::Refusal;
use crate::api::answer::Refusal as GatewayRefusal;
use crate::api::caller;
use crate::app::App;
use crate::reports;

/// Where the owner's API begins.
pub const ACCOUNT_PATH: &str = "/account/v1";

/// Bodies of this API are a few names and numbers.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The owner's API as OpenAPI has it.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    overview::show,
    statement::show,
    orders::make,
    orders::list,
    orders::show,
    orders::cancel,
    reports::list,
    reports::show,
    reports::redeliver,
    reports::ping::ping,
    low_balance::show,
    low_balance::set,
    low_balance::clear,
    budget::show,
    budget::set,
    budget::clear,
    autofill::show,
    autofill::set,
    autofill::clear,
    guard::show,
    guard::set,
    guard::set_area,
    guard::clear_area,
))]
pub(crate) struct Description;

/// The routes of the owner's API, each behind the account's token.
pub fn router(app: Arc<App>) -> Router {
    router_with(app, Arc::default())
}

/// The same, with pings whose limits others share.
pub(crate) fn router_with(app: Arc<App>, pings: Arc<reports::ping::Pings>) -> Router {
    let routes = Router::new()
        .route("/", get(overview::show))
        .route("/reports", get(reports::list))
        .route("/reports/ping", post(reports::ping::ping))
        .route("/reports/{id}", get(reports::show))
        .route("/reports/{id}/redeliver", post(reports::redeliver))
        .layer(Extension(pings))
        .route("/statement", get(statement::show))
        .route("/orders", get(orders::list).post(orders::make))
        .route("/orders/{reference}", get(orders::show))
        .route("/orders/{reference}/cancel", post(orders::cancel))
        .route(
            "/low-balance",
            get(low_balance::show).put(low_balance::set).delete(low_balance::clear),
        )
        .route("/budget", get(budget::show).put(budget::set).delete(budget::clear))
        .route(
            "/autofill",
            get(autofill::show).put(autofill::set).delete(autofill::clear),
        )
        .route("/guard", get(guard::show).put(guard::set))
        .route("/guard/areas/{area}", put(guard::set_area).delete(guard::clear_area))
        .layer(Extension(Arc::<changes::Changes>::default()))
        .fallback(async || Refusal::not_found("this path isn't part of the owner's API: see docs/management-api.md"))
        .method_not_allowed_fallback(async || {
            Refusal::method_not_allowed(
                "this path of the owner's API takes another HTTP method: see docs/management-api.md",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), require_token))
        .with_state(app);
    Router::new().nest(ACCOUNT_PATH, routes)
}

/// Lets a call through that carries an open account's token and comes from where the account allows; its handler finds the
/// [`Caller`](caller::Caller) among the request's extensions.
async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if *app.draining.borrow() {
        return Refusal::unavailable("nothing was done: the server is ending; try again in a second").into_response();
    }
    let (mut parts, body) = request.into_parts();
    let admitted = match caller::header_token(&parts.headers) {
        Some(token) => caller::admit(&app, token, &parts).await,
        None => Err(ApiError::AccessTokenRequired.into()),
    };
    match admitted {
        Ok(caller) if caller.access.token.kind == TokenKind::Test => {
            Refusal::forbidden("a test-mode token sees nothing of its account: call with the account's live token")
                .into_response()
        }
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => not_let_in(refusal).into_response(),
    }
}

/// Why a caller wasn't let in, as a sentence.
fn not_let_in(refusal: GatewayRefusal) -> Refusal {
    match refusal {
        GatewayRefusal::Api(ApiError::AccessTokenRequired) => Refusal::unauthorized(
            "the API token is missing: send it as the header `Authorization: Bearer TOKEN`, with the account's token",
        ),
        GatewayRefusal::Api(ApiError::IpNotAllowed) => Refusal::forbidden(
            "the account doesn't allow calls from this address: call from one on its allow-list, or have the list changed",
        ),
        GatewayRefusal::Api(_) => Refusal::unauthorized(
            "the API token is wrong: it is unknown, or was rotated since, or its account is closed; use the account's \
             present token",
        ),
        GatewayRefusal::Unavailable => {
            Refusal::unavailable("nothing was done: the books are busy; try again in a second")
        }
        GatewayRefusal::BodyTooLarge | GatewayRefusal::Internal => Refusal::internal(),
    }
}
