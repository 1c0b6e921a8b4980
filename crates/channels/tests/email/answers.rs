//! What recipients answer through the link in their message.

use countersign_channels::{Handover, OutgoingMessage, WebhookCall, testing};
use countersign_core::{EmailAddress, News, Reach};
use serde_json::json;

use crate::fixture::{
    ADDRESS, CODE, Fixture, SECRET, header, key, message, message_to, name, now, phone, prompt, server,
};

/// A message was sent; what follows the channel's name in its link.
async fn link(fixture: &mut Fixture) -> String {
    let came = fixture.event("message").await;
    let url = header(&came, "List-Unsubscribe").unwrap();
    let path = url.strip_prefix("<https://verify.example/channels/mail/").unwrap();
    path.trim_end_matches('>').to_owned()
}

fn get(path: &str) -> WebhookCall {
    WebhookCall {
        is_get: true,
        path: path.to_owned(),
        ..WebhookCall::default()
    }
}

fn post(path: &str, body: &str) -> WebhookCall {
    WebhookCall {
        path: path.to_owned(),
        body: body.as_bytes().to_vec(),
        ..WebhookCall::default()
    }
}

async fn fixture() -> Fixture {
    Fixture::with(server(), json!({}), &[("dsn_secret", SECRET)]).await
}

#[tokio::test]
async fn following_the_link_changes_nothing_and_shows_what_can_be_said() {
    let mut fixture = fixture().await;
    fixture.accepted(&message(1)).await;
    // Without delivery reports its arrival is assumed at once.
    assert_eq!(fixture.news().await.news, News::Delivered);
    let path = link(&mut fixture).await;
    assert!(!path.contains(ADDRESS) && !path.contains("4915123456789"));
    let shown = fixture.call(get(&path)).await;
    assert_eq!(shown.status, 200);
    // The number is a German one.
    assert!(
        shown.text.contains("<html lang=\"de\"") && shown.text.contains("value=\"disown\""),
        "{}",
        shown.text
    );
    assert!(!shown.text.contains("<script"));
    assert_eq!(fixture.server.books.recipient(&name(), phone()), None);
    assert!(fixture.server.news.try_recv().is_err());
    assert!(fixture.channel.answers_with_pages());
}

#[tokio::test]
async fn it_was_not_me_ends_the_code() {
    let mut fixture = fixture().await;
    let message = message(1);
    fixture.accepted(&message).await;
    assert_eq!(fixture.news().await.news, News::Delivered);
    let path = link(&mut fixture).await;
    assert_eq!(fixture.call(post(&path, "do=disown")).await.status, 200);
    let news = fixture.news().await;
    assert_eq!((news.news, news.request), (News::Disowned, message.request));
    assert_eq!(news.account, key(&message).account);

    fixture.notes(ADDRESS, false).await;
    fixture.channel.deliver_login(prompt()).await;
    let path = link(&mut fixture).await;
    assert_eq!(fixture.call(post(&path, "do=disown")).await.status, 200);
    let reply = fixture.server.logins.recv().await.unwrap();
    assert_eq!((reply.attempt, reply.phone, reply.is_me), (77, phone(), false));
}

/// A message of another account to another number.
fn to_another_number(number: u64, address: Option<&str>) -> OutgoingMessage {
    let mut other = testing::message(number, "+4915199999999", CODE, now()).unwrap();
    other.email = address.and_then(EmailAddress::parse);
    other
}

