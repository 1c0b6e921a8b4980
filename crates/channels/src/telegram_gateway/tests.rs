//! The channel against an upstream that misbehaves as it is told. Against a real one, a second Countersign, it is tested in
//! `e2e/tests/channel_telegram_gateway.rs`.

mod reports;

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{Detail, Reach, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::Verdict;
use crate::fake::{Fake, PATIENCE, Reaction};
use crate::testing::{MemoryBooks, Server, config, destination, message};

const TOKEN: &str = "AAEuAAAABPmgKDzuMl1g1A9kSnVBmzpB1rdFYmYdkZk2FQ";
const PHONE: &str = "+391234567890";

/// `{"ok":true,"result":…}`.
fn result(result: &Value) -> Reaction {
    Reaction::Say(200, format!(r#"{{"ok":true,"result":{result}}}"#))
}

/// `{"ok":false,"error":…}`.
fn error(name: &str) -> Reaction {
    Reaction::Say(200, format!(r#"{{"ok":false,"error":"{name}"}}"#))
}

/// A channel, its upstream, and the server that has both.
struct World {
    fake: Fake,
    server: Server,
    channel: Arc<dyn Channel>,
}

impl World {
    async fn new() -> Self {
        Self::with(&[], None).await
    }

    async fn with(values: &[(&str, &str)], public_url: Option<&str>) -> Self {
        let fake = Fake::start().await;
        let mut server = Server::new();
        server.ports.public_url = public_url.map(str::to_owned);
        let channel = channel(&fake, &server, values);
        Self { fake, server, channel }
    }

    /// The same books and the same upstream after a restart.
    fn restart(&mut self, books: Arc<MemoryBooks>) {
        let public_url = self.server.ports.public_url.clone();
        self.server = Server::with(books);
        self.server.ports.public_url = public_url;
        self.channel = channel(&self.fake, &self.server, &[]);
    }

    async fn ask(&self) -> Asked {
        self.channel.ask(&destination(&message_of(1))).await
    }

    async fn deliver(&self) -> Handover {
        self.channel.deliver(message_of(1)).await
    }

    async fn cost(&mut self) -> UpstreamCost {
        tokio::time::timeout(PATIENCE, self.server.costs.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn news(&mut self) -> ChannelNews {
        tokio::time::timeout(PATIENCE, self.server.news.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

fn channel(fake: &Fake, server: &Server, values: &[(&str, &str)]) -> Arc<dyn Channel> {
    let settings = [&[("token", TOKEN), ("base_url", fake.url.as_str())], values].concat();
    let config = config("official", KIND, &settings).unwrap();
    make(config, server.ports.clone()).unwrap()
}

/// A message that was sent just now.
fn message_of(number: u64) -> OutgoingMessage {
    message(number, PHONE, "123456", clock::now()).unwrap()
}

fn status(request_id: &str) -> Value {
    json!({"request_id": request_id, "phone_number": PHONE, "request_cost": 0.01})
}

fn handle(name: &str) -> Handle {
    Handle::new(name).unwrap()
}

fn key_of(message: &OutgoingMessage) -> MessageKey {
    MessageKey {
        account: message.account,
        request: message.request,
    }
}

fn accepted(name: &str) -> Handover {
    Handover::Accepted(Some(handle(name)))
}

/// Whether a message waits for what is left of a pause.
fn is_later(handover: &Handover, seconds: u64) -> bool {
    matches!(handover, Handover::Later(rest) if *rest <= Duration::from_secs(seconds))
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
async fn a_message_is_sent_on_the_request_that_the_question_paid_for_and_costs_are_told() {
    let mut world = World::new().await;
    let sent = message_of(1);
    assert_eq!(world.channel.reach(&destination(&sent)).await, Reach::MustAsk);
    world.fake.will([result(&status("up-1")), result(&status("up-1"))]);
    assert_eq!(world.ask().await, Asked::Reaches);
    assert_eq!(world.channel.deliver(sent.clone()).await, accepted("up-1"));

    let asked = world.fake.call().await;
    assert_eq!(
        (asked.method(), asked.json()),
        ("checkSendAbility", json!({"phone_number": PHONE}))
    );
    let call = world.fake.call().await;
    let (method, headers, body) = (call.method(), &call.headers, call.json());
    assert_eq!(method, "sendVerificationMessage");
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    let payload = key_of(&sent).to_string();
    assert_eq!(headers["idempotency-key"], format!("{payload}.paid"));
    let ttl = body["ttl"].as_u64().unwrap();
    assert!((290..=300).contains(&ttl), "{ttl}");
    let expected =
        json!({"phone_number": PHONE, "code": "123456", "ttl": ttl, "request_id": "up-1", "payload": payload});
    assert_eq!(body, expected);

    for message in [None, Some(key_of(&sent))] {
        let cost = world.cost().await;
        assert_eq!(
            (cost.message, cost.micros, cost.upstream),
            (message, 10_000, Some(handle("up-1")))
        );
    }
}

#[tokio::test]
async fn a_second_message_to_the_number_gets_a_request_of_its_own() {
    let mut world = World::new().await;
    world
        .fake
        .will(["up-1", "up-1", "up-2"].map(|request| result(&status(request))));
    assert_eq!(world.ask().await, Asked::Reaches);
    assert_eq!(world.ask().await, Asked::Reaches);
    assert_eq!(world.deliver().await, accepted("up-1"));
    assert_eq!(world.channel.deliver(message_of(2)).await, accepted("up-2"));
    let mut calls = Vec::new();
    for _ in 0..3 {
        let call = world.fake.call().await;
        calls.push((call.method().to_owned(), call.json()["request_id"].clone()));
    }
    assert_eq!(
        calls,
        [
            ("checkSendAbility".to_owned(), Value::Null),
            ("sendVerificationMessage".to_owned(), json!("up-1")),
            ("sendVerificationMessage".to_owned(), Value::Null),
        ]
    );
}

#[tokio::test]
async fn a_paid_request_that_the_upstream_takes_no_more_is_replaced_by_a_new_one() {
    let mut world = World::new().await;
    world.fake.will([
        result(&status("up-1")),
        error("REQUEST_ID_INVALID"),
        result(&status("up-2")),
    ]);
    assert_eq!(world.ask().await, Asked::Reaches);
    assert_eq!(world.deliver().await, accepted("up-2"));
    let (_, on_paid, new) = (
        world.fake.call().await,
        world.fake.call().await,
        world.fake.call().await,
    );
    assert_eq!(
        (&on_paid.json()["request_id"], &new.json()["request_id"]),
        (&json!("up-1"), &Value::Null)
    );
    assert_ne!(on_paid.headers["idempotency-key"], new.headers["idempotency-key"]);
}

#[tokio::test]
async fn a_number_that_cannot_be_reached_is_asked_for_once() {
    let mut world = World::new().await;
    world.fake.will([error("PHONE_NUMBER_NOT_FOUND")]);
    let no = Asked::CannotReach(Detail::new("PHONE_NUMBER_NOT_FOUND"));
    assert_eq!(world.ask().await, no);
    assert_eq!(world.ask().await, no);
    let to = destination(&message_of(1));
    assert_eq!(world.channel.reach(&to).await, Reach::Unreachable);
    world.fake.call().await;
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_the_number_is_no_answer_about_it() {
    let world = World::new().await;
    for name in [
        "BALANCE_NOT_ENOUGH",
        "ACCESS_TOKEN_INVALID",
        "FLOOD_WAIT_30",
        "INTERNAL_ERROR",
    ] {
        world.fake.will([error(name)]);
        assert_eq!(world.ask().await, Asked::Unknown(Detail::new(name)), "{name}");
        pass(30).await;
    }
    world.fake.will([Reaction::Close]);
    assert!(matches!(world.ask().await, Asked::Unknown(_)));
}

#[tokio::test]
async fn what_a_question_cost_is_told_even_if_nobody_waits_for_its_answer() {
    let mut world = World::new().await;
    let signal = Arc::new(Notify::new());
    let body = format!(r#"{{"ok":true,"result":{}}}"#, status("up-1"));
    world.fake.will([Reaction::SayAfter(Arc::clone(&signal), body)]);
    let to = destination(&message_of(1));
    {
        let ask = world.channel.ask(&to);
        tokio::select! {
            _ = ask => panic!("there was no answer yet"),
            call = world.fake.call() => assert_eq!(call.method(), "checkSendAbility"),
        }
    }
    signal.notify_one();
    assert_eq!(world.cost().await.micros, 10_000);
}

#[tokio::test]
async fn a_throttled_message_comes_again_if_its_life_allows_and_keeps_what_was_paid() {
    let mut world = World::new().await;
    world.fake.will([
        result(&status("up-1")),
        error("FLOOD_WAIT_30"),
        error("FLOOD_WAIT_290"),
        Reaction::SayWith(
            503,
            "retry-after: 3\r\n",
            r#"{"ok":false,"error":"UNAVAILABLE"}"#.to_owned(),
        ),
        result(&status("up-1")),
    ]);
    assert_eq!(world.ask().await, Asked::Reaches);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(30)));
    assert!(is_later(&world.deliver().await, 30), "the upstream isn’t called");
    pass(30).await;
    assert_eq!(world.deliver().await, Handover::Refused(Detail::new("FLOOD_WAIT_290")));
    let paused = Handover::Refused(Detail::new("the upstream asked for a pause"));
    assert_eq!(world.deliver().await, paused);
    pass(290).await;
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(3)));
    assert_eq!(world.deliver().await, accepted("up-1"));
    world.fake.call().await;
    for _ in 0..4 {
        assert_eq!(world.fake.call().await.json()["request_id"], "up-1");
    }
}

#[tokio::test]
async fn once_two_numbers_were_throttled_nothing_is_asked_or_sent_for_a_while() {
    let mut world = World::new().await;
    let to = |number, phone| message(number, phone, "123456", clock::now()).unwrap();
    let third = || to(3, "+447400123457");
    world
        .fake
        .will([error("FLOOD_WAIT_30"), error("FLOOD_WAIT_100"), result(&status("up-1"))]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(30)));
    let second = world.channel.deliver(to(2, "+447400123456")).await;
    assert_eq!(second, Handover::Later(Duration::from_secs(100)));
    for _ in 0..2 {
        world.fake.call().await;
    }
    assert!(is_later(&world.channel.deliver(third()).await, 60));
    let asked = world.channel.ask(&destination(&third())).await;
    assert!(matches!(asked, Asked::Unknown(_)));
    assert!(world.fake.was_not_called());
    pass(60).await;
    assert_eq!(world.channel.deliver(third()).await, accepted("up-1"));
}

#[tokio::test]
async fn what_the_upstream_refuses_is_refused_with_its_reason() {
    let world = World::new().await;
    for name in ["BALANCE_NOT_ENOUGH", "ACCESS_TOKEN_INVALID", "SENDER_NOT_VERIFIED"] {
        world.fake.will([error(name)]);
        assert_eq!(world.deliver().await, Handover::Refused(Detail::new(name)), "{name}");
    }
    world.fake.will([error("PHONE_NUMBER_NOT_FOUND")]);
    let no = Handover::CannotReach(Detail::new("PHONE_NUMBER_NOT_FOUND"));
    assert_eq!(world.deliver().await, no);
}

#[tokio::test]
async fn a_message_whose_life_is_over_is_not_sent() {
    let mut world = World::new().await;
    let old = message(1, PHONE, "123456", Timestamp::from_millis(1_000)).unwrap();
    assert!(matches!(world.channel.deliver(old).await, Handover::Refused(_)));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn whatever_leaves_the_outcome_unknown_is_failed_and_not_sent_again() {
    let mut world = World::new().await;
    let too_long = format!(r#"{{"ok":true,"result":"{}"}}"#, "x".repeat(100_000));
    let reactions = [
        // The connection is lost in mid-send, in mid-answer, or what comes is nonsense.
        Reaction::Close,
        Reaction::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"ok\":tr".to_vec()),
        Reaction::Write(b"220 mail.example ESMTP\r\n".to_vec()),
        Reaction::Say(502, "<html>Bad Gateway</html>".to_owned()),
        Reaction::Say(200, too_long),
        Reaction::Say(500, r#"{"ok":false,"error":"INTERNAL_ERROR"}"#.to_owned()),
        result(&json!(true)),
        // Our key was used before, for a message that was sent.
        error("BAD_REQUEST"),
    ];
    for reaction in reactions {
        let what = format!("{reaction:.80?}");
        world.fake.will([reaction]);
        let handover = world.deliver().await;
        assert!(is_failed(&handover), "{what}: {handover:?}");
        world.fake.call().await;
        assert!(world.fake.was_not_called(), "{what}");
    }
}

#[tokio::test]
async fn a_send_without_an_answer_in_time_is_failed() {
    let mut world = World::with(&[("timeout_s", "1")], None).await;
    world.fake.will([Reaction::Hang]);
    let handover = world.deliver().await;
    assert_eq!(handover, Handover::Failed(Detail::new("no answer: no answer in time")));
    world.fake.call().await;
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn settings_go_along_with_the_message() {
    let settings = [
        ("callbacks", "true"),
        ("sender_username", "@Acme_Shop"),
        ("ttl_s", "60"),
    ];
    let mut world = World::with(&settings, Some("https://gateway.example")).await;
    world.fake.will([result(&status("up-1"))]);
    assert_eq!(world.deliver().await, accepted("up-1"));
    let body = world.fake.call().await.json();
    assert_eq!(body["ttl"], 60);
    assert_eq!(body["sender_username"], "acme_shop");
    assert_eq!(body["callback_url"], "https://gateway.example/channels/official/report");
}

#[tokio::test]
async fn a_message_is_withdrawn_by_the_upstreams_name_of_it_even_after_a_restart() {
    let mut world = World::new().await;
    let sent = message_of(1);
    world
        .fake
        .will([result(&status("up-1")), result(&json!(true)), result(&json!(true))]);
    world.channel.deliver(sent.clone()).await;
    world.channel.withdraw(sent.account, sent.request).await;
    let books = Arc::clone(&world.server.books);
    books.keep_handle(world.channel.name(), handle("up-1"), key_of(&sent));
    world.restart(books);
    world.channel.withdraw(sent.account, sent.request).await;
    world.fake.call().await;
    for _ in 0..2 {
        let call = world.fake.call().await;
        assert_eq!(
            (call.method(), call.json()),
            ("revokeVerificationMessage", json!({"request_id": "up-1"}))
        );
    }
    // Nobody knows this one.
    let unknown = message_of(2);
    world.channel.withdraw(unknown.account, unknown.request).await;
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn a_sign_in_gets_its_code_and_its_message_is_withdrawn_once_it_is_answered() {
    let mut world = World::new().await;
    world.fake.will([result(&status("up-1")), result(&json!(true))]);
    let now = clock::now();
    let sent = message_of(1);
    let prompt = LoginPrompt {
        attempt: 5,
        phone: sent.phone,
        code: sent.code,
        device: "Firefox on Linux".into(),
        address: "192.0.2.1".into(),
        at: now,
        expires_at: now.plus_millis(120_000),
    };
    assert_eq!(world.channel.deliver_login(prompt).await, accepted("up-1"));
    world.channel.withdraw_login(5).await;
    world.channel.withdraw_login(6).await;
    let body = world.fake.call().await.json();
    assert_eq!((&body["code"], body.get("payload")), (&json!("123456"), None));
    assert_eq!(world.fake.call().await.json(), json!({"request_id": "up-1"}));
    assert!(world.fake.was_not_called());
    assert_eq!(world.cost().await.message, None);
    assert!(world.channel.is_paid() && !world.channel.carries_buttons());
}

#[tokio::test]
async fn the_examination_says_what_is_wrong_without_a_message_to_anyone() {
    let mut world = World::new().await;
    for (reaction, verdict, said) in [
        (error("REQUEST_ID_INVALID"), Verdict::Well, "takes the token"),
        (error("ACCESS_TOKEN_INVALID"), Verdict::Broken, "refuses the token"),
        (error("IP_NOT_ALLOWED"), Verdict::Broken, "this machine’s address"),
        (error("FLOOD_WAIT_3"), Verdict::Warning, "FLOOD_WAIT_3"),
        (Reaction::Say(200, "<html>".into()), Verdict::Broken, "isn’t a Gateway"),
        (Reaction::Close, Verdict::Broken, "doesn’t answer"),
    ] {
        world.fake.will([reaction]);
        let findings = world.channel.examine().await;
        let [finding] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(said), "{finding:?}");
        assert_eq!(finding.remedy.is_empty(), verdict == Verdict::Well, "{finding:?}");
        assert_eq!(world.fake.call().await.method(), "checkVerificationStatus");
    }
}

#[tokio::test]
async fn the_examination_warns_of_callbacks_that_cannot_come() {
    for (public_url, warnings) in [
        (Some("http://gateway.example"), 1),
        (Some("https://gateway.example"), 0),
    ] {
        let world = World::with(&[("callbacks", "true")], public_url).await;
        world.fake.will([error("REQUEST_ID_INVALID")]);
        let findings = world.channel.examine().await;
        let found = findings.iter().filter(|finding| finding.verdict == Verdict::Warning);
        assert_eq!(found.count(), warnings, "{findings:?}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_by_their_key_and_secrets_stay_unseen() {
    let long_url = format!("https://{}.example", "x".repeat(250));
    let secret = "secret\nsecret";
    for (values, public_url, key) in [
        (vec![], None, "token"),
        (vec![("token", secret)], None, "token"),
        (vec![("token", TOKEN), ("poll_s", "0")], None, "poll_s"),
        (vec![("token", TOKEN), ("ttl_s", "29")], None, "ttl_s"),
        (
            vec![("token", TOKEN), ("sender_username", "x")],
            None,
            "sender_username",
        ),
        (
            vec![("token", TOKEN), ("base_url", "ftp://up.example")],
            None,
            "base_url",
        ),
        (
            vec![("token", TOKEN), ("base_url", "https://me:pw@up.example")],
            None,
            "base_url",
        ),
        (vec![("token", TOKEN), ("bot_token", "1")], None, "bot_token"),
        (vec![("token", TOKEN), ("callbacks", "true")], None, "callbacks"),
        (
            vec![("token", TOKEN), ("callbacks", "true")],
            Some(long_url),
            "callbacks",
        ),
    ] {
        let mut server = Server::new();
        server.ports.public_url = public_url;
        let made = make(config("official", KIND, &values).unwrap(), server.ports.clone());
        let problem = made.err().unwrap().to_string();
        assert!(problem.starts_with(&format!("channels.official.{key}: ")), "{problem}");
        assert!(
            !problem.contains("secret") && !problem.contains(TOKEN) && !problem.contains("pw@"),
            "{problem}"
        );
    }
}
