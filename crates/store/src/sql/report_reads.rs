//! Questions about delivery reports: which lanes have work, what is due in one, and what an owner sees. Each reads bounded
//! rows by an index and goes on from a key, so that a million reports of one dead destination cost the others nothing.

use std::sync::Arc;

use crate::sql::{Connection, OptionalExtension, Row, params};
use countersign_core::{AccountKey, CallbackUrl, Timestamp};

use super::codec::{account_key, damaged, report_kind_of, report_state_of, request_id, request_place, token_claim};
use super::read::{Reader, buckets, owned_by, readable, row_limit};
use crate::reports::{
    DuePlace, DueReport, KeptAttempt, ReportAttempt, ReportDetail, ReportFilter, ReportKey, ReportLane, ReportProfile,
};
use crate::types::{RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// Most attempts that are shown of one report.
const SHOWN_ATTEMPTS: i64 = 100;

impl Reader<'_> {
    pub(crate) fn report_accounts(
        &self,
        after: Option<AccountKey>,
        limit: usize,
    ) -> Result<Vec<AccountKey>, StoreError> {
        self.with(|connection| {
            let mut cursor = after.map_or([-1, 0], |account| [i64::from(account.bucket.0), account.id.number()]);
            let mut found = Vec::new();
            while found.len() < limit {
                let Some(next) = self.next_report_account(connection, cursor)? else {
                    break;
                };
                found.push(account_key(next[0], next[1])?);
                cursor = next;
            }
            Ok(found)
        })
    }

    /// One descent an account: the next key that is greater.
    fn next_report_account(
        &self,
        connection: Connection<'_>,
        [bucket, account_id]: [i64; 2],
    ) -> Result<Option<[i64; 2]>, StoreError> {
        if connection.is_sharded() {
            for next in buckets(connection)?.into_iter().filter(|next| *next >= bucket) {
                let after = if next == bucket { account_id } else { i64::MIN };
                let found = connection
                    .query_row(
                        "SELECT account_id FROM report WHERE due_at IS NOT NULL AND bucket = ?1 AND owner = ?2 \
                         AND account_id > ?3 ORDER BY account_id LIMIT 1",
                        [next, self.lease.0, after],
                        |row| row.get(0),
                    )
                    .optional()?;
                if let Some(found) = found {
                    return Ok(Some([next, found]));
                }
            }
            return Ok(None);
        }
        let sql = if connection.is_postgres() {
            "SELECT next.bucket, next.account_id FROM held_bucket AS held CROSS JOIN LATERAL \
             (SELECT bucket, account_id FROM report WHERE due_at IS NOT NULL AND bucket = held.bucket AND owner = ?3 \
             AND (held.bucket > ?1 OR account_id > ?2) ORDER BY account_id LIMIT 1) AS next \
             WHERE held.bucket >= ?1 ORDER BY held.bucket LIMIT 1"
        } else {
            "SELECT bucket, account_id FROM report INDEXED BY report_lane \
             WHERE due_at IS NOT NULL AND (bucket, account_id) > (?1, ?2) AND ?3 IS NOT NULL \
             ORDER BY bucket, account_id LIMIT 1"
        };
        let next = connection.query_row(sql, [bucket, account_id, self.lease.0], |row| {
            Ok([row.get(0)?, row.get(1)?])
        });
        Ok(next.optional()?)
    }

    pub(crate) fn report_lanes(
        &self,
        account: AccountKey,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Result<Vec<(ReportLane, Timestamp)>, StoreError> {
        self.with(|connection| {
            // One descent a lane: its first row is the one that is due first.
            let sql = |is_after: &str| {
                format!(
                    "SELECT host, due_at FROM report INDEXED BY report_lane WHERE due_at IS NOT NULL AND bucket = ?1 \
                     AND {} AND account_id = ?2 AND host {is_after} ?3 ORDER BY host, due_at LIMIT 1",
                    owned_by(connection, 4)
                )
            };
            let mut first = connection.prepare_cached(&sql(">="))?;
            let mut next = connection.prepare_cached(&sql(">"))?;
            let mut cursor = after;
            let mut found = Vec::new();
            while found.len() < limit {
                let (statement, host) = match &cursor {
                    Some(host) => (&mut next, &**host),
                    None => (&mut first, ""),
                };
                let row: Option<(String, i64)> = statement
                    .query_row(
                        params![account.bucket.0, account.id.number(), host, self.lease.0],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                let Some((host, due_at)) = row else { break };
                let host: Arc<str> = Arc::from(host);
                cursor = Some(Arc::clone(&host));
                found.push((ReportLane { account, host }, Timestamp::from_millis(due_at)));
            }
            Ok(found)
        })
    }

    pub(crate) fn due_reports(
        &self,
        lane: &ReportLane,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: usize,
    ) -> Result<Vec<DueReport>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT bucket, account_id, created_at, random, number, due_at, attempts, callback_url, body_sealed, test, \
                 generation \
                 FROM report INDEXED BY report_lane WHERE due_at IS NOT NULL AND bucket = ?1 AND {} AND account_id = ?2 \
                 AND host = ?3 AND due_at <= ?4 AND (due_at, created_at, random, number) > (?5, ?6, ?7, ?8) \
                 ORDER BY due_at, created_at, random, number LIMIT ?9",
                owned_by(connection, 10)
            ))?;
            let mut cursor = after.map_or([i64::MIN; 4], place_in_lane);
            let mut found = Vec::new();
            // Again only where rows could not be read: a short page is what tells the caller that there are no more.
            while found.len() < limit {
                let left = limit - found.len();
                let [due_at, created_at, random, number] = cursor;
                let mut rows = statement.query(params![
                    lane.account.bucket.0,
                    lane.account.id.number(),
                    lane.host,
                    now.millis(),
                    due_at,
                    created_at,
                    random,
                    number,
                    row_limit(left),
                    self.lease.0
                ])?;
                let mut rows_read = 0;
                while let Some(row) = rows.next()? {
                    rows_read += 1;
                    cursor = [row.get(5)?, row.get(2)?, row.get(3)?, row.get(4)?];
                    found.extend(readable(due_from_row(*self, lane, row))?);
                }
                if rows_read < left {
                    break;
                }
            }
            Ok(found)
        })
    }

    pub(crate) fn reports(
        &self,
        account: AccountKey,
        filter: ReportFilter,
        before: Option<ReportKey>,
        limit: usize,
    ) -> Result<Vec<ReportProfile>, StoreError> {
        // `state <> 1` is what the index covers; SQLite must be told in its own words.
        let (index, condition) = match filter {
            ReportFilter::All => ("", ""),
            ReportFilter::Pending => ("INDEXED BY report_open", "AND state <> 1 AND state = 0"),
            ReportFilter::Lost => ("INDEXED BY report_open", "AND state <> 1 AND state = 2"),
        };
        let sql = format!(
            "SELECT {PROFILE} FROM report {index} WHERE bucket = ?1 AND account_id = ?2 {condition} \
             AND (created_at, random, number) < (?3, ?4, ?5) \
             ORDER BY created_at DESC, random DESC, number DESC LIMIT ?6"
        );
        let [created_at, random, number] = before.map_or([i64::MAX; 3], |key| {
            let [_, _, created_at, random] = request_place(key.request);
            [created_at, random, key.number.into()]
        });
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![
                account.bucket.0,
                account.id.number(),
                created_at,
                random,
                number,
                row_limit(limit)
            ])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(profile_from_row(row)?);
            }
            Ok(found)
        })
    }

    pub(crate) fn report(&self, key: ReportKey) -> Result<Option<ReportDetail>, StoreError> {
        let place = request_place(key.request);
        let [bucket, account_id, created_at, random] = place;
        self.with(|connection| {
            // One snapshot for the report and its attempts.
            let snapshot = connection.snapshot()?;
            let connection = snapshot.connection();
            let Some(profile) = report_profile(connection, key)? else {
                return Ok(None);
            };
            let sealed: Vec<u8> = connection
                .prepare_cached(
                    "SELECT body_sealed FROM report \
                     WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5",
                )?
                .query_row(params![bucket, account_id, created_at, random, key.number], |row| {
                    row.get(0)
                })?;
            let body = self.vault.open(Purpose::Report, &place, &sealed)?;
            let mut statement = connection.prepare_cached(
                "SELECT try, at, duration_ms, status, error, response_sealed, held FROM report_attempt \
                 WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5 \
                 ORDER BY try DESC LIMIT ?6",
            )?;
            let mut rows = statement.query(params![
                bucket,
                account_id,
                created_at,
                random,
                key.number,
                SHOWN_ATTEMPTS
            ])?;
            let mut attempts = Vec::new();
            while let Some(row) = rows.next()? {
                let place = [bucket, account_id, created_at, random, key.number.into(), row.get(0)?];
                attempts.push(attempt_from_row(self.vault, &place, row)?);
            }
            attempts.reverse();
            Ok(Some(ReportDetail {
                profile,
                body,
                attempts,
            }))
        })
    }
}

