//! Meta's calls: the handshake, signatures, statuses, and what people write.

use std::fmt::Write as _;

use ring::hmac;

use super::*;

/// A call that is signed with that secret.
fn signed(body: Vec<u8>, secret: &str) -> WebhookCall {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &body);
    let mut hex = String::new();
    for byte in tag.as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    WebhookCall {
        path: "webhook".into(),
        headers: vec![("x-hub-signature-256".into(), format!("sha256={hex}"))],
        body,
        ..WebhookCall::default()
    }
}

/// An update for a business number with these statuses and messages.
fn update(number_id: &str, statuses: &Value, messages: &Value) -> Value {
    json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": ACCOUNT_ID, "changes": [{ "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550783881", "phone_number_id": number_id },
            "statuses": statuses, "messages": messages,
        }}]}],
    })
}

fn status_of(id: &str, status: &str, data: Option<&str>) -> Value {
    let mut object = json!({
        "id": id, "status": status, "timestamp": "1750263773", "recipient_id": "391234567890",
        "pricing": { "billable": true, "pricing_model": "PMP", "category": "authentication", "type": "regular" },
    });
    if let Some(data) = data {
        object["biz_opaque_callback_data"] = json!(data);
    }
    object
}

fn failed(id: &str, code: i64) -> Value {
    let mut object = status_of(id, "failed", None);
    object["errors"] = json!([{ "code": code, "title": "Message undeliverable", "message": "x" }]);
    object
}

/// What somebody wrote just now.
fn text(from: &str, body: &str) -> Value {
    text_at(from, body, clock::now().unix_seconds())
}

fn text_at(from: &str, body: &str, at: i64) -> Value {
    json!({ "from": from, "id": "wamid.IN", "timestamp": at.to_string(), "type": "text", "text": { "body": body } })
}

/// A genuine call by which a number says STOP.
pub(super) fn stop_of(from: &str) -> WebhookCall {
    let update = update(NUMBER_ID, &json!([]), &json!([text(from, "STOP")]));
    signed(update.to_string().into_bytes(), APP_SECRET)
}

/// A genuine call that brings these statuses.
pub(super) fn update_of(statuses: &Value) -> WebhookCall {
    let update = update(NUMBER_ID, statuses, &json!([]));
    signed(update.to_string().into_bytes(), APP_SECRET)
}

impl World {
    async fn post(&self, body: &Value) -> u16 {
        self.channel
            .receive(signed(body.to_string().into_bytes(), APP_SECRET))
            .await
            .status
    }

    async fn statuses(&self, statuses: Value) -> u16 {
        self.post(&update(NUMBER_ID, &statuses, &json!([]))).await
    }

    async fn messages(&self, messages: Value) -> u16 {
        self.post(&update(NUMBER_ID, &json!([]), &messages)).await
    }

    async fn handshake(&self, query: &str) -> WebhookAnswer {
        let call = WebhookCall {
            is_get: true,
            path: "webhook".into(),
            query: query.to_owned(),
            ..WebhookCall::default()
        };
        self.channel.receive(call).await
    }

    fn is_stopped(&self, number: &str) -> bool {
        let recipient = self.server.books.recipient(self.channel.name(), phone(number));
        recipient.is_some_and(|recipient| recipient.stopped)
    }
}

#[tokio::test]
async fn the_handshake_echoes_the_challenge_to_whoever_knows_the_word() {
    let world = World::new().await;
    let good = format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}");
    let answer = world.handshake(&good).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "1158201444"));
    for (query, status) in [
        (String::new(), 403),
        (good.replace(VERIFY_TOKEN, "another-word-altogether"), 403),
        (good.replace(VERIFY_TOKEN, ""), 403),
        (good.replace("subscribe", "unsubscribe"), 403),
        (good.replace("hub.challenge=1158201444&", ""), 400),
        (good.replace("1158201444", "%3Cscript%3E"), 400),
        (good.replace("1158201444", &"1".repeat(129)), 400),
    ] {
        assert_eq!(world.handshake(&query).await, WebhookAnswer::status(status), "{query}");
    }
}

