//! The SQLite books through the [`Store`] trait: durability, batches, order of reports, recovery, refusals at start.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Books {
    store: Arc<SqliteStore>,
    work: CommittedWork,
    account: AccountKey,
    token: ApiToken,
}

fn open_at(path: &Path, key: u8) -> Result<(Arc<SqliteStore>, CommittedWork), StoreError> {
    let master_key = MasterKey::from_bytes([key; 32]);
    SqliteStore::open(SqliteOptions {
        path: path.to_owned(),
        master_key,
        rules: Rules::default(),
    })
}

fn phone(digits: u64) -> PhoneNumber {
    PhoneNumber::from_stored(digits)
}

async fn books(path: &Path) -> Books {
    let (store, work) = open_at(path, 1).unwrap();
    let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
    let account = AccountKey::of_new(id);
    let token = ApiToken::new(id, [9; 32]);
    let new = NewAccount {
        key: account,
        token: token.clone(),
        name: "Acme".into(),
        phone: phone(9_996_600_000),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let books = Books {
        store,
        work,
        account,
        token,
    };
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

    async fn send(&self, to: PhoneNumber, entropy: u64, callback: Option<&str>) -> RequestId {
        let id = RequestId::new(NOW, entropy);
        let outcome = self.ask(send(to, entropy, callback), NOW).await;
        assert!(matches!(outcome, Ok(Answer::Status(_))), "{outcome:?}");
        id
    }

    async fn balance(&self) -> String {
        self.store
            .account(self.account.id)
            .await
            .unwrap()
            .unwrap()
            .balance
            .to_string()
    }

    async fn next_batch(&mut self) -> Vec<Committed> {
        match self.work.next().await {
            Some(Handed::Batch(batch)) => batch,
            other => panic!("{other:?}"),
        }
    }
}

fn send(to: PhoneNumber, id_entropy: u64, callback: Option<&str>) -> Action {
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
        callback_url: callback.map(|url| CallbackUrl::parse(url, PlainHttp::Accepted).unwrap()),
        payload: None,
        ttl: Ttl::default(),
        id_entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
    }))
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = books(directory.path()).await;
    let id = books.send(phone(391_234_567_890), 1, None).await;
    let batch = books.next_batch().await;
    assert_eq!(batch[0].work, Some(Work::Deliver));
    let before = books.store.request(books.account, id).await.unwrap().unwrap();
    assert_eq!(before, batch[0].request);
    books.store.close().await.unwrap();
    let (store, _work) = open_at(directory.path(), 1).unwrap();
    assert_eq!(store.request(books.account, id).await.unwrap(), Some(before));
    let access = store.authenticate(&books.token).await.unwrap().unwrap();
    assert_eq!(access.key, books.account);
    let waiting = store.waiting_messages(NOW, None, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(store.waiting_messages(NOW, Some(waiting[0].0), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_thousand_commands_at_once_are_judged_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let sends = (0..1_500).map(|n| books.ask(send(phone(391_230_000_000 + n), n, None), NOW));
    let outcomes = futures_util::future::join_all(sends).await;
    let sent = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == Err(ApiError::BalanceNotEnough))
        .count();
    assert_eq!((sent, refused), (1_000, 500), "ten credits buy a thousand messages");
    assert_eq!(books.balance().await, "0");
    let report = audit(directory.path(), &[], |_| {}).unwrap();
    assert_eq!(
        (report.violation, report.entries, report.requests),
        (None, 1_001, 1_000)
    );
}

#[tokio::test]
async fn a_moved_clock_brings_what_waits_closer() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let id = books.send(phone(391_234_567_890), 1, None).await;
    assert!(books.store.due_requests(NOW, None, 10).await.unwrap().is_empty());
    books.ask(Action::AdvanceClock { by_ms: 3_600_000 }, NOW).await.unwrap();
    let due = books.store.due_requests(NOW, Some(books.account), 10).await.unwrap();
    assert_eq!(
        due,
        [RequestRef {
            account: books.account,
            id
        }]
    );
    let access = books.store.authenticate(&books.token).await.unwrap().unwrap();
    assert_eq!(access.clock_offset_ms, 3_600_000);
    books.ask(Action::Wake { request: id }, NOW).await.unwrap();
    let request = books.store.request(books.account, id).await.unwrap().unwrap();
    assert_eq!((request.delivery, request.refunded), (DeliveryState::Expired, true));
    assert_eq!(books.balance().await, "10");
    assert!(books.store.due_requests(NOW, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rotated_token_and_a_closed_account_open_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let stale = books.store.authenticate(&books.token).await.unwrap().unwrap();
    let second = ApiToken::new(books.account.id, [8; 32]);
    books
        .store
        .rotate_token(books.account, second.clone(), Actor::Operator)
        .await
        .unwrap();
    assert!(books.store.authenticate(&books.token).await.unwrap().is_none());
    assert_eq!(books.store.token(books.account).await.unwrap(), second);
    let action = send(phone(391_234_567_890), 1, None);
    let command = Command {
        now: NOW,
        token: Some(stale.token),
        idempotency: None,
        action,
    };
    assert_eq!(
        books.store.submit(books.account, command).await.unwrap(),
        Err(ApiError::AccessTokenInvalid)
    );
    books
        .store
        .close_account(books.account, NOW, Actor::Operator)
        .await
        .unwrap();
    assert!(books.store.authenticate(&second).await.unwrap().unwrap().closed);
    assert!(matches!(
        books.store.rotate_token(books.account, second, Actor::Operator).await,
        Err(StoreError::NotFound(_))
    ));
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_answer_again_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let command = |entropy| Command {
        now: NOW,
        token: None,
        idempotency: Some(Idempotency {
            key: IdempotencyKey::new("k1").unwrap(),
            fingerprint: [3; 32],
        }),
        action: send(phone(391_234_567_890), entropy, None),
    };
    let first = books.store.submit(books.account, command(1)).await.unwrap().unwrap();
    let Answer::Status(status) = first else {
        panic!("{first:?}")
    };
    books.store.close().await.unwrap();
    let (store, _work) = open_at(directory.path(), 1).unwrap();
    let again = store.submit(books.account, command(2)).await.unwrap().unwrap();
    assert_eq!(again, Answer::Again(serde_json::to_vec(&status).unwrap()));
    assert_eq!(
        store
            .account(books.account.id)
            .await
            .unwrap()
            .unwrap()
            .balance
            .to_string(),
        "9.99"
    );
    assert_eq!(store.forget_old_answers(NOW.plus_millis(DAY_MS + 1)).await.unwrap(), 1);
}

#[tokio::test]
async fn another_master_key_and_a_newer_schema_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    books.store.close().await.unwrap();
    assert!(matches!(open_at(directory.path(), 2), Err(StoreError::WrongMasterKey)));
    let database = rusqlite::Connection::open(directory.path().join("countersign.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    let refusal = open_at(directory.path(), 1).err().unwrap();
    assert!(
        matches!(refusal, StoreError::NewerSchema { found: 99, .. }),
        "{refusal}"
    );
}

#[tokio::test]
async fn the_ledger_refuses_edits_and_the_audit_finds_forgery() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    books.send(phone(391_234_567_890), 1, None).await;
    let database = rusqlite::Connection::open(directory.path().join("countersign.db")).unwrap();
    assert!(database.execute("UPDATE ledger_entry SET amount = 0", []).is_err());
    assert!(database.execute("DELETE FROM ledger_entry", []).is_err());
    let replace = "INSERT OR REPLACE INTO ledger_entry SELECT * FROM ledger_entry WHERE number = 1";
    let refusal = database.execute(replace, []).unwrap_err().to_string();
    assert!(refusal.contains("never replaced"), "{refusal}");
    assert_eq!(audit(directory.path(), &[], |_| {}).unwrap().violation, None);
    database
        .execute("UPDATE account SET balance = balance + 1", [])
        .unwrap();
    let violation = audit(directory.path(), &[], |_| {}).unwrap().violation.unwrap();
    assert!(
        violation
            .what
            .contains("the balance is 9.990001, the sum of entries 9.99"),
        "{violation}"
    );
}

#[tokio::test]
async fn the_audit_finds_a_state_that_moved_backwards() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let request = books.send(phone(391_234_567_890), 1, None).await;
    books.ask(Action::news(request, News::Read), NOW).await.unwrap();
    let database = rusqlite::Connection::open(directory.path().join("countersign.db")).unwrap();
    database.execute("UPDATE request SET delivery = 4", []).unwrap();
    let violation = audit(directory.path(), &[], |_| {}).unwrap().violation.unwrap();
    assert!(violation.what.contains("its timeline ends with Read"), "{violation}");
}

#[tokio::test]
async fn codes_and_tokens_are_nowhere_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let code = SendCode::Supplied(Code::parse("47110815").unwrap());
    let Action::Send(mut parameters) = send(phone(391_234_567_890), 1, Some("http://127.0.0.1:9/r")) else {
        panic!()
    };
    parameters.code = code;
    books.ask(Action::Send(parameters), NOW).await.unwrap();
    let request = RequestId::new(NOW, 1);
    let entered = EnteredCode::new("47110816".into()).unwrap();
    books
        .ask(
            Action::Check {
                request,
                code: Some(entered),
            },
            NOW,
        )
        .await
        .unwrap();
    books.ask(Action::news(request, News::Read), NOW).await.unwrap();
    books.store.close().await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["47110815", "47110816", books.token.as_str()] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} is in the file"
            );
        }
    }
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
        let sends = (0..1_000).map(|n| books.ask(send(phone(391_230_000_000 + n), round * 1_000 + n, None), NOW));
        assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
        let log = directory.path().join("countersign.db-wal");
        largest = largest.max(std::fs::metadata(log).map_or(0, |metadata| metadata.len()));
        // The dispatcher's end is taken from, as in a server; what didn't fit it reads back from the books.
        assert!(books.work.next().await.is_some());
    }
    assert!(largest < 3 * 32 * 1024 * 1024, "the log grew to {largest} bytes");
}

