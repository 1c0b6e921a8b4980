//! SMS over the HTTP interface of a provider: Twilio's Messages API, or any other whose requests an operator describes by a template.
//! docs/channel-sms-http.md is its page for operators.
//!
//! What the words mean here: a number can be *reached* unless its numbering plan calls it a fixed line or its holder wrote STOP. A
//! message is *delivered* when the provider says so, by a callback or when it is asked (Twilio); a template without callbacks hears
//! nothing, and delivery is assumed. *Read* exists where a provider tells it, which no SMS does. Nothing can be *withdrawn* once the
//! provider took it: no provider's send is undone.
//!
//! `twilio` and `template` are the providers; `inbound` does what phones ask for.

mod inbound;
mod template;
#[cfg(test)]
mod tests;
mod twilio;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{AccountKey, Detail, LegName, News, PhoneNumber, Reach, RequestId, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::config::{ChannelConfig, ConfigError};
use crate::memory::{Memory, Subject};
use crate::ports::{Handle, MessageKey, Ports};
use crate::sms::{compose, compose_login, finish, may_take_messages};
use crate::{
    Autofill, Channel, ChannelNews, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts,
    WebhookAnswer, WebhookCall, clock, sms,
};
use template::Template;
use twilio::Twilio;

/// As settings write it.
pub(crate) const KIND: &str = "sms_http";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that are handed over at once.
const CONCURRENCY: usize = 32;
/// A message that couldn't be sent is handed over again after that time.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest pause that a provider can ask for on behalf of all messages; after it they go out again, and see whether it is over.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Longest text that can be set: three short messages.
const MAX_TEXT_CHARS: usize = 400;
/// The longest call of a provider that is read: theirs are below 4 KiB.
const MAX_CALL_BYTES: usize = 64 * 1024;
/// What follows the channel's name in the addresses that a provider calls.
const STATUS_PATH: &str = "status";
const INBOUND_PATH: &str = "inbound";
const CODE: &str = "{code}";
const SITE: &str = "{site}";

struct SmsHttp {
    name: LegName,
    provider: Provider,
    ports: Ports,
    /// Words of the operator's own, instead of the ones in the recipient's language.
    text: Option<String>,
    login_text: Option<String>,
    /// Where people sign in, as they know it.
    site: String,
    /// Whether numbers count as reachable that the numbering plan calls fixed lines.
    fixed_lines: bool,
    paid: bool,
    memory: Memory,
    /// Until when the provider wants to be left alone.
    paused_until: Mutex<Option<Instant>>,
    alarm: Alarm,
}

enum Provider {
    Twilio(Box<Twilio>),
    Template(Box<Template>),
}

/// Makes a channel as it was set. Opens no connection.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let name = config.name.clone();
    let text = read_text(&mut config, "text")?;
    let login_text = read_text(&mut config, "login_text")?;
    let fixed_lines = config.flag("fixed_lines")?.unwrap_or(false);
    let paid = config.flag("paid")?.unwrap_or(true);
    let provider = match config.text("provider")?.as_deref() {
        None | Some("twilio") => Provider::Twilio(Box::new(Twilio::read(&mut config, &ports)?)),
        Some("template") => Provider::Template(Box::new(Template::read(&mut config, &ports)?)),
        Some(_) => {
            let problem = "expected \"twilio\", or \"template\" for any other provider";
            return Err(ConfigError::of_key(&config, "provider", problem));
        }
    };
    config.finish()?;
    let public_url = ports.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let site = public_url.as_ref().and_then(url::Url::host_str);
    Ok(Arc::new(SmsHttp {
        name,
        provider,
        text,
        login_text,
        site: site.unwrap_or("your account").to_owned(),
        fixed_lines,
        paid,
        memory: Memory::default(),
        paused_until: Mutex::default(),
        alarm: Alarm::default(),
        ports,
    }))
}

fn read_text(config: &mut ChannelConfig, key: &str) -> Result<Option<String>, ConfigError> {
    let Some(text) = config.text(key)? else { return Ok(None) };
    if !text.contains(CODE) || text.chars().count() > MAX_TEXT_CHARS {
        let problem = format!("expected at most {MAX_TEXT_CHARS} characters with {CODE} where the code goes");
        return Err(ConfigError::of_key(config, key, problem));
    }
    Ok(Some(text))
}

