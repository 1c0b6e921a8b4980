//! Ways to reach a phone, one file each, behind one trait: [`Channel`].
//!
//! A channel takes a message and says what it did with it; what the recipient's side says later comes back as [`ChannelNews`]
//! through the sender that the channel was made with, and goes through the books' one door like everything else. A channel
//! knows nothing of money or of states.
//!
//! To add one: a file here that implements [`Channel`], and says in its documentation what *reach*, *delivered*, *read* and
//! *withdraw* mean there; its settings and its start in the server's `start` module; its tests against something real.

mod inbox;

pub use inbox::{Inbox, InboxEvent, InboxMessage, InboxReader, MAX_READERS, NumberSummary, Opening, TooManyReaders};

use countersign_core::{AccountKey, Code, News, PhoneNumber, RequestId, SenderUsername, Timestamp};
use futures_util::future::BoxFuture;

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

/// What a channel did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// The recipient isn't there: the message waits in the books, and a restart hands it over again.
    Waiting,
    /// The channel took responsibility: it is noted in the books, and the message never handed over again.
    Accepted,
    /// This channel can't deliver it, now or later.
    Failed,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelNews {
    /// Whose request.
    pub account: AccountKey,
    /// The request.
    pub request: RequestId,
    /// What happened.
    pub news: News,
}

/// A way to reach a phone.
pub trait Channel: Send + Sync + 'static {
    /// Its name in settings, tables and pages.
    fn name(&self) -> &'static str;
    /// Whether it hears of arrivals.
    fn receipts(&self) -> Receipts;
    /// Hands a message over. May be called again with the same message after a restart.
    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover>;
    /// Takes back a message that was not delivered yet: it was revoked, or its life ended.
    fn withdraw(&self, account: AccountKey, request: RequestId) -> BoxFuture<'_, ()>;
    /// Whether it costs the operator money to use it. A sign-in uses such a channel only for accounts that are known.
    fn is_paid(&self) -> bool;
    /// Whether a question can be answered there by pressing a button; else its code is typed on the waiting page.
    fn carries_buttons(&self) -> bool;
    /// Asks the holder of a phone whether it is they who sign in. [`Handover::Failed`]: they can't be asked here.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover>;
    /// Takes a question back: it was answered, here or elsewhere.
    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()>;
}