#[tokio::test]
async fn what_the_apps_secret_did_not_sign_tells_nothing() {
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    let body = update(NUMBER_ID, &json!([status_of("wamid.A", "delivered", None)]), &json!([]));
    let genuine = signed(body.to_string().into_bytes(), APP_SECRET);
    let mut forged = vec![signed(genuine.body.clone(), "another secret")];
    for change in [
        |call: &mut WebhookCall| call.headers.clear(),
        |call: &mut WebhookCall| call.body.push(b' '),
        |call: &mut WebhookCall| call.headers[0].1 = call.headers[0].1.replace("sha256=", ""),
        |call: &mut WebhookCall| call.headers[0].1 = call.headers[0].1.replace("sha256=", "sha1="),
        |call: &mut WebhookCall| call.headers[0].1.truncate(20),
        |call: &mut WebhookCall| call.headers[0].1.push('0'),
        |call: &mut WebhookCall| call.headers[0].1 = "sha256=é".into(),
        |call: &mut WebhookCall| call.headers[0].0 = "x-hub-signature".into(),
    ] {
        let mut call = genuine.clone();
        change(&mut call);
        forged.push(call);
    }
    for call in forged {
        assert_eq!(
            world.channel.receive(call.clone()).await.status,
            401,
            "{:?}",
            call.headers
        );
    }
    let elsewhere = WebhookCall {
        path: "webhooks".into(),
        ..genuine.clone()
    };
    assert_eq!(world.channel.receive(elsewhere).await.status, 404);
    let huge = signed(vec![b' '; webhook::MAX_BODY_BYTES + 1], APP_SECRET);
    assert_eq!(world.channel.receive(huge).await.status, 413);
    assert!(world.is_quiet());
    assert_eq!(world.channel.receive(genuine).await.status, 200);
    assert_eq!(world.news().await.news, News::Delivered);
}

