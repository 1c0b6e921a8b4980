//! Questions to the books, on connections of their own beside the writer. Each is short: bounded rows, found by key, never by
//! offset, so that no snapshot holds the write-ahead log back.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use crate::sql::{Connection, OptionalExtension as _, Row, params};
use countersign_core::{
    AccountId, AccountKey, ApiToken, Autofill, Credits, PhoneNumber, SenderUsername, Timestamp, TokenClaim, TokenKind,
    VerificationRequest,
};

use super::access::StoredAccess;
use super::codec::{
    REQUEST_COLUMNS, RequestColumns, account_key, budget_of, damaged, low_balance_of, phone_column, phone_of,
    request_id, spending_of,
};
use super::load::load_request;
use super::prices;
use super::settings::account_place;
use crate::prices::PriceRecord;
use crate::types::{AccountAccess, AccountProfile, Lease, MessageRef, RequestRef, SenderProfile, StoreError};
use crate::vault::Vault;

/// Accounts whose messages an inbox looks for after a restart.
const MAX_INBOX_ACCOUNTS: i64 = 10_000;

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
                 FROM account WHERE bucket = ?1 AND account_id = ?2",
            )?;
            let Some(key) = place_of(connection, id)? else {
                return Ok(None);
            };
            let mut rows = statement.query(account_place(key))?;
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
        self.with(|connection| match place_of(connection, id)? {
            Some(account) => account_profile(connection, account),
            None => Ok(None),
        })
    }

    pub(crate) fn account_of_phone(&self, phone: PhoneNumber) -> Result<Option<AccountProfile>, StoreError> {
        self.with(|connection| {
            let mut best: Option<AccountProfile> = None;
            for account in places_of(connection, phone)? {
                let found = account_profile(connection, account)?;
                if found.as_ref().is_some_and(|found| found.closed_at.is_none()) {
                    return Ok(found);
                }
                best = best.into_iter().chain(found).max_by_key(|account| account.closed_at);
            }
            Ok(best)
        })
    }

    pub(crate) fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<AccountProfile>, StoreError> {
        let page = [after.map_or(0, AccountId::number), row_limit(limit)];
        self.with(|connection| {
            let mut accounts = Vec::new();
            if connection.is_sharded() {
                let mut statement = connection.prepare_cached(
                    "SELECT bucket, account_id FROM account_place WHERE account_id > ?1 ORDER BY account_id LIMIT ?2",
                )?;
                let mut rows = statement.query(page)?;
                while let Some(row) = rows.next()? {
                    accounts.extend(account_profile(connection, account_key(row.get(0)?, row.get(1)?)?)?);
                }
                return Ok(accounts);
            }
            let sql = format!("{PROFILE} WHERE account_id > ?1 ORDER BY account_id LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(page)?;
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
                 WHERE account_id = ?1 OR ?1 IS NULL ORDER BY username LIMIT 10000",
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
        self.with(|connection| {
            let sql = format!(
                "SELECT {REQUEST_COLUMNS} FROM request INDEXED BY request_wake \
                 WHERE bucket = ?1 AND {} AND (wake_at, account_id, created_at, random) > (?2, ?3, ?4, ?5) \
                 AND wake_at >= ?2 AND wake_at IS NOT NULL AND delivery = 4 AND accepted = 0 \
                 ORDER BY wake_at, account_id, created_at, random LIMIT ?6",
                owned_by(connection, 7)
            );
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
                let mut statement = connection.prepare_cached(&sql)?;
                // Again only where rows could not be read: a full page is what tells the caller to go on.
                while found.len() < limit {
                    let left = limit - found.len();
                    let [wake_at, account_id, created_at, random] = cursor;
                    let rows = statement.query_map(
                        params![
                            bucket,
                            wake_at,
                            account_id,
                            created_at,
                            random,
                            row_limit(left),
                            self.lease.0
                        ],
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
                 ORDER BY created_at DESC, random DESC LIMIT ?5) AS newest \
                 WHERE delivery IN (5, 6) ORDER BY created_at DESC, random DESC LIMIT ?4"
            )
        });
        self.with(|connection| {
            let (mut found, mut accounts_left) = (Vec::new(), MAX_INBOX_ACCOUNTS);
            for bucket in buckets(connection)? {
                let accounts: Vec<(i64, i64)> = connection
                    .prepare_cached(
                        "SELECT account_id, clock_offset_ms FROM account WHERE bucket = ?1 AND closed_at IS NULL LIMIT ?2",
                    )?
                    .query_map([bucket, accounts_left], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                for (account_id, clock_offset_ms) in accounts {
                    accounts_left -= 1;
                    let left = limit.saturating_sub(found.len());
                    let mut statement = connection.prepare_cached(&SQL)?;
                    let rows = statement.query_map(
                        params![
                            bucket,
                            account_id,
                            since.plus_millis(clock_offset_ms).millis(),
                            row_limit(left),
                            row_limit(left.saturating_mul(4))
                        ],
                        RequestColumns::read,
                    )?;
                    for columns in rows {
                        found.extend(readable(columns?.open(self.vault))?);
                    }
                    if found.len() >= limit {
                        return Ok(found);
                    }
                }
            }
            Ok(found)
        })
    }

    /// What is due of one account, whosever work it is.
    pub(crate) fn due_requests_of(
        &self,
        account: AccountKey,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRef>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT account_id, created_at, random FROM request INDEXED BY request_wake WHERE bucket = ?1 \
                 AND wake_at IS NOT NULL AND wake_at <= ?2 AND account_id = ?4 ORDER BY wake_at LIMIT ?3",
            )?;
            let bucket = i64::from(account.bucket.0);
            let mut rows = statement.query([bucket, now.millis(), row_limit(limit), account.id.number()])?;
            let mut due = Vec::new();
            while let Some(row) = rows.next()? {
                due.push(due_request(bucket, row, 0)?);
            }
            Ok(due)
        })
    }

    /// A node sees to its own, and to what is nobody's: who expects no more of a request than its end has given it to nobody. On
    /// `PostgreSQL` to what was made since a time: months before it aren't looked at.
    pub(crate) fn due_requests(
        &self,
        now: Timestamp,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRef>, StoreError> {
        self.with(|connection| {
            if connection.is_postgres() && !connection.is_sharded() {
                return self.due_in_all_buckets(connection, now, since, limit);
            }
            let narrowed = if connection.is_postgres() {
                "(owner = ?4 OR owner IS NULL) AND created_at >= ?5".to_owned()
            } else {
                format!("{} AND ?5 IS NOT NULL", owned_by(connection, 4))
            };
            let sql = format!(
                "SELECT account_id, created_at, random FROM request INDEXED BY request_wake \
                 WHERE bucket = ?1 AND wake_at IS NOT NULL AND wake_at <= ?2 AND {narrowed} ORDER BY wake_at LIMIT ?3"
            );
            let mut due = Vec::new();
            for bucket in buckets(connection)? {
                let mut statement = connection.prepare_cached(&sql)?;
                let left = row_limit(limit.saturating_sub(due.len()));
                let mut rows = statement.query([bucket, now.millis(), left, self.lease.0, since.millis()])?;
                while let Some(row) = rows.next()? {
                    due.push(due_request(bucket, row, 0)?);
                }
                if due.len() >= limit {
                    break;
                }
            }
            Ok(due)
        })
    }

    /// Four times a second on each node: one question instead of one a bucket.
    fn due_in_all_buckets(
        &self,
        connection: Connection<'_>,
        now: Timestamp,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRef>, StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT due.bucket, due.account_id, due.created_at, due.random FROM held_bucket AS held CROSS JOIN LATERAL \
             ((SELECT bucket, account_id, created_at, random FROM request WHERE bucket = held.bucket AND owner = ?3 \
             AND wake_at IS NOT NULL AND wake_at <= ?1 AND created_at >= ?4 ORDER BY wake_at LIMIT ?2) UNION ALL \
             (SELECT bucket, account_id, created_at, random FROM request WHERE bucket = held.bucket AND owner IS NULL \
             AND wake_at IS NOT NULL AND wake_at <= ?1 AND created_at >= ?4 ORDER BY wake_at LIMIT ?2)) AS due LIMIT ?2",
        )?;
        let mut rows = statement.query([now.millis(), row_limit(limit), self.lease.0, since.millis()])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(due_request(row.get(0)?, row, 1)?);
        }
        Ok(due)
    }

    pub(crate) fn due_lapses(&self, now: Timestamp, limit: usize) -> Result<Vec<AccountKey>, StoreError> {
        self.with(|connection| {
            let mut due = Vec::new();
            for bucket in buckets(connection)? {
                let mut statement = connection.prepare_cached(
                    "SELECT account_id FROM account WHERE bucket = ?1 AND next_lapse_at IS NOT NULL \
                     AND next_lapse_at - clock_offset_ms <= ?2 LIMIT ?3",
                )?;
                let left = row_limit(limit.saturating_sub(due.len()));
                let mut rows = statement.query([bucket, now.millis(), left])?;
                while let Some(row) = rows.next()? {
                    due.push(account_key(bucket, row.get(0)?)?);
                }
                if due.len() >= limit {
                    break;
                }
            }
            Ok(due)
        })
    }
}

