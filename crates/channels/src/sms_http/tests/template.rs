//! A provider that the operator described: what goes out, what answers mean, how calls are believed.

use base64::Engine as _;
use ring::hmac;
use serde_json::json;

use super::*;

const PUBLIC: &str = "https://gateway.example";
const SECRET: &str = "a-secret-for-calls";

/// A provider that speaks JSON, with that much more or less ("-").
pub(super) fn json_settings(more: &[(&str, &str)]) -> impl Fn(&str) -> Vec<(String, String)> {
    let more = owned(more);
    move |url| {
        let base = [
            ("provider", "template"),
            ("url", &format!("{url}/v1/messages")),
            ("headers", "Authorization: Key {secret}"),
            ("secret", "hunter2"),
            ("from", "Acme"),
            (
                "body",
                r#"{"to":"{to_digits}","from":"{from}","text":"{text}","ref":"{id}","ttl":{ttl}}"#,
            ),
        ];
        let base = owned(&base).into_iter();
        let base = base.filter(|(key, _)| more.iter().all(|(other, _)| other != key));
        let set = more.iter().filter(|(_, value)| value != "-").cloned();
        let set = set.map(|(key, value)| (key, value.replace("{fake}", url)));
        base.chain(set).collect()
    }
}

const REPORTS: [(&str, &str); 6] = [
    ("id_pointer", "/messages/0/id"),
    ("callback_secret", SECRET),
    ("callback_signature_header", "X-Signature"),
    ("status_id", "/id"),
    ("status_value", "/status"),
    ("status_delivered", "DELIVERED, SEEN"),
];

async fn world(more: &[(&str, &str)]) -> World {
    World::with(json_settings(more), Some(PUBLIC)).await
}

async fn reporting() -> World {
    let more = [&REPORTS[..], &[("status_failed", "REJECTED")], &INBOUND].concat();
    world(&more).await
}

const INBOUND: [(&str, &str); 2] = [("inbound_from", "/from"), ("inbound_text", "/text")];

fn signed(path: &str, body: &serde_json::Value) -> WebhookCall {
    let body = body.to_string().into_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, &body));
    WebhookCall {
        path: path.to_owned(),
        headers: vec![("x-signature".to_owned(), signature)],
        body,
        ..WebhookCall::default()
    }
}

#[tokio::test]
async fn a_json_request_is_filled_in_and_its_answer_read() {
    let mut world = world(&[("text", "A \"{code}\"\nfor you"), ("id_pointer", "/messages/0/id")]).await;
    world
        .fake
        .will([Reaction::Say(202, json!({"messages": [{"id": 4711}]}).to_string())]);
    let sent = message_of(1);
    assert_eq!(world.channel.deliver(sent.clone()).await, accepted("4711"));
    let call = world.fake.call().await;
    assert_eq!((call.verb.as_str(), call.target.as_str()), ("POST", "/v1/messages"));
    assert_eq!(call.headers["authorization"], "Key hunter2");
    assert_eq!(call.headers["content-type"], "application/json");
    let body = call.json();
    assert_eq!(body["to"], "4915123456789");
    assert_eq!(body["text"], "A \"123456\"\nfor you");
    assert_eq!(body["ref"], key_of(&sent).to_string());
    assert!((290..=300).contains(&body["ttl"].as_u64().unwrap()), "{body}");
    assert_eq!(world.channel.receipts(), Receipts::AssumedOnAcceptance);
}

#[tokio::test]
async fn a_get_request_carries_everything_in_its_address() {
    let more = [
        ("method", "GET"),
        ("url", "{fake}/send?k={secret}&to={to}&m={text}&f={from}"),
        ("headers", "-"),
        ("body", "-"),
        ("from", "A&B"),
        ("text", "{code} & more"),
        ("user", "me"),
        ("password", "pass"),
    ];
    let mut world = world(&more).await;
    world.fake.will([Reaction::Say(200, "OK".to_owned())]);
    assert_eq!(world.deliver().await, Handover::Accepted(None));
    let call = world.fake.call().await;
    assert_eq!(
        (call.verb.as_str(), call.target.as_str()),
        (
            "GET",
            "/send?k=hunter2&to=%2B4915123456789&m=123456%20%26%20more&f=A%26B"
        )
    );
    assert_eq!(call.headers["authorization"], "Basic bWU6cGFzcw==");
    assert!(call.body.is_empty());
}

