//! The channel `sms_http` against programs that others wrote: Prism, which holds its requests against Twilio's own OpenAPI description,
//! and Twilio's helper library, which signs calls (`e2e/node/twilio.js`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::testing::twilio::Twilio;
use countersign_channels::testing::{self, Server};
use countersign_channels::{Channel, Handover, LoginPrompt, MessageKey, OutgoingMessage, Verdict, WebhookCall, make};
use countersign_core::{News, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
const TOKEN: &str = "an-auth-token-of-tests";
const PHONE: &str = "+4915123456789";
const PUBLIC: &str = "https://gateway.example";
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    twilio: Twilio,
    server: Server,
    channel: Arc<dyn Channel>,
}

impl World {
    async fn new(more: &[(&str, &str)]) -> Self {
        let twilio = Twilio::start().await.unwrap();
        let mut server = Server::new();
        server.ports.public_url = Some(PUBLIC.to_owned());
        let url = twilio.url();
        let mut settings = vec![
            ("account_sid", ACCOUNT),
            ("auth_token", TOKEN),
            ("base_url", url.as_str()),
            ("text", "Ваш код: {code} & more"),
        ];
        settings.extend(more);
        let config = testing::config("sms", "sms_http", &settings).unwrap();
        let channel = make(config, server.ports.clone()).unwrap();
        Self {
            twilio,
            server,
            channel,
        }
    }

    /// The next request that Prism saw. The description has nothing against it.
    async fn request(&mut self) -> Value {
        let request = self.twilio.request().await.unwrap();
        assert_eq!(request["violations"], "", "{request}");
        request
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap())
}

