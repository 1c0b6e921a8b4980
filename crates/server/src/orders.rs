//! Orders of credit: made by an account's owner, confirmed or cancelled by whoever may. The owner's and the operator's APIs
//! and pages call these functions; the rules of a decision are `core`'s, the payment providers' part is in `payment`.

use countersign_core::{
    AccountKey, Action, Answer, ApiError, Command, Credits, Order, OrderId, OrderNote, OrderParty, Timestamp, Verdict,
};
use countersign_store::{
    Actor, MAX_OPEN_ORDERS, MAX_ORDERS_PER_DAY, NewOrder, OrderFilter, OrderPlace, Ordered, StoreError,
};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::answer::{self, Refusal};
use crate::app::App;
use crate::payment::{self, Progress};
use crate::{clock, random};

/// Ids that are drawn before an order is given up: among 27 milliard, a second draw is rare already.
const DRAWS: usize = 4;
/// Orders in one page of a list, unless fewer are asked for, and at most.
const PAGE_ORDERS: usize = 100;
const MAX_PAGE_ORDERS: usize = 1_000;

/// Why an order wasn't made, or not decided as asked. Each is a sentence for the one who asked.
#[derive(Debug, Error)]
pub(crate) enum OrderError {
    /// No such order, or another account's.
    #[error("there is no such order: its reference looks like CS-7F3K-92Q8, and stands in the list of orders")]
    Unknown,
    /// It was decided the other way before.
    #[error("order {} was {} before: an order is decided once", .0.id, .0.state.name())]
    Decided(Box<Order>),
    /// Its account is closed.
    #[error("the order's account is closed and takes no more credit: pay the money back, and cancel the order")]
    AccountClosed,
    /// The account's sums would leave their range.
    #[error("the account can't take this much more credit: its sums would leave their range")]
    OutOfRange,
    /// Too little or too much for one order.
    #[error("an order is for {least} to {most}: choose an amount between them")]
    Amount {
        /// The least.
        least: Credits,
        /// The most.
        most: Credits,
    },
    /// No such way to pay.
    #[error("there is no such way to pay: choose one of {0}")]
    NoSuchProvider(String),
    /// The account has as many open orders as may be.
    #[error("the account has {MAX_OPEN_ORDERS} open orders, which is the most: pay or cancel one of them first")]
    TooManyOpen,
    /// The account made as many orders in a day as may be.
    #[error("the account made {MAX_ORDERS_PER_DAY} orders in 24 hours, which is the most: order again tomorrow")]
    TooManyToday,
    /// The books failed.
    #[error(transparent)]
    Books(#[from] StoreError),
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        let sentence = error.to_string();
        match error {
            OrderError::Unknown => Self::not_found(sentence),
            OrderError::Amount { .. } | OrderError::NoSuchProvider(_) => Self::bad_request(sentence),
            OrderError::TooManyToday => Self::too_many(sentence),
            OrderError::Decided(_) | OrderError::AccountClosed | OrderError::OutOfRange | OrderError::TooManyOpen => {
                Self::conflict(sentence)
            }
            OrderError::Books(error) => error.into(),
        }
    }
}

/// Makes an order. Where its provider says at once that it is paid, it is confirmed when this returns.
pub(crate) async fn make(
    app: &App,
    account: AccountKey,
    amount: Credits,
    provider: &str,
    by: Actor,
) -> Result<Order, OrderError> {
    let (least, most) = (app.settings.payment.least_order, app.settings.payment.most_order);
    if amount < least || amount > most {
        return Err(OrderError::Amount { least, most });
    }
    let Some(provider) = payment::provider(app, provider) else {
        let names: Vec<_> = payment::providers(app).iter().map(|known| known.name()).collect();
        return Err(OrderError::NoSuchProvider(names.join(", ")));
    };
    let mut draws = 0;
    let order = loop {
        draws += 1;
        let new = NewOrder {
            account,
            id: OrderId::from_entropy(u64::from_ne_bytes(random::bytes())),
            amount,
            provider: provider.provider_name(),
            by,
            now: clock::now(),
        };
        match app.site.make_order(new).await {
            Ok(Ordered::Made(order)) => break order,
            Ok(Ordered::TooManyOpen) => return Err(OrderError::TooManyOpen),
            Ok(Ordered::TooManyToday) => return Err(OrderError::TooManyToday),
            Err(StoreError::Conflict(_)) if draws < DRAWS => {}
            Err(error) => return Err(error.into()),
        }
    };
    tracing::info!(account = %account.id, order = %order.id, %amount, provider = provider.name(), "order made");
    match provider.begin(&order).await {
        Progress::Waiting => Ok(order),
        Progress::Paid(note) => confirm(app, order.id, OrderParty::Provider, note).await,
    }
}

/// Confirms an order: its purchase is booked and the order marked in one transaction, once. Confirming it again answers the
/// first result.
pub(crate) async fn confirm(
    app: &App,
    id: OrderId,
    by: OrderParty,
    note: Option<OrderNote>,
) -> Result<Order, OrderError> {
    decide(app, id, Verdict::Confirm, by, note).await
}

