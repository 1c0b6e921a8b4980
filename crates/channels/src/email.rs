//! E-mail over SMTP, through the operator's own mail server or that of a provider. docs/channel-email.md is its page for operators.
//!
//! What the words mean here: a number can be *reached* where an e-mail address is known for it (the send said one, or the operator noted it)
//! and its holder wants mail. A message is *delivered* when a delivery status notification says so (RFC 3461, where the server offers them
//! and they are asked for), else it is assumed once the server took it. There is no *read*. *Withdraw* does nothing: mail can't be
//! taken back.
//!
//! `compose` writes what people read, `message` makes mail of it; `pool` keeps connections, `connection` is one of them; `reply` judges what a
//! server answers; `token` names messages and recipients to the outside, `inbound` takes what comes back, `dsn` reads it. A code goes
//! out at most once: only where its content was not begun does it wait for another try.

pub(crate) mod answer_page;
mod compose;
mod connection;
mod dsn;
mod examine;
mod inbound;
mod message;
mod pool;
mod reply;
mod settings;
mod token;

pub use compose::{Composed, LoginParts, Parts, compose, compose_login};

use std::sync::Arc;
use std::time::Duration;

use countersign_core::{
    AccountKey, Detail, EmailAddress, LegName, Locale, News, PhoneNumber, Reach, RequestId, SenderUsername,
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::mpsc::Permit;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio::time::error::Elapsed;

use self::connection::{Dialer, Envelope};
use self::inbound::Unavailable;
use self::message::Headers;
use self::pool::{Pool, Sent};
use self::reply::{Hidden, Judgement};
use self::settings::{Security, Settings};
use self::token::{Answerer, Keys, Subject};
use crate::alarm::Alarm;
use crate::config::{ChannelConfig, ConfigError};
use crate::{
    Channel, ChannelNews, Destination, Finding, Handle, Handover, LoginPrompt, MessageKey, OutgoingMessage, Ports,
    Receipts, WebhookAnswer, WebhookCall, clock, tls,
};

/// As settings write it.
pub(crate) const KIND: &str = "email";
/// Below the channel's own address: where the mail server brings notifications, and where recipients answer.
const PATH_OF_REPORTS: &str = "dsn";
const PATH_OF_ANSWERS: &str = "answer/";
/// How often free connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A message that found no free connection, or no books, is handed over again after that time.
const AGAIN: Duration = Duration::from_secs(1);

struct Email {
    name: LegName,
    settings: Arc<Settings>,
    ports: Ports,
    pool: Pool,
    /// `None` without a secret: then nothing can come back.
    keys: Option<Keys>,
    /// Where people sign in, as they know it.
    site: String,
    alarm: Alarm,
}

/// Makes the channel. Opens no connection.
pub(crate) fn make(mut config: ChannelConfig, ports: Ports) -> Result<Arc<dyn Channel>, ConfigError> {
    let public_url = ports.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let public_host = public_url.as_ref().and_then(url::Url::host_str);
    let settings = Arc::new(Settings::read(&mut config, public_host)?);
    let trust = match settings.security {
        Security::None => None,
        Security::StartTls | Security::Tls => {
            let trust = tls::tls_client_config(ports.extra_ca_file.as_deref());
            Some(trust.map_err(|problem| ConfigError::of_key(&config, "security", problem))?)
        }
    };
    let dialer = Dialer::new(Arc::clone(&settings), trust).ok_or_else(|| {
        let problem = "expected the host name or the IP address that the certificate bears";
        ConfigError::of_key(&config, "host", problem)
    })?;
    let password = settings.credentials.as_ref().map(|(_, password)| password);
    let secret = settings.dsn_secret.as_ref().or(password);
    Ok(Arc::new(Email {
        keys: secret.and_then(|secret| Keys::of(secret, &config.name.to_string())),
        name: config.name,
        pool: Pool::new(dialer, settings.pool, settings.patience),
        site: public_host.unwrap_or("your account").to_owned(),
        settings,
        ports,
        alarm: Alarm::default(),
    }))
}

/// What is to be sent, whatever it is.
struct Letter<'a> {
    subject: Subject,
    phone: PhoneNumber,
    /// What the account gave.
    email: Option<&'a EmailAddress>,
    locale: Option<&'a Locale>,
    code: &'a str,
    life: Duration,
    content: Content<'a>,
}

