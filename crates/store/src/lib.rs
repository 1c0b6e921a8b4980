//! The books: one trait, [`Store`], and its backends.
//!
//! Every change of money or of a request's state goes through one door, [`Store::submit`]; it answers once the change is
//! durable (P1). The rules are not here: a backend loads facts, lets [`countersign_core::decide`] answer, and writes the
//! changes. Settings (accounts, senders, prices) are ordinary writes through the same writer. Reads never wait for it.
//!
//! To add a question to the books: add its method to [`Store`], its SQL to the backend's `read` module (never more rows than
//! a `limit`, a key to go on from instead of an offset), and its test beside it. To add a fact that a rule needs: add it to
//! `core`'s `Facts`, then load it where `batch` gathers facts.

// Money is integers: where nothing is computed in floats, no sum can be.
#![deny(clippy::float_arithmetic)]

mod actions;
mod admission;
mod audit;
mod backup;
mod batch;
mod channel_books;
mod console;
pub mod copy;
mod flood;
mod handover;
mod keys;
mod logins;
mod messages;
mod orders;
mod postgres;
mod prices;
mod privacy;
mod profiles;
mod quotas;
mod reports;
mod senders;
mod sessions;
mod sql;
mod sqlite;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod tokens;
mod types;
mod usage;
mod vault;
mod watches;

pub use actions::{ActionFilter, ActionPage, ActionRecord, Actions, NewAction};
pub use audit::{AuditProgress, AuditReport, LedgerHead, Violation, audit};
pub use backup::{BackupDone, BackupError, BackupProgress, Restored, back_up_at_rest, restore};
pub use channel_books::{
    ChannelBooks, ChannelCost, ChannelRecipient, CostKind, CostPlace, CostRecord, CostSum, HANDLE_LIFE_MS,
    MAX_CHANNEL_ADDRESS_BYTES, MAX_CHANNEL_HANDLE_BYTES, MAX_CHANNEL_NOTE_BYTES, NamedMessage, RecipientChange,
};
pub use console::{BooksLoad, Console, OpenReports};
pub use handover::Handed;
pub use keys::{KeyProgress, KeyRotation, KeyStanding, KeysRotated};
pub use logins::{
    LOGIN_BLOCK_MS, LoginAnswer, LoginAttempt, LoginEntry, LoginState, LoginToken, Logins, MAX_LOGIN_LINKS,
    MAX_LOGIN_TRIES, NewLogin,
};
pub use messages::{
    MessageFilter, MessageOrder, MessagePage, Messages, NumberSearch, PageEnd, PayloadSearch, RequestWatch,
    TooManyWatches,
};
pub use orders::{
    HistoryFilter, HistoryPage, MAX_LISTED_ORDERS, MAX_OPEN_ORDERS, MAX_ORDERS_PER_DAY, NewOrder, NextLapse,
    OrderFilter, OrderPlace, Ordered, Orders, StatementTotals,
};
#[doc(hidden)]
pub use postgres::NodeTimes;
pub use postgres::{
    DatabaseFacts, DatabaseStatus, Migrated, MonthStatus, NodeStatus, PostgresSettings, PostgresStore, ReachError,
    Retained,
};
pub use prices::{PriceRecord, PriceSetting, PricesSet};
pub use privacy::{ERASED_NUMBER, ErasedOfNumber, KeptOfNumber, Privacy};
pub use profiles::{AccountDetails, DetailsChange, Profiles};
pub use quotas::{QuotaTaken, Quotas};
pub use reports::{
    DuePlace, DueReport, KeptAttempt, MAX_KEPT_RESPONSE_BYTES, NewReports, ReportAttempt, ReportDetail, ReportFilter,
    ReportKey, ReportKind, ReportLane, ReportOutcome, ReportProfile, ReportState,
};
pub use senders::{MAX_SENDERS, PictureChange, SenderDetail, SenderLook, SenderPicture, Senders, Verification};
pub use sessions::{MAX_SESSIONS, NewSession, Session, SessionOwner, SessionToken, Sessions};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use tally::{AttemptEnd, BATCH_BOUNDS, COMMIT_BOUNDS_US, Spread, Tally};
pub use tokens::{AccountTokens, Rotation, TokenState, Tokens};
pub use types::{
    AccountAccess, AccountProfile, Actor, Committed, CommittedWork, Elsewhere, Lease, MessageRef, NewAccount,
    NewsElsewhere, RequestRef, SenderProfile, StatementPage, StoreError, Trouble,
};
pub use usage::{Usage, UsageBy, UsageFilter};
pub use vault::{KeyFingerprint, MasterKey, Vault};

