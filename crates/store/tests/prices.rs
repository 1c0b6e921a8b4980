//! The price list in the SQLite books: kept through a restart, all of a table or nothing of it, append-only, and the lists of
//! earlier versions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn open(path: &Path) -> Arc<dyn Books> {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default())
        .unwrap()
        .0
}

fn row(prefix: &str, from: Timestamp, price: Option<&str>) -> PriceRow {
    PriceRow {
        route: PriceRoute::All,
        prefix: NumberPrefix::parse_or_default(prefix).unwrap(),
        effective_from: from,
        price: price.map(|price| Credits::parse(price).unwrap()),
    }
}

async fn set(store: &Arc<dyn Books>, rows: Vec<PriceRow>, dry_run: bool) -> Result<PricesSet, StoreError> {
    let setting = PriceSetting {
        rows,
        dry_run,
        set_by: Actor::Operator,
        now: NOW,
    };
    store.set_prices(setting).await
}

async fn rows(store: &Arc<dyn Books>) -> Vec<PriceRow> {
    let history = store.price_history(None, 1_000).await.unwrap();
    history.into_iter().map(|record| record.row).collect()
}

/// The price of a message, as an ability check is charged.
async fn charged(store: &Arc<dyn Books>, account: AccountKey, now: Timestamp, entropy: u64) -> Credits {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action: Action::CheckAbility {
            email: None,
            phone: PhoneNumber::from_stored(391_234_567_890),
            id_entropy: entropy,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        },
    };
    let outcome = store.submit(account, command).await.unwrap();
    let request = store
        .request(account, RequestId::new(now, entropy))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(outcome, Ok(Answer::Status(status)) if status.request_cost == request.fee));
    request.fee
}

async fn account(store: &Arc<dyn Books>) -> AccountKey {
    let id = AccountId::from_entropy(7);
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse("100").unwrap();
    let command = Command {
        now: NOW,
        token: None,
        idempotency: None,
        action: Action::Purchase { amount },
    };
    store.submit(key, command).await.unwrap().unwrap();
    key
}

#[tokio::test]
async fn what_is_charged_follows_the_list_at_once_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let account = account(&store).await;
    let later = NOW.plus_millis(60_000);
    assert_eq!(charged(&store, account, NOW, 1).await, DEFAULT_PRICE);
    let table = vec![row("+39", NOW, Some("2")), row("+39", later, Some("3"))];
    let expected = PricesSet {
        added: 2,
        already_there: 0,
    };
    assert_eq!(set(&store, table.clone(), false).await.unwrap(), expected);
    let two = Credits::parse("2").unwrap();
    let three = Credits::parse("3").unwrap();
    assert_eq!(charged(&store, account, NOW, 2).await, two);
    assert_eq!(charged(&store, account, later, 3).await, three);
    store.close().await.unwrap();

    let store = open(directory.path());
    assert_eq!(charged(&store, account, NOW.plus_millis(1), 4).await, two);
    assert_eq!(charged(&store, account, later.plus_millis(1), 5).await, three);
    assert_eq!(rows(&store).await, table);
    assert_eq!(set(&store, table, false).await.unwrap().already_there, 2);
    let record = store.price_history(Some(1), 10).await.unwrap().remove(0);
    assert_eq!(
        (record.number, record.set_at, record.set_by.as_str()),
        (2, NOW, "operator")
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let account = account(&store).await;
    let told = set(&store, vec![row("+39", NOW, Some("2"))], true).await.unwrap();
    assert_eq!(told.added, 1);
    assert!(rows(&store).await.is_empty());
    assert_eq!(charged(&store, account, NOW, 1).await, DEFAULT_PRICE);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_too_long_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let account = account(&store).await;
    let table = (0..=MAX_PRICE_ROWS)
        .map(|n| row("+39", NOW.plus_millis(i64::try_from(n).unwrap()), Some("2")))
        .collect();
    let refused = set(&store, table, false).await.unwrap_err();
    assert!(matches!(refused, StoreError::PriceListFull(_)), "{refused}");
    assert!(refused.to_string().contains("100000 rows"), "{refused}");
    assert!(rows(&store).await.is_empty());
    assert_eq!(charged(&store, account, NOW.plus_millis(5), 1).await, DEFAULT_PRICE);
    assert_eq!(
        set(&store, vec![row("+39", NOW, Some("2"))], false)
            .await
            .unwrap()
            .added,
        1
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_database_refuses_to_edit_or_delete_a_row() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    set(&store, vec![row("+39", NOW, Some("2"))], false).await.unwrap();
    store.close().await.unwrap();
    for sql in ["UPDATE price_row SET price = 1", "DELETE FROM price_row"] {
        let done = testing::with_tables(directory.path(), |tables| tables.execute(sql)).unwrap();
        assert!(done.is_err(), "{sql}");
    }
}

/// Books of an older SQLite schema.
mod sqlite {
    use rusqlite::Connection;

    use super::*;

    const FIRST_SCHEMA: &str = include_str!("../src/sqlite/migrations/0001_books.sql");

    fn open(path: &Path) -> Arc<dyn Books> {
        let options = SqliteOptions {
            path: path.to_owned(),
            master_key: MasterKey::from_bytes([1; 32]),
            rules: Rules::default(),
        };
        SqliteStore::open(options).unwrap().0
    }

    #[tokio::test]
    async fn the_list_of_an_earlier_version_is_carried_over() {
        let directory = tempfile::tempdir().unwrap();
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        database.execute_batch(FIRST_SCHEMA).unwrap();
        database
            .execute_batch(
                "INSERT INTO price (prefix, price) VALUES (0, 30000), (39, 20000), (391, 50000);
                 INSERT INTO settings_audit (at, action, subject) VALUES
                   (1000, 'price set', '39: 0.01'), (5000, 'price set', '39: 0.02'), (9000, 'price set', '391: 0.05');
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(database);
        let store = open(directory.path());
        let expected = [
            row("default", Timestamp::from_millis(0), Some("0.03")),
            row("+39", Timestamp::from_millis(5_000), Some("0.02")),
            row("+391", Timestamp::from_millis(9_000), Some("0.05")),
        ];
        assert_eq!(rows(&store).await, expected);
        let record = store.price_history(None, 2).await.unwrap().remove(1);
        assert_eq!((record.set_at.millis(), record.set_by.as_str()), (5_000, "operator"));
        let account = account(&store).await;
        assert_eq!(charged(&store, account, NOW, 1).await, Credits::parse("0.05").unwrap());
        store.close().await.unwrap();
    }
}
