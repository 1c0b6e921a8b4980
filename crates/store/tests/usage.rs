//! Statistics in the SQLite books: whatever is asked, in whatever spans, the answer is what the requests' rows add up to; before
//! and after rows are put away, after a restart, and in books that are older than statistics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

/// 1 January 2027, 00:00 UTC, and a quarter of an hour each.
const START: Timestamp = Timestamp::from_millis(1_798_761_600_000);
const COUNTRIES: [u64; 4] = [393_471_200_000, 4_915_123_400_000, 351_912_300_000, 16_502_500_000];

struct Books {
    store: Arc<dyn countersign_store::Books>,
    account: AccountKey,
    /// Every request with its arrival, as the test saw it.
    requests: Vec<RequestId>,
}

fn open_at(path: &Path) -> Arc<dyn countersign_store::Books> {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default())
        .unwrap()
        .0
}

impl Books {
    async fn open(path: &Path) -> Self {
        Self::in_store(open_at(path)).await
    }

    async fn in_store(store: Arc<dyn countersign_store::Books>) -> Self {
        let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
        let account = AccountKey::of_new(id);
        let new = NewAccount {
            key: account,
            token: ApiToken::new(id, [9; 32]),
            name: "Acme".into(),
            phone: PhoneNumber::from_stored(9_996_600_000),
            now: START,
        };
        store.create_account(new, Actor::Operator).await.unwrap();
        for name in ["acme_shop", "acme_bank"] {
            let name = SenderUsername::parse(name).unwrap();
            store
                .add_sender(account, name.clone(), START, Actor::Operator)
                .await
                .unwrap();
            store.verify_sender(name, START, Actor::Operator).await.unwrap();
        }
        let books = Self {
            store,
            account,
            requests: Vec::new(),
        };
        let amount = Credits::parse("1000").unwrap();
        books.ask(START, Action::Purchase { amount }).await.unwrap();
        books
    }

