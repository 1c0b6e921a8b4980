//! What an operator does to a PostgreSQL database: lets old months go, and brings programs of two versions to it; and what the audit says of
//! an account whose row is gone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use tokio_postgres::{Client, NoTls};

const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
/// 15 March 2025 and 15 May 2026, noon.
const LONG_AGO: Timestamp = Timestamp::from_millis(1_742_040_000_000);
const RECENTLY: Timestamp = Timestamp::from_millis(1_778_846_400_000);

/// A database of a test's own; `None` where there is no server for tests.
fn database(name: &str) -> Option<PostgresSettings> {
    std::env::var_os("COUNTERSIGN_TEST_POSTGRES")?;
    let url = testing::new_database(&format!("t_{}_{name}", std::process::id())).unwrap();
    Some(PostgresSettings {
        lanes: 2,
        readers: 2,
        ..PostgresSettings::new(url)
    })
}

fn open(settings: &PostgresSettings) -> Result<Arc<dyn Books>, StoreError> {
    let options = StoreOptions {
        database: Database::Postgres(settings.clone()),
        master_key: MasterKey::from_bytes([1; 32]),
        rules: Rules::default(),
    };
    countersign_store::open(options).map(|(books, _)| books)
}

async fn beside(settings: &PostgresSettings) -> Client {
    let (client, connection) = tokio_postgres::connect(&settings.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn account(books: &dyn Books) -> AccountKey {
    let id = AccountId::from_entropy(0x1234_5678_9abc_0001);
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000),
        now: LONG_AGO,
    };
    books.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse("1000").unwrap();
    ask(books, key, LONG_AGO, Action::Purchase { amount }).await;
    key
}

async fn ask(books: &dyn Books, account: AccountKey, now: Timestamp, action: Action) {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action,
    };
    books.submit(account, command).await.unwrap().unwrap();
}

/// A request that was sent and read at a time: nothing of it is under way.
async fn read_request(books: &dyn Books, account: AccountKey, at: Timestamp, id_entropy: u64) -> RequestId {
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
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        id_entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    ask(books, account, at, Action::Send(Box::new(send))).await;
    let id = RequestId::new(at, id_entropy);
    ask(books, account, at, Action::news(id, News::Read)).await;
    id
}

fn clean(settings: &PostgresSettings) -> AuditReport {
    let report = audit(&Database::Postgres(settings.clone()), &[], |_| {}).unwrap();
    assert_eq!(report.violation, None);
    report
}

#[tokio::test]
async fn old_months_go_and_the_ledger_stays() {
    let Some(settings) = database("retain") else { return };
    let books = open(&settings).unwrap();
    let account = account(books.as_ref()).await;
    // One in a month of its own, one in the default partition: nobody made its month.
    let recent = read_request(books.as_ref(), account, RECENTLY, 2).await;
    let old = read_request(books.as_ref(), account, LONG_AGO, 1).await;
    let client = beside(&settings).await;
    client
        .batch_execute(
            "CREATE TABLE request_2025_03 (LIKE request INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
             WITH old AS (DELETE FROM request_default WHERE created_at BETWEEN 1740787200000 AND 1743465599999 RETURNING *) \
             INSERT INTO request_2025_03 SELECT * FROM old; \
             ALTER TABLE request ATTACH PARTITION request_2025_03 FOR VALUES FROM (1740787200000) TO (1743465600000)",
        )
        .await
        .unwrap();
    let before = clean(&settings);
    assert_eq!((before.requests, before.entries), (2, 3));

    let planned = settings.retain(RECENTLY, false, |_| {}).unwrap();
    assert_eq!(planned.months, ["2025-03"]);
    assert!(
        books.request(account, old).await.unwrap().is_some(),
        "a plan lets nothing go"
    );

    let mut went = Vec::new();
    settings
        .retain(RECENTLY, true, |what| went.push(what.to_owned()))
        .unwrap();
    assert!(went.iter().any(|what| what.contains("request_2025_03")), "{went:?}");
    assert!(books.request(account, old).await.unwrap().is_none());
    assert!(books.request(account, recent).await.unwrap().is_some());
    let after = clean(&settings);
    assert_eq!(
        (after.requests, after.entries),
        (1, 3),
        "the ledger stays, and the audit knows why a request is gone"
    );
    assert_eq!(after.heads, before.heads);
    books.close().await.unwrap();
}

