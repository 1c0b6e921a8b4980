//! Moves books from SQLite to PostgreSQL: table by table in the order of its key, a page a transaction, which also notes how far it has
//! come. A copy that is broken off goes on from there. At the end the copy is audited, and every account's chain of entries must end where
//! the source's ends. Both are at rest meanwhile: no server, no node.

mod tables;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::pin;

use countersign_core::Timestamp;
use rusqlite::types::{Value as SqliteValue, ValueRef};
use thiserror::Error;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use crate::audit::{AuditReport, audit};
use crate::postgres::{
    COMMIT, COPY_UNDER_WAY, Parameter, PostgresSettings, Session, SessionError, connect_for_tools, is_sharded,
    make_partitions_between, migrate,
};
use crate::sql::connection::Column;
use crate::sql::keys::{self, check_master_key, compare_master_key};
use crate::sql::{Connection, OptionalExtension as _, params};
use crate::sqlite::{FILE_NAME, open_for_audit, require_current_schema};
use crate::types::StoreError;
use crate::vault::{MasterKey, Vault};
use crate::{Database, Violation};
use tables::{FINISH, TABLES, Table};

/// Rows of one page.
const PAGE: usize = 2_000;

/// What is copied where.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// The data directory with SQLite's books. No server may run on it.
    pub from: PathBuf,
    /// The database that takes them. It is empty, or holds a part of the same copy.
    pub to: PostgresSettings,
    /// The key of the books; it stays theirs.
    pub master_key: MasterKey,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// What is copied at present.
    pub table: &'static str,
    /// Rows that are in the target, those of an earlier run among them.
    pub done: u64,
    /// All rows.
    pub total: u64,
}

/// What a finished copy holds.
#[derive(Debug, Clone)]
pub struct CopyReport {
    /// Rows that this run copied.
    pub rows: u64,
    /// Texts that held a NUL character, which PostgreSQL's can't: it was left out.
    pub changed_texts: u64,
    /// What the audit of the copy found; its heads are the source's.
    pub audit: AuditReport,
}

