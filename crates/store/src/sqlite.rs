//! The books in one SQLite file: one writer on a thread of its own that commits in batches, readers beside it.
//!
//! `writer` takes jobs from the bounded queue and commits them; `load` and `write` are its SQL; `read` answers questions from
//! connections of its own; `checkpoint` keeps the write-ahead log bounded; `disk` says what becomes of a write that fails; `settings` holds the writes that are no commands.

mod access;
mod actions;
mod backup;
mod channel_books;
mod checkpoint;
mod codec;
mod console;
mod disk;
mod history;
mod ledger_chain;
mod load;
mod logins;
mod message_summaries;
mod messages;
mod orders;
mod prices;
mod profiles;
mod read;
mod report_hosts;
mod report_reads;
mod reports;
mod schema;
mod senders;
mod sessions;
mod settings;
mod statement;
mod tokens;
mod usage;
mod write;
mod writer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use countersign_core::{
    AccountId, AccountKey, ApiToken, Command, LowBalance, PhoneNumber, RequestId, Rules, SenderUsername, Timestamp,
    TokenClaim, VerificationRequest,
};
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

pub(crate) use codec::{
    ENTRY_COLUMNS, TIMELINE_BECAME, TIMELINE_LEG_ENDED, account_key, delivery_number, delivery_of, entry_from_row,
    leg_end_of, request_id,
};
pub(crate) use schema::{FILE_NAME, open_for_audit, open_for_reading, require_known_schema};

use crate::backup::{BackupDone, BackupError, BackupProgress, Unfinished};
use crate::prices::{PriceRecord, PriceSetting, PricesSet};
use crate::reports::{
    DuePlace, DueReport, ReportAttempt, ReportDetail, ReportFilter, ReportKey, ReportLane, ReportOutcome, ReportProfile,
};
use crate::types::{
    AccountAccess, AccountProfile, Actor, CommittedWork, HandOverGauge, MessageRef, NewAccount, RequestRef,
    SenderProfile, StatementPage, StoreError, Trouble,
};
use crate::vault::{MasterKey, Vault};
use crate::watches::Watches;
use crate::{Outcome, Store};
use access::AccessCache;
use backup::BackupTask;
use disk::{Disk, DiskWatch};
use message_summaries::Summarising;
use read::Readers;
use writer::Job;

/// Commands that may wait for the writer; beyond it, callers are told to come again.
const QUEUE_LENGTH: usize = 8_192;

/// How to open the books.
#[derive(Debug)]
pub struct SqliteOptions {
    /// The data directory; the database is a file in it.
    pub path: PathBuf,
    /// What sealed values hang on.
    pub master_key: MasterKey,
    /// The operator's rules; the prices are read from the books.
    pub rules: Rules,
}

/// The books in one SQLite file. See the module's documentation.
pub struct SqliteStore {
    /// The bounded queue. The writer closes it at its end.
    jobs: mpsc::Sender<Job>,
    /// The data directory.
    directory: PathBuf,
    readers: Arc<Readers>,
    vault: Arc<Vault>,
    access: Arc<AccessCache>,
    disk: Arc<Disk>,
    /// Who waits for a request to change.
    watches: Arc<Watches>,
    handed_over: HandOverGauge,
    /// Whether a backup is under way.
    backing_up: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the books, or makes them. Fails on a newer schema or another master key.
    pub fn open(options: SqliteOptions) -> Result<(Arc<Self>, CommittedWork), StoreError> {
        let vault = Arc::new(Vault::new(&options.master_key)?);
        let connection = schema::open_for_writing(&options.path)?;
        settings::check_master_key(&connection, &vault)?;
        let mut rules = options.rules;
        prices::restore(&connection, &mut rules.prices)?;
        usage::fill_once(&connection, &vault, &rules.route)?;
        let readers = Arc::new(Readers::open(&options.path, Arc::clone(&vault))?);
        let access = Arc::new(AccessCache::default());
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let (committed, work) = CommittedWork::channel();
        let handed_over = committed.gauge();
        let disk = Arc::new(Disk::default());
        let watch = DiskWatch::start(Arc::clone(&disk), jobs.downgrade())?;
        let watches = Arc::<Watches>::default();
        let writer = writer::Writer::new(
            Arc::clone(&vault),
            rules,
            Arc::clone(&access),
            committed,
            watch,
            Arc::clone(&watches),
        );
        let writer = writer.start(connection, queue, &options.path)?;
        let store = Self {
            jobs,
            directory: options.path,
            readers,
            vault,
            access,
            disk,
            watches,
            handed_over,
            backing_up: Arc::default(),
            writer: Mutex::new(Some(writer)),
        };
        Ok((Arc::new(store), work))
    }
}

