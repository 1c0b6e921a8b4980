//! The contract for what channels keep in the books: who opted in or out, what the other side calls our messages, small notes,
//! and what upstreams charged. Part of [`crate::SiteStore`]; the server lends it to channels, which know nothing of books.
//!
//! A *handle* is the other side's name of a message, an *address* is where a channel reaches a recipient (a chat's id). None of
//! these writes leaves a line in the audit log, but for what an operator does: they are the traffic of messages.

use countersign_core::{DAY_MS, LegName, PhoneNumber, Timestamp};
use futures_util::future::BoxFuture;

use crate::types::{Actor, RequestRef, StoreError};

/// How long a handle is kept, in milliseconds. A message lives an hour at most; networks report days later at the latest.
pub const HANDLE_LIFE_MS: i64 = 5 * DAY_MS;
/// The longest handle, in bytes.
pub const MAX_CHANNEL_HANDLE_BYTES: usize = 128;
/// The longest address of a recipient, in bytes.
pub const MAX_CHANNEL_ADDRESS_BYTES: usize = 256;
/// The longest note, in bytes; its name may have 128.
pub const MAX_CHANNEL_NOTE_BYTES: usize = 1_024;

/// Somebody who opted in to a channel, or out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecipient {
    /// The number.
    pub phone: PhoneNumber,
    /// Where the channel reaches it; empty where the number itself is the address.
    pub address: String,
    /// Whether they want no messages there any more.
    pub stopped: bool,
    /// Since when it is so, real time.
    pub since: Timestamp,
}

/// What the operator says of a recipient; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientChange {
    /// The number.
    pub phone: PhoneNumber,
    /// Where the channel reaches it.
    pub address: Option<String>,
    /// Whether they want no messages there any more.
    pub stopped: Option<bool>,
}

/// What the other side of a channel calls one of our messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMessage {
    /// The channel.
    pub channel: LegName,
    /// The other side's name, at most [`MAX_CHANNEL_HANDLE_BYTES`].
    pub handle: String,
    /// The request whose message it is.
    pub request: RequestRef,
}

/// Whether an upstream took money or gave it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostKind {
    /// It charged.
    Charged,
    /// It gave back.
    Refunded,
}

/// What an upstream charged, or gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelCost {
    /// Which channel.
    pub channel: LegName,
    /// For which message, where that is known.
    pub message: Option<RequestRef>,
    /// How much, in millionths of the upstream's unit of money; negative for what it gave back.
    pub micros: i64,
    /// The upstream's own name of what it charged for, at most [`MAX_CHANNEL_HANDLE_BYTES`]. The same channel, name and kind is
    /// one line, however often it is noted: the greatest amount counts, and its message once it is known. Without a name each
    /// note is a line of its own.
    pub upstream: Option<String>,
    /// When, real time.
    pub at: Timestamp,
}

impl ChannelCost {
    /// Whether it was charged or given back.
    pub const fn kind(&self) -> CostKind {
        if self.micros < 0 {
            CostKind::Refunded
        } else {
            CostKind::Charged
        }
    }
}

/// A place in the list of costs, to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CostPlace {
    /// When it was charged.
    pub at: Timestamp,
    /// Counts all lines.
    pub number: i64,
}

/// A line of what upstreams charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRecord {
    /// Its place in the list.
    pub place: CostPlace,
    /// What it says.
    pub cost: ChannelCost,
}

/// What one channel's upstream charged in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostSum {
    /// The channel.
    pub channel: LegName,
    /// How many times it charged.
    pub charges: u64,
    /// How much, in millionths of its unit of money.
    pub charged_micros: i64,
    /// How many times it gave money back.
    pub refunds: u64,
    /// How much of it, not negative.
    pub refunded_micros: i64,
}

/// What channels keep in the books.
pub trait ChannelBooks: Send + Sync {
    /// What a number said on a channel.
    fn recipient<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<ChannelRecipient>, StoreError>>;
    /// The numbers that a channel reaches at an address, at most `limit`.
    fn recipients_at<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ChannelRecipient>, StoreError>>;
    /// Notes what a number said; what was known of it on that channel is replaced. [`StoreError::TooLong`] for an address that
    /// can't be kept.
    fn put_recipient(&self, channel: LegName, recipient: ChannelRecipient) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Changes what is known of numbers on a channel, in one transaction with its line in the audit log: all of it or none. Of a
    /// number that has no address and wants its messages nothing is kept. [`StoreError::TooLong`] as above.
    fn change_recipients(
        &self,
        channel: LegName,
        changes: Vec<RecipientChange>,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets a number on a channel, as its recipient wants it.
    fn remove_recipient(&self, channel: LegName, phone: PhoneNumber) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The same, as somebody else does it: with a line in the audit log.
    fn forget_recipient(
        &self,
        channel: LegName,
        phone: PhoneNumber,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes what the other side calls a message. It does so once for each message and channel: a second name replaces the first.
    fn note_handle(&self, named: NamedMessage, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.note_handles(vec![named], now)
    }
    /// The same for many messages in one transaction: all of them or none. [`StoreError::TooLong`] for a name that can't be kept.
    fn note_handles(&self, named: Vec<NamedMessage>, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The newest message that goes by a name.
    fn message_of_handle<'a>(
        &'a self,
        channel: &'a LegName,
        handle: &'a str,
    ) -> BoxFuture<'a, Result<Option<RequestRef>, StoreError>>;
    /// The name by which a message goes.
    fn handle_of_message<'a>(
        &'a self,
        channel: &'a LegName,
        request: RequestRef,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
    /// Deletes names that are older than [`HANDLE_LIFE_MS`]; about [`crate::FORGOTTEN_AT_ONCE`] a call. Answers how many went.
    fn forget_old_handles(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// What a channel remembers under a name.
    fn channel_note<'a>(
        &'a self,
        channel: &'a LegName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
    /// Remembers something. [`StoreError::TooLong`] where it can't be kept.
    fn put_channel_note(&self, channel: LegName, name: String, value: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes what upstreams charged, in one transaction: all of it or none. See [`ChannelCost::upstream`].
    fn note_costs(&self, costs: Vec<ChannelCost>) -> BoxFuture<'_, Result<(), StoreError>>;
    /// What upstreams charged from one time on and before another, in the order of time, after a place, at most `limit`.
    fn costs(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<CostPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<CostRecord>, StoreError>>;
    /// The sums by channel of the days (UTC) from the one of `from` to the last that begins before `to`.
    fn cost_sums(&self, from: Timestamp, to: Timestamp) -> BoxFuture<'_, Result<Vec<CostSum>, StoreError>>;
}
