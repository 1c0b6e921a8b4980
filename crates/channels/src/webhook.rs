//! The channel `webhook`: the operator's own transport. A message goes to it as a signed POST; it answers at once whether it takes the
//! message, and posts back, signed as well, what became of it.
//!
//! What the words mean here: *reach* is known of who said stop; other numbers are reached, unless the transport is asked before each
//! message. *Delivered* and *read* are what the transport posts back, or are assumed on acceptance where it posts nothing.
//! *Withdraw* tells the transport, which does what it can.
//!
//! `wire` writes and reads JSON, `signature` signs and judges, `news` takes what is posted back, `examine` is for `countersign doctor`.

mod examine;
mod news;
mod signature;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{AccountKey, Code, Detail, LegName, Reach, RequestId, SenderUsername, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use url::Url;

use crate::alarm::Alarm;
use crate::config::{ChannelConfig, ConfigError};
use crate::memory::{Memory, Subject};
use crate::ports::{MessageKey, Ports, UpstreamCost};
use crate::texts::{Argument, Language};
use crate::{
    Asked, Channel, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts, WebhookAnswer, WebhookCall,
    clock, http,
};
use signature::Keys;
use wire::{Answer, AskData, LoginData, LoginWithdrawData, MessageData, Outgoing, WithdrawData, answer_of};

/// As settings write it.
pub(crate) const KIND: &str = "webhook";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CONCURRENCY: i64 = 32;
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The longest name of a browser that is told.
const MAX_DEVICE_CHARS: usize = 120;

/// Makes a channel as it was set. Opens no connection.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let name = config.name.clone();
    let url = config
        .url("url")?
        .ok_or_else(|| ConfigError::of_key(&config, "url", "missing"))?;
    let secret = config.required_secret("secret")?;
    let previous = config.secret("previous_secret")?;
    let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
    let concurrency = config.whole("concurrency", 1..=256)?.unwrap_or(DEFAULT_CONCURRENCY);
    let paid = config.flag("paid")?.unwrap_or(true);
    let asks = config.flag("ask")?.unwrap_or(false);
    let posts_news = config.flag("news")?.unwrap_or(true);
    let withdraws = config.flag("withdraw")?.unwrap_or(true);
    let logins = config.flag("logins")?.unwrap_or(false);
    let buttons = config.flag("buttons")?.unwrap_or(false);
    config.finish()?;

    let keys_of = |key: &str, secrets: &[&str]| {
        let problem = "expected whsec_ and the base64 of 24 to 64 random bytes: `echo whsec_$(openssl rand -base64 32)` makes one";
        Keys::read(secrets).ok_or_else(|| ConfigError::of_key(&config, key, problem))
    };
    let mut keys = keys_of("secret", &[secret.reveal()])?;
    if let Some(previous) = &previous {
        keys_of("previous_secret", &[previous.reveal()])?;
        keys = keys_of("secret", &[secret.reveal(), previous.reveal()])?;
    }
    if buttons && !logins {
        let problem = "buttons answer questions about sign-ins: set logins = true as well";
        return Err(ConfigError::of_key(&config, "buttons", problem));
    }
    let has_credentials = Url::parse(&url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if has_credentials {
        let problem = "a user name or password in the address isn’t sent: the signature says who calls";
        return Err(ConfigError::of_key(&config, "url", problem));
    }
    let http = http::client(&url, &ports, CONNECT_TIMEOUT.min(timeout))
        .map_err(|problem| ConfigError::of_key(&config, "url", problem))?;
    let news_url = ports
        .public_url
        .as_ref()
        .map(|public| format!("{public}/channels/{name}/{}", news::PATH));
    Ok(Arc::new(Webhook {
        name,
        http,
        url,
        keys,
        timeout,
        concurrency: usize::try_from(concurrency).unwrap_or(1),
        paid,
        asks,
        posts_news,
        withdraws,
        logins,
        buttons,
        news_url,
        ports,
        memory: Memory::default(),
        alarm: Alarm::default(),
    }))
}

/// The channel. See the module's documentation.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
struct Webhook {
    name: LegName,
    http: reqwest::Client,
    url: String,
    keys: Keys,
    timeout: Duration,
    concurrency: usize,
    paid: bool,
    /// Whether the transport is asked about a number before a message.
    asks: bool,
    /// Whether it posts back what became of messages.
    posts_news: bool,
    withdraws: bool,
    logins: bool,
    buttons: bool,
    /// Where it posts to; `None` where this server has no public address: then it knows by itself.
    news_url: Option<String>,
    ports: Ports,
    /// Whose the transport's names of messages are, before the books know them.
    memory: Memory,
    alarm: Alarm,
}

impl Channel for Webhook {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        if self.posts_news {
            Receipts::Reported
        } else {
            Receipts::AssumedOnAcceptance
        }
    }

