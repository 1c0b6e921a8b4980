//! Delivery reports from the commit of a state to the receiver: order, retries, loss, restarts.

use std::time::{Duration, SystemTime};

use countersign_core::{ApiToken, CallbackUrl, Grace, LowBalance, PlainHttp, TokenClaim, TokenKind};
use countersign_server::workers::{MAX_RETRIES, ReportSettings, RetrySchedule};
use countersign_server::{clock, random};
use countersign_store::{Actor, Books, Rotation};

use crate::sink::{Received, Reply, Sink};
use crate::support::{House, PHONE, open_reports, quick, send_with_token};

/// Delivered and read at once, so two reports each.
const READ_AT_ONCE: &str = "+9996670001";
const DELIVERED_AT_ONCE: &str = "+9996670002";

#[tokio::test]
async fn reports_arrive_signed_and_in_the_order_of_their_states() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(house.send(READ_AT_ONCE, Some(sink.url("/reports"))).await);
    }
    let received = sink.wait_for(40).await;
    for request in requests {
        let states: Vec<String> = received
            .iter()
            .filter(|report| report.status().request_id == request.to_string())
            .map(Received::delivery)
            .collect();
        assert_eq!(states, ["delivered", "read"]);
    }
    assert!(received.iter().all(|report| report.is_signed_with(&house.token)));
    assert!(
        received
            .iter()
            .all(|report| report.status().remaining_balance.is_none())
    );
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!(sink.count(), 40);
}

#[tokio::test]
async fn without_a_callback_url_nothing_is_reported() {
    let house = House::new(quick()).await;
    let request = house.send(READ_AT_ONCE, None).await;
    house.wait_for_state(request, "read").await;
    assert!(open_reports(house.store.as_ref()).await.is_empty());
}

#[tokio::test]
async fn a_failed_report_comes_again_with_the_same_bytes_and_a_new_signature() {
    let mut delays = [20; MAX_RETRIES];
    // More than a second, so that the second attempt has another timestamp.
    delays[0] = 1_100;
    let house = House::new(ReportSettings {
        retries: RetrySchedule::new(delays),
        ..quick()
    })
    .await;
    let elsewhere = Sink::ok().await;
    let failures = [
        Reply::Status(500),
        Reply::Redirect(307, elsewhere.url("/")),
        Reply::Silence,
        Reply::Status(204),
    ];
    let sink = Sink::answering(failures.into_iter().chain([Reply::Status(200)])).await;
    house.send(DELIVERED_AT_ONCE, Some(sink.url("/"))).await;
    let received = sink.wait_for(5).await;
    assert!(received.iter().all(|report| report.body == received[0].body));
    assert!(received.iter().all(|report| report.is_signed_with(&house.token)));
    let times: Vec<i64> = received
        .iter()
        .map(|report| report.header("X-Request-Timestamp").parse().unwrap())
        .collect();
    assert!(times[1] > times[0] && times.is_sorted(), "{times:?}");
    assert_ne!(
        received[0].header("X-Request-Signature"),
        received[1].header("X-Request-Signature")
    );
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!((sink.count(), elsewhere.count()), (5, 0));
}

#[tokio::test]
async fn a_report_is_lost_after_its_tenth_retry_and_the_next_one_goes() {
    let house = House::new(quick()).await;
    let failures = std::iter::repeat_n(Reply::Status(503), 1 + MAX_RETRIES);
    let sink = Sink::answering(failures.chain([Reply::Status(200)])).await;
    house.send(READ_AT_ONCE, Some(sink.url("/"))).await;
    let received = sink.wait_for(2 + MAX_RETRIES).await;
    let states: Vec<String> = received.iter().map(Received::delivery).collect();
    assert!(
        states[..=MAX_RETRIES].iter().all(|state| state == "delivered"),
        "{states:?}"
    );
    assert_eq!(states[1 + MAX_RETRIES], "read");
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!(sink.count(), 2 + MAX_RETRIES);
}

#[tokio::test]
async fn a_silent_receiver_does_not_hold_up_the_others() {
    let settings = ReportSettings {
        attempt_timeout: Duration::from_mins(1),
        ..quick()
    };
    let house = House::new(settings).await;
    let silent = Sink::answering([Reply::Silence]).await;
    // Receivers are told apart by their host, so the silent one needs another name than the one that answers.
    let silent_url = silent.url("/").replace("127.0.0.1", "localhost");
    for _ in 0..100 {
        house.send(DELIVERED_AT_ONCE, Some(silent_url.clone())).await;
    }
    let alive = Sink::ok().await;
    house.send(DELIVERED_AT_ONCE, Some(alive.url("/"))).await;
    alive.wait_for(1).await;
    assert!(silent.count() <= 8, "{} attempts at once", silent.count());
    // What hangs doesn't hold up the end either.
    let store = house.finish().await;
    assert_eq!(open_reports(store.as_ref()).await.len(), 100);
}

