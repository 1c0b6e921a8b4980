//! The one writer: a thread that takes whatever waits in the queue, judges it as one batch, commits once, and then answers
//! everyone. It never waits for a batch to fill.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use countersign_core::{AccountKey, Command, Rules};
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::backup::{BackupTask, copy};
use super::checkpoint::Checkpointer;
use super::disk::{DiskWatch, in_transaction, probe};
use super::flood;
use super::write::write_batch;
use crate::Outcome;
use crate::admission::Admission;
use crate::backup::BackupError;
use crate::batch::Batch;
use crate::flood::FloodBook;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportOutcome};
use crate::sql::access::AccessCache;
use crate::sql::load::Facts;
use crate::sql::settings::Settings;
use crate::sql::usage::UsageBook;
use crate::sql::{Connection as Shared, actions, reports};
use crate::tally::TallyBook;
use crate::types::{Actor, CommittedSender, Lease, StoreError};
use crate::vault::Vault;
use crate::watches::Watches;

/// Commands judged in one transaction: bounds the time that one commit's callers wait for each other.
const MAX_BATCH: usize = 512;
/// From so many answers on, they are given from the runtime's own threads: waking a task from outside costs the writer
/// more than the answer does.
const MANY_ANSWERS: usize = 8;

type Reply = oneshot::Sender<Result<Outcome, StoreError>>;
type ReportReply = oneshot::Sender<Result<Option<DueReport>, StoreError>>;
type ReportDone = (ReportKey, ReportAttempt, ReportOutcome, ReportReply);

type Asked = (AccountKey, Command, Option<Actor>, Reply);

type SettingsWrite = Box<dyn FnOnce(&mut Writer, &Connection) + Send>;

/// What waits in the queue.
pub(super) enum Job {
    /// A command through the one door.
    Command {
        account: AccountKey,
        command: Command,
        /// Whose doing goes into the audit log, if anybody's does.
        by: Option<Actor>,
        reply: Reply,
    },
    /// What became of an attempt to send a report. It joins the batch of the commands around it.
    Report {
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        reply: ReportReply,
    },
    /// A write that is no command; it answers its caller itself.
    Settings(SettingsWrite),
    /// The disk was full: is it still?
    Probe,
    /// A copy of the books, made in steps between the batches that follow.
    Backup(BackupTask),
    /// The end: everything queued before is answered first.
    Close(oneshot::Sender<()>),
}

/// What a batch answers: to each command its outcome, to each attempt the request's next report.
type Written = (Vec<Result<Outcome, StoreError>>, Vec<Option<DueReport>>);

/// What waits to be committed together.
#[derive(Default)]
struct Pending {
    commands: Vec<Asked>,
    reports: Vec<ReportDone>,
}

impl Pending {
    fn len(&self) -> usize {
        self.commands.len() + self.reports.len()
    }
}

/// What the writer goes by, as the books held it when they were opened.
pub(super) struct Restored {
    pub(super) rules: Rules,
    pub(super) flood: FloodBook,
}

/// What the writer keeps for others to read.
pub(super) struct Told {
    pub(super) tally: Arc<TallyBook>,
    /// Who is let into its queue.
    pub(super) admission: Arc<Admission>,
}

/// The writer's state, on its thread. The connection stands beside it, since a backup borrows that for its whole length.
pub(super) struct Writer {
    vault: Arc<Vault>,
    rules: Rules,
    /// Flood counters as they stand in the books.
    flood: FloodBook,
    usage: UsageBook,
    access: Arc<AccessCache>,
    committed: CommittedSender,
    disk: DiskWatch,
    watches: Arc<Watches>,
    tally: Arc<TallyBook>,
    admission: Arc<Admission>,
    /// Jobs that were committed since that was last asked.
    done: usize,
    /// A backup that is to begin after this batch.
    wanted_backup: Option<BackupTask>,
}

impl Writer {
    pub(super) fn new(
        vault: Arc<Vault>,
        restored: Restored,
        access: Arc<AccessCache>,
        committed: CommittedSender,
        disk: DiskWatch,
        watches: Arc<Watches>,
        told: Told,
    ) -> Self {
        Self {
            vault,
            rules: restored.rules,
            flood: restored.flood,
            usage: UsageBook::default(),
            access,
            committed,
            disk,
            watches,
            tally: told.tally,
            admission: told.admission,
            done: 0,
            wanted_backup: None,
        }
    }

    /// Starts the thread. Must be called within a Tokio runtime where answers are awaited on one.
    pub(super) fn start(
        self,
        connection: Connection,
        queue: mpsc::Receiver<Job>,
        directory: &Path,
    ) -> Result<JoinHandle<()>, StoreError> {
        let checkpointer = Checkpointer::start(&connection, directory)?;
        let runtime = Handle::try_current().ok();
        std::thread::Builder::new()
            .name("books".into())
            .spawn(move || {
                let run = AssertUnwindSafe(|| self.run(&connection, queue, &checkpointer, runtime.as_ref()));
                if std::panic::catch_unwind(run).is_err() {
                    // Nobody would write any more, and nobody would notice: a supervisor starts a fresh process.
                    tracing::error!("the books' writer panicked: the process ends");
                    std::process::abort();
                }
            })
            .map_err(|error| StoreError::Database(format!("could not start the writer's thread: {error}")))
    }

