//! What an operator asks of the database as a whole, and does to it: its state, its schema, old months, its distribution. Called by
//! `countersign database …`; in service a node makes the months to come, and lets whole months go that are too old.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_core::Timestamp;

use super::partitions::{LIST_SQL, Month, drop_months, sweep_defaults};
use super::reach;
use super::schema::{
    MIGRATION_LOCK, SCHEMA, database_now_ms, is_sharded, migrate, number_in_meta, require_books, schema_of,
};
use super::session::{Session, SessionError};
use super::settings::{NodeTimes, PostgresSettings};
use crate::sql::{Connection, params};
use crate::types::StoreError;

/// How long a question of these may take: counting and sorting take a while.
const LONGEST_QUESTION: Duration = Duration::from_hours(1);
/// How often a month that is in use is tried to be dropped, and the rest in between. Each try makes callers wait for up to a second: in
/// service there are few, since tomorrow is another day.
const DROP_TRIES: u32 = 20;
const DROP_TRIES_IN_SERVICE: u32 = 3;
const DROP_PAUSE: Duration = Duration::from_millis(500);
/// Rows of a default partition that one statement deletes.
const SWEPT_ROWS: u32 = 5_000;
/// How Citus cuts the tables.
const DISTRIBUTE: &str = include_str!("distribute.sql");

/// A database's state.
#[derive(Debug, Clone)]
pub struct DatabaseStatus {
    /// Its hosts and name.
    pub place: String,
    /// The server's version, as it tells it.
    pub server: String,
    /// The number of its schema; 0 where there are no books yet.
    pub schema: i64,
    /// The schema that this program knows.
    pub known_schema: i64,
    /// The oldest schema whose program may still work on it.
    pub oldest_program: i64,
    /// Whether the tables are distributed by Citus.
    pub sharded: bool,
    /// How large it is, on this server.
    pub bytes: u64,
    /// Since when requests are kept, where older ones were let go.
    pub requests_from: Option<Timestamp>,
    /// Nodes that live, or whose work is being taken over.
    pub nodes: Vec<NodeStatus>,
    /// The months that there are.
    pub months: Vec<MonthStatus>,
}

/// A node, as the database knows it.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its number.
    pub epoch: i64,
    /// What it is called.
    pub name: String,
    /// The schema that its program knows.
    pub program_schema: i64,
    /// When it started, by the database's clock.
    pub started_at: Timestamp,
    /// How long ago it said that it lives.
    pub seen_ms_ago: i64,
    /// Whether it counts as dead, or has ended: others take its work over.
    pub ended: bool,
}

/// A month of requests and what belongs to them.
#[derive(Debug, Clone)]
pub struct MonthStatus {
    /// Like `2026-11`; `None`: what has no month of its own.
    pub month: Option<String>,
    /// How many tables it has.
    pub tables: u64,
    /// About how many rows they have.
    pub rows: u64,
    /// How large they are, with their indexes.
    pub bytes: u64,
}

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The schema before; 0: none.
    pub from: i64,
    /// The schema now.
    pub to: i64,
}

/// What is let go, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retained {
    /// Everything of the time before this goes: the first moment of a month.
    pub keep_from: Timestamp,
    /// The months that go, like `2026-03`.
    pub months: Vec<String>,
    /// How many rows without a month went; known once it is done.
    pub swept: u64,
}

impl PostgresSettings {
    /// Tells a database's state, without changing anything.
    pub fn status(&self) -> Result<DatabaseStatus, StoreError> {
        self.with_tool(|session| status(session, self.place()))
    }

    /// Brings the schema up to date, or makes it, and makes the months to come.
    pub fn migrate(&self) -> Result<Migrated, StoreError> {
        self.with_tool(|session| {
            let from = schema_of(session)?;
            migrate(session)?;
            Ok(Migrated {
                from,
                to: schema_of(session)?,
            })
        })
    }

    /// Lets requests go, with all that belongs to them, of the months before the one that a time falls into: not the ledger, not the
    /// statistics. Nothing happens unless `really`. Beside live nodes, too.
    pub fn retain(
        &self,
        before: Timestamp,
        really: bool,
        mut went: impl FnMut(&str) + Send,
    ) -> Result<Retained, StoreError> {
        self.with_tool(|session| retain(session, before, really, &mut went))
    }

    /// Distributes the tables over the machines of a Citus cluster. No node may live.
    pub fn distribute(&self, mut step: impl FnMut(&str) + Send) -> Result<(), StoreError> {
        self.with_tool(|session| distribute(session, &mut step))
    }

