//! The change of the master key: under load, broken off in the middle, and what the old key opens afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

fn account() -> AccountKey {
    AccountKey::of_new(AccountId::from_entropy(0x1234_5678_9abc_def0))
}

fn open(path: &Path, key: MasterKey) -> Result<(Arc<dyn Books>, CommittedWork), StoreError> {
    testing::open(path, key, Rules::default())
}

async fn make_account(store: &dyn Books) -> ApiToken {
    let account = account();
    let token = ApiToken::new(account.id, [9; 32]);
    let new = NewAccount {
        key: account,
        token: token.clone(),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_567_890),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let purchase = Action::Purchase {
        amount: Credits::from_micros(1_000_000_000),
    };
    let command = Command {
        now: NOW,
        token: None,
        idempotency: None,
        action: purchase,
    };
    store.submit(account, command).await.unwrap().unwrap();
    token
}

fn idempotency(store: &dyn Books, number: u64) -> Idempotency {
    Idempotency {
        key: IdempotencyKey::new(&format!("order-{number}")).unwrap(),
        fingerprint: store.fingerprint(account(), b"the same parameters"),
    }
}

fn request_id(number: u64) -> RequestId {
    RequestId::new(NOW, number)
}

/// Sends a code under an idempotency key.
async fn send(store: &dyn Books, number: u64) -> Outcome {
    let action = Action::Send(Box::new(Send {
        email: EmailAddress::parse("anna@example.com"),
        locale: None,
        phone: PhoneNumber::from_stored(391_234_500_000 + number),
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: 123_456 + u128::from(number),
        },
        callback_url: CallbackUrl::parse("https://a.example/", PlainHttp::Refused),
        payload: None,
        ttl: Ttl::default(),
        id_entropy: number,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }));
    let command = Command {
        now: NOW,
        token: None,
        idempotency: Some(idempotency(store, number)),
        action,
    };
    store.submit(account(), command).await.unwrap()
}

async fn code_of(store: &dyn Books, number: u64) -> Result<String, StoreError> {
    let request = store.request(account(), request_id(number)).await?;
    let message = request.unwrap().message.unwrap();
    Ok(message.code.whole().unwrap().as_str().to_owned())
}

async fn with_requests(path: &Path, count: u64) -> (Arc<dyn Books>, ApiToken) {
    let (store, work) = open(path, key(1)).unwrap();
    drop(work);
    let token = make_account(store.as_ref()).await;
    for number in 0..count {
        send(store.as_ref(), number).await.unwrap();
    }
    (store, token)
}

async fn begin(store: &dyn Books) {
    store.learn_master_key(key(2)).await.unwrap();
    store.begin_key_rotation(NOW, Actor::Operator).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_changes_under_load_and_the_old_one_opens_nothing_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let (store, token) = with_requests(directory.path(), 300).await;
    let code = code_of(store.as_ref(), 7).await.unwrap();
    let cookie = SessionToken([5; 32]);
    let session = NewSession {
        token: cookie.clone(),
        id: 77,
        owner: SessionOwner::Account(account()),
        device: "Firefox on Linux".into(),
        address: "192.0.2.1".into(),
        now: NOW,
        life_ms: DAY_MS,
    };
    store.begin_session(session).await.unwrap();

    let ended = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (store, ended, token) = (Arc::clone(&store), Arc::clone(&ended), token.clone());
        async move {
            let mut number = 1_000;
            while !ended.load(Ordering::Acquire) {
                send(store.as_ref(), number).await.unwrap();
                assert!(store.authenticate(&token).await.unwrap().is_some());
                assert!(code_of(store.as_ref(), number).await.is_ok());
                assert!(code_of(store.as_ref(), number % 300).await.is_ok());
                number += 1;
            }
            number
        }
    });
    begin(store.as_ref()).await;
    let progress = KeyProgress::default();
    let rotated = store.rotate_keys(&progress, NOW).await.unwrap();
    ended.store(true, Ordering::Release);
    let end = load.await.unwrap();
    assert_eq!(rotated.key, key(2).fingerprint().unwrap());
    assert_eq!(rotated.unreadable, 0);
    // Codes, addresses, kept answers and their fingerprints, of 300 at least; and a token.
    assert!(rotated.values > 4 * 300, "{rotated:?}");
    assert!(progress.resealed() > 4 * 300 - 100, "{progress:?}");
    assert!(store.session(&cookie, NOW).await.unwrap().is_none(), "still signed in");
    assert_eq!(code_of(store.as_ref(), 7).await.unwrap(), code);
    assert!(store.authenticate(&token).await.unwrap().is_some());
    // An idempotency key still knows what it was used for.
    assert!(matches!(send(store.as_ref(), 7).await, Ok(Answer::Again(_))));
    store.close().await.unwrap();
    drop(store);

    assert!(matches!(
        open(directory.path(), key(1)),
        Err(StoreError::WrongMasterKey)
    ));
    let (store, _work) = open(directory.path(), key(2)).unwrap();
    for number in (0..300).chain(1_000..end) {
        code_of(store.as_ref(), number).await.unwrap();
    }
    assert_eq!(store.token(account()).await.unwrap(), token);
    assert!(store.authenticate(&token).await.unwrap().is_some());
    assert!(matches!(send(store.as_ref(), 7).await, Ok(Answer::Again(_))));
    store.close().await.unwrap();
    drop(store);

    // Whoever has the old key and the books can make a program believe in it, and still reads nothing.
    let old = hex(&key_check(1));
    let literal = if testing::on_postgres() {
        format!("'\\x{old}'")
    } else {
        format!("x'{old}'")
    };
    for sql in [
        format!("UPDATE meta SET value = {literal} WHERE name = 'key_check'"),
        "DELETE FROM meta WHERE name = 'carried keys'".to_owned(),
    ] {
        testing::with_tables(directory.path(), |tables| tables.execute(&sql))
            .unwrap()
            .unwrap();
    }
    let (store, _work) = open(directory.path(), key(1)).unwrap();
    assert!(code_of(store.as_ref(), 7).await.is_err());
    assert!(store.token(account()).await.is_err());
    assert!(store.authenticate(&token).await.unwrap().is_none());
}