    fn is_paid(&self) -> bool {
        self.paid
    }

    fn carries_buttons(&self) -> bool {
        self.buttons
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            match self.ports.recipients.find(&self.name, to.phone).await {
                Ok(Some(recipient)) if recipient.stopped => Reach::Unreachable,
                _ if self.asks => Reach::MustAsk,
                // Where the books can't be asked, it is asked again before anything is sent.
                _ => Reach::Reachable,
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Asked> {
        async move {
            let data = AskData {
                phone_number: to.phone.to_string(),
                email: to.email.as_ref().map(countersign_core::EmailAddress::as_str),
            };
            let Some(id) = random_id("ask") else {
                return Asked::Unknown(Detail::new("the system gives no random numbers"));
            };
            match self.post("number.ask", &id, data).await {
                Ok(Said {
                    status: 200..=299,
                    body,
                    ..
                }) => match wire::reaches(&body) {
                    Some(Ok(())) => Asked::Reaches,
                    Some(Err(detail)) => Asked::CannotReach(detail),
                    None => Asked::Unknown(Detail::new("an answer that says neither reachable nor unreachable")),
                },
                Ok(said) => Asked::Unknown(Detail::new(&format!("HTTP status {}", said.status))),
                Err(reason) => Asked::Unknown(Detail::new(&reason)),
            }
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            match self.ports.recipients.find(&self.name, message.phone).await {
                Ok(Some(recipient)) if recipient.stopped => {
                    return Handover::CannotReach(Detail::new("the recipient said stop"));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "a message waits");
                    return Handover::Later(Duration::from_secs(1));
                }
            }
            let key = MessageKey::of(&message);
            let life = message.life_left(clock::now());
            let message_id = key.to_string();
            let language = self.ports.texts.language(message.locale.as_ref(), message.phone);
            let data = MessageData {
                message_id: &message_id,
                phone_number: message.phone.to_string(),
                email: message.email.as_ref().map(countersign_core::EmailAddress::as_str),
                sender_username: message.sender.as_ref().map(SenderUsername::as_str),
                code: message.code.as_str(),
                text: text_of(language, message.code.as_str(), message.sender.as_ref()),
                locale: language.tag().to_string(),
                direction: direction(language),
                ttl: life.as_secs(),
                news_url: self.news_url.as_deref(),
            };
            // News by the transport's name may come before its answer: it waits until what is below is done.
            let awaited = self.memory.await_answer();
            let answer = self
                .ask_to_carry("message.send", &call_id("send", key), data, life)
                .await;
            if let Ok(Answer::Accepted { handle, .. }) = &answer {
                let subject = Subject::Message(key);
                self.memory
                    .sent(subject, message.phone, handle.clone(), message.ends_at());
            }
            drop(awaited);
            self.handover(answer, life, Some(key), &message.code)
        }
        .boxed()
    }

    fn withdraw(&self, account: AccountKey, request: RequestId) -> BoxFuture<'_, ()> {
        async move {
            if !self.withdraws {
                return;
            }
            let key = MessageKey { account, request };
            let message_id = key.to_string();
            let data = WithdrawData {
                message_id: &message_id,
            };
            let said = self.post("message.withdraw", &call_id("withdraw", key), data).await;
            self.note_withdrawal(said);
        }
        .boxed()
    }

    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            if !self.logins {
                return Handover::CannotReach(Detail::new("this transport carries no questions about sign-ins"));
            }
            let life = prompt.life_left(clock::now());
            let language = self.ports.texts.language(None, prompt.phone);
            let device: String = prompt.device.chars().filter(|char| !char.is_control()).collect();
            let device: String = device.chars().take(MAX_DEVICE_CHARS).collect();
            let data = LoginData {
                attempt: prompt.attempt,
                phone_number: prompt.phone.to_string(),
                code: prompt.code.as_str(),
                text: language.text("code", &[("code", Argument::Text(prompt.code.as_str()))]),
                locale: language.tag().to_string(),
                direction: direction(language),
                device: &device,
                address: &prompt.address,
                ttl: life.as_secs(),
                news_url: self.news_url.as_deref(),
            };
            let id = format!("login-{}", prompt.attempt);
            let answer = self.ask_to_carry("login.ask", &id, data, life).await;
            self.handover(answer, life, None, &prompt.code)
        }
        .boxed()
    }

    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()> {
        async move {
            if self.logins && self.withdraws {
                let id = format!("login-withdraw-{attempt}");
                let said = self.post("login.withdraw", &id, LoginWithdrawData { attempt }).await;
                self.note_withdrawal(said);
            }
        }
        .boxed()
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        self.take_news(call).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.examination().boxed()
    }
}