    /// Does something with a connection that may take its time, on a thread of its own: a session waits on a runtime of its own, which
    /// must not begin within another's thread.
    fn with_tool<T: Send>(&self, act: impl FnOnce(&Session) -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| act(&connect_for_tools(self)?));
            acting.join().map_err(|_| StoreError::Lost)?
        })
    }
}

/// A connection that may take its time. Not within a runtime's own thread.
pub(crate) fn connect_for_tools(settings: &PostgresSettings) -> Result<Session, StoreError> {
    let session = reach::connect_for_long(settings, LONGEST_QUESTION)?;
    reach::examine(&session)?;
    Ok(session)
}

/// A node that serves from the database, if any does.
fn live_node(session: &Session) -> Result<Option<String>, StoreError> {
    let dead_after_ms = i64::try_from(NodeTimes::default().dead_after.as_millis()).unwrap_or(i64::MAX);
    let row = session.wait(session.client().query_opt(
        "SELECT CASE WHEN name = '' THEN 'number ' || epoch ELSE name END FROM node WHERE ended_at IS NULL \
         AND seen_at >= clock_timestamp() - $1::bigint * interval '1 millisecond' ORDER BY epoch LIMIT 1",
        &[&dead_after_ms],
    ))?;
    Ok(row.map(|row| row.get(0)))
}

fn now(session: &Session) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(database_now_ms(session)?))
}

fn partitions(session: &Session) -> Result<Vec<String>, StoreError> {
    let rows = session.wait(session.client().query(LIST_SQL, &[]))?;
    Ok(rows.iter().map(|row| row.get(1)).collect())
}

fn status(session: &Session, place: String) -> Result<DatabaseStatus, StoreError> {
    let row = session.wait(session.client().query_one(
        "SELECT current_setting('server_version'), pg_database_size(current_database())",
        &[],
    ))?;
    let schema = schema_of(session)?;
    let mut status = DatabaseStatus {
        place,
        server: row.get(0),
        schema,
        known_schema: SCHEMA,
        oldest_program: 0,
        sharded: false,
        bytes: whole(row.get(1)),
        requests_from: None,
        nodes: Vec::new(),
        months: Vec::new(),
    };
    if schema > 0 {
        status.oldest_program = number_in_meta(session, "oldest_program")?.unwrap_or(schema);
        status.sharded = is_sharded(session)?;
        status.requests_from = number_in_meta(session, "requests_from")?.map(Timestamp::from_millis);
        status.nodes = nodes(session)?;
        status.months = months(session)?;
    }
    Ok(status)
}

fn nodes(session: &Session) -> Result<Vec<NodeStatus>, StoreError> {
    let dead_after_ms = i64::try_from(NodeTimes::default().dead_after.as_millis()).unwrap_or(i64::MAX);
    let rows = session.wait(session.client().query(
        "SELECT epoch, name, program_schema::bigint, floor(extract(epoch FROM started_at) * 1000)::bigint, \
         greatest(0, floor(extract(epoch FROM clock_timestamp() - seen_at) * 1000))::bigint, ended_at IS NOT NULL FROM node \
         ORDER BY epoch",
        &[],
    ))?;
    let nodes = rows.iter().map(|row| {
        let seen_ms_ago: i64 = row.get(4);
        NodeStatus {
            epoch: row.get(0),
            name: row.get(1),
            program_schema: row.get(2),
            started_at: Timestamp::from_millis(row.get(3)),
            seen_ms_ago,
            ended: row.get::<_, bool>(5) || seen_ms_ago > dead_after_ms,
        }
    });
    Ok(nodes.collect())
}

/// The server's own estimates: nothing is counted.
fn months(session: &Session) -> Result<Vec<MonthStatus>, StoreError> {
    let rows = session.wait(session.client().query(
        "SELECT child.relname::text, greatest(0, child.reltuples)::bigint, pg_total_relation_size(child.oid) FROM pg_inherits \
         JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid \
         WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace",
        &[],
    ))?;
    let mut months: BTreeMap<Option<Month>, MonthStatus> = BTreeMap::new();
    for row in rows {
        let month = Month::of_partition(row.get(0));
        let entry = months.entry(month).or_insert_with(|| MonthStatus {
            month: month.map(Month::name),
            tables: 0,
            rows: 0,
            bytes: 0,
        });
        entry.tables += 1;
        entry.rows += whole(row.get(1));
        entry.bytes += whole(row.get(2));
    }
    Ok(months.into_values().collect())
}

