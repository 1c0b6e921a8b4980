//! Plans and legs in the SQLite books: what a restart finds, what the rows hold, what the audit says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const PHONE: PhoneNumber = PhoneNumber::from_stored(391_234_567_890);

struct Books {
    store: Arc<dyn countersign_store::Books>,
    work: CommittedWork,
    account: AccountKey,
}

fn open(path: &Path) -> (Arc<dyn countersign_store::Books>, CommittedWork) {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default()).unwrap()
}

async fn books(path: &Path) -> Books {
    let (store, work) = open(path);
    let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
    let account = AccountKey::of_new(id);
    let new = NewAccount {
        key: account,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let books = Books { store, work, account };
    let amount = Credits::parse("10").unwrap();
    books.ask(Action::Purchase { amount }, 0).await.unwrap();
    books
}

fn name(leg: &str) -> LegName {
    LegName::parse(leg).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "as a command carries it")]
fn plan(legs: &[&str]) -> Option<Arc<RoutePlan>> {
    let share = u16::try_from(1_000 / legs.len()).unwrap();
    Some(Arc::new(RoutePlan {
        route: RouteName::parse("europe").unwrap(),
        legs: legs.iter().map(|leg| PlannedLeg { name: name(leg), share }).collect(),
    }))
}

/// A message of a minute's life.
fn send(entropy: u64, plan: Option<Arc<RoutePlan>>, reach: Reach) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: PHONE,
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("4711").unwrap()),
        callback_url: None,
        payload: None,
        ttl: Ttl::new(60).unwrap(),
        id_entropy: entropy,
        reach,
        plan,
        skipped: vec![(name("gateway"), Detail::new("no credit"))],
        guard: None,
    }))
}

fn news_by(request: RequestId, leg: &str, news: News) -> Action {
    Action::News {
        request,
        leg: Some(name(leg)),
        news,
        detail: Some(Detail::new("no opt-in")),
        receipts: true,
    }
}

impl Books {
    async fn ask(&self, action: Action, after_ms: i64) -> Outcome {
        let command = Command {
            now: NOW.plus_millis(after_ms),
            token: None,
            idempotency: None,
            action,
        };
        self.store.submit(self.account, command).await.unwrap()
    }

    async fn sent(&self, entropy: u64, legs: &[&str]) -> RequestId {
        self.ask(send(entropy, plan(legs), Reach::Reachable), 0).await.unwrap();
        RequestId::new(NOW, entropy)
    }

    async fn request(&self, id: RequestId) -> VerificationRequest {
        self.store.request(self.account, id).await.unwrap().unwrap()
    }

    /// Which leg each message waits for that a restart would hand over.
    async fn waiting(&self, after_ms: i64) -> Vec<(RequestId, String)> {
        let now = NOW.plus_millis(after_ms);
        let waiting = self.store.waiting_messages(now, None, 10).await.unwrap();
        let leg = |request: &VerificationRequest| request.leg_under_way().map(ToString::to_string);
        let legs = waiting
            .iter()
            .map(|(_, request)| (request.id, leg(request).unwrap_or_default()));
        legs.collect()
    }
}

#[tokio::test]
async fn a_restart_hands_a_message_to_the_leg_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "sms"]).await;
    assert_eq!(books.waiting(1).await, [(id, "telegram".to_owned())]);
    books.ask(news_by(id, "telegram", News::Accepted), 2).await.unwrap();
    assert_eq!(books.waiting(3).await, [], "accepted: never handed over again");
    // Its wait is over: it is due for a wake, and that one hands it to the next leg.
    assert_eq!(
        books
            .store
            .due_requests(NOW.plus_millis(30_000), None, 10)
            .await
            .unwrap(),
        [RequestRef {
            account: books.account,
            id
        }]
    );
    books.ask(Action::Wake { request: id }, 30_000).await.unwrap();
    let before = books.request(id).await;
    books.store.close().await.unwrap();
    (books.store, books.work) = open(directory.path());
    testing::take_over(directory.path()).unwrap();
    assert_eq!(books.request(id).await, before);
    assert_eq!(books.waiting(31_000).await, [(id, "sms".to_owned())]);
    books.ask(news_by(id, "sms", News::Accepted), 31_000).await.unwrap();
    assert_eq!(books.waiting(32_000).await, []);
}

#[tokio::test]
async fn a_message_whose_wait_was_over_before_a_restart_goes_to_the_next_leg_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "sms"]).await;
    books.store.close().await.unwrap();
    (books.store, books.work) = open(directory.path());
    testing::take_over(directory.path()).unwrap();
    assert_eq!(
        books.waiting(35_000).await,
        [],
        "not to the leg whose wait is over: the wake comes first"
    );
    let now = NOW.plus_millis(35_000);
    assert_eq!(books.store.due_requests(now, None, 10).await.unwrap().len(), 1);
    books.ask(Action::Wake { request: id }, 35_000).await.unwrap();
    let Some(Handed::Batch(batch)) = books.work.next().await else {
        panic!("nothing was handed over")
    };
    assert_eq!(batch[0].work, Some(Work::Deliver));
    assert_eq!(batch[0].request.leg_under_way(), Some(&name("sms")));
    assert_eq!(books.store.due_requests(now, None, 10).await.unwrap(), []);
    assert_eq!(books.waiting(35_000).await, [(id, "sms".to_owned())]);
}

