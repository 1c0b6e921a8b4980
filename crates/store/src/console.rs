//! The contract for what the operator's console asks besides: how loaded the books are, and finding accounts. Part of
//! [`crate::SiteStore`].

use futures_util::future::BoxFuture;

use crate::tally::Tally;
use crate::types::{AccountProfile, StoreError};

/// How loaded the books are at this moment. Reading it costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BooksLoad {
    /// Commands and settings that wait for the writer, and how many may.
    pub queued: usize,
    /// How many may wait.
    pub queue_length: usize,
    /// Committed work that waits for the dispatcher.
    pub handed_over: usize,
    /// New reports that wait for their worker.
    pub reports_handed_over: usize,
    /// The write-ahead log's size.
    pub log_bytes: u64,
    /// The database's size.
    pub database_bytes: u64,
}

/// How many reports aren't acknowledged, counted up to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenReports {
    /// Those that are due now or later.
    pub pending: usize,
    /// Those that were given up.
    pub lost: usize,
    /// Whether there are more than were counted.
    pub more: bool,
}

/// What the operator's console asks of the books.
pub trait Console: Send + Sync {
    /// How loaded the books are.
    fn load(&self) -> BooksLoad;
    /// What this process's writers did since it started.
    fn tally(&self) -> Tally;
    /// How many reports of all accounts aren't acknowledged; at most `limit` are counted.
    fn open_reports(&self, limit: usize) -> BoxFuture<'_, Result<OpenReports, StoreError>>;
    /// Accounts whose name begins so, whatever its case (of ASCII letters), by name, at most `limit`.
    fn accounts_named(&self, prefix: &str, limit: usize) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>>;
}
