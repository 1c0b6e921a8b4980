//! The final books, compared: what is sealed through the store's own reads, everything else row for row as it stands in the
//! database. The numbers that stand for kinds and states are written here once more: they may never change.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use countersign_core::{
    Account, AccountKey, Action, Answer, Command, EntryKind, LedgerEntry, LegEnd, News, Order, OrderParty, OrderState,
    RequestId, TimelineKind, Timestamp,
};
use countersign_model::{Books, RequestBook};
use countersign_store::testing::{self, Cells, Tables};
use countersign_store::{Database, DueReport, ReportAttempt, ReportOutcome, RequestRef, StoreError};

use crate::drive::Driver;

/// When every report is due.
const FAR_FUTURE: Timestamp = Timestamp::from_millis(i64::MAX / 2);

pub(crate) fn same<T: PartialEq + Debug>(
    what: impl FnOnce() -> String,
    in_memory: &T,
    in_store: &T,
) -> Result<(), String> {
    if in_memory == in_store {
        return Ok(());
    }
    Err(format!(
        "{}\nin memory: {in_memory:?}\nin the store: {in_store:?}",
        what()
    ))
}

/// Requests with their codes, kept answers, and reports in their order: what only the store can open.
pub(crate) async fn through_the_store(books: &Books, driver: &Driver) -> Result<(), String> {
    let store = &driver.store;
    for book in &books.requests {
        let stored = store.request(book.request.account, book.request.id).await;
        let stored = stored.map_err(|error| error.to_string())?;
        same(|| "a request".to_owned(), &Some(&book.request), &stored.as_ref())?;
    }
    crate::usage::compare(books, driver).await?;
    kept_answers(books, driver).await?;
    reports(books, driver).await
}

/// A kept answer is given again to whoever comes with its key and fingerprint.
async fn kept_answers(books: &Books, driver: &Driver) -> Result<(), String> {
    for book in &books.accounts {
        for answer in book.first_answers.values() {
            if books.now.millis() - answer.at.millis() >= countersign_core::DAY_MS {
                continue;
            }
            // Asked as the operator asks, so that a closed account answers too; the key is judged before the action.
            let command = Command {
                now: books.now,
                token: None,
                idempotency: Some(answer.idempotency.clone()),
                action: Action::Purchase {
                    amount: countersign_core::Credits::ZERO,
                },
            };
            let came = driver.store.submit(book.account.key, command).await;
            let came = came.map_err(|error| error.to_string())?;
            same(
                || format!("the answer kept under {}", answer.idempotency.key.as_str()),
                &Ok(Answer::Again(answer.result.clone())),
                &came,
            )?;
        }
    }
    Ok(())
}

/// Reports come out one request at a time in order, byte for byte, until none is left (P4).
async fn reports(books: &Books, driver: &Driver) -> Result<(), String> {
    let of_requests = books
        .requests
        .iter()
        .map(|book| (reference(book), book.reports.as_slice()));
    let of_accounts = books.accounts.iter().flat_map(|book| {
        let account = book.account.key;
        book.reports.iter().map(move |told| {
            let id = RequestRef { account, id: told.id };
            (id, std::slice::from_ref(&told.report))
        })
    });
    let mut expected: BTreeMap<RequestRef, std::slice::Iter<'_, _>> = of_requests
        .chain(of_accounts)
        .map(|(request, reports)| (request, reports.iter()))
        .collect();
    loop {
        let due = due_reports(driver).await.map_err(|error| error.to_string())?;
        if due.is_empty() {
            break;
        }
        let mut acknowledged = Vec::new();
        // Fewer at once than the books' queue holds.
        for report in due.into_iter().take(4_000) {
            let next = expected.get_mut(&report.key.request).and_then(Iterator::next);
            let in_memory = next.map(|next: &countersign_core::DeliveryReport| {
                (next.number, next.callback_url.clone(), next.body.clone(), next.token)
            });
            let in_store = Some((report.key.number, report.callback_url, report.body, report.token));
            same(
                || format!("a report of {}", report.key.request.id),
                &in_memory,
                &in_store,
            )?;
            let attempt = ReportAttempt {
                at: books.now,
                duration_ms: 1,
                status: Some(200),
                error: None,
                response: Vec::new(),
            };
            let outcome = ReportOutcome::Acknowledged;
            acknowledged.push(driver.store.record_report(report.key, attempt, outcome, report.lease));
        }
        for recorded in futures_util::future::join_all(acknowledged).await {
            recorded.map_err(|error| error.to_string())?;
        }
    }
    match expected.into_iter().find(|(_, rest)| rest.len() > 0) {
        None => Ok(()),
        Some((request, rest)) => Err(format!("request {}: never due: {:?}", request.id, rest.as_slice())),
    }
}