/// What the transport said to a call.
struct Said {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Webhook {
    /// Asks the transport to carry something.
    async fn ask_to_carry(&self, kind: &str, id: &str, data: impl Serialize, life: Duration) -> Result<Answer, String> {
        if life.is_zero() {
            return Ok(Answer::Refused(Detail::new("its life is over")));
        }
        let said = self.post(kind, id, data).await?;
        Ok(answer_of(said.status, said.retry_after, &said.body))
    }

    /// What an answer means for the message. An unknown outcome counts as failed: it may have been sent. The transport's own words go
    /// into the timeline: without the code.
    fn handover(
        &self,
        answer: Result<Answer, String>,
        life: Duration,
        message: Option<MessageKey>,
        code: &Code,
    ) -> Handover {
        match answer {
            Ok(Answer::Accepted { handle, cost_micros }) => {
                if let Some(micros) = cost_micros.filter(|micros| *micros != 0) {
                    let cost = UpstreamCost {
                        leg: self.name.clone(),
                        message,
                        micros,
                        upstream: handle.clone(),
                        at: clock::now(),
                    };
                    self.ports.note_cost(cost);
                }
                Handover::Accepted(handle)
            }
            Ok(Answer::Unreachable(detail)) => Handover::CannotReach(without_code(&detail, code)),
            Ok(Answer::Refused(detail)) => Handover::Refused(without_code(&detail, code)),
            Ok(Answer::Later(wait)) => {
                let why = Detail::new("the transport asks for a pause that is too long");
                Handover::later_or_refused(wait, life, why)
            }
            Ok(Answer::NoAccess(status)) => {
                let what =
                    format!("the transport doesn’t take our calls (HTTP status {status}): see `countersign doctor`");
                self.alarm.say(&self.name, &what);
                Handover::Refused(Detail::new(&format!("HTTP status {status}")))
            }
            Ok(Answer::Senseless(what)) => Handover::Failed(Detail::new(&what)),
            Err(reason) => Handover::Failed(Detail::new(&reason)),
        }
    }

    /// Makes a signed call. A message's id is the same whenever it is handed over again: after *later*, which the transport answered
    /// itself, and after a crash, which it must know by.
    async fn post(&self, kind: &str, id: &str, data: impl Serialize) -> Result<Said, String> {
        let now = clock::now();
        self.post_signed(kind, id, data, now, |body| self.keys.sign(id, now.unix_seconds(), body))
            .await
    }

    async fn post_signed(
        &self,
        kind: &str,
        id: &str,
        data: impl Serialize,
        now: Timestamp,
        sign: impl FnOnce(&[u8]) -> String,
    ) -> Result<Said, String> {
        let call = Outgoing {
            kind,
            timestamp: now.rfc_3339(),
            data,
        };
        let body = serde_json::to_vec(&call).map_err(|_| "the call can’t be written as JSON".to_owned())?;
        let answer = self
            .http
            .post(&self.url)
            .timeout(self.timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(signature::ID, id)
            .header(signature::TIMESTAMP, now.unix_seconds())
            .header(signature::SIGNATURE, sign(&body))
            .body(body)
            .send()
            .await
            .map_err(|error| format!("no answer: {}", http::cause(error)))?;
        let status = answer.status().as_u16();
        let retry_after = http::retry_after(&answer);
        let body = http::body(answer, MAX_ANSWER_BYTES).await?;
        Ok(Said {
            status,
            retry_after,
            body,
        })
    }

    fn note_withdrawal(&self, said: Result<Said, String>) {
        match said {
            Ok(Said { status: 200..=299, .. }) => {}
            Ok(Said { status, .. }) => tracing::debug!(channel = %self.name, status, "a message was not withdrawn"),
            Err(reason) => tracing::debug!(channel = %self.name, %reason, "a message was not withdrawn"),
        }
    }
}

fn without_code(detail: &Detail, code: &Code) -> Detail {
    Detail::new(&detail.as_str().replace(code.as_str(), "…"))
}

/// What a chat bubble says.
pub(crate) fn text_of(language: &Language, code: &str, sender: Option<&SenderUsername>) -> String {
    let code = ("code", Argument::Text(code));
    match sender {
        Some(sender) => language.text("code-from", &[code, ("sender", Argument::Text(sender.as_str()))]),
        None => language.text("code", &[code]),
    }
}

fn direction(language: &Language) -> &'static str {
    if language.is_right_to_left() { "rtl" } else { "ltr" }
}

/// The id of a call that is never made again.
fn random_id(what: &str) -> Option<String> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(format!("{what}-{:032x}", u128::from_be_bytes(random)))
}

/// The id of a call about a message. No dots: they stand between the parts that are signed.
fn call_id(what: &str, message: MessageKey) -> String {
    format!("{what}-{}", message.to_string().replace('.', "-"))
}
