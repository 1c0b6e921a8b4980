//! Who is signed in, through the [`Sessions`] trait: what a cookie opens, for how long, and what ends it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE_MS: i64 = 60_000;
const LIFE_MS: i64 = 30 * DAY_MS;

fn open_at(path: &Path) -> Arc<dyn Books> {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default())
        .unwrap()
        .0
}

async fn account(store: &Arc<dyn Books>, seed: u64) -> SessionOwner {
    let id = AccountId::from_entropy(seed << 32);
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000 + seed),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    SessionOwner::Account(key)
}

const fn token(seed: u8) -> SessionToken {
    SessionToken([seed; 32])
}

async fn begin(store: &Arc<dyn Books>, owner: SessionOwner, seed: u8, now: Timestamp) -> Session {
    let new = NewSession {
        token: token(seed),
        id: 1_000 + i64::from(seed),
        owner,
        device: "Firefox on Linux".into(),
        address: "192.0.2.1".into(),
        now,
        life_ms: LIFE_MS,
    };
    store.begin_session(new).await.unwrap()
}

#[tokio::test]
async fn a_cookie_opens_its_session_until_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    let begun = begin(&store, owner, 7, NOW).await;
    assert_eq!(store.session(&token(7), NOW).await.unwrap(), Some(begun));
    assert_eq!(store.session(&token(8), NOW).await.unwrap(), None);
    let last = NOW.plus_millis(LIFE_MS);
    assert!(store.session(&token(7), last.plus_millis(-1)).await.unwrap().is_some());
    assert_eq!(store.session(&token(7), last).await.unwrap(), None);
}

#[tokio::test]
async fn when_a_browser_was_seen_moves_by_the_minute_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    begin(&store, owner, 7, NOW).await;
    for seconds in [30_000, 59_999, 61_000, 90_000] {
        store.session(&token(7), NOW.plus_millis(seconds)).await.unwrap();
        if seconds == 61_000 {
            // Nobody waits for that write; it comes.
            while store.sessions(owner, NOW).await.unwrap()[0].seen_at == NOW {}
        }
        // Where writes queue, what was queued before this one is written by its end.
        store.forget_ended_sessions(NOW).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let store = open_at(dir.path());
    let seen = store
        .session(&token(7), NOW.plus_millis(91_000))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen.seen_at, NOW.plus_millis(61_000));
}

#[tokio::test]
async fn an_owner_ends_one_session_or_all_others_and_never_a_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let (mine, theirs) = (account(&store, 1).await, account(&store, 2).await);
    let this = begin(&store, mine, 1, NOW).await;
    let other = begin(&store, mine, 2, NOW).await;
    begin(&store, mine, 3, NOW).await;
    let stranger = begin(&store, theirs, 4, NOW).await;
    let operator = begin(&store, SessionOwner::Operator, 5, NOW).await;

    assert!(!store.end_session(mine, stranger.id).await.unwrap());
    assert!(!store.end_session(mine, operator.id).await.unwrap());
    assert!(store.end_session(mine, other.id).await.unwrap());
    assert!(!store.end_session(mine, other.id).await.unwrap());
    assert_eq!(store.session(&token(2), NOW).await.unwrap(), None);
    assert_eq!(store.end_sessions(mine, Some(this.id)).await.unwrap(), 1);
    assert_eq!(store.sessions(mine, NOW).await.unwrap(), [this]);
    assert_eq!(store.sessions(theirs, NOW).await.unwrap(), [stranger]);
    assert_eq!(store.sessions(SessionOwner::Operator, NOW).await.unwrap(), [operator]);
    assert_eq!(store.end_sessions(SessionOwner::Operator, None).await.unwrap(), 1);
    assert_eq!(store.session(&token(5), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn the_oldest_session_goes_where_there_would_be_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    let seeds = u8::try_from(MAX_SESSIONS).unwrap() + 2;
    for seed in 0..seeds {
        begin(&store, owner, seed, NOW.plus_millis(i64::from(seed))).await;
    }
    let now = NOW.plus_millis(MINUTE_MS);
    assert_eq!(store.sessions(owner, now).await.unwrap().len(), MAX_SESSIONS);
    assert_eq!(store.session(&token(1), now).await.unwrap(), None);
    assert!(store.session(&token(2), now).await.unwrap().is_some());
}

#[tokio::test]
async fn closing_an_account_ends_its_sessions_and_lets_none_begin() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    begin(&store, owner, 1, NOW).await;
    let SessionOwner::Account(key) = owner else { return };
    store.close_account(key, NOW, Actor::Operator).await.unwrap();
    assert_eq!(store.session(&token(1), NOW).await.unwrap(), None);
    let new = NewSession {
        token: token(2),
        id: 2,
        owner,
        device: String::new(),
        address: String::new(),
        now: NOW,
        life_ms: LIFE_MS,
    };
    let refused = store.begin_session(new).await;
    assert!(
        matches!(refused, Err(StoreError::NotFound("open account"))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn sessions_that_are_over_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    begin(&store, owner, 1, NOW).await;
    begin(&store, owner, 2, NOW.plus_millis(1)).await;
    assert_eq!(store.forget_ended_sessions(NOW.plus_millis(LIFE_MS)).await.unwrap(), 1);
    assert_eq!(store.forget_ended_sessions(NOW.plus_millis(LIFE_MS)).await.unwrap(), 0);
    assert!(store.session(&token(2), NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn no_cookie_stands_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let owner = account(&store, 1).await;
    begin(&store, owner, 0xa7, NOW).await;
    store.close().await.unwrap();
    assert!(!testing::books_hold(dir.path(), &[0xa7; 32]).unwrap());
}
