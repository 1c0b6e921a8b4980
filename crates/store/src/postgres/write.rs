//! A batch's changes, written in bulk: one statement a table, all sent before the first is answered, the last of them COMMIT.
//!
//! Rows are written by `INSERT … ON CONFLICT DO UPDATE` from arrays, those that are there already too: an `UPDATE … FROM unnest(…)` that is
//! planned while a month's partition is empty becomes a scan of all of it, and stays one when the month is full.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use countersign_core::{AdjustmentReason, Detail, LegName, SenderUsername, Timestamp};
use foldhash::HashSet;

use super::Shared;
use super::arrays::{Arrays, Ready};
use super::load::Loaded;
use super::reports::ReportRows;
use super::session::{COMMIT, Session, SessionError};
use super::statements::{
    PUT_ANSWERS, PUT_ATTEMPTS, PUT_ENTRIES, PUT_EVENTS, PUT_FLOOD, PUT_LIVE_CODES, PUT_PROGRESS, PUT_REPORTS,
    PUT_REQUESTS, PUT_SKETCHES, PUT_SUMS, SET_ACCOUNTS,
};
use super::usage::UsageRows;
use crate::batch::{Batch, Touched};
use crate::sql::codec::{RequestColumns, phone_column, request_place, timeline_numbers};
use crate::sql::{Connection, orders};
use crate::types::{Lease, RequestRef, StoreError};
use crate::vault::Purpose;

/// What marks a batch.
pub(super) struct Marker {
    pub(super) bucket: u8,
    pub(super) writer: i64,
    pub(super) number: i64,
}

/// Why a batch was not surely committed.
pub(super) enum Failed {
    /// It surely was not.
    Before(StoreError),
    /// COMMIT was sent and has no answer.
    Unknown,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Before(error)
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        Self::Before(error.into())
    }
}

/// Everything that is sent in the last round trip.
struct Pipeline<'s> {
    session: &'s Session,
    sharded: bool,
    ready: Vec<Ready>,
}

impl Pipeline<'_> {
    fn add(&mut self, sql: &str, values: Arrays) -> Result<(), StoreError> {
        let statement = self.session.prepare(sql)?;
        self.ready.push(Ready { statement, values });
        Ok(())
    }
}

/// Writes everything that a batch changed, with its marker, and commits.
pub(super) fn write_and_commit(
    shared: &Shared,
    session: &Session,
    batch: &Batch,
    loaded: &Loaded,
    mut usage: UsageRows,
    mut reports: ReportRows,
    marker: &Marker,
) -> Result<(), Failed> {
    let connection = Connection::Postgres(session);
    move_clocks(connection, batch)?;
    write_rare_rows(connection, batch)?;
    let mut pipeline = Pipeline {
        session,
        sharded: shared.sharded,
        ready: Vec::new(),
    };
    put_requests(&mut pipeline, shared, batch)?;
    put_entries(&mut pipeline, batch)?;
    put_accounts(&mut pipeline, batch, loaded, &usage, marker.writer)?;
    put_usage(&mut pipeline, &mut usage)?;
    put_flood(&mut pipeline, batch)?;
    put_reports(&mut pipeline, batch.lease, &mut reports)?;
    put_events(&mut pipeline, batch)?;
    put_live_codes(&mut pipeline, batch)?;
    put_answers(&mut pipeline, shared, batch)?;
    let mut values = Arrays::default();
    values.put_one(i16::from(marker.bucket));
    values.put_one(marker.writer);
    values.put_one(marker.number);
    values.put_one(batch.lease.0);
    pipeline.add(
        "UPDATE batch_marker SET number = $3, epoch = $4 WHERE bucket = $1 AND writer = $2",
        values,
    )?;
    commit(&pipeline)
}

