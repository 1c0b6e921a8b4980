//! The channel against a Cloud API that misbehaves as it is told. What it sends and takes is held against what others wrote in
//! `e2e/tests/channel_whatsapp.rs`.

mod doctor;
mod logs;
mod settings;
mod webhooks;

use std::sync::Arc;

use countersign_core::{Code, Locale, News, SandboxNumbers};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::fake::{Fake, PATIENCE, Reaction};
use crate::ports::Handle;
use crate::testing::{Server, config, destination, message};
use crate::{ChannelNews, LoginReply, Verdict};

const NUMBER_ID: &str = "106540352242922";
const ACCOUNT_ID: &str = "102290129340398";
const TOKEN: &str = "EAAJB-a-token-of-a-system-user";
const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const VERIFY_TOKEN: &str = "a-word-that-nobody-guesses";
const PHONE: &str = "+391234567890";

/// A channel, the other side, and the server that has both.
struct World {
    fake: Fake,
    server: Server,
    channel: Arc<dyn Channel>,
}

impl World {
    async fn new() -> Self {
        Self::with(&[], Some("https://codes.example")).await
    }

    async fn with(values: &[(&str, &str)], public_url: Option<&str>) -> Self {
        let fake = Fake::start().await;
        let mut server = Server::new();
        server.ports.public_url = public_url.map(str::to_owned);
        let channel = channel(&fake.url, &server, values).unwrap();
        Self { fake, server, channel }
    }

    /// The same books and the same other side after a restart.
    fn restart(&mut self) {
        self.server = Server::with(Arc::clone(&self.server.books));
        self.channel = channel(&self.fake.url, &self.server, &[]).unwrap();
    }

    async fn deliver(&self) -> Handover {
        self.channel.deliver(message_of(1)).await
    }

    /// Delivers a message that is taken under that name.
    async fn deliver_as(&self, message: OutgoingMessage, id: &str) {
        self.fake.will([took(id)]);
        assert_eq!(self.channel.deliver(message).await, accepted(id));
    }

    async fn news(&mut self) -> ChannelNews {
        tokio::time::timeout(PATIENCE, self.server.news.recv())
            .await
            .unwrap()
            .unwrap()
    }

    fn is_quiet(&mut self) -> bool {
        self.server.news.try_recv().is_err()
    }

    async fn reach(&self) -> Reach {
        self.channel.reach(&destination(&message_of(1))).await
    }
}

fn channel(url: &str, server: &Server, values: &[(&str, &str)]) -> Result<Arc<dyn Channel>, ConfigError> {
    let mut settings = vec![
        ("phone_number_id", NUMBER_ID),
        ("access_token", TOKEN),
        ("app_secret", APP_SECRET),
        ("verify_token", VERIFY_TOKEN),
        ("template", "verification_code"),
        ("base_url", url),
    ];
    settings.extend(values);
    make(config("wa", KIND, &settings).unwrap(), server.ports.clone())
}

/// A message that was sent just now.
fn message_of(number: u64) -> OutgoingMessage {
    message(number, PHONE, "123456", clock::now()).unwrap()
}

fn took(id: &str) -> Reaction {
    let body = json!({
        "messaging_product": "whatsapp", "contacts": [{ "input": PHONE, "wa_id": "391234567890" }],
        "messages": [{ "id": id, "message_status": "accepted" }],
    });
    Reaction::Say(200, body.to_string())
}

fn error_body(code: i64) -> String {
    let message = format!("(#{code}) something about {PHONE}");
    json!({ "error": { "message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A1" } }).to_string()
}

fn error(status: u16, code: i64) -> Reaction {
    Reaction::Say(status, error_body(code))
}

fn accepted(id: &str) -> Handover {
    Handover::Accepted(Handle::new(id))
}

fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, SandboxNumbers::Refused).unwrap()
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

/// Lets time pass at once.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn is_failed(handover: &Handover) -> bool {
    matches!(handover, Handover::Failed(_))
}

