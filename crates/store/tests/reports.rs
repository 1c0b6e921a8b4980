//! Delivery reports in the SQLite books: order, lanes, attempts, the hand-over, redelivery by hand, and the migration of reports
//! that an older version wrote.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_800_000_060_000);
const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);

struct Books {
    store: Arc<dyn countersign_store::Books>,
    new_reports: NewReports,
    directory: tempfile::TempDir,
}

fn open(path: &Path) -> (Arc<dyn countersign_store::Books>, CommittedWork) {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default()).unwrap()
}

impl Books {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut work) = open(directory.path());
        let new_reports = work.take_reports().unwrap();
        assert!(work.take_reports().is_none(), "one worker sends reports");
        Self {
            store,
            new_reports,
            directory,
        }
    }

    async fn account(&self, number: u64) -> AccountKey {
        let id = AccountId::from_entropy(0x1234_5678_9abc_0000 + number);
        let key = AccountKey::of_new(id);
        let new = NewAccount {
            key,
            token: ApiToken::new(id, [9; 32]),
            name: "Acme".into(),
            phone: PhoneNumber::from_stored(9_996_600_000 + number),
            now: NOW,
        };
        self.store.create_account(new, Actor::Operator).await.unwrap();
        let amount = Credits::parse("1000").unwrap();
        self.ask(key, Action::Purchase { amount }).await;
        key
    }

    async fn ask(&self, account: AccountKey, action: Action) {
        let command = Command {
            now: NOW,
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(account, command).await.unwrap().unwrap();
    }

    async fn send(&self, account: AccountKey, id_entropy: u64, callback: &str) -> RequestRef {
        let send = Send {
            email: None,
            locale: None,
            phone: PHONE,
            request: None,
            sender: None,
            code: SendCode::Generate {
                length: CodeLength::default(),
                entropy: 123_456,
            },
            callback_url: CallbackUrl::parse(callback, PlainHttp::Accepted),
            payload: None,
            ttl: Ttl::default(),
            id_entropy,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        };
        self.ask(account, Action::Send(Box::new(send))).await;
        RequestRef {
            account,
            id: RequestId::new(NOW, id_entropy),
        }
    }

    async fn news(&self, request: RequestRef, news: News) {
        let action = Action::news(request.id, news);
        self.ask(request.account, action).await;
    }

    /// A request that was delivered, and whose report is due.
    async fn delivered(&self, account: AccountKey, id_entropy: u64, callback: &str) -> RequestRef {
        let request = self.send(account, id_entropy, callback).await;
        self.news(request, News::Delivered).await;
        request
    }

    async fn lanes(&self) -> Vec<(ReportLane, Timestamp)> {
        let mut lanes = Vec::new();
        for account in self.store.report_accounts(None, 100).await.unwrap() {
            lanes.extend(self.store.report_lanes(account, None, 100).await.unwrap());
        }
        lanes
    }

    /// What is due in all lanes.
    async fn due(&self, now: Timestamp) -> Vec<DueReport> {
        let mut due = Vec::new();
        for (lane, _) in self.lanes().await {
            due.extend(self.store.due_reports(lane, now, None, 1_000).await.unwrap());
        }
        due
    }

    async fn record(&self, key: ReportKey, outcome: ReportOutcome) -> Option<DueReport> {
        self.store
            .record_report(key, failed(), outcome, self.store.lease())
            .await
            .unwrap()
    }

    async fn detail(&self, key: ReportKey) -> ReportDetail {
        self.store.report(key).await.unwrap().unwrap()
    }

    fn handed(&mut self) -> Vec<DueReport> {
        let mut all = Vec::new();
        while let Some(handed) = self.new_reports.try_next() {
            match handed {
                Handed::Batch(batch) => all.extend(batch),
                Handed::Missed => panic!("something was missed"),
            }
        }
        all
    }
}

fn failed() -> ReportAttempt {
    ReportAttempt {
        at: LATER,
        duration_ms: 12,
        status: Some(503),
        error: Some("answered 503 instead of 200".into()),
        response: b"try again".to_vec(),
    }
}

