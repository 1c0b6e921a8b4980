//! What `countersign doctor` hears of a bot. It asks Telegram who the bot is and what its webhook is; it changes nothing and
//! writes to nobody.

use serde::Deserialize;
use url::Url;

use super::api::{CallError, NoParameters};
use super::{DEFAULT_BASE_URL, Mode, TelegramBot};
use crate::Finding;

/// So many updates waiting mean that nobody listens.
const MANY_PENDING: u64 = 100;

#[derive(Deserialize)]
struct Me {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct Webhook {
    #[serde(default)]
    url: String,
    #[serde(default)]
    pending_update_count: u64,
    last_error_message: Option<String>,
}

impl TelegramBot {
    pub(super) async fn look_over(&self) -> Vec<Finding> {
        let me = match self.api.call("getMe", &NoParameters {}).await {
            Ok(me) => serde_json::from_value::<Me>(me)
                .map_err(|_| CallError::Unknown("it doesn’t say who the bot is".to_owned())),
            Err(error) => Err(error),
        };
        let me = match me {
            Ok(me) => Finding::well(format!("the bot @{} answers", me.username)),
            Err(error) => return vec![self.no_bot(&error)],
        };
        let webhook = match self.api.call("getWebhookInfo", &NoParameters {}).await {
            Ok(webhook) => serde_json::from_value::<Webhook>(webhook)
                .map_err(|_| CallError::Unknown("what it says of the webhook can’t be read".to_owned())),
            Err(error) => Err(error),
        };
        let mut findings = vec![me];
        match webhook {
            Ok(webhook) => findings.extend(self.judge(&webhook)),
            Err(error) => findings.push(Finding::warning(
                format!("the bot’s webhook can’t be asked for: {error}"),
                "try again later",
            )),
        }
        findings
    }

    fn no_bot(&self, error: &CallError) -> Finding {
        let channel = &self.name;
        let remedy = match error {
            error if error.is_of_token() => format!(
                "the token is wrong or was revoked: ask BotFather for the present one (/mybots, API Token) and set it as channels.{channel}.token"
            ),
            CallError::Throttled(_) => "try again later".to_owned(),
            CallError::NotSent(_) if self.base_url == DEFAULT_BASE_URL => {
                "let this machine reach api.telegram.org, port 443".to_owned()
            }
            _ => format!(
                "see whether channels.{channel}.base_url ({}) is right and its server runs",
                self.host()
            ),
        };
        Finding::broken(format!("the bot doesn’t answer: {error}"), remedy)
    }

    fn judge(&self, webhook: &Webhook) -> Vec<Finding> {
        let mut findings = Vec::new();
        let set = webhook.url.as_str();
        match &self.mode {
            Mode::Polling if set.is_empty() => findings.push(Finding::well("it is polled, and no webhook stands in the way")),
            Mode::Polling => findings.push(Finding::warning(
                format!("a webhook is set (at {}), so it can’t be polled", host_of(set)),
                "the server deletes it when it starts; if it comes back, another program uses this bot: give each its own",
            )),
            Mode::Webhook { url } if set == url => findings.push(Finding::well("Telegram calls our webhook")),
            Mode::Webhook { .. } if set.is_empty() => findings.push(Finding::warning(
                "no webhook is set yet",
                "the server sets it when it starts; if it goes away, another program polls this bot: give each its own",
            )),
            Mode::Webhook { .. } => findings.push(Finding::warning(
                format!("Telegram calls another webhook (at {})", host_of(set)),
                "the server sets its own when it starts; if the other comes back, another program uses this bot: give each its own",
            )),
        }
        if webhook.pending_update_count > MANY_PENDING {
            findings.push(Finding::warning(
                format!(
                    "{} updates wait to be taken: opting in and out doesn’t work",
                    webhook.pending_update_count
                ),
                "see that the server runs, and what it logs of this channel",
            ));
        }
        if let (Mode::Webhook { .. }, Some(error)) = (&self.mode, &webhook.last_error_message) {
            let error: String = self.api.without_token(error).chars().take(160).collect();
            findings.push(Finding::warning(
                format!("Telegram’s last failure to call our webhook: {error}"),
                "server.public_url must lead here by HTTPS, with a certificate that is publicly trusted, on port 443, 80, 88 or 8443",
            ));
        }
        findings
    }

    fn host(&self) -> String {
        host_of(&self.base_url)
    }
}

/// The host alone: paths may hold secrets.
fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    url.and_then(|url| url.host_str().map(ToOwned::to_owned))
        .unwrap_or_else(|| "an unreadable address".to_owned())
}
