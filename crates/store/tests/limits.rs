//! What the books count for limits: flood counters are rows, which outlive the process, and go once they count for nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use futures_util::future::join_all;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The owner's own: it costs nothing, so an account without money may send to it.
const OWN: u64 = 391_234_567_890;

fn rules() -> Rules {
    Rules {
        account_limit: Some(Limit {
            count: 5,
            period_ms: 50_000,
        }),
        number_limit: Some(Limit {
            count: 3,
            period_ms: 300_000,
        }),
        ..Rules::default()
    }
}

fn open(folder: &Path) -> (Arc<dyn countersign_store::Books>, CommittedWork) {
    testing::open(folder, MasterKey::from_bytes([1; 32]), rules()).unwrap()
}

fn account() -> AccountKey {
    AccountKey::of_new(AccountId::from_entropy(0x1234_5678_9abc_def0))
}

async fn make_account(store: &dyn countersign_store::Books) {
    let new = NewAccount {
        key: account(),
        token: ApiToken::new(account().id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(OWN),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
}

async fn send(store: &dyn countersign_store::Books, entropy: u64, now: Timestamp) -> Outcome {
    let send = Send {
        email: None,
        locale: None,
        phone: PhoneNumber::from_stored(OWN),
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("4711").unwrap()),
        callback_url: None,
        payload: None,
        ttl: Ttl::new(30).unwrap(),
        id_entropy: entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    let command = Command {
        now,
        token: Some(TokenClaim {
            kind: TokenKind::Live,
            generation: 1,
        }),
        idempotency: None,
        action: Action::Send(Box::new(send)),
    };
    store.submit(account(), command).await.unwrap()
}

fn counters(folder: &Path) -> i64 {
    testing::with_tables(folder, |tables| {
        tables.number("SELECT count(*) FROM flood_counter").unwrap()
    })
    .unwrap()
}

#[tokio::test]
async fn a_restart_forgets_no_flood_counter() {
    let folder = tempfile::tempdir().unwrap();
    let (store, work) = open(folder.path());
    make_account(store.as_ref()).await;
    for entropy in 1..=3 {
        send(store.as_ref(), entropy, NOW).await.unwrap();
    }
    // Three in five minutes to one number: the next has its turn after a third of that.
    let refused = Err(ApiError::FloodWait { seconds: 100 });
    assert_eq!(send(store.as_ref(), 4, NOW).await, refused);
    store.close().await.unwrap();
    drop((store, work));
    let (store, _work) = open(folder.path());
    assert_eq!(send(store.as_ref(), 5, NOW).await, refused);
    send(store.as_ref(), 6, NOW.plus_millis(100_000)).await.unwrap();
}

#[tokio::test]
async fn a_batch_writes_one_row_for_each_counter_and_the_row_before_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _work) = open(folder.path());
    make_account(store.as_ref()).await;
    // All in one queue: some batches, whichever.
    let sent = join_all((1..=3).map(|entropy| send(store.as_ref(), entropy, NOW))).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!(counters(folder.path()), 2, "the account's and the number's");
}

#[tokio::test]
async fn counters_go_once_they_count_for_nothing_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _work) = open(folder.path());
    make_account(store.as_ref()).await;
    for entropy in 1..=3 {
        send(store.as_ref(), entropy, NOW).await.unwrap();
    }
    let later = |seconds: i64| NOW.plus_millis(seconds * 1_000);
    assert_eq!(store.forget_spent_limits(later(29)).await.unwrap(), 0);
    assert_eq!(store.forget_spent_limits(later(31)).await.unwrap(), 1);
    // What is left still counts.
    let refused = send(store.as_ref(), 4, later(31)).await;
    assert_eq!(refused, Err(ApiError::FloodWait { seconds: 69 }));
    assert_eq!(store.forget_spent_limits(later(301)).await.unwrap(), 1);
    assert_eq!(counters(folder.path()), 0);
}

#[tokio::test]
async fn quotas_are_counted_under_a_hash_and_the_same_whatever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _work) = open(folder.path());
    let quota = Quota::new(Limit {
        count: 100,
        period_ms: 100_000,
    });
    let taken = |count: usize, key: &str| {
        let mut share = Share::default();
        for _ in 0..count {
            assert_eq!(share.take(quota, NOW), Asked::Passed);
        }
        QuotaTaken {
            key: key.into(),
            limit: quota.limit(),
            taken: share.settle().unwrap(),
        }
    };
    let until = |seconds: i64| LimitState::until(NOW.plus_millis(1_000 * seconds));
    let (number, country) = ("number 391234567890", "country IT");
    let both = vec![taken(2, number), taken(1, country)];
    assert_eq!(store.settle_quotas(both).await.unwrap(), [until(2), until(1)]);
    let again = vec![taken(1, country), taken(1, number)];
    assert_eq!(store.settle_quotas(again).await.unwrap(), [until(2), until(3)]);
    assert!(!testing::books_hold(folder.path(), b"391234567890").unwrap());
    assert_eq!(store.forget_spent_quotas(NOW.plus_millis(2_001)).await.unwrap(), 1);
    assert_eq!(store.forget_spent_quotas(NOW.plus_millis(3_001)).await.unwrap(), 1);
}
