//! Facts for a batch, loaded on the writing connection inside its transaction.

use std::sync::LazyLock;

use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{
    Account, AccountKey, FirstAnswer, Idempotency, IdempotencyKey, Order, OrderId, Purchase, RequestId, SenderFact,
    SenderUsername, Timestamp, VerificationRequest,
};

use super::codec::{
    ACCOUNT_COLUMNS, REQUEST_COLUMNS, RequestColumns, account_from_row, phone_column, purchase_from_row, request_id,
    request_place,
};
use super::orders;
use crate::batch::{FactSource, LiveKey};
use crate::types::{RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// Loads facts one row at a time; each look-up is one descent of a b-tree in the page cache.
pub(crate) struct Facts<'a> {
    pub(crate) connection: Connection<'a>,
    pub(crate) vault: &'a Vault,
}

impl FactSource for Facts<'_> {
    fn account(&mut self, key: AccountKey) -> Result<Option<Account>, StoreError> {
        static SQL: LazyLock<String> =
            LazyLock::new(|| format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE bucket = ?1 AND account_id = ?2"));
        let mut statement = self.connection.prepare_cached(&SQL)?;
        let mut rows = statement.query(params![key.bucket.0, key.id.number()])?;
        rows.next()?.map(|row| account_from_row(key, row, 0)).transpose()
    }

    fn request(&mut self, request: RequestRef) -> Result<Option<VerificationRequest>, StoreError> {
        load_request(self.connection, self.vault, request)
    }

    fn order(&mut self, account: AccountKey, id: OrderId) -> Result<Option<Order>, StoreError> {
        orders::load(self.connection, account, id)
    }

    fn first_answer(&mut self, account: AccountKey, key: &IdempotencyKey) -> Result<Option<FirstAnswer>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fingerprint, result_sealed, at FROM first_answer \
             WHERE bucket = ?1 AND account_id = ?2 AND idempotency_key = ?3",
        )?;
        let place = [i64::from(account.bucket.0), account.id.number()];
        let row: Option<(Vec<u8>, Vec<u8>, i64)> = statement
            .query_row(params![place[0], place[1], key.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((fingerprint, sealed, at)) = row else {
            return Ok(None);
        };
        let fingerprint = self.vault.open_fingerprint(&place, &fingerprint)?;
        Ok(Some(FirstAnswer {
            idempotency: Idempotency {
                key: key.clone(),
                fingerprint,
            },
            result: self.vault.open(Purpose::Answer, &place, &sealed)?,
            at: Timestamp::from_millis(at),
        }))
    }

    fn sender(&mut self, account: AccountKey, username: &SenderUsername) -> Result<SenderFact, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT account_id, verified_at IS NOT NULL FROM sender WHERE username = ?1")?;
        let row: Option<(i64, bool)> = statement
            .query_row([username.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(sender_fact(account, row))
    }

    fn live_code(&mut self, key: &LiveKey) -> Result<Option<RequestId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT created_at, random FROM live_code \
             WHERE bucket = ?1 AND account_id = ?2 AND phone = ?3 AND sender = ?4 AND test = ?5",
        )?;
        let row: Option<(i64, i64)> = statement
            .query_row(
                params![
                    key.account.bucket.0,
                    key.account.id.number(),
                    phone_column(key.phone),
                    key.sender.as_ref().map_or("", SenderUsername::as_str),
                    key.test
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        Ok(row.map(|(created_at, random)| request_id(created_at, random)))
    }

    fn open_purchases(&mut self, account: AccountKey) -> Result<Vec<Purchase>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT entry, through, lapses_at, lapsed FROM purchase INDEXED BY purchase_open \
             WHERE bucket = ?1 AND account_id = ?2 AND lapsed = 0 ORDER BY entry",
        )?;
        let rows = statement.query_map(params![account.bucket.0, account.id.number()], |row| {
            purchase_from_row(account, row)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What a sender's row says to an account: whose it is, and whether it is verified.
pub(crate) fn sender_fact(account: AccountKey, row: Option<(i64, bool)>) -> SenderFact {
    match row {
        None => SenderFact::Unknown,
        Some((owner, _)) if owner != account.id.number() => SenderFact::OtherAccount,
        Some((_, true)) => SenderFact::Verified,
        Some((_, false)) => SenderFact::Unverified,
    }
}

/// Loads one request.
pub(crate) fn load_request(
    connection: Connection<'_>,
    vault: &Vault,
    request: RequestRef,
) -> Result<Option<VerificationRequest>, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {REQUEST_COLUMNS} FROM request \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4"
        )
    });
    let mut statement = connection.prepare_cached(&SQL)?;
    let columns = statement
        .query_row(request_place(request), RequestColumns::read)
        .optional()?;
    columns.map(|columns| columns.open(vault)).transpose()
}
