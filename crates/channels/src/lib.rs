//! Ways to reach a phone, one file each, behind one trait: [`Channel`].
//!
//! A channel takes a message and says what it did with it; what the recipient's side says later comes back as [`ChannelNews`]
//! through the sender that the channel was made with, and goes through the books' one door like everything else. A channel
//! knows nothing of money or of states.
//!
//! To add one: a file here that implements [`Channel`], and says in its documentation what *reach*, *delivered*, *read* and
//! *withdraw* mean there; one line in `registry.rs`; its page in docs/; its tests against something real.

mod alarm;
mod clock;
mod config;
mod costs;
pub mod email;
#[cfg(test)]
mod fake;
mod http;
mod inbox;
mod memory;
mod ports;
pub mod preview;
mod registry;
mod smpp;
pub mod sms;
mod sms_http;
mod telegram_bot;
mod telegram_gateway;
#[cfg(feature = "testing")]
pub mod testing;
mod texts;
mod tls;
mod webhook;
mod whatsapp;

pub use config::{ChannelConfig, ConfigError, ConfigValue, Secret};
pub use inbox::{Inbox, InboxEvent, InboxMessage, InboxReader, MAX_READERS, NumberSummary, Opening, TooManyReaders};
pub use ports::{
    Accounts, Autofill, Handle, Handles, LoginReply, MessageKey, PortError, Ports, Recipient, Recipients, UpstreamCost,
};
pub use registry::{KINDS, Kind, make};
pub use texts::{Argument, Language, OwnTexts, Texts, TextsError};
pub use tls::tls_client_config;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::{
    AccountKey, Code, Detail, EmailAddress, LegName, Locale, News, PhoneNumber, Reach, RequestId, SenderUsername,
    Timestamp,
};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;

/// A message on its way to a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// Whose request it belongs to.
    pub account: AccountKey,
    /// The request.
    pub request: RequestId,
    /// The recipient.
    pub phone: PhoneNumber,
    /// What it carries.
    pub code: Code,
    /// Whom the recipient sees as its sender.
    pub sender: Option<SenderUsername>,
    /// In which language the recipient reads; `None`: their number's country says it.
    pub locale: Option<Locale>,
    /// Their e-mail address, if the account gave one.
    pub email: Option<EmailAddress>,
    /// When it was sent, on the account's clock.
    pub sent_at: Timestamp,
    /// When it ends, on the account's clock.
    pub expires_at: Timestamp,
    /// How far the account's clock is ahead of real time, in milliseconds; zero in production.
    pub clock_offset_ms: i64,
}

/// A question to whoever holds a phone: somebody signs in to the site's pages with its number, is that you?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPrompt {
    /// Names the attempt in the answer; opens nothing.
    pub attempt: i64,
    /// Who is asked.
    pub phone: PhoneNumber,
    /// What can be typed on the waiting page instead of an answer.
    pub code: Code,
    /// What the asking browser calls itself.
    pub device: String,
    /// Where it asks from.
    pub address: String,
    /// When it asked, real time.
    pub at: Timestamp,
    /// Until when the question can be answered, real time.
    pub expires_at: Timestamp,
}

impl OutgoingMessage {
    /// How long it lives from a moment of real time on; zero once its life is over.
    pub fn life_left(&self, now: Timestamp) -> Duration {
        clock::between(now, self.ends_at())
    }

    /// When its life ends, real time.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.expires_at.plus_millis(self.clock_offset_ms.saturating_neg())
    }
}

impl LoginPrompt {
    /// How long the question can still be answered, from a moment of real time on; zero once that is over.
    pub(crate) fn life_left(&self, now: Timestamp) -> Duration {
        clock::between(now, self.expires_at)
    }
}

/// To whom a message would go, and in whose name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The recipient.
    pub phone: PhoneNumber,
    /// Whom the recipient would see as its sender.
    pub sender: Option<SenderUsername>,
    /// Their e-mail address, if the account gave one.
    pub email: Option<EmailAddress>,
}

/// What the network answered about a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A message would reach it.
    Reaches,
    /// None would.
    CannotReach(Detail),
    /// There was no answer that says so or so.
    Unknown(Detail),
}

/// What a channel did with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handover {
    /// The recipient isn't there: the message waits in the books, and a restart hands it over again.
    Waiting,
    /// It can't be taken at this moment (throttled, no connection), and nothing was sent: it waits in the books, and is handed
    /// over again after that time.
    Later(Duration),
    /// The channel took responsibility: it is noted in the books, and the message never handed over again. The other side's
    /// name of the message, where later news comes under it, is kept with it.
    Accepted(Option<Handle>),
    /// The number can't be reached on this leg.
    CannotReach(Detail),
    /// The other side refuses this message.
    Refused(Detail),
    /// Something failed: a time-out, a broken connection, an answer that makes no sense. It may have been sent, so it isn't
    /// handed over to this leg again. Failures in a row open the leg's circuit.
    Failed(Detail),
}

/// A message isn't held back for a moment in which no other leg can start any more.
const LAST_START: Duration = Duration::from_millis(countersign_core::LAST_START_MS.unsigned_abs());

impl Handover {
    /// Of a message that surely wasn't sent and could be after a pause: it waits, if what is left of its life allows; else it is refused
    /// for that reason, so that the next leg goes.
    pub(crate) fn later_or_refused(wait: Duration, life: Duration, why: Detail) -> Self {
        if wait.saturating_add(LAST_START) < life {
            Self::Later(wait)
        } else {
            Self::Refused(why)
        }
    }
}

