//! The history of an account's entries for its owner: newest first, of one kind or a time, and the entries of one request.
//! Nothing here reads more than a bounded run of entries, however many millions an account has.

use crate::sql::{Connection, OptionalExtension, Statement, params};
use countersign_core::{AccountKey, Credits, EntryKind, LedgerEntry, RequestId, Timestamp};

use super::codec::{ENTRY_COLUMNS, entry_from_row, request_place};
use super::read::{Reader, row_limit};
use super::settings::account_place;
use super::statement::{balance_after, booked_before, entry_count};
use crate::orders::{HistoryFilter, HistoryPage, NextLapse, StatementTotals};
use crate::types::{RequestRef, StoreError};

/// Entries in one page at most.
const MAX_PAGE: usize = 1_000;
/// Entries that one page of charges looks through: between charges lie few others, but after a storm of expiries a run of refunds.
const LOOK_BACK: u64 = 20_000;
/// Entries that are looked through for one request's: what an account books in the 30 s that an admission may take.
const LOOK_AHEAD: u64 = 50_000;
/// Of all these at once: a server sends everything that it was asked for.
const AT_ONCE: i64 = 500;

impl Reader<'_> {
    pub(crate) fn history(
        &self,
        account: AccountKey,
        filter: HistoryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        // Entries never change, so what is read one after the other fits together without a snapshot.
        self.with(|connection| {
            let count = entry_count(connection, account)?;
            let number_at = |time: Option<Timestamp>, otherwise: u64| match time {
                Some(time) => booked_before(connection, account, time, count),
                None => Ok(otherwise),
            };
            // Entries after the first number, up to and with the second.
            let first = number_at(filter.from, 0)?;
            let last = number_at(filter.to, count)?;
            let last = before.map_or(last, |before| last.min(before.saturating_sub(1)));
            match filter.kind {
                Some(kind) if kind != EntryKind::Charge => of_kind(connection, account, kind, first, last, limit),
                wanted => of_any(connection, account, wanted, first, last, limit),
            }
        })
    }

    pub(crate) fn request_entries(
        &self,
        account: AccountKey,
        request: RequestId,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.with(|connection| {
            let Some(times) = request_times(connection, account, request)? else {
                return Ok(Vec::new());
            };
            let count = entry_count(connection, account)?;
            let mut entries = Vec::new();
            // A refund is booked when its cause is noticed, which is at the end of the message's life or later.
            if times.refunded {
                let first = booked_before(connection, account, times.delivery_at, count)?;
                let sql = format!(
                    "SELECT {ENTRY_COLUMNS} FROM ledger_entry INDEXED BY ledger_entry_by_kind \
                     WHERE bucket = ?1 AND account_id = ?2 AND kind = 3 AND kind <> 2 AND number > ?3 AND number <= ?4 \
                     ORDER BY number LIMIT ?5"
                );
                entries.extend(find_request(
                    connection.prepare_cached(&sql)?,
                    account,
                    request,
                    first,
                    count,
                )?);
            }
            // Charged when it was made, or once its reachability was known, some seconds later.
            if times.charged {
                let first = booked_before(connection, account, request.created_at(), count)?;
                let sql = format!(
                    "SELECT {ENTRY_COLUMNS} FROM ledger_entry \
                     WHERE bucket = ?1 AND account_id = ?2 AND number > ?3 AND number <= ?4 ORDER BY number LIMIT ?5"
                );
                let last = count.min(first + LOOK_AHEAD);
                entries.extend(find_request(
                    connection.prepare_cached(&sql)?,
                    account,
                    request,
                    first,
                    last,
                )?);
            }
            Ok(entries)
        })
    }

    pub(crate) fn statement_totals(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<StatementTotals, StoreError> {
        let [bucket, account_id] = account_place(account);
        self.with(|connection| {
            let count = entry_count(connection, account)?;
            let first = booked_before(connection, account, from, count)?;
            let last = booked_before(connection, account, to, count)?.max(first);
            let mut kinds = EntryKind::ALL.map(|kind| (kind, 0, Credits::ZERO));
            // Charges are what the others leave: of all entries, and of what the balance moved by.
            let mut rest_count = last - first;
            let mut rest = balance_after(connection, account, last)? - balance_after(connection, account, first)?;
            let mut total = connection.prepare_cached(
                "SELECT count(*), coalesce(sum(amount), 0) FROM ledger_entry INDEXED BY ledger_entry_by_kind \
                 WHERE bucket = ?1 AND account_id = ?2 AND kind = ?3 AND kind <> 2 AND number > ?4 AND number <= ?5",
            )?;
            for (kind, number, sum) in kinds.iter_mut().filter(|(kind, ..)| *kind != EntryKind::Charge) {
                let place = params![
                    bucket,
                    account_id,
                    kind.number(),
                    first.cast_signed(),
                    last.cast_signed()
                ];
                let (found, micros): (i64, i64) = total.query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
                (*number, *sum) = (found.cast_unsigned(), Credits::from_micros(micros));
                rest_count = rest_count.saturating_sub(*number);
                rest -= *sum;
            }
            for (kind, number, sum) in &mut kinds {
                if *kind == EntryKind::Charge {
                    (*number, *sum) = (rest_count, rest);
                }
            }
            Ok(StatementTotals { kinds })
        })
    }

    pub(crate) fn next_lapse(&self, account: AccountKey) -> Result<Option<NextLapse>, StoreError> {
        let [bucket, account_id] = account_place(account);
        self.with(|connection| {
            let money: Option<[i64; 3]> = connection
                .prepare_cached("SELECT balance, held, consumed FROM account WHERE bucket = ?1 AND account_id = ?2")?
                .query_row(params![bucket, account_id], |row| {
                    Ok([row.get(0)?, row.get(1)?, row.get(2)?])
                })
                .optional()?;
            let Some([balance, held, consumed]) = money.map(|money| money.map(Credits::from_micros)) else {
                return Err(StoreError::NotFound("account"));
            };
            // A purchase that is used up lapses without a trace: the first with something left is the one to tell of. Since
            // credit is used oldest first, that is the first that reaches beyond what was used.
            let next: Option<(i64, i64)> = connection
                .prepare_cached(
                    "SELECT through, lapses_at FROM purchase INDEXED BY purchase_open \
                     WHERE bucket = ?1 AND account_id = ?2 AND lapsed = 0 AND through > ?3 ORDER BY entry LIMIT 1",
                )?
                .query_row(params![bucket, account_id, consumed.micros()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            Ok(next.and_then(|(through, lapses_at)| {
                let amount = (Credits::from_micros(through) - consumed).min(balance - held);
                (amount > Credits::ZERO).then_some(NextLapse {
                    at: Timestamp::from_millis(lapses_at),
                    amount,
                })
            }))
        })
    }
}

/// Entries of a kind that has an index.
fn of_kind(
    connection: Connection<'_>,
    account: AccountKey,
    kind: EntryKind,
    first: u64,
    last: u64,
    limit: usize,
) -> Result<HistoryPage, StoreError> {
    // The index holds no charges; `kind <> 2` says that none is asked for, word for word as the index does.
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entry INDEXED BY ledger_entry_by_kind \
         WHERE bucket = ?1 AND account_id = ?2 AND kind = {} AND kind <> 2 AND number > ?3 AND number <= ?4 \
         ORDER BY number DESC LIMIT ?5",
        kind.number()
    );
    let [bucket, account_id] = account_place(account);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        bucket,
        account_id,
        first.cast_signed(),
        last.cast_signed(),
        // One more than asked for tells whether there is a next page.
        i64::try_from(limit + 1).unwrap_or(i64::MAX)
    ])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry_from_row(account, row)?);
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| entry.number);
    Ok(HistoryPage { entries, next })
}