/// What is to be sent, whatever it is.
struct Letter<'a> {
    subject: Subject,
    phone: PhoneNumber,
    text: String,
    code: &'a str,
    /// When its life ends, real time.
    ends_at: Timestamp,
}

/// A letter on its way to a provider.
struct Sending<'a> {
    phone: PhoneNumber,
    text: &'a str,
    code: &'a str,
    /// What is left of its life; never zero.
    life: Duration,
    /// Names it to the provider.
    id: String,
}

/// What a provider did with a message.
enum Outcome {
    /// It took it, and calls it so.
    Accepted(Option<Handle>),
    /// It can't reach the number.
    CannotReach(Detail),
    /// It refuses this message.
    Refused(Detail),
    /// It refuses every message until the operator acts.
    Mend(Detail),
    /// It wants a pause; nothing was sent.
    Later(Duration, Detail),
    /// Nobody knows.
    Failed(Detail),
}

impl SmsHttp {
    fn is_out_of_reach(&self, phone: PhoneNumber) -> bool {
        !self.fixed_lines && !may_take_messages(phone)
    }

    /// Sends a letter, if that is possible now.
    async fn send(&self, letter: Letter<'_>) -> Handover {
        if self.is_out_of_reach(letter.phone) {
            return Handover::CannotReach(Detail::new("a fixed line"));
        }
        match self.ports.recipients.find(&self.name, letter.phone).await {
            Ok(Some(recipient)) if recipient.stopped => {
                return Handover::CannotReach(Detail::new("the recipient wrote STOP"));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(channel = %self.name, %error, "a message waits");
                return Handover::Later(AGAIN);
            }
        }
        let life = clock::between(clock::now(), letter.ends_at);
        if life.is_zero() {
            return Handover::Refused(Detail::new("its life was over before it could be sent"));
        }
        if let Some(rest) = self.pause_left() {
            return Handover::later_or_refused(rest, life, Detail::new("the provider asked for a pause"));
        }
        let sending = Sending {
            phone: letter.phone,
            text: &letter.text,
            code: letter.code,
            life,
            id: match letter.subject {
                Subject::Message(key) => key.to_string(),
                Subject::Login(attempt) => format!("cs1.login.{attempt}"),
            },
        };
        // News may come before the answer: it waits until what is below is done.
        let awaited = self.memory.await_answer();
        let outcome = match &self.provider {
            Provider::Twilio(twilio) => twilio.send(&sending).await,
            Provider::Template(template) => template.send(&sending).await,
        };
        let handover = self.judge(outcome, &letter, life);
        drop(awaited);
        handover
    }

    fn judge(&self, outcome: Outcome, letter: &Letter<'_>, life: Duration) -> Handover {
        match outcome {
            Outcome::Accepted(handle) => {
                self.memory
                    .sent(letter.subject, letter.phone, handle.clone(), letter.ends_at);
                if let (Provider::Twilio(twilio), Some(handle)) = (&self.provider, &handle)
                    && !twilio.watch(handle, letter.subject, life)
                {
                    self.alarm(
                        "too many messages are under way: what becomes of the newest is heard by callback alone",
                    );
                }
                Handover::Accepted(handle)
            }
            Outcome::CannotReach(detail) => Handover::CannotReach(detail),
            Outcome::Refused(detail) => Handover::Refused(detail),
            Outcome::Mend(detail) => {
                self.alarm(&format!("no message goes: {detail}. See `countersign doctor`"));
                Handover::Refused(detail)
            }
            Outcome::Later(wait, detail) => {
                tracing::warn!(channel = %self.name, seconds = wait.as_secs(), why = %detail, "the provider wants a pause");
                self.pause_for(wait);
                Handover::later_or_refused(wait, life, detail)
            }
            Outcome::Failed(detail) => {
                // Perhaps it went out: a NO is about it, too.
                self.memory.sent(letter.subject, letter.phone, None, letter.ends_at);
                Handover::Failed(detail)
            }
        }
    }