    async fn ask(&self, now: Timestamp, action: Action) -> Outcome {
        let command = Command {
            now,
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(self.account, command).await.unwrap()
    }

    /// One request of a quarter of an hour, which ends as its number says.
    async fn one(&mut self, number: u64, quarter: i64) {
        let now = START.plus_millis(quarter * QUARTER_MS + i64::try_from(number % 900).unwrap() * 1_000);
        let phone = PhoneNumber::from_stored(COUNTRIES[usize::try_from(number % 4).unwrap()] + number % 700);
        let entropy = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = RequestId::new(now, entropy);
        let sender = match number % 5 {
            0 | 1 => None,
            2 => SenderUsername::parse("acme_bank"),
            _ => SenderUsername::parse("acme_shop"),
        };
        let checks_first = number.is_multiple_of(3);
        if checks_first {
            let (id_entropy, reach) = (entropy, Reach::Reachable);
            let action = Action::CheckAbility {
                email: None,
                phone,
                id_entropy,
                reach,
                plan: None,
                skipped: Vec::new(),
                guard: None,
            };
            self.ask(now, action).await.unwrap();
        }
        self.requests.push(id);
        if number % 11 == 3 && checks_first {
            return;
        }
        let send = Action::Send(Box::new(Send {
            email: None,
            locale: None,
            phone,
            request: checks_first.then_some(id),
            sender,
            code: SendCode::Supplied(Code::parse("4711").unwrap()),
            callback_url: None,
            payload: None,
            ttl: Ttl::default(),
            id_entropy: entropy,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        }));
        self.ask(now, send).await.unwrap();
        let after = |millis: u64| now.plus_millis(i64::try_from(millis).unwrap());
        let news = |news| Action::news(id, news);
        let check = |code: &str| Action::Check {
            request: id,
            code: EnteredCode::new(code.into()),
        };
        match number % 7 {
            0 => self.ask(after(4_000_000), Action::Wake { request: id }).await.unwrap(),
            1 => self.ask(after(50), Action::Revoke { request: id }).await.unwrap(),
            2 => self.ask(after(1_000 + number), news(News::Delivered)).await.unwrap(),
            3 => self.ask(after(900), check("0000")).await.unwrap(),
            _ => {
                self.ask(after(800 + number % 5_000), news(News::Delivered))
                    .await
                    .unwrap();
                self.ask(after(9_000), news(News::Read)).await.unwrap();
                self.ask(after(10_000 + number % 60_000), check("4711")).await.unwrap()
            }
        };
    }

    /// So many sends at the same time, which are judged as few batches, in their order.
    async fn many(&mut self, first: u64, count: u64) {
        let sends = (first..first + count).map(|number| {
            let now = START.plus_millis(i64::try_from(number).unwrap());
            let entropy = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.requests.push(RequestId::new(now, entropy));
            let send = Action::Send(Box::new(Send {
                email: None,
                locale: None,
                phone: PhoneNumber::from_stored(COUNTRIES[0] + number),
                request: None,
                sender: None,
                code: SendCode::Supplied(Code::parse("4711").unwrap()),
                callback_url: None,
                payload: None,
                ttl: Ttl::default(),
                id_entropy: entropy,
                reach: Reach::Reachable,
                plan: None,
                skipped: Vec::new(),
                guard: None,
            }));
            (now, send)
        });
        let sends: Vec<_> = sends.collect();
        let asked = sends.into_iter().map(|(now, send)| self.ask(now, send));
        for answer in futures_util::future::join_all(asked).await {
            answer.unwrap();
        }
    }

    /// What all rows add up to, by key; new numbers left out.
    async fn expected(&self, path: &Path) -> BTreeMap<(i64, [String; 3]), UsageSum> {
        let sql = "SELECT created_at, random, min(at) FROM timeline WHERE kind = 1 AND state IN (5, 6) \
                   GROUP BY created_at, random";
        let rows = testing::with_tables(path, |tables| tables.query(sql, &[])).unwrap();
        let arrivals: BTreeMap<(i64, i64), i64> = rows
            .unwrap()
            .iter()
            .map(|row| ((row.get(0), row.get(1)), row.get(2)))
            .collect();
        let mut expected: BTreeMap<_, UsageSum> = BTreeMap::new();
        for id in &self.requests {
            let place = (id.created_at().millis(), id.random().cast_signed());
            let arrived_at = arrivals.get(&place).copied();
            let request = self.store.request(self.account, *id).await.unwrap().unwrap();
            let facts = UsageFacts {
                arrived_at: arrived_at.map(Timestamp::from_millis),
                ..UsageFacts::of(&request, &[])
            };
            let change = facts.whole();
            let names = [
                Country::of(change.phone).to_string(),
                "inbox".to_owned(),
                change.sender.map_or("", SenderUsername::as_str).to_owned(),
            ];
            expected
                .entry((Quarter::of(change.created_at).number(), names))
                .or_default()
                .add_change(&change);
        }
        expected
    }
}

fn without_new_numbers(mut sum: UsageSum) -> UsageSum {
    sum.counts[UsageCount::NewNumbers1024 as usize] = 0;
    sum
}

fn quarters(from: i64, every: i64, count: i64) -> Vec<Quarter> {
    let start = Quarter::of(START).number();
    (0..=count).map(|n| Quarter::new(start + from + n * every)).collect()
}

/// Asks for usage in many ways, and compares each answer with the sum of what is expected.
async fn compare(books: &Books, expected: &BTreeMap<(i64, [String; 3]), UsageSum>) {
    let shop = SenderUsername::parse("acme_shop").unwrap();
    let italy = Country::parse("IT").unwrap();
    let filters = [
        [None, None, None],
        [Some("IT"), None, None],
        [None, Some("inbox"), None],
        [None, None, Some("acme_shop")],
        [None, None, Some("")],
        [Some("IT"), None, Some("acme_shop")],
        [None, Some("inbox"), Some("acme_shop")],
        [Some("DE"), Some("inbox"), Some("acme_bank")],
        [Some("FR"), None, None],
    ];
    // Days in UTC, days east of it, odd quarters, hours, months and everything.
    let asked = [
        quarters(0, 96, 60),
        quarters(-22, 96, 60),
        quarters(37, 7, 300),
        quarters(500, 4, 100),
        quarters(-30, 2_976, 3),
        quarters(0, 10_000, 1),
    ];
    for edges in &asked {
        let sum_of = |span: usize, wanted: &dyn Fn(&[String; 3]) -> bool| {
            let (from, to) = (edges[span].number(), edges[span + 1].number());
            let mut sum = UsageSum::default();
            for ((quarter, names), part) in expected {
                if (from..to).contains(quarter) && wanted(names) {
                    sum.add(part);
                }
            }
            sum
        };
        for filter in filters {
            let fits = |names: &[String; 3]| {
                let mut pairs = filter.iter().zip(names);
                pairs.all(|(wanted, name)| wanted.is_none_or(|wanted| wanted == name))
            };
            let filter = UsageFilter {
                country: filter[0].and_then(Country::parse),
                route: filter[1].and_then(RouteName::parse),
                sender: filter[2].map(SenderUsername::parse),
            };
            let found = books
                .store
                .usage(books.account, edges.clone(), filter.clone())
                .await
                .unwrap();
            assert_eq!(found.len(), edges.len() - 1);
            for (span, sum) in found.into_iter().enumerate() {
                assert_eq!(
                    without_new_numbers(sum),
                    sum_of(span, &fits),
                    "{filter:?}, span {span} of {edges:?}"
                );
            }
        }
        for (by, place) in [(UsageBy::Country, 0), (UsageBy::Route, 1), (UsageBy::Sender, 2)] {
            for filter in [
                UsageFilter::default(),
                UsageFilter {
                    country: Some(italy),
                    ..UsageFilter::default()
                },
                UsageFilter {
                    sender: Some(Some(shop.clone())),
                    ..UsageFilter::default()
                },
            ] {
                let found = books
                    .store
                    .usage_by(books.account, by, edges.clone(), filter.clone())
                    .await
                    .unwrap();
                for (name, sums) in found {
                    for (span, sum) in sums.into_iter().enumerate() {
                        let wanted = |names: &[String; 3]| {
                            names[place] == name
                                && filter.country.is_none_or(|country| country.as_str() == names[0])
                                && (filter.sender.is_none() || names[2] == "acme_shop")
                        };
                        assert_eq!(
                            without_new_numbers(sum),
                            sum_of(span, &wanted),
                            "{by:?} {name} {filter:?}"
                        );
                    }
                }
            }
        }
    }
}

fn rows_of(path: &Path, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let counted = testing::with_tables(path, |tables| tables.number(&sql));
    counted.unwrap().unwrap()
}

#[tokio::test]
async fn usage_is_what_the_requests_add_up_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = Books::open(directory.path()).await;
    for number in 0..200 {
        books.one(number, i64::try_from(number % 90).unwrap()).await;
    }
    assert_eq!(rows_of(directory.path(), "usage_past"), 0);
    let expected = books.expected(directory.path()).await;
    compare(&books, &expected).await;
    // A row for each quarter and sender: enough of them that they are put away, the last ones of each batch not yet.
    for number in 200..5_200 {
        books.one(number, i64::try_from(number).unwrap()).await;
    }
    assert!(rows_of(directory.path(), "usage_past") > 0);
    assert!(rows_of(directory.path(), "usage_recent") > 0);
    // What comes late is added to what was put away.
    for number in 6_000..6_100 {
        books.one(number, i64::try_from(number % 300).unwrap()).await;
    }
    let expected = books.expected(directory.path()).await;
    compare(&books, &expected).await;
    books.store.close().await.unwrap();
    books.store = open_at(directory.path());
    compare(&books, &expected).await;
    let (charged, refunded) = ledger(&books).await;
    let all = books
        .store
        .usage(books.account, quarters(-100, 100_000, 1), UsageFilter::default())
        .await
        .unwrap();
    assert_eq!(
        all[0].cost(),
        charged - refunded,
        "the cost is the ledger's, to the micro"
    );
}