/// Some of what is due in each lane.
async fn due_reports(driver: &Driver) -> Result<Vec<DueReport>, StoreError> {
    let mut due = Vec::new();
    for account in driver.store.report_accounts(None, 1_000).await? {
        for (lane, _) in driver.store.report_lanes(account, None, 1_000).await? {
            due.extend(driver.store.due_reports(lane, FAR_FUTURE, None, 1_000).await?);
        }
    }
    Ok(due)
}

fn reference(book: &RequestBook) -> RequestRef {
    RequestRef {
        account: book.request.account,
        id: book.request.id,
    }
}

/// Every table's rows as they stand, the store being closed.
pub(crate) fn rows(books: &Books, directory: &Path) -> Result<(), String> {
    testing::with_tables(directory, |tables| all_rows(books, tables)).map_err(|error| error.to_string())?
}

/// The same of any database.
pub(crate) fn rows_of(books: &Books, database: &Database) -> Result<(), String> {
    testing::with_tables_of(database, |tables| all_rows(books, tables)).map_err(|error| error.to_string())?
}

fn all_rows(books: &Books, database: &Tables<'_>) -> Result<(), String> {
    accounts(books, database)?;
    ledgers(books, database)?;
    orders(books, database)?;
    requests(books, database)?;
    count(database, "request", books.requests.len())?;
    let of_requests: usize = books.requests.iter().map(|book| book.reports.len()).sum();
    let of_accounts: usize = books.accounts.iter().map(|book| book.reports.len()).sum();
    let reports = of_requests + of_accounts;
    count(database, "report", reports)?;
    let answers = books.accounts.iter().map(|book| book.first_answers.len()).sum();
    count(database, "first_answer", answers)
}

fn count(database: &Tables<'_>, table: &str, in_memory: usize) -> Result<(), String> {
    let in_store = database.number(&format!("SELECT count(*) FROM {table}")).unwrap();
    same(
        || format!("rows of {table}"),
        &i64::try_from(in_memory).unwrap(),
        &in_store,
    )
}

fn query<T>(database: &Tables<'_>, sql: &str, place: &[i64], read: impl Fn(&Cells) -> T) -> Vec<T> {
    database.query(sql, place).unwrap().iter().map(read).collect()
}

fn place(key: AccountKey) -> [i64; 2] {
    [i64::from(key.bucket.0), key.id.number()]
}

fn request_numbers(id: RequestId) -> [i64; 2] {
    [id.created_at().millis(), id.random().cast_signed()]
}

/// An account's row, column by column.
#[derive(Debug, PartialEq, Eq)]
struct AccountRow {
    place: [i64; 2],
    phone: i64,
    closed: bool,
    tokens: [(i64, Option<i64>); 2],
    money: [i64; 5],
    next_lapse_at: Option<i64>,
    clock: [i64; 3],
    head: Vec<u8>,
    last_entry_at: i64,
    low_balance: (Option<i64>, Option<String>, bool, i64),
    budget: (Option<i64>, Option<String>),
    spending: [i64; 3],
    areas: Option<String>,
}

fn accounts(books: &Books, database: &Tables<'_>) -> Result<(), String> {
    let row = |account: &Account| AccountRow {
        place: place(account.key),
        phone: account.owner.digits().cast_signed(),
        closed: account.closed,
        tokens: [account.live, account.test]
            .map(|standing| (standing.generation.into(), standing.grace_until.map(Timestamp::millis))),
        money: [
            account.balance.micros(),
            account.held.micros(),
            account.entries.cast_signed(),
            account.purchased.micros(),
            account.consumed.micros(),
        ],
        next_lapse_at: account.next_lapse_at.map(Timestamp::millis),
        clock: [account.clock_offset_ms, account.free_day, account.free_sends.into()],
        head: account.head.as_bytes().to_vec(),
        last_entry_at: account.last_entry_at.millis(),
        low_balance: (
            account.low_balance.as_ref().map(|low| low.below.micros()),
            account.low_balance.as_ref().map(|low| low.url.as_str().to_owned()),
            account.low_balance_told,
            account.low_balance_reports.cast_signed(),
        ),
        budget: (
            account.budget.as_ref().map(|budget| budget.amount.micros()),
            account
                .budget
                .as_ref()
                .and_then(|budget| Some(budget.url.as_ref()?.as_str().to_owned())),
        ),
        spending: [
            account.spending.day,
            account.spending.spent.micros(),
            account.spending.told_percent.into(),
        ],
        areas: account.areas.as_ref().map(|areas| areas.encode()),
    };
    let mut in_memory: Vec<_> = books.accounts.iter().map(|book| row(&book.account)).collect();
    in_memory.sort_by_key(|row| row.place);
    let in_store = query(
        database,
        "SELECT bucket, account_id, phone, closed_at IS NOT NULL, generation, balance, held, entries, purchased, \
         consumed, next_lapse_at, clock_offset_ms, free_day, free_sends, head, last_entry_at, \
         low_balance_below, low_balance_url, low_balance_told, low_balance_reports, grace_until, test_generation, test_grace_until, areas, \
         daily_budget, daily_budget_url, spent_day, spent, budget_told FROM account ORDER BY bucket, account_id",
        &[],
        |row| AccountRow {
            place: [row.get(0), row.get(1)],
            phone: row.get(2),
            closed: row.get(3),
            tokens: [(row.get(4), row.get(20)), (row.get(21), row.get(22))],
            money: [row.get(5), row.get(6), row.get(7), row.get(8), row.get(9)],
            next_lapse_at: row.get(10),
            clock: [row.get(11), row.get(12), row.get(13)],
            head: row.get(14),
            last_entry_at: row.get(15),
            low_balance: (row.get(16), row.get(17), row.get(18), row.get(19)),
            budget: (row.get(24), row.get(25)),
            spending: [row.get(26), row.get(27), row.get(28)],
            areas: row.get(23),
        },
    );
    same(|| "accounts".to_owned(), &in_memory, &in_store)
}

