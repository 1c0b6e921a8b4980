//! SQL of what the operator's console asks besides.

use crate::sql::params;
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::read::{PROFILE, profile_from_row, row_limit};
use crate::console::{BooksLoad, Console, OpenReports};
use crate::tally::Tally;
use crate::types::{AccountProfile, StoreError};

impl<B: Backend> Console for B {
    fn load(&self) -> BooksLoad {
        self.present_load()
    }

    fn tally(&self) -> Tally {
        self.tally_book().read()
    }

    fn open_reports(&self, limit: usize) -> BoxFuture<'_, Result<OpenReports, StoreError>> {
        self.read(move |reader| {
            reader.with(|connection| {
                // One more than is counted tells whether there are more.
                let mut statement = connection.prepare_cached(
                    "SELECT count(*), count(*) FILTER (WHERE state = 2) FROM /* spans buckets: open reports */ \
                 (SELECT state FROM report INDEXED BY report_open WHERE state <> 1 LIMIT ?1) AS open",
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
        // Everything from the prefix to the prefix followed by the last character there is. Both fold ASCII's letters alone.
        let prefix = prefix.to_ascii_lowercase();
        let end = format!("{prefix}{}", char::MAX);
        self.read(move |reader| {
            reader.with(|connection| {
                let name = if connection.is_postgres() {
                    "lower(name)"
                } else {
                    "name COLLATE NOCASE"
                };
                let mut statement = connection.prepare_cached(&format!(
                    "{PROFILE} /* spans buckets: accounts by name */ WHERE {name} >= ?1 AND {name} <= ?2 ORDER BY {name}, account_id LIMIT ?3"
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