/// Each node remembers what it wrote last: what another added meanwhile must count, to the last new number.
#[tokio::test]
async fn usage_is_the_same_whichever_node_writes_it() {
    if !testing::on_postgres() {
        return;
    }
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut by_one = Books::open(directories[0].path()).await;
    let mut by_two = Books::open(directories[1].path()).await;
    let mut other = open_at(directories[1].path());
    for number in 0..900 {
        // In turns of different length, some within a request's own life.
        if number % 3 == 0 || number % 7 == 0 {
            std::mem::swap(&mut by_two.store, &mut other);
        }
        for books in [&mut by_one, &mut by_two] {
            books.one(number, i64::try_from(number / 150).unwrap()).await;
        }
    }
    // Many at once, so that each batch folds numbers into sketches that the other node's last batch wrote.
    for number in 0..12 {
        std::mem::swap(&mut by_two.store, &mut other);
        for books in [&mut by_one, &mut by_two] {
            books.many(1_000 + number * 100, 100).await;
        }
    }
    let expected = by_two.expected(directories[1].path()).await;
    compare(&by_two, &expected).await;
    let edges = quarters(0, 1, 8);
    let [one, two] =
        [&by_one, &by_two].map(|books| books.store.usage(books.account, edges.clone(), UsageFilter::default()));
    assert_eq!(one.await.unwrap(), two.await.unwrap());
    for store in [&by_one.store, &by_two.store, &other] {
        store.close().await.unwrap();
    }
}

