//! The channel `telegram_gateway`: Telegram's own Gateway as upstream, or another Countersign, for numbers whose holders never
//! opted in to anything here. It costs the operator money: what the upstream charges and gives back is told to the books.
//!
//! What the words mean here: *reach* is the upstream's answer to `checkSendAbility`, which charges for a message that may follow;
//! that message is then sent on the paid request. *Delivered* and *read* are what the upstream reports, by callback or when it
//! is asked. *Withdraw* is `revokeVerificationMessage`: a message that was delivered stays. A message that the upstream gave up
//! is *failed*, and its fee comes back.
//!
//! `upstream` makes the calls, `wire` reads what comes, `answers` remembers what was said about numbers, `floods` when not to call,
//! `under_way` what was heard of messages, `questions` asks what became of them, `report` takes callbacks, `examine` is for
//! `countersign doctor`.

mod answers;
mod examine;
mod floods;
mod questions;
mod report;
#[cfg(test)]
mod tests;
mod under_way;
mod upstream;
mod wire;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{Detail, LegName, News, PhoneNumber, Reach, RequestId, SenderUsername};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use reqwest::header::HeaderValue;
use ring::digest::{SHA256, digest};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

use crate::alarm::Alarm;
use crate::config::{ChannelConfig, ConfigError};
use crate::ports::{Handle, MessageKey, Ports, UpstreamCost};
use crate::{
    Asked, Channel, ChannelNews, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts, WebhookAnswer,
    WebhookCall, clock, http,
};
use answers::{Answers, Known};
use floods::Floods;
use under_way::{Asking, UnderWay};
use upstream::{Sending, Upstream};
use wire::{Delivery, Failure, Meaning, Status};

/// As settings write it.
pub(crate) const KIND: &str = "telegram_gateway";
const TELEGRAM: &str = "https://gatewayapi.telegram.org";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_POLL: Duration = Duration::from_secs(5);
/// What the Gateway takes as `ttl`, in seconds.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 30..=3_600;
/// The longest `callback_url` that the Gateway takes, in bytes.
const MAX_CALLBACK_BYTES: usize = 256;
/// Messages that are handed over at once.
const CONCURRENCY: usize = 32;
/// Sign-ins whose message can be withdrawn.
const MAX_LOGINS: usize = 1_000;
/// Why nothing was asked or sent, in words.
const PAUSED: &str = "the upstream asked for a pause";
/// Withdrawing a message waits so long at most for a pause that the upstream asked for.
const REVOKE_PATIENCE: Duration = Duration::from_secs(5);

/// Makes a channel as it was set. Opens no connection.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let name = config.name.clone();
    let token = config.required_secret("token")?;
    let base_url = config.url("base_url")?.unwrap_or_else(|| TELEGRAM.to_owned());
    let wants_callbacks = config.flag("callbacks")?.unwrap_or(false);
    let poll = config.seconds("poll_s", 1..=60)?.unwrap_or(DEFAULT_POLL);
    let timeout = config.seconds("timeout_s", 1..=60)?.unwrap_or(DEFAULT_TIMEOUT);
    let longest_ttl = config.seconds("ttl_s", 30..=3_600)?.map_or(3_600, |ttl| ttl.as_secs());
    let sender = config.text("sender_username")?;
    config.finish()?;

    let sender = match sender.as_deref().map(SenderUsername::parse) {
        Some(None) => {
            let problem = "expected the name of a Telegram channel: 5 to 32 letters, digits and _";
            return Err(ConfigError::of_key(&config, "sender_username", problem));
        }
        sender => sender.flatten(),
    };
    let is_plain = Url::parse(&base_url)
        .is_ok_and(|url| url.username().is_empty() && url.password().is_none() && url.query().is_none());
    if !is_plain {
        let problem = "expected an address without a user name and without a ?";
        return Err(ConfigError::of_key(&config, "base_url", problem));
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .ok()
        .filter(|_| !token.reveal().trim().is_empty())
        .ok_or_else(|| {
            ConfigError::of_key(
                &config,
                "token",
                "it is empty or holds what no token holds: copy it again",
            )
        })?;
    authorization.set_sensitive(true);
    let mut report_key = [0; 32];
    report_key.copy_from_slice(digest(&SHA256, token.reveal().as_bytes()).as_ref());
    let callback_url = callback_url(&config, &ports, wants_callbacks)?;
    let http = http::client(&base_url, &ports, CONNECT_TIMEOUT.min(timeout))
        .map_err(|problem| ConfigError::of_key(&config, "base_url", problem))?;
    let inner = Inner {
        name,
        upstream: Upstream {
            http,
            base_url,
            authorization,
            timeout,
        },
        report_key,
        callback_url,
        poll,
        longest_ttl,
        sender,
        ports,
        answers: Mutex::default(),
        floods: Floods::default(),
        under_way: Mutex::default(),
        under_way_changed: Notify::new(),
        logins: Mutex::default(),
        alarm: Alarm::default(),
    };
    Ok(Arc::new(TelegramGateway { inner: Arc::new(inner) }))
}

