//! The contract for letting go of what is old, and for what one person may ask: what is kept of a number, and that it goes. Part of
//! [`crate::SiteStore`].

use countersign_core::{AccountId, AccountKey, LegName, PhoneNumber, Timestamp, VerificationRequest};
use futures_util::future::BoxFuture;

use crate::channel_books::ChannelRecipient;
use crate::types::{Actor, RequestRef, StoreError};

/// What stands in a request's row where its number was erased. No country has the code 999.
pub const ERASED_NUMBER: PhoneNumber = PhoneNumber::from_stored(999_000_000_000);

/// What is kept of a number.
#[derive(Debug, Default)]
pub struct KeptOfNumber {
    /// Verification requests to it, of all accounts.
    pub requests: Vec<(RequestRef, VerificationRequest)>,
    /// What channels know of it.
    pub recipients: Vec<(LegName, ChannelRecipient)>,
    /// The accounts that it owns, closed ones among them.
    pub owner_of: Vec<AccountId>,
}

/// What was erased of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedOfNumber {
    /// Requests without number, payload, address, typed code, reports and what legs said, from now on.
    pub requests: u64,
    /// Requests that are still under way, or to be reported: ask again once they have ended.
    pub still_open: u64,
    /// Channels that forgot it.
    pub recipients: u64,
    /// Channels that keep nothing but its *stop*, so that it is honoured.
    pub stops_kept: u64,
}

/// The contract for privacy.
pub trait Privacy: Send + Sync {
    /// Lets verification requests that were made before a time go, each with all that belongs to it: number, code, payload, timeline,
    /// delivery reports and the attempts to send them. The ledger and the statistics stay: neither holds a number. What is still under way
    /// stays, with what came after it in its account. Each request is as old as it is on its account's clock. Where the books are cut into
    /// months, those that are too old as a whole go first, uncounted. Then it goes through all accounts, in steps of some milliseconds;
    /// answers how many requests went like this. It may be broken off anywhere and called again.
    fn let_requests_go(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Wipes codes that ended without a write, since their message arrived and nobody entered them: some hundreds of an account's requests
    /// a call, from the age of 65 minutes on. All other codes are wiped by the command that ends them. `now` is the time on the account's
    /// clock. Answers whether more may be left.
    fn wipe_ended_codes(&self, account: AccountKey, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// What is kept of a number. It goes through all requests.
    fn kept_of_number(&self, phone: PhoneNumber) -> BoxFuture<'_, Result<KeptOfNumber, StoreError>>;

    /// Erases a number, with what was written to it and what is known of it. Requests stay, without it: the ledger names them. It goes
    /// through all requests; broken off, it may be called again.
    fn erase_number(
        &self,
        phone: PhoneNumber,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<ErasedOfNumber, StoreError>>;
}
