//! What recipients say, as Telegram calls it in.

use std::sync::Arc;

use countersign_channels::testing::{MemoryBooks, Server};
use countersign_channels::{Channel, PortError, Recipient, Recipients, WebhookCall};
use countersign_core::{LegName, PhoneNumber};
use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::bot_api::{BotApi, contact, refusal, text};
use crate::support::*;

struct Called {
    server: Server,
    api: BotApi,
    bot: Arc<dyn Channel>,
    secret: String,
}

/// A bot that has set its webhook.
async fn called() -> Called {
    called_by(Server::new()).await
}

async fn called_by(mut server: Server) -> Called {
    server.ports.public_url = Some("https://codes.example.com".to_owned());
    let api = BotApi::start().await;
    let bot = bot(&server, api.url(), &[("mode", "webhook")]);
    let listening = Listening::start(&bot);
    let webhook = api.call("setWebhook", 1).await;
    assert_eq!(webhook["url"], "https://codes.example.com/channels/bot/hook");
    listening.end().await;
    let secret = webhook["secret_token"].as_str().unwrap().to_owned();
    Called {
        server,
        api,
        bot,
        secret,
    }
}

impl Called {
    async fn call(&self, path: &str, secret: Option<&str>, body: &[u8]) -> u16 {
        let header = secret.map(|secret| ("x-telegram-bot-api-secret-token".to_owned(), secret.to_owned()));
        let call = WebhookCall {
            is_get: false,
            query: String::new(),
            path: path.to_owned(),
            headers: header.into_iter().collect(),
            body: body.to_vec(),
        };
        soon(self.bot.receive(call)).await.status
    }

    async fn told(&self, update: &Value) -> u16 {
        let body = update.to_string();
        self.call("hook", Some(&self.secret), body.as_bytes()).await
    }
}

#[tokio::test]
async fn an_update_is_taken_once_however_often_telegram_tells_it() {
    let called = called().await;
    let update = contact(5, NOW_S, CHAT, PHONE);
    assert_eq!(called.told(&update).await, 200);
    assert_eq!(called.told(&update).await, 200);
    assert!(is_linked(&called.server));
    assert_eq!(called.api.calls("sendMessage").len(), 1);
    // Out of order: what happened before comes after.
    assert_eq!(called.told(&text(4, NOW_S - 60, CHAT, "/stop")).await, 200);
    assert!(is_linked(&called.server));
}

/// Books that take their time: something else goes on before each answer.
struct SlowBooks(Arc<MemoryBooks>);

impl Recipients for SlowBooks {
    fn find<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<Recipient>, PortError>> {
        async move {
            yield_now().await;
            self.0.find(channel, phone).await
        }
        .boxed()
    }

    fn at_address<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Recipient>, PortError>> {
        async move {
            yield_now().await;
            self.0.at_address(channel, address).await
        }
        .boxed()
    }

    fn put<'a>(&'a self, channel: &'a LegName, recipient: Recipient) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            yield_now().await;
            self.0.put(channel, recipient).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, channel: &'a LegName, phone: PhoneNumber) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            yield_now().await;
            self.0.remove(channel, phone).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn an_older_word_that_is_told_at_the_same_time_does_not_undo_a_later_one() {
    let mut server = Server::new();
    link_at(&server, NOW_S - 60, false).await;
    server.ports.recipients = Arc::new(SlowBooks(Arc::clone(&server.books)));
    let called = called_by(server).await;
    let (shared, stop) = (contact(5, NOW_S, CHAT, PHONE), text(6, NOW_S + 1, CHAT, "/stop"));
    let answers = tokio::join!(called.told(&shared), called.told(&stop));
    assert_eq!(answers, (200, 200));
    assert!(!is_linked(&called.server));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_before_anything_is_read() {
    let called = called().await;
    let update = contact(5, NOW_S, CHAT, PHONE).to_string();
    let almost = format!("{}x", &called.secret[..called.secret.len() - 1]);
    for secret in [None, Some(""), Some("wrong"), Some(almost.as_str())] {
        assert_eq!(called.call("hook", secret, update.as_bytes()).await, 401);
        assert_eq!(called.call("hook", secret, b"rubbish").await, 401);
    }
    assert!(!is_linked(&called.server));
}

#[tokio::test]
async fn rubbish_is_refused_and_what_is_new_to_us_passed_over() {
    let called = called().await;
    let secret = Some(called.secret.as_str());
    for rubbish in [&b""[..], b"rubbish", b"[]", b"{}", b"\xff\xfe", br#"{"update_id":"5"}"#] {
        assert_eq!(called.call("hook", secret, rubbish).await, 400);
    }
    assert_eq!(called.call("hook", secret, &vec![b' '; (1 << 20) + 1]).await, 413);
    assert_eq!(called.call("other", secret, b"{}").await, 404);
    assert_eq!(called.told(&json!({ "update_id": 1, "new_thing": {} })).await, 200);
    assert_eq!(called.told(&json!({ "update_id": 2, "message": 5 })).await, 200);
}

#[tokio::test]
async fn where_the_books_are_in_trouble_telegram_tells_it_again() {
    let called = called().await;
    let update = contact(5, NOW_S, CHAT, PHONE);
    called.server.books.set_in_trouble(true);
    assert_eq!(called.told(&update).await, 503);
    called.server.books.set_in_trouble(false);
    assert_eq!(called.told(&update).await, 200);
    assert!(is_linked(&called.server));
}

#[tokio::test]
async fn a_bot_that_polls_takes_no_calls() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let call = WebhookCall {
        is_get: false,
        query: String::new(),
        path: "hook".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let bot = bot(&server, api.url(), &[]);
    assert_eq!(bot.receive(call).await.status, 404);
}

#[tokio::test]
async fn setting_the_webhook_is_tried_until_it_works_with_the_same_secret_after_a_restart() {
    let called = called().await;
    called.api.will("setWebhook", refusal(400, "Bad Request: bad webhook"));
    let again = bot(&called.server, called.api.url(), &[("mode", "webhook")]);
    let listening = Listening::start(&again);
    let webhook = called.api.call("setWebhook", 3).await;
    assert_eq!(webhook["secret_token"], called.secret.as_str());
    listening.end().await;
}