/// Sends all statements and COMMIT, and waits for their answers.
fn commit(pipeline: &Pipeline<'_>) -> Result<(), Failed> {
    let client = pipeline.session.client();
    // One that can't even be sent fails at its first poll: then COMMIT must not be sent behind the others.
    let unsent = Cell::new(false);
    let answered = pipeline.session.wait(async {
        // Polled in order, so they are sent in order.
        let sent = pipeline.ready.iter().map(|ready| async {
            let answer = ready.execute(client).await;
            unsent.set(unsent.get() || answer.is_err());
            answer
        });
        let mut all = pin!(futures_util::future::join_all(sent));
        let early = poll_fn(|context| Poll::Ready(all.as_mut().poll(context))).await;
        let commit = async {
            if unsent.get() {
                return Ok(());
            }
            client.batch_execute(COMMIT).await
        };
        let (answers, committed) = match early {
            Poll::Ready(answers) => (answers, commit.await),
            Poll::Pending => futures_util::future::join(all, commit).await,
        };
        Ok((answers, committed))
    });
    // Otherwise all was sent, perhaps; nothing is known.
    let Ok((answers, committed)) = answered else {
        return Err(Failed::Unknown);
    };
    for answer in answers.into_iter().map(|answer| answer.map(drop)).chain([committed]) {
        match answer.map_err(SessionError::from) {
            Ok(()) => {}
            Err(error) if error.is_unsent() => {
                pipeline.session.give_up();
                return Err(Failed::Before(StoreError::Database(error.to_string())));
            }
            // The server refused a statement: then it refused COMMIT as well.
            Err(error) if !error.ends_connection() => return Err(Failed::Before(error.into())),
            Err(_) => {
                pipeline.session.give_up();
                return Err(Failed::Unknown);
            }
        }
    }
    Ok(())
}

/// Rows that wait for a time move with their account's clock, before new rows join them.
fn move_clocks(connection: Connection<'_>, batch: &Batch) -> Result<(), StoreError> {
    for (account, moved_ms) in &batch.clocks_moved {
        connection.execute(
            "UPDATE request SET wake_at = wake_at - ?3 WHERE bucket = ?1 AND wake_at IS NOT NULL AND account_id = ?2",
            [i64::from(account.bucket.0), account.id.number(), *moved_ms],
        )?;
    }
    Ok(())
}

fn write_rare_rows(connection: Connection<'_>, batch: &Batch) -> Result<(), StoreError> {
    for purchase in batch.purchases.values() {
        crate::sql::orders::write_purchase(connection, purchase)?;
    }
    for order in batch.orders.values() {
        orders::write_decided(connection, order)?;
    }
    Ok(())
}

fn put_requests(pipeline: &mut Pipeline<'_>, shared: &Shared, batch: &Batch) -> Result<(), StoreError> {
    let with_work: HashSet<RequestRef> = batch
        .committed
        .iter()
        .filter(|committed| committed.work.is_some())
        .map(|committed| RequestRef {
            account: committed.request.account,
            id: committed.request.id,
        })
        .collect();
    let mut changed: Vec<&Touched<_>> = batch
        .requests
        .values()
        .flatten()
        .filter(|touched| touched.changed)
        .collect();
    // In key order: new rows are appended one behind the other, and no two lanes lock rows crosswise.
    changed.sort_unstable_by_key(|touched| (touched.row.account, touched.row.id));
    let (mut whole, mut progress) = (Vec::new(), Vec::new());
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
        let with_message = !stored || *message_changed;
        let mut columns = RequestColumns::of(row, offset_ms, &shared.vault, with_message)?;
        if !with_message && columns.code_is_gone {
            columns.code_sealed = Some(Vec::new());
        }
        let reference = RequestRef {
            account: row.account,
            id: row.id,
        };
        let owner = with_work.contains(&reference).then_some(batch.lease.0);
        if with_message { &mut whole } else { &mut progress }.push((columns, owner));
    }
    for (rows, sql) in [(whole, &PUT_REQUESTS), (progress, &PUT_PROGRESS)] {
        if !rows.is_empty() {
            let values = request_arrays(pipeline, rows);
            pipeline.add(sql.of(pipeline.sharded), values)?;
        }
    }
    Ok(())
}