fn message() -> OutgoingMessage {
    testing::message(1, PHONE, "123456", now()).unwrap()
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

#[tokio::test]
async fn every_way_to_send_agrees_with_twilios_own_description() {
    let ways: [&[(&str, &str)]; 3] = [
        &[
            ("from", "+15551234567"),
            ("callbacks", "true"),
            ("risk_check", "enable"),
        ],
        &[("messaging_service_sid", SERVICE), ("callbacks", "true")],
        &[("from", "Acme"), ("messaging_service_sid", SERVICE)],
    ];
    for way in ways {
        let mut world = World::new(way).await;
        let sent = message();
        let handover = world.channel.deliver(sent.clone()).await;
        assert!(matches!(&handover, Handover::Accepted(Some(_))), "{handover:?}");
        let request = world.request().await;
        assert_eq!((&request["method"], &request["status"]), (&json!("POST"), &json!(201)));
        let parameters = &request["parameters"];
        assert_eq!(parameters["To"], PHONE);
        assert_eq!(parameters["Body"], "Ваш код: 123456 & more");
        let callback = way.contains(&("callbacks", "true"));
        let expected = format!("{PUBLIC}/channels/sms/status?m={}", key_of(&sent));
        assert_eq!(
            parameters.get("StatusCallback").is_some_and(|url| *url == expected),
            callback
        );
        world.twilio.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_sign_in_agrees_with_the_description_as_well() {
    let mut world = World::new(&[("from", "+15551234567"), ("callbacks", "true")]).await;
    let message = message();
    let prompt = LoginPrompt {
        attempt: 5,
        phone: message.phone,
        code: message.code,
        device: "Firefox".to_owned(),
        address: "192.0.2.1".to_owned(),
        at: message.sent_at,
        expires_at: message.expires_at,
    };
    let handover = world.channel.deliver_login(prompt).await;
    assert!(matches!(&handover, Handover::Accepted(Some(_))), "{handover:?}");
    assert_eq!(world.request().await["status"], 201);
    world.twilio.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_breaks_the_description_is_refused_so_the_others_say_something() {
    let mut world = World::new(&[("from", "+15551234567")]).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", world.twilio.url());
    let right = [("To", PHONE), ("From", "Acme"), ("Body", "x"), ("ValidityPeriod", "30")];
    let wrong: [&[(&str, &str)]; 5] = [
        &[("From", "Acme"), ("Body", "x")],
        &[("To", PHONE), ("ValidityPeriod", "soon")],
        &[("To", PHONE), ("MessagingServiceSid", "MG1")],
        &[("To", PHONE), ("RiskCheck", "off")],
        &[("To", PHONE), ("Validity", "30")],
    ];
    for form in wrong {
        let answer = client
            .post(&url)
            .basic_auth(ACCOUNT, Some(TOKEN))
            .form(form)
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 422, "{form:?}");
        let seen = world.twilio.request().await.unwrap();
        assert_ne!(seen["violations"], "", "{seen}");
    }
    let unsigned = client.post(&url).form(&right).send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    world.twilio.request().await.unwrap();
    let answer = client
        .post(&url)
        .basic_auth(ACCOUNT, Some(TOKEN))
        .form(&right)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
    assert_eq!(world.request().await["violations"], "");
    world.twilio.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_twilios_usual_one_is_a_refusal() {
    let mut world = World::new(&[("from", "+15551234567"), ("account_sid", ACCOUNT)]).await;
    // The description asks for 32 hexadecimal digits, as our settings do: so the account is right, and a path isn't.
    world.server.ports.public_url = None;
    let config = testing::config(
        "sms",
        "sms_http",
        &[
            ("account_sid", ACCOUNT),
            ("auth_token", TOKEN),
            ("base_url", &format!("{}/nowhere", world.twilio.url())),
            ("from", "Acme"),
        ],
    );
    let channel = make(config.unwrap(), world.server.ports.clone()).unwrap();
    let handover = channel.deliver(message()).await;
    assert!(matches!(&handover, Handover::Refused(_)), "{handover:?}");
    assert_eq!(world.twilio.request().await.unwrap()["status"], 404);
    world.twilio.stop().await.unwrap();
}

#[tokio::test]
async fn asking_for_a_message_agrees_with_the_description() {
    let mut world = World::new(&[("from", "+15551234567"), ("poll_s", "1")]).await;
    let (end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&world.channel).run(ended));
    let handover = world.channel.deliver(message()).await;
    let Handover::Accepted(Some(handle)) = handover else {
        panic!("{handover:?}")
    };
    world.request().await;
    let asked = tokio::time::timeout(PATIENCE, world.request()).await.unwrap();
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}.json", handle.as_str());
    assert_eq!(
        (&asked["method"], &asked["path"], &asked["status"]),
        (&json!("GET"), &json!(path), &json!(200))
    );
    end.send(true).unwrap();
    running.await.unwrap();
    world.twilio.stop().await.unwrap();
}

#[tokio::test]
async fn the_examination_agrees_with_the_description_and_finds_the_account_active() {
    let mut world = World::new(&[("from", "+15551234567")]).await;
    let findings = world.channel.examine().await;
    assert!(findings[0].found.contains("takes the credentials"), "{findings:?}");
    assert_ne!(findings[0].verdict, Verdict::Broken, "{findings:?}");
    assert_eq!(world.request().await["method"], "GET");
    assert_eq!(world.request().await["method"], "GET");
    world.twilio.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_twilios_own_library_signs_is_believed_and_no_other() {
    let mut world = World::new(&[("from", "+15551234567"), ("callbacks", "true")]).await;
    let sent = message();
    let query = format!("m={}", key_of(&sent));
    let fields = BTreeMap::from([
        ("MessageSid", "SM00000000000000000000000000000001"),
        ("MessageStatus", "delivered"),
        ("To", PHONE),
        ("Ü & more", "ä = ü"),
    ]);
    let url = format!("{PUBLIC}/channels/sms/status?{query}");
    let form: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let encode = |text: &str| -> String {
                text.bytes()
                    .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
            };
            format!("{}={}", encode(name), encode(value))
        })
        .collect();
    let call = |signature: String| WebhookCall {
        path: "status".to_owned(),
        query: query.clone(),
        headers: vec![("x-twilio-signature".to_owned(), signature)],
        body: form.join("&").into_bytes(),
        ..WebhookCall::default()
    };
    let signature = world.twilio.sign(TOKEN, &url, &fields).await.unwrap();
    assert!(world.twilio.validate(TOKEN, &url, &fields, &signature).await.unwrap());
    for other in [
        world.twilio.sign("another-token", &url, &fields).await.unwrap(),
        world.twilio.sign(TOKEN, &format!("{url}0"), &fields).await.unwrap(),
        world.twilio.sign(TOKEN, &url, &BTreeMap::new()).await.unwrap(),
    ] {
        assert!(!world.twilio.validate(TOKEN, &url, &fields, &other).await.unwrap());
        assert_eq!(world.channel.receive(call(other)).await.status, 401);
    }
    assert!(world.server.news.try_recv().is_err());
    assert_eq!(world.channel.receive(call(signature)).await.status, 200);
    let news = world.server.news.recv().await.unwrap();
    assert_eq!((news.request, news.news), (sent.request, News::Delivered));
    // With the usual port in the address Twilio's library signs another text, and both are Twilio's.
    let with_port = url.replace(PUBLIC, &format!("{PUBLIC}:443"));
    let signature = world.twilio.sign(TOKEN, &with_port, &fields).await.unwrap();
    assert!(world.twilio.validate(TOKEN, &url, &fields, &signature).await.unwrap());
    assert_eq!(world.channel.receive(call(signature)).await.status, 200);
    world.twilio.stop().await.unwrap();
}
