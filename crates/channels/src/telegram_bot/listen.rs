//! Hearing what Telegram has to say: by asking again and again (long polling), or by a webhook that it calls. Either way each
//! update is handled once it seems, and twice at worst: Telegram repeats what it doesn't know to be taken.

use std::sync::Arc;
use std::time::Duration;

use frankenstein::methods::{DeleteWebhookParams, GetUpdatesParams, SetWebhookParams};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::api::CallError;
use super::patience::Backoff;
use super::updates::{self, Handled};
use super::{Mode, TelegramBot};
use crate::{PortError, WebhookAnswer, WebhookCall};

/// How long Telegram keeps a question for updates open while there are none.
const POLL: Duration = Duration::from_secs(25);
/// Most updates in one answer: their ids fit into a note.
const BATCH: u32 = 64;
/// Where an answer without news comes at once: such a server doesn't know long polling, and is not asked more often than that.
const SHORTEST_POLL: Duration = Duration::from_millis(200);
/// The note with the updates that were handled last.
const HANDLED_NOTE: &str = "handled";
/// The header in which Telegram shows the webhook's secret.
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// The longest update that is read from a webhook.
const MAX_UPDATE_BYTES: usize = 1 << 20;

/// Why listening pauses.
enum Trouble {
    Call(CallError),
    Books(PortError),
}

