//! Delivery status notifications that the operator's mail server brings, in the form of RFC 3464.

use countersign_channels::{Handover, OutgoingMessage, Receipts, WebhookCall};
use countersign_core::News;
use serde_json::json;

use crate::fixture::{ADDRESS, Fixture, SECRET, message, server};

/// What a mail server says about a message that it knows by that name.
pub(crate) fn notification(name: &str, action: &str) -> Vec<u8> {
    let text = format!(
        "From: MAILER-DAEMON@mx.example\r\nTo: codes@acme.example\r\nSubject: Delivery\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"B\"\r\n\r\n--B\r\n\r\nWords.\r\n\r\n--B\r\n\
         Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\nOriginal-Envelope-Id: {name}\r\n\r\n\
         Final-Recipient: rfc822; {ADDRESS}\r\nAction: {action}\r\n\r\n--B--\r\n"
    );
    text.into_bytes()
}

pub(crate) fn brought(body: Vec<u8>, secret: &str) -> WebhookCall {
    WebhookCall {
        path: "dsn".to_owned(),
        headers: vec![("authorization".to_owned(), format!("Bearer {secret}"))],
        body,
        ..WebhookCall::default()
    }
}

async fn fixture() -> Fixture {
    Fixture::with(server(), json!({}), &[("dsn_secret", SECRET)]).await
}

/// Sends a message to a server without reports; the name by which it goes.
async fn sent(fixture: &mut Fixture, message: &OutgoingMessage) -> String {
    let handover = fixture.deliver(message).await;
    let Handover::Accepted(Some(handle)) = handover else {
        panic!("{handover:?}")
    };
    handle.as_str().to_owned()
}

#[tokio::test]
async fn without_reports_of_the_server_arrival_is_assumed_and_said_to_be() {
    let mut fixture = fixture().await;
    assert_eq!(fixture.channel.receipts(), Receipts::Reported);
    let message = message(1);
    sent(&mut fixture, &message).await;
    let news = fixture.news().await;
    assert_eq!((news.news, news.request), (News::Delivered, message.request));
    assert!(news.detail.unwrap().as_str().contains("assumed"));
}

#[tokio::test]
async fn while_the_news_are_not_taken_no_message_goes_out_that_would_have_to_tell_some() {
    let mut fixture = fixture().await;
    let first = message(1);
    sent(&mut fixture, &first).await;
    fixture.event("message").await;
    let filling = fixture.server.news.recv().await.unwrap();
    let news = fixture.server.ports.news.clone();
    while news.try_send(filling.clone()).is_ok() {}
    assert!(matches!(fixture.deliver(&message(2)).await, Handover::Later(_)));
    assert_eq!(fixture.smtp.left("message"), 0);
    fixture.server.news.recv().await.unwrap();
    fixture.accepted(&message(2)).await;
}

#[tokio::test]
async fn a_notification_is_news_of_its_message_however_often_and_in_whatever_order() {
    let mut fixture = fixture().await;
    let message = message(1);
    let name = sent(&mut fixture, &message).await;
    assert_eq!(fixture.news().await.news, News::Delivered);
    for (action, news) in [
        (
            "failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 full",
            News::Failed,
        ),
        ("delivered\r\nStatus: 2.0.0", News::Delivered),
        ("delivered\r\nStatus: 2.0.0", News::Delivered),
        ("relayed\r\nStatus: 2.0.0", News::Delivered),
    ] {
        let answer = fixture.call(brought(notification(&name, action), SECRET)).await;
        assert_eq!(answer.status, 200);
        let told = fixture.news().await;
        assert_eq!(
            (told.news, told.request, told.account),
            (news, message.request, message.account)
        );
        if news == News::Failed {
            assert!(
                told.detail
                    .unwrap()
                    .as_str()
                    .contains("mailbox is full (5.2.2): 552 full")
            );
        }
    }
    let delayed = fixture.call(brought(notification(&name, "delayed"), SECRET)).await;
    assert_eq!(delayed.status, 200);
    assert!(fixture.server.news.try_recv().is_err());
}

#[tokio::test]
async fn a_notification_of_a_stranger_says_nothing() {
    let mut fixture = fixture().await;
    let message = message(1);
    let name = sent(&mut fixture, &message).await;
    assert_eq!(fixture.news().await.news, News::Delivered);
    let delivered = notification(&name, "delivered");
    for secret in ["", "another-secret-of-it", &SECRET[1..]] {
        assert_eq!(fixture.call(brought(delivered.clone(), secret)).await.status, 401);
    }
    let no_secret = WebhookCall {
        headers: Vec::new(),
        ..brought(delivered.clone(), SECRET)
    };
    assert_eq!(fixture.call(no_secret).await.status, 401);
    // Brought by the pipe, but its name wasn't made here.
    let untagged = countersign_channels::MessageKey {
        account: message.account,
        request: message.request,
    };
    let (real, _) = name.rsplit_once('.').unwrap();
    for forged in [
        &untagged.to_string(),
        real,
        "cs1.1.2.3",
        &format!("{real}.AAAAAAAAAAAAAAAA"),
        "",
    ] {
        assert_eq!(
            fixture
                .call(brought(notification(forged, "delivered"), SECRET))
                .await
                .status,
            200
        );
    }
    for other in [
        b"Subject: I am away\r\n\r\nBye".to_vec(),
        Vec::new(),
        vec![0xff; 50_000],
    ] {
        assert_eq!(fixture.call(brought(other, SECRET)).await.status, 200);
    }
    assert!(fixture.server.news.try_recv().is_err());
    // It would come again for days if it were refused.
    assert_eq!(fixture.call(brought(vec![b'x'; 250_000], SECRET)).await.status, 200);
    let get = WebhookCall {
        is_get: true,
        ..brought(delivered, SECRET)
    };
    assert_eq!(fixture.call(get).await.status, 405);
}

#[tokio::test]
async fn while_nobody_takes_news_a_notification_has_to_come_again() {
    let mut fixture = fixture().await;
    let name = sent(&mut fixture, &message(1)).await;
    fixture.server.news.close();
    let answer = fixture.call(brought(notification(&name, "delivered"), SECRET)).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn without_a_secret_nothing_can_be_brought() {
    let fixture = Fixture::new().await;
    let answer = fixture.call(brought(notification("x", "delivered"), SECRET)).await;
    assert_eq!(answer.status, 404);
    assert_eq!(fixture.channel.receipts(), Receipts::AssumedOnAcceptance);
}