/// Cancels an open order, with the reason. Cancelling it again answers the first result.
pub(crate) async fn cancel(
    app: &App,
    id: OrderId,
    by: OrderParty,
    reason: Option<OrderNote>,
) -> Result<Order, OrderError> {
    decide(app, id, Verdict::Cancel, by, reason).await
}

async fn decide(
    app: &App,
    id: OrderId,
    verdict: Verdict,
    by: OrderParty,
    note: Option<OrderNote>,
) -> Result<Order, OrderError> {
    let order = app.site.order(id).await?.ok_or(OrderError::Unknown)?;
    let command = Command {
        now: clock::now(),
        token: None,
        idempotency: None,
        action: Action::DecideOrder {
            order: id,
            verdict,
            by,
            note,
        },
    };
    match app.store.submit(order.account, command).await? {
        Ok(Answer::Order(Some(order))) if order.state == verdict.state() => {
            tracing::info!(account = %order.account.id, order = %id, state = order.state.name(), by = by.name(), "order decided");
            Ok(*order)
        }
        Ok(Answer::Order(Some(order))) => Err(OrderError::Decided(order)),
        Ok(_) => Err(OrderError::Unknown),
        Err(ApiError::AccessTokenInvalid) => Err(OrderError::AccountClosed),
        Err(_) => Err(OrderError::OutOfRange),
    }
}

/// An account's own order; another's is unknown.
pub(crate) async fn of_account(app: &App, account: AccountKey, reference: &str) -> Result<Order, OrderError> {
    let order = by_reference(app, reference).await?;
    if order.account == account {
        Ok(order)
    } else {
        Err(OrderError::Unknown)
    }
}

/// The order with that reference, of whichever account.
pub(crate) async fn by_reference(app: &App, reference: &str) -> Result<Order, OrderError> {
    let id = OrderId::parse(reference).ok_or(OrderError::Unknown)?;
    app.site.order(id).await?.ok_or(OrderError::Unknown)
}

/// A page of orders, the newest first, and where the next page begins.
pub(crate) async fn page(
    app: &App,
    filter: OrderFilter,
    before: Option<OrderPlace>,
    limit: usize,
) -> Result<(Vec<Order>, Option<OrderPlace>), StoreError> {
    // One more than asked for tells whether there is a next page; the books hold no page longer than the longest.
    let limit = limit.min(MAX_PAGE_ORDERS - 1);
    let mut orders = app.site.orders(filter, before, limit + 1).await?;
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next = orders.last().filter(|_| more).map(OrderPlace::of);
    Ok((orders, next))
}

/// An order as the APIs show it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderView {
    /// What stands on the payment, and names the order here.
    reference: String,
    account_id: String,
    #[schema(value_type = f64)]
    amount: Credits,
    provider: String,
    /// `open`, `confirmed` or `cancelled`.
    state: &'static str,
    /// Whole Unix seconds.
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    /// `owner`, `operator` or `provider`.
    decided_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
    /// The number of the ledger entry that it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ledger_entry: Option<u64>,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            reference: order.id.to_string(),
            account_id: order.account.id.to_string(),
            amount: order.amount,
            provider: order.provider.as_str().to_owned(),
            state: order.state.name(),
            created_at: order.created_at.unix_seconds(),
            decided_at: order.decided_at.map(Timestamp::unix_seconds),
            decided_by: order.decided_by.map(OrderParty::name),
            note: order.note.map(|note| note.as_str().to_owned()),
            ledger_entry: order.entry,
        }
    }
}

/// A page of a list of orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrdersView {
    orders: Vec<OrderView>,
    /// The `before` of the next page; left out on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// A list by the query `state=&before=&limit=`: `before` is the reference of an order.
pub(crate) async fn list(app: &App, mut filter: OrderFilter, query: Option<&str>) -> Result<OrdersView, Refusal> {
    let (mut before, mut limit) = (None, PAGE_ORDERS);
    for (name, value) in answer::query(query) {
        match name.as_str() {
            "state" => {
                let state = countersign_core::OrderState::of_name(&value);
                filter.state = Some(state.ok_or_else(|| {
                    Refusal::bad_request("`state` must be open, confirmed or cancelled; without it all are listed")
                })?);
            }
            "before" => before = Some(OrderPlace::of(&by_reference(app, &value).await?)),
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..MAX_PAGE_ORDERS).contains(n));
                limit = number.ok_or_else(|| {
                    Refusal::bad_request(format!(
                        "`limit` must be a whole number from 1 to {}",
                        MAX_PAGE_ORDERS - 1
                    ))
                })?;
            }
            _ => {}
        }
    }
    let (orders, next) = page(app, filter, before, limit).await?;
    Ok(OrdersView {
        orders: orders.into_iter().map(OrderView::from).collect(),
        next: next.map(|place| place.id.to_string()),
    })
}

/// What is noted of a decision; nothing where nothing is said.
pub(crate) fn note(text: Option<&str>) -> Result<Option<OrderNote>, Refusal> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let note = OrderNote::new(text).ok_or_else(|| {
        Refusal::bad_request(format!(
            "a note is one line of at most {} bytes: say it shorter",
            OrderNote::MAX_BYTES
        ))
    })?;
    Ok(Some(note))
}
