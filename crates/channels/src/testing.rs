//! For tests (feature `testing`): what a server lends to a channel, kept in memory, and the other end of what a channel tells.
//! The tests of each channel use it, and so may the server's.

pub mod cloud_api;
mod node;
mod smpp_session;
pub mod smsc;
pub mod smtp;
pub mod telegram;
pub mod transport;
pub mod twilio;

pub use smpp_session::smpp_session;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_core::{
    AccountId, AccountKey, Code, LegName, PhoneNumber, RequestId, SandboxNumbers, SenderUsername, Timestamp,
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::mpsc;

use crate::{
    Accounts, Autofill, ChannelConfig, ChannelNews, ConfigValue, Destination, Handle, Handles, LoginReply, MessageKey,
    OutgoingMessage, PortError, Ports, Recipient, Recipients, Texts, UpstreamCost,
};

/// How many items each queue of a [`Server`] holds.
const QUEUE: usize = 256;

/// The books of the ports, in memory. They can be told to fail.
#[derive(Debug, Default)]
pub struct MemoryBooks {
    recipients: Mutex<BTreeMap<(LegName, PhoneNumber), Recipient>>,
    handles: Mutex<BTreeMap<(LegName, Handle), MessageKey>>,
    notes: Mutex<BTreeMap<(LegName, String), String>>,
    autofill: Mutex<Autofill>,
    in_trouble: AtomicBool,
}

impl MemoryBooks {
    /// From now on every question is answered with an error, or none is.
    pub fn set_in_trouble(&self, in_trouble: bool) {
        self.in_trouble.store(in_trouble, Ordering::SeqCst);
    }

    /// What the short messages of every account end with.
    pub fn set_autofill(&self, autofill: Autofill) {
        *lock(&self.autofill) = autofill;
    }

    /// Keeps the name of a message, as the server does with what [`crate::Handover::Accepted`] carries.
    pub fn keep_handle(&self, channel: &LegName, handle: Handle, message: MessageKey) {
        lock(&self.handles).insert((channel.clone(), handle), message);
    }

    /// What is known of a number on a channel.
    pub fn recipient(&self, channel: &LegName, phone: PhoneNumber) -> Option<Recipient> {
        lock(&self.recipients).get(&(channel.clone(), phone)).cloned()
    }

    /// A note of a channel.
    pub fn noted(&self, channel: &LegName, name: &str) -> Option<String> {
        lock(&self.notes).get(&(channel.clone(), name.to_owned())).cloned()
    }

    fn ask<T: Send + 'static>(&self, answer: impl FnOnce() -> T) -> BoxFuture<'static, Result<T, PortError>> {
        let in_trouble = self.in_trouble.load(Ordering::SeqCst);
        let answer = if in_trouble {
            Err(PortError("the test says so".to_owned()))
        } else {
            Ok(answer())
        };
        ready(answer).boxed()
    }
}

impl Recipients for MemoryBooks {
    fn find<'a>(
        &'a self,
        channel: &'a LegName,
        phone: PhoneNumber,
    ) -> BoxFuture<'a, Result<Option<Recipient>, PortError>> {
        self.ask(|| self.recipient(channel, phone))
    }

    fn at_address<'a>(
        &'a self,
        channel: &'a LegName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Recipient>, PortError>> {
        self.ask(|| {
            let recipients = lock(&self.recipients);
            let there = recipients
                .iter()
                .filter(|((of, _), recipient)| of == channel && recipient.address == address);
            there.map(|(_, recipient)| recipient.clone()).collect()
        })
    }

    fn put<'a>(&'a self, channel: &'a LegName, recipient: Recipient) -> BoxFuture<'a, Result<(), PortError>> {
        self.ask(|| {
            lock(&self.recipients).insert((channel.clone(), recipient.phone), recipient);
        })
    }

    fn remove<'a>(&'a self, channel: &'a LegName, phone: PhoneNumber) -> BoxFuture<'a, Result<(), PortError>> {
        self.ask(|| {
            lock(&self.recipients).remove(&(channel.clone(), phone));
        })
    }
}

