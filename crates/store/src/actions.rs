//! The contract for the audit log: what operators and owners did, and the server by itself. Part of [`crate::SiteStore`].

use countersign_core::Timestamp;
use futures_util::future::BoxFuture;

use crate::types::{Actor, StoreError};

/// A line for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewAction<'a> {
    /// Who did it.
    pub by: Actor,
    /// When, real time.
    pub at: Timestamp,
    /// What: `token rotated`.
    pub action: &'a str,
    /// To what: `account 4711`, `sender acme_shop`, `prices`.
    pub subject: &'a str,
    /// What exactly: an amount, a reason, a name; or empty.
    pub detail: &'a str,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRecord {
    /// Counts all lines from 1.
    pub number: i64,
    /// Who did it, as it stands in the books ([`Actor::name`]).
    pub actor: String,
    /// When, real time.
    pub at: Timestamp,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// What exactly, or empty.
    pub detail: String,
}

/// Which lines are asked for; what is empty doesn't narrow the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionFilter {
    /// Those of one actor.
    pub by: Option<Actor>,
    /// Those about one subject, by its whole name.
    pub subject: Option<String>,
    /// Those whose action begins so.
    pub action_prefix: Option<String>,
}

/// A page of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionPage {
    /// Its lines, newest first.
    pub records: Vec<ActionRecord>,
    /// The `before` of the next page, where there may be one: a filter that finds little ends a page before it is full.
    pub next: Option<i64>,
}

/// The audit log: what operators and owners did.
pub trait Actions: Send + Sync {
    /// Notes what left no trace in the books otherwise: a sign-in, a backup, a token that was shown. Whatever changes a row
    /// notes itself, in its own transaction.
    fn note(&self, action: NewAction<'_>) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Lines before one with that number, newest first, at most `limit`. One call looks at a bounded number of lines.
    fn actions(
        &self,
        filter: ActionFilter,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ActionPage, StoreError>>;
}