#[tokio::test]
async fn signed_nonsense_is_harmless() {
    let mut world = World::new().await;
    for (body, status) in [
        ("", 400),
        ("7", 400),
        ("[]", 200),
        ("{\"entry\":7}", 400),
        ("{\"entry\":null}", 200),
        (
            r#"{"entry":[7,{"changes":null},{"changes":[{"field":"messages"},{"field":7},null]}]}"#,
            200,
        ),
        ("{}", 200),
        (
            r#"{"object":"page","entry":[{"changes":[{"field":"feed","value":[1]}]}]}"#,
            200,
        ),
        (r#"{"entry":[{"changes":[{"field":"messages","value":"x"}]}]}"#, 200),
    ] {
        let call = signed(body.as_bytes().to_vec(), APP_SECRET);
        assert_eq!(world.channel.receive(call).await.status, status, "{body}");
    }
    let strange =
        json!([1, null, {}, { "id": "", "status": "delivered" }, { "id": "w", "status": "failed", "errors": null }]);
    assert_eq!(world.post(&update(NUMBER_ID, &strange, &strange)).await, 200);
    assert_eq!(world.post(&update(NUMBER_ID, &Value::Null, &Value::Null)).await, 200);
    assert!(world.is_quiet());
}

#[tokio::test]
async fn statuses_are_news_once_and_in_order_however_they_come() {
    let mut world = World::new().await;
    let sent = message_of(1);
    world.deliver_as(sent.clone(), "wamid.A").await;
    for status in [
        "sent",
        "delivered",
        "delivered",
        "read",
        "delivered",
        "read",
        "played",
        "warning",
    ] {
        assert_eq!(world.statuses(json!([status_of("wamid.A", status, None)])).await, 200);
    }
    assert_eq!(world.statuses(json!([failed("wamid.A", 131_026)])).await, 200);
    let expected = |news| ChannelNews {
        account: sent.account,
        request: sent.request,
        leg: world.channel.name().clone(),
        news,
        detail: None,
    };
    let (delivered, read) = (expected(News::Delivered), expected(News::Read));
    assert_eq!((world.news().await, world.news().await), (delivered, read));
    assert!(world.is_quiet());
}

#[tokio::test]
async fn many_statuses_of_many_messages_come_in_one_call() {
    let mut world = World::new().await;
    for number in 1..=3 {
        let phone = format!("+39123456789{number}");
        let message = message(number, &phone, "123456", clock::now()).unwrap();
        world.deliver_as(message, &format!("wamid.{number}")).await;
    }
    let part = |id: &str| update(NUMBER_ID, &json!([status_of(id, "delivered", None)]), &json!([]))["entry"][0].clone();
    let mut body = update(
        NUMBER_ID,
        &json!([status_of("wamid.1", "delivered", None), { "new": true }]),
        &json!([]),
    );
    let more = part("wamid.2")["changes"][0].clone();
    let new_forms = [
        json!({ "field": "messages" }),
        json!({ "field": "messages", "value": null }),
        more,
    ];
    body["entry"][0]["changes"].as_array_mut().unwrap().extend(new_forms);
    body["entry"].as_array_mut().unwrap().push(json!({ "changes": null }));
    body["entry"].as_array_mut().unwrap().push(part("wamid.3"));
    assert_eq!(world.post(&body).await, 200);
    for _ in 0..3 {
        assert_eq!(world.news().await.news, News::Delivered);
    }
    let thousand: Vec<_> = (0..1_000).map(|_| status_of("wamid.1", "delivered", None)).collect();
    assert_eq!(world.statuses(json!(thousand)).await, 200);
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_failure_says_why_in_our_words_and_is_remembered_of_the_number() {
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    assert_eq!(world.statuses(json!([failed("wamid.A", 131_026)])).await, 200);
    let news = world.news().await;
    assert_eq!(news.news, News::Failed);
    assert!(news.detail.unwrap().as_str().starts_with("131026: not on WhatsApp"));
    assert_eq!(world.reach().await, Reach::Unreachable);
    // It arrived on another device of theirs.
    assert_eq!(
        world.statuses(json!([status_of("wamid.A", "delivered", None)])).await,
        200
    );
    assert_eq!(world.news().await.news, News::Delivered);
    assert_eq!(world.reach().await, Reach::Reachable);
}

#[tokio::test]
async fn a_status_that_overtakes_the_answer_finds_its_message() {
    let mut world = World::new().await;
    let (sent, answer) = (message_of(1), Arc::new(Notify::new()));
    let body = json!({ "messages": [{ "id": "wamid.A" }] }).to_string();
    world.fake.will([Reaction::SayAfter(Arc::clone(&answer), body)]);
    let (channel, message) = (Arc::clone(&world.channel), sent.clone());
    let sending = tokio::spawn(async move { channel.deliver(message).await });
    world.fake.call().await;
    let data = key_of(&sent).to_string();
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.A", "delivered", Some(&data))]))
            .await,
        200
    );
    assert_eq!(world.news().await.request, sent.request);
    answer.notify_one();
    assert_eq!(sending.await.unwrap(), accepted("wamid.A"));
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.A", "delivered", Some(&data))]))
            .await,
        200
    );
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_message_of_unknown_outcome_can_still_be_heard_of() {
    let mut world = World::new().await;
    let sent = message_of(1);
    world.fake.will([Reaction::Close]);
    assert!(is_failed(&world.channel.deliver(sent.clone()).await));
    let data = key_of(&sent).to_string();
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.X", "delivered", Some(&data))]))
            .await,
        200
    );
    assert_eq!(world.news().await.request, sent.request);
}

