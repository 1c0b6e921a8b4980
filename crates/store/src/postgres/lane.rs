//! A writer lane: a thread that takes whatever waits in its queue, judges it as one batch, commits once, and then answers everyone. An
//! account's commands always take the same lane of a node, so a node never waits for itself; between nodes the locks of accounts' rows
//! decide.
//!
//! What becomes of a batch whose connection is lost: before COMMIT was sent nothing of it was kept, and it is judged again as a whole.
//! After that the lane's marker row says, on a new connection and under that row's lock, whether it was committed.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countersign_core::{AccountKey, Command, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::batch::{self, Books, Failed, Fate, Written};
use super::events::Event;
use super::session::{Access, Session};
use crate::Outcome;
use crate::admission::Admission;
use crate::reports::{DueReport, ReportAttempt, ReportKey, ReportOutcome, ReportProfile};
use crate::types::{Actor, CommittedSender, Lease, StoreError};

/// Commands that may wait for one lane; beyond it, callers are told to come again.
const QUEUE_LENGTH: usize = 4_096;
/// Commands judged in one transaction: bounds the time that one commit's callers wait for each other.
const MAX_BATCH: usize = 512;
/// From so many answers on, they are given from the runtime's own threads.
const MANY_ANSWERS: usize = 8;
/// How long a lane rests between two attempts to reach the database.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The same while an outcome is still to be learned, and nobody waits.
const RESOLVE_PAUSE: Duration = Duration::from_millis(200);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What waits for a lane.
pub(super) enum Job {
    /// A command through the one door.
    Command {
        /// Set where it is refused once this node has lost that lease.
        lease: Option<Lease>,
        account: AccountKey,
        command: Command,
        /// Whose doing goes into the audit log, if anybody's does.
        by: Option<Actor>,
        reply: Reply<Outcome>,
    },
    /// What became of an attempt to send a report.
    Report {
        lease: Lease,
        key: ReportKey,
        attempt: ReportAttempt,
        outcome: ReportOutcome,
        reply: Reply<Option<DueReport>>,
    },
    /// A lost report goes again.
    Redeliver {
        key: ReportKey,
        now: Timestamp,
        by: Actor,
        reply: Reply<ReportProfile>,
    },
}

impl Job {
    pub(super) const fn account(&self) -> AccountKey {
        match self {
            Self::Command { account, .. } => *account,
            Self::Report { key, .. } | Self::Redeliver { key, .. } => key.request.account,
        }
    }
}

/// The store's end of a lane.
pub(super) struct LaneEntry {
    jobs: std::sync::Mutex<Option<mpsc::Sender<Job>>>,
    sender: mpsc::WeakSender<Job>,
    admission: Arc<Admission>,
}

impl LaneEntry {
    /// Queues a job at the first poll, and waits for its answer. Fails at once where the queue is full or closed.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let Some(jobs) = self.sender.upgrade() else {
            return Err(StoreError::Closing);
        };
        jobs.try_send(job(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closing,
        })?;
        drop(jobs);
        answer.await.map_err(|_| StoreError::Lost)?
    }

    /// Whether a caller who can come again may come in.
    pub(super) fn admits(&self) -> bool {
        self.admission.admits(self.queued().0)
    }

    /// How many jobs wait, and how many may.
    pub(super) fn queued(&self) -> (usize, usize) {
        self.sender.upgrade().map_or((0, QUEUE_LENGTH), |jobs| {
            (jobs.max_capacity() - jobs.capacity(), jobs.max_capacity())
        })
    }

    /// Takes no more; what waits is still answered.
    pub(super) fn close(&self) {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        );
    }
}

/// What a lane works with.
pub(super) struct LaneParts {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    pub(super) committed: Arc<CommittedSender>,
    /// The callers' runtime, if they have one.
    pub(super) runtime: Option<Handle>,
}