    fn run(
        mut self,
        connection: &Connection,
        mut queue: mpsc::Receiver<Job>,
        checkpointer: &Checkpointer,
        runtime: Option<&Handle>,
    ) {
        while let Some(first) = queue.blocking_recv() {
            self.take_turn(connection, first, &mut queue, checkpointer, runtime);
            if let Some(task) = self.wanted_backup.take() {
                self.back_up(connection, task, &mut queue, checkpointer, runtime);
            }
        }
        checkpointer.finish(connection);
    }

    /// Works off what waits, and the log's checkpoint where it is due; callers are let in by how long that takes.
    fn take_turn(
        &mut self,
        connection: &Connection,
        first: Job,
        queue: &mut mpsc::Receiver<Job>,
        checkpointer: &Checkpointer,
        runtime: Option<&Handle>,
    ) {
        let began = Instant::now();
        self.work_off(connection, first, queue, runtime);
        checkpointer.keep_log_bounded(connection);
        self.admission
            .has_done(std::mem::take(&mut self.done), began.elapsed(), 0);
    }

    /// Copies the books, one step after each batch; where nothing waits, step after step.
    fn back_up(
        &mut self,
        connection: &Connection,
        task: BackupTask,
        queue: &mut mpsc::Receiver<Job>,
        checkpointer: &Checkpointer,
        runtime: Option<&Handle>,
    ) {
        let copied = copy(connection, &task.partial, &task.progress, || {
            match queue.try_recv() {
                Ok(first) => self.take_turn(connection, first, queue, checkpointer, runtime),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(BackupError::Closing),
            }
            // The copy may be what fills it; and the books come first.
            if self.disk.is_full() {
                return ControlFlow::Break(BackupError::NoRoom);
            }
            ControlFlow::Continue(())
        });
        // Whoever asked waits for it, unless the process ends.
        let _ = task.reply.send(copied);
    }

    /// Works off one batch: a run of commands and report outcomes. Anything else stands between two batches.
    fn work_off(
        &mut self,
        connection: &Connection,
        first: Job,
        queue: &mut mpsc::Receiver<Job>,
        runtime: Option<&Handle>,
    ) {
        let mut pending = Pending::default();
        let mut next = Some(first);
        while let Some(job) = next {
            next = None;
            match job {
                Job::Command {
                    account,
                    command,
                    by,
                    reply,
                } => pending.commands.push((account, command, by, reply)),
                Job::Report {
                    key,
                    attempt,
                    outcome,
                    reply,
                } => pending.reports.push((key, attempt, outcome, reply)),
                Job::Settings(write) => {
                    self.commit(connection, &mut pending, runtime);
                    write(self, connection);
                }
                Job::Probe => {
                    self.commit(connection, &mut pending, runtime);
                    self.probe_disk(connection);
                }
                Job::Backup(task) => {
                    self.commit(connection, &mut pending, runtime);
                    self.wanted_backup = Some(task);
                }
                Job::Close(reply) => {
                    self.commit(connection, &mut pending, runtime);
                    queue.close();
                    // What was queued meanwhile is still answered: the loop ends when the closed queue is empty.
                    let _ = reply.send(());
                }
            }
            if (1..MAX_BATCH).contains(&pending.len()) {
                next = queue.try_recv().ok();
            }
            if next.is_none() {
                self.commit(connection, &mut pending, runtime);
            }
        }
    }

    /// While the disk is full, nothing but this tries to write: a batch that fails costs its work and helps nobody.
    fn probe_disk(&self, connection: &Connection) {
        if self.disk.is_full() {
            self.disk.note(&probe(connection));
        }
    }

    /// Judges the commands, makes all changes durable, and only then answers.
    fn commit(&mut self, connection: &Connection, pending: &mut Pending, runtime: Option<&Handle>) {
        if pending.len() == 0 {
            return;
        }
        self.admission.holds(pending.len());
        let Pending { commands, reports } = std::mem::take(pending);
        let written = if self.disk.is_full() {
            Err(StoreError::DiskFull)
        } else {
            let written = self.judge_and_write(connection, &commands, &reports);
            self.disk.note(&written);
            if let Err(error) = &written {
                tracing::error!(%error, commands = commands.len(), "a batch could not be written; nothing of it was kept");
            }
            written
        };
        if written.is_ok() {
            self.done += commands.len() + reports.len();
        }
        self.admission.holds(0);
        let many = commands.len() + reports.len() >= MANY_ANSWERS;
        let answer_all = move || {
            // A caller who went away doesn't undo what was committed.
            match written {
                Ok((outcomes, next_reports)) => {
                    for ((.., reply), next) in reports.into_iter().zip(next_reports) {
                        let _ = reply.send(Ok(next));
                    }
                    for ((.., reply), outcome) in commands.into_iter().zip(outcomes) {
                        let _ = reply.send(outcome);
                    }
                }
                Err(error) => {
                    for (.., reply) in reports {
                        let _ = reply.send(Err(told(&error)));
                    }
                    for (.., reply) in commands {
                        let _ = reply.send(Err(told(&error)));
                    }
                }
            }
        };
        match runtime {
            Some(runtime) if many => {
                runtime.spawn(async move { answer_all() });
            }
            _ => answer_all(),
        }
    }

