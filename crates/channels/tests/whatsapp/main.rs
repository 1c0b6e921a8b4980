//! The channel `whatsapp` against what others know of the Cloud API: the Python library `pywa` posts the same messages, takes the same
//! signatures for genuine, and reads the same out of updates. `./test` makes its environment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_channels::testing::cloud_api::{CloudApi, Signed};
use countersign_channels::testing::{Server, config, destination, message};
use countersign_channels::{Channel, Handle, Handover, MessageKey, OutgoingMessage, WebhookAnswer, WebhookCall, make};
use countersign_core::{Locale, News, Reach, Timestamp};
use serde_json::{Value, json};

const NUMBER_ID: &str = "106540352242922";
const TOKEN: &str = "EAAJB-a-token";
const APP_SECRET: &str = "41678a4f0123456789abcdef";
const VERIFY_TOKEN: &str = "a-word-that-nobody-guesses";
const PHONE: &str = "+391234567890";
const WA_ID: &str = "391234567890";
/// Where one is expected, it comes within that time or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// A channel between a Cloud API and a server.
struct World {
    api: CloudApi,
    server: Server,
    channel: Arc<dyn Channel>,
}

impl World {
    async fn new() -> Self {
        let options = json!({
            "phone_number_id": NUMBER_ID, "access_token": TOKEN, "app_secret": APP_SECRET, "verify_token": VERIFY_TOKEN,
        });
        let (api, server) = (CloudApi::start(&options).await.unwrap(), Server::new());
        let settings = [
            ("phone_number_id", NUMBER_ID),
            ("access_token", TOKEN),
            ("app_secret", APP_SECRET),
            ("verify_token", VERIFY_TOKEN),
            ("template", "verification_code"),
            ("languages", "en_US,de,pt_BR,ar,zh_CN"),
            ("base_url", api.url()),
        ];
        let channel = make(config("wa", "whatsapp", &settings).unwrap(), server.ports.clone()).unwrap();
        Self { api, server, channel }
    }

    /// Delivers a message; what the Cloud API saw of it.
    async fn send(&mut self, message: &OutgoingMessage) -> Value {
        let handover = self.channel.deliver(message.clone()).await;
        let expected = Handle::new(&format!("wamid.{}", message.phone.digits()));
        assert_eq!(handover, Handover::Accepted(expected));
        self.api.sent().await.unwrap()
    }

    async fn post(&self, signed: &Signed) -> WebhookAnswer {
        let call = WebhookCall {
            path: "webhook".to_owned(),
            headers: vec![signed.header.clone()],
            body: signed.body.clone().into_bytes(),
            ..WebhookCall::default()
        };
        self.channel.receive(call).await
    }

    /// Meta posts one status or one message; what `pywa` reads out of it.
    async fn update(&mut self, kind: &str, object: Value) -> Value {
        let update = json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": "102290129340398", "changes": [{ "field": "messages", "value": {
                "messaging_product": "whatsapp",
                "metadata": { "display_phone_number": "15550783881", "phone_number_id": NUMBER_ID },
                "contacts": [{ "profile": { "name": "Ida" }, "wa_id": WA_ID, "user_id": "IT.13491208655302741918" }],
                kind: [object],
            }}]}],
        });
        let signed = self.api.signs(&update).await.unwrap();
        assert_eq!(self.post(&signed).await, WebhookAnswer::status(200));
        let [read] = signed.read.as_slice() else {
            panic!("{:?}", signed.read)
        };
        read.clone()
    }

    async fn news(&mut self) -> (News, Option<String>) {
        let news = tokio::time::timeout(PATIENCE, self.server.news.recv()).await;
        let news = news.unwrap().unwrap();
        (news.news, news.detail.map(|detail| detail.as_str().to_owned()))
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn code_message(number: u64) -> OutgoingMessage {
    message(number, PHONE, "482913", now()).unwrap()
}

fn name_of(message: &OutgoingMessage) -> String {
    let key = MessageKey {
        account: message.account,
        request: message.request,
    };
    key.to_string()
}

/// `pywa` writes the names of types in capitals and counts buttons with numbers; Meta's pages write them small, and count with texts of
/// digits. Everything else must be the same.
fn as_meta_writes(mut theirs: Value) -> Value {
    let components = theirs["template"]["components"].as_array_mut().unwrap();
    for component in components {
        for key in ["type", "sub_type", "index"] {
            if let Some(value) = component.get_mut(key) {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_lowercase);
                *value = json!(text);
            }
        }
    }
    theirs
}