#[tokio::test]
async fn after_a_restart_messages_are_found_by_their_data_and_in_the_books() {
    let mut world = World::new().await;
    let sent = message_of(1);
    world.deliver_as(sent.clone(), "wamid.A").await;
    let name = world.channel.name().clone();
    world
        .server
        .books
        .keep_handle(&name, Handle::new("wamid.A").unwrap(), key_of(&sent));
    world.restart();
    assert_eq!(
        world.statuses(json!([status_of("wamid.A", "delivered", None)])).await,
        200
    );
    assert_eq!(world.news().await.request, sent.request);
    let data = key_of(&sent).to_string();
    assert_eq!(
        world.statuses(json!([status_of("wamid.B", "read", Some(&data))])).await,
        200
    );
    assert_eq!(world.news().await.request, sent.request);
}

#[tokio::test]
async fn statuses_of_others_are_acknowledged_and_passed_over() {
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    let ours = json!([status_of("wamid.A", "delivered", None)]);
    assert_eq!(
        world
            .post(&update("999", &ours, &json!([text("391234567890", "STOP")])))
            .await,
        200
    );
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.Z", "delivered", Some("order 4711"))]))
            .await,
        200
    );
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.L", "read", Some("cs1.login.9"))]))
            .await,
        200
    );
    assert!(world.is_quiet() && !world.is_stopped(PHONE));
}

#[tokio::test]
async fn what_the_books_cannot_take_comes_again() {
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    world.server.books.set_in_trouble(true);
    let both = json!([
        status_of("wamid.Z", "delivered", None),
        status_of("wamid.A", "delivered", None)
    ]);
    assert_eq!(world.statuses(both.clone()).await, 503);
    assert_eq!(world.news().await.news, News::Delivered, "the other one was taken");
    assert_eq!(world.messages(json!([text("391234567890", "STOP")])).await, 503);
    world.server.books.set_in_trouble(false);
    assert_eq!(world.statuses(both).await, 200);
    assert!(world.is_quiet());
    world.server.news.close();
    assert_eq!(world.statuses(json!([status_of("wamid.A", "read", None)])).await, 503);
}

#[tokio::test]
async fn who_writes_stop_gets_nothing_more_until_they_write_start() {
    let mut world = World::new().await;
    assert_eq!(world.messages(json!([text("391234567890", " Stop. ")])).await, 200);
    assert_eq!(world.reach().await, Reach::Unreachable);
    assert!(matches!(world.deliver().await, Handover::CannotReach(_)));
    assert!(world.fake.was_not_called());
    assert_eq!(world.messages(json!([text("391234567890", "START")])).await, 200);
    assert_eq!(world.reach().await, Reach::Reachable);
    let old = clock::now().unix_seconds() - 60;
    assert_eq!(world.messages(json!([text_at("391234567890", "STOP", old)])).await, 200);
    assert_eq!(world.reach().await, Reach::Reachable, "an older word came late");
}

#[tokio::test]
async fn people_whom_whatsapp_calls_by_other_digits_are_heard() {
    let mut world = World::new().await;
    let number = "+5511912345678";
    let sent = message(1, number, "123456", clock::now()).unwrap();
    let body = json!({ "contacts": [{ "input": number, "wa_id": "551112345678" }], "messages": [{ "id": "wamid.A" }] });
    world.fake.will([Reaction::Say(200, body.to_string())]);
    assert_eq!(world.channel.deliver(sent).await, accepted("wamid.A"));
    world.restart();
    assert_eq!(world.messages(json!([text("551112345678", "stop")])).await, 200);
    assert!(world.is_stopped(number));
    assert_eq!(world.messages(json!([text("551112345678", "start")])).await, 200);
    assert!(!world.is_stopped(number));
}

