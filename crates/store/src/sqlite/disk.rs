//! What becomes of a write that the disk refuses. A full disk is survived: the write is rolled back, callers are told that
//! nothing was done, and once a second a small real write finds out whether there is room again. Every other failure of the
//! disk ends the process, since nobody but a fresh start can say what it holds then (P1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, ffi};
use tokio::sync::mpsc;

use super::writer::Job;
use crate::types::StoreError;

/// How often a full disk is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::DiskFull => Self::DiskFull,
            rusqlite::Error::SqliteFailure(failure, _) if is_failed_write(failure.extended_code) => {
                Self::Disk(error.to_string())
            }
            _ => Self::Database(error.to_string()),
        }
    }
}

/// Whether the disk refused to keep something, and not for want of room. A row that can't be *read* is no such failure.
const fn is_failed_write(extended_code: i32) -> bool {
    matches!(
        extended_code,
        ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_SHMOPEN
            | ffi::SQLITE_IOERR_SHMSIZE
            | ffi::SQLITE_IOERR_SHMMAP
            | ffi::SQLITE_IOERR_SHMLOCK
    )
}

/// Whether the disk takes writes. Shared by the writer, who alone changes it, and whoever asks after the books' health.
#[derive(Debug, Default)]
pub(super) struct Disk {
    full: AtomicBool,
}

impl Disk {
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }
}

/// The writer's end: it notes what became of writes, and a thread of its own asks for probes while the disk is full.
pub(super) struct DiskWatch {
    disk: Arc<Disk>,
    wake: SyncSender<()>,
}

impl DiskWatch {
    /// Starts the thread that asks for probes. `jobs` doesn't keep the queue open.
    pub(super) fn start(disk: Arc<Disk>, jobs: mpsc::WeakSender<Job>) -> Result<Self, StoreError> {
        let (wake, woken) = sync_channel(1);
        let watched = Arc::clone(&disk);
        std::thread::Builder::new()
            .name("disk-probe".into())
            .spawn(move || ask_for_probes(&watched, &jobs, &woken))
            .map_err(|error| StoreError::Database(format!("could not start the disk's probe: {error}")))?;
        Ok(Self { disk, wake })
    }

    pub(super) fn is_full(&self) -> bool {
        self.disk.is_full()
    }

    /// Notes what became of a write.
    pub(super) fn note<T>(&self, written: &Result<T, StoreError>) {
        match written {
            Ok(_) if self.disk.full.swap(false, Ordering::AcqRel) => {
                tracing::info!("the disk has room again: the books take writes");
            }
            Err(StoreError::DiskFull) if !self.disk.full.swap(true, Ordering::AcqRel) => {
                tracing::error!(
                    "the disk is full: the books take no writes, and callers are told UNAVAILABLE, until there is room"
                );
                // A thread that is awake still needs no second word.
                let _ = self.wake.try_send(());
            }
            _ => {}
        }
    }
}

fn ask_for_probes(disk: &Disk, jobs: &mpsc::WeakSender<Job>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        while disk.is_full() {
            std::thread::sleep(PROBE_INTERVAL);
            // The books have ended.
            let Some(jobs) = jobs.upgrade() else { return };
            // A full queue is emptied by refusals; the next second finds room in it.
            if let Err(mpsc::error::TrySendError::Closed(_)) = jobs.try_send(Job::Probe) {
                return;
            }
        }
    }
}

/// Runs a write in a transaction, and commits it. On [`StoreError::DiskFull`], as on every other error that is answered,
/// nothing of it was kept. A failure of the disk that leaves that open ends the process.
///
/// Why a commit that fails for want of room may be rolled back: SQLite says `SQLITE_FULL` only where `write` did (`unixWrite`).
/// A transaction counts once the log holds its last frame, whole, with the commit mark and a checksum over all frames before
/// it; so if some write failed, either that frame or one before it isn't whole, and no recovery will take the
/// transaction for committed. Nothing is written after that frame: padding to whole sectors, which repeats it, is off where an
/// interrupted write doesn't damage its neighbours, as SQLite assumes on every Unix; and where frames' checksums are written
/// again (pages that left the cache early), the last frame's is the last. The wal-index is changed after all that, so
/// readers never saw anything, and the next transaction overwrites what was left in the log.
///
/// Every other error may come *after* that frame: a failed sync, or a wal-index that can't grow, which SQLite reports as an
/// I/O error even if room is what it lacked. The transaction may then be in the log, and come to life at the next start.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let written = write_and_commit(connection, write);
    if let Err(StoreError::Disk(error)) = &written {
        end_process(error);
    }
    if written.is_err() && !connection.is_autocommit() {
        end_process("what failed could not be rolled back");
    }
    written
}

fn write_and_commit<T>(
    connection: &Connection,
    write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Unchecked: the connection is shared with a backup that steps between transactions, never within one.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let value = write(&transaction)?;
    match transaction.commit().map_err(StoreError::from) {
        Ok(()) => Ok(value),
        Err(StoreError::DiskFull) => Err(StoreError::DiskFull),
        Err(error) => end_process(&error.to_string()),
    }
}

/// The smallest real write: it changes a page, so it needs room in the log.
pub(super) fn probe(connection: &Connection) -> Result<(), StoreError> {
    in_transaction(connection, |transaction| {
        transaction.execute(
            "INSERT INTO meta (name, value) VALUES ('disk_probe', randomblob(8)) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [],
        )?;
        Ok(())
    })
}

/// P1: after a commit that failed nobody can say what is on the disk; only a fresh start can read it. So the process ends.
fn end_process(error: &str) -> ! {
    tracing::error!(
        error,
        "a commit failed: the process ends, so that no answer is given that the disk doesn't hold"
    );
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database that may not grow: SQLite then says what it says of a full disk.
    fn cramped() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID")
            .unwrap();
        let _: i64 = connection
            .query_row("PRAGMA max_page_count = 3", [], |row| row.get(0))
            .unwrap();
        connection
    }

    #[test]
    fn a_write_that_finds_no_room_is_rolled_back_as_a_whole_and_the_next_one_goes_on() {
        let connection = cramped();
        let written = in_transaction(&connection, |transaction| {
            transaction.execute("INSERT INTO meta VALUES ('small', x'01')", [])?;
            transaction.execute("INSERT INTO meta VALUES ('large', zeroblob(1000000))", [])?;
            Ok(())
        });
        assert!(matches!(written, Err(StoreError::DiskFull)), "{written:?}");
        assert!(connection.is_autocommit());
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM meta", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 0);
        probe(&connection).unwrap();
    }

    #[test]
    fn only_what_the_disk_refuses_to_keep_counts_as_its_failure() {
        let failure = |code: i32| StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(failure(ffi::SQLITE_FULL), StoreError::DiskFull));
        assert!(matches!(failure(ffi::SQLITE_IOERR_FSYNC), StoreError::Disk(_)));
        assert!(matches!(failure(ffi::SQLITE_IOERR_SHMSIZE), StoreError::Disk(_)));
        assert!(matches!(failure(ffi::SQLITE_IOERR_READ), StoreError::Database(_)));
        assert!(matches!(failure(ffi::SQLITE_BUSY), StoreError::Database(_)));
    }
}
