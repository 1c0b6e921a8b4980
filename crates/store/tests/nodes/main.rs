//! Several nodes on one PostgreSQL database: whose work is whose, and what becomes of it when a node dies, closes, or is cut off. The
//! times are a fortieth of those that an operator has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod joined;
mod keys;
mod one_account;
mod quotas;
mod takeover;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::*;
use countersign_store::*;

const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);
const PATIENCE: Duration = Duration::from_secs(20);

/// A node, with what its workers would hear.
struct Node {
    store: Arc<PostgresStore>,
    work: CommittedWork,
    reports: NewReports,
}

/// A database of a test's own; `None` in the run on SQLite.
fn database(name: &str) -> Option<String> {
    let wanted = testing::on_postgres();
    wanted.then(|| testing::new_database(&format!("t_{}_{name}", std::process::id())).unwrap())
}

fn node(url: &str) -> Node {
    let settings = PostgresSettings {
        lanes: 2,
        readers: 2,
        times: NodeTimes {
            heartbeat: Duration::from_millis(125),
            holds_for: Duration::from_millis(500),
            dead_after: Duration::from_millis(625),
            look: Duration::from_millis(50),
        },
        ..PostgresSettings::new(url.to_owned())
    };
    let (store, mut work) = PostgresStore::open(&settings, &MasterKey::from_bytes([1; 32]), Rules::default()).unwrap();
    let reports = work.take_reports().unwrap();
    Node { store, work, reports }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: nothing came"))
}

impl Node {
    async fn account(&self) -> AccountKey {
        self.account_in(1).await
    }

    /// An account in that bucket.
    async fn account_in(&self, bucket: u8) -> AccountKey {
        let id = AccountId::from_entropy(0x1234_5678_9abc_0000 + u64::from(bucket));
        let key = AccountKey::of_new(id);
        let new = NewAccount {
            key,
            token: ApiToken::new(id, [9; 32]),
            name: "Acme".into(),
            phone: PhoneNumber::from_stored(9_996_600_000 + u64::from(bucket)),
            now: now(),
        };
        self.store.create_account(new, Actor::Operator).await.unwrap();
        let amount = Credits::parse("1000").unwrap();
        self.ask(key, Action::Purchase { amount }).await;
        key
    }

    async fn ask(&self, account: AccountKey, action: Action) {
        self.store.submit(account, command(action)).await.unwrap().unwrap();
    }

    async fn send(&self, account: AccountKey, id_entropy: u64) -> RequestRef {
        let at = now();
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
            callback_url: CallbackUrl::parse("https://a.example/", PlainHttp::Accepted),
            payload: None,
            ttl: Ttl::default(),
            id_entropy,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        };
        let command = Command {
            now: at,
            ..command(Action::Send(Box::new(send)))
        };
        self.store.submit(account, command).await.unwrap().unwrap();
        RequestRef {
            account,
            id: RequestId::new(at, id_entropy),
        }
    }

    /// Messages that this node is to deliver.
    async fn waiting(&self) -> Vec<RequestRef> {
        let waiting = self.store.waiting_messages(now(), None, 10_000).await.unwrap();
        waiting.into_iter().map(|(place, _)| place.request).collect()
    }

    /// Reports that this node is to send.
    async fn due(&self, account: AccountKey) -> Vec<DueReport> {
        let mut due = Vec::new();
        for (lane, _) in self.store.report_lanes(account, None, 100).await.unwrap() {
            due.extend(self.store.due_reports(lane, now(), None, 10_000).await.unwrap());
        }
        due
    }

    /// Waits until the workers are told to read the books, and then until that many messages are this node's.
    async fn takes_over(&mut self, messages: usize) {
        in_time("takeover", async {
            while self.waiting().await.len() < messages {
                while !matches!(self.work.next().await, Some(Handed::Missed)) {}
            }
        })
        .await;
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(i64::try_from(since.unwrap().as_millis()).unwrap())
}

fn command(action: Action) -> Command {
    Command {
        now: now(),
        token: None,
        idempotency: None,
        action,
    }
}

