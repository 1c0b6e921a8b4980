//! Delivery reports inside the writer's transaction: new ones, what became of attempts, and lost ones that go again by hand.
//! Of a request's reports only the first open one has a due time: so order is kept in the books.

use std::sync::Arc;

use crate::sql::connection::Value;
use crate::sql::{Connection, OptionalExtension, params};
use countersign_core::{CallbackUrl, DeliveryReport, Timestamp, TokenKind};

use super::codec::{REPORT_LOST, REPORT_PENDING, report_kind_number, report_state_number, request_place, token_claim};
use super::report_reads::report_profile;
use crate::batch::Batch;
use crate::reports::{
    DueReport, MAX_KEPT_RESPONSE_BYTES, ReportAttempt, ReportKey, ReportKind, ReportOutcome, ReportProfile, ReportState,
};
use crate::types::{Lease, RequestRef, StoreError};
use crate::vault::{Purpose, Vault};

/// Writes a batch's new reports; answers those that are due at once, to be handed over after the commit.
pub(crate) fn write_new(
    connection: Connection<'_>,
    vault: &Vault,
    batch: &Batch,
) -> Result<Vec<DueReport>, StoreError> {
    let mut due = Vec::new();
    for (kind, reports) in [
        (ReportKind::Delivery, &batch.reports),
        (ReportKind::LowBalance, &batch.low_balances),
        (ReportKind::DailyBudget, &batch.budgets),
    ] {
        for (of, report) in reports {
            due.extend(write_report(connection, vault, *of, kind, report, batch.lease)?);
        }
    }
    Ok(due)
}

/// Writes one report; answers it where it is due at once.
fn write_report(
    connection: Connection<'_>,
    vault: &Vault,
    request: RequestRef,
    kind: ReportKind,
    report: &DeliveryReport,
    lease: Lease,
) -> Result<Option<DueReport>, StoreError> {
    let place = request_place(request);
    let [bucket, account_id, created_at, random] = place;
    let host = report.callback_url.destination();
    // Behind a pending report of its request it has no due time until that one is done.
    let is_first = !has_pending(connection, place)?;
    let sql = if connection.is_postgres() {
        "INSERT INTO report (bucket, account_id, created_at, random, number, kind, state, attempts, tries, due_at, \
         made_at, host, callback_url, body_sealed, test, generation, owner) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    } else {
        "INSERT INTO report (bucket, account_id, created_at, random, number, kind, state, attempts, tries, due_at, \
         made_at, host, callback_url, body_sealed, test, generation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    };
    let sealed = vault.seal(Purpose::Report, &place, &report.body)?;
    let is_test = report.token.kind == TokenKind::Test;
    let due_at = is_first.then_some(report.created_at.millis());
    let (kind, state, made_at) = (report_kind_number(kind), REPORT_PENDING, report.created_at.millis());
    let url = report.callback_url.as_str();
    let values = params![
        bucket,
        account_id,
        created_at,
        random,
        report.number,
        kind,
        state,
        due_at,
        made_at,
        host,
        url,
        sealed,
        is_test,
        report.token.generation,
        lease.0,
    ];
    connection.execute(sql, with_owner(connection, values))?;
    Ok(is_first.then(|| DueReport {
        key: ReportKey {
            request,
            number: report.number,
        },
        host: Arc::from(host),
        callback_url: report.callback_url.clone(),
        body: report.body.clone(),
        token: report.token,
        attempts: 0,
        due_at: report.created_at,
        lease,
    }))
}

/// Of values whose last says whose a report is to send, those that this database's table takes: SQLite's has one node.
fn with_owner<'v>(connection: Connection<'_>, values: &'v [&'v dyn Value]) -> &'v [&'v dyn Value] {
    if connection.is_postgres() {
        values
    } else {
        &values[..values.len().saturating_sub(1)]
    }
}

fn has_pending(connection: Connection<'_>, place: [i64; 4]) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM report WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND state = 0",
    )?;
    Ok(statement.exists(place)?)
}

