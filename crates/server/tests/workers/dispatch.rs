//! Messages on their way to the inbox, and its news on the way back.

use countersign_channels::{InboxEvent, InboxReader};
use countersign_core::{Action, DeliveryState, RequestId};

use crate::sink::Sink;
use crate::support::{House, PATIENCE, PHONE, code, open_reports, phone, quick, wait_until};

/// Reads an open inbox until it showed this message.
async fn shown(reader: &mut InboxReader, request: RequestId) {
    let read = async {
        loop {
            if let Some(InboxEvent::Messages(messages)) = reader.next().await
                && messages.iter().any(|message| message.request == request)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn a_message_stays_sent_until_somebody_opens_the_inbox() {
    let house = House::new(quick()).await;
    let sink = Sink::ok().await;
    let request = house.send(PHONE, Some(sink.url("/"))).await;
    let message = wait_until(async || house.inbox.message(house.account, request)).await;
    assert_eq!((message.phone, message.code), (phone(PHONE), code("654321")));
    assert_eq!(house.status(request).await.delivery_status.unwrap().status, "sent");
    let mut reader = house.open_inbox(PHONE);
    shown(&mut reader, request).await;
    assert_eq!(sink.wait_for(1).await[0].delivery(), "delivered");
    house.wait_for_state(request, "delivered").await;
}

#[tokio::test]
async fn an_open_inbox_takes_a_message_as_it_is_sent() {
    let house = House::new(quick()).await;
    let mut reader = house.open_inbox(PHONE);
    let request = house.send(PHONE, None).await;
    shown(&mut reader, request).await;
    house.wait_for_state(request, "delivered").await;
}

#[tokio::test]
async fn a_revoked_message_vanishes_from_the_inbox() {
    let house = House::new(quick()).await;
    let request = house.send(PHONE, None).await;
    wait_until(async || house.inbox.message(house.account, request)).await;
    house.submit(Action::Revoke { request }).await;
    wait_until(async || house.inbox.message(house.account, request).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_message_knows_how_far_its_accounts_clock_is_ahead() {
    let house = House::new(quick()).await;
    for (advance, ahead_ms) in [(0, 0), (90, 90_000), (1, 91_000)] {
        house.advance_clock(advance).await;
        let request = house.send(PHONE, None).await;
        let message = wait_until(async || house.inbox.message(house.account, request)).await;
        assert_eq!(message.clock_offset_ms, ahead_ms);
    }
}

#[tokio::test]
async fn after_a_crash_the_inbox_shows_what_waits_and_what_had_arrived() {
    let house = House::new(quick()).await;
    let taken = house.send(PHONE, None).await;
    let mut reader = house.open_inbox(PHONE);
    shown(&mut reader, taken).await;
    house.wait_for_state(taken, "delivered").await;
    drop(reader);
    let mut waiting = Vec::new();
    // More than one page of the recovery.
    for _ in 0..600 {
        waiting.push(house.send("+9996654321", None).await);
    }
    let revoked = house.send("+9996654321", None).await;
    house.submit(Action::Revoke { request: revoked }).await;
    let house = house.crash(async |_| {}, quick()).await;
    let arrived = wait_until(async || house.inbox.message(house.account, taken)).await;
    assert_eq!(arrived.delivery, DeliveryState::Delivered);
    for request in &waiting {
        let message = wait_until(async || house.inbox.message(house.account, *request)).await;
        assert_eq!(message.delivery, DeliveryState::Sent);
    }
    assert!(house.inbox.message(house.account, revoked).is_none());
    // And it can still be delivered.
    let mut reader = house.open_inbox("+9996654321");
    shown(&mut reader, waiting[0]).await;
    house.wait_for_state(waiting[0], "delivered").await;
}

#[tokio::test]
async fn news_that_came_before_the_end_is_in_the_books_after_it() {
    let house = House::new(quick()).await;
    let mut requests = Vec::new();
    for _ in 0..50 {
        requests.push(house.send(PHONE, None).await);
    }
    let account = house.account;
    wait_until(async || house.inbox.message(account, requests[49])).await;
    let mut reader = house.open_inbox(PHONE);
    shown(&mut reader, requests[0]).await;
    let store = house.finish().await;
    for request in requests {
        let stored = countersign_store::Store::request(&*store, account, request)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.delivery, DeliveryState::Delivered);
    }
    assert!(open_reports(store.as_ref()).await.is_empty());
}

#[tokio::test]
async fn what_the_hand_over_could_not_hold_is_read_out_of_the_books() {
    let house = House::new(quick()).await;
    let first = house.send(PHONE, None).await;
    wait_until(async || house.inbox.message(house.account, first)).await;
    // The workers run on this thread only: while it waits, nobody takes what is handed over.
    let requests: Vec<RequestId> = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // The hand-over holds 1,024 batches, and each of these is a batch.
            runtime.block_on(async {
                let mut requests = Vec::new();
                for _ in 0..1_100 {
                    requests.push(house.send(PHONE, None).await);
                }
                requests
            })
        });
        sender.join().unwrap()
    });
    for request in requests {
        wait_until(async || house.inbox.message(house.account, request)).await;
    }
}
