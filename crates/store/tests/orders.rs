//! Orders of credit in the SQLite books: bought once whoever asks how often, decided once, bounded, listed by key; and the
//! history of entries that they become.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use futures_util::future::join_all;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR_MS: i64 = 3_600_000;

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

fn credits(text: &str) -> Credits {
    Credits::parse(text).unwrap()
}

fn new_order(account: AccountKey, number: u64, amount: &str, now: Timestamp) -> NewOrder {
    NewOrder {
        account,
        id: OrderId::of_number(number).unwrap(),
        amount: credits(amount),
        provider: ProviderName::parse("transfer").unwrap(),
        by: Actor::Owner,
        now,
    }
}

async fn make(store: &Arc<dyn Books>, account: AccountKey, number: u64, amount: &str, now: Timestamp) -> Order {
    match store.make_order(new_order(account, number, amount, now)).await.unwrap() {
        Ordered::Made(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn ask(store: &Arc<dyn Books>, account: AccountKey, action: Action, now: Timestamp) -> Outcome {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action,
    };
    store.submit(account, command).await.unwrap()
}

async fn decide(store: &Arc<dyn Books>, order: &Order, verdict: Verdict, by: OrderParty, note: &str) -> Outcome {
    let action = Action::DecideOrder {
        order: order.id,
        verdict,
        by,
        note: OrderNote::new(note),
    };
    ask(store, order.account, action, NOW.plus_millis(HOUR_MS)).await
}

async fn confirm(store: &Arc<dyn Books>, order: &Order) -> Outcome {
    decide(store, order, Verdict::Confirm, OrderParty::Operator, "seen").await
}

fn as_order(outcome: Outcome) -> Order {
    match outcome {
        Ok(Answer::Order(Some(order))) => *order,
        other => panic!("no order: {other:?}"),
    }
}

async fn balance(store: &Arc<dyn Books>, account: AccountKey) -> Credits {
    store.account(account.id).await.unwrap().unwrap().balance
}

fn audit_lines(path: &Path) -> Vec<(String, String)> {
    let sql = "SELECT actor, action FROM settings_audit WHERE action LIKE 'order%' ORDER BY id";
    let rows = testing::with_tables(path, |tables| tables.query(sql, &[])).unwrap();
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_confirmed_order_is_a_purchase_and_confirming_again_answers_the_first_result() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    assert_eq!(order.state, OrderState::Open);
    let confirmed = as_order(confirm(&store, &order).await);
    assert_eq!(
        (confirmed.state, confirmed.entry, confirmed.decided_by),
        (OrderState::Confirmed, Some(1), Some(OrderParty::Operator))
    );
    assert_eq!(confirmed.note.as_ref().unwrap().as_str(), "seen");
    let again = decide(&store, &order, Verdict::Confirm, OrderParty::Provider, "twice").await;
    assert_eq!(as_order(again), confirmed);
    assert_eq!(store.order(order.id).await.unwrap(), Some(confirmed.clone()));
    assert_eq!(balance(&store, account).await, credits("25"));
    let page = store
        .history(account, HistoryFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(
        (page.entries[0].kind, page.entries[0].amount),
        (EntryKind::Purchase, credits("25"))
    );
    // What was decided is decided for cancelling, too.
    let late = decide(&store, &order, Verdict::Cancel, OrderParty::Operator, "late").await;
    assert_eq!(as_order(late), confirmed);
    store.close().await.unwrap();
    let line = |actor: &str, action: &str| (actor.to_owned(), action.to_owned());
    assert_eq!(
        audit_lines(dir.path()),
        [line("owner", "order made"), line("operator", "order confirmed")]
    );
}

#[tokio::test]
async fn a_cancelled_order_is_never_bought() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    let cancelled = as_order(decide(&store, &order, Verdict::Cancel, OrderParty::Owner, "").await);
    assert_eq!((cancelled.state, cancelled.entry), (OrderState::Cancelled, None));
    assert_eq!(as_order(confirm(&store, &order).await), cancelled);
    assert_eq!(balance(&store, account).await, Credits::ZERO);
    // An owner may cancel an order, not say that it is paid.
    let other = make(&store, account, 8, "5", NOW).await;
    let own_word = decide(&store, &other, Verdict::Confirm, OrderParty::Owner, "").await;
    assert_eq!(own_word, Err(ApiError::BadRequest));
    assert_eq!(store.order(other.id).await.unwrap().unwrap().state, OrderState::Open);
}

#[tokio::test]
async fn confirmations_that_come_together_pay_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    let outcomes = join_all((0..50).map(|_| confirm(&store, &order))).await;
    let mut orders = outcomes.into_iter().map(as_order);
    let first = orders.next().unwrap();
    assert_eq!(first.state, OrderState::Confirmed);
    assert!(orders.all(|order| order == first));
    assert_eq!(balance(&store, account).await, credits("25"));
    store.close().await.unwrap();
    assert_eq!(
        audit(&testing::database(dir.path()).unwrap(), &[], |_| {})
            .unwrap()
            .violation,
        None
    );
}

#[tokio::test]
async fn a_restart_between_the_confirmation_and_its_answer_does_not_pay_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    // The caller never hears the answer; the books end, and begin again.
    drop(confirm(&store, &order).await);
    store.close().await.unwrap();
    let store = open(dir.path());
    let again = as_order(confirm(&store, &order).await);
    assert_eq!((again.state, again.entry), (OrderState::Confirmed, Some(1)));
    assert_eq!(balance(&store, account).await, credits("25"));
}

