//! Codes go when they end (docs/privacy.md, "When a code goes"): afterwards no column holds one, neither as it is nor sealed, and whoever
//! asks about it is answered as before.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use countersign_core::*;
use countersign_store::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE_MS: i64 = 60_000;
/// No timestamp, sum or random number of these tests has its digits.
const CODE: &str = "73920461";

fn later(minutes: i64) -> Timestamp {
    NOW.plus_millis(minutes * MINUTE_MS)
}

fn account() -> AccountKey {
    AccountKey::of_new(AccountId::from_entropy(0x1234_5678_9abc_def0))
}

fn key() -> MasterKey {
    MasterKey::from_bytes([1; 32])
}

async fn books(path: &Path, one_live_code: bool) -> Arc<dyn Books> {
    let rules = Rules {
        one_live_code: one_live_code.then_some(0),
        number_limit: None,
        ..Rules::default()
    };
    let (store, work) = testing::open(path, key(), rules).unwrap();
    drop(work);
    if store.account(account().id).await.unwrap().is_none() {
        let new = NewAccount {
            key: account(),
            token: ApiToken::new(account().id, [9; 32]),
            name: "Acme".into(),
            phone: PhoneNumber::from_stored(391_234_567_890),
            now: NOW,
        };
        store.create_account(new, Actor::Operator).await.unwrap();
        let amount = Credits::parse("100").unwrap();
        ask(store.as_ref(), NOW, Action::Purchase { amount }).await;
    }
    store
}

async fn ask(store: &dyn Books, now: Timestamp, action: Action) -> Answer {
    ask_by_key(store, now, None, action).await
}

async fn ask_by_key(store: &dyn Books, now: Timestamp, key: Option<&str>, action: Action) -> Answer {
    let command = Command {
        now,
        token: None,
        idempotency: key.map(|key| Idempotency {
            key: IdempotencyKey::new(key).unwrap(),
            fingerprint: [7; 32],
        }),
        action,
    };
    store.submit(account(), command).await.unwrap().unwrap()
}

fn message(code: SendCode, number: u64) -> Send {
    Send {
        email: EmailAddress::parse("anna@example.com"),
        locale: None,
        phone: PhoneNumber::from_stored(393_987_654_321),
        request: None,
        sender: None,
        code,
        callback_url: Some(CallbackUrl::from_stored("https://example.com/".into())),
        payload: Some(Payload::new("order 7".into()).unwrap()),
        ttl: Ttl::default(),
        id_entropy: number,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }
}

fn own_code() -> SendCode {
    SendCode::Supplied(Code::parse(CODE).unwrap())
}

async fn send(store: &dyn Books, now: Timestamp, number: u64) -> RequestId {
    let send = message(own_code(), number);
    ask(store, now, Action::Send(Box::new(send))).await;
    RequestId::new(now, number)
}

async fn delivered(store: &dyn Books, now: Timestamp, number: u64) -> RequestId {
    let request = send(store, now, number).await;
    for news in [News::Accepted, News::Delivered] {
        ask(store, now, Action::news(request, news)).await;
    }
    request
}

/// What is said of a code.
async fn check(store: &dyn Books, now: Timestamp, request: RequestId, code: &str) -> (String, i64) {
    let code = EnteredCode::new(code.into());
    match ask(store, now, Action::Check { request, code }).await {
        Answer::Status(status) | Answer::Verified(status) => {
            let said = status.verification_status.unwrap();
            (said.status, said.updated_at)
        }
        other => panic!("{other:?}"),
    }
}

fn places(folder: &Path) -> Vec<String> {
    testing::places_that_tell(folder, &key(), CODE).unwrap()
}

/// How many rows of the request's table hold a code, whichever.
fn codes(folder: &Path) -> i64 {
    let sql = "SELECT count(*) FROM request WHERE code_sealed IS NOT NULL";
    testing::with_tables(folder, |tables| tables.query(sql, &[]).unwrap()[0].get(0)).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Verified,
    TooManyAttempts,
    Expired,
    ExpiredThoughDelivered,
    Revoked,
    Failed,
    Disowned,
    NeverSent,
    AnotherTookItsPlace,
}

const ENDS: [End; 9] = [
    End::Verified,
    End::TooManyAttempts,
    End::Expired,
    End::ExpiredThoughDelivered,
    End::Revoked,
    End::Failed,
    End::Disowned,
    End::NeverSent,
    End::AnotherTookItsPlace,
];

