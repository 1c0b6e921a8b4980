//! The tables: how they are made and changed. A migration, once released, is never edited. Several nodes may start at once: one of them
//! migrates, under an advisory lock, and the others wait.

use std::sync::Arc;

use countersign_core::{Rules, Timestamp};

use super::RulesNow;
use super::partitions::{LIST_SQL, Month, make_month, months_ahead};
use super::session::{Session, SessionError};
use crate::sql::{Connection, OptionalExtension as _, params, prices};
use crate::types::StoreError;

/// All migrations, in order; the schema's number is how many of them were applied.
pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_books.sql")];
/// The schema that this program knows.
pub(crate) const SCHEMA: i64 = 1;
const _: () = assert!(MIGRATIONS.len() == 1, "SCHEMA counts them");
/// Noted in `meta` while books are copied into the database: which.
pub(crate) const COPY_UNDER_WAY: &str = "copy of";
/// Advisory locks: who migrates, and who changes settings. The first half says that they are this program's.
pub(super) const MIGRATION_LOCK: i64 = 0x636f_756e_0000_0001;
pub(crate) const SETTINGS_LOCK: i64 = 0x636f_756e_0000_0002;

/// Months that are made at once: books with a clock that was moved by centuries have the rest in the default partitions.
const MOST_MONTHS: usize = 240;

/// Brings the schema up to date, or makes it; refuses one that this program doesn't know.
pub(crate) fn migrate(session: &Session) -> Result<(), StoreError> {
    // A migration may take longer than a question, and so may waiting for another node's.
    session.batch_execute("SET statement_timeout = 0")?;
    session.wait_long(
        session
            .client()
            .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]),
    )?;
    let migrated = migrate_alone(session);
    if let Err(error) = migrated {
        // The lock ends with the connection; what failed is what is told.
        session.roll_back();
        return Err(error);
    }
    session.wait_long(
        session
            .client()
            .execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]),
    )?;
    session.batch_execute("RESET statement_timeout")?;
    migrated
}

/// Refuses a database without books, and one whose schema this program doesn't know. For who only reads: nothing is migrated.
pub(crate) fn require_books(session: &Session) -> Result<(), StoreError> {
    if require_known(session)? == 0 {
        return Err(StoreError::NotFound("books in this database"));
    }
    Ok(())
}

/// Refuses a database into which books are being copied: a part of them would look like all.
pub(super) fn require_whole(session: &Session) -> Result<(), StoreError> {
    let unfinished: bool = Connection::Postgres(session).query_row(
        "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1)",
        [COPY_UNDER_WAY],
        |row| row.get(0),
    )?;
    if unfinished {
        return Err(StoreError::Database(
            "a copy of books into it isn't finished: run `countersign database copy` again, it goes on where it stopped".into(),
        ));
    }
    Ok(())
}

/// The service's role needs no right to change tables: another may do that in its place.
fn may_not_migrate(found: i64) -> StoreError {
    let is = match found {
        0 => "it has no books yet".to_owned(),
        found => format!("its schema is {found} and must become {SCHEMA}"),
    };
    StoreError::Unfit(format!(
        "{is}, and the role of its address may not make or change tables: run `countersign database migrate` with the address of \
         the role that owns it"
    ))
}

/// The schema's number; 0 where there is none yet.
fn require_known(session: &Session) -> Result<i64, StoreError> {
    let found = schema_of(session)?;
    if found > SCHEMA {
        let oldest = number_in_meta(session, "oldest_program")?.unwrap_or(found);
        if SCHEMA < oldest {
            return Err(StoreError::NewerSchema { found, known: SCHEMA });
        }
    }
    Ok(found)
}

fn migrate_alone(session: &Session) -> Result<(), StoreError> {
    let found = require_known(session)?;
    for (number, migration) in (1..).zip(MIGRATIONS) {
        if number > found {
            let applied = session.wait_long(session.client().batch_execute(&format!("BEGIN; {migration}; COMMIT")));
            if let Err(error) = applied {
                session.roll_back();
                return Err(if error.is_forbidden() {
                    may_not_migrate(found)
                } else {
                    error.into()
                });
            }
        }
    }
    make_partitions(session, Timestamp::from_millis(database_now_ms(session)?))
}

