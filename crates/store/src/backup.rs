//! Backups as files: how one is made whole, synced and named, and how one is put in the place of the books. A backup is a copy
//! of the database; it carries the master key's fingerprint, never the key. The copying itself is the backend's.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use thiserror::Error;

use crate::sqlite::{FILE_NAME, copy_books, require_known_schema};
use crate::types::StoreError;
use crate::vault::{KeyFingerprint, MasterKey};

/// SQLite's page size in the books, in bytes.
const PAGE_BYTES: u64 = 8_192;
/// Every SQLite database begins with this.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Why there is no backup, or nothing was restored. Each is a sentence for the operator.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file is there, and may not be replaced.
    #[error("{0} is already there and was left alone: name another file, or replace it with --force")]
    Exists(PathBuf),
    /// The name is taken by the books themselves.
    #[error("{0} is one of the books' own files: name another file, best on another disk")]
    OwnFile(PathBuf),
    /// One backup at a time.
    #[error("a backup is being made already: wait for its end, or cancel it")]
    UnderWay,
    /// The caller wanted no more of it.
    #[error("the backup was cancelled: no file was made")]
    Cancelled,
    /// The books are on a PostgreSQL server.
    #[error(
        "the books are in a PostgreSQL database, which has backups of its own: see docs/postgresql.md (pg_basebackup with an \
         archive of the log)"
    )]
    OfTheDatabase,
    /// The store ends.
    #[error("the server ended before the backup was done: no file was made")]
    Closing,
    /// The disk of the books, or of the backup, is full.
    #[error("there is no room for the backup: no file was made; name one on a larger disk")]
    NoRoom,
    /// A file can't be read or written.
    #[error("{} can't be {attempted}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `written`, …
        attempted: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no backup of Countersign's books: {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// The file is a backup, but not whole.
    #[error("the backup {} is damaged ({reason}): use another one; nothing was restored", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check found.
        reason: String,
    },
    /// The backup was sealed with another key.
    #[error(
        "the master key doesn't fit this backup: the backup was made with the key {backup}, and this key is {key}; name the \
         right one with --key"
    )]
    WrongKey {
        /// The backup's key.
        backup: KeyFingerprint,
        /// The key that was given.
        key: KeyFingerprint,
    },
    /// There are books already.
    #[error(
        "there are books in {} already, and they were left alone: name another data directory, or replace them with --force, \
         which leaves the old ones aside",
        .0.display()
    )]
    BooksExist(PathBuf),
    /// The books failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        match StoreError::from(error) {
            StoreError::DiskFull => Self::NoRoom,
            error => Self::Store(error),
        }
    }
}

/// How far a backup or a restoration is, and the wish that it should end. Shared with whoever watches it.
#[derive(Debug, Default)]
pub struct BackupProgress {
    pages: AtomicI32,
    remaining: AtomicI32,
    cancelled: AtomicBool,
}

impl BackupProgress {
    /// Bytes that were copied, and all bytes, as far as known: books grow while they are copied.
    pub fn bytes(&self) -> (u64, u64) {
        let pages = self.pages.load(Ordering::Relaxed);
        let done = pages.saturating_sub(self.remaining.load(Ordering::Relaxed));
        let bytes = |pages: i32| u64::from(pages.max(0).unsigned_abs()) * PAGE_BYTES;
        (bytes(done), bytes(pages))
    }

    /// Ends it soon; no file is made then.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, pages: i32, remaining: i32) {
        self.pages.store(pages, Ordering::Relaxed);
        self.remaining.store(remaining, Ordering::Relaxed);
    }

    fn note_bytes(&self, done: u64, all: u64) {
        let pages = |bytes: u64| i32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(i32::MAX);
        self.note(pages(all), pages(all.saturating_sub(done)));
    }
}

/// A backup that is whole and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupDone {
    /// The file's size.
    pub bytes: u64,
    /// The key that its sealed values need.
    pub key: KeyFingerprint,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The size of the books.
    pub bytes: u64,
    /// The key that fits them.
    pub key: KeyFingerprint,
    /// Where the books that were there before lie now.
    pub old_books: Option<PathBuf>,
}

/// A backup's way from a partial file to its name. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    partial: PathBuf,
    force: bool,
    finished: bool,
}