fn held() -> ReportAttempt {
    ReportAttempt {
        duration_ms: 0,
        status: None,
        error: Some("held back".into()),
        response: Vec::new(),
        ..failed()
    }
}

fn state_of(report: &DueReport) -> String {
    let body: RequestStatus = serde_json::from_slice(&report.body).unwrap();
    body.delivery_status.unwrap().status
}

#[tokio::test]
async fn reports_of_one_request_go_out_one_after_the_other() {
    let books = Books::new();
    let account = books.account(1).await;
    let request = books.delivered(account, 1, "http://127.0.0.1:9/r").await;
    books.news(request, News::Read).await;
    let due = books.due(LATER).await;
    assert_eq!((due.len(), state_of(&due[0])), (1, "delivered".into()));
    let due_at = LATER.plus_millis(1);
    assert!(
        books
            .record(due[0].key, ReportOutcome::Retry { due_at })
            .await
            .is_none()
    );
    assert!(books.due(LATER).await.is_empty());
    let again = books.due(due_at).await;
    assert_eq!((again.len(), again[0].attempts, &again[0].body), (1, 1, &due[0].body));
    let next = books.record(again[0].key, ReportOutcome::Acknowledged).await.unwrap();
    assert_eq!(
        (state_of(&next), next.attempts, &*next.host),
        ("read".into(), 0, "127.0.0.1:9")
    );
    let read_back = books.due(LATER).await;
    assert_eq!(
        (read_back.len(), read_back[0].key, &read_back[0].body),
        (1, next.key, &next.body)
    );
    assert!(books.record(next.key, ReportOutcome::Lost).await.is_none());
    assert!(books.due(LATER.plus_millis(99)).await.is_empty());
}

#[tokio::test]
async fn a_report_that_is_due_at_once_is_handed_over_and_one_that_waits_is_not() {
    let mut books = Books::new();
    let account = books.account(1).await;
    let request = books.delivered(account, 1, "https://Example.COM/r?x=1").await;
    books.news(request, News::Read).await;
    let handed = books.handed();
    assert_eq!((handed.len(), state_of(&handed[0])), (1, "delivered".into()));
    let read_back = books.due(NOW).await;
    assert_eq!(handed[0].place(), read_back[0].place());
    assert_eq!(handed[0].lane(), read_back[0].lane());
    assert_eq!((&*handed[0].host, &handed[0].body), ("example.com", &read_back[0].body));
    books.record(handed[0].key, ReportOutcome::Acknowledged).await.unwrap();
    assert!(
        books.handed().is_empty(),
        "what an answer tells is not handed over as well"
    );
}

#[tokio::test]
async fn more_new_reports_than_the_hand_over_takes_are_told_as_missed_and_stand_in_the_books() {
    let mut books = Books::new();
    let account = books.account(1).await;
    let mut requests = Vec::new();
    for round in 0..10 {
        let sends = (0..1_000).map(|n| books.delivered(account, round * 1_000 + n, "https://example.com/"));
        requests.extend(futures_util::future::join_all(sends).await);
    }
    let (mut handed, mut missed) = (0, false);
    while let Some(next) = books.new_reports.try_next() {
        match next {
            Handed::Batch(batch) => handed += batch.len(),
            Handed::Missed => missed = true,
        }
    }
    assert!(missed && handed <= 8_192, "{handed} were handed over, missed: {missed}");
    let (lane, _) = books.lanes().await.remove(0);
    let all = books.store.due_reports(lane, NOW, None, 20_000).await.unwrap();
    assert_eq!(all.len(), 10_000);
}

