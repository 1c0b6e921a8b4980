//! Statements: an account's entries of a time, with the balances before and after. Entries are booked in order of time, so a
//! time is a run of entry numbers, found by halving; no index on times is needed.

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{AccountKey, Credits, Timestamp};

use super::codec::{ENTRY_COLUMNS, entry_from_row};
use super::read::{Reader, row_limit};
use crate::types::{StatementPage, StoreError};

impl Reader<'_> {
    pub(crate) fn statement(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
        after: Option<u64>,
        limit: usize,
    ) -> Result<StatementPage, StoreError> {
        // Entries never change, so what is read one after the other fits together without a snapshot.
        self.with(|connection| {
            let count = entry_count(connection, account)?;
            let before = booked_before(connection, account, from, count)?;
            let last = booked_before(connection, account, to, count)?.max(before);
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {ENTRY_COLUMNS} FROM ledger_entry \
                 WHERE bucket = ?1 AND account_id = ?2 AND number > ?3 AND number <= ?4 ORDER BY number LIMIT ?5"
            ))?;
            let mut rows = statement.query(params![
                account.bucket.0,
                account.id.number(),
                after.map_or(before, |after| after.max(before)).cast_signed(),
                last.cast_signed(),
                row_limit(limit)
            ])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.push(entry_from_row(account, row)?);
            }
            Ok(StatementPage {
                opening_balance: balance_after(connection, account, before)?,
                closing_balance: balance_after(connection, account, last)?,
                last_entry: (last > before).then_some(last),
                entries,
            })
        })
    }
}

pub(crate) fn entry_count(connection: Connection<'_>, account: AccountKey) -> Result<u64, StoreError> {
    let count: Option<i64> = connection
        .prepare_cached("SELECT entries FROM account WHERE bucket = ?1 AND account_id = ?2")?
        .query_row(params![account.bucket.0, account.id.number()], |row| row.get(0))
        .optional()?;
    Ok(count.ok_or(StoreError::NotFound("account"))?.cast_unsigned())
}

/// How many of the account's first `count` entries were booked before a time: the number of the last of them.
pub(crate) fn booked_before(
    connection: Connection<'_>,
    account: AccountKey,
    time: Timestamp,
    count: u64,
) -> Result<u64, StoreError> {
    let mut booked_at = connection
        .prepare_cached("SELECT at FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 AND number = ?3")?;
    let (mut known_before, mut known_from) = (0, count + 1);
    while known_from - known_before > 1 {
        let middle = u64::midpoint(known_before, known_from);
        let at: i64 = booked_at.query_row(
            params![account.bucket.0, account.id.number(), middle.cast_signed()],
            |row| row.get(0),
        )?;
        if at < time.millis() {
            known_before = middle;
        } else {
            known_from = middle;
        }
    }
    Ok(known_before)
}

pub(crate) fn balance_after(
    connection: Connection<'_>,
    account: AccountKey,
    number: u64,
) -> Result<Credits, StoreError> {
    if number == 0 {
        return Ok(Credits::ZERO);
    }
    let micros = connection
        .prepare_cached("SELECT balance_after FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 AND number = ?3")?
        .query_row(
            params![account.bucket.0, account.id.number(), number.cast_signed()],
            |row| row.get(0),
        )?;
    Ok(Credits::from_micros(micros))
}
