//! The books in one SQLite file: one writer on a thread of its own that commits in batches, readers beside it.
//!
//! `writer` takes jobs from the bounded queue and commits them; `write` is its SQL; `readers` are the connections that answer
//! questions; `checkpoint` keeps the write-ahead log bounded; `disk` says what becomes of a write that fails. Most SQL is in
//! [`crate::sql`], which both backends share.

mod backup;
mod checkpoint;
mod disk;
mod flood;
mod ledger_chain;
mod readers;
mod report_hosts;
mod schema;
mod usage_fill;
mod write;
mod writer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use countersign_core::{AccountKey, Command, Rules, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub(crate) use schema::{FILE_NAME, open_for_audit, open_for_reading, require_current_schema, require_known_schema};

use crate::Outcome;
use crate::admission::Admission;
use crate::backup::{BackupDone, BackupError, BackupProgress, Unfinished};
use crate::console::BooksLoad;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportOutcome, ReportProfile};
use crate::sql::Connection;
use crate::sql::access::AccessCache;
use crate::sql::backend::{Backend, Part};
use crate::sql::read::Reader;
use crate::sql::settings::Settings;
use crate::sql::{keys, prices};
use crate::tally::TallyBook;
use crate::types::{Actor, CommittedWork, HandOverGauge, Lease, StoreError, Trouble};
use crate::vault::{MasterKey, Vault};
use crate::watches::Watches;
use backup::BackupTask;
use disk::{Disk, DiskWatch};
use readers::Readers;
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
    tally: Arc<TallyBook>,
    /// Who is let into the queue.
    admission: Arc<Admission>,
    /// Whether a backup is under way.
    backing_up: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the books, or makes them. Fails on a newer schema or another master key.
    pub fn open(options: SqliteOptions) -> Result<(Arc<Self>, CommittedWork), StoreError> {
        let vault = Arc::new(Vault::new(&options.master_key)?);
        let connection = schema::open_for_writing(&options.path)?;
        let shared = Connection::Sqlite(&connection);
        keys::check_master_key(shared, &vault)?;
        let mut rules = options.rules;
        prices::restore(shared, &mut rules.prices)?;
        usage_fill::fill_once(&connection, &vault, &rules.route)?;
        let flood = flood::restore(&connection)?;
        let readers = Arc::new(Readers::open(&options.path, Arc::clone(&vault))?);
        let access = Arc::new(AccessCache::default());
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let (committed, work) = CommittedWork::channel();
        let handed_over = committed.gauge();
        let disk = Arc::new(Disk::default());
        let watch = DiskWatch::start(Arc::clone(&disk), jobs.downgrade())?;
        let watches = Arc::<Watches>::default();
        let tally = Arc::<TallyBook>::default();
        let admission = Arc::<Admission>::default();
        let writer = writer::Writer::new(
            Arc::clone(&vault),
            writer::Restored { rules, flood },
            Arc::clone(&access),
            committed,
            watch,
            Arc::clone(&watches),
            writer::Told {
                tally: Arc::clone(&tally),
                admission: Arc::clone(&admission),
            },
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
            tally,
            admission,
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

    /// How many jobs wait.
    fn queued(&self) -> usize {
        self.jobs.max_capacity().saturating_sub(self.jobs.capacity())
    }
}

impl Backend for SqliteStore {
    fn vault(&self) -> &Vault {
        &self.vault
    }

    fn access(&self) -> &AccessCache {
        &self.access
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        // Bounded rows and no sync: it runs where it is asked.
        Box::pin(std::future::ready(self.readers.ask(ask)))
    }

    fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || readers.ask(ask)).await;
            // It panicked, or the runtime ends.
            asked.map_err(|_| StoreError::Lost)?
        })
    }

    fn parts(&self) -> BoxFuture<'_, Result<Vec<Part>, StoreError>> {
        Box::pin(std::future::ready(Ok(vec![Part::ALL])))
    }

    fn set<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
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

    fn note<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        self.set(write)
    }

    fn note_later(&self, write: impl FnOnce(&mut Settings<'_>) -> Result<(), StoreError> + Send + 'static) {
        let _ = self.queue(Job::Settings(Box::new(move |writer, connection| {
            let _ = writer.set(connection, write);
        })));
    }

    fn settle_keys(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // Whatever was kept of tokens before they were sealed anew is found by the former key alone, which may go now.
            self.access.drop_all();
            // On the writer: what a batch seals is sealed under one key.
            self.set(|settings| keys::settle(settings.connection, settings.vault))
                .await
                .map(drop)
        })
    }

    fn admits_callers(&self, _account: AccountKey) -> bool {
        self.admission.admits(self.queued())
    }

    fn command(
        &self,
        _lease: Option<Lease>,
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

    fn report_attempt(
        &self,
        _lease: Lease,
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

    fn redeliver(&self, key: ReportKey, now: Timestamp, by: Actor) -> BoxFuture<'_, Result<ReportProfile, StoreError>> {
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

    fn present_lease(&self) -> Lease {
        Lease::default()
    }

    fn still_holds(&self, _lease: Lease) -> bool {
        true
    }

    fn present_trouble(&self) -> Option<Trouble> {
        self.disk.is_full().then_some(Trouble::DiskFull)
    }

    fn tally_book(&self) -> &TallyBook {
        &self.tally
    }

    fn present_load(&self) -> BooksLoad {
        let [handed_over, reports_handed_over] = self.handed_over.waiting();
        BooksLoad {
            queued: self.queued(),
            queue_length: self.jobs.max_capacity(),
            handed_over,
            reports_handed_over,
            log_bytes: file_bytes(&self.directory.join(format!("{FILE_NAME}-wal"))),
            database_bytes: file_bytes(&self.directory.join(FILE_NAME)),
        }
    }

    fn copy_to(
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

    fn end(&self) -> BoxFuture<'_, Result<(), StoreError>> {
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

/// A file's size; zero where it isn't there, as the log before the first write.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
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