fn place_in_lane(place: DuePlace) -> [i64; 4] {
    let [_, _, created_at, random] = request_place(place.key.request);
    [place.due_at.millis(), created_at, random, place.key.number.into()]
}

fn due_from_row(reader: Reader<'_>, lane: &ReportLane, row: Row<'_>) -> Result<DueReport, StoreError> {
    let place: [i64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
    let request = RequestRef {
        account: lane.account,
        id: request_id(place[2], place[3]),
    };
    Ok(DueReport {
        key: ReportKey {
            request,
            number: row.get(4)?,
        },
        host: Arc::clone(&lane.host),
        callback_url: CallbackUrl::from_stored(row.get(7)?),
        body: reader.vault.open(Purpose::Report, &place, &row.get::<Vec<u8>>(8)?)?,
        token: token_claim(row.get(9)?, row.get(10)?),
        attempts: row.get(6)?,
        due_at: Timestamp::from_millis(row.get(5)?),
        lease: reader.lease,
    })
}

/// What [`profile_from_row`] reads.
const PROFILE: &str =
    "bucket, account_id, created_at, random, number, kind, state, callback_url, attempts, due_at, made_at, finished_at";

/// One report's line in the list.
pub(crate) fn report_profile(connection: Connection<'_>, key: ReportKey) -> Result<Option<ReportProfile>, StoreError> {
    let [bucket, account_id, created_at, random] = request_place(key.request);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {PROFILE} FROM report \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5"
    ))?;
    let mut rows = statement.query(params![bucket, account_id, created_at, random, key.number])?;
    rows.next()?.map(profile_from_row).transpose()
}

