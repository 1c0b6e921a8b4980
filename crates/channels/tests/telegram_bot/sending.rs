//! A code on its way out, and everything that can go wrong with it.

use std::time::Duration;

use countersign_channels::testing::{Server, destination, sender};
use countersign_channels::{Handover, Receipts};
use countersign_core::Reach;
use serde_json::json;
use tokio::net::TcpListener;

use crate::bot_api::{BotApi, Reply, refusal, throttling};
use crate::support::*;

#[tokio::test]
async fn a_code_goes_out_protected_with_its_sender_and_two_buttons() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let mut message = code_message(1);
    message.sender = sender("shop_codes");

    let handover = bot.deliver(message).await;
    assert!(matches!(handover, Handover::Accepted(Some(handle)) if handle.as_str() == "4200:1"));
    let mut sent = api.call("sendMessage", 1).await;
    let disown = &mut sent["reply_markup"]["inline_keyboard"][0][1]["callback_data"];
    assert!(disown.as_str().unwrap().len() <= 64);
    *disown = json!("sealed");
    assert_eq!(
        sent,
        json!({
            "chat_id": 4200,
            "text": "482913 is your verification code.\nSender: shop_codes\n\nDon’t give it to anybody else.",
            "entities": [{ "type": "code", "offset": 0, "length": 6 }],
            "link_preview_options": { "is_disabled": true },
            "protect_content": true,
            "reply_markup": { "inline_keyboard": [[
                { "text": "Copy code", "copy_text": { "text": "482913" } },
                { "text": "It wasn’t me", "callback_data": "sealed" },
            ]] },
        })
    );
}

#[tokio::test]
async fn it_has_no_receipts_is_free_and_carries_buttons() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let bot = bot(&server, api.url(), &[]);
    assert_eq!(bot.receipts(), Receipts::AssumedOnAcceptance);
    assert!(!bot.is_paid());
    assert!(bot.carries_buttons());
    assert_eq!((bot.name(), bot.kind()), (&leg(), "telegram_bot"));
}

#[tokio::test]
async fn nothing_goes_to_a_number_that_never_opted_in_or_opted_out() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let bot = bot(&server, api.url(), &[]);
    let message = code_message(1);
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);
    let handover = bot.deliver(message.clone()).await;
    assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");

    link_at(&server, NOW_S, true).await;
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);
    let handover = bot.deliver(message).await;
    assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");
    assert!(api.calls("sendMessage").is_empty());
}

#[tokio::test]
async fn a_senders_own_bot_carries_that_sender_alone_and_no_sign_ins() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[("sender", "@Shop_Codes")]);
    let mut message = code_message(1);
    for other in [None, sender("other_shop")] {
        message.sender = other;
        assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);
        let handover = bot.deliver(message.clone()).await;
        assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");
    }
    let handover = bot.deliver_login(prompt(1)).await;
    assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");
    assert!(api.calls("sendMessage").is_empty());

    message.sender = sender("shop_codes");
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Reachable);
    assert!(matches!(bot.deliver(message).await, Handover::Accepted(Some(_))));
}

#[tokio::test]
async fn where_no_answer_comes_in_time_the_outcome_is_unknown_so_it_failed() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[("timeout_s", "1")]);
    api.will("sendMessage", Reply::Silence);
    let handover = bot.deliver(code_message(1)).await;
    assert!(matches!(handover, Handover::Failed(_)), "{handover:?}");
    assert_eq!(detail(&handover), "no valid answer from Telegram: no answer in time");
    assert_eq!(api.calls("sendMessage").len(), 1);
}

#[tokio::test]
async fn a_connection_lost_in_mid_send_failed_and_the_code_isnt_sent_again() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let broken_off = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"ok\":tr".to_vec();
    for reply in [Reply::Break, Reply::Bytes(broken_off)] {
        let before = api.calls("sendMessage").len();
        api.will("sendMessage", reply);
        let handover = bot.deliver(code_message(1)).await;
        assert!(matches!(handover, Handover::Failed(_)), "{handover:?}");
        assert_eq!(api.calls("sendMessage").len(), before + 1);
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_failed() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let html = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 17\r\n\r\n<h1>nginx</h1>\r\n\r\n";
    let replies = [
        Reply::Bytes(b"\x16\x03\x01 rubbish".to_vec()),
        Reply::Bytes(html.as_bytes().to_vec()),
        Reply::Json(200, json!("fine")),
        Reply::Json(200, json!({ "result": {} })),
        refusal(500, "Internal Server Error"),
        Reply::Json(302, json!({})),
    ];
    for reply in replies {
        api.will("sendMessage", reply);
        let handover = bot.deliver(code_message(1)).await;
        assert!(matches!(handover, Handover::Failed(_)), "{handover:?}");
    }
}

#[tokio::test]
async fn a_message_without_an_id_was_taken_all_the_same() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    api.will("sendMessage", Reply::Json(200, json!({ "ok": true })));
    assert_eq!(bot.deliver(code_message(1)).await, Handover::Accepted(None));
}

#[tokio::test]
async fn a_refusal_is_told_in_telegrams_words_without_the_code() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    api.will("sendMessage", refusal(400, "Bad Request: what is \"482913\"?"));
    let handover = bot.deliver(code_message(1)).await;
    assert!(matches!(handover, Handover::Refused(_)), "{handover:?}");
    assert_eq!(detail(&handover), "Telegram answered 400: Bad Request: what is \"…\"?");
    assert!(is_linked(&server));
}

