//! What goes in and out of the books besides core's own types.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign_core::{
    AccountKey, ApiToken, Autofill, Credits, DailyBudget, DaySpending, LedgerEntry, LowBalance, PhoneNumber,
    PriceListFull, RequestId, SenderUsername, Timestamp, TokenClaim, VerificationRequest, Work,
};
use ipnet::IpNet;
use thiserror::Error;

use crate::handover::{HandOver, HandOverSender, Handed, hand_over};
use crate::reports::{DueReport, NewReports};

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
    /// The database can't be reached, or didn't answer in time. Nothing was done; the books go on by themselves once it is back.
    #[error("the database can't be reached: nothing was done, and the books go on once it is back")]
    Unavailable,
    /// The database asked for the transaction to be tried again, and it still failed after some times.
    #[error("the database was too busy with what else was written: nothing was done")]
    TryAgain,
    /// The work has passed to another node: what became of it there is what counts.
    #[error("this work is another node's by now")]
    Stale,
    /// What was named isn't there.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// What should be new is there already.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// There are as many already as there may be.
    #[error("there are too many {0}")]
    TooMany(&'static str),
    /// A text is longer than may be kept.
    #[error("the {0} is too long to be kept")]
    TooLong(&'static str),
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
    /// The database isn't one that books can be kept in.
    #[error("the database can't be used: {0}")]
    Unfit(String),
    /// The master key doesn't open what is stored.
    #[error("the master key doesn't fit this database: use the key that it was made with")]
    WrongMasterKey,
    /// The master key is being changed, and only one of the two keys is here.
    #[error(
        "the master key of this database is being changed, and that needs both keys: put the new one beside the old one, in a file of \
         the same name with .next behind it"
    )]
    MissingNextKey,
    /// Nodes live that don't know the new master key.
    #[error(
        "these nodes don't know the new master key yet: {0}. Put it beside the old one there, and ask again; one that was killed counts \
         as a node for half a minute"
    )]
    NodesWithoutKey(String),
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
    /// The database can't be reached.
    Unreachable,
}

/// As the health check tells it: a word or two.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "disk full",
            Self::Unreachable => "database unreachable",
        })
    }
}

/// What a caller's token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountAccess {
    /// The account.
    pub key: AccountKey,
    /// Which of its tokens this is; goes into every command.
    pub token: TokenClaim,
    /// The end of the token's grace, real time, where it was rotated away: it opens nothing from then on.
    pub valid_until: Option<Timestamp>,
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
    /// When its owner is told of a low balance, and where.
    pub low_balance: Option<LowBalance>,
    /// What it may spend in a day.
    pub budget: Option<DailyBudget>,
    /// What it spent on the last day on which anything was.
    pub spending: DaySpending,
    /// What its short messages end with.
    pub autofill: Autofill,
    /// When it was made, real time.
    pub created_at: Timestamp,
    /// When it was closed, real time.
    pub closed_at: Option<Timestamp>,
}

/// A page of a statement. Opening balance + all entries of the time = closing balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementPage {
    /// The balance before the first entry of the time.
    pub opening_balance: Credits,
    /// The balance after the last entry of the time.
    pub closing_balance: Credits,
    /// The number of the last entry of the time; `None` where there is none.
    pub last_entry: Option<u64>,
    /// This page's entries, by number.
    pub entries: Vec<LedgerEntry>,
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

/// Who did something: it stands in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The operator, by the command line, the API or the console.
    Operator,
    /// The account's owner, by the API or the pages.
    Owner,
    /// The server itself.
    System,
}

impl Actor {
    /// As it stands in the books.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::System => "system",
        }
    }
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

/// Under which a node works on what the books hand to it. On one machine there is one for ever; a node that the others gave up for
/// dead gets a new one, and what it began under the old one counts for nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Lease(pub(crate) i64);

/// What a committed command asks of the workers. A batch's are handed over together, after the commit, in order.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The work on the request's message, if any; otherwise its state changed.
    pub work: Option<Work>,
    /// The request as committed.
    pub request: VerificationRequest,
    /// Under which the work is this node's.
    pub lease: Lease,
}