fn profile_from_row(row: Row<'_>) -> Result<ReportProfile, StoreError> {
    let request = RequestRef {
        account: account_key(row.get(0)?, row.get(1)?)?,
        id: request_id(row.get(2)?, row.get(3)?),
    };
    Ok(ReportProfile {
        key: ReportKey {
            request,
            number: row.get(4)?,
        },
        kind: report_kind_of(row.get(5)?)?,
        state: report_state_of(row.get(6)?)?,
        callback_url: CallbackUrl::from_stored(row.get(7)?),
        attempts: row.get(8)?,
        due_at: row.get::<Option<i64>>(9)?.map(Timestamp::from_millis),
        made_at: Timestamp::from_millis(row.get(10)?),
        finished_at: row.get::<Option<i64>>(11)?.map(Timestamp::from_millis),
    })
}

fn attempt_from_row(vault: &Vault, place: &[i64; 6], row: Row<'_>) -> Result<KeptAttempt, StoreError> {
    let response = match row.get::<Option<Vec<u8>>>(5)? {
        Some(sealed) => vault.open(Purpose::ReportResponse, place, &sealed)?,
        None => Vec::new(),
    };
    let held: i64 = row.get(6)?;
    Ok(KeptAttempt {
        attempt: ReportAttempt {
            at: Timestamp::from_millis(row.get(1)?),
            duration_ms: row.get(2)?,
            status: row.get(3)?,
            error: row.get(4)?,
            response,
        },
        held: u32::try_from(held).map_err(|_| damaged("an attempt"))?,
    })
}
