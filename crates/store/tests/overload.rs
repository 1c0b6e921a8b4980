//! More calls than the writer can take: some are refused at once, what was let in is done, and nothing else is ever refused for them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// As many as no queue holds back by its length.
const CALLS: u64 = 4_000;

fn send(number: u64, token: Option<TokenClaim>) -> Command {
    Command {
        now: NOW,
        token,
        idempotency: None,
        action: Action::Send(Box::new(Send {
            email: None,
            locale: None,
            phone: PhoneNumber::from_stored(391_230_000_000 + number),
            request: None,
            sender: None,
            code: SendCode::Supplied(Code::parse("4711").unwrap()),
            callback_url: None,
            payload: None,
            ttl: Ttl::new(60).unwrap(),
            id_entropy: number,
            reach: Reach::Reachable,
            plan: None,
            skipped: Vec::new(),
            guard: None,
        })),
    }
}

async fn account(store: &dyn Books) -> AccountKey {
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
    let command = Command {
        action: Action::Purchase {
            amount: Credits::parse("1000").unwrap(),
        },
        ..send(0, None)
    };
    store.submit(key, command).await.unwrap().unwrap();
    key
}

/// Submits so many at once; answers the numbers of those that were done, and how many were refused.
async fn all_at_once(
    store: &Arc<dyn Books>,
    key: AccountKey,
    first: u64,
    token: Option<TokenClaim>,
) -> (Vec<u64>, u64) {
    // Workers don't.
    let asks = token.is_some();
    let mut calls = JoinSet::new();
    for number in first..first + CALLS {
        let store = Arc::clone(store);
        calls.spawn(async move {
            if asks && !store.admits(key) {
                return (number, Err(StoreError::Busy));
            }
            (number, store.submit(key, send(number, token)).await)
        });
    }
    let (mut done, mut refused) = (Vec::new(), 0);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            (number, Ok(outcome)) => {
                outcome.unwrap();
                done.push(number);
            }
            (_, Err(StoreError::Busy)) => refused += 1,
            (_, Err(error)) => panic!("{error}"),
        }
    }
    (done, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_would_wait_too_long_are_refused_and_all_others_are_done() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _work) = testing::open(directory.path(), MasterKey::from_bytes([1; 32]), Rules::default()).unwrap();
    let key = account(store.as_ref()).await;
    // What workers bring isn't refused before the queue is full. The writer learns what a job costs.
    let (done, refused) = all_at_once(&store, key, 0, None).await;
    assert_eq!((done.len() as u64, refused), (CALLS, 0));
    let token = TokenClaim {
        kind: TokenKind::Live,
        generation: 1,
    };
    let (done, refused) = all_at_once(&store, key, CALLS, Some(token)).await;
    assert_eq!(done.len() as u64 + refused, CALLS);
    assert!(
        done.len() >= 512,
        "a batch's worth is let in however long it takes: {}",
        done.len()
    );
    for number in &done {
        let request = store.request(key, RequestId::new(NOW, *number)).await.unwrap();
        assert!(request.is_some(), "{number} was answered");
    }
    let profile = store.account(key.id).await.unwrap().unwrap();
    assert_eq!(
        profile.entries,
        1 + CALLS + done.len() as u64,
        "who was refused isn't charged"
    );
    // Once it has worked them off, it lets callers in again.
    let call = store.submit(key, send(2 * CALLS, Some(token))).await;
    call.unwrap().unwrap();
    store.close().await.unwrap();
}

/// On SQLite, on PostgreSQL and on sharded books, where the statement must be one that Citus takes.
#[tokio::test]
async fn whether_the_books_take_writes_is_tried_again_and_again_and_leaves_them_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _committed) =
        testing::open(directory.path(), MasterKey::from_bytes([7; 32]), Rules::default()).unwrap();
    let account = account(&*store).await;
    let before = store.account(account.id).await.unwrap();
    for _ in 0..3 {
        store.try_write().await.unwrap();
    }
    assert_eq!(store.account(account.id).await.unwrap(), before);
    store.close().await.unwrap();
}
