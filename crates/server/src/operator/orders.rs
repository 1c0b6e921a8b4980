//! Orders of credit, for the operator: listed, confirmed once their payment came in, or cancelled.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use countersign_core::OrderParty;
use countersign_store::OrderFilter;
use serde::Deserialize;

use super::accounts::{Body, find};
use crate::answer::{self, Answer, Refusal};
use crate::app::App;
use crate::orders::{self, OrderView};

/// `GET /orders?state=&account=&before=&limit=`: the newest first.
pub(super) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Answer, Refusal> {
    let named = answer::query(query.as_deref())
        .into_iter()
        .find(|(name, _)| name == "account");
    let account = match named {
        Some((_, text)) => Some(find(&app, &text).await?.key),
        None => None,
    };
    let filter = OrderFilter { account, state: None };
    Answer::ok(&orders::list(&app, filter, query.as_deref()).await?)
}

/// `GET /orders/{reference}`.
pub(super) async fn show(State(app): State<Arc<App>>, Path(reference): Path<String>) -> Result<Answer, Refusal> {
    Answer::ok(&OrderView::from(orders::by_reference(&app, &reference).await?))
}

#[derive(Deserialize, Default)]
struct NoteBody {
    #[serde(default)]
    note: Option<String>,
}

/// `POST /orders/{reference}/confirm`: books the purchase. Safe to repeat: an order is bought once.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    Path(reference): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let note = orders::note(note_of(body)?.note.as_deref())?;
    let order = orders::by_reference(&app, &reference).await?;
    let order = orders::confirm(&app, order.id, OrderParty::Operator, note).await?;
    Answer::ok(&OrderView::from(order))
}

/// `POST /orders/{reference}/cancel`: its owner sees the note. Safe to repeat.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Path(reference): Path<String>,
    body: Body,
) -> Result<Answer, Refusal> {
    let reason = orders::note(note_of(body)?.note.as_deref())?;
    let order = orders::by_reference(&app, &reference).await?;
    let order = orders::cancel(&app, order.id, OrderParty::Operator, reason).await?;
    Answer::ok(&OrderView::from(order))
}

/// A body that may be left out.
fn note_of(body: Body) -> Result<NoteBody, Refusal> {
    if body.as_ref().is_ok_and(axum::body::Bytes::is_empty) {
        return Ok(NoteBody::default());
    }
    answer::body(body, r#"{"note":"paid on 3 May"}"#)
}
