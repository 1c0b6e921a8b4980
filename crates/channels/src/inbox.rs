//! The built-in messenger: messages wait in memory until somebody opens the inbox of their number, as on a phone that is
//! switched on. For sandboxes, development and CI; the server's `inbox` room puts pages and an API on top.
//!
//! What the words mean here: every number can be *reached*. A message is *delivered* when an open inbox of its number
//! ([`Inbox::open`]) took it, and *read* when a person or a program read it ([`Inbox::mark_read`]). *Withdraw* removes a
//! message that nobody took. Scripted sandbox numbers are shown, and listen to their script alone.
//!
//! Memory is bounded: the newest 50,000 messages, 1,000 sign-ins to confirm and 1,000 readers. The books stay the truth: what falls out of the ring
//! still expires and is refunded there.

mod logins;
mod shelf;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::{
    AccountKey, Code, DeliveryState, LegName, Locale, News, PhoneNumber, Reach, RequestId, SenderUsername, Timestamp,
};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::{
    Argument, Channel, ChannelNews, Destination, Finding, Handover, Language, LoginPrompt, OutgoingMessage, Receipts,
    Verdict,
};
use logins::Logins;
use shelf::{CAPACITY, Shelf};

/// How many inboxes can be open at a time, lists of numbers included.
pub const MAX_READERS: usize = 1_000;
/// The most messages in one event; more come in the next.
const EVENT_MESSAGES: usize = 256;
/// Changes in the list of numbers are told at most this often: under load every message is one.
const NUMBERS_INTERVAL: Duration = Duration::from_millis(250);

/// A message as the inbox shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxMessage {
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
    /// When it was sent, on the account's clock.
    pub sent_at: Timestamp,
    /// When it ends, on the account's clock.
    pub expires_at: Timestamp,
    /// How far the account's clock was ahead of real time when the message was sent, in milliseconds.
    pub clock_offset_ms: i64,
    /// What became of it, as far as the inbox knows: `Sent` while nobody took it.
    pub delivery: DeliveryState,
}

impl InboxMessage {
    /// What the recipient reads, in a language.
    pub fn text(&self, language: &Language) -> String {
        language.text("code", &[("code", Argument::Text(self.code.as_str()))])
    }

    /// When it was sent, in real time: orders messages of accounts whose clocks differ.
    pub fn sent_at_real_time(&self) -> Timestamp {
        self.sent_at.plus_millis(self.clock_offset_ms.saturating_neg())
    }

    pub(crate) fn new(message: OutgoingMessage, delivery: DeliveryState) -> Self {
        Self {
            account: message.account,
            request: message.request,
            phone: message.phone,
            code: message.code,
            sender: message.sender,
            locale: message.locale,
            sent_at: message.sent_at,
            expires_at: message.expires_at,
            clock_offset_ms: message.clock_offset_ms,
            delivery,
        }
    }
}

/// A number in the list of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberSummary {
    /// The number.
    pub phone: PhoneNumber,
    /// How many messages it has.
    pub messages: u32,
    /// How many of them nobody has read.
    pub unread: u32,
    /// The one that was sent last.
    pub last: InboxMessage,
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEvent {
    /// Messages of its number that are new or changed, in the order of the changes.
    Messages(Vec<InboxMessage>),
    /// The list of numbers changed.
    Numbers,
    /// Something went away or changed at large: read the whole list again.
    Reload,
}

/// Why an inbox could not be opened: [`MAX_READERS`] are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_READERS} inboxes are open: close one and try again")]
pub struct TooManyReaders;

/// What a reader opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The inbox of a number: its messages are delivered by that.
    Number(PhoneNumber),
    /// The list of numbers: nothing is delivered.
    Numbers,
    /// Both, for a page that shows them beside each other.
    NumberAndNumbers(PhoneNumber),
}

impl Opening {
    const fn phone(self) -> Option<PhoneNumber> {
        match self {
            Self::Number(phone) | Self::NumberAndNumbers(phone) => Some(phone),
            Self::Numbers => None,
        }
    }