impl Handles for MemoryBooks {
    fn message<'a>(
        &'a self,
        channel: &'a LegName,
        handle: &'a Handle,
    ) -> BoxFuture<'a, Result<Option<MessageKey>, PortError>> {
        self.ask(|| lock(&self.handles).get(&(channel.clone(), handle.clone())).copied())
    }

    fn handle<'a>(
        &'a self,
        channel: &'a LegName,
        message: MessageKey,
    ) -> BoxFuture<'a, Result<Option<Handle>, PortError>> {
        self.ask(|| {
            let handles = lock(&self.handles);
            let mut found = handles
                .iter()
                .filter(|((of, _), key)| of == channel && **key == message);
            found.next().map(|((_, handle), _)| handle.clone())
        })
    }

    fn note<'a>(&'a self, channel: &'a LegName, name: &'a str) -> BoxFuture<'a, Result<Option<String>, PortError>> {
        self.ask(|| self.noted(channel, name))
    }

    fn put_note<'a>(
        &'a self,
        channel: &'a LegName,
        name: &'a str,
        value: String,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        self.ask(|| {
            lock(&self.notes).insert((channel.clone(), name.to_owned()), value);
        })
    }
}

impl Accounts for MemoryBooks {
    fn autofill(&self, _: AccountKey) -> BoxFuture<'_, Result<Autofill, PortError>> {
        self.ask(|| lock(&self.autofill).clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server as a channel sees it.
#[derive(Debug)]
pub struct Server {
    /// What the books keep.
    pub books: Arc<MemoryBooks>,
    /// The news that the channel told.
    pub news: mpsc::Receiver<ChannelNews>,
    /// The answers to sign-ins that it told.
    pub logins: mpsc::Receiver<LoginReply>,
    /// The costs that it told.
    pub costs: mpsc::Receiver<UpstreamCost>,
    /// What is lent to the channel; without a public URL and extra authorities.
    pub ports: Ports,
}

impl Server {
    /// A server with empty books.
    pub fn new() -> Self {
        Self::with(Arc::default())
    }

    /// A server with these books: the same ones again, after a restart.
    pub fn with(books: Arc<MemoryBooks>) -> Self {
        let (news_sender, news) = mpsc::channel(QUEUE);
        let (logins_sender, logins) = mpsc::channel(QUEUE);
        let (costs_sender, costs) = mpsc::channel(QUEUE);
        let ports = Ports {
            news: news_sender,
            logins: logins_sender,
            costs: costs_sender,
            recipients: Arc::clone(&books) as Arc<dyn Recipients>,
            handles: Arc::clone(&books) as Arc<dyn Handles>,
            accounts: Arc::clone(&books) as Arc<dyn Accounts>,
            texts: Texts::built_in().unwrap_or_else(|error| unreachable!("{error}")),
            public_url: None,
            extra_ca_file: None,
        };
        Self {
            books,
            news,
            logins,
            costs,
            ports,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

/// What an operator set for a channel. `None` where the name is none.
pub fn config(name: &str, kind: &str, values: &[(&str, &str)]) -> Option<ChannelConfig> {
    let values = values.iter().map(|(key, value)| {
        let value = ConfigValue::Text((*value).to_owned());
        ((*key).to_owned(), value)
    });
    Some(ChannelConfig {
        name: LegName::parse(name)?,
        kind: kind.to_owned(),
        values: values.collect(),
    })
}

/// A message of account 7 to a number: its request is `number`, it was sent at `sent_at` and lives for five minutes. `None`
/// where the number or the code is none.
pub fn message(number: u64, phone: &str, code: &str, sent_at: Timestamp) -> Option<OutgoingMessage> {
    Some(OutgoingMessage {
        account: AccountKey::of_new(AccountId::new(7)?),
        request: RequestId::new(sent_at, number),
        phone: PhoneNumber::parse(phone, SandboxNumbers::Refused)?,
        code: Code::parse(code)?,
        sender: None,
        locale: None,
        email: None,
        sent_at,
        expires_at: sent_at.plus_millis(300_000),
        clock_offset_ms: 0,
    })
}

/// Where that message goes.
pub fn destination(message: &OutgoingMessage) -> Destination {
    Destination {
        phone: message.phone,
        sender: message.sender.clone(),
        email: message.email.clone(),
    }
}

/// A sender's name, as a test writes it.
pub fn sender(name: &str) -> Option<SenderUsername> {
    SenderUsername::parse(name)
}
