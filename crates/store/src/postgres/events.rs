//! What nodes tell each other: that an account's standing changed, that a request did, that a sign-in was asked for or answered. By
//! NOTIFY, after the commit and on a connection of its own: within the transaction it would halve what the database commits, since all
//! that notify queue for one lock.
//!
//! Nothing depends on it. What is told late, or not at all, is found by looking: kept tokens are read again after some seconds, open
//! pages ask again each second. What can't be told for want of room becomes "look again", and so does a connection that was made anew.
//! A node that is alone tells nothing, and tells of requests only where another one has somebody who looks.

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use countersign_core::AccountId;
use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Notification};

use super::Shared;
use super::session::{Access, SessionError};
use crate::sql::codec::{account_key, request_id, request_place};
use crate::types::{CommittedSender, Elsewhere, RequestRef, StoreError};

/// The channel, in each database its own.
const LISTEN: &str = "LISTEN countersign";
/// A notification takes less than 8,000 bytes; one word more fits behind this.
const FULL_BYTES: usize = 7_800;
/// Events that may wait to be told, and notifications that may wait to be heard; beyond it: look again.
const QUEUE: usize = 4_096;
/// How often it is looked whether anybody here wants to hear of requests.
const LOOK: Duration = Duration::from_millis(500);
/// How often the connection is tried while nothing goes over it, in looks.
const LOOKS_BETWEEN_PINGS: u32 = 10;
/// How long the thread rests after the connection was lost.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// An account's tokens, allow-list or clock changed, or it was closed.
    Account(AccountId),
    /// A request changed, or is new.
    Request(RequestRef),
    /// A sign-in is asked for in the built-in inbox.
    LoginAsked(i64),
    /// A sign-in was answered, or ended by wrong codes.
    LoginAnswered(i64),
    /// This node is there.
    Here,
    /// This node wants to hear of requests from now on.
    Watching,
    /// More happened than could be told.
    LookAgain,
}

impl Event {
    /// Adds it to a notification, as one word.
    fn write(&self, to: &mut String) {
        // Writing to a string can't fail.
        let _ = match self {
            Self::Account(id) => write!(to, "a{} ", id.number()),
            Self::Request(request) => {
                let [bucket, account_id, created_at, random] = request_place(*request);
                write!(to, "r{bucket}.{account_id}.{created_at}.{random} ")
            }
            Self::LoginAsked(id) => write!(to, "q{id} "),
            Self::LoginAnswered(id) => write!(to, "l{id} "),
            Self::Here => write!(to, "h "),
            Self::Watching => write!(to, "w "),
            Self::LookAgain => write!(to, "* "),
        };
    }

    /// Reads a word. What a newer node says may be unknown: then whatever it is must be looked for.
    fn read(word: &str) -> Self {
        Self::known(word).unwrap_or(Self::LookAgain)
    }

    fn known(word: &str) -> Option<Self> {
        let (kind, rest) = word.split_at_checked(1)?;
        Some(match kind {
            "a" => Self::Account(AccountId::new(rest.parse().ok()?)?),
            "r" => {
                let mut parts = rest.splitn(4, '.').map(str::parse::<i64>);
                let mut part = || parts.next()?.ok();
                let account = account_key(part()?, part()?).ok()?;
                let id = request_id(part()?, part()?);
                Self::Request(RequestRef { account, id })
            }
            "q" => Self::LoginAsked(rest.parse().ok()?),
            "l" => Self::LoginAnswered(rest.parse().ok()?),
            "h" => Self::Here,
            "w" => Self::Watching,
            _ => return None,
        })
    }
}

/// Where the parts of a node put what there is to tell.
pub(crate) struct Events {
    queue: Mutex<Option<mpsc::Sender<Event>>>,
    /// Something found no room.
    overflowed: AtomicBool,
}