impl Unfinished {
    /// Makes way for it: what an earlier one left half done is removed.
    pub(crate) fn begin(path: &Path, force: bool, data_dir: &Path) -> Result<Self, BackupError> {
        let named = path.file_name().unwrap_or_default().to_string_lossy();
        if named.starts_with(FILE_NAME) && same_directory(path, data_dir) {
            return Err(BackupError::OwnFile(path.to_owned()));
        }
        // Whatever else has that name (a key, a configuration) is worth more than a backup that can be made again.
        if force && path.exists() {
            look_into(path)?;
        }
        Self::begin_at(path, force)
    }

    fn begin_at(path: &Path, force: bool) -> Result<Self, BackupError> {
        if !force && path.exists() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        Ok(Self {
            path: path.to_owned(),
            partial: PathBuf::from(partial),
            force,
            finished: false,
        })
    }

    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Syncs the copy, looks into it, and gives it its name: from then on it is there, whole, whatever happens.
    pub(crate) fn finish(mut self) -> Result<BackupDone, BackupError> {
        let failed = |source| file_error(&self.partial, "written", source);
        let file = File::open(&self.partial).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let key = look_into(&self.partial)?;
        if !self.force && self.path.exists() {
            return Err(BackupError::Exists(self.path.clone()));
        }
        rename_durably(&self.partial, &self.path)?;
        self.finished = true;
        Ok(BackupDone { bytes, key })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // Left behind it would only be in the way, and the next backup removes it.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Backs the books of a data directory up while no server uses them: whoever calls holds the directory's lock.
pub fn back_up_at_rest(
    data_dir: &Path,
    path: &Path,
    force: bool,
    progress: &BackupProgress,
) -> Result<BackupDone, BackupError> {
    let unfinished = Unfinished::begin(path, force, data_dir)?;
    copy_books(data_dir, unfinished.partial(), progress)?;
    unfinished.finish()
}

/// Puts a backup in the place of a data directory's books: whoever calls holds the directory's lock. The backup is checked
/// before anything of the old books moves; those are kept beside the new ones.
pub fn restore(
    backup: &Path,
    data_dir: &Path,
    key: &MasterKey,
    force: bool,
    progress: &BackupProgress,
) -> Result<Restored, BackupError> {
    let books = data_dir.join(FILE_NAME);
    if !force && books.exists() {
        return Err(BackupError::BooksExist(data_dir.to_owned()));
    }
    let sealed_with = look_into(backup)?;
    let key = key.fingerprint()?;
    if sealed_with != key {
        return Err(BackupError::WrongKey {
            backup: sealed_with,
            key,
        });
    }
    let mut unfinished = Unfinished::begin_at(&data_dir.join("countersign.db.restored"), true)?;
    let bytes = copy_file(backup, unfinished.partial(), progress)?;
    check_integrity(backup, unfinished.partial())?;
    let old_books = if books.exists() { Some(set_aside(&books)?) } else { None };
    // A log without its books would be taken for the new ones'.
    remove_log(&books)?;
    rename_durably(unfinished.partial(), &books)?;
    unfinished.finished = true;
    Ok(Restored { bytes, key, old_books })
}

/// Whose backup a file is; refuses what is none, is cut off, or comes from a newer program.
fn look_into(path: &Path) -> Result<KeyFingerprint, BackupError> {
    let foreign = |reason: &str| BackupError::Foreign {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let failed = |source| file_error(path, "read", source);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(foreign(
            "a log lies beside it that holds a part of it: it is no whole backup",
        ));
    }
    let mut head = [0; 100];
    let mut file = File::open(path).map_err(failed)?;
    match file.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(foreign("it is too short for a database"));
        }
        read => read.map_err(failed)?,
    }
    if !head.starts_with(MAGIC) {
        return Err(foreign("it isn't a SQLite database"));
    }
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    let page_bytes = u64::from(u16::from_be_bytes([head[16], head[17]]));
    let length = file.metadata().map_err(failed)?.len();
    if length < pages * page_bytes {
        return Err(BackupError::Damaged {
            path: path.to_owned(),
            reason: format!("{length} bytes are there instead of {}", pages * page_bytes),
        });
    }
    let connection = open_unchanging(path)?;
    let check: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'key_check'", [], |row| row.get(0))
        .optional()
        .map_err(|error| match error.sqlite_error_code() {
            // A hole in the pages that describe its tables.
            Some(ErrorCode::DatabaseCorrupt) => BackupError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            },
            _ => foreign("it has none of Countersign's tables"),
        })?;
    require_known_schema(&connection)?;
    check
        .and_then(|check| KeyFingerprint::of_check(&check))
        .ok_or_else(|| foreign("it names no master key"))
}

