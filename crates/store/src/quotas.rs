//! The contract for quotas: counters that all nodes share, by key and not by account, moved in chunks (`countersign_core::Quota`). Part of
//! [`crate::SiteStore`].

use countersign_core::{Limit, LimitState, Taken, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::StoreError;

/// What a node counted of one key since it settled last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaTaken {
    /// What is counted, in the caller's words: a number, a network. The books keep a keyed hash of it alone.
    pub key: String,
    /// The quota's limit, the same on every node.
    pub limit: Limit,
    /// How much.
    pub taken: Taken,
}

/// The contract for quotas.
pub trait Quotas: Send + Sync {
    /// Adds to the counters, and answers how each stands then, in the same order; in one transaction.
    fn settle_quotas(&self, taken: Vec<QuotaTaken>) -> BoxFuture<'_, Result<Vec<LimitState>, StoreError>>;

    /// Deletes counters that count for nothing any more, about [`crate::FORGOTTEN_AT_ONCE`] a call. Answers how many went.
    fn forget_spent_quotas(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
}