    const fn shows_numbers(self) -> bool {
        matches!(self, Self::Numbers | Self::NumberAndNumbers(_))
    }
}

/// The built-in messenger. One per server, shared by the dispatch worker and the inbox's pages.
pub struct Inbox {
    /// Held for some look-ups at most; never across an await.
    state: Mutex<State>,
    /// How many readers there are. With none, changes cost no more than this look.
    readers: AtomicUsize,
    /// To the worker that brings news into the books.
    news: mpsc::Sender<ChannelNews>,
}

struct State {
    shelf: Shelf,
    logins: Logins,
    open: HashMap<PhoneNumber, Vec<Arc<Signal>>>,
    lists: Vec<Arc<Signal>>,
}

/// Wakes one reader. It holds no events: the reader looks for itself what changed since it last looked, so that a slow one
/// costs nothing and misses nothing.
#[derive(Default)]
struct Signal {
    wake: Notify,
    numbers: AtomicBool,
    reload: AtomicBool,
}

impl Inbox {
    /// An empty inbox that tells its news there.
    pub fn new(news: mpsc::Sender<ChannelNews>) -> Arc<Self> {
        Self::with_capacity(news, CAPACITY)
    }

    fn with_capacity(news: mpsc::Sender<ChannelNews>, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                shelf: Shelf::new(capacity),
                logins: Logins::default(),
                open: HashMap::new(),
                lists: Vec::new(),
            }),
            readers: AtomicUsize::new(0),
            news,
        })
    }

    /// Shows a message again that arrived before a restart; no news comes of it. A full inbox leaves it out: the newest
    /// messages come first. Answers whether it is shown now.
    pub fn restore(&self, message: OutgoingMessage, delivery: DeliveryState) -> bool {
        let mut state = self.lock();
        if state.shelf.is_full() {
            return false;
        }
        let phone = message.phone;
        let new = state.shelf.insert(InboxMessage::new(message, delivery));
        if new {
            self.tell(&state, phone);
        }
        new
    }

    /// Shows a message as it stands in the books, where another node changed it or sent it; no news comes of it. A message never goes back.
    /// Answers whether it is new here.
    pub fn show(&self, message: OutgoingMessage, delivery: DeliveryState) -> bool {
        let (key, phone) = ((message.account, message.request), message.phone);
        let mut state = self.lock();
        let new = state.shelf.insert(InboxMessage::new(message, delivery));
        if new || state.shelf.mark(key, delivery).is_some() {
            self.tell(&state, phone);
        }
        new
    }

    /// The messages that were sent last, of one number or of all, newest first, at most `limit`. Changes nothing.
    pub fn messages(&self, phone: Option<PhoneNumber>, limit: usize) -> Vec<InboxMessage> {
        self.lock().shelf.newest(phone, limit)
    }

    /// One message. Changes nothing.
    pub fn message(&self, account: AccountKey, request: RequestId) -> Option<InboxMessage> {
        self.lock().shelf.get((account, request)).cloned()
    }

    /// The numbers that were sent something last, newest first, at most `limit`. Changes nothing.
    pub fn numbers(&self, limit: usize) -> Vec<NumberSummary> {
        self.lock().shelf.numbers(limit)
    }

    /// How many numbers have messages.
    pub fn number_count(&self) -> usize {
        self.lock().shelf.number_count()
    }

    /// A number's messages that nobody has read, newest first. Changes nothing.
    pub fn unread(&self, phone: PhoneNumber) -> Vec<InboxMessage> {
        self.lock().shelf.unread(phone)
    }

    /// The sign-ins that can still be answered, of one number or of all, the oldest first. Changes nothing.
    pub fn logins(&self, phone: Option<PhoneNumber>, now: Timestamp) -> Vec<LoginPrompt> {
        self.lock().logins.standing(phone, now)
    }

    /// Shows a message as read. Whoever calls this has brought [`News::Read`] into the books before.
    pub fn mark_read(&self, account: AccountKey, request: RequestId) {
        let mut state = self.lock();
        if let Some(phone) = state.shelf.mark((account, request), DeliveryState::Read) {
            self.tell(&state, phone);
        }
    }

    /// Tells open inboxes that the books have news of a message (its code was checked, it was revoked). Costs one look at
    /// a counter while no inbox is open.
    pub fn touch(&self, account: AccountKey, request: RequestId) {
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.lock();
        if let Some(phone) = state.shelf.touch((account, request)) {
            self.tell(&state, phone);
        }
    }

    /// Tells open inboxes that an account's clock was moved: times left are others now.
    pub fn clock_moved(&self) {
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let state = self.lock();
        for signal in state.open.values().flatten().chain(&state.lists) {
            signal.reload.store(true, Ordering::Release);
            signal.wake.notify_one();
        }
    }

    /// Whether anybody has it open.
    pub fn is_open(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    /// Opens an inbox. It stays open until the reader is dropped.
    pub fn open(self: &Arc<Self>, opening: Opening) -> Result<InboxReader, TooManyReaders> {
        let mut state = self.lock();
        if self.readers.load(Ordering::Acquire) >= MAX_READERS {
            return Err(TooManyReaders);
        }
        let signal = Arc::new(Signal::default());
        signal.numbers.store(opening.shows_numbers(), Ordering::Release);
        if let Some(phone) = opening.phone() {
            state.open.entry(phone).or_default().push(Arc::clone(&signal));
        }
        if opening.shows_numbers() {
            state.lists.push(Arc::clone(&signal));
        }
        self.readers.fetch_add(1, Ordering::AcqRel);
        Ok(InboxReader {
            inbox: Arc::clone(self),
            opening,
            signal,
            seen: 0,
            next_numbers_at: Instant::now(),
        })
    }

    /// Wakes who watches this number or the list.
    fn tell(&self, state: &State, phone: PhoneNumber) {
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        for signal in &state.lists {
            signal.numbers.store(true, Ordering::Release);
            signal.wake.notify_one();
        }
        for signal in state.open.get(&phone).into_iter().flatten() {
            signal.wake.notify_one();
        }
    }

    /// Wakes them, and lets who watches the number look at all of it again.
    fn tell_all(&self, state: &State, phone: PhoneNumber) {
        for signal in state.open.get(&phone).into_iter().flatten() {
            signal.reload.store(true, Ordering::Release);
        }
        self.tell(state, phone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics; were one to, the shelf's counters could be off, which harms nobody's money.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Inbox {
    fn name(&self) -> &LegName {
        &LegName::INBOX
    }

    fn kind(&self) -> &'static str {
        "inbox"
    }

    fn reach<'a>(&'a self, _to: &'a Destination) -> BoxFuture<'a, Reach> {
        std::future::ready(Reach::Reachable).boxed()
    }

    fn receipts(&self) -> Receipts {
        Receipts::Reported
    }

    /// The message waits, even where its inbox is open: the reader takes it in its own task, and tells the news there.
    fn deliver(&self, message: OutgoingMessage) -> BoxFuture<'_, Handover> {
        let phone = message.phone;
        let mut state = self.lock();
        if state.shelf.insert(InboxMessage::new(message, DeliveryState::Sent)) {
            self.tell(&state, phone);
        }
        drop(state);
        std::future::ready(Handover::Waiting).boxed()
    }

    /// A message that a reader took while the books were withdrawing it stays, and its readers are told to look again.
    fn withdraw(&self, account: AccountKey, request: RequestId) -> BoxFuture<'_, ()> {
        let mut state = self.lock();
        if let Some(phone) = state.shelf.withdraw((account, request)) {
            self.tell_all(&state, phone);
        }
        drop(state);
        std::future::ready(()).boxed()
    }

    fn is_paid(&self) -> bool {
        false
    }

    fn carries_buttons(&self) -> bool {
        true
    }

    /// It is shown in the inbox of its number until it is answered or its time is over; a restart forgets it.
    fn deliver_login(&self, prompt: LoginPrompt) -> BoxFuture<'_, Handover> {
        let phone = prompt.phone;
        let mut state = self.lock();
        state.logins.insert(prompt);
        self.tell_all(&state, phone);
        drop(state);
        std::future::ready(Handover::Accepted(None)).boxed()
    }

    fn withdraw_login(&self, attempt: i64) -> BoxFuture<'_, ()> {
        let mut state = self.lock();
        if let Some(phone) = state.logins.remove(attempt) {
            self.tell_all(&state, phone);
        }
        drop(state);
        std::future::ready(()).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Finding>> {
        let well = Finding {
            verdict: Verdict::Well,
            found: "the built-in inbox takes every message".to_owned(),
            remedy: String::new(),
        };
        std::future::ready(vec![well]).boxed()
    }
}

