//! What goes in and out of the books besides core's own types.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign_core::{
    AccountKey, ApiToken, CallbackUrl, Credits, DeliveryReport, PhoneNumber, PriceListFull, RequestId, SenderUsername,
    Timestamp, VerificationRequest, Work,
};
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Why the books could not do what was asked. After [`StoreError::Lost`] alone the outcome is unknown.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The bounded queue is full.
    #[error("the books are busy: try again in a second")]
    Busy,
    /// The store shuts down.
    #[error("the books are closing")]
    Closing,
    /// The writer ended before it answered.
    #[error("the books ended before they answered: the outcome is unknown")]
    Lost,
    /// The disk is full. Nothing was done; the books go on by themselves once there is room.
    #[error("the disk is full: nothing was done, and the books go on once there is room")]
    DiskFull,
    /// The disk refused to keep something for another reason than want of room. A write ends the process then.
    #[error("disk: {0}")]
    Disk(String),
    /// What was named isn't there.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// What should be new is there already.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// The price list can't take more rows.
    #[error(transparent)]
    PriceListFull(#[from] PriceListFull),
    /// The database was written by a newer version.
    #[error(
        "the database has schema version {found}, and this program knows versions up to {known}: \
         start the newer program that wrote it, or restore a backup"
    )]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The master key doesn't open what is stored.
    #[error("the master key doesn't fit this database: use the key that it was made with")]
    WrongMasterKey,
    /// A row holds what no version of this program wrote, or doesn't open under its key. It concerns that row alone.
    #[error("{0} in the database isn't one that this program wrote")]
    Damaged(&'static str),
    /// The database failed.
    #[error("database: {0}")]
    Database(String),
}

/// What keeps the books from taking writes. They go on by themselves once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room for another write.
    DiskFull,
}

/// As the health check tells it: a word or two.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "disk full",
        })
    }
}

/// What a caller's token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountAccess {
    /// The account.
    pub key: AccountKey,
    /// Its authentication generation; goes into every command.
    pub generation: u32,
    /// Whether it is closed: every call is refused then.
    pub closed: bool,
    /// Addresses from which it may call; empty allows all.
    pub allow_list: Vec<IpNet>,
    /// How far the sandbox moved its clock ahead, in milliseconds.
    pub clock_offset_ms: i64,
    /// The owner's own number.
    pub owner: PhoneNumber,
}

/// An account as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountProfile {
    /// The account.
    pub key: AccountKey,
    /// What the operator calls it.
    pub name: String,
    /// The owner's own number.
    pub phone: PhoneNumber,
    /// The sum of its entries.
    pub balance: Credits,
    /// What is on hold of it.
    pub held: Credits,
    /// How many ledger entries it has.
    pub entries: u64,
    /// Addresses from which it may call; empty allows all.
    pub allow_list: Vec<IpNet>,
    /// How far the sandbox moved its clock ahead, in milliseconds.
    pub clock_offset_ms: i64,
    /// When it was made, real time.
    pub created_at: Timestamp,
    /// When it was closed, real time.
    pub closed_at: Option<Timestamp>,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its id and its bucket, both drawn at random by the caller.
    pub key: AccountKey,
    /// Its token, drawn by the caller.
    pub token: ApiToken,
    /// What the operator calls it.
    pub name: String,
    /// The owner's own number.
    pub phone: PhoneNumber,
    /// Real time.
    pub now: Timestamp,
}

/// A sender as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderProfile {
    /// Its name.
    pub username: SenderUsername,
    /// Whose it is.
    pub account: AccountKey,
    /// When it was registered, real time.
    pub created_at: Timestamp,
    /// When it was verified, real time.
    pub verified_at: Option<Timestamp>,
}

/// Names a request together with its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestRef {
    /// The account.
    pub account: AccountKey,
    /// The request.
    pub id: RequestId,
}

/// A place in the list of waiting messages, to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef {
    /// When a worker must look at the request again, real time.
    pub wake_at: Timestamp,
    /// The request.
    pub request: RequestRef,
}