/// Notes an attempt; once its report is done, answers the request's next one, which is due from now on.
pub(crate) fn record(
    connection: Connection<'_>,
    vault: &Vault,
    key: ReportKey,
    attempt: &ReportAttempt,
    outcome: ReportOutcome,
    lease: Lease,
) -> Result<Option<DueReport>, StoreError> {
    let [bucket, account_id, created_at, random] = request_place(key.request);
    let (state, due_at) = match outcome {
        ReportOutcome::Acknowledged => (ReportState::Acknowledged, None),
        ReportOutcome::Retry { due_at } | ReportOutcome::Held { due_at } => {
            (ReportState::Pending, Some(due_at.millis()))
        }
        ReportOutcome::Lost => (ReportState::Lost, None),
    };
    let is_held = matches!(outcome, ReportOutcome::Held { .. });
    let finished_at = due_at.is_none().then_some(attempt.at.millis());
    let adds_a_row = !(is_held && held_again(connection, key, attempt.at)?);
    // One that isn't due is not under way either: what is said of it is old.
    let tries: Option<u32> = connection
        .prepare_cached(
            "UPDATE report SET state = ?6, due_at = ?7, finished_at = ?8, attempts = attempts + ?9, tries = tries + ?10 \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5 AND state = 0 \
             AND due_at IS NOT NULL RETURNING tries",
        )?
        .query_row(
            params![
                bucket,
                account_id,
                created_at,
                random,
                key.number,
                report_state_number(state),
                due_at,
                finished_at,
                !is_held,
                adds_a_row
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(tries) = tries else { return Ok(None) };
    if adds_a_row {
        write_attempt(connection, vault, key, tries, attempt, is_held)?;
    }
    match finished_at {
        Some(at) => release_next(connection, vault, key.request, at, lease),
        None => Ok(None),
    }
}

/// Counts on where the last attempt of a pending report was held back, too.
fn held_again(connection: Connection<'_>, key: ReportKey, at: Timestamp) -> Result<bool, StoreError> {
    let [bucket, account_id, created_at, random] = request_place(key.request);
    let changed = connection
        .prepare_cached(
            "UPDATE report_attempt SET held = held + 1, at = ?6 \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5 AND held > 0 \
             AND try = (SELECT tries FROM report WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 \
             AND random = ?4 AND number = ?5 AND state = 0 AND due_at IS NOT NULL)",
        )?
        .execute(params![bucket, account_id, created_at, random, key.number, at.millis()])?;
    Ok(changed == 1)
}

/// What a receiver answered, as it is kept with the attempt of that number; `None` for an empty answer.
pub(crate) fn seal_response(
    vault: &Vault,
    key: ReportKey,
    number: u32,
    attempt: &ReportAttempt,
) -> Result<Option<Vec<u8>>, StoreError> {
    let [bucket, account_id, created_at, random] = request_place(key.request);
    let place = [bucket, account_id, created_at, random, key.number.into(), number.into()];
    let kept = attempt
        .response
        .get(..MAX_KEPT_RESPONSE_BYTES)
        .unwrap_or(&attempt.response);
    match kept {
        [] => Ok(None),
        kept => vault.seal(Purpose::ReportResponse, &place, kept).map(Some),
    }
}

fn write_attempt(
    connection: Connection<'_>,
    vault: &Vault,
    key: ReportKey,
    number: u32,
    attempt: &ReportAttempt,
    is_held: bool,
) -> Result<(), StoreError> {
    let [bucket, account_id, created_at, random] = request_place(key.request);
    let sealed = seal_response(vault, key, number, attempt)?;
    connection
        .prepare_cached(
            "INSERT INTO report_attempt (bucket, account_id, created_at, random, number, try, at, duration_ms, status, \
             error, response_sealed, held) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            bucket,
            account_id,
            created_at,
            random,
            key.number,
            number,
            attempt.at.millis(),
            attempt.duration_ms,
            attempt.status,
            attempt.error,
            sealed,
            is_held,
        ])?;
    Ok(())
}

/// Makes the request's first open report due.
fn release_next(
    connection: Connection<'_>,
    vault: &Vault,
    request: RequestRef,
    at: i64,
    lease: Lease,
) -> Result<Option<DueReport>, StoreError> {
    let place = request_place(request);
    let [bucket, account_id, created_at, random] = place;
    let next = connection
        .prepare_cached(
            "SELECT number, attempts, host, callback_url, body_sealed, test, generation FROM report \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND state = 0 \
             ORDER BY number LIMIT 1",
        )?
        .query_row(place, |row| {
            let texts: (String, String) = (row.get(2)?, row.get(3)?);
            Ok((
                row.get::<u16>(0)?,
                row.get::<u16>(1)?,
                texts,
                row.get::<Vec<u8>>(4)?,
                token_claim(row.get(5)?, row.get(6)?),
            ))
        })
        .optional()?;
    let Some((number, attempts, (host, callback_url), sealed, token)) = next else {
        return Ok(None);
    };
    let sql = if connection.is_postgres() {
        "UPDATE report SET due_at = ?6, owner = ?7 \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5"
    } else {
        "UPDATE report SET due_at = ?6 \
         WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5"
    };
    let values = params![bucket, account_id, created_at, random, number, at, lease.0];
    connection.execute(sql, with_owner(connection, values))?;
    // A body that doesn't open is this report's trouble, not the batch's: whoever reads the lane says so.
    let body = vault.open(Purpose::Report, &place, &sealed).ok();
    Ok(body.map(|body| DueReport {
        key: ReportKey { request, number },
        host: Arc::from(host),
        callback_url: CallbackUrl::from_stored(callback_url),
        body,
        token,
        attempts,
        due_at: Timestamp::from_millis(at),
        lease,
    }))
}

/// Lets a lost report go again, with all its retries. Answers it, and the report of its request that is due by that, if any.
pub(crate) fn redeliver(
    connection: Connection<'_>,
    vault: &Vault,
    key: ReportKey,
    now: Timestamp,
    lease: Lease,
) -> Result<(ReportProfile, Option<DueReport>), StoreError> {
    let place = request_place(key.request);
    let [bucket, account_id, created_at, random] = place;
    let one_is_under_way = has_pending(connection, place)?;
    let changed = connection
        .prepare_cached(
            "UPDATE report SET state = ?6, attempts = 0, finished_at = NULL \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4 AND number = ?5 AND state = ?7",
        )?
        .execute(params![
            bucket,
            account_id,
            created_at,
            random,
            key.number,
            REPORT_PENDING,
            REPORT_LOST
        ])?;
    if changed == 0 {
        return Err(StoreError::NotFound("lost delivery report"));
    }
    let due = if one_is_under_way {
        None
    } else {
        release_next(connection, vault, key.request, now.millis(), lease)?
    };
    let profile = report_profile(connection, key)?.ok_or(StoreError::NotFound("delivery report"))?;
    Ok((profile, due))
}
