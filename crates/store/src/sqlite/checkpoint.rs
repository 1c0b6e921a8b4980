//! The write-ahead log is kept bounded without stalling the writer: a thread of its own copies the log into the database while
//! writing goes on, then the writer copies the few pages that came meanwhile, between two batches, so that the log starts
//! from its beginning again.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::schema::BUSY_TIMEOUT;
use crate::types::StoreError;

/// Pages in the log (of 8 KiB) at which it is copied back: 32 MiB.
const LOG_PAGES: i32 = 4_096;
/// Pages in the log at which the writer waits for readers, so that the log can begin anew: 192 MiB. Only a reader that holds
/// on to an old state for long leads there.
const MAX_LOG_PAGES: i32 = 6 * LOG_PAGES;
/// How long the writer waits for such a reader, and how often at most.
const READERS_PATIENCE: Duration = Duration::from_millis(100);
const READERS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a copy that failed rests.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// What the log's file is cut to once it begins anew, in bytes.
const LOG_FILE_BYTES: i64 = 64 << 20;

/// No copy is under way, and none was made since the writer last finished one.
const IDLE: u8 = 0;
/// The thread copies.
const COPYING: u8 = 1;
/// The thread has copied; the writer has yet to finish.
const COPIED: u8 = 2;
/// The thread could not copy: the disk is full, or failing. Nothing is lost by it, since the log is only cut back once its
/// content is synced in the database; but neither the writer nor the thread tries again at once.
const FAILED: u8 = 3;

thread_local! {
    /// Pages in the log after this thread's last commit.
    static PAGES_IN_LOG: Cell<i32> = const { Cell::new(0) };
}

pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    /// [`IDLE`], [`COPYING`], [`COPIED`] or [`FAILED`].
    state: Arc<AtomicU8>,
    /// When the writer saw that the thread's copy had failed.
    failed_at: Cell<Option<Instant>>,
    /// When the writer last waited for readers.
    waited_at: Cell<Option<Instant>>,
}

impl Checkpointer {
    pub(super) fn start(writer: &Connection, directory: &Path) -> Result<Self, StoreError> {
        // Replaces SQLite's own checkpointing, which would stop the writer in the middle of its commits.
        writer.wal_hook(Some(note_pages));
        writer.pragma_update(None, "journal_size_limit", LOG_FILE_BYTES)?;
        let connection = Connection::open(directory.join(super::FILE_NAME))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let state = Arc::new(AtomicU8::new(IDLE));
        let (wake, woken) = sync_channel::<()>(1);
        let thread_state = Arc::clone(&state);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while woken.recv().is_ok() {
                    let copied = checkpoint(&connection, "PASSIVE");
                    thread_state.store(if copied { COPIED } else { FAILED }, Ordering::Release);
                }
            })
            .map_err(|error| StoreError::Database(format!("could not start the checkpoint thread: {error}")))?;
        Ok(Self {
            wake,
            state,
            failed_at: Cell::new(None),
            waited_at: Cell::new(None),
        })
    }

    /// Called by the writer between batches.
    pub(super) fn keep_log_bounded(&self, writer: &Connection) {
        let pages = PAGES_IN_LOG.get();
        if pages < LOG_PAGES {
            return;
        }
        let state = self.state.load(Ordering::Acquire);
        if state == FAILED {
            self.rest_after_failure();
            return;
        }
        if pages >= MAX_LOG_PAGES && self.waited_at.get().is_none_or(|at| at.elapsed() >= READERS_INTERVAL) {
            self.waited_at.set(Some(Instant::now()));
            tracing::warn!(pages, "the write-ahead log is long: a reader holds on to an old state");
            wait_for_readers(writer);
            return;
        }
        match state {
            IDLE => {
                self.state.store(COPYING, Ordering::Release);
                if self.wake.try_send(()).is_err() {
                    // The thread is gone: the writer does its work.
                    checkpoint(writer, "PASSIVE");
                    self.state.store(IDLE, Ordering::Release);
                }
            }
            COPIED => {
                checkpoint(writer, "PASSIVE");
                // Counted anew by the next commit.
                PAGES_IN_LOG.set(0);
                self.state.store(IDLE, Ordering::Release);
            }
            _ => {}
        }
    }

    fn rest_after_failure(&self) {
        match self.failed_at.get() {
            None => self.failed_at.set(Some(Instant::now())),
            Some(at) if at.elapsed() >= FAILURE_PAUSE => {
                self.failed_at.set(None);
                self.state.store(IDLE, Ordering::Release);
            }
            Some(_) => {}
        }
    }

    /// At the end: everything back into the database file.
    #[expect(clippy::unused_self, reason = "the thread ends with this value")]
    pub(super) fn finish(&self, writer: &Connection) {
        checkpoint(writer, "TRUNCATE");
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the hook's signature")]
fn note_pages(_: &Wal, pages: std::os::raw::c_int) -> rusqlite::Result<()> {
    PAGES_IN_LOG.set(pages);
    Ok(())
}

/// Lets the log begin anew as soon as no reader needs its old part, or gives up soon.
fn wait_for_readers(writer: &Connection) {
    let patience = writer.busy_timeout(READERS_PATIENCE);
    checkpoint(writer, "RESTART");
    if let Err(error) = patience.and_then(|()| writer.busy_timeout(BUSY_TIMEOUT)) {
        tracing::warn!(%error, "the time to wait for readers could not be set");
    }
}

/// Answers whether it succeeded. One that can't go on now is tried again later; nothing is lost by it, whatever failed: what is
/// in the log was synced there at its commit, and stays there until a copy of all of it is synced.
fn checkpoint(connection: &Connection, mode: &str) -> bool {
    let result = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    if let Err(error) = &result {
        tracing::warn!(%error, "the write-ahead log could not be copied back now");
    }
    result.is_ok()
}