enum Content<'a> {
    Code { sender: Option<&'a str> },
    Login(&'a LoginPrompt),
}

/// What is known of a recipient.
enum Mailbox {
    At(EmailAddress),
    /// No address is known.
    Nowhere,
    /// They want no mail.
    Stopped,
}

impl Email {
    /// Where a number's mail goes. The account's word comes before the operator's book. The operator may have stopped the number, and
    /// who reads the mailbox the mailbox: each holds, whoever sends.
    async fn mailbox(&self, phone: PhoneNumber, given: Option<&EmailAddress>) -> Result<Mailbox, Unavailable> {
        let known = self.ports.recipients.find(&self.name, phone).await.map_err(|error| {
            tracing::warn!(channel = %self.name, %error, "a recipient could not be looked up");
            Unavailable
        })?;
        if known.as_ref().is_some_and(|known| known.stopped) {
            return Ok(Mailbox::Stopped);
        }
        let noted = || EmailAddress::parse(&known?.address);
        let Some(address) = given.cloned().or_else(noted) else {
            return Ok(Mailbox::Nowhere);
        };
        if self.is_stopped(address.as_str()).await? {
            return Ok(Mailbox::Stopped);
        }
        Ok(Mailbox::At(address))
    }

    async fn send(&self, letter: &Letter<'_>) -> Handover {
        if letter.life.is_zero() {
            return Handover::Refused(Detail::new("its life was over before it could be sent"));
        }
        let address = match self.mailbox(letter.phone, letter.email).await {
            Ok(Mailbox::At(address)) => address,
            Ok(Mailbox::Nowhere) => return Handover::CannotReach(Detail::new("no e-mail address is known")),
            Ok(Mailbox::Stopped) => return Handover::CannotReach(Detail::new("the recipient wants no mail")),
            Err(Unavailable) => return Handover::Later(AGAIN),
        };
        let Some(recipient) = message::Recipient::of(&address) else {
            return Handover::CannotReach(Detail::new("the e-mail address can’t be written in SMTP"));
        };
        let id = match &self.keys {
            Some(keys) => keys.name(letter.subject),
            None => letter.subject.to_string(),
        };
        let Some(mail) = self.write(letter, &address, &recipient, &id) else {
            return Handover::Refused(Detail::new("no message could be made of it"));
        };
        let envelope = Envelope {
            from: &self.settings.envelope_from,
            to: &recipient.address,
            id: self.settings.delivery_reports.then_some(id.as_str()),
        };
        let to: &str = recipient.address.as_ref();
        let hidden = Hidden {
            code: letter.code,
            address: to,
        };
        let Ok(place) = self.place_for_news(letter.subject).await else {
            let why = Detail::new("this server doesn’t keep up with its news");
            return Handover::later_or_refused(AGAIN, letter.life, why);
        };
        let patience = self.settings.patience;
        match self.pool.send(&envelope, recipient.needs_utf8, &mail).await {
            Sent::Accepted { response, reports } => {
                let said = reply::scrub(response.first_line().unwrap_or_default(), hidden);
                tracing::debug!(channel = %self.name, said, "the mail server took a message");
                if !reports {
                    self.assume_delivered(letter.subject, place);
                }
                Handover::Accepted(Handle::new(&id))
            }
            Sent::Not(phase, trouble, silent) => {
                let is_over = silent >= patience;
                self.heed(reply::of_message(phase, &trouble, hidden, is_over, letter.life))
            }
            Sent::NoConnection(error, down) => self.heed(reply::of_dial(&error, down >= patience, letter.life)),
            Sent::NotOffered => Handover::CannotReach(Detail::new(
                "the mail server takes no address with letters beyond ASCII (SMTPUTF8)",
            )),
            Sent::Busy => Handover::Later(AGAIN),
        }
    }

    fn write(
        &self,
        letter: &Letter<'_>,
        address: &EmailAddress,
        recipient: &message::Recipient,
        id: &str,
    ) -> Option<Vec<u8>> {
        let language = self.ports.texts.language(letter.locale, letter.phone);
        let answer_url = self.answer_url(&Answerer {
            subject: letter.subject,
            phone: letter.phone,
            address: address.as_str().to_owned(),
            language: language.tag().to_string(),
        });
        let answer_url = answer_url.as_deref();
        // What was begun a moment ago counts as whole.
        let minutes = (letter.life.as_secs() + 10) / 60;
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX).max(1);
        let code = letter.code;
        let composed = match &letter.content {
            Content::Code { sender } => {
                let parts = Parts {
                    code,
                    sender: *sender,
                    minutes,
                    answer_url,
                };
                compose(language, &parts)
            }
            Content::Login(prompt) => {
                let parts = LoginParts {
                    code,
                    site: &self.site,
                    device: &prompt.device,
                    address: &prompt.address,
                    minutes,
                    answer_url,
                };
                compose_login(language, &parts)
            }
        };
        let headers = Headers {
            to: recipient,
            id,
            at: clock::now(),
            stop_url: answer_url,
        };
        message::make(&self.settings, &headers, composed)
    }

    fn answer_url(&self, answerer: &Answerer) -> Option<String> {
        let (public_url, keys) = (self.ports.public_url.as_deref()?, self.keys.as_ref()?);
        let token = keys.seal(answerer)?;
        Some(format!("{public_url}/channels/{}/{PATH_OF_ANSWERS}{token}", self.name))
    }

    /// Where a message may be told as delivered at once, a place among the news comes first: once it is out, nothing may hold it up here
    /// until it counts as failed. An error: there is none at the moment.
    async fn place_for_news(&self, subject: Subject) -> Result<Option<Permit<'_, ChannelNews>>, Elapsed> {
        match subject {
            Subject::Message(_) if self.settings.delivery_reports => {
                let place = tokio::time::timeout(AGAIN, self.ports.news.reserve()).await?;
                // Nobody listens only where the server ends.
                Ok(place.ok())
            }
            Subject::Message(_) | Subject::Login(_) => Ok(None),
        }
    }

    /// The server has it, and nothing more will be heard although reports were asked for.
    fn assume_delivered(&self, subject: Subject, place: Option<Permit<'_, ChannelNews>>) {
        if let (Subject::Message(key), Some(place)) = (subject, place) {
            let detail = Detail::new("assumed: the mail server took it, and offers no delivery reports");
            place.send(self.news_of(key, News::Delivered, Some(detail)));
        }
    }

    fn news_of(&self, key: MessageKey, news: News, detail: Option<Detail>) -> ChannelNews {
        ChannelNews {
            account: key.account,
            request: key.request,
            leg: self.name.clone(),
            news,
            detail,
        }
    }

    /// Says what only the operator can mend.
    fn heed(&self, judgement: Judgement) -> Handover {
        if judgement.is_for_operator {
            let why = match &judgement.handover {
                Handover::Refused(why) | Handover::Failed(why) | Handover::CannotReach(why) => why.as_str(),
                Handover::Waiting | Handover::Later(_) | Handover::Accepted(_) => "",
            };
            let what = format!("no mail goes out: {why}; run `countersign doctor`");
            self.alarm.say(&self.name, &what);
        }
        judgement.handover
    }
}

