//! What arrives, read by Python's `email`.

use std::time::Duration;

use countersign_channels::testing::Server;
use countersign_channels::{Argument, Handover, Receipts, testing};
use countersign_core::{Locale, Reach};
use serde_json::{Value, json};

use crate::fixture::{ADDRESS, CODE, Fixture, SECRET, header, message, message_to, prompt, server};

#[tokio::test]
async fn a_message_has_a_text_and_a_page_in_each_language_and_no_defect() {
    let mut fixture = Fixture::with(server(), json!({}), &[("dsn_secret", SECRET)]).await;
    let texts = std::sync::Arc::clone(&fixture.server.ports.texts);
    let mut seen = 0;
    for (number, language) in (1..).zip(texts.languages()) {
        let mut message = message(number);
        message.locale = Locale::parse(&language.tag().to_string());
        message.sender = testing::sender("acme_shop");
        fixture.accepted(&message).await;
        let came = fixture.event("message").await;
        assert_eq!(came["defects"], json!([]), "{came}");
        assert_eq!(
            came["kinds"],
            json!(["multipart/alternative", "text/plain", "text/html"])
        );
        let subject = header(&came, "Subject").unwrap();
        assert!(subject.contains(CODE) && subject.contains("acme_shop"), "{subject}");
        let heading = language.text("email-warning", &[]);
        let life = language.text("email-life", &[("minutes", Argument::Number(5))]);
        for part in ["text", "html"] {
            let part = came[part].as_str().unwrap();
            for words in [
                CODE,
                "acme_shop",
                &heading,
                &life,
                "https://verify.example/channels/mail/answer/",
            ] {
                assert!(part.contains(words), "{words} in {part}");
            }
        }
        let html = came["html"].as_str().unwrap();
        let direction = if language.is_right_to_left() { "rtl" } else { "ltr" };
        let head = format!("<html lang=\"{}\" dir=\"{direction}\">", language.tag());
        assert!(html.contains(&head), "{html}");
        assert!(came["longest_line"].as_u64().unwrap() <= 998, "{came}");
        seen += 1;
    }
    assert!(seen >= 6);
}

