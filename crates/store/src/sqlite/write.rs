//! A batch's changes, written in bulk inside its transaction. Statements are prepared once and kept.

use std::sync::LazyLock;

use countersign_core::{Account, AdjustmentReason, Detail, LedgerEntry, LegName, SenderUsername};
use rusqlite::{CachedStatement, Connection, ToSql, params};

use crate::batch::{Batch, Touched};
use crate::sql::codec::{REQUEST_COLUMNS, RequestColumns, phone_column, request_place, timeline_numbers};
use crate::sql::{Connection as Shared, orders};
use crate::types::StoreError;
use crate::vault::{Purpose, Vault};

/// Writes everything that a batch changed.
pub(super) fn write_batch(connection: &Connection, vault: &Vault, batch: &Batch) -> Result<(), StoreError> {
    // Rows that wait for a time move with their account's clock, before new rows join them.
    for (account, moved_ms) in &batch.clocks_moved {
        connection
            .prepare_cached(
                "UPDATE request INDEXED BY request_wake SET wake_at = wake_at - ?3 \
                 WHERE bucket = ?1 AND wake_at IS NOT NULL AND account_id = ?2",
            )?
            .execute(params![account.bucket.0, account.id.number(), moved_ms])?;
    }
    write_requests(connection, vault, batch)?;
    write_entries(connection, &batch.entries)?;
    for touched in batch.accounts.values().filter(|touched| touched.changed) {
        write_account(connection, &touched.row)?;
    }
    write_rare_rows(connection, vault, batch)
}

fn write_requests(connection: &Connection, vault: &Vault, batch: &Batch) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE request SET delivery = ?5, delivery_at = ?6, fee = ?7, refunded = ?8, verification = ?9, \
         verification_at = ?10, wrong_attempts = ?11, events = ?12, wake_at = ?13, accepted = ?14, entered_sealed = ?15, \
         leg = ?16, leg_at = ?17, open_legs = ?18, used_sealed = ?19, \
         code_sealed = CASE WHEN ?20 THEN NULL ELSE code_sealed END \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
    )?;
    let mut update_message = connection.prepare_cached(
        "UPDATE request SET code_sealed = ?5, code_origin = ?6, sent_at = ?7, expires_at = ?8, sender = ?9, \
         callback_url = ?10, payload = ?11, generation = ?12, plan = ?13, \
         locale = ?14, email_sealed = ?15 \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
    )?;
    let mut changed: Vec<_> = batch
        .requests
        .values()
        .flatten()
        .filter(|touched| touched.changed)
        .collect();
    // In key order, so that new rows are appended one behind the other and pages fill up.
    changed.sort_unstable_by_key(|touched| (touched.row.account, touched.row.id));
    let mut new_rows = Vec::new();
    for Touched {
        row,
        stored,
        message_changed,
        ..
    } in changed
    {
        let offset_ms = batch
            .accounts
            .get(&row.account)
            .map_or(0, |account| account.row.clock_offset_ms);
        let c = RequestColumns::of(row, offset_ms, vault, !stored || *message_changed)?;
        let [bucket, account_id, created_at, random] = c.place;
        if *stored {
            update.execute(params![
                bucket,
                account_id,
                created_at,
                random,
                c.delivery,
                c.delivery_at,
                c.fee,
                c.refunded,
                c.verification,
                c.verification_at,
                c.wrong_attempts,
                c.events,
                c.wake_at,
                c.accepted,
                c.entered_sealed,
                c.leg,
                c.leg_at,
                c.open_legs,
                c.used_sealed,
                c.code_is_gone,
            ])?;
            if *message_changed {
                update_message.execute(params![
                    bucket,
                    account_id,
                    created_at,
                    random,
                    c.code_sealed,
                    c.code_origin,
                    c.sent_at,
                    c.expires_at,
                    c.sender,
                    c.callback_url,
                    c.payload,
                    c.generation,
                    c.plan,
                    c.locale,
                    c.email_sealed,
                ])?;
            }
            continue;
        }
        new_rows.push(c);
    }
    insert_requests(connection, &new_rows)
}

