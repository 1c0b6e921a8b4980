//! What becomes of a message: by callback, and by asking.

use countersign_core::{News, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign_report};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::*;

/// The state of `up-1` as the upstream reports it, with the payload of that message.
fn state(delivery: &str, message: &OutgoingMessage) -> Value {
    json!({
        "request_id": "up-1", "phone_number": PHONE, "request_cost": 0.01,
        "delivery_status": {"status": delivery, "updated_at": 1_790_000_000}, "payload": key_of(message).to_string(),
    })
}

fn refunded(message: &OutgoingMessage) -> Value {
    let mut state = state("expired", message);
    state["is_refunded"] = json!(true);
    state
}

/// A callback that is signed with that token at that time.
fn signed(body: &Value, token: &str, at: Timestamp) -> WebhookCall {
    let body = body.to_string().into_bytes();
    let timestamp = at.unix_seconds().to_string();
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    let signature = sign_report(&key, &timestamp, &body);
    WebhookCall {
        is_get: false,
        query: String::new(),
        path: "report".into(),
        headers: vec![
            (TIMESTAMP_HEADER.into(), timestamp),
            (SIGNATURE_HEADER.into(), signature),
        ],
        body,
    }
}

async fn report(world: &World, body: &Value) -> u16 {
    world.channel.receive(signed(body, TOKEN, clock::now())).await.status
}

async fn with_callbacks() -> World {
    World::with(&[("callbacks", "true")], Some("https://gateway.example")).await
}

#[tokio::test]
async fn reports_are_news_once_and_in_order_however_they_come() {
    let mut world = with_callbacks().await;
    let sent = message_of(1);
    world.fake.will([result(&status("up-1"))]);
    world.channel.deliver(sent.clone()).await;
    for delivery in ["sent", "delivered", "delivered", "read", "delivered", "read", "revoked"] {
        assert_eq!(report(&world, &state(delivery, &sent)).await, 200);
    }
    let expected = |news| ChannelNews {
        account: sent.account,
        request: sent.request,
        leg: world.channel.name().clone(),
        news,
        detail: None,
    };
    let (delivered, read) = (expected(News::Delivered), expected(News::Read));
    assert_eq!((world.news().await, world.news().await), (delivered, read));
    assert!(world.server.news.try_recv().is_err());
}

#[tokio::test]
async fn a_report_that_overtakes_the_answer_to_its_send_counts_once() {
    let mut world = with_callbacks().await;
    let sent = message_of(1);
    let delivered = state("delivered", &sent);
    assert_eq!(report(&world, &delivered).await, 200);
    world.fake.will([result(&status("up-1"))]);
    world.channel.deliver(sent.clone()).await;
    assert_eq!(report(&world, &delivered).await, 200);
    assert_eq!(world.news().await.news, News::Delivered);
    assert!(world.server.news.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_signed_with_our_token_and_of_now_tells_nothing() {
    let mut world = with_callbacks().await;
    let body = state("delivered", &message_of(1));
    let now = clock::now();
    let genuine = signed(&body, TOKEN, now);
    let mut forged = vec![
        signed(&body, "another token", now),
        signed(&body, TOKEN, now.plus_millis(-302_000)),
        signed(&body, TOKEN, now.plus_millis(302_000)),
    ];
    for change in [
        |call: &mut WebhookCall| call.headers.clear(),
        |call: &mut WebhookCall| call.body.push(b' '),
        |call: &mut WebhookCall| call.headers[0].1.insert(0, '+'),
        |call: &mut WebhookCall| call.headers[1].1.make_ascii_uppercase(),
    ] {
        let mut call = genuine.clone();
        change(&mut call);
        forged.push(call);
    }
    for call in forged {
        assert_eq!(
            world.channel.receive(call.clone()).await,
            WebhookAnswer::status(401),
            "{call:?}"
        );
    }
    let elsewhere = WebhookCall {
        path: "reports".into(),
        ..genuine.clone()
    };
    assert_eq!(world.channel.receive(elsewhere).await, WebhookAnswer::status(404));
    assert!(world.server.news.try_recv().is_err());
    assert_eq!(world.channel.receive(genuine).await, WebhookAnswer::status(200));
}

#[tokio::test]
async fn a_signed_report_that_is_none_or_of_no_message_does_no_harm() {
    let mut world = with_callbacks().await;
    assert_eq!(report(&world, &json!({"hello": 1})).await, 400);
    assert_eq!(report(&world, &status("up-9")).await, 200);
    let mut huge = signed(&json!("x".repeat(20_000)), TOKEN, clock::now());
    assert_eq!(world.channel.receive(huge.clone()).await, WebhookAnswer::status(413));
    huge.body.clear();
    assert_eq!(world.channel.receive(huge).await, WebhookAnswer::status(401));
    assert!(world.server.news.try_recv().is_err());
}

#[tokio::test]
async fn after_a_restart_a_report_finds_its_message_by_its_payload_or_in_the_books() {
    let mut world = with_callbacks().await;
    let sent = message_of(1);
    let books = Arc::clone(&world.server.books);
    world.restart(Arc::clone(&books));
    assert_eq!(report(&world, &state("delivered", &sent)).await, 200);
    assert_eq!(world.news().await.request, sent.request);

    // An upstream that doesn't give the payload back.
    let mut without = state("read", &sent);
    without.as_object_mut().unwrap().remove("payload");
    world.restart(Arc::clone(&books));
    books.set_in_trouble(true);
    assert_eq!(report(&world, &without).await, 503);
    books.set_in_trouble(false);
    books.keep_handle(world.channel.name(), handle("up-1"), key_of(&sent));
    assert_eq!(report(&world, &without).await, 200);
    let news = world.news().await;
    assert_eq!((news.request, news.news), (sent.request, News::Read));
}

#[tokio::test]
async fn a_message_that_the_upstream_gave_up_is_failed_and_its_refund_told_once() {
    let mut world = with_callbacks().await;
    let sent = message_of(1);
    world.fake.will([result(&status("up-1"))]);
    world.channel.deliver(sent.clone()).await;
    for _ in 0..2 {
        assert_eq!(report(&world, &refunded(&sent)).await, 200);
    }
    assert_eq!(world.news().await.news, News::Failed);
    assert!(world.server.news.try_recv().is_err());
    let (charge, refund) = (world.cost().await, world.cost().await);
    assert_eq!((charge.micros, refund.micros), (10_000, -10_000));
    assert_eq!(
        (refund.message, refund.upstream),
        (Some(key_of(&sent)), Some(handle("up-1")))
    );
    assert!(world.server.costs.try_recv().is_err());
}

#[tokio::test]
async fn without_callbacks_the_upstream_is_asked_until_the_end_is_known() {
    let mut world = World::with(&[("poll_s", "1")], None).await;
    let sent = message_of(1);
    let (end, ended) = watch::channel(false);
    let running = tokio::spawn(Arc::clone(&world.channel).run(ended));
    world.fake.will([
        result(&status("up-1")),
        // It says nothing, then nonsense, then the truth.
        Reaction::Close,
        result(&state("read", &sent)),
    ]);
    world.channel.deliver(sent.clone()).await;
    let news = world.news().await;
    assert_eq!((news.request, news.news), (sent.request, News::Read));
    world.fake.call().await;
    for _ in 0..2 {
        let call = world.fake.call().await;
        assert_eq!(
            (call.method(), call.json()),
            ("checkVerificationStatus", json!({"request_id": "up-1"}))
        );
    }
    end.send(true).unwrap();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    assert!(world.fake.was_not_called());
}
