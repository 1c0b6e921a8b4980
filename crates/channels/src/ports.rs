//! What the server lends to its channels: where their news goes, and what the books keep for them.

use std::fmt;
use std::sync::Arc;

use countersign_core::{AccountId, AccountKey, Bucket, LegName, PhoneNumber, RequestId, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{ChannelNews, OutgoingMessage, Texts};

/// Names the message of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Whose request.
    pub account: AccountKey,
    /// The request.
    pub request: RequestId,
}

/// How a message is named to the other side, which says it again in its news: `cs1.`, the account's bucket and number, the
/// request's id; 60 bytes at most.
impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, request } = self;
        write!(f, "cs1.{}.{}.{request}", account.bucket.0, account.id)
    }
}

impl MessageKey {
    /// The message's own.
    pub const fn of(message: &OutgoingMessage) -> Self {
        Self {
            account: message.account,
            request: message.request,
        }
    }

    /// Reads such a name. It proves nothing: whoever says it must have been believed for another reason.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("cs1.")?.splitn(3, '.');
        let bucket = Bucket(parts.next()?.parse().ok()?);
        let id = AccountId::new(parts.next()?.parse().ok()?)?;
        let request = RequestId::parse(parts.next()?)?;
        let account = AccountKey { bucket, id };
        Some(Self { account, request })
    }
}

/// The other side's name of a message: at most 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(Arc<str>);

impl Handle {
    /// The longest that is kept, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// A name that the other side gave; `None` where it is empty or too long.
    pub fn new(text: &str) -> Option<Self> {
        (1..=Self::MAX_BYTES).contains(&text.len()).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Somebody who opted in to a channel, or out of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The number.
    pub phone: PhoneNumber,
    /// Where the channel reaches it (a chat's id); empty where the number itself is the address.
    pub address: String,
    /// Whether they want no messages there any more.
    pub stopped: bool,
    /// Since when it is so, real time.
    pub since: Timestamp,
}

/// Without the address, which names somebody (a chat, a mailbox).
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("phone", &self.phone)
            .field("stopped", &self.stopped)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// Why the books couldn't help at this moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the books can't be asked: {0}")]
pub struct PortError(pub String);

/// Who may be reached over a channel, as recipients themselves said, whichever account writes to them. Kept in the books.
pub trait Recipients: Send + Sync {
    /// What is known of a number on a channel.
    fn find<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<Recipient>, PortError>>;
    /// The numbers that a channel reaches at an address.
    fn at_address<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Recipient>, PortError>>;
    /// Notes what a recipient said. What was known of that number on that channel is replaced.
    fn put<'a>(&'a self, channel: &'a LegName, recipient: Recipient) -> BoxFuture<'a, Result<(), PortError>>;
    /// Forgets a number on a channel.
    fn remove<'a>(&'a self, channel: &'a LegName, phone: PhoneNumber) -> BoxFuture<'a, Result<(), PortError>>;
}

/// Which message the other side means, and what it calls ours. Kept in the books, for some days.
pub trait Handles: Send + Sync {
    /// The message that goes by that name.
    fn message<'a>(
        &'a self,
        channel: &'a LegName,
        handle: &'a Handle,
    ) -> BoxFuture<'a, Result<Option<MessageKey>, PortError>>;
    /// The name by which a message goes.
    fn handle<'a>(
        &'a self,
        channel: &'a LegName,
        message: MessageKey,
    ) -> BoxFuture<'a, Result<Option<Handle>, PortError>>;
    /// Small things that a channel must remember over a restart (how far it has polled), by name.
    fn note<'a>(&'a self, channel: &'a LegName, name: &'a str) -> BoxFuture<'a, Result<Option<String>, PortError>>;
    /// Remembers one; at most 1,024 bytes.
    fn put_note<'a>(
        &'a self,
        channel: &'a LegName,
        name: &'a str,
        value: String,
    ) -> BoxFuture<'a, Result<(), PortError>>;
}

