//! The channel against a transport that misbehaves as it is told. Against one that others' library signs for, it is tested in
//! `tests/webhook`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::{Locale, News};
use serde_json::{Value, json};

use super::*;
use crate::fake::{Fake, PATIENCE, Reaction};
use crate::testing::{Server, config, destination, message, sender};
use crate::{ChannelNews, Handle, Recipient, Verdict};

const PHONE: &str = "+391234567890";

struct World {
    fake: Fake,
    server: Server,
    channel: Arc<dyn Channel>,
    keys: Keys,
}

fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(values: &[(&str, &str)]) -> Self {
        let fake = Fake::start().await;
        let mut server = Server::new();
        server.ports.public_url = Some("https://gateway.example".to_owned());
        let secret = secret(7);
        let settings = [&[("url", fake.url.as_str()), ("secret", secret.as_str())], values].concat();
        let config = config("ours", KIND, &settings).unwrap();
        let channel = make(config, server.ports.clone()).unwrap();
        let keys = Keys::read(&[&secret]).unwrap();
        Self {
            fake,
            server,
            channel,
            keys,
        }
    }

    async fn deliver_after(&self, reaction: Reaction) -> Handover {
        self.fake.will([reaction]);
        self.channel.deliver(sent()).await
    }

    /// A signed call of the transport.
    fn call(&self, kind: &str, data: &Value) -> WebhookCall {
        self.call_at(kind, data, clock::now().unix_seconds())
    }

    fn call_at(&self, kind: &str, data: &Value, unix_seconds: i64) -> WebhookCall {
        let said_at = Timestamp::from_millis(unix_seconds * 1_000).rfc_3339();
        self.call_of(&json!({"type": kind, "timestamp": said_at, "data": data}), unix_seconds)
    }

    fn call_of(&self, call: &Value, unix_seconds: i64) -> WebhookCall {
        let body = call.to_string();
        let signature = self.keys.sign("n-1", unix_seconds, body.as_bytes());
        let headers = [
            (signature::ID, "n-1".to_owned()),
            (signature::TIMESTAMP, unix_seconds.to_string()),
            (signature::SIGNATURE, signature),
        ];
        WebhookCall {
            path: news::PATH.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: body.into_bytes(),
            ..WebhookCall::default()
        }
    }

    async fn told(&self, kind: &str, data: Value) -> u16 {
        self.channel.receive(self.call(kind, &data)).await.status
    }

    async fn news(&mut self) -> ChannelNews {
        tokio::time::timeout(PATIENCE, self.server.news.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

/// A message that was sent just now.
fn sent() -> OutgoingMessage {
    message(1, PHONE, "123456", clock::now()).unwrap()
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

fn says(answer: &Value) -> Reaction {
    Reaction::Say(200, answer.to_string())
}

#[tokio::test]
async fn a_message_goes_out_signed_with_all_that_a_transport_needs() {
    let mut world = World::new().await;
    world
        .fake
        .will([says(&json!({"status": "accepted", "id": "t-1", "cost": "0.0125"}))]);
    let message = OutgoingMessage {
        sender: sender("acme_shop"),
        locale: Locale::parse("ar"),
        ..sent()
    };
    let handover = world.channel.deliver(message.clone()).await;
    assert_eq!(handover, Handover::Accepted(Handle::new("t-1")));
    let call = world.fake.call().await;
    assert_eq!(call.verb, "POST");
    let genuine = WebhookCall {
        headers: call.headers.clone().into_iter().collect(),
        body: call.body.clone(),
        ..WebhookCall::default()
    };
    assert!(world.keys.signed_at(&genuine, clock::now().unix_seconds()).is_some());
    let body = call.json();
    assert_eq!(body["type"], "message.send");
    let data = &body["data"];
    assert_eq!(data["message_id"], key_of(&message).to_string());
    assert_eq!(
        (&data["phone_number"], &data["code"], &data["sender_username"]),
        (&json!(PHONE), &json!("123456"), &json!("acme_shop"))
    );
    assert_eq!((&data["locale"], &data["direction"]), (&json!("ar"), &json!("rtl")));
    assert!(data["text"].as_str().unwrap().contains("123456"));
    assert_eq!(data["news_url"], "https://gateway.example/channels/ours/news");
    assert!((290..=300).contains(&data["ttl"].as_u64().unwrap()));
    assert_eq!(data.get("email"), None);
    let cost = world.server.costs.try_recv().unwrap();
    assert_eq!((cost.micros, cost.message), (12_500, Some(key_of(&message))));
}

#[tokio::test]
async fn a_message_that_is_handed_over_again_carries_the_same_id() {
    let mut world = World::new().await;
    world
        .fake
        .will([says(&json!({"status": "later"})), says(&json!({"status": "accepted"}))]);
    let message = sent();
    assert!(matches!(
        world.channel.deliver(message.clone()).await,
        Handover::Later(_)
    ));
    assert_eq!(world.channel.deliver(message).await, Handover::Accepted(None));
    let (first, second) = (world.fake.call().await, world.fake.call().await);
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert!(!second.headers["webhook-id"].contains('.'));
}

#[tokio::test]
async fn each_answer_means_what_the_documentation_says() {
    let world = World::new().await;
    let refused = world
        .deliver_after(says(&json!({"status": "refused", "detail": "blocked: 123456"})))
        .await;
    assert_eq!(refused, Handover::Refused(Detail::new("blocked: …")));
    let unreachable = world
        .deliver_after(says(&json!({"status": "unreachable", "detail": "no app"})))
        .await;
    assert_eq!(unreachable, Handover::CannotReach(Detail::new("no app")));
    let later = world
        .deliver_after(says(&json!({"status": "later", "retry_after": 9})))
        .await;
    assert_eq!(later, Handover::Later(Duration::from_secs(9)));
    let too_late = world
        .deliver_after(says(&json!({"status": "later", "retry_after": 290})))
        .await;
    assert!(matches!(too_late, Handover::Refused(_)));
    for (status, header) in [(429, "retry-after: 3\r\n"), (503, "retry-after: 3\r\n")] {
        let throttled = world
            .deliver_after(Reaction::SayWith(status, header, String::new()))
            .await;
        assert_eq!(throttled, Handover::Later(Duration::from_secs(3)));
    }
    for status in [401, 403, 404, 422, 302] {
        let refused = world.deliver_after(Reaction::Say(status, String::new())).await;
        assert_eq!(
            refused,
            Handover::Refused(Detail::new(&format!("HTTP status {status}")))
        );
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_a_failure_and_tells_no_address() {
    let world = World::with(&[("timeout_s", "1")]).await;
    for reaction in [
        Reaction::Close,
        Reaction::Hang,
        Reaction::Write(b"HTTP/1.1 200 Said\r\ncontent-length: 100\r\n\r\n{\"status\":".to_vec()),
        Reaction::Write(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
        Reaction::Say(500, String::new()),
        Reaction::Say(200, "<html>".to_owned()),
        Reaction::Say(200, "x".repeat(20 * 1024)),
    ] {
        let said = format!("{reaction:?}");
        let Handover::Failed(detail) = world.deliver_after(reaction).await else {
            panic!("{said}");
        };
        assert!(!detail.to_string().contains("127.0.0.1"), "{detail}");
    }
}

#[tokio::test]
async fn a_message_whose_life_is_over_or_whose_recipient_said_stop_is_not_sent() {
    let mut world = World::new().await;
    let mut old = sent();
    old.expires_at = old.sent_at;
    assert!(matches!(world.channel.deliver(old).await, Handover::Refused(_)));
    assert_eq!(
        world.told("recipient.stopped", json!({"phone_number": PHONE})).await,
        200
    );
    assert!(matches!(world.channel.deliver(sent()).await, Handover::CannotReach(_)));
    assert_eq!(world.channel.reach(&destination(&sent())).await, Reach::Unreachable);
    assert!(world.fake.was_not_called());
    // What was said earlier doesn't undo what was said later; what is said later does.
    let at = clock::now().unix_seconds();
    for (said_at, reach) in [(at - 200, Reach::Unreachable), (at + 5, Reach::Reachable)] {
        let started = world.call_at("recipient.started", &json!({"phone_number": PHONE}), said_at);
        assert_eq!(world.channel.receive(started).await.status, 200);
        assert_eq!(world.channel.reach(&destination(&sent())).await, reach);
    }
}

#[tokio::test]
async fn a_stop_that_is_posted_again_stays_as_old_as_it_is() {
    let world = World::new().await;
    let now = clock::now().unix_seconds();
    let second = Timestamp::from_millis(now * 1_000).rfc_3339();
    let said = |kind: &str, fraction: &str| {
        let said_at = second.replace('Z', &format!("{fraction}Z"));
        json!({"type": kind, "timestamp": said_at, "data": {"phone_number": PHONE}})
    };
    let (stop, start) = (said("recipient.stopped", ".200"), said("recipient.started", ".700"));
    for (news, posted_at, reach) in [
        (&stop, now, Reach::Unreachable),
        (&start, now, Reach::Reachable),
        // Both come again, signed anew: what was said last still counts.
        (&stop, now + 9, Reach::Reachable),
        (&start, now + 9, Reach::Reachable),
        // Of the same moment: stop, in whatever order.
        (&said("recipient.stopped", ".700"), now, Reach::Unreachable),
        (&start, now + 9, Reach::Unreachable),
        // Nothing was said after it was posted.
        (&said("recipient.started", ".900"), now - 60, Reach::Unreachable),
    ] {
        let answer = world.channel.receive(world.call_of(news, posted_at)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(world.channel.reach(&destination(&sent())).await, reach, "{news}");
    }
}

#[tokio::test]
async fn news_by_the_transports_name_that_overtakes_its_answer_finds_the_message() {
    let mut world = World::new().await;
    let signal = Arc::new(tokio::sync::Notify::new());
    let answer = json!({"status": "accepted", "id": "t-1"}).to_string();
    world.fake.will([Reaction::SayAfter(Arc::clone(&signal), answer)]);
    let message = sent();
    let channel = Arc::clone(&world.channel);
    let sending = tokio::spawn({
        let message = message.clone();
        async move { channel.deliver(message).await }
    });
    world.fake.call().await;
    let posted = world.told("message.delivered", json!({"id": "t-1"}));
    // The news is taken in before the transport answers.
    let (status, ()) = tokio::join!(posted, async { signal.notify_one() });
    assert_eq!(status, 200);
    assert_eq!(world.news().await.request, message.request);
    assert_eq!(sending.await.unwrap(), Handover::Accepted(Handle::new("t-1")));
    // The books don't know it yet, and here nobody tells them.
    assert_eq!(world.told("message.read", json!({"id": "t-1"})).await, 200);
    assert_eq!(world.told("message.read", json!({"id": "t-2"})).await, 404);
}

#[tokio::test]
async fn news_by_an_unknown_name_has_to_come_again_while_an_answer_is_still_to_come() {
    let mut world = World::with(&[("timeout_s", "60")]).await;
    world.fake.will([Reaction::Hang]);
    let channel = Arc::clone(&world.channel);
    let sending = tokio::spawn(async move { channel.deliver(sent()).await });
    world.fake.call().await;
    // From here on nothing waits but for the clock.
    tokio::time::pause();
    assert_eq!(world.told("message.delivered", json!({"id": "t-1"})).await, 503);
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    assert_eq!(world.told("message.delivered", json!({"id": "t-1"})).await, 404);
}

#[tokio::test]
async fn a_message_is_taken_even_where_the_books_are_too_slow_for_its_cost() {
    let world = World::new().await;
    let cost = UpstreamCost {
        leg: world.channel.name().clone(),
        message: None,
        micros: 1,
        upstream: None,
        at: clock::now(),
    };
    while world.server.ports.costs.try_send(cost.clone()).is_ok() {}
    let handover = world
        .deliver_after(says(&json!({"status": "accepted", "cost": "0.01"})))
        .await;
    assert_eq!(handover, Handover::Accepted(None));
}

#[tokio::test]
async fn a_stop_keeps_the_address_that_the_operator_noted() {
    let world = World::new().await;
    let known = Recipient {
        phone: sent().phone,
        address: "ida@example.com".to_owned(),
        stopped: false,
        since: Timestamp::from_millis(0),
    };
    let name = world.channel.name();
    world.server.ports.recipients.put(name, known).await.unwrap();
    assert_eq!(
        world.told("recipient.stopped", json!({"phone_number": PHONE})).await,
        200
    );
    let noted = world.server.books.recipient(name, sent().phone).unwrap();
    assert_eq!((noted.stopped, noted.address.as_str()), (true, "ida@example.com"));
}

#[tokio::test]
async fn news_comes_by_our_name_of_a_message_or_by_the_transports() {
    let mut world = World::new().await;
    let key = key_of(&sent());
    for (kind, news) in [
        ("message.delivered", News::Delivered),
        // Twice and in the wrong order: the rules of the books judge that.
        ("message.delivered", News::Delivered),
        ("message.read", News::Read),
        ("message.failed", News::Failed),
        ("message.unreachable", News::CannotReach),
        ("message.disowned", News::Disowned),
    ] {
        let data = json!({"message_id": key.to_string(), "detail": "as the carrier says"});
        assert_eq!(world.told(kind, data).await, 200, "{kind}");
        let told = world.news().await;
        assert_eq!((told.request, told.news), (key.request, news));
        assert_eq!(told.detail, Some(Detail::new("as the carrier says")));
    }
    let handle = Handle::new("t-9").unwrap();
    world.server.books.keep_handle(world.channel.name(), handle, key);
    assert_eq!(world.told("message.delivered", json!({"id": "t-9"})).await, 200);
    assert_eq!(world.news().await.request, key.request);
}

#[tokio::test]
async fn what_is_wrong_with_news_is_said_to_whoever_signed_it() {
    let mut world = World::new().await;
    for (kind, data, status) in [
        ("message.delivered", json!({"id": "t-unknown"}), 404),
        ("message.delivered", json!({}), 404),
        ("message.delivered", json!("x"), 400),
        ("message.sent", json!({}), 400),
        ("recipient.stopped", json!({"phone_number": "x"}), 400),
        ("login.answered", json!({"attempt": 1}), 400),
    ] {
        let answer = world.channel.receive(world.call(kind, &data)).await;
        assert_eq!(answer.status, status, "{kind}");
        assert!(!answer.text.is_empty(), "{kind}");
    }
    let timeless = json!({"type": "recipient.stopped", "data": {"phone_number": PHONE}});
    let timeless = world.call_of(&timeless, clock::now().unix_seconds());
    assert_eq!(world.channel.receive(timeless).await.status, 400);
    world.server.books.set_in_trouble(true);
    assert_eq!(world.told("message.delivered", json!({"id": "t-1"})).await, 503);
    assert_eq!(
        world.told("recipient.stopped", json!({"phone_number": PHONE})).await,
        503
    );
    assert!(world.server.news.try_recv().is_err());
}

#[tokio::test]
async fn what_isnt_signed_by_the_secret_tells_nothing() {
    let mut world = World::new().await;
    let data = json!({"message_id": key_of(&sent()).to_string()});
    let genuine = world.call("message.delivered", &data);
    let mut forged = Vec::new();
    let mut changed = genuine.clone();
    changed.body.push(b' ');
    forged.push(changed);
    let mut unsigned = genuine.clone();
    unsigned.headers.clear();
    forged.push(unsigned);
    forged.push(world.call_at("message.delivered", &data, clock::now().unix_seconds() - 301));
    for call in forged {
        let answer = world.channel.receive(call).await;
        assert_eq!(answer, WebhookAnswer::status(401));
    }
    let huge = WebhookCall {
        body: vec![b' '; 17 * 1024],
        ..genuine.clone()
    };
    assert_eq!(world.channel.receive(huge).await.status, 413);
    let elsewhere = WebhookCall {
        path: "else".to_owned(),
        ..genuine.clone()
    };
    assert_eq!(world.channel.receive(elsewhere).await.status, 404);
    let looked_at = WebhookCall {
        is_get: true,
        ..genuine
    };
    assert_eq!(world.channel.receive(looked_at).await.status, 405);
    assert!(world.server.news.try_recv().is_err());
}

#[tokio::test]
async fn a_transport_is_asked_before_a_message_where_the_operator_wants_it() {
    let mut world = World::with(&[("ask", "true")]).await;
    let to = destination(&sent());
    assert_eq!(world.channel.reach(&to).await, Reach::MustAsk);
    for (reaction, expected) in [
        (says(&json!({"status": "reachable"})), Some(Asked::Reaches)),
        (
            says(&json!({"status": "unreachable", "detail": "no app"})),
            Some(Asked::CannotReach(Detail::new("no app"))),
        ),
        (says(&json!({"status": "maybe"})), None),
        (Reaction::Say(500, String::new()), None),
        (Reaction::Close, None),
    ] {
        world.fake.will([reaction]);
        let asked = world.channel.ask(&to).await;
        match expected {
            Some(expected) => assert_eq!(asked, expected),
            None => assert!(matches!(asked, Asked::Unknown(_)), "{asked:?}"),
        }
        // Ids stand in logs of others, and a number must not.
        let id = world.fake.call().await.headers["webhook-id"].clone();
        assert!(id.starts_with("ask-") && !id.contains("391234567890"), "{id}");
    }
}

#[tokio::test]
async fn messages_are_withdrawn_and_nobody_waits_for_a_dead_transport() {
    let mut world = World::new().await;
    world.fake.will([Reaction::Close]);
    let message = sent();
    world.channel.withdraw(message.account, message.request).await;
    let call = world.fake.call().await.json();
    assert_eq!(call["type"], "message.withdraw");
    assert_eq!(call["data"]["message_id"], key_of(&message).to_string());
    let quiet = World::with(&[("withdraw", "false")]).await;
    quiet.channel.withdraw(message.account, message.request).await;
    let mut fake = quiet.fake;
    assert!(fake.was_not_called());
}

#[tokio::test]
async fn a_sign_in_is_asked_and_answered_over_the_transport() {
    let mut world = World::with(&[("logins", "true"), ("buttons", "true")]).await;
    assert!(world.channel.carries_buttons());
    world
        .fake
        .will([says(&json!({"status": "accepted"})), says(&json!({}))]);
    let prompt = LoginPrompt {
        attempt: 5,
        phone: sent().phone,
        code: sent().code,
        device: "Firefox\u{7} on Linux".to_owned(),
        address: "192.0.2.7".to_owned(),
        at: clock::now(),
        expires_at: clock::now().plus_millis(60_000),
    };
    assert_eq!(
        world.channel.deliver_login(prompt.clone()).await,
        Handover::Accepted(None)
    );
    let call = world.fake.call().await.json();
    assert_eq!(call["type"], "login.ask");
    assert_eq!(
        (&call["data"]["attempt"], &call["data"]["device"]),
        (&json!(5), &json!("Firefox on Linux"))
    );
    let data = json!({"attempt": 5, "phone_number": PHONE, "is_me": true});
    assert_eq!(world.told("login.answered", data).await, 200);
    let reply = world.server.logins.try_recv().unwrap();
    assert_eq!((reply.attempt, reply.phone, reply.is_me), (5, sent().phone, true));
    world.channel.withdraw_login(5).await;
    assert_eq!(world.fake.call().await.json()["type"], "login.withdraw");
    let without = World::new().await;
    assert!(matches!(
        without.channel.deliver_login(prompt).await,
        Handover::CannotReach(_)
    ));
}

#[tokio::test]
async fn the_doctor_says_whether_the_transport_answers_and_checks_signatures() {
    let world = World::new().await;
    let verdicts =
        |findings: Vec<Finding>| -> Vec<Verdict> { findings.into_iter().map(|found| found.verdict).collect() };
    world.fake.will([says(&json!({})), Reaction::Say(401, String::new())]);
    assert_eq!(verdicts(world.channel.examine().await), [Verdict::Well]);
    world.fake.will([says(&json!({})), says(&json!({}))]);
    let careless = world.channel.examine().await;
    assert!(careless[1].found.contains("signature is wrong"), "{careless:?}");
    assert_eq!(verdicts(careless), [Verdict::Well, Verdict::Warning]);
    world.fake.will([Reaction::Say(401, String::new())]);
    assert_eq!(verdicts(world.channel.examine().await), [Verdict::Broken]);
    world.fake.will([Reaction::Close]);
    assert_eq!(verdicts(world.channel.examine().await), [Verdict::Broken]);
}

#[test]
fn what_was_set_wrong_is_said_and_no_secret_with_it() {
    let good = secret(1);
    let server = Server::new();
    for (values, says) in [
        (vec![("secret", good.as_str())], "url: missing"),
        (vec![("url", "https://t.example")], "secret: missing"),
        (
            vec![("url", "ftp://t.example"), ("secret", &good)],
            "url: expected an http",
        ),
        (
            vec![("url", "https://u:p@t.example"), ("secret", &good)],
            "user name or password",
        ),
        (
            vec![("url", "https://t.example"), ("secret", "hunter2")],
            "secret: expected whsec_",
        ),
        (
            vec![
                ("url", "https://t.example"),
                ("secret", &good),
                ("previous_secret", "hunter2"),
            ],
            "previous_secret: expected whsec_",
        ),
        (
            vec![("url", "https://t.example"), ("secret", &good), ("buttons", "true")],
            "logins = true",
        ),
        (
            vec![("url", "https://t.example"), ("secret", &good), ("colour", "red")],
            "no such setting",
        ),
    ] {
        let config = config("ours", KIND, &values).unwrap();
        let error = make(config, server.ports.clone()).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("hunter2") && !error.contains(&good[6..]), "{error}");
    }
}
