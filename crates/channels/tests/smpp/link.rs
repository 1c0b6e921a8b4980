//! The connection: binding, losing it, coming back, ending; and what `countersign doctor` says of it.

use std::time::Duration;

use countersign_channels::testing::Server;
use countersign_channels::testing::smsc::Smsc;
use countersign_channels::{Handover, Verdict};
use countersign_core::News;
use serde_json::json;

use crate::fixture::{Fixture, PASSWORD, channel, message, run};

#[tokio::test]
async fn it_binds_as_it_is_set_and_unbinds_at_the_end() {
    for (version, number) in [("3.4", 0x34), ("5.0", 0x50)] {
        let mut smsc = Smsc::start(json!({"password": PASSWORD})).await.unwrap();
        let channel = channel(
            &Server::new(),
            smsc.port(),
            &[("version", version), ("system_type", "VMA")],
        );
        let (end, running) = run(&channel);
        let bound = smsc.event("bound").await.unwrap();
        assert_eq!(
            (bound["version"].as_u64(), bound["system_type"].as_str()),
            (Some(number), Some("VMA"))
        );
        end.send_replace(true);
        smsc.event("unbind").await.unwrap();
        smsc.event("closed").await.unwrap();
        running.await.unwrap();
    }
}

#[tokio::test]
async fn answers_under_way_are_waited_for_at_the_end() {
    let mut fixture = Fixture::new(json!({"submit": "hold"}), &[]).await;
    let channel = std::sync::Arc::clone(&fixture.channel);
    let sent = tokio::spawn(async move { channel.deliver(message(1)).await });
    fixture.event("submit").await;
    let end = async {
        fixture.end.send_replace(true);
        fixture.smsc.tell(json!({"do": "release"})).await.unwrap();
    };
    end.await;
    assert!(matches!(sent.await.unwrap(), Handover::Accepted(Some(_))));
    fixture.end().await;
    fixture.event("unbind").await;
}

#[tokio::test]
async fn it_comes_back_after_the_message_centre_restarts() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    let port = fixture.smsc.port();
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    let another = Smsc::start(json!({"password": PASSWORD})).await.unwrap();
    std::mem::replace(&mut fixture.smsc, another).stop().await.unwrap();
    // Until the channel has noticed, what is sent may have arrived.
    while !matches!(fixture.channel.deliver(message(9)).await, Handover::Later(_)) {}
    fixture.smsc = Smsc::start(json!({"password": PASSWORD, "port": port})).await.unwrap();
    fixture.event("bound").await;
    fixture.accepted(&message(2)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 2));
}

#[tokio::test]
async fn it_comes_back_when_the_message_centre_breaks_or_ends_the_session() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    for command in ["drop", "unbind"] {
        fixture.tell(json!({"do": command})).await;
        fixture.event("closed").await;
        fixture.event("bound").await;
    }
    fixture.accepted(&message(1)).await;
}

#[tokio::test]
async fn a_missed_enquire_link_ends_the_session_and_another_begins() {
    let settings = [("enquire_link_s", "1"), ("response_timeout_s", "1")];
    let mut fixture = Fixture::new(json!({"enquire_link": "ignore"}), &settings).await;
    fixture.event("enquire_link").await;
    fixture.event("closed").await;
    fixture.tell(json!({"do": "behave", "enquire_link": "answer"})).await;
    fixture.event("bound").await;
    for _ in 0..2 {
        fixture.event("enquire_link").await;
    }
    fixture.accepted(&message(1)).await;
}

#[tokio::test]
async fn without_a_connection_messages_wait_and_then_the_next_leg_goes() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Server::new();
    let patient = channel(&server, closed, &[]);
    let (_end, running) = run(&patient);
    assert!(matches!(patient.deliver(message(1)).await, Handover::Later(_)));
    running.abort();
    let impatient = channel(&server, closed, &[("patience_s", "0")]);
    let (_end, running) = run(&impatient);
    let Handover::Failed(detail) = impatient.deliver(message(1)).await else {
        panic!("it waits")
    };
    assert!(detail.as_str().starts_with("no connection to the SMSC: "), "{detail}");
    running.abort();
}