fn request_arrays(pipeline: &Pipeline<'_>, mut rows: Vec<(RequestColumns, Option<i64>)>) -> Arrays {
    let small = |number: i64| i16::try_from(number).unwrap_or_default();
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &rows, |(c, _)| c.place[0]);
    for part in [1, 2, 3] {
        arrays.put(&rows, |(c, _)| c.place[part]);
    }
    arrays.put(&rows, |(c, _)| c.phone);
    arrays.put(&rows, |(c, _)| small(c.delivery));
    arrays.put(&rows, |(c, _)| c.delivery_at);
    arrays.put(&rows, |(c, _)| c.fee);
    arrays.put(&rows, |(c, _)| i16::from(c.refunded));
    arrays.put(&rows, |(c, _)| small(c.verification));
    arrays.put(&rows, |(c, _)| c.verification_at);
    arrays.put(&rows, |(c, _)| i16::from(c.wrong_attempts));
    arrays.put(&rows, |(c, _)| i32::from(c.events));
    arrays.put(&rows, |(c, _)| c.wake_at);
    arrays.put(&rows, |(c, _)| c.accepted.map(i16::from));
    arrays.take(&mut rows, |(c, _)| c.entered_sealed.take());
    arrays.put(&rows, |(c, _)| i16::from(c.test));
    arrays.put(&rows, |(c, _)| c.leg.map(i16::from));
    arrays.put(&rows, |(c, _)| c.leg_at);
    arrays.put(&rows, |(c, _)| c.open_legs.map(i16::from));
    arrays.put(&rows, |(_, owner)| *owner);
    arrays.put(&rows, |(c, _)| c.generation.cast_signed());
    arrays.take(&mut rows, |(c, _)| c.code_sealed.take());
    arrays.put(&rows, |(c, _)| c.code_origin.map(small));
    arrays.put(&rows, |(c, _)| c.sent_at);
    arrays.put(&rows, |(c, _)| c.expires_at);
    arrays.take(&mut rows, |(c, _)| c.sender.take());
    arrays.take(&mut rows, |(c, _)| c.callback_url.take());
    arrays.take(&mut rows, |(c, _)| c.payload.take());
    arrays.take(&mut rows, |(c, _)| c.plan.take());
    arrays.take(&mut rows, |(c, _)| c.locale.take());
    arrays.take(&mut rows, |(c, _)| c.email_sealed.take());
    arrays.take(&mut rows, |(c, _)| c.used_sealed.take());
    arrays
}

fn put_entries(pipeline: &mut Pipeline<'_>, batch: &Batch) -> Result<(), StoreError> {
    let entries = &batch.entries;
    if entries.is_empty() {
        return Ok(());
    }
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, entries, |entry| i64::from(entry.account.bucket.0));
    arrays.put(entries, |entry| entry.account.id.number());
    arrays.put(entries, |entry| entry.number.cast_signed());
    arrays.put(entries, |entry| i16::from(entry.kind.number()));
    arrays.put(entries, |entry| entry.amount.micros());
    arrays.put(entries, |entry| entry.balance_after.micros());
    arrays.put(entries, |entry| entry.at.millis());
    arrays.put(entries, |entry| {
        entry.request.map(|request| request.created_at().millis())
    });
    arrays.put(entries, |entry| {
        entry.request.map(|request| request.random().cast_signed())
    });
    arrays.put(entries, |entry| entry.previous.as_bytes().to_vec());
    arrays.put(entries, |entry| {
        entry.reason.as_ref().map(AdjustmentReason::as_str).map(str::to_owned)
    });
    pipeline.add(PUT_ENTRIES.of(pipeline.sharded), arrays)
}

fn put_accounts(
    pipeline: &mut Pipeline<'_>,
    batch: &Batch,
    loaded: &Loaded,
    usage: &UsageRows,
    writer: i64,
) -> Result<(), StoreError> {
    let used: HashSet<_> = batch.usage.iter().map(|change| change.account).collect();
    let others: HashSet<_> = loaded.not_ours(writer).collect();
    let mut accounts: Vec<_> = batch
        .accounts
        .values()
        .filter(|touched| {
            let key = touched.row.key;
            touched.changed || usage.tails.contains_key(&key) || (used.contains(&key) && others.contains(&key))
        })
        .map(|touched| &touched.row)
        .collect();
    if accounts.is_empty() {
        return Ok(());
    }
    accounts.sort_unstable_by_key(|account| account.key);
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &accounts, |account| i64::from(account.key.bucket.0));
    arrays.put(&accounts, |account| account.balance.micros());
    arrays.put(&accounts, |account| account.held.micros());
    arrays.put(&accounts, |account| account.entries.cast_signed());
    arrays.put(&accounts, |account| account.purchased.micros());
    arrays.put(&accounts, |account| account.consumed.micros());
    arrays.put(&accounts, |account| account.next_lapse_at.map(Timestamp::millis));
    arrays.put(&accounts, |account| account.clock_offset_ms);
    arrays.put(&accounts, |account| account.free_day);
    arrays.put(&accounts, |account| i64::from(account.free_sends));
    arrays.put(&accounts, |account| account.head.as_bytes().to_vec());
    arrays.put(&accounts, |account| account.last_entry_at.millis());
    arrays.put(&accounts, |account| i16::from(account.low_balance_told));
    arrays.put(&accounts, |account| account.low_balance_reports.cast_signed());
    arrays.put(&accounts, |account| account.spending.day);
    arrays.put(&accounts, |account| account.spending.spent.micros());
    arrays.put(&accounts, |account| i16::from(account.spending.told_percent));
    arrays.put(&accounts, |_| writer);
    arrays.put(&accounts, |account| match usage.tails.get(&account.key) {
        Some(tail) => tail.clone(),
        None => loaded.tail(account.key).to_vec(),
    });
    arrays.put(&accounts, |account| account.key.id.number());
    pipeline.add(SET_ACCOUNTS.of(pipeline.sharded), arrays)
}