/// Opens a database that nobody writes, without making files beside it.
fn open_unchanging(path: &Path) -> Result<Connection, BackupError> {
    let absolute = std::path::absolute(path).map_err(|source| file_error(path, "read", source))?;
    let mut uri = "file:".to_owned();
    for byte in absolute.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            // As URIs write what has a meaning in them.
            other => {
                // Writing to a string can't fail.
                let _ = write!(uri, "%{other:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(uri, flags)?)
}

/// Walks through every page of the copy.
fn check_integrity(backup: &Path, copy: &Path) -> Result<(), BackupError> {
    let damaged = |reason: String| BackupError::Damaged {
        path: backup.to_owned(),
        reason,
    };
    let connection = open_unchanging(copy)?;
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| damaged(error.to_string()))?;
    if found == "ok" { Ok(()) } else { Err(damaged(found)) }
}

/// Copies a file to a new private one, durably; answers its length.
fn copy_file(from: &Path, to: &Path, progress: &BackupProgress) -> Result<u64, BackupError> {
    use io::Write as _;
    let mut source = File::open(from).map_err(|error| file_error(from, "read", error))?;
    let all = source
        .metadata()
        .map_err(|error| file_error(from, "read", error))?
        .len();
    let mut target = make_private_file(to)?;
    let mut chunk = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = source
            .read(&mut chunk)
            .map_err(|error| file_error(from, "read", error))?;
        if read == 0 {
            break;
        }
        target
            .write_all(&chunk[..read])
            .map_err(|error| file_error(to, "written", error))?;
        done += read as u64;
        progress.note_bytes(done, all);
        if progress.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
    }
    target.sync_all().map_err(|error| file_error(to, "written", error))?;
    Ok(done)
}

/// Gives the old books a second name, under which they stay once the new ones have taken the first.
fn set_aside(books: &Path) -> Result<PathBuf, BackupError> {
    // Folds their log into them, so that one file is all of them. Books too damaged for that keep their log beside them.
    if let Err(error) = fold_log(books) {
        tracing::warn!(%error, "the old books' log can't be folded into them; it stays beside them");
    }
    let aside = (1_u32..=9_999)
        .map(|number| with_suffix(books, &format!(".replaced-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| with_suffix(books, ".replaced"));
    let failed = |source| file_error(books, "set aside", source);
    let log = with_suffix(books, "-wal");
    if log.exists() {
        fs::rename(&log, with_suffix(&aside, "-wal")).map_err(failed)?;
    }
    // A second name first: at no moment is there none. Where a file system has no second names, a short moment must do.
    if fs::hard_link(books, &aside).is_err() {
        fs::rename(books, &aside).map_err(failed)?;
    }
    Ok(aside)
}

fn fold_log(books: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(books, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn remove_log(books: &Path) -> Result<(), BackupError> {
    for suffix in ["-wal", "-shm"] {
        let path = with_suffix(books, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(&path, "removed", error)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file lies in a directory, however both are named.
fn same_directory(file: &Path, directory: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let places = (
        fs::canonicalize(parent.unwrap_or(Path::new("."))),
        fs::canonicalize(directory),
    );
    matches!(places, (Ok(parent), Ok(directory)) if parent == directory)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// A new file that only its owner may read; one that an interrupted attempt left there goes.
pub(crate) fn make_private_file(path: &Path) -> Result<File, BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(path, "replaced", error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| file_error(path, "written", error))
}

fn rename_durably(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |source| file_error(to, "written", source);
    fs::rename(from, to).map_err(failed)?;
    #[cfg(unix)]
    {
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        directory.sync_all().map_err(failed)?;
    }
    Ok(())
}

fn file_error(path: &Path, attempted: &'static str, source: io::Error) -> BackupError {
    if source.kind() == ErrorKind::StorageFull {
        return BackupError::NoRoom;
    }
    BackupError::File {
        path: path.to_owned(),
        attempted,
        source,
    }
}