#[tokio::test]
async fn a_lane_costs_one_look_and_is_read_on_from_a_place() {
    let books = Books::new();
    let (busy, other) = (books.account(1).await, books.account(2).await);
    for n in 0..250 {
        books.delivered(busy, n, "https://dead.example/r").await;
    }
    books.delivered(busy, 1_000, "https://alive.example:8443/").await;
    books.delivered(other, 1, "https://dead.example/").await;
    let accounts = books.store.report_accounts(None, 10).await.unwrap();
    assert_eq!(accounts.len(), 2);
    assert_eq!(
        books.store.report_accounts(Some(accounts[0]), 10).await.unwrap(),
        accounts[1..]
    );
    assert_eq!(books.store.report_accounts(None, 1).await.unwrap(), accounts[..1]);
    let lanes = books.store.report_lanes(busy, None, 10).await.unwrap();
    let hosts: Vec<&str> = lanes.iter().map(|(lane, _)| &*lane.host).collect();
    assert_eq!(hosts, ["alive.example:8443", "dead.example"]);
    assert!(lanes.iter().all(|(_, due_at)| *due_at == NOW));
    let after = Some(Arc::clone(&lanes[0].0.host));
    assert_eq!(books.store.report_lanes(busy, after, 10).await.unwrap(), lanes[1..]);
    let (mut after, mut seen) = (None, std::collections::BTreeSet::new());
    loop {
        let page = books
            .store
            .due_reports(lanes[1].0.clone(), NOW, after, 100)
            .await
            .unwrap();
        assert!(page.iter().all(|report| seen.insert(report.key)), "one was read twice");
        if page.len() < 100 {
            break;
        }
        after = page.last().map(DueReport::place);
    }
    assert_eq!(seen.len(), 250);
}

#[tokio::test]
async fn attempts_are_kept_and_being_held_back_in_a_row_is_one_of_them() {
    let books = Books::new();
    let account = books.account(1).await;
    let request = books.delivered(account, 1, "https://example.com/").await;
    let key = books.due(NOW).await[0].key;
    let due_at = LATER;
    books.record(key, ReportOutcome::Retry { due_at }).await;
    for _ in 0..3 {
        let outcome = ReportOutcome::Held { due_at };
        books
            .store
            .record_report(key, held(), outcome, books.store.lease())
            .await
            .unwrap();
    }
    assert_eq!(books.due(LATER).await[0].attempts, 1, "held back is no retry");
    let mut long = failed();
    long.response = vec![b'x'; 10_000];
    books
        .store
        .record_report(key, long, ReportOutcome::Retry { due_at }, books.store.lease())
        .await
        .unwrap();
    books
        .store
        .record_report(key, held(), ReportOutcome::Held { due_at }, books.store.lease())
        .await
        .unwrap();
    let acknowledgement = ReportAttempt {
        status: Some(200),
        error: None,
        response: Vec::new(),
        ..failed()
    };
    books
        .store
        .record_report(
            key,
            acknowledgement.clone(),
            ReportOutcome::Acknowledged,
            books.store.lease(),
        )
        .await
        .unwrap();
    let detail = books.detail(key).await;
    let counts: Vec<u32> = detail.attempts.iter().map(|kept| kept.held).collect();
    assert_eq!(counts, [0, 3, 0, 1, 0]);
    assert_eq!(detail.attempts[0].attempt, failed());
    assert_eq!(detail.attempts[2].attempt.response.len(), MAX_KEPT_RESPONSE_BYTES);
    assert_eq!(detail.attempts[4].attempt, acknowledgement);
    let profile = detail.profile;
    assert_eq!(
        (profile.state, profile.attempts, profile.due_at),
        (ReportState::Acknowledged, 3, None)
    );
    assert_eq!((profile.kind, profile.finished_at), (ReportKind::Delivery, Some(LATER)));
    assert_eq!(profile.key.request, request);
    // What is said of a report that is done changes nothing.
    books.record(key, ReportOutcome::Lost).await;
    books.record(key, ReportOutcome::Held { due_at }).await;
    assert_eq!(books.detail(key).await.attempts.len(), 5);
    assert_eq!(books.detail(key).await.profile.state, ReportState::Acknowledged);
}

/// Where nobody can tell whether it was written, it is said once more.
#[tokio::test]
async fn an_attempt_that_is_said_twice_counts_once() {
    if !testing::on_postgres() {
        return;
    }
    let books = Books::new();
    let account = books.account(1).await;
    books.delivered(account, 1, "https://example.com/").await;
    let key = books.due(NOW).await[0].key;
    for round in 1..3 {
        let due_at = LATER.plus_millis(1_000 * round);
        let attempt = ReportAttempt {
            at: LATER.plus_millis(1_000 * round - 1_000),
            ..failed()
        };
        for _ in 0..2 {
            let outcome = ReportOutcome::Retry { due_at };
            let recorded = books
                .store
                .record_report(key, attempt.clone(), outcome, books.store.lease());
            recorded.await.unwrap();
        }
    }
    assert_eq!(books.detail(key).await.attempts.len(), 2);
}