/// What books of that key have in `meta`.
fn key_check(byte: u8) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (store, _work) = open(directory.path(), key(byte)).unwrap();
    let read = testing::with_tables(directory.path(), |tables| {
        tables.query("SELECT value FROM meta WHERE name = 'key_check'", &[])
    });
    drop(store);
    read.unwrap().unwrap()[0].get(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_killed_in_the_middle_goes_on_with_both_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (store, token) = with_requests(directory.path(), 900).await;
    begin(store.as_ref()).await;
    let progress = KeyProgress::default();
    {
        let mut rotating = store.rotate_keys(&progress, NOW);
        while progress.resealed() < 100 {
            tokio::select! {
                biased;
                ended = &mut rotating => panic!("it ended at once: {ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    drop(store);

    let refused = open(directory.path(), key(1)).err();
    assert!(matches!(refused, Some(StoreError::MissingNextKey)), "{refused:?}");
    let (store, _work) = open(directory.path(), key(1).followed_by(&key(2))).unwrap();
    assert!(store.key_standing().unwrap().rotating);
    assert!(store.authenticate(&token).await.unwrap().is_some());
    code_of(store.as_ref(), 899).await.unwrap();
    let again = KeyProgress::default();
    let rotated = store.rotate_keys(&again, NOW).await.unwrap();
    assert!(
        again.resealed() < 4 * 900 && again.resealed() > 0,
        "{again:?} after {progress:?}"
    );
    assert_eq!(rotated.values, 4 * 900 + 1);
    assert!(!store.key_standing().unwrap().rotating);
    store.close().await.unwrap();
    drop(store);
    // The files may be in their new places by now, or not yet.
    for keys in [key(2), key(1).followed_by(&key(2))] {
        let (store, _work) = open(directory.path(), keys).unwrap();
        assert_eq!(store.key_standing().unwrap().present, key(2).fingerprint().unwrap());
        code_of(store.as_ref(), 0).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_needs_a_new_key_and_leaves_a_line_in_the_audit_log() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = with_requests(directory.path(), 1).await;
    let refused = store.begin_key_rotation(NOW, Actor::Operator).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    begin(store.as_ref()).await;
    // A second time changes nothing.
    store.begin_key_rotation(NOW, Actor::Operator).await.unwrap();
    store.rotate_keys(&KeyProgress::default(), NOW).await.unwrap();
    let page = store.actions(ActionFilter::default(), None, 10).await.unwrap();
    let keys: Vec<String> = page
        .records
        .iter()
        .filter(|line| line.subject == "keys")
        .map(|line| line.action.clone())
        .collect();
    assert_eq!(keys, ["master key changed", "change of the master key begun"]);
}