#[tokio::test]
async fn the_database_itself_keeps_what_was_decided() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    as_order(confirm(&store, &order).await);
    store.close().await.unwrap();
    // On PostgreSQL it is the statement that decides an order which sees to it that it is decided once.
    let changes: &[&str] = if testing::on_postgres() {
        &["DELETE FROM credit_order"]
    } else {
        &[
            "UPDATE credit_order SET state = 1, decided_at = NULL, entry = NULL",
            "DELETE FROM credit_order",
        ]
    };
    for change in changes {
        let done = testing::with_tables(dir.path(), |tables| tables.execute(change)).unwrap();
        assert!(done.is_err(), "{change}");
    }
}

#[tokio::test]
async fn an_order_that_is_not_the_accounts_is_unknown_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (mine, other) = (account(&store, 1).await, account(&store, 2).await);
    let order = make(&store, mine, 7, "25", NOW).await;
    let of_the_other = Order {
        account: other,
        ..order.clone()
    };
    assert_eq!(confirm(&store, &of_the_other).await, Ok(Answer::Order(None)));
    assert_eq!(balance(&store, other).await, Credits::ZERO);
    // A reference names one order of all.
    let taken = store.make_order(new_order(other, 7, "1", NOW)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
}

#[tokio::test]
async fn a_closed_account_orders_nothing_and_its_open_order_can_only_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let order = make(&store, account, 7, "25", NOW).await;
    store.close_account(account, NOW, Actor::Operator).await.unwrap();
    assert!(matches!(
        store.make_order(new_order(account, 8, "1", NOW)).await,
        Err(StoreError::NotFound(_))
    ));
    assert_eq!(confirm(&store, &order).await, Err(ApiError::AccessTokenInvalid));
    let cancelled = decide(&store, &order, Verdict::Cancel, OrderParty::Operator, "closed").await;
    assert_eq!(as_order(cancelled).state, OrderState::Cancelled);
}

#[tokio::test]
async fn an_account_has_ten_open_orders_and_makes_a_hundred_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    for number in 0..100 {
        let order = make(&store, account, number, "1", NOW).await;
        if number >= 9 {
            if number == 9 {
                let eleventh = store.make_order(new_order(account, 1_000, "1", NOW)).await.unwrap();
                assert_eq!(eleventh, Ordered::TooManyOpen);
            }
            as_order(decide(&store, &order, Verdict::Cancel, OrderParty::Owner, "").await);
        }
    }
    let over = store.make_order(new_order(account, 1_001, "1", NOW)).await.unwrap();
    assert_eq!(over, Ordered::TooManyToday);
    let tomorrow = NOW.plus_millis(DAY_MS);
    assert!(matches!(
        store
            .make_order(new_order(account, 1_002, "1", tomorrow))
            .await
            .unwrap(),
        Ordered::Made(_)
    ));
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_account_and_state_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (account(&store, 1).await, account(&store, 2).await);
    for number in 0..8 {
        let whose = if number % 2 == 0 { one } else { two };
        // Two in the same millisecond: the id decides.
        let at = NOW.plus_millis(i64::try_from(number / 2).unwrap());
        let order = make(&store, whose, number, "1", at).await;
        if number < 4 {
            as_order(confirm(&store, &order).await);
        }
    }
    let all = |account, state| OrderFilter { account, state };
    for (filter, expected) in [
        (all(None, None), vec![7, 6, 5, 4, 3, 2, 1, 0]),
        (all(Some(one), None), vec![6, 4, 2, 0]),
        (all(None, Some(OrderState::Open)), vec![7, 6, 5, 4]),
        (all(Some(two), Some(OrderState::Open)), vec![7, 5]),
        (all(Some(two), Some(OrderState::Confirmed)), vec![3, 1]),
        (all(None, Some(OrderState::Cancelled)), vec![]),
    ] {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = store.orders(filter, before, 3).await.unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            before = Some(OrderPlace::of(last));
            listed.extend(page.iter().map(|order| order.id.number()));
        }
        assert_eq!(listed, expected, "{filter:?}");
    }
}

async fn adjust(store: &Arc<dyn Books>, account: AccountKey, amount: &str, now: Timestamp) {
    let action = Action::Adjust {
        amount: credits(amount),
        reason: AdjustmentReason::new("test").unwrap(),
    };
    ask(store, account, action, now).await.unwrap();
}

async fn numbers(store: &Arc<dyn Books>, account: AccountKey, filter: HistoryFilter) -> Vec<u64> {
    let (mut numbers, mut before) = (Vec::new(), None);
    loop {
        let page = store.history(account, filter, before, 2).await.unwrap();
        assert!(page.entries.len() <= 2);
        numbers.extend(page.entries.iter().map(|entry| entry.number));
        before = page.next;
        if before.is_none() {
            return numbers;
        }
    }
}