#[tokio::test]
async fn a_lost_report_goes_again_by_hand_with_all_its_retries() {
    let mut books = Books::new();
    let account = books.account(1).await;
    books.delivered(account, 1, "https://example.com/").await;
    let key = books.handed()[0].key;
    assert!(matches!(
        books.store.redeliver_report(key, LATER, Actor::Operator).await,
        Err(StoreError::NotFound("lost delivery report"))
    ));
    let due_at = LATER;
    books.record(key, ReportOutcome::Retry { due_at }).await;
    books.record(key, ReportOutcome::Lost).await;
    assert!(books.due(LATER).await.is_empty());
    let profile = books.store.redeliver_report(key, LATER, Actor::Operator).await.unwrap();
    assert_eq!(
        (profile.state, profile.attempts, profile.due_at),
        (ReportState::Pending, 0, Some(LATER))
    );
    let handed = books.handed();
    assert_eq!((handed.len(), handed[0].key, handed[0].attempts), (1, key, 0));
    books.record(key, ReportOutcome::Acknowledged).await;
    let detail = books.detail(key).await;
    assert_eq!(
        (detail.profile.state, detail.attempts.len()),
        (ReportState::Acknowledged, 3)
    );
}

#[tokio::test]
async fn a_report_sent_again_by_hand_waits_for_the_one_of_its_request_that_is_under_way() {
    let mut books = Books::new();
    let account = books.account(1).await;
    let request = books.delivered(account, 1, "https://example.com/").await;
    books.news(request, News::Read).await;
    let first = books.handed()[0].key;
    let second = books.record(first, ReportOutcome::Lost).await.unwrap().key;
    let profile = books
        .store
        .redeliver_report(first, LATER, Actor::Operator)
        .await
        .unwrap();
    assert_eq!((profile.state, profile.due_at), (ReportState::Pending, None));
    assert!(books.handed().is_empty());
    let due = books.due(LATER).await;
    assert_eq!((due.len(), due[0].key), (1, second), "one at a time");
    let next = books.record(second, ReportOutcome::Acknowledged).await.unwrap();
    assert_eq!(next.key, first);
}

#[tokio::test]
async fn an_owner_finds_reports_by_state_page_by_page() {
    let books = Books::new();
    let (account, other) = (books.account(1).await, books.account(2).await);
    for n in 0..9 {
        books.delivered(account, n, "https://example.com/").await;
    }
    books.delivered(other, 1, "https://example.com/").await;
    let mut due = books.due(NOW).await;
    due.retain(|report| report.key.request.account == account);
    due.sort_by_key(|report| report.key.request.id.random());
    for report in &due[..3] {
        books.record(report.key, ReportOutcome::Lost).await;
    }
    for report in &due[3..5] {
        books.record(report.key, ReportOutcome::Acknowledged).await;
    }
    let numbers = async |filter, before, limit| -> Vec<u64> {
        let found = books.store.reports(account, filter, before, limit).await.unwrap();
        found.iter().map(|profile| profile.key.request.id.random()).collect()
    };
    assert_eq!(numbers(ReportFilter::Lost, None, 10).await, [2, 1, 0]);
    assert_eq!(numbers(ReportFilter::Pending, None, 10).await, [8, 7, 6, 5]);
    assert_eq!(numbers(ReportFilter::All, None, 4).await, [8, 7, 6, 5]);
    assert_eq!(numbers(ReportFilter::All, Some(due[5].key), 10).await, [4, 3, 2, 1, 0]);
    assert_eq!(numbers(ReportFilter::Lost, Some(due[2].key), 1).await, [1]);
}

