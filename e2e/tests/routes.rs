//! The whole way over real protocols, on the real binary: a bot of Telegram first, then SMS over SMPP, each with the other side that
//! others wrote.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::smsc::Smsc;
use countersign_channels::testing::telegram::Telegram;
use countersign_e2e::{Api, Options, Server, Sink};
use serde_json::{Value, json};
use tempfile::TempDir;

const BOT_TOKEN: &str = "123456:the-token-of-a-test";
/// Whoever has no Telegram.
const PHONE: &str = "+393471234567";
/// Whoever opted in to the bot.
const FRIEND: &str = "+393477654321";
const FRIENDS_CHAT: i64 = 4711;
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a route over both, and the other sides.
struct World {
    server: Server,
    telegram: Telegram,
    smsc: Smsc,
    sink: Sink,
    _config: TempDir,
}

impl World {
    async fn start() -> Result<Self> {
        let telegram = Telegram::start(BOT_TOKEN).await?;
        let smsc = Smsc::start(json!({ "receipt": null })).await?;
        let config = tempfile::tempdir()?;
        let file = config.path().join("countersign.toml");
        std::fs::write(&file, configuration(telegram.url(), smsc.port(), "secret"))?;
        let server = Server::start(Options {
            args: vec!["--config".to_owned(), file.display().to_string()],
            env: vec![("COUNTERSIGN_CHANNELS_BOT_TOKEN".to_owned(), BOT_TOKEN.to_owned())],
            ..Options::default()
        })?;
        Ok(Self {
            server,
            telegram,
            smsc,
            sink: Sink::start().await?,
            _config: config,
        })
    }

    fn api(&self) -> Result<Api> {
        self.server.api()
    }

    async fn send(&self, to: &str) -> Result<Value> {
        let parameters = json!({ "phone_number": to, "code": "482913", "callback_url": self.sink.url() });
        let answer = self.api()?.call("sendVerificationMessage", &parameters).await?;
        ensure!(answer["ok"] == true, "{answer}");
        Ok(answer["result"].clone())
    }

    async fn reported(&self, status: &str) -> Result<Value> {
        let state = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
        let reports = self.sink.wait_until(PATIENCE, |reports| {
            reports
                .iter()
                .any(|report| state(&report.body)["delivery_status"]["status"] == status)
        });
        let reports = reports.await?;
        reports.last().map(|report| state(&report.body)).context("a report")
    }
}

fn configuration(bot_api: &str, smsc_port: u16, password: &str) -> String {
    format!(
        "[channels.bot]\nkind = \"telegram_bot\"\nbase_url = \"{bot_api}\"\n\
         [channels.sms]\nkind = \"smpp\"\nhost = \"127.0.0.1\"\nport = {smsc_port}\nsystem_id = \"countersign\"\n\
         password = \"{password}\"\ncost = \"0.045\"\n\
         [routes.main]\nlegs = [\"bot\", \"sms\"]\n"
    )
}

#[tokio::test]
async fn a_number_without_telegram_gets_its_code_by_sms_and_pays_once() -> Result<()> {
    let mut world = World::start().await?;
    let sent = world.send(PHONE).await?;
    let before = sent["remaining_balance"].as_f64().context("a balance")?;
    let submitted = world.smsc.event("submit").await?;
    ensure!(submitted["to"] == PHONE.trim_start_matches('+'), "{submitted}");
    ensure!(
        submitted["text"].as_str().is_some_and(|text| text.contains("482913")),
        "{submitted}"
    );
    // The network’s receipt, after a while.
    world.smsc.tell(json!({ "do": "receipt", "stat": "DELIVRD" })).await?;
    let report = world.reported("delivered").await?;
    ensure!(report["request_id"] == sent["request_id"], "{report}");
    ensure!(report["request_cost"] == 0.01, "{report}");
    let id = sent["request_id"].as_str().context("an id")?;
    let parameters = json!({ "request_id": id, "code": "482913" });
    let checked = world.api()?.call("checkVerificationStatus", &parameters).await?;
    ensure!(
        checked["result"]["verification_status"]["status"] == "code_valid",
        "{checked}"
    );

    // The next message tells what is left: both were charged once, the first one over two legs.
    let next = world.send(PHONE).await?;
    let after = next["remaining_balance"].as_f64().context("a balance")?;
    ensure!((before - after - 0.01).abs() < 1e-9, "{before} {after}");

    let explained = world.server.cli_json(["route", "explain", PHONE])?;
    ensure!(
        explained["legs"][0]["leg"] == "bot" && explained["legs"][0]["verdict"] == "skipped",
        "{explained}"
    );
    ensure!(explained["legs"][1]["verdict"] == "goes", "{explained}");
    ensure!(
        explained["warnings"][0]
            .as_str()
            .is_some_and(|warning| warning.contains("costs you 0.045")),
        "{explained}"
    );
    ensure!(!world.server.log().contains("482913") && !world.server.log().contains(BOT_TOKEN));
    ensure!(!world.server.log().contains(PHONE), "the whole number is in the log");
    Ok(())
}

#[tokio::test]
async fn who_opted_in_to_the_bot_gets_the_code_there_and_no_sms_is_paid_for() -> Result<()> {
    let mut world = World::start().await?;
    world.telegram.write(FRIENDS_CHAT, "/start").await?;
    world.telegram.sent().await?;
    world.telegram.share_contact(FRIENDS_CHAT, FRIEND, FRIENDS_CHAT).await?;
    world.telegram.sent().await?;
    world.send(FRIEND).await?;
    let message = world.telegram.sent().await?;
    ensure!(message.text().contains("482913"), "{}", message.text());
    world.reported("delivered").await?;
    ensure!(world.smsc.left("submit") == 0, "an SMS was sent as well");

    // Whoever leaves gets the next code by SMS; a restart forgets neither.
    world.telegram.write(FRIENDS_CHAT, "/stop").await?;
    world.telegram.sent().await?;
    world.server.terminate()?;
    world.server.restart()?;
    world.send(FRIEND).await?;
    world.smsc.event("submit").await?;
    Ok(())
}

#[tokio::test]
async fn the_doctor_tries_both_and_says_what_is_wrong() -> Result<()> {
    let world = World::start().await?;
    for (password, works) in [("secret", true), ("wr0ngpwd", false)] {
        let config = tempfile::tempdir()?;
        let file = config.path().join("countersign.toml");
        std::fs::write(&file, configuration(world.telegram.url(), world.smsc.port(), password))?;
        let output = std::process::Command::new(countersign_e2e::binary()?)
            .args(["doctor", "--json", "--config"])
            .arg(&file)
            .env("COUNTERSIGN_CHANNELS_BOT_TOKEN", BOT_TOKEN)
            .output()?;
        let said: Value = serde_json::from_slice(&output.stdout).context("the doctor’s words")?;
        ensure!(output.status.success() == works && said["ok"] == works, "{said}");
        ensure!(said["channels"][1]["ok"] == works, "{said}");
        ensure!(
            !said.to_string().contains(password) || works,
            "the password is told: {said}"
        );
    }
    ensure!(world.smsc.left("submit") == 0, "the doctor sent something");
    Ok(())
}