#[tokio::test]
async fn a_month_with_work_under_way_stays() {
    let Some(settings) = database("retain_work") else {
        return;
    };
    let books = open(&settings).unwrap();
    let account = account(books.as_ref()).await;
    read_request(books.as_ref(), account, RECENTLY, 2).await;
    let client = beside(&settings).await;
    client
        .batch_execute(
            "CREATE TABLE request_2025_03 PARTITION OF request FOR VALUES FROM (1740787200000) TO (1743465600000)",
        )
        .await
        .unwrap();
    let old = read_request(books.as_ref(), account, LONG_AGO, 1).await;
    client
        .execute("UPDATE request_2025_03 SET wake_at = 1", &[])
        .await
        .unwrap();
    let refused = settings.retain(RECENTLY, true, |_| {}).unwrap_err();
    assert!(refused.to_string().contains("2025-03"), "{refused}");
    assert!(books.request(account, old).await.unwrap().is_some());
    books.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_service_old_months_go_as_a_whole_up_to_the_first_with_work_under_way() {
    let Some(settings) = database("months_in_service") else {
        return;
    };
    let books = open(&settings).unwrap();
    let books = books.as_ref();
    let account = account(books).await;
    let client = beside(&settings).await;
    client
        .batch_execute(
            "CREATE TABLE request_2025_03 PARTITION OF request FOR VALUES FROM (1740787200000) TO (1743465600000); \
             CREATE TABLE timeline_2025_03 PARTITION OF timeline FOR VALUES FROM (1740787200000) TO (1743465600000); \
             CREATE TABLE request_2025_04 PARTITION OF request FOR VALUES FROM (1743465600000) TO (1746057600000)",
        )
        .await
        .unwrap();
    let march = read_request(books, account, LONG_AGO, 1).await;
    let april = read_request(books, account, LONG_AGO.plus_millis(30 * DAY_MS), 2).await;
    let recent = read_request(books, account, RECENTLY, 3).await;
    client
        .execute("UPDATE request_2025_04 SET wake_at = 1", &[])
        .await
        .unwrap();
    let months = || async {
        let sql = "SELECT relname::text FROM pg_class WHERE relname LIKE '%\\_2025\\__%' AND relkind = 'r' ORDER BY 1";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    };
    assert_eq!(
        months().await,
        ["request_2025_03", "request_2025_04", "timeline_2025_03"]
    );
    books.let_requests_go(RECENTLY).await.unwrap();
    assert_eq!(months().await, ["request_2025_04"]);
    assert!(books.request(account, march).await.unwrap().is_none());
    assert!(books.request(account, april).await.unwrap().is_some());

    client
        .execute("UPDATE request_2025_04 SET wake_at = NULL", &[])
        .await
        .unwrap();
    books.let_requests_go(RECENTLY).await.unwrap();
    assert_eq!(months().await, Vec::<String>::new());
    assert!(books.request(account, april).await.unwrap().is_none());
    assert!(books.request(account, recent).await.unwrap().is_some());
    books.close().await.unwrap();
    assert_eq!(clean(&settings).requests, 1);
}

#[tokio::test]
async fn a_program_serves_on_the_next_schema_and_not_on_one_that_took_something_away() {
    let Some(settings) = database("upgrade") else { return };
    let books = open(&settings).unwrap();
    let account = account(books.as_ref()).await;
    let client = beside(&settings).await;
    // A newer program has expanded the schema: this one goes on, and starts again.
    client
        .batch_execute(
            "UPDATE meta SET value = '2' WHERE name = 'schema'; ALTER TABLE request ADD COLUMN of_the_next_version bigint",
        )
        .await
        .unwrap();
    read_request(books.as_ref(), account, RECENTLY, 1).await;
    books.close().await.unwrap();
    let books = open(&settings).unwrap();
    read_request(books.as_ref(), account, RECENTLY, 2).await;
    books.close().await.unwrap();
    // And then contracted it.
    client
        .batch_execute("UPDATE meta SET value = '2' WHERE name = 'oldest_program'")
        .await
        .unwrap();
    let refused = open(&settings).err().unwrap();
    assert!(
        matches!(refused, StoreError::NewerSchema { found: 2, known: 1 }),
        "{refused}"
    );
}

#[tokio::test]
async fn the_audit_misses_an_account_whose_row_is_gone() {
    let Some(settings) = database("orphan") else { return };
    let books = open(&settings).unwrap();
    let account = account(books.as_ref()).await;
    books.close().await.unwrap();
    clean(&settings);
    let client = beside(&settings).await;
    client.execute("DELETE FROM account", &[]).await.unwrap();
    let report = audit(&Database::Postgres(settings), &[], |_| {}).unwrap();
    assert_eq!(report.violation.map(|violation| violation.account), Some(account.id));
}
