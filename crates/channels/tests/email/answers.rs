//! What recipients answer through the link in their message.

use countersign_channels::{Handover, WebhookCall, testing};
use countersign_core::{News, Reach};
use serde_json::json;

use crate::fixture::{ADDRESS, Fixture, SECRET, header, key, message, message_to, name, phone, prompt, server};

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

#[tokio::test]
async fn stop_and_start_hold_for_the_number_and_keep_the_operators_address() {
    let mut fixture = fixture().await;
    fixture.notes("book@example.com", false).await;
    fixture.accepted(&message(1)).await;
    let path = link(&mut fixture).await;
    let stopped = fixture.call(post(&path, "List-Unsubscribe=One-Click")).await;
    assert!(stopped.text.contains("value=\"start\""), "{}", stopped.text);
    let known = fixture.server.books.recipient(&name(), phone()).unwrap();
    assert_eq!((known.address.as_str(), known.stopped), ("book@example.com", true));
    let destination = testing::destination(&message(2));
    assert_eq!(fixture.channel.reach(&destination).await, Reach::Unreachable);
    assert!(matches!(fixture.deliver(&message(2)).await, Handover::CannotReach(_)));

    // A second click changes nothing; a start does.
    fixture.call(post(&path, "do=stop")).await;
    assert_eq!(fixture.server.books.recipient(&name(), phone()), Some(known));
    fixture.call(post(&path, "do=start")).await;
    let known = fixture.server.books.recipient(&name(), phone()).unwrap();
    assert_eq!((known.address.as_str(), known.stopped), ("book@example.com", false));
    fixture.accepted(&message(3)).await;
}

#[tokio::test]
async fn whom_the_operator_never_noted_is_stopped_at_the_address_that_got_the_mail() {
    let mut fixture = fixture().await;
    fixture.accepted(&message(1)).await;
    let path = link(&mut fixture).await;
    fixture.call(post(&path, "do=stop")).await;
    let known = fixture.server.books.recipient(&name(), phone()).unwrap();
    assert_eq!((known.address.as_str(), known.stopped), (ADDRESS, true));
    // The mailbox is the same however it is written, and for whichever number.
    let mut other = message_to(2, "Ida@Example.com");
    other.phone = testing::message(2, "+4915199999999", "482913", other.sent_at)
        .unwrap()
        .phone;
    assert!(matches!(fixture.deliver(&other).await, Handover::CannotReach(_)));
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
        assert_eq!(fixture.call(get(bad)).await.status, 404, "{bad}");
        assert_eq!(fixture.call(post(bad, "do=stop")).await.status, 404, "{bad}");
    }
    assert_eq!(fixture.call(post(&path, "do=dance")).await.status, 400);
    fixture.server.books.set_in_trouble(true);
    assert_eq!(fixture.call(post(&path, "do=stop")).await.status, 503);
    assert_eq!(fixture.call(get(&path)).await.status, 503);
}
