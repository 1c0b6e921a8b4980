//! What accounts' short messages end with: kept for each account, shown with it, changed while it is open.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::{AccountId, AccountKey, ApiToken, Autofill, PhoneNumber, Rules, Timestamp};
use countersign_store::{ActionFilter, Actor, Books, MasterKey, NewAccount, StoreError, testing};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn open(path: &Path) -> Arc<dyn Books> {
    testing::open(path, MasterKey::from_bytes([1; 32]), Rules::default())
        .unwrap()
        .0
}

async fn account(store: &Arc<dyn Books>, number: u64) -> AccountKey {
    let id = AccountId::from_entropy(number << 20);
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_500_000 + number),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    key
}

#[tokio::test]
async fn an_account_ends_its_messages_as_it_was_set_and_others_stay_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (ours, others) = (account(&store, 1).await, account(&store, 2).await);
    assert!(store.autofill(ours).await.unwrap().is_empty());
    let both = Autofill::parse("acme.example", "FA+9qCX9VSu").unwrap();
    store.set_autofill(ours, both.clone(), Actor::Owner, NOW).await.unwrap();
    assert_eq!(store.autofill(ours).await.unwrap(), both);
    assert_eq!(store.account(ours.id).await.unwrap().unwrap().autofill, both);
    assert!(store.autofill(others).await.unwrap().is_empty());
    store.close().await.unwrap();
    drop(store);

    let store = open(directory.path());
    assert_eq!(store.autofill(ours).await.unwrap(), both, "a restart forgot it");
    let domain = Autofill::parse("acme.example", "").unwrap();
    store
        .set_autofill(ours, domain.clone(), Actor::Operator, NOW)
        .await
        .unwrap();
    assert_eq!(
        store.autofill(ours).await.unwrap(),
        domain,
        "both parts are set at once"
    );
    store
        .set_autofill(ours, Autofill::default(), Actor::Owner, NOW)
        .await
        .unwrap();
    assert!(store.autofill(ours).await.unwrap().is_empty());
    let filter = ActionFilter {
        action_prefix: Some("autofill".into()),
        ..ActionFilter::default()
    };
    let records = store.actions(filter, None, 10).await.unwrap().records;
    let said: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (record.actor.as_str(), record.detail.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("owner", ""),
            ("operator", "acme.example"),
            ("owner", "acme.example FA+9qCX9VSu")
        ]
    );
}

#[tokio::test]
async fn a_closed_account_sets_nothing_and_one_that_is_none_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let closed = account(&store, 1).await;
    store.close_account(closed, NOW, Actor::Owner).await.unwrap();
    let domain = Autofill::parse("acme.example", "").unwrap();
    let refused = store.set_autofill(closed, domain.clone(), Actor::Owner, NOW).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    assert!(store.autofill(closed).await.unwrap().is_empty());
    let nobody = AccountKey::of_new(AccountId::from_entropy(77 << 20));
    assert!(store.set_autofill(nobody, domain, Actor::Owner, NOW).await.is_err());
    assert!(store.autofill(nobody).await.unwrap().is_empty());
}
