//! Orders of credit, for the account's owner: made, listed, shown, cancelled. Who confirms them is told by their provider.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use countersign_core::{Order, OrderParty};
use countersign_store::{Actor, OrderFilter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{self, Amount, Answer, Refusal, RefusalBody};
use crate::api::caller::Caller;
use crate::app::App;
use crate::orders::{self, OrderView, OrdersView};
use crate::payment;

/// How much, and how it will be paid.
#[derive(Deserialize, ToSchema)]
struct OrderBody {
    /// Within what the operator takes in one order.
    #[schema(value_type = f64, exclusive_minimum = 0, maximum = 1_000_000_000, example = 50)]
    amount: Amount,
    /// A way to pay; the bank transfer where left out.
    #[serde(default)]
    #[schema(example = "transfer")]
    provider: Option<String>,
}

/// An order with what its owner is told to do.
#[derive(Serialize, ToSchema)]
struct OwnOrder {
    #[serde(flatten)]
    order: OrderView,
    /// Markdown; left out where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instructions: Option<String>,
}

async fn own(app: &App, order: Order) -> OwnOrder {
    OwnOrder {
        instructions: payment::instructions(app, &order).await,
        order: order.into(),
    }
}

/// `POST /account/v1/orders`: with no provider named, the first there is. It isn't safe to repeat: each call orders again.
#[utoipa::path(
    post,
    path = "/account/v1/orders",
    operation_id = "makeOrder",
    summary = "Order credit",
    tag = "Owner",
    security(("bearer" = [])),
    request_body(content = OrderBody),
    responses(
        (status = 201, description = "The order; with `instructions` while it is open", body = OwnOrder, links(
            ("order" = (operation_id = "order", parameters(("reference" = "$response.body#/reference")))),
            ("cancelOrder" = (operation_id = "cancelOrder", parameters(("reference" = "$response.body#/reference")))),
        )),
        (status = 400, description = "The amount or the way to pay is wrong; the sentence says which", body = RefusalBody),
        (status = 409, description = "The account has as many open orders as may be", body = RefusalBody),
        (status = 413, description = "The body is too long", body = RefusalBody),
        (status = 429, description = "The account made as many orders in a day as may be", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn make(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let body: OrderBody = answer::body(body, r#"{"amount":50,"provider":"transfer"}"#)?;
    let provider = body.provider.as_deref().unwrap_or(payment::TRANSFER);
    let order = orders::make(&app, caller.access.key, body.amount.0, provider, Actor::Owner).await?;
    Answer::created(&own(&app, order).await)
}

/// `GET /account/v1/orders?state=&before=&limit=`: the newest first.
#[utoipa::path(
    get,
    path = "/account/v1/orders",
    operation_id = "orders",
    summary = "Orders of credit, the newest first",
    tag = "Owner",
    security(("bearer" = [])),
    params(("state" = Option<String>, Query, description = "`open`, `confirmed` or `cancelled`; all where left out"), ("before" = Option<String>, Query, description = "`next` of the page before"), ("limit" = Option<u32>, Query, description = "Orders in the page", minimum = 1, maximum = 999)),
    responses(
        (status = 200, description = "A page", body = OrdersView),
        (status = 400, description = "A parameter is wrong; the sentence says which", body = RefusalBody),
        (status = 404, description = "There is no order `before`", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Answer, Refusal> {
    let filter = OrderFilter {
        account: Some(caller.access.key),
        state: None,
    };
    Answer::ok(&orders::list(&app, filter, query.as_deref()).await?)
}

/// `GET /account/v1/orders/{reference}`.
#[utoipa::path(
    get,
    path = "/account/v1/orders/{reference}",
    operation_id = "order",
    summary = "An order of credit",
    tag = "Owner",
    security(("bearer" = [])),
    params(("reference" = String, Path, description = "Like `CS-7F3K-92Q8`; in either case, with or without dashes")),
    responses(
        (status = 200, description = "The order; with `instructions` while it is open", body = OwnOrder),
        (status = 404, description = "The account has no such order", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Answer, Refusal> {
    let order = orders::of_account(&app, caller.access.key, &reference).await?;
    Answer::ok(&own(&app, order).await)
}

/// `POST /account/v1/orders/{reference}/cancel`: safe to repeat.
#[utoipa::path(
    post,
    path = "/account/v1/orders/{reference}/cancel",
    operation_id = "cancelOrder",
    summary = "Cancel an open order",
    tag = "Owner",
    security(("bearer" = [])),
    params(("reference" = String, Path, description = "Like `CS-7F3K-92Q8`; in either case, with or without dashes")),
    responses(
        (status = 200, description = "The order", body = OrderView),
        (status = 404, description = "The account has no such order", body = RefusalBody),
        (status = 409, description = "It was confirmed before", body = RefusalBody),
        (status = 401, description = "The token is missing or wrong", body = RefusalBody),
        (status = 403, description = "The account doesn't allow calls from this address", body = RefusalBody),
        (status = 500, description = "The outcome is unknown", body = RefusalBody),
        (status = 503, description = "Nothing was done: try again after `Retry-After` seconds", body = RefusalBody),
    )
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Answer, Refusal> {
    let order = orders::of_account(&app, caller.access.key, &reference).await?;
    let order = orders::cancel(&app, order.id, OrderParty::Owner, None).await?;
    Answer::ok(&OrderView::from(order))
}
