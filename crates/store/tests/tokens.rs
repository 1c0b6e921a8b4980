//! What becomes of tokens in the books: rotation with a grace, the test-mode token, and which token signs a report.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR_MS: i64 = 3_600_000;
/// Scripted: never delivered.
const NEVER: u64 = 9_996_610_003;

struct Books {
    store: Arc<dyn countersign_store::Books>,
    account: AccountKey,
    token: ApiToken,
    _work: CommittedWork,
}

async fn books(path: &Path) -> Books {
    books_by(path, Rules::default()).await
}

async fn books_by(path: &Path, rules: Rules) -> Books {
    let (store, work) = testing::open(path, MasterKey::from_bytes([1; 32]), rules).unwrap();
    let id = AccountId::from_entropy(0x1234_5678_9abc_def0);
    let account = AccountKey::of_new(id);
    let token = ApiToken::new(id, [9; 32]);
    let new = NewAccount {
        key: account,
        token: token.clone(),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_567_890),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    Books {
        store,
        account,
        token,
        _work: work,
    }
}

const fn claim(kind: TokenKind, generation: u32) -> TokenClaim {
    TokenClaim { kind, generation }
}

impl Books {
    async fn rotate(&self, kind: TokenKind, secret: u8, grace: Grace) -> ApiToken {
        let token = ApiToken::of_kind(kind, self.account.id, [secret; 32]);
        let rotation = Rotation {
            token: token.clone(),
            grace,
            by: Actor::Owner,
            now: NOW,
        };
        self.store.rotate(self.account, rotation).await.unwrap();
        token
    }

    async fn known(&self, token: &ApiToken) -> Option<(TokenClaim, Option<Timestamp>)> {
        let access = self.store.authenticate(token).await.unwrap();
        access.map(|access| (access.token, access.valid_until))
    }

    async fn signer(&self, made_with: TokenClaim, now: Timestamp) -> ApiToken {
        self.store.signing_token(self.account, made_with, now).await.unwrap()
    }

    async fn test_token(&self, secret: u8) -> ApiToken {
        let fresh = ApiToken::of_kind(TokenKind::Test, self.account.id, [secret; 32]);
        self.store.test_token(self.account, fresh, NOW).await.unwrap()
    }

    async fn send(&self, token: TokenClaim, phone: u64, entropy: u64, now: Timestamp) -> Outcome {
        let send = Send {
            email: None,
            locale: None,
            phone: PhoneNumber::from_stored(phone),
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
            token: Some(token),
            idempotency: None,
            action: Action::Send(Box::new(send)),
        };
        self.store.submit(self.account, command).await.unwrap()
    }
}

#[tokio::test]
async fn both_tokens_are_known_during_the_grace_whatever_the_cache_held_before() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    assert_eq!(books.known(&books.token).await, Some((claim(TokenKind::Live, 1), None)));
    let new = books.rotate(TokenKind::Live, 10, Grace::Hour).await;
    let until = NOW.plus_millis(HOUR_MS);
    assert_eq!(books.known(&new).await, Some((claim(TokenKind::Live, 2), None)));
    let old = books.known(&books.token).await;
    assert_eq!(old, Some((claim(TokenKind::Live, 1), Some(until))));
    // The next rotation replaces what was in its grace.
    books.rotate(TokenKind::Live, 11, Grace::Week).await;
    assert_eq!(books.known(&books.token).await, None);
    assert!(books.known(&new).await.is_some());
    books.rotate(TokenKind::Live, 12, Grace::None).await;
    assert_eq!(books.known(&new).await, None);
}

#[tokio::test]
async fn a_grace_that_is_ended_refuses_the_old_token_from_the_commit_on() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    books.rotate(TokenKind::Live, 10, Grace::Week).await;
    let old = claim(TokenKind::Live, 1);
    assert!(books.known(&books.token).await.is_some());
    books
        .store
        .end_grace(books.account, TokenKind::Live, Actor::Owner, NOW)
        .await
        .unwrap();
    assert_eq!(books.known(&books.token).await, None);
    // A command that was made before is refused all the same.
    assert_eq!(
        books.send(old, 391_234_567_890, 1, NOW).await,
        Err(ApiError::AccessTokenInvalid)
    );
}

