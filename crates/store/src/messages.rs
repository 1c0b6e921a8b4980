//! The contract for verification requests as their owner searches, reads and watches them. Part of [`crate::SiteStore`].

use countersign_core::{
    AccountKey, DeliveryState, PhoneNumber, RequestId, SenderUsername, TimelineEvent, Timestamp, VerificationRequest,
    VerificationState,
};
use futures_util::future::BoxFuture;

use crate::types::{RequestRef, StoreError};
pub use crate::watches::{RequestWatch, TooManyWatches};

/// A number as it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberSearch {
    /// The whole number. Found at once, however far back.
    Is(PhoneNumber),
    /// Its first digits, with the calling code.
    Begins(String),
    /// Its first or its last digits: people leave the calling code out.
    BeginsOrEnds(String),
}

/// A payload as it is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSearch {
    /// The whole payload. Found at once, however far back.
    Is(String),
    /// How it begins.
    Begins(String),
}

/// Which requests an owner asks for: those that meet everything that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// To this number.
    pub number: Option<NumberSearch>,
    /// With this payload.
    pub payload: Option<PayloadSearch>,
    /// In this delivery state.
    pub delivery: Option<DeliveryState>,
    /// In this verification state at the time that the account's clock shows.
    pub verification: Option<VerificationState>,
    /// That named this sender.
    pub sender: Option<SenderUsername>,
    /// Made from this time on, on the account's clock.
    pub from: Option<Timestamp>,
    /// Made before this time, on the account's clock.
    pub to: Option<Timestamp>,
}

/// In which order requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOrder {
    /// The newest first.
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Where a page of requests ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEnd {
    /// There are no more.
    Last,
    /// It is full; it goes on after this request.
    Full(RequestId),
    /// So many requests were looked through that the page ends here, found or not; the look goes on after this one.
    LookedThrough(RequestId),
}

/// A page of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The requests as they are stored; what is due by time is not applied.
    pub requests: Vec<VerificationRequest>,
    /// Where it ends.
    pub end: PageEnd,
}

/// Verification requests as their owner searches, reads and watches them.
pub trait Messages: Send + Sync {
    /// An account's requests in an order, after one, at most `limit`. A page costs a bounded look, so it may end with
    /// [`PageEnd::LookedThrough`]. `now` is the time on the account's clock.
    fn messages(
        &self,
        account: AccountKey,
        filter: MessageFilter,
        order: MessageOrder,
        after: Option<RequestId>,
        limit: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<MessagePage, StoreError>>;

    /// What happened to a request's message, by number. Its sending isn't among it: the request says when that was.
    fn timeline(&self, request: RequestRef) -> BoxFuture<'_, Result<Vec<TimelineEvent>, StoreError>>;

    /// Watches a request: told after each commit that changed it, or a report of it.
    fn watch(&self, request: RequestRef) -> Result<RequestWatch, TooManyWatches>;
}