#[tokio::test]
async fn throttling_holds_back_all_messages_for_as_long_as_telegram_says() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    api.will("sendMessage", throttling(17));
    assert_eq!(
        bot.deliver(code_message(1)).await,
        Handover::Later(Duration::from_secs(17))
    );
    let second = bot.deliver(code_message(2)).await;
    let Handover::Later(left) = second else {
        panic!("{second:?}")
    };
    assert!(left > Duration::from_secs(10) && left <= Duration::from_secs(17));
    assert_eq!(api.calls("sendMessage").len(), 1, "the second wasn’t tried");
}

#[tokio::test]
async fn after_the_pause_messages_go_again() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    api.will("sendMessage", throttling(600));
    let Handover::Later(pause) = bot.deliver(code_message(1)).await else {
        panic!("it wasn’t throttled")
    };
    tokio::time::pause();
    tokio::time::advance(pause).await;
    tokio::time::resume();
    assert!(matches!(bot.deliver(code_message(1)).await, Handover::Accepted(_)));
}

#[tokio::test]
async fn whoever_blocked_the_bot_cant_be_reached_and_is_unlinked() {
    let refusals = [
        (403, "Forbidden: bot was blocked by the user"),
        (403, "Forbidden: user is deactivated"),
        (403, "Forbidden: bot can't initiate conversation with a user"),
        (400, "Bad Request: chat not found"),
    ];
    for (code, description) in refusals {
        let (server, api) = (Server::new(), BotApi::start().await);
        link(&server).await;
        let bot = bot(&server, api.url(), &[]);
        api.will("sendMessage", refusal(code, description));
        let handover = bot.deliver(code_message(1)).await;
        assert!(matches!(handover, Handover::CannotReach(_)), "{handover:?}");
        assert!(detail(&handover).contains(description));
        assert!(!is_linked(&server), "{description}");
        let to = destination(&code_message(1));
        assert_eq!(bot.reach(&to).await, Reach::Unreachable);
    }
}

#[tokio::test]
async fn a_revoked_token_is_a_failure_of_the_channel_not_of_the_message() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    for (code, description) in [(401, "Unauthorized"), (404, "Not Found")] {
        api.will("sendMessage", refusal(code, description));
        let handover = bot.deliver(code_message(1)).await;
        assert!(matches!(handover, Handover::Failed(_)), "{handover:?}");
        assert_eq!(detail(&handover), "Telegram refuses the bot’s token");
    }
    assert!(is_linked(&server));
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent_so_it_waits() {
    let server = Server::new();
    link(&server).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let bot = bot(&server, &nobody, &[]);
    assert!(matches!(bot.deliver(code_message(1)).await, Handover::Later(_)));
}

#[tokio::test]
async fn the_token_comes_back_in_no_text() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[("timeout_s", "1")]);
    let replies = [
        refusal(400, &format!("Bad Request: {TOKEN}")),
        refusal(500, &format!("no route /bot{TOKEN}/sendMessage")),
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n\r\n{TOKEN}").into_bytes()),
        Reply::Bytes(format!("HTTP/1.1 302 Found\r\nlocation: /bot{TOKEN}/x\r\n\r\n").into_bytes()),
        Reply::Break,
        Reply::Silence,
    ];
    for reply in replies {
        api.will("sendMessage", reply.clone());
        api.will("getMe", reply);
        let handover = bot.deliver(code_message(1)).await;
        assert!(!format!("{handover:?}").contains(SECRET_PART), "{handover:?}");
        let findings = bot.examine().await;
        assert!(!format!("{findings:?}").contains(SECRET_PART), "{findings:?}");
    }
}

#[tokio::test]
async fn while_the_books_are_in_trouble_a_message_waits_and_no_number_is_reached() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    server.books.set_in_trouble(true);
    let message = code_message(1);
    assert_eq!(bot.reach(&destination(&message)).await, Reach::Unreachable);
    assert!(matches!(bot.deliver(message).await, Handover::Later(_)));
    assert!(api.calls("sendMessage").is_empty());
}

#[tokio::test]
async fn withdrawing_what_telegram_took_changes_nothing() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let message = code_message(1);
    let (account, request) = (message.account, message.request);
    bot.deliver(message).await;
    bot.withdraw(account, request).await;
    assert!(api.calls("editMessageText").is_empty());
    assert!(api.calls("deleteMessage").is_empty());
}

#[tokio::test]
async fn a_question_that_is_over_loses_its_buttons() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    assert_eq!(bot.deliver_login(prompt(5)).await, Handover::Accepted(None));
    bot.withdraw_login(5).await;
    assert_eq!(
        api.calls("editMessageText"),
        [json!({
            "chat_id": 4200,
            "message_id": 1,
            "text": "This question is over.",
            "reply_markup": { "inline_keyboard": [] },
        })]
    );
    bot.withdraw_login(5).await;
    bot.withdraw_login(6).await;
    assert_eq!(api.calls("editMessageText").len(), 1);
}

#[tokio::test]
async fn a_browsers_name_cant_become_a_link_or_a_page_of_text() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let bot = bot(&server, api.url(), &[]);
    let mut prompt = prompt(1);
    prompt.device = format!(
        "https://evil.example\n\nAll is well, press Confirm 😀{}",
        "x".repeat(10_000)
    );
    bot.deliver_login(prompt).await;
    let sent = api.call("sendMessage", 1).await;
    let text = sent["text"].as_str().unwrap();
    assert!(text.chars().count() < 300);
    assert_eq!(text.lines().count(), 5);
    let units: Vec<u16> = text.encode_utf16().collect();
    let entity = &sent["entities"][0];
    let from = usize::try_from(entity["offset"].as_u64().unwrap()).unwrap();
    let length = usize::try_from(entity["length"].as_u64().unwrap()).unwrap();
    let marked = String::from_utf16(&units[from..from + length]).unwrap();
    assert!(marked.starts_with("https://evil.exampleAll is well"), "{marked}");
    assert_eq!(marked.chars().count(), 120);
}