/// Reads account, time and random part from that column on.
fn due_request(bucket: i64, row: Row<'_>, first: usize) -> Result<RequestRef, StoreError> {
    Ok(RequestRef {
        account: account_key(bucket, row.get(first)?)?,
        id: request_id(row.get(first + 1)?, row.get(first + 2)?),
    })
}

/// What narrows a question to the work that is this node's, whose lease is the parameter of that number. SQLite's only node has all of it.
pub(crate) fn owned_by(connection: Connection<'_>, lease: usize) -> String {
    if connection.is_postgres() {
        format!("owner = ?{lease}")
    } else {
        format!("?{lease} IS NOT NULL")
    }
}

/// Where an account is.
fn place_of(connection: Connection<'_>, id: AccountId) -> Result<Option<AccountKey>, StoreError> {
    let sql = if connection.is_postgres() {
        "SELECT bucket FROM account_place WHERE account_id = ?1"
    } else {
        "SELECT bucket FROM account WHERE account_id = ?1"
    };
    let bucket: Option<i64> = connection.query_row(sql, [id.number()], |row| row.get(0)).optional()?;
    bucket.map(|bucket| account_key(bucket, id.number())).transpose()
}

/// Where the accounts with a phone number are: the open one first.
pub(crate) fn places_of(connection: Connection<'_>, phone: PhoneNumber) -> Result<Vec<AccountKey>, StoreError> {
    let sql = if connection.is_postgres() {
        "SELECT bucket, account_id FROM account_place WHERE phone = ?1 ORDER BY open DESC LIMIT 1000"
    } else {
        "SELECT bucket, account_id FROM account WHERE phone = ?1 ORDER BY closed_at IS NOT NULL, closed_at DESC LIMIT 1"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([phone_column(phone)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(account_key(row.get(0)?, row.get(1)?)?);
    }
    Ok(found)
}

/// Buckets that hold an account; at most 256.
pub(crate) fn buckets(connection: Connection<'_>) -> Result<Vec<i64>, StoreError> {
    let sql = if connection.is_postgres() {
        "SELECT bucket FROM held_bucket"
    } else {
        // A loose scan: one descent a bucket instead of a row an account.
        "WITH RECURSIVE held(bucket) AS (SELECT min(bucket) FROM account UNION ALL \
         SELECT (SELECT min(bucket) FROM account WHERE bucket > held.bucket) FROM held WHERE held.bucket IS NOT NULL) \
         SELECT bucket FROM held WHERE bucket IS NOT NULL"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let buckets: BTreeSet<i64> = statement
        .query_map(params![], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(buckets.into_iter().collect())
}

pub(crate) const PROFILE: &str = "SELECT bucket, account_id, name, phone, balance, held, allow_list, clock_offset_ms, created_at, closed_at, entries, low_balance_below, low_balance_url, autofill_domain, autofill_android_hash, daily_budget, daily_budget_url, spent_day, spent, budget_told FROM account";

/// One account.
pub(crate) fn account_profile(
    connection: Connection<'_>,
    account: AccountKey,
) -> Result<Option<AccountProfile>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{PROFILE} WHERE bucket = ?1 AND account_id = ?2"))?;
    let mut rows = statement.query(account_place(account))?;
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
        budget: budget_of(row.get(15)?, row.get(16)?),
        spending: spending_of(row, 17)?,
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
