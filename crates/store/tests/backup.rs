//! Backups of books that are written meanwhile: whole, with everything acknowledged before they began, without letting the log
//! grow; and what a restoration refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_core::*;
use countersign_store::*;
use tempfile::TempDir;
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// What the log may grow to, in bytes.
const MAX_LOG_BYTES: u64 = 256 << 20;

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

fn open(path: &Path) -> (Arc<SqliteStore>, CommittedWork) {
    let options = SqliteOptions {
        path: path.to_owned(),
        master_key: key(1),
        rules: Rules::default(),
    };
    SqliteStore::open(options).unwrap()
}

async fn account(store: &SqliteStore) -> AccountKey {
    let id = AccountId::from_entropy(7);
    let key = AccountKey::of_new(id);
    let new = NewAccount {
        key,
        token: ApiToken::new(id, [9; 32]),
        name: "Acme".into(),
        phone: PhoneNumber::from_stored(9_996_600_000),
        now: NOW,
    };
    store.create_account(new, Actor::Operator).await.unwrap();
    let amount = Credits::parse("1000000").unwrap();
    submit(store, key, Action::Purchase { amount }).await;
    key
}

async fn submit(store: &SqliteStore, account: AccountKey, action: Action) {
    let command = Command {
        now: NOW,
        token: None,
        idempotency: None,
        action,
    };
    store.submit(account, command).await.unwrap().unwrap();
}

fn send(entropy: u64) -> Action {
    Action::Send(Box::new(Send {
        email: None,
        locale: None,
        phone: PhoneNumber::from_stored(393_000_000_000 + entropy),
        request: None,
        sender: None,
        code: SendCode::Generate {
            length: CodeLength::default(),
            entropy: entropy.into(),
        },
        callback_url: None,
        payload: Some(Payload::new("x".repeat(120)).unwrap()),
        ttl: Ttl::default(),
        id_entropy: entropy,
        reach: Reach::Reachable,
        plan: None,
        skipped: Vec::new(),
        guard: None,
    }))
}

/// Books with so many requests, closed.
async fn books_with(requests: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (store, _work) = open(directory.path());
    let account = account(&store).await;
    for entropy in 1..=requests {
        submit(&store, account, send(entropy)).await;
    }
    store.close().await.unwrap();
    directory
}

fn backup_of(directory: &Path, file: &Path) -> BackupDone {
    back_up_at_rest(directory, file, false, &BackupProgress::default()).unwrap()
}

fn restore_with(backup: &Path, directory: &Path, byte: u8, force: bool) -> Result<Restored, BackupError> {
    restore(backup, directory, &key(byte), force, &BackupProgress::default())
}

