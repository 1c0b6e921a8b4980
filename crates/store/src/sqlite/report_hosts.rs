//! Part of the migration "reports": gives every report that is there already the host of its callback URL.

use countersign_core::CallbackUrl;
use rusqlite::{Transaction, params};

/// URLs looked at in one go: bounds the memory that a large database takes.
const PAGE: usize = 1_000;

/// Fills the column `host`. URLs are looked at once each, in a temporary table.
pub(super) fn fill(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(
        "CREATE TEMP TABLE callback_host (url TEXT PRIMARY KEY, host TEXT) WITHOUT ROWID; \
         INSERT INTO callback_host (url) SELECT DISTINCT callback_url FROM report;",
    )?;
    let mut last = String::new();
    loop {
        let urls: Vec<String> = transaction
            .prepare_cached("SELECT url FROM callback_host WHERE url > ?1 ORDER BY url LIMIT ?2")?
            .query_map(params![last, i64::try_from(PAGE).unwrap_or(i64::MAX)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let Some(end) = urls.last().cloned() else { break };
        for url in urls {
            let host = CallbackUrl::from_stored(url.clone()).destination();
            transaction
                .prepare_cached("UPDATE callback_host SET host = ?2 WHERE url = ?1")?
                .execute(params![url, host])?;
        }
        last = end;
    }
    transaction.execute_batch(
        "UPDATE report SET host = (SELECT host FROM callback_host WHERE url = callback_url); \
         DROP TABLE callback_host;",
    )
}