impl SqliteStore {
    /// Queues a job; fails at once where the queue is full or closed.
    fn queue(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closing,
        })
    }

    /// Runs a write that is no command on the writer, in a transaction of its own.
    fn set<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut settings::Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue(Job::Settings(Box::new(move |writer, connection| {
                // A caller who went away doesn't undo the write.
                let _ = reply.send(writer.set(connection, write));
            })))?;
            answer.await.map_err(|_| StoreError::Lost)?
        })
    }

    /// Queues a command and waits for its outcome.
    fn command(
        &self,
        account: AccountKey,
        command: Command,
        by: Option<Actor>,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue(Job::Command {
                account,
                command,
                by,
                reply,
            })?;
            answer.await.map_err(|_| StoreError::Lost)?
        })
    }
}

/// An answer from a reading connection. Questions are short (bounded rows, no sync), so they run where they are asked.
fn answered<T: Send + 'static>(answer: Result<T, StoreError>) -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(std::future::ready(answer))
}

impl SqliteStore {
    /// Asks a reading connection on a thread that may block: for questions that look through thousands of rows and would keep
    /// others from being answered meanwhile.
    fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || ask(&readers)).await;
            // It panicked, or the runtime ends.
            asked.map_err(|_| StoreError::Lost)?
        })
    }
}

