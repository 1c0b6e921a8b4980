//! For tests whose books can be either: SQLite in the folder that they name, or, where `COUNTERSIGN_TEST_BOOKS=postgres` says so, a database of
//! their own on the throw-away server that `COUNTERSIGN_TEST_POSTGRES` names. The same folder is the same database, in one process; those
//! of processes that have ended are dropped by whoever makes the next.

mod tables;

use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use countersign_core::Rules;

use crate::postgres::{PostgresSettings, Session};
use crate::types::{CommittedWork, StoreError};
use crate::vault::MasterKey;
use crate::{Books, Database, StoreOptions};
pub use tables::{Cell, Cells, Field, Tables, books_hold, places_that_tell, take_over, with_tables, with_tables_of};

/// The database that others are copied from. Its name ends with a hash of the schema, so that a server that outlives a change of it is of
/// use still.
fn template() -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    crate::postgres::MIGRATIONS.hash(&mut hasher);
    format!("countersign_template_{:x}", hasher.finish())
}

/// How the names of databases begin whose books are sharded in any run.
pub const SHARDED: &str = "sharded_";
/// Under which databases are made, one at a time.
const LOCK: i64 = 0x636f_756e_0000_0101;

/// Opens the books of a folder.
pub fn open(folder: &Path, master_key: MasterKey, rules: Rules) -> Result<(Arc<dyn Books>, CommittedWork), StoreError> {
    crate::open(StoreOptions {
        database: database(folder)?,
        master_key,
        rules,
    })
}

/// Which database holds the books of a folder.
pub fn database(folder: &Path) -> Result<Database, StoreError> {
    Ok(match database_url(folder)? {
        None => Database::Sqlite(folder.to_owned()),
        Some(url) => Database::Postgres(PostgresSettings {
            lanes: 2,
            readers: 3,
            ..PostgresSettings::new(url)
        }),
    })
}

/// Whether tests with either kind of books take PostgreSQL: `postgres`, or `sharded`, which is the same with each statement held to one
/// bucket, as on Citus.
pub fn on_postgres() -> bool {
    on_sharded() || std::env::var("COUNTERSIGN_TEST_BOOKS").is_ok_and(|books| books == "postgres")
}

/// Whether their statements are held to one bucket each.
pub fn on_sharded() -> bool {
    std::env::var("COUNTERSIGN_TEST_BOOKS").is_ok_and(|books| books == "sharded")
}

/// All statements that this process prepared on sharded books, as PostgreSQL got them: each was judged before.
pub fn judged_statements() -> std::collections::BTreeSet<String> {
    crate::sql::shards::judged()
}

/// The URL of the folder's database; `None` where its books are SQLite. It is made at the first call.
pub fn database_url(folder: &Path) -> Result<Option<String>, StoreError> {
    if !on_postgres() {
        return Ok(None);
    }
    let mut hasher = std::hash::DefaultHasher::new();
    folder.hash(&mut hasher);
    new_database(&format!("t_{}_{:x}", std::process::id(), hasher.finish())).map(Some)
}

/// A database of that name on the tests' server, made if it isn't there; its URL.
pub fn new_database(name: &str) -> Result<String, StoreError> {
    let server = std::env::var("COUNTERSIGN_TEST_POSTGRES").map_err(|_| {
        StoreError::Database("COUNTERSIGN_TEST_POSTGRES names no server: run the tests by ./test".into())
    })?;
    std::thread::scope(|scope| {
        scope
            .spawn(|| make(&server, name))
            .join()
            .map_err(|_| StoreError::Lost)?
    })
}

fn url_of(server: &str, database: &str) -> String {
    let (place, query) = server
        .split_once('?')
        .map_or((server, None), |(place, query)| (place, Some(query)));
    let end = place
        .rfind('/')
        .filter(|end| *end > "postgres://".len())
        .unwrap_or(place.len());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &place[..end])
}

fn make(server: &str, name: &str) -> Result<String, StoreError> {
    let access = |database: &str| PostgresSettings::new(url_of(server, database)).access();
    let session = Session::connect(&access("postgres")?)?;
    session.batch_execute("SET statement_timeout = 0")?;
    session.wait_long(session.client().execute("SELECT pg_advisory_lock($1)", &[&LOCK]))?;
    let rows = session.wait_long(session.client().query("SELECT datname::text FROM pg_database", &[]))?;
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let run = |sql: &str| session.wait_long(session.client().batch_execute(sql));
    for old in there.iter().filter(|old| is_left_over(old)) {
        // Whoever still uses it, the server's own housekeeping perhaps: the next test tries again.
        if let Err(error) = run(&format!("DROP DATABASE IF EXISTS {old}")) {
            tracing::debug!(%error, "a test's database stays for now");
        }
    }
    let template = template();
    if !there.contains(&template) {
        run("DROP DATABASE IF EXISTS countersign_template_new")?;
        run("CREATE DATABASE countersign_template_new TEMPLATE template0 ENCODING 'UTF8'")?;
        crate::postgres::migrate(&Session::connect(&access("countersign_template_new")?)?)?;
        // Its connection may take a moment to end.
        run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'countersign_template_new' \
             AND usename = current_user",
        )?;
        run(&format!("ALTER DATABASE countersign_template_new RENAME TO {template}"))?;
    }
    if !there.iter().any(|there| there == name) {
        run(&format!(
            "CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
        ))?;
        if on_sharded() || name.starts_with(SHARDED) {
            let session = Session::connect(&access(name)?)?;
            session.batch_execute("INSERT INTO meta (name, value) VALUES ('sharded', '1')")?;
        }
    }
    Ok(url_of(server, name))
}

/// Whether a database belongs to a test process that has ended.
fn is_left_over(name: &str) -> bool {
    let name = name.strip_prefix(SHARDED).unwrap_or(name);
    let process = name.strip_prefix("t_").and_then(|rest| rest.split('_').next());
    process.is_some_and(|process| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists())
}
