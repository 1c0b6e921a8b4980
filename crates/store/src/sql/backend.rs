//! What a backend lends to the SQL that both share. Whoever has this has the whole contract ([`crate::Store`], [`crate::SiteStore`]).

use std::path::PathBuf;
use std::sync::Arc;

use countersign_core::{AccountKey, Command, Timestamp};
use futures_util::future::BoxFuture;

use super::access::AccessCache;
use super::read::{Reader, row_limit};
use super::settings::Settings;
use crate::backup::{BackupDone, BackupError, BackupProgress};
use crate::console::BooksLoad;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportOutcome, ReportProfile};
use crate::sql::Connection;
use crate::tally::TallyBook;
use crate::types::{Actor, Lease, StoreError, Trouble};
use crate::vault::Vault;
use crate::watches::Watches;
use crate::{FORGOTTEN_AT_ONCE, Outcome};

/// What one transaction of a sweep concerns: a bucket on PostgreSQL, where another may lie on another machine; everything on SQLite.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part(Option<i64>);

impl Part {
    /// Everything.
    pub(crate) const ALL: Self = Self(None);

    pub(crate) const fn bucket(bucket: i64) -> Self {
        Self(Some(bucket))
    }

    /// Deletes what is over in this part, at most [`FORGOTTEN_AT_ONCE`] rows: `sql` is made of what stands before each of its conditions,
    /// and takes a time and how many rows at most. Answers how many went.
    pub(crate) fn forget(
        self,
        connection: Connection<'_>,
        sql: impl FnOnce(&str) -> String,
        before: i64,
    ) -> Result<usize, StoreError> {
        let limit = row_limit(FORGOTTEN_AT_ONCE);
        Ok(match self.0 {
            None => connection.execute(&sql(""), [before, limit])?,
            Some(bucket) => connection.execute(&sql("bucket = ?3 AND "), [before, limit, bucket])?,
        })
    }
}

/// Forgets what is over, part by part, until there is no more or [`FORGOTTEN_AT_ONCE`] went; answers how much did. Each part is right
/// beside any other write: so no turn is taken.
pub(crate) async fn sweep<B: Backend>(
    books: &B,
    forget: impl Fn(&Settings<'_>, Part) -> Result<usize, StoreError> + Clone + Send + 'static,
) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    for part in books.parts().await? {
        let forget = forget.clone();
        forgotten += books.note(move |settings| forget(settings, part)).await?;
        if forgotten >= FORGOTTEN_AT_ONCE {
            break;
        }
    }
    Ok(forgotten)
}

/// A database with its connections, its writers, and what is kept in memory beside it.
pub(crate) trait Backend: Send + Sync + 'static {
    /// What seals.
    fn vault(&self) -> &Vault;
    /// Whose tokens are whose, in memory.
    fn access(&self) -> &AccessCache;
    /// Who waits for a request to change.
    fn watches(&self) -> &Arc<Watches>;

    /// Asks a reading connection. Questions are short: bounded rows, found by key.
    fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>;
    /// The same on a thread that may block: for questions that look through thousands of rows.
    fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>;
    /// What a sweep goes through, a transaction each.
    fn parts(&self) -> BoxFuture<'_, Result<Vec<Part>, StoreError>>;
    /// Runs a write that is no command in a transaction of its own; one at a time, whichever node it is asked of.
    fn set<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>;
    /// The same for the traffic of messages, whose statements each are right beside any other: no turn is taken.
    fn note<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>>;
    /// The same where nobody waits, and nothing is lost if it can't be done now.
    fn note_later(&self, write: impl FnOnce(&mut Settings<'_>) -> Result<(), StoreError> + Send + 'static);

    /// Looks in the books how the master key stands, and tells the vault, after whatever is being written.
    fn settle_keys(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// See [`crate::Store::admits`].
    fn admits_callers(&self, account: AccountKey) -> bool;
    /// See [`crate::Store::submit`].
    fn command(
        &self,
        lease: Option<Lease>,
        account: AccountKey,
        command: Command,
        by: Option<Actor>,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>>;
    /// See [`crate::Store::record_report`].
    fn report_attempt(
        &self,
        lease: Lease,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>>;
    /// See [`crate::Store::redeliver_report`].
    fn redeliver(&self, key: ReportKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<ReportProfile, StoreError>>;
    /// See [`crate::Store::lease`].
    fn present_lease(&self) -> Lease;
    /// See [`crate::Store::holds`].
    fn still_holds(&self, lease: Lease) -> bool;
    /// Whether other processes may have the same books.
    fn is_shared(&self) -> bool {
        false
    }
    /// See [`crate::Store::is_alone`].
    fn has_no_others(&self) -> bool {
        true
    }
    /// See [`crate::Logins::login_was_asked`].
    fn tell_login_asked(&self, _attempt: i64) {}
    /// Since when requests were made of which those that are due now are asked for; [`Timestamp`]'s least for all of them. Books that are
    /// cut into months look at the last ones, and only now and then at all.
    fn due_since(&self, _now: Timestamp) -> Timestamp {
        Timestamp::from_millis(i64::MIN)
    }
    /// Lets whole parts of the books go that hold nothing younger than a time, as [`crate::Privacy::let_requests_go`], where they are
    /// cut into such parts. What isn't let go like this goes row by row.
    fn let_parts_go(&self, _before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// See [`crate::Store::trouble`].
    fn present_trouble(&self) -> Option<Trouble>;
    /// See [`crate::Console::load`].
    fn present_load(&self) -> BooksLoad;
    /// Where the writers add up what they did.
    fn tally_book(&self) -> &TallyBook;
    /// See [`crate::Store::back_up`].
    fn copy_to(
        &self,
        file: PathBuf,
        force: bool,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>>;
    /// See [`crate::Store::close`].
    fn end(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
