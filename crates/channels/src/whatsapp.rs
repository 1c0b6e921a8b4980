//! The channel `whatsapp`: WhatsApp's Cloud API. A code goes out in an authentication template with a button that copies it; what
//! becomes of it comes by signed webhooks.
//!
//! What the words mean here: a number can be *reached* unless its holder wrote STOP or WhatsApp said in the last hours that it
//! can't deliver to it; nobody is asked. *Delivered* and *read* are what WhatsApp reports (*read* only where the recipient lets
//! others see it). *Withdraw* does nothing: the Cloud API can't take a message back. Its life is set in the template.
//!
//! `api` makes the calls, `wire` writes and reads them, `codes` says what errors mean, `languages` which language of the template
//! somebody gets, `pauses` when not to send, `unreachable` and `sent` what is remembered, `webhook` takes statuses, `inbound` what
//! people write, `examine` is for `countersign doctor`.

mod api;
mod codes;
mod examine;
mod inbound;
mod languages;
mod pauses;
mod sent;
mod settings;
#[cfg(test)]
mod tests;
mod unreachable;
mod webhook;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{AccountKey, Detail, LegName, Locale, PhoneNumber, Reach, RequestId, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _, ready};

use crate::alarm::Alarm;
use crate::config::{ChannelConfig, ConfigError};
use crate::ports::{MessageKey, Ports, Recipient};
use crate::{
    Channel, Destination, Finding, Handover, LoginPrompt, OutgoingMessage, Receipts, WebhookAnswer, WebhookCall, clock,
    http,
};
use api::Api;
use codes::Meaning;
use pauses::Pauses;
use sent::{Messages, Sent, Subject};
use settings::Settings;
use unreachable::Unreachable;
use wire::{Accepted, Failure, Hold, Sending};

/// As settings write it.
pub(crate) const KIND: &str = "whatsapp";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that are handed over at once: WhatsApp takes 80 a second of a number, and answers within half a second.
const CONCURRENCY: usize = 48;
/// A message waits so long where the books can't be asked.
const AGAIN: Duration = Duration::from_secs(2);

/// Makes a channel as it was set. Opens no connection.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let settings = Settings::read(&mut config, &ports.texts)?;
    let http = http::client(&settings.base_url, &ports, CONNECT_TIMEOUT.min(settings.timeout))
        .map_err(|problem| ConfigError::of_key(&config, "base_url", problem))?;
    let api = Api {
        http,
        base_url: format!("{}/{}", settings.base_url, settings.api_version),
        authorization: settings.authorization.clone(),
        timeout: settings.timeout,
    };
    Ok(Arc::new(WhatsApp {
        name: config.name,
        settings,
        api,
        ports,
        messages: Messages::default(),
        unreachable: Mutex::default(),
        pauses: Pauses::default(),
        alarm: Alarm::default(),
        recipients: tokio::sync::Mutex::default(),
    }))
}

/// The channel. See the module's documentation.
struct WhatsApp {
    name: LegName,
    settings: Settings,
    api: Api,
    ports: Ports,
    messages: Messages,
    unreachable: Mutex<Unreachable>,
    pauses: Pauses,
    alarm: Alarm,
    /// Held from reading a recipient to writing them down: their word and their address come from two sides, and neither may undo the
    /// other.
    recipients: tokio::sync::Mutex<()>,
}

/// A message as it goes out, whether it belongs to a request or to a sign-in.
struct Letter<'a> {
    subject: Subject,
    phone: PhoneNumber,
    code: &'a str,
    locale: Option<&'a Locale>,
    /// When its life ends, real time.
    ends_at: Timestamp,
}

impl Channel for WhatsApp {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        Receipts::Reported
    }

    fn is_paid(&self) -> bool {
        self.settings.paid
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            if lock(&self.unreachable).knows(to.phone) {
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
            let key = MessageKey::of(&message);
            self.send(&Letter {
                subject: Subject::Message(key),
                phone: message.phone,
                code: message.code.as_str(),
                locale: message.locale.as_ref(),
                ends_at: message.ends_at(),
            })
            .await
        }
        .boxed()
    }

    /// The Cloud API can't take a message back.
    fn withdraw(&self, _: AccountKey, _: RequestId) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// The template carries nothing but a code: it is sent, to be typed on the waiting page.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            self.send(&Letter {
                subject: Subject::Login(prompt.attempt),
                phone: prompt.phone,
                code: prompt.code.as_str(),
                locale: None,
                ends_at: prompt.expires_at,
            })
            .await
        }
        .boxed()
    }

    fn withdraw_login(&self, _: i64) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn max_webhook_bytes(&self) -> usize {
        webhook::MAX_BODY_BYTES
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        self.receive_call(call).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.examine_all().boxed()
    }
}

