//! `countersign audit`: P2 (the books balance) and P3 (states only move forward) over the whole database. Read-only, row by
//! row in key order, one account's snapshot at a time, so that it runs beside a live server in bounded memory.

use std::fmt;
use std::path::Path;

use countersign_core::{AccountKey, DeliveryState, EntryKind, RequestId, Timestamp};
use rusqlite::{Connection, Row, params};

use crate::sqlite::{
    FILE_NAME, TIMELINE_BECAME, account_key, delivery_number, delivery_of, entry_kind_number, open_for_reading,
    require_known_schema,
};
use crate::types::StoreError;

/// What an audit looked at, and the first thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Accounts that were checked.
    pub accounts: u64,
    /// Ledger entries that were checked.
    pub entries: u64,
    /// Requests that were checked.
    pub requests: u64,
    /// The first violation; the audit stops there.
    pub violation: Option<Violation>,
}

/// A promise that the books don't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The account.
    pub account: AccountKey,
    /// What is wrong, with the entry's number or the request's id.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {}: {}", self.account.id, self.what)
    }
}

/// Checks the database in a data directory. `progress` is called after each account with the report so far.
pub fn audit(directory: &Path, mut progress: impl FnMut(&AuditReport)) -> Result<AuditReport, StoreError> {
    if !directory.join(FILE_NAME).exists() {
        return Err(StoreError::NotFound("database in this data directory"));
    }
    let mut connection = open_for_reading(directory)?;
    require_known_schema(&connection)?;
    let mut report = AuditReport::default();
    let mut last_id = 0;
    loop {
        // One account, one snapshot: its rows are compared as they stood at one commit.
        let snapshot = connection.transaction()?;
        let Some(account) = next_account(&snapshot, last_id)? else {
            break;
        };
        last_id = account.key.id.number();
        let mut check = AccountCheck {
            connection: &snapshot,
            account: &account,
            report: &mut report,
        };
        let finding = check.run()?;
        report.accounts += 1;
        if let Some(what) = finding {
            report.violation = Some(Violation {
                account: account.key,
                what,
            });
            break;
        }
        progress(&report);
    }
    Ok(report)
}

/// The account row's money.
struct AuditedAccount {
    key: AccountKey,
    balance: i64,
    held: i64,
    entries: i64,
    purchased: i64,
    consumed: i64,
}

fn next_account(connection: &Connection, after_id: i64) -> Result<Option<AuditedAccount>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT bucket, account_id, balance, held, entries, purchased, consumed FROM account \
         WHERE account_id > ?1 ORDER BY account_id LIMIT 1",
    )?;
    let mut rows = statement.query([after_id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(AuditedAccount {
        key: account_key(row.get(0)?, row.get(1)?)?,
        balance: row.get(2)?,
        held: row.get(3)?,
        entries: row.get(4)?,
        purchased: row.get(5)?,
        consumed: row.get(6)?,
    }))
}

struct AccountCheck<'a> {
    connection: &'a Connection,
    account: &'a AuditedAccount,
    report: &'a mut AuditReport,
}

/// Stops the check with a finding.
macro_rules! require {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Ok(Some(format!($($what)+)));
        }
    };
}

type Finding = Result<Option<String>, StoreError>;

