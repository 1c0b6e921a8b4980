//! TLS: a certificate of an authority that is trusted by file, and one that isn't. And what reaches the log.

use std::sync::{Arc, Mutex};

use countersign_channels::testing::Server;
use countersign_channels::{Verdict, testing};
use countersign_core::News;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{Fixture, NUMBER, PASSWORD, channel, message};

/// An authority, and a server's certificate of it with its key.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, pem) in [
            ("ca.pem", authority.pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn smsc(&self) -> serde_json::Value {
        json!({"key_file": self.path("key.pem"), "cert_file": self.path("cert.pem")})
    }

    fn trusted(&self) -> Server {
        let mut server = Server::new();
        server.ports.extra_ca_file = Some(self.path("ca.pem").into());
        server
    }
}

#[tokio::test]
async fn messages_go_over_tls_where_the_certificate_is_good() {
    let certificates = Certificates::new();
    let settings = [("tls", "true"), ("tls_name", "localhost")];
    let mut fixture = Fixture::with(certificates.trusted(), certificates.smsc(), &settings).await;
    fixture.accepted(&message(1)).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_of_another_name_is_refused() {
    let certificates = Certificates::new();
    let settings = [("tls", "true"), ("tls_name", "localhost")];
    let fixture = Fixture::with(certificates.trusted(), certificates.smsc(), &settings).await;
    let port = fixture.smsc.port();
    let stranger = channel(&Server::new(), port, &settings);
    let another = channel(
        &certificates.trusted(),
        port,
        &[("tls", "true"), ("tls_name", "smsc.example")],
    );
    for channel in [stranger, another] {
        let findings = channel.examine().await;
        let finding = findings.last().unwrap();
        assert_eq!(finding.verdict, Verdict::Broken);
        assert!(
            finding.found.contains("no TLS") && finding.remedy.contains("extra_ca_file"),
            "{finding:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_authorities_that_holds_none_is_said_at_the_start() {
    let certificates = Certificates::new();
    let mut server = Server::new();
    server.ports.extra_ca_file = Some(certificates.path("key.pem").into());
    let settings = [
        ("host", "localhost"),
        ("system_id", "a"),
        ("password", "b"),
        ("tls", "true"),
    ];
    let config = testing::config("sms", "smpp", &settings).unwrap();
    let Err(error) = countersign_channels::make(config, server.ports.clone()) else {
        panic!("it was made")
    };
    assert!(error.to_string().contains("holds no certificate"), "{error}");
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
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
async fn no_password_no_code_and_no_number_is_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let mut fixture = Fixture::new(json!({}), &[]).await;
    let message = message(1);
    fixture.accepted(&message).await;
    assert_eq!(fixture.next().await, (News::Delivered, 1));
    fixture.tell(json!({"do": "behave", "submit_status": 0x0B})).await;
    let refused = fixture.deliver(&message).await;
    fixture
        .tell(json!({"do": "message", "from": &NUMBER[1..], "text": "STOP"}))
        .await;
    fixture.event("message_answer").await;
    fixture.tell(json!({"do": "drop"})).await;
    fixture.event("bound").await;
    fixture.end().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("bound to the message centre"), "{log}");
    for secret in [PASSWORD, message.code.as_str(), &NUMBER[1..]] {
        assert!(
            !log.contains(secret) && !format!("{refused:?}").contains(secret),
            "{secret} in {log}"
        );
    }
}
