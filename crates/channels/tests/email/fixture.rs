//! A channel, the server that lends to it, and the mail server that it talks to.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::testing::smtp::Smtp;
use countersign_channels::testing::{self, Server};
use countersign_channels::{
    Channel, ChannelNews, Handover, LoginPrompt, MessageKey, OutgoingMessage, Recipient, Recipients as _,
    WebhookAnswer, WebhookCall, make,
};
use countersign_core::{Code, EmailAddress, LegName, PhoneNumber, SandboxNumbers, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

pub(crate) const NUMBER: &str = "+4915123456789";
pub(crate) const ADDRESS: &str = "ida@example.com";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const SECRET: &str = "a-secret-of-the-pipe";
pub(crate) const CODE: &str = "482913";

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) smtp: Smtp,
    pub(crate) channel: Arc<dyn Channel>,
}

impl Fixture {
    /// In the clear, on this machine.
    pub(crate) async fn new() -> Self {
        Self::with(server(), json!({}), &[]).await
    }

    pub(crate) async fn with(server: Server, options: Value, settings: &[(&str, &str)]) -> Self {
        let smtp = Smtp::start(options).await.unwrap();
        let channel = channel(&server, smtp.port(), settings);
        Self { server, smtp, channel }
    }

    pub(crate) async fn deliver(&self, message: &OutgoingMessage) -> Handover {
        self.channel.deliver(message.clone()).await
    }

    pub(crate) async fn accepted(&self, message: &OutgoingMessage) {
        let handover = self.deliver(message).await;
        assert!(matches!(handover, Handover::Accepted(Some(_))), "{handover:?}");
    }

    pub(crate) async fn behaves(&mut self, how: Value) {
        let mut command = json!({"do": "behave"});
        let (Value::Object(command), Value::Object(how)) = (&mut command, how) else {
            unreachable!()
        };
        command.extend(how);
        self.smtp.tell(Value::Object(command.clone())).await.unwrap();
    }

    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        self.smtp.event(kind).await.unwrap()
    }

    pub(crate) async fn news(&mut self) -> ChannelNews {
        let news = tokio::time::timeout(Duration::from_secs(30), self.server.news.recv());
        news.await.expect("news come in time").expect("the channel lives")
    }

    pub(crate) async fn call(&self, call: WebhookCall) -> WebhookAnswer {
        self.channel.receive(call).await
    }

    /// The operator's book says where that number reads mail.
    pub(crate) async fn notes(&self, address: &str, stopped: bool) {
        let recipient = Recipient {
            phone: phone(),
            address: address.to_owned(),
            stopped,
            since: now(),
        };
        self.server.books.put(&name(), recipient).await.unwrap();
    }
}

pub(crate) fn name() -> LegName {
    LegName::parse("mail").unwrap()
}

pub(crate) fn phone() -> PhoneNumber {
    PhoneNumber::parse(NUMBER, SandboxNumbers::Refused).unwrap()
}

/// A server that recipients reach.
pub(crate) fn server() -> Server {
    let mut server = Server::new();
    server.ports.public_url = Some("https://verify.example".to_owned());
    server
}

/// A channel that talks to a port of this machine.
pub(crate) fn channel(server: &Server, port: u16, settings: &[(&str, &str)]) -> Arc<dyn Channel> {
    let port = port.to_string();
    let mut all = vec![
        ("host", "localhost"),
        ("port", port.as_str()),
        ("security", "none"),
        ("from", "Acme <codes@acme.example>"),
    ];
    all.retain(|(key, _)| settings.iter().all(|(other, _)| other != key));
    all.extend_from_slice(settings);
    let config = testing::config("mail", "email", &all).unwrap();
    make(config, server.ports.clone()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Timestamp::from_millis(i64::try_from(now).unwrap())
}

/// A message to an address that the account gave, with the number of its request; it lives for five minutes from now.
pub(crate) fn message(number: u64) -> OutgoingMessage {
    message_to(number, ADDRESS)
}

pub(crate) fn message_to(number: u64, address: &str) -> OutgoingMessage {
    let mut message = testing::message(number, NUMBER, CODE, now()).unwrap();
    message.email = Some(EmailAddress::parse(address).unwrap());
    message
}

pub(crate) fn key(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

pub(crate) fn prompt() -> LoginPrompt {
    LoginPrompt {
        attempt: 77,
        phone: phone(),
        code: Code::parse(CODE).unwrap(),
        device: "Firefox <on> Linux".to_owned(),
        address: "203.0.113.9".to_owned(),
        at: now(),
        expires_at: now().plus_millis(300_000),
    }
}

/// A header of a message that came, if there is one.
pub(crate) fn header(message: &Value, name: &str) -> Option<String> {
    let headers = message["headers"].as_array().unwrap();
    let found = headers
        .iter()
        .find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.map(|header| header[1].as_str().unwrap().to_owned())
}

/// An authority, and a server's certificate of it with its key.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
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

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn options(&self, more: Value) -> Value {
        let mut options = json!({"key_file": self.path("key.pem"), "cert_file": self.path("cert.pem")});
        let (Some(options), Value::Object(more)) = (options.as_object_mut(), more) else {
            unreachable!()
        };
        options.extend(more);
        Value::Object(options.clone())
    }

    pub(crate) fn trusted(&self) -> Server {
        let mut server = server();
        server.ports.extra_ca_file = Some(self.path("ca.pem").into());
        server
    }
}
