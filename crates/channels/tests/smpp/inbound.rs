//! What comes back: receipts in every order and form, and what phones write.

use std::fmt::Write as _;
use std::sync::Arc;

use countersign_channels::testing::{Server, destination};
use countersign_channels::{Handover, MessageKey};
use countersign_core::{News, PhoneNumber, Reach, SandboxNumbers};
use serde_json::json;

use crate::fixture::{Fixture, NUMBER, message, message_to, name};

fn number() -> PhoneNumber {
    PhoneNumber::parse(NUMBER, SandboxNumbers::Refused).unwrap()
}

#[tokio::test]
async fn a_receipt_of_failure_is_news_with_its_reason() {
    for stat in ["UNDELIV", "EXPIRED", "REJECTD", "DELETED"] {
        let mut fixture = Fixture::new(json!({"receipt": stat}), &[]).await;
        fixture.accepted(&message(1)).await;
        let news = fixture.news().await;
        assert_eq!((news.news, news.leg.as_str()), (News::Failed, "sms"));
        assert_eq!(news.detail.unwrap().as_str(), format!("{stat}, error 042"));
    }
}

#[tokio::test]
async fn receipts_that_are_not_final_are_no_news() {
    let mut fixture = Fixture::new(json!({"receipt": "ENROUTE"}), &[]).await;
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.event("receipt_answer").await["status"], 0);
    for stat in ["ACCEPTD", "UNKNOWN", "DELIVRD"] {
        fixture.tell(json!({"do": "receipt", "stat": stat})).await;
        assert_eq!(fixture.event("receipt_answer").await["stat"], stat);
    }
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert!(fixture.server.news.try_recv().is_err());
}

#[tokio::test]
async fn a_receipt_twice_is_news_once() {
    let mut fixture = Fixture::new(json!({"receipt_copies": 3}), &[]).await;
    fixture.accepted(&message(1)).await;
    for _ in 0..3 {
        assert_eq!(fixture.event("receipt_answer").await["status"], 0);
    }
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert!(fixture.server.news.try_recv().is_err());
}

#[tokio::test]
async fn a_receipt_before_the_answer_to_its_submit_is_kept_for_it() {
    let mut fixture = Fixture::new(
        json!({"receipt_first": true, "ids": "hex", "receipt_ids": "decimal"}),
        &[],
    )
    .await;
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert_eq!(fixture.event("receipt_answer").await["status"], 0);
}

#[tokio::test]
async fn a_receipt_counts_that_comes_before_the_late_answer_to_its_submit() {
    let behaviour = json!({"submit": "hold", "receipt": null});
    let mut fixture = Fixture::new(behaviour, &[("response_timeout_s", "1")]).await;
    assert!(matches!(fixture.deliver(&message(1)).await, Handover::Failed(_)));
    let receipt = receipt("1000", &NUMBER[1..]);
    fixture.tell(json!({"do": "raw", "hex": receipt})).await;
    fixture.tell(json!({"do": "release"})).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert_eq!(fixture.event("deliver_answer").await["status"], 0);
}

/// A receipt of a delivery, as bytes in hexadecimal.
fn receipt(id: &str, from: &str) -> String {
    let text = format!("id:{id} stat:DELIVRD err:000");
    let body = [
        // The service, and who it comes from.
        b"\0\x01\x01".as_slice(),
        from.as_bytes(),
        // To whom, and that it is a receipt.
        b"\0\x01\x01\0\x04\0\0\0\0\0\0\0\0",
        &[u8::try_from(text.len()).unwrap()],
        text.as_bytes(),
    ]
    .concat();
    let length = u32::try_from(16 + body.len()).unwrap();
    let header = [length, 5, 0, 9].map(u32::to_be_bytes).concat();
    let bytes = [header, body].concat();
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[tokio::test]
async fn ids_match_in_every_form_that_message_centres_mix() {
    let forms = [("decimal", "hex"), ("hex", "decimal"), ("hex", "same")];
    for (ids, receipt_ids) in forms {
        for receipt_in in ["text", "fields", "both"] {
            let behaviour =
                json!({"ids": ids, "receipt_ids": receipt_ids, "receipt_in": receipt_in, "first_id": 48_879});
            let mut fixture = Fixture::new(behaviour, &[]).await;
            fixture.accepted(&message(7)).await;
            assert_eq!(
                fixture.next().await,
                (News::Delivered, 7),
                "{ids} {receipt_ids} {receipt_in}"
            );
        }
    }
}

#[tokio::test]
async fn after_a_restart_the_books_know_the_message() {
    let behaviour = json!({"ids": "hex", "receipt_ids": "decimal", "receipt": null, "first_id": 48_879});
    let mut fixture = Fixture::new(behaviour, &[]).await;
    let message = message(1);
    let handle = fixture.accepted(&message).await;
    let key = MessageKey {
        account: message.account,
        request: message.request,
    };
    fixture.server.books.keep_handle(&name(), handle, key);
    fixture.end().await;
    fixture.event("unbind").await;
    // The same message centre, with a process that remembers nothing.
    let books = Arc::clone(&fixture.server.books);
    fixture.server = Server::with(books);
    fixture.channel = crate::fixture::channel(&fixture.server, fixture.smsc.port(), &[]);
    let (_end, running) = crate::fixture::run(&fixture.channel);
    fixture.event("bound").await;
    fixture.tell(json!({"do": "receipt"})).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    fixture.channel.withdraw(message.account, message.request).await;
    assert_eq!(fixture.event("cancel").await["id"], "BEEF");
    running.abort();
}

#[tokio::test]
async fn while_the_books_are_in_trouble_a_receipt_is_asked_to_come_again() {
    let mut fixture = Fixture::new(json!({"receipt": null}), &[]).await;
    fixture.accepted(&message(1)).await;
    fixture.server.books.set_in_trouble(true);
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "STOP"}))
        .await;
    assert_eq!(fixture.event("message_answer").await["status"], 0x64);
    assert!(matches!(fixture.channel.deliver(message(2)).await, Handover::Later(_)));
    fixture.server.books.set_in_trouble(false);
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "STOP"}))
        .await;
    assert_eq!(fixture.event("message_answer").await["status"], 0);
    assert!(fixture.server.books.recipient(&name(), number()).unwrap().stopped);
}

