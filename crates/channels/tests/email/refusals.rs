//! What a mail server says no to, and what happens when it says nothing.

use std::time::Duration;

use countersign_channels::Handover;
use countersign_core::EmailAddress;
use serde_json::json;

use crate::fixture::{ADDRESS, CODE, Fixture, message, server};

fn kind(handover: &Handover) -> &'static str {
    match handover {
        Handover::Later(_) => "later",
        Handover::Accepted(_) => "accepted",
        Handover::CannotReach(_) => "cannot reach",
        Handover::Refused(_) => "refused",
        Handover::Failed(_) => "failed",
        Handover::Waiting => "waiting",
    }
}

#[tokio::test]
async fn a_refusal_means_what_its_moment_and_its_status_say_and_the_connection_is_kept() {
    let mut fixture = Fixture::new().await;
    for (number, (at, reply, meaning)) in (1..).zip([
        ("rcpt", "550 5.1.1 <ida@example.com>: no such user", "cannot reach"),
        ("rcpt", "552 5.2.2 mailbox full", "cannot reach"),
        ("rcpt", "450 4.2.0 greylisted, come again", "later"),
        ("rcpt", "554 5.7.1 relay access denied", "refused"),
        ("mail", "451 4.3.0 not now", "later"),
        ("mail", "550 5.7.1 not your address", "refused"),
        ("data", "554 5.7.1 looks like spam: 482913", "refused"),
        ("data", "451 4.7.1 later", "later"),
    ]) {
        fixture.behaves(json!({"at": at, "reply": reply, "count": 1})).await;
        let handover = fixture.deliver(&message(number)).await;
        assert_eq!(kind(&handover), meaning, "{reply}: {handover:?}");
        let said = format!("{handover:?}");
        assert!(!said.contains(ADDRESS) && !said.contains(CODE), "{said}");
    }
    fixture.accepted(&message(99)).await;
    fixture.event("connected").await;
    while fixture.event("rcpt").await["to"] != ADDRESS {}
    assert_eq!(fixture.smtp.left("connected"), 0, "one connection did for all");
}

#[tokio::test]
async fn a_greylisted_message_that_ends_before_it_can_come_again_makes_way_at_once() {
    let mut fixture = Fixture::new().await;
    fixture
        .behaves(json!({"at": "rcpt", "reply": "450 4.2.0 greylisted"}))
        .await;
    let mut message = message(1);
    message.expires_at = message.sent_at.plus_millis(15_000);
    let handover = fixture.deliver(&message).await;
    assert_eq!(kind(&handover), "refused", "{handover:?}");
    // Greylisted and taken at the second try.
    let mut fixture = Fixture::new().await;
    fixture
        .behaves(json!({"at": "rcpt", "reply": "450 4.2.0 greylisted", "count": 1}))
        .await;
    let again = crate::fixture::message(2);
    assert_eq!(fixture.deliver(&again).await, Handover::Later(Duration::from_secs(20)));
    fixture.accepted(&again).await;
    fixture.event("message").await;
    assert_eq!(fixture.smtp.left("message"), 0);
}

#[tokio::test]
async fn silence_before_the_content_waits_and_after_it_has_failed() {
    for (at, meaning) in [("mail", "later"), ("rcpt", "later"), ("data", "failed")] {
        let mut fixture = Fixture::with(server(), json!({}), &[("timeout_s", "1")]).await;
        fixture.behaves(json!({"at": at, "hang": true})).await;
        let handover = fixture.deliver(&message(1)).await;
        assert_eq!(kind(&handover), meaning, "{at}: {handover:?}");
    }
}

#[tokio::test]
async fn a_server_that_stays_silent_for_too_long_makes_way_for_the_next_leg() {
    for (at, how) in [("mail", "hang"), ("rcpt", "hang"), ("rcpt", "drop")] {
        let settings = [("timeout_s", "1"), ("patience_s", "0")];
        let mut fixture = Fixture::with(server(), json!({}), &settings).await;
        fixture.behaves(json!({"at": at, how: true, "count": 1})).await;
        let handover = fixture.deliver(&message(1)).await;
        assert_eq!(kind(&handover), "failed", "{at}: {handover:?}");
        fixture.accepted(&message(2)).await;
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_content_waits_and_during_or_after_it_has_failed() {
    for (at, meaning) in [
        ("mail", "later"),
        ("rcpt", "later"),
        ("content", "failed"),
        ("data", "failed"),
    ] {
        let mut fixture = Fixture::new().await;
        fixture.behaves(json!({"at": at, "drop": true, "count": 1})).await;
        let handover = fixture.deliver(&message(1)).await;
        assert_eq!(kind(&handover), meaning, "{at}: {handover:?}");
        // The next message gets a connection of its own.
        fixture.accepted(&message(2)).await;
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_waits_before_the_content_and_has_failed_after_it() {
    for (at, meaning) in [("mail", "later"), ("rcpt", "later"), ("data", "failed")] {
        let mut fixture = Fixture::new().await;
        fixture
            .behaves(json!({"at": at, "reply": "<html>hello</html>", "count": 1}))
            .await;
        let handover = fixture.deliver(&message(1)).await;
        assert_eq!(kind(&handover), meaning, "{at}: {handover:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_too_busy_waits_and_is_connected_to_anew() {
    let mut fixture = Fixture::new().await;
    fixture
        .behaves(json!({"at": "mail", "reply": "421 4.7.0 too many", "count": 1}))
        .await;
    assert_eq!(kind(&fixture.deliver(&message(1)).await), "later");
    fixture.accepted(&message(2)).await;
    fixture.event("connected").await;
    fixture.event("connected").await;
}

#[tokio::test]
async fn an_address_with_quotes_stays_one_address() {
    let mut fixture = Fixture::new().await;
    let mut message = message(1);
    message.email = EmailAddress::parse("\"ida b\"@example.com");
    if message.email.is_some() {
        let handover = fixture.deliver(&message).await;
        if kind(&handover) == "accepted" {
            let came = fixture.event("rcpt").await;
            assert_eq!(came["to"], "\"ida b\"@example.com");
        }
    }
}
