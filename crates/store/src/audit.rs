//! `countersign audit`: P2 (the books balance) and P3 (states only move forward) over the whole database. Read-only, row by
//! row in key order, one account's snapshot at a time, so that it runs beside a live server in bounded memory.

mod ledger;
mod requests;
mod timelines;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::Database;
use crate::postgres::{connect_for_long, is_sharded, require_books};
use crate::sql::{Connection, OptionalExtension as _, Row, params};
use countersign_core::{AccountId, AccountKey, Credits, EntryHash, RequestId};
use ring::digest;

use crate::sql::codec::{account_key, request_id as request_id_of};
use crate::sqlite::{FILE_NAME, open_for_audit, require_known_schema};
use crate::types::StoreError;
use requests::ChargedRequests;

/// Rows between two reports of progress within an account.
const PROGRESS_EVERY_ROWS: u64 = 20_000;

/// How often an account's row is looked for that isn't there, and the pause between two looks.
const ROW_LOOKS: u32 = 10;
const ROW_PAUSE: Duration = Duration::from_millis(200);

/// What an audit looked at, and the first thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Accounts that were checked.
    pub accounts: u64,
    /// Ledger entries that were checked.
    pub entries: u64,
    /// Requests that were checked.
    pub requests: u64,
    /// Where each account's chain of entries ends, by account id.
    pub heads: Vec<LedgerHead>,
    /// The first violation; the audit stops there.
    pub violation: Option<Violation>,
}

/// Where an account's chain of entries ends, or ended when it was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// The account.
    pub account: AccountId,
    /// How many entries it has.
    pub entries: u64,
    /// The hash of the last one; [`EntryHash::NONE`] where there is none.
    pub head: EntryHash,
}

/// A promise that the books don't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The account.
    pub account: AccountId,
    /// What is wrong, with the entry's number or the request's id.
    pub what: String,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditProgress {
    /// Steps that are done.
    pub done: u64,
    /// About how many there are in all.
    pub total: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {}: {}", self.account, self.what)
    }
}

impl AuditReport {
    /// One hash over the heads of all accounts: SHA-256 over each one's id, number of entries and head, by account id,
    /// integers big-endian in 64 bits (docs/money.md, "The chain").
    pub fn head(&self) -> EntryHash {
        let mut context = digest::Context::new(&digest::SHA256);
        for head in &self.heads {
            context.update(&head.account.number().to_be_bytes());
            context.update(&head.entries.to_be_bytes());
            context.update(head.head.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        EntryHash::from_bytes(hash)
    }
}

/// The name under which the books note since when they keep requests: milliseconds since the epoch, in digits. Of the time before, requests
/// may be gone; their entries stay, and name them.
pub(crate) const REQUESTS_FROM: &str = "requests_from";
/// How long one question of an audit may take: sorting an account's timelines takes a while.
const LONGEST_QUESTION: Duration = Duration::from_hours(1);

/// Checks the books, and that every chain still goes through the heads that were noted before, at most one for each account.
/// `progress` is called now and then. It waits for the database; it may be called within a runtime.
pub fn audit(
    database: &Database,
    noted: &[LedgerHead],
    mut progress: impl FnMut(AuditProgress) + Send,
) -> Result<AuditReport, StoreError> {
    match database {
        Database::Sqlite(directory) => {
            if !directory.join(FILE_NAME).exists() {
                return Err(StoreError::NotFound("database in this data directory"));
            }
            let file = open_for_audit(directory)?;
            require_known_schema(&file)?;
            check_all(Connection::Sqlite(&file), noted, &mut progress)
        }
        // A session waits on a runtime of its own, which must not begin within another's thread.
        Database::Postgres(settings) => std::thread::scope(|scope| {
            let checked = scope.spawn(|| {
                let session = connect_for_long(settings, LONGEST_QUESTION)?;
                require_books(&session)?;
                session.set_sharded(is_sharded(&session)?);
                check_all(Connection::Postgres(&session), noted, &mut progress)
            });
            checked.join().map_err(|_| StoreError::Lost)?
        }),
    }
}

fn check_all(
    connection: Connection<'_>,
    noted: &[LedgerHead],
    progress: &mut dyn FnMut(AuditProgress),
) -> Result<AuditReport, StoreError> {
    let mut noted: HashMap<AccountId, LedgerHead> = noted.iter().map(|head| (head.account, *head)).collect();
    let total: i64 = connection.query_row(
        "SELECT coalesce(sum(entries), 0) FROM account /* spans buckets: all entries */",
        params![],
        |row| row.get(0),
    )?;
    // An entry is a step, and so is about each request: there are some as many.
    let mut steps = Steps {
        done: 0,
        total: total.cast_unsigned() * 2,
        told_at: 0,
        tell: progress,
    };
    let mut report = AuditReport::default();
    let mut last_id = 0;
    loop {
        // One account, one snapshot: its rows are compared as they stood at one commit.
        let snapshot = connection.snapshot()?;
        let Some(place) = next_place(snapshot.connection(), last_id)? else {
            break;
        };
        let Some(account) = account_at(snapshot.connection(), place)? else {
            // On several machines a new account's place may be seen a moment before its row.
            drop(snapshot);
            if comes(connection, place)? {
                continue;
            }
            report.violation = Some(Violation {
                account: account_key(place[0], place[1])?.id,
                what: "it has a place among the accounts, and its row is gone".to_owned(),
            });
            return Ok(report);
        };
        let requests_from = requests_from(snapshot.connection())?;
        let before = [report.entries, report.requests];
        let mut check = AccountCheck {
            connection: snapshot.connection(),
            account: &account,
            noted: noted.get(&account.key.id).copied(),
            requests_from,
            charged: ChargedRequests::default(),
            moved: 0,
            report: &mut report,
            steps: &mut steps,
        };
        let finding = check.run()?;
        drop(snapshot);
        if finding.is_some() && self::requests_from(connection)? != requests_from {
            // Old requests were let go while it looked, and no snapshot keeps a table that is dropped.
            [report.entries, report.requests] = before;
            continue;
        }
        last_id = account.key.id.number();
        noted.remove(&account.key.id);
        report.accounts += 1;
        if let Some(what) = finding {
            report.violation = Some(Violation {
                account: account.key.id,
                what,
            });
            return Ok(report);
        }
        report.heads.push(LedgerHead {
            account: account.key.id,
            entries: account.entries.cast_unsigned(),
            head: account.head,
        });
    }
    report.violation = noted.into_keys().min().map(|account| Violation {
        account,
        what: "its head was noted, and the account is gone".to_owned(),
    });
    Ok(report)
}

/// Since when requests are kept.
fn requests_from(connection: Connection<'_>) -> Result<i64, StoreError> {
    let value: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [REQUESTS_FROM], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(value) = value else { return Ok(i64::MIN) };
    let text = String::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(StoreError::Damaged("since when requests are kept"))
}

/// Counts what is done, and tells of it now and then.
struct Steps<'a> {
    done: u64,
    total: u64,
    told_at: u64,
    tell: &'a mut dyn FnMut(AuditProgress),
}

impl Steps<'_> {
    fn step(&mut self) {
        self.done += 1;
        if self.done - self.told_at >= PROGRESS_EVERY_ROWS {
            self.told_at = self.done;
            (self.tell)(AuditProgress {
                done: self.done,
                total: self.total.max(self.done),
            });
        }
    }
}