#[tokio::test]
async fn a_form_is_filled_in_and_a_sign_in_sent_the_same_way() {
    let more = [
        ("body", "to={to}&text={text}&from={from}"),
        ("login_text", "{code} + {site}"),
    ];
    let mut world = world(&more).await;
    world.fake.will([Reaction::Say(200, String::new())]);
    assert_eq!(world.channel.deliver_login(prompt()).await, Handover::Accepted(None));
    let call = world.fake.call().await;
    assert_eq!(call.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(form(&call)["text"], "123456 + gateway.example");
    assert_eq!(form(&call)["to"], PHONE);
}

#[tokio::test]
async fn answers_mean_what_the_operator_says_and_else_what_http_says() {
    let more = [
        ("success_pointer", "/status"),
        ("success_value", "ok, queued"),
        ("unreachable", "404, /error/code=17"),
        ("refused", "/error/code=18"),
        ("later", "/error/code=19, 503"),
    ];
    let world = world(&more).await;
    let error = |code: u32| json!({"error": {"code": code}}).to_string();
    let status = |value: &str| json!({"status": value}).to_string();
    let unreachable: IsIt = |it| matches!(it, Handover::CannotReach(_));
    let refused: IsIt = |it| matches!(it, Handover::Refused(_));
    let cases: Vec<(u16, String, IsIt)> = vec![
        (200, status("queued"), |it| matches!(it, Handover::Accepted(_))),
        (200, status("no_credit"), refused),
        (200, status(PHONE), refused),
        (200, "{}".to_owned(), failed),
        (200, "OK".to_owned(), failed),
        (200, error(17), unreachable),
        (400, error(17), unreachable),
        (404, String::new(), unreachable),
        (200, error(18), refused),
        (422, String::new(), refused),
        (401, String::new(), refused),
        (302, String::new(), refused),
        (408, String::new(), failed),
        (500, error(20), failed),
    ];
    for (http_status, body, is_it) in cases {
        world.fake.will([Reaction::Say(http_status, body.clone())]);
        let handover = world.deliver().await;
        assert!(is_it(&handover), "{http_status} {body}: {handover:?}");
        assert!(!format!("{handover:?}").contains(PHONE), "{handover:?}");
    }
    world.fake.will([Reaction::Say(200, error(19))]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(1)));
}

#[tokio::test]
async fn throttling_is_heeded_without_being_described() {
    let mut world = world(&[]).await;
    world
        .fake
        .will([Reaction::SayWith(429, "retry-after: 3\r\n", String::new())]);
    assert_eq!(world.deliver().await, Handover::Later(Duration::from_secs(3)));
    world.fake.call().await;
    assert!(matches!(world.deliver().await, Handover::Later(_)));
    assert!(world.fake.was_not_called());
}

#[tokio::test]
async fn whatever_leaves_the_outcome_open_is_a_failure_and_nothing_is_sent_twice() {
    let mut world = world(&[("timeout_s", "1"), ("id_pointer", "/id")]).await;
    for reaction in [
        Reaction::Close,
        Reaction::Hang,
        Reaction::Say(200, "<html>".to_owned()),
        Reaction::Say(200, json!({"id": ""}).to_string()),
        Reaction::Say(200, "x".repeat(100_000)),
        Reaction::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\":".to_vec()),
        Reaction::Write(b"nonsense\r\n\r\n".to_vec()),
    ] {
        let what = format!("{reaction:?}");
        world.fake.will([reaction]);
        let handover = world.deliver().await;
        assert!(failed(&handover), "{what:.80}: {handover:?}");
        world.fake.call().await;
        assert!(world.fake.was_not_called(), "{what:.80}");
    }
}

#[tokio::test]
async fn a_provider_reports_by_its_own_name_of_the_message_and_copies_do_no_harm() {
    let mut world = reporting().await;
    assert_eq!(world.channel.receipts(), Receipts::Reported);
    world
        .fake
        .will([Reaction::Say(200, json!({"messages": [{"id": "p-1"}]}).to_string())]);
    let sent = message_of(1);
    assert_eq!(world.channel.deliver(sent.clone()).await, accepted("p-1"));
    let report = |status: &str| signed("status", &json!({"id": "p-1", "status": status}));
    for (status, news) in [
        ("SENT", None),
        ("REJECTED", Some(News::Failed)),
        ("DELIVERED", Some(News::Delivered)),
        ("SEEN", Some(News::Delivered)),
    ] {
        assert_eq!(world.channel.receive(report(status)).await.status, 200);
        let told = world.server.news.try_recv().ok();
        assert_eq!(told.as_ref().map(|told| told.news), news, "{status}");
        assert!(told.is_none_or(|told| told.request == sent.request));
    }
}

#[tokio::test]
async fn a_report_that_overtakes_the_answer_waits_for_it() {
    let mut world = reporting().await;
    let go = Arc::new(tokio::sync::Notify::new());
    let answer = json!({"messages": [{"id": "p-1"}]}).to_string();
    world.fake.will([Reaction::SayAfter(Arc::clone(&go), answer)]);
    let sending = tokio::spawn({
        let channel = Arc::clone(&world.channel);
        async move { channel.deliver(message_of(1)).await }
    });
    world.fake.call().await;
    let report = signed("status", &json!({"id": "p-1", "status": "DELIVERED"}));
    let receiving = world.channel.receive(report);
    let (answer, ()) = tokio::join!(receiving, async { go.notify_one() });
    assert_eq!(answer.status, 200);
    assert_eq!(sending.await.unwrap(), accepted("p-1"));
    assert_eq!(world.news().await.news, News::Delivered);
}

