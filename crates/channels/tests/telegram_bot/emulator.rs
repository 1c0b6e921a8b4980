//! The whole way with an emulator that others wrote: opting in, codes, buttons, sign-ins, opting out.

use countersign_channels::testing::telegram::Telegram;
use countersign_channels::testing::{Server, destination};
use countersign_channels::{Handover, MessageKey};
use countersign_core::{News, Reach};

use crate::support::*;

#[tokio::test]
async fn a_person_opts_in_gets_a_code_disowns_it_and_leaves() {
    let mut server = Server::new();
    let mut telegram = Telegram::start(TOKEN).await.unwrap();
    let bot = bot(&server, telegram.url(), &[]);
    let listening = Listening::start(&bot);
    let message = code_message(1);
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);

    telegram.write(CHAT, "/start").await.unwrap();
    let asked = telegram.sent().await.unwrap();
    let keyboard = &asked.message["reply_markup"]["keyboard"];
    assert_eq!(keyboard[0][0]["request_contact"], true, "{asked:?}");
    assert_eq!(asked.message["chat_id"], CHAT);

    telegram.share_contact(CHAT, PHONE, CHAT).await.unwrap();
    assert!(telegram.sent().await.unwrap().text().contains("+39 333 123 4567"));
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Reachable);

    let handover = bot.deliver(message.clone()).await;
    let sent = telegram.sent().await.unwrap();
    let Handover::Accepted(Some(handle)) = handover else {
        panic!("{handover:?}")
    };
    assert_eq!(handle.as_str(), format!("{CHAT}:{}", sent.id));
    assert!(sent.text().starts_with("482913 is your verification code."));
    assert_eq!(sent.message["protect_content"], true);

    let data = sent.data("It wasn’t me").unwrap();
    telegram.press(CHAT, sent.id, data).await.unwrap();
    let news = next(&mut server.news).await;
    let key = MessageKey {
        account: news.account,
        request: news.request,
    };
    let expected = MessageKey {
        account: message.account,
        request: message.request,
    };
    assert_eq!((key, news.news, news.leg), (expected, News::Disowned, leg()));
    let edited = telegram.edited().await.unwrap();
    assert_eq!(
        edited["text"],
        "You said that this wasn’t you: the code doesn’t work any more."
    );
    assert_eq!(edited["reply_markup"]["inline_keyboard"], serde_json::json!([]));

    telegram.write(CHAT, "/stop").await.unwrap();
    assert!(telegram.sent().await.unwrap().text().contains("/start begins again"));
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);
    assert_eq!(detail(&bot.deliver(code_message(2)).await), "the recipient opted out");
    listening.end().await;
}

#[tokio::test]
async fn a_contact_of_somebody_else_is_refused_with_the_button_again() {
    let server = Server::new();
    let mut telegram = Telegram::start(TOKEN).await.unwrap();
    let bot = bot(&server, telegram.url(), &[]);
    let listening = Listening::start(&bot);

    telegram.share_contact(CHAT, PHONE, CHAT + 1).await.unwrap();
    let refused = telegram.sent().await.unwrap();
    assert!(refused.text().starts_with("That isn’t your own contact."));
    assert_eq!(
        refused.message["reply_markup"]["keyboard"][0][0]["request_contact"],
        true
    );
    assert!(!is_linked(&server));
    listening.end().await;
}

#[tokio::test]
async fn a_sign_in_is_confirmed_by_a_button() {
    let mut server = Server::new();
    let mut telegram = Telegram::start(TOKEN).await.unwrap();
    let bot = bot(&server, telegram.url(), &[]);
    link(&server).await;
    let listening = Listening::start(&bot);

    assert_eq!(bot.deliver_login(prompt(77)).await, Handover::Accepted(None));
    let asked = telegram.sent().await.unwrap();
    assert_eq!(
        asked.text(),
        "Somebody signs in with your phone number. Is that you?\n\nDevice: Firefox on Linux\nAddress: 203.0.113.7\nTime: 2026-11-18 11:06 UTC"
    );
    let data = asked.data("Confirm").unwrap();
    telegram.press(CHAT, asked.id, data).await.unwrap();
    let reply = next(&mut server.logins).await;
    assert_eq!((reply.attempt, reply.phone, reply.is_me), (77, phone(PHONE), true));
    assert_eq!(telegram.edited().await.unwrap()["text"], "You confirmed the sign-in.");
    listening.end().await;
}

#[tokio::test]
async fn a_webhook_is_set_with_its_secret_and_taken_away_by_polling() {
    let mut server = Server::new();
    server.ports.public_url = Some("https://codes.example.com".to_owned());
    let mut telegram = Telegram::start(TOKEN).await.unwrap();
    let by_webhook = bot(&server, telegram.url(), &[("mode", "webhook")]);
    let listening = Listening::start(&by_webhook);
    let webhook = soon(async {
        loop {
            let webhook = telegram.webhook().await.unwrap();
            if !webhook.is_null() {
                return webhook;
            }
        }
    })
    .await;
    listening.end().await;
    assert_eq!(webhook["url"], "https://codes.example.com/channels/bot/hook");
    assert_eq!(
        webhook["allowed_updates"],
        serde_json::json!(["message", "callback_query", "my_chat_member"])
    );
    assert!(webhook["secret_token"].as_str().unwrap().len() >= 32);

    let polled = bot(&server, telegram.url(), &[]);
    let listening = Listening::start(&polled);
    soon(async { while !telegram.webhook().await.unwrap().is_null() {} }).await;
    telegram.write(CHAT, "hello").await.unwrap();
    assert!(telegram.sent().await.unwrap().text().contains("/start"));
    listening.end().await;
}