    /// A pause that was asked for is never shortened by one that is asked for later.
    fn pause_for(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_PAUSE);
        let mut paused_until = lock(&self.paused_until);
        *paused_until = (*paused_until).max(Some(until));
    }

    fn pause_left(&self) -> Option<Duration> {
        let left = (*lock(&self.paused_until))?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Hands news over; false where nobody takes them any more.
    async fn tell(&self, key: MessageKey, news: News, detail: Option<Detail>) -> bool {
        let news = ChannelNews {
            account: key.account,
            request: key.request,
            leg: self.name.clone(),
            news,
            detail,
        };
        self.ports.news.send(news).await.is_ok()
    }

    fn alarm(&self, what: &str) {
        self.alarm.say(&self.name, what);
    }

    async fn message_text(&self, message: &OutgoingMessage) -> Result<String, crate::PortError> {
        let autofill: Autofill = self.ports.accounts.autofill(message.account).await?;
        let code = message.code.as_str();
        if let Some(text) = &self.text {
            return Ok(finish(&text.replace(CODE, code), code, &autofill).text);
        }
        let language = self.ports.texts.language(message.locale.as_ref(), message.phone);
        let parts = sms::Parts {
            code,
            sender: message.sender.as_ref().map(countersign_core::SenderUsername::as_str),
            autofill: &autofill,
        };
        Ok(compose(language, &parts).text)
    }

    fn login_text(&self, prompt: &LoginPrompt) -> String {
        let code = prompt.code.as_str();
        match &self.login_text {
            Some(text) => text.replace(SITE, &self.site).replace(CODE, code),
            None => compose_login(self.ports.texts.language(None, prompt.phone), code, &self.site).text,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel for SmsHttp {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        match &self.provider {
            Provider::Twilio(_) => Receipts::Reported,
            Provider::Template(template) if template.reports() => Receipts::Reported,
            Provider::Template(_) => Receipts::AssumedOnAcceptance,
        }
    }

    fn is_paid(&self) -> bool {
        self.paid
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn is_text(&self) -> bool {
        true
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            if self.is_out_of_reach(to.phone) {
                return Reach::Unreachable;
            }
            match self.ports.recipients.find(&self.name, to.phone).await {
                Ok(Some(recipient)) if recipient.stopped => Reach::Unreachable,
                // Where the books can't be asked, it is asked again before anything is sent.
                Ok(_) | Err(_) => Reach::Reachable,
            }
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            let text = match self.message_text(&message).await {
                Ok(text) => text,
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "a message waits");
                    return Handover::Later(AGAIN);
                }
            };
            self.send(Letter {
                subject: Subject::Message(MessageKey::of(&message)),
                phone: message.phone,
                text,
                code: message.code.as_str(),
                ends_at: message.ends_at(),
            })
            .await
        }
        .boxed()
    }

    /// Nothing to do: a message that a provider took can't be taken back.
    fn withdraw(&self, _: AccountKey, _: RequestId) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            let letter = Letter {
                subject: Subject::Login(prompt.attempt),
                phone: prompt.phone,
                text: self.login_text(&prompt),
                code: prompt.code.as_str(),
                ends_at: prompt.expires_at,
            };
            self.send(letter).await
        }
        .boxed()
    }

    fn withdraw_login(&self, _: i64) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        async move {
            let asking = async {
                match &self.provider {
                    Provider::Twilio(twilio) => self.ask_for_messages(twilio).await,
                    Provider::Template(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = asking => {}
                // Whoever gave the signal may be gone: that is the signal, too.
                _ = ended.wait_for(|ended| *ended) => {}
            }
        }
        .boxed()
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        async move {
            if call.is_get {
                return WebhookAnswer::status(405);
            }
            if call.body.len() > MAX_CALL_BYTES {
                return WebhookAnswer::status(413);
            }
            match &self.provider {
                Provider::Twilio(twilio) => self.receive_from_twilio(twilio, call).await,
                Provider::Template(template) => self.receive_by_template(template, call).await,
            }
        }
        .boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        async move {
            match &self.provider {
                Provider::Twilio(twilio) => twilio.examine().await,
                Provider::Template(template) => template.examine().await,
            }
        }
        .boxed()
    }
}
