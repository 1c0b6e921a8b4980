//! Chains a ledger that was written before entries carried hashes; part of the migration that adds the columns.

use crate::sql::{Connection, params};
use countersign_core::{EntryHash, Timestamp};

use crate::sql::codec::{ENTRY_COLUMNS, account_key, entry_from_row};
use crate::types::StoreError;

/// What guards the entries again once they are chained.
const ENTRIES_ARE_FINAL: &str = "CREATE TRIGGER ledger_entry_is_final BEFORE UPDATE ON ledger_entry \
                                 BEGIN SELECT RAISE(ABORT, 'a ledger entry is never edited'); END;";

/// Gives every entry the hash of the one before, every account its head, and puts the guard back.
pub(super) fn chain_all(raw: &rusqlite::Connection) -> Result<(), StoreError> {
    let connection = Connection::Sqlite(raw);
    let accounts: Vec<(i64, i64)> = connection
        .prepare_cached("SELECT bucket, account_id FROM account")?
        .query_map(params![], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (bucket, id) in accounts {
        chain(connection, bucket, id)?;
    }
    raw.execute_batch(ENTRIES_ARE_FINAL)?;
    Ok(())
}

fn chain(connection: Connection<'_>, bucket: i64, id: i64) -> Result<(), StoreError> {
    let account = account_key(bucket, id)?;
    let (mut head, mut last_at, mut number) = (EntryHash::NONE, Timestamp::from_millis(0), 0_i64);
    let mut next = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 AND number > ?3 \
         ORDER BY number LIMIT 1"
    ))?;
    let mut update = connection.prepare_cached(
        "UPDATE ledger_entry SET previous = ?4, at = ?5 WHERE bucket = ?1 AND account_id = ?2 AND number = ?3",
    )?;
    // One at a time: rows are written over behind the place where they are read.
    loop {
        let mut rows = next.query(params![bucket, id, number])?;
        let Some(row) = rows.next()? else { break };
        let mut entry = entry_from_row(account, row)?;
        drop(rows);
        number = entry.number.cast_signed();
        last_at = last_at.max(entry.at);
        (entry.at, entry.previous) = (last_at, head);
        head = entry.hash();
        update.execute(params![
            bucket,
            id,
            number,
            entry.previous.as_bytes(),
            entry.at.millis()
        ])?;
    }
    connection.execute(
        "UPDATE account SET head = ?3, last_entry_at = ?4 WHERE bucket = ?1 AND account_id = ?2",
        params![bucket, id, head.as_bytes(), last_at.millis()],
    )?;
    Ok(())
}
