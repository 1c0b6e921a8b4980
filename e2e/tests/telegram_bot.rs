//! The real server with a bot of its own: a person opts in, gets a code, and says that it wasn't them; the server dies between
//! two of their words, and they are known afterwards. Telegram is the emulator that others wrote.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::telegram::Telegram;
use countersign_e2e::{Api, Options, Report, Server, Sink};
use serde_json::{Value, json};

/// A bot's token, made up.
const TOKEN: &str = "123456:not-a-real-token";
const PHONE: &str = "+393331234567";
const CHAT: i64 = 4_200;

fn start(telegram: &Telegram, folder: &std::path::Path) -> Result<Server> {
    let settings = format!(
        "[channels.bot]\nkind = \"telegram_bot\"\ntoken = \"{TOKEN}\"\nbase_url = \"{}\"\n\n[routes.main]\nlegs = [\"bot\"]\n",
        telegram.url()
    );
    let file = folder.join("countersign.toml");
    std::fs::write(&file, settings)?;
    Server::start(Options {
        args: vec!["--config".to_owned(), file.display().to_string()],
        data_dir: Some(folder.join("data")),
        ..Options::default()
    })
}

async fn send(api: &Api, reports: &Sink) -> Result<Value> {
    let callback_url = format!("{}/reports", reports.url());
    let parameters = json!({ "phone_number": PHONE, "code": "482913", "ttl": 300, "callback_url": callback_url });
    api.call("sendVerificationMessage", &parameters).await
}

#[tokio::test]
async fn a_person_opts_in_and_gets_codes_over_a_restart() -> Result<()> {
    let mut telegram = Telegram::start(TOKEN).await?;
    let reports = Sink::start().await?;
    let folder = tempfile::tempdir()?;
    let mut server = start(&telegram, folder.path())?;
    let api = server.api()?;

    let unknown = send(&api, &reports).await?;
    ensure!(unknown["error"] == "PHONE_NUMBER_NOT_FOUND", "{unknown}");

    telegram.write(CHAT, "/start").await?;
    let asked = telegram.sent().await?;
    ensure!(asked.message["reply_markup"]["keyboard"][0][0]["request_contact"] == true);
    telegram.share_contact(CHAT, PHONE, CHAT).await?;
    let linked = telegram.sent().await?;
    ensure!(linked.text().contains("+39 333 123 4567"), "{linked:?}");

    // The opt-in outlives the server.
    server.kill9()?;
    let server = start(&telegram, folder.path())?;
    let api = server.api()?;
    let answer = send(&api, &reports).await?;
    let request = answer["result"]["request_id"].as_str().context("a request")?.to_owned();
    let code = telegram.sent().await?;
    ensure!(code.text().starts_with("482913 is your verification code."), "{code:?}");
    ensure!(code.message["chat_id"] == CHAT);
    let is_delivered = |report: &Report| {
        let body = serde_json::from_slice::<Value>(&report.body).unwrap_or_default();
        body["request_id"] == request.as_str() && body["delivery_status"]["status"] == "delivered"
    };
    reports
        .wait_until(Duration::from_secs(30), |came| came.iter().any(is_delivered))
        .await?;

    // "It wasn't me": the right code counts no more.
    let data = code.data("It wasn’t me").context("the button")?.to_owned();
    telegram.press(CHAT, code.id, &data).await?;
    ensure!(
        telegram.edited().await?["text"]
            .as_str()
            .is_some_and(|text| text.contains("doesn’t work any more"))
    );
    let parameters = json!({ "request_id": request, "code": "482913" });
    let checked = api.call("checkVerificationStatus", &parameters).await?;
    ensure!(
        checked["result"]["verification_status"]["status"] != "code_valid",
        "{checked}"
    );

    telegram.write(CHAT, "/stop").await?;
    ensure!(telegram.sent().await?.text().contains("/start begins again"));
    let stopped = send(&api, &reports).await?;
    ensure!(stopped["error"] == "PHONE_NUMBER_NOT_FOUND", "{stopped}");
    ensure!(!server.log().contains("not-a-real-token"), "the token is in the log");
    ensure!(!server.log().contains("482913"), "the code is in the log");
    Ok(())
}
