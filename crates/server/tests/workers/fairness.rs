//! Nobody waits for anybody else: dead destinations, floods, backlogs beyond memory, and circuits, on the real workers.

use std::time::Duration;

use countersign_server::workers::{CircuitSettings, MAX_RETRIES, ReportSettings, RetrySchedule};
use countersign_store::{Actor, ReportState};
use futures_util::future::join_all;

use crate::sink::{Reply, Sink};
use crate::support::{House, arrived, open_reports, quick};

const DELIVERED_AT_ONCE: &str = "+9996670002";

/// Attempts that hang do so for the length of a test.
fn patient() -> ReportSettings {
    ReportSettings {
        attempt_timeout: Duration::from_mins(1),
        ..quick()
    }
}

#[tokio::test]
async fn one_of_a_hundred_endpoints_hangs_and_the_other_ninety_nine_get_all_theirs() {
    let house = House::new(patient()).await;
    let silent = Sink::answering([Reply::Silence]).await;
    let others = join_all((0..99).map(|_| Sink::ok())).await;
    for _ in 0..10 {
        let sends = std::iter::once(&silent)
            .chain(&others)
            .map(|sink| house.send(DELIVERED_AT_ONCE, Some(sink.url("/"))));
        join_all(sends).await;
    }
    for sink in &others {
        sink.wait_for(10).await;
    }
    silent.wait_for(8).await;
    assert_eq!(silent.count(), 8, "as many as a destination begins with");
    let store = house.finish().await;
    assert_eq!(open_reports(store.as_ref()).await.len(), 10);
}

#[tokio::test]
async fn thousands_of_reports_to_a_destination_that_hangs_delay_no_other() {
    let house = House::new(patient()).await;
    let silent = Sink::answering([Reply::Silence]).await;
    for _ in 0..6 {
        join_all((0..500).map(|_| house.send(DELIVERED_AT_ONCE, Some(silent.url("/"))))).await;
    }
    let alive = Sink::ok().await;
    for _ in 0..10 {
        house.send(DELIVERED_AT_ONCE, Some(alive.url("/"))).await;
    }
    alive.wait_for(10).await;
    assert!(silent.count() <= 8);
    house.finish().await;
}

#[tokio::test]
async fn a_flood_of_one_tenant_beyond_memory_delays_no_other_and_arrives_whole() {
    let house = House::new(quick()).await;
    let other = house.another_account(1).await;
    let flooding = house.another_account(2).await;
    let (flooded, few) = (Sink::ok().await, Sink::ok().await);
    let fill = async |store: &dyn countersign_store::Books| {
        for _ in 0..18 {
            join_all((0..500).map(|_| arrived(store, flooding, flooded.url("/")))).await;
        }
        join_all((0..20).map(|_| arrived(store, other, few.url("/")))).await;
    };
    let house = house.crash(fill, quick()).await;
    few.wait_for(20).await;
    let meanwhile = flooded.count();
    assert!(meanwhile < 4_500, "{meanwhile} of the flood went first");
    flooded.wait_for(9_000).await;
    let store = house.finish().await;
    assert!(open_reports(store.as_ref()).await.is_empty());
    assert_eq!((flooded.count(), few.count()), (9_000, 20));
}

#[tokio::test]
async fn a_destination_that_fails_in_a_row_is_held_back_and_gets_everything_once_it_is_back() {
    let settings = ReportSettings {
        circuits: CircuitSettings {
            failures: 5,
            first_cool_down: Duration::from_millis(300),
            longest_cool_down: Duration::from_millis(600),
        },
        retries: RetrySchedule::new([100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000]),
        ..quick()
    };
    let house = House::new(settings).await;
    let sink = Sink::answering([Reply::Text(503, "down".into())]).await;
    let requests = join_all((0..40).map(|_| house.send(DELIVERED_AT_ONCE, Some(sink.url("/"))))).await;
    // Eight at once, then one probe after each cool-down.
    sink.wait_for(9).await;
    let before = sink.count();
    assert!(before < 40, "{before} attempts, though the circuit is open");
    sink.answer_now(Reply::Status(200));
    let (mut held, mut failed) = (0, 0);
    for request in requests {
        let key = house.report_of(request).await;
        let detail = house.wait_for_report(key, ReportState::Acknowledged).await;
        held += usize::from(detail.attempts.iter().any(|kept| kept.held > 0));
        let real = detail.attempts.iter().filter(|kept| kept.held == 0).count();
        assert_eq!(usize::from(detail.profile.attempts), real, "held back is no retry");
        failed += real - 1;
        let last = detail.attempts.last().unwrap();
        assert_eq!((last.attempt.status, &last.attempt.error), (Some(200), &None));
    }
    assert!(held >= 20, "{held} of 40 were held back");
    assert_eq!(sink.count(), 40 + failed);
}

#[tokio::test]
async fn each_attempt_is_kept_with_its_answer_and_a_lost_report_goes_again_by_hand() {
    let house = House::new(quick()).await;
    let failures = std::iter::repeat_n(Reply::Text(500, "not today".into()), 1 + MAX_RETRIES);
    let sink = Sink::answering(failures.chain([Reply::Text(200, "thanks".into())])).await;
    let request = house.send(DELIVERED_AT_ONCE, Some(sink.url("/"))).await;
    sink.wait_for(1 + MAX_RETRIES).await;
    let key = house.report_of(request).await;
    let lost = house.wait_for_report(key, ReportState::Lost).await;
    assert_eq!(lost.attempts.len(), 1 + MAX_RETRIES);
    for kept in &lost.attempts {
        assert_eq!(
            (kept.attempt.status, &*kept.attempt.response),
            (Some(500), &b"not today"[..])
        );
        assert_eq!(kept.attempt.error.as_deref(), Some("answered 500 instead of 200"));
    }
    house
        .store
        .redeliver_report(key, countersign_server::clock::now(), Actor::Operator)
        .await
        .unwrap();
    let arrived = house.wait_for_report(key, ReportState::Acknowledged).await;
    assert_eq!(arrived.attempts.last().unwrap().attempt.response, b"thanks");
    assert_eq!((arrived.profile.attempts, sink.count()), (1, 2 + MAX_RETRIES));
}
