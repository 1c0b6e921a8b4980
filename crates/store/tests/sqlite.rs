//! What only books in SQLite's file have: a log beside it, and a writer that one other process can hold up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Books {
    store: Arc<SqliteStore>,
    work: CommittedWork,
    account: AccountKey,
}

fn open(path: &Path) -> (Arc<SqliteStore>, CommittedWork) {
    SqliteStore::open(SqliteOptions {
        path: path.to_owned(),
        master_key: MasterKey::from_bytes([1; 32]),
        rules: Rules::default(),
    })
    .unwrap()
}

fn phone(digits: u64) -> PhoneNumber {
    PhoneNumber::from_stored(digits)
}

async fn books(path: &Path) -> Books {
    let (store, work) = open(path);
    let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
    let account = AccountKey::of_new(id);
    let new = NewAccount {
        key: account,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: phone(9_996_600_000),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let books = Books { store, work, account };
    books
        .ask(
            Action::Purchase {
                amount: Credits::parse("10").unwrap(),
            },
            NOW,
        )
        .await
        .unwrap();
    books
}

impl Books {
    async fn ask(&self, action: Action, now: Timestamp) -> Outcome {
        let command = Command {
            now,
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(self.account, command).await.unwrap()
    }
}

fn send(to: PhoneNumber, id_entropy: u64) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: to,
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: 123_456,
        },
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        id_entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_stays_bounded_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = books(directory.path()).await;
    books
        .ask(
            Action::Purchase {
                amount: Credits::parse("10000").unwrap(),
            },
            NOW,
        )
        .await
        .unwrap();
    let mut largest = 0;
    for round in 0..120 {
        let sends = (0..1_000).map(|n| books.ask(send(phone(391_230_000_000 + n), round * 1_000 + n), NOW));
        assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
        let log = directory.path().join("countersign.db-wal");
        largest = largest.max(std::fs::metadata(log).map_or(0, |metadata| metadata.len()));
        // The dispatcher's end is taken from, as in a server; what didn't fit it reads back from the books.
        assert!(books.work.next().await.is_some());
    }
    assert!(largest < 3 * 32 * 1024 * 1024, "the log grew to {largest} bytes");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_does_nothing_by_half() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    // Somebody else holds the database, so the writer stands still while the queue fills.
    let holder = rusqlite::Connection::open(directory.path().join("countersign.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let command = |n| Command {
        now: NOW,
        token: None,
        idempotency: None,
        action: send(phone(391_230_000_000 + n), n),
    };
    let mut waiting: Vec<_> = (0..12_000)
        .map(|n| books.store.submit(books.account, command(n)))
        .collect();
    let mut refused = 0;
    let mut queued = Vec::new();
    for mut submitted in waiting.drain(..) {
        match futures_util::FutureExt::now_or_never(&mut submitted) {
            Some(Err(StoreError::Busy)) => refused += 1,
            Some(other) => panic!("{other:?}"),
            None => queued.push(submitted),
        }
    }
    assert!(
        refused > 0 && queued.len() >= 8_192,
        "{refused} refused, {} queued",
        queued.len()
    );
    holder.execute_batch("ROLLBACK").unwrap();
    let answered = futures_util::future::join_all(queued).await;
    let sent = answered.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    assert_eq!(
        sent, 1_000,
        "ten credits buy a thousand messages, whoever was refused before"
    );
    let report = audit(&Database::Sqlite(directory.path().to_owned()), &[], |_| {}).unwrap();
    assert_eq!((report.violation, report.requests), (None, 1_000));
}