#[tokio::test]
async fn a_code_goes_out_in_the_template_with_its_button() {
    let mut world = World::new().await;
    let message = OutgoingMessage {
        locale: Locale::parse("pt-PT"),
        ..message_of(1)
    };
    let key = key_of(&message);
    world.deliver_as(message, "wamid.A").await;
    let call = world.fake.call().await;
    assert_eq!(call.verb, "POST");
    assert_eq!(call.target, format!("/v25.0/{NUMBER_ID}/messages"));
    assert_eq!(call.headers["authorization"], format!("Bearer {TOKEN}"));
    let code = json!([{ "type": "text", "text": "123456" }]);
    let expected = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": PHONE,
        "type": "template",
        "template": {
            "name": "verification_code",
            "language": { "code": "pt_BR" },
            "components": [
                { "type": "body", "parameters": code },
                { "type": "button", "sub_type": "url", "index": "0", "parameters": code },
            ],
        },
        "biz_opaque_callback_data": key.to_string(),
    });
    assert_eq!(call.json(), expected);
}

#[tokio::test]
async fn a_sign_in_gets_its_code_the_same_way() {
    let mut world = World::new().await;
    world.fake.will([took("wamid.L")]);
    let prompt = LoginPrompt {
        attempt: 77,
        phone: phone(PHONE),
        code: Code::parse("4711").unwrap(),
        device: "Firefox".to_owned(),
        address: "203.0.113.7".to_owned(),
        at: clock::now(),
        expires_at: clock::now().plus_millis(60_000),
    };
    assert_eq!(world.channel.deliver_login(prompt).await, accepted("wamid.L"));
    let sent = world.fake.call().await.json();
    assert_eq!(sent["template"]["components"][0]["parameters"][0]["text"], "4711");
    assert_eq!(sent["biz_opaque_callback_data"], "cs1.login.77");
}

#[tokio::test]
async fn a_number_without_whatsapp_is_passed_over_for_hours() {
    let mut world = World::new().await;
    world.fake.will([error(400, 131_026)]);
    assert!(matches!(world.deliver().await, Handover::CannotReach(detail) if detail.as_str().starts_with("131026")));
    assert_eq!(world.reach().await, Reach::Unreachable);
    world.fake.call().await;
    assert!(matches!(world.deliver().await, Handover::CannotReach(_)));
    assert!(world.fake.was_not_called(), "it isn’t asked again");
    pass(6 * 3_600).await;
    assert_eq!(world.reach().await, Reach::Reachable);
}

#[tokio::test]
async fn numbers_that_the_operator_can_let_in_are_not_remembered() {
    let world = World::new().await;
    for code in [131_030, 131_021, 130_497] {
        world.fake.will([error(400, code)]);
        assert!(matches!(world.deliver().await, Handover::CannotReach(_)), "{code}");
        assert_eq!(world.reach().await, Reach::Reachable, "{code}");
    }
}

#[tokio::test]
async fn throttling_holds_all_messages_back_and_nothing_was_sent() {
    let mut world = World::new().await;
    world.fake.will([error(429, 130_429)]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(1)));
    world.fake.call().await;
    let other = message(2, "+4915123456789", "123456", clock::now()).unwrap();
    let rest = world.channel.deliver(other.clone()).await;
    assert!(
        matches!(rest, Handover::Later(rest) if rest <= Duration::from_secs(1)),
        "{rest:?}"
    );
    assert!(world.fake.was_not_called());
    pass(1).await;
    world.deliver_as(other, "wamid.B").await;
}

#[tokio::test]
async fn a_pause_that_whatsapp_names_is_kept() {
    let world = World::new().await;
    for (code, header) in [(80_007, "retry-after: 70\r\n"), (4, "retry-after: 90\r\n")] {
        world.fake.will([Reaction::SayWith(429, header, error_body(code))]);
        let seconds = if code == 4 { 90 } else { 70 };
        assert_eq!(
            world.deliver().await,
            Handover::Later(Duration::from_secs(seconds)),
            "{code}"
        );
        pass(seconds).await;
    }
    world.fake.will([Reaction::Say(429, "<html>".to_owned())]);
    assert!(matches!(world.deliver().await, Handover::Later(_)));
}