/// Whether a channel hears of a message's arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// It says when a message was delivered (and perhaps read).
    Reported,
    /// It has none: delivery is assumed when the channel accepts a message.
    AssumedOnAcceptance,
}

/// News of a message, on its way to the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelNews {
    /// Whose request.
    pub account: AccountKey,
    /// The request.
    pub request: RequestId,
    /// The leg that tells it.
    pub leg: LegName,
    /// What happened.
    pub news: News,
    /// What the other side said besides.
    pub detail: Option<Detail>,
}

/// A call that the other side makes: `POST /channels/NAME/…` on our server, or `GET` where it makes sure of the address first.
#[derive(Clone, Default)]
pub struct WebhookCall {
    /// Whether it is a `GET`: then nothing may change by it.
    pub is_get: bool,
    /// What follows the channel's name, without a slash at its beginning.
    pub path: String,
    /// What follows the question mark, as it was sent; empty where there is none.
    pub query: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Without what may hold secrets, numbers or codes: a path may have a token in it, headers have credentials.
impl fmt::Debug for WebhookCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookCall")
            .field("is_get", &self.is_get)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl WebhookCall {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// The answer to such a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// The HTTP status.
    pub status: u16,
    /// A plain text; mostly empty.
    pub text: String,
}

impl WebhookAnswer {
    /// A status alone.
    pub const fn status(status: u16) -> Self {
        Self {
            status,
            text: String::new(),
        }
    }
}

/// What an examination of a channel found: for `countersign doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What was tried and found, in one sentence.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn well(found: impl Into<String>) -> Self {
        Self::new(Verdict::Well, found, "")
    }

    /// Something should be looked at.
    pub fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, found, remedy)
    }

    /// Something doesn't work.
    pub fn broken(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Broken, found, remedy)
    }

    /// What was found, and what to do about it.
    pub fn new(verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Well,
    /// It works, and yet something should be looked at.
    Warning,
    /// It doesn't work.
    Broken,
}

/// A way to reach a phone.
pub trait Channel: Send + Sync + 'static {
    /// Its name in settings, routes, tables and pages.
    fn name(&self) -> &LegName;
    /// Which kind of channel it is, as settings write it.
    fn kind(&self) -> &'static str;
    /// Whether it hears of arrivals.
    fn receipts(&self) -> Receipts;
    /// Whether it costs the operator money to use it. A sign-in uses such a channel only for accounts that are known.
    fn is_paid(&self) -> bool;
    /// Whether a question can be answered there by pressing a button; else its code is typed on the waiting page.
    fn carries_buttons(&self) -> bool;
    /// Whether what it sends are texts, which fixed lines and services don't take, and which cost more than a mobile's at premium numbers.
    fn is_text(&self) -> bool {
        false
    }
    /// How many messages are handed over at once at most.
    fn concurrency(&self) -> usize {
        64
    }

    /// Whether it reaches a number, as far as that is known here: without asking anybody, and without cost.
    fn reach<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Reach>;
    /// Asks the network, where [`Channel::reach`] said that it must be asked. The fee is on hold by now. Bounded in time by the
    /// caller.
    fn ask<'a>(&'a self, to: &'a Destination) -> BoxFuture<'a, Asked> {
        let _ = to;
        std::future::ready(Asked::Reaches).boxed()
    }
    /// Hands a message over. May be called again with the same message after a crash between sending and noting it.
    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover>;
    /// Takes back a message that was not delivered yet: it was revoked, or its life ended.
    fn withdraw(&self, account: AccountKey, request: RequestId) -> BoxFuture<'_, ()>;

    /// Asks the holder of a phone whether it is they who sign in. [`Handover::CannotReach`]: they can't be asked here.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover>;
    /// Takes a question back: it was answered, here or elsewhere.
    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()>;

    /// What is wrong with an address at which the operator would have it reach a number; `None`: nothing. Channels that find
    /// their recipients themselves take none.
    fn address_problem(&self, address: &str) -> Option<&'static str> {
        let _ = address;
        Some("this channel finds its recipients itself: it takes no addresses")
    }

    /// What it does all the time: keeps a connection, polls. Runs until the signal, or for ever; is started again after a panic.
    fn run(self: Arc<Self>, ended: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        drop(ended);
        std::future::ready(()).boxed()
    }
    /// Whether [`Channel::run`] runs on one node of several at a time: where the other side lets one alone ask it for news. Deliveries go
    /// out from all of them.
    fn runs_on_one_node(&self) -> bool {
        false
    }
    /// The largest body of a call that it takes.
    fn max_webhook_bytes(&self) -> usize {
        256 * 1024
    }
    /// Takes a call of the other side. What it checks first is the secret that the two share.
    fn receive(&self, call: WebhookCall) -> BoxFuture<'_, WebhookAnswer> {
        drop(call);
        std::future::ready(WebhookAnswer::status(404)).boxed()
    }
    /// Whether what [`Channel::receive`] answers is a page for whoever holds a phone, in HTML: all of it made by the channel, and
    /// everything in it escaped. Else it is plain text.
    fn answers_with_pages(&self) -> bool {
        false
    }
    /// Tries everything that can be tried without a message to anyone, and says what is wrong and what to do.
    fn examine(&self) -> BoxFuture<'_, Vec<Finding>>;
}
