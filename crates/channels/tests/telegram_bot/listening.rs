//! What recipients say, heard by long polling: twice, out of order, over a restart, and from people who mean no good.

use countersign_channels::testing::Server;
use countersign_channels::{Recipients as _, make};
use countersign_core::News;
use serde_json::{Value, json};

use crate::bot_api::{BotApi, Reply, blocked, contact, data, press, refusal, text, throttling, written};
use crate::support::*;

/// What the bot wrote last, once so many messages were sent.
async fn said(api: &BotApi, number: usize) -> String {
    let sent = api.call("sendMessage", number).await;
    sent["text"].as_str().unwrap_or_default().to_owned()
}

/// Everything that happens there is heard, and then the bot ends.
async fn hears(server: &Server, api: &BotApi, updates: impl IntoIterator<Item = Value>) {
    let listening = Listening::start(&bot(server, api.url(), &[]));
    for update in updates {
        api.happens(update);
    }
    api.all_confirmed().await;
    listening.end().await;
}

#[tokio::test]
async fn a_contact_may_have_its_plus_or_not_and_blanks() {
    for written in ["393331234567", "+393331234567", "+39 333 123 4567"] {
        let (server, api) = (Server::new(), BotApi::start().await);
        hears(&server, &api, [contact(1, NOW_S, CHAT, written)]).await;
        assert!(is_linked(&server), "{written}");
    }
}

#[tokio::test]
async fn a_contact_that_isnt_the_senders_own_links_nothing() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let of_nobody = json!({ "phone_number": PHONE, "first_name": "Ada" });
    let of_another = json!({ "phone_number": PHONE, "first_name": "Ada", "user_id": CHAT + 1 });
    let own = json!({ "phone_number": PHONE, "first_name": "Ada", "user_id": CHAT });
    let origin = json!({ "type": "hidden_user", "sender_user_name": "Ada", "date": 1 });
    let no_number = json!({ "phone_number": "12", "first_name": "Ada", "user_id": CHAT });
    hears(
        &server,
        &api,
        [
            written(1, NOW_S, CHAT, json!({ "contact": of_nobody })),
            written(2, NOW_S, CHAT, json!({ "contact": of_another })),
            written(3, NOW_S, CHAT, json!({ "contact": own, "forward_origin": origin })),
            written(4, NOW_S, CHAT, json!({ "contact": no_number })),
        ],
    )
    .await;
    assert!(!is_linked(&server));
    for number in 1..=3 {
        assert!(said(&api, number).await.starts_with("That isn’t your own contact."));
    }
    assert!(said(&api, 4).await.starts_with("I can’t read that phone number"));
}

#[tokio::test]
async fn nothing_is_heard_in_groups() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let mut in_group = contact(1, NOW_S, CHAT, PHONE);
    in_group["message"]["chat"] = json!({ "id": -100, "type": "group", "title": "Friends" });
    let mut start = text(2, NOW_S, CHAT, "/start");
    start["message"]["chat"] = json!({ "id": -100, "type": "group", "title": "Friends" });
    hears(&server, &api, [in_group, start]).await;
    assert!(!is_linked(&server));
    assert!(api.calls("sendMessage").is_empty());
}

#[tokio::test]
async fn stop_and_start_are_understood_as_people_write_them() {
    for stop in ["/stop", "STOP", "stop please", "/stop@codes_bot"] {
        let (server, api) = (Server::new(), BotApi::start().await);
        link(&server).await;
        hears(&server, &api, [text(1, NOW_S + 1, CHAT, stop)]).await;
        assert!(!is_linked(&server), "{stop}");
        let known = server.books.recipient(&leg(), phone(PHONE)).unwrap();
        assert!(known.stopped);
        assert!(said(&api, 1).await.contains("/start begins again"));
    }
    let (server, api) = (Server::new(), BotApi::start().await);
    link_at(&server, NOW_S, true).await;
    let again = [text(1, NOW_S + 1, CHAT, "Start"), contact(2, NOW_S + 2, CHAT, PHONE)];
    hears(&server, &api, again).await;
    assert!(is_linked(&server));
}

#[tokio::test]
async fn a_number_moves_to_the_chat_whose_person_shares_it() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    hears(&server, &api, [contact(1, NOW_S + 1, CHAT + 5, PHONE)]).await;
    let known = server.books.recipient(&leg(), phone(PHONE)).unwrap();
    assert_eq!(known.address, (CHAT + 5).to_string());
}

#[tokio::test]
async fn a_person_with_a_new_number_is_no_longer_reached_by_the_old_one() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    hears(&server, &api, [contact(1, NOW_S + 1, CHAT, "393337654321")]).await;
    assert_eq!(server.books.recipient(&leg(), phone(PHONE)), None);
    let known = server.books.recipient(&leg(), phone("393337654321")).unwrap();
    assert_eq!(known.address, CHAT.to_string());
}

