//! A Telegram bot. Recipients opt in once: they open the bot and share their own contact, and from then on codes for that number
//! come into that chat. Here are its settings and how a message goes out; the folder holds the calls to the Bot API, what
//! recipients say, and how it is heard.
//!
//! What the words mean here: a number can be *reached* while its holder is opted in, as the books know. The Bot API has no
//! receipts, so a message counts as *delivered* when Telegram accepts it, and is never known to be *read*. *Withdraw* does
//! nothing: what Telegram has accepted stands as delivered, and what waits is withdrawn in the books.
//!
//! A code is sent once, except after a crash between sending and recording: then the message is handed over again.

mod api;
mod buttons;
mod conversation;
mod examine;
mod listen;
mod patience;
pub(crate) mod preview;
mod texts;
mod updates;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{AccountKey, Detail, LegName, PhoneNumber, Reach, RequestId, SenderUsername};
use frankenstein::methods::SendMessageParams;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::{ChannelConfig, ConfigError};
use crate::ports::{Handle, Ports};
use crate::{
    Channel, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts, WebhookAnswer, WebhookCall, http,
};
use api::{Api, CallError};
use buttons::Keys;
use patience::{ChatAnswers, Outage, Pause};
use updates::Handled;

/// Its kind, as settings write it.
pub(crate) const KIND: &str = "telegram_bot";
/// Telegram itself.
const DEFAULT_BASE_URL: &str = "https://api.telegram.org";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message waits that surely wasn't sent, before it is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Telegram takes about 30 messages a second of one bot.
const CONCURRENCY: usize = 30;
/// An answer to a recipient waits so long at most for Telegram to take it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How many questions about signing in can be taken back.
const MAX_PROMPTS: usize = 1_000;

/// How we hear of what recipients say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// We ask.
    Polling,
    /// Telegram calls us there.
    Webhook { url: String },
}

/// One bot.
pub(crate) struct TelegramBot {
    name: LegName,
    api: Api,
    base_url: String,
    mode: Mode,
    /// Whose messages alone it carries.
    sender: Option<SenderUsername>,
    keys: Keys,
    ports: Ports,
    /// Telegram throttles messages: all wait, since it doesn't say which ones it means.
    pause: Pause,
    /// The same for answers to recipients. Apart, so that nobody can hold up messages by writing to the bot.
    answer_pause: Pause,
    answers: ChatAnswers,
    outage: Outage,
    handled: Mutex<Handled>,
    /// Held from reading who is reached where to writing it: webhook calls come in parallel, and each decides by what it read.
    opting: tokio::sync::Mutex<()>,
    /// Questions that can be taken back, by attempt.
    prompts: Mutex<BTreeMap<i64, Asked>>,
}

/// A question about signing in, and the message that holds it.
struct Asked {
    chat: i64,
    message: i32,
    phone: PhoneNumber,
}

/// Makes a bot as it was set.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let token = config.required_secret("token")?;
    if !is_token(token.reveal()) {
        let problem = "not a bot’s token: copy the whole of it from BotFather (digits, a colon, letters)";
        return Err(ConfigError::of_key(&config, "token", problem));
    }
    let base_url = config.url("base_url")?.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
    let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
    let mode = match config.text("mode")?.as_deref() {
        None | Some("polling") => Mode::Polling,
        Some("webhook") => webhook_mode(&config, &ports, &base_url)?,
        Some(_) => {
            return Err(ConfigError::of_key(
                &config,
                "mode",
                "expected \"polling\" or \"webhook\"",
            ));
        }
    };
    let sender = match config.text("sender")? {
        None => None,
        Some(name) => match SenderUsername::parse(&name) {
            Some(sender) => Some(sender),
            None => return Err(ConfigError::of_key(&config, "sender", "not a sender’s username")),
        },
    };
    config.finish()?;
    let http = http::client(&base_url, &ports, timeout / 2)
        .map_err(|problem| ConfigError::of_key(&config, "base_url", problem))?;
    let keys = Keys::of(&token);
    Ok(Arc::new(TelegramBot {
        name: config.name,
        api: Api::new(http, &base_url, token, timeout),
        base_url,
        mode,
        sender,
        keys,
        ports,
        pause: Pause::default(),
        answer_pause: Pause::default(),
        answers: ChatAnswers::default(),
        outage: Outage::default(),
        handled: Mutex::default(),
        opting: tokio::sync::Mutex::default(),
        prompts: Mutex::default(),
    }))
}

