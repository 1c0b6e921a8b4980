//! One message over four channels, on the real binary and real protocols: Telegram can't reach, SMPP refuses, WhatsApp gives no answer,
//! e-mail delivers. One code, one fee, one report, and each leg's reason in the timeline and in one line of the log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::smsc::Smsc;
use countersign_channels::testing::smtp::Smtp;
use countersign_channels::testing::telegram::Telegram;
use countersign_e2e::site::{self, Visit};
use countersign_e2e::{Api, Options, Server, Sink};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Whoever never opted in to the bot.
const PHONE: &str = "+393471234567";
const CODE: &str = "482913";
const PATIENCE: Duration = Duration::from_secs(30);
/// `ESME_RSUBMITFAIL`: the message centre won’t have the message.
const SUBMIT_FAILED: u32 = 0x45;

/// A WhatsApp that takes connections and calls, and never answers.
struct Silence {
    url: String,
    heard: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Silence {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let heard = Arc::<Notify>::default();
        let told = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                // Whoever closes early has said nothing.
                if connection.read_buf(&mut Vec::new()).await.is_ok_and(|read| read > 0) {
                    told.notify_one();
                }
                open.push(connection);
            }
        });
        Ok(Self { url, heard, task })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server with a route over all four, and their other sides.
struct World {
    server: Server,
    telegram: Telegram,
    smsc: Smsc,
    whatsapp: Silence,
    mail: Smtp,
    sink: Sink,
    _config: TempDir,
}

impl World {
    async fn start() -> Result<Self> {
        let bot_token = "123456:the-token-of-a-test";
        let telegram = Telegram::start(bot_token).await?;
        let smsc = Smsc::start(json!({ "receipt": null, "submit_status": SUBMIT_FAILED })).await?;
        let whatsapp = Silence::start().await?;
        let mail = Smtp::start(json!({})).await?;
        let config = tempfile::tempdir()?;
        let file = config.path().join("countersign.toml");
        let text = format!(
            r#"
[channels.telegram]
kind = "telegram_bot"
token = "{bot_token}"
base_url = "{}"

[channels.sms]
kind = "smpp"
host = "127.0.0.1"
port = {}
system_id = "countersign"
password = "secret"

[channels.whatsapp]
kind = "whatsapp"
phone_number_id = "104512345678901"
access_token = "an-access-token-of-a-test"
app_secret = "an-app-secret-of-a-test"
verify_token = "a-verify-token-of-a-test"
template = "code"
base_url = "{}"
timeout_s = 1

[channels.mail]
kind = "email"
host = "127.0.0.1"
port = {}
security = "none"
from = "Acme <codes@acme.example>"

[routes.main]
legs = ["telegram", "sms", "whatsapp", "mail"]
"#,
            telegram.url(),
            smsc.port(),
            whatsapp.url,
            mail.port(),
        );
        std::fs::write(&file, text)?;
        let server = Server::start(Options {
            args: vec!["--config".to_owned(), file.display().to_string()],
            ..Options::default()
        })?;
        Ok(Self {
            server,
            telegram,
            smsc,
            whatsapp,
            mail,
            sink: Sink::start().await?,
            _config: config,
        })
    }

    fn api(&self) -> Result<Api> {
        self.server.api()
    }
}

fn body(report: &[u8]) -> Value {
    serde_json::from_slice(report).unwrap_or_default()
}

#[tokio::test]
async fn a_code_that_three_channels_cannot_bring_comes_by_mail_for_one_fee() -> Result<()> {
    let mut world = World::start().await?;
    let parameters = json!({
        "phone_number": PHONE, "code": CODE, "email": "ida@example.com", "locale": "de", "callback_url": world.sink.url(),
    });
    let sent = world.api()?.call("sendVerificationMessage", &parameters).await?;
    ensure!(sent["ok"] == true, "{sent}");
    let (id, balance) = (
        sent["result"]["request_id"].as_str().context("an id")?.to_owned(),
        sent["result"]["remaining_balance"].as_f64().context("a balance")?,
    );

    // SMPP was asked and refused; WhatsApp was called; the mail arrived, in the recipient's language.
    world.smsc.event("submit").await?;
    tokio::time::timeout(PATIENCE, world.whatsapp.heard.notified()).await?;
    let recipient = world.mail.event("rcpt").await?;
    ensure!(recipient["to"] == "ida@example.com", "{recipient}");
    let mail = world.mail.event("message").await?;
    let text = mail["text"].as_str().context("a text part")?;
    ensure!(text.contains(CODE) && text.contains("Bestätigungscode"), "{mail}");
    ensure!(mail["html"].as_str().is_some_and(|html| html.contains(CODE)), "{mail}");

    // One report, and then the code is the one that was sent.
    let reports = world.sink.wait_until(PATIENCE, |reports| {
        reports
            .iter()
            .any(|report| body(&report.body)["delivery_status"]["status"] == "delivered")
    });
    reports.await?;
    let parameters = json!({ "request_id": id, "code": CODE });
    let checked = world.api()?.call("checkVerificationStatus", &parameters).await?;
    ensure!(
        checked["result"]["verification_status"]["status"] == "code_valid",
        "{checked}"
    );
    let told = world.sink.reports();
    ensure!(told.len() == 1, "{} reports", told.len());
    ensure!(body(&told[0].body)["request_cost"] == 0.01, "{:?}", body(&told[0].body));

    // One fee: the ledger has one charge of this request.
    let owner = world.server.cli_json(["account", "show", site::OWNER])?;
    ensure!(owner["balance"].as_f64() == Some(balance), "{owner} {balance}");
    ensure!(world.smsc.left("submit") == 0, "SMPP was asked twice");
    ensure!(world.mail.left("message") == 0, "two mails came");

    the_reasons_stand_in_one_line_of_the_log(&world, &id).await?;
    the_reasons_stand_in_the_timeline(&world, &id).await?;
    // The bot wrote to nobody.
    drop(world.telegram);
    Ok(())
}

/// What each leg came to, in its order.
const REASONS: [&[&str]; 4] = [
    &["telegram was passed over", "it has not opted in"],
    &["sms refused it", "0x45"],
    &["whatsapp failed", "in time"],
    &["mail delivered it"],
];

/// The line comes a moment after the delivery.
async fn line_of_the_log(world: &World) -> Result<String> {
    let found = async {
        loop {
            let log = world.server.log();
            let mut lines = log
                .lines()
                .filter(|line| line.contains("a later leg delivered a message"));
            if let Some(line) = lines.next() {
                ensure!(lines.next().is_none(), "two such lines: {log}");
                return Ok(line.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .context("the line in the log")?
}

async fn the_reasons_stand_in_one_line_of_the_log(world: &World, id: &str) -> Result<()> {
    let line = line_of_the_log(world).await?;
    ensure!(line.contains(id), "{line}");
    let mut rest = line.as_str();
    for words in REASONS {
        for word in words {
            let at = rest
                .find(word)
                .with_context(|| format!("{word:?} is missing, or not in its place: {line}"))?;
            rest = &rest[at..];
        }
    }
    let log = world.server.log();
    for secret in [CODE, PHONE, "ida@example.com", "of-a-test"] {
        ensure!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}

async fn the_reasons_stand_in_the_timeline(world: &World, id: &str) -> Result<()> {
    let mut owner: Visit = site::owner(&world.server).await?;
    let page = owner.get(&format!("/account/messages/{id}")).await?;
    for words in [
        "telegram was passed over",
        "sms refused the message",
        "whatsapp failed",
        "By mail",
    ] {
        ensure!(page.body.contains(words), "{words:?} is missing: {}", page.body);
    }
    Ok(())
}
