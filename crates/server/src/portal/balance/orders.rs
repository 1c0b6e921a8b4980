//! An account's orders of credit: made by the form on the balance page, shown with what is to be done, cancelled.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use countersign_core::{Order, OrderParty, OrderState};
use countersign_store::{Actor, OrderFilter, OrderPlace};

use super::{HERE, Wish, amount, lines, refused};
use crate::app::App;
use crate::orders::{self, OrderError};
use crate::payment::{self, Confirmation};
use crate::site::form::Form;
use crate::site::format::{self, When};
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

/// Orders on one page.
const PAGE_ORDERS: usize = 50;

const DONE: [(&str, &str); 1] = [("ordered", "The order is made. Now pay it, as described here.")];

/// How much of a transfer is said where: the amount to be copied has no dollar sign.
#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage {
    frame: Frame,
    reference: String,
    amount: String,
    bare_amount: String,
    provider: String,
    badge: Badge,
    made: When,
    decided: Option<When>,
    decided_by: &'static str,
    note: Option<String>,
    entry: Option<u64>,
    is_open: bool,
    /// Who will say that it is paid, while it is open.
    confirmed_by: Option<&'static str>,
    instructions: Option<String>,
}

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersPage {
    frame: Frame,
    orders: Vec<Row>,
    older: Option<String>,
}

struct Row {
    reference: String,
    amount: String,
    provider: String,
    badge: Badge,
    made: When,
    note: String,
}

impl From<OrderError> for PageError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Unknown => Self::NotFound("order"),
            OrderError::Books(error) => error.into(),
            // The others are said on the page that asked; here they'd be a race that its next look resolves.
            _ => Self::BadForm,
        }
    }
}

/// `GET /account/balance/orders`: all orders, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let filter = OrderFilter {
        account: Some(viewer.account.key),
        state: None,
    };
    let mut before = None;
    for (name, value) in form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()) {
        if name == "before" {
            let last = orders::of_account(&app, viewer.account.key, &value).await?;
            before = Some(OrderPlace::of(&last));
        }
    }
    let (found, next) = orders::page(&app, filter, before, PAGE_ORDERS).await?;
    let rows = found.into_iter().map(|order| Row {
        reference: order.id.to_string(),
        amount: format::money(order.amount),
        provider: payment::label(&app, &order.provider),
        badge: lines::order_badge(order.state),
        made: When::new(order.created_at, viewer.now, &viewer.zone),
        note: order.note.map(|note| note.as_str().to_owned()).unwrap_or_default(),
    });
    page::html(&OrdersPage {
        frame: Frame::portal(&app, &viewer, "Orders", HERE),
        orders: rows.collect(),
        older: next.map(|place| format!("/account/balance/orders?before={}", place.id)),
    })
}

/// `POST /account/balance/orders`: the form that adds funds.
pub(super) async fn make(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    let wish = |problem: String| Wish {
        amount: form.text("amount").to_owned(),
        provider: form.text("provider").to_owned(),
        problem: Some(problem),
    };
    let amount = match amount::parse(form.text("amount")) {
        Ok(amount) => amount,
        Err(problem) => return refused(&app, &viewer, wish(problem)).await,
    };
    let provider = form.filled("provider").unwrap_or(payment::TRANSFER);
    match orders::make(&app, viewer.account.key, amount, provider, Actor::Owner).await {
        Ok(order) if order.state == OrderState::Confirmed => Ok(page::see_other("/account/balance?done=added")),
        Ok(order) => Ok(page::see_other(&format!(
            "/account/balance/orders/{}?done=ordered",
            order.id
        ))),
        Err(OrderError::Books(error)) => Err(error.into()),
        Err(OrderError::Amount { least, most }) => {
            let (least, most) = (format::money(least), format::money(most));
            let problem = format!("An order is for {least} to {most}: choose an amount between them.");
            refused(&app, &viewer, wish(problem)).await
        }
        Err(error) => refused(&app, &viewer, wish(sentence(&error))).await,
    }
}

/// A refusal as a page says it.
fn sentence(error: &OrderError) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

/// `GET /account/balance/orders/{reference}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(reference): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let order = orders::of_account(&app, viewer.account.key, &reference).await?;
    let page = OrderPage::of(&app, &viewer, order).await;
    page::html(&OrderPage {
        frame: page.frame.with_done(query.as_deref(), &DONE),
        ..page
    })
}

impl OrderPage {
    async fn of(app: &App, viewer: &Viewer, order: Order) -> Self {
        let reference = order.id.to_string();
        let instructions = payment::instructions(app, &order).await;
        let is_open = order.state == OrderState::Open;
        let provider = payment::provider(app, order.provider.as_str()).filter(|_| is_open);
        Self {
            frame: Frame::portal(app, viewer, &format!("Order {reference}"), HERE),
            amount: format::money(order.amount),
            bare_amount: format::money(order.amount).replace(['$', ','], ""),
            provider: payment::label(app, &order.provider),
            badge: lines::order_badge(order.state),
            made: When::new(order.created_at, viewer.now, &viewer.zone),
            decided: order.decided_at.map(|at| When::new(at, viewer.now, &viewer.zone)),
            decided_by: match order.decided_by {
                Some(OrderParty::Owner) => "you",
                Some(OrderParty::Provider) => "the payment provider",
                Some(OrderParty::Operator) | None => "the operator",
            },
            note: order.note.map(|note| note.as_str().to_owned()),
            entry: order.entry,
            is_open,
            confirmed_by: provider.map(|provider| match provider.confirmation() {
                Confirmation::ByOperator => "the operator, once the money is seen",
                Confirmation::ByProvider => "the payment provider",
            }),
            instructions: instructions.map(|markdown| payment::html_of(&markdown)),
            reference,
        }
    }
}

/// `POST /account/balance/orders/{reference}/cancel`.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    let order = orders::of_account(&app, viewer.account.key, &reference).await?;
    match orders::cancel(&app, order.id, OrderParty::Owner, None).await {
        Ok(_) => Ok(page::see_other("/account/balance?done=cancelled")),
        // Paid meanwhile: its page says so.
        Err(OrderError::Decided(order)) => Ok(page::see_other(&format!("/account/balance/orders/{}", order.id))),
        Err(error) => Err(error.into()),
    }
}