impl Events {
    /// The end of those who tell, and that of the thread which sends it on.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let events = Self {
            queue: Mutex::new(Some(sender)),
            overflowed: AtomicBool::new(false),
        };
        (events, receiver)
    }

    /// Puts some in the queue, without ever waiting.
    pub(super) fn tell(&self, events: impl IntoIterator<Item = Event>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else { return };
        for event in events {
            if queue.try_send(event).is_err() {
                self.overflowed.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// What waits is still told; then the thread ends.
    pub(super) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Starts the thread that tells and listens.
pub(super) fn start(
    shared: Arc<Shared>,
    access: Access,
    committed: Arc<CommittedSender>,
    queue: mpsc::Receiver<Event>,
) -> Result<JoinHandle<()>, StoreError> {
    let failed = |error: std::io::Error| StoreError::Database(format!("could not start the thread of events: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let mut messenger = Messenger {
        shared,
        access,
        committed,
        queue,
    };
    std::thread::Builder::new()
        .name("events".into())
        .spawn(move || runtime.block_on(messenger.run()))
        .map_err(failed)
}

struct Messenger {
    shared: Arc<Shared>,
    access: Access,
    committed: Arc<CommittedSender>,
    queue: mpsc::Receiver<Event>,
}

/// Why a connection is of no use any more.
enum Over {
    Lost(SessionError),
    /// The node ends.
    Closed,
}

impl From<tokio_postgres::Error> for Over {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Lost(error.into())
    }
}

/// One connection, to tell and to listen.
struct Line {
    client: Client,
    /// What others say; what this node said comes back as well.
    heard: mpsc::Receiver<Notification>,
    /// Something that was said found no room.
    deaf: Arc<AtomicBool>,
    own_process: i32,
}

impl Messenger {
    async fn run(&mut self) {
        loop {
            match self.serve().await {
                Over::Closed => return,
                // The node's own thread says so where the database is away.
                Over::Lost(error) => tracing::debug!(%error, "the connection for events was lost"),
            }
            // What waits can't be told now: the others look again once it can.
            while let Ok(_event) = self.queue.try_recv() {
                self.shared.events.overflowed.store(true, Ordering::Release);
            }
            if self.queue.is_closed() {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Tells and listens on one connection, as long as it lasts.
    async fn serve(&mut self) -> Over {
        let mut line = match self.connect().await {
            Ok(line) => line,
            Err(over) => return over,
        };
        // From here on nothing is missed; before it, anything may have been.
        self.look_again();
        // The others needn't wait until they look at the table of nodes.
        if let Err(over) = self.tell(&line, Event::Here).await {
            return over;
        }
        let mut looks = 0;
        let mut look = tokio::time::interval(LOOK);
        loop {
            let served = tokio::select! {
                heard = line.heard.recv() => match heard {
                    Some(notification) => {
                        self.hear(&line, &notification);
                        Ok(())
                    }
                    None => Err(Over::Lost(SessionError::TimedOut)),
                },
                event = self.queue.recv() => match event {
                    Some(event) => self.tell(&line, event).await,
                    None => Err(Over::Closed),
                },
                _ = look.tick() => {
                    looks += 1;
                    self.look(&line, looks).await
                }
            };
            if let Err(over) = served {
                return over;
            }
        }
    }

    async fn connect(&self) -> Result<Line, Over> {
        let connecting = self.access.config.connect(self.access.tls.clone());
        let (client, mut connection) = self.in_time(connecting).await?;
        let (sender, heard) = mpsc::channel(QUEUE);
        let deaf = Arc::new(AtomicBool::new(false));
        let was_deaf = Arc::clone(&deaf);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && sender.try_send(notification).is_err()
                {
                    was_deaf.store(true, Ordering::Release);
                }
            }
        });
        let own = self.in_time(client.query_one("SELECT pg_backend_pid()", &[])).await?;
        self.in_time(client.batch_execute(LISTEN)).await?;
        Ok(Line {
            client,
            heard,
            deaf,
            own_process: own.get(0),
        })
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Over> {
        match tokio::time::timeout(self.access.timeout, asked).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(Over::Lost(SessionError::TimedOut)),
        }
    }

    /// Tells an event, and as many of those that wait as fit beside it.
    async fn tell(&mut self, line: &Line, first: Event) -> Result<(), Over> {
        let mut words = String::new();
        first.write(&mut words);
        while words.len() < FULL_BYTES
            && let Ok(event) = self.queue.try_recv()
        {
            event.write(&mut words);
        }
        if self.shared.events.overflowed.swap(false, Ordering::AcqRel) {
            words.clear();
            Event::LookAgain.write(&mut words);
        }
        let values: [&(dyn ToSql + Sync); 1] = [&words];
        let told = line.client.execute("SELECT pg_notify('countersign', $1)", &values);
        let told = self.in_time(told).await.map(drop);
        if told.is_err() {
            self.shared.events.overflowed.store(true, Ordering::Release);
        }
        told
    }

    /// What is due from time to time.
    async fn look(&mut self, line: &Line, looks: u32) -> Result<(), Over> {
        let node = &self.shared.node;
        node.watch_others(self.committed.wants_requests() || self.shared.watches.are_open());
        if line.deaf.swap(false, Ordering::AcqRel) {
            self.look_again();
        }
        if self.shared.events.overflowed.load(Ordering::Acquire) && !node.is_alone() {
            return self.tell(line, Event::LookAgain).await;
        }
        if looks.is_multiple_of(LOOKS_BETWEEN_PINGS) {
            self.in_time(line.client.batch_execute("")).await?;
        }
        Ok(())
    }

    fn hear(&self, line: &Line, notification: &Notification) {
        if notification.process_id() == line.own_process {
            return;
        }
        let mut requests = Vec::new();
        let mut elsewhere = Vec::new();
        for word in notification.payload().split_ascii_whitespace() {
            match Event::read(word) {
                Event::Account(id) => self.shared.access.drop_entry(id),
                Event::Request(request) => requests.push(request),
                Event::LoginAsked(id) => elsewhere.push(Elsewhere::LoginAsked(id)),
                Event::LoginAnswered(id) => elsewhere.push(Elsewhere::LoginAnswered(id)),
                Event::Here => self.shared.node.is_not_alone(),
                Event::Watching => self.shared.node.is_watched_from_now_on(),
                Event::LookAgain => self.look_again(),
            }
        }
        if self.committed.wants_requests() {
            elsewhere.extend(requests.iter().copied().map(Elsewhere::Request));
        }
        self.shared.watches.tell(|| requests);
        if !elsewhere.is_empty() {
            self.committed.elsewhere.hand_over(elsewhere);
        }
    }

    /// Whatever is kept here may have changed elsewhere.
    fn look_again(&self) {
        self.shared.access.drop_all();
        self.shared.watches.tell_all();
        self.committed.elsewhere.miss();
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::{AccountKey, RequestId, Timestamp};

    use super::*;

    #[test]
    fn what_is_told_is_heard_and_what_is_not_understood_is_looked_for() {
        let account = AccountKey::of_new(AccountId::from_entropy(u64::MAX));
        let events = [
            Event::Account(account.id),
            Event::Request(RequestRef {
                account,
                id: RequestId::new(Timestamp::from_millis(1_800_000_000_000), u64::MAX),
            }),
            Event::LoginAsked(i64::MAX),
            Event::LoginAnswered(1),
            Event::Here,
            Event::Watching,
            Event::LookAgain,
        ];
        let mut words = String::new();
        for event in &events {
            event.write(&mut words);
        }
        let heard: Vec<_> = words.split_ascii_whitespace().map(Event::read).collect();
        assert_eq!(heard, events);
        for word in ["r1.2.3", "ax", "z9", "r1.2.3.4.5", "é"] {
            assert_eq!(Event::read(word), Event::LookAgain, "{word}");
        }
    }

    #[test]
    fn the_longest_word_fits_behind_what_is_full() {
        let account = AccountKey {
            bucket: countersign_core::Bucket(255),
            id: AccountId::from_entropy(u64::MAX),
        };
        let mut word = String::new();
        Event::Request(RequestRef {
            account,
            id: RequestId::new(Timestamp::from_millis(i64::MAX), 1 << 63),
        })
        .write(&mut word);
        assert!(FULL_BYTES + word.len() < 8_000, "{} bytes", word.len());
    }
}
