//! What a running server tells of itself: ids by which calls are found again, a log without secrets, and its probes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::telegram::Telegram;
use countersign_e2e::{Api, Options, Server, Sink, http_client};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A bot's token, made up.
const BOT_TOKEN: &str = "123456:not-a-real-token";
const PHONE: &str = "+393331234567";
const OTHER_PHONE: &str = "+4915123456789";
const CHAT: i64 = 4_200;
/// The code of the message, and what was typed instead.
const CODE: &str = "482913";
const WRONG_CODE: &str = "771640";
const PATIENCE: Duration = Duration::from_secs(30);

/// Goes through what a day has, on a server with a bot; answers it with all that must never stand in its log.
async fn a_day(telegram: &mut Telegram, log_format: &str) -> Result<(Server, Vec<String>)> {
    let folder = tempfile::tempdir()?;
    let settings = format!(
        "[channels.bot]\nkind = \"telegram_bot\"\ntoken = \"{BOT_TOKEN}\"\nbase_url = \"{}\"\n\n[routes.main]\nlegs = [\"bot\"]\n",
        telegram.url()
    );
    let file = folder.path().join("countersign.toml");
    std::fs::write(&file, settings)?;
    let server = Server::start(Options {
        args: vec!["--config".to_owned(), file.display().to_string()],
        env: vec![
            ("COUNTERSIGN_LOG".to_owned(), "trace".to_owned()),
            ("COUNTERSIGN_LOG_FORMAT".to_owned(), log_format.to_owned()),
        ],
        ..Options::default()
    })?;
    let api = server.api()?;
    telegram.write(CHAT, "/start").await?;
    telegram.sent().await?;
    telegram.share_contact(CHAT, PHONE, CHAT).await?;
    telegram.sent().await?;
    let mut tokens = vec![api.token().to_owned()];
    messages(telegram, &api).await?;
    tokens.extend(operator_and_refusals(&server, &api).await?);
    let operator_key = std::fs::read_to_string(server.data_dir().join("operator.key"))?;
    let master_key = std::fs::read_to_string(server.data_dir().join("master.key"))?;
    let mut secrets = vec![
        operator_key.trim().to_owned(),
        master_key.trim().to_owned(),
        BOT_TOKEN.to_owned(),
        CODE.to_owned(),
        WRONG_CODE.to_owned(),
    ];
    secrets.extend([PHONE, OTHER_PHONE].map(|phone| phone.trim_start_matches('+').to_owned()));
    secrets.extend(tokens);
    ensure!(
        secrets.iter().all(|secret| secret.len() >= CODE.len()),
        "a secret is missing"
    );
    Ok((server, secrets))
}

/// A message with a report that fails, and codes that were typed.
async fn messages(telegram: &mut Telegram, api: &Api) -> Result<()> {
    let reports = Sink::start().await?;
    reports.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let parameters = json!({
        "phone_number": PHONE, "code": CODE, "ttl": 300, "callback_url": format!("{}/reports", reports.url()),
    });
    let sent = api.call("sendVerificationMessage", &parameters).await?;
    let request = sent["result"]["request_id"].as_str().context("a request")?.to_owned();
    telegram.sent().await?;
    reports.wait_until(PATIENCE, |came| !came.is_empty()).await?;
    for code in [WRONG_CODE, CODE] {
        let parameters = json!({ "request_id": request, "code": code });
        let checked = api.call("checkVerificationStatus", &parameters).await?;
        ensure!(checked["ok"] == true, "{checked}");
    }
    api.call("revokeVerificationMessage", &json!({ "request_id": request }))
        .await?;
    Ok(())
}

/// What goes wrong, also with everything in the address line; and the operator's work. Answers the tokens that there were.
async fn operator_and_refusals(server: &Server, api: &Api) -> Result<Vec<String>> {
    let digits = OTHER_PHONE.trim_start_matches('+');
    let answer = api
        .client()
        .get(format!(
            "{}/sendVerificationMessage?access_token={}&phone_number={digits}&code={CODE}",
            api.url(),
            api.token()
        ))
        // Neither a token nor a number may come into the log as an id.
        .header("X-Request-Id", digits)
        .send()
        .await?;
    ensure!(answer.status() == StatusCode::OK);
    let answer = api
        .client()
        .get(format!("{}/nothing/{digits}?access_token={}", api.url(), api.token()))
        .header("X-Request-Id", api.token())
        .send()
        .await?;
    ensure!(answer.headers()["x-request-id"] != api.token());
    let made = server.cli_json([
        "account",
        "create",
        "--phone",
        OTHER_PHONE,
        "--name",
        "Acme",
        "--credit",
        "10",
    ])?;
    let rotated = server.cli_json(["token", "rotate", OTHER_PHONE, "--yes"])?;
    let token = |value: &Value| value["token"].as_str().map(str::to_owned).context("a token");
    let tokens = vec![token(&made)?, token(&rotated)?];
    for token in &tokens {
        let of_account = Api::new(api.url(), token)?;
        of_account
            .call("checkSendAbility", &json!({ "phone_number": OTHER_PHONE }))
            .await?;
    }
    Ok(tokens)
}

#[tokio::test]
async fn no_secret_of_a_whole_day_stands_in_the_log() -> Result<()> {
    for log_format in ["json", "text"] {
        let mut telegram = Telegram::start(BOT_TOKEN).await?;
        let (mut server, secrets) = a_day(&mut telegram, log_format).await?;
        ensure!(server.terminate()?.success());
        let log = server.log();
        ensure!(log.contains("a call was answered"), "the log is empty:\n{log}");
        for secret in secrets {
            if let Some(line) = log.lines().find(|line| line.contains(&secret)) {
                anyhow::bail!("{secret} is in the log: {line}");
            }
        }
        if log_format == "json" {
            for line in log.lines() {
                let read: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
                ensure!(
                    read["time"].is_string() && read["level"].is_string() && read["message"].is_string(),
                    "{line}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_call_is_found_in_the_log_by_the_id_that_its_caller_got() -> Result<()> {
    let server = Server::start(Options {
        args: ["--log-format", "json"].map(str::to_owned).to_vec(),
        env: vec![("COUNTERSIGN_LOG".to_owned(), "debug".to_owned())],
        ..Options::default()
    })?;
    let client = http_client()?;
    let call = |id: Option<&'static str>| {
        let mut request = client.post(format!("{}/checkSendAbility", server.api_url()));
        if let Some(id) = id {
            request = request.header("X-Request-Id", id);
        }
        request.send()
    };
    let chosen = call(Some("checkout-8412a")).await?;
    ensure!(chosen.headers()["x-request-id"] == "checkout-8412a");
    let made = call(None).await?.headers()["x-request-id"].to_str()?.to_owned();
    ensure!(made.len() == 24, "{made}");
    let log = server.log();
    for id in ["checkout-8412a", &made] {
        let line = log.lines().find(|line| line.contains(id)).context("no line has it")?;
        let line: Value = serde_json::from_str(line)?;
        ensure!(
            line["http_request"] == id && line["method"] == "checkSendAbility",
            "{line}"
        );
        ensure!(line["outcome"] == "ACCESS_TOKEN_REQUIRED", "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn probes_answer_without_a_token() -> Result<()> {
    let server = Server::start(Options::default())?;
    let client = http_client()?;
    for probe in ["healthz", "readyz"] {
        let answer = client.get(format!("{}/{probe}", server.api_url())).send().await?;
        ensure!(answer.status() == StatusCode::OK);
        ensure!(answer.headers().contains_key("x-request-id"));
        ensure!(answer.text().await? == "ok");
    }
    Ok(())
}
