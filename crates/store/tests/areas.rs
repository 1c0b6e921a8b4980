//! An account's rules for countries and prefixes: kept, judged from their commit on, each change in the audit log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::{
    AccountId, AccountKey, Action, ApiError, ApiToken, Area, AreaChange, AreaRules, AreaVerdict, Code, Command,
    Credits, MAX_AREA_RULES, NumberPrefix, PhoneNumber, Reach, Rules, Send, SendCode, Timestamp, Ttl,
};
use countersign_store::{ActionFilter, Actor, Books, MasterKey, NewAccount, StoreError, testing};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ITALIAN: u64 = 393_331_234_567;

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
    let amount = Credits::parse("1").unwrap();
    submit(store, key, Action::Purchase { amount }).await.unwrap();
    key
}

async fn submit(store: &Arc<dyn Books>, account: AccountKey, action: Action) -> countersign_store::Outcome {
    let command = Command {
        now: NOW,
        token: None,
        idempotency: None,
        action,
    };
    store.submit(account, command).await.unwrap()
}

async fn send(store: &Arc<dyn Books>, account: AccountKey, entropy: u64) -> countersign_store::Outcome {
    let send = Send {
        phone: PhoneNumber::from_stored(ITALIAN),
        request: None,
        sender: None,
        code: SendCode::Supplied(Code::parse("4711").unwrap()),
        callback_url: None,
        payload: None,
        ttl: Ttl::default(),
        locale: None,
        email: None,
        id_entropy: entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    submit(store, account, Action::Send(Box::new(send))).await
}

fn put(text: &str, verdict: AreaVerdict) -> AreaChange {
    AreaChange::Put(Area::parse(text).unwrap(), verdict)
}

#[tokio::test]
async fn a_rule_holds_from_its_commit_on_for_its_account_alone_and_a_restart_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (ours, others) = (account(&store, 1).await, account(&store, 2).await);
    assert!(store.areas(ours).await.unwrap().is_empty());
    send(&store, ours, 1).await.unwrap();
    for (area, verdict) in [("it", AreaVerdict::Block), ("+39333", AreaVerdict::Trust)] {
        store
            .change_areas(ours, put(area, verdict), Actor::Owner, NOW)
            .await
            .unwrap();
    }
    send(&store, ours, 2).await.unwrap();
    let remove = AreaChange::Remove(Area::parse("+39333").unwrap());
    store.change_areas(ours, remove, Actor::Operator, NOW).await.unwrap();
    assert!(matches!(send(&store, ours, 3).await, Err(ApiError::Refused(_))));
    send(&store, others, 4).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let store = open(directory.path());
    assert_eq!(store.areas(ours).await.unwrap().encode(), "block IT");
    assert!(matches!(send(&store, ours, 5).await, Err(ApiError::Refused(_))));
    let none = AreaChange::Set(AreaRules::default());
    for _ in 0..2 {
        // The second time nothing changes, so there is no line of it.
        store.change_areas(ours, none.clone(), Actor::Owner, NOW).await.unwrap();
    }
    send(&store, ours, 6).await.unwrap();
    let filter = ActionFilter {
        action_prefix: Some("areas".into()),
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
            ("owner", "removed: block IT"),
            ("operator", "removed: trust +39333"),
            ("owner", "added: trust +39333"),
            ("owner", "added: block IT"),
        ]
    );
}

#[tokio::test]
async fn of_many_changes_at_once_none_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ours = account(&store, 1).await;
    let changes = (1..=40_u64).map(|number| {
        let area = Area::Prefix(NumberPrefix::from_stored(number));
        store.change_areas(ours, AreaChange::Put(area, AreaVerdict::Block), Actor::Owner, NOW)
    });
    for changed in futures_util::future::join_all(changes).await {
        changed.unwrap();
    }
    assert_eq!(store.areas(ours).await.unwrap().rules().len(), 40);
}

#[tokio::test]
async fn rules_are_bounded_and_a_closed_account_takes_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ours = account(&store, 1).await;
    let mut many = AreaRules::default();
    for number in (1..).take(MAX_AREA_RULES) {
        many.add(Area::Prefix(NumberPrefix::from_stored(number)), AreaVerdict::Block)
            .unwrap();
    }
    store
        .change_areas(ours, AreaChange::Set(many.clone()), Actor::Owner, NOW)
        .await
        .unwrap();
    let one_more = store
        .change_areas(ours, put("DE", AreaVerdict::Allow), Actor::Owner, NOW)
        .await;
    assert!(matches!(one_more, Err(StoreError::TooMany(_))), "{one_more:?}");
    assert_eq!(store.areas(ours).await.unwrap(), many);
    assert!(matches!(send(&store, ours, 1).await, Err(ApiError::Refused(_))));
    store.close_account(ours, NOW, Actor::Owner).await.unwrap();
    let closed = store
        .change_areas(ours, put("1", AreaVerdict::Allow), Actor::Owner, NOW)
        .await;
    assert!(matches!(closed, Err(StoreError::NotFound(_))), "{closed:?}");
    let nobody = AccountKey::of_new(AccountId::from_entropy(77 << 20));
    assert!(store.areas(nobody).await.unwrap().is_empty());
}
