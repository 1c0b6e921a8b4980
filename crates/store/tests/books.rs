//! The books through the [`Store`] trait: durability, batches, recovery, secrets, what the audit finds. Those about SQLite's file are in
//! `sqlite.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Books {
    store: Arc<dyn countersign_store::Books>,
    work: CommittedWork,
    account: AccountKey,
    token: ApiToken,
}

fn open_at(path: &Path, key: u8) -> Result<(Arc<dyn countersign_store::Books>, CommittedWork), StoreError> {
    let master_key = MasterKey::from_bytes([key; 32]);
    testing::open(path, master_key, Rules::default())
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
        guard: None,
    }))
}

fn do_to_tables(directory: &Path, sql: &str) {
    let done = testing::with_tables(directory, |tables| tables.execute(sql));
    done.unwrap().unwrap();
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
    testing::take_over(directory.path()).unwrap();
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
    let report = audit(&testing::database(directory.path()).unwrap(), &[], |_| {}).unwrap();
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
                guard: None,
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
    assert_eq!(
        audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
            .unwrap()
            .violation,
        None
    );
}

#[tokio::test]
async fn another_master_key_and_a_newer_schema_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    books.store.close().await.unwrap();
    assert!(matches!(open_at(directory.path(), 2), Err(StoreError::WrongMasterKey)));
    let newer: &[&str] = if testing::on_postgres() {
        &["UPDATE meta SET value = '99' WHERE name IN ('schema', 'oldest_program')"]
    } else {
        &["PRAGMA user_version = 99"]
    };
    for sql in newer {
        do_to_tables(directory.path(), sql);
    }
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
    for edit in [
        "UPDATE ledger_entry SET amount = 0",
        "DELETE FROM ledger_entry",
        "INSERT INTO ledger_entry SELECT * FROM ledger_entry WHERE number = 1 \
         ON CONFLICT (bucket, account_id, number) DO UPDATE SET amount = 0",
    ] {
        let done = testing::with_tables(directory.path(), |tables| tables.execute(edit)).unwrap();
        assert!(done.is_err(), "{edit}");
    }
    assert_eq!(
        audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
            .unwrap()
            .violation,
        None
    );
    do_to_tables(directory.path(), "UPDATE account SET balance = balance + 1");
    let violation = audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
        .unwrap()
        .violation
        .unwrap();
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
    do_to_tables(directory.path(), "UPDATE request SET delivery = 4");
    let violation = audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
        .unwrap()
        .violation
        .unwrap();
    assert!(violation.what.contains("its timeline ends with Read"), "{violation}");
}

#[tokio::test]
async fn the_audit_finds_a_state_that_no_timeline_tells_of() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let request = books.send(phone(391_234_567_890), 1, None).await;
    let news = News::Delivered;
    books.ask(Action::news(request, news), NOW).await.unwrap();
    assert_eq!(
        audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
            .unwrap()
            .violation,
        None
    );
    do_to_tables(directory.path(), "DELETE FROM timeline");
    let violation = audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
        .unwrap()
        .violation
        .unwrap();
    assert!(violation.what.contains("0 have a timeline"), "{violation}");
}

#[tokio::test]
async fn codes_and_tokens_are_nowhere_in_the_database() {
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
    for secret in ["47110815", "47110816", books.token.as_str()] {
        let held = testing::books_hold(directory.path(), secret.as_bytes()).unwrap();
        assert!(!held, "{secret} is in the database");
    }
}
