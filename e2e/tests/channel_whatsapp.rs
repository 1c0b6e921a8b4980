//! The channel `whatsapp` on the real binary: a code goes to a Cloud API that the library `pywa` judges, signed statuses come back over
//! HTTP, and the customer's report says what they say. How the channel takes trouble is tested beside it, in crates/channels.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_channels::testing::cloud_api::CloudApi;
use countersign_e2e::{Options, Server, Sink, http_client};
use serde_json::{Value, json};
use tempfile::TempDir;

const PHONE: &str = "+393471234567";
const NUMBER_ID: &str = "106540352242922";
const SECRETS: [(&str, &str); 3] = [
    ("access_token", "EAAJB-a-token"),
    ("app_secret", "41678a4f0123456789abcdef"),
    ("verify_token", "a-word-that-nobody-guesses"),
];
const PATIENCE: Duration = Duration::from_secs(30);

/// A server whose only leg is WhatsApp, and the other sides.
struct World {
    server: Server,
    api: CloudApi,
    sink: Sink,
    _config: TempDir,
}

impl World {
    async fn start() -> Result<Self> {
        let mut options = json!({ "phone_number_id": NUMBER_ID });
        for (key, secret) in SECRETS {
            options[key] = json!(secret);
        }
        let api = CloudApi::start(&options).await?;
        let config = tempfile::tempdir()?;
        let file = config.path().join("countersign.toml");
        let text = format!(
            "[channels.wa]\nkind = \"whatsapp\"\nphone_number_id = \"{NUMBER_ID}\"\ntemplate = \"verification_code\"\n\
             languages = [\"en\", \"it\"]\nbase_url = \"{}\"\n[routes.main]\nlegs = [\"wa\"]\n",
            api.url()
        );
        std::fs::write(&file, text)?;
        let secret = |(key, value): &(&str, &str)| {
            let name = format!("COUNTERSIGN_CHANNELS_WA_{}", key.to_uppercase());
            (name, (*value).to_owned())
        };
        let server = Server::start(Options {
            args: vec!["--config".to_owned(), file.display().to_string()],
            env: SECRETS.iter().map(secret).collect(),
            ..Options::default()
        })?;
        Ok(Self {
            server,
            api,
            sink: Sink::start().await?,
            _config: config,
        })
    }

    /// Where Meta would call.
    fn webhook(&self) -> String {
        format!("{}/channels/wa/webhook", self.server.api_url().trim_end_matches('/'))
    }

    /// Meta posts a status of a message; the answer's HTTP status.
    async fn status(&mut self, sent: &Value, word: &str) -> Result<u16> {
        let status = json!({
            "id": "wamid.393471234567", "status": word, "timestamp": "1790000000", "recipient_id": "393471234567",
            "biz_opaque_callback_data": sent["ours"]["biz_opaque_callback_data"],
        });
        let update = json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": "102290129340398", "changes": [{ "field": "messages", "value": {
                "messaging_product": "whatsapp",
                "metadata": { "display_phone_number": "15550783881", "phone_number_id": NUMBER_ID },
                "contacts": [{ "profile": { "name": "Ida" }, "wa_id": "393471234567", "user_id": "IT.1" }],
                "statuses": [status],
            }}]}],
        });
        let signed = self.api.signs(&update).await?;
        let request = http_client()?
            .post(self.webhook())
            .header(&signed.header.0, &signed.header.1)
            .body(signed.body);
        Ok(request.send().await?.status().as_u16())
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

#[tokio::test]
async fn a_code_goes_out_by_whatsapp_and_its_statuses_reach_the_customer() -> Result<()> {
    let mut world = World::start().await?;
    let parameters = json!({
        "phone_number": PHONE, "code": "482913", "locale": "it-CH", "callback_url": world.sink.url(),
    });
    let api = world.server.api()?;
    let answer = api.call("sendVerificationMessage", &parameters).await?;
    ensure!(answer["ok"] == true, "{answer}");
    let sent = world.api.sent().await?;
    let template = &sent["ours"]["template"];
    ensure!(
        sent["ours"]["to"] == PHONE && template["language"]["code"] == "it",
        "{sent}"
    );
    ensure!(template["components"][1]["parameters"][0]["text"] == "482913", "{sent}");

    for word in ["sent", "delivered", "delivered"] {
        ensure!(world.status(&sent, word).await? == 200, "{}", world.server.log());
    }
    let report = world.reported("delivered").await?;
    ensure!(report["request_id"] == answer["result"]["request_id"], "{report}");
    ensure!(world.status(&sent, "read").await? == 200, "{}", world.server.log());
    world.reported("read").await?;
    let log = world.server.log();
    for (_, secret) in SECRETS {
        ensure!(!log.contains(secret), "{log}");
    }
    ensure!(!log.contains("482913") && !log.contains(&PHONE[1..]), "{log}");
    Ok(())
}

#[tokio::test]
async fn the_server_answers_metas_handshake_and_believes_no_forgery() -> Result<()> {
    let world = World::start().await?;
    let client = http_client()?;
    let handshake = |token: &str| {
        let query = format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
        client.get(format!("{}?{query}", world.webhook())).send()
    };
    let good = handshake(SECRETS[2].1).await?;
    ensure!(good.status() == 200, "{good:?}");
    ensure!(good.text().await? == "1158201444");
    ensure!(handshake("another-word").await?.status() == 403);
    let forged = client
        .post(world.webhook())
        .header("x-hub-signature-256", format!("sha256={}", "0".repeat(64)))
        .body("{}");
    ensure!(forged.send().await?.status() == 401);
    Ok(())
}
