//! The database file: how it is opened, and its migrations. A migration, once released, is never edited.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction};
use rusqlite_migration::{HookError, M, Migrations, SchemaVersion};

use super::{ledger_chain, report_hosts};
use crate::types::StoreError;

/// How much of the database file readers map into memory: address space, not memory of its own.
const READ_MAP_BYTES: i64 = 4 << 30;
/// How long a connection waits for a lock that another process holds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The database's name in the data directory.
pub(crate) const FILE_NAME: &str = "countersign.db";

/// All migrations, in order.
static MIGRATIONS: LazyLock<Vec<M<'static>>> = LazyLock::new(|| {
    vec![
        M::up(include_str!("migrations/0001_books.sql")),
        M::up_with_hook(
            include_str!("migrations/0002_reports.sql"),
            |transaction: &Transaction<'_>| Ok(report_hosts::fill(transaction)?),
        ),
        M::up_with_hook(
            include_str!("migrations/0003_ledger.sql"),
            |transaction: &Transaction<'_>| {
                ledger_chain::chain_all(transaction).map_err(|error| HookError::Hook(error.to_string()))
            },
        ),
        M::up(include_str!("migrations/0004_prices.sql")),
        M::up(include_str!("migrations/0005_guards.sql")),
        M::up(include_str!("migrations/0006_tokens.sql")),
        M::up(include_str!("migrations/0007_sessions.sql")),
        M::up(include_str!("migrations/0008_usage.sql")),
        M::up(include_str!("migrations/0009_orders.sql")),
        M::up(include_str!("migrations/0010_actions.sql")),
        M::up(include_str!("migrations/0011_messages.sql")),
        M::up(include_str!("migrations/0012_profiles.sql")),
        M::up(include_str!("migrations/0013_routes.sql")),
        M::up(include_str!("migrations/0014_channels.sql")),
        M::up(include_str!("migrations/0015_ledger_guard.sql")),
        M::up(include_str!("migrations/0016_live_codes.sql")),
        M::up(include_str!("migrations/0017_recipients.sql")),
        M::up(include_str!("migrations/0018_autofill.sql")),
        M::up(include_str!("migrations/0019_flood_counters.sql")),
        M::up(include_str!("migrations/0020_ended_codes.sql")),
        M::up(include_str!("migrations/0021_areas.sql")),
        M::up(include_str!("migrations/0022_quotas.sql")),
        M::up(include_str!("migrations/0023_budgets.sql")),
    ]
});

/// Opens the writing connection and brings the schema up to date. Refuses a schema newer than this program's.
pub(super) fn open_for_writing(directory: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(directory.join(FILE_NAME))?;
    // The page size counts only before the first table is made; 8 KiB holds some fifty requests.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // FULL: the log is synced at each commit, which is what makes an answer durable (P1).
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Ten megabytes: what is appended to, and the trees' upper pages. The rest lies in the system's page cache.
    connection.pragma_update(None, "cache_size", -10_240)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    migrate(&mut connection)?;
    // Batches are small: what a statement sets aside fits in memory, and a full /tmp must not fail a write.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a connection that only reads.
pub(crate) fn open_for_reading(directory: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE_NAME), flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -4_096)?;
    // Readers look at the file where it lies in the system's page cache, instead of copying page after page out of it.
    connection.pragma_update(None, "mmap_size", READ_MAP_BYTES)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Opens a connection that reads all of it once: without a mapping, which would count as the audit's own memory.
pub(crate) fn open_for_audit(directory: &Path) -> Result<Connection, StoreError> {
    let connection = open_for_reading(directory)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

/// Refuses a schema that this program doesn't know.
pub(crate) fn require_known_schema(connection: &Connection) -> Result<(), StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        Err(StoreError::NewerSchema { found, known })
    } else {
        Ok(())
    }
}

/// Refuses a schema that isn't this program's own: neither newer nor older.
pub(crate) fn require_current_schema(connection: &Connection) -> Result<(), StoreError> {
    require_known_schema(connection)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let to_fill = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'usage to fill')";
    let is_current = usize::try_from(found).is_ok_and(|found| found == MIGRATIONS.len());
    if is_current && !connection.query_row(to_fill, [], |row| row.get(0))? {
        return Ok(());
    }
    Err(StoreError::Database(
        "these books are an older version's: start this version's server on them once, and end it".into(),
    ))
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    require_known_schema(connection)?;
    let migrations = Migrations::from_slice(&MIGRATIONS);
    migrations
        .to_latest(connection)
        .map_err(|error| StoreError::Database(format!("migration: {error}")))?;
    debug_assert!(matches!(
        migrations.current_version(connection),
        Ok(SchemaVersion::Inside(_))
    ));
    Ok(())
}