#[tokio::test]
async fn bodies_and_answers_are_nowhere_in_the_file() {
    let books = Books::new();
    let account = books.account(1).await;
    books.delivered(account, 1, "https://example.com/").await;
    let key = books.due(NOW).await[0].key;
    let mut attempt = failed();
    attempt.response = b"a secret of the receiver".to_vec();
    let due_at = LATER;
    books
        .store
        .record_report(key, attempt, ReportOutcome::Retry { due_at }, books.store.lease())
        .await
        .unwrap();
    books.store.close().await.unwrap();
    for secret in ["a secret of the receiver", "delivery_status"] {
        let held = testing::books_hold(books.directory.path(), secret.as_bytes()).unwrap();
        assert!(!held, "{secret:?} is in the database");
    }
}

/// How SQLite looks for lanes, and books of an older schema of it.
mod sqlite {
    use rusqlite::Connection;

    use super::*;

    fn open(path: &Path) -> (Arc<SqliteStore>, CommittedWork) {
        let options = SqliteOptions {
            path: path.to_owned(),
            master_key: MasterKey::from_bytes([1; 32]),
            rules: Rules::default(),
        };
        SqliteStore::open(options).unwrap()
    }

    #[tokio::test]
    async fn looking_for_lanes_never_walks_the_reports_of_a_lane() {
        let directory = tempfile::tempdir().unwrap();
        let _books = open(directory.path());
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        let plan = |sql: &str| -> String {
            let mut statement = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        let accounts = plan(
            "SELECT bucket, account_id FROM report INDEXED BY report_lane WHERE due_at IS NOT NULL \
             AND (bucket, account_id) > (1, 2) ORDER BY bucket, account_id LIMIT 1",
        );
        assert_eq!(
            accounts,
            "SEARCH report USING COVERING INDEX report_lane ((bucket,account_id)>(?,?))"
        );
        let lanes = plan(
            "SELECT host, due_at FROM report INDEXED BY report_lane WHERE due_at IS NOT NULL AND bucket = 1 \
             AND account_id = 2 AND host > 'x' ORDER BY host, due_at LIMIT 1",
        );
        assert_eq!(
            lanes,
            "SEARCH report USING COVERING INDEX report_lane (bucket=? AND account_id=? AND host>?)"
        );
    }

    #[tokio::test]
    async fn reports_that_an_older_version_wrote_get_their_lane_and_keep_what_was_tried() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("countersign.db");
        let account = AccountKey::of_new(AccountId::from_entropy(7));
        let (bucket, id) = (account.bucket.0, account.id.number());
        {
            let database = Connection::open(&path).unwrap();
            database.pragma_update(None, "journal_mode", "wal").unwrap();
            database
                .execute_batch(include_str!("../src/sqlite/migrations/0001_books.sql"))
                .unwrap();
            database.pragma_update(None, "user_version", 1).unwrap();
            let urls = [
                "https://Example.com:443/a",
                "http://example.com:8080/b",
                "https://example.com/c",
            ];
            for ((number, url), reason) in (0_i64..).zip(urls).zip([Some("answered 500"), None, None]) {
                let due_at = (number != 2).then_some(NOW.millis());
                database
                    .execute(
                        "INSERT INTO report (bucket, account_id, created_at, random, number, state, attempts, due_at, made_at, \
                         reason, callback_url, body_sealed) VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?3, ?8, ?9, x'00')",
                        rusqlite::params![
                            bucket,
                            id,
                            NOW.millis(),
                            number,
                            i64::from(due_at.is_none()),
                            i64::from(reason.is_some()),
                            due_at,
                            reason,
                            url
                        ],
                    )
                    .unwrap();
            }
        }
        let (store, _work) = open(directory.path());
        let lanes = store.report_lanes(account, None, 10).await.unwrap();
        let hosts: Vec<&str> = lanes.iter().map(|(lane, _)| &*lane.host).collect();
        assert_eq!(hosts, ["example.com", "example.com:8080"]);
        let database = Connection::open(&path).unwrap();
        let error: String = database
            .query_row(
                "SELECT error FROM report_attempt WHERE try = 1 AND random = 0",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(error, "answered 500");
        let profiles = store.reports(account, ReportFilter::All, None, 10).await.unwrap();
        let attempts: Vec<u16> = profiles.iter().map(|profile| profile.attempts).collect();
        assert_eq!(attempts, [0, 0, 1]);
    }
}
