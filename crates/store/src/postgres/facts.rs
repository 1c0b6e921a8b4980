//! What `countersign doctor` asks of a database: one connection, a few questions, each bounded by the time-out of the settings. Nothing is
//! changed, and no books are opened. What it means is said by the server's doctor.

use std::time::Duration;

use countersign_core::Timestamp;

use super::reach::{self, OLDEST_SERVER};
use super::schema::{COPY_UNDER_WAY, SCHEMA, database_now_ms, number_in_meta, schema_of};
use super::session::Session;
use super::settings::{NodeTimes, PostgresSettings};
use crate::sql::Connection;
use crate::types::StoreError;

/// Beside those of lanes and readers: its heartbeat, and what it hears from the others.
const CONNECTIONS_BESIDE: usize = 2;

/// A database as it is found.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct DatabaseFacts {
    /// Its hosts and name.
    pub place: String,
    /// The server's version, as it tells it.
    pub server: String,
    /// Whether that is older than what the statements need.
    pub is_too_old: bool,
    /// How its texts are encoded.
    pub encoding: String,
    /// Whether it takes no writes, since another server is the primary.
    pub is_standby: bool,
    /// As whom the service comes.
    pub role: String,
    /// Whether no guard binds that role.
    pub is_superuser: bool,
    /// The number of its schema; 0 where there are no books yet.
    pub schema: i64,
    /// The schema that this program knows.
    pub known_schema: i64,
    /// The oldest schema whose program may still work on it.
    pub oldest_program: i64,
    /// Whether books are being copied into it, or a copy was broken off.
    pub is_half_copied: bool,
    /// What the role may not do, though the service needs it.
    pub forbidden: Vec<String>,
    /// Settings that may lose what was acknowledged, with their values: `fsync = off`.
    pub unsafe_settings: Vec<String>,
    /// How far its clock is ahead of this machine's; negative where it is behind. As exact as the question was fast.
    pub clock_ahead_ms: i64,
    /// How many nodes live.
    pub live_nodes: u64,
    /// How many connections a node of these settings opens.
    pub connections_of_a_node: u64,
    /// How many the server, the database and the role permit.
    pub connections_allowed: u64,
}

impl PostgresSettings {
    /// Looks at the database; `now` tells this machine's time. It waits: not within a runtime's own thread.
    pub fn facts(&self, now: fn() -> Timestamp) -> Result<DatabaseFacts, StoreError> {
        let session = reach::connect(self)?;
        let row = session.wait(session.client().query_one(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::integer / 10000, \
             current_setting('server_encoding'), pg_is_in_recovery(), current_user::text, rolsuper, \
             least(current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
             - coalesce(current_setting('reserved_connections', true)::bigint, 0), \
             nullif(rolconnlimit, -1), (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())), \
             coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) \
             FROM pg_roles WHERE rolname = current_user",
            &[],
        ))?;
        let version: i32 = row.get(1);
        let schema = schema_of(&session)?;
        let mut facts = DatabaseFacts {
            place: self.place(),
            server: row.get(0),
            is_too_old: version < OLDEST_SERVER,
            encoding: row.get(2),
            is_standby: row.get(3),
            role: row.get(4),
            is_superuser: row.get(5),
            schema,
            known_schema: SCHEMA,
            oldest_program: 0,
            is_half_copied: false,
            forbidden: Vec::new(),
            unsafe_settings: unsafe_settings(&session)?,
            clock_ahead_ms: clock_ahead_ms(&session, now)?,
            live_nodes: 0,
            connections_of_a_node: count(self.lanes + self.readers + CONNECTIONS_BESIDE),
            connections_allowed: u64::try_from(row.get::<_, i64>(6)).unwrap_or(0),
        };
        if !row.get::<_, bool>(7) {
            facts.forbidden.push("make tables, as each month needs some".to_owned());
        }
        if schema > 0 {
            facts.oldest_program = number_in_meta(&session, "oldest_program")?.unwrap_or(schema);
            facts.is_half_copied = Connection::Postgres(&session).query_row(
                "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1)",
                [COPY_UNDER_WAY],
                |row| row.get(0),
            )?;
            facts.forbidden.extend(forbidden_tables(&session)?);
            facts.live_nodes = live_nodes(&session)?;
        }
        Ok(facts)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Nodes ask for `synchronous_commit` in every connection, as this one did: that it is off here means that something between lets it fall.
fn unsafe_settings(session: &Session) -> Result<Vec<String>, StoreError> {
    let rows = session.wait(session.client().query(
        "SELECT name, setting FROM pg_settings WHERE (name IN ('fsync', 'full_page_writes') AND setting = 'off') \
         OR (name = 'synchronous_commit' AND setting NOT IN ('on', 'remote_apply')) ORDER BY name",
        &[],
    ))?;
    let said = rows
        .iter()
        .map(|row| format!("{} = {}", row.get::<_, &str>(0), row.get::<_, &str>(1)));
    Ok(said.collect())
}

fn clock_ahead_ms(session: &Session, now: fn() -> Timestamp) -> Result<i64, StoreError> {
    let asked_at = now().millis();
    let there = database_now_ms(session)?;
    // In the middle of the question, as far as one knows.
    Ok(there - asked_at.midpoint(now().millis()))
}

/// Tables of the books that the role may not read or add to, the first few. Months are reached through their parents.
fn forbidden_tables(session: &Session) -> Result<Vec<String>, StoreError> {
    let rows = session.wait(session.client().query(
        "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') \
         AND NOT relispartition AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')) \
         ORDER BY relname LIMIT 3",
        &[],
    ))?;
    let said = rows
        .iter()
        .map(|row| format!("read and write the table {}", row.get::<_, &str>(0)));
    Ok(said.collect())
}

fn live_nodes(session: &Session) -> Result<u64, StoreError> {
    let dead_after: Duration = NodeTimes::default().dead_after;
    let dead_after_ms = i64::try_from(dead_after.as_millis()).unwrap_or(i64::MAX);
    let row = session.wait(session.client().query_one(
        "SELECT count(*) FROM node WHERE ended_at IS NULL \
         AND seen_at >= clock_timestamp() - $1::bigint * interval '1 millisecond'",
        &[&dead_after_ms],
    ))?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}