/// A ledger entry's row: numbers, its request's two halves, the hash of the entry before, and the reason.
type EntryRow = ([i64; 5], [Option<i64>; 2], Vec<u8>, Option<String>);

fn entry_row(entry: &LedgerEntry) -> EntryRow {
    let kind = match entry.kind {
        EntryKind::Purchase => 1,
        EntryKind::Charge => 2,
        EntryKind::Refund => 3,
        EntryKind::Lapse => 4,
        EntryKind::Adjustment => 5,
    };
    let request = entry.request.map(request_numbers);
    let numbers = [
        entry.number.cast_signed(),
        kind,
        entry.amount.micros(),
        entry.balance_after.micros(),
        entry.at.millis(),
    ];
    let reason = entry.reason.as_ref().map(|reason| reason.as_str().to_owned());
    let request = [request.map(|[at, _]| at), request.map(|[_, random]| random)];
    (numbers, request, entry.previous.as_bytes().to_vec(), reason)
}

fn ledgers(books: &Books, database: &Tables<'_>) -> Result<(), String> {
    for book in &books.accounts {
        let key = book.account.key;
        let in_memory: Vec<EntryRow> = book.entries.iter().map(entry_row).collect();
        let in_store: Vec<EntryRow> = query(
            database,
            "SELECT number, kind, amount, balance_after, at, request_created_at, request_random, previous, reason \
             FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 ORDER BY number",
            &place(key),
            |row| {
                let numbers = [row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)];
                (numbers, [row.get(5), row.get(6)], row.get(7), row.get(8))
            },
        );
        first_difference(&format!("an entry of account {}", key.id), &in_memory, &in_store)?;
        let in_memory: Vec<[i64; 4]> = book
            .purchases
            .values()
            .map(|purchase| {
                let (entry, through) = (purchase.entry.cast_signed(), purchase.through.micros());
                [entry, through, purchase.lapses_at.millis(), purchase.lapsed.into()]
            })
            .collect();
        let in_store = query(
            database,
            "SELECT entry, through, lapses_at, lapsed FROM purchase WHERE bucket = ?1 AND account_id = ?2 ORDER BY entry",
            &place(key),
            |row| [row.get(0), row.get(1), row.get(2), row.get(3)],
        );
        first_difference(&format!("a purchase of account {}", key.id), &in_memory, &in_store)?;
    }
    Ok(())
}

/// An order's row: its numbers, who decided it and when, the note, the entry.
type OrderRow = ([i64; 4], [Option<i64>; 3], String, Option<String>);

