//! Ledger entries as lines of a table: the history's and the statements'.

use std::collections::HashMap;

use countersign_core::{AccountKey, EntryKind, LedgerEntry, OrderState, Timestamp};
use countersign_store::{OrderFilter, StoreError};

use crate::app::App;
use crate::site::format::{self, When};
use crate::site::state::Badge;
use crate::site::zone::Zone;

/// Confirmed orders that are looked through for the references of a page's purchases.
const ORDERS_LOOKED_THROUGH: usize = 1_000;

/// One entry.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) when: When,
    pub(super) kind: Badge,
    pub(super) amount: String,
    pub(super) adds: bool,
    pub(super) balance_after: String,
    pub(super) about: String,
    /// Where what it was for is shown, and how it is named.
    pub(super) link: Option<(String, String)>,
}

/// How a kind of entry looks.
pub(super) const fn badge(kind: EntryKind) -> Badge {
    match kind {
        EntryKind::Purchase => Badge::new("good", "Purchase", "plus"),
        EntryKind::Charge => Badge::new("sent", "Charge", "messages"),
        EntryKind::Refund => Badge::new("read", "Refund", "back"),
        EntryKind::Lapse => Badge::new("warn", "Lapse", "clock"),
        EntryKind::Adjustment => Badge::new("delivered", "Adjustment", "settings"),
    }
}

/// How the state of an order looks.
pub(super) const fn order_badge(state: OrderState) -> Badge {
    match state {
        OrderState::Open => Badge::new("warn", "Waits for payment", "clock"),
        OrderState::Confirmed => Badge::new("good", "Paid", "tick"),
        OrderState::Cancelled => Badge::new("sent", "Cancelled", "barred"),
    }
}

/// Entries as lines, in their order.
pub(super) async fn of(
    app: &App,
    account: AccountKey,
    entries: &[LedgerEntry],
    zone: &Zone,
) -> Result<Vec<Line>, StoreError> {
    let orders = if entries.iter().any(|entry| entry.kind == EntryKind::Purchase) {
        references(app, account).await?
    } else {
        HashMap::new()
    };
    Ok(entries.iter().map(|entry| line(entry, &orders, zone)).collect())
}

/// The references of an account's confirmed orders, by their entry's number.
async fn references(app: &App, account: AccountKey) -> Result<HashMap<u64, String>, StoreError> {
    let filter = OrderFilter {
        account: Some(account),
        state: Some(OrderState::Confirmed),
    };
    let orders = app.site.orders(filter, None, ORDERS_LOOKED_THROUGH).await?;
    let references = orders
        .into_iter()
        .filter_map(|order| Some((order.entry?, order.id.to_string())));
    Ok(references.collect())
}

fn line(entry: &LedgerEntry, orders: &HashMap<u64, String>, zone: &Zone) -> Line {
    let order = orders.get(&entry.number);
    let (about, link) = match entry.kind {
        EntryKind::Purchase => (
            if order.is_some() { "Order " } else { "Credit bought" }.to_owned(),
            order.map(|reference| (format!("/account/balance/orders/{reference}"), reference.clone())),
        ),
        EntryKind::Charge | EntryKind::Refund => {
            let about = if entry.kind == EntryKind::Charge {
                "Message "
            } else {
                "Not delivered in time: "
            };
            let link = entry
                .request
                .map(|request| (format!("/account/messages/{request}"), request.to_string()));
            (about.to_owned(), link)
        }
        EntryKind::Lapse => ("Credit older than three years".to_owned(), None),
        EntryKind::Adjustment => {
            let reason = entry.reason.as_ref().map(|reason| reason.as_str().to_owned());
            (reason.unwrap_or_default(), None)
        }
    };
    Line {
        number: entry.number,
        when: When::exactly(entry.at, zone),
        kind: badge(entry.kind),
        amount: signed(entry.amount),
        adds: !entry.amount.is_negative(),
        balance_after: format::money(entry.balance_after),
        about,
        link,
    }
}

/// An amount with its sign, whichever it is.
pub(super) fn signed(amount: countersign_core::Credits) -> String {
    let sign = if amount.is_negative() || amount.is_zero() {
        ""
    } else {
        "+"
    };
    format!("{sign}{}", format::money(amount))
}

/// The first moment of a day in a zone, and of the day after it.
pub(super) fn day(text: &str, zone: &Zone) -> Option<(Timestamp, Timestamp)> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let start = |date: jiff::civil::Date| {
        let there = zone.time_zone().to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        Some(Timestamp::from_millis(there.as_millisecond()))
    };
    Some((start(date)?, start(date.tomorrow().ok()?)?))
}