#[tokio::test]
async fn after_a_restart_reports_are_found_in_the_books() {
    let mut world = reporting().await;
    let sent = message_of(1);
    world
        .server
        .books
        .keep_handle(world.channel.name(), handle("p-1"), key_of(&sent));
    let report = || signed("status", &json!({"id": "p-1", "status": "DELIVERED"}));
    world.server.books.set_in_trouble(true);
    assert_eq!(world.channel.receive(report()).await.status, 503);
    world.server.books.set_in_trouble(false);
    assert_eq!(world.channel.receive(report()).await.status, 200);
    assert_eq!(world.news().await.request, sent.request);
    let unknown = signed("status", &json!({"id": "p-2", "status": "DELIVERED"}));
    assert_eq!(world.channel.receive(unknown).await.status, 200);
    assert!(world.told_nothing());
}

#[tokio::test]
async fn what_does_not_prove_its_origin_tells_nothing() {
    let mut world = reporting().await;
    let good = || signed("status", &json!({"id": "p-1", "status": "DELIVERED"}));
    let mut bad = vec![good(), good(), good()];
    bad[0].headers.clear();
    bad[1].body.push(b' ');
    bad[2].headers[0].1 = "00".repeat(32);
    for call in bad {
        assert_eq!(world.channel.receive(call).await.status, 401);
    }
    let mut elsewhere = good();
    elsewhere.path = "other".to_owned();
    assert_eq!(world.channel.receive(elsewhere).await.status, 404);
    assert_eq!(
        world.channel.receive(signed("status", &json!({"id": 7}))).await.status,
        400
    );
    assert!(world.told_nothing());
}

#[tokio::test]
async fn a_secret_in_a_header_and_forms_serve_as_well_and_our_own_name_is_enough() {
    let more = [
        ("callback_secret", SECRET),
        ("callback_secret_header", "X-Secret"),
        ("status_id", "ref"),
        ("status_value", "state"),
        ("status_delivered", "1"),
        ("status_read", "2"),
    ];
    let mut world = world(&more).await;
    let sent = message_of(1);
    let own = key_of(&sent).to_string();
    world.fake.will([Reaction::Say(200, String::new())]);
    assert_eq!(world.channel.deliver(sent).await, accepted(&own));
    let call = |secret: &str, state: &str| WebhookCall {
        path: "status".to_owned(),
        headers: vec![("x-secret".to_owned(), secret.to_owned())],
        body: format!("ref={own}&state={state}").into_bytes(),
        ..WebhookCall::default()
    };
    assert_eq!(world.channel.receive(call("another", "1")).await.status, 401);
    assert_eq!(world.channel.receive(call(SECRET, "1")).await.status, 200);
    assert_eq!(world.channel.receive(call(SECRET, "2")).await.status, 200);
    assert_eq!(
        (world.news().await.news, world.news().await.news),
        (News::Delivered, News::Read)
    );
}

#[tokio::test]
async fn phones_are_heard_by_a_template_too() {
    let mut world = reporting().await;
    let written = |text: &str| signed("inbound", &json!({"from": "004915123456789", "text": text}));
    world.fake.will([Reaction::Close]);
    world.deliver().await;
    assert_eq!(world.channel.receive(written("Not me")).await.status, 200);
    assert_eq!(world.news().await.news, News::Disowned);
    assert_eq!(world.channel.receive(written("stop")).await.status, 200);
    assert!(matches!(world.deliver().await, Handover::CannotReach(_)));
    assert_eq!(world.channel.receive(written("start")).await.status, 200);
    assert_eq!(world.channel.receive(signed("inbound", &json!({}))).await.status, 400);
    world
        .fake
        .will([Reaction::Say(200, json!({"messages": [{"id": "p"}]}).to_string())]);
    assert_eq!(world.deliver().await, accepted("p"));
}

#[tokio::test]
async fn a_copy_of_an_old_word_does_nothing_where_words_have_ids() {
    let more = [&REPORTS[..], &INBOUND, &[("inbound_id", "/id")]].concat();
    let world = world(&more).await;
    let written = |text: &str, more: serde_json::Value| {
        let mut body = json!({"from": "4915123456789", "text": text});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        signed("inbound", &body)
    };
    let phone = message_of(1).phone;
    for (call, stopped) in [
        (written("stop", json!({"id": "w1"})), true),
        (written("start", json!({"id": "w2"})), false),
        (written("stop", json!({"id": "w1"})), false),
        // Without an id it is heard all the same.
        (written("stop", json!({})), true),
    ] {
        assert_eq!(world.channel.receive(call).await.status, 200);
        let noted = world.server.books.recipient(world.channel.name(), phone).unwrap();
        assert_eq!(noted.stopped, stopped);
    }
}

#[tokio::test]
async fn the_examination_asks_for_an_answer_and_says_what_it_did_not_try() {
    let mut world = world(&[]).await;
    world.fake.will([Reaction::Say(404, String::new()), Reaction::Close]);
    let findings = world.channel.examine().await;
    assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Well));
    assert!(findings[0].found.contains("Not tried"), "{findings:?}");
    let call = world.fake.call().await;
    assert_eq!((call.verb.as_str(), call.target.as_str()), ("HEAD", "/"));
    assert!(!call.headers.contains_key("authorization"));
    let findings = world.channel.examine().await;
    assert_eq!(findings[0].verdict, Verdict::Broken, "{findings:?}");
}