#[tokio::test]
async fn what_is_left_of_an_old_token_is_forgotten_once_its_grace_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    books.rotate(TokenKind::Live, 10, Grace::Hour).await;
    let end = NOW.plus_millis(HOUR_MS);
    assert_eq!(books.store.forget_old_tokens(end.plus_millis(-1)).await.unwrap(), 0);
    assert_eq!(books.store.forget_old_tokens(end).await.unwrap(), 1);
    assert_eq!(books.store.forget_old_tokens(end).await.unwrap(), 0);
    let tokens = books.store.tokens(books.account).await.unwrap();
    assert_eq!(
        (tokens.live.standing.generation, tokens.live.standing.grace_until),
        (2, None)
    );
    books.store.close().await.unwrap();
    let sql = "SELECT count(previous_sealed) + count(previous_lookup) FROM account";
    let left = testing::with_tables(dir.path(), |tables| tables.number(sql)).unwrap();
    assert_eq!(left.unwrap(), 0);
}

#[tokio::test]
async fn the_test_mode_token_is_made_once_and_has_generations_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    let (first, second) = tokio::join!(books.test_token(20), books.test_token(21));
    assert!(first == second, "two who ask at once get the same");
    assert!(books.test_token(22).await == first);
    assert_eq!(books.known(&first).await, Some((claim(TokenKind::Test, 1), None)));
    books.rotate(TokenKind::Live, 10, Grace::None).await;
    assert_eq!(books.known(&first).await, Some((claim(TokenKind::Test, 1), None)));
    let next = books.rotate(TokenKind::Test, 23, Grace::None).await;
    assert_eq!(books.known(&first).await, None);
    assert_eq!(books.known(&next).await, Some((claim(TokenKind::Test, 2), None)));
    books
        .store
        .close_account(books.account, NOW, Actor::Owner)
        .await
        .unwrap();
    assert!(books.store.authenticate(&next).await.unwrap().unwrap().closed);
}

#[tokio::test]
async fn a_report_is_signed_with_the_token_that_made_its_request_while_that_works_then_with_the_present_one() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    let first = claim(TokenKind::Live, 1);
    assert!(books.signer(first, NOW).await == books.token);
    let second = books.rotate(TokenKind::Live, 10, Grace::Hour).await;
    let end = NOW.plus_millis(HOUR_MS);
    assert!(books.signer(first, end.plus_millis(-1)).await == books.token);
    assert!(books.signer(first, end).await == second);
    assert!(books.signer(claim(TokenKind::Live, 2), NOW).await == second);
    assert!(books.signer(TokenClaim::PRESENT, NOW).await == second);
    // Two rotations later its own token is gone, grace or not.
    let third = books.rotate(TokenKind::Live, 11, Grace::Week).await;
    assert!(books.signer(first, NOW).await == third);
    let test = books.test_token(20).await;
    assert!(books.signer(claim(TokenKind::Test, 1), NOW).await == test);
    let next_test = books.rotate(TokenKind::Test, 21, Grace::None).await;
    assert!(books.signer(claim(TokenKind::Test, 1), NOW).await == next_test);
}

#[tokio::test]
async fn the_audit_accepts_tests_that_cost_nothing_and_expire() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path()).await;
    books.test_token(20).await;
    let test = claim(TokenKind::Test, 1);
    for entropy in 1..=3 {
        let sent = books.send(test, NEVER, entropy, NOW).await;
        assert!(matches!(sent, Ok(Answer::Status(_))), "{sent:?}");
    }
    assert_eq!(
        books.send(test, 391_234_567_890, 9, NOW).await,
        Err(ApiError::PhoneNumberInvalid)
    );
    let request = RequestId::new(NOW, 1);
    let wake = Command {
        now: NOW.plus_millis(31_000),
        token: None,
        idempotency: None,
        action: Action::Wake { request },
    };
    books.store.submit(books.account, wake).await.unwrap().unwrap();
    let stored = books.store.request(books.account, request).await.unwrap().unwrap();
    assert!(stored.test && stored.delivery == DeliveryState::Expired && !stored.refunded);
    assert_eq!((stored.generation, stored.token()), (1, test));
    books.store.close().await.unwrap();
    let report = audit(&testing::database(dir.path()).unwrap(), &[], |_| {}).unwrap();
    assert_eq!(report.requests, 3);
    assert_eq!(report.violation, None);
}

#[tokio::test]
async fn tests_have_flood_counters_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let rules = Rules {
        account_limit: Some(Limit {
            count: 1,
            period_ms: 60_000,
        }),
        ..Rules::default()
    };
    let books = books_by(dir.path(), rules).await;
    books.test_token(20).await;
    let (live, test) = (claim(TokenKind::Live, 1), claim(TokenKind::Test, 1));
    books.send(test, NEVER, 1, NOW).await.unwrap();
    // The owner's own number is free: without any balance it can be sent to.
    books.send(live, 391_234_567_890, 2, NOW).await.unwrap();
    for (token, phone) in [(test, NEVER), (live, 391_234_567_890)] {
        let refused = books.send(token, phone, 3, NOW).await;
        assert_eq!(refused, Err(ApiError::FloodWait { seconds: 60 }));
    }
}
