//! One batch in one transaction: what it needs is loaded in one round trip, with the accounts' rows locked in the order of their keys;
//! `decide` answers each command; what is left over is written in bulk, with the lane's marker, and committed in another.

use std::collections::BTreeSet;
use std::time::Instant;

use countersign_core::AccountKey;

use super::Shared;
use super::lane::Job;
use super::load::{self, Loaded};
use super::reports::{self, ReportRows};
use super::schema::newer_prices;
use super::session::{Session, SessionError};
use super::source::Source;
use super::usage::{UsageBook, UsageRows};
use super::write::{Marker, write_and_commit};
use crate::Outcome;
use crate::batch::Batch;
use crate::flood::FloodBook;
use crate::reports::{DueReport, ReportProfile};
use crate::sql::settings::Settings;
use crate::sql::{Connection, OptionalExtension as _, actions};
use crate::types::{Committed, Lease, RequestRef, StoreError};

/// What a lane remembers from one batch to the next. All of it stands in the database as well, or may be forgotten.
#[derive(Default)]
pub(super) struct Books {
    usage: UsageBook,
    /// Under which this lane's batches are marked.
    writer: Option<i64>,
    /// The number of the last batch that was begun.
    number: i64,
    /// The buckets whose marker row is there: 0 stands for all where nothing is distributed.
    marked_buckets: BTreeSet<u8>,
    /// The bucket of the last marker.
    last_bucket: u8,
}

/// What a batch answers, in the order of its jobs of each kind.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) commands: Vec<Result<Outcome, StoreError>>,
    pub(super) reports: Vec<Result<Option<DueReport>, StoreError>>,
    pub(super) redelivered: Vec<Result<ReportProfile, StoreError>>,
}

/// What a committed batch leaves to be told.
pub(super) struct Written {
    pub(super) answers: Answers,
    pub(super) committed: Vec<Committed>,
    pub(super) new_reports: Vec<DueReport>,
    pub(super) changed: Vec<RequestRef>,
    pub(super) clocks_moved: Vec<AccountKey>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    NotCommitted,
    /// Its marker is gone: so long was this node away that others have ended it and cleared up, or somebody put the database back.
    Unknown,
}

/// Why a batch has no answers.
pub(super) enum Failed {
    /// Nothing of it was kept.
    Nothing(StoreError),
    /// Its COMMIT has no answer: its number tells, by the marker.
    Unknown(i64, Box<Written>),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Nothing(error)
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        Self::Nothing(error.into())
    }
}

impl Books {
    /// What a batch remembered of rows may have been undone with it.
    pub(super) fn forget(&mut self) {
        self.usage = UsageBook::default();
    }

    /// The lane's next marker. A lane's row in a bucket is made by itself first, so that each batch can lock it as it begins.
    fn next_marker(&mut self, session: &Session, bucket: u8, lease: Lease) -> Result<Marker, StoreError> {
        let connection = Connection::Postgres(session);
        let writer = if let Some(writer) = self.writer {
            writer
        } else {
            let sql = "SELECT nextval(pg_get_serial_sequence('batch_marker', 'writer'))";
            *self
                .writer
                .insert(connection.query_row(sql, crate::sql::params![], |row| row.get(0))?)
        };
        if !self.marked_buckets.contains(&bucket) {
            connection.execute(
                "INSERT INTO batch_marker (bucket, writer, epoch, number) VALUES (?1, ?2, ?3, 0) ON CONFLICT DO NOTHING",
                [i64::from(bucket), writer, lease.0],
            )?;
            self.marked_buckets.insert(bucket);
        }
        self.number += 1;
        self.last_bucket = bucket;
        Ok(Marker {
            bucket,
            writer,
            number: self.number,
        })
    }

    /// What became of this lane's last batch, which had that number. Waits for one that is still under way.
    pub(super) fn fate_of(&self, session: &Session, number: i64) -> Result<Fate, StoreError> {
        let Some(writer) = self.writer else {
            return Ok(Fate::Unknown);
        };
        let marked: Result<i64, _> = Connection::Postgres(session).query_row(
            "SELECT number FROM batch_marker WHERE bucket = ?1 AND writer = ?2 FOR UPDATE",
            [i64::from(self.last_bucket), writer],
            |row| row.get(0),
        );
        Ok(match marked.optional()? {
            Some(marked) if marked == number => Fate::Committed,
            Some(_) => Fate::NotCommitted,
            None => Fate::Unknown,
        })
    }
}

/// Judges and commits a batch. Once its rows are loaded and locked, `join` may add jobs to it that they cover.
pub(super) fn write(
    shared: &Shared,
    session: &Session,
    books: &mut Books,
    jobs: &mut Vec<Job>,
    join: impl FnOnce(&mut Vec<Job>, &dyn Fn(&Job) -> bool),
) -> Result<Written, Failed> {
    let bucket = match jobs.first() {
        Some(job) if shared.sharded => job.account().bucket.0,
        _ => 0,
    };
    let began = Instant::now();
    let lease = shared.node.lease();
    let marker = books.next_marker(session, bucket, lease)?;
    let judged = judge(shared, session, books, jobs, join, lease, &marker);
    let (batch, loaded, usage, reports, mut written) = match judged {
        Ok(judged) => judged,
        Err(error) => {
            session.roll_back();
            return Err(Failed::Nothing(error));
        }
    };
    match write_and_commit(shared, session, &batch, &loaded, usage, reports, &marker) {
        Ok(()) => {}
        Err(super::write::Failed::Before(error)) => {
            session.roll_back();
            return Err(Failed::Nothing(error));
        }
        Err(super::write::Failed::Unknown) => {
            note(batch, &mut written, jobs);
            return Err(Failed::Unknown(marker.number, Box::new(written)));
        }
    }
    // A batch whose commit is learned of later, by its marker, isn't tallied.
    let attempts = jobs.iter().filter_map(|job| match job {
        Job::Report {
            outcome, lease: held, ..
        } if *held == lease => Some(outcome),
        _ => None,
    });
    shared.tally.note(jobs.len(), began.elapsed(), &batch, attempts);
    note(batch, &mut written, jobs);
    Ok(written)
}