#[tokio::test]
async fn the_channel_posts_what_pywa_posts_for_the_same_template() {
    let mut world = World::new().await;
    for (number, locale, code) in [
        (1, "en-GB", "en_US"),
        (2, "pt", "pt_BR"),
        (3, "ar-EG", "ar"),
        (4, "zh", "zh_CN"),
    ] {
        let message = OutgoingMessage {
            locale: Locale::parse(locale),
            ..code_message(number)
        };
        let seen = world.send(&message).await;
        assert_eq!(seen["ours"], as_meta_writes(seen["theirs"].clone()), "{locale}");
        assert_eq!(seen["ours"]["template"]["language"]["code"], code);
        assert_eq!(seen["path"], format!("/v25.0/{NUMBER_ID}/messages"));
        assert_eq!(seen["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(seen["content_type"], "application/json");
    }
}

#[tokio::test]
async fn the_docs_page_creates_the_template_that_pywa_creates() {
    let mut world = World::new().await;
    let page = include_str!("../../../../docs/channel-whatsapp.md");
    let (_, call) = page.split_once("application/json\" -d '\n").unwrap();
    let (body, _) = call.split_once("'\n```").unwrap();
    let ours: Value = serde_json::from_str(body).unwrap();
    assert_eq!(ours, world.api.creates("verification_code", "en").await.unwrap());
}

#[tokio::test]
async fn pywa_and_the_channel_put_errors_into_the_same_families() {
    let mut world = World::new().await;
    let cases = [
        (4, "ThrottlingError"),
        (80_007, "ThrottlingError"),
        (130_429, "ThrottlingError"),
        (131_056, "ThrottlingError"),
        (133_016, "ThrottlingError"),
        (0, "AuthorizationError"),
        (3, "AuthorizationError"),
        (10, "AuthorizationError"),
        (190, "AuthorizationError"),
        (200, "AuthorizationError"),
        (299, "AuthorizationError"),
        (368, "IntegrityError"),
        (131_031, "IntegrityError"),
        (131_042, "BusinessPaymentIssue"),
        (131_005, "AccessDenied"),
        (132_000, "TemplateParamCountMismatch"),
        (132_001, "TemplateNotExists"),
        (132_015, "TemplatePaused"),
        (132_016, "TemplateDisabled"),
        (131_026, "MessageUndeliverable"),
        (131_030, "RecipientNotInAllowedList"),
        (131_021, "RecipientCannotBeSender"),
        (131_000, "UnknownError"),
        (131_016, "ServiceUnavailable"),
        (135_000, "GenericError"),
    ];
    for (number, (code, name)) in (1_u64..).zip(cases) {
        // A number of its own: pauses and memory must not meet.
        let phone = format!("+3912345678{number:02}");
        let message = message(number, &phone, "482913", now()).unwrap();
        let names = world.api.refuses(400, code).await.unwrap();
        assert!(names.iter().any(|of| of == name), "{code}: {names:?}");
        let handover = world.channel.deliver(message).await;
        let fits = match name {
            "ThrottlingError" => matches!(handover, Handover::Later(_)),
            "MessageUndeliverable" | "RecipientNotInAllowedList" | "RecipientCannotBeSender" => {
                matches!(handover, Handover::CannotReach(_))
            }
            "UnknownError" | "ServiceUnavailable" | "GenericError" => matches!(handover, Handover::Failed(_)),
            _ => matches!(handover, Handover::Refused(_)),
        };
        assert!(fits, "{code} {name}: {handover:?}");
        if let Handover::Later(pause) = handover {
            tokio::time::pause();
            tokio::time::advance(pause).await;
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn statuses_say_to_the_channel_what_they_say_to_pywa() {
    let mut world = World::new().await;
    let message = code_message(1);
    world.send(&message).await;
    let name = name_of(&message);
    let status = |word: &str| {
        json!({
            "id": format!("wamid.{WA_ID}"), "status": word, "timestamp": "1790000000", "recipient_id": WA_ID,
            "recipient_user_id": "IT.13491208655302741918", "biz_opaque_callback_data": name,
            "pricing": { "billable": true, "pricing_model": "PMP", "category": "authentication", "type": "regular" },
        })
    };
    for (word, news) in [
        ("sent", None),
        ("delivered", Some(News::Delivered)),
        ("read", Some(News::Read)),
    ] {
        let read = world.update("statuses", status(word)).await;
        assert_eq!((&read["status"], &read["data"]), (&json!(word), &json!(name)));
        if let Some(news) = news {
            assert_eq!(world.news().await, (news, None));
        }
    }
    let other = code_message(2);
    world.send(&other).await;
    let mut failed = status("failed");
    failed["biz_opaque_callback_data"] = json!(name_of(&other));
    failed["errors"] =
        json!([{ "code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable" }]);
    let read = world.update("statuses", failed).await;
    assert_eq!(read["code"], 131_026);
    let (news, detail) = world.news().await;
    assert_eq!(news, News::Failed);
    assert!(detail.unwrap().starts_with("131026: not on WhatsApp"));
    assert_eq!(world.channel.reach(&destination(&other)).await, Reach::Unreachable);
}

#[tokio::test]
async fn what_people_write_and_press_is_read_as_pywa_reads_it() {
    let mut world = World::new().await;
    let (first, second) = (code_message(1), message(2, "+391234567891", "482913", now()).unwrap());
    world.send(&first).await;
    let written = |words: &str| {
        json!({
            "from": WA_ID, "from_user_id": "IT.13491208655302741918", "id": "wamid.IN",
            "timestamp": now().unix_seconds().to_string(), "type": "text", "text": { "body": words },
        })
    };
    let read = world.update("messages", written("It wasn't me")).await;
    assert_eq!(
        (&read["kind"], &read["from"], &read["text"]),
        (&json!("text"), &json!(WA_ID), &json!("It wasn't me"))
    );
    assert_eq!(world.news().await, (News::Disowned, None));

    world.update("messages", written("STOP")).await;
    assert_eq!(world.channel.reach(&destination(&first)).await, Reach::Unreachable);
    world.update("messages", written("START")).await;
    assert_eq!(world.channel.reach(&destination(&first)).await, Reach::Reachable);

    world.send(&second).await;
    let mut pressed = written("");
    pressed["type"] = json!("button");
    pressed["context"] = json!({ "from": "15550783881", "id": "wamid.391234567891" });
    pressed["button"] = json!({ "payload": "DID_NOT_REQUEST_CODE", "text": "I didn't request a code" });
    let read = world.update("messages", pressed).await;
    assert_eq!(
        (&read["payload"], &read["about"]),
        (&json!("DID_NOT_REQUEST_CODE"), &json!("wamid.391234567891"))
    );
    let news = world.server.news.recv().await.unwrap();
    assert_eq!((news.request, news.news), (second.request, News::Disowned));
}

#[tokio::test]
async fn pywa_and_the_channel_believe_the_same_signatures() {
    let mut world = World::new().await;
    let change = json!({ "field": "messages", "value": { "metadata": { "phone_number_id": "1" } } });
    let update = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
    let signed = world.api.signs(&update).await.unwrap();
    let forged_body = format!("{} ", signed.body);
    let no_hex = signed.header.1.replace(|char: char| char.is_ascii_digit(), "g");
    for (body, signature) in [
        (&signed.body, signed.header.1.clone()),
        (&forged_body, signed.header.1.clone()),
        (&signed.body, format!("sha256={}", "0".repeat(64))),
        (&signed.body, signed.header.1[..40].to_owned()),
        (&signed.body, no_hex),
        (&signed.body, String::new()),
    ] {
        let believed = world.api.believes(body, &signature).await.unwrap();
        let call = Signed {
            body: body.clone(),
            header: (signed.header.0.clone(), signature.clone()),
            read: Vec::new(),
        };
        let status = world.post(&call).await.status;
        assert_eq!(status, if believed { 200 } else { 401 }, "{signature}");
    }
}

#[tokio::test]
async fn pywa_and_the_channel_answer_the_handshake_alike() {
    let mut world = World::new().await;
    for token in [VERIFY_TOKEN, "another-word-altogether"] {
        let (status, text) = world.api.handshake(token, "1158201444").await.unwrap();
        let call = WebhookCall {
            is_get: true,
            path: "webhook".to_owned(),
            query: format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"),
            ..WebhookCall::default()
        };
        let answer = world.channel.receive(call).await;
        assert_eq!(u64::from(answer.status), status);
        if status == 200 {
            assert_eq!(answer.text, text);
        }
    }
}