fn put_usage(pipeline: &mut Pipeline<'_>, usage: &mut UsageRows) -> Result<(), StoreError> {
    let sums = &mut usage.sums;
    if !sums.is_empty() {
        let mut arrays = Arrays::default();
        arrays.put_buckets(pipeline.sharded, sums, |(place, _)| i64::from(place.account.bucket.0));
        arrays.put(sums, |(place, _)| place.account.id.number());
        arrays.put(sums, |(place, _)| place.quarter.number());
        arrays.put(sums, |(place, _)| place.country.as_str().to_owned());
        arrays.put(sums, |(place, _)| place.route.as_str().to_owned());
        arrays.put(sums, |(place, _)| place.sender().to_owned());
        arrays.take(sums, |(_, bytes)| std::mem::take(bytes));
        pipeline.add(PUT_SUMS.of(pipeline.sharded), arrays)?;
    }
    let sketches = &mut usage.sketches;
    if !sketches.is_empty() {
        sketches.sort_unstable_by_key(|(key, _)| *key);
        let mut arrays = Arrays::default();
        arrays.put_buckets(pipeline.sharded, sketches, |((account, ..), _)| {
            i64::from(account.bucket.0)
        });
        arrays.put(sketches, |((account, ..), _)| account.id.number());
        arrays.put(sketches, |((_, level, _), _)| i16::try_from(*level).unwrap_or_default());
        arrays.put(sketches, |((.., start), _)| *start);
        arrays.take(sketches, |(_, bytes)| std::mem::take(bytes));
        pipeline.add(PUT_SKETCHES.of(pipeline.sharded), arrays)?;
    }
    Ok(())
}

fn put_reports(pipeline: &mut Pipeline<'_>, lease: Lease, rows: &mut ReportRows) -> Result<(), StoreError> {
    let small = |number: i64| i16::try_from(number).unwrap_or_default();
    let reports = &mut rows.reports;
    if !reports.is_empty() {
        reports.sort_unstable_by_key(|report| (report.place, report.number));
        let mut arrays = Arrays::default();
        arrays.put_buckets(pipeline.sharded, reports, |report| report.place[0]);
        for part in [1, 2, 3] {
            arrays.put(reports, |report| report.place[part]);
        }
        arrays.put(reports, |report| i64::from(report.number));
        arrays.put(reports, |report| small(report.kind));
        arrays.put(reports, |report| small(report.state_number()));
        arrays.put(reports, |report| i32::from(report.attempts));
        arrays.put(reports, |report| report.tries.cast_signed());
        arrays.put(reports, |report| report.due_at);
        arrays.put(reports, |report| report.made_at);
        arrays.put(reports, |report| report.finished_at);
        arrays.take(reports, |report| std::mem::take(&mut report.host));
        arrays.take(reports, |report| std::mem::take(&mut report.callback_url));
        arrays.take(reports, |report| std::mem::take(&mut report.body_sealed));
        arrays.put(reports, |report| i16::from(report.test));
        arrays.put(reports, |report| report.generation.cast_signed());
        arrays.put(reports, |report| report.due_at.map(|_| lease.0));
        pipeline.add(PUT_REPORTS.of(pipeline.sharded), arrays)?;
    }
    let attempts = &mut rows.attempts;
    if !attempts.is_empty() {
        let mut arrays = Arrays::default();
        arrays.put_buckets(pipeline.sharded, attempts, |attempt| attempt.place[0]);
        for part in [1, 2, 3] {
            arrays.put(attempts, |attempt| attempt.place[part]);
        }
        arrays.put(attempts, |attempt| i64::from(attempt.number));
        arrays.put(attempts, |attempt| attempt.try_number.cast_signed());
        arrays.put(attempts, |attempt| attempt.at);
        arrays.put(attempts, |attempt| attempt.duration_ms);
        arrays.put(attempts, |attempt| attempt.status.map(i32::from));
        arrays.take(attempts, |attempt| attempt.error.take());
        arrays.take(attempts, |attempt| attempt.response_sealed.take());
        arrays.put(attempts, |_| 0_i32);
        pipeline.add(PUT_ATTEMPTS.of(pipeline.sharded), arrays)?;
    }
    Ok(())
}

