//! What `countersign doctor` hears of a bot.

use countersign_channels::testing::Server;
use countersign_channels::{Finding, Verdict};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bot_api::{BotApi, Reply, refusal};
use crate::support::*;

/// The worst that was found.
fn worst(findings: &[Finding]) -> &Finding {
    let rank = |finding: &&Finding| match finding.verdict {
        Verdict::Well => 0,
        Verdict::Warning => 1,
        Verdict::Broken => 2,
    };
    findings.iter().max_by_key(rank).unwrap()
}

fn webhook(info: &Value) -> Reply {
    Reply::Json(200, json!({ "ok": true, "result": info }))
}

#[tokio::test]
async fn a_bot_that_answers_is_well_and_nobody_was_written_to() {
    let (server, api) = (Server::new(), BotApi::start().await);
    link(&server).await;
    let findings = bot(&server, api.url(), &[]).examine().await;
    assert_eq!(worst(&findings).verdict, Verdict::Well);
    assert_eq!(findings[0].found, "the bot @codes_bot answers");
    for method in ["sendMessage", "setWebhook", "deleteWebhook", "getUpdates"] {
        assert!(api.calls(method).is_empty(), "{method}");
    }
}

#[tokio::test]
async fn a_wrong_token_sends_the_operator_to_botfather() {
    let (server, api) = (Server::new(), BotApi::start().await);
    api.will("getMe", refusal(401, "Unauthorized"));
    let findings = bot(&server, api.url(), &[]).examine().await;
    assert_eq!(worst(&findings).verdict, Verdict::Broken);
    assert!(worst(&findings).remedy.contains("BotFather"), "{findings:?}");
    assert!(worst(&findings).remedy.contains("channels.bot.token"));
}

#[tokio::test]
async fn a_server_that_isnt_there_is_named() {
    let server = Server::new();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let findings = bot(&server, &nobody, &[]).examine().await;
    assert_eq!(worst(&findings).verdict, Verdict::Broken);
    assert!(
        worst(&findings).remedy.contains("channels.bot.base_url (127.0.0.1)"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_webhook_in_the_way_of_polling_is_told_without_its_path() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let info = json!({ "url": "https://other.example/secret-path", "pending_update_count": 500 });
    api.will("getWebhookInfo", webhook(&info));
    let findings = bot(&server, api.url(), &[]).examine().await;
    assert_eq!(worst(&findings).verdict, Verdict::Warning);
    let text = format!("{findings:?}");
    assert!(
        text.contains("other.example") && !text.contains("secret-path"),
        "{text}"
    );
    assert!(text.contains("500 updates wait"), "{text}");
}

#[tokio::test]
async fn a_webhook_that_telegram_cant_call_is_told_with_its_last_failure() {
    let mut server = Server::new();
    server.ports.public_url = Some("https://codes.example.com".to_owned());
    let api = BotApi::start().await;
    let bot = bot(&server, api.url(), &[("mode", "webhook")]);
    let url = "https://codes.example.com/channels/bot/hook";
    let info = json!({ "url": url, "pending_update_count": 1, "last_error_message": "SSL error" });
    api.will("getWebhookInfo", webhook(&info));
    let findings = bot.examine().await;
    assert_eq!(worst(&findings).verdict, Verdict::Warning);
    assert!(worst(&findings).found.contains("SSL error"));
    assert!(worst(&findings).remedy.contains("server.public_url"));

    api.will("getWebhookInfo", webhook(&json!({ "url": url })));
    assert_eq!(worst(&bot.examine().await).verdict, Verdict::Well);
    for other in ["", "https://other.example/hook"] {
        api.will("getWebhookInfo", webhook(&json!({ "url": other })));
        assert_eq!(worst(&bot.examine().await).verdict, Verdict::Warning);
    }
}

#[tokio::test]
async fn rubbish_is_told_as_such() {
    let (server, api) = (Server::new(), BotApi::start().await);
    let bot = bot(&server, api.url(), &[]);
    api.will("getMe", webhook(&json!(5)));
    assert_eq!(worst(&bot.examine().await).verdict, Verdict::Broken);
    api.will("getWebhookInfo", webhook(&json!(5)));
    assert_eq!(worst(&bot.examine().await).verdict, Verdict::Warning);
}
