//! SQL of what the operator's console asks besides.

use crate::sql::params;
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::read::{PROFILE, profile_from_row, row_limit};
use crate::console::{BooksLoad, Console, OpenReports};
use crate::types::{AccountProfile, StoreError};

impl<B: Backend> Console for B {
    fn load(&self) -> BooksLoad {
        self.present_load()
    }

    fn open_reports(&self, limit: usize) -> BoxFuture<'_, Result<OpenReports, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                // One more than is counted tells whether there are more.
                let mut statement = connection.prepare_cached(
                    "SELECT count(*), count(*) FILTER (WHERE state = 2) FROM \
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
            })
        })
    }

    fn accounts_named(&self, prefix: &str, limit: usize) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>> {
        // Everything from the prefix to the prefix followed by the last character there is.
        let end = format!("{prefix}{}", char::MAX);
        let prefix = prefix.to_owned();
        self.read(move |reader| {
            reader.with(|connection| {
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
            })
        })
    }
}