/// The schema's number; 0 where there is none yet.
pub(crate) fn schema_of(session: &Session) -> Result<i64, StoreError> {
    let there = session.wait(
        session
            .client()
            .query_one("SELECT to_regclass('meta') IS NOT NULL", &[]),
    )?;
    if !there.get::<_, bool>(0) {
        return Ok(0);
    }
    Ok(number_in_meta(session, "schema")?.unwrap_or(0))
}

pub(super) fn number_in_meta(session: &Session, name: &str) -> Result<Option<i64>, StoreError> {
    let value: Option<Vec<u8>> = Connection::Postgres(session)
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    let text = value.and_then(|value| String::from_utf8(value).ok());
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Whether the tables are distributed, so that every statement must keep to one bucket.
pub(crate) fn is_sharded(session: &Session) -> Result<bool, StoreError> {
    Ok(number_in_meta(session, "sharded")?.unwrap_or(0) != 0)
}

pub(crate) fn database_now_ms(session: &Session) -> Result<i64, SessionError> {
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let row = session.wait(session.client().query_one(sql, &[]))?;
    Ok(row.get(0))
}

/// Makes the partitions of this month and the next two, where they are missing.
pub(crate) fn make_partitions(session: &Session, now: Timestamp) -> Result<(), StoreError> {
    let rows = session.wait(session.client().query(LIST_SQL, &[]))?;
    let existing: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    for month in months_ahead(now) {
        for transaction in make_month(month, &existing) {
            let sql = format!("BEGIN; {}; COMMIT", transaction.join("; "));
            if let Err(error) = session.wait_long(session.client().batch_execute(&sql)) {
                session.batch_execute("ROLLBACK")?;
                // The default partition takes the rows meanwhile, and it is tried again tomorrow and at the next start.
                tracing::warn!(%error, "a month's partition could not be made");
            }
        }
    }
    Ok(())
}

/// Makes the months from one time to another, where they are missing.
pub(crate) fn make_partitions_between(session: &Session, first: Timestamp, last: Timestamp) -> Result<(), StoreError> {
    let rows = session.wait(session.client().query(LIST_SQL, &[]))?;
    let existing: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    let (mut month, end) = (Month::of(first), Month::of(last));
    let mut made = 0;
    while month <= end && made < MOST_MONTHS {
        for transaction in make_month(month, &existing) {
            let sql = format!("BEGIN; {}; COMMIT", transaction.join("; "));
            session.wait_long(session.client().batch_execute(&sql))?;
        }
        month = month.next();
        made += 1;
    }
    Ok(())
}

/// The same once a day, on one of the nodes: the others find that somebody does it, or that it is done.
pub(super) fn make_months_ahead(session: &Session) -> Result<(), StoreError> {
    session.batch_execute("SET statement_timeout = 0")?;
    let client = session.client();
    let ours = session.wait(client.query_one("SELECT pg_try_advisory_lock($1)", &[&MIGRATION_LOCK]))?;
    if !ours.get::<_, bool>(0) {
        return Ok(());
    }
    // The connection ends with this, and the lock with it.
    make_partitions(session, Timestamp::from_millis(database_now_ms(session)?))
}

/// The rules with the price list as it stands.
pub(crate) fn with_prices(connection: Connection<'_>, mut rules: Rules) -> Result<RulesNow, StoreError> {
    let newest_price = connection.query_row("SELECT coalesce(max(number), 0) FROM price_row", params![], |row| {
        row.get(0)
    })?;
    prices::restore(connection, &mut rules.prices)?;
    Ok(RulesNow { rules, newest_price })
}

/// The same with rows that were added since; nothing is read where there are none.
pub(crate) fn newer_prices(connection: Connection<'_>, known: &Arc<RulesNow>) -> Result<Arc<RulesNow>, StoreError> {
    let newest_price = connection.query_row("SELECT coalesce(max(number), 0) FROM price_row", params![], |row| {
        row.get(0)
    })?;
    if newest_price == known.newest_price {
        return Ok(Arc::clone(known));
    }
    let mut rules = known.rules.clone();
    prices::restore_after(connection, &mut rules.prices, known.newest_price)?;
    Ok(Arc::new(RulesNow { rules, newest_price }))
}