/// Somebody beside the nodes.
async fn onlooker(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn nodes_known(client: &tokio_postgres::Client) -> i64 {
    client.query_one("SELECT count(*) FROM node", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_messages_and_reports_pass_to_another() {
    let Some(url) = database("dead") else { return };
    let (first, mut second) = (node(&url), node(&url));
    let account = first.account().await;
    let delivered = first.send(account, 1).await;
    first.ask(account, Action::news(delivered.id, News::Delivered)).await;
    let waiting = first.send(account, 2).await;
    assert_eq!(first.waiting().await, [waiting]);
    assert!(second.waiting().await.is_empty(), "it is another node's");
    assert!(second.due(account).await.is_empty());

    first.store.crash();
    assert!(!first.store.holds(first.store.lease()), "it stops by itself");
    second.takes_over(1).await;
    assert_eq!(second.waiting().await, [waiting]);
    in_time("reports", async {
        while !matches!(second.reports.next().await, Some(Handed::Missed)) {}
    })
    .await;
    let due = second.due(account).await;
    assert_eq!(due.len(), 1);
    assert!(second.store.holds(due[0].lease));
    let onlooker = onlooker(&url).await;
    in_time("the dead node is forgotten", async {
        while nodes_known(&onlooker).await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn survivors_share_what_a_dead_node_left() {
    let Some(url) = database("shared") else { return };
    let first = node(&url);
    let account = first.account().await;
    let mut sent = Vec::new();
    for id_entropy in 0..40 {
        sent.push(first.send(account, id_entropy).await);
    }
    let (second, third) = (node(&url), node(&url));
    first.store.crash();
    in_time("takeover", async {
        while second.waiting().await.len() + third.waiting().await.len() < sent.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut found = second.waiting().await;
    found.extend(third.waiting().await);
    found.sort_unstable();
    sent.sort_unstable();
    assert_eq!(found, sent, "each is one node's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_closes_leaves_its_work_to_the_others_at_once() {
    let Some(url) = database("closed") else { return };
    let (first, mut second) = (node(&url), node(&url));
    let account = first.account().await;
    first.send(account, 1).await;
    first.store.close().await.unwrap();
    second.takes_over(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_finds_what_it_left() {
    let Some(url) = database("again") else { return };
    let first = node(&url);
    let account = first.account().await;
    let sent = first.send(account, 1).await;
    first.store.close().await.unwrap();
    assert_eq!(node(&url).waiting().await, [sent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_work_after_it_has_passed_to_another_node_counts_for_nothing() {
    let Some(url) = database("stale") else { return };
    let mut first = node(&url);
    let account = first.account().await;
    let sent = first.send(account, 1).await;
    let lease = first.store.lease();
    // As the others do with a node that they take for dead.
    let onlooker = onlooker(&url).await;
    onlooker
        .execute("UPDATE node SET ended_at = clock_timestamp()", &[])
        .await
        .unwrap();
    in_time("a new epoch", async {
        while first.store.lease() == lease || !first.store.holds(first.store.lease()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!first.store.holds(lease));
    let news = command(Action::news(sent.id, News::Delivered));
    let told = first.store.submit_under(lease, account, news.clone()).await;
    assert!(matches!(told, Err(StoreError::Stale)), "{told:?}");
    let request = first.store.request(account, sent.id).await.unwrap().unwrap();
    assert_eq!(request.delivery, DeliveryState::Sent, "nothing was done");
    // It was its own heir, and what it does now counts.
    first.takes_over(1).await;
    let lease = first.store.lease();
    first.store.submit_under(lease, account, news).await.unwrap().unwrap();
    let due = first.due(account).await;
    assert_eq!(due.len(), 1);
    let attempt = ReportAttempt {
        at: now(),
        duration_ms: 1,
        status: Some(200),
        error: None,
        response: Vec::new(),
    };
    let key = due[0].key;
    let stale = Lease::default();
    let recorded = first
        .store
        .record_report(key, attempt.clone(), ReportOutcome::Acknowledged, stale)
        .await;
    assert!(matches!(recorded, Err(StoreError::Stale)), "{recorded:?}");
    let recorded = first
        .store
        .record_report(key, attempt, ReportOutcome::Acknowledged, lease)
        .await;
    recorded.unwrap();
    assert!(first.due(account).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_node_keeps_its_backlog_however_long_it_takes() {
    let Some(url) = database("backlog") else { return };
    let (first, second) = (node(&url), node(&url));
    let account = first.account().await;
    let sent = first.send(account, 1).await;
    let lease = first.store.lease();
    let onlooker = onlooker(&url).await;
    // So many heartbeats as make up several times what a dead node is given.
    let heartbeats = "SELECT count(*) FROM node WHERE seen_at > started_at + interval '2500 milliseconds'";
    in_time("heartbeats", async {
        while onlooker.query_one(heartbeats, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            assert!(first.store.holds(lease));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(first.waiting().await, [sent]);
    assert!(second.waiting().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_heartbeat_fails_stops_by_itself_and_goes_on_when_it_can() {
    let Some(url) = database("cut") else { return };
    let mut first = node(&url);
    let account = first.account().await;
    first.send(account, 1).await;
    let lease = first.store.lease();
    let mut onlooker = onlooker(&url).await;
    let hold = onlooker.transaction().await.unwrap();
    hold.execute("SELECT 1 FROM node FOR UPDATE", &[]).await.unwrap();
    in_time("its stop", async {
        while first.store.holds(lease) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    hold.rollback().await.unwrap();
    in_time("to be told", async {
        while !matches!(first.work.next().await, Some(Handed::Missed)) {}
    })
    .await;
    assert_eq!(first.store.lease(), lease, "nobody took it for dead");
    assert!(first.store.holds(lease));
    assert_eq!(first.waiting().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nobodys_is_taken_by_whoever_looks() {
    let Some(url) = database("strays") else { return };
    let first = node(&url);
    let account = first.account().await;
    first.send(account, 1).await;
    first.send(account, 2).await;
    first.store.close().await.unwrap();
    let onlooker = onlooker(&url).await;
    // As after the books were moved here, and of a node that nobody remembers.
    for owner in ["owner = NULL WHERE random = 1", "owner = 999999 WHERE random = 2"] {
        onlooker
            .execute(&format!("UPDATE request SET {owner}"), &[])
            .await
            .unwrap();
    }
    node(&url).takes_over(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_one_node_passes_on_when_that_node_ends() {
    let Some(url) = database("tasks") else { return };
    let (first, second) = (node(&url), node(&url));
    assert!(first.store.claim_task("polling").await.unwrap());
    assert!(first.store.claim_task("polling").await.unwrap(), "it has it already");
    assert!(!second.store.claim_task("polling").await.unwrap());
    assert!(second.store.claim_task("another").await.unwrap());
    first.store.close().await.unwrap();
    assert!(second.store.claim_task("polling").await.unwrap());
    let third = node(&url);
    second.store.crash();
    in_time("the dead node's task", async {
        while !third.store.claim_task("polling").await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_all_nodes() {
    let Some(url) = database("limits") else { return };
    let (first, second) = (node(&url), node(&url));
    let limit = Limit {
        count: 4,
        period_ms: 3_600_000,
    };
    let at = now();
    let count =
        async |node: &Node, who: &str, at| node.store.count_call("tries", who.to_owned(), limit, at).await.unwrap();
    for _ in 0..2 {
        assert!(count(&first, "+39", at).await.is_ok());
        assert!(count(&second, "+39", at).await.is_ok());
    }
    assert_eq!(count(&first, "+39", at).await, Err(900));
    assert_eq!(count(&second, "+39", at).await, Err(900));
    assert!(count(&second, "+44", at).await.is_ok(), "another caller");
    assert!(count(&second, "+39", at.plus_millis(900_000)).await.is_ok());
    // What counts for nothing any more is swept up.
    second
        .store
        .forget_ended_sessions(at.plus_millis(10 * 3_600_000))
        .await
        .unwrap();
    let left = onlooker(&url)
        .await
        .query_one("SELECT count(*) FROM limit_counter", &[])
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_closed_on_one_node_is_refused_on_the_others_at_once() {
    let Some(url) = database("access") else { return };
    let (first, second) = (node(&url), node(&url));
    let account = first.account().await;
    let token = ApiToken::new(account.id, [9; 32]);
    let access = second.store.authenticate(&token).await.unwrap().unwrap();
    assert!(!access.closed);
    in_time("that they know of each other", async {
        while first.store.is_alone() || second.store.is_alone() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let began = std::time::Instant::now();
    first
        .store
        .close_account(account, now(), Actor::Operator)
        .await
        .unwrap();
    in_time("the news", async {
        while !second.store.authenticate(&token).await.unwrap().unwrap().closed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Without the news it would take 8 s, when what is kept is read again.
    assert!(began.elapsed() < Duration::from_secs(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_watches_a_request_hears_of_what_another_node_does() {
    let Some(url) = database("watch") else { return };
    let (first, second) = (node(&url), node(&url));
    let account = first.account().await;
    let sent = first.send(account, 1).await;
    let mut watch = second.store.watch(sent).unwrap();
    let onlooker = onlooker(&url).await;
    let watching = "SELECT count(*) FROM node WHERE watching = 1";
    in_time("that it watches", async {
        while onlooker.query_one(watching, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // What happens before the other node has heard of it, the page finds by looking.
    in_time("news", async {
        for news in [News::Delivered, News::Read] {
            first.ask(account, Action::news(sent.id, news)).await;
            if tokio::time::timeout(Duration::from_secs(2), watch.changed())
                .await
                .is_ok()
            {
                return;
            }
        }
        panic!("nothing was told");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_elsewhere_is_told_to_who_wants_to_hear_of_it() {
    let Some(url) = database("elsewhere") else { return };
    let (first, mut second) = (node(&url), node(&url));
    let account = first.account().await;
    let mut news = second.work.take_elsewhere().unwrap();
    news.want_requests(true);
    let mut number = 0;
    let told = in_time("news", async {
        let mut sends = tokio::time::interval(Duration::from_millis(100));
        let mut sent = Vec::new();
        loop {
            tokio::select! {
                handed = news.next() => match handed {
                    Some(Handed::Batch(batch)) => break (sent, batch),
                    Some(Handed::Missed) => {}
                    None => panic!("the books ended"),
                },
                _ = sends.tick() => {
                    number += 1;
                    sent.push(Elsewhere::Request(first.send(account, number).await));
                }
            }
        }
    })
    .await;
    let (sent, batch) = told;
    assert!(!batch.is_empty());
    assert!(batch.iter().all(|told| sent.contains(told)), "{batch:?}");
    let shown = second.store.messages_elsewhere(now(), 100).await.unwrap();
    assert_eq!(shown.len(), sent.len(), "all of them are the other node's");
    assert!(first.store.messages_elsewhere(now(), 100).await.unwrap().is_empty());
}