/// Where the upstream reports to; `None` where it is asked instead.
fn callback_url(config: &ChannelConfig, ports: &Ports, wanted: bool) -> Result<Option<String>, ConfigError> {
    if !wanted {
        return Ok(None);
    }
    let Some(public_url) = &ports.public_url else {
        let problem = "they need server.public_url, under which the upstream reaches this server";
        return Err(ConfigError::of_key(config, "callbacks", problem));
    };
    let url = format!("{public_url}/channels/{}/{}", config.name, report::PATH);
    if url.len() > MAX_CALLBACK_BYTES {
        let problem =
            format!("the address for callbacks is longer than {MAX_CALLBACK_BYTES} bytes: shorten public_url");
        return Err(ConfigError::of_key(config, "callbacks", problem));
    }
    Ok(Some(url))
}

/// The channel. See the module's documentation.
struct TelegramGateway {
    inner: Arc<Inner>,
}

/// Shared with questions that go on after whoever asked has gone.
struct Inner {
    name: LegName,
    upstream: Upstream,
    /// SHA-256 of the token: the key of reports' signatures.
    report_key: [u8; 32],
    callback_url: Option<String>,
    /// The first pause between two questions about one message.
    poll: Duration,
    longest_ttl: u64,
    /// In whose name the upstream sends.
    sender: Option<SenderUsername>,
    ports: Ports,
    answers: Mutex<Answers>,
    floods: Floods,
    under_way: Mutex<UnderWay>,
    /// Wakes [`Channel::run`]: something may be due earlier.
    under_way_changed: Notify,
    /// What the upstream calls the messages of sign-ins, the newest last.
    logins: Mutex<VecDeque<(i64, Handle)>>,
    alarm: Alarm,
}

/// A message as it goes to the upstream, whether it belongs to a request or to a sign-in.
struct Letter<'a> {
    phone: PhoneNumber,
    code: &'a str,
    life: Duration,
    /// Names it to the upstream; also the beginning of its idempotency key.
    payload: String,
    message: Option<MessageKey>,
}

impl Channel for TelegramGateway {
    fn name(&self) -> &LegName {
        &self.inner.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        Receipts::Reported
    }

    fn is_paid(&self) -> bool {
        true
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        let reach = match lock(&self.inner.answers).find(to.phone, Instant::now()) {
            Some(Known::Unreachable) => Reach::Unreachable,
            // A paid request is a promise for one message; whether it is still there is seen when that is sent.
            Some(Known::Paid(_)) | None => Reach::MustAsk,
        };
        ready(reach).boxed()
    }

    fn ask<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Asked> {
        let phone = to.phone;
        async move {
            match lock(&self.inner.answers).find(phone, Instant::now()) {
                Some(Known::Paid(_)) => return Asked::Reaches,
                Some(Known::Unreachable) => return Asked::CannotReach(Detail::new("PHONE_NUMBER_NOT_FOUND")),
                None => {}
            }
            // The question costs money. It is asked to its end and what it cost is noted, even if the caller's time is over.
            let inner = Arc::clone(&self.inner);
            let asked = tokio::spawn(async move { inner.ask(phone).await });
            asked
                .await
                .unwrap_or_else(|_| Asked::Unknown(Detail::new("the question failed inside this program")))
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            let key = MessageKey::of(&message);
            let letter = Letter {
                phone: message.phone,
                code: message.code.as_str(),
                life: message.life_left(clock::now()),
                payload: key.to_string(),
                message: Some(key),
            };
            self.inner.deliver(&letter).await
        }
        .boxed()
    }

