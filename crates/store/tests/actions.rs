//! The audit log: who did what is written in the transaction of what was done, and read newest first.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::{
    AccountId, AccountKey, Action, AdjustmentReason, ApiToken, Autofill, Bucket, Command, Credits, LowBalance,
    NumberPrefix, PhoneNumber, PriceRoute, PriceRow, Rules, SenderUsername, Timestamp,
};
use countersign_store::{
    ActionFilter, ActionRecord, Actor, Books, MasterKey, NewAccount, NewAction, PriceSetting, testing,
};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn key() -> AccountKey {
    AccountKey {
        bucket: Bucket(9),
        id: AccountId::new(77).unwrap(),
    }
}

async fn books(directory: &Path) -> Arc<dyn Books> {
    let (store, _) = testing::open(directory, MasterKey::from_bytes([7; 32]), Rules::default()).unwrap();
    let new = NewAccount {
        key: key(),
        token: ApiToken::new(key().id, [3; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_567_890),
        now: NOW,
    };
    store.create_account(new, Actor::System).await.unwrap();
    store
}

fn command(action: Action) -> Command {
    Command {
        now: NOW,
        token: None,
        idempotency: None,
        action,
    }
}

fn said(record: &ActionRecord) -> String {
    format!(
        "{}: {} {} {}",
        record.actor, record.action, record.subject, record.detail
    )
    .trim_end()
    .to_owned()
}

async fn lines(store: &Arc<dyn Books>, filter: ActionFilter) -> Vec<String> {
    let page = store.actions(filter, None, 100).await.unwrap();
    page.records.iter().map(said).collect()
}

#[tokio::test]
async fn every_settings_write_says_who_did_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path()).await;
    let name = SenderUsername::parse("acme_shop").unwrap();
    store
        .rotate_token(key(), ApiToken::new(key().id, [4; 32]), Actor::Owner)
        .await
        .unwrap();
    store.set_allow_list(key(), Vec::new(), Actor::Owner).await.unwrap();
    store
        .set_low_balance(key(), None::<LowBalance>, Actor::Owner)
        .await
        .unwrap();
    let autofill = Autofill::parse("acme.example", "FA+9qCX9VSu").unwrap();
    store.set_autofill(key(), autofill, Actor::Owner, NOW).await.unwrap();
    store.add_sender(key(), name.clone(), NOW, Actor::Owner).await.unwrap();
    store.verify_sender(name, NOW, Actor::Operator).await.unwrap();
    let setting = PriceSetting {
        rows: vec![PriceRow {
            route: PriceRoute::All,
            prefix: NumberPrefix::parse_or_default("+39").unwrap(),
            effective_from: NOW,
            price: Some(Credits::from_micros(20_000)),
        }],
        dry_run: false,
        set_by: Actor::Operator,
        now: NOW,
    };
    store.set_prices(setting).await.unwrap();
    store.close_account(key(), NOW, Actor::Operator).await.unwrap();
    assert_eq!(
        lines(&store, ActionFilter::default()).await,
        [
            "operator: account closed account 77",
            "operator: prices set prices all +39: 0.02 from 2026-09-21T14:13:20Z",
            "operator: sender verified sender acme_shop",
            "owner: sender added sender acme_shop",
            "owner: autofill set account 77 acme.example FA+9qCX9VSu",
            "owner: low-balance report set account 77",
            "owner: address allow-list set account 77",
            "owner: token rotated account 77",
            "system: account created account 77 Acme",
        ]
    );
}

#[tokio::test]
async fn money_that_the_operator_moved_stands_there_and_what_was_refused_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path()).await;
    let credit = Action::Purchase {
        amount: Credits::from_micros(5_000_000),
    };
    let adjust = |amount| Action::Adjust {
        amount: Credits::from_micros(amount),
        reason: AdjustmentReason::new("a correction").unwrap(),
    };
    for action in [credit, adjust(-1_000_000), adjust(-9_000_000)] {
        let _ = store.submit_by(key(), command(action), Actor::Operator).await.unwrap();
    }
    // What nobody asked for by hand has its ledger entry alone.
    let _ = store.submit(key(), command(adjust(-1))).await.unwrap();
    assert_eq!(
        lines(&store, ActionFilter::default()).await,
        [
            "operator: balance adjusted account 77 -1: a correction",
            "operator: credit added account 77 5",
            "system: account created account 77 Acme",
        ]
    );
}

#[tokio::test]
async fn the_log_is_read_page_by_page_and_narrowed_by_actor_subject_and_action() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path()).await;
    for (by, action, subject) in [
        (Actor::Operator, "backup begun", "backups"),
        (Actor::Operator, "signed in", "console"),
        (Actor::Owner, "signed in", "account 77"),
    ] {
        let line = NewAction {
            by,
            at: NOW,
            action,
            subject,
            detail: "",
        };
        store.note(line).await.unwrap();
    }
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let page = store.actions(ActionFilter::default(), before, 2).await.unwrap();
        seen.extend(page.records.iter().map(|record| record.number));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [4, 3, 2, 1]);
    let filters = [
        (Some(Actor::Operator), None, None, 2),
        (None, Some("account 77"), None, 2),
        (None, None, Some("signed"), 2),
        (Some(Actor::Owner), Some("account 77"), Some("signed"), 1),
        (Some(Actor::System), Some("console"), None, 0),
    ];
    for (by, subject, action, found) in filters {
        let filter = ActionFilter {
            by,
            subject: subject.map(str::to_owned),
            action_prefix: action.map(str::to_owned),
        };
        assert_eq!(lines(&store, filter.clone()).await.len(), found, "{filter:?}");
    }
}

#[tokio::test]
async fn a_line_is_never_edited_or_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let store = books(directory.path()).await;
    store.close().await.unwrap();
    for tampering in [
        "UPDATE settings_audit SET actor = 'owner'",
        "DELETE FROM settings_audit",
        "INSERT INTO settings_audit (id, at, action, subject) VALUES (1, 0, 'x', 'y') ON CONFLICT (id) DO UPDATE SET at = 1",
    ] {
        let done = testing::with_tables(directory.path(), |tables| tables.execute(tampering)).unwrap();
        assert!(done.is_err(), "{tampering}");
    }
}