/// Starts a lane's thread.
pub(super) fn start(number: usize, parts: LaneParts) -> Result<(LaneEntry, JoinHandle<()>), StoreError> {
    let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
    let runtime = parts.runtime.clone();
    let admission = Arc::<Admission>::default();
    let lane = Lane {
        parts,
        admission: Arc::clone(&admission),
        session: None,
        books: Books::default(),
        queue,
        waiting: VecDeque::new(),
        runtime,
        unresolved: None,
    };
    let thread = std::thread::Builder::new()
        .name(format!("books {number}"))
        .spawn(move || {
            let run = AssertUnwindSafe(|| lane.run());
            if std::panic::catch_unwind(run).is_err() {
                // Nobody would write any more for these accounts, and nobody would notice: a supervisor starts a fresh process.
                tracing::error!("a writer lane of the books panicked: the process ends");
                std::process::abort();
            }
        })
        .map_err(|error| StoreError::Database(format!("could not start a writer lane's thread: {error}")))?;
    let sender = jobs.downgrade();
    let entry = LaneEntry {
        jobs: std::sync::Mutex::new(Some(jobs)),
        sender,
        admission,
    };
    Ok((entry, thread))
}

/// What comes out of a lane's queue.
enum Next {
    Job(Job),
    NoneYet,
    Ended,
}

/// Whether the database answered for a batch, well or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
}

/// Whether jobs may still join a batch that has loaded what it needs: those that need nothing more. While a batch waits for an account
/// that another node is writing, its own callers' next commands arrive; they need not wait for another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    Open,
    Closed,
}

struct Lane {
    parts: LaneParts,
    /// Who is let into the queue.
    admission: Arc<Admission>,
    session: Option<Session>,
    books: Books,
    queue: mpsc::Receiver<Job>,
    /// What was taken out of the queue and is for a later batch, in order.
    waiting: VecDeque<Job>,
    runtime: Option<Handle>,
    /// A batch whose outcome could not be learned in time. Before anything else is written it must be.
    unresolved: Option<i64>,
}

