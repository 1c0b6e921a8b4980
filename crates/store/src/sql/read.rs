//! Questions to the books, on connections of their own beside the writer. Each is short: bounded rows, found by key, never by
//! offset, so that no snapshot holds the write-ahead log back.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use crate::sql::{Connection, Row, params};
use countersign_core::{
    AccountId, AccountKey, ApiToken, Autofill, Credits, PhoneNumber, SenderUsername, Timestamp, TokenClaim, TokenKind,
    VerificationRequest,
};

use super::access::StoredAccess;
use super::codec::{
    REQUEST_COLUMNS, RequestColumns, account_key, damaged, low_balance_of, phone_column, phone_of, request_id,
};
use super::load::load_request;
use super::prices;
use crate::prices::PriceRecord;
use crate::types::{AccountAccess, AccountProfile, Lease, MessageRef, RequestRef, SenderProfile, StoreError};
use crate::vault::Vault;

/// A reading connection, lent for one question.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) connection: Connection<'a>,
    pub(crate) vault: &'a Vault,
    /// Whose work is asked for: on one machine everything is this one's.
    pub(crate) lease: Lease,
}

impl<'a> Reader<'a> {
    pub(crate) fn with<T>(&self, ask: impl FnOnce(Connection<'a>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        ask(self.connection)
    }
}

impl Reader<'_> {
    pub(crate) fn access(&self, id: AccountId) -> Result<Option<StoredAccess>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, account_id, closed_at IS NOT NULL, allow_list, clock_offset_ms, phone, \
                 generation, token_lookup, previous_lookup, grace_until, \
                 test_generation, test_lookup, test_previous_lookup, test_grace_until \
                 FROM account WHERE account_id = ?1",
            )?;
            let mut rows = statement.query([id.number()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let present = AccountAccess {
                key: account_key(row.get(0)?, row.get(1)?)?,
                token: TokenClaim::PRESENT,
                valid_until: None,
                closed: row.get(2)?,
                allow_list: allow_list(&row.get::<String>(3)?)?,
                clock_offset_ms: row.get(4)?,
                owner: phone_of(row.get(5)?)?,
            };
            let mut tokens = Vec::with_capacity(2);
            for (kind, first) in [(TokenKind::Live, 6), (TokenKind::Test, 10)] {
                let generation: u32 = row.get(first)?;
                let grace_until = row.get::<Option<i64>>(first + 3)?.map(Timestamp::from_millis);
                let mut known = |lookup: Option<Vec<u8>>, generation, valid_until| {
                    let token = TokenClaim { kind, generation };
                    let access = AccountAccess {
                        token,
                        valid_until,
                        ..present.clone()
                    };
                    tokens.extend(lookup.map(|lookup| (lookup, Arc::new(access))));
                };
                known(row.get(first + 1)?, generation, None);
                known(row.get(first + 2)?, generation.saturating_sub(1), grace_until);
            }
            Ok(Some(StoredAccess { tokens }))
        })
    }

    pub(crate) fn token(&self, account: AccountKey) -> Result<ApiToken, StoreError> {
        self.signing_token(account, TokenClaim::PRESENT, Timestamp::from_millis(0))
    }

    pub(crate) fn account(&self, id: AccountId) -> Result<Option<AccountProfile>, StoreError> {
        self.with(|connection| account_profile(connection, "account_id = ?1", id.number()))
    }

    pub(crate) fn account_of_phone(&self, phone: PhoneNumber) -> Result<Option<AccountProfile>, StoreError> {
        let condition = "phone = ?1 ORDER BY closed_at IS NOT NULL, closed_at DESC";
        self.with(|connection| account_profile(connection, condition, phone_column(phone)))
    }

    pub(crate) fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<AccountProfile>, StoreError> {
        self.with(|connection| {
            let sql = format!("{PROFILE} WHERE account_id > ?1 ORDER BY account_id LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![after.map_or(0, AccountId::number), row_limit(limit)])?;
            let mut accounts = Vec::new();
            while let Some(row) = rows.next()? {
                accounts.push(profile_from_row(row)?);
            }
            Ok(accounts)
        })
    }

    pub(crate) fn senders(&self, account: Option<AccountKey>) -> Result<Vec<SenderProfile>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT username, bucket, account_id, created_at, verified_at FROM sender \
                 WHERE ?1 IS NULL OR account_id = ?1 ORDER BY username LIMIT 10000",
            )?;
            let mut rows = statement.query([account.map(|account| account.id.number())])?;
            let mut senders = Vec::new();
            while let Some(row) = rows.next()? {
                senders.push(sender_from_row(row)?);
            }
            Ok(senders)
        })
    }

    pub(crate) fn price_history(&self, after: Option<u64>, limit: usize) -> Result<Vec<PriceRecord>, StoreError> {
        self.with(|connection| prices::history(connection, after, limit))
    }

    pub(crate) fn request(&self, request: RequestRef) -> Result<Option<VerificationRequest>, StoreError> {
        self.with(|connection| load_request(connection, self.vault, request))
    }

    pub(crate) fn waiting_messages(
        &self,
        now: Timestamp,
        after: Option<MessageRef>,
        limit: usize,
    ) -> Result<Vec<(MessageRef, VerificationRequest)>, StoreError> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {REQUEST_COLUMNS} FROM request INDEXED BY request_wake \
                 WHERE bucket = ?1 AND (wake_at, account_id, created_at, random) > (?2, ?3, ?4, ?5) AND wake_at >= ?2 \
                 AND wake_at IS NOT NULL AND delivery = 4 AND accepted = 0 \
                 ORDER BY wake_at, account_id, created_at, random LIMIT ?6"
            )
        });
        self.with(|connection| {
            let mut found = Vec::new();
            for bucket in buckets(connection)? {
                let mut cursor = match &after {
                    Some(after) if bucket < i64::from(after.request.account.bucket.0) => continue,
                    Some(after) if bucket == i64::from(after.request.account.bucket.0) => [
                        after.wake_at.millis(),
                        after.request.account.id.number(),
                        after.request.id.created_at().millis(),
                        after.request.id.random().cast_signed(),
                    ],
                    _ => [now.millis(), i64::MAX, i64::MAX, i64::MAX],
                };
                let mut statement = connection.prepare_cached(&SQL)?;
                // Again only where rows could not be read: a full page is what tells the caller to go on.
                while found.len() < limit {
                    let left = limit - found.len();
                    let [wake_at, account_id, created_at, random] = cursor;
                    let rows = statement.query_map(
                        params![bucket, wake_at, account_id, created_at, random, row_limit(left)],
                        RequestColumns::read,
                    )?;
                    let mut rows_read = 0;
                    for columns in rows {
                        let columns = columns?;
                        rows_read += 1;
                        let wake_at = Timestamp::from_millis(columns.wake_at.unwrap_or_default());
                        let [_, account_id, created_at, random] = columns.place;
                        cursor = [wake_at.millis(), account_id, created_at, random];
                        if let Some(request) = readable(columns.open(self.vault))? {
                            let reference = RequestRef {
                                account: request.account,
                                id: request.id,
                            };
                            found.push((
                                MessageRef {
                                    wake_at,
                                    request: reference,
                                },
                                request,
                            ));
                        }
                    }
                    if rows_read < left {
                        break;
                    }
                }
            }
            Ok(found)
        })
    }

    pub(crate) fn arrived_messages(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<VerificationRequest>, StoreError> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                // The inner bound keeps the look-back short where most messages never arrived.
                "SELECT {REQUEST_COLUMNS} FROM (SELECT * FROM request \
                 WHERE bucket = ?1 AND account_id = ?2 AND created_at >= ?3 \
                 ORDER BY created_at DESC, random DESC LIMIT 4 * ?4) \
                 WHERE delivery IN (5, 6) ORDER BY created_at DESC, random DESC LIMIT ?4"
            )
        });
        self.with(|connection| {
            let accounts: Vec<(i64, i64, i64)> = connection
                .prepare_cached(
                    "SELECT bucket, account_id, clock_offset_ms FROM account WHERE closed_at IS NULL LIMIT 10000",
                )?
                .query_map(params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            let mut found = Vec::new();
            for (bucket, account_id, clock_offset_ms) in accounts {
                let mut statement = connection.prepare_cached(&SQL)?;
                let since = since.plus_millis(clock_offset_ms).millis();
                let rows = statement.query_map(
                    params![bucket, account_id, since, row_limit(limit.saturating_sub(found.len()))],
                    RequestColumns::read,
                )?;
                for columns in rows {
                    found.extend(readable(columns?.open(self.vault))?);
                }
                if found.len() >= limit {
                    break;
                }
            }
            Ok(found)
        })
    }

    pub(crate) fn due_requests(
        &self,
        now: Timestamp,
        account: Option<AccountKey>,
        limit: usize,
    ) -> Result<Vec<RequestRef>, StoreError> {
        self.with(|connection| {
            let buckets = match account {
                Some(account) => vec![i64::from(account.bucket.0)],
                None => buckets(connection)?,
            };
            let mut due = Vec::new();
            for bucket in buckets {
                let mut statement = connection.prepare_cached(
                    "SELECT account_id, created_at, random FROM request INDEXED BY request_wake \
                     WHERE bucket = ?1 AND wake_at IS NOT NULL AND wake_at <= ?2 AND (?3 IS NULL OR account_id = ?3) \
                     ORDER BY wake_at LIMIT ?4",
                )?;
                let account_id = account.map(|account| account.id.number());
                let mut rows = statement.query(params![
                    bucket,
                    now.millis(),
                    account_id,
                    row_limit(limit.saturating_sub(due.len()))
                ])?;
                while let Some(row) = rows.next()? {
                    due.push(RequestRef {
                        account: account_key(bucket, row.get(0)?)?,
                        id: request_id(row.get(1)?, row.get(2)?),
                    });
                }
                if due.len() >= limit {
                    break;
                }
            }
            Ok(due)
        })
    }

    pub(crate) fn due_lapses(&self, now: Timestamp, limit: usize) -> Result<Vec<AccountKey>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT bucket, account_id FROM account WHERE next_lapse_at <= ?1 + clock_offset_ms LIMIT ?2",
            )?;
            let mut rows = statement.query(params![now.millis(), row_limit(limit)])?;
            let mut due = Vec::new();
            while let Some(row) = rows.next()? {
                due.push(account_key(row.get(0)?, row.get(1)?)?);
            }
            Ok(due)
        })
    }
}