fn retain(
    session: &Session,
    before: Timestamp,
    really: bool,
    went: &mut dyn FnMut(&str),
) -> Result<Retained, StoreError> {
    require_books(session)?;
    let kept = Month::of(before);
    if kept > Month::of(now(session)?) {
        return Err(StoreError::Unfit(
            "requests of this month are always kept: name a date in this month or before it".to_owned(),
        ));
    }
    let existing = partitions(session)?;
    let drops = drop_months(before, &existing);
    let mut months: Vec<String> = existing
        .iter()
        .filter_map(|name| Month::of_partition(name))
        .filter(|month| *month < kept)
        .map(Month::name)
        .collect();
    months.sort_unstable();
    months.dedup();
    for month in existing
        .iter()
        .filter(|name| Month::of_partition(name).is_some_and(|month| month < kept))
    {
        refuse_work(session, month)?;
    }
    let mut retained = Retained {
        keep_from: kept.start().unwrap_or_default(),
        months,
        swept: 0,
    };
    if !really {
        return Ok(retained);
    }
    note_requests_from(session, retained.keep_from)?;
    for transaction in drops {
        drop_in_time(session, &transaction, DROP_TRIES)?;
        if let Some(statement) = transaction.last() {
            went(statement.trim_start_matches("DROP TABLE "));
        }
    }
    retained.swept = sweep(session, before, retained.keep_from, went)?;
    Ok(retained)
}

/// Lets the months go that ended before a time, the oldest first, up to the first in which something is still to be done. For a node in
/// service: what is left goes row by row.
pub(super) fn let_months_go(session: &Session, before: Timestamp) -> Result<(), StoreError> {
    let mut months: BTreeMap<Month, Vec<String>> = BTreeMap::new();
    for name in partitions(session)? {
        if let Some(month) = Month::of_partition(&name).filter(|month| *month < Month::of(before)) {
            months.entry(month).or_default().push(name);
        }
    }
    let mut kept_from = None;
    for (month, tables) in months {
        let Some(next) = month.next().start() else { break };
        let mut works = tables.iter().map(|table| work_in(session, table));
        if works.try_fold(false, |any, work| Ok::<_, StoreError>(any || work?.is_some()))? {
            break;
        }
        note_requests_from(session, next)?;
        for transaction in drop_months(next, &tables) {
            drop_in_time(session, &transaction, DROP_TRIES_IN_SERVICE)?;
        }
        tracing::info!(month = month.name(), "a month's requests were let go as a whole");
        kept_from = Some(next);
    }
    let Some(kept_from) = kept_from else { return Ok(()) };
    for bucket in held_buckets(session)? {
        forget_pointers(session, bucket, kept_from)?;
    }
    Ok(())
}

/// Refuses to let a month go in which something is still to be done.
fn refuse_work(session: &Session, partition: &str) -> Result<(), StoreError> {
    let Some(what) = work_in(session, partition)? else {
        return Ok(());
    };
    let month = Month::of_partition(partition).map(Month::name).unwrap_or_default();
    Err(StoreError::Unfit(format!("in {month} {what}: name an earlier date")))
}

/// What is still to be done in a month's table.
fn work_in(session: &Session, partition: &str) -> Result<Option<&'static str>, StoreError> {
    let (column, what) = if partition.starts_with("request_") {
        ("wake_at", "a message is still under way")
    } else if partition.starts_with("report_") && !partition.starts_with("report_attempt") {
        ("due_at", "a delivery report is still to be sent")
    } else {
        return Ok(None);
    };
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {partition} WHERE {column} IS NOT NULL)");
    let row = session.wait(session.client().query_one(&sql, &[]))?;
    Ok(row.get::<_, bool>(0).then_some(what))
}

/// Before anything goes, so that no audit takes what went for a loss. It never moves back.
fn note_requests_from(session: &Session, keep_from: Timestamp) -> Result<(), StoreError> {
    let known = number_in_meta(session, "requests_from")?.unwrap_or(i64::MIN);
    if keep_from.millis() > known {
        Connection::Postgres(session).execute(
            "INSERT INTO meta (name, value) VALUES ('requests_from', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [keep_from.millis().to_string().as_bytes()],
        )?;
    }
    Ok(())
}

