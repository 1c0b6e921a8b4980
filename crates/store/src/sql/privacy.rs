//! SQL of letting old requests go, account by account, in the order of their key: an account's oldest are one run in every table. What one
//! number is about is in `privacy_number`, codes that ended in `ended_codes`.

use countersign_core::{AccountId, AccountKey, PhoneNumber, Timestamp};
use futures_util::future::BoxFuture;

use super::backend::Backend;
use super::settings::account_place;
use super::{ended_codes, privacy_number};
use crate::audit::REQUESTS_FROM;
use crate::privacy::{ErasedOfNumber, KeptOfNumber, Privacy};
use crate::sql::{Connection, OptionalExtension as _, params};
use crate::types::{Actor, StoreError};

/// Requests that go in one transaction.
const AT_ONCE: usize = 200;
/// Accounts that are looked at for one question.
const ACCOUNTS: usize = 200;

impl<B: Backend> Privacy for B {
    fn let_requests_go(&self, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            // Where it can't be done so, rows go one by one.
            if let Err(error) = self.let_parts_go(before).await {
                tracing::warn!(%error, "old requests could not be let go by whole months");
            }
            let (mut gone, mut after) = (0, None);
            loop {
                let (old, last) = self
                    .aside(move |reader| {
                        let accounts = reader.accounts(after, ACCOUNTS)?;
                        let last = accounts.last().map(|account| account.key.id);
                        let mut old = Vec::new();
                        for account in &accounts {
                            // Requests are as old as they are on their account's clock.
                            let before = before.plus_millis(account.clock_offset_ms);
                            if has_older(reader.connection, account.key, before)? {
                                old.push((account.key, before));
                            }
                        }
                        Ok((old, last))
                    })
                    .await?;
                if let Some(before) = old.iter().map(|(_, before)| *before).max() {
                    // Before anything goes, so that no audit takes what went for a loss.
                    self.set(move |settings| note_requests_from(settings.connection, before))
                        .await?;
                }
                for (account, before) in old {
                    gone += let_account_go(self, account, before).await?;
                }
                let Some(last): Option<AccountId> = last else {
                    return Ok(gone);
                };
                after = Some(last);
            }
        })
    }

    fn wipe_ended_codes(&self, account: AccountKey, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(ended_codes::wipe(self, account, now))
    }

    fn kept_of_number(&self, phone: PhoneNumber) -> BoxFuture<'_, Result<KeptOfNumber, StoreError>> {
        Box::pin(privacy_number::kept(self, phone))
    }

    fn erase_number(
        &self,
        phone: PhoneNumber,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<ErasedOfNumber, StoreError>> {
        Box::pin(privacy_number::erase(self, phone, now, by))
    }
}

async fn let_account_go<B: Backend>(books: &B, account: AccountKey, before: Timestamp) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let went = books
            .note(move |settings| let_some_go(settings.connection, account, before))
            .await?;
        gone += went as u64;
        if went < AT_ONCE {
            return Ok(gone);
        }
        tokio::task::yield_now().await;
    }
}

fn has_older(connection: Connection<'_>, account: AccountKey, before: Timestamp) -> Result<bool, StoreError> {
    let [bucket, id] = account_place(account);
    let mut statement = connection.prepare_cached(
        "SELECT created_at FROM request WHERE bucket = ?1 AND account_id = ?2 AND created_at < ?3 LIMIT 1",
    )?;
    Ok(statement.exists([bucket, id, before.millis()])?)
}

/// Since when requests are kept. It never moves back.
fn note_requests_from(connection: Connection<'_>, from: Timestamp) -> Result<(), StoreError> {
    let known = connection.query_row("SELECT value FROM meta WHERE name = ?1", [REQUESTS_FROM], |row| {
        row.get(0)
    });
    let known: Option<Vec<u8>> = known.optional()?;
    let known = known.and_then(|value| String::from_utf8(value).ok()?.parse::<i64>().ok());
    if known.is_none_or(|known| known < from.millis()) {
        super::keys::put(connection, REQUESTS_FROM, from.millis().to_string().as_bytes())?;
    }
    Ok(())
}

/// On PostgreSQL, takes the lock of an account's row before its other rows, as a batch does: so neither waits for the other in a circle.
pub(super) fn lock(connection: Connection<'_>, account: AccountKey) -> Result<(), StoreError> {
    if connection.is_postgres() {
        connection
            .prepare_cached("SELECT account_id FROM account WHERE bucket = ?1 AND account_id = ?2 FOR UPDATE")?
            .query(account_place(account))?;
    }
    Ok(())
}

/// Lets an account's oldest requests go; answers how many.
fn let_some_go(connection: Connection<'_>, account: AccountKey, before: Timestamp) -> Result<usize, StoreError> {
    let [bucket, id] = account_place(account);
    lock(connection, account)?;
    let mut going: Vec<(i64, i64)> = Vec::new();
    {
        let mut statement = connection.prepare_cached(
            "SELECT created_at, random, wake_at IS NOT NULL FROM request \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at < ?3 ORDER BY created_at, random LIMIT ?4",
        )?;
        let limit = super::read::row_limit(AT_ONCE);
        let mut rows = statement.query([bucket, id, before.millis(), limit])?;
        while let Some(row) = rows.next()? {
            if row.get(2)? {
                break;
            }
            going.push((row.get(0)?, row.get(1)?));
        }
    }
    // A report that is still to be sent keeps its request, and what came after it.
    let pending: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT created_at, random FROM report WHERE bucket = ?1 AND account_id = ?2 AND state = 0 \
             ORDER BY created_at, random LIMIT 1",
        )?
        .query_row([bucket, id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(pending) = pending {
        going.retain(|place| *place < pending);
    }
    if let Some((created_at, random)) = going.last() {
        for table in ["report_attempt", "report", "timeline", "channel_handle", "request"] {
            let sql = format!(
                "DELETE FROM {table} WHERE bucket = ?1 AND account_id = ?2 AND (created_at, random) <= (?3, ?4)"
            );
            connection.execute(&sql, params![bucket, id, created_at, random])?;
        }
    }
    if going.len() < AT_ONCE {
        for sql in [
            "DELETE FROM request_summary WHERE bucket = ?1 AND account_id = ?2 AND last_created_at < ?3",
            "DELETE FROM live_code WHERE bucket = ?1 AND account_id = ?2 AND created_at < ?3",
        ] {
            connection.execute(sql, [bucket, id, before.millis()])?;
        }
    }
    Ok(going.len())
}