#[tokio::test]
async fn an_admitted_message_lives_from_its_settlement_on() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let Action::Send(mut parameters) = send(phone(391_234_567_890), 1, None) else {
        panic!()
    };
    parameters.reach = Reach::MustAsk;
    let Answer::Admitted(request) = books.ask(Action::Send(parameters), NOW).await.unwrap() else {
        panic!()
    };
    let held = books.store.account(books.account.id).await.unwrap().unwrap().held;
    assert_eq!(held.to_string(), "0.01");
    let later = NOW.plus_millis(5_000);
    books
        .ask(
            Action::Settle {
                request,
                reachable: true,
                plan: None,
                skipped: Vec::new(),
            },
            later,
        )
        .await
        .unwrap();
    let message = books
        .store
        .request(books.account, request)
        .await
        .unwrap()
        .unwrap()
        .message
        .unwrap();
    assert_eq!(
        (message.sent_at, message.expires_at),
        (later, later.plus_millis(3_600_000))
    );
    assert_eq!(audit(directory.path(), &[], |_| {}).unwrap().violation, None);
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
        action: send(phone(391_230_000_000 + n), n, None),
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
    let report = audit(directory.path(), &[], |_| {}).unwrap();
    assert_eq!((report.violation, report.requests), (None, 1_000));
}

#[tokio::test]
async fn the_audit_finds_a_state_that_no_timeline_tells_of() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let request = books.send(phone(391_234_567_890), 1, None).await;
    let news = News::Delivered;
    books.ask(Action::news(request, news), NOW).await.unwrap();
    assert_eq!(audit(directory.path(), &[], |_| {}).unwrap().violation, None);
    let database = rusqlite::Connection::open(directory.path().join("countersign.db")).unwrap();
    database.execute("DELETE FROM timeline", []).unwrap();
    let violation = audit(directory.path(), &[], |_| {}).unwrap().violation.unwrap();
    assert!(violation.what.contains("0 have a timeline"), "{violation}");
}