    fn judge_and_write(
        &mut self,
        connection: &Connection,
        commands: &[Asked],
        reports: &[ReportDone],
    ) -> Result<Written, StoreError> {
        let began = Instant::now();
        let (vault, rules, counters, usage) = (&self.vault, &self.rules, &self.flood, &mut self.usage);
        let written = in_transaction(connection, |transaction| {
            let mut batch = Batch::default();
            let shared = Shared::Sqlite(transaction);
            let mut facts = Facts {
                connection: shared,
                vault,
            };
            let mut outcomes = Vec::with_capacity(commands.len());
            for (account, command, ..) in commands {
                outcomes.push(match batch.judge(&mut facts, rules, counters, *account, command) {
                    // The database's own failure is everybody's; a row that isn't there or can't be read is this
                    // caller's alone.
                    Err(error @ (StoreError::Database(_) | StoreError::Disk(_) | StoreError::DiskFull)) => {
                        return Err(error);
                    }
                    judged => judged,
                });
            }
            write_batch(transaction, vault, &batch)?;
            flood::write_counters(transaction, &batch, counters)?;
            usage.write(shared, vault, &rules.route, &batch.usage)?;
            note_commands(shared, commands, &outcomes)?;
            let new_reports = reports::write_new(shared, vault, &batch)?;
            // After the batch's new reports: one that waits behind a report that is done now becomes due.
            let next_reports = reports
                .iter()
                .map(|(key, attempt, outcome, _)| {
                    reports::record(shared, vault, *key, attempt, *outcome, Lease::default())
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok((batch, new_reports, (outcomes, next_reports)))
        });
        if written.is_err() {
            // What it remembers of rows may have been undone with them.
            self.usage = UsageBook::default();
        }
        let (mut batch, new_reports, answers) = written?;
        for (account, _) in &batch.clocks_moved {
            self.access.drop_entry(account.id);
        }
        let attempts = reports.iter().map(|(_, _, outcome, _)| outcome);
        let jobs = commands.len() + reports.len();
        self.tally.note(jobs, began.elapsed(), &batch, attempts);
        self.flood.note(std::mem::take(&mut batch.flood));
        self.watches.tell(|| {
            let touched = batch.requests.iter();
            let changed = touched.filter(|(_, touched)| touched.as_ref().is_some_and(|touched| touched.changed));
            let reported = reports.iter().map(|(key, ..)| key.request);
            changed.map(|(request, _)| *request).chain(reported)
        });
        if !batch.committed.is_empty() {
            self.committed.commands.hand_over(batch.committed);
        }
        self.hand_over_reports(new_reports);
        Ok(answers)
    }

    /// Hands reports that were made due by a commit to their worker. Before the next commit, see [`crate::NewReports`].
    pub(super) fn hand_over_reports(&self, due: Vec<DueReport>) {
        if !due.is_empty() {
            self.committed.reports.hand_over(due);
        }
    }

    /// Runs a write that is no command, in a transaction of its own.
    pub(super) fn set<T>(
        &mut self,
        connection: &Connection,
        write: impl FnOnce(&mut Settings<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.disk.is_full() {
            return Err(StoreError::DiskFull);
        }
        let written = in_transaction(connection, |transaction| {
            let mut settings = Settings::new(Shared::Sqlite(transaction), &self.vault, &self.rules, Lease::default());
            let answer = write(&mut settings)?;
            Ok((answer, settings.changed()))
        });
        self.disk.note(&written);
        let (answer, changed) = written?;
        if let Some(prices) = changed.prices {
            self.rules.prices = prices;
        }
        for id in changed.accounts {
            self.access.drop_entry(id);
        }
        Ok(answer)
    }
}

/// A line in the audit log for each command that a person gave and that was taken.
fn note_commands(
    transaction: Shared<'_>,
    commands: &[Asked],
    outcomes: &[Result<Outcome, StoreError>],
) -> Result<(), StoreError> {
    for ((account, command, by, _), outcome) in commands.iter().zip(outcomes) {
        if let (Some(by), Ok(Ok(_))) = (by, outcome) {
            actions::note_command(transaction, *by, *account, command)?;
        }
    }
    Ok(())
}

/// One failure, told to each caller of its batch.
fn told(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull => StoreError::DiskFull,
        error => StoreError::Database(error.to_string()),
    }
}
