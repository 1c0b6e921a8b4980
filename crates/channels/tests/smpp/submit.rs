//! Sending: what arrives at the message centre, and what its answers lead to.

use std::time::Duration;

use countersign_channels::testing::{destination, sender};
use countersign_channels::{Autofill, Handover, LoginPrompt};
use countersign_core::{Code, Locale, News, PhoneNumber, Reach, SandboxNumbers, Timestamp};
use serde_json::json;

use crate::fixture::{Fixture, NUMBER, message, message_to};

#[tokio::test]
async fn a_code_arrives_in_the_default_alphabet_and_is_delivered() {
    let mut fixture = Fixture::new(json!({}), &[("system_type", "VMA")]).await;
    let mut message = message(1);
    message.sender = sender("acme_verification");
    let handle = fixture.accepted(&message).await;
    assert_eq!(handle.as_str(), "1000");
    let submit = fixture.event("submit").await;
    let text = "482913 ist Ihr Bestätigungscode für acme_verification.";
    assert_eq!(submit["text"], text, "a German number’s language");
    assert_eq!(submit["data_coding"], 0);
    assert_eq!(
        (submit["to"].as_str(), submit["to_ton"].as_u64()),
        (Some(&NUMBER[1..]), Some(1))
    );
    assert_eq!(submit["from"], "acme_verifi", "eleven characters of the sender’s name");
    assert_eq!(
        (submit["from_ton"].as_u64(), submit["from_npi"].as_u64()),
        (Some(5), Some(0))
    );
    assert_eq!(submit["registered_delivery"], 1);
    assert_eq!(submit["esm_class"], 0);
    let validity_s = submit["validity_period"].as_i64().unwrap();
    assert!((290..=300).contains(&validity_s), "{validity_s}");
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    assert_eq!(fixture.event("receipt_answer").await["status"], 0);
}

#[tokio::test]
async fn a_text_that_the_alphabet_lacks_arrives_in_ucs2() {
    let settings = [("text", "Ваш код: {code} 🔑"), ("version", "5.0"), ("source", "72345")];
    let mut fixture = Fixture::new(json!({}), &settings).await;
    fixture.accepted(&message(1)).await;
    let submit = fixture.event("submit").await;
    assert_eq!(submit["text"], "Ваш код: 482913 🔑");
    assert_eq!(submit["data_coding"], 8);
    assert_eq!(
        (submit["from"].as_str(), submit["from_ton"].as_u64()),
        (Some("72345"), Some(3))
    );
}

#[tokio::test]
async fn a_code_is_written_in_the_language_asked_for_and_ends_with_what_the_account_wants() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    fixture.server.books.set_autofill(Autofill {
        domain: Some("example.com".to_owned()),
        android_hash: None,
    });
    let mut message = message(1);
    message.locale = Locale::parse("pt-BR");
    fixture.accepted(&message).await;
    let submit = fixture.event("submit").await;
    let text = "482913 é o seu código de verificação.\n\n@example.com #482913";
    assert_eq!(submit["text"], text);
    assert_eq!(submit["data_coding"], 8);

    fixture.server.books.set_autofill(Autofill {
        domain: Some("example.com".to_owned()),
        android_hash: Some("FA+9qCX9VSu".to_owned()),
    });
    message.sender = sender("acme_verification");
    fixture.accepted(&message).await;
    let submit = fixture.event("submit").await;
    let text = "482913 é o seu codigo de verificacao para acme_verification.\n\nFA+9qCX9VSu\n@example.com #482913";
    assert_eq!(submit["text"], text, "one segment, at the cost of some accents");
    assert_eq!(submit["data_coding"], 0);
}

#[tokio::test]
async fn an_operators_text_ends_with_what_the_account_wants_as_well() {
    let mut fixture = Fixture::new(json!({}), &[("text", "Code {code}")]).await;
    fixture.server.books.set_autofill(Autofill {
        domain: Some("example.com".to_owned()),
        android_hash: None,
    });
    fixture.accepted(&message(1)).await;
    let submit = fixture.event("submit").await;
    assert_eq!(submit["text"], "Code 482913\n\n@example.com #482913");
}

