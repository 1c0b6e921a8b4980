//! The write-ahead log is kept bounded without stalling the writer: a thread of its own copies the log into the database while
//! writing goes on, then the writer copies the few pages that came meanwhile, between two batches, so that the log starts
//! from its beginning again.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::types::StoreError;

/// Pages in the log (of 8 KiB) at which it is copied back: 32 MiB.
const LOG_PAGES: i32 = 4_096;
/// Pages in the log at which the writer stops for a full copy: only a reader that holds on for long leads there.
const MAX_LOG_PAGES: i32 = 16 * LOG_PAGES;

thread_local! {
    /// Pages in the log after this thread's last commit.
    static PAGES_IN_LOG: Cell<i32> = const { Cell::new(0) };
}

pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    /// Set when the thread has copied; the writer takes it and finishes.
    copied: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(super) fn start(writer: &Connection, directory: &Path) -> Result<Self, StoreError> {
        // Replaces SQLite's own checkpointing, which would stop the writer in the middle of its commits.
        writer.wal_hook(Some(note_pages));
        let connection = Connection::open(directory.join(super::FILE_NAME))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let copied = Arc::new(AtomicBool::new(false));
        let (wake, woken) = sync_channel::<()>(1);
        let thread_copied = Arc::clone(&copied);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while woken.recv().is_ok() {
                    checkpoint(&connection, "PASSIVE");
                    thread_copied.store(true, Ordering::Release);
                }
            })
            .map_err(|error| StoreError::Database(format!("could not start the checkpoint thread: {error}")))?;
        Ok(Self { wake, copied })
    }

    /// Called by the writer between batches.
    pub(super) fn keep_log_bounded(&self, writer: &Connection) {
        let pages = PAGES_IN_LOG.get();
        if pages < LOG_PAGES {
            return;
        }
        if pages >= MAX_LOG_PAGES {
            tracing::warn!(pages, "the write-ahead log is long: a reader holds on to an old state");
            checkpoint(writer, "PASSIVE");
            PAGES_IN_LOG.set(LOG_PAGES);
        } else if self.copied.swap(false, Ordering::AcqRel) {
            checkpoint(writer, "PASSIVE");
            // Counted anew by the next commit.
            PAGES_IN_LOG.set(0);
        } else if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
            checkpoint(writer, "PASSIVE");
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

fn checkpoint(connection: &Connection, mode: &str) {
    // A checkpoint that can't go on now is tried again at the next commits; nothing is lost by it.
    let result = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    if let Err(error) = result {
        tracing::warn!(%error, "the write-ahead log could not be copied back now");
    }
}
