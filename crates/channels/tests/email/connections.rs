//! Connections: TLS, signing in, how they are kept, and servers that misbehave below SMTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_channels::testing::Server;
use countersign_channels::{Handover, Verdict, testing};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{ADDRESS, CODE, Certificates, Fixture, NUMBER, PASSWORD, SECRET, channel, message, server};

const SIGNED_IN: [(&str, &str); 2] = [("user", "acme"), ("password", PASSWORD)];

#[tokio::test]
async fn messages_go_over_starttls_and_over_tls_after_signing_in() {
    let certificates = Certificates::new();
    for (security, options) in [("starttls", json!({})), ("tls", json!({"tls": true}))] {
        let mut options = certificates.options(options);
        options["user"] = json!("acme");
        options["password"] = json!(PASSWORD);
        let settings = [[("security", security)].as_slice(), &SIGNED_IN].concat();
        let mut fixture = Fixture::with(certificates.trusted(), options, &settings).await;
        fixture.accepted(&message(1)).await;
        fixture.event("message").await;
        let findings = fixture.channel.examine().await;
        assert!(
            findings.iter().all(|finding| finding.verdict != Verdict::Broken),
            "{findings:?}"
        );
        assert!(
            findings[0].found.contains("good certificate, signed in as acme"),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_of_another_name_is_refused_and_nothing_is_sent() {
    let certificates = Certificates::new();
    let settings = [("security", "starttls")];
    let fixture = Fixture::with(certificates.trusted(), certificates.options(json!({})), &settings).await;
    let stranger = channel(&server(), fixture.smtp.port(), &settings);
    let another = channel(
        &certificates.trusted(),
        fixture.smtp.port(),
        &[("security", "starttls"), ("host", "127.0.0.1")],
    );
    for channel in [stranger, another] {
        let handover = channel.deliver(message(1)).await;
        assert!(
            matches!(&handover, Handover::Failed(why) if why.as_str().contains("no TLS")),
            "{handover:?}"
        );
        let findings = channel.examine().await;
        assert_eq!(findings[0].verdict, Verdict::Broken);
        assert!(findings[0].remedy.contains("extra_ca_file"), "{findings:?}");
    }
    assert_eq!(fixture.smtp.left("mail"), 0);
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_in_the_clear() {
    let mut fixture = Fixture::with(server(), json!({}), &[("security", "starttls")]).await;
    let handover = fixture.deliver(&message(1)).await;
    assert!(
        matches!(&handover, Handover::Failed(why) if why.as_str().contains("STARTTLS")),
        "{handover:?}"
    );
    let findings = fixture.channel.examine().await;
    assert!(findings[0].remedy.contains("587"), "{findings:?}");
    fixture.event("connected").await;
    assert_eq!(fixture.smtp.left("mail"), 0);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_said_once_and_a_missing_one_too() {
    let log = Log::default();
    let _guard = log.listen();
    let options = json!({"user": "acme", "password": PASSWORD});
    let wrong = [("user", "acme"), ("password", "wrong horse")];
    for settings in [wrong.as_slice(), &[]] {
        let fixture = Fixture::with(server(), options.clone(), settings).await;
        for number in 1..=3 {
            let handover = fixture.deliver(&message(number)).await;
            assert!(matches!(handover, Handover::Refused(_)), "{handover:?}");
        }
        let findings = fixture.channel.examine().await;
        assert!(
            findings
                .iter()
                .any(|finding| finding.verdict == Verdict::Broken && finding.remedy.contains("password")),
            "{findings:?}"
        );
    }
    let alarms = log.text().matches("no mail goes out").count();
    assert_eq!(alarms, 2, "one of each channel: {}", log.text());
}

#[tokio::test]
async fn a_server_that_offers_no_way_to_sign_in_gets_no_password() {
    let fixture = Fixture::with(server(), json!({}), &SIGNED_IN).await;
    let handover = fixture.deliver(&message(1)).await;
    assert!(
        matches!(&handover, Handover::Refused(why) if why.as_str().contains("AUTH")),
        "{handover:?}"
    );
}

#[tokio::test]
async fn one_connection_carries_many_messages_and_a_dead_one_is_replaced_unnoticed() {
    let mut fixture = Fixture::new().await;
    for number in 1..=3 {
        fixture.accepted(&message(number)).await;
    }
    fixture.event("connected").await;
    for _ in 1..=3 {
        fixture.event("message").await;
    }
    assert_eq!(fixture.smtp.left("connected"), 0);
    fixture.smtp.tell(json!({"do": "drop"})).await.unwrap();
    fixture.accepted(&message(4)).await;
    fixture.event("connected").await;
    fixture.event("message").await;
}

#[tokio::test]
async fn no_more_connections_are_opened_than_the_pool_has_places() {
    let mut fixture = Fixture::with(server(), json!({}), &[("pool", "2")]).await;
    assert_eq!(fixture.channel.concurrency(), 2);
    let messages: Vec<_> = (1..=8).map(message).collect();
    let sent = messages.iter().map(|message| fixture.accepted(message));
    futures_util::future::join_all(sent).await;
    for _ in 1..=8 {
        fixture.event("message").await;
    }
    assert!(fixture.smtp.left("connected") <= 2);
}

#[tokio::test]
async fn without_a_server_messages_wait_at_first_and_then_make_way() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let patient = channel(&server(), unused, &[]);
    assert!(matches!(patient.deliver(message(1)).await, Handover::Later(_)));
    let impatient = channel(&server(), unused, &[("patience_s", "0")]);
    let handover = impatient.deliver(message(2)).await;
    assert!(
        matches!(&handover, Handover::Failed(why) if why.as_str().contains("no connection")),
        "{handover:?}"
    );
    assert_eq!(impatient.examine().await[0].verdict, Verdict::Broken);
}

#[tokio::test]
async fn the_end_of_the_server_ends_free_connections() {
    let mut fixture = Fixture::new().await;
    fixture.accepted(&message(1)).await;
    let (end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&fixture.channel).run(ended));
    end.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap()
        .unwrap();
    fixture.accepted(&message(2)).await;
    fixture.event("connected").await;
    fixture.event("connected").await;
}

/// A server that says these bytes to whoever connects, after each line that it reads the next.
async fn speaks(lines: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut buffer = [0; 1_024];
            for line in &lines {
                if connection.write_all(line).await.is_err() || connection.read(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_smtp_sends_nothing_and_fails() {
    let certificates = Certificates::new();
    let page = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let endless = vec![b'x'; 2_000_000];
    // Something in the clear behind the word that TLS begins: it is taken for TLS, and refused.
    let smuggled = [
        b"220 mx ESMTP\r\n".to_vec(),
        b"250-mx\r\n250 STARTTLS\r\n".to_vec(),
        b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n".to_vec(),
    ];
    for (lines, security) in [
        (vec![page.clone()], "none"),
        (vec![page], "starttls"),
        (vec![endless.clone()], "none"),
        (vec![endless], "starttls"),
        (smuggled.to_vec(), "starttls"),
    ] {
        let port = speaks(lines).await;
        let settings = [("security", security), ("timeout_s", "5")];
        let channel = channel(&certificates.trusted(), port, &settings);
        let handover = channel.deliver(message(1)).await;
        assert!(
            matches!(handover, Handover::Failed(_) | Handover::Later(_)),
            "{handover:?}"
        );
        let findings = channel.examine().await;
        assert_eq!(findings[0].verdict, Verdict::Broken, "{findings:?}");
    }
}

#[tokio::test]
async fn a_greeting_with_a_line_of_blanks_ends_nothing_but_its_connection() {
    let certificates = Certificates::new();
    for hello in [
        "250-mx\r\n250-   \r\n250 SIZE\r\n",
        "250-mx\r\n250 \t\r\n",
        "250-mx\r\n250-\n \r\n250 SIZE\r\n",
        "250-mx\r\n250-\u{a0}\r\n250 SIZE\r\n",
    ] {
        let port = speaks(vec![b"220 mx ESMTP\r\n".to_vec(), hello.as_bytes().to_vec()]).await;
        let channel = channel(&certificates.trusted(), port, &[("timeout_s", "5")]);
        let handover = channel.deliver(message(1)).await;
        assert!(matches!(handover, Handover::Later(_)), "{hello:?}: {handover:?}");
        let findings = channel.examine().await;
        assert_eq!(findings[0].verdict, Verdict::Broken, "{findings:?}");
    }
}

#[tokio::test]
async fn the_doctor_tries_the_sender_and_says_what_is_not_checked() {
    let mut fixture = Fixture::with(server(), json!({}), &[("dsn_secret", SECRET)]).await;
    let findings = fixture.channel.examine().await;
    let text = format!("{findings:?}");
    for words in [
        "takes codes@acme.example as the sender",
        "no delivery reports (DSN)",
        "SPF",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    fixture.event("mail").await;
    assert_eq!(fixture.smtp.left("rcpt"), 0);
    fixture
        .behaves(json!({"at": "mail", "reply": "553 5.7.1 not yours"}))
        .await;
    let findings = fixture.channel.examine().await;
    let broken: Vec<_> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Broken)
        .collect();
    assert!(broken[0].found.contains("553"), "{findings:?}");
}

#[tokio::test]
async fn a_file_of_authorities_that_holds_none_is_said_at_the_start() {
    let certificates = Certificates::new();
    let mut server = Server::new();
    server.ports.extra_ca_file = Some(certificates.path("key.pem").into());
    let settings = [("host", "localhost"), ("from", "a@b.example")];
    let config = testing::config("mail", "email", &settings).unwrap();
    let Err(error) = countersign_channels::make(config, server.ports.clone()) else {
        panic!("it was made")
    };
    assert!(error.to_string().contains("holds no certificate"), "{error}");
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_max_level(tracing::Level::TRACE);
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_password_no_code_no_number_and_no_address_is_logged() {
    let log = Log::default();
    let _guard = log.listen();
    let options = json!({"user": "acme", "password": PASSWORD});
    let mut fixture = Fixture::with(server(), options, &SIGNED_IN).await;
    fixture.accepted(&message(1)).await;
    let reply = format!("550 5.7.1 <{ADDRESS}> says {CODE} is bad");
    fixture.behaves(json!({"at": "data", "reply": reply})).await;
    let refused = fixture.deliver(&message(2)).await;
    fixture
        .behaves(json!({"at": "mail", "reply": format!("550 5.7.1 {ADDRESS} no")}))
        .await;
    let sender = fixture.deliver(&message(3)).await;
    let log = log.text();
    assert!(
        log.contains("the mail server took a message") && log.contains("no mail goes out"),
        "{log}"
    );
    for secret in [PASSWORD, CODE, &NUMBER[1..], ADDRESS, "Y29ycmVjdCBob3JzZQ"] {
        let said = format!("{refused:?} {sender:?}");
        assert!(
            !log.contains(secret) && !said.contains(secret),
            "{secret} in {log} {said}"
        );
    }
}