#[tokio::test]
async fn after_a_rotation_reports_are_signed_with_the_present_token() {
    let house = House::new(quick()).await;
    let sink = Sink::answering([Reply::Status(500), Reply::Status(500), Reply::Status(200)]).await;
    house.send(DELIVERED_AT_ONCE, Some(sink.url("/"))).await;
    sink.wait_for(1).await;
    let new = ApiToken::new(house.account.id, random::bytes());
    house
        .store
        .rotate_token(house.account, new.clone(), Actor::Operator)
        .await
        .unwrap();
    let received = sink.wait_for(3).await;
    assert!(received[0].is_signed_with(&house.token));
    assert!(received[2].is_signed_with(&new));
}

/// Whether a client that has this token takes a report for genuine.
fn is_genuine(received: &Received, token: &ApiToken) -> bool {
    let (timestamp, signature) = (
        received.header("X-Request-Timestamp"),
        received.header("X-Request-Signature"),
    );
    let age = countersign_client::REPORT_MAX_AGE;
    countersign_client::verify_report(
        token.as_str(),
        timestamp,
        signature,
        &received.body,
        SystemTime::now(),
        age,
    )
    .is_ok()
}

#[tokio::test]
async fn a_report_is_signed_with_the_token_that_made_its_request_until_its_grace_is_ended() {
    let house = House::new(quick()).await;
    let sink = Sink::answering([Reply::Status(500), Reply::Status(500), Reply::Status(200)]).await;
    let first = TokenClaim {
        kind: TokenKind::Live,
        generation: 1,
    };
    let new = ApiToken::new(house.account.id, random::bytes());
    let rotation = Rotation {
        token: new.clone(),
        grace: Grace::Hour,
        by: Actor::Owner,
        now: clock::now(),
    };
    house.store.rotate(house.account, rotation).await.unwrap();
    send_with_token(
        house.store.as_ref(),
        house.account,
        first,
        DELIVERED_AT_ONCE,
        sink.url("/"),
    )
    .await;
    let received = sink.wait_for(1).await;
    assert!(is_genuine(&received[0], &house.token) && !is_genuine(&received[0], &new));
    let now = clock::now();
    house
        .store
        .end_grace(house.account, TokenKind::Live, Actor::Owner, now)
        .await
        .unwrap();
    let received = sink.wait_for(3).await;
    assert!(is_genuine(&received[2], &new) && !is_genuine(&received[2], &house.token));
}

#[tokio::test]
async fn reports_of_tests_are_signed_with_the_test_mode_token() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let test = ApiToken::of_kind(TokenKind::Test, house.account.id, random::bytes());
    let made = house.store.test_token(house.account, test.clone(), clock::now()).await;
    assert!(made.unwrap() == test);
    let claim = TokenClaim {
        kind: TokenKind::Test,
        generation: 1,
    };
    send_with_token(
        house.store.as_ref(),
        house.account,
        claim,
        DELIVERED_AT_ONCE,
        sink.url("/"),
    )
    .await;
    let received = sink.wait_for(1).await;
    assert!(is_genuine(&received[0], &test) && !is_genuine(&received[0], &house.token));
}

#[tokio::test]
async fn pending_reports_go_on_after_a_crash() {
    // Often enough that the test is quick, long enough that nothing is lost on a slow machine.
    let retries = RetrySchedule::new([100, 200, 300, 500, 1_000, 2_000, 2_000, 4_000, 4_000, 4_000]);
    let settings = ReportSettings { retries, ..quick() };
    let house = House::new(settings.clone()).await;
    let sink = Sink::answering([Reply::Status(503)]).await;
    let request = house.send(READ_AT_ONCE, Some(sink.url("/"))).await;
    house.wait_for_state(request, "read").await;
    sink.wait_for(1).await;
    let crashed = async |store: &dyn Books| {
        let open = open_reports(store).await;
        assert_eq!(open.len(), 1, "only the first of a request's reports may go out");
        assert_eq!(open[0].key.request.id, request);
    };
    let house = house.crash(crashed, settings).await;
    sink.answer_now(Reply::Status(200));
    let received = sink.wait_for_state("read").await;
    let states: Vec<String> = received.iter().map(Received::delivery).collect();
    let (read, delivered) = states.split_last().unwrap();
    assert_eq!(read, "read");
    assert!(
        delivered.len() >= 2 && delivered.iter().all(|state| state == "delivered"),
        "{states:?}"
    );
    assert!(received.iter().all(|report| report.is_signed_with(&house.token)));
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
}

#[tokio::test]
async fn a_balance_that_falls_below_what_its_owner_set_is_told_once_and_signed() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let before = house.balance().await;
    let low = LowBalance {
        below: before,
        url: CallbackUrl::parse(&sink.url("/low"), PlainHttp::Accepted).unwrap(),
    };
    house
        .store
        .set_low_balance(house.account, Some(low), Actor::Operator)
        .await
        .unwrap();
    for _ in 0..3 {
        house.send(PHONE, None).await;
    }
    let received = sink.wait_for(1).await;
    let body: serde_json::Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(
        (&body["event"], received[0].path.as_str()),
        (&"low_balance".into(), "/low")
    );
    assert_eq!(body["account_id"], house.account.id.to_string());
    assert!(received[0].is_signed_with(&house.token));
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!(sink.count(), 1);
}