#[tokio::test]
async fn an_older_word_never_undoes_a_later_one() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link_at(&server, NOW_S, false).await;
    let late = [text(9, NOW_S - 10, CHAT, "/stop"), blocked(8, NOW_S - 5, CHAT)];
    hears(&server, &api, late).await;
    assert!(is_linked(&server));

    link_at(&server, NOW_S, true).await;
    let late = [
        contact(10, NOW_S - 10, CHAT, PHONE),
        contact(11, NOW_S - 9, CHAT, "393337654321"),
    ];
    hears(&server, &api, late).await;
    assert!(server.books.recipient(&leg(), phone(PHONE)).unwrap().stopped);
    assert_eq!(server.books.recipient(&leg(), phone("393337654321")), None);
}

#[tokio::test]
async fn an_update_that_comes_twice_is_answered_once() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let twice = text(1, NOW_S, CHAT, "/start");
    hears(
        &server,
        &api,
        [twice.clone(), twice.clone(), text(2, NOW_S, CHAT, "hi")],
    )
    .await;
    assert_eq!(api.calls("sendMessage").len(), 2);
}

#[tokio::test]
async fn a_restart_goes_on_where_polling_was() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    // The answer gets lost, so Telegram doesn't know that the update was taken.
    api.call("getUpdates", 1).await;
    api.will("getUpdates", Reply::Silence);
    api.happens(text(7, NOW_S, CHAT, "/start"));
    api.call("getUpdates", 2).await;
    listening.end().await;
    assert_eq!(api.calls("sendMessage").len(), 1);

    let restarted = Server::with(server.books);
    hears(&restarted, &api, [text(8, NOW_S, CHAT, "hello")]).await;
    assert!(said(&api, 2).await.starts_with("I only bring verification codes."));
    assert_eq!(api.calls("sendMessage").len(), 2, "the first isn’t answered again");
}

#[tokio::test]
async fn ids_that_start_lower_after_a_quiet_week_are_heard() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.call("getUpdates", 1).await;
    api.will("getUpdates", Reply::Json(200, json!({ "ok": true, "result": [] })));
    api.happens(text(900_000, NOW_S, CHAT, "hello"));
    assert_eq!(api.call("getUpdates", 2).await["offset"], 900_001);
    // What was confirmed once needs no offset any more.
    assert_eq!(api.call("getUpdates", 3).await["offset"], Value::Null);
    api.happens(text(17, NOW_S + 700_000, CHAT, "/start"));
    said(&api, 2).await;
    listening.end().await;
}

#[tokio::test]
async fn an_update_that_makes_no_sense_doesnt_hold_up_the_others() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let updates = [
        json!("what?"),
        json!({ "message": {} }),
        json!({ "update_id": 1, "message": { "chat": "nowhere" } }),
        json!({ "update_id": 2, "something_new": { "a": 1 } }),
        json!({ "update_id": 3, "callback_query": { "id": 1 } }),
        contact(4, NOW_S, CHAT, PHONE),
    ];
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    let answer = json!({ "ok": true, "result": updates });
    api.will("getUpdates", Reply::Json(200, answer));
    assert!(said(&api, 1).await.starts_with("Done"));
    let next = api.call("getUpdates", 2).await;
    assert_eq!(next["offset"], 5);
    assert!(is_linked(&server));
    listening.end().await;
}

#[tokio::test]
async fn blocking_the_bot_unlinks() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    hears(&server, &api, [blocked(1, NOW_S + 1, CHAT)]).await;
    assert_eq!(server.books.recipient(&leg(), phone(PHONE)), None);
}

#[tokio::test]
async fn polling_outlives_whatever_telegram_answers() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.will("deleteWebhook", refusal(500, "Internal Server Error"));
    for reply in [
        Reply::Break,
        Reply::Json(200, json!({ "ok": true, "result": 5 })),
        throttling(1),
    ] {
        api.will("getUpdates", reply);
    }
    api.happens(text(1, NOW_S, CHAT, "/start"));
    said(&api, 1).await;
    listening.end().await;
}

#[tokio::test]
async fn a_webhook_that_comes_back_is_deleted_again() {
    let (server, api) = (Server::new(), BotApi::start().await);
    api.will(
        "getUpdates",
        refusal(409, "Conflict: can't use getUpdates method while webhook is active"),
    );
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    let deleted = api.call("deleteWebhook", 2).await;
    assert_eq!(deleted["drop_pending_updates"], false);
    api.call("getUpdates", 2).await;
    listening.end().await;
}

#[tokio::test]
async fn what_the_books_couldnt_note_is_heard_again() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let listening = Listening::start(&bot(&server, api.url(), &[]));
    api.call("getUpdates", 1).await;
    server.books.set_in_trouble(true);
    api.happens(text(1, NOW_S, CHAT, "hello"));
    api.happens(contact(2, NOW_S, CHAT, PHONE));
    // Only what was handled is confirmed.
    assert_eq!(api.call("getUpdates", 2).await["offset"], 2);
    server.books.set_in_trouble(false);
    assert!(said(&api, 2).await.starts_with("Done"));
    assert!(is_linked(&server));
    listening.end().await;
}

