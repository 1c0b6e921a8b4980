//! In which language the bot speaks: to somebody who talks with it, and to whoever gets a code.

use countersign_channels::testing::Server;
use countersign_channels::{OwnTexts, Texts};
use countersign_core::Locale;
use serde_json::{Value, json};

use crate::bot_api::{BotApi, contact, data, press, text};
use crate::support::*;

/// What a person does whose app is in that language.
fn in_language(mut update: Value, tag: &str) -> Value {
    let place = if update["callback_query"].is_null() {
        &mut update["message"]["from"]
    } else {
        &mut update["callback_query"]["from"]
    };
    place["language_code"] = tag.into();
    update
}

async fn said(api: &BotApi, number: usize) -> String {
    let sent = api.call("sendMessage", number).await;
    sent["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_person_is_answered_in_the_language_of_their_app() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.happens(in_language(text(1, NOW_S, CHAT, "/start"), "ru"));
    let welcome = api.call("sendMessage", 1).await;
    assert!(welcome["text"].as_str().unwrap().starts_with("Здравствуйте!"));
    let button = &welcome["reply_markup"]["keyboard"][0][0];
    assert_eq!(button["text"], "Отправить мой номер телефона");
    api.happens(in_language(contact(2, NOW_S + 1, CHAT, PHONE), "pt-br"));
    assert!(
        said(&api, 2)
            .await
            .starts_with("Pronto: a partir de agora, os códigos de +39 333 123 4567")
    );
    api.happens(in_language(text(3, NOW_S + 2, CHAT, "/stop"), "ar"));
    let stopped = said(&api, 3).await;
    assert!(
        stopped.contains("\u{200e}/start"),
        "a command is written from left to right: {stopped}"
    );
    // No texts in it, nonsense, and none said: the default.
    for (number, tag) in [(4, "ja"), (5, "%%%")] {
        api.happens(in_language(text(number, NOW_S + 3, CHAT, "hello"), tag));
    }
    api.happens(text(6, NOW_S + 4, CHAT, "hello"));
    api.all_confirmed().await;
    listening.end().await;
    for number in 4..=6 {
        assert!(said(&api, number).await.starts_with("I only bring verification codes."));
    }
}

#[tokio::test]
async fn who_shares_a_number_without_a_language_is_answered_in_its_countrys() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.happens(contact(1, NOW_S, CHAT, "4915123456789"));
    assert!(said(&api, 1).await.starts_with("Fertig: Codes für +49 1512 3456789"));
    api.happens(text(2, NOW_S + 1, CHAT, "/stop"));
    assert!(
        said(&api, 2)
            .await
            .starts_with("Fertig: Es kommen keine Codes mehr hierher.")
    );
    listening.end().await;
}

#[tokio::test]
async fn a_code_comes_in_the_language_that_the_send_asked_for() {
    let (mut server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let mut message = code_message(1);
    message.locale = Locale::parse("ar");
    bot.deliver(message).await;
    let sent = api.call("sendMessage", 1).await;
    let before = "رمز التحقق الخاص بك هو ".encode_utf16().count();
    assert_eq!(sent["text"], "رمز التحقق الخاص بك هو 482913.\n\nلا تعطِ هذا الرمز لأحد.");
    assert_eq!(
        sent["entities"],
        json!([{ "type": "code", "offset": before, "length": 6 }])
    );
    let buttons = &sent["reply_markup"]["inline_keyboard"][0];
    assert_eq!(
        (&buttons[0]["text"], &buttons[1]["text"]),
        (&json!("نسخ الرمز"), &json!("لم أكن أنا"))
    );

    let listening = Listening::start(&bot);
    api.happens(in_language(press(1, CHAT, 1, &data(&sent, 1)), "ar"));
    let edited = api.call("editMessageText", 1).await;
    assert_eq!(edited["text"], "أفدت بأنك لم تطلب الرمز: لم يعد صالحًا.");
    next(&mut server.news).await;
    listening.end().await;
}

#[tokio::test]
async fn an_operator_may_have_words_for_one_bot_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bot")).unwrap();
    let file = folder.path().join("bot").join("en.ftl");
    std::fs::write(file, "telegram-help = I am the bot of Acme.\n").unwrap();
    let own = OwnTexts {
        folder: Some(folder.path().to_owned()),
        ..OwnTexts::default()
    };
    let (mut server, api) = (Server::new(), BotApi::start().await);
    server.ports.texts = Texts::with_own(&own, &[leg()]).unwrap();
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.happens(text(1, NOW_S, CHAT, "hello"));
    assert_eq!(said(&api, 1).await, "I am the bot of Acme.");
    listening.end().await;
}