/// An open inbox, or an open list of numbers. Dropping it closes it.
pub struct InboxReader {
    inbox: Arc<Inbox>,
    opening: Opening,
    signal: Arc<Signal>,
    /// The version of the shelf up to which this reader was told everything.
    seen: u64,
    next_numbers_at: Instant,
}

impl InboxReader {
    /// Waits for the next event; the first ones tell what is there already. `None` once nobody takes news any more, at the
    /// server's end. Cancel safe: what was not returned comes again.
    pub async fn next(&mut self) -> Option<InboxEvent> {
        loop {
            if let Some(phone) = self.opening.phone() {
                self.take_waiting(phone).await?;
                if self.signal.reload.swap(false, Ordering::AcqRel) {
                    return Some(InboxEvent::Reload);
                }
                let (messages, through) = self.inbox.lock().shelf.changed_since(phone, self.seen, EVENT_MESSAGES);
                self.seen = through;
                if !messages.is_empty() {
                    return Some(InboxEvent::Messages(messages));
                }
            }
            let mut numbers_due = None;
            if self.opening.shows_numbers() && self.signal.numbers.load(Ordering::Acquire) {
                if Instant::now() >= self.next_numbers_at {
                    self.signal.numbers.store(false, Ordering::Release);
                    self.next_numbers_at = Instant::now() + NUMBERS_INTERVAL;
                    return Some(InboxEvent::Numbers);
                }
                numbers_due = Some(self.next_numbers_at);
            }
            if self.opening.phone().is_none() && self.signal.reload.swap(false, Ordering::AcqRel) {
                return Some(InboxEvent::Reload);
            }
            let woken = self.signal.wake.notified();
            match numbers_due {
                // Either way there is something to look at.
                Some(at) => drop(tokio::time::timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// Takes the messages that wait for this number. A place for the news is got first, outside the lock, so that no news
    /// is lost where the worker is slow, and none is told twice.
    async fn take_waiting(&self, phone: PhoneNumber) -> Option<()> {
        loop {
            let waiting = self.inbox.lock().shelf.waiting(phone, EVENT_MESSAGES);
            if waiting.is_empty() {
                return Some(());
            }
            for (account, request) in waiting {
                let permit = self.inbox.news.reserve().await.ok()?;
                let mut state = self.inbox.lock();
                if state.shelf.mark((account, request), DeliveryState::Delivered).is_some() {
                    self.inbox.tell(&state, phone);
                    permit.send(ChannelNews {
                        account,
                        request,
                        leg: LegName::INBOX,
                        news: News::Delivered,
                        detail: None,
                    });
                }
            }
        }
    }
}

impl Drop for InboxReader {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        state.lists.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
        if let Some(phone) = self.opening.phone()
            && let Some(signals) = state.open.get_mut(&phone)
        {
            signals.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
            if signals.is_empty() {
                state.open.remove(&phone);
            }
        }
        self.inbox.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