#[tokio::test]
async fn a_history_is_newest_first_by_kind_and_time_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    assert!(numbers(&store, account, HistoryFilter::default()).await.is_empty());
    let hour = |hours: i64| NOW.plus_millis(hours * HOUR_MS);
    let buy = |amount: &str| Action::Purchase {
        amount: credits(amount),
    };
    ask(&store, account, buy("10"), hour(0)).await.unwrap();
    for at in 1..=5 {
        adjust(&store, account, "-1", hour(at)).await;
    }
    ask(&store, account, buy("10"), hour(6)).await.unwrap();
    let all = HistoryFilter::default();
    let of = |kind| HistoryFilter {
        kind: Some(kind),
        ..all
    };
    let (from, to) = (Some(hour(1)), Some(hour(4)));
    for (filter, expected) in [
        (all, vec![7, 6, 5, 4, 3, 2, 1]),
        (of(EntryKind::Purchase), vec![7, 1]),
        (of(EntryKind::Adjustment), vec![6, 5, 4, 3, 2]),
        (of(EntryKind::Charge), vec![]),
        (HistoryFilter { from, to, ..all }, vec![4, 3, 2]),
        (HistoryFilter { from, ..all }, vec![7, 6, 5, 4, 3, 2]),
        (
            HistoryFilter {
                from,
                to,
                ..of(EntryKind::Adjustment)
            },
            vec![4, 3, 2],
        ),
        (HistoryFilter { to: from, ..all }, vec![1]),
        (
            HistoryFilter {
                from: to,
                to: from,
                ..all
            },
            vec![],
        ),
    ] {
        assert_eq!(numbers(&store, account, filter).await, expected, "{filter:?}");
    }
}

fn send(to: u64, entropy: u64) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: PhoneNumber::from_stored(to),
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
    }))
}

#[tokio::test]
async fn the_entries_of_one_request_are_found_among_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    let amount = credits("10");
    ask(&store, account, Action::Purchase { amount }, NOW).await.unwrap();
    for entropy in 0..200 {
        ask(&store, account, send(393_331_234_567, entropy), NOW).await.unwrap();
    }
    let request = RequestId::new(NOW, 123);
    let charge = store.request_entries(account, request).await.unwrap();
    assert_eq!(charge.len(), 1);
    assert_eq!((charge[0].kind, charge[0].request), (EntryKind::Charge, Some(request)));
    // Nobody took the message: it expires, and is refunded.
    for entropy in 0..200 {
        let request = RequestId::new(NOW, entropy);
        ask(&store, account, Action::Wake { request }, NOW.plus_millis(HOUR_MS))
            .await
            .unwrap();
    }
    let entries = store.request_entries(account, request).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.request)).collect();
    assert_eq!(
        kinds,
        [(EntryKind::Refund, Some(request)), (EntryKind::Charge, Some(request))]
    );
    let unknown = RequestId::new(NOW, 9_999);
    assert_eq!(store.request_entries(account, unknown).await.unwrap(), []);
    let totals = store
        .statement_totals(account, NOW, NOW.plus_millis(DAY_MS))
        .await
        .unwrap();
    assert_eq!(
        totals.kinds.map(|(_, count, sum)| (count, sum.to_string())),
        [(1, "10"), (200, "-2"), (200, "2"), (0, "0"), (0, "0")].map(|(count, sum)| (count, sum.to_owned()))
    );
    let before = store
        .statement_totals(account, NOW.plus_millis(-DAY_MS), NOW)
        .await
        .unwrap();
    assert!(before.kinds.iter().all(|(_, count, sum)| *count == 0 && sum.is_zero()));
    // Charges are found by their number, the others by their kind.
    let charges = HistoryFilter {
        kind: Some(EntryKind::Charge),
        ..HistoryFilter::default()
    };
    let page = store.history(account, charges, None, 1_000).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (200, None));
}

#[tokio::test]
async fn the_next_lapse_is_that_of_the_oldest_credit_that_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let account = account(&store, 1).await;
    assert_eq!(store.next_lapse(account).await.unwrap(), None);
    let later = NOW.plus_millis(DAY_MS);
    for (amount, now) in [("10", NOW), ("5", later)] {
        let amount = credits(amount);
        ask(&store, account, Action::Purchase { amount }, now).await.unwrap();
    }
    let lapse = |at: Timestamp, amount: &str| {
        Some(NextLapse {
            at: at.plus_millis(CREDIT_LIFE_MS),
            amount: credits(amount),
        })
    };
    adjust(&store, account, "-4", later).await;
    assert_eq!(store.next_lapse(account).await.unwrap(), lapse(NOW, "6"));
    adjust(&store, account, "-7", later).await;
    assert_eq!(store.next_lapse(account).await.unwrap(), lapse(later, "4"));
    adjust(&store, account, "-4", later).await;
    assert_eq!(store.next_lapse(account).await.unwrap(), None);
}