/// Entries of any kind, or charges, by their numbers.
fn of_any(
    connection: Connection<'_>,
    account: AccountKey,
    wanted: Option<EntryKind>,
    first: u64,
    last: u64,
    limit: usize,
) -> Result<HistoryPage, StoreError> {
    let lowest = first.max(last.saturating_sub(LOOK_BACK));
    let [bucket, account_id] = account_place(account);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entry \
         WHERE bucket = ?1 AND account_id = ?2 AND number > ?3 AND number <= ?4 ORDER BY number DESC LIMIT ?5"
    ))?;
    let mut entries = Vec::new();
    let at_once = if wanted.is_none() { row_limit(limit) } else { AT_ONCE };
    // Down to which entry all were seen.
    let mut seen_down_to = last + 1;
    'pages: while seen_down_to > lowest + 1 {
        let mut rows = statement.query(params![
            bucket,
            account_id,
            lowest.cast_signed(),
            (seen_down_to - 1).cast_signed(),
            at_once
        ])?;
        let page = seen_down_to;
        while let Some(row) = rows.next()? {
            let entry = entry_from_row(account, row)?;
            seen_down_to = entry.number;
            if wanted.is_none_or(|kind| kind == entry.kind) {
                entries.push(entry);
                if entries.len() == limit {
                    break 'pages;
                }
            }
        }
        if seen_down_to == page {
            // Entries are numbered without a gap: that there are none here is for an audit to say.
            seen_down_to = lowest + 1;
        }
    }
    let next = (seen_down_to > first + 1).then_some(seen_down_to);
    Ok(HistoryPage { entries, next })
}

/// When a request's money moved.
struct RequestTimes {
    delivery_at: Timestamp,
    charged: bool,
    refunded: bool,
}

fn request_times(
    connection: Connection<'_>,
    account: AccountKey,
    request: RequestId,
) -> Result<Option<RequestTimes>, StoreError> {
    let place = request_place(RequestRef { account, id: request });
    let row = connection
        .prepare_cached(
            "SELECT delivery_at, fee, refunded FROM request \
             WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
        )?
        .query_row(place, |row| {
            Ok(RequestTimes {
                delivery_at: Timestamp::from_millis(row.get(0)?),
                charged: row.get::<i64>(1)? > 0,
                refunded: row.get(2)?,
            })
        })
        .optional()?;
    Ok(row)
}

/// The first entry of a request among those with numbers in a range.
fn find_request(
    mut statement: Statement<'_>,
    account: AccountKey,
    request: RequestId,
    first: u64,
    last: u64,
) -> Result<Option<LedgerEntry>, StoreError> {
    let [bucket, account_id] = account_place(account);
    let (mut looked_at, mut cursor) = (0, first);
    while looked_at < LOOK_AHEAD {
        let mut rows = statement.query(params![
            bucket,
            account_id,
            cursor.cast_signed(),
            last.cast_signed(),
            AT_ONCE
        ])?;
        let looked_at_before = looked_at;
        while let Some(row) = rows.next()? {
            let entry = entry_from_row(account, row)?;
            if entry.request == Some(request) {
                return Ok(Some(entry));
            }
            cursor = entry.number;
            looked_at += 1;
        }
        if looked_at == looked_at_before {
            break;
        }
    }
    Ok(None)
}