#[tokio::test]
async fn a_text_of_several_messages_arrives_as_a_payload() {
    let long = format!("{{code}} {}", "€".repeat(100));
    let mut fixture = Fixture::new(json!({}), &[("text", &long)]).await;
    fixture.accepted(&message(1)).await;
    let submit = fixture.event("submit").await;
    assert_eq!(submit["in_payload"], true);
    assert_eq!(submit["text"], format!("482913 {}", "€".repeat(100)));
}

#[tokio::test]
async fn no_more_messages_are_under_way_than_the_window_holds() {
    let mut fixture = Fixture::new(json!({"submit": "hold"}), &[("window", "3")]).await;
    assert_eq!(fixture.channel.concurrency(), 3);
    let channel = std::sync::Arc::clone(&fixture.channel);
    let sent = tokio::spawn(async move {
        let all = (1..=9).map(|number| channel.deliver(message(number)));
        futures_util::future::join_all(all).await
    });
    let mut most = 0;
    for round in 0..3 {
        for _ in 0..3 {
            let submit = fixture.event("submit").await;
            most = most.max(submit["outstanding"].as_u64().unwrap());
        }
        assert_eq!(fixture.smsc.left("submit"), 0, "round {round}");
        fixture.tell(json!({"do": "release"})).await;
    }
    assert_eq!(most, 3);
    let sent = sent.await.unwrap();
    assert!(
        sent.iter()
            .all(|handover| matches!(handover, Handover::Accepted(Some(_)))),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_throttled_message_waits_and_is_delivered() {
    let behaviour = json!({"submit_status": 0x58, "submit_count": 1});
    let mut fixture = Fixture::new(behaviour, &[]).await;
    let Handover::Later(pause) = fixture.channel.deliver(message(1)).await else {
        panic!("it wasn’t throttled")
    };
    assert!(
        pause > Duration::from_millis(500) && pause <= Duration::from_secs(1),
        "{pause:?}"
    );
    let meanwhile = fixture.channel.deliver(message(2)).await;
    assert!(
        matches!(meanwhile, Handover::Later(_)),
        "others wait as well, unsent: {meanwhile:?}"
    );
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    fixture.event("submit").await;
    fixture.event("submit").await;
    assert_eq!(fixture.smsc.left("submit"), 0);
}

#[tokio::test]
async fn refusals_end_the_leg_and_say_why() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    let mut refused = async |status: u32| {
        fixture.tell(json!({"do": "behave", "submit_status": status})).await;
        fixture.channel.deliver(message(1)).await
    };
    let Handover::CannotReach(detail) = refused(0x0B).await else {
        panic!("not a bad number")
    };
    assert_eq!(detail.as_str(), "ESME_RINVDSTADR (0x0B): the number is not valid there");
    let Handover::Refused(detail) = refused(0x0A).await else {
        panic!("not refused")
    };
    assert!(detail.as_str().contains("ESME_RINVSRCADR"), "{detail}");
    let Handover::Refused(detail) = refused(0x0410).await else {
        panic!("not refused")
    };
    assert!(detail.as_str().contains("0x410"), "{detail}");
    assert!(matches!(refused(0x08).await, Handover::Failed(_)));
    assert!(matches!(refused(0x14).await, Handover::Later(_)));
}

#[tokio::test]
async fn a_message_without_an_answer_fails_and_is_not_sent_again() {
    let mut fixture = Fixture::new(json!({"submit": "ignore"}), &[("response_timeout_s", "1")]).await;
    let Handover::Failed(detail) = fixture.channel.deliver(message(1)).await else {
        panic!("it did not fail")
    };
    assert_eq!(detail.as_str(), "the SMSC did not answer in time");
    fixture.event("submit").await;
    assert_eq!(fixture.smsc.left("submit"), 0);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_still_tells_of_the_delivery() {
    let mut fixture = Fixture::new(json!({"submit": "hold"}), &[("response_timeout_s", "1")]).await;
    assert!(matches!(fixture.channel.deliver(message(1)).await, Handover::Failed(_)));
    fixture.tell(json!({"do": "release"})).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
}

#[tokio::test]
async fn a_connection_lost_in_mid_send_fails_the_message_and_the_next_one_goes() {
    for submit in ["drop", "garbage"] {
        let mut fixture = Fixture::new(json!({"submit": submit, "submit_count": 1}), &[]).await;
        let Handover::Failed(detail) = fixture.channel.deliver(message(1)).await else {
            panic!("it did not fail")
        };
        assert_eq!(
            detail.as_str(),
            "the connection was lost before the SMSC answered",
            "{submit}"
        );
        fixture.event("bound").await;
        fixture.accepted(&message(2)).await;
        assert_eq!(fixture.next().await, (News::Delivered, 2));
        fixture.event("submit").await;
        fixture.event("submit").await;
        assert_eq!(fixture.smsc.left("submit"), 0, "the first one went once");
    }
}

#[tokio::test]
async fn fixed_lines_are_out_of_reach_unless_they_are_let_in() {
    // A number of Berlin.
    let fixed = message_to(1, "+493012345678");
    let mut fixture = Fixture::new(json!({}), &[]).await;
    assert_eq!(fixture.channel.reach(&destination(&fixed)).await, Reach::Unreachable);
    assert!(matches!(
        fixture.channel.deliver(fixed.clone()).await,
        Handover::CannotReach(_)
    ));
    assert_eq!(fixture.channel.reach(&destination(&message(2))).await, Reach::Reachable);
    fixture.end().await;
    let fixture = Fixture::new(json!({}), &[("fixed_lines", "true")]).await;
    assert_eq!(fixture.channel.reach(&destination(&fixed)).await, Reach::Reachable);
    fixture.accepted(&fixed).await;
}

#[tokio::test]
async fn a_message_that_is_withdrawn_is_cancelled_unless_it_arrived() {
    let mut fixture = Fixture::new(json!({"receipt": null}), &[("source", "72345")]).await;
    let (open, arrived) = (message(1), message(2));
    let handle = fixture.accepted(&open).await;
    fixture.accepted(&arrived).await;
    fixture.tell(json!({"do": "receipt"})).await;
    assert_eq!(fixture.next().await, (News::Delivered, 2));
    fixture.channel.withdraw(arrived.account, arrived.request).await;
    fixture.channel.withdraw(open.account, open.request).await;
    let cancel = fixture.event("cancel").await;
    assert_eq!(cancel["id"], handle.as_str());
    assert_eq!(
        (cancel["from"].as_str(), cancel["to"].as_str()),
        (Some("72345"), Some(&NUMBER[1..]))
    );
    assert_eq!(fixture.smsc.left("cancel"), 0);
}

#[tokio::test]
async fn a_sign_in_gets_its_code_and_no_buttons() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    assert!(fixture.channel.is_paid() && !fixture.channel.carries_buttons());
    let prompt = LoginPrompt {
        attempt: 5,
        phone: PhoneNumber::parse(NUMBER, SandboxNumbers::Refused).unwrap(),
        code: Code::parse("771204").unwrap(),
        device: "A browser".to_owned(),
        address: "192.0.2.1".to_owned(),
        at: message(1).sent_at,
        expires_at: Timestamp::from_millis(message(1).expires_at.millis()),
    };
    assert!(matches!(
        fixture.channel.deliver_login(prompt).await,
        Handover::Accepted(Some(_))
    ));
    let text = fixture.event("submit").await["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("771204 ist Ihr Code zum Anmelden bei"), "{text}");
    assert_eq!(fixture.event("receipt_answer").await["status"], 0);
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "NO"}))
        .await;
    let reply = fixture.server.logins.recv().await.unwrap();
    assert_eq!((reply.attempt, reply.is_me), (5, false));
}