#[tokio::test]
async fn news_that_could_not_be_handed_over_before_the_connection_was_lost_come_again() {
    let mut fixture = Fixture::new(json!({"receipt": null}), &[]).await;
    fixture.accepted(&message(1)).await;
    fixture.tell(json!({"do": "behave", "receipt": "DELIVRD"})).await;
    let queue = fixture.server.ports.news.clone();
    fixture.accepted(&message(2)).await;
    let filler = fixture.news().await;
    while queue.try_send(filler.clone()).is_ok() {}
    let waiting = fixture.server.news.len();
    // Of the first message: the second one's receipt is told by now.
    fixture.tell(json!({"do": "receipt", "id": "1000"})).await;
    fixture.tell(json!({"do": "drop"})).await;
    fixture.event("bound").await;
    for _ in 0..waiting {
        assert_eq!(fixture.next().await, (News::Delivered, 2));
    }
    fixture.tell(json!({"do": "receipt", "id": "1000"})).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
}

#[tokio::test]
async fn who_writes_stop_is_left_alone_until_they_write_start() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    let to = destination(&message(1));
    assert_eq!(fixture.channel.reach(&to).await, Reach::Reachable);
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": " Stop all. "}))
        .await;
    assert_eq!(fixture.event("message_answer").await["status"], 0);
    assert_eq!(fixture.channel.reach(&to).await, Reach::Unreachable);
    let Handover::CannotReach(detail) = fixture.channel.deliver(message(1)).await else {
        panic!("it was sent")
    };
    assert_eq!(detail.as_str(), "the recipient wrote STOP");
    let other = message_to(2, "+4915123456780");
    assert_eq!(
        fixture.channel.reach(&destination(&other)).await,
        Reach::Reachable,
        "others are not meant"
    );
    fixture
        .tell(json!({"do": "message", "from": format!("+{}", &NUMBER[1..]), "text": "START"}))
        .await;
    fixture.event("message_answer").await;
    assert_eq!(fixture.channel.reach(&to).await, Reach::Reachable);
    fixture.accepted(&message(3)).await;
}

#[tokio::test]
async fn who_says_that_it_was_not_them_disowns_the_last_message() {
    let mut fixture = Fixture::new(json!({"receipt": null}), &[]).await;
    fixture.accepted(&message(1)).await;
    fixture.accepted(&message(2)).await;
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "Wasn’t me"}))
        .await;
    assert_eq!(fixture.next().await, (News::Disowned, 2));
    fixture.event("message_answer").await;
    fixture
        .tell(json!({"do": "message", "from": "4915100000000", "text": "no"}))
        .await;
    assert_eq!(fixture.event("message_answer").await["status"], 0);
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "Who are you?"}))
        .await;
    assert_eq!(fixture.event("message_answer").await["status"], 0);
    assert!(fixture.server.news.try_recv().is_err());
}

#[tokio::test]
async fn garbage_in_a_delivery_costs_that_delivery_only() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    // deliver_sm, sequence 9, a body that ends in mid-field.
    fixture
        .tell(json!({"do": "raw", "hex": "00000014000000050000000000000009ffffffff"}))
        .await;
    assert_eq!(fixture.event("deliver_answer").await["status"], 0x65);
    // A command that nobody knows.
    fixture
        .tell(json!({"do": "raw", "hex": "0000001000000777000000000000000a"}))
        .await;
    assert_eq!(fixture.event("generic_nack").await["status"], 3);
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert_eq!(fixture.smsc.left("closed"), 0);
}