#[tokio::test]
async fn a_stop_that_comes_while_a_message_is_taken_stays_beside_the_digits_that_the_answer_names() {
    let mut world = World::new().await;
    let number = "+5511912345678";
    let answer = Arc::new(Notify::new());
    let body = json!({ "contacts": [{ "input": number, "wa_id": "551112345678" }], "messages": [{ "id": "wamid.A" }] });
    world
        .fake
        .will([Reaction::SayAfter(Arc::clone(&answer), body.to_string())]);
    let (channel, sent) = (
        Arc::clone(&world.channel),
        message(1, number, "123456", clock::now()).unwrap(),
    );
    let sending = tokio::spawn(async move { channel.deliver(sent).await });
    world.fake.call().await;
    assert_eq!(world.messages(json!([text("5511912345678", "STOP")])).await, 200);
    answer.notify_one();
    assert_eq!(sending.await.unwrap(), accepted("wamid.A"));
    let known = world
        .server
        .books
        .recipient(world.channel.name(), phone(number))
        .unwrap();
    assert_eq!((known.address.as_str(), known.stopped), ("551112345678", true));
    assert_eq!(world.messages(json!([text("551112345678", "START")])).await, 200);
    assert!(!world.is_stopped(number));
}

#[tokio::test]
async fn a_word_that_answers_a_message_counts_for_its_number_even_without_one() {
    let world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    let mut hidden = text("", "STOP");
    assert_eq!(world.messages(json!([hidden])).await, 200);
    assert!(!world.is_stopped(PHONE));
    hidden["context"] = json!({ "id": "wamid.A" });
    assert_eq!(world.messages(json!([hidden])).await, 200);
    assert!(world.is_stopped(PHONE));
}

#[tokio::test]
async fn who_did_not_ask_for_a_code_ends_it() {
    let mut world = World::new().await;
    let first = message_of(1);
    world.deliver_as(first.clone(), "wamid.A").await;
    let second = message_of(2);
    world.deliver_as(second.clone(), "wamid.B").await;
    assert_eq!(
        world.messages(json!([text("391234567890", "It wasn’t me!")])).await,
        200
    );
    let news = world.news().await;
    assert_eq!((news.request, news.news), (second.request, News::Disowned));
    // Meta's own button under the first one.
    let pressed = json!([{
        "from": "391234567890", "id": "wamid.IN", "timestamp": "1753919111", "type": "button",
        "context": { "from": "15550783881", "id": "wamid.A" },
        "button": { "payload": "DID_NOT_REQUEST_CODE", "text": "I didn't request a code" },
    }]);
    assert_eq!(world.messages(pressed.clone()).await, 200);
    assert_eq!(world.news().await.request, first.request);
    let name = world.channel.name().clone();
    world
        .server
        .books
        .keep_handle(&name, Handle::new("wamid.A").unwrap(), key_of(&first));
    world.restart();
    assert_eq!(world.messages(pressed).await, 200);
    assert_eq!(world.news().await.request, first.request, "after a restart, too");
    assert_eq!(world.messages(json!([text("391234567890", "NO")])).await, 200);
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_word_from_before_a_code_does_not_end_it() {
    let mut world = World::new().await;
    world.deliver_as(message_of(1), "wamid.A").await;
    let before = clock::now().unix_seconds() - 60;
    assert_eq!(
        world.messages(json!([text_at("391234567890", "NO", before)])).await,
        200
    );
    assert_eq!(
        world
            .messages(json!([
                text("391234567890", "thank you"),
                text("391234567890", "482913")
            ]))
            .await,
        200
    );
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_sign_in_is_refused_by_a_word() {
    let mut world = World::new().await;
    world.fake.will([took("wamid.L")]);
    let prompt = LoginPrompt {
        attempt: 77,
        phone: phone(PHONE),
        code: Code::parse("4711").unwrap(),
        device: String::new(),
        address: String::new(),
        at: clock::now(),
        expires_at: clock::now().plus_millis(60_000),
    };
    assert_eq!(world.channel.deliver_login(prompt).await, accepted("wamid.L"));
    assert_eq!(
        world
            .statuses(json!([status_of("wamid.L", "delivered", Some("cs1.login.77"))]))
            .await,
        200
    );
    assert_eq!(world.messages(json!([text("391234567890", "no")])).await, 200);
    let expected = LoginReply {
        attempt: 77,
        phone: phone(PHONE),
        is_me: false,
    };
    assert_eq!(world.server.logins.try_recv().unwrap(), expected);
    assert!(world.is_quiet());
}
