//! The contract for letting go of what is old. Part of [`crate::SiteStore`].

use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// The contract for privacy.
pub trait Privacy: Send + Sync {
    /// Lets verification requests that were made before a time go, each with all that belongs to it: number, code, payload, timeline,
    /// delivery reports and the attempts to send them. The ledger and the statistics stay: neither holds a number. What is still under way
    /// stays, with what came after it in its account. It goes through all accounts, in steps of some milliseconds; answers how many
    /// requests went. It may be broken off anywhere and called again.
    fn let_requests_go(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;
}