/// Charges and refunds of the account's ledger.
async fn ledger(books: &Books) -> (Credits, Credits) {
    let (mut charged, mut refunded, mut after) = (Credits::ZERO, Credits::ZERO, None);
    let far = Timestamp::from_millis(i64::MAX / 4);
    loop {
        let page = books
            .store
            .statement(books.account, Timestamp::from_millis(0), far, after, 1_000)
            .await
            .unwrap();
        let Some(last) = page.entries.last() else { break };
        after = Some(last.number);
        for entry in &page.entries {
            match entry.kind {
                EntryKind::Charge => charged -= entry.amount,
                EntryKind::Refund => refunded += entry.amount,
                _ => {}
            }
        }
    }
    (charged, refunded)
}

#[tokio::test]
async fn numbers_are_counted_once_and_new_ones_when_they_first_come() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = Books::open(directory.path()).await;
    // 700 numbers in each of four countries; the second thousand repeats what the first one asked for.
    for number in 0..1_400 {
        books.one(number, i64::try_from(number / 700 * 96).unwrap()).await;
    }
    let days = books
        .store
        .usage(books.account, quarters(0, 96, 2), UsageFilter::default())
        .await
        .unwrap();
    let new: Vec<i64> = days
        .iter()
        .map(|day| (day.count(UsageCount::NewNumbers1024) + 512) / 1024)
        .collect();
    assert!((new[0] - 700).abs() < 20, "{new:?}");
    assert_eq!(new[1], 0, "{new:?}");
    let sketches = books
        .store
        .different_numbers(books.account, quarters(0, 96, 2))
        .await
        .unwrap();
    assert_eq!(sketches[0], sketches[1], "the same numbers came on both days");
    let whole = books
        .store
        .different_numbers(books.account, quarters(-5, 4_000, 1))
        .await
        .unwrap();
    assert_eq!(whole[0], sketches[0]);
    books.store.close().await.unwrap();
    let digits = b"3934712";
    assert!(
        !testing::books_hold(directory.path(), digits).unwrap(),
        "no number stands in the books as text"
    );
}