/// Brings a request to its end by ordinary commands, as the API and the workers give them.
async fn come_to(store: &dyn Books, end: End) -> RequestId {
    if end == End::NeverSent {
        let send = Send {
            reach: Reach::MustAsk,
            ..message(own_code(), 1)
        };
        let Answer::Admitted(request) = ask(store, NOW, Action::Send(Box::new(send))).await else {
            panic!("it isn't admitted")
        };
        ask(store, later(1), Action::Wake { request }).await;
        return request;
    }
    let request = send(store, NOW, 1).await;
    let news = |news| Action::news(request, news);
    match end {
        End::Verified => {
            ask(store, NOW, news(News::Accepted)).await;
            let code = EnteredCode::new(CODE.into());
            ask_by_key(store, NOW, Some("check"), Action::Check { request, code }).await;
        }
        End::TooManyAttempts => {
            ask(store, NOW, news(News::Accepted)).await;
            for _ in 0..5 {
                check(store, NOW, request, "00000000").await;
            }
        }
        End::Expired => {
            ask(store, later(61), Action::Wake { request }).await;
        }
        End::ExpiredThoughDelivered => {
            ask(store, NOW, news(News::Delivered)).await;
            check(store, later(61), request, CODE).await;
        }
        End::Revoked => {
            ask(store, NOW, Action::Revoke { request }).await;
        }
        End::Failed => {
            ask(store, NOW, news(News::Failed)).await;
        }
        End::Disowned => {
            ask(store, NOW, news(News::Accepted)).await;
            ask(store, NOW, news(News::Disowned)).await;
        }
        End::AnotherTookItsPlace => {
            let other = SendCode::Supplied(Code::parse("4711").unwrap());
            let send = message(other, 2);
            ask(store, later(1), Action::Send(Box::new(send))).await;
        }
        End::NeverSent => {}
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn after_each_kind_of_end_no_column_holds_the_code_and_whoever_asks_is_answered_as_before() {
    for end in ENDS {
        let folder = tempfile::tempdir().unwrap();
        let one_live_code = end == End::AnotherTookItsPlace;
        let store = books(folder.path(), one_live_code).await;
        let request = come_to(store.as_ref(), end).await;
        assert_eq!(places(folder.path()), Vec::<String>::new(), "{end:?}");
        store.close().await.unwrap();

        // The books are read anew.
        let store = books(folder.path(), one_live_code).await;
        let store = store.as_ref();
        if end == End::NeverSent {
            continue;
        }
        let (again, another) = match end {
            End::Verified => ("code_valid", "code_invalid"),
            End::TooManyAttempts => ("code_max_attempts_exceeded", "code_max_attempts_exceeded"),
            _ => ("expired", "expired"),
        };
        let (said, since) = check(store, later(62), request, CODE).await;
        assert_eq!(said, again, "{end:?}");
        assert_eq!(check(store, later(63), request, CODE).await, (said, since), "{end:?}");
        assert_eq!(check(store, later(64), request, "73920462").await.0, another, "{end:?}");
        assert_eq!(places(folder.path()), Vec::<String>::new(), "{end:?}");
        let status = ask(store, later(65), Action::Check { request, code: None }).await;
        let Answer::Status(status) = status else {
            panic!("{status:?}")
        };
        assert_eq!(status.payload.as_deref(), Some("order 7"), "{end:?}");
        assert_ne!(
            status.verification_status.unwrap().code_entered.as_deref(),
            Some(CODE),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn the_search_for_a_code_finds_it_while_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let request = send(store.as_ref(), NOW, 1).await;
    ask(store.as_ref(), NOW, Action::news(request, News::Delivered)).await;
    assert_eq!(places(folder.path()), ["request.code_sealed"]);
}

#[tokio::test]
async fn a_kept_answer_tells_the_code_again_to_who_enters_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let request = delivered(store.as_ref(), NOW, 1).await;
    let by_key = || {
        let code = EnteredCode::new(CODE.into());
        ask_by_key(store.as_ref(), NOW, Some("check"), Action::Check { request, code })
    };
    let Answer::Verified(first) = by_key().await else {
        panic!("it isn't judged")
    };
    assert_eq!(by_key().await, Answer::Again(serde_json::to_vec(&first).unwrap()));
    assert_eq!(places(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_code_that_a_generated_message_proved_is_not_in_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let generate = SendCode::Generate {
        length: CodeLength::new(8).unwrap(),
        // Its digits come out last to first.
        entropy: CODE.chars().rev().collect::<String>().parse().unwrap(),
    };
    ask(store.as_ref(), NOW, Action::Send(Box::new(message(generate, 1)))).await;
    let request = RequestId::new(NOW, 1);
    assert_eq!(check(store.as_ref(), NOW, request, CODE).await.0, "code_valid");
    let (lane, _) = store.report_lanes(account(), None, 1).await.unwrap().remove(0);
    let due = store.due_reports(lane, NOW, None, 10).await.unwrap();
    let body = String::from_utf8(due[0].body.clone()).unwrap();
    assert!(body.contains("\"read\"") && body.contains("code_valid"), "{body}");
    assert_eq!(places(folder.path()), Vec::<String>::new());
}

async fn sweep(store: &dyn Books, now: Timestamp) -> u32 {
    let mut steps = 1;
    while store.wipe_ended_codes(account(), now).await.unwrap() {
        steps += 1;
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_nobody_enters_are_swept_once_their_requests_have_had_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let store = store.as_ref();
    for number in 1..=1_100 {
        delivered(store, NOW, number).await;
    }
    let young = delivered(store, later(30), 2_000).await;
    sweep(store, later(65)).await;
    assert_eq!(codes(folder.path()), 1_101);
    // Broken off after the first step, and gone on with by whoever comes next.
    let at = NOW.plus_millis(65 * MINUTE_MS + 1);
    assert!(store.wipe_ended_codes(account(), at).await.unwrap());
    assert_eq!(codes(folder.path()), 601);
    sweep(store, at).await;
    assert_eq!(codes(folder.path()), 1);
    assert_eq!(check(store, later(66), RequestId::new(NOW, 7), CODE).await.0, "expired");
    assert_eq!(check(store, later(66), young, CODE).await.0, "code_valid");
    assert_eq!(sweep(store, later(300)).await, 1);
    assert_eq!(places(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_code_that_was_sent_late_on_an_ability_check_is_not_swept_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let store = store.as_ref();
    let ability = Action::CheckAbility {
        phone: PhoneNumber::from_stored(393_987_654_321),
        email: None,
        id_entropy: 1,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    };
    ask(store, NOW, ability).await;
    let late = RequestId::new(NOW, 1);
    let send = Send {
        request: Some(late),
        ..message(own_code(), 0)
    };
    ask(store, later(50), Action::Send(Box::new(send))).await;
    ask(store, later(50), Action::news(late, News::Delivered)).await;
    delivered(store, NOW.plus_millis(1), 2).await;
    sweep(store, later(100)).await;
    assert_eq!(codes(folder.path()), 2, "the other one waits for it");
    assert_eq!(check(store, later(101), late, "1").await.0, "code_invalid");
    sweep(store, later(110)).await;
    assert_eq!(codes(folder.path()), 0);
    assert_eq!(check(store, later(111), late, CODE).await.0, "expired");
}

#[tokio::test]
async fn nothing_is_passed_over_where_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let store = store.as_ref();
    delivered(store, later(600), 1).await;
    sweep(store, later(700)).await;
    assert_eq!(codes(folder.path()), 0);
    sweep(store, later(300)).await;
    delivered(store, later(301), 2).await;
    assert_eq!(codes(folder.path()), 1);
    sweep(store, later(400)).await;
    assert_eq!(codes(folder.path()), 0);
}

#[tokio::test]
async fn codes_that_an_earlier_version_left_are_swept_and_those_that_were_used_are_still_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = books(folder.path(), false).await;
    let store = store.as_ref();
    let used = delivered(store, NOW, 1).await;
    let revoked = delivered(store, NOW, 2).await;
    let sealed = |tables: &testing::Tables<'_>, number: i64| -> Vec<u8> {
        let sql = "SELECT code_sealed FROM request WHERE random = ?1";
        tables.query(sql, &[number]).unwrap()[0].get(0)
    };
    let kept = testing::with_tables(folder.path(), |tables| [1, 2].map(|number| sealed(tables, number))).unwrap();
    let (said, since) = check(store, NOW, used, CODE).await;
    assert_eq!(said, "code_valid");
    ask(store, NOW, Action::Revoke { request: revoked }).await;
    // As they stood before codes were wiped.
    testing::with_tables(folder.path(), |tables| {
        for (number, code) in (1..).zip(&kept) {
            let mut hex = String::new();
            for byte in code {
                write!(hex, "{byte:02x}").unwrap();
            }
            let literal = if testing::on_postgres() {
                format!("'\\x{hex}'")
            } else {
                format!("x'{hex}'")
            };
            tables
                .execute(&format!(
                    "UPDATE request SET code_sealed = {literal}, used_sealed = NULL WHERE random = {number}"
                ))
                .unwrap();
        }
    })
    .unwrap();
    assert_eq!(codes(folder.path()), 2);
    assert_eq!(check(store, later(1), used, CODE).await, (said.clone(), since));
    sweep(store, later(70)).await;
    assert_eq!(codes(folder.path()), 0);
    assert_eq!(places(folder.path()), Vec::<String>::new());
    assert_eq!(check(store, later(71), used, CODE).await, (said, since));
    assert_eq!(check(store, later(71), used, "73920462").await.0, "code_invalid");
    assert_eq!(check(store, later(71), revoked, CODE).await.0, "expired");
}