/// What an account wants at the end of its short messages, so that phones fill the code in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Autofill {
    /// The website on which the code is entered, such as `example.com`: the message's last line binds the code to it.
    pub domain: Option<String>,
    /// The hash of an Android app, 11 characters, by which its SMS Retriever finds the message.
    pub android_hash: Option<String>,
}

/// As the books have it.
impl From<countersign_core::Autofill> for Autofill {
    fn from(set: countersign_core::Autofill) -> Self {
        Self {
            domain: set.domain.map(|domain| domain.as_str().to_owned()),
            android_hash: set.android_hash.map(|hash| hash.as_str().to_owned()),
        }
    }
}

/// What accounts set for their messages. Kept in the books.
pub trait Accounts: Send + Sync {
    /// What the short messages of an account end with.
    fn autofill(&self, account: AccountKey) -> BoxFuture<'_, Result<Autofill, PortError>>;
}

/// What a recipient said to the question whether it is they who sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginReply {
    /// The question ([`crate::LoginPrompt::attempt`]).
    pub attempt: i64,
    /// Who said it, as the channel knows for sure: whoever else is asked, only this number's holder may answer.
    pub phone: PhoneNumber,
    /// Whether it is they.
    pub is_me: bool,
}

/// What an upstream charged, for the operator's reconciliation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCost {
    /// Which channel.
    pub leg: LegName,
    /// For which message, where that is known: a question before a send has none.
    pub message: Option<MessageKey>,
    /// How much, in millionths of the upstream's unit of money; negative for what it gave back.
    pub micros: i64,
    /// The upstream's own name of what it charged for.
    pub upstream: Option<Handle>,
    /// When, real time.
    pub at: Timestamp,
}

/// All of it. Cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// News of messages. A full queue makes the channel wait.
    pub news: mpsc::Sender<ChannelNews>,
    /// Answers to questions about signing in.
    pub logins: mpsc::Sender<LoginReply>,
    /// What upstreams charged.
    pub costs: mpsc::Sender<UpstreamCost>,
    /// Who opted in and out.
    pub recipients: Arc<dyn Recipients>,
    /// Which message is which.
    pub handles: Arc<dyn Handles>,
    /// What accounts set for their messages.
    pub accounts: Arc<dyn Accounts>,
    /// What recipients read, in their languages.
    pub texts: Arc<Texts>,
    /// How the other side reaches this server, without a slash at its end; `None` where it can't: then channels poll.
    pub public_url: Option<String>,
    /// Certificates to trust besides the platform's: a PEM file.
    pub extra_ca_file: Option<std::path::PathBuf>,
}

impl Ports {
    /// Tells the books what an upstream charged for a message that it just took. Never waits: whoever hands a message over must say so in
    /// time, or the next leg sends a second one.
    pub(crate) fn note_cost(&self, cost: UpstreamCost) {
        match self.costs.try_send(cost) {
            // Nobody listens once the server has ended.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(cost)) => tracing::error!(
                channel = %cost.leg,
                micros = cost.micros,
                message = cost.message.map(tracing::field::display),
                upstream = cost.upstream.as_ref().map(Handle::as_str),
                "the books are too slow: what an upstream charged is missing there"
            ),
        }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_names_the_message_again() {
        let message = MessageKey {
            account: AccountKey {
                bucket: Bucket(255),
                id: AccountId::new(i64::MAX).unwrap_or_else(|| AccountId::new(1).unwrap()),
            },
            request: RequestId::new(Timestamp::from_millis(1_790_000_000_000), u64::MAX),
        };
        let name = message.to_string();
        assert!(name.len() <= 60, "{name}");
        assert_eq!(MessageKey::parse(&name), Some(message));
        for other in [
            "",
            "cs1.",
            "cs1.9.7",
            "cs1.9.7.x",
            "cs2.9.7.x",
            "order 4711",
            "cs1.256.7.0",
        ] {
            assert_eq!(MessageKey::parse(other), None, "{other}");
        }
    }
}