#[tokio::test]
async fn a_message_says_who_sends_it_and_that_a_program_did() {
    let settings = [
        ("from", "\"Acme, Inc. — Größe\" <codes@acme.example>"),
        ("reply_to", "help@acme.example"),
        ("envelope_from", "bounces@acme.example"),
        ("dsn_secret", SECRET),
    ];
    let mut fixture = Fixture::with(server(), json!({}), &settings).await;
    let message = message(1);
    let handover = fixture.deliver(&message).await;
    let Handover::Accepted(Some(handle)) = handover else {
        panic!("{handover:?}")
    };
    assert_eq!(fixture.event("mail").await["from"], "bounces@acme.example");
    assert_eq!(fixture.event("rcpt").await["to"], ADDRESS);
    let came = fixture.event("message").await;
    assert_eq!(came["defects"], json!([]), "{came}");
    let is = |name: &str, value: &str| assert_eq!(header(&came, name).as_deref(), Some(value), "{name}");
    is("From", "\"Acme, Inc. — Größe\" <codes@acme.example>");
    is("Reply-To", "help@acme.example");
    is("To", ADDRESS);
    is("Auto-Submitted", "auto-generated");
    is("List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    is("MIME-Version", "1.0");
    is("Message-ID", &format!("<{}@acme.example>", handle.as_str()));
    assert!(header(&came, "Date").is_some());
    let stop = header(&came, "List-Unsubscribe").unwrap();
    assert!(
        stop.starts_with("<https://verify.example/channels/mail/answer/"),
        "{stop}"
    );
    let request = message.request.to_string();
    assert!(handle.as_str().contains(&request) && !handle.as_str().contains(CODE));
}

#[tokio::test]
async fn without_a_public_address_or_a_secret_a_message_has_no_link() {
    for server in [Server::new(), server()] {
        let mut fixture = Fixture::with(server, json!({}), &[]).await;
        fixture.accepted(&message(1)).await;
        let came = fixture.event("message").await;
        assert!(!came["html"].as_str().unwrap().contains("<a "), "{came}");
        assert_eq!(header(&came, "List-Unsubscribe"), None);
    }
}

#[tokio::test]
async fn the_address_of_the_send_comes_before_the_one_of_the_operators_book() {
    let mut fixture = Fixture::new().await;
    let mut without = message(1);
    without.email = None;
    let unknown = fixture.deliver(&without).await;
    assert!(matches!(unknown, Handover::CannotReach(_)), "{unknown:?}");
    assert_eq!(
        fixture.channel.reach(&testing::destination(&without)).await,
        Reach::Unreachable
    );

    fixture.notes("book@example.com", false).await;
    assert_eq!(
        fixture.channel.reach(&testing::destination(&without)).await,
        Reach::Reachable
    );
    fixture.accepted(&without).await;
    assert_eq!(fixture.event("rcpt").await["to"], "book@example.com");
    fixture.accepted(&message(2)).await;
    assert_eq!(fixture.event("rcpt").await["to"], ADDRESS);
    assert_eq!(fixture.channel.receipts(), Receipts::AssumedOnAcceptance);
}

#[tokio::test]
async fn a_number_that_the_operator_stopped_gets_no_mail_at_any_address() {
    let fixture = Fixture::new().await;
    fixture.notes(ADDRESS, true).await;
    for message in [message(1), message_to(2, "other@example.com")] {
        assert_eq!(
            fixture.channel.reach(&testing::destination(&message)).await,
            Reach::Unreachable
        );
        let handover = fixture.deliver(&message).await;
        assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");
    }
    assert_eq!(fixture.smtp.left("connected"), 0);
    let mut other_number = message(3);
    other_number.phone = testing::message(3, "+4915199999999", CODE, other_number.sent_at)
        .unwrap()
        .phone;
    fixture.accepted(&other_number).await;
}

#[tokio::test]
async fn in_trouble_of_the_books_a_message_waits() {
    let fixture = Fixture::new().await;
    fixture.server.books.set_in_trouble(true);
    assert!(matches!(fixture.deliver(&message(1)).await, Handover::Later(_)));
}

#[tokio::test]
async fn a_message_whose_life_is_over_is_not_sent() {
    let fixture = Fixture::new().await;
    let mut message = message(1);
    message.expires_at = message.sent_at;
    assert!(matches!(fixture.deliver(&message).await, Handover::Refused(_)));
}

#[tokio::test]
async fn letters_beyond_ascii_need_a_server_that_takes_them() {
    let mut fixture = Fixture::new().await;
    fixture.accepted(&message_to(1, "ida@bücher.example")).await;
    assert_eq!(fixture.event("rcpt").await["to"], "ida@xn--bcher-kva.example");
    let Handover::CannotReach(why) = fixture.deliver(&message_to(2, "dörte@example.com")).await else {
        panic!("it was taken")
    };
    assert!(why.as_str().contains("SMTPUTF8"), "{why}");
    // The connection is as good as before.
    fixture.accepted(&message(3)).await;
    fixture.event("connected").await;
    fixture.event("message").await;
    fixture.event("message").await;
    assert_eq!(fixture.smtp.left("connected"), 0);

    let mut fixture = Fixture::with(server(), json!({"utf8": true}), &[]).await;
    fixture.accepted(&message_to(4, "dörte@example.com")).await;
    let mail = fixture.event("mail").await;
    let options: Vec<_> = mail["options"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        options.contains(&"SMTPUTF8") && options.contains(&"BODY=8BITMIME"),
        "{mail}"
    );
    let came = fixture.event("message").await;
    assert_eq!(header(&came, "To").as_deref(), Some("dörte@example.com"));
}

#[tokio::test]
async fn a_sign_in_goes_only_to_an_address_of_the_operators_book() {
    let mut fixture = Fixture::with(server(), json!({}), &[("dsn_secret", SECRET)]).await;
    assert!(matches!(
        fixture.channel.deliver_login(prompt()).await,
        Handover::CannotReach(_)
    ));
    fixture.notes(ADDRESS, false).await;
    let handover = fixture.channel.deliver_login(prompt()).await;
    assert!(matches!(handover, Handover::Accepted(_)), "{handover:?}");
    let came = fixture.event("message").await;
    let html = came["html"].as_str().unwrap();
    assert!(
        html.contains("Firefox &lt;on&gt; Linux") && html.contains("203.0.113.9"),
        "{html}"
    );
    assert!(header(&came, "Subject").unwrap().contains("verify.example"), "{came}");
    assert_eq!(came["defects"], json!([]));
}

#[tokio::test]
async fn mail_can_not_be_taken_back() {
    let fixture = Fixture::new().await;
    let message = message(1);
    fixture.accepted(&message).await;
    let withdrawn = fixture.channel.withdraw(message.account, message.request);
    tokio::time::timeout(Duration::from_secs(1), withdrawn).await.unwrap();
}
