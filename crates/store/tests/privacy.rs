//! What is let go with its time: afterwards no table holds the number, whatever column one looks into; money and statistics stay.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;
use testing::Cell;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// Of somebody who is no account's owner. No timestamp or random number of these tests has its digits.
const NUMBER: u64 = 393_987_654_321;

fn later(days: i64) -> Timestamp {
    NOW.plus_millis(days * DAY_MS)
}

fn account() -> AccountKey {
    AccountKey::of_new(AccountId::from_entropy(0x1234_5678_9abc_def0))
}

async fn books(path: &Path) -> Arc<dyn Books> {
    let rules = Rules {
        one_live_code: Some(0),
        ..Rules::default()
    };
    let (store, work) = testing::open(path, MasterKey::from_bytes([1; 32]), rules).unwrap();
    drop(work);
    let new = NewAccount {
        key: account(),
        token: ApiToken::new(account().id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(391_234_567_890),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse("10").unwrap();
    ask(store.as_ref(), NOW, Action::Purchase { amount }).await;
    store
}

async fn ask(store: &dyn Books, now: Timestamp, action: Action) -> Answer {
    let command = Command {
        now,
        token: None,
        idempotency: None,
        action,
    };
    store.submit(account(), command).await.unwrap().unwrap()
}

async fn send(store: &dyn Books, to: u64, now: Timestamp, entropy: u64) -> RequestId {
    let send = Send {
        email: EmailAddress::parse("anna@example.com"),
        locale: None,
        phone: PhoneNumber::from_stored(to),
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: 123_456,
        },
        callback_url: None,
        payload: Some(Payload::new(format!("for {to}")).unwrap()),
        ttl: Ttl::default(),
        id_entropy: entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    ask(store, now, Action::Send(Box::new(send))).await;
    RequestId::new(now, entropy)
}

/// Every place of the books where a number stands, in digits or in bytes.
fn places_of(folder: &Path, number: u64) -> Vec<String> {
    let digits = number.to_string();
    let held = move |cell: &Cell| match cell {
        Cell::Null => false,
        Cell::Integer(found) => *found == number.cast_signed(),
        Cell::Text(text) => text.contains(&digits),
        Cell::Bytes(bytes) => {
            let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
            has(digits.as_bytes()) || has(&number.to_be_bytes()) || has(&number.to_le_bytes())
        }
    };
    let sql = if testing::on_postgres() {
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
    } else {
        "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'"
    };
    let found = testing::with_tables(folder, |tables| {
        let columns = tables.query(sql, &[]).unwrap();
        assert!(columns.len() > 150, "only {} columns", columns.len());
        let mut places = Vec::new();
        for column in columns {
            let (table, name): (String, String) = (column.get(0), column.get(1));
            // What no other type of the books has: clocks of nodes.
            if table == "node" {
                continue;
            }
            let rows = tables
                .query(&format!("SELECT \"{name}\" FROM \"{table}\""), &[])
                .unwrap();
            if rows.iter().any(|row| row.all().iter().any(&held)) {
                places.push(format!("{table}.{name}"));
            }
        }
        places
    });
    let mut found = found.unwrap();
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_no_table_holds_a_number_and_the_books_still_balance() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path()).await;
    let old = send(store.as_ref(), NUMBER, NOW, 1).await;
    for number in 0..450 {
        send(store.as_ref(), NUMBER + 1 + number, NOW.plus_millis(1), 100 + number).await;
    }
    let other = send(store.as_ref(), 393_111_111_111, later(60), 2).await;
    // What is under way stays: its message may still arrive.
    assert_eq!(store.let_requests_go(later(30)).await.unwrap(), 0);
    assert!(store.request(account(), old).await.unwrap().is_some());
    loop {
        let due = store.due_requests(later(61), None, 1_000).await.unwrap();
        if due.is_empty() {
            break;
        }
        for request in due {
            ask(store.as_ref(), later(61), Action::Wake { request: request.id }).await;
        }
    }
    let gone = store.let_requests_go(later(30)).await.unwrap();
    // On PostgreSQL their month went as a whole, where a node had made it, and then nobody counts them.
    assert!(gone == 451 || testing::on_postgres() && gone == 0, "{gone}");
    // Counters of numbers are swept once they count for nothing.
    store.forget_spent_limits(later(61)).await.unwrap();
    assert_eq!(places_of(folder.path(), NUMBER), Vec::<String>::new());
    assert!(store.request(account(), old).await.unwrap().is_none());
    assert!(store.request(account(), other).await.unwrap().is_some());
    assert_eq!(
        store.let_requests_go(later(30)).await.unwrap(),
        0,
        "nothing is left to go"
    );
    let report = audit(&testing::database(folder.path()).unwrap(), &[], |_| {}).unwrap();
    assert_eq!(report.violation, None);
    // 452 charges, all refunded, and the purchase.
    assert_eq!((report.entries, report.requests), (2 * 452 + 1, 1));
}

#[tokio::test]
async fn the_search_for_a_number_finds_it_before_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path()).await;
    send(store.as_ref(), NUMBER, NOW, 1).await;
    let places = places_of(folder.path(), NUMBER);
    for place in ["live_code.phone", "request.phone", "request.payload"] {
        assert!(places.contains(&place.to_owned()), "{place} isn't among {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_erased_for_its_owner_before_its_time_and_money_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path()).await;
    let phone = PhoneNumber::from_stored(NUMBER);
    let theirs = send(store.as_ref(), NUMBER, NOW, 1).await;
    let other = send(store.as_ref(), 393_111_111_111, NOW, 2).await;
    let channel = LegName::parse("mail").unwrap();
    for (phone, stopped) in [(phone, false), (PhoneNumber::from_stored(393_111_111_111), true)] {
        let recipient = ChannelRecipient {
            phone,
            address: "anna@example.com".into(),
            stopped,
            since: NOW,
        };
        store.put_recipient(channel.clone(), recipient).await.unwrap();
    }
    let kept = store.kept_of_number(phone).await.unwrap();
    assert_eq!((kept.requests.len(), kept.recipients.len()), (1, 1));
    assert_eq!(kept.requests[0].0.id, theirs);
    assert!(kept.owner_of.is_empty());

    // Its message may still arrive.
    let erased = store.erase_number(phone, NOW, Actor::Operator).await.unwrap();
    assert_eq!((erased.requests, erased.still_open, erased.recipients), (0, 1, 1));
    ask(store.as_ref(), NOW, Action::Revoke { request: theirs }).await;
    let erased = store.erase_number(phone, NOW, Actor::Operator).await.unwrap();
    assert_eq!((erased.requests, erased.still_open), (1, 0));
    assert_eq!(places_of(folder.path(), NUMBER), Vec::<String>::new());
    let request = store.request(account(), theirs).await.unwrap().unwrap();
    assert_eq!(request.phone, ERASED_NUMBER);
    assert!(store.kept_of_number(phone).await.unwrap().requests.is_empty());

    // Nobody else's goes, and who said stop is still known to have.
    let others = PhoneNumber::from_stored(393_111_111_111);
    assert_eq!(store.request(account(), other).await.unwrap().unwrap().phone, others);
    let erased = store.erase_number(others, NOW, Actor::Operator).await.unwrap();
    assert_eq!((erased.recipients, erased.stops_kept), (0, 1));
    let stopped = store.recipient(&channel, others).await.unwrap().unwrap();
    assert!(stopped.stopped && stopped.address.is_empty());
    let report = audit(&testing::database(folder.path()).unwrap(), &[], |_| {}).unwrap();
    assert_eq!((report.violation, report.requests), (None, 2));
}