/// Buckets that hold an account; at most 256.
fn buckets(connection: Connection<'_>) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        // A loose scan: one descent a bucket instead of a row an account.
        "WITH RECURSIVE held(bucket) AS (SELECT min(bucket) FROM account UNION ALL \
         SELECT (SELECT min(bucket) FROM account WHERE bucket > held.bucket) FROM held WHERE held.bucket IS NOT NULL) \
         SELECT bucket FROM held WHERE bucket IS NOT NULL",
    )?;
    let buckets: BTreeSet<i64> = statement
        .query_map(params![], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(buckets.into_iter().collect())
}

pub(crate) const PROFILE: &str = "SELECT bucket, account_id, name, phone, balance, held, allow_list, clock_offset_ms, created_at, closed_at, entries, low_balance_below, low_balance_url, autofill_domain, autofill_android_hash FROM account";

/// One account by a condition on one number.
pub(crate) fn account_profile(
    connection: Connection<'_>,
    condition: &str,
    number: i64,
) -> Result<Option<AccountProfile>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{PROFILE} WHERE {condition} LIMIT 1"))?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(profile_from_row).transpose()
}

pub(crate) fn profile_from_row(row: Row<'_>) -> Result<AccountProfile, StoreError> {
    Ok(AccountProfile {
        key: account_key(row.get(0)?, row.get(1)?)?,
        name: row.get(2)?,
        phone: phone_of(row.get(3)?)?,
        balance: Credits::from_micros(row.get(4)?),
        held: Credits::from_micros(row.get(5)?),
        entries: row.get::<i64>(10)?.cast_unsigned(),
        allow_list: allow_list(&row.get::<String>(6)?)?,
        clock_offset_ms: row.get(7)?,
        low_balance: low_balance_of(row.get(11)?, row.get(12)?),
        autofill: autofill_of(row.get(13)?, row.get(14)?)?,
        created_at: Timestamp::from_millis(row.get(8)?),
        closed_at: row.get::<Option<i64>>(9)?.map(Timestamp::from_millis),
    })
}