/// The account row's money.
struct AuditedAccount {
    key: AccountKey,
    balance: Credits,
    held: Credits,
    entries: i64,
    purchased: Credits,
    consumed: Credits,
    next_lapse_at: Option<i64>,
    head: EntryHash,
    last_entry_at: i64,
}

/// The bucket and the id of the next account.
fn next_place(connection: Connection<'_>, after_id: i64) -> Result<Option<[i64; 2]>, StoreError> {
    let sql = if connection.is_postgres() {
        "SELECT bucket, account_id FROM account_place WHERE account_id > ?1 ORDER BY account_id LIMIT 1"
    } else {
        "SELECT bucket, account_id FROM account WHERE account_id > ?1 ORDER BY account_id LIMIT 1"
    };
    let place = connection.query_row(sql, [after_id], |row| Ok([row.get::<i64>(0)?, row.get(1)?]));
    Ok(place.optional()?)
}

/// Waits a while for an account's row.
fn comes(connection: Connection<'_>, place: [i64; 2]) -> Result<bool, StoreError> {
    for _ in 0..ROW_LOOKS {
        if account_at(connection, place)?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(ROW_PAUSE);
    }
    Ok(false)
}

fn account_at(connection: Connection<'_>, place: [i64; 2]) -> Result<Option<AuditedAccount>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT bucket, account_id, balance, held, entries, purchased, consumed, next_lapse_at, head, last_entry_at \
         FROM account WHERE bucket = ?1 AND account_id = ?2",
    )?;
    let mut rows = statement.query(place)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(AuditedAccount {
        key: account_key(row.get(0)?, row.get(1)?)?,
        balance: Credits::from_micros(row.get(2)?),
        held: Credits::from_micros(row.get(3)?),
        entries: row.get(4)?,
        purchased: Credits::from_micros(row.get(5)?),
        consumed: Credits::from_micros(row.get(6)?),
        next_lapse_at: row.get(7)?,
        head: EntryHash::from_bytes(row.get(8)?),
        last_entry_at: row.get(9)?,
    }))
}

/// One account's check. Its parts are spread over this module's files by subject.
struct AccountCheck<'a, 'b> {
    connection: Connection<'a>,
    account: &'a AuditedAccount,
    noted: Option<LedgerHead>,
    /// Since when requests are kept.
    requests_from: i64,
    /// What the entries say of charges and refunds, compared with what the requests say.
    charged: ChargedRequests,
    /// Requests whose state is beyond `Sent`: each has a timeline.
    moved: u64,
    report: &'a mut AuditReport,
    steps: &'a mut Steps<'b>,
}

/// What is wrong, if anything is.
type Finding = Result<Option<String>, StoreError>;

/// Stops the check with a finding.
macro_rules! require {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Ok(Some(format!($($what)+)));
        }
    };
}
use require;

impl AccountCheck<'_, '_> {
    fn run(&mut self) -> Finding {
        for check in [
            Self::entries,
            Self::purchases,
            Self::requests,
            Self::charges,
            Self::timelines,
        ] {
            if let Some(finding) = check(self)? {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    fn place(&self) -> [i64; 2] {
        [i64::from(self.account.key.bucket.0), self.account.key.id.number()]
    }
}

fn request_id(row: Row<'_>) -> Result<RequestId, StoreError> {
    Ok(request_id_of(row.get(0)?, row.get(1)?))
}