/// Names a delivery report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReportKey {
    /// The request that it reports on.
    pub request: RequestRef,
    /// Its number within the request.
    pub number: u16,
}

/// A delivery report that may go out now.
#[derive(Debug, Clone)]
pub struct DueReport {
    /// Its name.
    pub key: ReportKey,
    /// Where it goes.
    pub callback_url: CallbackUrl,
    /// The body, byte for byte as it was frozen.
    pub body: Vec<u8>,
    /// How many attempts were made before.
    pub attempts: u16,
}

/// What became of an attempt to send a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The receiver answered 200.
    Acknowledged {
        /// Real time.
        at: Timestamp,
    },
    /// It failed and is tried again.
    Retry {
        /// Real time of the next attempt.
        due_at: Timestamp,
        /// Why it failed, for the owner to read.
        reason: String,
    },
    /// The last retry failed.
    Lost {
        /// Real time.
        at: Timestamp,
        /// Why it failed, for the owner to read.
        reason: String,
    },
}

/// What a committed command asks of the workers. A batch's are handed over together, after the commit, in order.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The work on the request's message, if any.
    pub work: Option<Work>,
    /// The request as committed.
    pub request: VerificationRequest,
    /// New delivery reports; they stand in the books as well ([`crate::Store::due_reports`]).
    pub reports: Vec<DeliveryReport>,
}

/// Commands' work that may wait for the workers; beyond it, they read it back from the books.
const MAX_WAITING: usize = 20_000;

/// What the books hand to the workers after a commit.
#[derive(Debug)]
pub enum Handed {
    /// A batch's work, in order.
    Batch(Vec<Committed>),
    /// Some work didn't fit the bounded hand-over: read it back from the books.
    Missed,
}

/// The receiving end of the hand-over. It is bounded: the writer never waits for it.
#[derive(Debug)]
pub struct CommittedWork {
    batches: mpsc::Receiver<Vec<Committed>>,
    /// Commands' work in the batches that wait; a batch may hold hundreds.
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
}

/// The books' end of the hand-over.
#[derive(Debug)]
pub(crate) struct CommittedSender {
    batches: mpsc::Sender<Vec<Committed>>,
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicBool>,
}

impl CommittedWork {
    pub(crate) fn channel(length: usize) -> (CommittedSender, Self) {
        let (sender, batches) = mpsc::channel(length);
        let (waiting, missed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let books_end = CommittedSender {
            batches: sender,
            waiting: Arc::clone(&waiting),
            missed: Arc::clone(&missed),
        };
        (
            books_end,
            Self {
                batches,
                waiting,
                missed,
            },
        )
    }

    /// The next batch; `None` once the books are closed and everything was taken.
    pub async fn next(&mut self) -> Option<Handed> {
        // What was missed is asked for once everything that did fit has been taken.
        if self.batches.is_empty() && self.missed.swap(false, Ordering::AcqRel) {
            return Some(Handed::Missed);
        }
        let batch = self.batches.recv().await?;
        self.waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        // An empty batch only wakes the receiver, so that it sees what was missed.
        if batch.is_empty() && self.missed.swap(false, Ordering::AcqRel) {
            return Some(Handed::Missed);
        }
        Some(Handed::Batch(batch))
    }
}

impl CommittedSender {
    /// Hands a batch over, without ever waiting.
    pub(crate) fn hand_over(&self, batch: Vec<Committed>) {
        let count = batch.len();
        let fits = self.waiting.fetch_add(count, Ordering::AcqRel) + count <= MAX_WAITING;
        // A closed hand-over needs no note: the server ends, and the next start reads everything back.
        let refused = !fits || matches!(self.batches.try_send(batch), Err(TrySendError::Full(_)));
        if refused {
            self.waiting.fetch_sub(count, Ordering::AcqRel);
            self.missed.store(true, Ordering::Release);
            // Where the receiver has just taken everything and sleeps, this wakes it.
            let _ = self.batches.try_send(Vec::new());
        }
    }
}