#[tokio::test]
async fn a_message_whose_life_is_over_is_not_sent() {
    let fixture = Fixture::new(json!({}), &[]).await;
    let mut late = message(1);
    late.expires_at = late.sent_at;
    // Refused, not failed: five failures would put a leg to rest that works.
    assert!(matches!(fixture.deliver(&late).await, Handover::Refused(_)));
    assert_eq!(fixture.smsc.left("submit"), 0);
}

#[tokio::test]
async fn doctor_says_that_all_is_well_with_and_without_a_session_of_its_own() {
    let mut fixture = Fixture::new(json!({}), &[]).await;
    fixture.accepted(&message(1)).await;
    let findings = fixture.channel.examine().await;
    assert!(
        findings.iter().all(|finding| finding.verdict == Verdict::Well),
        "{findings:?}"
    );
    assert_eq!(fixture.smsc.left("bound"), 0, "the session that is there was asked");
    let other = channel(&fixture.server, fixture.smsc.port(), &[]);
    let findings = other.examine().await;
    assert!(
        findings.iter().all(|finding| finding.verdict == Verdict::Well),
        "{findings:?}"
    );
    assert!(findings.len() >= 3, "{findings:?}");
    fixture.event("bound").await;
    fixture.event("unbind").await;
    fixture.event("submit").await;
    assert_eq!(fixture.smsc.left("submit"), 0, "nothing was sent to anyone");
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_what_to_do() {
    let mut smsc = Smsc::start(json!({"password": PASSWORD})).await.unwrap();
    let server = Server::new();
    let broken = async |port: u16, settings: &[(&str, &str)]| {
        let findings = channel(&server, port, settings).examine().await;
        let last = findings.last().unwrap().clone();
        assert_ne!(last.verdict, Verdict::Well, "{last:?}");
        assert!(!last.remedy.is_empty());
        for finding in &findings {
            assert!(
                !finding.found.contains(PASSWORD) && !finding.remedy.contains("wrong-pw"),
                "{finding:?}"
            );
        }
        last.found
    };
    let found = broken(smsc.port(), &[("password", "wrong-pw")]).await;
    assert!(found.contains("ESME_RINVPASWD (0x0E): wrong password"), "{found}");
    let found = broken(smsc.port(), &[("system_id", "nobody")]).await;
    assert!(found.contains("ESME_RINVSYSID"), "{found}");
    smsc.tell(json!({"do": "behave", "bind_status": 0x0D})).await.unwrap();
    let found = broken(smsc.port(), &[]).await;
    assert!(found.contains("ESME_RBINDFAIL (0x0D): the bind failed"), "{found}");
    smsc.tell(json!({"do": "behave", "bind_status": 0x05})).await.unwrap();
    let found = broken(smsc.port(), &[]).await;
    assert!(found.contains("ESME_RALYBND"), "{found}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let found = broken(closed, &[]).await;
    assert!(found.contains("no connection"), "{found}");
    let found = broken(2775, &[("host", "no-such-host.invalid")]).await;
    assert!(found.contains("can’t be resolved"), "{found}");
}

#[tokio::test]
async fn a_refused_bind_is_not_tried_again_at_once() {
    let mut smsc = Smsc::start(json!({"password": PASSWORD})).await.unwrap();
    let channel = channel(
        &Server::new(),
        smsc.port(),
        &[("password", "wrong-pw"), ("patience_s", "0")],
    );
    let (_end, running) = run(&channel);
    smsc.event("refused").await.unwrap();
    smsc.event("closed").await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(1), smsc.event("refused")).await;
    assert!(again.is_err(), "who tries too often is locked out");
    let Handover::Failed(detail) = channel.deliver(message(1)).await else {
        panic!("it waits")
    };
    assert!(detail.as_str().contains("wrong password"), "{detail}");
    running.abort();
}