#[tokio::test]
async fn a_message_that_no_leg_is_left_for_is_handed_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "sms"]).await;
    books.ask(news_by(id, "telegram", News::Accepted), 1).await.unwrap();
    books.ask(Action::Wake { request: id }, 30_000).await.unwrap();
    books.ask(news_by(id, "sms", News::Failed), 31_000).await.unwrap();
    assert_eq!(books.request(id).await.delivery, DeliveryState::Sent);
    assert_eq!(books.waiting(32_000).await, []);
    books.ask(Action::Wake { request: id }, 60_000).await.unwrap();
    assert_eq!(books.request(id).await.delivery, DeliveryState::Expired);
}

#[tokio::test]
async fn a_request_without_a_plan_has_none_of_its_columns() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    books.ask(send(1, None, Reach::Reachable), 0).await.unwrap();
    let id = RequestId::new(NOW, 1);
    books.ask(Action::news(id, News::Accepted), 1).await.unwrap();
    books.ask(Action::news(id, News::Delivered), 2).await.unwrap();
    let count = |sql: &str| {
        let counted = testing::with_tables(directory.path(), |tables| tables.number(sql));
        counted.unwrap().unwrap()
    };
    let unset =
        "SELECT count(*) FROM request WHERE plan IS NULL AND leg IS NULL AND leg_at IS NULL AND open_legs IS NULL";
    assert_eq!(count(unset), 1);
    assert_eq!(
        count("SELECT count(*) FROM timeline WHERE kind = 1 AND leg IS NULL AND detail IS NULL"),
        1
    );
}

#[tokio::test]
async fn a_timeline_is_read_back_with_its_legs_and_what_they_said() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "sms"]).await;
    books.ask(news_by(id, "telegram", News::CannotReach), 1).await.unwrap();
    books.ask(news_by(id, "sms", News::Accepted), 2).await.unwrap();
    books.ask(news_by(id, "sms", News::Disowned), 3).await.unwrap();
    let request = RequestRef {
        account: books.account,
        id,
    };
    let timeline = books.store.timeline(request).await.unwrap();
    let event = |number: u16, kind, leg: &str, detail: &str| TimelineEvent {
        number,
        kind,
        at: NOW.plus_millis(i64::from(number) - 1),
        leg: Some(name(leg)),
        detail: Some(Detail::new(detail)),
    };
    assert_eq!(
        timeline,
        [
            event(1, TimelineKind::LegSkipped, "gateway", "no credit"),
            event(2, TimelineKind::LegEnded(LegEnd::CannotReach), "telegram", "no opt-in"),
            event(3, TimelineKind::LegAccepted, "sms", "no opt-in"),
            event(4, TimelineKind::Disowned, "sms", "no opt-in"),
        ]
    );
}

#[tokio::test]
async fn a_plan_that_is_settled_in_the_same_millisecond_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let admitted = books.ask(send(1, plan(&["telegram", "sms"]), Reach::MustAsk), 0).await;
    let Ok(Answer::Admitted(request)) = admitted else {
        panic!("{admitted:?}")
    };
    let settle = Action::Settle {
        request,
        reachable: true,
        plan: plan(&["sms"]),
        skipped: vec![(name("telegram"), Detail::new("not there"))],
        guard: None,
    };
    books.ask(settle, 0).await.unwrap();
    assert_eq!(books.request(request).await.plan, plan(&["sms"]));
    assert_eq!(books.waiting(1).await, [(request, "sms".to_owned())]);
}

#[tokio::test]
async fn a_moved_clock_brings_the_next_leg_closer() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "sms"]).await;
    books.ask(Action::AdvanceClock { by_ms: 29_000 }, 0).await.unwrap();
    for (after_ms, due) in [(999, 0), (1_000, 1)] {
        let found = books.store.due_requests(NOW.plus_millis(after_ms), None, 10).await;
        assert_eq!(found.unwrap().len(), due);
    }
    books.ask(Action::Wake { request: id }, 1_000).await.unwrap();
    assert_eq!(books.request(id).await.leg_under_way(), Some(&name("sms")));
    assert_eq!(books.waiting(1_001).await, [(id, "sms".to_owned())]);
}

#[tokio::test]
async fn the_audit_finds_legs_that_went_back() {
    let directory = tempfile::tempdir().unwrap();
    let books = books(directory.path()).await;
    let id = books.sent(1, &["telegram", "mail", "sms"]).await;
    for after_ms in [20_000, 40_000] {
        books.ask(Action::Wake { request: id }, after_ms).await.unwrap();
    }
    assert_eq!(books.request(id).await.leg_under_way(), Some(&name("sms")));
    let violation = || {
        audit(&testing::database(directory.path()).unwrap(), &[], |_| {})
            .unwrap()
            .violation
    };
    assert_eq!(violation(), None);
    let spoil = |sql: &str| {
        let done = testing::with_tables(directory.path(), |tables| tables.execute(sql));
        done.unwrap().unwrap();
        violation().unwrap().what
    };
    let gone_back = spoil("UPDATE timeline SET leg = 'telegram' WHERE leg = 'mail'");
    assert!(gone_back.contains("went back to the leg \"telegram\""), "{gone_back}");
    let unknown = spoil("UPDATE timeline SET leg = 'pigeon' WHERE number = 3");
    assert!(unknown.contains("\"pigeon\", which its plan doesn't have"), "{unknown}");
    let behind = spoil("UPDATE request SET leg = 0");
    assert!(behind.contains("is at leg 0 of its plan"), "{behind}");
    let planless = spoil("UPDATE request SET plan = NULL");
    assert!(planless.contains("has no plan"), "{planless}");
}