#[tokio::test]
async fn stop_and_start_hold_for_the_mailbox_and_leave_the_operators_book_alone() {
    let mut fixture = fixture().await;
    fixture.notes("Ida@Example.com", false).await;
    let noted = fixture.server.books.recipient(&name(), phone());
    fixture.accepted(&message(1)).await;
    let path = link(&mut fixture).await;
    let stopped = fixture.call(post(&path, "List-Unsubscribe=One-Click")).await;
    assert!(stopped.text.contains("value=\"start\""), "{}", stopped.text);
    // The number's address in the book is the same mailbox, and so it is for another number.
    let mut from_book = message(2);
    from_book.email = None;
    for message in [&message(2), &from_book, &to_another_number(3, Some("IDA@example.COM"))] {
        assert!(matches!(fixture.deliver(message).await, Handover::CannotReach(_)));
        let destination = testing::destination(message);
        assert_eq!(fixture.channel.reach(&destination).await, Reach::Unreachable);
    }
    fixture.channel.deliver_login(prompt()).await;
    assert_eq!(fixture.smtp.left("rcpt"), 1, "that of the first message");
    // Whoever sends the number's codes elsewhere still may.
    fixture.accepted(&message_to(4, "max@example.com")).await;

    fixture.call(post(&path, "do=stop")).await;
    fixture.call(post(&path, "do=start")).await;
    fixture.accepted(&from_book).await;
    assert_eq!(fixture.server.books.recipient(&name(), phone()), noted);
}

#[tokio::test]
async fn whoever_stops_and_starts_the_mail_of_a_number_does_not_become_its_address() {
    let mut fixture = fixture().await;
    fixture.accepted(&message_to(1, "eve@example.net")).await;
    let path = link(&mut fixture).await;
    for wish in ["do=start", "do=stop", "do=start", "do=stop"] {
        assert_eq!(fixture.call(post(&path, wish)).await.status, 200);
        assert_eq!(fixture.server.books.recipient(&name(), phone()), None);
        let mut without_address = message(2);
        without_address.email = None;
        assert!(matches!(
            fixture.deliver(&without_address).await,
            Handover::CannotReach(_)
        ));
        assert!(matches!(
            fixture.channel.deliver_login(prompt()).await,
            Handover::CannotReach(_)
        ));
    }
    // Another account's mail to the number goes.
    fixture.accepted(&message(3)).await;
}

#[tokio::test]
async fn what_the_operator_said_about_a_number_is_not_undone_by_a_link() {
    let mut fixture = fixture().await;
    fixture.accepted(&message(1)).await;
    let path = link(&mut fixture).await;
    fixture.notes(ADDRESS, true).await;
    fixture.call(post(&path, "do=start")).await;
    assert!(matches!(fixture.deliver(&message(2)).await, Handover::CannotReach(_)));
    fixture.accepted(&to_another_number(3, Some(ADDRESS))).await;
}

#[tokio::test]
async fn a_made_up_link_opens_nothing_and_trouble_is_said() {
    let mut fixture = fixture().await;
    fixture.accepted(&message(1)).await;
    let path = link(&mut fixture).await;
    let mut forged = path.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(forged.len() - 4, last);
    for bad in ["answer/", "answer/AAAA", "answer", "", "elsewhere", &forged] {
        let shown = fixture.call(get(bad)).await;
        assert_eq!(shown.status, 404, "{bad}");
        if bad.starts_with("answer/") {
            assert!(
                shown.text.contains("This link doesn’t work any more."),
                "{}",
                shown.text
            );
            let in_german = WebhookCall {
                headers: vec![("accept-language".to_owned(), "de-AT,en;q=0.5".to_owned())],
                ..get(bad)
            };
            let shown = fixture.call(in_german).await;
            assert!(shown.text.contains("Dieser Link gilt nicht mehr."), "{}", shown.text);
            assert!(!shown.text.contains("<form"), "{}", shown.text);
        }
        assert_eq!(fixture.call(post(bad, "do=stop")).await.status, 404, "{bad}");
    }
    assert_eq!(fixture.call(post(&path, "do=dance")).await.status, 400);
    fixture.server.books.set_in_trouble(true);
    assert_eq!(fixture.call(post(&path, "do=stop")).await.status, 503);
    assert_eq!(fixture.call(get(&path)).await.status, 503);
}