#[tokio::test]
async fn a_damaged_row_of_usage_stops_no_send_and_counts_as_empty() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = Books::open(directory.path()).await;
    // More than an account's tail holds.
    for number in 0..250 {
        books.one(number, 0).await;
    }
    books.store.close().await.unwrap();
    let bytes = if testing::on_postgres() {
        "'\\xffffff'"
    } else {
        "x'ffffff'"
    };
    let damaged = |table: &str, column: &str| {
        let sql = format!("UPDATE {table} SET {column} = {bytes}");
        let done = testing::with_tables(directory.path(), |tables| tables.execute(&sql));
        done.unwrap().unwrap()
    };
    assert!(damaged("usage_recent", "sums") > 1);
    assert_eq!(damaged("usage_numbers", "sketch"), 4);
    books.store = open_at(directory.path());
    let before = books.requests.len();
    for number in 250..500 {
        books.one(number, 0).await;
    }
    // What came since is counted; each row that was written to can be read again.
    let edges = vec![Quarter::of(START), Quarter::new(Quarter::of(START).number() + 1)];
    let filter = UsageFilter::default();
    let usage = books.store.usage(books.account, edges.clone(), filter).await.unwrap();
    let requests = i64::try_from(books.requests.len() - before).unwrap();
    assert_eq!(usage[0].count(UsageCount::Requests), requests);
    let sketches = books.store.different_numbers(books.account, edges).await.unwrap();
    assert!(sketches[0].ranks().iter().any(|&rank| rank > 0));
}

/// Books of an older SQLite schema, without statistics.
mod sqlite {
    use rusqlite::Connection;

    use super::*;

    fn open_at(path: &Path) -> Arc<dyn countersign_store::Books> {
        let options = SqliteOptions {
            path: path.to_owned(),
            master_key: MasterKey::from_bytes([1; 32]),
            rules: Rules::default(),
        };
        SqliteStore::open(options).unwrap().0
    }

    #[tokio::test]
    async fn books_that_are_older_than_statistics_are_summed_up_once() {
        if testing::on_postgres() {
            // What these tests expect is read from the books of the run.
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut books = Books::in_store(open_at(directory.path())).await;
        for number in 0..1_000 {
            books.one(number, i64::try_from(number * 3).unwrap()).await;
        }
        let expected = books.expected(directory.path()).await;
        let edges = quarters(-10, 96, 40);
        let ask = async |store: &Arc<dyn countersign_store::Books>| {
            let usage = store.usage(books.account, edges.clone(), UsageFilter::default()).await;
            let numbers = store.different_numbers(books.account, edges.clone()).await;
            (usage.unwrap(), numbers.unwrap())
        };
        let before = ask(&books.store).await;
        books.store.close().await.unwrap();
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        database
            .execute_batch(
                "DELETE FROM usage_recent; DELETE FROM usage_past; DELETE FROM usage_numbers; \
                 INSERT INTO meta (name, value) VALUES ('usage to fill', x'');",
            )
            .unwrap();
        drop(database);
        let store = open_at(directory.path());
        assert_eq!(ask(&store).await, before);
        store.close().await.unwrap();
        // Only once: what is there is not added a second time.
        let store = open_at(directory.path());
        assert_eq!(ask(&store).await, before);
        let books = Books {
            store,
            account: books.account,
            requests: Vec::new(),
        };
        compare(&books, &expected).await;
    }

    #[tokio::test]
    async fn one_old_request_that_cannot_be_read_keeps_no_server_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let mut books = Books::in_store(open_at(directory.path())).await;
        for number in 0..3 {
            books.one(number, 0).await;
        }
        books.store.close().await.unwrap();
        let database = Connection::open(directory.path().join("countersign.db")).unwrap();
        database
            .execute_batch(
                "DELETE FROM usage_recent; DELETE FROM usage_past; DELETE FROM usage_numbers; \
                 INSERT INTO meta (name, value) VALUES ('usage to fill', x''); \
                 UPDATE request SET delivery = 99 WHERE (created_at, random) = \
                 (SELECT created_at, random FROM request ORDER BY created_at, random LIMIT 1);",
            )
            .unwrap();
        drop(database);
        let store = open_at(directory.path());
        let usage = store
            .usage(books.account, quarters(-10, 96, 2), UsageFilter::default())
            .await
            .unwrap();
        let requests: u64 = usage.iter().map(|sum| sum.shown(UsageCount::Requests)).sum();
        assert_eq!(requests, 2);
    }
}
