//! The ledger's chain: what tampering the audit finds in it, heads that were noted elsewhere, and a ledger of an older
//! schema that is chained when it is opened.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::{
    AccountId, AccountKey, Action, AdjustmentReason, Answer, ApiError, ApiToken, Bucket, CREDIT_LIFE_MS, Command,
    Credits, EntryHash, PhoneNumber, Rules, Timestamp,
};
use countersign_store::{
    Actor, AuditReport, Books, Database, LedgerHead, MasterKey, NewAccount, StoreError, audit, testing,
};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn open(directory: &Path) -> Arc<dyn Books> {
    let (store, _) = testing::open(directory, MasterKey::from_bytes([7; 32]), Rules::default()).unwrap();
    store
}

fn key() -> AccountKey {
    AccountKey {
        bucket: Bucket(9),
        id: AccountId::new(77).unwrap(),
    }
}

async fn with_account(directory: &Path) -> Arc<dyn Books> {
    let store = open(directory);
    let new = NewAccount {
        key: key(),
        token: ApiToken::new(key().id, [3; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_567_890),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    store
}

async fn ask(store: &Arc<dyn Books>, action: Action, now: Timestamp) -> Result<Answer, ApiError> {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action,
    };
    store.submit(key(), command).await.unwrap()
}

fn adjust(amount: i64, reason: &str) -> Action {
    Action::Adjust {
        amount: Credits::from_micros(amount),
        reason: AdjustmentReason::new(reason).unwrap(),
    }
}

/// Six entries, and the books closed.
async fn six_entries(directory: &Path) {
    let store = with_account(directory).await;
    let amount = Credits::from_micros(5_000_000);
    for _ in 0..3 {
        ask(&store, Action::Purchase { amount }, NOW).await.unwrap();
        ask(&store, adjust(-10_000, "a correction"), NOW).await.unwrap();
    }
    store.close().await.unwrap();
}

fn audited(directory: &Path, noted: &[LedgerHead]) -> AuditReport {
    audit(&testing::database(directory).unwrap(), noted, |_| {}).unwrap()
}

/// Does to the database what its guards forbid, as somebody who has it could.
fn tamper(directory: &Path, statements: &str) {
    let done = testing::with_tables(directory, |tables| {
        tables.unguard("ledger_entry")?;
        for sql in statements.split(';').filter(|sql| !sql.trim().is_empty()) {
            tables.execute(sql)?;
        }
        Ok::<_, StoreError>(())
    });
    done.unwrap().unwrap();
}

#[tokio::test]
async fn an_adjustment_is_an_entry_with_its_reason_and_never_takes_what_isnt_there() {
    let directory = tempfile::tempdir().unwrap();
    six_entries(directory.path()).await;
    let store = open(directory.path());
    let refused = ask(&store, adjust(-15_000_000, "too much"), NOW).await;
    assert_eq!(refused, Err(ApiError::BalanceNotEnough));
    store.close().await.unwrap();
    let sql = "SELECT count(*), max(reason) FROM ledger_entry WHERE kind = 5";
    let rows = testing::with_tables(directory.path(), |tables| tables.query(sql, &[])).unwrap();
    let row = rows.unwrap().remove(0);
    let (count, reason): (i64, String) = (row.get(0), row.get(1));
    assert_eq!((count, reason.as_str()), (3, "a correction"));
}

#[tokio::test]
async fn a_clean_chain_is_told_with_its_head_and_meets_heads_noted_before() {
    let directory = tempfile::tempdir().unwrap();
    six_entries(directory.path()).await;
    let first = audited(directory.path(), &[]);
    assert_eq!((first.violation.as_ref(), first.entries), (None, 6));
    let [head] = first.heads[..] else {
        unreachable!("one account")
    };
    assert_eq!((head.entries, head.account), (6, key().id));
    let store = open(directory.path());
    ask(&store, adjust(1, "one more"), NOW).await.unwrap();
    store.close().await.unwrap();
    let second = audited(directory.path(), &[head]);
    assert_eq!(second.violation, None);
    assert_ne!(second.head(), first.head());
}

#[tokio::test]
async fn every_way_to_tamper_with_entries_breaks_the_chain() {
    for (sql, expected) in [
        (
            "UPDATE ledger_entry SET at = at - 1 WHERE number = 3",
            "entry 3 was booked before",
        ),
        (
            "UPDATE ledger_entry SET reason = 'another' WHERE number = 2",
            "entry 3 carries",
        ),
        (
            "UPDATE ledger_entry SET at = at + 1 WHERE number = 6",
            "the account's row says that its last entry's hash is",
        ),
        ("DELETE FROM ledger_entry WHERE number = 4", "entry 5 follows entry 3"),
        (
            "DELETE FROM ledger_entry WHERE number = 6; UPDATE account SET entries = 5, balance = balance + 10000, \
             consumed = consumed - 10000",
            "the account's row says that its last entry's hash is",
        ),
        (
            "UPDATE purchase SET through = through + 1 WHERE entry = 3",
            "purchase 3 reaches up to",
        ),
        ("UPDATE account SET next_lapse_at = NULL", "credit lapses at None"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        six_entries(directory.path()).await;
        tamper(directory.path(), sql);
        let violation = audited(directory.path(), &[]).violation.unwrap();
        assert!(violation.what.contains(expected), "{sql}: {violation}");
    }
}

#[tokio::test]
async fn a_forged_chain_that_fits_itself_is_found_by_the_head_that_was_noted() {
    let directory = tempfile::tempdir().unwrap();
    six_entries(directory.path()).await;
    let honest = audited(directory.path(), &[]).heads[0];
    // Another history with sums that fit: made by the program itself, elsewhere.
    let forged = tempfile::tempdir().unwrap();
    let store = with_account(forged.path()).await;
    for _ in 0..7 {
        let amount = Credits::from_micros(1);
        ask(&store, Action::Purchase { amount }, NOW).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(audited(forged.path(), &[]).violation, None);
    let violation = audited(forged.path(), &[honest]).violation.unwrap();
    assert!(
        violation.what.contains("the hash of entry 6 was noted as"),
        "{violation}"
    );
    let longer = LedgerHead { entries: 9, ..honest };
    let violation = audited(directory.path(), &[longer]).violation.unwrap();
    assert!(violation.what.contains("9 entries were noted"), "{violation}");
    let gone = LedgerHead {
        account: AccountId::new(78).unwrap(),
        ..honest
    };
    let violation = audited(directory.path(), &[gone]).violation.unwrap();
    assert!(violation.what.contains("the account is gone"), "{violation}");
}

#[tokio::test]
async fn accounts_whose_credit_is_due_are_found_until_it_has_lapsed() {
    let directory = tempfile::tempdir().unwrap();
    six_entries(directory.path()).await;
    let store = open(directory.path());
    let later = NOW.plus_millis(CREDIT_LIFE_MS);
    assert_eq!(store.due_lapses(later.plus_millis(-1), 10).await.unwrap(), []);
    assert_eq!(store.due_lapses(later, 10).await.unwrap(), [key()]);
    ask(&store, Action::Lapse, later).await.unwrap();
    assert_eq!(store.due_lapses(later, 10).await.unwrap(), []);
    let balance = store.account(key().id).await.unwrap().unwrap().balance;
    assert_eq!(balance, Credits::ZERO);
    store.close().await.unwrap();
    assert_eq!(audited(directory.path(), &[]).violation, None);
}

#[tokio::test]
async fn statements_of_neighbouring_times_join_and_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = with_account(directory.path()).await;
    // Entries at uneven times, some at the same moment, over an hour.
    for step in 0..200_i64 {
        let now = NOW.plus_millis(step * step % 3_601 * 1_000);
        let action = match step % 3 {
            0 => Action::Purchase {
                amount: Credits::from_micros(1_000 + step),
            },
            1 => adjust(-7, "less"),
            _ => adjust(step, "more"),
        };
        ask(&store, action, now).await.unwrap();
    }
    let at = |seconds: i64| NOW.plus_millis(seconds * 1_000);
    let edges = [at(-10), at(0), at(1), at(900), at(900), at(2_000), at(3_600), at(9_999)];
    let mut numbers = Vec::new();
    let mut balance = Credits::ZERO;
    for time in edges.windows(2) {
        let (mut after, mut sum, mut closing) = (None, Credits::ZERO, None);
        loop {
            let page = store.statement(key(), time[0], time[1], after, 7).await.unwrap();
            assert_eq!(page.opening_balance, balance);
            closing.get_or_insert(page.closing_balance);
            assert_eq!(closing, Some(page.closing_balance));
            let Some(last) = page.entries.last() else {
                break;
            };
            after = Some(last.number);
            sum += page.entries.iter().map(|entry| entry.amount).sum();
            assert!(page.entries.iter().all(|entry| (time[0]..time[1]).contains(&entry.at)));
            numbers.extend(page.entries.into_iter().map(|entry| entry.number));
        }
        assert_eq!(closing, Some(balance + sum));
        balance += sum;
    }
    assert_eq!(numbers, (1..=200).collect::<Vec<u64>>());
    assert_eq!(store.account(key().id).await.unwrap().unwrap().balance, balance);
    let unknown = AccountKey {
        bucket: Bucket(1),
        id: AccountId::new(5).unwrap(),
    };
    assert!(store.statement(unknown, NOW, at(1), None, 5).await.is_err());
}

/// Books of an older SQLite schema.
mod sqlite {
    use countersign_store::{SqliteOptions, SqliteStore, Store as _};
    use rusqlite::Connection;

    use super::*;

    fn open(path: &Path) -> Arc<SqliteStore> {
        let options = SqliteOptions {
            path: path.to_owned(),
            master_key: MasterKey::from_bytes([7; 32]),
            rules: Rules::default(),
        };
        SqliteStore::open(options).unwrap().0
    }

    #[tokio::test]
    async fn a_ledger_of_the_first_schema_is_chained_when_it_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        database
            .execute_batch(include_str!("../src/sqlite/migrations/0001_books.sql"))
            .unwrap();
        database
            .execute_batch(
                "INSERT INTO account VALUES (9, 77, 'Acme', 391234567890, x'01', x'02', 1, '[]', 5, NULL, 2000000, 0, 3, 3000000, \
                 1000000, 99999, 0, 0, 0);
                 INSERT INTO purchase VALUES (9, 77, 1, 3000000, 99999, 0);
                 INSERT INTO ledger_entry VALUES (9, 77, 1, 1, 3000000, 3000000, 50, NULL, NULL);
                 INSERT INTO ledger_entry VALUES (9, 77, 2, 4, -1500000, 1500000, 40, NULL, NULL);
                 INSERT INTO ledger_entry VALUES (9, 77, 3, 1, 500000, 2000000, 60, NULL, NULL);
                 UPDATE account SET purchased = 3500000, consumed = 1500000;
                 INSERT INTO purchase VALUES (9, 77, 3, 3500000, 199999, 0);
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(database);
        open(directory.path()).close().await.unwrap();
        let books = Database::Sqlite(directory.path().to_owned());
        let report = audit(&books, &[], |_| {}).unwrap();
        assert_eq!(report.violation, None);
        assert_ne!(report.heads[0].head, EntryHash::NONE);
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        let booked: i64 = database
            .query_row("SELECT at FROM ledger_entry WHERE number = 2", [], |row| row.get(0))
            .unwrap();
        assert_eq!(booked, 50, "no entry is booked before the one before it");
        assert!(database.execute("UPDATE ledger_entry SET at = 1", []).is_err());
    }
}