fn note(mut batch: Batch, written: &mut Written, jobs: &[Job]) {
    written.clocks_moved = batch.clocks_moved.iter().map(|(account, _)| *account).collect();
    let touched = batch.requests.iter();
    let changed = touched.filter(|(_, touched)| touched.as_ref().is_some_and(|touched| touched.changed));
    let reported = jobs.iter().filter_map(|job| match job {
        Job::Report { key, .. } | Job::Redeliver { key, .. } => Some(key.request),
        Job::Command { .. } => None,
    });
    written.changed = changed.map(|(request, _)| *request).chain(reported).collect();
    written.committed = std::mem::take(&mut batch.committed);
}

type Judged = (Batch, Loaded, UsageRows, ReportRows, Written);

fn judge(
    shared: &Shared,
    session: &Session,
    books: &mut Books,
    jobs: &mut Vec<Job>,
    join: impl FnOnce(&mut Vec<Job>, &dyn Fn(&Job) -> bool),
    lease: Lease,
    marker: &Marker,
) -> Result<Judged, StoreError> {
    let mut rules = shared.rules();
    let mut loaded = load::load(shared, session, &rules, jobs, &books.usage, lease, marker)?;
    if !loaded.epoch_lives {
        // The node's own thread begins a new one.
        shared.node.lost(lease);
        return Err(StoreError::Unavailable);
    }
    if !loaded.marker_is_there {
        // Somebody put the database back to an earlier day; the next attempt makes it anew.
        books.marked_buckets.remove(&marker.bucket);
        return Err(StoreError::TryAgain);
    }
    let connection = Connection::Postgres(session);
    if loaded.newest_price != rules.newest_price {
        rules = newer_prices(connection, &rules)?;
        shared.set_rules(std::sync::Arc::clone(&rules));
    }
    if !matches!(jobs[..], [Job::Redeliver { .. }]) {
        join(jobs, &|job| loaded.covers(&rules, job));
    }
    let mut batch = Batch {
        lease,
        ..Batch::default()
    };
    let mut flood = FloodBook::default();
    for (account, counter, state) in &loaded.flood {
        flood.take_in(*account, *counter, *state);
    }
    let mut source = Source::new(connection, &shared.vault, &loaded);
    let mut answers = Answers::default();
    for job in &*jobs {
        let Job::Command {
            account,
            command,
            lease: held,
            ..
        } = job
        else {
            continue;
        };
        if held.is_some_and(|held| held != lease) {
            answers.commands.push(Err(StoreError::Stale));
            continue;
        }
        let judged = batch.judge(&mut source, &rules.rules, &flood, *account, command);
        answers.commands.push(match judged {
            // A row that isn't there or can't be read is this caller's alone; all else is everybody's.
            Err(error @ (StoreError::NotFound(_) | StoreError::Damaged(_))) => Err(error),
            Err(error) => return Err(error),
            judged => judged,
        });
    }
    let usage = (books.usage).gather(shared, session, &rules, &mut loaded, marker.writer, &batch.usage)?;
    for (job, outcome) in jobs
        .iter()
        .filter(|job| matches!(job, Job::Command { .. }))
        .zip(&answers.commands)
    {
        if let Job::Command {
            by: Some(by),
            account,
            command,
            ..
        } = job
            && let Ok(Ok(_)) = outcome
        {
            actions::note_command(connection, *by, *account, command)?;
        }
    }
    let mut reports = reports::gather(shared, session, &batch, jobs, lease)?;
    let mut next = std::mem::take(&mut reports.next).into_iter();
    let mut new_reports = std::mem::take(&mut reports.due);
    for job in &*jobs {
        match job {
            Job::Command { .. } => {}
            Job::Report { lease: held, .. } if *held != lease => answers.reports.push(Err(StoreError::Stale)),
            Job::Report { .. } => answers.reports.push(Ok(next.next().flatten())),
            Job::Redeliver { key, now, by, .. } => {
                let settings = Settings::new(connection, &shared.vault, &rules.rules, lease);
                answers
                    .redelivered
                    .push(match settings.redeliver_report(*key, *now, *by) {
                        Ok((profile, due)) => {
                            new_reports.extend(due);
                            Ok(profile)
                        }
                        Err(error @ (StoreError::NotFound(_) | StoreError::Damaged(_))) => Err(error),
                        Err(error) => return Err(error),
                    });
            }
        }
    }
    let written = Written {
        answers,
        committed: Vec::new(),
        new_reports,
        changed: Vec::new(),
        clocks_moved: Vec::new(),
    };
    Ok((batch, loaded, usage, reports, written))
}
