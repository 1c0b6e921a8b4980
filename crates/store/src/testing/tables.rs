//! For tests: the books' tables as somebody sees them who has the database, in either kind of it.

use std::path::Path;

use super::{database, on_postgres};
use crate::Database;
use crate::postgres::Session;
use crate::sql::Connection;
use crate::sql::connection::{Column, Row, Value};
use crate::sql::reseal::TABLES;
use crate::types::StoreError;
use crate::vault::{MasterKey, Vault};

/// A connection to the tables, past the books.
pub struct Tables<'c>(Connection<'c>);

/// A column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A whole number, a flag among them.
    Integer(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells(Vec<Cell>);

/// A type that a column is read as; a test stops where it is another.
pub trait Field: Sized {
    /// Reads it; `None` where the column is of another type.
    fn of(cell: &Cell) -> Option<Self>;
}

impl Field for i64 {
    fn of(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl Field for bool {
    fn of(cell: &Cell) -> Option<Self> {
        i64::of(cell).map(|number| number != 0)
    }
}

impl Field for String {
    fn of(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Field for Vec<u8> {
    fn of(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn of(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::of(cell).map(Some),
        }
    }
}

impl Cells {
    /// A column's value.
    ///
    /// # Panics
    /// Where the column isn't there, or of another type.
    #[expect(clippy::panic, reason = "a test stops at the first surprise")]
    pub fn get<T: Field>(&self, column: usize) -> T {
        let found = self.0.get(column).and_then(T::of);
        found.unwrap_or_else(|| panic!("column {column} of {self:?} is of another type"))
    }

    /// All its columns.
    pub fn all(&self) -> &[Cell] {
        &self.0
    }

    fn read(row: Row<'_>, columns: usize) -> Result<Self, StoreError> {
        let cells = (0..columns).map(|column| {
            Ok(match row.column(column)? {
                Column::Null => Cell::Null,
                Column::Integer(number) => Cell::Integer(number),
                Column::Text(text) => Cell::Text(text.to_owned()),
                Column::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
            })
        });
        cells.collect::<Result<_, StoreError>>().map(Self)
    }
}

/// Looks at the tables of a folder's books, or does to them what the books never do. The closure runs on a thread of its own.
pub fn with_tables<T: Send>(folder: &Path, ask: impl FnOnce(&Tables<'_>) -> T + Send) -> Result<T, StoreError> {
    with_tables_of(&database(folder)?, ask)
}

/// The same of any database.
pub fn with_tables_of<T: Send>(
    database: &Database,
    ask: impl FnOnce(&Tables<'_>) -> T + Send,
) -> Result<T, StoreError> {
    match database {
        Database::Sqlite(directory) => {
            let file = rusqlite::Connection::open(directory.join(crate::sqlite::FILE_NAME))?;
            Ok(ask(&Tables(Connection::Sqlite(&file))))
        }
        Database::Postgres(settings) => std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let session = Session::connect(&settings.access()?)?;
                Ok(ask(&Tables(Connection::Postgres(&session))))
            });
            match asked.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }),
    }
}

/// Every column of a folder's books in which a secret stands, as it is or sealed.
pub fn places_that_tell(folder: &Path, master_key: &MasterKey, secret: &str) -> Result<Vec<String>, StoreError> {
    let columns = if on_postgres() {
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
    } else {
        "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'"
    };
    let vault = Vault::new(master_key)?;
    let tells = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    with_tables(folder, |tables| {
        let mut places = std::collections::BTreeSet::new();
        for column in tables.query(columns, &[])? {
            let (table, name): (String, String) = (column.get(0), column.get(1));
            // What no other type of the books has: clocks of nodes.
            if table == "node" {
                continue;
            }
            let rows = tables.query(&format!("SELECT \"{name}\" FROM \"{table}\""), &[])?;
            let found = rows.iter().flat_map(Cells::all).any(|cell| match cell {
                Cell::Null => false,
                Cell::Integer(number) => number.to_string() == secret,
                Cell::Text(text) => tells(text.as_bytes()),
                Cell::Bytes(bytes) => tells(bytes),
            });
            places.extend(found.then(|| format!("{table}.{name}")));
        }
        for table in &TABLES {
            let opened = table.opened(tables.0, &vault)?;
            places.extend(
                opened
                    .into_iter()
                    .filter(|(_, plain)| tells(plain))
                    .map(|(place, _)| place),
            );
        }
        Ok(places.into_iter().collect())
    })?
}

impl Tables<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub fn execute(&self, sql: &str) -> Result<usize, StoreError> {
        Ok(self.0.execute(sql, crate::sql::params![])?)
    }

    /// All rows of a statement with numbers as its parameters (`?1`).
    pub fn query(&self, sql: &str, numbers: &[i64]) -> Result<Vec<Cells>, StoreError> {
        let values: Vec<&dyn Value> = numbers.iter().map(|number| number as &dyn Value).collect();
        let mut statement = self.0.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(values.as_slice())?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Cells::read(row, columns)?);
        }
        Ok(all)
    }

    /// The first row's first column.
    pub fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let rows = self.query(sql, &[])?;
        Ok(rows.first().ok_or(StoreError::NotFound("row"))?.get(0))
    }

    /// Lifts the guards of a table that is never edited, as somebody can who has the database.
    pub fn unguard(&self, table: &str) -> Result<(), StoreError> {
        if on_postgres() {
            self.execute(&format!("GRANT UPDATE, DELETE ON {table} TO CURRENT_USER"))?;
            return Ok(());
        }
        let sql = format!("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'");
        for trigger in self.query(&sql, &[])? {
            self.execute(&format!("DROP TRIGGER {}", trigger.get::<String>(0)))?;
        }
        Ok(())
    }
}

/// Whether bytes stand anywhere in what a folder's books keep, once they are closed: in SQLite's files, or in a row of PostgreSQL's tables.
pub fn books_hold(folder: &Path, secret: &[u8]) -> Result<bool, StoreError> {
    let contains = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    if !on_postgres() {
        for entry in std::fs::read_dir(folder).map_err(|error| StoreError::Disk(error.to_string()))? {
            let read = entry.and_then(|entry| std::fs::read(entry.path()));
            if contains(&read.map_err(|error| StoreError::Disk(error.to_string()))?) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    // Bytes show as their hexadecimal digits; what a number's digits are is not looked for.
    let hex: Vec<String> = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    with_tables(folder, |tables| {
        let columns = tables.query(
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = current_schema() AND data_type IN ('text', 'bytea')",
            &[],
        )?;
        for column in columns {
            let (table, column): (String, String) = (column.get(0), column.get(1));
            for row in tables.query(
                &format!("SELECT {column}::text FROM {table} WHERE {column} IS NOT NULL"),
                &[],
            )? {
                let text: String = row.get(0);
                if contains(text.as_bytes()) || text.contains(&hex) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    })?
}

/// Makes all work that stands in a folder's books that of the node that was opened last: what a node does by itself, some seconds after
/// another has ended. Nothing to do where there is one node.
pub fn take_over(folder: &Path) -> Result<(), StoreError> {
    if !on_postgres() {
        return Ok(());
    }
    with_tables(folder, |tables| {
        for sql in [
            "UPDATE request SET owner = (SELECT max(epoch) FROM node) WHERE wake_at IS NOT NULL",
            "UPDATE report SET owner = (SELECT max(epoch) FROM node) WHERE due_at IS NOT NULL",
        ] {
            tables.execute(sql)?;
        }
        Ok(())
    })?
}