fn webhook_mode(config: &ChannelConfig, ports: &Ports, base_url: &str) -> Result<Mode, ConfigError> {
    let public_url = ports.public_url.as_ref();
    // A Bot API server that is itself reached without TLS, on the same machine, may call back without.
    let is_callable = |url: &&String| url.starts_with("https://") || !base_url.starts_with("https://");
    let Some(public_url) = public_url.filter(is_callable) else {
        let problem = "\"webhook\" needs server.public_url with https://, under which Telegram reaches this server";
        return Err(ConfigError::of_key(config, "mode", problem));
    };
    Ok(Mode::Webhook {
        url: format!("{public_url}/channels/{}/hook", config.name),
    })
}

/// `123456789:letters`. What passes is safe in a URL's path.
fn is_token(token: &str) -> bool {
    token.split_once(':').is_some_and(|(id, secret)| {
        let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && !secret.is_empty()
            && secret.bytes().all(is_secret)
    })
}

impl TelegramBot {
    /// Where a number is reached; else why nothing goes there.
    async fn chat_of(&self, phone: PhoneNumber) -> Result<i64, Handover> {
        let known = self.ports.recipients.find(&self.name, phone).await;
        let known = known.map_err(|error| {
            tracing::warn!(channel = %self.name, %error, "a message waits");
            Handover::Later(RETRY)
        })?;
        let cannot = |why: &str| Handover::CannotReach(Detail::new(why));
        let known = known.ok_or_else(|| cannot("the number isn’t opted in"))?;
        if known.stopped {
            return Err(cannot("the recipient opted out"));
        }
        known.address.parse().map_err(|_| cannot("its chat is unknown"))
    }

    fn carries(&self, sender: Option<&SenderUsername>) -> bool {
        self.sender.is_none() || self.sender.as_ref() == sender
    }

    /// Sends a message that counts, and answers its id where Telegram told it. `unspeakable` must not come back in a text.
    async fn send(&self, chat: i64, message: &SendMessageParams, unspeakable: &str) -> Result<Option<i32>, Handover> {
        if let Some(left) = self.pause.left() {
            return Err(Handover::Later(left));
        }
        let error = match self.api.call("sendMessage", message).await {
            Ok(result) => {
                self.outage.ends();
                let id = result.get("message_id").and_then(serde_json::Value::as_i64);
                return Ok(id.and_then(|id| i32::try_from(id).ok()));
            }
            Err(error) => error,
        };
        let detail = Detail::new(&error.to_string().replace(unspeakable, "…"));
        Err(match error {
            CallError::Throttled(after) => {
                tracing::warn!(channel = %self.name, seconds = after.as_secs(), "Telegram asks for a pause: messages wait");
                self.pause.lasts(after);
                Handover::Later(after)
            }
            CallError::NotSent(_) if self.outage.goes_on() => Handover::Later(RETRY),
            // Not this message is wrong but the whole channel: its circuit shall open.
            ref error if error.is_of_token() => Handover::Failed(Detail::new("Telegram refuses the bot’s token")),
            ref error if error.is_of_chat() => {
                if let Err(error) = self.unlink(chat, None).await {
                    tracing::warn!(channel = %self.name, %error, "a recipient who blocked the bot stays linked");
                }
                Handover::CannotReach(detail)
            }
            CallError::Refused { code: 400..500, .. } => Handover::Refused(detail),
            CallError::NotSent(_) | CallError::Unknown(_) | CallError::Refused { .. } => Handover::Failed(detail),
        })
    }