/// Why there is no copy, or no whole one.
#[derive(Debug, Error)]
pub enum CopyError {
    /// There is nothing to copy.
    #[error("there are no books in {}", .0.display())]
    NoBooks(PathBuf),
    /// The target has books of its own.
    #[error("there are other books in the target database already: name an empty one")]
    OtherBooks,
    /// Nodes serve on the target.
    #[error("{0} node(s) serve on the target database: end them first")]
    Serving(i64),
    /// The target is distributed already.
    #[error("the target's tables are distributed already: copy first, then distribute")]
    Distributed,
    /// Whoever asked wanted no more of it.
    #[error("the copy was broken off: run the same command again to go on from there")]
    BrokenOff,
    /// The source's or the copy's audit found something.
    #[error("the audit of {of} found a violation in account {}: {}", violation.account, violation.what)]
    Violation {
        /// `the source` or `the copy`.
        of: &'static str,
        /// What it found.
        violation: Violation,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SessionError> for CopyError {
    fn from(error: SessionError) -> Self {
        Self::Store(error.into())
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<crate::sql::Error> for CopyError {
    fn from(error: crate::sql::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Copies books, or goes on with it. `progress` may break it off between two pages. It waits; it may be called within a runtime.
pub fn copy(
    options: &CopyOptions,
    progress: &mut (dyn FnMut(CopyProgress) -> ControlFlow<()> + Send),
) -> Result<CopyReport, CopyError> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| copy_here(options, progress))
            .join()
            .map_err(|_| StoreError::Lost)?
    })
}

fn copy_here(
    options: &CopyOptions,
    progress: &mut (dyn FnMut(CopyProgress) -> ControlFlow<()> + Send),
) -> Result<CopyReport, CopyError> {
    if !options.from.join(FILE_NAME).exists() {
        return Err(CopyError::NoBooks(options.from.clone()));
    }
    let source = open_for_audit(&options.from)?;
    require_current_schema(&source)?;
    let vault = Vault::new(&options.master_key)?;
    compare_master_key(Connection::Sqlite(&source), &vault)?;
    let target = connect_for_tools(&options.to)?;
    migrate(&target)?;
    target.batch_execute("SET statement_timeout = 0")?;
    require_target(&source, &target)?;
    check_master_key(Connection::Postgres(&target), &vault)?;
    if let Some(carried) = keys::carried_keys(Connection::Sqlite(&source))? {
        keys::put(Connection::Postgres(&target), "carried keys", &carried)?;
    }
    make_months(&source, &target)?;
    let mut run = Run {
        source: &source,
        target: &target,
        rows: 0,
        changed_texts: 0,
    };
    run.all(progress)?;
    for sql in FINISH {
        target.wait_long(target.client().batch_execute(sql))?;
    }
    let (rows, changed_texts) = (run.rows, run.changed_texts);
    let audit = audit_both(options)?;
    Connection::Postgres(&target).execute(
        "DELETE FROM meta WHERE name = ?1 OR name LIKE 'copied: %'",
        [COPY_UNDER_WAY],
    )?;
    Ok(CopyReport {
        rows,
        changed_texts,
        audit,
    })
}

/// The target is nobody's, or a part of this very copy.
fn require_target(source: &rusqlite::Connection, target: &Session) -> Result<(), CopyError> {
    let connection = Connection::Postgres(target);
    if is_sharded(target)? {
        return Err(CopyError::Distributed);
    }
    let serving: i64 = connection.query_row(
        "SELECT count(*) FROM node WHERE ended_at IS NULL AND seen_at > now() - interval '1 minute'",
        params![],
        |row| row.get(0),
    )?;
    if serving > 0 {
        return Err(CopyError::Serving(serving));
    }
    let name = name_of(source)?;
    let under_way: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [COPY_UNDER_WAY], |row| {
            row.get(0)
        })
        .optional()?;
    match under_way {
        Some(found) if found == name => Ok(()),
        Some(_) => Err(CopyError::OtherBooks),
        None => {
            let sql = "SELECT EXISTS (SELECT 1 FROM account) OR EXISTS (SELECT 1 FROM price_row) \
                       OR EXISTS (SELECT 1 FROM settings_audit)";
            if connection.query_row(sql, params![], |row| row.get(0))? {
                return Err(CopyError::OtherBooks);
            }
            connection.execute(
                "INSERT INTO meta (name, value) VALUES (?1, ?2)",
                params![COPY_UNDER_WAY, name],
            )?;
            Ok(())
        }
    }
}

/// By what the same books are known again: their key's check and their first account, if there is any.
fn name_of(source: &rusqlite::Connection) -> Result<Vec<u8>, CopyError> {
    let mut name: Vec<u8> =
        source.query_row("SELECT value FROM meta WHERE name = 'key_check'", [], |row| row.get(0))?;
    let first: Option<(i64, i64)> = rusqlite::OptionalExtension::optional(source.query_row(
        "SELECT account_id, created_at FROM account ORDER BY created_at, account_id LIMIT 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    ))?;
    let (id, at) = first.unwrap_or_default();
    name.extend(id.to_be_bytes());
    name.extend(at.to_be_bytes());
    Ok(name)
}

/// Makes the months that requests lie in: otherwise the default partitions would take them all.
fn make_months(source: &rusqlite::Connection, target: &Session) -> Result<(), CopyError> {
    let (first, last): (Option<i64>, Option<i64>) =
        source.query_row("SELECT min(created_at), max(created_at) FROM request", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if let (Some(first), Some(last)) = (first, last) {
        make_partitions_between(target, Timestamp::from_millis(first), Timestamp::from_millis(last))?;
    }
    Ok(())
}

struct Run<'a> {
    source: &'a rusqlite::Connection,
    target: &'a Session,
    rows: u64,
    changed_texts: u64,
}

/// A key, as the target notes how far a table was copied.
type Key = Vec<SqliteValue>;

impl Run<'_> {
    fn all(&mut self, progress: &mut (dyn FnMut(CopyProgress) -> ControlFlow<()> + Send)) -> Result<(), CopyError> {
        let mut counts = Vec::new();
        for table in &TABLES {
            let sql = format!("SELECT count(*) FROM {}", table.name);
            let count: i64 = self.source.query_row(&sql, [], |row| row.get(0))?;
            counts.push(count.unsigned_abs());
        }
        let total = counts.iter().sum();
        let mut before = 0;
        for (table, count) in TABLES.iter().zip(counts) {
            let (mut done, mut after) = self.noted(table)?.unwrap_or_default();
            loop {
                let told = CopyProgress {
                    table: table.name,
                    done: before + done,
                    total,
                };
                if progress(told).is_break() {
                    return Err(CopyError::BrokenOff);
                }
                match self.page(table, after, &mut done)? {
                    Some(key) => after = Some(key),
                    None => break,
                }
            }
            before += count;
        }
        Ok(())
    }

    /// How many rows of a table are there already, and the last one's key.
    fn noted(&self, table: &Table) -> Result<Option<(u64, Option<Key>)>, CopyError> {
        let noted: Option<Vec<u8>> = Connection::Postgres(self.target)
            .query_row("SELECT value FROM meta WHERE name = ?1", [note_name(table)], |row| {
                row.get(0)
            })
            .optional()?;
        let Some(noted) = noted else { return Ok(None) };
        let read = key_of(&noted).ok_or(StoreError::Damaged("the place of a copy"))?;
        Ok(Some((read.0, Some(read.1))))
    }

    /// Copies a page; answers its last key, or `None` where there are no more.
    fn page(&mut self, table: &Table, after: Option<Key>, done: &mut u64) -> Result<Option<Key>, CopyError> {
        let columns = columns_of(self.source, table)?;
        let key = table.key.join(", ");
        let condition = if after.is_some() {
            let marks = vec!["?"; table.key.len()].join(", ");
            format!("WHERE ({key}) > ({marks})")
        } else {
            String::new()
        };
        let sql = format!(
            "SELECT {} FROM {} {condition} ORDER BY {key} LIMIT {PAGE}",
            columns.join(", "),
            table.name
        );
        let mut statement = self.source.prepare_cached(&sql)?;
        let mut found = statement.query(rusqlite::params_from_iter(after.unwrap_or_default()))?;
        let mut rows: Vec<Vec<SqliteValue>> = Vec::new();
        while let Some(row) = found.next()? {
            let mut values = Vec::with_capacity(columns.len());
            for column in 0..columns.len() {
                values.push(self.taken(row.get_ref(column)?));
            }
            rows.push(values);
        }
        let Some(last) = rows.last() else { return Ok(None) };
        let place = |name: &&str| {
            columns
                .iter()
                .position(|column| column == name)
                .map(|place| last[place].clone())
        };
        let key: Key = table.key.iter().filter_map(place).collect();
        *done += rows.len() as u64;
        self.write(table, &columns, &rows, *done, &key)?;
        self.rows += rows.len() as u64;
        Ok((rows.len() == PAGE).then_some(key))
    }

    fn taken(&mut self, value: ValueRef<'_>) -> SqliteValue {
        match value {
            ValueRef::Text(text) if text.contains(&0) => {
                self.changed_texts += 1;
                SqliteValue::Text(String::from_utf8_lossy(text).replace('\0', ""))
            }
            ValueRef::Text(text) => SqliteValue::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => SqliteValue::Blob(bytes.to_vec()),
            ValueRef::Integer(number) => SqliteValue::Integer(number),
            ValueRef::Null | ValueRef::Real(_) => SqliteValue::Null,
        }
    }

    fn write(
        &self,
        table: &Table,
        columns: &[String],
        rows: &[Vec<SqliteValue>],
        done: u64,
        key: &Key,
    ) -> Result<(), CopyError> {
        let names = columns.join(", ");
        let client = self.target.client();
        let like = self
            .target
            .prepare(&format!("SELECT {names} FROM {} LIMIT 0", table.name))?;
        let types: Vec<Type> = like.columns().iter().map(|column| column.type_().clone()).collect();
        self.target.batch_execute("BEGIN")?;
        let written = (|| {
            self.target.wait_long(async {
                let sink = client
                    .copy_in(&format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", table.name))
                    .await?;
                let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
                for row in rows {
                    let values: Vec<Parameter<'_>> = row.iter().map(|value| Parameter(column_of(value))).collect();
                    let references: Vec<&(dyn ToSql + Sync)> =
                        values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                    writer.as_mut().write(&references).await?;
                }
                writer.finish().await
            })?;
            Connection::Postgres(self.target).execute(
                "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![note_name(table), bytes_of_key(done, key)],
            )?;
            self.target.batch_execute(COMMIT)?;
            Ok(())
        })();
        if written.is_err() {
            self.target.roll_back();
        }
        written
    }
}

fn column_of(value: &SqliteValue) -> Column<'_> {
    match value {
        SqliteValue::Integer(number) => Column::Integer(*number),
        SqliteValue::Text(text) => Column::Text(text),
        SqliteValue::Blob(bytes) => Column::Blob(bytes),
        SqliteValue::Null | SqliteValue::Real(_) => Column::Null,
    }
}

fn columns_of(source: &rusqlite::Connection, table: &Table) -> Result<Vec<String>, CopyError> {
    let mut statement = source.prepare_cached("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
    let names = statement.query_map([table.name], |row| row.get::<_, String>(0))?;
    let mut columns = names.collect::<Result<Vec<_>, _>>()?;
    columns.retain(|column| Some(column.as_str()) != table.without);
    Ok(columns)
}

fn note_name(table: &Table) -> String {
    format!("copied: {}", table.name)
}

/// A place of a copy: how many rows, then each value of the key with its kind and length.
fn bytes_of_key(done: u64, key: &Key) -> Vec<u8> {
    let mut bytes = done.to_be_bytes().to_vec();
    for value in key {
        let (kind, part) = match value {
            SqliteValue::Integer(number) => (b'i', number.to_be_bytes().to_vec()),
            SqliteValue::Text(text) => (b't', text.as_bytes().to_vec()),
            SqliteValue::Blob(blob) => (b'b', blob.clone()),
            SqliteValue::Null | SqliteValue::Real(_) => (b'n', Vec::new()),
        };
        bytes.push(kind);
        bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// What [`bytes_of_key`] wrote.
fn key_of(bytes: &[u8]) -> Option<(u64, Key)> {
    let (done, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut key = Key::new();
    while let Some((kind, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk::<4>()?;
        let (part, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        key.push(match kind {
            b'i' => SqliteValue::Integer(i64::from_be_bytes(part.try_into().ok()?)),
            b't' => SqliteValue::Text(String::from_utf8(part.to_vec()).ok()?),
            b'b' => SqliteValue::Blob(part.to_vec()),
            _ => SqliteValue::Null,
        });
        rest = after;
    }
    Some((u64::from_be_bytes(*done), key))
}

/// Audits source and copy: every chain of the copy goes through the source's head, and there is no account more or less.
fn audit_both(options: &CopyOptions) -> Result<AuditReport, CopyError> {
    let source = audit(&Database::Sqlite(options.from.clone()), &[], |_| ())?;
    if let Some(violation) = source.violation {
        return Err(CopyError::Violation {
            of: "the source",
            violation,
        });
    }
    let copy = audit(&Database::Postgres(options.to.clone()), &source.heads, |_| ())?;
    if let Some(violation) = copy.violation {
        return Err(CopyError::Violation {
            of: "the copy",
            violation,
        });
    }
    if (copy.accounts, copy.entries, copy.requests) != (source.accounts, source.entries, source.requests) {
        return Err(StoreError::Database("the copy has another number of accounts, entries or requests".into()).into());
    }
    Ok(copy)
}