fn put_flood(pipeline: &mut Pipeline<'_>, batch: &Batch) -> Result<(), StoreError> {
    let mut counters: Vec<_> = batch.flood.changed().collect();
    if counters.is_empty() {
        return Ok(());
    }
    counters.sort_unstable_by_key(|changed| (changed.account, changed.counter));
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &counters, |changed| {
        i64::from(changed.account.bucket.0)
    });
    arrays.put(&counters, |changed| changed.account.id.number());
    arrays.put(&counters, |changed| changed.counter.columns().0);
    arrays.put(&counters, |changed| changed.counter.columns().1);
    arrays.put(&counters, |changed| changed.state.spread_until_us());
    pipeline.add(PUT_FLOOD.of(pipeline.sharded), arrays)
}

fn put_events(pipeline: &mut Pipeline<'_>, batch: &Batch) -> Result<(), StoreError> {
    if batch.timeline.is_empty() {
        return Ok(());
    }
    let events: Vec<_> = batch
        .timeline
        .iter()
        .map(|(request, event)| (request_place(*request), event))
        .collect();
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &events, |(place, _)| place[0]);
    for part in [1, 2, 3] {
        arrays.put(&events, |(place, _)| place[part]);
    }
    arrays.put(&events, |(_, event)| i32::from(event.number));
    arrays.put(&events, |(_, event)| {
        i16::try_from(timeline_numbers(event.kind).0).unwrap_or_default()
    });
    arrays.put(&events, |(_, event)| {
        i16::try_from(timeline_numbers(event.kind).1).unwrap_or_default()
    });
    arrays.put(&events, |(_, event)| event.at.millis());
    arrays.put(&events, |(_, event)| {
        event.leg.as_ref().map(LegName::as_str).map(str::to_owned)
    });
    arrays.put(&events, |(_, event)| {
        event.detail.as_ref().map(Detail::as_str).map(str::to_owned)
    });
    pipeline.add(PUT_EVENTS.of(pipeline.sharded), arrays)
}

fn put_live_codes(pipeline: &mut Pipeline<'_>, batch: &Batch) -> Result<(), StoreError> {
    if batch.live_codes.is_empty() {
        return Ok(());
    }
    let codes: Vec<_> = batch.live_codes.iter().collect();
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &codes, |(key, _)| i64::from(key.account.bucket.0));
    arrays.put(&codes, |(key, _)| key.account.id.number());
    arrays.put(&codes, |(key, _)| phone_column(key.phone));
    arrays.put(&codes, |(key, _)| {
        key.sender.as_ref().map_or("", SenderUsername::as_str).to_owned()
    });
    arrays.put(&codes, |(key, _)| i16::from(key.test));
    arrays.put(&codes, |(_, id)| id.created_at().millis());
    arrays.put(&codes, |(_, id)| id.random().cast_signed());
    pipeline.add(PUT_LIVE_CODES.of(pipeline.sharded), arrays)
}

fn put_answers(pipeline: &mut Pipeline<'_>, shared: &Shared, batch: &Batch) -> Result<(), StoreError> {
    if batch.answers.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(batch.answers.len());
    for ((account, key), answer) in &batch.answers {
        let place = [i64::from(account.bucket.0), account.id.number()];
        let sealed = shared.vault.seal(Purpose::Answer, &place, &answer.result)?;
        let fingerprint = shared.vault.seal_fingerprint(&place, &answer.idempotency.fingerprint)?;
        rows.push((place, key, answer, fingerprint, sealed));
    }
    let mut arrays = Arrays::default();
    arrays.put_buckets(pipeline.sharded, &rows, |(place, ..)| place[0]);
    arrays.put(&rows, |(place, ..)| place[1]);
    arrays.put(&rows, |(_, key, ..)| key.as_str().to_owned());
    arrays.take(&mut rows, |(_, _, _, fingerprint, _)| std::mem::take(fingerprint));
    arrays.take(&mut rows, |(.., sealed)| std::mem::take(sealed));
    // The last column, of rows whose sealed bytes were moved out.
    arrays.put(&rows, |(_, _, answer, ..)| answer.at.millis());
    pipeline.add(PUT_ANSWERS.of(pipeline.sharded), arrays)
}