impl AccountCheck<'_> {
    fn run(&mut self) -> Finding {
        for check in [Self::entries, Self::requests, Self::charges, Self::timelines] {
            if let Some(finding) = check(self)? {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    fn place(&self) -> [i64; 2] {
        [i64::from(self.account.key.bucket.0), self.account.key.id.number()]
    }

    /// P2: entries are numbered without a gap, each says the balance after it, and the last one's is the account's.
    fn entries(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, amount, balance_after FROM ledger_entry WHERE bucket = ?1 AND account_id = ?2 ORDER BY number",
        )?;
        let mut rows = statement.query(self.place())?;
        let (mut last, mut balance) = (0, 0_i64);
        while let Some(row) = rows.next()? {
            let (number, amount, balance_after): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            require!(number == last + 1, "entry {number} follows entry {last}");
            balance = balance.saturating_add(amount);
            require!(
                balance == balance_after,
                "entry {number} says a balance of {balance_after} micro-credits, its sum is {balance}"
            );
            require!(balance >= 0, "entry {number} leaves a balance below zero");
            last = number;
            self.report.entries += 1;
        }
        let account = self.account;
        require!(
            last == account.entries,
            "{} entries are counted, {last} stand in the ledger",
            account.entries
        );
        require!(
            balance == account.balance,
            "the balance is {} micro-credits, the sum of entries {balance}",
            account.balance
        );
        require!(
            account.balance >= account.held && account.held >= 0,
            "{} micro-credits are on hold of a balance of {}",
            account.held,
            account.balance
        );
        require!(
            account.purchased - account.consumed == account.balance,
            "purchases less use are {} micro-credits, the balance {}",
            account.purchased - account.consumed,
            account.balance
        );
        Ok(None)
    }

    /// P2: what is on hold is the fees of admitted requests, and only what expired was refunded.
    fn requests(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT created_at, random, delivery, fee, refunded FROM request WHERE bucket = ?1 AND account_id = ?2 \
             ORDER BY created_at, random",
        )?;
        let mut rows = statement.query(self.place())?;
        let mut held = 0_i64;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let (state, fee, refunded) = (delivery_of(row.get(2)?)?, row.get::<_, i64>(3)?, row.get::<_, bool>(4)?);
            require!(fee >= 0, "request {id} has a fee below zero");
            require!(
                refunded == (state == DeliveryState::Expired && fee > 0),
                "request {id} is {state:?} with a fee of {fee} micro-credits, and refunded is {refunded}"
            );
            if state == DeliveryState::Admitted {
                held += fee;
            }
            self.report.requests += 1;
        }
        require!(
            held == self.account.held,
            "{} micro-credits are on hold, admitted requests hold {held}",
            self.account.held
        );
        Ok(None)
    }

    /// P2: each charged request has exactly one charge of its fee, each refunded one exactly one refund, no other any.
    fn charges(&mut self) -> Finding {
        let (charge, refund) = (
            entry_kind_number(EntryKind::Charge),
            entry_kind_number(EntryKind::Refund),
        );
        // Grouped by request through a sort that the database spills to disk where it must.
        let mut statement = self.connection.prepare_cached(
            "SELECT e.request_created_at, e.request_random, sum(e.kind = ?3), sum(e.kind = ?4), \
             sum(iif(e.kind = ?3, -e.amount, 0)), sum(iif(e.kind = ?4, e.amount, 0)), r.fee, r.refunded \
             FROM ledger_entry e LEFT JOIN request r ON r.bucket = ?1 AND r.account_id = ?2 \
             AND r.created_at = e.request_created_at AND r.random = e.request_random \
             WHERE e.bucket = ?1 AND e.account_id = ?2 AND e.request_created_at IS NOT NULL \
             GROUP BY e.request_created_at, e.request_random",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.query(params![bucket, account_id, charge, refund])?;
        let mut charged_requests = 0_i64;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let (charges, refunds): (i64, i64) = (row.get(2)?, row.get(3)?);
            let (charge_sum, refund_sum): (i64, i64) = (row.get(4)?, row.get(5)?);
            let (fee, is_refunded): (Option<i64>, Option<bool>) = (row.get(6)?, row.get(7)?);
            let Some((fee, is_refunded)) = fee.zip(is_refunded) else {
                return Ok(Some(format!("entries name request {id}, which isn't there")));
            };
            require!(
                charges == 1 && charge_sum == fee,
                "request {id} with a fee of {fee} has {charges} charges of {charge_sum}"
            );
            require!(
                refunds == i64::from(is_refunded) && refund_sum == fee * refunds,
                "request {id} with a fee of {fee} has {refunds} refunds of {refund_sum}"
            );
            charged_requests += 1;
        }
        let with_fee: i64 = self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM request WHERE bucket = ?1 AND account_id = ?2 AND fee > 0 AND delivery <> ?3",
            )?
            .query_row(
                params![bucket, account_id, delivery_number(DeliveryState::Admitted)],
                |row| row.get(0),
            )?;
        require!(
            with_fee == charged_requests,
            "{with_fee} requests have a fee, {charged_requests} a charge"
        );
        Ok(None)
    }

    /// P3: each request's states followed one another along the graph, up to the one it has.
    fn timelines(&mut self) -> Finding {
        let mut statement = self.connection.prepare_cached(
            "SELECT t.created_at, t.random, t.number, t.state, r.delivery, r.events FROM timeline t LEFT JOIN request r \
             ON r.bucket = t.bucket AND r.account_id = t.account_id AND r.created_at = t.created_at AND r.random = t.random \
             WHERE t.bucket = ?1 AND t.account_id = ?2 AND t.kind = ?3 \
             ORDER BY t.created_at, t.random, t.number",
        )?;
        let [bucket, account_id] = self.place();
        let mut rows = statement.query(params![bucket, account_id, TIMELINE_BECAME])?;
        let mut current: Option<(RequestId, DeliveryState, DeliveryState)> = None;
        while let Some(row) = rows.next()? {
            let id = request_id(row)?;
            let became = delivery_of(row.get(3)?)?;
            let Some(now) = row.get::<_, Option<i64>>(4)? else {
                return Ok(Some(format!("a timeline names request {id}, which isn't there")));
            };
            let now = delivery_of(now)?;
            let before = match current {
                Some((last, state, _)) if last == id => state,
                Some((last, state, stored)) => {
                    require!(
                        state == stored,
                        "request {last} is {stored:?}, its timeline ends with {state:?}"
                    );
                    first_state(became)
                }
                None => first_state(became),
            };
            require!(
                before.may_become(became),
                "request {id} went from {before:?} to {became:?}"
            );
            current = Some((id, became, now));
        }
        if let Some((last, state, stored)) = current {
            require!(
                state == stored,
                "request {last} is {stored:?}, its timeline ends with {state:?}"
            );
        }
        Ok(None)
    }
}

/// The state before a timeline's first change: timelines begin after the send, except where an admission failed or passed.
const fn first_state(became: DeliveryState) -> DeliveryState {
    match became {
        DeliveryState::Unreachable | DeliveryState::Checked => DeliveryState::Admitted,
        _ => DeliveryState::Sent,
    }
}

fn request_id(row: &Row<'_>) -> Result<RequestId, StoreError> {
    let (created_at, random): (i64, i64) = (row.get(0)?, row.get(1)?);
    Ok(RequestId::new(
        Timestamp::from_millis(created_at),
        random.cast_unsigned(),
    ))
}