/// Live traffic holds the locks that this needs, for moments: it waits a second for them, rests, and tries again.
fn drop_in_time(session: &Session, transaction: &[String], tries: u32) -> Result<(), StoreError> {
    let sql = format!("BEGIN; {}; COMMIT", transaction.join("; "));
    for tried in 1.. {
        match session.wait_long(session.client().batch_execute(&sql)) {
            Ok(()) => break,
            Err(error) => {
                session.roll_back();
                if tried == tries || !error.is_lock_timeout() {
                    return Err(error.into());
                }
            }
        }
        std::thread::sleep(DROP_PAUSE);
    }
    Ok(())
}

/// Deletes what has no month of its own, and what pointed to what went, bucket by bucket.
fn sweep(
    session: &Session,
    before: Timestamp,
    keep_from: Timestamp,
    went: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    let connection = Connection::Postgres(session);
    let mut swept = 0;
    for bucket in held_buckets(session)? {
        for sql in sweep_defaults(before, SWEPT_ROWS) {
            loop {
                let gone = connection.execute(&sql, [bucket])?;
                swept += gone as u64;
                if gone == 0 {
                    break;
                }
            }
        }
        forget_pointers(session, bucket, keep_from)?;
        went(&format!("bucket {bucket}"));
    }
    Ok(swept)
}

fn held_buckets(session: &Session) -> Result<Vec<i64>, StoreError> {
    let buckets = Connection::Postgres(session)
        .prepare_cached("SELECT bucket FROM held_bucket ORDER BY bucket")?
        .query_map(params![], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(buckets)
}

/// Deletes what a bucket's other tables keep of requests that went with their month.
fn forget_pointers(session: &Session, bucket: i64, keep_from: Timestamp) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM request_summary WHERE bucket = ?1 AND last_created_at < ?2",
        "DELETE FROM live_code WHERE bucket = ?1 AND created_at < ?2",
    ] {
        Connection::Postgres(session).execute(sql, [bucket, keep_from.millis()])?;
    }
    Ok(())
}

fn distribute(session: &Session, step: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
    require_books(session)?;
    if is_sharded(session)? {
        return Err(StoreError::Unfit("its tables are distributed already".to_owned()));
    }
    if let Some(node) = live_node(session)? {
        return Err(StoreError::Unfit(format!(
            "the node {node} serves from it: end all nodes first"
        )));
    }
    let row = session.wait(session.client().query_one(
        "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus'), \
         EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'citus')",
        &[],
    ))?;
    match (row.get(0), row.get(1)) {
        (true, _) => {}
        (false, true) => {
            return Err(StoreError::Unfit(
                "the extension citus is installed on its server, but not in this database: a superuser runs CREATE EXTENSION citus"
                    .to_owned(),
            ));
        }
        (false, false) => {
            return Err(StoreError::Unfit(
                "the extension citus isn't installed on its server: tables are distributed by Citus, and by nothing else".to_owned(),
            ));
        }
    }
    // A node that starts meanwhile waits for it, and then finds the tables distributed.
    session.wait_long(
        session
            .client()
            .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]),
    )?;
    for statement in statements(DISTRIBUTE) {
        if is_done(session, &statement)? {
            continue;
        }
        step(&statement);
        // Each by itself: a step that fails can be made again.
        session.wait_long(session.client().batch_execute(&statement))?;
    }
    Ok(())
}

/// Whether that step distributed its table in an earlier attempt.
fn is_done(session: &Session, statement: &str) -> Result<bool, StoreError> {
    let Some((_, rest)) = statement.split_once("_table") else {
        return Ok(false);
    };
    let named = rest
        .split_once('\'')
        .and_then(|(_, rest)| rest.split_once('\''))
        .map(|(table, _)| table);
    let Some(table) = named.filter(|_| statement.starts_with("SELECT create_")) else {
        return Ok(false);
    };
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = to_regclass($1))";
    let row = session.wait(session.client().query_one(sql, &[&table]))?;
    Ok(row.get(0))
}

/// A script's statements. None of them has a semicolon within.
fn statements(script: &str) -> Vec<String> {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text: Vec<&str> = lines.collect();
    text.join("\n")
        .split(';')
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl SessionError {
    fn is_lock_timeout(&self) -> bool {
        use tokio_postgres::error::SqlState;
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_taken_apart_into_its_steps() {
        let steps = statements(DISTRIBUTE);
        assert!(steps.iter().all(|step| !step.contains("--")), "{steps:?}");
        assert!(steps[0].starts_with("SELECT create_reference_table("), "{}", steps[0]);
        let last = steps.last().unwrap();
        assert!(
            last.starts_with("INSERT INTO meta") && last.contains("'sharded'"),
            "{last}"
        );
    }
}