use std::path::PathBuf;
use std::sync::Arc;

use countersign_core::{
    AccountId, AccountKey, Answer, ApiError, ApiToken, Command, Limit, LowBalance, PhoneNumber, RequestId, Rules,
    SenderUsername, Timestamp, TokenClaim, VerificationRequest,
};
use futures_util::future::BoxFuture;
use ipnet::IpNet;

/// Rows after which one call that deletes what is over stops: so few that nobody notices. A call that answers fewer left nothing.
pub const FORGOTTEN_AT_ONCE: usize = 2_000;

/// What a caller of the one door is told, once it is durable.
pub type Outcome = Result<Answer, ApiError>;

/// What the pages keep in the books besides: sign-ins, profiles, orders, statistics. No call of the Gateway API needs it.
pub trait SiteStore:
    Tokens
    + Sessions
    + Logins
    + Usage
    + Orders
    + Actions
    + Messages
    + Profiles
    + Senders
    + Console
    + ChannelBooks
    + KeyRotation
    + Privacy
    + Quotas
    + 'static
{
}

impl<T> SiteStore for T where
    T: Tokens
        + Sessions
        + Logins
        + Usage
        + Orders
        + Actions
        + Messages
        + Profiles
        + Senders
        + Console
        + ChannelBooks
        + KeyRotation
        + Privacy
        + Quotas
        + 'static
{
}

/// The whole contract: what the Gateway API and the workers need, and what the pages need.
pub trait Books: Store + SiteStore {}

impl<T: Store + SiteStore> Books for T {}

/// Which database holds the books.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file in that directory, for one process.
    Sqlite(PathBuf),
    /// A PostgreSQL database, for several nodes.
    Postgres(PostgresSettings),
}

/// How to open the books.
#[derive(Debug)]
pub struct StoreOptions {
    /// Which database.
    pub database: Database,
    /// What sealed values hang on; the same on all nodes.
    pub master_key: MasterKey,
    /// The operator's rules; the prices are read from the books.
    pub rules: Rules,
}

/// Opens the books, or makes them. Fails on a newer schema or another master key. It waits for the database: at the start only.
pub fn open(options: StoreOptions) -> Result<(Arc<dyn Books>, CommittedWork), StoreError> {
    let StoreOptions {
        database,
        master_key,
        rules,
    } = options;
    match database {
        Database::Sqlite(path) => {
            let (store, work) = SqliteStore::open(SqliteOptions {
                path,
                master_key,
                rules,
            })?;
            Ok((store, work))
        }
        Database::Postgres(settings) => {
            let (store, work) = PostgresStore::open(&settings, &master_key, rules)?;
            Ok((store, work))
        }
    }
}