#[tokio::test]
async fn too_many_messages_to_one_number_hold_back_that_number_alone() {
    let world = World::new().await;
    world.fake.will([error(400, 131_056)]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(10)));
    assert!(matches!(world.deliver().await, Handover::Later(_)));
    let other = message(2, "+4915123456789", "123456", clock::now()).unwrap();
    world.deliver_as(other, "wamid.B").await;
}

#[tokio::test]
async fn a_message_does_not_wait_for_a_moment_that_is_too_late() {
    let world = World::new().await;
    let short = OutgoingMessage {
        expires_at: clock::now().plus_millis(60_000),
        ..message_of(1)
    };
    world.fake.will([error(429, 80_007)]);
    assert!(matches!(
        world.channel.deliver(short.clone()).await,
        Handover::Refused(_)
    ));
    let over = OutgoingMessage {
        expires_at: clock::now(),
        ..short
    };
    assert!(matches!(world.channel.deliver(over).await, Handover::Refused(_)));
}

#[tokio::test]
async fn what_the_operator_must_mend_is_a_refusal() {
    let world = World::new().await;
    for code in [
        0, 10, 190, 200, 299, 368, 131_005, 131_031, 131_042, 132_000, 132_001, 132_015, 132_016, 100,
    ] {
        world.fake.will([error(400, code)]);
        let handover = world.deliver().await;
        let Handover::Refused(detail) = handover else {
            panic!("{code}: {handover:?}")
        };
        assert!(detail.as_str().starts_with(&format!("{code}: ")), "{detail:?}");
        assert!(!detail.as_str().contains("1234567890"), "{detail:?}");
    }
    world.fake.will([error(400, 999_999)]);
    assert_eq!(world.deliver().await, Handover::Refused(Detail::new("error 999999")));
}

#[tokio::test]
async fn what_may_have_been_sent_is_a_failure_and_not_sent_again() {
    let world = World::with(&[("timeout_s", "1")], None).await;
    let reactions = [
        error(500, 131_000),
        error(503, 131_016),
        error(500, 1),
        error(503, 2),
        error(500, 999_999),
        Reaction::Say(502, "<html>Bad gateway</html>".to_owned()),
        Reaction::Say(200, "{}".to_owned()),
        Reaction::Say(200, r#"{"messages":[]}"#.to_owned()),
        Reaction::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"messages\":[{".to_vec()),
        Reaction::Write(b"\x00\x01garbage\r\n\r\n".to_vec()),
        Reaction::Say(200, "x".repeat(600 * 1024)),
        Reaction::Close,
        Reaction::Hang,
    ];
    for reaction in reactions {
        let what = format!("{reaction:?}").chars().take(60).collect::<String>();
        world.fake.will([reaction]);
        let handover = world.deliver().await;
        assert!(is_failed(&handover), "{what}: {handover:?}");
    }
    assert_eq!(world.reach().await, Reach::Reachable);
}

#[tokio::test]
async fn nobody_who_listens_is_a_failure_without_secrets() {
    let server = Server::new();
    let channel = channel("http://127.0.0.1:9", &server, &[]).unwrap();
    let handover = channel.deliver(message_of(1)).await;
    let shown = format!("{handover:?}");
    assert!(
        is_failed(&handover) && !shown.contains(NUMBER_ID) && !shown.contains(TOKEN),
        "{shown}"
    );
}

#[tokio::test]
async fn a_message_waits_while_the_books_cannot_say_whether_its_recipient_left() {
    let mut world = World::new().await;
    world.server.books.set_in_trouble(true);
    assert_eq!(world.deliver().await, Handover::Later(AGAIN));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn a_message_that_is_held_back_was_taken() {
    let world = World::new().await;
    for status in ["held_for_quality_assessment", "paused", "something new"] {
        let body = json!({ "messages": [{ "id": "wamid.H", "message_status": status }] });
        world.fake.will([Reaction::Say(200, body.to_string())]);
        assert_eq!(world.deliver().await, accepted("wamid.H"), "{status}");
    }
}

#[tokio::test]
async fn a_name_too_long_to_be_kept_is_no_obstacle() {
    let world = World::new().await;
    world.fake.will([took(&"w".repeat(200))]);
    assert_eq!(world.deliver().await, Handover::Accepted(None));
}
