//! Orders of credit, for the account's owner: made, listed, shown, cancelled. Who confirms them is told by their provider.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use countersign_core::{Order, OrderParty};
use countersign_store::{Actor, OrderFilter};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Amount, Answer, Refusal};
use crate::api::caller::Caller;
use crate::app::App;
use crate::orders::{self, OrderView};
use crate::payment;

#[derive(Deserialize)]
struct OrderBody {
    amount: Amount,
    #[serde(default)]
    provider: Option<String>,
}

/// An order with what its owner is told to do.
#[derive(Serialize)]
struct OwnOrder {
    #[serde(flatten)]
    order: OrderView,
    /// Markdown; left out where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
}

async fn own(app: &App, order: Order) -> OwnOrder {
    OwnOrder {
        instructions: payment::instructions(app, &order).await,
        order: order.into(),
    }
}

/// `POST /account/v1/orders`: with no provider named, the first there is. It isn't safe to repeat: each call orders again.
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
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Answer, Refusal> {
    let order = orders::of_account(&app, caller.access.key, &reference).await?;
    Answer::ok(&own(&app, order).await)
}

/// `POST /account/v1/orders/{reference}/cancel`: safe to repeat.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Answer, Refusal> {
    let order = orders::of_account(&app, caller.access.key, &reference).await?;
    let order = orders::cancel(&app, order.id, OrderParty::Owner, None).await?;
    Answer::ok(&OrderView::from(order))
}