fn orders(books: &Books, database: &Tables<'_>) -> Result<(), String> {
    for book in &books.accounts {
        let mut orders: Vec<&Order> = book.orders.iter().collect();
        orders.sort_by_key(|order| order.id);
        let in_memory: Vec<OrderRow> = orders
            .into_iter()
            .map(|order| {
                let state = match order.state {
                    OrderState::Open => 1,
                    OrderState::Confirmed => 2,
                    OrderState::Cancelled => 3,
                };
                let party = order.decided_by.map(|party| match party {
                    OrderParty::Owner => 1,
                    OrderParty::Operator => 2,
                    OrderParty::Provider => 3,
                });
                let numbers = [
                    order.id.number().cast_signed(),
                    order.amount.micros(),
                    state,
                    order.created_at.millis(),
                ];
                let decided = [
                    order.decided_at.map(Timestamp::millis),
                    party,
                    order.entry.map(u64::cast_signed),
                ];
                let note = order.note.as_ref().map(|note| note.as_str().to_owned());
                (numbers, decided, order.provider.as_str().to_owned(), note)
            })
            .collect();
        let key = book.account.key;
        let in_store: Vec<OrderRow> = query(
            database,
            "SELECT id, amount, state, created_at, decided_at, decided_by, entry, provider, note \
             FROM credit_order WHERE bucket = ?1 AND account_id = ?2 ORDER BY id",
            &place(key),
            |row| {
                let numbers = [row.get(0), row.get(1), row.get(2), row.get(3)];
                (numbers, [row.get(4), row.get(5), row.get(6)], row.get(7), row.get(8))
            },
        );
        first_difference(&format!("an order of account {}", key.id), &in_memory, &in_store)?;
    }
    count(
        database,
        "credit_order",
        books.accounts.iter().map(|book| book.orders.len()).sum(),
    )
}

/// A line of a timeline: its numbers, its leg, what was said besides.
type TimelineRow = ([i64; 4], Option<String>, Option<String>);

/// Timelines, and the times at which a worker must look at a request.
fn requests(books: &Books, database: &Tables<'_>) -> Result<(), String> {
    for book in &books.requests {
        let id = book.request.id;
        let [bucket, account_id] = place(book.request.account);
        let [created_at, random] = request_numbers(id);
        let place = [bucket, account_id, created_at, random];
        let in_memory: Vec<TimelineRow> = book
            .timeline
            .iter()
            .map(|event| {
                let (kind, state) = timeline_numbers(event.kind);
                let leg = event.leg.as_ref().map(ToString::to_string);
                let detail = event.detail.as_ref().map(ToString::to_string);
                ([event.number.into(), kind, state, event.at.millis()], leg, detail)
            })
            .collect();
        let in_store = query(
            database,
            "SELECT number, kind, state, at, leg, detail FROM timeline WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 \
             AND random = ?4 ORDER BY number",
            &place,
            |row| {
                let numbers = [row.get(0), row.get(1), row.get(2), row.get(3)];
                (numbers, row.get(4), row.get(5))
            },
        );
        same(|| format!("the timeline of request {id}"), &in_memory, &in_store)?;
        let offset_ms = books.accounts[book.owner].account.clock_offset_ms;
        let in_memory = vec![book.request.wake_at().map(|at| at.millis() - offset_ms)];
        let in_store: Vec<Option<i64>> = query(
            database,
            "SELECT wake_at FROM request WHERE bucket = ?1 AND account_id = ?2 AND created_at = ?3 AND random = ?4",
            &place,
            |row| row.get(0),
        );
        same(|| format!("when request {id} is due"), &in_memory, &in_store)?;
    }
    let timeline = books.requests.iter().map(|book| book.timeline.len()).sum();
    count(database, "timeline", timeline)
}

const fn timeline_numbers(kind: TimelineKind) -> (i64, i64) {
    use countersign_core::DeliveryState as State;
    match kind {
        TimelineKind::Became(state) => (
            1,
            match state {
                State::Admitted => 1,
                State::Unreachable => 2,
                State::Checked => 3,
                State::Sent => 4,
                State::Delivered => 5,
                State::Read => 6,
                State::Expired => 7,
                State::Revoked => 8,
            },
        ),
        TimelineKind::TooLate(news) => (
            2,
            match news {
                News::Accepted => 1,
                News::Delivered => 2,
                News::Read => 3,
                News::Failed => 4,
                News::Disowned => 5,
                News::CannotReach => 6,
                News::Refused => 7,
            },
        ),
        TimelineKind::DeliveryFailed => (3, 0),
        TimelineKind::LegSkipped => (4, 0),
        TimelineKind::LegAccepted => (5, 0),
        TimelineKind::LegEnded(end) => (
            6,
            match end {
                LegEnd::CannotReach => 1,
                LegEnd::Refused => 2,
                LegEnd::Failed => 3,
                LegEnd::NotInTime => 4,
                LegEnd::Resent => 5,
            },
        ),
        TimelineKind::Disowned => (7, 0),
    }
}

/// Long lists are told by their first difference.
fn first_difference<T: PartialEq + Debug>(what: &str, in_memory: &[T], in_store: &[T]) -> Result<(), String> {
    for place in 0..in_memory.len().max(in_store.len()) {
        same(|| what.to_owned(), &in_memory.get(place), &in_store.get(place))?;
    }
    Ok(())
}