async fn signalled(ended: &mut watch::Receiver<bool>) {
    // Whoever gave the signal may be gone: that is the signal, too.
    let _ = ended.wait_for(|ended| *ended).await;
}

impl Channel for Email {
    fn name(&self) -> &LegName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn receipts(&self) -> Receipts {
        if self.settings.delivery_reports {
            Receipts::Reported
        } else {
            Receipts::AssumedOnAcceptance
        }
    }

    fn is_paid(&self) -> bool {
        false
    }

    fn carries_buttons(&self) -> bool {
        false
    }

    fn concurrency(&self) -> usize {
        self.settings.pool
    }

    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach> {
        async move {
            let reaches = match self.mailbox(to.phone, to.email.as_ref()).await {
                Ok(mailbox) => matches!(mailbox, Mailbox::At(_)),
                // Where the books can't say, it is asked again before anything is sent.
                Err(Unavailable) => to.email.is_some(),
            };
            if reaches { Reach::Reachable } else { Reach::Unreachable }
        }
        .boxed()
    }

    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        async move {
            let key = MessageKey::of(&message);
            let sender = message.sender.as_ref().map(SenderUsername::as_str);
            let letter = Letter {
                subject: Subject::Message(key),
                phone: message.phone,
                email: message.email.as_ref(),
                locale: message.locale.as_ref(),
                code: message.code.as_str(),
                life: message.life_left(clock::now()),
                content: Content::Code { sender },
            };
            self.send(&letter).await
        }
        .boxed()
    }

    /// Mail can't be taken back.
    fn withdraw(&self, _: AccountKey, _: RequestId) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn address_problem(&self, address: &str) -> Option<&'static str> {
        match EmailAddress::parse(address) {
            Some(_) => None,
            None => Some("expected an e-mail address like ida@example.com, without a name around it"),
        }
    }

    /// Only to addresses of the operator's book: whoever asks to sign in names a number, and no address.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        async move {
            let letter = Letter {
                subject: Subject::Login(prompt.attempt),
                phone: prompt.phone,
                email: None,
                locale: None,
                code: prompt.code.as_str(),
                life: prompt.life_left(clock::now()),
                content: Content::Login(&prompt),
            };
            self.send(&letter).await
        }
        .boxed()
    }

    fn withdraw_login(&self, _: i64) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        async move {
            let mut sweeps = tokio::time::interval(SWEEP_EVERY);
            sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = sweeps.tick() => self.pool.sweep(false).await,
                    () = signalled(&mut ended) => break,
                }
            }
            self.pool.sweep(true).await;
        }
        .boxed()
    }

    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        self.called(call).boxed()
    }

    fn answers_with_pages(&self) -> bool {
        true
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.try_out().boxed()
    }
}
