//! The contract for orders of credit that wait for their payment, and for the history of an account's entries. Part of
//! [`crate::SiteStore`]. An order is confirmed or cancelled by a command, [`countersign_core::Action::DecideOrder`], since that
//! moves money; making one moves none.

use countersign_core::{
    AccountKey, Credits, EntryKind, LedgerEntry, Order, OrderId, OrderState, ProviderName, RequestId, Timestamp,
};
use futures_util::future::BoxFuture;

use crate::types::{Actor, StoreError};

/// Orders of one account that may be open at once.
pub const MAX_OPEN_ORDERS: usize = 10;
/// Orders that one account may make in 24 hours, whatever becomes of them.
pub const MAX_ORDERS_PER_DAY: usize = 100;
/// The most orders that one page of a list holds, whatever limit is asked for.
pub const MAX_LISTED_ORDERS: usize = 1_000;

/// An order to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Whose.
    pub account: AccountKey,
    /// Drawn at random by the caller.
    pub id: OrderId,
    /// How much is bought.
    pub amount: Credits,
    /// How it is paid.
    pub provider: ProviderName,
    /// Who makes it.
    pub by: Actor,
    /// Real time.
    pub now: Timestamp,
}

/// What became of a wish to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// The order is made.
    Made(Order),
    /// The account has [`MAX_OPEN_ORDERS`] open orders: one must be paid or cancelled first.
    TooManyOpen,
    /// The account made [`MAX_ORDERS_PER_DAY`] orders in the last 24 hours.
    TooManyToday,
}

/// Which orders a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrderFilter {
    /// Of one account; `None`: of all.
    pub account: Option<AccountKey>,
    /// In one state; `None`: in any.
    pub state: Option<OrderState>,
}

/// A place in a list of orders, to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPlace {
    /// When the order was made.
    pub created_at: Timestamp,
    /// The order.
    pub id: OrderId,
}

impl OrderPlace {
    /// Where an order stands.
    pub const fn of(order: &Order) -> Self {
        Self {
            created_at: order.created_at,
            id: order.id,
        }
    }
}

/// Which entries a history shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// Of one kind; `None`: of any.
    pub kind: Option<EntryKind>,
    /// Booked from this time on, on the account's clock.
    pub from: Option<Timestamp>,
    /// Booked before this time, on the account's clock.
    pub to: Option<Timestamp>,
}

/// A page of a history, the newest entry first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
    /// The `before` of the next page, where there may be more: a page can end short of its limit, or empty, where entries of
    /// the wanted kind lie far apart.
    pub next: Option<u64>,
}

/// When credit lapses next, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextLapse {
    /// On the account's clock.
    pub at: Timestamp,
    /// What would lapse then if nothing were spent before; zero where all of it is used already.
    pub amount: Credits,
}

/// What was booked in a time, kind by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementTotals {
    /// Each kind with the number of its entries and their sum, in the order of [`EntryKind::ALL`].
    pub kinds: [(EntryKind, u64, Credits); 5],
}

/// Orders of credit that wait for their payment, and the history of entries.
pub trait Orders: Send + Sync {
    /// Makes an order. [`StoreError::NotFound`] where the account is closed, [`StoreError::Conflict`] where another order has
    /// that id: draw again.
    fn make_order(&self, new: NewOrder) -> BoxFuture<'_, Result<Ordered, StoreError>>;
    /// The order with that reference, of whichever account.
    fn order(&self, id: OrderId) -> BoxFuture<'_, Result<Option<Order>, StoreError>>;
    /// Orders, the newest first, before a place, at most `limit`.
    fn orders(
        &self,
        filter: OrderFilter,
        before: Option<OrderPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Order>, StoreError>>;
    /// An account's entries, the newest first, before the one with that number, at most `limit`.
    fn history(
        &self,
        account: AccountKey,
        filter: HistoryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<HistoryPage, StoreError>>;
    /// The entries of one request, the newest first: its charge and its refund, as far as there are such.
    fn request_entries(
        &self,
        account: AccountKey,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Vec<LedgerEntry>, StoreError>>;
    /// What an account's entries come to that were booked from one time on and before another, on its clock.
    fn statement_totals(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'_, Result<StatementTotals, StoreError>>;
    /// When an account's credit lapses next; `None` where none is left to lapse.
    fn next_lapse(&self, account: AccountKey) -> BoxFuture<'_, Result<Option<NextLapse>, StoreError>>;
}
