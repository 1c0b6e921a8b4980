//! SQL of what the operator's console asks besides.

use std::path::Path;

use futures_util::future::BoxFuture;
use rusqlite::params;

use super::read::{PROFILE, profile_from_row, row_limit};
use super::{FILE_NAME, SqliteStore, answered};
use crate::console::{BooksLoad, Console, OpenReports};
use crate::types::{AccountProfile, StoreError};

impl Console for SqliteStore {
    fn load(&self) -> BooksLoad {
        let queue_length = self.jobs.max_capacity();
        let [handed_over, reports_handed_over] = self.handed_over.waiting();
        BooksLoad {
            queued: queue_length.saturating_sub(self.jobs.capacity()),
            queue_length,
            handed_over,
            reports_handed_over,
            log_bytes: file_bytes(&self.directory.join(format!("{FILE_NAME}-wal"))),
            database_bytes: file_bytes(&self.directory.join(FILE_NAME)),
        }
    }

    fn open_reports(&self, limit: usize) -> BoxFuture<'_, Result<OpenReports, StoreError>> {
        answered(self.readers.with(|connection| {
            // One more than is counted tells whether there are more.
            let mut statement = connection.prepare_cached(
                "SELECT count(*), coalesce(sum(state = 2), 0) FROM \
                 (SELECT state FROM report INDEXED BY report_open WHERE state <> 1 LIMIT ?1)",
            )?;
            let (found, lost): (i64, i64) =
                statement.query_row([row_limit(limit + 1)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let [found, lost] = [found, lost].map(|count| usize::try_from(count).unwrap_or_default());
            Ok(OpenReports {
                pending: found.saturating_sub(lost),
                lost,
                more: found > limit,
            })
        }))
    }

    fn accounts_named(&self, prefix: &str, limit: usize) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>> {
        // Everything from the prefix to the prefix followed by the last character there is.
        let end = format!("{prefix}{}", char::MAX);
        answered(self.readers.with(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "{PROFILE} WHERE name COLLATE NOCASE >= ?1 AND name COLLATE NOCASE <= ?2 \
                 ORDER BY name COLLATE NOCASE, account_id LIMIT ?3"
            ))?;
            let mut rows = statement.query(params![prefix, end, row_limit(limit)])?;
            let mut accounts = Vec::new();
            while let Some(row) = rows.next()? {
                accounts.push(profile_from_row(row)?);
            }
            Ok(accounts)
        }))
    }
}

/// A file's size; zero where it isn't there, as the log before the first write.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