#[tokio::test]
async fn the_signal_ends_it_at_once_whatever_it_waits_for() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let began = std::time::Instant::now();
    let idle = Listening::start(&bot(&server, api.url(), &[]));
    api.call("getUpdates", 1).await;
    idle.end().await;

    api.will("sendMessage", Reply::Silence);
    let answering = Listening::start(&bot(&server, api.url(), &[]));
    api.happens(text(1, NOW_S, CHAT, "/start"));
    api.call("sendMessage", 1).await;
    answering.end().await;
    assert!(began.elapsed().as_secs() < 8);
}

#[tokio::test]
async fn whoever_floods_the_bot_gets_ten_answers() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let flood = (1..=60).map(|id| text(id, NOW_S, CHAT, "hello"));
    let other = text(61, NOW_S, CHAT + 1, "hello");
    hears(&server, &api, flood.chain([other])).await;
    assert_eq!(api.calls("sendMessage").len(), 11);
}

#[tokio::test]
async fn a_throttled_answer_doesnt_hold_up_codes() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    api.will("sendMessage", throttling(3_000));
    hears(&server, &api, [text(1, NOW_S, CHAT, "hello")]).await;
    let sent = bot(&server, api.url(), &[]).deliver(code_message(1)).await;
    assert_eq!(detail(&sent), "");
    assert_eq!(api.calls("sendMessage").len(), 2);
}

#[tokio::test]
async fn disowning_counts_only_from_the_chat_that_got_the_code() {
    let (mut server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    bot.deliver(code_message(1)).await;
    let disown = data(&api.call("sendMessage", 1).await, 1);
    let listening = Listening::start(&bot);
    api.happens(press(1, CHAT + 1, 1, &disown));
    api.happens(press(2, CHAT, 1, "made-up"));
    let mut by_another = press(3, CHAT, 1, &disown);
    by_another["callback_query"]["from"]["id"] = json!(CHAT + 1);
    api.happens(by_another);
    api.all_confirmed().await;
    assert!(server.news.try_recv().is_err());
    let answer = api.call("answerCallbackQuery", 2).await;
    assert_eq!(answer["text"], "This button is too old.");
    assert!(api.calls("editMessageText").is_empty());

    api.happens(press(4, CHAT, 1, &disown));
    let news = next(&mut server.news).await;
    assert_eq!((news.request, news.news), (code_message(1).request, News::Disowned));
    listening.end().await;
}

#[tokio::test]
async fn a_button_works_after_a_restart() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    bot(&server, api.url(), &[]).deliver(code_message(3)).await;
    let disown = data(&api.call("sendMessage", 1).await, 1);
    let mut restarted = Server::with(server.books);
    let listening = Listening::start(&bot(&restarted, api.url(), &[]));
    api.happens(press(1, CHAT, 1, &disown));
    assert_eq!(next(&mut restarted.news).await.request, code_message(3).request);
    listening.end().await;
}

#[tokio::test]
async fn a_sign_in_is_refused_by_its_button_and_not_taken_back_then() {
    let (mut server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    bot.deliver_login(prompt(9)).await;
    let refuse = data(&api.call("sendMessage", 1).await, 1);
    let listening = Listening::start(&bot);
    api.happens(press(1, CHAT, 1, &refuse));
    let reply = next(&mut server.logins).await;
    assert_eq!((reply.attempt, reply.is_me), (9, false));
    let edited = api.call("editMessageText", 1).await;
    assert_eq!(edited["text"], "You said that it wasn’t you: the sign-in is refused.");
    bot.withdraw_login(9).await;
    assert_eq!(api.calls("editMessageText").len(), 1);
    listening.end().await;
}

#[tokio::test]
async fn only_the_chat_of_the_number_answers_a_sign_in() {
    let (mut server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    bot.deliver_login(prompt(9)).await;
    let confirm = data(&api.call("sendMessage", 1).await, 0);
    let listening = Listening::start(&bot);
    api.happens(press(1, CHAT + 1, 1, &confirm));
    // The number moved to another chat: whoever had it may not answer for it any more.
    api.happens(contact(2, NOW_S + 1, CHAT + 7, PHONE));
    api.happens(press(3, CHAT, 1, &confirm));
    api.all_confirmed().await;
    let answers = api.calls("answerCallbackQuery");
    assert_eq!(answers[0]["text"], "This button is too old.");
    assert_eq!(
        answers[1]["text"],
        "Your number isn’t linked here any more: /start begins again."
    );
    assert!(server.logins.try_recv().is_err());
    listening.end().await;
}

#[tokio::test]
async fn two_bots_know_their_own_recipients() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let values = [("token", TOKEN), ("base_url", api.url())];
    let config = countersign_channels::testing::config("second", "telegram_bot", &values).unwrap();
    let second = make(config, server.ports.clone()).unwrap();
    let listening = Listening::start(&second);
    api.happens(text(1, NOW_S + 1, CHAT, "/stop"));
    assert!(said(&api, 1).await.starts_with("No codes come here."));
    assert!(is_linked(&server));
    let there = server.books.at_address(second.name(), "4200").await.unwrap();
    assert!(there.is_empty());
    listening.end().await;
}