/// How many rows one INSERT takes: the largest first. Rows that are appended one behind the other cost half where one statement
/// appends them.
pub(super) const ROWS_AT_ONCE: [usize; 3] = [16, 4, 1];

/// An INSERT of so many rows. OR FAIL: an error undoes the batch's whole transaction, so that SQLite needn't be able to undo a
/// single statement, for which it would copy each page that the statement touches.
pub(super) fn insert_sql(table: &str, columns: &str, rows: usize) -> String {
    let marks = vec!["?"; columns.split(',').count()].join(",");
    let row = format!("({marks})");
    format!(
        "INSERT OR FAIL INTO {table} ({columns}) VALUES {}",
        vec![row.as_str(); rows].join(",")
    )
}

/// Inserts rows, many at once.
pub(super) fn insert_many<T>(
    connection: &Connection,
    sql: &[String; ROWS_AT_ONCE.len()],
    mut rows: &[T],
    bind: impl Fn(&mut Binder<'_, '_>, &T) -> Result<(), rusqlite::Error>,
) -> Result<(), StoreError> {
    for (size, sql) in ROWS_AT_ONCE.iter().zip(sql) {
        let chunks = rows.chunks_exact(*size);
        rows = chunks.remainder();
        let mut statement = None;
        for chunk in chunks {
            let statement = match &mut statement {
                Some(statement) => statement,
                none => none.insert(connection.prepare_cached(sql)?),
            };
            let mut binder = Binder { statement, bound: 0 };
            for row in chunk {
                bind(&mut binder, row)?;
            }
            statement.raw_execute()?;
        }
    }
    Ok(())
}

/// Binds a statement's parameters one after the other.
pub(super) struct Binder<'a, 'c> {
    statement: &'a mut CachedStatement<'c>,
    bound: usize,
}

impl Binder<'_, '_> {
    pub(super) fn put(&mut self, value: impl ToSql) -> Result<(), rusqlite::Error> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }
}

fn insert_requests(connection: &Connection, rows: &[RequestColumns]) -> Result<(), StoreError> {
    static SQL: LazyLock<[String; ROWS_AT_ONCE.len()]> =
        LazyLock::new(|| ROWS_AT_ONCE.map(|rows| insert_sql("request", REQUEST_COLUMNS, rows)));
    insert_many(connection, &SQL, rows, |binder, c| {
        for part in c.place {
            binder.put(part)?;
        }
        binder.put(c.phone)?;
        binder.put(c.delivery)?;
        binder.put(c.delivery_at)?;
        binder.put(c.fee)?;
        binder.put(c.refunded)?;
        binder.put(c.verification)?;
        binder.put(c.verification_at)?;
        binder.put(c.wrong_attempts)?;
        binder.put(c.events)?;
        binder.put(c.wake_at)?;
        binder.put(&c.code_sealed)?;
        binder.put(c.code_origin)?;
        binder.put(c.sent_at)?;
        binder.put(c.expires_at)?;
        binder.put(c.accepted)?;
        binder.put(&c.sender)?;
        binder.put(&c.callback_url)?;
        binder.put(&c.payload)?;
        binder.put(&c.entered_sealed)?;
        binder.put(c.test)?;
        binder.put(c.generation)?;
        binder.put(&c.plan)?;
        binder.put(c.leg)?;
        binder.put(c.leg_at)?;
        binder.put(c.open_legs)?;
        binder.put(&c.locale)?;
        binder.put(&c.email_sealed)?;
        binder.put(&c.used_sealed)
    })
}

