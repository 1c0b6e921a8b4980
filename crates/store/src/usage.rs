//! The contract for statistics: usage rolled up by quarter of an hour, country, route and sender. Part of [`crate::SiteStore`].
//! What is counted is `core`'s business ([`countersign_core::UsageSum`]); docs/statistics.md says what each figure means.

use std::collections::BTreeMap;

use countersign_core::{
    AccountKey, Country, NumberSketch, PhoneNumber, Quarter, RouteName, SenderUsername, Timestamp, USAGE_COUNTS,
    UsageChange, UsageSum,
};
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// Which usage is asked for; what is `None` is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Only this country's.
    pub country: Option<Country>,
    /// Only this route's.
    pub route: Option<RouteName>,
    /// Only this sender's; `Some(None)`: only messages without a sender.
    pub sender: Option<Option<SenderUsername>>,
}

/// By what usage is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// The recipient's country.
    Country,
    /// The route.
    Route,
    /// The sender; the empty name is that of messages without one.
    Sender,
}

/// Statistics. Times are on the account's clock; `edges` are boundaries in order, each two of them a span: from the first on, and
/// before the second. What a question costs grows with its spans and with the values that are told apart, not with the
/// requests.
pub trait Usage: Send + Sync {
    /// The usage of each span.
    fn usage(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<Vec<UsageSum>, StoreError>>;
    /// The usage of each span by country, route or sender.
    fn usage_by(
        &self,
        account: AccountKey,
        by: UsageBy,
        edges: Vec<Quarter>,
        filter: UsageFilter,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Vec<UsageSum>>, StoreError>>;
    /// A sketch of the different numbers of each span. An hour (in UTC) counts as a whole where its first moment lies in the span.
    fn different_numbers(
        &self,
        account: AccountKey,
        edges: Vec<Quarter>,
    ) -> BoxFuture<'_, Result<Vec<NumberSketch>, StoreError>>;
}

/// What one change of a request adds to its account's usage, on its way into the books.
#[derive(Debug)]
pub(crate) struct NewUsage {
    pub(crate) account: AccountKey,
    pub(crate) created_at: Timestamp,
    pub(crate) phone: PhoneNumber,
    /// The route of its plan, if it has one.
    pub(crate) route: Option<RouteName>,
    pub(crate) sender: Option<SenderUsername>,
    pub(crate) counts: [i64; USAGE_COUNTS],
    pub(crate) delivered_slot: Option<u8>,
    pub(crate) valid_slot: Option<u8>,
}

impl NewUsage {
    pub(crate) fn new(account: AccountKey, change: &UsageChange<'_>) -> Self {
        Self {
            account,
            created_at: change.created_at,
            phone: change.phone,
            route: change.route.cloned(),
            sender: change.sender.cloned(),
            counts: change.counts,
            delivered_slot: change.delivered_slot,
            valid_slot: change.valid_slot,
        }
    }

    pub(crate) const fn change(&self) -> UsageChange<'_> {
        UsageChange {
            created_at: self.created_at,
            phone: self.phone,
            route: self.route.as_ref(),
            sender: self.sender.as_ref(),
            counts: self.counts,
            delivered_slot: self.delivered_slot,
            valid_slot: self.valid_slot,
        }
    }
}