    fn withdraw(&self, account: countersign_core::AccountKey, request: RequestId) -> BoxFuture<'_, ()> {
        self.inner.withdraw(MessageKey { account, request }).boxed()
    }

    /// The Gateway carries nothing but codes: its code is sent, to be typed on the waiting page.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            let letter = Letter {
                phone: prompt.phone,
                code: prompt.code.as_str(),
                life: prompt.life_left(clock::now()),
                payload: format!("cs1.login.{}", prompt.attempt),
                message: None,
            };
            let handover = self.inner.deliver(&letter).await;
            if let Handover::Accepted(Some(handle)) = &handover {
                let mut logins = lock(&self.inner.logins);
                if logins.len() >= MAX_LOGINS {
                    logins.pop_front();
                }
                logins.push_back((prompt.attempt, handle.clone()));
            }
            handover
        }
        .boxed()
    }

    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()> {
        let handle = {
            let mut logins = lock(&self.inner.logins);
            let place = logins.iter().position(|(of, _)| *of == attempt);
            place.and_then(|place| logins.remove(place)).map(|(_, handle)| handle)
        };
        async move {
            if let Some(handle) = handle {
                self.inner.revoke(&handle).await;
            }
        }
        .boxed()
    }

    fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        async move {
            tokio::select! {
                () = self.inner.ask_for_messages() => {}
                // Whoever gave the signal may be gone: that is the signal, too.
                _ = ended.wait_for(|ended| *ended) => {}
            }
        }
        .boxed()
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        self.inner.receive(call).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.inner.examine().boxed()
    }
}

impl Inner {
    async fn ask(&self, phone: PhoneNumber) -> Asked {
        if self.floods.left_for(phone).is_some() {
            return Asked::Unknown(Detail::new(PAUSED));
        }
        let answer = self.upstream.check_ability(phone.to_string()).await;
        self.heed(phone, answer.as_ref().err());
        match answer {
            Ok(status) => {
                self.note_charge(&status, None);
                lock(&self.answers).put(phone, Known::Paid(status.handle), Instant::now());
                Asked::Reaches
            }
            Err(failure) => {
                let detail = Detail::new(&failure.to_string());
                match self.meaning(&failure) {
                    Some(Meaning::CannotReach) => {
                        lock(&self.answers).put(phone, Known::Unreachable, Instant::now());
                        Asked::CannotReach(detail)
                    }
                    _ => Asked::Unknown(detail),
                }
            }
        }
    }

    async fn deliver(&self, letter: &Letter<'_>) -> Handover {
        if letter.life.is_zero() {
            return Handover::Refused(Detail::new("its life is over"));
        }
        if let Some(rest) = self.floods.left_for(letter.phone) {
            return Handover::later_or_refused(rest, letter.life, Detail::new(PAUSED));
        }
        let now = Instant::now();
        let paid = lock(&self.answers).take_paid(letter.phone, now);
        let mut sent = self.send(letter, paid.as_ref().map(|(handle, _)| handle)).await;
        let paid_is_gone =
            matches!(&sent, Err(Failure::Refused(refusal)) if refusal.meaning() == Meaning::UnknownRequest);
        if paid.is_some() && paid_is_gone {
            // Too old, or used by a message before a crash: nothing was sent on it now, so the message gets a fee of its own.
            sent = self.send(letter, None).await;
        }
        self.heed(letter.phone, sent.as_ref().err());
        let failure = match sent {
            Ok(status) => return self.accept(letter, &status),
            Err(failure) => failure,
        };
        let detail = Detail::new(&failure.to_string());
        match self.meaning(&failure) {
            None | Some(Meaning::UnknownOutcome) => Handover::Failed(detail),
            Some(Meaning::CannotReach) => {
                lock(&self.answers).put(letter.phone, Known::Unreachable, Instant::now());
                Handover::CannotReach(detail)
            }
            meaning => {
                // A send that is refused doesn't use up what was paid.
                if let Some((handle, at)) = paid.filter(|_| !paid_is_gone) {
                    lock(&self.answers).put_back(letter.phone, handle, at);
                }
                match meaning {
                    Some(Meaning::Later(wait)) => Handover::later_or_refused(wait, letter.life, detail),
                    _ => Handover::Refused(detail),
                }
            }
        }
    }

    /// Notes whether the upstream wants a pause, by what it answered to a call for a number.
    fn heed(&self, phone: PhoneNumber, failure: Option<&Failure>) {
        match failure {
            None => self.floods.worked(),
            Some(Failure::Refused(refusal)) => {
                if let Some(pause) = refusal.flood_wait() {
                    tracing::warn!(channel = %self.name, seconds = pause.as_secs(), "the upstream asks for a pause");
                    self.floods.asked_for(phone, pause);
                }
            }
            Some(_) => {}
        }
    }

    async fn send(&self, letter: &Letter<'_>, paid: Option<&Handle>) -> Result<Status, Failure> {
        let whole_seconds = letter.life.as_secs().min(self.longest_ttl);
        let sending = Sending {
            phone_number: letter.phone.to_string(),
            code: letter.code,
            ttl: whole_seconds.clamp(*TTL_SECONDS.start(), *TTL_SECONDS.end()),
            request_id: paid.map(Handle::as_str),
            sender_username: self.sender.as_ref().map(SenderUsername::as_str),
            payload: letter.message.is_some().then_some(letter.payload.as_str()),
            callback_url: letter.message.and(self.callback_url.as_deref()),
        };
        // The same call after a crash gives the first answer again, where the upstream knows such keys. A key stands for one
        // set of parameters, so each way to send has its own.
        let way = if paid.is_some() { "paid" } else { "new" };
        self.upstream.send(&sending, &format!("{}.{way}", letter.payload)).await
    }