impl Store for SqliteStore {
    fn submit(&self, account: AccountKey, command: Command) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.command(account, command, None)
    }

    fn submit_by(
        &self,
        account: AccountKey,
        command: Command,
        by: Actor,
    ) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        self.command(account, command, Some(by))
    }

    fn create_account(&self, new: NewAccount, by: Actor) -> BoxFuture<'_, Result<AccountProfile, StoreError>> {
        self.set(move |settings| settings.create_account(&new, by))
    }

    fn rotate_token(&self, account: AccountKey, token: ApiToken, by: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.rotate_token(account, token, by))
    }

    fn close_account(&self, account: AccountKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.close_account(account, now, by))
    }

    fn set_allow_list(
        &self,
        account: AccountKey,
        allow_list: Vec<IpNet>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_allow_list(account, &allow_list, by))
    }

    fn set_low_balance(
        &self,
        account: AccountKey,
        low_balance: Option<LowBalance>,
        by: Actor,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.set(move |settings| settings.set_low_balance(account, low_balance.as_ref(), by))
    }

    fn add_sender(
        &self,
        account: AccountKey,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        self.set(move |settings| settings.add_sender(account, username, now, by))
    }

    fn verify_sender(
        &self,
        username: SenderUsername,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<SenderProfile, StoreError>> {
        self.set(move |settings| settings.verify_sender(&username, now, by))
    }

    fn set_prices(&self, setting: PriceSetting) -> BoxFuture<'_, Result<PricesSet, StoreError>> {
        self.set(move |settings| settings.set_prices(&setting))
    }

    fn record_report(
        &self,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
    ) -> BoxFuture<'_, Result<Option<DueReport>, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue(Job::Report {
                key,
                attempt,
                outcome,
                reply,
            })?;
            answer.await.map_err(|_| StoreError::Lost)?
        })
    }

    fn redeliver_report(
        &self,
        key: ReportKey,
        now: Timestamp,
        by: Actor,
    ) -> BoxFuture<'_, Result<ReportProfile, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.queue(Job::Settings(Box::new(move |writer, connection| {
                let written = writer.set(connection, |settings| settings.redeliver_report(key, now, by));
                // A caller who went away doesn't undo the write.
                let _ = reply.send(written.map(|(profile, due)| {
                    writer.hand_over_reports(Vec::from_iter(due));
                    profile
                }));
            })))?;
            answer.await.map_err(|_| StoreError::Lost)?
        })
    }

    fn forget_old_answers(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.set(move |settings| settings.forget_old_answers(now))
    }

    fn summarise_requests(&self, account: AccountKey, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            // Read beside the writer; only the finished summary goes through it.
            let what = self.readers.next_summary(account, now)?;
            if matches!(what, Summarising::Nothing) {
                return Ok(false);
            }
            self.set(move |settings| settings.summarise(account, &what)).await?;
            Ok(true)
        })
    }

    fn authenticate(&self, token: &ApiToken) -> BoxFuture<'_, Result<Option<Arc<AccountAccess>>, StoreError>> {
        answered(self.access.of_token(&self.vault, &self.readers, token))
    }

    fn fingerprint(&self, account: AccountKey, text: &[u8]) -> [u8; 32] {
        self.vault.fingerprint(account.id, text)
    }

    fn token(&self, account: AccountKey) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        answered(self.readers.token(account))
    }

    fn signing_token(
        &self,
        account: AccountKey,
        made_with: TokenClaim,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<ApiToken, StoreError>> {
        answered(self.readers.signing_token(account, made_with, now))
    }

    fn account(&self, id: AccountId) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        answered(self.readers.account(id))
    }

    fn account_of_phone(&self, phone: PhoneNumber) -> BoxFuture<'_, Result<Option<AccountProfile>, StoreError>> {
        answered(self.readers.account_of_phone(phone))
    }

    fn accounts(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountProfile>, StoreError>> {
        answered(self.readers.accounts(after, limit))
    }

    fn statement(
        &self,
        account: AccountKey,
        from: Timestamp,
        to: Timestamp,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<StatementPage, StoreError>> {
        answered(self.readers.statement(account, from, to, after, limit))
    }

    fn senders(&self, account: Option<AccountKey>) -> BoxFuture<'_, Result<Vec<SenderProfile>, StoreError>> {
        answered(self.readers.senders(account))
    }

    fn price_history(&self, after: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<PriceRecord>, StoreError>> {
        answered(self.readers.price_history(after, limit))
    }

    fn request(
        &self,
        account: AccountKey,
        id: RequestId,
    ) -> BoxFuture<'_, Result<Option<VerificationRequest>, StoreError>> {
        answered(self.readers.request(RequestRef { account, id }))
    }

    fn waiting_messages(
        &self,
        now: Timestamp,
        after: Option<MessageRef>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(MessageRef, VerificationRequest)>, StoreError>> {
        answered(self.readers.waiting_messages(now, after, limit))
    }

    fn arrived_messages(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VerificationRequest>, StoreError>> {
        answered(self.readers.arrived_messages(since, limit))
    }

    fn due_requests(
        &self,
        now: Timestamp,
        account: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RequestRef>, StoreError>> {
        answered(self.readers.due_requests(now, account, limit))
    }

    fn due_lapses(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        answered(self.readers.due_lapses(now, limit))
    }

    fn report_accounts(
        &self,
        after: Option<AccountKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AccountKey>, StoreError>> {
        answered(self.readers.report_accounts(after, limit))
    }

    fn report_lanes(
        &self,
        account: AccountKey,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ReportLane, Timestamp)>, StoreError>> {
        answered(self.readers.report_lanes(account, after, limit))
    }

    fn due_reports(
        &self,
        lane: ReportLane,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DueReport>, StoreError>> {
        answered(self.readers.due_reports(&lane, now, after, limit))
    }

    fn reports(
        &self,
        account: AccountKey,
        filter: ReportFilter,
        before: Option<ReportKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ReportProfile>, StoreError>> {
        answered(self.readers.reports(account, filter, before, limit))
    }

    fn report(&self, key: ReportKey) -> BoxFuture<'_, Result<Option<ReportDetail>, StoreError>> {
        answered(self.readers.report(key))
    }

    fn trouble(&self) -> Option<Trouble> {
        self.disk.is_full().then_some(Trouble::DiskFull)
    }

    fn back_up(
        &self,
        file: PathBuf,
        force: bool,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<BackupDone, BackupError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let place = BackupPlace::take(&self.backing_up).ok_or(BackupError::UnderWay)?;
            let jobs = self.jobs.downgrade();
            let directory = self.directory.clone();
            // A thread of its own: it waits for the copy, and then for the disk.
            std::thread::Builder::new()
                .name("backup".into())
                .spawn(move || {
                    let made = make_backup(&jobs, &directory, &file, force, progress);
                    drop(place);
                    // A caller who went away finds the file all the same.
                    let _ = reply.send(made);
                })
                .map_err(|error| StoreError::Database(format!("could not start the backup's thread: {error}")))?;
            answer.await.map_err(|_| StoreError::Lost)?
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (reply, closed) = oneshot::channel();
            // A closed queue means that this was called before: there is nothing left to do.
            if self.jobs.send(Job::Close(reply)).await.is_ok() {
                closed.await.map_err(|_| StoreError::Lost)?;
            }
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(writer) = writer {
                writer.join().map_err(|_| StoreError::Lost)?;
            }
            Ok(())
        })
    }
}

/// The one place for a backup; free again when it is dropped.
struct BackupPlace(Arc<AtomicBool>);

impl BackupPlace {
    fn take(taken: &Arc<AtomicBool>) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for BackupPlace {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Has the writer copy the books, and makes a backup of the copy.
fn make_backup(
    jobs: &mpsc::WeakSender<Job>,
    directory: &Path,
    file: &Path,
    force: bool,
    progress: Arc<BackupProgress>,
) -> Result<BackupDone, BackupError> {
    let unfinished = Unfinished::begin(file, force, directory)?;
    let (reply, copied) = oneshot::channel();
    let task = BackupTask {
        partial: unfinished.partial().to_owned(),
        progress,
        reply,
    };
    let jobs = jobs.upgrade().ok_or(BackupError::Closing)?;
    jobs.blocking_send(Job::Backup(task))
        .map_err(|_| BackupError::Closing)?;
    drop(jobs);
    copied.blocking_recv().map_err(|_| BackupError::Closing)??;
    unfinished.finish()
}

/// Copies books that nobody writes.
pub(crate) fn copy_books(directory: &Path, partial: &Path, progress: &BackupProgress) -> Result<(), BackupError> {
    if !directory.join(FILE_NAME).exists() {
        return Err(StoreError::NotFound("database in this data directory").into());
    }
    // A log that a killed server left is read, and stays: nothing of the books is changed by a backup.
    let source = open_for_reading(directory)?;
    require_known_schema(&source)?;
    backup::copy(&source, partial, progress, || ControlFlow::Continue(()))
}