impl WhatsApp {
    /// Sends a letter, if that is possible now.
    async fn send(&self, letter: &Letter<'_>) -> Handover {
        let now = clock::now();
        let life = clock::between(now, letter.ends_at);
        if life.is_zero() {
            // No fault of the leg's: it says nothing about the next message.
            return Handover::Refused(Detail::new("its life was over before it could be sent"));
        }
        let known = match self.ports.recipients.find(&self.name, letter.phone).await {
            Ok(Some(recipient)) if recipient.stopped => {
                return Handover::CannotReach(Detail::new("the recipient wrote STOP"));
            }
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(channel = %self.name, %error, "a message waits");
                return Handover::later_or_refused(AGAIN, life, Detail::new("the books can’t be asked"));
            }
        };
        if lock(&self.unreachable).knows(letter.phone) {
            return Handover::CannotReach(Detail::new("WhatsApp couldn’t deliver to this number lately"));
        }
        if let Some(rest) = self.pauses.left_for(letter.phone) {
            return Handover::later_or_refused(rest, life, Detail::new("WhatsApp asked for a pause"));
        }
        let sent = self.messages.begin(letter.subject, letter.phone, now, letter.ends_at);
        let sending = Sending {
            to: letter.phone.to_string(),
            template: &self.settings.template,
            language: self.settings.languages.code_for(letter.locale, letter.phone),
            code: letter.code,
            callback_data: &letter.subject.callback_data(),
        };
        match self.api.send(&self.settings.phone_number_id, &sending.json()).await {
            Ok(accepted) => self.accept(&sent, accepted, known).await,
            Err(failure) => self.fail(&sent, &failure, life),
        }
    }

    /// WhatsApp took it.
    async fn accept(&self, sent: &Arc<Sent>, accepted: Accepted, known: Option<Recipient>) -> Handover {
        self.messages.went(sent, accepted.id.as_ref());
        self.pauses.worked();
        match accepted.hold {
            None => {}
            Some(Hold::Quality) => {
                tracing::warn!(channel = %self.name, "WhatsApp holds a message back until it has judged the template’s quality");
            }
            Some(Hold::Paused) => self.alarm("messages are taken and not delivered: WhatsApp has paused sending"),
        }
        if let Some(wa_id) = accepted.wa_id {
            self.note_address(sent.phone, wa_id, known.as_ref()).await;
        }
        Handover::Accepted(accepted.id)
    }

    /// In some countries (Argentina, Brazil, Mexico) WhatsApp calls people by other digits than their number's. What they write
    /// comes from those, so they are noted.
    async fn note_address(&self, phone: PhoneNumber, wa_id: String, known: Option<&Recipient>) {
        let is_own = wa_id == phone.digits().to_string();
        let is_noted = |recipient: &Recipient| recipient.address == wa_id;
        if is_own || known.is_some_and(is_noted) {
            return;
        }
        let noted = async {
            let _held = self.recipients.lock().await;
            // They may have said something since the message went out.
            let known = self.ports.recipients.find(&self.name, phone).await?;
            // Who said nothing yet: any word of theirs is newer.
            let (stopped, since) =
                known.map_or((false, Timestamp::from_millis(0)), |known| (known.stopped, known.since));
            let recipient = Recipient {
                phone,
                address: wa_id,
                stopped,
                since,
            };
            self.ports.recipients.put(&self.name, recipient).await
        };
        // The message is out: nothing may hold it up here until it counts as failed.
        let error = match tokio::time::timeout(AGAIN, noted).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "not in time".to_owned(),
        };
        tracing::debug!(channel = %self.name, error, "another way to write a number was not noted");
    }

    /// There was no answer that names the message.
    fn fail(&self, sent: &Arc<Sent>, failure: &Failure, life: Duration) -> Handover {
        let detail = Detail::new(&failure.to_string());
        let Failure::Refused(refusal) = failure else {
            self.messages.went(sent, None);
            return Handover::Failed(detail);
        };
        let meaning = refusal.meaning();
        if meaning == Meaning::UnknownOutcome {
            // A status can still come.
            self.messages.went(sent, None);
            return Handover::Failed(detail);
        }
        self.messages.forget(sent);
        match meaning {
            Meaning::NotThere => {
                lock(&self.unreachable).put(sent.phone);
                Handover::CannotReach(detail)
            }
            Meaning::CannotReach => Handover::CannotReach(detail),
            Meaning::Busy(pause) => {
                let pause = self.pauses.all(pause, refusal.retry_after);
                tracing::warn!(channel = %self.name, seconds = pause.as_secs(), "WhatsApp asks for a pause: {failure}");
                Handover::later_or_refused(pause, life, detail)
            }
            Meaning::BusyNumber(pause) => {
                let pause = refusal.retry_after.unwrap_or(pause);
                self.pauses.number(sent.phone, pause);
                Handover::later_or_refused(pause, life, detail)
            }
            Meaning::Operator => {
                self.alarm(&format!(
                    "WhatsApp refuses messages with {failure}; see `countersign doctor`"
                ));
                Handover::Refused(detail)
            }
            Meaning::UnknownOutcome => Handover::Failed(detail),
            Meaning::Refused => Handover::Refused(detail),
        }
    }

    fn alarm(&self, what: &str) {
        self.alarm.say(&self.name, what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