fn write_entries(connection: &Connection, entries: &[LedgerEntry]) -> Result<(), StoreError> {
    const COLUMNS: &str = "bucket, account_id, number, kind, amount, balance_after, at, request_created_at, \
                           request_random, previous, reason";
    static SQL: LazyLock<[String; ROWS_AT_ONCE.len()]> =
        LazyLock::new(|| ROWS_AT_ONCE.map(|rows| insert_sql("ledger_entry", COLUMNS, rows)));
    insert_many(connection, &SQL, entries, |binder, entry| {
        binder.put(entry.account.bucket.0)?;
        binder.put(entry.account.id.number())?;
        binder.put(entry.number.cast_signed())?;
        binder.put(entry.kind.number())?;
        binder.put(entry.amount.micros())?;
        binder.put(entry.balance_after.micros())?;
        binder.put(entry.at.millis())?;
        binder.put(entry.request.map(|request| request.created_at().millis()))?;
        binder.put(entry.request.map(|request| request.random().cast_signed()))?;
        binder.put(entry.previous.as_bytes().as_slice())?;
        binder.put(entry.reason.as_ref().map(AdjustmentReason::as_str))
    })
}

fn write_account(connection: &Connection, account: &Account) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE account SET balance = ?3, held = ?4, entries = ?5, purchased = ?6, consumed = ?7, next_lapse_at = ?8, \
             clock_offset_ms = ?9, free_day = ?10, free_sends = ?11, head = ?12, last_entry_at = ?13, \
             low_balance_told = ?14, low_balance_reports = ?15, spent_day = ?16, spent = ?17, budget_told = ?18 WHERE bucket = ?1 AND account_id = ?2",
        )?
        .execute(params![
            account.key.bucket.0,
            account.key.id.number(),
            account.balance.micros(),
            account.held.micros(),
            account.entries.cast_signed(),
            account.purchased.micros(),
            account.consumed.micros(),
            account.next_lapse_at.map(countersign_core::Timestamp::millis),
            account.clock_offset_ms,
            account.free_day,
            account.free_sends,
            account.head.as_bytes(),
            account.last_entry_at.millis(),
            account.low_balance_told,
            account.low_balance_reports.cast_signed(),
            account.spending.day,
            account.spending.spent.micros(),
            account.spending.told_percent,
        ])?;
    Ok(())
}

/// Rows that most batches don't have: purchases, orders, timeline, kept answers.
fn write_rare_rows(connection: &Connection, vault: &Vault, batch: &Batch) -> Result<(), StoreError> {
    for purchase in batch.purchases.values() {
        orders::write_purchase(Shared::Sqlite(connection), purchase)?;
    }
    for order in batch.orders.values() {
        orders::write_decided(Shared::Sqlite(connection), order)?;
    }
    for (request, event) in &batch.timeline {
        let [bucket, account_id, created_at, random] = request_place(*request);
        let (kind, state) = timeline_numbers(event.kind);
        connection
            .prepare_cached(
                "INSERT INTO timeline (bucket, account_id, created_at, random, number, kind, state, at, leg, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                bucket,
                account_id,
                created_at,
                random,
                event.number,
                kind,
                state,
                event.at.millis(),
                event.leg.as_ref().map(LegName::as_str),
                event.detail.as_ref().map(Detail::as_str),
            ])?;
    }
    for (key, id) in &batch.live_codes {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO live_code (bucket, account_id, phone, sender, test, created_at, random) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                key.account.bucket.0,
                key.account.id.number(),
                phone_column(key.phone),
                key.sender.as_ref().map_or("", SenderUsername::as_str),
                key.test,
                id.created_at().millis(),
                id.random().cast_signed(),
            ])?;
    }
    for ((account, key), answer) in &batch.answers {
        let place = [i64::from(account.bucket.0), account.id.number()];
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO first_answer (bucket, account_id, idempotency_key, fingerprint, result_sealed, at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                place[0],
                place[1],
                key.as_str(),
                vault.seal_fingerprint(&place, &answer.idempotency.fingerprint)?,
                vault.seal(Purpose::Answer, &place, &answer.result)?,
                answer.at.millis(),
            ])?;
    }
    Ok(())
}
