//! `/operator/orders`: orders of credit that wait for their payment, and those that were decided. Confirming and cancelling are
//! what the operator's API calls too; both are safe to repeat.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use countersign_core::{Order, OrderId, OrderParty, OrderState};
use countersign_store::{OrderFilter, OrderPlace};

use super::{Problem, asked, link, status_of};
use crate::answer::Refusal;
use crate::app::App;
use crate::operator::find_account;
use crate::orders as deeds;
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::OperatorViewer;

const PATH: &str = "/operator/orders";
/// Orders on one page.
const PAGE_ORDERS: usize = 50;
/// Orders that wait are counted up to this.
pub(super) const COUNTED: usize = 100;

const DONE: [(&str, &str); 2] = [
    (
        "confirmed",
        "The order was confirmed, and its credit added to the account.",
    ),
    ("cancelled", "The order was cancelled. Its owner reads the note."),
];

struct Row {
    id: String,
    account: String,
    account_name: String,
    amount: String,
    provider: String,
    badge: Badge,
    made: When,
    decided: Option<When>,
    by: &'static str,
    note: String,
    is_open: bool,
}

const fn standing(state: OrderState) -> Badge {
    match state {
        OrderState::Open => Badge::new("warn", "Waits for payment", "clock"),
        OrderState::Confirmed => Badge::new("good", "Confirmed", "tick"),
        OrderState::Cancelled => Badge::new("quiet", "Cancelled", "barred"),
    }
}

#[derive(Template)]
#[template(path = "operator_orders.html")]
struct OrdersPage {
    frame: Frame,
    state: &'static str,
    account: String,
    rows: Vec<Row>,
    later: bool,
    next: Option<String>,
    problem: Option<Problem>,
    /// The order whose form was wrong, and its note as it was typed.
    wrong: String,
    note: String,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(PATH, get(orders))
        .route("/operator/orders/{reference}/confirm", post(confirm))
        .route("/operator/orders/{reference}/cancel", post(cancel))
}

/// How many orders wait, counted up to [`COUNTED`] and one.
pub(super) async fn waiting(app: &App) -> Result<usize, PageError> {
    let filter = OrderFilter {
        account: None,
        state: Some(OrderState::Open),
    };
    Ok(app.site.orders(filter, None, COUNTED + 1).await?.len())
}

async fn orders(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    shown(&app, &viewer, raw.as_deref(), None, ("", "")).await
}

async fn shown(
    app: &App,
    viewer: &OperatorViewer,
    raw: Option<&str>,
    problem: Option<Problem>,
    (wrong, note): (&str, &str),
) -> Result<Response, PageError> {
    // Those that wait are what the page is for.
    let state = match asked(raw, "state").as_deref() {
        Some("all") => None,
        Some(name) => OrderState::of_name(name).or(Some(OrderState::Open)),
        None => Some(OrderState::Open),
    };
    let account = match asked(raw, "account") {
        None => None,
        Some(text) => Some(
            find_account(app, &text)
                .await
                .map_err(|_| PageError::NotFound("account"))?,
        ),
    };
    let before = match asked(raw, "before").and_then(|text| OrderId::parse(&text)) {
        None => None,
        Some(id) => app.site.order(id).await?.as_ref().map(OrderPlace::of),
    };
    let filter = OrderFilter {
        account: account.as_ref().map(|account| account.key),
        state,
    };
    let (found, next) = deeds::page(app, filter, before, PAGE_ORDERS).await?;
    let account = account.map_or_else(String::new, |account| account.key.id.to_string());
    let state = state.map_or("all", OrderState::name);
    let next = next.map(|place| {
        let before = place.id.to_string();
        link(PATH, &[("state", state), ("account", &account), ("before", &before)])
    });
    let mut rows = Vec::with_capacity(found.len());
    for order in found {
        rows.push(row(app, viewer, order).await?);
    }
    let status = status_of(problem.as_ref());
    let page = OrdersPage {
        frame: Frame::console(app, viewer, "Orders", PATH).with_done(raw, &DONE),
        state,
        account,
        rows,
        later: before.is_some(),
        next,
        problem,
        wrong: wrong.to_owned(),
        note: note.to_owned(),
    };
    page::html_with(status, &page)
}

async fn row(app: &App, viewer: &OperatorViewer, order: Order) -> Result<Row, PageError> {
    let account = app.store.account(order.account.id).await?;
    let when = |at| When::new(at, viewer.now, &viewer.zone);
    Ok(Row {
        id: order.id.to_string(),
        account: order.account.id.to_string(),
        account_name: account.map_or_else(String::new, |account| account.name),
        amount: format::money(order.amount),
        provider: order.provider.as_str().to_owned(),
        badge: standing(order.state),
        made: when(order.created_at),
        decided: order.decided_at.map(when),
        by: order.decided_by.map_or("", OrderParty::name),
        note: order.note.map_or_else(String::new, |note| note.as_str().to_owned()),
        is_open: order.state == OrderState::Open,
    })
}

async fn confirm(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let done = decide(&app, &reference, form.text("note"), true).await;
    answered(
        &app,
        &viewer,
        done.map(|()| "confirmed"),
        (&reference, form.text("note")),
    )
    .await
}

async fn cancel(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let done = decide(&app, &reference, form.text("note"), false).await;
    answered(
        &app,
        &viewer,
        done.map(|()| "cancelled"),
        (&reference, form.text("note")),
    )
    .await
}

async fn decide(app: &App, reference: &str, note: &str, confirm: bool) -> Result<(), Refusal> {
    let note = deeds::note(Some(note))?;
    let order = deeds::by_reference(app, reference).await?;
    if confirm {
        deeds::confirm(app, order.id, OrderParty::Operator, note).await?;
    } else {
        deeds::cancel(app, order.id, OrderParty::Operator, note).await?;
    }
    Ok(())
}

async fn answered(
    app: &App,
    viewer: &OperatorViewer,
    done: Result<&str, Refusal>,
    typed: (&str, &str),
) -> Result<Response, PageError> {
    match done {
        Ok(done) => Ok(page::see_other(&link(PATH, &[("done", done)]))),
        Err(refusal) => shown(app, viewer, None, Some(Problem::new("order", &refusal)?), typed).await,
    }
}