/// What another node did, for whoever shows it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// A request changed, or is new.
    Request(RequestRef),
    /// A sign-in is asked for in the built-in inbox: its attempt.
    LoginAsked(i64),
    /// A sign-in was answered, or ended by wrong codes: its attempt.
    LoginAnswered(i64),
}

/// What other nodes do, as far as anybody here wants to hear of it. Books that one process alone has never tell anything here.
#[derive(Debug)]
pub struct NewsElsewhere {
    news: HandOver<Elsewhere>,
    wants_requests: Arc<AtomicBool>,
}

impl NewsElsewhere {
    /// What comes next; `None` once the books are closed. After [`Handed::Missed`] anything may have happened.
    pub async fn next(&mut self) -> Option<Handed<Elsewhere>> {
        self.news.next().await
    }

    /// Whether every request that another node changes is told, too. Each commit there then costs a notification, so it is wanted only
    /// while somebody looks; other nodes know within moments.
    pub fn want_requests(&self, wanted: bool) {
        self.wants_requests.store(wanted, Ordering::Release);
    }
}

/// Commands' work that may wait for the workers, and in how many batches; beyond it, they read it back from the books.
const MAX_WAITING: usize = 20_000;
const MAX_BATCHES: usize = 1_024;
/// New reports that may wait for their worker. One takes some hundred bytes.
const MAX_NEW_REPORTS: usize = 8_192;

/// The receiving end of the hand-over. It is bounded: the writer never waits for it.
#[derive(Debug)]
pub struct CommittedWork {
    commands: HandOver<Committed>,
    reports: Option<NewReports>,
    elsewhere: Option<NewsElsewhere>,
}

/// The books' end of the hand-over.
#[derive(Debug)]
pub(crate) struct CommittedSender {
    pub(crate) commands: HandOverSender<Committed>,
    pub(crate) reports: HandOverSender<DueReport>,
    pub(crate) elsewhere: HandOverSender<Elsewhere>,
    wants_requests: Arc<AtomicBool>,
}

/// Looks at how much waits in the hand-overs.
#[derive(Debug, Clone)]
pub(crate) struct HandOverGauge([Arc<AtomicUsize>; 2]);

impl HandOverGauge {
    /// Commands' work, then reports.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        self.0.each_ref().map(|waiting| waiting.load(Ordering::Relaxed))
    }
}

impl CommittedSender {
    pub(crate) fn gauge(&self) -> HandOverGauge {
        HandOverGauge([self.commands.gauge(), self.reports.gauge()])
    }

    /// Whether somebody here wants to hear of every request that another node changes.
    pub(crate) fn wants_requests(&self) -> bool {
        self.wants_requests.load(Ordering::Acquire)
    }
}

impl CommittedWork {
    pub(crate) fn channel() -> (CommittedSender, Self) {
        let (commands_sender, commands) = hand_over(MAX_BATCHES, MAX_WAITING);
        let (reports_sender, reports) = hand_over(MAX_BATCHES, MAX_NEW_REPORTS);
        let (elsewhere_sender, elsewhere) = hand_over(MAX_BATCHES, MAX_WAITING);
        let wants_requests = Arc::new(AtomicBool::new(false));
        let books_end = CommittedSender {
            commands: commands_sender,
            reports: reports_sender,
            elsewhere: elsewhere_sender,
            wants_requests: Arc::clone(&wants_requests),
        };
        let work = Self {
            commands,
            reports: Some(NewReports(reports)),
            elsewhere: Some(NewsElsewhere {
                news: elsewhere,
                wants_requests,
            }),
        };
        (books_end, work)
    }

    /// The next batch; `None` once the books are closed and everything was taken.
    pub async fn next(&mut self) -> Option<Handed<Committed>> {
        self.commands.next().await
    }

    /// What other nodes do; `None` after the first time.
    pub fn take_elsewhere(&mut self) -> Option<NewsElsewhere> {
        self.elsewhere.take()
    }

    /// The hand-over of new reports, for the worker that sends them; `None` after the first time.
    pub fn take_reports(&mut self) -> Option<NewReports> {
        self.reports.take()
    }
}