    async fn send_code(&self, message: OutgoingMessage) -> Result<Option<Handle>, Handover> {
        if !self.carries(message.sender.as_ref()) {
            return Err(Handover::CannotReach(Detail::new("the bot belongs to another sender")));
        }
        let chat = self.chat_of(message.phone).await?;
        let language = self.ports.texts.language(message.locale.as_ref(), message.phone);
        let text = texts::code(chat, language, &message, &self.keys);
        let id = self.send(chat, &text, message.code.as_str()).await?;
        Ok(id.and_then(|id| Handle::new(&format!("{chat}:{id}"))))
    }

    async fn send_login(&self, prompt: LoginPrompt) -> Result<(), Handover> {
        if self.sender.is_some() {
            return Err(Handover::CannotReach(Detail::new("the bot belongs to a sender")));
        }
        let chat = self.chat_of(prompt.phone).await?;
        let language = self.ports.texts.language(None, prompt.phone);
        let text = texts::login(chat, language, &prompt, &self.keys);
        if let Some(id) = self.send(chat, &text, prompt.code.as_str()).await? {
            let mut prompts = self.prompts();
            while prompts.len() >= MAX_PROMPTS {
                prompts.pop_first();
            }
            let asked = Asked {
                chat,
                message: id,
                phone: prompt.phone,
            };
            prompts.insert(prompt.attempt, asked);
        }
        Ok(())
    }

    /// Calls a method whose failure changes nothing. Waits a little where Telegram asks for it.
    async fn try_call(&self, method: &str, parameters: &impl Serialize) {
        for _attempt in 0..2 {
            match self.answer_pause.left() {
                Some(left) if left > ANSWER_PATIENCE => return,
                Some(left) => sleep(left).await,
                None => {}
            }
            match self.api.call(method, parameters).await {
                Ok(_) => return,
                Err(CallError::Throttled(after)) => self.answer_pause.lasts(after),
                Err(error) => {
                    tracing::debug!(channel = %self.name, method, %error, "an answer to a recipient is lost");
                    return;
                }
            }
        }
    }

    fn prompts(&self) -> MutexGuard<'_, BTreeMap<i64, Asked>> {
        lock(&self.prompts)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel for TelegramBot {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        Receipts::AssumedOnAcceptance
    }

    fn is_paid(&self) -> bool {
        false
    }

    fn carries_buttons(&self) -> bool {
        true
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            if !self.carries(to.sender.as_ref()) {
                return Reach::Unreachable;
            }
            match self.ports.recipients.find(&self.name, to.phone).await {
                Ok(Some(known)) if !known.stopped => Reach::Reachable,
                Ok(_) => Reach::Unreachable,
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "a number counts as not opted in");
                    Reach::Unreachable
                }
            }
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        let sent = self.send_code(message);
        sent.map(|sent| sent.map_or_else(|handover| handover, Handover::Accepted))
            .boxed()
    }

    fn withdraw(&self, _account: AccountKey, _request: RequestId) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        let sent = self.send_login(prompt);
        sent.map(|sent| sent.map_or_else(|handover| handover, |()| Handover::Accepted(None)))
            .boxed()
    }

    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()> {
        async move {
            let asked = self.prompts().remove(&attempt);
            if let Some(Asked { chat, message, phone }) = asked {
                let over = self.ports.texts.language(None, phone).text("telegram-login-over", &[]);
                self.try_call("editMessageText", &texts::edited(chat, message, &over))
                    .await;
            }
        }
        .boxed()
    }

    fn run(self: Arc<Self>, ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        self.listen(ended).boxed()
    }

    /// Telegram ends one question for updates when it gets another; and what one of two has handled, the other doesn't know.
    fn runs_on_one_node(&self) -> bool {
        self.mode == Mode::Polling
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        self.called(call).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.look_over().boxed()
    }
}