    /// The upstream took it.
    fn accept(&self, letter: &Letter<'_>, status: &Status) -> Handover {
        self.note_charge(status, letter.message);
        if let Some(message) = letter.message {
            let asking = match self.callback_url {
                Some(_) => Asking::AtItsEnd,
                None => Asking::Every(self.poll),
            };
            let added = lock(&self.under_way).add(status, message, letter.life, asking, Instant::now());
            if added {
                self.under_way_changed.notify_one();
            } else {
                self.alarm("too many messages are under way: what becomes of the newest is heard by callback alone");
            }
        }
        Handover::Accepted(Some(status.handle.clone()))
    }

    fn note_charge(&self, status: &Status, message: Option<MessageKey>) {
        match status.cost_micros {
            Some(0) => {}
            Some(micros) => self.note_cost(status, message, micros),
            None => self.alarm("the upstream says no cost that can be read: its costs aren’t complete in the books"),
        }
    }

    fn note_cost(&self, status: &Status, message: Option<MessageKey>, micros: i64) {
        let cost = UpstreamCost {
            leg: self.name.clone(),
            message,
            micros,
            upstream: Some(status.handle.clone()),
            at: clock::now(),
        };
        self.ports.note_cost(cost);
    }

    /// Takes in what the upstream says of a message; `false` where nobody can be told.
    async fn learn(&self, status: &Status, message: MessageKey) -> bool {
        // A place in the queue first: what was marked as told must not be lost because a caller went away in between.
        let Ok(place) = self.ports.news.reserve().await else {
            return false;
        };
        let Ok(cost_place) = self.ports.costs.reserve().await else {
            return false;
        };
        let learnt = lock(&self.under_way).learn(status, message, Instant::now());
        if let Some(micros) = learnt.refund_micros {
            cost_place.send(UpstreamCost {
                leg: self.name.clone(),
                message: Some(message),
                micros: -micros,
                upstream: Some(status.handle.clone()),
                at: clock::now(),
            });
        }
        let news = match learnt.delivery {
            Some(Delivery::Delivered) => News::Delivered,
            Some(Delivery::Read) => News::Read,
            Some(Delivery::Expired) => News::Failed,
            // We revoked it ourselves.
            Some(Delivery::Revoked | Delivery::UnderWay) | None => return true,
        };
        place.send(ChannelNews {
            account: message.account,
            request: message.request,
            leg: self.name.clone(),
            news,
            detail: (news == News::Failed).then(|| Detail::new("the upstream gave it up: expired")),
        });
        true
    }

    async fn withdraw(&self, message: MessageKey) {
        let remembered = lock(&self.under_way).handle(message);
        let handle = match remembered {
            Some(handle) => handle,
            // Sent before a restart, or not by us at all.
            None => match self.ports.handles.handle(&self.name, message).await {
                Ok(Some(handle)) => handle,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "a message can’t be withdrawn");
                    return;
                }
            },
        };
        self.revoke(&handle).await;
    }

    async fn revoke(&self, handle: &Handle) {
        match self.floods.left_for_all() {
            Some(rest) if rest > REVOKE_PATIENCE => {
                tracing::debug!(channel = %self.name, "a message was not withdrawn: {PAUSED}");
                return;
            }
            Some(rest) => tokio::time::sleep(rest).await,
            None => {}
        }
        match self.upstream.revoke(handle.as_str()).await {
            Ok(()) => lock(&self.under_way).end(handle),
            Err(failure) => {
                // It counts for the alarm; the message itself ends by its time.
                let _ = self.meaning(&failure);
                tracing::debug!(channel = %self.name, %failure, "a message was not withdrawn");
            }
        }
    }

    /// What a failure means; `None` where there was no answer that says. What the operator must mend is said aloud.
    fn meaning(&self, failure: &Failure) -> Option<Meaning> {
        let Failure::Refused(refusal) = failure else {
            return None;
        };
        let meaning = refusal.meaning();
        match meaning {
            Meaning::NoAccess => self.alarm(&format!(
                "the upstream refuses every call with {}: see `countersign doctor`",
                refusal.name()
            )),
            Meaning::NoMoney => self.alarm("the balance with the upstream is used up: top it up there"),
            _ => {}
        }
        Some(meaning)
    }

    fn alarm(&self, what: &str) {
        self.alarm.say(&self.name, what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
