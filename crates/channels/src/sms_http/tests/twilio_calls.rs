//! Twilio's calls: what became of messages, what phones wrote, and what isn't Twilio's.

use base64::Engine as _;
use ring::hmac;

use super::twilio::{TOKEN, resource, settings, taken};
use super::*;

const PUBLIC: &str = "https://gateway.example";
const SID: &str = "SM00000000000000000000000000000001";

async fn world() -> World {
    World::with(settings(&[("callbacks", "true")]), Some(PUBLIC)).await
}

/// A call as Twilio makes it, signed with that token.
fn signed(token: &str, path: &str, query: &str, fields: &[(&str, &str)]) -> WebhookCall {
    let mut text = format!("{PUBLIC}/channels/sms/{path}");
    if !query.is_empty() {
        text = format!("{text}?{query}");
    }
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    for (name, value) in &sorted {
        text.push_str(name);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    WebhookCall {
        is_get: false,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: vec![("x-twilio-signature".to_owned(), signature)],
        body: body.extend_pairs(fields).finish().into_bytes(),
    }
}

async fn status(world: &World, query: &str, status: &str, code: &str) -> u16 {
    let fields = [("MessageSid", SID), ("MessageStatus", status), ("ErrorCode", code)];
    world
        .channel
        .receive(signed(TOKEN, "status", query, &fields))
        .await
        .status
}

async fn inbound(world: &World, name: &str, text: &str) -> u16 {
    let fields = [("MessageSid", name), ("From", PHONE), ("Body", text)];
    world
        .channel
        .receive(signed(TOKEN, "inbound", "", &fields))
        .await
        .status
}

#[tokio::test]
async fn twilio_is_told_where_to_call_and_its_calls_are_news_once_and_in_order() {
    let mut world = world().await;
    let sent = message_of(1);
    world.fake.will([taken(SID)]);
    world.channel.deliver(sent.clone()).await;
    let address = form(&world.fake.call().await)["StatusCallback"].clone();
    let query = format!("m={}", key_of(&sent));
    assert_eq!(address, format!("{PUBLIC}/channels/sms/status?{query}"));
    for said in [
        "queued",
        "sent",
        "delivered",
        "sending",
        "delivered",
        "undelivered",
        "read",
        "read",
    ] {
        assert_eq!(status(&world, &query, said, "").await, 200);
    }
    let mut told = Vec::new();
    while let Ok(news) = world.server.news.try_recv() {
        assert_eq!(news.request, sent.request);
        told.push(news.news);
    }
    assert_eq!(told, [News::Delivered, News::Read]);
}

#[tokio::test]
async fn a_failure_is_told_in_words_and_a_later_arrival_is_still_news() {
    let mut world = world().await;
    let query = format!("m={}", key_of(&message_of(1)));
    assert_eq!(status(&world, &query, "undelivered", "30005").await, 200);
    let news = world.news().await;
    let detail = news.detail.unwrap();
    assert_eq!(
        (news.news, detail.as_str()),
        (News::Failed, "an unknown number (Twilio’s error 30005)")
    );
    assert_eq!(status(&world, &query, "delivered", "").await, 200);
    assert_eq!(world.news().await.news, News::Delivered);
}

#[tokio::test]
async fn a_call_before_the_answer_to_its_send_counts_once() {
    let mut world = world().await;
    let sent = message_of(1);
    let query = format!("m={}", key_of(&sent));
    assert_eq!(status(&world, &query, "delivered", "").await, 200);
    world.fake.will([taken(SID)]);
    world.channel.deliver(sent).await;
    assert_eq!(status(&world, &query, "delivered", "").await, 200);
    assert_eq!(world.news().await.news, News::Delivered);
    assert!(world.told_nothing());
}

#[tokio::test]
async fn after_a_restart_a_message_is_found_by_its_address_or_in_the_books() {
    let mut world = world().await;
    let sent = message_of(1);
    world.fake.will([taken(SID)]);
    world.channel.deliver(sent.clone()).await;
    world
        .server
        .books
        .keep_handle(world.channel.name(), handle(SID), key_of(&sent));
    world = world.restarted(settings(&[("callbacks", "true")]), Some(PUBLIC));
    assert_eq!(status(&world, "", "delivered", "").await, 200);
    assert_eq!(world.news().await.request, sent.request);
}

#[tokio::test]
async fn an_unknown_message_is_passed_over_unless_the_books_can_not_be_asked() {
    let mut world = world().await;
    assert_eq!(status(&world, "", "delivered", "").await, 200);
    assert!(world.told_nothing());
    world.server.books.set_in_trouble(true);
    assert_eq!(status(&world, "", "delivered", "").await, 503);
}

#[tokio::test]
async fn what_is_not_signed_so_tells_nothing() {
    let mut world = world().await;
    let query = format!("m={}", key_of(&message_of(1)));
    let other = format!("m={}", key_of(&message_of(2)));
    let fields = [("MessageSid", SID), ("MessageStatus", "delivered")];
    let call = || signed(TOKEN, "status", &query, &fields);
    let mut calls = vec![signed("another-token", "status", &query, &fields)];
    let mut change = |change: &dyn Fn(&mut WebhookCall)| {
        let mut call = call();
        change(&mut call);
        calls.push(call);
    };
    change(&|call| call.headers.clear());
    change(&|call| call.headers[0].1 = String::new());
    change(&|call| call.headers[0].1.push('A'));
    change(&|call| call.query.clone_from(&other));
    change(&|call| call.query.clear());
    change(&|call| call.path = "inbound".to_owned());
    change(&|call| call.body.extend(b"&MessageStatus=failed"));
    change(&|call| call.body.clear());
    for call in calls {
        let answer = world.channel.receive(call.clone()).await;
        assert_eq!(answer.status, 401, "{call:?}");
    }
    assert!(world.told_nothing());
    assert_eq!(world.channel.receive(call()).await.status, 200);
}

#[tokio::test]
async fn calls_that_are_none_of_twilios_are_refused_by_their_form() {
    let world = world().await;
    let fields = [("MessageSid", SID)];
    assert_eq!(
        world.channel.receive(signed(TOKEN, "other", "", &fields)).await.status,
        404
    );
    assert_eq!(
        world.channel.receive(signed(TOKEN, "status", "", &fields)).await.status,
        400
    );
    let strange = [("MessageSid", "../x"), ("MessageStatus", "delivered")];
    assert_eq!(
        world
            .channel
            .receive(signed(TOKEN, "status", "", &strange))
            .await
            .status,
        400
    );
    let mut call = signed(TOKEN, "status", "", &fields);
    call.is_get = true;
    assert_eq!(world.channel.receive(call.clone()).await.status, 405);
    call.is_get = false;
    call.body = vec![b'x'; MAX_CALL_BYTES + 1];
    assert_eq!(world.channel.receive(call).await.status, 413);
}

#[tokio::test]
async fn with_an_api_key_alone_no_call_is_believed() {
    let more = [
        ("auth_token", "-"),
        ("api_key", "SK0123456789abcdef0123456789abcdef"),
        ("api_key_secret", "a-secret"),
    ];
    let world = World::with(settings(&more), Some(PUBLIC)).await;
    for token in ["a-secret", ""] {
        let call = signed(token, "inbound", "", &[("From", PHONE), ("Body", "STOP")]);
        assert_eq!(world.channel.receive(call).await.status, 401);
    }
}

#[tokio::test]
async fn stop_and_start_hold_for_every_account_and_a_copy_of_an_old_word_does_nothing() {
    let world = world().await;
    let stopped = || {
        let recipient = world.server.books.recipient(world.channel.name(), message_of(1).phone);
        recipient.is_some_and(|recipient| recipient.stopped)
    };
    assert_eq!(inbound(&world, "in-1", "Stop!").await, 200);
    assert!(stopped());
    assert_eq!(inbound(&world, "in-2", "start").await, 200);
    assert!(!stopped());
    assert_eq!(inbound(&world, "in-1", "Stop!").await, 200);
    assert!(!stopped());
    // Twilio's own list says it by a word of its own, whatever was written.
    let fields = [
        ("MessageSid", "in-3"),
        ("From", PHONE),
        ("Body", "basta"),
        ("OptOutType", "STOP"),
    ];
    assert_eq!(
        world
            .channel
            .receive(signed(TOKEN, "inbound", "", &fields))
            .await
            .status,
        200
    );
    assert!(stopped());
}

#[tokio::test]
async fn a_word_that_can_not_be_noted_now_has_to_come_again() {
    let world = world().await;
    world.server.books.set_in_trouble(true);
    assert_eq!(inbound(&world, "in-1", "STOP").await, 503);
    world.server.books.set_in_trouble(false);
    assert_eq!(inbound(&world, "in-1", "STOP").await, 200);
    let recipient = world.server.books.recipient(world.channel.name(), message_of(1).phone);
    assert!(recipient.unwrap().stopped);
}

#[tokio::test]
async fn no_disowns_the_last_code_or_sign_in_while_it_lives_even_if_its_send_failed() {
    let mut world = world().await;
    let sent = message_of(1);
    assert_eq!(inbound(&world, "in-1", "NO").await, 200);
    assert!(world.told_nothing(), "nothing was sent yet");
    world.fake.will([Reaction::Close]);
    assert!(failed(&world.channel.deliver(sent.clone()).await));
    assert_eq!(inbound(&world, "in-2", "it wasn’t me").await, 200);
    let news = world.news().await;
    assert_eq!((news.request, news.news), (sent.request, News::Disowned));
    world.fake.will([taken(SID)]);
    world.channel.deliver_login(prompt()).await;
    assert_eq!(inbound(&world, "in-3", "no").await, 200);
    let reply = world.server.logins.recv().await.unwrap();
    assert_eq!((reply.attempt, reply.is_me), (5, false));
    assert_eq!(inbound(&world, "in-4", "what is this?").await, 200);
    assert!(world.told_nothing());
}

/// The clock moves on at once. It stands still only meanwhile: what comes over a connection takes real time.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_a_message_cost_is_asked_for_after_its_end_and_told_once() {
    let mut world = world().await;
    let sent = message_of(1);
    let query = format!("m={}", key_of(&sent));
    assert_eq!(status(&world, &query, "delivered", "").await, 200);
    let (_end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&world.channel).run(ended));
    let say = |price| Reaction::Say(200, resource(SID, "delivered", price).to_string());
    world.fake.will([say(None), say(Some("-0.05"))]);
    for pause in [11, 21] {
        later(Duration::from_secs(pause)).await;
        assert_eq!(world.fake.call().await.verb, "GET");
    }
    let cost = world.cost().await;
    assert_eq!((cost.micros, cost.message), (50_000, Some(key_of(&sent))));
    assert_eq!(status(&world, &query, "delivered", "").await, 200);
    later(Duration::from_hours(2)).await;
    tokio::task::yield_now().await;
    assert!(world.server.costs.try_recv().is_err() && world.fake.was_not_called());
    running.abort();
}