/// Reads what an account's short messages end with.
pub(crate) fn autofill_of(domain: Option<String>, android_hash: Option<String>) -> Result<Autofill, StoreError> {
    Autofill::parse(&domain.unwrap_or_default(), &android_hash.unwrap_or_default())
        .map_err(|_| damaged("an account's autofill settings"))
}

fn allow_list(text: &str) -> Result<Vec<ipnet::IpNet>, StoreError> {
    let addresses: Vec<String> = serde_json::from_str(text).map_err(|_| damaged("an allow-list"))?;
    addresses
        .iter()
        .map(|address| address.parse().map_err(|_| damaged("an allow-list")))
        .collect()
}

/// Reads username, bucket, account id, creation and verification.
pub(crate) fn sender_from_row(row: Row<'_>) -> Result<SenderProfile, StoreError> {
    Ok(SenderProfile {
        username: SenderUsername::parse(&row.get::<String>(0)?).ok_or_else(|| damaged("a sender"))?,
        account: account_key(row.get(1)?, row.get(2)?)?,
        created_at: Timestamp::from_millis(row.get(3)?),
        verified_at: row.get::<Option<i64>>(4)?.map(Timestamp::from_millis),
    })
}

/// A bound on rows as SQLite takes it.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Leaves out a row that can't be read, and says so: it must not keep all the others from being worked on.
pub(crate) fn readable<T>(row: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Err(StoreError::Damaged(what)) => {
            tracing::error!("a row is passed over: {what} isn't one that this program wrote");
            Ok(None)
        }
        row => row.map(Some),
    }
}