impl Lane {
    fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                match self.next_job() {
                    Next::Job(job) => self.waiting.push_back(job),
                    Next::NoneYet => continue,
                    Next::Ended => return,
                }
            }
            // A batch of one bucket is picked out of many; elsewhere the queue itself is where jobs wait.
            let most = if self.parts.shared.sharded {
                QUEUE_LENGTH
            } else {
                MAX_BATCH
            };
            while self.waiting.len() < most
                && let Ok(job) = self.queue.try_recv()
            {
                self.waiting.push_back(job);
            }
            let jobs = self.next_batch();
            self.admission.holds(self.waiting.len() + jobs.len());
            if self.work_off(jobs, Joining::Open) == Reached::No {
                // It was tried for as long as callers wait: those behind needn't wait as long again.
                let mut behind: Vec<Job> = self.waiting.drain(..).collect();
                while let Ok(job) = self.queue.try_recv() {
                    behind.push(job);
                }
                answer(behind, Err(StoreError::Unavailable));
            }
            self.admission.holds(self.waiting.len());
        }
    }

    /// Waits for a job; now and then not, while an outcome is still to be learned.
    fn next_job(&mut self) -> Next {
        let Some(number) = self.unresolved else {
            return self.queue.blocking_recv().map_or(Next::Ended, Next::Job);
        };
        match self.queue.try_recv() {
            Ok(job) => return Next::Job(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return Next::Ended,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        if !self.resolve(number, Instant::now() + self.parts.access.timeout) {
            std::thread::sleep(RESOLVE_PAUSE);
        }
        Next::NoneYet
    }

    /// Learns what became of a batch whose callers were told that nobody knows. What it asked of the workers stands in the books: they
    /// read it from there.
    fn resolve(&mut self, number: i64, deadline: Instant) -> bool {
        let Some(fate) = self.fate_of(number, deadline) else {
            return false;
        };
        self.unresolved = None;
        if fate != Fate::NotCommitted {
            self.parts.committed.commands.miss();
            self.parts.committed.reports.miss();
        }
        true
    }

    /// The jobs of the next batch: what has waited longest, and on a sharded database all of that bucket.
    fn next_batch(&mut self) -> Vec<Job> {
        // What is asked of the rows one by one stands alone: it must see what batches before it wrote.
        if let Some(Job::Redeliver { .. }) = self.waiting.front() {
            return self.waiting.drain(..1).collect();
        }
        if !self.parts.shared.sharded {
            let most = self.waiting.len().min(MAX_BATCH);
            let alone = |job: &Job| matches!(job, Job::Redeliver { .. });
            let count = self.waiting.iter().take(most).position(alone).unwrap_or(most);
            return self.waiting.drain(..count).collect();
        }
        let Some(bucket) = self.waiting.front().map(|job| job.account().bucket) else {
            return Vec::new();
        };
        let mut batch = Vec::new();
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        let mut ended = false;
        for job in self.waiting.drain(..) {
            let is_here = job.account().bucket == bucket;
            ended |= is_here && (matches!(job, Job::Redeliver { .. }) || batch.len() == MAX_BATCH);
            if is_here && !ended {
                batch.push(job);
            } else {
                rest.push_back(job);
            }
        }
        self.waiting = rest;
        batch
    }

    /// Judges a batch, makes it durable, and only then answers.
    fn work_off(&mut self, mut jobs: Vec<Job>, joining: Joining) -> Reached {
        let began = Instant::now();
        let written = self.commit(&mut jobs, joining);
        if written.is_ok() {
            self.admission.has_done(jobs.len(), began.elapsed(), self.waiting.len());
        }
        if jobs.len() > 1
            && let Err(error @ (StoreError::Database(_) | StoreError::Damaged(_))) = &written
        {
            // One of them is what the database can't take, or a row that can't be read: the others must not fail for it.
            tracing::error!(%error, jobs = jobs.len(), "a batch could not be written: each of it is judged by itself");
            return self.work_off_one_by_one(jobs);
        }
        // An outcome that nobody will ever know came from a database that answers.
        let unreachable = matches!(written, Err(StoreError::Unavailable))
            || (matches!(written, Err(StoreError::Lost)) && self.unresolved.is_some());
        let was = self.parts.shared.unreachable.swap(unreachable, Ordering::Relaxed);
        match &written {
            Err(error) if !(was && unreachable) => {
                tracing::error!(%error, jobs = jobs.len(), "a batch could not be written");
            }
            Ok(_) if was => tracing::info!("the database can be reached again: the books take writes"),
            _ => {}
        }
        let written = written.map(|written| self.hand_over(written));
        let many = jobs.len() >= MANY_ANSWERS;
        let answer_all = move || answer(jobs, written);
        match &self.runtime {
            Some(runtime) if many => {
                runtime.spawn(async move { answer_all() });
            }
            _ => answer_all(),
        }
        if unreachable { Reached::No } else { Reached::Yes }
    }

    /// Judges each job of a batch by itself, until the database can't be reached: those behind needn't wait as long again, each in turn.
    fn work_off_one_by_one(&mut self, jobs: Vec<Job>) -> Reached {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            if self.work_off(vec![job], Joining::Closed) == Reached::No {
                answer(jobs.collect(), Err(StoreError::Unavailable));
                return Reached::No;
            }
        }
        Reached::Yes
    }

    /// Tells who waits in memory; what is left are the answers.
    fn hand_over(&self, written: Written) -> batch::Answers {
        let Written {
            answers,
            committed,
            new_reports,
            changed,
            clocks_moved,
        } = written;
        let shared = &self.parts.shared;
        for account in &clocks_moved {
            shared.access.drop_entry(account.id);
        }
        if !shared.node.is_alone() {
            shared
                .events
                .tell(clocks_moved.iter().map(|account| Event::Account(account.id)));
        }
        if shared.node.is_watched() {
            shared.events.tell(changed.iter().copied().map(Event::Request));
        }
        shared.watches.tell(|| changed);
        if !committed.is_empty() {
            self.parts.committed.commands.hand_over(committed);
        }
        if !new_reports.is_empty() {
            self.parts.committed.reports.hand_over(new_reports);
        }
        answers
    }

    /// Tries until the batch is committed, surely failed, or its time is over.
    fn commit(&mut self, jobs: &mut Vec<Job>, joining: Joining) -> Result<Written, StoreError> {
        let deadline = Instant::now() + self.parts.access.timeout;
        if let Some(number) = self.unresolved
            && !self.resolve(number, deadline)
        {
            return Err(StoreError::Unavailable);
        }
        loop {
            let failed = match self.attempt(jobs, joining, deadline) {
                Ok(written) => return Ok(written),
                Err(failed) => failed,
            };
            // What is remembered of rows may have been undone with them.
            self.books.forget();
            let error = match failed {
                Failed::Nothing(error) => error,
                // To learn it is worth some more time: nobody wants to hear that the outcome is unknown.
                Failed::Unknown(number, written) => {
                    match self.fate_of(number, Instant::now() + self.parts.access.timeout) {
                        Some(Fate::Committed) => return Ok(*written),
                        Some(Fate::NotCommitted) => StoreError::Unavailable,
                        Some(Fate::Unknown) => {
                            self.parts.committed.commands.miss();
                            self.parts.committed.reports.miss();
                            return Err(StoreError::Lost);
                        }
                        None => {
                            self.unresolved = Some(number);
                            return Err(StoreError::Lost);
                        }
                    }
                }
            };
            let again = matches!(error, StoreError::Unavailable | StoreError::TryAgain);
            if !again || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "a batch is judged again");
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn attempt(&mut self, jobs: &mut Vec<Job>, joining: Joining, deadline: Instant) -> Result<Written, Failed> {
        let session = self.connected(deadline).map_err(Failed::Nothing)?;
        let (waiting, queue) = (&mut self.waiting, &mut self.queue);
        let written = batch::write(&self.parts.shared, &session, &mut self.books, jobs, |jobs, covers| {
            while joining == Joining::Open
                && jobs.len() < MAX_BATCH
                && let Some(job) = waiting.pop_front().or_else(|| queue.try_recv().ok())
            {
                // In their order: behind one that has to wait, all wait.
                if !covers(&job) {
                    waiting.push_front(job);
                    break;
                }
                jobs.push(job);
            }
        });
        if session.is_usable() {
            self.session = Some(session);
        }
        written
    }

    /// A connection whose every answer must come by then.
    fn connected(&mut self, deadline: Instant) -> Result<Session, StoreError> {
        if let Some(session) = self.session.take()
            && session.is_still_open()
        {
            session.answer_by(deadline);
            return Ok(session);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let session = Session::connect_in(&self.parts.access, left)?;
        session.answer_by(deadline);
        // Each statement has one good plan, by key: to plan it anew for each batch costs as much as to run it. One that is planned while a
        // table is small would read all of it instead, and still do so when it is large. The 4 MiB are for glibc's malloc in the server's
        // process: once it has freed that much at once it keeps up to twice as much, instead of giving a few hundred KB back to the kernel
        // after each batch and faulting them in again for the next, which took an eighth of the process's time.
        session.batch_execute(
            "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
             SET enable_mergejoin = off; SELECT length(repeat(' ', 4194304))",
        )?;
        Ok(session)
    }

    /// What became of the batch of that number, where its connection can't tell; `None` where it can't be learned in time.
    fn fate_of(&mut self, number: i64, deadline: Instant) -> Option<Fate> {
        loop {
            let asked = self.connected(deadline).and_then(|session| {
                let found = self.books.fate_of(&session, number);
                if session.is_usable() {
                    self.session = Some(session);
                }
                found
            });
            match asked {
                Ok(fate) => return Some(fate),
                Err(error) if Instant::now() + RETRY_PAUSE >= deadline => {
                    tracing::error!(%error, "whether a batch was committed can't be learned in time");
                    return None;
                }
                Err(_) => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }
}

/// A caller who went away doesn't undo what was committed.
fn answer(jobs: Vec<Job>, written: Result<batch::Answers, StoreError>) {
    match written {
        Ok(answers) => {
            let batch::Answers {
                commands,
                reports,
                redelivered,
            } = answers;
            let (mut commands, mut reports, mut redelivered) =
                (commands.into_iter(), reports.into_iter(), redelivered.into_iter());
            for job in jobs {
                match job {
                    Job::Command { reply, .. } => {
                        let _ = reply.send(commands.next().unwrap_or(Err(StoreError::Lost)));
                    }
                    Job::Report { reply, .. } => {
                        let _ = reply.send(reports.next().unwrap_or(Err(StoreError::Lost)));
                    }
                    Job::Redeliver { reply, .. } => {
                        let _ = reply.send(redelivered.next().unwrap_or(Err(StoreError::Lost)));
                    }
                }
            }
        }
        Err(error) => {
            for job in jobs {
                match job {
                    Job::Command { reply, .. } => drop(reply.send(Err(told(&error)))),
                    Job::Report { reply, .. } => drop(reply.send(Err(told(&error)))),
                    Job::Redeliver { reply, .. } => drop(reply.send(Err(told(&error)))),
                }
            }
        }
    }
}

/// One failure, told to each caller of its batch.
fn told(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull => StoreError::DiskFull,
        StoreError::Unavailable => StoreError::Unavailable,
        StoreError::TryAgain => StoreError::TryAgain,
        StoreError::Lost => StoreError::Lost,
        error => StoreError::Database(error.to_string()),
    }
}
