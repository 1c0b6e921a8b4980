//! Flood counters as rows. The process remembers them all, so no send asks for one: rows are written in the batch's transaction, one for
//! each counter that it changed, and read once, at the start.

use std::sync::LazyLock;

use countersign_core::{AccountId, AccountKey, Bucket, LimitState};
use rusqlite::{Connection, params};

use super::write::{ROWS_AT_ONCE, insert_many, insert_sql};
use crate::batch::Batch;
use crate::flood::{ChangedCounter, FloodBook, FloodCounter, MAX_FLOOD_COUNTERS};
use crate::types::StoreError;

/// Writes the counters that a batch changed. The time stands first in the key: new rows go to the end of the tree, where a number's own
/// place in it would dirty another page for each send. The row before it goes where it still counts; else the sweep finds it.
pub(super) fn write_counters(connection: &Connection, batch: &Batch, book: &FloodBook) -> Result<(), StoreError> {
    const COLUMNS: &str = "spread_until_us, bucket, account_id, test, phone";
    static SQL: LazyLock<[String; ROWS_AT_ONCE.len()]> =
        LazyLock::new(|| ROWS_AT_ONCE.map(|rows| insert_sql("flood_counter", COLUMNS, rows)));
    let mut changed: Vec<ChangedCounter> = batch.flood.changed().collect();
    if changed.is_empty() {
        return Ok(());
    }
    changed.sort_unstable_by_key(|changed| (changed.state, changed.account, changed.counter));
    let mut forget = connection.prepare_cached(
        "DELETE FROM flood_counter \
         WHERE spread_until_us = ?1 AND bucket = ?2 AND account_id = ?3 AND test = ?4 AND phone = ?5",
    )?;
    for changed in &changed {
        let before = book.state(changed.account, changed.counter);
        if let Some(before) = before.filter(|before| !before.is_spent(changed.at)) {
            let (test, phone) = changed.counter.columns();
            let (bucket, id) = (changed.account.bucket.0, changed.account.id.number());
            forget.execute(params![before.spread_until_us(), bucket, id, test, phone])?;
        }
    }
    insert_many(connection, &SQL, &changed, |binder, changed| {
        let (test, phone) = changed.counter.columns();
        binder.put(changed.state.spread_until_us())?;
        binder.put(changed.account.bucket.0)?;
        binder.put(changed.account.id.number())?;
        binder.put(test)?;
        binder.put(phone)
    })
}

/// The counters as the books hold them, the latest if there are more than are remembered.
pub(super) fn restore(connection: &Connection) -> Result<FloodBook, StoreError> {
    let mut book = FloodBook::default();
    let mut statement = connection.prepare(
        "SELECT spread_until_us, bucket, account_id, test, phone FROM flood_counter ORDER BY spread_until_us DESC LIMIT ?1",
    )?;
    let mut rows = statement.query([i64::try_from(MAX_FLOOD_COUNTERS).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        // An id that none can have names no account that could count on it.
        let Some(id) = AccountId::new(row.get(2)?) else {
            continue;
        };
        let bucket = Bucket(row.get(1)?);
        let state = LimitState::from_spread_until_us(row.get(0)?);
        let counter = FloodCounter::of_columns(row.get(3)?, row.get(4)?);
        book.take_in(AccountKey { bucket, id }, counter, state);
    }
    Ok(book)
}