/// The books. Every answer to a write is given after its commit.
pub trait Store: Send + Sync + 'static {
    /// Whether a caller who can come again is to be let in: whether the writer would come to their command soon, at its present speed (see
    /// `admission`). To be asked before the first command of a call, never between two of them: what was let in is done. Books that answer
    /// at once let everybody in.
    fn admits(&self, _account: AccountKey) -> bool {
        true
    }
    /// The one door: judges a command and makes its changes durable. Fails at once with [`StoreError::Busy`] where the
    /// bounded queue is full, and with [`StoreError::Closing`] while the store shuts down; nothing is half done then.
    fn submit(&self, account: AccountKey, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>>;
    /// The same door for what a person asks of an account's money: if the command is taken, its transaction leaves a line in the
    /// audit log.
    fn submit_by(&self, account: AccountKey, command: Command, by: Actor)
    -> BoxFuture<'_, Result<Outcome, StoreError>>;

    /// The same door for what a worker brings of work that it holds: refused with [`StoreError::Stale`] where the work has passed to
    /// another node meanwhile, so that what became of it there is what counts.
    fn submit_under(
        &self,
        lease: Lease,
        account: AccountKey,
        command: Command,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>>;
    /// Under which this node works at present. Ask before reading work back from the books.
    fn lease(&self) -> Lease;
    /// Whether no other node lives at present, as far as this one knows.
    fn is_alone(&self) -> bool {
        true
    }
    /// Whether what one node does for all the others under that name is this one's to do: it is until this node ends. Asked again before
    /// each piece of the work, or together with [`Store::holds`].
    fn claim_task(&self, _name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(std::future::ready(Ok(true)))
    }
    /// Counts a call against a limit that holds over all nodes: `Ok(Err(…))` says in how many seconds the next one may come. Books that
    /// one process alone has count nothing: that process's memory is enough.
    fn count_call(
        &self,
        _limit_name: &'static str,
        _who: String,
        _limit: Limit,
        _now: Timestamp,
    ) -> BoxFuture<'_, Result<Result<(), u32>, StoreError>> {
        Box::pin(std::future::ready(Ok(Ok(()))))
    }
    /// Messages that no channel has accepted and that are other nodes' to deliver, at most `limit`: the built-in inbox shows them on
    /// every node.
    fn messages_elsewhere(
        &self,
        _now: Timestamp,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Whether work that was handed over under that lease is still this node's: asked before each message and report goes out.
    fn holds(&self, lease: Lease) -> bool;

    /// Makes an account without money. [`StoreError::Conflict`] where an open account has that phone number.
    fn create_account(&self, new: NewAccount, by: Actor) -> BoxFuture<'_, Result<AccountProfile, StoreError>>;
    /// Replaces the token: the old one is refused from the commit on.
    fn rotate_token(&self, account: AccountKey, token: ApiToken, by: Actor) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Closes an account for good: its token is refused from the commit on.
    fn close_account(&self, account: AccountKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Sets the addresses from which the account may call; an empty list allows all.
    fn set_allow_list(
        &self,
        account: AccountKey,
        allow_list: Vec<IpNet>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Sets when the account's owner is told of a low balance, and where; `None`: never. It begins anew: a balance that is low
    /// already is told with the account's next command.
    fn set_low_balance(
        &self,
        account: AccountKey,
        low_balance: Option<LowBalance>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Registers a sender, unverified. [`StoreError::Conflict`] where it is registered already.
    fn add_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>>;
    /// Marks a sender as verified. [`StoreError::NotFound`] where nobody registered it.
    fn verify_sender(
        &self,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>>;
    /// Adds rows to the price list: all of them or none. [`StoreError::PriceListFull`] where they would be too many.
    fn set_prices(&self, setting: PriceSetting) -> BoxFuture<'_, Result<PricesSet, StoreError>>;
    /// Notes an attempt to send a report and what became of it. Where the report is done, the request's next one may go: it
    /// is answered, so that nobody must look for it. What was said of a report that isn't due any more is passed over.
    fn record_report(
        &self,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        lease: Lease,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>>;
    /// Lets a lost report go again, with all its retries: at once, or after the report of its request that is under way.
    /// [`StoreError::NotFound`] where there is no such report, or it isn't lost.
    fn redeliver_report(
        &self,
        key: ReportKey,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<ReportProfile, StoreError>>;
    /// Deletes kept first answers that are older than 24 h; about [`FORGOTTEN_AT_ONCE`] a call. Answers how many went.
    fn forget_old_answers(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
    /// Deletes flood counters that count for nothing any more, as many. It may look through all of them: seldom is often enough.
    fn forget_spent_limits(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
    /// Prepares an account's older requests for searches by whole number and payload, some thousands a call; `now` is the
    /// time on its clock. Answers whether more may be left. Books that find them without it have nothing to do.
    fn summarise_requests(&self, _account: AccountKey, _now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The account whose token this is, live or for test mode, whether open or closed; `None` for an unknown or rotated token.
    /// One that was rotated with a grace is known until [`AccountAccess::valid_until`], to which the caller must hold it.
    fn authenticate(&self, token: &ApiToken) -> BoxFuture<'_, Result<Option<Arc<AccountAccess>>, StoreError>>;
    /// A keyed hash of a text, the same as long as the master key is: what must be recognised again, but not guessed from a
    /// backup (P7).
    fn fingerprint(&self, account: AccountKey, text: &[u8]) -> [u8; 32];
    /// The token that signs a report: the one that made its request while that works, else the present one of its kind.
    fn signing_token(
        &self,
        account: AccountKey,
        made_with: TokenClaim,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<ApiToken, StoreError>>;
    /// The account's present live token, unsealed, to be shown to its owner.
    fn token(&self, account: AccountKey) -> BoxFuture<'_, Result<ApiToken, StoreError>>;
    /// An account by its id.
    fn account(&self, id: AccountId) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>>;
    /// The account with that phone number: the open one, else the one closed last.
    fn account_of_phone(&self, phone: PhoneNumber) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>>;
    /// Accounts by id, after one, at most `limit`.
    fn accounts(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>>;
    /// An account's entries that were booked from one time on and before another, on its clock, with the balances before and
    /// after; of them at most `limit` after the one with that number. A time that is over gives the same for ever.
    fn statement(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<StatementPage, StoreError>>;
    /// An account's senders, or all, by name.
    fn senders(&self, account: Option<AccountKey>) -> BoxFuture<'_, Result<Vec<SenderProfile>, StoreError>>;
    /// Every row of the price list that was ever set, in that order, after a number, at most `limit`. What holds at a time,
    /// [`countersign_core::PriceList`] tells of them.
    fn price_history(&self, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<PriceRecord>, StoreError>>;
    /// A request as it is stored; what is due by time is not applied ([`countersign_core::status_at`] tells).
    fn request(
        &self,
        account: AccountKey,
        id: RequestId,
    ) -> BoxFuture<'_, Result<Option<VerificationRequest>, StoreError>>;
    /// Messages that were sent, not accepted by a channel, and not overdue at real time `now`; oldest due first, after a
    /// cursor, at most `limit`. A restart dispatches them again.
    fn waiting_messages(
        &self,
        now: Timestamp,
        after: Option<MessageRef>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(MessageRef, VerificationRequest)>, StoreError>>;
    /// The newest messages that arrived (delivered or read) since real time `since`, newest first in each account, at
    /// most `limit` in all: the built-in inbox shows them again after a restart.
    fn arrived_messages(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>>;
    /// Requests whose time has come at real time `now`, of one account or of all, at most `limit`.
    fn due_requests(
        &self,
        now: Timestamp,
        account: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RequestRef>, StoreError>>;
    /// Accounts with credit whose time to lapse has come at real time `now`, at most `limit`. It reads all accounts.
    fn due_lapses(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>>;
    /// Accounts that have a report to send now or later, in key order after one, at most `limit`.
    fn report_accounts(
        &self,
        after: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>>;
    /// The lanes of an account that have a report to send, by host after one, at most `limit`, each with the time at which
    /// its first report is due. A lane costs one look, however many reports wait in it.
    fn report_lanes(
        &self,
        account: AccountKey,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ReportLane, Timestamp)>, StoreError>>;
    /// Reports of one lane that may go out at real time `now`, oldest due first, after a place, at most `limit`; fewer only
    /// where there are no more. Of each request at most one: the next waits until this one is acknowledged or lost.
    fn due_reports(
        &self,
        lane: ReportLane,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DueReport>, StoreError>>;
    /// An account's reports for its owner, the newest request first, before one, at most `limit`.
    fn reports(
        &self,
        account: AccountKey,
        filter: ReportFilter,
        before: Option<ReportKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ReportProfile>, StoreError>>;
    /// One report, with its body and its attempts.
    fn report(&self, key: ReportKey) -> BoxFuture<'_, Result<Option<ReportDetail>, StoreError>>;

    /// What keeps the books from taking writes at present, if anything does. Reads go on meanwhile.
    fn trouble(&self) -> Option<Trouble>;
    /// Writes a few bytes that mean nothing, and makes them durable: whether the books take writes. It costs what a small setting
    /// costs, and takes its turn.
    fn try_write(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Copies the books, as they stand at one commit, into a file on this machine while they are written; one copy at a time. The
    /// file is there once it is whole and durable, and never half; `force` lets it replace another.
    fn back_up(
        &self,
        file: PathBuf,
        force: bool,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>>;

    /// Ends the store: no new work, everything queued answered, the log written back.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