fn partial(file: &Path) -> PathBuf {
    file.with_extension("db.partial")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it_and_lets_no_log_grow() {
    let (books, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, work) = open(books.path());
    drop(work);
    let account = account(&store).await;
    let (stopped, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = JoinSet::new();
    for caller in 0..16_u64 {
        let (store, stopped, sent) = (Arc::clone(&store), Arc::clone(&stopped), Arc::clone(&sent));
        load.spawn(async move {
            let mut entropy = caller << 32;
            while !stopped.load(Ordering::Acquire) {
                entropy += 1;
                submit(&store, account, send(entropy)).await;
                sent.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    let log = books.path().join("countersign.db-wal");
    let file = elsewhere.path().join("backup.db");
    let (mut longest_log, mut backups) = (0, 0);
    // Backups until the books have grown well beyond one log: commits, copies and checkpoints all meet each other.
    while sent.load(Ordering::Acquire) < 6_000 || backups < 3 {
        let before = sent.load(Ordering::Acquire);
        let progress = Arc::new(BackupProgress::default());
        let done = store.back_up(file.clone(), true, Arc::clone(&progress)).await.unwrap();
        backups += 1;
        assert_eq!(done.key, key(1).fingerprint().unwrap());
        assert_eq!(done.bytes, std::fs::metadata(&file).unwrap().len());
        assert_eq!(progress.bytes(), (done.bytes, done.bytes));
        assert!(!partial(&file).exists());
        longest_log = longest_log.max(std::fs::metadata(&log).unwrap().len());
        let copy = tempfile::tempdir().unwrap();
        restore_with(&file, copy.path(), 1, false).unwrap();
        let report = audit(&Database::Sqlite(copy.path().to_owned()), &[], |_| {}).unwrap();
        assert_eq!(report.violation, None);
        assert!(report.requests >= before, "{} of {before} requests", report.requests);
        assert_eq!(report.entries, report.requests + 1);
    }
    stopped.store(true, Ordering::Release);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    assert!(longest_log <= MAX_LOG_BYTES, "the log had {longest_log} bytes");
    store.close().await.unwrap();
}

#[tokio::test]
async fn one_backup_at_a_time_and_none_over_a_file_that_is_there() {
    let books = tempfile::tempdir().unwrap();
    let (store, _work) = open(books.path());
    let account = account(&store).await;
    for entropy in 1..200 {
        submit(&store, account, send(entropy)).await;
    }
    let file = books.path().join("backup.db");
    let made = |name: &str, force| store.back_up(books.path().join(name), force, Arc::default());
    let (first, second) = tokio::join!(made("backup.db", false), made("other.db", false));
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(BackupError::UnderWay)), "{second:?}");
    let whole = std::fs::read(&file).unwrap();
    let third = made("backup.db", false).await;
    assert!(matches!(third, Err(BackupError::Exists(_))), "{third:?}");
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    made("backup.db", true).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn force_replaces_a_backup_and_nothing_else() {
    let books = books_with(3).await;
    let (store, _) = open(books.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("master.key");
    std::fs::write(&file, "a key that nothing else holds\n".repeat(10)).unwrap();
    let refused = store.back_up(file.clone(), true, Arc::default()).await;
    assert!(matches!(refused, Err(BackupError::Foreign { .. })), "{refused:?}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("a key"));
    let backup = elsewhere.path().join("backup.db");
    for _ in 0..2 {
        store.back_up(backup.clone(), true, Arc::default()).await.unwrap();
    }
    store.close().await.unwrap();
    // A raw copy of books that run has a log, without which it is no whole backup.
    std::fs::write(elsewhere.path().join("backup.db-wal"), "frames").unwrap();
    let target = tempfile::tempdir().unwrap();
    let refused = restore_with(&backup, target.path(), 1, false);
    assert!(matches!(refused, Err(BackupError::Foreign { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_cancelled_or_failed_backup_leaves_no_file() {
    let books = tempfile::tempdir().unwrap();
    let (store, _work) = open(books.path());
    let account = account(&store).await;
    for entropy in 1..200 {
        submit(&store, account, send(entropy)).await;
    }
    let file = books.path().join("backup.db");
    let progress = Arc::new(BackupProgress::default());
    progress.cancel();
    let cancelled = store.back_up(file.clone(), false, progress).await;
    assert!(matches!(cancelled, Err(BackupError::Cancelled)), "{cancelled:?}");
    let nowhere = store
        .back_up(books.path().join("missing/backup.db"), false, Arc::default())
        .await;
    assert!(matches!(nowhere, Err(BackupError::File { .. })), "{nowhere:?}");
    assert!(!file.exists() && !partial(&file).exists());
    // The books go on, and so does the next backup.
    submit(&store, account, send(1_000)).await;
    store.back_up(file, false, Arc::default()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_an_interrupted_backup_left_is_replaced_and_never_taken_for_one() {
    let books = books_with(20).await;
    let file = books.path().join("backup.db");
    std::fs::write(partial(&file), "half of it").unwrap();
    backup_of(books.path(), &file);
    assert!(!partial(&file).exists());
    assert_eq!(
        audit(&Database::Sqlite(books.path().to_owned()), &[], |_| {})
            .unwrap()
            .requests,
        20
    );
}

#[tokio::test]
async fn books_that_a_crash_left_with_a_log_are_backed_up_whole() {
    let (books, crashed, copy) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (store, _work) = open(books.path());
    let account = account(&store).await;
    for entropy in 1..=20 {
        submit(&store, account, send(entropy)).await;
    }
    // The files as they are while the store runs are what a crash leaves.
    for name in ["countersign.db", "countersign.db-wal"] {
        std::fs::copy(books.path().join(name), crashed.path().join(name)).unwrap();
    }
    store.close().await.unwrap();
    let file = crashed.path().join("backup.db");
    backup_of(crashed.path(), &file);
    restore_with(&file, copy.path(), 1, false).unwrap();
    assert_eq!(
        audit(&Database::Sqlite(copy.path().to_owned()), &[], |_| {})
            .unwrap()
            .requests,
        20
    );
}

#[tokio::test]
async fn a_wrong_key_is_named_and_nothing_is_restored() {
    let (books, target) = (books_with(5).await, tempfile::tempdir().unwrap());
    let file = books.path().join("backup.db");
    backup_of(books.path(), &file);
    let refused = restore_with(&file, target.path(), 2, false).unwrap_err();
    let said = refused.to_string();
    for fingerprint in [key(1).fingerprint().unwrap(), key(2).fingerprint().unwrap()] {
        assert!(said.contains(&fingerprint.to_string()), "{said}");
    }
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn existing_books_are_replaced_by_force_only_and_lie_beside_the_new_ones() {
    let (books, target) = (books_with(5).await, books_with(9).await);
    let file = books.path().join("backup.db");
    backup_of(books.path(), &file);
    let refused = restore_with(&file, target.path(), 1, false);
    assert!(matches!(refused, Err(BackupError::BooksExist(_))), "{refused:?}");
    assert_eq!(
        audit(&Database::Sqlite(target.path().to_owned()), &[], |_| {})
            .unwrap()
            .requests,
        9
    );

    let restored = restore_with(&file, target.path(), 1, true).unwrap();
    assert_eq!(
        audit(&Database::Sqlite(target.path().to_owned()), &[], |_| {})
            .unwrap()
            .requests,
        5
    );
    let old = restored.old_books.unwrap();
    let looked_at = tempfile::tempdir().unwrap();
    std::fs::copy(old, looked_at.path().join("countersign.db")).unwrap();
    assert_eq!(
        audit(&Database::Sqlite(looked_at.path().to_owned()), &[], |_| {})
            .unwrap()
            .requests,
        9
    );
    let (store, _work) = open(target.path());
    store.close().await.unwrap();
}

#[tokio::test]
async fn foreign_cut_and_broken_files_are_refused_and_leave_the_books_alone() {
    let (books, target) = (books_with(300).await, books_with(3).await);
    let file = books.path().join("backup.db");
    backup_of(books.path(), &file);
    let whole = std::fs::read(&file).unwrap();
    let wrong = books.path().join("wrong.db");
    let mut holed = whole.clone();
    let middle = holed.len() / 2 / 8_192 * 8_192;
    holed[middle..middle + 8_192].fill(0xa5);
    // The page where the description of its tables begins, behind the file's head.
    let mut headless = whole.clone();
    headless[100..8_192].fill(0xa5);
    let other = books.path().join("other.db");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    let newer = books.path().join("newer.db");
    std::fs::copy(&file, &newer).unwrap();
    rusqlite::Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 9_999)
        .unwrap();
    for (content, words) in [
        (Vec::new(), "too short"),
        (
            b"not a database, and longer than a hundred bytes".repeat(9),
            "isn't a SQLite database",
        ),
        (whole[..whole.len() - 8_192].to_vec(), "damaged"),
        (holed, "damaged"),
        (headless, "damaged"),
        (std::fs::read(&other).unwrap(), "none of Countersign's tables"),
        (std::fs::read(&newer).unwrap(), "schema version 9999"),
    ] {
        std::fs::write(&wrong, content).unwrap();
        let refused = restore_with(&wrong, target.path(), 1, true).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
        assert_eq!(
            audit(&Database::Sqlite(target.path().to_owned()), &[], |_| {})
                .unwrap()
                .requests,
            3
        );
    }
    let missing = restore_with(Path::new("/nowhere/backup.db"), target.path(), 1, true);
    assert!(matches!(missing, Err(BackupError::File { .. })), "{missing:?}");
}
