//! What time does: ends of life with their refunds, and the scripts of the sandbox's numbers.

use countersign_core::{Action, Credits};

use crate::sink::Sink;
use crate::support::{House, PHONE, advance_clock, quick};

#[tokio::test]
async fn an_undelivered_message_expires_is_refunded_and_reported() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let before = house.balance().await;
    let request = house.send_for(PHONE, Some(sink.url("/")), 30).await;
    assert_eq!(house.balance().await, before - Credits::parse("0.01").unwrap());
    house.advance_clock(29).await;
    assert_eq!(house.status(request).await.delivery_status.unwrap().status, "sent");
    house.advance_clock(1).await;
    let report = sink.wait_for(1).await.remove(0);
    assert_eq!(report.delivery(), "expired");
    assert!(report.status().is_refunded);
    assert!(String::from_utf8_lossy(&report.body).contains(r#""is_refunded":true"#));
    assert_eq!(house.balance().await, before);
    // Nobody can take it any more.
    crate::support::wait_until(async || house.inbox.message(house.account, request).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_scripted_number_is_delivered_and_read_at_once() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let request = house.send("+9996630001", Some(sink.url("/"))).await;
    let reports = sink.wait_for(2).await;
    assert_eq!([reports[0].delivery(), reports[1].delivery()], ["delivered", "read"]);
    house.wait_for_state(request, "read").await;
}

#[tokio::test]
async fn a_scripted_number_is_delivered_and_never_read() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let request = house.send("+9996630002", Some(sink.url("/"))).await;
    assert_eq!(sink.wait_for(1).await[0].delivery(), "delivered");
    house.advance_clock(4_000).await;
    house.submit(Action::Wake { request }).await;
    let status = house.status(request).await;
    assert_eq!(status.delivery_status.unwrap().status, "delivered");
    assert!(!status.is_refunded);
}

#[tokio::test]
async fn a_scripted_number_is_never_delivered() {
    let house = House::new(quick()).await;
    let request = house.send_for("+9996630003", None, 60).await;
    let mut reader = house.open_inbox("+9996630003");
    // An open inbox shows it, and changes nothing: the script alone decides.
    reader.next().await.unwrap();
    house.advance_clock(60).await;
    assert!(house.wait_for_state(request, "expired").await.is_refunded);
}

#[tokio::test]
async fn a_scripted_number_is_delivered_after_five_seconds_of_the_accounts_clock() {
    let house = House::new(quick()).await;
    let request = house.send("+9996630006", None).await;
    house.advance_clock(4).await;
    house.submit(Action::Wake { request }).await;
    assert_eq!(house.status(request).await.delivery_status.unwrap().status, "sent");
    house.advance_clock(1).await;
    house.wait_for_state(request, "delivered").await;
}

#[tokio::test]
async fn what_fell_due_while_nothing_ran_is_settled_after_the_start() {
    let house = House::new(quick()).await;
    let before = house.balance().await;
    let mut requests = Vec::new();
    // More than one page of the sweep.
    for _ in 0..600 {
        requests.push(house.send_for(PHONE, None, 30).await);
    }
    let account = house.account;
    let house = house
        .crash(async |store| advance_clock(store, account, 31).await, quick())
        .await;
    for request in requests {
        assert!(house.wait_for_state(request, "expired").await.is_refunded);
    }
    assert_eq!(house.balance().await, before);
}