impl TelegramBot {
    /// Listens until the signal.
    pub(super) async fn listen(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        let mut backoff = Backoff::new();
        let mut poll = Poll::default();
        if self.mode == Mode::Polling {
            self.recall_handled().await;
        }
        while !has_ended(&ended) {
            let outcome = match &self.mode {
                Mode::Polling => self.poll(&mut poll, &mut ended).await,
                Mode::Webhook { url } => tokio::select! {
                    biased;
                    _ = ended.wait_for(|ended| *ended) => return,
                    set = self.set_webhook(url) => set,
                },
            };
            let pause = match (outcome, &self.mode) {
                (Ok(()), Mode::Polling) => {
                    backoff.reset();
                    continue;
                }
                // Telegram knows where to call: there is nothing else to do.
                (Ok(()), Mode::Webhook { .. }) => {
                    let _ended_or_dropped = ended.wait_for(|ended| *ended).await;
                    return;
                }
                (Err(trouble), _) => self.pause_after(trouble, &mut backoff, &mut poll),
            };
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn set_webhook(&self, url: &str) -> Result<(), Trouble> {
        let webhook = SetWebhookParams::builder()
            .url(url)
            .allowed_updates(updates::allowed())
            .secret_token(self.keys.webhook_secret())
            .build();
        self.api.call("setWebhook", &webhook).await.map_err(Trouble::Call)?;
        tracing::info!(channel = %self.name, "Telegram calls our webhook from now on");
        Ok(())
    }

    /// Asks once, and handles the answer. What was handled is noted even where the signal comes in between.
    async fn poll(&self, poll: &mut Poll, ended: &mut watch::Receiver<bool>) -> Result<(), Trouble> {
        let began = Instant::now();
        let updates = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            updates = self.ask(poll) => updates.map_err(Trouble::Call)?,
        };
        let mut outcome = Ok(());
        let mut heard_anything = false;
        for update in updates {
            // What has no id can't be confirmed on its own: it goes with the one after it.
            let Some(id) = updates::id_of(&update) else { continue };
            if !self.handled().contains(id) {
                let handled = tokio::select! {
                    biased;
                    _ = ended.wait_for(|ended| *ended) => break,
                    handled = self.handle(update) => handled,
                };
                if let Err(error) = handled {
                    outcome = Err(Trouble::Books(error));
                    break;
                }
                self.handled().insert(id);
                heard_anything = true;
            }
            poll.confirm = Some(id.saturating_add(1));
        }
        if heard_anything {
            self.note_handled().await;
        } else if outcome.is_ok() && began.elapsed() < SHORTEST_POLL {
            tokio::select! {
                _ = ended.wait_for(|ended| *ended) => {}
                () = sleep(SHORTEST_POLL) => {}
            }
        }
        outcome
    }

    async fn ask(&self, poll: &mut Poll) -> Result<Vec<Value>, CallError> {
        if !poll.webhook_is_gone {
            // Telegram refuses to be polled while there is one. What waits for it is kept.
            let keep = DeleteWebhookParams::builder().drop_pending_updates(false).build();
            self.api.call("deleteWebhook", &keep).await?;
            poll.webhook_is_gone = true;
        }
        let question = GetUpdatesParams::builder()
            .maybe_offset(poll.confirm)
            .limit(BATCH)
            .timeout(u32::try_from(POLL.as_secs()).unwrap_or(0))
            .allowed_updates(updates::allowed())
            .build();
        let answer = self.api.call_for("getUpdates", &question, POLL).await?;
        self.outage.ends();
        // Telegram has heard what was taken, and forgets it. After a quiet week it chooses new ids at random, perhaps lower
        // ones: an offset of before would then confirm what nobody has seen.
        poll.confirm = None;
        match answer {
            Value::Array(updates) => Ok(updates),
            _ => Err(CallError::Unknown("its updates are no list".to_owned())),
        }
    }

    fn pause_after(&self, trouble: Trouble, backoff: &mut Backoff, poll: &mut Poll) -> Duration {
        let pause = backoff.next();
        match trouble {
            Trouble::Call(CallError::Throttled(after)) => return after.max(pause),
            Trouble::Call(error) if error.is_of_token() => {
                tracing::error!(channel = %self.name, "Telegram refuses the bot’s token: ask BotFather for the present one, and set it");
            }
            Trouble::Call(error @ CallError::Refused { code: 409, .. }) => {
                tracing::warn!(channel = %self.name, %error, "another program uses this bot: each needs a bot of its own");
                poll.webhook_is_gone = false;
            }
            Trouble::Call(error) => {
                if matches!(error, CallError::NotSent(_)) {
                    self.outage.goes_on();
                }
                tracing::warn!(channel = %self.name, %error, "Telegram can’t be listened to; trying again");
            }
            Trouble::Books(error) => {
                tracing::warn!(channel = %self.name, %error, "what Telegram told can’t be noted; trying again");
            }
        }
        pause
    }

    async fn recall_handled(&self) {
        match self.ports.handles.note(&self.name, HANDLED_NOTE).await {
            Ok(note) => self.handled().decode(&note.unwrap_or_default()),
            Err(error) => tracing::warn!(channel = %self.name, %error, "some updates may be handled twice"),
        }
    }

    async fn note_handled(&self) {
        let count = usize::try_from(BATCH).unwrap_or(0);
        let note = self.handled().encode(count);
        if let Err(error) = self.ports.handles.put_note(&self.name, HANDLED_NOTE, note).await {
            tracing::warn!(channel = %self.name, %error, "some updates may be handled twice after a restart");
        }
    }

    /// Telegram calls. Its secret comes first; then an update that we can't read is taken all the same, since Telegram would
    /// repeat it for a day.
    pub(super) async fn called(&self, call: WebhookCall) -> WebhookAnswer {
        if self.mode == Mode::Polling || call.path != "hook" {
            return WebhookAnswer::status(404);
        }
        let secret = call.header(SECRET_HEADER).unwrap_or_default();
        if !self.keys.is_webhook_secret(secret) {
            return WebhookAnswer::status(401);
        }
        if call.body.len() > MAX_UPDATE_BYTES {
            return WebhookAnswer::status(413);
        }
        let update = serde_json::from_slice::<Value>(&call.body).ok();
        let Some((id, update)) = update.and_then(|update| Some((updates::id_of(&update)?, update))) else {
            return WebhookAnswer::status(400);
        };
        if self.handled().contains(id) {
            return WebhookAnswer::status(200);
        }
        match self.handle(update).await {
            Ok(()) => {
                self.handled().insert(id);
                WebhookAnswer::status(200)
            }
            Err(error) => {
                tracing::warn!(channel = %self.name, %error, "what Telegram told can’t be noted; it will tell it again");
                WebhookAnswer::status(503)
            }
        }
    }

    fn handled(&self) -> std::sync::MutexGuard<'_, Handled> {
        super::lock(&self.handled)
    }
}

/// How far polling has come.
#[derive(Default)]
struct Poll {
    /// Tells Telegram with the next question that everything before was taken.
    confirm: Option<i64>,
    /// Whether a webhook was deleted that may have been set before.
    webhook_is_gone: bool,
}

/// Whoever could give the signal may be gone as well.
fn has_ended(ended: &watch::Receiver<bool>) -> bool {
    *ended.borrow() || ended.has_changed().is_err()
}
